//! Waits where several things meet: locks, limits, many at once, messages that cross.

use std::collections::HashMap;

use crate::support::eventually;
use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::uas::{Answer, Uas};
use crate::waits_common::{SECOND, head, invite_to, ms, site, timed};

const CALLS: &str = r#"
    if (is_method("ACK") || is_method("BYE")) { t_relay(); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
"#;

const MODULES: &[&str] = &["cfgutils", "exec", "sipmsgops", "textops"];

#[test]
fn locks_belong_to_the_run_and_waiting_for_one_is_a_wait() {
    let site = site(
        MODULES,
        r#"
        async_timeout = 2
        route {
            if ($rU == "quick") { sl_send_reply(200, "quick"); exit; }
            if ($rU == "hold") {
                get_dynamic_lock("key");
                get_dynamic_lock("key");
                xlog("$rU has it\n");
                async(sleep(4), after);
            }
            if ($rU == "static") { $var(rc) = get_static_lock("other"); release_static_lock("other"); sl_send_reply(200, "$var(rc)"); exit; }
            if ($rU == "release") { $var(rc) = release_dynamic_lock("key"); sl_send_reply(200, "$var(rc)"); exit; }
            $var(rc) = get_dynamic_lock("key");
            xlog("$rU has $var(rc)\n");
            usleep(200000);
            # No release: its end releases it.
            sl_send_reply(200, "$var(rc)");
        }
        route[after] { xlog("hold ends\n"); sl_send_reply(200, "held"); }
        "#,
    );
    let uri = |user: &str| format!("sip:{user}@127.0.0.1:{}", site.port);
    // One after the other, in the order they came.
    let client = site.client();
    let requests: Vec<_> = (0..4).map(|i| client.request("OPTIONS", &uri(&format!("n{i}")))).collect();
    let start = std::time::Instant::now();
    for request in &requests {
        client.send_request(request);
    }
    std::thread::sleep(ms(50));
    assert_eq!(site.show("quick"), "quick", "nobody else waits");
    assert_eq!(site.show("static"), "1", "another lock is free");
    assert_eq!(site.show("release"), "-1", "it belongs to another run");
    for request in &requests {
        let answer = client.recv(SECOND * 3).expect("an answer");
        assert_eq!((answer.reason(), answer.call_id()), ("1", request.call_id.as_str()));
    }
    assert!(start.elapsed() >= ms(790), "{:?}", start.elapsed());
    // Held too long: -1 at the deadline; free again after the run's end.
    let holder = site.client();
    let hold = holder.request("OPTIONS", &uri("hold"));
    holder.send_request(&hold);
    site.server.wait_log("hold has it$", SECOND);
    let (answer, time) = timed(&client, &client.request("OPTIONS", &uri("late")));
    assert_eq!(answer.reason(), "-1");
    assert!(time >= ms(1990) && time < ms(3900), "{time:?}");
    assert_eq!(holder.finish(&hold, SECOND * 4).pop().unwrap().reason(), "held");
    assert_eq!(site.show("again"), "1");
    site.assert_idle();
}

#[test]
fn the_cap_of_suspensions_resumes_at_once() {
    let site = site(
        MODULES,
        r#"
        max_suspended = 3
        route { async(sleep(1), after); }
        route[after] { sl_send_reply(200, "$rc $async_err"); }
        "#,
    );
    let client = site.client();
    let requests: Vec<_> = (0..5).map(|_| client.request("OPTIONS", &site.uri())).collect();
    for request in &requests {
        client.send_request(request);
    }
    let mut answers: HashMap<String, String> = HashMap::new();
    while answers.len() < 5 {
        let m = client.recv(SECOND * 3).expect("an answer");
        answers.insert(m.call_id().to_owned(), m.reason().to_owned());
    }
    let refused = answers.values().filter(|r| r.starts_with("-1 ")).count();
    assert_eq!(refused, 2, "{answers:?}");
    assert_eq!(answers.values().filter(|r| *r == "1 <null>").count(), 3, "{answers:?}");
    site.assert_idle();
}

#[test]
fn a_script_that_never_ends_does_not_starve_the_others() {
    let site = site(
        MODULES,
        r#"
        max_while_loops = 1000000
        route {
            if ($rU == "quick") { sl_send_reply(200, "quick"); exit; }
            $var(i) = 0;
            while ($var(i) < 900000) { $var(i) = $var(i) + 1; }
            sl_send_reply(200, "$var(i)");
        }
        "#,
    );
    let client = site.client();
    let busy = client.request("OPTIONS", &site.uri());
    client.send_request(&busy);
    std::thread::sleep(ms(20));
    let other = site.client();
    let (answer, time) = timed(&other, &other.request("OPTIONS", &format!("sip:quick@127.0.0.1:{}", site.port)));
    assert_eq!(answer.reason(), "quick");
    assert!(client.recv(ms(1)).is_none(), "the busy one is not done yet");
    assert!(time < ms(300), "{time:?}");
    let answer = client.finish(&busy, SECOND * 30).pop().unwrap();
    assert_eq!(answer.reason(), "900000");
}

#[test]
fn a_hundred_thousand_resumes_in_a_row() {
    let site = site(
        MODULES,
        r#"
        route {
            if ($rU == "quick") { sl_send_reply(200, "quick"); exit; }
            $avp(n) = 0;
            async(sleep(0), next);
        }
        route[next] {
            $avp(n) := $avp(n) + 1;
            if ($avp(n) >= 100000) { sl_send_reply(200, "$avp(n)"); exit; }
            async(sleep(0), next);
        }
        "#,
    );
    let client = site.client();
    let request = client.request("OPTIONS", &site.uri());
    client.send_request(&request);
    assert_eq!(site.show("quick"), "quick");
    assert_eq!(client.finish(&request, SECOND * 30).pop().unwrap().reason(), "100000");
}

#[test]
fn several_waits_in_one_condition() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        r#"
        modparam("sqlops", "db_url", "{db}")
        route {{
            $var(n) = 1;
            if ((sql_query("SELECT 1 FROM users WHERE uid='nobody'") || exec("echo yes", , $avp(o))) && !rest_get("http://127.0.0.1:1/", $var(b)) && $var(n) == 1) {{
                sql_query("SELECT uid FROM users WHERE uid='nobody'");
                switch ($rc) {{
                    case 1: sl_send_reply(500, "found"); break;
                    case -2:
                        while (rest_get("{web}", $var(b)) && $var(n) < 3) {{ $var(n) = $var(n) + 1; }}
                        sl_send_reply(200, "$avp(o) $var(b) $var(n)");
                        break;
                    default: sl_send_reply(500, "error");
                }}
                exit;
            }}
            sl_send_reply(500, "not");
        }}
        "#,
        db = db.url(),
        web = web.url("/now"),
    );
    let site = site(&[MODULES, &["sqlops", "rest_client"]].concat(), &script);
    assert_eq!(site.ask().reason(), "yes now 3");
}

#[test]
fn the_script_may_wait_after_it_has_relayed() {
    let second = Uas::answering();
    let script = format!(
        r#"
        route {{
            {CALLS}
            $du = $hdr(X-To);
            if ($hdr(X-Fail) == "yes") t_on_failure("missed");
            t_relay();
            async(usleep(600000), logged);
        }}
        route[logged] {{ xlog("logged $rc\n"); }}
        failure_route[missed] {{ xlog("missed\n"); $du = "sip:{}"; t_relay(); usleep(300000); xlog("failure route ends\n"); }}
        "#,
        second.addr
    );
    let site = site(MODULES, &script);
    // The answer is not held up.
    let uas = Uas::answering();
    let client = site.client();
    let (answer, time) = timed(&client, &invite_to(&client, &site, &uas));
    assert_eq!(answer.status(), 200);
    assert!(time < ms(400), "{time:?}");
    site.server.wait_log("logged 1$", SECOND * 2);
    // Nor a refusal without a failure route.
    let busy = Uas::rejecting(486, "Busy");
    let invite = invite_to(&client, &site, &busy);
    let (answer, time) = timed(&client, &invite);
    client.send_request(&invite.ack(&answer));
    assert_eq!(answer.status(), 486);
    assert!(time < ms(400), "{time:?}");
    // With one: two runs never overlap in a transaction.
    let mark = site.server.log_mark();
    let invite = invite_to(&client, &site, &busy).header("X-Fail: yes");
    let answers = client.exchange(&invite, SECOND * 5);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    site.server.wait_log_after(mark, "failure route ends$", SECOND * 2);
    let log = site.server.log();
    let lines: Vec<&str> = log.lines().skip(mark).collect();
    let at =
        |text: &str| lines.iter().position(|l| l.ends_with(text)).unwrap_or_else(|| panic!("no {text}: {lines:?}"));
    assert!(at("logged 1") < at("missed"), "{lines:?}");
    site.assert_idle();
}

#[test]
fn a_provisional_reply_before_the_wait_is_what_is_repeated() {
    let site = site(
        MODULES,
        r#"
        route {
            t_reply(183, "Looking");
            async(usleep(500000), after);
        }
        route[after] { t_reply(404, "Nobody"); }
        "#,
    );
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    client.expect_status(183, ms(300));
    client.send_request(&invite);
    client.expect_status(183, ms(300));
    let last = client.expect_status(404, SECOND);
    // A final answer to an INVITE is repeated until its ACK comes.
    client.expect_status(404, SECOND);
    client.send_request(&invite.ack(&last));
    client.expect_silence(ms(1200));
    site.assert_idle();
}

#[test]
fn cancel_meets_an_embryonic_transaction() {
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{
            {CALLS}
            exec("sleep 0.5");
            if (t_was_cancelled()) xlog("was cancelled\n");
            if ($rU == "reply") {{ sl_send_reply(200, "too late"); xlog("gave $rc\n"); }}
            exit;
        }}
        "#
        ),
    );
    let client = site.client();
    for user in ["silent", "reply"] {
        let mark = site.server.log_mark();
        let invite = client.invite(&format!("sip:{user}@127.0.0.1:{}", site.port));
        client.send_request(&invite);
        std::thread::sleep(ms(50));
        client.send_request(&invite.cancel());
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let m = client.recv(ms(400)).unwrap_or_else(|| panic!("{user}: only {seen:?}"));
            seen.push(m.status());
            if m.status() == 487 {
                client.send_request(&invite.ack(&m));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [200, 487], "{user}");
        site.server.wait_log_after(mark, "was cancelled$", SECOND);
        client.expect_silence(ms(400));
    }
    site.assert_idle();
}

#[test]
fn launch_is_allowed_everywhere() {
    let site = site(
        MODULES,
        &format!(
            r#"
        startup_route {{ launch(exec("echo s", , $avp(o)), report, "startup"); }}
        route {{
            launch(usleep(1000), report, "request $rm");
            if (is_method("ACK")) {{ exit; }}
            {CALLS}
            $du = $hdr(X-To);
            t_on_reply("r"); t_on_branch("b"); t_on_failure("f");
            raise_event("E_X");
            t_new_request("MESSAGE", "sip:x@" + "y", "sip:a@b", "sip:a@b");
            t_relay();
        }}
        branch_route[b] {{ launch(usleep(1000), report, "branch"); }}
        onreply_route {{ launch(usleep(1000), report, "replies"); }}
        onreply_route[r] {{ launch(usleep(1000), report, "reply $rs"); }}
        failure_route[f] {{ launch(usleep(1000), report, "failure $T_reply_code"); }}
        event_route[E_X] {{ launch(usleep(1000), report, "event"); }}
        timer_route[t, 1] {{ launch(usleep(1000), report, "timer"); }}
        local_route {{ launch(usleep(1000), report, "local"); }}
        error_route {{ launch(usleep(1000), report, "error"); }}
        route[report] {{ xlog("report of $param(1) $rc\n"); launch(sleep(0)); }}
        "#
        )
        .replace("\"sip:x@\" + \"y\"", "\"sip:x@127.0.0.1:9\""),
    );
    let uas = Uas::rejecting(486, "Busy");
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    let answer = client.exchange(&invite, SECOND * 3).pop().unwrap();
    client.send_request(&invite.ack(&answer));
    client.send("OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: broken\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: e1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n");
    for what in [
        "startup",
        "request INVITE",
        "branch",
        "replies",
        "reply 486",
        "failure 486",
        "event",
        "timer",
        "local",
        "error",
    ] {
        site.server.wait_log(&format!("report of {what} 1$"), SECOND * 3);
    }
    site.assert_idle();
}

#[test]
fn the_route_of_all_replies_may_use_async() {
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{ {CALLS} $du = $hdr(X-To); t_relay(); }}
        onreply_route {{ append_hf("X-One: $rs\r\n"); if ($rs == 180) drop; async(usleep(100000), resumed); }}
        route[resumed] {{ append_hf("X-Two: $rs $rc\r\n"); }}
        "#
        ),
    );
    let uas = Uas::answering();
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    let answers = client.exchange(&invite, SECOND * 3);
    let statuses: Vec<u16> = answers.iter().map(|a| a.status()).collect();
    assert_eq!(statuses, [100, 200]);
    let last = answers.last().unwrap();
    assert_eq!((last.header("X-One"), last.header("X-Two")), (Some("200"), Some("200 1")));
    client.send_request(&invite.ack(last));
    site.assert_idle();
}

#[test]
fn a_reply_without_a_transaction_waits_and_is_forwarded() {
    let site = site(
        MODULES,
        r#"
        route { exit; }
        onreply_route { usleep(100000); append_hf("X-Waited: yes\r\n"); }
        "#,
    );
    let (upstream, downstream) = (site.client(), site.client());
    downstream.send(&format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bKgone\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKup\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        site.port, upstream.local
    ));
    let reply = upstream.expect_status(200, SECOND);
    assert_eq!(reply.header("X-Waited"), Some("yes"));
    assert_eq!(reply.all("Via").len(), 1);
    site.assert_idle();
}

#[test]
fn retransmissions_of_a_reply_whose_route_waits_are_dropped() {
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{ {CALLS} $du = $hdr(X-To); t_on_reply("r"); t_relay(); }}
        onreply_route[r] {{ xlog("reply route for $rs\n"); usleep(500000); }}
        "#
        ),
    );
    let (caller, callee) = (site.client(), site.client());
    let invite = caller.invite(&site.uri()).header(&format!("X-To: sip:{}", callee.local));
    caller.send_request(&invite);
    let arrived = callee.expect_request("INVITE", SECOND);
    let contact = [format!("Contact: <sip:bob@{}>", callee.local)];
    for _ in 0..3 {
        callee.respond(&arrived, 200, "OK", &contact);
        std::thread::sleep(ms(50));
    }
    let ok = caller.expect_status(200, SECOND * 2);
    assert_eq!(site.server.log_count("reply route for 200"), 1);
    caller.send_request(&invite.ack(&ok));
    caller.expect_silence(ms(200));
    // Later ones are passed on again: the callee still waits for its ACK.
    callee.respond(&arrived, 200, "OK", &contact);
    caller.expect_status(200, SECOND * 2);
    site.assert_idle();
}

#[test]
fn a_branch_may_be_dropped_after_a_wait() {
    let (first, second) = (Uas::answering(), Uas::answering());
    let script = format!(
        r#"
        route {{ {CALLS} $ru = "{}"; append_branch("{}"); t_on_branch("b"); t_relay(); }}
        branch_route[b] {{ $var(i) = $T_branch_idx; usleep(50000); if ($var(i) == 0) drop; }}
        "#,
        first.uri(),
        second.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answers = client.exchange(&invite, SECOND * 3);
    assert_eq!(answers.last().unwrap().status(), 200);
    client.send_request(&invite.ack(answers.last().unwrap()));
    assert_eq!((first.count("INVITE"), second.count("INVITE")), (0, 1));
}

/// With two workers a call's messages meet at one of them, wherever they arrive.
#[test]
fn two_workers_and_one_waiting_call() {
    let port = crate::support::free_port();
    let top = head(port, &["tm", "sl", "cfgutils", "sipmsgops"]);
    let config = format!(
        r#"{top}
        startup_route {{ $var(start) = "shared"; sleep(1); }}
        route {{
            {CALLS}
            xlog("script runs for $ci\n");
            $avp(start) = $var(start);
            async(usleep(700000), after);
        }}
        route[after] {{
            if (t_was_cancelled()) xlog("cancelled $ci\n");
            t_reply(404, "$avp(start) $var(start)");
        }}
        "#
    );
    let server = Reprise::start(&config, &["-n", "2"]);
    for round in 0..12 {
        // Each message of the call comes from another port, and so perhaps to another worker.
        let clients: Vec<SipClient> = (0..4).map(|_| SipClient::new(port)).collect();
        let invite = clients[0].invite(&format!("sip:bob@127.0.0.1:{port}"));
        clients[0].send_request(&invite);
        clients[0].expect_status(100, SECOND);
        for client in &clients[1..] {
            client.send_request(&invite);
        }
        if round % 3 == 0 {
            clients[2].send_request(&invite.cancel());
            let done = clients[0].expect_status(487, SECOND);
            clients[1].send_request(&invite.ack(&done));
            clients[2].expect("200 to CANCEL", SECOND, |m| m.status() == 200 && m.cseq().1 == "CANCEL");
            server.wait_log(&format!("cancelled {}$", invite.call_id), SECOND * 2);
        } else {
            let done = clients[0].expect("404", SECOND * 2, |m| m.status() == 404);
            assert_eq!(done.reason(), "shared shared");
            clients[3].send_request(&invite.ack(&done));
        }
        assert_eq!(server.log_count(&format!("script runs for {}$", invite.call_id)), 1);
    }
}

#[test]
fn a_route_used_by_startup_too_gives_minus_one_there() {
    let site = site(
        MODULES,
        r#"
        startup_route { route(shared); xlog("startup went on with $rc\n"); $var(name) = "com"; route($var(name) + "puted"); xlog("computed gave $rc\n"); }
        route { route(shared); }
        route[shared] { async(usleep(1000), after); return($rc); }
        route[computed] { async(usleep(1000), after); return($rc); }
        route[after] { sl_send_reply(200, "waited"); }
        "#
        .replace("route($var(name) + \"puted\");", "$var(name) = $var(name) + \"puted\"; route($var(name));")
        .as_str(),
    );
    site.server.wait_log("startup went on with -1$", SECOND);
    site.server.wait_log("computed gave -1$", SECOND);
    assert_eq!(site.ask().reason(), "waited");
}

#[test]
fn script_io_block_restores_the_peers_way() {
    let site = site(
        MODULES,
        r#"
        script_io = block
        route {
            if ($rU == "quick") { sl_send_reply(200, "quick"); exit; }
            if ($rU == "async") async(usleep(500000), after);
            usleep(500000);
            sl_send_reply(200, "slept");
        }
        route[after] { sl_send_reply(200, "async slept"); }
        "#,
    );
    let quick_while = |user: &str| {
        let client = site.client();
        let request = client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port));
        client.send_request(&request);
        std::thread::sleep(ms(50));
        let other = site.client();
        let (_, time) = timed(&other, &other.request("OPTIONS", &format!("sip:quick@127.0.0.1:{}", site.port)));
        client.finish(&request, SECOND * 2);
        time
    };
    assert!(quick_while("plain") >= ms(350), "a plain call holds up everybody");
    assert!(quick_while("async") < ms(300), "async does not");
}

#[test]
fn a_dropped_run_after_cancel_if_the_script_wants_it_so() {
    let web = Nginx::start();
    let script = format!(
        r#"
        async_resume_on_cancel = no
        route {{
            {CALLS}
            if ($rU == "get") async(rest_get("{0}", $var(b)), after);
            if ($rU == "post") async(rest_post("{0}", "x", "text/plain", $var(b)), after);
            sleep(3);
            route(after);
        }}
        route[after] {{ xlog("resumed $rU $rc\n"); t_reply(200, "OK"); }}
        "#,
        web.url("/sleep?t=1")
    );
    let site = site(&[MODULES, &["rest_client"]].concat(), &script);
    for user in ["get", "post", "plain"] {
        let client = site.client();
        let invite = client.invite(&format!("sip:{user}@127.0.0.1:{}", site.port));
        client.send_request(&invite);
        client.expect_status(100, SECOND);
        std::thread::sleep(ms(100));
        client.send_request(&invite.cancel());
        let last = client.expect_status(487, ms(400));
        client.send_request(&invite.ack(&last));
        eventually("no run waits any more", ms(400), || site.waits() == 0 || user == "post");
    }
    std::thread::sleep(ms(1500));
    assert_eq!(site.server.log_count("resumed"), 0);
    // What only reads was cut off; what writes came to its end.
    assert_eq!(web.requests().iter().filter(|r| r.0 == "POST" && r.2 == 200).count(), 1, "{:?}", web.requests());
    site.assert_idle();
}

#[test]
fn many_waits_of_every_kind_leave_nothing_behind() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        r#"
        backend_max_failures = 0
        modparam("sqlops", "db_url", "{db}")
        route {{
            switch ($rU) {{
                case "k0": async(usleep(100000), after);
                case "k1": async(exec("sleep 0.05; echo x", , $avp(o)), after);
                case "k2": async(rest_get("{web}", $avp(o)), after);
                case "k3": async(sql_query("SELECT SLEEP(0.05)", "$avp(o)"), after);
                case "k4": async(sql_query("SELECT SLEEP(30)", "$avp(o)"), after, 1);
                case "k5": async(exec("sleep 30", , $avp(o)), after, 1);
                case "k6": async(rest_get("http://127.0.0.1:1/", $avp(o)), after);
                default: exec("sleep 0.05");
            }}
            exit;
        }}
        route[after] {{ sl_send_reply(200, "$rU $rc"); launch(usleep(10000)); }}
        "#,
        db = db.url(),
        web = web.url("/slow"),
    );
    let site = site(&[MODULES, &["sqlops", "rest_client"]].concat(), &script);
    let expected = ["1", "1", "1", "1", "-1", "-1", "-1"];
    let round = |count: usize| {
        let client = site.client();
        let requests: Vec<_> =
            (0..count).map(|i| client.request("OPTIONS", &format!("sip:k{}@127.0.0.1:{}", i % 8, site.port))).collect();
        for request in &requests {
            client.send_request(request);
            std::thread::sleep(ms(1));
        }
        let answered = (0..count).filter(|i| i % 8 != 7).count();
        let mut seen = 0;
        while seen < answered {
            let m = client.recv(SECOND * 20).expect("an answer");
            match m.status() {
                // What waits longer than 3.5 s in a pool's queue is told so (RFC 4320 4.1).
                100 => continue,
                // A starved machine: refused for the time being.
                503 => {
                    std::thread::sleep(ms(20));
                    let again = requests.iter().find(|r| r.call_id == m.call_id()).unwrap();
                    client.send_request(again);
                    continue;
                }
                _ => seen += 1,
            }
            let (kind, code) = m.reason().split_once(' ').unwrap();
            assert_eq!(expected[kind[1..].parse::<usize>().unwrap()], code, "{kind}");
        }
        site.assert_idle();
    };
    round(80);
    let worker = site.server.worker_pids()[0];
    eventually("no child is left", SECOND * 3, || crate::support::process::children(worker).is_empty());
    let count = |sockets: bool| {
        let all = crate::support::process::fds(worker);
        all.iter().filter(|f| f.contains("socket:") == sockets).count()
    };
    let others = count(false);
    for _ in 0..3 {
        round(160);
    }
    eventually("no child is left", SECOND * 3, || crate::support::process::children(worker).is_empty());
    assert_eq!(count(false), others, "pipes and the like");
    // Connections are kept for the next one: ten to the database, and some to the web server.
    assert!(count(true) <= 60, "{:?}", crate::support::process::fds(worker));
}

/// A reply that lost its transaction's last timer, a lookup that ends, an answer in between: the
/// order of a call's messages is the order in which they came.
#[test]
fn a_bye_overtakes_nothing() {
    let uas = Uas::start(|request| match request.method() {
        "INVITE" => vec![Answer::new(200, "OK")],
        _ => vec![Answer::new(200, "OK")],
    });
    let site = site(
        MODULES,
        r#"
        route {
            $du = $hdr(X-To);
            if (is_method("ACK")) usleep(200000);
            t_relay();
        }
        "#,
    );
    let client = site.client();
    let invite = invite_to(&client, &site, &uas);
    let ok = client.exchange(&invite, SECOND * 3).pop().unwrap();
    let to = format!("X-To: sip:{}", uas.addr);
    client.send_request(&invite.ack(&ok).header(&to));
    let bye = client.ask(&invite.in_dialog("BYE", &ok).header(&to));
    assert_eq!(bye.status(), 200);
    uas.wait_request("ACK", SECOND);
    site.assert_idle();
}

/// A non-INVITE transaction that a look-up made says nothing, however long it takes.
#[test]
fn an_embryonic_transaction_never_sends_100_for_other_methods() {
    let site = site(MODULES, "route { exec(\"sleep 5\"); exit; }");
    let client = site.client();
    let request = client.request("OPTIONS", &site.uri());
    client.send_request(&request);
    for _ in 0..4 {
        client.expect_silence(ms(1400));
        client.send_request(&request);
    }
}

/// The transaction of a waiting request is one for its CANCEL, its ACK and its copies only: other
/// requests of the same call pass.
#[test]
fn other_requests_of_the_call_pass_while_one_waits() {
    let site = site(
        MODULES,
        r#"
        route {
            if (is_method("INFO")) { sl_send_reply(200, "passes"); exit; }
            async(usleep(500000), after);
        }
        route[after] { t_reply(200, "waited"); }
        "#,
    );
    let client = site.client();
    let options = client.request("OPTIONS", &site.uri());
    client.send_request(&options);
    let mut info = client.request("INFO", &site.uri());
    info.call_id.clone_from(&options.call_id);
    info.cseq = 2;
    let (answer, time) = timed(&client, &info);
    assert_eq!(answer.reason(), "passes");
    assert!(time < ms(300), "{time:?}");
    assert_eq!(client.finish(&options, SECOND).pop().unwrap().reason(), "waited");
}

#[test]
fn cancel_while_a_branch_route_waits() {
    let uas = Uas::answering();
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{
            {CALLS}
            $avp(kept) = "kept";
            $du = "sip:{}";
            t_on_branch("b");
            $var(rc) = t_relay();
            xlog("relay gave $var(rc) $avp(kept)\n");
        }}
        branch_route[b] {{ sleep(2); xlog("went on\n"); }}
        "#,
            uas.addr
        ),
    );
    let client = site.client();
    let invite = client.invite(&site.uri());
    client.send_request(&invite);
    client.expect_status(100, SECOND);
    std::thread::sleep(ms(50));
    client.send_request(&invite.cancel());
    let last = client.expect_status(487, ms(500));
    client.send_request(&invite.ack(&last));
    site.server.wait_log("relay gave -3 kept$", SECOND * 3);
    assert_eq!(uas.count("INVITE"), 0);
    site.assert_idle();
}

/// The AVPs that a branch_route holds are not lost with its branch.
#[test]
fn avps_survive_a_branch_that_ended_while_its_route_waited() {
    let (first, second) = (Uas::answering(), Uas::answering());
    let script = format!(
        r#"
        modparam("tm", "fr_timeout", 1)
        route {{
            {CALLS}
            $avp(kept) = "kept";
            $ru = "{}";
            append_branch("{}");
            t_on_branch("b");
            t_relay();
            xlog("behind t_relay $avp(kept)\n");
        }}
        branch_route[b] {{ $avp(n) = $T_branch_idx; if ($T_branch_idx == 0) sleep(20); append_hf("X-Kept: $avp(kept)\r\n"); }}
        "#,
        first.uri(),
        second.uri()
    );
    let site = site(MODULES, &script);
    let client = site.client();
    let invite = client.invite(&site.uri());
    let answer = client.exchange(&invite, SECOND * 5).pop().unwrap();
    client.send_request(&invite.ack(&answer));
    assert_eq!(second.wait_request("INVITE", SECOND).header("X-Kept"), Some("kept"));
    site.server.wait_log("behind t_relay kept$", SECOND);
    site.assert_idle();
}

#[test]
fn a_final_answer_while_a_failure_route_waits() {
    let second = Uas::answering();
    let script = format!(
        r#"
        modparam("tm", "fr_timeout", 1)
        route {{ {CALLS} $du = $hdr(X-To); t_on_failure("f"); t_relay(); }}
        failure_route[f] {{
            xlog("failure $T_reply_code\n");
            if ($hdr(X-Own) == "yes") t_reply(480, "By the script");
            sleep(1);
            $du = "sip:{}";
            $var(rc) = t_relay();
            xlog("relay gave $var(rc)\n");
        }}
        "#,
        second.addr
    );
    let site = site(MODULES, &script);
    // The script's own.
    let busy = Uas::rejecting(486, "Busy");
    let caller = site.client();
    let invite = invite_to(&caller, &site, &busy).header("X-Own: yes");
    let (answer, time) = timed(&caller, &invite);
    assert_eq!(answer.reason(), "By the script");
    assert!(time < ms(600), "{time:?}");
    caller.send_request(&invite.ack(&answer));
    site.server.wait_log("relay gave -3$", SECOND * 3);
    assert_eq!(second.count("INVITE"), 0);
    // The callee was only late: its 200 goes upstream at once.
    let callee = site.client();
    let invite = caller.invite(&site.uri()).header(&format!("X-To: sip:{}", callee.local));
    caller.send_request(&invite);
    let arrived = callee.expect_request("INVITE", SECOND);
    site.server.wait_log("failure 408$", SECOND * 3);
    callee.respond(&arrived, 200, "OK", &[format!("Contact: <sip:bob@{}>", callee.local)]);
    let ok = caller.expect_status(200, ms(600));
    caller.send_request(&invite.ack(&ok));
    site.assert_idle();
}

#[test]
fn avps_of_the_transaction_in_reply_routes() {
    let site = site(
        MODULES,
        &format!(
            r#"
        modparam("tm", "onreply_avp_mode", 1)
        route {{
            {CALLS}
            $avp(a) = "request";
            $du = $hdr(X-To);
            t_on_reply("r");
            t_on_failure("f");
            t_relay();
            if ($hdr(X-Late) == "yes") usleep(300000);
        }}
        onreply_route[r] {{
            xlog("reply $rs sees $avp(a) $avp(r)\n");
            $avp(r) = "reply $rs";
            $avp(r) := "after " + $rs;
            usleep(100000);
            async(usleep(50000), more);
        }}
        route[more] {{ xlog("more $rs sees $avp(a) $avp(r)\n"); }}
        failure_route[f] {{ xlog("failure sees $avp(a) $avp(r)\n"); }}
        "#
        ),
    );
    for late in ["no", "yes"] {
        let mark = site.server.log_mark();
        let uas = Uas::start(|request| match request.method() {
            "INVITE" => vec![Answer::new(180, "Ringing"), Answer::new(486, "Busy").after(ms(20))],
            _ => vec![Answer::new(200, "OK")],
        });
        let client = site.client();
        let invite = invite_to(&client, &site, &uas).header(&format!("X-Late: {late}"));
        let answer = client.exchange(&invite, SECOND * 3).pop().unwrap();
        client.send_request(&invite.ack(&answer));
        site.server.wait_log_after(mark, "reply 180 sees request <null>$", SECOND);
        site.server.wait_log_after(mark, "more 180 sees request after 180$", SECOND);
        site.server.wait_log_after(mark, "reply 486 sees request after 180$", SECOND);
        if late == "no" {
            site.server.wait_log_after(mark, "failure sees request after 486$", SECOND);
        } else {
            // The request route was still on its way: what it left counts.
            site.server.wait_log_after(mark, "failure sees request ", SECOND);
        }
    }
    site.assert_idle();
}

#[test]
fn t_relay_waits_for_names() {
    let uas = Uas::answering();
    let site = site(
        MODULES,
        &format!(
            r#"
        route {{
            {CALLS}
            $var(kept) = "kept";
            if ($rU == "unknown") {{
                $ru = "sip:x@no-such-host.invalid";
                if (!t_relay("no-auto-477")) {{ $var(rc) = $rc; sl_reply_error(); xlog("gave $var(rc) $var(kept)\n"); }}
                exit;
            }}
            if ($rU == "auto") {{ $ru = "sip:x@no-such-host.invalid"; $var(rc) = t_relay(); xlog("auto $var(rc)\n"); exit; }}
            $ru = "sip:x@localhost:{port}";
            if ($hdr(X-Two) == "yes") append_branch("sip:x@no-such-host.invalid");
            $var(rc) = t_relay();
            xlog("relayed $var(rc) $var(kept)\n");
        }}
        "#,
            port = uas.addr.port()
        ),
    );
    let client = site.client();
    let call = |user: &str, more: &str| {
        let mut invite = client.invite(&format!("sip:{user}@127.0.0.1:{}", site.port));
        if !more.is_empty() {
            invite = invite.header(more);
        }
        let answers = client.exchange(&invite, SECOND * 10);
        client.send_request(&invite.ack(answers.last().unwrap()));
        answers.last().unwrap().status()
    };
    assert_eq!(call("bob", ""), 200);
    site.server.wait_log("relayed 1 kept$", SECOND);
    assert_eq!(call("bob", "X-Two: yes"), 200, "one branch that cannot be sent does not hurt the other");
    assert_eq!(call("unknown", ""), 476);
    site.server.wait_log("gave -4 kept$", SECOND);
    assert_eq!(call("auto", ""), 476);
    site.assert_idle();
}
