//! What the server does with the contacts of users by itself: those that have ended go, what has changed gets into the
//! database, from time to time by one worker, and by each before it ends.

use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::usrloc::records::{BATCH, Ended, ahead, graves, take_ended};
use crate::modules::usrloc::{self, Binding, Mode, Profile, Records, Row};
use crate::ops::driver::Ended as Operation;
use crate::ops::{self, OpId, SqlRequest};
use crate::script::ast::RouteKind;
use crate::script::vm::Run;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Statements of ours that are under way at a time, per worker.
const IN_FLIGHT: usize = 4;
/// Seconds that one may take.
const LIMIT: f64 = 8.0;
/// When there may be more at once: others have a turn between.
const AGAIN: Duration = Duration::from_millis(1);
/// The event that a contact's end raises, and the name its data has there.
const EVENT: &str = "usrloc:contact-expired";
const PROFILE: &str = "exp";

/// One change of the database.
#[derive(Clone, Debug)]
enum Task {
    /// Writes bindings that have no rows yet.
    Insert { table: Str, aor: Str, bindings: Vec<Binding> },
    /// Brings a row up to date.
    Update { table: Str, aor: Str, binding: Box<Binding> },
    /// Removes rows.
    Forget { table: Str, ruids: Vec<Str> },
    /// Asks for rows that have ended, for the event.
    Ended { table: Str, now: i64 },
    /// Removes rows that have ended.
    RemoveEnded { table: Str, now: i64 },
}

/// A walk over what the database does not say yet.
#[derive(Debug, Default)]
struct Walk {
    /// Behind this row it goes on; `None`: it has seen all rows.
    rows: Option<Option<Vec<u8>>>,
    /// Tables that are still to be asked for what the database has to forget.
    tables: VecDeque<Str>,
    grave: Option<Vec<u8>>,
}

/// What a worker has under way.
#[derive(Debug, Default)]
pub struct Location {
    tables: Vec<Str>,
    walk: Walk,
    tasks: VecDeque<Task>,
    running: HashMap<OpId, Task>,
    /// Statements have failed: nothing more is tried before the next look.
    failed: bool,
    /// The last walk of a worker that ends was begun.
    last: bool,
    /// Behind this key the look at connections goes on.
    pub(super) conns: Option<Vec<u8>>,
}

impl Worker {
    /// How often this worker looks, if the script uses contacts at all.
    pub(super) fn location_interval(&mut self) -> Option<Duration> {
        let program = self.program();
        if !usrloc::is_loaded(&program) {
            return None;
        }
        self.location.tables = usrloc::tables(&program, &self.env().settings.usrloc);
        Some(self.env().settings.usrloc.interval)
    }

    /// A look: when to look again, if not after the usual time.
    pub(super) fn look_after_contacts(&mut self) -> Option<Duration> {
        let now = usrloc::now(self.env());
        let mode = self.env().settings.usrloc.mode;
        if mode == Mode::Database {
            self.remove_ended_rows(now);
            return None;
        }
        let taken = self.env().store.as_ref().map(|store| take_ended(store, now, mode.writes()));
        match taken {
            Some(Ok(taken)) if !taken.is_empty() => {
                taken.into_iter().for_each(|ended| self.contacts_ended(ended));
                return Some(AGAIN);
            }
            Some(Err(why)) => emit(-1, "usrloc", &why.to_string()),
            _ => {}
        }
        self.write_contacts();
        None
    }

    pub(super) fn contacts_ended(&mut self, ended: Ended) {
        self.close_with(&ended);
        let program = self.program();
        let Some(route) = program.find_route(RouteKind::Event, Some(EVENT)) else { return };
        for binding in ended.bindings {
            let mut host = SipHost::without_message(self.env().clone());
            let (name, table, aor) = (Str::from(PROFILE), ended.table.clone(), ended.aor.clone());
            let profile = Profile { name, table, aor, bindings: vec![binding] };
            host.location.get_or_insert_default().profiles.push(profile);
            let run = Run::new(self.program(), route, host);
            self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
        }
    }

    /// Contacts that are kept in the database alone: their rows go, and the event route hears of them.
    fn remove_ended_rows(&mut self, now: i64) {
        if !self.location.running.is_empty() {
            return;
        }
        self.location.failed = false;
        let heard = self.program().find_route(RouteKind::Event, Some(EVENT)).is_some();
        for table in self.location.tables.clone() {
            let task = if heard { Task::Ended { table, now } } else { Task::RemoveEnded { table, now } };
            self.location.tasks.push_back(task);
        }
        self.go_on_with_contacts();
    }

    /// Writes what the database does not say yet, unless that is under way already.
    pub(super) fn write_contacts(&mut self) {
        let writes = self.env().settings.usrloc.mode.writes();
        let location = &mut self.location;
        if !writes || !location.running.is_empty() || self.env().store.is_none() {
            return;
        }
        let location = &mut self.location;
        location.failed = false;
        location.tasks.clear();
        location.walk = Walk { rows: Some(None), tables: location.tables.iter().cloned().collect(), grave: None };
        self.go_on_with_contacts();
    }

    /// Starts statements as long as there are some to be done and not too many are under way.
    fn go_on_with_contacts(&mut self) {
        while self.location.running.len() < IN_FLIGHT && !self.location.failed {
            if self.location.tasks.is_empty() && !self.find_tasks() {
                return;
            }
            let Some(task) = self.location.tasks.pop_front() else { continue };
            match self.statement_of(&task) {
                Ok(request) => {
                    let id = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
                    self.location.running.insert(id, task);
                }
                Err(why) => {
                    emit(-1, "usrloc", &why);
                    self.location.failed = true;
                }
            }
        }
    }

    /// Finds further tasks; false if there are none.
    fn find_tasks(&mut self) -> bool {
        let Some(store) = self.env().store.clone() else { return false };
        let location = &mut self.location;
        if let Some(after) = location.walk.rows.take() {
            match ahead(&store, after.as_deref(), BATCH) {
                Ok(records) => {
                    location.walk.rows = records.last().map(|(key, _)| Some(key.clone()));
                    for (_, record) in records {
                        let (table, aor) = (record.table, record.aor);
                        let late = record.bindings.into_iter().filter(|b| b.row != Row::Same && !b.in_memory_only());
                        let (new, old): (Vec<Binding>, Vec<Binding>) = late.partition(|b| b.row == Row::Missing);
                        if !new.is_empty() {
                            let (table, aor) = (table.clone(), aor.clone());
                            location.tasks.push_back(Task::Insert { table, aor, bindings: new });
                        }
                        for binding in old {
                            let (table, aor, binding) = (table.clone(), aor.clone(), Box::new(binding));
                            location.tasks.push_back(Task::Update { table, aor, binding });
                        }
                    }
                }
                Err(why) => {
                    emit(-1, "usrloc", &why.to_string());
                    location.failed = true;
                    return false;
                }
            }
            return true;
        }
        let Some(table) = location.walk.tables.front().cloned() else { return false };
        match graves(&store, &table, location.walk.grave.as_deref(), BATCH) {
            Ok(found) => {
                match found.last() {
                    Some((key, _)) => location.walk.grave = Some(key.clone()),
                    None => {
                        location.walk.grave = None;
                        location.walk.tables.pop_front();
                    }
                }
                let ruids: Vec<Str> = found.into_iter().map(|(_, ruid)| ruid).collect();
                if !ruids.is_empty() {
                    location.tasks.push_back(Task::Forget { table, ruids });
                }
                true
            }
            Err(why) => {
                emit(-1, "usrloc", &why.to_string());
                location.failed = true;
                false
            }
        }
    }

    fn statement_of(&self, task: &Task) -> Result<SqlRequest, String> {
        let env = self.env();
        match task {
            Task::Insert { table, aor, bindings } => {
                let rows: Vec<(&[u8], &Binding)> = bindings.iter().map(|b| (&aor[..], b)).collect();
                Ok(usrloc::table(env, table)?.upsert(&rows))
            }
            Task::Update { table, aor, binding } => Ok(usrloc::table(env, table)?.update(aor, binding)),
            Task::Forget { table, ruids } => Ok(usrloc::table(env, table)?.remove(ruids)),
            Task::Ended { table, now } => Ok(usrloc::table(env, table)?.select_ended(*now, 10 * BATCH)),
            Task::RemoveEnded { table, now } => Ok(usrloc::table(env, table)?.remove_ended(*now)),
        }
    }

    /// Whether a finished operation was one of these; if so, what follows from it is done.
    pub(super) fn contacts_written(&mut self, ended: &Operation) -> bool {
        let Some(task) = self.location.running.remove(&ended.id) else { return false };
        let ops::Outcome::Sql(result) = &ended.outcome else {
            // The first one speaks for all that are under way.
            if !std::mem::replace(&mut self.location.failed, true) {
                let why = match &ended.outcome {
                    ops::Outcome::Failed(failure) => failure.to_string(),
                    _ => "no answer".to_string(),
                };
                emit(-1, "usrloc", &format!("contacts cannot be written to the database, and will be later: {why}"));
            }
            self.location.tasks.clear();
            return true;
        };
        let Some(store) = self.env().store.clone() else { return true };
        let done = match task {
            Task::Insert { table, aor, bindings } => Records { store: &store, table: &table }.written(&aor, &bindings),
            Task::Update { table, aor, binding } if result.affected == 0 => {
                // Somebody has removed the row, or it says the same already.
                self.location.tasks.push_front(Task::Insert { table, aor, bindings: vec![*binding] });
                Ok(())
            }
            Task::Update { table, aor, binding } => Records { store: &store, table: &table }.written(&aor, &[*binding]),
            Task::Forget { table, ruids } => Records { store: &store, table: &table }.forget(&ruids),
            Task::Ended { table, now } => {
                let of = usrloc::table(self.env(), &table);
                let rows: Vec<(Str, Binding)> =
                    of.map(|t| result.rows.iter().filter_map(|r| t.read(r)).collect()).unwrap_or_default();
                let ruids: Vec<Str> = rows.iter().map(|(_, b)| b.ruid.clone()).collect();
                for (aor, binding) in rows {
                    self.contacts_ended(Ended { table: table.clone(), aor, bindings: vec![binding] });
                }
                let next =
                    if ruids.is_empty() { Task::RemoveEnded { table, now } } else { Task::Forget { table, ruids } };
                self.location.tasks.push_back(next);
                Ok(())
            }
            Task::RemoveEnded { .. } => Ok(()),
        };
        if let Err(why) = done {
            emit(-1, "usrloc", &why.to_string());
        }
        self.go_on_with_contacts();
        true
    }

    /// Whether a worker that ends has written what the database does not say yet. It begins to if it has not.
    pub(super) fn contacts_are_safe(&mut self, late: bool) -> bool {
        if late || !self.env().settings.usrloc.mode.writes() || self.env().store.is_none() {
            return true;
        }
        if self.location.tables.is_empty() && self.location_interval().is_none() {
            return true;
        }
        if !self.location.running.is_empty() {
            return false;
        }
        if !std::mem::replace(&mut self.location.last, true) {
            self.write_contacts();
        }
        self.location.running.is_empty()
    }
}
