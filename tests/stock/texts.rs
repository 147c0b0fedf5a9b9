//! What textops, textopsx and siputils make of messages and of replies, as it leaves: the same on both servers.

use crate::on_both;
use crate::phone::{Over, Phone};
use crate::server::{Kind, Start, Stock};
use crate::support::sip::SipMessage;

on_both! {
    replies_have_bodies
    bodies_leave_in_parts
    lines_and_values_leave_changed
    contacts_leave_hidden_and_come_back
    replies_leave_with_other_codes
}

const CONFIG: &str = r##"#!KAMAILIO
debug=0
log_stderror=yes
children=1
auto_aliases=no
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "textopsx.so"
loadmodule "siputils.so"

request_route {
    switch ($rU) {
    case "stateless":
        set_reply_body("busy until $hdr(X-Until)", "text/plain");
        sl_send_reply("486", "Busy");
        exit;
    case "stateful":
        set_reply_body("busy until $hdr(X-Until)", "text/plain");
        t_newtran();
        t_reply("486", "Busy");
        exit;
    case "mode":
        send_reply_mode("404", "Not here", "3");
        exit;
    case "parts":
        set_body_multipart("$rb", "application/sdp", "next");
        msg_apply_changes();
        append_body_part_hex("6b 61", "application/x");
        msg_apply_changes();
        append_body_part("<x/>", "application/xml", "session;handling=optional");
        msg_apply_changes();
        remove_body_part("application/x");
        msg_apply_changes();
        break;
    case "lines":
        bl_iterator_start("b");
        while (bl_iterator_next("b")) {
            if ($blitval(b) =~ "^a=crypto") bl_iterator_rm("b");
            if ($blitval(b) =~ "^m=") bl_iterator_append("b", "a=ptime:20\r\n");
            if ($blitval(b) =~ "^s=") bl_iterator_insert("b", "x=0\r\n");
        }
        bl_iterator_end("b");
        append_hf_value("X-List[1]", "second");
        assign_hf_value("X-List[-1].hop", "3");
        remove_hf_value("X-List[2].old");
        include_hf_value("Supported", "path");
        exclude_hf_value("Supported", "100rel");
        replace_hdrs_str("aaa", "bbb", "a");
        break;
    case "user":
        encode_contact("in", "192.0.2.1");
        break;
    case "param":
        contact_param_encode("ksu", "sip:192.0.2.1:5070");
        break;
    default:
        if ($ru =~ ";ksu=") contact_param_decode_ruri("ksu");
        else if ($rU == $null) { sl_send_reply("200", "OK"); exit; }
        else if ($rU =~ "^in") decode_contact();
    }
    t_on_reply("R");
    $du = $hdr(X-To);
    t_relay();
}
reply_route {
    if (status == "480") sl_forward_reply("404", "Gone");
}
onreply_route[R] {
    if (status == "486") change_reply_status_code("488");
}
"##;

fn start(kind: Kind) -> Stock {
    Start { config: Some(CONFIG.to_owned()), ..Start::default() }.on(kind)
}

/// What the other one sees of a MESSAGE with a body; it is answered.
fn seen(server: &Stock, user: &str, headers: &[&str]) -> SipMessage {
    let (alice, bob) = (Phone::new(server, "alice", Over::Udp), Phone::new(server, "bob", Over::Udp));
    let mut message = alice.request("MESSAGE", &server.uri(user)).header(&format!("X-To: {}", bob.contact()));
    for header in headers {
        message = message.header(header);
    }
    let body = "v=0\ns=x\nm=audio 4000 RTP/SAVP 0\na=crypto:1 x\na=sendrecv\n";
    alice.send(&message.clone().body("application/sdp", body));
    let seen = bob.expect_request("MESSAGE");
    bob.answer(&seen, 200, "OK");
    assert_eq!(alice.final_reply(&message).status(), 200);
    seen
}

fn replies_have_bodies(kind: Kind) {
    let server = start(kind);
    let alice = Phone::new(&server, "alice", Over::Udp);
    for user in ["stateless", "stateful"] {
        let reply = alice.ask(&alice.request("MESSAGE", &server.uri(user)).header("X-Until: nine"));
        assert_eq!((reply.status(), reply.body.as_str()), (486, "busy until nine"), "{}", reply.raw);
        assert_eq!(reply.all("Content-Type"), ["text/plain"]);
        assert_eq!(reply.header("Content-Length"), Some("15"));
    }
    let alice = Phone::new(&server, "alice", Over::Tcp);
    let reply = alice.ask(&alice.request("MESSAGE", &server.uri("mode")));
    assert_eq!((reply.status(), reply.reason()), (404, "Not here"));
}

fn bodies_leave_in_parts(kind: Kind) {
    let server = start(kind);
    let seen = seen(&server, "parts", &[]);
    let parts = "--next\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=x\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:1 x\r\n\
        a=sendrecv\r\n\r\n--next\r\nContent-Type: application/xml\r\nContent-Disposition: session;handling=optional\r\n\r\n\
        <x/>\r\n--next--\r\n";
    assert_eq!(seen.body, parts, "{}", seen.raw);
    assert_eq!(seen.all("Content-Type"), ["multipart/mixed;boundary=\"next\""]);
    assert_eq!(seen.all("Mime-Version"), ["1.0"]);
    assert_eq!(seen.header("Content-Length"), Some(parts.len().to_string().as_str()));
}

fn lines_and_values_leave_changed(kind: Kind) {
    let server = start(kind);
    let headers = ["X-List: one;a=1, two;old=1;b", "X-List: three", "Supported: 100rel, timer", "X-Text: aaa and aaa"];
    let seen = seen(&server, "lines", &headers);
    assert_eq!(seen.body, "v=0\r\nx=0\r\ns=x\r\nm=audio 4000 RTP/SAVP 0\r\na=ptime:20\r\na=sendrecv\r\n");
    assert_eq!(seen.header("Content-Length"), Some(seen.body.len().to_string().as_str()));
    assert_eq!(seen.all("X-List"), ["one;a=1,second, two;b", "three;hop=3"], "{}", seen.raw);
    assert_eq!(seen.all("Supported").join(",").replace(' ', ""), "timer,path");
    assert_eq!(seen.header("X-Text"), Some("bbb and bbb"));
}

fn contacts_leave_hidden_and_come_back(kind: Kind) {
    let server = start(kind);
    let hidden = |user: &str| seen(&server, user, &[]).uri_of("Contact").unwrap_or_default().to_owned();
    let user = hidden("user");
    let (head, tail) = ("sip:in*alice**127.0.0.1*", "*@192.0.2.1");
    assert!(user.starts_with(head) && user.ends_with(tail), "{user}");
    let param = hidden("param");
    assert!(param.starts_with("sip:192.0.2.1:5070;ksu="), "{param}");
    let (alice, bob) = (Phone::new(&server, "alice", Over::Udp), Phone::new(&server, "bob", Over::Udp));
    for uri in [user, param] {
        let message = alice.request("MESSAGE", &uri).header(&format!("X-To: {}", bob.contact()));
        alice.send(&message);
        let seen = bob.expect_request("MESSAGE");
        assert!(seen.uri().starts_with("sip:alice@127.0.0.1:"), "{uri}: {}", seen.start_line);
        bob.answer(&seen, 200, "OK");
        assert_eq!(alice.final_reply(&message).status(), 200);
    }
}

fn replies_leave_with_other_codes(kind: Kind) {
    let server = start(kind);
    let (alice, bob) = (Phone::new(&server, "alice", Over::Udp), Phone::new(&server, "bob", Over::Udp));
    for (answer, code, reason) in [(486, 488, "No"), (480, 404, "Gone")] {
        let message = alice.request("MESSAGE", &server.uri("x")).header(&format!("X-To: {}", bob.contact()));
        alice.send(&message);
        let seen = bob.expect_request("MESSAGE");
        bob.answer(&seen, answer, "No");
        let reply = alice.final_reply(&message);
        assert_eq!((reply.status(), reply.reason()), (code, reason));
        assert_eq!(reply.all("Via").len(), 1, "{}", reply.raw);
    }
}
