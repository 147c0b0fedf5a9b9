//! A private dnsmasq: a real name server, over UDP and TCP, on a port of 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{free_port, lock, process};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running (or stopped) name server.
pub struct Dnsmasq {
    /// Where it listens.
    pub addr: SocketAddr,
    names: Vec<(String, Ipv4Addr)>,
    child: Mutex<Option<Child>>,
}

impl Dnsmasq {
    /// One that knows these domains and all below them by these addresses, and nothing else. Answers hold 0 s.
    pub fn start(names: &[(&str, Ipv4Addr)]) -> Dnsmasq {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let names = names.iter().map(|(name, ip)| ((*name).to_owned(), *ip)).collect();
        let server = Dnsmasq { addr, names, child: Mutex::new(None) };
        server.launch();
        server
    }

    /// Starts it again after [`Dnsmasq::kill`].
    pub fn launch(&self) {
        let mut command = process::command("dnsmasq");
        // Without "--no-daemon" a connection would be served by a process of its own.
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.args(["--local-ttl=0", "--listen-address=127.0.0.1", "--interface=lo"]);
        command.arg(format!("--port={}", self.addr.port()));
        for (name, ip) in &self.names {
            command.arg(format!("--address=/{name}/{ip}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = process::spawn(command).expect("dnsmasq starts");
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.addr).is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("dnsmasq ended: {status}");
            }
            assert!(Instant::now() < end, "dnsmasq is not ready after {START_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        *lock(&self.child) = Some(child);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = lock(&self.child).take() {
            process::end(&mut child);
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        lock(&self.child).is_some()
    }

    /// SIGSTOP makes it silent, SIGCONT goes on.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &*lock(&self.child) {
            process::signal(process::pid_of(child), signal);
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.kill();
    }
}
