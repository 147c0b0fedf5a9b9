//! Peers that behave badly on purpose: TCP and UDP servers that follow a script, and a port that
//! swallows connection attempts.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, listen, setsockopt,
    socket, sockopt,
};

use super::lock;

/// One step of a connection's script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads until at least this many bytes came since the last read step.
    Read(usize),
    /// Reads until these bytes came since the last read step.
    ReadUntil(Vec<u8>),
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes one at a time with this pause between them.
    Drip(Vec<u8>, Duration),
    /// Writes zeros without end, as fast as the peer takes them.
    Flood,
    /// Waits.
    Sleep(Duration),
    /// Closes in order (FIN).
    Close,
    /// Closes with a reset (RST).
    Reset,
    /// Sends nothing more, and says so; goes on as `Hang`.
    HalfClose,
    /// Keeps the connection open and silent, reading nothing, until the mock is dropped.
    Hang,
}

#[derive(Default)]
struct Seen {
    /// What each connection sent, in the order of acceptance.
    bytes: Mutex<Vec<Vec<u8>>>,
    changed: Condvar,
    open: AtomicUsize,
}

/// A scripted TCP server. The first connection follows the first script, and so on; the last
/// script serves all further ones. A script that ends closes the connection.
pub struct TcpMock {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TcpMock {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start(scripts: Vec<Vec<Step>>) -> TcpMock {
        TcpMock::at(SocketAddr::from(([127, 0, 0, 1], 0)), scripts)
    }

    /// Starts one at this address.
    pub fn at(addr: SocketAddr, scripts: Vec<Vec<Step>>) -> TcpMock {
        assert!(!scripts.is_empty(), "at least one script");
        let listener = TcpListener::bind(addr).expect("listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("own address");
        let seen = Arc::new(Seen::default());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || accept(&listener, scripts, &seen, &stop))
        };
        TcpMock { addr, seen, stop, thread: Some(thread) }
    }

    /// One script for every connection.
    pub fn each(script: Vec<Step>) -> TcpMock {
        TcpMock::start(vec![script])
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        lock(&self.seen.bytes).len()
    }

    /// How many connections are open on this side.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// What a connection sent so far.
    pub fn received(&self, connection: usize) -> Vec<u8> {
        lock(&self.seen.bytes).get(connection).cloned().unwrap_or_default()
    }

    /// Waits until this many connections were accepted. Panics after `timeout`.
    pub fn wait_accepted(&self, count: usize, timeout: Duration) {
        let end = Instant::now() + timeout;
        let mut bytes = lock(&self.seen.bytes);
        while bytes.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            let have = bytes.len();
            if left.is_zero() {
                drop(bytes);
                panic!("{have} of {count} connections within {timeout:?}");
            }
            bytes = self.seen.changed.wait_timeout(bytes, left).unwrap().0;
        }
    }
}

impl Drop for TcpMock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, scripts: Vec<Vec<Step>>, seen: &Arc<Seen>, stop: &Arc<AtomicBool>) {
    let mut scripts = VecDeque::from(scripts);
    let mut connections = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        let index = {
            let mut bytes = lock(&seen.bytes);
            bytes.push(Vec::new());
            bytes.len() - 1
        };
        seen.open.fetch_add(1, Ordering::SeqCst);
        seen.changed.notify_all();
        let (seen, stop) = (Arc::clone(seen), Arc::clone(stop));
        connections.push(std::thread::spawn(move || {
            play(stream, &script.unwrap_or_default(), index, &seen, &stop);
            seen.open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn play(mut stream: TcpStream, script: &[Step], index: usize, seen: &Seen, stop: &AtomicBool) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = stream.set_nodelay(true);
    // Bytes of this connection that a read step has dealt with.
    let mut done = 0;
    let mut read_until = |stream: &mut TcpStream, enough: &dyn Fn(&[u8]) -> Option<usize>| -> bool {
        let mut buffer = [0u8; 16_384];
        loop {
            let used = {
                let bytes = lock(&seen.bytes);
                bytes.get(index).and_then(|b| enough(b.get(done..).unwrap_or_default()))
            };
            if let Some(used) = used {
                done += used;
                return true;
            }
            if stop.load(Ordering::SeqCst) {
                return false;
            }
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    if let Some(b) = lock(&seen.bytes).get_mut(index) {
                        b.extend_from_slice(&buffer[..n]);
                    }
                    seen.changed.notify_all();
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    };
    for step in script {
        let go_on = match step {
            Step::Read(count) => read_until(&mut stream, &|b| (b.len() >= *count).then_some(*count)),
            Step::ReadUntil(mark) => read_until(&mut stream, &|b| {
                b.windows(mark.len().max(1)).position(|w| w == mark.as_slice()).map(|at| at + mark.len())
            }),
            Step::Write(bytes) => write(&mut stream, bytes, stop),
            Step::Drip(bytes, pause) => bytes.iter().all(|b| {
                std::thread::sleep(*pause);
                write(&mut stream, &[*b], stop)
            }),
            Step::Flood => {
                let zeros = [0u8; 16_384];
                while write(&mut stream, &zeros, stop) {}
                false
            }
            Step::Sleep(time) => {
                sleep(*time, stop);
                true
            }
            Step::Close => false,
            Step::Reset => {
                let _ = setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
                false
            }
            Step::HalfClose => {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                sleep(Duration::from_secs(3600), stop);
                false
            }
            Step::Hang => {
                sleep(Duration::from_secs(3600), stop);
                false
            }
        };
        if !go_on {
            return;
        }
    }
}

fn sleep(time: Duration, stop: &AtomicBool) {
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(10)));
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], stop: &AtomicBool) -> bool {
    while !bytes.is_empty() && !stop.load(Ordering::SeqCst) {
        match stream.write(bytes) {
            Ok(0) => return false,
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    bytes.is_empty()
}

/// A UDP server that answers each datagram with what a function makes of it.
pub struct UdpMock {
    /// Where it listens.
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpMock {
    /// Starts one on a free port of 127.0.0.1; an empty list answers nothing.
    pub fn start(mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> UdpMock {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout set");
        let addr = socket.local_addr().expect("own address");
        let received: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buffer = vec![0u8; 65_536];
                while !stop.load(Ordering::SeqCst) {
                    let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                    lock(&received).push(buffer[..n].to_vec());
                    for bytes in answer(&buffer[..n]) {
                        let _ = socket.send_to(&bytes, from);
                    }
                }
            })
        };
        UdpMock { addr, received, stop, thread: Some(thread) }
    }

    /// Every datagram received so far.
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.received).clone()
    }
}

impl Drop for UdpMock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port of 127.0.0.1 where connection attempts get no answer: it listens, but its queue is full,
/// so the kernel drops every further SYN, as a firewall that swallows packets does.
pub struct BlackHole {
    /// Where connections hang.
    pub addr: SocketAddr,
    _listener: OwnedFd,
    _filler: Vec<OwnedFd>,
}

impl BlackHole {
    /// Makes one on a free port of 127.0.0.1 and fills its queue.
    pub fn tcp() -> BlackHole {
        BlackHole::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Makes one at this address and fills its queue.
    pub fn at(addr: SocketAddr) -> BlackHole {
        let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let stream = |flags| socket(family, SockType::Stream, flags, None).expect("socket");
        let listener = stream(SockFlag::SOCK_CLOEXEC);
        bind(listener.as_raw_fd(), &SockaddrStorage::from(addr)).expect("bound");
        listen(&listener, Backlog::new(0).expect("backlog")).expect("listening");
        let name: SockaddrStorage = getsockname(listener.as_raw_fd()).expect("own address");
        let port = name.as_sockaddr_in().map(|n| n.port()).or(name.as_sockaddr_in6().map(|n| n.port()));
        let addr = SocketAddr::new(addr.ip(), port.expect("a port"));
        let mut filler = Vec::new();
        // The queue takes one or two connections; the rest stay in SYN-SENT and prove it full.
        for _ in 0..8 {
            let client = stream(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
            let _ = connect(client.as_raw_fd(), &name);
            filler.push(client);
        }
        let hole = BlackHole { addr, _listener: listener, _filler: filler };
        hole.assert_swallows();
        hole
    }

    /// Panics when a connection attempt is answered within 200 ms.
    pub fn assert_swallows(&self) {
        let attempt = TcpStream::connect_timeout(&self.addr, Duration::from_millis(200));
        let kind = attempt.as_ref().err().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::TimedOut), "{} does not swallow: {attempt:?}", self.addr);
    }
}
