//! The MySQL/MariaDB engine: pools of non-blocking connections on the worker's own poll.
//!
//! One pool for each database URL: a query takes an idle connection, else it queues and a new connection is
//! opened, up to the limit. A connection serves one query at a time and goes back to the pool
//! only when its answer was read to the end; one whose query was cancelled is closed, and the server is told by
//! `KILL` over the pool's one side connection to stop what it still does for it.
//!
//! When no connection can be had, queued queries fail at once with the reason of the last attempt, and
//! attempts pause for a growing, jittered while; queries that come meanwhile fail with the same reason.

mod auth;
mod conn;
mod core;
pub mod fuzz;
mod packet;
mod pool;
mod rows;
mod session;
mod statement;

pub use auth::{Auth, AuthError, Secure};
pub use core::{Core, Event, Login, MAX_QUERY};

use super::limits::Limits;
use super::url::{DbUrl, MysqlUrl, UrlError};
use crate::base::{Key, Slab, Str, Time};
use crate::net::reactor::{Readiness, Source};
use crate::net::stream::{Stream, Target};
use crate::net::tls::Tls;
use crate::ops::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, SqlRequest, SqlValue, Why};
use conn::{Conn, Stage, Step, Use};
use pool::Pool;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// A query may be repeated on a fresh connection only if the old one was found dead within this time.
const STALE: Duration = Duration::from_millis(250);

/// Limit of what a connection does for nobody (rollback, reset).
const CLOSING: Duration = Duration::from_secs(5);

struct Op {
    pool: usize,
    query: Str,
    params: Vec<SqlValue>,
    /// What follows in the same transaction.
    then: Vec<(Str, Vec<SqlValue>)>,
    place: Place,
    repeats: u32,
}

/// What a new connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Queries.
    Pool,
    /// To end what cancelled queries left running.
    Side,
    /// To see whether a server is back; then queries.
    Probe,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Queue,
    Conn(Key),
}

/// All MySQL connections and queries of one process.
pub struct Mysql {
    limits: Limits,
    urls: HashMap<Str, usize>,
    pools: Vec<Pool>,
    conns: Slab<Conn>,
    ops: HashMap<OpId, Op>,
    tls: Option<Tls>,
    scratch: Vec<u8>,
    events: Vec<Event>,
}

impl Default for Mysql {
    fn default() -> Self {
        Mysql::new(Limits::default())
    }
}

impl Mysql {
    /// An engine without connections. Must be made after fork.
    pub fn new(limits: Limits) -> Mysql {
        Mysql {
            limits,
            urls: HashMap::new(),
            pools: Vec::new(),
            conns: Slab::new(),
            ops: HashMap::new(),
            tls: None,
            scratch: vec![0; 16 * 1024],
            events: Vec::new(),
        }
    }

    /// Reads what a URL needs from disk (CA certificates), so that no query has to. Call it at start for
    /// each URL the configuration names.
    pub fn prepare(&mut self, url: &[u8]) -> Result<(), String> {
        let index = self.pool_of(&Str::from(url)).map_err(|f| f.detail)?;
        self.pools.get_mut(index).map_or(Ok(()), |p| p.prepare_tls(&mut self.tls))
    }

    /// Connections of all pools: all, and those that serve nobody.
    pub fn connections(&self) -> (usize, usize) {
        (self.conns.len(), self.pools.iter().map(|p| p.idle.len()).sum())
    }

    /// Closes idle connections with a good-bye, for an orderly end of the process.
    pub fn close_idle(&mut self, cx: &mut Cx<'_>) {
        for pool in 0..self.pools.len() {
            let idle = self.pools.get_mut(pool).map(|p| std::mem::take(&mut p.idle)).unwrap_or_default();
            for key in idle {
                self.retire(key, cx);
            }
        }
    }

    fn pool_of(&mut self, url: &Str) -> Result<usize, Failure> {
        if let Some(index) = self.urls.get(url) {
            return Ok(*index);
        }
        let bad = |e: UrlError| Failure::new(Why::BadRequest, Phase::Queue, e.to_string());
        let parsed: MysqlUrl = match DbUrl::parse(url).map_err(bad)? {
            DbUrl::Mysql(u) => u,
            DbUrl::Sqlite(_) => return Err(bad(UrlError::UnknownScheme("sqlite".to_string()))),
        };
        if self.pools.len() >= self.limits.max_pools {
            let text = format!("more than {} database URLs", self.limits.max_pools);
            return Err(Failure::new(Why::Overload, Phase::Queue, text));
        }
        let index = self.pools.len();
        self.pools.push(Pool::new(parsed, index as u64));
        self.urls.insert(url.clone(), index);
        Ok(index)
    }

    fn finish(&mut self, id: OpId, outcome: Outcome, cx: &mut Cx<'_>) {
        if self.ops.remove(&id).is_some() {
            cx.done(id, outcome);
        }
    }

    fn fail(&mut self, id: OpId, mut failure: Failure, cx: &mut Cx<'_>) {
        let backend = self.ops.get(&id).and_then(|op| self.pools.get(op.pool)).map(|p| p.display.clone());
        if let Some(backend) = backend {
            failure.detail = if failure.detail.is_empty() { backend } else { format!("{backend}: {}", failure.detail) };
        }
        self.finish(id, Outcome::Failed(failure), cx);
    }

    /// Gives queued queries to idle connections, opens connections for the others, or fails them.
    fn serve(&mut self, index: usize, cx: &mut Cx<'_>) {
        loop {
            let Some(pool) = self.pools.get_mut(index) else { return };
            let Some(id) = pool.queue.front().copied() else { break };
            let Some(key) = pool.idle.pop() else { break };
            pool.queue.pop_front();
            self.assign(id, key, cx);
        }
        self.end_leftovers(index, cx);
        let Some(pool) = self.pools.get_mut(index) else { return };
        let wanted = pool.queue.len();
        let room = self.limits.max_connections.saturating_sub(pool.live);
        let missing = wanted.saturating_sub(pool.opening.len() + pool.closing).min(room);
        for _ in 0..missing {
            // The first of them may have failed within the call.
            if self.pools.get(index).is_none_or(|p| !p.pause.left(cx.now()).is_zero()) {
                break;
            }
            self.open(index, cx);
        }
        let Some(pool) = self.pools.get_mut(index) else { return };
        if pool.live == 0 && !pool.queue.is_empty() {
            let failure = pool.refusal(cx.now());
            for id in std::mem::take(&mut pool.queue) {
                self.fail(id, failure.clone(), cx);
            }
        }
    }

    /// Hands a query to an idle connection.
    fn assign(&mut self, id: OpId, key: Key, cx: &mut Cx<'_>) {
        let (Some(op), Some(conn)) = (self.ops.get_mut(&id), self.conns.get_mut(key)) else { return };
        let sent = if op.then.is_empty() {
            conn.core.query(&op.query, &op.params)
        } else {
            conn.core.transaction(&op.query, &op.params, &op.then)
        };
        if let Err(failure) = sent {
            if let Some(pool) = self.pools.get_mut(op.pool) {
                pool.idle.push(key);
            }
            self.fail(id, failure, cx);
            return;
        }
        op.place = Place::Conn(key);
        conn.used_by = Use::Op(id);
        conn.since = cx.now();
        if let Some(timer) = conn.timer.take() {
            cx.io.disarm(timer);
        }
        if let Err(failure) = conn.flush() {
            self.lost(key, failure, cx);
        }
    }

    /// Sees to the side connection, if a server still does something for cancelled queries.
    fn end_leftovers(&mut self, index: usize, cx: &mut Cx<'_>) {
        let Some(pool) = self.pools.get_mut(index).filter(|p| p.side.is_none()) else { return };
        let Some(server) = pool.leftover_server(cx.now()) else { return };
        self.open_with(index, VecDeque::from([server]), Purpose::Side, cx);
    }

    /// The side connection can do something.
    fn kill_next(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let index = conn.pool;
        let Some(pool) = self.pools.get_mut(index) else { return };
        let identity = conn.core.session().identity.clone();
        let Some(connection) = pool.next_leftover(conn.server, identity.as_ref()) else {
            self.retire(key, cx);
            return self.serve(index, cx);
        };
        let sent = conn.core.query(format!("KILL {connection}").as_bytes(), &[]).and_then(|()| conn.flush());
        if let Err(failure) = sent {
            self.lost(key, failure, cx);
        }
    }

    /// Starts one more connection.
    fn open(&mut self, index: usize, cx: &mut Cx<'_>) {
        if let Some(pool) = self.pools.get(index) {
            let order = pool.order(cx.now());
            self.open_with(index, order, Purpose::Pool, cx);
        }
    }

    /// Starts a connection to the first of these servers.
    fn open_with(&mut self, index: usize, servers: VecDeque<usize>, purpose: Purpose, cx: &mut Cx<'_>) {
        let now = cx.now();
        let Some(pool) = self.pools.get_mut(index) else { return };
        let prepared = pool.prepare_tls(&mut self.tls);
        let Some(mut conn) = pool.connection(index, servers, &self.limits, now) else { return };
        let side = purpose == Purpose::Side;
        let limit = if side { pool::KILL_TIME } else { self.limits.connect_timeout };
        let (targets, name) = pool.targets(conn.server);
        conn.targets = targets;
        conn.used_by = if side { Use::Side } else { Use::Opening };
        conn.deadline = now + limit;
        let deadline = conn.deadline;
        let key = self.conns.insert(conn);
        match purpose {
            Purpose::Side => pool.side = Some(key),
            Purpose::Pool => pool.opening.push(key),
            Purpose::Probe => pool.probe = Some(key),
        }
        pool.live += usize::from(!side);
        if let Err(text) = prepared {
            return self.lost(key, Failure::new(Why::BadRequest, Phase::Tls, text), cx);
        }
        if let Some(conn) = self.conns.get_mut(key) {
            conn.timer = Some(cx.io.arm(deadline, Source::Mysql, key));
        }
        match name {
            Some(host) => cx.resolve(Source::Mysql, key, &host),
            None => self.try_address(key, cx),
        }
    }

    /// Connects to the first of the addresses that are left.
    fn try_address(&mut self, key: Key, cx: &mut Cx<'_>) {
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return };
            let Some(target) = conn.targets.front().cloned() else {
                let failure = conn.last_error.take();
                let none = || Failure::new(Why::Refused, Phase::Resolve, "the name has no address");
                return self.lost(key, failure.unwrap_or_else(none), cx);
            };
            let now = cx.now();
            let last = conn.targets.len() == 1;
            conn.address_deadline =
                if last { conn.deadline } else { (now + self.limits.address_timeout).min(conn.deadline) };
            let mut wake = conn.address_deadline;
            match Stream::to(&target) {
                Ok(stream) => {
                    let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
                    if let Err(e) = cx.register(&stream, Source::Mysql, key, interest) {
                        let failure = Failure::new(Why::System, Phase::Connect, e.to_string());
                        return self.lost(key, failure, cx);
                    }
                    conn.stage = Stage::Connect(Some(stream));
                }
                // A Unix socket whose queue is full says so at once: ask again soon.
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    conn.stage = Stage::Connect(None);
                    wake = wake.min(now + Duration::from_millis(20));
                }
                Err(e) => {
                    conn.last_error = Some(conn.refused(&e));
                    conn.targets.pop_front();
                    continue;
                }
            }
            if let Some(timer) = conn.timer.replace(cx.io.arm(wake, Source::Mysql, key)) {
                cx.io.disarm(timer);
            }
            return;
        }
    }

    /// Gives up the present address and goes to the next one.
    fn next_address(&mut self, key: Key, failure: Failure, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(stream) = conn.stream() {
            cx.io.deregister(stream);
        }
        conn.stage = Stage::Connect(None);
        conn.targets.pop_front();
        conn.last_error = Some(failure);
        self.try_address(key, cx);
    }

    /// Advances a connection and acts on what comes of it.
    fn advance(&mut self, key: Key, hangup: bool, cx: &mut Cx<'_>) {
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return };
            let mut events = std::mem::take(&mut self.events);
            let step = conn.advance(hangup, &mut self.scratch, &mut events);
            let tls = matches!(events.last(), Some(Event::StartTls));
            conn.doomed = matches!(step, Step::Lost(_));
            for event in events.drain(..) {
                self.event(key, event, cx);
            }
            self.events = events;
            self.watch_closing(key, cx);
            match step {
                Step::Lost(failure) => return self.lost(key, failure, cx),
                Step::NextAddress(failure) => return self.next_address(key, failure, cx),
                Step::More => return cx.io.again(Source::Mysql, key),
                Step::Blocked if tls => {}
                Step::Blocked => return,
            }
        }
    }

    fn event(&mut self, key: Key, event: Event, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match event {
            Event::StartTls => {
                if let Err(failure) = conn.start_tls() {
                    self.lost(key, failure, cx);
                }
            }
            Event::Fatal(failure) => self.lost(key, failure, cx),
            // What comes of a KILL does not matter.
            Event::Answer(_) if conn.used_by == Use::Side => {}
            Event::Spent => {
                let index = conn.pool;
                self.retire(key, cx);
                self.serve(index, cx);
            }
            Event::Ready if conn.used_by == Use::Side => self.kill_next(key, cx),
            Event::Answer(result) => {
                let served = conn.used_by;
                conn.used_by = Use::Closing;
                conn.reused = true;
                if let Some(pool) = self.pools.get_mut(conn.pool) {
                    pool.closing += 1;
                }
                if let Use::Op(id) = served {
                    match result {
                        Ok(rows) => self.finish(id, Outcome::Sql(rows), cx),
                        Err(failure) => self.fail(id, failure, cx),
                    }
                }
            }
            Event::Ready => self.ready_again(key, cx),
        }
    }

    /// Tidying up has its own, short limit.
    fn watch_closing(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(conn) = self.conns.get_mut(key).filter(|c| c.used_by == Use::Closing && c.timer.is_none()) {
            conn.timer = Some(cx.io.arm(cx.now() + CLOSING, Source::Mysql, key));
        }
    }

    /// A connection serves nobody now.
    fn ready_again(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let index = conn.pool;
        let opened = conn.used_by == Use::Opening;
        if conn.doomed && !opened {
            return;
        }
        let closing = std::mem::replace(&mut conn.used_by, Use::Idle) == Use::Closing;
        if let Some(pool) = self.pools.get_mut(index).filter(|_| closing) {
            pool.closing = pool.closing.saturating_sub(1);
        }
        conn.deadline = cx.now() + self.limits.idle_timeout;
        if let Some(timer) = conn.timer.replace(cx.io.arm(conn.deadline, Source::Mysql, key)) {
            cx.io.disarm(timer);
        }
        // A COM_STMT_CLOSE may be waiting.
        if let Err(failure) = conn.flush() {
            return self.lost(key, failure, cx);
        }
        let (server, now) = (conn.server, cx.now());
        if let Some(pool) = self.pools.get_mut(index) {
            if opened {
                pool.opened(key, server);
            }
            pool.idle.push(key);
            let better = pool.better(server, now);
            if pool.superseded(server) {
                self.retire(key, cx);
            } else if pool.probe.is_none() && !better.is_empty() {
                // A server that comes before this one may be back: a connection finds out, while the
                // others go on.
                if pool.live >= self.limits.max_connections {
                    self.retire(key, cx);
                }
                self.open_with(index, better, Purpose::Probe, cx);
            }
        }
        self.serve(index, cx);
    }

    /// Takes a connection out of everything that knows it and closes it.
    fn remove(&mut self, key: Key, cx: &mut Cx<'_>) -> Option<Conn> {
        let conn = self.conns.remove(key)?;
        if let Some(stream) = conn.stream() {
            cx.io.deregister(stream);
        }
        if let Some(timer) = conn.timer {
            cx.io.disarm(timer);
        }
        if let Some(pool) = self.pools.get_mut(conn.pool) {
            if conn.used_by == Use::Side {
                pool.side = None;
            } else {
                pool.live = pool.live.saturating_sub(1);
            }
            if conn.used_by == Use::Closing {
                pool.closing = pool.closing.saturating_sub(1);
            }
            pool.probe = pool.probe.filter(|k| *k != key);
            pool.opening.retain(|k| *k != key);
            pool.idle.retain(|k| *k != key);
        }
        Some(conn)
    }

    /// A connection has failed: what it served fails with it, or is repeated if that is safe.
    fn lost(&mut self, key: Key, failure: Failure, cx: &mut Cx<'_>) {
        let probe = self.conns.get(key).and_then(|c| self.pools.get(c.pool)).is_some_and(|p| p.probe == Some(key));
        let Some(conn) = self.remove(key, cx) else { return };
        let index = conn.pool;
        match conn.used_by {
            Use::Opening if probe => {
                if let Some(pool) = self.pools.get_mut(index) {
                    pool.hold(conn.server, cx.now(), &self.limits);
                }
            }
            Use::Opening => {
                if let Some(pool) = self.pools.get_mut(index) {
                    let url = pool.url(conn.server).map(ToString::to_string).unwrap_or_default();
                    log::warn!("{url}: {failure}");
                    pool.hold(conn.server, cx.now(), &self.limits);
                    if conn.servers.is_empty() {
                        pool.attempt_failed(failure, cx.now(), &self.limits);
                    } else {
                        self.open_with(index, conn.servers, Purpose::Pool, cx);
                        return self.serve(index, cx);
                    }
                }
            }
            Use::Side => {
                // Whatever it was: nobody waits for this.
                if let Some(pool) = self.pools.get_mut(index) {
                    pool.forget_leftovers(conn.server);
                }
            }
            Use::Op(id) => {
                if let Some(pool) = self.pools.get_mut(index) {
                    pool.forget_leftovers(conn.server);
                }
                if self.may_repeat(id, &conn, &failure, cx.now()) {
                    self.weed_out(index, cx);
                    if let (Some(op), Some(pool)) = (self.ops.get_mut(&id), self.pools.get_mut(index)) {
                        op.repeats += 1;
                        op.place = Place::Queue;
                        pool.queue.push_front(id);
                    }
                } else {
                    self.fail(id, failure, cx);
                }
            }
            Use::Idle | Use::Closing => {}
        }
        self.serve(index, cx);
    }

    /// Whether the server had closed a pooled connection before it saw the query, or the query changes
    /// nothing: then it may be asked again, once.
    fn may_repeat(&self, id: OpId, conn: &Conn, failure: &Failure, now: Time) -> bool {
        let Some(op) = self.ops.get(&id) else { return false };
        let stale = conn.reused && !conn.core.answer_begun() && failure.why == Why::Closed;
        let harmless = !conn.fully_written() || (op.then.is_empty() && only_reads(&op.query));
        stale && op.repeats < self.limits.repeats && harmless && now.since(conn.since) < STALE
    }

    /// Looks which of the idle connections the server has closed, too.
    fn weed_out(&mut self, index: usize, cx: &mut Cx<'_>) {
        let idle = self.pools.get(index).map(|p| p.idle.clone()).unwrap_or_default();
        for key in idle {
            self.advance(key, true, cx);
        }
    }

    /// Closes an idle connection with a good-bye.
    fn retire(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(mut conn) = self.remove(key, cx) {
            conn.core.quit();
            // The server notices the close anyway.
            let _ = conn.flush();
        }
    }
}

impl Engine for Mysql {
    type Request = SqlRequest;

    fn start(&mut self, id: OpId, request: SqlRequest, _deadline: Time, cx: &mut Cx<'_>) {
        let index = match self.pool_of(&request.url) {
            Ok(index) => index,
            Err(failure) => return cx.done(id, Outcome::Failed(failure)),
        };
        let SqlRequest { query, params, then, .. } = request;
        let op = Op { pool: index, query, params, then, place: Place::Queue, repeats: 0 };
        self.ops.insert(id, op);
        let Some(pool) = self.pools.get_mut(index) else { return };
        pool.queue.push_back(id);
        self.serve(index, cx);
    }

    fn ready(&mut self, key: Key, readiness: Readiness, cx: &mut Cx<'_>) {
        self.advance(key, readiness.hangup || readiness.error, cx);
    }

    fn timer(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.timer = None;
        let now = cx.now();
        match conn.used_by {
            Use::Opening | Use::Side if now >= conn.deadline => {
                let failure = Failure::new(Why::Timeout, conn.phase(), "no connection in time");
                self.lost(key, failure, cx);
            }
            Use::Opening | Use::Side if matches!(conn.stage, Stage::Connect(_)) => {
                if now >= conn.address_deadline {
                    let target = conn.targets.front().map(ToString::to_string).unwrap_or_default();
                    let failure = Failure::new(Why::Timeout, Phase::Connect, format!("{target}: no answer"));
                    self.next_address(key, failure, cx);
                } else {
                    self.try_address(key, cx);
                }
            }
            Use::Opening | Use::Side => conn.timer = Some(cx.io.arm(conn.deadline, Source::Mysql, key)),
            Use::Idle => self.retire(key, cx),
            Use::Closing => {
                let failure = Failure::new(Why::Timeout, conn.phase(), "");
                self.lost(key, failure, cx);
            }
            Use::Op(_) => {}
        }
    }

    fn resolved(&mut self, key: Key, result: Result<Vec<IpAddr>, String>, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !matches!(conn.stage, Stage::Resolve) {
            return;
        }
        let port = self.pools.get(conn.pool).map_or(pool::PORT, |p| p.port(conn.server));
        match result {
            Ok(addresses) => {
                conn.targets = addresses.into_iter().take(16).map(|ip| Target::Tcp((ip, port).into())).collect();
                conn.stage = Stage::Connect(None);
                self.try_address(key, cx);
            }
            Err(text) => self.lost(key, Failure::new(Why::Refused, Phase::Resolve, text), cx),
        }
    }

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let Some(op) = self.ops.get(&id) else { return };
        let (index, place) = (op.pool, op.place);
        let phase = self.describe(id).map_or(Phase::Queue, |(_, phase)| phase);
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        match place {
            Place::Queue => {
                if let Some(pool) = self.pools.get_mut(index) {
                    pool.queue.retain(|q| *q != id);
                }
            }
            Place::Conn(key) => {
                if let Some(conn) = self.remove(key, cx) {
                    let running = conn.fully_written() && reason != CancelReason::Shutdown;
                    if let Some(pool) = self.pools.get_mut(index).filter(|_| running) {
                        pool.leave_running(cx.now(), &conn, self.limits.kill);
                    }
                }
            }
        }
        self.fail(id, Failure::new(why, phase, ""), cx);
        self.serve(index, cx);
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        let op = self.ops.get(&id)?;
        let pool = self.pools.get(op.pool)?;
        let phase = match op.place {
            Place::Conn(key) => self.conns.get(key).map_or(Phase::Wait, Conn::phase),
            Place::Queue => {
                // Who waits for a connection that is being opened stands where that one stands.
                let opening = pool.opening.first().and_then(|k| self.conns.get(*k));
                opening.map_or(Phase::Queue, Conn::phase)
            }
        };
        Some((pool.display.clone(), phase))
    }
}

/// Whether a query only reads: a plain SELECT or SHOW.
fn only_reads(query: &[u8]) -> bool {
    let text = query.trim_ascii_start().to_ascii_uppercase();
    let plain = text.starts_with(b"SELECT ") || text.starts_with(b"SHOW ");
    let writes = [&b"INTO "[..], b"FOR UPDATE", b";", b"NEXTVAL", b"_LOCK", b"SLEEP", b":="];
    plain && !writes.iter().any(|w| memchr::memmem::find(&text, w).is_some())
}

#[cfg(test)]
mod tests {
    use super::only_reads;

    #[test]
    fn knows_what_may_be_asked_twice() {
        assert!(only_reads(b" select credit from users where uid='a'"));
        assert!(only_reads(b"SHOW TABLES"));
        for query in
            ["INSERT INTO t VALUES(1)", "SELECT 1 INTO @x", "select 1; delete from t", "SELECT a FROM t FOR UPDATE"]
        {
            assert!(!only_reads(query.as_bytes()), "{query}");
        }
    }
}
