//! Names to addresses and services, on the loop: no thread, no getaddrinfo.
//!
//! A look-up asks for all record types it needs at the same time (A and AAAA), follows aliases, tries
//! the servers in turn and the search domains one after the other. Everybody who wants the same of the
//! same name meanwhile shares the look-up. `/etc/hosts` comes first, answers are kept as long as they
//! hold. IPv4 addresses come before IPv6 ones. [`locate`] finds next hops (RFC 3263) on top of that.
//!
//! Whoever asks is named by source and key, and finds the answer in [`Resolver::poll_answer`]; if
//! it is gone by then, its key, which carries a generation, finds nobody.

pub mod cache;
pub mod config;
pub mod locate;
pub mod message;
mod query;
pub mod question;
pub mod zone;

use crate::base::{Key, Slab, TimerKey};
use crate::net::reactor::{Io, Source};
use cache::{Cache, Known};
pub use config::{ResolverConfig, ResolverOptions};
pub use message::{Record, RecordType};
use message::{Reply, wire_name};
use query::{Look, Query};
pub use question::{Failure, Fault, Found, Question, Want};
use rustls::crypto::{SecureRandom, ring};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use zone::Zone;

/// Who asked: handed back with the answer.
pub type Waiter = (Source, Key);
/// What was found, or why nothing was.
pub type Answer = Result<Found, Failure>;

/// Aliases followed by queries of their own.
const MAX_HOPS: u32 = 8;
/// Who may wait for one name.
const MAX_WAITERS: usize = 65_536;

/// A failure of the name servers is remembered this long, in seconds (RFC 9520 section 3.2: at least one).
const FAILURE_TTL: u32 = 2;

/// One question that somebody waits for.
struct Lookup {
    /// As it was asked, the name in lower case.
    question: Question,
    /// Full names still to be tried.
    candidates: VecDeque<String>,
    /// The one being tried.
    current: String,
    waiters: Vec<Waiter>,
    queries: Vec<Key>,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    records: Option<Rc<[Record]>>,
    error: Option<(Fault, String)>,
    /// When it answers with what it has.
    timer: Option<TimerKey>,
    /// Whether `timer` is the short one for the other address family.
    grace: bool,
}

impl Lookup {
    fn has_found(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty() || self.records.is_some()
    }
}

/// What a key is about: its index's low bit.
enum About {
    Query(Key),
    Lookup(Key),
}

fn query_token(key: Key) -> Key {
    Key { index: key.index << 1, generation: key.generation }
}

fn lookup_token(key: Key) -> Key {
    Key { index: key.index << 1 | 1, generation: key.generation }
}

fn parse_token(token: Key) -> About {
    let key = Key { index: token.index >> 1, generation: token.generation };
    if token.index & 1 == 0 { About::Query(key) } else { About::Lookup(key) }
}

/// The resolver of one process.
pub struct Resolver {
    config: ResolverConfig,
    random: &'static dyn SecureRandom,
    cache: Cache,
    lookups: Slab<Lookup>,
    by_question: HashMap<Question, Key>,
    queries: Slab<Query>,
    /// Look-ups that wait for others to end.
    queue: VecDeque<Key>,
    running: usize,
    /// The server asked first: the last one that did not let us wait.
    preferred: usize,
    answers: VecDeque<(Waiter, Answer)>,
    /// In a simulation: who answers in the servers' place.
    zone: Option<Zone>,
}

impl Resolver {
    /// A resolver with an empty cache. Must be made after fork.
    pub fn new(config: ResolverConfig) -> Resolver {
        Resolver {
            cache: Cache::new(config.cache),
            config,
            random: ring::default_provider().secure_random,
            lookups: Slab::new(),
            by_question: HashMap::new(),
            queries: Slab::new(),
            queue: VecDeque::new(),
            running: 0,
            preferred: 0,
            answers: VecDeque::new(),
            zone: None,
        }
    }

    /// From now on, names are looked up as this says; look-ups in flight end as they began.
    pub fn configure(&mut self, config: ResolverConfig) {
        self.config = config;
        self.preferred = 0;
    }

    /// A resolver for a simulation: nothing leaves, the zone answers.
    pub fn simulated(zone: Zone) -> Resolver {
        let server = SocketAddr::from(([0, 0, 0, 0], 53));
        let config = ResolverConfig { servers: vec![server], ..ResolverConfig::default() };
        Resolver { zone: Some(zone), ..Resolver::new(config) }
    }

    /// In a simulation: what the name servers know.
    pub fn zone(&mut self) -> Option<&mut Zone> {
        self.zone.as_mut()
    }

    /// Names being looked up.
    pub fn len(&self) -> usize {
        self.lookups.len()
    }

    /// Whether no name is being looked up.
    pub fn is_empty(&self) -> bool {
        self.lookups.is_empty()
    }

    /// Asks. For addresses, the name may also be an address itself. The answer comes from
    /// [`Resolver::poll_answer`], perhaps at once.
    pub fn lookup(&mut self, mut question: Question, waiter: Waiter, io: &mut Io<'_>) {
        question.name.make_ascii_lowercase();
        if let Some(answer) = self.known_here(&question) {
            return self.answers.push_back((waiter, answer));
        }
        let refuse = |text: String| (waiter, Err(Failure { fault: Fault::Refused, text }));
        if let Some(lookup) = self.by_question.get(&question).and_then(|k| self.lookups.get_mut(*k)) {
            if lookup.waiters.len() < MAX_WAITERS {
                lookup.waiters.push(waiter);
            } else {
                self.answers.push_back(refuse(format!("{}: too many wait for this name", question.name)));
            }
            return;
        }
        if self.running >= self.config.in_flight && self.queue.len() >= self.config.queue {
            return self.answers.push_back(refuse(format!("{}: too many look-ups", question.name)));
        }
        let key = self.lookups.insert(Lookup {
            candidates: self.config.candidates(&question.name).into(),
            current: String::new(),
            waiters: vec![waiter],
            queries: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            records: None,
            error: None,
            timer: None,
            grace: false,
            question: question.clone(),
        });
        self.by_question.insert(question, key);
        self.queue.push_back(key);
        self.start_waiting(io);
    }

    /// The next answer. Each waiter gets exactly one.
    pub fn poll_answer(&mut self) -> Option<(Waiter, Answer)> {
        self.answers.pop_front()
    }

    /// An fd registered under [`Source::Resolver`] is ready, or the resolver asked to be called again.
    pub fn ready(&mut self, token: Key, io: &mut Io<'_>) {
        if let About::Query(key) = parse_token(token)
            && let Some(query) = self.queries.get_mut(key)
        {
            match query.look() {
                Look::Blocked => {}
                Look::More => io.again(Source::Resolver, token),
                Look::Reply(reply) => self.replied(key, reply, io),
                Look::Failed(error) => self.try_next(key, error, io),
            }
        }
        self.start_waiting(io);
    }

    /// A timer armed under [`Source::Resolver`] fired.
    pub fn timer(&mut self, token: Key, io: &mut Io<'_>) {
        match parse_token(token) {
            About::Query(key) => {
                if let Some(query) = self.queries.get_mut(key) {
                    query.timer = None;
                    let servers = self.config.servers.len().max(1);
                    // The next queries begin with a server that answers.
                    if query.server == self.config.servers.get(self.preferred % servers).copied() {
                        self.preferred = (self.preferred + 1) % servers;
                    }
                    self.try_next(key, "no answer".into(), io);
                }
            }
            About::Lookup(key) => {
                if let Some(lookup) = self.lookups.get_mut(key) {
                    lookup.timer = None;
                    lookup
                        .error
                        .get_or_insert_with(|| (Fault::Unanswered, "the name servers did not answer in time".into()));
                    self.finish(key, io);
                }
            }
        }
        self.start_waiting(io);
    }

    /// What needs no name server.
    fn known_here(&self, question: &Question) -> Option<Answer> {
        let Question { name, want } = question;
        if want.is_address() {
            let bare = name.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(name);
            if let Ok(ip) = bare.parse::<IpAddr>() {
                return Some(Ok(Found::Addresses(vec![ip])));
            }
        }
        if wire_name(name).is_none() {
            return Some(Err(Failure { fault: Fault::Refused, text: format!("{name:?} is not a host name") }));
        }
        if !want.is_address() {
            return None;
        }
        let bare = name.strip_suffix('.').unwrap_or(name);
        let fitting = |ips: &[IpAddr]| ips.iter().copied().filter(|ip| want.fits(ip)).collect::<Vec<_>>();
        let listed = self.config.hosts.get(bare).map(|ips| fitting(ips));
        if let Some(ips) = listed.filter(|ips| !ips.is_empty()) {
            return Some(Ok(Found::Addresses(ips)));
        }
        // RFC 6761 section 6.3.
        let local = bare == "localhost" || bare.ends_with(".localhost");
        local.then(|| Ok(Found::Addresses(fitting(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]))))
    }

    fn start_waiting(&mut self, io: &mut Io<'_>) {
        while self.running < self.config.in_flight
            && let Some(key) = self.queue.pop_front()
        {
            let deadline = io.now + self.config.total;
            let Some(lookup) = self.lookups.get_mut(key) else { continue };
            lookup.timer = Some(io.arm(deadline, Source::Resolver, lookup_token(key)));
            self.running += 1;
            self.next_candidate(key, io);
        }
    }

    /// Asks for the next of a look-up's full names that is not answered from the cache; ends the
    /// look-up when there is none, or nothing better can come.
    fn next_candidate(&mut self, key: Key, io: &mut Io<'_>) {
        loop {
            let Some(lookup) = self.lookups.get_mut(key) else { return };
            if !lookup.queries.is_empty() {
                return;
            }
            let next = if lookup.has_found() { None } else { lookup.candidates.pop_front() };
            let Some(name) = next else { return self.finish(key, io) };
            lookup.current.clone_from(&name);
            for kind in record_types(lookup.question.want) {
                match self.cache.get(&name, *kind, io.now).cloned() {
                    Some(known) => self.learn(key, *kind, known),
                    None => self.ask(key, *kind, &name, io),
                }
            }
        }
    }

    /// Starts a query; if no server can even be asked, that is the look-up's error.
    fn ask(&mut self, lookup: Key, kind: RecordType, name: &str, io: &mut Io<'_>) {
        let Some(name) = wire_name(name) else { return };
        if self.config.rotate {
            self.preferred = (self.preferred + 1) % self.config.servers.len().max(1);
        }
        let key = self.queries.insert(Query::new(lookup, kind, name, self.preferred));
        match self.send_to_next(key, io) {
            Ok(()) => {
                if let Some(l) = self.lookups.get_mut(lookup) {
                    l.queries.push(key);
                }
            }
            Err(error) => {
                self.queries.remove(key);
                if let Some(l) = self.lookups.get_mut(lookup) {
                    l.error = Some((Fault::Unanswered, error));
                }
            }
        }
    }

    /// Asks the next server that lets itself be asked.
    fn send_to_next(&mut self, key: Key, io: &mut Io<'_>) -> Result<(), String> {
        let servers = self.config.servers.len();
        let most = servers.saturating_mul(self.config.attempts.max(1));
        let Some(query) = self.queries.get_mut(key) else { return Ok(()) };
        while query.tries < most {
            let at = (query.first + query.tries) % servers.max(1);
            query.tries += 1;
            let Some(server) = self.config.servers.get(at) else { break };
            let asked = match &self.zone {
                Some(zone) => query.ask_zone(zone, *server, query_token(key), io),
                None => query.ask_udp(*server, random_id(self.random), query_token(key), io),
            };
            match asked {
                Ok(()) => {
                    query.timer = Some(io.arm(io.now + self.config.timeout, Source::Resolver, query_token(key)));
                    return Ok(());
                }
                Err(e) => query.error = format!("name server {}: {e}", server.ip()),
            }
        }
        query.close(io);
        Err(std::mem::take(&mut query.error))
    }

    /// A server did not work out.
    fn try_next(&mut self, key: Key, error: String, io: &mut Io<'_>) {
        let Some(query) = self.queries.get_mut(key) else { return };
        query.error = match query.server {
            Some(server) => format!("name server {}: {error}", server.ip()),
            None => error,
        };
        if let Err(error) = self.send_to_next(key, io) {
            self.end_query(key, Err(error), io);
        }
    }

    fn replied(&mut self, key: Key, reply: Reply, io: &mut Io<'_>) {
        let Some(query) = self.queries.get_mut(key) else { return };
        let known = match reply {
            Reply::Records(records, ttl) => (Known::Records(records.into()), self.config.hold(ttl)),
            Reply::NoData(ttl) => (Known::NoData, ttl.min(self.config.max_negative_ttl)),
            Reply::NoName(ttl) => (Known::NoName, ttl.min(self.config.max_negative_ttl)),
            Reply::Alias(name, ttl) => {
                query.hops += 1;
                if query.hops > MAX_HOPS {
                    return self.end_query(key, Err("the name is an alias of an alias without end".into()), io);
                }
                query.name = name;
                query.ttl = query.ttl.min(self.config.hold(ttl));
                query.tries = query.tries.saturating_sub(1);
                return self.try_next(key, "no answer".into(), io);
            }
            Reply::Truncated => {
                let sent = query.ask_tcp(random_id(self.random), query_token(key), io);
                match sent {
                    Ok(()) => {
                        let deadline = io.now + self.config.timeout;
                        query.timer = Some(io.arm(deadline, Source::Resolver, query_token(key)));
                    }
                    Err(e) => self.try_next(key, e.to_string(), io),
                }
                return;
            }
            Reply::NotUnderstood if query.edns => {
                // RFC 6891 section 7: the same server again, without EDNS.
                query.edns = false;
                query.tries = query.tries.saturating_sub(1);
                return self.try_next(key, "FORMERR".into(), io);
            }
            Reply::NotUnderstood => return self.try_next(key, "FORMERR".into(), io),
            Reply::ServerError(e) => return self.try_next(key, e, io),
            Reply::Foreign => return,
        };
        self.end_query(key, Ok(known), io);
    }

    /// A query has ended; when its look-up has no other, that goes on.
    fn end_query(&mut self, key: Key, result: Result<(Known, u32), String>, io: &mut Io<'_>) {
        let Some(mut query) = self.queries.remove(key) else { return };
        query.close(io);
        let Some(lookup) = self.lookups.get_mut(query.lookup) else { return };
        lookup.queries.retain(|q| *q != key);
        match result {
            Ok((known, ttl)) => {
                self.cache.insert(&lookup.current, query.kind, known.clone(), ttl.min(query.ttl), io.now);
                self.learn(query.lookup, query.kind, known);
            }
            Err(error) => {
                let known = Known::Failed(error.clone());
                self.cache.insert(&lookup.current, query.kind, known, FAILURE_TTL, io.now);
                lookup.error = Some((Fault::Unanswered, error));
            }
        }
        self.next_candidate(query.lookup, io);
        if let Some(lookup) = self.lookups.get_mut(query.lookup)
            && !lookup.grace
            && lookup.has_found()
        {
            // The other address family gets a little more time only.
            lookup.grace = true;
            if let Some(timer) = lookup.timer.take() {
                io.disarm(timer);
            }
            let deadline = io.now + self.config.family_grace;
            lookup.timer = Some(io.arm(deadline, Source::Resolver, lookup_token(query.lookup)));
        }
    }

    fn learn(&mut self, key: Key, kind: RecordType, known: Known) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let missing = match lookup.question.want {
            Want::Srv => "the name has no SRV record",
            Want::Naptr => "the name has no NAPTR record",
            Want::Ptr => "the address has no name",
            _ => "the name has no address",
        };
        match (known, kind) {
            (Known::Records(records), RecordType::Srv | RecordType::Naptr | RecordType::Ptr) => {
                lookup.records = Some(records)
            }
            (Known::Records(records), _) => {
                let ips = records.iter().filter_map(|r| match r {
                    Record::Address(ip) => Some(*ip),
                    _ => None,
                });
                let family = if kind == RecordType::A { &mut lookup.v4 } else { &mut lookup.v6 };
                family.extend(ips);
            }
            (Known::NoData, _) => drop(lookup.error.get_or_insert_with(|| (Fault::Absent, missing.into()))),
            (Known::NoName, _) => drop(lookup.error.get_or_insert_with(|| (Fault::Absent, "no such name".into()))),
            (Known::Failed(why), _) => lookup.error = Some((Fault::Unanswered, why)),
        }
    }

    /// Answers everybody who waits for a name.
    fn finish(&mut self, key: Key, io: &mut Io<'_>) {
        let Some(mut lookup) = self.lookups.remove(key) else { return };
        self.by_question.remove(&lookup.question);
        self.running = self.running.saturating_sub(1);
        if let Some(timer) = lookup.timer.take() {
            io.disarm(timer);
        }
        for query in lookup.queries.drain(..) {
            if let Some(mut query) = self.queries.remove(query) {
                query.close(io);
            }
        }
        lookup.v4.append(&mut lookup.v6);
        let answer = match lookup.records {
            Some(records) => Ok(Found::Records(records)),
            None if !lookup.v4.is_empty() => Ok(Found::Addresses(lookup.v4)),
            None => {
                let (fault, why) = lookup.error.unwrap_or_else(|| (Fault::Absent, "nothing is known of it".into()));
                Err(Failure { fault, text: format!("{}: {why}", lookup.question.name) })
            }
        };
        self.answers.extend(lookup.waiters.into_iter().map(|w| (w, answer.clone())));
    }
}

/// The types of records that are asked for, all at once.
fn record_types(want: Want) -> &'static [RecordType] {
    match want {
        Want::Addresses => &[RecordType::A, RecordType::Aaaa],
        Want::V4 => &[RecordType::A],
        Want::V6 => &[RecordType::Aaaa],
        Want::Srv => &[RecordType::Srv],
        Want::Naptr => &[RecordType::Naptr],
        Want::Ptr => &[RecordType::Ptr],
    }
}

/// RFC 5452 section 9.2: not to be guessed.
fn random_id(random: &dyn SecureRandom) -> u16 {
    let mut bytes = [0; 2];
    // Where the system has no randomness, the connected socket's port is what is left.
    let _ = random.fill(&mut bytes);
    u16::from_be_bytes(bytes)
}
