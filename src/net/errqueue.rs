//! The error queue of a UDP socket (`IP_RECVERR`, `IPV6_RECVERR`): ICMP errors with the destination and
//! the beginning of the datagram that caused them. It costs nothing until there is one: the socket then
//! becomes ready with an error.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of the datagram that are kept: enough for the request line and our Via.
pub const HEAD: usize = 512;

/// A datagram that did not arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undelivered {
    /// Where it should have gone.
    pub to: Option<SocketAddr>,
    /// Why not, as an errno: `ECONNREFUSED` for a port without a listener.
    pub errno: i32,
    /// Its first bytes, as far as they came back.
    pub head: Vec<u8>,
}

/// Takes the next entry of the socket's error queue; `None` if it is empty. Does not block.
pub fn next(fd: BorrowedFd<'_>) -> Option<Undelivered> {
    let mut head = vec![0; HEAD];
    // The arrival time comes along, and on wildcard sockets the local address.
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6, libc::timespec, libc::in6_pktinfo);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let (to, errno, len) = {
        let mut iov = [IoSliceMut::new(&mut head)];
        let message = loop {
            match recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut iov, Some(&mut control), flags) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        };
        let to = message.address.as_ref().and_then(|a| {
            let v4 = a.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
            v4.or_else(|| a.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
        });
        let errno = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|c| match c {
                ControlMessageOwned::Ipv4RecvErr(e, _) | ControlMessageOwned::Ipv6RecvErr(e, _) => Some(e.ee_errno),
                _ => None,
            })
        });
        (to, errno.and_then(|e| i32::try_from(e).ok()).unwrap_or(0), message.bytes)
    };
    head.truncate(len);
    Some(Undelivered { to, errno, head })
}

/// Whether an error says that this destination does not take datagrams, rather than that the way to it is
/// disturbed at present (RFC 1122 section 3.2.2.1: soft errors).
pub fn is_hard(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::EPROTO | libc::EOPNOTSUPP | libc::EACCES | libc::EPERM)
}

/// Whether an error says that a datagram did not arrive (RFC 3261 section 18.4: what is too large or took too
/// many hops is none of these).
pub fn is_undelivered(errno: i32) -> bool {
    is_hard(errno) || matches!(errno, libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::{ListenSpec, SocketSizes, open_all};
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn errors_of(local: &str) {
        let spec = ListenSpec::parse(&format!("udp:{local}:0")).unwrap();
        let mut opened = open_all(spec.resolve().unwrap(), 1, SocketSizes::default()).unwrap();
        let socket = UdpSocket::from(opened.remove(0).1.remove(0));
        assert_eq!(next(socket.as_fd()), None);
        let ip = local.trim_matches(['[', ']']);
        let dead = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        let text = "x".repeat(2000);
        socket.send_to(text.as_bytes(), dead).unwrap();
        // On the loopback device the error is there when the call returns.
        let got = next(socket.as_fd()).expect("an error");
        assert_eq!((got.to, got.errno), (Some(dead), libc::ECONNREFUSED));
        assert!(got.head.len() > 400 && got.head.iter().all(|b| *b == b'x'), "{} bytes", got.head.len());
        assert_eq!(next(socket.as_fd()), None);
        assert!(is_hard(got.errno) && is_undelivered(libc::EHOSTUNREACH) && !is_undelivered(libc::EMSGSIZE));
    }

    #[test]
    fn a_closed_port_is_told_with_what_was_sent() {
        errors_of("127.0.0.1");
        errors_of("[::1]");
    }
}
