//! A hierarchical timer wheel: four levels of 256 slots, one tick a millisecond.
//!
//! Insert and cancel are O(1). A timer fires at the first [`Wheel::expire`] whose `now` has
//! reached its deadline rounded **up** to a millisecond: never early, at most one tick late.

use super::slab::{Key, Slab};
use super::time::Time;
use std::cell::Cell;

/// Names one armed timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TimerKey(Key);

const LEVELS: usize = 4;
const SLOTS: usize = 256;
const NIL: u32 = u32::MAX;

struct Entry<T> {
    tick: u64,
    value: T,
    slot: u32,
    prev: Option<Key>,
    next: Option<Key>,
}

/// Timers that carry a `T` each.
pub struct Wheel<T> {
    entries: Slab<Entry<T>>,
    heads: Vec<Option<Key>>,
    occupied: [[u64; SLOTS / 64]; LEVELS],
    now: u64,
    /// The next tick at which something fires or cascades, once it was asked for.
    next: Cell<Option<u64>>,
}

impl<T> Wheel<T> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Time) -> Self {
        Wheel {
            entries: Slab::new(),
            heads: vec![None; LEVELS * SLOTS],
            occupied: [[0; SLOTS / 64]; LEVELS],
            now: now.as_millis(),
            next: Cell::new(None),
        }
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Arms a timer for `deadline`. One in the past fires at the next [`Wheel::expire`].
    pub fn insert(&mut self, deadline: Time, value: T) -> TimerKey {
        let tick = deadline.as_micros().div_ceil(1000).max(self.now + 1);
        let key = self.entries.insert(Entry { tick, value, slot: NIL, prev: None, next: None });
        self.link(key);
        TimerKey(key)
    }

    /// Disarms; returns the value if the timer had not fired yet.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entries.get(key.0)?;
        self.unlink(key.0);
        self.entries.remove(key.0).map(|e| e.value)
    }

    /// Moves the clock to `now` and hands every due value to `fire`, in order of deadline.
    pub fn expire(&mut self, now: Time, mut fire: impl FnMut(T)) {
        let target = now.as_millis();
        while self.now < target {
            if self.entries.is_empty() {
                self.now = target;
                return;
            }
            let next = self.next_event_tick();
            if next > target {
                // Nothing happens on the way.
                self.now = target;
                return;
            }
            self.now = next;
            self.next.set(None);
            for level in 1..LEVELS {
                let shift = 8 * level as u32;
                if self.now & ((1u64 << shift) - 1) != 0 {
                    break;
                }
                self.cascade(level, ((self.now >> shift) & 255) as usize);
            }
            let slot = (self.now & 255) as usize;
            while let Some(key) = self.heads[slot] {
                self.unlink(key);
                if let Some(e) = self.entries.remove(key) {
                    fire(e.value);
                }
            }
        }
    }

    /// A point at or before the earliest deadline, at which [`Wheel::expire`] must run next.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.entries.is_empty() { None } else { Some(Time::from_millis(self.next_event_tick())) }
    }

    /// The next tick at which a slot fires or cascades.
    fn next_event_tick(&self) -> u64 {
        if let Some(next) = self.next.get() {
            return next;
        }
        let next = self.find_event_tick();
        self.next.set(Some(next));
        next
    }

    fn find_event_tick(&self) -> u64 {
        let mut best = u64::MAX;
        for level in 0..LEVELS {
            let shift = 8 * level as u32;
            let base = self.now >> shift;
            if let Some(steps) = self.next_occupied(level, (base & 255) as usize) {
                best = best.min((base + steps as u64) << shift);
            }
        }
        best.max(self.now + 1)
    }

    /// Distance (1..=256) from slot `from` to the next occupied slot of `level`.
    fn next_occupied(&self, level: usize, from: usize) -> Option<usize> {
        let words = &self.occupied[level];
        let start = (from + 1) % SLOTS;
        for i in 0..=SLOTS / 64 {
            let w = (start / 64 + i) % (SLOTS / 64);
            let mut bits = words[w];
            if i == 0 {
                bits &= u64::MAX << (start % 64);
            } else if i == SLOTS / 64 {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = w * 64 + bits.trailing_zeros() as usize;
                return Some((slot + SLOTS - start) % SLOTS + 1);
            }
        }
        None
    }

    fn cascade(&mut self, level: usize, slot: usize) {
        let at = level * SLOTS + slot;
        while let Some(key) = self.heads[at] {
            self.unlink(key);
            self.link(key);
        }
    }

    /// Puts an entry at the head of the slot its distance calls for.
    fn link(&mut self, key: Key) {
        let Some(e) = self.entries.get(key) else { return };
        let tick = e.tick;
        let delta = tick.saturating_sub(self.now);
        let (level, slot) = if delta < 1 << 8 {
            (0, tick & 255)
        } else if delta < 1 << 16 {
            (1, (tick >> 8) & 255)
        } else if delta < 1 << 24 {
            (2, (tick >> 16) & 255)
        } else {
            let far = tick.min(self.now + (1 << 32) - (1 << 24));
            (3, (far >> 24) & 255)
        };
        let at = level * SLOTS + slot as usize;
        let head = self.heads[at];
        if let Some(e) = self.entries.get_mut(key) {
            e.slot = at as u32;
            e.prev = None;
            e.next = head;
        }
        if let Some(h) = head.and_then(|h| self.entries.get_mut(h)) {
            h.prev = Some(key);
        }
        self.heads[at] = Some(key);
        self.occupied[level][slot as usize / 64] |= 1 << (slot % 64);
        if let Some(next) = self.next.get()
            && event_tick(level, tick) < next
        {
            // Far away: its slot is not that of its tick.
            self.next.set((level < LEVELS - 1).then(|| event_tick(level, tick).max(self.now + 1)));
        }
    }

    fn unlink(&mut self, key: Key) {
        let Some(e) = self.entries.get_mut(key) else { return };
        let tick = e.tick;
        let (at, prev, next) = (e.slot as usize, e.prev.take(), e.next.take());
        match prev.and_then(|p| self.entries.get_mut(p)) {
            Some(p) => p.next = next,
            None => self.heads[at] = next,
        }
        if let Some(n) = next.and_then(|n| self.entries.get_mut(n)) {
            n.prev = prev;
        }
        if self.heads[at].is_none() {
            let (level, slot) = (at / SLOTS, at % SLOTS);
            self.occupied[level][slot / 64] &= !(1 << (slot % 64));
            if self.next.get().is_some_and(|next| level == LEVELS - 1 || event_tick(level, tick) <= next) {
                self.next.set(None);
            }
        }
    }
}

/// When the slot of `level` in which a timer of `tick` lies fires or cascades.
fn event_tick(level: usize, tick: u64) -> u64 {
    let shift = 8 * level as u32;
    tick >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fire_times(deadlines_ms: &[u64], step: u64, until: u64) -> Vec<(u64, u64)> {
        let mut w = Wheel::new(Time::from_millis(5));
        for &d in deadlines_ms {
            w.insert(Time::from_millis(d), d);
        }
        let mut out = Vec::new();
        let mut now = 5;
        while now < until {
            now += step;
            w.expire(Time::from_millis(now), |d| out.push((d, now)));
        }
        assert!(w.is_empty(), "left over: {}", w.len());
        out
    }

    #[test]
    fn every_timer_fires_on_its_tick() {
        let ds = [6, 7, 255, 256, 257, 300, 511, 512, 65535, 65536, 65537, 70000, 200_000];
        for (d, at) in fire_times(&ds, 1, 200_001) {
            assert_eq!(d, at);
        }
        assert_eq!(fire_times(&ds, 1, 200_001).len(), ds.len());
    }

    #[test]
    fn jumps_lose_nothing_and_fire_nothing_early() {
        let ds: Vec<u64> = (6..5000).map(|i| i * 37 % 1_000_003 + 6).collect();
        let fired = fire_times(&ds, 977, 1_100_000);
        assert_eq!(fired.len(), ds.len());
        for (d, at) in fired {
            assert!(at >= d && at < d + 977, "{d} fired at {at}");
        }
    }

    #[test]
    fn very_far_deadlines_survive_the_horizon() {
        let far = (1u64 << 32) * 3 + 12345;
        let mut w = Wheel::new(Time::ZERO);
        w.insert(Time::from_millis(far), ());
        let mut fired = 0;
        w.expire(Time::from_millis(far - 1), |()| fired += 1);
        assert_eq!(fired, 0);
        w.expire(Time::from_millis(far), |()| fired += 1);
        assert_eq!(fired, 1);
    }

    #[test]
    fn cancelled_timers_stay_silent() {
        let mut w = Wheel::new(Time::ZERO);
        let keys: Vec<_> = (1..1000).map(|i| w.insert(Time::from_millis(i), i)).collect();
        for k in keys.iter().step_by(2) {
            assert!(w.cancel(*k).is_some());
            assert!(w.cancel(*k).is_none());
        }
        let mut n = 0;
        w.expire(Time::from_millis(2000), |v| {
            assert_eq!(v % 2, 0);
            n += 1;
        });
        assert_eq!(n, 499);
    }

    #[test]
    fn next_deadline_is_never_late() {
        let mut w = Wheel::new(Time::ZERO);
        w.insert(Time::from_micros(1_500_100), ());
        let mut hops = 0;
        let mut fired = false;
        while let Some(t) = w.next_deadline() {
            assert!(t <= Time::from_millis(1501));
            w.expire(t, |()| fired = true);
            hops += 1;
            assert!(hops < 10);
        }
        assert!(fired);
    }

    /// Against a plain list: inserts, cancels and jumps of every size, each timer on its tick.
    #[test]
    fn it_agrees_with_a_list() {
        for seed in 1..60u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below.max(1)
            };
            let mut now = random(1 << 36);
            let mut w = Wheel::new(Time::from_micros(now));
            let mut list: Vec<(u64, u64, TimerKey)> = Vec::new();
            for id in 0..3000 {
                let span = [400, 3_000, 300_000, 5_000_000, 80_000_000, 30_000_000_000][random(6) as usize];
                if random(3) > 0 {
                    let at = now + random(span);
                    list.push((at, id, w.insert(Time::from_micros(at), id)));
                } else if !list.is_empty() && random(4) == 0 {
                    let (_, id, key) = list.swap_remove(random(list.len() as u64) as usize);
                    assert_eq!(w.cancel(key), Some(id));
                }
                let next = w.next_deadline().map_or(now, |t| t.as_micros());
                let earliest = list.iter().map(|l| l.0.div_ceil(1000) * 1000).min();
                assert!(earliest.is_none_or(|e| next <= e.max(now / 1000 * 1000 + 1000)), "seed {seed}");
                now = match random(3) {
                    0 => now + random(span / 4),
                    1 => next.max(now),
                    _ => now,
                };
                let mut fired = Vec::new();
                w.expire(Time::from_micros(now), |id| fired.push(id));
                fired.sort_unstable();
                // A deadline in the tick that has begun fires with the next.
                let due = |l: &(u64, u64, TimerKey)| l.0.div_ceil(1000) <= now / 1000;
                let mut late: Vec<u64> = list.iter().filter(|l| due(l)).map(|l| l.1).collect();
                late.retain(|id| !fired.contains(id));
                assert!(fired.iter().all(|id| list.iter().any(|l| l.1 == *id && due(l))), "seed {seed}: early");
                assert!(
                    late.iter().all(|id| list.iter().any(|l| l.1 == *id && l.0 / 1000 + 1 >= now / 1000)),
                    "seed {seed}: late {late:?}"
                );
                list.retain(|l| !fired.contains(&l.1));
            }
        }
    }
}
