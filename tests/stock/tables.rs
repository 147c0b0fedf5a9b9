//! Addresses, trusted peers, aliases, short numbers and domains from the tables of Kamailio's package: both servers do the
//! same with the same rows.

use serde_json::Value;

use crate::SECOND;
use crate::on_both;
use crate::phone::{Over, Phone};
use crate::schema::Tables;
use crate::server::{Kind, Start, Stock};
use crate::support::eventually;

on_both! {
    addresses_and_trusted_peers
    aliases_and_short_numbers
    domains
}

const CONFIG: &str = r##"#!KAMAILIO
debug=1
log_stderror=yes
children=2
auto_aliases=no
loadmodule "db_mysql.so"
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "permissions.so"
loadmodule "alias_db.so"
loadmodule "speeddial.so"
loadmodule "domain.so"
modparam("permissions|alias_db|speeddial|domain", "db_url", "URL")
modparam("permissions", "load_backends", 3)
modparam("permissions", "db_mode", KEPT)
modparam("permissions", "reload_delta", 0)
modparam("permissions", "peer_tag_avp", "$avp(tag)")
modparam("alias_db|speeddial", "use_domain", 1)
modparam("domain", "register_myself", 1)

request_route {
    $var(r) = "-";
    if ($rU == "keepalive" || $rU == $null) $var(r) = "here";
    if ($hdr(X-Case) == "source") {
        if (allow_source_address()) $var(a) = 1; else $var(a) = 0;
        if (allow_source_address("2")) $var(b) = 1; else $var(b) = 0;
        if (allow_source_address("9")) $var(c) = 1; else $var(c) = 0;
        $var(d) = allow_source_address_group();
        $var(r) = $_s($var(a) $var(b) $var(c) $var(d) $avp(tag));
    }
    if ($hdr(X-Case) == "address") {
        if (allow_address("2", "10.1.2.3", "5060")) $var(a) = 1; else $var(a) = 0;
        if (allow_address("2", "10.1.2.4", "5060")) $var(b) = 1; else $var(b) = 0;
        if (allow_address("2", "192.168.7.7", "1")) $var(c) = 1; else $var(c) = 0;
        if (allow_address("2", "gw.example.test", "5070")) $var(d) = 1; else $var(d) = 0;
        if (allow_address("2", "gw.example.test", "5071")) $var(e) = 1; else $var(e) = 0;
        $var(f) = allow_address_group("192.168.7.7", "1");
        $var(g) = allow_address_group("172.16.0.1", "1");
        $var(r) = $_s($var(a) $var(b) $var(c) $var(d) $var(e) $var(f) $var(g));
    }
    if ($hdr(X-Case) == "trusted") {
        if (allow_trusted()) $var(a) = 1; else $var(a) = 0;
        if (allow_trusted("10.9.9.9", "tcp")) $var(b) = 1; else $var(b) = 0;
        if (allow_trusted("10.9.9.9", "udp")) $var(c) = 1; else $var(c) = 0;
        if (allow_trusted("10.8.8.8", "udp")) $var(d) = 1; else $var(d) = 0;
        $var(r) = $_s($var(a) $var(b) $var(c) $var(d) $avp(tag));
    }
    if ($hdr(X-Case) == "alias") {
        $var(a) = alias_db_lookup("dbaliases");
        $var(r) = $_s($var(a) $ru);
    }
    if ($hdr(X-Case) == "find") {
        $var(u) = "sip:robert@127.0.0.1";
        $var(a) = alias_db_find("dbaliases", "$var(u)", "$avp(x)");
        $var(u) = "sip:nobody@127.0.0.1";
        $var(b) = alias_db_find("dbaliases", "$var(u)", "$avp(y)");
        $var(r) = $_s($var(a) $avp(x) $var(b));
    }
    if ($hdr(X-Case) == "speed") {
        $var(a) = sd_lookup("speed_dial");
        $var(r) = $_s($var(a) $ru);
    }
    if ($hdr(X-Case) == "domain") {
        if (is_from_local()) $var(a) = 1; else $var(a) = 0;
        if (is_uri_host_local()) $var(b) = 1; else $var(b) = 0;
        if (is_domain_local("Two.Example.Test")) $var(c) = 1; else $var(c) = 0;
        if (uri == myself) $var(d) = 1; else $var(d) = 0;
        if (lookup_domain("three.example.test")) $var(e) = 1; else $var(e) = 0;
        $var(r) = $_s($var(a) $var(b) $var(c) $var(d) $var(e));
    }
    append_to_reply("X-Out: $var(r)\r\n");
    sl_send_reply("200", "OK");
    exit;
}
"##;

fn start(kind: Kind, tables: &Tables, kept: &str) -> Stock {
    let config = CONFIG.replace("\"URL\"", &format!("\"{}\"", tables.url())).replace("KEPT", kept);
    Start { config: Some(config), ..Start::default() }.on(kind)
}

/// What a request is told.
fn told(server: &Stock, case: &str, from: &str, uri: &str) -> String {
    let phone = Phone::new(server, "alice", Over::Udp);
    let mut request = phone.request("OPTIONS", uri).header(&format!("X-Case: {case}"));
    request.from = format!("<{from}>;tag=1");
    phone.ask(&request).header("X-Out").unwrap_or_default().to_owned()
}

fn addresses_and_trusted_peers(kind: Kind) {
    let tables = Tables::new();
    tables.rows(
        "INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES
           (2, '127.0.0.0', 8, 0, 'loop'), (2, '10.1.2.3', 32, 5060, NULL), (2, '192.168.0.0', 16, 0, NULL),
           (2, 'gw.example.test', 0, 5070, 'name'), (3, '2001:db8::', 32, 0, NULL);
         INSERT INTO trusted (src_ip, proto, from_pattern, tag) VALUES
           ('127.0.0.1', 'any', '^sip:alice@', 'friend'), ('10.9.9.9', 'tcp', NULL, NULL), ('10.8.8.8', 'none', NULL, NULL)",
    );
    for kept in ["1", "0"] {
        let server = start(kind, &tables, kept);
        let ask = |case: &str, from: &str| told(&server, case, from, &server.uri("x"));
        assert_eq!(ask("source", "sip:alice@example.test"), "0 1 0 2 loop");
        assert_eq!(ask("address", "sip:alice@example.test"), "1 0 1 1 0 2 -1");
        assert_eq!(ask("trusted", "sip:alice@example.test"), "1 1 0 0 friend");
        assert_eq!(ask("trusted", "sip:carol@example.test"), "0 1 0 0 <null>");
    }
    let server = start(kind, &tables, "1");
    let ask = |case: &str, from: &str| told(&server, case, from, &server.uri("x"));
    tables.rows(
        "INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (9, '127.0.0.1', 32, 0, 'nine');
         UPDATE trusted SET from_pattern = '^sip:carol@'",
    );
    assert_eq!(ask("source", "sip:alice@example.test"), "0 1 0 2 loop", "as it was");
    server.rpc("permissions.addressReload", Value::Null).expect("a reload");
    server.rpc("permissions.trustedReload", Value::Null).expect("a reload");
    eventually("the new rows are known", SECOND * 10, || {
        ask("source", "sip:alice@example.test").starts_with("0 1 1 9")
            && ask("trusted", "sip:carol@example.test").starts_with("1 ")
    });
    let dump = |what: &str| server.rpc(what, Value::Null).expect("a dump").to_string();
    assert!(dump("permissions.addressDump").contains("10.1.2.3"), "{}", dump("permissions.addressDump"));
    assert!(dump("permissions.subnetDump").contains("192.168.0.0"), "{}", dump("permissions.subnetDump"));
    assert!(dump("permissions.domainDump").contains("gw.example.test"), "{}", dump("permissions.domainDump"));
    assert!(dump("permissions.trustedDump").contains("10.9.9.9"), "{}", dump("permissions.trustedDump"));
}

fn aliases_and_short_numbers(kind: Kind) {
    let tables = Tables::new();
    tables.rows(
        "INSERT INTO dbaliases (alias_username, alias_domain, username, domain) VALUES
           ('robert', '127.0.0.1', 'bob', 'sip.example.test'), ('o''hara', '127.0.0.1', 'carol', 'sip.example.test'),
           ('robert', 'other.example.test', 'other', 'sip.example.test');
         INSERT INTO speed_dial (username, domain, sd_username, sd_domain, new_uri) VALUES
           ('alice', '127.0.0.1', '22', '127.0.0.1', 'sip:bob@sip.example.test;x=1'), ('carol', '127.0.0.1', '23', '127.0.0.1', 'sip:x@y')",
    );
    let server = start(kind, &tables, "0");
    let alice = "sip:alice@127.0.0.1";
    let ask = |case: &str, user: &str| told(&server, case, alice, &format!("sip:{user}@127.0.0.1"));
    assert_eq!(ask("alias", "robert"), "1 sip:bob@sip.example.test");
    assert_eq!(ask("alias", "o'hara"), "1 sip:carol@sip.example.test");
    assert_eq!(ask("alias", "nobody"), "-1 sip:nobody@127.0.0.1");
    assert_eq!(ask("find", "x"), "1 sip:bob@sip.example.test -1");
    assert_eq!(ask("speed", "22"), "1 sip:bob@sip.example.test;x=1");
    assert_eq!(ask("speed", "23"), "-1 sip:23@127.0.0.1", "another user's");
    assert_eq!(ask("speed", "24"), "-1 sip:24@127.0.0.1");
}

fn domains(kind: Kind) {
    let tables = Tables::new();
    tables.rows("INSERT INTO domain (domain) VALUES ('one.example.test'), ('two.example.test')");
    let server = start(kind, &tables, "0");
    let ask = |from: &str, uri: &str| told(&server, "domain", from, uri);
    assert_eq!(ask("sip:a@one.example.test", "sip:b@two.example.test"), "1 1 1 1 0");
    assert_eq!(ask("sip:a@ONE.example.test", "sip:b@three.example.test"), "1 0 1 0 0");
    assert_eq!(ask("sip:a@x.test", &server.uri("b")), "0 0 1 1 0");
    tables
        .rows("INSERT INTO domain (domain) VALUES ('three.example.test'); DELETE FROM domain WHERE domain LIKE 'two%'");
    server.rpc("domain.reload", Value::Null).expect("a reload");
    eventually("the new rows are known", SECOND * 10, || {
        ask("sip:a@one.example.test", "sip:b@three.example.test") == "1 1 0 1 1"
    });
}
