//! [`Transactions`]: all transactions of one worker. This file: making, finding and ending them,
//! the server side, time. `forking.rs` has the branches.

use super::alarms::{Accuracy, Alarm, Alarms, Machine};
use super::branch_id::{BranchId, BranchNo, BranchText};
use super::echo::Echoes;
use super::entry::{Server, ServerMachine, Timer, Tx};
use super::key::{Keys, PrehashedState, ServerKey};
use super::output::{CreateError, Matched, Outgoing, Output, ReplyError, TxKey};
use super::server_invite::{Action, Actions, Answer, Input, ServerInvite};
use super::server_noninvite::ServerNonInvite;
use super::timing::{Config, Timing};
use crate::base::{Slab, Str, Time};
use crate::sip::Message;
use crate::sip::Method;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// All transactions of one worker. `U`: what the worker attaches to each (armed routes, AVPs, a
/// run that waits). `D`: where a request goes. `P`: where the replies to a request go. `D` and
/// `P` are cloned into outputs and should be cheap to clone.
///
/// How to drive it:
/// 1. Call one method for what happened (a message, an order of the script), or
///    [`Transactions::expire`] when [`Transactions::next_timer`] has come.
/// 2. Drain [`Transactions::poll_output`] and do what it says; that may call further methods.
/// 3. Wait.
pub struct Transactions<U, D, P> {
    pub(super) config: Config,
    pub(super) keys: Keys,
    pub(super) slab: Slab<Box<Tx<U, D, P>>>,
    by_request: HashMap<ServerKey, TxKey, PrehashedState>,
    legs: HashMap<u64, TxKey, PrehashedState>,
    echoes: Echoes<P>,
    alarms: Alarms,
    due: Vec<Alarm>,
    out: VecDeque<Queued<U, D, P>>,
    pub(super) stats: Stats,
}

/// Counters since the start.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Server transactions made.
    pub uas_transactions: u64,
    /// Transactions made for requests of the server's own.
    pub local_transactions: u64,
    /// Branches sent.
    pub uac_transactions: u64,
    /// Embryonic transactions that disappeared without a reply.
    pub discarded: u64,
    /// Received requests that were retransmissions.
    pub received_retransmissions: u64,
    /// Requests sent again.
    pub sent_retransmissions: u64,
    /// Replies that belonged to a transaction.
    pub received_replies: u64,
    /// Of these: absorbed.
    pub absorbed_replies: u64,
    /// Replies relayed upstream.
    pub relayed_replies: u64,
    /// Replies made here.
    pub local_replies: u64,
    /// Branches that ended by a timer.
    pub timeouts: u64,
    /// Final replies by class, 2xx to 6xx.
    pub finals: [u64; 5],
    /// Negative replies that were never acknowledged.
    pub unacknowledged: u64,
    /// Transactions refused because the table was full.
    pub refused: u64,
}

/// How a server transaction begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Birth {
    /// Made by the script.
    #[default]
    Full,
    /// Made by a wait before the script made one: absorbs retransmissions, is
    /// [promoted](Transactions::promote) or [discarded](Transactions::discard) silently.
    Embryonic,
}

/// An output, or a transaction that ends when everything before it has been taken: so the data
/// attached to it can be reached while its last outputs are dealt with.
enum Queued<U, D, P> {
    Output(Output<U, D, P>),
    End(TxKey),
}

/// Everything but the transactions themselves: what a step on one of them may touch.
pub(super) struct Desk<'a, U, D, P> {
    pub config: &'a Config,
    pub keys: &'a Keys,
    pub key: TxKey,
    pub now: Time,
    out: &'a mut VecDeque<Queued<U, D, P>>,
    pub stats: &'a mut Stats,
    alarms: &'a mut Alarms,
    legs: &'a mut HashMap<u64, TxKey, PrehashedState>,
    echoes: &'a mut Echoes<P>,
}

impl<U, D: Clone, P: Clone> Transactions<U, D, P> {
    /// An empty table.
    pub fn new(now: Time, config: Config) -> Self {
        Transactions {
            keys: Keys::new(config.secret, config.ruri_matching, config.via1_matching),
            echoes: Echoes::new(config.max_echo_bytes),
            config,
            slab: Slab::new(),
            by_request: HashMap::default(),
            legs: HashMap::default(),
            alarms: Alarms::new(now),
            due: Vec::new(),
            out: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Replaces the configuration: running timers keep their deadlines, worker, incarnation and
    /// secret stay as they are.
    pub fn configure(&mut self, config: Config) {
        let old = std::mem::replace(&mut self.config, config);
        (self.config.worker, self.config.incarnation, self.config.secret) = (old.worker, old.incarnation, old.secret);
        self.keys = Keys::new(old.secret, self.config.ruri_matching, self.config.via1_matching);
    }

    /// Finds out what a received request is, and answers or absorbs it if it belongs to a
    /// transaction (§17.2.3).
    pub fn match_request(&mut self, now: Time, request: &Message) -> Matched {
        let matcher = self.keys.request(request);
        let found = matcher.and_then(|m| self.by_request.get(&m.key).copied());
        if found.is_none()
            && request.method() != Method::Ack
            && let Some(echo) = matcher.and_then(|m| self.echoes.find(now, &m.key))
        {
            self.stats.received_retransmissions += 1;
            if let Some((bytes, path)) = echo.last.as_deref().cloned() {
                self.out.push_back(Queued::Output(Output::Reply { tx: echo.tx, bytes, path }));
            }
            return Matched::Echo(echo.tx);
        }
        match request.method() {
            Method::Ack => self.match_ack(now, request, found),
            Method::Cancel if found.is_none() => {
                let invite = self.keys.cancelled(request).and_then(|m| self.by_request.get(&m.key).copied());
                Matched::Cancel { invite }
            }
            _ => match found {
                Some(key) => {
                    self.stats.received_retransmissions += 1;
                    self.server_input(now, key, Input::Retransmit);
                    Matched::Retransmission(key)
                }
                None => Matched::New,
            },
        }
    }

    fn match_ack(&mut self, now: Time, ack: &Message, found: Option<TxKey>) -> Matched {
        let to_tag = self.keys.tag(ack.to_tag().unwrap_or_default());
        if let Some(key) = found
            && let Some(tx) = self.slab.get(key)
            && let Some(server) = &tx.server
        {
            match server.machine {
                // A client that uses the INVITE's branch for the ACK to a 2xx.
                ServerMachine::Invite(ServerInvite::Accepted(_)) => {
                    self.server_input(now, key, Input::Ack { to_tag });
                    return Matched::Ack2xx(Some(key));
                }
                // §17.2.3: for an RFC 2543 client the To tag must be that of our reply.
                _ if !server.rfc2543 || server.to_tag == to_tag => {
                    self.server_input(now, key, Input::Ack { to_tag });
                    return Matched::AckNon2xx(key);
                }
                _ => {}
            }
        }
        let leg = self.legs.get(&self.keys.leg(ack)).copied();
        if let Some(key) = leg {
            self.server_input(now, key, Input::Ack { to_tag });
        }
        Matched::Ack2xx(leg)
    }

    /// Makes a transaction for a received request that [`Transactions::match_request`] called
    /// new (or for a CANCEL that came for the first time).
    ///
    /// # Errors
    /// See [`CreateError`]; `Exists` names the transaction that is there.
    pub fn create_server(
        &mut self,
        now: Time,
        request: Message,
        path: P,
        reliable: bool,
        birth: Birth,
        user: U,
    ) -> Result<TxKey, CreateError> {
        if !request.is_request() || request.method() == Method::Ack {
            return Err(CreateError::Unusable);
        }
        let matcher = self.keys.request(&request).ok_or(CreateError::Unusable)?;
        if let Some(key) = self.by_request.get(&matcher.key) {
            return Err(CreateError::Exists(*key));
        }
        self.room()?;
        let method = request.method();
        let machine = if method == Method::Invite {
            ServerMachine::Invite(ServerInvite::new(Some(now + self.config.trying_after)))
        } else {
            let trying = self.config.noninvite_100.then(|| now + self.config.noninvite_trying_after());
            ServerMachine::NonInvite(ServerNonInvite::new(trying))
        };
        let mut tx = Tx::new(now, method, Some(request), user);
        tx.embryonic = birth == Birth::Embryonic;
        tx.server = Some(Server {
            key: matcher.key,
            rfc2543: matcher.rfc2543,
            machine,
            path,
            reliable,
            timer: None,
            to_tag: 0,
            leg: None,
        });
        let key = self.slab.insert(Box::new(tx));
        self.by_request.insert(matcher.key, key);
        self.stats.uas_transactions += 1;
        self.on(now, key, |desk, tx| desk.arm_server(tx));
        Ok(key)
    }

    /// Makes a transaction without a server side, for a request of the server's own: open and
    /// send one branch. 2xx are delivered each time they come; a negative end is announced by
    /// [`Output::FinalChosen`]. Until a branch has ended it only ends by
    /// [`Transactions::discard`].
    ///
    /// # Errors
    /// [`CreateError::Full`]; [`CreateError::Unusable`] for ACK and CANCEL.
    pub fn create_local(&mut self, now: Time, method: Method, user: U) -> Result<TxKey, CreateError> {
        if matches!(method, Method::Ack | Method::Cancel) {
            return Err(CreateError::Unusable);
        }
        self.room()?;
        self.stats.local_transactions += 1;
        Ok(self.slab.insert(Box::new(Tx::new(now, method, None, user))))
    }

    fn room(&mut self) -> Result<(), CreateError> {
        if self.slab.len() < self.config.max_transactions {
            return Ok(());
        }
        self.stats.refused += 1;
        Err(CreateError::Full)
    }

    /// Makes an embryonic transaction a full one.
    pub fn promote(&mut self, tx: TxKey) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.embryonic = false;
        }
    }

    /// Ends the server side without any answer: an embryonic transaction whose script did not
    /// reply is gone at once; one whose final reply must not be sent (RFC 4320 §4.2) goes on absorbing
    /// what its client repeats. Branches are cancelled.
    pub fn discard(&mut self, now: Time, tx: TxKey) {
        self.on(now, tx, |desk, tx| {
            if tx.is_answered() {
                return;
            }
            desk.stats.discarded += u64::from(tx.embryonic);
            tx.discarded = true;
            let reliable = tx.server.as_ref().is_some_and(|s| s.reliable);
            let timing = desk.timing(tx, reliable);
            // A client repeats its request for 64*T1 (timer F), whatever `wt` says.
            let repeats = if reliable { Duration::ZERO } else { timing.t1_64() + timing.t4 };
            let until = (tx.created + repeats).max(desk.now + timing.absorb());
            let embryonic = tx.embryonic;
            if let Some(server) = &mut tx.server {
                let machine = std::mem::replace(&mut server.machine, ServerMachine::terminated());
                if !embryonic {
                    server.machine = machine.silenced(desk.now, until);
                }
            }
            desk.arm_server(tx);
            desk.stop_awaiting(tx);
            desk.cancel_pending(tx, None);
        });
    }

    /// Sends a reply that was made here. A final one ends what is pending; a 2xx to an INVITE is
    /// repeated until its ACK comes.
    ///
    /// # Errors
    /// See [`ReplyError`].
    pub fn reply(&mut self, now: Time, tx: TxKey, reply: Outgoing<'_>) -> Result<(), ReplyError> {
        self.reply_as(now, tx, reply, None)
    }

    /// Sends the final reply that [`Transactions::release_final`] decided for: as
    /// [`Transactions::reply`], but counted as that branch's.
    ///
    /// # Errors
    /// See [`ReplyError`].
    pub fn relay_final(
        &mut self,
        now: Time,
        tx: TxKey,
        branch: BranchNo,
        reply: Outgoing<'_>,
    ) -> Result<(), ReplyError> {
        self.reply_as(now, tx, reply, Some(branch))
    }

    fn reply_as(
        &mut self,
        now: Time,
        tx: TxKey,
        reply: Outgoing<'_>,
        branch: Option<BranchNo>,
    ) -> Result<(), ReplyError> {
        self.on(now, tx, |desk, tx| {
            let status = reply.status;
            if tx.server.is_none() {
                return Err(ReplyError::Local);
            }
            if tx.is_answered() {
                return Err(ReplyError::FinalSent);
            }
            // RFC 4320 §4.1.
            if !tx.is_invite() && (101..200).contains(&status) {
                return Err(ReplyError::Provisional);
            }
            if status > 100 {
                tx.embryonic = false;
            }
            let to_tag = desk.keys.tag(reply.to_tag);
            desk.upstream(tx, Answer { status, bytes: reply.bytes, own: branch.is_none(), to_tag }, branch);
            Ok(())
        })
        .unwrap_or(Err(ReplyError::Gone))
    }

    /// Sends the last reply again; whether there is one.
    pub fn repeat_reply(&mut self, now: Time, tx: TxKey) -> bool {
        let before = self.out.len();
        self.server_input(now, tx, Input::Retransmit);
        self.out.len() > before
    }

    /// Keeps the transaction from ending (a run waits in it) until [`Transactions::unkeep`].
    pub fn keep(&mut self, tx: TxKey) {
        if let Some(tx) = self.slab.get_mut(tx) {
            tx.kept = tx.kept.saturating_add(1);
        }
    }

    /// Undoes one [`Transactions::keep`].
    pub fn unkeep(&mut self, now: Time, tx: TxKey) {
        self.on(now, tx, |_, tx| tx.kept = tx.kept.saturating_sub(1));
    }

    /// Sets this transaction's own `fr_timeout` and `fr_inv_timeout`: they hold for branches that
    /// are opened, and timers that start, from now on. `None`: as configured.
    pub fn set_timeouts(&mut self, tx: TxKey, fr: Option<Duration>, fr_inv: Option<Duration>) {
        if let Some(tx) = self.slab.get_mut(tx) {
            (tx.fr, tx.fr_inv) = (fr, fr_inv);
        }
    }

    /// When [`Transactions::expire`] has to be called next (at the latest).
    pub fn next_timer(&self) -> Option<Time> {
        self.alarms.next()
    }

    /// Does what is due at `now`.
    pub fn expire(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.due);
        self.alarms.expire(now, |alarm| due.push(alarm));
        for alarm in due.drain(..) {
            self.on(now, alarm.tx, |desk, tx| match alarm.machine {
                Machine::Server => {
                    let deadline = tx.server.as_ref().and_then(|s| s.machine.deadline());
                    if deadline.is_some_and(|at| at <= now) {
                        desk.server(tx, Input::Timer);
                    }
                }
                Machine::Branch(no) => desk.branch_timer(tx, no),
                Machine::Cancel(no) => desk.cancel_timer(tx, no),
                Machine::Awaiting => desk.awaiting_timer(tx),
            });
        }
        self.due = due;
    }

    /// The next thing to do. A transaction that has come to its end is removed when its
    /// [`Output::Ended`] is taken here.
    pub fn poll_output(&mut self) -> Option<Output<U, D, P>> {
        loop {
            match self.out.pop_front()? {
                Queued::Output(output) => return Some(output),
                Queued::End(key) => {
                    if let Some(ended) = self.end(key) {
                        return Some(ended);
                    }
                }
            }
        }
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Of how many that have ended the key and the last reply are still kept.
    pub fn echoes(&self) -> usize {
        self.echoes.len()
    }

    /// Lets go of what need not be kept any more. From time to time.
    pub fn tidy(&mut self, now: Time) {
        self.echoes.forget(now);
    }

    /// How many timers are armed.
    pub fn timers(&self) -> usize {
        self.alarms.len()
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The hash functions, for [`Keys::routing`] and [`super::branch_id::stateless`].
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The branch parameter of a branch; `routing` is [`Keys::routing`] of the received request.
    pub fn branch_text(&self, tx: TxKey, branch: BranchNo, routing: u64) -> Option<BranchText> {
        Some(self.branch_id(tx, branch)?.text(routing))
    }

    /// Whether an id that came from outside names a branch of this table.
    pub fn is_branch(&self, id: &BranchId) -> bool {
        self.branch_id(id.tx, id.branch) == Some(*id)
    }

    pub(super) fn branch_id(&self, key: TxKey, branch: BranchNo) -> Option<BranchId> {
        let tx = self.slab.get(key)?;
        Some(BranchId::new(&self.keys, self.config.worker, self.config.incarnation, key, branch, tx.created))
    }

    fn server_input(&mut self, now: Time, key: TxKey, input: Input) {
        self.on(now, key, |desk, tx| desk.server(tx, input));
    }

    /// One step on one transaction; afterwards looks whether it has come to its final reply or
    /// to its end.
    pub(super) fn on<R>(
        &mut self,
        now: Time,
        key: TxKey,
        step: impl FnOnce(&mut Desk<'_, U, D, P>, &mut Tx<U, D, P>) -> R,
    ) -> Option<R> {
        let tx = self.slab.get_mut(key)?;
        let mut desk = Desk {
            config: &self.config,
            keys: &self.keys,
            key,
            now,
            out: &mut self.out,
            stats: &mut self.stats,
            alarms: &mut self.alarms,
            legs: &mut self.legs,
            echoes: &mut self.echoes,
        };
        let result = step(&mut desk, tx);
        desk.choose(tx);
        if let Some(server) = tx.server.as_ref().filter(|s| s.machine.is_terminated())
            && self.by_request.get(&server.key) == Some(&key)
        {
            self.by_request.remove(&server.key);
        }
        if tx.is_answered() {
            tx.request = None;
        }
        if !tx.ending && !tx.is_alive() {
            tx.ending = true;
            self.out.push_back(Queued::End(key));
        }
        Some(result)
    }

    /// Removes a transaction, unless something has revived it.
    fn end(&mut self, key: TxKey) -> Option<Output<U, D, P>> {
        let tx = self.slab.get_mut(key)?;
        tx.ending = false;
        if tx.is_alive() {
            return None;
        }
        let tx = self.slab.remove(key)?;
        if let Some(server) = &tx.server {
            if self.by_request.get(&server.key) == Some(&key) {
                self.by_request.remove(&server.key);
            }
            if let Some(leg) = server.leg
                && self.legs.get(&leg) == Some(&key)
            {
                self.legs.remove(&leg);
            }
        }
        let timers = tx.branches.iter().flat_map(|b| [b.timer, b.cancel.as_ref().and_then(|c| c.timer)]);
        let others = [tx.server.as_ref().and_then(|s| s.timer), tx.awaiting.as_ref().and_then(|a| a.timer)];
        for (_, timer) in timers.chain(others).flatten() {
            self.alarms.cancel(timer);
        }
        Some(Output::Ended { tx: key, user: tx.user })
    }
}

impl<U, D: Clone, P: Clone> Desk<'_, U, D, P> {
    /// Timer values for a machine of `tx`.
    pub(super) fn timing(&self, tx: &Tx<U, D, P>, reliable: bool) -> Timing {
        let c = self.config;
        let or = |d: Duration, instead: Duration| if d.is_zero() { instead } else { d };
        let life = if tx.is_invite() { c.max_inv_lifetime } else { c.max_noninv_lifetime };
        let life = tx.lifetime.or(life);
        Timing {
            t1: tx.retransmit.0.unwrap_or(c.t1),
            t2: tx.retransmit.1.unwrap_or(c.t2),
            t4: c.t4,
            fr: or(tx.fr.unwrap_or(c.fr_timeout), c.t1_64()),
            fr_inv: or(tx.fr_inv.unwrap_or(c.fr_inv_timeout), c.timer_c),
            restart_fr: c.restart_fr_on_each_reply,
            give_up: life.map_or(Time::NEVER, |d| tx.created + d),
            wt: c.wt,
            reliable,
        }
    }

    /// Queues an output.
    pub(super) fn emit(&mut self, output: Output<U, D, P>) {
        self.out.push_back(Queued::Output(output));
    }

    /// Arms, moves or disarms a machine's timer.
    pub(super) fn arm(&mut self, timer: &mut Timer, deadline: Option<Time>, accuracy: Accuracy, machine: Machine) {
        let deadline = deadline.filter(|at| *at < Time::NEVER);
        // Not one that is due: it may have left the wheel already.
        if timer.map(|(at, _)| at) == deadline && deadline.is_none_or(|at| at > self.now) {
            return;
        }
        if let Some((_, old)) = timer.take() {
            self.alarms.cancel(old);
        }
        *timer = deadline.map(|at| (at, self.alarms.insert(at, accuracy, Alarm { tx: self.key, machine })));
    }

    pub(super) fn arm_server(&mut self, tx: &mut Tx<U, D, P>) {
        if let Some(server) = &mut tx.server {
            let (deadline, accuracy) = (server.machine.deadline(), server.machine.accuracy());
            self.arm(&mut server.timer, deadline, accuracy, Machine::Server);
        }
    }

    /// One step of the server machine.
    pub(super) fn server(&mut self, tx: &mut Tx<U, D, P>, input: Input) {
        let Some(reliable) = tx.server.as_ref().map(|s| s.reliable) else { return };
        let timing = self.timing(tx, reliable);
        let Some(server) = &mut tx.server else { return };
        let mut actions = Actions::new();
        let machine = std::mem::replace(&mut server.machine, ServerMachine::terminated());
        server.machine = machine.handle(self.now, &timing, input, &mut actions);
        for action in actions {
            match action {
                Action::Send(bytes) => self.send_reply(server, bytes),
                // An embryonic transaction of another method than INVITE stays silent.
                Action::TryingDue if tx.embryonic && tx.method != Method::Invite => {}
                Action::TryingDue => self.emit(Output::Local { tx: self.key, status: 100 }),
                Action::Remember(last, until) => {
                    let last = last.map(|bytes| (bytes, server.path.clone()));
                    self.echoes.keep(self.now, until, server.key, self.key, last);
                }
                Action::Unacknowledged => {
                    self.stats.unacknowledged += 1;
                    self.emit(Output::Unacknowledged { tx: self.key });
                }
            }
        }
        self.arm_server(tx);
    }

    pub(super) fn send_reply(&mut self, server: &Server<P>, bytes: Str) {
        self.emit(Output::Reply { tx: self.key, bytes, path: server.path.clone() });
    }

    /// Sends a reply upstream if it is one that may still be sent, and draws the consequences.
    pub(super) fn upstream(&mut self, tx: &mut Tx<U, D, P>, answer: Answer, branch: Option<BranchNo>) {
        let status = answer.status;
        let final_2xx = (200..300).contains(&status) && tx.is_invite();
        // §16.7 step 5: after a final reply only a 2xx to an INVITE.
        if tx.is_answered() && !final_2xx {
            return;
        }
        tx.last_sent = status;
        if let Some(server) = &mut tx.server {
            match branch {
                Some(_) => self.stats.relayed_replies += 1,
                None => self.stats.local_replies += 1,
            }
            if status >= 200 && server.rfc2543 {
                server.to_tag = answer.to_tag;
            }
            if final_2xx
                && server.leg.is_none()
                && let Some(request) = &tx.request
            {
                let leg = self.keys.leg(request);
                server.leg = Some(leg);
                self.legs.insert(leg, self.key);
            }
            self.server(tx, Input::Reply(answer));
        }
        if status >= 200 {
            self.answered(tx, status, branch);
        }
    }

    /// A final reply was sent (or reached, for a request of the server's own).
    pub(super) fn answered(&mut self, tx: &mut Tx<U, D, P>, status: u16, branch: Option<BranchNo>) {
        if let Some(class) = self.stats.finals.get_mut(usize::from(status / 100).saturating_sub(2)) {
            *class += 1;
        }
        tx.final_sent.get_or_insert(status);
        self.emit(Output::FinalSent { tx: self.key, branch, status });
        self.stop_awaiting(tx);
        // §16.7 step 10.
        match status {
            200..=299 | 600.. => self.cancel_losers(tx, status),
            _ => self.cancel_pending(tx, None),
        }
    }
}
