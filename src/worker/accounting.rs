//! Accounting (`acc`): when the final reply of a transaction goes out, what is to be written about it is read at once. Lines
//! go to the log; rows wait in a queue of the worker and are written by operations, so nothing waits for the database.
//! A row is lost only if the queue is full, or the database has refused it or may have taken it: that is counted, and the
//! row is in the log.

use super::state::Worker;
use crate::base::{Key, Str, Time};
use crate::modules::acc::record::{Expand, Record, What};
use crate::modules::acc::{self, Wanted};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::net::reactor::Source;
use crate::ops::driver::Ended;
use crate::ops::{self, OpId, Outcome, Phase, SqlRequest, Why};
use crate::script::avp::Avps;
use crate::script::value::Value;
use crate::script::vm::Run;
use crate::sip::{Message, Method};
use crate::store::Counter;
use crate::transaction::{BranchNo, TxKey};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Rows of a worker that are on their way to the database at a time.
const IN_FLIGHT: usize = 4;
/// Seconds that the database may take for a row.
const LIMIT: f64 = 10.0;
/// How long nothing is tried after the database could not be reached.
const PAUSE: Duration = Duration::from_secs(1);
/// The timer that ends the pause.
pub(super) const TIMER: Key = Key { index: u32::MAX - 2, generation: 1 };

/// A row that is to be written.
struct Row {
    request: SqlRequest,
    /// The same as a line, should the row be lost.
    line: String,
}

/// What a worker has to account.
#[derive(Default)]
pub struct Accounting {
    /// The script uses the module.
    pub(super) on: bool,
    waiting: VecDeque<Row>,
    in_flight: HashMap<OpId, Row>,
    /// Nothing is tried before.
    pause: Option<Time>,
    /// The reply that went out last: its final status comes behind it.
    sent: Option<(TxKey, Str)>,
}

impl Accounting {
    /// Whether every row has found its end.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }
}

/// A request that no run has, with its AVPs.
pub type Account = (SipHost, Avps);

/// A machine that reads variables for a request.
pub(super) struct Reading {
    pub run: Run<SipHost>,
    pub now: Time,
}

impl Expand for Reading {
    fn value(&mut self, text: &[u8]) -> Value {
        self.run.value(text, self.now)
    }

    fn host(&self) -> &SipHost {
        self.run.host()
    }
}

impl Worker {
    /// A reply has gone out through a transaction.
    pub(super) fn reply_left(&mut self, tx: TxKey, bytes: &Str) {
        if !self.accounting.on {
            return;
        }
        let status = status_of(bytes);
        if self.env().settings.acc.early_media && (101..200).contains(&status) {
            self.account_early(tx, status, bytes);
        }
        self.accounting.sent = Some((tx, bytes.clone()));
    }

    /// The final reply of a transaction has gone out.
    pub(super) fn account_final(&mut self, tx: TxKey, branch: Option<BranchNo>, status: u16) {
        if !self.accounting.on || self.tm.view(tx).is_none_or(|v| v.server.is_none()) {
            return;
        }
        let bytes = self.accounting.sent.take().filter(|(of, _)| *of == tx).map(|(_, bytes)| bytes);
        // A callee may have left out what others need, such as the caller's Via: then as it came.
        let came = || branch.and_then(|b| self.tm.branch(tx, b)).and_then(|b| b.reply.cloned());
        let reply = bytes.and_then(|b| Message::parse(b).ok()).or_else(came);
        if branch.is_none() && status >= 300 {
            self.account_missed(tx, status, reply.as_ref());
        }
        self.account_reply(tx, status, reply);
    }

    fn account_reply(&mut self, tx: TxKey, status: u16, reply: Option<Message>) {
        let Some(host) = self.account_of(tx) else { return };
        let s = &self.env().settings.acc;
        let (wanted, cancel) = (acc::wanted(host), host.msg.method() == Method::Cancel);
        if wanted.is_nothing() || (cancel && !s.report_cancels) {
            return;
        }
        let filtered = s.failed_filter.contains(&status);
        let counts = |ways: acc::Ways| ways.done && (status < 300 || (ways.failed && !filtered));
        let (log, db) = (counts(wanted.log), counts(wanted.db));
        if log || db {
            self.account(tx, &What::Answered(status, reply), log, db.then_some(false), &wanted);
        }
    }

    /// A provisional reply with a body; a repeated one is accounted once.
    fn account_early(&mut self, tx: TxKey, status: u16, bytes: &Str) {
        let Ok(reply) = Message::parse(bytes.clone()) else { return };
        if reply.body().is_empty() {
            return;
        }
        let Some(data) = self.tm.user_mut(tx) else { return };
        if data.early.as_ref() == Some(bytes) {
            return;
        }
        data.early = Some(bytes.clone());
        self.account_reply(tx, status, Some(reply));
    }

    /// Every branch of a call has failed, or it was refused here.
    pub(super) fn account_missed(&mut self, tx: TxKey, status: u16, reply: Option<&Message>) {
        if !self.accounting.on {
            return;
        }
        let Some(host) = self.account_of(tx) else { return };
        let wanted = acc::wanted(host);
        if host.msg.method() != Method::Invite || !(wanted.log.missed || wanted.db.missed) {
            return;
        }
        let own = Str::from(self.local_tag(&host.msg).as_slice());
        let what = What::Missed(status, reply.cloned(), own);
        self.account(tx, &what, wanted.log.missed, wanted.db.missed.then_some(true), &wanted);
        let Some(data) = self.tm.user_mut(tx) else { return };
        let own = data.account.as_deref_mut().map(|account| &mut account.0);
        own.into_iter().chain(data.host.as_deref_mut()).for_each(acc::forget_missed);
    }

    /// The end-to-end ACK of a call is relayed: it is accounted if its own flags say so, with the AVPs of the INVITE.
    pub(super) fn account_ack(&mut self, invite: TxKey, host: &SipHost) {
        let wanted = acc::wanted(host);
        let on = self.accounting.on && self.env().settings.acc.report_ack;
        let Some(status) = self.tm.view(invite).and_then(|v| v.final_sent).filter(|_| on) else { return };
        if wanted.log.done || wanted.db.done {
            let avps = self.tm.user(invite).map(|data| data.avps.clone()).unwrap_or_default();
            let from = (host.clone(), avps);
            let db = wanted.db.done.then_some(false);
            self.write_account(from, &What::Acknowledged(status), wanted.log.done, db, &wanted);
        }
    }

    /// The request of a transaction as the script left it.
    fn account_of(&self, tx: TxKey) -> Option<&SipHost> {
        let data = self.tm.user(tx)?;
        data.account.as_deref().map(|a| &a.0).or(data.host.as_deref())
    }

    fn account(&mut self, tx: TxKey, what: &What, log: bool, db: Option<bool>, wanted: &Wanted) {
        let Some(data) = self.tm.user(tx) else { return };
        let from = match (&data.account, &data.host) {
            (Some(account), _) => (**account).clone(),
            (None, Some(host)) => ((**host).clone(), data.avps.clone()),
            _ => return,
        };
        self.write_account(from, what, log, db, wanted);
    }

    /// Writes the line and the row. `db`: whether it goes to the table of missed calls.
    fn write_account(&mut self, from: Account, what: &What, log: bool, db: Option<bool>, wanted: &Wanted) {
        let Some(route) = self.routes.request else { return };
        let (mut host, avps) = from;
        host.other = match what {
            What::Answered(_, reply) | What::Missed(_, reply, _) => reply.clone(),
            _ => None,
        };
        let dialect = self.blueprint.program.dialect;
        let run = Run::new(self.program(), route, host).with_avps(avps);
        let mut reading = Reading { run, now: self.now };
        let record = Record::of(&mut reading, what, dialect);
        let env = self.env().clone();
        let s = &env.settings.acc;
        let line = record.line(s);
        if log {
            self.counters.inc(Counter::AccLines);
            emit(s.log_level, "acc", &line);
        }
        let Some(missed) = db else { return };
        let format = match (missed, &wanted.table) {
            (false, Some(own)) => own,
            (false, None) => &s.table,
            (true, _) => &s.missed_table,
        };
        let table = reading.value(format).to_text().unwrap_or_default();
        let request = record.row(s, &table).and_then(|(text, params)| acc::statement(reading.host(), text, params));
        match request {
            Ok(request) => self.submit(Row { request, line }),
            Err(why) => self.lose(&line, &why),
        }
    }

    fn submit(&mut self, row: Row) {
        if self.accounting.waiting.len() >= self.env().settings.acc.queue {
            return self.lose(&row.line, "too many rows wait for the database (queue_size)");
        }
        self.accounting.waiting.push_back(row);
        self.write_rows();
    }

    fn lose(&self, line: &str, why: &str) {
        self.counters.inc(Counter::AccLost);
        emit(-1, "acc", &format!("a row is lost: {why}: {line}"));
    }

    /// Hands rows to the database.
    pub(super) fn write_rows(&mut self) {
        let paused = self.accounting.pause.is_some_and(|until| self.now < until);
        if !paused {
            self.accounting.pause = None;
        }
        while !paused
            && self.accounting.in_flight.len() < IN_FLIGHT
            && let Some(row) = self.accounting.waiting.pop_front()
        {
            let id = self.start_operation(ops::Request::Sql(row.request.clone()), Some(LIMIT), None, Time::NEVER);
            self.writing.remove(&id);
            self.accounting.in_flight.insert(id, row);
        }
        self.counters.set(Counter::AccWaiting, self.accounting.waiting.len() as u64);
    }

    /// An operation has ended: whether it was a row's.
    pub(super) fn row_ended(&mut self, ended: &Ended) -> bool {
        let Some(row) = self.accounting.in_flight.remove(&ended.id) else { return false };
        match &ended.outcome {
            Outcome::Failed(f) if unseen(f.why, f.phase) && !self.gives_up_rows() => {
                // The database has not seen it: it may be written later, and then once.
                self.accounting.waiting.push_front(row);
                if self.accounting.pause.is_none() {
                    emit(1, "acc", &format!("rows wait for the database: {f}"));
                    let until = self.now + PAUSE;
                    self.accounting.pause = Some(until);
                    self.reactor.io(self.now).arm(until, Source::Worker, TIMER);
                }
            }
            Outcome::Failed(f) => self.lose(&row.line, &f.to_string()),
            _ => self.counters.inc(Counter::AccRows),
        }
        self.write_rows();
        true
    }

    /// The server ends, and no time is left.
    fn gives_up_rows(&self) -> bool {
        self.drain.as_ref().is_some_and(|d| !d.is_armed(self.now))
    }

    /// The server ends: rows that the database has not taken are in the log.
    pub(super) fn lose_rows(&mut self) {
        for row in std::mem::take(&mut self.accounting.waiting) {
            self.lose(&row.line, "the server ends");
        }
        for (id, row) in std::mem::take(&mut self.accounting.in_flight) {
            self.give_up(id);
            self.lose(&row.line, "the server ends, and the database has not answered");
        }
    }
}

/// Whether the database cannot have seen a statement that failed so.
fn unseen(why: Why, phase: Phase) -> bool {
    let early = matches!(phase, Phase::Queue | Phase::Resolve | Phase::Connect | Phase::Tls | Phase::Login);
    matches!(why, Why::Open | Why::Overload) || (early && why != Why::BadRequest && why != Why::Denied)
}

/// The status of a reply.
fn status_of(bytes: &[u8]) -> u16 {
    let digits = bytes.get(8..11).and_then(crate::sip::bytes::parse_u32);
    digits.and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_has_not_seen_is_written_later() {
        for (why, phase, again) in [
            (Why::Refused, Phase::Connect, true),
            (Why::Timeout, Phase::Connect, true),
            (Why::Timeout, Phase::Queue, true),
            (Why::Open, Phase::Queue, true),
            (Why::Closed, Phase::Login, true),
            (Why::Timeout, Phase::Wait, false),
            (Why::Closed, Phase::Receive, false),
            (Why::Denied, Phase::Wait, false),
            (Why::Denied, Phase::Login, false),
            (Why::BadRequest, Phase::Queue, false),
        ] {
            assert_eq!(unseen(why, phase), again, "{why} {phase}");
        }
        assert_eq!(status_of(b"SIP/2.0 486 Busy"), 486);
        assert_eq!(status_of(b"SIP"), 0);
    }
}
