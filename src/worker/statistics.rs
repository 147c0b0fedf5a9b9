//! What the transactions count by themselves, brought into the server's counters once per turn.

use super::state::Worker;
use crate::store::Counter;
use crate::transaction::Stats;

type Shown = (Counter, fn(&Stats) -> u64);

/// Each of the transactions' own figures with the counter that shows it.
const SHOWN: [Shown; 4] = [
    (Counter::TmUacTransactions, |s| s.local_transactions),
    (Counter::TmReceivedReplies, |s| s.received_replies),
    (Counter::TmRelayedReplies, |s| s.relayed_replies),
    (Counter::TmLocalReplies, |s| s.local_replies),
];

/// What was brought over already: a worker that replaces another goes on in its row.
#[derive(Debug, Default)]
pub struct Told([u64; SHOWN.len()]);

impl Worker {
    /// Adds what has come since the last turn.
    pub(super) fn count_transactions(&mut self) {
        self.counters.set(Counter::TmInUse, self.tm.len() as u64);
        let stats = self.tm.stats();
        for ((counter, figure), told) in SHOWN.iter().zip(&mut self.told.0) {
            let now = figure(stats);
            if now != *told {
                self.counters.add(*counter, now.wrapping_sub(*told));
                *told = now;
            }
        }
    }
}
