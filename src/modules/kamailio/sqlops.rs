//! `sqlops` of Kamailio (kamailio.md section 4.3): databases and results have names. A result belongs to the run
//! that asked for it, as everything else that a script holds.

use super::{ignored, module};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_kamailio::Kpv;
use crate::modules::request::Outcome;
use crate::modules::{log_line, sqlops};
use crate::ops::{self, SqlResult};
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{Family, Fields, Node};
use serde::{Deserialize, Serialize};

/// Names of results that a run may hold unless `results_maxsize` says otherwise.
pub const RESULTS: usize = 32;

/// Number of the first named connection among all database URLs; the others follow.
const FIRST: i64 = i64::MIN + 1_000;

/// Number of the named connection `at` among all database URLs.
pub fn number(at: usize) -> i64 {
    FIRST.saturating_add(i64::try_from(at).unwrap_or(i64::MAX))
}

/// Reads `NAME=>URL`.
pub fn connection(text: &str) -> Option<(&str, &str)> {
    let (name, url) = text.split_once("=>")?;
    let (name, url) = (name.trim(), url.trim());
    (!name.is_empty() && !url.is_empty()).then_some((name, url))
}

/// What a run keeps of its statements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    results: Vec<(Str, SqlResult)>,
    affected: Vec<(Str, u64)>,
}

/// Puts a value under a name, in the place of the one that is there.
fn put<T>(list: &mut Vec<(Str, T)>, name: Str, value: T) {
    match list.iter_mut().find(|(n, _)| *n == name) {
        Some((_, old)) => *old = value,
        None => list.push((name, value)),
    }
}

/// The module.
pub static SQLOPS: ModuleSpec<SipHost> = module(
    "sqlops",
    &[SQL_QUERY, SQL_PVQUERY, SQL_XQUERY, SQL_QUERY_ASYNC, SQL_RESULT_FREE],
    &[
        ModParamSpec {
            name: "sqlcon",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`NAME=>URL`: a database; may be given several times",
        },
        ModParamSpec {
            name: "results_maxsize",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "names of results that a script may use at a time; default 32",
        },
        ignored("sqlres", "a result needs no declaration"),
        ignored("connect_mode", "connections are opened when they are needed"),
        ignored("tr_buf_size", "a value may be of any length"),
        ignored("log_buf_size", "a line may be as long as a value"),
    ],
);

const CONNECTION: Param = Param::req("connection", Kind::Defined("sqlops", "sqlcon", &[]));

const SQL_QUERY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sql_query"),
    params: &[CONNECTION, Param::req("query", Kind::Str), Param::opt("result", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Runs a statement on the database `connection`. Its rows are in `$dbr(result=>[row,column])`, their number in \
          `$dbr(result=>rows)`, that of the columns in `$dbr(result=>cols)`, a name in `$dbr(result=>colname[column])`; \
          what it changed is in `$sqlrows(connection)`. Values are not escaped: use `{sql.val}` or `{s.escape.common}`.",
    returns: &[
        (1, "at least one row"),
        (2, "no row; also after INSERT, UPDATE and DELETE"),
        (3, "at least one row, and no result named for it"),
        (-1, "error: connection, syntax, time-out (see $async_err, $async_phase)"),
        sqlops::OPEN,
    ],
    example: r#"sql_query("ca", "SELECT gw FROM routes", "ra");"#,
    run,
    finish: Some(finish_query),
};

const SQL_PVQUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sql_pvquery"),
    params: &[CONNECTION, Param::req("query", Kind::Str), Param::req("variables", Kind::OutList)],
    doc: "Runs a query and stores the columns of its first row in variables.",
    returns: &[
        (1, "stored"),
        (2, "no row"),
        (-1, "error: connection, syntax, time-out (see $async_err, $async_phase)"),
        sqlops::OPEN,
    ],
    example: r#"sql_pvquery("ca", "SELECT a, b FROM t", "$var(a), $avp(b)");"#,
    finish: Some(finish_variables),
    ..SQL_QUERY
};

const SQL_XQUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sql_xquery"),
    params: &[CONNECTION, Param::req("query", Kind::Str), Param::req("name", Kind::Str)],
    doc: "Runs a query and makes each row a `$xavp(name)`: `$xavp(name[0]=>column)` is of the first row. What the name held \
          before stands behind them.",
    returns: &[
        (1, "at least one row"),
        (2, "no row; also after INSERT, UPDATE and DELETE"),
        (-1, "error: connection, syntax, time-out (see $async_err, $async_phase); more than a run may hold"),
        sqlops::OPEN,
    ],
    example: r#"sql_xquery("ca", "SELECT gw, weight FROM routes", "ra");"#,
    finish: Some(finish_rows),
    ..SQL_QUERY
};

const SQL_QUERY_ASYNC: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sql_query_async"),
    params: &[CONNECTION, Param::req("query", Kind::Str)],
    doc: "Runs a statement whose rows nobody wants. The script goes on when it has ended; nobody else waits for that.",
    returns: &[(1, "done"), (-1, "error (see $async_err, $async_phase)"), sqlops::OPEN],
    example: r#"sql_query_async("ca", "INSERT INTO calls (callid) VALUES ('x')");"#,
    finish: Some(|call, outcome| match answer(call, outcome) {
        Ok(_) => Step::Done(1),
        Err(code) => Step::Done(code),
    }),
    ..SQL_QUERY
};

const SQL_RESULT_FREE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sql_result_free"),
    params: &[Param::req("result", Kind::Str)],
    waits: false,
    doc: "Forgets a result. Those of a run end with it.",
    returns: &[(1, "done")],
    example: r#"sql_result_free("ra");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        if let Some(kept) = &mut call.host.sql {
            kept.results.retain(|(n, _)| *n != name);
        }
        Step::Done(1)
    },
    finish: None,
    ..SQL_QUERY
};

fn run(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let Some(at) = call.host.env().settings.sql_connections.iter().position(|n| *n == name) else {
        return Step::Fail(format!("there is no sqlcon `{}`", name.to_lossy()));
    };
    match call.text(1) {
        Some(query) => sqlops::statement_on(call, number(at), query, Vec::new()),
        None => Step::Fail("the query is NULL".to_string()),
    }
}

/// The answer to a statement, or the code for none; what it changed is noted.
fn answer(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Result<SqlResult, i32> {
    let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Err(outcome.failure_code()) };
    let connection = call.text(0).unwrap_or_default();
    put(&mut call.host.sql.get_or_insert_default().affected, connection, result.affected);
    Ok(result)
}

fn finish_query(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match answer(call, outcome) {
        Ok(result) => result,
        Err(code) => return Step::Done(code),
    };
    let some = !result.rows.is_empty() && !result.columns.is_empty();
    let Some(name) = call.text(2).filter(|name| !name.is_empty()) else {
        return Step::Done(if some { 3 } else { 2 });
    };
    let most = call.host.env().settings.sql_results;
    let results = &mut call.host.sql.get_or_insert_default().results;
    if results.len() >= most && !results.iter().any(|(n, _)| *n == name) {
        log_line(
            call.host,
            -1,
            &format!("sqlops: more than {most} results (results_maxsize): sql_result_free ends one"),
        );
        return Step::Done(-1);
    }
    put(results, name, result);
    Step::Done(if some { 1 } else { 2 })
}

fn finish_variables(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match answer(call, outcome) {
        Ok(result) => result,
        Err(code) => return Step::Done(code),
    };
    let Some(row) = result.rows.first().filter(|row| !row.is_empty()) else { return Step::Done(2) };
    for (out, field) in sqlops::outputs(call, 2).iter().zip(row) {
        call.assign_to(out, sqlops::value(field));
    }
    Step::Done(1)
}

fn finish_rows(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match answer(call, outcome) {
        Ok(result) => result,
        Err(code) => return Step::Done(code),
    };
    let Some(name) = call.text(2) else { return Step::Done(-1) };
    if result.rows.is_empty() || result.columns.is_empty() {
        return Step::Done(2);
    }
    let (xavps, limits) = call.vm().xavps_mut();
    // Each goes in front, so the last row goes first.
    for row in result.rows.iter().rev() {
        let fields = result.columns.iter().cloned().zip(row.iter().map(sqlops::value));
        let fields: Vec<(Str, Value)> = fields.collect();
        if xavps.push(Family::Xavp, &name, Node::Fields(Fields::in_order(fields.into_iter())), &limits).is_err() {
            return Step::Fail("the rows are more than a run may hold".to_string());
        }
    }
    Step::Done(1)
}

/// Reads `$dbr` or `$sqlrows`.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let (Some(kept), Some(sub)) = (&h.sql, sub.and_then(Value::to_text)) else { return Value::Null };
    if pv == Kpv::SqlRows {
        let found = kept.affected.iter().find(|(n, _)| *n == sub);
        return found.map_or(Value::Null, |(_, n)| Value::Int(i64::try_from(*n).unwrap_or(i64::MAX)));
    }
    let text = sub.to_lossy();
    let Some((name, part)) = text.split_once("=>") else { return Value::Null };
    let found = kept.results.iter().find(|(n, _)| **n == *name.trim().as_bytes());
    found.and_then(|(_, result)| part_of(result, part.trim())).unwrap_or(Value::Null)
}

/// `rows`, `cols`, `[row,column]`, `colname[column]`.
fn part_of(result: &SqlResult, part: &str) -> Option<Value> {
    let count = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    match part {
        "rows" => return Some(count(result.rows.len())),
        "cols" => return Some(count(result.columns.len())),
        _ => {}
    }
    let (word, index) = part.strip_suffix(']')?.split_once('[')?;
    match word.trim() {
        "" => {
            let (row, column) = index.split_once(',')?;
            let row = result.rows.get(row.trim().parse::<usize>().ok()?)?;
            row.get(column.trim().parse::<usize>().ok()?).map(sqlops::value)
        }
        "colname" => result.columns.get(index.trim().parse::<usize>().ok()?).map(|name| Value::Str(name.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::SqlValue;

    #[test]
    fn parts_of_a_result() {
        let result = SqlResult {
            columns: vec![Str::from("a"), Str::from("b")],
            rows: vec![vec![SqlValue::Int(1), SqlValue::Null], vec![SqlValue::Text(Str::from("x")), SqlValue::Time(5)]],
            affected: 0,
            last_insert_id: 0,
        };
        let part = |text: &str| part_of(&result, text);
        assert_eq!(part("rows"), Some(Value::Int(2)));
        assert_eq!(part("cols"), Some(Value::Int(2)));
        assert_eq!(part("[0,0]"), Some(Value::Int(1)));
        assert_eq!(part("[ 0 , 1 ]"), Some(Value::Null));
        assert_eq!(part("[1,0]"), Some(Value::from("x")));
        assert_eq!(part("[1,1]"), Some(Value::Int(5)));
        assert_eq!(part("colname[1]"), Some(Value::from("b")));
        for bad in [
            "",
            "[",
            "]",
            "[]",
            "[0]",
            "[2,0]",
            "[0,2]",
            "[-1,0]",
            "[a,b]",
            "colname[2]",
            "colname[]",
            "name[0]",
            "[0,0",
        ] {
            assert_eq!(part(bad), None, "{bad}");
        }
    }

    #[test]
    fn connections_are_read() {
        assert_eq!(connection("ca=>mysql://u:p@h/d"), Some(("ca", "mysql://u:p@h/d")));
        assert_eq!(connection(" ca => sqlite:////x "), Some(("ca", "sqlite:////x")));
        for bad in ["", "ca", "=>mysql://h/d", "ca=>", "mysql://h/d"] {
            assert_eq!(connection(bad), None, "{bad}");
        }
        assert_eq!(number(1), number(0) + 1);
    }
}
