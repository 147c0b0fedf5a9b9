//! Backends that fail in every way: each wait ends in its resume route with a negative `$rc`, and
//! afterwards the server holds what it held before.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Footprint, SECOND, held, listening, serve, wait_quiet};
use crate::support::mariadb::MariaDb;
use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::nginx::{LARGE, Nginx};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, free_port, process};

/// One fault: what the script calls, and how it must end.
struct Case {
    /// What fails, and how.
    name: String,
    /// A function that may wait.
    call: String,
    /// `$rc`, `$async_err` and `$async_phase` as the resume route sees them, a regular expression.
    ends: String,
    /// Waits that begin at the same time.
    waits: usize,
    /// Limit of each, in seconds.
    limit: u32,
}

fn case(name: &str, call: impl Into<String>, ends: &str) -> Case {
    Case { name: name.to_owned(), call: call.into(), ends: ends.to_owned(), waits: 10, limit: 2 }
}

/// A server with one worker; the user part of the R-URI is the number of the case.
fn server(settings: &str, cases: &[Case]) -> (Reprise, u16) {
    let starts: String = cases
        .iter()
        .enumerate()
        .map(|(i, c)| format!("    if ($rU == \"c{i}\")\n        async({}, done, {});\n", c.call, c.limit))
        .collect();
    let rest = format!(
        r#"
modparam("tm", "wt_timer", 1)
# Every failure is to be seen, however many come before it.
backend_max_failures = 0
{settings}
route {{
{starts}    sl_send_reply(200, "OK");
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
    serve(|port| listening(port, "", &rest), &["-n", "1"])
}

/// Starts the waits of a case and waits for all answers, which must have this status.
fn play(server: &Reprise, port: u16, number: usize, case: &Case, status: u16) {
    let client = SipClient::new(port);
    let mark = server.log_mark();
    let start = Instant::now();
    for _ in 0..case.waits {
        client.send_request(&client.request("OPTIONS", &format!("sip:c{number}@example.test")));
    }
    for _ in 0..case.waits {
        let answer = client.expect(&case.name, SECOND * 5, |m| m.status() >= 200);
        assert_eq!(answer.status(), status, "{}", case.name);
    }
    let took = start.elapsed();
    let most = Duration::from_secs(u64::from(case.limit)) + Duration::from_millis(1500);
    assert!(took < most, "{}: {took:?}", case.name);
    let pattern = format!("c{number} ended with {}\\.$", case.ends);
    for _ in 0..case.waits {
        server.wait_log_after(mark, &pattern, SECOND);
    }
    let ended = format!("c{number} ended with ");
    let other = regex::Regex::new(&pattern).unwrap();
    for line in server.log().lines().skip(mark).filter(|l| l.contains(&ended)) {
        assert!(other.is_match(line), "{}: {line}\nnot {pattern}", case.name);
    }
    println!("{:50} {took:?}", case.name);
}

/// Plays every case, looks after each whether all is back, and once more for memory.
fn play_all(settings: &str, cases: &[Case]) {
    let (server, port) = server(settings, cases);
    let before = Footprint::of(&server);
    for (i, case) in cases.iter().enumerate() {
        play(&server, port, i, case, 500);
        eventually(&format!("{}: nothing is in flight", case.name), SECOND * 3, || {
            held(&server, "parked") + held(&server, "operations") == 0 && server.tree().len() == before.processes
        });
    }
    before.wait_back(&server, SECOND * 20);
    let round = || {
        for (i, case) in cases.iter().enumerate() {
            play(&server, port, i, case, 500);
        }
    };
    // The allocator may still grow in the second round; what leaks grows in all.
    round();
    before.wait_back(&server, SECOND * 20);
    let once = server.rss();
    // What is left of a peak goes back when the next one passes, or the one after it: the least of three counts.
    let rounds = [0; 3].map(|_| {
        round();
        before.wait_back(&server, SECOND * 20);
        server.rss()
    });
    let often = rounds.into_iter().min().unwrap_or(0);
    println!("resident: {once} KiB after two rounds, {rounds:?} KiB after the others");
    assert!(often < once + 8 * 1024, "{once} KiB after two rounds, {rounds:?} KiB after the others");
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
    for pid in server.worker_pids() {
        assert!(process::zombies(pid).is_empty());
    }
}

fn head_read() -> Step {
    Step::ReadUntil(b"\r\n\r\n".to_vec())
}

fn write(text: &str) -> Step {
    Step::Write(text.as_bytes().to_vec())
}

#[test]
fn web_services_that_fail() {
    let answer = |steps: Vec<Step>| {
        let mut all = vec![head_read()];
        all.extend(steps);
        TcpMock::each(all)
    };
    let hole = BlackHole::tcp();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mocks = [
        ("reset at once", TcpMock::each(vec![Step::Reset]), "-(1|10) .*"),
        ("closed at once", TcpMock::each(vec![Step::Close]), "-(1|10) .*"),
        ("silent", TcpMock::each(vec![Step::Hang]), "-3 timeout, (wait|send)"),
        ("reset after the request", answer(vec![Step::Reset]), "-(1|10) .*"),
        ("closed after the request", answer(vec![Step::Close]), "-(1|10) connection closed.*, wait"),
        ("garbage", answer(vec![write("\0\x01\x02 garbage\r\n\r\n"), Step::Hang]), "-10 protocol error.*"),
        ("another protocol", TcpMock::each(vec![write("220 mail.test ESMTP\r\n"), Step::Hang]), "-10 protocol error.*"),
        ("endless garbage", answer(vec![Step::Flood]), "-10 .*"),
        (
            "endless header",
            answer(vec![
                write("HTTP/1.1 200 OK\r\n"),
                Step::Write(b"X-More: 0123456789abcdef0123456789abcdef\r\n".repeat(100_000)),
                Step::Hang,
            ]),
            "-10 .*",
        ),
        ("endless body", answer(vec![write("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood]), "-10 answer too large.*"),
        (
            "a body of 4 GB",
            answer(vec![write("HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n"), Step::Flood]),
            "-10 answer too large.*",
        ),
        (
            "endless chunks",
            answer(vec![
                write(chunked),
                Step::Write(
                    b"400\r\n"
                        .to_vec()
                        .into_iter()
                        .chain([b'x'; 0x400])
                        .chain(*b"\r\n")
                        .collect::<Vec<u8>>()
                        .repeat(2000),
                ),
                Step::Hang,
            ]),
            "-10 answer too large.*",
        ),
        ("bad chunks", answer(vec![write(chunked), write("zzz\r\n"), Step::Hang]), "-10 protocol error.*"),
        (
            "killed in the middle",
            answer(vec![write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"), Step::Close]),
            "-10 connection closed.*, receive",
        ),
        (
            "reset in the middle",
            answer(vec![
                write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"),
                Step::Sleep(Duration::from_millis(20)),
                Step::Reset,
            ]),
            "-10 .*, receive",
        ),
        (
            "one byte at a time",
            answer(vec![Step::Drip(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".repeat(100),
                Duration::from_millis(50),
            )]),
            "-3 timeout, receive",
        ),
    ];
    let mut cases: Vec<Case> = mocks
        .iter()
        .map(|(name, mock, ends)| case(name, format!("rest_get(\"http://{}/\", $avp(body))", mock.addr), ends))
        .collect();
    let get = |url: String| format!("rest_get(\"{url}\", $avp(body), $avp(type), $avp(code))");
    cases.push(case("refused", get(format!("http://127.0.0.1:{}/", free_port())), "-1 refused.*, connect"));
    cases.push(case("swallowed", get(format!("http://{}/", hole.addr)), "-2 timeout, connect"));
    cases.push(case("no such host", get("http://no-such-host.invalid/".into()), "-1 .*, resolve"));
    cases.push(case("no URL", get("gopher://127.0.0.1/".into()), "-10 bad request.*"));
    let web = Nginx::shared();
    cases.push(case("not TLS", get(format!("https://127.0.0.1:{}/now", web.port)), "-10 .*, tls"));
    cases.push(case("untrusted", get(format!("https://localhost:{}/now", web.untrusted_port)), "-10 .*, tls"));
    cases.push(case("wrong name", get(format!("https://localhost:{}/now", web.wrong_name_port)), "-10 .*, tls"));
    cases.push(case("TLS that hangs", get(format!("https://{}/", mocks[2].1.addr)), "-2 timeout, tls"));
    let settings = "modparam(\"rest_client\", \"curl_timeout\", 1)\nmodparam(\"rest_client\", \"connection_timeout\", 1)\n\
                    modparam(\"rest_client\", \"max_transfer_size\", 512)\n";
    play_all(settings, &cases);
}

#[test]
fn a_web_service_is_killed_hangs_and_comes_back() {
    let web = Nginx::start();
    let cases = [
        case("now", format!("rest_get(\"{}\", $avp(body))", web.url("/now")), "1 <null>, <null>"),
        case("slow", format!("rest_get(\"{}\", $avp(body))", web.url("/sleep?t=1")), "-.*"),
        case("large", format!("rest_get(\"{}\", $avp(body))", web.url("/large")), "1 <null>, <null>"),
        case("fails", format!("rest_get(\"{}\", $avp(body))", web.url("/now")), "-.*"),
    ];
    let (server, port) = server("modparam(\"rest_client\", \"curl_timeout\", 2)\n", &cases);
    let cold = Footprint::of(&server);
    play(&server, port, 0, &cases[0], 200);
    play(&server, port, 2, &cases[2], 200);
    const { assert!(LARGE > 0) };
    // Killed while it works.
    let killer = std::thread::scope(|scope| {
        let waits = scope.spawn(|| play(&server, port, 1, &cases[1], 500));
        eventually("all are in flight", SECOND * 3, || held(&server, "operations") == 10);
        web.kill();
        waits.join()
    });
    killer.unwrap();
    play(&server, port, 3, &cases[3], 500);
    cold.wait_back(&server, SECOND * 20);
    // Started again: served at once.
    web.restart();
    play(&server, port, 0, &cases[0], 200);
    // Restarted while connections are pooled: those are stale now, and nobody notices.
    web.restart();
    play(&server, port, 0, &cases[0], 200);
    // It hangs with connections open.
    web.pause();
    play(&server, port, 3, &cases[3], 500);
    web.resume();
    play(&server, port, 0, &cases[0], 200);
    web.kill();
    eventually("idle connections are closed", SECOND * 5, || Footprint::of(&server).fds == cold.fds);
    cold.wait_back(&server, SECOND * 20);
}

/// A greeting as MariaDB sends it: protocol 10, native passwords, no TLS.
fn greeting() -> Vec<u8> {
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

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_le_bytes()[..3].to_vec();
    out.push(sequence);
    out.extend_from_slice(payload);
    out
}

/// The login goes well, the question about the time zone is refused; then `answer` to the query.
fn logged_in(answer: Vec<Step>) -> TcpMock {
    let mut steps = vec![
        Step::Write(greeting()),
        Step::Read(40),
        Step::Write(packet(2, &[0, 0, 0, 2, 0, 0, 0])),
        Step::ReadUntil(b"NOW())".to_vec()),
        Step::Write(packet(1, b"\xff\x48\x04#42000no")),
        Step::ReadUntil(b"SELECT 1".to_vec()),
    ];
    steps.extend(answer);
    TcpMock::each(steps)
}

#[test]
fn databases_that_fail() {
    let hole = BlackHole::tcp();
    // One column named `n`, then rows for ever.
    let column = packet(2, b"\x03def\0\0\0\x01n\0\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0");
    let rows = || {
        let mut head = packet(1, &[1]);
        head.extend_from_slice(&column);
        head.extend_from_slice(&packet(3, &[0xfe, 0, 0, 2, 0]));
        head
    };
    let row: Vec<u8> = (0..=255u8).cycle().skip(4).take(100_000).flat_map(|seq| packet(seq, b"\x0512345")).collect();
    let mocks = [
        ("silent", TcpMock::each(vec![Step::Hang]), "-1 timeout, .*"),
        ("closed at once", TcpMock::each(vec![Step::Close]), "-1 connection closed.*"),
        ("reset at once", TcpMock::each(vec![Step::Reset]), "-1 .*"),
        ("another protocol", TcpMock::each(vec![write("HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Close]), "-1 .*"),
        ("zeros without end", TcpMock::each(vec![Step::Flood]), "-1 .*"),
        ("silent after the greeting", TcpMock::each(vec![Step::Write(greeting()), Step::Hang]), "-1 timeout, .*"),
        (
            "too busy",
            TcpMock::each(vec![Step::Write(packet(0, b"\xff\x10\x04Too many connections"))]),
            "-1 .*Too many.*",
        ),
        ("silent after the query", logged_in(vec![Step::Hang]), "-1 timeout, (wait|queue)"),
        ("closed after the query", logged_in(vec![Step::Close]), "-1 connection closed.*, wait"),
        ("reset after the query", logged_in(vec![Step::Reset]), "-1 .*"),
        ("garbage after the query", logged_in(vec![Step::Write(packet(1, &[0xfc, 0xff, 0xff])), Step::Hang]), "-1 .*"),
        ("the wrong sequence", logged_in(vec![Step::Write(packet(9, &[1])), Step::Hang]), "-1 protocol error.*"),
        (
            "killed between the rows",
            logged_in(vec![Step::Write(rows()), Step::Write(packet(4, b"\x0512345")), Step::Close]),
            "-1 connection closed.*, receive",
        ),
        ("rows without end", logged_in(vec![Step::Write(rows()), Step::Write(row), Step::Hang]), "-1 .*, receive"),
        (
            "a row of 4 GB",
            logged_in(vec![Step::Write(rows()), Step::Write(vec![0xff, 0xff, 0xff, 4]), Step::Flood]),
            "-1 .*, receive",
        ),
    ];
    let mut settings = String::new();
    let mut urls: Vec<(String, String, String)> = mocks
        .iter()
        .map(|(name, mock, ends)| ((*name).to_owned(), format!("mysql://u:p@{}/d", mock.addr), (*ends).to_owned()))
        .collect();
    let db = MariaDb::shared();
    urls.push(("refused".into(), format!("mysql://u:p@127.0.0.1:{}/d", free_port()), "-1 refused.*, connect".into()));
    urls.push(("swallowed".into(), format!("mysql://u:p@{}/d", hole.addr), "-1 timeout, connect".into()));
    urls.push(("no such host".into(), "mysql://u:p@no-such-host.invalid/d".into(), "-1 .*, resolve".into()));
    urls.push(("wrong password".into(), db.url_for(("reprise", "wrong"), "reprise"), "-1 denied.*, login".into()));
    urls.push(("no such database".into(), db.url_for(("reprise", "secret"), "missing"), "-1 denied.*, login".into()));
    for (i, (_, url, _)) in urls.iter().enumerate() {
        settings.push_str(&format!("modparam(\"sqlops\", \"db_url\", \"{i} {url}\")\n"));
    }
    let cases: Vec<Case> = urls
        .iter()
        .enumerate()
        .map(|(i, (name, _, ends))| case(name, format!("sql_query(\"SELECT 1\", \"$avp(r)\", {i})"), ends))
        .collect();
    play_all(&settings, &cases);
}

#[test]
fn a_database_is_killed_hangs_and_comes_back() {
    let db = MariaDb::start();
    let query = |sql: &str| format!("sql_query(\"{sql}\", \"$avp(r)\")");
    let mut cases = [
        case("works", query("SELECT credit FROM users WHERE uid='alice'"), "1 <null>, <null>"),
        case("interrupted", query("SELECT SLEEP(30)"), "-1 connection closed.*, (wait|receive)"),
        case("fails", query("SELECT 1"), "-1 .*"),
        case("says no", query("SELECT nonsense FROM nowhere"), "-1 denied.*"),
        case("too slow", query("SELECT SLEEP(10)"), "-1 timeout, wait"),
    ];
    cases[1].limit = 20;
    let settings = format!("modparam(\"sqlops\", \"db_url\", \"{}\")\n", db.url());
    let (server, port) = server(&settings, &cases);
    let cold = Footprint::of(&server);
    play(&server, port, 0, &cases[0], 200);
    play(&server, port, 3, &cases[3], 500);
    // An SQL error says nothing against the connection.
    assert!(db.connections() > 0);
    play(&server, port, 4, &cases[4], 500);
    // A connection whose query was given up is not used again, nor left behind at the database.
    eventually("nothing sleeps at the database", SECOND * 5, || {
        db.number("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'") == 0
    });
    play(&server, port, 0, &cases[0], 200);
    let interrupt = |how: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| play(&server, port, 1, &cases[1], 500));
            eventually("all are in flight", SECOND * 3, || held(&server, "operations") == 10);
            eventually("all are at the database", SECOND * 3, || {
                db.number("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'") == 10
            });
            how();
            waits.join()
        })
        .unwrap();
    };
    // An administrator kills the connections.
    interrupt(&|| db.kill_connections());
    play(&server, port, 0, &cases[0], 200);
    // The whole database dies.
    interrupt(&|| db.kill());
    play(&server, port, 2, &cases[2], 500);
    cold.wait_back(&server, SECOND * 20);
    db.restart();
    // The pool tries again after a pause of its own.
    let client = SipClient::new(port);
    eventually("queries work again", SECOND * 5, || {
        client.ask(&client.request("OPTIONS", "sip:c0@example.test")).status() == 200
    });
    play(&server, port, 0, &cases[0], 200);
    // Restarted while connections are pooled.
    db.restart();
    eventually("queries work again", SECOND * 5, || {
        client.ask(&client.request("OPTIONS", "sip:c0@example.test")).status() == 200
    });
    play(&server, port, 0, &cases[0], 200);
    // It hangs.
    db.pause();
    play(&server, port, 2, &cases[2], 500);
    db.resume();
    eventually("queries work again", SECOND * 5, || {
        client.ask(&client.request("OPTIONS", "sip:c0@example.test")).status() == 200
    });
    db.stop();
    eventually("idle connections are closed", SECOND * 5, || Footprint::of(&server).fds == cold.fds);
    cold.wait_back(&server, SECOND * 20);
}

#[test]
fn commands_that_fail() {
    let mut cases = vec![
        case("never ends", "exec(\"sleep 100\")", "-1 timeout, wait"),
        case("ignores signals", "exec(\"trap '' TERM INT HUP; while :; do sleep 1; done\")", "-1 timeout, wait"),
        case("leaves children", "exec(\"sleep 100 & sleep 100 & wait\")", "-1 timeout, wait"),
        case("closes its output and stays", "exec(\"exec >&- 2>&-; sleep 100\", , $avp(out))", "-1 timeout, wait"),
        case("writes without end", "exec(\"yes\", , $avp(out))", "-1 timeout, .*"),
        case("writes errors without end", "exec(\"yes >&2\", , $avp(out), $avp(err))", "-1 timeout, .*"),
        case("does not exist", "exec(\"/no/such/program\", , $avp(out))", "-1 .*"),
        case("is no program", "exec(\"/etc/passwd\", , $avp(out))", "-1 .*"),
        case("is no shell text", "exec(\"if then\", , $avp(out))", ".*"),
    ];
    cases.pop();
    for c in &mut cases {
        c.waits = 4;
    }
    play_all("", &cases);
}

#[test]
fn a_command_is_killed_by_somebody_else() {
    // A signal that ends the command is a status like any other: the shell says 128 + 9.
    let cases = [case("killed", "exec(\"echo begun; exec sleep 100\", , $avp(out))", "1 <null>, <null>")];
    let (server, port) = server("", &cases);
    let before = Footprint::of(&server);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| play(&server, port, 0, &cases[0], 200));
        eventually("all are in flight", SECOND * 3, || held(&server, "operations") == 10);
        let worker = server.worker_pids()[0];
        eventually("all have begun", SECOND, || process::children(worker).len() == 10);
        std::thread::sleep(Duration::from_millis(200));
        for pid in process::children(worker) {
            process::signal(pid, Signal::SIGKILL);
        }
        waits.join()
    })
    .unwrap();
    before.wait_back(&server, SECOND * 20);
}

#[test]
fn the_sqlite_helper_dies_and_comes_back() {
    let query = |sql: &str| format!("sql_query(\"{sql}\", \"$avp(r)\")");
    let slow =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 100000000) SELECT count(*) FROM c";
    let mut cases = [
        case("works", query("SELECT 1"), "1 <null>, <null>"),
        case("interrupted", query(slow), "-1 connection closed.*"),
        case("says no", query("SELECT nonsense FROM nowhere"), "-1 denied.*"),
        case("too slow", query(slow), "-1 timeout, .*"),
    ];
    for c in &mut cases {
        c.waits = 4;
    }
    let settings = "modparam(\"sqlops\", \"db_url\", \"sqlite://lite.db?demo=yes\")\n";
    let (server, port) = server(settings, &cases);
    play(&server, port, 0, &cases[0], 200);
    wait_quiet(&server, SECOND * 20);
    let warm = Footprint::of(&server);
    play(&server, port, 2, &cases[2], 500);
    play(&server, port, 3, &cases[3], 500);
    play(&server, port, 0, &cases[0], 200);
    let helper = || {
        let ps = server.ctl("ps", Value::Null);
        let helper = ps.as_array().unwrap().iter().find(|p| p["kind"] == "sqlite").unwrap().clone();
        helper["pid"].as_i64().map_or(0, |p| i32::try_from(p).unwrap())
    };
    let old = helper();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| play(&server, port, 1, &cases[1], 500));
        eventually("all are in flight", SECOND * 3, || held(&server, "operations") == 4);
        assert!(process::signal(old, Signal::SIGKILL));
        waits.join()
    })
    .unwrap();
    eventually("a new helper is there", SECOND * 2, || helper() != 0 && helper() != old);
    let client = SipClient::new(port);
    eventually("queries work again", SECOND * 5, || {
        client.ask(&client.request("OPTIONS", "sip:c0@example.test")).status() == 200
    });
    play(&server, port, 0, &cases[0], 200);
    // The order of the process ids may have changed, the sums have not.
    let sum = |f: &Footprint| (f.fds.len(), f.processes, f.parked, f.operations, f.jobs, f.transactions);
    eventually("all is back", SECOND * 20, || sum(&Footprint::of(&server)) == sum(&warm));
}

#[test]
fn more_waits_than_allowed_fail_at_once() {
    let cases = [case("too many", "sleep(1)", ".*")];
    let (server, port) = server("max_suspended = 5\n", &cases);
    let client = SipClient::new(port);
    for _ in 0..8 {
        client.send_request(&client.request("OPTIONS", "sip:c0@example.test"));
    }
    for _ in 0..3 {
        client.expect_status(500, SECOND);
    }
    server.wait_log("c0 ended with -1 overload.*, queue", SECOND);
    for _ in 0..5 {
        client.expect_status(200, SECOND * 5);
    }
}
