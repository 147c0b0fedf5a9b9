//! Statements, routes, return codes (reference 1.7, 1.8, 1.11) and arguments (1.12).

use crate::host::{program, run, run_route, trace};
use reprise::script::ast::RouteKind;
use reprise::script::value::Value;
use reprise::script::vm::End;

#[test]
fn return_codes() {
    for (body, want) in [
        ("ret(-3); xlog(\"$rc\"); xlog(\"$retcode\");", vec!["-3", "1"]),
        ("$var(x) = 1; xlog(\"$rc\");", vec!["1"]),
        ("if (ret(-2)) { xlog(\"t\"); } else { xlog(\"$rc\"); }", vec!["-2"]),
        ("if (!ret(-2)) { switch ($rc) { case -2: xlog(\"two\"); break; default: xlog(\"other\"); } }", vec!["two"]),
        // An `if` whose branch is missing or empty leaves its condition.
        ("if (ret(-2)) { xlog(\"t\"); } xlog(\"$rc\");", vec!["0"]),
        ("if (ret(2)) { } xlog(\"$rc\");", vec!["1"]),
        ("if (ret(2)) { ret(5); } xlog(\"$rc\");", vec!["5"]),
        ("route(last); xlog(\"$rc\");", vec!["-7"]),
        ("route(plain); xlog(\"$rc\");", vec!["1"]),
        ("route(five); xlog(\"$rc\");", vec!["5"]),
        ("route(branch); xlog(\"$rc\");", vec!["1"]),
        ("route(null); xlog(\"$rc\");", vec!["-1"]),
        ("route(text); xlog(\"$rc\");", vec!["1"]),
        ("route(\"five\"); if (route(minus)) xlog(\"t\"); else xlog(\"f $rc\");", vec!["f -4"]),
        ("$var(r) = route(minus); xlog(\"$var(r)\");", vec!["-4"]),
        ("broken(); xlog(\"$rc\");", vec!["-1"]),
        ("if (broken()) xlog(\"t\"); else xlog(\"f\");", vec!["f"]),
        ("if ({ ret(3); ret(-1); }) xlog(\"t\"); else xlog(\"f\");", vec!["f"]),
        ("while (ret(-1)) { ret(1); } xlog(\"$rc\");", vec!["0"]),
        ("switch ($rm) { case \"INVITE\": ret(-9); } xlog(\"$rc\");", vec!["-9"]),
        ("switch ($rm) { case \"BYE\": ret(-9); } xlog(\"$rc\");", vec!["1"]),
    ] {
        let story = run(&format!(
            "route {{ {body} }}
             route[last] {{ xlog(\"x\"); ret(-7); }} route[plain] {{ ret(-7); return; }} route[five] {{ return(5); }}
             route[branch] {{ ret(-2); if (ret(-2)) {{ xlog(\"t\"); }} }} route[null] {{ return($var(none)); }}
             route[text] {{ return($rm); }} route[minus] {{ return -4; }}"
        ));
        let want: Vec<String> = want.into_iter().map(String::from).collect();
        let got: Vec<String> = story.trace.into_iter().filter(|t| t != "x").collect();
        assert_eq!(got, want, "{body}");
    }
}

#[test]
fn zero_stops_the_script_wherever_it_occurs() {
    for body in [
        "ret(0); xlog(\"after\");",
        "if (ret(0)) { xlog(\"t\"); } else { xlog(\"f\"); } xlog(\"after\");",
        "$var(x) = ret(0); xlog(\"after\");",
        "while (ret(0)) { xlog(\"t\"); } xlog(\"after\");",
        "route(zero); xlog(\"after\");",
        "if (route(out)) { xlog(\"t\"); } xlog(\"after\");",
        "if (1 && ret(0)) { xlog(\"t\"); } xlog(\"after\");",
        "route(deep); xlog(\"after\");",
        "exit; xlog(\"after\");",
        "$var(x) = 1 + ret(0); xlog(\"after\");",
    ] {
        let story = run(&format!(
            "route {{ {body} }} route[zero] {{ return(0); }} route[out] {{ exit; }} route[deep] {{ if (1) {{ route(zero); }} }}"
        ));
        assert!(story.trace.is_empty(), "{body}: {:?}", story.trace);
        // `exit` is no zero.
        let zero = !body.contains("exit") && !body.contains("route(out)");
        assert_eq!(story.end, End { dropped: false, exited: true, zero, rc: 0 }, "{body}");
    }
    let story = run("route { route(d); xlog(\"after\"); } route[d] { drop; }");
    assert_eq!((story.trace.len(), story.end.dropped, story.end.exited), (0, true, true));
    let story = run("route { ret(4); }");
    assert_eq!(story.end, End { dropped: false, exited: false, zero: false, rc: 4 });
}

#[test]
fn an_error_in_a_condition_runs_the_else_branch() {
    let story = run("route { $var(x) = \"a\"; if ($var(x) == 1) { xlog(\"t\"); } else { xlog(\"f\"); }
        if (!($var(x) == 1)) { xlog(\"t\"); } else { xlog(\"f\"); } if ($var(x) == 1) { xlog(\"t\"); } xlog(\"$rc\"); }");
    assert_eq!(story.trace, ["f", "f", "-1"]);
    assert!(story.log[0].contains("test.cfg:2"), "{:?}", story.log);
}

#[test]
fn loops() {
    assert_eq!(
        trace("$var(i) = 0; while ($var(i) < 5) { $var(i) += 1; if ($var(i) == 3) { break; } xlog(\"$var(i)\"); }"),
        ["1", "2"]
    );
    assert_eq!(
        trace(
            "$avp(a) = \"x\"; $avp(a) = \"y\"; $avp(a) = \"z\";
             for ($var(it) in $(avp(a)[*])) { xlog(\"$var(it)\"); if ($var(it) == \"y\") { break; } } xlog(\"end\");"
        ),
        ["z", "y", "end"]
    );
    assert_eq!(trace("for ($var(it) in $(hdr(X-One)[*])) { xlog(\"$var(it)\"); }"), ["first", "second"]);
    assert_eq!(trace("for ($var(it) in $(avp(none)[*])) { xlog(\"$var(it)\"); } xlog(\"end\");"), ["end"]);
    // Nested, with a switch in between.
    assert_eq!(
        trace(
            "$var(i) = 0; while ($var(i) < 2) { $var(j) = 0; while ($var(j) < 2) {
                 switch ($var(j)) { case 0: xlog(\"$var(i)a\"); break; default: xlog(\"$var(i)b\"); }
                 $var(j) += 1; } $var(i) += 1; }"
        ),
        ["0a", "0b", "1a", "1b"]
    );
}

#[test]
fn switches() {
    let body = "switch ($var(x)) { case 1: xlog(\"one\"); case \"Two\": xlog(\"two\"); break; case 3: xlog(\"three\");
                break; default: xlog(\"other\"); } xlog(\"end\");";
    for (value, want) in [
        ("1", vec!["one", "two", "end"]),
        ("\"tWO\"", vec!["two", "end"]),
        ("3", vec!["three", "end"]),
        ("\"3\"", vec!["other", "end"]),
        ("\"two \"", vec!["other", "end"]),
        ("null", vec!["other", "end"]),
    ] {
        assert_eq!(trace(&format!("$var(x) = {value}; {body}")), want, "{value}");
    }
}

#[test]
fn routes_have_parameters_and_values() {
    let story = run("route { $var(a) = \"v\"; route(p, \"lit $fU\", 7, $var(a), NULL);
           xlog(\"$return(0) $return(1) $return(2)\");
           $var(name) = \"p\"; route($var(name), \"dyn\"); route(\"p$var(none2)\"); xlog(\"$rc\"); }
         route[p] { $var(i) = 3; $var(a) = \"changed\";
           xlog(\"$param(1) $param(2) $param(3) $param(4) $param(9) $(param($var(i))) $route.name\");
           route(q, \"inner\"); xlog(\"$param(1) $return(0)\"); return(2, \"r0\", $param(2)); }
         route[q] { xlog(\"$param(1) $param(2) $(route[*])\"); }");
    assert_eq!(
        story.trace,
        [
            "lit $fU 7 v <null> <null> v p",
            "inner <null> route > route[p] > route[q]",
            "lit $fU <null>",
            "r0 7 <null>",
            "dyn <null> <null> <null> <null> <null> p",
            "inner <null> route > route[p] > route[q]",
            "dyn <null>",
            "1",
        ]
    );
    assert!(story.log.iter().any(|l| l.contains("route[p<null>]")), "{:?}", story.log);
}

#[test]
fn arguments() {
    for (call, want) in [
        ("show(\"a $rm\", 5)", "[Value(Str(\"a INVITE\")), Value(Int(5)), None]"),
        ("show( , \"7\")", "[None, Value(Int(7)), None]"),
        ("show(\"$var(none)\", -3)", "[Value(Str(\"<null>\")), Value(Int(-3)), None]"),
        ("show($var(none), \"$sp\")", "[None, Value(Int(5060)), None]"),
        ("show($sp, $sp)", "[Value(Both(5060, \"5060\")), Value(Int(5060)), None]"),
        ("raw(\"a $rm\")", "[Value(Str(\"a $rm\"))]"),
        ("setflag(NAME)", "[Value(Str(\"NAME\"))]"),
        ("setflag(3)", "[Value(Str(\"3\"))]"),
        ("setflag(\"NAME\")", "[Value(Str(\"NAME\"))]"),
        ("t_on_failure(\"0\")", "[Value(Null)]"),
        ("t_on_failure(\"f\")", "[Route(1)]"),
        ("t_on_failure(f)", "[Route(1)]"),
        ("subst(\"/a/b/g\")", "[Subst(0)]"),
    ] {
        let story = run(&format!("route {{ {call}; }} failure_route[f] {{ exit; }}"));
        assert_eq!(story.trace, [want], "{call}");
    }
    // NULL for a mandatory one, or no number where one must be: not called.
    for call in ["xlog($var(none))", "ret($rm)", "ret(\"$rm\")", "ret($var(none))", "xlog($(var(x){csv.value,9}))"] {
        let story = run(&format!("route {{ $var(x) = \"a\"; {call}; xlog(\"$rc\"); }}"));
        assert_eq!(story.trace, ["-1"], "{call}");
        assert!(!story.log.is_empty(), "{call}");
    }
    assert_eq!(trace("put(\"v\", $var(o)); put(\"w\", \"$avp(o)\"); xlog(\"$var(o) $avp(o)\");"), ["v w"]);
    assert_eq!(trace("push(\"n\", \"1\"); push(\"n\", \"2\"); xlog(\"$(avp(n)[*])\");"), ["2, 1"]);
    assert_eq!(
        trace("if (matches(\"abc\", \"^A.c$\")) xlog(\"1\"); $var(p) = \"x$\"; if (!matches(\"abc\", $var(p))) xlog(\"2\");
               $var(p) = \"(\"; if (!matches(\"abc\", $var(p))) xlog(\"3\"); if (matches(\"INVITE\", \"^$rm\")) xlog(\"4\");"),
        ["1", "2", "3", "4"]
    );
}

#[test]
fn conditions_as_arguments() {
    assert_eq!(
        trace("assert($rm == \"INVITE\" && ret(1)); assert($rm == \"BYE\");"),
        ["check Some(1)", "check Some(0)"]
    );
}

#[test]
fn vars_start_fresh_and_with_what_startup_left() {
    let p = program(
        "route { xlog(\"$var(a) $var(b)\"); $var(a) = \"changed\"; } startup_route { $var(a) = \"from start\"; }",
    );
    assert_eq!(run_route(&p, RouteKind::Request, None).trace, ["<null> <null>"]);
    let start = run_route(&p, RouteKind::Startup, None);
    p.set_initial_vars(start.vars);
    p.set_initial("b", Value::Int(3));
    for _ in 0..2 {
        assert_eq!(run_route(&p, RouteKind::Request, None).trace, ["from start 3"]);
    }
}

#[test]
fn position_variables() {
    let story = run("\nroute {\n xlog(\"$cfg_line $cfg_file $route $route.type\");\n}");
    assert_eq!(story.trace, ["4 test.cfg route request"]);
}
