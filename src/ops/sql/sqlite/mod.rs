//! The SQLite engine: hands queries to the helper process over a Unix socket and waits for its
//! answers on the worker's own poll.
//!
//! One connection carries all queries of a worker, numbered. When the helper dies, queries it had received
//! fail, those that had not left yet go to its successor. Deadlines travel with the queries: the
//! helper interrupts what nobody waits for.

pub mod demo;
pub mod execute;
pub mod helper;
pub mod wire;

pub use demo::ensure_sqlite_demo;

use super::limits::Limits;
use super::url::{DbUrl, SqliteUrl, UrlError};
use crate::base::slab::GENERATION_MASK;
use crate::base::{Key, Time, TimerKey};
use crate::net::reactor::{Readiness, Source};
use crate::ops::backend::Backoff;
use crate::ops::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, SqlRequest, Why};
use mio::net::UnixStream;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use wire::{FromWorker, Head, MAX_REPLY, MAX_REQUEST, MAX_SINGLE, Query, Reply};

/// Bytes waiting to be sent, at most.
const MAX_OUTPUT: usize = 64 << 20;
/// Bytes read in one turn before others have theirs.
const READ_BUDGET: usize = 1 << 20;
/// Pause when the helper's queue of connections is full.
const RETRY: Duration = Duration::from_millis(20);

/// Where the helper listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqliteEndpoint {
    /// Its Unix socket.
    pub path: PathBuf,
}

struct Op {
    display: String,
    /// Whether its frame has left completely.
    sent: bool,
}

enum Link {
    Down,
    /// The helper's queue is full; to be tried again.
    Waiting,
    Up(UnixStream),
}

/// All SQLite queries of one process.
pub struct Sqlite {
    endpoint: Option<SqliteEndpoint>,
    limits: Limits,
    link: Link,
    generation: u32,
    ops: HashMap<OpId, Op>,
    /// Frames to be sent, and the operation each belongs to.
    out: VecDeque<(Option<OpId>, Vec<u8>)>,
    out_bytes: usize,
    /// Bytes of the first frame that have left.
    written: usize,
    input: Vec<u8>,
    chunk: Vec<u8>,
    timer: Option<TimerKey>,
    give_up: Time,
    pause: Backoff,
    last: Option<Failure>,
}

impl Default for Sqlite {
    fn default() -> Self {
        Sqlite::new(None, Limits::default())
    }
}

impl Sqlite {
    /// An engine that will find the helper at `endpoint`; without one every query is refused. Must be made
    /// after fork.
    pub fn new(endpoint: Option<SqliteEndpoint>, limits: Limits) -> Sqlite {
        Sqlite {
            endpoint,
            limits,
            link: Link::Down,
            generation: 0,
            ops: HashMap::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            written: 0,
            input: Vec::new(),
            chunk: vec![0; 64 * 1024],
            timer: None,
            give_up: Time::NEVER,
            pause: Backoff::new(1),
            last: None,
        }
    }

    /// Whether the helper is connected.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// The key of the present connection's events.
    fn key(&self) -> Key {
        Key { index: 0, generation: self.generation }
    }

    fn fail(&mut self, id: OpId, mut failure: Failure, cx: &mut Cx<'_>) {
        let Some(op) = self.ops.remove(&id) else { return };
        failure.detail =
            if failure.detail.is_empty() { op.display } else { format!("{}: {}", op.display, failure.detail) };
        cx.done(id, Outcome::Failed(failure));
    }

    /// Fails every operation; the frames that wait go with them.
    fn fail_all(&mut self, failure: &Failure, cx: &mut Cx<'_>) {
        self.out.clear();
        self.out_bytes = 0;
        self.written = 0;
        for id in self.ops.keys().copied().collect::<Vec<_>>() {
            self.fail(id, failure.clone(), cx);
        }
    }

    fn push(&mut self, id: Option<OpId>, frame: Vec<u8>) {
        self.out_bytes += frame.len();
        self.out.push_back((id, frame));
    }

    /// Connects if there is no connection. What cannot be reached is not asked again for a while.
    fn connect(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.link, Link::Up(_)) {
            return;
        }
        let Some(endpoint) = &self.endpoint else {
            let failure = Failure::new(Why::Refused, Phase::Connect, "this server runs no SQLite helper");
            return self.fail_all(&failure, cx);
        };
        let now = cx.now();
        if !self.pause.left(now).is_zero() {
            let last = self.last.clone();
            let failure = last.unwrap_or_else(|| Failure::new(Why::Refused, Phase::Connect, "no helper"));
            return self.fail_all(&failure, cx);
        }
        match UnixStream::connect(&endpoint.path) {
            Ok(stream) => {
                self.generation = (self.generation + 1) & GENERATION_MASK;
                let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
                if let Err(e) = cx.register(&stream, Source::Sqlite, self.key(), interest) {
                    return self.unreachable(&e, cx);
                }
                self.link = Link::Up(stream);
                self.pause.reset();
                self.give_up = Time::NEVER;
                self.disarm(cx);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if matches!(self.link, Link::Down) {
                    self.give_up = now + self.limits.connect_timeout;
                } else if now >= self.give_up {
                    return self.unreachable(&e, cx);
                }
                self.link = Link::Waiting;
                self.disarm(cx);
                self.timer = Some(cx.arm(now + RETRY, Source::Sqlite, self.key()));
            }
            Err(e) => self.unreachable(&e, cx),
        }
    }

    fn disarm(&mut self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.io.disarm(timer);
        }
    }

    fn unreachable(&mut self, e: &io::Error, cx: &mut Cx<'_>) {
        let path = self.endpoint.as_ref().map(|p| p.path.display().to_string()).unwrap_or_default();
        let failure = Failure::new(Why::Refused, Phase::Connect, format!("SQLite helper at {path}: {e}"));
        log::warn!("{failure}");
        self.link = Link::Down;
        self.disarm(cx);
        self.pause.failed(cx.now(), self.limits.backoff_min, self.limits.backoff_max);
        self.last = Some(failure.clone());
        self.fail_all(&failure, cx);
    }

    /// The connection has ended: what the helper had is lost, the rest goes to the next one.
    fn lost(&mut self, failure: &Failure, cx: &mut Cx<'_>) {
        if let Link::Up(stream) = std::mem::replace(&mut self.link, Link::Down) {
            cx.io.deregister(&stream);
        }
        log::warn!("SQLite helper: {failure}");
        self.input = Vec::new();
        self.written = 0;
        for id in self.ops.iter().filter(|(_, op)| op.sent).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.fail(id, failure.clone(), cx);
        }
        let ops = &self.ops;
        self.out.retain(|(id, _)| id.is_some_and(|id| ops.contains_key(&id)));
        self.out_bytes = self.out.iter().map(|(_, f)| f.len()).sum();
        if !self.ops.is_empty() {
            self.connect(cx);
            self.flush(cx);
        }
    }

    /// Writes what the socket takes.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        loop {
            let Link::Up(stream) = &mut self.link else { return };
            let Some((id, frame)) = self.out.front() else { return };
            match stream.write(frame.get(self.written..).unwrap_or_default()) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let failure = Failure::new(Why::Closed, Phase::Send, e.to_string());
                    return self.lost(&failure, cx);
                }
            }
            if self.written >= frame.len() {
                if let Some(op) = id.and_then(|id| self.ops.get_mut(&id)) {
                    op.sent = true;
                }
                self.out_bytes = self.out_bytes.saturating_sub(frame.len());
                self.out.pop_front();
                self.written = 0;
            }
        }
    }

    /// Reads what is there, up to the budget.
    fn read(&mut self, cx: &mut Cx<'_>) {
        let mut total = 0;
        loop {
            let Link::Up(stream) = &mut self.link else { return };
            match stream.read(&mut self.chunk) {
                Ok(0) => {
                    let failure = Failure::new(Why::Closed, Phase::Wait, "the SQLite helper has ended");
                    return self.lost(&failure, cx);
                }
                Ok(n) => {
                    total += n;
                    self.input.extend_from_slice(self.chunk.get(..n).unwrap_or_default());
                    if !self.replies(cx) {
                        let failure = Failure::new(Why::Garbage, Phase::Receive, "garbage from the SQLite helper");
                        return self.lost(&failure, cx);
                    }
                    if total >= READ_BUDGET {
                        return cx.io.again(Source::Sqlite, self.key());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let failure = Failure::new(Why::Closed, Phase::Wait, e.to_string());
                    return self.lost(&failure, cx);
                }
            }
        }
    }

    /// Takes the whole replies off the input; `false` if it holds something else.
    fn replies(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut at = 0;
        let sound = loop {
            match wire::head::<Reply>(self.input.get(at..).unwrap_or_default(), MAX_REPLY) {
                Head::Partial => break true,
                Head::Garbage => break false,
                Head::Message(reply, length) => {
                    at += length;
                    let id = op_id(reply.id);
                    match reply.outcome {
                        Ok(result) => {
                            if self.ops.remove(&id).is_some() {
                                cx.done(id, Outcome::Sql(result));
                            }
                        }
                        Err(failure) => self.fail(id, failure, cx),
                    }
                }
            }
        };
        self.input.drain(..at);
        if self.input.is_empty() {
            self.input.shrink_to(64 * 1024);
        }
        sound
    }

    /// Builds the frame of a request.
    fn encode(&self, id: OpId, url: SqliteUrl, request: SqlRequest, deadline: Time) -> Result<Vec<u8>, Failure> {
        let bad = |text: &str| Failure::new(Why::BadRequest, Phase::Send, text);
        let path = url.path.into_os_string().into_string().map_err(|_| bad("the path is not UTF-8"))?;
        let single = request.then.is_empty();
        let frame = wire::frame(&FromWorker::Query(Query {
            id: number(id),
            path,
            query: request.query,
            params: request.params,
            then: request.then,
            deadline: deadline.as_micros(),
            max_rows: u32::try_from(self.limits.max_rows).unwrap_or(u32::MAX),
            max_bytes: u32::try_from(self.limits.max_bytes.min(MAX_REPLY / 2)).unwrap_or(u32::MAX),
        }))
        .map_err(|e| bad(&e.to_string()))?;
        if single && frame.len() > MAX_SINGLE {
            return Err(bad("the query is longer than 16 MB"));
        }
        if frame.len() > MAX_REQUEST {
            return Err(bad("the statements are longer than 64 MB"));
        }
        Ok(frame)
    }
}

impl Engine for Sqlite {
    type Request = SqlRequest;

    fn start(&mut self, id: OpId, request: SqlRequest, deadline: Time, cx: &mut Cx<'_>) {
        let refuse = |cx: &mut Cx<'_>, failure| cx.done(id, Outcome::Failed(failure));
        let url = match DbUrl::parse(&request.url) {
            Ok(DbUrl::Sqlite(url)) => url,
            Ok(DbUrl::Mysql(_)) => {
                let text = UrlError::UnknownScheme("mysql".to_string()).to_string();
                return refuse(cx, Failure::new(Why::BadRequest, Phase::Queue, text));
            }
            Err(e) => return refuse(cx, Failure::new(Why::BadRequest, Phase::Queue, e.to_string())),
        };
        let display = url.to_string();
        if self.out_bytes >= MAX_OUTPUT {
            let text = format!("{display}: {} queries wait already", self.ops.len());
            return refuse(cx, Failure::new(Why::Overload, Phase::Queue, text));
        }
        match self.encode(id, url, request, deadline) {
            Ok(frame) => self.push(Some(id), frame),
            Err(failure) => return refuse(cx, failure),
        }
        self.ops.insert(id, Op { display, sent: false });
        match self.link {
            Link::Waiting => {}
            _ => {
                self.connect(cx);
                self.flush(cx);
            }
        }
    }

    fn ready(&mut self, key: Key, _readiness: Readiness, cx: &mut Cx<'_>) {
        if key == self.key() {
            self.read(cx);
            self.flush(cx);
        }
    }

    fn timer(&mut self, key: Key, cx: &mut Cx<'_>) {
        if key == self.key() {
            self.timer = None;
            self.connect(cx);
            self.flush(cx);
        }
    }

    fn resolved(&mut self, _key: Key, _result: Result<Vec<IpAddr>, String>, _cx: &mut Cx<'_>) {}

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let Some((_, phase)) = self.describe(id) else { return };
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        let begun = self.written > 0 && self.out.front().is_some_and(|(first, _)| *first == Some(id));
        if self.ops.get(&id).is_some_and(|op| op.sent) || begun {
            // A frame that has begun to leave is finished, and then taken back.
            if let Ok(frame) = wire::frame(&FromWorker::Cancel { id: number(id) }) {
                self.push(None, frame);
            }
        } else {
            let at = self.out.iter().position(|(other, _)| *other == Some(id));
            if let Some((_, frame)) = at.and_then(|at| self.out.remove(at)) {
                self.out_bytes = self.out_bytes.saturating_sub(frame.len());
            }
        }
        self.fail(id, Failure::new(why, phase, ""), cx);
        self.flush(cx);
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        let op = self.ops.get(&id)?;
        let phase = match (&self.link, op.sent) {
            (_, true) => Phase::Wait,
            (Link::Up(_), false) => Phase::Send,
            (_, false) => Phase::Connect,
        };
        Some((op.display.clone(), phase))
    }
}

fn number(id: OpId) -> u64 {
    u64::from(id.index) << 32 | u64::from(id.generation)
}

fn op_id(number: u64) -> OpId {
    Key { index: (number >> 32) as u32, generation: number as u32 }
}
