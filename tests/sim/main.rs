//! Simulation: the real worker (loop, machine, transactions, functions) on a simulated network and clock, with
//! callers and callees that obey the standard, a network that does not, and backends that answer
//! late, badly or never. What must hold is checked after every step (`checks.rs`, `world.rs`).
//!
//! `SIM_CALLS` (default 100000) says how many calls, `SIM_FIRST` (default 1) where the seeds begin, `SIM_SECONDS` ends
//! it earlier. `SIM_SEED=N cargo test --test sim calls -- --nocapture` runs one seed alone and prints its timeline.

mod callee;
mod caller;
mod checks;
mod regressions;
mod rng;
mod text;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::{CALLS, Tally, World};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name} is not a number: {v}")))
}

/// One seed from its beginning to its end.
fn seed(n: u64, timeline: bool) -> Result<Tally, String> {
    let run = || {
        let mut world = World::new(n, timeline);
        world.run().map(|()| std::mem::take(&mut world.tally))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("?")))
    })
}

#[test]
fn calls_on_a_hostile_network() {
    if let Some(n) = number("SIM_SEED") {
        return println!("{:?}", seed(n, true).unwrap_or_else(|what| panic!("seed {n}: {what}")));
    }
    let calls = number("SIM_CALLS").unwrap_or(100_000);
    let first = number("SIM_FIRST").unwrap_or(1);
    let until = number("SIM_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let (next, failures) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let sum = Mutex::new(Tally::default());
    let last = first + calls.div_ceil(CALLS as u64);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= last || until.is_some_and(|t| Instant::now() > t) || failures.lock().unwrap().len() >= 5 {
                        return;
                    }
                    match seed(n, false) {
                        Ok(t) => {
                            let mut s = sum.lock().unwrap();
                            s.calls += t.calls;
                            s.datagrams += t.datagrams;
                            s.operations += t.operations;
                            s.deadlines += t.deadlines;
                            s.cancelled += t.cancelled;
                            s.answered += t.answered;
                        }
                        Err(what) => failures.lock().unwrap().push((n, what)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!("{:?}", sum.into_inner().unwrap());
    if let Some((n, what)) = failures.iter().min() {
        println!("timeline of seed {n}:");
        let _ = seed(*n, true);
        panic!(
            "{} seeds failed, seed {n}: {what}\nalone: SIM_SEED={n} cargo test --test sim calls -- --nocapture",
            failures.len()
        );
    }
}
