//! Steps of branches and the choice of the final reply: what one input leads to.

use super::alarms::{Accuracy, Machine};
use super::best::best;
use super::branch_id::BranchNo;
use super::client_invite::{Action, Actions, ClientInvite, Input};
use super::client_noninvite::ClientNonInvite;
use super::entry::{CancelTx, ClientMachine, Failure, Outcome, Tx};
use super::output::{Ask, Decision, Output, SendKind};
use super::table::Desk;
use super::timing::{Config, Noninvite408};
use crate::base::{Str, Time};
use crate::sip::{HeaderId, Method};

impl<U, D: Clone, P: Clone> Desk<'_, U, D, P> {
    /// One step of a client machine; returns whether the reply is for the transaction user.
    pub(super) fn client(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, input: Input<'_>) -> bool {
        let Some(reliable) = tx.branch_mut(no).map(|b| b.reliable) else { return false };
        let timing = self.timing(tx, reliable);
        let Some(b) = tx.branch_mut(no) else { return false };
        let mut actions = Actions::new();
        let machine = std::mem::replace(&mut b.machine, ClientMachine::Ended);
        b.machine = machine.handle(self.now, &timing, input, &mut actions);
        let deliver = self.client_actions(tx, no, actions);
        self.arm_branch(tx, no);
        deliver
    }

    /// Does what a client machine asks for; returns whether it delivers a reply.
    pub(super) fn client_actions(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, actions: Actions) -> bool {
        let mut deliver = false;
        for action in actions {
            match action {
                Action::Send(bytes) => self.send(tx, no, SendKind::Request, bytes),
                Action::Resend(bytes) => {
                    self.stats.sent_retransmissions += 1;
                    self.send(tx, no, SendKind::Retransmission, bytes);
                }
                Action::Ack(bytes) => {
                    let bytes = with_own(tx, no, bytes);
                    self.send(tx, no, SendKind::Ack, bytes);
                }
                Action::Cancel(bytes) => self.start_cancel(tx, no, bytes),
                Action::Deliver => deliver = true,
                Action::Timeout => self.timed_out(tx, no),
            }
        }
        deliver
    }

    fn send(&mut self, tx: &Tx<U, D, P>, no: BranchNo, kind: SendKind, bytes: Str) {
        if let Some(dest) = tx.branches.get(usize::from(no)).and_then(|b| b.dest.clone()) {
            self.emit(Output::Send { tx: self.key, branch: no, kind, bytes, dest });
        }
    }

    pub(super) fn arm_branch(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        if let Some(b) = tx.branch_mut(no) {
            let (deadline, accuracy) = (b.machine.deadline(), b.machine.accuracy());
            self.arm(&mut b.timer, deadline, accuracy, Machine::Branch(no));
        }
    }

    /// A branch's timer has fired.
    pub(super) fn branch_timer(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        let Some(b) = tx.branch_mut(no) else { return };
        if b.machine.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        if matches!(b.machine, ClientMachine::Preparing { .. }) {
            // fr_timeout while the branch route waits: ends this branch only.
            b.machine = ClientMachine::Ended;
            self.arm_branch(tx, no);
            self.emit(Output::BranchEnded { tx: self.key, branch: no });
            self.timed_out(tx, no);
        } else {
            self.client(tx, no, Input::Timer);
        }
    }

    fn timed_out(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        let Some(b) = tx.branch_mut(no) else { return };
        if matches!(b.outcome, Outcome::Pending) {
            self.stats.timeouts += 1;
            // §16.8: as if a 408 had come; for a cancelled request as if its 487 had (§9.1).
            let status = if tx.cancelled { 487 } else { 408 };
            self.failed(tx, no, Failure { timeout: true, ..Failure::local(status) }, true);
        }
    }

    /// A branch has failed. With `ask`, the worker is asked first if it wants to be.
    pub(super) fn failed(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, failure: Failure, ask: bool) {
        let over = tx.cancelled || tx.is_answered() || tx.blocked;
        let Some(b) = tx.branch_mut(no) else { return };
        if !matches!(b.outcome, Outcome::Pending) {
            return;
        }
        let (status, timeout) = (failure.status, failure.timeout);
        b.last_status = status;
        let silent = timeout && !matches!(b.machine, ClientMachine::Invite(ClientInvite::Cancelling(_)));
        let unsent = failure.reply.is_none() && !timeout;
        let asked = match b.ask {
            Ask::Never => false,
            Ask::Transport => status == 503 || silent || unsent,
            Ask::Always => true,
        };
        if ask && asked && !over {
            b.outcome = Outcome::Undecided(failure);
            self.emit(Output::BranchFailed { tx: self.key, branch: no, status, timeout });
            return;
        }
        b.outcome = Outcome::Failed(failure);
        // §16.7 step 5: a 6xx ends the others and forbids new ones.
        if status >= 600 && !self.config.disable_6xx_block && !tx.no_6xx_block && !tx.is_answered() {
            tx.blocked = true;
            self.stop_awaiting(tx);
            self.cancel_losers(tx, status);
        }
    }

    /// Cancels every branch that has no final reply, except `spare`.
    pub(super) fn cancel_pending(&mut self, tx: &mut Tx<U, D, P>, spare: Option<BranchNo>) {
        for no in 0..tx.branches.len() as BranchNo {
            if Some(no) != spare {
                self.cancel_branch(tx, no);
            }
        }
    }

    /// Another branch has decided: cancels the others, unless the caller wants them to go on
    /// (RFC 3841 §9.1); what was not sent ends in any case.
    pub(super) fn cancel_losers(&mut self, tx: &mut Tx<U, D, P>, status: u16) {
        if self.config.losers_hear_why && tx.cancel_reason.is_none() {
            let text = if status < 300 { ";text=\"Call completed elsewhere\"" } else { "" };
            let cause = if status < 300 { 200 } else { status };
            tx.cancel_reason = Some(Str::from(format!("Reason: SIP;cause={cause}{text}")));
        }
        if !tx.no_cancel {
            return self.cancel_pending(tx, None);
        }
        for no in 0..tx.branches.len() as BranchNo {
            if tx.branch_mut(no).is_some_and(|b| matches!(b.machine, ClientMachine::Preparing { .. })) {
                self.cancel_branch(tx, no);
            }
        }
    }

    /// Cancels a branch that has no final reply.
    pub(super) fn cancel_branch(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        let Some(b) = tx.branch_mut(no) else { return };
        match b.machine {
            ClientMachine::Preparing { .. } => {
                b.machine = ClientMachine::Ended;
                b.outcome = Outcome::Failed(Failure::local(487));
                self.arm_branch(tx, no);
                self.emit(Output::BranchEnded { tx: self.key, branch: no });
            }
            ClientMachine::Invite(_) => {
                self.client(tx, no, Input::Cancel);
            }
            ClientMachine::NonInvite(_) | ClientMachine::Ended => {}
        }
        if tx.is_answered()
            && let Some(b) = tx.branch_mut(no)
            && matches!(b.outcome, Outcome::Undecided(_))
        {
            b.outcome = Outcome::Settled;
        }
    }

    fn start_cancel(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, bytes: Str) {
        let Some(reliable) = tx.branch_mut(no).map(|b| b.reliable) else { return };
        let bytes = match &tx.cancel_reason {
            Some(line) => with_headers(&bytes, &[line, &b"\r\n"[..]].concat()),
            None => bytes,
        };
        let bytes = with_own(tx, no, bytes);
        let timing = self.timing(tx, reliable);
        let mut actions = Actions::new();
        let machine = ClientNonInvite::start(self.now, &timing, bytes, &mut actions);
        if let Some(b) = tx.branch_mut(no) {
            b.cancel = Some(Box::new(CancelTx { machine, timer: None }));
        }
        self.cancel_actions(tx, no, actions);
    }

    /// One step of the CANCEL of a branch.
    pub(super) fn cancel_input(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, input: Input<'_>) {
        let Some(reliable) = tx.branch_mut(no).map(|b| b.reliable) else { return };
        let timing = self.timing(tx, reliable);
        let Some(cancel) = tx.branch_mut(no).and_then(|b| b.cancel.as_mut()) else { return };
        let mut actions = Actions::new();
        let machine = std::mem::replace(&mut cancel.machine, ClientNonInvite::Terminated);
        cancel.machine = machine.handle(self.now, &timing, input, &mut actions);
        self.cancel_actions(tx, no, actions);
    }

    pub(super) fn cancel_timer(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo) {
        let cancel = tx.branch_mut(no).and_then(|b| b.cancel.as_ref());
        if cancel.and_then(|c| c.machine.deadline()).is_some_and(|at| at <= self.now) {
            self.cancel_input(tx, no, Input::Timer);
        }
    }

    fn cancel_actions(&mut self, tx: &mut Tx<U, D, P>, no: BranchNo, actions: Actions) {
        for action in actions {
            if let Action::Send(bytes) | Action::Resend(bytes) = action {
                self.send(tx, no, SendKind::Cancel, bytes);
            }
        }
        let Some(b) = tx.branch_mut(no) else { return };
        if let Some(cancel) = &mut b.cancel {
            let (deadline, accuracy) = (cancel.machine.deadline(), Accuracy::of(cancel.machine.lingers()));
            self.arm(&mut cancel.timer, deadline, accuracy, Machine::Cancel(no));
            if matches!(cancel.machine, ClientNonInvite::Terminated) {
                b.cancel = None;
            }
        }
    }

    /// Announces the best reply once every branch has ended (§16.7 step 6).
    pub(super) fn choose(&mut self, tx: &mut Tx<U, D, P>) {
        if tx.is_answered() || tx.chosen || tx.branches.is_empty() || tx.is_waiting() {
            return;
        }
        if tx.holds > 0 {
            // A run still waits: a caller who gave up does not wait with it.
            if tx.cancelled {
                self.ask_487(tx);
            }
            return;
        }
        let Some(d) = self.decision(tx) else {
            if tx.cancelled {
                self.ask_487(tx);
            }
            return;
        };
        tx.chosen = true;
        tx.holds += 1;
        self.emit(Output::FinalChosen { tx: self.key, branch: d.branch, status: d.status, timeout: d.timeout });
    }

    /// Asks for the 487 of a cancelled request, once.
    pub(super) fn ask_487(&mut self, tx: &mut Tx<U, D, P>) {
        if !tx.asked_487 && tx.server.is_some() && tx.is_invite() {
            tx.asked_487 = true;
            self.emit(Output::Local { tx: self.key, status: 487 });
        }
    }

    pub(super) fn decision(&self, tx: &Tx<U, D, P>) -> Option<Decision> {
        decision(self.config, tx).map(|d| Decision { upstream: d.upstream.filter(|s| self.may_send(tx, *s)), ..d })
    }

    /// RFC 4320 §4.2: no 408 for a non-INVITE.
    fn may_send(&self, tx: &Tx<U, D, P>, status: u16) -> bool {
        if status != 408 || tx.method == Method::Invite {
            return true;
        }
        match self.config.noninvite_408 {
            Noninvite408::Never => false,
            Noninvite408::Always => true,
            Noninvite408::InTime => {
                let timer_f = tx.created + self.config.t1_64();
                self.now < timer_f - self.config.t2 && timer_f < Time::NEVER
            }
        }
    }
}

/// The best reply of the branches that have failed so far.
pub(super) fn decision<U, D, P>(config: &Config, tx: &Tx<U, D, P>) -> Option<Decision> {
    let ((branch, failure), status) = best(tx.failures().map(|(no, f)| ((no, f), f.status)), tx.cancelled)?;
    // §16.7 step 6: a 503 says something about the next hop only.
    let upstream = if status == 503 && config.translate_503 { 500 } else { status };
    let bytes = failure.bytes.clone().filter(|_| upstream == status);
    let bytes = match bytes {
        Some(bytes) if config.aggregate_challenges && matches!(status, 401 | 407) => {
            Some(with_challenges(bytes, tx.failures().filter(|(no, _)| *no != branch).map(|(_, f)| f)))
        }
        other => other,
    };
    Some(Decision {
        branch,
        status,
        upstream: Some(upstream),
        reply: failure.reply.clone(),
        bytes,
        timeout: failure.timeout,
    })
}

/// An ACK or CANCEL with what those of its transaction and of its branch carry.
fn with_own<U, D, P>(tx: &Tx<U, D, P>, no: BranchNo, bytes: Str) -> Str {
    let carried = tx.branches.get(usize::from(no)).and_then(|b| b.carried.as_deref());
    match (carried, &tx.extra) {
        (None, None) => bytes,
        (carried, extra) => {
            with_headers(&bytes, &[carried.unwrap_or_default(), extra.as_deref().unwrap_or_default()].concat())
        }
    }
}

/// A message with more header lines, each with its line end.
fn with_headers(message: &[u8], lines: &[u8]) -> Str {
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let (head, rest) = message.split_at(end);
    Str::from([head, lines, rest].concat())
}

/// §16.7 step 7: a challenge goes upstream with those of all branches that asked for credentials.
fn with_challenges<'a>(bytes: Str, others: impl Iterator<Item = &'a Failure>) -> Str {
    let mut lines = Vec::new();
    for reply in others.filter(|f| matches!(f.status, 401 | 407)).filter_map(|f| f.reply.as_ref()) {
        for id in [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate] {
            for header in reply.headers_of(id) {
                lines.extend_from_slice(reply.slice(header.line()));
            }
        }
    }
    if lines.is_empty() { bytes } else { with_headers(&bytes, &lines) }
}
