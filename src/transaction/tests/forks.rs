//! Forking: what the answers of several branches become, branches that come later.

use super::super::*;
use super::table::{Bed, config, forward};
use super::{follow_up, invite, parse};
use crate::sip::{HeaderId, Message};

/// The same message with more header lines.
fn with(m: &Message, lines: &str) -> Message {
    parse(String::from_utf8_lossy(m.bytes()).replace("Content-Length", &format!("{lines}Content-Length")))
}

/// A reply to the request sent at position `i`, with more header lines, processed.
fn answer_with(b: &mut Bed, i: usize, status: u16, lines: &str) {
    b.drain();
    let m = with(&super::reply(&b.sent[i], status, &format!("t{i}")), lines);
    let ReplyMatch::Deliver(tx, no) = b.t.match_reply(b.now, &m) else { panic!("not delivered") };
    b.t.reply_processed(b.now, tx, no, forward(m)).unwrap();
}

fn released(b: &mut Bed, tx: TxKey) -> Decision {
    match b.t.release_final(b.now, tx) {
        Released::Decide(d) => d,
        other => panic!("{other:?}"),
    }
}

#[test]
fn challenges_of_all_branches_go_upstream_together() {
    for (aggregate, count) in [(true, 3), (false, 1)] {
        let mut b = Bed::new(Config { aggregate_challenges: aggregate, ..config() });
        let tx = b.server(invite("z9hG4bKa"));
        for dest in ["one", "two", "three", "four"] {
            b.branch(tx, dest);
        }
        answer_with(&mut b, 0, 404, "WWW-Authenticate: Digest realm=\"not counted\"\r\n");
        answer_with(&mut b, 1, 407, "Proxy-Authenticate: Digest realm=\"p1\"\r\n");
        answer_with(&mut b, 2, 401, "WWW-Authenticate: Digest realm=\"w1\"\r\n");
        answer_with(&mut b, 3, 407, "Proxy-Authenticate: Digest realm=\"p2\"\r\n");
        assert_eq!(b.did().last().unwrap(), "chosen 401 b2");
        let d = released(&mut b, tx);
        let sent = Message::parse(d.bytes.unwrap()).unwrap();
        let values: Vec<&[u8]> = [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate]
            .into_iter()
            .flat_map(|id| sent.headers_of(id).map(|h| h.value))
            .collect();
        let all: [&[u8]; 3] = [b"Digest realm=\"w1\"", b"Digest realm=\"p1\"", b"Digest realm=\"p2\""];
        assert_eq!(values, all[..count]);
        assert_eq!(sent.status(), 401);
        b.t.discard(b.now, tx);
        b.end();
    }
}

#[test]
fn a_reliable_provisional_reply_waits_once() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.drain();
    let rel = |n: u32| with(&super::reply(&b.sent[0], 183, "x"), &format!("Require: 100rel\r\nRSeq: {n}\r\n"));
    let (first, second) = (rel(1), rel(2));
    assert_eq!(b.t.match_reply(b.now, &first), ReplyMatch::Deliver(tx, 0));
    // Sent again until the PRACK comes, which has to wait for the route.
    assert_eq!(b.t.match_reply(b.now, &first), ReplyMatch::Absorbed(tx, 0));
    assert_eq!(b.t.match_reply(b.now, &second), ReplyMatch::Queued(tx, 0));
    assert_eq!(b.t.match_reply(b.now, &second), ReplyMatch::Absorbed(tx, 0));
    b.did();
    b.t.reply_processed(b.now, tx, 0, forward(first.clone())).unwrap();
    assert_eq!(b.did(), ["183 up", "deliver 183 b0"]);
    b.t.reply_processed(b.now, tx, 0, forward(second)).unwrap();
    assert_eq!(b.did(), ["183 up"]);
    // Nothing is in work: a repetition goes up, for the caller's PRACK may be lost.
    assert_eq!(b.t.match_reply(b.now, &first), ReplyMatch::Deliver(tx, 0));
    b.t.reply_processed(b.now, tx, 0, forward(first)).unwrap();
    assert_eq!(b.did(), ["183 up"]);
    b.answer(0, 200, "x");
    b.end();
}

#[test]
fn no_cancel_leaves_the_losers_alone() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.set_no_cancel(tx, true);
    b.branch(tx, "one");
    b.branch(tx, "two");
    let third = b.t.open_branch(b.now, tx).unwrap();
    b.answer(0, 180, "x");
    b.answer(1, 200, "y");
    assert_eq!(b.did(), ["INVITE b0 one", "INVITE b1 two", "180 up", "200 up", "final 200", "ended b2"]);
    assert_eq!(third, 2);
    // Each 2xx of the others goes up too.
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
    // CANCEL is not affected, nor a reply of our own.
    let tx = b.server(invite("z9hG4bKb"));
    b.t.set_no_cancel(tx, true);
    b.branch(tx, "one");
    b.answer(0, 180, "x");
    b.t.cancel(b.now, tx, CancelScope::Request);
    assert_eq!(b.did(), ["INVITE b0 one", "180 up", "CANCEL b0 one"]);
    b.answer(0, 487, "x");
    b.relay(tx);
    b.end();
}

#[test]
fn extra_headers_are_on_acks_and_cancels() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.set_extra_headers(tx, Some("X-One: 1\r\nX-Two: 2\r\n".into()));
    b.t.set_cancel_reason(tx, Some("Reason: SIP;cause=200".into()));
    b.branch(tx, "one");
    b.branch(tx, "two");
    b.answer(0, 180, "x");
    b.drain();
    let mut texts = Vec::new();
    for i in [1, 0] {
        let m = super::reply(&b.sent[i], if i == 1 { 486 } else { 200 }, "y");
        let ReplyMatch::Deliver(_, no) = b.t.match_reply(b.now, &m) else { panic!() };
        b.t.reply_processed(b.now, tx, no, forward(m)).unwrap();
        while let Some(o) = b.t.poll_output() {
            if let Output::Send { bytes, .. } = o {
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    assert_eq!(texts.len(), 1);
    assert!(texts[0].starts_with("ACK ") && texts[0].ends_with("X-One: 1\r\nX-Two: 2\r\n\r\n"), "{}", texts[0]);
    b.end();

    let tx = b.server(invite("z9hG4bKb"));
    b.t.set_extra_headers(tx, Some("X-One: 1\r\n".into()));
    b.t.set_cancel_reason(tx, Some("Reason: SIP;cause=200".into()));
    b.branch(tx, "one");
    b.answer(0, 180, "x");
    b.drain();
    b.t.cancel(b.now, tx, CancelScope::All);
    let Some(Output::Send { bytes, kind: SendKind::Cancel, .. }) = b.t.poll_output() else { panic!() };
    let cancel = String::from_utf8_lossy(&bytes);
    assert!(cancel.ends_with("Reason: SIP;cause=200\r\nX-One: 1\r\n\r\n"), "{cancel}");
    assert!(Message::parse(bytes.clone()).is_ok());
    b.answer(0, 487, "x");
    b.relay(tx);
    b.end();
}

#[test]
fn a_6xx_blocks_unless_the_transaction_says_otherwise() {
    for lax in [false, true] {
        let mut b = Bed::new(config());
        let tx = b.server(invite("z9hG4bKa"));
        b.t.set_no_6xx_block(tx, lax);
        b.branch(tx, "one");
        b.branch(tx, "two");
        b.answer(0, 180, "x");
        b.answer(1, 603, "y");
        let cancelled = b.did().contains(&"CANCEL b0 one".to_string());
        assert_eq!(cancelled, !lax);
        assert_eq!(b.t.open_branch(b.now, tx).is_ok(), lax);
        b.t.discard(b.now, tx);
        b.answer(0, 487, "x");
        b.end();
    }
}

#[test]
fn branches_that_come_later_are_waited_for() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.await_branches(b.now, tx, Some(2)).unwrap();
    assert!(b.t.awaits_branches(tx));
    b.branch(tx, "one");
    b.answer(0, 486, "x");
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one"]);
    // The first of two.
    b.branch(tx, "two");
    b.t.branch_injected(b.now, tx);
    b.answer(1, 404, "y");
    assert_eq!(b.did(), ["INVITE b1 two", "ACK b1 two"]);
    b.branch(tx, "three");
    b.t.branch_injected(b.now, tx);
    assert!(!b.t.awaits_branches(tx));
    b.answer(2, 480, "z");
    assert_eq!(b.did(), ["INVITE b2 three", "ACK b2 three", "chosen 404 b1"]);
    b.relay(tx);
    b.end();
}

#[test]
fn waiting_for_branches_ends_with_fr_inv_timeout() {
    // Nobody came.
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.await_branches(b.now, tx, None).unwrap();
    b.pass(119_000);
    assert_eq!(b.did(), ["local 100", "100 up"]);
    b.pass(1_000);
    assert_eq!(b.did(), ["chosen 408 b0 timeout"]);
    b.relay(tx);
    assert_eq!(b.did(), ["408 up", "final 408"]);
    b.end();
    // Those that came have failed.
    let tx = b.server(invite("z9hG4bKb"));
    b.t.await_branches(b.now, tx, None).unwrap();
    b.branch(tx, "one");
    b.answer(0, 486, "x");
    b.pass(120_000);
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "local 100", "100 up", "chosen 486 b0"]);
    b.relay(tx);
    b.end();
    // One of them is still ringing.
    let tx = b.server(invite("z9hG4bKc"));
    b.t.await_branches(b.now, tx, None).unwrap();
    b.pass(119_000);
    b.branch(tx, "one");
    b.answer(0, 180, "x");
    b.pass(2_000);
    assert_eq!(b.did(), ["local 100", "100 up", "INVITE b0 one", "180 up"]);
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn waiting_for_branches_ends_early() {
    let mut b = Bed::new(config());
    // On demand, with nobody else to answer.
    let tx = b.server(invite("z9hG4bKa"));
    b.t.await_branches(b.now, tx, None).unwrap();
    assert!(b.t.no_more_branches(b.now, tx, true));
    assert!(!b.t.no_more_branches(b.now, tx, true));
    assert_eq!(b.did(), ["chosen 408 b0 timeout"]);
    b.relay(tx);
    b.end();
    // On demand, in a run that goes on.
    let tx = b.server(invite("z9hG4bKb"));
    b.t.await_branches(b.now, tx, None).unwrap();
    assert!(b.t.no_more_branches(b.now, tx, false));
    assert_eq!(b.did(), [] as [String; 0]);
    b.branch(tx, "one");
    b.answer(0, 486, "x");
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "chosen 486 b0"]);
    b.relay(tx);
    b.end();
    // By CANCEL: nobody is there to be cancelled.
    let tx = b.server(invite("z9hG4bKc"));
    b.t.await_branches(b.now, tx, Some(3)).unwrap();
    let cancel = follow_up(&invite("z9hG4bKc"), "CANCEL", None);
    assert_eq!(b.t.match_request(b.now, &cancel), Matched::Cancel { invite: Some(tx) });
    assert!(b.t.cancel(b.now, tx, CancelScope::Request));
    assert_eq!(b.did(), ["local 487", "487 up", "final 487"]);
    assert_eq!(b.t.await_branches(b.now, tx, None), Err(BranchError::Cancelled));
    b.end();
    // By CANCEL, while one rings.
    let tx = b.server(invite("z9hG4bKd"));
    b.t.await_branches(b.now, tx, None).unwrap();
    b.branch(tx, "one");
    b.answer(0, 180, "x");
    b.t.cancel(b.now, tx, CancelScope::Request);
    b.answer(0, 487, "x");
    assert_eq!(b.did(), ["INVITE b0 one", "180 up", "CANCEL b0 one", "ACK b0 one", "chosen 487 b0"]);
    b.relay(tx);
    b.end();
    // By a 2xx and by a 6xx.
    for status in [200, 603] {
        let tx = b.server(invite(&format!("z9hG4bK{status}")));
        b.t.await_branches(b.now, tx, None).unwrap();
        b.branch(tx, "one");
        b.answer(0, status, "x");
        assert!(!b.t.awaits_branches(tx));
        if status == 603 {
            assert_eq!(b.did().last().unwrap(), "chosen 603 b0");
            b.relay(tx);
        }
        b.end();
    }
}
