//! `t_suspend` and `t_continue`: something stays in its transaction until somebody says how it goes on (kamailio.md
//! section 3.1): a request, in its request or failure route; a branch, before it is sent; a reply, in its onreply_route. The
//! run that suspended it goes on to its end; the message as that run left it waits in the transaction. What
//! continues it first is kept if that run has not ended: two runs never overlap in one transaction. Questions from other
//! workers: [`super::asks`].

use super::perform::{Act, code};
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Key, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::Place;
use crate::net::handout;
use crate::ops::{self, CancelReason, OpId};
use crate::script::ast::RouteKind;
use crate::script::avp::Avps;
use crate::script::vm::{Run, Suspended};
use crate::sip::Message;
use crate::store::Counter;
use crate::transaction::{BranchNo, CancelScope, CreateError, Matched, TxKey};
use serde_json::{Value, json};
use std::time::Duration;

/// What of a transaction is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The request, before anything was sent.
    Request,
    /// The request, when its branches had failed.
    Failure,
    /// A branch of this relay job, before it is sent.
    Branch(Key, BranchNo),
    /// The reply of a branch.
    Reply(BranchNo),
}

impl Part {
    fn is_request(self) -> bool {
        matches!(self, Part::Request | Part::Failure)
    }

    /// Whether both are about the same message.
    fn same(self, other: Part) -> bool {
        self == other || (self.is_request() && other.is_request())
    }

    fn route_kind(self) -> RouteKind {
        match self {
            Part::Request => RouteKind::Request,
            Part::Failure => RouteKind::Failure,
            Part::Branch(..) => RouteKind::Branch,
            Part::Reply(_) => RouteKind::OnReply,
        }
    }
}

/// What `t_suspend` left in a transaction.
pub struct Suspension {
    part: Part,
    /// The message as the run left it; `None` while that run goes on.
    host: Option<Box<SipHost>>,
    /// `t_continue` has come already, with this route.
    route: Option<u32>,
    /// A reply's: the sleep that bounds it.
    bound: Option<OpId>,
    /// Since when.
    since: Time,
    /// The call, in the program.
    site: u32,
}

impl Worker {
    /// `t_suspend`
    pub(super) fn suspend(&mut self, run: &mut Suspended<SipHost>, role: &mut Role) -> Act {
        let site = run.site().unwrap_or_default();
        let host = run.host_mut();
        let part = match role.kind {
            RoleKind::Request(_) => Part::Request,
            RoleKind::Failure => Part::Failure,
            RoleKind::Branch(job, branch) => Part::Branch(job, branch),
            RoleKind::Reply(branch) => Part::Reply(branch),
            _ => return code(-1),
        };
        if host.phony || (part.is_request() && !host.msg.is_request()) {
            return code(-1);
        }
        let tx = match (part, role.tx) {
            (Part::Request, _) => match self.full_transaction(host, role) {
                Ok(tx) => tx,
                Err(CreateError::Exists(_)) => return code(0),
                Err(_) => return code(-1),
            },
            (_, Some(tx)) => tx,
            (_, None) => return code(-1),
        };
        let Some(view) = self.tm.view(tx) else { return code(-1) };
        if part.is_request() {
            if view.final_sent.is_some() {
                return code(-1);
            }
            if view.cancelled {
                return code(1);
            }
        }
        if view.user.suspensions.iter().any(|s| s.part.same(part)) {
            return code(1);
        }
        if self.aside + self.parked.len() >= self.blueprint.max_suspended {
            self.counters.inc(Counter::WaitsRefused);
            return code(-1);
        }
        let mut bound = None;
        if part.is_request() {
            self.apply_times(tx, host);
            if self.tm.put_aside(self.now, tx).is_err() {
                return code(-1);
            }
        } else if let Part::Reply(branch) = part {
            let length = self.reply_timeout(host);
            let io = self.reactor.io(self.now);
            let op = self.driver.start(ops::Request::Sleep(length), Time::NEVER, io);
            self.suspended.insert(op, (tx, branch));
            bound = Some(op);
        }
        if let Some(data) = self.tm.user_mut(tx) {
            data.suspensions.push(Suspension { part, host: None, route: None, bound, since: self.now, site });
            self.aside += 1;
        }
        code(1)
    }

    /// Gives a request to a program outside, which will answer it: the transaction waits as a suspended one does.
    pub(super) fn hand_out(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        place: &Place,
        bytes: &[u8],
    ) -> Act {
        let open = role.tx.and_then(|tx| self.tm.view(tx)).is_some_and(|v| !v.embryonic && v.final_sent.is_none());
        if !open || !matches!(role.kind, RoleKind::Request(_) | RoleKind::Failure) {
            return code(-1);
        }
        let (path, written) = match place {
            Place::Fifo(path) => (path, handout::to_fifo(path, bytes)),
            Place::Socket(path) => (path, handout::to_socket(path, bytes)),
        };
        if let Err(why) = written {
            emit(-1, "tm", &format!("a request was not given to {}: {why}", path.to_lossy()));
            return code(-1);
        }
        self.suspend(run, role)
    }

    /// The fr timer of the transaction.
    fn reply_timeout(&self, host: &SipHost) -> Duration {
        let configured = self.blueprint.tm.fr_timeout;
        match host.tm.fr_timeout {
            Some(ms) => Duration::from_millis(u64::from(ms)),
            None if configured.is_zero() => self.blueprint.tm.t1_64(),
            None => configured,
        }
    }

    /// A run has ended. If it has suspended what it was about, that is kept as the run left it; else it is given
    /// back.
    pub(super) fn shelve(&mut self, tx: TxKey, part: Part, host: SipHost) -> Option<SipHost> {
        // What was relayed or answered nevertheless has nothing to go on with.
        let open = !part.is_request() || (self.tm.is_aside(tx) && !self.tm.is_out(tx));
        let Some(data) = self.tm.user_mut(tx) else { return Some(host) };
        let Some(at) = data.suspensions.iter().position(|s| s.part.same(part)) else { return Some(host) };
        if !open {
            self.forget_suspension(tx, at);
            return Some(host);
        }
        let suspension = data.suspensions.get_mut(at)?;
        suspension.part = part;
        suspension.host = Some(Box::new(host));
        if let Some(route) = suspension.route {
            self.go_on_suspended(tx, at, route);
        }
        None
    }

    /// `t_continue` in a transaction of this worker: 1, or -1 if there is nothing to go on with. Of several
    /// things that are suspended in one transaction the oldest goes on.
    pub(super) fn continue_suspended(&mut self, tx: TxKey, route: u32) -> i32 {
        let Some(view) = self.tm.view(tx) else { return -1 };
        let cancelled = view.cancelled;
        let Some(data) = self.tm.user_mut(tx) else { return -1 };
        let Some(at) = data.suspensions.iter().position(|s| s.route.is_none()) else {
            return if cancelled || data.lapsed { 1 } else { -1 };
        };
        match data.suspensions.get_mut(at) {
            Some(Suspension { host: None, route: wanted, .. }) => *wanted = Some(route),
            _ => self.go_on_suspended(tx, at, route),
        }
        1
    }

    /// Runs a route with what was suspended.
    fn go_on_suspended(&mut self, tx: TxKey, at: usize, route: u32) {
        let Some(Suspension { part, host: Some(mut host), .. }) = self.forget_suspension(tx, at) else { return };
        let Some(data) = self.tm.user_mut(tx) else { return };
        let mut avps = data.avps.clone();
        let kind = match part {
            Part::Request | Part::Failure => {
                data.busy = true;
                if part == Part::Failure { RoleKind::Failure } else { RoleKind::Request(Matched::New) }
            }
            Part::Reply(branch) => RoleKind::Reply(branch),
            Part::Branch(job, branch) => {
                avps = self.lend_avps(job);
                RoleKind::Branch(job, branch)
            }
        };
        let mut role = Role::within(kind, tx);
        self.tm.keep(tx);
        role.kept = true;
        self.refresh(&mut host, &role);
        if route == super::beside::COPY {
            return self.go_on_beside(tx, *host, avps, role);
        }
        let run = Run::new(self.program(), route, *host).with_kind(part.route_kind()).with_avps(avps);
        self.work.push_back(Work::Go(Box::new(run), role));
    }

    /// The AVPs of the run that relays, for a route of one of its branches.
    pub(super) fn lend_avps(&mut self, job: Key) -> Avps {
        let caller = self.jobs.get(job).and_then(|j| j.caller());
        let caller = caller.and_then(|key| self.parked.get_mut(key));
        caller.map(|p| p.run.set_avps(Avps::default())).unwrap_or_default()
    }

    /// Nobody has continued a request in time: its failure_route decides, else it is answered 408.
    pub(super) fn suspension_lapsed(&mut self, tx: TxKey) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        let Some(at) = data.suspensions.iter().position(|s| s.part.is_request()) else { return };
        data.lapsed = true;
        let Some(Suspension { part, host, .. }) = self.forget_suspension(tx, at) else { return };
        emit(1, "tm", "nobody has continued a suspended request in time");
        let armed = host.as_ref().and_then(|h| h.armed.failure);
        if let Some(data) = self.tm.user_mut(tx) {
            if let Some(host) = host {
                data.host = Some(Box::new(host.base()));
            } else if let Some(host) = &mut data.host {
                // Its run still goes on.
                host.armed.failure = None;
            }
        }
        if part == Part::Request && armed.is_none() {
            return self.answer_transaction(tx, 408);
        }
        let blind = self.tm.fail_by_timer(self.now, tx);
        if let Some(data) = self.tm.user_mut(tx) {
            data.blind = blind;
        }
        if part == Part::Failure {
            self.release(tx);
        }
    }

    /// Nobody has continued a reply in time: it goes on as it is.
    pub(super) fn reply_lapsed(&mut self, tx: TxKey, branch: BranchNo) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        let Some(at) = data.suspensions.iter().position(|s| s.part == Part::Reply(branch)) else { return };
        data.lapsed = true;
        let suspension = self.forget_suspension(tx, at);
        // Without: its run still goes on.
        if let Some(host) = suspension.and_then(|s| s.host) {
            emit(1, "tm", "nobody has continued a suspended reply in time: it goes on as it is");
            let disposition = self.edited_reply(*host, (tx, branch));
            self.reply_processed(tx, branch, disposition);
        }
        self.flush_transactions();
    }

    /// Somebody says that nobody will continue what is suspended in the transaction of this name; whether there was
    /// anything.
    pub(super) fn end_suspended(&mut self, name: &str) -> bool {
        let numbers: Vec<u32> = name.split('.').filter_map(|n| n.parse().ok()).collect();
        let [worker, index, generation] = numbers[..] else { return false };
        let tx = Key { index, generation };
        let first = self.tm.user(tx).and_then(|d| d.suspensions.first()).map(|s| s.part);
        match first.filter(|_| worker as usize == self.me) {
            Some(Part::Request | Part::Failure) => self.suspension_lapsed(tx),
            Some(Part::Reply(branch)) => self.reply_lapsed(tx, branch),
            Some(Part::Branch(_, branch)) => {
                self.tm.cancel(self.now, tx, CancelScope::Branch(branch));
            }
            None => return false,
        }
        self.flush_transactions();
        true
    }

    /// A final reply was sent: the request does not go on.
    pub(super) fn answered_suspended(&mut self, tx: TxKey) {
        let found = |w: &Worker| w.tm.user(tx)?.suspensions.iter().position(|s| s.part.is_request());
        let suspension = found(self).and_then(|at| self.forget_suspension(tx, at));
        // Its run has ended and had left the choice of the final reply to whoever continues.
        if suspension.is_some_and(|s| s.part == Part::Failure && s.host.is_some()) {
            self.release(tx);
        }
    }

    /// A branch ended before it was sent.
    pub(super) fn branch_not_suspended(&mut self, tx: TxKey, job: Key, branch: BranchNo) {
        let found = |w: &Worker| w.tm.user(tx)?.suspensions.iter().position(|s| s.part == Part::Branch(job, branch));
        if let Some(at) = found(self) {
            self.forget_suspension(tx, at);
        }
    }

    /// A transaction is gone.
    pub(super) fn suspensions_gone(&mut self, left: Vec<Suspension>) {
        for suspension in left {
            self.not_aside(&suspension);
        }
    }

    fn forget_suspension(&mut self, tx: TxKey, at: usize) -> Option<Suspension> {
        let data = self.tm.user_mut(tx)?;
        let suspension = (at < data.suspensions.len()).then(|| data.suspensions.remove(at))?;
        if suspension.part.is_request() {
            self.tm.take_up(self.now, tx);
        }
        self.not_aside(&suspension);
        Some(suspension)
    }

    fn not_aside(&mut self, suspension: &Suspension) {
        self.aside = self.aside.saturating_sub(1);
        if let Some(bound) = suspension.bound
            && self.suspended.remove(&bound).is_some()
        {
            let io = self.reactor.io(self.now);
            self.driver.cancel(bound, CancelReason::Gone, io);
        }
    }

    /// The server ends, and what is suspended with it: replies go on as they are, requests are answered 500.
    pub(super) fn give_up_suspended(&mut self) {
        let all = |w: &Worker| -> Vec<(TxKey, Part)> {
            w.tm.iter().flat_map(|t| t.user.suspensions.iter().map(move |s| (t.key, s.part))).collect()
        };
        for (tx, part) in all(self) {
            if let Part::Reply(branch) = part {
                self.reply_lapsed(tx, branch);
            }
        }
        for (tx, part) in all(self) {
            match part {
                Part::Branch(_, branch) => {
                    self.tm.cancel(self.now, tx, CancelScope::Branch(branch));
                }
                _ => self.answer_if_open(tx),
            }
            self.flush_transactions();
        }
    }

    /// Whether a reply repeats one of the same branch that waits or is suspended.
    pub(super) fn repeats_waiting(&self, reply: &Message) -> bool {
        reply.is_reply() && self.tm.repeats_waiting(reply)
    }

    /// What is suspended, for the list of waits.
    pub(super) fn list_suspended(&self, list: &mut Vec<Value>) {
        let program = self.program();
        for t in self.tm.iter() {
            for s in &t.user.suspensions {
                let request = || t.request.map(|m| String::from_utf8_lossy(m.call_id()).into_owned());
                let own = s.host.as_ref().map(|h| String::from_utf8_lossy(h.msg.call_id()).into_owned());
                let info = program.place(s.site);
                list.push(json!({
                    "id": format!("t{}.{}.{}", self.me, t.key.index, t.key.generation),
                    "kind": "suspend",
                    "backend": "",
                    "phase": if s.host.is_some() { "wait" } else { "run" },
                    "age_ms": u64::try_from(self.now.since(s.since).as_millis()).unwrap_or(u64::MAX),
                    "function": info.function,
                    "route": info.route,
                    "file": info.file,
                    "line": info.line,
                    "call_id": own.or_else(request),
                }));
            }
        }
    }
}
