//! Bringing the server up and down: what happens once, around main's loop.
//!
//! The order matters: everything that needs privileges or may wait (names, sockets, files) before
//! they are dropped; everything shared before the fork; no thread ever.

use super::main_loop::{CONTROL, SIGNALS, Stage, Supervisor, client_token, place};
use super::orphans::Orphans;
use super::pidfile::Pidfile;
use super::plan::Plan;
use super::privileges::Identity;
use super::sys;
use super::systemd::Systemd;
use crate::base::Time;
use crate::control::server::ControlServer;
use crate::net::bus::{BusConfig, BusHub};
use crate::net::listen::open_all;
use crate::net::logpipe::ALERT;
use crate::net::reactor::clock;
use crate::net::steer;
use crate::net::sys::realtime;
use crate::store::{CounterTable, InWork};
use crate::worker::seat::{Seat, SeatKind};
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Runs the server until it is told to end. `child_main` runs in each child, with its seat; what it
/// returns is the child's exit status. In main this returns 0 after an orderly end and 1 when the
/// start-up failed; the reason is in the log. The process must have one thread.
pub fn run(plan: Plan, child_main: &mut dyn FnMut(Seat) -> i32) -> ExitCode {
    ExitCode::from(run_to_code(plan, child_main))
}

/// As [`run`], with the exit code as a number.
pub fn run_to_code(plan: Plan, child_main: &mut dyn FnMut(Seat) -> i32) -> u8 {
    let log = plan.log;
    let code = match start(plan, child_main) {
        Ok(code) => code,
        Err(reason) => {
            log::error!(target: ALERT, "cannot start: {reason}");
            1
        }
    };
    log.finish();
    code
}

fn start(plan: Plan, child_main: &mut dyn FnMut(Seat) -> i32) -> Result<u8, String> {
    let started = clock();
    let text = |e: &dyn std::fmt::Display| e.to_string();
    // Found before the privileges are dropped.
    let systemd = Systemd::find();
    let identity = Identity::find(plan.user.as_deref(), plan.group.as_deref())?;
    if let Some(dir) = &plan.workdir {
        std::env::set_current_dir(dir).map_err(|e| format!("working directory {}: {e}", dir.display()))?;
    }
    let hash_key = random_key()?;
    limit(plan.core_dumps)?;
    let workers = plan.workers.max(1);
    let opened = open_all(plan.listeners, workers, plan.sizes).map_err(|e| text(&e))?;
    let mut control = match &plan.control {
        Some(c) => Some(ControlServer::bind(&c.path, c.mode, client_token).map_err(|e| text(&e))?),
        None => None,
    };
    if let Some(c) = &control {
        identity.give(c.path());
        if let Some(dir) = c.created_dir() {
            identity.give(dir);
        }
    }
    let pidfile = match &plan.pidfile {
        Some(path) => {
            let file = Pidfile::write(path).inspect_err(|_| control.iter().for_each(ControlServer::remove_file))?;
            identity.give(file.path());
            Some(file)
        }
        None => None,
    };
    plan.owned.iter().for_each(|path| identity.give(path));
    let prepare = || -> Result<Supervisor<'_>, String> {
        if let Some(dir) = &plan.chroot {
            let done = nix::unistd::chroot(dir).and_then(|()| nix::unistd::chdir("/"));
            done.map_err(|e| format!("chroot to {}: {e}", dir.display()))?;
        }
        identity.assume()?;
        let tasks: usize = plan.groups.iter().map(|g| g.workers).sum();
        let peers = workers + tasks + plan.helpers.len();
        // Task workers have nothing to say to each other.
        let bus = BusConfig { peers, hubs: workers, ring_bytes: plan.bus_ring_bytes, max_value: plan.bus_max_value };
        let hub = BusHub::new(bus).map_err(|e| format!("the bus: {e}"))?;
        // One row more, for main itself.
        let counters = CounterTable::new(peers + 1, plan.extra_counters).map_err(|e| format!("the counters: {e}"))?;
        let in_work = InWork::table(peers).map_err(|e| text(&e))?;
        let mut places: Vec<_> =
            in_work.iter().take(workers).map(|w| place(SeatKind::Worker, "worker", w.clone())).collect();
        let mut task_places = in_work.iter().skip(workers);
        for (number, group) in plan.groups.iter().enumerate() {
            for w in task_places.by_ref().take(group.workers) {
                let mut seat = place(SeatKind::Task, &group.name, w.clone());
                seat.group = Some(number);
                places.push(seat);
            }
        }
        for (helper, w) in plan.helpers.into_iter().zip(task_places) {
            let mut seat = place(SeatKind::Helper, &helper.name, w.clone());
            seat.helper_listener = Some(helper.listener);
            places.push(seat);
        }
        let mut listeners = Vec::new();
        for (listener, fds) in opened {
            log::info!("listening on {listener}");
            if !listener.transport.is_stream()
                && let Err(e) = steer::attach(&fds, hash_key[0] as u32)
            {
                log::info!("{listener}: the kernel does not choose the worker ({e}), the bus does");
            }
            listeners.push(listener);
            for (seat, fd) in places.iter_mut().zip(fds) {
                seat.sockets.push(fd);
            }
        }
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| text(&e))?;
        let handled = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD];
        sys::ignore_by_handler(&[Signal::SIGPIPE, Signal::SIGUSR1, Signal::SIGUSR2]).map_err(|e| text(&e))?;
        sys::block_only(&handled).map_err(|e| text(&e))?;
        let set: SigSet = handled.into_iter().collect();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags).map_err(|e| text(&e))?;
        let poll = Poll::new().map_err(|e| text(&e))?;
        let registry = poll.registry();
        registry
            .register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)
            .and_then(|()| control.as_mut().map_or(Ok(()), |c| c.register(registry, CONTROL)))
            .map_err(|e| text(&e))?;
        let own = counters.row(peers);
        Ok(Supervisor {
            poll,
            signals,
            places,
            workers,
            listeners,
            hash_key,
            hub,
            counters,
            own,
            log: plan.log,
            control: control.take(),
            facts: plan.facts,
            forwarded: plan.forwarded,
            calls: Default::default(),
            asked: Vec::new(),
            orphans: Orphans::default(),
            stage: Stage::Starting,
            startup_done: false,
            start_vars: None,
            exit_code: 0,
            over: false,
            drain_timeout: plan.drain_timeout,
            quit_grace: plan.quit_grace,
            saving: plan.saving,
            version: plan.version,
            started,
            started_wall: realtime(),
            on_reload: plan.on_reload,
            news: plan.news,
            systemd,
            next_alive: Time::ZERO,
            next_tick: started,
            more_log: Vec::new(),
            hang_timeout: plan.hang_timeout,
            child_main,
        })
    };
    let result = prepare().map(|mut supervisor| {
        let code = supervisor.serve();
        if let Some(control) = &supervisor.control {
            control.remove_file();
        }
        code
    });
    if let Some(control) = &control {
        control.remove_file();
    }
    if let Some(file) = pidfile {
        file.remove();
    }
    result
}

/// Whether processes that crash leave a core file.
fn limit(core_dumps: Option<bool>) -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let text = |what: &str, e: nix::Error| format!("{what}: {e}");
    if let Some(wanted) = core_dumps {
        let (_, most) = getrlimit(Resource::RLIMIT_CORE).map_err(|e| text("the limit of core files", e))?;
        let soft = if wanted { most } else { 0 };
        setrlimit(Resource::RLIMIT_CORE, soft, most).map_err(|e| text("the limit of core files", e))?;
    }
    Ok(())
}

fn random_key() -> Result<[u64; 2], String> {
    let mut raw = [0u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut raw));
    read.map_err(|e| format!("/dev/urandom: {e}"))?;
    let all = u128::from_ne_bytes(raw);
    Ok([all as u64, (all >> 64) as u64])
}
