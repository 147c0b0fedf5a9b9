//! The main job: every call waits for a database, a web service and a command before it is
//! relayed, and no worker stalls.

use crate::common::{SECOND, address, held, proxy, serve, stat, wait_quiet};
use crate::support::exclusive;
use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::process;
use crate::support::sipp::Sipp;

const CALLS: u64 = 1000;

/// 1000 calls at 100 per second, each with a query of 100 ms, a web request of 100 ms and a child
/// process: about 30 waits are in flight at any time, whatever the number of workers.
fn main_job(workers: &str) {
    let _alone = exclusive();
    let db = MariaDb::shared();
    let web = Nginx::shared();
    let uas = Sipp::uas("uas-invite", &[]);
    let relay = format!(
        r#"
    async(sql_query("SELECT credit, SLEEP(0.1) FROM users WHERE uid='$(fU{{s.escape.common}})'", "$avp(credit);$avp(nothing)"), got_credit);
    xlog("not reached\n");
}}
route[got_credit] {{
    if ($rc < 0 || $avp(credit) != 100) {{
        xlog("credit: $rc $avp(credit) $async_err $async_phase\n");
        t_reply(500, "No credit");
        exit;
    }}
    async(rest_get("{}", $avp(body), , $avp(code)), got_page);
}}
route[got_page] {{
    if ($rc < 0 || $avp(code) != 200 || $avp(body) != "slow") {{
        xlog("page: $rc $avp(code) $async_err $async_phase\n");
        t_reply(500, "No page");
        exit;
    }}
    async(exec("echo ran $avp(credit)", , $avp(said)), ran);
}}
route[ran] {{
    if ($rc < 0 || $avp(said) != "ran 100") {{
        xlog("command: $rc $avp(said) $async_err $async_phase\n");
        t_reply(500, "No command");
        exit;
    }}
    $du = "sip:{}";
    route(out);
"#,
        web.url("/slow"),
        uas.addr
    );
    let globals = String::new();
    let settings = format!("modparam(\"sqlops\", \"db_url\", \"{}\")\n", db.url());
    let (server, port) = serve(|port| proxy(port, &globals, &relay, "") + &settings, &["-n", workers]);
    let calls = Sipp::uac("uac-invite", address(port), CALLS, 100, &[]).wait_or_end(SECOND * 90);
    let ask = |method| server.ctl(method, serde_json::Value::Null);
    let (stats, held_now, waits) = (ask("stats"), ask("transactions"), ask("waits"));
    let answered = uas.stop();
    let cpu: u64 = server.worker_pids().into_iter().map(process::cpu_ns).sum();
    println!(
        "{workers} workers: {} calls/s, {} retransmissions, {} us of CPU per call",
        calls.rate,
        calls.retransmissions,
        cpu / 1000 / CALLS
    );
    let ok = (calls.succeeded, calls.failed, answered.succeeded, answered.failed) == (CALLS, 0, CALLS, 0);
    assert!(ok, "caller: {calls:#?}\ncallee: {answered:#?}\n{stats:#}\n{held_now}\n{waits}");
    assert_eq!(stat(&server, "async:started"), 3 * CALLS);
    assert_eq!(stat(&server, "async:done"), 3 * CALLS);
    for worker in server.worker_pids() {
        assert_eq!(server.threads(worker), 1);
        assert!(process::children(worker).is_empty(), "no child is left");
    }
    assert_eq!((held(&server, "parked"), held(&server, "operations")), (0, 0));
    wait_quiet(&server, SECOND * 60);
}

#[test]
fn calls_wait_for_everything_with_two_workers() {
    main_job("2");
}

#[test]
fn calls_wait_for_everything_with_one_worker() {
    main_job("1");
}
