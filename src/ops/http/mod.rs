//! HTTP/1.1 client operations (RFC 9110, RFC 9112), `http` and `https`, directly or through a proxy.
//!
//! An exchange takes a connection of its host's pool (`pool`), or resolves and connects, several addresses
//! side by side (`connect`), asks a proxy for its way, and, for `https`, shakes hands; then it sends and
//! receives (`connection`). A redirection that is to be followed puts a new exchange in its place (`redirect`).
//! A connection that carried a whole answer and may carry another goes back to the pool, after a look
//! that nothing unasked is in it; idle ones are watched and closed when the server closes them.
//! A request that meets a dead connection of the pool is sent again, once, on a fresh one, if that
//! cannot do twice what should be done once.

pub mod answer;
mod chunked;
pub mod coding;
mod connect;
mod connection;
mod encode;
mod exchange;
pub mod options;
mod pool;
pub mod proxy;
pub mod redirect;
pub mod url;

use super::{CancelReason, Cx, Engine, Failure, HttpCourse, HttpRequest, OpId, Outcome, Phase, Why};
use crate::base::{Key, Slab, Time};
use crate::net::reactor::{Readiness, Source};
use crate::net::tls::Tls;
use answer::Broken;
use connection::{Advance, Connection, State};
use exchange::{Exchange, HostKey, Stage};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

pub use encode::method_name;
pub use pool::Limits;

/// How long a body waits to be asked for before it is sent all the same (RFC 9110 section 10.1.1: a server need
/// not know what is expected of it).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What a key is about: its index's two lowest bits.
enum About {
    Connection(Key),
    /// The limit of a phase, or its name.
    Limit(OpId),
    /// The next step of an exchange, if nothing happens before.
    Pace(OpId),
}

fn connection_token(key: Key) -> Key {
    Key { index: key.index << 2, generation: key.generation }
}

fn limit_token(id: OpId) -> Key {
    Key { index: id.index << 2 | 1, generation: id.generation }
}

fn pace_token(id: OpId) -> Key {
    Key { index: id.index << 2 | 2, generation: id.generation }
}

fn parse_token(token: Key) -> About {
    let key = Key { index: token.index >> 2, generation: token.generation };
    match token.index & 3 {
        0 => About::Connection(key),
        1 => About::Limit(key),
        _ => About::Pace(key),
    }
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
                    Ok(true) => self.attempt_stands(id, key, cx),
                    Err(e) => return self.attempt_failed(key, &e.to_string(), cx),
                },
                State::Tunnel => match connection.ask_proxy() {
                    Ok(false) => return,
                    Ok(true) => {
                        connection.state = State::Handshake;
                        if let Some(config) = exchange.config.clone() {
                            if let Err(e) = connection.stream.start_tls(config, &exchange.url.host) {
                                let failure = Failure::new(Why::BadRequest, Phase::Tls, e.to_string());
                                return self.fail(id, failure, cx);
                            }
                            exchange.limit_phase(id, exchange.request.options.tls_limit, cx);
                        }
                    }
                    Err(failure) => return self.fail(id, failure, cx),
                },
                State::Handshake => match connection.stream.handshake() {
                    Ok(false) => return,
                    Ok(true) => {
                        connection.state = State::Busy;
                        exchange.times.ready = exchange.age(cx.now());
                        if connection.stream.is_tls() {
                            exchange.times.secured = exchange.times.ready;
                        }
                        // The first bytes of the answer may have come along.
                        readable |= connection.stream.is_tls();
                        exchange.limit_until(id, Time::NEVER, cx);
                    }
                    Err(e) => return self.fail(id, Failure::new(tls_failure(&e), Phase::Tls, e.to_string()), cx),
                },
                State::Busy => {
                    if self.exchange_bytes(id, key, readable, cx) {
                        continue;
                    }
                    return;
                }
                State::Idle => return,
            }
        }
    }

    /// Sends and receives. `true`: there is more to send now than before.
    fn exchange_bytes(&mut self, id: OpId, key: Key, readable: bool, cx: &mut Cx<'_>) -> bool {
        let (Some(connection), Some(exchange)) = (self.connections.get_mut(key), self.exchanges.get_mut(&id)) else {
            return false;
        };
        let step = connection.advance(exchange, readable);
        if exchange.times.begun == 0 && exchange.answer.has_begun() {
            exchange.times.begun = exchange.age(cx.now());
        }
        match step {
            Advance::Blocked | Advance::More => {
                if matches!(step, Advance::More) {
                    cx.io.again(Source::Http, connection_token(key));
                }
                if exchange.hold && exchange.answer.continued() {
                    exchange.hold = false;
                    exchange.stop_pace(cx);
                    return true;
                }
                if exchange.hold && exchange.unsent().is_empty() && !exchange.is_paced() {
                    exchange.set_pace(id, CONTINUE_WAIT, cx);
                }
                let limit = exchange.request.options.first_byte_limit;
                if !exchange.answer.is_awaited() {
                    exchange.limit_until(id, Time::NEVER, cx);
                } else if exchange.is_sent() && !limit.is_zero() && !exchange.is_limited() {
                    exchange.limit_until(id, cx.now() + limit, cx);
                }
            }
            Advance::Complete { open } => self.complete(id, key, open, cx),
            Advance::Broken(Broken::Closed, _) if connection.reused && exchange.may_retry() => {
                exchange.rewind();
                self.restart(id, key, cx);
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
        false
    }

    /// The same request on another connection.
    fn restart(&mut self, id: OpId, key: Key, cx: &mut Cx<'_>) {
        self.close(key, cx);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.disarm(cx);
        }
        self.begin(id, cx);
    }

    /// An answer is there: told, or followed where it leads.
    fn complete(&mut self, id: OpId, key: Key, open: bool, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let mut answer = exchange.answer.take();
        if answer.status == 417
            && let Some(bytes) = exchange.unexpecting()
        {
            exchange.restart(bytes);
            return self.restart(id, key, cx);
        }
        let Some(mut exchange) = self.exchanges.remove(&id) else { return };
        exchange.disarm(cx);
        let reusable = open && exchange.answer.keep_alive() && exchange.is_sent();
        let next = exchange.redirected(&answer, &mut self.tls);
        // First, so that the next request may have it.
        self.release(key, reusable, cx);
        match next {
            Ok(None) => {
                let url = exchange.led_to();
                answer.course = Box::new(HttpCourse { url, total: exchange.age(cx.now()), ..exchange.times });
                cx.done(id, Outcome::Http(answer));
            }
            Ok(Some(mut next)) => {
                next.times.redirected = next.age(cx.now());
                self.exchanges.insert(id, next);
                self.begin(id, cx);
            }
            Err(failure) => cx.done(id, Outcome::Failed(failure)),
        }
    }

    /// Tells a failure; closes what the exchange had.
    fn fail(&mut self, id: OpId, failure: Failure, cx: &mut Cx<'_>) {
        let Some(mut exchange) = self.exchanges.remove(&id) else { return };
        cx.done(id, Outcome::Failed(failure));
        exchange.disarm(cx);
        if let Stage::Linked(key) = exchange.stage {
            self.close(key, cx);
        }
        for key in exchange.attempts {
            self.close(key, cx);
        }
    }

    fn phase(&self, id: OpId) -> Phase {
        let Some(exchange) = self.exchanges.get(&id) else { return Phase::Queue };
        match exchange.stage {
            Stage::New => Phase::Queue,
            Stage::Resolving => Phase::Resolve,
            Stage::Connecting => Phase::Connect,
            Stage::Linked(key) => match self.connections.get(key).map(|c| c.state) {
                Some(State::Handshake) => Phase::Tls,
                Some(State::Busy) if !exchange.is_sent() => Phase::Send,
                Some(State::Busy) if exchange.answer.is_awaited() => Phase::Wait,
                Some(State::Busy) => Phase::Receive,
                _ => Phase::Connect,
            },
        }
    }
}

/// The backend of a URL, `scheme://host:port`; `None` if it is no URL. What the host leads on to counts for it.
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
        let mut exchange = match Exchange::new(request, &mut self.tls, self.limits.body) {
            Ok(exchange) => exchange,
            Err(failure) => return cx.done(id, Outcome::Failed(failure)),
        };
        exchange.started = cx.now();
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
            About::Limit(id) => {
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.limit_passed();
                    let phase = self.phase(id);
                    let text = match phase {
                        Phase::Wait => "no answer in time",
                        _ => "not connected in time",
                    };
                    self.fail(id, Failure::new(Why::Timeout, phase, text), cx);
                }
            }
            About::Pace(id) => {
                let Some(exchange) = self.exchanges.get_mut(&id) else { return };
                exchange.pace_passed();
                match exchange.stage {
                    Stage::Linked(key) if exchange.hold && !exchange.answer.is_final() => {
                        exchange.hold = false;
                        self.advance(key, false, cx);
                    }
                    Stage::Connecting => self.try_next(id, cx),
                    _ => {}
                }
            }
            About::Connection(key) => {
                if let Some(connection) = self.connections.get_mut(key)
                    && connection.state == State::Idle
                {
                    connection.timer = None;
                    self.drop_idle(key, cx);
                }
            }
        }
    }

    fn resolved(&mut self, key: Key, result: Result<Vec<IpAddr>, String>, cx: &mut Cx<'_>) {
        if let About::Limit(id) = parse_token(key)
            && let Some(exchange) = self.exchanges.get(&id)
            && let Stage::Resolving = exchange.stage
        {
            match result {
                Ok(ips) => self.has_addresses(id, &ips, cx),
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
        Some((exchange.shown(), self.phase(id)))
    }
}
