//! The driver: every operation in flight, its deadline, and which engine has it.

use super::sleep::Sleep;
use super::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, Request, Why};
use crate::base::{Key, Slab, Time, TimerKey};
use crate::net::reactor::{Event, Io, Readiness, Source};

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
    /// When it will be given up; [`Time::NEVER`] for sleeps.
    pub deadline: Time,
}

/// All operations of one process.
pub struct Driver {
    ops: Slab<InFlight>,
    finished: Vec<(OpId, Outcome)>,
    lookups: Vec<(Source, Key, String)>,
    sleep: Sleep,
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver {
    /// A driver with no operation in flight. Must be made after fork.
    pub fn new() -> Driver {
        Driver { ops: Slab::new(), finished: Vec::new(), lookups: Vec::new(), sleep: Sleep::default() }
    }

    /// How many operations are in flight.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether no operation is in flight.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Starts an operation that is given up at `deadline` (sleeps wait as long as they say). Its
    /// outcome comes from [`Driver::poll_finished`], also if it cannot even begin.
    pub fn start(&mut self, request: Request, deadline: Time, io: Io<'_>) -> OpId {
        let kind = match &request {
            Request::Sleep(_) => OpKind::Sleep,
            Request::Exec(_) => OpKind::Exec,
            Request::Http(_) => OpKind::Http,
            Request::Sql(q) if q.url.starts_with(b"sqlite") => OpKind::Sqlite,
            Request::Sql(_) => OpKind::Mysql,
        };
        let started = io.now;
        let mut cx = Cx { io, finished: &mut self.finished, lookups: &mut self.lookups };
        let deadline = if kind == OpKind::Sleep { Time::NEVER } else { deadline };
        let id = self.ops.insert_with(|id| InFlight {
            kind,
            started,
            deadline,
            timer: (deadline != Time::NEVER).then(|| cx.io.arm(deadline, Source::Ops, id)),
        });
        match request {
            Request::Sleep(d) => self.sleep.start(id, d, deadline, &mut cx),
            _ => cx
                .done(id, Outcome::Failed(Failure::new(Why::BadRequest, Phase::Queue, "no engine for this operation"))),
        }
        id
    }

    /// Tells the engines of an event that is theirs; `false` if it is nobody's here.
    pub fn handle(&mut self, event: Event, io: Io<'_>) -> bool {
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
        let mut cx = Cx { io, finished: &mut self.finished, lookups: &mut self.lookups };
        match source {
            Source::Sleep if due => self.sleep.timer(key, &mut cx),
            Source::Sleep => self.sleep.ready(key, readiness, &mut cx),
            _ => return false,
        }
        true
    }

    /// Ends an operation from outside; its outcome still comes from [`Driver::poll_finished`].
    pub fn cancel(&mut self, id: OpId, reason: CancelReason, io: Io<'_>) {
        let Some(op) = self.ops.get(id) else { return };
        let mut cx = Cx { io, finished: &mut self.finished, lookups: &mut self.lookups };
        if let OpKind::Sleep = op.kind {
            self.sleep.cancel(id, reason, &mut cx);
        }
    }

    /// The next finished operation. Each comes exactly once.
    pub fn poll_finished(&mut self, io: &mut Io<'_>) -> Option<(OpId, Outcome)> {
        loop {
            let (id, outcome) = self.finished.pop()?;
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
        let (backend, phase) = match op.kind {
            OpKind::Sleep => self.sleep.describe(id),
            _ => None,
        }
        .unwrap_or_else(|| (String::new(), Phase::Queue));
        Some(OpInfo { kind: op.kind, backend, phase, started: op.started, deadline: op.deadline })
    }

    /// Every operation in flight.
    pub fn ids(&self) -> Vec<OpId> {
        self.ops.iter().map(|(id, _)| id).collect()
    }
}
