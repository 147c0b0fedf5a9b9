//! `sleep`, `usleep`: an operation that is a timer and nothing else.

use super::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, Why};
use crate::base::{Key, Time, TimerKey};
use crate::net::reactor::{Readiness, Source};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Sleeping operations of one process.
#[derive(Default)]
pub struct Sleep {
    timers: HashMap<OpId, (TimerKey, Time)>,
    /// Deadlines of the sleepers that were woken and not yet asked about.
    woken: Vec<Time>,
}

impl Sleep {
    /// The deadlines of those woken since the last call, for the statistics of how late they went on.
    pub fn take_woken(&mut self) -> std::vec::Drain<'_, Time> {
        self.woken.drain(..)
    }
}

impl Engine for Sleep {
    type Request = Duration;

    fn start(&mut self, id: OpId, length: Duration, _deadline: Time, cx: &mut Cx<'_>) {
        if length.is_zero() {
            cx.done(id, Outcome::Slept);
            return;
        }
        let due = cx.now() + length;
        let timer = cx.arm(due, Source::Sleep, id);
        self.timers.insert(id, (timer, due));
    }

    fn ready(&mut self, _key: Key, _readiness: Readiness, _cx: &mut Cx<'_>) {}

    fn timer(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some((_, due)) = self.timers.remove(&key) {
            self.woken.push(due);
            cx.done(key, Outcome::Slept);
        }
    }

    fn resolved(&mut self, _key: Key, _result: Result<Vec<IpAddr>, String>, _cx: &mut Cx<'_>) {}

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        if let Some((timer, _)) = self.timers.remove(&id) {
            cx.io.disarm(timer);
            let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
            cx.done(id, Outcome::Failed(Failure::new(why, Phase::Wait, "")));
        }
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        self.timers.get(&id).map(|_| ("timer".to_string(), Phase::Wait))
    }
}
