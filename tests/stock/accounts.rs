//! Accounts at others' registrars that no peer can show: the death of workers, SQLite, orders while it runs, and OpenSIPS's
//! modules.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::SECOND;
use crate::phone::{Over, Phone};
use crate::registrant::registrar;
use crate::schema::Tables;
use crate::server::Kind;
use crate::support::reprise::{Reprise, run};
use crate::support::sip::{SipClient, SipMessage, uri_in};
use crate::support::uas::{Answer, Uas};
use crate::support::{eventually, free_port, process};

/// A registrar that keeps what it is told for `seconds`; without an Authorization it asks for one if `asks`.
fn keeper(seconds: u32, asks: bool) -> Uas {
    Uas::start(move |request| {
        if request.method() != "REGISTER" {
            return vec![Answer::new(404, "Not Found")];
        }
        if asks && request.header("Authorization").is_none() {
            let line = "WWW-Authenticate: Digest realm=\"keeper\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
            return vec![Answer::new(401, "Unauthorized").header(line)];
        }
        let contact = request.header("Contact").unwrap_or_default();
        match request.header("Expires") {
            Some("0") => vec![Answer::new(200, "OK")],
            _ => vec![Answer::new(200, "OK").header(&format!("Contact: {contact};expires={seconds}"))],
        }
    })
}

fn config(port: u16, more: &str) -> String {
    format!(
        r#"#!KAMAILIO
debug=2
overload_age=0
listen=udp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "db_sqlite.so"
loadmodule "uac.so"
modparam("uac", "reg_contact_addr", "127.0.0.1:{port}")
{more}
request_route {{
    sl_send_reply("200", "OK");
}}
"#
    )
}

fn user_of(request: &SipMessage) -> String {
    let to = request.header("To").unwrap_or_default();
    to.split_once("sip:").and_then(|(_, r)| r.split_once('@')).map_or("", |(u, _)| u).to_owned()
}

/// Who has registered since.
fn registered_since(at: &Uas, mark: usize) -> HashSet<String> {
    let all = at.received();
    let news = all.iter().skip(mark).filter(|m| m.method() == "REGISTER" && m.header("Expires") != Some("0"));
    news.map(user_of).collect()
}

fn online(server: &Reprise) -> usize {
    let all = server.ctl("uac.reg_dump", Value::Null);
    all.as_array().unwrap().iter().filter(|a| a["flags"].as_u64().unwrap() & 4 != 0).count()
}

fn info(server: &Reprise, uuid: &str) -> Value {
    server.try_ctl("uac.reg_info", json!(["l_uuid", uuid])).unwrap_or(Value::Null)
}

#[test]
fn a_workers_death_loses_no_registration() {
    const ACCOUNTS: usize = 300;
    let at = keeper(6, true);
    let port = free_port();
    let more = "modparam(\"uac\", \"reg_timer_interval\", 1)\nmodparam(\"uac\", \"reg_retry_interval\", 1)";
    let mut server = Reprise::start(&config(port, more), &["-n", "3"]);
    for n in 0..ACCOUNTS {
        let fields = json!([
            format!("u{n}"),
            format!("local{n}"),
            "home.test",
            format!("r{n}"),
            "registrar.test",
            "keeper",
            format!("r{n}"),
            "word",
            ".",
            format!("sip:{}", at.addr),
            600,
            0,
            0
        ]);
        server.ctl("uac.reg_add", fields);
    }
    eventually("all are registered", SECOND * 60, || online(&server) == ACCOUNTS);
    for worker in server.worker_pids() {
        assert!(process::signal(worker, Signal::SIGKILL));
        eventually("it is replaced", SECOND * 20, || {
            server.worker_pids().len() == 3 && !server.worker_pids().contains(&worker)
        });
        let mark = at.received().len();
        eventually("all are refreshed", SECOND * 60, || registered_since(&at, mark).len() == ACCOUNTS);
    }
    eventually("all are registered", SECOND * 60, || online(&server) == ACCOUNTS);
    let one = info(&server, "u17");
    assert_eq!((&one["l_username"], &one["last"]), (&json!("local17"), &json!("registered")), "{one}");
    assert_eq!(server.term(), 0);
}

#[test]
fn accounts_from_sqlite_follow_the_table() {
    let dir = process::directory("accounts");
    let file = dir.path().join("accounts.sqlite");
    let url = format!("sqlite:///{}", file.display());
    let made = run(&["db", "init", &url], SECOND * 30);
    assert!(made.code == 0 && made.stdout.contains("table uacreg"), "{made:?}");
    let db = rusqlite::Connection::open(&file).unwrap();
    let at = keeper(600, false);
    let add = |uuid: &str, domain: &str, flags: u32| {
        db.execute(
            "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, auth_proxy, expires, flags) \
             VALUES (?, 'home', 'home.test', ?, ?, ?, 300, ?)",
            rusqlite::params![uuid, format!("r-{uuid}"), domain, format!("sip:{}", at.addr), flags],
        )
        .unwrap();
    };
    add("good", "registrar.test", 0);
    add("off", "registrar.test", 1);
    add("bad", "", 0);
    for n in 0..2100 {
        add(&format!("more{n}"), "registrar.test", 1);
    }
    let port = free_port();
    let mut server =
        Reprise::start(&config(port, &format!("modparam(\"uac\", \"reg_db_url\", \"{url}\")")), &["-n", "2"]);
    eventually("it is registered", SECOND * 20, || info(&server, "good")["flags"] == 20);
    server.wait_log("an account is left out: .bad.: ", SECOND * 5);
    assert_eq!((&info(&server, "off")["flags"], &info(&server, "bad")), (&json!(1), &Value::Null));
    assert_eq!(info(&server, "more2099")["flags"], 1);
    assert_eq!(at.count("REGISTER"), 1);
    // Another account, one less, one that has changed, one that has not.
    add("new", "registrar.test", 0);
    db.execute("UPDATE uacreg SET flags = 0, r_username = 'other' WHERE l_uuid = 'off'", []).unwrap();
    db.execute("DELETE FROM uacreg WHERE l_uuid = 'bad' OR l_uuid = 'good'", []).unwrap();
    let done = server.ctl("uac.reg_reload", Value::Null);
    assert_eq!(done, json!({ "accounts": 2102, "removed": 1, "left_out": 0 }));
    eventually("both are registered", SECOND * 20, || online(&server) == 2);
    at.wait_for("good is taken back", SECOND * 10, |m| user_of(m) == "r-good" && m.header("Expires") == Some("0"));
    eventually("good is gone", SECOND * 10, || info(&server, "good").is_null());
    assert_eq!(registered_since(&at, 1), HashSet::from(["other".to_owned(), "r-new".to_owned()]));
    // One account, again.
    let mark = at.received().len();
    assert_eq!(server.ctl("uac.reg_refresh", json!(["new"])), "OK");
    eventually("it is registered again", SECOND * 10, || registered_since(&at, mark).len() == 1);
    assert!(server.try_ctl("uac.reg_refresh", json!(["nobody"])).is_err());
    // A table that cannot be read changes nothing.
    db.execute("ALTER TABLE uacreg RENAME TO elsewhere", []).unwrap();
    let refused = server.try_ctl("uac.reg_reload", Value::Null).unwrap_err();
    assert!(refused["message"].as_str().unwrap().contains("cannot be read"), "{refused}");
    assert!(server.try_ctl("uac.reg_refresh", json!(["new"])).is_err());
    assert_eq!((online(&server), info(&server, "off")["flags"].clone()), (2, json!(20)));
    // Mistakes of an operator.
    for (method, params) in [
        ("uac.reg_info", json!(["l_uuid", "nobody"])),
        ("uac.reg_info", json!(["l_domain", "home.test"])),
        ("uac.reg_info", json!(["l_uuid"])),
        ("uac.reg_enable", json!(["l_uuid", "nobody"])),
        ("uac.reg_remove", json!(["nobody"])),
        ("uac.reg_active", json!([2])),
        ("uac.reg_add", json!(["x", "a"])),
        ("uac.reg_add", json!(["x", "a", "b", "c", "", "", "", "", "", "", 60, 0, 0])),
        ("uac.reg_add", json!(["x", "a", "b", "c", "d", "", "", "", "", "", "many", 0, 0])),
        ("uac.reg_add", json!(["x", "a", "b", "c", "d", "", "", "", "", "", 60, 0, 0, "udp:127.0.0.1:1"])),
    ] {
        assert!(server.try_ctl(method, params.clone()).is_err(), "{method} {params}");
    }
    assert_eq!(server.term(), 0);
}

#[test]
fn without_its_accounts_it_does_not_start() {
    let dir = process::directory("accounts");
    let url = format!("sqlite:///{}", dir.path().join("empty.sqlite").display());
    rusqlite::Connection::open(dir.path().join("empty.sqlite")).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    let closed = format!("mysql://u:p@127.0.0.1:{}/d", free_port());
    for url in [url, closed] {
        let text = config(free_port(), &format!("modparam(\"uac\", \"reg_db_url\", \"{url}\")"));
        let text = text.replace("db_sqlite.so\"", "db_sqlite.so\"\nloadmodule \"db_mysql.so\"");
        let failed = Reprise::try_start(&text, &["-n", "2"]).map(drop).unwrap_err();
        assert!(failed.code == 1 && failed.stderr.contains("uac: the accounts cannot be read"), "{}", failed.stderr);
    }
}

#[test]
fn what_the_configuration_needs_is_said() {
    let dir = process::directory("accounts");
    let check = |text: &str| {
        let file = dir.path().join("check.cfg");
        std::fs::write(&file, text).unwrap();
        let done = run(&["-c", "-f", &file.display().to_string()], SECOND * 20);
        (done.code, done.stdout + &done.stderr)
    };
    let plain = config(5060, "");
    assert_eq!(check(&plain).0, 0);
    let (code, text) = check(&config(5060, "modparam(\"uac\", \"restore_dlg\", 1)"));
    assert!(code == 0 && text.contains("restore_dlg") && text.contains("dialog"), "{text}");
    for (more, why) in [
        ("modparam(\"uac\", \"reg_contact_addr\", \"sip:x\")", "reg_contact_addr"),
        ("modparam(\"uac\", \"reg_timer_interval\", 0)", "reg_timer_interval"),
        ("modparam(\"uac\", \"reg_retry_interval\", -1)", "reg_retry_interval"),
        ("modparam(\"uac\", \"reg_db_table\", \"a b\")", "a b"),
        ("modparam(\"uac\", \"reg_db_url\", \"nonsense\")", "database URL"),
    ] {
        let (code, text) = check(&config(5060, more));
        assert!(code == 1 && text.contains(why), "{more}: {text}");
    }
    let without = plain.replace("reg_contact_addr", "reg_db_url").replace("\"127.0.0.1:5060\"", "\"mysql://u@h/d\"");
    let (code, text) = check(&without);
    assert!(code == 1 && text.contains("set reg_contact_addr"), "{text}");
}

/// A script in OpenSIPS's language.
fn opensips(port: u16, url: &str, rest: &str) -> String {
    format!(
        r#"overload_age=0
log_level=3
socket=udp:127.0.0.1:{port}
loadmodule "proto_udp.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "sipmsgops.so"
loadmodule "db_sqlite.so"
loadmodule "uac_auth.so"
loadmodule "uac.so"
loadmodule "uac_registrant.so"
modparam("uac_auth", "credential", "alice:127.0.0.1:wonderland")
modparam("uac_registrant", "db_url", "{url}")
modparam("uac_registrant", "timer_interval", 2)
{rest}
"#
    )
}

const REGISTRANT: &str = "CREATE TABLE registrant (id INTEGER PRIMARY KEY, registrar TEXT, proxy TEXT, aor TEXT, \
    third_party_registrant TEXT, username TEXT, password TEXT, binding_URI TEXT, binding_params TEXT, expiry INTEGER, \
    forced_socket TEXT, cluster_shtag TEXT, state INTEGER NOT NULL DEFAULT 0)";

#[test]
fn registrants_of_opensips() {
    let dir = process::directory("registrant");
    let file = dir.path().join("registrant.sqlite");
    let url = format!("sqlite:///{}", file.display());
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch(REGISTRANT).unwrap();
    let at = keeper(60, true);
    let port = free_port();
    let insert = |aor: &str, params: &str, from: Option<&str>, tag: Option<&str>| {
        db.execute(
            "INSERT INTO registrant (registrar, proxy, aor, third_party_registrant, username, password, binding_URI, \
             binding_params, expiry, forced_socket, cluster_shtag) VALUES ('sip:registrar.test', ?, ?, ?, 'me', 'word', ?, ?, NULL, ?, ?)",
            rusqlite::params![
                format!("sip:{}", at.addr),
                aor,
                from,
                format!("sip:bind@127.0.0.1:{port}"),
                params,
                format!("udp:127.0.0.1:{port}"),
                tag
            ],
        )
        .unwrap();
    };
    insert("sip:one@registrar.test", ";reg-id=1", Some("sip:third@registrar.test"), None);
    insert("sip:two@registrar.test", "", None, None);
    insert("sip:wrong@registrar.test", "reg-id=1", None, None);
    insert("sip:cluster@registrar.test", "", None, Some("vip/1"));
    let mut server = Reprise::start(&opensips(port, &url, "route { sl_send_reply(200, \"OK\"); }"), &["-n", "2"]);
    let state = |server: &Reprise, aor: &str| {
        let all = server.ctl("reg_list", Value::Null)["Records"].clone();
        let found = all.as_array().unwrap().iter().find(|a| a["AOR"] == aor).cloned();
        found.map(|a| a["state"].as_str().unwrap().to_owned())
    };
    let (one, two) = ("sip:one@registrar.test", "sip:two@registrar.test");
    for aor in [one, two] {
        eventually("it is registered", SECOND * 20, || state(&server, aor).as_deref() == Some("REGISTERED_STATE"));
    }
    assert_eq!(server.ctl("uac_registrant:list", Value::Null)["Records"].as_array().unwrap().len(), 2);
    assert_eq!(server.log_count("an account is left out"), 2);
    let proved = at.wait_for("one", SECOND, |m| user_of(m) == "one" && m.header("Authorization").is_some());
    assert!(proved.header("From").unwrap().starts_with("<sip:third@registrar.test>;tag="), "{}", proved.raw);
    assert_eq!(proved.header("Contact").unwrap(), format!("<sip:bind@127.0.0.1:{port}>;reg-id=1"));
    assert_eq!((proved.uri(), proved.header("Expires")), ("sip:registrar.test", Some("3600")));
    let named = json!([one, format!("sip:bind@127.0.0.1:{port}"), "sip:registrar.test"]);
    assert_eq!(server.ctl("reg_list", named.clone())["Records"].as_array().unwrap().len(), 1);
    let kept = || db.query_row("SELECT state FROM registrant WHERE aor = ?", [one], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(server.ctl("reg_disable", named.clone()), "OK");
    assert_eq!(kept(), 1);
    at.wait_for("it is taken back", SECOND * 10, |m| user_of(m) == "one" && m.header("Expires") == Some("0"));
    assert!(server.try_ctl("reg_force_register", named.clone()).is_err());
    assert_eq!(server.ctl("reg_enable", named.clone()), "OK");
    assert_eq!(kept(), 0);
    eventually("it is registered", SECOND * 20, || state(&server, one).as_deref() == Some("REGISTERED_STATE"));
    let mark = at.received().len();
    assert_eq!(server.ctl("reg_force_register", named.clone()), "OK");
    eventually("it is registered again", SECOND * 10, || registered_since(&at, mark).contains("one"));
    db.execute("DELETE FROM registrant WHERE aor = ?", [two]).unwrap();
    server.ctl("reg_reload", Value::Null);
    eventually("two is gone", SECOND * 10, || state(&server, two).is_none());
    assert_eq!(server.ctl("reg_reload", named), "OK");
    assert!(server.try_ctl("reg_enable", json!(["sip:x@y", "sip:a@b", "sip:c"])).is_err());
    assert!(server.try_ctl("reg_enable", json!([])).is_err());
    assert_eq!(server.term(), 0);
}

#[test]
fn calls_through_a_kamailio_in_opensips_language() {
    let tables = Tables::new();
    let server = registrar(&tables, Kind::Kamailio, None);
    let bob = Phone::new(&server, "bob", Over::Udp);
    let register = bob.register(600);
    let asked = bob.ask(&register);
    assert_eq!(bob.ask(&register.authorized(&asked, "bob", "builder")).status(), 200);
    let script = r#"
route {
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) t_relay();
        exit;
    }
    record_route();
    uac_replace_from("Alice", "sip:alice@127.0.0.1:PORT");
    uac_replace_to("", "sip:bob@127.0.0.1:PORT");
    $ru = "sip:bob@127.0.0.1:PORT";
    t_on_failure("login");
    t_relay();
}
failure_route[login] {
    if (t_check_status("401|407") && uac_auth()) t_relay();
}
"#;
    let dir = process::directory("registrant");
    let file = dir.path().join("registrant.sqlite");
    rusqlite::Connection::open(&file).unwrap().execute_batch(REGISTRANT).unwrap();
    let port = free_port();
    let text =
        opensips(port, &format!("sqlite:///{}", file.display()), &script.replace("PORT", &server.port.to_string()));
    let own = Reprise::start(&text, &["-n", "2"]);
    let carol = SipClient::new(port);
    let invite = carol.invite("sip:anybody@home.test");
    carol.send_request(&invite);
    let of_call = |m: &SipMessage| m.call_id() == invite.call_id;
    let seen = bob.expect_request("INVITE");
    let from = seen.header("From").unwrap();
    assert!(from.starts_with(&format!("\"Alice\" <sip:alice@127.0.0.1:{}>;tag=", server.port)), "{}", seen.raw);
    assert!(seen.header("To").unwrap().contains(&format!("sip:bob@127.0.0.1:{}", server.port)), "{}", seen.raw);
    bob.answer(&seen, 200, "OK");
    let ok = carol.expect("200", SECOND * 10, |m| of_call(m) && m.status() == 200);
    assert_eq!(
        (ok.uri_of("From"), ok.uri_of("To")),
        (Some(uri_in(&invite.from)), Some("sip:anybody@home.test")),
        "{}",
        ok.raw
    );
    assert_eq!((seen.cseq().0, ok.cseq().0), (invite.cseq + 1, invite.cseq), "the INVITE was challenged once");
    carol.send_request(&invite.ack(&ok));
    assert_eq!(bob.expect_request("ACK").cseq().0, invite.cseq + 1);
    let bye = invite.in_dialog("BYE", &ok);
    carol.send_request(&bye);
    let seen = bob.expect_request("BYE");
    assert!(seen.header("From").unwrap().contains("sip:alice@"), "{}", seen.raw);
    bob.answer(&seen, 200, "OK");
    carol.expect("200", SECOND * 10, |m| of_call(m) && m.status() == 200 && m.cseq().1 == "BYE");
    drop(own);
}
