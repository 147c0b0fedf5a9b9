//! The limit of open files.

use crate::modules::emit;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors of a process besides its connections, roughly.
const OTHERS: u64 = 512;

/// Raises the limit of open files to what is wanted (`open_files_limit`), else to what `connections`
/// need, as far as the system allows; says so if that is not enough.
pub(super) fn raise_limit(wanted: Option<u64>, connections: usize) {
    let needed = wanted.unwrap_or((connections as u64).saturating_add(OTHERS));
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= needed {
        return;
    }
    // Only root may raise the second.
    if hard >= needed || (wanted.is_some() && setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_ok()) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
        return;
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    emit(
        1,
        "start",
        &format!("{hard} open files are allowed, {needed} may be needed: raise the limit (ulimit -n, LimitNOFILE=)"),
    );
}
