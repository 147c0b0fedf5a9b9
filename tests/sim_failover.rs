//! Fail-over between the servers of a name (RFC 3263 4.3) on the simulated worker: a thousand seeds of servers that
//! are dead, busy, ringing or without an address, and of callers who give up at any moment. Whatever
//! happens, the servers are tried in their order and once each, the caller hears one end, and nothing is left.
//!
//! `FAILOVER_SEED=N` runs one seed and prints what happens.

#![allow(clippy::unwrap_used)]

use reprise::base::Time;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::net::resolver::Record;
use reprise::worker::sim::{Sim, SimOptions};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

const SEEDS: u64 = 1000;
const ALICE: &str = "192.0.2.1:5060";

/// Name servers are tried twice for 1.5 s: longer than that, and than a few such names, is `fr_timeout`.
const CONFIG: &str = r#"
socket = udp:10.0.0.100:5060
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "sipmsgops.so"
modparam("tm", "fr_timeout", 14)
modparam("tm", "fr_inv_timeout", 5)
modparam("tm", "wt_timer", 1)
route {
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (is_method("ACK")) {
        t_check_trans();
        exit;
    }
    t_on_failure("lost");
    t_relay();
}
failure_route[lost] {
    if (t_was_cancelled()) exit;
    t_reply(480, "All failed");
}
"#;

/// What a server is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Server {
    Silent,
    Busy,
    Declines,
    Answers {
        rings: bool,
        after: u64,
    },
    RingsForEver,
    /// Its name has no address.
    NoAddress,
    /// The name server says nothing about its name.
    NoAnswer,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn branch(text: &str) -> String {
    line(text, "Via").split(";branch=").nth(1).unwrap().split(';').next().unwrap().to_string()
}

/// A reply to a request, both as text.
fn reply(request: &str, status: u16, tag: usize) -> String {
    let mut out = format!("SIP/2.0 {status} Simulated\r\n");
    for l in request.lines().skip(1) {
        if l.starts_with("To: ") && !l.contains(";tag=") {
            out.push_str(&format!("{l};tag=uas{tag}\r\n"));
        } else if ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "].iter().any(|n| l.starts_with(n)) {
            out.push_str(&format!("{l}\r\n"));
        }
    }
    out + "Content-Length: 0\r\n\r\n"
}

fn from_alice(method: &str, to: &str) -> String {
    format!(
        "{method} sip:bob@call.test SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKalice\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@x.test>;tag=a\r\nTo: {to}\r\nCall-ID: failover\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@{ALICE}>\r\nContent-Length: 0\r\n\r\n"
    )
}

struct World {
    sim: Sim,
    proxy: SocketAddr,
    servers: Vec<Server>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: HashMap<u64, (SocketAddr, String)>,
    serial: u64,
    /// Servers in the order in which their first INVITE came.
    tried: Vec<usize>,
    /// Branch parameters of INVITEs, and whether a final reply was sent.
    seen: HashMap<String, bool>,
    finals: Vec<u16>,
    loud: bool,
}

impl World {
    fn new(seed: u64, rng: &mut Rng, loud: bool) -> World {
        let n = 1 + rng.below(4) as usize;
        let servers: Vec<Server> = (0..n)
            .map(|_| match rng.below(10) {
                0..=2 => Server::Silent,
                3 | 4 => Server::Busy,
                5 => Server::Declines,
                6 => Server::RingsForEver,
                7 => Server::NoAddress,
                8 if rng.below(2) == 0 => Server::NoAnswer,
                _ => Server::Answers { rings: rng.below(2) == 0, after: rng.below(3000) },
            })
            .collect();
        let mut options = SimOptions { seed: seed | 1, ..SimOptions::default() };
        for (i, server) in servers.iter().enumerate() {
            let host = format!("h{i}.call.test");
            let record = Record::Srv { priority: i as u16, weight: 0, port: 5060, target: host.clone() };
            options.zone.add("_sip._udp.call.test", [record]);
            match server {
                Server::NoAddress => {}
                Server::NoAnswer => options.zone.keep_silent(&host),
                _ => options.zone.add_addresses(&host, [addr(&format!("10.0.1.{i}:0")).ip()]),
            }
        }
        let sim = simulate(ConfigText::Text(CONFIG, "failover.cfg"), None, options).unwrap_or_else(|e| panic!("{e}"));
        let proxy = sim.listeners().next().unwrap();
        World {
            sim,
            proxy,
            servers,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            serial: 0,
            tried: Vec::new(),
            seen: HashMap::new(),
            finals: Vec::new(),
            loud,
        }
    }

    /// Something is sent to the proxy that many milliseconds from now.
    fn later(&mut self, ms: u64, from: SocketAddr, text: String) {
        self.serial += 1;
        self.queue.push(Reverse((self.sim.now() + Duration::from_millis(ms), self.serial)));
        self.events.insert(self.serial, (from, text));
    }

    /// Looks at what the proxy has sent.
    fn look(&mut self) {
        for sent in self.sim.take_sent() {
            let text = String::from_utf8(sent.bytes).unwrap();
            let first = text.lines().next().unwrap().to_string();
            if self.loud {
                println!("{:?} -> {} {first}", self.sim.now(), sent.to);
            }
            if sent.to == addr(ALICE) {
                self.caller_hears(&first, &text);
            } else {
                self.server_hears(sent.to, &first, &text);
            }
        }
    }

    fn caller_hears(&mut self, first: &str, text: &str) {
        let status: u16 = first.split(' ').nth(1).unwrap().parse().unwrap();
        if !line(text, "CSeq").ends_with("INVITE") || status < 200 {
            return;
        }
        self.finals.push(status);
        if status >= 300 {
            let ack = from_alice("ACK", line(text, "To"));
            self.later(1, addr(ALICE), ack);
        }
    }

    fn server_hears(&mut self, at: SocketAddr, first: &str, text: &str) {
        let SocketAddr::V4(v4) = at else { panic!("{at}") };
        let i = usize::from(v4.ip().octets()[3]);
        let (branch, server) = (branch(text), self.servers[i]);
        match first.split(' ').next().unwrap() {
            "ACK" => {}
            "CANCEL" => {
                self.later(1, at, reply(text, 200, i));
                if self.seen.get(&branch) == Some(&false) {
                    self.seen.insert(branch, true);
                    let invite = text.replace("CSeq: 1 CANCEL", "CSeq: 1 INVITE");
                    self.later(2, at, reply(&invite, 487, i));
                }
            }
            "INVITE" => {
                if self.seen.contains_key(&branch) {
                    return;
                }
                assert!(!self.tried.contains(&i), "server {i} is tried twice");
                self.tried.push(i);
                self.seen.insert(branch.clone(), matches!(server, Server::Busy | Server::Declines));
                match server {
                    Server::Busy => self.later(5, at, reply(text, 503, i)),
                    Server::Declines => self.later(5, at, reply(text, 486, i)),
                    Server::RingsForEver => self.later(5, at, reply(text, 180, i)),
                    Server::Answers { rings, after } => {
                        if rings {
                            self.later(5, at, reply(text, 180, i));
                        }
                        self.later(10 + after, at, reply(text, 200, i));
                    }
                    _ => {}
                }
            }
            other => panic!("{other}"),
        }
    }

    /// Until nothing happens any more.
    fn run(&mut self) {
        let start = self.sim.now();
        loop {
            self.look();
            let event = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(next) = event.into_iter().chain(self.sim.next_event()).min() else { return };
            assert!(next.since(start) < Duration::from_secs(600), "no end; left: {}", self.sim.live());
            self.sim.advance_to(next.max(self.sim.now()));
            self.look();
            if event == Some(next) {
                let Reverse((_, id)) = self.queue.pop().unwrap();
                let (from, text) = self.events.remove(&id).unwrap();
                // A server that was cancelled before it answered does not answer any more.
                let answers = text.starts_with("SIP/2.0 200") && line(&text, "CSeq").ends_with("INVITE");
                if answers && self.seen.insert(branch(&text), true) == Some(true) {
                    continue;
                }
                if self.loud {
                    println!("{:?} <- {from} {}", self.sim.now(), text.lines().next().unwrap());
                }
                self.sim.receive(from, self.proxy, text.as_bytes());
            }
        }
    }

    /// The end that a caller who does not give up hears, and the servers that are tried.
    fn expected(&self) -> (u16, Vec<usize>) {
        let mut tried = Vec::new();
        for (i, server) in self.servers.iter().enumerate() {
            if !matches!(server, Server::NoAddress | Server::NoAnswer) {
                tried.push(i);
            }
            match server {
                Server::Answers { .. } => return (200, tried),
                Server::Declines | Server::RingsForEver => return (480, tried),
                _ => {}
            }
        }
        (if tried.is_empty() { 476 } else { 480 }, tried)
    }
}

fn play(seed: u64, loud: bool) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut w = World::new(seed, &mut rng, loud);
    let gives_up = (rng.below(2) == 0).then(|| rng.below(40_000));
    if loud {
        println!("{:?}, gives up after {gives_up:?} ms", w.servers);
    }
    w.later(0, addr(ALICE), from_alice("INVITE", "<sip:bob@call.test>"));
    if let Some(ms) = gives_up {
        w.later(ms.max(1), addr(ALICE), from_alice("CANCEL", "<sip:bob@call.test>"));
    }
    w.run();
    let context =
        format!("seed {seed}: {:?}, gives up {gives_up:?}, tried {:?}, heard {:?}", w.servers, w.tried, w.finals);
    let different: HashSet<u16> = w.finals.iter().copied().collect();
    assert_eq!(different.len(), 1, "one end: {context}");
    assert!(w.sim.live().is_empty(), "left: {}; {context}", w.sim.live());
    let (status, tried) = w.expected();
    if gives_up.is_none() {
        assert_eq!((w.finals[0], &w.tried), (status, &tried), "{context}");
    } else {
        assert!(w.finals[0] == 487 || w.finals[0] == status, "{context}");
        assert!(tried.starts_with(&w.tried), "in their order: {context}");
    }
}

#[test]
fn servers_in_their_order_and_one_end() {
    match std::env::var("FAILOVER_SEED") {
        Ok(seed) => play(seed.parse().unwrap(), true),
        Err(_) => (0..SEEDS).for_each(|seed| play(seed, false)),
    }
}
