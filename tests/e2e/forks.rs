//! Forking in numbers (RFC 3261 16.7): SIPp as the caller and as several callees. Every call takes the same way, so
//! that what each callee counts says what the server did; no call may fail, and nothing may be left.

use crate::common::{SECOND, address, held, proxy, serve, stat, wait_quiet};
use crate::support::sipp::{Sipp, SippStats};

const CALLS: u64 = 300;
const RATE: u64 = 100;

/// Plays the calls through a server with this relay (statements) and these routes; what caller and callees counted.
fn play(workers: &str, relay: &str, routes: &str, caller: &str, callees: Vec<Sipp>) {
    let (server, port) = serve(|port| proxy(port, "", relay, routes), &["-n", workers]);
    let calls = Sipp::uac(caller, address(port), CALLS, RATE, &[]).wait(SECOND * 60);
    let stats = server.ctl("stats", serde_json::Value::Null);
    let answered: Vec<SippStats> = callees.into_iter().map(Sipp::stop).collect();
    let good = |s: &SippStats| (s.succeeded, s.failed) == (CALLS, 0);
    assert!(good(&calls) && answered.iter().all(good), "caller: {calls:#?}\ncallees: {answered:#?}\n{stats:#}");
    assert_eq!((stat(&server, "core:process_restarts"), stat(&server, "core:err_replies")), (0, 0));
    wait_quiet(&server, SECOND * 60);
    assert_eq!((held(&server, "parked"), held(&server, "jobs"), held(&server, "lookups")), (0, 0, 0));
}

/// R-URI and branches, all at once.
fn all_at_once(callees: &[Sipp]) -> String {
    let uris: Vec<String> = callees.iter().map(|c| format!("sip:bob@{}", c.addr)).collect();
    let branches: String = uris.iter().skip(1).map(|u| format!("    append_branch(\"{u}\");\n")).collect();
    format!("    $ru = \"{}\";\n{branches}    route(out);", uris[0])
}

#[test]
fn the_branch_that_answers_ends_the_others() {
    for workers in ["1", "2"] {
        let callees = vec![Sipp::uas("uas-cancel", &[]), Sipp::uas("uas-invite", &[]), Sipp::uas("uas-cancel", &[])];
        play(workers, &all_at_once(&callees), "", "uac-invite", callees);
    }
}

#[test]
fn a_refusal_does_not_end_the_branch_that_will_answer() {
    // The answer comes last.
    let callees = vec![Sipp::uas("uas-moved contact=<sip:carol@127.0.0.1:9>", &[]), Sipp::uas("uas-invite", &[])];
    play("2", &all_at_once(&callees), "", "uac-invite", callees);
}

#[test]
fn a_6xx_ends_all_branches() {
    let callees =
        vec![Sipp::uas("uas-cancel", &[]), Sipp::uas("uas-refuse code=603", &[]), Sipp::uas("uas-cancel", &[])];
    play("2", &all_at_once(&callees), "", "uac-refused code=603", callees);
}

#[test]
fn the_best_refusal_goes_upstream() {
    // 16.7 item 6: the lowest class, and what helps the caller before the rest of it.
    for (refusals, best) in [([486, 503, 480], 480), ([500, 404, 407], 407), ([503, 504, 500], 500)] {
        let callees = refusals.map(|code| Sipp::uas(&format!("uas-refuse code={code}"), &[]));
        let callees = Vec::from(callees);
        play("2", &all_at_once(&callees), "", &format!("uac-refused code={best}"), callees);
    }
}

#[test]
fn groups_of_equal_q_are_tried_one_after_the_other() {
    // A callee that is tried too early is cancelled, which fails its call.
    let callees = vec![
        Sipp::uas("uas-invite", &[]),
        Sipp::uas("uas-refuse code=480", &[]),
        Sipp::uas("uas-refuse code=486", &[]),
        Sipp::uas("uas-refuse code=404", &[]),
    ];
    let [last, second, first, also_second] = &callees[..] else { unreachable!() };
    let relay = format!(
        r#"    $ru = "sip:bob@{}";
    append_branch("sip:bob@{}", "0.1");
    append_branch("sip:bob@{}", "0.5");
    append_branch("sip:bob@{}", "0.5");
    serialize_branches(1);
    next_branches();
    t_on_failure("next");
    route(out);"#,
        first.addr, last.addr, second.addr, also_second.addr
    );
    let routes = r#"
failure_route[next] {
    if (t_was_cancelled() || !next_branches())
        exit;
    t_on_failure("next");
    t_relay();
}
"#;
    play("2", &relay, routes, "uac-invite", callees);
}

#[test]
fn redirections_are_followed_and_end() {
    let last = Sipp::uas("uas-invite", &[]);
    // The second one names itself and a third one: what was tried is not tried again.
    let first_port = crate::support::free_port();
    let second = Sipp::uas(
        &format!("uas-moved contact=<sip:bob@127.0.0.1:{first_port}>;q=0.9,<sip:bob@{}>;q=0.5", last.addr),
        &[],
    );
    let first = Sipp::uas(&format!("uas-moved contact=<sip:bob@{}>", second.addr), &["-p", &first_port.to_string()]);
    let relay = format!("    $ru = \"sip:bob@127.0.0.1:{first_port}\";\n    t_on_failure(\"moved\");\n    route(out);");
    let routes = r#"
failure_route[moved] {
    if (t_was_cancelled())
        exit;
    if (t_check_status("3[0-9][0-9]") && get_redirects("4:2")) {
        t_on_failure("moved");
        t_relay();
    }
}
loadmodule "uac_redirect.so"
"#;
    play("2", &relay, routes, "uac-invite", vec![last, second, first]);
}
