//! Every kind of backend, in every phase, with every fault: a test for each kind, phase and side. See
//! `matrix.rs` for what there is and how it must end, `docs/faults.md` for what was measured.
//!
//! The tests mostly wait, so more of them run at once than there are processors; therefore this program has a
//! `main` of its own, which understands the usual harness's words, and `--page`: writes the page.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod blocking;
mod calls;
#[path = "../e2e/common.rs"]
#[allow(dead_code)]
mod common;
mod datagrams;
mod matrix;
mod page;
mod proxy;
mod rig;
mod victim;

use std::process::ExitCode;
use std::sync::Mutex;

use matrix::{KINDS, PHASES};

/// Tests at once.
const THREADS: usize = 8;

type Test = (String, Box<dyn Fn() + Send>);

fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for kind in KINDS {
        for phase in PHASES {
            for (process, side) in [(true, "process"), (false, "way")] {
                let cells = matrix::cells(kind, phase);
                if cells.iter().any(|c| rig::is_process(c.fault) == process) {
                    let name = format!("{kind}::{phase}::{side}").replace([' ', '-'], "_").to_lowercase();
                    tests.push((name, Box::new(move || rig::run(kind, phase, process))));
                }
            }
        }
    }
    tests.push(("blocking::judge_finds_what_waits".into(), Box::new(blocking::judge_finds_what_waits)));
    tests.push(("blocking::no_call_waits".into(), Box::new(blocking::no_call_waits)));
    tests.push(("blocking::no_list_is_read".into(), Box::new(blocking::no_list_is_read)));
    tests.push(("page_is_complete".into(), Box::new(page::is_complete)));
    tests
}

fn main() -> ExitCode {
    let (mut filters, mut threads, mut exact, mut page) = (Vec::new(), THREADS, false, false);
    let mut args = std::env::args().skip(1);
    let mut list = false;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--test-threads" => threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(threads),
            "--exact" => exact = true,
            "--page" => page = true,
            "--list" => list = true,
            a if a.starts_with('-') => {}
            _ => filters.push(arg),
        }
    }
    let chosen = |name: &str| {
        filters.is_empty() || filters.iter().any(|f| if exact { name == f } else { name.contains(f.as_str()) })
    };
    let mut all: Vec<Test> = tests().into_iter().filter(|(name, _)| chosen(name)).collect();
    if page {
        all.retain(|(name, _)| name != "page_is_complete");
    }
    if list {
        all.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", all.len());
    all.reverse();
    let count = all.len();
    let todo = Mutex::new(all);
    let failed = Mutex::new(0usize);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, 16) {
            scope.spawn(|| {
                loop {
                    let Some((name, test)) = support::lock(&todo).pop() else { return };
                    let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_ok();
                    println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
                    *support::lock(&failed) += usize::from(!ok);
                }
            });
        }
    });
    let mut failed = *support::lock(&failed);
    if page && failed == 0 {
        match page::write() {
            Ok(()) => println!("written: docs/faults.md"),
            Err(e) => {
                println!("{e}");
                failed = 1;
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {} passed; {failed} failed; 0 ignored\n", count.saturating_sub(failed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
