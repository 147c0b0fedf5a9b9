//! `t_relay` with its flags, replies, and what goes with a transaction.

use crate::bed::Bed;
use reprise::base::Str;
use reprise::sip::Message;

fn reason(b: &mut Bed) -> String {
    String::from_utf8_lossy(b.last_to("a1").m.reason()).into_owned()
}

#[test]
fn codes_of_t_relay() {
    // Sent; then it cannot be called again with success once the call was cancelled.
    let main = r#"
        if ($rU == "bob" && is_present_hf("X-Case")) {
            $ru = "sip:x@nowhere.example";
            $var(rc) = t_relay("no-auto-477");
            t_reply(480, "$var(rc)");
            exit;
        }
        if (is_present_hf("X-Tel")) {
            $ru = "tel:+1";
            $var(rc) = t_relay("0x02");
            t_reply(480, "$var(rc)");
            exit;
        }
        if (is_present_hf("X-Auto")) {
            $ru = "sip:x@nowhere.example";
            $var(rc) = t_relay();
            xlog("gave $var(rc)\n");
            exit;
        }
        if (is_present_hf("X-Answered")) {
            t_reply(404, "Gone");
            $var(rc) = t_relay();
            $var(again) = t_reply(200, "OK");
            t_reply(500, "not sent: $var(rc)");
            sl_send_reply(500, "nor this");
            exit;
        }
        t_relay();
    "#;
    let mut b = Bed::relaying(main, "");
    b.invite("c1", "X-Case: 1\r\n");
    b.wait(60_000);
    assert_eq!(reason(&mut b), "-4");
    b.invite("c2", "X-Tel: 1\r\n");
    assert_eq!(reason(&mut b), "-4");
    b.invite("c3", "X-Auto: 1\r\n");
    b.wait(60_000);
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.m.reason()), (476, &b"Unresolvable destination (476/TM)"[..]));
    b.wait(60_000);
    b.did();
    b.invite("c4", "X-Answered: 1\r\n");
    assert_eq!(b.did(), ["a1 404"]);
    b.invite("c5", "");
    assert_eq!(b.did(), ["a1 100", "b1 INVITE"]);
    b.end();
}

#[test]
fn a_destination_is_given_in_each_form() {
    for (call, to) in [
        (r#"t_relay(, "udp:192.0.2.13:5060")"#, "b3"),
        (r#"t_relay("192.0.2.13")"#, "b3"),
        (r#"t_relay("192.0.2.13:5060", "0x02")"#, "b3"),
        (r#"t_relay("no-auto-477,no-dns-failover", "192.0.2.14")"#, "b4"),
    ] {
        let mut b = Bed::relaying(&format!("{call};"), "");
        b.invite("c1", "");
        assert_eq!(b.then(), [format!("{to} INVITE")], "{call}");
        assert_eq!(b.last(to, "INVITE").uri(), "sip:bob@192.0.2.11");
        b.end();
    }
    // $du goes before the proxy.
    let mut b = Bed::relaying(r#"$du = "sip:192.0.2.15"; t_relay(, "192.0.2.13");"#, "");
    b.invite("c1", "");
    assert_eq!(b.then(), ["b5 INVITE"]);
    b.end();
}

fn cancel_with_reason(b: &mut Bed, invite: &Message) -> String {
    let text = String::from_utf8_lossy(invite.bytes()).replace("INVITE", "CANCEL");
    let text = text.replace("Content-Length", "Reason: SIP;cause=200;text=\"elsewhere\"\r\nContent-Length");
    b.send("a1", &Message::parse(Str::from(text.as_str())).unwrap());
    b.last("b1", "CANCEL").header("Reason")
}

#[test]
fn the_reason_of_a_cancel_is_passed_on_if_asked_for() {
    for (flags, expected) in [("", ""), ("pass-reason-hdr", "SIP;cause=200;text=\"elsewhere\"")] {
        let mut b = Bed::relaying(&format!("t_relay(\"{flags}\");"), "");
        let invite = b.invite("c1", "");
        b.answer("b1", 180, "");
        assert_eq!(cancel_with_reason(&mut b, &invite), expected);
        b.answer("b1", 487, "");
        b.end();
    }
    // The script's own reason goes before.
    let front = r#"
        route {
            if (is_method("CANCEL")) {
                t_add_cancel_reason("Reason: Q.850;cause=16");
                t_relay();
                exit;
            }
            t_relay("0x08");
        }
    "#;
    let mut b = Bed::new(front);
    let invite = b.invite("c1", "");
    b.answer("b1", 180, "");
    assert_eq!(cancel_with_reason(&mut b, &invite), "Q.850;cause=16");
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn no_cancel_is_the_callers_wish_and_the_scripts_permission() {
    for (flags, header, cancelled) in [
        ("", "Request-Disposition: no-cancel\r\n", true),
        ("allow-no-cancel", "", true),
        ("allow-no-cancel", "Request-Disposition: proxy, no-cancel\r\n", false),
    ] {
        let mut b = Bed::relaying(&format!("append_branch(\"sip:b@192.0.2.12\"); t_relay(\"{flags}\");"), "");
        b.invite("c1", header);
        b.answer("b1", 180, "");
        b.answer("b2", 200, "");
        assert_eq!(b.then().contains(&"b1 CANCEL".to_string()), cancelled, "{flags} {header}");
        b.answer("b1", 487, "");
        b.end();
    }
}

#[test]
fn headers_are_added_to_all_that_is_sent() {
    let main = r#"
        $var(ok) = t_add_hdrs("X-All: 1\r\nX-More: 2\r\n");
        $var(bad) = t_add_hdrs("no header");
        xlog("codes $var(ok) $var(bad)\n");
        append_branch("sip:b@192.0.2.12");
        t_on_failure("f");
        t_relay();
    "#;
    let routes = r#"failure_route[f] { $ru = "sip:c@192.0.2.13"; t_relay(); }"#;
    let mut b = Bed::relaying(main, routes);
    let invite = b.invite("c1", "");
    b.answer("b1", 486, "");
    b.answer("b2", 404, "");
    b.answer("b3", 180, "");
    b.follow(&invite, "CANCEL", "");
    for (who, method) in [("b1", "INVITE"), ("b2", "INVITE"), ("b1", "ACK"), ("b3", "INVITE"), ("b3", "CANCEL")] {
        let got = b.last(who, method);
        assert_eq!((got.header("X-All").as_str(), got.header("X-More").as_str()), ("1", "2"), "{}", got.text());
    }
    b.answer("b3", 487, "");
    b.end();
}

#[test]
fn transactions_are_made_and_looked_for() {
    let main = r#"
        $var(before) = t_check_trans();
        $var(first) = t_newtran();
        $var(after) = t_check_trans();
        $var(second) = t_newtran();
        t_reply(480, "$var(before) $var(first) $var(after) $var(second)");
    "#;
    let mut b = Bed::relaying(main, "");
    let invite = b.invite("c1", "");
    let end = b.last_to("a1");
    assert_eq!(end.m.reason(), b"-1 1 1 -10");
    // A retransmission never comes to the script.
    b.send("a1", &invite);
    assert_eq!(b.did(), ["a1 480"]);
    b.end();

    // An end-to-end ACK is no part of a transaction; the CANCEL of nothing neither.
    let mut b = Bed::new("route { $var(rc) = t_check_trans(); xlog(\"rc\"); sl_send_reply(480, \"$var(rc)\"); }");
    let ack = b.request("ACK", "c2", "");
    b.send("a1", &ack);
    assert!(b.did().is_empty());
    let cancel = b.request("CANCEL", "c3", "");
    b.send("a1", &cancel);
    assert_eq!(reason(&mut b), "-1");
    b.end();
}

#[test]
fn a_reply_with_a_body() {
    let main = r#"
        t_reply(183, "Soon");
        append_to_reply("Content-Type: text/plain\r\n");
        $var(a) = t_reply_with_body(488, "No", "not acceptable");
        $var(b) = t_reply(500, "late");
        xlog("codes $var(a) $var(b)\n");
    "#;
    let mut b = Bed::relaying(main, "");
    b.invite("c1", "");
    let all = b.got();
    let words: Vec<String> = all.iter().map(|g| g.word()).collect();
    assert_eq!(words, ["a1 183", "a1 488"]);
    assert_eq!((all[1].m.body(), all[1].header("Content-Type").as_str()), (&b"not acceptable"[..], "text/plain"));
    b.end();
}

#[test]
fn auto_100trying_off() {
    let mut b = Bed::new("modparam(\"tm\", \"auto_100trying\", 0)\nroute { t_relay(); }");
    b.invite("c1", "");
    assert_eq!(b.did(), ["b1 INVITE"]);
    // RFC 3261 17.2.1: after 200 ms all the same.
    b.wait(250);
    assert_eq!(b.did(), ["a1 100"]);
    b.end();
}

#[test]
fn a_copy_is_replicated_and_its_replies_go_nowhere() {
    let main = r#"
        $var(bad) = t_replicate("not a uri");
        $var(rc) = t_replicate("sip:192.0.2.19");
        xlog("codes $var(bad) $var(rc)\n");
        t_relay();
    "#;
    let mut b = Bed::relaying(main, "");
    let register = b.request("REGISTER", "c1", "");
    b.send("a1", &register);
    assert_eq!(b.did(), ["b9 REGISTER", "b1 REGISTER"]);
    let copy = b.last("b9", "REGISTER");
    assert_eq!((copy.uri().as_str(), copy.m.vias().count()), ("sip:bob@192.0.2.11", 2));
    // It is retransmitted by itself.
    b.wait(600);
    assert_eq!(b.did(), ["b9 REGISTER", "b1 REGISTER"]);
    b.reply(&copy, 500, "");
    assert!(b.did().is_empty());
    b.answer("b1", 200, "");
    assert_eq!(b.did(), ["a1 200"]);
    b.end();
}

#[test]
fn another_request_is_answered_by_its_call_id() {
    let main = r#"
        if (is_method("INFO")) {
            $var(none) = t_reply_by_callid(480, "x", "unknown");
            $var(rc) = t_reply_by_callid(480, "Taken", "c1", 1);
            sl_send_reply(200, "$var(none) $var(rc)");
            exit;
        }
        t_relay();
    "#;
    let mut b = Bed::relaying(main, "");
    b.invite("c1", "");
    b.answer("b1", 180, "");
    b.did();
    let info = b.request("INFO", "c2", "");
    b.send("a1", &info);
    let all = b.got();
    let words: Vec<String> = all.iter().map(|g| g.word()).collect();
    assert_eq!(words, ["a1 480", "b1 CANCEL", "a1 200"]);
    assert_eq!((all[0].m.reason(), all[2].m.reason()), (&b"Taken"[..], &b"-1 1"[..]));
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn a_minor_branch_is_not_waited_for() {
    let script = r#"
        modparam("tm", "minor_branch_flag", "MINOR")
        route {
            append_branch("sip:b@192.0.2.12", , "MINOR");
            t_relay();
        }
    "#;
    let mut b = Bed::new(script);
    b.invite("c1", "");
    b.answer("b2", 180, "");
    b.answer("b1", 486, "");
    assert_eq!(b.then(), ["b1 INVITE", "b2 INVITE", "a1 180", "b1 ACK", "a1 486", "b2 CANCEL"]);
    b.answer("b2", 487, "");
    b.end();
}

#[test]
fn reliable_provisional_replies_are_never_dropped() {
    let routes = "onreply_route[r] { if ($rs < 200) drop; }";
    let mut b = Bed::relaying("t_on_reply(\"r\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 180, "");
    assert_eq!(b.then(), ["b1 INVITE"], "dropped");
    b.answer("b1", 183, "Require: 100rel\r\nRSeq: 17\r\n");
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.header("RSeq").as_str(), got.header("Require").as_str()), (183, "17", "100rel"));
    // PRACK and UPDATE are requests of the early dialog.
    for method in ["PRACK", "UPDATE"] {
        let m = b.request(method, "c1", "RAck: 17 1 INVITE\r\n");
        b.send("a1", &m);
        let got = b.last("b1", method);
        assert_eq!(got.header("RAck"), "17 1 INVITE");
        b.reply(&got, 200, "");
        assert_eq!(b.last_to("a1").m.status(), 200);
    }
    b.answer("b1", 200, "");
    assert_eq!(b.then(), ["a1 200"]);
    b.end();
}

#[test]
fn every_2xx_goes_up_also_after_the_end() {
    let mut b = Bed::relaying("append_branch(\"sip:b@192.0.2.12\"); t_relay();", "");
    let invite = b.invite("c1", "");
    b.answer("b1", 180, "");
    b.answer("b2", 180, "");
    b.did();
    b.answer("b1", 200, "");
    assert_eq!(b.did(), ["a1 200", "b2 CANCEL"]);
    // It crosses with the CANCEL.
    b.answer("b2", 200, "");
    assert_eq!(b.did(), ["a1 200"]);
    // Repeated: passed on again.
    b.answer("b1", 200, "");
    b.answer("b2", 200, "");
    assert_eq!(b.did(), ["a1 200", "a1 200"]);
    // The INVITE is absorbed, a CANCEL is too late.
    b.send("a1", &invite);
    assert!(b.did().is_empty());
    b.follow(&invite, "CANCEL", "");
    assert_eq!(b.did(), ["a1 200"]);
    // After the transaction's end it is forwarded without state.
    b.wait(100_000);
    b.did();
    assert_eq!(b.sim.live().transactions, 0);
    b.answer("b1", 200, "");
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.m.vias().count()), (200, 1));
    b.end();
}

#[test]
fn clients_of_rfc_2543() {
    let mut b = Bed::relaying("t_relay();", "");
    let text = String::from_utf8_lossy(b.request("INVITE", "c1", "").bytes()).replace("branch=z9hG4bK1", "branch=old");
    let invite = Message::parse(Str::from(text.as_str())).unwrap();
    b.send("a1", &invite);
    assert_eq!(b.did(), ["a1 100", "b1 INVITE"]);
    b.send("a1", &invite);
    assert_eq!(b.did(), ["a1 100"]);
    b.answer("b1", 180, "");
    b.did();
    b.follow(&invite, "CANCEL", "");
    assert_eq!(b.did(), ["a1 200", "b1 CANCEL"]);
    b.answer("b1", 487, "");
    assert_eq!(b.did(), ["b1 ACK", "a1 487"]);
    // With the wrong tag it is not for our 487, which goes on being sent.
    b.follow(&invite, "ACK", "wrong");
    b.wait(600);
    assert!(b.did().contains(&"a1 487".to_string()));
    b.follow(&invite, "ACK", "tb1");
    b.did();
    b.wait(3_000);
    assert!(!b.did().contains(&"a1 487".to_string()));
    b.end();
}
