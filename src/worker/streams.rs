//! Messages over connections. A connection belongs to the worker that has it, a message to the owner
//! of its Call-ID: what is read here for another worker goes over the bus to it as a datagram does,
//! and what is to be sent on another worker's connection goes over the bus to that worker.

use super::state::{Dest, Origin, ReplyPath, Worker};
use crate::base::{Key, Str};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::ConnWish;
use crate::net::bus::{Bus, BusError, Peer};
use crate::net::connections::{Closed, Connections, Received, SendError, Why};
use crate::net::listen::Transport as Net;
use crate::net::reactor::{Io, Readiness};
use crate::net::resolver::locate::Destination;
use crate::sip::framer::FrameError;
use crate::sip::{Message, Transport};
use crate::store::{ConnId, Counter};
use crate::transaction::{BranchNo, TxKey};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes to be sent on a connection of the receiver.
pub(super) const BUS_SEND: u8 = 2;
/// A connection that the receiver has sent on has ended.
pub(super) const BUS_CLOSED: u8 = 3;
/// A connection of the receiver gets an alias, or is to be closed.
pub(super) const BUS_ORDER: u8 = 4;

/// Bytes that may wait for room on the bus; beyond, what is sent is lost.
const BACKLOG_BYTES: usize = 16 << 20;

/// What is to be sent on a connection.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Parcel {
    /// The connection, if one is meant.
    conn: Option<ConnId>,
    /// The listener it stands for.
    listener: u16,
    /// The peer, should a new connection be needed.
    addr: SocketAddr,
    /// A new one may be made.
    may_open: bool,
    /// Whoever sent it wants to know when the connection ends.
    watched: bool,
}

/// What a worker is told about one of its connections.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum ConnOrder {
    /// Requests to this port of the peer may use it.
    Alias(u16),
    /// End it.
    Close,
    /// It is not idle for so many seconds to come.
    Keep(u32),
    /// If it is not there any more, the contacts that came over it end.
    Look,
    /// A function of tcpops.
    Wish(ConnWish),
}

/// Values that wait for room on the bus. What came over a connection is not sent again by its
/// peer, so it must not be dropped as a datagram may be: while something waits here, nothing is read from
/// any connection.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<(usize, Option<Peer>, u8, Vec<u8>)>,
    bytes: usize,
}

impl Backlog {
    fn waits_for(&self, to: usize) -> bool {
        self.waiting.iter().any(|(t, ..)| *t == to)
    }
}

impl Worker {
    // ----- what comes in

    /// A listener or a connection is ready.
    pub(super) fn stream_ready(&mut self, key: Key, ready: Readiness) {
        if Connections::is_listener(key) {
            self.accept(key);
        } else if self.streams.ready(key, ready, self.reactor.io(self.now)) {
            self.read_stream(key);
        }
    }

    /// A listener or a connection has had its share of an earlier turn.
    pub(super) fn stream_again(&mut self, key: Key) {
        if Connections::is_listener(key) { self.accept(key) } else { self.read_stream(key) }
    }

    fn accept(&mut self, key: Key) {
        if self.traffic {
            self.streams.accept(key, self.reactor.io(self.now));
        }
    }

    fn read_stream(&mut self, key: Key) {
        let mut share = 0;
        while self.streams.read(key, &mut share, self.reactor.io(self.now)) {
            self.take_messages(key);
        }
    }

    fn take_messages(&mut self, key: Key) {
        loop {
            let received = self.streams.next_message(key, self.reactor.io(self.now));
            let Some(conn) = self.streams.get(key) else { return };
            let origin = Origin { from: conn.remote, listener: conn.listener, conn: Some(self.streams.id(key)) };
            match received {
                Received::Message(bytes) => self.stream_message(bytes, key, origin),
                Received::Broken(error, head) => return self.broken(error, head, origin),
                Received::Nothing => return,
            }
        }
    }

    fn stream_message(&mut self, bytes: Str, key: Key, origin: Origin) {
        self.in_work.begin(&bytes);
        self.faults.look(&bytes);
        let bytes = match self.hooks.incoming.then(|| self.entering(bytes.clone(), origin)) {
            None => bytes,
            Some(Some(bytes)) => bytes,
            Some(None) => return self.in_work.end(),
        };
        let is_reply = bytes.starts_with(b"SIP/");
        let shown = self.hooks.parse_error.map(|_| bytes.clone());
        let parsed = Message::parse(bytes);
        match (&parsed, shown) {
            (Ok(msg), _) => self.learn_alias(msg, key),
            (Err(_), Some(bytes)) => self.malformed(&bytes, origin),
            _ => {}
        }
        self.parsed(parsed, is_reply, origin);
        self.in_work.end();
    }

    /// A stream that cannot be read on: the request to blame is answered if it can be (RFC 3261
    /// 18.3, 21.4.11), then the connection ends.
    fn broken(&mut self, error: FrameError, head: Str, origin: Origin) {
        self.counters.inc(Counter::ErrRequests);
        let Some((status, reason)) = error.answer() else { return };
        let msg = match Message::parse(head) {
            Ok(msg) => msg,
            Err(e) => match e.partial() {
                Some(msg) => msg.clone(),
                None => return,
            },
        };
        if msg.is_request() && crate::sip::reply::may_answer(&msg) {
            self.refuse(&msg, origin, status, reason.as_bytes(), b"");
        }
    }

    /// RFC 5923: the peer can be reached over this connection under its sent-by port.
    fn learn_alias(&mut self, msg: &Message, key: Key) {
        let wanted = self.streams.config().aliases;
        if wanted == 0 || !msg.is_request() {
            return;
        }
        if let Some(via) = msg.top_via()
            && (wanted == 2 || via.params.has(b"alias"))
        {
            self.streams.alias(key, via.port_or_default());
        }
    }

    // ----- what goes out

    /// Which way a request to `addr` leaves: the listener and, for a stream transport, the
    /// connection, which is begun if there is none. `no_new`: only one that is there already.
    pub(super) fn depart(
        &mut self,
        host: &SipHost,
        forced: Option<u16>,
        to: &Destination,
        no_new: bool,
    ) -> Option<Dest> {
        let Destination { transport, addr } = *to;
        let Some(listener) = self.outgoing(host, forced, to) else {
            emit(1, "net", &format!("cannot send to {addr} over {transport}: no listener of that kind"));
            return None;
        };
        let Some(net) = net(transport) else { return Some(Dest { listener, addr, conn: None }) };
        if let Some((number, true)) = host.rare.outbound
            && let Some((id, listener)) = self.streams.numbered(number, &|w| self.incarnation_of(w))
        {
            return Some(Dest { listener, addr, conn: Some(id) });
        }
        let strict = forced.or(host.socket_out) == Some(listener);
        if let Some((id, listener)) = self.find_conn(net, addr, listener, strict) {
            return Some(Dest { listener, addr, conn: Some(id) });
        }
        if no_new {
            return None;
        }
        let conn = self.open_conn(net, listener, addr)?;
        Some(Dest { listener, addr, conn: Some(self.streams.id(conn)) })
    }

    /// Whether the flags of a branch say that no connection is to be opened for it.
    pub(super) fn opens_none(&self, flags: &[Str]) -> bool {
        self.env().settings.no_new_conn_bflag.as_ref().is_some_and(|f| flags.contains(f))
    }

    /// Whether the flags of a request say that no connection is to be opened for its replies.
    pub(super) fn replies_open_none(&self, request: Option<&SipHost>) -> bool {
        let flag = self.env().settings.no_new_conn_rplflag.as_ref();
        flag.is_some_and(|f| request.is_some_and(|h| h.has_flag(f)))
    }

    pub(super) fn find_conn(
        &self,
        transport: Net,
        addr: SocketAddr,
        listener: u16,
        strict: bool,
    ) -> Option<(ConnId, u16)> {
        self.streams.find(transport, addr, listener, strict, &|w| self.incarnation_of(w))
    }

    /// The present incarnation of a worker, if there is one.
    pub(super) fn incarnation_of(&self, worker: usize) -> Option<u32> {
        if worker == self.me { Some(self.bus.me().incarnation) } else { self.bus.peer(worker).map(|p| p.incarnation) }
    }

    /// Begins a connection of this worker.
    fn open_conn(&mut self, transport: Net, listener: u16, addr: SocketAddr) -> Option<Key> {
        let from = self.env().listeners.get(usize::from(listener)).map(|l| l.addr.ip());
        match self.streams.open(transport, listener, from, addr, self.reactor.io(self.now)) {
            Ok(key) => Some(key),
            Err(e) => {
                self.counters.inc(Counter::TcpConnectFailed);
                emit(1, "tcp", &format!("cannot connect to {transport}:{addr}: {e}"));
                None
            }
        }
    }

    /// Sends a request of a transaction, or one without, where [`Worker::depart`] said. `again`: it may go over
    /// another connection than that, if it is gone.
    pub(super) fn send_request(&mut self, dest: &Dest, bytes: &[u8], again: bool) -> bool {
        let passed = match self.hooks.outgoing.then(|| self.passing(dest.listener, dest.addr, bytes)) {
            None => Cow::Borrowed(bytes),
            Some(Some(bytes)) => bytes,
            Some(None) => return true,
        };
        let bytes = &*passed;
        if dest.conn.is_none() {
            return self.send(dest.listener, dest.addr, bytes);
        }
        let parcel =
            Parcel { conn: dest.conn, listener: dest.listener, addr: dest.addr, may_open: again, watched: !again };
        self.send_parcel(parcel, bytes)
    }

    /// Sends a reply back to where its request came from (RFC 3261 18.2.2): over the connection it came
    /// on, or a new one to the sent-by of the Via if that is gone.
    pub(super) fn send_reply(&mut self, path: &ReplyPath, bytes: &[u8]) -> bool {
        match self.hooks.replies.then(|| self.leaving_reply(path, bytes, false)) {
            None => self.send_reply_now(path, bytes),
            Some(Some(bytes)) => self.send_reply_now(path, &bytes),
            Some(None) => true,
        }
    }

    /// The same, without asking a route.
    pub(super) fn send_reply_now(&mut self, path: &ReplyPath, bytes: &[u8]) -> bool {
        if path.conn.is_none() {
            return self.send(path.listener, path.addr, bytes);
        }
        let parcel = Parcel {
            conn: path.conn,
            listener: path.listener,
            addr: path.addr,
            may_open: !path.no_new_conn,
            watched: false,
        };
        let sent = self.send_parcel(parcel, bytes);
        if !sent {
            reply_lost(path.source);
        }
        sent
    }

    /// Sends a message that belongs to no transaction over some connection to `addr`.
    pub(super) fn send_anyhow(&mut self, listener: u16, addr: SocketAddr, bytes: &[u8]) -> bool {
        let parcel = Parcel { conn: None, listener, addr, may_open: true, watched: false };
        self.send_parcel(parcel, bytes)
    }

    fn send_parcel(&mut self, parcel: Parcel, bytes: &[u8]) -> bool {
        if let Some(id) = parcel.conn
            && self.hand_to(id, parcel, bytes)
        {
            return true;
        }
        let transport = self.env().listeners.get(usize::from(parcel.listener)).and_then(|l| net(l.transport));
        let Some(transport) = transport.filter(|_| parcel.may_open) else { return false };
        if let Some((id, _)) = self.find_conn(transport, parcel.addr, parcel.listener, false)
            && Some(id) != parcel.conn
            && self.hand_to(id, parcel, bytes)
        {
            return true;
        }
        let Some(key) = self.open_conn(transport, parcel.listener, parcel.addr) else { return false };
        self.streams.send(key, bytes, self.reactor.io(self.now)).is_ok()
    }

    /// Gives bytes to the worker that has the connection; false if it is gone.
    fn hand_to(&mut self, id: ConnId, parcel: Parcel, bytes: &[u8]) -> bool {
        let owner = usize::from(id.worker);
        if owner != self.me {
            let parcel = Parcel { conn: Some(id), ..parcel };
            let peer = Peer { index: id.worker, incarnation: id.incarnation };
            let Ok(head) = postcard::to_allocvec(&parcel) else { return false };
            return self.bus_stream(owner, Some(peer), BUS_SEND, &head, bytes);
        }
        if id.incarnation != self.bus.me().incarnation {
            return false;
        }
        match self.streams.send(id.key, bytes, self.reactor.io(self.now)) {
            Ok(()) => {
                if parcel.watched {
                    self.streams.used_by(id.key, id.worker);
                }
                true
            }
            Err(SendError::Gone | SendError::Full) => false,
        }
    }

    // ----- over the bus

    /// Puts a value on the bus that must not be lost for want of room: then it waits. False if
    /// its receiver is gone, or too much waits.
    pub(super) fn bus_stream(&mut self, to: usize, peer: Option<Peer>, kind: u8, head: &[u8], bytes: &[u8]) -> bool {
        let mut payload = Vec::with_capacity(1 + head.len() + bytes.len());
        payload.push(head.len() as u8);
        payload.extend_from_slice(head);
        payload.extend_from_slice(bytes);
        let result = if self.backlog.waits_for(to) {
            Err(BusError::Full)
        } else {
            match peer {
                Some(peer) => self.bus.send_to(peer, kind, &payload),
                None => self.bus.send(to, kind, &payload),
            }
        };
        match result {
            Ok(()) => self.counters.inc(Counter::BusSent),
            Err(BusError::Full) if self.backlog.bytes + payload.len() <= BACKLOG_BYTES => {
                self.backlog.bytes += payload.len();
                self.backlog.waiting.push_back((to, peer, kind, payload));
                self.bus.want_space(to);
                let io = self.reactor.io(self.now);
                self.streams.choke(true, io);
            }
            Err(BusError::Full) => {
                self.counters.inc(Counter::BusFull);
                return false;
            }
            Err(_) => {
                self.counters.inc(Counter::BusGone);
                return false;
            }
        }
        true
    }

    /// Pushes on what waits for room on the bus; once per turn.
    pub(super) fn flush_backlog(&mut self) {
        if self.backlog.waiting.is_empty() {
            return;
        }
        let mut full: Vec<usize> = Vec::new();
        for (to, peer, kind, payload) in std::mem::take(&mut self.backlog.waiting) {
            let result = match peer {
                _ if full.contains(&to) => Err(BusError::Full),
                Some(peer) => self.bus.send_to(peer, kind, &payload),
                None => self.bus.send(to, kind, &payload),
            };
            match result {
                Err(BusError::Full) => {
                    if !full.contains(&to) {
                        full.push(to);
                        self.bus.want_space(to);
                    }
                    self.backlog.waiting.push_back((to, peer, kind, payload));
                    continue;
                }
                Ok(()) => self.counters.inc(Counter::BusSent),
                Err(_) => self.counters.inc(Counter::BusGone),
            }
            self.backlog.bytes = self.backlog.bytes.saturating_sub(payload.len());
        }
        if self.backlog.waiting.is_empty() {
            let io = self.reactor.io(self.now);
            self.streams.choke(false, io);
        }
    }

    /// Bytes from another worker for a connection of ours.
    pub(super) fn bus_send(&mut self, from: Peer, head: &[u8], bytes: &[u8]) {
        let Ok(parcel) = postcard::from_bytes::<Parcel>(head) else { return };
        let Some(id) = parcel.conn.filter(|id| usize::from(id.worker) == self.me) else { return };
        if self.streams.send(id.key, bytes, self.reactor.io(self.now)).is_ok() {
            if parcel.watched {
                self.streams.used_by(id.key, from.index);
            }
        } else if parcel.may_open {
            self.send_parcel(Parcel { conn: None, watched: false, ..parcel }, bytes);
        } else if parcel.watched {
            // It ended before the request came; as if it had broken.
            self.tell_closed(from.index, id, false);
        } else {
            reply_lost(parcel.addr);
        }
    }

    fn tell_closed(&mut self, worker: u16, id: ConnId, orderly: bool) {
        if let Ok(head) = postcard::to_allocvec(&(id, orderly)) {
            self.bus_stream(usize::from(worker), None, BUS_CLOSED, &head, b"");
        }
    }

    /// A connection of another worker, which we have sent on, has ended.
    pub(super) fn bus_closed(&mut self, head: &[u8]) {
        if let Ok((id, orderly)) = postcard::from_bytes::<(ConnId, bool)>(head) {
            self.lost_conns.insert(id, orderly);
        }
    }

    /// Another worker's script wants something of a connection of ours.
    pub(super) fn bus_order(&mut self, head: &[u8]) {
        if let Ok((id, order)) = postcard::from_bytes::<(ConnId, ConnOrder)>(head) {
            self.order_conn(id, order);
        }
    }

    /// Does something with a connection, wherever it is; false if it is known to be gone.
    pub(super) fn order_conn(&mut self, id: ConnId, order: ConnOrder) -> bool {
        if usize::from(id.worker) != self.me {
            let peer = Peer { index: id.worker, incarnation: id.incarnation };
            let Ok(head) = postcard::to_allocvec(&(id, order)) else { return false };
            return self.bus_stream(usize::from(id.worker), Some(peer), BUS_ORDER, &head, b"");
        }
        if self.streams.get(id.key).is_none() {
            if matches!(order, ConnOrder::Look) {
                self.contacts_of_lost(id);
            }
            return false;
        }
        match order {
            ConnOrder::Look => {}
            ConnOrder::Alias(port) => self.streams.alias(id.key, port),
            ConnOrder::Close => self.streams.end(id.key, Why::Ordered),
            ConnOrder::Keep(seconds) => {
                self.streams.keep(id.key, self.now + Duration::from_secs(u64::from(seconds)));
            }
            ConnOrder::Wish(wish) => self.fulfil(id.key, wish),
        }
        true
    }

    /// `force_tcp_alias`
    pub(super) fn force_alias(&mut self, host: &SipHost, port: Option<u16>) -> i32 {
        let Some(id) = host.conn else { return -1 };
        let port = port.or_else(|| host.msg.top_via().map(|v| v.port_or_default())).unwrap_or(0);
        if port != 0 && self.order_conn(id, ConnOrder::Alias(port)) { 1 } else { -1 }
    }

    /// The connection a message came over lives that long, also if nothing goes over it.
    pub(super) fn keep_conn(&mut self, host: &SipHost, seconds: u32) -> i32 {
        host.conn.map_or(-1, |id| if self.order_conn(id, ConnOrder::Keep(seconds)) { 1 } else { -1 })
    }

    /// `tcp_close_conn`
    pub(super) fn close_conn(&mut self, peer: SocketAddr) -> i32 {
        match self.find_conn(Net::Tcp, peer, 0, false) {
            Some((id, _)) if self.order_conn(id, ConnOrder::Close) => 1,
            _ => -1,
        }
    }

    // ----- what ends

    /// Writes what this turn produced, and draws the consequences of what ended.
    pub(super) fn flush_streams(&mut self) {
        // Each round finds that connections have ended, or is the last.
        loop {
            let io = self.reactor.io(self.now);
            self.streams.flush(io);
            for closed in self.streams.take_closed() {
                self.stream_closed(&closed);
            }
            if self.lost_conns.is_empty() {
                return;
            }
            // One walk over the transactions, however many connections ended in this turn.
            let lost = std::mem::take(&mut self.lost_conns);
            self.connections_lost(|c| lost.get(&c).copied());
        }
    }

    fn stream_closed(&mut self, closed: &Closed) {
        let level = match closed.why {
            Why::Refused(_) | Why::ConnectTimeout | Why::SlowReader => 1,
            Why::Broken(_) | Why::Framing(_) | Why::SlowMessage | Why::Crowded => 3,
            _ => 4,
        };
        let lost = if closed.lost > 0 { format!("; {} bytes were not sent", closed.lost) } else { String::new() };
        let way = if closed.accepted { "from" } else { "to" };
        emit(
            level,
            "tcp",
            &format!("connection {way} {}:{} ended: {}{lost}", closed.transport, closed.remote, closed.why),
        );
        // Those of a server that ends come again to the next one.
        if !matches!(closed.why, Why::Drained) {
            self.contacts_of_lost(closed.id);
        }
        self.connection_ended(closed);
        // What was not written has not arrived, however orderly the end.
        let orderly = closed.why.is_orderly() && closed.lost == 0;
        for &user in &closed.users {
            if usize::from(user) == self.me {
                self.lost_conns.insert(closed.id, orderly);
            } else {
                self.tell_closed(user, closed.id, orderly);
            }
        }
    }

    /// A worker has died, and its connections with it.
    pub(super) fn worker_died(&mut self, index: usize, incarnation: u32) {
        self.connections_lost(|c| (usize::from(c.worker) == index && c.incarnation == incarnation).then_some(false));
        self.contacts_of_dead(index, incarnation);
    }

    /// Requests that wait for a reply over a connection that is lost fail as if a 503 had come (RFC 3261
    /// 8.1.3.1, 16.9). After an orderly end those go on that have had a provisional reply: the
    /// final one may come over a new connection (18.2.2). `orderly`: how a connection ended; `None` if it did not.
    fn connections_lost(&mut self, orderly: impl Fn(ConnId) -> Option<bool>) {
        let lost: Vec<(TxKey, BranchNo)> = self
            .tm
            .waiting_on(|dest, status| dest.conn.and_then(&orderly).is_some_and(|orderly| !(orderly && status > 0)));
        for (tx, branch) in lost {
            let _ = self.tm.fail_branch(self.now, tx, branch, 503);
        }
        self.flush_transactions();
    }

    /// Ends every connection, when the worker does.
    pub(super) fn end_streams(&mut self) {
        let keys: Vec<Key> = self.streams.iter().map(|(k, _)| k).collect();
        for key in keys {
            self.streams.end(key, Why::Drained);
        }
        let io: Io<'_> = self.reactor.io(self.now);
        self.streams.flush(io);
    }
}

fn reply_lost(to: SocketAddr) {
    emit(1, "tcp", &format!("a reply to {to} is lost: its connection is gone"));
}

/// The stream transports that this server carries.
fn net(transport: Transport) -> Option<Net> {
    match transport {
        Transport::Tcp => Some(Net::Tcp),
        _ => None,
    }
}
