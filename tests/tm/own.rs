//! Requests of the server's own.

use crate::bed::Bed;
use std::collections::BTreeSet;

#[test]
fn a_request_is_made_through_local_route_with_a_wait() {
    let script = r#"
        modparam("tm", "local_reply_route", "of_own")
        route {
            $var(rc) = t_new_request("MESSAGE", "sip:bob@192.0.2.12", "sip:server@x", "Bob <sip:bob@y>", "text/plain hello world", "note");
            sl_send_reply(200, "$var(rc)");
        }
        local_route {
            sleep(3);
            append_hf("X-Context: $avp(uac_ctx)\r\n");
        }
        onreply_route[of_own] {
            xlog("reply $rs for $avp(uac_ctx)\n");
            t_new_request("OPTIONS", "sip:log@192.0.2.13;s=$rs;c=$avp(uac_ctx)", "sip:server@x", "sip:log@y");
        }
    "#;
    let mut b = Bed::new(script);
    let options = b.request("OPTIONS", "c1", "");
    b.send("a1", &options);
    let got = b.got();
    assert_eq!((got.len(), got[0].m.reason()), (1, &b"1"[..]));
    b.wait(3_000);
    let got = b.last("b2", "MESSAGE");
    assert_eq!(got.m.body(), b"hello world");
    assert_eq!(got.header("X-Context"), "note");
    assert_eq!((got.header("Content-Type").as_str(), got.header("To").as_str()), ("text/plain", "Bob <sip:bob@y>"));
    assert!(got.header("From").starts_with("<sip:server@x>;tag="));
    assert_eq!(got.m.vias().count(), 1);
    b.reply(&got, 202, "");
    b.wait(3_000);
    assert_eq!(b.last("b3", "OPTIONS").uri(), "sip:log@192.0.2.13;s=202;c=note");
    let last = b.last("b3", "OPTIONS");
    b.reply(&last, 200, "");
    b.wait(3_000);
    // Each reply is told of; they are not told of each other without end.
    b.sim.advance(std::time::Duration::from_millis(1));
    assert!(b.sim.live().transactions < 10);
}

#[test]
fn every_request_has_its_own_call_id() {
    let main = r#"
        $var(i) = 0;
        while ($var(i) < 5) {
            t_new_request("OPTIONS", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x");
            $var(i) = $var(i) + 1;
        }
        sl_send_reply(200, "OK");
    "#;
    let mut b = Bed::new(&format!("route {{ {main} }}"));
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    let all = b.got();
    let ids: BTreeSet<(String, String)> =
        all.iter().filter(|g| g.to == "b2").map(|g| (g.header("Call-ID"), g.header("From"))).collect();
    assert_eq!(ids.len(), 5);
    b.end();
}

#[test]
fn what_cannot_be_sent() {
    let main = r#"
        $var(a) = t_new_request("ME SSAGE", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x");
        $var(b) = t_new_request("MESSAGE", "tel:+1", "sip:a@x", "sip:b@x");
        $var(c) = t_new_request("MESSAGE", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x", "nospace");
        $var(d) = t_new_request("ACK", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x");
        sl_send_reply(200, "$var(a) $var(b) $var(c) $var(d)");
    "#;
    let mut b = Bed::new(&format!("route {{ {main} }}"));
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    assert_eq!(b.last_to("a1").m.reason(), b"-1 -1 -1 -1");
    b.end();
}

#[test]
fn a_name_is_looked_up_and_a_dead_one_ends() {
    let script = r#"
        route { t_new_request("OPTIONS", "sip:x@$(rU).example", "sip:a@x", "sip:b@x"); sl_send_reply(200, "OK"); }
    "#;
    let mut b = Bed::with(script, |o| o.zone.add_addresses("bob.example", ["192.0.2.14".parse().unwrap()]));
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    assert_eq!(b.did(), ["a1 200", "b4 OPTIONS"]);
    b.answer("b4", 200, "");
    b.end();
    let mut b = Bed::new(script);
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    assert_eq!(b.did(), ["a1 200"]);
    b.end();
}

#[test]
fn a_2xx_to_an_own_invite_gets_its_ack_each_time() {
    let mut b = Bed::new(
        r#"route { t_new_request("INVITE", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x"); sl_send_reply(200, "OK"); }"#,
    );
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    assert_eq!(b.did(), ["b2 INVITE", "a1 200"]);
    let invite = b.last("b2", "INVITE");
    assert_eq!(invite.header("Contact"), "<sip:127.0.0.1:5060>");
    let lines = "Record-Route: <sip:192.0.2.13;lr>\r\nRecord-Route: <sip:192.0.2.14;lr>\r\nContact: <sip:real@192.0.2.12:6000>\r\n";
    b.answer("b2", 200, lines);
    assert_eq!(b.did(), ["b4 ACK"]);
    let ack = b.last("b4", "ACK");
    assert_eq!(ack.uri(), "sip:real@192.0.2.12:6000");
    let routes: Vec<&[u8]> = ack.m.headers_named(b"Route").map(|h| h.value).collect();
    assert_eq!(routes, [&b"<sip:192.0.2.14;lr>"[..], b"<sip:192.0.2.13;lr>"]);
    assert_eq!((ack.header("CSeq"), ack.header("To")), ("1 ACK".into(), "<sip:b@x>;tag=tb2".into()));
    assert_eq!(ack.header("Call-ID"), invite.header("Call-ID"));
    b.answer("b2", 200, lines);
    assert_eq!(b.did(), ["b4 ACK"]);
    b.end();
}

#[test]
fn a_refused_own_invite_gets_its_hop_by_hop_ack() {
    let mut b = Bed::new(
        r#"route { t_new_request("INVITE", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x"); sl_send_reply(200, "OK"); }"#,
    );
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    b.answer("b2", 486, "");
    assert_eq!(b.did(), ["b2 INVITE", "a1 200", "b2 ACK"]);
    b.end();
}

#[test]
fn a_named_route_takes_the_place_of_local_route() {
    let script = r#"
        modparam("tm", "local_request_route", "mine")
        route { t_new_request("OPTIONS", "sip:x@192.0.2.12", "sip:a@x", "sip:b@x"); sl_send_reply(200, "OK"); }
        route[mine] { append_hf("X-Mine: yes\r\n"); $ru = "sip:y@192.0.2.13"; }
        local_route { append_hf("X-Local: yes\r\n"); }
    "#;
    let mut b = Bed::new(script);
    let m = b.request("MESSAGE", "c1", "");
    b.send("a1", &m);
    let got = b.last("b3", "OPTIONS");
    assert_eq!(
        (got.header("X-Mine"), got.header("X-Local"), got.uri()),
        ("yes".into(), String::new(), "sip:y@192.0.2.13".into())
    );
    b.reply(&got, 200, "");
    b.end();
}
