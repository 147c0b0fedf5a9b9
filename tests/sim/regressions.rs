//! What the simulation has found, each with the fewest steps that show it.

use crate::text;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::ops::Outcome;
use reprise::ops::request::SqlResult;
use reprise::worker::sim::{Sim, SimOptions};
use std::net::SocketAddr;
use std::time::Duration;

const HEAD: &str = r#"
socket = udp:10.0.0.1:5060
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "sipmsgops.so"
loadmodule "sqlops.so"
loadmodule "cfgutils.so"
modparam("tm", "fr_timeout", 5)
modparam("tm", "fr_inv_timeout", 12)
modparam("sqlops", "db_url", "mysql://u:secret@10.9.9.9/db")
"#;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Bed {
    sim: Sim,
}

impl Bed {
    fn new(routes: &str) -> Bed {
        let text = format!("{HEAD}{routes}");
        let sim = simulate(ConfigText::Text(&text, "regression.cfg"), None, SimOptions::default());
        Bed { sim: sim.unwrap_or_else(|e| panic!("{e}")) }
    }

    fn request(&mut self, method: &str, user: &str) {
        let text = format!(
            "{method} sip:{user}@10.2.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bK-{user};rport\r\n\
             Max-Forwards: 20\r\nFrom: <sip:a@sim.example>;tag=f\r\nTo: <sip:b@sim.example>\r\nCall-ID: {user}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:a@10.1.0.1>\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(self.sim.receive(addr("10.1.0.1:5060"), addr("10.0.0.1:5060"), text.as_bytes()));
    }

    /// The reply of a callee to a request that was sent to it.
    fn reply(&mut self, to: &str, request: &str, status: u16) {
        let mut out = format!("SIP/2.0 {status} Whatever\r\n");
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            for v in text::values(request, name) {
                out.push_str(&format!("{name}: {v}\r\n"));
            }
        }
        out.push_str(&format!("To: {};tag=t{status}\r\nContent-Length: 0\r\n\r\n", text::value(request, "To")));
        assert!(self.sim.receive(addr(to), addr("10.0.0.1:5060"), out.as_bytes()));
    }

    fn pass(&mut self, ms: u64) {
        self.sim.advance(Duration::from_millis(ms));
    }

    /// What was sent: where to, and the message.
    fn sent(&mut self) -> Vec<(SocketAddr, String)> {
        self.sim.take_sent().into_iter().map(|s| (s.to, String::from_utf8_lossy(&s.bytes).into_owned())).collect()
    }

    /// Status codes of the replies that went to the caller since the last look.
    fn statuses(&mut self) -> Vec<u16> {
        self.sent().iter().map(|(_, m)| text::status(m)).filter(|s| *s > 0).collect()
    }

    fn answer_oldest(&mut self) {
        let id = self.sim.operations().first().expect("an operation").id;
        assert!(self.sim.answer(id, Outcome::Sql(SqlResult::default())));
    }

    fn end(mut self) {
        self.pass(120_000);
        assert!(self.sim.live().is_empty(), "{}", self.sim.live());
    }
}

#[test]
fn a_request_that_waits_for_a_lock_is_not_run_again_by_its_retransmissions() {
    let mut bed = Bed::new(
        r#"route {
            get_static_lock("one");
            sql_query("SELECT $ci");
            release_static_lock("one");
            t_relay();
        }"#,
    );
    bed.request("INVITE", "first");
    bed.request("INVITE", "second");
    bed.request("INVITE", "second");
    bed.pass(300);
    bed.request("INVITE", "second");
    bed.answer_oldest();
    let asked: Vec<String> = bed.sim.operations().into_iter().map(|a| a.text).collect();
    assert_eq!(asked, ["SELECT second"]);
    bed.answer_oldest();
    assert!(bed.sim.operations().is_empty());
    let invites = bed.sent().iter().filter(|(_, m)| text::method(m) == "INVITE").count();
    assert_eq!(invites, 2);
    bed.end();
}

#[test]
fn a_request_other_than_invite_that_nobody_answers_is_not_routed_again() {
    let mut bed = Bed::new(r#"route { sql_query("SELECT $ci"); t_relay(); }"#);
    bed.request("MESSAGE", "one");
    bed.answer_oldest();
    // The branch is given up after five seconds, without a word (RFC 4320); the client repeats for 32.
    for _ in 0..7 {
        bed.pass(4_000);
        bed.request("MESSAGE", "one");
        assert!(bed.sim.operations().is_empty());
    }
    assert!(bed.statuses().iter().all(|s| *s == 100));
    bed.end();
}

#[test]
fn a_2xx_that_comes_while_the_failure_route_waits_is_the_last_word() {
    let mut bed = Bed::new(
        r#"route { t_on_failure("f"); t_relay(); }
        failure_route[f] { sql_query("SELECT 1"); $var(rc) = t_relay(); }"#,
    );
    bed.request("INVITE", "one");
    let invite = bed.sent().into_iter().find(|(_, m)| text::method(m) == "INVITE").expect("an INVITE").1;
    bed.pass(5_000);
    assert_eq!(bed.sim.operations().len(), 1, "the failure route waits");
    bed.sent();
    bed.reply("10.2.0.1:5060", &invite, 200);
    assert_eq!(bed.statuses(), [200]);
    bed.answer_oldest();
    bed.pass(1_000);
    assert!(bed.statuses().is_empty(), "neither a 408 nor another branch");
    // Its repetitions pass too.
    bed.reply("10.2.0.1:5060", &invite, 200);
    assert_eq!(bed.statuses(), [200]);
    bed.end();
}

#[test]
fn a_relay_whose_branches_are_all_dropped_is_answered() {
    let mut bed = Bed::new(
        r#"route { t_on_branch("b"); t_relay(); }
        branch_route[b] { sql_query("SELECT 1"); drop; }"#,
    );
    for method in ["INVITE", "MESSAGE"] {
        bed.request(method, method);
        bed.answer_oldest();
        let statuses = bed.statuses();
        assert_eq!(statuses.last(), Some(&500), "{method}: {statuses:?}");
    }
    bed.end();
}

#[test]
fn a_negative_reply_that_comes_after_the_end_goes_nowhere() {
    let mut bed = Bed::new("route { t_relay(); }");
    bed.request("INVITE", "one");
    let invite = bed.sent().into_iter().find(|(_, m)| text::method(m) == "INVITE").expect("an INVITE").1;
    bed.pass(60_000);
    assert_eq!(bed.statuses().last(), Some(&408));
    assert_eq!(bed.sim.live().transactions, 0);
    bed.reply("10.2.0.1:5060", &invite, 503);
    bed.reply("10.2.0.1:5060", &invite, 183);
    assert!(bed.sent().is_empty());
    // A 2xx survives: somebody has picked up.
    bed.reply("10.2.0.1:5060", &invite, 200);
    assert_eq!(bed.statuses(), [200]);
    bed.end();
}
