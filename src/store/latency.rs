//! How long operations take, by backend: histograms in shared memory that main can read.
//!
//! A backend has a slot with its name, claimed by whichever process sees it first; two processes
//! that claim at the same moment get two slots of the same name, which are added up when read. Each process
//! only ever adds to figures of its own. Backends beyond [`SLOTS`] share the first slot.

use crate::store::shm::Region;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

/// Backends that are told apart.
pub const SLOTS: usize = 128;
/// Upper ends of the buckets in milliseconds; one more bucket takes what is longer.
pub const BOUNDS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
const BUCKETS: usize = BOUNDS.len() + 1;

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The backend did what it was asked.
    Ok = 0,
    /// It refused, broke off, or could not be reached.
    Failed = 1,
    /// The deadline passed.
    Timeout = 2,
    /// It was not asked: the queue is full or the circuit open.
    Refused = 3,
    /// Nobody wanted it any more.
    Cancelled = 4,
}

/// Every ending, with its word.
pub const ENDINGS: [(Ending, &str); 5] = [
    (Ending::Ok, "ok"),
    (Ending::Failed, "failed"),
    (Ending::Timeout, "timeout"),
    (Ending::Refused, "refused"),
    (Ending::Cancelled, "cancelled"),
];

/// Bytes of a slot's head: state, length, name.
const HEAD: usize = 256;
const NAME: usize = HEAD - 16;
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const NAMED: u64 = 2;

/// Words of one process's figures of one slot, a multiple of a cache line.
const WORDS: usize = (ENDINGS.len() * BUCKETS + 4).next_multiple_of(8);
const RUNNING: usize = ENDINGS.len() * BUCKETS;
const WAITING: usize = RUNNING + 1;
const OPEN: usize = RUNNING + 2;
const OPENED: usize = RUNNING + 3;

/// The slot that backends beyond the limit share.
const OTHERS: usize = 0;

/// Names one backend's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(usize);

/// The whole table; made by main before it forks.
#[derive(Clone, Debug)]
pub struct LatencyTable {
    region: Rc<Region>,
    rows: usize,
}

/// What is known of one backend, over all processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendReading {
    /// Kind of operation.
    pub kind: String,
    /// The backend's name, cut off after some 200 bytes.
    pub name: String,
    /// Operations by ending and bucket.
    pub buckets: [[u64; BUCKETS]; ENDINGS.len()],
    /// Operations in flight now.
    pub running: u64,
    /// Operations that wait for their turn now.
    pub waiting: u64,
    /// Processes whose circuit is open now.
    pub open: u64,
    /// How often a circuit has opened.
    pub opened: u64,
}

impl BackendReading {
    /// Operations that ended so.
    pub fn total(&self, ending: Ending) -> u64 {
        self.buckets.get(ending as usize).map_or(0, |b| b.iter().sum())
    }

    /// Upper end of the bucket, in milliseconds, below which so many per cent of those that were carried
    /// out (well, badly, or up to their deadline) lie; `None` if there are none, or beyond the last bound.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let done = [Ending::Ok, Ending::Failed, Ending::Timeout];
        let at = |bucket: usize| -> u64 {
            done.iter().map(|e| self.buckets.get(*e as usize).and_then(|b| b.get(bucket)).copied().unwrap_or(0)).sum()
        };
        let all: u64 = done.iter().map(|e| self.total(*e)).sum();
        let wanted = all.saturating_mul(percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, bound) in BOUNDS.iter().enumerate() {
            seen += at(bucket);
            if all > 0 && seen >= wanted {
                return Some(*bound);
            }
        }
        None
    }
}

impl LatencyTable {
    /// A table for so many processes.
    pub fn new(rows: usize) -> io::Result<LatencyTable> {
        let rows = rows.max(1);
        let row = WORDS * 8 * SLOTS;
        let len = rows.checked_mul(row).and_then(|n| n.checked_add(HEAD * SLOTS)).ok_or(io::ErrorKind::InvalidInput)?;
        let table = LatencyTable { region: Region::anonymous(len)?, rows };
        table.name(OTHERS, "other (others)");
        Ok(table)
    }

    /// The row of process `index`, for that process to write.
    pub fn row(&self, index: usize) -> Latencies {
        Latencies { table: self.clone(), base: HEAD * SLOTS + index.min(self.rows - 1) * WORDS * 8 * SLOTS }
    }

    /// Claims a slot for a name; false if somebody has it.
    fn name(&self, slot: usize, label: &str) -> bool {
        let at = slot * HEAD;
        let Some(state) = self.region.word(at) else { return false };
        if state.compare_exchange(FREE, CLAIMED, AcqRel, Relaxed).is_err() {
            return false;
        }
        let bytes = cut(label).as_bytes();
        self.region.put(at + 16, bytes);
        if let Some(length) = self.region.word(at + 8) {
            length.store(bytes.len() as u64, Relaxed);
        }
        state.store(NAMED, Release);
        true
    }

    fn label(&self, slot: usize) -> Option<String> {
        let at = slot * HEAD;
        if self.region.word(at)?.load(Acquire) != NAMED {
            return None;
        }
        let length = usize::try_from(self.region.word(at + 8)?.load(Relaxed)).ok()?.min(NAME);
        let mut bytes = vec![0; length];
        self.region.get(at + 16, &mut bytes).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Clears what process `index` showed as going on: it died with it.
    pub fn clear_gauges(&self, index: usize) {
        let row = self.row(index);
        for slot in 0..SLOTS {
            if self.label(slot).is_some() {
                row.stands(Slot(slot), 0, 0, false);
            }
        }
    }

    /// Every backend that was asked for something, by kind and name.
    pub fn read(&self) -> Vec<BackendReading> {
        let mut all: Vec<BackendReading> = Vec::new();
        for slot in 0..SLOTS {
            let Some(label) = self.label(slot) else { continue };
            let (kind, name) = label.split_once(' ').unwrap_or(("", &label));
            let at = match all.iter().position(|r| r.kind == kind && r.name == name) {
                Some(at) => at,
                None => {
                    let buckets = [[0; BUCKETS]; ENDINGS.len()];
                    let (kind, name) = (kind.to_string(), name.to_string());
                    all.push(BackendReading { kind, name, buckets, running: 0, waiting: 0, open: 0, opened: 0 });
                    all.len() - 1
                }
            };
            let Some(reading) = all.get_mut(at) else { continue };
            for process in 0..self.rows {
                let row = self.row(process);
                let get = |word| row.get(Slot(slot), word);
                for (ending, buckets) in reading.buckets.iter_mut().enumerate() {
                    for (bucket, n) in buckets.iter_mut().enumerate() {
                        *n = n.wrapping_add(get(ending * BUCKETS + bucket));
                    }
                }
                reading.running += get(RUNNING);
                reading.waiting += get(WAITING);
                reading.open += get(OPEN);
                reading.opened += get(OPENED);
            }
        }
        all.retain(|r| {
            let counted = r.buckets.iter().flatten().any(|n| *n > 0);
            counted || r.running > 0 || r.waiting > 0
        });
        all.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        all
    }
}

/// A label that fits into a slot.
fn cut(label: &str) -> &str {
    let mut end = label.len().min(NAME);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.get(..end).unwrap_or_default()
}

/// One process's row of the table.
#[derive(Clone, Debug)]
pub struct Latencies {
    table: LatencyTable,
    base: usize,
}

impl Latencies {
    /// The slot of a backend, made if there is none.
    pub fn slot(&self, kind: &str, name: &str) -> Slot {
        let label = format!("{kind} {name}");
        let label = cut(&label);
        for slot in 0..SLOTS {
            if self.table.label(slot).is_some_and(|l| l == label) || self.table.name(slot, label) {
                return Slot(slot);
            }
        }
        Slot(OTHERS)
    }

    fn offset(&self, slot: Slot, word: usize) -> usize {
        self.base + (slot.0 * WORDS + word) * 8
    }

    fn get(&self, slot: Slot, word: usize) -> u64 {
        self.table.region.word(self.offset(slot, word)).map_or(0, |w| w.load(Relaxed))
    }

    fn add(&self, slot: Slot, word: usize) {
        // Only this process writes the row: a load and a store are enough.
        if let Some(w) = self.table.region.word(self.offset(slot, word)) {
            w.store(w.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Counts one operation.
    pub fn count(&self, slot: Slot, ending: Ending, took: Duration) {
        let ms = u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|b| ms <= *b).unwrap_or(BOUNDS.len());
        self.add(slot, ending as usize * BUCKETS + bucket);
    }

    /// Shows what goes on now. Backends that share a slot do not show it.
    pub fn stands(&self, slot: Slot, running: u64, waiting: u64, open: bool) {
        if slot.0 == OTHERS {
            return;
        }
        for (word, value) in [(RUNNING, running), (WAITING, waiting), (OPEN, u64::from(open))] {
            if let Some(w) = self.table.region.word(self.offset(slot, word)) {
                w.store(value, Relaxed);
            }
        }
    }

    /// A circuit has opened.
    pub fn opened(&self, slot: Slot) {
        self.add(slot, OPENED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn processes_add_up() {
        let t = LatencyTable::new(3).unwrap();
        let (a, b) = (t.row(0), t.row(2));
        let (sa, sb) = (a.slot("mysql", "mysql://h/d"), b.slot("mysql", "mysql://h/d"));
        assert_eq!(sa, sb);
        assert_ne!(sa, a.slot("http", "mysql://h/d"));
        a.count(sa, Ending::Ok, MS(1));
        a.count(sa, Ending::Ok, Duration::from_micros(1001));
        b.count(sb, Ending::Ok, MS(700));
        b.count(sb, Ending::Timeout, MS(60_000));
        a.stands(sa, 3, 1, true);
        b.stands(sb, 1, 0, false);
        b.opened(sb);
        let all = t.read();
        assert_eq!(all.len(), 1, "backends nobody asked are not shown");
        let r = &all[0];
        assert_eq!((r.kind.as_str(), r.name.as_str()), ("mysql", "mysql://h/d"));
        assert_eq!((r.total(Ending::Ok), r.total(Ending::Timeout), r.total(Ending::Failed)), (3, 1, 0));
        assert_eq!((r.running, r.waiting, r.open, r.opened), (4, 1, 1, 1));
        assert_eq!((r.percentile(25), r.percentile(50), r.percentile(75)), (Some(1), Some(2), Some(1000)));
        assert_eq!(r.percentile(99), None);
        t.clear_gauges(0);
        assert_eq!((t.read()[0].running, t.read()[0].open), (1, 0));
    }

    #[test]
    fn the_number_of_backends_is_bounded() {
        let t = LatencyTable::new(1).unwrap();
        let row = t.row(0);
        for i in 0..SLOTS * 2 {
            row.count(row.slot("http", &format!("http://{i}{}", "x".repeat(300))), Ending::Failed, MS(3));
        }
        let all = t.read();
        assert_eq!(all.len(), SLOTS);
        let others = all.iter().find(|r| r.kind == "other").unwrap();
        assert_eq!(others.total(Ending::Failed) as usize, SLOTS + 1);
        assert!(all.iter().all(|r| r.name.len() <= NAME));
    }
}
