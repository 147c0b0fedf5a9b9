//! The bus: how the processes of one server hand values to each other.
//!
//! One single-producer single-consumer ring in shared memory per ordered pair of processes, one
//! eventfd per consumer. A producer writes the record's bytes first and the ring's tail last, so
//! whoever crashes while pushing has published nothing. A consumer that is about to sleep says so
//! (flag, fence, look again); only then does a producer spend the system call that wakes it.
//!
//! A value that is large against the ring goes in pieces and is put together by the receiver. Every
//! value names the incarnation it is meant for: what was sent to a process that died is dropped by
//! its replacement, unless its kind has the [`ANY_INCARNATION`] bit. Nothing read from a ring is
//! trusted: a record that makes no sense empties the ring and is counted.

mod ring;

use crate::store::shm::Region;
use ring::{HEADER, Header, PIECE_FIRST, PIECE_LAST, Ring};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A kind with this bit is meant for whoever sits at that index, also for a replacement that was
/// born after it was sent (a received message; not an answer to something the dead one asked).
pub const ANY_INCARNATION: u8 = 0x80;

/// How many values in a row are taken from one ring before the next ring has its turn.
const RING_QUOTA: u32 = 32;

/// Sizes of a bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusConfig {
    /// Number of processes.
    pub peers: usize,
    /// How many of them, the first ones, talk with everybody. The others talk with these only, so that many
    /// processes that do not need each other take no rings.
    pub hubs: usize,
    /// Bytes per ring (rounded up to a power of two, at least 4096). Memory is taken only once touched.
    pub ring_bytes: usize,
    /// Largest value in bytes; the most that one sender can make one receiver hold.
    pub max_value: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        BusConfig { peers: 1, hubs: usize::MAX, ring_bytes: 1 << 20, max_value: 8 << 20 }
    }
}

/// Why a value was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusError {
    /// The ring has no room now. See [`Bus::want_space`].
    Full,
    /// The incarnation it was meant for has died.
    Gone,
    /// Larger than the bus carries at all.
    TooLarge,
    /// No such process, or the sender itself.
    NoSuchPeer,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BusError::Full => "the bus is full",
            BusError::Gone => "the receiver has died",
            BusError::TooLarge => "the value is too large for the bus",
            BusError::NoSuchPeer => "no such process on the bus",
        })
    }
}

impl std::error::Error for BusError {}

/// A process on the bus, as one particular life of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Its seat.
    pub index: u16,
    /// Which tenant of the seat, counted from 1.
    pub incarnation: u32,
}

/// What comes with a received value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who sent it.
    pub from: Peer,
    /// What it is; the sender's word.
    pub kind: u8,
    /// The incarnation of this seat that it was sent to.
    pub to_incarnation: u32,
}

/// One process's connection to all others.
pub trait Bus {
    /// This process.
    fn me(&self) -> Peer;

    /// How many seats the bus has, this one included.
    fn peers(&self) -> usize;

    /// The present tenant of seat `index`; `None` if there never was one.
    fn peer(&self, index: usize) -> Option<Peer>;

    /// Sends to whoever sits at `to` now.
    fn send(&mut self, to: usize, kind: u8, payload: &[u8]) -> Result<(), BusError>;

    /// Sends to this very incarnation, as an answer must.
    fn send_to(&mut self, to: Peer, kind: u8, payload: &[u8]) -> Result<(), BusError>;

    /// Takes the next value; its bytes replace what is in `into`. Turns between senders.
    fn recv(&mut self, into: &mut Vec<u8>) -> Option<Envelope>;

    /// Takes up to `budget` values; returns how many there were. Fewer than `budget` means empty.
    fn drain(&mut self, budget: usize, each: &mut dyn FnMut(Envelope, &[u8])) -> usize;

    /// Pushes on what is still left of large values. Once per turn.
    fn flush(&mut self);

    /// Asks to be woken (once) when at least half of the ring to `to` is free.
    fn want_space(&mut self, to: usize);

    /// To be called right before the poll: true if this process may sleep, and from then on it will
    /// be woken through [`Bus::fd`]; false if there is something to receive, or room that was wanted.
    fn prepare_sleep(&mut self) -> bool;

    /// What becomes readable when this process is woken. Edge-triggered polling is right for it.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// Words of one seat, a cache line: asleep flag, incarnation.
const SEAT_BYTES: usize = 64;

struct Shared {
    region: Rc<Region>,
    peers: usize,
    hubs: usize,
    ring_bytes: usize,
    max_value: usize,
    events: Vec<Rc<EventFd>>,
}

impl Shared {
    fn asleep(&self, index: usize) -> Option<&AtomicU64> {
        self.region.word(index * SEAT_BYTES)
    }

    fn incarnation(&self, index: usize) -> u32 {
        self.region.word(index * SEAT_BYTES + 8).map_or(0, |w| w.load(Acquire) as u32)
    }

    fn wake_if_asleep(&self, index: usize) {
        fence(SeqCst);
        if let Some(flag) = self.asleep(index)
            && flag.load(Relaxed) != 0
            && flag.swap(0, SeqCst) != 0
        {
            self.nudge(index);
        }
    }

    fn nudge(&self, index: usize) {
        if let Some(event) = self.events.get(index) {
            // EAGAIN only if the count is at its limit, and then it is readable anyway.
            let _ = event.write(1);
        }
    }

    /// With how many seats, the first ones, this one talks.
    fn reach(&self, index: usize) -> usize {
        if index < self.hubs { self.peers } else { self.hubs }
    }

    fn ring(&self, from: usize, to: usize) -> Ring {
        let stride = ring::CONTROL + self.ring_bytes;
        let before = from.min(self.hubs) * self.peers + from.saturating_sub(self.hubs) * self.hubs;
        Ring::new(self.region.clone(), self.peers * SEAT_BYTES + (before + to) * stride, self.ring_bytes as u64)
    }
}

/// The bus as main holds it: makes the ends, names the incarnations.
#[derive(Clone)]
pub struct BusHub {
    shared: Rc<Shared>,
}

impl fmt::Debug for BusHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusHub").field("peers", &self.shared.peers).finish_non_exhaustive()
    }
}

impl BusHub {
    /// Makes the rings and the eventfds. Before the fork.
    pub fn new(config: BusConfig) -> io::Result<BusHub> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let peers = config.peers.max(1);
        if peers > usize::from(u16::MAX) {
            return Err(invalid());
        }
        let hubs = config.hubs.clamp(1, peers);
        let ring_bytes = config.ring_bytes.max(4096).checked_next_power_of_two().ok_or_else(invalid)?;
        let pairs = hubs.checked_mul(peers + (peers - hubs));
        let rings = pairs.and_then(|n| n.checked_mul(ring::CONTROL + ring_bytes));
        let size = rings.and_then(|n| n.checked_add(peers * SEAT_BYTES)).ok_or_else(invalid)?;
        let region = Region::anonymous(size)?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let events = (0..peers)
            .map(|_| EventFd::from_value_and_flags(0, flags).map(Rc::new))
            .collect::<Result<Vec<_>, nix::Error>>()?;
        let max_value = config.max_value.max(ring_bytes).min(u32::MAX as usize / 2);
        Ok(BusHub { shared: Rc::new(Shared { region, peers, hubs, ring_bytes, max_value, events }) })
    }

    /// Declares that seat `index` has a new tenant, before that tenant is forked.
    pub fn set_incarnation(&self, index: usize, incarnation: u32) {
        if let Some(word) = self.shared.region.word(index * SEAT_BYTES + 8)
            && index < self.shared.peers
        {
            word.store(u64::from(incarnation), Release);
        }
    }

    /// Declares that some process died: whomever it may have been about to wake is woken.
    pub fn peer_died(&self) {
        for index in 0..self.shared.peers {
            self.nudge(index);
        }
    }

    /// Wakes one process.
    pub fn nudge(&self, index: usize) {
        self.shared.nudge(index);
    }

    /// The eventfds, all of which every process of the bus needs.
    pub fn fds(&self) -> Vec<RawFd> {
        self.shared.events.iter().map(|e| e.as_fd().as_raw_fd()).collect()
    }

    /// The end of the present tenant of `index`, for that process alone; `None` if there is no such seat.
    pub fn end(&self, index: usize) -> Option<BusEnd> {
        let event = self.shared.events.get(index)?.clone();
        Some(BusEnd::new(self.shared.clone(), event, index))
    }
}

/// What is left to push of a value that does not fit into the ring at once.
struct Pending {
    to_incarnation: u32,
    kind: u8,
    bytes: Vec<u8>,
    sent: usize,
}

struct Outgoing {
    ring: Ring,
    pending: Option<Pending>,
    /// Somebody waits for room.
    wanted: bool,
}

/// A value that arrives in pieces.
struct Partial {
    envelope: Envelope,
    total: usize,
    bytes: Vec<u8>,
}

struct Incoming {
    ring: Ring,
    partial: Option<Partial>,
}

/// [`Bus`] over shared-memory rings.
pub struct BusEnd {
    shared: Rc<Shared>,
    event: Rc<EventFd>,
    me: Peer,
    out: Vec<Outgoing>,
    inn: Vec<Incoming>,
    turn: usize,
    quota: u32,
    sleeping: bool,
    corrupt: u64,
    scratch: Vec<u8>,
}

impl fmt::Debug for BusEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusEnd").field("me", &self.me).finish_non_exhaustive()
    }
}

impl BusEnd {
    fn new(shared: Rc<Shared>, event: Rc<EventFd>, index: usize) -> BusEnd {
        let out = (0..shared.reach(index))
            .map(|to| Outgoing { ring: shared.ring(index, to).into_producer(), pending: None, wanted: false })
            .collect();
        let inn = (0..shared.reach(index))
            .map(|from| Incoming { ring: shared.ring(from, index).into_consumer(), partial: None })
            .collect();
        let me = Peer { index: index as u16, incarnation: shared.incarnation(index) };
        BusEnd { shared, event, me, out, inn, turn: 0, quota: 0, sleeping: false, corrupt: 0, scratch: Vec::new() }
    }

    /// How often a ring was emptied because what it held made no sense.
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }

    /// Bytes of large values that wait for room, over all receivers.
    pub fn backlog(&self) -> usize {
        self.out.iter().filter_map(|o| o.pending.as_ref()).map(|p| p.bytes.len() - p.sent).sum()
    }

    /// A value up to this size goes in one record.
    fn piece(&self) -> usize {
        (self.shared.ring_bytes / 4).min(64 << 10) - HEADER
    }

    /// Pushes pieces of the value that waits for `to`; true when none waits any more.
    fn push_on(&mut self, to: usize) -> bool {
        let piece = self.piece();
        let present = self.shared.incarnation(to);
        let Some(out) = self.out.get_mut(to) else { return true };
        let Some(pending) = &mut out.pending else { return true };
        if pending.to_incarnation != present {
            out.pending = None;
            return true;
        }
        let header =
            Header { kind: pending.kind, flags: 0, from: self.me.incarnation, to: pending.to_incarnation, len: 0 };
        let before = pending.sent;
        while pending.sent < pending.bytes.len() {
            let first = pending.sent == 0;
            let end = (pending.sent + if first { piece - 8 } else { piece }).min(pending.bytes.len());
            let flags = if first { PIECE_FIRST } else { 0 } | if end == pending.bytes.len() { PIECE_LAST } else { 0 };
            let total = (pending.bytes.len() as u64).to_le_bytes();
            let prefix: &[u8] = if first { &total } else { &[] };
            let Some(part) = pending.bytes.get(pending.sent..end) else { break };
            if !out.ring.push(Header { flags, ..header }, prefix, part) {
                break;
            }
            pending.sent = end;
        }
        let progress = pending.sent > before;
        let done = pending.sent >= pending.bytes.len();
        if done {
            out.pending = None;
        }
        if progress {
            out.ring.publish();
            self.shared.wake_if_asleep(to);
        }
        done
    }

    fn push(&mut self, to: usize, to_incarnation: u32, kind: u8, payload: &[u8]) -> Result<(), BusError> {
        if to >= self.out.len() || to == usize::from(self.me.index) {
            return Err(BusError::NoSuchPeer);
        }
        if payload.len() > self.shared.max_value {
            return Err(BusError::TooLarge);
        }
        // Order: nothing overtakes a large value that is on its way.
        if !self.push_on(to) {
            return Err(BusError::Full);
        }
        let piece = self.piece();
        let header =
            Header { kind, flags: PIECE_FIRST | PIECE_LAST, from: self.me.incarnation, to: to_incarnation, len: 0 };
        let Some(out) = self.out.get_mut(to) else { return Err(BusError::NoSuchPeer) };
        if payload.len() <= piece {
            if !out.ring.push(header, &[], payload) {
                return Err(BusError::Full);
            }
            out.ring.publish();
            self.shared.wake_if_asleep(to);
            return Ok(());
        }
        out.pending = Some(Pending { to_incarnation, kind, bytes: payload.to_vec(), sent: 0 });
        if !self.push_on(to) {
            self.want_space(to);
        }
        Ok(())
    }

    fn awake(&mut self) {
        self.sleeping = false;
        let index = usize::from(self.me.index);
        // Whoever wakes us clears the flag first: while it stands, nothing was written.
        let woken = self.shared.asleep(index).is_none_or(|flag| flag.swap(0, SeqCst) == 0);
        if woken {
            let _ = self.event.read();
        }
    }

    /// One record of the ring whose turn it is; `None` when that ring is empty.
    fn take(&mut self, into: &mut Vec<u8>) -> Option<Option<Envelope>> {
        let me = self.me;
        let from = self.turn;
        let max_value = self.shared.max_value;
        let incoming = self.inn.get_mut(from)?;
        into.clear();
        let header = match incoming.ring.pop(into) {
            ring::Pop::Empty => return None,
            ring::Pop::Corrupt => {
                self.corrupt += 1;
                incoming.partial = None;
                return Some(None);
            }
            ring::Pop::Record(header) => header,
        };
        if header.to != me.incarnation && header.kind & ANY_INCARNATION == 0 {
            incoming.partial = None;
            return Some(None);
        }
        let envelope = Envelope {
            from: Peer { index: from as u16, incarnation: header.from },
            kind: header.kind,
            to_incarnation: header.to,
        };
        if header.flags == PIECE_FIRST | PIECE_LAST {
            incoming.partial = None;
            return Some(Some(envelope));
        }
        if header.flags & PIECE_FIRST != 0 {
            incoming.partial = None;
            let Some((prefix, part)) = into.split_first_chunk::<8>() else { return Some(None) };
            let total = u64::from_le_bytes(*prefix);
            if total <= max_value as u64 && part.len() as u64 <= total {
                incoming.partial = Some(Partial { envelope, total: total as usize, bytes: part.to_vec() });
            }
            return Some(None);
        }
        let Some(partial) = &mut incoming.partial else { return Some(None) };
        if partial.envelope != envelope || partial.bytes.len() + into.len() > partial.total {
            incoming.partial = None;
            return Some(None);
        }
        partial.bytes.extend_from_slice(into);
        if header.flags & PIECE_LAST == 0 {
            return Some(None);
        }
        let whole = incoming.partial.take()?;
        if whole.bytes.len() != whole.total {
            return Some(None);
        }
        *into = whole.bytes;
        Some(Some(whole.envelope))
    }
}

impl Bus for BusEnd {
    fn me(&self) -> Peer {
        self.me
    }

    fn peers(&self) -> usize {
        self.shared.peers
    }

    fn peer(&self, index: usize) -> Option<Peer> {
        if index >= self.shared.peers {
            return None;
        }
        let incarnation = self.shared.incarnation(index);
        (incarnation != 0).then_some(Peer { index: index as u16, incarnation })
    }

    fn send(&mut self, to: usize, kind: u8, payload: &[u8]) -> Result<(), BusError> {
        let peer = self.peer(to).ok_or(BusError::NoSuchPeer)?;
        self.push(to, peer.incarnation, kind, payload)
    }

    fn send_to(&mut self, to: Peer, kind: u8, payload: &[u8]) -> Result<(), BusError> {
        let present = self.peer(usize::from(to.index)).ok_or(BusError::NoSuchPeer)?;
        if present != to {
            return Err(BusError::Gone);
        }
        self.push(usize::from(to.index), to.incarnation, kind, payload)
    }

    fn recv(&mut self, into: &mut Vec<u8>) -> Option<Envelope> {
        if self.sleeping {
            self.awake();
        }
        let mut empty = 0;
        while empty < self.inn.len() {
            if self.quota < RING_QUOTA {
                self.quota += 1;
                match self.take(into) {
                    Some(Some(envelope)) => return Some(envelope),
                    Some(None) => {
                        empty = 0;
                        continue;
                    }
                    None => empty += 1,
                }
            }
            if let Some(incoming) = self.inn.get(self.turn)
                && incoming.ring.producer_wants_space()
            {
                self.shared.nudge(self.turn);
            }
            self.quota = 0;
            self.turn = (self.turn + 1) % self.inn.len();
        }
        None
    }

    fn drain(&mut self, budget: usize, each: &mut dyn FnMut(Envelope, &[u8])) -> usize {
        let mut buffer = std::mem::take(&mut self.scratch);
        let mut count = 0;
        while count < budget {
            let Some(envelope) = self.recv(&mut buffer) else { break };
            count += 1;
            each(envelope, &buffer);
        }
        self.scratch = buffer;
        count
    }

    fn flush(&mut self) {
        for to in 0..self.out.len() {
            if self.out.get(to).is_some_and(|o| o.pending.is_some()) && !self.push_on(to) {
                self.want_space(to);
            }
        }
    }

    fn want_space(&mut self, to: usize) {
        if let Some(out) = self.out.get_mut(to) {
            out.wanted = true;
            out.ring.want_space();
        }
    }

    fn prepare_sleep(&mut self) -> bool {
        if let Some(flag) = self.shared.asleep(usize::from(self.me.index)) {
            flag.store(1, SeqCst);
        }
        self.sleeping = true;
        fence(SeqCst);
        let mut something = self.inn.iter().any(|i| !i.ring.is_empty());
        for out in self.out.iter_mut().filter(|o| o.wanted) {
            if out.ring.half_free() {
                out.wanted = false;
                something = true;
            }
        }
        if something {
            self.awake();
        }
        !something
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests;
