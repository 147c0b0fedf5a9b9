//! Workloads that SIPp puts on: replies without state, and calls through a proxy.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::account::Account;
use super::figures::{median, range, ratio};
use super::servers::{Kind, Server};
use super::support::probe::Probe;
use super::support::sipp::{Sipp, SippStats};
use super::{Settings, rounds};

/// What one workload does at which rate.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Configuration file, without its dialect.
    pub config: &'static str,
    /// Scenario of the calling side.
    pub caller: &'static str,
    /// Scenario of the answering side, if there is one.
    pub callee: Option<&'static str>,
    /// What one unit is.
    pub unit: &'static str,
    /// Units per second.
    pub rate: u64,
    /// Workers, unless the command line says otherwise.
    pub workers: u32,
    /// Fewer rounds than the command line asks for are enough.
    pub most_rounds: usize,
}

/// Requests per second of the latency probe that runs beside the load.
const PROBE_RATE: u32 = 50;

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

/// Runs it on every server in turn and makes the table.
pub fn table(name: &str, calls: &Calls, settings: &Settings) -> String {
    let workers = settings.workers.unwrap_or(calls.workers);
    let repeats = settings.repeats.min(calls.most_rounds);
    let (runs, troubles) = rounds(name, settings, repeats, |kind| run(calls, kind, workers, settings.seconds));
    let base = settings.base(&runs).map(|r| median(r, |r| r.cpu_us));
    let mut table = format!(
        "{} per second, {workers} worker{}, {} s, median of {repeats}:\n\n\
         | server | CPU us/{} | range | to kamailio | achieved/s | failed | retrans | probe p50 ms | p99 ms | lost | PSS idle/load MiB | procs | csw/{} |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        calls.rate,
        if workers == 1 { "" } else { "s" },
        settings.seconds,
        calls.unit,
        calls.unit,
    );
    for (kind, runs) in &runs {
        let cpu = median(runs, |r| r.cpu_us);
        let _ = writeln!(
            table,
            "| {} | {cpu:.1} | {} | {} | {:.0} | {} | {} | {:.2} | {:.2} | {} | {:.1} / {:.1} | {} | {:.2} |",
            kind.name(),
            range(runs, |r| r.cpu_us),
            ratio(cpu, base),
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

/// One run with a freshly started server.
fn run(calls: &Calls, kind: Kind, workers: u32, seconds: u64) -> Result<Run, String> {
    let callee = calls.callee.map(|name| Sipp::uas(name, &[]));
    let account = Account::new();
    let uas = callee.as_ref().map_or(0, |c| c.addr.port()).to_string();
    let server = Server::start(kind, calls.config, workers, &[("UAS", uas)], &account)?;
    let idle_mib = server.pss_mib();
    // Caches and allocators warm up outside the measurement.
    let warm_up = calls.rate.min(500);
    let stats = Sipp::uac(calls.caller, server.addr, warm_up, warm_up, &[]).wait(Duration::from_secs(60));
    if stats.failed > 0 || stats.succeeded != warm_up {
        return Err(format!("warm-up: {} of {warm_up} succeeded\n{}\n{}", stats.succeeded, stats.errors, server.log()));
    }

    let units = calls.rate * seconds;
    let probe = Probe::start(server.addr, PROBE_RATE);
    let (cpu, switches, start) = (account.cpu_ns(server.pid), server.switches(), Instant::now());
    let stats: SippStats =
        Sipp::uac(calls.caller, server.addr, units, calls.rate, &[]).wait(Duration::from_secs(seconds * 3 + 60));
    let elapsed = start.elapsed();
    let load_mib = server.pss_mib();
    let processes = server.processes();
    let probes = probe.stop();
    let (cpu, switches) = (account.cpu_ns(server.pid) - cpu, server.switches() - switches);
    if let Some(callee) = callee {
        callee.stop();
    }
    // The probe's requests count as a unit each where a unit is one request.
    let probes_as_units = if calls.callee.is_none() { probes.sent as f64 } else { 0.0 };
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
