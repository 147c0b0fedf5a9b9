//! The table: matching, forking, cancelling, holding, ending.

use super::super::*;
use super::{follow_up, invite, ms, pop_via, push_via, reply, request};
use crate::base::Time;
use crate::sip::Message;
use crate::sip::Method;
use std::time::Duration;

pub(super) type Table = Transactions<u32, &'static str, &'static str>;

pub(super) fn config() -> Config {
    Config { wt: None, secret: [3; 16], ..Config::default() }
}

pub(super) fn forward(reply: Message) -> Disposition {
    let status = reply.status();
    let bytes = pop_via(&reply).bytes_str().clone();
    Disposition::Forward { reply, bytes, status }
}

pub(super) struct Bed {
    pub t: Table,
    pub now: Time,
    pub log: Vec<String>,
    /// Last request sent on each branch.
    pub sent: Vec<Message>,
    pub delivered: Vec<(BranchNo, Message)>,
    pub auto: bool,
}

impl Bed {
    pub fn new(config: Config) -> Bed {
        let now = ms(1000);
        Bed { t: Table::new(now, config), now, log: Vec::new(), sent: Vec::new(), delivered: Vec::new(), auto: true }
    }

    /// Drains the outputs into short words.
    pub fn drain(&mut self) {
        while let Some(o) = self.t.poll_output() {
            let word = match o {
                Output::Send { branch, kind, bytes, dest, .. } => {
                    let m = Message::parse(bytes).unwrap();
                    let name = String::from_utf8_lossy(m.method_bytes()).into_owned();
                    if kind == SendKind::Request {
                        self.sent.push(m);
                    }
                    let again = if kind == SendKind::Retransmission { "again " } else { "" };
                    format!("{again}{name} b{branch} {dest}")
                }
                Output::Reply { bytes, path, .. } => format!("{} {path}", Message::parse(bytes).unwrap().status()),
                Output::Local { tx, status } => {
                    if self.auto
                        && let Some(request) = self.t.request(tx).cloned()
                    {
                        self.t.reply(self.now, tx, (&reply(&request, status, "local")).into()).unwrap();
                    }
                    format!("local {status}")
                }
                Output::Deliver { branch, reply, .. } => {
                    let s = reply.status();
                    self.delivered.push((branch, reply));
                    format!("deliver {s} b{branch}")
                }
                Output::BranchFailed { branch, status, .. } => format!("failed {status} b{branch}"),
                Output::BranchEnded { branch, .. } => format!("ended b{branch}"),
                Output::FinalChosen { branch, status, timeout, .. } => {
                    format!("chosen {status} b{branch}{}", if timeout { " timeout" } else { "" })
                }
                Output::FinalSent { status, .. } => format!("final {status}"),
                Output::Lapsed { .. } => "lapsed".into(),
                Output::Unacknowledged { .. } => "no ack".into(),
                Output::Ended { user, .. } => format!("end {user}"),
            };
            self.log.push(word);
        }
    }

    /// What has happened since the last call.
    pub fn did(&mut self) -> Vec<String> {
        self.drain();
        std::mem::take(&mut self.log)
    }

    pub fn server(&mut self, m: Message) -> TxKey {
        self.t.create_server(self.now, m, "up", false, Birth::Full, 9).unwrap()
    }

    pub fn branch(&mut self, tx: TxKey, dest: &'static str) -> BranchNo {
        let no = self.t.open_branch(self.now, tx).unwrap();
        self.send(tx, no, dest, Ask::Never);
        no
    }

    pub fn send(&mut self, tx: TxKey, no: BranchNo, dest: &'static str, ask: Ask) {
        let text = self.t.branch_text(tx, no, 0).unwrap();
        let request = push_via(self.t.request(tx).unwrap(), "proxy", &text);
        let spec = BranchSpec { request, dest, reliable: false, ask, minor: false };
        self.t.send_branch(self.now, tx, no, spec).unwrap();
    }

    /// A reply to the request sent at position `i`, not yet processed.
    pub fn arrive(&mut self, i: usize, status: u16, tag: &str) -> (ReplyMatch, Message) {
        self.drain();
        let m = reply(&self.sent[i], status, tag);
        (self.t.match_reply(self.now, &m), m)
    }

    /// The same, processed at once if it is delivered.
    pub fn answer(&mut self, i: usize, status: u16, tag: &str) {
        if let (ReplyMatch::Deliver(tx, no), m) = self.arrive(i, status, tag) {
            self.t.reply_processed(self.now, tx, no, forward(m)).unwrap();
        }
    }

    pub fn pass(&mut self, time: u64) {
        let until = self.now + Duration::from_millis(time);
        while let Some(at) = self.t.next_timer().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.t.expire(self.now);
            self.drain();
        }
        self.now = until;
        self.t.expire(self.now);
    }

    /// Lets a decision go upstream.
    pub fn relay(&mut self, tx: TxKey) {
        match self.t.release_final(self.now, tx) {
            Released::Decide(d) => match d.upstream {
                Some(status) => {
                    let local = reply(self.t.request(tx).unwrap(), status, "local");
                    let out = match (d.bytes, &d.reply) {
                        (Some(bytes), Some(r)) => Outgoing { status, bytes, to_tag: r.to_tag().unwrap_or_default() },
                        _ => Outgoing::from(&local),
                    };
                    self.t.relay_final(self.now, tx, d.branch, out).unwrap();
                }
                None => self.t.discard(self.now, tx),
            },
            other => panic!("{other:?}"),
        }
    }

    pub fn end(&mut self) {
        self.pass(200_000);
        self.drain();
        assert!(self.t.is_empty(), "{:?}", self.t.iter().collect::<Vec<_>>());
        assert_eq!(self.t.timers(), 0);
        assert_eq!(self.log.pop().as_deref(), Some("end 9"));
        self.log.clear();
        self.sent.clear();
    }
}

#[test]
fn a_call_is_relayed() {
    let mut b = Bed::new(config());
    let inv = invite("z9hG4bKa");
    assert_eq!(b.t.match_request(b.now, &inv), Matched::New);
    let tx = b.server(inv.clone());
    b.branch(tx, "bob");
    assert_eq!(b.did(), ["INVITE b0 bob"]);
    b.answer(0, 100, "b");
    b.answer(0, 180, "b");
    assert_eq!(b.did(), ["180 up"]);
    assert_eq!(b.t.match_request(b.now, &inv), Matched::Retransmission(tx));
    assert_eq!(b.did(), ["180 up"]);
    b.answer(0, 200, "b");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    assert!(b.t.request(tx).is_none());
    // The 200 again: goes up as it went, without being delivered.
    let (m, _) = b.arrive(0, 200, "b");
    assert_eq!(m, ReplyMatch::Absorbed(tx, 0));
    assert_eq!(b.did(), ["200 up"]);
    // Another callee behind a proxy downstream.
    b.answer(0, 200, "c");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    // The ACK has a branch of its own.
    let ack = follow_up(&invite("z9hG4bKother"), "ACK", Some("b"));
    assert_eq!(b.t.match_request(b.now, &ack), Matched::Ack2xx(Some(tx)));
    b.end();
    assert_eq!(b.t.match_request(b.now, &ack), Matched::Ack2xx(None));
}

#[test]
fn other_requests_do_not_match() {
    let mut b = Bed::new(config());
    b.server(invite("z9hG4bKa"));
    assert_eq!(b.t.match_request(b.now, &invite("z9hG4bKb")), Matched::New);
    assert_eq!(b.t.match_request(b.now, &request("OPTIONS", "z9hG4bKa", "call1", 1)), Matched::New);
    let other_host = String::from_utf8_lossy(invite("z9hG4bKa").bytes()).replace("client.example", "evil.example");
    assert_eq!(b.t.match_request(b.now, &super::parse(other_host)), Matched::New);
}

#[test]
fn rfc_2543_clients() {
    let mut b = Bed::new(config());
    let old = |m: Message| super::parse(String::from_utf8_lossy(m.bytes()).replace(";branch=1", ""));
    let inv = old(invite("1"));
    let tx = b.server(inv.clone());
    assert_eq!(b.t.match_request(b.now, &inv), Matched::Retransmission(tx));
    let cancel = old(follow_up(&invite("1"), "CANCEL", None));
    assert_eq!(b.t.match_request(b.now, &cancel), Matched::Cancel { invite: Some(tx) });
    b.t.reply(b.now, tx, (&reply(&inv, 486, "mine")).into()).unwrap();
    let ack = |tag| old(follow_up(&invite("1"), "ACK", Some(tag)));
    assert_eq!(b.t.match_request(b.now, &ack("other")), Matched::Ack2xx(None));
    assert_eq!(b.t.match_request(b.now, &ack("mine")), Matched::AckNon2xx(tx));
    let second = old(request("INVITE", "1", "call1", 2));
    assert_eq!(b.t.match_request(b.now, &second), Matched::New);
    b.end();
}

#[test]
fn parallel_forking_chooses_the_best_and_then_the_failure_route_relays() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.hold_final(tx);
    b.branch(tx, "one");
    b.answer(0, 486, "x"); // fails before the second is out
    b.branch(tx, "two");
    assert!(matches!(b.t.release_final(b.now, tx), Released::Waiting));
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "INVITE b1 two"]);
    b.answer(1, 404, "y");
    assert_eq!(b.did(), ["ACK b1 two", "chosen 404 b1"]);
    let third = b.branch(tx, "three");
    assert!(matches!(b.t.release_final(b.now, tx), Released::Waiting));
    b.t.forget_replies(tx, 0);
    b.answer(2, 503, "z");
    assert_eq!(b.did(), ["INVITE b2 three", "ACK b2 three", "chosen 503 b2"]);
    assert_eq!(third, 2);
    let best = b.t.best(tx).unwrap();
    assert_eq!((best.status, best.upstream), (503, Some(500)));
    b.relay(tx);
    assert_eq!(b.did(), ["500 up", "final 500"]);
    let ack = follow_up(&invite("z9hG4bKa"), "ACK", Some("local"));
    assert_eq!(b.t.match_request(b.now, &ack), Matched::AckNon2xx(tx));
    b.end();
}

#[test]
fn a_6xx_cancels_the_others_and_forbids_new_branches() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.hold_final(tx);
    b.branch(tx, "one");
    b.branch(tx, "two");
    b.t.release_final(b.now, tx);
    b.answer(1, 180, "y");
    b.did();
    b.answer(0, 603, "x");
    assert_eq!(b.did(), ["ACK b0 one", "CANCEL b1 two"]);
    assert_eq!(b.t.open_branch(b.now, tx), Err(BranchError::Blocked));
    let cancel_ok = reply(&follow_up(&b.sent[1].clone(), "CANCEL", None), 200, "y");
    assert_eq!(b.t.match_reply(b.now, &cancel_ok), ReplyMatch::Absorbed(tx, 1));
    b.answer(1, 487, "y");
    assert_eq!(b.did(), ["ACK b1 two", "chosen 603 b0"]);
    b.relay(tx);
    assert_eq!(b.did(), ["603 up", "final 603"]);
    b.end();
}

#[test]
fn a_2xx_cancels_the_others_and_a_late_2xx_still_goes_up() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.branch(tx, "two");
    b.answer(0, 180, "x");
    b.answer(1, 180, "y");
    b.did();
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200", "CANCEL b1 two"]);
    b.answer(1, 200, "y");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn cancel_before_and_after_a_provisional_reply() {
    let mut b = Bed::new(config());
    let inv = invite("z9hG4bKa");
    let tx = b.server(inv.clone());
    b.branch(tx, "one");
    let cancel = follow_up(&inv, "CANCEL", None);
    assert_eq!(b.t.match_request(b.now, &cancel), Matched::Cancel { invite: Some(tx) });
    b.t.set_cancel_reason(tx, Some("Reason: SIP;cause=487".into()));
    assert!(b.t.cancel(b.now, tx, CancelScope::Request));
    assert_eq!(b.did(), ["INVITE b0 one"]);
    assert_eq!(b.t.open_branch(b.now, tx), Err(BranchError::Cancelled));
    b.answer(0, 180, "x");
    assert_eq!(b.did(), ["CANCEL b0 one", "180 up"]);
    b.pass(600);
    assert_eq!(b.did(), ["CANCEL b0 one"]); // its own timer E
    b.answer(0, 487, "x");
    assert_eq!(b.did(), ["ACK b0 one", "chosen 487 b0"]);
    b.relay(tx);
    assert_eq!(b.did(), ["487 up", "final 487"]);
    assert!(!b.t.cancel(b.now, tx, CancelScope::Request));
    b.end();
}

#[test]
fn cancel_while_a_run_waits_is_answered_at_once() {
    let mut b = Bed::new(config());
    // No branch yet.
    let tx = b.server(invite("z9hG4bKa"));
    b.t.keep(tx);
    assert!(b.t.cancel(b.now, tx, CancelScope::Request));
    assert_eq!(b.did(), ["local 487", "487 up", "final 487"]);
    assert_eq!(b.t.open_branch(b.now, tx), Err(BranchError::Cancelled));
    b.pass(100_000);
    assert!(b.t.view(tx).is_some());
    b.t.unkeep(b.now, tx);
    b.end();
    // In the failure route.
    let tx = b.server(invite("z9hG4bKb"));
    b.branch(tx, "one");
    b.answer(0, 486, "x");
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "chosen 486 b0"]);
    assert!(b.t.cancel(b.now, tx, CancelScope::Request));
    assert_eq!(b.did(), ["local 487", "487 up", "final 487"]);
    assert!(matches!(b.t.release_final(b.now, tx), Released::Done));
    b.end();
    // While branches are being prepared.
    let tx = b.server(invite("z9hG4bKc"));
    b.t.hold_final(tx);
    let no = b.t.open_branch(b.now, tx).unwrap();
    assert!(b.t.cancel(b.now, tx, CancelScope::Request));
    assert_eq!(b.did(), ["ended b0", "local 487", "487 up", "final 487"]);
    let spec = BranchSpec { request: invite("x"), dest: "d", reliable: true, ask: Ask::Never, minor: false };
    assert_eq!(b.t.send_branch(b.now, tx, no, spec), Err(BranchError::State));
    assert!(matches!(b.t.release_final(b.now, tx), Released::Done));
    b.end();
}

#[test]
fn a_2xx_goes_up_while_the_failure_route_waits() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.answer(0, 408, "x");
    b.did();
    b.answer(0, 200, "y");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    assert!(matches!(b.t.release_final(b.now, tx), Released::Done));
    b.end();
}

#[test]
fn fr_timer_without_any_reply() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.set_timeouts(tx, Some(Duration::from_secs(2)), None);
    b.branch(tx, "one");
    b.pass(2000);
    let did = b.did();
    assert_eq!(did[0], "INVITE b0 one");
    assert_eq!(did.last().unwrap(), "chosen 408 b0 timeout");
    b.relay(tx);
    assert_eq!(b.did(), ["408 up", "final 408"]);
    // A 2xx that comes after all passes through the caller's transaction while there is one.
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn fr_inv_timer_cancels_and_a_crossing_2xx_goes_up() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.answer(0, 180, "x");
    b.did();
    b.pass(120_000);
    assert_eq!(b.did(), ["CANCEL b0 one", "chosen 408 b0 timeout"]);
    b.relay(tx);
    b.did();
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn a_prepared_branch_ends_alone() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.t.hold_final(tx);
    b.t.open_branch(b.now, tx).unwrap();
    b.pass(10_000);
    b.branch(tx, "two");
    b.answer(0, 180, "x");
    b.did();
    b.pass(20_000);
    assert_eq!(b.did(), ["ended b0"]);
    assert!(matches!(b.t.release_final(b.now, tx), Released::Waiting));
    b.answer(0, 200, "x");
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn a_failing_branch_is_replaced() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    let no = b.t.open_branch(b.now, tx).unwrap();
    b.send(tx, no, "a1", Ask::Transport);
    b.answer(0, 503, "x");
    assert_eq!(b.did(), ["INVITE b0 a1", "ACK b0 a1", "failed 503 b0"]);
    let no = b.t.open_branch(b.now, tx).unwrap();
    b.t.branch_verdict(b.now, tx, 0, Verdict::Replaced);
    b.send(tx, no, "a2", Ask::Transport);
    assert_eq!(b.t.fail_branch(b.now, tx, no, 477), Ok(()));
    assert_eq!(b.did(), ["INVITE b1 a2", "failed 477 b1"]);
    b.t.branch_verdict(b.now, tx, 1, Verdict::Record);
    assert_eq!(b.did(), ["chosen 477 b1"]);
    b.relay(tx);
    assert_eq!(b.did(), ["477 up", "final 477"]);
    b.end();
}

#[test]
fn replies_queue_behind_one_that_waits() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    let (m, ringing) = b.arrive(0, 180, "x");
    assert_eq!(m, ReplyMatch::Deliver(tx, 0));
    assert_eq!(b.arrive(0, 183, "x").0, ReplyMatch::Queued(tx, 0));
    let (m, _) = b.arrive(0, 486, "x");
    assert_eq!(m, ReplyMatch::Queued(tx, 0));
    assert_eq!(b.arrive(0, 486, "x").0, ReplyMatch::Absorbed(tx, 0));
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "ACK b0 one"]);
    // Timers of the branch stopped when the final reply arrived.
    b.pass(150_000);
    assert_eq!(b.did(), ["local 100", "100 up"]);
    b.t.reply_processed(b.now, tx, 0, forward(ringing)).unwrap();
    assert_eq!(b.did(), ["180 up", "deliver 183 b0"]);
    b.t.reply_processed(b.now, tx, 0, Disposition::Drop).unwrap();
    assert_eq!(b.did(), ["deliver 486 b0"]);
    let (_, busy) = b.delivered.pop().unwrap();
    b.t.reply_processed(b.now, tx, 0, forward(busy)).unwrap();
    assert_eq!(b.did(), ["chosen 486 b0"]);
    assert_eq!(b.t.reply_processed(b.now, tx, 0, Disposition::Drop), Err(BranchError::State));
    b.relay(tx);
    b.end();
}

#[test]
fn a_held_2xx_goes_up_though_another_final_was_chosen() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.branch(tx, "two");
    let (m, ok) = b.arrive(0, 200, "x");
    assert_eq!(m, ReplyMatch::Deliver(tx, 0));
    assert_eq!(b.arrive(0, 200, "x").0, ReplyMatch::Absorbed(tx, 0));
    b.t.reply(b.now, tx, (&reply(&invite("z9hG4bKa"), 500, "z")).into()).unwrap();
    b.did();
    b.t.reply_processed(b.now, tx, 0, forward(ok)).unwrap();
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.end();
}

#[test]
fn dropped_final_replies_still_count() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.arrive(0, 404, "x");
    b.t.reply_processed(b.now, tx, 0, Disposition::Drop).unwrap();
    assert_eq!(b.did(), ["INVITE b0 one", "ACK b0 one", "chosen 404 b0"]);
    b.relay(tx);
    assert_eq!(b.did(), ["404 up", "final 404"]);
    b.end();
}

#[test]
fn embryonic_transactions() {
    let mut b = Bed::new(config());
    let inv = invite("z9hG4bKa");
    let tx = b.t.create_server(b.now, inv.clone(), "up", false, Birth::Embryonic, 9).unwrap();
    assert_eq!(b.t.states().get("embryonic"), Some(&1));
    b.pass(199);
    assert_eq!(b.did(), Vec::<String>::new());
    b.pass(1);
    assert_eq!(b.did(), ["local 100", "100 up"]);
    assert_eq!(b.t.match_request(b.now, &inv), Matched::Retransmission(tx));
    assert!(b.t.view(tx).unwrap().embryonic);
    b.t.discard(b.now, tx);
    assert_eq!(b.did(), ["100 up", "end 9"]);
    assert_eq!(b.t.match_request(b.now, &inv), Matched::New);
    // Other methods stay silent; a reply goes through it.
    let m = request("MESSAGE", "z9hG4bKm", "c", 1);
    let tx = b.t.create_server(b.now, m.clone(), "up", false, Birth::Embryonic, 9).unwrap();
    b.pass(10_000);
    assert_eq!(b.did(), Vec::<String>::new());
    assert_eq!(b.t.create_server(b.now, m.clone(), "up", false, Birth::Full, 1), Err(CreateError::Exists(tx)));
    b.t.promote(tx);
    b.t.reply(b.now, tx, (&reply(&m, 202, "x")).into()).unwrap();
    assert_eq!(b.did(), ["202 up", "final 202"]);
    assert_eq!(b.t.reply(b.now, tx, (&reply(&m, 500, "x")).into()), Err(ReplyError::FinalSent));
    b.end();
}

#[test]
fn non_invite_and_rfc_4320() {
    let mut b = Bed::new(config());
    let m = request("MESSAGE", "z9hG4bKm", "c", 1);
    let tx = b.server(m.clone());
    assert_eq!(b.t.reply(b.now, tx, (&reply(&m, 180, "x")).into()), Err(ReplyError::Provisional));
    b.branch(tx, "one");
    b.answer(0, 183, "x");
    assert_eq!(b.did(), ["MESSAGE b0 one"]);
    b.pass(30_000);
    let did = b.did();
    assert!(did.contains(&"local 100".to_string()));
    assert_eq!(did.last().unwrap(), "chosen 408 b0 timeout");
    b.relay(tx); // discards
    // What its client repeats begins nothing anew, until it cannot repeat any more.
    assert_eq!(b.t.match_request(b.now, &m), Matched::Retransmission(tx));
    b.did();
    b.pass(6_000);
    assert_eq!(b.t.match_request(b.now, &m), Matched::Retransmission(tx));
    b.did();
    b.pass(40_000);
    assert_eq!(b.did(), ["end 9"]);
    b.sent.clear();
    let tx = b.server(m);
    b.branch(tx, "one");
    b.branch(tx, "two");
    b.answer(1, 200, "x");
    b.did();
    b.answer(0, 200, "x");
    assert_eq!(b.did(), Vec::<String>::new()); // only one final reply
    b.end();
}

#[test]
fn requests_of_our_own() {
    let mut b = Bed::new(config());
    let tx = b.t.create_local(b.now, Method::Options, 9).unwrap();
    let no = b.t.open_branch(b.now, tx).unwrap();
    let text = b.t.branch_text(tx, no, 0).unwrap();
    let options = push_via(&request("OPTIONS", "z9hG4bKinner", "c", 1), "us", &text);
    let spec = BranchSpec { request: options.clone(), dest: "gw", reliable: false, ask: Ask::Never, minor: false };
    b.t.send_branch(b.now, tx, no, spec).unwrap();
    b.pass(500);
    assert_eq!(b.did(), ["OPTIONS b0 gw", "again OPTIONS b0 gw"]);
    b.answer(0, 404, "x");
    assert_eq!(b.did(), ["chosen 404 b0"]);
    assert!(matches!(b.t.release_final(b.now, tx), Released::Decide(d) if d.status == 404));
    assert_eq!(b.did(), ["final 404"]);
    assert_eq!(b.t.reply(b.now, tx, (&reply(&options, 200, "x")).into()), Err(ReplyError::Local));
    b.end();
    assert_eq!(b.t.create_local(b.now, Method::Ack, 9), Err(CreateError::Unusable));
}

#[test]
fn foreign_and_forged_replies_are_not_ours() {
    let mut b = Bed::new(config());
    let tx = b.server(invite("z9hG4bKa"));
    b.branch(tx, "one");
    b.drain();
    let sent = b.sent[0].clone();
    let text = String::from_utf8_lossy(sent.bytes()).into_owned();
    let via = sent.top_via().unwrap().branch().unwrap().to_vec();
    assert_eq!(BranchId::parse(&via).unwrap().tx, tx);
    for i in 9..41 {
        let mut forged = via.clone();
        forged[i] = if forged[i] == b'a' { b'b' } else { b'a' };
        let m = super::parse(text.replace(&*String::from_utf8_lossy(&via), &String::from_utf8_lossy(&forged)));
        assert_eq!(b.t.match_reply(b.now, &reply(&m, 200, "x")), ReplyMatch::NotOurs, "{i}");
    }
    let bye = super::parse(String::from_utf8_lossy(reply(&sent, 200, "x").bytes()).replace("INVITE", "BYE"));
    assert_eq!(b.t.match_reply(b.now, &bye), ReplyMatch::NotOurs);
}

#[test]
fn caps() {
    let mut b = Bed::new(Config { max_transactions: 1, max_branches: 1, ..config() });
    let tx = b.server(invite("z9hG4bKa"));
    let again = b.t.create_server(b.now, invite("z9hG4bKb"), "up", false, Birth::Full, 0);
    assert_eq!(again, Err(CreateError::Full));
    assert_eq!(b.t.create_local(b.now, Method::Options, 0), Err(CreateError::Full));
    b.branch(tx, "one");
    assert_eq!(b.t.open_branch(b.now, tx), Err(BranchError::TooMany));
}

#[test]
fn stateless_branches() {
    let keys = Keys::new([1; 16], true, true);
    let of = |m: &Message| branch_id::stateless(&keys, m, 5).unwrap().to_vec();
    let inv = invite("z9hG4bKa");
    assert_eq!(of(&inv), of(&follow_up(&inv, "CANCEL", None)));
    assert_eq!(of(&inv), of(&follow_up(&inv, "ACK", Some("x"))));
    assert_ne!(of(&inv), of(&invite("z9hG4bKb")));
    assert_eq!(BranchId::parse(&of(&inv)), None);
    assert_eq!(branch_id::came_back(&of(&inv), (9, 5)), Some(branch_id::Return::Loop));
}

#[test]
fn memory_per_transaction_is_small() {
    use super::super::entry::{Branch, Tx};
    assert!(size_of::<Tx<u64, u64, u64>>() <= 400, "{}", size_of::<Tx<u64, u64, u64>>());
    assert!(size_of::<Branch<u64>>() <= 360, "{}", size_of::<Branch<u64>>());
}

#[test]
fn a_repeated_request_has_its_answer_for_as_long_as_its_client_repeats() {
    // wt ends the transaction after 5 s; RFC 3261 17.2.2 wants 32 s.
    let mut b = Bed::new(Config { wt: Some(Duration::from_secs(5)), ..config() });
    let bye = request("BYE", "z9hG4bKa", "call1", 2);
    let tx = b.server(bye.clone());
    b.t.reply(b.now, tx, (&reply(&bye, 200, "x")).into()).unwrap();
    assert_eq!(b.did(), ["200 up", "final 200"]);
    b.pass(5000);
    assert_eq!((b.did(), b.t.len(), b.t.timers(), b.t.echoes()), (vec!["end 9".to_string()], 0, 0, 1));
    assert_eq!(b.t.match_request(b.now, &bye), Matched::Echo(tx));
    assert_eq!(b.did(), ["200 up"]);
    b.now = b.now + Duration::from_millis(26_999);
    assert_eq!(b.t.match_request(b.now, &bye), Matched::Echo(tx));
    assert_eq!(b.did(), ["200 up"]);
    assert_eq!(b.t.stats().received_retransmissions, 2);
    b.now = b.now + Duration::from_millis(1);
    assert_eq!(b.t.match_request(b.now, &bye), Matched::New);
    b.t.tidy(b.now);
    assert_eq!(b.t.echoes(), 0);
}

#[test]
fn a_repeated_invite_that_was_accepted_begins_nothing_anew() {
    let mut b = Bed::new(Config { wt: Some(Duration::from_secs(5)), ..config() });
    let inv = invite("z9hG4bKa");
    let tx = b.server(inv.clone());
    b.branch(tx, "bob");
    b.answer(0, 200, "bob");
    b.pass(6000);
    assert_eq!(b.t.len(), 0);
    b.did();
    // RFC 6026 7.1: absorbed without an answer; whoever sent the 2xx repeats it.
    assert_eq!(b.t.match_request(b.now, &inv), Matched::Echo(tx));
    assert!(b.did().is_empty());
    b.now = b.now + Duration::from_secs(27);
    assert_eq!(b.t.match_request(b.now, &inv), Matched::New);
}

#[test]
fn nothing_is_kept_where_nothing_is_repeated() {
    let mut b = Bed::new(Config { wt: Some(Duration::from_secs(5)), ..config() });
    for (i, method) in ["BYE", "INVITE"].into_iter().enumerate() {
        let r = request(method, &format!("z9hG4bK{i}"), "call1", 2);
        let tx = b.t.create_server(b.now, r.clone(), "up", true, Birth::Full, 9).unwrap();
        b.t.reply(b.now, tx, (&reply(&r, 200, "x")).into()).unwrap();
    }
    b.pass(40_000);
    assert_eq!((b.t.len(), b.t.echoes()), (0, 0));
    // With the RFC's own times the transaction itself is there as long.
    let mut b = Bed::new(config());
    let bye = request("BYE", "z9hG4bKa", "call1", 2);
    let tx = b.server(bye.clone());
    b.t.reply(b.now, tx, (&reply(&bye, 200, "x")).into()).unwrap();
    b.pass(40_000);
    assert_eq!((b.t.len(), b.t.echoes()), (0, 0));
}

#[test]
fn what_is_left_of_transactions_is_bounded() {
    let most = 20_000;
    let mut b = Bed::new(Config { wt: Some(Duration::from_secs(1)), max_echo_bytes: most, ..config() });
    let all: Vec<Message> = (0..100).map(|i| request("BYE", &format!("z9hG4bK{i}"), "call1", 2)).collect();
    for bye in &all {
        let tx = b.server(bye.clone());
        b.t.reply(b.now, tx, (&reply(bye, 200, "x")).into()).unwrap();
        b.pass(10);
    }
    b.pass(2000);
    let kept = b.t.echoes();
    assert!((20..100).contains(&kept), "{kept}");
    // The youngest ones.
    let found = all.iter().filter(|bye| matches!(b.t.match_request(b.now, bye), Matched::Echo(_))).count();
    assert_eq!(found, kept);
    assert!(matches!(b.t.match_request(b.now, &all[99]), Matched::Echo(_)));
    assert_eq!(b.t.match_request(b.now, &all[0]), Matched::New);
}
