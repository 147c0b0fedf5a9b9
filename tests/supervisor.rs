//! The supervisor with a stand-in for the worker: real processes, real signals, real sockets.
//!
//! Each test starts this very program again as a server ([`server_process`]); its workers echo
//! datagrams, hand some to each other over the bus, and misbehave on demand. A server must have one
//! thread when it forks, and the usual test harness has more: so this program has a `main` of its own,
//! which understands the harness's words.

#![allow(clippy::unwrap_used)]

use reprise::cli::ctl::{self, CtlArgs};
use reprise::net::batch::RecvBatch;
use reprise::net::bus::{ANY_INCARNATION, Bus, BusError};
use reprise::net::channel::ChannelError;
use reprise::net::listen::ListenSpec;
use reprise::net::logpipe::{LogSettings, NOTICE, install};
use reprise::net::udp::UdpSocket;
use reprise::store::Counter;
use reprise::supervisor::{ControlPlan, HelperPlan, Plan, run_to_code};
use reprise::worker::seat::{CallError, Seat, SeatKind, ToChild, ToMain};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

// ---- the server process

/// The server that the tests start.
fn server_process(config: &str) -> ! {
    let config: Value = serde_json::from_str(config).unwrap();
    // Whatever ends the tests ends the servers.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    let text = |name: &str| config[name].as_str().map(str::to_owned);
    let log = install(&LogSettings { level: 3, ..LogSettings::default() });
    let listen = ListenSpec::parse(&text("listen").unwrap()).unwrap().resolve().unwrap();
    let mut plan = Plan::new(config["workers"].as_u64().unwrap_or(2) as usize, listen, log);
    plan.bus_ring_bytes = 1 << 16;
    plan.control = text("control").map(|p| ControlPlan { path: p.into(), mode: 0o600 });
    plan.pidfile = text("pidfile").map(PathBuf::from);
    plan.workdir = text("workdir").map(PathBuf::from);
    plan.user = text("user");
    if let Some(ms) = config["drain_ms"].as_u64() {
        plan.drain_timeout = Duration::from_millis(ms);
    }
    if let Some(path) = text("helper") {
        plan.helpers.push(HelperPlan { name: "echo".into(), listener: UnixListener::bind(path).unwrap().into() });
    }
    let startup = text("startup").unwrap_or_default();
    let code = run_to_code(plan, &mut |seat| match seat.kind {
        SeatKind::Worker | SeatKind::Task => worker(seat, &startup),
        SeatKind::Helper => helper(seat),
    });
    std::process::exit(i32::from(code));
}

fn helper(mut seat: Seat) -> i32 {
    let listener = UnixListener::from(seat.helper_listener.take().unwrap());
    listener.set_nonblocking(true).unwrap();
    seat.main.send(&ToMain::Ready).unwrap();
    loop {
        {
            let mut fds =
                [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(seat.main.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
        }
        if let Ok((mut stream, _)) = listener.accept() {
            write!(stream, "helper {}", seat.incarnation).unwrap();
        }
        match seat.main.recv() {
            Ok(Some(ToChild::Quit)) | Err(_) => return 0,
            _ => {}
        }
    }
}

/// State of the check that what the bus brings is what was sent.
#[derive(Default)]
struct Checker {
    next: HashMap<(u16, u32), u64>,
    received: u64,
    wrong: u64,
}

/// What values are filled with, from an offset that their number chooses.
fn pattern() -> Vec<u8> {
    (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

impl Checker {
    /// Takes a value: its number, then bytes of the pattern.
    fn take(&mut self, from: (u16, u32), data: &[u8], pattern: &[u8]) {
        let seq = u64::from_le_bytes(data[..8].try_into().unwrap());
        let expected = self.next.entry(from).or_insert(seq);
        if *expected != seq || data[8..] != pattern[(seq % 1000) as usize..][..Flood::len(seq)] {
            self.wrong += 1;
        }
        *expected = seq + 1;
        self.received += 1;
    }
}

struct Flood {
    to: usize,
    seq: u64,
    left: u64,
}

impl Flood {
    /// Length of value `seq`: now and then one that goes in pieces.
    fn len(seq: u64) -> usize {
        if seq % 5000 == 4999 { 100_000 } else { (seq * 37 % 600) as usize }
    }

    /// Sends until the bus is full; true when there is more to send.
    fn go_on(&mut self, bus: &mut dyn Bus, pattern: &[u8]) -> bool {
        let mut value = Vec::new();
        while self.left > 0 {
            value.clear();
            value.extend_from_slice(&self.seq.to_le_bytes());
            value.extend_from_slice(&pattern[(self.seq % 1000) as usize..][..Flood::len(self.seq)]);
            match bus.send(self.to, ANY_INCARNATION | 2, &value) {
                Ok(()) => {
                    self.seq += 1;
                    self.left -= 1;
                }
                Err(BusError::Full) => {
                    bus.want_space(self.to);
                    return true;
                }
                Err(e) => panic!("{e}"),
            }
        }
        false
    }
}

fn worker(mut seat: Seat, startup: &str) -> i32 {
    let mut socket = UdpSocket::from_fd(seat.sockets.remove(0).1).unwrap();
    if seat.run_startup {
        match startup {
            "fail" => seat.main.send(&ToMain::StartupDone(Err("the script says no".into()))).unwrap(),
            "die" => return 3,
            _ => seat.main.send(&ToMain::StartupDone(Ok(()))).unwrap(),
        }
    }
    seat.main.send(&ToMain::Ready).unwrap();
    let (mut traffic, mut busy, mut draining) = (false, false, false);
    let mut batch = RecvBatch::new();
    let mut buffer = Vec::new();
    let mut checker = Checker::default();
    let pattern = pattern();
    let mut flood: Option<Flood> = None;
    let mut sent = 0;
    loop {
        // Without end: a wake-up that got lost would be seen.
        let timeout = if seat.bus.prepare_sleep() { PollTimeout::NONE } else { PollTimeout::ZERO };
        {
            let mut fds = vec![
                PollFd::new(seat.bus.fd(), PollFlags::POLLIN),
                PollFd::new(
                    seat.main.as_fd(),
                    if seat.main.wants_write() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN },
                ),
            ];
            if traffic {
                fds.extend(socket.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            let _ = poll(&mut fds, timeout);
        }
        let mut budget = 2000;
        while budget > 0
            && let Some(env) = seat.bus.recv(&mut buffer)
        {
            budget -= 1;
            seat.counters.inc(Counter::BusReceived);
            match env.kind & !ANY_INCARNATION {
                1 => {
                    let (to, text) = std::str::from_utf8(&buffer).unwrap().split_once(' ').unwrap();
                    let reply = format!("bus {} {} {text}", seat.index, env.from.index);
                    socket.queue(reply.as_bytes(), to.parse().unwrap(), None, 0);
                }
                _ => checker.take((env.from.index, env.from.incarnation), &buffer, &pattern),
            }
        }
        loop {
            match seat.main.recv() {
                Ok(None) => break,
                Ok(Some(ToChild::StartTraffic)) => traffic = true,
                Ok(Some(ToChild::Drain { .. })) => draining = true,
                Ok(Some(ToChild::Quit)) | Err(ChannelError::Closed) => {
                    seat.log.flush();
                    return 0;
                }
                Ok(Some(ToChild::Call { id, method, params })) => {
                    let result = match (method.as_str(), params.as_str()) {
                        ("waits", _) => {
                            let pad = "x".repeat(100_000);
                            Ok(json!([{ "worker": seat.index, "id": format!("w{}", seat.index), "pad": pad }])
                                .to_string())
                        }
                        ("kill-wait", p) if p.contains(&format!("w{}", seat.index)) => Ok("\"killed\"".into()),
                        ("kill-wait", _) => Err(CallError::not_found("no such wait")),
                        _ => Err(CallError::no_such_method()),
                    };
                    seat.main.send(&ToMain::Answer { id, result }).unwrap();
                }
                Ok(Some(ToChild::LogLevel(level))) => seat.log.set_level(level),
                Ok(Some(other)) => log::info!("worker {} heard {other:?}", seat.index),
                Err(e) => panic!("{e}"),
            }
        }
        let _ = seat.main.flush();
        if draining && !busy {
            seat.main.send(&ToMain::Idle).unwrap();
            draining = false;
        }
        if traffic && socket.recv_batch(&mut batch).is_ok() {
            let all: Vec<(Vec<u8>, SocketAddr)> = batch.iter().map(|r| (r.data.to_vec(), r.from)).collect();
            for (data, from) in all {
                seat.in_work.begin(&data);
                seat.counters.inc(Counter::RcvRequests);
                let text = String::from_utf8(data).unwrap();
                let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
                let mut reply = format!("w {} {} {text}", seat.index, seat.incarnation);
                match word {
                    "crash" => std::process::abort(),
                    "panic" => panic!("as asked"),
                    "busy" => busy = true,
                    "exec" => {
                        // Whoever is killed with it cannot wait for it.
                        #[allow(clippy::zombie_processes)]
                        let child = Command::new("sh")
                            .args(["-c", "sleep 1000 & sleep 1000"])
                            .process_group(0)
                            .spawn()
                            .unwrap();
                        reply = format!("{}", child.id());
                    }
                    "log" => {
                        for i in 0..rest.parse::<usize>().unwrap() {
                            log::warn!("line {i} of many, long enough to fill what there is {}", "x".repeat(200));
                        }
                    }
                    "notice" => log::info!(target: NOTICE, "{rest}"),
                    "flood" => {
                        let mut parts = rest.split(' ');
                        let to = parts.next().unwrap().parse().unwrap();
                        let count = parts.next().unwrap().parse().unwrap();
                        if seat.index == to {
                            reply = "not me".into();
                        } else {
                            flood = Some(Flood { to, seq: sent, left: count });
                            sent += count;
                        }
                    }
                    "flooded" => {
                        reply = format!("{} {} {} {}", seat.index, checker.received, checker.wrong, seat.bus.corrupt());
                    }
                    "to" => {
                        let to = rest.split(' ').next().unwrap().parse().unwrap();
                        if to != seat.index {
                            let value = format!("{from} {rest}");
                            seat.bus.send(to, ANY_INCARNATION | 1, value.as_bytes()).unwrap();
                            reply.clear();
                        }
                    }
                    _ => {}
                }
                if !reply.is_empty() {
                    socket.queue(reply.as_bytes(), from, None, 0);
                }
                seat.in_work.end();
            }
        }
        if let Some(f) = &mut flood
            && !f.go_on(&mut seat.bus, &pattern)
        {
            flood = None;
        }
        seat.bus.flush();
        socket.flush(&mut |f| log::warn!("{f:?}"));
        seat.log.flush();
    }
}

// ---- the tests' side

struct Server {
    child: Child,
    dir: tempfile::TempDir,
    addr: SocketAddr,
    notify: UnixDatagram,
    stderr: Arc<Mutex<String>>,
}

fn free_addr() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    fn start(more: Value) -> Server {
        let server = Server::launch(more, free_addr(), true);
        server.wait_notify("READY=1");
        server
    }

    fn launch(more: Value, addr: SocketAddr, read_stderr: bool) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        // As systemd's: also for a server that gave up its privileges.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path().join("notify"), fs::Permissions::from_mode(0o777)).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut config = json!({ "listen": format!("udp:{addr}"), "control": dir.path().join("ctl") });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("REPRISE_TEST_SERVER", config.to_string())
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .env("WATCHDOG_USEC", "1000000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        if read_stderr {
            let mut pipe = BufReader::new(child.stderr.take().unwrap());
            let into = stderr.clone();
            std::thread::spawn(move || {
                let mut line = String::new();
                while pipe.read_line(&mut line).is_ok_and(|n| n > 0) {
                    into.lock().unwrap().push_str(&line);
                    line.clear();
                }
            });
        }
        Server { child, dir, addr, notify, stderr }
    }

    fn wait_notify(&self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let n = self.notify.recv(&mut buffer).unwrap_or_else(|e| panic!("no {wanted}: {e}\n{}", self.log()));
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    }

    fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    fn wait_log(&self, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(wanted) {
            assert!(Instant::now() < end, "no \"{wanted}\" in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn client(&self) -> Client {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Client(socket)
    }

    /// A client whose datagrams arrive at worker `index`.
    fn client_of(&self, index: usize) -> Client {
        for _ in 0..200 {
            let client = self.client();
            if client.ask("hello").starts_with(&format!("w {index} ")) {
                return client;
            }
        }
        panic!("no way to worker {index}");
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let mut stream = UnixStream::connect(self.dir.path().join("ctl")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ps(&self) -> Vec<Value> {
        self.call("ps", json!([]))["result"].as_array().unwrap().clone()
    }

    fn worker_pid(&self, index: usize) -> i32 {
        let ps = self.ps();
        let row = ps.iter().find(|p| p["index"] == json!(index)).unwrap();
        row["pid"].as_i64().unwrap_or_else(|| panic!("worker {index} is dead: {row}")) as i32
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn wait_exit(&mut self, within: Duration) -> Option<i32> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().or(status.signal().map(|s| -s));
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}

struct Client(std::net::UdpSocket);

impl Client {
    fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).unwrap();
    }

    fn recv(&self) -> String {
        let mut buffer = [0; 2048];
        let n = self.0.recv(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    fn ask(&self, text: &str) -> String {
        self.send(text);
        self.recv()
    }
}

/// Whether the process exists and is not a zombie.
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serves_answers_its_control_socket_and_drains() {
    let dir = tempfile::tempdir().unwrap();
    let pidfile = dir.path().join("pid");
    let mut s = Server::launch(json!({ "workers": 3, "pidfile": pidfile, "workdir": dir.path() }), free_addr(), true);
    let ready = s.wait_notify("READY=1");
    assert!(ready.contains(&format!("MAINPID={}", s.child.id())), "{ready}");
    s.wait_notify("WATCHDOG=1");
    assert_eq!(fs::read_to_string(&pidfile).unwrap().trim(), s.child.id().to_string());
    for index in 0..3 {
        let c = s.client_of(index);
        assert_eq!(c.ask("hello there"), format!("w {index} 1 hello there"));
        let other = (index + 1) % 3;
        assert_eq!(c.ask(&format!("to {other} x")), format!("bus {other} {index} {other} x"));
    }
    let ps = s.ps();
    assert_eq!(ps.len(), 4);
    assert_eq!(ps[0]["kind"], json!("main"));
    assert!(ps[1]["rss"].as_u64().unwrap() > 100_000);
    for row in &ps[1..] {
        let pid = row["pid"].as_i64().unwrap();
        assert_eq!(fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(), 1);
        // 0, 1, 2, one socket, three eventfds, the channel, the log.
        let fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|f| fs::read_link(f.unwrap().path()).unwrap().display().to_string())
            .collect();
        assert_eq!(fds.len(), 9, "{fds:?}");
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), dir.path().canonicalize().unwrap());
    }
    assert_eq!(s.call("version", json!(null))["result"]["server"], json!("reprise 0.1.0"));
    assert!(s.call("uptime", json!([]))["result"]["up_time"].is_u64());
    let stats = s.call("stats", json!(["rcv_requests", "each"]))["result"]["core:rcv_requests"].clone();
    let each: u64 = stats["each"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).sum();
    assert!(stats["total"].as_u64().unwrap() >= 6 && stats["total"] == json!(each), "{stats}");
    assert!(s.call("stats", json!([]))["result"]["bus:received"].as_u64().unwrap() >= 3);
    assert_eq!(s.call("stats", json!(["nonsense"]))["error"]["code"], json!(-32602));
    let waits = s.call("waits", json!([]))["result"].clone();
    assert_eq!(waits.as_array().unwrap().iter().map(|w| &w["worker"]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(s.call("kill-wait", json!(["w2"]))["result"], json!("killed"));
    assert_eq!(s.call("kill-wait", json!(["w9"]))["error"]["code"], json!(-32001));
    assert_eq!(s.call("nonsense", json!([]))["error"]["code"], json!(-32601));
    s.client().ask("notice seen");
    s.wait_log("NOTICE");
    assert_eq!(s.call("log_level", json!([-1]))["result"]["log_level"], json!(-1));
    assert_eq!(s.call("log_level", json!(["9"]))["error"]["code"], json!(-32602));
    std::thread::sleep(Duration::from_millis(50));
    s.client().ask("notice unseen");
    assert_eq!(s.call("log_level", json!(["3"]))["result"]["log_level"], json!(3));
    for (method, worked) in [("ps", true), ("waits", true), ("nonsense", false)] {
        let args = CtlArgs { socket: s.dir.path().join("ctl"), json: false, method: method.into(), args: vec![] };
        let expected = if worked { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        assert_eq!(format!("{:?}", ctl::main(&args)), format!("{expected:?}"));
    }
    s.signal(Signal::SIGHUP);
    s.wait_log("reload is not available yet");
    assert!(!s.log().contains("unseen"));
    // What systemd does: the signal goes to every process.
    kill(Pid::from_raw(-(s.child.id() as i32)), Signal::SIGTERM).unwrap();
    s.wait_notify("STOPPING=1");
    assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(0));
    assert!(!pidfile.exists() && !s.dir.path().join("ctl").exists());
    assert!(!s.log().contains("WARN [") || !s.log().contains("while draining"), "{}", s.log());
}

fn a_killed_worker_is_replaced_and_queued_datagrams_are_answered() {
    let s = Server::start(json!({}));
    let (victim, other) = (s.worker_pid(0), s.worker_pid(1));
    let clients: Vec<Client> = (0..20).map(|_| s.client_of(0)).collect();
    // What its exec left: a shell of a process group of its own, and that shell's child.
    let shell: i32 = clients[0].ask("exec").parse().unwrap();
    let grandchild = || fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap_or_default();
    eventually("the shell has a child", || !grandchild().trim().is_empty());
    let grandchild: i32 = grandchild().split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(victim), Signal::SIGSTOP).unwrap();
    for c in &clients {
        c.send("while it stands still");
    }
    let killed = Instant::now();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    for c in &clients {
        assert_eq!(c.recv(), "w 0 2 while it stands still");
    }
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(s.worker_pid(1), other);
    assert_ne!(s.worker_pid(0), victim);
    assert_eq!(s.client_of(1).ask("to 0 again"), "bus 0 1 0 again");
    assert_eq!(s.client_of(0).ask("to 1 again"), "bus 1 0 1 again");
    eventually("what exec left is gone", || !lives(shell) && !lives(grandchild));
    s.wait_log("worker 1 heard PeerDied { index: 0, incarnation: 1 }");
    s.wait_log("worker 1 heard ClearStale");
    s.wait_log("worker 1 heard PeerRespawned { index: 0, incarnation: 2 }");
    assert_eq!(s.call("stats", json!(["process_restarts"]))["result"]["core:process_restarts"], json!(1));
    s.client_of(1).send("panic");
    s.wait_log("panic: panicked at");
    eventually("worker 1 is replaced", || s.ps().iter().any(|p| p["index"] == 1 && p["incarnation"] == 2));
}

fn five_deaths_slow_a_seat_down_and_name_the_message() {
    let s = Server::start(json!({}));
    let c = s.client_of(0);
    let other = s.client_of(1);
    for life in 1..=5 {
        assert_eq!(c.ask("hello"), format!("w 0 {life} hello"));
        c.send("crash on \x01 this");
        // What is read together with the killer dies with it.
        if life < 5 {
            eventually("a replacement", || s.ps()[1]["incarnation"] == json!(life + 1));
        }
    }
    s.wait_log("worker 0 died over a message of 15 bytes, hash ");
    s.wait_log(": crash on \\x01 this");
    let dead = Instant::now();
    assert_eq!(other.ask("hello"), "w 1 1 hello");
    assert_eq!(c.ask("after the pause"), "w 0 6 after the pause");
    assert!(dead.elapsed() > Duration::from_millis(500), "{:?}", dead.elapsed());
}

fn a_log_that_nobody_reads_stalls_nobody() {
    let mut s = Server::launch(json!({}), free_addr(), false);
    s.wait_notify("READY=1");
    let c = s.client_of(0);
    for _ in 0..10 {
        c.ask("log 5000");
        let asked = Instant::now();
        assert_eq!(c.ask("hello"), "w 0 1 hello");
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    // Main stands still: its workers go on.
    s.signal(Signal::SIGSTOP);
    c.ask("log 20000");
    assert_eq!(c.ask("hello"), "w 0 1 hello");
    s.signal(Signal::SIGCONT);
    assert!(s.ps().len() == 3);
    let mut pipe = s.child.stderr.take().unwrap();
    let (send, got) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut all = String::new();
        pipe.read_to_string(&mut all).unwrap();
        send.send(all).unwrap();
    });
    std::thread::sleep(Duration::from_millis(300));
    c.ask("log 3");
    std::thread::sleep(Duration::from_millis(100));
    s.signal(Signal::SIGTERM);
    assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(0));
    let all = got.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(all.contains("log lines were lost"), "{} bytes of log", all.len());
    for line in all.lines().filter(|l| l.contains(" of many")) {
        assert!(line.starts_with("20") && line.ends_with('x'), "{line}");
    }
}

fn a_failed_start_up_ends_with_1() {
    for (startup, reason) in [("fail", "the script says no"), ("die", "ended with status 3 during start-up")] {
        let mut s = Server::launch(json!({ "startup": startup }), free_addr(), true);
        assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(1));
        s.wait_log(reason);
        assert!(!s.dir.path().join("ctl").exists());
    }
    let first = Server::start(json!({}));
    let mut second = Server::launch(json!({}), first.addr, true);
    assert_eq!(second.wait_exit(Duration::from_secs(5)), Some(1));
    second.wait_log(&format!("cannot start: cannot listen on udp:{}", first.addr));
    let taken = first.dir.path().join("ctl");
    let mut third = Server::launch(json!({ "control": taken }), free_addr(), true);
    assert_eq!(third.wait_exit(Duration::from_secs(5)), Some(1));
    third.wait_log("another server answers there");
    assert_eq!(first.ps().len(), 3);
}

fn journald_gets_its_prefixes() {
    let (read, write) = std::io::pipe().unwrap();
    let stat = nix::sys::stat::fstat(&write).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .env("REPRISE_TEST_SERVER", json!({ "listen": "udp:127.0.0.1:0", "startup": "die" }).to_string())
        .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
        .stderr(write)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let text = std::io::read_to_string(read).unwrap();
    assert!(text.starts_with("<6>listening on udp:127.0.0.1:"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("<3>worker 0 (pid ")), "{text}");
}

fn draining_has_an_end_and_can_be_cut_short() {
    let mut s = Server::start(json!({ "drain_ms": 700 }));
    s.client_of(0).ask("busy");
    let told = Instant::now();
    s.signal(Signal::SIGTERM);
    assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(700), "{:?}", told.elapsed());

    let mut s = Server::start(json!({ "drain_ms": 60_000 }));
    s.client_of(0).ask("busy");
    s.signal(Signal::SIGINT);
    s.wait_notify("STOPPING=1");
    assert_eq!(s.ps()[0]["state"], json!("draining"));
    // Still in service for what is going on.
    assert_eq!(s.client_of(1).ask("hello"), "w 1 1 hello");
    s.signal(Signal::SIGTERM);
    assert_eq!(s.wait_exit(Duration::from_secs(2)), Some(0));
}

fn a_worker_that_does_not_return_is_killed() {
    let mut s = Server::start(json!({ "drain_ms": 100 }));
    let pid = s.worker_pid(0);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    s.signal(Signal::SIGTERM);
    assert_eq!(s.wait_exit(Duration::from_secs(8)), Some(0));
    assert!(!lives(pid));
}

fn children_do_not_outlive_main() {
    let mut s = Server::start(json!({}));
    let pids = [s.worker_pid(0), s.worker_pid(1)];
    s.signal(Signal::SIGKILL);
    assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(-9));
    eventually("the workers are gone", || pids.iter().all(|p| !lives(*p)));
    // Its leavings do not keep the next one from starting.
    let again = Server::launch(json!({ "control": s.dir.path().join("ctl") }), s.addr, true);
    again.wait_notify("READY=1");
}

fn a_helper_keeps_its_socket_over_its_death() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("helper");
    let mut s = Server::start(json!({ "helper": path }));
    let ask = || {
        let mut text = String::new();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(ask(), "helper 1");
    let row = s.ps().into_iter().find(|p| p["kind"] == "echo").unwrap();
    kill(Pid::from_raw(row["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    // A connection made at any time waits for the replacement.
    eventually("the helper is replaced", || ask() == "helper 2");
    s.signal(Signal::SIGTERM);
    assert_eq!(s.wait_exit(Duration::from_secs(5)), Some(0));
}

fn privileges_are_dropped() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let s = Server::start(json!({ "user": "nobody", "workers": 1 }));
    for row in s.ps() {
        let status = fs::read_to_string(format!("/proc/{}/status", row["pid"])).unwrap();
        let ids = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert!(!ids("Uid:").contains("\t0"), "{}", ids("Uid:"));
        assert!(!ids("Gid:").contains("\t0"), "{}", ids("Gid:"));
        assert!(!ids("Groups:").split_whitespace().any(|g| g == "0"), "{}", ids("Groups:"));
    }
    // Also a replacement needs nothing that only root may do.
    kill(Pid::from_raw(s.worker_pid(0)), Signal::SIGKILL).unwrap();
    assert_eq!(s.client().ask("hello"), "w 0 2 hello");
}

fn the_bus_carries_millions_and_survives_dying_senders() {
    let s = Server::start(json!({}));
    let (a, b) = (s.client_of(0), s.client_of(1));
    let flooded = |c: &Client| {
        let text = c.ask("flooded");
        let mut n = text.split(' ').map(|n| n.parse::<u64>().unwrap());
        let all = [n.next().unwrap(), n.next().unwrap(), n.next().unwrap(), n.next().unwrap()];
        assert_eq!((all[2], all[3]), (0, 0), "wrong or corrupt values: {text}");
        all[1]
    };
    let count = 1_000_000;
    // Both directions at once.
    a.ask(&format!("flood 1 {count}"));
    b.ask(&format!("flood 0 {count}"));
    let end = Instant::now() + Duration::from_secs(120);
    while flooded(&a) < count || flooded(&b) < count {
        assert!(Instant::now() < end, "{} {}", flooded(&a), flooded(&b));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut before = flooded(&b);
    for round in 0..4 {
        a.ask("flood 1 100000000");
        std::thread::sleep(Duration::from_millis(40 + 13 * round));
        kill(Pid::from_raw(s.worker_pid(0)), Signal::SIGKILL).unwrap();
        assert!(a.ask("hello").starts_with(&format!("w 0 {} ", round + 2)));
        let now = flooded(&b);
        assert!(now > before);
        before = now;
    }
    assert_eq!(a.ask("to 1 still"), "bus 1 0 1 still");
    assert_eq!(b.ask("to 0 still"), "bus 0 1 0 still");
}

// ---- main

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("serves_answers_its_control_socket_and_drains", serves_answers_its_control_socket_and_drains),
    (
        "a_killed_worker_is_replaced_and_queued_datagrams_are_answered",
        a_killed_worker_is_replaced_and_queued_datagrams_are_answered,
    ),
    ("five_deaths_slow_a_seat_down_and_name_the_message", five_deaths_slow_a_seat_down_and_name_the_message),
    ("a_log_that_nobody_reads_stalls_nobody", a_log_that_nobody_reads_stalls_nobody),
    ("a_failed_start_up_ends_with_1", a_failed_start_up_ends_with_1),
    ("journald_gets_its_prefixes", journald_gets_its_prefixes),
    ("draining_has_an_end_and_can_be_cut_short", draining_has_an_end_and_can_be_cut_short),
    ("a_worker_that_does_not_return_is_killed", a_worker_that_does_not_return_is_killed),
    ("children_do_not_outlive_main", children_do_not_outlive_main),
    ("a_helper_keeps_its_socket_over_its_death", a_helper_keeps_its_socket_over_its_death),
    ("privileges_are_dropped", privileges_are_dropped),
    ("the_bus_carries_millions_and_survives_dying_senders", the_bus_carries_millions_and_survives_dying_senders),
];

fn main() -> ExitCode {
    if let Ok(config) = std::env::var("REPRISE_TEST_SERVER") {
        server_process(&config);
    }
    let (mut filters, mut threads, mut exact) = (Vec::new(), 4, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--test-threads" => threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(threads),
            "--exact" => exact = true,
            "--list" => {
                TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
                return ExitCode::SUCCESS;
            }
            a if a.starts_with("--test-threads=") => threads = a[15..].parse().unwrap_or(threads),
            a if a.starts_with('-') => {}
            _ => filters.push(arg),
        }
    }
    let chosen = |name: &str| {
        filters.is_empty() || filters.iter().any(|f| if exact { name == f } else { name.contains(f.as_str()) })
    };
    let todo: Mutex<Vec<Test>> = Mutex::new(TESTS.iter().rev().filter(|(name, _)| chosen(name)).copied().collect());
    let failed: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let count = todo.lock().unwrap().len();
    println!("\nrunning {count} tests");
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, 16) {
            scope.spawn(|| {
                loop {
                    let Some((name, test)) = todo.lock().unwrap().pop() else { return };
                    let ok = std::panic::catch_unwind(test).is_ok();
                    println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
                    if !ok {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap().len();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out\n",
        count - failed,
        TESTS.len() - count
    );
    ExitCode::from(u8::from(failed > 0))
}
