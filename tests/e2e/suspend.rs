//! `t_suspend` and `t_continue` between the processes of a server: whoever asks, the owner goes on, and the asker hears what came of
//! it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{SECOND, held, serve, wait_quiet};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, SipMessage};
use crate::support::{eventually, process};

/// INVITE is suspended and says its transaction's name in a 183; MESSAGE continues what its header X-Id names, with the route that
/// X-Route names, and says what came of it.
fn config(port: u16, rest: &str) -> String {
    let modules: String = ["sl", "tm", "tmx", "pv", "xlog", "textops", "siputils"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    format!(
        r##"#!KAMAILIO
debug=3
overload_age=0
listen=udp:127.0.0.1:{port}
{modules}{rest}
request_route {{
    if (is_method("ACK")) exit;
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("MESSAGE")) {{
        $var(route) = $hdr(X-Route);
        xlog("L_NOTICE", "asked $ci\n");
        t_continue("$(hdr(X-Id){{s.select,0,:}})", "$(hdr(X-Id){{s.select,1,:}})", "$var(route)");
        sl_send_reply("202", "$rc $pp");
        exit;
    }}
    if ($rU == "ringing") {{
        t_newtran();
        t_reply("183", "$T(id_index):$T(id_label)");
        t_set_fr("1000", "1000");
        # The caller does not answer it.
        $du = "sip:" + $si + ":" + $sp;
        t_relay();
        exit;
    }}
    if ($rU == "timed") t_set_fr("1000", "1000");
    $avp(pid) = $pp;
    if (!t_suspend()) {{
        sl_send_reply("500", "Not suspended");
        exit;
    }}
    t_reply("183", "$T(id_index):$T(id_label)");
}}
route[GO_ON] {{
    t_reply("486", "$avp(pid) $pp");
}}
"##
    )
}

fn plain(port: u16) -> String {
    config(port, "")
}

/// A suspended INVITE and the name of its transaction.
struct Call {
    invite: Request,
    id: String,
    /// Process id of its worker.
    owner: i32,
}

fn park(client: &SipClient, server: &Reprise, user: &str) -> Call {
    let invite = client.invite(&format!("sip:{user}@example.test"));
    client.send_request(&invite);
    let named = client.expect("a 183", SECOND * 10, |m| m.status() == 183 && m.call_id() == invite.call_id);
    let id = named.reason().to_owned();
    Call { owner: owner_of(server, &id), invite, id }
}

/// The process that owns the transaction of this name.
fn owner_of(server: &Reprise, id: &str) -> i32 {
    let label: u64 = id.split(':').nth(1).unwrap().parse().unwrap();
    let ps = server.ctl("ps", Value::Null);
    let owner = ps.as_array().unwrap().iter().find(|p| p["kind"] == "worker" && p["index"] == label >> 32).unwrap();
    owner["pid"].as_i64().unwrap() as i32
}

/// The answer to a MESSAGE that continues a transaction: code, and the process that it was asked in.
fn go_on(client: &SipClient, id: &str, route: &str) -> (String, i32) {
    let request = asking(client, id, route);
    let answer = client.finish(&request, SECOND * 20).pop().unwrap();
    said(&answer)
}

fn asking(client: &SipClient, id: &str, route: &str) -> Request {
    let request = client.request("MESSAGE", "sip:server@example.test");
    let request = request.header(&format!("X-Id: {id}")).header(&format!("X-Route: {route}"));
    client.send_request(&request);
    request
}

fn said(answer: &SipMessage) -> (String, i32) {
    assert_eq!(answer.status(), 202, "{answer:?}");
    let (code, pid) = answer.reason().split_once(' ').unwrap();
    (code.to_owned(), pid.parse().unwrap())
}

fn refused(client: &SipClient, call: &Call) -> SipMessage {
    let fits = |m: &SipMessage| m.status() >= 300 && m.call_id() == call.invite.call_id;
    let answer = client.expect("the final answer", SECOND * 20, fits);
    client.send_request(&call.invite.ack(&answer));
    answer
}

#[test]
fn any_worker_continues_and_the_route_runs_at_the_owner() {
    let (server, port) = serve(plain, &["-n", "3"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    let (mut owners, mut elsewhere) = (std::collections::BTreeSet::new(), 0);
    for _ in 0..40 {
        let call = park(&caller, &server, "plain");
        owners.insert(call.owner);
        let (code, pid) = go_on(&asker, &call.id, "GO_ON");
        assert_eq!(code, "1");
        elsewhere += usize::from(pid != call.owner);
        let answer = refused(&caller, &call);
        assert_eq!((answer.status(), answer.reason()), (486, format!("{0} {0}", call.owner).as_str()));
        // A second time there is nothing to go on with.
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "-1");
    }
    assert_eq!(owners.len(), 3, "every worker had some");
    assert!(elsewhere > 10, "most were asked for elsewhere: {elsewhere}");
    assert_eq!(held(&server, "suspended") + held(&server, "asks") + held(&server, "parked"), 0);
    wait_quiet(&server, SECOND * 60);
}

#[test]
fn every_end_of_a_suspension_has_its_code() {
    let (server, port) = serve(plain, &["-n", "3"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    // Several of each, so that they are asked for at their owner and elsewhere.
    for _ in 0..5 {
        // Nothing of that name.
        let call = park(&caller, &server, "plain");
        let (index, label) = call.id.split_once(':').unwrap();
        let (index, label): (i64, i64) = (index.parse().unwrap(), label.parse().unwrap());
        for unknown in [
            format!("{}:{label}", index + 7777),
            format!("{index}:{}", label + 7777),
            format!("{}:{label}", index & 0xffff_ffff),
            format!("{}:{label}", index + (5 << 32)),
            format!("{index}:{}", label + (1 << 40)),
            format!("-{index}:{label}"),
            format!("{index}:-1"),
            "0:0".into(),
            "abc:def".into(),
            "99999999999999999999:99999999999999999999".into(),
            "9223372036854775807:9223372036854775807".into(),
            ":".into(),
        ] {
            assert_eq!(go_on(&asker, &unknown, "GO_ON").0, "-1", "{unknown}");
        }
        // No such route: it stays.
        assert_eq!(go_on(&asker, &call.id, "NOWHERE").0, "-1");
        assert_eq!(go_on(&asker, &call.id, "").0, "-1");
        let waits = server.ctl("waits", Value::Null);
        let wait = waits.as_array().unwrap().iter().find(|w| w["call_id"] == *call.invite.call_id).unwrap();
        assert_eq!(
            (&wait["kind"], &wait["function"], &wait["route"]),
            (&json!("suspend"), &json!("t_suspend"), &json!("route")),
            "{wait:#}"
        );
        assert!(
            wait["age_ms"].as_u64().is_some_and(|a| a < 60_000) && wait["line"].as_u64().is_some_and(|l| l > 5),
            "{wait:#}"
        );
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "1");
        refused(&caller, &call);
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "-1", "it is answered");

        // Cancelled.
        let call = park(&caller, &server, "plain");
        caller.send_request(&call.invite.cancel());
        assert_eq!(refused(&caller, &call).status(), 487);
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "1");
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "1");

        // Nobody continues it within its fr timer.
        let call = park(&caller, &server, "timed");
        assert_eq!(refused(&caller, &call).status(), 408);
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "1");

        // Not suspended.
        let call = park(&caller, &server, "ringing");
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "-1");
        assert_eq!(refused(&caller, &call).status(), 408, "{}", server.log());
    }
    let call = park(&caller, &server, "timed");
    refused(&caller, &call);
    wait_quiet(&server, SECOND * 60);
    assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "-1", "it has ended");
    assert_eq!(held(&server, "suspended") + held(&server, "asks"), 0);
}

#[test]
fn whoever_dies_the_others_hear_of_it() {
    let short = |port| config(port, "async_timeout=60\nworker_hang_timeout=0\n");
    let (server, port) = serve(short, &["-n", "3"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));

    // The owner stands still, the asker waits; then the owner dies.
    let call = park(&caller, &server, "plain");
    let (earlier, other) = stranger(&asker, &call);
    assert!(process::signal(call.owner, Signal::SIGSTOP));
    let asked = ask_like(&asker, &server, &earlier, &call);
    assert!(process::signal(call.owner, Signal::SIGKILL));
    let (code, pid) = said(&asker.finish(&asked, SECOND * 20).pop().unwrap());
    assert_eq!((code.as_str(), pid), ("-1", other));
    // Whoever sits there now does not know it.
    replaced(&server, call.owner);
    for _ in 0..10 {
        assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "-1");
    }

    // The asker dies while the owner stands still: what it asked for is done.
    let call = park(&caller, &server, "plain");
    let (earlier, other) = stranger(&asker, &call);
    assert!(process::signal(call.owner, Signal::SIGSTOP));
    let asked = ask_like(&asker, &server, &earlier, &call);
    // The one that stands still does not answer, and is waited for.
    let waits = |w: &Value| w["kind"] == "verdict" && w["call_id"] == *asked.call_id && w["function"] == "t_continue";
    assert!(server.ctl("waits", Value::Null).as_array().unwrap().iter().any(waits));
    assert!(process::signal(other, Signal::SIGKILL));
    assert!(process::signal(call.owner, Signal::SIGCONT));
    assert_eq!(refused(&caller, &call).status(), 486);
    replaced(&server, other);
    wait_quiet(&server, SECOND * 60);
    assert_eq!(held(&server, "suspended") + held(&server, "asks"), 0);
}

#[test]
fn an_owner_that_stands_still_costs_its_deadline_and_does_not_go_on_later() {
    let short = |port| config(port, "async_timeout=1\nworker_hang_timeout=0\n");
    let (server, port) = serve(short, &["-n", "3"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    let call = park(&caller, &server, "plain");
    let (earlier, _) = stranger(&asker, &call);
    assert!(process::signal(call.owner, Signal::SIGSTOP));
    let begin = Instant::now();
    let asked = ask_like(&asker, &server, &earlier, &call);
    let (code, _) = said(&asker.finish(&asked, SECOND * 20).pop().unwrap());
    assert_eq!(code, "-1");
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    assert!(process::signal(call.owner, Signal::SIGCONT));
    // It is still suspended: the question was too old.
    eventually("it answers again", SECOND * 10, || held(&server, "suspended") == 1);
    assert_eq!(go_on(&asker, &call.id, "GO_ON").0, "1");
    assert_eq!(refused(&caller, &call).status(), 486);
}

/// Waits until another process sits where this one did.
fn replaced(server: &Reprise, dead: i32) {
    eventually("it is replaced", SECOND * 10, || {
        let ps = server.ctl("ps", Value::Null);
        let running = |p: &&Value| p["kind"] == "worker" && p["state"] == "running" && p["pid"] != dead;
        ps.as_array().unwrap().iter().filter(running).count() == 3
    });
}

/// A request whose Call-ID belongs to another worker than the call, and that worker's process.
fn stranger(client: &SipClient, call: &Call) -> (Request, i32) {
    for _ in 0..200 {
        let probe = asking(client, "1:1", "GO_ON");
        let (code, pid) = said(&client.finish(&probe, SECOND * 20).pop().unwrap());
        assert_eq!(code, "-1");
        if pid != call.owner {
            return (probe, pid);
        }
    }
    panic!("every request came to the owner")
}

/// Asks to continue the call, in the worker of an earlier request; returns when it has asked.
fn ask_like(client: &SipClient, server: &Reprise, earlier: &Request, call: &Call) -> Request {
    let mut request = client.request("MESSAGE", "sip:server@example.test");
    request.call_id.clone_from(&earlier.call_id);
    request.cseq = earlier.cseq + 1;
    let request = request.header(&format!("X-Id: {}", call.id)).header("X-Route: GO_ON");
    let mark = server.log_mark();
    client.send_request(&request);
    server.wait_log_after(mark, &format!("asked {}", request.call_id), SECOND * 20);
    request
}

/// Whatever runs routes: a process of a task group with the run and without, a timer, the event of a queue.
fn by_others(port: u16) -> String {
    let more = r#"
loadmodule "mqueue.so"
loadmodule "rtimer.so"
loadmodule "async.so"
async_workers = 2
modparam("mqueue", "mqueue", "name=timed")
modparam("mqueue", "mqueue", "name=woken")
modparam("rtimer", "timer", "name=t;interval=20000u;mode=2;")
modparam("rtimer", "exec", "timer=t;route=TIMED")
"#;
    let text = config(port, more);
    let routes = r#"
route[BY_TASK] {
    t_continue("$(hdr(X-Id){s.select,0,:})", "$(hdr(X-Id){s.select,1,:})", "GO_ON");
    t_reply("202", "$rc $pp");
}
route[BY_DATA] {
    t_continue("$(async(data){s.select,0,:})", "$(async(data){s.select,1,:})", "GO_ON");
    xlog("L_NOTICE", "data gave $rc in $pp\n");
}
route[TIMED] {
    while (mq_fetch("timed")) {
        t_continue("$(mqk(timed){s.select,0,:})", "$(mqk(timed){s.select,1,:})", "GO_ON");
        xlog("L_NOTICE", "timer gave $rc in $pp\n");
    }
}
event_route[mqueue:woken] {
    while (mq_fetch("woken")) {
        t_continue("$(mqk(woken){s.select,0,:})", "$(mqk(woken){s.select,1,:})", "GO_ON");
        xlog("L_NOTICE", "event gave $rc in $pp\n");
    }
}
"#;
    let by = r#"
        if ($hdr(X-Route) == "task") async_task_route("BY_TASK");
        if ($hdr(X-Route) == "data") async_task_data("BY_DATA", "$hdr(X-Id)");
        if ($hdr(X-Route) == "timer") mq_add("timed", "$hdr(X-Id)", "");
        if ($hdr(X-Route) == "event") mq_add("woken", "$hdr(X-Id)", "");
        if ($hdr(X-Route) != "GO_ON") {
            sl_send_reply("202", "0 $pp");
            exit;
        }
        $var(route)"#;
    text.replacen("\n        $var(route)", by, 1) + routes
}

#[test]
fn task_groups_timers_and_events_continue_as_well() {
    let (server, port) = serve(by_others, &["-n", "2"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    let workers: Vec<i64> = server
        .ctl("ps", Value::Null)
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["kind"] == "worker")
        .filter_map(|p| p["pid"].as_i64())
        .collect();
    assert_eq!(workers.len(), 2);
    for _ in 0..5 {
        for how in ["task", "data", "timer", "event"] {
            let call = park(&caller, &server, "plain");
            let mark = server.log_mark();
            let (code, pid) = go_on(&asker, &call.id, how);
            let answer = refused(&caller, &call);
            assert_eq!((answer.status(), answer.reason()), (486, format!("{0} {0}", call.owner).as_str()), "{how}");
            if how == "task" {
                assert!(code == "1" && !workers.contains(&i64::from(pid)), "{code} in {pid}");
            } else {
                server.wait_log_after(mark, &format!("{how} gave 1 in"), SECOND * 10);
            }
        }
    }
    wait_quiet(&server, SECOND * 60);
    assert_eq!(held(&server, "suspended") + held(&server, "asks") + held(&server, "parked"), 0);
}

/// `t_reply_callid` and `t_cancel_callid` of a request that any worker owns.
#[test]
fn requests_are_answered_and_cancelled_by_their_call_id_from_any_worker() {
    let named = |port| {
        let by = r#"
        if ($hdr(X-Route) == "reply") {
            t_reply_callid("$hdr(X-Id)", "1", "480", "Gone");
            sl_send_reply("202", "$rc $pp");
            exit;
        }
        if ($hdr(X-Route) == "cancel") {
            t_cancel_callid("$hdr(X-Id)", "1");
            sl_send_reply("202", "$rc $pp");
            exit;
        }
        $var(route)"#;
        plain(port).replacen("\n        $var(route)", by, 1)
    };
    let (server, port) = serve(named, &["-n", "3"]);
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    let mut elsewhere = 0;
    for n in 0..20 {
        let call = park(&caller, &server, "plain");
        let (how, status) = if n % 2 == 0 { ("reply", 480) } else { ("cancel", 487) };
        let (code, pid) = go_on(&asker, &call.invite.call_id, how);
        assert_eq!(code, "1", "{how}");
        elsewhere += usize::from(pid != call.owner);
        assert_eq!(refused(&caller, &call).status(), status);
        assert_eq!(go_on(&asker, &call.invite.call_id, how).0, "-1", "it is answered");
        assert_eq!(go_on(&asker, "nobody", how).0, "-1");
    }
    assert!(elsewhere > 3, "{elsewhere} were asked for elsewhere");
    wait_quiet(&server, SECOND * 60);
    assert_eq!(held(&server, "suspended") + held(&server, "asks") + held(&server, "parked"), 0);
}
