//! Registrations on the real server: through several workers, over UDP and TCP, with and without a database.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{SECOND, address, serve, wait_quiet};
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, SipMessage, unique};
use crate::support::sipp::Sipp;
use crate::support::tcp::TcpSip;
use crate::support::{eventually, process};

/// A registrar and proxy in Kamailio's language on UDP and TCP of one port.
fn registrar(port: u16, params: &str) -> String {
    format!(
        r#"#!KAMAILIO
debug=2
overload_age=0
backend_max_failures=0
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "kex.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "db_mysql.so"
loadmodule "db_sqlite.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("registrar", "min_expires", 1)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 0)
modparam("registrar", "received_avp", "$avp(RECEIVED)")
{params}
request_route {{
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "alive");
        exit;
    }}
    if (is_method("REGISTER")) {{
        if ($hdr(X-Received) != $null) {{
            $avp(RECEIVED) = $hdr(X-Received);
            setbflag(6);
        }}
        if ($hdr(X-Nat) != $null) $avp(RECEIVED) = $_s(sip:$si:$sp;transport=$proto);
        save("location");
        xlog("L_NOTICE", "code $rc\n");
        exit;
    }}
    if (has_totag()) {{
        if (!loose_route()) {{
            if (is_method("ACK")) exit;
            sl_send_reply("404", "Not here");
            exit;
        }}
        t_relay();
        exit;
    }}
    record_route();
    if (!lookup("location")) {{
        $var(rc) = $rc;
        sl_send_reply("404", "$var(rc)");
        exit;
    }}
    if (!t_relay()) sl_reply_error();
}}
event_route[usrloc:contact-expired] {{
    xlog("L_NOTICE", "ended: $ulc(exp=>aor) $ulc(exp=>addr)\n");
}}
"#
    )
}

/// A REGISTER for a user, with these header lines.
fn register(client: &SipClient, user: &str, contact: &str, lines: &[&str]) -> Request {
    let mut request = client.request("REGISTER", "sip:example.test");
    request.to = format!("<sip:{user}@example.test>");
    request.from = format!("<sip:{user}@example.test>;tag={}", unique("r"));
    request.contact = contact.to_owned();
    lines.iter().fold(request, |r, line| r.header(line))
}

/// The contacts that a reply tells, without their times.
fn contacts(reply: &SipMessage) -> Vec<String> {
    assert_eq!(reply.status(), 200, "{}", reply.raw);
    let all = reply.all("Contact").join(", ");
    let mut list: Vec<String> = all.split(", ").filter(|c| !c.is_empty()).map(without_time).collect();
    list.sort();
    list
}

fn without_time(contact: &str) -> String {
    let (uri, params) = contact.split_once('>').unwrap();
    let params: Vec<&str> = params.split(';').filter(|p| !p.starts_with("expires=")).collect();
    format!("{uri}>{}", params.join(";"))
}

/// What a user has registered.
fn asked(client: &SipClient, user: &str) -> Vec<String> {
    contacts(&client.ask(&register(client, user, "", &[])))
}

fn replace(server: &Reprise, worker: i32, count: usize) {
    assert!(process::signal(worker, Signal::SIGKILL));
    eventually("it is replaced", SECOND * 10, || {
        let ps = server.ctl("ps", Value::Null);
        let running = |p: &&Value| p["kind"] == "worker" && p["state"] == "running" && p["pid"] != worker;
        ps.as_array().unwrap().iter().filter(running).count() == count
    });
}

fn records(server: &Reprise) -> u64 {
    server.ctl("ul.dump", json!(["brief"]))["Domains"][0]["Domain"]["Stats"]["Records"].as_u64().unwrap()
}

#[test]
fn two_thousand_users_register_over_udp_and_tcp_and_are_called() {
    let (server, port) = serve(|port| registrar(port, ""), &["-n", "3"]);
    let udp = Sipp::uas("uas-invite", &["-t", "u1"]);
    let tcp = Sipp::uas("uas-invite", &["-t", "t1"]);
    for (prefix, transport, contact) in
        [("u", "u1", udp.addr.to_string()), ("t", "t1", format!("{};transport=tcp", tcp.addr))]
    {
        let scenario = format!("uac-register prefix={prefix} contact={contact}");
        Sipp::uac(&scenario, address(port), 1000, 250, &["-t", transport]).wait(SECOND * 120).assert_all(1000);
    }
    assert_eq!(records(&server), 2000);
    for (prefix, transport) in [("u", "u1"), ("t", "u1")] {
        let scenario = format!("uac-user prefix={prefix}");
        Sipp::uac(&scenario, address(port), 1000, 100, &["-t", transport]).wait(SECOND * 120).assert_all(1000);
    }
    udp.stop().assert_all(1000);
    tcp.stop().assert_all(1000);
    wait_quiet(&server, SECOND * 60);
}

#[test]
fn a_user_behind_a_connection_is_called_over_it_whichever_worker_has_it() {
    let (server, port) = serve(|port| registrar(port, ""), &["-n", "3"]);
    let caller = SipClient::new(port);
    for n in 0..12 {
        let phone = TcpSip::new(port);
        let mut request = phone.request("REGISTER", "sip:example.test");
        request.to = format!("<sip:tcp{n}@example.test>");
        // What it has behind its NAT leads nowhere.
        request.contact = format!("<sip:tcp{n}@10.255.255.1:5060;transport=tcp>");
        let reply = phone.ask(&request.header("X-Nat: 1"));
        assert_eq!(reply.status(), 200, "{}", reply.raw);
        let call = caller.request("MESSAGE", &format!("sip:tcp{n}@example.test"));
        caller.send_request(&call);
        let message = phone.expect(SECOND * 10);
        assert_eq!(message.method(), "MESSAGE", "{}", message.raw);
        phone.send(crate::support::sip::response(&message, 200, "OK", "x", &[], ""));
        let answer = caller.expect("the answer", SECOND * 10, |m| m.call_id() == call.call_id && m.status() >= 200);
        assert_eq!(answer.status(), 200);
    }
    drop(server);
}

#[test]
fn a_workers_death_loses_no_contact() {
    let (mut server, port) = serve(|port| registrar(port, "modparam(\"usrloc\", \"timer_interval\", 1)"), &["-n", "3"]);
    let client = SipClient::new(port);
    for n in 0..30 {
        let contact = format!("<sip:u{n}@192.0.2.{n}>");
        assert_eq!(client.ask(&register(&client, &format!("u{n}"), &contact, &[])).status(), 200);
    }
    for worker in server.worker_pids() {
        replace(&server, worker, 3);
        for n in 0..30 {
            assert_eq!(asked(&client, &format!("u{n}")), [format!("<sip:u{n}@192.0.2.{n}>")]);
        }
    }
    // The look for contacts that have ended goes on, whoever it belonged to.
    let short = register(&client, "short", "<sip:short@192.0.2.99>;expires=1", &[]);
    assert_eq!(client.ask(&short).status(), 200);
    server.wait_log("ended: short sip:short@192.0.2.99", SECOND * 20);
    assert_eq!(records(&server), 30);
    assert_eq!(server.log_count("ended: "), 1);
    assert_eq!(server.term(), 0);
}

/// The table as Kamailio's package makes it.
fn table(db: &MariaDb) -> String {
    let name = db.fresh_database();
    let file = schema("mysql/usrloc-create.sql");
    let version =
        "CREATE TABLE version (id INT AUTO_INCREMENT PRIMARY KEY, table_name VARCHAR(32), table_version INT);";
    db.sql(&format!("USE {name}; {version} {}", std::fs::read_to_string(file).unwrap()));
    name
}

/// A file of Kamailio's package.
fn schema(name: &str) -> PathBuf {
    let file = Path::new("/usr/share/kamailio").join(name);
    assert!(file.exists(), "tests/install-parts installs Kamailio: there is no {}", file.display());
    file
}

fn with_database(mode: u32, url: &str) -> String {
    format!(
        "modparam(\"usrloc\", \"db_mode\", {mode})\nmodparam(\"usrloc\", \"db_url\", \"{url}\")\n\
         modparam(\"usrloc\", \"timer_interval\", 1)"
    )
}

/// Contacts with everything that a binding can have; what the registrar tells about them.
fn fill(client: &SipClient) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for n in 0..20 {
        let user = format!("user{n}");
        let (contact, lines): (String, &[&str]) = match n % 5 {
            0 => (format!("<sip:{user}@192.0.2.1:5070;transport=tcp>;q=0.5"), &[]),
            1 => (
                format!("<sip:{user}@192.0.2.1>, <sip:{user}@192.0.2.2>;q=0.12"),
                &["Path: <sip:192.0.2.7;lr>, <sip:edge;lr>"],
            ),
            2 => (format!("<sip:{user}@192.0.2.1>;+sip.instance=\"<urn:uuid:{n}>\""), &["User-Agent: a 'phone' \"5\""]),
            3 => (format!("<sip:{user}@192.0.2.1>;methods=\"INVITE,BYE\""), &["X-Received: sip:192.0.2.9:5555"]),
            _ => (format!("\"Name\" <sip:{user}%20x@192.0.2.1?Subject=x>;expires=1000"), &[]),
        };
        let reply = client.ask(&register(client, &user, &contact, lines));
        all.push((user, contacts(&reply)));
    }
    all
}

fn survives_restart(mode: u32, url: &str, in_database: &dyn Fn() -> usize) {
    let config = |port: u16| registrar(port, &with_database(mode, url));
    let all = {
        let (mut server, port) = serve(config, &["-n", "2"]);
        let client = SipClient::new(port);
        let all = fill(&client);
        assert_eq!(all.len(), 20);
        // Refreshed and removed ones.
        let again = client.ask(&register(&client, "user0", "<sip:user0@192.0.2.1:5070;transport=tcp>;q=0.7", &[]));
        assert_eq!(contacts(&again), ["<sip:user0@192.0.2.1:5070;transport=tcp>;q=0.7"]);
        let gone = client.ask(&register(&client, "user4", "*", &["Expires: 0"]));
        assert_eq!(contacts(&gone), Vec::<String>::new());
        assert_eq!(server.term(), 0);
        all
    };
    assert_eq!(in_database(), 23, "twenty users, four of them with two contacts, one without");
    let (mut server, port) = serve(config, &["-n", "2"]);
    let client = SipClient::new(port);
    for (user, had) in &all {
        let has = asked(&client, user);
        match user.as_str() {
            "user0" => assert_eq!(has, ["<sip:user0@192.0.2.1:5070;transport=tcp>;q=0.7"]),
            "user4" => assert_eq!(has, Vec::<String>::new()),
            _ => assert_eq!(has, *had, "{user}"),
        }
    }
    // They are used, too.
    let call = client.request("MESSAGE", "sip:user4@example.test");
    assert_eq!(client.ask(&call).status(), 404);
    assert_eq!(server.term(), 0);
}

#[test]
fn contacts_survive_a_restart_with_each_way_to_keep_them() {
    let db = MariaDb::shared();
    for mode in [1, 2, 3] {
        let name = table(db);
        let count = || db.number(&format!("SELECT COUNT(*) FROM {name}.location"));
        survives_restart(mode, &db.url_for(NATIVE, &name), &count);
        // Rows are as Kamailio writes them.
        let row = db.sql(&format!(
            "SELECT username, domain, contact, received, path, q, cseq, flags, cflags, user_agent, socket LIKE 'udp:127.0.0.1:%', \
             methods, instance, reg_id FROM {name}.location WHERE username IN ('user2', 'user3') ORDER BY username"
        ));
        assert_eq!(
            row,
            "user2\tNULL\tsip:user2@192.0.2.1\tNULL\tNULL\t-1.00\t1\t0\t0\ta 'phone' \"5\"\t1\tNULL\t<urn:uuid:2>\t0\n\
             user3\tNULL\tsip:user3@192.0.2.1\tsip:192.0.2.9:5555\tNULL\t-1.00\t1\t0\t64\tn/a\t1\t9\tNULL\t0"
        );
    }
}

#[test]
fn contacts_survive_a_restart_in_sqlite() {
    let dir = process::directory("sqlite");
    for mode in [1, 3] {
        let file = dir.path().join(format!("location{mode}.db"));
        let db = rusqlite::Connection::open(&file).unwrap();
        db.execute_batch(
            "CREATE TABLE location (id INTEGER PRIMARY KEY, ruid VARCHAR(64) DEFAULT '' NOT NULL UNIQUE, username TEXT, \
             domain TEXT, contact TEXT, received TEXT, path TEXT, expires TIMESTAMP, q FLOAT, callid TEXT, cseq INTEGER, \
             last_modified TIMESTAMP, flags INTEGER, cflags INTEGER, user_agent TEXT, socket TEXT, methods INTEGER, \
             instance TEXT, reg_id INTEGER)",
        )
        .unwrap();
        let count = || db.query_row("SELECT COUNT(*) FROM location", [], |r| r.get::<_, i64>(0)).unwrap() as usize;
        survives_restart(mode, &format!("sqlite:///{}", file.display()), &count);
    }
}

#[test]
fn rows_that_are_no_contacts_are_left_out_and_the_others_are_served() {
    let db = MariaDb::shared();
    let name = table(db);
    db.sql(&format!(
        "USE {name}; SET sql_mode=''; \
         INSERT INTO location (ruid, username, contact, expires) VALUES \
         ('ok', 'bob', 'sip:bob@192.0.2.1', NOW() + INTERVAL 1 HOUR), \
         ('old', 'bob', 'sip:old@192.0.2.1', NOW() - INTERVAL 1 HOUR), \
         ('', 'eve', 'sip:eve@192.0.2.1', NOW() + INTERVAL 1 HOUR), \
         ('empty', '', 'sip:x@192.0.2.1', NOW() + INTERVAL 1 HOUR), \
         ('bad', 'bob', 'no uri', NOW() + INTERVAL 1 HOUR), \
         ('none', 'bob', '', NOW() + INTERVAL 1 HOUR); \
         ALTER TABLE location MODIFY contact VARCHAR(512) NULL, MODIFY cseq INT NULL, MODIFY callid VARCHAR(255) NULL, \
         MODIFY q FLOAT NULL, MODIFY flags INT NULL, MODIFY cflags INT NULL, MODIFY user_agent VARCHAR(255) NULL, \
         MODIFY expires DATETIME NULL, MODIFY last_modified DATETIME NULL; \
         INSERT INTO location (ruid, username, contact, expires, cseq, callid, q, flags, cflags, user_agent, last_modified) \
         VALUES ('n1', 'nul', 'sip:nul@192.0.2.1', NOW() + INTERVAL 1 HOUR, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
         ('n2', 'nul', NULL, NOW() + INTERVAL 1 HOUR, 1, 'c', 1, 0, 0, 'u', NOW()), \
         ('n3', 'nul', 'sip:nul@192.0.2.2', NULL, 1, 'c', 1, 0, 0, 'u', NOW());"
    ));
    for mode in [2, 3] {
        let url = db.url_for(NATIVE, &name);
        let (mut server, port) = serve(|port| registrar(port, &with_database(mode, &url)), &["-n", "2"]);
        let client = SipClient::new(port);
        // The table's own q is 1.
        assert_eq!(asked(&client, "bob"), ["<sip:bob@192.0.2.1>;q=1"], "mode {mode}");
        assert_eq!(asked(&client, "eve"), ["<sip:eve@192.0.2.1>;q=1"]);
        assert_eq!(asked(&client, "nul"), ["<sip:nul@192.0.2.1>"]);
        if mode == 2 {
            server.wait_log("table location: 3 contacts loaded|rows are no contacts and were left out", SECOND);
            // The one without a name got one.
            eventually("its row has a name", SECOND * 20, || {
                db.number(&format!("SELECT COUNT(*) FROM {name}.location WHERE username = 'eve' AND ruid <> ''")) == 1
            });
        }
        assert_eq!(server.term(), 0);
    }
    assert_eq!(db.number(&format!("SELECT COUNT(*) FROM {name}.location WHERE username = 'eve'")), 1);
}

#[test]
fn a_database_that_is_down_costs_who_needs_it_an_answer_and_nobody_else() {
    for mode in [1, 3] {
        let db = MariaDb::start();
        let name = table(&db);
        let url = db.url_for(NATIVE, &name);
        let (mut server, port) = serve(|port| registrar(port, &with_database(mode, &url)), &["-n", "2"]);
        let client = SipClient::new(port);
        assert_eq!(client.ask(&register(&client, "bob", "<sip:bob@192.0.2.1>", &[])).status(), 200);
        db.pause();
        let waiting = register(&client, "bob", "<sip:bob@192.0.2.2>", &[]);
        client.send_request(&waiting);
        for _ in 0..20 {
            assert_eq!(client.options("sip:example.test").status(), 200, "others are served");
        }
        db.resume();
        let late = client.expect("the reply", SECOND * 20, |m| m.call_id() == waiting.call_id);
        assert_eq!(late.status(), 200);
        db.stop();
        let refused = client.ask(&register(&client, "bob", "<sip:bob@192.0.2.3>", &[]));
        assert_eq!(refused.status(), 500, "{}", refused.raw);
        server.wait_log("code -1", SECOND * 5);
        assert_eq!(client.options("sip:example.test").status(), 200);
        if mode == 1 {
            assert_eq!(asked(&client, "bob"), ["<sip:bob@192.0.2.1>", "<sip:bob@192.0.2.2>"]);
        }
        db.restart();
        eventually("it works again", SECOND * 30, || {
            client.ask(&register(&client, "bob", "<sip:bob@192.0.2.4>", &[])).status() == 200
        });
        assert_eq!(asked(&client, "bob"), [1, 2, 4].map(|n| format!("<sip:bob@192.0.2.{n}>")));
        let has =
            |n: u32| db.number(&format!("SELECT COUNT(*) FROM {name}.location WHERE contact LIKE '%192.0.2.{n}'"));
        eventually("the database says the same", SECOND * 20, || [1, 2, 3, 4].map(has) == [1, 1, 0, 1]);
        assert_eq!(server.term(), 0);
    }
}

#[test]
fn rows_go_with_their_contacts() {
    let db = MariaDb::shared();
    for mode in [1, 2, 3] {
        let name = table(db);
        let url = db.url_for(NATIVE, &name);
        let (mut server, port) = serve(|port| registrar(port, &with_database(mode, &url)), &["-n", "2"]);
        let client = SipClient::new(port);
        for n in 0..10 {
            let user = format!("u{n}");
            let expires = if n < 5 { 3 } else { 600 };
            let contact = format!("<sip:{user}@192.0.2.1>;expires={expires}");
            assert_eq!(client.ask(&register(&client, &user, &contact, &[])).status(), 200);
        }
        eventually("five have ended", SECOND * 30, || server.log_count("ended: u[0-4] sip:u") == 5);
        eventually("their rows are gone", SECOND * 20, || {
            db.sql(&format!("SELECT username FROM {name}.location ORDER BY username")) == "u5\nu6\nu7\nu8\nu9"
        });
        assert_eq!(server.term(), 0);
        assert_eq!(server.log_count("ended: "), 5, "each is told of once (mode {mode})");
    }
}

#[test]
fn contacts_are_seen_and_changed_through_the_control_socket() {
    let (mut server, port) = serve(|port| registrar(port, "modparam(\"usrloc\", \"use_domain\", 1)"), &["-n", "2"]);
    let client = SipClient::new(port);
    let contact = "<sip:bob@192.0.2.1>;q=0.5;expires=600";
    assert_eq!(client.ask(&register(&client, "bob", contact, &["User-Agent: phone"])).status(), 200);
    let found = server.ctl("ul.lookup", json!(["location", "bob@example.test"]));
    let shown = &found["Contacts"][0]["Contact"];
    assert_eq!(
        (&shown["Address"], &shown["Q"], &shown["User-Agent"]),
        (&json!("sip:bob@192.0.2.1"), &json!(0.5), &json!("phone"))
    );
    let none = server.try_ctl("ul.lookup", json!(["location", "eve@example.test"])).unwrap_err();
    assert_eq!(none["code"], 404);
    server.ctl("ul.add", json!(["location", "eve@example.test", "sip:eve@192.0.2.5", 0, 1.0, "", 0, 0, 0]));
    assert_eq!(asked(&client, "eve"), ["<sip:eve@192.0.2.5>;q=1"]);
    assert_eq!(records(&server), 2);
    let dump = server.ctl("ul.dump", Value::Null);
    assert_eq!(dump["Domains"][0]["Domain"]["AoRs"].as_array().unwrap().len(), 2);
    server.ctl("ul.rm_contact", json!(["location", "eve@example.test", "sip:eve@192.0.2.5"]));
    assert_eq!(server.try_ctl("ul.rm", json!(["location", "eve@example.test"])).unwrap_err()["code"], 404);
    server.ctl("ul.rm", json!(["location", "bob@example.test"]));
    server.ctl("ul.flush", Value::Null);
    assert_eq!(records(&server), 0);
    assert_eq!(server.term(), 0);
}
