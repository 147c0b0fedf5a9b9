//! `t_suspend` and `t_continue`: a request stays in its transaction until somebody says how it goes on
//! (kamailio.md section 3.1). The run that suspended it goes on to its end; the message as that run left it
//! waits in the transaction. What continues it first is kept if that run has not ended: two runs
//! never overlap in one transaction.

use super::perform::{Act, code};
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Key, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::ops::{self, CancelReason, OpId};
use crate::script::ast::RouteKind;
use crate::script::vm::Run;
use crate::transaction::{CreateError, Matched, TxKey};
use std::time::Duration;

/// What `t_suspend` left in a transaction.
pub struct Suspension {
    /// The sleep that bounds it.
    bound: OpId,
    /// The message as the run left it; `None` while that run goes on.
    host: Option<Box<SipHost>>,
    /// It was suspended in a failure route.
    failure: bool,
    /// `t_continue` has come already, with this route.
    route: Option<u32>,
}

impl Worker {
    /// `t_suspend`
    pub(super) fn suspend(&mut self, host: &mut SipHost, role: &mut Role) -> Act {
        let failure = matches!(role.kind, RoleKind::Failure);
        if host.phony || !host.msg.is_request() || !(failure || matches!(role.kind, RoleKind::Request(_))) {
            return code(-1);
        }
        let tx = match self.full_transaction(host, role) {
            Ok(tx) => tx,
            Err(CreateError::Exists(_)) => return code(0),
            Err(_) => return code(-1),
        };
        let Some(view) = self.tm.view(tx) else { return code(-1) };
        if view.final_sent.is_some() {
            return code(-1);
        }
        if view.cancelled || view.user.suspension.is_some() {
            return code(1);
        }
        if self.suspended.len() + self.parked.len() >= self.blueprint.max_suspended {
            return code(-1);
        }
        let configured = self.blueprint.tm.fr_timeout;
        let bound = match host.tm.fr_timeout {
            Some(ms) => Duration::from_millis(u64::from(ms)),
            None if configured.is_zero() => self.blueprint.tm.t1_64(),
            None => configured,
        };
        let io = self.reactor.io(self.now);
        let bound = self.driver.start(ops::Request::Sleep(bound), Time::NEVER, io);
        self.suspended.insert(bound, tx);
        self.tm.keep(tx);
        if let Some(data) = self.tm.user_mut(tx) {
            data.suspension = Some(Suspension { bound, host: None, failure, route: None });
        }
        code(1)
    }

    /// A run has ended in a transaction: if that is suspended, what it left is kept. Says whether it is.
    pub(super) fn shelve(&mut self, tx: TxKey, host: &SipHost) -> bool {
        let Some(view) = self.tm.view(tx) else { return false };
        let open = view.final_sent.is_none() && !view.cancelled && !view.hopeful;
        let Some(data) = self.tm.user_mut(tx) else { return false };
        let Some(suspension) = &mut data.suspension else { return false };
        if !open {
            // The script has relayed or answered nevertheless: there is nothing to go on with.
            self.end_suspension(tx);
            return false;
        }
        suspension.host = Some(Box::new(host.clone()));
        if let Some(route) = suspension.route {
            self.go_on_suspended(tx, route);
        }
        true
    }

    /// `t_continue`: 1, or -1 if there is nothing of that name to go on with.
    pub(super) fn continue_suspended(&mut self, index: i64, label: i64, route: u32) -> i32 {
        let (Ok(index), Ok(owner)) = (u32::try_from(index), usize::try_from(label >> 32)) else { return -1 };
        if owner != self.me {
            emit(1, "tm", &format!("t_continue: the transaction belongs to worker {owner}, which cannot be asked yet"));
            return -1;
        }
        let tx = Key { index, generation: label as u32 };
        let Some(view) = self.tm.view(tx) else { return -1 };
        let (cancelled, over) = (view.cancelled, view.cancelled || view.final_sent.is_some());
        let Some(data) = self.tm.user_mut(tx) else { return -1 };
        let Some(suspension) = &mut data.suspension else { return if cancelled { 1 } else { -1 } };
        if over {
            self.end_suspension(tx);
        } else if suspension.host.is_none() {
            suspension.route = Some(route);
        } else {
            self.go_on_suspended(tx, route);
        }
        1
    }

    /// Runs a route in a suspended transaction.
    fn go_on_suspended(&mut self, tx: TxKey, route: u32) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        let Some(Suspension { bound, host: Some(mut host), failure, .. }) = data.suspension.take() else { return };
        data.busy = true;
        let avps = data.avps.clone();
        self.stop_bound(bound);
        let kind = if failure { RoleKind::Failure } else { RoleKind::Request(Matched::New) };
        let mut role = Role::within(kind, tx);
        // Kept since it was suspended.
        role.kept = true;
        self.refresh(&mut host, &role);
        let kind = if failure { RouteKind::Failure } else { RouteKind::Request };
        let run = Run::new(self.program(), route, *host).with_kind(kind).with_avps(avps);
        self.work.push_back(Work::Go(Box::new(run), role));
    }

    /// Nobody has continued it in time: 408.
    pub(super) fn suspension_due(&mut self, tx: TxKey) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        if data.suspension.take().is_none() {
            return;
        }
        let answered = self.tm.view(tx).is_some_and(|v| v.final_sent.is_some() || v.cancelled);
        if !answered {
            emit(1, "tm", "nobody has continued a suspended request in time: 408");
            self.answer_transaction(tx, 408);
        }
        self.tm.unkeep(self.now, tx);
        self.flush_transactions();
    }

    /// Nothing is to go on there any more.
    pub(super) fn end_suspension(&mut self, tx: TxKey) {
        let Some(suspension) = self.tm.user_mut(tx).and_then(|d| d.suspension.take()) else { return };
        self.stop_bound(suspension.bound);
        self.tm.unkeep(self.now, tx);
    }

    fn stop_bound(&mut self, bound: OpId) {
        self.suspended.remove(&bound);
        let io = self.reactor.io(self.now);
        self.driver.cancel(bound, CancelReason::Gone, io);
    }
}
