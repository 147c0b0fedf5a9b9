//! The socket under a connection: TCP or Unix, with or without TLS, never blocking.

use crate::ops::{Failure, Phase, Why};
use mio::net::{TcpStream, UnixStream};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// A socket, and TLS once it was started.
pub struct Stream {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

/// What reading gave.
#[derive(Debug)]
pub enum Got {
    /// So many bytes.
    Data(usize),
    /// Nothing for now.
    Blocked,
    /// The peer has closed.
    End,
}

impl Stream {
    /// Begins to connect.
    pub fn connect(target: &Target) -> io::Result<Stream> {
        let socket = match target {
            Target::Tcp(address) => Socket::Tcp(TcpStream::connect(*address)?),
            Target::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
        };
        Ok(Stream { socket, tls: None })
    }

    /// Whether the connection stands; asked when the socket becomes writable.
    pub fn connected(&self) -> io::Result<bool> {
        let (error, peer) = match &self.socket {
            Socket::Tcp(s) => (s.take_error()?, s.peer_addr().map(|_| ())),
            Socket::Unix(s) => (s.take_error()?, s.peer_addr().map(|_| ())),
        };
        if let Some(error) = error {
            return Err(error);
        }
        match peer {
            Ok(()) => {
                if let Socket::Tcp(s) = &self.socket {
                    s.set_nodelay(true)?;
                    nix::sys::socket::setsockopt(s, nix::sys::socket::sockopt::KeepAlive, &true)?;
                }
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Begins TLS. `name` is the host as the URL names it.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>, name: &str) -> Result<(), Failure> {
        let failed = |e: String| Failure::new(Why::BadRequest, Phase::Tls, e);
        let name = ServerName::try_from(name.to_string()).map_err(|e| failed(format!("{name}: {e}")))?;
        let tls = ClientConnection::new(config, name).map_err(|e| failed(e.to_string()))?;
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Shakes hands as far as it goes without waiting; `true` when done.
    pub fn handshake(&mut self) -> Result<bool, Failure> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        let lost = |why, text: String| Failure::new(why, Phase::Tls, text);
        loop {
            let mut moved = false;
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(0) => return Err(lost(Why::Closed, String::new())),
                    Ok(_) => moved = true,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(lost(Why::Closed, e.to_string())),
                }
            }
            if !tls.is_handshaking() {
                return Ok(true);
            }
            if tls.wants_read() {
                match tls.read_tls(&mut self.socket) {
                    Ok(0) => return Err(lost(Why::Closed, "closed during the TLS handshake".to_string())),
                    Ok(_) => {
                        moved = true;
                        if let Err(e) = tls.process_new_packets() {
                            // The alert tells the server why; whether it arrives does not matter.
                            let _ = tls.write_tls(&mut self.socket);
                            return Err(lost(Why::Refused, e.to_string()));
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => moved = true,
                    Err(e) => return Err(lost(Why::Closed, e.to_string())),
                }
            }
            if !moved {
                return Ok(false);
            }
        }
    }

    /// Reads once.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<Got> {
        loop {
            let got = match &mut self.tls {
                None => self.socket.read(buf),
                Some(tls) => {
                    match tls.reader().read(buf) {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        Ok(0) => return Ok(Got::End),
                        other => return other.map(Got::Data),
                    }
                    match tls.read_tls(&mut self.socket) {
                        Ok(n) if n > 0 => {
                            tls.process_new_packets().map_err(io::Error::other)?;
                            continue;
                        }
                        other => other,
                    }
                }
            };
            match got {
                Ok(0) => return Ok(Got::End),
                Ok(n) => return Ok(Got::Data(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Got::Blocked),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes what it can; with TLS, bytes that are taken may still have to leave ([`Stream::flush`]).
    pub fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(rest) = data.get(taken..).filter(|r| !r.is_empty()) {
            let wrote = match &mut self.tls {
                None => self.socket.write(rest),
                Some(tls) => tls.writer().write(rest),
            };
            match wrote {
                Ok(0) if self.tls.is_some() => {
                    if !self.flush()? {
                        break;
                    }
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => taken += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.flush()?;
        Ok(taken)
    }

    /// Sends what TLS holds back; `true` if nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Whether everything that was written has been given to the system.
    pub fn flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|t| !t.wants_write())
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
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

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.read(buf),
            Socket::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.write(buf),
            Socket::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
