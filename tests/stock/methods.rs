//! What the file does with everything that is no call between its users.

use std::time::Duration;

use serde_json::{Value, json};

use crate::on_both;
use crate::phone::{Over, Phone};
use crate::server::{Kind, plain};

on_both! {
    keep_alives_are_answered
    too_many_hops
    scanners_hear_nothing
    presence_is_refused
    messages_are_delivered
    addresses_without_a_user
    malformed_requests_are_refused
    other_domains_are_refused
    operators_ask
}

fn keep_alives_are_answered(kind: Kind) {
    let server = plain(kind);
    for over in [Over::Udp, Over::Tcp] {
        let phone = Phone::new(&server, "alice", over);
        let answer = phone.ask(&phone.request("OPTIONS", &format!("sip:127.0.0.1:{}", server.port)));
        assert_eq!((answer.status(), answer.reason()), (200, "Keepalive"));
    }
}

fn too_many_hops(kind: Kind) {
    let server = plain(kind);
    let phone = Phone::new(&server, "alice", Over::Udp);
    let mut request = phone.request("OPTIONS", &server.uri("bob"));
    request.max_forwards = 0;
    let answer = phone.ask(&request);
    assert_eq!((answer.status(), answer.reason()), (483, "Too Many Hops"));
}

fn scanners_hear_nothing(kind: Kind) {
    let server = plain(kind);
    let phone = Phone::new(&server, "alice", Over::Udp);
    phone.send(&phone.request("OPTIONS", &server.uri("100")).header("User-Agent: friendly-scanner"));
    phone.expect_silence(Duration::from_millis(500));
}

fn presence_is_refused(kind: Kind) {
    let server = plain(kind);
    let phone = Phone::registered(&server, "alice", Over::Udp);
    let publish = phone.request("PUBLISH", &phone.uri()).header("Event: presence").header("Expires: 60");
    let answer = phone.ask(&publish);
    assert_eq!((answer.status(), answer.reason()), (404, "Not here"));
    let subscribe = phone.request("SUBSCRIBE", &server.uri("bob")).header("Event: presence").header("Expires: 60");
    let answer = phone.ask(&subscribe);
    assert_eq!((answer.status(), answer.reason()), (404, "Not Found"), "bob is not registered");
    let mailbox = phone.request("SUBSCRIBE", &phone.uri()).header("Event: message-summary").header("Expires: 60");
    let answer = phone.ask(&mailbox);
    assert_eq!((answer.status(), answer.reason()), (404, "No voicemail service"));
}

fn messages_are_delivered(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let bob = Phone::registered(&server, "bob", Over::Tcp);
    let message = alice.request("MESSAGE", &bob.uri()).body("text/plain", "hello\n");
    alice.send(&message);
    let seen = bob.expect_request("MESSAGE");
    assert_eq!(seen.body, "hello\r\n");
    bob.answer(&seen, 202, "Accepted");
    assert_eq!(alice.final_reply(&message).status(), 202);
}

fn addresses_without_a_user(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let invite = alice.invite(&format!("sip:127.0.0.1:{}", server.port));
    let answer = alice.ask(&invite);
    assert_eq!((answer.status(), answer.reason()), (484, "Address Incomplete"));
    alice.send(&invite.ack(&answer));
    alice.expect_silence(Duration::from_millis(700));
}

fn malformed_requests_are_refused(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    // The CSeq is of another method.
    let request = alice.request("MESSAGE", &server.uri("bob"));
    alice.send_raw(&request.text().replace("CSeq: 1 MESSAGE", "CSeq: 1 INFO"));
    let answer = alice.expect("a refusal", |m| m.call_id() == request.call_id);
    assert_eq!(answer.status(), 400, "{}", answer.raw);
}

fn other_domains_are_refused(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let answer = alice.ask(&alice.request("OPTIONS", "sip:bob@example.test"));
    assert_eq!((answer.status(), answer.reason()), (403, "Not relaying"));
}

/// What operators' tools ask about registrations and figures.
fn operators_ask(kind: Kind) {
    let server = plain(kind);
    let _alice = Phone::registered(&server, "alice", Over::Udp);
    let ask = |method: &str, params: Value| {
        server.rpc(method, params).unwrap_or_else(|| panic!("{method} is refused\n{}", server.log()))
    };
    let statistics = ask("stats.get_statistics", json!(["all"])).to_string();
    // Transactions are counted by tmx there, by tm here.
    for name in ["core:rcv_requests", "sl:", "tm"] {
        assert!(statistics.contains(name), "{name}: {statistics}");
    }
    let registered = ask("ul.dump", Value::Null).to_string();
    assert!(registered.contains("sip:alice@127.0.0.1:"), "{registered}");
}
