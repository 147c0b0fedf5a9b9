//! What the end of a run means, by its occasion.

use super::state::{Chosen, Role, RoleKind, Work, Worker, origin_of};
use super::suspend::Part;
use crate::base::Str;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::vm::{Finished, Run};
use crate::sip::edits::Edits;
use crate::sip::{HeaderId, Message};
use crate::store::Counter;
use crate::transaction::{BranchNo, Disposition, Released, TxKey};

impl Worker {
    /// A run is over.
    pub(super) fn finished(&mut self, finished: Finished<SipHost>, mut role: Role) {
        self.release_locks(&mut role);
        match role.kind {
            RoleKind::Request(_) => self.request_done(finished, &role),
            RoleKind::Failure => self.failure_done(finished, &role),
            RoleKind::BranchFailure(branch) => {
                let Some(tx) = role.tx else { return };
                self.branch_failure_done(tx, branch, finished);
            }
            RoleKind::Reply(branch) => {
                let Some(tx) = role.tx else { return };
                let drop_it = finished.end.dropped && may_drop(&finished.host.msg);
                self.keep_of_route(tx, branch, &finished.host);
                if self.env().settings.onreply_avps
                    && let Some(data) = self.tm.user_mut(tx)
                {
                    data.avps = finished.avps;
                }
                if let Some(host) = self.shelve(tx, Part::Reply(branch), finished.host) {
                    let disposition = if drop_it {
                        self.counters.inc(Counter::DropReplies);
                        Disposition::Drop
                    } else {
                        self.edited_reply(host, (tx, branch))
                    };
                    self.reply_processed(tx, branch, disposition);
                }
            }
            RoleKind::AnyReply => {
                let host = finished.host;
                let origin = origin_of(&host);
                // In Kamailio's reply_route nobody has seen the reply yet: it is as if it were lost.
                let any = self.blueprint.program.dialect == Dialect::Kamailio;
                if finished.end.dropped && (any || may_drop(&host.msg)) {
                    self.counters.inc(Counter::DropReplies);
                } else if host.edits.is_empty() {
                    self.matched_reply(host.msg, origin);
                } else if let Ok(changed) = host.edits.applied(&host.msg) {
                    self.matched_reply(changed, origin);
                }
            }
            RoleKind::StrayReply => self.stray_reply_done(finished),
            RoleKind::Branch(job, branch) => self.branch_route_done(job, branch, finished),
            RoleKind::Local(asker) => self.local_route_done(finished, asker),
            RoleKind::Queue(n) => self.consumer_done(n),
            RoleKind::Timer(n) => self.timer_done(n),
            RoleKind::Startup(n) => self.startup_done(n, finished),
            RoleKind::Guest(home) => self.guest_done(home, finished),
            RoleKind::Error | RoleKind::Event | RoleKind::Launched => {}
        }
        if let Some(tx) = role.tx.filter(|_| role.kept) {
            self.tm.unkeep(self.now, tx);
        }
        self.flush_transactions();
    }

    fn request_done(&mut self, finished: Finished<SipHost>, role: &Role) {
        if finished.end.dropped {
            self.counters.inc(Counter::DropRequests);
        }
        let Some(tx) = role.tx else { return };
        let Some(view) = self.tm.view(tx) else { return };
        let (embryonic, answered, branches, cancelled) =
            (view.embryonic, view.final_sent.is_some(), view.branches, view.cancelled);
        let (by_async, released) = (view.user.by_async, view.user.released);
        if let Some(data) = self.tm.user_mut(tx) {
            data.avps = finished.avps;
        }
        let Some(host) = self.shelve(tx, Part::Request, finished.host) else { return self.unbusy(tx) };
        let Some(view) = self.tm.view(tx) else { return };
        let hopeful = view.hopeful;
        if !answered && (embryonic || (released && branches == 0)) {
            self.tm.discard(self.now, tx);
        } else if !answered && !hopeful && !cancelled {
            let how = if by_async { "a resume route" } else { "a route" };
            emit(
                -1,
                "script",
                &format!(
                    "{how} ended without relaying or replying: 500, Call-ID {}",
                    String::from_utf8_lossy(host.msg.call_id())
                ),
            );
            self.answer_transaction(tx, 500);
        }
        self.unbusy(tx);
    }

    fn failure_done(&mut self, finished: Finished<SipHost>, role: &Role) {
        let Some(tx) = role.tx else { return };
        if let Some(data) = self.tm.user_mut(tx) {
            data.avps = finished.avps;
        }
        if self.shelve(tx, Part::Failure, finished.host).is_some() {
            self.release(tx);
        }
        self.unbusy(tx);
    }

    /// No request or failure route runs in the transaction any more: a failure route that had to
    /// wait for that begins.
    pub(super) fn unbusy(&mut self, tx: TxKey) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        data.busy = false;
        if let Some(chosen) = data.failure.take() {
            self.all_failed(tx, chosen);
        }
    }

    /// Lets the transaction go on to its final reply, if all is known.
    pub(super) fn release(&mut self, tx: TxKey) {
        if let Released::Decide(decision) = self.tm.release_final(self.now, tx) {
            self.relay_decision(tx, &decision);
        }
    }

    /// All branches have failed: run the failure route, or send the best reply.
    pub(super) fn all_failed(&mut self, tx: TxKey, chosen: Chosen) {
        let mut best = self.tm.best(tx).and_then(|d| d.reply);
        let Some(data) = self.tm.user_mut(tx) else { return };
        // Whatever others were answered: this is what has happened now.
        let chosen = match data.blind.take() {
            Some(branch) => {
                best = None;
                Chosen { branch, status: 408, timeout: true }
            }
            None => chosen,
        };
        let route = data.host.as_ref().and_then(|h| h.armed.failure);
        if !(data.busy && route.is_some()) {
            self.account_missed(tx, chosen.status, best.as_ref());
        }
        let Some(data) = self.tm.user_mut(tx) else { return };
        let (Some(route), Some(base)) = (route, data.host.as_ref()) else { return self.release(tx) };
        if data.busy {
            data.failure = Some(chosen);
            return;
        }
        let mut host = (**base).clone();
        host.armed.failure = None;
        // Kamailio's scripts arm it for each round.
        if self.blueprint.program.dialect == Dialect::Kamailio {
            host.armed.branch = None;
        }
        // What had gone to the winner goes on (the failure route may change it).
        if let Some(winner) = data.branches.get(usize::from(chosen.branch)).filter(|b| !b.target.uri.is_empty()) {
            let socket = winner.target.socket.or(host.socket_out);
            host.set_main_target(&winner.target);
            host.socket_out = socket;
            host.bavps.clone_from(&winner.bavps);
        }
        host.other = best;
        host.tm.branch = Some(chosen.branch);
        host.tm.reply_code = chosen.status;
        host.tm.last_local = chosen.timeout || host.other.is_none();
        data.busy = true;
        let avps = data.avps.clone();
        let mut role = Role::within(RoleKind::Failure, tx);
        self.tm.keep(tx);
        role.kept = true;
        self.refresh(&mut host, &role);
        let mut run = Run::new(self.program(), route, host);
        run.set_avps(avps);
        self.work.push_back(Work::Go(Box::new(run), role));
    }

    /// A reply as it goes upstream: edits applied, our Via removed (RFC 3261 16.7 step 3).
    pub(super) fn edited_reply(&self, host: SipHost, (tx, branch): (TxKey, BranchNo)) -> Disposition {
        let mut edits = host.edits;
        self.restore_addresses(tx, branch, &host.msg, &mut edits);
        edits.remove_top_via(&host.msg);
        frame_upstream(&mut edits, &host.msg);
        let bytes = Str::from(edits.apply(&host.msg));
        // The status stands behind `SIP/2.0 `; the script may have changed it.
        let status = bytes.get(8..11).and_then(crate::sip::bytes::parse_u32).and_then(|s| u16::try_from(s).ok());
        let status = status.unwrap_or_else(|| host.msg.status());
        Disposition::Forward { reply: host.msg, bytes, status }
    }

    /// A reply without our Via.
    pub(super) fn without_our_via(&self, msg: &Message, of: Option<(TxKey, BranchNo)>) -> Str {
        let mut edits = Edits::new();
        if let Some((tx, branch)) = of {
            self.restore_addresses(tx, branch, msg, &mut edits);
        }
        edits.remove_top_via(msg);
        frame_upstream(&mut edits, msg);
        Str::from(edits.apply(msg))
    }

    /// A reply has been worked on.
    pub(super) fn reply_processed(&mut self, tx: TxKey, branch: BranchNo, disposition: Disposition) {
        if let Disposition::Forward { reply, .. } = &disposition
            && reply.status() >= 200
            && self.tm.view(tx).is_some_and(|v| v.server.is_none())
        {
            let reply = reply.clone();
            self.own_final(tx, branch, &reply);
        }
        if self.tm.reply_processed(self.now, tx, branch, disposition).is_err() {
            emit(4, "tm", "a reply came for a branch that is gone");
        }
    }

    fn startup_done(&mut self, n: usize, finished: Finished<SipHost>) {
        // What one leaves, the next begins with.
        self.blueprint.program.set_initial_vars(finished.vars);
        self.startup(n + 1);
    }
}

/// Whether `drop` may stop a reply: a provisional one that its sender does not repeat until it is
/// acknowledged (RFC 3262 §3).
fn may_drop(reply: &Message) -> bool {
    reply.status() < 200 && reply.header(HeaderId::RSeq).is_none()
}

/// A reply that goes on over a stream says how long it is.
fn frame_upstream(edits: &mut Edits, reply: &Message) {
    if reply.header(HeaderId::ContentLength).is_none()
        && reply.vias().nth(1).is_some_and(|via| via.is_ok_and(|via| via.transport.is_reliable()))
    {
        edits.frame(reply);
    }
}
