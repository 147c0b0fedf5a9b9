//! How a destination stands: flags, failures in a row, how fast it answers.

use crate::base::Str;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// It is not used.
pub const INACTIVE: u8 = 1;
/// It has failed, and may go on failing a few times more.
pub const TRYING: u8 = 2;
/// The operator has taken it out.
pub const DISABLED: u8 = 4;
/// It is asked whether it lives.
pub const PROBING: u8 = 8;
/// The addresses of its name are not looked up.
pub const NO_DNS: u8 = 16;
/// It is never asked.
pub const NO_PING: u8 = 32;

/// How a destination stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Flags.
    pub flags: u8,
    /// Failures while it is being tried, or answers while it is inactive.
    pub count: u32,
    /// How fast it answers.
    pub latency: Latency,
    /// `ocrate` as it was set since; percent.
    pub spared: Option<u8>,
    /// What scripts have said about it (`ds_push_script_attrs`).
    pub script: Str,
}

/// How fast a destination answers pings, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Answers that were measured.
    pub count: u32,
    /// Pings without an answer.
    pub timeouts: u32,
    /// The slowest.
    pub max: f32,
    /// Mean of all.
    pub mean: f32,
    /// Sum of squared distances from the mean.
    pub spread: f32,
    /// Mean in which the later ones count more.
    pub estimate: f32,
}

impl Latency {
    /// Takes in an answer; `alpha` is the share of what was known so far in the estimate, 0 to 1.
    pub fn note(&mut self, took: Duration, alpha: f32) {
        let ms = took.as_secs_f32() * 1000.0;
        // What happened long ago loses its weight.
        self.count = self.count.saturating_add(1).min(100_000);
        let distance = ms - self.mean;
        self.mean += distance / self.count as f32;
        self.spread += distance * (ms - self.mean);
        self.max = self.max.max(ms);
        self.estimate = if self.count == 1 { ms } else { alpha * self.estimate + (1.0 - alpha) * ms };
    }

    /// Standard deviation.
    pub fn deviation(&self) -> f32 {
        if self.count > 1 { (self.spread / self.count as f32).max(0.0).sqrt() } else { 0.0 }
    }
}

/// What somebody says of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It is usable.
    Active,
    /// It is not.
    Inactive,
    /// It has failed once.
    Trying,
    /// The operator does not want it.
    Disabled,
}

impl Word {
    /// Reads the letters of a state: `a`, `i`, `t` or `d`, then `p` for probing, in any case.
    pub fn parse(text: &[u8]) -> Option<(Word, bool)> {
        let mut word = None;
        let mut probing = false;
        for letter in text.trim_ascii() {
            match letter.to_ascii_lowercase() {
                b'a' => word = Some(Word::Active),
                b'i' | b'0' => word = Some(Word::Inactive),
                b't' => word = Some(Word::Trying),
                b'd' => word = Some(Word::Disabled),
                b'p' => probing = true,
                b'1' => word = Some(Word::Active),
                _ => return None,
            }
        }
        match word {
            Some(word) => Some((word, probing)),
            // `p` alone: it is usable, and asked.
            None if probing => Some((Word::Active, true)),
            None => None,
        }
    }
}

/// How often it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// Failures in a row that make a destination inactive.
    pub failures: u32,
    /// Answers in a row that make it active again.
    pub answers: u32,
}

/// What has become of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is used from now on.
    Up,
    /// It is not.
    Down,
}

impl State {
    /// Whether requests may go there.
    pub fn usable(&self) -> bool {
        self.flags & (INACTIVE | DISABLED) == 0
    }

    /// Takes in what somebody says. `probing`: whether it is asked from now on. The thresholds count for answers and
    /// failures; the operator's word counts at once (`None`).
    pub fn hear(&mut self, word: Word, probing: bool, thresholds: Option<Thresholds>) -> Option<Change> {
        let before = self.usable();
        let kept = self.flags & !(INACTIVE | TRYING | DISABLED | PROBING);
        let probe = if probing { PROBING } else { 0 };
        let (flags, count) = match (word, thresholds) {
            (Word::Disabled, _) => (DISABLED, 0),
            (Word::Inactive, _) => (INACTIVE, 0),
            (Word::Active, Some(t)) if self.flags & INACTIVE != 0 && self.count + 1 < t.answers => {
                (self.flags & (INACTIVE | TRYING), self.count + 1)
            }
            (Word::Active, _) => (0, 0),
            // One that is inactive stays so; its answers are counted anew.
            (Word::Trying, _) if self.flags & INACTIVE != 0 => (self.flags & (INACTIVE | TRYING), 0),
            (Word::Trying, Some(t)) if self.count + 1 >= t.failures => (INACTIVE, 0),
            (Word::Trying, _) => (TRYING, self.count.saturating_add(1)),
        };
        self.flags = kept | flags | probe;
        self.count = count;
        match (before, self.usable()) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            _ => None,
        }
    }

    /// Two letters: `A`, `I`, `T` or `D`, and `P` or `X`.
    pub fn letters(&self) -> String {
        let first = match self.flags {
            f if f & DISABLED != 0 => 'D',
            f if f & INACTIVE != 0 => 'I',
            f if f & TRYING != 0 => 'T',
            _ => 'A',
        };
        format!("{first}{}", if self.flags & PROBING != 0 { 'P' } else { 'X' })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count() {
        let t = Some(Thresholds { failures: 3, answers: 2 });
        let mut s = State::default();
        assert_eq!(s.hear(Word::Trying, true, t), None);
        assert_eq!(s.letters(), "TP");
        assert!(s.usable());
        // An answer in between: from the beginning.
        assert_eq!(s.hear(Word::Active, false, t), None);
        assert_eq!(s.hear(Word::Trying, true, t), None);
        assert_eq!(s.hear(Word::Trying, true, t), None);
        assert_eq!(s.hear(Word::Trying, true, t), Some(Change::Down));
        assert_eq!(s.letters(), "IP");
        assert_eq!(s.hear(Word::Active, true, t), None);
        assert_eq!(s.hear(Word::Trying, true, t), None);
        assert_eq!(s.hear(Word::Active, true, t), None);
        assert_eq!(s.hear(Word::Active, false, t), Some(Change::Up));
        assert_eq!((s.letters().as_str(), s.count), ("AX", 0));
        assert_eq!(s.hear(Word::Disabled, false, None), Some(Change::Down));
        assert_eq!(s.letters(), "DX");
        assert_eq!(s.hear(Word::Active, false, None), Some(Change::Up));
    }

    #[test]
    fn letters_are_read() {
        for (text, want) in [
            ("a", Some((Word::Active, false))),
            ("IP", Some((Word::Inactive, true))),
            ("tp", Some((Word::Trying, true))),
            ("p", Some((Word::Active, true))),
            ("d", Some((Word::Disabled, false))),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(Word::parse(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn flags_of_the_list_stay() {
        let mut s = State { flags: NO_PING, ..State::default() };
        s.hear(Word::Inactive, true, None);
        assert_eq!(s.flags, NO_PING | INACTIVE | PROBING);
    }

    #[test]
    fn latencies() {
        let mut l = Latency::default();
        for ms in [10, 20, 30] {
            l.note(Duration::from_millis(ms), 0.9);
        }
        assert!((l.mean - 20.0).abs() < 0.01 && (l.max - 30.0).abs() < 0.01 && (l.deviation() - 8.165).abs() < 0.01);
        assert!(l.estimate > 10.0 && l.estimate < 15.0);
    }
}
