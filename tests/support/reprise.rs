//! The server under test: the real binary with a configuration of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Busy, lock, process};

/// How long a server may take until it reports READY.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The binary that `cargo` built for this test run.
pub const BINARY: &str = env!("CARGO_BIN_EXE_reprise");

/// What a run of the binary that ended by itself left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; 128 + signal number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the binary to its end (`-c`, `-V`, `check`, `ctl` ...), at most `timeout`.
pub fn run(args: &[&str], timeout: Duration) -> Finished {
    let mut command = process::command(BINARY);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command).expect("the binary starts");
    let drain = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("piped")));
    let stderr = drain(Box::new(child.stderr.take().expect("piped")));
    let status = process::wait_exit(&mut child, timeout);
    if status.is_none() {
        process::end(&mut child);
    }
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    let status = status.unwrap_or_else(|| panic!("reprise {args:?} did not end in {timeout:?}\n{stdout}\n{stderr}"));
    Finished { code: exit_code(status), stdout, stderr }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The log lines that came so far, and whether more can come.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grew: Condvar,
}

/// Where a server's files are.
struct Files {
    config: PathBuf,
    control: PathBuf,
    dir: TempDir,
}

/// A running server. Dropping it kills it; its log is printed when the test is failing.
pub struct Reprise {
    /// Process id of the main process.
    pub pid: i32,
    /// Path of the control socket.
    pub control: PathBuf,
    /// Path of the configuration file.
    pub config: PathBuf,
    child: Child,
    dir: TempDir,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    notify: UnixDatagram,
    _busy: Busy,
}

impl Reprise {
    /// Starts a server with this configuration text and waits until it is ready.
    ///
    /// `control_socket` is appended unless the text sets it. Panics with the log when the server
    /// ends or is not ready after 20 s.
    pub fn start(config: &str, args: &[&str]) -> Reprise {
        Reprise::try_start(config, args).unwrap_or_else(|f| {
            panic!("the server did not start (exit status {})\n{}\n--- configuration\n{config}", f.code, f.stderr)
        })
    }

    /// As [`Reprise::start`], but a server that ends before it is ready is the error, with its log.
    pub fn try_start(config: &str, args: &[&str]) -> Result<Reprise, Finished> {
        Reprise::try_start_with(config, args, &[])
    }

    /// As [`Reprise::try_start`], with additional environment variables.
    pub fn try_start_with(config: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Reprise, Finished> {
        Reprise::launch(Path::new(BINARY), config, args, env)
    }

    /// Starts any program that takes the server's arguments and reports READY.
    pub fn launch(program: &Path, config: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Reprise, Finished> {
        let busy = Busy::enter();
        let dir = process::directory("server");
        let path = dir.path().join("reprise.cfg");
        let control = dir.path().join("control.sock");
        fs::write(&path, with_control(config, &control)).expect("configuration written");
        let mut command = process::command(program);
        command.arg("-f").arg(&path).arg("-E").args(args).current_dir(dir.path()).envs(env.iter().copied());
        Reprise::begin(command, Files { config: path, control, dir }, busy)
    }

    /// Starts the server with these arguments in a directory of the caller's, whose configuration opens the control
    /// socket `control.sock` there.
    pub fn launch_file(args: &[&str], at: &Path) -> Result<Reprise, Finished> {
        let busy = Busy::enter();
        let mut command = process::command(BINARY);
        command.arg("-E").args(args).current_dir(at);
        let files = Files {
            config: at.join("kamailio.cfg"),
            control: at.join("control.sock"),
            dir: process::directory("server"),
        };
        Reprise::begin(command, files, busy)
    }

    fn begin(mut command: Command, files: Files, busy: Busy) -> Result<Reprise, Finished> {
        let Files { config: path, control, dir } = files;
        let notify_path = dir.path().join("notify.sock");
        let notify = UnixDatagram::bind(&notify_path).expect("notify socket");
        command.env("NOTIFY_SOCKET", &notify_path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("the binary starts");
        let log = Arc::new(Log::default());
        let readers = vec![
            read_log(child.stderr.take().expect("piped"), &log, Some(dir.path().join("log"))),
            read_log(child.stdout.take().expect("piped"), &log, None),
        ];
        let mut server = Reprise {
            pid: process::pid_of(&child),
            control,
            config: path,
            child,
            dir,
            log,
            readers,
            notify,
            _busy: busy,
        };
        let end = Instant::now() + START_TIMEOUT;
        loop {
            if server.notified(Duration::from_millis(50)).iter().any(|n| n == "READY=1") {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                server.join_readers();
                return Err(Finished { code: exit_code(status), stdout: String::new(), stderr: server.log() });
            }
            if Instant::now() > end {
                panic!("the server is not ready after {START_TIMEOUT:?}\n{}", server.log());
            }
        }
    }

    /// The assignments of the systemd notifications that arrive within `timeout` (the first one
    /// ends the wait): `READY=1`, `RELOADING=1`, `STOPPING=1`, `STATUS=...`.
    pub fn notified(&self, timeout: Duration) -> Vec<String> {
        let mut buffer = [0u8; 4096];
        self.notify.set_read_timeout(Some(timeout.max(Duration::from_millis(1)))).expect("timeout set");
        match self.notify.recv(&mut buffer) {
            Ok(n) => String::from_utf8_lossy(&buffer[..n]).lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Waits for a notification with this assignment, e.g. `STOPPING=1`.
    pub fn wait_notified(&self, assignment: &str, timeout: Duration) {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.notified(left).iter().any(|n| n == assignment) {
                return;
            }
            assert!(Instant::now() < end, "no notification {assignment} within {timeout:?}\n{}", self.log());
        }
    }

    /// The directory of this instance: configuration, control socket, `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes another configuration to the same file (for a reload).
    pub fn rewrite(&self, config: &str) {
        fs::write(&self.config, with_control(config, &self.control)).expect("configuration written");
    }

    /// The whole log so far.
    pub fn log(&self) -> String {
        lock(&self.log.lines).0.join("\n")
    }

    /// How many lines the log has; a mark for [`Reprise::wait_log_after`].
    pub fn log_mark(&self) -> usize {
        lock(&self.log.lines).0.len()
    }

    /// How many log lines match this regular expression.
    pub fn log_count(&self, pattern: &str) -> usize {
        let pattern = Regex::new(pattern).expect("regular expression");
        lock(&self.log.lines).0.iter().filter(|l| pattern.is_match(l)).count()
    }

    /// Waits for a log line that matches this regular expression, from the log's beginning on, and
    /// returns it. Panics with the log after `timeout`.
    pub fn wait_log(&self, pattern: &str, timeout: Duration) -> String {
        self.wait_log_after(0, pattern, timeout)
    }

    /// As [`Reprise::wait_log`], looking only at lines after the mark.
    pub fn wait_log_after(&self, mark: usize, pattern: &str, timeout: Duration) -> String {
        let regex = Regex::new(pattern).expect("regular expression");
        let end = Instant::now() + timeout;
        let mut seen = mark;
        let mut state = lock(&self.log.lines);
        loop {
            if let Some(line) = state.0.iter().skip(seen).find(|l| regex.is_match(l)) {
                return line.clone();
            }
            seen = seen.max(state.0.len());
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 {
                let text = state.0.join("\n");
                drop(state);
                panic!("no log line matches `{pattern}` within {timeout:?}\n{text}");
            }
            state = self.log.grew.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Calls a control method and returns its result; panics when the answer is an error.
    ///
    /// `args` is the `params` value: an array, an object, or null for none.
    pub fn ctl(&self, method: &str, args: Value) -> Value {
        self.try_ctl(method, args.clone())
            .unwrap_or_else(|e| panic!("control method {method}({args}): {e}\n{}", self.log()))
    }

    /// As [`Reprise::ctl`]; the error is the answer's `error` member.
    pub fn try_ctl(&self, method: &str, args: Value) -> Result<Value, Value> {
        control(&self.control, method, args, Duration::from_secs(10))
    }

    /// Children of main that run the server's own binary: workers, task workers, helpers.
    pub fn worker_pids(&self) -> Vec<i32> {
        let own = process::executable(self.pid);
        process::children(self.pid)
            .into_iter()
            .filter(|p| process::alive(*p) && process::executable(*p) == own)
            .collect()
    }

    /// All direct children of main.
    pub fn children(&self) -> Vec<i32> {
        process::children(self.pid)
    }

    /// Every process of this server.
    pub fn tree(&self) -> Vec<i32> {
        process::tree(self.pid)
    }

    /// Open file descriptors of a process.
    pub fn fd_count(&self, pid: i32) -> usize {
        process::fd_count(pid)
    }

    /// Threads of a process.
    pub fn threads(&self, pid: i32) -> usize {
        process::threads(pid)
    }

    /// Resident memory of the whole server in KiB.
    pub fn rss(&self) -> u64 {
        self.tree().into_iter().map(process::rss_kib).sum()
    }

    /// Sends a signal to main.
    pub fn signal(&self, signal: Signal) {
        assert!(process::signal(self.pid, signal), "main is gone\n{}", self.log());
    }

    /// Whether main runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for main's end and returns its exit status (128 + number for a signal).
    pub fn wait_exit(&mut self, timeout: Duration) -> i32 {
        match process::wait_exit(&mut self.child, timeout) {
            Some(status) => {
                self.join_readers();
                exit_code(status)
            }
            None => panic!("the server did not end within {timeout:?}\n{}", self.log()),
        }
    }

    /// SIGTERM, then waits up to 20 s; returns the exit status.
    pub fn term(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait_exit(Duration::from_secs(20))
    }

    /// The log is complete when the last process of the server has closed it; not waited for long,
    /// since a process that lost its parent could keep it open.
    fn join_readers(&mut self) {
        let end = Instant::now() + Duration::from_secs(2);
        while self.readers.iter().any(|r| !r.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Reprise {
    fn drop(&mut self) {
        let all = self.tree();
        let own = process::executable(self.pid);
        process::end(&mut self.child);
        // What main leaves behind ends by itself; what does not is ended here, so that no test
        // disturbs the next one.
        let end = Instant::now() + Duration::from_secs(1);
        for pid in all.into_iter().skip(1) {
            while process::alive(pid) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            if process::alive(pid) && own.is_some() && process::executable(pid) == own {
                process::signal(pid, Signal::SIGKILL);
            }
        }
        if std::thread::panicking() {
            self.join_readers();
            eprintln!("--- log of reprise {}\n{}\n---", self.pid, self.log());
        }
    }
}

fn with_control(config: &str, control: &Path) -> String {
    if config.contains("control_socket") {
        return config.to_owned();
    }
    let end = if config.ends_with('\n') { "" } else { "\n" };
    format!("{config}{end}control_socket = \"{}\"\n", control.display())
}

fn read_log(from: impl Read + Send + 'static, log: &Arc<Log>, copy: Option<PathBuf>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    let closes = copy.is_some();
    let mut copy = copy.and_then(|path| fs::File::create(path).ok());
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match from.read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if let Some(file) = &mut copy {
                let _ = file.write_all(&bytes);
            }
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            lock(&log.lines).0.push(line);
            log.grew.notify_all();
        }
        if closes {
            lock(&log.lines).1 = true;
            log.grew.notify_all();
        }
    })
}

/// One JSON-RPC 2.0 exchange over a control socket: the request as one line, the answer as the
/// first JSON value that comes back.
pub fn control(socket: &Path, method: &str, args: Value, timeout: Duration) -> Result<Value, Value> {
    let failed = |what: &str, e: &dyn std::fmt::Display| json!({ "message": format!("{what}: {e}") });
    let mut stream = UnixStream::connect(socket).map_err(|e| failed("connect", &e))?;
    stream.set_read_timeout(Some(timeout)).map_err(|e| failed("timeout", &e))?;
    let mut request = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    if !args.is_null() {
        request["params"] = args;
    }
    stream.write_all(format!("{request}\n").as_bytes()).map_err(|e| failed("write", &e))?;
    let mut answers = serde_json::Deserializer::from_reader(BufReader::new(stream)).into_iter::<Value>();
    let answer = match answers.next() {
        Some(Ok(answer)) => answer,
        Some(Err(e)) => return Err(failed("read", &e)),
        None => return Err(failed("read", &"closed without an answer")),
    };
    match answer.get("error") {
        Some(error) if !error.is_null() => Err(error.clone()),
        _ => Ok(answer.get("result").cloned().unwrap_or(Value::Null)),
    }
}
