//! The limit of open files.

use super::settings::ServerConfig;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::ops::driver::OpKind;
use crate::script::program::Program;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors of a process besides its connections and operations, roughly.
const OTHERS: u64 = 512;
/// Of one command: three pipes and the pidfd.
const PER_COMMAND: usize = 4;

/// Of one task worker: the bus's wake-up in every process, and main's ends of its channel and its log.
const PER_TASK_WORKER: usize = 4;

/// How many files a worker may have open at the same time, if it uses what the configuration allows; `None` if that
/// is no more than any process may.
pub(super) fn needed(config: &ServerConfig, program: &Program<SipHost>, streams: bool) -> Option<u64> {
    let backends = &config.settings.backends;
    let mut of = Vec::new();
    if streams {
        of.push(config.streams.max_connections);
    }
    if program.has_module("exec") {
        of.push(backends.exec_children.saturating_mul(PER_COMMAND));
    }
    if program.has_module("rest_client") {
        of.push(backends.policy(OpKind::Http).in_flight_total);
    }
    of.push(config.settings.db_urls.len().saturating_mul(backends.db_connections));
    let tasks: usize = config.settings.groups.iter().map(|g| g.workers).sum();
    of.push(tasks.saturating_mul(PER_TASK_WORKER));
    let all = of.into_iter().fold(0u64, |sum, n| sum.saturating_add(n as u64));
    (all > 0).then(|| all.saturating_add(OTHERS))
}

/// Raises the limit of open files to what is wanted (`open_files_limit`), else to what is needed, as far as the system
/// allows; says so if that is not enough.
pub(super) fn raise_limit(wanted: Option<u64>, needed: Option<u64>) {
    let Some(goal) = wanted.or(needed) else { return };
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= goal {
        return;
    }
    // Only root may raise the second.
    if hard >= goal || (wanted.is_some() && setrlimit(Resource::RLIMIT_NOFILE, goal, goal).is_ok()) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, goal, hard.max(goal));
        return;
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    emit(
        1,
        "start",
        &format!("{hard} open files are allowed, {goal} may be needed: raise the limit (ulimit -n, LimitNOFILE=)"),
    );
}
