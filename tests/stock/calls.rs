//! Calls between registered users with the file as it is.

use std::time::Duration;

use crate::SECOND;
use crate::on_both;
use crate::phone::{Over, Phone, call};
use crate::server::{Kind, Stock, plain};
use crate::support::sip::{Request, SipMessage};

on_both! {
    calls_over_udp
    calls_over_tcp
    calls_between_udp_and_tcp
    a_call_is_cancelled
    a_busy_user
    nobody_is_there
    a_user_with_two_phones
    what_belongs_to_no_call
}

/// A whole call with a re-INVITE of each side.
fn whole_call(server: &Stock, of: (Over, Over)) {
    let alice = Phone::registered(server, "alice", of.0);
    let bob = Phone::registered(server, "bob", of.1);
    let (invite, ok, seen) = call(&alice, &bob);
    assert!(seen.uri().starts_with("sip:bob@127.0.0.1:"), "{}", seen.uri());
    assert_eq!(seen.header("Max-Forwards"), Some("69"), "{}", seen.raw);
    let routes = seen.all("Record-Route");
    let double = of.0 != of.1;
    let count = routes.iter().map(|r| r.split(',').count()).sum::<usize>();
    assert_eq!(count, if double { 2 } else { 1 }, "{routes:?}");
    let seen_vias = seen.all("Via").len();
    assert_eq!(seen_vias, 2, "{}", seen.raw);

    // The caller changes the session.
    let again = in_dialog(&invite, "INVITE", &ok);
    alice.send(&again);
    let seen_again = bob.expect_request("INVITE");
    assert!(seen_again.tag("To").is_some() && seen_again.header("Route").is_none(), "{}", seen_again.raw);
    bob.answer(&seen_again, 200, "OK");
    let ok_again = alice.expect_reply(&again, 200);
    // The route set is that of the dialog (RFC 3261 12.2): the re-INVITE was not recorded again.
    let mut ack = again.ack(&ok_again);
    ack.headers.clone_from(&again.headers.iter().filter(|h| h.starts_with("Route:")).cloned().collect());
    alice.send(&ack);
    bob.expect_request("ACK");

    // The callee hangs up: along the route set of the INVITE that came.
    let bye = reverse(&bob, &seen, "BYE");
    bob.send(&bye);
    let seen = alice.expect_request("BYE");
    alice.answer(&seen, 200, "OK");
    assert_eq!(bob.final_reply(&bye).status(), 200);
}

fn in_dialog(invite: &Request, method: &str, ok: &SipMessage) -> Request {
    let body = invite.body.clone();
    let mut next = invite.in_dialog(method, ok);
    if method == "INVITE" {
        next = next.body("application/sdp", &body);
    }
    next
}

/// A request from the callee within the dialog of an INVITE it answered.
fn reverse(bob: &Phone, seen: &SipMessage, method: &str) -> Request {
    let mut request = bob.request(method, seen.uri_of("Contact").unwrap());
    request.from = format!("{};tag=t-{}", seen.header("To").unwrap(), bob.user);
    request.to = seen.header("From").unwrap().to_owned();
    request.call_id = seen.call_id().to_owned();
    request.cseq = 100;
    let routes = seen.all("Record-Route").into_iter().flat_map(|v| v.split(','));
    request.headers = routes.map(|r| format!("Route: {}", r.trim())).collect();
    request
}

fn calls_over_udp(kind: Kind) {
    whole_call(&plain(kind), (Over::Udp, Over::Udp));
}

fn calls_over_tcp(kind: Kind) {
    whole_call(&plain(kind), (Over::Tcp, Over::Tcp));
}

fn calls_between_udp_and_tcp(kind: Kind) {
    let server = plain(kind);
    whole_call(&server, (Over::Udp, Over::Tcp));
}

fn a_call_is_cancelled(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let bob = Phone::registered(&server, "bob", Over::Tcp);
    let invite = alice.invite(&bob.uri());
    alice.send(&invite);
    let seen = bob.expect_request("INVITE");
    bob.answer(&seen, 180, "Ringing");
    alice.expect_reply(&invite, 180);
    let cancel = invite.cancel();
    alice.send(&cancel);
    alice.expect_reply(&cancel, 200);
    let seen_cancel = bob.expect_request("CANCEL");
    assert_eq!(seen_cancel.branch(), seen.branch());
    bob.answer(&seen_cancel, 200, "OK");
    bob.answer(&seen, 487, "Request Terminated");
    let gone = alice.expect_reply(&invite, 487);
    alice.send(&invite.ack(&gone));
    bob.expect_request("ACK");
    alice.expect_silence(SECOND);
}

fn a_busy_user(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let bob = Phone::registered(&server, "bob", Over::Udp);
    let invite = alice.invite(&bob.uri());
    alice.send(&invite);
    let seen = bob.expect_request("INVITE");
    bob.answer(&seen, 486, "Busy Here");
    let busy = alice.final_reply(&invite);
    assert_eq!((busy.status(), busy.reason()), (486, "Busy Here"));
    alice.send(&invite.ack(&busy));
    bob.expect_request("ACK");
    alice.expect_silence(SECOND);
}

fn nobody_is_there(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    for method in ["INVITE", "MESSAGE", "OPTIONS"] {
        let request = if method == "INVITE" {
            alice.invite(&server.uri("nobody"))
        } else {
            alice.request(method, &server.uri("nobody"))
        };
        let answer = alice.ask(&request);
        assert_eq!((answer.status(), answer.reason()), (404, "Not Found"), "{}", answer.raw);
        if method == "INVITE" {
            alice.send(&request.ack(&answer));
        }
    }
    alice.expect_silence(SECOND);
}

fn a_user_with_two_phones(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let desk = Phone::registered(&server, "bob", Over::Udp);
    let mobile = Phone::registered(&server, "bob", Over::Tcp);
    let invite = alice.invite(&desk.uri());
    alice.send(&invite);
    let at_desk = desk.expect_request("INVITE");
    let at_mobile = mobile.expect_request("INVITE");
    desk.answer(&at_desk, 180, "Ringing");
    mobile.answer(&at_mobile, 180, "Ringing");
    mobile.answer(&at_mobile, 200, "OK");
    let ok = alice.expect_reply(&invite, 200);
    let cancel = desk.expect_request("CANCEL");
    desk.answer(&cancel, 200, "OK");
    desk.answer(&at_desk, 487, "Request Terminated");
    desk.expect_request("ACK");
    alice.send(&invite.ack(&ok));
    mobile.expect_request("ACK");
    let bye = invite.in_dialog("BYE", &ok);
    alice.send(&bye);
    let seen = mobile.expect_request("BYE");
    mobile.answer(&seen, 200, "OK");
    assert_eq!(alice.final_reply(&bye).status(), 200);
}

fn what_belongs_to_no_call(kind: Kind) {
    let server = plain(kind);
    let alice = Phone::registered(&server, "alice", Over::Udp);
    let mut bye = alice.request("BYE", &server.uri("bob"));
    bye.to = format!("{};tag=none", bye.to);
    let answer = alice.ask(&bye);
    assert_eq!((answer.status(), answer.reason()), (404, "Not here"));
    let mut ack = alice.request("ACK", &server.uri("bob"));
    ack.to = format!("{};tag=none", ack.to);
    alice.send(&ack);
    alice.send(&alice.request("CANCEL", &server.uri("bob")));
    alice.expect_silence(Duration::from_millis(700));
}
