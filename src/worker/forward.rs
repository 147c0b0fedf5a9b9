//! Forwarding without state (RFC 3261 16.11), and the resolution of next hops.

use super::state::{ReplyPath, Work, Worker};
use crate::base::{Key, Str, Time};
use crate::modules::emit;
use crate::modules::host::{SipHost, Target};
use crate::modules::kamailio::via as extras;
use crate::modules::request::Outcome;
use crate::net::reactor::Source;
use crate::net::resolver::locate::{Destination, Hop, Locator, Next};
use crate::net::resolver::{Failure, Found, Question};
use crate::sip::{Message, Transport, Via};
use crate::transaction::branch_id;
use std::net::{IpAddr, SocketAddr};

/// Names that may be looked up at a time for replies without a transaction.
const MAX_REPLY_LOOKUPS: usize = 10_000;

/// A stateless forward to be done.
pub(super) struct ForwardOrder {
    hop: Option<Hop>,
    /// R-URI to write; `None` = a raw copy.
    uri: Option<Str>,
    /// Header lines for a raw copy.
    headers: Option<Str>,
    /// Bytes instead of the message, and the listener they leave from.
    data: Option<(Str, Option<u16>)>,
}

impl ForwardOrder {
    /// To `[proto:]host[:port]`, R-URI as it is.
    pub(super) fn to_address(dest: Str) -> ForwardOrder {
        ForwardOrder { hop: Hop::of_address(&dest), uri: Some(Str::default()), headers: None, data: None }
    }

    /// To the destination URI, else to the R-URI.
    pub(super) fn routed(du: Option<Str>, uri: Str) -> ForwardOrder {
        let hop = match &du {
            Some(du) => Hop::of_uri(du),
            None => Hop::of_uri(&uri),
        };
        ForwardOrder { hop, uri: Some(uri), headers: None, data: None }
    }

    /// A copy of the message as it came.
    pub(super) fn copy(dest: Str, headers: Option<Str>) -> ForwardOrder {
        ForwardOrder { hop: Hop::of_address(&dest), uri: None, headers, data: None }
    }

    /// Bytes as they are, to where a URI leads.
    pub(super) fn data(uri: &[u8], socket: Option<u16>, data: Str) -> ForwardOrder {
        ForwardOrder { hop: Hop::of_uri(uri), uri: None, headers: None, data: Some((data, socket)) }
    }
}

/// A question that was put to the resolver, and who wants the answer.
pub struct Lookup {
    question: String,
    since: Time,
    what: LookupFor,
}

/// Who wants an answer.
pub(super) enum LookupFor {
    /// A branch on its way.
    Way(Key),
    /// A stateless forward.
    Forward(Box<Trip>),
    /// A reply that no transaction expects; whether it may go to ourselves.
    Reply(Message, Box<Locator>, bool),
    /// A host of a destination.
    Destination(String),
    /// A contact that is to be asked whether it is there.
    Contact(Box<super::keepalive::Ask>, Box<Locator>),
}

/// A stateless forward on its way.
pub(super) struct Trip {
    /// The run that called it.
    parked: Key,
    order: ForwardOrder,
    locator: Locator,
}

impl Worker {
    /// Puts a question to the resolver.
    pub(super) fn look_up(&mut self, question: Question, what: LookupFor) -> Key {
        let text = format!("{} {:?}", question.name, question.want);
        let key = self.lookups.insert(Lookup { question: text, since: self.now, what });
        let io = self.reactor.io(self.now);
        self.driver.resolve_for(Source::Worker, key, question, io);
        key
    }

    /// The resolver has answered.
    pub(super) fn resolved(&mut self, key: Key, answer: Result<Found, Failure>) {
        let Some(lookup) = self.lookups.remove(key) else { return };
        let took = self.now.since(lookup.since);
        if self.env().settings.dns.threshold.is_some_and(|t| took > t) {
            emit(1, "dns", &format!("slow: {} took {} ms", lookup.question, took.as_millis()));
        }
        match lookup.what {
            LookupFor::Way(way) => self.way_resolved(way, answer),
            LookupFor::Forward(mut trip) => {
                trip.locator.answer(answer);
                let parked = trip.parked;
                if let Some(rc) = self.travel(trip) {
                    self.work.push_back(Work::Resume(parked, Outcome::Code(rc)));
                }
            }
            LookupFor::Contact(ask, mut locator) => {
                locator.answer(answer);
                self.ask_on(ask, locator);
            }
            LookupFor::Destination(name) => self.destination_found(&name, answer),
            LookupFor::Reply(message, mut locator, to_us) => {
                locator.answer(answer);
                self.send_reply_to(message, locator, to_us);
            }
        }
        self.flush_transactions();
    }

    /// The run is parked: forward, at once if the next hop is an address.
    pub(super) fn begin_forward(&mut self, parked: Key, order: ForwardOrder) {
        let Some(hop) = order.hop.clone() else {
            self.work.push_front(Work::Resume(parked, Outcome::Code(-1)));
            return;
        };
        // The same for every retransmission of the request (RFC 3263 section 4.4).
        let seed = self.parked.get(parked).and_then(|p| {
            let (msg, source) = (&p.run.host().msg, p.run.host().source);
            branch_id::stateless(self.tm.keys(), msg, self.stateless_routing(msg, source)).map(|text| self.hash(&text))
        });
        let locator = Locator::new(hop, self.policy(seed.unwrap_or_default()));
        if let Some(rc) = self.travel(Box::new(Trip { parked, order, locator })) {
            self.work.push_front(Work::Resume(parked, Outcome::Code(rc)));
        }
    }

    /// Sends to the first destination there is; nothing if a name has to be looked up before.
    fn travel(&mut self, mut trip: Box<Trip>) -> Option<i32> {
        loop {
            match trip.locator.next() {
                Next::Ask(question) => {
                    self.look_up(question, LookupFor::Forward(trip));
                    return None;
                }
                Next::Try(to) => {
                    let rc = self.forward_now(trip.parked, &trip.order, &to);
                    if rc > 0 || !trip.locator.may_have_more() {
                        return Some(rc);
                    }
                }
                Next::End(why) => {
                    if let Some(why) = why {
                        emit(1, "dns", &format!("no next hop for \"{}\": {why}", trip.locator.host_name()));
                    }
                    return Some(-1);
                }
            }
        }
    }

    fn forward_now(&mut self, parked: Key, order: &ForwardOrder, to: &Destination) -> i32 {
        let Some(p) = self.parked.get(parked) else { return -1 };
        let host = p.run.host().clone();
        let asked = self.hooks.onsend.is_some() || extras::are_asked(&host);
        let avps = if asked { p.run.avps().clone() } else { Default::default() };
        let host = &host;
        let forced = order.data.as_ref().and_then(|(_, socket)| *socket);
        let Some(dest) = self.depart(host, forced, to, false) else { return -1 };
        if let Some((data, _)) = &order.data {
            if self.too_large(dest.listener, dest.addr, data) {
                return -1;
            }
            return if self.send_request(&dest, data, true) { 1 } else { -1 };
        }
        let Some(uri) = &order.uri else {
            let mut edits = crate::sip::edits::Edits::new();
            if let Some(lines) = &order.headers {
                edits.append_header(&host.msg, lines.clone());
            }
            let bytes = edits.apply(&host.msg);
            let bytes = Str::from(bytes);
            if !self.forward_may_leave(host, avps, &bytes, &dest) {
                return 1;
            }
            return if self.send_request(&dest, &bytes, true) { 1 } else { -1 };
        };
        let uri = if uri.is_empty() { Str::from(host.current_ruri()) } else { uri.clone() };
        let target = Target { uri, path: host.path.clone(), ..Target::default() };
        let routing = self.stateless_routing(&host.msg, host.source);
        let Some(branch) = branch_id::stateless(self.tm.keys(), &host.msg, routing) else { return -1 };
        let Some(mut message) = self.branch_request(host, &target, dest.listener, &branch, Some(&avps)) else {
            return -1;
        };
        let mut dest = dest;
        if self.is_large(to, message.bytes().len()) {
            // Only over a connection that is there: nobody would notice if none could be made.
            let over_tcp = Destination { transport: Transport::Tcp, addr: to.addr };
            let there = self.outgoing(host, None, &over_tcp).is_some();
            if let Some(d) = there.then(|| self.depart(host, None, &over_tcp, true)).flatten()
                && let Some(m) = self.branch_request(host, &target, d.listener, &branch, Some(&avps))
            {
                (dest, message) = (d, m);
            }
        }
        if self.too_large(dest.listener, dest.addr, message.bytes()) {
            return -1;
        }
        if !self.forward_may_leave(host, avps, message.bytes_str(), &dest) {
            return 1;
        }
        self.counters.inc(crate::store::Counter::FwdRequests);
        if self.send_request(&dest, message.bytes(), true) { 1 } else { -1 }
    }

    /// Passes a reply that belongs to no transaction to the next Via (16.11): a 200 whose
    /// transaction died with its process still reaches the caller.
    pub(super) fn forward_reply(&mut self, msg: &Message) {
        let found = self.next_via(msg).filter(|_| self.lookups.len() < MAX_REPLY_LOOKUPS);
        let (Some((hop, to_us)), Ok(forwarded)) = (found, Message::parse(self.without_our_via(msg, None))) else {
            self.counters.inc(crate::store::Counter::DropReplies);
            return;
        };
        let locator = Locator::new(hop, self.policy(0));
        self.send_reply_to(forwarded, Box::new(locator), to_us);
    }

    /// `sl_forward_reply`: the same at once, as the script has changed the reply, with another status if one is given. The code
    /// for the script.
    pub(super) fn forward_changed(&mut self, host: &SipHost, status: Option<(u16, Str)>) -> i32 {
        let mut edits = host.edits.clone();
        if let Some((code, phrase)) = status {
            edits.set_status(&host.msg, code, &phrase);
        }
        match edits.applied(&host.msg) {
            Ok(msg) if msg.is_reply() && self.next_via(&msg).is_some() => {
                self.forward_reply(&msg);
                1
            }
            _ => -1,
        }
    }

    /// Where a reply without a transaction goes: its second Via, and whether that may be ourselves.
    /// `None` if the first is not ours (18.1.2).
    fn next_via(&self, msg: &Message) -> Option<(Hop, bool)> {
        let ours = |v: &Via<'_>| self.env().is_myself(v.host, Some(v.port_or_default()));
        let top = msg.top_via().filter(ours)?;
        let next = msg.vias().nth(1)?.ok()?;
        // A reply may come back to us where its request has been here twice. Only for what we did
        // send: else one datagram with many of our Vias would keep us busy as many times.
        let genuine = top.branch().is_some_and(|b| branch_id::is_genuine_stateless(self.tm.keys(), b));
        Some((Hop::of_via(&next)?, genuine))
    }

    /// Sends a reply without a transaction to the first destination there is (RFC 3263 section 5).
    fn send_reply_to(&mut self, reply: Message, mut locator: Box<Locator>, to_us: bool) {
        loop {
            match locator.next() {
                Next::Ask(question) => {
                    self.look_up(question, LookupFor::Reply(reply, locator, to_us));
                    return;
                }
                Next::Try(to) => {
                    let fits = |l: &crate::modules::env::Listen| {
                        l.transport == to.transport && l.addr.is_ipv4() == to.addr.is_ipv4()
                    };
                    let host = to.addr.ip().to_string();
                    let again = !to_us && self.env().is_myself(host.as_bytes(), Some(to.addr.port()));
                    let listener = self.env().listeners.iter().position(fits);
                    if let Some(listener) = listener.filter(|_| !again && is_somebody(to.addr)) {
                        self.counters.inc(crate::store::Counter::FwdReplies);
                        if self.hooks.replies {
                            let listener = listener as u16;
                            let path = ReplyPath {
                                listener,
                                addr: to.addr,
                                source: to.addr,
                                rport: false,
                                conn: None,
                                no_new_conn: false,
                            };
                            if let Some(bytes) = self.leaving_reply(&path, reply.bytes(), false) {
                                self.send(listener, to.addr, &bytes);
                            }
                            return;
                        }
                        self.send(listener as u16, to.addr, reply.bytes());
                        return;
                    }
                }
                Next::End(_) => {
                    self.counters.inc(crate::store::Counter::DropReplies);
                    return;
                }
            }
        }
    }
}

/// Whether a reply may be sent there at all (RFC 4475 3.3.10).
fn is_somebody(addr: SocketAddr) -> bool {
    let nobody = match addr.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_unspecified() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    !nobody && addr.port() != 0
}
