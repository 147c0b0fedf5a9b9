//! `dlgs`, which the stock configuration of later releases uses: the packaged Kamailio does not have it yet.

use serde_json::{Value, json};

use crate::SECOND;
use crate::phone::{Over, Phone};
use crate::server::{Kind, Start, Stock};
use crate::support::eventually;
use crate::support::sip::{Request, SipMessage};
use crate::support::sipp::Sipp;

/// A proxy between the phones of these tests: who is called stands in X-To.
const CONFIG: &str = r##"#!KAMAILIO
debug=1
log_stderror=yes
children=2
auto_aliases=no
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "dlgs.so"
modparam("dlgs", "timer_interval", 1)
modparam("dlgs", "init_lifetime", 8)
modparam("dlgs", "finish_lifetime", 2)

request_route {
    force_rport();
    if (is_method("OPTIONS") && uri == myself) {
        $var(src) = dlgs_count("src", "eq", "$hdr(X-Src)");
        $var(ne) = dlgs_count("src", "ne", "$hdr(X-Src)");
        $var(sw) = dlgs_count("dst", "sw", "sip:b");
        $var(fm) = dlgs_count("dst", "fm", "sip:b*@*");
        $var(any) = dlgs_count("any", "eq", "");
        $var(bad) = dlgs_count("any", "xx", "");
        $var(tag) = dlgs_tags_count("vip");
        append_to_reply("X-Count: $var(src) $var(ne) $var(sw) $var(fm) $var(any) $var(bad) $var(tag)\r\n");
        sl_send_reply("200", "OK");
        exit;
    }
    if (is_method("ACK|BYE|CANCEL")) dlgs_update();
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) t_relay();
        exit;
    }
    t_check_trans();
    if (is_method("INVITE")) {
        dlgs_init("$fu", "$tu", "srcip=$si");
        dlgs_init("again", "$tu", "srcip=$si");
        if ($hdr(X-Vip) == "1") {
            dlgs_tags_add("vip");
            dlgs_tags_add("vip");
            dlgs_tags_add("gone");
            dlgs_tags_rm("gone");
            dlgs_tags_rm("never");
        }
    }
    record_route();
    if ($rU == "nobody") {
        sl_send_reply("404", "Not Found");
        exit;
    }
    $ru = $hdr(X-To);
    t_relay();
}
"##;

struct Pair {
    server: Stock,
    alice: Phone,
    bob: Phone,
}

impl Pair {
    fn new() -> Pair {
        let server = Start { config: Some(CONFIG.to_owned()), ..Start::default() }.on(Kind::Reprise);
        let (alice, bob) = (Phone::new(&server, "alice", Over::Udp), Phone::new(&server, "bob", Over::Udp));
        Pair { server, alice, bob }
    }

    fn invite(&self) -> Request {
        self.alice.invite(&self.bob.uri()).header(&format!("X-To: {}", self.bob.contact()))
    }

    fn states(&self) -> Vec<(String, u64)> {
        let all = self.server.rpc("dlgs.stats", Value::Null).expect("statistics")["active"].clone();
        let shown = all.as_object().expect("figures by state").iter();
        let mut states: Vec<_> = shown.map(|(k, v)| (k.clone(), v.as_u64().unwrap())).filter(|(_, n)| *n > 0).collect();
        states.sort();
        states
    }

    fn wait_state(&self, state: &str) {
        eventually(&format!("one call is {state}"), SECOND * 10, || self.states() == [(state.to_owned(), 1)]);
    }

    fn answered(&self) -> (Request, SipMessage) {
        let invite = self.invite();
        self.alice.send(&invite);
        let seen = self.bob.expect_request("INVITE");
        self.bob.answer(&seen, 180, "Ringing");
        self.alice.expect_reply(&invite, 180);
        self.wait_state("progress");
        self.bob.answer(&seen, 200, "OK");
        let ok = self.alice.expect_reply(&invite, 200);
        self.wait_state("answered");
        self.alice.send(&invite.ack(&ok));
        self.bob.expect_request("ACK");
        self.wait_state("confirmed");
        (invite, ok)
    }

    fn count(&self, src: &str) -> String {
        let ask = self.alice.request("OPTIONS", &format!("sip:127.0.0.1:{}", self.server.port));
        let answer = self.alice.ask(&ask.header(&format!("X-Src: {src}")));
        answer.header("X-Count").unwrap_or_default().to_owned()
    }
}

/// A list of one, however it is wrapped.
fn only(list: &Value) -> Value {
    match list {
        Value::Array(all) if all.len() == 1 => all[0].clone(),
        other => other.clone(),
    }
}

#[test]
fn a_call_is_followed() {
    let pair = Pair::new();
    assert_eq!(pair.states(), []);
    let (invite, ok) = pair.answered();
    for (method, params) in [
        ("dlgs.list", Value::Null),
        ("dlgs.get", json!(["src", "eq", pair.alice.uri()])),
        ("dlgs.briefing", Value::Null),
    ] {
        let line = only(&pair.server.rpc(method, params).unwrap_or_else(|| panic!("{method} is refused")));
        assert_eq!(line["count"], json!(1), "{method}: {line}");
        assert_eq!(line["src"], json!(pair.alice.uri()), "{method}: {line}");
        assert_eq!(line["dst"], json!(pair.bob.uri()), "{method}: {line}");
        assert_eq!(line["data"], json!("srcip=127.0.0.1"), "{method}: {line}");
        assert_eq!(line["state"], json!(3), "{method}: {line}");
        assert!(line["ruid"].as_str().is_some_and(|r| r.starts_with("dlgs-")), "{method}: {line}");
        assert!(line["ts_init"].is_u64(), "{method}: {line}");
        if method != "dlgs.briefing" {
            assert_eq!(line["callid"], json!(invite.call_id), "{method}: {line}");
            assert_eq!(line["ttag"], json!("t-bob"), "{method}: {line}");
            assert!(line["ts_answer"].is_u64(), "{method}: {line}");
            assert!(invite.from.ends_with(line["ftag"].as_str().unwrap()), "{method}: {line}");
        }
    }
    let bye = invite.in_dialog("BYE", &ok);
    pair.alice.send(&bye);
    let seen = pair.bob.expect_request("BYE");
    pair.wait_state("terminated");
    pair.bob.answer(&seen, 200, "OK");
    pair.alice.final_reply(&bye);
    eventually("it is forgotten", SECOND * 20, || pair.states().is_empty());
    let over = pair.server.rpc("dlgs.stats", Value::Null).unwrap()["final"].clone();
    assert_eq!(over["terminated"], json!(1), "{over}");
}

#[test]
fn calls_that_come_to_nothing() {
    let pair = Pair::new();
    // Refused by the callee.
    let invite = pair.invite();
    pair.alice.send(&invite);
    let seen = pair.bob.expect_request("INVITE");
    pair.bob.answer(&seen, 486, "Busy Here");
    let busy = pair.alice.final_reply(&invite);
    pair.alice.send(&invite.ack(&busy));
    pair.wait_state("notanswered");
    eventually("it is forgotten", SECOND * 20, || pair.states().is_empty());
    // Cancelled.
    let invite = pair.invite();
    pair.alice.send(&invite);
    let seen = pair.bob.expect_request("INVITE");
    pair.bob.answer(&seen, 180, "Ringing");
    pair.alice.expect_reply(&invite, 180);
    pair.alice.send(&invite.cancel());
    pair.wait_state("notanswered");
    let cancel = pair.bob.expect_request("CANCEL");
    pair.bob.answer(&cancel, 200, "OK");
    pair.bob.answer(&seen, 487, "Request Terminated");
    let gone = pair.alice.expect_reply(&invite, 487);
    pair.alice.send(&invite.ack(&gone));
    eventually("it is forgotten", SECOND * 20, || pair.states().is_empty());
    // Never answered: kept for init_lifetime.
    let invite = pair.invite();
    pair.alice.send(&invite);
    let seen = pair.bob.expect_request("INVITE");
    pair.bob.answer(&seen, 183, "Session Progress");
    pair.wait_state("progress");
    eventually("it is forgotten", SECOND * 30, || pair.states().is_empty());
    let over = pair.server.rpc("dlgs.stats", Value::Null).unwrap()["final"].clone();
    assert_eq!((&over["notanswered"], &over["progress"]), (&json!(2), &json!(1)), "{over}");
}

#[test]
fn calls_are_counted_by_what_they_have() {
    let pair = Pair::new();
    let src = pair.alice.uri();
    assert_eq!(pair.count(&src), "-1 -1 -1 -1 -1 -2 -1");
    let invite = pair.invite().header("X-Vip: 1");
    pair.alice.send(&invite);
    let seen = pair.bob.expect_request("INVITE");
    assert_eq!(pair.count(&src), "1 -1 1 1 1 -2 2");
    assert_eq!(pair.count("sip:somebody@example.test"), "-1 1 1 1 1 -2 2");
    pair.bob.answer(&seen, 603, "Decline");
    let no = pair.alice.final_reply(&invite);
    pair.alice.send(&invite.ack(&no));
    assert_eq!(pair.count(&src), "-1 -1 -1 -1 -1 -2 -1");
}

#[test]
fn calls_of_sipp_are_followed() {
    const CALLS: u64 = 300;
    let callee = Sipp::uas("uas-invite", &[]);
    let relay = format!("if ($hdr(X-To) != $null) $ru = $hdr(X-To);\n    else $du = \"sip:{}\";", callee.addr);
    let text = CONFIG.replace("$ru = $hdr(X-To);", &relay).replace("children=2", "children=2\noverload_age=0");
    let server = Start { config: Some(text), ..Start::default() }.on(Kind::Reprise);
    let caller = Sipp::uac("uac-invite", server.addr(), CALLS, 100, &["-d", "8000"]);
    let (src, dst) = (format!("sip:alice@{}", caller.addr), format!("sip:service@127.0.0.1:{}", server.port));
    let ask = |method: &str, params: Value| server.rpc(method, params).unwrap_or_else(|| panic!("{method} is refused"));
    let count = |params: Value| ask("dlgs.count", params)["count"].as_u64().unwrap();
    eventually("all are there", SECOND * 30, || count(json!(["any", "eq", ""])) == CALLS);
    eventually("all are confirmed", SECOND * 30, || ask("dlgs.stats", Value::Null)["active"]["confirmed"] == CALLS);
    assert_eq!((count(json!(["src", "eq", src])), count(json!(["src", "ne", src]))), (CALLS, 0));
    assert_eq!(
        (count(json!(["dst", "sw", "sip:service@"])), count(json!(["dst", "fm", "sip:*@127.*"]))),
        (CALLS, CALLS)
    );
    assert_eq!(count(json!(["data", "re", "^srcip=127"])), CALLS);
    let all = ask("dlgs.getall", json!(["dst", "eq", dst]));
    assert_eq!(all.as_array().unwrap().len() as u64, CALLS);
    caller.wait(SECOND * 60).assert_all(CALLS);
    callee.stop().assert_all(CALLS);
    eventually("all are forgotten", SECOND * 30, || ask("dlgs.stats", Value::Null)["final"]["terminated"] == CALLS);
    assert_eq!(count(json!(["any", "eq", ""])), 0);
}
