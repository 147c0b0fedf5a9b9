//! A non-blocking client connection, with or without TLS, that reads and writes like a socket.
//!
//! Register it once for both directions ([`Stream`] is `AsRawFd`). [`io::ErrorKind::WouldBlock`] means
//! that the socket itself would block, so the edge will come; TLS' own traffic is moved along by
//! whichever call comes first.

use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(f),
            Target::Unix(path) => path.display().fmt(f),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.read(buffer),
            Socket::Unix(s) => s.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.write(bytes),
            Socket::Unix(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection to a server.
pub struct Stream {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Begins to connect to either kind of address.
    pub fn to(target: &Target) -> io::Result<Stream> {
        match target {
            Target::Tcp(address) => Stream::connect(*address),
            Target::Unix(path) => Stream::connect_unix(path),
        }
    }

    /// Has the system find out about a peer that vanishes while the connection is idle.
    pub fn keep_alive(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(s) => Ok(setsockopt(s, sockopt::KeepAlive, &true)?),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Begins to connect; [`Stream::connected`] tells when that is over.
    pub fn connect(to: SocketAddr) -> io::Result<Stream> {
        let socket = TcpStream::connect(to)?;
        // Requests are written whole; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        Ok(Stream { socket: Socket::Tcp(socket), tls: None })
    }

    /// Connects to a unix socket, which is done at once or fails (a full backlog is
    /// [`io::ErrorKind::WouldBlock`]).
    pub fn connect_unix(path: &Path) -> io::Result<Stream> {
        Ok(Stream { socket: Socket::Unix(UnixStream::connect(path)?), tls: None })
    }

    /// Whether the TCP connection stands: `Ok(false)` while it is being made.
    pub fn connected(&self) -> io::Result<bool> {
        let Socket::Tcp(socket) = &self.socket else { return Ok(true) };
        if let Some(e) = socket.take_error()? {
            return Err(e);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Begins TLS on a connection that stands. `host`: name or address that the certificate is for.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>, host: &str) -> io::Result<()> {
        let name = ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_string())
            .map_err(|e| io::Error::new(ErrorKind::InvalidInput, e))?;
        let connection = ClientConnection::new(config, name).map_err(|e| io::Error::new(ErrorKind::InvalidInput, e))?;
        self.tls = Some(Box::new(connection));
        Ok(())
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Moves the TLS handshake along. `Ok(true)`: it is over, or there is none.
    pub fn handshake(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        loop {
            let flushed = flush_tls(tls, &mut self.socket)?;
            if !tls.is_handshaking() {
                return Ok(true);
            }
            if !flushed {
                return Ok(false);
            }
            match read_tls(tls, &mut self.socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether everything that was written is with the system.
    pub fn flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|t| !t.wants_write())
    }

    /// Writes what TLS still holds back. `Ok(true)`: everything is with the system.
    pub fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => flush_tls(tls, &mut self.socket),
            None => Ok(true),
        }
    }

    /// Looks at an idle connection. `true`: it is open and nothing unasked came in.
    pub fn is_quiet(&mut self) -> bool {
        matches!(self.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
    }
}

/// Takes in one read of TLS records. `Ok(0)`: the end of the TCP stream.
fn read_tls(tls: &mut ClientConnection, socket: &mut Socket) -> io::Result<usize> {
    let n = retry(|| tls.read_tls(socket))?;
    if let Err(e) = tls.process_new_packets() {
        // Tell the server why; what becomes of it does not matter any more.
        let _ = flush_tls(tls, socket);
        return Err(io::Error::new(ErrorKind::InvalidData, e));
    }
    Ok(n)
}

fn flush_tls(tls: &mut ClientConnection, socket: &mut Socket) -> io::Result<bool> {
    while tls.wants_write() {
        match retry(|| tls.write_tls(socket)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Read for Stream {
    /// `Ok(0)`: the server has ended its side. With TLS and without its goodbye (RFC 8446 section 6.1),
    /// that is [`ErrorKind::UnexpectedEof`]: somebody else may have cut the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return retry(|| self.socket.read(buffer)) };
        loop {
            match tls.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            read_tls(tls, &mut self.socket)?;
            // Key updates are answered at once (RFC 8446 section 4.6.3).
            flush_tls(tls, &mut self.socket)?;
        }
    }
}

impl Write for Stream {
    /// May take less than all; what TLS holds back leaves with the next call or [`Stream::flush`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return retry(|| self.socket.write(bytes)) };
        if !flush_tls(tls, &mut self.socket)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = tls.writer().write(bytes)?;
        flush_tls(tls, &mut self.socket)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if Stream::flush(self)? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(s) => s.as_raw_fd(),
            Socket::Unix(s) => s.as_raw_fd(),
        }
    }
}
