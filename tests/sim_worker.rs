//! The simulated worker: the real loop and script on a network, a clock and operations that the test plays.

use reprise::cli::simulate::{ConfigText, simulate};
use reprise::ops::request::{SqlResult, SqlValue};
use reprise::ops::{CancelReason, Outcome, Phase, Why};
use reprise::worker::sim::{Sim, SimOptions};
use std::net::SocketAddr;
use std::time::Duration;

const ALICE: &str = "192.0.2.1:5060";
const PROXY: &str = "127.0.0.1:5060";

const CONFIG: &str = r#"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "sipmsgops.so"
loadmodule "sqlops.so"
loadmodule "cfgutils.so"
modparam("sqlops", "db_url", "mysql://u:secret@db.example/reprise")
route {
    if (is_method("MESSAGE")) {
        sleep(5);
        t_reply(202, "Accepted");
        exit;
    }
    if (!sql_query_one("SELECT host FROM routes WHERE user='$rU'", "$avp(host)")) {
        t_reply(480, "No: $async_err in $async_phase");
        exit;
    }
    $rd = $avp(host);
    t_relay();
}
"#;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sim(change: impl FnOnce(&mut SimOptions)) -> Sim {
    let mut options = SimOptions::default();
    change(&mut options);
    let sim = simulate(ConfigText::Text(CONFIG, "sim.cfg"), None, options).unwrap_or_else(|e| panic!("{e}"));
    assert!(sim.is_up());
    sim
}

fn request(method: &str, cseq: u32) -> Vec<u8> {
    format!(
        "{method} sip:bob@reprise.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:bob@reprise.example>\r\nCall-ID: c{cseq}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:a@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn first_lines(sim: &mut Sim) -> Vec<String> {
    let sent = sim.take_sent();
    sent.iter().map(|s| format!("{} {}", s.to, String::from_utf8_lossy(&s.bytes).lines().next().unwrap())).collect()
}

fn host(name: &str) -> Outcome {
    let columns = vec!["host".into()];
    Outcome::Sql(SqlResult { columns, rows: vec![vec![SqlValue::Text(name.into())]], ..SqlResult::default() })
}

#[test]
fn an_operation_is_answered_and_a_name_looked_up() {
    let mut sim = sim(|o| o.zone.add_addresses("bob.example", [addr("192.0.2.9:0").ip()]));
    assert!(sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 1)));
    let asked = sim.operations();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].kind.as_str(), asked[0].backend.as_str()), ("mysql", "db.example/reprise"));
    assert_eq!(asked[0].text, "SELECT host FROM routes WHERE user='bob'");
    assert!(first_lines(&mut sim).is_empty());
    assert!(sim.call("waits", "[]").unwrap().contains("sql_query_one"));
    sim.advance(Duration::from_millis(700));
    assert!(sim.answer(asked[0].id, host("bob.example")));
    assert!(!sim.answer(asked[0].id, host("again.example")), "an operation ends once");
    assert_eq!(first_lines(&mut sim), ["192.0.2.9:5060 OPTIONS sip:bob@bob.example SIP/2.0"]);
    // Nobody answers: it is repeated, the caller gets a 100 (RFC 4320), and never a 408.
    sim.advance(Duration::from_secs(40));
    let all = first_lines(&mut sim);
    let repeated = all.iter().filter(|l| l.contains("OPTIONS")).count();
    assert!(
        repeated > 5 && all.iter().any(|l| l.contains("100 ")) && !all.iter().any(|l| l.contains("408")),
        "{all:?}"
    );
    sim.advance(Duration::from_secs(60));
    assert!(sim.live().is_empty(), "{}", sim.live());
}

#[test]
fn a_deadline_fires_and_names_the_phase() {
    let mut sim = sim(|_| ());
    sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 1));
    let id = sim.operations()[0].id;
    assert!(sim.hang(id, Phase::Connect));
    sim.advance(Duration::from_secs(29));
    assert_eq!(sim.operations().len(), 1);
    sim.advance(Duration::from_secs(1));
    assert_eq!(first_lines(&mut sim), ["192.0.2.1:5060 SIP/2.0 480 No: timeout in connect"]);
    let ended = sim.take_ended();
    assert_eq!((ended.len(), ended[0].reason), (1, CancelReason::Deadline));
    sim.advance(Duration::from_secs(60));
    assert!(sim.live().is_empty(), "{}", sim.live());
}

#[test]
fn an_operation_fails_in_a_phase() {
    let mut sim = sim(|_| ());
    sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 1));
    let id = sim.operations()[0].id;
    assert!(sim.fail(id, Why::Refused, Phase::Login, "access denied"));
    assert_eq!(first_lines(&mut sim), ["192.0.2.1:5060 SIP/2.0 480 No: refused: access denied in login"]);
}

#[test]
fn sleeps_end_at_their_time() {
    let mut sim = sim(|_| ());
    sim.receive(addr(ALICE), addr(PROXY), &request("MESSAGE", 1));
    assert_eq!(sim.live().runs, 1);
    sim.advance(Duration::from_millis(4999));
    assert!(first_lines(&mut sim).is_empty());
    sim.advance(Duration::from_millis(1));
    assert_eq!(first_lines(&mut sim), ["192.0.2.1:5060 SIP/2.0 202 Accepted"]);
}

#[test]
fn draining_ends_what_waits() {
    let mut sim = sim(|_| ());
    sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 1));
    sim.drain(Duration::from_secs(10));
    assert!(!sim.is_drained());
    sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 2));
    assert_eq!(first_lines(&mut sim), ["192.0.2.1:5060 SIP/2.0 503 Service Unavailable"]);
    sim.advance(Duration::from_secs(10));
    assert_eq!(first_lines(&mut sim), ["192.0.2.1:5060 SIP/2.0 500 Server Internal Error"]);
    assert_eq!(sim.take_ended().len(), 1);
    assert!(sim.is_drained());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut sim = sim(|o| {
            o.seed = seed;
            o.zone.add_addresses("bob.example", [addr("192.0.2.9:0").ip()]);
        });
        sim.receive(addr(ALICE), addr(PROXY), &request("OPTIONS", 1));
        let id = sim.operations()[0].id;
        sim.answer(id, host("bob.example"));
        sim.advance(Duration::from_secs(40));
        sim.take_sent()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
