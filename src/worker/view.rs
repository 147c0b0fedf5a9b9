//! What a run knows of its transaction, and what of a run stays with the transaction.

use super::state::{Role, RoleKind, TxData, Worker};
use crate::modules::host::{BranchInfo, SipHost, TmView};
use crate::net::bus::Bus;
use crate::transaction::{BranchNo, TxKey};
use std::time::Duration;

impl Worker {
    /// Tells a run what has become of its transaction meanwhile.
    pub(super) fn refresh(&self, host: &mut SipHost, role: &Role) {
        let Some(tx) = role.tx else { return };
        host.tm.key = Some(tx);
        let me = self.bus.me();
        (host.tm.worker, host.tm.incarnation) = (me.index, me.incarnation);
        let Some(v) = self.tm.view(tx) else {
            host.tm.cancelled = true;
            return;
        };
        host.tm.embryonic = v.embryonic;
        host.tm.cancelled = v.cancelled;
        host.tm.expired = self.tm.is_expired(self.now, tx);
        if let Some(status) = v.final_sent {
            host.tm.replied = true;
            if matches!(role.kind, RoleKind::Request(_)) {
                host.tm.reply_code = status;
            }
        } else if matches!(role.kind, RoleKind::Request(_)) {
            host.tm.reply_code = v.last_sent;
        }
        if v.branches == 0 {
            return;
        }
        host.tm.first_branch = v.user.first_branch;
        let targets = v.user.branches.iter().map(|b| b.target.clone()).chain(std::iter::repeat_with(Default::default));
        host.tm.branches = (self.tm.branches(tx).zip(targets))
            .map(|(b, target)| BranchInfo {
                target,
                last: b.last_status,
                pending: b.pending,
                replied: b.replied,
                timeout: b.timeout,
                local: b.failed && (b.timeout || b.reply.is_none()),
                redirect: b.reply.filter(|r| (300..400).contains(&r.status())).cloned(),
            })
            .collect();
        let mut ended = host.tm.branches.iter().filter(|b| b.last > 0).peekable();
        host.tm.all_local = ended.peek().is_some() && ended.all(|b| b.local);
        if !matches!(role.kind, RoleKind::Failure) {
            let last = host.tm.branches.iter().rev().find(|b| b.last > 0);
            host.tm.last_local = !host.msg.is_reply() && last.is_some_and(|b| b.local);
        }
    }

    /// A reply or branch route has ended: what it armed, its flags and its time-outs are those of
    /// the transaction from now on.
    pub(super) fn keep_of_route(&mut self, tx: TxKey, branch: BranchNo, host: &SipHost) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        let mut ask = false;
        let TxData { host: base, branches, .. } = data;
        let Some(base) = base else { return };
        base.armed.failure = host.armed.failure;
        base.armed.branch = host.armed.branch;
        base.flags.clone_from(&host.flags);
        if let Some(slot) = branches.get_mut(usize::from(branch)) {
            slot.bavps.clone_from(&host.bavps);
            slot.target.flags.clone_from(&host.bflags);
            // Armed there, it is armed for that branch only.
            let now = slot.reply_route.unwrap_or(base.armed.reply);
            if now != host.armed.reply {
                slot.reply_route = Some(host.armed.reply);
            }
            let now = slot.branch_failure.unwrap_or(base.armed.branch_failure);
            if now != host.armed.branch_failure {
                slot.branch_failure = Some(host.armed.branch_failure);
                ask = host.armed.branch_failure.is_some();
            }
        }
        if times(&base.tm) != times(&host.tm) {
            base.tm.fr_timeout = host.tm.fr_timeout;
            base.tm.fr_inv_timeout = host.tm.fr_inv_timeout;
            base.tm.retransmission = host.tm.retransmission;
            base.tm.lifetime = host.tm.lifetime;
            self.apply_times(tx, host);
        }
        if ask {
            self.tm.ask_always(tx, branch);
        }
    }

    /// The transaction works with the times that the script has set for it.
    pub(super) fn apply_times(&mut self, tx: TxKey, host: &SipHost) {
        let millis = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(u64::from(ms)));
        self.tm.set_timeouts(tx, millis(host.tm.fr_timeout), millis(host.tm.fr_inv_timeout));
        let (t1, t2) = host.tm.retransmission;
        self.tm.set_retransmission(tx, millis(t1), millis(t2));
        self.tm.set_lifetime(tx, millis(host.tm.lifetime));
    }

    /// All that a run has set for its transaction takes effect.
    pub(super) fn apply_settings(&mut self, tx: TxKey, host: &SipHost) {
        self.apply_times(tx, host);
        let headers = &host.tm.headers;
        self.tm.set_extra_headers(tx, (!headers.is_empty()).then(|| headers.clone()));
        if let Some(reason) = &host.tm.cancel_reason {
            self.tm.set_cancel_reason(tx, Some(reason.clone()));
        }
        if let Some(block) = host.tm.switches.block_6xx {
            self.tm.set_no_6xx_block(tx, !block);
        }
    }
}

type Times = (Option<u32>, Option<u32>, (Option<u32>, Option<u32>), Option<u32>);

fn times(tm: &TmView) -> Times {
    (tm.fr_timeout, tm.fr_inv_timeout, tm.retransmission, tm.lifetime)
}
