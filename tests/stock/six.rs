//! A configuration of our own that uses what the stock configuration of release 6 uses: it loads and carries calls.

use std::fs;

use serde_json::{Value, json};

use crate::SECOND;
use crate::phone::{Over, Phone, call};
use crate::server::{Kind, Start, Stock};
use crate::support::eventually;
use crate::support::reprise::run;
use crate::support::uas::Uas;

const EXAMPLE: &str = "tests/stock/six.cfg";

fn start(defines: &[&str]) -> Stock {
    let text = fs::read_to_string(EXAMPLE).expect("the example");
    Start { config: Some(text), ..Start::with(defines) }.on(Kind::Reprise)
}

#[test]
fn every_form_is_understood() {
    for defines in [&[][..], &["WITH_TALK", "WITH_GATEWAY", "WITH_MAILBOX"], &["WITH_ACCOUNTS", "WITH_FLOODGUARD"]] {
        let mut args = vec!["-c", "-f", EXAMPLE];
        args.extend(defines.iter().flat_map(|d| ["-A", d]));
        let out = run(&args, SECOND * 60);
        assert_eq!(out.code, 0, "{defines:?}\n{}", out.stderr);
    }
}

#[test]
fn users_call_each_other_and_calls_are_followed() {
    let server = start(&[]);
    for (from, to) in [(Over::Udp, Over::Udp), (Over::Tcp, Over::Udp), (Over::Tcp, Over::Tcp)] {
        let alice = Phone::registered(&server, "alice", from);
        let bob = Phone::registered(&server, "bob", to);
        let (invite, ok, _) = call(&alice, &bob);
        let all = server.rpc("dlgs.getall", json!(["src", "eq", alice.uri()])).expect("calls");
        let of_it = all.as_array().and_then(|l| l.iter().find(|d| d["callid"] == json!(invite.call_id)));
        let followed = of_it.unwrap_or_else(|| panic!("it is not followed: {all}"));
        assert_eq!((&followed["dst"], &followed["state"]), (&json!(bob.uri()), &json!(3)), "{followed}");
        let bye = invite.in_dialog("BYE", &ok);
        alice.send(&bye);
        let seen = bob.expect_request("BYE");
        bob.answer(&seen, 200, "OK");
        assert_eq!(alice.final_reply(&bye).status(), 200);
        let state = || server.rpc("dlgs.list", Value::Null).unwrap().to_string().contains("\"state\":3");
        eventually("the call is over", SECOND * 10, || !state());
        for phone in [&alice, &bob] {
            assert_eq!(phone.ask(&phone.register(0)).status(), 200);
        }
    }
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let refused = |method: &str, uri: &str, status: u16| {
        let answer = alice.ask(&alice.request(method, uri).header("Event: presence"));
        assert_eq!(answer.status(), status, "{method} {uri}: {}", answer.raw);
    };
    refused("PUBLISH", &alice.uri(), 404);
    refused("SUBSCRIBE", &server.uri("nobody"), 404);
    refused("MESSAGE", "sip:x@example.test", 403);
    refused("MESSAGE", &server.uri("nobody"), 404);
    refused("MESSAGE", &format!("sip:127.0.0.1:{}", server.port), 484);
    refused("MESSAGE", &server.uri(&"x".repeat(600)), 513);
}

#[test]
fn gateway_and_mailbox_are_set_while_the_server_runs() {
    let server = start(&["WITH_GATEWAY", "WITH_MAILBOX"]);
    let gateway = Uas::answering();
    let mailbox = Uas::answering();
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let bob = Phone::registered(&server, "bob", Over::Udp);
    // Nothing is set: a number is a user's name, and nobody is there.
    let invite = alice.invite(&server.uri("0049301234"));
    let answer = alice.ask(&invite);
    assert_eq!(answer.status(), 404, "{}", answer.raw);
    alice.send(&invite.ack(&answer));
    let set = |group: &str, name: &str, value: Value| {
        let method = if value.is_number() { "cfg.seti" } else { "cfg.sets" };
        assert!(server.rpc(method, json!([group, name, value])).is_some(), "{group}.{name}");
    };
    set("gateway", "host", json!("127.0.0.1"));
    set("gateway", "port", json!(gateway.addr.port()));
    set("mailbox", "host", json!(mailbox.addr.to_string()));
    // Foreign hosts are only reached through these.
    let invite = alice.invite(&server.uri("0049301234"));
    let ok = alice.ask(&invite);
    assert_eq!(ok.status(), 200, "{}", ok.raw);
    alice.send(&invite.ack(&ok));
    assert!(gateway.wait_request("INVITE", SECOND * 5).uri().starts_with("sip:+49301234@127.0.0.1:"));
    // Busy: the mailbox takes the call.
    let invite = alice.invite(&bob.uri());
    alice.send(&invite);
    let seen = bob.expect_request("INVITE");
    bob.answer(&seen, 486, "Busy Here");
    let ok = alice.final_reply(&invite);
    assert_eq!(ok.status(), 200, "{}", ok.raw);
    alice.send(&invite.ack(&ok));
    let at = mailbox.wait_request("INVITE", SECOND * 5);
    assert_eq!(at.uri(), format!("sip:bob@{}", mailbox.addr));
}
