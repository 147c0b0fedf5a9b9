//! `sql_query`: any statement, as text.

use super::statement;
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::ops::{self, SqlValue};
use crate::script::registry::{Arg, Call, FnSpec, Kind, OutVar, Param, RouteSet, Step};
use crate::script::value::Value;

/// Return code of a statement that was not tried.
pub const OPEN: (i32, &str) = (-11, "not tried: the database has failed too often in a row");

/// Return codes of the functions that deliver rows.
pub const RETURNS: &[(i32, &str)] = &[
    (1, "at least one row"),
    (-2, "no row; also after INSERT, UPDATE and DELETE"),
    (-1, "error: connection, syntax, time-out (see $async_err, $async_phase)"),
    OPEN,
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
    finish: Some(|call, outcome| finish_rows(call, outcome, 1)),
};

/// `sql_query_one`
pub const SQL_QUERY_ONE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_query_one"),
    doc: "Runs a query and stores its first row in any writable variables. SQL NULL makes the variable NULL.",
    example: r#"sql_query_one("SELECT a, b FROM t", "$var(a);$var(b)");"#,
    finish: Some(|call, outcome| finish_one(call, outcome, 1)),
    ..SQL_QUERY
};

/// `sql_query_bind`
pub const SQL_QUERY_BIND: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_query_bind"),
    params: &[
        Param::req("query", Kind::Str),
        Param::opt("columns", Kind::OutList),
        Param::opt("db_id", Kind::Int),
        Param::opt("value", Kind::IntOrStr),
    ],
    variadic: true,
    doc: "Runs a query whose `?` stand for values: the first `?` for the fourth argument, and so on. The values travel \
          beside the query and never inside it, so that nothing has to be escaped and nobody can smuggle SQL in; and \
          the server prepares a query once for each connection. A variable that is NULL is SQL NULL, a number \
          stays one. Rows are delivered as by sql_query. Not in OpenSIPS.",
    example: r#"async(sql_query_bind("SELECT credit FROM users WHERE uid = ? AND domain = ?", "$avp(credit)", , $fU, $fd), got_credit);"#,
    run: run_bound,
    ..SQL_QUERY
};

/// `sql_query_one_bind`
pub const SQL_QUERY_ONE_BIND: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_query_one_bind"),
    doc: "The same, and stores the first row in any writable variables, as sql_query_one does. Not in OpenSIPS.",
    example: r#"sql_query_one_bind("SELECT a, b FROM t WHERE c = ?", "$var(a);$var(b)", , $rU);"#,
    finish: Some(|call, outcome| finish_one(call, outcome, 1)),
    ..SQL_QUERY_BIND
};

/// Most values of one query.
const MAX_VALUES: usize = 1000;

fn run_bound(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(query) = call.text(0) else { return Step::Fail("the query is NULL".to_string()) };
    // Of the arguments that are described all are there, given or not.
    let end = if call.args.len() == 4 && !call.given(3) { 3 } else { call.args.len() };
    let count = end.saturating_sub(3);
    if count > MAX_VALUES {
        return Step::Fail(format!("{count} values; at most {MAX_VALUES} go with one query"));
    }
    let bound = |i: usize| match call.args.get(i) {
        Some(Arg::Value(Value::Int(n))) => SqlValue::Int(*n),
        Some(Arg::Value(v)) => v.to_text().map_or(SqlValue::Null, SqlValue::Text),
        _ => SqlValue::Null,
    };
    let values: Vec<SqlValue> = (3..end).map(bound).collect();
    statement(call, 2, query, values)
}

fn run(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    match call.text(0) {
        Some(query) => statement(call, 2, query, Vec::new()),
        None => Step::Fail("the query is NULL".to_string()),
    }
}

/// The rows of an outcome, or the code for none.
pub fn rows(outcome: Outcome) -> Result<ops::SqlResult, i32> {
    match outcome {
        Outcome::Op(ops::Outcome::Sql(result)) if result.rows.is_empty() || result.columns.is_empty() => Err(-2),
        Outcome::Op(ops::Outcome::Sql(result)) => Ok(result),
        failed => Err(failed.failure_code()),
    }
}

/// A field as a script sees it.
pub fn value(v: &SqlValue) -> Value {
    match v {
        SqlValue::Null => Value::Null,
        SqlValue::Int(n) | SqlValue::Time(n) => Value::Int(*n),
        SqlValue::Text(t) => Value::Str(t.clone()),
    }
}

/// The output variables of argument `i`.
pub fn outputs(call: &Call<'_, SipHost>, i: usize) -> Vec<OutVar> {
    match call.args.get(i) {
        Some(Arg::Outs(list)) => list.clone(),
        Some(Arg::Out(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// Delivers every row to the AVPs of argument `i`.
pub fn finish_rows(call: &mut Call<'_, SipHost>, outcome: Outcome, i: usize) -> Step<SipHost> {
    let result = match rows(outcome) {
        Ok(r) => r,
        Err(code) => return Step::Done(code),
    };
    let outs = outputs(call, i);
    // AVPs push, so the last row goes first: index 0 is then the first row.
    for row in result.rows.iter().rev() {
        for (n, field) in row.iter().enumerate() {
            let v = match value(field) {
                Value::Null => Value::from("<null>"),
                v => v,
            };
            match outs.get(n) {
                Some(out) => call.assign_to(out, v),
                None if outs.is_empty() => call.vm().push_avp((n + 1).to_string().as_bytes(), v),
                None => {}
            }
        }
    }
    Step::Done(1)
}

/// Delivers the first row to the variables of argument `i`.
pub fn finish_one(call: &mut Call<'_, SipHost>, outcome: Outcome, i: usize) -> Step<SipHost> {
    let result = match rows(outcome) {
        Ok(r) => r,
        Err(code) => return Step::Done(code),
    };
    let Some(row) = result.rows.first() else { return Step::Done(-2) };
    let outs = outputs(call, i);
    if !outs.is_empty() && outs.len() < row.len() {
        return Step::Fail(format!("{} columns for {} variables", row.len(), outs.len()));
    }
    for (n, field) in row.iter().enumerate() {
        match outs.get(n) {
            Some(out) => call.assign_to(out, value(field)),
            None => call.vm().push_avp((n + 1).to_string().as_bytes(), value(field)),
        }
    }
    Step::Done(1)
}
