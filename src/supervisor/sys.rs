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
