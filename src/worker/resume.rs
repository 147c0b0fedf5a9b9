//! What goes on: a finished operation finds the run that waits for it.

use super::state::{Parked, RoleKind, Waiting, Worker};
use crate::base::Key;
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::ops::{self, OpId};
use crate::store::Counter;
use crate::transaction::TxKey;
use std::time::Duration;

/// An operation slower than this is worth a line in the log.
const SLOW: Duration = Duration::from_secs(5);

impl Worker {
    /// Every operation that has finished: its run goes on.
    pub(super) fn completions(&mut self) {
        for (id, outcome) in std::mem::take(&mut self.stalled.finished) {
            self.operation_done(id, outcome);
        }
        loop {
            let mut io = self.reactor.io(self.now);
            let Some((id, outcome)) = self.driver.poll_finished(&mut io) else { break };
            self.operation_done(id, outcome);
        }
        while let Some(((_, key), result)) = self.driver.poll_resolved() {
            self.resolved(key, result);
        }
    }

    fn operation_done(&mut self, id: OpId, outcome: ops::Outcome) {
        self.writing.remove(&id);
        let Some(key) = self.by_op.remove(&id) else { return };
        if let ops::Outcome::Failed(failure) = &outcome {
            self.counters.inc(match failure.why {
                ops::Why::Timeout => Counter::WaitsTimedOut,
                ops::Why::Cancelled => Counter::WaitsCancelled,
                _ => Counter::WaitsFailed,
            });
            self.log_failure(key, failure);
        } else {
            self.counters.inc(Counter::WaitsDone);
        }
        self.resume(key, Outcome::Op(outcome));
        self.flush_transactions();
    }

    /// Gives a parked run its outcome and drives it on.
    pub(super) fn resume(&mut self, key: Key, outcome: Outcome) {
        let Some(parked) = self.parked.remove(key) else { return };
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        let mut run = parked.run;
        self.refresh(run.host_mut(), &parked.role);
        if matches!(parked.waiting, Waiting::Op(_)) && self.now.since(parked.since) > SLOW {
            let info = run.describe();
            if !matches!(outcome, Outcome::Op(ops::Outcome::Slept)) {
                emit(
                    1,
                    "ops",
                    &format!(
                        "slow: {} took {} ms, route {} ({}:{}), Call-ID {}",
                        info.function,
                        self.now.since(parked.since).as_millis(),
                        info.route,
                        info.file,
                        info.line,
                        String::from_utf8_lossy(run.host().msg.call_id()),
                    ),
                );
            }
        }
        self.in_work.begin(run.host().msg.bytes());
        let run = run.resume(outcome);
        self.drive(run, parked.role);
        self.in_work.end();
    }

    /// `async_resume_on_cancel=no`: the runs that wait in a cancelled transaction are not resumed. What
    /// only reads is given up; what may change something comes to its end. Routes of replies go on: their
    /// replies belong to the call's end.
    pub(super) fn drop_runs(&mut self, tx: TxKey) {
        let waits = |p: &Parked| {
            p.role.tx == Some(tx)
                && matches!(p.waiting, Waiting::Op(_) | Waiting::Lock(_))
                && !matches!(p.role.kind, RoleKind::Reply(_))
        };
        let keys: Vec<Key> = self.parked.iter().filter(|(_, p)| waits(p)).map(|(k, _)| k).collect();
        for key in keys {
            if let Some(Parked { waiting: Waiting::Op(id), .. }) = self.parked.get(key)
                && self.writing.remove(id)
            {
                // Nobody waits for its outcome any more.
                let id = *id;
                self.by_op.remove(&id);
                if let Some(parked) = self.parked.get_mut(key) {
                    parked.waiting = Waiting::Nothing;
                }
            }
            self.abandon(key);
            self.counters.inc(Counter::WaitsCancelled);
        }
    }

    /// Names backend, phase, age, place in the script and Call-ID of what failed.
    fn log_failure(&self, key: Key, failure: &ops::Failure) {
        let Some(parked) = self.parked.get(key) else { return };
        let info = parked.run.describe();
        emit(
            1,
            "ops",
            &format!(
                "{}: {failure} after {} ms, route {} ({}:{}), Call-ID {}",
                info.function,
                self.now.since(parked.since).as_millis(),
                info.route,
                info.file,
                info.line,
                String::from_utf8_lossy(parked.run.host().msg.call_id()),
            ),
        );
    }
}
