//! What the end of a run means, by its occasion.

use super::state::{Chosen, Role, RoleKind, Work, Worker, origin_of};
use crate::base::Str;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::script::vm::{Finished, Run};
use crate::sip::Message;
use crate::store::Counter;
use crate::transaction::{Disposition, Released, TxKey};

impl Worker {
    /// A run is over.
    pub(super) fn finished(&mut self, finished: Finished<SipHost>, mut role: Role) {
        self.release_locks(&mut role);
        match role.kind {
            RoleKind::Request(_) => self.request_done(finished, &role),
            RoleKind::Failure => self.failure_done(finished, &role),
            RoleKind::Reply(branch) => {
                let Some(tx) = role.tx else { return };
                let drop_it = finished.end.dropped && finished.host.msg.status() < 200;
                if self.env().settings.onreply_avps
                    && let Some(data) = self.tm.user_mut(tx)
                {
                    data.avps = finished.avps;
                }
                let disposition = if drop_it {
                    self.counters.inc(Counter::DropReplies);
                    Disposition::Drop
                } else {
                    self.edited_reply(finished.host)
                };
                let _ = self.tm.reply_processed(self.now, tx, branch, disposition);
            }
            RoleKind::AnyReply => {
                let host = finished.host;
                let origin = origin_of(&host);
                if finished.end.dropped && host.msg.status() < 200 {
                    self.counters.inc(Counter::DropReplies);
                } else if host.edits.is_empty() {
                    self.matched_reply(host.msg, origin);
                } else if let Ok(changed) = host.edits.applied(&host.msg) {
                    self.matched_reply(changed, origin);
                }
            }
            RoleKind::Branch(job, branch) => self.branch_route_done(job, branch, finished),
            RoleKind::Local => self.local_route_done(finished, &role),
            RoleKind::Timer(n) => self.timer_done(n),
            RoleKind::Startup => self.startup_done(finished),
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
        let (embryonic, answered, hopeful, cancelled) =
            (view.embryonic, view.final_sent.is_some(), view.hopeful, view.cancelled);
        let by_async = view.user.by_async;
        if let Some(data) = self.tm.user_mut(tx) {
            data.avps = finished.avps;
        }
        if embryonic && !answered {
            self.tm.discard(self.now, tx);
        } else if !answered && !hopeful && !cancelled {
            let how = if by_async { "a resume route" } else { "a route" };
            emit(
                -1,
                "script",
                &format!(
                    "{how} ended without relaying or replying: 500, Call-ID {}",
                    String::from_utf8_lossy(finished.host.msg.call_id())
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
        self.release(tx);
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
        let best = self.tm.best(tx).and_then(|d| d.reply);
        let all_local = self.tm.branches(tx).all(|b| b.timeout || b.reply.is_none());
        let Some(data) = self.tm.user_mut(tx) else { return };
        let route = data.host.as_ref().and_then(|h| h.armed.failure);
        let (Some(route), Some(base)) = (route, data.host.as_ref()) else { return self.release(tx) };
        if data.busy {
            data.failure = Some(chosen);
            return;
        }
        let mut host = (**base).clone();
        host.armed.failure = None;
        host.branches.clear();
        host.other = best;
        host.tm.branch = Some(chosen.branch);
        host.tm.reply_code = chosen.status;
        host.tm.last_local = chosen.timeout || host.other.is_none();
        host.tm.all_local = all_local;
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
    fn edited_reply(&self, host: SipHost) -> Disposition {
        let mut edits = host.edits;
        edits.remove_top_via(&host.msg);
        let bytes = Str::from(edits.apply(&host.msg));
        // The status stands behind `SIP/2.0 `; the script may have changed it.
        let status = bytes.get(8..11).and_then(crate::sip::bytes::parse_u32).and_then(|s| u16::try_from(s).ok());
        let status = status.unwrap_or_else(|| host.msg.status());
        Disposition::Forward { reply: host.msg, bytes, status }
    }

    /// A reply without our Via.
    pub(super) fn without_our_via(&self, msg: &Message) -> Str {
        let mut edits = crate::sip::edits::Edits::new();
        edits.remove_top_via(msg);
        Str::from(edits.apply(msg))
    }

    fn startup_done(&mut self, finished: Finished<SipHost>) {
        self.share_startup(&finished.vars);
    }
}
