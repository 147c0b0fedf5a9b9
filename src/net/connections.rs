//! The stream connections of one worker: accepted or made here, found again by their peer's
//! address, framed, bounded in number, bytes and time. Nothing blocks.
//!
//! A connection is a [`Pipe`] of bytes and a [`Framer`] behind it. The owner of this calls
//! [`Connections::ready`], [`Connections::due`] and [`Connections::flush`]; what came in is taken
//! with [`Connections::next_message`], what ended with [`Connections::take_closed`].

pub mod conn;
mod ends;

use crate::base::{Key, Slab, Str, Time};
use crate::net::listen::{Listener, Transport};
use crate::net::pipe::simulated::Exchange;
use crate::net::pipe::{Accepted, Acceptor, Keepalive, Pipe};
use crate::net::reactor::{Interest, Io, Readiness, Source};
use crate::sip::framer::{Frame, FrameError, FrameLimits, Framer};
use crate::store::{ConnId, ConnKey, ConnRows, Counter, Counters};
use conn::{Conn, Flushed, State};
pub use ends::{Closed, Why};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Key indices from here on name listeners.
const LISTENERS: u32 = 1 << 31;
/// Connections accepted from one listener per turn.
const ACCEPTS: usize = 64;
/// Bytes read from one connection per turn.
const READ_SHARE: usize = 256 << 10;
/// Bytes of one read.
const READ: usize = 64 << 10;
/// How long accepting pauses when there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(250);
/// Most aliases of one connection.
const ALIASES: usize = 4;

/// Limits and habits. A duration of zero: no limit.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Most connections of the whole server (`tcp_max_connections`).
    pub max_connections: usize,
    /// How long making a connection may take (`tcp_connect_timeout`).
    pub connect_timeout: Duration,
    /// How long a connection may be idle (`tcp_connection_lifetime`).
    pub lifetime: Duration,
    /// How long a message may take from its first byte to its last (`tcp_max_msg_time`).
    pub max_msg_time: Duration,
    /// How long an accepted connection may stay without a single message.
    pub first_message: Duration,
    /// How long a peer may take nothing of what waits for it (`tcp_send_timeout`).
    pub send_timeout: Duration,
    /// Most bytes that wait to be written, per connection (`tcp_conn_wq_max`).
    pub queue: usize,
    /// The same for all connections of a worker (`tcp_wq_max`).
    pub all_queues: usize,
    /// How large messages may be.
    pub limits: FrameLimits,
    /// Answer keep-alives (RFC 5626).
    pub pong: bool,
    /// The system's own keep-alives.
    pub keepalive: Keepalive,
    /// Port of TCP sockets that name none (proto_tcp's `tcp_port`); the protocol's own if absent.
    pub port: Option<u16>,
    /// `tcp_accept_aliases`: 0 never, 1 with `;alias` in Via, 2 always.
    pub aliases: u8,
}

impl Default for StreamConfig {
    fn default() -> Self {
        let secs = Duration::from_secs;
        StreamConfig {
            max_connections: 2048,
            connect_timeout: secs(3),
            lifetime: secs(120),
            max_msg_time: secs(4),
            first_message: secs(30),
            send_timeout: secs(10),
            queue: 1 << 20,
            all_queues: 64 << 20,
            limits: FrameLimits::default(),
            pong: true,
            keepalive: Keepalive::default(),
            port: None,
            aliases: 0,
        }
    }
}

/// What a connection has received.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(Str),
    /// Something that is no message; the head of it, if a request can be answered. The connection is
    /// closing.
    Broken(FrameError, Str),
    /// Nothing more for now.
    Nothing,
}

/// Why bytes were not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// There is no such connection (any more).
    Gone,
    /// Too much waits already; the connection was closed.
    Full,
}

struct Listening {
    acceptor: Acceptor,
    transport: Transport,
    number: u16,
    /// Type of service; what is accepted inherits it.
    tos: Option<u8>,
    /// The empty seat it belongs to; `None` for our own.
    seat: Option<usize>,
    /// No file descriptors: it is looked at again by a timer.
    paused: bool,
}

/// All stream connections of one worker.
pub struct Connections {
    config: StreamConfig,
    rows: ConnRows,
    counters: Counters,
    slab: Slab<Box<Conn>>,
    by_key: HashMap<ConnKey, SmallVec<[Key; 1]>>,
    listening: Vec<Option<Listening>>,
    dirty: Vec<Key>,
    closed: Vec<Closed>,
    /// Accepted ones that may not have said anything yet, oldest first.
    silent: VecDeque<Key>,
    queued: usize,
    scratch: Vec<u8>,
    /// Nobody is to be read from: what was read has no place to go.
    choked: bool,
    /// The network of a simulation.
    simulated: Option<Exchange>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.slab.len()).finish_non_exhaustive()
    }
}

/// What a connection to `addr` is found by.
pub fn key_of(transport: Transport, addr: SocketAddr) -> ConnKey {
    ConnKey { transport: transport as u8, addr: crate::store::conns::plain(addr) }
}

impl Connections {
    /// None yet. `rows`: this worker's part of the shared table.
    pub fn new(config: StreamConfig, rows: ConnRows, counters: Counters) -> Connections {
        Connections {
            config,
            rows,
            counters,
            slab: Slab::new(),
            by_key: HashMap::new(),
            listening: Vec::new(),
            dirty: Vec::new(),
            closed: Vec::new(),
            silent: VecDeque::new(),
            queued: 0,
            scratch: Vec::new(),
            choked: false,
            simulated: None,
        }
    }

    /// From now on connections are made to and from the peers of a simulation.
    pub fn simulate(&mut self, exchange: Exchange) {
        self.simulated = Some(exchange);
    }

    /// A peer of a simulation has connected to a listener.
    ///
    /// # Errors
    /// The system's.
    pub fn arrive(
        &mut self,
        pipe: Pipe,
        transport: Transport,
        listener: u16,
        remote: SocketAddr,
        mut io: Io<'_>,
    ) -> io::Result<Key> {
        self.counters.inc(Counter::TcpAccepts);
        self.adopt(pipe, transport, listener, remote, true, &mut io)
    }

    /// Takes a listener's socket.
    pub fn listen(&mut self, listener: &Listener, fd: OwnedFd) {
        let (transport, number, tos) = (listener.transport, listener.index as u16, listener.tos);
        let acceptor = Acceptor::from_fd(fd);
        self.listening.push(Some(Listening { acceptor, transport, number, tos, seat: None, paused: false }));
    }

    /// Accepts on the listening socket of an empty seat as well.
    ///
    /// # Errors
    /// The system's, if it cannot be watched.
    pub fn adopt_listener(
        &mut self,
        seat: usize,
        transport: Transport,
        number: u16,
        fd: OwnedFd,
        mut io: Io<'_>,
    ) -> io::Result<()> {
        let acceptor = Acceptor::from_fd(fd);
        let index = self.listening.iter().position(Option::is_none).unwrap_or(self.listening.len());
        let key = Key { index: LISTENERS + index as u32, generation: 0 };
        io.register(&acceptor, Source::Tcp, key, Interest::READABLE)?;
        io.again(Source::Tcp, key);
        let listening = Some(Listening { acceptor, transport, number, tos: None, seat: Some(seat), paused: false });
        match self.listening.get_mut(index) {
            Some(slot) => *slot = listening,
            None => self.listening.push(listening),
        }
        Ok(())
    }

    /// Somebody sits there again and accepts himself.
    pub fn return_listeners(&mut self, seat: usize, mut io: Io<'_>) {
        for slot in &mut self.listening {
            if let Some(l) = slot.take_if(|l| l.seat == Some(seat)) {
                io.deregister(&l.acceptor);
            }
        }
    }

    /// Begins to accept.
    pub fn start(&mut self, mut io: Io<'_>) -> io::Result<()> {
        for (i, l) in self.listening.iter().enumerate() {
            let Some(l) = l.as_ref().filter(|l| l.seat.is_none()) else { continue };
            let key = Key { index: LISTENERS + i as u32, generation: 0 };
            io.register(&l.acceptor, Source::Tcp, key, Interest::READABLE)?;
            io.again(Source::Tcp, key);
        }
        Ok(())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// How many timers are armed for connections.
    pub fn timers(&self) -> usize {
        self.slab.iter().filter(|(_, c)| c.timer.is_some()).count()
    }

    /// Bytes that wait to be written, over all connections.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The limits.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// A connection.
    pub fn get(&self, key: Key) -> Option<&Conn> {
        self.slab.get(key).map(|c| &**c)
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Conn)> {
        self.slab.iter().map(|(k, c)| (k, &**c))
    }

    /// The name of a connection of this worker.
    pub fn id(&self, key: Key) -> ConnId {
        self.rows.id(key)
    }

    /// A connection to `addr` that some worker has, rather one of this worker and one of
    /// `listener`; with `strict` only such a one. Its name and its listener.
    pub fn find(
        &self,
        transport: Transport,
        addr: SocketAddr,
        listener: u16,
        strict: bool,
        living: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<(ConnId, u16)> {
        let key = key_of(transport, addr);
        let own = self.by_key.get(&key).into_iter().flatten().filter_map(|k| {
            let c = self.slab.get(*k).filter(|c| c.state != State::Closing)?;
            Some((self.rows.id(*k), c.listener))
        });
        let mut best = None;
        for (id, number) in own {
            if number == listener {
                return Some((id, number));
            }
            best.get_or_insert((id, number));
        }
        best.or_else(|| self.rows.table().find(&key, listener, living)).filter(|(_, l)| !strict || *l == listener)
    }

    /// The connection with this number, whichever worker has it, and its listener.
    pub fn numbered(&self, number: i64, living: &dyn Fn(usize) -> Option<u32>) -> Option<(ConnId, u16)> {
        if ConnId::worker_of(number)? != self.rows.worker() {
            return self.rows.table().numbered(number, living);
        }
        let (key, conn) = self.iter().find(|(key, _)| self.rows.id(*key).number() == number)?;
        Some((self.rows.id(key), conn.listener))
    }

    /// Begins to make a connection that stands for `listener` and leaves from address `from`.
    ///
    /// # Errors
    /// The system's, or `QuotaExceeded`: there are `max_connections` already.
    pub fn open(
        &mut self,
        transport: Transport,
        listener: u16,
        from: Option<IpAddr>,
        to: SocketAddr,
        mut io: Io<'_>,
    ) -> io::Result<Key> {
        if self.is_full() && !self.evict(&mut io) {
            self.counters.inc(Counter::TcpRejected);
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let tos =
            self.listening.iter().flatten().find(|l| l.number == listener && l.seat.is_none()).and_then(|l| l.tos);
        let pipe = match &self.simulated {
            Some(exchange) => exchange.dial(to, from)?,
            None => Pipe::connect(to, from, tos)?,
        };
        self.counters.inc(Counter::TcpConnects);
        self.adopt(pipe, transport, listener, to, false, &mut io)
    }

    fn is_full(&self) -> bool {
        self.rows.table().total() >= self.config.max_connections
    }

    /// Takes in a new connection.
    fn adopt(
        &mut self,
        pipe: Pipe,
        transport: Transport,
        listener: u16,
        remote: SocketAddr,
        accepted: bool,
        io: &mut Io<'_>,
    ) -> io::Result<Key> {
        pipe.prepare(self.config.keepalive);
        let framer = Framer::new(self.config.limits);
        let conn = Conn::new(pipe, transport, listener, remote, accepted, io.now, framer);
        let key = self.slab.insert(Box::new(conn));
        let result = match self.slab.get(key) {
            Some(c) => io.register(&c.pipe, Source::Tcp, key, Interest::READABLE | Interest::WRITABLE),
            None => Ok(()),
        };
        if let Err(e) = result {
            self.slab.remove(key);
            return Err(e);
        }
        self.name(key, key_of(transport, remote));
        self.count_open();
        if accepted {
            self.silent.push_back(key);
            if self.silent.len() > 2 * self.slab.len() + 64 {
                let slab = &self.slab;
                self.silent.retain(|k| slab.get(*k).is_some_and(|c| c.received == 0));
            }
        }
        self.arm(key, io);
        Ok(key)
    }

    fn count_open(&self) {
        self.rows.set_open(self.slab.len());
        self.counters.set(Counter::TcpOpen, self.slab.len() as u64);
    }

    /// Makes a connection found by one more key.
    fn name(&mut self, key: Key, by: ConnKey) {
        let Some(conn) = self.slab.get_mut(key) else { return };
        if conn.keys.contains(&by) || conn.keys.len() > ALIASES {
            return;
        }
        conn.keys.push(by);
        self.by_key.entry(by).or_default().push(key);
        self.rows.insert(by, conn.listener, key);
    }

    /// Lets requests to `port` of the peer use this connection (RFC 5923).
    pub fn alias(&mut self, key: Key, port: u16) {
        if let Some(c) = self.slab.get(key)
            && port != 0
        {
            self.name(key, key_of(c.transport, SocketAddr::new(c.remote.ip(), port)));
        }
    }

    /// Until then it is not idle (at the latest of the times that are given).
    pub fn keep(&mut self, key: Key, until: Time) {
        if let Some(c) = self.slab.get_mut(key) {
            c.kept = c.kept.max(until);
        }
    }

    /// How long it may be idle from now on.
    pub fn set_lifetime(&mut self, key: Key, lifetime: Duration, mut io: Io<'_>) {
        if let Some(c) = self.slab.get_mut(key) {
            c.lifetime = Some(lifetime);
            self.arm(key, &mut io);
        }
    }

    /// A script wants to hear of its end.
    pub fn tell(&mut self, key: Key) {
        if let Some(c) = self.slab.get_mut(key) {
            c.told = true;
        }
    }

    /// The system's own keep-alives of one connection.
    pub fn keep_alive(&self, key: Key, keepalive: Keepalive) {
        if let Some(c) = self.slab.get(key) {
            c.pipe.prepare(keepalive);
        }
    }

    /// Notes that another worker sends on it.
    pub fn used_by(&mut self, key: Key, worker: u16) {
        if let Some(c) = self.slab.get_mut(key)
            && !c.users.contains(&worker)
        {
            c.users.push(worker);
        }
    }

    /// Queues a message; it leaves with [`Connections::flush`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, key: Key, bytes: &[u8], io: Io<'_>) -> Result<(), SendError> {
        let Some(c) = self.slab.get_mut(key) else { return Err(SendError::Gone) };
        if c.queued() + bytes.len() > self.config.queue || self.queued + bytes.len() > self.config.all_queues {
            self.counters.inc(Counter::TcpSendDropped);
            let why = if c.state == State::Connecting { Why::ConnectTimeout } else { Why::SlowReader };
            self.close(key, why, io);
            return Err(SendError::Full);
        }
        c.queue(bytes);
        c.sent += 1;
        self.queued += bytes.len();
        self.counters.inc(Counter::TcpSent);
        self.touch(key);
        Ok(())
    }

    /// Puts a connection on the list of those with something to write.
    fn touch(&mut self, key: Key) {
        if let Some(c) = self.slab.get_mut(key)
            && !std::mem::replace(&mut c.dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Whether a readiness, or a timer, is about a listener.
    pub fn is_listener(key: Key) -> bool {
        key.index >= LISTENERS
    }

    /// Accepts who waits; some more in the next turn.
    pub fn accept(&mut self, key: Key, mut io: Io<'_>) {
        let index = (key.index - LISTENERS) as usize;
        for _ in 0..ACCEPTS {
            let Some(Some(l)) = self.listening.get_mut(index) else { return };
            if l.paused {
                return;
            }
            let (transport, number) = (l.transport, l.number);
            match l.acceptor.accept() {
                Accepted::One(pipe, peer) => {
                    self.counters.inc(Counter::TcpAccepts);
                    if self.is_full() && !self.evict(&mut io) {
                        self.counters.inc(Counter::TcpRejected);
                        log::warn!(target: "tcp", "a connection from {peer} was refused: tcp_max_connections is reached");
                        continue;
                    }
                    if let Err(e) = self.adopt(pipe, transport, number, peer, true, &mut io) {
                        log::error!(target: "tcp", "cannot watch a connection from {peer}: {e}");
                    }
                }
                Accepted::Nobody => return,
                Accepted::Lost => {}
                Accepted::Exhausted(e) => {
                    l.paused = true;
                    log::error!(target: "tcp", "cannot accept connections: {e}; raise the limit of open files");
                    io.arm(io.now + PAUSE, Source::Tcp, key);
                    return;
                }
            }
        }
        io.again(Source::Tcp, key);
    }

    /// Makes room: the oldest accepted connection that has not said anything goes.
    fn evict(&mut self, io: &mut Io<'_>) -> bool {
        while let Some(key) = self.silent.pop_front() {
            if self.slab.get(key).is_some_and(|c| c.received == 0) {
                self.close(key, Why::Crowded, io.reborrow());
                return true;
            }
        }
        false
    }

    /// A connection is ready. True: something may have come in, take it with [`Connections::next_message`].
    pub fn ready(&mut self, key: Key, ready: Readiness, mut io: Io<'_>) -> bool {
        let Some(c) = self.slab.get_mut(key) else { return false };
        if c.state == State::Connecting {
            match c.pipe.connected() {
                Ok(true) => {
                    (c.state, c.used) = (State::Open, io.now);
                    self.touch(key);
                    self.arm(key, &mut io);
                }
                Ok(false) => return false,
                Err(e) => {
                    self.close(key, Why::Refused(e.kind()), io);
                    return false;
                }
            }
        } else if ready.writable {
            self.touch(key);
        }
        ready.readable || ready.hangup || ready.error
    }

    /// Stops and restarts reading: while stopped, nothing is read from any connection, and the
    /// peers' windows fill.
    pub fn choke(&mut self, choked: bool, mut io: Io<'_>) {
        if std::mem::replace(&mut self.choked, choked) && !choked {
            for (key, _) in self.slab.iter() {
                io.again(Source::Tcp, key);
            }
        }
    }

    /// Reads until the connection's share of the turn is used up; whole messages wait in it then.
    /// False: it ended, or its turn is over; nothing more will come in this turn once what is
    /// there has been taken.
    pub fn read(&mut self, key: Key, share: &mut usize, mut io: Io<'_>) -> bool {
        let Some(c) = self.slab.get_mut(key).filter(|c| c.state == State::Open) else { return false };
        if self.choked {
            return false;
        }
        if *share >= READ_SHARE {
            io.again(Source::Tcp, key);
            return false;
        }
        self.scratch.resize(READ, 0);
        match c.pipe.read(&mut self.scratch) {
            Ok(0) => {
                self.end(key, Why::Peer);
                false
            }
            Ok(n) => {
                c.used = io.now;
                c.framer.push(self.scratch.get(..n).unwrap_or_default());
                *share += n;
                true
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) => {
                self.close(key, Why::Broken(e.kind()), io);
                false
            }
        }
    }

    /// The next message that a connection has received. Keep-alives are answered here.
    pub fn next_message(&mut self, key: Key, mut io: Io<'_>) -> Received {
        loop {
            let Some(c) = self.slab.get_mut(key).filter(|c| c.state == State::Open) else { return Received::Nothing };
            match c.framer.cut() {
                Ok(Frame::Message(bytes)) => {
                    let message = Str::from(bytes);
                    c.received += 1;
                    c.partial = None;
                    self.counters.inc(Counter::TcpReceived);
                    return Received::Message(message);
                }
                Ok(Frame::Ping) => {
                    // Who does not take the answers will not be sent more of them.
                    if self.config.pong && c.queued() == 0 {
                        c.queue(b"\r\n");
                        self.queued += 2;
                        self.touch(key);
                    }
                }
                Ok(Frame::More) => {
                    match (c.framer.is_within(), c.partial) {
                        (true, None) => {
                            c.partial = Some(io.now);
                            self.arm(key, &mut io);
                        }
                        (false, Some(_)) => c.partial = None,
                        _ => {}
                    }
                    return Received::Nothing;
                }
                Err(e) => {
                    let head = Str::from(c.framer.broken());
                    self.counters.inc(Counter::TcpBadStreams);
                    self.end(key, Why::Framing(e));
                    return Received::Broken(e, head);
                }
            }
        }
    }

    /// Ends a connection when everything is written.
    pub fn end(&mut self, key: Key, why: Why) {
        if let Some(c) = self.slab.get_mut(key) {
            c.state = State::Closing;
            c.ending.get_or_insert(why);
            self.touch(key);
        }
    }

    /// Ends a connection now.
    pub fn close(&mut self, key: Key, why: Why, mut io: Io<'_>) {
        let Some(mut c) = self.slab.remove(key) else { return };
        io.deregister(&c.pipe);
        if let Some((_, timer)) = c.timer.take() {
            io.disarm(timer);
        }
        for by in &c.keys {
            self.rows.remove(*by, key);
            if let Some(list) = self.by_key.get_mut(by) {
                list.retain(|k| *k != key);
                if list.is_empty() {
                    self.by_key.remove(by);
                }
            }
        }
        self.queued = self.queued.saturating_sub(c.queued());
        self.count_open();
        self.counters.inc(match why {
            Why::Refused(_) | Why::ConnectTimeout => Counter::TcpConnectFailed,
            Why::Idle | Why::Silent | Why::SlowMessage | Why::Crowded => Counter::TcpTimedOut,
            Why::SlowReader => Counter::TcpSlowReaders,
            _ => Counter::TcpClosed,
        });
        if why.is_orderly() || matches!(why, Why::Framing(_)) {
            c.pipe.goodbye();
        }
        self.closed.push(Closed {
            id: self.rows.id(key),
            why,
            transport: c.transport,
            remote: c.remote,
            listener: c.listener,
            accepted: c.accepted,
            told: c.told,
            lost: c.queued(),
            users: std::mem::take(&mut c.users),
        });
    }

    /// What has ended since this was last called.
    pub fn take_closed(&mut self) -> Vec<Closed> {
        std::mem::take(&mut self.closed)
    }

    /// Writes what waits, as far as the system takes it. Once per turn.
    pub fn flush(&mut self, mut io: Io<'_>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(c) = self.slab.get_mut(key) else { continue };
            c.dirty = false;
            let before = c.queued();
            let result = c.flush(io.now);
            let (after, ending) = (c.queued(), c.ending);
            self.queued = self.queued.saturating_sub(before.saturating_sub(after));
            match (result, ending) {
                (Ok(Flushed::All), Some(why)) => self.close(key, why, io.reborrow()),
                (Ok(Flushed::All), None) => {}
                (Ok(Flushed::Blocked), _) => self.arm(key, &mut io),
                (Err(e), ending) => self.close(key, ending.unwrap_or(Why::Broken(e.kind())), io.reborrow()),
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// Arms a connection's timer if its next time is earlier than what is armed.
    fn arm(&mut self, key: Key, io: &mut Io<'_>) {
        let Some(c) = self.slab.get_mut(key) else { return };
        let (at, _) = c.deadline(&self.config);
        if at == Time::NEVER || c.timer.is_some_and(|(armed, _)| armed <= at) {
            return;
        }
        if let Some((_, old)) = c.timer.take() {
            io.disarm(old);
        }
        c.timer = Some((at, io.arm(at, Source::Tcp, key)));
    }

    /// A timer has come: of a listener that paused, or of a connection, which may be due.
    pub fn due(&mut self, key: Key, mut io: Io<'_>) {
        if Self::is_listener(key) {
            if let Some(Some(l)) = self.listening.get_mut((key.index - LISTENERS) as usize) {
                l.paused = false;
                io.again(Source::Tcp, key);
            }
            return;
        }
        let Some(c) = self.slab.get_mut(key) else { return };
        c.timer = None;
        let (at, why) = c.deadline(&self.config);
        if at <= io.now { self.close(key, why, io) } else { self.arm(key, &mut io) }
    }
}
