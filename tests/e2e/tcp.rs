//! SIP over TCP (RFC 3261 18): framing, reuse of connections, workers that send on each other's
//! connections, limits.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Footprint, SECOND, address, proxy, serve, stat, wait_quiet};
use crate::support::process;
use crate::support::reprise::Reprise;
use crate::support::sip::{SipClient, unique};
use crate::support::sipp::Sipp;
use crate::support::tcp::{TcpSip, TcpUas};
use crate::support::uas::{Answer, Uas};

/// A proxy on UDP and TCP of one port.
fn both(port: u16, globals: &str, relay: &str, routes: &str) -> String {
    proxy(port, &format!("socket=tcp:127.0.0.1:{port}\n{globals}"), relay, routes)
}

fn to(transport: &str, addr: SocketAddr) -> String {
    format!("    $du = \"sip:{addr};transport={transport}\";\n    route(out);")
}

fn wait_for(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connections(server: &Reprise) -> Vec<Value> {
    server.ctl("tcp-list", Value::Null).as_array().cloned().expect("a list")
}

/// SIPp calls from one transport to another.
fn sipp_calls(workers: &str, caller: &str, callee: &str) {
    let uas = Sipp::uas("uas-invite", &["-t", callee]);
    let out = if callee.starts_with('t') { "tcp" } else { "udp" };
    let (server, port) = serve(|port| both(port, "", &to(out, uas.addr), ""), &["-n", workers]);
    let calls = Sipp::uac("uac-invite", address(port), 300, 100, &["-t", caller, "-max_socket", "1000", "-l", "500"])
        .wait(SECOND * 60);
    let stats = server.ctl("stats", Value::Null);
    let answered = uas.stop();
    let ok = (calls.succeeded, calls.failed, answered.succeeded, answered.failed) == (300, 0, 300, 0);
    assert!(ok, "caller: {calls:#?}\ncallee: {answered:#?}\n{stats:#}");
    assert_eq!(stat(&server, "tm:UAS_transactions"), 600);
    if caller.starts_with('t') && callee.starts_with('t') {
        assert_eq!(stat(&server, "net:udp_sent_datagrams"), 0, "{stats:#}");
    }
    wait_quiet(&server, SECOND * 60);
}

#[test]
fn sipp_calls_over_one_connection() {
    sipp_calls("1", "t1", "t1");
}

#[test]
fn sipp_calls_over_one_connection_through_two_workers() {
    sipp_calls("2", "t1", "t1");
}

#[test]
fn sipp_calls_over_a_connection_each() {
    sipp_calls("2", "tn", "t1");
}

#[test]
fn sipp_calls_from_udp_to_tcp() {
    sipp_calls("2", "u1", "t1");
}

#[test]
fn sipp_calls_from_tcp_to_udp() {
    sipp_calls("2", "t1", "u1");
}

#[test]
fn a_call_passes_from_tcp_to_tcp() {
    let uas = TcpUas::answering();
    let (server, port) = serve(|port| both(port, "", &to("tcp", uas.addr), ""), &["-n", "2"]);
    let client = TcpSip::new(port);
    for _ in 0..8 {
        let invite = client.request("INVITE", "sip:bob@example.test").body("text/plain", "a body\n");
        let ok = client.ask(&invite);
        assert_eq!(ok.status(), 200, "{}", ok.raw);
        client.send(invite.ack(&ok).text());
        let bye = client.ask(&invite.in_dialog("BYE", &ok));
        assert_eq!(bye.status(), 200, "{}", bye.raw);
    }
    let seen = uas.wait_request("INVITE", SECOND);
    assert!(seen.all("Via")[0].starts_with(&format!("SIP/2.0/TCP 127.0.0.1:{port};branch=")), "{}", seen.raw);
    let record = seen.header("Record-Route").unwrap();
    assert!(record.starts_with(&format!("<sip:127.0.0.1:{port};transport=tcp;lr")), "{record}");
    wait_for("ACKs", SECOND * 2, || uas.count("ACK") == 8);
    assert_eq!((uas.count("INVITE"), uas.count("BYE")), (8, 8), "nothing is sent twice");
    assert_eq!(uas.connections(), 1, "both workers share it");
    let list = connections(&server);
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(list.iter().any(|c| c["direction"] == "out" && c["remote"] == uas.addr.to_string().as_str()), "{list:?}");
    assert_eq!(stat(&server, "net:tcp_open"), 2);
}

#[test]
fn a_call_changes_its_transport_and_back() {
    let uas = TcpUas::answering();
    let (_server, port) = serve(|port| both(port, "", &to("tcp", uas.addr), ""), &["-n", "2"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    let ok = client.ask(&invite);
    assert_eq!(ok.status(), 200);
    let seen = uas.wait_request("INVITE", SECOND);
    let records: Vec<&str> = seen.all("Record-Route").into_iter().flat_map(|v| v.split(',')).collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0].contains(";transport=tcp;r2=on"), "{records:?}");
    assert!(records[1].contains(";r2=on") && !records[1].contains("transport"), "{records:?}");
    client.send_request(&invite.ack(&ok));
    let ack = uas.wait_request("ACK", SECOND * 2);
    assert_eq!(ack.header("Route"), None, "{}", ack.raw);
    assert_eq!(client.ask(&invite.in_dialog("BYE", &ok)).status(), 200);
    assert_eq!(uas.connections(), 1);
}

#[test]
fn the_script_sees_the_transport() {
    let relay = r#"
    if (proto == TCP) xlog("proto says TCP\n");
    if (is_myself("127.0.0.1")) xlog("myself\n");
    xlog("in $socket_in proto $proto port $Rp rp $rP\n");
    send_reply(480, "Seen");
    exit;"#;
    let (server, port) = serve(|port| both(port, "", relay, ""), &["-n", "1"]);
    let client = TcpSip::new(port);
    let seen = client.ask(&client.request("MESSAGE", "sip:bob@example.test;transport=tcp"));
    assert_eq!(seen.status(), 480);
    server.wait_log("proto says TCP", SECOND);
    server.wait_log(&format!("in tcp:127.0.0.1:{port} proto tcp port {port} rp tcp"), SECOND);
}

#[test]
fn messages_come_whole_however_they_are_cut() {
    let (_server, port) = serve(|port| both(port, "", "    send_reply(404, \"No\");\n    exit;", ""), &["-n", "2"]);
    let client = TcpSip::new(port);
    let one = client.request("OPTIONS", "sip:example.test").body("text/plain", "with a body\n\n\n");
    for byte in one.text().as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.finish(&one).status(), 200);
    // Glued, with line ends and a ping between them.
    let all: Vec<_> = (0..50).map(|_| client.request("OPTIONS", "sip:example.test")).collect();
    let text: Vec<String> = all.iter().map(|r| r.text()).collect();
    client.send(format!("\r\n{}", text.join("\r\n")));
    let mut wanted: Vec<&str> = all.iter().map(|r| r.call_id.as_str()).collect();
    while !wanted.is_empty() {
        let answer = client.expect(SECOND * 5);
        assert_eq!(answer.status(), 200);
        let at = wanted.iter().position(|c| *c == answer.call_id()).expect("one of ours, once");
        wanted.remove(at);
    }
}

#[test]
fn keep_alives_are_answered() {
    let (_server, port) = serve(|port| both(port, "", "    exit;", ""), &["-n", "1"]);
    let client = TcpSip::new(port);
    client.send("\r\n\r\n");
    client.expect_bytes(b"\r\n", SECOND * 2);
    client.send("\r\n");
    client.send("\r\n");
    client.expect_bytes(b"\r\n", SECOND * 2);
    assert_eq!(client.options().status(), 200);
}

#[test]
fn what_has_no_clear_end_is_answered_and_closed() {
    let globals = "tcp_max_head_size=2000\ntcp_max_body_size=1000\n";
    let (server, port) = serve(|port| both(port, globals, "    exit;", ""), &["-n", "1"]);
    let ask = |change: &dyn Fn(String) -> String| {
        let client = TcpSip::new(port);
        client.send(change(client.request("OPTIONS", "sip:example.test").text()));
        String::from_utf8_lossy(&client.wait_closed(SECOND * 5)).into_owned()
    };
    let answer = ask(&|t| t.replace("Content-Length: 0\r\n", ""));
    assert!(answer.starts_with("SIP/2.0 400 Missing Content-Length"), "{answer}");
    let answer = ask(&|t| t.replace("Content-Length: 0", "Content-Length: 12x"));
    assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    let answer = ask(&|t| t.replace("Content-Length: 0", "Content-Length: 1001"));
    assert!(answer.starts_with("SIP/2.0 413"), "{answer}");
    let answer = ask(&|t| t.replace("Content-Length: 0", &format!("X: {}", "y".repeat(3000))));
    assert_eq!(answer, "");
    assert_eq!(ask(&|_| "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into()), "");
    assert_eq!(stat(&server, "net:tcp_bad_streams"), 5);
    wait_for("connections closed", SECOND * 2, || stat(&server, "net:tcp_open") == 0);
}

#[test]
fn replies_go_back_over_another_workers_connection() {
    // Each of many calls belongs to one of three workers; the connection to one of them.
    let uas = Uas::answering();
    let (server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "3"]);
    let client = TcpSip::new(port);
    for _ in 0..30 {
        let request = client.request("MESSAGE", "sip:bob@example.test");
        assert_eq!(client.ask(&request).status(), 200);
    }
    assert_eq!(stat(&server, "net:tcp_accepts"), 1);
    assert!(stat(&server, "bus:sent") > 10);
}

#[test]
fn a_reply_whose_connection_is_gone_goes_to_the_sent_by() {
    let uas = Uas::start(|_| vec![Answer::new(200, "OK").after(SECOND)]);
    let (_server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "2"]);
    let back = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpSip::new(port);
    let mut request = client.request("MESSAGE", "sip:bob@example.test");
    request.via = format!("SIP/2.0/TCP {};branch={}", back.local_addr().unwrap(), unique("z9hG4bK-t-"));
    client.send(request.text());
    uas.wait_request("MESSAGE", SECOND * 2);
    drop(client);
    let (stream, _) = back.accept().unwrap();
    let answer = TcpSip::over(stream).expect(SECOND * 5);
    assert_eq!((answer.status(), answer.call_id()), (200, request.call_id.as_str()));
}

#[test]
fn a_connection_that_cannot_be_made_fails_the_branch() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let uas = TcpUas::answering();
    let routes = format!(
        "failure_route[next] {{\n    xlog(\"failed with $T_reply_code\\n\");\n    $du = \"sip:{};transport=tcp\";\n    t_relay();\n}}\n",
        uas.addr
    );
    let relay = format!("    t_on_failure(\"next\");\n{}", to("tcp", nobody));
    let (server, port) = serve(|port| both(port, "", &relay, &routes), &["-n", "2"]);
    let client = SipClient::new(port);
    for _ in 0..4 {
        let (answer, bye) = client.call("sip:bob@example.test");
        assert_eq!((answer.status(), bye.unwrap().status()), (200, 200));
    }
    server.wait_log("failed with 503", SECOND);
    server.wait_log("connection to tcp:.* could not be made", SECOND);
    assert!(stat(&server, "net:tcp_connect_failed") >= 4);
}

#[test]
fn requests_in_flight_fail_with_their_connection() {
    for reset in [false, true] {
        let uas = TcpUas::start(|_| Vec::new());
        let (server, port) = serve(|port| both(port, "", &to("tcp", uas.addr), ""), &["-n", "2"]);
        let client = SipClient::new(port);
        let requests: Vec<_> = (0..6).map(|_| client.request("MESSAGE", "sip:bob@example.test")).collect();
        for r in &requests {
            client.send_request(r);
        }
        wait_for("requests", SECOND * 5, || uas.count("MESSAGE") == 6);
        uas.hang_up(reset);
        for _ in 0..6 {
            // 503 of a next hop goes upstream as 500.
            assert_eq!(client.expect_status(500, SECOND * 5).status(), 500);
        }
        wait_quiet(&server, SECOND * 20);
    }
}

#[test]
fn a_worker_that_dies_takes_only_its_own_connections() {
    let uas = Uas::answering();
    let (server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "2"]);
    let clients: Vec<TcpSip> = (0..24).map(|_| TcpSip::new(port)).collect();
    for c in &clients {
        assert_eq!(c.options().status(), 200);
    }
    let victim = server.worker_pids()[0];
    process::signal(victim, Signal::SIGKILL);
    wait_for("replacement", SECOND * 5, || stat(&server, "core:process_restarts") == 1);
    server.wait_log("worker .*(again|started|replaced|died|killed)", SECOND);
    let mut alive = 0;
    for c in &clients {
        let request = c.request("OPTIONS", "sip:example.test");
        if c.try_send(request.text()).is_ok()
            && let Some(answer) = c.recv(SECOND * 3)
        {
            assert_eq!(answer.status(), 200);
            alive += 1;
        }
    }
    assert!((1..24).contains(&alive), "{alive}");
    // And the replacement accepts again.
    for _ in 0..16 {
        assert_eq!(TcpSip::new(port).options().status(), 200);
    }
}

#[test]
fn idle_silent_and_slow_connections_end() {
    let globals = "tcp_connection_lifetime=2\ntcp_max_msg_time=1\n";
    let (server, port) = serve(|port| both(port, globals, "    exit;", ""), &["-n", "1"]);
    let before = Footprint::of(&server);
    let idle = TcpSip::new(port);
    assert_eq!(idle.options().status(), 200);
    let slow = TcpSip::new(port);
    slow.send("OPTIONS sip:example.test SIP/2.0\r\nVia: ");
    let silent = TcpSip::new(port);
    wait_for("three connections", SECOND, || stat(&server, "net:tcp_open") == 3);
    let start = Instant::now();
    slow.wait_closed(SECOND * 5);
    assert!(start.elapsed() > Duration::from_millis(500), "{:?}", start.elapsed());
    idle.wait_closed(SECOND * 5);
    silent.wait_closed(SECOND * 5);
    assert_eq!(stat(&server, "net:tcp_timed_out"), 3);
    before.wait_back(&server, SECOND * 5);
}

#[test]
fn more_connections_than_allowed_are_refused_and_silent_ones_make_room() {
    let (server, port) = serve(|port| both(port, "tcp_max_connections=5\n", "    exit;", ""), &["-n", "1"]);
    let before = Footprint::of(&server);
    let silent: Vec<TcpSip> = (0..5).map(|_| TcpSip::new(port)).collect();
    wait_for("five connections", SECOND, || stat(&server, "net:tcp_open") == 5);
    // Each new one takes the place of one that never said anything.
    let talking: Vec<TcpSip> = (0..5).map(|_| TcpSip::new(port)).collect();
    for c in &talking {
        assert_eq!(c.options().status(), 200);
    }
    for s in &silent {
        s.wait_closed(SECOND * 5);
    }
    let late = TcpSip::new(port);
    late.wait_closed(SECOND * 5);
    assert_eq!(stat(&server, "net:tcp_rejected"), 1);
    for c in &talking {
        assert_eq!(c.options().status(), 200);
    }
    drop(talking);
    before.wait_back(&server, SECOND * 5);
}

#[test]
fn a_slow_reader_is_cut_off_and_nobody_else_notices() {
    let globals = "tcp_conn_wq_max=100000\n";
    let (server, port) = serve(|port| both(port, globals, "    exit;", ""), &["-n", "1"]);
    let slow = TcpSip::new(port);
    nix::sys::socket::setsockopt(slow.stream(), nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
    slow.stream().set_write_timeout(Some(SECOND / 2)).unwrap();
    let other = TcpSip::new(port);
    let request = slow.request("OPTIONS", "sip:example.test").header(&format!("X-Long: {}", "x".repeat(500)));
    let mut cut_off = false;
    for i in 0..200_000 {
        let mut r = request.clone();
        r.call_id = format!("slow-{i}");
        r.via = format!("SIP/2.0/TCP {};branch=z9hG4bKslow{i}", slow.local);
        if slow.try_send(r.text()).is_err() || stat_every(&server, i) > 0 {
            cut_off = true;
            break;
        }
    }
    assert!(cut_off);
    assert_eq!(other.options().status(), 200);
    wait_for("the slow reader's end", SECOND * 15, || stat(&server, "net:tcp_slow_readers") == 1);
    server.wait_log("does not take what it is sent", SECOND * 2);
    wait_for("one connection left", SECOND * 5, || stat(&server, "net:tcp_open") == 1);
}

fn stat_every(server: &Reprise, i: u32) -> u64 {
    if i % 500 == 499 { stat(server, "net:tcp_slow_readers") } else { 0 }
}

#[test]
fn a_call_crosses_from_ipv6_tcp_to_ipv4_udp() {
    let uas = Uas::answering();
    let (server, port) =
        serve(|port| both(port, &format!("socket=tcp:[::1]:{port}\n"), &to("udp", uas.addr), ""), &["-n", "2"]);
    let client = TcpSip::to(format!("[::1]:{port}").parse().unwrap());
    let invite = client.request("INVITE", "sip:bob@example.test");
    let ok = client.ask(&invite);
    assert_eq!(ok.status(), 200);
    client.send(invite.ack(&ok).text());
    assert_eq!(client.ask(&invite.in_dialog("BYE", &ok)).status(), 200);
    let records: Vec<String> = uas
        .wait_request("INVITE", SECOND)
        .all("Record-Route")
        .iter()
        .flat_map(|v| v.split(','))
        .map(str::to_owned)
        .collect();
    assert!(records[1].contains(&format!("[::1]:{port};transport=tcp;r2=on")), "{records:?}");
    assert_eq!(stat(&server, "net:tcp_accepts"), 1);
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!("socket=tcp:127.0.0.1:{port}\nroute {{ exit; }}\n");
    let Err(failed) = Reprise::try_start(&config, &[]) else { panic!("it started") };
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains(&format!("cannot listen on tcp:127.0.0.1:{port}: Address already in use")),
        "{}",
        failed.stderr
    );
    let Err(failed) = Reprise::try_start("route { exit; }\n", &["-l", "tls:127.0.0.1:0"]) else { panic!("it started") };
    assert!(failed.stderr.contains("this version listens on udp and tcp"), "{}", failed.stderr);
}

#[test]
fn draining_ends_connections_after_their_answers() {
    let uas = Uas::start(|_| vec![Answer::new(200, "OK").after(SECOND / 2)]);
    let (mut server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "2"]);
    let client = TcpSip::new(port);
    let request = client.request("MESSAGE", "sip:bob@example.test");
    client.send(request.text());
    uas.wait_request("MESSAGE", SECOND * 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(client.finish(&request).status(), 200);
    client.wait_closed(SECOND * 10);
    assert_eq!(server.wait_exit(SECOND * 20), 0);
}

#[test]
fn connections_are_listed_and_closed_by_the_operator() {
    let (server, port) = serve(|port| both(port, "", "    exit;", ""), &["-n", "2"]);
    let client = TcpSip::new(port);
    assert_eq!(client.options().status(), 200);
    let list = connections(&server);
    assert_eq!(list.len(), 1);
    assert_eq!((&list[0]["remote"], &list[0]["state"]), (&client.local.to_string().into(), &"open".into()));
    assert_eq!((&list[0]["received"], &list[0]["sent"]), (&1.into(), &1.into()));
    server.ctl("tcp-close", serde_json::json!([list[0]["id"]]));
    client.wait_closed(SECOND * 2);
    assert!(server.try_ctl("tcp-close", serde_json::json!([list[0]["id"]])).is_err());
}

#[test]
fn a_request_too_large_for_a_datagram_goes_over_tcp() {
    // A callee on UDP and TCP of one port.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let udp = Uas::start_at(addr.port(), |_| vec![Answer::new(200, "OK")]);
    let tcp = TcpUas::on(listener, |_| vec![200]);
    let (server, port) = serve(|port| both(port, "", &to("udp", addr), ""), &["-n", "1"]);
    let client = SipClient::new(port);
    let small = client.request("MESSAGE", "sip:bob@example.test").body("text/plain", "small\n");
    assert_eq!(client.ask(&small).status(), 200);
    assert_eq!((udp.count("MESSAGE"), tcp.count("MESSAGE")), (1, 0));
    let large = client.request("MESSAGE", "sip:bob@example.test").body("text/plain", &"x".repeat(1200));
    assert_eq!(client.ask(&large).status(), 200);
    assert_eq!((udp.count("MESSAGE"), tcp.count("MESSAGE")), (1, 1));
    let seen = tcp.wait_request("MESSAGE", SECOND);
    assert!(seen.all("Via")[0].starts_with(&format!("SIP/2.0/TCP 127.0.0.1:{port};branch=")), "{}", seen.raw);
    assert_eq!(stat(&server, "net:tcp_connects"), 1);
}

#[test]
fn a_large_request_falls_back_to_udp_where_there_is_no_tcp() {
    let uas = Uas::answering();
    let (server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "2"]);
    let client = SipClient::new(port);
    for _ in 0..4 {
        let invite = client.invite("sip:bob@example.test").header(&format!("X-Long: {}", "x".repeat(1500)));
        let ok = client.ask(&invite);
        assert_eq!(ok.status(), 200, "{}", ok.raw);
        client.send_request(&invite.ack(&ok));
    }
    let seen = uas.wait_request("INVITE", SECOND);
    assert!(seen.all("Via")[0].starts_with("SIP/2.0/UDP"), "{}", seen.raw);
    assert_eq!(uas.count("INVITE"), 4);
    assert!(stat(&server, "net:tcp_connect_failed") >= 4);
}

#[test]
fn an_alias_leads_requests_to_the_connection_of_the_client() {
    // A client that listens nowhere: its sent-by port is reached over its own connection.
    let relay = "    $du = \"sip:127.0.0.1:5999;transport=tcp\";\n    route(out);";
    let (_server, port) = serve(|port| both(port, "tcp_accept_aliases=1\n", relay, ""), &["-n", "3"]);
    let callee = TcpSip::new(port);
    let mut hello = callee.request("OPTIONS", "sip:example.test");
    hello.via = format!("SIP/2.0/TCP 127.0.0.1:5999;alias;branch={}", unique("z9hG4bK-t-"));
    assert_eq!(callee.ask(&hello).status(), 200);
    let caller = SipClient::new(port);
    for _ in 0..9 {
        let request = caller.request("MESSAGE", "sip:bob@example.test");
        caller.send_request(&request);
        let seen = callee.expect(SECOND * 5);
        assert_eq!(seen.call_id(), request.call_id);
        callee.send(crate::support::sip::response(&seen, 200, "OK", "t", &[], ""));
        assert_eq!(caller.expect_status(200, SECOND * 5).call_id(), request.call_id);
    }
}

#[test]
fn flags_forbid_new_connections() {
    let uas = TcpUas::answering();
    let relay = format!("    setbflag(\"NO_NEW\");\n{}", to("tcp", uas.addr));
    let (server, port) = serve(|port| both(port, "tcp_no_new_conn_bflag=NO_NEW\n", &relay, ""), &["-n", "1"]);
    let client = SipClient::new(port);
    let answer = client.ask(&client.request("MESSAGE", "sip:bob@example.test"));
    assert_eq!(answer.status(), 477, "{}", answer.raw);
    assert_eq!((uas.connections(), stat(&server, "net:tcp_connects")), (0, 0));
}

#[test]
fn nothing_that_came_over_a_connection_is_lost_on_a_full_bus() {
    let uas = Uas::start(|_| Vec::new());
    let relay = "    send_reply(200, \"Taken\");\n    exit;";
    let (server, port) = serve(|port| both(port, "bus_size=4096\n", relay, ""), &["-n", "3"]);
    let client = TcpSip::new(port);
    let pad = format!("X-Pad: {}", "p".repeat(700));
    let all: Vec<_> = (0..2000).map(|_| client.request("MESSAGE", "sip:bob@example.test").header(&pad)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| all.iter().for_each(|r| client.send(r.text())));
        let mut open: std::collections::HashSet<&str> = all.iter().map(|r| r.call_id.as_str()).collect();
        while !open.is_empty() {
            let answer = client.expect(SECOND * 30);
            assert_eq!(answer.status(), 200);
            assert!(open.remove(answer.call_id()), "twice: {}", answer.raw);
        }
    });
    assert_eq!((stat(&server, "bus:full"), stat(&server, "bus:gone")), (0, 0));
    drop(uas);
    wait_quiet(&server, SECOND * 20);
}

/// Which worker has a connection, by the id that `tcp-list` shows.
fn worker_of(server: &Reprise, client: &TcpSip) -> usize {
    let list = connections(server);
    let own = list.iter().find(|c| c["remote"] == client.local.to_string().as_str()).expect("listed");
    own["id"].as_str().unwrap().split('.').next().unwrap().parse().unwrap()
}

/// Process ids of the workers by their number.
fn pids(server: &Reprise) -> Vec<i32> {
    let ps = server.ctl("ps", Value::Null);
    let workers = ps.as_array().unwrap().iter().filter(|p| p["kind"] == "worker");
    workers.map(|p| p["pid"].as_i64().unwrap() as i32).collect()
}

#[test]
fn a_reply_reaches_its_connection_after_its_worker_died() {
    let uas = Uas::start(|_| vec![Answer::new(200, "OK").after(SECOND * 2)]);
    let (server, port) = serve(|port| both(port, "", &to("udp", uas.addr), ""), &["-n", "2"]);
    let client = TcpSip::new(port);
    let requests: Vec<_> = (0..12).map(|_| client.request("INVITE", "sip:bob@example.test")).collect();
    for r in &requests {
        client.send(r.text());
    }
    wait_for("requests", SECOND * 2, || uas.count("INVITE") == 12);
    let keep = worker_of(&server, &client);
    process::signal(pids(&server)[1 - keep], Signal::SIGKILL);
    let mut open: std::collections::HashSet<&str> = requests.iter().map(|r| r.call_id.as_str()).collect();
    while !open.is_empty() {
        let answer = client.expect(SECOND * 10);
        if answer.status() == 200 {
            assert_eq!(answer.all("Via").len(), 1, "{}", answer.raw);
            open.remove(answer.call_id());
        }
    }
}

#[test]
fn connections_of_other_workers_do_not_notice_a_death_under_load() {
    let (server, port) = serve(|port| both(port, "", "    exit;", ""), &["-n", "2"]);
    let clients: Vec<TcpSip> = (0..16).map(|_| TcpSip::new(port)).collect();
    for c in &clients {
        assert_eq!(c.options().status(), 200);
    }
    let victim = worker_of(&server, &clients[0]);
    let survivors: Vec<&TcpSip> = clients.iter().filter(|c| worker_of(&server, c) != victim).collect();
    assert!(!survivors.is_empty());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for c in &survivors {
            // Requests whose owner dies under them are lost; the connection is not.
            scope.spawn(|| {
                let mut answered = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    c.send(c.request("OPTIONS", "sip:example.test").text());
                    answered += u32::from(c.recv(SECOND / 5).is_some());
                }
                assert!(answered > 0);
            });
        }
        std::thread::sleep(SECOND / 2);
        process::signal(pids(&server)[victim], Signal::SIGKILL);
        wait_for("replacement", SECOND * 10, || stat(&server, "core:process_restarts") == 1);
        std::thread::sleep(SECOND / 2);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for c in &survivors {
        while c.recv(SECOND / 5).is_some() {}
        assert_eq!(c.options().status(), 200);
    }
}

#[test]
fn without_file_descriptors_a_worker_waits_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("few-files");
    std::fs::write(&wrapper, format!("#!/bin/sh\nulimit -n 80\nexec {} \"$@\"\n", crate::support::reprise::BINARY))
        .unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let port = crate::support::free_port();
    let server = Reprise::launch(&wrapper, &both(port, "", "    exit;", ""), &["-n", "1"], &[]).expect("it starts");
    server.wait_log("open files are allowed", SECOND);
    let clients: Vec<TcpSip> = (0..120).map(|_| TcpSip::new(port)).collect();
    server.wait_log("cannot accept connections: .*Too many open files", SECOND * 5);
    let worker = server.worker_pids()[0];
    let before = process::cpu_ns(worker);
    std::thread::sleep(SECOND);
    let used = process::cpu_ns(worker) - before;
    assert!(used < 300_000_000, "it spins: {used} ns in a second");
    assert_eq!(clients[0].options().status(), 200);
    drop(clients);
    wait_for("an answer", SECOND * 10, || {
        let c = TcpSip::new(port);
        c.send(c.request("OPTIONS", "sip:example.test").text());
        c.recv(SECOND).is_some()
    });
}

#[test]
fn scripts_set_aliases_and_close_connections() {
    let relay = r#"
    if ($rU == "alias") {
        if (force_tcp_alias(5998)) send_reply(200, "Aliased"); else send_reply(400, "No connection");
        exit;
    }
    if ($rU == "close") {
        send_reply(200, "Closing");
        if (!tcp_close_conn("$si:$sp")) xlog("no such connection\n");
        exit;
    }
    if ($rU == "mine") {
        if (is_myself("tcp:127.0.0.1") && !is_myself("tls:127.0.0.1")) send_reply(200, "Mine"); else send_reply(404, "No");
        exit;
    }
    $du = "sip:127.0.0.1:5998;transport=tcp";
    route(out);"#;
    let (_server, port) = serve(|port| both(port, "", relay, ""), &["-n", "3"]);
    let udp = SipClient::new(port);
    assert_eq!(udp.ask(&udp.request("MESSAGE", "sip:alias@example.test")).status(), 400);
    let callee = TcpSip::new(port);
    assert_eq!(callee.ask(&callee.request("MESSAGE", "sip:mine@example.test")).status(), 200);
    assert_eq!(callee.ask(&callee.request("MESSAGE", "sip:alias@example.test")).status(), 200);
    let request = udp.request("MESSAGE", "sip:bob@example.test");
    udp.send_request(&request);
    let seen = callee.expect(SECOND * 5);
    callee.send(crate::support::sip::response(&seen, 200, "OK", "t", &[], ""));
    assert_eq!(udp.expect_status(200, SECOND * 5).call_id(), request.call_id);
    assert_eq!(callee.ask(&callee.request("MESSAGE", "sip:close@example.test")).status(), 200);
    callee.wait_closed(SECOND * 5);
}

#[test]
fn requests_on_the_connection_of_a_worker_that_dies_fail() {
    let uas = TcpUas::start(|_| Vec::new());
    let (server, port) = serve(|port| both(port, "", &to("tcp", uas.addr), ""), &["-n", "2"]);
    let client = SipClient::new(port);
    // The first one opens the connection: two workers that begin at once would open two.
    for more in [1, 15] {
        let before = uas.count("MESSAGE");
        for _ in 0..more {
            client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
        }
        wait_for("requests", SECOND * 5, || uas.count("MESSAGE") == before + more);
    }
    let list = connections(&server);
    assert_eq!(list.len(), 1, "{list:?}");
    let owner: usize = list[0]["id"].as_str().unwrap().split('.').next().unwrap().parse().unwrap();
    process::signal(pids(&server)[owner], Signal::SIGKILL);
    // Those of the other worker; who died cannot answer.
    client.expect_status(500, SECOND * 5);
    wait_quiet(&server, SECOND * 20);
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
}
