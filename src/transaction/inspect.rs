//! Looking at transactions: what pseudo-variables, statistics and the control socket ask for.

use super::branch_id::BranchNo;
use super::entry::{Branch, Outcome, Tx};
use super::output::TxKey;
use super::table::Transactions;
use crate::base::Time;
use crate::sip::Message;
use crate::sip::Method;
use std::collections::BTreeMap;

/// One transaction as it is now.
#[derive(Debug)]
pub struct TxView<'a, U> {
    /// Its key.
    pub key: TxKey,
    /// When it was made.
    pub created: Time,
    /// The request's method.
    pub method: Method,
    /// State of the server machine; `None` for a request of the server's own.
    pub server: Option<&'static str>,
    /// The request; gone once a final reply was sent.
    pub request: Option<&'a Message>,
    /// Made by a wait and not (yet) by the script.
    pub embryonic: bool,
    /// The caller has given up.
    pub cancelled: bool,
    /// First final status sent upstream.
    pub final_sent: Option<u16>,
    /// Status of the last reply sent upstream; 0: none yet.
    pub last_sent: u16,
    /// Whether a branch is out, or has failed, so that there will be a final reply.
    pub hopeful: bool,
    /// Whether the choice of the final reply is held.
    pub held: bool,
    /// Whether a run keeps it from ending.
    pub kept: bool,
    /// How many branches were opened.
    pub branches: BranchNo,
    /// What the worker attached.
    pub user: &'a U,
}

/// One branch as it is now.
#[derive(Debug)]
pub struct BranchView<'a, D> {
    /// When it was opened.
    pub opened: Time,
    /// State of its client machine, or `preparing`, `ended`.
    pub state: &'static str,
    /// Status of the last reply (or of its failure); 0: none.
    pub last_status: u16,
    /// Whether the final reply still waits for it.
    pub pending: bool,
    /// Whether one of its replies is in processing.
    pub busy: bool,
    /// How many replies wait behind that one.
    pub queued: usize,
    /// Whether it has failed.
    pub failed: bool,
    /// Whether a reply has come.
    pub replied: bool,
    /// Whether it failed by a timer.
    pub timeout: bool,
    /// The failure's reply, if it was a reply that counts.
    pub reply: Option<&'a Message>,
    /// Where its request went.
    pub dest: Option<&'a D>,
}

impl<U, D: Clone, P: Clone> Transactions<U, D, P> {
    /// What the worker attached.
    pub fn user(&self, tx: TxKey) -> Option<&U> {
        self.slab.get(tx).map(|t| &t.user)
    }

    /// What the worker attached, changeable.
    pub fn user_mut(&mut self, tx: TxKey) -> Option<&mut U> {
        self.slab.get_mut(tx).map(|t| &mut t.user)
    }

    /// The request, until a final reply was sent.
    pub fn request(&self, tx: TxKey) -> Option<&Message> {
        self.slab.get(tx)?.request.as_ref()
    }

    /// Where replies go.
    pub fn path(&self, tx: TxKey) -> Option<&P> {
        Some(&self.slab.get(tx)?.server.as_ref()?.path)
    }

    /// A transaction.
    pub fn view(&self, tx: TxKey) -> Option<TxView<'_, U>> {
        self.slab.get(tx).map(|t| view(tx, t))
    }

    /// A branch.
    pub fn branch(&self, tx: TxKey, branch: BranchNo) -> Option<BranchView<'_, D>> {
        self.slab.get(tx)?.branches.get(usize::from(branch)).map(branch_view)
    }

    /// All branches of a transaction, in the order they were opened.
    pub fn branches(&self, tx: TxKey) -> impl Iterator<Item = BranchView<'_, D>> {
        self.slab.get(tx).into_iter().flat_map(|t| t.branches.iter().map(branch_view))
    }

    /// Branches that were sent and have no final reply, chosen by where they went and the status of
    /// their last reply (0: none). Walks over all transactions.
    pub fn waiting_on(&self, which: impl Fn(&D, u16) -> bool) -> Vec<(TxKey, BranchNo)> {
        let mut found = Vec::new();
        for (key, t) in self.slab.iter() {
            for (no, b) in t.branches.iter().enumerate() {
                if matches!(b.outcome, Outcome::Pending)
                    && !b.machine.is_terminated()
                    && b.dest.as_ref().is_some_and(|d| which(d, b.last_status))
                {
                    found.push((key, no as BranchNo));
                }
            }
        }
        found
    }

    /// Every transaction.
    pub fn iter(&self) -> impl Iterator<Item = TxView<'_, U>> {
        self.slab.iter().map(|(key, t)| view(key, t))
    }

    /// How many transactions are in each state: that of the server machine, `embryonic`, or
    /// `local` for requests of the server's own. Walks over all of them.
    pub fn states(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for t in self.iter() {
            let state = if t.embryonic { "embryonic" } else { t.server.unwrap_or("local") };
            *counts.entry(state).or_insert(0) += 1;
        }
        counts
    }
}

fn view<'a, U, D, P>(key: TxKey, t: &'a Tx<U, D, P>) -> TxView<'a, U> {
    TxView {
        key,
        created: t.created,
        method: t.method,
        server: t.server.as_ref().map(|s| s.machine.state()),
        request: t.request.as_ref(),
        embryonic: t.embryonic,
        cancelled: t.cancelled,
        last_sent: t.last_sent,
        final_sent: t.final_sent,
        hopeful: t.is_waiting() || t.failures().next().is_some(),
        held: t.holds > 0,
        kept: t.kept > 0,
        branches: t.branches.len() as BranchNo,
        user: &t.user,
    }
}

fn branch_view<D>(b: &Branch<D>) -> BranchView<'_, D> {
    let failure = match &b.outcome {
        Outcome::Failed(f) | Outcome::Undecided(f) => Some(f),
        Outcome::Pending | Outcome::Settled => None,
    };
    BranchView {
        opened: b.opened,
        state: b.machine.state(),
        last_status: b.last_status,
        pending: matches!(b.outcome, Outcome::Pending | Outcome::Undecided(_)),
        busy: b.busy.is_some(),
        queued: b.queue.len(),
        failed: failure.is_some(),
        replied: b.replied,
        timeout: failure.is_some_and(|f| f.timeout),
        reply: failure.and_then(|f| f.reply.as_ref()),
        dest: b.dest.as_ref(),
    }
}
