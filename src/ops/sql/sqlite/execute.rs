//! Executing queries on one SQLite connection, within a deadline and bounds.
//!
//! Integers become integers, real numbers text, text and blobs text; a column declared as a DATE, DATETIME
//! or TIMESTAMP gives seconds since 1970 (its text is read as UTC, as SQLite's own functions do).
//!
//! Beyond SQLite's own functions there is `sleep(seconds)`, as MySQL has it: it waits and
//! gives 0, and ends at once when its query is cancelled.

use super::wire::{Bytes, Query, Value};
use crate::base::{Str, Time};
use crate::net::reactor::clock;
use crate::ops::sql::datetime;
use crate::ops::sql::limits::VALUE_COST;
use crate::ops::{Failure, Phase, SqlResult, SqlValue, Why};
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Instructions of SQLite's machine between two looks at the deadline.
const PROGRESS: i32 = 1000;
/// How often a sleeping query looks whether somebody still waits.
const NAP: Duration = Duration::from_millis(5);
/// How often one that waits for its turn looks whether somebody still waits for it.
const TURN_LOOK: Duration = Duration::from_millis(20);
/// Largest value SQLite may build.
const MAX_VALUE: i32 = 16 << 20;

/// Whether a query is still wanted.
#[derive(Debug)]
pub struct Wanted {
    /// When it ends.
    pub deadline: Time,
    /// Whether nobody waits for it.
    pub cancelled: AtomicBool,
}

impl Wanted {
    /// Wanted until `deadline`.
    pub fn until(deadline: Time) -> Wanted {
        Wanted { deadline, cancelled: AtomicBool::new(false) }
    }

    /// Why it is not wanted any more.
    pub fn over(&self) -> Option<Why> {
        if self.cancelled.load(Ordering::Relaxed) {
            Some(Why::Cancelled)
        } else if clock() >= self.deadline {
            Some(Why::Timeout)
        } else {
            None
        }
    }
}

/// Whose turn it is to write to a database file. SQLite lets one write at a time; others look again and again, with
/// growing pauses, and may have bad luck for long. Here they stand in line.
#[derive(Debug, Default)]
pub struct Turn {
    writing: Mutex<bool>,
    free: Condvar,
}

/// Somebody's turn; over when dropped.
#[derive(Debug)]
struct Writing<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn, as long as the query is wanted.
    fn take(&self, wanted: &Wanted) -> Option<Writing<'_>> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        while *writing {
            if wanted.over().is_some() {
                return None;
            }
            writing = self.free.wait_timeout(writing, TURN_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *writing = true;
        Some(Writing(self))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        *self.0.writing.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

/// One connection to one database file.
pub struct Session {
    connection: Connection,
    path: PathBuf,
    file: (u64, u64),
    current: Arc<Mutex<Arc<Wanted>>>,
}

impl Session {
    /// Opens a database file, which must exist.
    pub fn open(path: &Path) -> Result<Session, Failure> {
        let refused = |text: String| Failure::new(Why::Refused, Phase::Connect, format!("{}: {text}", path.display()));
        let file = identity(path).ok_or_else(|| refused("no such database file".to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|e| refused(e.to_string()))?;
        let current = Arc::new(Mutex::new(Arc::new(Wanted::until(Time::NEVER))));
        prepare(&connection, &current).map_err(|e| refused(e.to_string()))?;
        Ok(Session { connection, path: path.to_path_buf(), file, current })
    }

    /// Whether the file is still the one that was opened.
    pub fn is_current(&self) -> bool {
        identity(&self.path) == Some(self.file)
    }

    /// Executes a query.
    pub fn run(
        &mut self,
        query: &Query<Value, Bytes>,
        wanted: &Arc<Wanted>,
        turn: &Turn,
    ) -> Result<SqlResult, Failure> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = wanted.clone();
        let left = wanted.deadline.since(clock()).min(Duration::from_secs(3600));
        let watch = wanted.clone();
        let outcome = self
            .connection
            .busy_timeout(left)
            .and_then(|()| self.connection.progress_handler(PROGRESS, Some(move || watch.over().is_some())))
            .map_err(Trouble::Sql)
            .and_then(|()| execute(&self.connection, query, wanted, turn));
        if !self.connection.is_autocommit() {
            // The next query here is somebody else's.
            let _ = self.connection.progress_handler(0, None::<fn() -> bool>);
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        outcome.map_err(|trouble| match (wanted.over(), trouble) {
            (Some(why), _) => Failure::new(why, Phase::Wait, ""),
            (None, Trouble::Sql(e)) => Failure::new(Why::Denied, Phase::Wait, said(&e)),
            (None, Trouble::Request(text)) => Failure::new(Why::BadRequest, Phase::Wait, text),
            (None, Trouble::TooLarge(text)) => Failure::new(Why::TooLarge, Phase::Receive, text),
        })
    }
}

enum Trouble {
    Sql(rusqlite::Error),
    Request(String),
    TooLarge(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Trouble {
        Trouble::Sql(e)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn prepare(connection: &Connection, current: &Arc<Mutex<Arc<Wanted>>>) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // A read-only file or file system keeps its journal mode.
    let _ = connection.pragma_update(None, "journal_mode", "WAL");
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let current = current.clone();
    connection.create_scalar_function("sleep", 1, FunctionFlags::SQLITE_UTF8, move |context| {
        let seconds = match context.get_raw(0) {
            ValueRef::Integer(n) => n as f64,
            ValueRef::Real(r) => r,
            _ => 0.0,
        };
        let wanted = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = clock() + Duration::try_from_secs_f64(seconds.clamp(0.0, 86_400.0)).unwrap_or_default();
        while clock() < end {
            if wanted.over().is_some() {
                return Err(rusqlite::Error::UserFunctionError("interrupted".into()));
            }
            std::thread::sleep(end.since(clock()).min(NAP));
        }
        Ok(0)
    })
}

/// Executes a query, or the statements of a transaction; one that has failed is taken back by the caller.
fn execute(
    connection: &Connection,
    query: &Query<Value, Bytes>,
    wanted: &Wanted,
    turn: &Turn,
) -> Result<SqlResult, Trouble> {
    if query.then.is_empty() {
        return statement(connection, query, (&query.query, &query.params), wanted, Some(turn));
    }
    let Some(_writing) = turn.take(wanted) else { return Err(no_turn()) };
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut affected = 0u64;
    let mut last = SqlResult::default();
    let all = std::iter::once((&query.query, &query.params)).chain(query.then.iter().map(|(q, p)| (q, p)));
    for one in all {
        last = statement(connection, query, one, wanted, None)?;
        affected = affected.saturating_add(last.affected);
    }
    connection.execute_batch("COMMIT")?;
    Ok(SqlResult { affected, ..last })
}

/// What it says does not matter: the query is not wanted any more.
fn no_turn() -> Trouble {
    Trouble::Request("no turn to write".to_string())
}

/// Executes one statement. `turn`: what it has to take to write; `None`: it is taken.
fn statement(
    connection: &Connection,
    query: &Query<Value, Bytes>,
    (text, params): (&Bytes, &Vec<Value>),
    wanted: &Wanted,
    turn: Option<&Turn>,
) -> Result<SqlResult, Trouble> {
    let text = std::str::from_utf8(&text.0).map_err(|_| Trouble::Request("the query is not UTF-8".to_string()))?;
    let mut statement = connection.prepare(text)?;
    if statement.parameter_count() != params.len() {
        let (want, have) = (statement.parameter_count(), params.len());
        return Err(Trouble::Request(format!("the query has {want} placeholders, {have} values given")));
    }
    for (i, value) in params.iter().enumerate() {
        statement.raw_bind_parameter(i + 1, Bound(value))?;
    }
    let dates: Vec<bool> = statement.columns().map(|c| is_date(c.decl_type())).collect();
    let mut result = SqlResult { columns: statement.column_names().map(Str::from).collect(), ..SqlResult::default() };
    let writes = !statement.readonly();
    let writing = turn.filter(|_| writes).map(|turn| turn.take(wanted));
    if matches!(writing, Some(None)) {
        return Err(no_turn());
    }
    let mut cost = 0usize;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if result.rows.len() >= query.max_rows as usize {
            return Err(Trouble::TooLarge(format!("more than {} rows", query.max_rows)));
        }
        let mut values = Vec::with_capacity(dates.len());
        for (i, date) in dates.iter().enumerate() {
            let value = row.get_ref(i)?;
            cost = cost.saturating_add(VALUE_COST).saturating_add(match value {
                ValueRef::Text(t) | ValueRef::Blob(t) => t.len(),
                _ => 0,
            });
            values.push(mapped(value, *date));
        }
        cost = cost.saturating_add(VALUE_COST);
        if cost > query.max_bytes as usize {
            return Err(Trouble::TooLarge(format!("more than {} bytes", query.max_bytes)));
        }
        result.rows.push(values);
    }
    drop(rows);
    if writes {
        result.affected = connection.changes();
        result.last_insert_id = u64::try_from(connection.last_insert_rowid()).unwrap_or(0);
    }
    Ok(result)
}

fn is_date(declared: Option<&str>) -> bool {
    declared.is_some_and(|d| {
        let d = d.to_ascii_uppercase();
        d.starts_with("DATE") || d.starts_with("TIMESTAMP")
    })
}

fn mapped(value: ValueRef<'_>, date: bool) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(n) if date => SqlValue::Time(n),
        ValueRef::Integer(n) => SqlValue::Int(n),
        ValueRef::Real(r) => SqlValue::Text(Str::from(format!("{r:?}"))),
        ValueRef::Text(t) if date => match datetime::parse(t) {
            Some(seconds) => SqlValue::Time(seconds),
            None => SqlValue::Text(Str::from(t)),
        },
        ValueRef::Text(t) | ValueRef::Blob(t) => SqlValue::Text(Str::from(t)),
    }
}

/// A value on its way into a statement.
struct Bound<'a>(&'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Int(n) => ToSqlOutput::Borrowed(ValueRef::Integer(*n)),
            Value::Time(t) => ToSqlOutput::Owned(rusqlite::types::Value::Text(datetime::format(*t))),
            Value::Text(t) if std::str::from_utf8(&t.0).is_ok() => ToSqlOutput::Borrowed(ValueRef::Text(&t.0)),
            Value::Text(t) => ToSqlOutput::Borrowed(ValueRef::Blob(&t.0)),
        })
    }
}

/// What SQLite said, without its own decoration.
fn said(e: &rusqlite::Error) -> String {
    match e {
        rusqlite::Error::SqliteFailure(code, Some(text)) if code.code != ErrorCode::Unknown => {
            format!("{}: {text}", code.extended_code)
        }
        rusqlite::Error::SqliteFailure(code, text) => {
            format!("{}: {}", code.extended_code, text.as_deref().unwrap_or("error"))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => format!("{}: {msg}", error.extended_code),
        other => other.to_string(),
    }
}
