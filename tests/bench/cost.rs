//! What a request costs: CPU time of a server's whole process tree per unit of work, for the same
//! work by different servers in alternating runs on one machine. `tests/bench/README.md` tells how
//! to run it and how to read the tables.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod calls;
mod echo;
mod figures;
mod flood;
mod page;
mod ringing;
mod servers;
mod timers;
mod waits;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use calls::Calls;
use servers::Kind;
use waits::{Backend, Waits};

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Job {
    /// The bare loop.
    Echo,
    /// The timer wheel alone.
    Timers,
    /// Load by SIPp.
    Calls(Calls),
    /// Requests that wait.
    Waits(Waits),
}

/// A workload by the name it has on the command line and in the page.
#[derive(Debug, Clone, Copy)]
struct Workload {
    name: &'static str,
    /// Runs when none is named.
    usual: bool,
    job: Job,
}

const OPTIONS: Calls = Calls {
    config: "options",
    caller: "uac-options",
    callee: None,
    unit: "OPTIONS",
    rate: 5000,
    workers: 2,
    most_rounds: usize::MAX,
};
const CALL: Calls = Calls {
    config: "call",
    caller: "uac-invite",
    callee: Some("uas-invite"),
    unit: "call",
    rate: 500,
    workers: 2,
    most_rounds: usize::MAX,
};
const SLEEP: Waits = Waits {
    config: "sleep",
    backend: Backend::Sleep,
    wait: Duration::from_secs(6),
    rate: 900,
    count: 4500,
    workers: 1,
    tasks: 0,
    ms_timer: 1,
    most_rounds: usize::MAX,
};
const HTTP: Waits = Waits {
    config: "http",
    backend: Backend::Http("/slow"),
    wait: Duration::from_millis(100),
    rate: 300,
    count: 1800,
    tasks: 64,
    most_rounds: 2,
    ..SLEEP
};
const SQL: Waits = Waits { config: "sql", backend: Backend::Sql("SELECT SLEEP(0.1)"), ..HTTP };

const TASK: Waits =
    Waits { config: "task", backend: Backend::Task, wait: Duration::ZERO, rate: 1000, count: 6000, tasks: 4, ..SLEEP };
const QUEUE: Waits = Waits {
    config: "queue-timers",
    backend: Backend::Queue { event: false },
    rate: 500,
    count: 3000,
    workers: 2,
    ..TASK
};

const fn usual(name: &'static str, job: Job) -> Workload {
    Workload { name, usual: true, job }
}

const fn rare(name: &'static str, job: Job) -> Workload {
    Workload { name, usual: false, job }
}

/// In the order of the page.
const WORKLOADS: [Workload; 26] = [
    usual("echo", Job::Echo),
    usual("options", Job::Calls(OPTIONS)),
    usual("options-1", Job::Calls(Calls { workers: 1, ..OPTIONS })),
    usual("options-4", Job::Calls(Calls { workers: 4, ..OPTIONS })),
    rare("options-20k", Job::Calls(Calls { rate: 20_000, ..OPTIONS })),
    usual("call", Job::Calls(CALL)),
    rare("call-1", Job::Calls(Calls { workers: 1, ..CALL })),
    rare("call-4", Job::Calls(Calls { workers: 4, ..CALL })),
    rare("call-2k", Job::Calls(Calls { rate: 2000, ..CALL })),
    usual("call-4k", Job::Calls(Calls { rate: 4000, most_rounds: 2, ..CALL })),
    usual("sleep", Job::Waits(SLEEP)),
    rare("sleep-10ms", Job::Waits(Waits { ms_timer: 10, ..SLEEP })),
    usual("http-slow", Job::Waits(HTTP)),
    usual(
        "http-fast",
        Job::Waits(Waits {
            backend: Backend::Http("/now"),
            wait: Duration::ZERO,
            rate: 1000,
            count: 6000,
            tasks: 4,
            ..HTTP
        }),
    ),
    usual("sql-slow", Job::Waits(SQL)),
    usual(
        "sql-fast",
        Job::Waits(Waits {
            backend: Backend::Sql("SELECT credit FROM users WHERE uid = 'alice'"),
            wait: Duration::ZERO,
            rate: 1000,
            count: 6000,
            tasks: 4,
            ..SQL
        }),
    ),
    usual(
        "exec",
        Job::Waits(Waits {
            config: "exec",
            backend: Backend::Command,
            wait: Duration::ZERO,
            rate: 100,
            count: 600,
            tasks: 8,
            ..HTTP
        }),
    ),
    usual(
        "late",
        Job::Waits(Waits { wait: Duration::from_secs(2), rate: 5000, count: 30_000, most_rounds: 2, ..SLEEP }),
    ),
    usual(
        "suspended",
        Job::Waits(Waits {
            config: "sleep-s",
            wait: Duration::from_secs(12),
            rate: 5000,
            count: 50_000,
            most_rounds: 1,
            ..SLEEP
        }),
    ),
    usual(
        "transactions",
        Job::Waits(Waits {
            config: "call",
            backend: Backend::Ringing,
            wait: Duration::ZERO,
            rate: 5000,
            count: 100_000,
            most_rounds: 1,
            ..SLEEP
        }),
    ),
    usual("ms-sleep", Job::Waits(Waits { config: "ms-sleep", wait: Duration::from_secs(1), ..SLEEP })),
    usual("task", Job::Waits(TASK)),
    rare("task-group", Job::Waits(Waits { config: "task-group", ..TASK })),
    usual("queue-timers", Job::Waits(QUEUE)),
    usual("queue-event", Job::Waits(Waits { config: "queue-event", backend: Backend::Queue { event: true }, ..QUEUE })),
    usual("timers", Job::Timers),
];

/// How the command line wants it.
pub struct Settings {
    servers: Vec<Kind>,
    workloads: Vec<Workload>,
    repeats: usize,
    seconds: u64,
    /// Instead of what each workload says.
    workers: Option<u32>,
    out: Option<String>,
    page: Option<String>,
}

impl Settings {
    /// The runs of the server that others are compared with.
    fn base<'a, R>(&self, runs: &'a [(Kind, Vec<R>)]) -> Option<&'a [R]> {
        runs.iter().find(|(kind, runs)| *kind == Kind::Kamailio && !runs.is_empty()).map(|(_, runs)| runs.as_slice())
    }
}

fn usage() -> String {
    let names: Vec<&str> = WORKLOADS.iter().map(|w| w.name).collect();
    format!(
        "cost [--servers reprise,reprise-k,kamailio,opensips] [--workloads NAME,...] [--repeats 3] [--seconds 6]\n     \
         [--workers N] [--out FILE.md] [--page docs/performance.md]\nworkloads: {}",
        names.join(" ")
    )
}

fn settings() -> Result<Settings, String> {
    let mut settings = Settings {
        servers: vec![Kind::Reprise, Kind::Kamailio],
        workloads: WORKLOADS.iter().copied().filter(|w| w.usual).collect(),
        repeats: 3,
        seconds: 6,
        workers: None,
        out: None,
        page: None,
    };
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag}: a value is missing\n{}", usage()))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag}: not a number: {value}"));
        match flag.as_str() {
            "--servers" => settings.servers = value.split(',').map(Kind::parse).collect::<Result<_, _>>()?,
            "--workloads" => {
                settings.workloads = value
                    .split(',')
                    .map(|name| {
                        let found = WORKLOADS.iter().find(|w| w.name == name).copied();
                        found.ok_or_else(|| format!("no workload {name}\n{}", usage()))
                    })
                    .collect::<Result<_, _>>()?;
            }
            "--repeats" => settings.repeats = usize::try_from(number()?).unwrap_or(1).max(1),
            "--seconds" => settings.seconds = number()?.max(1),
            "--workers" => settings.workers = Some(u32::try_from(number()?).unwrap_or(1).max(1)),
            "--out" => settings.out = Some(value),
            "--page" => settings.page = Some(value),
            _ => return Err(format!("unknown flag {flag}\n{}", usage())),
        }
    }
    // A server that is not installed is left out, and said so, before anything runs.
    for kind in &settings.servers {
        if !kind.is_installed() {
            eprintln!("{} is not installed: left out", kind.name());
        }
    }
    settings.servers.retain(|k| k.is_installed());
    Ok(settings)
}

fn main() -> ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut report = format!("{}\n", machine());
    let mut tables = vec![("machine", machine())];
    for workload in &settings.workloads {
        let table = match &workload.job {
            Job::Echo => echo::table(settings.repeats, Duration::from_secs(settings.seconds.min(3))),
            Job::Timers => timers::table(settings.repeats),
            Job::Calls(calls) => calls::table(workload.name, calls, &settings),
            Job::Waits(waits) => waits::table(workload.name, waits, &settings),
        };
        println!("### {}\n\n{table}", workload.name);
        let _ = writeln!(report, "### {}\n\n{table}", workload.name);
        tables.push((workload.name, table));
    }
    if let Some(path) = &settings.out
        && let Err(e) = std::fs::write(path, &report)
    {
        eprintln!("{path}: {e}");
        return ExitCode::FAILURE;
    }
    if let Some(path) = &settings.page
        && let Err(e) = page::update(path, &tables)
    {
        eprintln!("{path}: {e}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// One line about the machine.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim().to_owned()))
        .unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
    format!(
        "Machine: {cpus} x {model}, Linux {}, load average {load} before the first run. CPU times by {}.\n",
        read("/proc/sys/kernel/osrelease").trim(),
        account::method()
    )
}

/// What every server brought, in the order of the command line.
type Runs<R> = Vec<(Kind, Vec<R>)>;

/// Runs one workload on every server in turn, `repeats` times round: what each brought, and what
/// went wrong.
fn rounds<R>(
    name: &str,
    settings: &Settings,
    repeats: usize,
    run: impl Fn(Kind) -> Result<R, String>,
) -> (Runs<R>, String) {
    let mut runs: Runs<R> = settings.servers.iter().map(|k| (*k, Vec::new())).collect();
    let mut troubles = String::new();
    for round in 0..repeats {
        // Whoever comes first in a round comes last in the next one.
        let mut order: Vec<usize> = (0..runs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (kind, of_kind) = &mut runs[at];
            eprintln!("{name} on {}, round {} of {repeats}", kind.name(), round + 1);
            match run(*kind) {
                Ok(run) => of_kind.push(run),
                Err(e) => {
                    eprintln!("{name} on {}: {e}", kind.name());
                    let _ = writeln!(troubles, "\n{name} on {}: {e}\n", kind.name());
                }
            }
        }
    }
    runs.retain(|(_, r)| !r.is_empty());
    (runs, troubles)
}
