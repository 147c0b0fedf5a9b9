//! Several operations at once, against real parts: they take as long as the longest, one that hangs
//! holds up nobody past the deadline, and what is not wanted any more is gone at once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::mariadb::MariaDb;
use crate::support::mocks::{Step, TcpMock};
use crate::support::nginx::Nginx;
use crate::support::{eventually, exclusive, process};
use crate::waits_common::{SECOND, Site, ms, site, timed};

const MODULES: &[&str] = &["cfgutils", "exec", "rest_client", "sqlops"];

/// The reason phrase of the answer to OPTIONS for this user, and how long it took.
fn ask(site: &Site, user: &str) -> (String, Duration) {
    let client = site.client();
    let request = client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port));
    let (answer, time) = timed(&client, &request);
    (answer.reason().to_owned(), time)
}

/// Four kinds of operations, 0.6 to 0.9 s each, one after the other 3 s.
fn four(block: bool) -> Site {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let members = format!(
        r#"
                sql_query_one("SELECT SLEEP(0.6), credit FROM users WHERE uid = 'alice'", "$avp(s);$avp(credit)");
                rest_get("{slow}", $avp(body), , $avp(code));
                exec("sleep 0.8; echo done", , $avp(line));
                usleep(900000);
        "#,
        slow = web.url("/sleep?t=0.7"),
    );
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        {io}
        route {{
            if ($rU == "resume") async_all(show, 20) {{ {members} }}
            await_all {{ {members} }}
            route(show);
        }}
        route[show] {{
            sl_send_reply(200, "$rc $avp(credit) $avp(body) $avp(code) $avp(line) $(async_rc[*])");
        }}
        "#,
        db = db.url(),
        io = if block { "script_io = block" } else { "" },
    );
    site(MODULES, &script)
}

#[test]
fn several_take_as_long_as_the_longest() {
    let alone = exclusive();
    let site = four(false);
    for user in ["await", "resume"] {
        let (reason, time) = ask(&site, user);
        assert_eq!(reason, "0 100 slept 200 done 1, 1, 1, 1", "{user}");
        assert!(time >= ms(890) && time < ms(2500), "{user}: {time:?}");
    }
    // Meanwhile everybody else is served.
    let clients: Vec<_> = (0..20).map(|_| site.client()).collect();
    for client in &clients {
        client.send_request(&client.request("OPTIONS", &site.uri()));
    }
    for client in &clients {
        assert_eq!(client.expect_status(200, SECOND * 20).reason(), "0 100 slept 200 done 1, 1, 1, 1");
    }
    site.assert_idle();
    drop(alone);
}

#[test]
fn the_same_when_plain_calls_block() {
    let alone = exclusive();
    let site = four(true);
    for user in ["await", "resume"] {
        let (reason, time) = ask(&site, user);
        assert_eq!(reason, "0 100 slept 200 done 1, 1, 1, 1", "{user}");
        assert!(time >= ms(890) && time < ms(2500), "{user}: {time:?}");
    }
    site.assert_idle();
    drop(alone);
}

#[test]
fn one_that_hangs_ends_at_the_deadline_and_the_others_count() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let silent = TcpMock::each(vec![Step::ReadUntil(b"\r\n\r\n".to_vec()), Step::Read(1 << 20)]);
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            if ($rU == "resume") async_all(show, 1) {{
                rest_get("http://{silent}/", $avp(never));
                sql_query_one("SELECT credit FROM users WHERE uid = 'alice'", "$avp(credit)");
                rest_get("{now}", $avp(body));
                sql_query("SELECT nonsense FROM nowhere");
            }}
            await_all(1) {{
                rest_get("http://{silent}/", $avp(never));
                sql_query_one("SELECT credit FROM users WHERE uid = 'alice'", "$avp(credit)");
                rest_get("{now}", $avp(body));
                sql_query("SELECT nonsense FROM nowhere");
            }}
            route(show);
        }}
        route[show] {{
            sl_send_reply(200, "$rc $avp(never) $avp(credit) $avp(body) $(async_rc[*]) $async_err $(async_phase[0])");
        }}
        "#,
        db = db.url(),
        silent = silent.addr,
        now = web.url("/now"),
    );
    let site = site(MODULES, &script);
    for user in ["await", "resume"] {
        let (reason, time) = ask(&site, user);
        assert_eq!(reason, "2 <null> 100 now -3, 1, 1, -1 timeout wait", "{user}");
        assert!(time >= ms(990) && time < ms(5000), "{user}: {time:?}");
    }
    eventually("its connections are closed", SECOND * 5, || silent.accepted() == 2 && silent.open() == 0);
    site.server.wait_log("rest_get: timeout in phase wait.* route \\(", SECOND);
    site.assert_idle();
}

#[test]
fn what_lost_is_gone_at_once() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let silent = TcpMock::each(vec![Step::ReadUntil(b"\r\n\r\n".to_vec()), Step::Read(1 << 20)]);
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            if ($rU == "resume") async_any(show) {{
                rest_get("http://{silent}/", $avp(body));
                exec("sleep 71", , $avp(line));
                sql_query("SELECT SLEEP(71)", "$avp(row)");
                sleep(71);
                rest_get("http://127.0.0.1:1/", $avp(body));
                rest_get("{slow}", $avp(body));
            }}
            await_any {{
                rest_get("http://{silent}/", $avp(body));
                exec("sleep 71", , $avp(line));
                sql_query("SELECT SLEEP(71)", "$avp(row)");
                sleep(71);
                rest_get("http://127.0.0.1:1/", $avp(body));
                rest_get("{slow}", $avp(body));
            }}
            route(show);
        }}
        route[show] {{
            sl_send_reply(200, "$rc $avp(body) $avp(line) $(async_rc[*]) $async_err");
        }}
        "#,
        db = db.url(),
        silent = silent.addr,
        slow = web.url("/sleep?t=0.5"),
    );
    let site = site(MODULES, &script);
    let sleeping = || process::tree(site.server.pid).iter().any(|p| command(*p).contains("sleep 71"));
    let asked = "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(71)'";
    for user in ["await", "resume"] {
        let (reason, time) = ask(&site, user);
        assert_eq!(reason, "6 slept <null> -12, -12, -12, -12, -1, 1 <null>", "{user}");
        assert!(time < SECOND * 20, "{user}: {time:?}");
        eventually("the child is gone", SECOND * 5, || !sleeping());
        eventually("the connection is closed", SECOND * 5, || silent.open() == 0);
        eventually("the query is gone", SECOND * 10, || db.number(asked) == 0);
    }
    assert_eq!(silent.accepted(), 2);
    site.assert_idle();
    eventually("no operation is left", SECOND * 5, || {
        let all = site.server.ctl("transactions", Value::Null);
        all.to_string().contains("\"operations\":0") && all.to_string().contains("\"parked\":0")
    });
}

fn command(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

#[test]
fn operators_see_and_end_each_of_several() {
    let script = r#"
        route {
            await_all {
                exec("sleep 72");
                sleep(72);
                exec("sleep 73");
            }
            sl_send_reply(200, "$rc $(async_rc[*]) $async_err");
        }
    "#;
    let site = site(&["cfgutils", "exec"], script);
    let client = site.client();
    let request = client.request("OPTIONS", &site.uri());
    client.send_request(&request);
    eventually("all wait", SECOND * 5, || site.waits() == 3);
    let waits = site.server.ctl("waits", Value::Null);
    let list = waits.as_array().unwrap();
    let of = |i: usize, key: &str| list[i][key].as_str().unwrap_or_default().to_owned();
    for (i, (function, kind)) in [("exec", "exec"), ("sleep", "sleep"), ("exec", "exec")].into_iter().enumerate() {
        assert_eq!((of(i, "function").as_str(), of(i, "kind").as_str()), (function, kind), "{waits:#}");
        assert_eq!(of(i, "within"), "await_all", "{waits:#}");
        assert_eq!(of(i, "call_id"), request.call_id);
        assert!(of(i, "id").ends_with(&format!(".{i}")) && of(i, "id").split('.').count() == 4, "{waits:#}");
    }
    assert_eq!(list[2]["line"].as_u64().unwrap(), list[0]["line"].as_u64().unwrap() + 2, "{waits:#}");
    let kill = |id: &str| site.server.try_ctl("kill-wait", json!([id]));
    assert_eq!(kill(&of(0, "id")).unwrap()["killed"], list[0]["id"]);
    eventually("the others still wait", SECOND * 5, || site.waits() == 2);
    assert_eq!(kill(&of(0, "id")).unwrap_err()["code"], -32001);
    // Without the member: all that is left.
    let id = of(0, "id");
    let (all, _) = id.rsplit_once('.').unwrap();
    kill(all).unwrap();
    assert_eq!(client.finish(&request, SECOND * 10).pop().unwrap().reason(), "3 -1, -1, -1 cancelled");
    site.assert_idle();
    eventually("the children are gone", SECOND * 5, || {
        site.server.worker_pids().iter().all(|pid| process::children(*pid).is_empty())
    });
}

#[test]
fn several_for_one_backend_queue_like_others() {
    let db = MariaDb::shared();
    let query = |n: u32| format!("sql_query(\"SELECT SLEEP(0.2), {n}\", \"$avp(s);$avp(n)\");");
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        db_max_async_connections = 1
        route {{
            await_all {{ {} {} {} }}
            sl_send_reply(200, "$rc $(avp(n)[*])");
        }}
        "#,
        query(1),
        query(2),
        query(3),
        db = db.url(),
    );
    let site = site(&["sqlops"], &script);
    let (reason, time) = ask(&site, "x");
    assert_eq!(reason, "0 3, 2, 1");
    assert!(time >= ms(590), "one after the other: {time:?}");
    site.assert_idle();
}

#[test]
fn a_cancelled_call_ends_its_operations() {
    let script = r#"
        async_resume_on_cancel = no
        route {
            if (is_method("CANCEL")) {
                t_relay();
                exit;
            }
            async_all(done) {
                sleep(74);
                sleep(75);
            }
        }
        route[done] { t_relay(); }
    "#;
    let site = site(&["cfgutils", "sipmsgops"], script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    client.expect_status(100, SECOND * 5);
    eventually("both wait", SECOND * 5, || site.waits() == 2);
    client.send_request(&invite.cancel());
    let answer = client.expect("487", SECOND * 10, |m| m.status() == 487);
    client.send_request(&invite.ack(&answer));
    site.assert_idle();
}

#[test]
fn many_that_win_and_lose_leave_nothing_behind() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            if ($rU == "idle") {{
                sl_send_reply(200, "idle");
                exit;
            }}
            await_any {{
                exec("sleep 76; echo $rU", , $var(line));
                sql_query("SELECT SLEEP(76)", "$var(row)");
                sleep(76);
                rest_get("{slow}", $var(body));
            }}
            async_all(show, 30) {{
                exec("echo $rU", , $avp(line));
                rest_get("{now}", $avp(body));
                usleep(20000);
            }}
        }}
        route[show] {{
            sl_send_reply(200, "$rc $(async_rc[*]) $avp(line) $avp(body)");
        }}
        "#,
        db = db.url(),
        slow = web.url("/slow"),
        now = web.url("/now"),
    );
    let site = site(MODULES, &script);
    let round = |count: usize| {
        let clients: Vec<_> = (0..count).map(|_| site.client()).collect();
        for (i, client) in clients.iter().enumerate() {
            client.send_request(&client.request("OPTIONS", &format!("sip:u{i}@127.0.0.1:{}", site.port)));
        }
        for (i, client) in clients.iter().enumerate() {
            let answer = client.expect_status(200, SECOND * 60);
            assert_eq!(answer.reason(), format!("0 1, 1, 1 u{i} now"));
        }
    };
    let worker = site.server.worker_pids()[0];
    let quiet = || {
        eventually("no child is left", SECOND * 20, || process::children(worker).is_empty());
        eventually("no query is left", SECOND * 20, || {
            db.number("SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(76)'") == 0
        });
        eventually("no operation is left", SECOND * 20, || {
            site.server.ctl("transactions", Value::Null).to_string().contains("\"operations\":0")
        });
    };
    assert_eq!(site.show("idle"), "idle");
    let before = process::fd_count(worker);
    for _ in 0..4 {
        round(40);
        quiet();
    }
    // What may stay: a connection to the web server for each request of a round, and those of the database pool.
    eventually("the fds of 1,120 operations are closed", SECOND * 20, || process::fd_count(worker) <= before + 40 + 10);
    site.assert_idle();
}
