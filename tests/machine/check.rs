//! What is wrong with a configuration is found when it is loaded, all in one run, with the
//! place, the reason and a suggestion.

use crate::host::{run_quietly, try_compile};
use reprise::script::print;

/// Compiles with `tm` and `io` loaded and gives the findings.
fn findings(text: &str) -> String {
    let (program, brief) = try_compile(&format!("loadmodule \"tm.so\" loadmodule \"io.so\"\n{text}"));
    assert_eq!(program.is_none(), brief.contains("error["), "{brief}");
    brief
}

#[track_caller]
fn finds(text: &str, parts: &[&str]) {
    let brief = findings(text);
    for p in parts {
        assert!(brief.contains(p), "`{p}` is missing in:\n{brief}");
    }
}

#[test]
fn names() {
    finds(
        "route { t_realy(); }",
        &["test.cfg:2:9: error[E0201]: unknown function `t_realy`", "did you mean `t_relay`?"],
    );
    finds("route { xlgo(\"x\"); }", &["E0201", "`xlog`"]);
    finds("route { xlog(\"$fUx\"); }", &["E0204", "unknown variable `$fUx`", "did you mean `$fU`?"]);
    finds("route { xlog(\"$rm.\"); }", &["E0204", "`$rm.`", "write `$(rm).`"]);
    finds("route { $var(x) = $retcod; }", &["E0204", "`$retcode`"]);
    finds("route { route(relya); } route[relay] { exit; }", &["E0205", "there is no `route[relya]`", "`route[relay]`"]);
    finds("route { t_on_failure(\"b\"); } failure_route[a] { exit; }", &["E0205", "failure_route[b]"]);
    finds("route { async(ask(\"q\"), nowhere); }", &["E0205", "route[nowhere]"]);
    finds("route { launch(ask(\"q\"), nowhere); }", &["E0205"]);
    finds("route[a] { exit; } route[a] { exit; }", &["E0206", "`route[a]` exists twice"]);
    finds("route { exit; } route[0] { exit; }", &["E0206"]);
    finds("onreply_route { exit; } onreply_route { exit; }", &["E0206"]);
    finds("route { xlog(\"$(ru{s.lenn})\"); }", &["E0207", "`{s.lenn}`", "did you mean `{s.len}`?"]);
    finds("route { xlog(\"$(ru{s.substr,1})\"); }", &["E0306", "takes 2"]);
    finds("route { xlog(\"$(ru{s.substr,a,b})\"); }", &["E0306", "not a number"]);
    finds("route { xlog(\"$(ru{re.subst,/(/x/})\"); }", &["E0306"]);
    finds("route { xlog(\"$(si{ip.resolve})\"); }", &["E0402", "DNS"]);
    finds("route { xlog(\"cost 5$ each\"); }", &["E0305", "`$$`"]);
}

#[test]
fn modules() {
    let (_, brief) = try_compile("route { t_relay(); }");
    assert!(brief.contains("E0202") && brief.contains("loadmodule \"tm.so\""), "{brief}");
    finds("loadmodule \"need.so\"\nroute { exit; }", &["E0203", "unknown module `need`", "did you mean `needy.so`?"]);
    let (_, brief) = try_compile("loadmodule \"/usr/lib/needy.so\"\nroute { exit; }");
    assert!(brief.contains("E0203") && brief.contains("needs module `tm`"), "{brief}");
    finds("modparam(\"tm\", \"fr_timer\", 5)\nroute { exit; }", &["E0208", "`fr_timer`", "did you mean `fr_timeout`?"]);
    finds("modparam(\"tm\", \"fr_timeout\", \"5\")\nroute { exit; }", &["E0302", "is a number", "without quotes"]);
    finds("modparam(\"tm\", \"db_url\", 5)\nroute { exit; }", &["E0302", "is a string"]);
    finds("modparam(\"needy\", \"x\", 5)\nroute { exit; }", &["E0203", "not loaded"]);
    finds("modparam(\"tmm\", \"x\", 5)\nroute { exit; }", &["E0203", "did you mean `tm`?"]);
    finds("modparam(\"t(\", \"x\", 5)\nroute { exit; }", &["E0303"]);
    let (program, brief) = try_compile(
        "loadmodule \"tm.so\" loadmodule \"io.so\" loadmodule \"needy.so\"
         modparam(\"tm|io\", \"db_url\", \"mysql://x\") modparam(\"needy\", \"any\", 3) route { exit; }",
    );
    let program = program.expect(&brief);
    let params: Vec<String> = program.modparams.iter().map(|p| format!("{}.{}", p.module, p.param)).collect();
    assert_eq!(params, ["tm.db_url", "io.db_url", "needy.any"]);
    assert!(program.has_module("core") && program.has_module("needy"));
}

#[test]
fn arguments() {
    finds("route { ret(); }", &["E0301", "takes 1 argument, 0 given", "ret(code:int)"]);
    finds("route { ret(1, 2); }", &["E0301"]);
    finds("route { put( , $var(x)); }", &["E0301", "cannot be left out"]);
    finds("route { t_relay(1); }", &["E0301", "takes no arguments"]);
    finds("route { ret(\"five\"); }", &["E0302", "must be a number"]);
    finds("route { put(\"x\", \"text\"); }", &["E0302", "variable to assign"]);
    finds("route { put(\"x\", 5); }", &["E0302"]);
    finds("route { put(\"x\", $rm); }", &["E0304", "`$rm` can only be read"]);
    finds("route { outs(\"$avp(a);text\"); }", &["E0302"]);
    finds("route { matches(\"x\", \"(\"); }", &["E0303", "`(`"]);
    finds("route { subst(\"/a/b\"); }", &["E0303"]);
    finds("route { if ($rm =~ \"[a\") { exit; } }", &["E0303"]);
    finds("route { $rm = \"x\"; }", &["E0304"]);
    finds("route { $(var(x){s.len}) = 1; }", &["E0304", "transformation"]);
    finds("route { $var($rm) = 1; }", &["E0305"]);
    finds("route { if (uri > myself) { exit; } }", &["error["]);
}

#[test]
fn waits_where_none_may_be() {
    finds(
        "startup_route { async(ask(\"q\"), r); } route[r] { exit; }",
        &["test.cfg:2:23: error[E0402]: `async` in startup_route", "startup_route simply waits"],
    );
    finds(
        "startup_route { route(s); } route[s] { async(ask(\"q\"), r); } route[r] { exit; }",
        &["E0402", "only startup_route uses"],
    );
    finds(
        "startup_route { route(s); } route { route(s); } route[s] { async(ask(\"q\"), r); } route[r] { exit; }",
        &["warning[W0401]"],
    );
    assert_eq!(findings("startup_route { ask(\"q\"); launch(ask(\"q\")); }"), "");
}

#[test]
fn several_are_functions_that_wait() {
    finds(
        "route { await_all { ask(\"q\"); xlog(\"x\"); } }",
        &[
            "test.cfg:2:31: error[E0404]: `xlog` cannot be started by `await_all`",
            "in front of `await_all`, or behind it",
        ],
    );
    finds("route { async_any(nowhere) { ask(\"q\"); } }", &["E0205", "route[nowhere]"]);
    finds("route { await_any { aks(\"q\"); ask(); ask(\"$fUx\"); } }", &["E0201", "`ask`", "E0301", "E0204"]);
    finds(
        "startup_route { async_all(r) { ask(\"q\"); } } route[r] { exit; }",
        &["test.cfg:2:32: error[E0402]: `async_all` in startup_route", "write `await_all { ... }`"],
    );
    finds("startup_route { route(s); } route[s] { async_any(r) { ask(\"q\"); } } route[r] { exit; }", &["E0402"]);
    assert_eq!(findings("startup_route { await_all { ask(\"q\"); } }"), "");
    finds("route { async_all(r) { ask(\"q\"); } xlog(\"x\"); } route[r] { exit; }", &["W0103"]);
}

#[test]
fn waiting_needs_tm() {
    for body in [
        "async(ask(\"q\"), r);",
        "await_all { ask(\"q\"); }",
        "async_all(r) { ask(\"q\"); }",
        "ask(\"q\");",
        "if (ask(\"q\")) { exit; }",
    ] {
        let (_, brief) = try_compile(&format!("loadmodule \"io.so\"\nroute {{ {body} }} route[r] {{ exit; }}"));
        assert!(brief.contains("E0403") && brief.contains("loadmodule \"tm.so\""), "{brief}");
    }
    let (program, brief) = try_compile("loadmodule \"io.so\"\ntimer_route[t, 5] { ask(\"q\"); launch(ask(\"q\")); }");
    assert!(program.is_some(), "{brief}");
}

#[test]
fn functions_in_the_wrong_kind_of_route() {
    finds(
        "branch_route[b] { t_relay(); }",
        &["E0401", "`t_relay` cannot be used in branch_route", "route, failure_route"],
    );
    finds("route { reply_only(); }", &["E0401"]);
    // A sub-route may hold what the kinds that call it may.
    assert_eq!(findings("onreply_route { route(s); } route[s] { reply_only(); }"), "");
}

#[test]
fn everything_in_one_run() {
    let brief =
        findings("route { nope(); xlog(\"$nope\"); route(nope); ret(); $rm = 1; } branch_route[b] { t_relay(); }");
    for code in ["E0201", "E0204", "E0205", "E0301", "E0304", "E0401"] {
        assert!(brief.contains(code), "{code} is missing in:\n{brief}");
    }
}

#[test]
fn programs_print() {
    let (program, brief) = try_compile(
        "loadmodule \"tm.so\" loadmodule \"io.so\"
         route { if ($rm == \"BYE\" || uri==myself) { async(ask(\"q $rm\", $avp(o)), r, 5); } t_relay(); }
         route[r] { switch ($rc) { case 1: exit; default: drop; } }",
    );
    let text = print::program(&program.expect(&brief));
    for part in [
        "route (waits)",
        "test $rm Eq Str(\"BYE\")",
        "async ask(\"q $rm\", out $avp(o)) then route[r] with deadline",
        "switch 1->",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

#[test]
fn deep_trees_are_lowered() {
    let chain = vec!["$rm == \"a\""; 400].join(" || ");
    let sum = vec!["1"; 400].join(" + ");
    let nots = "!".repeat(400);
    let open = "if (1) { ".repeat(150);
    let close = "} ".repeat(150);
    assert_eq!(
        findings(&format!("route {{ {open} if ({chain}) {{ $var(x) = {sum}; }} if ({nots}$rm) {{ exit; }} {close} }}")),
        ""
    );
}

/// Scripts with pieces cut out, doubled and swapped: findings or a program that runs, never a panic.
#[test]
fn damaged_scripts_do_no_harm() {
    const SCRIPT: &str = "loadmodule \"tm.so\" loadmodule \"io.so\" modparam(\"tm|io\", \"db_url\", \"x\")
        route { $var(i) = 0; $avp(a) = \"x $rm\"; $(avp(a)[append]) = 5; while ($var(i) < 3 && $si == 10.0.0.0/8) {
          $var(i) += 1; switch ($var(i)) { case 1: route(sub, \"p\", $var(i)); case \"b\": break; default: xlog(\"$(ru{uri.user}{s.substr,0,2})\"); } }
          for ($var(it) in $(avp(a)[*])) { if (!ask(\"$var(it)\", $var(o)) || uri==myself) { $var(x) = 1 + 2 * ret(3) - $var(o); } }
          launch(ask(\"l\", $avp(o)), report, \"$(hdr(X-One)[-1])\"); if ($rm =~ \"^INV\") { async(ask(\"q\", $var(o)), report, 5); } drop; }
        route[sub] { t_on_failure(\"f\"); return(2, $param(1), \"$route\"); }
        route[report] { xlog(\"$rc $(var(o){s.md5}{s.select,0,a}) $(avp(a)[$var(i)]) $return(0) $$\"); }
        failure_route[f] { exit; } startup_route { $var(k) = ~7 << 2; }";
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n.max(1) as u64) as usize
    };
    let mut ran = 0;
    for round in 0..1500 {
        let mut text = SCRIPT.as_bytes().to_vec();
        for _ in 0..=(round % 4) {
            let from = next(text.len());
            let len = 1 + next(12);
            let piece: Vec<u8> = text[from..(from + len).min(text.len())].to_vec();
            match next(3) {
                0 => drop(text.drain(from..(from + piece.len()))),
                1 => drop(text.splice(from..from, piece)),
                _ => {
                    let to = next(text.len());
                    drop(text.splice(to..to, piece));
                }
            }
        }
        if let (Some(p), _) = try_compile(&String::from_utf8_lossy(&text)) {
            ran += 1;
            run_quietly(p);
        }
    }
    assert!(ran > 20, "only {ran} of them compiled");
}
