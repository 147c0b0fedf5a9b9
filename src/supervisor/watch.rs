//! Workers that live and do nothing: an endless loop is a bug, and its worker is replaced.
//!
//! A worker counts the turns of its loop in shared memory, and no turn sleeps longer than a second.
//! Main looks once a second. What counts are main's own looks without progress, not the time that
//! went by: a machine that stood still, or that is too crowded for main, accuses nobody.

use super::main_loop::{Stage, Supervisor};
use crate::net::logpipe::ALERT;
use std::fs;

use nix::sys::signal::{Signal, kill};

/// What main saw of a tenant's turns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    beats: u64,
    /// Looks in a row without progress.
    still: u64,
}

/// What is to be done about a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    Well,
    /// It is to end with a core dump.
    Hangs,
    /// That did not help.
    Stubborn,
}

impl Pulse {
    /// One look; `limit` looks without progress are too many.
    fn look(&mut self, beats: u64, limit: u64) -> Finding {
        if beats != self.beats || beats == 0 {
            *self = Pulse { beats, still: 0 };
            return Finding::Well;
        }
        self.still += 1;
        if self.still == limit {
            Finding::Hangs
        } else if self.still >= limit + 3 {
            Finding::Stubborn
        } else {
            Finding::Well
        }
    }
}

impl Supervisor<'_> {
    /// Once a second: ends workers whose loop does not turn. The message in work is named.
    pub(super) fn look_at_pulses(&mut self) {
        let Some(limit) = self.hang_timeout else { return };
        if self.stage != Stage::Running {
            return;
        }
        // The first look is the beginning of the time.
        let looks = limit.as_secs().max(1);
        for index in 0..self.places.len() {
            let Some(place) = self.places.get_mut(index).filter(|p| p.is_worker() || p.is_task()) else { continue };
            let beats = place.in_work.beats();
            let title = place.title(index);
            let found = place.in_work.found();
            let Some(tenant) = place.tenant.as_mut().filter(|t| t.ready) else { continue };
            if is_stopped(tenant.pid.as_raw()) {
                continue;
            }
            match tenant.pulse.look(beats, looks) {
                Finding::Well => {}
                Finding::Hangs => {
                    log::error!(
                        target: ALERT,
                        "{title} (pid {}) does not respond since {} s, this is a bug: it is ended and replaced",
                        tenant.pid,
                        limit.as_secs()
                    );
                    if let Some(f) = found {
                        log::error!(target: ALERT, "{title} hangs over {f}");
                    }
                    let _ = kill(tenant.pid, Signal::SIGABRT);
                }
                Finding::Stubborn => tenant.kill(),
            }
        }
    }
}

/// Whether somebody stopped it on purpose (SIGSTOP, a debugger).
fn is_stopped(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    matches!(state, Some("T" | "t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_without_progress_count() {
        let mut p = Pulse::default();
        // Not begun.
        assert!((0..50).all(|_| p.look(0, 3) == Finding::Well));
        assert!((1..50).all(|i| p.look(i, 3) == Finding::Well));
        let found: Vec<Finding> = (0..7).map(|_| p.look(49, 3)).collect();
        use Finding::{Hangs, Stubborn, Well};
        assert_eq!(found, [Well, Well, Hangs, Well, Well, Stubborn, Stubborn]);
        assert_eq!(p.look(50, 3), Well);
        assert_eq!(p.look(50, 3), Well);
    }
}
