//! Contacts that the database has from before: read by the worker that runs the startup route, before it does.

use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::modules::usrloc::{self, Binding, Row};
use crate::ops::{self, SqlValue};

/// Seconds that the database may take for some rows.
const LIMIT: f64 = 8.0;

impl Worker {
    /// Reads the tables of contacts; the error ends the start.
    pub(super) fn load_contacts(&mut self) -> Result<(), String> {
        let program = self.program();
        let settings = &self.env().settings.usrloc;
        // A simulation has no database at this time.
        let shared = self.env().store.as_ref().is_some_and(|s| s.is_shared());
        if !usrloc::is_loaded(&program) || !settings.mode.loads() || !shared {
            return Ok(());
        }
        for table in usrloc::tables(&program, settings) {
            let name = table.to_lossy().into_owned();
            let (loaded, bad) = self.load_table(&table).map_err(|why| format!("usrloc: table `{name}`: {why}"))?;
            emit(3, "usrloc", &format!("table {name}: {loaded} contacts loaded"));
            if bad > 0 {
                emit(1, "usrloc", &format!("table {name}: {bad} rows are no contacts and were left out"));
            }
        }
        Ok(())
    }

    /// How many contacts were loaded, and how many rows are none.
    fn load_table(&mut self, name: &Str) -> Result<(usize, usize), String> {
        let (mut loaded, mut bad) = (0, 0);
        let mut after = SqlValue::Null;
        loop {
            let env = self.env().clone();
            let most = env.settings.usrloc.fetch_rows;
            let table = usrloc::table(&env, name)?;
            let request = ops::Request::Sql(table.page(&after, most));
            let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let rows = match outcome {
                Outcome::Op(ops::Outcome::Sql(result)) => result.rows,
                Outcome::Op(ops::Outcome::Failed(f)) => return Err(format!("it cannot be read: {f}")),
                _ => return Err("it cannot be read".to_string()),
            };
            let now = usrloc::now(&env);
            let mut contacts = Vec::with_capacity(rows.len());
            for row in &rows {
                match table.read(row) {
                    Some((_, b)) if b.is_over(now) => {}
                    Some((aor, b)) => contacts.push((aor, named(b, now, loaded + contacts.len()))),
                    None => bad += 1,
                }
            }
            loaded += contacts.len();
            let records = usrloc::records(&env, name)?;
            // A row without a name cannot be found again: its contact gets a new one.
            if contacts.iter().any(|(_, b)| b.row == Row::Missing) {
                records.bury(&[Str::default()]).map_err(|e| e.to_string())?;
            }
            records.add_all(contacts, env.settings.usrloc.newest_first).map_err(|e| e.to_string())?;
            match rows.last() {
                Some(last) if rows.len() >= most => {
                    let next = table.name_of(last);
                    if next == SqlValue::Null || next == after {
                        return Ok((loaded, bad));
                    }
                    after = next;
                }
                _ => return Ok((loaded, bad)),
            }
        }
    }
}

/// A binding with a name.
fn named(b: Binding, now: i64, number: usize) -> Binding {
    if b.ruid.is_empty() {
        return Binding { ruid: Str::from(format!("uloc-{now:x}-0-{number:x}")), row: Row::Missing, ..b };
    }
    b
}
