//! `sqlops`: queries (opensips.md section 3.4). [`super::avpops`] exports the same under its 2.2 names.

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::ops::{self, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Arg, Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "sqlops",
    dialects: &[Dialect::OpenSips],
    functions: &[SQL_QUERY, SQL_QUERY_ONE],
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
        ignored: false,
        doc: "1: BIGINT columns arrive as text",
    },
    ModParamSpec { name: "usr_table", kind: ModParamKind::Str, ignored: false, doc: "default usr_preferences" },
    ModParamSpec { name: "avp_table", kind: ModParamKind::Str, ignored: false, doc: "2.2's name of usr_table" },
    ModParamSpec {
        name: "use_domain",
        kind: ModParamKind::Int,
        ignored: false,
        doc: "match the domain too; default 1",
    },
    ModParamSpec { name: "uuid_column", kind: ModParamKind::Str, ignored: false, doc: "default uuid" },
    ModParamSpec { name: "username_column", kind: ModParamKind::Str, ignored: false, doc: "default username" },
    ModParamSpec { name: "domain_column", kind: ModParamKind::Str, ignored: false, doc: "default domain" },
    ModParamSpec { name: "attribute_column", kind: ModParamKind::Str, ignored: false, doc: "default attribute" },
    ModParamSpec { name: "value_column", kind: ModParamKind::Str, ignored: false, doc: "default value" },
    ModParamSpec { name: "type_column", kind: ModParamKind::Str, ignored: false, doc: "default type" },
    ModParamSpec { name: "db_scheme", kind: ModParamKind::Str, ignored: true, doc: "schemes are not supported" },
    ModParamSpec { name: "ps_id_max_buf_len", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
    ModParamSpec { name: "buf_size", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
];

const RETURNS: &[(i32, &str)] = &[
    (1, "at least one row"),
    (-2, "no row; also after INSERT, UPDATE and DELETE"),
    (-1, "error: connection, syntax, time-out (see $async_err, $async_phase)"),
];

/// `sql_query` and, in avpops, `avp_db_query`.
pub const SQL_QUERY: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_query"),
    kamailio: None,
    params: &[Param::req("query", Kind::Str), Param::opt("columns", Kind::OutList), Param::opt("db_id", Kind::Int)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Runs a query. Every row adds one value to each column's AVP, index 0 being the first row; without a \
          list they go to $avp(1), $avp(2) ... SQL NULL arrives as the text `<null>`. Values are not escaped: \
          use `{s.escape.common}`.",
    returns: RETURNS,
    example: r#"async(sql_query("SELECT credit FROM users WHERE uid='$(fU{s.escape.common})'", "$avp(credit)"), got_credit);"#,
    run,
    finish: Some(finish_rows),
};

const SQL_QUERY_ONE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_query_one"),
    doc: "Runs a query and stores its first row in any writable variables. SQL NULL makes the variable NULL.",
    example: r#"sql_query_one("SELECT a, b FROM t", "$var(a);$var(b)");"#,
    finish: Some(finish_one),
    ..SQL_QUERY
};

fn run(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(query) = call.text(0) else { return Step::Fail("the query is NULL".to_string()) };
    let number = call.int(2).unwrap_or(0);
    let urls = &call.host.env().settings.db_urls;
    let Some((_, url)) = urls.iter().find(|(n, _)| *n == number) else {
        return Step::Fail(format!("no db_url with number {number} is configured"));
    };
    let op = ops::Request::Sql(ops::SqlRequest { url: url.clone(), query, params: Vec::new() });
    Step::Wait(Request::Op { op, limit: None })
}

fn rows(outcome: Outcome) -> Result<ops::SqlResult, i32> {
    match outcome {
        Outcome::Op(ops::Outcome::Sql(result)) if result.rows.is_empty() || result.columns.is_empty() => Err(-2),
        Outcome::Op(ops::Outcome::Sql(result)) => Ok(result),
        _ => Err(-1),
    }
}

fn value(v: &SqlValue) -> Value {
    match v {
        SqlValue::Null => Value::Null,
        SqlValue::Int(n) | SqlValue::Time(n) => Value::Int(*n),
        SqlValue::Text(t) => Value::Str(t.clone()),
    }
}

fn finish_rows(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match rows(outcome) {
        Ok(r) => r,
        Err(code) => return Step::Done(code),
    };
    let outs = match call.args.get(1) {
        Some(Arg::Outs(list)) if !list.is_empty() => list.clone(),
        _ => Vec::new(),
    };
    // AVPs push, so the last row goes first: index 0 is then the first row.
    for row in result.rows.iter().rev() {
        for (i, field) in row.iter().enumerate() {
            let v = match value(field) {
                Value::Null => Value::from("<null>"),
                v => v,
            };
            match outs.get(i) {
                Some(out) => call.assign_to(out, v),
                None if outs.is_empty() => call.vm().push_avp((i + 1).to_string().as_bytes(), v),
                None => {}
            }
        }
    }
    Step::Done(1)
}

fn finish_one(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match rows(outcome) {
        Ok(r) => r,
        Err(code) => return Step::Done(code),
    };
    let Some(row) = result.rows.first() else { return Step::Done(-2) };
    let outs = match call.args.get(1) {
        Some(Arg::Outs(list)) => list.clone(),
        _ => Vec::new(),
    };
    if !outs.is_empty() && outs.len() < row.len() {
        return Step::Fail(format!("{} columns for {} variables", row.len(), outs.len()));
    }
    for (i, field) in row.iter().enumerate() {
        match outs.get(i) {
            Some(out) => call.assign_to(out, value(field)),
            None => call.vm().push_avp((i + 1).to_string().as_bytes(), value(field)),
        }
    }
    Step::Done(1)
}

/// Text of an AVP name argument without `$avp(` `)`, for avpops' functions.
pub fn avp_name(text: &[u8]) -> Str {
    let t = text.trim_ascii();
    Str::from(t.strip_prefix(b"$avp(").and_then(|t| t.strip_suffix(b")")).unwrap_or(t))
}
