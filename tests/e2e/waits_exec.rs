//! `exec` from scripts: what goes into the command, what comes out, and how it ends.

use crate::support::{eventually, process};
use crate::waits_common::{SECOND, Site, ms, site, timed};

/// A script whose cases are chosen by the user of the R-URI: each runs a plain call and answers with
/// what `shown` says; `NAME-async` does the same through `async`.
fn cases(more: &str, cases: &[(&str, &str, &str, &str)]) -> Site {
    let mut text = format!("{more}\nroute {{\n");
    let mut resumed = String::new();
    for (i, (name, before, call, shown)) in cases.iter().enumerate() {
        text.push_str(&format!(
            "if ($rU == \"{name}\") {{ {before} {call}; sl_send_reply(200, \"{shown}\"); exit; }}\n"
        ));
        text.push_str(&format!("if ($rU == \"{name}-async\") {{ {before} async({call}, after{i}); }}\n"));
        resumed.push_str(&format!("route[after{i}] {{ sl_send_reply(200, \"{shown}\"); }}\n"));
    }
    text.push_str("sl_send_reply(404, \"no case\");\n}\n");
    text.push_str(&resumed);
    site(&["exec", "cfgutils"], &text)
}

#[test]
fn inputs_and_outputs() {
    // Name, preparation, call, what is shown, the answer.
    let list: &[(&str, &str, &str, &str, &str)] = &[
        ("bare", "", r#"exec("true")"#, "$rc $exec_status", "1 0"),
        ("out", "", r#"exec("printf 'one two'", , $var(o))"#, "$rc $var(o)", "1 one two"),
        (
            "lines",
            "",
            r#"exec("printf 'a\nb\nc\n'", , $avp(o))"#,
            "$rc $(avp(o)[0]) $(avp(o)[1]) $(avp(o)[2]) $(avp(o)[3])",
            "1 c b a <null>",
        ),
        (
            "unterminated",
            "",
            r#"exec("printf 'a\nb'", , $avp(o))"#,
            "$(avp(o)[0]) $(avp(o)[1]) $(avp(o)[2])",
            "b a <null>",
        ),
        // The whole text with its line ends: five bytes.
        ("whole", "", r#"exec("printf 'a\nb\n\n'", , $var(o))"#, "$(var(o){s.len})", "5"),
        (
            "empty",
            r#"$avp(o) = "before";"#,
            r#"exec("true", , $avp(o))"#,
            "$rc $avp(o) $(avp(o)[1])",
            "1 before <null>",
        ),
        ("err", "", r#"exec("echo out; echo err >&2", , $avp(o), $avp(e))"#, "$rc $avp(o) $avp(e)", "1 out err"),
        ("err-only", "", r#"exec("echo out; printf err >&2", , , $var(e))"#, "$rc $var(e)", "1 err"),
        ("stdin", "", r#"exec("tr a-z A-Z", "some text", $var(o))"#, "$rc $var(o)", "1 SOME TEXT"),
        (
            "stdin-var",
            r#"$avp(in) = "from " + $fU;"#,
            r#"exec("cat", $avp(in), $avp(o))"#,
            "$rc $avp(o)",
            "1 from alice",
        ),
        ("stdin-format", "", r#"exec("cat", "$fU calls $rU", $avp(o))"#, "$avp(o)", "alice calls stdin-format"),
        ("stdin-unread", "", r#"exec("true", "nobody reads this", $avp(o))"#, "$rc $avp(o)", "1 <null>"),
        // The manual's form: one writable variable that is NULL.
        ("two", "", r#"exec("printf text", $avp(o))"#, "$rc $avp(o)", "1 text"),
        ("two-quoted", "", r#"exec("printf text", "$avp(o)")"#, "$rc $avp(o)", "1 text"),
        // Not NULL: it is the input, and stays what it was.
        (
            "two-set",
            r#"$avp(o) = "input";"#,
            r#"exec("test \"`cat`\" = input", $avp(o))"#,
            "$rc $exec_status $avp(o)",
            "1 0 input",
        ),
        (
            "three-null",
            "",
            r#"exec("printf text", $avp(nothing), $avp(o))"#,
            "$rc $avp(nothing) $avp(o)",
            "1 <null> text",
        ),
        // As 2.2 wrote it.
        (
            "old",
            r#"$avp(in) = "in"; $avp(env) = "value";"#,
            r#"exec("cat; echo $$OSIPS_EXEC_0 >&2", "$avp(in)", "$avp(o)", "$avp(e)", "$avp(env)")"#,
            "$rc $avp(o) $avp(e)",
            "1 in value",
        ),
        (
            "env",
            r#"$avp(env) = "first"; $avp(env) = "second with 'quotes' and $HOME";"#,
            r#"exec("printf '%s\n' \"$$OSIPS_EXEC_0\" \"$$OSIPS_EXEC_1\" \"$$OSIPS_EXEC_2\"", , $avp(o), , $avp(env))"#,
            "<$(avp(o)[2])> <$(avp(o)[1])> <$(avp(o)[0])>",
            "<second with 'quotes' and $HOME> <first> <>",
        ),
        // The exit status is not the return code, except where the shell could not run it.
        ("status", "", r#"exec("exit 3")"#, "$rc $exec_status", "1 3"),
        ("false", "", r#"exec("false")"#, "$rc $exec_status", "1 1"),
        (
            "not-found",
            "",
            r#"exec("no-such-command-anywhere", , $avp(o), $avp(e))"#,
            "$rc $exec_status $avp(o)",
            "-1 127 <null>",
        ),
        ("not-executable", "", r#"exec("/etc/passwd")"#, "$rc $exec_status", "-1 126"),
        ("killed", "", r#"exec("kill -9 $$$$")"#, "$rc $exec_status", "1 137"),
        ("terminated", "", r#"exec("kill -TERM $$$$")"#, "$rc $exec_status", "1 143"),
        ("syntax", "", r#"exec("if then (")"#, "$rc", "1"),
        ("expanded", "", r#"exec("echo $fU@$rU $$((6*7))", , $avp(o))"#, "$avp(o)", "alice@expanded 42"),
        // It ends when the child has exited, not when it closes its output.
        (
            "early",
            "",
            r#"exec("echo early; exec >&- 2>&-; sleep 0.3; exit 9", , $avp(o))"#,
            "$avp(o) $exec_status",
            "early 9",
        ),
        // Only standard input, output and error are passed on.
        ("fds", "", r#"exec("ls /proc/self/fd | grep -c -v '^[012]$$'", , $avp(o))"#, "$avp(o)", "1"),
        ("cut", "", r#"exec("head -c 200000 /dev/zero | tr '\\0' a", , $var(o))"#, "$rc $(var(o){s.len})", "1 65535"),
    ];
    let four: Vec<_> = list.iter().map(|(a, b, c, d, _)| (*a, *b, *c, *d)).collect();
    let site = cases("", &four);
    for (name, _, _, _, expected) in list {
        assert_eq!(site.show(name), *expected, "{name}");
        let asynchronous = site.show(&format!("{name}-async"));
        let expected =
            expected.replace("calls stdin-format", "calls stdin-format-async").replace("@expanded", "@expanded-async");
        assert_eq!(asynchronous, expected, "{name} by async");
    }
    site.assert_idle();
    assert_eq!(zombies(&site), 0);
}

fn zombies(site: &Site) -> usize {
    process::tree(site.server.pid).into_iter().map(|p| process::zombies(p).len()).sum()
}

/// Every process of the server whose command line contains this.
fn running(site: &Site, text: &str) -> usize {
    process::tree(site.server.pid)
        .into_iter()
        .filter(|p| {
            let line = std::fs::read(format!("/proc/{p}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        })
        .count()
}

#[test]
fn the_deadline_kills_the_whole_group() {
    let site = cases(
        "async_timeout = 1",
        &[
            ("one", "", r#"exec("exec sleep 701")"#, "$rc $async_err $async_phase $exec_status"),
            ("group", "", r#"exec("sleep 702 & sleep 703 | sleep 704; wait")"#, "$rc $async_err $exec_status"),
            ("ignores", "", r#"exec("trap '' TERM INT HUP; sleep 705; sleep 706")"#, "$rc $async_err $exec_status"),
            ("endless", "", r#"exec("yes 707", , $var(o))"#, "$rc $async_err $var(o)"),
            ("endless-err", "", r#"exec("yes 708 >&2")"#, "$rc $async_err"),
            ("partial", "", r#"exec("echo partial; sleep 709", , $avp(o))"#, "$rc $async_err $avp(o)"),
        ],
    );
    let before = site.server.rss();
    for (name, expected) in [
        ("one", "-1 timeout wait <null>"),
        ("group", "-1 timeout <null>"),
        ("ignores", "-1 timeout <null>"),
        ("endless", "-1 timeout <null>"),
        ("endless-err", "-1 timeout"),
        ("partial", "-1 timeout <null>"),
    ] {
        for form in ["", "-async"] {
            let client = site.client();
            let request = client.request("OPTIONS", &format!("sip:{name}{form}@127.0.0.1:{}", site.port));
            let (answer, time) = timed(&client, &request);
            assert_eq!(answer.reason(), expected, "{name}{form}");
            assert!(time >= ms(980) && time < ms(2000), "{name}{form}: {time:?}");
        }
    }
    eventually("every child was killed", SECOND * 3, || running(&site, "sleep 70") + running(&site, "yes 70") == 0);
    eventually("no zombie is left", SECOND * 3, || zombies(&site) == 0);
    assert!(site.server.rss() < before + 8 * 1024, "{} KiB, {before} before", site.server.rss());
    site.assert_idle();
}

#[test]
fn what_a_child_leaves_running_is_not_waited_for() {
    let site = cases(
        "",
        &[("leaves", "", r#"exec("echo text; (sleep 5; echo late) &", , $avp(o))"#, "$rc $avp(o) $exec_status")],
    );
    for form in ["leaves", "leaves-async"] {
        let client = site.client();
        let request = client.request("OPTIONS", &format!("sip:{form}@127.0.0.1:{}", site.port));
        let (answer, time) = timed(&client, &request);
        assert_eq!(answer.reason(), "1 text 0");
        assert!(time < ms(1500), "{time:?}");
    }
    site.assert_idle();
}

#[test]
fn time_to_kill_bounds_every_command() {
    let site = cases(
        "modparam(\"exec\", \"time_to_kill\", 1)",
        &[
            ("long", "", r#"exec("sleep 711")"#, "$rc $async_err"),
            ("short", "", r#"exec("sleep 0.1")"#, "$rc $async_err"),
        ],
    );
    assert_eq!(site.show("short"), "1 <null>");
    let client = site.client();
    let (answer, time) = timed(&client, &client.request("OPTIONS", &format!("sip:long@127.0.0.1:{}", site.port)));
    assert_eq!(answer.reason(), "-1 timeout");
    assert!(time >= ms(980) && time < ms(2000), "{time:?}");
    eventually("it was killed", SECOND * 2, || running(&site, "sleep 711") == 0);
}

#[test]
fn setvars_describes_the_message() {
    let site = cases(
        "modparam(\"exec\", \"setvars\", 1)",
        &[(
            "vars",
            "",
            r#"exec("echo $$SIP_METHOD $$SIP_RURI $$SIP_SRCIP $$SIP_HF_CALLID $$SIP_HF_XTEST", , $avp(o))"#,
            "$avp(o)",
        )],
    );
    let client = site.client();
    let uri = format!("sip:vars@127.0.0.1:{}", site.port);
    let request = client.request("OPTIONS", &uri).header("X-Test: `touch /tmp/injected`; $(id)");
    let answer = client.ask(&request);
    assert_eq!(answer.reason(), format!("OPTIONS {uri} 127.0.0.1 {} `touch /tmp/injected`; $(id)", request.call_id));
}

#[test]
fn many_children_at_once() {
    let site = site(
        &["exec"],
        r#"
        route { async(exec("sleep 0.5; echo $rU", , $avp(o)), after); }
        route[after] { sl_send_reply(200, "$rc $avp(o)"); }
        "#,
    );
    let client = site.client();
    let requests: Vec<_> =
        (0..60).map(|i| client.request("OPTIONS", &format!("sip:n{i}@127.0.0.1:{}", site.port))).collect();
    let start = std::time::Instant::now();
    for request in &requests {
        client.send_request(request);
    }
    let mut answers = std::collections::HashMap::new();
    while answers.len() < requests.len() {
        let m = client.recv(SECOND * 10).unwrap_or_else(|| panic!("{} answers", answers.len()));
        answers.insert(m.call_id().to_owned(), m.reason().to_owned());
    }
    for (i, request) in requests.iter().enumerate() {
        assert_eq!(answers[&request.call_id], format!("1 n{i}"));
    }
    assert!(start.elapsed() < SECOND * 8, "side by side: {:?}", start.elapsed());
    site.assert_idle();
    eventually("no child is left", SECOND * 2, || zombies(&site) == 0 && running(&site, "sleep 0.5") == 0);
}

#[test]
fn a_large_input_and_a_child_that_stops_reading() {
    let site = site(
        &["exec", "cfgutils"],
        r#"
        max_while_loops = 100
        route {
            $var(text) = "0123456789abcdef";
            $var(i) = 0;
            while ($var(i) < 11) { $var(text) = $var(text) + $var(text); $var(i) = $var(i) + 1; }
            if ($rU == "all") exec("wc -c", $var(text), $avp(o));
            if ($rU == "some") exec("head -c 5; exit 4", $var(text), $avp(o));
            if ($rU == "none") exec("exec <&-; sleep 0.2; echo done", $var(text), $avp(o));
            sl_send_reply(200, "$exec_status $avp(o)");
        }
        "#,
    );
    assert_eq!(site.show("all"), "0 32768");
    assert_eq!(site.show("some"), "4 01234");
    assert_eq!(site.show("none"), "0 done");
    site.assert_idle();
}

#[test]
fn the_older_functions() {
    let site = site(
        &["exec"],
        r#"
        route {
            if ($rU == "msg") { exec_msg("grep -q '^X-Mark: here'"); sl_send_reply(200, "$rc $exec_status"); }
            if ($rU == "msg-fails") { exec_msg("grep -q '^X-Mark: there'"); sl_send_reply(200, "$rc $exec_status"); }
            if ($rU == "avp") {
                exec_avp("echo one; echo two; echo three", "$avp(a);$var(b)");
                sl_send_reply(200, "$rc $avp(a) $var(b)");
            }
            if ($rU == "avp-all") { exec_avp("echo one; echo two"); sl_send_reply(200, "$rc $avp(1) $avp(2)"); }
            if ($rU == "dset") {
                exec_dset("printf 'sip:x@10.0.0.1\nsip:y@10.0.0.2\n'; test x =");
                sl_send_reply(200, "$rc");
            }
            if ($rU == "dset-good") {
                exec_dset("printf 'sip:x@10.0.0.1\nsip:%s@10.0.0.2\n' `id -u`; echo >/dev/null");
                sl_send_reply(200, "$rc $ru $(branch[0])");
            }
            if ($rU == "dset-bad") { exec_dset("echo nonsense; true"); sl_send_reply(200, "$rc $rU"); }
            if ($rU == "dset-none") { exec_dset("true"); sl_send_reply(200, "$rc $rU"); }
            if ($rU == "env") {
                exec_getenv("PATH", "$avp(path)");
                $var(set) = $rc;
                exec_getenv("NO_SUCH_VARIABLE");
                sl_send_reply(200, "$var(set) $(avp(path){s.index,bin}) $rc");
            }
        }
        "#,
    );
    let client = site.client();
    let answer = |user: &str| {
        let uri = format!("sip:{user}@127.0.0.1:{}", site.port);
        client.ask(&client.request("OPTIONS", &uri).header("X-Mark: here")).reason().to_owned()
    };
    assert_eq!(answer("msg"), "1 0");
    assert_eq!(answer("msg-fails"), "-1 1");
    assert_eq!(answer("avp"), "1 one two");
    assert_eq!(answer("avp-all"), "1 one two");
    assert_eq!(answer("dset"), "-1", "the last argument is not empty: exit status 1");
    let uid = nix::unistd::getuid();
    assert_eq!(answer("dset-good"), format!("1 sip:x@10.0.0.1 sip:{uid}@10.0.0.2"));
    assert_eq!(answer("dset-bad"), "-1 dset-bad");
    assert_eq!(answer("dset-none"), "-1 dset-none");
    assert!(answer("env").starts_with("1 "), "{}", answer("env"));
    assert!(answer("env").ends_with(" -1"));
    site.assert_idle();
}
