//! What goes on: a finished operation finds the run that waits for it.

use super::state::{Parked, RoleKind, Waiting, Worker};
use crate::base::Key;
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::ops;
use crate::ops::driver::Ended;
use crate::store::Counter;
use crate::transaction::TxKey;

/// Runs that go on before the sockets have their turn again.
const COMPLETIONS_PER_TURN: usize = 256;

impl Worker {
    /// Operations that have finished: their runs go on. True if there are more than one turn can do.
    pub(super) fn completions(&mut self) -> bool {
        for ended in std::mem::take(&mut self.stalled.finished) {
            self.operation_done(ended);
        }
        let mut left = COMPLETIONS_PER_TURN;
        while left > 0 {
            let mut io = self.reactor.io(self.now);
            let Some(ended) = self.driver.poll_ended(&mut io) else { break };
            self.operation_done(ended);
            left -= 1;
        }
        while let Some(((_, key), result)) = self.driver.poll_resolved() {
            self.resolved(key, result);
        }
        left == 0
    }

    fn operation_done(&mut self, ended: Ended) {
        self.writing.remove(&ended.id);
        if self.row_ended(&ended) || self.list_reloaded(ended.id, &ended.outcome) {
            return;
        }
        if let Some((tx, branch)) = self.suspended.remove(&ended.id) {
            return self.reply_lapsed(tx, branch);
        }
        if let Some(control) = self.dispatching.reloads.remove(&ended.id) {
            return self.reloaded(control, ended.outcome);
        }
        if self.accounts_read(ended.id, &ended.outcome) {
            return;
        }
        if self.contacts_written(&ended) || self.table_operation_done(&ended) {
            return;
        }
        if self.copy_due(ended.id) {
            return self.flush_transactions();
        }
        let Some(key) = self.by_op.remove(&ended.id) else { return };
        if let ops::Outcome::Failed(failure) = &ended.outcome {
            self.counters.inc(match failure.why {
                ops::Why::Timeout => Counter::WaitsTimedOut,
                ops::Why::Cancelled => Counter::WaitsCancelled,
                ops::Why::Overload | ops::Why::Open => Counter::WaitsRefused,
                _ => Counter::WaitsFailed,
            });
            // That a circuit is open was said when it opened.
            if failure.why != ops::Why::Open {
                self.log_operation(key, &failure.to_string(), &ended);
            }
        } else {
            self.counters.inc(Counter::WaitsDone);
            if ended.slow {
                self.log_operation(key, &format!("slow: {}", ended.backend), &ended);
            }
        }
        let outcome = Outcome::Op(ended.outcome);
        if matches!(self.parked.get(key), Some(Parked { waiting: Waiting::Several(_), .. })) {
            self.member_ended(key, ended.id, outcome);
        } else {
            self.resume(key, outcome);
        }
        self.flush_transactions();
    }

    /// Gives a parked run its outcome and drives it on.
    pub(super) fn resume(&mut self, key: Key, outcome: Outcome) {
        let Some(parked) = self.parked.remove(key) else { return };
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        if parked.role.away.is_some() {
            return self.send_back(parked.run, parked.role, outcome);
        }
        let mut run = parked.run;
        self.refresh(run.host_mut(), &parked.role);
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
                && matches!(
                    p.waiting,
                    Waiting::Op(_) | Waiting::Several(_) | Waiting::Lock(_) | Waiting::Verdict(_) | Waiting::Away
                )
                && !matches!(p.role.kind, RoleKind::Reply(_))
        };
        let keys: Vec<Key> = self.parked.iter().filter(|(_, p)| waits(p)).map(|(k, _)| k).collect();
        for key in keys {
            self.keep_writes(key);
            self.abandon(key);
            self.counters.inc(Counter::WaitsCancelled);
        }
    }

    /// Nobody waits any more for the outcome of what a parked run has started and what may change something: it
    /// comes to its end.
    pub(super) fn keep_writes(&mut self, key: Key) {
        let Some(parked) = self.parked.get_mut(key) else { return };
        let operations = match &parked.waiting {
            Waiting::Op(id) => vec![*id],
            Waiting::Several(several) => several.operations(),
            _ => Vec::new(),
        };
        for id in operations {
            if self.writing.remove(&id) {
                self.by_op.remove(&id);
                match &mut parked.waiting {
                    Waiting::Several(several) => several.forget(id),
                    waiting => *waiting = Waiting::Nothing,
                }
            }
        }
    }

    /// Names backend, phase, age, place in the script and Call-ID of what failed or took long.
    fn log_operation(&self, key: Key, what: &str, ended: &Ended) {
        let Some(parked) = self.parked.get(key) else { return };
        let info = match &parked.waiting {
            Waiting::Several(several) => several.member(ended.id).and_then(|m| parked.run.describe_member(m)),
            _ => None,
        };
        let info = info.unwrap_or_else(|| parked.run.describe());
        let queued = match ended.queued.as_millis() {
            0 => String::new(),
            ms => format!(" ({ms} ms of them in the queue)"),
        };
        emit(
            1,
            "ops",
            &format!(
                "{}: {what} after {} ms{queued}, route {} ({}:{}), Call-ID {}",
                info.function,
                ended.took.as_millis(),
                info.route,
                info.file,
                info.line,
                String::from_utf8_lossy(parked.run.host().msg.call_id()),
            ),
        );
    }
}
