//! Several functions at once: `async_all`, `await_all`, `async_any`, `await_any`. Where all are
//! waited for, the driver hands over what came of them with the last one first.

use crate::host::{Fake, answer, kamailio_findings, program, run, run_kamailio, run_route};
use reprise::base::Time;
use reprise::script::ast::RouteKind;
use reprise::script::vm::{CANCELLED_CODE, CodecError, Paused, Progress, Run, Suspended};

#[test]
fn all_go_on_behind_the_block_with_everything_kept() {
    let story = run("route { $var(k) = \"kept\"; $var(i) = 0;
           while ($var(i) < 2) {
             await_all { ask(\"one $var(i)\", $var(a)); ask(\"two\", $avp(b)); }
             xlog(\"$rc $var(a) $avp(b) $var(k) $(async_rc[*]) $async_err\"); $var(i) += 1; }
           route(sub, \"p\"); xlog(\"back $rc\"); }
         route[sub] { await_all(3) { ask(\"deep $param(1)\", $var(a)); } xlog(\"$var(a) $param(1) $(route[*])\"); return(4); }");
    assert_eq!(
        story.trace,
        ["0 ONE 0 TWO kept 1, 1 <null>", "0 ONE 1 TWO kept 1, 1 <null>", "DEEP P p route > route[sub]", "back 4"]
    );
    let shown: Vec<_> = story.waits.iter().map(|w| (w.function.as_str(), w.line, w.timeout_secs)).collect();
    assert_eq!(shown[..3], [("await_all", 4, None), ("ask", 4, None), ("ask", 4, None)]);
    assert_eq!(shown[6..], [("await_all", 7, Some(3)), ("ask", 7, Some(3))]);
    assert!(story.waits.iter().all(|w| !w.via_async && !w.launched));
    assert_eq!(story.waits[7].route, "route[sub]");
}

#[test]
fn rc_is_the_number_of_failures_and_each_result_is_kept() {
    let story = run("route { await_all { ask(\"fail\", $avp(a)); ask(\"q\", $avp(b)); ask(\"broken\"); ask($var(none)); ask(\"now\", $avp(c)); }
           xlog(\"$rc $(async_rc[*])\"); xlog(\"$avp(a) $avp(b) $avp(c)\");
           xlog(\"$async_rc $(async_rc[1]) $(async_rc[-1]) $(async_rc[5]) $(async_rc[-6])\");
           xlog(\"$async_err $async_phase\"); xlog(\"$(async_err[*])\"); xlog(\"$(async_phase[0]) $(async_phase[1])\"); 
           ask(\"q\"); xlog(\"$(async_rc[*]) $async_err\"); }");
    assert_eq!(
        story.trace,
        [
            "3 -2, 1, -1, -1, 2",
            "<null> Q at once",
            "-2 1 2 <null> <null>",
            "timeout connect",
            "timeout, <null>, ask: cannot start, ask: argument 1 (question) is NULL, <null>",
            "connect <null>",
            "-2, 1, -1, -1, 2 <null>"
        ]
    );
    assert_eq!(story.log.len(), 2, "{:?}", story.log);
    assert!(
        story.log[0].contains("test.cfg:2: ask: argument 1") || story.log[1].contains("test.cfg:2: ask: argument 1")
    );
}

#[test]
fn outputs_are_assigned_in_the_order_written() {
    let story = run("route { await_all { ask_lines(\"a\", $avp(o)); ask(\"b\", $avp(o)); ask(\"fail\", $avp(o)); ask(\"c\", $avp(o)); }
           xlog(\"$(avp(o)[*])\");
           await_all { ask(\"x\", $var(o)); ask(\"y\", $var(o)); } xlog(\"$var(o)\"); }");
    assert_eq!(story.trace, ["C, B, A2, A1", "Y"]);
}

#[test]
fn async_goes_on_in_the_resume_route_and_nowhere_else() {
    let story = run("route { $var(lost) = \"x\"; $avp(kept) = \"y\"; route(sub); xlog(\"never\"); }
         route[sub] { while (1) { async_all(resume, 7) { ask(\"q\", $var(out)); ask(\"r\", $var(more)); } xlog(\"never\"); } }
         route[resume] { xlog(\"$rc $var(out) $var(more) $var(lost) $avp(kept) $(route[*])\");
           async_all(again) { ask(\"fail\"); ask(\"fail too\"); } }
         route[again] { xlog(\"$rc $var(out) $(async_rc[*]) $async_err\"); }");
    assert_eq!(story.trace, ["0 Q R <null> y route[resume]", "2 <null> -2, -2 timeout"]);
    assert_eq!((story.waits[0].function.as_str(), story.waits[0].timeout_secs), ("async_all", Some(7)));
    assert!(story.waits.iter().all(|w| w.via_async));
    // A route that ends with it does not end the script, although no failure is 0.
    assert_eq!(run("route { route(s); xlog(\"on $rc\"); } route[s] { await_all { ask(\"q\"); } }").trace, ["on 1"]);
    assert_eq!(run("route { route(s); xlog(\"on $rc\"); } route[s] { await_all { ask(\"fail\"); } }").trace, ["on -1"]);
    assert!(!run("route { async_all(r) { ask(\"q\"); } } route[r] { }").end.exited);
}

#[test]
fn the_first_success_is_enough() {
    let story = run("route { await_any { ask(\"fail\", $var(a)); ask(\"q\", $var(b)); ask(\"r\", $var(c)); }
           xlog(\"$rc $var(a) $var(b) $var(c) $(async_rc[*]) $async_err\"); xlog(\"$(async_err[*])\");
           await_any { ask(\"fail\"); ask(\"fail more\"); } xlog(\"$rc $(async_rc[*]) $async_err $async_phase\");
           async_any(done) { ask(\"fail\"); ask(\"s\", $var(out)); } }
         route[done] { xlog(\"$rc $var(out) $var(b)\"); }");
    assert_eq!(
        story.trace,
        [
            "2 <null> Q <null> -2, 1, -12 <null>",
            "timeout, <null>, cancelled",
            "-1 -2, -2 timeout connect",
            "2 S <null>"
        ]
    );
    assert_eq!(CANCELLED_CODE, -12);
}

#[test]
fn what_needs_no_wait_counts_where_it_stands() {
    // It succeeds at once: those before it are given up, those behind it never start.
    let story = run("route { await_any { ask(\"q\", $var(a)); ask(\"now\", $var(b)); ask(\"now\", $var(c)); }
           xlog(\"$rc $var(a) $var(b) $var(c) $(async_rc[*])\");
           await_any { ask(\"broken\"); ask(\"stop\"); } xlog(\"$rc $(async_rc[*])\");
           await_all { ask(\"now\"); ask(\"now\"); } xlog(\"$rc\");
           async_all(r) { ask(\"now\", $var(out)); ask(\"stop\"); } xlog(\"never\"); }
         route[r] { xlog(\"$rc $var(out) $(async_rc[*])\"); }");
    assert_eq!(story.trace, ["2 <null> at once <null> -12, 2, -12", "-1 -1, 0", "0", "1 at once 2, 0"]);
    assert!(story.waits.is_empty());
}

#[test]
fn a_member_may_wait_more_than_once() {
    let story = run(
        "route { await_all { thrice(\"q\"); ask(\"a\", $var(a)); thrice(\"r\"); } xlog(\"$rc $(async_rc[*]) $var(a)\"); }",
    );
    assert_eq!(story.trace.len(), 7);
    assert_eq!(story.trace[6], "0 3, 1, 3 A");
}

#[test]
fn it_works_in_every_kind_of_route_but_onsend() {
    let p = program(
        "onreply_route { await_all { ask(\"q\"); } xlog(\"$rc $route.type\"); async_all(r) { ask(\"q\"); } }
         failure_route[f] { async_any(r) { ask(\"q\"); } } branch_route[b] { await_any { ask(\"q\"); } xlog(\"b\"); drop; }
         local_route { async_all(r) { ask(\"q\"); } } event_route[E_X] { async_all(r) { ask(\"q\"); } }
         timer_route[t, 5] { await_all { ask(\"q\"); } xlog(\"t\"); } error_route { await_all { ask(\"q\"); } xlog(\"e\"); }
         startup_route { await_all { ask(\"q\"); } xlog(\"s\"); } route[r] { xlog(\"resumed $route.type\"); } route { exit; }",
    );
    for (kind, name, want) in [
        (RouteKind::OnReply, None, vec!["0 onreply", "resumed onreply"]),
        (RouteKind::Failure, Some("f"), vec!["resumed failure"]),
        (RouteKind::Branch, Some("b"), vec!["b"]),
        (RouteKind::Local, None, vec!["resumed local"]),
        (RouteKind::Event, Some("E_X"), vec!["resumed event"]),
        (RouteKind::Timer, Some("t"), vec!["t"]),
        (RouteKind::Error, None, vec!["e"]),
        (RouteKind::Startup, None, vec!["s"]),
    ] {
        assert_eq!(run_route(&p, kind, name).trace, want, "{kind}");
    }
    assert!(p.route(0).unwrap().waits && !p.route(8).unwrap().waits);
    // The route that starts them may be named at run time only.
    let p = program(
        "startup_route { $var(n) = \"s\"; route($var(n)); xlog(\"back $rc\"); }
         route[s] { async_all(r) { ask(\"q\"); } xlog(\"on $rc\"); } route[r] { xlog(\"never\"); }",
    );
    assert_eq!(run_route(&p, RouteKind::Startup, None).trace, ["on -1", "back 1"]);
}

#[test]
fn it_can_be_given_up_and_damage_is_refused() {
    let p =
        program("route { $avp(x) = 1; await_all { ask(\"q\", $var(a)); ask(\"r\"); } xlog(\"$rc $(async_rc[*])\"); }");
    let start = || match Run::new(p.clone(), 0, Fake::new()).go(&mut 100, Time::ZERO) {
        Paused::Several(s, requests) => (s, requests),
        _ => panic!("it waits for several"),
    };
    let (s, requests) = start();
    assert_eq!(requests.len(), 2);
    let bytes = s.encode().unwrap();
    let other = program("route { ask(\"other\"); }");
    assert_eq!(Suspended::decode(&bytes, other, |_| {}).err(), Some(CodecError::OtherProgram));
    for cut in 0..bytes.len() {
        assert!(Suspended::decode(&bytes[..cut], p.clone(), |_| {}).is_err(), "{cut}");
    }
    for at in 9..bytes.len() {
        // Damage is refused or gives a run that still ends; never a panic.
        let mut bad = bytes.clone();
        bad[at] ^= 0x55;
        if let Ok(s) = Suspended::decode(&bad, p.clone(), |_| {}) {
            let _ = (s.several(), s.describe(), s.describe_member(1), s.describe_member(2));
            let _ = s.resume_several().go(&mut 100, Time::ZERO);
        }
    }
    assert!(s.abandon().end.exited);
    // What nobody hears of any more counts as cancelled; what comes twice, or from nowhere, as nothing.
    let (mut s, requests) = start();
    let outcome = || answer(&requests[1].1);
    let told = s.members_ended(vec![(7, outcome()), (1, outcome()), (1, outcome())], Time::ZERO);
    assert!(matches!(told, Progress::Waits(more) if more.is_empty()));
    let Paused::Finished(f) = s.resume_several().go(&mut 100, Time::ZERO) else { panic!("it ends") };
    assert_eq!(f.host.trace, ["1 -12, 1"]);
}

#[test]
fn both_languages_have_it() {
    let modules = "loadmodule \"tm.so\"\nloadmodule \"io.so\"\n";
    let story = run_kamailio(&format!(
        "{modules}request_route {{ $var(i) = 7; $var(k) = \"kept\";
           await_all(2) {{ ask(\"a\" + $var(i), \"$avp(a)\"); ask(\"b\" + \"c\", \"$avp(b)\"); ask(\"fail\"); }}
           xlog(\"$rc $avp(a) $avp(b) $var(k) $(async_rc[*])\"); route(SUB); xlog(\"back\");
           async_any(DONE) {{ ask(\"fail\" + 1); ask(\"x\" + 2, \"$var(out)\"); ask(\"y\"); }} }}
         route[SUB] {{ await_all {{ ask(\"q\"); }} }}
         route[DONE] {{ xlog(\"$rc $var(out) $var(k) $(async_rc[*]) $(async_err[0])\"); }}"
    ));
    assert_eq!(story.trace, ["1 A7 BC kept 1, 1, -2", "back", "2 X2 0 -2, 1, -12 timeout"]);
    let findings = kamailio_findings(&format!(
        "{modules}request_route {{ await_all {{ xlog(\"x\"); if (1) exit; }} async_all(NOWHERE) {{ ask(\"q\"); }} }}"
    ));
    for part in ["E0404", "E0130", "E0205"] {
        assert!(findings.contains(part), "{findings}");
    }
}
