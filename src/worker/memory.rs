//! What a peak of calls has taken of the system's memory goes back when it is over: the allocator would keep it.

use super::state::Worker;
use crate::base::Time;
use crate::net::sys::trim_heap;
use std::time::Duration;

/// A fall by fewer transactions, waiting runs and replies kept for latecomers leaves nothing behind that matters.
const LEAST: usize = 10_000;
/// How long at least between two times, each of which takes some milliseconds.
const PAUSE: Duration = Duration::from_secs(5);

/// How high the water stood.
#[derive(Debug, Default)]
pub struct Tide {
    /// Most since memory was last given back.
    peak: usize,
    /// When that was.
    at: Time,
}

impl Tide {
    /// Notes what is held now; whether a quarter of the peak is over.
    fn falls(&mut self, held: usize, now: Time) -> bool {
        self.peak = self.peak.max(held);
        let fall = self.peak - held;
        if fall < LEAST || fall < self.peak / 4 || now < self.at + PAUSE {
            return false;
        }
        *self = Tide { peak: held, at: now };
        true
    }
}

impl Worker {
    /// At the end of a turn after which nothing is left to be done at this moment.
    pub(super) fn look_at_memory(&mut self) {
        let held = self.tm.len().saturating_add(self.tm.echoes()).saturating_add(self.parked.len());
        if self.tide.falls(held, self.now) {
            self.by_op.shrink_to(self.by_op.len().saturating_mul(2));
            trim_heap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_as_a_peak_falls_and_not_all_the_time() {
        let mut tide = Tide::default();
        let at = Time::from_millis;
        assert!(!tide.falls(0, at(10_000)));
        assert!(!tide.falls(100_000, at(20_000)));
        assert!(!tide.falls(80_000, at(30_000)), "a fifth");
        assert!(tide.falls(75_000, at(31_000)));
        assert!(!tide.falls(50_000, at(32_000)), "too soon");
        assert!(tide.falls(50_000, at(36_000)));
        assert!(!tide.falls(41_000, at(60_000)), "too little");
        assert!(!tide.falls(50_000, at(70_000)));
        assert!(tide.falls(0, at(80_000)));
        assert!((0..100).all(|s| !tide.falls(if s % 2 == 0 { 9_000 } else { 0 }, at(90_000 + s * 10_000))));
    }
}
