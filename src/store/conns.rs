//! Which process has which stream connection: a table in shared memory.
//!
//! A connection (a file descriptor) lives in one worker; another worker that wants to send on it
//! finds here whom to ask. Each worker writes only its own part of the table, so there is no lock
//! that a dead process could hold; a row carries a sequence number that is odd while it is
//! written, and whoever reads such a row, or one that changed under its eyes, passes it by. Rows
//! name the incarnation of their worker: those of a dead one are void, whatever they say, and its
//! replacement wipes its part before use.
//!
//! Not finding a connection is never an error: the sender opens one of its own.

use crate::base::Key;
use crate::store::shm::Region;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;

/// Names one connection of the server, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ConnId {
    /// The worker that has it.
    pub worker: u16,
    /// Which process of that number.
    pub incarnation: u32,
    /// Its key there.
    pub key: Key,
}

/// Bits of the parts of a [`ConnId::number`], from the lowest: place, generation, incarnation, worker.
const NUMBER_BITS: [u32; 4] = [20, 20, 12, 10];

fn low(n: u64, bits: u32) -> u64 {
    n & ((1 << bits) - 1)
}

impl ConnId {
    /// A number for scripts (`$conid`): greater than 0, and the same in every worker. Of large parts only the lower bits
    /// are in it.
    pub fn number(&self) -> i64 {
        let parts = [
            u64::from(self.key.index) + 1,
            u64::from(self.key.generation),
            u64::from(self.incarnation),
            u64::from(self.worker),
        ];
        let mut at = 0;
        let mut number = 0;
        for (part, bits) in parts.into_iter().zip(NUMBER_BITS) {
            number |= low(part, bits) << at;
            at += bits;
        }
        number as i64
    }

    /// The worker that a number names; `None` if it is no number of a connection.
    pub fn worker_of(number: i64) -> Option<usize> {
        let [place, generation, incarnation, _] = NUMBER_BITS;
        let number = u64::try_from(number).ok().filter(|n| low(*n, place) != 0)?;
        usize::try_from(number >> (place + generation + incarnation)).ok()
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.key.index, self.key.generation)
    }
}

/// What a connection is looked up by: how it carries messages (a number of the caller's), and the
/// peer's address, or one that the peer gave as an alias (RFC 5923).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnKey {
    /// Transport.
    pub transport: u8,
    /// The peer.
    pub addr: SocketAddr,
}

const ROW_BYTES: usize = 64;
/// How many rows a key may stand in.
const WINDOW: usize = 8;

/// The whole table; made by main before it forks.
#[derive(Clone, Debug)]
pub struct ConnTable {
    region: Rc<Region>,
    workers: usize,
    /// Rows of each worker; a power of two.
    rows: usize,
}

/// A row as it is stored, in words.
type Row = [u64; 6];

impl ConnKey {
    fn words(&self) -> [u64; 3] {
        // The scope of a link-local address does not tell connections apart.
        let ip = match self.addr.ip() {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        };
        let ip = u128::from_be_bytes(ip);
        let kind = u64::from(self.transport) << 16 | u64::from(self.addr.port()) | 1 << 63;
        [kind, (ip >> 64) as u64, ip as u64]
    }

    fn hash(&self) -> u64 {
        let mut h: u64 = 0x9e37_79b9_7f4a_7c15;
        for w in self.words() {
            h = (h ^ w).wrapping_mul(0xff51_afd7_ed55_8ccd);
            h ^= h >> 32;
        }
        h
    }
}

impl ConnTable {
    /// A table for `workers` workers with room for about `connections` connections in each.
    pub fn new(workers: usize, connections: usize) -> io::Result<ConnTable> {
        let too_large = || io::Error::from(io::ErrorKind::InvalidInput);
        // A connection has a row for its address and may have some for aliases.
        let rows =
            connections.max(64).checked_mul(3).and_then(usize::checked_next_power_of_two).ok_or_else(too_large)?;
        let workers = workers.max(1);
        let bytes = rows.checked_mul(ROW_BYTES).and_then(|n| n.checked_mul(workers)).ok_or_else(too_large)?;
        let head = workers * ROW_BYTES;
        let region = Region::anonymous(bytes.checked_add(head).ok_or_else(too_large)?)?;
        Ok(ConnTable { region, workers, rows })
    }

    fn head(&self, worker: usize) -> usize {
        worker * ROW_BYTES
    }

    fn offset(&self, worker: usize, row: usize) -> usize {
        self.workers * ROW_BYTES + (worker * self.rows + (row & (self.rows - 1))) * ROW_BYTES
    }

    /// Reads a row; `None` if it is being written.
    fn read(&self, at: usize) -> Option<Row> {
        let word = |i: usize| self.region.word(at + i * 8);
        let before = word(0)?.load(Acquire);
        if before & 1 == 1 {
            return None;
        }
        let mut row = [0; 6];
        for (i, slot) in row.iter_mut().enumerate() {
            *slot = word(i + 1)?.load(Relaxed);
        }
        fence(Acquire);
        (word(0)?.load(Relaxed) == before).then_some(row)
    }

    fn write(&self, at: usize, row: Row) {
        let Some(sequence) = self.region.word(at) else { return };
        // Odd already if whoever wrote here last died over it.
        let odd = sequence.load(Relaxed) | 1;
        sequence.store(odd, Relaxed);
        fence(Release);
        for (i, value) in row.iter().enumerate() {
            if let Some(word) = self.region.word(at + (i + 1) * 8) {
                word.store(*value, Relaxed);
            }
        }
        sequence.store(odd.wrapping_add(1), Release);
    }

    /// A connection to `key` that some worker has, rather one on `listener`, and its listener. `living`
    /// tells the present incarnation of a worker, if there is one.
    pub fn find(&self, key: &ConnKey, listener: u16, living: &dyn Fn(usize) -> Option<u32>) -> Option<(ConnId, u16)> {
        let (wanted, hash) = (key.words(), key.hash());
        let mut found = None;
        for worker in 0..self.workers {
            let Some(incarnation) = living(worker) else { continue };
            for i in 0..WINDOW {
                let at = self.offset(worker, (hash as usize).wrapping_add(i));
                let Some([kind, high, low, owner, conn, _]) = self.read(at) else { continue };
                let same = kind & !(0xffff << 32) == wanted[0] && [high, low] == wanted[1..];
                if !same || owner != u64::from(incarnation) {
                    continue;
                }
                let key = Key { index: conn as u32, generation: (conn >> 32) as u32 };
                let id = ConnId { worker: worker as u16, incarnation, key };
                let number = (kind >> 32) as u16;
                if number == listener {
                    return Some((id, number));
                }
                found.get_or_insert((id, number));
            }
        }
        found
    }

    /// The connection with this number, if its worker lives and has told of it, and its listener.
    pub fn numbered(&self, number: i64, living: &dyn Fn(usize) -> Option<u32>) -> Option<(ConnId, u16)> {
        let worker = ConnId::worker_of(number).filter(|w| *w < self.workers)?;
        let incarnation = living(worker)?;
        for row in 0..self.rows {
            let Some([kind, _, _, owner, conn, _]) = self.read(self.offset(worker, row)) else { continue };
            if kind == 0 || owner != u64::from(incarnation) {
                continue;
            }
            let key = Key { index: conn as u32, generation: (conn >> 32) as u32 };
            let id = ConnId { worker: worker as u16, incarnation, key };
            if id.number() == number {
                return Some((id, (kind >> 32) as u16));
            }
        }
        None
    }

    /// How many connections all workers have, as they last said.
    pub fn total(&self) -> usize {
        (0..self.workers)
            .filter_map(|w| self.region.word(self.head(w)))
            .map(|w| usize::try_from(w.load(Relaxed)).unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add)
    }

    /// The part of one worker, wiped, for that worker to write.
    pub fn part(&self, worker: usize, incarnation: u32) -> ConnRows {
        let worker = worker.min(self.workers - 1);
        for row in 0..self.rows {
            let at = self.offset(worker, row);
            // Untouched pages stay untouched.
            if self.region.word(at).is_some_and(|w| w.load(Relaxed) != 0) {
                self.write(at, [0; 6]);
            }
        }
        let part = ConnRows { table: self.clone(), worker, incarnation, rows: HashMap::new() };
        part.set_open(0);
        part
    }
}

/// The rows of one worker, with its own list of which is where.
#[derive(Debug)]
pub struct ConnRows {
    table: ConnTable,
    worker: usize,
    incarnation: u32,
    rows: HashMap<(ConnKey, Key), usize>,
}

impl ConnRows {
    /// The whole table.
    pub fn table(&self) -> &ConnTable {
        &self.table
    }

    /// The worker.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The name of connection `key` of this worker.
    pub fn id(&self, key: Key) -> ConnId {
        ConnId { worker: self.worker as u16, incarnation: self.incarnation, key }
    }

    /// Tells all that connection `conn`, which leaves from `listener`, leads to `key`. False if
    /// there is no room: then only its owner knows.
    pub fn insert(&mut self, key: ConnKey, listener: u16, conn: Key) -> bool {
        if self.rows.contains_key(&(key, conn)) {
            return true;
        }
        let hash = key.hash() as usize;
        for i in 0..WINDOW {
            let at = self.table.offset(self.worker, hash.wrapping_add(i));
            // Nobody else writes here: what is read is what was written.
            if self.table.read(at).is_none_or(|row| row[0] != 0) {
                continue;
            }
            let [kind, high, low] = key.words();
            let conn_word = u64::from(conn.generation) << 32 | u64::from(conn.index);
            let kind = kind | u64::from(listener) << 32;
            self.table.write(at, [kind, high, low, u64::from(self.incarnation), conn_word, 0]);
            self.rows.insert((key, conn), at);
            return true;
        }
        false
    }

    /// Takes it back.
    pub fn remove(&mut self, key: ConnKey, conn: Key) {
        if let Some(at) = self.rows.remove(&(key, conn)) {
            self.table.write(at, [0; 6]);
        }
    }

    /// Says how many connections this worker has.
    pub fn set_open(&self, n: usize) {
        if let Some(word) = self.table.region.word(self.table.head(self.worker)) {
            word.store(n as u64, Relaxed);
        }
    }
}

/// The address as it is compared: a version 4 address in a version 6 one is the former.
pub fn plain(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), addr.port()),
        IpAddr::V4(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u16) -> ConnKey {
        ConnKey { transport: 1, addr: SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5060)) }
    }

    fn conn(index: u32) -> Key {
        Key { index, generation: 7 }
    }

    #[test]
    fn connections_have_numbers() {
        let id =
            |worker, incarnation, index, generation| ConnId { worker, incarnation, key: Key { index, generation } };
        let mut all: Vec<i64> = [
            id(0, 0, 0, 0),
            id(0, 1, 0, 0),
            id(1, 1, 0, 0),
            id(1, 1, 1, 0),
            id(1, 1, 0, 1),
            id(1023, 4095, 1_048_000, 9),
        ]
        .iter()
        .map(ConnId::number)
        .collect();
        assert!(all.iter().all(|n| *n > 0), "{all:?}");
        assert_eq!(ConnId::worker_of(all[2]), Some(1));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert_eq!((ConnId::worker_of(0), ConnId::worker_of(-1)), (None, None));
        // Found by it in the table.
        let table = ConnTable::new(2, 100).unwrap();
        let (mut a, mut b) = (table.part(0, 1), table.part(1, 4));
        a.insert(key(1), 0, conn(1));
        b.insert(key(2), 3, conn(1));
        let living = |w: usize| [Some(1), Some(4)].get(w).copied().flatten();
        assert_eq!(table.numbered(b.id(conn(1)).number(), &living), Some((b.id(conn(1)), 3)));
        assert_eq!(table.numbered(b.id(conn(2)).number(), &living), None);
        assert_eq!(table.numbered(b.id(conn(1)).number(), &|w| Some(if w == 1 { 5 } else { 1 })), None, "it has died");
        assert_eq!(table.numbered(i64::MAX, &living), None);
    }

    #[test]
    fn rows_come_and_go() {
        let table = ConnTable::new(2, 100).unwrap();
        let mut a = table.part(0, 1);
        let mut b = table.part(1, 4);
        let living = |w: usize| [Some(1), Some(4)][w];
        assert!(a.insert(key(1), 0, conn(1)) && b.insert(key(2), 3, conn(2)) && b.insert(key(1), 2, conn(5)));
        assert_eq!(table.find(&key(1), 0, &living), Some((a.id(conn(1)), 0)));
        assert_eq!(table.find(&key(1), 2, &living), Some((b.id(conn(5)), 2)), "the listener decides");
        assert_eq!(table.find(&key(1), 9, &living), Some((a.id(conn(1)), 0)), "but is no condition");
        assert_eq!(table.find(&key(2), 3, &living), Some((b.id(conn(2)), 3)));
        let tls = ConnKey { transport: 2, ..key(1) };
        assert_eq!(table.find(&tls, 0, &living), None);
        a.remove(key(1), conn(1));
        assert_eq!(table.find(&key(1), 0, &living), Some((b.id(conn(5)), 2)));
    }

    #[test]
    fn what_a_dead_worker_had_is_void() {
        let table = ConnTable::new(2, 100).unwrap();
        let mut a = table.part(1, 1);
        assert!(a.insert(key(1), 0, conn(1)));
        a.set_open(1);
        assert_eq!(table.find(&key(1), 0, &|_| Some(2)), None);
        assert_eq!(table.find(&key(1), 0, &|_| None), None);
        assert_eq!(table.total(), 1);
        let mut again = table.part(1, 2);
        assert_eq!((table.total(), table.find(&key(1), 0, &|_| Some(1))), (0, None), "wiped");
        assert!(again.insert(key(1), 0, conn(9)));
        assert_eq!(table.find(&key(1), 0, &|_| Some(2)), Some((again.id(conn(9)), 0)));
    }

    #[test]
    fn a_row_that_was_never_finished_is_passed_by_and_used_again() {
        let table = ConnTable::new(1, 100).unwrap();
        let mut a = table.part(0, 1);
        assert!(a.insert(key(1), 0, conn(1)));
        // As if the writer had died in the middle.
        let at = a.rows[&(key(1), conn(1))];
        table.region.word(at).unwrap().fetch_or(1, Relaxed);
        assert_eq!(table.find(&key(1), 0, &|_| Some(1)), None);
        let mut b = table.part(0, 2);
        assert!(b.insert(key(1), 0, conn(2)));
        assert_eq!(table.find(&key(1), 0, &|_| Some(2)), Some((b.id(conn(2)), 0)));
    }

    #[test]
    fn as_many_as_were_promised_find_room() {
        let table = ConnTable::new(1, 2048).unwrap();
        let mut a = table.part(0, 1);
        let placed = (0..2048).filter(|n| a.insert(key(*n), 0, conn(u32::from(*n)))).count();
        assert!(placed > 2030, "{placed}");
        let found = (0..2048).filter(|n| table.find(&key(*n), 0, &|_| Some(1)).is_some()).count();
        assert_eq!(found, placed);
    }

    #[test]
    fn a_mapped_address_is_its_version_4_self() {
        let v4 = SocketAddr::from(([1, 2, 3, 4], 5));
        assert_eq!(plain("[::ffff:1.2.3.4]:5".parse().unwrap()), v4);
        assert_eq!(plain(v4), v4);
    }
}
