//! One stream connection: a pipe of bytes, the framer behind it, what waits to be written, and
//! the times it must keep.

use super::{StreamConfig, Why};
use crate::base::{Time, TimerKey};
use crate::net::listen::Transport;
use crate::net::pipe::Pipe;
use crate::sip::framer::Framer;
use crate::store::ConnKey;
use smallvec::SmallVec;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Being made.
    Connecting,
    /// It carries messages.
    Open,
    /// Nothing is read any more; it ends when everything is written.
    Closing,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    pub(super) pipe: Pipe,
    /// How it carries messages.
    pub transport: Transport,
    /// The listener it came in on, or stands for in Via.
    pub listener: u16,
    /// The peer.
    pub remote: SocketAddr,
    /// The peer made it.
    pub accepted: bool,
    /// How far it is.
    pub state: State,
    /// When it was made.
    pub opened: Time,
    /// When bytes last went either way.
    pub used: Time,
    /// Until then it is not idle.
    pub(super) kept: Time,
    /// How long it may be idle, if that is its own affair.
    pub(super) lifetime: Option<Duration>,
    /// A script wants to hear of its end.
    pub(super) told: bool,
    /// Messages received.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// What it is found by: the peer's address and aliases.
    pub keys: SmallVec<[ConnKey; 1]>,
    /// Other workers that have sent on it: they are told when it ends.
    pub users: SmallVec<[u16; 4]>,
    pub(super) framer: Framer,
    /// Since when a message is incomplete.
    pub(super) partial: Option<Time>,
    /// Since when nothing could be written.
    pub(super) stalled: Option<Time>,
    /// Why it is closing.
    pub(super) ending: Option<Why>,
    /// It is on the list of those that have something to write.
    pub(super) dirty: bool,
    pub(super) timer: Option<(Time, TimerKey)>,
    out: Vec<u8>,
    written: usize,
}

/// What became of an attempt to write.
#[derive(Debug)]
pub(super) enum Flushed {
    /// Everything is with the system.
    All,
    /// The system takes no more now.
    Blocked,
}

impl Conn {
    pub(super) fn new(
        pipe: Pipe,
        transport: Transport,
        listener: u16,
        remote: SocketAddr,
        accepted: bool,
        now: Time,
        framer: Framer,
    ) -> Conn {
        Conn {
            pipe,
            transport,
            listener,
            remote,
            accepted,
            state: if accepted { State::Open } else { State::Connecting },
            opened: now,
            used: now,
            kept: now,
            lifetime: None,
            told: false,
            received: 0,
            sent: 0,
            keys: SmallVec::new(),
            users: SmallVec::new(),
            framer,
            partial: None,
            stalled: None,
            ending: None,
            dirty: false,
            timer: None,
            out: Vec::new(),
            written: 0,
        }
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.out.len() - self.written
    }

    /// Our own address.
    pub fn local(&self) -> Option<SocketAddr> {
        self.pipe.local()
    }

    /// Queues bytes.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
        self.out.extend_from_slice(bytes);
    }

    /// Writes what waits, as far as the system takes it.
    pub(super) fn flush(&mut self, now: Time) -> io::Result<Flushed> {
        if self.state == State::Connecting {
            return Ok(Flushed::Blocked);
        }
        while self.written < self.out.len() {
            match self.pipe.write(self.out.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n;
                    self.used = now;
                    self.stalled = None;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert(now);
                    return Ok(Flushed::Blocked);
                }
                Err(e) => return Err(e),
            }
        }
        self.stalled = None;
        self.written = 0;
        self.out.clear();
        self.out.shrink_to(16 << 10);
        Ok(Flushed::All)
    }

    /// When the next of its times is up, and what that means.
    pub(super) fn deadline(&self, config: &StreamConfig) -> (Time, Why) {
        let after = |since: Time, limit: Duration| if limit.is_zero() { Time::NEVER } else { since + limit };
        if self.state == State::Connecting {
            return (after(self.opened, config.connect_timeout), Why::ConnectTimeout);
        }
        let mut first = (after(self.used, self.lifetime.unwrap_or(config.lifetime)).max(self.kept), Why::Idle);
        let mut also = |at: Time, why: Why| {
            if at < first.0 {
                first = (at, why);
            }
        };
        if let Some(since) = self.partial {
            also(after(since, config.max_msg_time), Why::SlowMessage);
        }
        if let Some(since) = self.stalled {
            also(after(since, config.send_timeout), Why::SlowReader);
        }
        if self.accepted && self.received == 0 {
            also(after(self.opened, config.first_message), Why::Silent);
        }
        if self.state == State::Closing {
            also(after(self.used, config.send_timeout), Why::SlowReader);
        }
        first
    }
}
