//! What the end-to-end tests and the benchmarks share: the server under test, SIP peers, and
//! private instances of the real parts (database, web server, load generator, network).
//!
//! Everything that is started here ends with its handle (`Drop`), and at the latest with the test
//! program itself: children are started with a parent-death signal.

#![allow(dead_code, clippy::unwrap_used)]

pub mod ca;
pub mod dns;
pub mod dnsmasq;
pub mod freeradius;
pub mod mariadb;
pub mod mocks;
pub mod netns;
pub mod nginx;
pub mod probe;
pub mod process;
pub mod reprise;
pub mod sip;
pub mod sipp;
pub mod tcp;
pub mod tinyproxy;
pub mod uas;

use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Locks without caring whether another test panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A port of 127.0.0.1 that is free for UDP and TCP and was not handed out before by this process.
///
/// It is taken from below the ephemeral range, so that no client socket gets it in between.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` free ports in a row.
pub fn free_ports(count: u16) -> u16 {
    static USED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    const FIRST: u16 = 10_240;
    const SPAN: u16 = 22_000;
    let mut guard = lock(&USED);
    let used = guard.get_or_insert_default();
    let start = u16::try_from(u64::from(std::process::id()).wrapping_mul(7919) % u64::from(SPAN)).unwrap_or(0);
    for step in 0..SPAN {
        let first = FIRST + (start + step) % SPAN;
        let ports = first..first + count;
        let free =
            |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
        if ports.clone().all(|p| !used.contains(&p) && free(p)) {
            used.extend(ports);
            return first;
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// Calls `check` every 10 ms until it says true; panics with `what` after `timeout`.
pub fn eventually(what: &str, timeout: Duration, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + timeout;
    while !check() {
        assert!(Instant::now() < end, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who runs servers at present, and who wants the machine for itself.
struct Machine {
    busy: Vec<ThreadId>,
    alone: Option<ThreadId>,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine { busy: Vec::new(), alone: None });
static MACHINE_CHANGED: Condvar = Condvar::new();

/// Held by every running server under test.
pub struct Busy(ThreadId);

impl Busy {
    /// Waits while another test has the machine for itself. A test that runs a server already does not: who wants the
    /// machine waits for it, and they would wait for each other.
    pub fn enter() -> Busy {
        let me = std::thread::current().id();
        let mut machine = lock(&MACHINE);
        while machine.alone.is_some_and(|id| id != me) && !machine.busy.contains(&me) {
            machine = MACHINE_CHANGED.wait(machine).unwrap();
        }
        machine.busy.push(me);
        Busy(me)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut machine = lock(&MACHINE);
        if let Some(at) = machine.busy.iter().position(|id| *id == self.0) {
            machine.busy.swap_remove(at);
        }
        MACHINE_CHANGED.notify_all();
    }
}

/// See [`exclusive`].
pub struct Exclusive(());

/// Waits until no other test runs a server, and keeps others from starting one until dropped.
///
/// For tests that measure time. Call it first in the test, before the test starts anything.
pub fn exclusive() -> Exclusive {
    let me = std::thread::current().id();
    let mut machine = lock(&MACHINE);
    assert!(!machine.busy.contains(&me), "exclusive() must come before the first server of the test");
    while machine.alone.is_some() {
        machine = MACHINE_CHANGED.wait(machine).unwrap();
    }
    machine.alone = Some(me);
    while !machine.busy.is_empty() {
        machine = MACHINE_CHANGED.wait(machine).unwrap();
    }
    Exclusive(())
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        lock(&MACHINE).alone = None;
        MACHINE_CHANGED.notify_all();
    }
}
