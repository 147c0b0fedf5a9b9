//! Mistakes in scripts, found when the script is loaded: `-c` end to end.

use crate::support::process;
use crate::support::reprise::run;
use crate::waits_common::{SECOND, head};

/// Exit code and text of `-c` on a script with these modules. The head takes `3 + modules` lines.
fn check(modules: &[&str], script: &str) -> (i32, String) {
    let dir = process::directory("check");
    let file = dir.path().join("reprise.cfg");
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, format!("{}{script}", head(5060, modules))).unwrap();
    let done = run(&["-c", "-f", &path], SECOND * 20);
    assert_eq!(done.stdout, "");
    (done.code, done.stderr.replace(&path, "reprise.cfg"))
}

const MODULES: &[&str] = &["tm", "sl", "cfgutils"];

#[test]
fn an_unknown_function_with_a_suggestion() {
    let (code, text) = check(MODULES, "route {\n    sl_send_repl(200, \"OK\");\n}\n");
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "error[E0201]: unknown function `sl_send_repl`
 --> reprise.cfg:8:5
  |
8 |     sl_send_repl(200, \"OK\");
  |     ^^^^^^^^^^^^
  |
  = help: did you mean `sl_send_reply`?

1 error
"
    );
}

#[test]
fn an_unknown_route_wherever_it_is_named() {
    let script = "route {
    t_on_failure(\"resume\");
    route(resum);
    launch(sleep(1), nowhere);
    async(sleep(1), resumee);
}
route[resume] {
    exit;
}
";
    let (code, text) = check(MODULES, script);
    assert_eq!(code, 1);
    assert!(text.contains("error[E0205]: there is no `route[resum]`\n --> reprise.cfg:9:"), "{text}");
    assert!(text.contains("error[E0205]: there is no `route[resumee]`\n  --> reprise.cfg:11:21"), "{text}");
    assert!(text.contains("error[E0205]: there is no `route[nowhere]`\n  --> reprise.cfg:10:22"), "{text}");
    assert!(text.contains("error[E0205]: there is no `failure_route[resume]`"), "{text}");
    assert!(text.contains("did you mean `route[resume]`?"), "{text}");
    assert!(text.ends_with("\n4 errors\n"), "all in one run:\n{text}");
}

#[test]
fn a_wait_where_none_may_be() {
    let (code, text) = check(
        MODULES,
        "startup_route {\n    $var(x) = 1;\n    async(sleep(1), later);\n}\nroute[later] { exit; }\nroute { exit; }\n",
    );
    assert_eq!(code, 1);
    assert!(text.starts_with("error[E0402]: `async` in startup_route\n --> reprise.cfg:9:11\n"), "{text}");
    assert!(text.contains("help: call `sleep` without `async`: startup_route simply waits for it"), "{text}");
    // What may be there: plain waits and launch.
    let (code, text) = check(
        MODULES,
        "startup_route {\n    sleep(1);\n    launch(sleep(1), later);\n}\nroute[later] { exit; }\nroute { exit; }\n",
    );
    assert_eq!((code, text.as_str()), (0, "the configuration is good\n"));
}

#[test]
fn malformed_asynchronous_statements() {
    for (statement, expected) in [
        ("async(sleep(1));", "error[E0120]: `async` without a resume route"),
        ("async(later);", "error[E0120]: `async` starts nothing"),
        ("async(sleep, later);", "error[E0120]: `async` cannot start"),
        ("async(sleep(1), $var(x));", "error[E0120]: the resume route cannot come from a variable"),
        ("async(sleep(1), later, $var(x));", "error[E0120]: the timeout of `async` is not a number of seconds"),
        ("async(later) { }", "error[E0119]: the block of `async` is empty"),
        ("async(later) { sleep(1); sleep(2); }", "error[E0119]: a second statement in the block of `async`"),
        ("async(route(later), later);", "error[E0120]: `route` cannot be started by `async`"),
        ("launch(later);", "error[E0120]: `launch` cannot start"),
        ("async(sleep(), later);", "error[E0301]: `sleep` takes 1 argument, 0 given"),
        ("async(sleep(1, 2), later);", "error[E0301]: `sleep` takes 1 argument, 2 given"),
        ("async(nothing(1), later);", "error[E0201]: unknown function `nothing`"),
        (
            "async(rest_get(\"http://h/\", $var(b)), later);",
            "error[E0202]: `rest_get` is a function of module `rest_client`, which is not loaded",
        ),
        ("await sleep;", "error["),
        ("await $var(x);", "error["),
    ] {
        let (code, text) = check(MODULES, &format!("route {{\n    {statement}\n}}\nroute[later] {{ exit; }}\n"));
        assert_eq!(code, 1, "{statement}\n{text}");
        assert!(text.contains(expected), "{statement}\n{text}");
        assert!(text.contains("reprise.cfg:8:"), "{statement}: the line is named\n{text}");
    }
}

#[test]
fn functions_in_the_wrong_kind_of_route() {
    let (code, text) = check(
        MODULES,
        "route { t_on_reply(\"r\"); t_relay(); }\nonreply_route[r] {\n    t_relay();\n    sl_send_reply(200, \"OK\");\n    usleep(1);\n}\n",
    );
    assert_eq!(code, 1);
    assert!(text.contains("error[E0401]: `t_relay` cannot be used in onreply_route\n"), "{text}");
    assert!(text.contains("error[E0401]: `sl_send_reply` cannot be used in onreply_route\n"), "{text}");
    assert!(text.contains("help: it can be used in: "), "{text}");
    assert!(!text.contains("usleep`"), "{text}");
}

#[test]
fn outputs_that_cannot_be_written() {
    let script = "route {
    sql_query(\"SELECT 1\", \"$ci;$avp(x)\");
    rest_get(\"http://h/\", \"text\");
    async(exec(\"date\", , $si), later);
}
route[later] { exit; }
";
    let (code, text) = check(&["tm", "exec", "sqlops", "rest_client"], script);
    assert_eq!(code, 1);
    assert!(text.contains("error[E0304]") && text.contains("`$si`"), "{text}");
    assert!(text.contains("$ci"), "{text}");
    assert!(text.contains("reprise.cfg:11:"), "{text}");
    assert!(text.ends_with("\n3 errors\n"), "{text}");
}

#[test]
fn a_good_script_says_so_and_a_bad_one_is_not_started() {
    assert_eq!(check(MODULES, "route { exit; }\n"), (0, "the configuration is good\n".to_owned()));
    let bad = format!("{}route {{ nothing(); }}\n", head(crate::support::free_port(), MODULES));
    let failed = crate::support::reprise::Reprise::try_start(&bad, &["-n", "1"]).map(drop).unwrap_err();
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("error[E0201]: unknown function `nothing`"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("is up"), "{}", failed.stderr);
    let missing = run(&["-c", "-f", "/no/such/file.cfg"], SECOND * 20);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("/no/such/file.cfg"), "{}", missing.stderr);
}
