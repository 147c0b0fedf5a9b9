//! A worker's loop with nothing but the driver in it.

use reprise::base::Str;
use reprise::net::reactor::{Reactor, clock};
use reprise::ops::driver::Driver;
use reprise::ops::{CancelReason, Failure, OpId, Outcome, Phase, Request, SqlRequest, SqlResult, SqlValue, Why};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Ample for anything that is not meant to end by its deadline.
pub const AMPLE: Duration = Duration::from_secs(20);

/// The tests count the fds of the whole process, so they run one after another.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Open fds of this process.
pub fn fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Reactor and driver of a pretended worker.
pub struct Loop {
    pub reactor: Reactor,
    pub driver: Driver,
    pub done: HashMap<OpId, (Outcome, Instant)>,
    /// The longest time one turn spent outside the poll.
    pub longest: Duration,
}

impl Loop {
    pub fn new() -> Loop {
        Loop::with(Driver::new())
    }

    pub fn with(driver: Driver) -> Loop {
        Loop { reactor: Reactor::new(clock()).unwrap(), driver, done: HashMap::new(), longest: Duration::ZERO }
    }

    pub fn start(&mut self, url: &str, query: &str, limit: Duration) -> OpId {
        self.start_with(url, query, Vec::new(), limit)
    }

    pub fn start_with(&mut self, url: &str, query: &str, params: Vec<SqlValue>, limit: Duration) -> OpId {
        self.start_transaction(url, vec![(query, params)], limit)
    }

    /// Several statements that are one transaction.
    pub fn start_transaction(&mut self, url: &str, all: Vec<(&str, Vec<SqlValue>)>, limit: Duration) -> OpId {
        let mut all = all.into_iter().map(|(query, params)| (Str::from(query), params));
        let (query, params) = all.next().expect("a statement");
        let request = Request::Sql(SqlRequest { url: Str::from(url), query, params, then: all.collect() });
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
        let mut events = Vec::new();
        let now = self.reactor.turn(clock(), cap, &mut events).unwrap();
        let begin = Instant::now();
        for event in events {
            assert!(self.driver.handle(event, self.reactor.io(now)), "nobody's event: {event:?}");
        }
        self.collect();
        self.longest = self.longest.max(begin.elapsed());
    }

    /// Turns for some time.
    pub fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(Duration::from_millis(5));
        }
    }

    pub fn wait(&mut self, id: OpId) -> Outcome {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.done.contains_key(&id) {
            assert!(Instant::now() < end, "an operation without an outcome");
            self.turn(Duration::from_millis(20));
        }
        self.done.remove(&id).unwrap().0
    }

    /// A query's result.
    pub fn ok(&mut self, url: &str, query: &str) -> SqlResult {
        let id = self.start(url, query, AMPLE);
        rows(self.wait(id))
    }

    /// A query's failure.
    pub fn fails(&mut self, url: &str, query: &str, limit: Duration) -> Failure {
        let id = self.start(url, query, limit);
        failure(self.wait(id))
    }

    /// The first value of the first row.
    pub fn one(&mut self, url: &str, query: &str) -> SqlValue {
        self.ok(url, query).rows[0][0].clone()
    }

    /// Asserts how a query fails.
    #[track_caller]
    pub fn expect(&mut self, url: &str, query: &str, limit: Duration, why: Why, phase: Phase) -> Failure {
        let failure = self.fails(url, query, limit);
        assert_eq!((failure.why, failure.phase), (why, phase), "{failure}");
        failure
    }
}

#[track_caller]
pub fn rows(outcome: Outcome) -> SqlResult {
    match outcome {
        Outcome::Sql(result) => result,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

pub fn text(t: impl AsRef<[u8]>) -> SqlValue {
    SqlValue::Text(Str::from(t.as_ref()))
}
