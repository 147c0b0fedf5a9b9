//! The forms in which a script waits, and what is kept over a wait.

use std::time::Instant;

use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::uas::Uas;
use crate::support::{eventually, free_port, process};
use crate::waits_common::{SECOND, invite_to, ms, site, timed};

#[test]
fn the_deadline_of_async_cuts_every_kind_of_wait() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            switch ($rU) {{
                case "sleep": async(sleep(20), after, 1);
                case "usleep": async(usleep(20000000), after, 1);
                case "exec": async(exec("sleep 77", , $avp(out)), after, 1);
                case "http": async(rest_get("{web}", $avp(out), , $avp(code)), after, 1);
                case "sql": async(sql_query("SELECT SLEEP(20)", "$avp(out)"), after, 1);
                case "block": async(after, 1) {{ sleep(20); }}
                case "none": async(exec("sleep 0.2; echo $$?", , $avp(out)), after, 0);
            }}
            sl_send_reply(500, "async came back");
        }}
        route[after] {{
            sl_send_reply(200, "$rU $rc $async_err $async_phase $avp(out) $avp(code)");
        }}
        "#,
        db = db.url(),
        web = web.url("/sleep?t=20"),
    );
    let site = site(&["cfgutils", "exec", "rest_client", "sqlops"], &script);
    let ask = |user: &str| {
        let client = site.client();
        let (answer, time) = timed(&client, &client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port)));
        (answer.reason().to_owned(), time)
    };
    for (user, expected) in [
        ("sleep", "sleep -1 timeout wait <null> <null>"),
        ("usleep", "usleep -1 timeout wait <null> <null>"),
        ("block", "block -1 timeout wait <null> <null>"),
        ("exec", "exec -1 timeout wait <null> <null>"),
        ("http", "http -3 timeout wait <null> 0"),
        ("sql", "sql -1 timeout wait <null> <null>"),
    ] {
        let (reason, time) = ask(user);
        assert_eq!(reason, expected);
        assert!(time >= ms(990) && time < ms(2500), "{user}: {time:?}");
    }
    let sleeping = || process::tree(site.server.pid).iter().any(|p| command(*p).contains("sleep 77"));
    eventually("the child was killed", SECOND * 2, || !sleeping());
    assert_eq!(ask("none").0, "none 1 <null> <null> 0 <null>");
    site.assert_idle();
}

fn command(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

#[test]
fn a_sleep_waits_as_long_as_it_says_and_others_as_long_as_async_timeout_says() {
    let site = site(
        &["cfgutils", "exec"],
        r#"
        async_timeout = 1
        route {
            if ($rU == "sleep") async(sleep(2), after);
            if ($rU == "exec") async(exec("sleep 2"), after);
            if ($rU == "plain") { exec("sleep 2"); route(after); exit; }
            if ($rU == "zero") async(sleep(0), after);
            if ($rU == "negative") async(usleep(-5), after);
        }
        route[after] { sl_send_reply(200, "$rU $rc $async_err"); }
        "#,
    );
    let ask = |user: &str| {
        let client = site.client();
        let (answer, time) = timed(&client, &client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port)));
        (answer.reason().to_owned(), time)
    };
    let (reason, time) = ask("sleep");
    assert!(reason == "sleep 1 <null>" && time >= ms(1990), "{reason} {time:?}");
    let (reason, time) = ask("exec");
    assert!(reason == "exec -1 timeout" && time >= ms(990) && time < ms(1900), "{reason} {time:?}");
    let (reason, time) = ask("plain");
    assert!(reason == "plain -1 timeout" && time >= ms(990) && time < ms(1900), "{reason} {time:?}");
    let (reason, time) = ask("zero");
    assert!(reason == "zero 1 <null>" && time < ms(500), "sleep(0) resumes at once: {reason} {time:?}");
    assert_eq!(ask("negative").0, "negative 1 <null>");
}

#[test]
fn launch_goes_on_at_once_and_reports_later() {
    let web = Nginx::shared();
    let script = format!(
        r#"
        route {{
            $avp(own) = "caller";
            $var(own) = "caller";
            if ($rU == "bare") {{ launch(exec("sleep 0.3; echo bare > $dir/bare")); $avp(rc) = $rc; }}
            if ($rU == "report") {{ launch(exec("sleep 0.3; echo text", , $var(out)), report); $avp(rc) = $rc; }}
            if ($rU == "param") {{ launch(exec("sleep 0.3; echo text", , $avp(out)), report, "ci=$ci u=$rU"); $avp(rc) = $rc; }}
            if ($rU == "refused") {{ launch(rest_get("http://127.0.0.1:{refused}/", $var(out), , $var(code)), report, "$rU"); $avp(rc) = $rc; }}
            if ($rU == "notfound") {{ launch(exec("/nowhere/to/be/found", , $var(out)), report, "$rU"); $avp(rc) = $rc; }}
            if ($rU == "null") {{ launch(rest_get($avp(nothing), $var(out)), report, "$rU"); $avp(rc) = $rc; }}
            if ($rU == "inplace") {{ launch(xlog("in place\n"), report, "$rU"); $avp(rc) = $rc; }}
            if ($rU == "post") {{ launch(rest_post("{echo}", "$ci", "text/plain", $var(out), , $var(code)), report, "$rU"); $avp(rc) = $rc; }}
            sl_send_reply(200, "rc $avp(rc) $var(own) $var(out) $avp(out)");
        }}
        route[report] {{
            xlog("report rc=$rc param=$param(1) out=$var(out)$avp(out) code=$var(code) own=$avp(own)$var(own) err=$async_err\n");
        }}
        "#,
        refused = free_port(),
        echo = web.url("/echo"),
    );
    let dir = process::directory("launched");
    let site = site(&["exec", "rest_client"], &script.replace("$dir", &dir.path().to_string_lossy()));
    let ask = |user: &str| {
        let client = site.client();
        let request = client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port));
        let (answer, time) = timed(&client, &request);
        (answer.reason().to_owned(), time, request.call_id)
    };
    let (reason, time, _) = ask("bare");
    assert_eq!(reason, "rc 1 caller <null> <null>");
    assert!(time < ms(250), "the caller does not wait: {time:?}");
    eventually("the command ran", SECOND * 3, || dir.path().join("bare").exists());

    let (reason, time, _) = ask("report");
    assert_eq!(reason, "rc 1 caller <null> <null>");
    assert!(time < ms(250), "{time:?}");
    site.server.wait_log("report rc=1 param=<null> out=text", SECOND * 2);
    let (_, _, call_id) = ask("param");
    site.server.wait_log(
        &format!("report rc=1 param=ci={call_id} u=param out=<null>text code=<null> own=<null><null> err=<null>"),
        SECOND * 2,
    );
    assert_eq!(ask("refused").0, "rc 1 caller <null> <null>");
    site.server.wait_log("report rc=-1 param=refused out=<null><null> code=0 own=<null><null> err=", SECOND * 2);
    ask("notfound");
    site.server.wait_log("report rc=-1 param=notfound out=<null>", SECOND * 2);
    // What cannot even start still reports; the statement's own code says so too.
    assert_eq!(ask("null").0, "rc -1 caller <null> <null>");
    site.server.wait_log("report rc=-1 param=null out=<null>", SECOND * 2);
    ask("inplace");
    site.server.wait_log("in place", SECOND);
    site.server.wait_log("report rc=1 param=inplace", SECOND);
    let (_, _, call_id) = ask("post");
    site.server.wait_log(&format!("report rc=1 param=post out={call_id}<null> code=200"), SECOND * 2);
    site.assert_idle();
}

#[test]
fn launched_sleeps_delay_and_many_run_side_by_side() {
    let site = site(
        &["cfgutils"],
        r#"
        route {
            $var(i) = 0;
            while ($var(i) < 5) {
                launch(usleep(400000), late, "$var(i)");
                $var(i) = $var(i) + 1;
            }
            sl_send_reply(200, "OK");
        }
        route[late] { xlog("late $param(1)\n"); }
        "#,
    );
    let start = Instant::now();
    site.ask();
    for i in 0..5 {
        site.server.wait_log(&format!("late {i}$"), SECOND * 2);
    }
    assert!(start.elapsed() >= ms(390) && start.elapsed() < ms(1500), "side by side: {:?}", start.elapsed());
    site.assert_idle();
}

#[test]
fn await_and_plain_calls_go_on_right_behind() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            $var(kept) = "kept";
            $avp(kept) = "also";
            if ($rU == "await") {{
                await sleep(1);
                sl_send_reply(200, "$rc $var(kept) $avp(kept)");
            }} else if ($rU == "statement") {{
                usleep(100000);
                sl_send_reply(200, "$rc $var(kept)");
            }} else if ($rU == "and") {{
                if (sql_query("SELECT credit FROM users WHERE uid='alice'", "$avp(credit)") && $avp(credit) > 50)
                    sl_send_reply(200, "rich $avp(credit) $var(kept)");
                else
                    sl_send_reply(403, "poor");
            }} else if ($rU == "or") {{
                if (sql_query("SELECT credit FROM users WHERE uid='nobody'", "$avp(credit)") || $avp(kept) == "also")
                    sl_send_reply(200, "or $rc $var(kept)");
            }} else if ($rU == "not") {{
                if (!rest_get("{status}", $var(body), , $var(code))) sl_send_reply(500, "not");
                else sl_send_reply(200, "$var(code) $var(kept)");
            }} else if ($rU == "assign") {{
                $var(rc) = rest_get("{slow}", $var(body));
                sl_send_reply(200, "$var(rc) $var(body) $var(kept)");
            }} else if ($rU == "assign-await") {{
                $var(rc) = await rest_get("http://127.0.0.1:{refused}/", $var(body));
                sl_send_reply(200, "$var(rc) $var(kept)");
            }} else if ($rU == "compare") {{
                $var(rc) = sql_query("SELECT 1 FROM users WHERE uid='nobody'");
                if ($var(rc) == -2) sl_send_reply(200, "none $var(kept)");
            }} else if ($rU == "await-condition") {{
                if (await exec("exit 3") && $exec_status == 3) sl_send_reply(200, "three $var(kept)");
            }}
            sl_send_reply(500, "nothing fitted: $rc");
        }}
        "#,
        db = db.url(),
        status = web.url("/status/404"),
        slow = web.url("/slow"),
        refused = free_port(),
    );
    let site = site(&["cfgutils", "exec", "rest_client", "sqlops"], &script);
    assert_eq!(site.show("await"), "1 kept also");
    assert_eq!(site.show("statement"), "1 kept");
    assert_eq!(site.show("and"), "rich 100 kept");
    assert_eq!(site.show("or"), "or -2 kept");
    assert_eq!(site.show("not"), "404 kept");
    assert_eq!(site.show("assign"), "1 slow kept");
    assert_eq!(site.show("assign-await"), "-1 kept");
    assert_eq!(site.show("compare"), "none kept");
    assert_eq!(site.show("await-condition"), "three kept");
    site.assert_idle();
}

#[test]
fn waits_in_loops_switches_and_routes_five_deep() {
    let site = site(
        &["cfgutils", "exec"],
        r#"
        route {
            $var(text) = "start";
            if ($rU == "while") {
                $var(i) = 0;
                while ($var(i) < 3) {
                    exec("echo $var(i)", , $var(line));
                    $var(text) = $var(text) + $(var(line){s.trim});
                    $var(i) = $var(i) + 1;
                    if ($var(i) == 2) { usleep(20000); }
                }
            } else if ($rU == "for") {
                $avp(n) = "c"; $avp(n) = "b"; $avp(n) = "a";
                for ($var(n) in $(avp(n)[*])) {
                    usleep(20000);
                    $var(text) = $var(text) + $var(n);
                }
            } else if ($rU == "switch") {
                switch ($rU) {
                    case "other": $var(text) = "wrong"; break;
                    case "switch":
                        usleep(20000);
                        $var(text) = $var(text) + "-in";
                        usleep(20000);
                        break;
                    default: $var(text) = "wrong";
                }
                $var(text) = $var(text) + "-behind";
            } else if ($rU == "deep") {
                route(one, "p");
                $var(text) = $var(text) + "-" + $rc;
            } else if ($rU == "break") {
                while (1) {
                    usleep(20000);
                    $var(text) = $var(text) + "x";
                    if ($var(text) == "startxxx") break;
                }
            }
            sl_send_reply(200, "$var(text)");
        }
        route[one] { $var(a) = "a"; usleep(20000); $var(p) = $param(1) + "2"; route(two, $var(p)); $var(text) = $var(text) + $var(a) + $param(1); return(7); }
        route[two] { usleep(20000); route(three, "3"); $var(text) = $var(text) + $param(1); }
        route[three] { route(four, "4"); usleep(20000); $var(text) = $var(text) + $param(1); }
        route[four] { if ($param(1) == "4") { while (1) { route(five, "5"); break; } } $var(text) = $var(text) + $param(1); }
        route[five] { usleep(20000); exec("echo five", , $var(line)); $var(text) = $(var(line){s.trim}) + $param(1); return(1); }
        "#,
    );
    assert_eq!(site.show("while"), "start012");
    assert_eq!(site.show("for"), "startabc");
    assert_eq!(site.show("switch"), "start-in-behind");
    assert_eq!(site.show("deep"), "five543p2ap-7");
    assert_eq!(site.show("break"), "startxxx");
    site.assert_idle();
}

#[test]
fn async_loses_var_and_keeps_the_rest() {
    let site = site(
        &["cfgutils", "exec"],
        r#"
        modparam("cfgutils", "varset", "preset=s:from the start")
        route {
            $var(lost) = "lost";
            $var(preset) = "changed";
            $avp(kept) = "first";
            $avp(kept) = "second";
            $avp(number) = 42;
            setflag(SEEN);
            setbflag(LEG);
            if ($rU == "var") async(exec("echo out; echo err >&2", , $var(out), $var(err)), after);
            if ($rU == "avp") async(exec("echo out; echo err >&2", , $avp(out), $avp(err)), after);
            if ($rU == "inplace") async(pv_printf($var(out), "printed"), after);
            if ($rU == "deep") route(inner);
            sl_send_reply(500, "async came back");
        }
        route[inner] {
            while (1) {
                async(usleep(10000), after);
            }
        }
        route[after] {
            if (isflagset(SEEN) && isbflagset(LEG))
                sl_send_reply(200, "$rc $var(lost) $var(preset) $(avp(kept)[0]) $(avp(kept)[1]) $avp(number) $(var(out){s.trim}) $(var(err){s.trim}) $avp(out) $avp(err) $param(1)");
            else
                sl_send_reply(500, "flags are gone");
        }
        "#,
    );
    let common = "1 <null> from the start second first 42";
    assert_eq!(site.show("var"), format!("{common} out err <null> <null> <null>"));
    assert_eq!(site.show("avp"), format!("{common} <null> <null> out err <null>"));
    assert_eq!(site.show("inplace"), format!("{common} printed <null> <null> <null> <null>"));
    assert_eq!(site.show("deep"), format!("{common} <null> <null> <null> <null> <null>"));
}

/// What a script changes before a wait reaches the next hop, and its reply the caller.
#[test]
fn changes_of_the_message_are_kept_over_waits() {
    let site = site(
        &["cfgutils", "exec", "textops", "sipmsgops", "rr"],
        r#"
        route {
            if (is_method("ACK") || is_method("BYE")) { $du = "sip:" + $(hdr(X-To){s.substr,4,0}); t_relay(); exit; }
            append_hf("X-Before: $fU\r\n");
            remove_hf("Subject");
            record_route();
            $ru = "sip:changed@" + $(hdr(X-To){s.substr,4,0});
            $du = $hdr(X-To);
            append_to_reply("X-Reply: one\r\n");
            t_on_failure("again");
            t_on_reply("answered");
            t_on_branch("outgoing");
            $avp(who) = $fU;
            if ($hdr(X-Form) == "async") async(exec("sleep 0.1; echo $fU", , $avp(out)), second);
            exec("sleep 0.1; echo $fU", , $avp(out));
            usleep(10000);
            append_hf("X-Two: $avp(out)\r\n");
            route(relay);
        }
        route[second] {
            append_hf("X-Two: $avp(out)\r\n");
            $var(gone) = $du + $ru;
            async(usleep(10000), third);
        }
        route[third] {
            append_to_reply("X-Reply: two\r\n");
            async(usleep(10000), relay);
        }
        route[relay] {
            append_hf("X-Last: $avp(who) $rU\r\n");
            t_relay();
        }
        branch_route[outgoing] { append_hf("X-Branch: yes\r\n"); }
        onreply_route[answered] { append_hf("X-Answered: $rs\r\n"); }
        failure_route[again] {
            t_reply(480, "failed as $T_reply_code with $avp(who)");
        }
        "#,
    );
    for form in ["async", "plain"] {
        let uas = Uas::rejecting(486, "Busy Here");
        let client = site.client();
        let invite = invite_to(&client, &site, &uas)
            .header(&format!("X-Form: {form}"))
            .header("Subject: to be removed")
            .header("X-Untouched:   as   it is");
        let answers = client.exchange(&invite, SECOND * 5);
        let last = answers.last().unwrap();
        assert_eq!((last.status(), last.reason()), (480, "failed as 486 with alice"), "{form}");
        client.send_request(&invite.ack(last));
        let arrived = uas.wait_request("INVITE", SECOND);
        assert_eq!(arrived.uri(), format!("sip:changed@{}", uas.addr), "{form}");
        for (name, value) in
            [("X-Before", "alice"), ("X-Two", "alice"), ("X-Last", "alice changed"), ("X-Branch", "yes")]
        {
            assert_eq!(arrived.all(name), [value], "{form}\n{}", arrived.raw);
        }
        assert_eq!(arrived.header("Subject"), None);
        assert_eq!(arrived.all("Record-Route").len(), 1);
        assert!(arrived.raw.contains("\r\nX-Untouched:   as   it is\r\n"), "byte for byte:\n{}", arrived.raw);

        let uas = Uas::answering();
        let invite = invite_to(&client, &site, &uas).header(&format!("X-Form: {form}"));
        let answers = client.exchange(&invite, SECOND * 5);
        let last = answers.last().unwrap();
        assert_eq!(last.status(), 200, "{form}");
        assert_eq!(last.header("X-Answered"), Some("200"), "{form}: t_on_reply was kept");
        client.send_request(&invite.ack(last));
    }
    // A reply of the server itself carries what append_to_reply asked for before the waits.
    let uas = Uas::rejecting(486, "Busy Here");
    let client = site.client();
    let invite = invite_to(&client, &site, &uas).header("X-Form: async");
    let answers = client.exchange(&invite, SECOND * 5);
    let last = answers.last().unwrap();
    client.send_request(&invite.ack(last));
    assert_eq!(last.all("X-Reply"), ["one", "two"], "{}", last.raw);
    site.assert_idle();
}

#[test]
fn branches_are_kept_over_async() {
    let (first, second) = (Uas::rejecting(486, "Busy"), Uas::answering());
    let script = format!(
        r#"
        route {{
            if (is_method("ACK") || is_method("BYE")) {{ t_relay(); exit; }}
            $ru = "{}";
            append_branch("{}");
            async(usleep(50000), go);
        }}
        route[go] {{ t_relay(); }}
        "#,
        first.uri(),
        second.uri()
    );
    let site = site(&["cfgutils", "sipmsgops"], &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND * 5);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    first.wait_request("INVITE", SECOND);
    second.wait_request("INVITE", SECOND);
}

#[test]
fn values_of_another_message_are_never_seen() {
    let site = site(
        &["cfgutils"],
        r#"
        startup_route { $var(shared) = "from startup"; }
        route {
            $avp(before) = $var(mine);
            $var(mine) = $rU;
            $var(shared) = $var(shared) + "!";
            if ($rU == "quick") { sl_send_reply(200, "$avp(before) $var(mine) $var(shared)"); exit; }
            usleep(300000);
            $var(after) = $var(mine);
            $avp(after) = $var(after);
            async(usleep(100000), after);
        }
        route[after] { sl_send_reply(200, "$avp(before) $avp(after) $var(mine) $var(shared)"); }
        "#,
    );
    let slow = site.client();
    let request = slow.request("OPTIONS", &format!("sip:slow@127.0.0.1:{}", site.port));
    slow.send_request(&request);
    std::thread::sleep(ms(50));
    for _ in 0..5 {
        assert_eq!(site.show("quick"), "<null> quick from startup!");
    }
    let answer = slow.finish(&request, SECOND * 3).pop().unwrap();
    assert_eq!(answer.reason(), "<null> slow <null> from startup");
}

#[test]
fn what_cannot_start_resumes_with_a_negative_code() {
    let site = site(
        &["cfgutils", "exec", "rest_client", "sqlops"],
        r#"
        modparam("sqlops", "db_url", "mysql://reprise:secret@127.0.0.1:1/reprise")
        route {
            switch ($rU) {
                case "null": async(exec($avp(nothing)), after);
                case "url": async(rest_get("no url at all", $avp(out)), after);
                case "scheme": async(rest_get("gopher://127.0.0.1/", $avp(out)), after);
                case "number": async(sql_query("SELECT 1", "$avp(out)", 9), after);
                case "word": async(sleep("$rU"), after);
                case "command": async(exec("no-such-command-anywhere"), after);
            }
            sl_send_reply(500, "async came back");
        }
        route[after] {
            if ($rc < 0) sl_send_reply(200, "$rc");
            else sl_send_reply(500, "$rc");
        }
        "#,
    );
    for user in ["null", "url", "scheme", "number", "command"] {
        let text = site.show(user);
        assert!(text.starts_with('-'), "{user}: {text}");
    }
    site.assert_idle();
}
