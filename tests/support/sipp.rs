//! SIPp with the scenario files of `tests/e2e/sipp/`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{free_ports, process};

/// What a SIPp run counted.
#[derive(Debug, Clone, Default)]
pub struct SippStats {
    /// Calls that went through the scenario.
    pub succeeded: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Requests and responses sent again.
    pub retransmissions: u64,
    /// Calls started (or received).
    pub created: u64,
    /// Calls per second over the whole run.
    pub rate: f64,
    /// Exit status of SIPp: 0 all calls succeeded, 1 some failed.
    pub exit: i32,
    /// What SIPp says about the calls that failed.
    pub errors: String,
}

impl SippStats {
    /// Panics unless exactly this many calls succeeded and none failed.
    pub fn assert_all(&self, calls: u64) {
        assert!(
            self.succeeded == calls && self.failed == 0,
            "SIPp: {} of {calls} calls succeeded, {} failed, {} retransmissions\n{}",
            self.succeeded,
            self.failed,
            self.retransmissions,
            self.errors
        );
    }
}

/// A running SIPp.
pub struct Sipp {
    /// Its SIP address.
    pub addr: SocketAddr,
    /// Process id.
    pub pid: i32,
    child: Child,
    dir: TempDir,
}

/// A scenario file of the test suite by its name without `.xml`, or any path.
pub fn scenario(name: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/sipp/{name}.xml"))
}

/// Puts the scenario where SIPp finds it: words behind the name (`uas-refuse code=486`) stand for `@code@` in it.
fn prepared(name: &str, dir: &Path) -> PathBuf {
    let mut words = name.split(' ');
    let file = scenario(words.next().unwrap_or_default());
    let mut text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("no scenario {}: {e}", file.display()));
    for word in words {
        let (key, value) = word.split_once('=').expect("KEY=VALUE");
        let key = format!("@{key}@");
        assert!(text.contains(&key), "{} has no {key}", file.display());
        text = text.replace(&key, value);
    }
    let path = dir.join("scenario.xml");
    fs::write(&path, text).expect("scenario written");
    path
}

impl Sipp {
    /// The answering side, until [`Sipp::stop`]. `args` go to SIPp as they are. Values for a scenario that
    /// has some to be filled in follow its name: `uas-refuse code=486`. `-p` among them is its port.
    pub fn uas(name: &str, args: &[&str]) -> Sipp {
        Sipp::launch(name, None, args)
    }

    /// The calling side: `calls` calls at `rate` per second to `remote`.
    pub fn uac(name: &str, remote: SocketAddr, calls: u64, rate: u64, args: &[&str]) -> Sipp {
        let (calls, rate, remote) = (calls.to_string(), rate.to_string(), remote.to_string());
        let mut all = vec!["-m", calls.as_str(), "-r", rate.as_str(), "-l", "100000"];
        all.extend_from_slice(args);
        all.push(&remote);
        Sipp::launch(name, Some(()), &all)
    }

    fn launch(name: &str, caller: Option<()>, args: &[&str]) -> Sipp {
        let dir = process::directory("sipp");
        let file = prepared(name, dir.path());
        let own = args.iter().position(|a| *a == "-p").and_then(|at| args.get(at + 1)).and_then(|p| p.parse().ok());
        let port = own.unwrap_or_else(|| free_ports(1));
        let out = |name: &str| fs::File::create(dir.path().join(name)).expect("file");
        let mut command = process::command("sipp");
        command
            .current_dir(dir.path())
            .env("TERM", "dumb")
            .arg("-sf")
            .arg(&file)
            .args(["-i", "127.0.0.1", "-p", &port.to_string()])
            .args(["-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1"])
            .args(["-trace_err", "-error_file", "errors.log"])
            .args(["-buff_size", "4194304"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(out("screen"))
            .stderr(out("stderr"));
        let child = process::spawn(command).expect("SIPp starts");
        let sipp = Sipp { addr: SocketAddr::from(([127, 0, 0, 1], port)), pid: process::pid_of(&child), child, dir };
        if caller.is_none() {
            sipp.wait_bound();
        }
        sipp
    }

    /// Waits until SIPp has its port.
    fn wait_bound(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let wanted = format!(":{:04X} ", self.addr.port());
        loop {
            let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
            let table = table("udp") + &table("tcp");
            if table.lines().any(|l| l.split_whitespace().nth(1).is_some_and(|a| format!("{a} ").ends_with(&wanted))) {
                return;
            }
            assert!(Instant::now() < end && process::alive(self.pid), "SIPp did not start\n{}", self.errors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the calls and returns what was counted. Panics after `timeout`.
    pub fn wait(mut self, timeout: Duration) -> SippStats {
        let Some(status) = process::wait_exit(&mut self.child, timeout) else {
            panic!("SIPp did not end within {timeout:?}\n{}", self.errors());
        };
        self.stats(status.code().unwrap_or(-1))
    }

    /// As [`Sipp::wait`], but when the time is over SIPp is ended, and what was counted so far is
    /// returned with exit status -1.
    pub fn wait_or_end(mut self, timeout: Duration) -> SippStats {
        let status = process::wait_exit(&mut self.child, timeout);
        process::end(&mut self.child);
        self.stats(status.and_then(|s| s.code()).unwrap_or(-1))
    }

    /// Ends SIPp (at once, calls that are open count as nothing) and returns what was counted.
    pub fn stop(mut self) -> SippStats {
        // The first asks it to end when its calls are over (a callee's last a while longer, for late
        // repetitions), the second not to wait for that.
        for wait in [5000, 2000] {
            process::signal(self.pid, Signal::SIGUSR1);
            if let Some(status) = process::wait_exit(&mut self.child, Duration::from_millis(wait)) {
                return self.stats(status.code().unwrap_or(-1));
            }
        }
        process::end(&mut self.child);
        self.stats(-1)
    }

    /// CPU time used so far in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        process::cpu_ns(self.pid)
    }

    fn errors(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        let text = read("stderr") + &read("errors.log");
        text.chars().take(4000).collect()
    }

    fn stats(&self, exit: i32) -> SippStats {
        let text = fs::read_to_string(self.dir.path().join("stat.csv")).unwrap_or_default();
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or("").split(';').collect();
        let values: Vec<&str> = lines.next_back().unwrap_or("").split(';').collect();
        let value =
            |name: &str| names.iter().position(|n| *n == name).and_then(|at| values.get(at)).map_or("", |v| v.trim());
        let number = |name: &str| value(name).parse().unwrap_or(0);
        SippStats {
            succeeded: number("SuccessfulCall(C)"),
            failed: number("FailedCall(C)"),
            retransmissions: number("Retransmissions(C)"),
            created: number("TotalCallCreated"),
            rate: value("CallRate(C)").parse().unwrap_or(0.0),
            exit,
            errors: self.errors(),
        }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}
