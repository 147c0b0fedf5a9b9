//! The worker's one poll: mio, the timer wheel and the ready list behind one small interface.
//!
//! Whoever owns an fd registers it under a [`Source`] (who) and a [`Key`] (which of theirs).
//! Polling is edge-triggered: whoever is told "readable" reads until it would block, or asks to
//! be called again ([`Io::again`]); then the next poll does not sleep. An fd is deregistered
//! before it is closed. Keys carry a generation, so a stale event finds nobody.

use crate::base::{Key, Time, TimerKey, Wheel};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

pub use mio::Interest;

/// Who is told about an event. One byte of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Source {
    /// SIP over UDP: key index = listener number.
    Udp = 1,
    /// The bus' wake-up.
    Bus = 2,
    /// The channel to main.
    Main = 3,
    /// The log pipe became writable.
    Log = 4,
    /// SIP over TCP listeners and connections.
    Tcp = 5,
    /// Name resolution.
    Resolver = 6,
    /// Transactions (timers only).
    Transaction = 7,
    /// The worker's own timers (timer routes, drain, statistics).
    Worker = 8,
    /// The operations' common deadline timers.
    Ops = 9,
    /// Engine: sleep.
    Sleep = 10,
    /// Engine: exec.
    Exec = 11,
    /// Engine: HTTP.
    Http = 12,
    /// Engine: MySQL.
    Mysql = 13,
    /// Engine: SQLite (through its helper process).
    Sqlite = 14,
    /// Engine: RADIUS.
    Radius = 15,
    /// Script locks.
    Locks = 16,
    /// Questions to other workers (timers only).
    Asks = 17,
}

impl Source {
    fn from_byte(b: u8) -> Option<Source> {
        const ALL: [Source; 17] = [
            Source::Udp,
            Source::Bus,
            Source::Main,
            Source::Log,
            Source::Tcp,
            Source::Resolver,
            Source::Transaction,
            Source::Worker,
            Source::Ops,
            Source::Sleep,
            Source::Exec,
            Source::Http,
            Source::Mysql,
            Source::Sqlite,
            Source::Radius,
            Source::Locks,
            Source::Asks,
        ];
        ALL.get(usize::from(b).wrapping_sub(1)).copied()
    }
}

fn token(source: Source, key: Key) -> mio::Token {
    mio::Token((source as usize) << 56 | (key.generation as usize & 0x00ff_ffff) << 32 | key.index as usize)
}

/// What happened to a registered fd.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Data, a connection, or end of file may be read.
    pub readable: bool,
    /// There is room to write, or a connect ended.
    pub writable: bool,
    /// The peer closed its sending side, or all of it.
    pub hangup: bool,
    /// The fd is in error.
    pub error: bool,
}

/// One thing the loop must tell somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An fd became ready.
    Ready(Source, Key, Readiness),
    /// Somebody asked to be called again.
    Again(Source, Key),
    /// A timer fired.
    Due(Source, Key),
}

/// Fds whose readiness is looked at in one turn; the others come in the next ones.
pub const READY_PER_TURN: usize = 256;

/// The poll, the wheel and the ready list of one process.
pub struct Reactor {
    poll: mio::Poll,
    events: mio::Events,
    wheel: Wheel<(Source, Key)>,
    again: Vec<(Source, Key)>,
    /// The time, if it is not the system's.
    virtual_now: Option<Time>,
}

/// What an fd's owner may do with the reactor during one turn.
pub struct Io<'a> {
    /// The time of this turn.
    pub now: Time,
    registry: &'a mio::Registry,
    wheel: &'a mut Wheel<(Source, Key)>,
    again: &'a mut Vec<(Source, Key)>,
}

/// The monotonic clock. Read once per turn by the loop; nobody below reads it.
pub fn clock() -> Time {
    match nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) {
        Ok(t) => Time::from_micros((t.tv_sec() as u64).saturating_mul(1_000_000) + t.tv_nsec() as u64 / 1000),
        Err(_) => Time::ZERO,
    }
}

impl Reactor {
    /// A poll of this process' own. Must be made after fork.
    pub fn new(now: Time) -> io::Result<Reactor> {
        Ok(Reactor {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(READY_PER_TURN),
            wheel: Wheel::new(now),
            again: Vec::new(),
            virtual_now: None,
        })
    }

    /// The same for a simulation: time stands still until [`Reactor::set_time`], and nobody sleeps.
    pub fn simulated(now: Time) -> io::Result<Reactor> {
        Ok(Reactor { virtual_now: Some(now), ..Reactor::new(now)? })
    }

    /// In a simulation: what the next turn takes for the time. It never goes back.
    pub fn set_time(&mut self, to: Time) {
        if let Some(now) = &mut self.virtual_now {
            *now = to.max(*now);
        }
    }

    /// When the next turn must come at the latest: at or before the earliest timer. At once if somebody
    /// asked to be called again.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        if self.again.is_empty() { self.wheel.next_deadline() } else { Some(now) }
    }

    /// Registers and arms on behalf of an fd's owner.
    pub fn io(&mut self, now: Time) -> Io<'_> {
        Io { now, registry: self.poll.registry(), wheel: &mut self.wheel, again: &mut self.again }
    }

    /// How many timers are armed.
    pub fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// The time now, within a turn: for measurements only.
    pub fn clock(&self) -> Time {
        self.virtual_now.unwrap_or_else(clock)
    }

    /// Sleeps until something happens (at most `cap`, and until the next timer), then appends what
    /// happened to `out`: ready fds first, then those who asked to be called again, then due timers.
    /// Returns the time after the sleep: the only clock read of the turn.
    pub fn turn(&mut self, now: Time, cap: Duration, out: &mut Vec<Event>) -> io::Result<Time> {
        let timeout = if !self.again.is_empty() || self.virtual_now.is_some() {
            Duration::ZERO
        } else {
            self.wheel.next_deadline().map_or(cap, |t| t.since(now).min(cap))
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        let now = self.virtual_now.unwrap_or_else(clock);
        for ev in self.events.iter() {
            let t = ev.token().0;
            let Some(source) = Source::from_byte((t >> 56) as u8) else { continue };
            let key = Key { index: t as u32, generation: (t >> 32) as u32 & 0x00ff_ffff };
            let r = Readiness {
                readable: ev.is_readable(),
                writable: ev.is_writable(),
                hangup: ev.is_read_closed() || ev.is_write_closed(),
                error: ev.is_error(),
            };
            out.push(Event::Ready(source, key, r));
        }
        out.extend(self.again.drain(..).map(|(s, k)| Event::Again(s, k)));
        self.wheel.expire(now, |(s, k)| out.push(Event::Due(s, k)));
        Ok(now)
    }
}

impl Io<'_> {
    /// The same for a shorter time, to hand it on by value.
    pub fn reborrow(&mut self) -> Io<'_> {
        Io { now: self.now, registry: self.registry, wheel: self.wheel, again: self.again }
    }

    /// Watches `fd`; the owner keeps it open until [`Io::deregister`].
    pub fn register(&mut self, fd: &impl AsRawFd, source: Source, key: Key, interest: Interest) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&fd.as_raw_fd()), token(source, key), interest)
    }

    /// Changes what is watched; also re-arms the edge.
    pub fn reregister(&mut self, fd: &impl AsRawFd, source: Source, key: Key, interest: Interest) -> io::Result<()> {
        self.registry.reregister(&mut SourceFd(&fd.as_raw_fd()), token(source, key), interest)
    }

    /// Stops watching. Must come before the fd is closed.
    pub fn deregister(&mut self, fd: &impl AsRawFd) {
        let raw: RawFd = fd.as_raw_fd();
        // An fd that was never registered, or is gone from the epoll set already, is no harm.
        let _ = self.registry.deregister(&mut SourceFd(&raw));
    }

    /// Arms a timer; it fires once, as [`Event::Due`].
    pub fn arm(&mut self, deadline: Time, source: Source, key: Key) -> TimerKey {
        self.wheel.insert(deadline, (source, key))
    }

    /// Disarms a timer that may have fired already.
    pub fn disarm(&mut self, timer: TimerKey) {
        self.wheel.cancel(timer);
    }

    /// Asks to be called again in the next turn, which then does not sleep.
    pub fn again(&mut self, source: Source, key: Key) {
        self.again.push((source, key));
    }
}
