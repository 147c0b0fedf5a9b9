//! Sets of destinations with real gateways, several workers, a real database; and floods.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{SECOND, address};
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::sipp::Sipp;
use crate::support::{eventually, free_port, free_ports, process};
use tempfile::TempDir;

/// A configuration in Kamailio's language.
fn kamailio(port: u16, modules: &[&str], rest: &str) -> String {
    let all = ["tm", "tmx", "sl", "rr", "pv", "xlog", "textops", "siputils", "htable"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!("#!KAMAILIO\ndebug=2\noverload_age=0\nmax_while_loops=5000\nlisten=udp:127.0.0.1:{port}\n{modules}{rest}")
}

/// A list file in a directory of its own.
fn list(text: &str) -> (TempDir, String) {
    let dir = process::directory("list");
    let path = dir.path().join("dispatcher.list");
    fs::write(&path, text).unwrap();
    let name = path.display().to_string();
    (dir, name)
}

/// The letters of a destination's state; empty if it is not there.
pub fn letters(server: &Reprise, uri: &str) -> String {
    let all = server.ctl("dispatcher.list", Value::Null);
    let sets = all["RECORDS"].as_array().cloned().unwrap_or_default();
    let targets = sets.iter().flat_map(|s| s["SET"]["TARGETS"].as_array().cloned().unwrap_or_default());
    let found = targets.map(|t| t["DEST"].clone()).find(|d| d["URI"] == uri);
    found.map(|d| d["FLAGS"].as_str().unwrap_or_default().to_string()).unwrap_or_default()
}

/// Calls go to three gateways, of which one dies among calls: each call finds another one. It comes back, and has its share.
/// `config` is for a server that pings the gateways with these URIs each second; `down` and `up` are what its log says of one.
pub fn fail_over(
    config: impl FnOnce(u16, &[String]) -> String,
    down: impl Fn(&str) -> String,
    up: impl Fn(&str) -> String,
) {
    let ports: Vec<u16> = (0..3).map(|_| free_ports(1)).collect();
    let gateway = |port: u16| Sipp::uas("uas-gateway", &["-p", &port.to_string()]);
    let mut gateways: Vec<Sipp> = ports.iter().map(|p| gateway(*p)).collect();
    let uris: Vec<String> = ports.iter().map(|p| format!("sip:127.0.0.1:{p}")).collect();
    let port = free_port();
    let server = Reprise::start(&config(port, &uris), &["-n", "3"]);
    let all_are = |wanted: &str| uris.iter().all(|u| letters(&server, u) == wanted);
    eventually("all are probed", SECOND * 20, || all_are("AP"));
    let calls = |count: u64, rate: u64| Sipp::uac("uac-invite", address(port), count, rate, &[]);
    calls(90, 100).wait(SECOND * 60).assert_all(90);

    let among = calls(200, 50);
    let victim = gateways.remove(1);
    process::signal(victim.pid, Signal::SIGKILL);
    among.wait(SECOND * 120).assert_all(200);
    server.wait_log(&down(&uris[1]), SECOND * 20);
    eventually("it is seen to be down", SECOND * 20, || letters(&server, &uris[1]) == "IP");
    assert_eq!([0, 2].map(|n: usize| letters(&server, &uris[n])), ["AP", "AP"]);
    calls(50, 100).wait(SECOND * 60).assert_all(50);

    let again = gateway(ports[1]);
    server.wait_log(&up(&uris[1]), SECOND * 30);
    eventually("all are up", SECOND * 20, || all_are("AP"));
    calls(90, 100).wait(SECOND * 60).assert_all(90);
    assert!(again.stop().created >= 30, "it has its share");
    drop(victim);
}

#[test]
fn calls_fail_over_when_a_gateway_dies_and_come_back_to_it() {
    let (dir, file) = list("");
    let config = |port: u16, uris: &[String]| {
        fs::write(&file, uris.iter().map(|u| format!("1 {u}\n")).collect::<String>()).unwrap();
        kamailio(
            port,
            &["dispatcher"],
            &format!(
                r#"
modparam("dispatcher", "list_file", "{file}")
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_threshold", 2)
modparam("tm", "fr_timer", 1000)
request_route {{
    if (has_totag()) {{ loose_route(); t_relay(); exit; }}
    if (is_method("CANCEL")) {{ t_relay(); exit; }}
    record_route();
    if (!ds_select_dst("1", "4")) {{ sl_send_reply("503", "None"); exit; }}
    t_on_failure("next");
    t_relay();
}}
failure_route[next] {{
    if (t_is_canceled()) exit;
    ds_mark_dst("tp");
    if (ds_next_dst()) {{
        t_on_failure("next");
        t_relay();
    }}
}}
event_route[dispatcher:dst-down] {{ xlog("L_WARN", "down: $ru\n"); }}
event_route[dispatcher:dst-up] {{ xlog("L_WARN", "up: $ru\n"); }}
"#
            ),
        )
    };
    fail_over(config, |uri| format!("down: {uri}"), |uri| format!("up: {uri}"));
    drop(dir);
}

#[test]
fn ten_thousand_choices_are_distributed_exactly_over_all_workers() {
    let (_dir, file) = list(
        "1 sip:10.0.0.1\n1 sip:10.0.0.2\n1 sip:10.0.0.3\n1 sip:10.0.0.4\n\
         2 sip:10.0.1.1 0 0 weight=50\n2 sip:10.0.1.2 0 0 weight=30\n2 sip:10.0.1.3 0 0 weight=20\n\
         3 sip:10.0.2.1 0 0 rweight=1\n3 sip:10.0.2.2 0 0 rweight=1\n3 sip:10.0.2.3 0 0 rweight=3\n",
    );
    let port = free_port();
    let config = kamailio(
        port,
        &["dispatcher"],
        &format!(
            r#"
modparam("dispatcher", "list_file", "{file}")
modparam("htable", "htable", "hits=>initval=0")
request_route {{
    $var(i) = 0;
    while ($var(i) < 500) {{
        ds_select_dst("1", "4"); sht_inc("hits", "$du");
        ds_select_dst("2", "9"); sht_inc("hits", "$du");
        ds_select_dst("3", "11"); sht_inc("hits", "$du");
        $var(i) = $var(i) + 1;
    }}
    sl_send_reply("200", "OK");
}}
"#
        ),
    );
    let server = Reprise::start(&config, &["-n", "3"]);
    let client = SipClient::new(port);
    let requests: Vec<_> = (0..20).map(|_| client.request("OPTIONS", "sip:x@example.test")).collect();
    requests.iter().for_each(|r| client.send_request(r));
    for _ in &requests {
        client.expect_status(200, SECOND * 60);
    }
    let hits = |uri: &str| server.ctl("htable.get", json!(["hits", uri]))["item"]["value"].as_i64().unwrap_or(0);
    for (uri, wanted) in [
        ("sip:10.0.0.1", 2500),
        ("sip:10.0.0.2", 2500),
        ("sip:10.0.0.3", 2500),
        ("sip:10.0.0.4", 2500),
        ("sip:10.0.1.1", 5000),
        ("sip:10.0.1.2", 3000),
        ("sip:10.0.1.3", 2000),
        ("sip:10.0.2.1", 2000),
        ("sip:10.0.2.2", 2000),
        ("sip:10.0.2.3", 6000),
    ] {
        assert_eq!(hits(uri), wanted, "{uri}");
    }
}

#[test]
fn a_list_from_a_table_is_read_again_and_changed_by_the_operator() {
    let db = MariaDb::shared();
    let name = db.fresh_database();
    let schema = fs::read_to_string("/usr/share/kamailio/mysql/dispatcher-create.sql").expect("Kamailio's schema");
    let schema: String = schema.lines().filter(|l| !l.contains("INTO version")).collect::<Vec<_>>().join("\n");
    db.sql(&format!("USE {name}; {schema}"));
    let row = |set: i32, uri: &str| {
        format!(
            "INSERT INTO {name}.dispatcher (setid, destination, flags, priority, attrs) VALUES ({set}, '{uri}', 0, 0, '');"
        )
    };
    db.sql(&(row(1, "sip:10.0.0.1") + &row(1, "sip:10.0.0.2")));
    let url = db.url_for(NATIVE, &name);
    let port = free_port();
    let config = kamailio(
        port,
        &["dispatcher", "db_mysql"],
        &format!(
            r#"
modparam("dispatcher", "db_url", "{url}")
request_route {{
    if ($rU == "reload") {{ ds_reload(); sl_send_reply("200", "$rc"); exit; }}
    ds_select_dst("1", "8");
    sl_send_reply("200", "$du");
}}
"#
        ),
    );
    let server = Reprise::start(&config, &["-n", "2"]);
    let client = SipClient::new(port);
    let first = || client.options("sip:x@example.test").reason().to_string();
    assert_eq!(first(), "sip:10.0.0.2");
    server.ctl("dispatcher.set_state", json!(["i", "1", "sip:10.0.0.2"]));
    assert_eq!([0; 8].map(|_| first()), ["sip:10.0.0.1"; 8], "whichever worker is asked");
    // What is new is known to all; what stood somehow stands so still.
    db.sql(&row(1, "sip:10.0.0.3"));
    assert_eq!(server.ctl("dispatcher.reload", Value::Null), "OK");
    assert_eq!([0; 8].map(|_| first()), ["sip:10.0.0.3"; 8]);
    assert_eq!(letters(&server, "sip:10.0.0.2"), "IX");
    // A row that is wrong leaves the list as it was.
    db.sql(&row(1, "nonsense"));
    assert!(server.try_ctl("dispatcher.reload", Value::Null).is_err());
    assert_eq!(client.options("sip:reload@example.test").reason(), "-1");
    assert_eq!(first(), "sip:10.0.0.3");
    db.sql(&format!("DELETE FROM {name}.dispatcher WHERE destination IN ('nonsense', 'sip:10.0.0.3')"));
    assert_eq!(client.options("sip:reload@example.test").reason(), "1");
    assert_eq!(first(), "sip:10.0.0.1");
    server.ctl("dispatcher.add", json!(["1", "sip:10.0.0.9", "0", "7"]));
    assert_eq!([0; 8].map(|_| first()), ["sip:10.0.0.9"; 8]);
    server.ctl("dispatcher.remove", json!(["1", "sip:10.0.0.9"]));
    assert_eq!(first(), "sip:10.0.0.1");
    assert!(server.try_ctl("dispatcher.remove", json!(["1", "sip:10.0.0.9"])).is_err());
    assert!(server.try_ctl("dispatcher.set_state", json!(["x", "1", "all"])).is_err());
    server.ctl("dispatcher.set_state", json!(["d", "1", "all"]));
    assert_eq!(first(), "<null>");
}

/// Sends OPTIONS from an address until told to stop; how many replies came.
pub fn options(from: &str, port: u16, count: usize, every: Duration) -> (usize, usize) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let own: SocketAddr = socket.local_addr().unwrap();
    let mut buffer = [0; 4096];
    let mut replies = 0;
    let begin = Instant::now();
    for n in 0..count {
        let text = format!(
            "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{n}\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:b@c>\r\nCall-ID: {from}-{n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send(text.as_bytes()).unwrap();
        let due = begin + every * u32::try_from(n + 1).unwrap();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left)).unwrap();
            replies += usize::from(socket.recv(&mut buffer).is_ok());
        }
    }
    socket.set_read_timeout(Some(SECOND)).unwrap();
    while replies < count && socket.recv(&mut buffer).is_ok() {
        replies += 1;
    }
    (count, replies)
}

#[test]
fn a_flood_is_blocked_within_its_window_and_others_are_served() {
    let port = free_port();
    let config = kamailio(
        port,
        &["pike"],
        r#"
modparam("pike", "sampling_time_unit", 2)
modparam("pike", "reqs_density_per_unit", 50)
request_route {
    if (!pike_check_req()) exit;
    sl_send_reply("200", "OK");
}
"#,
    );
    let server = Reprise::start(&config, &["-n", "3"]);
    let (flood, calm) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| options("127.0.0.2", port, 3000, Duration::from_millis(1)));
        let calm = scope.spawn(|| options("127.0.0.3", port, 30, Duration::from_millis(100)));
        (flood.join().unwrap(), calm.join().unwrap())
    });
    assert_eq!(calm, (30, 30), "who keeps below the limit is served");
    // At most the limit, and that of a second window if the flood began at the end of one.
    assert!((50..=100).contains(&flood.1), "{} requests of the flood were served", flood.1);
    let top = server.ctl("pike.top", json!(["ALL"]));
    let row = |ip: &str| top.as_array().unwrap().iter().find(|r| r["ip_addr"] == ip).cloned().unwrap_or_default();
    assert_eq!(row("127.0.0.2")["status"], "HOT", "{top}");
    assert_eq!(row("127.0.0.3")["status"], "WARM", "{top}");
    assert_eq!(server.ctl("pike.list", Value::Null), json!([{ "IP": "127.0.0.2" }]));
    assert_eq!(server.log_count("127.0.0.2 is blocked"), 1, "{}", server.log());
    server.ctl("pike.rm", json!(["127.0.0.2"]));
    assert_eq!(options("127.0.0.2", port, 3, Duration::from_millis(50)), (3, 3));
}
