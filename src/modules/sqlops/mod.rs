//! `sqlops`: queries, structured statements and AVPs kept in a table (opensips.md section 3.4).
//! [`super::avpops`] exports some of them under their 2.2 names.

mod json;
pub(super) mod prefs;
mod query;
mod structured;

pub use prefs::{SQL_AVP_DELETE, SQL_AVP_LOAD, SQL_AVP_STORE};
pub use query::{OPEN, SQL_QUERY, outputs, value};

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::ops::{self, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, ModParamKind, ModParamSpec, ModuleSpec, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "sqlops",
    dialects: &[Dialect::OpenSips],
    functions: &[
        query::SQL_QUERY,
        query::SQL_QUERY_ONE,
        query::SQL_QUERY_BIND,
        query::SQL_QUERY_ONE_BIND,
        structured::SQL_SELECT,
        structured::SQL_SELECT_ONE,
        structured::SQL_UPDATE,
        structured::SQL_INSERT,
        structured::SQL_DELETE,
        structured::SQL_REPLACE,
        prefs::SQL_AVP_LOAD,
        prefs::SQL_AVP_STORE,
        prefs::SQL_AVP_DELETE,
    ],
    params: PARAMS,
    any_param: false,
    needs: &[],
};

/// Parameters of sqlops and avpops.
pub const PARAMS: &[ModParamSpec] = &[
    ModParamSpec {
        name: "db_url",
        kind: ModParamKind::Str,
        ignored: false,
        doc: "`[number ]url`; may be given several times",
    },
    ModParamSpec {
        name: "bigint_to_str",
        kind: ModParamKind::Int,
        ignored: true,
        doc: "numbers have 64 bits: BIGINT columns arrive whole",
    },
    ModParamSpec {
        name: "usr_table",
        kind: ModParamKind::Str,
        ignored: false,
        doc: "table of the AVPs kept per user; default usr_preferences",
    },
    ModParamSpec { name: "avp_table", kind: ModParamKind::Str, ignored: false, doc: "2.2's name of usr_table" },
    ModParamSpec {
        name: "use_domain",
        kind: ModParamKind::Int,
        ignored: false,
        doc: "1: a user is found by name and domain; default 1, for the functions of avpops 0",
    },
    ModParamSpec { name: "uuid_column", kind: ModParamKind::Str, ignored: false, doc: "default uuid" },
    ModParamSpec { name: "username_column", kind: ModParamKind::Str, ignored: false, doc: "default username" },
    ModParamSpec { name: "domain_column", kind: ModParamKind::Str, ignored: false, doc: "default domain" },
    ModParamSpec { name: "attribute_column", kind: ModParamKind::Str, ignored: false, doc: "default attribute" },
    ModParamSpec { name: "value_column", kind: ModParamKind::Str, ignored: false, doc: "default value" },
    ModParamSpec { name: "type_column", kind: ModParamKind::Str, ignored: false, doc: "default type" },
    ModParamSpec {
        name: "db_scheme",
        kind: ModParamKind::Str,
        ignored: false,
        doc: "`NAME:table=T;uuid_col=U;username_col=U;domain_col=D;value_col=V;value_type=string` (or integer): a table with a \
              column for each attribute, named by `/$NAME` behind an AVP; may be given several times",
    },
    ModParamSpec { name: "ps_id_max_buf_len", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
    ModParamSpec { name: "buf_size", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
];

/// Waits for a statement on the database whose number is argument `db`; 0 if it is left out.
fn statement(call: &Call<'_, SipHost>, db: usize, query: Str, params: Vec<SqlValue>) -> Step<SipHost> {
    let number = call.int(db).unwrap_or(0);
    statement_on(call, number, query, params)
}

/// Waits for a statement on the database of this number.
pub fn statement_on(call: &Call<'_, SipHost>, number: i64, query: Str, params: Vec<SqlValue>) -> Step<SipHost> {
    let urls = &call.host.env().settings.db_urls;
    let Some((_, url)) = urls.iter().find(|(n, _)| *n == number) else {
        return Step::Fail(format!("no db_url with number {number} is configured"));
    };
    let op = ops::Request::Sql(ops::SqlRequest { url: url.clone(), query, params, then: Vec::new() });
    Step::Wait(Request::Op { op, limit: None })
}

/// The end of a statement whose rows nobody wants: 1, or -1 for an error.
fn finish_code(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(if matches!(outcome, Outcome::Op(ops::Outcome::Sql(_))) { 1 } else { outcome.failure_code() })
}

/// A name as it may stand in a statement: table or column, with its schema (`db.table`). Names may
/// come from the network, so nothing else is let through.
pub fn identifier(name: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let fine =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'));
    if text.len() <= 128 && text.split('.').all(fine) {
        Ok(text)
    } else {
        Err(format!("`{}` is no name of a table or column", String::from_utf8_lossy(name)))
    }
}

#[cfg(test)]
mod tests;
