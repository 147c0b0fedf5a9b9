//! Operations: what a script waits for. Each kind is an [`Engine`] that owns its fds and is
//! advanced by the worker's poll; [`driver::Driver`] gives every operation its deadline, its
//! cancellation and its place in the list of waits.
//!
//! The life of an operation: the worker hands a [`Request`] (plain data) to [`driver::Driver::start`];
//! the engine registers fds and timers through its [`Cx`]; sooner or later it calls [`Cx::done`]
//! exactly once with the [`Outcome`], and the worker resumes the run that waits. At the deadline,
//! or when somebody cancels, [`Engine::cancel`] ends it in whatever phase it is.

pub mod backend;
mod dns;
pub mod driver;
pub mod exec;
pub mod fake;
pub mod http;
pub mod radius;
pub mod request;
pub mod sleep;
pub mod sql;

use crate::base::{Key, Time, TimerKey};
use crate::net::reactor::{Interest, Io, Readiness, Source};
use crate::net::resolver::{Question, Want};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

pub use http::options::HttpOptions;
pub use request::{
    DnsRequest, ExecOutcome, ExecRequest, Failure, HttpCourse, HttpMethod, HttpRequest, HttpResponse, Outcome, Phase,
    Request, SqlRequest, SqlResult, SqlValue, Why,
};

/// Names one operation in flight.
pub type OpId = Key;

/// What an engine may do during one call: everything that leaves its own state.
pub struct Cx<'a> {
    /// The reactor.
    pub io: Io<'a>,
    /// Finished operations; drained by the driver.
    pub(crate) finished: &'a mut VecDeque<(OpId, Outcome)>,
    /// Names to be resolved for this engine; started by the driver after the call.
    pub(crate) lookups: &'a mut Vec<(Source, Key, Question)>,
}

impl Cx<'_> {
    /// The time of this turn.
    pub fn now(&self) -> Time {
        self.io.now
    }

    /// Ends an operation. Exactly once for each that was started.
    pub fn done(&mut self, id: OpId, outcome: Outcome) {
        self.finished.push_back((id, outcome));
    }

    /// Resolves a host name on the loop; the answer comes to [`Engine::resolved`] with `key`
    /// (possibly within this turn, never within this call).
    pub fn resolve(&mut self, source: Source, key: Key, host: &str) {
        self.ask(source, key, Question { name: host.to_string(), want: Want::Addresses });
    }

    /// The same for anything that may be asked of a name. The answer goes to whoever the driver knows as `source`.
    pub fn ask(&mut self, source: Source, key: Key, question: Question) {
        self.lookups.push((source, key, question));
    }

    /// See [`Io::register`].
    pub fn register(&mut self, fd: &impl AsRawFd, source: Source, key: Key, interest: Interest) -> io::Result<()> {
        self.io.register(fd, source, key, interest)
    }

    /// See [`Io::arm`].
    pub fn arm(&mut self, deadline: Time, source: Source, key: Key) -> TimerKey {
        self.io.arm(deadline, source, key)
    }
}

/// Why an operation is ended from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelReason {
    /// Its deadline passed.
    Deadline,
    /// The transaction it belonged to has ended, or the caller gave up.
    Gone,
    /// An operator asked (`kill-wait`).
    Operator,
    /// The process drains.
    Shutdown,
}

/// One kind of operation.
pub trait Engine {
    /// What it is asked to do.
    type Request;

    /// Begins. A request that cannot even begin is answered by `cx.done` at once.
    fn start(&mut self, id: OpId, request: Self::Request, deadline: Time, cx: &mut Cx<'_>);

    /// An fd registered under this engine's [`Source`] is ready (or the engine asked to be called again:
    /// then `readiness` is readable and writable).
    fn ready(&mut self, key: Key, readiness: Readiness, cx: &mut Cx<'_>);

    /// A timer armed under this engine's [`Source`] fired.
    fn timer(&mut self, key: Key, cx: &mut Cx<'_>);

    /// A name asked for by [`Cx::resolve`] is known, or is not.
    fn resolved(&mut self, key: Key, result: Result<Vec<IpAddr>, String>, cx: &mut Cx<'_>);

    /// Ends an operation in whatever phase it is: `cx.done` with a [`Failure`] that names the phase.
    /// Nothing dirty stays behind: no half-read connection goes back to a pool, no child lives on.
    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>);

    /// Backend (as an operator would name it, without passwords) and phase of an operation in flight.
    fn describe(&self, id: OpId) -> Option<(String, Phase)>;
}
