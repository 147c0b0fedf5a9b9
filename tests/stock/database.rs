//! The file with accounts, bindings and accounting in a database: WITH_MYSQL, WITH_AUTH, WITH_USRLOCDB, WITH_ACCDB.

use std::time::Duration;

use crate::SECOND;
use crate::on_both;
use crate::phone::{Over, Phone, bindings};
use crate::schema::Tables;
use crate::server::{Kind, Start, Stock};
use crate::support::sip::{Request, SipMessage};
use crate::support::{eventually, free_port};

on_both! {
    accounts_are_asked_for
    strangers_are_refused
    bindings_survive_a_restart
    calls_are_accounted
}

/// How a server is started on a database.
pub fn with_accounts(tables: &Tables, more: &[&str]) -> Start {
    let mut defines = vec!["WITH_MYSQL", "WITH_AUTH", "WITH_USRLOCDB", "WITH_ACCDB"];
    defines.extend(more);
    Start { local: format!("#!define DBURL \"{}\"\n", tables.url()), ..Start::with(&defines) }
}

/// Asks, and answers the challenge.
pub fn authorized(phone: &Phone, request: &Request, password: &str, challenge: u16) -> (Request, SipMessage) {
    let asked = phone.ask(request);
    assert_eq!(asked.status(), challenge, "{}", asked.raw);
    if request.method == "INVITE" {
        phone.send(&request.ack(&asked));
    }
    let again = request.authorized(&asked, &phone.user, password);
    (again.clone(), phone.ask(&again))
}

pub fn registered(server: &Stock, user: &str, password: &str, over: Over) -> Phone {
    let phone = Phone::new(server, user, over);
    let (_, answer) = authorized(&phone, &phone.register(600), password, 401);
    assert_eq!(answer.status(), 200, "{}", answer.raw);
    phone
}

fn accounts_are_asked_for(kind: Kind) {
    let tables = Tables::new();
    let server = with_accounts(&tables, &[]).on(kind);
    for over in [Over::Udp, Over::Tcp] {
        let alice = Phone::new(&server, "alice", over);
        let (_, answer) = authorized(&alice, &alice.register(600), "wonderland", 401);
        assert_eq!((answer.status(), bindings(&answer).len()), (200, 1), "{}", answer.raw);
        let (_, answer) = authorized(&alice, &alice.register(600), "wrong", 401);
        assert_eq!(answer.status(), 401);
        let nobody = Phone::new(&server, "nobody", over);
        let (_, answer) = authorized(&nobody, &nobody.register(600), "wonderland", 401);
        assert_eq!(answer.status(), 401);
        // The right password, another one's address.
        let mut register = alice.register(600);
        register.to = format!("<{}>", server.uri("bob"));
        let asked = alice.ask(&register);
        assert_eq!(asked.status(), 401);
        assert_eq!(alice.ask(&register.authorized(&asked, "alice", "wonderland")).status(), 401);
        let mut star = alice.register(0);
        star.contact = "*".to_owned();
        let (_, answer) = authorized(&alice, &star, "wonderland", 401);
        assert_eq!((answer.status(), bindings(&answer)), (200, vec![]));
    }
    let bob = registered(&server, "bob", "builder", Over::Udp);
    let alice = registered(&server, "alice", "wonderland", Over::Udp);
    // A call is asked for with 407, and the credentials go no further.
    let invite = alice.invite(&bob.uri());
    let asked = alice.ask(&invite);
    assert_eq!(asked.status(), 407, "{}", asked.raw);
    alice.send(&invite.ack(&asked));
    let again = invite.authorized(&asked, "alice", "wonderland");
    alice.send(&again);
    let seen = bob.expect_request("INVITE");
    assert_eq!(seen.header("Proxy-Authorization"), None, "{}", seen.raw);
    bob.answer(&seen, 200, "OK");
    let ok = alice.final_reply(&again);
    alice.send(&again.ack(&ok));
    bob.expect_request("ACK");
    // Within the call nobody is asked.
    let bye = again.in_dialog("BYE", &ok);
    alice.send(&bye);
    let seen = bob.expect_request("BYE");
    bob.answer(&seen, 200, "OK");
    assert_eq!(alice.final_reply(&bye).status(), 200);
}

fn strangers_are_refused(kind: Kind) {
    let tables = Tables::new();
    let server = with_accounts(&tables, &[]).on(kind);
    let stranger = Phone::new(&server, "mallory", Over::Udp);
    let mut options = stranger.request("OPTIONS", "sip:somebody@example.test");
    options.from = "<sip:mallory@example.test>;tag=1".to_owned();
    let answer = stranger.ask(&options);
    assert_eq!((answer.status(), answer.reason()), (403, "Not relaying"));
    // Who is one of ours by name only is asked for a password.
    let invite = stranger.invite(&server.uri("bob"));
    let (again, answer) = authorized(&stranger, &invite, "guessed", 407);
    assert_eq!(answer.status(), 407);
    stranger.send(&again.ack(&answer));
}

fn bindings_survive_a_restart(kind: Kind) {
    let tables = Tables::new();
    let port = free_port();
    let start = Start { port: Some(port), ..with_accounts(&tables, &[]) };
    let server = start.on(kind);
    let bob = registered(&server, "bob", "builder", Over::Udp);
    let alice = registered(&server, "alice", "wonderland", Over::Udp);
    // What is kept back is written at the end at the latest.
    server.stop();
    assert_eq!(tables.number("SELECT COUNT(*) FROM location"), 2);
    let contact = tables.rows("SELECT contact FROM location WHERE username = 'bob'");
    assert_eq!(contact, bob.contact());
    let server = start.on(kind);
    let message = alice.request("MESSAGE", &server.uri("bob")).body("text/plain", "still there?\n");
    let asked = alice.ask(&message);
    assert_eq!(asked.status(), 407);
    let again = message.authorized(&asked, "alice", "wonderland");
    alice.send(&again);
    let seen = bob.expect_request("MESSAGE");
    bob.answer(&seen, 200, "OK");
    assert_eq!(alice.final_reply(&again).status(), 200);
    // Who leaves leaves the table too.
    let (_, answer) = authorized(&bob, &bob.register(0), "builder", 401);
    assert_eq!(bindings(&answer), Vec::<String>::new());
    server.stop();
    assert_eq!(tables.number("SELECT COUNT(*) FROM location WHERE username = 'bob'"), 0);
}

fn calls_are_accounted(kind: Kind) {
    let tables = Tables::new();
    let server = with_accounts(&tables, &[]).on(kind);
    let bob = registered(&server, "bob", "builder", Over::Udp);
    let alice = registered(&server, "alice", "wonderland", Over::Udp);
    let invite_answered = |status: u16, reason: &str| {
        let invite = alice.invite(&bob.uri());
        let asked = alice.ask(&invite);
        alice.send(&invite.ack(&asked));
        let again = invite.authorized(&asked, "alice", "wonderland");
        alice.send(&again);
        let seen = bob.expect_request("INVITE");
        bob.answer(&seen, status, reason);
        let answer = alice.final_reply(&again);
        alice.send(&again.ack(&answer));
        bob.expect_request("ACK");
        (again, answer)
    };
    let (invite, ok) = invite_answered(200, "OK");
    let bye = invite.in_dialog("BYE", &ok);
    alice.send(&bye);
    let seen = bob.expect_request("BYE");
    bob.answer(&seen, 200, "OK");
    alice.final_reply(&bye);
    eventually("two rows", SECOND * 10, || tables.number("SELECT COUNT(*) FROM acc") == 2);
    let rows = tables.rows(
        "SELECT method, sip_code, sip_reason, callid, src_user, src_domain, dst_ouser FROM acc ORDER BY method DESC",
    );
    let call_id = &invite.call_id;
    let (first, second) = rows.split_once('\n').unwrap();
    assert_eq!(first, format!("INVITE\t200\tOK\t{call_id}\talice\t127.0.0.1\tbob"));
    assert!(second.starts_with(&format!("BYE\t200\tOK\t{call_id}\talice\t127.0.0.1\t")), "{second}");
    assert_eq!(tables.number("SELECT COUNT(*) FROM missed_calls"), 0);

    // A missed call.
    let (missed, _) = invite_answered(486, "Busy Here");
    let of_it = format!("FROM missed_calls WHERE callid = '{}'", missed.call_id);
    eventually("a missed call", SECOND * 10, || tables.number(&format!("SELECT COUNT(*) {of_it}")) == 1);
    assert_eq!(tables.rows(&format!("SELECT method, sip_code, dst_ouser {of_it}")), "INVITE\t486\tbob");
    // Without failed_transaction_flag a call that failed is no call.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(tables.number("SELECT COUNT(*) FROM acc"), 2);
}
