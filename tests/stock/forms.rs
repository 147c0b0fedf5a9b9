//! The file with tables of addresses, aliases, short numbers and domains: WITH_IPAUTH, WITH_ALIASDB, WITH_SPEEDDIAL,
//! WITH_MULTIDOMAIN.

use serde_json::Value;

use crate::SECOND;
use crate::database::{registered, with_accounts};
use crate::on_both;
use crate::phone::{Over, Phone};
use crate::schema::Tables;
use crate::server::Kind;
use crate::support::eventually;

on_both! {
    addresses_need_no_password
    aliases_and_short_numbers_lead_to_users
    domains_of_the_table_are_ours
}

fn addresses_need_no_password(kind: Kind) {
    let tables = Tables::new();
    tables.rows("INSERT INTO address (grp, ip_addr, mask, port) VALUES (2, '127.0.0.0', 8, 0)");
    let server = with_accounts(&tables, &["WITH_IPAUTH"]).on(kind);
    let bob = registered(&server, "bob", "builder", Over::Udp);
    let alice = Phone::new(&server, "alice", Over::Udp);
    let message = || alice.request("MESSAGE", &bob.uri()).body("text/plain", "hello\n");
    assert_eq!(alice.ask(&message()).status(), 407, "group 2 is not asked for");
    tables.rows("INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '127.0.0.1', 32, 0)");
    server.rpc("permissions.addressReload", Value::Null).expect("a reload");
    // Registrations are asked for a password in any case.
    eventually("the address is known", SECOND * 10, || {
        let message = message();
        alice.send(&message);
        match bob.recv(SECOND / 2) {
            Some(seen) => {
                bob.answer(&seen, 200, "OK");
                alice.final_reply(&message).status() == 200
            }
            None => false,
        }
    });
    assert_eq!(alice.ask(&alice.register(60)).status(), 401);
    let dump = server.rpc("permissions.addressDump", Value::Null).expect("a dump").to_string();
    assert!(dump.contains("127.0.0.1"), "{dump}");
    let dump = server.rpc("permissions.subnetDump", Value::Null).expect("a dump").to_string();
    assert!(dump.contains("127.0.0.0"), "{dump}");
}

fn aliases_and_short_numbers_lead_to_users(kind: Kind) {
    let tables = Tables::new();
    let server = with_accounts(&tables, &["WITH_ALIASDB", "WITH_SPEEDDIAL", "WITH_IPAUTH"]).on(kind);
    let host = format!("127.0.0.1:{}", server.port);
    tables.rows(&format!(
        "INSERT INTO dbaliases (alias_username, alias_domain, username, domain) VALUES ('robert', '127.0.0.1', 'bob', '{host}');
         INSERT INTO speed_dial (username, domain, sd_username, sd_domain, new_uri) VALUES
           ('alice', '127.0.0.1', '22', '127.0.0.1', 'sip:bob@{host}');
         INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '127.0.0.1', 32, 0)"
    ));
    server.rpc("permissions.addressReload", Value::Null).expect("a reload");
    let bob = registered(&server, "bob", "builder", Over::Udp);
    let alice = Phone::new(&server, "alice", Over::Udp);
    for user in ["robert", "22"] {
        let message = alice.request("MESSAGE", &server.uri(user)).body("text/plain", "hello\n");
        alice.send(&message);
        let seen = bob.expect_request("MESSAGE");
        bob.answer(&seen, 200, "OK");
        assert_eq!(alice.final_reply(&message).status(), 200);
    }
    for user in ["roberta", "23"] {
        let message = alice.request("MESSAGE", &server.uri(user)).body("text/plain", "hello\n");
        assert_eq!(alice.ask(&message).status(), 404, "{user}");
    }
}

fn domains_of_the_table_are_ours(kind: Kind) {
    let tables = Tables::new();
    tables.rows(
        "INSERT INTO domain (domain) VALUES ('one.example.test');
         INSERT INTO subscriber (username, domain, password) VALUES ('alice', 'one.example.test', 'other')",
    );
    let server = with_accounts(&tables, &["WITH_MULTIDOMAIN"]).on(kind);
    let alice = Phone::new(&server, "alice", Over::Udp);
    let register = |domain: &str| {
        let mut register = alice.request("REGISTER", &format!("sip:{domain}"));
        register.from = format!("<sip:alice@{domain}>;tag=1");
        register.to = format!("<sip:alice@{domain}>");
        register.header("Expires: 600")
    };
    let asked = alice.ask(&register("one.example.test"));
    assert_eq!(asked.status(), 401, "{}", asked.raw);
    let ok = alice.ask(&register("one.example.test").authorized(&asked, "alice", "other"));
    assert_eq!(ok.status(), 200, "{}", ok.raw);
    // Who is of another domain reaches ours only.
    let mut options = alice.request("OPTIONS", "sip:x@two.example.test");
    options.from = "<sip:x@two.example.test>;tag=1".to_owned();
    let no = alice.ask(&options);
    assert_eq!((no.status(), no.reason()), (403, "Not relaying"));
    let mut options = alice.request("OPTIONS", "sip:nobody@one.example.test");
    options.from = "<sip:x@two.example.test>;tag=1".to_owned();
    assert_eq!(alice.ask(&options).status(), 404);
}
