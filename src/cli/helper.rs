//! The SQLite helper process, from its birth to its end. It is no worker: it may block and has threads.

use crate::modules::emit;
use crate::net::logpipe;
use crate::ops::sql::sqlite::ensure_sqlite_demo;
use crate::ops::sql::sqlite::helper::{HelperConfig, helper_main};
use crate::worker::seat::{MainChannel, Seat, ToChild, ToMain};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the helper until main says it is enough. Before it is ready it makes those of the files `demos` that are
/// not there. `slow`: a query that takes longer is logged. Returns the process's exit status.
pub fn main(mut seat: Seat, demos: &[PathBuf], slow: Duration) -> i32 {
    for path in demos {
        match ensure_sqlite_demo(path) {
            Ok(true) => emit(2, logpipe::NOTICE, &format!("made {} with demonstration data", path.display())),
            Ok(false) => {}
            Err(why) => emit(-1, "sqlite", &format!("cannot make the demonstration database: {why}")),
        }
    }
    let Some(listener) = seat.helper_listener.take() else { return 1 };
    let Ok((stop, open)) = nix::unistd::pipe() else { return 1 };
    if seat.main.send(&ToMain::Ready).is_err() {
        return 1;
    }
    let (orders, log) = (seat.main, seat.log);
    let spawned = std::thread::Builder::new().name("orders".into()).spawn(move || obey(orders, log, open));
    if let Err(e) = spawned {
        emit(-1, "sqlite", &format!("no thread: {e}"));
        return 1;
    }
    let status =
        helper_main(UnixListener::from(listener), Some(stop), HelperConfig { slow, ..HelperConfig::default() });
    log.finish();
    status
}

/// Does what main says; closes `open` when the helper is to end, or main is dead.
fn obey(mut main: MainChannel, log: logpipe::LogHandle, open: OwnedFd) {
    let _open = File::from(open);
    loop {
        match main.recv() {
            Ok(Some(ToChild::Quit)) | Err(_) => return,
            Ok(Some(ToChild::LogLevel(level))) => log.set_level(level),
            Ok(Some(_)) => {}
            Ok(None) => match poll(&mut [PollFd::new(main.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            },
        }
    }
}
