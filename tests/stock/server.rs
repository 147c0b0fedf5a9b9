//! A server with the stock configuration: Kamailio, or this one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SECOND;
use crate::support::reprise::{Reprise, control};
use crate::support::sip::SipClient;
use crate::support::{free_port, process};

/// The file of the package.
pub const FILE: &str = "/etc/kamailio/kamailio.cfg";

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The one that the file was written for.
    Kamailio,
    /// This one.
    Reprise,
}

enum Running {
    Kamailio(Child),
    Reprise(Box<Reprise>),
}

/// A running server.
pub struct Stock {
    /// Port on 127.0.0.1, UDP and TCP.
    pub port: u16,
    running: Running,
    dir: TempDir,
}

/// How a server is started.
#[derive(Clone, Default)]
pub struct Start {
    /// `-A`
    pub defines: Vec<String>,
    /// The configuration; the package's if `None`.
    pub config: Option<String>,
    /// Text of `kamailio-local.cfg`, which the file imports.
    pub local: String,
    /// Further sockets (`-l`).
    pub listen: Vec<String>,
    /// Port; any free one if `None`.
    pub port: Option<u16>,
}

impl Start {
    /// With these defines.
    pub fn with(defines: &[&str]) -> Start {
        Start { defines: defines.iter().map(|d| (*d).to_owned()).collect(), ..Start::default() }
    }

    /// Starts it, as it is on this machine: the file beside what it imports.
    pub fn on(&self, kind: Kind) -> Stock {
        let port = self.port.unwrap_or_else(free_port);
        let dir = process::directory("stock");
        let file = dir.path().join("kamailio.cfg");
        match &self.config {
            None => {
                fs::copy(FILE, &file).expect("the package's configuration");
            }
            Some(text) => {
                // What the package's file does, too.
                let text = text.replacen('\n', "\nimport_file \"kamailio-local.cfg\"\n", 1);
                fs::write(&file, text).expect("a configuration");
            }
        }
        let mut local = self.local.clone();
        if kind == Kind::Reprise {
            // So that it can be asked, as Kamailio's sockets lie in a directory that the command line names.
            local += &format!("control_socket = \"{}\"\n", dir.path().join("control.sock").display());
        }
        fs::write(dir.path().join("kamailio-local.cfg"), local).expect("the local part");
        let mut args: Vec<String> = vec!["-f".into(), file.display().to_string()];
        for proto in ["udp", "tcp"] {
            args.extend(["-l".into(), format!("{proto}:127.0.0.1:{port}")]);
        }
        args.extend(self.listen.iter().flat_map(|l| ["-l".to_owned(), l.clone()]));
        args.extend(self.defines.iter().flat_map(|d| ["-A".to_owned(), d.clone()]));
        let running = match kind {
            Kind::Kamailio => Running::Kamailio(kamailio(dir.path(), &args)),
            Kind::Reprise => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let started = Reprise::launch_file(&args, dir.path());
                let server = started.unwrap_or_else(|f| panic!("no start ({}):\n{}", f.code, f.stderr));
                Running::Reprise(Box::new(server))
            }
        };
        let server = Stock { port, running, dir };
        server.wait_answering();
        server
    }
}

/// A server with the file as it is.
pub fn plain(kind: Kind) -> Stock {
    Start::default().on(kind)
}

fn kamailio(dir: &Path, args: &[String]) -> Child {
    let path = |name: &str| dir.join(name).display().to_string();
    let log = fs::File::create(dir.join("log")).expect("a log");
    let mut command = process::command("kamailio");
    command
        .args(args)
        .args(["-DD", "-E", "-n", "2", "-N", "2", "-m", "64", "-M", "8"])
        .args(["-w", &path(""), "-Y", &path(""), "-P", &path("pid")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    process::spawn(command).expect("Kamailio starts")
}

impl Stock {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A URI of its domain.
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@127.0.0.1:{}", self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        match &self.running {
            Running::Kamailio(_) => fs::read_to_string(self.dir.path().join("log")).unwrap_or_default(),
            Running::Reprise(server) => server.log(),
        }
    }

    /// The processes of the server's own binary; none of Kamailio.
    pub fn workers(&self) -> Vec<i32> {
        match &self.running {
            Running::Kamailio(_) => Vec::new(),
            Running::Reprise(server) => server.worker_pids(),
        }
    }

    fn wait_answering(&self) {
        let client = SipClient::new(self.port);
        let end = Instant::now() + SECOND * 30;
        loop {
            client.send_request(&client.request("OPTIONS", &format!("sip:127.0.0.1:{}", self.port)));
            if client.recv(Duration::from_millis(200)).is_some_and(|m| m.status() == 200) {
                return;
            }
            assert!(Instant::now() < end, "nobody answers on port {}\n{}", self.port, self.log());
        }
    }

    /// A management command: JSON-RPC over the server's own socket. `None`: it refused.
    pub fn rpc(&self, method: &str, params: Value) -> Option<Value> {
        match &self.running {
            Running::Reprise(server) => control(&server.control, method, params, SECOND * 10).ok(),
            Running::Kamailio(_) => {
                let own = self.dir.path().join("rpc-client.sock");
                let _ = fs::remove_file(&own);
                let socket = std::os::unix::net::UnixDatagram::bind(&own).expect("a socket");
                socket.connect(self.dir.path().join("kamailio_rpc.sock")).expect("the control socket");
                socket.set_read_timeout(Some(SECOND * 10)).expect("a timeout");
                let mut request = json!({ "jsonrpc": "2.0", "method": method, "id": 1 });
                if !params.is_null() {
                    request["params"] = params;
                }
                socket.send(request.to_string().as_bytes()).expect("a request");
                let mut buffer = vec![0; 1 << 20];
                let len = socket.recv(&mut buffer).expect("an answer");
                let answer: Value = serde_json::from_slice(&buffer[..len]).expect("JSON");
                answer.get("result").cloned()
            }
        }
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        match &mut self.running {
            Running::Reprise(server) => {
                server.term();
            }
            Running::Kamailio(child) => {
                process::signal(process::pid_of(child), nix::sys::signal::Signal::SIGTERM);
                if process::wait_exit(child, SECOND * 20).is_none() {
                    process::end(child);
                }
            }
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log\n{}\n---", self.log());
        }
        if let Running::Kamailio(child) = &mut self.running
            && child.try_wait().ok().flatten().is_none()
        {
            // Its other processes end when the first one does.
            self.end();
        }
    }
}
