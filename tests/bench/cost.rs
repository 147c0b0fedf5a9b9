//! What a request costs: CPU time of a server's whole process tree per unit of work, for the same
//! work by different servers in alternating runs on one machine. `tests/bench/README.md` tells how
//! to run it and how to read the table.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod echo;
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use account::Account;
use servers::{Kind, Server};
use support::probe::Probe;
use support::sipp::{Sipp, SippStats};

/// What one workload does at which rate.
#[derive(Debug, Clone, Copy)]
struct Workload {
    /// Name on the command line and in the table.
    name: &'static str,
    /// Configuration file, without its dialect.
    config: &'static str,
    /// Scenario of the calling side.
    caller: &'static str,
    /// Scenario of the answering side, if there is one.
    callee: Option<&'static str>,
    /// What one unit is.
    unit: &'static str,
    /// Units per second.
    rate: u64,
}

const WORKLOADS: [Workload; 4] = [
    Workload { name: "options", config: "options", caller: "uac-options", callee: None, unit: "OPTIONS", rate: 5000 },
    Workload {
        name: "options-20k",
        config: "options",
        caller: "uac-options",
        callee: None,
        unit: "OPTIONS",
        rate: 20_000,
    },
    Workload {
        name: "call",
        config: "call",
        caller: "uac-invite",
        callee: Some("uas-invite"),
        unit: "call",
        rate: 500,
    },
    Workload {
        name: "call-2k",
        config: "call",
        caller: "uac-invite",
        callee: Some("uas-invite"),
        unit: "call",
        rate: 2000,
    },
];

/// Requests per second of the latency probe that runs beside the load.
const PROBE_RATE: u32 = 50;

/// How the command line wants it.
struct Settings {
    servers: Vec<Kind>,
    workloads: Vec<Workload>,
    echo: bool,
    repeats: usize,
    seconds: u64,
    workers: u32,
    out: Option<String>,
}

const USAGE: &str = "\
cost [--servers reprise,reprise-k,kamailio,opensips] [--workloads echo,options,options-20k,call,call-2k]
     [--repeats 3] [--seconds 10] [--workers 1] [--out FILE.md]";

fn settings() -> Result<Settings, String> {
    let mut settings = Settings {
        servers: vec![Kind::Reprise, Kind::Kamailio],
        workloads: WORKLOADS.iter().copied().filter(|w| matches!(w.name, "options" | "call" | "call-2k")).collect(),
        echo: true,
        repeats: 3,
        seconds: 10,
        workers: 1,
        out: None,
    };
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag}: a value is missing\n{USAGE}"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag}: not a number: {value}"));
        match flag.as_str() {
            "--servers" => settings.servers = value.split(',').map(Kind::parse).collect::<Result<_, _>>()?,
            "--workloads" => {
                settings.echo = value.split(',').any(|w| w == "echo");
                settings.workloads = value
                    .split(',')
                    .filter(|w| *w != "echo")
                    .map(|name| {
                        WORKLOADS.iter().find(|w| w.name == name).copied().ok_or(format!("no workload {name}\n{USAGE}"))
                    })
                    .collect::<Result<_, _>>()?;
            }
            "--repeats" => settings.repeats = usize::try_from(number()?).unwrap_or(1).max(1),
            "--seconds" => settings.seconds = number()?.max(1),
            "--workers" => settings.workers = u32::try_from(number()?).unwrap_or(1).max(1),
            "--out" => settings.out = Some(value),
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    Ok(settings)
}

/// The figures of one run.
#[derive(Debug, Clone, Default)]
struct Run {
    cpu_us: f64,
    rate: f64,
    failed: u64,
    retransmissions: u64,
    p50_ms: f64,
    p99_ms: f64,
    probes_lost: u64,
    idle_mib: f64,
    load_mib: f64,
    processes: usize,
    switches: f64,
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
    if settings.echo {
        let table = echo::table(settings.repeats, Duration::from_secs(settings.seconds.min(5)));
        println!("{table}");
        let _ = writeln!(report, "{table}");
    }
    for workload in &settings.workloads {
        let table = compare(workload, &settings);
        println!("{table}");
        let _ = writeln!(report, "{table}");
    }
    if let Some(path) = &settings.out
        && let Err(e) = std::fs::write(path, &report)
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
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Machine: {cpus} x {model}, Linux {}. CPU times by {}.\n", kernel.trim(), account::method())
}

/// Runs one workload on every server in turn, `repeats` times round, and makes the table.
fn compare(workload: &Workload, settings: &Settings) -> String {
    let mut runs: BTreeMap<usize, Vec<Run>> = BTreeMap::new();
    let mut troubles = String::new();
    for round in 0..settings.repeats {
        // Whoever comes first in a round comes last in the next one.
        let mut order: Vec<usize> = (0..settings.servers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let kind = settings.servers[at];
            eprintln!("{} on {}, round {} of {}", workload.name, kind.name(), round + 1, settings.repeats);
            match run(workload, kind, settings) {
                Ok(run) => runs.entry(at).or_default().push(run),
                Err(e) => {
                    let _ = writeln!(troubles, "\n{} on {}: {e}\n", workload.name, kind.name());
                }
            }
        }
    }
    let base = settings
        .servers
        .iter()
        .position(|k| *k == Kind::Kamailio)
        .and_then(|at| runs.get(&at))
        .map(|r| median(r, |r| r.cpu_us));
    let mut table = format!(
        "### {}: {} per second, {} worker{}, {} s, median of {}\n\n\
         | server | CPU us/{} | range | to kamailio | achieved/s | failed | retrans | probe p50 ms | p99 ms | lost | PSS idle/load MiB | procs | csw/{} |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        workload.name,
        workload.rate,
        settings.workers,
        if settings.workers == 1 { "" } else { "s" },
        settings.seconds,
        settings.repeats,
        workload.unit,
        workload.unit,
    );
    for (at, kind) in settings.servers.iter().enumerate() {
        let Some(runs) = runs.get(&at) else { continue };
        let cpu = median(runs, |r| r.cpu_us);
        let low = runs.iter().map(|r| r.cpu_us).fold(f64::INFINITY, f64::min);
        let high = runs.iter().map(|r| r.cpu_us).fold(0.0, f64::max);
        let ratio = base.map_or("-".to_owned(), |b| format!("{:.2}", cpu / b));
        let _ = writeln!(
            table,
            "| {} | {cpu:.1} | {low:.1}-{high:.1} | {ratio} | {:.0} | {} | {} | {:.2} | {:.2} | {} | {:.1} / {:.1} | {} | {:.2} |",
            kind.name(),
            median(runs, |r| r.rate),
            runs.iter().map(|r| r.failed).sum::<u64>(),
            runs.iter().map(|r| r.retransmissions).sum::<u64>(),
            median(runs, |r| r.p50_ms),
            median(runs, |r| r.p99_ms),
            runs.iter().map(|r| r.probes_lost).sum::<u64>(),
            median(runs, |r| r.idle_mib),
            median(runs, |r| r.load_mib),
            runs.first().map_or(0, |r| r.processes),
            median(runs, |r| r.switches),
        );
    }
    table + &troubles
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().map(value).collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    match all.as_slice() {
        [] => 0.0,
        v if v.len() % 2 == 1 => v[half],
        v => f64::midpoint(v[half - 1], v[half]),
    }
}

/// One run with a freshly started server.
fn run(workload: &Workload, kind: Kind, settings: &Settings) -> Result<Run, String> {
    let callee = workload.callee.map(|name| Sipp::uas(name, &[]));
    let account = Account::new();
    let server = Server::start(kind, workload.config, settings.workers, callee.as_ref().map(|c| c.addr), &account)?;
    let addr: SocketAddr = server.addr;
    let idle_mib = server.pss_mib();
    // Caches and allocators warm up outside the measurement.
    let warm_up = workload.rate.min(500);
    let stats = Sipp::uac(workload.caller, addr, warm_up, warm_up, &[]).wait(Duration::from_secs(60));
    if stats.failed > 0 || stats.succeeded != warm_up {
        return Err(format!("warm-up: {} of {warm_up} succeeded\n{}\n{}", stats.succeeded, stats.errors, server.log()));
    }

    let units = workload.rate * settings.seconds;
    let probe = Probe::start(addr, PROBE_RATE);
    let (cpu, switches, start) = (account.cpu_ns(server.pid), server.switches(), Instant::now());
    let stats: SippStats = Sipp::uac(workload.caller, addr, units, workload.rate, &[])
        .wait(Duration::from_secs(settings.seconds * 3 + 60));
    let elapsed = start.elapsed();
    let load_mib = server.pss_mib();
    let processes = server.processes();
    let probes = probe.stop();
    let (cpu, switches) = (account.cpu_ns(server.pid) - cpu, server.switches() - switches);
    if let Some(callee) = callee {
        callee.stop();
    }
    // The probe's requests count as a unit each where a unit is one request.
    let probes_as_units = if workload.callee.is_none() { probes.sent as f64 } else { 0.0 };
    let done = stats.succeeded as f64 + probes_as_units;
    if stats.succeeded == 0 {
        return Err(format!("nothing succeeded\n{}\n{}", stats.errors, server.log()));
    }
    let millis = |d: Duration| d.as_secs_f64() * 1000.0;
    Ok(Run {
        cpu_us: cpu as f64 / 1000.0 / done,
        rate: stats.succeeded as f64 / elapsed.as_secs_f64(),
        failed: stats.failed,
        retransmissions: stats.retransmissions,
        p50_ms: millis(probes.p50),
        p99_ms: millis(probes.p99),
        probes_lost: probes.lost as u64,
        idle_mib,
        load_mib,
        processes,
        switches: switches as f64 / done,
    })
}
