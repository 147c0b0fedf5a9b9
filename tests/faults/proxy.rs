//! A real server behind a wire that somebody tampers with: relays that let everything through until a
//! connection has got to a certain point, and then do harm.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::support::lock;
use crate::support::netns::NetNs;

/// Between two bytes of a slow drip.
const DRIP: Duration = Duration::from_millis(300);
/// How long a relay may take to notice that it should stop.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes that mean nothing in any of the protocols.
const NOISE: [u8; 64] = {
    let mut noise = [0; 64];
    let mut i = 0;
    while i < noise.len() {
        noise[i] = [0xff, 0x00, 0xa5, 0x5a][i % 4];
        i += 1;
    }
    noise
};

/// When a connection has got to the point where harm is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The client has sent so many bytes; those that reach the number are not passed on.
    Client(usize),
    /// The client has sent so many bytes; nothing of what it sends from the beginning of that read on is read.
    Writing(usize),
    /// The client has sent so many bytes, and all were passed on; no byte of the answer is.
    Asked(usize),
    /// The server has sent so many bytes, and as many were passed on.
    Server(usize),
    /// Somebody says so.
    Told,
}

/// What is done then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing passes any more. When the server closes, so does the relay.
    Hold,
    /// The connection is reset.
    Reset,
    /// The relay says that it sends nothing more, and leaves it at that.
    HalfClose,
    /// A few bytes that mean nothing, then as `Hold`.
    Garbage,
    /// Everything goes on, one byte at a time.
    Drip,
    /// Bytes without end.
    Endless,
}

#[derive(Clone, Copy)]
struct Plan {
    trigger: Trigger,
    harm: Harm,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    plan: Mutex<Option<Plan>>,
    /// Harm is done to the connections that are open now.
    told: AtomicUsize,
    reached: AtomicUsize,
    open: AtomicUsize,
    /// Connections of before this number was raised are closed.
    cut: AtomicUsize,
}

/// A relay for TCP, in a namespace.
pub struct TcpProxy {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Something as a server or a client of the namespace's address.
fn listener(ns: &NetNs, port: u16) -> TcpListener {
    let listener = ns.enter(|| TcpListener::bind((ns.peer, port)).expect("listener in the namespace"));
    // What the client cannot get rid of stays in its own, small, buffer.
    setsockopt(&listener, sockopt::RcvBuf, &4096).expect("small window");
    listener.set_nonblocking(true).expect("non-blocking");
    listener
}

impl TcpProxy {
    /// Relays connections to the namespace's address, `port` (0: any), to `upstream`.
    pub fn start(ns: &NetNs, port: u16, upstream: SocketAddr) -> TcpProxy {
        let listener = listener(ns, port);
        let addr = listener.local_addr().expect("own address");
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, upstream, &shared))
        };
        TcpProxy { addr, shared, thread: Some(thread) }
    }

    /// What will happen to connections made from now on, and to those that are not at the point yet.
    pub fn plan(&self, trigger: Trigger, harm: Harm) {
        self.shared.reached.store(0, Ordering::SeqCst);
        *lock(&self.shared.plan) = Some(Plan { trigger, harm });
    }

    /// Connections made from now on are left alone.
    pub fn leave(&self) {
        *lock(&self.shared.plan) = None;
    }

    /// Does the planned harm to the connections that are open.
    pub fn tell(&self) {
        self.shared.told.fetch_add(1, Ordering::SeqCst);
    }

    /// How many connections have got to the point.
    pub fn reached(&self) -> usize {
        self.shared.reached.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.shared.cut.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, upstream: SocketAddr, shared: &Arc<Shared>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        wait(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)]);
        let Ok((client, _)) = listener.accept() else { continue };
        let shared = Arc::clone(shared);
        shared.open.fetch_add(1, Ordering::SeqCst);
        connections.retain(|c| !c.is_finished());
        connections.push(std::thread::spawn(move || {
            if let Ok(server) = TcpStream::connect_timeout(&upstream, Duration::from_secs(2)) {
                Relay::new(client, server, &shared).run(&shared);
            }
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn wait(fds: &mut [PollFd]) {
    let _ = poll(fds, PollTimeout::try_from(PAUSE).expect("a short time"));
}

/// One connection: the client's side and the server's.
struct Relay {
    client: TcpStream,
    server: TcpStream,
    from_client: usize,
    from_server: usize,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// What is being done to it.
    harm: Option<Harm>,
    /// The client's bytes are not read any more.
    deaf: bool,
    told: usize,
    cut: usize,
    dripped: Instant,
}

/// Whether there is more to come.
type Goes = bool;

impl Relay {
    fn new(client: TcpStream, server: TcpStream, shared: &Shared) -> Relay {
        for stream in [&client, &server] {
            let _ = stream.set_nonblocking(true);
            let _ = stream.set_nodelay(true);
        }
        Relay {
            client,
            server,
            from_client: 0,
            from_server: 0,
            to_client: Vec::new(),
            to_server: Vec::new(),
            harm: None,
            deaf: false,
            told: shared.told.load(Ordering::SeqCst),
            cut: shared.cut.load(Ordering::SeqCst),
            dripped: Instant::now(),
        }
    }

    fn run(mut self, shared: &Shared) {
        while !shared.stop.load(Ordering::SeqCst) && shared.cut.load(Ordering::SeqCst) == self.cut {
            let plan = *lock(&shared.plan);
            if self.harm.is_none()
                && let Some(plan) = plan
                && self.triggered(plan.trigger, shared)
            {
                self.harm = Some(plan.harm);
                self.deaf = matches!(plan.trigger, Trigger::Writing(_));
                if matches!(plan.trigger, Trigger::Server(_)) {
                    // What was passed on is on its way; it is to arrive.
                    std::thread::sleep(Duration::from_millis(100));
                }
                shared.reached.fetch_add(1, Ordering::SeqCst);
                if !self.strike(plan.harm) {
                    return;
                }
            }
            if !self.turn(plan) {
                return;
            }
        }
    }

    fn triggered(&self, trigger: Trigger, shared: &Shared) -> bool {
        match trigger {
            Trigger::Client(n) | Trigger::Writing(n) => self.from_client >= n,
            Trigger::Asked(n) => self.from_client >= n && self.to_server.is_empty(),
            Trigger::Server(n) => self.from_server >= n && self.to_client.is_empty(),
            Trigger::Told => shared.told.load(Ordering::SeqCst) != self.told,
        }
    }

    /// What is done once.
    fn strike(&mut self, harm: Harm) -> Goes {
        match harm {
            Harm::Reset => {
                let _ = setsockopt(&self.client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
                return false;
            }
            Harm::HalfClose => drop(self.client.shutdown(Shutdown::Write)),
            Harm::Garbage => self.to_client.extend(NOISE),
            Harm::Hold | Harm::Drip | Harm::Endless => {}
        }
        true
    }

    fn turn(&mut self, plan: Option<Plan>) -> Goes {
        let held = self.harm.is_some_and(|h| h != Harm::Drip);
        if self.harm == Some(Harm::Endless) && self.to_client.len() < 65_536 {
            self.to_client.extend([0u8; 16_384]);
        }
        let slow = self.harm == Some(Harm::Drip);
        let due = !slow || self.dripped.elapsed() >= DRIP;
        let mut client = PollFlags::empty();
        let mut server = PollFlags::empty();
        // While it drips, and while the server is not read by the client, little is read ahead.
        if !self.deaf || (slow && due) {
            client |= PollFlags::POLLIN;
        }
        if !self.to_client.is_empty() && due {
            client |= PollFlags::POLLOUT;
        }
        if self.to_client.len() < 65_536 || held {
            server |= PollFlags::POLLIN;
        }
        if !self.to_server.is_empty() {
            server |= PollFlags::POLLOUT;
        }
        wait(&mut [PollFd::new(self.client.as_fd(), client), PollFd::new(self.server.as_fd(), server)]);
        if client.contains(PollFlags::POLLIN) && !self.read_client(held, plan, if self.deaf { 1 } else { 16_384 }) {
            return false;
        }
        if server.contains(PollFlags::POLLIN) && !self.read_server(held, plan) {
            return false;
        }
        if due {
            let most = if slow { 1 } else { usize::MAX };
            if !self.to_client.is_empty() || self.deaf {
                self.dripped = Instant::now();
            }
            if !give(&mut self.client, &mut self.to_client, most) {
                return false;
            }
        }
        give(&mut self.server, &mut self.to_server, usize::MAX)
    }

    fn read_client(&mut self, held: bool, plan: Option<Plan>, most: usize) -> Goes {
        let mut buffer = vec![0; most];
        match self.client.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.from_client += n;
                let swallowed = match plan {
                    Some(Plan { harm: Harm::Drip, .. }) | None => false,
                    Some(Plan { trigger: Trigger::Client(at) | Trigger::Writing(at), .. }) => self.from_client >= at,
                    Some(_) => false,
                };
                if !held && !swallowed {
                    self.to_server.extend_from_slice(&buffer[..n]);
                }
                true
            }
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    fn read_server(&mut self, held: bool, plan: Option<Plan>) -> Goes {
        let room = match plan.map(|p| p.trigger) {
            // So that it is the server that has the rest.
            Some(Trigger::Server(at)) if self.harm.is_none() => at.saturating_sub(self.from_server).clamp(1, 16_384),
            _ => 16_384,
        };
        let mut buffer = vec![0; room];
        match self.server.read(&mut buffer) {
            Ok(0) => {
                // What it said before still arrives.
                while !self.to_client.is_empty() && !held && give(&mut self.client, &mut self.to_client, usize::MAX) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.harm.is_some_and(|h| h != Harm::Hold && h != Harm::Drip)
            }
            Ok(n) => {
                self.from_server += n;
                let asked = match plan {
                    Some(Plan { harm: Harm::Drip, .. }) | None => false,
                    Some(Plan { trigger: Trigger::Asked(at), .. }) => self.from_client >= at,
                    Some(_) => false,
                };
                if !held && !asked {
                    self.to_client.extend_from_slice(&buffer[..n]);
                }
                true
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => true,
            Err(_) => {
                let _ = setsockopt(&self.client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
                false
            }
        }
    }
}

fn give(to: &mut TcpStream, bytes: &mut Vec<u8>, most: usize) -> Goes {
    if bytes.is_empty() {
        return true;
    }
    match to.write(&bytes[..bytes.len().min(most)]) {
        Ok(n) => {
            bytes.drain(..n);
            true
        }
        Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
    }
}

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
