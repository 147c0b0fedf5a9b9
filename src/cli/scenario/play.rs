//! Plays a scenario: its statements one after the other on a simulated worker, up to the first that does not
//! come true.

use super::compare::differences;
use super::message::{Msg, address_in};
use super::operations::{self, Rule};
use super::party::{Memory, Way};
use super::streams::Streams;
use super::syntax::*;
use super::text::{Vars, fill, fits};
use crate::base::Time;
use crate::cli::simulate::{ConfigText, Sockets, simulate_with};
use crate::net::resolver::zone::Zone;
use crate::ops::fake::Ended;
use crate::ops::{CancelReason, OpId};
use crate::script::ast::Dialect;
use crate::worker::sim::{Sim, SimOptions, lines};
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the clock goes on behind the last statement: longer than every timer of a transaction.
const RUN_OUT: Duration = Duration::from_secs(1200);

/// A statement that did not come true.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its line.
    pub line: usize,
    /// What was expected and what happened.
    pub text: String,
}

/// A message that the server sent.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// When.
    pub at: Time,
    /// Its place among all of them.
    pub number: u64,
    /// The message.
    pub msg: Msg,
    /// How it came.
    pub way: Way,
    /// Where it went.
    pub to: SocketAddr,
}

/// A scenario being played.
pub struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    name: &'a str,
    dialect: Option<Dialect>,
    pub(super) sim: Option<Sim>,
    zone: Zone,
    start: Time,
    pub(super) vars: Vars,
    memory: Memory,
    pub(super) streams: Streams,
    inboxes: Vec<VecDeque<Arrived>>,
    strangers: Vec<Arrived>,
    seen: HashSet<(SocketAddr, Vec<u8>)>,
    /// Repetitions by peer and label.
    repeated: Vec<(usize, String, Time)>,
    pub(super) rules: Vec<Rule>,
    /// Operations that a rule will answer later, or that hang.
    pub(super) decided: Vec<(OpId, Option<(Time, Answer)>)>,
    pub(super) ended: Vec<Ended>,
    pub(super) started: HashSet<OpId>,
    log: Vec<lines::Line>,
    /// What happened so far, for people.
    pub trace: Vec<String>,
    taken: u64,
    count: u64,
    ignoring: bool,
}

type Played<T> = Result<T, Failure>;

impl<'a> Stage<'a> {
    /// A stage before its first statement. `name` is the scenario file's.
    pub fn new(scenario: &'a Scenario, name: &'a str, dialect: Option<Dialect>) -> Stage<'a> {
        let mut vars = Vars::new();
        for p in &scenario.peers {
            vars.insert(p.name.clone(), p.addr.to_string());
        }
        Stage {
            scenario,
            name,
            dialect,
            sim: None,
            zone: Zone::default(),
            start: SimOptions::default().start,
            vars,
            memory: Memory::new(),
            streams: Streams::default(),
            inboxes: scenario.peers.iter().map(|_| VecDeque::new()).collect(),
            strangers: Vec::new(),
            seen: HashSet::new(),
            repeated: Vec::new(),
            rules: Vec::new(),
            decided: Vec::new(),
            ended: Vec::new(),
            started: HashSet::new(),
            log: Vec::new(),
            trace: Vec::new(),
            taken: 0,
            count: 0,
            ignoring: false,
        }
    }

    /// Plays it to its end.
    pub fn play(&mut self) -> Played<()> {
        let _ = lines::take();
        for step in &self.scenario.steps {
            self.step(step)?;
        }
        let line = self.scenario.steps.last().map_or(1, |s| s.line);
        self.ensure_started(line)?;
        self.nothing_unexpected(line)?;
        self.advance(RUN_OUT);
        self.nothing_unexpected(line)?;
        let live = self.sim.as_ref().map(Sim::live).unwrap_or_default();
        if !live.is_empty() && !self.ignoring {
            let text = format!("at the end, {} s later, the worker still holds: {live}", RUN_OUT.as_secs());
            return Err(Failure { line, text });
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Played<()> {
        let line = step.line;
        let fail = |text: String| Failure { line, text };
        match &step.action {
            Action::Let(name, text) => {
                let text = self.fill(text, line)?;
                self.vars.insert(name.clone(), text);
                return Ok(());
            }
            Action::Call(name) => {
                name.clone_into(&mut self.memory.call);
                return Ok(());
            }
            Action::Dns(name, dns) => {
                let name = self.fill(name, line)?;
                match &mut self.sim {
                    Some(sim) => sim.zone(|z| apply_dns(z, &name, dns)),
                    None => apply_dns(&mut self.zone, &name, dns),
                }
                return Ok(());
            }
            Action::Operation { kind, pattern, what: Fate::Always(answer, after) } => {
                let rule = Rule { kind: kind.clone(), pattern: pattern.clone(), answer: answer.clone(), after: *after };
                self.rules.push(rule);
                self.pump();
                return Ok(());
            }
            _ => {}
        }
        self.ensure_started(line)?;
        match &step.action {
            Action::Wait(d) => self.advance(*d),
            Action::Clock(micros) => {
                if let Some(sim) = &mut self.sim {
                    sim.set_wall(*micros);
                }
            }
            Action::Send { peer, method, uri, over, block } => {
                self.send(line, *peer, method, uri.as_deref(), *over, block)?;
            }
            Action::Door(peer, door) => self.set_door(self.peer(*peer).addr, *door),
            Action::HangUp(peer) => self.hang_up(line, *peer)?,
            Action::Closed(peer) => self.expect_closed(line, *peer)?,
            Action::SendRaw { peer, over, text } => {
                let mut bytes = Vec::new();
                for (number, l) in text {
                    bytes.extend_from_slice(self.fill(l, *number)?.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                }
                // A message without a body ends with its headers' empty line.
                if !text.iter().any(|(_, l)| l.is_empty()) {
                    bytes.extend_from_slice(b"\r\n");
                }
                let tcp = over.tcp.unwrap_or(self.peer(*peer).tcp);
                let to = over.at.or_else(|| self.listeners(tcp).first().copied());
                let socket = to.ok_or_else(|| fail("the server has no socket".into()))?;
                self.deliver(line, *peer, Way { socket, tcp, line: None }, &bytes)?;
            }
            Action::Repeat { peer, what } => self.repeat(line, *peer, what.as_deref())?,
            Action::Reply { peer, code, reason, to, block } => {
                let own = self.own_headers(block)?;
                let body = self.own_body(block)?;
                let reason = reason.as_ref().map(|r| self.fill(r, line)).transpose()?;
                let p = self.peer(*peer);
                let made = self.memory.reply(*peer, p, (*code, reason.as_deref()), to.as_deref(), &own, body);
                let (msg, from) = made.map_err(fail)?;
                self.memory.side(*peer).sent.push((msg.clone(), from));
                self.deliver(line, *peer, from, &msg.to_bytes())?;
            }
            Action::Expect { peer, then, what, tcp, block } => {
                self.expect(line, *peer, (*then, *tcp), what, block)?;
            }
            Action::Again { peer, what, times } => self.again(line, *peer, what, *times)?,
            Action::Nothing { peer, silence } => self.nothing(line, *peer, *silence)?,
            Action::Operation { kind, pattern, what } => {
                operations::operation(self, kind, pattern, what).map_err(fail)?;
                self.pump();
            }
            Action::NoOperation => {
                let pending = self.pending();
                if !pending.is_empty() {
                    return Err(fail(format!("no operation was expected, but there is\n{pending}")));
                }
            }
            Action::Log { contains, pattern } => {
                let pattern = format!("*{}*", self.fill_known(pattern));
                let mut vars = self.vars.clone();
                let found = self.log.iter().find(|l| fits(&pattern, &l.text, &mut vars)).map(|l| l.text.clone());
                match (contains, found) {
                    (true, None) => return Err(fail("no line of the log contains this".into())),
                    (false, Some(text)) => return Err(fail(format!("the log has this line: {text}"))),
                    _ => {}
                }
            }
            Action::Statistic(name, wanted) => {
                let found = self.sim.as_ref().and_then(|s| s.statistic(name));
                let found = found.ok_or_else(|| fail(format!("there is no statistic \"{name}\"")))?;
                if found != *wanted {
                    return Err(fail(format!("{name} is {found}, expected {wanted}")));
                }
            }
            Action::Holds(list) => self.holds(line, list)?,
            Action::Drain(d) => {
                self.note(format!("the server is told to end within {} s", d.as_secs_f64()));
                if let Some(sim) = &mut self.sim {
                    sim.drain(*d);
                }
                self.pump();
            }
            Action::Drained(wanted) => {
                let is = self.sim.as_ref().is_some_and(Sim::is_drained);
                if is != *wanted {
                    let live = self.sim.as_ref().map(Sim::live).unwrap_or_default();
                    let not = if is { "" } else { "not " };
                    return Err(fail(format!("the worker is {not}drained (it holds {live})")));
                }
            }
            Action::IgnoreRest => {
                self.ignoring = true;
                self.inboxes.iter_mut().for_each(VecDeque::clear);
                self.strangers.clear();
            }
            Action::Let(..) | Action::Call(_) | Action::Dns(..) => {}
        }
        Ok(())
    }

    fn peer(&self, number: usize) -> &'a Peer {
        // Numbers come from the parser, which has seen the peers.
        &self.scenario.peers[number.min(self.scenario.peers.len().saturating_sub(1))]
    }

    fn fill(&self, text: &str, line: usize) -> Played<String> {
        fill(text, &self.vars)
            .map_err(|name| Failure { line, text: format!("the variable {{{name}}} has no value yet") })
    }

    fn fill_known(&self, text: &str) -> String {
        fill(text, &self.vars).unwrap_or_else(|_| text.to_string())
    }

    fn own_headers(&self, block: &Block) -> Played<Vec<(usize, HeaderLine)>> {
        let mut out = Vec::new();
        for (line, header) in &block.headers {
            let header = match header {
                HeaderLine::Is(n, v) => HeaderLine::Is(n.clone(), self.fill(v, *line)?),
                HeaderLine::None(n) => HeaderLine::None(n.clone()),
                _ => {
                    let text = "this can only be said of messages that are expected".into();
                    return Err(Failure { line: *line, text });
                }
            };
            out.push((*line, header));
        }
        Ok(out)
    }

    fn own_body(&self, block: &Block) -> Played<Option<String>> {
        let Some(lines) = &block.body else { return Ok(None) };
        let mut body = String::new();
        for (line, text) in lines {
            body.push_str(&self.fill(text, *line)?);
            body.push_str("\r\n");
        }
        Ok(Some(body))
    }

    fn ensure_started(&mut self, line: usize) -> Played<()> {
        if self.sim.is_some() {
            return Ok(());
        }
        let config = match &self.scenario.config {
            Some(Config::File(path)) => ConfigText::File(path),
            Some(Config::Text(text)) => ConfigText::Text(text, self.name),
            None => return Err(Failure { line, text: "the scenario has no configuration".into() }),
        };
        let options = SimOptions { zone: self.zone.clone(), ..SimOptions::default() };
        let sockets =
            if self.scenario.listen.is_empty() { Sockets::Own } else { Sockets::These(&self.scenario.listen) };
        let sim = simulate_with(config, self.dialect, options, sockets)
            .map_err(|text| Failure { line: 1, text: format!("the configuration cannot be used:\n{text}") })?;
        for (i, addr) in sim.listeners().enumerate() {
            if i == 0 {
                self.vars.insert("proxy".into(), addr.to_string());
            }
            self.vars.insert(format!("proxy{}", i + 1), addr.to_string());
        }
        if let Some(addr) = sim.stream_listeners().next() {
            self.vars.insert("proxy-tcp".into(), addr.to_string());
        }
        self.sim = Some(sim);
        self.open_doors();
        self.pump();
        Ok(())
    }

    fn listeners(&self, tcp: bool) -> Vec<SocketAddr> {
        match (&self.sim, tcp) {
            (Some(sim), true) => sim.stream_listeners().collect(),
            (Some(sim), false) => sim.listeners().collect(),
            (None, _) => Vec::new(),
        }
    }

    fn now(&self) -> Time {
        self.sim.as_ref().map_or(self.start, Sim::now)
    }

    pub(super) fn note(&mut self, text: String) {
        let at = self.now().since(self.start).as_secs_f64();
        self.trace.push(format!("{at:10.3}  {text}"));
    }

    pub(super) fn peer_name(&self, addr: SocketAddr) -> String {
        let peer = self.scenario.peers.iter().find(|p| p.addr == addr);
        peer.map_or_else(|| addr.to_string(), |p| p.name.clone())
    }

    /// A message of a peer arrives.
    fn deliver(&mut self, line: usize, peer: usize, way: Way, bytes: &[u8]) -> Played<()> {
        let p = self.peer(peer);
        let Some(sim) = &self.sim else { return Ok(()) };
        if !sim.is_up() {
            let text = match sim.startup() {
                Some(Err(why)) => format!("the server is not up: its startup_route failed: {why}"),
                _ => format!("the server is not up: its startup_route still waits\n{}", self.pending()),
            };
            return Err(Failure { line, text });
        }
        let connection = if way.tcp { Some(self.line_for(line, peer, way)?) } else { None };
        let first = String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_string();
        self.note(format!("{} -> server   {first}", p.name));
        let Some(sim) = &mut self.sim else { return Ok(()) };
        let taken = match connection {
            Some(connection) => sim.feed(connection, bytes),
            None => sim.receive(p.addr, way.socket, bytes),
        };
        if !taken {
            let why = if way.tcp { "takes nothing on this connection" } else { "has no such socket" };
            return Err(Failure { line, text: format!("the server {why}: {}", way.socket) });
        }
        self.pump();
        Ok(())
    }

    fn send(
        &mut self,
        line: usize,
        peer: usize,
        method: &str,
        uri: Option<&str>,
        over: Over,
        block: &Block,
    ) -> Played<()> {
        let uri = uri.map(|u| self.fill(u, line)).transpose()?;
        let own = self.own_headers(block)?;
        let body = self.own_body(block)?;
        let p = self.peer(peer);
        let tcp = over.tcp.unwrap_or(p.tcp);
        let made = self.memory.request(peer, (p, tcp), method, uri.as_deref(), &own, body);
        let msg = made.map_err(|text| Failure { line, text })?;
        let listeners = self.listeners(tcp);
        let route = msg.values("route").first().and_then(|r| address_in(super::message::uri_of(r)));
        let side = self.memory.side(peer);
        let earlier = side.sent.last().or(side.got.last()).map(|(_, way)| *way).filter(|way| way.tcp == tcp);
        let fits_family = |l: &&SocketAddr| l.is_ipv4() == p.addr.is_ipv4();
        let socket = (over.at)
            .or(route.filter(|r| listeners.contains(r)))
            .or(earlier.map(|way| way.socket))
            .or_else(|| listeners.iter().find(fits_family).copied())
            .ok_or_else(|| Failure { line, text: format!("the server has no socket that {} could reach", p.name) })?;
        let way = Way { socket, tcp, line: earlier.and_then(|way| way.line) };
        self.memory.note_sent(peer, &msg, way);
        self.deliver(line, peer, way, &msg.to_bytes())
    }

    fn repeat(&mut self, line: usize, peer: usize, what: Option<&str>) -> Played<()> {
        let name = &self.peer(peer).name;
        let side = self.memory.side(peer);
        let found = side.sent.iter().rev().find(|(m, _)| what.is_none_or(|w| m.label() == w)).cloned();
        let (msg, to) = found.ok_or_else(|| Failure {
            line,
            text: format!("{name} has sent no {} in this call that could be repeated", what.unwrap_or("message")),
        })?;
        self.deliver(line, peer, to, &msg.to_bytes())
    }

    fn expect(
        &mut self,
        line: usize,
        peer: usize,
        (then, tcp): (bool, Option<bool>),
        what: &Start,
        block: &Block,
    ) -> Played<()> {
        let p = self.peer(peer);
        let wants_100 = matches!(what, Start::Reply { code: 100, .. });
        let Some(inbox) = self.inboxes.get_mut(peer) else { return Ok(()) };
        while !wants_100 && inbox.front().is_some_and(|a| a.msg.status() == Some(100)) {
            inbox.pop_front();
        }
        let Some(arrived) = inbox.pop_front() else {
            return Err(Failure { line, text: format!("nothing came for {}{}", p.name, self.elsewhere()) });
        };
        let found = differences(line, what, block, &arrived.msg, &mut self.vars);
        if !found.is_empty() {
            let at = arrived.at.since(self.start).as_secs_f64();
            let mut text = format!("what came for {} at {at:.3} s is different:\n", p.name);
            for d in &found {
                text.push_str(&format!("  {:5}  - {}\n         + {}\n", d.line, d.expected, d.actual));
            }
            text.push_str("    the message:\n");
            text.push_str(&arrived.msg.show());
            return Err(Failure { line, text });
        }
        if then && arrived.number < self.taken {
            return Err(Failure { line, text: "it came before the message that is expected above it".into() });
        }
        if tcp.is_some_and(|tcp| tcp != arrived.way.tcp) {
            let text = format!("it came over {}", if arrived.way.tcp { "TCP" } else { "UDP" });
            return Err(Failure { line, text });
        }
        self.taken = arrived.number;
        self.memory.note_got(peer, &arrived.msg, arrived.way);
        self.vars.insert("call-id".into(), self.memory.call_id());
        Ok(())
    }

    fn again(&mut self, line: usize, peer: usize, what: &str, times: Option<usize>) -> Played<()> {
        let is = |r: &(usize, String, Time)| r.0 == peer && r.1 == what;
        let n = self.repeated.iter().filter(|r| is(r)).count();
        self.repeated.retain(|r| !is(r));
        let name = &self.peer(peer).name;
        match times {
            None if n == 0 => Err(Failure { line, text: format!("no repetition of {what} came for {name}") }),
            Some(wanted) if n != wanted => {
                let text = format!("{n} repetitions of {what} came for {name}, expected {wanted}");
                Err(Failure { line, text })
            }
            _ => Ok(()),
        }
    }

    fn nothing(&mut self, line: usize, peer: Option<usize>, silence: bool) -> Played<()> {
        let peers = self.scenario.peers.len();
        for (i, inbox) in self.inboxes.iter().enumerate().take(peers).filter(|(i, _)| peer.is_none_or(|p| p == *i)) {
            let counts = |a: &&Arrived| silence || a.msg.status() != Some(100);
            if let Some(a) = inbox.iter().find(counts) {
                let text = format!("this came for {}:\n{}", self.peer(i).name, a.msg.show());
                return Err(Failure { line, text });
            }
            if silence && let Some((_, what, at)) = self.repeated.iter().find(|r| r.0 == i) {
                let at = at.since(self.start).as_secs_f64();
                let text = format!("a repetition of {what} came for {} at {at:.3} s", self.peer(i).name);
                return Err(Failure { line, text });
            }
        }
        Ok(())
    }

    fn holds(&self, line: usize, list: &[(usize, String)]) -> Played<()> {
        let live = self.sim.as_ref().map(Sim::live).unwrap_or_default();
        let is = |noun: &str| match noun {
            "run" => live.runs,
            "transaction" => live.transactions,
            "operation" => live.operations,
            "relay" => live.relays,
            "lookup" => live.lookups,
            "lock" => live.locks,
            "connection" => live.connections,
            _ => live.timers,
        };
        let good = if list.is_empty() { live.is_empty() } else { list.iter().all(|(n, noun)| is(noun) == *n) };
        if good { Ok(()) } else { Err(Failure { line, text: format!("the worker holds {live}") }) }
    }

    /// Time passes; operations that a rule answers are answered at their time.
    fn advance(&mut self, by: Duration) {
        let to = self.now() + by;
        loop {
            self.pump();
            let Some(sim) = &mut self.sim else { return };
            let due = self.decided.iter().filter_map(|(_, d)| d.as_ref().map(|(at, _)| *at)).min();
            let next = sim.next_event().into_iter().chain(due).min().filter(|at| *at <= to).unwrap_or(to);
            let last = next >= to;
            sim.advance_to(next);
            if last {
                return self.pump();
            }
        }
    }

    /// Takes what the worker has sent and said, and answers what rules answer, until nothing more comes.
    pub(super) fn pump(&mut self) {
        loop {
            let Some(sim) = &mut self.sim else { return };
            let sent = sim.take_sent();
            let ended = sim.take_ended();
            self.log.extend(lines::take());
            for e in ended {
                let why = if e.reason == CancelReason::Deadline { "timed out" } else { "was cancelled" };
                self.note(format!("operation {} {why}: {}", e.asked.kind.as_str(), e.asked.text));
                self.decided.retain(|(id, _)| *id != e.asked.id);
                self.ended.push(e);
            }
            let datagrams = sent.into_iter().map(|s| (Way { socket: s.from, tcp: false, line: None }, s.to, s.bytes));
            let streamed = self.take_streamed();
            let more = !streamed.is_empty();
            let streamed =
                streamed.into_iter().map(|s| (Way { socket: s.socket, tcp: true, line: Some(s.line) }, s.to, s.bytes));
            for (way, to, bytes) in datagrams.chain(streamed) {
                let msg = Msg::parse(&bytes);
                self.note(format!("server -> {}   {}", self.peer_name(to), msg.first));
                let at = self.now();
                let peer = self.scenario.peers.iter().position(|p| p.addr == to);
                if !self.seen.insert((to, bytes)) {
                    if let Some(peer) = peer {
                        self.repeated.push((peer, msg.label(), at));
                    }
                    continue;
                }
                self.count += 1;
                let arrived = Arrived { at, number: self.count, msg, way, to };
                match peer.and_then(|p| self.inboxes.get_mut(p)) {
                    _ if self.ignoring => {}
                    Some(inbox) => inbox.push_back(arrived),
                    None => self.strangers.push(arrived),
                }
            }
            if !operations::by_rules(self) && !more {
                return;
            }
        }
    }

    /// What came and was not expected.
    fn nothing_unexpected(&self, line: usize) -> Played<()> {
        let waiting = self.inboxes.iter().flatten().filter(|a| a.msg.status() != Some(100));
        let Some(a) = waiting.chain(&self.strangers).min_by_key(|a| a.number) else { return Ok(()) };
        let at = a.at.since(self.start).as_secs_f64();
        let who = self.peer_name(a.to);
        let stranger = if self.scenario.peers.iter().any(|p| p.addr == a.to) { "" } else { ", who is no peer" };
        let text = format!("nobody expected what came for {who}{stranger} at {at:.3} s:\n{}", a.msg.show());
        Err(Failure { line, text })
    }

    /// What waits for others, to explain why nothing came for somebody.
    fn elsewhere(&self) -> String {
        let mut out = String::new();
        for a in self.inboxes.iter().flatten().chain(&self.strangers) {
            out.push_str(&format!("\n    but for {}: {}", self.peer_name(a.to), a.msg.first));
        }
        let pending = self.pending_now();
        if !pending.is_empty() {
            out.push_str(&format!("\n    and in flight:\n{pending}"));
        }
        out
    }

    fn pending_now(&self) -> String {
        let Some(sim) = &self.sim else { return String::new() };
        sim.operations().iter().map(|a| format!("        operation {} \"{}\"\n", a.kind.as_str(), a.text)).collect()
    }

    /// Operations in flight, for people.
    pub(super) fn pending(&self) -> String {
        self.pending_now()
    }

    /// The last lines of the log, for people.
    pub fn log_tail(&self) -> impl Iterator<Item = &str> {
        let from = self.log.len().saturating_sub(20);
        self.log.iter().skip(from).filter(|l| l.level <= 2).map(|l| l.text.as_str())
    }
}

fn apply_dns(zone: &mut Zone, name: &str, dns: &Dns) {
    match dns {
        Dns::Addresses(list) => {
            zone.remove(name);
            zone.add_addresses(name, list.iter().copied());
        }
        Dns::Record(record) => zone.add(name, [record.clone()]),
        Dns::None => zone.remove(name),
        Dns::Fails => zone.fail(name),
        Dns::Silent => zone.keep_silent(name),
    }
}
