//! `event_route[tm:branch-failure:NAME]`: a branch has failed, and the others may go on. What `t_relay` sends there is a branch
//! more; the failure counts among the others when the final reply is chosen.

use super::state::{Role, RoleKind, Work, Worker};
use crate::modules::host::SipHost;
use crate::script::vm::{Finished, Run};
use crate::transaction::{BranchNo, TxKey, Verdict};

impl Worker {
    /// The route that hears of this branch's failure, if one is armed.
    pub(super) fn branch_failure_route(&self, tx: TxKey, branch: BranchNo) -> Option<u32> {
        let data = self.tm.user(tx)?;
        let own = data.branches.get(usize::from(branch)).and_then(|b| b.branch_failure);
        own.unwrap_or_else(|| data.host.as_ref().and_then(|h| h.armed.branch_failure))
    }

    /// A branch has failed for good: its route decides, or the failure counts at once.
    pub(super) fn branch_has_failed(&mut self, tx: TxKey, branch: BranchNo, status: u16, timeout: bool) {
        let route = self.branch_failure_route(tx, branch);
        let reply = self.tm.branch(tx, branch).and_then(|b| b.reply.cloned());
        let base = self.tm.user(tx).and_then(|d| d.host.as_ref().map(|h| ((**h).clone(), d.avps.clone())));
        let (Some(route), Some((mut host, avps))) = (route, base) else {
            return self.tm.branch_verdict(self.now, tx, branch, Verdict::Record);
        };
        if let Some(failed) = self.tm.user(tx).and_then(|d| d.branches.get(usize::from(branch))) {
            let socket = failed.target.socket.or(host.socket_out);
            host.set_main_target(&failed.target);
            host.socket_out = socket;
            host.bavps.clone_from(&failed.bavps);
        }
        host.other = reply;
        host.tm.branch = Some(branch);
        host.tm.reply_code = status;
        host.tm.last_local = timeout || host.other.is_none();
        let mut role = Role::within(RoleKind::BranchFailure(branch), tx);
        self.tm.keep(tx);
        role.kept = true;
        self.refresh(&mut host, &role);
        let run = Run::new(self.program(), route, host).with_avps(avps);
        self.work.push_back(Work::Go(Box::new(run), role));
    }

    /// Its route has ended.
    pub(super) fn branch_failure_done(&mut self, tx: TxKey, branch: BranchNo, finished: Finished<SipHost>) {
        if let Some(data) = self.tm.user_mut(tx) {
            data.avps = finished.avps;
            if let Some(base) = &mut data.host {
                base.armed = finished.host.armed;
                base.flags.clone_from(&finished.host.flags);
            }
        }
        self.tm.branch_verdict(self.now, tx, branch, Verdict::Record);
    }
}
