//! Tables that begin with what a database holds (htable's `dbtable`): read by the worker that runs the startup
//! route, before it does. Nothing can be stalled yet, so it serves nothing else meanwhile.

use super::state::Worker;
use crate::base::Time;
use crate::modules::emit;
use crate::modules::htable::definition::Table;
use crate::modules::htable::load::{self, LIMIT, Load};
use crate::modules::request::Outcome;
use crate::ops;

impl Worker {
    /// Fills tables and queues; the error ends the start.
    pub(super) fn load_all(&mut self) -> Result<(), String> {
        self.load_tables()?;
        self.load_destinations()?;
        self.load_lists()?;
        self.load_contacts()?;
        self.load_registrations()?;
        self.load_queues()
    }

    fn load_tables(&mut self) -> Result<(), String> {
        let wanted = |t: &&Table| t.source.is_some();
        let tables: Vec<Table> = self.env().settings.tables.iter().filter(wanted).cloned().collect();
        // A simulation has no database at this time.
        if tables.is_empty() || self.env().store.as_ref().is_none_or(|s| !s.is_shared()) {
            return Ok(());
        }
        for table in tables {
            let request = load::query(self.env(), &table).map_err(|why| format!("htable: {why}"))?;
            let id = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
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
            let mut load = Load::new(&table, rows, self.env().clock.micros());
            while !load.step(self.env(), &table.name).map_err(|why| format!("htable: table `{name}`: {why}"))? {}
            emit(3, "htable", &format!("table {name}: {} rows loaded", load.rows()));
        }
        Ok(())
    }
}
