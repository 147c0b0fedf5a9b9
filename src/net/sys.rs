//! System calls that no safe wrapper offers, one small safe function each.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A file descriptor that becomes readable when the process `pid` ends (pidfd_open(2)). It is closed on exec.
/// `pid` must be a child that has not been waited for yet, else it may name a stranger.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory of ours; an invalid pid is an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0 as libc::c_long) };
    let Ok(fd) = RawFd::try_from(fd) else { return Err(io::Error::from_raw_os_error(libc::EBADF)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pidfd_open(2) returned this descriptor just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
