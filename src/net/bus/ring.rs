//! One single-producer single-consumer ring of records in shared memory.
//!
//! `head` and `tail` count bytes for ever; the place of a byte is its count modulo the size. A record
//! is a 16-byte header and its payload, padded to 8 bytes. Only the producer writes `tail`, only the
//! consumer writes `head`.

use crate::store::shm::Region;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

/// Bytes before the data: tail, head and the want-space flag, a cache line each.
pub const CONTROL: usize = 192;
const TAIL: usize = 0;
const HEAD: usize = 64;
const WANT: usize = 128;

/// Bytes of a record's header.
pub const HEADER: usize = 16;
/// First piece of a value; it starts with the value's length (8 bytes) unless it is also the last.
pub const PIECE_FIRST: u8 = 1;
/// Last piece of a value.
pub const PIECE_LAST: u8 = 2;

const MAGIC: u16 = 0x5bcd;

/// What stands before a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Payload bytes in this record.
    pub len: u32,
    /// What it is.
    pub kind: u8,
    /// Piece flags.
    pub flags: u8,
    /// Incarnation of the sender.
    pub from: u32,
    /// Incarnation it is meant for.
    pub to: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.flags;
        out[6..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.from.to_le_bytes());
        out[12..16].copy_from_slice(&self.to.to_le_bytes());
        out
    }

    fn decode(b: &[u8; HEADER]) -> Option<Header> {
        if u16::from_le_bytes([b[6], b[7]]) != MAGIC {
            return None;
        }
        Some(Header {
            len: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            kind: b[4],
            flags: b[5],
            from: u32::from_le_bytes([b[8], b[9], b[10], b[11]]),
            to: u32::from_le_bytes([b[12], b[13], b[14], b[15]]),
        })
    }
}

/// What [`Ring::pop`] found.
pub enum Pop {
    /// Nothing.
    Empty,
    /// Nonsense; the ring was emptied.
    Corrupt,
    /// A record; its payload was appended.
    Record(Header),
}

/// One process's view of a ring, as its producer or as its consumer.
pub struct Ring {
    region: Rc<Region>,
    base: usize,
    size: u64,
    /// The own end's count, which nobody else writes.
    own: u64,
    /// The other end's count as last seen.
    other: u64,
}

impl Ring {
    /// The ring of `size` data bytes (a power of two) at byte `base`.
    pub fn new(region: Rc<Region>, base: usize, size: u64) -> Ring {
        Ring { region, base, size, own: 0, other: 0 }
    }

    /// The producer's view, going on where a dead producer stopped.
    pub fn into_producer(mut self) -> Ring {
        self.own = self.load(TAIL);
        self.other = self.load(HEAD);
        self
    }

    /// The consumer's view, going on where a dead consumer stopped.
    pub fn into_consumer(mut self) -> Ring {
        self.own = self.load(HEAD);
        self.other = self.load(TAIL);
        self
    }

    #[inline]
    fn load(&self, at: usize) -> u64 {
        self.region.word(self.base + at).map_or(0, |w| w.load(Acquire))
    }

    #[inline]
    fn store(&self, at: usize, value: u64) {
        if let Some(w) = self.region.word(self.base + at) {
            w.store(value, Release);
        }
    }

    #[inline]
    fn write(&self, at: u64, data: &[u8]) {
        let start = (at & (self.size - 1)) as usize;
        let (first, rest) = data.split_at(data.len().min(self.size as usize - start));
        self.region.put(self.base + CONTROL + start, first);
        if !rest.is_empty() {
            self.region.put(self.base + CONTROL, rest);
        }
    }

    #[inline]
    fn read_header(&self, at: u64) -> Option<Header> {
        // Records start at multiples of 8, so a header may wrap in its middle.
        let mut raw = [0; HEADER];
        let start = (at & (self.size - 1)) as usize;
        let (first, rest) = raw.split_at_mut(HEADER.min(self.size as usize - start));
        let ok = self.region.get(self.base + CONTROL + start, first) && self.region.get(self.base + CONTROL, rest);
        if ok { Header::decode(&raw) } else { None }
    }

    /// Producer: writes a record behind those written before, without publishing it. False if there
    /// is no room.
    #[inline]
    pub fn push(&mut self, header: Header, prefix: &[u8], payload: &[u8]) -> bool {
        let len = prefix.len() + payload.len();
        let need = (HEADER + len).next_multiple_of(8) as u64;
        if self.own.wrapping_sub(self.other).saturating_add(need) > self.size {
            self.other = self.load(HEAD);
            if self.own.wrapping_sub(self.other).saturating_add(need) > self.size {
                return false;
            }
        }
        let at = self.own;
        self.write(at, &Header { len: len as u32, ..header }.encode());
        self.write(at.wrapping_add(HEADER as u64), prefix);
        self.write(at.wrapping_add((HEADER + prefix.len()) as u64), payload);
        self.own = at.wrapping_add(need);
        true
    }

    /// Producer: makes everything pushed so far visible.
    #[inline]
    pub fn publish(&self) {
        self.store(TAIL, self.own);
    }

    /// Producer: asks the consumer to wake it when at least half of the ring is free.
    pub fn want_space(&self) {
        if let Some(w) = self.region.word(self.base + WANT) {
            w.store(1, SeqCst);
        }
        fence(SeqCst);
    }

    /// Whether at least half of the ring is free.
    pub fn half_free(&self) -> bool {
        self.load(TAIL).wrapping_sub(self.load(HEAD)) <= self.size / 2
    }

    /// Consumer: whether the producer is to be woken now. Answers true once per request.
    pub fn producer_wants_space(&self) -> bool {
        fence(SeqCst);
        let Some(w) = self.region.word(self.base + WANT) else { return false };
        w.load(Relaxed) != 0 && self.half_free() && w.swap(0, SeqCst) != 0
    }

    /// Consumer: whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.load(TAIL) == self.own
    }

    /// Consumer: takes the next record and appends its payload to `into`. The record is off the ring
    /// before the caller sees it: if handling it kills this process, the next one does not meet it.
    #[inline]
    pub fn pop(&mut self, into: &mut Vec<u8>) -> Pop {
        if self.other == self.own {
            self.other = self.load(TAIL);
            if self.other == self.own {
                return Pop::Empty;
            }
        }
        let there = self.other.wrapping_sub(self.own);
        let header = if there <= self.size && there >= HEADER as u64 { self.read_header(self.own) } else { None };
        let Some(header) = header else { return self.give_up() };
        let need = (HEADER as u64 + u64::from(header.len)).next_multiple_of(8);
        if need > there {
            return self.give_up();
        }
        let start = (self.own.wrapping_add(HEADER as u64) & (self.size - 1)) as usize;
        let len = header.len as usize;
        let first = len.min(self.size as usize - start);
        let data = self.base + CONTROL;
        if !self.region.append_to(data + start, first, into) || !self.region.append_to(data, len - first, into) {
            return self.give_up();
        }
        self.own = self.own.wrapping_add(need);
        self.store(HEAD, self.own);
        Pop::Record(header)
    }

    fn give_up(&mut self) -> Pop {
        self.own = self.load(TAIL);
        self.other = self.own;
        self.store(HEAD, self.own);
        Pop::Corrupt
    }
}
