//! Host names to addresses, on the loop: no thread, no getaddrinfo.
//!
//! A look-up asks for A and AAAA at the same time, follows aliases, tries the servers in turn and
//! the search domains one after the other. Everybody who wants the same name meanwhile shares the
//! look-up. `/etc/hosts` comes first, answers are kept as long as they hold. IPv4 addresses come
//! before IPv6 ones.
//!
//! Whoever asks is named by source and key, and finds the answer in [`Resolver::poll_answer`]; if
//! it is gone by then, its key, which carries a generation, finds nobody.

pub mod cache;
pub mod config;
pub mod message;
mod query;
pub mod zone;

use crate::base::{Key, Slab, TimerKey};
use crate::net::reactor::{Io, Source};
use cache::{Cache, Known};
pub use config::ResolverConfig;
pub use message::{Record, RecordType};
use message::{Reply, wire_name};
use query::{Look, Query};
use rustls::crypto::{SecureRandom, ring};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zone::Zone;

/// Who asked: handed back with the answer.
pub type Waiter = (Source, Key);
/// The addresses of a name, or why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// Aliases followed by queries of their own.
const MAX_HOPS: u32 = 8;
/// Who may wait for one name.
const MAX_WAITERS: usize = 65_536;

/// One name that somebody waits for.
struct Lookup {
    /// As it was asked for, in lower case.
    host: String,
    /// Full names still to be tried.
    candidates: VecDeque<String>,
    /// The one being tried.
    current: String,
    waiters: Vec<Waiter>,
    queries: Vec<Key>,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    error: Option<String>,
    /// When it answers with what it has.
    timer: Option<TimerKey>,
    /// Whether `timer` is the short one for the other address family.
    grace: bool,
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
    by_name: HashMap<String, Key>,
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
            by_name: HashMap::new(),
            queries: Slab::new(),
            queue: VecDeque::new(),
            running: 0,
            preferred: 0,
            answers: VecDeque::new(),
            zone: None,
        }
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

    /// Asks for the addresses of `host`, a name or an address. The answer comes from
    /// [`Resolver::poll_answer`], perhaps at once.
    pub fn lookup(&mut self, host: &str, waiter: Waiter, io: &mut Io<'_>) {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return self.answers.push_back((waiter, Ok(vec![ip])));
        }
        let host = host.to_ascii_lowercase();
        if wire_name(&host).is_none() {
            return self.answers.push_back((waiter, Err(format!("{host:?} is not a host name"))));
        }
        if let Some(ips) = self.known_here(&host) {
            return self.answers.push_back((waiter, Ok(ips)));
        }
        if let Some(lookup) = self.by_name.get(&host).and_then(|k| self.lookups.get_mut(*k)) {
            if lookup.waiters.len() < MAX_WAITERS {
                lookup.waiters.push(waiter);
            } else {
                self.answers.push_back((waiter, Err(format!("{host}: too many wait for this name"))));
            }
            return;
        }
        if self.running >= self.config.in_flight && self.queue.len() >= self.config.queue {
            return self.answers.push_back((waiter, Err(format!("{host}: too many look-ups"))));
        }
        let key = self.lookups.insert(Lookup {
            candidates: self.config.candidates(&host).into(),
            current: String::new(),
            waiters: vec![waiter],
            queries: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            error: None,
            timer: None,
            grace: false,
            host: host.clone(),
        });
        self.by_name.insert(host, key);
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
                    lookup.error.get_or_insert_with(|| "the name servers did not answer in time".into());
                    self.finish(key, io);
                }
            }
        }
        self.start_waiting(io);
    }

    /// What needs no name server.
    fn known_here(&self, host: &str) -> Option<Vec<IpAddr>> {
        let bare = host.strip_suffix('.').unwrap_or(host);
        if let Some(ips) = self.config.hosts.get(bare) {
            return Some(ips.clone());
        }
        // RFC 6761 section 6.3.
        let local = bare == "localhost" || bare.ends_with(".localhost");
        local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
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
            let found = !lookup.v4.is_empty() || !lookup.v6.is_empty();
            let next = if found { None } else { lookup.candidates.pop_front() };
            let Some(name) = next else { return self.finish(key, io) };
            lookup.current.clone_from(&name);
            for kind in [RecordType::A, RecordType::Aaaa] {
                match self.cache.get(&name, kind, io.now).cloned() {
                    Some(known) => self.learn(key, kind, known),
                    None => self.ask(key, kind, &name, io),
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
                    l.error = Some(error);
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
            Reply::Records(records, ttl) => (Known::Records(records), ttl),
            Reply::NoData(ttl) => (Known::NoData, ttl),
            Reply::NoName(ttl) => (Known::NoName, ttl),
            Reply::Alias(name, ttl) => {
                query.hops += 1;
                if query.hops > MAX_HOPS {
                    return self.end_query(key, Err("the name is an alias of an alias without end".into()), io);
                }
                query.name = name;
                query.ttl = query.ttl.min(ttl);
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
            Err(error) => lookup.error = Some(error),
        }
        self.next_candidate(query.lookup, io);
        if let Some(lookup) = self.lookups.get_mut(query.lookup)
            && !lookup.grace
            && (!lookup.v4.is_empty() || !lookup.v6.is_empty())
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
        match known {
            Known::Records(records) => {
                let ips = records.into_iter().filter_map(|r| match r {
                    Record::Address(ip) => Some(ip),
                    _ => None,
                });
                let family = if kind == RecordType::A { &mut lookup.v4 } else { &mut lookup.v6 };
                family.extend(ips);
            }
            Known::NoData => drop(lookup.error.get_or_insert_with(|| "the name has no address".into())),
            Known::NoName => drop(lookup.error.get_or_insert_with(|| "no such name".into())),
        }
    }

    /// Answers everybody who waits for a name.
    fn finish(&mut self, key: Key, io: &mut Io<'_>) {
        let Some(mut lookup) = self.lookups.remove(key) else { return };
        self.by_name.remove(&lookup.host);
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
        let answer = if lookup.v4.is_empty() {
            let why = lookup.error.unwrap_or_else(|| "the name has no address".into());
            Err(format!("{}: {why}", lookup.host))
        } else {
            Ok(lookup.v4)
        };
        self.answers.extend(lookup.waiters.into_iter().map(|w| (w, answer.clone())));
    }
}

/// RFC 5452 section 9.2: not to be guessed.
fn random_id(random: &dyn SecureRandom) -> u16 {
    let mut bytes = [0; 2];
    // Where the system has no randomness, the connected socket's port is what is left.
    let _ = random.fill(&mut bytes);
    u16::from_be_bytes(bytes)
}
