//! A private tinyproxy: a forward proxy for HTTP, and for HTTPS by CONNECT.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, process};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running proxy.
pub struct TinyProxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    dir: TempDir,
    child: Child,
}

impl TinyProxy {
    /// One that serves everybody.
    pub fn start() -> TinyProxy {
        Self::with("")
    }

    /// One that wants a name and a password.
    pub fn with_password(name: &str, password: &str) -> TinyProxy {
        Self::with(&format!("BasicAuth {name} {password}\n"))
    }

    fn with(more: &str) -> TinyProxy {
        let (dir, port) = (process::directory("proxy"), free_port());
        let (config, log) = (dir.path().join("conf"), dir.path().join("log"));
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{}\"\nLogLevel Info\nMaxClients 100\n\
             Allow 127.0.0.1\nViaProxyName \"between\"\n{more}",
            log.display()
        );
        fs::write(&config, text).expect("configuration written");
        let mut command = process::command("tinyproxy");
        command.arg("-d").arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = process::spawn(command).expect("part installed: tinyproxy-bin");
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(&log).unwrap_or_default();
            if let Ok(Some(status)) = child.try_wait() {
                panic!("tinyproxy ended: {status}\n{}", log());
            }
            assert!(Instant::now() < end, "tinyproxy is not ready after {START_TIMEOUT:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        TinyProxy { port, dir, child }
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for TinyProxy {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}
