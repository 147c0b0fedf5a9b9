//! The branches of a transaction: opening, sending, cancelling, replies, the final choice
//! (RFC 3261 §16.6 to §16.10). What the worker calls; `steps.rs` has the mechanics.

use super::branch_id::{BranchId, BranchNo};
use super::client_invite::{Actions, ClientInvite, Input};
use super::client_noninvite::ClientNonInvite;
use super::entry::{Branch, Busy, ClientMachine, Failure, Outcome, Tx};
use super::output::{
    Ask, BranchError, BranchSpec, CancelScope, Decision, Disposition, Output, Released, ReplyMatch, TxKey, Verdict,
};
use super::server_invite::Answer;
use super::table::{Desk, Transactions};
use crate::base::{Str, Time};
use crate::sip::Message;
use crate::sip::Method;
use crate::sip::request::further_lines;

impl<U, D: Clone, P: Clone> Transactions<U, D, P> {
    /// Opens a branch: it has a number (so [`Transactions::branch_text`] works), the final reply
    /// waits for it, and `fr_timeout` runs, while its branch route or its name resolution still
    /// waits. An embryonic transaction is promoted.
    ///
    /// # Errors
    /// See [`BranchError`].
    pub fn open_branch(&mut self, now: Time, tx: TxKey) -> Result<BranchNo, BranchError> {
        self.on(now, tx, |desk, tx| {
            if tx.cancelled {
                return Err(BranchError::Cancelled);
            }
            if tx.is_answered() {
                return Err(BranchError::FinalSent);
            }
            if tx.blocked {
                return Err(BranchError::Blocked);
            }
            let no = BranchNo::try_from(tx.branches.len()).map_err(|_| BranchError::TooMany)?;
            if no >= desk.config.max_branches {
                return Err(BranchError::TooMany);
            }
            tx.embryonic = false;
            tx.chosen = false;
            let until = desk.timing(tx, true).reply_deadline(desk.now);
            tx.branches.push(Branch::preparing(desk.now, until));
            desk.arm_branch(tx, no);
            Ok(no)
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// Sends the request of an opened branch.
    ///
    /// # Errors
    /// `Gone`; `State` if the branch has been sent or has ended (by a timer or a CANCEL).
    pub fn send_branch(
        &mut self,
        now: Time,
        tx: TxKey,
        branch: BranchNo,
        spec: BranchSpec<D>,
    ) -> Result<(), BranchError> {
        self.on(now, tx, |desk, tx| {
            let timing = desk.timing(tx, spec.reliable);
            let b = tx.branch_mut(branch).ok_or(BranchError::Gone)?;
            if !matches!(b.machine, ClientMachine::Preparing { .. }) {
                return Err(BranchError::State);
            }
            (b.dest, b.reliable, b.ask, b.minor) = (Some(spec.dest), spec.reliable, spec.ask, spec.minor);
            if let Some(prefix) = &desk.config.ac_extra_headers {
                let lines = further_lines(&spec.request, prefix);
                b.carried = (!lines.is_empty()).then(|| lines.into_boxed_slice());
            }
            let mut actions = Actions::new();
            b.machine = if spec.request.method() == Method::Invite {
                ClientMachine::Invite(ClientInvite::start(desk.now, &timing, spec.request, &mut actions))
            } else {
                let bytes = spec.request.bytes_str().clone();
                ClientMachine::NonInvite(ClientNonInvite::start(desk.now, &timing, bytes, &mut actions))
            };
            desk.stats.uac_transactions += 1;
            desk.client_actions(tx, branch, actions);
            desk.arm_branch(tx, branch);
            Ok(())
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// Ends a branch that cannot be sent (no address, transport error) with a status of its own
    /// (§16.9: as if a 503 had come; the peers use 476 to 479).
    ///
    /// # Errors
    /// `Gone`; `State` if a reply has come already.
    pub fn fail_branch(&mut self, now: Time, tx: TxKey, branch: BranchNo, status: u16) -> Result<(), BranchError> {
        self.on(now, tx, |desk, tx| {
            let b = tx.branch_mut(branch).ok_or(BranchError::Gone)?;
            if !matches!(b.outcome, Outcome::Pending) {
                return Err(BranchError::State);
            }
            match b.machine {
                ClientMachine::Preparing { .. } => b.machine = ClientMachine::Ended,
                _ => {
                    desk.client(tx, branch, Input::TransportError);
                }
            }
            let b = tx.branch_mut(branch).ok_or(BranchError::Gone)?;
            if !b.machine.is_terminated() {
                return Err(BranchError::State);
            }
            desk.arm_branch(tx, branch);
            desk.failed(tx, branch, Failure::local(status), true);
            Ok(())
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// Takes an unsent branch back (its branch route dropped it): it counts for nothing.
    pub fn drop_branch(&mut self, now: Time, tx: TxKey, branch: BranchNo) {
        self.on(now, tx, |desk, tx| {
            if let Some(b) = tx.branch_mut(branch)
                && matches!(b.machine, ClientMachine::Preparing { .. })
            {
                b.machine = ClientMachine::Ended;
                b.outcome = Outcome::Settled;
                desk.arm_branch(tx, branch);
            }
        });
    }

    /// From now on every failure of a branch is reported before it counts.
    pub fn ask_always(&mut self, tx: TxKey, branch: BranchNo) {
        if let Some(b) = self.slab.get_mut(tx).and_then(|tx| tx.branch_mut(branch)) {
            b.ask = Ask::Always;
        }
    }

    /// Answers [`Output::BranchFailed`].
    pub fn branch_verdict(&mut self, now: Time, tx: TxKey, branch: BranchNo, verdict: Verdict) {
        self.on(now, tx, |desk, tx| {
            let Some(b) = tx.branch_mut(branch) else { return };
            match std::mem::replace(&mut b.outcome, Outcome::Settled) {
                Outcome::Undecided(failure) if verdict == Verdict::Record => {
                    b.outcome = Outcome::Pending;
                    desk.failed(tx, branch, failure, false);
                }
                Outcome::Undecided(_) => {}
                other => b.outcome = other,
            }
        });
    }

    /// Finds the branch of a received reply and runs its machine: timers stop and ACKs leave
    /// now, whatever the onreply route does later.
    pub fn match_reply(&mut self, now: Time, reply: &Message) -> ReplyMatch {
        let id = reply.top_via().and_then(|via| via.branch()).and_then(BranchId::parse);
        let Some(id) = id.filter(|id| self.branch_id(id.tx, id.branch) == Some(*id)) else {
            return ReplyMatch::NotOurs;
        };
        self.on(now, id.tx, |desk, tx| desk.reply_arrived(tx, id.tx, id.branch, reply)).unwrap_or(ReplyMatch::NotOurs)
    }

    /// Whether a reply is the retransmission of one of the same branch that is in processing, or waits behind it.
    pub fn repeats_waiting(&self, reply: &Message) -> bool {
        let id = reply.top_via().and_then(|via| via.branch()).and_then(BranchId::parse);
        let Some(id) = id.filter(|id| self.branch_id(id.tx, id.branch) == Some(*id)) else { return false };
        let Some(b) = self.slab.get(id.tx).and_then(|tx| tx.branches.get(usize::from(id.branch))) else { return false };
        let busy = Busy::of(&self.keys, reply);
        b.busy.is_some_and(|b| b.repeats(busy)) || b.queue.iter().any(|q| Busy::of(&self.keys, q).repeats(busy))
    }

    /// Says what became of a reply that [`ReplyMatch::Deliver`] or [`Output::Deliver`] named:
    /// provisional ones and 2xx go upstream at once, the others are stored (§16.7).
    ///
    /// # Errors
    /// `Gone`; `State` if no reply of that branch is in processing.
    pub fn reply_processed(
        &mut self,
        now: Time,
        tx: TxKey,
        branch: BranchNo,
        disposition: Disposition,
    ) -> Result<(), BranchError> {
        self.on(now, tx, |desk, tx| {
            let b = tx.branch_mut(branch).ok_or(BranchError::Gone)?;
            let busy = b.busy.take().ok_or(BranchError::State)?;
            match disposition {
                Disposition::Forward { reply, bytes, status } => {
                    let failure = Failure { status, reply: Some(reply), bytes: Some(bytes), timeout: false };
                    desk.processed(tx, branch, busy, failure);
                }
                Disposition::Drop if busy.status >= 200 => {
                    let status = if busy.status < 300 { 500 } else { busy.status };
                    if busy.status < 300 {
                        desk.remember_2xx(tx, branch, busy, None);
                    }
                    desk.failed(tx, branch, Failure::local(status), true);
                }
                Disposition::Drop => {}
            }
            desk.next_reply(tx, branch);
            Ok(())
        })
        .unwrap_or(Err(BranchError::Gone))
    }

    /// Cancels branches (§16.10, §9.1): a CANCEL leaves as soon as the branch has had a
    /// provisional reply; unsent branches end. With [`CancelScope::Request`] no further branch
    /// can be opened, and if nobody downstream is left to answer, [`Output::Local`] asks for the
    /// 487 at once. Returns whether the request could still be cancelled.
    pub fn cancel(&mut self, now: Time, tx: TxKey, scope: CancelScope) -> bool {
        self.on(now, tx, |desk, tx| {
            if tx.is_answered() {
                return false;
            }
            match scope {
                CancelScope::Request => {
                    tx.cancelled = true;
                    desk.stop_awaiting(tx);
                    for b in &mut tx.branches {
                        // No use in trying another address now.
                        if let Outcome::Undecided(failure) = &b.outcome {
                            b.outcome = Outcome::Failed(failure.clone());
                        }
                    }
                    desk.cancel_pending(tx, None);
                    // No branch yet, or a failure route decides: nobody else will answer.
                    if !tx.is_waiting() && (tx.chosen || tx.branches.is_empty()) {
                        desk.ask_487(tx);
                    }
                }
                CancelScope::All => desk.cancel_pending(tx, None),
                CancelScope::Others(no) => desk.cancel_pending(tx, Some(no)),
                CancelScope::Branch(no) => desk.cancel_branch(tx, no),
            }
            true
        })
        .unwrap_or(false)
    }

    /// Sets the header line (`Reason: ...`, without line end) that CANCELs carry from now on.
    pub fn set_cancel_reason(&mut self, tx: TxKey, line: Option<Str>) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.cancel_reason = line;
        }
    }

    /// Holds the choice of the final reply back, until [`Transactions::release_final`]: while
    /// branches are being added.
    pub fn hold_final(&mut self, tx: TxKey) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.holds = tx.holds.saturating_add(1);
        }
    }

    /// Undoes one [`Transactions::hold_final`], or the hold that came with
    /// [`Output::FinalChosen`], and says how things stand.
    pub fn release_final(&mut self, now: Time, tx: TxKey) -> Released {
        self.on(now, tx, |desk, tx| {
            tx.holds = tx.holds.saturating_sub(1);
            if tx.is_answered() {
                return Released::Done;
            }
            if tx.holds > 0 {
                return Released::Held;
            }
            if tx.is_waiting() {
                return Released::Waiting;
            }
            let Some(decision) = desk.decision(tx) else { return Released::Nothing };
            if !tx.chosen {
                return Released::Waiting; // `Desk::choose` announces it after this step
            }
            if tx.server.is_none() {
                desk.answered(tx, decision.status, Some(decision.branch));
            }
            Released::Decide(decision)
        })
        .unwrap_or(Released::Done)
    }

    /// The best reply of the branches that have failed so far.
    pub fn best(&self, tx: TxKey) -> Option<Decision> {
        super::steps::decision(&self.config, self.slab.get(tx)?)
    }

    /// Forgets the replies of the branches that have failed, so that only later ones are chosen
    /// from: all, or those of the branches from `from` on.
    pub fn forget_replies(&mut self, tx: TxKey, from: BranchNo) {
        if let Some(tx) = self.slab.get_mut(tx) {
            for b in tx.branches.iter_mut().skip(usize::from(from)) {
                if matches!(b.outcome, Outcome::Failed(_)) {
                    b.outcome = Outcome::Settled;
                }
            }
            tx.chosen = false;
        }
    }
}

impl<U, D: Clone, P: Clone> Desk<'_, U, D, P> {
    fn reply_arrived(&mut self, tx: &mut Tx<U, D, P>, key: TxKey, no: BranchNo, reply: &Message) -> ReplyMatch {
        let method = reply.method();
        let to_cancel = method == Method::Cancel && tx.is_invite();
        // §17.1.3: the CSeq's method must be the request's.
        if (method != tx.method && !to_cancel) || tx.branch_mut(no).is_none() {
            return ReplyMatch::NotOurs;
        }
        self.stats.received_replies += 1;
        if to_cancel {
            self.cancel_input(tx, no, Input::Reply(reply));
            self.stats.absorbed_replies += 1;
            return ReplyMatch::Absorbed(key, no);
        }
        let status = reply.status();
        let busy = Busy::of(self.keys, reply);
        if tx.is_invite() && (200..300).contains(&status) && self.repeat_2xx(tx, no, busy) {
            return ReplyMatch::Absorbed(key, no);
        }
        let late = tx.branch_mut(no).is_none_or(|b| b.machine.is_terminated());
        if late && tx.is_invite() && (200..300).contains(&status) {
            // A late 2xx survives: through the caller's transaction as long as there is one, so that no
            // other final reply follows it; else it is forwarded statelessly.
            if tx.server.as_ref().is_none_or(|s| s.machine.is_terminated()) {
                return ReplyMatch::NotOurs;
            }
        } else if !self.client(tx, no, Input::Reply(reply)) {
            self.stats.absorbed_replies += 1;
            return ReplyMatch::Absorbed(key, no);
        }
        let answered = tx.is_answered();
        let max_queued = self.config.max_queued_replies;
        let Some(b) = tx.branches.get_mut(usize::from(no)) else { return ReplyMatch::NotOurs };
        b.last_status = status;
        b.replied = true;
        let keys = self.keys;
        let again = b.busy.is_some_and(|b| b.repeats(busy)) || b.queue.iter().any(|q| Busy::of(keys, q).repeats(busy));
        // The only final reply that is not repeated by its sender is never dropped for space.
        let no_room = b.busy.is_some() && b.queue.len() >= max_queued && status < 300;
        if again || no_room || (status < 200 && answered) {
            self.stats.absorbed_replies += 1;
            return ReplyMatch::Absorbed(key, no);
        }
        if b.busy.is_some() {
            b.queue.push_back(reply.clone());
            return ReplyMatch::Queued(key, no);
        }
        b.busy = Some(busy);
        ReplyMatch::Deliver(key, no)
    }

    /// A 2xx that comes again goes upstream again, as it went the first time (or not at all).
    fn repeat_2xx(&mut self, tx: &Tx<U, D, P>, no: BranchNo, busy: Busy) -> bool {
        let Some(b) = tx.branches.get(usize::from(no)) else { return false };
        let Some((_, bytes)) = b.forwarded.iter().find(|(tag, _)| *tag == busy.to_tag) else { return false };
        match (bytes.clone(), &tx.server) {
            (Some(bytes), Some(server)) => {
                self.stats.relayed_replies += 1;
                self.send_reply(server, bytes);
            }
            _ => self.stats.absorbed_replies += 1,
        }
        true
    }

    /// A reply comes out of its onreply route (`result`: for the case that it is a failure).
    fn processed(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, busy: Busy, result: Failure) {
        let status = result.status;
        let invite = tx.is_invite();
        let bytes = result.bytes.clone().unwrap_or_default();
        let answer = Answer { status, bytes: bytes.clone(), own: false, to_tag: busy.to_tag };
        match status {
            // §16.7 step 5: 100 is hop by hop. RFC 4320 §4.1: and the only one for non-INVITE.
            0..=100 => {}
            101..=199 => {
                if invite {
                    self.upstream(tx, answer, Some(no));
                }
            }
            200..=299 => {
                if let Some(b) = tx.branch_mut(no) {
                    b.outcome = Outcome::Settled;
                }
                if busy.status < 300 {
                    self.remember_2xx(tx, no, busy, Some(bytes));
                }
                self.upstream(tx, answer, Some(no));
            }
            _ => self.failed(tx, no, result, true),
        }
    }

    /// Repeated 2xx to a request of our own are delivered again: each asks for an ACK.
    fn remember_2xx(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, busy: Busy, bytes: Option<Str>) {
        if tx.is_invite()
            && tx.server.is_some()
            && let Some(b) = tx.branch_mut(no).filter(|b| b.forwarded.len() < MAX_FORKED_2XX)
        {
            b.forwarded.push((busy.to_tag, bytes));
        }
    }

    fn next_reply(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        let answered = tx.is_answered();
        let Some(b) = tx.branches.get_mut(usize::from(no)) else { return };
        while let Some(reply) = b.queue.pop_front() {
            if answered && reply.status() < 200 {
                continue;
            }
            b.busy = Some(Busy::of(self.keys, &reply));
            self.emit(Output::Deliver { tx: self.key, branch: no, reply });
            return;
        }
    }
}

/// How many 2xx of one branch (it forked downstream) are kept for repetition.
const MAX_FORKED_2XX: usize = 8;
