//! Forwarding without state (RFC 3261 16.11), and the resolution of next hops.

use super::build::Hop;
use super::state::{Waiting, Work, Worker};
use crate::base::{Key, Str};
use crate::modules::host::Target;
use crate::modules::request::Outcome;
use crate::net::reactor::Source;
use crate::sip::{Message, Transport};
use crate::transaction::{BranchNo, branch_id};
use std::net::{IpAddr, SocketAddr};

/// A stateless forward to be done.
pub(super) struct ForwardOrder {
    hop: Option<Hop>,
    /// R-URI to write; `None` = a raw copy.
    uri: Option<Str>,
    /// Header lines for a raw copy.
    headers: Option<Str>,
}

impl ForwardOrder {
    /// To `[proto:]host[:port]`, R-URI as it is.
    pub(super) fn to_address(dest: Str) -> ForwardOrder {
        ForwardOrder { hop: Hop::of_address(&dest), uri: Some(Str::default()), headers: None }
    }

    /// To the destination URI, else to the R-URI.
    pub(super) fn routed(du: Option<Str>, uri: Str) -> ForwardOrder {
        let hop = match &du {
            Some(du) => Hop::of_uri(du),
            None => Hop::of_uri(&uri),
        };
        ForwardOrder { hop, uri: Some(uri), headers: None }
    }

    /// A copy of the message as it came.
    pub(super) fn copy(dest: Str, headers: Option<Str>) -> ForwardOrder {
        ForwardOrder { hop: Hop::of_address(&dest), uri: None, headers }
    }
}

/// A name that is being resolved, and who wants it.
pub struct Lookup {
    host: String,
    what: LookupFor,
}

/// Who wants a name.
pub(super) enum LookupFor {
    /// A branch of a relay job.
    Branch {
        /// The job.
        job: Key,
        /// The branch.
        branch: BranchNo,
        /// Port of the next hop.
        port: u16,
        /// Transport to it.
        transport: Transport,
    },
    /// A stateless forward.
    Forward {
        /// The run that called it.
        parked: Key,
        /// What to do.
        order: ForwardOrder,
    },
}

impl Worker {
    /// Starts the resolution of a next hop.
    pub(super) fn look_up(&mut self, hop: &Hop, what: LookupFor) -> Key {
        let host = hop.host.clone();
        let key = self.lookups.insert(Lookup { host: host.clone(), what });
        let io = self.reactor.io(self.now);
        self.driver.resolve_for(Source::Worker, key, &host, io);
        key
    }

    /// A name is known, or is not.
    pub(super) fn resolved(&mut self, key: Key, result: Result<Vec<IpAddr>, String>) {
        let Some(lookup) = self.lookups.remove(key) else { return };
        if let Err(why) = &result {
            crate::modules::emit(1, "dns", &format!("cannot resolve \"{}\": {why}", lookup.host));
        }
        let usable = |ip: &IpAddr| self.env().listeners.iter().any(|l| l.addr.is_ipv4() == ip.is_ipv4());
        let ip = result.ok().and_then(|list| list.iter().copied().find(usable));
        match lookup.what {
            LookupFor::Branch { job, branch, port, transport } => {
                self.branch_resolved(job, branch, transport, ip.map(|ip| SocketAddr::new(ip, port)));
            }
            LookupFor::Forward { parked, order } => {
                let port = order.hop.as_ref().map_or(5060, |h| h.port);
                let rc = match ip {
                    Some(ip) => self.forward_now(parked, &order, SocketAddr::new(ip, port)),
                    None => -1,
                };
                self.work.push_back(Work::Resume(parked, Outcome::Code(rc)));
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
        match hop.literal() {
            Some(addr) => {
                let rc = self.forward_now(parked, &order, addr);
                self.work.push_front(Work::Resume(parked, Outcome::Code(rc)));
            }
            None => {
                let key = self.look_up(&hop, LookupFor::Forward { parked, order });
                if let Some(p) = self.parked.get_mut(parked) {
                    p.waiting = Waiting::Lookup(key);
                }
            }
        }
    }

    fn forward_now(&mut self, parked: Key, order: &ForwardOrder, addr: SocketAddr) -> i32 {
        let transport = order.hop.as_ref().map_or(Transport::Udp, |h| h.transport);
        let Some(p) = self.parked.get(parked) else { return -1 };
        let host = p.run.host().clone();
        let host = &host;
        let Some(dest) = self.depart(host, None, transport, addr, false) else { return -1 };
        let Some(uri) = &order.uri else {
            let mut edits = crate::sip::edits::Edits::new();
            if let Some(lines) = &order.headers {
                edits.append_header(&host.msg, lines.clone());
            }
            let bytes = edits.apply(&host.msg);
            return if self.send_request(&dest, &bytes, true) { 1 } else { -1 };
        };
        let uri = if uri.is_empty() { Str::from(host.current_ruri()) } else { uri.clone() };
        let target = Target { uri, path: host.path.clone(), ..Target::default() };
        let routing = self.routing(&host.msg);
        let Some(branch) = branch_id::stateless(self.tm.keys(), &host.msg, routing) else { return -1 };
        let Some(message) = self.branch_request(host, &target, dest.listener, &branch) else { return -1 };
        self.counters.inc(crate::store::Counter::FwdRequests);
        if self.send_request(&dest, message.bytes(), true) { 1 } else { -1 }
    }

    /// Passes a reply that belongs to no transaction to the next Via (16.11): a 200 whose
    /// transaction died with its process still reaches the caller.
    pub(super) fn forward_reply(&mut self, msg: &Message) {
        let Ok(forwarded) = Message::parse(self.without_our_via(msg)) else { return };
        let ours = msg.top_via().is_some_and(|v| self.env().is_myself(v.host, Some(v.port_or_default())));
        let Some(via) = forwarded.top_via().filter(|_| ours) else {
            self.counters.inc(crate::store::Counter::DropReplies);
            return;
        };
        let (host, port) = via.reply_target();
        let Some(ip) = crate::sip::uri::host_ip(host) else {
            self.counters.inc(crate::store::Counter::DropReplies);
            return;
        };
        let addr = SocketAddr::new(ip, port);
        let transport = via.transport;
        let listener =
            self.env().listeners.iter().position(|l| l.transport == transport && l.addr.is_ipv4() == addr.is_ipv4());
        if let Some(listener) = listener {
            self.counters.inc(crate::store::Counter::FwdReplies);
            self.send(listener as u16, addr, forwarded.bytes());
        }
    }
}
