//! The seats and who sits on them, as main sees them.

use super::backoff::Backoff;
use super::watch::Pulse;
use crate::base::Time;
use crate::net::channel::Channel;
use crate::net::logpipe::PipeReader;
use crate::store::InWork;
use crate::worker::seat::{SeatKind, ToChild, ToMain};
use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process on a seat.
pub(super) struct Tenant {
    pub(super) pid: Pid,
    pub(super) born: Time,
    pub(super) channel: Channel<ToChild, ToMain>,
    pub(super) log: PipeReader,
    /// It said that it is prepared.
    pub(super) ready: bool,
    /// It said that nothing is in flight.
    pub(super) idle: bool,
    /// How its loop turns.
    pub(super) pulse: Pulse,
    /// It closed its end of the channel then, and lives.
    pub(super) closed: Option<Time>,
}

impl Tenant {
    pub(super) fn kill(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    pub(super) fn tell(&mut self, message: &ToChild) {
        self.tell_with(message, Vec::new());
    }

    /// With open files.
    pub(super) fn tell_with(&mut self, message: &ToChild, files: Vec<OwnedFd>) {
        // A child that does not read is dead or will be ended by other means.
        if let Err(e) = self.channel.send_with(message, files) {
            log::debug!("cannot tell process {}: {e}", self.pid);
        }
    }
}

/// A place for a process.
pub(super) struct Place {
    pub(super) kind: SeatKind,
    pub(super) name: String,
    /// The number of its task group, if it is a task worker's.
    pub(super) group: Option<usize>,
    /// Main's copy of each listener's socket; empty when nobody will sit here any more.
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) helper_listener: Option<OwnedFd>,
    pub(super) incarnation: u32,
    pub(super) tenant: Option<Tenant>,
    pub(super) backoff: Backoff,
    /// When the next tenant is to be made.
    pub(super) respawn_at: Option<Time>,
    pub(super) in_work: InWork,
    /// Empty for a while: [`super::vacancy`].
    pub(super) vacant: bool,
    /// Seat and incarnation of who reads its sockets meanwhile.
    pub(super) caretaker: Option<(usize, u32)>,
}

impl Place {
    /// `worker 2`, `task worker 3 (group default)`, or the helper's name.
    pub(super) fn title(&self, index: usize) -> String {
        match self.kind {
            SeatKind::Worker => format!("worker {index}"),
            SeatKind::Task => format!("task worker {index} (group {})", self.name),
            SeatKind::Helper => self.name.clone(),
        }
    }

    pub(super) fn is_worker(&self) -> bool {
        self.kind == SeatKind::Worker
    }

    pub(super) fn is_task(&self) -> bool {
        self.kind == SeatKind::Task
    }
}
