//! The world of one seed: callers, the proxy, callees and backends; what happens when.

use crate::callee::Leg;
use crate::caller::Call;
use crate::checks::{Broken, Checks};
use crate::rng::Rng;
use crate::text;
use crate::wire::{Weather, damaged};
use reprise::base::Time;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::ops::driver::OpKind;
use reprise::ops::request::{ExecOutcome, HttpResponse, SqlResult, SqlValue};
use reprise::ops::{CancelReason, Failure, OpId, Outcome, Phase, Why};
use reprise::worker::sim::{Sim, SimOptions};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The script all seeds run.
const SCRIPT: &str = include_str!("script.cfg");
/// Calls of one seed.
pub const CALLS: usize = 25;
/// The longest any operation may be in flight: `async_timeout` of the script and a little.
const LONGEST_WAIT: Duration = Duration::from_millis(4100);

/// Something that happens at a time.
pub enum Event {
    ToProxy { from: SocketAddr, bytes: Rc<[u8]>, damaged: bool, call: usize },
    ToAgent { to: SocketAddr, bytes: Rc<[u8]>, damaged: bool, call: Option<usize> },
    CallBegins(usize),
    CallerRepeats(usize, u64),
    CancelWanted(usize, u64),
    Bye(usize, usize, u64),
    CalleeSays(usize, u16),
    CalleeRepeats(usize, u64),
    Answer(OpId),
}

/// How an operation will end.
enum Fate {
    Outcome(Box<Outcome>),
    Never,
}

/// What a run of a seed came to.
#[derive(Default, Debug)]
pub struct Tally {
    pub calls: usize,
    pub datagrams: u64,
    pub operations: u64,
    pub deadlines: u64,
    pub cancelled: u64,
    pub answered: u64,
}

pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub now: Time,
    pub calls: Vec<Call>,
    pub legs: Vec<Leg>,
    pub began: HashMap<usize, Time>,
    sim: Sim,
    proxy: SocketAddr,
    weather: Weather,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: HashMap<u64, Event>,
    serial: u64,
    pending: HashMap<OpId, (Fate, Time)>,
    checks: Checks,
    pub tally: Tally,
    /// Prints what happens.
    timeline: bool,
}

impl World {
    pub fn new(seed: u64, timeline: bool) -> World {
        let mut rng = Rng::new(seed);
        let options = SimOptions { seed: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1, ..SimOptions::default() };
        let sim = simulate(ConfigText::Text(SCRIPT, "script.cfg"), None, options).unwrap_or_else(|e| panic!("{e}"));
        assert!(sim.is_up(), "{:?}", sim.startup());
        let proxy = sim.listeners().next().expect("a listener");
        World {
            seed,
            weather: Weather::of(&mut rng),
            rng,
            now: sim.now(),
            calls: Vec::new(),
            legs: Vec::new(),
            began: HashMap::new(),
            sim,
            proxy,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            serial: 0,
            pending: HashMap::new(),
            checks: Checks::default(),
            tally: Tally::default(),
            timeline,
        }
    }

    /// Something will happen that many milliseconds from now.
    pub fn at(&mut self, ms: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((self.now + Duration::from_millis(ms), self.serial)));
        self.events.insert(self.serial, event);
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.timeline {
            println!("{:>9.3}  {}", self.now.as_millis() as f64 / 1000.0 - 1000.0, what());
        }
    }

    /// Runs all calls to their end.
    pub fn run(&mut self) -> Broken {
        self.plan_calls(CALLS);
        self.tally.calls = CALLS;
        let start = self.now;
        loop {
            let event = self.queue.peek().map(|Reverse((at, _))| *at);
            let own = self.sim.next_event();
            let Some(next) = event.into_iter().chain(own).min() else { break };
            if next.since(start) > Duration::from_secs(1200) {
                return Err(format!("never comes to rest; what is left: {}", self.sim.live()));
            }
            self.now = self.now.max(next);
            self.sim.advance_to(self.now);
            // What timers did comes before what happens now.
            self.look()?;
            if event == Some(next)
                && let Some(Reverse((_, id))) = self.queue.pop()
                && let Some(event) = self.events.remove(&id)
            {
                self.happen(event);
            }
            self.look()?;
        }
        let live = self.sim.live();
        if !live.is_empty() || !self.pending.is_empty() {
            return Err(format!("left over: {live}; {} operations unanswered", self.pending.len()));
        }
        let t = &self.tally;
        if t.operations != t.answered + t.deadlines + t.cancelled {
            return Err(format!("operations do not add up: {t:?}"));
        }
        self.checks.end(|_| self.calls.iter().any(|c| c.noisy))?;
        for c in self.calls.iter().filter(|c| c.arrived && !c.noisy && c.method == "INVITE" && c.scenario != "drop") {
            if !self.checks.answered(c.addr, "INVITE") {
                return Err(format!("call {} ({}) was never answered", c.id, c.scenario));
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToProxy { from, bytes, damaged, call } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.note(|| format!("{from} -> proxy{}  {}", if damaged { " DAMAGED" } else { "" }, summary(&text)));
                if damaged {
                    self.calls[call].noisy = true;
                } else {
                    self.checks.received(self.now, &text);
                    let c = &mut self.calls[call];
                    c.arrived |= from == c.addr && text::method(&text) == c.method;
                }
                self.tally.datagrams += 1;
                self.sim.receive(from, self.proxy, &bytes);
            }
            Event::ToAgent { to, bytes, damaged, call } => {
                if damaged && let Some(call) = call {
                    self.calls[call].noisy = true;
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.arrive(to, &text);
            }
            Event::CallBegins(i) => {
                self.began.insert(i, self.now);
                self.call_begins(i);
            }
            Event::CallerRepeats(i, last) => self.caller_repeats(i, last),
            Event::CancelWanted(i, last) => self.cancel_wanted(i, last),
            Event::Bye(i, n, last) => self.bye(i, n, last),
            Event::CalleeSays(n, status) => self.callee_says(n, status),
            Event::CalleeRepeats(n, last) => self.callee_repeats(n, last),
            Event::Answer(id) => {
                if let Some((Fate::Outcome(outcome), _)) = self.pending.remove(&id) {
                    self.note(|| format!("backend answers {id:?}: {outcome:?}"));
                    self.tally.answered += 1;
                    assert!(self.sim.answer(id, *outcome), "an operation that was not ended is still in flight");
                }
            }
        }
    }

    /// A message reached an agent.
    fn arrive(&mut self, to: SocketAddr, text: &str) {
        let IpAddr::V4(ip) = to.ip() else { return };
        match ip.octets() {
            [10, 1, high, low] => {
                let i = usize::from(high) << 8 | usize::from(low);
                let ours = self.calls.get(i).is_some_and(|c| text::value(text, "Call-ID") == c.id);
                if ours && text::status(text) > 0 {
                    self.reply_at_caller(i, text);
                }
            }
            [10, 2, ..] if !text::method(text).is_empty() && !text::branch(text).is_empty() => {
                self.request_at_callee(to, text);
            }
            _ => {}
        }
    }

    pub fn caller_sends(&mut self, i: usize, text: String) {
        let from = self.calls[i].addr;
        self.travels(from, text, i);
    }

    /// A callee's reply to a request.
    pub fn callee_sends(&mut self, from: SocketAddr, request: &str, text: String) {
        if let Some(i) = self.call_of(request) {
            self.travels(from, text, i);
        }
    }

    fn call_of(&self, text: &str) -> Option<usize> {
        let id = text::value(text, "Call-ID");
        // `SEED-NUMBER@sim`
        let number = id.strip_suffix("@sim")?.rsplit('-').next()?.parse::<usize>().ok()?;
        self.calls.get(number).filter(|c| c.id == id).map(|_| number)
    }

    fn travels(&mut self, from: SocketAddr, text: String, call: usize) {
        let bytes: Rc<[u8]> = text.into_bytes().into();
        for (ms, bad) in self.weather.copies(&mut self.rng) {
            let bytes = if bad { damaged(&bytes, &mut self.rng).into() } else { bytes.clone() };
            self.at(ms, Event::ToProxy { from, bytes, damaged: bad, call });
        }
    }

    /// Looks at what the proxy did: what it sent, what it asks, what it holds.
    fn look(&mut self) -> Broken {
        for sent in self.sim.take_sent() {
            let text = String::from_utf8_lossy(&sent.bytes).into_owned();
            self.note(|| format!("proxy -> {}  {}", sent.to, summary(&text)));
            let call = self.call_of(&text);
            let noisy = call.is_none_or(|i| self.calls[i].noisy);
            self.checks.sent(self.now, sent.to, &text, noisy)?;
            let bytes: Rc<[u8]> = sent.bytes.into();
            for (ms, bad) in self.weather.copies(&mut self.rng) {
                let bytes = if bad { damaged(&bytes, &mut self.rng).into() } else { bytes.clone() };
                self.at(ms, Event::ToAgent { to: sent.to, bytes, damaged: bad, call });
            }
        }
        for ended in self.sim.take_ended() {
            self.note(|| format!("ended ({:?}): {}", ended.reason, ended.asked.text));
            if self.pending.remove(&ended.asked.id).is_none() {
                return Err(format!("ended, but not in flight: {}", ended.asked.text));
            }
            match ended.reason {
                CancelReason::Deadline => self.tally.deadlines += 1,
                _ => self.tally.cancelled += 1,
            }
        }
        let live = self.sim.live();
        if live.operations > 0 {
            for asked in self.sim.operations() {
                if !self.pending.contains_key(&asked.id) {
                    self.note(|| format!("asks {:?}: {}", asked.id, asked.text));
                    let noisy = self.calls.iter().find(|c| asked.text.contains(&c.id)).is_none_or(|c| c.noisy);
                    self.checks.asked(&asked.text, noisy)?;
                    self.tally.operations += 1;
                    self.plan_answer(asked.id, asked.kind);
                } else if self.now.since(asked.since) > LONGEST_WAIT {
                    return Err(format!(
                        "no deadline has ended it after {:?}: {}",
                        self.now.since(asked.since),
                        asked.text
                    ));
                }
            }
        }
        if live.transactions == 0 && live.runs == 0 && live.lookups == 0 && live.timers > 0 {
            return Err(format!("timers of what is gone: {live}"));
        }
        Ok(())
    }

    fn plan_answer(&mut self, id: OpId, kind: OpKind) {
        let fate = match self.rng.below(10) {
            0 => Fate::Never,
            1 => {
                let why = self.rng.pick(&[Why::Refused, Why::Closed, Why::Garbage, Why::Denied, Why::Overload]);
                let phase =
                    self.rng.pick(&[Phase::Queue, Phase::Resolve, Phase::Connect, Phase::Login, Phase::Receive]);
                Fate::Outcome(Box::new(Outcome::Failed(Failure::new(why, phase, ""))))
            }
            _ => Fate::Outcome(Box::new(match kind {
                OpKind::Exec => Outcome::Exec(ExecOutcome { stdout: b"x\n".to_vec(), ..ExecOutcome::default() }),
                OpKind::Http => Outcome::Http(HttpResponse { status: 200, ..HttpResponse::default() }),
                _ => Outcome::Sql(SqlResult {
                    columns: vec!["c".into()],
                    rows: vec![vec![SqlValue::Int(1)]],
                    ..SqlResult::default()
                }),
            })),
        };
        let after = match self.rng.below(4) {
            0 => 0,
            1 => self.rng.below(50),
            2 => self.rng.below(700),
            _ => self.rng.below(5000),
        };
        if matches!(fate, Fate::Outcome(_)) {
            self.at(after, Event::Answer(id));
        }
        self.pending.insert(id, (fate, self.now));
    }
}

/// First line, Call-ID and branch.
fn summary(text: &str) -> String {
    let first = text::head(text).next().unwrap_or_default();
    format!("{first}  [{} {} {}]", text::value(text, "Call-ID"), text::value(text, "CSeq"), text::branch(text))
}
