//! A worker's loop with nothing but the driver in it, for the tests of operations.

#![allow(dead_code, clippy::unwrap_used)]

use reprise::net::reactor::{Event, Reactor, clock};
use reprise::ops::driver::Driver;
use reprise::ops::{CancelReason, OpId, Outcome, Request};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The tests of one binary count fds and children of the whole process, so they run one after another.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

/// Open fds of this process.
pub fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

pub struct Loop {
    pub reactor: Reactor,
    pub driver: Driver,
    pub done: HashMap<OpId, (Outcome, Instant)>,
    events: Vec<Event>,
    /// Turns of the loop so far.
    pub turns: u64,
}

impl Loop {
    pub fn new() -> Loop {
        Self::with(Driver::new())
    }

    pub fn with(driver: Driver) -> Loop {
        Loop { reactor: Reactor::new(clock()).unwrap(), driver, done: HashMap::new(), events: Vec::new(), turns: 0 }
    }

    pub fn start(&mut self, request: Request, limit: Duration) -> OpId {
        let now = clock();
        let id = self.driver.start(request, now + limit, self.reactor.io(now));
        self.collect();
        id
    }

    pub fn cancel(&mut self, id: OpId, reason: CancelReason) {
        let now = clock();
        self.driver.cancel(id, reason, self.reactor.io(now));
        self.collect();
    }

    fn collect(&mut self) {
        let now = clock();
        while let Some((id, outcome)) = self.driver.poll_finished(&mut self.reactor.io(now)) {
            assert!(self.done.insert(id, (outcome, Instant::now())).is_none(), "an operation ended twice");
        }
    }

    pub fn turn(&mut self, cap: Duration) {
        let mut events = std::mem::take(&mut self.events);
        let now = self.reactor.turn(clock(), cap, &mut events).unwrap();
        for event in events.drain(..) {
            assert!(self.driver.handle(event, self.reactor.io(now)), "nobody's event: {event:?}");
        }
        self.events = events;
        self.turns += 1;
        self.collect();
    }

    /// Turns until `stop` says so; panics after `limit`.
    pub fn until(&mut self, limit: Duration, what: &str, mut stop: impl FnMut(&Loop) -> bool) {
        let begin = Instant::now();
        while !stop(self) {
            assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
            self.turn(Duration::from_millis(20));
        }
    }

    pub fn wait(&mut self, id: OpId) -> Outcome {
        self.until(Duration::from_secs(30), "an outcome", |l| l.done.contains_key(&id));
        self.done.remove(&id).unwrap().0
    }

    pub fn run(&mut self, request: Request, limit: Duration) -> Outcome {
        let id = self.start(request, limit);
        self.wait(id)
    }

    pub fn run_for(&mut self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.turn(time.saturating_sub(begin.elapsed()));
        }
    }
}
