//! Several servers behind one URL; queries that are ended at their server; sessions that are reset.

use crate::lp::{AMPLE, Loop, alone, failure, fds, rows, text};
use crate::support::mariadb::MariaDb;
use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::{eventually, free_port};
use reprise::ops::backend::Policy;
use reprise::ops::driver::OpKind;
use reprise::ops::sql::mysql::Mysql;
use reprise::ops::sql::{Kill, Limits};
use reprise::ops::{CancelReason, Phase, SqlValue, Why};
use std::time::{Duration, Instant};

const INT: fn(i64) -> SqlValue = SqlValue::Int;
const SHORT: Duration = Duration::from_millis(300);

fn with(l: &mut Loop, limits: Limits) {
    *l.driver.mysql() = Mysql::new(limits);
}

#[test]
fn the_next_server_is_asked_when_the_first_cannot_be_reached() {
    let _alone = alone();
    let db = MariaDb::shared();
    let before = fds();
    let hole = BlackHole::tcp();
    let rude = TcpMock::each(vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close]);
    let refused = format!("mysql://u:p@127.0.0.1:{}/d", free_port());
    let wrong = db.url_for(("reprise", "wrong"), "reprise");
    for first in [
        refused.clone(),
        format!("mysql://u:p@{}/d", hole.addr),
        format!("mysql://u:p@{}/d", rude.addr),
        "mysql://u:p@unix(/no/such/socket)/d".to_string(),
        wrong.clone(),
        format!("{refused} {wrong}"),
    ] {
        let mut l = Loop::new();
        with(&mut l, Limits { connect_timeout: SHORT, address_timeout: SHORT, ..Limits::default() });
        let url = format!("{first} {}", db.url());
        assert_eq!(l.one(&url, "SELECT 1"), INT(1), "{first}");
        // The one that failed is not asked again for a while.
        let begin = Instant::now();
        let ids: Vec<_> = (0..10).map(|_| l.start(&url, "SELECT SLEEP(0.05)", AMPLE)).collect();
        ids.into_iter().for_each(|id| drop(rows(l.wait(id))));
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!(l.driver.mysql().connections(), (10, 10));
    }
    // None can be reached: the reason of the last one.
    let mut l = Loop::new();
    let f = l.fails(&format!("{wrong} {refused}"), "SELECT 1", AMPLE);
    assert_eq!((f.why, f.phase), (Why::Refused, Phase::Connect), "{f}");
    // Several hosts in one URL.
    let port = db.url().split(':').nth(3).and_then(|p| p.split('/').next().map(str::to_owned)).unwrap();
    let several = db.url().replace("127.0.0.1", &format!("127.0.0.1:{},127.0.0.1", free_port()));
    assert!(several.contains(&port));
    assert_eq!(l.one(&several, "SELECT 2"), INT(2));
    drop((l, hole, rude));
    eventually("every socket is closed", AMPLE, || fds() == before);
}

#[test]
fn the_first_server_gets_its_work_back() {
    let _alone = alone();
    let (first, second) = (MariaDb::start(), MariaDb::shared());
    let url = format!("{} {}", first.url(), second.url());
    let mut l = Loop::new();
    with(&mut l, Limits { hold: Duration::from_millis(500), ..Limits::default() });
    let port = |l: &mut Loop| l.one(&url, "SELECT @@port");
    let (one, two) = (l.one(&first.url(), "SELECT @@port"), l.one(&second.url(), "SELECT @@port"));
    assert_eq!(port(&mut l), one);
    first.kill();
    l.pass(Duration::from_millis(50));
    assert_eq!(port(&mut l), two);
    // As long as it is away, attempts to reach it disturb nobody.
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        assert_eq!(port(&mut l), two);
        l.pass(Duration::from_millis(10));
    }
    first.restart();
    let end = Instant::now() + AMPLE;
    while port(&mut l) != one {
        assert!(Instant::now() < end, "the first server is not asked any more");
        l.pass(Duration::from_millis(20));
    }
    for _ in 0..20 {
        assert_eq!(port(&mut l), one);
    }
}

#[test]
fn a_first_server_that_swallows_packets_stalls_nobody() {
    let _alone = alone();
    let hole = BlackHole::tcp();
    let url = format!("mysql://u:p@{}/d {}", hole.addr, MariaDb::shared().url());
    let mut l = Loop::new();
    let limits = Limits { connect_timeout: Duration::from_secs(1), hold: SHORT, ..Limits::default() };
    with(&mut l, limits);
    assert_eq!(l.one(&url, "SELECT 1"), INT(1));
    // It is tried again and again, and each time in vain: but by a connection that nobody waits for.
    let end = Instant::now() + Duration::from_secs(3);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let begin = Instant::now();
        assert_eq!(l.one(&url, "SELECT 1"), INT(1));
        slowest = slowest.max(begin.elapsed());
        l.pass(Duration::from_millis(5));
    }
    assert!(slowest < Duration::from_millis(700), "{slowest:?}");
}

/// How many queries with this word run at the server.
fn running(db: &MariaDb, word: &str) -> String {
    db.sql(&format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%{word}%' AND INFO NOT LIKE '%PROCESSLIST%'"
    ))
}

#[test]
fn queries_that_nobody_waits_for_are_ended_over_one_side_connection() {
    let _alone = alone();
    let db = MariaDb::start();
    let mut l = Loop::new();
    let before = db.sql("SHOW GLOBAL STATUS LIKE 'Connections'");
    let count = |line: &str| line.rsplit('\t').next().unwrap().trim().parse::<u32>().unwrap();
    // All connections of the pool are busy, and stay so.
    let busy: Vec<_> = (0..5).map(|_| l.start(&db.url(), "SELECT SLEEP(2), 'busy'", AMPLE)).collect();
    let doomed: Vec<_> = (0..5).map(|_| l.start(&db.url(), "SELECT SLEEP(30), 'doomed'", SHORT)).collect();
    for id in doomed {
        assert_eq!(failure(l.wait(id)).why, Why::Timeout);
    }
    let end = Instant::now() + Duration::from_millis(1500);
    while running(&db, "doomed") != "0" {
        assert!(Instant::now() < end, "{} still run", running(&db, "doomed"));
        l.pass(Duration::from_millis(20));
    }
    assert_ne!(running(&db, "busy"), "0", "the pool's own connections were not needed for it");
    busy.into_iter().for_each(|id| drop(rows(l.wait(id))));
    l.pass(Duration::from_millis(100));
    assert_eq!(l.driver.mysql().connections(), (5, 5), "the side connection is closed after use");
    // Ten of the pool; the side connections are few, not one for each query. Every look has one, too.
    let after = count(&db.sql("SHOW GLOBAL STATUS LIKE 'Connections'")) - count(&before);
    assert!(after < 10 + 6 + 80, "{after} connections");
    // Cancelled by an operator: the same.
    let id = l.start(&db.url(), "SELECT SLEEP(30), 'operator'", AMPLE);
    while running(&db, "operator") == "0" {
        l.pass(Duration::from_millis(20));
    }
    l.cancel(id, CancelReason::Operator);
    assert_eq!(failure(l.wait(id)).why, Why::Cancelled);
    let end = Instant::now() + AMPLE;
    while running(&db, "operator") != "0" {
        assert!(Instant::now() < end);
        l.pass(Duration::from_millis(20));
    }
    // Switched off: the server goes on in vain.
    with(&mut l, Limits { kill: Kill::Never, ..Limits::default() });
    let id = l.start(&db.url(), "SELECT SLEEP(2), 'kept'", SHORT);
    assert_eq!(failure(l.wait(id)).why, Why::Timeout);
    l.pass(SHORT);
    assert_eq!(running(&db, "kept"), "1");
}

#[test]
fn a_session_is_reset_before_the_next_query() {
    let _alone = alone();
    let db = MariaDb::shared();
    let url = db.url();
    let mut l = Loop::new();
    l.driver.backends().set_policy(OpKind::Mysql, Policy { in_flight: 1, ..Policy::of(OpKind::Mysql) });
    let id = l.one(&url, "SELECT CONNECTION_ID()");
    for (query, look, clean) in [
        ("SET @x = 5", "SELECT @x", SqlValue::Null),
        ("SELECT 5 INTO @x", "SELECT @x", SqlValue::Null),
        ("SET time_zone = '+05:00'", "SELECT @@time_zone", text("SYSTEM")),
        ("SET NAMES latin1", "SELECT @@character_set_client", text("utf8mb4")),
        ("CREATE TEMPORARY TABLE left_over (a INT)", "SELECT COUNT(*) FROM users", INT(3)),
        ("SELECT GET_LOCK('left_over', 0)", "SELECT IS_USED_LOCK('left_over')", SqlValue::Null),
        ("BEGIN", "SELECT @@in_transaction", INT(0)),
    ] {
        l.ok(&url, query);
        assert_eq!(l.one(&url, look), clean, "{query}");
        assert_eq!(l.one(&url, "SELECT CONNECTION_ID()"), id, "{query}: the connection stays");
    }
    l.fails(&url, "SELECT * FROM left_over", AMPLE);
    // What a reset does not change back ends the connection.
    l.ok(&url, "USE information_schema");
    assert_eq!(l.one(&url, "SELECT DATABASE()"), text("reprise"));
    assert_ne!(l.one(&url, "SELECT CONNECTION_ID()"), id);
    assert_eq!(l.one(&url, "SELECT 'Zoë ☎'"), text("Zoë ☎"), "the character set is the old one");
}

#[test]
fn statements_are_prepared_once() {
    let _alone = alone();
    let db = MariaDb::start();
    let url = db.url();
    let mut l = Loop::new();
    l.driver.backends().set_policy(OpKind::Mysql, Policy { in_flight: 1, ..Policy::of(OpKind::Mysql) });
    let prepared = |l: &mut Loop| {
        let look =
            "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME='COM_STMT_PREPARE'";
        l.one(&url, look).clone()
    };
    let ask = |l: &mut Loop, query: &str, value: i64| {
        let id = l.start_with(&url, query, vec![INT(value)], AMPLE);
        rows(l.wait(id)).rows[0][0].clone()
    };
    for n in 0..50 {
        assert_eq!(ask(&mut l, "SELECT text FROM numbers WHERE n = ?", n + 1), text(format!("number {}", n + 1)));
    }
    assert_eq!(prepared(&mut l), text("1"));
    // More than a connection keeps: the oldest give way, and the server is told.
    for n in 0..100 {
        assert_eq!(ask(&mut l, &format!("SELECT {n} + ?"), 1), INT(n + 1));
    }
    assert_eq!(db.sql("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'"), "Prepared_stmt_count\t32");
    assert_eq!(ask(&mut l, "SELECT 99 + ?", 1), INT(100));
    assert_eq!(prepared(&mut l), text("101"));
    // The table changes under a statement that is kept.
    l.ok(&url, "CREATE TABLE changing (a INT)");
    l.ok(&url, "INSERT INTO changing VALUES (1)");
    assert_eq!(ask(&mut l, "SELECT * FROM changing WHERE 1 = ?", 1), INT(1));
    l.ok(&url, "ALTER TABLE changing MODIFY a VARCHAR(20), ADD b INT FIRST");
    assert_eq!(ask(&mut l, "SELECT * FROM changing WHERE 1 = ?", 1), SqlValue::Null);
    // A reset takes them along.
    l.ok(&url, "SET @x = 1");
    assert_eq!(ask(&mut l, "SELECT 99 + ?", 1), INT(100));
}
