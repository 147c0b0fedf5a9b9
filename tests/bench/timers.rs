//! The timer wheel alone, with a million timers pending.

use std::time::Instant;

use reprise::base::{Time, Wheel};

use super::figures::median;
use super::support::process;

const TIMERS: u64 = 1_000_000;
/// Deadlines lie within this many milliseconds: what transactions and waits use.
const SPAN_MS: u64 = 180_000;

struct Run {
    arm_ns: f64,
    disarm_ns: f64,
    fire_ns: f64,
    bytes: f64,
}

/// Runs it and makes the table.
pub fn table(repeats: usize) -> String {
    let runs: Vec<Run> = (0..repeats).map(|_| run()).collect();
    format!(
        "{TIMERS} timers pending at once, deadlines spread over {} s, median of {repeats}:\n\n\
         | arm, ns | disarm, ns | fire, ns (moving through the levels included) | bytes per timer |\n|---|---|---|---|\n\
         | {:.0} | {:.0} | {:.0} | {:.0} |\n",
        SPAN_MS / 1000,
        median(&runs, |r| r.arm_ns),
        median(&runs, |r| r.disarm_ns),
        median(&runs, |r| r.fire_ns),
        median(&runs, |r| r.bytes),
    )
}

fn run() -> Run {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let before = process::rss_kib(own);
    let mut wheel = Wheel::new(Time::ZERO);
    // A fixed sequence that spreads well: the multiplier of a linear congruential generator.
    let mut seed = 1u64;
    let mut deadline = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Time::from_millis(1 + (seed >> 33) % SPAN_MS)
    };
    let start = Instant::now();
    let keys: Vec<_> = (0..TIMERS).map(|i| wheel.insert(deadline(), (i, 0u64))).collect();
    let arm_ns = start.elapsed().as_nanos() as f64 / TIMERS as f64;
    let keys_kib = TIMERS * std::mem::size_of_val(&keys[0]) as u64 / 1024;
    let bytes = process::rss_kib(own).saturating_sub(before + keys_kib) as f64 * 1024.0 / TIMERS as f64;

    // Every second one is disarmed and armed again, as most timers of a server are.
    let start = Instant::now();
    let mut disarmed = 0u64;
    for key in keys.into_iter().step_by(2) {
        disarmed += u64::from(wheel.cancel(key).is_some());
    }
    let disarm_ns = start.elapsed().as_nanos() as f64 / disarmed.max(1) as f64;
    for i in 0..disarmed {
        wheel.insert(deadline(), (i, 0));
    }

    let start = Instant::now();
    let mut fired = 0u64;
    for ms in 1..=SPAN_MS + 1 {
        wheel.expire(Time::from_millis(ms), |_| fired += 1);
    }
    let fire_ns = start.elapsed().as_nanos() as f64 / fired.max(1) as f64;
    assert_eq!(fired, TIMERS, "every timer fires once");
    Run { arm_ns, disarm_ns, fire_ns, bytes }
}
