//! A caller, a proxy and three callees, each with a table of its own, over a network that loses,
//! repeats and reorders. Thousands of seeds; what must hold holds for each of them.

use super::super::*;
use super::{follow_up, ms, pop_via, push_via, reply, request};
use crate::base::{Str, Time};
use crate::sip::Message;
use crate::sip::Method;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

const UAC: usize = 0;
const PROXY: usize = 1;
const FIRST_UAS: usize = 2;
const NODES: usize = 5;

/// What a node attaches: the number of the call, and how often the proxy has tried.
#[derive(Debug, Clone, Copy)]
struct User {
    call: u32,
    tries: u32,
    method: Method,
}

/// Something that happens at a node.
enum Event {
    Arrive { from: usize, bytes: Str },
    Call(u32),
    GiveUp(TxKey),
    Relay(TxKey, u32),
    Send(TxKey, BranchNo),
    ReleaseRelay(TxKey),
    Processed(TxKey, BranchNo, Message),
    FailureRoute(TxKey),
    Verdict(TxKey, BranchNo),
    Answer(TxKey, u16),
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

struct World {
    rng: Rng,
    now: Time,
    nodes: Vec<Transactions<User, usize, usize>>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, (usize, Event)>,
    serial: u64,
    loss: u64,
    slow: bool,
    /// Final statuses sent by (node, transaction), in order.
    finals: BTreeMap<(usize, TxKey), Vec<u16>>,
    discarded: BTreeSet<TxKey>,
    made: Vec<(TxKey, Method)>,
    ended: BTreeSet<(usize, TxKey)>,
    unacknowledged: u32,
    /// To tags of 2xx sent by callees, and of ACKs that reached them.
    accepted: BTreeSet<Vec<u8>>,
    acked: BTreeSet<Vec<u8>>,
    caller_finals: BTreeMap<u32, Vec<u16>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let config = |rng: &mut Rng, node: usize| Config {
            wt: (seed % 4 == 3).then(|| Duration::from_secs(5)),
            fr_timeout: Duration::from_secs([2, 30, 0][rng.below(3) as usize]),
            fr_inv_timeout: Duration::from_secs([10, 120, 0][rng.below(3) as usize]),
            restart_fr_on_each_reply: rng.percent(50),
            disable_6xx_block: rng.percent(20),
            worker: node as u16,
            secret: [node as u8; 16],
            ..Config::default()
        };
        let nodes = (0..NODES)
            .map(|n| {
                let mut c = config(&mut rng, n);
                if n == UAC {
                    c.fr_inv_timeout = Duration::ZERO;
                    c.fr_timeout = Duration::ZERO;
                }
                Transactions::new(ms(0), c)
            })
            .collect();
        World {
            now: ms(0),
            nodes,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            serial: 0,
            loss: [0, 5, 10][(seed % 3) as usize],
            slow: rng.percent(50),
            finals: BTreeMap::new(),
            discarded: BTreeSet::new(),
            made: Vec::new(),
            ended: BTreeSet::new(),
            unacknowledged: 0,
            accepted: BTreeSet::new(),
            acked: BTreeSet::new(),
            caller_finals: BTreeMap::new(),
            rng,
        }
    }

    fn at(&mut self, delay_ms: u64, node: usize, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((self.now + Duration::from_millis(delay_ms), self.serial)));
        self.events.insert(self.serial, (node, event));
    }

    /// A wait of a script: often none.
    fn wait(&mut self) -> u64 {
        if self.slow && self.rng.percent(60) { self.rng.below(3000) } else { 0 }
    }

    fn transmit(&mut self, from: usize, to: usize, bytes: &Str) {
        let copies = 1 + usize::from(self.loss > 0 && self.rng.percent(5));
        for _ in 0..copies {
            let lost = self.rng.percent(self.loss);
            if !lost {
                let delay = if self.rng.percent(self.loss) { self.rng.below(900) } else { 1 + self.rng.below(20) };
                self.at(delay, to, Event::Arrive { from, bytes: bytes.clone() });
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..2_000_000 {
            let timer = self.nodes.iter().filter_map(Transactions::next_timer).min();
            let event = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(next) = timer.into_iter().chain(event).min() else { return };
            assert!(next < ms(3_600_000), "an hour has passed");
            self.now = self.now.max(next);
            if event == Some(next) {
                if let Some(Reverse((_, id))) = self.queue.pop()
                    && let Some((node, event)) = self.events.remove(&id)
                {
                    self.happen(node, event);
                    self.drain(node);
                }
            } else {
                for n in 0..NODES {
                    self.nodes[n].expire(self.now);
                    self.drain(n);
                }
            }
        }
        panic!("never comes to rest");
    }

    fn happen(&mut self, node: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Arrive { from, bytes } => {
                let m = Message::parse(bytes).unwrap();
                if !m.is_request() {
                    self.reply_arrives(node, &m);
                } else if node == PROXY {
                    self.request_at_proxy(from, m);
                } else {
                    self.request_at_callee(node, from, m);
                }
            }
            Event::Call(call) => self.call(call),
            Event::GiveUp(tx) => {
                self.nodes[UAC].cancel(now, tx, CancelScope::Request);
            }
            Event::Relay(tx, n) => {
                self.nodes[PROXY].unkeep(now, tx);
                self.relay(tx, n);
            }
            Event::Send(tx, no) => self.send(PROXY, tx, no),
            Event::ReleaseRelay(tx) => match self.nodes[PROXY].release_final(now, tx) {
                Released::Nothing => self.local(PROXY, tx, 500),
                // The failure route, which has ended, found no branch to add.
                Released::Decide(d) => self.decide(tx, d),
                _ => {}
            },
            Event::Processed(tx, no, m) => {
                let bytes = if node == PROXY { pop_via(&m).bytes_str().clone() } else { m.bytes_str().clone() };
                let status = m.status();
                if node == UAC && m.method() == Method::Invite && (200..300).contains(&status) {
                    // The caller's core acknowledges every 2xx, end to end.
                    let tag = String::from_utf8_lossy(m.to_tag().unwrap()).into_owned();
                    let call = String::from_utf8_lossy(m.call_id()).into_owned();
                    let ack = follow_up(&request("INVITE", &format!("z9hG4bKack{tag}"), &call, 1), "ACK", Some(&tag));
                    self.transmit(UAC, PROXY, ack.bytes_str());
                }
                let drop = node == PROXY && self.rng.percent(3);
                if drop && (200..300).contains(&status) {
                    self.acked.insert(m.to_tag().unwrap_or_default().to_vec()); // nobody will
                }
                let how = if drop { Disposition::Drop } else { Disposition::Forward { reply: m, bytes, status } };
                let _ = self.nodes[node].reply_processed(now, tx, no, how);
            }
            Event::FailureRoute(tx) => {
                let user = self.nodes[PROXY].user(tx).copied();
                if user.is_some_and(|u| u.tries < 2) && self.rng.percent(40) {
                    if let Some(u) = self.nodes[PROXY].user_mut(tx) {
                        u.tries += 1;
                    }
                    self.relay(tx, 1);
                }
                match self.nodes[node].release_final(now, tx) {
                    Released::Decide(d) if node == PROXY => self.decide(tx, d),
                    Released::Nothing => panic!("a failure route without a failure"),
                    _ => {}
                }
            }
            Event::Verdict(tx, no) => {
                let verdict = match self.nodes[PROXY].open_branch(now, tx) {
                    Ok(new) => {
                        self.at(0, PROXY, Event::Send(tx, new));
                        Verdict::Replaced
                    }
                    Err(_) => Verdict::Record,
                };
                self.nodes[PROXY].branch_verdict(now, tx, no, verdict);
            }
            Event::Answer(tx, status) => self.local(node, tx, status),
        }
    }

    fn call(&mut self, call: u32) {
        let method = if self.rng.percent(75) { Method::Invite } else { Method::Options };
        let user = User { call, tries: 0, method };
        let tx = self.nodes[UAC].create_local(self.now, method, user).unwrap();
        let no = self.nodes[UAC].open_branch(self.now, tx).unwrap();
        self.send(UAC, tx, no);
        if self.rng.percent(35) {
            let when = self.rng.below(6000);
            self.at(when, UAC, Event::GiveUp(tx));
        }
    }

    /// Sends a branch to somebody.
    fn send(&mut self, node: usize, tx: TxKey, no: BranchNo) {
        let t = &mut self.nodes[node];
        let (Some(user), Some(text)) = (t.user(tx).copied(), t.branch_text(tx, no, 1)) else { return };
        let text = String::from_utf8_lossy(&text).into_owned();
        let (request, dest) = if node == UAC {
            (request(user.method.as_str(), &text, &format!("call{}", user.call), 1), PROXY)
        } else {
            let Some(received) = t.request(tx) else { return };
            (push_via(received, "proxy.example.com", text.as_bytes()), FIRST_UAS + usize::from(no) % 3)
        };
        if node == PROXY && self.rng.percent(5) {
            let _ = t.fail_branch(self.now, tx, no, 478);
            return;
        }
        let ask = [Ask::Never, Ask::Never, Ask::Transport, Ask::Always][self.rng.below(4) as usize];
        let ask = if node == UAC { Ask::Never } else { ask };
        let minor = node == PROXY && no > 0 && self.rng.percent(5);
        let _ = t.send_branch(self.now, tx, no, BranchSpec { request, dest, reliable: false, ask, minor });
    }

    fn request_at_proxy(&mut self, from: usize, m: Message) {
        let now = self.now;
        match self.nodes[PROXY].match_request(now, &m) {
            Matched::Retransmission(_) | Matched::Echo(_) | Matched::AckNon2xx(_) => {}
            Matched::Ack2xx(_) => {
                if let Some([b'u', n, ..]) = m.to_tag() {
                    let to = usize::from(n - b'0');
                    let out = push_via(&m, "proxy.example.com", b"z9hG4bKstateless");
                    self.transmit(PROXY, to, out.bytes_str());
                }
            }
            Matched::Cancel { invite } => {
                let user = User { call: 0, tries: 0, method: Method::Cancel };
                let tx = self.nodes[PROXY].create_server(now, m, from, false, Birth::Full, user).unwrap();
                self.made.push((tx, Method::Cancel));
                self.local(PROXY, tx, if invite.is_some() { 200 } else { 481 });
                if let Some(invite) = invite {
                    self.nodes[PROXY].cancel(now, invite, CancelScope::Request);
                }
            }
            Matched::New => {
                let method = m.method();
                let birth = if self.rng.percent(50) { Birth::Full } else { Birth::Embryonic };
                let user = User { call: 0, tries: 0, method };
                let tx = self.nodes[PROXY].create_server(now, m, from, false, birth, user).unwrap();
                self.made.push((tx, method));
                if method == Method::Invite && birth == Birth::Full && self.rng.percent(50) {
                    self.local(PROXY, tx, 100);
                }
                self.nodes[PROXY].keep(tx);
                let (wait, branches) = (self.wait(), 1 + self.rng.below(3) as u32);
                self.at(wait, PROXY, Event::Relay(tx, branches));
            }
        }
    }

    /// `t_relay`: opens branches, some of which wait before they are sent.
    fn relay(&mut self, tx: TxKey, branches: u32) {
        self.nodes[PROXY].hold_final(tx);
        let mut longest = 0;
        for _ in 0..branches {
            if let Ok(no) = self.nodes[PROXY].open_branch(self.now, tx) {
                let wait = self.wait();
                longest = longest.max(wait);
                if self.rng.percent(3) {
                    self.nodes[PROXY].drop_branch(self.now, tx, no);
                } else if wait == 0 {
                    self.send(PROXY, tx, no);
                } else {
                    self.at(wait, PROXY, Event::Send(tx, no));
                }
            }
        }
        self.at(longest + 1, PROXY, Event::ReleaseRelay(tx));
    }

    fn decide(&mut self, tx: TxKey, d: Decision) {
        let Some(status) = d.upstream else {
            self.discarded.insert(tx);
            self.nodes[PROXY].discard(self.now, tx);
            return;
        };
        let local = reply(self.nodes[PROXY].request(tx).unwrap(), status, "proxy");
        let out = match (d.bytes, &d.reply) {
            (Some(bytes), Some(r)) => Outgoing { status, bytes, to_tag: r.to_tag().unwrap_or_default() },
            _ => Outgoing::from(&local),
        };
        self.nodes[PROXY].relay_final(self.now, tx, d.branch, out).unwrap();
    }

    fn request_at_callee(&mut self, node: usize, from: usize, m: Message) {
        let now = self.now;
        match self.nodes[node].match_request(now, &m) {
            Matched::Retransmission(_) | Matched::Echo(_) | Matched::AckNon2xx(_) => {}
            Matched::Ack2xx(_) => {
                self.acked.insert(m.to_tag().unwrap_or_default().to_vec());
            }
            Matched::Cancel { invite } => {
                let user = User { call: 0, tries: 0, method: Method::Cancel };
                let tx = self.nodes[node].create_server(now, m, from, false, Birth::Full, user).unwrap();
                self.local(node, tx, if invite.is_some() { 200 } else { 481 });
                if let Some(invite) = invite {
                    self.local(node, invite, 487);
                }
            }
            Matched::New => {
                if self.rng.percent(10) {
                    return; // deaf
                }
                let method = m.method();
                let user = User { call: 0, tries: 0, method };
                let tx = self.nodes[node].create_server(now, m, from, false, Birth::Full, user).unwrap();
                let mut when = self.rng.below(3000);
                if method == Method::Invite && self.rng.percent(70) {
                    self.at(when / 2, node, Event::Answer(tx, 180));
                    when += self.rng.below(20_000);
                }
                let finals = [200, 200, 200, 404, 486, 503, 603, 408, 302, 500];
                let status = finals[self.rng.below(finals.len() as u64) as usize];
                if method == Method::Invite && self.rng.percent(10) {
                    // Rings until somebody cancels; 250 s is longer than any timer of the proxy.
                    when = 250_000;
                }
                self.at(when, node, Event::Answer(tx, status));
            }
        }
    }

    fn local(&mut self, node: usize, tx: TxKey, status: u16) {
        let Some(request) = self.nodes[node].request(tx).cloned() else { return };
        let call = String::from_utf8_lossy(request.call_id()).into_owned();
        let m = reply(&request, status, &format!("u{node}{call}x{}", tx.index));
        if self.nodes[node].reply(self.now, tx, (&m).into()).is_ok()
            && node >= FIRST_UAS
            && status == 200
            && m.method() == Method::Invite
        {
            self.accepted.insert(m.to_tag().unwrap().to_vec());
        }
    }

    fn reply_arrives(&mut self, node: usize, m: &Message) {
        match self.nodes[node].match_reply(self.now, m) {
            ReplyMatch::Deliver(tx, no) => {
                let wait = if node == PROXY { self.wait() } else { 0 };
                if wait == 0 {
                    self.happen(node, Event::Processed(tx, no, m.clone()));
                } else {
                    self.at(wait, node, Event::Processed(tx, no, m.clone()));
                }
            }
            ReplyMatch::NotOurs if node == PROXY && m.vias().count() == 2 => {
                self.transmit(PROXY, UAC, pop_via(m).bytes_str());
            }
            _ => {}
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            match output {
                Output::Send { bytes, dest, .. } => self.transmit(node, dest, &bytes),
                Output::Reply { bytes, path, .. } => self.transmit(node, path, &bytes),
                Output::Local { tx, status } => self.local(node, tx, status),
                Output::Deliver { tx, branch, reply } => {
                    let wait = self.wait();
                    self.at(wait, node, Event::Processed(tx, branch, reply));
                }
                Output::BranchFailed { tx, branch, .. } => {
                    let wait = self.wait();
                    self.at(wait, node, Event::Verdict(tx, branch));
                }
                Output::BranchEnded { .. } => {}
                Output::FinalChosen { tx, .. } => {
                    let wait = if node == PROXY { self.wait() } else { 0 };
                    self.at(wait, node, Event::FailureRoute(tx));
                }
                Output::FinalSent { tx, status, .. } => {
                    self.finals.entry((node, tx)).or_default().push(status);
                    if node == UAC {
                        let call = self.nodes[UAC].user(tx).unwrap().call;
                        self.caller_finals.entry(call).or_default().push(status);
                    }
                }
                Output::Lapsed { .. } => {}
                Output::Unacknowledged { .. } => self.unacknowledged += 1,
                Output::Ended { tx, .. } => {
                    assert!(self.ended.insert((node, tx)), "ended twice");
                }
            }
        }
    }

    fn check(&self, seed: u64, calls: u32) {
        for (n, t) in self.nodes.iter().enumerate() {
            assert!(t.is_empty(), "seed {seed} node {n}: {:?}", t.iter().collect::<Vec<_>>());
            assert_eq!(t.timers(), 0, "seed {seed} node {n}");
        }
        for (tx, method) in &self.made {
            let finals = self.finals.get(&(PROXY, *tx)).cloned().unwrap_or_default();
            let negative = finals.iter().filter(|s| **s >= 300).count();
            assert!(negative <= 1, "seed {seed}: {finals:?}");
            assert!(self.discarded.contains(tx) || !finals.is_empty(), "seed {seed} {method:?}: no final");
            if *method == Method::Invite {
                let first_negative = finals.iter().position(|s| *s >= 300);
                assert!(first_negative.unwrap_or(0) == 0, "seed {seed}: {finals:?}");
            } else {
                assert!(finals.len() + usize::from(self.discarded.contains(tx)) == 1, "seed {seed}: {finals:?}");
            }
        }
        for call in 0..calls {
            let finals = self.caller_finals.get(&call).cloned().unwrap_or_default();
            assert!(!finals.is_empty(), "seed {seed}: the caller hears nothing");
            assert!(finals.iter().filter(|s| **s >= 300).count() <= 1, "seed {seed}: {finals:?}");
        }
        // Who has given a branch up before any reply has no machine left to acknowledge with.
        if seed % 4 != 3 && self.nodes.iter().all(|n| n.stats().timeouts == 0) {
            assert_eq!(self.unacknowledged, 0, "seed {seed}");
        }
        if self.loss == 0 && seed % 4 != 3 && self.caller_finals.values().all(|f| f[0] < 300) {
            assert!(self.accepted.is_subset(&self.acked), "seed {seed}: {:?} {:?}", self.accepted, self.acked);
        }
    }
}

/// Runs one seed; returns the final statuses that callers heard.
fn simulate(seed: u64) -> Vec<u16> {
    let mut w = World::new(seed);
    let calls = 1 + w.rng.below(4) as u32;
    for call in 0..calls {
        let when = w.rng.below(2000);
        w.at(when, UAC, Event::Call(call));
    }
    w.run();
    w.check(seed, calls);
    w.caller_finals.into_values().flatten().collect()
}

#[test]
fn thousands_of_bad_networks() {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2000);
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    for seed in 0..seeds {
        for status in simulate(seed) {
            *seen.entry(status).or_default() += 1;
        }
    }
    // The scenarios are worth something only if every kind of end occurs.
    for status in [200, 404, 408, 486, 487, 500, 603] {
        assert!(seen.get(&status).is_some_and(|n| *n > 10), "{seen:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(simulate(12), simulate(12));
    assert_eq!(simulate(4711), simulate(4711));
}
