//! System calls that no safe wrapper offers, one small safe function each.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Wall-clock time since 1970, as the kernel stamps datagrams with it.
pub fn realtime() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn set_int(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: setsockopt(2) reads `len` bytes at the pointer, which is a live c_int of that size.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the pages of the heap that nobody uses back to the system (malloc_trim(3)). It takes some milliseconds per 10 MiB.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing but the allocator's own state, under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets the kernel fragment what is larger than the path's MTU (`frag` of a socket line).
pub fn allow_fragments(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    }
}

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

/// Receives one packet of a Unix socket without waiting; files that come along are appended to `files`
/// (closed on exec). Returns the packet's length.
pub fn receive_with_files(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> Result<usize, nix::errno::Errno> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    // The kernel puts at most 253 files (SCM_MAX_FD) into one packet.
    let mut space = nix::cmsg_space!([RawFd; 253]);
    let mut parts = [std::io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    if let Ok(control) = got.cmsgs() {
        for message in control {
            if let ControlMessageOwned::ScmRights(list) = message {
                // SAFETY: the kernel made these descriptors for this process just now, so nobody else
                // owns them.
                files.extend(list.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
            }
        }
    }
    Ok(got.bytes)
}
