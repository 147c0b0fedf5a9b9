//! A server under test with one worker, and what is done to it and looked at for each cell.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::{Footprint, SECOND, address, held, listening, serve};
use crate::matrix::Cell;
use crate::support::probe::{Probe, Stats};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{lock, process};

/// Below this a p99 says more about the machine, where several of these tests run, than about the server.
pub const FLOOR: Duration = Duration::from_millis(20);
/// OPTIONS per second, and how long at least they are sent for each cell.
const RATE: u32 = 200;
const RUN: Duration = Duration::from_millis(1000);
/// How much later than its deadline an answer may come on a busy machine.
const LATE: Duration = Duration::from_millis(1500);
/// How often a cell is tried whose p99 was too large: what else runs disturbs single runs, a stall shows in all.
const TRIES: usize = 4;
/// Requests that wait at the same time.
pub const WAITS: usize = 3;

/// What came of a cell.
pub struct Row {
    pub cell: Cell,
    /// `$rc`
    pub rc: String,
    /// `$async_err`, without the backend's own words.
    pub error: String,
    /// `$async_phase`
    pub phase: String,
    pub took: Duration,
    pub with: Duration,
    pub without: Duration,
}

/// The rows so far, for the page.
pub static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// What is done in one cell.
pub trait Harm {
    /// The function that waits in a cell.
    fn call(&self, cell: usize) -> String;
    /// A function that works when nothing is wrong, at the same backend.
    fn healthy(&self, cell: usize) -> String;
    /// Before the requests.
    fn before(&self, site: &Site, cell: usize);
    /// While they wait.
    fn during(&self, site: &Site, cell: usize);
    /// Everything is well again.
    fn repair(&self, site: &Site, cell: usize);
    /// Connections that are kept are closed by the other side.
    fn part(&self, site: &Site, cell: usize);
}

/// The server.
pub struct Site {
    pub server: Reprise,
    pub port: u16,
    unique: Mutex<u32>,
}

impl Site {
    /// Starts one whose script has a branch for each cell. `settings`: core and module parameters.
    fn start(core: &str, settings: &str, good: &str, cells: &[Cell], harm: &dyn Harm) -> Site {
        let mut starts = format!("    if ($rU =~ \"^good\")\n        async({good}, done, 5);\n");
        for (i, cell) in cells.iter().enumerate() {
            let _ = write!(
                starts,
                "    if ($rU =~ \"^c{i}x\")\n        async({}, done, {});\n    if ($rU =~ \"^h{i}x\")\n        async({}, done, 5);\n",
                harm.call(i),
                cell.limit(),
                harm.healthy(i)
            );
        }
        let rest = format!(
            r#"
loadmodule "aaa_radius.so"
modparam("tm", "wt_timer", 1)
# Every failure is to be seen, however many come before it.
backend_max_failures = 0
{settings}
startup_route {{
    $var(n) = 0;
    $var(big) = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    while ($var(n) < 9) {{
        $var(big) = $var(big) + $var(big);
        $var(n) = $var(n) + 1;
    }}
}}
route {{
    if (is_method("OPTIONS")) {{
        sl_send_reply(200, "OK");
        exit;
    }}
    $avp(password) = "wonderland";
{starts}    sl_send_reply(404, "No such cell");
}}
route[done] {{
    $var(rc) = $rc;
    xlog("$rU ended with $var(rc) $async_err, $(async_phase).\n");
    if ($var(rc) < 0)
        t_reply(500, "Failed");
    else
        t_reply(200, "OK");
}}
"#
        );
        let (server, port) = serve(|port| listening(port, core, &rest), &["-n", "1"]);
        Site { server, port, unique: Mutex::new(0) }
    }

    /// The only worker.
    pub fn worker(&self) -> i32 {
        let ps = self.server.ctl("ps", serde_json::Value::Null);
        let workers = ps.as_array().map(Vec::as_slice).unwrap_or_default();
        let worker = workers.iter().find(|p| p["kind"] == "worker").unwrap_or_else(|| panic!("no worker: {ps}"));
        worker["pid"].as_i64().and_then(|p| i32::try_from(p).ok()).unwrap_or(0)
    }

    /// A user part that nobody used before.
    fn user(&self, letter: char, cell: usize) -> String {
        let mut n = lock(&self.unique);
        *n += 1;
        format!("{letter}{cell}x{n}")
    }

    /// One request for a user; the status of its answer.
    fn ask(&self, user: &str) -> u16 {
        let client = SipClient::new(self.port);
        client.send_request(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
        client.expect(user, SECOND * 8, |m| m.status() >= 200).status()
    }

    /// Asks the backend of a cell for what works; whether it did.
    pub fn works(&self, cell: usize) -> bool {
        self.ask(&self.user('h', cell)) == 200
    }

    /// As many requests at once as will wait in a cell, so that as many connections are kept.
    pub fn warm(&self, cell: usize) -> bool {
        let user = self.user('h', cell);
        let client = SipClient::new(self.port);
        for _ in 0..WAITS {
            client.send_request(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
        }
        (0..WAITS).all(|_| client.expect(&user, SECOND * 8, |m| m.status() >= 200).status() == 200)
    }

    /// Waits until the backend works.
    pub fn wait_works(&self, cell: usize) -> Result<(), String> {
        let end = Instant::now() + SECOND * 8;
        while !self.works(cell) {
            if Instant::now() > end {
                return Err("does not work again".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// What must be as before after each cell.
#[derive(PartialEq, Eq, Debug, Clone)]
struct Held {
    fds: Vec<usize>,
    processes: usize,
    parked: u64,
    operations: u64,
    jobs: u64,
}

impl Held {
    fn of(site: &Site) -> Held {
        let all = Footprint::of(&site.server);
        // The helper of SQLite opens files when it likes.
        let fds = vec![site.server.fd_count(site.worker())];
        Held { fds, processes: all.processes, parked: all.parked, operations: all.operations, jobs: all.jobs }
    }

    /// No more than before: a kept connection may have been closed meanwhile.
    fn within(&self, before: &Held) -> bool {
        let fds = self.fds.iter().zip(&before.fds).all(|(now, then)| now <= then);
        fds && self.processes <= before.processes && self.parked == 0 && self.operations == 0 && self.jobs == 0
    }
}

fn probed(site: &Site, work: impl FnOnce() -> Result<(), String>) -> (Stats, Result<(), String>) {
    let probe = Probe::start(address(site.port), RATE);
    let start = Instant::now();
    let result = work();
    std::thread::sleep(RUN.saturating_sub(start.elapsed()));
    (probe.stop(), result)
}

/// The run without a fault: the same number of waits, all in vain for nobody.
fn baseline(site: &Site) -> Result<Stats, String> {
    let (stats, result) = probed(site, || {
        let client = SipClient::new(site.port);
        for _ in 0..WAITS {
            client.send_request(&client.request("MESSAGE", "sip:good@example.test"));
        }
        for _ in 0..WAITS {
            let answer = client.expect("good", SECOND * 8, |m| m.status() >= 200);
            if answer.status() != 200 {
                return Err(format!("without a fault: {}", answer.status()));
            }
        }
        Ok(())
    });
    result.map(|()| stats)
}

/// The same; a run that something else on the machine disturbed would let too much pass as like it.
fn quiet_baseline(site: &Site) -> Result<Stats, String> {
    let mut best = baseline(site)?;
    for _ in 1..TRIES {
        if best.p99 <= FLOOR {
            break;
        }
        let again = baseline(site)?;
        if again.p99 < best.p99 {
            best = again;
        }
    }
    Ok(best)
}

/// How a cell's waits ended: `$rc`, `$async_err`, `$async_phase`, and after what time.
struct End {
    text: String,
    took: Duration,
}

/// Starts the waits, does the harm, and collects the ends.
fn play(site: &Site, number: usize, harm: &dyn Harm, limit: Duration) -> Result<End, String> {
    let user = site.user('c', number);
    let mark = site.server.log_mark();
    let client = SipClient::new(site.port);
    let start = Instant::now();
    for _ in 0..WAITS {
        client.send_request(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
    }
    harm.during(site, number);
    let mut answers = 0;
    while answers < WAITS && start.elapsed() < limit + LATE + SECOND {
        answers += usize::from(client.recv(Duration::from_millis(100)).is_some_and(|m| m.status() >= 200));
    }
    let took = start.elapsed();
    if answers < WAITS {
        let waits = site.server.ctl("waits", serde_json::Value::Null);
        return Err(format!("{answers} answers after {took:?}; {waits}"));
    }
    if took > limit + LATE {
        return Err(format!("the deadline of {limit:?} did not hold: {took:?}"));
    }
    let pattern = format!("{user} ended with (.*)\\.$");
    let regex = regex::Regex::new(&pattern).expect("a regular expression");
    let end = Instant::now() + SECOND;
    loop {
        let log = site.server.log();
        let ends: Vec<String> = log
            .lines()
            .skip(mark)
            .filter_map(|l| Some(regex.captures(l)?.get(1)?.as_str().replace("<null>", "none")))
            .collect();
        if ends.len() >= WAITS || Instant::now() > end {
            let mut ends = ends;
            ends.sort();
            ends.dedup();
            return Ok(End { text: ends.join(" | "), took });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether all ends are as the matrix says.
fn as_expected(cell: Cell, end: &End) -> Result<(), String> {
    let pattern = format!("^{}$", cell.ends().replacen(", ", ".*, ", 1));
    let regex = regex::Regex::new(&pattern).expect("a regular expression");
    match end.text.split(" | ").find(|e| !regex.is_match(e)) {
        Some(other) => Err(format!("ended with `{other}`, not `{}`, after {:?}", cell.ends(), end.took)),
        None => Ok(()),
    }
}

/// One cell: `Ok(None)` if only its p99 was too large.
fn attempt(site: &Site, number: usize, cell: Cell, harm: &dyn Harm, without: &Stats) -> Result<Option<Row>, String> {
    let before = Held::of(site);
    harm.before(site, number);
    let mut end = None;
    let limit = Duration::from_secs(u64::from(cell.limit()));
    let (with, result) = probed(site, || {
        end = Some(play(site, number, harm, limit)?);
        Ok(())
    });
    harm.repair(site, number);
    result?;
    let Some(end) = end else { return Err("no end".into()) };
    as_expected(cell, &end)?;
    if (with.lost, with.refused) != (0, 0) {
        return Err(format!("OPTIONS were lost: {with:?}"));
    }
    site.wait_works(number)?;
    harm.part(site, number);
    let until = Instant::now() + SECOND * 8;
    loop {
        let now = Held::of(site);
        if now.within(&before) {
            break;
        }
        if Instant::now() > until {
            let fds = process::fds(site.worker()).join("\n  ");
            return Err(format!("not all is back\n  before {before:?}\n  now    {now:?}\n  {fds}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if with.p99 > (without.p99 * 3).max(FLOOR) {
        println!("{cell}: without {without:?}\n{cell}: with    {with:?}");
        return Ok(None);
    }
    let (rc, rest) = end.text.split_once(' ').unwrap_or((&end.text, ""));
    let (error, phase) = rest.rsplit_once(", ").unwrap_or((rest, ""));
    let error = error.split([':', ',', '|']).next().unwrap_or_default().trim();
    Ok(Some(Row {
        cell,
        rc: rc.to_owned(),
        error: error.to_owned(),
        phase: phase.to_owned(),
        took: end.took,
        with: with.p99,
        without: without.p99,
    }))
}

/// Plays all cells on one server. Panics at the end with all that was wrong.
pub fn run(core: &str, settings: &str, good: &str, cells: &[Cell], harm: &dyn Harm) {
    let site = Site::start(core, settings, good, cells, harm);
    let mut without = quiet_baseline(&site).unwrap_or_else(|e| panic!("{e}\n{}", site.server.log()));
    let mut wrong = Vec::new();
    let mut first = None;
    for (number, cell) in cells.iter().enumerate() {
        let mut tries = 0;
        loop {
            tries += 1;
            let mark = site.server.log_mark();
            match attempt(&site, number, *cell, harm, &without) {
                Ok(Some(row)) => {
                    println!(
                        "{cell}: {} {}, {}; {:.2} s; p99 {:?}, without {:?}",
                        row.rc,
                        row.error,
                        row.phase,
                        row.took.as_secs_f64(),
                        row.with,
                        row.without
                    );
                    lock(&ROWS).push(row);
                    break;
                }
                Ok(None) if tries < TRIES => {
                    // What is known of a name's failure holds for two seconds.
                    std::thread::sleep(Duration::from_millis(2200));
                    match quiet_baseline(&site) {
                        Ok(again) => without = again,
                        Err(e) => wrong.push(format!("{cell}: {e}")),
                    }
                }
                Ok(None) => {
                    wrong.push(format!("{cell}: p99 is more than three times that without the fault"));
                    break;
                }
                Err(e) => {
                    let log: Vec<String> = site.server.log().lines().skip(mark).take(12).map(str::to_owned).collect();
                    wrong.push(format!("{cell}: {e}\n    {}", log.join("\n    ")));
                    break;
                }
            }
        }
        first.get_or_insert_with(|| site.server.rss());
    }
    // Transactions linger for a second after their end.
    let end = Instant::now() + SECOND * 10;
    while held(&site.server, "count") > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (rss, count) = (site.server.rss(), held(&site.server, "count"));
    let first = first.unwrap_or(rss);
    println!(
        "{}: {first} KiB after the first cell, {rss} after the last",
        cells.first().map_or_else(String::new, Cell::to_string)
    );
    if rss > first + 8 * 1024 || count > 0 {
        wrong.push(format!("{first} KiB after the first cell, {rss} after the last; {count} transactions"));
    }
    for pid in site.server.worker_pids() {
        if !process::zombies(pid).is_empty() {
            wrong.push("zombies".into());
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
