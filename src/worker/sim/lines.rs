//! The log of a simulation: lines are kept instead of written, each thread's for itself.

use crate::net::logpipe;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;

/// Lines kept per thread; what comes then is lost.
const MOST: usize = 100_000;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// -3 (alert) to 4 (debug).
    pub level: i8,
    /// Its text.
    pub text: String,
}

struct Keeper(Mutex<HashMap<ThreadId, Vec<Line>>>);

static KEEPER: OnceLock<Keeper> = OnceLock::new();

/// Keeps the lines from now on, in the process's whole life. False if the process has another log.
pub fn keep() -> bool {
    let mut ours = KEEPER.get().is_some();
    let keeper = KEEPER.get_or_init(|| {
        ours = true;
        Keeper(Mutex::default())
    });
    if log::set_logger(keeper).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
        return true;
    }
    ours
}

/// The lines of this thread since the last call.
pub fn take() -> Vec<Line> {
    let Some(Keeper(lines)) = KEEPER.get() else { return Vec::new() };
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.remove(&std::thread::current().id()).unwrap_or_default()
}

impl log::Log for Keeper {
    fn enabled(&self, meta: &log::Metadata<'_>) -> bool {
        // What other crates say about themselves is nobody's business here.
        meta.level() <= log::Level::Info || !meta.target().contains("::")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = lines.entry(std::thread::current().id()).or_default();
        if mine.len() < MOST {
            mine.push(Line { level: logpipe::level_of(record.metadata()), text: record.args().to_string() });
        }
    }

    fn flush(&self) {}
}
