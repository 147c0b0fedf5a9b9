//! One connection: asks a proxy for its way, sends, receives.

use super::answer::{Answer, Broken, Expected};
use super::exchange::{Exchange, HostKey};
use crate::base::{Time, TimerKey};
use crate::net::stream::Stream;
use crate::ops::{Failure, OpId, Phase, Why};
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

/// Bytes read or written in one turn for one connection. What a decoder makes of them counts.
const BUDGET: usize = 256 * 1024;
/// Bytes read at once where they may become many.
const SMALL_READ: usize = 2 * 1024;
/// Largest head of a proxy's answer.
const MAX_PROXY_HEAD: usize = 16 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    /// A proxy is asked to connect it to the host.
    Tunnel,
    Handshake,
    Busy,
    Idle,
}

/// The question to a proxy, and its answer.
pub(super) struct Tunnel {
    head: Vec<u8>,
    written: usize,
    answer: Answer,
}

impl Tunnel {
    /// The question is `head`.
    pub(super) fn new(head: Vec<u8>) -> Tunnel {
        // RFC 9110 section 9.3.6: no body counts, whatever the fields say.
        let expected = Expected { to_head: true, max_body: 0, max_head: MAX_PROXY_HEAD, decode: false };
        Tunnel { head, written: 0, answer: Answer::new(expected) }
    }
}

/// One connection to a host.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) host: Rc<HostKey>,
    pub(super) state: State,
    /// Whose it is; `None` only when idle.
    pub(super) exchange: Option<OpId>,
    /// Whether it has served before.
    pub(super) reused: bool,
    /// When it was begun.
    pub(super) born: Time,
    /// Idle: when it is closed.
    pub(super) timer: Option<TimerKey>,
    pub(super) tunnel: Option<Box<Tunnel>>,
}

/// What one call of [`Connection::advance`] ended in.
pub(super) enum Advance {
    /// The socket would block.
    Blocked,
    /// The budget is used up.
    More,
    /// The answer is complete. `open`: the connection was not closed with it.
    Complete { open: bool },
    /// The connection is of no use any more.
    Broken(Broken, String),
}

impl Connection {
    /// Moves the question to the proxy along. `Ok(true)`: the way to the host is open.
    pub(super) fn ask_proxy(&mut self) -> Result<bool, Failure> {
        let Some(tunnel) = &mut self.tunnel else { return Ok(true) };
        let failed = |why: Why, text: &str| Failure::new(why, Phase::Connect, format!("proxy: {text}"));
        while let Some(rest) = tunnel.head.get(tunnel.written..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => break,
                Ok(n) => tunnel.written = tunnel.written.saturating_add(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(failed(Why::Closed, &e.to_string())),
            }
        }
        let mut buffer = [0; SMALL_READ];
        loop {
            let complete = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(failed(Why::Closed, "it closed the connection")),
                Ok(n) => tunnel.answer.feed(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(failed(Why::Closed, &e.to_string())),
            };
            match complete {
                Ok(false) => {}
                Ok(true) => break,
                Err(e) => return Err(failed(Why::Garbage, &e.to_string())),
            }
        }
        let status = tunnel.answer.take().status;
        if !(200..300).contains(&status) {
            return Err(failed(Why::Refused, &format!("it answered CONNECT with {status}")));
        }
        // The host says nothing before it is spoken to.
        if tunnel.answer.has_surplus() || tunnel.written < tunnel.head.len() {
            return Err(failed(Why::Garbage, "it answered CONNECT with more than a head"));
        }
        self.tunnel = None;
        Ok(true)
    }

    /// Sends and receives as far as the socket lets. `readable`: there may be something to read.
    pub(super) fn advance(&mut self, exchange: &mut Exchange, readable: bool) -> Advance {
        let mut budget = BUDGET;
        let mut write_error = None;
        while !exchange.unsent().is_empty() {
            let rest = exchange.unsent();
            match self.stream.write(rest.get(..budget).unwrap_or(rest)) {
                Ok(0) => break,
                Ok(n) => {
                    exchange.wrote(n);
                    budget = budget.saturating_sub(n);
                    if budget == 0 {
                        return Advance::More;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // The server may have answered and closed without reading all of it.
                Err(e) => {
                    write_error = Some(e);
                    break;
                }
            }
        }
        if let Err(e) = self.stream.flush() {
            write_error = Some(e);
        }
        if readable || write_error.is_some() {
            match self.receive(exchange) {
                Advance::Blocked => {}
                other => return other,
            }
        }
        match write_error {
            Some(e) => Advance::Broken(Broken::Closed, e.to_string()),
            None => Advance::Blocked,
        }
    }

    fn receive(&mut self, exchange: &mut Exchange) -> Advance {
        let mut buffer = [0; 16 * 1024];
        let mut budget = BUDGET;
        while budget > 0 {
            let answer = &mut exchange.answer;
            let (size, had) = (if answer.may_swell() { SMALL_READ } else { buffer.len() }, answer.body_len());
            let fed = match self.stream.read(buffer.get_mut(..size).unwrap_or_default()) {
                Ok(0) => match answer.end() {
                    Ok(()) => return Advance::Complete { open: false },
                    Err(e) => Err(e),
                },
                Ok(n) => {
                    let fed = answer.feed(buffer.get(..n).unwrap_or_default());
                    budget = budget.saturating_sub(n.max(answer.body_len().saturating_sub(had)));
                    fed
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Advance::Blocked,
                Err(e) if e.kind() == ErrorKind::InvalidData => {
                    return Advance::Broken(Broken::Garbage("not TLS"), e.to_string());
                }
                Err(e) => return Advance::Broken(Broken::Closed, e.to_string()),
            };
            match fed {
                Ok(true) => return Advance::Complete { open: true },
                Ok(false) => {}
                Err(e) => return Advance::Broken(e, e.to_string()),
            }
        }
        Advance::More
    }
}
