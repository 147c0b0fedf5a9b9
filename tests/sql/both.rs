//! One contract, two databases: the same statements, values and mishaps on MariaDB and on SQLite, with the same
//! outcomes.

use crate::lp::{AMPLE, Loop, alone, failure, rows, text};
use crate::sqlite::{Helper, helper};
use crate::support::mariadb::{MariaDb, NATIVE};
use reprise::base::Str;
use reprise::ops::{CancelReason, Phase, SqlResult, SqlValue, Why};
use std::time::{Duration, Instant};

const INT: fn(i64) -> SqlValue = SqlValue::Int;
const SHORT: Duration = Duration::from_millis(300);

/// What both hold.
const TABLES: &str = "
CREATE TABLE people (uid VARCHAR(64) PRIMARY KEY, credit INT NOT NULL, note VARCHAR(255) NULL);
INSERT INTO people VALUES ('alice', 100, 'prepaid'), ('bob', 0, NULL), ('carol', -5, 'it''s late');
CREATE TABLE wide (id INTEGER PRIMARY KEY, big BIGINT, name VARCHAR(90), empty VARCHAR(9), day DATE, at DATETIME);
INSERT INTO wide VALUES (1, 9223372036854775807, 'Zoë ☎', '', '2024-02-29', '2024-02-29 12:34:56');
INSERT INTO wide VALUES (2, -9223372036854775808, '漢字', NULL, '1969-12-31', '1969-12-31 23:59:59');
INSERT INTO wide VALUES (3, NULL, NULL, NULL, NULL, NULL);
";

/// A query, its values, and the rows that it gives.
type Case = (&'static str, Vec<SqlValue>, Vec<Vec<SqlValue>>);

/// How the two differ where they must.
struct Db {
    name: &'static str,
    url: String,
    /// Column definition of a key that counts by itself.
    counting: &'static str,
    /// An unreachable one of its kind.
    nowhere: String,
    _helper: Option<Helper>,
}

fn each(test: impl Fn(&Db, &mut Loop)) {
    let _alone = alone();
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    maria.sql(&format!("USE {name}; {TABLES}"));
    let db = Db {
        name: "MariaDB",
        url: maria.url_for(NATIVE, &name),
        counting: "INTEGER PRIMARY KEY AUTO_INCREMENT",
        nowhere: "mysql://u:p@unix(/no/such/socket)/d".to_string(),
        _helper: None,
    };
    println!("--- {}", db.name);
    test(&db, &mut Loop::new());
    let h = helper();
    rusqlite::Connection::open(h.path()).unwrap().execute_batch(TABLES).unwrap();
    let mut l = h.looping();
    let db = Db {
        name: "SQLite",
        url: h.url(),
        counting: "INTEGER PRIMARY KEY",
        nowhere: "sqlite:///no/such/file.db".to_string(),
        _helper: Some(h),
    };
    println!("--- {}", db.name);
    test(&db, &mut l);
    assert!(l.driver.is_empty());
}

fn run(l: &mut Loop, db: &Db, query: &str, params: &[SqlValue]) -> SqlResult {
    let id = l.start_with(&db.url, query, params.to_vec(), AMPLE);
    rows(l.wait(id))
}

#[test]
fn queries_and_values() {
    each(|db, l| {
        let none = Vec::new;
        let cases: Vec<Case> = vec![
            ("SELECT 1", none(), vec![vec![INT(1)]]),
            ("SELECT NULL, '', 'a'", none(), vec![vec![SqlValue::Null, text(""), text("a")]]),
            ("SELECT 9223372036854775807, -9223372036854775807", none(), vec![vec![INT(i64::MAX), INT(-i64::MAX)]]),
            ("SELECT uid FROM people WHERE credit < 0", none(), vec![vec![text("carol")]]),
            ("SELECT uid FROM people WHERE credit > 1000", none(), vec![]),
            ("SELECT COUNT(*), MIN(credit) FROM people", none(), vec![vec![INT(3), INT(-5)]]),
            (
                "SELECT uid, note FROM people ORDER BY uid",
                none(),
                vec![
                    vec![text("alice"), text("prepaid")],
                    vec![text("bob"), SqlValue::Null],
                    vec![text("carol"), text("it's late")],
                ],
            ),
            (
                "SELECT big, name, empty, day, at FROM wide ORDER BY id",
                none(),
                vec![
                    vec![
                        INT(i64::MAX),
                        text("Zoë ☎"),
                        text(""),
                        SqlValue::Time(1_709_164_800),
                        SqlValue::Time(1_709_210_096),
                    ],
                    vec![INT(i64::MIN), text("漢字"), SqlValue::Null, SqlValue::Time(-86_400), SqlValue::Time(-1)],
                    vec![SqlValue::Null; 5],
                ],
            ),
            ("SELECT credit FROM people WHERE uid = ?", vec![text("alice")], vec![vec![INT(100)]]),
            ("SELECT credit FROM people WHERE uid = ?", vec![text("x' OR '1'='1")], vec![]),
            (
                "SELECT uid FROM people WHERE credit = ? OR note = ?",
                vec![INT(0), SqlValue::Null],
                vec![vec![text("bob")]],
            ),
            ("SELECT id FROM wide WHERE at = ?", vec![SqlValue::Time(1_709_210_096)], vec![vec![INT(1)]]),
            ("SELECT name FROM wide WHERE name = ?", vec![text("漢字")], vec![vec![text("漢字")]]),
        ];
        for (query, params, want) in cases {
            // Twice: the second time with what was kept of the first.
            for _ in 0..2 {
                assert_eq!(run(l, db, query, &params).rows, want, "{}: {query}", db.name);
            }
        }
        let r = run(l, db, "SELECT uid AS who, credit FROM people WHERE uid = 'nobody'", &[]);
        assert_eq!(r.columns, [Str::from("who"), Str::from("credit")], "{}", db.name);
    });
}

#[test]
fn statements_that_change_something() {
    each(|db, l| {
        run(l, db, &format!("CREATE TABLE noted (id {}, what VARCHAR(40))", db.counting), &[]);
        let r = run(l, db, "INSERT INTO noted (what) VALUES ('a'), ('b'), ('c')", &[]);
        assert_eq!((r.affected, r.columns.len(), r.rows.len()), (3, 0, 0), "{}", db.name);
        let r = run(l, db, "INSERT INTO noted (what) VALUES (?)", &[text("d")]);
        assert_eq!((r.affected, r.last_insert_id), (1, 4), "{}", db.name);
        assert_eq!(run(l, db, "UPDATE noted SET what = 'x' WHERE id > ?", &[INT(2)]).affected, 2, "{}", db.name);
        assert_eq!(run(l, db, "REPLACE INTO people VALUES ('dave', 7, NULL)", &[]).columns.len(), 0);
        assert_eq!(run(l, db, "DELETE FROM noted WHERE what = 'x'", &[]).affected, 2, "{}", db.name);
        assert_eq!(run(l, db, "DELETE FROM noted WHERE what = 'x'", &[]).affected, 0, "{}", db.name);
        assert_eq!(run(l, db, "SELECT COUNT(*) FROM noted", &[]).rows, [vec![INT(2)]], "{}", db.name);
        // A transaction that is left open ends with its statement.
        run(l, db, "BEGIN", &[]);
        run(l, db, "DELETE FROM noted", &[]);
        assert_eq!(run(l, db, "SELECT COUNT(*) FROM noted", &[]).rows, [vec![INT(0)]], "{}", db.name);
    });
}

#[test]
fn refusals() {
    each(|db, l| {
        for (query, params, why) in [
            ("SELEC 1", vec![], Why::Denied),
            ("SELECT * FROM nowhere", vec![], Why::Denied),
            ("SELECT nothing_there FROM people", vec![], Why::Denied),
            ("INSERT INTO people VALUES ('alice', 1, '')", vec![], Why::Denied),
            ("INSERT INTO people VALUES ('eve', NULL, '')", vec![], Why::Denied),
            ("SELECT ?, ?", vec![INT(1)], Why::BadRequest),
            ("SELECT ?", vec![INT(1), INT(2)], Why::BadRequest),
            ("SELECT 1", vec![INT(2)], Why::BadRequest),
            ("", vec![], Why::Denied),
        ] {
            let id = l.start_with(&db.url, query, params, AMPLE);
            let outcome = l.wait(id);
            if query.is_empty() && db.name == "SQLite" {
                // SQLite takes nothing for a statement that does nothing.
                continue;
            }
            let f = failure(outcome);
            assert_eq!(f.why, why, "{}: {query}: {f}", db.name);
            assert!(!f.detail.is_empty() && !f.detail.contains("secret"), "{f}");
        }
        // Afterwards all is as before.
        assert_eq!(run(l, db, "SELECT COUNT(*) FROM people", &[]).rows, [vec![INT(3)]], "{}", db.name);
        let f = l.fails(&db.nowhere, "SELECT 1", AMPLE);
        assert_eq!((f.why, f.phase), (Why::Refused, Phase::Connect), "{}: {f}", db.name);
    });
}

#[test]
fn deadlines_and_cancelling() {
    each(|db, l| {
        run(l, db, "SELECT 1", &[]);
        let begin = Instant::now();
        l.expect(&db.url, "SELECT SLEEP(30)", SHORT, Why::Timeout, Phase::Wait);
        assert!(begin.elapsed() < Duration::from_secs(2), "{}", db.name);
        let id = l.start(&db.url, "SELECT SLEEP(30)", AMPLE);
        l.pass(Duration::from_millis(50));
        let info = l.driver.info(id).unwrap();
        assert!(info.phase == Phase::Wait && !info.backend.contains("secret"), "{}: {info:?}", db.name);
        l.cancel(id, CancelReason::Operator);
        assert_eq!(failure(l.wait(id)).why, Why::Cancelled, "{}", db.name);
        // Nobody gets somebody else's answer.
        for i in 0..30 {
            let id = l.start(&db.url, "SELECT SLEEP(0.02), 'stale'", Duration::from_micros(300 * i));
            let _ = l.wait(id);
            assert_eq!(run(l, db, &format!("SELECT {i}"), &[]).rows, [vec![INT(i as i64)]], "{}", db.name);
        }
    });
}

#[test]
fn many_at_once() {
    each(|db, l| {
        let ids: Vec<_> = (0..300).map(|i| (i, l.start(&db.url, &format!("SELECT {i}, SLEEP(0.01)"), AMPLE))).collect();
        for (i, id) in ids {
            assert_eq!(rows(l.wait(id)).rows[0][0], INT(i), "{}", db.name);
        }
        // Writers and readers at the same time.
        run(l, db, &format!("CREATE TABLE busy (id {}, what VARCHAR(40))", db.counting), &[]);
        let ids: Vec<_> = (0..100)
            .map(|i| match i % 2 {
                0 => l.start_with(&db.url, "INSERT INTO busy (what) VALUES (?)", vec![INT(i)], AMPLE),
                _ => l.start(&db.url, "SELECT COUNT(*) FROM busy", AMPLE),
            })
            .collect();
        ids.into_iter().for_each(|id| drop(rows(l.wait(id))));
        assert_eq!(run(l, db, "SELECT COUNT(*) FROM busy", &[]).rows, [vec![INT(50)]], "{}", db.name);
    });
}

#[test]
fn a_transaction_is_carried_out_as_a_whole_or_not_at_all() {
    each(|db, l| {
        let count = |l: &mut Loop| {
            let all = run(l, db, "SELECT COUNT(*), SUM(credit) FROM people", &[]);
            all.rows[0].iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(" ")
        };
        let before = count(l);
        let insert = "INSERT INTO people VALUES (?, ?, 'new')";
        let new = |name: &str, n| (insert, vec![text(name), INT(n)]);
        // The last one fails: a key that is there.
        let id = l.start_transaction(
            &db.url,
            vec![("DELETE FROM people WHERE uid = 'bob'", vec![]), new("dan", 7), new("alice", 1)],
            AMPLE,
        );
        assert_eq!(failure(l.wait(id)).why, Why::Denied);
        assert_eq!(count(l), before);
        // The number of values is wrong, or a statement makes no sense.
        let id = l.start_transaction(&db.url, vec![new("dan", 7), (insert, vec![text("x")])], AMPLE);
        assert_eq!(failure(l.wait(id)).why, Why::BadRequest);
        let id = l.start_transaction(&db.url, vec![new("dan", 7), ("NO SUCH WORD", vec![])], AMPLE);
        assert_eq!(failure(l.wait(id)).why, Why::Denied);
        assert_eq!(count(l), before);
        // Its time is over, or nobody wants it any more, in the middle.
        let slow = vec![new("dan", 7), ("SELECT SLEEP(30)", vec![]), new("eve", 8)];
        let id = l.start_transaction(&db.url, slow.clone(), SHORT);
        assert_eq!(failure(l.wait(id)).why, Why::Timeout);
        let id = l.start_transaction(&db.url, slow, AMPLE);
        l.pass(SHORT);
        l.cancel(id, CancelReason::Gone);
        assert_eq!(failure(l.wait(id)).why, Why::Cancelled);
        assert_eq!(count(l), before);
        // All of it, in order, on one connection; rows that changed are counted over all.
        let id = l.start_transaction(
            &db.url,
            vec![("DELETE FROM people", vec![]), new("dan", 7), new("eve", 8), ("SELECT COUNT(*) FROM people", vec![])],
            AMPLE,
        );
        let done = rows(l.wait(id));
        assert_eq!((done.affected, done.rows), (5, vec![vec![INT(2)]]));
        assert_eq!(run(l, db, "SELECT uid FROM people ORDER BY uid", &[]).rows, [[text("dan")], [text("eve")]]);
    });
}
