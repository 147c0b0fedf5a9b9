//! HTTP/1.1 client operations (RFC 9110, RFC 9112), `http` and `https`.
//!
//! An exchange takes a connection of its host's pool, or resolves, connects (one address after the
//! other) and, for `https`, shakes hands; then it sends and receives. Redirects are not followed. A
//! connection that carried a whole answer and may carry another goes back to the pool, after a look
//! that nothing unasked is in it; idle ones are watched and closed when the server closes them.
//! A request that meets a dead connection of the pool is sent again, once, on a fresh one, if that
//! cannot do twice what should be done once.

pub mod answer;
mod chunked;
mod encode;
mod exchange;
mod url;

use super::{CancelReason, Cx, Engine, Failure, HttpRequest, OpId, Outcome, Phase, Why};
use crate::base::{Key, Slab, Time};
use crate::net::reactor::{Interest, Readiness, Source};
use crate::net::stream::Stream;
use crate::net::tls::Tls;
use answer::Broken;
use exchange::{Advance, Connection, Exchange, HostKey, Stage, State};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// What the HTTP operations of one process may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Idle connections kept to one host.
    pub idle: usize,
    /// Idle connections kept to all hosts.
    pub idle_total: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Largest body of an answer, in bytes, whatever a request allows.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { idle: 100, idle_total: 300, idle_timeout: Duration::from_secs(30), body: 256 << 20 }
    }
}

/// What a key is about: its index's low bit.
enum About {
    Connection(Key),
    Exchange(OpId),
}

fn connection_token(key: Key) -> Key {
    Key { index: key.index << 1, generation: key.generation }
}

fn exchange_token(id: OpId) -> Key {
    Key { index: id.index << 1 | 1, generation: id.generation }
}

fn parse_token(token: Key) -> About {
    let key = Key { index: token.index >> 1, generation: token.generation };
    if token.index & 1 == 0 { About::Connection(key) } else { About::Exchange(key) }
}

/// The HTTP exchanges and connections of one process.
pub struct Http {
    limits: Limits,
    tls: Tls,
    exchanges: HashMap<OpId, Exchange>,
    connections: Slab<Connection>,
    /// Idle connections by host; the one used last is used first.
    pool: HashMap<Rc<HostKey>, Vec<Key>>,
    idle: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// No connection yet. Reads the system's CA certificates.
    pub fn new() -> Http {
        Http {
            limits: Limits::default(),
            tls: Tls::new(),
            exchanges: HashMap::new(),
            connections: Slab::new(),
            pool: HashMap::new(),
            idle: 0,
        }
    }

    /// Sets what may be used from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The TLS configurations, to read CA files ahead of their use.
    pub fn tls(&mut self) -> &mut Tls {
        &mut self.tls
    }

    /// Open connections: all, and those of them that are idle.
    pub fn connections(&self) -> (usize, usize) {
        (self.connections.len(), self.idle)
    }

    /// Gives an exchange a connection of the pool, or begins one.
    fn begin(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (host, fresh) = (Rc::clone(&exchange.host), exchange.retried);
        let pooled = if fresh { None } else { self.take_idle(&host, cx) };
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let Some(key) = pooled
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.state = State::Busy;
            connection.reused = true;
            connection.exchange = Some(id);
            exchange.stage = Stage::Linked(key);
            self.advance(key, false, cx);
            return;
        }
        if exchange.connect_timeout > Duration::ZERO {
            exchange.connect_deadline = cx.now() + exchange.connect_timeout;
            exchange.connect_timer = Some(cx.arm(exchange.connect_deadline, Source::Http, exchange_token(id)));
        }
        match exchange.ip {
            Some(ip) => {
                exchange.addresses.push_back(SocketAddr::new(ip, exchange.host.port));
                self.connect(id, cx);
            }
            None => {
                exchange.stage = Stage::Resolving;
                cx.resolve(Source::Http, exchange_token(id), &exchange.host.host);
            }
        }
    }

    /// A connection of the pool that is still good.
    fn take_idle(&mut self, host: &Rc<HostKey>, cx: &mut Cx<'_>) -> Option<Key> {
        loop {
            let idle = self.pool.get_mut(host)?;
            let key = idle.pop()?;
            if idle.is_empty() {
                self.pool.remove(host);
            }
            self.idle -= 1;
            let connection = self.connections.get_mut(key)?;
            if let Some(timer) = connection.timer.take() {
                cx.io.disarm(timer);
            }
            if connection.stream.is_quiet() {
                return Some(key);
            }
            self.close(key, cx);
        }
    }

    /// Begins to connect to the next address that lets itself be tried.
    fn connect(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let mut why = Why::Refused;
        while let Some(address) = exchange.addresses.pop_front() {
            let stream = match Stream::connect(address) {
                Ok(stream) => stream,
                Err(e) => {
                    exchange.last_error = format!("{address}: {e}");
                    if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        // It is us: another address would not help.
                        why = Why::System;
                        break;
                    }
                    continue;
                }
            };
            let key = self.connections.insert(Connection {
                stream,
                host: Rc::clone(&exchange.host),
                state: State::Connecting,
                exchange: Some(id),
                reused: false,
                timer: None,
            });
            let Some(connection) = self.connections.get_mut(key) else { return };
            exchange.stage = Stage::Linked(key);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(e) = cx.register(&connection.stream, Source::Http, connection_token(key), interest) {
                exchange.last_error = e.to_string();
                self.connections.remove(key);
                continue;
            }
            // An address that does not answer must leave time for the others.
            let tries = u32::try_from(exchange.addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
            if tries > 1 && exchange.connect_deadline != Time::NEVER {
                let share = exchange.connect_deadline.since(cx.now()) / tries;
                connection.timer = Some(cx.arm(cx.now() + share, Source::Http, connection_token(key)));
            }
            return;
        }
        let detail = std::mem::take(&mut exchange.last_error);
        self.fail(id, Failure::new(why, Phase::Connect, detail), cx);
    }

    /// An address did not work out: on to the next.
    fn next_address(&mut self, key: Key, error: String, cx: &mut Cx<'_>) {
        let id = self.connections.get(key).and_then(|c| c.exchange);
        self.close(key, cx);
        if let Some(id) = id {
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.last_error = error;
            }
            self.connect(id, cx);
        }
    }

    /// Moves a connection along, whatever it is doing.
    fn advance(&mut self, key: Key, mut readable: bool, cx: &mut Cx<'_>) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let Some(id) = connection.exchange else {
                if !connection.stream.is_quiet() {
                    self.drop_idle(key, cx);
                }
                return;
            };
            let Some(exchange) = self.exchanges.get_mut(&id) else { return };
            match connection.state {
                State::Connecting => match connection.stream.connected() {
                    Ok(false) => return,
                    Ok(true) => {
                        if let Some(timer) = connection.timer.take() {
                            cx.io.disarm(timer);
                        }
                        connection.state = State::Handshake;
                        if let Some(config) = exchange.config.clone()
                            && let Err(e) = connection.stream.start_tls(config, &exchange.host.host)
                        {
                            self.fail(id, Failure::new(Why::BadRequest, Phase::Tls, e.to_string()), cx);
                            return;
                        }
                    }
                    Err(e) => {
                        let host = &exchange.host;
                        let error = format!("{}:{}: {e}", host.host, host.port);
                        self.next_address(key, error, cx);
                        return;
                    }
                },
                State::Handshake => match connection.stream.handshake() {
                    Ok(false) => return,
                    Ok(true) => {
                        connection.state = State::Busy;
                        // The first bytes of the answer may have come along.
                        readable |= connection.stream.is_tls();
                        if let Some(timer) = exchange.connect_timer.take() {
                            cx.io.disarm(timer);
                        }
                    }
                    Err(e) => {
                        self.fail(id, Failure::new(tls_failure(&e), Phase::Tls, e.to_string()), cx);
                        return;
                    }
                },
                State::Busy => {
                    match connection.advance(exchange, readable) {
                        Advance::Blocked => {}
                        Advance::More => cx.io.again(Source::Http, connection_token(key)),
                        Advance::Complete { open } => self.complete(id, key, open, cx),
                        Advance::Broken(Broken::Closed, _) if connection.reused && exchange.may_retry() => {
                            exchange.rewind();
                            self.close(key, cx);
                            self.begin(id, cx);
                        }
                        Advance::Broken(broken, detail) => {
                            let why = match broken {
                                Broken::Garbage(_) => Why::Garbage,
                                Broken::TooLarge(_) => Why::TooLarge,
                                Broken::Closed => Why::Closed,
                            };
                            let phase = self.phase(id);
                            self.fail(id, Failure::new(why, phase, detail), cx);
                        }
                    }
                    return;
                }
                State::Idle => return,
            }
        }
    }

    /// Tells an answer; keeps the connection if it may be used again.
    fn complete(&mut self, id: OpId, key: Key, open: bool, cx: &mut Cx<'_>) {
        let Some(mut exchange) = self.exchanges.remove(&id) else { return };
        cx.done(id, Outcome::Http(exchange.answer.take()));
        let reusable = open && exchange.answer.keep_alive() && exchange.is_sent();
        let kept = self.pool.get(&exchange.host).map_or(0, Vec::len);
        let room = kept < self.limits.idle && self.idle < self.limits.idle_total;
        if reusable
            && room
            && let Some(connection) = self.connections.get_mut(key)
            && connection.stream.is_quiet()
        {
            connection.state = State::Idle;
            connection.exchange = None;
            connection.timer = Some(cx.arm(cx.now() + self.limits.idle_timeout, Source::Http, connection_token(key)));
            self.pool.entry(exchange.host).or_default().push(key);
            self.idle += 1;
        } else {
            self.close(key, cx);
        }
    }

    /// Tells a failure; closes the connection.
    fn fail(&mut self, id: OpId, failure: Failure, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        cx.done(id, Outcome::Failed(failure));
        if let Some(timer) = exchange.connect_timer {
            cx.io.disarm(timer);
        }
        if let Stage::Linked(key) = exchange.stage {
            self.close(key, cx);
        }
    }

    fn close(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(connection) = self.connections.remove(key) else { return };
        if let Some(timer) = connection.timer {
            cx.io.disarm(timer);
        }
        cx.io.deregister(&connection.stream);
    }

    /// Closes a connection of the pool.
    fn drop_idle(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(connection) = self.connections.get(key)
            && let Some(idle) = self.pool.get_mut(&connection.host)
            && let Some(at) = idle.iter().position(|k| *k == key)
        {
            idle.remove(at);
            self.idle -= 1;
            if idle.is_empty() {
                self.pool.remove(&connection.host);
            }
        }
        self.close(key, cx);
    }

    fn phase(&self, id: OpId) -> Phase {
        let Some(exchange) = self.exchanges.get(&id) else { return Phase::Queue };
        match exchange.stage {
            Stage::New => Phase::Queue,
            Stage::Resolving => Phase::Resolve,
            Stage::Linked(key) => match self.connections.get(key).map(|c| c.state) {
                Some(State::Handshake) => Phase::Tls,
                Some(State::Busy) if !exchange.is_sent() => Phase::Send,
                Some(State::Busy) if !exchange.answer.has_begun() => Phase::Wait,
                Some(State::Busy) => Phase::Receive,
                _ => Phase::Connect,
            },
        }
    }
}

/// The backend of a URL, `scheme://host:port`; `None` if it is no URL.
pub(super) fn backend(url: &[u8]) -> Option<String> {
    url::Url::parse(url).ok().map(|u| exchange::shown(u.tls, &u.host, u.port))
}

/// Whose fault a failed handshake is.
fn tls_failure(e: &io::Error) -> Why {
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => Why::Denied,
        Some(_) => Why::Garbage,
        None => Why::Closed,
    }
}

impl Engine for Http {
    type Request = HttpRequest;

    fn start(&mut self, id: OpId, request: HttpRequest, _deadline: Time, cx: &mut Cx<'_>) {
        let exchange = match Exchange::new(&request, &mut self.tls, self.limits.body) {
            Ok(exchange) => exchange,
            Err(failure) => return cx.done(id, Outcome::Failed(failure)),
        };
        self.exchanges.insert(id, exchange);
        self.begin(id, cx);
    }

    fn ready(&mut self, key: Key, readiness: Readiness, cx: &mut Cx<'_>) {
        if let About::Connection(key) = parse_token(key) {
            self.advance(key, readiness.readable || readiness.hangup || readiness.error, cx);
        }
    }

    fn timer(&mut self, key: Key, cx: &mut Cx<'_>) {
        match parse_token(key) {
            About::Exchange(id) => {
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.connect_timer = None;
                    let phase = self.phase(id);
                    self.fail(id, Failure::new(Why::Timeout, phase, "not connected in time"), cx);
                }
            }
            About::Connection(key) => match self.connections.get_mut(key) {
                Some(connection) if connection.state == State::Idle => {
                    connection.timer = None;
                    self.drop_idle(key, cx);
                }
                Some(connection) if connection.state == State::Connecting => {
                    connection.timer = None;
                    self.next_address(key, "no answer in time".into(), cx);
                }
                _ => {}
            },
        }
    }

    fn resolved(&mut self, key: Key, result: Result<Vec<IpAddr>, String>, cx: &mut Cx<'_>) {
        if let About::Exchange(id) = parse_token(key)
            && let Some(exchange) = self.exchanges.get_mut(&id)
            && let Stage::Resolving = exchange.stage
        {
            match result {
                Ok(ips) => {
                    let port = exchange.host.port;
                    exchange.addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                    self.connect(id, cx);
                }
                Err(e) => self.fail(id, Failure::new(Why::Refused, Phase::Resolve, e), cx),
            }
        }
    }

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        let phase = self.phase(id);
        self.fail(id, Failure::new(why, phase, ""), cx);
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        let exchange = self.exchanges.get(&id)?;
        Some((exchange.host.to_string(), self.phase(id)))
    }
}
