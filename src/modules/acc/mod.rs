//! `acc`: what becomes of requests, as lines of the log and rows of a database (kamailio.md section 5.6, opensips.md
//! section 4.10). A transaction is accounted when its final reply goes out, by the worker ([`record`] says what is
//! written); functions account at once.

mod kamailio;
mod opensips;
pub mod record;
pub mod settings;

pub use kamailio::MODULE as KAMAILIO;
pub use opensips::MODULE as OPENSIPS;
pub use settings::Settings;

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::ast::Dialect;
use crate::script::host::SetError;
use crate::script::registry::{Call, ModParamKind, ModParamSpec, Step};
use crate::script::value::Value;
use record::{Expand, Record, What};
use serde::{Deserialize, Serialize};

/// The number of its database among all of a server's.
pub const DATABASE: i64 = i64::MAX - 2;

/// What is to be accounted one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ways {
    /// Transactions that end well.
    pub done: bool,
    /// Calls that nobody took.
    pub missed: bool,
    /// Transactions that end badly.
    pub failed: bool,
}

impl Ways {
    /// Whether there is nothing to do.
    pub fn is_none(self) -> bool {
        self == Ways::default()
    }
}

/// What is to be accounted for a request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// As lines of the log.
    pub log: Ways,
    /// As rows of a database.
    pub db: Ways,
    /// The table instead of the configured one.
    pub table: Option<Str>,
    /// When `do_accounting` was called, microseconds since 1970.
    pub created: Option<i64>,
    /// Values of `$acc_extra(name)`, by name.
    pub extra: Vec<(Str, Value)>,
}

/// Most different `$acc_extra` of a request.
const MAX_EXTRA: usize = 100;

impl Wanted {
    /// Whether nothing is to be accounted.
    pub fn is_nothing(&self) -> bool {
        self.log.is_none() && self.db.is_none()
    }
}

/// Reads `$acc_extra(name)`.
pub fn extra(h: &SipHost, name: &[u8]) -> Value {
    let found = h.acc.as_ref().and_then(|own| own.extra.iter().find(|(n, _)| **n == *name));
    found.map_or(Value::Null, |(_, value)| value.clone())
}

/// Assigns `$acc_extra(name)`; NULL removes it.
pub fn set_extra(h: &mut SipHost, name: &[u8], value: Value) -> Result<(), SetError> {
    let extra = &mut h.acc.get_or_insert_default().extra;
    extra.retain(|(n, _)| **n != *name);
    if value.is_null() {
        return Ok(());
    }
    if extra.len() >= MAX_EXTRA {
        return Err(SetError::BadValue("a request has a hundred $acc_extra already"));
    }
    extra.push((Str::from(name), value));
    Ok(())
}

/// What a request's flags (Kamailio), or the script's calls (OpenSIPS), want to have accounted.
pub fn wanted(h: &SipHost) -> Wanted {
    if let Some(own) = h.acc.as_ref().filter(|own| !own.is_nothing()) {
        return (**own).clone();
    }
    let s = &h.env().settings.acc;
    let set = |flag: &Option<Str>| flag.as_ref().is_some_and(|f| h.has_flag(f));
    let failed = set(&s.failed_flag);
    let ways = |done, missed| Ways { done, missed, failed: done && failed };
    Wanted {
        log: ways(set(&s.log_flag), set(&s.log_missed_flag)),
        db: ways(set(&s.db_flag), set(&s.db_missed_flag)),
        ..Wanted::default()
    }
}

/// Forgets that a missed call is to be accounted: that is done once.
pub fn forget_missed(h: &mut SipHost) {
    if let Some(own) = &mut h.acc {
        own.log.missed = false;
        own.db.missed = false;
    }
    let s = &h.env.settings.acc;
    let gone = [&s.log_missed_flag, &s.db_missed_flag];
    h.flags.retain(|f| !gone.iter().any(|g| g.as_ref() == Some(f)));
}

/// A row as a statement; the error says what is wrong with the configuration.
pub fn statement(h: &SipHost, text: String, params: Vec<SqlValue>) -> Result<SqlRequest, String> {
    let urls = &h.env().settings.db_urls;
    let find = |number| urls.iter().find(|(n, _)| *n == number);
    let (_, url) = find(DATABASE)
        .or_else(|| find(0))
        .ok_or("acc has no database: modparam(\"acc\", \"db_url\", \"mysql://...\")")?;
    Ok(SqlRequest { url: url.clone(), query: Str::from(text), params, then: Vec::new() })
}

/// A function's own way to read variables.
struct InCall<'a, 'b>(&'a mut Call<'b, SipHost>);

impl Expand for InCall<'_, '_> {
    fn value(&mut self, text: &[u8]) -> Value {
        self.0.value(text)
    }

    fn host(&self) -> &SipHost {
        self.0.host
    }
}

/// Writes the line of a function: `acc_log_request`.
fn log_now(call: &mut Call<'_, SipHost>, dialect: Dialect) {
    let comment = call.text(0).unwrap_or_default();
    let what = What::Request(record::comment(&comment));
    let record = Record::of(&mut InCall(call), &what, dialect);
    let s = &call.host.env().settings.acc;
    crate::modules::emit(s.log_level, "acc", &record.line(s));
}

/// Waits for the row of a function: `acc_db_request`. `table`: its argument.
fn row_now(call: &mut Call<'_, SipHost>, table: usize, dialect: Dialect) -> Step<SipHost> {
    let comment = call.text(0).unwrap_or_default();
    let what = What::Request(record::comment(&comment));
    let record = Record::of(&mut InCall(call), &what, dialect);
    let table = call.text(table).filter(|t| !t.is_empty());
    let Some(table) = table else { return Step::Fail("the table's name is empty".to_string()) };
    let s = &call.host.env().settings.acc;
    let row = record.row(s, &table).and_then(|(text, params)| statement(call.host, text, params));
    match row {
        Ok(request) => Step::Wait(Request::Op { op: ops::Request::Sql(request), limit: None }),
        Err(why) => Step::Fail(why),
    }
}

fn row_written(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(if matches!(outcome, Outcome::Op(ops::Outcome::Sql(_))) { 1 } else { outcome.failure_code() })
}

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const INT: ModParamKind = ModParamKind::Int;
const STR: ModParamKind = ModParamKind::Str;
const ANY: ModParamKind = ModParamKind::Any;
