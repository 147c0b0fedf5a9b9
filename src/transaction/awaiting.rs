//! Transactions that wait for branches which nobody knows yet: a callee registers while the call
//! is under way. Requests that are put aside until somebody says how they go on. Also what a script may set for one
//! transaction only.

use super::alarms::{Accuracy, Machine};
use super::branch_id::BranchNo;
use super::entry::{Awaiting, Branch, Failure, Tx};
use super::output::{BranchError, Output, TxKey};
use super::table::{Desk, Transactions};
use crate::base::{Str, Time};
use std::time::Duration;

impl<U, D: Clone, P: Clone> Transactions<U, D, P> {
    /// From now on further branches are expected: no final reply is chosen before `count` of them
    /// were [injected](Transactions::branch_injected) (`None`: any number), before
    /// [`Transactions::no_more_branches`], or for longer than `fr_inv_timeout`.
    ///
    /// # Errors
    /// `Gone`, `Cancelled`, `FinalSent`; `State` for a request of the server's own.
    pub fn await_branches(&mut self, now: Time, tx: TxKey, count: Option<u16>) -> Result<(), BranchError> {
        self.on(now, tx, |desk, tx| {
            if tx.cancelled {
                return Err(BranchError::Cancelled);
            }
            if tx.is_answered() {
                return Err(BranchError::FinalSent);
            }
            if tx.server.is_none() {
                return Err(BranchError::State);
            }
            tx.embryonic = false;
            let until = desk.timing(tx, true).final_deadline(desk.now);
            desk.stop_awaiting(tx);
            let mut timer = None;
            desk.arm(&mut timer, Some(until), Accuracy::Sharp, Machine::Awaiting);
            tx.awaiting = Some(Box::new(Awaiting { until, timer, left: count, aside: false }));
            Ok(())
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// Puts the request aside: until [`Transactions::take_up`] no final reply is chosen. After `fr_timeout`
    /// [`Output::Lapsed`] says that nobody has taken it up.
    ///
    /// # Errors
    /// `Gone`, `Cancelled`, `FinalSent`; `State` for a request of the server's own.
    pub fn put_aside(&mut self, now: Time, tx: TxKey) -> Result<(), BranchError> {
        self.on(now, tx, |desk, tx| {
            if tx.cancelled {
                return Err(BranchError::Cancelled);
            }
            if tx.is_answered() {
                return Err(BranchError::FinalSent);
            }
            if tx.server.is_none() {
                return Err(BranchError::State);
            }
            tx.embryonic = false;
            let until = desk.timing(tx, true).reply_deadline(desk.now);
            desk.stop_awaiting(tx);
            let mut timer = None;
            desk.arm(&mut timer, Some(until), Accuracy::Sharp, Machine::Awaiting);
            tx.awaiting = Some(Box::new(Awaiting { until, timer, left: None, aside: true }));
            Ok(())
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// A request that was put aside goes on; whether it was.
    pub fn take_up(&mut self, now: Time, tx: TxKey) -> bool {
        self.on(now, tx, |desk, tx| {
            let aside = tx.awaiting.as_ref().is_some_and(|a| a.aside);
            if aside {
                desk.stop_awaiting(tx);
            }
            aside
        })
        .unwrap_or(false)
    }

    /// Nothing came of a request in time: as if a branch had not answered (§16.8). What is chosen from now on is chosen
    /// anew. The number of that branch.
    pub fn fail_by_timer(&mut self, now: Time, tx: TxKey) -> Option<BranchNo> {
        self.on(now, tx, |desk, tx| {
            let no = BranchNo::try_from(tx.branches.len()).ok().filter(|_| !tx.is_answered())?;
            let failure = Failure { timeout: true, ..Failure::local(408) };
            tx.chosen = false;
            tx.branches.push(Branch::failed(desk.now, failure));
            Some(no)
        })?
    }

    /// Whether it is put aside.
    pub fn is_aside(&self, tx: TxKey) -> bool {
        self.slab.get(tx).is_some_and(|t| t.awaiting.as_ref().is_some_and(|a| a.aside))
    }

    /// Whether a branch is out.
    pub fn is_out(&self, tx: TxKey) -> bool {
        self.slab.get(tx).is_some_and(|t| t.is_out())
    }

    /// A branch was opened that the transaction had been waiting for.
    pub fn branch_injected(&mut self, now: Time, tx: TxKey) {
        self.on(now, tx, |desk, tx| {
            if let Some(left) = tx.awaiting.as_mut().and_then(|a| a.left.as_mut()) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    desk.stop_awaiting(tx);
                }
            }
        });
    }

    /// No further branches come; returns whether any had been expected. `settle`: if there is no
    /// branch at all, the transaction fails with 408 (else whoever works on it has to answer).
    pub fn no_more_branches(&mut self, now: Time, tx: TxKey, settle: bool) -> bool {
        self.on(now, tx, |desk, tx| {
            let expected = tx.awaiting.is_some();
            desk.stop_awaiting(tx);
            if expected && settle {
                desk.nobody_came(tx);
            }
            expected
        })
        .unwrap_or(false)
    }

    /// Whether further branches are expected.
    pub fn awaits_branches(&self, tx: TxKey) -> bool {
        self.slab.get(tx).is_some_and(|t| t.awaiting.is_some())
    }

    /// Sets header lines, each with its line end, that ACKs and CANCELs of the transaction carry
    /// from now on.
    pub fn set_extra_headers(&mut self, tx: TxKey, lines: Option<Str>) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.extra = lines;
        }
    }

    /// Whether branches that are out stay when another one has won, as the caller may ask for
    /// (RFC 3841 §9.1, `Request-Disposition: no-cancel`).
    pub fn set_no_cancel(&mut self, tx: TxKey, on: bool) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.no_cancel = on;
        }
    }

    /// Whether a 6xx of this transaction counts like any other negative reply.
    pub fn set_no_6xx_block(&mut self, tx: TxKey, on: bool) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.no_6xx_block = on;
        }
    }

    /// Sets this transaction's own T1 and T2 (`None`: as configured), for timers that start from
    /// now on.
    pub fn set_retransmission(&mut self, tx: TxKey, t1: Option<Duration>, t2: Option<Duration>) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.retransmit = (t1, t2);
        }
    }

    /// Sets this transaction's own `max_inv_lifetime` or `max_noninv_lifetime`.
    pub fn set_lifetime(&mut self, tx: TxKey, life: Option<Duration>) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.lifetime = life;
        }
    }

    /// Whether the transaction has lasted as long as it may without a final reply.
    pub fn is_expired(&self, now: Time, tx: TxKey) -> bool {
        let c = &self.config;
        let life =
            |t: &Tx<U, D, P>| t.lifetime.or(if t.is_invite() { c.max_inv_lifetime } else { c.max_noninv_lifetime });
        self.slab.get(tx).is_some_and(|t| life(t).is_some_and(|life| now >= t.created + life))
    }
}

impl<U, D: Clone, P: Clone> Desk<'_, U, D, P> {
    pub(super) fn stop_awaiting(&mut self, tx: &mut Tx<U, D, P>) {
        if let Some(mut awaiting) = tx.awaiting.take() {
            self.arm(&mut awaiting.timer, None, Accuracy::Sharp, Machine::Awaiting);
        }
    }

    /// `fr_inv_timeout` is over.
    pub(super) fn awaiting_timer(&mut self, tx: &mut Tx<U, D, P>) {
        let Some(awaiting) = tx.awaiting.as_ref().filter(|a| a.until <= self.now) else { return };
        let aside = awaiting.aside;
        self.stop_awaiting(tx);
        if aside {
            self.emit(Output::Lapsed { tx: self.key });
        } else {
            self.nobody_came(tx);
        }
    }

    /// Without any branch to choose from: as if one had never answered (§16.8).
    fn nobody_came(&mut self, tx: &mut Tx<U, D, P>) {
        if tx.is_answered() || tx.is_out() || tx.failures().next().is_some() {
            return;
        }
        let failure = Failure { timeout: true, ..Failure::local(408) };
        tx.chosen = false;
        tx.branches.push(Branch::failed(self.now, failure));
    }
}
