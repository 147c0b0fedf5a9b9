//! A real user agent, baresip, registers and calls with the file as it is and with accounts.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SECOND;
use crate::database::with_accounts;
use crate::on_both;
use crate::schema::Tables;
use crate::server::{Kind, Stock, plain};
use crate::support::{eventually, free_ports, process};

on_both! {
    baresip_calls_over_udp
    baresip_calls_over_tcp
    baresip_has_accounts
}

/// A user agent that is told what to do over TCP.
struct Baresip {
    child: Child,
    dir: TempDir,
    control: TcpStream,
    buffer: Vec<u8>,
    events: Vec<Value>,
}

/// Where Debian has its modules.
fn modules() -> String {
    let places = ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules"];
    places.into_iter().find(|p| fs::metadata(p).is_ok()).expect("baresip's modules").to_owned()
}

/// A minute of silence: 8000 samples of 16 bits per second.
fn silence(dir: &Path) -> PathBuf {
    let samples = 8000u32 * 60 * 2;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + samples).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1u16, 1].iter().flat_map(|n| n.to_le_bytes()));
    wav.extend([8000u32, 16_000].iter().flat_map(|n| n.to_le_bytes()));
    wav.extend([2u16, 16].iter().flat_map(|n| n.to_le_bytes()));
    wav.extend(b"data");
    wav.extend(samples.to_le_bytes());
    wav.resize(wav.len() + samples as usize, 0);
    let path = dir.join("silence.wav");
    fs::write(&path, wav).unwrap();
    path
}

impl Baresip {
    /// Of a user, registered when this returns. It answers calls by itself.
    fn start(server: &Stock, user: &str, password: &str, transport: &str) -> Baresip {
        let dir = process::directory("baresip");
        let port = free_ports(4);
        let control = port + 2;
        let config = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{port}\nsip_verify_server no\ncall_max_calls 4\n\
             audio_player aufile,{sound}\naudio_source aufile,{silence}\naudio_alert aufile,{sound}\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\nrtp_ports 20000-29999\n\
             net_interface 127.0.0.1\nmodule_path {modules}\nmodule g711.so\nmodule aufile.so\n\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n",
            silence = silence(dir.path()).display(),
            sound = dir.path().join("out.wav").display(),
            modules = modules(),
        );
        fs::write(dir.path().join("config"), config).unwrap();
        let account = format!(
            "<sip:{user}@127.0.0.1:{server_port};transport={transport}>;auth_user={user};auth_pass={password};\
             regint=600;answermode=auto;audio_codecs=PCMU;mediaenc=;sipnat=\n",
            server_port = server.port,
        );
        fs::write(dir.path().join("accounts"), account.replace(";mediaenc=;sipnat=", "")).unwrap();
        fs::write(dir.path().join("contacts"), "").unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = process::command("baresip");
        command.arg("-f").arg(dir.path()).args(["-v"]).current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = process::spawn(command).expect("baresip starts");
        let mut stream = None;
        eventually("baresip takes commands", SECOND * 15, || {
            stream = TcpStream::connect(("127.0.0.1", control)).ok();
            stream.is_some()
        });
        let mut agent =
            Baresip { child, dir, control: stream.expect("connected"), buffer: Vec::new(), events: Vec::new() };
        // It may have registered before it was listened to.
        let end = Instant::now() + SECOND * 20;
        while !agent.log().contains("200 ") && !agent.seen("REGISTER_OK") {
            assert!(Instant::now() < end, "{user} does not register\n{}", agent.log());
            agent.read(Duration::from_millis(50));
        }
        agent
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn seen(&self, kind: &str) -> bool {
        self.events.iter().any(|e| e["type"] == json!(kind))
    }

    /// Sends a command (a netstring with JSON in it).
    fn tell(&mut self, command: &str, params: &str) {
        let text = json!({ "command": command, "params": params, "token": "t" }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).expect("a command");
    }

    /// Takes in what has come.
    fn read(&mut self, wait: Duration) {
        self.control.set_read_timeout(Some(wait)).unwrap();
        let mut piece = [0; 4096];
        if let Ok(n) = self.control.read(&mut piece) {
            self.buffer.extend_from_slice(&piece[..n]);
        }
        while let Some(colon) = self.buffer.iter().position(|b| *b == b':') {
            let Ok(len) = String::from_utf8_lossy(&self.buffer[..colon]).parse::<usize>() else { return };
            let Some(text) = self.buffer.get(colon + 1..colon + 1 + len).map(<[u8]>::to_vec) else { return };
            self.buffer.drain(..(colon + 2 + len).min(self.buffer.len()));
            if let Ok(event) = serde_json::from_slice(&text) {
                self.events.push(event);
            }
        }
    }

    /// Waits for an event and forgets those before it.
    fn wait(&mut self, kind: &str) -> Value {
        let end = Instant::now() + SECOND * 20;
        loop {
            if let Some(at) = self.events.iter().position(|e| e["type"] == json!(kind)) {
                return self.events.drain(..=at).next_back().unwrap();
            }
            assert!(Instant::now() < end, "no {kind}: {:?}\n{}", self.events, self.log());
            self.read(Duration::from_millis(50));
        }
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        process::end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- baresip\n{}\n---", self.log());
        }
    }
}

/// One calls the other, who answers; the callee hangs up. Then one calls who is not there.
fn a_call(server: &Stock, transport: &str, passwords: (&str, &str)) {
    let mut alice = Baresip::start(server, "alice", passwords.0, transport);
    let mut bob = Baresip::start(server, "bob", passwords.1, transport);
    alice.tell("dial", &server.uri("bob"));
    bob.wait("CALL_ESTABLISHED");
    alice.wait("CALL_ESTABLISHED");
    bob.tell("hangup", "");
    alice.wait("CALL_CLOSED");
    bob.wait("CALL_CLOSED");
    alice.tell("dial", &server.uri("nobody"));
    let closed = alice.wait("CALL_CLOSED");
    assert!(closed["param"].as_str().is_some_and(|p| p.starts_with("404")), "{closed}");
}

fn baresip_calls_over_udp(kind: Kind) {
    a_call(&plain(kind), "udp", ("x", "x"));
}

fn baresip_calls_over_tcp(kind: Kind) {
    a_call(&plain(kind), "tcp", ("x", "x"));
}

fn baresip_has_accounts(kind: Kind) {
    let tables = Tables::new();
    let server = with_accounts(&tables, &[]).on(kind);
    a_call(&server, "udp", ("wonderland", "builder"));
    eventually("the call is accounted", SECOND * 10, || tables.number("SELECT COUNT(*) FROM acc") == 2);
}
