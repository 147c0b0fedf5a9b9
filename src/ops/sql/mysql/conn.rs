//! One connection of a pool: resolve, connect, TLS, login, then one query at a time.

use super::core::{Core, Event};
use crate::base::{Time, TimerKey};
use crate::net::stream::{Stream, Target};
use crate::ops::{Failure, OpId, Phase, Why};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Bytes read in one turn before others have theirs.
const READ_BUDGET: usize = 256 * 1024;

/// How far a connection is.
pub(super) enum Stage {
    /// The name is being looked up.
    Resolve,
    /// A socket is about to connect; `None` = none yet, a Unix socket's queue was full.
    Connect(Option<Stream>),
    /// TLS handshake.
    Tls(Stream),
    /// Login and queries.
    Open(Stream),
}

/// Whom a connection serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// On the way to its first [`Event::Ready`].
    Opening,
    /// Nobody.
    Idle,
    /// An operation.
    Op(OpId),
    /// The pool's side connection: it ends what cancelled operations left running.
    Side,
    /// Tidying up after an answer.
    Closing,
}

pub(super) struct Conn {
    pub pool: usize,
    /// Which of the pool's servers it is with, or on its way to.
    pub server: usize,
    /// Servers to try if this one cannot be reached.
    pub servers: VecDeque<usize>,
    pub stage: Stage,
    pub core: Core,
    pub used_by: Use,
    /// Addresses still to try; the first is the one in work.
    pub targets: VecDeque<Target>,
    /// Whether it has served an operation before the present one.
    pub reused: bool,
    /// Whether it is known to be lost while its last events are acted on.
    pub doomed: bool,
    /// When the present query was given to it.
    pub since: Time,
    /// When the attempt to connect, or the idle time, ends.
    pub deadline: Time,
    /// When the present address is given up.
    pub address_deadline: Time,
    pub timer: Option<TimerKey>,
    pub tls: Option<(Arc<ClientConfig>, String)>,
    pub last_error: Option<Failure>,
}

/// What advancing came to.
pub(super) enum Step {
    /// Waits for the socket.
    Blocked,
    /// The budget is used up.
    More,
    /// The connection is lost.
    Lost(Failure),
    /// This address is lost; there may be others.
    NextAddress(Failure),
}

impl Conn {
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Resolve => Phase::Resolve,
            Stage::Connect(_) => Phase::Connect,
            Stage::Tls(_) => Phase::Tls,
            Stage::Open(_) => self.core.phase(),
        }
    }

    pub fn stream(&self) -> Option<&Stream> {
        match &self.stage {
            Stage::Resolve => None,
            Stage::Connect(s) => s.as_ref(),
            Stage::Tls(s) | Stage::Open(s) => Some(s),
        }
    }

    /// Whether the present query has been given to the system completely.
    pub fn fully_written(&self) -> bool {
        self.core.output().is_empty() && self.stream().is_none_or(Stream::flushed)
    }

    /// Goes on as far as it can without waiting.
    pub fn advance(&mut self, hangup: bool, scratch: &mut [u8], events: &mut Vec<Event>) -> Step {
        if let Stage::Connect(stream) = &mut self.stage {
            let Some(s) = stream else { return Step::Blocked };
            match s.connected() {
                Ok(false) => return Step::Blocked,
                Err(e) => return Step::NextAddress(self.refused(&e)),
                Ok(true) => {}
            }
            if let Err(e) = s.keep_alive() {
                return Step::NextAddress(self.refused(&e));
            }
            if let Some(s) = stream.take() {
                self.stage = Stage::Open(s);
            }
        }
        if let Stage::Tls(stream) = &mut self.stage {
            match stream.handshake() {
                Ok(false) => return Step::Blocked,
                Err(e) => {
                    return Step::Lost(Failure::new(tls_failure(&e), Phase::Tls, e.to_string()));
                }
                Ok(true) => {}
            }
            self.stage = match std::mem::replace(&mut self.stage, Stage::Resolve) {
                Stage::Tls(s) => Stage::Open(s),
                other => other,
            };
            self.core.tls_established(events);
        }
        let step = self.read(hangup, scratch, events);
        if !matches!(step, Step::Blocked | Step::More) {
            return step;
        }
        match self.flush() {
            Ok(()) => step,
            Err(failure) => Step::Lost(failure),
        }
    }

    /// Reads what is there, up to the budget, and feeds it to the core.
    fn read(&mut self, hangup: bool, scratch: &mut [u8], events: &mut Vec<Event>) -> Step {
        let phase = self.phase();
        let Stage::Open(stream) = &mut self.stage else { return Step::Blocked };
        let mut total = 0;
        loop {
            match stream.read(scratch) {
                Ok(0) => return Step::Lost(Failure::new(Why::Closed, self.phase(), "closed by the server")),
                Ok(n) => {
                    total += n;
                    self.core.feed(scratch.get(..n).unwrap_or_default(), events);
                    if events.iter().any(|e| matches!(e, Event::Fatal(_) | Event::StartTls)) {
                        return Step::Blocked;
                    }
                    // A short read means that the socket is empty; whether it is also at its end only a
                    // further read tells, and the poll has said so.
                    if n < scratch.len() && !hangup && !stream.is_tls() {
                        return Step::Blocked;
                    }
                    if total >= READ_BUDGET {
                        return Step::More;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Step::Blocked,
                Err(e) => {
                    let why = if e.kind() == io::ErrorKind::InvalidData { Why::Garbage } else { Why::Closed };
                    return Step::Lost(Failure::new(why, phase, e.to_string()));
                }
            }
        }
    }

    /// Writes what the core holds.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let phase = self.phase();
        let Stage::Open(stream) = &mut self.stage else { return Ok(()) };
        let lost = |e: io::Error| Failure::new(Why::Closed, phase, e.to_string());
        while !self.core.output().is_empty() {
            match stream.write(self.core.output()) {
                Ok(0) => return Err(lost(io::ErrorKind::WriteZero.into())),
                Ok(n) => self.core.wrote(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(lost(e)),
            }
        }
        stream.flush().map(|_| ()).map_err(lost)
    }

    /// Moves the socket into the TLS handshake that the core has asked for.
    pub fn start_tls(&mut self) -> Result<(), Failure> {
        self.flush()?;
        if !self.core.output().is_empty() {
            // 36 bytes on an empty socket always fit.
            return Err(Failure::new(Why::System, Phase::Tls, "the socket takes no data"));
        }
        let Some((config, name)) = self.tls.clone() else {
            return Err(Failure::new(Why::System, Phase::Tls, "no TLS configuration"));
        };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Resolve) {
            Stage::Open(mut s) => {
                let failed = |e: io::Error| Failure::new(Why::BadRequest, Phase::Tls, format!("{name}: {e}"));
                s.start_tls(config, &name).map_err(failed)?;
                Stage::Tls(s)
            }
            other => other,
        };
        Ok(())
    }

    /// What a failed connect means.
    pub fn refused(&self, e: &io::Error) -> Failure {
        let why = match e.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => Why::System,
            _ => Why::Refused,
        };
        let target = self.targets.front().map(|t| format!("{t}: ")).unwrap_or_default();
        Failure::new(why, Phase::Connect, format!("{target}{e}"))
    }
}

/// What a failed handshake is about: the certificate, the protocol, or the connection.
fn tls_failure(e: &io::Error) -> Why {
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => Why::Refused,
        Some(_) => Why::Garbage,
        None => Why::Closed,
    }
}
