//! The bytes of one stream connection: what carries them, and how such a connection is made or
//! accepted without ever blocking.

pub mod simulated;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket};

/// `tcp_keepalive` and its kin; `None` = as the system does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Whether the system probes idle connections.
    pub on: bool,
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes that end a connection.
    pub count: Option<u32>,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { on: true, idle: None, interval: None, count: None }
    }
}

/// What carries the bytes. TLS and WebSocket will be further kinds.
#[derive(Debug)]
pub enum Pipe {
    /// TCP in clear.
    Tcp(TcpStream),
    /// One of a simulation.
    Simulated(simulated::NearEnd),
}

impl Pipe {
    /// Begins to connect to `to`; [`Pipe::connected`] tells when that is over. `from`: the local address to
    /// use, if that matters; `tos`: type of service.
    pub fn connect(to: SocketAddr, from: Option<IpAddr>, tos: Option<u8>) -> io::Result<Pipe> {
        let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
        if let Some(ip) = from.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == to.is_ipv4()) {
            // The port is chosen when the peer is known: as many connections as there are peers.
            let _ = setsockopt(&fd, sockopt::IpBindAddressNoPort, &true);
            bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, 0)))?;
        }
        if let Some(tos) = tos {
            let value = i32::from(tos);
            if to.is_ipv6() {
                setsockopt(&fd, sockopt::Ipv6TClass, &value)?;
            } else {
                setsockopt(&fd, sockopt::Ipv4Tos, &value)?;
            }
        }
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(Pipe::Tcp(TcpStream::from(fd)))
    }

    /// Sets what every connection of ours has: no delay for small messages, probes.
    pub fn prepare(&self, keepalive: Keepalive) {
        let Pipe::Tcp(s) = self else { return };
        // None of these is worth losing a connection for.
        let _ = s.set_nodelay(true);
        let fd = s.as_fd();
        let _ = setsockopt(&fd, sockopt::KeepAlive, &keepalive.on);
        if !keepalive.on {
            return;
        }
        let secs = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX).clamp(1, 32_767);
        if let Some(idle) = keepalive.idle {
            let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &secs(idle));
        }
        if let Some(interval) = keepalive.interval {
            let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &secs(interval));
        }
        if let Some(count) = keepalive.count {
            let _ = setsockopt(&fd, sockopt::TcpKeepCount, &count.clamp(1, 127));
        }
    }

    /// Whether the connection stands: `Ok(false)` while it is being made.
    pub fn connected(&self) -> io::Result<bool> {
        let s = match self {
            Pipe::Tcp(s) => s,
            Pipe::Simulated(end) => return end.connected(),
        };
        if let Some(e) = s.take_error()? {
            return Err(e);
        }
        match s.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Our address on it.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Pipe::Tcp(s) => s.local_addr().ok(),
            Pipe::Simulated(end) => Some(end.local()),
        }
    }

    /// Reads; `Ok(0)` is the end, `WouldBlock` means that the edge will come.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Pipe::Tcp(s) => retry(|| s.read(buffer)),
            Pipe::Simulated(end) => retry(|| end.stream().read(buffer)),
        }
    }

    /// Writes as much as there is room for; `WouldBlock` means that the edge will come.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Pipe::Tcp(s) => retry(|| s.write(bytes)),
            Pipe::Simulated(end) => retry(|| end.stream().write(bytes)),
        }
    }

    /// Says that nothing more will come from here.
    pub fn goodbye(&self) {
        match self {
            Pipe::Tcp(s) => drop(s.shutdown(Shutdown::Write)),
            Pipe::Simulated(end) => end.goodbye(),
        }
    }
}

impl AsRawFd for Pipe {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Pipe::Tcp(s) => s.as_raw_fd(),
            Pipe::Simulated(end) => end.as_raw_fd(),
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(TcpListener);

/// What came of an attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection and its peer.
    One(Pipe, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// One that was gone again before it was accepted, or some passing trouble: look again.
    Lost,
    /// No file descriptors or memory are left (accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM): look again later.
    Exhausted(io::Error),
}

impl Acceptor {
    /// Wraps a socket that was opened by [`crate::net::listen`].
    pub fn from_fd(fd: OwnedFd) -> Acceptor {
        Acceptor(TcpListener::from(fd))
    }

    /// Takes the next connection.
    pub fn accept(&self) -> Accepted {
        match self.0.accept() {
            Ok((stream, peer)) => match stream.set_nonblocking(true) {
                Ok(()) => Accepted::One(Pipe::Tcp(stream), peer),
                Err(_) => Accepted::Lost,
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock => Accepted::Nobody,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => {
                Accepted::Exhausted(e)
            }
            Err(_) => Accepted::Lost,
        }
    }
}

impl AsRawFd for Acceptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
