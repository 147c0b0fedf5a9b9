//! Making a child: fork, and the child's first acts.
//!
//! The child ties its life to main's, gives the signals that systemd and Ctrl-C send to everybody a
//! handler that does nothing, and closes every fd that is not on its list. Nothing of main's memory
//! is dropped in the child: the fds it speaks of are closed already.

#![allow(unsafe_code)]

use super::sys;
use std::fs;
use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork as raw_fork, getpid, getppid};

/// Where the caller finds itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forked {
    /// In main: the child's process id.
    Main(Pid),
    /// In the child.
    Child,
}

/// Forks. `keep` are the fds that the child keeps, apart from 0, 1 and 2. An error in main means that
/// there is no child; a child that cannot prepare itself ends.
pub(super) fn fork(keep: &[RawFd]) -> io::Result<Forked> {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1);
    if threads > 1 {
        return Err(io::Error::other("fork with threads running"));
    }
    let main = getpid();
    // SAFETY: the process has one thread (checked above), so the child's copy of its memory is
    // consistent: no lock is held by a thread that does not exist there.
    match unsafe { raw_fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Main(child)),
        ForkResult::Child => {
            if prepare(main, keep).is_err() {
                sys::exit_now(70);
            }
            Ok(Forked::Child)
        }
    }
}

fn prepare(main: Pid, keep: &[RawFd]) -> io::Result<()> {
    sys::follow_parent()?;
    if getppid() != main {
        // It died before the line above.
        return Err(io::ErrorKind::NotFound.into());
    }
    sys::ignore_by_handler(&[
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ])?;
    sys::forget_environment(&["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]);
    close_others(keep);
    sys::block_only(&[])
}

/// Closes every fd above 2 that is not in `keep`.
fn close_others(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = 3u32;
    let mut ranges = Vec::with_capacity(keep.len() + 1);
    for fd in keep {
        if fd > from {
            ranges.push((from, fd - 1));
        }
        from = fd.saturating_add(1);
    }
    ranges.push((from, u32::MAX));
    for (first, last) in ranges {
        // SAFETY: close_range(2) touches no memory. The owners of the closed fds are values of main
        // that the child never uses or drops (see the head of this file).
        let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
        if rc != 0 {
            close_by_listing(first, last);
        }
    }
}

/// For kernels older than 5.9.
fn close_by_listing(first: u32, last: u32) {
    let Ok(dir) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<u32> = dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as in `close_others`; the directory's own fd, closed by now, fails harmlessly.
        unsafe { libc::close(fd as RawFd) };
    }
}
