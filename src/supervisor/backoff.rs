//! When a seat gets its next tenant: at once, unless its tenants keep dying.

use crate::base::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// That many deaths ...
const DEATHS: usize = 5;
/// ... within this time mean that something is wrong.
const WITHIN: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A tenant that lived so long ends the caution.
const CALM: Duration = Duration::from_secs(60);

/// The memory of one seat.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: VecDeque<Time>,
    delay: Option<Duration>,
}

impl Backoff {
    /// A tenant born at `born` died `now`: how long to wait for the next one; `None` for not at all.
    pub(super) fn died(&mut self, born: Time, now: Time) -> Option<Duration> {
        if now.since(born) >= CALM {
            *self = Backoff::default();
        }
        self.deaths.push_back(now);
        while self.deaths.len() > DEATHS {
            self.deaths.pop_front();
        }
        if let Some(delay) = self.delay {
            self.delay = Some((delay * 2).min(LONGEST));
        } else if self.deaths.len() == DEATHS && self.deaths.front().is_some_and(|t| now.since(*t) <= WITHIN) {
            self.delay = Some(FIRST);
        }
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    #[test]
    fn five_deaths_in_ten_seconds_slow_it_down() {
        let mut b = Backoff::default();
        let delays: Vec<_> = (0..12).map(|i| b.died(at(i), at(i)).map_or(0, |d| d.as_secs())).collect();
        assert_eq!(delays, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(b.died(at(20), at(80)), None);
    }

    #[test]
    fn rare_deaths_do_not() {
        let mut b = Backoff::default();
        assert!((0..50).all(|i| b.died(at(i * 3), at(i * 3 + 3)).is_none()));
    }
}
