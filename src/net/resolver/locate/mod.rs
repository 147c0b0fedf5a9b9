//! RFC 3263: from the next hop of a request to the transports, addresses and ports to try, in their
//! order. No socket and no clock: a [`Locator`] says which question it wants to have answered, or which
//! destination comes next, and expands names only when their turn has come.
//!
//! ```text
//! numeric host, or a port is written      no look-up of services
//! transport is written                    SRV of that transport, else addresses
//! otherwise                               NAPTR, else SRV of each transport, else addresses
//! ```

mod hop;
mod order;

pub use hop::Hop;

use super::message::Record;
use super::question::{Failure, Fault, Found, Question, Want};
use crate::sip::Transport;
use order::Dice;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Destinations given for one next hop.
const MAX_GIVEN: usize = 32;
/// Questions asked for one next hop: a domain cannot send us round for ever.
const MAX_QUESTIONS: u16 = 64;
/// Names still to be expanded at a time.
const MAX_PENDING: usize = 64;

/// Over which transports and to which versions of IP this server can send.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reach {
    v4: u8,
    v6: u8,
}

impl Reach {
    /// Adds what a listener at an address of this kind can reach.
    pub fn add(&mut self, transport: Transport, ipv6: bool) {
        let bits = if ipv6 { &mut self.v6 } else { &mut self.v4 };
        *bits |= bit(transport);
    }

    /// Whether anything can be sent over this transport.
    pub fn has(self, transport: Transport) -> bool {
        (self.v4 | self.v6) & bit(transport) != 0
    }

    /// Whether this address can be sent to over this transport.
    pub fn fits(self, transport: Transport, ip: &IpAddr) -> bool {
        let bits = if ip.is_ipv4() { self.v4 } else { self.v6 };
        bits & bit(transport) != 0
    }

    /// Whether IPv6 addresses can be sent to at all.
    pub fn has_ipv6(self) -> bool {
        self.v6 != 0
    }

    /// Which addresses of a name are of use for this transport.
    fn want(self, transport: Transport, ipv6: bool) -> Option<Want> {
        let (v4, v6) = (self.v4 & bit(transport) != 0, ipv6 && self.v6 & bit(transport) != 0);
        match (v4, v6) {
            (true, true) => Some(Want::Addresses),
            (true, false) => Some(Want::V4),
            (false, true) => Some(Want::V6),
            (false, false) => None,
        }
    }
}

fn bit(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
        Transport::Tls => 4,
        Transport::Sctp => 8,
        Transport::TlsSctp => 16,
        Transport::Ws => 32,
        Transport::Wss => 64,
        Transport::Other => 0,
    }
}

/// How next hops are located.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What can be sent to.
    pub reach: Reach,
    /// Whether NAPTR records are asked for.
    pub naptr: bool,
    /// Whether IPv6 addresses of names are used.
    pub ipv6: bool,
    /// Transports in the order in which they are tried where the domain says nothing.
    pub order: [Transport; 3],
    /// Decides the order among equals. The same seed gives the same order, as long as the answers are the
    /// same (RFC 3263 section 4.4: a stateless proxy sends retransmissions where the request went).
    pub seed: u64,
}

impl Policy {
    /// Locating for what `reach` says, with all defaults.
    pub fn new(reach: Reach) -> Policy {
        Policy { reach, naptr: true, ipv6: reach.has_ipv6(), order: DEFAULT_ORDER, seed: 0 }
    }
}

/// Transports in the order in which they are tried where nothing else decides.
pub const DEFAULT_ORDER: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// Where a request may go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Destination {
    /// How.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
}

/// What a [`Locator`] wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This question answered; asked again, it repeats it.
    Ask(Question),
    /// Try this.
    Try(Destination),
    /// There is nothing (more) to try; why, if nothing was found at all.
    End(Option<String>),
}

/// One thing that is still to be looked at.
#[derive(Clone, Debug)]
enum Plan {
    Naptr,
    Srv { transport: Transport, name: String },
    Host { transport: Transport, host: String, port: u16 },
}

#[derive(Clone, Debug)]
struct Step {
    plan: Plan,
    /// Void once any SRV record has been found.
    fallback: bool,
}

/// The search for the destinations of one next hop.
#[derive(Clone, Debug)]
pub struct Locator {
    hop: Hop,
    policy: Policy,
    dice: Dice,
    todo: VecDeque<Step>,
    asked: Option<Step>,
    /// Of a numeric host.
    literal: Option<Destination>,
    ready: VecDeque<Destination>,
    given: SmallVec<[Destination; 2]>,
    error: Option<String>,
    /// Questions that may still be asked.
    left: u16,
}

impl Locator {
    /// Begins with a next hop.
    pub fn new(hop: Hop, policy: Policy) -> Locator {
        let mut locator = Locator {
            dice: Dice::new(policy.seed),
            policy,
            todo: VecDeque::new(),
            asked: None,
            literal: None,
            ready: VecDeque::new(),
            given: SmallVec::new(),
            error: None,
            left: MAX_QUESTIONS,
            hop,
        };
        locator.begin();
        locator
    }

    /// Section 4.1 and 4.2.
    fn begin(&mut self) {
        let written = match self.hop.transport {
            Some(t) => match effective(t, self.hop.secure) {
                Some(t) if self.policy.reach.has(t) => Some(t),
                _ => {
                    let scheme = if self.hop.secure { "sips" } else { "sip" };
                    return self.fail(format!("no socket sends {} for {scheme} URIs", t.as_param()));
                }
            },
            None => None,
        };
        if let Some(ip) = self.hop.ip() {
            let Some(transport) = written.or_else(|| self.preferred(Some(&ip))) else { return self.no_transport() };
            if !self.policy.reach.fits(transport, &ip) {
                return self.fail(format!("no {transport} socket sends to addresses like {ip}"));
            }
            let port = self.hop.port.unwrap_or(transport.default_port());
            self.literal = Some(Destination { transport, addr: SocketAddr::new(ip, port) });
            return;
        }
        match (self.hop.port, written) {
            (Some(port), _) => match written.or_else(|| self.preferred(None)) {
                Some(transport) => self.host(transport, port),
                None => self.no_transport(),
            },
            (None, Some(transport)) => {
                if let Some(name) = service(transport, &self.hop.host) {
                    self.push(Plan::Srv { transport, name }, true);
                }
                self.host(transport, transport.default_port());
            }
            (None, None) if self.preferred(None).is_none() => self.no_transport(),
            (None, None) if self.policy.naptr => self.push(Plan::Naptr, false),
            (None, None) => self.services(),
        }
    }

    /// The transport where nothing is written: UDP for sip, TLS for sips (section 4.1), or what there is.
    fn preferred(&self, ip: Option<&IpAddr>) -> Option<Transport> {
        let reach = self.policy.reach;
        let fits = |t: Transport| ip.map_or(reach.has(t), |ip| reach.fits(t, ip));
        let mut order = self.policy.order.into_iter().filter(|t| t.is_secure() == self.hop.secure);
        order.find(|t| fits(*t)).or(Some(Transport::Tls).filter(|t| self.hop.secure && fits(*t)))
    }

    /// No NAPTR: every transport's SRV record in turn, then the plain addresses.
    fn services(&mut self) {
        for transport in self.policy.order {
            if self.policy.reach.has(transport)
                && (!self.hop.secure || transport.is_secure())
                && let Some(name) = service(transport, &self.hop.host)
            {
                self.push(Plan::Srv { transport, name }, true);
            }
        }
        if let Some(transport) = self.preferred(None) {
            self.host(transport, transport.default_port());
        }
    }

    fn host(&mut self, transport: Transport, port: u16) {
        let host = self.hop.host.clone();
        self.push(Plan::Host { transport, host, port }, true);
    }

    fn push(&mut self, plan: Plan, fallback: bool) {
        if self.todo.len() < MAX_PENDING {
            self.todo.push_back(Step { plan, fallback });
        }
    }

    fn fail(&mut self, why: String) {
        self.error.get_or_insert(why);
    }

    fn no_transport(&mut self) {
        let what = if self.hop.secure { "sips URIs need a TLS socket" } else { "no socket can send it" };
        self.fail(what.to_string());
    }

    /// What comes next.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Next {
        loop {
            if let Some(step) = &self.asked {
                match self.question(&step.plan) {
                    Some(question) => return Next::Ask(question),
                    None => self.asked = None,
                }
            }
            if let Some(destination) = self.literal.take().or_else(|| self.ready.pop_front()) {
                if self.given.contains(&destination) {
                    continue;
                }
                if self.given.len() >= MAX_GIVEN {
                    self.ready.clear();
                    self.todo.clear();
                    return Next::End(None);
                }
                self.given.push(destination);
                return Next::Try(destination);
            }
            if self.left == 0 && !self.todo.is_empty() {
                self.todo.clear();
                self.fail(format!("{}: too many names behind it", self.hop.host));
            }
            match self.todo.pop_front() {
                Some(step) => {
                    self.left -= 1;
                    self.asked = Some(step);
                }
                None if self.given.is_empty() => {
                    let why = self.error.clone();
                    return Next::End(Some(why.unwrap_or_else(|| format!("{}: nothing to send to", self.hop.host))));
                }
                None => return Next::End(None),
            }
        }
    }

    fn question(&self, plan: &Plan) -> Option<Question> {
        Some(match plan {
            Plan::Naptr => Question { name: self.hop.host.clone(), want: Want::Naptr },
            Plan::Srv { name, .. } => Question { name: name.clone(), want: Want::Srv },
            Plan::Host { transport, host, .. } => {
                Question { name: host.clone(), want: self.policy.reach.want(*transport, self.policy.ipv6)? }
            }
        })
    }

    /// The host name or address this began with.
    pub fn host_name(&self) -> &str {
        &self.hop.host
    }

    /// Whether there may be further destinations: no promise, they may turn out not to exist.
    pub fn may_have_more(&self) -> bool {
        self.literal.is_some() || !self.ready.is_empty() || !self.todo.is_empty() || self.asked.is_some()
    }

    /// Whether the host is an address: nothing is looked up, and there is one destination at most.
    pub fn is_literal(&self) -> bool {
        self.hop.ip().is_some()
    }

    /// The answer to the question that [`Locator::next`] asked.
    pub fn answer(&mut self, answer: Result<Found, Failure>) {
        let Some(step) = self.asked.take() else { return };
        if let Err(failure) = &answer
            && (failure.fault != Fault::Absent || matches!(step.plan, Plan::Host { .. }))
        {
            self.fail(failure.text.clone());
        }
        match step.plan {
            Plan::Naptr => self.naptr(answer),
            Plan::Srv { transport, .. } => self.srv(transport, answer),
            Plan::Host { transport, port, .. } => {
                if let Ok(Found::Addresses(mut ips)) = answer {
                    ips.retain(|ip| self.policy.reach.fits(transport, ip) && (self.policy.ipv6 || ip.is_ipv4()));
                    self.dice.rotate(&mut ips);
                    let found = ips.into_iter().map(|ip| Destination { transport, addr: SocketAddr::new(ip, port) });
                    self.ready.extend(found);
                }
            }
        }
    }

    /// The rules of the domain: those for transports that we have, of the lowest order (RFC 3403
    /// section 4.1), by preference.
    fn naptr(&mut self, answer: Result<Found, Failure>) {
        let records: Rc<[Record]> = match answer {
            Ok(Found::Records(records)) => records,
            _ => Rc::from([]),
        };
        let mut rules: Vec<(u16, u16, Transport, bool, &str)> = Vec::new();
        for record in records.iter() {
            let Record::Naptr { order, preference, flags, service, replacement, .. } = record else { continue };
            let Some(transport) = naptr_transport(service) else { continue };
            let terminal = flags.eq_ignore_ascii_case("s");
            let usable = (terminal || flags.eq_ignore_ascii_case("a"))
                && !is_root(replacement)
                && self.policy.reach.has(transport)
                && (!self.hop.secure || transport.is_secure());
            if usable {
                rules.push((*order, *preference, transport, terminal, replacement));
            }
        }
        let Some(lowest) = rules.iter().map(|r| r.0).min() else { return self.services() };
        rules.retain(|r| r.0 == lowest);
        rules.sort_by_key(|r| r.1);
        for (_, _, transport, terminal, name) in rules {
            let name = name.trim_end_matches('.').to_string();
            if terminal {
                self.push(Plan::Srv { transport, name: absolute(name) }, false);
            } else {
                self.push(Plan::Host { transport, host: absolute(name), port: transport.default_port() }, false);
            }
        }
        if let Some(transport) = self.preferred(None) {
            self.host(transport, transport.default_port());
        }
    }

    /// The servers of one service.
    fn srv(&mut self, transport: Transport, answer: Result<Found, Failure>) {
        let Ok(Found::Records(records)) = answer else { return };
        let mut servers: Vec<order::Server> = Vec::new();
        for record in records.iter() {
            if let Record::Srv { priority, weight, port, target } = record {
                servers.push(order::Server { priority: *priority, weight: *weight, port: *port, target });
            }
        }
        if servers.is_empty() {
            return;
        }
        // RFC 2782: a single "." says that the service is decidedly not available.
        servers.retain(|s| !is_root(s.target));
        if servers.is_empty() {
            self.fail(format!("{}: the domain offers no SIP over {transport}", self.hop.host));
            self.todo
                .retain(|s| !(s.fallback && matches!(&s.plan, Plan::Host { transport: t, .. } if *t == transport)));
            return;
        }
        self.todo.retain(|s| !s.fallback);
        let ordered = order::arrange(servers, &mut self.dice);
        let mut rest = std::mem::take(&mut self.todo);
        for server in ordered {
            let host = absolute(server.target.trim_end_matches('.').to_string());
            self.push(Plan::Host { transport, host, port: server.port }, false);
        }
        rest.truncate(MAX_PENDING);
        self.todo.append(&mut rest);
    }
}

/// Names of records are complete: no search domain is tried for them.
fn absolute(mut name: String) -> String {
    name.push('.');
    name
}

fn is_root(name: &str) -> bool {
    name.is_empty() || name == "."
}

/// What a written transport means with a scheme (RFC 3261 section 26.2.2: sips over TCP is TLS).
fn effective(transport: Transport, secure: bool) -> Option<Transport> {
    match (transport, secure) {
        (Transport::Other, _) | (Transport::Udp, true) => None,
        (Transport::Tcp, true) => Some(Transport::Tls),
        (Transport::Sctp, true) => Some(Transport::TlsSctp),
        (Transport::Ws, true) => Some(Transport::Wss),
        (t, _) => Some(t),
    }
}

/// The SRV name of SIP over a transport at a domain; WebSocket servers have none.
fn service(transport: Transport, domain: &str) -> Option<String> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Sctp => "_sip._sctp",
        Transport::TlsSctp => "_sips._sctp",
        Transport::Ws | Transport::Wss | Transport::Other => return None,
    };
    Some(format!("{prefix}.{domain}"))
}

/// The transport of a NAPTR service (RFC 3263 section 4.1, RFC 4168, RFC 7118 section 9.2).
fn naptr_transport(service: &str) -> Option<Transport> {
    const SERVICES: [(&str, Transport); 7] = [
        ("SIP+D2U", Transport::Udp),
        ("SIP+D2T", Transport::Tcp),
        ("SIPS+D2T", Transport::Tls),
        ("SIP+D2S", Transport::Sctp),
        ("SIPS+D2S", Transport::TlsSctp),
        ("SIP+D2W", Transport::Ws),
        ("SIPS+D2W", Transport::Wss),
    ];
    SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(service)).map(|(_, t)| *t)
}

#[cfg(test)]
mod tests;
