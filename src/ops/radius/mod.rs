//! RADIUS (RFC 2865, 2866, 5080): questions to the first server that lives, sent again with the same
//! identifier, then to the next.
//!
//! A socket is connected to one server and carries up to 256 questions at a time, told apart by their
//! identifier; more sockets are opened when one is full. What does not carry the secret's signature is no answer and
//! is passed over.

pub mod config;
pub mod dictionary;
pub mod packet;

use super::{CancelReason, Cx, Engine, Failure, OpId, Outcome, Phase, Why};
use crate::base::{Key, Slab, Time, TimerKey};
use crate::net::reactor::{Interest, Readiness, Source};
use config::{Config, Server};
use mio::net::UdpSocket;
use packet::{Attribute, Encoded, Unmade};
use rustls::crypto::{SecureRandom, ring};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub use packet::Answer;

/// Datagrams read from one socket in one turn.
const BUDGET: usize = 64;
/// Sockets to one server: 256 questions each.
const MAX_SOCKETS: usize = 16;
/// Questions that wait for a free identifier.
const MAX_QUEUE: usize = 10_000;

const NAS_IP_ADDRESS: u8 = 4;
const NAS_IDENTIFIER: u8 = 32;
const NAS_IPV6_ADDRESS: u8 = 95;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Access-Request
    Auth,
    /// Accounting-Request
    Acct,
}

/// One question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RadiusRequest {
    /// What is asked.
    pub kind: Kind,
    /// Its attributes; passwords in clear. Who asks (NAS-IP-Address) is added if it is missing.
    pub attributes: Vec<Attribute>,
}

struct Op {
    kind: Kind,
    attributes: Vec<Attribute>,
    /// Servers not asked yet.
    order: VecDeque<usize>,
    server: usize,
    phase: Phase,
    sent: Option<Sent>,
    tries: u32,
    timer: Option<TimerKey>,
    /// Why the last server was given up.
    error: Option<(Why, String)>,
}

struct Sent {
    socket: Key,
    identifier: u8,
    packet: Encoded,
}

struct Socket {
    io: UdpSocket,
    to: SocketAddr,
    /// The question with each identifier.
    asked: Box<[Option<OpId>; 256]>,
    busy: usize,
    next: u8,
}

/// The RADIUS client of one process.
pub struct Radius {
    config: Option<Rc<Config>>,
    random: &'static dyn SecureRandom,
    ops: HashMap<OpId, Op>,
    sockets: Slab<Socket>,
    /// Until when a server is asked last: authentication, accounting.
    dead: [Vec<Time>; 2],
    queue: VecDeque<(OpId, SocketAddr)>,
    /// Sockets whose server is gone, with what was said, for those that wait there to be told.
    gone: VecDeque<(Key, Why, String)>,
    /// They are being told.
    moving: bool,
}

impl Default for Radius {
    fn default() -> Self {
        Radius {
            config: None,
            random: ring::default_provider().secure_random,
            ops: HashMap::new(),
            sockets: Slab::new(),
            gone: VecDeque::new(),
            moving: false,
            dead: [Vec::new(), Vec::new()],
            queue: VecDeque::new(),
        }
    }
}

impl Radius {
    /// Says which servers there are. Before that, every question is refused.
    pub fn configure(&mut self, config: Rc<Config>) {
        self.dead = [vec![Time::ZERO; config.auth.len()], vec![Time::ZERO; config.acct.len()]];
        self.config = Some(config);
    }

    fn server(&self, kind: Kind, n: usize) -> Option<&Server> {
        let config = self.config.as_ref()?;
        match kind {
            Kind::Auth => config.auth.get(n),
            Kind::Acct => config.acct.get(n),
        }
    }

    /// Asks the next server, or gives up.
    fn next_server(&mut self, id: OpId, cx: &mut Cx<'_>) {
        self.release(id, cx);
        let Some(op) = self.ops.get_mut(&id) else { return };
        let Some(n) = op.order.pop_front() else {
            let (why, detail) = op.error.take().unwrap_or((Why::BadRequest, "no server is configured for it".into()));
            let phase = op.phase;
            return self.end(id, Outcome::Failed(Failure::new(why, phase, detail)), cx);
        };
        op.server = n;
        op.phase = Phase::Resolve;
        op.tries = 0;
        let kind = op.kind;
        let Some(server) = self.server(kind, n) else { return };
        match server.host.parse::<IpAddr>() {
            Ok(ip) => {
                let to = SocketAddr::new(ip, server.port);
                self.ask(id, to, cx);
            }
            Err(_) => {
                let host = server.host.clone();
                cx.resolve(Source::Radius, id, &host);
            }
        }
    }

    /// The server cannot be had: the next one.
    fn fail_over(&mut self, id: OpId, why: Why, detail: String, cx: &mut Cx<'_>) {
        let deadtime = self.config.as_ref().map_or(Duration::ZERO, |c| c.deadtime);
        if let Some(op) = self.ops.get_mut(&id) {
            if let Some(until) = self.dead[usize::from(op.kind == Kind::Acct)].get_mut(op.server) {
                *until = cx.now() + deadtime;
            }
            op.error = Some((why, detail));
        }
        self.next_server(id, cx);
    }

    /// Sends the question to an address, or queues it there.
    fn ask(&mut self, id: OpId, to: SocketAddr, cx: &mut Cx<'_>) {
        if let Some(op) = self.ops.get_mut(&id) {
            op.phase = Phase::Send;
        }
        match self.socket(to, cx) {
            Ok(Some(key)) => self.send(id, key, cx),
            Ok(None) if self.queue.len() < MAX_QUEUE => {
                if let Some(op) = self.ops.get_mut(&id) {
                    op.phase = Phase::Queue;
                    self.queue.push_back((id, to));
                }
            }
            Ok(None) => {
                let full = Failure::new(Why::Overload, Phase::Queue, "too many questions wait for the server");
                self.end(id, Outcome::Failed(full), cx);
            }
            Err(e) => self.fail_over(id, unreachable(&e), format!("no socket: {e}"), cx),
        }
    }

    /// A socket to the server with a free identifier; none if all are full.
    fn socket(&mut self, to: SocketAddr, cx: &mut Cx<'_>) -> io::Result<Option<Key>> {
        let mut there = 0;
        for (key, s) in self.sockets.iter() {
            if s.to == to {
                if s.busy < 256 {
                    return Ok(Some(key));
                }
                there += 1;
            }
        }
        if there >= MAX_SOCKETS {
            return Ok(None);
        }
        let any = match to.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let bind = self.config.as_ref().and_then(|c| c.bind).filter(|b| b.is_ipv4() == to.is_ipv4()).unwrap_or(any);
        let io = UdpSocket::bind(SocketAddr::new(bind, 0))?;
        // Connected: the kernel drops what others send, and a refusal is heard at once.
        io.connect(to)?;
        let mut first = [0];
        let _ = self.random.fill(&mut first);
        let key = self.sockets.insert(Socket { io, to, asked: Box::new([None; 256]), busy: 0, next: first[0] });
        if let Some(s) = self.sockets.get(key)
            && let Err(e) = cx.register(&s.io, Source::Radius, key, Interest::READABLE)
        {
            self.sockets.remove(key);
            return Err(e);
        }
        Ok(Some(key))
    }

    fn send(&mut self, id: OpId, key: Key, cx: &mut Cx<'_>) {
        let (Some(op), Some(socket)) = (self.ops.get_mut(&id), self.sockets.get_mut(key)) else { return };
        let server = self.config.as_ref().and_then(|c| match op.kind {
            Kind::Auth => c.auth.get(op.server),
            Kind::Acct => c.acct.get(op.server),
        });
        let (Some(server), Some(identifier)) = (server, socket.free()) else { return };
        let attributes = named(&op.attributes, socket.io.local_addr().ok());
        let mut random = [0; 16];
        let made = match op.kind {
            _ if self.random.fill(&mut random).is_err() => {
                let failure = Failure::new(Why::System, Phase::Send, "the system has no random numbers");
                return self.end(id, Outcome::Failed(failure), cx);
            }
            Kind::Auth => packet::access_request(identifier, random, &server.secret, &attributes),
            Kind::Acct => packet::accounting_request(identifier, &server.secret, &attributes),
        };
        let packet = match made {
            Ok(packet) => packet,
            Err(why) => {
                let text = match why {
                    Unmade::Value => "an attribute's value is too long",
                    Unmade::Packet => "the attributes do not fit into one packet",
                };
                let failure = Failure::new(Why::BadRequest, Phase::Send, text);
                return self.end(id, Outcome::Failed(failure), cx);
            }
        };
        socket.take(identifier, id);
        let sent = socket.io.send(&packet.bytes);
        op.sent = Some(Sent { socket: key, identifier, packet });
        op.phase = Phase::Send;
        self.after_send(id, sent, cx);
    }

    /// Nobody listens there: all that wait for it go on to the next server. The system says so once, to whoever
    /// sends or receives next, for whichever datagram it was.
    fn gone(&mut self, key: Key, e: &io::Error, cx: &mut Cx<'_>) {
        if !self.gone.iter().any(|(other, ..)| *other == key) {
            self.gone.push_back((key, unreachable(e), e.to_string()));
        }
        // Going on may find the next server gone, too: one after the other, not one within the other.
        if std::mem::replace(&mut self.moving, true) {
            return;
        }
        while let Some((key, why, detail)) = self.gone.pop_front() {
            let waiting = |s: &Socket| s.asked.iter().flatten().copied().collect::<Vec<OpId>>();
            for id in self.sockets.get(key).map(waiting).unwrap_or_default() {
                self.fail_over(id, why, detail.clone(), cx);
            }
        }
        self.moving = false;
    }

    /// A datagram has left, or not: when to look again.
    fn after_send(&mut self, id: OpId, sent: io::Result<usize>, cx: &mut Cx<'_>) {
        match sent {
            // A full buffer is like a datagram lost on the way.
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                let socket = self.ops.get(&id).and_then(|op| op.sent.as_ref()).map(|sent| sent.socket);
                return match socket.filter(|_| unreachable(&e) == Why::Refused) {
                    Some(key) => self.gone(key, &e, cx),
                    None => self.fail_over(id, unreachable(&e), e.to_string(), cx),
                };
            }
            _ => {}
        }
        let base = self.config.as_ref().map_or(Duration::from_secs(1), |c| c.timeout);
        // RFC 5080 section 2.2.1: not all at the same moment.
        let mut dice = [128];
        let _ = self.random.fill(&mut dice);
        let after = base.mul_f64(0.9 + f64::from(dice[0]) / 255.0 * 0.2);
        let timer = cx.arm(cx.now() + after, Source::Radius, id);
        if let Some(op) = self.ops.get_mut(&id) {
            op.phase = Phase::Wait;
            if let Some(old) = op.timer.replace(timer) {
                cx.io.disarm(old);
            }
        }
    }

    /// Gives back what the present try holds.
    fn release(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(op) = self.ops.get_mut(&id) else { return };
        if let Some(timer) = op.timer.take() {
            cx.io.disarm(timer);
        }
        let Some(sent) = op.sent.take() else { return };
        let Some(socket) = self.sockets.get_mut(sent.socket) else { return };
        socket.give_back(sent.identifier);
        let (to, empty) = (socket.to, socket.busy == 0);
        if let Some(at) = self.queue.iter().position(|(_, waits)| *waits == to) {
            if let Some((next, _)) = self.queue.remove(at) {
                self.send(next, sent.socket, cx);
            }
        } else if empty && self.sockets.iter().filter(|(_, s)| s.to == to).count() > 1 {
            // One socket stays for the next question.
            self.close(sent.socket, cx);
        }
    }

    fn close(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(socket) = self.sockets.remove(key) {
            cx.io.deregister(&socket.io);
        }
    }

    fn end(&mut self, id: OpId, outcome: Outcome, cx: &mut Cx<'_>) {
        self.release(id, cx);
        if self.ops.remove(&id).is_some() {
            self.queue.retain(|(waiting, _)| *waiting != id);
            cx.done(id, outcome);
        }
    }

    /// A datagram came from a server.
    fn received(&mut self, key: Key, bytes: &[u8], cx: &mut Cx<'_>) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Some(id) = packet::identifier(bytes).and_then(|n| socket.asked[usize::from(n)]) else { return };
        let Some(op) = self.ops.get(&id) else { return };
        let (Some(sent), Some(config)) = (&op.sent, &self.config) else { return };
        let Some(server) = self.server(op.kind, op.server) else { return };
        let signed = config.signed && op.kind == Kind::Auth;
        let answer = packet::answer(bytes, &sent.packet.authenticator, &server.secret, signed);
        let Ok(answer) = answer else { return };
        let fits = match op.kind {
            Kind::Auth => {
                matches!(answer.code, packet::ACCESS_ACCEPT | packet::ACCESS_REJECT | packet::ACCESS_CHALLENGE)
            }
            Kind::Acct => answer.code == packet::ACCOUNTING_RESPONSE,
        };
        if fits {
            if let Some(until) = self.dead[usize::from(op.kind == Kind::Acct)].get_mut(op.server) {
                *until = Time::ZERO;
            }
            self.end(id, Outcome::Radius(answer), cx);
        }
    }
}

/// Whose fault it is that a datagram cannot be sent: the server's or the way's to it, or this system's.
fn unreachable(e: &io::Error) -> Why {
    match e.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Why::Refused,
        _ => Why::System,
    }
}

/// RFC 2865 section 4.1: a request says who asks.
fn named(attributes: &[Attribute], local: Option<SocketAddr>) -> Vec<Attribute> {
    let mut out = attributes.to_vec();
    let says = |a: &Attribute| a.vendor == 0 && matches!(a.code, NAS_IP_ADDRESS | NAS_IDENTIFIER | NAS_IPV6_ADDRESS);
    if !out.iter().any(says) {
        out.push(match local.map(|l| l.ip()) {
            Some(IpAddr::V4(ip)) => Attribute::new(NAS_IP_ADDRESS, ip.octets()),
            Some(IpAddr::V6(ip)) => Attribute::new(NAS_IPV6_ADDRESS, ip.octets()),
            None => Attribute::new(NAS_IDENTIFIER, *b"reprise"),
        });
    }
    out
}

impl Socket {
    /// An identifier that is not in use, and was not for the longest time.
    fn free(&mut self) -> Option<u8> {
        (0..=255u8).map(|n| self.next.wrapping_add(n)).find(|n| self.asked[usize::from(*n)].is_none())
    }

    fn take(&mut self, identifier: u8, id: OpId) {
        self.asked[usize::from(identifier)] = Some(id);
        self.busy += 1;
        self.next = identifier.wrapping_add(1);
    }

    fn give_back(&mut self, identifier: u8) {
        if self.asked[usize::from(identifier)].take().is_some() {
            self.busy -= 1;
        }
    }
}

impl Engine for Radius {
    type Request = RadiusRequest;

    fn start(&mut self, id: OpId, request: RadiusRequest, _deadline: Time, cx: &mut Cx<'_>) {
        if self.config.is_none() {
            let failure = Failure::new(Why::BadRequest, Phase::Queue, "no radius_config is given");
            return cx.done(id, Outcome::Failed(failure));
        }
        let now = cx.now();
        let dead = &self.dead[usize::from(request.kind == Kind::Acct)];
        // Those that did not answer lately are asked last.
        let (alive, late): (Vec<usize>, Vec<usize>) =
            (0..dead.len()).partition(|n| dead.get(*n).is_none_or(|t| *t <= now));
        let op = Op {
            kind: request.kind,
            attributes: request.attributes,
            order: alive.into_iter().chain(late).collect(),
            server: 0,
            phase: Phase::Resolve,
            sent: None,
            tries: 0,
            timer: None,
            error: None,
        };
        self.ops.insert(id, op);
        self.next_server(id, cx);
    }

    fn ready(&mut self, key: Key, _readiness: Readiness, cx: &mut Cx<'_>) {
        let mut buffer = [0; packet::MAX_PACKET];
        for _ in 0..BUDGET {
            let Some(socket) = self.sockets.get(key) else { return };
            match socket.io.recv(&mut buffer) {
                Ok(n) => self.received(key, buffer.get(..n).unwrap_or_default(), cx),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => self.gone(key, &e, cx),
            }
        }
        cx.io.again(Source::Radius, key);
    }

    fn timer(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let retries = self.config.as_ref().map_or(0, |c| c.retries);
        let Some(op) = self.ops.get_mut(&id) else { return };
        op.timer = None;
        if op.tries >= retries {
            let detail = format!("no answer to {} requests", u64::from(op.tries) + 1);
            return self.fail_over(id, Why::Timeout, detail, cx);
        }
        op.tries += 1;
        let Some(sent) = &op.sent else { return };
        let Some(socket) = self.sockets.get(sent.socket) else { return };
        let result = socket.io.send(&sent.packet.bytes);
        self.after_send(id, result, cx);
    }

    fn resolved(&mut self, id: OpId, result: Result<Vec<IpAddr>, String>, cx: &mut Cx<'_>) {
        let Some(op) = self.ops.get(&id).filter(|op| op.phase == Phase::Resolve && op.sent.is_none()) else { return };
        let Some(port) = self.server(op.kind, op.server).map(|s| s.port) else { return };
        let wanted = self.config.as_ref().and_then(|c| c.bind);
        let fits = |ip: &&IpAddr| wanted.is_none_or(|b| b.is_ipv4() == ip.is_ipv4());
        match result.as_deref().map(|ips| ips.iter().find(fits)) {
            Ok(Some(ip)) => self.ask(id, SocketAddr::new(*ip, port), cx),
            Ok(None) => self.fail_over(id, Why::Refused, "the name has no address of that kind".into(), cx),
            Err(why) => self.fail_over(id, Why::Refused, why.clone(), cx),
        }
    }

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let Some(op) = self.ops.get_mut(&id) else { return };
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        let detail = op.error.take().map(|(_, text)| text).unwrap_or_default();
        let failure = Failure::new(why, op.phase, detail);
        self.end(id, Outcome::Failed(failure), cx);
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        let op = self.ops.get(&id)?;
        let server = self.server(op.kind, op.server)?;
        Some((format!("radius://{server:?}"), op.phase))
    }
}
