//! Carrying out what a run asks for.

use super::asks::Errand;
use super::forward::ForwardOrder;
use super::local::OwnRequest;
use super::relay::RelayOrder;
use super::state::{ReplyPath, Role, RoleKind, TxData, Waiting, Worker, origin_of};
use super::streams::ConnOrder;
use crate::base::{Str, Time};
use crate::modules::host::SipHost;
use crate::modules::kamailio::REPLY_CLOSE;
use crate::modules::request::{CancelWhich, Outcome, ReplyRequest, Request};
use crate::ops::{self, OpId};
use crate::script::vm::{Suspended, WaitInfo};
use crate::sip::Method;
use crate::store::Counter;
use crate::transaction::{Birth, CancelScope, CreateError, Matched, TxKey};
use std::time::Duration;

/// What becomes of a request.
pub(super) enum Act {
    /// Done.
    Now(Outcome),
    /// The run waits.
    Park(Waiting),
    /// The run waits for its branches.
    Relay(RelayOrder),
    /// The run waits for a stateless forward.
    Forward(ForwardOrder),
    /// The run goes to a task group.
    Travel(u16),
    /// The run is in a task group, and its owner is to be asked.
    Home(Box<Request>),
}

pub(super) fn code(n: i32) -> Act {
    Act::Now(Outcome::Code(n))
}

impl Worker {
    /// Carries out one request of a run.
    pub(super) fn perform(&mut self, run: &mut Suspended<SipHost>, role: &mut Role, request: Request) -> Act {
        if self.group.is_some() && !matches!(request, Request::Op { .. }) {
            return Act::Home(Box::new(request));
        }
        match request {
            Request::Op { op, limit } => self.operation(run, role, op, limit),
            Request::Travel { group } => self.travel_to(group),
            Request::Beside { after, group } => self.go_beside(run, role, after, group),
            Request::Task { group, route, event } => code(self.task(group, route, event)),
            Request::Stateless(reply) => {
                self.note_account(run, role, &reply);
                self.stateless(run.host_mut(), role, reply)
            }
            Request::Stateful(reply) => {
                if role.tx.is_none() && self.accounting.on {
                    let _ = self.make_quietly(run.host_mut(), role);
                }
                self.note_account(run, role, &reply);
                self.stateful(run.host_mut(), role, reply)
            }
            Request::AnyReply(reply) => {
                self.note_account(run, role, &reply);
                if role.tx.is_some() {
                    self.stateful(run.host_mut(), role, reply)
                } else {
                    self.stateless(run.host_mut(), role, reply)
                }
            }
            Request::NewTransaction => self.new_transaction(run.host_mut(), role),
            Request::Suspend => self.suspend(run, role),
            Request::Continue { index, label, route } => self.ask_to_continue(run, role, (index, label), route),
            Request::RepeatsWaiting => code(if self.repeats_waiting(&run.host().msg) { 1 } else { -1 }),
            Request::CheckTransaction => self.check_transaction(role, run.host()),
            Request::Relay { flags, proxy } => {
                if let RoleKind::Request(Matched::Ack2xx(Some(invite))) = role.kind {
                    self.account_ack(invite, run.host());
                }
                let act = self.relay(run.host_mut(), role, flags, proxy);
                // Replies may come before the run that relays has ended.
                if (self.env().settings.onreply_avps || self.accounting.on)
                    && let Some(data) = role.tx.and_then(|tx| self.tm.user_mut(tx))
                {
                    data.avps = run.avps().clone();
                }
                act
            }
            Request::Forward { dest } => {
                let host = run.host();
                if !host.msg.is_request() {
                    return code(-1);
                }
                match dest {
                    Some(dest) => Act::Forward(ForwardOrder::to_address(dest)),
                    None => Act::Forward(ForwardOrder::routed(host.du.clone(), Str::from(host.current_ruri()))),
                }
            }
            Request::ForwardReply { status } => code(self.forward_changed(run.host(), status)),
            Request::SendCopy { dest, headers } => Act::Forward(ForwardOrder::copy(dest, headers)),
            Request::ConnAlias { port } => code(self.force_alias(run.host(), port)),
            Request::ConnKeep { seconds } => code(self.keep_conn(run.host(), seconds)),
            Request::ConnClose { peer } => code(self.close_conn(peer)),
            Request::Connection { number, wish } => code(self.connection_wish(number, wish)),
            Request::FindConnection { peer } => Act::Now(self.find_connection(peer)),
            Request::SendData { uri, socket, data } => Act::Forward(ForwardOrder::data(&uri, socket, data)),
            Request::PassReply => {
                let host = run.host();
                if host.phony || !host.msg.is_reply() {
                    return code(-1);
                }
                match host.edits.applied(&host.msg) {
                    Ok(reply) => {
                        self.forward_reply(&reply);
                        code(1)
                    }
                    Err(_) => code(-1),
                }
            }
            Request::CancelBranch { which } => self.cancel_branch(role, which),
            Request::Replicate { uri, flags } => self.replicate(run.host(), uri, flags),
            Request::NewRequest { method, ruri, from, to, body, context, headers, next_hop, socket } => {
                let order = OwnRequest {
                    method,
                    ruri,
                    from,
                    to,
                    body,
                    context,
                    headers,
                    next_hop,
                    socket,
                    ..Default::default()
                };
                code(if self.new_request(order).is_ok() { 1 } else { -1 })
            }
            Request::Inject { targets, cancel, last } => self.inject(role, targets, cancel, last),
            Request::AwaitBranches { count } => self.await_branches(run.host_mut(), role, count),
            Request::NoMoreBranches => self.no_more_branches(role),
            Request::ReplyByCallId { reply, call_id, cseq } => {
                self.ask_owner(run, role, Errand::Reply { reply, call_id, cseq })
            }
            Request::CancelByCallId { call_id, cseq } => self.ask_owner(run, role, Errand::Cancel { call_id, cseq }),
            Request::DropReplies { last } => code(self.drop_replies(role, last)),
            Request::RepeatReply => {
                let done = role.tx.is_some_and(|tx| self.tm.repeat_reply(self.now, tx));
                self.flush_transactions();
                code(if done { 1 } else { -1 })
            }
            Request::HandOut { place, bytes } => self.hand_out(run, role, &place, &bytes),
            Request::Release => {
                let Some(data) = role.tx.and_then(|tx| self.tm.user_mut(tx)) else { return code(-1) };
                data.released = true;
                code(1)
            }
            Request::Drop => {
                let Some(tx) = role.tx else { return code(-1) };
                self.tm.discard(self.now, tx);
                if let Some(data) = self.tm.user_mut(tx) {
                    data.released = true;
                }
                self.flush_transactions();
                code(1)
            }
            Request::Settings => {
                if let Some(tx) = role.tx {
                    self.apply_settings(tx, run.host());
                }
                code(1)
            }
            Request::Lock { key } => {
                if self.must_wait(role, &key) && !self.shelter(run, role) {
                    return code(-1);
                }
                self.lock(role, key)
            }
            Request::TryLock { key } => {
                if self.must_wait(role, &key) && !self.shelter(run, role) {
                    return code(-1);
                }
                self.try_lock(role, key)
            }
            Request::Unlock { key } => code(self.unlock(role, &key)),
            Request::Queued { queue } => {
                self.queued(&queue);
                code(1)
            }
            Request::UacSend { draft } => code(self.send_draft(draft)),
            Request::Score { route, params } => Act::Now(Outcome::Scores(self.score(run, route, params))),
            Request::Control { text } => self.ask_main(run, role, &text),
            Request::RaiseEvent { name, params } => {
                self.raise_event(&name, params);
                code(1)
            }
        }
    }

    fn operation(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        op: ops::Request,
        limit: Option<f64>,
    ) -> Act {
        let info = run.describe();
        if let Some(outcome) = self.no_wait(run, role, &op, &info, 0) {
            return Act::Now(outcome);
        }
        let id = self.start_operation(op, limit, info.timeout_secs, Time::NEVER);
        if self.blocks(&info) && !info.launched {
            self.writing.remove(&id);
            return Act::Now(self.block_on(&[id]).1);
        }
        self.counters.inc(Counter::WaitsStarted);
        Act::Park(Waiting::Op(id))
    }

    /// A script answers the request itself: what accounting will need of it is noted.
    fn note_account(&mut self, run: &Suspended<SipHost>, role: &Role, reply: &ReplyRequest) {
        let Some(tx) = role.tx.filter(|_| self.accounting.on && reply.code >= 200) else { return };
        let host = run.host();
        if host.msg.is_request() && !crate::modules::acc::wanted(host).is_nothing() {
            let account = Box::new((host.base(), run.avps().clone()));
            if let Some(data) = self.tm.user_mut(tx) {
                data.account = Some(account);
            }
        }
    }

    /// `script_io=block`, and a call that this is about.
    pub(super) fn blocks(&self, info: &WaitInfo) -> bool {
        self.env().settings.script_io_block && !info.via_async
    }

    /// What a function hears at once instead of waiting: that there is nothing to wait for, or that it may
    /// not. Else the run has found shelter. `beside`: how many operations of the run have been started already.
    pub(super) fn no_wait(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        op: &ops::Request,
        info: &WaitInfo,
        beside: usize,
    ) -> Option<Outcome> {
        let at_once = matches!(op, ops::Request::Sleep(Duration::ZERO));
        let waiting = self.parked.len().max(self.by_op.len()) + beside;
        if !at_once && waiting >= self.blueprint.max_suspended {
            self.counters.inc(Counter::WaitsRefused);
            return Some(refused("too many runs wait already"));
        }
        if !self.blocks(info) && (info.via_async || !at_once) && !self.shelter(run, role) {
            return Some(refused("no transaction could be made"));
        }
        if info.via_async
            && let Some(tx) = role.tx
        {
            self.promote(run.host_mut(), tx);
        }
        at_once.then_some(Outcome::Op(ops::Outcome::Slept))
    }

    /// Starts an operation: `limit` seconds are the function's, `timeout` the statement's; it ends at `latest`.
    pub(super) fn start_operation(
        &mut self,
        op: ops::Request,
        limit: Option<f64>,
        timeout: Option<u32>,
        latest: Time,
    ) -> OpId {
        let secs = match (timeout.map(f64::from), limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let deadline = match secs {
            Some(s) => self.now + Duration::from_secs_f64(s.clamp(0.001, 86_400.0)),
            // A sleep waits as long as it says.
            None if matches!(op, ops::Request::Sleep(_)) => Time::NEVER,
            None => self.now + self.env().settings.async_timeout,
        };
        let keeps = !self.env().settings.resume_on_cancel && !op.only_reads();
        let io = self.reactor.io(self.now);
        let id = self.driver.start(op, deadline.min(latest), io);
        if keeps {
            self.writing.insert(id);
        }
        id
    }

    /// A request that is about to wait without a transaction gets one, which absorbs its
    /// retransmissions. False if none could be made.
    pub(super) fn shelter(&mut self, run: &mut Suspended<SipHost>, role: &mut Role) -> bool {
        let info = run.describe();
        let RoleKind::Request(matched) = &role.kind else { return true };
        if role.tx.is_some() || info.launched || run.host().msg.method() == Method::Ack {
            return true;
        }
        let cancel = matches!(matched, Matched::Cancel { .. });
        let birth = if info.via_async && !cancel { Birth::Full } else { Birth::Embryonic };
        let Ok(tx) = self.make_transaction(run.host_mut(), role, birth) else { return false };
        if let Some(data) = self.tm.user_mut(tx) {
            data.by_async = info.via_async;
        }
        true
    }

    /// Makes the transaction of the request in work.
    pub(super) fn make_transaction(
        &mut self,
        host: &mut SipHost,
        role: &mut Role,
        birth: Birth,
    ) -> Result<TxKey, CreateError> {
        let path = self.reply_path(&host.msg, origin_of(host), host.rport);
        let reliable = self.env().listeners.get(usize::from(host.listener)).is_some_and(|l| l.transport.is_reliable());
        let data = TxData { busy: true, ..TxData::default() };
        let tx = self.tm.create_server(self.now, host.msg.clone(), path, reliable, birth, data)?;
        self.counters.inc(Counter::TmUasTransactions);
        role.tx = Some(tx);
        host.tm.key = Some(tx);
        host.tm.embryonic = birth == Birth::Embryonic;
        if birth == Birth::Full {
            self.send_100(host, tx);
        }
        self.flush_transactions();
        Ok(tx)
    }

    /// The 100 that an INVITE gets when its transaction is made.
    fn send_100(&mut self, host: &SipHost, tx: TxKey) {
        let wanted = host.tm.switches.auto_100.unwrap_or(self.env().settings.auto_100);
        if host.msg.method() == Method::Invite && wanted {
            let reply = ReplyRequest { code: 100, reason: Str::from("Giving it a try"), body: None };
            let _ = self.reply_through(host, tx, &reply);
        }
    }

    /// Makes an embryonic transaction a full one, silently for the script.
    pub(super) fn promote(&mut self, host: &mut SipHost, tx: TxKey) {
        if self.tm.view(tx).is_some_and(|v| v.embryonic) {
            self.tm.promote(tx);
            host.tm.embryonic = false;
            self.send_100(host, tx);
        }
    }

    /// The transaction of a run, made or promoted if need be.
    pub(super) fn full_transaction(&mut self, host: &mut SipHost, role: &mut Role) -> Result<TxKey, CreateError> {
        match role.tx {
            Some(tx) => {
                self.promote(host, tx);
                Ok(tx)
            }
            None => self.make_transaction(host, role, Birth::Full),
        }
    }

    fn stateless(&mut self, host: &mut SipHost, role: &mut Role, reply: ReplyRequest) -> Act {
        if host.phony || !host.msg.is_request() {
            return code(-1);
        }
        if host.msg.method() == Method::Ack {
            return code(1);
        }
        // While the script waited, a transaction absorbed the retransmissions: the reply leaves through it.
        if let Some(tx) = role.tx
            && let Some(view) = self.tm.view(tx)
        {
            if view.final_sent.is_some() {
                return code(-1);
            }
            // Nor may a second final reply follow: it leaves through it, too, when no branch will bring one.
            if !self.tm.branches(tx).any(|b| b.pending) {
                self.tm.promote(tx);
                return code(if self.reply_through(host, tx, &reply) { 1 } else { -1 });
            }
        }
        let mut path = self.reply_path(&host.msg, origin_of(host), host.rport);
        path.no_new_conn = self.replies_open_none(Some(host));
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        self.write_reply(&host.msg, Some(host), &path, &reply, &mut out);
        self.follow_reply(&out);
        let asks = self.hooks.replies || self.hooks.local_response.is_some();
        match asks.then(|| self.leaving_reply(&path, &out, true).map(std::borrow::Cow::into_owned)) {
            None => {
                self.send_reply_now(&path, &out);
            }
            Some(Some(bytes)) => {
                self.send_reply_now(&path, &bytes);
            }
            Some(None) => {}
        }
        self.scratch = out;
        self.count_stateless(reply.code);
        self.close_if_wanted(host, reply.code);
        code(1)
    }

    fn count_stateless(&self, status: u16) {
        self.counters.inc(match status / 100 {
            1 => Counter::Sl1xx,
            2 => Counter::Sl2xx,
            3 => Counter::Sl3xx,
            4 => Counter::Sl4xx,
            5 => Counter::Sl5xx,
            _ => Counter::Sl6xx,
        });
    }

    fn stateful(&mut self, host: &mut SipHost, role: &mut Role, reply: ReplyRequest) -> Act {
        if host.phony || !host.msg.is_request() || host.msg.method() == Method::Ack {
            return code(-1);
        }
        let tx = match role.tx {
            Some(tx) => {
                self.tm.promote(tx);
                tx
            }
            // The reply itself takes the place of the 100.
            None => match self.make_quietly(host, role) {
                Ok(tx) => tx,
                Err(_) => return code(-1),
            },
        };
        code(if self.reply_through(host, tx, &reply) { 1 } else { -1 })
    }

    fn make_quietly(&mut self, host: &mut SipHost, role: &mut Role) -> Result<TxKey, CreateError> {
        let tx = self.make_transaction(host, role, Birth::Embryonic)?;
        self.tm.promote(tx);
        host.tm.embryonic = false;
        Ok(tx)
    }

    fn new_transaction(&mut self, host: &mut SipHost, role: &mut Role) -> Act {
        if host.msg.method() == Method::Ack {
            return code(1);
        }
        match role.tx {
            Some(tx) if self.tm.view(tx).is_some_and(|v| v.embryonic) => {
                self.promote(host, tx);
                code(1)
            }
            Some(_) => code(-10),
            None => match self.make_transaction(host, role, Birth::Full) {
                Ok(_) => code(1),
                Err(CreateError::Exists(_)) => code(0),
                Err(_) => code(-1),
            },
        }
    }

    fn check_transaction(&mut self, role: &Role, host: &SipHost) -> Act {
        if let RoleKind::Request(matched) = role.kind {
            match matched {
                Matched::Cancel { invite } => return code(if invite.is_some() { 1 } else { -1 }),
                Matched::Ack2xx(invite) => return code(if invite.is_some() { -2 } else { -3 }),
                _ => {}
            }
        }
        match role.tx {
            Some(_) if !host.tm.embryonic => code(1),
            _ => code(-1),
        }
    }

    fn cancel_branch(&mut self, role: &Role, which: CancelWhich) -> Act {
        let (Some(tx), RoleKind::Reply(branch) | RoleKind::Branch(_, branch)) = (role.tx, &role.kind) else {
            return code(-1);
        };
        let scope = match which {
            CancelWhich::This => CancelScope::Branch(*branch),
            CancelWhich::All => CancelScope::All,
            CancelWhich::Others => CancelScope::Others(*branch),
        };
        let done = self.tm.cancel(self.now, tx, scope);
        self.flush_transactions();
        code(if done { 1 } else { -1 })
    }

    /// Sends a reply through a transaction.
    pub(super) fn reply_through(&mut self, host: &SipHost, tx: TxKey, reply: &ReplyRequest) -> bool {
        let path = ReplyPath { rport: host.rport, ..self.reply_path(&host.msg, origin_of(host), host.rport) };
        let Some(own) = self.own_reply(&host.msg, Some(host), &path, reply) else { return false };
        let no_new_conn = self.replies_open_none(Some(host));
        if let Some(data) = self.tm.user_mut(tx) {
            data.no_new_conn = no_new_conn;
        }
        let sent = self.tm.reply(self.now, tx, own.outgoing()).is_ok();
        if sent {
            self.replied_locally(own.bytes(), origin_of(host));
        }
        self.flush_transactions();
        self.close_if_wanted(host, reply.code);
        sent
    }

    /// `set_reply_close`: behind its final reply the connection is of no more use.
    fn close_if_wanted(&mut self, host: &SipHost, status: u16) {
        if status >= 200
            && let Some(conn) = host.conn
            && host.has_flag(REPLY_CLOSE.as_bytes())
        {
            self.order_conn(conn, ConnOrder::Close);
        }
    }
}

/// A wait that the engine refuses: the function hears it as a failed operation.
pub(super) fn refused(reason: &'static str) -> Outcome {
    Outcome::Op(ops::Outcome::Failed(ops::Failure::new(ops::Why::Overload, ops::Phase::Queue, reason)))
}
