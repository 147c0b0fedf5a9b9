//! `save`: a REGISTER changes the bindings of its address and is answered. Where a database has a say the run waits for
//! it; what the shared store says is changed at once, and back if the database refuses.

use super::attributes;
use super::options::Options;
use super::refusal::Refusal;
use super::register::{Ask, Contacts, Plan, Rules, register};
use super::reply::{self, Prepared};
use super::request;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{Outcome, ReplyRequest, Request};
use crate::modules::usrloc::{self, Binding, Mode, Record, Row};
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A REGISTER that is being saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    ask: Ask,
    stage: Stage,
    /// What is sent when it is done.
    answer: Answer,
    plan: Plan,
    /// What the shared store said before.
    before: Record,
    /// Statements that are still to be done.
    statements: VecDeque<Statement>,
    /// The run holds the lock of the address.
    has_turn: bool,
    /// The reply that leaves when the lock is released.
    reply: Option<Prepared>,
    /// The reply headers of the script's own.
    headers: Str,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// It waits for its turn at this address.
    #[default]
    Turn,
    /// The rows of the address are being read.
    Reading,
    /// The statement at hand is being carried out.
    Writing,
    /// Its connection is told to stay.
    Connection,
    /// It lets others have their turn.
    Passing,
    /// The reply is on its way.
    Replying,
}

/// What a REGISTER is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    none: bool,
    prepare: bool,
    replace_others: bool,
    make_room: bool,
    max_contacts: usize,
    by_call_id: Option<bool>,
}

/// One change of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Statement {
    /// Writes a binding whose row is there.
    Update(Str),
    /// Writes bindings whose rows are not.
    Insert(Vec<Str>),
    /// Removes rows.
    Remove(Vec<Str>),
}

/// `save`
pub const SAVE: FnSpec<SipHost> = FnSpec {
    opensips: Some("save"),
    kamailio: Some("save"),
    params: &[
        Param::req("table", Kind::Str),
        Param::opt("flags", Kind::IntOrStr),
        Param::opt("address", Kind::Str),
        Param::opt("owner", Kind::Str),
    ],
    variadic: false,
    routes: RouteSet::letters("RFO"),
    waits: true,
    doc: "Carries out a REGISTER and answers it: 200 with the contacts of the address, or 400, 420, 423, 500, 503 with \
          the reason in `P-Registrar-Error`. The address is that of To, or `address`. All contacts of a request are \
          taken, or none. Flags by number: 1 the contacts are not written to the database, 2 no reply, 4 the contacts \
          of this request replace all others, 8 no variation of the time to live, 16 with 2: the reply is prepared for \
          `reg_send_reply`. By words (OpenSIPS): memory-only, no-reply, max-contacts=N, force-registration (the oldest \
          make room), matching-mode=N, path-off, path-lazy, path-strict, path-received, only-request-contacts, \
          socket-header, min-expires=N, max-expires=N; or the letters m r cN f MN p0 p1 p2 v o s eN EN.",
    returns: &[
        (1, "contacts were added (OpenSIPS: done)"),
        (2, "contacts were refreshed"),
        (3, "contacts were removed"),
        (4, "the request has no contacts: those that are there were told"),
        (-1, "refused, or an error"),
        (-2, "too many contacts (OpenSIPS: -1)"),
    ],
    example: r#"save("location");"#,
    run: begin,
    finish: Some(go_on),
};

/// `reg_send_reply`
pub const REG_SEND_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("reg_send_reply"),
    params: &[],
    routes: RouteSet::letters("RFO"),
    doc: "Sends the reply that `save` has prepared (flags 2 and 16).",
    returns: &[(1, "sent"), (-1, "none was prepared, or it could not be sent")],
    example: r#"if (save("location", "0x12")) reg_send_reply();"#,
    run: |call| {
        let prepared = call.host.location.as_mut().and_then(|k| k.prepared.take());
        match prepared {
            Some(prepared) => Step::Wait(send(call.host, prepared)),
            None => Step::Done(-1),
        }
    },
    finish: Some(|_call, outcome| Step::Done(outcome.code())),
    ..SAVE
};

/// Hands a reply to the worker; its headers go with it.
fn send(h: &mut SipHost, prepared: Prepared) -> Request {
    h.reply_headers.extend_from_slice(&prepared.headers);
    Request::AnyReply(ReplyRequest { code: prepared.code, reason: prepared.reason, body: None })
}

fn begin(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let flags = call.text(1).unwrap_or_default();
    let options = match Options::parse(&flags.to_lossy()) {
        Ok(options) => options,
        Err(why) => return Step::Fail(format!("save: {why}")),
    };
    let table = call.text(0).unwrap_or_default();
    let address = call.text(2).filter(|a| !a.is_empty());
    let most = attributes::configured(call, b"max_contacts").and_then(|v| v.to_int());
    let most = most.and_then(|n| usize::try_from(n).ok());
    let settings = &call.host.env().settings;
    let answer = Answer {
        none: options.no_reply,
        prepare: options.no_reply && options.prepare,
        replace_others: options.replace_others,
        make_room: options.make_room,
        max_contacts: options.max_contacts.or(most).unwrap_or(settings.registrar.max_contacts),
        by_call_id: options.matching.map(|m| m == usrloc::Matching::ContactAndCallId),
    };
    let mode = settings.usrloc.mode;
    let mut saving = Box::new(Saving { answer, ..Saving::default() });
    match request::read(call, table, &options, address) {
        Ok(ask) => saving.ask = ask,
        Err(why) => return refuse(call, saving, why),
    }
    if mode == Mode::Database {
        saving.ask.flags = 0;
        // Who changes an address reads its rows first: one at a time.
        let key = turn(&saving.ask);
        keep(call, saving);
        return Step::Wait(Request::Lock { key });
    }
    in_store(call, saving, mode)
}

fn turn(ask: &Ask) -> Str {
    Str::from([b"usrloc:", &ask.table[..], b":", &ask.aor[..]].concat())
}

fn keep(call: &mut Call<'_, SipHost>, saving: Box<Saving>) {
    call.host.location.get_or_insert_default().saving = Some(saving);
}

fn rules(h: &SipHost, answer: &Answer) -> Rules {
    let settings = &h.env().settings;
    let u = &settings.usrloc;
    Rules {
        matching: match answer.by_call_id {
            Some(true) => usrloc::Matching::ContactAndCallId,
            Some(false) => usrloc::Matching::Contact,
            None => u.matching,
        },
        by_instance: settings.registrar.dialect == Dialect::Kamailio,
        max_contacts: answer.max_contacts,
        replace_others: answer.replace_others,
        make_room: answer.make_room,
        cseq_delay: u.cseq_delay,
        newest_first: u.newest_first,
        writes: u.mode.writes() || u.mode == Mode::Database,
    }
}

/// Makes names that no other binding has, in whichever process.
fn names(h: &SipHost) -> impl FnMut() -> Str + use<> {
    let env = h.env();
    let (micros, pid, message) = (env.clock.micros(), env.pid, h.message_id);
    let numbers = env.settings.usrloc.columns.number_names;
    let mut n = 0u32;
    move || {
        n += 1;
        if numbers {
            // 42 bits of time, and what tells processes and contacts of the same moment apart: a positive BIGINT.
            let own = pid.wrapping_mul(0x9e37_79b1) ^ message.wrapping_mul(0x85eb_ca6b) ^ n.wrapping_mul(0xc2b2_ae35);
            let id = (micros / 1000) << 21 | i64::from(own >> 11);
            return Str::from((id & i64::MAX).to_string());
        }
        Str::from(format!("uloc-{micros:x}-{pid:x}-{message:x}.{n:x}"))
    }
}

/// Changes the shared store; then the database, if it has a say.
fn in_store(call: &mut Call<'_, SipHost>, mut saving: Box<Saving>, mode: Mode) -> Step<SipHost> {
    let h = &*call.host;
    let now = usrloc::now(h.env());
    let (rules, mut name) = (rules(h, &saving.answer), names(h));
    let ask = &saving.ask;
    let records = match usrloc::records(h.env(), &ask.table) {
        Ok(records) => records,
        Err(why) => return failed(call, saving, &why),
    };
    let done = if ask.contacts == Contacts::Query {
        records.get(&ask.aor).map(|r| {
            let plan = register(ask, &r.bindings, &rules, now, &mut name);
            plan.map(|plan| (plan, Record::default()))
        })
    } else {
        records.change(&ask.aor, |record| {
            let before = record.clone();
            let plan = register(ask, &record.bindings, &rules, now, &mut name)?;
            record.bindings.clone_from(&plan.bindings);
            Ok((plan, before))
        })
    };
    match done {
        Ok(Ok((plan, before))) => (saving.plan, saving.before) = (plan, before),
        Ok(Err(why)) => return refuse(call, saving, why),
        Err(why) => return failed(call, saving, &why.to_string()),
    }
    let changed = saving.ask.contacts != Contacts::Query;
    let rows_gone = || {
        let rows = saving.plan.gone.iter().filter(|b| b.row != Row::Missing && !b.in_memory_only());
        rows.map(|b| b.ruid.clone()).collect::<Vec<Str>>()
    };
    match mode {
        Mode::WriteBack if changed => {
            let gone = rows_gone();
            if let Err(why) = usrloc::records(call.host.env(), &saving.ask.table).map(|r| r.bury(&gone)) {
                log_line(call.host, -1, &format!("save: {why}"));
            }
            answer(call, saving)
        }
        Mode::WriteThrough if changed => {
            saving.statements = statements(&saving.plan);
            saving.stage = Stage::Writing;
            next_statement(call, saving)
        }
        _ => answer(call, saving),
    }
}

/// What the database has to do for a plan.
fn statements(plan: &Plan) -> VecDeque<Statement> {
    let mut all = VecDeque::new();
    let gone: Vec<Str> =
        (plan.gone.iter()).filter(|b| b.row != Row::Missing && !b.in_memory_only()).map(|b| b.ruid.clone()).collect();
    if !gone.is_empty() {
        all.push_back(Statement::Remove(gone));
    }
    let written = |b: &&Binding| plan.set.contains(&b.ruid) && !b.in_memory_only();
    let (new, old): (Vec<&Binding>, Vec<&Binding>) =
        plan.bindings.iter().filter(written).partition(|b| b.row == Row::Missing);
    if !new.is_empty() {
        all.push_back(Statement::Insert(new.iter().map(|b| b.ruid.clone()).collect()));
    }
    all.extend(old.iter().map(|b| Statement::Update(b.ruid.clone())));
    all
}

fn next_statement(call: &mut Call<'_, SipHost>, saving: Box<Saving>) -> Step<SipHost> {
    let Some(statement) = saving.statements.front() else { return written(call, saving) };
    let table = match usrloc::table(call.host.env(), &saving.ask.table) {
        Ok(table) => table,
        Err(why) => return failed(call, saving, &why),
    };
    let aor = &saving.ask.aor[..];
    let named = |ruid: &Str| saving.plan.bindings.iter().find(|b| b.ruid == *ruid);
    let request = match statement {
        Statement::Remove(ruids) => table.remove(ruids),
        Statement::Update(ruid) => match named(ruid) {
            Some(b) => table.update(aor, b),
            None => table.remove(std::slice::from_ref(ruid)),
        },
        Statement::Insert(ruids) => {
            let rows: Vec<(&[u8], &Binding)> = ruids.iter().filter_map(named).map(|b| (aor, b)).collect();
            table.upsert(&rows)
        }
    };
    keep(call, saving);
    Step::Wait(query(request))
}

fn query(request: SqlRequest) -> Request {
    Request::Op { op: ops::Request::Sql(request), limit: None }
}

/// The database says all that it has to.
fn written(call: &mut Call<'_, SipHost>, saving: Box<Saving>) -> Step<SipHost> {
    if call.host.env().settings.usrloc.mode == Mode::WriteThrough {
        let ask = &saving.ask;
        let set: Vec<Binding> =
            saving.plan.bindings.iter().filter(|b| saving.plan.set.contains(&b.ruid)).cloned().collect();
        let marked = usrloc::records(call.host.env(), &ask.table)
            .and_then(|r| r.written(&ask.aor, &set).map_err(|e| e.to_string()));
        // Then it is written once more by the next look.
        if let Err(why) = marked {
            log_line(call.host, 1, &format!("save: {why}"));
        }
    }
    answer(call, saving)
}

fn go_on(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let Some(mut saving) = call.host.location.as_mut().and_then(|k| k.saving.take()) else { return Step::Done(-1) };
    match saving.stage {
        Stage::Turn => {
            if outcome.code() < 0 {
                return failed(call, saving, "no turn at the address in time");
            }
            saving.has_turn = true;
            saving.stage = Stage::Reading;
            let request = match usrloc::table(call.host.env(), &saving.ask.table) {
                Ok(table) => table.select(&saving.ask.aor),
                Err(why) => return failed(call, saving, &why),
            };
            keep(call, saving);
            Step::Wait(query(request))
        }
        Stage::Reading => {
            let Outcome::Op(ops::Outcome::Sql(result)) = outcome else {
                return failed(call, saving, "the database did not answer");
            };
            let stored = match bindings_of(call.host, &saving.ask.table, &result.rows) {
                Ok(stored) => stored,
                Err(why) => return failed(call, saving, &why),
            };
            let now = usrloc::now(call.host.env());
            let (rules, mut name) = (rules(call.host, &saving.answer), names(call.host));
            match register(&saving.ask, &stored, &rules, now, &mut name) {
                Ok(plan) => saving.plan = plan,
                Err(why) => return refuse(call, saving, why),
            }
            if saving.ask.contacts == Contacts::Query {
                return answer(call, saving);
            }
            saving.statements = statements(&saving.plan);
            saving.stage = Stage::Writing;
            next_statement(call, saving)
        }
        Stage::Writing => {
            let Outcome::Op(ops::Outcome::Sql(result)) = outcome else {
                return database_failed(call, saving);
            };
            match saving.statements.pop_front() {
                // Somebody has removed the row, or it says the same already.
                Some(Statement::Update(ruid)) if result.affected == 0 => {
                    saving.statements.push_front(Statement::Insert(vec![ruid]));
                }
                _ => {}
            }
            next_statement(call, saving)
        }
        Stage::Connection => tell(call, saving),
        Stage::Passing => {
            let prepared = saving.reply.take().unwrap_or_default();
            reply_with(call, saving, prepared)
        }
        Stage::Replying => {
            call.host.reply_headers = saving.headers.to_vec().into();
            done(call, &saving, outcome.code())
        }
    }
}

/// The bindings in rows of an address.
fn bindings_of(h: &SipHost, table: &[u8], rows: &[Vec<SqlValue>]) -> Result<Vec<Binding>, String> {
    let table = usrloc::table(h.env(), table)?;
    Ok(rows.iter().filter_map(|row| table.read(row)).map(|(_, b)| b).collect())
}

/// 10.3: what could not be stored as a whole is not stored at all.
fn database_failed(call: &mut Call<'_, SipHost>, saving: Box<Saving>) -> Step<SipHost> {
    if call.host.env().settings.usrloc.mode == Mode::WriteThrough {
        let (ask, before, plan) = (&saving.ask, &saving.before, &saving.plan);
        let back = |record: &mut Record| {
            // Another request came meanwhile: that one counts.
            if record.bindings != plan.bindings {
                return Err(());
            }
            record.bindings.clone_from(&before.bindings);
            // What may have got into the database is corrected by the next look.
            for b in record.bindings.iter_mut().filter(|b| b.row == Row::Same && !b.in_memory_only()) {
                let touched = plan.set.contains(&b.ruid) || plan.gone.iter().any(|g| g.ruid == b.ruid);
                b.row = if touched { Row::Old } else { b.row };
            }
            Ok(())
        };
        let restored = usrloc::records(call.host.env(), &ask.table).and_then(|records| {
            let done = records.change(&ask.aor, back).map_err(|e| e.to_string())?;
            let new = plan.set.iter().filter(|r| !before.bindings.iter().any(|b| b.ruid == **r));
            let new: Vec<Str> = if done.is_ok() { new.cloned().collect() } else { Vec::new() };
            records.bury(&new).map_err(|e| e.to_string())
        });
        if let Err(why) = restored {
            log_line(call.host, -1, &format!("save: {why}"));
        }
    }
    refuse(call, saving, Refusal::Storage)
}

fn failed(call: &mut Call<'_, SipHost>, saving: Box<Saving>, why: &str) -> Step<SipHost> {
    log_line(call.host, -1, &format!("save: {why}"));
    refuse(call, saving, Refusal::Storage)
}

fn refuse(call: &mut Call<'_, SipHost>, mut saving: Box<Saving>, why: Refusal) -> Step<SipHost> {
    let path: Vec<&[u8]> = call.host.msg.values_of(HeaderId::Path).collect();
    let path = path.join(&b", "[..]);
    let path = Some(&path[..]).filter(|p| !p.is_empty());
    let prepared = reply::refused(why, &call.host.env().settings.registrar, path);
    log_line(call.host, 3, &format!("save: {} {}: {}", prepared.code, prepared.reason.to_lossy(), why.text()));
    saving.plan.code = why.code();
    // A refusal is sent whatever else is wanted, unless no reply is.
    reply_with(call, saving, prepared)
}

fn answer(call: &mut Call<'_, SipHost>, saving: Box<Saving>) -> Step<SipHost> {
    let named = |ruid: &&Str| saving.plan.bindings.iter().find(|b| b.ruid == **ruid);
    let set: Vec<Binding> = saving.plan.set.iter().filter_map(|ruid| named(&ruid)).cloned().collect();
    set.iter().for_each(|b| attributes::tell(call, b));
    let h = &*call.host;
    let flag = h.env().settings.registrar.tcp_flag.as_ref();
    if h.conn.is_some() && flag.is_some_and(|f| h.has_flag(f)) {
        let now = usrloc::now(h.env());
        if let Some(left) = set.iter().map(|b| b.left(now)).max() {
            let mut saving = saving;
            saving.stage = Stage::Connection;
            keep(call, saving);
            return Step::Wait(Request::ConnKeep { seconds: u32::try_from(left).unwrap_or(u32::MAX) });
        }
    }
    tell(call, saving)
}

/// The reply to a request that was carried out.
fn tell(call: &mut Call<'_, SipHost>, saving: Box<Saving>) -> Step<SipHost> {
    let h = &*call.host;
    let settings = &h.env().settings.registrar;
    let gruu = settings.gruu && h.msg.lists(HeaderId::Supported, b"gruu");
    let prepared = reply::accepted(&saving.ask, &saving.plan, settings, usrloc::now(h.env()), gruu);
    reply_with(call, saving, prepared)
}

fn reply_with(call: &mut Call<'_, SipHost>, mut saving: Box<Saving>, prepared: Prepared) -> Step<SipHost> {
    if std::mem::take(&mut saving.has_turn) {
        let key = turn(&saving.ask);
        saving.reply = Some(prepared);
        saving.stage = Stage::Passing;
        keep(call, saving);
        return Step::Wait(Request::Unlock { key });
    }
    if saving.answer.prepare {
        call.host.location.get_or_insert_default().prepared = Some(prepared);
        return done(call, &saving, 1);
    }
    if saving.answer.none {
        return done(call, &saving, 1);
    }
    saving.stage = Stage::Replying;
    // What was there before is there again when the reply has left.
    saving.headers = Str::from(call.host.reply_headers.as_slice());
    let request = send(call.host, prepared);
    keep(call, saving);
    Step::Wait(request)
}

/// The return code, in the dialect's terms.
fn done(call: &mut Call<'_, SipHost>, saving: &Saving, sent: i32) -> Step<SipHost> {
    let code = if sent < 0 { -1 } else { saving.plan.code };
    let opensips = call.host.env().settings.registrar.dialect == Dialect::OpenSips;
    Step::Done(if opensips { code.signum() } else { code })
}
