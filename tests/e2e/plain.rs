//! Scripts that were written for a server that blocks, unchanged: with `script_io=await` they answer as they do with
//! `script_io=block`, and nobody else notices. OPTIONS through the same single worker show what others notice.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::common::{Footprint, SECOND, address, wait_quiet};
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::probe::{Probe, Stats};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, SipMessage};
use crate::support::uas::{Answer, Uas};
use crate::support::{eventually, free_port};
use crate::waits_common::ms;

/// What the scripts' tables hold besides the samples.
const TABLES: &str = "
CREATE TABLE blacklist (name VARCHAR(64) PRIMARY KEY);
INSERT INTO blacklist VALUES ('mallory');
CREATE TABLE counter (n INT NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE hops (name VARCHAR(64) PRIMARY KEY, hop VARCHAR(64) NOT NULL);
";

/// A server with one worker and a database of its own.
struct Plain {
    server: Reprise,
    port: u16,
    database: String,
}

impl Plain {
    fn sql(&self, text: &str) -> String {
        MariaDb::shared().sql(&format!("USE {}; {text}", self.database))
    }

    fn client(&self) -> SipClient {
        SipClient::new(self.port)
    }

    fn request(&self, client: &SipClient, method: &str, from: &str, to: &str) -> Request {
        let uri = format!("sip:{to}@127.0.0.1:{}", self.port);
        match method {
            "INVITE" => client.invite(&uri),
            _ => client.request(method, &uri),
        }
        .caller(from)
    }
}

/// What everybody saw, in words without ports and identifiers.
type Seen = String;

/// Runs a script in both ways; `play` says what it saw. What it saw must be the same.
fn compare(name: &str, script: &str, next: &dyn Fn(&str) -> String, play: &dyn Fn(&Plain) -> Seen) {
    let (awaited, with) = run(script, "await", next, play);
    let (blocked, without) = run(script, "block", next, play);
    println!("{name}, await: {with:?}\n{name}, block: {without:?}\n{awaited}");
    assert_eq!(awaited, blocked, "{name}: what is seen with await (left) and with block");
    assert_eq!((with.lost, with.refused), (0, 0), "{name}: {with:?}");
    // It does block a server that blocks; else this would show nothing.
    assert!(without.max >= ms(250), "{name}: {without:?}");
}

fn run(script: &str, io: &str, next: &dyn Fn(&str) -> String, play: &dyn Fn(&Plain) -> Seen) -> (Seen, Stats) {
    let db = MariaDb::shared();
    let database = db.fresh_database();
    db.sql(&format!("USE {database}; {TABLES}"));
    let port = free_port();
    let script = next(script)
        .replace("127.0.0.1:5060", &address(port).to_string())
        .replace("mysql://opensips:opensipsrw@localhost/opensips", &db.url_for(NATIVE, &database));
    let (first, rest) = match script.strip_prefix("#!KAMAILIO\n") {
        Some(rest) => ("#!KAMAILIO\n", rest),
        None => ("", script.as_str()),
    };
    let config = format!("{first}script_io={io}\noverload_age=0\n{rest}");
    let plain = Plain { server: Reprise::start(&config, &["-n", "1"]), port, database };
    let probe = Probe::start(address(port), 100);
    let seen = play(&plain);
    let stats = probe.stop();
    wait_quiet(&plain.server, SECOND * 40);
    eventually("nothing waits", SECOND * 5, || {
        let left = Footprint::of(&plain.server);
        (left.parked, left.operations, left.jobs) == (0, 0, 0)
    });
    (seen, stats)
}

/// No next hop in the script.
fn alone(script: &str) -> String {
    script.to_owned()
}

/// The final answer to a request that was sent before, with a header if there is one.
fn told(seen: &mut Seen, who: &str, answer: &SipMessage, header: &str) {
    let value = answer.header(header).map(|v| format!(", {header}: {v}")).unwrap_or_default();
    let line = format!("{who}: {} {}{value}\n", answer.status(), answer.reason());
    // A server that blocks lets its own timers run out, and repeats itself.
    if !seen.ends_with(&line) {
        seen.push_str(&line);
    }
}

/// Nothing but provisional answers comes for a while.
fn silence(client: &SipClient, time: Duration) -> bool {
    let end = std::time::Instant::now() + time;
    while let Some(m) = client.recv(end.saturating_duration_since(std::time::Instant::now())) {
        if m.status() >= 200 {
            return false;
        }
    }
    true
}

#[test]
fn a_blacklist_that_ends_in_silence() {
    compare("blacklist", include_str!("plain/blacklist.cfg"), &alone, &|plain| {
        let mut seen = Seen::new();
        for method in ["MESSAGE", "INVITE", "REGISTER"] {
            let (mallory, alice) = (plain.client(), plain.client());
            let bad = plain.request(&mallory, method, "mallory", "bob");
            mallory.send_request(&bad);
            // As an impatient caller would.
            mallory.send_request(&bad);
            let good = plain.request(&alice, method, "alice", "bob");
            let answer = alice.exchange(&good, SECOND * 20).pop().unwrap();
            told(&mut seen, &format!("alice, {method}"), &answer, "X-Note");
            let heard = if silence(&mallory, SECOND) { "nothing" } else { "something" };
            writeln!(seen, "mallory, {method}: {heard}").unwrap();
        }
        assert_eq!(seen.matches("200 Welcome").count(), 3, "{seen}");
        assert_eq!(seen.matches(": nothing").count(), 3, "{seen}");
        seen
    });
}

#[test]
fn look_ups_in_conditions() {
    compare("condition", include_str!("plain/condition.cfg"), &alone, &|plain| {
        let mut seen = Seen::new();
        for (from, to) in [("alice", "bob"), ("alice", "dave"), ("bob", "bob"), ("carol", "bob"), ("nobody", "bob")] {
            let client = plain.client();
            let answer = client.exchange(&plain.request(&client, "MESSAGE", from, to), SECOND * 20).pop().unwrap();
            told(&mut seen, &format!("{from} to {to}"), &answer, "X-Note");
        }
        let expected = "alice to bob: 200 Credit 100\n\
                        alice to dave: 480 prepaid, 3 tries\n\
                        bob to bob: 404 No note\n\
                        carol to bob: 402 Debt of carol, 3 tries\n\
                        nobody to bob: 404 No note\n";
        assert_eq!(seen, expected);
        seen
    });
}

#[test]
fn stateless_replies_after_look_ups() {
    compare("stateless", include_str!("plain/stateless.cfg"), &alone, &|plain| {
        let mut seen = Seen::new();
        for from in ["alice", "carol"] {
            for method in ["INVITE", "MESSAGE"] {
                let client = plain.client();
                let request = plain.request(&client, method, from, "bob");
                let answer = client.exchange(&request, SECOND * 20).pop().unwrap();
                told(&mut seen, &format!("{from}, {method}"), &answer, "X-Note");
                let via = answer.header("Via").unwrap_or_default();
                assert!(via.contains("received=127.0.0.1") && via.contains("rport="), "{via}");
                assert!(answer.tag("To").is_some());
                if method == "INVITE" {
                    client.send_request(&request.ack(&answer));
                    let again = client.recv(ms(700)).filter(|m| m.status() >= 200);
                    writeln!(seen, "after the ACK: {}", again.map_or("silence".into(), |m| m.start_line)).unwrap();
                }
            }
        }
        assert!(seen.contains("alice, INVITE: 403 Not you, alice, X-Note: prepaid"), "{seen}");
        assert_eq!(seen.matches("silence").count(), 2, "{seen}");
        seen
    });
}

#[test]
fn look_ups_in_routes_of_replies_failures_and_timers() {
    let busy = Uas::rejecting(486, "Busy Here");
    let script = |text: &str| text.replace("127.0.0.1:5080", &busy.addr.to_string());
    compare("routes", include_str!("plain/routes.cfg"), &script, &|plain| {
        let mut seen = Seen::new();
        let second = Uas::start(|request| match request.method() {
            "INVITE" => vec![Answer::new(183, "Progress"), Answer::new(200, "Here").after(ms(50))],
            _ => vec![Answer::new(200, "OK")],
        });
        plain.sql(&format!("INSERT INTO hops VALUES ('bob', 'sip:{}')", second.addr));
        let client = plain.client();
        let invite = plain.request(&client, "INVITE", "alice", "bob");
        let answers = client.exchange(&invite, SECOND * 20);
        for answer in answers.iter().filter(|a| a.status() > 100) {
            told(&mut seen, "to bob", answer, "X-Note");
        }
        let ok = answers.last().unwrap();
        client.send_request(&invite.ack(ok));
        second.wait_request("ACK", SECOND * 5);
        let bye = client.exchange(&invite.in_dialog("BYE", ok), SECOND * 20).pop().unwrap();
        told(&mut seen, "BYE", &bye, "X-Note");
        let carol = plain.request(&client, "INVITE", "alice", "carol");
        let answer = client.exchange(&carol, SECOND * 20).pop().unwrap();
        client.send_request(&carol.ack(&answer));
        told(&mut seen, "to carol", &answer, "X-Note");
        eventually("the timer's route has come around", SECOND * 20, || {
            plain.sql("SELECT COUNT(*) >= 3 FROM seen WHERE what = 'tick 0'") == "1"
        });
        let calls: HashSet<String> =
            second.received().iter().filter(|m| m.method() == "INVITE").map(|m| m.branch().to_owned()).collect();
        writeln!(seen, "calls at the second: {}", calls.len()).unwrap();
        let expected = "to bob: 183 Progress, X-Note: prepaid for 183\n\
                        to bob: 200 Here, X-Note: prepaid for 200\n\
                        BYE: 200 OK\n\
                        to carol: 480 Nobody there\n\
                        calls at the second: 1\n";
        assert_eq!(seen, expected);
        seen
    });
}

#[test]
fn locks_held_over_queries() {
    compare("locks", include_str!("plain/locks.cfg"), &alone, &|plain| {
        let callers: Vec<_> = (0..6).map(|_| plain.client()).collect();
        let requests: Vec<_> = callers.iter().map(|c| plain.request(c, "MESSAGE", "alice", "bob")).collect();
        for (client, request) in callers.iter().zip(&requests) {
            client.send_request(request);
        }
        let answers = callers.iter().zip(&requests).map(|(c, r)| c.finish(r, SECOND * 20).pop().unwrap());
        let mut numbers: Vec<String> = answers.map(|a| format!("{} {}", a.status(), a.reason())).collect();
        numbers.sort();
        let expected: Vec<String> = (0..6).map(|n| format!("200 Number {n}")).collect();
        assert_eq!(numbers, expected, "everybody has a number of their own");
        format!("{numbers:?}, counted {}", plain.sql("SELECT n FROM counter"))
    });
}

#[test]
fn look_ups_before_an_ack() {
    let bob = Uas::answering();
    let script = |text: &str| text.replace("127.0.0.1:5080", &bob.addr.to_string());
    compare("ack", include_str!("plain/ack.cfg"), &script, &|plain| {
        let mut seen = Seen::new();
        let client = plain.client();
        let invite = plain.request(&client, "INVITE", "alice", "bob");
        let mine = |m: &SipMessage, method: &str| m.method() == method && m.call_id() == invite.call_id;
        let ok = client.exchange(&invite, SECOND * 20).pop().unwrap();
        told(&mut seen, "INVITE", &ok, "X-Note");
        client.send_request(&invite.ack(&ok));
        bob.wait_for("ACK", SECOND * 10, |m| mine(m, "ACK"));
        let bye = client.exchange(&invite.in_dialog("BYE", &ok), SECOND * 20).pop().unwrap();
        told(&mut seen, "BYE", &bye, "X-Note");
        for m in bob.received().iter().filter(|m| m.call_id() == invite.call_id) {
            let line = format!("bob got {} with {}\n", m.method(), m.header("X-Note").unwrap_or_default());
            if !seen.ends_with(&line) {
                seen.push_str(&line);
            }
        }
        let expected = "INVITE: 200 OK\n\
                        BYE: 200 OK\n\
                        bob got INVITE with prepaid for INVITE\n\
                        bob got ACK with prepaid for ACK\n\
                        bob got BYE with prepaid for BYE\n";
        assert_eq!(seen, expected);
        seen
    });
}

#[test]
fn programs_in_kamailios_language() {
    compare("exec, Kamailio", include_str!("plain/exec.kamailio.cfg"), &alone, &|plain| {
        let mut seen = Seen::new();
        for (from, subject) in [("alice", "paid"), ("alice", "owed; touch here"), ("mallory", "paid")] {
            let client = plain.client();
            let request = plain.request(&client, "MESSAGE", from, "bob").header(&format!("Subject: {subject}"));
            if from == "mallory" {
                client.send_request(&request);
                let heard = if silence(&client, SECOND * 2) { "nothing" } else { "something" };
                writeln!(seen, "{from}: {heard}").unwrap();
            } else {
                told(&mut seen, from, &client.exchange(&request, SECOND * 20).pop().unwrap(), "X-Note");
            }
        }
        assert_eq!(seen, "alice: 200 Credit 100, prepaid\nalice: 402 No credit for alice\nmallory: nothing\n");
        seen
    });
}

#[test]
fn look_ups_in_kamailios_language() {
    compare("sqlops, Kamailio", include_str!("plain/sql.kamailio.cfg"), &alone, &|plain| {
        plain.sql("DELETE FROM users; INSERT INTO users (uid, credit) VALUES ('alice', 100), ('carol', 0)");
        let mut seen = Seen::new();
        for from in ["alice", "carol", "nobody", "mallory"] {
            let client = plain.client();
            let request = plain.request(&client, "MESSAGE", from, "bob");
            if from == "mallory" {
                client.send_request(&request);
                let heard = if silence(&client, SECOND * 2) { "nothing" } else { "something" };
                writeln!(seen, "{from}: {heard}").unwrap();
            } else {
                told(&mut seen, from, &client.exchange(&request, SECOND * 20).pop().unwrap(), "X-Note");
            }
        }
        assert_eq!(
            seen,
            "alice: 200 Credit 100 of alice carol\ncarol: 402 No credit for carol\nnobody: 402 No credit for nobody\nmallory: nothing\n"
        );
        seen
    });
}
