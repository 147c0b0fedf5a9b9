//! Waits in every kind of route, and what happens around a request while its script waits.

use crate::support::eventually;
use crate::support::process;
use crate::support::reprise::run;
use crate::support::sip::SipClient;
use crate::support::uas::{Answer, Uas};
use crate::waits_common::{SECOND, head, invite_to, ms, site, timed};

/// The part of a script that carries calls: ACK, BYE and CANCEL.
const CALLS: &str = r#"
    if (is_method("ACK") || is_method("BYE")) { t_relay(); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
"#;

const MODULES: &[&str] = &["cfgutils", "exec", "sipmsgops", "textops", "maxfwd"];

#[test]
fn request_and_named_routes_wait() {
    let site = site(
        MODULES,
        r#"
        route {
            usleep(50000);
            route(named);
            $avp(main) = "m";
            async(usleep(50000), resumed);
        }
        route[named] { usleep(50000); $avp(named) = "n"; }
        route[resumed] { usleep(50000); route(named); sl_send_reply(200, "$avp(main)$avp(named)"); }
        "#,
    );
    let client = site.client();
    let (answer, time) = timed(&client, &client.request("OPTIONS", &site.uri()));
    assert_eq!(answer.reason(), "mn");
    assert!(time >= ms(245), "{time:?}");
}

#[test]
fn onreply_routes_wait_and_keep_their_kind() {
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{
            {CALLS}
            $du = $hdr(X-To);
            if ($hdr(X-Form) == "async") t_on_reply("asynchronous"); else t_on_reply("plain");
            t_relay();
        }}
        onreply_route[plain] {{
            $var(status) = $rs;
            usleep(200000);
            append_hf("X-Was: $var(status) $rs\r\n");
        }}
        onreply_route[asynchronous] {{
            append_hf("X-Was: $rs\r\n");
            async(usleep(200000), resumed);
            append_hf("X-Wrong: 1\r\n");
        }}
        route[resumed] {{
            # Still an onreply_route: the reply is at hand, and drop works.
            append_hf("X-Resumed: $rs $rr $rc\r\n");
            if ($rs == 183) drop;
        }}
        "#
        ),
    );
    let uas = Uas::start(|request| match request.method() {
        "INVITE" => vec![Answer::new(183, "Progress"), Answer::new(200, "Fine").after(ms(600))],
        _ => vec![Answer::new(200, "OK")],
    });
    let client = site.client();
    let invite = invite_to(&client, &site, &uas).header("X-Form: plain");
    let answers = client.exchange(&invite, SECOND * 5);
    let statuses: Vec<u16> = answers.iter().map(|a| a.status()).collect();
    assert_eq!(statuses, [100, 183, 200]);
    assert_eq!(answers[1].header("X-Was"), Some("183 183"));
    assert_eq!(answers[2].header("X-Was"), Some("200 200"));
    client.send_request(&invite.ack(&answers[2]));

    let invite = invite_to(&client, &site, &uas).header("X-Form: async");
    let answers = client.exchange(&invite, SECOND * 5);
    let statuses: Vec<u16> = answers.iter().map(|a| a.status()).collect();
    assert_eq!(statuses, [100, 200], "the resumed route dropped the 183");
    let last = answers.last().unwrap();
    assert_eq!((last.header("X-Was"), last.header("X-Resumed")), (Some("200"), Some("200 Fine 1")));
    assert_eq!(last.header("X-Wrong"), None);
    client.send_request(&invite.ack(last));
    site.assert_idle();
}

#[test]
fn the_onreply_route_of_all_replies_waits() {
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{ {CALLS} $du = $hdr(X-To); t_relay(); }}
        onreply_route {{ usleep(100000); append_hf("X-Global: $rs\r\n"); }}
        "#
        ),
    );
    let uas = Uas::answering();
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    let answers = client.exchange(&invite, SECOND * 5);
    let last = answers.last().unwrap();
    assert_eq!((last.status(), last.header("X-Global")), (200, Some("200")));
    client.send_request(&invite.ack(last));
}

#[test]
fn failure_routes_wait() {
    let second = Uas::answering();
    let script = format!(
        r#"
        route {{ {CALLS} $avp(n) = 1; t_on_failure("missed"); $du = $hdr(X-To); t_relay(); }}
        failure_route[missed] {{
            $var(code) = $T_reply_code;
            usleep(100000);
            exec("echo waited", , $avp(out));
            append_hf("X-Failure: $var(code) $avp(out) $avp(n)\r\n");
            if ($hdr(X-Form) == "async") async(usleep(100000), again);
            $du = "sip:{second}";
            t_relay();
        }}
        route[again] {{
            append_hf("X-Again: $rc $avp(out) $T_reply_code\r\n");
            $du = "sip:{second}";
            t_on_failure("missed");
            t_relay();
        }}
        "#,
        second = second.addr
    );
    let site = site(MODULES, &script);
    for form in ["plain", "async"] {
        let first = Uas::rejecting(486, "Busy Here");
        let client = site.client();
        let invite = invite_to(&client, &site, &first).header(&format!("X-Form: {form}"));
        let answers = client.exchange(&invite, SECOND * 5);
        assert_eq!(answers.last().unwrap().status(), 200, "{form}");
        client.send_request(&invite.ack(answers.last().unwrap()));
        let arrived =
            second.wait_for("the second attempt", SECOND, |m| m.method() == "INVITE" && m.call_id() == invite.call_id);
        assert_eq!(arrived.header("X-Failure"), Some("486 waited 1"), "{form}");
        assert_eq!(arrived.header("X-Again"), (form == "async").then_some("1 waited 486"), "{form}");
    }
    site.assert_idle();
}

#[test]
fn branch_routes_wait() {
    let (first, second) = (Uas::rejecting(486, "Busy"), Uas::answering());
    let script = format!(
        r#"
        route {{
            {CALLS}
            $avp(from) = "request";
            $ru = "{}";
            append_branch("{}");
            t_on_branch("each");
            $var(rc) = t_relay();
            xlog("t_relay $var(rc)\n");
        }}
        branch_route[each] {{
            $var(i) = $T_branch_idx;
            usleep(100000);
            append_hf("X-Branch: $var(i) $rU $avp(from)\r\n");
            if ($var(i) == 1) async(usleep(50000), more);
        }}
        route[more] {{ append_hf("X-More: $rc\r\n"); }}
        "#,
        first.uri(),
        second.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND * 5);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    assert_eq!(first.wait_request("INVITE", SECOND).header("X-Branch"), Some("0 bob request"));
    let two = second.wait_request("INVITE", SECOND);
    assert_eq!((two.header("X-Branch"), two.header("X-More")), (Some("1 bob request"), Some("1")));
    site.server.wait_log("t_relay 1$", SECOND);
    site.assert_idle();
}

#[test]
fn local_routes_wait() {
    let uas = Uas::answering();
    let script = format!(
        r#"
        route {{
            t_new_request("MESSAGE", "{uri}", "sip:server@localhost", "{uri}", "text/plain hello");
            sl_send_reply(200, "$rc");
        }}
        local_route {{
            usleep(100000);
            append_hf("X-Local: $rm\r\n");
            async(usleep(50000), more);
        }}
        route[more] {{ append_hf("X-More: $rc\r\n"); }}
        "#,
        uri = uas.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let (answer, time) = timed(&client, &client.request("OPTIONS", &site.uri()));
    assert_eq!(answer.reason(), "1");
    assert!(time < ms(100), "the request that caused it does not wait: {time:?}");
    let message = uas.wait_request("MESSAGE", SECOND * 2);
    assert_eq!((message.header("X-Local"), message.header("X-More")), (Some("MESSAGE"), Some("1")));
    assert_eq!(message.body, "hello");
    site.assert_idle();
}

#[test]
fn event_and_timer_routes_wait() {
    let site = site(
        MODULES,
        r#"
        route {
            $avp(names) = "who"; $avp(values) = $fU;
            raise_event("E_MINE", $avp(names), $avp(values));
            sl_send_reply(200, "OK");
        }
        event_route[E_MINE] {
            $var(who) = $param(who);
            usleep(100000);
            xlog("event of $var(who) $param(who)\n");
            $avp(who) = $param(who);
            async(exec("echo late", , $avp(out)), event_resumed);
        }
        route[event_resumed] { xlog("event resumed $rc $avp(who) $avp(out)\n"); }
        timer_route[slow, 1] {
            xlog("timer begins\n");
            sleep(2);
            usleep(300000);
            xlog("timer ends\n");
        }
        timer_route[quick, 1] { async(usleep(1000), timer_resumed); }
        route[timer_resumed] { xlog("timer resumed $rc\n"); }
        "#,
    );
    let client = site.client();
    let (_, time) = timed(&client, &client.request("OPTIONS", &site.uri()));
    assert!(time < ms(100), "{time:?}");
    site.server.wait_log("event of alice alice$", SECOND);
    site.server.wait_log("event resumed 1 alice late$", SECOND);
    site.server.wait_log("timer resumed 1$", SECOND * 3);
    site.server.wait_log("timer_route.slow. is still running: skipped", SECOND * 4);
    site.server.wait_log("timer ends$", SECOND * 5);
    let log = site.server.log();
    let order: Vec<&str> =
        log.lines().filter_map(|l| ["timer begins", "timer ends"].into_iter().find(|t| l.ends_with(t))).collect();
    assert!(
        order.chunks(2).all(|c| c[0] == "timer begins" && c.get(1).is_none_or(|e| *e == "timer ends")),
        "{order:?}"
    );
}

#[test]
fn error_routes_wait() {
    let site = site(
        MODULES,
        r#"
        route { sl_send_reply(200, "OK"); }
        error_route {
            xlog("error $err.rcode\n");
            usleep(50000);
            xlog("error route ends $rc\n");
        }
        "#,
    );
    site.client().send("OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: broken\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: e1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n");
    site.server.wait_log("error route ends 1$", SECOND * 2);
    assert_eq!(site.ask().status(), 200);
}

#[test]
fn the_startup_route_simply_waits() {
    let start = std::time::Instant::now();
    let site = site(
        MODULES,
        r#"
        startup_route {
            $var(begin) = "begun";
            sleep(1);
            exec("printf 'read at start'", , $var(value));
            route(part);
        }
        route[part] { usleep(100000); $var(begin) = $var(begin) + " ended"; }
        route { sl_send_reply(200, "$var(begin), $var(value)"); }
        "#,
    );
    assert!(start.elapsed() >= ms(1090), "READY comes after the startup route: {:?}", start.elapsed());
    assert_eq!(site.ask().reason(), "begun ended, read at start");
    site.assert_idle();
}

#[test]
fn async_in_the_startup_route_is_a_load_error() {
    let dir = process::directory("startup");
    let file = dir.path().join("reprise.cfg");
    let path = file.to_string_lossy().into_owned();
    let check = |script: &str| {
        std::fs::write(&file, format!("{}{script}", head(5060, &["tm", "cfgutils"]))).unwrap();
        let done = run(&["-c", "-f", &path], SECOND * 20);
        (done.code, done.stderr.replace(&path, "reprise.cfg"))
    };
    let (code, text) =
        check("startup_route {\n    async(sleep(1), later);\n}\nroute[later] { exit; }\nroute { exit; }\n");
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "error[E0402]: `async` in startup_route
 --> reprise.cfg:7:11
  |
7 |     async(sleep(1), later);
  |           ^^^^^ startup_route runs to its end before there is anything to go on with
  |
  = help: call `sleep` without `async`: startup_route simply waits for it

1 error
"
    );
    // Through a sub-route that nobody else uses: an error there; used by both kinds: a warning.
    let through = "startup_route {\n    route(shared);\n}\nroute[shared] {\n    async(sleep(1), later);\n}\nroute[later] { exit; }\n";
    let (code, text) = check(&format!("{through}route {{ exit; }}\n"));
    assert!(code == 1 && text.contains("in a route that only startup_route uses"), "{text}");
    let (code, text) = check(&format!("{through}route {{ route(shared); }}\n"));
    assert!(code == 0 && text.starts_with("warning[W0401]: `async` in a route that startup_route uses too"), "{text}");
}

#[test]
fn a_retransmission_meets_a_waiting_script() {
    let site = site(
        MODULES,
        r#"
        route {
            xlog("script runs for $rm\n");
            async(usleep(800000), after);
        }
        route[after] { t_reply(202, "Late"); }
        "#,
    );
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    client.expect_status(100, ms(300));
    // Last reply repeated, no script.
    client.send_request(&invite);
    client.expect_status(100, ms(300));
    client.send_request(&invite);
    client.expect_status(100, ms(300));
    let last = client.expect_status(202, SECOND * 2);
    client.send_request(&invite.ack(&last));
    assert_eq!(site.server.log_count("script runs for INVITE"), 1);

    // No 100 for other methods: absorbed.
    let options = client.request("OPTIONS", &site.uri());
    client.send_request(&options);
    client.send_request(&options);
    client.expect_silence(ms(500));
    client.expect_status(202, SECOND);
    client.send_request(&options);
    client.expect_status(202, SECOND);
    client.expect_silence(ms(300));
    assert_eq!(site.server.log_count("script runs for OPTIONS"), 1);
    site.assert_idle();
}

#[test]
fn cancel_during_a_wait_is_answered_at_once() {
    let uas = Uas::answering();
    for (form, wait) in [
        ("async", "async(sleep(1), after);"),
        ("plain", "sleep(1); route(after);"),
        ("tm", "t_newtran(); sleep(1); route(after);"),
    ] {
        let script = format!(
            r#"
            route {{
                {CALLS}
                $du = "sip:{}";
                {wait}
            }}
            route[after] {{
                if (t_was_cancelled()) xlog("was cancelled\n"); else xlog("was not\n");
                $var(rc) = t_relay();
                xlog("relay gave $var(rc)\n");
            }}
            "#,
            uas.addr
        );
        let site = site(MODULES, &script);
        let client = site.client();
        let invite = client.invite(&site.uri());
        client.send_request(&invite);
        client.expect_status(100, SECOND);
        let start = std::time::Instant::now();
        client.send_request(&invite.cancel());
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let m = client.recv(ms(500)).unwrap_or_else(|| panic!("{form}: only {seen:?}\n{}", site.server.log()));
            seen.push((m.status(), m.cseq().1.to_owned()));
            if m.status() == 487 {
                client.send_request(&invite.ack(&m));
            }
        }
        seen.sort();
        assert_eq!(seen, [(200, "CANCEL".to_owned()), (487, "INVITE".to_owned())], "{form}");
        assert!(start.elapsed() < ms(500), "{form}: {:?}", start.elapsed());
        site.server.wait_log("was cancelled$", SECOND * 2);
        site.server.wait_log("relay gave -3$", SECOND);
        client.expect_silence(ms(300));
        site.assert_idle();
    }
    assert_eq!(uas.count("INVITE"), 0, "nothing was sent on");
}

#[test]
fn a_look_up_that_ends_in_exit_is_silent() {
    let site = site(
        MODULES,
        r#"
        route {
            xlog("script runs for $rm\n");
            if ($rU == "slow") exec("sleep 0.6"); else exec("sleep 0.1");
            if (t_check_trans()) xlog("an embryonic transaction shows\n");
            exit;
        }
        "#,
    );
    let client = site.client();
    // A scanner hears nothing at all.
    for method in ["OPTIONS", "INVITE", "REGISTER"] {
        let request = client.request(method, &site.uri());
        client.send_request(&request);
        client.send_request(&request);
        client.expect_silence(ms(400));
        assert_eq!(site.server.log_count(&format!("script runs for {method}")), 1, "{method}: the copy was absorbed");
        // It disappeared without a trace: the next copy is new again.
        client.send_request(&request);
        client.expect_silence(ms(300));
        assert_eq!(site.server.log_count(&format!("script runs for {method}")), 2, "{method}");
    }
    // An INVITE that takes longer than 200 ms hears 100, and no more.
    let invite = client.invite(&format!("sip:slow@127.0.0.1:{}", site.port));
    let start = std::time::Instant::now();
    client.send_request(&invite);
    client.expect_status(100, SECOND);
    let time = start.elapsed();
    assert!(time >= ms(190) && time < ms(450), "100 came after {time:?}");
    client.expect_silence(ms(700));
    // No other method hears 100.
    client.send_request(&client.request("OPTIONS", &format!("sip:slow@127.0.0.1:{}", site.port)));
    client.expect_silence(ms(900));
    assert_eq!(site.server.log_count("embryonic transaction shows"), 0);
    site.assert_idle();
}

#[test]
fn a_look_up_and_a_stateless_reply() {
    let site = site(
        MODULES,
        r#"
        route {
            if (is_method("ACK")) { xlog("ACK in the script\n"); exit; }
            xlog("script runs for $rm\n");
            exec("sleep 0.1");
            sl_send_reply(403, "Listed");
            exit;
        }
        "#,
    );
    let client = site.client();
    let options = client.request("OPTIONS", &site.uri());
    let answers = client.exchange(&options, SECOND);
    assert_eq!(answers.iter().map(|a| a.status()).collect::<Vec<_>>(), [403]);
    client.expect_silence(ms(700));
    client.send_request(&options);
    let again = client.expect_status(403, SECOND);
    assert_eq!(again.raw, answers[0].raw, "the same reply again");
    assert_eq!(site.server.log_count("script runs for OPTIONS"), 1);

    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND);
    assert_eq!(answers.iter().map(|a| a.status()).collect::<Vec<_>>(), [403], "no 100 before");
    client.send_request(&invite);
    let again = client.expect_status(403, SECOND);
    client.send_request(&invite.ack(&again));
    client.expect_silence(ms(1200));
    assert_eq!(site.server.log_count("script runs for INVITE"), 1);
    assert_eq!(site.server.log_count("ACK in the script"), 0, "its ACK is absorbed");
    site.assert_idle();
}

/// After a look-up the transaction functions return what they would have returned without it.
#[test]
fn an_embryonic_transaction_is_promoted_silently() {
    let uas = Uas::answering();
    let script = format!(
        r#"
        route {{
            {CALLS}
            exec("sleep 0.05");
            if (t_check_trans()) sl_send_reply(500, "visible");
            $avp(id) = $T_id;
            if ($rU == "reply") {{ t_reply(404, "By tm"); exit; }}
            if ($rU == "newtran") {{
                $var(a) = t_newtran();
                $var(b) = t_newtran();
                if (t_check_trans()) t_reply(404, "$var(a) $var(b) $avp(id)");
                exit;
            }}
            if ($rU == "send") {{ send_reply(404, "Either"); exit; }}
            $du = "sip:{}";
            $var(rc) = t_relay();
            xlog("relay gave $var(rc)\n");
        }}
        "#,
        uas.addr
    );
    let site = site(&[MODULES, &["signaling"]].concat(), &script);
    let client = site.client();
    let ask = |user: &str| {
        let invite = client.invite(&format!("sip:{user}@127.0.0.1:{}", site.port));
        let answers = client.exchange(&invite, SECOND * 3);
        client.send_request(&invite.ack(answers.last().unwrap()));
        answers.iter().map(|a| format!("{} {}", a.status(), a.reason())).collect::<Vec<_>>()
    };
    assert_eq!(ask("reply"), ["404 By tm"]);
    assert_eq!(ask("newtran"), ["100 Giving it a try", "404 1 -10 <null>"]);
    assert_eq!(ask("send"), ["404 Either"]);
    assert_eq!(ask("relay"), ["100 Giving it a try", "180 Ringing", "200 OK"]);
    site.server.wait_log("relay gave 1$", SECOND);
    site.assert_idle();
}

#[test]
fn a_resume_route_that_ends_without_an_answer() {
    let site = site(
        MODULES,
        r#"
        route {
            if ($rU == "replied") { t_reply(200, "Already"); async(usleep(200000), after); }
            async(usleep(50000), after);
        }
        route[after] { xlog("resumed\n"); }
        "#,
    );
    let client = site.client();
    let answer = client.ask(&client.request("OPTIONS", &site.uri()));
    assert_eq!(answer.status(), 500);
    site.server.wait_log("a resume route ended without relaying or replying: 500, Call-ID call-", SECOND);
    // Replied before: the wait is for the rest only.
    let mark = site.server.log_mark();
    let options = client.request("OPTIONS", &format!("sip:replied@127.0.0.1:{}", site.port));
    let (answer, time) = timed(&client, &options);
    assert!(answer.reason() == "Already" && time < ms(150), "{} {time:?}", answer.raw);
    site.server.wait_log_after(mark, "resumed$", SECOND);
    client.expect_silence(ms(200));
    assert_eq!(site.server.log_count("ended without"), 1);
    site.assert_idle();
}

#[test]
fn an_ack_waits_too() {
    let uas = Uas::answering();
    let script = format!(
        r#"
        route {{
            $du = "sip:{}";
            if (is_method("ACK")) {{
                $var(seen) = "seen";
                usleep(100000);
                append_hf("X-Ack: $var(seen)\r\n");
                if ($fU == "carol") async(usleep(50000), ack);
                t_relay();
                exit;
            }}
            t_relay();
        }}
        route[ack] {{ append_hf("X-Resumed: $rc\r\n"); t_relay(); }}
        "#,
        uas.addr
    );
    let site = site(MODULES, &script);
    let client = site.client();
    for caller in ["alice", "carol"] {
        let invite = client.invite(&site.uri()).caller(caller);
        let answers = client.exchange(&invite, SECOND * 3);
        client.send_request(&invite.ack(answers.last().unwrap()));
        let ack = uas.wait_for("ACK", SECOND, |m| m.method() == "ACK" && m.call_id() == invite.call_id);
        assert_eq!(ack.header("X-Ack"), Some("seen"), "{caller}");
        assert_eq!(ack.header("X-Resumed"), (caller == "carol").then_some("1"));
    }
    site.assert_idle();
}

#[test]
fn replies_of_a_branch_keep_their_order_while_one_waits() {
    let uas = Uas::start(|request| match request.method() {
        "INVITE" => vec![
            Answer::new(180, "Ringing"),
            Answer::new(181, "Forwarded").after(ms(30)),
            Answer::new(183, "Progress").after(ms(60)),
            Answer::new(200, "OK").after(ms(90)),
        ],
        _ => vec![Answer::new(200, "OK")],
    });
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{ {CALLS} $du = $hdr(X-To); t_on_reply("r"); t_relay(); }}
        onreply_route[r] {{
            xlog("reply $rs\n");
            if ($rs == 180) usleep(400000);
            if ($rs == 183) async(usleep(200000), more);
        }}
        route[more] {{ xlog("more $rs\n"); }}
        "#
        ),
    );
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    let answers = client.exchange(&invite, SECOND * 5);
    let statuses: Vec<u16> = answers.iter().map(|a| a.status()).collect();
    assert_eq!(statuses, [100, 180, 181, 183, 200]);
    client.send_request(&invite.ack(answers.last().unwrap()));
    site.server.wait_log("reply 200", SECOND * 5);
    let log = site.server.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("reply 180") < at("reply 181") && at("reply 183") < at("more 183") && at("more 183") < at("reply 200"));
    site.assert_idle();
}

/// A final reply stopped its branch's timers when it arrived, not when its route has ended.
#[test]
fn a_waiting_final_reply_is_not_overtaken_by_a_timer() {
    let uas = Uas::start(|request| match request.method() {
        "INVITE" => vec![Answer::new(200, "OK").after(ms(500))],
        _ => vec![Answer::new(200, "OK")],
    });
    let site = site(
        MODULES,
        &format!(
            r#"
        modparam("tm", "fr_timeout", 1)
        route {{ {CALLS} $du = $hdr(X-To); t_on_reply("r"); t_on_failure("f"); t_relay(); }}
        onreply_route[r] {{ xlog("reply route begins\n"); sleep(2); }}
        failure_route[f] {{ xlog("failure route\n"); }}
        "#
        ),
    );
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    client.send_request(&invite);
    let answers = client.finish(&invite, SECOND * 6);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    assert_eq!(site.server.log_count("failure route"), 0);
    site.assert_idle();
}

/// Retransmissions of a 200 whose route waits are dropped; other branches go on.
#[test]
fn a_released_2xx_goes_upstream_even_if_another_final_was_chosen() {
    let late = Uas::answering();
    let rejecting = Uas::start(|request| match request.method() {
        "INVITE" => vec![Answer::new(603, "Decline").after(ms(200))],
        _ => vec![Answer::new(200, "OK")],
    });
    let script = format!(
        r#"
        route {{ {CALLS} $ru = "{}"; append_branch("{}"); t_on_reply("r"); t_relay(); }}
        onreply_route[r] {{ if ($rs == 200) {{ xlog("200 waits\n"); usleep(700000); xlog("200 released\n"); }} }}
        "#,
        late.uri(),
        rejecting.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    let ok = client.expect_status(200, SECOND * 4);
    client.send_request(&invite.ack(&ok));
    site.server.wait_log("200 released$", SECOND);
    assert_eq!(site.server.log_count("200 waits"), 1);
    late.wait_request("ACK", SECOND);
    site.assert_idle();
}

#[test]
fn a_timer_that_fires_leads_to_a_failure_route_that_waits() {
    let (silent, second) = (Uas::silent(), Uas::answering());
    let script = format!(
        r#"
        modparam("tm", "fr_timeout", 1)
        route {{ {CALLS} $du = "sip:{}"; t_on_failure("next"); t_relay(); }}
        failure_route[next] {{
            xlog("failure $T_reply_code\n");
            # Longer than fr_timeout: no branch runs meanwhile.
            usleep(1500000);
            async(usleep(100000), again);
        }}
        route[again] {{ $du = "sip:{}"; $var(rc) = t_relay(); xlog("relay gave $var(rc)\n"); }}
        "#,
        silent.addr, second.addr
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND * 8);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    site.server.wait_log("failure 408$", SECOND);
    site.server.wait_log("relay gave 1$", SECOND);
    site.assert_idle();
}

#[test]
fn fr_timer_while_a_branch_route_waits_ends_that_branch_only() {
    let (first, second) = (Uas::answering(), Uas::answering());
    let script = format!(
        r#"
        modparam("tm", "fr_timeout", 1)
        route {{ {CALLS} $ru = "{}"; append_branch("{}"); t_on_branch("b"); t_relay(); }}
        branch_route[b] {{
            xlog("branch $T_branch_idx\n");
            if ($T_branch_idx == 0) {{ sleep(20); xlog("went on\n"); }}
        }}
        "#,
        first.uri(),
        second.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let (answer, time) = timed(&client, &invite);
    assert_eq!(answer.status(), 200);
    assert!(time >= ms(900) && time < ms(4000), "{time:?}");
    client.send_request(&invite.ack(&answer));
    assert_eq!(first.count("INVITE"), 0);
    assert_eq!(site.server.log_count("went on"), 0);
    site.assert_idle();
}

#[test]
fn cancel_while_a_failure_route_waits() {
    let (first, second) = (Uas::rejecting(486, "Busy"), Uas::answering());
    let script = format!(
        r#"
        route {{ {CALLS} $du = "sip:{}"; t_on_failure("f"); t_relay(); }}
        failure_route[f] {{
            xlog("failure begins\n");
            usleep(700000);
            if (t_was_cancelled()) xlog("was cancelled\n");
            $du = "sip:{}";
            $var(rc) = t_relay();
            xlog("relay gave $var(rc)\n");
        }}
        "#,
        first.addr, second.addr
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    site.server.wait_log("failure begins$", SECOND * 2);
    client.send_request(&invite.cancel());
    client.expect("200 to CANCEL", ms(400), |m| m.status() == 200 && m.cseq().1 == "CANCEL");
    let last = client.expect_status(487, ms(400));
    client.send_request(&invite.ack(&last));
    site.server.wait_log("was cancelled$", SECOND * 2);
    site.server.wait_log("relay gave -3$", SECOND);
    assert_eq!(second.count("INVITE"), 0);
    client.expect_silence(ms(300));
    site.assert_idle();
}

#[test]
fn a_second_wait_in_any_of_these_is_the_same_again() {
    let (first, second) = (Uas::rejecting(486, "Busy"), Uas::answering());
    let script = format!(
        r#"
        route {{
            {CALLS}
            usleep(10000); usleep(10000);
            $du = "sip:{}";
            t_on_failure("f"); t_on_branch("b"); t_on_reply("r");
            async(usleep(10000), second);
        }}
        route[second] {{ usleep(10000); async(usleep(10000), third); }}
        route[third] {{ exec("true"); t_relay(); }}
        branch_route[b] {{ usleep(10000); usleep(10000); exec("echo b", , $avp(b)); append_hf("X-B: $avp(b)\r\n"); }}
        onreply_route[r] {{ usleep(10000); usleep(10000); append_hf("X-R: $rs\r\n"); }}
        failure_route[f] {{ usleep(10000); usleep(10000); $du = "sip:{}"; t_on_branch("b"); t_relay(); usleep(10000); }}
        "#,
        first.addr, second.addr
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND * 5);
    let last = answers.last().unwrap();
    assert_eq!((last.status(), last.header("X-R")), (200, Some("200")));
    client.send_request(&invite.ack(last));
    assert_eq!(first.wait_request("INVITE", SECOND).header("X-B"), Some("b"));
    second.wait_request("INVITE", SECOND);
    site.assert_idle();
}

#[test]
fn sigterm_lets_waits_end() {
    let mut site = site(
        MODULES,
        r#"
        drain_timeout = 2
        route {
            if ($rU == "quick") { sl_send_reply(200, "OK"); exit; }
            if ($rU == "short") async(sleep(1), after);
            async(sleep(60), after);
        }
        route[after] { t_reply(200, "waited"); }
        "#,
    );
    let client = site.client();
    let uri = |user: &str| format!("sip:{user}@127.0.0.1:{}", site.port);
    let short = client.request("OPTIONS", &uri("short"));
    client.send_request(&short);
    let long_client = site.client();
    let long = long_client.request("OPTIONS", &uri("long"));
    long_client.send_request(&long);
    eventually("both wait", SECOND, || site.waits() == 2);
    let new_uri = uri("quick");
    process::signal(site.server.pid, nix::sys::signal::Signal::SIGTERM);
    std::thread::sleep(ms(200));
    let refused = SipClient::new(site.port).options(&new_uri);
    assert_eq!(refused.status(), 503, "{}", refused.raw);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(client.finish(&short, SECOND * 3).pop().unwrap().reason(), "waited");
    assert_eq!(long_client.finish(&long, SECOND * 4).pop().unwrap().status(), 500);
    assert_eq!(site.server.wait_exit(SECOND * 5), 0);
}

#[test]
fn the_list_of_waits_names_each() {
    let site = site(
        &[MODULES, &["rest_client"]].concat(),
        r#"
        route {
            if ($rU == "sleep") async(sleep(60), after);
            if ($rU == "exec") route(inner);
        }
        route[inner] {
            exec("sleep 60");
        }
        route[after] { t_reply(200, "$rc $async_err"); }
        "#,
    );
    let client = site.client();
    let sleeping = client.request("OPTIONS", &format!("sip:sleep@127.0.0.1:{}", site.port));
    client.send_request(&sleeping);
    client.send_request(&client.request("OPTIONS", &format!("sip:exec@127.0.0.1:{}", site.port)));
    eventually("both wait", SECOND, || site.waits() == 2);
    let text = site.server.ctl("waits", serde_json::Value::Null).to_string();
    assert!(text.contains(&sleeping.call_id), "{text}");
    assert!(text.contains("inner") && text.contains("exec") && text.contains("sleep"), "{text}");
}
