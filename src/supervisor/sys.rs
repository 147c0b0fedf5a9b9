//! The few process calls that have no safe wrapper elsewhere.

#![allow(unsafe_code)]

use std::io;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

extern "C" fn nothing(_: libc::c_int) {}

/// Gives `signals` a handler that does nothing. Unlike "ignore", a program started by exec does not
/// inherit it.
pub(super) fn ignore_by_handler(signals: &[Signal]) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler touches nothing, so it may run at any point.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

extern "C" fn hurry(_: libc::c_int) {
    // SAFETY: alarm(2) touches no memory and is async-signal-safe.
    unsafe { libc::alarm(LAST_MOMENTS) };
}

/// How many seconds a child may outlive main.
const LAST_MOMENTS: libc::c_uint = 2;

/// Ties this process's life to its parent's: when main dies, the kernel says so by a signal that nobody
/// else uses. A child that works sees the end of its channel, ends what it started, and returns; one
/// that hangs is ended by the alarm which the signal sets.
pub(super) fn follow_parent() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(hurry), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler makes one async-signal-safe call.
    unsafe { sigaction(Signal::SIGSTKFLT, &action) }?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGSTKFLT)?;
    Ok(())
}

/// Replaces the set of blocked signals.
pub(super) fn block_only(signals: &[Signal]) -> io::Result<()> {
    let set: SigSet = signals.iter().copied().collect();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
    Ok(())
}

/// Takes variables out of the environment of this process and of what it starts.
pub(super) fn forget_environment(names: &[&str]) {
    for name in names {
        // SAFETY: called in a child right after fork, which has one thread only (`fork` checked that).
        unsafe { std::env::remove_var(name) };
    }
}

/// Ends the process without running any destructor or exit handler: they belong to main's memory.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) only ends the process.
    unsafe { libc::_exit(code) }
}
