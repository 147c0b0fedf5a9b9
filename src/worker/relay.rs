//! `t_relay`: its branches one after the other, each through its branch route and the resolution
//! of its next hop; then the run that called it goes on (RFC 3261 16.6).

use super::locate::{Errand, Order, Progress};
use super::perform::Act;
use super::state::{Role, RoleKind, Work, Worker};
use super::suspend::Part;
use crate::base::{Key, Str};
use crate::modules::host::{SipHost, Target};
use crate::modules::request::{Outcome, RelayFlags, ReplyRequest};
use crate::net::resolver::locate::Hop;
use crate::script::ast::Dialect;
use crate::script::avp::Avps;
use crate::script::vm::{Finished, Run};
use crate::sip::HeaderId;
use crate::transaction::{BranchError, BranchNo, CancelScope, Matched, TxKey};
use std::collections::VecDeque;

/// Code of a branch whose request does not fit into a datagram; scripts see -6.
pub(super) const TOO_LARGE: i32 = -513;

/// What a relay is to do.
pub(super) struct RelayOrder {
    pub(super) tx: TxKey,
    pub(super) targets: VecDeque<Target>,
    pub(super) proxy: Option<Str>,
    pub(super) flags: RelayFlags,
    pub(super) what: What,
}

/// What the branches of a relay are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// Those of `t_relay`.
    Relay {
        /// It made the transaction itself.
        created: bool,
    },
    /// Further ones of a transaction under way.
    Inject {
        /// No others will come.
        last: bool,
    },
    /// The one of a request of the server's own: without other Vias, without branch route.
    Own,
    /// The one of a copy that is replicated: without branch route.
    Replica,
}

/// A relay in progress.
pub struct RelayJob {
    /// The run that called it and waits.
    parked: Option<Key>,
    order: RelayOrder,
    /// The branch whose branch route runs.
    current: Option<(BranchNo, Target)>,
    /// Branches whose next hop is being looked up.
    locating: u16,
    routing: u64,
    sent: u32,
    /// Its first branch: failures of earlier ones are not its business.
    first: BranchNo,
    /// Code of the last branch that failed.
    failed: i32,
}

impl RelayJob {
    /// The run that called it and waits.
    pub(super) fn caller(&self) -> Option<Key> {
        self.parked
    }
}

impl Worker {
    /// Begins `t_relay` for the run's message.
    pub(super) fn relay(&mut self, host: &mut SipHost, role: &mut Role, flags: RelayFlags, proxy: Option<Str>) -> Act {
        let code = |n| Act::Now(Outcome::Code(n));
        if host.phony || !host.msg.is_request() {
            return code(-1);
        }
        if let RoleKind::Request(matched) = role.kind {
            match matched {
                // 13.2.2.4: the ACK to a 2xx is forwarded without state.
                Matched::Ack2xx(_) => {
                    return Act::Forward(super::forward::ForwardOrder::routed(
                        host.du.clone(),
                        Str::from(host.current_ruri()),
                    ));
                }
                Matched::Cancel { invite: Some(invite) } => return code(self.cancel_invite(host, role, invite)),
                // 16.10: a CANCEL of an unknown INVITE is forwarded without state.
                Matched::Cancel { invite: None } => {
                    return Act::Forward(super::forward::ForwardOrder::routed(
                        host.du.clone(),
                        Str::from(host.current_ruri()),
                    ));
                }
                _ => {}
            }
        }
        let created = role.tx.is_none() || host.tm.embryonic;
        let flags = RelayFlags {
            no_auto_477: flags.no_auto_477 || host.tm.switches.internal_reply == Some(false),
            no_dns_failover: flags.no_dns_failover || host.tm.switches.failover == Some(false),
            ..flags
        };
        if flags.no_100 {
            host.tm.switches.auto_100 = Some(false);
        }
        let Ok(tx) = self.full_transaction(host, role) else { return code(-1) };
        let Some(view) = self.tm.view(tx) else { return code(-3) };
        if view.cancelled || view.final_sent.is_some() {
            return code(-3);
        }
        if self.loops(host) {
            let reply = ReplyRequest { code: 482, reason: Str::from("Loop Detected"), body: None };
            return code(if self.reply_through(host, tx, &reply) { 1 } else { -3 });
        }
        let mut targets = VecDeque::with_capacity(1 + host.branches.len());
        targets.push_back(host.main_target());
        for target in host.branches.take() {
            // 16.5: a target is in the set once.
            if !targets.iter().any(|t: &Target| t.is_the_same_as(&target)) {
                targets.push_back(target);
            }
        }
        if super::unroutable::unroutable(targets.iter(), proxy.as_ref()) {
            return code(self.not_routed(host, tx, created && !flags.no_auto_477));
        }
        if !host.redirect.followed.is_empty() {
            self.tm.contacts_followed(tx, &std::mem::take(&mut host.redirect.followed));
        }
        self.apply_settings(tx, host);
        let pass_reason = flags.pass_reason || self.env().settings.cancel_reason;
        let no_cancel = flags.allow_no_cancel && host.msg.lists(HeaderId::RequestDisposition, b"no-cancel");
        self.tm.set_no_cancel(tx, no_cancel);
        if let Some(data) = self.tm.user_mut(tx) {
            data.pass_reason = host.tm.switches.cancel_reason.unwrap_or(pass_reason);
            data.host = Some(Box::new(host.base()));
        }
        self.tm.hold_final(tx);
        Act::Relay(RelayOrder { tx, targets, proxy, flags, what: What::Relay { created } })
    }

    /// 16.10: answers the CANCEL and cancels the INVITE.
    fn cancel_invite(&mut self, host: &mut SipHost, role: &mut Role, invite: TxKey) -> i32 {
        let ok = ReplyRequest { code: 200, reason: Str::from("canceling"), body: None };
        let answered = match role.tx {
            Some(tx) => Some(tx),
            None => self.make_transaction(host, role, crate::transaction::Birth::Embryonic).ok(),
        };
        let Some(tx) = answered else { return -1 };
        self.tm.promote(tx);
        self.reply_through(host, tx, &ok);
        if let Some(reason) = self.reason_for_cancel(host, invite) {
            self.tm.set_cancel_reason(invite, Some(reason));
        }
        self.tm.cancel(self.now, invite, CancelScope::Request);
        // The 487 leaves before a failure route that is dropped lets another reply go.
        self.flush_transactions();
        if !self.env().settings.resume_on_cancel {
            self.drop_runs(invite);
            self.flush_transactions();
        }
        1
    }

    /// The header line that the CANCELs to the branches get: what the script wants, or what the
    /// caller said (RFC 3326).
    fn reason_for_cancel(&self, host: &SipHost, invite: TxKey) -> Option<Str> {
        if host.tm.cancel_reason.is_some() {
            return host.tm.cancel_reason.clone();
        }
        let passes = self.tm.user(invite).is_some_and(|d| d.pass_reason);
        let lines: Vec<Vec<u8>> =
            (host.msg.headers_of(HeaderId::Reason)).map(|h| [b"Reason: ", &h.unfolded()[..]].concat()).collect();
        (passes && !lines.is_empty()).then(|| Str::from(lines.join(&b"\r\n"[..])))
    }

    /// The run, if there is one, is parked: work on its branches.
    pub(super) fn begin_relay(&mut self, parked: Option<Key>, order: RelayOrder) -> Key {
        let source = self.tm.user(order.tx).and_then(|d| d.host.as_ref()).map(|h| h.source);
        let routing = self.tm.request(order.tx).zip(source).map_or(0, |(m, from)| self.routing(m, from));
        let first = self.tm.view(order.tx).map_or(0, |v| v.branches);
        if let (What::Relay { .. }, Some(data)) = (order.what, self.tm.user_mut(order.tx)) {
            data.first_branch = first;
        }
        let job = RelayJob { parked, order, current: None, locating: 0, routing, sent: 0, first, failed: -1 };
        let key = self.jobs.insert(job);
        self.job(key);
        key
    }

    /// Prepares branches until a branch route has to wait or all are on their way; a name that is looked up does
    /// not hold up the next branch.
    pub(super) fn job(&mut self, key: Key) {
        loop {
            let Some(job) = self.jobs.get_mut(key) else { return };
            if job.current.is_some() {
                return;
            }
            let (tx, job_what) = (job.order.tx, job.order.what);
            let Some(target) = job.order.targets.pop_front() else {
                if job.locating == 0 {
                    self.job_done(key);
                }
                return;
            };
            let branch = match self.tm.open_branch(self.now, tx) {
                Ok(no) => no,
                Err(why) => {
                    self.job_failed(
                        key,
                        if matches!(why, BranchError::Cancelled | BranchError::FinalSent) { -3 } else { -1 },
                    );
                    continue;
                }
            };
            let own = matches!(job_what, What::Own | What::Replica);
            if let Some(data) = self.branch_data(tx, branch) {
                data.target.clone_from(&target);
            }
            let Some(base) = self.tm.user(tx).and_then(|d| d.host.as_ref()) else { continue };
            let route = base.armed.branch.filter(|_| !own);
            let Some(route) = route else {
                let host = base.clone();
                self.prepared(key, branch, host, target);
                continue;
            };
            let mut host = (**base).clone();
            let socket = target.socket.or(host.socket_out);
            host.set_main_target(&target);
            host.socket_out = socket;
            host.tm.branch = Some(branch);
            let avps = self.lend_avps(key);
            let mut role = Role::within(RoleKind::Branch(key, branch), tx);
            self.refresh(&mut host, &role);
            let mut run = Run::new(self.program(), route, host);
            run.set_avps(avps);
            if let Some(job) = self.jobs.get_mut(key) {
                job.current = Some((branch, target));
            }
            self.tm.keep(tx);
            role.kept = true;
            self.work.push_front(Work::Go(Box::new(run), role));
            return;
        }
    }

    /// A branch route has ended.
    pub(super) fn branch_route_done(&mut self, key: Key, branch: BranchNo, finished: Finished<SipHost>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let (tx, parked) = (job.order.tx, job.parked);
        // It may have ended meanwhile, by a timer or CANCEL.
        if job.current.as_ref().is_none_or(|c| c.0 != branch) {
            return;
        }
        let Some((_, target)) = job.current.take() else { return };
        if let Some(p) = parked.and_then(|p| self.parked.get_mut(p)) {
            p.run.set_avps(finished.avps);
        }
        if finished.end.dropped {
            self.branch_not_suspended(tx, key, branch);
            self.tm.drop_branch(self.now, tx, branch);
            self.work.push_front(Work::Job(key));
            return;
        }
        let Some(host) = self.shelve(tx, Part::Branch(key, branch), finished.host) else {
            if let Some(job) = self.jobs.get_mut(key) {
                job.current = Some((branch, target));
            }
            return;
        };
        let host = Box::new(host);
        self.keep_of_route(tx, branch, &host);
        let target = Target { attrs: target.attrs, ..host.main_target() };
        self.prepared(key, branch, host, target);
        self.work.push_front(Work::Job(key));
    }

    /// Sends a branch on its way.
    fn prepared(&mut self, key: Key, branch: BranchNo, host: Box<SipHost>, target: Target) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let hop = match (&target.du, &job.order.proxy) {
            (Some(du), _) => Hop::of_uri(du),
            (None, Some(proxy)) => Hop::of_address(proxy),
            (None, None) => Hop::of_uri(&target.uri),
        };
        let Some(hop) = hop else { return self.branch_unsent(key, branch, -4) };
        let (tx, routing, failover) = (job.order.tx, job.routing, !job.order.flags.no_dns_failover);
        let own = job.order.what == What::Own;
        let order = Order { tx, branch, host, target, routing, errand: Errand::Relay(key), own, failover };
        job.locating = job.locating.saturating_add(1);
        let progress = self.set_out(order, hop);
        if progress != Progress::Looking {
            self.branch_arrived(key, progress);
        }
    }

    /// A branch that was on its way has been sent, or has failed.
    pub(super) fn branch_arrived(&mut self, key: Key, progress: Progress) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.locating = job.locating.saturating_sub(1);
        match progress {
            Progress::Failed(code) => job.failed = code,
            _ => {
                job.sent += 1;
                if matches!(job.order.what, What::Inject { .. }) {
                    let tx = job.order.tx;
                    self.tm.branch_injected(self.now, tx);
                }
            }
        }
    }

    /// A branch that could not be sent.
    fn branch_unsent(&mut self, key: Key, branch: BranchNo, code: i32) {
        if let Some(job) = self.jobs.get(key) {
            let tx = job.order.tx;
            self.tm.drop_branch(self.now, tx, branch);
        }
        self.job_failed(key, code);
    }

    fn job_failed(&mut self, key: Key, code: i32) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.failed = code;
        }
    }

    /// A branch ended while it was prepared (timer, CANCEL): the preparation is dropped.
    pub(super) fn branch_ended(&mut self, tx: TxKey, branch: BranchNo) {
        if self.way_ended(tx, branch) {
            return;
        }
        let found = self
            .jobs
            .iter()
            .find(|(_, j)| j.order.tx == tx && j.current.as_ref().is_some_and(|c| c.0 == branch))
            .map(|(k, _)| k);
        let Some(key) = found else { return };
        if let Some(job) = self.jobs.get_mut(key) {
            job.current = None;
            job.failed = -3;
        }
        self.branch_not_suspended(tx, key, branch);
        // A branch route that waits is given up with its branch.
        let waiting: Vec<Key> = self
            .parked
            .iter()
            .filter(|(_, p)| matches!(p.role.kind, RoleKind::Branch(j, b) if j == key && b == branch))
            .map(|(k, _)| k)
            .collect();
        let caller = self.jobs.get(key).and_then(|j| j.parked);
        for parked in waiting {
            // Its AVPs are its caller's.
            let avps = self.parked.get_mut(parked).map(|p| p.run.set_avps(Avps::default()));
            if let (Some(avps), Some(p)) = (avps, caller.and_then(|c| self.parked.get_mut(c))) {
                p.run.set_avps(avps);
            }
            self.abandon(parked);
        }
        self.work.push_back(Work::Job(key));
    }

    /// Every branch was handed to a transport or has failed: the caller goes on.
    fn job_done(&mut self, key: Key) {
        let Some(job) = self.jobs.remove(key) else { return };
        let tx = job.order.tx;
        let mut rc = if job.sent > 0 { 1 } else { job.failed };
        let created = match job.order.what {
            What::Relay { created } => created,
            What::Inject { last } => {
                if last {
                    self.tm.no_more_branches(self.now, tx, true);
                }
                self.release(tx);
                return self.relayed(job.parked, rc);
            }
            What::Own | What::Replica => {
                self.release(tx);
                if job.sent == 0 {
                    self.own_unsent(tx);
                }
                return self.relayed(job.parked, rc);
            }
        };
        if job.sent > 0 {
            self.release(tx);
        } else {
            // Nothing left: the script, or we, must answer; the failed branches do not count.
            self.tm.forget_replies(tx, job.first);
            let cancelled = self.tm.view(tx).is_none_or(|v| v.cancelled || v.final_sent.is_some());
            self.release(tx);
            let unresolvable = match self.blueprint.program.dialect {
                Dialect::OpenSips => 476,
                Dialect::Kamailio => 478,
            };
            let text = match rc {
                -4 => (unresolvable, "Unresolvable destination"),
                -5 => (473, "Filtered destination"),
                -6 => (477, "Send failed"),
                TOO_LARGE => (513, "Message Too Large"),
                -3 => (500, "No destination"),
                _ => (500, "Server error occurred"),
            };
            if cancelled {
                rc = -3;
            } else if created && !job.order.flags.no_auto_477 && matches!(rc, -6..=-4 | TOO_LARGE) {
                let reply =
                    ReplyRequest { code: text.0, reason: Str::from(format!("{} ({}/TM)", text.1, text.0)), body: None };
                let host = self.tm.user(tx).and_then(|d| d.host.clone());
                if let Some(host) = host
                    && self.reply_through(&host, tx, &reply)
                {
                    rc = 1;
                }
            } else if let Some(p) = job.parked.and_then(|p| self.parked.get_mut(p)) {
                p.run.host_mut().last_error = Some((text.0, Str::from(text.1)));
            }
        }
        self.relayed(job.parked, rc);
    }

    /// The caller of a relay, if one waits, gets its code.
    fn relayed(&mut self, parked: Option<Key>, rc: i32) {
        let rc = if rc == TOO_LARGE { -6 } else { rc };
        if let Some(parked) = parked {
            self.work.push_front(Work::Resume(parked, Outcome::Code(rc)));
        }
    }
}
