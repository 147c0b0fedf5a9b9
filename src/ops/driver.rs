//! The driver: every operation in flight, its deadline, and which engine has it.

use super::backend::{Admission, Backends, GateId};
use super::dns::Dns;
use super::exec::Exec;
use super::fake::Fake;
use super::http::Http;
use super::radius::{self, Radius};
use super::sleep::Sleep;
use super::sql::mysql::Mysql;
use super::sql::sqlite::Sqlite;
use super::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, Request, Why, exec, http};
use crate::base::{Key, Slab, Time, TimerKey};
use crate::net::reactor::{Event, Io, Readiness, Source};
use crate::net::resolver::zone::Zone;
use crate::net::resolver::{Answer, Found, Question, Resolver, ResolverConfig, Waiter};
use crate::ops::sql::DbUrl;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Longest database URL that is looked at.
const MAX_URL: usize = 4096;

/// Which engine has an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpKind {
    /// `sleep`, `usleep`
    Sleep,
    /// `exec`
    Exec,
    /// `rest_*`
    Http,
    /// SQL over MySQL/MariaDB
    Mysql,
    /// SQL over SQLite
    Sqlite,
    /// `radius_*`
    Radius,
    /// `dns_query` and its like
    Dns,
}

impl OpKind {
    /// Every kind.
    pub const ALL: [OpKind; 7] =
        [OpKind::Sleep, OpKind::Exec, OpKind::Http, OpKind::Mysql, OpKind::Sqlite, OpKind::Radius, OpKind::Dns];

    /// The word shown to operators.
    pub fn as_str(self) -> &'static str {
        match self {
            OpKind::Sleep => "sleep",
            OpKind::Exec => "exec",
            OpKind::Http => "http",
            OpKind::Mysql => "mysql",
            OpKind::Sqlite => "sqlite",
            OpKind::Radius => "radius",
            OpKind::Dns => "dns",
        }
    }

    /// Whether it is carried out in a simulation as anywhere: nobody need play a backend.
    fn is_real(self) -> bool {
        matches!(self, OpKind::Sleep | OpKind::Dns)
    }
}

struct InFlight {
    kind: OpKind,
    started: Time,
    /// When its engine got it.
    begun: Option<Time>,
    deadline: Time,
    timer: Option<TimerKey>,
    /// Its backend; `None` for a sleep, and for a request that makes no sense.
    gate: Option<GateId>,
    /// While it waits for its turn.
    waiting: Option<Box<Request>>,
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub id: OpId,
    /// What came of it.
    pub outcome: Outcome,
    /// Its engine.
    pub kind: OpKind,
    /// Its backend, without passwords; empty if it had none.
    pub backend: Rc<str>,
    /// From its start to its end.
    pub took: Duration,
    /// How much of that it waited for its turn.
    pub queued: Duration,
    /// Whether that is worth a line in the log.
    pub slow: bool,
}

/// One line of the list of waits.
#[derive(Clone, Debug)]
pub struct OpInfo {
    /// Engine.
    pub kind: OpKind,
    /// Backend, without passwords.
    pub backend: String,
    /// Where it stands.
    pub phase: Phase,
    /// When it was started.
    pub started: Time,
    /// When it will be given up; [`Time::NEVER`] for a sleep without a deadline of its own.
    pub deadline: Time,
}

/// All operations of one process.
pub struct Driver {
    ops: Slab<InFlight>,
    backends: Backends,
    finished: VecDeque<(OpId, Outcome)>,
    lookups: Vec<(Source, Key, Question)>,
    resolver: Resolver,
    /// Names that somebody outside the engines asked for.
    resolved: VecDeque<(Waiter, Answer)>,
    sleep: Sleep,
    mysql: Mysql,
    exec: Exec,
    http: Http,
    sqlite: Sqlite,
    radius: Radius,
    dns: Dns,
    /// In a simulation: takes every operation but sleeps.
    fake: Option<Box<Fake>>,
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver {
    /// A driver with no operation in flight. Must be made after fork and before traffic: it reads
    /// the system's resolver files and CA certificates.
    pub fn new() -> Driver {
        Self::with_resolver(ResolverConfig::from_system())
    }

    /// The same with another resolver configuration.
    pub fn with_resolver(config: ResolverConfig) -> Driver {
        Driver {
            ops: Slab::new(),
            backends: Backends::new(),
            finished: VecDeque::new(),
            lookups: Vec::new(),
            resolver: Resolver::new(config),
            resolved: VecDeque::new(),
            sleep: Sleep::default(),
            exec: Exec::default(),
            http: Http::new(),
            mysql: Mysql::default(),
            sqlite: Sqlite::default(),
            radius: Radius::default(),
            dns: Dns::default(),
            fake: None,
        }
    }

    /// The backends, to set what is allowed towards them.
    pub fn backends(&mut self) -> &mut Backends {
        &mut self.backends
    }

    /// A driver for a simulation: names are looked up in the zone, sleeps are real (in the reactor's
    /// time), all other operations are answered by whoever holds [`Driver::fake`].
    pub fn simulated(zone: Zone) -> Driver {
        Driver {
            resolver: Resolver::simulated(zone),
            fake: Some(Box::default()),
            ..Self::with_resolver(ResolverConfig::default())
        }
    }

    /// In a simulation: the operations in flight.
    pub fn fake(&mut self) -> Option<&mut Fake> {
        self.fake.as_deref_mut()
    }

    /// The same to look at.
    pub fn faked(&self) -> Option<&Fake> {
        self.fake.as_deref()
    }

    /// In a simulation: what the name servers know.
    pub fn zone(&mut self) -> Option<&mut Zone> {
        self.resolver.zone()
    }

    /// In a simulation: ends an operation. False if it is not in flight (any more).
    pub fn answer(&mut self, id: OpId, outcome: Outcome) -> bool {
        let known = self.fake.as_mut().is_some_and(|f| f.answered(id));
        if known {
            self.finished.push_back((id, outcome));
        }
        known
    }

    /// The MySQL engine, to set its limits and prepare its URLs.
    pub fn mysql(&mut self) -> &mut Mysql {
        &mut self.mysql
    }

    /// The children, to set their limits.
    pub fn exec(&mut self) -> &mut Exec {
        &mut self.exec
    }

    /// The RADIUS client, to tell it its servers.
    pub fn radius(&mut self) -> &mut Radius {
        &mut self.radius
    }

    /// The HTTP client, to set its limits.
    pub fn http(&mut self) -> &mut Http {
        &mut self.http
    }

    /// The sleepers, to ask who was woken.
    pub fn sleep(&mut self) -> &mut Sleep {
        &mut self.sleep
    }

    /// From now on, names are looked up as this says.
    pub fn configure_resolver(&mut self, config: ResolverConfig) {
        self.resolver.configure(config);
    }

    /// Asks the resolver for somebody who is no engine; the answer comes from
    /// [`Driver::poll_resolved`], perhaps at once.
    pub fn resolve_for(&mut self, source: Source, key: Key, question: Question, mut io: Io<'_>) {
        self.resolver.lookup(question, (source, key), &mut io);
        self.settle(&mut io);
    }

    /// The next answer to [`Driver::resolve_for`]. Each comes exactly once.
    pub fn poll_resolved(&mut self) -> Option<(Waiter, Answer)> {
        self.resolved.pop_front()
    }

    /// Whether [`Driver::poll_ended`] or [`Driver::poll_resolved`] has something: no event will come for it.
    pub fn has_results(&self) -> bool {
        !self.finished.is_empty() || !self.resolved.is_empty()
    }

    /// Starts the look-ups that engines asked for, and hands answers to who asked.
    fn settle(&mut self, io: &mut Io<'_>) {
        loop {
            for (source, key, question) in std::mem::take(&mut self.lookups) {
                self.resolver.lookup(question, (source, key), io);
            }
            let Some(((source, key), answer)) = self.resolver.poll_answer() else { return };
            let mut cx = Cx { io: io.reborrow(), finished: &mut self.finished, lookups: &mut self.lookups };
            let addresses = |answer: Answer| match answer {
                Ok(Found::Addresses(ips)) => Ok(ips),
                Ok(Found::Records(_)) => Err("not an address".to_string()),
                Err(failure) => Err(failure.text),
            };
            match source {
                Source::Http => self.http.resolved(key, addresses(answer), &mut cx),
                Source::Mysql => self.mysql.resolved(key, addresses(answer), &mut cx),
                Source::Radius => self.radius.resolved(key, addresses(answer), &mut cx),
                Source::Ops => self.dns.answered(key, answer, &mut cx),
                _ => self.resolved.push_back(((source, key), answer)),
            }
        }
    }

    /// The SQLite engine, to tell it where the helper listens.
    pub fn sqlite(&mut self) -> &mut Sqlite {
        &mut self.sqlite
    }

    /// How many operations are in flight.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether no operation is in flight.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Starts an operation that is given up at `deadline` ([`Time::NEVER`] for none). Its
    /// outcome comes from [`Driver::poll_finished`], also if it cannot even begin.
    pub fn start(&mut self, request: Request, deadline: Time, mut io: Io<'_>) -> OpId {
        let kind = kind_of(&request);
        let gate = self.gate_of(kind, &request);
        let started = io.now;
        let id = self.ops.insert_with(|id| InFlight {
            kind,
            started,
            begun: None,
            deadline,
            timer: (deadline != Time::NEVER).then(|| io.arm(deadline, Source::Ops, id)),
            gate,
            waiting: None,
        });
        match gate.map_or(Admission::Go, |gate| self.backends.admit(id, gate, started)) {
            Admission::Go => self.begin(id, request, &mut io),
            Admission::Wait => {
                if let Some(op) = self.ops.get_mut(id) {
                    op.waiting = Some(Box::new(request));
                }
            }
            Admission::Refuse(failure) => {
                let gate = self.ops.get_mut(id).and_then(|op| op.gate.take());
                let outcome = Outcome::Failed(failure);
                if let Some(gate) = gate {
                    self.backends.count(gate, &outcome, Duration::ZERO);
                }
                self.finished.push_back((id, outcome));
            }
        }
        id
    }

    /// The backend of a request. In a simulation there is none: whoever plays it sees every operation at once.
    fn gate_of(&mut self, kind: OpKind, request: &Request) -> Option<GateId> {
        if self.fake.is_some() {
            return None;
        }
        match request {
            Request::Sleep(_) | Request::Dns(_) => None,
            Request::Exec(r) => {
                let program = exec::program(r);
                Some(self.backends.gate(kind, program.as_bytes(), || program.clone()))
            }
            Request::Http(r) => {
                let host = http::backend(&r.url)?;
                Some(self.backends.gate(kind, host.as_bytes(), || host.clone()))
            }
            Request::Sql(q) => {
                if q.url.len() > MAX_URL {
                    return None;
                }
                let name = || DbUrl::parse(&q.url).map_or_else(|_| "(no database URL)".to_string(), |u| u.to_string());
                Some(self.backends.gate(kind, &q.url, name))
            }
            Request::Radius(r) => {
                let name = match r.kind {
                    radius::Kind::Auth => "authentication",
                    radius::Kind::Acct => "accounting",
                };
                Some(self.backends.gate(kind, name.as_bytes(), || name.to_string()))
            }
        }
    }

    /// Hands an operation to its engine.
    fn begin(&mut self, id: OpId, request: Request, io: &mut Io<'_>) {
        let Some(op) = self.ops.get_mut(id) else { return };
        op.begun = Some(io.now);
        let (kind, deadline) = (op.kind, op.deadline);
        let mut cx = Cx { io: io.reborrow(), finished: &mut self.finished, lookups: &mut self.lookups };
        if !kind.is_real()
            && let Some(fake) = &mut self.fake
        {
            fake.start(id, kind, request, cx.now());
            return;
        }
        match request {
            Request::Sleep(d) => self.sleep.start(id, d, deadline, &mut cx),
            Request::Exec(r) => self.exec.start(id, r, deadline, &mut cx),
            Request::Http(r) => self.http.start(id, r, deadline, &mut cx),
            Request::Sql(q) if kind == OpKind::Sqlite => self.sqlite.start(id, q, deadline, &mut cx),
            Request::Sql(q) => self.mysql.start(id, q, deadline, &mut cx),
            Request::Radius(r) => self.radius.start(id, r, deadline, &mut cx),
            Request::Dns(r) => self.dns.start(id, r, deadline, &mut cx),
        }
        self.settle(io);
    }

    /// Starts those whose turn has come.
    fn begin_waiting(&mut self, io: &mut Io<'_>) {
        while let Some((id, failure)) = self.backends.turned_away() {
            self.finished.push_back((id, Outcome::Failed(failure)));
        }
        while let Some(id) = self.backends.next_waiting() {
            match self.ops.get_mut(id).and_then(|op| op.waiting.take()) {
                Some(request) => self.begin(id, *request, io),
                None => log::error!("an operation was to begin that does not wait"),
            }
        }
    }

    /// Tells the engines of an event that is theirs; `false` if it is nobody's here.
    pub fn handle(&mut self, event: Event, mut io: Io<'_>) -> bool {
        let (source, key) = match event {
            Event::Ready(s, k, _) | Event::Again(s, k) | Event::Due(s, k) => (s, k),
        };
        let readiness = match event {
            Event::Ready(_, _, r) => r,
            _ => Readiness { readable: true, writable: true, hangup: false, error: false },
        };
        let due = matches!(event, Event::Due(..));
        if source == Source::Ops {
            if let Some(op) = self.ops.get_mut(key) {
                op.timer = None;
                self.cancel(key, CancelReason::Deadline, io);
            }
            return true;
        }
        let mut cx = Cx { io: io.reborrow(), finished: &mut self.finished, lookups: &mut self.lookups };
        match source {
            Source::Sleep if due => self.sleep.timer(key, &mut cx),
            Source::Sleep => self.sleep.ready(key, readiness, &mut cx),
            Source::Mysql if due => self.mysql.timer(key, &mut cx),
            Source::Mysql => self.mysql.ready(key, readiness, &mut cx),
            Source::Exec if due => self.exec.timer(key, &mut cx),
            Source::Exec => self.exec.ready(key, readiness, &mut cx),
            Source::Http if due => self.http.timer(key, &mut cx),
            Source::Http => self.http.ready(key, readiness, &mut cx),
            Source::Resolver if due => self.resolver.timer(key, &mut cx.io),
            Source::Resolver => self.resolver.ready(key, &mut cx.io),
            Source::Sqlite if due => self.sqlite.timer(key, &mut cx),
            Source::Sqlite => self.sqlite.ready(key, readiness, &mut cx),
            Source::Radius if due => self.radius.timer(key, &mut cx),
            Source::Radius => self.radius.ready(key, readiness, &mut cx),
            _ => return false,
        }
        self.settle(&mut io);
        true
    }

    /// Ends an operation from outside; its outcome still comes from [`Driver::poll_finished`].
    pub fn cancel(&mut self, id: OpId, reason: CancelReason, mut io: Io<'_>) {
        let phase = self.waiting_phase(id);
        let Some(op) = self.ops.get_mut(id) else { return };
        if op.waiting.take().is_some() {
            let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
            let gate = op.gate;
            let name = gate.map(|g| self.backends.name(g).to_string()).unwrap_or_default();
            if let Some(gate) = gate {
                self.backends.withdraw(id, gate);
            }
            self.finished.push_back((id, Outcome::Failed(Failure::new(why, phase, name))));
            return;
        }
        if !op.kind.is_real()
            && let Some(fake) = &mut self.fake
        {
            self.finished.extend(fake.cancel(id, reason).map(|outcome| (id, outcome)));
            return;
        }
        let mut cx = Cx { io: io.reborrow(), finished: &mut self.finished, lookups: &mut self.lookups };
        match op.kind {
            OpKind::Sleep => self.sleep.cancel(id, reason, &mut cx),
            OpKind::Exec => self.exec.cancel(id, reason, &mut cx),
            OpKind::Http => self.http.cancel(id, reason, &mut cx),
            OpKind::Mysql => self.mysql.cancel(id, reason, &mut cx),
            OpKind::Sqlite => self.sqlite.cancel(id, reason, &mut cx),
            OpKind::Radius => self.radius.cancel(id, reason, &mut cx),
            OpKind::Dns => self.dns.cancel(id, reason, &mut cx),
        }
        self.settle(&mut io);
    }

    /// The next finished operation. Each comes exactly once.
    pub fn poll_finished(&mut self, io: &mut Io<'_>) -> Option<(OpId, Outcome)> {
        self.poll_ended(io).map(|e| (e.id, e.outcome))
    }

    /// The next finished operation, with what is known of it. Each comes exactly once.
    pub fn poll_ended(&mut self, io: &mut Io<'_>) -> Option<Ended> {
        loop {
            let (id, outcome) = self.finished.pop_front()?;
            let Some(op) = self.ops.remove(id) else { continue };
            if let Some(timer) = op.timer {
                io.disarm(timer);
            }
            let took = io.now.since(op.started);
            // One that never had its turn waited all the time.
            let queued = op.begun.map_or(took, |begun| begun.since(op.started));
            let mut backend = Rc::from("");
            if let Some(gate) = op.gate {
                backend = self.backends.name(gate);
                self.backends.ended(id, gate, &outcome, io.now);
                self.backends.count(gate, &outcome, took);
                self.begin_waiting(io);
            }
            let limit = self.backends.policy(op.kind).slow;
            let slow = op.kind != OpKind::Sleep && !limit.is_zero() && took >= limit;
            return Some(Ended { id, outcome, kind: op.kind, backend, took, queued, slow });
        }
    }

    /// Where an operation stands that waits for its turn. Queries wait for connections: they stand where
    /// the one before them has got to, as long as that is on its way to the server.
    fn waiting_phase(&self, id: OpId) -> Phase {
        let op = self.ops.get(id).filter(|op| op.kind == OpKind::Mysql);
        let first = op.and_then(|op| self.backends.running(op.gate?));
        match first.and_then(|first| self.described(first)) {
            Some((_, phase @ (Phase::Resolve | Phase::Connect | Phase::Tls | Phase::Login))) => phase,
            _ => Phase::Queue,
        }
    }

    fn described(&self, id: OpId) -> Option<(String, Phase)> {
        let op = self.ops.get(id)?;
        if !op.kind.is_real()
            && let Some(fake) = &self.fake
        {
            return fake.describe(id);
        }
        match op.kind {
            OpKind::Sleep => self.sleep.describe(id),
            OpKind::Mysql => self.mysql.describe(id),
            OpKind::Exec => self.exec.describe(id),
            OpKind::Http => self.http.describe(id),
            OpKind::Sqlite => self.sqlite.describe(id),
            OpKind::Radius => self.radius.describe(id),
            OpKind::Dns => self.dns.describe(id),
        }
    }

    /// What is known of an operation in flight.
    pub fn info(&self, id: OpId) -> Option<OpInfo> {
        let op = self.ops.get(id)?;
        let (backend, phase) = match (&op.waiting, op.gate) {
            (Some(_), Some(gate)) => (self.backends.name(gate).to_string(), self.waiting_phase(id)),
            _ => self.described(id).unwrap_or_else(|| (String::new(), Phase::Queue)),
        };
        Some(OpInfo { kind: op.kind, backend, phase, started: op.started, deadline: op.deadline })
    }

    /// Every operation in flight.
    pub fn ids(&self) -> Vec<OpId> {
        self.ops.iter().map(|(id, _)| id).collect()
    }
}

/// Which engine carries out a request.
fn kind_of(request: &Request) -> OpKind {
    match request {
        Request::Sleep(_) => OpKind::Sleep,
        Request::Exec(_) => OpKind::Exec,
        Request::Http(_) => OpKind::Http,
        Request::Sql(q) if q.url.starts_with(b"sqlite") => OpKind::Sqlite,
        Request::Sql(_) => OpKind::Mysql,
        Request::Radius(_) => OpKind::Radius,
        Request::Dns(_) => OpKind::Dns,
    }
}
