//! A table's items and the rows of its database table: both ways. The worker loads tables before there is traffic and
//! from time to time, scripts do it with `sht_reload`.

use super::definition::{Table, end_after};
use super::items::{place, place_in};
use super::{PRINT, failed};
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::script::value::Value;
use crate::store::shared::tables::NewItem;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Seconds that a database may take for a table.
pub const LIMIT: f64 = 8.0;
/// Items that are written at a time: others want to write too, and this worker has other work.
const BATCH: usize = 500;
/// Time for others in between.
pub const PAUSE: Duration = Duration::from_millis(1);
/// Rows of one INSERT.
const ROWS: usize = 100;

/// The database of all tables.
fn database(env: &Env) -> Result<Str, String> {
    let found = env.settings.db_urls.iter().find(|(n, _)| *n == Table::DATABASE);
    found.map(|(_, url)| url.clone()).ok_or_else(|| "`dbtable` needs `db_url`".to_string())
}

/// The query for a table's items.
pub fn query(env: &Env, table: &Table) -> Result<SqlRequest, String> {
    if table.source.is_none() {
        return Err(format!("table `{}` has no `dbtable`", table.name.to_lossy()));
    }
    let query = Str::from(env.settings.table_columns.query(table));
    Ok(SqlRequest { url: database(env)?, query, params: Vec::new(), then: Vec::new() })
}

fn text(value: SqlValue) -> Option<Str> {
    match value {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(Str::from(n.to_string())),
        SqlValue::Text(t) => Some(t),
    }
}

/// Rows on their way into a table.
#[derive(Debug, Default)]
pub struct Load {
    items: Vec<NewItem>,
    at: usize,
    rows: usize,
}

impl Load {
    /// From the rows that [`query`] has brought.
    pub fn new(table: &Table, rows: Vec<Vec<SqlValue>>, now: i64) -> Load {
        let count = rows.len();
        let mut items = Vec::with_capacity(count);
        let columns = table.source.as_ref().and_then(|s| s.columns.as_ref());
        if columns.is_some_and(|c| c.len() > 2) {
            items.extend(rows.into_iter().filter_map(|row| packed(table, row, now)));
            return Load { items, at: 0, rows: count };
        }
        let mut arrays: HashMap<Str, i64> = HashMap::new();
        for row in rows {
            let mut fields = row.into_iter();
            let (Some(name), Some(value)) = (fields.next().and_then(text), fields.next().and_then(text)) else {
                continue;
            };
            let mut number = || fields.next().and_then(text).and_then(|t| Value::Str(t).to_int()).unwrap_or(0);
            let (in_array, is_number, expires) = (number() == 1, number() == 1, number());
            let value = match Value::Str(value) {
                v if is_number => Value::Int(v.to_int().unwrap_or(0)),
                v => v,
            };
            let name = if in_array {
                let next = arrays.entry(name.clone()).or_default();
                *next += 1;
                Str::from(format!("{}[{}]", name.to_lossy(), *next - 1))
            } else {
                name
            };
            let expires = match expires {
                0 => end_after(table.expire, now),
                // Seconds since 1970.
                at => at.saturating_mul(1_000_000),
            };
            items.push(NewItem { name, value, expires });
        }
        for (name, size) in arrays {
            let name = Str::from(format!("{}::size", name.to_lossy()));
            items.push(NewItem { name, value: Value::Int(size), expires: end_after(table.expire, now) });
        }
        Load { items, at: 0, rows: count }
    }

    /// How many rows there were.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes some of them; true when all are there and the items that the database does not have are gone.
    pub fn step(&mut self, env: &Env, table: &[u8]) -> Result<bool, String> {
        let place = place_in(env, table)?;
        let end = self.items.len().min(self.at.saturating_add(BATCH));
        if let Some(batch) = self.items.get(self.at..end).filter(|b| !b.is_empty()) {
            place.store.set_items(&place.table.name, batch).map_err(|e| e.to_string())?;
            self.at = end;
        }
        if self.at < self.items.len() {
            return Ok(false);
        }
        let names: HashSet<&Str> = self.items.iter().map(|i| &i.name).collect();
        let gone = place.store.remove_items(&place.table.name, &mut |item| !names.contains(&item.name));
        gone.map(|_| true).map_err(|e| e.to_string())
    }

    /// What is left, as plain values: name, value and end of each.
    fn values(&self) -> Vec<Value> {
        let flat = |i: &NewItem| [Value::Str(i.name.clone()), i.value.clone(), Value::Int(i.expires)];
        self.items.iter().flat_map(flat).collect()
    }

    fn from_values(values: &[Value], at: usize) -> Load {
        let item = |v: &[Value]| match v {
            [name, value, expires] => Some(NewItem {
                name: name.to_text().unwrap_or_default(),
                value: value.clone(),
                expires: expires.as_int().unwrap_or(0),
            }),
            _ => None,
        };
        Load { items: values.chunks(3).filter_map(item).collect(), at, rows: 0 }
    }
}

/// A row of a table with several values: they become one text.
fn packed(table: &Table, row: Vec<SqlValue>, now: i64) -> Option<NewItem> {
    let mut fields = row.into_iter();
    let name = fields.next().and_then(text)?;
    let mut out = Vec::new();
    for (n, field) in fields.enumerate() {
        if n > 0 {
            out.extend_from_slice(table.delimiter.as_bytes());
        }
        match text(field) {
            Some(t) => out.extend_from_slice(&t),
            None => out.extend_from_slice(table.null.as_bytes()),
        }
    }
    Some(NewItem { name, value: Value::text(out), expires: end_after(table.expire, now) })
}

/// The transaction that makes the database's table hold what the table holds now: whoever reads it, and whoever
/// finds it after a failure in the middle, sees all rows of before or all rows of now.
pub fn save(env: &Env, table: &Table) -> Result<SqlRequest, String> {
    let place = place_in(env, &table.name)?;
    let url = database(env)?;
    let columns = &env.settings.table_columns;
    let source = table.source.as_ref().map(|s| s.table.as_str()).unwrap_or_default();
    let mut inserts = Vec::new();
    let (names, mark) = columns.insert();
    let mut rows: Vec<SqlValue> = Vec::new();
    let mut count = 0;
    let mut close = |rows: &mut Vec<SqlValue>, count: &mut usize| {
        if *count > 0 {
            let marks = vec![mark.as_str(); *count].join(", ");
            let query = Str::from(format!("INSERT INTO {source} ({names}) VALUES {marks}"));
            inserts.push((query, std::mem::take(rows)));
            *count = 0;
        }
    };
    place
        .each(&mut |item| {
            let number = item.value.as_int();
            rows.push(SqlValue::Text(item.name.clone()));
            rows.push(SqlValue::Text(item.value.to_text().unwrap_or_default()));
            rows.push(SqlValue::Int(0));
            rows.push(SqlValue::Int(i64::from(number.is_some())));
            if columns.has_ends() {
                rows.push(SqlValue::Int(item.expires / 1_000_000));
            }
            count += 1;
            if count == ROWS {
                close(&mut rows, &mut count);
            }
            true
        })
        .map_err(|e| e.to_string())?;
    close(&mut rows, &mut count);
    let query = Str::from(format!("DELETE FROM {source}"));
    Ok(SqlRequest { url, query, params: Vec::new(), then: inserts })
}

/// `sht_reload`
pub const RELOAD: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_reload"),
    params: &[Param::req("table", Kind::Str)],
    waits: true,
    doc: "Loads a table with `dbtable` from its database again: new rows come, others change, what the database does \
          not have goes.",
    returns: &[(1, "done"), (-1, "no such table, none of a database, or the database has failed")],
    example: r#"sht_reload("gateways");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        match place(call.host, &name).and_then(|p| query(call.host.env(), p.table)) {
            Ok(sql) => Step::Wait(Request::Op { op: ops::Request::Sql(sql), limit: Some(LIMIT) }),
            Err(why) => failed(call, why),
        }
    },
    finish: Some(reload),
    ..PRINT
};

fn reload(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let mut load = if call.state.step == 0 {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        match place(call.host, &name) {
            Ok(p) => Load::new(p.table, result.rows, p.now),
            Err(why) => return failed(call, why),
        }
    } else {
        Load::from_values(&call.state.data, call.state.step as usize)
    };
    match load.step(call.host.env(), &name) {
        Ok(true) => Step::Done(1),
        Ok(false) => {
            if call.state.step == 0 {
                call.state.data = load.values();
            }
            call.state.step = u32::try_from(load.at).unwrap_or(u32::MAX);
            Step::Wait(Request::Op { op: ops::Request::Sleep(PAUSE), limit: None })
        }
        Err(why) => failed(call, why),
    }
}
