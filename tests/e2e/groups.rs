//! Task groups: routes that run in processes of their own while their transactions stay where they are. The real
//! binary with real processes, a database, SIPp.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Footprint, SECOND, address, held, serve, wait_quiet};
use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::probe::{Probe, Stats};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient};
use crate::support::sipp::Sipp;
use crate::support::uas::Uas;
use crate::support::{eventually, free_port, process};

/// A configuration in Kamailio's language: OPTIONS to `probe` are answered at once, everything else is up to `script`.
pub fn config(port: u16, globals: &str, script: &str, routes: &str) -> String {
    let modules: String = [
        "sl", "tm", "tmx", "rr", "pv", "xlog", "textops", "siputils", "cfgutils", "exec", "async", "mqueue", "htable",
        "corex", "kex", "sqlops", "db_mysql",
    ]
    .iter()
    .filter(|m| !["cfgutils"].contains(m))
    .map(|m| format!("loadmodule \"{m}.so\"\n"))
    .collect();
    format!(
        r#"#!KAMAILIO
debug=2
log_stderror=yes
listen=udp:127.0.0.1:{port}
overload_age=0
max_while_loops=0
{globals}
{modules}
modparam("async", "ms_timer", 10)
modparam("sqlops", "sqlcon", "ca=>{}")
request_route {{
    if ($rU == "probe") {{
        sl_send_reply("200", "$pp");
        exit;
    }}
    if (is_method("ACK")) {{
        loose_route();
        t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        if (!t_relay()) sl_reply_error();
        exit;
    }}
{script}
}}
{routes}
"#,
        MariaDb::shared().url()
    )
}

fn start(globals: &str, script: &str, routes: &str, workers: &str) -> (Reprise, u16) {
    let port = free_port();
    (Reprise::start(&config(port, globals, script, routes), &["-n", workers]), port)
}

/// Process ids of the SIP workers.
fn workers(server: &Reprise) -> Vec<i32> {
    pids(server, |p| p["kind"] == "worker")
}

/// Process ids of a task group.
pub fn tasks(server: &Reprise, group: &str) -> Vec<i32> {
    pids(server, |p| p["kind"] == "task" && p["group"] == group)
}

fn pids(server: &Reprise, wanted: impl Fn(&Value) -> bool) -> Vec<i32> {
    let ps = server.ctl("ps", Value::Null);
    let rows = ps.as_array().unwrap().iter().filter(|p| wanted(p) && p["state"] == "running");
    rows.filter_map(|p| p["pid"].as_i64().and_then(|n| i32::try_from(n).ok())).collect()
}

/// What `waits` shows of a kind.
fn waits(server: &Reprise, kind: &str) -> Vec<Value> {
    let all = server.ctl("waits", Value::Null);
    all.as_array().unwrap().iter().filter(|w| w["kind"] == kind).cloned().collect()
}

fn wait_for(server: &Reprise, kind: &str, count: usize) {
    eventually(&format!("{count} waits of kind {kind}"), SECOND * 20, || waits(server, kind).len() == count);
}

fn ask(client: &SipClient, user: &str) -> (u16, String) {
    let answer = client.ask(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
    (answer.status(), answer.reason().to_owned())
}

/// Nothing of anybody's is away or waits.
fn assert_idle(server: &Reprise) {
    eventually("nothing waits", SECOND * 20, || {
        held(server, "away") == 0
            && held(server, "parked") == 0
            && server.ctl("waits", Value::Null).as_array().unwrap().is_empty()
    });
}

const TWO: &str = "async_workers=1\nasync_workers_group=\"name=abc;workers=2;nonblock=0;usleep=0\"\n";

#[test]
fn a_route_runs_in_a_process_of_its_group_and_answers_from_there() {
    let script = r#"
    $var(x) = 5;
    $avp(x) = $rU;
    append_to_reply("X-Early: $pp\r\n");
    setflag(3);
    switch ($rU) {
        case "default": async_task_route("ANSWER");
        case "abc": async_task_group_route("ANSWER", "abc");
        case "second": async_task_route("ANSWER", "abc");
        case "computed":
            $var(r) = "ANSWER";
            $var(g) = "abc";
            async_task_group_route("$var(r)", "$var(g)");
        case "nogroup":
            $var(g) = "nobody";
            if (!async_task_group_route("ANSWER", "$var(g)")) t_reply("480", "no such group");
            exit;
        case "noroute":
            $var(r) = "NOBODY";
            if (!async_task_route("$var(r)")) t_reply("480", "no such route");
            exit;
        case "silent": async_task_route("SILENT");
    }
    sl_send_reply("500", "not reached");
"#;
    let routes = r#"
route[ANSWER] {
    route(DEEPER);
    if (isflagset(3)) $avp(x) = $avp(x) + " flagged";
    t_reply("200", "$pp $avp(x) $var(x) $rc");
}
route[DEEPER] {
    append_to_reply("X-Late: $pp\r\n");
}
route[SILENT] {
    xlog("L_INFO", "silent in $pp\n");
}
"#;
    let (server, port) = start(TWO, script, routes, "2");
    let client = SipClient::new(port);
    let (default, abc, sip) = (tasks(&server, "default"), tasks(&server, "abc"), workers(&server));
    assert_eq!((default.len(), abc.len(), sip.len()), (1, 2, 2));
    for (user, group) in [("default", &default), ("abc", &abc), ("second", &abc), ("computed", &abc)] {
        let mut seen = Vec::new();
        for _ in 0..8 {
            let answer = client.ask(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
            let words: Vec<&str> = answer.reason().split(' ').collect();
            assert_eq!((answer.status(), &words[1..]), (200, &[user, "flagged", "0", "1"][..]), "{}", answer.raw);
            let pid: i32 = words[0].parse().unwrap();
            assert!(group.contains(&pid) && !sip.contains(&pid), "{pid} is none of {group:?}");
            let of = |name: &str| answer.header(name).and_then(|v| v.parse::<i32>().ok()).unwrap();
            assert!(sip.contains(&of("X-Early")) && of("X-Late") == pid, "{}", answer.raw);
            seen.push(pid);
        }
        assert!(group.iter().all(|pid| seen.contains(pid)), "{user}: each process has its share: {seen:?}");
    }
    assert_eq!(ask(&client, "nogroup"), (480, "no such group".into()));
    assert_eq!(ask(&client, "noroute"), (480, "no such route".into()));
    assert_eq!(ask(&client, "silent").0, 500);
    server.wait_log(&format!("silent in {}$", default[0]), SECOND * 5);
    // Their titles, and what the log calls them.
    assert_eq!(client.options("sip:probe@example.test").status(), 200);
    assert_idle(&server);
}

#[test]
fn retransmissions_and_cancel_are_the_owners_business_while_a_run_is_away() {
    let script = r#"
    if ($rU == "chain") async_task_group_route("FIRST", "abc");
    async_task_group_route("LATER", "abc");
"#;
    let routes = r#"
route[LATER] {
    exec_cmd("sleep 2");
    xlog("L_INFO", "went on with $rU\n");
    t_reply("486", "Busy");
}
route[FIRST] {
    $avp(first) = $pp;
    async_task_group_route("SECOND", "default");
}
route[SECOND] {
    t_reply("200", "$avp(first) $pp");
}
"#;
    let (server, port) = start(TWO, script, routes, "2");
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    client.send_request(&invite);
    client.expect_status(100, SECOND * 5);
    wait_for(&server, "task", 1);
    let wait = &waits(&server, "task")[0];
    assert_eq!((&wait["backend"], &wait["phase"]), (&Value::from("abc"), &Value::from("wait")), "{wait:#}");
    assert_eq!(wait["call_id"], invite.call_id, "{wait:#}");
    assert!(wait["age_ms"].as_u64().is_some_and(|ms| ms < 20_000), "{wait:#}");
    assert_eq!(wait["function"], "async_task_group_route", "{wait:#}");
    // What it waits for there is shown as well.
    wait_for(&server, "exec", 1);
    // A retransmission gets the last reply again, and no second run.
    client.send_request(&invite);
    client.expect_status(100, SECOND * 5);
    client.send_request(&invite);
    client.expect_status(100, SECOND * 5);
    assert_eq!(waits(&server, "task").len(), 1);
    let busy = client.expect_status(486, SECOND * 20);
    client.send_request(&invite.ack(&busy));
    server.wait_log("went on with bob$", SECOND);
    // CANCEL: 200 and 487 at once, and the run is dropped.
    let invite = client.invite("sip:carol@example.test");
    client.send_request(&invite);
    client.expect_status(100, SECOND * 5);
    wait_for(&server, "exec", 1);
    client.send_request(&invite.cancel());
    client.expect("the 200 to the CANCEL", SECOND * 5, |m| m.status() == 200 && m.cseq().1 == "CANCEL");
    let refused = client.expect("the 487", SECOND * 5, |m| m.status() == 487 && m.cseq().1 == "INVITE");
    client.send_request(&invite.ack(&refused));
    assert_idle(&server);
    assert_eq!(server.log_count("went on with carol"), 0);
    // From one group to the next.
    let answer = client.ask(&client.request("MESSAGE", "sip:chain@example.test"));
    let pids: Vec<i32> = answer.reason().split(' ').map(|p| p.parse().unwrap()).collect();
    assert!(tasks(&server, "abc").contains(&pids[0]) && tasks(&server, "default") == pids[1..], "{}", answer.raw);
    assert_idle(&server);
}

#[test]
fn what_a_route_of_a_group_may_wait_for_and_want() {
    let script = r#"
    $avp(from) = $fU;
    async_task_route("ALL");
"#;
    let routes = r#"
route[ALL] {
    sql_query("ca", "SELECT credit FROM users WHERE uid='$fU'", "ra");
    $avp(credit) = $dbr(ra=>[0,0]);
    sql_result_free("ra");
    exec_avp("echo $rU", "$avp(out)");
    http_client_query("NGINX/now", "$var(now)");
    $avp(out) = $avp(out) + $var(now);
    async_ms_sleep(50);
    $sht(t=>$ci) = "shared";
    sht_lock("t=>$ci");
    sht_unlock("t=>$ci");
    mq_add("q", "$ci", "$rU");
    if ($T(id_index) == $null) xlog("L_ERR", "no transaction\n");
    if (t_newtran()) xlog("L_ERR", "a second transaction\n");
    if (!sl_send_reply("200", "$avp(credit) $avp(out) $sht(t=>$ci) $pp")) t_reply("500", "sl");
    if (t_reply("500", "again")) xlog("L_ERR", "answered twice\n");
}
event_route[mqueue:q] {
    while (mq_fetch("q")) xlog("L_INFO", "fetched $mqv(q) in $pp\n");
}
"#;
    let globals = "async_workers=2\n";
    let (server, port) = start(
        globals,
        script,
        &format!(
            "loadmodule \"http_client.so\"\nmodparam(\"mqueue\", \"mqueue\", \"name=q\")\nmodparam(\"htable\", \"htable\", \"t=>size=4\")\n{}",
            routes.replace("NGINX", &Nginx::shared().url(""))
        ),
        "2",
    );
    let client = SipClient::new(port);
    let groups = tasks(&server, "default");
    for _ in 0..4 {
        let (status, reason) = ask(&client, "bob");
        let words: Vec<&str> = reason.split(' ').collect();
        assert_eq!((status, &words[..3]), (200, &["100", "bobnow", "shared"][..]), "{reason}");
        assert!(groups.contains(&words[3].parse().unwrap()), "{reason}");
    }
    let line = server.wait_log(r"fetched bob in \d+$", SECOND * 5);
    let pid: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(workers(&server).contains(&pid), "queues are consumed by SIP workers: {line}");
    assert_eq!(server.log_count("a second transaction|no transaction|answered twice"), 0, "{}", server.log());
    assert_idle(&server);
}

#[test]
fn tasks_with_data_and_key_value_tasks() {
    let script = r#"
    switch ($rU) {
        case "data": async_task_data("NOTE", "caller: $fU - callee: $tU"); break;
        case "group": async_task_group_data("NOTE", "abc", "to a group"); break;
        case "tkv": async_tkv_emit("8000", "call", "caller='$fU'"); break;
        case "long":
            $var(v) = "0123456789abcdef";
            while ($(var(v){s.len}) < 1025) $var(v) = $var(v) + $var(v);
            if (async_tkv_emit("8000", "call", "$var(v)")) sl_send_reply("500", "too long and taken");
            break;
        case "chain": async_task_data("CHAIN", "x"); break;
    }
    sl_send_reply("200", "$rc");
"#;
    let routes = r#"
route[NOTE] {
    xlog("L_INFO", "$rm [$async(data)] [$async(gname)] in $pp\n");
    exit;
}
event_route[core:tkv] {
    xlog("L_INFO", "$atkv(type) / $atkv(key) / $atkv(val) in $pp\n");
    exit;
}
route[CHAIN] {
    $var(a) = async_task_route("NOTE");
    $var(b) = async_sleep("1");
    $var(c) = t_suspend();
    exec_avp("echo waited", "$avp(out)");
    sht_lock("t=>x");
    $sht(t=>x) = $sht(t=>x) + 1;
    sht_unlock("t=>x");
    xlog("L_INFO", "chained $var(a) $var(b) $var(c) $avp(out) $sht(t=>x) in $pp\n");
    async_task_group_data("NOTE", "abc", "from the other group");
}
"#;
    let globals = format!("{TWO}async_tkv_gname=\"abc\"\nasync_tkv_evcb=\"core:tkv\"\n");
    let routes = format!("modparam(\"htable\", \"htable\", \"t=>size=4\")\n{routes}");
    let (server, port) = start(&globals, script, &routes, "2");
    let client = SipClient::new(port);
    let (default, abc) = (tasks(&server, "default"), tasks(&server, "abc"));
    let pid = |line: &str| line.rsplit(' ').next().unwrap().parse::<i32>().unwrap();
    assert_eq!(ask(&client, "data"), (200, "1".into()));
    let line = server.wait_log(r"OPTIONS \[caller: alice - callee: data\] \[default\] in \d+$", SECOND * 10);
    assert_eq!(pid(&line), default[0]);
    assert_eq!(ask(&client, "group"), (200, "1".into()));
    let line = server.wait_log(r"\[to a group\] \[abc\] in \d+$", SECOND * 10);
    assert!(abc.contains(&pid(&line)));
    assert_eq!(ask(&client, "tkv"), (200, "1".into()));
    let line = server.wait_log(r"8000 / call / caller='alice' in \d+$", SECOND * 10);
    assert!(abc.contains(&pid(&line)));
    assert_eq!(ask(&client, "long").0, 200);
    assert_eq!(ask(&client, "chain"), (200, "1".into()));
    server.wait_log(r"chained -1 -1 -1 waited 1 in \d+$", SECOND * 10);
    let line = server.wait_log(r"\[from the other group\] \[abc\] in \d+$", SECOND * 10);
    assert!(abc.contains(&pid(&line)));
    assert_idle(&server);
}

/// What OPTIONS through the SIP workers notice while `users` are served.
fn measured(server: &Reprise, port: u16, user: &str, count: usize) -> (Stats, Vec<u16>) {
    let client = SipClient::new(port);
    let requests: Vec<Request> =
        (0..count).map(|_| client.request("MESSAGE", &format!("sip:{user}@example.test"))).collect();
    let probe = Probe::start(address(port), 100);
    std::thread::sleep(SECOND / 5);
    requests.iter().for_each(|r| client.send_request(r));
    let statuses =
        requests.iter().map(|_| client.expect("an answer", SECOND * 60, |m| m.status() >= 200).status()).collect();
    let stats = probe.stop();
    eprintln!("{user}: {stats:?}\n{}", server.ctl("stats", serde_json::json!(["core:script_yields"])));
    (stats, statuses)
}

#[test]
fn a_route_that_burns_the_processor_or_blocks_delays_nobody_else() {
    let script = r#"
    switch ($rU) {
        case "burn": async_task_route("BURN");
        case "block": async_task_route("BLOCK");
        case "here": route(BLOCK);
    }
    exit;
"#;
    let routes = r#"
route[BURN] {
    $var(i) = 0;
    while ($var(i) < 1000000) $var(i) = $var(i) + 1;
    t_reply("200", "$var(i)");
}
route[BLOCK] {
    exec_cmd("sleep 1");
    t_reply("200", "blocked in $pp");
}
"#;
    let (server, port) = start("async_workers=2\nscript_io=block\n", script, routes, "1");
    // Four loops of millions of instructions, on two processes that share the machine with the worker.
    let (burnt, statuses) = measured(&server, port, "burn", 4);
    assert_eq!(statuses, [200; 4]);
    assert_eq!((burnt.lost, burnt.refused), (0, 0), "{burnt:?}");
    assert!(burnt.p50 < SECOND / 5, "{burnt:?}");
    // Each stands still for a second, four times in two processes.
    let (blocked, statuses) = measured(&server, port, "block", 4);
    assert_eq!(statuses, [200; 4]);
    assert_eq!((blocked.lost, blocked.refused), (0, 0), "{blocked:?}");
    // The same in the worker itself: everybody waits for it.
    let (here, statuses) = measured(&server, port, "here", 2);
    assert_eq!(statuses, [200; 2]);
    assert!(here.p50 > blocked.p50 * 4, "in a group {blocked:?}, in the worker {here:?}");
}

#[test]
fn calls_that_a_group_relays() {
    let uas = Sipp::uas("uas-invite", &[]);
    let script = r#"
    record_route();
    async_task_route("OUT");
"#;
    let routes = format!(
        r#"
route[OUT] {{
    $du = "sip:{}";
    t_on_branch("B");
    t_on_reply("R");
    t_on_failure("F");
    if (!t_relay()) sl_reply_error();
    exit;
}}
branch_route[B] {{ append_hf("X-Branch: $pp\r\n"); }}
onreply_route[R] {{ $avp(replies) = $avp(replies) + 1; }}
failure_route[F] {{ exit; }}
"#,
        uas.addr
    );
    let (server, port) = start("async_workers=2\n", script, &routes, "2");
    let warm = Sipp::uac("uac-invite", address(port), 50, 50, &[]).wait(SECOND * 60);
    warm.assert_all(50);
    wait_quiet(&server, SECOND * 60);
    let before = Footprint::of(&server);
    let rss = server.rss();
    let calls = Sipp::uac("uac-invite", address(port), 1000, 60, &[]).wait(SECOND * 120);
    calls.assert_all(1000);
    let answered = uas.stop();
    assert_eq!((answered.succeeded, answered.failed), (1050, 0), "{answered:?}");
    wait_quiet(&server, SECOND * 60);
    assert_idle(&server);
    before.wait_back(&server, SECOND * 20);
    let now = server.rss();
    assert!(now < rss + 30_000, "{rss} KiB before, {now} KiB after 1000 calls");
}

#[test]
fn the_death_of_a_groups_process_costs_its_runs_a_500_and_nobody_else_anything() {
    let uas = Sipp::uas("uas-invite", &[]);
    let script = r#"
    record_route();
    if ($rU == "a") async_task_group_route("OUT", "a");
    if ($rU == "b") async_task_group_route("OUT", "b");
    route(OUT);
"#;
    let routes = format!(
        "route[OUT] {{\n    $du = \"sip:{}\";\n    async_ms_sleep(300);\n    if (!t_relay()) sl_reply_error();\n    exit;\n}}\n",
        uas.addr
    );
    let globals = "async_workers_group=\"name=a;workers=1\"\nasync_workers_group=\"name=b;workers=1\"\n";
    let (server, port) = start(globals, script, &routes, "2");
    let before = tasks(&server, "a");
    let fds: Vec<usize> = workers(&server).into_iter().map(|p| server.fd_count(p)).collect();
    let load: Vec<Sipp> =
        ["a", "b", "c"].iter().map(|user| Sipp::uac("uac-invite", address(port), 300, 20, &["-s", user])).collect();
    eventually("calls are away", SECOND * 20, || {
        waits(&server, "task").iter().filter(|w| w["backend"] == "a").count() > 5
    });
    assert!(process::signal(before[0], Signal::SIGKILL));
    eventually("the process is replaced", SECOND * 10, || {
        let now = tasks(&server, "a");
        now.len() == 1 && now != before
    });
    let mut load = load.into_iter().map(|sipp| sipp.wait(SECOND * 120));
    let (a, b, c) = (load.next().unwrap(), load.next().unwrap(), load.next().unwrap());
    b.assert_all(300);
    c.assert_all(300);
    // Those that it had, told by the log, were answered 500; those before and after were served.
    let lost: u64 = server
        .log()
        .lines()
        .filter_map(|l| l.split_once("has died with ")?.1.split(' ').next()?.parse::<u64>().ok())
        .sum();
    assert!(lost > 0 && a.failed == lost && a.succeeded == 300 - lost, "{lost} runs were lost: {a:?}");
    assert!(server.log_count("task worker .*group a.*was killed by SIGKILL; what it ran is answered 500") == 1);
    drop(uas);
    assert_idle(&server);
    assert_eq!(workers(&server).into_iter().map(|p| server.fd_count(p)).collect::<Vec<_>>(), fds);
}

#[test]
fn the_death_of_a_worker_ends_its_runs_in_the_groups() {
    let script = "    async_task_route(\"LATER\");\n";
    let routes = "route[LATER] {\n    exec_cmd(\"sleep 60\");\n    t_reply(\"200\", \"OK\");\n}\n";
    let (server, port) = start("async_workers=1\n", script, routes, "2");
    let client = SipClient::new(port);
    for _ in 0..12 {
        client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
    }
    wait_for(&server, "exec", 12);
    let gone = workers(&server)[0];
    let theirs = waits(&server, "task").iter().filter(|w| w["id"].as_str().unwrap().starts_with("0.")).count();
    assert!((1..12).contains(&theirs), "both workers own some: {theirs}");
    assert!(process::signal(gone, Signal::SIGKILL));
    // A command that may change something comes to its end; nobody waits for it any more.
    wait_for(&server, "exec", 12 - theirs);
    wait_for(&server, "task", 12 - theirs);
    eventually("the worker is replaced", SECOND * 10, || workers(&server).len() == 2);
    assert_eq!(client.options("sip:probe@example.test").status(), 200);
}

#[test]
fn a_group_with_a_pause_and_one_that_does_not_wait() {
    let globals = "async_workers_group=\"name=slow;workers=1;usleep=100000\"\n\
                   async_workers_group=\"name=full;workers=1;nonblock=1\"\nbus_size=4096\nscript_io=block\n";
    let script = r#"
    if ($rU == "slow") async_task_group_route("ANSWER", "slow");
    if (!async_task_group_route("STALL", "full")) sl_send_reply("503", "Full");
    exit;
"#;
    let routes = r#"
route[ANSWER] { t_reply("200", "OK"); }
route[STALL] {
    exec_cmd("sleep 2");
    t_reply("200", "OK");
}
"#;
    let (_server, port) = start(globals, script, routes, "1");
    let client = SipClient::new(port);
    let begin = std::time::Instant::now();
    for _ in 0..6 {
        client.send_request(&client.request("MESSAGE", "sip:slow@example.test"));
    }
    for _ in 0..6 {
        client.expect_status(200, SECOND * 20);
    }
    assert!(begin.elapsed() >= Duration::from_millis(450), "five pauses of 100 ms: {:?}", begin.elapsed());
    // Its process stands still, and so little finds room on its way that the others hear of it.
    for _ in 0..12 {
        client.send_request(&client.request("MESSAGE", "sip:full@example.test"));
    }
    let refused = client.expect("a refusal", SECOND * 20, |m| m.status() >= 200);
    assert_eq!(refused.status(), 503, "{}", refused.raw);
}

#[test]
fn without_a_group_it_is_no_configuration() {
    let port = free_port();
    let text = config(port, "", "    async_task_route(\"LATER\");\n", "route[LATER] { exit; }\n");
    let failed = Reprise::try_start(&text, &["-n", "1"]).map(drop).unwrap_err();
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("`async_task_route` needs a task group"), "{}", failed.stderr);
    assert!(failed.stderr.contains("add `async_workers=1`"), "{}", failed.stderr);
    let text = config(
        port,
        "async_workers=1\n",
        "    async_task_group_route(\"LATER\", \"nobody\");\n",
        "route[LATER] { exit; }\n",
    );
    let failed = Reprise::try_start(&text, &["-n", "1"]).map(drop).unwrap_err();
    assert!(failed.stderr.contains("there is no task group `nobody`"), "{}", failed.stderr);
}

/// Calls that are answered by hand while their runs are away.
#[test]
fn a_call_whose_callee_refuses_goes_on_in_its_failure_route() {
    let callee = Uas::rejecting(486, "Busy Here");
    let script = "    async_task_route(\"OUT\");\n";
    let routes = format!(
        r#"
route[OUT] {{
    $du = "sip:{}";
    t_on_failure("F");
    t_relay();
}}
failure_route[F] {{
    $avp(owner) = $pp;
    async_task_route("AGAIN");
}}
route[AGAIN] {{
    t_reply("480", "$avp(owner) $pp $T_reply_code");
}}
"#,
        callee.addr
    );
    let (server, port) = start("async_workers=1\n", script, &routes, "1");
    let client = SipClient::new(port);
    let invite = client.invite("sip:bob@example.test");
    client.send_request(&invite);
    let answer = client.expect("a final answer", SECOND * 10, |m| m.status() >= 200);
    client.send_request(&invite.ack(&answer));
    let words: Vec<i32> = answer.reason().split(' ').map(|w| w.parse().unwrap()).collect();
    assert_eq!((answer.status(), &words[..]), (480, &[workers(&server)[0], tasks(&server, "default")[0], 486][..]));
    assert_idle(&server);
}

#[test]
fn a_script_that_goes_on_beside_its_continuation_in_a_group() {
    let script = r#"
    switch ($rU) {
        case "task":
            $var(rc) = async_task_route("LATER");
            exec_cmd("sleep 0.3");
            $avp(x) = "after " + $var(rc);
            break;
        case "back":
            async_task_route("STEP");
            break;
        case "answered":
            async_task_route("LATER");
            t_reply("486", "at once");
            break;
    }
"#;
    let routes = r#"
modparam("async", "return", 1)
route[LATER] {
    t_reply("200", "$pp $avp(x)");
}
route[STEP] {
    $avp(step) = $pp;
    async_ms_route("LAST", "100");
    $avp(x) = "behind it";
}
route[LAST] {
    t_reply("200", "$avp(step) $pp $avp(x)");
}
"#;
    let (server, port) = start("async_workers=1\n", script, routes, "1");
    let client = SipClient::new(port);
    let (task, worker) = (tasks(&server, "default")[0], workers(&server)[0]);
    assert_eq!(ask(&client, "task"), (200, format!("{task} after 1")));
    assert_eq!(ask(&client, "back"), (200, format!("{task} {worker} behind it")));
    assert_eq!(ask(&client, "answered"), (486, "at once".into()));
    assert_idle(&server);
    assert_eq!(held(&server, "away"), 0);
}

#[test]
fn what_a_group_waits_for_is_listed_and_can_be_ended() {
    let script = "    async_task_route(\"LATER\");\n";
    let routes = "route[LATER] {\n    if (exec_cmd(\"sleep 60\")) t_reply(\"200\", \"OK\");\n    else t_reply(\"500\", \"ended\");\n}\n";
    let (server, port) = start("async_workers=1\n", script, routes, "1");
    let client = SipClient::new(port);
    client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
    wait_for(&server, "exec", 1);
    let wait = &waits(&server, "exec")[0];
    assert_eq!(
        (&wait["function"], &wait["route"]),
        (&Value::from("exec_cmd"), &Value::from("route[LATER]")),
        "{wait:#}"
    );
    let id = wait["id"].as_str().unwrap();
    assert!(id.starts_with("1."), "the task worker's seat is behind the worker's: {id}");
    server.ctl("kill-wait", serde_json::json!([id]));
    assert_eq!(client.expect("an answer", SECOND * 10, |m| m.status() >= 200).reason(), "ended");
    assert_idle(&server);
}

#[test]
fn tasks_are_given_away_in_every_kind_of_route() {
    let callee = Uas::rejecting(486, "Busy Here");
    let script = r#"
    async_task_data("NOTE", "request");
    t_on_branch("B");
    t_on_reply("R");
    t_on_failure("F");
    t_relay();
"#;
    let routes = r#"
loadmodule "rtimer.so"
modparam("rtimer", "timer", "name=t;interval=100000u;mode=1")
modparam("rtimer", "exec", "timer=t;route=TIMER")
event_route[core:worker-one-init] { async_task_data("NOTE", "startup"); }
event_route[mqueue:q] {
    while (mq_fetch("q")) async_task_data("NOTE", "event");
}
modparam("mqueue", "mqueue", "name=q")
route[TIMER] {
    if ($shv(ticks) < 3) async_task_data("NOTE", "timer");
    $shv(ticks) = $shv(ticks) + 1;
}
branch_route[B] {
    async_task_data("NOTE", "branch");
}
onreply_route[R] { async_task_data("NOTE", "reply"); }
reply_route { async_task_data("NOTE", "any reply"); }
onsend_route { async_task_data("NOTE", "onsend"); }
failure_route[F] {
    async_task_data("NOTE", "failure");
    mq_add("q", "a", "b");
}
route[NOTE] { xlog("L_INFO", "given away: $async(data) to $pp\n"); }
"#;
    let script = script.replace("t_relay();", &format!("$du = \"sip:{}\";\n    t_relay();", callee.addr));
    let (server, port) = start("async_workers=1\n", &script, routes, "1");
    let client = SipClient::new(port);
    assert_eq!(ask(&client, "bob").0, 486);
    let task = tasks(&server, "default")[0];
    for kind in ["startup", "request", "branch", "onsend", "any reply", "reply", "failure", "event", "timer"] {
        server.wait_log(&format!("given away: {kind} to {task}$"), SECOND * 10);
    }
    assert_idle(&server);
}

#[test]
fn an_orderly_end_waits_for_what_is_in_a_group() {
    let script = "    async_task_route(\"LATER\");\n";
    let routes = "route[LATER] {\n    exec_cmd(\"sleep $rU\");\n    t_reply(\"200\", \"OK\");\n}\n";
    let (mut server, port) = start("async_workers=2\ndrain_timeout=3\n", script, routes, "2");
    let client = SipClient::new(port);
    client.send_request(&client.request("MESSAGE", "sip:1@example.test"));
    client.send_request(&client.request("MESSAGE", "sip:60@example.test"));
    wait_for(&server, "exec", 2);
    let tree = server.tree();
    server.signal(Signal::SIGTERM);
    // One ends in time, the other is given up.
    assert_eq!(client.expect("an answer", SECOND * 10, |m| m.status() >= 200).status(), 200);
    assert_eq!(client.expect("an answer", SECOND * 10, |m| m.status() >= 200).status(), 500);
    assert_eq!(server.wait_exit(SECOND * 20), 0);
    eventually("nothing is left behind", SECOND * 10, || tree.iter().all(|pid| !process::alive(*pid)));
}

/// `mode=1`: the module without transactions, for tasks with data alone.
#[test]
fn data_tasks_need_no_transactions() {
    let config = |port: u16, mode: &str| {
        format!(
            r#"#!KAMAILIO
debug=2
listen=udp:127.0.0.1:{port}
async_workers=1
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "async.so"
{mode}
request_route {{
    async_task_data("NOTE", "about $rU");
    sl_send_reply("200", "$rc");
}}
route[NOTE] {{ xlog("L_ERR", "noted: $async(data) in $async(gname)\n"); }}
"#
        )
    };
    let (server, port) = serve(|port| config(port, r#"modparam("async", "mode", 1)"#), &["-n", "2"]);
    let client = SipClient::new(port);
    for n in 0..5 {
        assert_eq!(client.options(&format!("sip:u{n}@example.test")).reason(), "1");
    }
    for n in 0..5 {
        server.wait_log(&format!("noted: about u{n} in default"), SECOND * 10);
    }
    let dir = crate::support::process::directory("async-mode");
    let file = dir.path().join("async.cfg");
    std::fs::write(&file, config(5060, "")).unwrap();
    let out = crate::support::reprise::run(&["-c", "-f", &file.display().to_string()], SECOND * 30);
    assert!(out.code == 1 && out.stderr.contains("module `async` needs module `tm`"), "{}", out.stderr);
}
