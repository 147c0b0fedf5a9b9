//! Main's loop: signals, deaths, the children's messages and log lines, the control socket.

use super::asked::{Asked, To};
use super::backoff::Backoff;
use super::calls::Calls;
use super::children::{Place, Tenant};
use super::fork::{Forked, fork};
use super::orphans::Orphans;
use super::sys;
use super::systemd::Systemd;
use crate::base::{Key, Time};
use crate::control::merge::Forwarded;
use crate::control::server::{ControlServer, Incoming};
use crate::net::bus::BusHub;
use crate::net::channel::{self, ChannelError};
use crate::net::listen::Listener;
use crate::net::logpipe::{self, ALERT, LogHandle, NOTICE};
use crate::net::reactor::clock;
use crate::store::counters::CounterTable;
use crate::store::{Counter, Counters};
use crate::worker::seat::{Seat, SeatKind, ToChild, ToMain};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

pub(super) const SIGNALS: Token = Token(0);
pub(super) const CONTROL: Token = Token(1);
const KIND_SHIFT: u32 = 60;
const CHANNEL: usize = 1;
const LOG: usize = 2;
const CLIENT: usize = 3;

/// The event token of a control client.
pub(super) fn client_token(key: Key) -> Token {
    Token(CLIENT << KIND_SHIFT | (key.generation as usize) << 32 | key.index as usize)
}

fn seat_token(kind: usize, seat: usize) -> Token {
    Token(kind << KIND_SHIFT | seat)
}

/// How often main looks around without being asked.
const TICK: Duration = Duration::from_secs(1);
/// Beyond `drain_timeout`: time for the workers to answer what they had to give up.
const DRAIN_MARGIN: Duration = Duration::from_millis(500);

/// Where in its life the server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Not all children are prepared.
    Starting,
    /// In service.
    Running,
    /// Finishing what is in flight.
    Draining {
        /// Not longer than this.
        until: Time,
    },
    /// Children were told to return.
    Quitting {
        /// Killed then.
        kill_at: Time,
        /// Who is to return.
        who: Leaving,
    },
}

/// Whose turn it is to return when the server ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    /// The workers, but the one that writes what is kept in databases.
    Workers,
    /// That one.
    Writer,
    /// The helpers.
    Helpers,
}

/// Everything main holds.
pub(super) struct Supervisor<'a> {
    pub(super) poll: Poll,
    pub(super) signals: SignalFd,
    pub(super) places: Vec<Place>,
    pub(super) workers: usize,
    pub(super) listeners: Vec<Rc<Listener>>,
    pub(super) hash_key: [u64; 2],
    pub(super) hub: BusHub,
    pub(super) counters: CounterTable,
    pub(super) own: Counters,
    pub(super) log: LogHandle,
    pub(super) control: Option<ControlServer>,
    pub(super) facts: super::facts::Facts,
    pub(super) forwarded: Vec<Forwarded>,
    pub(super) calls: Calls,
    /// What scripts have asked for, to be done in this turn.
    pub(super) asked: Vec<Asked>,
    pub(super) orphans: Orphans,
    pub(super) stage: Stage,
    pub(super) startup_done: bool,
    /// What the startup route left for every worker.
    pub(super) start_vars: Option<Vec<u8>>,
    pub(super) exit_code: u8,
    pub(super) over: bool,
    pub(super) drain_timeout: Duration,
    pub(super) quit_grace: Duration,
    pub(super) saving: Option<Duration>,
    pub(super) version: String,
    pub(super) started: Time,
    pub(super) started_wall: Duration,
    pub(super) on_reload: Option<Box<dyn FnMut()>>,
    pub(super) news: Option<Box<dyn FnMut() -> Option<ToChild>>>,
    pub(super) systemd: Systemd,
    pub(super) next_alive: Time,
    pub(super) next_tick: Time,
    pub(super) more_log: Vec<usize>,
    /// How long a worker's loop may stand still.
    pub(super) hang_timeout: Option<Duration>,
    pub(super) child_main: &'a mut dyn FnMut(Seat) -> i32,
}

impl Supervisor<'_> {
    /// Forks all children and turns until the end; the exit code.
    pub(super) fn serve(&mut self) -> u8 {
        let mut now = clock();
        for index in 0..self.places.len() {
            if let Err(e) = self.spawn(index, now) {
                log::error!("cannot start {}: {e}", self.title(index));
                self.fail(now);
                break;
            }
        }
        let mut events = Events::with_capacity(256);
        let mut requests = Vec::new();
        while !self.over {
            let timeout = self.timeout(now);
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    log::error!(target: ALERT, "main cannot poll: {e}");
                    self.kill_all();
                    return 1;
                }
            }
            now = clock();
            for seat in std::mem::take(&mut self.more_log) {
                self.on_log(seat);
            }
            for event in &events {
                let token = event.token();
                let seat = token.0 & ((1 << KIND_SHIFT) - 1);
                match token.0 >> KIND_SHIFT {
                    CHANNEL => self.on_channel(seat, now),
                    LOG => self.on_log(seat),
                    CLIENT => {
                        let key = Key { index: token.0 as u32, generation: (token.0 >> 32) as u32 & 0x00ff_ffff };
                        if let Some(control) = &mut self.control {
                            control.ready(key, self.poll.registry(), now, &mut requests);
                        }
                    }
                    _ if token == SIGNALS => self.on_signals(now),
                    _ => {
                        if let Some(control) = &mut self.control {
                            control.accept(self.poll.registry(), now);
                        }
                    }
                }
            }
            self.on_time(now);
            self.answer(&mut requests, now);
            self.advance_end(now);
            self.log.flush();
        }
        self.exit_code
    }

    fn answer(&mut self, requests: &mut Vec<Incoming>, now: Time) {
        for (to, result) in self.calls.finished(now) {
            self.reply(to, result, now, requests);
        }
        self.answer_scripts(now, requests);
        // Answering may bring further requests of the same client; the bound leaves the rest to the
        // next turn.
        let mut budget = 1000;
        while budget > 0
            && let Some(incoming) = requests.pop()
        {
            budget -= 1;
            self.on_request(To::Client(incoming.reply_to), incoming.request, now, requests);
        }
        // A call of nobody is complete at once.
        for (to, result) in self.calls.finished(now) {
            self.reply(to, result, now, requests);
        }
    }

    fn timeout(&self, now: Time) -> Duration {
        if !self.more_log.is_empty() {
            return Duration::ZERO;
        }
        let mut next = self.next_tick;
        if self.systemd.alive_every.is_some() {
            next = next.min(self.next_alive);
        }
        let stage = match self.stage {
            Stage::Draining { until } => Some(until),
            Stage::Quitting { kill_at, .. } => Some(kill_at),
            Stage::Starting | Stage::Running => None,
        };
        let respawns = self.places.iter().filter_map(|p| p.respawn_at);
        for t in respawns.chain(self.calls.deadline()).chain(stage) {
            next = next.min(t);
        }
        let wait = next.since(now) + Duration::from_micros(500);
        if self.log.blocked() { wait.min(Duration::from_millis(50)) } else { wait }
    }

    fn on_time(&mut self, now: Time) {
        if self.stage == Stage::Running {
            for index in 0..self.places.len() {
                if self.places.get(index).is_some_and(|p| p.respawn_at.is_some_and(|t| t <= now)) {
                    self.respawn(index, now);
                }
            }
        }
        if let Some(every) = self.systemd.alive_every
            && now >= self.next_alive
        {
            self.next_alive = now + every;
            self.systemd.alive();
        }
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.systemd.flush();
        let seats: Vec<i32> = self.seat_pids();
        self.orphans.look(|pid| seats.contains(&pid));
        if let Some(control) = &mut self.control {
            control.expire(self.poll.registry(), now);
        }
        self.own.set(Counter::LogLinesLost, self.log.lost());
        if let Some(news) = self.news.as_mut().and_then(|ask| ask()) {
            self.tell_others(usize::MAX, &news);
        }
        self.look_at_pulses();
        for place in &self.places {
            if let Some(t) = &place.tenant
                && t.closed.is_some_and(|at| now.since(at) >= TICK)
            {
                log::error!("process {} closed its channel and lives: killed", t.pid);
                t.kill();
            }
        }
    }

    // ---- children

    fn seat_pids(&self) -> Vec<i32> {
        self.places.iter().filter_map(|p| Some(p.tenant.as_ref()?.pid.as_raw())).collect()
    }

    fn title(&self, index: usize) -> String {
        self.places.get(index).map_or_else(String::new, |p| p.title(index))
    }

    pub(super) fn tell(&mut self, index: usize, message: &ToChild) {
        if let Some(tenant) = self.places.get_mut(index).and_then(|p| p.tenant.as_mut()) {
            tenant.tell(message);
        }
    }

    pub(super) fn tell_others(&mut self, index: usize, message: &ToChild) {
        for other in (0..self.places.len()).filter(|i| *i != index) {
            self.tell(other, message);
        }
    }

    /// Makes a new tenant for a seat. In the child this does not return.
    fn spawn(&mut self, index: usize, now: Time) -> io::Result<()> {
        let (channel, child_channel) = channel::pair::<ToChild, ToMain>()?;
        let (mut log_reader, log_writer) = logpipe::pipe()?;
        let run_startup = index == 0 && self.stage == Stage::Starting;
        let Some(place) = self.places.get_mut(index) else { return Err(io::ErrorKind::NotFound.into()) };
        let mut keep = self.hub.fds();
        keep.extend([child_channel.as_raw_fd(), log_writer.as_raw_fd()]);
        keep.extend(place.sockets.iter().map(AsRawFd::as_raw_fd));
        keep.extend(place.helper_listener.iter().map(AsRawFd::as_raw_fd));
        let incarnation = place.incarnation.wrapping_add(1).max(1);
        self.hub.set_incarnation(index, incarnation);
        place.incarnation = incarnation;
        place.respawn_at = None;
        self.log.flush();
        match fork(&keep)? {
            Forked::Child => {
                self.log.become_child(log_writer);
                std::panic::set_hook(Box::new(|info| log::error!(target: ALERT, "panic: {info}")));
                let (kind, name, in_work) = (place.kind, place.name.clone(), place.in_work.clone());
                let group = place.group;
                let sockets = self.listeners.iter().cloned().zip(std::mem::take(&mut place.sockets)).collect();
                let helper_listener = place.helper_listener.take();
                let Some(bus) = self.hub.end(index) else { sys::exit_now(70) };
                let seat = Seat {
                    kind,
                    name,
                    index,
                    count: self.workers,
                    group,
                    incarnation,
                    hash_key: self.hash_key,
                    sockets,
                    helper_listener,
                    bus,
                    main: child_channel,
                    counters: self.counters.row(index),
                    in_work,
                    log: self.log,
                    run_startup,
                    start_vars: self.start_vars.take(),
                    started: self.started,
                };
                let child_main = &mut self.child_main;
                let code = catch_unwind(AssertUnwindSafe(|| child_main(seat))).unwrap_or(101);
                self.log.flush();
                sys::exit_now(code)
            }
            Forked::Main(pid) => {
                log_reader.set_pid(pid.as_raw());
                let both = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                registry.register(&mut SourceFd(&channel.as_raw_fd()), seat_token(CHANNEL, index), both)?;
                registry.register(
                    &mut SourceFd(&log_reader.as_raw_fd()),
                    seat_token(LOG, index),
                    Interest::READABLE,
                )?;
                place.tenant = Some(Tenant {
                    pid,
                    born: now,
                    channel,
                    log: log_reader,
                    ready: false,
                    idle: false,
                    pulse: Default::default(),
                    closed: None,
                });
                Ok(())
            }
        }
    }

    fn respawn(&mut self, index: usize, now: Time) {
        if let Err(e) = self.spawn(index, now) {
            log::error!("cannot start {} again: {e}; next try in a second", self.title(index));
            if let Some(place) = self.places.get_mut(index) {
                place.respawn_at = Some(now + Duration::from_secs(1));
            }
            self.vacate(index);
            return;
        }
        let incarnation = self.places.get(index).map_or(0, |p| p.incarnation);
        self.own.inc(Counter::ProcessRestarts);
        self.occupy(index);
        self.tell_others(index, &ToChild::PeerRespawned { index, incarnation });
    }

    fn on_log(&mut self, index: usize) {
        let Some(tenant) = self.places.get_mut(index).and_then(|p| p.tenant.as_mut()) else { return };
        if let Ok(true) = tenant.log.drain(self.log) {
            self.more_log.push(index);
        }
    }

    fn on_channel(&mut self, index: usize, now: Time) {
        if let Err(e) = self.hear(index, now)
            && let Some(tenant) = self.places.get_mut(index).and_then(|p| p.tenant.as_mut())
        {
            if e == ChannelError::Closed {
                // It is dying, or it is mad; the tick looks after the latter.
                tenant.closed.get_or_insert(now);
            } else {
                log::error!("process {}: {e}: killed", tenant.pid);
                tenant.kill();
            }
        }
    }

    /// Takes all messages of a child.
    fn hear(&mut self, index: usize, now: Time) -> Result<(), ChannelError> {
        loop {
            let Some(place) = self.places.get_mut(index) else { return Ok(()) };
            let life = place.incarnation;
            let Some(tenant) = &mut place.tenant else { return Ok(()) };
            // What cannot be sent to a dying child is no reason not to hear what it said last.
            let _ = tenant.channel.flush();
            match tenant.channel.recv()? {
                None => return Ok(()),
                Some(message) => self.on_message(index, life, message, now),
            }
        }
    }

    fn on_message(&mut self, index: usize, life: u32, message: ToMain, now: Time) {
        match message {
            ToMain::StartVars(bytes) => self.start_vars = Some(bytes),
            ToMain::StartupDone(Ok(())) => self.startup_done |= index == 0,
            ToMain::StartupDone(Err(reason)) => {
                log::error!("start-up failed: {reason}");
                if self.stage == Stage::Starting {
                    self.fail(now);
                }
            }
            ToMain::Ready => {
                if let Some(tenant) = self.places.get_mut(index).and_then(|p| p.tenant.as_mut()) {
                    tenant.ready = true;
                }
                if self.stage == Stage::Running {
                    self.start_traffic(index);
                }
            }
            ToMain::Idle => {
                if let Some(tenant) = self.places.get_mut(index).and_then(|p| p.tenant.as_mut()) {
                    tenant.idle = true;
                }
            }
            ToMain::Answer { id, result } => self.calls.answer(index, life, id, result),
            ToMain::Ask { ticket, text } => self.on_ask(index, life, ticket, text.as_bytes()),
        }
        let ready = |p: &Place| p.tenant.as_ref().is_some_and(|t| t.ready);
        if self.stage == Stage::Starting && self.startup_done && self.places.iter().all(ready) {
            self.stage = Stage::Running;
            for seat in 0..self.places.len() {
                self.start_traffic(seat);
            }
            self.systemd.ready(self.workers);
            let took = now.since(self.started).as_millis();
            log::info!(target: NOTICE, "{} is up: {} workers, {took} ms", self.version, self.workers);
        }
    }

    fn start_traffic(&mut self, index: usize) {
        self.tell_vacancies(index);
        if let Some(bytes) = self.start_vars.clone() {
            self.tell(index, &ToChild::StartVars(bytes));
        }
        self.tell(index, &ToChild::StartTraffic);
        self.lend_sockets();
    }

    fn on_death(&mut self, index: usize, how: &str, now: Time) {
        // What it still said counts, and its last log lines tell why.
        let _ = self.hear(index, now);
        let Some(place) = self.places.get_mut(index) else { return };
        let Some(mut tenant) = place.tenant.take() else { return };
        for _ in 0..64 {
            if !matches!(tenant.log.drain(self.log), Ok(true)) {
                break;
            }
        }
        let registry = self.poll.registry();
        let _ = registry.deregister(&mut SourceFd(&tenant.channel.as_raw_fd()));
        let _ = registry.deregister(&mut SourceFd(&tenant.log.as_raw_fd()));
        let life = place.incarnation;
        let title = place.title(index);
        let found = place.in_work.found();
        place.in_work.end();
        self.calls.died(index, life);
        self.counters.clear_gauges(index);
        self.hub.peer_died();
        let seats = self.seat_pids();
        let left = self.orphans.end_new(|pid| seats.contains(&pid));
        if left > 0 {
            log::info!("{title} left {left} programs behind: killed");
        }
        let Some(place) = self.places.get_mut(index) else { return };
        match self.stage {
            Stage::Starting => {
                log::error!("{title} (pid {}) {how} during start-up", tenant.pid);
                self.fail(now);
            }
            Stage::Running => {
                let delay = place.backoff.died(tenant.born, now);
                place.respawn_at = Some(now + delay.unwrap_or_default());
                let lost = if place.is_task() { "what it ran is answered 500" } else { "its calls are lost" };
                log::warn!("{title} (pid {}) {how}; {lost}, it is replaced", tenant.pid);
                if let Some(delay) = delay {
                    log::error!(target: ALERT, "{title} keeps dying: next try in {} s", delay.as_secs());
                    if let Some(f) = found {
                        log::error!(target: ALERT, "{title} died over {f}");
                    }
                }
                self.tell_others(index, &ToChild::PeerDied { index, incarnation: life });
                let survivor = self.places.iter().position(|p| p.is_worker() && p.tenant.is_some());
                if let Some(survivor) = survivor {
                    self.tell(survivor, &ToChild::ClearStale);
                }
                match delay {
                    None => self.respawn(index, now),
                    Some(_) => self.vacate(index),
                }
                self.lend_sockets();
            }
            Stage::Draining { .. } | Stage::Quitting { .. } => {
                // Nobody will read them again, and an unread socket swallows its share.
                place.sockets.clear();
                if matches!(self.stage, Stage::Draining { .. }) {
                    log::warn!("{title} (pid {}) {how} while draining", tenant.pid);
                    self.tell_others(index, &ToChild::PeerDied { index, incarnation: life });
                }
            }
        }
    }

    // ---- signals and the end

    fn on_signals(&mut self, now: Time) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok()) {
                Some(Signal::SIGCHLD) => self.reap(now),
                Some(Signal::SIGHUP) => match &mut self.on_reload {
                    Some(reload) => reload(),
                    None => log::warn!("reload is not available yet: nothing was changed"),
                },
                Some(Signal::SIGTERM | Signal::SIGINT) => self.on_terminate(now),
                _ => {}
            }
        }
    }

    fn reap(&mut self, now: Time) {
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("ended with status {code}")),
                Ok(WaitStatus::Signaled(pid, signal, core)) => {
                    (pid, format!("was killed by {signal}{}", if core { " (core dumped)" } else { "" }))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(e) => {
                    log::error!("cannot wait for children: {e}");
                    return;
                }
            };
            let seat = self.places.iter().position(|p| p.tenant.as_ref().is_some_and(|t| t.pid == pid));
            if let Some(index) = seat {
                self.on_death(index, &how, now);
            }
        }
    }

    fn on_terminate(&mut self, now: Time) {
        match self.stage {
            Stage::Starting => self.quit(now),
            Stage::Running => {
                self.systemd.stopping();
                let timeout_ms = u64::try_from(self.drain_timeout.as_millis()).unwrap_or(u64::MAX);
                log::info!(target: NOTICE, "terminating: up to {timeout_ms} ms for what is in flight");
                self.stage = Stage::Draining { until: now + self.drain_timeout + DRAIN_MARGIN };
                for index in 0..self.places.len() {
                    let Some(place) = self.places.get_mut(index) else { continue };
                    place.respawn_at = None;
                    if place.tenant.is_none() {
                        place.sockets.clear();
                    }
                    if place.is_worker() {
                        self.tell(index, &ToChild::Drain { timeout_ms });
                    }
                }
            }
            Stage::Draining { .. } | Stage::Quitting { .. } => {
                log::warn!("terminating at once");
                self.kill_all();
                self.over = true;
            }
        }
    }

    /// The start-up failed.
    fn fail(&mut self, now: Time) {
        self.exit_code = 1;
        self.quit(now);
    }

    fn quit(&mut self, now: Time) {
        if matches!(self.stage, Stage::Quitting { .. }) {
            return;
        }
        // A server that never came up has nothing to keep.
        if matches!(self.stage, Stage::Starting) {
            self.saving = None;
        }
        self.stage = Stage::Quitting { kill_at: now + self.quit_grace, who: Leaving::Workers };
        let writer = self.writer();
        for index in (0..self.workers).filter(|index| Some(*index) != writer) {
            self.tell(index, &ToChild::Quit);
        }
    }

    /// The seat of the worker that writes what is kept in databases.
    fn writer(&self) -> Option<usize> {
        self.saving?;
        self.places.iter().position(|p| p.is_worker() && p.tenant.is_some())
    }

    fn is_awaited(&self, index: usize, place: &Place, who: Leaving) -> bool {
        place.tenant.is_some()
            && match who {
                Leaving::Workers => place.is_worker() && self.writer() != Some(index),
                Leaving::Writer => place.is_worker(),
                Leaving::Helpers => true,
            }
    }

    fn advance_end(&mut self, now: Time) {
        if let Stage::Draining { until } = self.stage {
            let busy = self.places.iter().filter(|p| p.is_worker() && p.tenant.as_ref().is_some_and(|t| !t.idle));
            let busy = busy.count();
            if busy > 0 && now < until {
                return;
            }
            if busy > 0 {
                log::warn!("{busy} workers are still busy: the drain timeout is over");
            }
            self.quit(now);
        }
        let Stage::Quitting { kill_at, who } = self.stage else { return };
        let left = |(index, p): &(usize, &Place)| self.is_awaited(*index, p, who);
        if self.places.iter().enumerate().any(|p| left(&p)) {
            if now >= kill_at {
                for (_, place) in self.places.iter().enumerate().filter(left) {
                    if let Some(tenant) = &place.tenant {
                        log::warn!("process {} does not return: killed", tenant.pid);
                        tenant.kill();
                    }
                }
                // They are reaped soon; asking again does no harm.
                self.stage = Stage::Quitting { kill_at: now + TICK, who };
            }
            return;
        }
        match (who, self.writer()) {
            (Leaving::Helpers, _) => self.over = true,
            (Leaving::Workers, Some(writer)) => {
                let grace = self.quit_grace + self.saving.unwrap_or_default();
                self.stage = Stage::Quitting { kill_at: now + grace, who: Leaving::Writer };
                self.tell(writer, &ToChild::SaveAndQuit);
            }
            _ => {
                self.stage = Stage::Quitting { kill_at: now + self.quit_grace, who: Leaving::Helpers };
                for index in self.workers..self.places.len() {
                    self.tell(index, &ToChild::Quit);
                }
                if self.places.iter().all(|p| p.tenant.is_none()) {
                    self.over = true;
                }
            }
        }
    }

    fn kill_all(&mut self) {
        for place in &mut self.places {
            if let Some(tenant) = place.tenant.take() {
                tenant.kill();
                let _ = waitpid(tenant.pid, None);
            }
        }
        self.orphans.end_new(|_| false);
    }

    pub(super) fn stage_name(&self) -> &'static str {
        match self.stage {
            Stage::Starting => "starting",
            Stage::Running => "running",
            Stage::Draining { .. } => "draining",
            Stage::Quitting { .. } => "ending",
        }
    }
}

/// An empty place.
pub(super) fn place(kind: SeatKind, name: &str, in_work: crate::store::InWork) -> Place {
    Place {
        kind,
        name: name.to_owned(),
        group: None,
        sockets: Vec::new(),
        helper_listener: None,
        incarnation: 0,
        tenant: None,
        backoff: Backoff::default(),
        respawn_at: None,
        in_work,
        vacant: false,
        caretaker: None,
    }
}
