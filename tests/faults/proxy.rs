//! A real server behind a wire that somebody tampers with: a relay that lets everything through until a
//! connection has got to a certain point, and then does harm.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
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
pub const PAUSE: Duration = Duration::from_millis(20);

/// Bytes that mean nothing in any of the protocols.
pub const NOISE: [u8; 64] = {
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

pub fn wait(fds: &mut [PollFd]) {
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
