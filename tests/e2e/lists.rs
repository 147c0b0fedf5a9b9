//! Files and tables that every worker keeps: rules, addresses, attributes of domains; and control methods in scripts.

use std::fs;

use serde_json::{Value, json};

use crate::common::SECOND;
use crate::support::free_port;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::process;
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;

/// A configuration in Kamailio's language.
fn kamailio(port: u16, modules: &[&str], rest: &str) -> String {
    let all = ["tm", "sl", "pv", "xlog", "textops", "siputils", "kex"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!("#!KAMAILIO\ndebug=3\noverload_age=0\nlisten=udp:127.0.0.1:{port}\n{modules}{rest}")
}

/// A configuration in OpenSIPS' language.
fn opensips(port: u16, modules: &[&str], rest: &str) -> String {
    let all = ["proto_udp", "tm", "sl", "sipmsgops", "signaling"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!("log_level=3\noverload_age=0\nsocket=udp:127.0.0.1:{port}\n{modules}{rest}")
}

#[test]
fn rules_are_read_again_by_all_workers() {
    let dir = process::directory("rules");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("calls.allow", "\"^sip:boss@\" : ALL\n");
    write("calls.deny", "ALL : \"^sip:00\"\n");
    write("register.deny", "ALL : \"^sip:[^@]*@10\\.\"\n");
    let port = free_port();
    let rest = format!(
        r#"
request_route {{
    if (is_method("REGISTER")) {{
        if (allow_register("{dir}/register")) sl_send_reply("200", "OK"); else sl_send_reply("403", "No");
        exit;
    }}
    if ($rU == "uri") {{
        if (allow_uri("{dir}/calls", "$hdr(X-Uri)")) sl_send_reply("200", "OK"); else sl_send_reply("403", "No");
        exit;
    }}
    if ($hdr(X-Branch) != $null) append_branch("$hdr(X-Branch)");
    if (allow_routing("{dir}/calls")) sl_send_reply("200", "OK"); else sl_send_reply("403", "No");
}}
"#,
        dir = dir.path().display()
    );
    let server = Reprise::start(&kamailio(port, &["permissions"], &rest), &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |from: &str, uri: &str, headers: &[&str]| {
        let mut request = client.request("MESSAGE", uri);
        request.from = format!("<{from}>;tag=1");
        let request = headers.iter().fold(request, |r, h| r.header(h));
        client.ask(&request).status()
    };
    let [anybody, boss] = ["sip:alice@example.test", "sip:boss@example.test"];
    assert_eq!(ask(anybody, "sip:bob@example.test", &[]), 200);
    assert_eq!(ask(anybody, "sip:0049@example.test", &[]), 403);
    assert_eq!(ask(boss, "sip:0049@example.test", &[]), 200);
    assert_eq!(ask(anybody, "sip:bob@example.test", &["X-Branch: sip:0049@example.test"]), 403);
    assert_eq!(ask(anybody, "sip:uri@example.test", &["X-Uri: sip:00@x"]), 403);
    assert_eq!(ask(anybody, "sip:uri@example.test", &["X-Uri: sip:1@x"]), 200);
    let register = |contact: &str| {
        let mut request = client.request("REGISTER", "sip:example.test");
        request.contact = contact.to_string();
        client.ask(&request).status()
    };
    assert_eq!(
        [register("<sip:a@192.0.2.1>"), register("<sip:a@192.0.2.1>, <sip:a@10.0.0.1>"), register("*")],
        [200, 403, 200]
    );

    // A rule more: nobody hears of it before the reload, and all do from then on.
    write("calls.deny", "ALL : \"^sip:00\"\nALL : \"^sip:bob@\"\n");
    assert_eq!(ask(anybody, "sip:bob@example.test", &[]), 200);
    assert_eq!(server.ctl("permissions.rulesReload", Value::Null), json!({ "rows": 4 }));
    assert_eq!([0; 9].map(|_| ask(anybody, "sip:bob@example.test", &[])), [403; 9]);
    // What is wrong leaves everything as it was, and is named.
    write("calls.allow", "ALL\n");
    let said = server.try_ctl("permissions.rulesReload", Value::Null).unwrap_err()["message"].to_string();
    assert!(said.contains("calls.allow:1: a rule is FROM : TO") && said.contains("stays as it was"), "{said}");
    assert_eq!(ask(boss, "sip:0049@example.test", &[]), 200);
    // A file that is not there has no rules.
    fs::remove_file(dir.path().join("calls.allow")).unwrap();
    server.ctl("permissions.rulesReload", Value::Null);
    assert_eq!([0; 9].map(|_| ask(boss, "sip:0049@example.test", &[])), [403; 9]);
    let base = dir.path().join("calls").display().to_string();
    let test = |to: &str| server.ctl("permissions.testUri", json!([base, "sip:x@y", to]));
    assert_eq!([test("sip:bob@z"), test("sip:carol@z")], [json!("Denied"), json!("Allowed")]);
    assert!(server.try_ctl("permissions.testUri", json!(["other", "sip:x@y", "sip:z"])).is_err());
}

#[test]
fn a_file_of_addresses_is_read_again() {
    let dir = process::directory("addresses");
    let file = dir.path().join("addresses");
    fs::write(&file, "1 192.0.2.1\n").unwrap();
    let port = free_port();
    let rest = format!(
        r#"
modparam("permissions", "address_file", "{}")
request_route {{
    if (allow_source_address("1")) sl_send_reply("200", "OK"); else sl_send_reply("403", "No");
}}
"#,
        file.display()
    );
    let server = Reprise::start(&kamailio(port, &["permissions"], &rest), &["-n", "2"]);
    let client = SipClient::new(port);
    let status = || client.options("sip:x@example.test").status();
    assert_eq!(status(), 403);
    fs::write(&file, "1 192.0.2.1\n1 127.0.0.0 8\n").unwrap();
    assert_eq!(server.ctl("permissions.addressReload", Value::Null), json!({ "rows": 2 }));
    assert_eq!([0; 6].map(|_| status()), [200; 6]);
    fs::remove_file(&file).unwrap();
    let said = server.try_ctl("permissions.addressReload", Value::Null).unwrap_err()["message"].to_string();
    assert!(said.contains("is not there"), "{said}");
    assert_eq!([0; 6].map(|_| status()), [200; 6]);
}

#[test]
fn opensips_looks_up_addresses_with_ports_protocols_and_patterns() {
    let db = MariaDb::shared();
    let name = db.fresh_database();
    db.sql(&format!(
        "USE {name}; CREATE TABLE address (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, grp SMALLINT UNSIGNED DEFAULT 0 NOT NULL, \
         ip CHAR(50) NOT NULL, mask TINYINT DEFAULT 32 NOT NULL, port SMALLINT UNSIGNED DEFAULT 0 NOT NULL, \
         proto CHAR(4) DEFAULT 'any' NOT NULL, pattern CHAR(64) DEFAULT NULL, context_info CHAR(32) DEFAULT NULL); \
         INSERT INTO address (grp, ip, mask, port, proto, pattern, context_info) VALUES \
         (1, '127.0.0.0', 8, 0, 'udp', NULL, 'local'), (2, '10.0.0.1', 32, 5060, 'tcp', '^gw', 'gateway'), \
         (3, '10.0.0.0', 24, 0, 'any', NULL, NULL), (4, '127.0.0.1', 32, 0, 'none', NULL, NULL);"
    ));
    let port = free_port();
    let rest = format!(
        r#"
loadmodule "db_mysql.so"
loadmodule "permissions.so"
modparam("permissions", "db_url", "{}")
route {{
    $avp(ctx) = "none";
    $var(out) = 0;
    switch ($rU) {{
    case "source":
        if (check_source_address(1, $avp(ctx))) $var(out) = 1;
        break;
    case "other":
        if (check_source_address(4)) $var(out) = 1;
        break;
    case "group":
        if (get_source_group($var(group))) $var(out) = $var(group);
        break;
    case "exact":
        if (check_address(2, "10.0.0.1", 5060, "tcp", $avp(ctx), "gw.example.test")) $var(out) = 1;
        break;
    case "pattern":
        if (check_address(2, "10.0.0.1", 5060, "tcp", $avp(ctx), "phone")) $var(out) = 1;
        break;
    case "proto":
        if (check_address(2, "10.0.0.1", 5060, "udp")) $var(out) = 1;
        break;
    case "port":
        if (check_address(2, "10.0.0.1", 5070, "tcp")) $var(out) = 1;
        break;
    case "any":
        if (check_address(0, "10.0.0.99", 0, "any")) $var(out) = 1;
        break;
    case "bad":
        if (check_address(1, "nonsense", 0, "any")) $var(out) = 1;
        break;
    }}
    sl_send_reply(200, "$var(out) $avp(ctx)");
}}
"#,
        db.url_for(NATIVE, &name)
    );
    let server = Reprise::start(&opensips(port, &[], &rest), &["-n", "2"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_string();
    for (user, wanted) in [
        ("source", "1 local"),
        ("other", "0 none"),
        ("group", "1 none"),
        ("exact", "1 gateway"),
        ("pattern", "0 none"),
        ("proto", "0 none"),
        ("port", "0 none"),
        ("any", "1 none"),
        ("bad", "0 none"),
    ] {
        assert_eq!(ask(user), wanted, "{user}");
    }
    db.sql(&format!("DELETE FROM {name}.address WHERE grp = 1"));
    server.ctl("permissions:address_reload", Value::Null);
    assert_eq!([0; 6].map(|_| ask("source")), ["0 none"; 6]);
    assert!(server.ctl("address_dump", Value::Null).to_string().contains("10.0.0.1"));
    assert!(server.ctl("permissions:subnet_dump", Value::Null).to_string().contains("10.0.0.0"));
}

#[test]
fn opensips_has_the_same_rules_in_files() {
    let dir = process::directory("rules");
    fs::write(dir.path().join("calls.deny"), "ALL : \"^sip:00\"\n").unwrap();
    let port = free_port();
    let rest = format!(
        r#"
loadmodule "permissions.so"
route {{
    if (allow_routing("{}/calls")) sl_send_reply(200, "OK"); else sl_send_reply(403, "No");
}}
"#,
        dir.path().display()
    );
    let server = Reprise::start(&opensips(port, &[], &rest), &["-n", "2"]);
    let client = SipClient::new(port);
    let status = |user: &str| client.options(&format!("sip:{user}@example.test")).status();
    assert_eq!([status("bob"), status("0049")], [200, 403]);
    fs::write(dir.path().join("calls.deny"), "").unwrap();
    server.ctl("permissions:rules_reload", Value::Null);
    assert_eq!([0; 6].map(|_| status("0049")), [200; 6]);
}

#[test]
fn domains_have_attributes() {
    let db = MariaDb::shared();
    let name = db.fresh_database();
    let version =
        "CREATE TABLE version (id INT AUTO_INCREMENT PRIMARY KEY, table_name VARCHAR(32), table_version INT);";
    let schema = fs::read_to_string("/usr/share/kamailio/mysql/domain-create.sql").expect("Kamailio's schema");
    db.sql(&format!("USE {name}; {version} {schema}"));
    db.sql(&format!(
        "USE {name}; INSERT INTO domain (domain, did) VALUES ('example.test', 'one'), ('b.test', NULL); \
         INSERT INTO domain_attrs (did, name, type, value) VALUES ('one', 'limit', 0, '30'), ('one', 'plan', 2, 'gold'), \
         ('b.test', 'plan', 2, 'lead'), ('one', 'odd', 1, 'x');"
    ));
    let port = free_port();
    let rest = format!(
        r#"
loadmodule "db_mysql.so"
loadmodule "domain.so"
modparam("domain", "db_url", "{}")
request_route {{
    $avp(limit) = 1;
    if (lookup_domain("$rd")) {{
        $var(sum) = $avp(limit) + 1;
        sl_send_reply("200", "$avp(did) $var(sum) $avp(plan)");
        exit;
    }}
    if (lookup_domain("$hdr(X-Domain)", "caller_")) {{
        sl_send_reply("200", "$avp(caller_did) $avp(caller_plan)");
        exit;
    }}
    sl_send_reply("404", "$rc");
}}
"#,
        db.url_for(NATIVE, &name)
    );
    let server = Reprise::start(&kamailio(port, &[], &rest), &["-n", "2"]);
    let client = SipClient::new(port);
    let ask = |uri: &str, domain: &str| {
        let request = client.request("OPTIONS", uri).header(&format!("X-Domain: {domain}"));
        client.ask(&request).reason().to_string()
    };
    assert_eq!(ask("sip:x@Example.test", "none"), "one 31 gold");
    assert_eq!(ask("sip:x@none.test", "b.test"), "b.test lead");
    assert_eq!(ask("sip:x@none.test", "none"), "-1");
    db.sql(&format!("UPDATE {name}.domain_attrs SET value = 'silver' WHERE did = 'one' AND name = 'plan'"));
    server.ctl("domain.reload", Value::Null);
    assert_eq!([0; 6].map(|_| ask("sip:x@example.test", "none")), ["one 31 silver"; 6]);
}

#[test]
fn scripts_carry_out_control_methods() {
    let port = free_port();
    let rest = r#"
modparam("jsonrpcs", "pretty_format", 0)
modparam("htable", "htable", "t=>initval=0")
request_route {
    switch ($rU) {
        case "version":
            jsonrpc_exec('{"jsonrpc": "2.0", "method": "core.version", "id": 1}');
            break;
        case "set":
            jsonrpc_exec('{"jsonrpc": "2.0", "method": "htable.seti", "params": ["t", "$ci", 7], "id": "a"}');
            sl_send_reply("200", "$rc $jsonrpl(code) $sht(t=>$ci)");
            exit;
        case "waits":
            jsonrpc_exec('{"jsonrpc": "2.0", "method": "waits", "id": 2}');
            break;
        case "unknown":
            jsonrpc_exec('{"jsonrpc": "2.0", "method": "no.such", "id": 3}');
            break;
        case "garbage":
            jsonrpc_exec('{');
            break;
        case "batch":
            jsonrpc_exec('[{"jsonrpc": "2.0", "method": "core.version", "id": 1}]');
            break;
    }
    append_to_reply("X-Body: $jsonrpl(body)\r\n");
    sl_send_reply("200", "$rc $jsonrpl(code) $jsonrpl(text)");
}
"#;
    let server = Reprise::start(&kamailio(port, &["htable", "jsonrpcs"], rest), &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test"));
    let body = |user: &str| {
        let reply = ask(user);
        assert_eq!(reply.reason().split(' ').next(), Some("1"), "{}", reply.raw);
        serde_json::from_str::<Value>(reply.header("X-Body").unwrap()).unwrap()
    };
    let version = body("version");
    assert_eq!((&version["id"], version["error"].is_null()), (&json!(1), true), "{version}");
    assert_eq!([0; 6].map(|_| ask("set").reason().to_string()), ["1 200 7"; 6]);
    // The script that asks is one of those that wait.
    let waits = body("waits");
    assert_eq!(waits["result"][0]["function"], "jsonrpc_exec", "{waits}");
    assert_eq!(body("unknown")["error"]["code"], -32601);
    assert!(ask("unknown").reason().starts_with("1 500 no such method"), "{}", ask("unknown").reason());
    assert_eq!(body("garbage")["error"]["code"], -32700);
    assert_eq!(body("batch")["error"]["code"], -32600);
    // Many at once, and nobody is forgotten.
    let requests: Vec<_> = (0..200).map(|_| client.request("OPTIONS", "sip:version@example.test")).collect();
    requests.iter().for_each(|r| client.send_request(r));
    for _ in &requests {
        client.expect_status(200, SECOND * 20);
    }
    assert_eq!(server.log_count("panic"), 0);
}
