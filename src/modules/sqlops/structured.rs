//! `sql_select`, `sql_update` and the like: statements made of JSON. Every value travels beside
//! the statement and never inside it; names are checked.

use super::json::{Data, argument};
use super::query::{OPEN, RETURNS, finish_one, finish_rows};
use super::{finish_code, identifier, statement};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::ops::SqlValue;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};

const CODES: &[(i32, &str)] =
    &[(1, "done"), (-1, "error: connection, bad JSON, refused by the database, time-out (see $async_err)"), OPEN];

/// `sql_select`
pub const SQL_SELECT: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_select"),
    kamailio: None,
    params: &[
        Param::opt("columns", Kind::RawOrOut),
        Param::req("table", Kind::Str),
        Param::opt("filter", Kind::RawOrOut),
        Param::opt("order", Kind::Str),
        Param::opt("results", Kind::OutList),
        Param::opt("db_id", Kind::Int),
    ],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Reads rows. Columns: a JSON array of names; all if left out. Filter: a JSON array of objects, all of \
          which must hold: `{\"col\": value}`, `{\"col\": {\"op\": value}}` with one of = != <> < > <= >= like, \
          `{\"col\": [values]}` for one of several; null means IS NULL. Variables may stand in the strings and, \
          without quotes, as values; nothing needs escaping. Order: columns with asc or desc. The rows arrive as \
          those of sql_query.",
    returns: RETURNS,
    example: r#"sql_select('["gw", "prio"]', "routes", '[{"prefix": "$rU"}, {"prio": {">": 5}}]', "prio desc", "$avp(gw);$avp(prio)");"#,
    run: |call| with(call, |call| select(call, None), 5),
    finish: Some(|call, outcome| finish_rows(call, outcome, 4)),
};

/// `sql_select_one`
pub const SQL_SELECT_ONE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_select_one"),
    doc: "As sql_select, for one row, which goes to any writable variables. SQL NULL makes the variable NULL.",
    example: r#"sql_select_one('["credit"]', "users", '[{"uid": "$fU"}]', , "$var(credit)");"#,
    run: |call| with(call, |call| select(call, Some(1)), 5),
    finish: Some(|call, outcome| finish_one(call, outcome, 4)),
    ..SQL_SELECT
};

/// `sql_update`
pub const SQL_UPDATE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_update"),
    params: &[
        Param::req("table", Kind::Str),
        Param::req("columns", Kind::RawOrOut),
        Param::opt("filter", Kind::RawOrOut),
        Param::opt("db_id", Kind::Int),
    ],
    doc: "Changes rows. Columns: `{\"col\": value, ...}` or a JSON array of such objects; filter as for sql_select, \
          every row if left out.",
    returns: CODES,
    example: r#"sql_update("users", '{"credit": $var(credit)}', '[{"uid": "$fU"}]');"#,
    run: |call| {
        with(
            call,
            |call| {
                let mut s = Statement::begin("UPDATE ", call, 0)?;
                s.text.push_str(" SET ");
                let columns = columns_of(call, 1)?;
                for (n, (name, value)) in columns.into_iter().enumerate() {
                    s.text.push_str(if n > 0 { ", " } else { "" });
                    s.text.push_str(identifier(&name)?);
                    s.text.push_str(" = ");
                    s.value(value);
                }
                s.filter(call, 2)?;
                Ok(s)
            },
            3,
        )
    },
    finish: Some(finish_code),
    ..SQL_SELECT
};

/// `sql_insert`
pub const SQL_INSERT: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_insert"),
    params: &[Param::req("table", Kind::Str), Param::req("columns", Kind::RawOrOut), Param::opt("db_id", Kind::Int)],
    doc: "Adds a row. Columns: `{\"col\": value, ...}` or a JSON array of such objects.",
    example: r#"sql_insert("calls", '[{"callid": "$ci"}, {"caller": "$fu"}]');"#,
    run: |call| with(call, |call| insert(call, "INSERT INTO "), 2),
    ..SQL_UPDATE
};

/// `sql_replace`
pub const SQL_REPLACE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_replace"),
    doc: "Adds a row, or replaces the one with the same key (MySQL and SQLite). Columns as for sql_insert.",
    example: r#"sql_replace("presence", '{"uid": "$fU", "state": "open"}');"#,
    run: |call| with(call, |call| insert(call, "REPLACE INTO "), 2),
    ..SQL_INSERT
};

/// `sql_delete`
pub const SQL_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_delete"),
    params: &[Param::req("table", Kind::Str), Param::opt("filter", Kind::RawOrOut), Param::opt("db_id", Kind::Int)],
    doc: "Removes rows; filter as for sql_select, every row if left out.",
    example: r#"sql_delete("calls", '[{"callid": "$ci"}]');"#,
    run: |call| {
        with(
            call,
            |call| {
                let mut s = Statement::begin("DELETE FROM ", call, 0)?;
                s.filter(call, 1)?;
                Ok(s)
            },
            2,
        )
    },
    ..SQL_UPDATE
};

/// A statement and the values of its placeholders.
#[derive(Default)]
struct Statement {
    text: String,
    params: Vec<SqlValue>,
}

/// Waits for the statement that `make` builds.
fn with(
    call: &mut Call<'_, SipHost>,
    make: impl FnOnce(&mut Call<'_, SipHost>) -> Result<Statement, String>,
    db: usize,
) -> Step<SipHost> {
    match make(call) {
        Ok(s) => statement(call, db, Str::from(s.text), s.params),
        Err(why) => Step::Fail(why),
    }
}

fn select(call: &mut Call<'_, SipHost>, limit: Option<u32>) -> Result<Statement, String> {
    let mut verb = "SELECT ".to_string();
    let columns = match argument(call, 0)? {
        None => Vec::new(),
        Some(Data::List(list)) => list,
        Some(one) => vec![one],
    };
    verb.push_str(if columns.is_empty() { "*" } else { "" });
    for (n, column) in columns.iter().enumerate() {
        let Data::One(SqlValue::Text(name)) = column else {
            return Err("the columns must be a JSON array of names".to_string());
        };
        verb.push_str(if n > 0 { ", " } else { "" });
        verb.push_str(result_column(name)?);
    }
    verb.push_str(" FROM ");
    let mut s = Statement::begin(&verb, call, 1)?;
    s.filter(call, 2)?;
    let order = call.text(3).unwrap_or_default();
    if !order.trim_ascii().is_empty() {
        s.text.push_str(" ORDER BY ");
        s.text.push_str(&order_by(&order)?);
    }
    if let Some(n) = limit {
        s.text.push_str(&format!(" LIMIT {n}"));
    }
    Ok(s)
}

fn insert(call: &mut Call<'_, SipHost>, verb: &str) -> Result<Statement, String> {
    let mut s = Statement::begin(verb, call, 0)?;
    let columns = columns_of(call, 1)?;
    let mut names = Vec::with_capacity(columns.len());
    for (name, _) in &columns {
        names.push(identifier(name)?);
    }
    s.text.push_str(&format!(" ({}) VALUES (", names.join(", ")));
    for (n, (_, value)) in columns.iter().enumerate() {
        s.text.push_str(if n > 0 { ", " } else { "" });
        s.value(value.clone());
    }
    s.text.push(')');
    Ok(s)
}

impl Statement {
    /// `VERB table`
    fn begin(verb: &str, call: &Call<'_, SipHost>, table: usize) -> Result<Statement, String> {
        let table = call.text(table).unwrap_or_default();
        Ok(Statement { text: format!("{verb}{}", identifier(table.trim_ascii())?), params: Vec::new() })
    }

    fn value(&mut self, value: SqlValue) {
        self.text.push('?');
        self.params.push(value);
    }

    /// ` WHERE ...` from the filter in argument `i`.
    fn filter(&mut self, call: &mut Call<'_, SipHost>, i: usize) -> Result<(), String> {
        let conditions = match argument(call, i)? {
            None => return Ok(()),
            Some(Data::List(list)) => list,
            Some(map @ Data::Map(_)) => vec![map],
            Some(Data::One(_)) => return Err("the filter must be a JSON array of objects".to_string()),
        };
        let mut word = " WHERE ";
        for condition in conditions {
            let Data::Map(members) = condition else {
                return Err("the filter must be a JSON array of objects".to_string());
            };
            for (column, test) in members {
                let column = identifier(&column)?.to_string();
                match test {
                    Data::Map(tests) => {
                        for (op, value) in tests {
                            self.text.push_str(word);
                            self.test(&column, operator(&op)?, value)?;
                            word = " AND ";
                        }
                    }
                    value => {
                        self.text.push_str(word);
                        self.test(&column, "=", value)?;
                        word = " AND ";
                    }
                }
            }
        }
        Ok(())
    }

    fn test(&mut self, column: &str, op: &str, value: Data) -> Result<(), String> {
        self.text.push_str(column);
        match (op, value) {
            ("=", Data::One(SqlValue::Null)) => self.text.push_str(" IS NULL"),
            ("!=" | "<>", Data::One(SqlValue::Null)) => self.text.push_str(" IS NOT NULL"),
            (_, Data::One(value)) => {
                self.text.push_str(&format!(" {op} "));
                self.value(value);
            }
            ("=" | "!=" | "<>", Data::List(list)) if !list.is_empty() => {
                self.text.push_str(if op == "=" { " IN (" } else { " NOT IN (" });
                for (n, item) in list.into_iter().enumerate() {
                    let Data::One(value) = item else { return Err(format!("a list for `{column}` holds no scalar")) };
                    self.text.push_str(if n > 0 { ", " } else { "" });
                    self.value(value);
                }
                self.text.push(')');
            }
            _ => return Err(format!("`{column}` cannot be compared with that")),
        }
        Ok(())
    }
}

fn operator(op: &[u8]) -> Result<&'static str, String> {
    const OPERATORS: [&str; 9] = ["=", "!=", "<>", "<=", ">=", "<", ">", "like", "not like"];
    let op = op.trim_ascii();
    OPERATORS
        .into_iter()
        .find(|o| o.as_bytes().eq_ignore_ascii_case(op))
        .ok_or_else(|| format!("unknown operator `{}` in the filter", String::from_utf8_lossy(op)))
}

/// The columns and values of argument `i`: an object, or an array of objects.
fn columns_of(call: &mut Call<'_, SipHost>, i: usize) -> Result<Vec<(Str, SqlValue)>, String> {
    let parts = match argument(call, i)? {
        Some(Data::List(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let mut out = Vec::new();
    for part in parts {
        let Data::Map(members) = part else { return Err("the columns must be JSON objects".to_string()) };
        for (name, value) in members {
            let Data::One(value) = value else {
                return Err(format!("the value of `{}` is no scalar", name.to_lossy()));
            };
            out.push((name, value));
        }
    }
    if out.is_empty() { Err("no columns are given".to_string()) } else { Ok(out) }
}

/// A column to read: a name, `*`, or a function of one (`count(*)`, `max(prio)`).
fn result_column(name: &[u8]) -> Result<&str, String> {
    let whole = std::str::from_utf8(name).unwrap_or_default();
    let inner = |t: &str| t == "*" || identifier(t.as_bytes()).is_ok();
    let fine = match whole.strip_suffix(')').and_then(|t| t.split_once('(')) {
        Some((function, of)) => identifier(function.as_bytes()).is_ok() && inner(of.trim()),
        None => inner(whole),
    };
    if fine { Ok(whole) } else { Err(format!("`{}` is no column", String::from_utf8_lossy(name))) }
}

/// `a desc, b`
fn order_by(text: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(text);
    let mut out = Vec::new();
    for part in text.split(',') {
        let mut words = part.split_ascii_whitespace();
        let column = identifier(words.next().unwrap_or_default().as_bytes())?;
        let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
            None => "",
            Some("asc") => " ASC",
            Some("desc") => " DESC",
            Some(other) => return Err(format!("`{other}` is no order: write asc or desc")),
        };
        if words.next().is_some() {
            return Err(format!("`{}` is no order", part.trim()));
        }
        out.push(format!("{column}{direction}"));
    }
    Ok(out.join(", "))
}
