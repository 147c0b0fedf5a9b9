//! Queues that a database keeps while the server is down (mqueue's `dbmode`): read by the worker that runs the startup route,
//! before it does, and written by the last worker that ends. Nothing is served at either time. The table of a queue has its name
//! and the columns `id`, which counts, `key` and `val`.

use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::mqueue::{Database, Queue};
use crate::modules::request::Outcome;
use crate::ops::{self, SqlRequest, SqlResult, SqlValue};
use std::time::Duration;

/// Seconds that one statement may take.
const LIMIT: f64 = 8.0;
/// How long saving may take in all; main waits longer.
pub const SAVING: Duration = Duration::from_secs(8);
/// Pairs written by one statement.
const PAIRS: usize = 100;

impl Worker {
    /// Fills the queues; the error ends the start.
    pub(super) fn load_queues(&mut self) -> Result<(), String> {
        for queue in self.kept_queues(|d| d.load) {
            let name = queue.name.to_lossy().into_owned();
            let count = self.load_queue(&queue, &name).map_err(|why| format!("mqueue: queue `{name}`: {why}"))?;
            emit(3, "mqueue", &format!("queue {name}: {count} pairs loaded"));
        }
        Ok(())
    }

    /// Writes what the queues hold. Other workers have ended.
    pub(super) fn save_queues(&mut self) {
        let until = self.now + SAVING;
        for queue in self.kept_queues(|d| d.save) {
            let name = queue.name.to_lossy().into_owned();
            match self.save_queue(&queue, &name, until) {
                Ok(count) => emit(3, "mqueue", &format!("queue {name}: {count} pairs saved")),
                Err(why) => {
                    let left = self.env().store.as_ref().and_then(|s| s.queue_len(&queue.name).ok()).unwrap_or(0);
                    emit(-1, "mqueue", &format!("queue {name}: {left} pairs are lost, they cannot be saved: {why}"));
                }
            }
        }
    }

    fn kept_queues(&self, which: impl Fn(Database) -> bool) -> Vec<Queue> {
        // A simulation has no database at these times.
        if self.env().store.as_ref().is_none_or(|s| !s.is_shared()) {
            return Vec::new();
        }
        self.env().settings.queues.iter().filter(|q| which(q.database)).cloned().collect()
    }

    fn load_queue(&mut self, queue: &Queue, name: &str) -> Result<usize, String> {
        let rows = self.statement(format!("SELECT id, `key`, val FROM `{name}` ORDER BY id"), Vec::new())?.rows;
        let store = self.env().store.clone().ok_or("there is no shared store")?;
        let (mut count, mut last) = (0, None);
        for row in rows {
            let mut fields = row.into_iter();
            let id = fields.next();
            let (Some(key), Some(value)) = (fields.next().and_then(text), fields.next().and_then(text)) else {
                return Err("a row has NULL as `key` or `val`".to_string());
            };
            store.queue_add(&queue.name, &key, &value, queue.size, queue.doubles).map_err(|e| e.to_string())?;
            count += 1;
            last = id.and_then(text);
        }
        // What others have put there meanwhile stays.
        if let Some(last) = last {
            self.statement(format!("DELETE FROM `{name}` WHERE id <= ?"), vec![SqlValue::Text(last)])?;
        }
        Ok(count)
    }

    fn save_queue(&mut self, queue: &Queue, name: &str, until: Time) -> Result<usize, String> {
        let store = self.env().store.clone().ok_or("there is no shared store")?;
        let mut count = 0;
        loop {
            if self.now >= until {
                return Err(format!("it takes longer than {} s", SAVING.as_secs()));
            }
            let pairs = store.queue_head(&queue.name, PAIRS).map_err(|e| e.to_string())?;
            if pairs.is_empty() {
                return Ok(count);
            }
            let places = vec!["(?, ?)"; pairs.len()].join(", ");
            let values = pairs.iter().flat_map(|p| {
                let value = p.value.to_text().unwrap_or_default();
                [SqlValue::Text(p.name.clone()), SqlValue::Text(value)]
            });
            self.statement(format!("INSERT INTO `{name}` (`key`, val) VALUES {places}"), values.collect())?;
            for _ in &pairs {
                store.queue_fetch(&queue.name).map_err(|e| e.to_string())?;
            }
            count += pairs.len();
        }
    }

    /// Executes a statement. Serves nothing else meanwhile.
    fn statement(&mut self, query: String, params: Vec<SqlValue>) -> Result<SqlResult, String> {
        let url = self.env().settings.db_urls.iter().find(|(n, _)| *n == Database::URL).map(|(_, url)| url.clone());
        let url = url.ok_or("`dbmode` needs `db_url`")?;
        let request = ops::Request::Sql(SqlRequest { url, query: Str::from(query), params, then: Vec::new() });
        let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
        let (_, outcome) = self.block_on(&[id]);
        self.writing.remove(&id);
        match outcome {
            Outcome::Op(ops::Outcome::Sql(result)) => Ok(result),
            Outcome::Op(ops::Outcome::Failed(f)) => Err(format!("{} {}", f.why, f.detail)),
            _ => Err("no answer".to_string()),
        }
    }
}

fn text(value: SqlValue) -> Option<Str> {
    match value {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(Str::from(n.to_string())),
        SqlValue::Text(t) => Some(t),
    }
}
