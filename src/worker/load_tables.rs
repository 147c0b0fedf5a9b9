//! Tables that begin with what a database holds (htable's `dbtable`): read by the worker that runs the startup
//! route, before it does. Nothing can be stalled yet, so it serves nothing else meanwhile.

use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::htable::definition::{Table, end_after};
use crate::modules::htable::items::place_in;
use crate::modules::request::Outcome;
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::value::Value;
use crate::store::shared::tables::Ends;
use std::collections::HashMap;

/// Seconds that a database may take for a table.
const LIMIT: f64 = 8.0;

impl Worker {
    /// Fills tables and queues; the error ends the start.
    pub(super) fn load_all(&mut self) -> Result<(), String> {
        self.load_tables()?;
        self.load_destinations()?;
        self.load_contacts()?;
        self.load_queues()
    }

    fn load_tables(&mut self) -> Result<(), String> {
        let wanted = |t: &&Table| t.source.is_some();
        let tables: Vec<Table> = self.env().settings.tables.iter().filter(wanted).cloned().collect();
        // A simulation has no database at this time.
        if tables.is_empty() || self.env().store.as_ref().is_none_or(|s| !s.is_shared()) {
            return Ok(());
        }
        let url = self.env().settings.db_urls.iter().find(|(n, _)| *n == Table::DATABASE).map(|(_, url)| url.clone());
        let Some(url) = url else { return Err("htable: `dbtable` needs `db_url`".to_string()) };
        for table in tables {
            let query = Str::from(self.env().settings.table_columns.query(&table));
            let request = ops::Request::Sql(SqlRequest { url: url.clone(), query, params: Vec::new() });
            let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let name = table.name.to_lossy().into_owned();
            let rows = match outcome {
                Outcome::Op(ops::Outcome::Sql(result)) => result.rows,
                Outcome::Op(ops::Outcome::Failed(f)) => {
                    return Err(format!("htable: table `{name}` cannot be loaded: {} {}", f.why, f.detail));
                }
                _ => return Err(format!("htable: table `{name}` cannot be loaded")),
            };
            let count = rows.len();
            self.fill(&table, rows).map_err(|why| format!("htable: table `{name}`: {why}"))?;
            emit(3, "htable", &format!("table {name}: {count} rows loaded"));
        }
        Ok(())
    }

    fn fill(&self, table: &Table, rows: Vec<Vec<SqlValue>>) -> Result<(), String> {
        let place = place_in(self.env(), &table.name)?;
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
            let ends = match expires {
                0 => end_after(table.expire, place.now),
                // Seconds since 1970.
                at => at.saturating_mul(1_000_000),
            };
            place.store.set_item(&table.name, &name, &value, Ends::At(ends), place.now).map_err(|e| e.to_string())?;
        }
        for (name, size) in arrays {
            let name = format!("{}::size", name.to_lossy());
            let ends = Ends::At(end_after(table.expire, place.now));
            let set = place.store.set_item(&table.name, name.as_bytes(), &Value::Int(size), ends, place.now);
            set.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

fn text(value: SqlValue) -> Option<Str> {
    match value {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(Str::from(n.to_string())),
        SqlValue::Text(t) => Some(t),
    }
}
