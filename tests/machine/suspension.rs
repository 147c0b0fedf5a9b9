//! Waiting: plain calls, `await`, `async`, `launch` (DESIGN 3, reference 2).

use crate::host::{Fake, answer, program, run, run_route};
use reprise::base::Time;
use reprise::script::ast::RouteKind;
use reprise::script::vm::{CodecError, Paused, Run, Suspended};

#[test]
fn plain_calls_wait_at_their_instruction() {
    let story = run("route { $var(k) = \"kept\"; $avp(l) = \"a\"; $avp(l) = \"b\";
           ask(\"one\", $var(a)); xlog(\"$rc $var(a) $var(k)\");
           if (ask(\"two\", $var(a)) && $var(a) == \"TWO\") { xlog(\"in condition\"); }
           $var(x) = 1 + ask(\"three\"); xlog(\"$var(x)\");
           for ($var(it) in $(avp(l)[*])) { ask(\"for $var(it)\", $var(a)); xlog(\"$var(a)\"); }
           $var(i) = 0; while ($var(i) < 2 && ask(\"w\")) { $var(i) += 1; }
           xlog(\"$var(i)\"); route(sub, \"p\"); xlog(\"back $rc\"); }
         route[sub] { if (ask(\"deep $param(1)\", $avp(d))) { route(deeper); } xlog(\"$avp(d) $param(1)\"); return(4); }
         route[deeper] { await ask(\"deeper\", $var(a)); xlog(\"$var(a) $(route[*])\"); }");
    assert_eq!(
        story.trace,
        [
            "1 ONE kept",
            "in condition",
            "2",
            "FOR B",
            "FOR A",
            "2",
            "DEEPER route > route[sub] > route[deeper]",
            "DEEP P p",
            "back 4"
        ]
    );
    assert_eq!(story.waits.len(), 9);
    let last = story.waits.last().unwrap();
    assert_eq!((last.function.as_str(), last.route.as_str(), last.via_async), ("ask", "route[deeper]", false));
    assert_eq!((last.file.as_str(), last.line), ("test.cfg", 10));
}

#[test]
fn a_function_may_wait_more_than_once() {
    let story = run(
        "route { if (thrice(\"q\")) { xlog(\"$rc\"); } async(thrice(\"r\"), done); } route[done] { xlog(\"$rc\"); }",
    );
    assert_eq!(story.trace, ["step 1 Q", "step 2 Q2", "step 3 Q23", "3", "step 1 R", "step 2 R2", "step 3 R23", "3"]);
}

#[test]
fn async_goes_on_in_the_resume_route_and_nowhere_else() {
    let story = run(
        "route { $var(lost) = \"x\"; $avp(kept) = \"y\"; $ru = \"sip:new@x\"; route(sub, \"p\"); xlog(\"never\"); }
         route[sub] { while (1) { if (1) { async(ask(\"q\", $var(out)), resume, 7); xlog(\"never\"); } } xlog(\"never\"); }
         route[resume] { xlog(\"$rc $var(out) $var(lost) $avp(kept) $ru $param(1) $(route[*]) $async_err\");
           async(ask(\"fail\", $avp(out)), again); }
         route[again] { xlog(\"$rc $avp(out) $var(out) $async_err $async_phase $avp(kept)\"); }",
    );
    assert_eq!(
        story.trace,
        ["1 Q <null> y sip:new@x <null> route[resume] <null>", "-2 <null> <null> timeout connect y"]
    );
    assert_eq!(story.waits[0].timeout_secs, Some(7));
    assert!(story.waits[0].via_async);
    assert_eq!(story.waits[1].timeout_secs, None);
}

#[test]
fn async_that_needs_no_wait_or_cannot_start_resumes_too() {
    for (call, want) in [
        ("ask(\"now\", $var(o))", "2 at once <null> <null>"),
        ("ask(\"broken\", $var(o))", "-1 <null> ask: cannot start <null>"),
        ("ask($var(none), $var(o))", "-1 <null> ask: argument 1 (question) is NULL <null>"),
        ("ret(5)", "5 <null> <null> <null>"),
        ("xlog(\"sync\")", "1 <null> <null> <null>"),
    ] {
        let story = run(&format!(
            "route {{ async({call}, r); xlog(\"never\"); }} route[r] {{ xlog(\"$rc $var(o) $async_err $async_phase\"); }}"
        ));
        assert_eq!(story.trace.last().unwrap(), want, "{call}");
        assert!(!story.trace.contains(&"never".to_string()));
    }
    // 0 ends the script here too.
    let story = run("route { async(ask(\"stop\"), r); } route[r] { xlog(\"never\"); }");
    assert!(story.trace.is_empty() && story.end.exited);
}

#[test]
fn outputs_keep_their_order() {
    let story = run("route { async(ask_lines(\"l\", $avp(o)), r); }
         route[r] { xlog(\"$(avp(o)[*])\"); async(ask_lines(\"m\", $var(o)), s); } route[s] { xlog(\"$var(o)\"); }");
    assert_eq!(story.trace, ["L2, L1", "M2"]);
}

#[test]
fn the_error_of_a_wait_is_readable_after_plain_calls() {
    let story = run(
        "route { ask(\"fail\"); xlog(\"$rc $async_err $async_phase\"); ask(\"q\"); xlog(\"$rc $async_err $async_phase\"); }",
    );
    assert_eq!(story.trace, ["-2 timeout connect", "1 <null> <null>"]);
}

#[test]
fn launch_runs_on_its_own() {
    let story =
        run("route { $avp(mine) = \"m\"; $var(v) = \"v\"; launch(ask(\"about $var(v)\", $avp(o)), report, \"id $rm\");
           xlog(\"$rc $avp(o)\"); launch(ask(\"now\", $var(o)), report); launch(ask(\"fail\"), report);
           launch(ask(\"broken\"), report); launch(ask($avp(none)), report); xlog(\"$rc\");
           launch(ask(\"q\")); launch(ask(\"now\")); launch(ret(0), report); xlog(\"end\"); }
         route[report] { xlog(\"$rc $avp(o) $var(o) $avp(mine) $var(v) $param(1) $detached $async_err\"); }");
    assert_eq!(story.trace, ["1 <null>", "-1", "end"]);
    assert!(story.avps == ["mine=m"]);
    let told: Vec<&str> = story.children.iter().filter_map(|c| c.trace.first().map(String::as_str)).collect();
    assert_eq!(
        told,
        [
            "1 ABOUT V <null> <null> <null> id INVITE 1 <null>",
            "2 <null> at once <null> <null> <null> 1 <null>",
            "-2 <null> <null> <null> <null> <null> 1 timeout",
            "-1 <null> <null> <null> <null> <null> 1 ask: cannot start",
            "-1 <null> <null> <null> <null> <null> 1 ask: argument 1 (question) is NULL",
            "0 <null> <null> <null> <null> <null> 1 <null>",
        ]
    );
    assert!(story.waits[0].launched && !story.waits[0].via_async);
}

#[test]
fn waits_work_in_every_kind_of_route_but_onsend() {
    let p = program(
        "onreply_route { ask(\"q\"); xlog(\"$rc $route.type\"); async(ask(\"q\"), r); }
         failure_route[f] { async(ask(\"q\"), r); } branch_route[b] { ask(\"q\"); xlog(\"b\"); drop; }
         local_route { async(ask(\"q\"), r); } event_route[E_X] { async(ask(\"q\"), r); }
         timer_route[t, 5] { ask(\"q\"); xlog(\"t\"); } error_route { ask(\"q\"); xlog(\"e\"); }
         startup_route { ask(\"q\"); xlog(\"s\"); } route[r] { xlog(\"resumed $route.type\"); } route { exit; }",
    );
    for (kind, name, want) in [
        (RouteKind::OnReply, None, vec!["1 onreply", "resumed onreply"]),
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
    assert_eq!(p.routes_of(RouteKind::Timer).next().unwrap().1.interval, Some(5));
    assert!(p.route(0).unwrap().waits && !p.route(8).unwrap().waits);
}

#[test]
fn async_reached_by_a_computed_name_from_startup_gives_minus_one() {
    let p = program(
        "startup_route { $var(n) = \"s\"; route($var(n)); xlog(\"back $rc\"); }
         route[s] { async(ask(\"q\"), r); xlog(\"on $rc\"); } route[r] { xlog(\"never\"); }",
    );
    let story = run_route(&p, RouteKind::Startup, None);
    assert_eq!(story.trace, ["on -1", "back 1"]);
}

#[test]
fn events_have_named_parameters() {
    let p = program(
        "event_route[E_X] { xlog(\"$param(1) $param(aor) $param(none)\"); ask(\"q\"); xlog(\"$param(aor)\"); }",
    );
    let route = p.find_route(RouteKind::Event, Some("E_X")).unwrap();
    let params = vec![(Some("aor".into()), "a@b".into())];
    let run = Run::new(p.clone(), route, Fake::new()).with_params(params);
    let Paused::Wait(s, request) = run.go(&mut 100, Time::ZERO) else { panic!("it waits") };
    let Paused::Finished(f) = s.resume(answer(&request)).go(&mut 100, Time::ZERO) else { panic!("it ends") };
    assert_eq!(f.host.trace, ["a@b a@b <null>", "a@b"]);
}

#[test]
fn the_budget_pauses_and_avps_can_be_exchanged() {
    let p = program("route { while (1) { $avp(x) = 1; } }");
    let run = Run::new(p.clone(), 0, Fake::new());
    let mut budget = 50;
    let Paused::Budget(mut run) = run.go(&mut budget, Time::ZERO) else { panic!("the budget is used up") };
    assert_eq!(budget, 0);
    let avps = run.set_avps(Default::default());
    assert!(!avps.is_empty() && run.avps().is_empty());
    let run = run.with_avps(avps);
    let done = run.abandon();
    assert!(done.end.exited && !done.avps.is_empty());
}

#[test]
fn a_suspension_can_be_abandoned_and_belongs_to_its_program() {
    let p = program("route { $avp(x) = 1; ask(\"q\"); xlog(\"never\"); }");
    let Paused::Wait(s, _) = Run::new(p.clone(), 0, Fake::new()).go(&mut 100, Time::ZERO) else { panic!() };
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
            let _ = s.resume(answer(&crate::host::Request::Ask("fail".into())));
        }
    }
    let again = Suspended::decode(&bytes, p.clone(), |h: &mut Fake| h.detached = true).unwrap();
    assert!(again.host().detached);
    let run = s.resume(answer(&crate::host::Request::Ask("q".into())));
    assert_eq!(run.encode().err(), Some(CodecError::Undelivered));
    let done = again.abandon();
    assert!(done.end.exited && done.host.trace.is_empty());
    assert!(!done.avps.is_empty());
}

#[test]
fn a_wait_is_the_last_thing_or_is_not() {
    for (script, last) in [
        ("route { ask(\"q\"); }", true),
        ("route { ask(\"q\"); exit; }", true),
        ("route { ask(\"q\"); return(2); }", true),
        ("route { ask(\"q\"); xlog(\"more\"); }", false),
        ("route { if ($rm == \"INVITE\") { ask(\"q\"); } else { xlog(\"other\"); } exit; }", true),
        ("route { if (ask(\"q\")) { xlog(\"yes\"); } }", false),
        ("route { $var(x) = ask(\"q\"); }", false),
        ("route { ask(\"q\", $var(x)); return($var(x)); }", false),
        ("route { route(sub); } route[sub] { ask(\"q\"); }", true),
        ("route { route(sub); xlog(\"more\"); } route[sub] { ask(\"q\"); }", false),
        ("route { route(sub); xlog(\"more\"); } route[sub] { ask(\"q\"); exit; }", true),
        ("route { while (1) { ask(\"q\"); } }", false),
        ("route { while (1) { ask(\"q\"); break; } }", true),
        ("route { async(ask(\"q\"), done); } route[done] { xlog(\"more\"); }", false),
        ("route { async(ask(\"q\"), done); } route[done] { ask(\"r\"); }", false),
        ("route { await_all { ask(\"q\"); ask(\"r\"); } }", false),
    ] {
        let p = program(script);
        let s = match Run::new(p.clone(), 0, Fake::new()).go(&mut 100, Time::ZERO) {
            Paused::Wait(s, _) | Paused::Several(s, _) => s,
            _ => panic!("{script}"),
        };
        assert_eq!(s.is_last(), last, "{script}");
    }
}
