//! SQL from scripts: each demand on MariaDB and on SQLite.

use std::path::PathBuf;

use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::reprise::run;
use crate::support::{eventually, free_port, process};
use crate::waits_common::{SECOND, Site, head, ms, site, timed};

/// What both databases hold.
const TABLES: &str = "
CREATE TABLE users (uid VARCHAR(64) PRIMARY KEY, credit INT NOT NULL, note VARCHAR(255) NULL);
INSERT INTO users VALUES ('alice', 100, 'prepaid'), ('bob', 0, NULL), ('carol', -5, 'it''s late');
CREATE TABLE kinds (id INTEGER, big BIGINT, ratio DOUBLE, name VARCHAR(90), empty VARCHAR(9), day DATE, at DATETIME);
INSERT INTO kinds VALUES (1, 9223372036854775807, 0.5, 'Zoë ☎', '', '2024-02-29', '2024-02-29 12:34:56'),
                         (2, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE numbers (n INTEGER PRIMARY KEY, text VARCHAR(32) NOT NULL);
CREATE TABLE usr_preferences (uuid VARCHAR(64) DEFAULT '', username VARCHAR(64) DEFAULT '', domain VARCHAR(64) DEFAULT '',
                              attribute VARCHAR(64), type INTEGER DEFAULT 0, value VARCHAR(128));
";

enum Backend {
    Maria(String),
    File(PathBuf, #[expect(dead_code, reason = "the directory lives as long as the value")] tempfile::TempDir),
}

/// A database of the test's own.
struct Db {
    name: &'static str,
    url: String,
    backend: Backend,
}

impl Db {
    fn maria() -> Db {
        let server = MariaDb::shared();
        let name = server.fresh_database();
        server
            .sql(&format!("DROP DATABASE {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}; {TABLES}"));
        let url = server.url_for(NATIVE, &name);
        Db { name: "MariaDB", url, backend: Backend::Maria(name) }
    }

    fn sqlite() -> Db {
        let dir = process::directory("sqlite");
        let path = dir.path().join("test.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
        Db { name: "SQLite", url: format!("sqlite://{}", path.display()), backend: Backend::File(path, dir) }
    }

    fn execute(&self, sql: &str) {
        match &self.backend {
            Backend::Maria(name) => drop(MariaDb::shared().sql(&format!("USE {name}; {sql}"))),
            Backend::File(path, _) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
        }
    }

    /// The first value of the answer, as text.
    fn ask(&self, sql: &str) -> String {
        match &self.backend {
            Backend::Maria(name) => MariaDb::shared().sql(&format!("USE {name}; {sql}")),
            Backend::File(path, _) => {
                let value = rusqlite::Connection::open(path).unwrap().query_row(sql, [], |r| r.get(0)).unwrap();
                match value {
                    rusqlite::types::Value::Integer(n) => n.to_string(),
                    rusqlite::types::Value::Text(t) => t,
                    other => format!("{other:?}"),
                }
            }
        }
    }
}

/// Runs a test on both.
fn each(test: impl Fn(&Db)) {
    for db in [Db::maria(), Db::sqlite()] {
        println!("--- {}", db.name);
        test(&db);
    }
}

/// A script whose cases are chosen by the user of the R-URI; `reply` says what each shows.
fn with_cases(db: &Db, modules: &[&str], more: &str, cases: &[(&str, &str, &str)]) -> Site {
    let mut text = format!("modparam(\"sqlops\", \"db_url\", \"{}\")\n{more}\nroute {{\n", db.url);
    let mut resumed = String::new();
    for (name, body, shown) in cases {
        text.push_str(&format!("if ($rU == \"{name}\") {{ {body}; sl_send_reply(200, \"{shown}\"); exit; }}\n"));
        // The same as an asynchronous statement, where the body is one call.
        if let Some(call) = body.strip_suffix(')').filter(|b| !b.contains(';') || b.starts_with("sql_")) {
            text.push_str(&format!("if ($rU == \"{name}_async\") {{ async({call}), after_{name}); }}\n"));
            resumed.push_str(&format!("route[after_{name}] {{ sl_send_reply(200, \"{shown}\"); }}\n"));
        }
    }
    text.push_str("sl_send_reply(404, \"no case\");\n}\n");
    text.push_str(&resumed);
    site(&[&["sqlops", "cfgutils"], modules].concat(), &text)
}

#[test]
fn schemes_name_tables_of_another_shape() {
    let more = r#"
modparam("sqlops", "db_scheme", "names:table=accounts;username_col=who;domain_col=realm;value_col=first_name")
modparam("sqlops", "db_scheme", "ages:table=accounts;username_col=who;domain_col=realm;value_col=age;value_type=integer")
"#;
    let cases: &[(&str, &str, &str, &str)] = &[
        ("name", r#"sql_avp_load("sip:alice@example.test", "$avp(n)/$names")"#, "$rc $avp(n)", "1 Alice"),
        (
            "age",
            r#"sql_avp_load("sip:alice@example.test", "$avp(a)/$ages"); $var(b) = $avp(a) + 1"#,
            "$avp(a) $var(b)",
            "42 43",
        ),
        ("nobody", r#"sql_avp_load("sip:nobody@example.test", "$avp(n)/$names")"#, "$rc $avp(n)", "-1 <null>"),
        ("unknown", r#"sql_avp_load("sip:alice@example.test", "$avp(n)/$nothing")"#, "$rc $avp(n)", "-1 <null>"),
        ("all", r#"sql_avp_load("sip:alice@example.test", "a/$names")"#, "$rc $avp(n)", "-1 <null>"),
        (
            "store",
            r#"$avp(n) = "Bob"; sql_avp_store("sip:bob@example.test", "$avp(n)/$names"); $var(x) = $rc"#,
            "$var(x)",
            "1",
        ),
        ("stored", r#"sql_avp_load("sip:bob@example.test", "$avp(n)/$names")"#, "$rc $avp(n)", "1 Bob"),
        ("empty", r#"sql_avp_load("sip:bob@example.test", "$avp(a)/$ages")"#, "$avp(a)", "<null>"),
        ("delete", r#"sql_avp_delete("sip:bob@example.test", "$avp(n)/$names")"#, "$rc", "1"),
        ("gone", r#"sql_avp_load("sip:bob@example.test", "$avp(n)/$names")"#, "$rc $avp(n)", "-1 <null>"),
    ];
    each(|db| {
        db.execute("CREATE TABLE accounts (who VARCHAR(64), realm VARCHAR(64), first_name VARCHAR(64), age INTEGER)");
        db.execute("INSERT INTO accounts VALUES ('alice', 'example.test', 'Alice', 42)");
        let scripted: Vec<_> = cases.iter().map(|(n, body, shown, _)| (*n, *body, *shown)).collect();
        let site = with_cases(db, &[], more, &scripted);
        for (name, _, _, expected) in cases {
            assert_eq!(site.show(name), *expected, "{} {name}", db.name);
        }
    });
}

#[test]
fn columns_rows_and_codes() {
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "columns",
            r#"sql_query("SELECT uid, credit, note FROM users WHERE uid='alice'", "$avp(u);$avp(c);$avp(n)")"#,
            "$rc $avp(u) $avp(c) $avp(n)",
            "1 alice 100 prepaid",
        ),
        (
            "spaces",
            r#"sql_query("SELECT uid, credit FROM users WHERE uid='alice'", "$avp(u); $avp(c)")"#,
            "$rc $avp(u) $avp(c)",
            "1 alice 100",
        ),
        (
            "default",
            r#"sql_query("SELECT uid, credit FROM users WHERE uid='alice'")"#,
            "$rc $avp(1) $avp(2) $avp(3)",
            "1 alice 100 <null>",
        ),
        (
            "empty",
            r#"sql_query("SELECT uid, credit FROM users WHERE uid='alice'", "")"#,
            "$rc $avp(1) $avp(2)",
            "1 alice 100",
        ),
        (
            "rows",
            r#"sql_query("SELECT uid, credit FROM users ORDER BY uid", "$avp(u);$avp(c)")"#,
            "$rc $avp(u) $(avp(u)[0]) $(avp(u)[1]) $(avp(u)[2]) $(avp(c)[2]) $(avp(u)[3])",
            "1 alice alice bob carol -5 <null>",
        ),
        (
            "fewer",
            r#"sql_query("SELECT uid, credit, note FROM users WHERE uid='alice'", "$avp(u)")"#,
            "$rc $avp(u) $avp(1) $avp(2)",
            "1 alice <null> <null>",
        ),
        (
            "more",
            r#"sql_query("SELECT uid FROM users WHERE uid='alice'", "$avp(u);$avp(c)")"#,
            "$rc $avp(u) $avp(c)",
            "1 alice <null>",
        ),
        (
            "null",
            r#"sql_query("SELECT note, credit FROM users WHERE uid='bob'", "$avp(n);$avp(c)")"#,
            "$rc $avp(n) $(avp(n){s.len}) $avp(c)",
            "1 <null> 6 0",
        ),
        ("none", r#"sql_query("SELECT uid FROM users WHERE uid='nobody'", "$avp(u)")"#, "$rc $avp(u)", "-2 <null>"),
        ("syntax", r#"sql_query("SELEC uid FROM users", "$avp(u)")"#, "$rc $avp(u)", "-1 <null>"),
        ("table", r#"sql_query("SELECT uid FROM nowhere", "$avp(u)")"#, "$rc $avp(u)", "-1 <null>"),
        ("insert", r#"sql_query("INSERT INTO users VALUES ('dave', 7, NULL)")"#, "$rc $avp(1)", "-2 <null>"),
        (
            "update",
            r#"sql_query("UPDATE users SET credit = 8 WHERE uid='bob'", "$avp(u)")"#,
            "$rc $avp(u)",
            "-2 <null>",
        ),
        ("delete", r#"sql_query("DELETE FROM users WHERE uid='carol'")"#, "$rc", "-2"),
        (
            "one",
            r#"sql_query_one("SELECT uid, credit FROM users ORDER BY uid", "$var(u);$avp(c)")"#,
            "$rc $var(u) $avp(c) $(avp(c)[1])",
            "1 alice 100 <null>",
        ),
        (
            "one_null",
            r#"sql_query_one("SELECT note, uid FROM users WHERE uid='bob'", "$var(n);$var(u)")"#,
            "$rc $var(n) $(var(n){s.len}) $var(u)",
            "1 <null> <null> bob",
        ),
        ("one_few", r#"sql_query_one("SELECT uid, credit FROM users", "$var(u)")"#, "$rc $var(u)", "-1 <null>"),
        ("one_none", r#"sql_query_one("SELECT uid FROM users WHERE uid='x'", "$var(u)")"#, "$rc $var(u)", "-2 <null>"),
        ("one_bad", r#"sql_query_one("SELECT", "$var(u)")"#, "$rc $var(u)", "-1 <null>"),
        (
            "kinds",
            r#"sql_query_one("SELECT big, ratio, name, empty, day, at FROM kinds WHERE id=1", "$var(big);$var(ratio);$var(name);$var(empty);$var(day);$var(at)")"#,
            "$rc $var(big) $var(ratio) $var(name) <$var(empty)> $var(day) $var(at)",
            "1 9223372036854775807 0.5 Zoë ☎ <> 1709164800 1709210096",
        ),
        (
            "nulls",
            r#"sql_query("SELECT big, ratio, name, empty, day, at FROM kinds WHERE id=2")"#,
            "$rc $avp(1) $avp(2) $avp(3) $avp(4) $avp(5) $avp(6)",
            "1 <null> <null> <null> <null> <null> <null>",
        ),
        ("expression", r#"sql_query("SELECT 40 + 2, 'a' AS b", "$avp(x);$avp(y)")"#, "$rc $avp(x) $avp(y)", "1 42 a"),
        ("escape", r#"sql_query("SELECT '$(hdr(Subject){s.escape.common})'", "$avp(x)")"#, "$rc $avp(x)", "1 <null>"),
    ];
    each(|db| {
        let scripted: Vec<_> = cases.iter().map(|(n, body, shown, _)| (*n, *body, *shown)).collect();
        let site = with_cases(db, &[], "", &scripted);
        for (name, _, _, expected) in cases {
            assert_eq!(site.show(name), *expected, "{} {name}", db.name);
            let asynchronous = site.show(&format!("{name}_async"));
            match *name {
                // The row is there already.
                "insert" => assert_eq!(asynchronous, "-1 <null>", "{} {name}", db.name),
                _ => assert_eq!(asynchronous, *expected, "{} {name} by async", db.name),
            }
        }
        assert_eq!(db.ask("SELECT credit FROM users WHERE uid='dave'"), "7");
        assert_eq!(db.ask("SELECT credit FROM users WHERE uid='bob'"), "8");
        assert_eq!(db.ask("SELECT COUNT(*) FROM users WHERE uid='carol'"), "0");
        // An error names the place in the script and what the database said.
        site.server.wait_log("sql_query: .*nowhere.* route", SECOND);
        site.assert_idle();
    });
}

#[test]
fn values_in_the_script() {
    let cases: &[(&str, &str, &str, &str)] = &[
        // New values stand before the old ones.
        (
            "stack",
            r#"$avp(u) = "old"; sql_query("SELECT uid FROM users WHERE uid <> 'carol' ORDER BY uid", "$avp(u)")"#,
            "$(avp(u)[0]) $(avp(u)[1]) $(avp(u)[2])",
            "alice bob old",
        ),
        // Numbers are numbers, text is text.
        (
            "numbers",
            r#"sql_query("SELECT credit FROM users WHERE uid='alice'", "$avp(c)"); $var(n) = $avp(c) + 1; if ($avp(c) > 99 && $avp(c) < 101) $var(ok) = "number""#,
            "$var(n) $var(ok)",
            "101 number",
        ),
        (
            "null_test",
            r#"sql_query("SELECT note FROM users WHERE uid='bob'", "$avp(n)"); if ($avp(n) == "<null>") $var(a) = "text"; sql_query_one("SELECT note FROM users WHERE uid='bob'", "$var(n)"); if ($var(n) == NULL) $var(b) = "null""#,
            "$var(a) $var(b)",
            "text null",
        ),
        // sql_query_one makes a variable NULL that had a value.
        (
            "one_overwrites",
            r#"$var(n) = "before"; $avp(m) = "before"; sql_query_one("SELECT note, note FROM users WHERE uid='bob'", "$var(n);$avp(m)")"#,
            "$var(n) $avp(m)",
            "<null> <null>",
        ),
        // Any writable variable.
        (
            "writable",
            r#"sql_query_one("SELECT uid, 'sip:127.0.0.1:9' FROM users WHERE uid='carol'", "$rU;$du")"#,
            "$rc $rU $du",
            "1 carol sip:127.0.0.1:9",
        ),
        (
            "quoting",
            r#"$var(x) = "it's late"; sql_query("SELECT uid FROM users WHERE note='$(var(x){s.escape.common})'", "$avp(u)")"#,
            "$rc $avp(u)",
            "1 carol",
        ),
        (
            "variable",
            r#"$var(q) = "SELECT credit FROM users WHERE uid='" + $fU + "'"; sql_query($var(q), "$avp(c)")"#,
            "$rc $avp(c)",
            "1 100",
        ),
        ("null_query", r#"sql_query($var(nothing), "$avp(c)")"#, "$rc $avp(c)", "-1 <null>"),
        (
            "loop",
            r#"sql_query("SELECT n FROM numbers ORDER BY n", "$avp(n)"); $var(sum) = 0; for ($var(n) in $(avp(n)[*])) { $var(sum) = $var(sum) + $var(n); }"#,
            "$rc $var(sum) $(avp(n)[0]) $(avp(n)[999])",
            "1 500500 1 1000",
        ),
    ];
    each(|db| {
        db.execute(
            "INSERT INTO numbers WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) \
             SELECT i, 'number' FROM c",
        );
        let scripted: Vec<_> = cases.iter().map(|(n, body, shown, _)| (*n, *body, *shown)).collect();
        let site = with_cases(db, &[], "max_while_loops=10000\n", &scripted);
        for (name, _, _, expected) in cases {
            if *name == "quoting" && db.name == "SQLite" {
                // `\'` does not escape in SQLite: its quotes are doubled.
                assert_eq!(site.show(name), "-1 <null>");
                continue;
            }
            assert_eq!(site.show(name), *expected, "{} {name}", db.name);
        }
        site.assert_idle();
    });
}

#[test]
fn several_databases_by_number() {
    let (maria, sqlite) = (Db::maria(), Db::sqlite());
    maria.execute("UPDATE users SET credit = 1 WHERE uid='alice'");
    sqlite.execute("UPDATE users SET credit = 2 WHERE uid='alice'");
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{}")
        modparam("sqlops", "db_url", "1 {}")
        modparam("sqlops", "db_url", "7 {}")
        route {{
            $var(q) = "SELECT credit FROM users WHERE uid='alice'";
            sql_query($var(q), "$avp(a)");
            sql_query($var(q), "$avp(b)", 1);
            $var(n) = 7;
            sql_query($var(q), "$avp(c)", $var(n));
            $var(rc) = sql_query($var(q), "$avp(d)", 3);
            sql_query($var(q), , 1);
            async(sql_query_one($var(q), "$var(e)", 1), after);
        }}
        route[after] {{ sl_send_reply(200, "$avp(a) $avp(b) $avp(c) $avp(d) $avp(1) $var(e)"); }}
        "#,
        maria.url,
        sqlite.url,
        MariaDb::shared().url()
    );
    let site = site(&["sqlops"], &script);
    assert_eq!(site.ask().reason(), "1 2 100 <null> 2 2");
    site.server.wait_log("no db_url with number 3", SECOND);
}

/// The same under the names of 2.2, where the number is a text.
#[test]
fn the_names_of_avpops() {
    each(|db| {
        let script = format!(
            r#"
            modparam("avpops", "db_url", "{}")
            modparam("avpops", "db_url", "1 {}")
            route {{
                $avp(uid) = $fU;
                avp_db_query("SELECT uid, credit FROM users WHERE uid='$avp(uid)'", "$avp(u);$avp(c)");
                avp_db_query("SELECT COUNT(*) FROM users", "$avp(count)", "1");
                avp_db_query("INSERT INTO users VALUES ('dave', 1, NULL)");
                $avp(rc) = $rc;
                avp_db_query("SELECT uid FROM users ORDER BY uid");
                $avp(names) = "first"; $avp(names) = "second";
                avp_db_store("$fu/username", "$avp(names)");
                avp_delete("$avp(names)");
                avp_db_load("$fu/username", "$avp(names)");
                $avp(loaded) = $rc;
                async(avp_db_query("SELECT credit FROM users WHERE uid='$avp(uid)'", "$avp(late)", "1"), after);
            }}
            route[after] {{
                sl_send_reply(200, "$avp(u) $avp(c) $avp(count) $avp(rc) $(avp(1)[3]) $avp(loaded) $(avp(names)[0]) $(avp(names)[1]) $rc $avp(late)");
            }}
            "#,
            db.url, db.url
        );
        let site = site(&["avpops"], &script);
        assert_eq!(site.ask().reason(), "alice 100 3 -2 dave 1 second first 1 100", "{}", db.name);
        assert_eq!(db.ask("SELECT COUNT(*) FROM usr_preferences WHERE username='alice' AND attribute='names'"), "2");
    });
}

#[test]
fn structured_statements() {
    each(|db| {
        let cases: &[(&str, &str, &str)] = &[
            ("insert", r#"sql_insert("users", '{"uid": "erin", "credit": 3}')"#, "$rc"),
            (
                "select",
                r#"sql_select('["uid", "credit"]', "users", '[{"credit": {">": 2}}]', "uid", "$avp(u);$avp(c)")"#,
                "$rc $(avp(u)[0]) $(avp(u)[1]) $(avp(c)[1])",
            ),
            ("one", r#"sql_select_one('["credit"]', "users", '[{"uid": "erin"}]', , "$var(c)")"#, "$rc $var(c)"),
            ("update", r#"sql_update("users", '{"credit": 4}', '[{"uid": "erin"}]')"#, "$rc"),
            ("delete", r#"sql_delete("users", '[{"uid": "carol"}]')"#, "$rc"),
            ("replace", r#"sql_replace("users", '{"uid": "erin", "credit": 9}')"#, "$rc"),
            ("none", r#"sql_select('["uid"]', "users", '[{"uid": "nobody"}]', , "$avp(u)")"#, "$rc $avp(u)"),
        ];
        let site = with_cases(db, &[], "", cases);
        let name = db.name;
        assert_eq!(site.show("insert"), "1", "{name}");
        assert_eq!(site.show("select"), "1 alice erin 3", "{name}");
        assert_eq!(site.show("one"), "1 3", "{name}");
        assert_eq!(site.show("update"), "1", "{name}");
        assert_eq!(db.ask("SELECT credit FROM users WHERE uid='erin'"), "4", "{name}");
        assert_eq!(site.show("delete"), "1", "{name}");
        assert_eq!(db.ask("SELECT COUNT(*) FROM users WHERE uid='carol'"), "0", "{name}");
        assert_eq!(site.show("replace"), "1", "{name}");
        assert_eq!(db.ask("SELECT credit FROM users WHERE uid='erin'"), "9", "{name}");
        assert_eq!(site.show("none"), "-2 <null>", "{name}");
    });
}

#[test]
fn a_slow_query_ends_at_its_deadline_and_delays_nobody() {
    each(|db| {
        let slow = match db.name {
            "MariaDB" => "SELECT SLEEP(20)",
            _ => "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT COUNT(*) FROM c",
        };
        let script = format!(
            r#"
            modparam("sqlops", "db_url", "{}")
            async_timeout = 2
            route {{
                if ($rU == "quick") {{ sql_query("SELECT credit FROM users WHERE uid='alice'", "$avp(c)"); sl_send_reply(200, "$avp(c)"); exit; }}
                if ($rU == "async") async(sql_query("{slow}", "$avp(x)"), after, 1);
                if ($rU == "default") async(sql_query("{slow}", "$avp(x)"), after);
                sql_query("{slow}", "$avp(x)");
                route(after);
            }}
            route[after] {{ sl_send_reply(200, "$rc $async_err $async_phase $avp(x)"); }}
            "#,
            db.url
        );
        let site = site(&["sqlops"], &script);
        for (user, least) in [("async", 1), ("default", 2), ("plain", 2)] {
            let client = site.client();
            let request = client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port));
            let start = std::time::Instant::now();
            client.send_request(&request);
            std::thread::sleep(ms(100));
            let quick = site.client();
            let (answer, time) =
                timed(&quick, &quick.request("OPTIONS", &format!("sip:quick@127.0.0.1:{}", site.port)));
            assert_eq!(answer.reason(), "100", "{}", db.name);
            assert!(time < ms(500), "{}: {time:?} while another query runs", db.name);
            let answer = client.finish(&request, SECOND * 5).pop().unwrap();
            let time = start.elapsed();
            assert_eq!(answer.reason(), "-1 timeout wait <null>", "{} {user}", db.name);
            assert!(time >= ms(1000 * least - 20) && time < ms(1000 * least + 1500), "{} {user} {time:?}", db.name);
        }
        assert_eq!(site.show("quick"), "100");
        site.assert_idle();
    });
}

#[test]
fn a_backend_that_is_not_there() {
    let hole = BlackHole::tcp();
    let garbage = TcpMock::each(vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close]);
    let silent = TcpMock::each(vec![Step::Hang]);
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "mysql://u:p@127.0.0.1:{refused}/d")
        modparam("sqlops", "db_url", "1 mysql://u:p@{hole}/d")
        modparam("sqlops", "db_url", "2 mysql://u:p@{garbage}/d")
        modparam("sqlops", "db_url", "3 mysql://u:p@{silent}/d")
        modparam("sqlops", "db_url", "4 {wrong}")
        modparam("sqlops", "db_url", "5 sqlite:///no/such/file.db")
        modparam("sqlops", "db_url", "6 mysql://u:p@no-such-host.invalid/d")
        route {{
            $var(n) = $(rU{{s.int}});
            async(sql_query("SELECT 1", "$avp(x)", $var(n)), after, 2);
        }}
        route[after] {{ sl_send_reply(200, "$rc $async_phase"); }}
        "#,
        refused = free_port(),
        hole = hole.addr,
        garbage = garbage.addr,
        silent = silent.addr,
        wrong = MariaDb::shared().url_for(("reprise", "wrong"), "reprise"),
    );
    let site = site(&["sqlops"], &script);
    assert_eq!(site.show("0"), "-1 connect");
    assert_eq!(site.show("1"), "-1 connect");
    assert_eq!(site.show("2"), "-1 login");
    assert_eq!(site.show("3"), "-1 login");
    assert_eq!(site.show("4"), "-1 login");
    assert_eq!(site.show("5"), "-1 connect");
    assert_eq!(site.show("6"), "-1 resolve");
    site.assert_idle();
}

#[test]
fn connections_that_died_are_replaced() {
    let db = MariaDb::start();
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{}")
        route {{ async(sql_query("SELECT credit FROM users WHERE uid='alice'", "$avp(c)"), after, 2); }}
        route[after] {{ sl_send_reply(200, "$rc $avp(c)"); }}
        "#,
        db.url()
    );
    let site = site(&["sqlops"], &script);
    assert_eq!(site.show("x"), "1 100");
    db.kill_connections();
    eventually("a good answer again", SECOND * 5, || site.show("x") == "1 100");
    db.kill();
    assert_eq!(site.show("x"), "-1 <null>");
    db.restart();
    eventually("a good answer again", SECOND * 10, || site.show("x") == "1 100");
    // Hanging in the middle: the deadline.
    db.pause();
    assert_eq!(site.show("x"), "-1 <null>");
    db.resume();
    eventually("a good answer again", SECOND * 10, || site.show("x") == "1 100");
    site.assert_idle();
}

#[test]
fn a_bad_database_url_is_a_load_error() {
    let dir = process::directory("url");
    let file = dir.path().join("reprise.cfg");
    let path = file.to_string_lossy().into_owned();
    let text = format!(
        "{}modparam(\"sqlops\", \"db_url\", \"oracle://u:p@h/d\")\nroute {{ exit; }}\n",
        head(5060, &["tm", "sqlops"])
    );
    std::fs::write(&file, text).unwrap();
    let done = run(&["-c", "-f", &path], SECOND * 20);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("error[E0505]: this is not a database URL"), "{}", done.stderr);
}
