//! The processes that are killed, stopped and started again.

use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bed::{Site, WAITS};
use crate::rig::Rig;
use crate::support::freeradius::FreeRadius;
use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::{eventually, lock, process};

/// The database that is killed and stopped; the shared one is left in peace.
pub fn victim_db() -> MutexGuard<'static, MariaDb> {
    static VICTIM: OnceLock<Mutex<MariaDb>> = OnceLock::new();
    lock(VICTIM.get_or_init(|| Mutex::new(MariaDb::start())))
}

/// The web server that is killed and stopped.
pub fn victim_web() -> MutexGuard<'static, Nginx> {
    static VICTIM: OnceLock<Mutex<Nginx>> = OnceLock::new();
    lock(VICTIM.get_or_init(|| Mutex::new(Nginx::start())))
}

/// Who is killed and stopped.
pub enum Victim {
    Nobody,
    Db(MutexGuard<'static, MariaDb>),
    Web(MutexGuard<'static, Nginx>),
    Radius(FreeRadius),
    Names,
    Helper,
    Children,
}

/// The process id of the helper for SQLite; 0 while there is none.
fn helper(site: &Site) -> i32 {
    let ps = site.server.ctl("ps", serde_json::Value::Null);
    let helper = ps.as_array().and_then(|all| all.iter().find(|p| p["kind"] == "sqlite").cloned());
    helper.and_then(|h| h["pid"].as_i64()).and_then(|p| i32::try_from(p).ok()).unwrap_or(0)
}

impl Rig {
    /// Ends the backend's process, or processes.
    pub fn kill(&self, site: &Site) {
        match &self.victim {
            Victim::Db(db) => db.kill(),
            Victim::Web(web) => web.kill(),
            Victim::Radius(radius) => radius.stop(),
            Victim::Names => self.names.kill(),
            Victim::Helper => {
                let pid = helper(site);
                *lock(&self.pids) = vec![pid];
                process::signal(pid, Signal::SIGKILL);
                // With its last thread its connections end; until then they take queries.
                let ended = || !process::alive(pid) && process::threads(pid) <= 1;
                eventually("the helper has ended", Duration::from_secs(2), ended);
            }
            Victim::Children => self.signal_children(site, Signal::SIGKILL),
            Victim::Nobody => {}
        }
    }

    /// Has it stand still.
    pub fn stop(&self, site: &Site) {
        match &self.victim {
            Victim::Db(db) => db.pause(),
            Victim::Web(web) => web.pause(),
            Victim::Radius(radius) => radius.signal(Signal::SIGSTOP),
            Victim::Names => self.names.signal(Signal::SIGSTOP),
            Victim::Helper => {
                let pid = helper(site);
                *lock(&self.pids) = vec![pid];
                process::signal(pid, Signal::SIGSTOP);
                eventually("the helper stands still", Duration::from_secs(2), || process::state(pid) == Some('T'));
            }
            Victim::Children => self.signal_children(site, Signal::SIGSTOP),
            Victim::Nobody => {}
        }
    }

    /// Starts again what was killed, and has go on what was stopped.
    pub fn launch(&self, site: &Site) {
        match &self.victim {
            Victim::Db(db) if db.pid() == 0 => db.restart(),
            Victim::Db(db) => db.resume(),
            Victim::Web(web) if web.pid() == 0 => web.restart(),
            Victim::Web(web) => web.resume(),
            Victim::Radius(radius) if !radius.runs() => radius.launch(),
            Victim::Radius(radius) => radius.signal(Signal::SIGCONT),
            Victim::Names if !self.names.runs() => self.names.launch(),
            Victim::Names => self.names.signal(Signal::SIGCONT),
            Victim::Helper => {
                for pid in std::mem::take(&mut *lock(&self.pids)) {
                    process::signal(pid, Signal::SIGCONT);
                }
                // Main starts the successor of one that was killed.
                eventually("a helper is there", Duration::from_secs(5), || process::alive(helper(site)));
            }
            Victim::Children | Victim::Nobody => {}
        }
    }

    /// The programs of a cell have begun: a signal for each.
    fn signal_children(&self, site: &Site, signal: Signal) {
        let worker = site.worker();
        let begun = |pid: &i32| {
            let program = process::executable(*pid);
            program.is_some_and(|p| p.file_name().is_some_and(|n| n == "sleep" || n == "coreutils"))
        };
        eventually("the programs run", Duration::from_millis(900), || {
            process::children(worker).iter().filter(|p| begun(p)).count() == WAITS
        });
        for pid in process::children(worker) {
            process::signal(pid, signal);
        }
    }
}
