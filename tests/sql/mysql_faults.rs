//! The MySQL engine against servers that refuse, die, hang, or send what no server should.

use crate::lp::{AMPLE, Loop, alone, failure, fds, rows, text};
use crate::support::mariadb::MariaDb;
use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::{eventually, free_port, process};
use reprise::ops::sql::Limits;
use reprise::ops::sql::mysql::Mysql;
use reprise::ops::{Phase, SqlValue, Why};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

/// A greeting as MariaDB sends it: protocol 10, native passwords, no TLS.
pub fn greeting() -> Vec<u8> {
    let mut p = vec![10];
    p.extend_from_slice(b"5.5.5-mock\0");
    p.extend_from_slice(&7u32.to_le_bytes());
    p.extend_from_slice(b"abcdefgh\0");
    let capabilities = 0x000f_f7feu32 & !0x0800;
    p.extend_from_slice(&capabilities.to_le_bytes()[..2]);
    p.extend_from_slice(&[45, 2, 0]);
    p.extend_from_slice(&capabilities.to_le_bytes()[2..]);
    p.push(21);
    p.extend_from_slice(&[0; 10]);
    p.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
    packet(0, &p)
}

pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    out.push(sequence);
    out.extend_from_slice(payload);
    out
}

/// Login goes well, the question about the time zone is refused; then `answer` to the first query.
fn logged_in(answer: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![
        Step::Write(greeting()),
        Step::Read(40),
        Step::Write(packet(2, &[0, 0, 0, 2, 0, 0, 0])),
        Step::ReadUntil(b"NOW())".to_vec()),
        Step::Write(packet(1, b"\xff\x48\x04#42000no")),
        Step::ReadUntil(b"SELECT 1".to_vec()),
    ];
    steps.extend(answer);
    steps
}

pub fn url(mock: &TcpMock) -> String {
    format!("mysql://u:p@{}/d", mock.addr)
}

#[test]
fn refused_fails_at_once_and_backs_off() {
    let _alone = alone();
    let before = fds();
    let url = format!("mysql://u:p@127.0.0.1:{}/d", free_port());
    {
        let mut l = Loop::new();
        let begin = Instant::now();
        let f = l.expect(&url, "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
        assert!(f.detail.contains("refused"), "{f}");
        let ids: Vec<_> = (0..100).map(|_| l.start(&url, "SELECT 1", AMPLE)).collect();
        let outcomes: Vec<_> = ids.into_iter().map(|id| failure(l.wait(id))).collect();
        // After 20 in a row the circuit is open and nobody tries any more.
        let open = outcomes.iter().filter(|f| f.why == Why::Open).count();
        assert!(outcomes.iter().all(|f| matches!(f.why, Why::Refused | Why::Open)) && open == 81, "{open}");
        assert!(outcomes[99].detail.contains("20 failures in a row, the last: refused"), "{}", outcomes[99]);
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(l.driver.mysql().connections(), (0, 0));
        l.expect("mysql://u@unix(/no/such/socket)/d", "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
        assert!(l.driver.is_empty());
    }
    assert_eq!(fds(), before);
}

#[test]
fn a_black_hole_costs_only_the_deadline() {
    let _alone = alone();
    let hole = BlackHole::tcp();
    let before = fds();
    {
        let mut l = Loop::new();
        let url = format!("mysql://u:p@{}/d", hole.addr);
        let begin = Instant::now();
        let ids: Vec<_> = (0..50).map(|_| l.start(&url, "SELECT 1", SHORT)).collect();
        for id in ids {
            let f = failure(l.wait(id));
            assert!(f.why == Why::Timeout && matches!(f.phase, Phase::Connect | Phase::Queue), "{f}");
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        assert!(l.longest < Duration::from_millis(100), "{:?}", l.longest);
    }
    assert_eq!(fds(), before);
}

#[test]
fn a_connect_attempt_has_its_own_limit() {
    let _alone = alone();
    let hole = BlackHole::tcp();
    let mut l = Loop::new();
    *l.driver.mysql() = Mysql::new(Limits { connect_timeout: SHORT, ..Limits::default() });
    let f = l.expect(&format!("mysql://u:p@{}/d", hole.addr), "SELECT 1", AMPLE, Why::Timeout, Phase::Connect);
    assert!(f.detail.contains("no connection in time"), "{f}");
}

#[test]
fn servers_that_say_nothing_or_nonsense() {
    let _alone = alone();
    let before = fds();
    let silent = TcpMock::each(vec![Step::Hang]);
    let http = TcpMock::each(vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec())]);
    let zeros = TcpMock::each(vec![Step::Flood]);
    let closing = TcpMock::each(vec![Step::Close]);
    let reset = TcpMock::each(vec![Step::Reset]);
    let after_greeting = TcpMock::each(vec![Step::Write(greeting()), Step::Hang]);
    let busy = TcpMock::each(vec![Step::Write(packet(0, b"\xff\x10\x04Too many connections"))]);
    {
        let mut l = Loop::new();
        l.expect(&url(&silent), "SELECT 1", SHORT, Why::Timeout, Phase::Login);
        l.expect(&url(&http), "SELECT 1", AMPLE, Why::Garbage, Phase::Login);
        l.expect(&url(&zeros), "SELECT 1", AMPLE, Why::Garbage, Phase::Login);
        l.expect(&url(&closing), "SELECT 1", AMPLE, Why::Closed, Phase::Login);
        let f = l.fails(&url(&reset), "SELECT 1", AMPLE);
        assert!(matches!(f.why, Why::Closed | Why::Refused), "{f}");
        l.expect(&url(&after_greeting), "SELECT 1", SHORT, Why::Timeout, Phase::Login);
        let f = l.expect(&url(&busy), "SELECT 1", AMPLE, Why::Refused, Phase::Login);
        assert!(f.detail.contains("1040: Too many connections"), "{f}");
        let f = l.expect(&format!("{}?ssl=1", url(&after_greeting)), "SELECT 1", AMPLE, Why::Refused, Phase::Tls);
        assert!(f.detail.contains("no TLS"), "{f}");
    }
    drop((silent, http, zeros, closing, reset, after_greeting, busy));
    eventually("the mocks' sockets are closed", AMPLE, || fds() == before);
}

#[test]
fn answers_that_stop_or_never_end() {
    let _alone = alone();
    let column = {
        let mut p = Vec::new();
        for part in ["def", "", "", "", "a", ""] {
            p.push(part.len() as u8);
            p.extend_from_slice(part.as_bytes());
        }
        p.extend_from_slice(&[0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        p
    };
    let header = [packet(1, &[1]), packet(2, &column), packet(3, &[0xfe, 0, 0, 2, 0])].concat();
    let row = |sequence: u8| {
        let mut p = vec![0xfc, 0xe8, 0x03];
        p.extend_from_slice(&[b'x'; 1000]);
        packet(sequence, &p)
    };
    let many: Vec<u8> = (0..10_000u32).flat_map(|i| row((4 + i) as u8)).collect();
    let half = [header.clone(), row(4)[..500].to_vec()].concat();
    let before = fds();
    for (answer, why, phase) in [
        (vec![Step::Hang], Why::Timeout, Phase::Wait),
        (vec![Step::Write(half.clone()), Step::Hang], Why::Timeout, Phase::Receive),
        (vec![Step::Write(half.clone()), Step::Close], Why::Closed, Phase::Receive),
        (vec![Step::Write(half), Step::Sleep(Duration::from_millis(50)), Step::Reset], Why::Closed, Phase::Receive),
        (vec![Step::Close], Why::Closed, Phase::Wait),
        (vec![Step::Write([header.clone(), many].concat()), Step::Hang], Why::TooLarge, Phase::Receive),
        (vec![Step::Write([header, row(9)].concat()), Step::Hang], Why::Garbage, Phase::Receive),
        (vec![Step::Write(packet(1, b"\xfb/etc/passwd")), Step::Hang], Why::Garbage, Phase::Receive),
        (vec![Step::Write(packet(1, &[0xfd, 255, 255, 255])), Step::Hang], Why::Garbage, Phase::Receive),
        (vec![Step::Write(vec![255, 255, 255, 1]), Step::Flood], Why::TooLarge, Phase::Receive),
        (vec![Step::Write(b"garbage, not a packet at all".to_vec()), Step::Hang], Why::TooLarge, Phase::Receive),
    ] {
        let mock = TcpMock::each(logged_in(answer));
        let mut l = Loop::new();
        l.expect(&url(&mock), "SELECT 1", SHORT, why, phase);
        assert_eq!(l.driver.mysql().connections().1, 0, "discarded");
    }
    eventually("every socket is closed", AMPLE, || fds() == before);
    // Byte by byte is slow, but right.
    let ok = packet(1, &[0, 3, 4, 2, 0, 0, 0]);
    let mock = TcpMock::each(logged_in(vec![Step::Drip(ok, Duration::from_millis(5)), Step::Hang]));
    let r = Loop::new().ok(&url(&mock), "SELECT 1");
    assert_eq!((r.affected, r.last_insert_id), (3, 4));
}

#[test]
fn a_server_that_dies_and_comes_back() {
    let _alone = alone();
    let db = MariaDb::start();
    let mut l = Loop::new();
    assert_eq!(l.one(&db.url(), "SELECT 1"), SqlValue::Int(1));
    // Killed in the middle of a query.
    let id = l.start(&db.url(), "SELECT SLEEP(30)", AMPLE);
    l.pass(Duration::from_millis(200));
    db.kill();
    let f = failure(l.wait(id));
    assert_eq!((f.why, f.phase), (Why::Closed, Phase::Wait), "{f}");
    l.expect(&db.url(), "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
    db.restart();
    let end = Instant::now() + AMPLE;
    loop {
        let id = l.start(&db.url(), "SELECT credit FROM users WHERE uid='alice'", AMPLE);
        match l.wait(id) {
            reprise::ops::Outcome::Sql(r) => break assert_eq!(r.rows[0][0], SqlValue::Int(100)),
            _ => assert!(Instant::now() < end, "the pool does not recover"),
        }
        l.pass(Duration::from_millis(50));
    }
    // An administrator kills idle connections: nobody notices.
    let ids: Vec<_> = (0..10).map(|_| l.start(&db.url(), "SELECT SLEEP(0.05)", AMPLE)).collect();
    ids.into_iter().for_each(|id| drop(rows(l.wait(id))));
    assert_eq!(l.driver.mysql().connections(), (10, 10));
    db.kill_connections();
    assert_eq!(l.one(&db.url(), "SELECT 'a'"), text("a"));
    l.pass(Duration::from_millis(100));
    assert!(l.driver.mysql().connections().0 <= 2, "{:?}", l.driver.mysql().connections());
    // An orderly restart between two queries.
    db.restart();
    l.pass(Duration::from_millis(50));
    assert_eq!(l.driver.mysql().connections(), (0, 0));
    assert_eq!(l.one(&db.url(), "SELECT 'b'"), text("b"));
    // A server that hangs.
    db.pause();
    eventually("the server has stopped", AMPLE, || process::state(db.pid()) == Some('T'));
    l.pass(Duration::from_millis(20));
    l.expect(&db.url(), "SELECT 1", SHORT, Why::Timeout, Phase::Wait);
    l.expect(&db.url(), "SELECT 1", SHORT, Why::Timeout, Phase::Login);
    db.resume();
    assert_eq!(l.one(&db.url(), "SELECT 'c'"), text("c"));
}

#[test]
fn a_stale_connection_is_replaced_only_when_that_is_safe() {
    let _alone = alone();
    let ok = || Step::Write(packet(1, &[0, 1, 0, 2, 0, 0, 0]));
    // The first connection serves one query and is closed by the server when the second one comes.
    let stale = || logged_in(vec![ok(), Step::Read(6), Step::Close]);
    for (query, repeated) in [("SELECT 1", true), ("SHOW SELECT 1", true), ("INSERT SELECT 1", false)] {
        let mock = TcpMock::start(vec![stale(), logged_in(vec![ok(), Step::Hang])]);
        let mut l = Loop::new();
        l.ok(&url(&mock), "SELECT 1");
        let id = l.start(&url(&mock), query, AMPLE);
        let outcome = l.wait(id);
        if repeated {
            rows(outcome);
            assert_eq!(mock.accepted(), 2, "{query}");
        } else {
            assert_eq!(failure(outcome).why, Why::Closed, "{query}");
        }
    }
}
