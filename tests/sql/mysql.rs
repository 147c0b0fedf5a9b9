//! The MySQL engine against a private MariaDB that behaves.

use crate::lp::{AMPLE, Loop, alone, failure, fds, rows, text};
use crate::support::mariadb::{DATABASE, ED25519, MariaDb, NATIVE, TLS_ONLY};
use crate::support::{ca, process};
use reprise::net::resolver::ResolverConfig;
use reprise::ops::backend::Policy;
use reprise::ops::driver::Driver;
use reprise::ops::driver::OpKind;
use reprise::ops::sql::Limits;
use reprise::ops::sql::mysql::{Auth, Mysql, Secure};
use reprise::ops::{CancelReason, Phase, SqlValue, Why};
use std::time::{Duration, Instant};

const INT: fn(i64) -> SqlValue = SqlValue::Int;

#[test]
fn queries_and_types() {
    let _alone = alone();
    let db = MariaDb::shared();
    let mut l = Loop::new();
    let r = l.ok(&db.url(), "SELECT uid, credit, note FROM users ORDER BY uid");
    assert_eq!(r.columns.iter().map(|c| c.to_lossy().into_owned()).collect::<Vec<_>>(), ["uid", "credit", "note"]);
    assert_eq!(r.rows.len(), 3);
    assert_eq!(r.rows[0], [text("alice"), INT(100), text("prepaid")]);
    assert_eq!(r.rows[1], [text("bob"), INT(0), SqlValue::Null]);
    assert_eq!(r.rows[2], [text("carol"), INT(-5), text("it's \"late\"")]);

    let r = l.ok(&db.url(), "SELECT * FROM kinds ORDER BY id");
    let row = &r.rows[0];
    assert_eq!(row[..5], [INT(1), INT(-128), INT(65535), INT(i64::MIN), text("18446744073709551615")]);
    assert_eq!(row[5..9], [text("12.34"), text("0.5"), text("Zoë ☎"), text("some words")]);
    assert_eq!(row[9], text(b"\x00\xff\x0a\x27"));
    assert_eq!(row[10], SqlValue::Time(1_709_164_800));
    assert_eq!(row[11], SqlValue::Time(1_709_210_096));
    assert_eq!(row[12], SqlValue::Time(1_709_210_096));
    assert_eq!(row[13], INT(1));
    assert!(r.rows[1][1..].iter().all(|v| *v == SqlValue::Null));
    assert_eq!(r.rows[2][4], INT(0));

    let r = l.ok(&db.url(), "SELECT 1 FROM users WHERE uid='nobody'");
    assert_eq!((r.columns.len(), r.rows.len()), (1, 0));
    assert_eq!(l.ok(&db.url(), "SELECT text FROM numbers").rows.len(), 1000);
    assert_eq!(l.one(&db.url(), "SELECT text FROM big"), text("0123456789abcdef".repeat(65536)));
    assert_eq!(l.one(&db.url(), "SELECT CAST('0000-00-00' AS DATETIME)"), SqlValue::Time(0));
}

#[test]
fn writes_errors_and_reuse() {
    let _alone = alone();
    let db = MariaDb::shared();
    let url = db.url_for(NATIVE, &db.fresh_database());
    let mut l = Loop::new();
    let r = l.ok(&url, "INSERT INTO seen (what) VALUES ('a'), ('b')");
    assert_eq!((r.affected, r.last_insert_id, r.columns.len()), (2, 1, 0));
    assert_eq!(l.ok(&url, "UPDATE seen SET what='c' WHERE id=1").affected, 1);
    let f = l.expect(&url, "SELEC 1", AMPLE, Why::Denied, Phase::Wait);
    assert!(f.detail.contains("1064 (42000)"), "{f}");
    assert!(!f.detail.contains("secret"), "{f}");
    assert_eq!(l.one(&url, "SELECT what FROM seen WHERE id=1"), text("c"));
    assert_eq!(l.driver.mysql().connections(), (1, 1), "one connection has served all");
}

#[test]
fn a_forgotten_transaction_is_rolled_back() {
    let _alone = alone();
    let db = MariaDb::shared();
    let url = db.url_for(NATIVE, &db.fresh_database());
    let mut l = Loop::new();
    l.ok(&url, "BEGIN");
    l.pass(Duration::from_millis(50));
    l.ok(&url, "INSERT INTO seen (what) VALUES ('x')");
    assert_eq!(l.one(&url, "SELECT @@in_transaction"), INT(0));
    assert_eq!(l.one(&url, "SELECT COUNT(*) FROM seen"), INT(1), "the insert stood outside the transaction");
    assert_eq!(l.driver.mysql().connections(), (1, 1));
}

#[test]
fn several_result_sets_and_many_columns() {
    let _alone = alone();
    let db = MariaDb::shared();
    let database = db.fresh_database();
    db.sql(&format!(
        "USE {database};\nDELIMITER //\n
        CREATE PROCEDURE two() BEGIN SELECT 1 AS first; SELECT 2 AS second; END//
        CREATE PROCEDURE bad() BEGIN SELECT 1 AS first; SELECT * FROM nowhere; END//\n"
    ));
    let url = db.url_for(NATIVE, &database);
    let mut l = Loop::new();
    let r = l.ok(&url, "CALL two()");
    assert_eq!((r.columns[0].to_lossy().as_ref(), &r.rows[..]), ("first", &[vec![INT(1)]][..]));
    l.expect(&url, "CALL bad()", AMPLE, Why::Denied, Phase::Wait);
    l.expect(&url, "SELECT 1; SELECT 2", AMPLE, Why::Denied, Phase::Wait);
    let multi = format!("{url}?multi_statements=yes");
    assert_eq!(l.one(&multi, "SET @a = 7; SELECT @a; SELECT 8"), INT(7));

    for n in [250, 251, 252, 300, 1000] {
        let list = (0..n).map(|i| format!("{i} AS c{i}")).collect::<Vec<_>>().join(",");
        let r = l.ok(&url, &format!("SELECT {list}"));
        assert_eq!((r.columns.len(), r.rows[0].len()), (n, n));
        assert_eq!(r.rows[0][n - 1], INT(n as i64 - 1));
    }
    assert_eq!(l.one(&url, "SELECT 1"), INT(1));
}

#[test]
fn local_infile_and_oversized_queries_are_refused() {
    let _alone = alone();
    let db = MariaDb::shared();
    let mut l = Loop::new();
    let f = l.fails(&db.url(), "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE seen", AMPLE);
    assert_eq!(f.why, Why::Denied, "{f}");
    let long = format!("SELECT LENGTH('{}')", "x".repeat(16 << 20));
    l.expect(&db.url(), &long, AMPLE, Why::BadRequest, Phase::Send);
    let big = format!("SELECT LENGTH('{}')", "x".repeat(15 << 20));
    assert_eq!(l.one(&db.url(), &big), INT(15 << 20));
    l.expect(&db.url(), "SELECT REPEAT('x', 17000000)", AMPLE, Why::TooLarge, Phase::Receive);
    l.expect(&db.url(), "SELECT seq FROM seq_1_to_200000", AMPLE, Why::TooLarge, Phase::Receive);
    l.expect(&db.url(), "SELECT REPEAT('x', 1000) FROM seq_1_to_10000", AMPLE, Why::TooLarge, Phase::Receive);
    assert_eq!(l.one(&db.url(), "SELECT 1"), INT(1));
}

#[test]
fn accounts_transports_and_tls() {
    let _alone = alone();
    let db = MariaDb::shared();
    let ca = ca::get();
    let mut l = Loop::new();
    let socket = db.socket.display();
    let cipher = "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME='Ssl_cipher'";
    for url in [
        db.url_for(ED25519, DATABASE),
        format!("mysql://reprise:secret@/{DATABASE}?socket={socket}"),
        format!("mysql://reprise:secret@unix({socket})/{DATABASE}"),
        format!("mysql://reprise_ed:edsecret@unix({socket})/{DATABASE}"),
    ] {
        assert_eq!(l.one(&url, cipher), INT(0), "{url}");
    }
    for (account, parameters) in [
        (NATIVE, "ssl_mode=preferred".to_string()),
        (NATIVE, "ssl=yes".to_string()),
        (TLS_ONLY, "ssl_mode=required".to_string()),
        (ED25519, "ssl_mode=required".to_string()),
        (NATIVE, format!("ssl_mode=verify_ca&ssl_ca={}", ca.ca.display())),
        (NATIVE, format!("ssl_mode=verify_identity&ssl_ca={}", ca.ca.display())),
        (TLS_ONLY, format!("ssl_ca={}", ca.ca.display())),
    ] {
        let url = format!("{}?{parameters}", db.url_for(account, DATABASE));
        assert_eq!(l.one(&url, cipher), INT(1), "{url}");
        assert_eq!(l.one(&url, "SELECT text FROM big"), text("0123456789abcdef".repeat(65536)));
    }
    let localhost = db.url().replace("127.0.0.1", "localhost");
    assert_eq!(l.one(&localhost, "SELECT 1"), INT(1));

    // What must not work.
    let f = l.fails(&db.url_for(TLS_ONLY, DATABASE), "SELECT 1", AMPLE);
    assert_eq!((f.why, f.phase), (Why::Denied, Phase::Login), "{f}");
    let f = l.fails(&db.url_for((NATIVE.0, "wrong"), DATABASE), "SELECT 1", AMPLE);
    assert_eq!((f.why, f.phase), (Why::Denied, Phase::Login), "{f}");
    assert!(f.detail.contains("1045"), "{f}");
    let f = l.fails(&db.url_for((ED25519.0, "wrong"), DATABASE), "SELECT 1", AMPLE);
    assert_eq!((f.why, f.phase), (Why::Denied, Phase::Login), "{f}");
    let f = l.fails(&db.url_for(NATIVE, "no_such_database"), "SELECT 1", AMPLE);
    assert!(f.detail.contains("1049"), "{f}");
    let stranger = process::directory("stranger");
    let other = stranger.path().join("ca.pem");
    std::fs::copy(&ca.untrusted.cert, &other).unwrap();
    let url = format!("{}?ssl_mode=verify_ca&ssl_ca={}", db.url(), other.display());
    let f = l.expect(&url, "SELECT 1", AMPLE, Why::Refused, Phase::Tls);
    assert!(f.detail.contains("certificate"), "{f}");
    let url = format!("{}?ssl_mode=verify_ca&ssl_ca=/no/such/file", db.url());
    let f = l.expect(&url, "SELECT 1", AMPLE, Why::BadRequest, Phase::Tls);
    assert!(f.detail.contains("/no/such/file"), "{f}");
    for url in ["mysql://", "text:///x", "mysql://h/x?frob=1", "nonsense", ""] {
        let f = l.fails(url, "SELECT 1", AMPLE);
        if url != "mysql://" {
            assert_eq!((f.why, f.phase), (Why::BadRequest, Phase::Queue), "{url}: {f}");
        }
    }
}

#[test]
fn prepared_statements() {
    let _alone = alone();
    let db = MariaDb::shared();
    let url = db.url_for(NATIVE, &db.fresh_database());
    let mut l = Loop::new();
    let mut run = |query: &str, params: Vec<SqlValue>| {
        let id = l.start_with(&url, query, params, AMPLE);
        l.wait(id)
    };
    let r = rows(run("SELECT credit, note FROM users WHERE uid=?", vec![text("carol' OR '1'='1")]));
    assert_eq!(r.rows.len(), 0);
    let r = rows(run("SELECT credit, note FROM users WHERE uid=?", vec![text("carol")]));
    assert_eq!(r.rows, [vec![INT(-5), text("it's \"late\"")]]);
    let r = rows(run("SELECT ?, ?, ?", vec![SqlValue::Null, INT(i64::MIN), text("")]));
    assert_eq!(r.rows, [vec![SqlValue::Null, INT(i64::MIN), text("")]]);
    let at = SqlValue::Time(1_709_210_096);
    let r = rows(run("INSERT INTO kinds (id, at, day) VALUES (9, ?, ?)", vec![at.clone(), at.clone()]));
    assert_eq!(r.affected, 1);
    // The binary protocol gives what the text protocol gives.
    let binary = rows(run("SELECT * FROM kinds WHERE id <> ? ORDER BY id", vec![INT(0)]));
    assert_eq!(binary.rows[3][11], at);
    let r = rows(run("SELECT CAST(? AS DOUBLE), CAST(1 AS DOUBLE), CAST(1e-38 AS FLOAT), 0e0", vec![text("1e300")]));
    assert_eq!(r.rows, [vec![text("1e300"), text("1"), text("1e-38"), text("0")]]);
    // Writes through, errors, wrong numbers of values, and the connection goes on.
    let f = failure(run("SELECT ? FROM nowhere", vec![INT(1)]));
    assert_eq!(f.why, Why::Denied);
    let f = failure(run("SELECT ? + ?", vec![INT(1)]));
    assert_eq!(f.why, Why::BadRequest);
    assert!(f.detail.contains("2 placeholders, 1 values"), "{f}");
    let f = failure(run("SELECT 1", vec![INT(1)]));
    assert_eq!(f.why, Why::BadRequest);
    let f = failure(run("SELEC ?", vec![INT(1)]));
    assert_eq!(f.why, Why::Denied);
    let text_rows = l.ok(&url, "SELECT * FROM kinds WHERE id <> 0 ORDER BY id");
    assert_eq!(binary, text_rows);
    assert_eq!(l.driver.mysql().connections(), (1, 1));
    // Statements are closed at the server.
    let open = "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME='Prepared_stmt_count'";
    assert!(l.ok(&url, open).rows.is_empty() || l.one(&url, open) == text("0"));
}

#[test]
fn the_session_time_zone_is_heeded() {
    let _alone = alone();
    let db = MariaDb::start();
    db.sql("SET GLOBAL time_zone = '+05:30'");
    let mut l = Loop::new();
    let SqlValue::Int(now) = l.one(&db.url(), "SELECT UNIX_TIMESTAMP()") else { panic!() };
    let SqlValue::Time(t) = l.one(&db.url(), "SELECT NOW()") else { panic!() };
    assert!((t - now).abs() <= 2, "{t} {now}");
    let id = l.start_with(&db.url(), "SELECT UNIX_TIMESTAMP(?)", vec![SqlValue::Time(1_709_210_096)], AMPLE);
    let r = rows(l.wait(id));
    assert!(
        matches!(&r.rows[0][0], SqlValue::Int(1_709_210_096)) || r.rows[0][0] == text("1709210096.000000"),
        "{r:?}"
    );
}

#[test]
fn deadlines_discard_the_connection() {
    let _alone = alone();
    let db = MariaDb::shared();
    let mut l = Loop::new();
    l.ok(&db.url(), "SELECT 1");
    let begin = Instant::now();
    l.expect(&db.url(), "SELECT SLEEP(30)", Duration::from_millis(300), Why::Timeout, Phase::Wait);
    assert!(begin.elapsed() < Duration::from_secs(2));
    // The server is told to stop, and nobody gets a stale answer.
    let end = Instant::now() + AMPLE;
    let sleepers = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(30)%'";
    while l.one(&db.url(), sleepers) != INT(0) {
        assert!(Instant::now() < end, "the cancelled query still runs");
        l.pass(Duration::from_millis(20));
    }
    for i in 0..50 {
        let id = l.start(&db.url(), "SELECT SLEEP(0.05), 'stale'", Duration::from_micros(100 * i));
        let _ = l.wait(id);
        assert_eq!(l.one(&db.url(), &format!("SELECT {i}")), INT(i as i64));
    }
    let id = l.start(&db.url(), "SELECT SLEEP(30)", AMPLE);
    l.pass(Duration::from_millis(50));
    let info = l.driver.info(id).unwrap();
    assert_eq!(info.phase, Phase::Wait);
    assert!(info.backend.starts_with("mysql://reprise@127.0.0.1") && !info.backend.contains("secret"));
    l.cancel(id, CancelReason::Operator);
    assert_eq!(failure(l.wait(id)).why, Why::Cancelled);
}

#[test]
fn two_hundred_queries_share_ten_connections() {
    let _alone = alone();
    let db = MariaDb::shared();
    let before = fds();
    {
        let mut l = Loop::new();
        let begin = Instant::now();
        let ids: Vec<_> =
            (0..200).map(|i| (i, l.start(&db.url(), &format!("SELECT {i}, SLEEP(0.02)"), AMPLE))).collect();
        for (i, id) in ids {
            assert_eq!(rows(l.wait(id)).rows[0][0], INT(i));
        }
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(390) && took < Duration::from_secs(5), "{took:?}");
        assert_eq!(l.driver.mysql().connections(), (10, 10));
        assert!(fds() - before <= 10 + 4);
        assert!(l.longest < Duration::from_millis(100), "{:?}", l.longest);
        assert!(l.driver.is_empty());
    }
    assert_eq!(fds(), before);
}

#[test]
fn a_full_queue_refuses() {
    let _alone = alone();
    let db = MariaDb::shared();
    let mut l = Loop::new();
    let policy = Policy { in_flight: 1, queue: 4, ..Policy::of(OpKind::Mysql) };
    l.driver.backends().set_policy(OpKind::Mysql, policy);
    let ids: Vec<_> = (0..10).map(|_| l.start(&db.url(), "SELECT SLEEP(0.2)", AMPLE)).collect();
    let full = ids.iter().filter(|id| l.done.contains_key(id)).count();
    assert_eq!(full, 5, "nothing is connected yet: five wait, five are refused");
    for (i, id) in ids.into_iter().enumerate() {
        let outcome = l.wait(id);
        if i >= 5 {
            assert_eq!(failure(outcome).why, Why::Overload);
        } else {
            rows(outcome);
        }
    }
    // A deadline while queued behind a busy connection.
    let slow = l.start(&db.url(), "SELECT SLEEP(0.5)", AMPLE);
    l.pass(Duration::from_millis(50));
    l.expect(&db.url(), "SELECT 1", Duration::from_millis(100), Why::Timeout, Phase::Queue);
    rows(l.wait(slow));
}

#[test]
fn idle_connections_are_closed_in_order() {
    let _alone = alone();
    let db = MariaDb::start();
    let mut l = Loop::new();
    *l.driver.mysql() = Mysql::new(Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() });
    l.ok(&db.url(), "SELECT 1");
    assert_eq!(l.driver.mysql().connections(), (1, 1));
    l.pass(Duration::from_millis(400));
    assert_eq!(l.driver.mysql().connections(), (0, 0));
    let aborted = db.sql("SHOW GLOBAL STATUS LIKE 'Aborted_clients'");
    assert!(aborted.ends_with("\t0"), "{aborted}");
}

#[test]
fn names_are_resolved_and_their_addresses_tried_in_turn() {
    let _alone = alone();
    let db = MariaDb::shared();
    let dir = process::directory("hosts");
    let hosts = "127.0.0.2 db.test\n127.0.0.1 db.test\n127.0.0.2 dead.test\n";
    std::fs::write(dir.path().join("hosts"), hosts).unwrap();
    let config = ResolverConfig::parse("nameserver 127.0.0.1", hosts);
    let mut l = Loop::with(Driver::with_resolver(config));
    let url = db.url().replace("127.0.0.1", "db.test");
    assert_eq!(l.one(&url, "SELECT 1"), INT(1));
    let f = l.expect(&url.replace("db.test", "dead.test"), "SELECT 1", AMPLE, Why::Refused, Phase::Connect);
    assert!(f.detail.contains("127.0.0.2"), "{f}");
    // The name server (nobody) does not know it.
    let f = l.fails(&url.replace("db.test", "unknown.test"), "SELECT 1", Duration::from_millis(500));
    assert_eq!(f.phase, Phase::Resolve, "{f}");
}

#[test]
fn the_servers_rsa_key_seals_the_password() {
    let _alone = alone();
    let dir = process::directory("rsa");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    for bits in [1024, 2048, 3072, 4096] {
        let (private, public, sealed) = (path("private"), path("public"), path("sealed"));
        let size = format!("rsa_keygen_bits:{bits}");
        process::run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &size, "-out", &private]);
        process::run("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
        let nonce: Vec<u8> = (1..=20).collect();
        let (mut auth, _) = Auth::begin(b"caching_sha2_password", &nonce, b"p\xc3\xa4ssword", Secure::No).unwrap();
        assert_eq!(auth.more(&[4]), Ok(Some(vec![2])));
        let answer = auth.more(&std::fs::read(&public).unwrap()).unwrap().unwrap();
        std::fs::write(&sealed, answer).unwrap();
        let opened = path("opened");
        let padding = ["-pkeyopt", "rsa_padding_mode:oaep"];
        let args =
            [&["pkeyutl", "-decrypt", "-inkey", &private, "-in", &sealed, "-out", &opened][..], &padding].concat();
        process::run("openssl", &args);
        let opened = std::fs::read(&opened).unwrap();
        let password: Vec<u8> = opened.iter().zip(nonce.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(password, b"p\xc3\xa4ssword\0", "{bits} bits");
    }
}
