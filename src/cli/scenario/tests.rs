//! The format: what is refused and where, what a failure says, what has a sane value.

use super::{Report, run_text};

const CONFIG: &str = r#"config
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "sipmsgops.so"
loadmodule "sqlops.so"
loadmodule "rest_client.so"
loadmodule "exec.so"
modparam("sqlops", "db_url", "mysql://u:p@db/x")
route {
    switch ($rU) {
    case "sql":
        $var(rc) = sql_query_one("SELECT a, b FROM t", "$var(a);$var(b)");
        sl_send_reply(200, "$var(rc) $var(a) $var(b) $async_err $async_phase");
        break;
    case "web":
        $var(rc) = rest_get("http://web/", "$var(body)", "$var(type)", "$var(code)");
        sl_send_reply(200, "$var(rc) $var(code) $var(type) $var(body)");
        break;
    case "command":
        $var(rc) = exec("ls -l", , $var(out), $var(err));
        sl_send_reply(200, "$var(rc) $var(out) $var(err) $exec_status");
        break;
    default:
        record_route();
        t_relay();
    }
}
end config
peer alice 192.0.2.1
peer bob 192.0.2.2
"#;

fn play(steps: &str) -> Report {
    run_text(&format!("{CONFIG}{steps}"), "test.scn", None)
}

fn passes(steps: &str) {
    let report = play(steps);
    assert!(report.passed, "{}{:#?}", report.text, report.trace);
}

/// The first line below the configuration and the peers.
const FIRST: usize = 32;

#[track_caller]
fn refused(steps: &str, line: usize, column: usize, message: &str) {
    let report = play(steps);
    let wanted = format!("test.scn:{}:{column}: {message}", FIRST + line - 1);
    assert!(!report.passed && report.text.starts_with(&wanted), "wanted {wanted}\ngot {}", report.text);
}

#[track_caller]
fn fails(steps: &str, line: usize, texts: &[&str]) {
    let report = play(steps);
    assert!(!report.passed, "it passed");
    let wanted = format!("test.scn:{}: ", FIRST + line - 1);
    assert!(report.text.starts_with(&wanted), "wanted {wanted}\ngot {}", report.text);
    for text in texts {
        assert!(report.text.contains(text), "no {text:?} in\n{}", report.text);
    }
}

#[test]
fn mistakes_are_shown_with_their_place() {
    refused(
        "alice sense INVITE",
        1,
        7,
        "expected `sends`, `repeats`, `replies`, `expects`, `accepts`, `refuses`, `ignores` or `hangs up`, found \"sense\"",
    );
    refused("alise sends INVITE", 1, 1, "expected a statement or the name of a peer; did you mean \"alice\"?");
    refused("wait 32", 1, 6, "expected a time such as 32s, 500ms or 3min, found \"32\"");
    refused("wait", 1, 5, "expected a time such as 32s, 500ms or 3min, found the end of the line");
    refused("alice sends invite sip:b@x", 1, 13, "expected a method in capital letters");
    refused("alice expects 99", 1, 15, "expected a method in capital letters, a status code");
    refused("alice replies 700", 1, 15, "expected a status code from 100 to 699");
    refused("alice sends INVITE sip:b@x\n    Max-Forwards 70", 2, 1, "expected `Header: value`, `no HEADER`");
    refused("  wait 1s", 1, 3, "expected a statement at the beginning of the line");
    refused("peer alice 192.0.2.9", 1, 6, "expected a name that no other peer has");
    refused("peer carol 192.0.2.300", 1, 12, "expected an address such as");
    refused("peer wait 192.0.2.9", 1, 6, "expected a name of letters and digits that is no statement");
    refused("operation sql SELECT answers row 1", 1, 15, "expected what it asks, in quotes");
    refused("operation sql \"x\" replies 1", 1, 19, "expected `answers ...`");
    refused("operation sql \"x\" fails oops", 1, 25, "expected a reason (timeout,");
    refused("operation sql \"x\" fails refused in space", 1, 36, "expected a phase (queue,");
    refused("operation sql \"x\" answers row (1)", 1, 31, "expected a value");
    refused("operation sql \"x\" answers rows (1", 1, 34, "expected `)`, found the end of the line");
    refused("operation sql \"x", 1, 15, "this string has no closing quote");
    refused("worker holds 1 thing", 1, 16, "expected `runs`, `transactions`");
    refused("dns a.example is 1.2.3.4", 1, 15, "expected `->` and addresses, SRV");
    refused("then alice sends INVITE", 1, 12, "expected `expects`, found \"sends\"");
    refused("clock 2026-02-30 18:00:00", 1, 18, "expected a date and a time of UTC");
    refused("clock 2026-02-28", 1, 17, "expected a date and a time of UTC");
    refused("wait 1s 2s", 1, 9, "expected the end of the line, found \"2s\"");
    let report = run_text("peer alice 192.0.2.1\n", "test.scn", None);
    assert!(report.text.contains("test.scn:1:1: the scenario has no configuration"), "{}", report.text);
    let report = run_text("config\nroute { }\n", "test.scn", None);
    assert!(report.text.contains("test.scn:1:1: expected `end config` somewhere below"), "{}", report.text);
}

#[test]
fn findings_in_the_configuration_have_the_lines_of_the_scenario() {
    let report = run_text("# a\nconfig\nroute {\n    nonsense();\n}\nend config\n", "test.scn", None);
    assert!(!report.passed && report.text.contains("test.scn:4:5"), "{}", report.text);
}

#[test]
fn what_came_instead_is_shown() {
    let steps = "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\n    Max-Forwards: 12\n    no Contact\n";
    fails(steps, 2, &["- Max-Forwards: 12\n         + Max-Forwards: 70", "- no Contact", "what happened", "   34  -"]);
    let steps = "alice sends INVITE sip:bob@192.0.2.2\nalice expects 200\n";
    fails(steps, 2, &["nothing came for alice\n    but for bob: INVITE sip:bob@192.0.2.2"]);
    fails("alice sends INVITE sip:bob@192.0.2.2\nnobody expects anything\n", 2, &["this came for bob"]);
    fails("alice sends OPTIONS sip:bob@192.0.2.2\n", 1, &["nobody expected what came for bob at 0.000 s"]);
    fails("alice sends OPTIONS sip:x@192.0.2.77\n", 1, &["192.0.2.77:5060, who is no peer"]);
    fails("alice sends OPTIONS sip:sql@x\nno operation\n", 2, &["operation mysql \"SELECT a, b FROM t\""]);
    fails("alice sends OPTIONS sip:sql@x\noperation http \"*\" answers 200\n", 2, &["no such operation is in flight"]);
    fails("alice sends OPTIONS sip:sql@x\noperation sql \"*\" exits 0\n", 2, &["cannot end so"]);
    fails("alice sends BYE\n", 1, &["there is no dialog: expected a Request-URI behind BYE"]);
    fails("alice sends CANCEL\n", 1, &["alice has sent no INVITE"]);
    fails("bob replies 200\n", 1, &["bob has got no request to reply to"]);
    fails("bob repeats\n", 1, &["bob has sent no message"]);
    fails("alice sends OPTIONS {x}\n", 1, &["the variable {x} has no value yet"]);
    fails("log contains \"nothing of the sort\"\n", 1, &["no line of the log contains this"]);
    fails("worker holds 1 run\n", 1, &["the worker holds nothing"]);
}

#[test]
fn leftovers_fail_at_the_end() {
    let steps = "alice sends MESSAGE sip:bob@192.0.2.2\nbob expects MESSAGE\nalice expects nothing\n";
    passes(&format!("{steps}worker holds 1 transaction\n"));
    // The INVITE ends after its timers, with messages that nobody expects.
    let steps = "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\n";
    fails(steps, 2, &["nobody expected what came for alice", "408"]);
    passes(&format!("{steps}ignore the rest\n"));
}

#[test]
fn a_call_needs_no_header_lines() {
    passes(
        "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\nbob replies 180\nalice expects 180\n\
         bob replies 200\nalice expects 200\nalice sends ACK\nbob expects ACK\nbob sends INVITE\n\
         alice expects INVITE\n    CSeq: 1 INVITE\nalice replies 200\nbob expects 200\nbob sends ACK\n\
         alice expects ACK\nalice sends BYE\nbob expects BYE sip:bob@192.0.2.2:5060\nbob replies 200\n\
         alice expects 200\n",
    );
}

#[test]
fn cancel_and_ack_of_a_failure_fit_their_invite() {
    passes(
        "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\nbob replies 180\nalice expects 180\n\
         alice sends CANCEL\nalice expects 200\n    CSeq: 1 CANCEL\nbob expects CANCEL\nbob replies 200\n\
         bob replies 487 to INVITE\nbob expects ACK\nalice expects 487\nalice sends ACK\nwait 1s\n\
         alice expects silence\n",
    );
}

#[test]
fn repetitions_count_only_when_asked_for() {
    passes(
        "alice sends INVITE sip:bob@192.0.2.2\nalice expects 100\nbob expects INVITE\nwait 3500ms\n\
         bob expects nothing\nbob expects INVITE again 3 times\nalice repeats\nalice expects 100 again\nwait 5s\n\
         bob expects INVITE again\nbob replies 486\nbob expects ACK\nalice expects 486\nalice sends ACK\n",
    );
    fails(
        "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\nwait 3500ms\nbob expects INVITE again 2 times\n",
        4,
        &["3 repetitions of INVITE came for bob, expected 2"],
    );
}

#[test]
fn order_between_peers() {
    let steps = "alice sends INVITE sip:bob@192.0.2.2\nalice expects 100\nthen bob expects INVITE\nignore the rest\n";
    passes(steps);
    let steps = "alice sends INVITE sip:bob@192.0.2.2\nbob expects INVITE\nthen alice expects 100\nignore the rest\n";
    fails(steps, 3, &["it came before the message"]);
}

#[test]
fn operations_end_in_every_way() {
    passes(
        "alice sends OPTIONS sip:sql@x\noperation mysql \"SELECT a, * FROM t\" answers row 7, \"x y\"\n\
         alice expects 200 1 7 x y <null> <null>\n",
    );
    passes(
        "alice sends OPTIONS sip:sql@x\noperation sql \"*\" fails refused in login \"no\"\n\
         alice expects 200 -1 <null> <null> refused: no login\n",
    );
    passes(
        "alice sends OPTIONS sip:sql@x\noperation sql \"*\" hangs in connect\nwait 30s\n\
         operation sql \"*\" timed out\nalice expects 200 * timeout connect\n",
    );
    passes(
        "always operation http \"GET http://web/\" answers 404 \"gone\" type \"text/html\" after 2s\n\
         alice sends OPTIONS sip:web@x\nwait 1s\nalice expects nothing\noperation mysql \"x\" was cancelled\n"
            .replace("operation mysql \"x\" was cancelled\n", "wait 1s\nalice expects 200 1 404 text/html gone\n")
            .as_str(),
    );
    passes(
        "alice sends OPTIONS sip:command@x\noperation exec \"ls -l\" is waiting\n\
         operation exec \"ls*\" exits 3 \"out\" stderr \"err\"\nalice expects 200 1 out err 3\n",
    );
}

#[test]
fn raw_messages() {
    passes(
        "alice sends raw\n    OPTIONS sip:bob@192.0.2.2 SIP/2.0\n    Via: SIP/2.0/UDP {alice};branch=z9hG4bKx\n    \
         From: <sip:a@x>;tag=1\n    To: <sip:b@x>\n    Call-ID: raw\n    CSeq: 1 OPTIONS\n    Max-Forwards: 1\n\
         bob expects OPTIONS\n    Max-Forwards: 1\nbob replies 200\nalice expects 200\n    Call-ID: raw\n",
    );
}
