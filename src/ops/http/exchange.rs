//! One request and what is known of its answer; the host it is for; its connection.

use super::answer::{Answer, Broken};
use super::encode::{encode, is_idempotent};
use super::url::Url;
use crate::base::{Key, Time, TimerKey};
use crate::net::stream::Stream;
use crate::net::tls::{Tls, TlsOptions};
use crate::ops::{Failure, HttpMethod, HttpRequest, OpId, Phase, Why};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes read or written in one turn for one connection.
const BUDGET: usize = 256 * 1024;

/// Connections to the same of these are interchangeable.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(super) struct HostKey {
    pub(super) tls: Option<TlsOptions>,
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.tls.is_some(), &self.host, self.port))
    }
}

/// A host as operators see it: `scheme://host:port`.
pub(super) fn shown(tls: bool, host: &str, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
}

/// Where an exchange stands.
pub(super) enum Stage {
    New,
    Resolving,
    /// It has this connection.
    Linked(Key),
}

/// One request until its outcome is told.
pub(super) struct Exchange {
    pub(super) host: Rc<HostKey>,
    pub(super) config: Option<Arc<ClientConfig>>,
    pub(super) ip: Option<IpAddr>,
    pub(super) stage: Stage,
    bytes: Vec<u8>,
    written: usize,
    pub(super) answer: Answer,
    to_head: bool,
    max_body: usize,
    idempotent: bool,
    /// Whether it was sent again on a fresh connection already.
    pub(super) retried: bool,
    pub(super) connect_timeout: Duration,
    pub(super) connect_deadline: Time,
    pub(super) connect_timer: Option<TimerKey>,
    /// Addresses not tried yet.
    pub(super) addresses: VecDeque<SocketAddr>,
    /// What the last address said.
    pub(super) last_error: String,
}

impl Exchange {
    /// Checks a request and makes its bytes.
    pub(super) fn new(request: &HttpRequest, tls: &mut Tls, max_body: usize) -> Result<Exchange, Failure> {
        let bad = |e: &dyn fmt::Display| Failure::new(Why::BadRequest, Phase::Queue, e.to_string());
        let url = Url::parse(&request.url).map_err(|e| bad(&e))?;
        let bytes = encode(request, &url).map_err(|e| bad(&e))?;
        let options = if url.tls {
            let ca_file = match &request.ca_file {
                Some(f) => Some(String::from_utf8(f.to_vec()).map_err(|e| bad(&e))?),
                None => None,
            };
            let (verify_peer, verify_host) = (request.verify_peer, request.verify_host);
            Some(TlsOptions { verify_peer, verify_host, ca_file, alpn: Some("http/1.1") })
        } else {
            None
        };
        let config = match &options {
            Some(o) => Some(tls.config(o).map_err(|e| Failure::new(Why::System, Phase::Tls, e))?),
            None => None,
        };
        let max_body = request.max_body.min(max_body);
        let to_head = request.method == HttpMethod::Head;
        Ok(Exchange {
            host: Rc::new(HostKey { tls: options, host: url.host, port: url.port }),
            config,
            ip: url.ip,
            stage: Stage::New,
            bytes,
            written: 0,
            answer: Answer::new(to_head, max_body),
            to_head,
            max_body,
            idempotent: is_idempotent(request.method),
            retried: false,
            connect_timeout: request.connect_timeout,
            connect_deadline: Time::NEVER,
            connect_timer: None,
            addresses: VecDeque::new(),
            last_error: String::new(),
        })
    }

    /// Whether the same request may be sent once more, after a connection that had served before ended
    /// without a byte of the answer (RFC 9110 section 9.2.2).
    pub(super) fn may_retry(&self) -> bool {
        !self.retried && !self.answer.has_begun() && (self.idempotent || self.written == 0)
    }

    /// Back to the beginning.
    pub(super) fn rewind(&mut self) {
        self.retried = true;
        self.written = 0;
        self.answer = Answer::new(self.to_head, self.max_body);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.written == self.bytes.len()
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Handshake,
    Busy,
    Idle,
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
    /// Connecting: when the next address is tried. Idle: when it is closed.
    pub(super) timer: Option<TimerKey>,
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
    /// Sends and receives as far as the socket lets. `readable`: there may be something to read.
    pub(super) fn advance(&mut self, exchange: &mut Exchange, readable: bool) -> Advance {
        let mut budget = BUDGET;
        let mut write_error = None;
        while !exchange.is_sent() {
            let rest = exchange.bytes.get(exchange.written..).unwrap_or_default();
            match self.stream.write(rest.get(..budget).unwrap_or(rest)) {
                Ok(0) => break,
                Ok(n) => {
                    exchange.written += n;
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
        for _ in 0..BUDGET / buffer.len() {
            let fed = match self.stream.read(&mut buffer) {
                Ok(0) => match exchange.answer.end() {
                    Ok(()) => return Advance::Complete { open: false },
                    Err(e) => Err(e),
                },
                Ok(n) => exchange.answer.feed(buffer.get(..n).unwrap_or_default()),
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
