//! Workloads whose requests wait in the server: for a sleep, a web server, a database, a command, or a
//! callee that lets it ring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::account::Account;
use super::figures::{median, range, ratio};
use super::flood::{Answers, Flood};
use super::ringing::Ringing;
use super::servers::{Kind, Server};
use super::support::mariadb::MariaDb;
use super::support::nginx::Nginx;
use super::{Settings, rounds};

/// How long a server without load is watched.
const IDLE: Duration = Duration::from_secs(3);

/// What the requests wait for.
#[derive(Debug, Clone, Copy)]
pub enum Backend {
    /// A timer.
    Sleep,
    /// A web server.
    Http(&'static str),
    /// A database.
    Sql(&'static str),
    /// A command of the shell.
    Command,
    /// A callee that rings and does not answer: the unit is an INVITE transaction.
    Ringing,
    /// A task worker.
    Task,
    /// Whoever takes it out of a queue: twelve timers that look every 10 ms, or, where `event` and the server know
    /// such a thing, the event of the queue.
    Queue {
        /// By the event.
        event: bool,
    },
}

/// What one workload does at which rate.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Configuration file, without its dialect.
    pub config: &'static str,
    /// What is waited for.
    pub backend: Backend,
    /// How long that takes.
    pub wait: Duration,
    /// Requests per second.
    pub rate: u64,
    /// Requests.
    pub count: usize,
    /// Workers, unless the command line says otherwise.
    pub workers: u32,
    /// Task workers of Kamailio.
    pub tasks: u32,
    /// Milliseconds between two looks of Kamailio at its sleepers.
    pub ms_timer: u32,
    /// Fewer rounds than the command line asks for are enough.
    pub most_rounds: usize,
}

/// The figures of one run.
#[derive(Debug, Clone, Default)]
struct Run {
    cpu_us: f64,
    in_flight: f64,
    kib: f64,
    pss_mib: f64,
    late: [f64; 3],
    answers: Answers,
    inside: Option<(String, String)>,
    /// CPU milliseconds per second without any load.
    idle_ms: Option<f64>,
    switches: f64,
    processes: usize,
}

/// Runs it on every server in turn and makes the table.
pub fn table(name: &str, waits: &Waits, settings: &Settings) -> String {
    let workers = settings.workers.unwrap_or(waits.workers);
    let repeats = settings.repeats.min(waits.most_rounds);
    let (runs, troubles) = rounds(name, settings, repeats, |kind| run(waits, kind, workers));
    let base = settings.base(&runs).map(|r| median(r, |r| r.cpu_us));
    let what = match waits.backend {
        Backend::Sleep => format!("a sleep of {} s", waits.wait.as_secs_f64()),
        Backend::Http(_) => format!("a web server that takes {} ms", waits.wait.as_millis()),
        Backend::Sql(_) => format!("a database that takes {} ms", waits.wait.as_millis()),
        Backend::Command => "`/bin/true`, run by a shell".to_owned(),
        Backend::Ringing => "a callee that rings; the answer is its 180".to_owned(),
        Backend::Task => format!("its turn in one of {} task workers", waits.tasks),
        Backend::Queue { event: false } => "one of twelve timers that look into its queue every 10 ms".to_owned(),
        Backend::Queue { event: true } => "the event of its queue (Kamailio: twelve timers as above)".to_owned(),
    };
    let idle = |text: &'static str| if matches!(waits.backend, Backend::Queue { .. }) { text } else { "" };
    let mut table = format!(
        "{} requests, {} per second, each waits for {what}; {workers} worker{}, median of {repeats}:\n\n\
         | server | CPU us/request | range | to kamailio | unanswered | waiting at once | PSS MiB | KiB per waiting | late p50 ms | p99 | max | inside p50 ms | p99 | procs | csw |{}\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|{}\n",
        waits.count,
        waits.rate,
        if workers == 1 { "" } else { "s" },
        idle(" idle CPU ms/s |"),
        idle("---|"),
    );
    for (kind, runs) in &runs {
        let cpu = median(runs, |r| r.cpu_us);
        let (inside_p50, inside_p99) =
            runs.iter().find_map(|r| r.inside.clone()).unwrap_or_else(|| ("-".to_owned(), "-".to_owned()));
        let _ = writeln!(
            table,
            "| {} | {cpu:.1} | {} | {} | {} | {:.0} | {:.1} | {} | {:.2} | {:.2} | {:.2} | {inside_p50} | {inside_p99} | {} | {:.2} |{}",
            kind.name(),
            range(runs, |r| r.cpu_us),
            ratio(cpu, base),
            runs.iter().map(|r| r.answers.lost + r.answers.refused).sum::<usize>(),
            median(runs, |r| r.in_flight),
            median(runs, |r| r.pss_mib),
            if waits.wait > Duration::ZERO || matches!(waits.backend, Backend::Ringing) {
                format!("{:.2}", median(runs, |r| r.kib))
            } else {
                "-".to_owned()
            },
            median(runs, |r| r.late[0]),
            median(runs, |r| r.late[1]),
            median(runs, |r| r.late[2]),
            runs.first().map_or(0, |r| r.processes),
            median(runs, |r| r.switches),
            match runs.iter().any(|r| r.idle_ms.is_some()) {
                true => format!(" {:.2} |", median(runs, |r| r.idle_ms.unwrap_or_default())),
                false => String::new(),
            },
        );
    }
    table + &troubles
}

/// One run with a freshly started server.
fn run(waits: &Waits, kind: Kind, workers: u32) -> Result<Run, String> {
    let ringing = matches!(waits.backend, Backend::Ringing).then(Ringing::start);
    let account = Account::new();
    let config = match (waits.backend, kind) {
        // Its queues have no event.
        (Backend::Queue { event: true }, Kind::Kamailio) => "queue-timers",
        _ => waits.config,
    };
    let server = Server::start(kind, config, workers, &values(waits, ringing.as_ref()), &account)?;
    let (method, user) = if ringing.is_some() { ("INVITE", "0301") } else { ("OPTIONS", "wait") };
    let flood = |count, rate| Flood {
        server: server.addr,
        method,
        user,
        count,
        rate,
        grace: waits.wait + Duration::from_secs(5),
    };
    // Pools of connections fill outside the measurement.
    if matches!(waits.backend, Backend::Http(_) | Backend::Sql(_)) {
        let warm_up = usize::try_from(waits.rate).unwrap_or(1);
        let seen = flood(warm_up, waits.rate).start().wait();
        if seen.answered != warm_up {
            let Answers { answered, refused, lost, .. } = seen;
            return Err(format!(
                "warm-up: {answered} of {warm_up} answered, {refused} refused, {lost} lost\n{}",
                server.log()
            ));
        }
    }
    let idle_mib = server.pss_mib();
    let idle_ms = matches!(waits.backend, Backend::Queue { .. }).then(|| {
        let (cpu, start) = (account.cpu_ns(server.pid), Instant::now());
        std::thread::sleep(IDLE);
        (account.cpu_ns(server.pid) - cpu) as f64 / 1e6 / start.elapsed().as_secs_f64()
    });
    let before = server.counters("async:");
    let (cpu, switches, start) = (account.cpu_ns(server.pid), server.switches(), Instant::now());
    let flood = flood(waits.count, waits.rate).start();
    while !flood.is_sent() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // All of them wait at once where the wait is longer than the sending. Those that ring are all there
    // when the last has rung.
    let at_once = waits.rate as f64 * waits.wait.as_secs_f64().min(start.elapsed().as_secs_f64());
    let mut pss_mib = server.pss_mib();
    let answers = flood.wait();
    if ringing.is_some() {
        pss_mib = server.pss_mib();
    }
    let (cpu, switches) = (account.cpu_ns(server.pid) - cpu, server.switches() - switches);
    if answers.answered == 0 {
        return Err(format!("nothing was answered\n{}", server.log()));
    }
    let in_flight = if ringing.is_some() { answers.answered as f64 } else { at_once.min(waits.count as f64) };
    let late = |percent| answers.percentile(percent).saturating_sub(waits.wait).as_secs_f64() * 1000.0;
    Ok(Run {
        cpu_us: cpu as f64 / 1000.0 / answers.answered as f64,
        in_flight,
        kib: (pss_mib - idle_mib) * 1024.0 / in_flight.max(1.0),
        pss_mib,
        late: [late(50), late(99), late(100)],
        idle_ms,
        inside: inside(&before, &server.counters("async:")),
        switches: switches as f64 / answers.answered as f64,
        processes: server.processes(),
        answers,
    })
}

/// What stands for the names in the configurations.
fn values(waits: &Waits, ringing: Option<&Ringing>) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("MS", waits.wait.as_millis().to_string()),
        ("SECONDS", waits.wait.as_secs().to_string()),
        ("TASKS", waits.tasks.to_string()),
        ("MS_TIMER", waits.ms_timer.to_string()),
    ];
    match waits.backend {
        Backend::Sleep | Backend::Command | Backend::Task | Backend::Queue { .. } => {}
        Backend::Http(path) => all.push(("URL", Nginx::shared().url(path))),
        Backend::Sql(query) => {
            all.push(("DB_URL", MariaDb::shared().url()));
            all.push(("QUERY", query.to_owned()));
        }
        Backend::Ringing => all.push(("UAS", ringing.map_or(0, |r| r.addr.port()).to_string())),
    }
    all
}

/// Bounds within which half and 99 % of the sleepers went on, by the server's own count.
fn inside(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Option<(String, String)> {
    const BOUNDS: [(&str, &str); 8] = [
        ("late_1ms", "1"),
        ("late_2ms", "2"),
        ("late_5ms", "5"),
        ("late_10ms", "10"),
        ("late_20ms", "20"),
        ("late_50ms", "50"),
        ("late_100ms", "100"),
        ("late_more", "inf"),
    ];
    let count = |name: &str| {
        let name = format!("async:{name}");
        after.get(&name).copied().unwrap_or(0) - before.get(&name).copied().unwrap_or(0)
    };
    let total: u64 = BOUNDS.iter().map(|(name, _)| count(name)).sum();
    let bound = |percent: u64| {
        let mut sum = 0;
        BOUNDS.iter().find_map(|(name, bound)| {
            sum += count(name);
            (sum * 100 >= total * percent).then(|| format!("<= {bound}"))
        })
    };
    if total == 0 { None } else { Some((bound(50)?, bound(99)?)) }
}
