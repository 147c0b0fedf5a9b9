//! The timers of all machines of a table.
//!
//! Most timers send something, and are due to the millisecond. Those that only end a machine that absorbs
//! what comes late (timers D, I, J, K, L, M) say nothing to anybody: they are kept apart, and are looked
//! at [`LINGER`] apart, so that a thousand ends a second wake nobody a thousand times.

use super::branch_id::BranchNo;
use super::output::TxKey;
use crate::base::{Time, TimerKey, Wheel};

/// The steps in which ended machines are freed: each goes at most this much later than it may.
const LINGER_MICROS: u64 = 64_000;

/// Whose timer it is.
#[derive(Clone, Copy)]
pub(super) enum Machine {
    Server,
    Branch(BranchNo),
    /// That of the branch's CANCEL.
    Cancel(BranchNo),
    /// Waits for further branches.
    Awaiting,
}

/// What a timer carries.
#[derive(Clone, Copy)]
pub(super) struct Alarm {
    pub tx: TxKey,
    pub machine: Machine,
}

/// How exactly a timer must fire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accuracy {
    /// To the millisecond.
    Sharp,
    /// A machine lingers until then.
    Linger,
}

impl Accuracy {
    /// That of a machine, from whether it lingers.
    pub(super) fn of(lingers: bool) -> Accuracy {
        if lingers { Accuracy::Linger } else { Accuracy::Sharp }
    }
}

/// Names an armed timer.
#[derive(Clone, Copy)]
pub(super) struct AlarmKey(TimerKey, Accuracy);

/// All timers.
pub(super) struct Alarms {
    sharp: Wheel<Alarm>,
    lingering: Wheel<Alarm>,
}

impl Alarms {
    pub(super) fn new(now: Time) -> Alarms {
        Alarms { sharp: Wheel::new(now), lingering: Wheel::new(now) }
    }

    pub(super) fn insert(&mut self, at: Time, accuracy: Accuracy, alarm: Alarm) -> AlarmKey {
        AlarmKey(self.wheel(accuracy).insert(at, alarm), accuracy)
    }

    pub(super) fn cancel(&mut self, key: AlarmKey) {
        self.wheel(key.1).cancel(key.0);
    }

    /// Hands over everything that is due at `now`, lingering machines too.
    pub(super) fn expire(&mut self, now: Time, mut fire: impl FnMut(Alarm)) {
        self.sharp.expire(now, &mut fire);
        self.lingering.expire(now, &mut fire);
    }

    /// When [`Alarms::expire`] must be called next.
    pub(super) fn next(&self) -> Option<Time> {
        let step = |at: Time| Time::from_micros(at.as_micros().div_ceil(LINGER_MICROS).saturating_mul(LINGER_MICROS));
        match (self.sharp.next_deadline(), self.lingering.next_deadline().map(step)) {
            (Some(sharp), Some(lingering)) => Some(sharp.min(lingering)),
            (one, other) => one.or(other),
        }
    }

    /// How many are armed.
    pub(super) fn len(&self) -> usize {
        self.sharp.len() + self.lingering.len()
    }

    fn wheel(&mut self, accuracy: Accuracy) -> &mut Wheel<Alarm> {
        match accuracy {
            Accuracy::Sharp => &mut self.sharp,
            Accuracy::Linger => &mut self.lingering,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_wait_for_each_other() {
        let mut alarms = Alarms::new(Time::ZERO);
        let tx = TxKey { index: 0, generation: 0 };
        let alarm = |branch| Alarm { tx, machine: Machine::Branch(branch) };
        let at = Time::from_millis;
        for (ms, accuracy) in [(5_001, Accuracy::Linger), (5_050, Accuracy::Linger), (5_200, Accuracy::Sharp)] {
            alarms.insert(at(ms), accuracy, alarm(0));
        }
        let gone = alarms.insert(at(5_002), Accuracy::Linger, alarm(0));
        alarms.cancel(gone);
        assert_eq!(alarms.len(), 3);
        let mut fired = Vec::new();
        while let Some(next) = alarms.next() {
            alarms.expire(next, |_| fired.push(next.as_millis()));
        }
        // 5056 = 79 * 64.
        assert_eq!(fired, [5_056, 5_056, 5_200]);
    }
}
