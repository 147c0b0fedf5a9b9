//! THE loop of a worker. One turn:
//!
//! 1. poll, at most until the next timer;
//! 2. finished operations first: they free memory, and somebody waits for them;
//! 3. due timers;
//! 4. the bus;
//! 5. the sockets, in batches;
//! 6. what this turn produced leaves.

use super::locks::Locks;
use super::owners::Owners;
use super::seat::{Seat, ToMain};
use super::state::{Age, Blueprint, MainRoutes, Worker};
use crate::base::{Key, Slab, Time};
use crate::modules::emit;
use crate::modules::env::Env;
use crate::modules::rest_client::settings::HttpSettings;
use crate::modules::time_text::wall_micros;
use crate::net::batch::RecvBatch;
use crate::net::bus::Bus;
use crate::net::connections::Connections;
use crate::net::listen::{Listener, Transport};
use crate::net::reactor::{Event, Interest, READY_PER_TURN, Reactor, Source, clock};
use crate::net::udp::UdpSocket;
use crate::ops::driver::{Driver, OpKind};
use crate::ops::exec;
use crate::ops::http::{Http, Limits as HttpLimits};
use crate::ops::sql::Limits;
use crate::ops::sql::mysql::Mysql;
use crate::ops::sql::sqlite::{Sqlite, SqliteEndpoint};
use crate::script::ast::RouteKind;
use crate::store::Shared;
use crate::transaction::Transactions;
use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Longest sleep; the loop looks at what has no event of its own at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(1000);
/// Batches read from one socket per turn.
const BATCHES_PER_TURN: usize = 8;
/// Values taken from the bus per turn.
const BUS_PER_TURN: usize = 256;

const ONLY: Key = Key { index: 0, generation: 0 };

/// Runs a worker until main says it is enough. Returns the process's exit code.
pub fn main(seat: Seat, blueprint: &Blueprint) -> i32 {
    match Worker::new(seat, blueprint.clone()) {
        Ok(mut worker) => match worker.run() {
            Ok(()) => 0,
            Err(e) => {
                emit(-2, "worker", &format!("the loop failed: {e}"));
                1
            }
        },
        Err(e) => {
            emit(-2, "worker", &format!("cannot start: {e}"));
            1
        }
    }
}

/// What a worker stands on: the system, or a simulation of it.
pub(super) struct Ground {
    /// The time.
    pub now: Time,
    /// The poll.
    pub reactor: Reactor,
    /// Operations.
    pub driver: Driver,
    /// A socket for each listener.
    pub udp: Vec<Option<UdpSocket>>,
    /// The listening sockets of streams.
    pub streams: Vec<(Rc<Listener>, OwnedFd)>,
}

/// Hands the certificates over, and reads those of the CAs before there is traffic.
fn prepare_http(http: &mut Http, settings: &HttpSettings) {
    http.set_limits(HttpLimits { lifetime: settings.lifetime, ..HttpLimits::default() });
    for (name, identity) in &settings.identities {
        http.tls().set_identity(name, identity.clone());
    }
    for file in settings.ca_files() {
        if let Err(why) = http.tls().preload(&file.to_lossy()) {
            emit(-1, "ops", &format!("CA certificates cannot be read: {why}"));
        }
    }
}

impl Worker {
    fn new(mut seat: Seat, mut blueprint: Blueprint) -> io::Result<Worker> {
        let now = clock();
        let mut env = Env {
            pid: std::process::id(),
            tag_key: seat.hash_key,
            // It may have been changed before this process was made.
            level: Cell::new(seat.log.changed_level().map(i32::from)),
            ..Env::clone(&blueprint.env)
        };
        if let Some((dir, size)) = &blueprint.store {
            env.store = Some(Shared::open(dir, *size, Some(seat.counters.clone()))?);
        }
        blueprint.env = Rc::new(env);
        let (mut udp, mut streams) = (Vec::with_capacity(seat.sockets.len()), Vec::new());
        for (listener, fd) in std::mem::take(&mut seat.sockets) {
            udp.push(match listener.transport {
                Transport::Udp => Some(UdpSocket::from_fd(fd)?),
                _ => {
                    streams.push((listener, fd));
                    None
                }
            });
        }
        blueprint.env = Rc::new(Env { counters: Some(seat.counters.clone()), ..Env::clone(&blueprint.env) });
        let mut driver = Driver::with_resolver(blueprint.resolver.load());
        let backends = &blueprint.env.settings.backends;
        driver.backends().set_latencies(seat.counters.latencies());
        for kind in OpKind::ALL {
            driver.backends().set_policy(kind, backends.policy(kind));
        }
        driver.exec().set_limits(exec::Limits {
            children: backends.exec_children,
            queue: backends.queue,
            output: blueprint.env.settings.exec_output,
            ..exec::Limits::default()
        });
        *driver.mysql() = Mysql::new(backends.mysql.clone());
        if let Some(path) = &blueprint.sqlite {
            *driver.sqlite() = Sqlite::new(Some(SqliteEndpoint { path: path.clone() }), Limits::default());
        }
        if let Some(config) = &blueprint.env.settings.radius {
            driver.radius().configure(config.clone());
        }
        prepare_http(driver.http(), &blueprint.env.settings.http);
        for (_, url) in &blueprint.env.settings.db_urls {
            if !url.starts_with(b"sqlite")
                && let Err(why) = driver.mysql().prepare(url)
            {
                emit(-1, "ops", &format!("the database cannot be prepared: {why}"));
            }
        }
        Worker::on(Ground { now, reactor: Reactor::new(now)?, driver, udp, streams }, seat, blueprint)
    }

    /// A worker that has run its startup route as far as that does not wait.
    pub(super) fn on(ground: Ground, seat: Seat, blueprint: Blueprint) -> io::Result<Worker> {
        if let Some(store) = &blueprint.env.store
            && let Err(why) = store.begin_with(&blueprint.env.settings.shared_vars)
        {
            return Err(io::Error::other(why.to_string()));
        }
        let Ground { now, mut reactor, driver, udp, streams: listening } = ground;
        let rows = blueprint.conns.part(seat.index, seat.incarnation);
        let mut streams = Connections::new(blueprint.streams.clone(), rows, seat.counters.clone());
        for (listener, fd) in listening {
            streams.listen(&listener, fd);
        }
        let mut io = reactor.io(now);
        io.register(&seat.main, Source::Main, ONLY, Interest::READABLE | Interest::WRITABLE)?;
        io.register(&seat.bus.fd(), Source::Bus, ONLY, Interest::READABLE)?;
        if let Some(fd) = seat.log.raw_fd() {
            io.register(&fd, Source::Log, ONLY, Interest::WRITABLE)?;
        }
        let mut config = blueprint.tm.clone();
        config.worker = seat.index as u16;
        config.incarnation = seat.incarnation;
        config.secret[..8].copy_from_slice(&seat.hash_key[0].to_be_bytes());
        config.secret[8..].copy_from_slice(&seat.hash_key[1].to_be_bytes());
        let program = &blueprint.program;
        let routes = MainRoutes {
            request: program.find_route(RouteKind::Request, None),
            reply: program.find_route(RouteKind::OnReply, None),
            local: program.find_route(RouteKind::Local, None),
            error: program.find_route(RouteKind::Error, None),
            local_response: program.find_route(RouteKind::Event, Some("tm:local-response")),
            local_ack: program.find_route(RouteKind::Event, Some("tm:local-ack-sent")),
            stray_reply: blueprint
                .env
                .settings
                .tm
                .stray_reply
                .as_ref()
                .and_then(|name| program.find_route(RouteKind::OnReply, Some(&name.to_lossy()))),
            startup: program.find_route(RouteKind::Startup, None).filter(|_| seat.run_startup),
        };
        let bus_peers = seat.bus.peers();
        let mut worker = Worker {
            now,
            routes,
            me: seat.index,
            count: seat.count,
            owners: Owners::new(seat.hash_key, seat.count),
            reactor,
            driver,
            tm: Transactions::new(now, config),
            tm_timer: None,
            udp,
            adopted: Vec::new(),
            early: VecDeque::new(),
            started: seat.started,
            batch: Some(RecvBatch::new()),
            streams,
            backlog: super::streams::Backlog::default(),
            lost_conns: HashMap::new(),
            bus: seat.bus,
            main: seat.main,
            counters: seat.counters,
            in_work: seat.in_work,
            log: seat.log,
            parked: Slab::new(),
            by_op: HashMap::new(),
            suspended: HashMap::new(),
            aside: 0,
            asks: Default::default(),
            jobs: Slab::new(),
            lookups: Slab::new(),
            ways: Slab::new(),
            blacklist: super::blacklist::Blacklist::default(),
            drawn: 0,
            work: VecDeque::new(),
            yielded: VecDeque::new(),
            writing: HashSet::new(),
            locks: Locks::default(),
            timers: Vec::new(),
            natping: Default::default(),
            asking: Default::default(),
            dispatching: Default::default(),
            consumers: Vec::new(),
            table_work: Default::default(),
            group: seat.group,
            groups: super::groups::Groups::new(&blueprint.env.settings.groups, seat.index, seat.count, bus_peers),
            guests: Default::default(),
            courier: Default::default(),
            copies: HashMap::new(),
            hooks: Default::default(),
            location: Default::default(),
            registrant: Default::default(),
            reloads: Default::default(),
            drain: None,
            stalled: super::block::Stalled::default(),
            traffic: false,
            faults: super::faults::Faults::find(),
            quit: false,
            save: false,
            messages: 0,
            made: 0,
            age: Age::new(blueprint.env.settings.overload_age),
            told: Default::default(),
            tide: Default::default(),
            scratch: Vec::new(),
            accounting: Default::default(),
            blueprint,
        };
        worker.accounting.on = worker.blueprint.program.modules.contains(&"acc");
        worker.find_hooks();
        if seat.incarnation > 1 && seat.group.is_none() {
            worker.recover_locks();
        }
        if let Some(vars) = &seat.start_vars {
            worker.begin_with(vars);
        }
        if seat.run_startup {
            match worker.load_all() {
                Ok(()) => worker.startup(0),
                Err(why) => worker.tell_main(&ToMain::StartupDone(Err(why))),
            }
        }
        worker.tell_main(&ToMain::Ready);
        Ok(worker)
    }

    /// Main says that all are ready: read the sockets, arm the timer routes.
    pub(super) fn start_traffic(&mut self) {
        if std::mem::replace(&mut self.traffic, true) {
            return;
        }
        for (i, socket) in self.udp.iter().enumerate() {
            let Some(socket) = socket.as_ref().filter(|s| s.fd().is_some()) else { continue };
            let key = Key { index: i as u32, generation: 0 };
            let mut io = self.reactor.io(self.now);
            if let Err(e) = io.register(socket, Source::Udp, key, Interest::READABLE) {
                emit(-2, "worker", &format!("cannot watch {}: {e}", socket.local()));
                self.quit = true;
            }
            io.again(Source::Udp, key);
        }
        if let Err(e) = self.streams.start(self.reactor.io(self.now)) {
            emit(-2, "worker", &format!("cannot watch the listeners of streams: {e}"));
            self.quit = true;
        }
        if self.group.is_none() {
            self.arm_timer_routes();
            self.find_consumers();
        }
        for (envelope, payload) in std::mem::take(&mut self.early) {
            self.bus_value(&envelope, &payload);
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut busy = false;
        while !self.quit {
            busy = self.turn(busy, &mut events)?;
        }
        self.flush();
        self.end_streams();
        if self.save {
            self.save_queues();
        }
        self.log.finish();
        Ok(())
    }

    /// One turn; true if something is left that does not let the next one sleep.
    pub(super) fn turn(&mut self, busy: bool, events: &mut Vec<Event>) -> io::Result<bool> {
        let stalled = !self.stalled.events.is_empty() || !self.stalled.finished.is_empty();
        // What a flush found out (a connection that was refused) may have had its answer at once, out of a cache.
        let results = self.driver.has_results();
        let may_sleep = !busy && !stalled && !results && self.work.is_empty() && self.bus.prepare_sleep();
        let cap = if may_sleep { LONGEST_SLEEP } else { Duration::ZERO };
        events.clear();
        self.in_work.beat();
        self.now = self.reactor.turn(self.now, cap, events)?;
        for event in events.iter() {
            let io = self.reactor.io(self.now);
            self.driver.handle(*event, io);
        }
        events.append(&mut self.stalled.events);
        let mut busy = self.completions();
        self.due(events);
        busy |= self.receive_bus();
        self.ready(events);
        if events.len() >= READY_PER_TURN {
            self.read_sockets();
        }
        self.age.turn_ends();
        busy |= self.work();
        busy |= self.completions();
        self.flush_transactions();
        self.look_at_drain();
        self.flush();
        self.arm_transactions();
        self.count_lateness();
        if !busy {
            self.look_at_memory();
        }
        Ok(busy)
    }

    /// Due timers that are not the operations' own.
    fn due(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Due(Source::Transaction, _) => {
                    self.tm_timer = None;
                    self.tm.expire(self.now);
                    self.flush_transactions();
                }
                Event::Due(Source::Worker, key) if *key == super::accounting::TIMER => self.write_rows(),
                Event::Due(Source::Worker, key) if key.index == super::guests::PAUSE => self.start_arrived(),
                Event::Due(Source::Worker, key) if key.index != u32::MAX => self.timer_due(*key),
                Event::Due(Source::Locks, _) => self.expire_locks(),
                Event::Due(Source::Asks, key) => self.ask_due(*key),
                Event::Due(Source::Tcp, key) => self.streams.due(*key, self.reactor.io(self.now)),
                _ => {}
            }
        }
    }

    fn receive_bus(&mut self) -> bool {
        let mut values = Vec::new();
        let n = self.bus.drain(BUS_PER_TURN, &mut |envelope, payload| values.push((envelope, payload.to_vec())));
        for (envelope, payload) in &values {
            self.bus_value(envelope, payload);
        }
        n == BUS_PER_TURN
    }

    /// Sockets and channels.
    fn ready(&mut self, events: &[Event]) {
        for event in events {
            match *event {
                Event::Ready(Source::Udp, key, r) => {
                    if r.writable && key.generation == 0 {
                        self.flush_sockets();
                    }
                    if r.error {
                        self.socket_errors(key);
                    }
                    self.read_socket(key);
                }
                Event::Again(Source::Udp, key) => self.read_socket(key),
                Event::Ready(Source::Tcp, key, r) => self.stream_ready(key, r),
                Event::Again(Source::Tcp, key) => self.stream_again(key),
                Event::Ready(Source::Main, ..) => {
                    let _ = self.main.flush();
                    self.main_readable();
                }
                Event::Ready(Source::Log, ..) => self.log.flush(),
                _ => {}
            }
        }
    }

    /// In a crowd: thousands of operations may be ready before a socket whose datagrams came after them.
    fn read_sockets(&mut self) {
        for index in 0..self.udp.len() {
            self.read_socket(Key { index: index as u32, generation: 0 });
        }
    }

    /// Reads batches until the socket is empty or has had its share of the turn.
    fn read_socket(&mut self, key: Key) {
        if !self.traffic {
            return;
        }
        let index = key.index as usize;
        for _ in 0..BATCHES_PER_TURN {
            let Some(mut batch) = self.batch.take() else { return };
            let socket = match key.generation {
                0 => self.udp.get(index).and_then(Option::as_ref),
                other => self.adopted_socket(index, other),
            };
            let Some(socket) = socket else {
                self.batch = Some(batch);
                return;
            };
            match socket.recv_batch(&mut batch) {
                Ok(_) => {}
                Err(e) => {
                    self.batch = Some(batch);
                    if e.kind() == io::ErrorKind::WouldBlock {
                        return;
                    }
                    // An ICMP error of an earlier datagram: the next read goes on.
                    self.socket_errors(key);
                    continue;
                }
            }
            let wall = Duration::from_micros(wall_micros().max(0) as u64);
            for datagram in batch.iter() {
                if let Some(at) = datagram.at {
                    self.age.note(wall.saturating_sub(at));
                }
                self.datagram(datagram.data, datagram.from, index as u16);
            }
            let drained = batch.drained();
            self.batch = Some(batch);
            if drained {
                return;
            }
        }
        self.reactor.io(self.now).again(Source::Udp, key);
    }

    /// How late the sleepers of this turn went on, counted until what they sent has left.
    fn count_lateness(&mut self) {
        let mut woken = self.driver.sleep().take_woken().peekable();
        if woken.peek().is_none() {
            return;
        }
        let now = self.reactor.clock();
        for due in woken {
            self.counters.inc(crate::store::Counter::late(now.since(due)));
        }
    }

    /// What this turn produced leaves.
    fn flush(&mut self) {
        self.flush_streams();
        self.flush_sockets();
        if !self.locks_idle() {
            self.flush_locks();
        }
        if !self.asks.is_sent() {
            self.flush_asks();
        }
        self.flush_backlog();
        self.flush_groups();
        self.flush_courier();
        self.bus.flush();
        let _ = self.main.flush();
        self.log.flush();
        self.count_transactions();
    }
}
