//! Backends: who is asked, how much at once, and whether at all.
//!
//! Every operation but a sleep goes to a *backend*: a database URL, an HTTP host, a program. For each
//! one there is a gate with a limit of operations in flight, a bounded queue of those that wait for
//! their turn (they hold no fd), and a circuit breaker: after so many failures in a row the backend is not
//! asked for a while, and who wants something from it hears so at once; then one operation is let
//! through as a probe. Nothing here knows a socket or a clock.

use super::driver::OpKind;
use super::{Failure, OpId, Outcome, Phase, Why};
use crate::base::Time;
use crate::store::latency::{Ending, Latencies, Slot};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Backends of one process that are told apart; further ones share the gate of their kind.
pub const MAX_BACKENDS: usize = 512;

/// What is allowed towards each backend of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Operations at once towards one backend.
    pub in_flight: usize,
    /// Operations at once towards all backends of the kind.
    pub in_flight_total: usize,
    /// Operations that wait for their turn, per backend; one more is refused.
    pub queue: usize,
    /// Failures in a row that open the circuit; 0 = never.
    pub failures: u32,
    /// How long the circuit stays open at first; doubled with each probe that fails.
    pub open_min: Duration,
    /// How long it stays open at most.
    pub open_max: Duration,
    /// An operation that takes longer is worth a line in the log; zero = none is.
    pub slow: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            in_flight: 200,
            in_flight_total: 1000,
            queue: 1000,
            failures: 20,
            open_min: Duration::from_secs(1),
            open_max: Duration::from_secs(10),
            slow: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// What a kind is allowed when nobody says otherwise.
    pub fn of(kind: OpKind) -> Policy {
        let unlimited = Policy { in_flight: usize::MAX, in_flight_total: usize::MAX, ..Policy::default() };
        match kind {
            OpKind::Mysql => Policy { in_flight: 10, in_flight_total: usize::MAX, ..Policy::default() },
            OpKind::Sqlite => Policy { in_flight: 250, in_flight_total: usize::MAX, ..Policy::default() },
            // An identifier is all that a question costs.
            OpKind::Radius => Policy { in_flight: 4000, in_flight_total: usize::MAX, ..Policy::default() },
            // The number of children is limited by the engine, whatever they run.
            OpKind::Exec | OpKind::Sleep | OpKind::Dns => unlimited,
            _ => Policy::default(),
        }
    }
}

/// When to try again after failures: a pause that doubles, with a jitter of a quarter so that processes do
/// not march in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    not_before: Time,
    random: u64,
}

impl Backoff {
    /// Nothing has failed yet. `seed`: any number, different for each.
    pub fn new(seed: u64) -> Backoff {
        let seed = (u64::from(std::process::id()) << 20 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Backoff { failures: 0, not_before: Time::ZERO, random: seed }
    }

    /// One more failure: gives the pause. Failures within a pause count once.
    pub fn failed(&mut self, now: Time, min: Duration, max: Duration) -> Duration {
        if now >= self.not_before {
            let doubled = min.saturating_mul(1 << self.failures.min(16)).min(max);
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let per_mille = 750 + (self.random % 501) as u32;
            self.failures = self.failures.saturating_add(1);
            self.not_before = now + doubled.saturating_mul(per_mille) / 1000;
        }
        self.left(now)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.not_before = Time::ZERO;
    }

    /// What is left of the pause; zero if there is none.
    pub fn left(&self, now: Time) -> Duration {
        self.not_before.since(now)
    }
}

/// Whether a backend is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Circuit {
    Closed,
    Open,
    /// This operation finds out whether it works again.
    Probing(OpId),
}

/// What an outcome says about the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Well,
    Ill,
    Nothing,
}

/// What becomes of an operation that wants to begin.
#[derive(Debug)]
pub enum Admission {
    /// It may.
    Go,
    /// It waits; [`Backends::next_waiting`] names it when its turn has come.
    Wait,
    /// It may not.
    Refuse(Failure),
}

/// Which backend an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GateId(usize);

struct Gate {
    kind: OpKind,
    name: Rc<str>,
    /// What the operations' requests call it; `None` for the gate that many share.
    key: Option<Box<[u8]>>,
    running: Vec<OpId>,
    waiting: VecDeque<OpId>,
    circuit: Circuit,
    failures: u32,
    pause: Backoff,
    last: Option<Failure>,
    used: u64,
    slot: Option<Slot>,
}

/// The backends of one process.
pub struct Backends {
    policies: HashMap<OpKind, Policy>,
    gates: Vec<Gate>,
    by_key: HashMap<OpKind, HashMap<Box<[u8]>, GateId>>,
    /// The gate that the backends beyond the limit share.
    others: HashMap<OpKind, GateId>,
    totals: HashMap<OpKind, usize>,
    /// Gates where somebody's turn may have come.
    moved: VecDeque<GateId>,
    turned_away: VecDeque<(OpId, Failure)>,
    latencies: Option<Latencies>,
    clock: u64,
}

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl Backends {
    /// No backend is known yet.
    pub fn new() -> Backends {
        Backends {
            policies: HashMap::new(),
            gates: Vec::new(),
            by_key: HashMap::new(),
            others: HashMap::new(),
            totals: HashMap::new(),
            moved: VecDeque::new(),
            turned_away: VecDeque::new(),
            latencies: None,
            clock: 0,
        }
    }

    /// Where the durations are counted.
    pub fn set_latencies(&mut self, latencies: Latencies) {
        self.latencies = Some(latencies);
    }

    /// What a kind is allowed from now on.
    pub fn set_policy(&mut self, kind: OpKind, policy: Policy) {
        self.policies.insert(kind, policy);
    }

    /// What a kind is allowed.
    pub fn policy(&self, kind: OpKind) -> Policy {
        self.policies.get(&kind).copied().unwrap_or_else(|| Policy::of(kind))
    }

    /// The backend that requests call `key`; `name` makes the name that operators see.
    pub fn gate(&mut self, kind: OpKind, key: &[u8], name: impl FnOnce() -> String) -> GateId {
        self.clock += 1;
        if let Some(id) = self.by_key.get(&kind).and_then(|keys| keys.get(key)).copied() {
            if let Some(gate) = self.gates.get_mut(id.0) {
                gate.used = self.clock;
            }
            return id;
        }
        let name: Rc<str> = name().into();
        let place = if self.gates.len() < MAX_BACKENDS { Some(self.gates.len()) } else { self.least_used() };
        let Some(place) = place else { return self.shared(kind) };
        let gate = self.made(kind, name, Some(Box::from(key)));
        let id = GateId(place);
        match self.gates.get_mut(place) {
            Some(old) => {
                if let (Some(key), Some(keys)) = (old.key.take(), self.by_key.get_mut(&old.kind)) {
                    keys.remove(&key);
                }
                *old = gate;
            }
            None => self.gates.push(gate),
        }
        self.by_key.entry(kind).or_default().insert(Box::from(key), id);
        id
    }

    fn made(&self, kind: OpKind, name: Rc<str>, key: Option<Box<[u8]>>) -> Gate {
        let slot = self.latencies.as_ref().map(|l| l.slot(kind.as_str(), &name));
        Gate {
            kind,
            name,
            key,
            running: Vec::new(),
            waiting: VecDeque::new(),
            circuit: Circuit::Closed,
            failures: 0,
            pause: Backoff::new(self.clock),
            last: None,
            used: self.clock,
            slot,
        }
    }

    /// A gate that can be forgotten: nothing goes on there and nothing is held against it.
    fn least_used(&self) -> Option<usize> {
        let idle = |g: &&Gate| {
            let quiet = g.running.is_empty() && g.waiting.is_empty();
            quiet && g.circuit == Circuit::Closed && g.failures == 0 && g.key.is_some()
        };
        let oldest = self.gates.iter().filter(idle).map(|g| g.used).min()?;
        self.gates.iter().position(|g| g.used == oldest)
    }

    fn shared(&mut self, kind: OpKind) -> GateId {
        if let Some(id) = self.others.get(&kind) {
            return *id;
        }
        let gate = self.made(kind, "(others)".into(), None);
        let id = GateId(self.gates.len());
        self.gates.push(gate);
        self.others.insert(kind, id);
        id
    }

    /// The name of a backend, as operators see it.
    pub fn name(&self, gate: GateId) -> Rc<str> {
        self.gates.get(gate.0).map_or_else(|| Rc::from(""), |g| g.name.clone())
    }

    /// An operation that is under way there.
    pub fn running(&self, gate: GateId) -> Option<OpId> {
        self.gates.get(gate.0)?.running.first().copied()
    }

    /// Asks for an operation to begin. Whatever the answer, [`Backends::ended`] is owed for it, unless it is
    /// refused.
    pub fn admit(&mut self, id: OpId, gate: GateId, now: Time) -> Admission {
        let Some(g) = self.gates.get_mut(gate.0) else { return Admission::Go };
        let policy = self.policies.get(&g.kind).copied().unwrap_or_else(|| Policy::of(g.kind));
        match g.circuit {
            Circuit::Open if g.pause.left(now).is_zero() => g.circuit = Circuit::Probing(id),
            Circuit::Open | Circuit::Probing(_) => return Admission::Refuse(g.refusal(now)),
            Circuit::Closed => {}
        }
        let total = self.totals.entry(g.kind).or_default();
        let admission = if g.running.len() < policy.in_flight && *total < policy.in_flight_total {
            g.running.push(id);
            *total += 1;
            Admission::Go
        } else if g.waiting.len() < policy.queue {
            g.waiting.push_back(id);
            Admission::Wait
        } else {
            g.unprobe(id);
            let text = format!("{}: {} operations wait already", g.name, g.waiting.len());
            Admission::Refuse(Failure::new(Why::Overload, Phase::Queue, text))
        };
        Self::show(g, self.latencies.as_ref());
        admission
    }

    /// An operation that was let in, or waited, has ended.
    pub fn ended(&mut self, id: OpId, gate: GateId, outcome: &Outcome, now: Time) {
        let Some(g) = self.gates.get_mut(gate.0) else { return };
        let policy = self.policies.get(&g.kind).copied().unwrap_or_else(|| Policy::of(g.kind));
        let kind = g.kind;
        let place = g.running.iter().position(|r| *r == id);
        // One that never had its turn has seen nothing of the backend.
        let ran = place.is_some();
        match place {
            Some(at) => {
                g.running.swap_remove(at);
                let total = self.totals.entry(kind).or_default();
                let full = *total >= policy.in_flight_total;
                *total = total.saturating_sub(1);
                self.moved.push_back(gate);
                if full {
                    // Room for anybody of this kind: the others come after those of this backend.
                    let waits = |(at, g): (usize, &Gate)| {
                        (g.kind == kind && at != gate.0 && !g.waiting.is_empty()).then_some(GateId(at))
                    };
                    self.moved.extend(self.gates.iter().enumerate().filter_map(waits));
                }
            }
            None => {
                g.waiting.retain(|w| *w != id);
            }
        }
        let Some(g) = self.gates.get_mut(gate.0) else { return };
        // Many that share one gate say nothing about each other.
        let counts = ran && g.key.is_some() && policy.failures > 0;
        let verdict = if counts { verdict(outcome) } else { Verdict::Nothing };
        match (g.circuit, verdict) {
            (Circuit::Closed, Verdict::Well) => g.failures = 0,
            (Circuit::Open | Circuit::Probing(_), Verdict::Well) => {
                log::warn!("{} {} works again: the circuit is closed", kind.as_str(), g.name);
                g.circuit = Circuit::Closed;
                g.failures = 0;
                g.last = None;
                g.pause.reset();
            }
            (Circuit::Closed, Verdict::Ill) => {
                g.failures = g.failures.saturating_add(1);
                g.remember(outcome);
                if g.failures >= policy.failures {
                    g.pause.reset();
                    let pause = g.pause.failed(now, policy.open_min, policy.open_max);
                    let last = g.last.as_ref().map(|f| format!("{} in phase {}", f.why, f.phase)).unwrap_or_default();
                    log::error!(
                        "{} {}: {} failures in a row, the last: {last}; the circuit is open, next attempt in {} ms",
                        kind.as_str(),
                        g.name,
                        g.failures,
                        pause.as_millis()
                    );
                    g.circuit = Circuit::Open;
                    if let (Some(l), Some(slot)) = (&self.latencies, g.slot) {
                        l.opened(slot);
                    }
                    let refusal = g.refusal(now);
                    self.turned_away.extend(g.waiting.drain(..).map(|w| (w, refusal.clone())));
                }
            }
            (Circuit::Probing(probe), Verdict::Ill) if probe == id => {
                g.remember(outcome);
                g.circuit = Circuit::Open;
                g.pause.failed(now, policy.open_min, policy.open_max);
            }
            (Circuit::Probing(_), Verdict::Nothing) => g.unprobe(id),
            _ => {}
        }
        Self::show(g, self.latencies.as_ref());
    }

    /// An operation that waits is given up: its turn will not come. [`Backends::ended`] is still owed.
    pub fn withdraw(&mut self, id: OpId, gate: GateId) {
        if let Some(g) = self.gates.get_mut(gate.0) {
            g.waiting.retain(|w| *w != id);
            Self::show(g, self.latencies.as_ref());
        }
    }

    /// Counts how long an operation took, with its time in the queue.
    pub fn count(&self, gate: GateId, outcome: &Outcome, took: Duration) {
        if let (Some(l), Some(slot)) = (&self.latencies, self.gates.get(gate.0).and_then(|g| g.slot)) {
            l.count(slot, ending(outcome), took);
        }
    }

    /// The next operation whose turn has come; it counts as in flight.
    pub fn next_waiting(&mut self) -> Option<OpId> {
        while let Some(gate) = self.moved.front().copied() {
            let Some(g) = self.gates.get_mut(gate.0) else {
                self.moved.pop_front();
                continue;
            };
            let policy = self.policies.get(&g.kind).copied().unwrap_or_else(|| Policy::of(g.kind));
            let total = self.totals.entry(g.kind).or_default();
            if g.running.len() < policy.in_flight
                && *total < policy.in_flight_total
                && let Some(id) = g.waiting.pop_front()
            {
                g.running.push(id);
                *total += 1;
                Self::show(g, self.latencies.as_ref());
                return Some(id);
            }
            self.moved.pop_front();
        }
        None
    }

    /// The next operation of a queue that nobody will serve, since the circuit has opened.
    pub fn turned_away(&mut self) -> Option<(OpId, Failure)> {
        self.turned_away.pop_front()
    }

    /// Shows operators how a gate stands.
    fn show(g: &Gate, latencies: Option<&Latencies>) {
        if let (Some(l), Some(slot)) = (latencies, g.slot) {
            l.stands(slot, g.running.len() as u64, g.waiting.len() as u64, g.circuit != Circuit::Closed);
        }
    }
}

impl Gate {
    fn remember(&mut self, outcome: &Outcome) {
        if let Outcome::Failed(f) = outcome {
            self.last = Some(f.clone());
        }
    }

    /// A probe ended without a word about the backend: the next one is the probe.
    fn unprobe(&mut self, id: OpId) {
        if self.circuit == Circuit::Probing(id) {
            self.circuit = Circuit::Open;
        }
    }

    fn refusal(&self, now: Time) -> Failure {
        let last = self.last.as_ref().map(|f| format!(", the last: {f}")).unwrap_or_default();
        let when = match self.circuit {
            Circuit::Probing(_) => "a first attempt is under way".to_string(),
            _ => format!("next attempt in {} ms", self.pause.left(now).as_millis()),
        };
        let text = format!("{}: {} failures in a row{last}; {when}", self.name, self.failures);
        Failure::new(Why::Open, Phase::Queue, text)
    }
}

/// Whether an outcome shows the backend well or ill.
fn verdict(outcome: &Outcome) -> Verdict {
    let Outcome::Failed(f) = outcome else { return Verdict::Well };
    let connecting = matches!(f.phase, Phase::Resolve | Phase::Connect | Phase::Tls | Phase::Login);
    match f.why {
        // It was our own queue that took too long.
        Why::Timeout if f.phase == Phase::Queue => Verdict::Nothing,
        Why::Timeout | Why::Refused | Why::Closed | Why::Garbage => Verdict::Ill,
        // A server that does not let us in is of no use; one that refuses a statement works.
        Why::Denied if connecting => Verdict::Ill,
        Why::Denied | Why::TooLarge => Verdict::Well,
        Why::Cancelled | Why::Overload | Why::Open | Why::BadRequest | Why::System => Verdict::Nothing,
    }
}

/// The column of the statistics an outcome belongs to.
fn ending(outcome: &Outcome) -> Ending {
    let Outcome::Failed(f) = outcome else { return Ending::Ok };
    match f.why {
        Why::Timeout => Ending::Timeout,
        Why::Cancelled => Ending::Cancelled,
        Why::Overload | Why::Open => Ending::Refused,
        _ => Ending::Failed,
    }
}

#[cfg(test)]
mod tests;
