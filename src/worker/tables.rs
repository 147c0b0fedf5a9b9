//! What the server does with tables and their database by itself: a table is loaded again (`reloadat`, `ctl`), or
//! written back before the worker ends (`dbmode=1`). Each table is one worker's business, by its name.

use super::seat::CallError;
use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::htable::definition::Table;
use crate::modules::htable::load::{self, LIMIT, Load, PAUSE};
use crate::ops::driver::Ended;
use crate::ops::{self, OpId, SqlRequest};
use std::collections::HashMap;

/// How often a table is sent again whose connection has ended.
const REPEATS: u32 = 2;
/// Seconds that a database may take for each statement of a table, beyond the usual.
const PER_STATEMENT: f64 = 0.05;

/// What is under way for a table.
#[derive(Debug)]
enum Job {
    /// Its rows are asked for.
    Ask,
    /// They are written, some at a time.
    Fill(Load),
    /// It is written: the request, and how often it may be sent again.
    Save(Box<SqlRequest>, u32),
}

/// What a worker has under way.
#[derive(Debug, Default)]
pub struct TableWork {
    running: HashMap<OpId, (Str, Job)>,
    /// The tables were written back, or are being so, by a worker that ends.
    last: bool,
}

impl Worker {
    fn table(&self, name: &[u8]) -> Option<&Table> {
        self.env().settings.tables.iter().find(|t| *t.name == *name)
    }

    /// Loads a table again, unless that is under way here already.
    pub(super) fn reload_table(&mut self, name: &Str) -> Result<(), String> {
        if self.table_work.running.values().any(|(busy, _)| busy == name) {
            return Ok(());
        }
        let table = self.table(name).ok_or_else(|| format!("there is no table `{}`", name.to_lossy()))?;
        let request = load::query(self.env(), table)?;
        self.table_operation(name.clone(), ops::Request::Sql(request), Job::Ask);
        Ok(())
    }

    /// The control socket asks for a table to be loaded again (`save`: to be written back).
    pub(super) fn table_order(&mut self, params: &str, save: bool) -> Result<serde_json::Value, CallError> {
        let name = Str::from(super::control_store::Params::parse(params)?.text(0, "table")?);
        let done = if save { self.save_table(&name) } else { self.reload_table(&name) };
        done.map(|()| serde_json::json!("OK")).map_err(CallError::not_found)
    }

    fn save_table(&mut self, name: &Str) -> Result<(), String> {
        let table = self.table(name).ok_or_else(|| format!("there is no table `{}`", name.to_lossy()))?;
        if table.source.as_ref().is_none_or(|s| s.columns.is_some()) {
            return Err(format!("table `{}` cannot be written to a database", name.to_lossy()));
        }
        let request = load::save(self.env(), table)?;
        self.write_table(name.clone(), request, REPEATS);
        Ok(())
    }

    fn write_table(&mut self, name: Str, request: SqlRequest, repeats: u32) {
        let limit = LIMIT + PER_STATEMENT * request.then.len() as f64;
        let kept = Box::new(request.clone());
        self.table_operation_for(name, ops::Request::Sql(request), Job::Save(kept, repeats), limit);
    }

    fn table_operation(&mut self, name: Str, request: ops::Request, job: Job) {
        self.table_operation_for(name, request, job, LIMIT);
    }

    fn table_operation_for(&mut self, name: Str, request: ops::Request, job: Job, limit: f64) {
        let id = self.start_operation(request, Some(limit), None, Time::NEVER);
        self.table_work.running.insert(id, (name, job));
    }

    /// Whether a finished operation was one of these; if so, what follows from it is done.
    pub(super) fn table_operation_done(&mut self, ended: &Ended) -> bool {
        let Some((name, job)) = self.table_work.running.remove(&ended.id) else { return false };
        let rows = match (&ended.outcome, &job) {
            (ops::Outcome::Sql(result), _) => Some(result),
            (ops::Outcome::Slept, Job::Fill(_)) => None,
            (ops::Outcome::Failed(failure), _) => {
                let why = failure.to_string();
                let closed = failure.why == ops::Why::Closed;
                match job {
                    // All of it or nothing was done, and doing it twice does no harm.
                    Job::Save(request, repeats) if closed && repeats > 0 => {
                        emit(1, "htable", &format!("table {} is written again: {why}", name.to_lossy()));
                        self.write_table(name, *request, repeats - 1);
                    }
                    Job::Save(..) => emit(-1, "htable", &format!("table {} was not written: {why}", name.to_lossy())),
                    _ => emit(-1, "htable", &format!("table {} was not loaded: {why}", name.to_lossy())),
                }
                return true;
            }
            _ => return true,
        };
        let load = match (job, rows) {
            (Job::Save(..), _) => {
                emit(3, "htable", &format!("table {} was written to the database", name.to_lossy()));
                return true;
            }
            (Job::Fill(load), _) => load,
            (Job::Ask, Some(result)) => {
                let now = self.env().clock.micros();
                let Some(table) = self.table(&name) else { return true };
                Load::new(table, result.rows.clone(), now)
            }
            (Job::Ask, None) => return true,
        };
        self.fill_table(name, load);
        true
    }

    fn fill_table(&mut self, name: Str, mut load: Load) {
        match load.step(self.env(), &name) {
            Ok(true) => {
                emit(3, "htable", &format!("table {}: {} rows loaded", name.to_lossy(), load.rows()));
                self.raise_event(&Str::from([b"htable:reloaded:", &name[..]].concat()), Vec::new());
            }
            Ok(false) => self.table_operation(name, ops::Request::Sleep(PAUSE), Job::Fill(load)),
            Err(why) => emit(-1, "htable", &format!("table {}: {why}", name.to_lossy())),
        }
    }

    /// Whether a worker that ends has written back its tables. It begins to if it has not.
    pub(super) fn tables_are_safe(&mut self, late: bool) -> bool {
        if late || self.env().store.is_none() {
            return true;
        }
        if !std::mem::replace(&mut self.table_work.last, true) {
            let back = |t: &&Table| t.write_back && self.owner_of(&t.name) == self.me;
            let names: Vec<Str> = self.env().settings.tables.iter().filter(back).map(|t| t.name.clone()).collect();
            for name in names {
                if let Err(why) = self.save_table(&name) {
                    emit(-1, "htable", &format!("table {} was not written: {why}", name.to_lossy()));
                }
            }
        }
        self.table_work.running.is_empty()
    }
}
