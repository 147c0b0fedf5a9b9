//! The same for datagrams, and addresses where connections hang.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use crate::proxy::{NOISE, PAUSE, wait};
use crate::support::lock;
use crate::support::netns::NetNs;

/// What a relay for datagrams does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagrams {
    /// Passes them on.
    Pass,
    /// Answers each with bytes that mean nothing.
    Garbage,
    /// Answers each with thousands of those, for most of a second.
    Endless,
    /// Answers each DNS question with "ask again over TCP".
    Truncate,
    /// The port is closed: the kernel says that nobody listens.
    Closed,
}

/// A relay for datagrams, in a namespace.
pub struct UdpProxy {
    /// Where it listens.
    pub addr: SocketAddr,
    mode: Arc<Mutex<Datagrams>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpProxy {
    /// Relays datagrams to the namespace's address, `port` (0: any), to `upstream`.
    pub fn start(ns: &NetNs, port: u16, upstream: SocketAddr) -> UdpProxy {
        let peer = ns.peer;
        let bind = |ns: &NetNs, port: u16| {
            let socket = ns.enter(|| UdpSocket::bind((peer, port)).expect("socket in the namespace"));
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        };
        let socket = bind(ns, port);
        let addr = socket.local_addr().expect("own address");
        let name = ns.name.clone();
        let mode = Arc::new(Mutex::new(Datagrams::Pass));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (mode, stop) = (Arc::clone(&mode), Arc::clone(&stop));
            std::thread::spawn(move || {
                let inside = |make: &mut dyn FnMut() -> UdpSocket| {
                    let file = std::fs::File::open(format!("/run/netns/{name}")).expect("the namespace's file");
                    let back = std::fs::File::open("/proc/self/ns/net").expect("our namespace");
                    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
                    let made = make();
                    nix::sched::setns(back, nix::sched::CloneFlags::CLONE_NEWNET).expect("left");
                    made
                };
                let mut socket = Some(socket);
                let mut peers: Vec<(SocketAddr, UdpSocket)> = Vec::new();
                let mut flooded = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let now = *lock(&mode);
                    if now == Datagrams::Closed {
                        socket = None;
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                    let socket = socket.get_or_insert_with(|| {
                        inside(&mut || {
                            let socket = UdpSocket::bind(addr).expect("the port again");
                            socket.set_nonblocking(true).expect("non-blocking");
                            socket
                        })
                    });
                    pass(socket, &mut peers, upstream, now, &mut flooded);
                }
            })
        };
        UdpProxy { addr, mode, stop, thread: Some(thread) }
    }

    /// What becomes of datagrams from now on. Given back when it holds.
    pub fn set(&self, mode: Datagrams) {
        *lock(&self.mode) = mode;
        // A turn of the relay, so that the port is closed, or open, when this returns.
        std::thread::sleep(PAUSE * 2);
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One turn of a relay for datagrams. Each client has a socket of its own towards the server.
fn pass(
    socket: &UdpSocket,
    peers: &mut Vec<(SocketAddr, UdpSocket)>,
    upstream: SocketAddr,
    mode: Datagrams,
    flooded: &mut Vec<(SocketAddr, Instant)>,
) {
    let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    fds.extend(peers.iter().map(|(_, s)| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
    wait(&mut fds);
    let mut buffer = [0; 65_536];
    while let Ok((n, from)) = socket.recv_from(&mut buffer) {
        match mode {
            Datagrams::Closed => {}
            Datagrams::Garbage => drop(socket.send_to(&NOISE, from)),
            Datagrams::Endless => flooded.push((from, Instant::now())),
            Datagrams::Truncate => {
                if let Some(answer) = truncated(&buffer[..n]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
            Datagrams::Pass => {
                let known = peers.iter().position(|(a, _)| *a == from);
                let at = known.unwrap_or_else(|| {
                    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
                    own.set_nonblocking(true).expect("non-blocking");
                    own.connect(upstream).expect("connected");
                    peers.push((from, own));
                    peers.len() - 1
                });
                let _ = peers[at].1.send(&buffer[..n]);
            }
        }
    }
    // Not beyond the waits' end: what comes to a closed port makes the system answer, of which it does only so much.
    flooded.retain(|(_, since)| mode == Datagrams::Endless && since.elapsed() < Duration::from_millis(900));
    for (client, _) in flooded {
        for _ in 0..200 {
            let _ = socket.send_to(&NOISE, *client);
        }
    }
    if peers.len() > 64 {
        peers.remove(0);
    }
    for (client, own) in peers {
        while let Ok(n) = own.recv(&mut buffer) {
            if mode == Datagrams::Pass {
                let _ = socket.send_to(&buffer[..n], *client);
            }
        }
    }
}

/// The answer to a DNS question that says: too long for a datagram.
fn truncated(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(*question.get(end)?);
    }
    let mut answer = question.get(..end + 5)?.to_vec();
    answer[2] = 0x83;
    answer[3] = 0x80;
    answer[6..12].fill(0);
    Some(answer)
}

/// An address where connections hang: it listens, its queue is full, and SYNs are dropped.
pub struct Full {
    _listener: TcpListener,
    _filler: Vec<std::os::fd::OwnedFd>,
}

impl Full {
    /// Takes a port of the namespace's address.
    pub fn take(ns: &NetNs, port: u16) -> Full {
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, connect, listen, socket};
        ns.enter(|| {
            let listener = TcpListener::bind((ns.peer, port)).expect("listener in the namespace");
            listen(&listener, Backlog::new(0).expect("backlog")).expect("listening");
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(ns.peer, port));
            let filler = (0..8)
                .map(|_| {
                    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
                    let _ = connect(client.as_raw_fd(), &to);
                    client
                })
                .collect();
            Full { _listener: listener, _filler: filler }
        })
    }
}
