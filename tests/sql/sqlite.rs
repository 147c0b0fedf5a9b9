//! The SQLite engine and its helper process.

use crate::lp::{AMPLE, Loop, alone, failure, fds, rows, text};
use crate::support::{eventually, process};
use reprise::ops::backend::Policy;
use reprise::ops::driver::OpKind;
use reprise::ops::sql::Limits;
use reprise::ops::sql::sqlite::helper::{HelperConfig, helper_main};
use reprise::ops::sql::sqlite::{Sqlite, SqliteEndpoint};
use reprise::ops::{CancelReason, Phase, SqlValue, Why};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const INT: fn(i64) -> SqlValue = SqlValue::Int;
const SHORT: Duration = Duration::from_millis(300);

/// The helper process itself: this test program, started again with its listener as standard input.
#[test]
fn helper_process() {
    if std::env::var_os("REPRISE_TEST_HELPER").is_some() {
        let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
        std::process::exit(helper_main(listener, None, HelperConfig::default()));
    }
}

/// A helper process and a directory for its databases.
pub struct Helper {
    listener: UnixListener,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Helper {
    fn start() -> Helper {
        let dir = process::directory("sqlite");
        let listener = UnixListener::bind(dir.path().join("helper.sock")).unwrap();
        let mut helper = Helper { listener, dir, child: None };
        helper.spawn();
        helper
    }

    fn spawn(&mut self) {
        let mut command = process::command(std::env::current_exe().unwrap());
        command.args(["--exact", "sqlite::helper_process", "--nocapture", "--test-threads=1"]);
        command.env("REPRISE_TEST_HELPER", "1").stdout(Stdio::null());
        command.stdin(Stdio::from(OwnedFd::from(self.listener.try_clone().unwrap())));
        self.child = Some(process::spawn(command).unwrap());
    }

    fn kill(&mut self) {
        process::end(&mut self.child.take().unwrap());
    }

    fn pid(&self) -> i32 {
        process::pid_of(self.child.as_ref().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("test.db")
    }

    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    pub fn looping(&self) -> Loop {
        let mut l = Loop::new();
        let endpoint = SqliteEndpoint { path: self.dir.path().join("helper.sock") };
        *l.driver.sqlite() = Sqlite::new(Some(endpoint), Limits::default());
        l
    }

    fn database(&self) {
        let c = rusqlite::Connection::open(self.path()).unwrap();
        c.execute_batch(
            "CREATE TABLE users (uid TEXT PRIMARY KEY, credit INT NOT NULL, note TEXT);
             INSERT INTO users VALUES ('alice', 100, 'prepaid'), ('bob', 0, NULL), ('carol', -5, 'it''s late');
             CREATE TABLE kinds (id INTEGER, big BIGINT, ratio DOUBLE, name VARCHAR(9), raw BLOB, day DATE, at DATETIME, stamp TIMESTAMP);
             INSERT INTO kinds VALUES (1, -9223372036854775808, 0.5, 'Zoë', x'00ff', '2024-02-29', '2024-02-29 12:34:56', 1709210096);
             INSERT INTO kinds VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
             CREATE TABLE seen (id INTEGER PRIMARY KEY, what TEXT);",
        )
        .unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            process::end(child);
        }
    }
}

pub fn helper() -> Helper {
    let helper = Helper::start();
    helper.database();
    helper
}

#[test]
fn queries_and_types() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    let r = l.ok(&h.url(), "SELECT uid, credit, note FROM users ORDER BY uid");
    assert_eq!(r.columns.iter().map(|c| c.to_lossy().into_owned()).collect::<Vec<_>>(), ["uid", "credit", "note"]);
    assert_eq!(r.rows[0], [text("alice"), INT(100), text("prepaid")]);
    assert_eq!(r.rows[1], [text("bob"), INT(0), SqlValue::Null]);
    let r = l.ok(&h.url(), "SELECT * FROM kinds ORDER BY id");
    let day = SqlValue::Time(1_709_164_800);
    let at = SqlValue::Time(1_709_210_096);
    let want = [INT(1), INT(i64::MIN), text("0.5"), text("Zoë"), text(b"\x00\xff"), day, at.clone(), at];
    assert_eq!(r.rows[0], want);
    assert!(r.rows[1][1..].iter().all(|v| *v == SqlValue::Null));
    let r = l.ok(&h.url(), "SELECT 1 FROM users WHERE uid='nobody'");
    assert_eq!((r.columns.len(), r.rows.len()), (1, 0));
    let r = l.ok(&h.url(), "INSERT INTO seen (what) VALUES ('a'), ('b')");
    assert_eq!((r.affected, r.last_insert_id, r.columns.len()), (2, 2, 0));
    assert_eq!(l.ok(&h.url(), "UPDATE seen SET what='c' WHERE id=1").affected, 1);
    assert_eq!(l.ok(&h.url(), "INSERT INTO seen (what) VALUES ('x') RETURNING id").rows, [vec![INT(3)]]);
    let f = l.expect(&h.url(), "SELEC 1", AMPLE, Why::Denied, Phase::Wait);
    assert!(f.detail.contains("syntax error"), "{f}");
    let f = l.expect(&h.url(), "INSERT INTO users VALUES ('alice', 1, '')", AMPLE, Why::Denied, Phase::Wait);
    assert!(f.detail.contains("UNIQUE constraint failed"), "{f}");
    let f = l.expect("sqlite:///no/such/file.db", "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
    assert!(f.detail.contains("no such database file"), "{f}");
    assert_eq!(l.one(&h.url(), "PRAGMA journal_mode"), text("wal"));
}

#[test]
fn parameters() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    let mut run = |query: &str, params: Vec<SqlValue>| {
        let id = l.start_with(&h.url(), query, params, AMPLE);
        l.wait(id)
    };
    assert!(rows(run("SELECT * FROM users WHERE uid=?", vec![text("x' OR '1'='1")])).rows.is_empty());
    let all = vec![SqlValue::Null, INT(i64::MIN), text(""), text(b"\xff")];
    assert_eq!(rows(run("SELECT ?, ?, ?, ?", all.clone())).rows, [all]);
    let at = SqlValue::Time(1_709_210_096);
    rows(run("INSERT INTO kinds (id, at) VALUES (9, ?)", vec![at.clone()]));
    assert_eq!(rows(run("SELECT at FROM kinds WHERE id=?", vec![INT(9)])).rows, [vec![at]]);
    let f = failure(run("SELECT ?, ?", vec![INT(1)]));
    assert_eq!(f.why, Why::BadRequest);
    assert!(f.detail.contains("2 placeholders, 1 values"), "{f}");
}

#[test]
fn deadlines_interrupt() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    l.ok(&h.url(), "SELECT 1");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
    for query in ["SELECT sleep(30)", endless] {
        let begin = Instant::now();
        l.expect(&h.url(), query, SHORT, Why::Timeout, Phase::Wait);
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
    let id = l.start(&h.url(), endless, AMPLE);
    l.pass(Duration::from_millis(50));
    assert_eq!(l.driver.info(id).unwrap().phase, Phase::Wait);
    assert_eq!(l.driver.info(id).unwrap().backend, h.url());
    l.cancel(id, CancelReason::Operator);
    assert_eq!(failure(l.wait(id)).why, Why::Cancelled);
    // The helper has stopped working for them.
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", h.pid())).unwrap();
        stat.rsplit(' ').nth(52 - 14).map(str::to_owned)
    };
    eventually("the helper is idle", AMPLE, || {
        let before = ticks();
        std::thread::sleep(Duration::from_millis(200));
        ticks() == before
    });
    assert_eq!(l.one(&h.url(), "SELECT sleep(0.01)"), INT(0));
}

#[test]
fn a_slow_query_delays_nobody() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    let begin = Instant::now();
    let slow = l.start(&h.url(), "SELECT sleep(1), 'slow'", AMPLE);
    for i in 0..20 {
        assert_eq!(l.one(&h.url(), &format!("SELECT {i}")), INT(i));
    }
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(rows(l.wait(slow)).rows[0][1], text("slow"));
    // Two hundred at once share the helper's 32 threads.
    let begin = Instant::now();
    let ids: Vec<_> = (0..200).map(|i| (i, l.start(&h.url(), &format!("SELECT {i}, sleep(0.05)"), AMPLE))).collect();
    for (i, id) in ids {
        assert_eq!(rows(l.wait(id)).rows[0][0], INT(i));
    }
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(l.longest < Duration::from_millis(100), "{:?}", l.longest);
    assert!(process::threads(h.pid()) <= 36);
}

#[test]
fn writers_wait_for_each_other_within_their_deadline() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    let ids: Vec<_> =
        (0..50).map(|i| l.start(&h.url(), &format!("INSERT INTO seen (what) VALUES ('{i}')"), AMPLE)).collect();
    ids.into_iter().for_each(|id| drop(rows(l.wait(id))));
    assert_eq!(l.one(&h.url(), "SELECT COUNT(*) FROM seen"), INT(50));
    let other = rusqlite::Connection::open(h.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    l.expect(&h.url(), "INSERT INTO seen (what) VALUES ('x')", SHORT, Why::Timeout, Phase::Wait);
    assert_eq!(l.one(&h.url(), "SELECT COUNT(*) FROM seen"), INT(50), "readers go on");
    other.execute_batch("ROLLBACK").unwrap();
    l.ok(&h.url(), "INSERT INTO seen (what) VALUES ('y')");
    // A forgotten transaction ends with its query.
    l.ok(&h.url(), "BEGIN IMMEDIATE");
    l.ok(&h.url(), "INSERT INTO seen (what) VALUES ('z')");
    other.execute_batch("INSERT INTO seen (what) VALUES ('w')").unwrap();
}

#[test]
fn several_workers_write_at_the_same_time() {
    let _alone = alone();
    let h = helper();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let h = &h;
            scope.spawn(move || {
                let mut l = h.looping();
                for _ in 0..5 {
                    let insert = "INSERT INTO seen (what) VALUES (?)";
                    let ids: Vec<_> =
                        (0..40).map(|_| l.start_with(&h.url(), insert, vec![INT(worker)], AMPLE)).collect();
                    let reads: Vec<_> =
                        (0..10).map(|_| l.start(&h.url(), "SELECT COUNT(*) FROM seen", AMPLE)).collect();
                    for id in ids.into_iter().chain(reads) {
                        rows(l.wait(id));
                    }
                }
            });
        }
    });
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let mut l = h.looping();
    let r = l.ok(&h.url(), "SELECT what, COUNT(*) FROM seen GROUP BY what ORDER BY what");
    assert_eq!(r.rows, (0..4).map(|w| vec![text(w.to_string()), INT(200)]).collect::<Vec<_>>());
    // One who writes for long makes the others wait, but not beyond their deadlines, and not those who read.
    let slow = l.start(&h.url(), "INSERT INTO seen (what) SELECT sleep(1)", AMPLE);
    l.pass(Duration::from_millis(100));
    let begin = Instant::now();
    l.expect(&h.url(), "INSERT INTO seen (what) VALUES ('late')", SHORT, Why::Timeout, Phase::Wait);
    assert!(begin.elapsed() < Duration::from_millis(800), "{:?}", begin.elapsed());
    assert_eq!(l.one(&h.url(), "SELECT COUNT(*) FROM seen"), INT(800));
    rows(l.wait(slow));
    l.ok(&h.url(), "INSERT INTO seen (what) VALUES ('after')");
    assert_eq!(l.one(&h.url(), "SELECT COUNT(*) FROM seen WHERE what = 'late'"), INT(0));
}

#[test]
fn the_helper_is_killed_under_load_and_replaced() {
    let _alone = alone();
    let mut h = helper();
    let mut l = h.looping();
    l.driver.backends().set_policy(OpKind::Sqlite, Policy { in_flight: 20, ..Policy::of(OpKind::Sqlite) });
    assert_eq!(l.one(&h.url(), "SELECT 1"), INT(1));
    let ids: Vec<_> = (0..60).map(|_| l.start(&h.url(), "SELECT sleep(30)", Duration::from_secs(3))).collect();
    l.pass(Duration::from_millis(100));
    h.kill();
    h.spawn();
    let mut lost = 0;
    for id in ids {
        // Those under way are lost; of the others, which had not left yet, nobody loses more than time.
        let f = failure(l.wait(id));
        assert!(matches!(f.why, Why::Closed | Why::Timeout | Why::Open), "{f}");
        lost += usize::from(f.why == Why::Closed);
    }
    assert!(lost >= 20, "{lost}");
    let end = Instant::now() + AMPLE;
    loop {
        let id = l.start(&h.url(), "SELECT 'new'", AMPLE);
        match l.wait(id) {
            reprise::ops::Outcome::Sql(r) => break assert_eq!(r.rows[0][0], text("new")),
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        l.pass(Duration::from_millis(50));
    }
    assert!(l.driver.is_empty());
}

#[test]
fn answers_are_bounded() {
    let _alone = alone();
    let h = helper();
    let mut l = h.looping();
    let many = |n: u32| {
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT i FROM n")
    };
    assert_eq!(l.ok(&h.url(), &many(1000)).rows.len(), 1000);
    l.expect(&h.url(), &many(200_000), AMPLE, Why::TooLarge, Phase::Receive);
    assert_eq!(l.one(&h.url(), "SELECT printf('%.*c', 4000000, 'x')"), text("x".repeat(4_000_000)));
    l.expect(&h.url(), "SELECT printf('%.*c', 5000000, 'x')", AMPLE, Why::TooLarge, Phase::Receive);
    l.expect(&h.url(), "SELECT zeroblob(100000000)", AMPLE, Why::Denied, Phase::Wait);
    l.expect(&h.url(), &format!("SELECT '{}'", "x".repeat(17 << 20)), AMPLE, Why::BadRequest, Phase::Send);
    l.expect(&h.url(), "ATTACH '/tmp/x.db' AS x", AMPLE, Why::Denied, Phase::Wait);
    assert_eq!(l.one(&h.url(), "SELECT 1"), INT(1));
}

#[test]
fn the_helper_dies_and_comes_back() {
    let _alone = alone();
    let mut h = helper();
    let before = fds();
    let mut l = h.looping();
    assert_eq!(l.one(&h.url(), "SELECT 1"), INT(1));
    let id = l.start(&h.url(), "SELECT sleep(30)", AMPLE);
    l.pass(Duration::from_millis(100));
    h.kill();
    let f = failure(l.wait(id));
    assert_eq!((f.why, f.phase), (Why::Closed, Phase::Wait), "{f}");
    // Its socket lives on at main: queries wait for the successor, within their deadlines.
    l.expect(&h.url(), "SELECT 1", SHORT, Why::Timeout, Phase::Wait);
    let id = l.start(&h.url(), "SELECT 'new'", AMPLE);
    h.spawn();
    assert_eq!(rows(l.wait(id)).rows[0][0], text("new"));
    drop(l);
    assert_eq!(fds(), before);
}

#[test]
fn no_helper_at_all() {
    let _alone = alone();
    let mut l = Loop::new();
    l.expect("sqlite:///tmp/x.db", "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
    *l.driver.sqlite() = Sqlite::new(Some(SqliteEndpoint { path: "/no/such.sock".into() }), Limits::default());
    for _ in 0..3 {
        l.expect("sqlite:///tmp/x.db", "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
    }
    l.expect("sqlite://", "SELECT 1", AMPLE, Why::BadRequest, Phase::Queue);
    assert!(l.driver.is_empty());
    // A helper whose queue of connections is full.
    let dir = process::directory("full");
    let path = dir.path().join("full.sock");
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let mut filler = Vec::new();
    while let Ok(s) = mio::net::UnixStream::connect(&path) {
        filler.push(s);
    }
    *l.driver.sqlite() = Sqlite::new(Some(SqliteEndpoint { path }), Limits::default());
    l.expect("sqlite:///tmp/x.db", "SELECT 1", SHORT, Why::Timeout, Phase::Connect);
    assert!(l.longest < Duration::from_millis(100));
}
