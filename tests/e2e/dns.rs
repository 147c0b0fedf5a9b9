//! Next hops by name (RFC 3263): NAPTR, SRV, fail-over within a branch, and what goes on while a name
//! server says nothing.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Footprint, SECOND, held, listening, proxy, serve, stat, wait_quiet};
use crate::support::dns::{Dns, NAPTR, Zone, naptr};
use crate::support::eventually;
use crate::support::reprise::Reprise;
use crate::support::sip::{SipClient, SipMessage};
use crate::support::tcp::TcpUas;
use crate::support::uas::{Answer, Uas};

/// Core parameters: this name server, one try of one second.
fn globals(dns: &Dns) -> String {
    format!("dns_servers = \"{}\"\ndns_retr_time = 1\ndns_retr_no = 1\ndisable_503_translation = yes\n", dns.addr)
}

/// tm's timers: a branch without any reply ends after one second.
const TIMERS: &str = "modparam(\"tm\", \"fr_timeout\", 1)\nmodparam(\"tm\", \"wt_timer\", 1)\n";

/// A failure route that counts itself and answers with what it found.
const FAILURE: &str = r#"
failure_route[lost] {
    xlog("failed with $T_reply_code\n");
    t_reply(480, "All failed");
}
"#;

/// A proxy that relays to the R-URI with a failure route armed.
fn relaying(dns: &Dns, args: &[&str]) -> (Reprise, u16) {
    let relay = "    t_on_failure(\"lost\");\n    route(out);";
    serve(|port| proxy(port, &globals(dns), relay, &format!("{TIMERS}{FAILURE}")), args)
}

/// `_sip._udp.NAME` with these servers on 127.0.0.1, the first one preferred.
fn service(name: &str, ports: &[u16]) -> Zone {
    let mut zone = Zone::default();
    for (i, port) in ports.iter().enumerate() {
        let host = format!("h{i}.{name}");
        zone = zone.srv(&format!("_sip._udp.{name}"), i as u16, *port, &host).host(&host, "127.0.0.1");
    }
    zone
}

/// How many different INVITEs came: retransmissions do not count.
fn invites(uas: &Uas) -> usize {
    let all = uas.received();
    let branches = all.iter().filter(|m| m.method() == "INVITE" && m.status() == 0).map(SipMessage::branch);
    branches.collect::<HashSet<_>>().len()
}

/// Sends an INVITE and waits for its final reply.
fn invite(client: &SipClient, uri: &str) -> (SipMessage, Duration) {
    let request = client.invite(uri);
    let start = Instant::now();
    client.send_request(&request);
    let answer = client.expect("a final reply", SECOND * 10, |m| m.status() >= 200);
    let took = start.elapsed();
    client.send_request(&request.ack(&answer));
    (answer, took)
}

/// A complete call: INVITE, ACK, BYE.
fn call(client: &SipClient, uri: &str) -> Duration {
    let request = client.invite(uri);
    let start = Instant::now();
    client.send_request(&request);
    let answer = client.expect("a final reply", SECOND * 10, |m| m.status() >= 200);
    let took = start.elapsed();
    assert_eq!(answer.status(), 200);
    client.send_request(&request.ack(&answer));
    client.send_request(&request.in_dialog("BYE", &answer));
    client.expect("200 to BYE", SECOND * 5, |m| m.status() == 200 && m.cseq().1 == "BYE");
    took
}

#[test]
fn the_second_server_gets_the_call_when_the_first_is_silent() {
    let (dead, alive) = (Uas::silent(), Uas::answering());
    let dns = service("call.test", &[dead.addr.port(), alive.addr.port()]).serve();
    let (server, port) = relaying(&dns, &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let took = call(&client, "sip:bob@call.test");
    assert!(took >= SECOND - Duration::from_millis(50), "the first had its time: {took:?}");
    let first = dead.wait_request("INVITE", SECOND);
    let second = alive.wait_request("INVITE", SECOND);
    assert_ne!(first.branch(), second.branch(), "a client transaction of its own");
    assert_eq!((first.call_id(), first.cseq(), first.uri()), (second.call_id(), second.cseq(), second.uri()));
    assert_eq!((invites(&alive), alive.count("BYE"), dead.count("BYE")), (1, 1, 0));
    alive.wait_request("ACK", SECOND);
    assert_eq!(server.log_count("failed with"), 0, "no failure route");
    before.wait_back(&server, SECOND * 10);
}

#[test]
fn a_503_leads_to_the_next_server_and_other_replies_do_not() {
    let (busy, alive) = (Uas::rejecting(503, "Service Unavailable"), Uas::answering());
    let decline = Uas::rejecting(486, "Busy Here");
    let (b, a, d) = (busy.addr.port(), alive.addr.port(), decline.addr.port());
    let zone = service("call.test", &[b, a]);
    let zone = zone.srv("_sip._udp.busy.test", 0, d, "h0.call.test").srv("_sip._udp.busy.test", 1, a, "h0.call.test");
    let zone = zone.srv("_sip._udp.only.test", 0, b, "h0.call.test");
    let dns = zone.serve();
    let (server, port) = relaying(&dns, &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let took = call(&client, "sip:bob@call.test");
    assert!(took < SECOND, "at once: {took:?}");
    busy.wait_request("ACK", SECOND);
    assert_eq!((invites(&busy), invites(&alive)), (1, 1));
    assert_eq!(server.log_count("failed with"), 0);
    let (answer, _) = invite(&client, "sip:bob@busy.test");
    assert_eq!(answer.status(), 480);
    server.wait_log("failed with 486", SECOND);
    assert_eq!(invites(&alive), 1, "a 486 is the answer");
    let (answer, _) = invite(&client, "sip:bob@only.test");
    assert_eq!(answer.status(), 480);
    server.wait_log("failed with 503", SECOND);
    assert_eq!(server.log_count("failed with"), 2);
    before.wait_back(&server, SECOND * 10);
}

#[test]
fn when_all_have_failed_the_failure_route_runs_once() {
    let (busy, dead) = (Uas::rejecting(503, "Service Unavailable"), Uas::silent());
    let dns = service("call.test", &[busy.addr.port(), dead.addr.port(), busy.addr.port()]).serve();
    let (server, port) = relaying(&dns, &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let (answer, took) = invite(&client, "sip:bob@call.test");
    assert_eq!((answer.status(), answer.reason()), (480, "All failed"));
    assert!(took >= SECOND - Duration::from_millis(50) && took < SECOND * 4, "{took:?}");
    server.wait_log("failed with 408", SECOND);
    assert_eq!(server.log_count("failed with"), 1);
    assert_eq!(invites(&busy), 1, "the third is the same address and port as the first");
    assert!(invites(&dead) >= 1);
    before.wait_back(&server, SECOND * 10);
}

#[test]
fn no_fail_over_where_it_is_forbidden() {
    let (busy, alive) = (Uas::rejecting(503, "Service Unavailable"), Uas::answering());
    let dns = service("call.test", &[busy.addr.port(), alive.addr.port()]).serve();
    let relay = "    t_relay(\"no-dns-failover\");\n    exit;";
    let off = format!("{}disable_dns_failover = yes\n", globals(&dns));
    let configs = [(globals(&dns), relay), (off, "    route(out);")];
    for (globals, relay) in &configs {
        let (_server, port) = serve(|port| proxy(port, globals, relay, TIMERS), &["-n", "1"]);
        let (answer, _) = invite(&SipClient::new(port), "sip:bob@call.test");
        assert_eq!(answer.status(), 503);
    }
    assert_eq!((invites(&busy), invites(&alive)), (2, 0));
}

#[test]
fn naptr_and_plain_names_lead_on() {
    let alive = Uas::answering();
    let port = alive.addr.port();
    let zone = service("svc.test", &[port])
        .record("naptr.test", NAPTR, naptr(10, 10, "s", "SIPS+D2T", "_sips._tcp.no.test"))
        .record("naptr.test", NAPTR, naptr(20, 10, "s", "SIP+D2U", "_sip._udp.svc.test"))
        .host("plain.test", "127.0.0.1");
    let dns = zone.serve();
    let (server, sip) = relaying(&dns, &["-n", "2"]);
    let client = SipClient::new(sip);
    for uri in ["sip:bob@naptr.test", &format!("sip:bob@plain.test:{port}"), "sip:bob@svc.test;transport=udp"] {
        call(&client, uri);
    }
    assert_eq!(invites(&alive), 3);
    for (uri, status) in [("sip:bob@nowhere.test", 476), ("sip:bob@svc.test;transport=sctp", 476)] {
        let (answer, _) = invite(&client, uri);
        assert_eq!(answer.status(), status, "{uri}");
    }
    server.wait_log("no next hop for \"nowhere.test\": nowhere.test: no such name", SECOND);
}

#[test]
fn a_silent_name_server_disturbs_nobody_and_the_branch_ends_at_its_deadline() {
    let alive = Uas::answering();
    let dns = service("call.test", &[alive.addr.port()]).serve();
    // Five tries of ten seconds: the branch's own timer comes first.
    let slow = format!("dns_servers = \"{}\"\ndns_retr_time = 10\ndns_retr_no = 5\n", dns.addr);
    let relay = "    t_on_failure(\"lost\");\n    route(out);";
    let (server, port) = serve(|port| proxy(port, &slow, relay, &format!("{TIMERS}{FAILURE}")), &["-n", "1"]);
    let before = Footprint::of(&server);
    let (waiting, client) = (SipClient::new(port), SipClient::new(port));
    let request = waiting.invite("sip:bob@silent.test");
    let start = Instant::now();
    waiting.send_request(&request);
    waiting.expect_status(100, SECOND);
    eventually("the name is being looked up", SECOND * 5, || held(&server, "lookups") == 1);
    for _ in 0..5 {
        assert!(call(&client, "sip:bob@call.test") < SECOND);
    }
    let answer = waiting.expect("the end", SECOND * 5, |m| m.status() >= 200);
    let took = start.elapsed();
    assert_eq!((answer.status(), answer.reason()), (476, "Unresolvable destination (476/TM)"));
    assert!(took >= SECOND - Duration::from_millis(50) && took < SECOND * 3, "{took:?}");
    waiting.send_request(&request.ack(&answer));
    wait_quiet(&server, SECOND * 10);
    // The look-up itself is given up later.
    before.wait_back(&server, SECOND * 45);
}

#[test]
fn a_cancel_during_the_look_up() {
    let dns = Zone::default().serve();
    let (server, port) = relaying(&dns, &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let request = client.invite("sip:bob@silent.test");
    client.send_request(&request);
    client.expect_status(100, SECOND);
    eventually("the name is being looked up", SECOND * 5, || held(&server, "lookups") == 1);
    let start = Instant::now();
    client.send_request(&request.cancel());
    client.expect("200 to CANCEL", SECOND, |m| m.status() == 200 && m.cseq().1 == "CANCEL");
    let answer = client.expect("the end", SECOND, |m| m.status() >= 200 && m.cseq().1 == "INVITE");
    assert_eq!(answer.status(), 487);
    assert!(start.elapsed() < Duration::from_millis(900));
    client.send_request(&request.ack(&answer));
    before.wait_back(&server, SECOND * 20);
    assert_eq!(server.log_count("failed with"), 0);
}

#[test]
fn branches_do_not_wait_for_each_others_names() {
    let (first, second) = (Uas::ringing(), Uas::answering());
    let dns = service("call.test", &[second.addr.port()]).serve();
    let relay = format!(
        "    append_branch(\"sip:a@{}\");\n    append_branch(\"sip:b@call.test\");\n    route(out);",
        first.addr
    );
    let (server, port) = serve(|port| proxy(port, &globals(&dns), &relay, TIMERS), &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let request = client.invite("sip:bob@silent.test");
    client.send_request(&request);
    first.wait_request("INVITE", Duration::from_millis(900));
    let answer = client.expect("a final reply", Duration::from_millis(900), |m| m.status() >= 200);
    assert_eq!(answer.status(), 200);
    client.send_request(&request.ack(&answer));
    first.wait_request("CANCEL", SECOND);
    client.send_request(&request.in_dialog("BYE", &answer));
    client.expect("200 to BYE", SECOND * 5, |m| m.status() == 200 && m.cseq().1 == "BYE");
    before.wait_back(&server, SECOND * 20);
}

#[test]
fn many_calls_over_a_dead_server() {
    let (busy, alive) = (Uas::rejecting(503, "Service Unavailable"), Uas::answering());
    let dns = service("call.test", &[busy.addr.port(), alive.addr.port()]).serve();
    let globals = format!("{}exec_dns_threshold = 1\n", globals(&dns));
    let (server, port) = serve(|port| proxy(port, &globals, "    route(out);", TIMERS), &["-n", "2"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    for _ in 0..50 {
        call(&client, "sip:bob@call.test");
    }
    assert_eq!((invites(&busy), invites(&alive)), (50, 50));
    before.wait_back(&server, SECOND * 10);
    server.wait_log(r"slow: _sip\._udp\.call\.test Srv took \d+ ms", SECOND);
    let asked = dns.asked().len();
    assert!(asked <= 10, "{asked} questions for 50 calls");
}

#[test]
fn the_blacklist_remembers_what_failed() {
    let (dead, alive) = (Uas::silent(), Uas::answering());
    let dns = service("call.test", &[dead.addr.port(), alive.addr.port()]).serve();
    let globals = format!("{}disable_dns_blacklist = no\n", globals(&dns));
    let (server, port) = serve(|port| proxy(port, &globals, "    route(out);", TIMERS), &["-n", "1"]);
    let client = SipClient::new(port);
    assert!(call(&client, "sip:bob@call.test") >= SECOND - Duration::from_millis(50));
    assert_eq!(held(&server, "blacklist"), 1);
    let before = invites(&dead);
    for _ in 0..3 {
        assert!(call(&client, "sip:bob@call.test") < SECOND, "the dead one is passed over");
    }
    assert_eq!(invites(&dead), before);
    // Nothing is left but what is on the list.
    let only = service("only.test", &[dead.addr.port()]);
    drop(only);
    drop(alive);
    let (answer, _) = invite(&client, "sip:bob@call.test");
    assert!(matches!(answer.status(), 408 | 503 | 500), "{}", answer.status());
    let (answer, _) = invite(&client, "sip:bob@call.test");
    assert_eq!((answer.status(), answer.reason()), (473, "Filtered destination (473/TM)"));
}

#[test]
fn stateless_forwarding_takes_the_first_and_always_the_same() {
    let (one, two) = (Uas::answering(), Uas::answering());
    let (a, b) = (one.addr.port(), two.addr.port());
    // Equal weights: the draw decides, and must be the same for a retransmission.
    let zone = Zone::default()
        .srv("_sip._udp.equal.test", 0, a, "h.test")
        .srv("_sip._udp.equal.test", 0, b, "h.test")
        .host("h.test", "127.0.0.1");
    let dns = zone.serve();
    let rest = "route {\n    $du = \"sip:equal.test\";\n    forward();\n}\n";
    let (_server, port) = serve(|port| listening(port, &globals(&dns), rest), &["-n", "1"]);
    let client = SipClient::new(port);
    for _ in 0..20 {
        let request = client.request("MESSAGE", "sip:x@y.test");
        for _ in 0..3 {
            client.send_request(&request);
            client.expect_status(200, SECOND * 5);
        }
    }
    let (a, b) = (one.received(), two.received());
    assert!(a.len() >= 3 && b.len() >= 3, "{} and {}: both are used", a.len(), b.len());
    assert_eq!(a.len() + b.len(), 60);
    assert!(a.iter().all(|m| b.iter().all(|o| o.call_id() != m.call_id())), "a request and its retransmissions");
}

#[test]
fn own_requests_find_their_way_by_name() {
    let (dead, alive) = (Uas::silent(), Uas::answering());
    let dns = service("peer.test", &[dead.addr.port(), alive.addr.port()]).serve();
    let rest = format!(
        "{TIMERS}route {{\n    t_new_request(\"OPTIONS\", \"sip:peer.test\", \"sip:me@x.test\", \"sip:peer.test\");\n    \
         $var(rc) = $rc;\n    sl_send_reply(200, \"rc $var(rc)\");\n}}\n"
    );
    let (server, port) = serve(|port| listening(port, &globals(&dns), &rest), &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    let answer = client.options("sip:x@y.test");
    assert_eq!((answer.status(), answer.reason()), (200, "rc 1"));
    dead.wait_request("OPTIONS", SECOND * 2);
    let got = alive.wait_request("OPTIONS", SECOND * 4);
    assert_eq!(got.uri(), "sip:peer.test");
    before.wait_back(&server, SECOND * 20);
}

#[test]
fn a_reply_of_the_one_that_was_given_up_is_not_lost() {
    // It answers 200 after it was given up.
    let late = Uas::start(|r| match r.method() {
        "INVITE" => vec![Answer::new(200, "OK").after(Duration::from_millis(1600))],
        _ => vec![Answer::new(200, "OK")],
    });
    let ringing = Uas::ringing();
    let dns = service("call.test", &[late.addr.port(), ringing.addr.port()]).serve();
    let (server, port) = serve(|port| proxy(port, &globals(&dns), "    route(out);", TIMERS), &["-n", "1"]);
    let client = SipClient::new(port);
    let request = client.invite("sip:bob@call.test");
    client.send_request(&request);
    client.expect_status(180, SECOND * 4);
    // The late 200 goes upstream all the same, and is the end: who rings is told so.
    let answer = client.expect("the late 200", SECOND * 4, |m| m.status() == 200);
    client.send_request(&request.ack(&answer));
    late.wait_request("ACK", SECOND * 2);
    ringing.wait_request("CANCEL", SECOND * 2);
    wait_quiet(&server, SECOND * 20);
    let _: Value = server.ctl("transactions", Value::Null);
    assert_eq!(stat(&server, "core:drop_replies"), 0);
}

/// A UDP port of 127.0.0.1 that nobody listens on: what is sent there is answered with an ICMP error.
fn closed_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    port
}

#[test]
fn an_unreachable_port_is_passed_over_at_once() {
    let alive = Uas::answering();
    let dns = service("call.test", &[closed_port(), closed_port(), alive.addr.port()]).serve();
    let (server, port) = relaying(&dns, &["-n", "2"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    for _ in 0..10 {
        let took = call(&client, "sip:bob@call.test");
        assert!(took < Duration::from_millis(800), "{took:?}");
    }
    assert_eq!(invites(&alive), 10);
    // Without another one the branch ends at once, too.
    let (answer, took) = invite(&client, &format!("sip:bob@127.0.0.1:{}", closed_port()));
    assert_eq!(answer.status(), 480);
    assert!(took < Duration::from_millis(800), "{took:?}");
    server.wait_log("failed with 503", SECOND);
    before.wait_back(&server, SECOND * 10);
}

#[test]
fn the_hosts_file_is_read_anew_when_it_changes() {
    let alive = Uas::answering();
    let dns = Zone::default().serve();
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 old.test\n").unwrap();
    let globals = format!("{}dns_hosts_file = \"{}\"\n", globals(&dns), hosts.display());
    let (server, port) = serve(|port| proxy(port, &globals, "    route(out);", TIMERS), &["-n", "2"]);
    let client = SipClient::new(port);
    let to = alive.addr.port();
    call(&client, &format!("sip:bob@old.test:{to}"));
    assert_eq!(invite(&client, &format!("sip:bob@new.test:{to}")).0.status(), 476);
    // As an editor does: a new file in the old one's place.
    std::fs::write(dir.path().join("new"), "127.0.0.1 new.test\n").unwrap();
    std::fs::rename(dir.path().join("new"), &hosts).unwrap();
    server.wait_log("has changed: read anew", SECOND * 10);
    eventually("both workers know it", SECOND * 10, || {
        (0..6).all(|_| invite(&client, &format!("sip:bob@new.test:{to}")).0.status() == 200)
    });
    // A worker that is born later knows it, too; it has read the file itself.
    let pids = server.worker_pids();
    crate::support::process::signal(pids[0], nix::sys::signal::Signal::SIGKILL);
    eventually("another worker is there", SECOND * 10, || {
        let now = server.worker_pids();
        now.len() == 2 && now != pids
    });
    for _ in 0..6 {
        eventually("the calls go on", SECOND * 10, || {
            invite(&client, &format!("sip:bob@new.test:{to}")).0.status() == 200
        });
    }
}

#[test]
fn ipv6_by_name_and_fail_over_between_the_versions() {
    // Nobody listens at the IPv4 address of the name; its IPv6 address comes behind it.
    let peer = SipClient::to("[::1]:9".parse().unwrap());
    let to = peer.local.port();
    let dns = Zone::default()
        .srv("_sip._udp.both.test", 0, to, "both.test")
        .host("both.test", "127.0.0.1")
        .host("both.test", "::1")
        .host("six.test", "::1")
        .serve();
    let six = |globals: String, port: u16| {
        proxy(port, &globals, "    route(out);", TIMERS).replacen(
            "socket=",
            &format!("socket=udp:[::1]:{port}\nsocket="),
            1,
        )
    };
    let (server, port) = serve(|port| six(globals(&dns), port), &["-n", "1"]);
    let before = Footprint::of(&server);
    let client = SipClient::new(port);
    for uri in [format!("sip:x@six.test:{to}"), "sip:x@both.test".to_string()] {
        let request = client.request("MESSAGE", &uri);
        client.send_request(&request);
        let got = peer.expect_request("MESSAGE", SECOND * 5);
        assert!(got.header("Via").unwrap().contains("[::1]"), "{}", got.raw);
        peer.respond(&got, 200, "OK", &[]);
        client.expect_status(200, SECOND * 5);
    }
    before.wait_back(&server, SECOND * 20);
    drop(server);
    // Told not to use them.
    let off = format!("{}dns_try_ipv6 = no\n", globals(&dns));
    let (_server, port) = serve(|port| six(off.clone(), port), &["-n", "1"]);
    let client = SipClient::new(port);
    assert_eq!(client.ask(&client.request("MESSAGE", &format!("sip:x@six.test:{to}"))).status(), 476);
}

#[test]
fn a_reply_without_a_transaction_finds_its_way_by_the_name_in_its_via() {
    let caller = SipClient::new(9);
    let dns = service("caller.test", &[caller.local.port()]).serve();
    let (server, port) = relaying(&dns, &["-n", "1"]);
    let before = Footprint::of(&server);
    let callee = SipClient::new(port);
    let reply = |via: &str| {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKgone\r\nVia: SIP/2.0/UDP {via}\r\n\
             From: <sip:a@x.test>;tag=1\r\nTo: <sip:b@x.test>;tag=2\r\nCall-ID: {via}\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let address = caller.local.port();
    for via in ["caller.test;branch=z9hG4bKa".to_string(), format!("h0.caller.test:{address};branch=z9hG4bKb")] {
        callee.send_bytes(reply(&via).as_bytes());
        let got = caller.expect_status(200, SECOND * 5);
        assert_eq!((got.call_id(), got.all("Via").len()), (via.as_str(), 1));
    }
    callee.send_bytes(reply("nowhere.test;branch=z9hG4bKc").as_bytes());
    eventually("it is dropped", SECOND * 5, || stat(&server, "core:drop_replies") == 1);
    before.wait_back(&server, SECOND * 10);
}

/// A proxy on UDP and TCP of one port that relays to the R-URI.
fn over_both(dns: &Dns) -> (Reprise, u16) {
    serve(
        |port| {
            let globals = format!("socket=tcp:127.0.0.1:{port}\n{}", globals(dns));
            proxy(port, &globals, "    route(out);", TIMERS)
        },
        &["-n", "2"],
    )
}

#[test]
fn a_refused_connection_leads_to_the_next_server_and_transport() {
    let (alive, udp) = (TcpUas::answering(), Uas::answering());
    let zone = Zone::default()
        .srv("_sip._tcp.tcp.test", 0, closed_port(), "h.test")
        .srv("_sip._tcp.tcp.test", 1, alive.addr.port(), "h.test")
        .record("mixed.test", NAPTR, naptr(1, 1, "s", "SIP+D2T", "_sip._tcp.dead.test"))
        .record("mixed.test", NAPTR, naptr(1, 2, "s", "SIP+D2U", "_sip._udp.live.test"))
        .srv("_sip._tcp.dead.test", 0, closed_port(), "h.test")
        .srv("_sip._udp.live.test", 0, udp.addr.port(), "h.test")
        .host("h.test", "127.0.0.1");
    let dns = zone.serve();
    let (server, port) = over_both(&dns);
    let client = SipClient::new(port);
    let mut took = Duration::ZERO;
    for _ in 0..4 {
        took += call(&client, "sip:bob@tcp.test;transport=tcp");
        took += call(&client, "sip:bob@mixed.test");
        // No NAPTR, no SRV for UDP: TCP's counts.
        took += call(&client, "sip:bob@tcp.test");
    }
    // The next destination is taken at once, not when the next timer happens to be due.
    assert!(took < SECOND * 3, "{took:?} for twelve calls");
    assert_eq!((alive.count("INVITE"), invites(&udp)), (8, 4));
    wait_quiet(&server, SECOND * 10);
}
