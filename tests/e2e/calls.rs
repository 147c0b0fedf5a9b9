//! Calls through the server as a proxy (RFC 3261 16): with SIPp in numbers, and one by one with
//! what each side must see.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::common::{SECOND, address, proxy, proxy_to, serve, stat, wait_quiet};
use crate::support::free_port;
use crate::support::reprise::Reprise;
use crate::support::sip::{SipClient, SipMessage};
use crate::support::sipp::Sipp;
use crate::support::uas::{Answer, Uas};

fn sipp_calls(workers: &str) {
    let uas = Sipp::uas("uas-invite", &[]);
    let (server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", workers]);
    let calls = Sipp::uac("uac-invite", address(port), 500, 100, &[]).wait(SECOND * 60);
    let stats = server.ctl("stats", serde_json::Value::Null);
    let answered = uas.stop();
    let ok = (calls.succeeded, calls.failed, answered.succeeded, answered.failed) == (500, 0, 500, 0);
    assert!(ok, "caller: {calls:#?}\ncallee: {answered:#?}\n{stats:#}");
    // INVITE and BYE; the ACKs pass without state.
    assert_eq!(stat(&server, "tm:UAS_transactions"), 1000);
    assert_eq!(stat(&server, "tm:2xx_transactions"), 1000);
    wait_quiet(&server, SECOND * 60);
}

#[test]
fn sipp_calls_through_one_worker() {
    sipp_calls("1");
}

#[test]
fn sipp_calls_through_two_workers() {
    sipp_calls("2");
}

#[test]
fn sipp_calls_are_cancelled() {
    let uas = Sipp::uas("uas-cancel", &[]);
    let (server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", "2"]);
    Sipp::uac("uac-cancel", address(port), 200, 100, &[]).wait(SECOND * 60).assert_all(200);
    let answered = uas.stop();
    assert_eq!((answered.succeeded, answered.failed), (200, 0), "{answered:?}");
    wait_quiet(&server, SECOND * 60);
}

fn vias(message: &SipMessage) -> Vec<String> {
    message.all("Via").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_message_of_a_call_passes_the_proxy() {
    let uas = Uas::answering();
    let (_server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", "1"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test").body("text/plain", "a body\n");
    let answers = client.exchange(&invite, SECOND * 5);
    let codes: Vec<u16> = answers.iter().map(SipMessage::status).collect();
    assert_eq!(codes, [100, 180, 200]);
    assert_eq!(answers[0].reason(), "Giving it a try");
    let ok = answers.last().unwrap();
    assert_eq!(ok.all("Via").len(), 1, "our Via is gone: {}", ok.raw);
    assert_eq!(ok.branch(), invite.branch());

    let seen = uas.wait_request("INVITE", SECOND);
    assert_eq!(seen.uri(), "sip:bob@example.test", "$du changes the next hop only");
    assert!(vias(&seen)[0].starts_with(&format!("SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK")), "{}", seen.raw);
    assert!(vias(&seen)[1].contains(&format!(";rport={}", client.local.port())), "{}", seen.raw);
    assert_eq!(seen.header("Max-Forwards"), Some("69"));
    let record = seen.header("Record-Route").unwrap();
    assert!(record.starts_with(&format!("<sip:127.0.0.1:{port};lr")), "{record}");
    assert_eq!(seen.body, "a body\r\n");
    assert_eq!(ok.header("Record-Route"), Some(record));

    client.send_request(&invite.ack(ok));
    let ack = uas.wait_request("ACK", SECOND);
    assert_eq!((ack.all("Via").len(), ack.header("Route")), (2, None), "{}", ack.raw);
    let bye = client.ask(&invite.in_dialog("BYE", ok));
    assert_eq!(bye.status(), 200);
    let seen = uas.wait_request("BYE", SECOND);
    assert_eq!((seen.all("Via").len(), seen.header("Route")), (2, None), "{}", seen.raw);
    assert_eq!((uas.count("INVITE"), uas.count("ACK"), uas.count("BYE")), (1, 1, 1));
}

#[test]
fn retransmissions_are_absorbed() {
    let uas = Uas::start(|_| vec![Answer::new(200, "OK").after(Duration::from_millis(600))]);
    let (server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", "2"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    for _ in 0..4 {
        client.send_request(&invite);
        client.expect_status(100, SECOND);
    }
    let ok = client.expect_status(200, SECOND * 2);
    // T1 is 500 ms: the proxy itself has sent the INVITE once more.
    assert!(uas.count("INVITE") <= 2, "{}", uas.count("INVITE"));
    client.send_request(&invite.ack(&ok));
    uas.wait_request("ACK", SECOND);
    assert_eq!(stat(&server, "tm:retransmissions_absorbed"), 3);
    assert_eq!(stat(&server, "tm:UAS_transactions"), 1);
}

#[test]
fn a_refusal_is_acknowledged_hop_by_hop() {
    let uas = Uas::rejecting(486, "Busy Here");
    let (_server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", "1"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    let busy = client.ask(&invite);
    assert_eq!((busy.status(), busy.reason()), (486, "Busy Here"));
    // 17.1.1.3: the proxy acknowledges to the callee by itself, before our ACK.
    let ack = uas.wait_request("ACK", SECOND);
    assert_eq!(ack.branch(), uas.wait_request("INVITE", SECOND).branch());
    // Until our ACK the proxy repeats the 486 (timer G).
    client.expect_status(486, SECOND);
    client.send_request(&invite.ack(&busy));
    client.expect_silence(SECOND * 2);
    assert_eq!(uas.count("ACK"), 1, "our ACK ends at the proxy");
}

#[test]
fn the_first_of_two_branches_to_answer_wins() {
    let slow = Uas::ringing();
    let fast = Uas::start(|request| match request.method() {
        "INVITE" => {
            vec![Answer::new(180, "Ringing"), Answer::new(200, "OK").after(Duration::from_millis(200))]
        }
        _ => vec![Answer::new(200, "OK")],
    });
    let relay = format!(
        "    $ru = \"sip:slow@{}\";\n    append_branch(\"sip:fast@{}\");\n    route(out);",
        slow.addr, fast.addr
    );
    let (_server, port) = serve(|port| proxy(port, "", &relay, ""), &["-n", "1"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    let answers = client.exchange(&invite, SECOND * 5);
    let codes: Vec<u16> = answers.iter().map(SipMessage::status).collect();
    assert_eq!(codes, [100, 180, 180, 200]);
    let ok = answers.last().unwrap();
    // 16.7 step 10: the branch that still rings is cancelled.
    let cancel = slow.wait_request("CANCEL", SECOND);
    let ringing = slow.wait_request("INVITE", SECOND);
    assert_eq!((cancel.branch(), cancel.uri()), (ringing.branch(), ringing.uri()));
    slow.wait_request("ACK", SECOND);
    assert_eq!(fast.count("CANCEL"), 0);
    client.send_request(&invite.ack(ok));
    fast.wait_request("ACK", SECOND);
    assert_eq!(client.ask(&invite.in_dialog("BYE", ok)).status(), 200);
    assert_eq!((slow.count("BYE"), fast.count("BYE")), (0, 1));
    // The 487 of the other branch goes no further.
    client.expect_silence(SECOND / 2);
}

#[test]
fn the_best_of_several_refusals_is_chosen() {
    let refusals = [(503, "Service Unavailable"), (404, "Not Found"), (486, "Busy Here")];
    let uas: Vec<Uas> = refusals.iter().map(|(status, reason)| Uas::rejecting(*status, reason)).collect();
    let relay = format!(
        "    $ru = \"{}\";\n    append_branch(\"{}\");\n    append_branch(\"{}\");\n    route(out);",
        uas[0].uri(),
        uas[1].uri(),
        uas[2].uri()
    );
    let (_server, port) = serve(|port| proxy(port, "", &relay, ""), &["-n", "1"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    let answer = client.ask(&invite);
    // 16.7 step 6: the lowest class that is there.
    assert!(answer.status() / 100 == 4, "{}", answer.raw);
    client.send_request(&invite.ack(&answer));
    for u in &uas {
        u.wait_request("ACK", SECOND);
    }
    client.expect_silence(SECOND);
}

#[test]
fn a_cancel_ends_every_branch() {
    let (a, b) = (Uas::ringing(), Uas::ringing());
    let relay = format!("    $ru = \"{}\";\n    append_branch(\"{}\");\n    route(out);", a.uri(), b.uri());
    let (_server, port) = serve(|port| proxy(port, "", &relay, ""), &["-n", "2"]);
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    client.send_request(&invite);
    client.expect_status(180, SECOND);
    client.expect_status(180, SECOND);
    client.send_request(&invite.cancel());
    let mut seen: Vec<(String, u16)> = (0..2)
        .map(|_| {
            let m = client.recv(SECOND).expect("an answer");
            (m.method().to_owned(), m.status())
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [("CANCEL".to_owned(), 200), ("INVITE".to_owned(), 487)]);
    for u in [&a, &b] {
        u.wait_request("CANCEL", SECOND);
        u.wait_request("ACK", SECOND);
    }
}

#[test]
fn a_failure_route_tries_another_destination() {
    let (busy, free) = (Uas::rejecting(486, "Busy Here"), Uas::answering());
    let routes = format!(
        r#"
failure_route[next] {{
    if (t_was_cancelled())
        exit;
    xlog("failed with $T_reply_code\n");
    if (t_check_status("486|408")) {{
        $du = "sip:{}";
        t_relay();
    }}
}}
onreply_route[look] {{
    xlog("reply $rs\n");
}}
"#,
        free.addr
    );
    let relay = format!(
        "    t_on_failure(\"next\");\n    t_on_reply(\"look\");\n    $du = \"sip:{}\";\n    route(out);",
        busy.addr
    );
    let (server, port) = serve(|port| proxy(port, "", &relay, &routes), &["-n", "1"]);
    let client = SipClient::new(port);
    let (answer, bye) = client.call("sip:bob@example.test");
    assert_eq!((answer.status(), bye.unwrap().status()), (200, 200));
    busy.wait_request("ACK", SECOND);
    free.wait_request("ACK", SECOND);
    server.wait_log("failed with 486", SECOND);
    server.wait_log("reply 180", SECOND);
    let (first, second) = (busy.wait_request("INVITE", SECOND), free.wait_request("INVITE", SECOND));
    assert_ne!(first.branch(), second.branch());
    assert_eq!(first.call_id(), second.call_id());
}

#[test]
fn a_silent_callee_times_out_into_the_failure_route() {
    let (silent, free) = (Uas::silent(), Uas::answering());
    let routes = format!(
        "failure_route[next] {{\n xlog(\"failed with $T_reply_code\\n\");\n $du = \"sip:{}\";\n t_relay();\n}}\n",
        free.addr
    );
    let relay = format!("    t_on_failure(\"next\");\n    $du = \"sip:{}\";\n    route(out);", silent.addr);
    let config = |port| proxy(port, "", &relay, &routes) + r#"modparam("tm", "fr_timeout", 1)"#;
    let (server, port) = serve(config, &["-n", "1"]);
    let start = Instant::now();
    let (answer, bye) = SipClient::new(port).call("sip:bob@example.test");
    assert_eq!((answer.status(), bye.unwrap().status()), (200, 200));
    assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());
    server.wait_log("failed with 408", SECOND);
}

#[test]
fn branch_routes_change_each_branch_by_itself() {
    let (a, b) = (Uas::rejecting(404, "Not Found"), Uas::answering());
    let routes = r#"
branch_route[each] {
    append_hf("X-Branch: $rU\r\n");
    if ($rU == "dropped")
        drop;
}
"#;
    let relay = format!(
        "    t_on_branch(\"each\");\n    $ru = \"sip:one@{}\";\n    append_branch(\"sip:two@{}\");\n    append_branch(\"sip:dropped@{}\");\n    route(out);",
        a.addr, b.addr, a.addr
    );
    let (_server, port) = serve(|port| proxy(port, "", &relay, routes), &["-n", "1"]);
    let (answer, _) = SipClient::new(port).call("sip:bob@example.test");
    assert_eq!(answer.status(), 200);
    assert_eq!(a.wait_request("INVITE", SECOND).all("X-Branch"), ["one"]);
    assert_eq!(b.wait_request("INVITE", SECOND).all("X-Branch"), ["two"]);
    assert_eq!(a.count("INVITE"), 1);
}

#[test]
fn a_call_crosses_from_ipv6_to_ipv4() {
    let uas = Uas::answering();
    let (port, port6) = (free_port(), free_port());
    assert!(UdpSocket::bind(("::1", port6)).is_ok(), "no IPv6 on the loop-back interface");
    let config = proxy_to(port, uas.addr).replacen("socket=", &format!("socket=udp:[::1]:{port6}\nsocket="), 1);
    let _server = Reprise::start(&config, &["-n", "2"]);
    let client = SipClient::to(format!("[::1]:{port6}").parse().unwrap());
    assert_eq!(client.options(&format!("sip:[::1]:{port6}")).status(), 200);
    let invite = client.invite("sip:bob@example.test");
    let ok = client.ask(&invite);
    assert_eq!(ok.status(), 200);
    let seen = uas.wait_request("INVITE", SECOND);
    assert!(vias(&seen)[0].starts_with(&format!("SIP/2.0/UDP 127.0.0.1:{port};")), "{}", seen.raw);
    // One Record-Route for each side.
    let records: Vec<&str> = seen.all("Record-Route").into_iter().flat_map(|v| v.split(',')).collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0].contains(&format!("127.0.0.1:{port}")) && records[0].contains("r2=on"), "{records:?}");
    assert!(records[1].contains(&format!("[::1]:{port6}")) && records[1].contains("r2=on"), "{records:?}");
    client.send_request(&invite.ack(&ok));
    let ack = uas.wait_request("ACK", SECOND);
    assert_eq!(ack.header("Route"), None, "both Routes were ours: {}", ack.raw);
    assert_eq!(client.ask(&invite.in_dialog("BYE", &ok)).status(), 200);
}

#[test]
fn names_of_ours_are_advertised_and_recognised() {
    let uas = Uas::answering();
    let (port, inner) = (free_port(), free_port());
    let relay = format!(
        "    if (!is_myself(\"$rd\")) {{\n        sl_send_reply(403, \"Not ours\");\n        exit;\n    }}\n    $du = \"sip:{}\";\n    route(out);",
        uas.addr
    );
    let globals = format!("socket=udp:127.0.0.1:{inner} as 10.1.2.3:7777\nalias=\"pbx.test\"\n");
    let config = proxy(port, &globals, &relay, "").replacen(&format!("socket=udp:127.0.0.1:{port}\n"), "", 1);
    let _server = Reprise::start(&config, &["-n", "1"]);
    let client = SipClient::new(inner);
    assert_eq!(client.ask(&client.invite("sip:bob@example.test")).status(), 403);
    assert_eq!(client.ask(&client.invite("sip:bob@pbx.test")).status(), 200);
    let seen = uas.wait_request("INVITE", SECOND);
    assert!(vias(&seen)[0].starts_with("SIP/2.0/UDP 10.1.2.3:7777;"), "{}", seen.raw);
    assert!(seen.header("Record-Route").unwrap().starts_with("<sip:10.1.2.3:7777;"), "{}", seen.raw);
    assert_eq!(client.ask(&client.invite("sip:bob@10.1.2.3:7777")).status(), 200);
}

#[test]
fn what_cannot_be_sent_is_answered() {
    let config = |port| {
        let relay = r#"
    if ($rU == "nowhere") $du = "sip:no-such-host.invalid";
    if ($rU == "tel") $ru = "tel:+123";
    route(out);"#;
        proxy(port, "", relay, "")
    };
    let (_server, port) = serve(config, &["-n", "1"]);
    let client = SipClient::new(port);
    let answer = client.ask(&client.invite("sip:nowhere@example.test"));
    assert_eq!(answer.status(), 476, "{}", answer.raw);
    let answer = client.ask(&client.invite("sip:tel@example.test"));
    assert_eq!(answer.status(), 416, "{}", answer.raw);
    assert_eq!(client.options("sip:example.test").status(), 200);
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let uas = Uas::answering();
    let config = |port| {
        let relay = format!(
            r#"    if ($rU == "spiral") {{
        $rU = "landed";
        $du = "sip:127.0.0.1:{port}";
    }} else if ($rU == "landed")
        $du = "sip:{}";
    else
        $du = "sip:127.0.0.1:{port}";
    route(out);"#,
            uas.addr
        );
        proxy(port, "", &relay, "")
    };
    for workers in ["1", "2"] {
        let (server, port) = serve(config, &["-n", workers]);
        let client = SipClient::new(port);
        for method in ["INVITE", "MESSAGE"] {
            let request = client.request(method, "sip:bob@example.test");
            let answer = client.ask(&request);
            assert_eq!((answer.status(), answer.reason()), (482, "Loop Detected"), "{}", answer.raw);
            assert_eq!(answer.all("Via").len(), 1, "{}", answer.raw);
            if method == "INVITE" {
                client.send_request(&request.ack(&answer));
            }
        }
        // Who sends a request is part of what decides its route: it goes round once, not until Max-Forwards is used up.
        assert_eq!(stat(&server, "tm:UAS_transactions"), 6);
        // One that comes back with another Request-URI is no loop.
        let (answer, _) = client.call("sip:spiral@example.test");
        assert_eq!(answer.status(), 200);
        wait_quiet(&server, SECOND * 60);
    }
    assert_eq!(uas.count("INVITE"), 2);
}

#[test]
fn a_request_that_grows_too_large_for_a_datagram_is_refused() {
    let uas = Uas::answering();
    let (server, port) = serve(|port| proxy_to(port, uas.addr), &["-n", "2"]);
    let client = SipClient::new(port);
    // It fits as it comes, not with what the proxy adds.
    let empty = client.request("MESSAGE", "sip:bob@example.test").body("text/plain", "").text().len();
    let room = 65_507 - empty - 64;
    let request = client.request("MESSAGE", "sip:bob@example.test").body("text/plain", &"x".repeat(room));
    assert!(request.text().len() <= 65_507);
    let answer = client.ask(&request);
    assert_eq!((answer.status(), answer.reason()), (513, "Message Too Large (513/TM)"), "{}", answer.raw);
    let request = client.invite("sip:bob@example.test").body("text/plain", &"x".repeat(room - 100));
    let answer = client.ask(&request);
    assert_eq!(answer.status(), 513, "{}", answer.raw);
    client.send_request(&request.ack(&answer));
    assert_eq!(uas.received().len(), 0);
    let request = client.request("MESSAGE", "sip:bob@example.test").body("text/plain", &"x".repeat(room - 1000));
    assert_eq!(client.ask(&request).status(), 200, "one that fits passes");
    wait_quiet(&server, SECOND * 60);
}
