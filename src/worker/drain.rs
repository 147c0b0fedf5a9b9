//! Draining: what waits goes on up to a deadline, nothing new begins; then what is left is
//! answered 500.

use super::seat::ToMain;
use super::state::{Role, RoleKind, Waiting, Work, Worker};
use crate::base::{Key, Time};
use crate::net::reactor::Source;
use crate::store::Counter;
use crate::transaction::{Disposition, TxKey, Verdict};
use std::time::Duration;

/// How far draining is.
#[derive(Debug)]
pub struct Drain {
    until: Time,
    told: bool,
}

impl Drain {
    /// Whether its timer is still armed.
    pub(super) fn is_armed(&self, now: Time) -> bool {
        now < self.until
    }
}

impl Worker {
    /// Begins to drain.
    pub(super) fn begin_drain(&mut self, timeout_ms: u64) {
        let until = self.now + Duration::from_millis(timeout_ms);
        self.drain = Some(Drain { until, told: false });
        let key = Key { index: u32::MAX, generation: 1 };
        self.reactor.io(self.now).arm(until, Source::Worker, key);
    }

    /// Once per turn: tells main when nothing is in flight any more.
    pub(super) fn look_at_drain(&mut self) {
        let Some(drain) = &self.drain else { return };
        if drain.told {
            return;
        }
        if self.now >= drain.until {
            self.give_up_waits();
            self.lose_rows();
        }
        if self.parked.is_empty()
            && self.work.is_empty()
            && self.yielded.is_empty()
            && !self.calls_in_progress()
            && self.written()
            && self.accounting.is_empty()
            && !self.courier_waits()
            && self.contacts_are_safe(self.drain.as_ref().is_none_or(|d| self.now >= d.until))
            && self.tables_are_safe(self.drain.as_ref().is_none_or(|d| self.now >= d.until))
        {
            self.flush_sockets();
            self.tell_main(&ToMain::Idle);
            if let Some(d) = &mut self.drain {
                d.told = true;
            }
        }
    }

    /// Whether a request of somebody still has no final answer; past the deadline that no longer counts.
    fn calls_in_progress(&self) -> bool {
        self.drain.as_ref().is_some_and(|d| self.now < d.until)
            && self.tm.iter().any(|t| t.final_sent.is_none() && t.server.is_some_and(|s| s != "terminated"))
    }

    /// Whether everything is written to the connections; past the deadline that no longer counts.
    fn written(&self) -> bool {
        self.streams.queued() == 0 || self.drain.as_ref().is_none_or(|d| self.now >= d.until)
    }

    fn give_up_waits(&mut self) {
        // Replies first: a call that was accepted is not refused.
        let (replies, others): (Vec<_>, Vec<_>) =
            self.parked.iter().map(|(k, p)| (k, p.role.tx, &p.role.kind)).partition(|(.., kind)| is_reply(kind));
        let replies: Vec<Key> = replies.into_iter().map(|(k, ..)| k).collect();
        let others: Vec<_> = others.into_iter().map(|(k, tx, _)| (k, tx)).collect();
        for key in replies {
            self.abandon(key);
            self.flush_transactions();
        }
        for (key, tx) in others {
            if let Some(tx) = tx {
                self.answer_if_open(tx);
            }
            self.abandon(key);
        }
        self.give_up_suspended();
        self.flush_transactions();
    }

    pub(super) fn answer_if_open(&mut self, tx: TxKey) {
        if self.tm.view(tx).is_some_and(|v| v.final_sent.is_none()) {
            self.tm.promote(tx);
            self.answer_transaction(tx, 500);
        }
    }

    /// Ends a parked run without resuming it: its operation is cancelled, its locks are released, and its
    /// transaction goes on as if the route had ended there. A reply is passed on as it came.
    pub(super) fn abandon(&mut self, key: Key) {
        let Some(parked) = self.parked.remove(key) else { return };
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        match &parked.waiting {
            Waiting::Op(id) => self.give_up(*id),
            Waiting::Several(several) => several.operations().into_iter().for_each(|id| self.give_up(id)),
            Waiting::Lock(_) => self.withdraw_lock(key),
            Waiting::Verdict(ticket) => self.forget_ask(*ticket),
            _ => {}
        }
        let mut role: Role = parked.role;
        self.recall(&mut role);
        self.release_locks(&mut role);
        match (&role.kind, role.tx) {
            (RoleKind::Branch(job, _), _) => self.work.push_back(Work::Job(*job)),
            (RoleKind::Reply(branch), Some(tx)) => {
                let reply = parked.run.host().msg.clone();
                let (bytes, status) = (self.without_our_via(&reply, Some((tx, *branch))), reply.status());
                let forward = Disposition::Forward { reply, bytes, status };
                let _ = self.tm.reply_processed(self.now, tx, *branch, forward);
            }
            (RoleKind::Failure, Some(tx)) => {
                self.release(tx);
                self.unbusy(tx);
            }
            (RoleKind::BranchFailure(branch), Some(tx)) => {
                self.tm.branch_verdict(self.now, tx, *branch, Verdict::Record);
            }
            (RoleKind::Request(_), Some(tx)) => self.unbusy(tx),
            _ => {}
        }
        if let Some(tx) = role.tx.filter(|_| role.kept) {
            self.tm.unkeep(self.now, tx);
        }
    }
}

fn is_reply(kind: &RoleKind) -> bool {
    matches!(kind, RoleKind::Reply(_) | RoleKind::AnyReply | RoleKind::StrayReply)
}
