//! What main tells systemd (sd_notify(3)). Without `NOTIFY_SOCKET` it says nothing.
//!
//! Sent here and not by the crate that spells the states, because that one may block: main must not
//! stand still when the manager does.

use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// States that could not be sent yet; more than one of each makes no sense.
const MAX_WAITING: usize = 8;

/// The way to the service manager.
#[derive(Debug)]
pub(super) struct Systemd {
    socket: Option<UnixDatagram>,
    waiting: VecDeque<String>,
    /// How often it wants to hear that main lives: half of its limit.
    pub(super) alive_every: Option<Duration>,
}

impl Systemd {
    /// Finds it through the environment.
    pub(super) fn find() -> Systemd {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| {
            connect(&path).inspect_err(|e| log::warn!("cannot notify systemd at {}: {e}", path.display())).ok()
        });
        let alive_every = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|i| !i.is_zero());
        Systemd { socket, waiting: VecDeque::new(), alive_every }
    }

    /// The server answers.
    pub(super) fn ready(&mut self, workers: usize) {
        let status = format!("{workers} workers");
        self.tell(&[NotifyState::Ready, NotifyState::MainPid(std::process::id()), NotifyState::Status(&status)]);
    }

    /// The server drains and ends.
    pub(super) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Main's loop turns.
    pub(super) fn alive(&mut self) {
        self.flush();
        // When older news still waits, this one is no use.
        if self.waiting.is_empty() {
            self.tell(&[NotifyState::Watchdog]);
            self.waiting.clear();
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.socket.is_some() && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(states.iter().map(|s| format!("{s}\n")).collect());
            self.flush();
        }
    }

    /// Sends what waits, as far as that is possible at once.
    pub(super) fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Some(text) = self.waiting.front() {
            match socket.send(text.as_bytes()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => log::debug!("cannot notify systemd: {e}"),
                Ok(_) => {}
            }
            self.waiting.pop_front();
        }
    }
}

fn connect(path: &OsString) -> io::Result<UnixDatagram> {
    let addr = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
