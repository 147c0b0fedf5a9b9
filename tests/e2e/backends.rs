//! Backends that fail: the circuit opens, is probed and closes; what operators see of it. Values that go beside a
//! query; several servers behind one URL; the parameters of the MySQL client.

use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::run;
use crate::support::{eventually, free_port, process};
use crate::waits_common::{SECOND, Site, head, ms, site};
use serde_json::{Value, json};

/// What `ctl backends` says about the one of this kind.
fn backend(site: &Site, kind: &str) -> Value {
    let all = site.server.ctl("backends", Value::Null);
    all.as_array().unwrap().iter().find(|b| b["kind"] == kind).cloned().unwrap_or_default()
}

fn ask(query: &str) -> String {
    format!(
        "route {{ {query}; $var(rc) = $rc; xlog(\"err: $async_err, $async_phase\\n\"); sl_send_reply(200, \"$var(rc)\"); }}\n"
    )
}

#[test]
fn a_circuit_opens_and_closes_again() {
    let db = MariaDb::start();
    let site = site(
        &["sqlops"],
        &format!(
            "backend_open_time = 300\nmodparam(\"sqlops\", \"db_url\", \"{}\")\n{}",
            db.url(),
            ask(r#"sql_query("SELECT 1", "$avp(r)")"#)
        ),
    );
    assert_eq!(site.show("a"), "1");
    db.kill();
    // Twenty failures in a row, then nobody asks any more.
    eventually("the circuit opens", SECOND * 20, || match site.show("a").as_str() {
        "-1" => false,
        "-11" => true,
        other => panic!("{other}"),
    });
    site.server.wait_log(r"mysql mysql://reprise@127\.0\.0\.1:\d+/reprise: 20 failures in a row, the last: refused in phase connect; the circuit is open", SECOND);
    site.server
        .wait_log(r"err: circuit open: mysql://reprise@.*: 20 failures in a row, the last: refused.*, queue", SECOND);
    let b = backend(&site, "mysql");
    assert_eq!(
        (&b["ok"], &b["open"], &b["opened"], &b["running"]),
        (&json!(1), &json!(1), &json!(1), &json!(0)),
        "{b}"
    );
    assert!(b["failed"].as_u64().unwrap() >= 20 && b["refused"].as_u64().unwrap() >= 1, "{b}");
    let failures = site.server.log_count("WARN.*sql_query: ");
    for _ in 0..20 {
        site.show("a");
    }
    // Probes fail, and are logged; those turned away are not.
    assert!(site.server.log_count("WARN.*sql_query: ") < failures + 5);
    assert_eq!(site.server.log_count("the circuit is open"), 1);
    db.restart();
    eventually("the circuit closes", SECOND * 30, || {
        std::thread::sleep(ms(20));
        site.show("a") == "1"
    });
    site.server.wait_log(r"mysql mysql://.* works again: the circuit is closed", SECOND);
    let b = backend(&site, "mysql");
    assert_eq!((&b["open"], &b["opened"]), (&json!(0), &json!(1)), "{b}");
    let name = b["backend"].as_str().unwrap().to_owned();
    let stats = site.server.ctl("stats", json!(["backend:"]));
    assert!(stats[format!("backend:mysql:{name}:failed")].as_u64().unwrap() >= 20, "{stats}");
    assert!(stats[format!("backend:mysql:{name}:ok")].as_u64().unwrap() >= 2, "{stats}");
    assert!(
        stats.as_object().unwrap().keys().any(|k| k.starts_with(&format!("backend:mysql:{name}:ok_le_"))),
        "{stats}"
    );
    // For people, too.
    let table = run(&["ctl", "-s", &site.server.control.to_string_lossy(), "backends"], SECOND * 5);
    assert!(table.stdout.contains("OPENED") && table.stdout.contains(&name), "{}", table.stdout);
    site.assert_idle();
}

#[test]
fn a_circuit_that_is_switched_off_stays_closed() {
    let site = site(
        &["rest_client"],
        &format!(
            "backend_max_failures = 0\n{}",
            ask(&format!(r#"rest_get("http://127.0.0.1:{}/", $var(b))"#, free_port()))
        ),
    );
    for _ in 0..30 {
        assert_eq!(site.show("a"), "-1");
    }
    assert_eq!(backend(&site, "http")["failed"], 30);
}

#[test]
fn web_servers_and_programs_have_circuits_too() {
    let text = format!(
        "modparam(\"exec\", \"time_to_kill\", 1)\nbackend_max_failures = 3\nroute {{\n\
         if ($rU == \"web\") rest_get(\"http://127.0.0.1:{}/\", $var(b));\n\
         else if ($rU == \"slow\") exec(\"sleep 60\");\n\
         else exec(\"false\");\n\
         sl_send_reply(200, \"$rc\"); }}\n",
        free_port()
    );
    let site = site(&["rest_client", "exec"], &text);
    let seen: Vec<String> = (0..5).map(|_| site.show("web")).collect();
    assert_eq!(seen, ["-1", "-1", "-1", "-11", "-11"]);
    let seen: Vec<String> = (0..4).map(|_| site.show("slow")).collect();
    assert_eq!(seen, ["-1", "-1", "-1", "-11"]);
    // An exit status is no failure of the program's, and another program is another backend.
    for _ in 0..10 {
        assert_eq!(site.show("false"), "1");
    }
    site.server.wait_log(r"exec sleep: 3 failures in a row", SECOND);
    site.assert_idle();
}

#[test]
fn slow_queries_are_named_with_their_place() {
    let db = MariaDb::shared();
    let dir = process::directory("timing");
    let file = dir.path().join("timing.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (a INT)").unwrap();
    let text = format!(
        "loadmodule \"db_mysql.so\"\nmodparam(\"db_mysql\", \"exec_query_threshold\", 50000)\n\
         modparam(\"sqlops\", \"db_url\", \"{}\")\nmodparam(\"sqlops\", \"db_url\", \"1 sqlite://{}\")\n\
         route {{ sql_query(\"SELECT SLEEP($rU)\"); sql_query(\"SELECT sleep($rU)\", , 1); sl_send_reply(200, \"$rc\"); }}\n",
        db.url(),
        file.display()
    );
    let site = site(&["sqlops"], &text);
    assert_eq!(site.show("0"), "1");
    assert_eq!(site.server.log_count("slow"), 0, "{}", site.server.log());
    assert_eq!(site.show("0.2"), "1");
    let mysql = r"sql_query: slow: mysql://reprise@127\.0\.0\.1:\d+/reprise after 2\d\d ms, route route \(.*:\d+\), Call-ID \S+";
    site.server.wait_log(mysql, SECOND);
    site.server.wait_log(r"sql_query: slow: sqlite://.*/timing\.db after 2\d\d ms, route route", SECOND);
    // The helper names the text.
    site.server.wait_log(r"slow query, 2\d\d ms, on sqlite://.*/timing\.db: SELECT sleep\(0\.2\)", SECOND);
}

#[test]
fn the_number_of_connections_is_configured_and_others_queue() {
    let db = MariaDb::shared();
    let text = format!(
        "db_max_async_connections = 2\nbackend_queue_size = 3\nmodparam(\"sqlops\", \"db_url\", \"{}\")\n{}",
        db.url(),
        ask(r#"sql_query("SELECT SLEEP(0.5)", "$avp(r)")"#)
    );
    let site = site(&["sqlops"], &text);
    let client = site.client();
    for _ in 0..6 {
        client.send_request(&client.request("OPTIONS", &site.uri()));
    }
    eventually("two run, three wait", SECOND * 2, || {
        let b = backend(&site, "mysql");
        b["running"] == 2 && b["waiting"] == 3
    });
    let mut codes: Vec<String> = (0..6).map(|_| client.expect_status(200, SECOND * 5).reason().to_owned()).collect();
    codes.sort();
    assert_eq!(codes, ["-1", "1", "1", "1", "1", "1"]);
    site.server.wait_log(r"err: overload: mysql://.*: 3 operations wait already, queue", SECOND);
    assert_eq!(backend(&site, "mysql")["refused"], 1);
    site.assert_idle();
}

#[test]
fn values_go_beside_the_query() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    let dir = process::directory("bind");
    let file = dir.path().join("bind.db");
    let tables = "CREATE TABLE accounts (uid VARCHAR(64) PRIMARY KEY, credit INT, note VARCHAR(255));
                  INSERT INTO accounts VALUES ('alice', 100, NULL), ('bob', 0, 'x');";
    maria.sql(&format!("USE {name}; {tables}"));
    rusqlite::Connection::open(&file).unwrap().execute_batch(tables).unwrap();
    let cases = [
        (
            "two",
            r#"sql_query_bind("SELECT uid, credit FROM accounts WHERE uid = ? AND credit = ?", "$avp(u);$avp(c)", 0, "alice", 100)"#,
            "1 alice 100",
        ),
        (
            "user",
            r#"sql_query_bind("SELECT uid, credit FROM accounts WHERE uid = ?", "$avp(u);$avp(c)", , $fU)"#,
            "1 alice 100",
        ),
        (
            "evil",
            r#"$var(x) = "x' OR '1'='1"; sql_query_bind("SELECT uid, credit FROM accounts WHERE uid = ?", "$avp(u);$avp(c)", , $var(x))"#,
            "-2 <null> <null>",
        ),
        (
            "put",
            r#"$var(x) = "it's; \"quoted\" \\ % ☎"; sql_query_bind("INSERT INTO accounts VALUES (?, ?, ?)", , , $var(x), 5, $var(unset))"#,
            "-2 <null> <null>",
        ),
        (
            "get",
            r#"sql_query_bind("SELECT uid, credit FROM accounts WHERE credit = ? AND note IS NULL", "$avp(u);$avp(c)", , 5)"#,
            r#"1 it's; "quoted" \ % ☎ 5"#,
        ),
        ("null", r#"sql_query_one_bind("SELECT ? IS NULL, ? + 1", "$avp(u);$avp(c)", , $var(unset), 7)"#, "1 1 8"),
        ("few", r#"sql_query_bind("SELECT ?, ?", "$avp(u);$avp(c)", , 7)"#, "-1 <null> <null>"),
        (
            "none",
            r#"sql_query_bind("SELECT uid, credit FROM accounts WHERE uid = 'bob'", "$avp(u);$avp(c)")"#,
            "1 bob 0",
        ),
    ];
    for (kind, url) in [("MariaDB", maria.url_for(NATIVE, &name)), ("SQLite", format!("sqlite://{}", file.display()))] {
        let mut text = format!("modparam(\"sqlops\", \"db_url\", \"{url}\")\nroute {{\n");
        let mut later = String::new();
        for (name, body, _) in cases {
            text.push_str(&format!(
                "if ($rU == \"{name}\") {{ {body}; sl_send_reply(200, \"$rc $avp(u) $avp(c)\"); exit; }}\n"
            ));
            if let Some(call) = body.strip_suffix(')').filter(|b| b.starts_with("sql_")) {
                text.push_str(&format!("if ($rU == \"{name}_async\") async({call}), after);\n"));
            }
        }
        later.push_str("}\nroute[after] { sl_send_reply(200, \"$rc $avp(u) $avp(c)\"); }\n");
        let site = site(&["sqlops"], &(text + &later));
        for (name, body, want) in cases {
            let client = site.client();
            let uri = format!("sip:{name}@127.0.0.1:{}", site.port);
            let reply = client.ask(&client.request("OPTIONS", &uri).caller("alice"));
            assert_eq!(reply.reason(), want, "{kind}: {name}");
            if body.starts_with("sql_") {
                let uri = format!("sip:{name}_async@127.0.0.1:{}", site.port);
                let reply = client.ask(&client.request("OPTIONS", &uri).caller("alice"));
                assert_eq!(reply.reason(), want, "{kind}: {name}, async");
            }
        }
    }
}

#[test]
fn a_set_of_servers_by_its_name() {
    let (first, second) = (MariaDb::start(), MariaDb::shared());
    let text = format!(
        "loadmodule \"db_mysql.so\"\nloadmodule \"db_virtual.so\"\nmodparam(\"db_mysql\", \"timeout_interval\", 1)\n\
         modparam(\"db_virtual\", \"db_urls\", \"define pair FAILOVER\")\nmodparam(\"db_virtual\", \"db_urls\", \"{}\")\n\
         modparam(\"db_virtual\", \"db_urls\", \"{}\")\nmodparam(\"db_virtual\", \"db_probe_time\", 1)\n\
         modparam(\"sqlops\", \"db_url\", \"virtual://pair\")\n\
         route {{ sql_query(\"SELECT @@port\", \"$avp(p)\"); sl_send_reply(200, \"$rc $avp(p)\"); }}\n",
        first.url(),
        second.url()
    );
    let site = site(&["sqlops"], &text);
    let (one, two) = (format!("1 {}", first.port), format!("1 {}", second.port));
    assert_eq!(site.show("a"), one);
    first.kill();
    eventually("the second one serves", SECOND * 5, || site.show("a") == two);
    first.restart();
    eventually("the first one serves again", SECOND * 10, || {
        std::thread::sleep(ms(50));
        site.show("a") == one
    });
}

#[test]
fn what_is_wrong_with_database_parameters_is_said() {
    for (line, words) in [
        (r#"modparam("db_mysql", "exec_query_treshold", 5)"#, "exec_query_threshold"),
        (r#"modparam("db_mysql", "opt_ssl_mode", 9)"#, "from 0 to 5"),
        (r#"modparam("db_virtual", "db_urls", "define set1 PARALLEL")"#, "PARALLEL are not supported"),
        (r#"modparam("db_virtual", "db_urls", "mysql://h/d")"#, "must be defined"),
        (r#"modparam("sqlops", "db_url", "virtual://nobody")"#, "no set of databases"),
        (r#"modparam("sqlops", "db_url", "mysql://a/d sqlite:///x")"#, "must all be mysql"),
        (r#"modparam("sqlops", "db_scheme", "x:tabel=y")"#, "unknown element `tabel`"),
        (r#"modparam("sqlops", "db_scheme", "x:value_type=float")"#, "no value_type"),
        (r#"modparam("sqlops", "db_scheme", "table=y")"#, "this is no scheme"),
        ("db_kill_on_timeout = perhaps", "auto"),
        ("db_max_async_connections = 0", "db_max_async_connections"),
    ] {
        let modules = ["sqlops", "db_mysql", "db_virtual"];
        let config = format!("{}{line}\nroute {{ exit; }}\n", head(free_port(), &modules));
        let dir = process::directory("check");
        let file = dir.path().join("c.cfg");
        std::fs::write(&file, config).unwrap();
        let checked = run(&["-c", "-f", &file.to_string_lossy()], SECOND * 20);
        let said = checked.stdout + &checked.stderr;
        assert!(checked.code != 0 && said.contains(words), "{line}: {said}");
    }
}
