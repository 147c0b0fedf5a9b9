//! CPU time of a server with everything it starts: by a control group where one can be made (it
//! counts short-lived children exactly), else by summing `/proc` over the process tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::process;

/// The control group hierarchy to use: version 1's `cpuacct`, or version 2.
fn root() -> Option<(PathBuf, bool)> {
    let v1 = Path::new("/sys/fs/cgroup/cpuacct");
    if v1.join("cpuacct.usage").exists() {
        return Some((v1.to_owned(), true));
    }
    let v2 = Path::new("/sys/fs/cgroup");
    v2.join("cgroup.controllers").exists().then(|| (v2.to_owned(), false))
}

/// Which way is used, for the report.
pub fn method() -> &'static str {
    if Account::new().group.is_some() { "control group" } else { "sum over /proc/PID/task/*/schedstat" }
}

/// The account of one server.
pub struct Account {
    group: Option<(PathBuf, bool)>,
}

impl Account {
    /// Makes a control group if possible.
    pub fn new() -> Account {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = root().and_then(|(root, v1)| {
            let dir = root.join(format!("reprise-bench-{}-{number}", std::process::id()));
            fs::create_dir(&dir).ok()?;
            let counts = if v1 { dir.join("cpuacct.usage") } else { dir.join("cpu.stat") };
            if !counts.exists() {
                let _ = fs::remove_dir(&dir);
                return None;
            }
            Some((dir, v1))
        });
        Account { group }
    }

    /// Shell text that moves the shell into the group; empty when there is none.
    pub fn join_command(&self) -> String {
        self.group.as_ref().map_or(String::new(), |(dir, _)| format!("echo $$ > {}/cgroup.procs; ", dir.display()))
    }

    /// CPU time used so far in nanoseconds.
    pub fn cpu_ns(&self, pid: i32) -> u64 {
        match &self.group {
            Some((dir, true)) => read(&dir.join("cpuacct.usage")).trim().parse().unwrap_or(0),
            Some((dir, false)) => read(&dir.join("cpu.stat"))
                .lines()
                .find_map(|l| l.strip_prefix("usage_usec ")?.trim().parse::<u64>().ok())
                .unwrap_or(0)
                .saturating_mul(1000),
            None => process::tree_cpu_ns(pid),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some((dir, _)) = &self.group {
            // Only an empty group can be removed; its last process may still be ending.
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
