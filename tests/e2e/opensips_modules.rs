//! Modules of OpenSIPS with real parts: its dispatcher with gateways that die, floods by `check_route`, clients behind a
//! real NAT, registrations in a database.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{SECOND, address};
use crate::dispatcher::{fail_over, options};
use crate::natted::{accepting, called, registered};
use crate::support::free_port;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::netns::NetNs;
use crate::support::reprise::{Reprise, run};
use crate::support::sip::{SipClient, response};
use crate::support::sipp::Sipp;

/// A configuration in OpenSIPS' language.
fn opensips(address: &str, modules: &[&str], rest: &str) -> String {
    let all = ["proto_udp", "tm", "sl", "rr", "maxfwd", "sipmsgops", "signaling", "cfgutils"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!("log_level=3\noverload_age=0\nsocket=udp:{address}\n{modules}{rest}")
}

/// The table of destinations, with rows of set, URI, weight and attributes; the database's URL.
fn destinations(db: &MariaDb, rows: &[(i32, &str, u32, &str)]) -> (String, String) {
    let name = db.fresh_database();
    db.sql(&format!(
        "USE {name}; CREATE TABLE dispatcher (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, setid INT DEFAULT 0 NOT NULL, \
         destination CHAR(192) DEFAULT '' NOT NULL, socket CHAR(128) DEFAULT NULL, state INT DEFAULT 0 NOT NULL, \
         probe_mode INT UNSIGNED DEFAULT 0 NOT NULL, weight CHAR(64) DEFAULT '1' NOT NULL, priority INT DEFAULT 0 NOT NULL, \
         attrs CHAR(128) DEFAULT NULL, description CHAR(64) DEFAULT NULL)"
    ));
    for (set, uri, weight, attrs) in rows {
        db.sql(&format!(
            "INSERT INTO {name}.dispatcher (setid, destination, weight, attrs) VALUES ({set}, '{uri}', '{weight}', '{attrs}')"
        ));
    }
    let url = db.url_for(NATIVE, &name);
    (name, url)
}

#[test]
fn calls_find_another_gateway_when_one_dies_and_come_back_to_it() {
    let config = |port: u16, uris: &[String]| {
        let rows: Vec<(i32, &str, u32, &str)> = uris.iter().map(|u| (1, u.as_str(), 1, "")).collect();
        let (_, url) = destinations(MariaDb::shared(), &rows);
        opensips(
            &format!("127.0.0.1:{port}"),
            &["db_mysql", "dispatcher"],
            &format!(
                r#"
modparam("dispatcher", "db_url", "{url}")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_threshold", 2)
modparam("tm", "fr_timeout", 1)
route {{
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{
        t_relay();
        exit;
    }}
    record_route();
    if (!ds_select_dst(1, 4, "f")) {{
        sl_send_reply(503, "None");
        exit;
    }}
    t_on_failure("next");
    t_relay();
}}
failure_route[next] {{
    if (t_was_cancelled()) exit;
    ds_mark_dst("p");
    if (ds_next_dst()) {{
        t_on_failure("next");
        t_relay();
    }}
}}
event_route[E_DISPATCHER_STATUS] {{
    xlog("L_NOTICE", "status of $param(address) in $param(group): $param(status)\n");
}}
"#
            ),
        )
    };
    let said = |uri: &str, how: &str| format!("status of {uri} in 1: {how}");
    fail_over(config, |uri| said(uri, "inactive"), |uri| said(uri, "active"));
}

#[test]
fn destinations_are_chosen_by_what_scripts_say_of_them() {
    let rows = [
        (1, "sip:10.0.0.1", 1, "one"),
        (1, "sip:10.0.0.2", 1, "two"),
        (1, "sip:10.0.0.3", 1, "skip"),
        (2, "sip:127.0.0.1:5099", 1, "gw"),
        (3, "sip:10.0.2.1", 3, ""),
        (3, "sip:10.0.2.2", 1, ""),
    ];
    let (name, url) = destinations(MariaDb::shared(), &rows);
    let port = free_port();
    let config = opensips(
        &format!("127.0.0.1:{port}"),
        &["db_mysql", "dispatcher"],
        &format!(
            r#"
modparam("dispatcher", "db_url", "{url}")
modparam("dispatcher", "pvar_algo_pattern", "$shv(load_%u)")
modparam("dispatcher", "algo_route", "score")
modparam("dispatcher", "setid_pvar", "$var(set)")
modparam("dispatcher", "attrs_avp", "$avp(attrs)")
route {{
    $var(out) = "none";
    switch ($rU) {{
    case "variable":
        if (ds_select_dst(1, 9)) $var(out) = $du;
        break;
    case "route":
        if (ds_select_dst(1, 10, "f")) $var(out) = $du + " " + $avp(attrs);
        if (ds_next_dst()) $var(out) = $var(out) + ", " + $du;
        if (!ds_next_dst()) $var(out) = $var(out) + ", no more";
        break;
    case "domain":
        if (ds_select_domain(2, 0)) $var(out) = $ru;
        break;
    case "list":
        if (ds_is_in_list("10.0.0.2", 5060) && $var(set) == 1) $var(out) = "in 1";
        if (!ds_is_in_list("10.0.0.2", 5060, 2)) $var(out) = $var(out) + ", not in 2";
        if (!ds_is_in_list("10.0.0.2", 5061, 1)) $var(out) = $var(out) + ", not on 5061";
        if (ds_is_in_list("10.0.0.2", 0, 1, , 1, "^tw")) $var(out) = $var(out) + ", two";
        break;
    case "count":
        ds_count(1, "a", $var(a));
        ds_count(1, "ip", $var(i));
        sl_send_reply(200, "$var(a) $var(i)");
        exit;
    case "mark":
        ds_select_dst(1, 8);
        ds_mark_dst("i");
        $var(out) = $du;
        break;
    case "weight":
        ds_select_dst(3, 4);
        $var(out) = $du;
        break;
    }}
    sl_send_reply(200, "$var(out)");
}}
route[score] {{
    if ($param(attrs) == "skip") return(-1);
    if ($param(1) == "sip:10.0.0.2") return(1);
    return(5);
}}
"#
        ),
    );
    let server = Reprise::start(&config, &["-n", "2"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_string();
    let load = |uri: &str, n: &str| server.ctl("shv_set", json!([format!("load_{uri}"), "int", n]));
    for (uri, n) in [("sip:10.0.0.1", "7"), ("sip:10.0.0.2", "9"), ("sip:10.0.0.3", "8")] {
        load(uri, n);
    }
    assert_eq!([0; 4].map(|_| ask("variable")), ["sip:10.0.0.1"; 4]);
    load("sip:10.0.0.1", "10");
    assert_eq!([0; 4].map(|_| ask("variable")), ["sip:10.0.0.3"; 4]);
    assert_eq!([0; 4].map(|_| ask("route")), ["sip:10.0.0.2 two, sip:10.0.0.1, no more"; 4]);
    assert_eq!(ask("domain"), "sip:domain@127.0.0.1:5099");
    assert_eq!(ask("list"), "in 1, not in 2, not on 5061, two");
    assert_eq!(ask("count"), "3 0");
    let mut weights: Vec<String> = (0..8).map(|_| ask("weight")).collect();
    weights.sort();
    assert_eq!(weights.iter().filter(|u| *u == "sip:10.0.2.1").count(), 6, "three of four: {weights:?}");
    assert_eq!(ask("mark"), "sip:10.0.0.1");
    assert_eq!(ask("count"), "2 1");
    assert_eq!(ask("mark"), "sip:10.0.0.2", "what is inactive is passed by");
    MariaDb::shared().sql(&format!("DELETE FROM {name}.dispatcher WHERE setid = 1 AND attrs = 'two'"));
    server.ctl("ds_reload", Value::Null);
    assert_eq!(ask("count"), "1 1", "who is left stands as before");
}

#[test]
fn what_a_script_says_of_a_destination_stays_with_it_and_pings_keep_to_their_sets() {
    let port = free_port();
    let [pinged, left] = [0; 2].map(|_| SipClient::new(port));
    let uris = [&pinged, &left].map(|c| format!("sip:{}", c.local));
    let rows = [(1, uris[0].as_str(), 1, "a"), (2, uris[1].as_str(), 1, "b"), (3, "sip:10.0.0.1:5060", 1, "c")];
    let (_, url) = destinations(MariaDb::shared(), &rows);
    let config = opensips(
        &format!("127.0.0.1:{port}"),
        &["db_mysql", "dispatcher"],
        &format!(
            r#"
modparam("dispatcher", "db_url", "{url}")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_list", "1")
modparam("dispatcher", "script_attrs_avp", "$avp(said)")
route {{
    $var(out) = "none";
    switch ($rU) {{
    case "push":
        if (ds_push_script_attrs("$hdr(X-Text)", "10.0.0.1", 5060, 3)) $var(out) = "kept";
        if (!ds_push_script_attrs("x", "10.0.0.1", 5061, 3)) $var(out) = $var(out) + ", not on 5061";
        if (!ds_push_script_attrs("x", "10.0.0.1", 5060, 2)) $var(out) = $var(out) + ", not in 2";
        break;
    case "get":
        if (ds_get_script_attrs("sip:10.0.0.1:5060", 3, , $var(text))) $var(out) = "<" + $var(text) + ">";
        if (!ds_get_script_attrs("sip:10.0.0.9", 3, , $var(text))) $var(out) = $var(out) + ", no other";
        break;
    case "select":
        if (ds_select_dst(3, 8)) $var(out) = $du + " " + $avp(said);
        break;
    }}
    sl_send_reply(200, "$var(out)");
}}
"#
        ),
    );
    let server = Reprise::start(&config, &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_string();
    assert_eq!(ask("get"), "<>, no other");
    let push = client.request("OPTIONS", "sip:push@example.test").header("X-Text: ring=2");
    assert_eq!(client.ask(&push).reason(), "kept, not on 5061, not in 2");
    assert_eq!([0; 6].map(|_| ask("get")), ["<ring=2>, no other"; 6], "whichever worker is asked");
    server.ctl("ds_reload", Value::Null);
    assert_eq!([0; 6].map(|_| ask("select")), ["sip:10.0.0.1:5060 ring=2"; 6], "over a reload");

    for _ in 0..3 {
        let ping = pinged.expect_request("OPTIONS", SECOND * 20);
        pinged.respond(&ping, 200, "OK", &[]);
    }
    left.expect_silence(Duration::from_millis(100));
}

#[test]
fn everything_that_comes_in_is_counted_but_for_what_a_route_lets_through() {
    let port = free_port();
    let config = opensips(
        &format!("127.0.0.1:{port}"),
        &["pike"],
        r#"
modparam("pike", "sampling_time_unit", 2)
modparam("pike", "reqs_density_per_unit", 50)
modparam("pike", "check_route", "floods")
route {
    sl_send_reply(200, "OK");
}
route[floods] {
    if ($si == "127.0.0.4") drop;
}
event_route[E_PIKE_BLOCKED] {
    xlog("L_NOTICE", "blocked: $param(ip)\n");
}
"#,
    );
    let server = Reprise::start(&config, &["-n", "3"]);
    let millisecond = Duration::from_millis(1);
    let (flood, trusted, calm) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| options("127.0.0.2", port, 2000, millisecond));
        let trusted = scope.spawn(|| options("127.0.0.4", port, 300, millisecond * 7));
        let calm = scope.spawn(|| options("127.0.0.3", port, 20, millisecond * 100));
        (flood.join().unwrap(), trusted.join().unwrap(), calm.join().unwrap())
    });
    assert_eq!((trusted, calm), ((300, 300), (20, 20)), "who may, and who keeps below the limit, is served");
    assert!((50..=100).contains(&flood.1), "{} requests of the flood were served", flood.1);
    assert_eq!(server.log_count("blocked: 127.0.0.2"), 1, "{}", server.log());
    assert_eq!(server.ctl("pike_list", Value::Null), json!([{ "IP": "127.0.0.2" }]));
    // What is no message counts as well.
    let socket = UdpSocket::bind(("127.0.0.5", 0)).unwrap();
    for _ in 0..200 {
        socket.send_to(b"this is no message at all\r\n\r\n", ("127.0.0.1", port)).unwrap();
    }
    server.wait_log("blocked: 127.0.0.5", SECOND * 10);
    assert_eq!(options("127.0.0.5", port, 1, millisecond * 200).1, 0);
    server.ctl("pike_rm", json!(["127.0.0.5"]));
    assert_eq!(options("127.0.0.5", port, 1, millisecond * 200), (1, 1));
}

/// A registrar and proxy for clients behind a NAT.
fn for_natted(address: &str) -> String {
    opensips(
        address,
        &["usrloc", "registrar", "nathelper"],
        r#"
modparam("usrloc", "nat_bflag", "NAT")
modparam("registrar|nathelper", "received_avp", "$avp(rcv)")
modparam("nathelper", "natping_interval", 1)
modparam("nathelper", "ping_nated_only", 1)
modparam("nathelper", "sipping_bflag", "SIPPING")
modparam("nathelper", "sipping_from", "sip:pinger@example.test")
route {
    force_rport();
    if (is_method("REGISTER")) {
        if (nat_uac_test("private-contact,diff-ip-src-via")) {
            fix_nated_register();
            setbflag("NAT");
            if ($fU == "alice") setbflag("SIPPING");
        }
        if (!save("location")) sl_reply_error();
        exit;
    }
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    record_route();
    if (nat_uac_test("private-contact")) fix_nated_contact(";nat=yes");
    if (nat_uac_test("private-sdp")) fix_nated_sdp("rewrite-media-ip");
    if ($rU == "alice" && !lookup("location")) {
        sl_send_reply(404, "Not here");
        exit;
    }
    t_on_reply("answer");
    t_relay();
}
onreply_route[answer] {
    if (nat_uac_test("private-contact")) fix_nated_contact();
}
"#,
    )
}

#[test]
fn a_client_behind_a_real_nat_is_reached_and_kept_in_reach() {
    let router = NetNs::routing();
    let lan = router.masquerade();
    let address = format!("{}:{}", router.local, free_port());
    let _server = Reprise::start(&for_natted(&address), &["-n", "2"]);
    let (alice, bob, aor) = registered(&lan, address.parse().unwrap());

    // Its way is kept open by requests, which it answers.
    for _ in 0..2 {
        let ping = alice.expect_request("OPTIONS", SECOND * 20);
        assert!(ping.header("From").unwrap().contains("sip:pinger@example.test"), "{}", ping.raw);
        alice.respond(&ping, 200, "OK", &[]);
    }

    let answer = called(&alice, &bob, &aor);
    let contact = answer.uri_of("Contact").unwrap();
    assert!(contact.contains(&format!("@{}:", router.peer)), "{contact}");

    // It calls: Contact and SDP name the router.
    let private = alice.local.ip();
    let mut invite = alice.invite(&format!("sip:bob@{}", bob.local));
    invite.headers.push("Content-Type: application/sdp".into());
    invite.body =
        format!("v=0\r\no=- 1 1 IN IP4 {private}\r\ns=-\r\nc=IN IP4 {private}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n");
    alice.send_request(&invite);
    let asked = bob.expect_request("INVITE", SECOND * 20);
    let contact = asked.uri_of("Contact").unwrap();
    assert!(contact.contains(&format!("@{}:", router.peer)) && contact.ends_with(";nat=yes"), "{contact}");
    assert!(asked.body.contains(&format!("c=IN IP4 {}\r\n", router.peer)), "{}", asked.body);
    bob.send_bytes(response(&asked, 200, "OK", "callee", &accepting(&asked, "bob", &bob), "").as_bytes());
    let answer = alice.expect_status(200, SECOND * 20);
    alice.send_request(&invite.ack(&answer));
    bob.expect_request("ACK", SECOND * 20);
}

#[test]
fn registrations_in_a_database_survive_a_restart_and_are_called() {
    let db = MariaDb::shared();
    let name = db.fresh_database();
    db.sql(&format!("DROP DATABASE {name}; CREATE DATABASE {name}"));
    let url = db.url_for(NATIVE, &name);
    let made = run(&["db", "init", &url], SECOND * 60);
    assert_eq!(made.code, 0, "{}{}", made.stdout, made.stderr);
    let config = |port: u16, mode: &str| {
        opensips(
            &format!("127.0.0.1:{port}"),
            &["db_mysql", "usrloc", "registrar"],
            &format!(
                r#"
modparam("usrloc", "db_url", "{url}")
modparam("usrloc", "working_mode_preset", "{mode}")
route {{
    if (is_method("REGISTER")) {{
        if (!save("location")) sl_reply_error();
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    record_route();
    if (!lookup("location")) {{
        sl_send_reply(404, "Not here");
        exit;
    }}
    t_relay();
}}
"#
            ),
        )
    };
    let phone = Sipp::uas("uas-invite", &[]);
    for (round, mode) in ["single-instance-sql-write-through", "sql-only"].into_iter().enumerate() {
        let prefix = format!("u{round}x");
        {
            let port = free_port();
            let mut server = Reprise::start(&config(port, mode), &["-n", "2"]);
            let scenario = format!("uac-register prefix={prefix} contact={}", phone.addr);
            Sipp::uac(&scenario, address(port), 200, 100, &[]).wait(SECOND * 60).assert_all(200);
            let like = format!("SELECT COUNT(*) FROM {name}.location WHERE username LIKE '{prefix}%'");
            assert_eq!(db.number(&like), 200, "a reply means that the database has it");
            assert_eq!(server.term(), 0);
        }
        let port = free_port();
        let _server = Reprise::start(&config(port, mode), &["-n", "2"]);
        let scenario = format!("uac-user prefix={prefix}");
        Sipp::uac(&scenario, address(port), 200, 100, &[]).wait(SECOND * 60).assert_all(200);
        let client = SipClient::new(port);
        assert_eq!(client.ask(&client.request("MESSAGE", "sip:nobody@example.test")).status(), 404);
    }
    phone.stop().assert_all(400);
}
