//! The driver: every operation in flight, its deadline, and which engine has it.

use super::exec::Exec;
use super::fake::Fake;
use super::http::Http;
use super::radius::Radius;
use super::sleep::Sleep;
use super::sql::mysql::Mysql;
use super::sql::sqlite::Sqlite;
use super::{CancelReason, Cx, Engine, OpId, Outcome, Phase, Request};
use crate::base::{Key, Slab, Time, TimerKey};
use crate::net::reactor::{Event, Io, Readiness, Source};
use crate::net::resolver::zone::Zone;
use crate::net::resolver::{Answer, Found, Question, Resolver, ResolverConfig, Waiter, Want};
use std::collections::VecDeque;

/// Which engine has an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
}

impl OpKind {
    /// The word shown to operators.
    pub fn as_str(self) -> &'static str {
        match self {
            OpKind::Sleep => "sleep",
            OpKind::Exec => "exec",
            OpKind::Http => "http",
            OpKind::Mysql => "mysql",
            OpKind::Sqlite => "sqlite",
            OpKind::Radius => "radius",
        }
    }
}

struct InFlight {
    kind: OpKind,
    started: Time,
    deadline: Time,
    timer: Option<TimerKey>,
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
    finished: VecDeque<(OpId, Outcome)>,
    lookups: Vec<(Source, Key, String)>,
    resolver: Resolver,
    /// Names that somebody outside the engines asked for.
    resolved: VecDeque<(Waiter, Answer)>,
    sleep: Sleep,
    mysql: Mysql,
    exec: Exec,
    http: Http,
    sqlite: Sqlite,
    radius: Radius,
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
            fake: None,
        }
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

    /// Starts the look-ups that engines asked for, and hands answers to who asked.
    fn settle(&mut self, io: &mut Io<'_>) {
        loop {
            for (source, key, host) in std::mem::take(&mut self.lookups) {
                self.resolver.lookup(Question { name: host, want: Want::Addresses }, (source, key), io);
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
        let kind = match &request {
            Request::Sleep(_) => OpKind::Sleep,
            Request::Exec(_) => OpKind::Exec,
            Request::Http(_) => OpKind::Http,
            Request::Sql(q) if q.url.starts_with(b"sqlite") => OpKind::Sqlite,
            Request::Sql(_) => OpKind::Mysql,
            Request::Radius(_) => OpKind::Radius,
        };
        let started = io.now;
        let mut cx = Cx { io: io.reborrow(), finished: &mut self.finished, lookups: &mut self.lookups };
        let id = self.ops.insert_with(|id| InFlight {
            kind,
            started,
            deadline,
            timer: (deadline != Time::NEVER).then(|| cx.io.arm(deadline, Source::Ops, id)),
        });
        if kind != OpKind::Sleep
            && let Some(fake) = &mut self.fake
        {
            fake.start(id, kind, request, started);
            return id;
        }
        match request {
            Request::Sleep(d) => self.sleep.start(id, d, deadline, &mut cx),
            Request::Exec(r) => self.exec.start(id, r, deadline, &mut cx),
            Request::Http(r) => self.http.start(id, r, deadline, &mut cx),
            Request::Sql(q) if kind == OpKind::Sqlite => self.sqlite.start(id, q, deadline, &mut cx),
            Request::Sql(q) => self.mysql.start(id, q, deadline, &mut cx),
            Request::Radius(r) => self.radius.start(id, r, deadline, &mut cx),
        }
        self.settle(&mut io);
        id
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
        let Some(op) = self.ops.get(id) else { return };
        if op.kind != OpKind::Sleep
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
        }
        self.settle(&mut io);
    }

    /// The next finished operation. Each comes exactly once.
    pub fn poll_finished(&mut self, io: &mut Io<'_>) -> Option<(OpId, Outcome)> {
        loop {
            let (id, outcome) = self.finished.pop_front()?;
            if let Some(op) = self.ops.remove(id) {
                if let Some(timer) = op.timer {
                    io.disarm(timer);
                }
                return Some((id, outcome));
            }
        }
    }

    /// What is known of an operation in flight.
    pub fn info(&self, id: OpId) -> Option<OpInfo> {
        let op = self.ops.get(id)?;
        let faked = self.fake.as_ref().filter(|_| op.kind != OpKind::Sleep);
        let (backend, phase) = match op.kind {
            _ if faked.is_some() => faked.and_then(|f| f.describe(id)),
            OpKind::Sleep => self.sleep.describe(id),
            OpKind::Mysql => self.mysql.describe(id),
            OpKind::Exec => self.exec.describe(id),
            OpKind::Http => self.http.describe(id),
            OpKind::Sqlite => self.sqlite.describe(id),
            OpKind::Radius => self.radius.describe(id),
        }
        .unwrap_or_else(|| (String::new(), Phase::Queue));
        Some(OpInfo { kind: op.kind, backend, phase, started: op.started, deadline: op.deadline })
    }

    /// Every operation in flight.
    pub fn ids(&self) -> Vec<OpId> {
        self.ops.iter().map(|(id, _)| id).collect()
    }
}
