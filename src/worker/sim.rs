//! A worker in a simulation: the real code (loop, script, transactions, functions) on a network, a clock
//! and operations that whoever holds the [`Sim`] plays. One process, one thread, no socket.
//!
//! Time stands still between calls. [`Sim::receive`] and [`Sim::answer`] do what a datagram or a
//! finished operation would do and run the loop until nothing more happens at this time;
//! [`Sim::advance`] moves the clock, stopping at every timer on the way. What the worker sent is
//! in [`Sim::take_sent`], what it waits for in [`Sim::operations`], what it still holds in
//! [`Sim::live`].

pub mod lines;

use super::run::Ground;
use super::seat::{CallError, MainChannel, Seat, SeatKind, ToChild, ToMain};
use super::state::{Blueprint, Worker};
use crate::base::Time;
use crate::modules::env::{Env, Listen};
use crate::net::bus::{BusConfig, BusHub};
use crate::net::channel::{self, Channel};
use crate::net::listen::Transport as Net;
use crate::net::logpipe;
use crate::net::pipe::simulated::{Door, Ends, Exchange};
use crate::net::reactor::{Event, Reactor};
use crate::net::resolver::zone::Zone;
use crate::net::udp::{UdpSocket, Wire};
use crate::ops::driver::Driver;
use crate::ops::fake::{Asked, Ended};
use crate::ops::{Failure, OpId, Outcome, Phase, Why};
use crate::sip::Transport;
use crate::store::{CounterTable, InWork};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub use crate::net::udp::Sent;

/// Turns at one point in time; more of them never come to an end.
const MOST_TURNS: usize = 1_000_000;

/// Midnight of the first of January 2026, UTC.
const NEW_YEAR_2026: i64 = 1_767_225_600_000_000;

/// How a simulation begins.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Everything that is random in the real worker comes from it: keys of branch ids and tags.
    pub seed: u64,
    /// The monotonic clock at the beginning.
    pub start: Time,
    /// The wall clock at the beginning, in microseconds since 1970.
    pub wall: i64,
    /// What the name servers know.
    pub zone: Zone,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions { seed: 1, start: Time::from_millis(1_000_000), wall: NEW_YEAR_2026, zone: Zone::default() }
    }
}

/// What a worker holds: all zero when everything that was begun has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Live {
    /// Runs that wait.
    pub runs: usize,
    /// Transactions.
    pub transactions: usize,
    /// Timers, those of timer routes not counted.
    pub timers: usize,
    /// Relays in progress.
    pub relays: usize,
    /// Names being looked up for a next hop.
    pub lookups: usize,
    /// Operations in flight.
    pub operations: usize,
    /// Script locks that are held.
    pub locks: usize,
    /// Stream connections.
    pub connections: usize,
    /// Runs that go on in the next turn.
    pub work: usize,
}

impl Live {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Live::default()
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.transactions, "transaction"),
            (self.runs, "waiting run"),
            (self.operations, "operation"),
            (self.relays, "relay"),
            (self.lookups, "look-up"),
            (self.locks, "lock"),
            (self.connections, "connection"),
            (self.work, "runnable run"),
            (self.timers, "timer"),
        ];
        let mut first = true;
        for (n, what) in all.into_iter().filter(|(n, _)| *n > 0) {
            let comma = if std::mem::take(&mut first) { "" } else { ", " };
            write!(f, "{comma}{n} {what}{}", if n == 1 { "" } else { "s" })?;
        }
        if first { f.write_str("nothing") } else { Ok(()) }
    }
}

/// A simulated worker.
pub struct Sim {
    worker: Worker,
    main: Channel<ToChild, ToMain>,
    wire: Wire,
    exchange: Exchange,
    events: Vec<Event>,
    up: bool,
    idle: bool,
    startup: Option<Result<(), String>>,
    answers: Vec<(u64, Result<String, CallError>)>,
    calls: u64,
    /// When the wall clock was set, and to what.
    wall: (Time, i64),
}

impl Sim {
    /// Starts a worker and its startup route. It serves requests once that has ended ([`Sim::is_up`]).
    pub fn new(mut blueprint: Blueprint, options: SimOptions) -> io::Result<Sim> {
        if blueprint.env.settings.script_io_block {
            let why = "script_io=block stops the loop, and a simulation with it: it cannot be simulated";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let now = options.start;
        let wire = Wire::default();
        let socket = |l: &Listen| match l.transport {
            Transport::Udp => Some(UdpSocket::simulated(l.addr, wire.clone())),
            _ => None,
        };
        let udp = blueprint.env.listeners.iter().map(socket).collect();
        let hub = BusHub::new(BusConfig { ring_bytes: 4096, max_value: 4096, ..BusConfig::default() })?;
        hub.set_incarnation(0, 1);
        let bus = hub.end(0).ok_or(io::ErrorKind::InvalidInput)?;
        let (main, child): (_, MainChannel) = channel::pair()?;
        let in_work = InWork::table(1)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let defined = blueprint.env.settings.counters.iter().map(|c| c.name.clone()).collect();
        let counters = CounterTable::new(1, defined)?.row(0);
        blueprint.env = Rc::new(Env { counters: Some(counters.clone()), ..Env::clone(&blueprint.env) });
        let seat = Seat {
            kind: SeatKind::Worker,
            name: "worker".into(),
            index: 0,
            count: 1,
            group: None,
            incarnation: 1,
            hash_key: [options.seed, !options.seed],
            sockets: Vec::new(),
            helper_listener: None,
            bus,
            main: child,
            counters: counters.clone(),
            in_work,
            log: logpipe::nowhere(),
            run_startup: true,
            start_vars: None,
            started: options.start,
        };
        let driver = Driver::simulated(options.zone);
        let ground = Ground { now, reactor: Reactor::simulated(now)?, driver, udp, streams: Vec::new() };
        let mut worker = Worker::on(ground, seat, blueprint)?;
        let exchange = Exchange::default();
        worker.streams.simulate(exchange.clone());
        let mut sim = Sim {
            worker,
            main,
            wire,
            exchange,
            events: Vec::new(),
            up: false,
            idle: false,
            startup: None,
            answers: Vec::new(),
            calls: 0,
            wall: (now, options.wall),
        };
        sim.settle();
        Ok(sim)
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.worker.now
    }

    /// Whether the startup route has ended well, so that requests are served.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// How the startup route ended, once it has.
    pub fn startup(&self) -> Option<&Result<(), String>> {
        self.startup.as_ref()
    }

    /// Addresses of the listeners, by their number.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.worker.env().listeners.iter().filter(|l| l.transport == Transport::Udp).map(|l| l.addr)
    }

    /// Addresses of the listeners of TCP.
    pub fn stream_listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.worker.env().listeners.iter().filter(|l| l.transport == Transport::Tcp).map(|l| l.addr)
    }

    /// What happens to TCP connections that the worker makes to an address: without a word about it nobody listens there.
    pub fn set_door(&mut self, addr: SocketAddr, door: Door) {
        self.exchange.set_door(addr, door);
    }

    /// A peer connects to a listener of TCP: the number of the connection. `None` if there is no such
    /// listener, or the server is not up.
    pub fn connect(&mut self, from: IpAddr, to: SocketAddr) -> Option<usize> {
        let all = &self.worker.env().listeners;
        let listener = all.iter().position(|l| l.addr == to && l.transport == Transport::Tcp)?;
        if !self.up {
            return None;
        }
        let (line, peer, pipe) = self.exchange.call(from, to).ok()?;
        let (streams, io) = (&mut self.worker.streams, self.worker.reactor.io(self.worker.now));
        streams.arrive(pipe, Net::Tcp, listener as u16, peer, io).ok()?;
        self.settle();
        Some(line)
    }

    /// Bytes arrive on a connection. False if it has ended.
    pub fn feed(&mut self, line: usize, bytes: &[u8]) -> bool {
        let sent = self.exchange.send(line, bytes).is_ok();
        self.settle();
        sent
    }

    /// The peer ends a connection.
    pub fn hang_up(&mut self, line: usize) {
        self.exchange.hang_up(line);
        self.settle();
    }

    /// Who is connected, while the connection stands.
    pub fn ends(&self, line: usize) -> Option<Ends> {
        self.exchange.ends(line)
    }

    /// Bytes that were sent on connections since the last call; none: the worker has ended that connection.
    pub fn take_streamed(&mut self) -> Vec<(usize, Ends, Vec<u8>)> {
        let taken = self.exchange.take();
        // That it was closed on this side too is something the worker hears.
        if taken.iter().any(|(.., bytes)| bytes.is_empty()) {
            self.settle();
        }
        taken
    }

    /// A datagram arrives at a listener. False if there is no such listener, or the server is not up.
    pub fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let put = self.put(from, to, bytes);
        self.settle();
        put
    }

    /// The same, but the loop has its turn only with the next call: datagrams of one batch.
    pub fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(listener) =
            self.worker.env().listeners.iter().position(|l| l.addr == to && l.transport == Transport::Udp)
        else {
            return false;
        };
        if !self.up {
            return false;
        }
        self.worker.datagram(bytes, from, listener as u16);
        true
    }

    /// Turns until nothing more happens at this time. False if there is no end to it.
    pub fn settle(&mut self) -> bool {
        let mut busy = false;
        for _ in 0..MOST_TURNS {
            let Ok(more) = self.worker.turn(busy, &mut self.events) else { return false };
            busy = more;
            let told = self.hear_worker();
            let idle = !busy && !told && self.events.is_empty() && self.worker.work.is_empty();
            let again = self.worker.reactor.next_deadline(self.worker.now).is_some_and(|at| at <= self.worker.now);
            if idle && !again {
                return true;
            }
        }
        false
    }

    /// What the worker told main; true if it will hear something in return.
    fn hear_worker(&mut self) -> bool {
        let mut returns = false;
        while let Ok(Some(message)) = self.main.recv() {
            match message {
                ToMain::StartVars(bytes) => returns |= self.main.send(&ToChild::StartVars(bytes)).is_ok(),
                ToMain::StartupDone(result) => {
                    if result.is_ok() {
                        self.up = true;
                        returns |= self.main.send(&ToChild::StartTraffic).is_ok();
                    }
                    self.startup = Some(result);
                }
                ToMain::Ready => {}
                ToMain::Idle => self.idle = true,
                ToMain::Answer { id, result } => self.answers.push((id, result)),
                // Nobody plays the methods of main: the deadline ends the wait.
                ToMain::Ask { .. } => {}
            }
        }
        returns
    }

    /// Time passes: every timer on the way fires at its time.
    pub fn advance(&mut self, by: Duration) {
        self.advance_to(self.worker.now + by);
    }

    /// The same up to a point in time.
    pub fn advance_to(&mut self, to: Time) {
        loop {
            self.settle();
            let next = self.next_event().filter(|at| *at <= to);
            let at = next.unwrap_or(to).max(self.worker.now);
            self.worker.reactor.set_time(at);
            self.show_time(at);
            if next.is_none() {
                self.settle();
                return;
            }
        }
    }

    /// Sets the wall clock, in microseconds since 1970.
    pub fn set_wall(&mut self, micros: i64) {
        self.wall = (self.worker.now, micros);
        self.show_time(self.worker.now);
    }

    fn show_time(&self, now: Time) {
        let passed = i64::try_from(now.since(self.wall.0).as_micros()).unwrap_or(i64::MAX);
        self.worker.env().clock.set(self.wall.1.saturating_add(passed));
    }

    /// When something will happen by itself next (or the clock has to be looked at): never later than the
    /// next timer.
    pub fn next_event(&self) -> Option<Time> {
        self.worker.reactor.next_deadline(self.worker.now)
    }

    /// What was sent since the last call, in order.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut *self.wire.borrow_mut())
    }

    /// Operations in flight, the oldest first; sleeps are not among them.
    pub fn operations(&self) -> Vec<Asked> {
        self.worker.driver.faked().map(|f| f.pending().to_vec()).unwrap_or_default()
    }

    /// Ends an operation with its outcome. False if it is not in flight (any more).
    pub fn answer(&mut self, id: OpId, outcome: Outcome) -> bool {
        let known = self.worker.driver.answer(id, outcome);
        self.settle();
        known
    }

    /// The same for one that fails.
    pub fn fail(&mut self, id: OpId, why: Why, phase: Phase, detail: &str) -> bool {
        self.answer(id, Outcome::Failed(Failure::new(why, phase, detail)))
    }

    /// An operation gets no further than this phase: what its deadline will name.
    pub fn hang(&mut self, id: OpId, phase: Phase) -> bool {
        let asked = self.worker.driver.fake().and_then(|f| f.get_mut(id));
        asked.map(|a| a.phase = phase).is_some()
    }

    /// Operations that were ended from outside (deadline, CANCEL, drain) since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(e) = self.worker.driver.fake().and_then(|f| f.poll_ended()) {
            ended.push(e);
        }
        ended
    }

    /// What the name servers know.
    pub fn zone(&mut self, change: impl FnOnce(&mut Zone)) {
        if let Some(zone) = self.worker.driver.zone() {
            change(zone);
        }
    }

    /// Main wants the worker to come to an end: waits may go on for that long.
    pub fn drain(&mut self, timeout: Duration) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let _ = self.main.send(&ToChild::Drain { timeout_ms });
        self.settle();
    }

    /// Whether the worker has said that it is drained.
    pub fn is_drained(&self) -> bool {
        self.idle
    }

    /// A control method of the worker (`waits`, `kill-wait`, `transactions`): its answer as JSON text.
    pub fn call(&mut self, method: &str, params: &str) -> Result<String, CallError> {
        self.calls += 1;
        let id = self.calls;
        let _ = self.main.send(&ToChild::Call { id, method: method.into(), params: params.into() });
        self.settle();
        let at = self.answers.iter().position(|(n, _)| *n == id);
        at.map_or_else(|| Err(CallError::not_found("no answer")), |at| self.answers.swap_remove(at).1)
    }

    /// Answers to control methods that came later than the call: the oldest first.
    pub fn take_answers(&mut self) -> Vec<Result<String, CallError>> {
        std::mem::take(&mut self.answers).into_iter().map(|(_, answer)| answer).collect()
    }

    /// What the worker holds.
    pub fn live(&self) -> Live {
        let w = &self.worker;
        let own_timers = w.streams.timers()
            + w.armed_timer_routes()
            + usize::from(w.drain.as_ref().is_some_and(|d| d.is_armed(w.now)));
        Live {
            runs: w.parked.len(),
            transactions: w.tm.len(),
            timers: w.reactor.timers().saturating_sub(own_timers),
            relays: w.jobs.len() + w.ways.len(),
            lookups: w.lookups.len(),
            operations: w.driver.len(),
            locks: w.locks.len(),
            connections: w.streams.len(),
            work: w.work.len() + w.yielded.len(),
        }
    }

    /// A statistic by its name (`tm:inuse_transactions`), or nothing if there is none.
    pub fn statistic(&self, name: &str) -> Option<u64> {
        self.worker.counters.table().read(Some(name)).first().map(|r| r.total)
    }
}
