//! What the demonstration is made of: a directory, the server and the web server as child processes.

use crate::cli::ctl;
use serde_json::Value;
use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the server may take to come up.
const START: Duration = Duration::from_secs(5);

/// A directory that is removed at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    /// A new one that nobody else can look into.
    pub fn make() -> Result<Directory, String> {
        let path = std::env::temp_dir().join(format!("reprise-demo-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map(|()| Directory(path.clone())).map_err(|e| format!("{}: {e}", path.display()))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process that is killed at the end.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own() -> Result<Command, String> {
    std::env::current_exe().map(Command::new).map_err(|e| format!("cannot find this program: {e}"))
}

/// The slow web server.
pub struct Web {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _process: Process,
}

impl Web {
    /// Starts it.
    pub fn start() -> Result<Web, String> {
        let mut command = own()?;
        command.args(["demo", "--answerer"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process(command.spawn().map_err(|e| format!("cannot start the web server: {e}"))?);
        let mut line = String::new();
        if let Some(out) = process.0.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let port = line.trim().parse().map_err(|_| "the web server did not start".to_string())?;
        Ok(Web { port, _process: process })
    }
}

/// The server itself.
pub struct Server {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The lines of its log.
    pub log: Receiver<String>,
    control: PathBuf,
    process: Process,
}

impl Server {
    /// Starts it with one worker and waits until it is ready.
    pub fn start(dir: &Path, web: u16) -> Result<Server, String> {
        let text = |e: std::io::Error| e.to_string();
        // Bound and released again: free a moment ago.
        let port = UdpSocket::bind(("127.0.0.1", 0)).and_then(|s| s.local_addr()).map_err(text)?.port();
        let config = dir.join("demo.cfg");
        let script = include_str!("demo.cfg")
            .replace("@SIP@", &port.to_string())
            .replace("@HTTP@", &web.to_string())
            .replace("@DIR@", &dir.to_string_lossy());
        fs::write(&config, script).map_err(text)?;
        let notify = dir.join("notify.sock");
        let ready = UnixDatagram::bind(&notify).map_err(text)?;
        ready.set_read_timeout(Some(Duration::from_millis(20))).map_err(text)?;
        let mut command = own()?;
        command.arg("-f").arg(&config).args(["-n", "1", "-E"]).env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().map_err(|e| format!("cannot start the server: {e}"))?);
        let log = process.0.stderr.take().map(lines).ok_or("the server has no log")?;
        let until = Instant::now() + START;
        let mut buffer = [0; 1024];
        loop {
            let told = ready.recv(&mut buffer).map_or(0, |n| n);
            if String::from_utf8_lossy(&buffer[..told]).lines().any(|l| l == "READY=1") {
                let control = dir.join("ctl.sock");
                return Ok(Server { port, log, control, process });
            }
            if process.0.try_wait().is_ok_and(|s| s.is_some()) || Instant::now() > until {
                let log: Vec<String> = log.iter().take(100).collect();
                return Err(format!("the server did not start\n{}", log.join("\n")));
            }
        }
    }

    /// Asks the server through its control socket.
    pub fn ask(&self, method: &str) -> Result<Value, String> {
        ctl::ask(&ctl::CtlArgs {
            socket: self.control.clone(),
            json: true,
            method: method.to_string(),
            args: Vec::new(),
        })
    }

    /// Threads of the one worker.
    pub fn threads(&self) -> Option<usize> {
        let ps = self.ask("ps").ok()?;
        let worker = ps.as_array()?.iter().find(|p| p["kind"] == "worker")?;
        Some(fs::read_dir(format!("/proc/{}/task", worker["pid"])).ok()?.count())
    }

    /// Ends it as an operator would, and says whether that went well.
    pub fn stop(mut self) -> bool {
        let Ok(pid) = i32::try_from(self.process.0.id()) else { return false };
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            match self.process.0.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return false,
            }
        }
        false
    }
}

/// The lines of a log as they come.
fn lines(from: ChildStderr) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
