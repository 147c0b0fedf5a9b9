//! Very many waits in one worker: ten thousand operations of every kind that talks to somebody, a hundred thousand
//! sleepers. Each goes on exactly once, nothing is left of them, and others are served meanwhile.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::common::{Footprint, address, held, stat, wait_quiet};
use crate::support::freeradius::FreeRadius;
use crate::support::mariadb::MariaDb;
use crate::support::probe::Probe;
use crate::support::sip::{Request, SipClient};
use crate::support::{eventually, exclusive, lock, process};
use crate::waits_common::{SECOND, Site, ms, site};

/// A web server that answers nobody until it is told to, and then everybody.
struct SlowWeb {
    port: u16,
    open: Arc<AtomicBool>,
    waiting: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowWeb {
    fn start() -> SlowWeb {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (open, stop, waiting) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::default());
        let thread = {
            let (open, stop) = (Arc::clone(&open), Arc::clone(&stop));
            let waiting: Arc<Mutex<Vec<TcpStream>>> = Arc::clone(&waiting);
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match listener.accept() {
                        Ok((stream, _)) => lock(&waiting).push(stream),
                        Err(_) => std::thread::sleep(ms(2)),
                    }
                    if open.load(Ordering::SeqCst) {
                        for stream in std::mem::take(&mut *lock(&waiting)) {
                            answer(stream);
                        }
                    }
                }
            })
        };
        SlowWeb { port, open, waiting, stop, thread: Some(thread) }
    }

    fn connections(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn hold(&self, hold: bool) {
        self.open.store(!hold, Ordering::SeqCst);
    }
}

fn answer(mut stream: TcpStream) {
    stream.set_nonblocking(false).unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhttp");
}

impl Drop for SlowWeb {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Requests sent without a look at whether they have arrived: they must not fill the server's socket, where others want
/// to be heard too.
const BURST: usize = 50;

/// Requests of one client and what came of each.
struct Crowd {
    client: SipClient,
    answers: Mutex<HashMap<String, Vec<String>>>,
    done: AtomicBool,
}

impl Crowd {
    fn new(site: &Site) -> Crowd {
        let client = site.client();
        client.hoard(64 << 20);
        Crowd { client, answers: Mutex::default(), done: AtomicBool::new(false) }
    }

    /// Takes in answers until it is told that it is over.
    fn listen(&self) {
        while !self.done.load(Ordering::SeqCst) {
            let Some(m) = self.client.recv(ms(50)) else { continue };
            if m.status() < 200 {
                continue;
            }
            let mut answers = lock(&self.answers);
            let of = answers.entry(m.call_id().to_owned()).or_default();
            let reason = format!("{} {}", m.status(), m.reason());
            if !of.contains(&reason) {
                of.push(reason);
            }
        }
    }

    fn answered(&self) -> usize {
        lock(&self.answers).len()
    }

    /// Sends requests so that `waiting` comes to their number and more; what was lost on the way is sent again.
    fn inject(&self, requests: &[Request], waiting: impl Fn() -> usize) {
        let before = waiting();
        for (n, some) in requests.chunks(BURST).enumerate() {
            let goal = before + n * BURST + some.len();
            let end = Instant::now() + SECOND * 60;
            loop {
                for request in some {
                    self.client.send_request(request);
                }
                let again = Instant::now() + SECOND * 2;
                while waiting() + self.answered() < goal && Instant::now() < again {
                    std::thread::sleep(ms(5));
                }
                if waiting() + self.answered() >= goal {
                    break;
                }
                assert!(Instant::now() < end, "{} of {goal} wait", waiting());
            }
        }
    }

    /// Waits until every request has its one answer; what was lost on the way is asked for again.
    fn finish(&self, requests: &[Request], timeout: Duration) {
        let end = Instant::now() + timeout;
        while self.answered() < requests.len() {
            let (before, next) = (self.answered(), Instant::now() + SECOND * 3);
            while self.answered() < requests.len() && Instant::now() < next {
                std::thread::sleep(ms(5));
            }
            assert!(Instant::now() < end, "{} of {} answers", self.answered(), requests.len());
            if self.answered() == before {
                let missing: Vec<&Request> = {
                    let answers = lock(&self.answers);
                    requests.iter().filter(|r| !answers.contains_key(&r.call_id)).collect()
                };
                for request in missing.into_iter().take(500) {
                    self.client.send_request(request);
                }
            }
        }
    }
}

/// This program opens as many files as the server does.
fn many_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert!(hard >= 12_000, "{hard} open files are allowed (ulimit -n), 12000 are needed");
}

/// Ends the listening of a crowd, also when a test fails.
struct Listening<'a>(&'a AtomicBool);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A lock of the database that somebody else holds.
struct HeldLock {
    db: Arc<MariaDb>,
    thread: JoinHandle<()>,
}

impl HeldLock {
    fn take(db: &Arc<MariaDb>) -> HeldLock {
        let thread = {
            let db = Arc::clone(db);
            // Killed in its sleep.
            std::thread::spawn(move || drop(db.try_sql("SELECT GET_LOCK('gate', 10); DO SLEEP(1000)")))
        };
        eventually("the lock is held", SECOND * 20, || db.sql("SELECT IS_USED_LOCK('gate') IS NOT NULL") == "1");
        HeldLock { db: Arc::clone(db), thread }
    }

    fn release(self) {
        let kill = "SELECT CONCAT('KILL ', ID, ';') FROM information_schema.PROCESSLIST WHERE INFO LIKE 'DO SLEEP(%'";
        self.db.sql(&self.db.sql(kill));
        let _ = self.thread.join();
    }
}

/// How many of each kind; the worker holds a connection for each HTTP exchange, pipes and a pidfd for each child.
const KINDS: [(&str, usize); 5] = [("http", 3000), ("exec", 1200), ("radius", 2000), ("sql", 1500), ("sleep", 2300)];

#[test]
fn ten_thousand_operations_of_all_kinds() {
    let _alone = exclusive();
    many_files();
    let dir = process::directory("gate");
    let gate = dir.path().join("fifo");
    nix::unistd::mkfifo(&gate, Mode::from_bits_truncate(0o644)).unwrap();
    let web = SlowWeb::start();
    let db = Arc::new(MariaDb::start());
    let radius = FreeRadius::start();
    let servers = [format!("127.0.0.1:{}", radius.auth_port)];
    let client = radius.client_config(&servers, &servers, "radius_timeout 5\nradius_retries 20\n");
    let script = r#"
        async_timeout = 300
        backend_max_failures = 0
        backend_queue_size = 5000
        db_max_async_connections = 200
        modparam("exec", "max_children", 1000)
        modparam("rest_client", "max_async_transfers", 4000)
        modparam("rest_client", "curl_timeout", 300)
        modparam("sqlops", "db_url", "DB_URL")
        modparam("aaa_radius", "radius_config", "RADIUS")
        modparam("aaa_radius", "sets", "login = (User-Name=$rU, User-Password=$avp(password))")
        modparam("aaa_radius", "sets", "rights = (Reply-Message=$avp(o))")
        route {
            if (is_method("OPTIONS")) { sl_send_reply(200, "OK"); exit; }
            $var(n) = $(rU{s.select,1,-});
            switch ($(rU{s.select,0,-})) {
                case "sleep": async(sleep(30), done);
                case "exec": async(exec("read y < GATE; echo exec", , $avp(o)), done);
                case "http": async(rest_get("http://127.0.0.$var(n):WEB/", $avp(o)), done);
                case "sql": async(sql_query("SELECT GET_LOCK('gate', 300), RELEASE_LOCK('gate'), 'sql'", "$avp(l);$avp(r);$avp(o)"), done);
                case "radius": $avp(password) = "wonderland"; async(radius_send_auth("login", "rights"), done);
            }
            sl_send_reply(404, "no such kind");
        }
        route[done] {
            $var(rc) = $rc;
            xlog("L_INFO", "resumed $ci\n");
            sl_send_reply(200, "$var(rc) $avp(o)");
        }
    "#
    .replace("DB_URL", &db.url())
    .replace("RADIUS", &client.display().to_string())
    .replace("GATE", &gate.display().to_string())
    .replace("WEB", &web.port.to_string());
    let site = site(&["exec", "rest_client", "sqlops", "db_mysql", "cfgutils", "aaa_radius", "sipmsgops"], &script);
    let server = &site.server;
    let worker = server.worker_pids()[0];
    let waiting = || usize::try_from(stat(server, "async:waits")).unwrap();

    let mut settled: Option<(Footprint, u64)> = None;
    for round in 1..=2 {
        let crowd = Crowd::new(&site);
        let probe = Probe::start(address(site.port), 50);
        let started = stat(server, "async:started");
        let mark = server.log_mark();
        let mut requests = Vec::new();
        let mut expected = HashMap::new();
        for (kind, count) in KINDS {
            for n in 0..count {
                // A host may be asked 200 times at once: there are fifteen.
                let user = format!("{kind}-{}", n % 15 + 1);
                let request = crowd.client.request("MESSAGE", &format!("sip:{user}@127.0.0.1:{}", site.port));
                let shown = match kind {
                    "radius" => format!("200 1 hello {user}"),
                    "sleep" => "200 1 <null>".to_owned(),
                    kind => format!("200 1 {kind}"),
                };
                expected.insert(request.call_id.clone(), shown);
                requests.push(request);
            }
        }
        // Nobody answers yet.
        web.hold(true);
        radius.signal(Signal::SIGSTOP);
        let held = HeldLock::take(&db);

        std::thread::scope(|scope| {
            let listening = Listening(&crowd.done);
            scope.spawn(|| crowd.listen());
            crowd.inject(&requests, waiting);
            eventually("every command has its child, every exchange its connection", SECOND * 30, || {
                process::children(worker).len() == 1000 && web.connections() == 3000
            });
            let (waits, open, rss) = (waiting(), server.fd_count(worker), process::rss_kib(worker));
            println!("round {round}: {waits} wait, {open} open files, {rss} KiB");
            assert_eq!(waits, requests.len(), "all are in flight at the same time");
            assert!(open >= 3000 + 2 * 1000, "{open} open files");
            assert_eq!(server.threads(worker), 1);
            // Everybody answers.
            web.hold(false);
            radius.signal(Signal::SIGCONT);
            held.release();
            scope.spawn(|| {
                while !crowd.done.load(Ordering::SeqCst) {
                    drop(nix::fcntl::open(&gate, OFlag::O_WRONLY | OFlag::O_NONBLOCK, Mode::empty()));
                    std::thread::sleep(ms(10));
                }
            });
            crowd.finish(&requests, SECOND * 180);
            drop(listening);
        });
        let stats = probe.stop();
        println!("round {round}: {stats:?}");
        assert_eq!((stats.lost, stats.refused), (0, 0), "{stats:?}");
        for (id, answers) in lock(&crowd.answers).iter() {
            assert_eq!(answers[..], [expected[id].clone()], "{id}");
        }
        assert_eq!(stat(server, "async:started") - started, requests.len() as u64);
        for bad in ["timeout", "failed", "cancelled", "refused"] {
            assert_eq!(stat(server, &format!("async:{bad}")), 0, "{bad}");
        }
        // Each went on once.
        assert_eq!(stat(server, "core:log_lines_lost"), 0);
        let log = server.log();
        let lines: Vec<&str> =
            log.lines().skip(mark).filter_map(|l| l.split_once("resumed ")).map(|(_, id)| id).collect();
        let different: HashSet<&str> = lines.iter().copied().collect();
        assert_eq!((lines.len(), different.len()), (requests.len(), requests.len()));

        wait_quiet(server, SECOND * 40);
        match &settled {
            None => {
                // Connections to the database stay for the next one.
                settled = Some((Footprint::of(server), process::rss_kib(worker)));
            }
            Some((footprint, rss)) => {
                footprint.wait_back(server, SECOND * 20);
                let now = process::rss_kib(worker);
                println!("{rss} KiB after the first round, {now} KiB after the second");
                assert!(now < rss + rss / 10 + 4096, "{rss} KiB after the first round, {now} KiB after the second");
            }
        }
    }
}

/// Sleepers of the second test.
const SLEEPERS: usize = 100_000;

#[test]
fn a_hundred_thousand_sleepers() {
    let _alone = exclusive();
    let script = r#"
        route {
            if (is_method("OPTIONS")) { sl_send_reply(200, "OK"); exit; }
            async(sleep($(rU{s.int})), done);
        }
        route[done] { sl_send_reply(200, "$rc"); }
    "#;
    let site = site(&["cfgutils", "sipmsgops"], script);
    let server = &site.server;
    let worker = server.worker_pids()[0];
    let waiting = || usize::try_from(stat(server, "async:waits")).unwrap();
    let requests = |client: &SipClient, count: usize, seconds: u64| -> Vec<Request> {
        let uri = format!("sip:{seconds}@127.0.0.1:{}", site.port);
        (0..count).map(|_| client.request("MESSAGE", &uri)).collect()
    };
    // A first lot says how quick this machine is.
    let few = Crowd::new(&site);
    let lot = requests(&few.client, SLEEPERS / 20, 1);
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        let _listening = Listening(&few.done);
        scope.spawn(|| few.listen());
        let begin = Instant::now();
        few.inject(&lot, waiting);
        took = begin.elapsed();
        few.finish(&lot, SECOND * 60);
    });
    let seconds = (took * 40).as_secs().clamp(20, 240);
    println!("{} came in {took:?}", lot.len());
    wait_quiet(server, SECOND * 40);
    let before = (Footprint::of(server), process::rss_kib(worker));

    let crowd = Crowd::new(&site);
    let all = requests(&crowd.client, SLEEPERS, seconds);
    let probe = Probe::start(address(site.port), 50);
    let started = stat(server, "async:started");
    let done = stat(server, "async:done");
    let mut peak = 0;
    std::thread::scope(|scope| {
        let _listening = Listening(&crowd.done);
        scope.spawn(|| crowd.listen());
        crowd.inject(&all, waiting);
        let (waits, rss) = (waiting(), process::rss_kib(worker));
        peak = rss;
        println!("{waits} sleep for {seconds} s: {} bytes each", (rss - before.1) * 1024 / SLEEPERS as u64);
        assert_eq!(waits, SLEEPERS, "all sleep at the same time");
        assert!(rss < before.1 + 8 * SLEEPERS as u64, "{rss} KiB, {} before", before.1);
        crowd.finish(&all, Duration::from_secs(seconds) + SECOND * 120);
    });
    let stats = probe.stop();
    println!("{SLEEPERS} sleepers: {stats:?}");
    assert_eq!((stats.lost, stats.refused), (0, 0), "{stats:?}");
    assert!(lock(&crowd.answers).values().all(|a| a[..] == ["200 1"]));
    assert_eq!(stat(server, "async:started") - started, SLEEPERS as u64);
    assert_eq!(stat(server, "async:done") - done, SLEEPERS as u64);
    wait_quiet(server, SECOND * 60);
    before.0.wait_back(server, SECOND * 20);
    eventually("no reply is kept for latecomers", SECOND * 60, || held(server, "echoes") == 0);
    let after = process::rss_kib(worker);
    println!("{} KiB before, {peak} KiB in between, {after} KiB after", before.1);
    assert!(
        after < before.1 + (peak - before.1) / 2,
        "{} KiB before, {peak} KiB in between, {after} KiB after",
        before.1
    );
}
