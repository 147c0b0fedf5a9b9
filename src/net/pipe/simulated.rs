//! Stream connections without a network, for simulations: each is a pair of sockets of which the worker has one end
//! and whoever plays the peers the other. What the worker does with its end is what it does with any connection.

use super::Pipe;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

/// First port of those who make connections.
const FIRST_PORT: u16 = 40_001;

/// What becomes of a connection that the worker begins to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Door {
    /// Nobody listens there.
    #[default]
    Refuses,
    /// It is taken.
    Accepts,
    /// Nothing is said to it.
    Ignores,
}

/// The worker's end of a connection.
#[derive(Debug)]
pub struct NearEnd {
    stream: UnixStream,
    local: SocketAddr,
    door: Rc<Cell<Door>>,
}

impl NearEnd {
    pub(super) fn connected(&self) -> io::Result<bool> {
        match self.door.get() {
            Door::Accepts => Ok(true),
            Door::Ignores => Ok(false),
            Door::Refuses => Err(ErrorKind::ConnectionRefused.into()),
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    pub(super) fn goodbye(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl AsRawFd for NearEnd {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// The peers' end of a connection.
#[derive(Debug)]
struct FarEnd {
    /// `None`: it has ended.
    stream: Option<UnixStream>,
    ends: Ends,
}

/// Who is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The worker's address.
    pub worker: SocketAddr,
    /// The peer's.
    pub peer: SocketAddr,
    /// The worker made it.
    pub outgoing: bool,
}

/// All connections of a simulation, by number in the order of their beginning.
#[derive(Clone, Debug, Default)]
pub struct Exchange(Rc<RefCell<Board>>);

#[derive(Debug, Default)]
struct Board {
    doors: HashMap<SocketAddr, Door>,
    lines: Vec<FarEnd>,
    ports: u16,
}

impl Board {
    fn port(&mut self) -> u16 {
        let port = FIRST_PORT.saturating_add(self.ports);
        self.ports = self.ports.saturating_add(1);
        port
    }
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((near, far))
}

impl Exchange {
    /// What happens to connections to an address from now on.
    pub fn set_door(&self, addr: SocketAddr, door: Door) {
        self.0.borrow_mut().doors.insert(addr, door);
    }

    /// The worker begins to make a connection.
    ///
    /// # Errors
    /// The system's.
    pub fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<Pipe> {
        let mut board = self.0.borrow_mut();
        let door = board.doors.get(&to).copied().unwrap_or_default();
        let (near, far) = pair()?;
        let ip = from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let local = SocketAddr::new(ip, board.port());
        let ends = Ends { worker: local, peer: to, outgoing: true };
        // The end of one that is refused is closed at once, so that the worker hears of it.
        if door != Door::Refuses {
            board.lines.push(FarEnd { stream: Some(far), ends });
        }
        Ok(Pipe::Simulated(NearEnd { stream: near, local, door: Rc::new(Cell::new(door)) }))
    }

    /// A peer connects to a listener: the number of the connection, the peer's address on it, and the worker's end.
    ///
    /// # Errors
    /// The system's.
    pub fn call(&self, from: IpAddr, to: SocketAddr) -> io::Result<(usize, SocketAddr, Pipe)> {
        let mut board = self.0.borrow_mut();
        let (near, far) = pair()?;
        let peer = SocketAddr::new(from, board.port());
        let ends = Ends { worker: to, peer, outgoing: false };
        board.lines.push(FarEnd { stream: Some(far), ends });
        let door = Rc::new(Cell::new(Door::Accepts));
        Ok((board.lines.len() - 1, peer, Pipe::Simulated(NearEnd { stream: near, local: to, door })))
    }

    /// The peer sends bytes.
    ///
    /// # Errors
    /// The connection has ended, or its buffer is full.
    pub fn send(&self, line: usize, bytes: &[u8]) -> io::Result<()> {
        let mut board = self.0.borrow_mut();
        let stream = board.lines.get_mut(line).and_then(|l| l.stream.as_mut());
        stream.ok_or(ErrorKind::NotConnected)?.write_all(bytes)
    }

    /// The peer ends a connection.
    pub fn hang_up(&self, line: usize) {
        if let Some(far) = self.0.borrow_mut().lines.get_mut(line) {
            far.stream = None;
        }
    }

    /// Who is connected, if the connection still stands.
    pub fn ends(&self, line: usize) -> Option<Ends> {
        self.0.borrow().lines.get(line).filter(|l| l.stream.is_some()).map(|l| l.ends)
    }

    /// What the worker has sent on each connection since the last call; no bytes: it has ended the connection.
    pub fn take(&self) -> Vec<(usize, Ends, Vec<u8>)> {
        let mut board = self.0.borrow_mut();
        let mut out = Vec::new();
        for (number, line) in board.lines.iter_mut().enumerate() {
            let Some(stream) = &mut line.stream else { continue };
            let mut bytes = Vec::new();
            // Nobody else writes to it: all that was sent is there.
            let ended = match stream.read_to_end(&mut bytes) {
                Ok(_) => true,
                Err(e) => e.kind() != ErrorKind::WouldBlock,
            };
            if !bytes.is_empty() {
                out.push((number, line.ends, bytes));
            }
            if ended {
                line.stream = None;
                out.push((number, line.ends, Vec::new()));
            }
        }
        out
    }
}
