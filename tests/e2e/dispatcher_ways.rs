//! Ways of dispatcher that depend on what gateways do, measured with gateways that take their time; lists in SQLite; and
//! lists that cannot be read.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::common::{SECOND, address};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::sipp::Sipp;
use crate::support::{eventually, free_port, free_ports, process};

/// A proxy in Kamailio's language that sends calls to set 1.
fn proxy(port: u16, algorithm: u32, params: &str) -> String {
    let modules: String = ["tm", "tmx", "sl", "rr", "pv", "xlog", "textops", "siputils", "db_sqlite", "dispatcher"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    format!(
        r#"#!KAMAILIO
debug=2
overload_age=0
listen=udp:127.0.0.1:{port}
{modules}
modparam("dispatcher", "flags", 2)
{params}
request_route {{
    if (is_method("BYE|CANCEL")) ds_load_update();
    if (has_totag()) {{ loose_route(); t_relay(); exit; }}
    if (is_method("CANCEL")) {{ t_relay(); exit; }}
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    record_route();
    if (!ds_select_dst("1", "{algorithm}")) {{ sl_send_reply("503", "None"); exit; }}
    t_on_reply("answer");
    t_relay();
}}
onreply_route[answer] {{
    if (is_method("INVITE")) ds_load_update();
}}
"#
    )
}

/// The destinations of all sets by their URIs, as the control socket shows them.
fn destinations(server: &Reprise) -> BTreeMap<String, Value> {
    let all = server.ctl("dispatcher.list", Value::Null);
    let sets = all["RECORDS"].as_array().cloned().unwrap_or_default();
    let targets = sets.iter().flat_map(|s| s["SET"]["TARGETS"].as_array().cloned().unwrap_or_default());
    targets.map(|t| (t["DEST"]["URI"].as_str().unwrap_or_default().to_string(), t["DEST"].clone())).collect()
}

#[test]
fn calls_go_to_the_gateway_with_the_fewest_of_them() {
    // A call lasts as long as its gateway takes to answer: it is ended at once then. So as many calls are under way at both
    // when the fast one gets five times as many.
    let [slow, fast] = [2000, 400].map(|ms| Sipp::uas(&format!("uas-paused ping=0 answer={ms}"), &[]));
    let uri = |gateway: &Sipp| format!("sip:{}", gateway.addr);
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    let list = [(&slow, "slow"), (&fast, "fast")].map(|(g, name)| format!("1 {} 0 0 duid={name}\n", uri(g)));
    fs::write(&file, list.concat()).unwrap();
    let port = free_port();
    let params = format!(
        "modparam(\"dispatcher\", \"list_file\", \"{}\")\nmodparam(\"dispatcher\", \"ds_hash_size\", 8)\n",
        file.display()
    );
    let server = Reprise::start(&proxy(port, 10, &params), &["-n", "2"]);
    let load = |gateway: &Sipp| destinations(&server)[&uri(gateway)]["RUNTIME"]["DLGLOAD"].as_u64().unwrap();
    let calls = Sipp::uac("uac-invite", address(port), 200, 20, &[]);
    let mut most = 0;
    eventually("both have calls", SECOND * 60, || {
        let (slow, fast) = (load(&slow), load(&fast));
        assert!(slow.abs_diff(fast) <= 4, "{slow} calls at the slow one, {fast} at the fast one");
        most = most.max(slow.min(fast));
        most >= 4
    });
    calls.wait(SECOND * 120).assert_all(200);
    // Every call has ended, so nothing is left of any.
    eventually("no call is counted any more", SECOND * 20, || load(&slow) + load(&fast) == 0);
    let (slow, fast) = (slow.stop(), fast.stop());
    assert_eq!(slow.created + fast.created, 200);
    let shares = format!("{} calls at the slow one, {} at the fast one", slow.created, fast.created);
    assert!(fast.created >= slow.created * 3 && slow.created >= 15, "{shares}");
}

#[test]
fn a_gateway_is_full_when_it_has_as_many_calls_as_it_takes() {
    let gateways: Vec<Sipp> = (0..2).map(|_| Sipp::uas("uas-paused ping=0 answer=10", &[])).collect();
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    let list: String =
        gateways.iter().enumerate().map(|(n, g)| format!("1 sip:{} 0 0 duid=g{n};maxload=3\n", g.addr)).collect();
    fs::write(&file, list).unwrap();
    let port = free_port();
    let params = format!(
        "modparam(\"dispatcher\", \"list_file\", \"{}\")\nmodparam(\"dispatcher\", \"ds_hash_size\", 8)\n",
        file.display()
    );
    let server = Reprise::start(&proxy(port, 10, &params), &["-n", "2"]);
    // Six calls that last find room, the seventh does not.
    let lasting = Sipp::uac("uac-invite", address(port), 6, 20, &["-d", "6000"]);
    let load = || destinations(&server).values().map(|d| d["RUNTIME"]["DLGLOAD"].as_u64().unwrap()).collect::<Vec<_>>();
    eventually("both are full", SECOND * 20, || load() == [3, 3]);
    let client = SipClient::new(port);
    let one_more = client.invite("sip:x@example.test");
    client.send_request(&one_more);
    assert_eq!(client.expect("an answer", SECOND * 10, |m| m.status() >= 200).status(), 503);
    lasting.wait(SECOND * 60).assert_all(6);
    eventually("both are empty", SECOND * 20, || load() == [0, 0]);
    Sipp::uac("uac-invite", address(port), 2, 2, &[]).wait(SECOND * 60).assert_all(2);
}

#[test]
fn calls_go_to_the_gateway_that_answers_fastest() {
    let delays = [250, 0, 120];
    let ports: Vec<u16> = delays.iter().map(|_| free_ports(1)).collect();
    let gateway =
        |n: usize| Sipp::uas(&format!("uas-paused ping={} answer=10", delays[n]), &["-p", &ports[n].to_string()]);
    let mut gateways: Vec<Sipp> = (0..3).map(gateway).collect();
    let uris: Vec<String> = ports.iter().map(|p| format!("sip:127.0.0.1:{p}")).collect();
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    fs::write(&file, uris.iter().map(|u| format!("1 {u} 8 30\n")).collect::<String>()).unwrap();
    let port = free_port();
    let params = format!(
        r#"
modparam("dispatcher", "list_file", "{}")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_ping_latency_stats", 1)
modparam("tm", "fr_timer", 2000)
"#,
        file.display()
    );
    let server = Reprise::start(&proxy(port, 13, &params), &["-n", "2"]);
    let estimate = |n: usize| destinations(&server)[&uris[n]]["LATENCY"]["EST"].as_f64().unwrap_or(0.0);
    let count = |g: Vec<Sipp>| g.into_iter().map(|g| g.stop().created).collect::<Vec<u64>>();
    eventually("what was measured is near the truth", SECOND * 60, || {
        estimate(0) > 200.0 && estimate(2) > 90.0 && destinations(&server).values().all(|d| d["FLAGS"] == "AP")
    });
    assert!(estimate(1) < estimate(2) && estimate(2) < estimate(0), "{:?}", [0, 1, 2].map(estimate));
    Sipp::uac("uac-invite", address(port), 40, 40, &[]).wait(SECOND * 60).assert_all(40);
    // The fastest is gone: the second fastest has the calls.
    drop(gateways.remove(1));
    eventually("the fastest is down", SECOND * 30, || destinations(&server)[&uris[1]]["FLAGS"] == "IP");
    Sipp::uac("uac-invite", address(port), 40, 40, &[]).wait(SECOND * 60).assert_all(40);
    drop(server);
    let [slowest, second] = count(gateways)[..] else { panic!() };
    // Pings count as well: those of both are alike, but for the calls.
    assert!(second >= slowest + 35, "{slowest} requests at the slowest, {second} at the second");
}

#[test]
fn a_list_in_sqlite_is_read_again() {
    let gateways: Vec<Sipp> = (0..2).map(|_| Sipp::uas("uas-paused ping=0 answer=10", &[])).collect();
    let dir = process::directory("sqlite");
    let file = dir.path().join("dispatcher.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch(
        "CREATE TABLE dispatcher (id INTEGER PRIMARY KEY, setid INTEGER DEFAULT 0 NOT NULL, destination VARCHAR(192), \
         flags INTEGER DEFAULT 0, priority INTEGER DEFAULT 0, attrs VARCHAR(128) DEFAULT '', description TEXT, carrier TEXT)",
    )
    .unwrap();
    let insert = |gateway: &Sipp, carrier: Option<&str>| {
        let uri = format!("sip:{}", gateway.addr);
        let row = "INSERT INTO dispatcher (setid, destination, attrs, carrier) VALUES (1, ?1, 'x=1', ?2)";
        db.execute(row, rusqlite::params![uri, carrier]).unwrap();
    };
    insert(&gateways[0], Some("red"));
    let port = free_port();
    let params = format!(
        "modparam(\"dispatcher\", \"db_url\", \"sqlite:///{}\")\n\
         modparam(\"dispatcher\", \"ds_db_extra_attrs\", \"carrier=carrier\")\n",
        file.display()
    );
    let server = Reprise::start(&proxy(port, 4, &params), &["-n", "2"]);
    Sipp::uac("uac-invite", address(port), 20, 40, &[]).wait(SECOND * 60).assert_all(20);
    insert(&gateways[1], None);
    assert_eq!(server.ctl("dispatcher.reload", Value::Null), "OK");
    let attributes = |n: usize| destinations(&server)[&format!("sip:{}", gateways[n].addr)]["ATTRS"]["BODY"].clone();
    assert_eq!([attributes(0), attributes(1)], [json!("x=1;carrier=red"), json!("x=1")]);
    Sipp::uac("uac-invite", address(port), 20, 40, &[]).wait(SECOND * 60).assert_all(20);
    let created: Vec<u64> = gateways.into_iter().map(|g| g.stop().created).collect();
    assert_eq!(created, [30, 10], "one after the other, over both workers");
}

#[test]
fn a_list_that_nobody_writes_stops_nobody() {
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    fs::write(&file, "1 sip:127.0.0.1:9\n").unwrap();
    let port = free_port();
    let params = format!("modparam(\"dispatcher\", \"list_file\", \"{}\")\n", file.display());
    let server = Reprise::start(&proxy(port, 4, &params), &["-n", "1"]);
    let client = SipClient::new(port);
    assert_eq!(client.options("sip:x@example.test").status(), 200);
    // A file that gives nothing, as one on a disk that does not answer.
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| server.try_ctl("dispatcher.reload", Value::Null));
        let mut served = 0;
        while !reload.is_finished() {
            assert_eq!(client.options("sip:x@example.test").status(), 200);
            served += 1;
        }
        let said = reload.join().unwrap().unwrap_err();
        assert!(served > 10, "{served} requests were answered meanwhile");
        assert!(said["message"].as_str().unwrap().contains("timeout"), "{said}");
    });
    assert_eq!(destinations(&server).len(), 1, "the list stays as it was");
    // It is not there, then it is wrong, then it is fine.
    fs::remove_file(&file).unwrap();
    let refused = |why: &str| {
        let said = server.try_ctl("dispatcher.reload", Value::Null).unwrap_err();
        assert!(said["message"].as_str().unwrap().contains(why), "{said}");
        assert_eq!(destinations(&server).len(), 1);
    };
    refused("is not there");
    fs::write(&file, "1 nonsense\n").unwrap();
    refused("line 1");
    fs::write(&file, "1 sip:127.0.0.1:9\n1 sip:127.0.0.1:10\n").unwrap();
    assert_eq!(server.ctl("dispatcher.reload", Value::Null), "OK");
    assert_eq!(destinations(&server).len(), 2);
}

#[test]
fn event_routes_hear_what_a_ping_was_answered_with() {
    let port = free_port();
    let gateway = SipClient::new(port);
    let (dir, uri) = (process::directory("list"), format!("sip:{}", gateway.local));
    let file = dir.path().join("dispatcher.list");
    fs::write(&file, format!("7 {uri} 0 0 duid=gw\n")).unwrap();
    let config = format!(
        r#"#!KAMAILIO
debug=2
listen=udp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "dispatcher.so"
modparam("dispatcher", "list_file", "{}")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "setid_pvname", "$var(set)")
modparam("dispatcher", "attrs_pvname", "$var(attrs)")
request_route {{
    if (ds_is_from_list("-1", "1")) sl_send_reply("200", "$var(set) $var(attrs)");
    else sl_send_reply("404", "Unknown");
}}
event_route[dispatcher:dst-down] {{ xlog("L_WARN", "down: $ru $dsv(code) $dsv(flags)\n"); }}
event_route[dispatcher:dst-up] {{ xlog("L_WARN", "up: $ru $dsv(code) $dsv(flags)\n"); }}
"#,
        file.display()
    );
    let server = Reprise::start(&config, &["-n", "2"]);
    let answer = |status: u16| {
        let ping = gateway.expect_request("OPTIONS", SECOND * 20);
        gateway.respond(&ping, status, "Answer", &[]);
    };
    answer(503);
    server.wait_log(&format!("down: {uri} 503 9"), SECOND * 10);
    answer(200);
    server.wait_log(&format!("up: {uri} 200 8"), SECOND * 10);
    // Who it is, whatever its port.
    let client = SipClient::new(port);
    assert_eq!(client.options("sip:x@example.test").reason(), "7 duid=gw");
}
