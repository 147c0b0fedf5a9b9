//! What comes in: parse, find the owner, match, start a run.

use super::state::{Origin, ReplyPath, Role, RoleKind, Worker};
use super::streams;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::net::bus::{ANY_INCARNATION, Bus, BusError, Envelope};
use crate::script::vm::{Finished, Run};
use crate::sip::reply::{self, ReplySpec};
use crate::sip::{Fault, Message, Method, ParseError, validate};
use crate::store::Counter;
use crate::transaction::{BranchId, Disposition, Matched, Output, ReplyMatch};
use std::net::SocketAddr;

/// A received message handed to the worker that owns it.
pub(super) const BUS_MESSAGE: u8 = 1 | ANY_INCARNATION;

/// A tag made here.
pub(super) use crate::modules::local_tag::LocalTag;

/// Messages kept for a worker that is about to begin.
const EARLY: usize = 1000;

impl Worker {
    /// A datagram from the network.
    pub(super) fn datagram(&mut self, data: &[u8], from: SocketAddr, listener: u16) {
        let origin = Origin { from, listener, conn: None };
        self.counters.inc(Counter::UdpReceived);
        // Keep-alives of clients behind NAT (RFC 5626 3.5.1) and other noise.
        if data.len() < 16 {
            return;
        }
        self.in_work.begin(data);
        self.faults.look(data);
        let changed = match self.hooks.incoming.then(|| self.entering(Str::from(data), origin)) {
            None => None,
            Some(Some(bytes)) => Some(bytes),
            Some(None) => return self.in_work.end(),
        };
        let data = changed.as_deref().unwrap_or(data);
        let parsed = Message::parse_slice(data);
        if parsed.is_err() && self.hooks.parse_error.is_some() {
            self.malformed(data, origin);
        }
        self.parsed(parsed, data.starts_with(b"SIP/"), origin);
        self.in_work.end();
    }

    /// A message has been read, or what should be one.
    pub(super) fn parsed(&mut self, parsed: Result<Message, ParseError>, is_reply: bool, origin: Origin) {
        match parsed {
            Ok(msg) => match self.stranger(&msg) {
                Some(owner) => self.hand_over(owner, &msg, origin),
                None => self.message(msg, origin),
            },
            Err(error) => {
                self.counters.inc(if is_reply { Counter::ErrReplies } else { Counter::ErrRequests });
                if let Some((partial, fault)) = error.answer() {
                    let partial = partial.clone();
                    self.faulty(partial, origin, fault);
                }
            }
        }
    }

    /// A message that is ours.
    pub(super) fn message(&mut self, msg: Message, origin: Origin) {
        if msg.is_request() {
            self.counters.inc(Counter::RcvRequests);
            self.request(msg, origin);
        } else {
            self.counters.inc(Counter::RcvReplies);
            self.reply(msg, origin);
        }
    }

    /// The worker that owns a message, if it is not this one. Indices come from the network: they
    /// are asked about, never trusted.
    fn stranger(&self, msg: &Message) -> Option<usize> {
        if self.count < 2 {
            return None;
        }
        let owner = if msg.is_request() {
            self.owner_of(msg.call_id())
        } else {
            let id = BranchId::parse(msg.top_via()?.branch()?)?;
            let owner = usize::from(id.worker);
            let current = self.bus.peer(owner).is_some_and(|p| p.incarnation == id.incarnation);
            if owner >= self.count || !current {
                return None;
            }
            owner
        };
        (owner != self.me).then_some(owner)
    }

    fn hand_over(&mut self, owner: usize, msg: &Message, origin: Origin) {
        let head = postcard::to_allocvec(&origin).unwrap_or_default();
        if origin.conn.is_some() {
            // Nobody repeats what came over a connection: it waits if there is no room.
            self.bus_stream(owner, None, BUS_MESSAGE, &head, msg.bytes());
            return;
        }
        self.scratch.clear();
        self.scratch.push(head.len() as u8);
        self.scratch.extend_from_slice(&head);
        self.scratch.extend_from_slice(msg.bytes());
        let payload = std::mem::take(&mut self.scratch);
        match self.bus.send(owner, BUS_MESSAGE, &payload) {
            Ok(()) => self.counters.inc(Counter::BusSent),
            // UDP requests are retransmitted; a reply is too, or its request is.
            Err(BusError::Full) => self.counters.inc(Counter::BusFull),
            Err(_) => self.counters.inc(Counter::BusGone),
        }
        self.scratch = payload;
    }

    /// A value from another worker.
    pub(super) fn bus_value(&mut self, envelope: &Envelope, payload: &[u8]) {
        self.counters.inc(Counter::BusReceived);
        if envelope.kind == super::courier::BUS_TASK {
            // A task worker does not know yet what every run begins with.
            if self.group.is_some() && !self.traffic {
                return self.early.push_back((*envelope, payload.to_vec()));
            }
            return self.task_word(envelope.from, payload);
        }
        if envelope.kind == super::locks::BUS_LOCK {
            return self.lock_word(envelope.from, payload);
        }
        if envelope.kind == super::asks::BUS_ASK {
            return self.ask_word(envelope.from, payload);
        }
        if envelope.kind == super::unreachable::BUS_UNREACHABLE {
            return self.unreachable_told(payload);
        }
        if !self.traffic && envelope.kind == BUS_MESSAGE {
            // This worker does not know yet what every run begins with.
            if self.early.len() < EARLY {
                self.early.push_back((*envelope, payload.to_vec()));
            } else {
                self.counters.inc(Counter::BusFull);
            }
            return;
        }
        let Some((&n, rest)) = payload.split_first() else { return };
        let Some((head, bytes)) = rest.split_at_checked(usize::from(n)) else { return };
        match envelope.kind {
            BUS_MESSAGE => {}
            streams::BUS_SEND => return self.bus_send(envelope.from, head, bytes),
            streams::BUS_CLOSED => return self.bus_closed(head),
            streams::BUS_ORDER => return self.bus_order(head),
            _ => return,
        }
        let Ok(origin) = postcard::from_bytes::<Origin>(head) else { return };
        if usize::from(origin.listener) >= self.udp.len() {
            return;
        }
        self.in_work.begin(bytes);
        if let Ok(msg) = Message::parse_slice(bytes) {
            self.message(msg, origin);
        }
        self.in_work.end();
    }

    fn request(&mut self, msg: Message, origin: Origin) {
        if let Err(fault) = validate::validate(&msg) {
            self.counters.inc(Counter::ErrRequests);
            if reply::may_answer(&msg) {
                self.faulty(msg, origin, fault);
            }
            return;
        }
        let matched = self.tm.match_request(self.now, &msg);
        match matched {
            Matched::Retransmission(_) | Matched::Echo(_) => {
                self.counters.inc(Counter::TmAbsorbed);
                return self.flush_transactions();
            }
            Matched::AckNon2xx(_) => return self.flush_transactions(),
            Matched::Ack2xx(None) if self.is_ack_of_ours(&msg) => {
                self.counters.inc(Counter::SlReceivedAcks);
                return self.filtered_ack(msg, origin);
            }
            Matched::New if self.refuses_new(&msg) => {
                self.counters.inc(Counter::Overload503);
                let header: &[u8] = b"Retry-After: 5\r\n";
                return self.refuse(&msg, origin, 503, b"Service Unavailable", header);
            }
            _ => {}
        }
        let Some(route) = self.routes.request else { return };
        let host = self.host(msg, origin);
        let Some((host, avps)) = self.pre_routed(host) else { return };
        let run = Run::new(self.program(), route, host).with_avps(avps);
        self.drive(run, Role::new(RoleKind::Request(matched)));
        self.flush_transactions();
    }

    /// The ACK to a reply that was sent without state.
    fn filtered_ack(&mut self, msg: Message, origin: Origin) {
        let Some(route) = self.hooks.filtered_ack else { return };
        let host = self.host(msg, origin);
        let run = Run::new(self.program(), route, host);
        self.drive(run, Role::new(RoleKind::Event));
        self.flush_transactions();
    }

    /// A request that cannot be worked on: error_route decides, or it is answered as RFC 3261 says.
    fn faulty(&mut self, msg: Message, origin: Origin, fault: Fault) {
        let Some(route) = self.routes.error else {
            return self.refuse(&msg, origin, fault.status, fault.reason.as_bytes(), b"");
        };
        let mut host = self.host(msg, origin);
        host.last_error = Some((fault.status, Str::from(fault.reason)));
        let run = Run::new(self.program(), route, host);
        self.drive(run, Role::new(RoleKind::Error));
        self.flush_transactions();
    }

    /// Whether a new out-of-dialog request is refused: overload, or the server drains.
    fn refuses_new(&self, msg: &Message) -> bool {
        (self.age.overload || self.drain.is_some())
            && msg.to_tag().is_none()
            && !matches!(msg.method(), Method::Ack | Method::Cancel | Method::Bye)
    }

    /// The ACK to a stateless negative reply of ours carries our tag.
    fn is_ack_of_ours(&self, msg: &Message) -> bool {
        let prefix = self.env().tag_prefix.as_bytes();
        msg.to_tag().is_some_and(|t| !prefix.is_empty() && t.starts_with(prefix))
    }

    /// The host of a run about a message that came from outside.
    pub(super) fn host(&mut self, msg: Message, origin: Origin) -> SipHost {
        self.messages = self.messages.wrapping_add(1);
        let mut host = SipHost::new(self.env().clone(), msg, origin.from, origin.listener);
        host.conn = origin.conn;
        host.message_id = self.messages;
        host.received_at = self.env().clock.micros();
        host
    }

    fn reply(&mut self, msg: Message, origin: Origin) {
        if self.answers_ping(&msg) || self.contact_answers(&msg, origin) {
            return;
        }
        if validate::validate(&msg).is_err() {
            self.counters.inc(Counter::ErrReplies);
            return;
        }
        let ours = |v: &crate::sip::via::Via<'_>| self.env().is_myself(v.host, Some(v.port_or_default()));
        if self.env().settings.check_via && !msg.top_via().is_some_and(|v| ours(&v)) {
            self.counters.inc(Counter::DropReplies);
            return;
        }
        let (mut msg, mut before) = (msg, None);
        if self.hooks.pre_routing.is_some() {
            let host = self.host(msg, origin);
            let Some((host, avps)) = self.pre_routed(host) else { return };
            msg = host.msg.clone();
            before = Some((host, avps));
        }
        if let Some(route) = self.routes.reply {
            let (host, avps) = before.unwrap_or_else(|| (self.host(msg, origin), Default::default()));
            let run = Run::new(self.program(), route, host).with_avps(avps);
            self.drive(run, Role::new(RoleKind::AnyReply));
        } else {
            self.matched_reply(msg, origin);
        }
        self.flush_transactions();
    }

    /// A reply that the global onreply_route has let pass.
    pub(super) fn matched_reply(&mut self, msg: Message, origin: Origin) {
        match self.tm.match_reply(self.now, &msg) {
            ReplyMatch::Deliver(tx, branch) => self.deliver_reply(tx, branch, msg, origin),
            ReplyMatch::Absorbed(..) | ReplyMatch::Queued(..) => {}
            ReplyMatch::NotOurs if self.comes_too_late(&msg) => self.counters.inc(Counter::DropReplies),
            ReplyMatch::NotOurs => match self.routes.stray_reply {
                Some(route) => {
                    let host = self.host(msg, origin);
                    let run = Run::new(self.program(), route, host);
                    self.drive(run, Role::new(RoleKind::StrayReply));
                }
                None => self.forward_reply(&msg),
            },
        }
    }

    /// The route of a reply without a transaction has ended: it goes on to the next Via, or not.
    pub(super) fn stray_reply_done(&mut self, finished: Finished<SipHost>) {
        let host = finished.host;
        if finished.end.dropped || finished.end.zero {
            self.counters.inc(Counter::DropReplies);
        } else if host.edits.is_empty() {
            self.forward_reply(&host.msg);
        } else if let Ok(changed) = host.edits.applied(&host.msg) {
            self.forward_reply(&changed);
        }
    }

    /// A reply to a transaction of this very process that has ended: the caller has had its answer. A 2xx
    /// survives (RFC 3261 16.7 step 5), and so does what a process that died left behind.
    fn comes_too_late(&self, msg: &Message) -> bool {
        let id = msg.top_via().and_then(|via| via.branch()).and_then(BranchId::parse);
        let current = self.bus.peer(self.me).map(|p| p.incarnation);
        !(200..300).contains(&msg.status())
            && id.is_some_and(|id| usize::from(id.worker) == self.me && Some(id.incarnation) == current)
    }

    /// Runs the branch's onreply_route, or passes the reply on.
    pub(super) fn deliver_reply(
        &mut self,
        tx: crate::transaction::TxKey,
        branch: crate::transaction::BranchNo,
        msg: Message,
        origin: Origin,
    ) {
        let data = self.tm.user(tx);
        let route = data.and_then(|d| {
            let own = d.branches.get(usize::from(branch)).and_then(|b| b.reply_route);
            own.unwrap_or_else(|| d.host.as_ref().and_then(|h| h.armed.reply))
        });
        match route {
            Some(route) => self.run_reply_route(tx, branch, route, msg, origin),
            None => {
                let bytes = self.without_our_via(&msg, Some((tx, branch)));
                let status = msg.status();
                let disposition = Disposition::Forward { reply: msg, bytes, status };
                self.reply_processed(tx, branch, disposition);
            }
        }
    }

    fn run_reply_route(
        &mut self,
        tx: crate::transaction::TxKey,
        branch: crate::transaction::BranchNo,
        route: u32,
        msg: Message,
        origin: Origin,
    ) {
        let mut host = self.host(msg, origin);
        let own = self.tm.view(tx).is_some_and(|v| v.server.is_none());
        let with_avps = self.env().settings.onreply_avps || own;
        let mut avps = None;
        if let Some(data) = self.tm.user_mut(tx) {
            if let Some(base) = &data.host {
                host.flags.clone_from(&base.flags);
                host.armed = base.armed;
                host.tm.clone_from(&base.tm);
            }
            if let Some(b) = data.branches.get(usize::from(branch)) {
                host.other.clone_from(&b.sent);
                host.bflags.clone_from(&b.target.flags);
                host.bavps.clone_from(&b.bavps);
                if let Some(route) = b.reply_route {
                    host.armed.reply = route;
                }
                if let Some(route) = b.branch_failure {
                    host.armed.branch_failure = route;
                }
            }
            if with_avps {
                // A copy: another branch's reply may come while this one waits.
                avps = Some(data.avps.clone());
            }
        }
        host.tm.branch = Some(branch);
        host.tm.reply_code = host.msg.status();
        let mut role = Role::within(RoleKind::Reply(branch), tx);
        self.refresh(&mut host, &role);
        let mut run = Run::new(self.program(), route, host);
        if let Some(avps) = avps {
            run.set_avps(avps);
        }
        self.tm.keep(tx);
        role.kept = true;
        self.drive(run, role);
    }

    /// A negative reply of the server itself, without state.
    pub(super) fn refuse(&mut self, msg: &Message, origin: Origin, status: u16, reason: &[u8], extra: &[u8]) {
        let tag = self.local_tag(msg);
        let env = self.env().clone();
        let spec = ReplySpec {
            status,
            reason,
            to_tag: Some(&tag),
            extra,
            server: env.settings.server_header.as_deref(),
            received: Some(origin.from),
            ..ReplySpec::default()
        };
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        reply::build(msg, &spec, &mut out);
        let path = self.reply_path(msg, origin, false);
        self.send_reply(&path, &out);
        self.scratch = out;
    }

    /// Where the replies to a request go (RFC 3261 18.2.2, RFC 3581 4).
    pub(super) fn reply_path(&self, msg: &Message, origin: Origin, rport: bool) -> ReplyPath {
        let Origin { from: source, listener, conn } = origin;
        let mut addr = source;
        // Over a connection the source port is only this connection's.
        if let Some(via) = msg.top_via()
            && (conn.is_some() || (!rport && !via.has_rport()))
        {
            addr.set_port(via.port_or_default());
            if let Some(ip) = via.maddr().filter(|_| conn.is_none()).and_then(crate::sip::uri::host_ip) {
                addr.set_ip(ip);
            }
        }
        ReplyPath { listener, addr, source, rport, conn, no_new_conn: false }
    }

    /// The To tag of replies made here: the same for every reply to one request and its CANCEL.
    pub(super) fn local_tag(&self, msg: &Message) -> LocalTag {
        crate::modules::local_tag::local_tag(self.env(), msg)
    }

    /// An output of the transactions that is a reply to be worked on.
    pub(super) fn delivered(&mut self, output: Output<super::state::TxData, super::state::Dest, ReplyPath>) {
        if let Output::Deliver { tx, branch, reply } = output {
            let origin = match self.tm.branch(tx, branch).and_then(|b| b.dest.copied()) {
                Some(d) => Origin { from: d.addr, listener: d.listener, conn: d.conn },
                None => Origin { from: SocketAddr::from(([0, 0, 0, 0], 0)), listener: 0, conn: None },
            };
            self.deliver_reply(tx, branch, reply, origin);
        }
    }
}
