//! How much each source sends: a table of addresses that all processes count in. It is memory of a fixed size made before
//! the fork; every change is one atomic exchange, so nobody waits for anybody and a process that dies in between leaves
//! nothing behind but a count.
//!
//! A source has a place in one bucket of eight. When all eight are taken, the one that has been quiet for the longest time
//! and is no flooder gives way: a flood from many addresses costs memory of nobody.

use super::shm::Region;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Sources that are remembered at a time.
pub const SOURCES: usize = 1 << 15;
const WAYS: usize = 8;
const SLOT: usize = 64;

// Words of a slot.
const KEY: usize = 0;
const COUNTS: usize = 8;
const SEEN: usize = 16;
const HIGH: usize = 24;
const LOW: usize = 32;

/// Most requests per unit that a limit can allow.
pub const MOST: u16 = 65_000;

/// What is too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Time in which requests are counted.
    pub unit: Duration,
    /// Requests that a source may send in that time.
    pub most: u16,
    /// How long a source is remembered after its last request.
    pub keep: Duration,
}

/// What a request makes of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is below the limit.
    Below,
    /// This request is the first above the limit.
    Over,
    /// It was above the limit already.
    Flooder,
}

/// A source, as operators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its address.
    pub ip: IpAddr,
    /// Requests in the unit before the present one.
    pub before: u16,
    /// Requests in the present unit.
    pub now: u16,
    /// Microseconds since 1970 of its last request.
    pub seen: i64,
    /// It is above the limit.
    pub flooder: bool,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Floods {
    region: Rc<Region>,
    key: RandomState,
}

/// Requests by unit of time: which unit, how many in the one before, how many in it.
#[derive(Clone, Copy)]
struct Counts {
    unit: u32,
    before: u16,
    now: u16,
}

impl Counts {
    fn of(word: u64) -> Counts {
        Counts { unit: (word >> 32) as u32, before: (word >> 16) as u16, now: word as u16 }
    }

    fn word(self) -> u64 {
        u64::from(self.unit) << 32 | u64::from(self.before) << 16 | u64::from(self.now)
    }

    /// The same, seen from a unit on.
    fn at(self, unit: u32) -> Counts {
        match unit.wrapping_sub(self.unit) {
            0 => self,
            1 => Counts { unit, before: self.now, now: 0 },
            _ => Counts { unit, before: 0, now: 0 },
        }
    }

    fn over(self, limit: &Limit) -> bool {
        self.before > limit.most || self.now > limit.most
    }
}

fn unit_of(now: i64, limit: &Limit) -> u32 {
    let unit = i64::try_from(limit.unit.as_micros()).unwrap_or(i64::MAX).max(1);
    // Which one it is matters to its neighbours only.
    (now / unit) as u32
}

fn halves(ip: IpAddr) -> (u64, u64) {
    let bits = match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
        IpAddr::V6(a) => a.to_bits(),
    };
    ((bits >> 64) as u64, bits as u64)
}

impl Floods {
    /// An empty table.
    pub fn new() -> io::Result<Floods> {
        Ok(Floods { region: Region::anonymous(SOURCES * SLOT)?, key: RandomState::new() })
    }

    fn word(&self, slot: usize, which: usize) -> Option<&AtomicU64> {
        self.region.word(slot * SLOT + which)
    }

    fn read(&self, slot: usize, which: usize) -> u64 {
        self.word(slot, which).map_or(0, |w| w.load(Relaxed))
    }

    fn write(&self, slot: usize, which: usize, value: u64) {
        if let Some(word) = self.word(slot, which) {
            word.store(value, Relaxed);
        }
    }

    fn name(&self, ip: IpAddr) -> u64 {
        self.key.hash_one(halves(ip)) | 1
    }

    fn bucket(name: u64) -> std::ops::Range<usize> {
        let first = (name >> 8) as usize % (SOURCES / WAYS) * WAYS;
        first..first + WAYS
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        let name = self.name(ip);
        Floods::bucket(name).find(|slot| self.read(*slot, KEY) == name)
    }

    /// Counts a request; `now` in microseconds since 1970.
    pub fn count(&self, ip: IpAddr, now: i64, limit: &Limit) -> Verdict {
        let ip = ip.to_canonical();
        let Some(slot) = self.place(ip, now, limit) else { return Verdict::Below };
        self.write(slot, SEEN, now.unsigned_abs());
        let Some(word) = self.word(slot, COUNTS) else { return Verdict::Below };
        let unit = unit_of(now, limit);
        let counted = word.fetch_update(Relaxed, Relaxed, |old| {
            let counts = Counts::of(old).at(unit);
            Some(Counts { now: counts.now.saturating_add(1), ..counts }.word())
        });
        let before = Counts::of(counted.unwrap_or_default()).at(unit);
        if before.over(limit) {
            Verdict::Flooder
        } else if before.now >= limit.most {
            Verdict::Over
        } else {
            Verdict::Below
        }
    }

    /// The place of a source; a new one takes that of who is least missed.
    fn place(&self, ip: IpAddr, now: i64, limit: &Limit) -> Option<usize> {
        let name = self.name(ip);
        // Once more if another process has just taken the same place.
        for _ in 0..4 {
            if let Some(slot) = self.find(ip) {
                return Some(slot);
            }
            let unit = unit_of(now, limit);
            let rank = |slot: &usize| {
                let (key, seen) = (self.read(*slot, KEY), self.read(*slot, SEEN));
                let flooder = key != 0 && Counts::of(self.read(*slot, COUNTS)).at(unit).over(limit);
                (flooder, if key == 0 { 0 } else { seen })
            };
            let slot = Floods::bucket(name).min_by_key(rank)?;
            let word = self.word(slot, KEY)?;
            let old = word.load(Relaxed);
            // The counts first: whoever finds the name finds them.
            if word.compare_exchange(old, 0, Relaxed, Relaxed).is_err() {
                continue;
            }
            let (high, low) = halves(ip);
            self.write(slot, COUNTS, Counts { unit, before: 0, now: 0 }.word());
            self.write(slot, SEEN, now.unsigned_abs());
            self.write(slot, HIGH, high);
            self.write(slot, LOW, low);
            if word.compare_exchange(0, name, Relaxed, Relaxed).is_ok() {
                return Some(slot);
            }
        }
        None
    }

    /// Every source that is remembered.
    pub fn sources(&self, now: i64, limit: &Limit) -> Vec<Source> {
        let unit = unit_of(now, limit);
        let keep = i64::try_from(limit.keep.as_micros()).unwrap_or(i64::MAX);
        let one = |slot: usize| {
            let seen = i64::try_from(self.read(slot, SEEN)).unwrap_or(i64::MAX);
            if self.read(slot, KEY) == 0 || now.saturating_sub(seen) > keep {
                return None;
            }
            let counts = Counts::of(self.read(slot, COUNTS)).at(unit);
            let bits = u128::from(self.read(slot, HIGH)) << 64 | u128::from(self.read(slot, LOW));
            let ip = IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical();
            Some(Source { ip, before: counts.before, now: counts.now, seen, flooder: counts.over(limit) })
        };
        (0..SOURCES).filter_map(one).collect()
    }

    /// Forgets a source; whether it was known.
    pub fn forget(&self, ip: IpAddr) -> bool {
        let Some(slot) = self.find(ip.to_canonical()) else { return false };
        self.write(slot, COUNTS, 0);
        self.write(slot, KEY, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { unit: Duration::from_secs(2), most: 3, keep: Duration::from_secs(120) };
    const SECOND: i64 = 1_000_000;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_source_above_the_limit_is_one_until_it_has_kept_quiet_for_a_unit() {
        let t = Floods::new().unwrap();
        let say = |at: i64| t.count(ip(1), 1000 * SECOND + at, &LIMIT);
        assert_eq!([say(0), say(1), say(2)], [Verdict::Below; 3]);
        assert_eq!([say(3), say(4)], [Verdict::Over, Verdict::Flooder]);
        // The next unit: it is still known; few requests there, and it is free in the one after.
        assert_eq!([say(2 * SECOND), say(3 * SECOND)], [Verdict::Flooder; 2]);
        assert_eq!(say(4 * SECOND), Verdict::Below);
        // Another one was never bothered.
        assert_eq!(t.count(ip(2), 1000 * SECOND, &LIMIT), Verdict::Below);
        // Silence for a long time.
        assert_eq!(say(1000 * SECOND), Verdict::Below);
    }

    #[test]
    fn addresses_of_both_families() {
        let t = Floods::new().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        for a in [v6, mapped, "192.0.2.1".parse().unwrap()] {
            t.count(a, SECOND, &LIMIT);
        }
        let mut all = t.sources(SECOND, &LIMIT);
        all.sort_by_key(|s| s.ip);
        let all: Vec<(String, u16)> = all.iter().map(|s| (s.ip.to_string(), s.now)).collect();
        assert_eq!(all, [("192.0.2.1".to_string(), 2), ("2001:db8::1".to_string(), 1)]);
        assert!(t.forget(v6) && !t.forget(v6));
        assert_eq!(t.sources(SECOND, &LIMIT).len(), 1);
        assert_eq!(t.sources(500 * SECOND, &LIMIT).len(), 0);
    }

    #[test]
    fn many_sources_do_not_free_a_flooder() {
        let t = Floods::new().unwrap();
        for _ in 0..5 {
            t.count(ip(7), SECOND, &LIMIT);
        }
        for n in 0..500_000u32 {
            t.count(ip(0x0b00_0000 + n), SECOND + 1, &LIMIT);
        }
        assert_eq!(t.count(ip(7), SECOND + 2, &LIMIT), Verdict::Flooder);
        assert!(t.sources(SECOND, &LIMIT).len() <= SOURCES);
    }
}
