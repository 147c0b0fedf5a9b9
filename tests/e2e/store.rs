//! What all processes share: seen by every worker, kept when one dies, gone with the server.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{SECOND, listening, serve};
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, process};

fn counting(port: u16) -> String {
    let rest = r#"
modparam("cfgutils", "shvset", "n=i:1000")
modparam("cfgutils", "shvset", "word=s:first")
route {
    if ($rU == "up") {
        get_dynamic_lock("n");
        $shv(n) = $shv(n) + 1;
        release_dynamic_lock("n");
    } else if ($rU == "word") {
        $shv(word) = $hdr(X-Word);
    }
    sl_send_reply(200, "$shv(n) $shv(word) $shv(never)");
}
"#;
    listening(port, "", rest)
}

/// The store's directory, by the name of main.
fn home(server: &Reprise) -> Vec<std::path::PathBuf> {
    let ours = format!("reprise-store-{}-", server.pid);
    let all = fs::read_dir("/dev/shm").unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&ours)).collect()
}

/// Kills one of `count` workers and waits until main says that all are running again.
fn replace(server: &Reprise, worker: i32, count: usize) {
    assert!(process::signal(worker, Signal::SIGKILL));
    eventually("it is replaced", SECOND * 10, || {
        let ps = server.ctl("ps", Value::Null);
        let running = |p: &&Value| p["kind"] == "worker" && p["state"] == "running" && p["pid"] != worker;
        ps.as_array().unwrap().iter().filter(running).count() == count
    });
}

#[test]
fn what_one_worker_sets_the_others_see_and_its_death_loses_nothing() {
    let (mut server, port) = serve(counting, &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_owned();
    assert_eq!(ask("look"), "1000 first 0");
    for n in 1..=60 {
        assert_eq!(ask("up"), format!("{} first 0", 1000 + n), "whichever worker is asked");
    }
    let set = client.request("OPTIONS", "sip:word@example.test").header("X-Word: second");
    assert_eq!(client.ask(&set).reason(), "1060 second 0");
    let workers = server.worker_pids();
    assert_eq!(workers.len(), 3);
    for (n, worker) in workers.iter().enumerate() {
        replace(&server, *worker, 3);
        for _ in 0..10 {
            assert_eq!(ask("look"), format!("{} second 0", 1060 + n));
        }
        assert_eq!(ask("up"), format!("{} second 0", 1061 + n));
    }
    let dir = home(&server);
    assert_eq!(dir.len(), 1);
    assert_eq!(server.term(), 0);
    assert!(!dir[0].exists());
}

/// In Kamailio's language.
fn kamailio(port: u16, rest: &str) -> String {
    let modules: String = ["sl", "tm", "pv", "xlog", "textops", "siputils", "htable"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    format!("#!KAMAILIO\ndebug=3\noverload_age=0\nlisten=udp:127.0.0.1:{port}\n{modules}{rest}")
}

#[test]
fn a_table_is_one_for_all_workers_and_for_the_control_socket() {
    let config = |port| {
        let rest = r#"
modparam("htable", "htable", "hits=>size=4;initval=0")
modparam("htable", "htable", "words=>size=4;autoexpire=300")
modparam("htable", "htable", "gone=>autoexpire=1")
modparam("htable", "timer_interval", 1)
request_route {
    if ($rU == "hit") {
        sht_inc("hits", "all");
        sht_inc("hits", "$ci");
    }
    if ($rU == "end") $sht(gone=>$ci) = "x";
    sl_send_reply("200", "$sht(hits=>all) $shtcn(hits=>**) $sht(words=>w) $shtcn(gone=>**)");
}
event_route[htable:expired:gone] {
    xlog("L_NOTICE", "ended: $shtrecord(value)\n");
}
"#;
        kamailio(port, rest)
    };
    let (server, port) = serve(config, &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_owned();
    for _ in 0..40 {
        client.send_request(&client.request("OPTIONS", "sip:hit@example.test"));
    }
    for _ in 0..40 {
        client.expect_status(200, SECOND * 20);
    }
    assert_eq!(ask("look"), "40 41 <null> 0", "no increment is lost");

    assert_eq!(server.ctl("htable.sets", json!(["words", "w", "told"])), json!("OK"));
    assert_eq!(ask("look"), "40 41 told 0");
    assert_eq!(server.ctl("htable.get", json!(["hits", "all"]))["item"]["value"], 40);
    assert_eq!(server.ctl("htable.seti", json!(["hits", "all", 7])), json!("OK"));
    assert_eq!(server.ctl("htable.delete", json!(["words", "w"])), json!("OK"));
    assert_eq!(ask("look"), "7 41 <null> 0");
    let dump = server.ctl("htable.dump", json!(["hits"]));
    assert_eq!(dump[0]["slot"].as_array().unwrap().len(), 41);
    assert_eq!(server.ctl("htable.flush", json!(["hits"])), json!("OK"));
    assert_eq!(server.ctl("htable.dump", json!(["hits"])), json!([]));
    let names: Vec<Value> =
        server.ctl("htable.listTables", Value::Null).as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["hits", "words", "gone"]);
    assert!(server.try_ctl("htable.get", json!(["none", "x"])).is_err());
    assert!(server.try_ctl("htable.get", json!(["words", "x"])).is_err());

    // Whoever looks for what has ended, it is one worker, and it hears of each once.
    for _ in 0..30 {
        assert!(ask("end").starts_with("0 "), "an answer");
    }
    eventually("all have ended", SECOND * 20, || server.log_count("ended: x") == 30 && ask("look").ends_with(" 0"));
}

/// Queues whose consumers are an event route and a timer's route.
fn queueing(port: u16) -> String {
    let rest = r#"
loadmodule "mqueue.so"
loadmodule "rtimer.so"
modparam("mqueue", "mqueue", "name=woken")
modparam("mqueue", "mqueue", "name=timed")
modparam("mqueue", "mqueue", "name=kept")
modparam("htable", "htable", "got=>size=8;initval=0")
modparam("rtimer", "timer", "name=t;interval=10000u;mode=3;")
modparam("rtimer", "exec", "timer=t;route=DEQUEUE")
request_route {
    if ($rU == "add") {
        mq_add("woken", "$ci", "w");
        mq_add("timed", "$ci", "t");
        mq_add("kept", "$ci", "k");
    }
    sl_send_reply("200", "OK");
}
event_route[mqueue:woken] {
    while (mq_fetch("woken")) {
        sht_inc("got", "w:$mqk(woken)");
        xlog("L_NOTICE", "woken by one\n");
    }
}
route[DEQUEUE] {
    while (mq_fetch("timed")) {
        sht_inc("got", "t:$mqk(timed)");
        xlog("L_NOTICE", "timed by job $rtimer_worker\n");
    }
}
"#;
    kamailio(port, rest)
}

#[test]
fn each_pair_of_a_queue_is_taken_once_whoever_adds_and_whoever_takes() {
    let (server, port) = serve(queueing, &["-n", "3"]);
    let client = SipClient::new(port);
    let add = |count: usize| {
        for _ in 0..count {
            client.send_request(&client.request("OPTIONS", "sip:add@example.test"));
        }
        for _ in 0..count {
            client.expect_status(200, SECOND * 20);
        }
    };
    let size = |queue: &str| server.ctl("mqueue.get_size", json!([queue]))["size"].as_u64().unwrap();
    add(50);
    eventually("all are taken", SECOND * 20, || {
        size("woken") == 0
            && size("timed") == 0
            && server.log_count("woken by one") == 50
            && server.log_count("timed by job") == 50
    });
    let taken = |server: &Reprise| -> Vec<(String, i64)> {
        let dump = server.ctl("htable.dump", json!(["got"]));
        let rows = dump[0]["slot"].as_array().unwrap().clone();
        rows.iter().map(|r| (r["name"].as_str().unwrap().to_owned(), r["value"].as_i64().unwrap())).collect()
    };
    let all = taken(&server);
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|(_, times)| *times == 1), "{all:?}");
    // The death of any worker loses no pair that was not taken.
    assert_eq!(size("kept"), 50);
    for worker in server.worker_pids() {
        replace(&server, worker, 3);
    }
    assert_eq!(size("kept"), 50);
    let first = server.ctl("mqueue.fetch", json!(["kept"]));
    assert_eq!(first["value"], "k");
    assert_eq!(size("kept"), 49);
    eventually("the workers serve again", SECOND * 20, || {
        client.send_request(&client.request("OPTIONS", "sip:look@example.test"));
        client.recv(SECOND).is_some_and(|m| m.status() == 200)
    });
    add(20);
    eventually("they are taken too", SECOND * 20, || {
        let all = taken(&server);
        all.len() == 140 && all.iter().all(|(_, times)| *times == 1)
    });
    assert!(server.try_ctl("mqueue.fetch", json!(["woken"])).is_err());
}

#[test]
fn a_table_begins_with_what_its_database_holds() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    let dir = process::directory("tables");
    let file = dir.path().join("tables.db");
    let rows = "CREATE TABLE htable (id INTEGER PRIMARY KEY, key_name VARCHAR(64), key_type INT, value_type INT,
                    key_value VARCHAR(128), expires INT);
                INSERT INTO htable VALUES (1, 'text', 0, 0, 'hello', 0), (2, 'number', 0, 1, '41', 0),
                    (3, 'list', 1, 0, 'first', 0), (4, 'list', 1, 0, 'second', 0), (5, 'over', 0, 0, 'x', 1000);
                CREATE TABLE own (k VARCHAR(64), v VARCHAR(64));
                INSERT INTO own VALUES ('a', 'b');";
    maria.sql(&format!("USE {name}; {rows}"));
    rusqlite::Connection::open(&file).unwrap().execute_batch(rows).unwrap();
    let of = |url: String| {
        move |port| {
            let rest = format!(
                r#"
loadmodule "db_mysql.so"
loadmodule "db_sqlite.so"
modparam("htable", "db_url", "{url}")
modparam("htable", "db_expires", 1)
modparam("htable", "htable", "t=>size=4;dbtable=htable")
modparam("htable", "htable", "own=>dbtable=own;cols='k,v'")
event_route[core:worker-one-init] {{
    $sht(t=>number) = $sht(t=>number) + 1;
}}
request_route {{
    sl_send_reply("200", "$sht(t=>text) $sht(t=>number) $sht(t=>list[1]) $sht(t=>list::size) $sht(t=>over) $sht(own=>a)");
}}
"#
            );
            kamailio(port, &rest)
        }
    };
    let urls = [maria.url_for(NATIVE, &name), format!("sqlite://{}", file.display())];
    for url in urls {
        let (server, port) = serve(of(url.clone()), &["-n", "2"]);
        let client = SipClient::new(port);
        for _ in 0..4 {
            let answer = client.options("sip:look@example.test");
            assert_eq!(answer.reason(), "hello 42 second 2 <null> b", "{url}");
        }
        assert_eq!(server.log_count("table t: 5 rows loaded"), 1, "{url}");
        // A worker that is replaced does not begin anew.
        let ps = server.ctl("ps", Value::Null);
        let first = ps.as_array().unwrap().iter().find(|p| p["kind"] == "worker").unwrap()["pid"].as_i64().unwrap();
        replace(&server, first as i32, 2);
        assert_eq!(server.ctl("htable.get", json!(["t", "number"]))["item"]["value"], 42);
    }
    let port = crate::support::free_port();
    let wrong = of(maria.url_for(NATIVE, "no_such_database"))(port);
    let ended = Reprise::try_start(&wrong, &["-n", "2"]).err().expect("it does not start");
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("htable: table `t` cannot be loaded"), "{}", ended.stderr);
}

#[test]
fn tables_are_loaded_again_and_written_back() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    maria.sql(&format!(
        "USE {name}; CREATE TABLE keep (id INTEGER PRIMARY KEY AUTO_INCREMENT, key_name VARCHAR(64), key_type INT,
             value_type INT, key_value VARCHAR(128), expires INT);
         INSERT INTO keep (key_name, key_type, value_type, key_value, expires) VALUES ('old', 0, 0, 'x', 0);
         CREATE TABLE many (k VARCHAR(64), v VARCHAR(64), w VARCHAR(64), x INT);
         INSERT INTO many VALUES ('a', '1', NULL, 3), ('b', 'q', 'r', NULL);
         CREATE TABLE gw (k VARCHAR(64), v VARCHAR(64)); INSERT INTO gw VALUES ('one', 'first'), ('two', 'second')"
    ));
    let url = maria.url_for(NATIVE, &name);
    let config = |port| {
        let rest = format!(
            r#"
loadmodule "db_mysql.so"
modparam("htable", "db_url", "{url}")
modparam("htable", "db_expires", 1)
modparam("htable", "htable", "keep=>dbtable=keep;dbmode=1")
modparam("htable", "htable", "many=>dbtable=many;cols='k,v,w,x';coldelim='|';colnull='-'")
modparam("htable", "htable", "gw=>dbtable=gw;cols='k,v';reloadat=1")
event_route[htable:mod-init] {{
    $sht(keep=>begun) = "at the start";
    $sht(keep=>old) = $null;
}}
event_route[htable:reloaded:gw] {{ $shv(reloads) = $shv(reloads) + 1; }}
request_route {{
    $var(rc) = 0;
    if ($rU == "reload") $var(rc) = sht_reload("many");
    if ($rU == "none") $var(rc) = sht_reload("nothing");
    if ($rU == "set") {{
        $sht(keep=>n) = $sht(keep=>n) + 7;
        $sht(keep=>t) = "it's";
    }}
    sl_send_reply("200", "$var(rc) $sht(many=>a) $sht(many=>b) $sht(gw=>one) $sht(gw=>two) $sht(keep=>n) $sht(keep=>begun)");
}}
"#
        );
        kamailio(port, &rest)
    };
    let (mut server, port) = serve(config, &["-n", "2"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_owned();
    assert_eq!(ask("look"), "0 1|-|3 q|r|- first second <null> at the start");
    maria.sql(&format!("USE {name}; UPDATE many SET v = '2' WHERE k = 'a'; DELETE FROM many WHERE k = 'b'"));
    assert_eq!(ask("none"), "-1 1|-|3 q|r|- first second <null> at the start");
    assert_eq!(ask("reload"), "1 2|-|3 <null> first second <null> at the start");
    maria.sql(&format!("USE {name}; UPDATE many SET v = '5' WHERE k = 'a'"));
    assert_eq!(server.ctl("htable.reload", json!(["many"])), "OK");
    eventually("ctl has it loaded", SECOND * 20, || ask("look").starts_with("0 5|-|3 "));
    assert!(server.try_ctl("htable.reload", json!(["nothing"])).is_err());
    maria.sql(&format!("USE {name}; UPDATE gw SET v = 'third' WHERE k = 'one'; DELETE FROM gw WHERE k = 'two'"));
    eventually("it is loaded from time to time", SECOND * 20, || ask("look").contains(" third <null> "));
    eventually("the event is raised", SECOND * 20, || {
        server.ctl("pv.shvGet", json!(["reloads"]))["value"].as_i64().is_some_and(|n| n > 0)
    });
    ask("set");
    assert_eq!(server.term(), 0);
    let kept = maria.sql(&format!("USE {name}; SELECT key_name, value_type, key_value FROM keep ORDER BY key_name"));
    let lines: Vec<&str> = kept.lines().map(str::trim).filter(|l| !l.starts_with("key_name")).collect();
    assert_eq!(lines, ["begun\t0\tat the start", "n\t1\t7", "t\t0\tit's"], "{}", server.log());
    // What was written is what the next one begins with.
    let (mut server, port) = serve(config, &["-n", "2"]);
    let client = SipClient::new(port);
    client.options("sip:set@example.test");
    assert_eq!(server.ctl("htable.get", json!(["keep", "n"]))["item"]["value"], 14);
    assert_eq!(server.ctl("htable.store", json!(["keep"])), "OK");
    eventually("ctl has it written", SECOND * 20, || {
        maria.number(&format!("SELECT key_value FROM {name}.keep WHERE key_name = 'n'")) == 14
    });
    assert_eq!(server.term(), 0);
}

/// The connection is killed in the middle of writing a table back: the database holds all rows of before.
#[test]
fn a_table_is_written_back_as_a_whole_or_not_at_all() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    // The row `slow` takes its time, behind the rows of before it.
    maria.sql(&format!(
        "USE {name}; CREATE TABLE keep (id INTEGER PRIMARY KEY AUTO_INCREMENT, key_name VARCHAR(64), key_type INT,
             value_type INT, key_value VARCHAR(128), expires INT) ENGINE=InnoDB;
         INSERT INTO keep (key_name, key_type, value_type, key_value, expires) VALUES ('a', 0, 0, 'old', 0), ('b', 0, 0, 'old', 0);
         CREATE TRIGGER waits BEFORE INSERT ON keep FOR EACH ROW
             SET NEW.expires = IF(NEW.key_name = 'slow', SLEEP(60), NEW.expires)"
    ));
    let url = maria.url_for(NATIVE, &name);
    let config = |port| {
        kamailio(
            port,
            &format!(
                r#"
loadmodule "db_mysql.so"
modparam("htable", "db_url", "{url}")
modparam("htable", "htable", "keep=>dbtable=keep;dbmode=1")
request_route {{
    $sht(keep=>a) = "new";
    $sht(keep=>c) = "new";
    if ($rU == "slow") $sht(keep=>slow) = "new";
    if ($rU == "quick") $sht(keep=>slow) = $null;
    sl_send_reply("200", "$sht(keep=>b)");
}}
"#
            ),
        )
    };
    let (server, port) = serve(config, &["-n", "2"]);
    let client = SipClient::new(port);
    assert_eq!(client.options("sip:slow@example.test").reason(), "old");
    assert_eq!(server.ctl("htable.store", json!(["keep"])), "OK");
    let busy = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}' AND info LIKE 'INSERT%'");
    let rows = || {
        maria.sql(&format!(
            "USE {name}; SELECT GROUP_CONCAT(CONCAT(key_name, '=', key_value) ORDER BY key_name) FROM keep"
        ))
    };
    // It is sent twice again.
    for _ in 0..3 {
        let mut id = String::new();
        eventually("it is in the middle", SECOND * 30, || {
            id = maria.sql(&busy).lines().last().unwrap_or_default().trim().to_owned();
            id.parse::<u64>().is_ok()
        });
        assert!(rows().contains("a=old,b=old"), "others see the rows of before: {}", rows());
        maria.sql(&format!("KILL {id}"));
        eventually("it has ended", SECOND * 30, || !maria.sql(&busy).lines().any(|l| l.trim() == id));
    }
    server.wait_log("table keep was not written", SECOND * 30);
    assert!(rows().contains("a=old,b=old"), "nothing of it is there: {}", rows());
    // Without a mishap all of it is.
    client.options("sip:quick@example.test");
    assert_eq!(server.ctl("htable.store", json!(["keep"])), "OK");
    eventually("it is written", SECOND * 30, || rows().contains("a=new,b=old,c=new"));
}

#[test]
fn more_than_an_answer_holds_is_an_error_for_who_asks_and_for_nobody_else() {
    let config = |port| {
        let rest = r#"
modparam("htable", "htable", "large=>size=8")
request_route {
    sl_send_reply("200", "OK");
}
"#;
        kamailio(port, rest)
    };
    let (server, port) = serve(config, &["-n", "1"]);
    let workers = server.worker_pids();
    let value = "x".repeat(60_000);
    for n in 0..300 {
        assert_eq!(server.ctl("htable.sets", json!(["large", format!("k{n}"), value])), json!("OK"));
    }
    for _ in 0..3 {
        let error = server.try_ctl("htable.dump", json!(["large"])).expect_err("18 MB");
        assert!(error.to_string().contains("the answer is more than 16 MiB"), "{error}");
    }
    assert_eq!(server.ctl("htable.get", json!(["large", "k299"]))["item"]["value"], value);
    assert_eq!(SipClient::new(port).options("sip:look@example.test").status(), 200);
    assert_eq!(server.worker_pids(), workers, "nobody has died of it");
}
