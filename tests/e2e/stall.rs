//! While a backend drops packets, everybody else is served as before: OPTIONS through the same
//! single worker, measured without and with the fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::{SECOND, address, held, listening, serve};
use crate::support::mariadb::MariaDb;
use crate::support::mocks::BlackHole;
use crate::support::netns::NetNs;
use crate::support::nginx::Nginx;
use crate::support::probe::{Stats, measure_options};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, exclusive};

/// Below this a p99 says more about the machine than about the server.
const FLOOR: Duration = Duration::from_millis(5);
/// Of one measurement: 600 OPTIONS.
const RUN: Duration = Duration::from_secs(6);

/// Sends MESSAGE 50 times a second until dropped; who answers what is of no interest.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(port: u16, user: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, user) = (Arc::clone(&stop), user.to_owned());
        let thread = std::thread::spawn(move || {
            let client = SipClient::new(port);
            while !seen.load(Ordering::Relaxed) {
                client.send_request(&client.request("MESSAGE", &format!("sip:{user}@example.test")));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Load { stop, thread: Some(thread) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server with one worker: a MESSAGE to `good` waits for `good`, one to `bad` for `bad` (each a
/// function that may wait).
fn server(good: &str, bad: &str, settings: &str) -> (Reprise, u16) {
    let route = format!(
        r#"
backend_max_failures = 0
{settings}
route {{
    if (is_method("OPTIONS")) {{
        sl_send_reply(200, "OK");
        exit;
    }}
    if ($rU == "bad")
        async({bad}, done);
    async({good}, done);
}}
route[done] {{
    if ($rc < 0)
        t_reply(503, "Failed");
    else
        t_reply(200, "OK");
}}
"#
    );
    serve(|port| listening(port, "", &route), &["-n", "1"])
}

fn measure(server: &Reprise, port: u16, user: &str) -> Stats {
    let load = Load::start(port, user);
    // The first requests find the pools empty; that is no matter of the fault.
    std::thread::sleep(SECOND);
    let stats = measure_options(address(port), 100, RUN);
    if user == "bad" {
        let waits = server.ctl("waits", Value::Null);
        assert!(waits.as_array().is_some_and(|w| w.len() >= 5), "nothing waits for the bad backend: {waits:#}");
    }
    drop(load);
    stats
}

/// The fault's run must be like the one without: none lost, p99 at most three times as long. What
/// else runs on this machine disturbs single runs; a stall would show in every one.
fn compare(what: &str, server: &Reprise, port: u16) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let without = measure(server, port, "good");
        let with = measure(server, port, "bad");
        println!("{what}: without {without:?}\n{what}: with    {with:?}");
        assert_eq!((without.lost, without.refused), (0, 0), "{what}: {without:?}");
        assert_eq!((with.lost, with.refused), (0, 0), "{what}: {with:?}");
        if with.p99 <= (without.p99 * 3).max(FLOOR) {
            return;
        }
        seen.push((without, with));
    }
    panic!("{what}: p99 is more than three times that without the fault: {seen:#?}");
}

const HTTP: &str = "modparam(\"rest_client\", \"connection_timeout\", 3)\n";

#[test]
fn http_connections_that_hang_stall_nobody() {
    let _alone = exclusive();
    let hole = BlackHole::tcp();
    let good = format!(r#"rest_get("{}", $var(body))"#, Nginx::shared().url("/slow"));
    let bad = format!(r#"rest_get("http://{}/", $var(body))"#, hole.addr);
    let (server, port) = server(&good, &bad, HTTP);
    compare("http, full backlog", &server, port);
    eventually("all waits end", SECOND * 10, || held(&server, "parked") == 0);
    server.wait_log(r"rest_get: timeout in phase connect", SECOND);
}

#[test]
fn database_connections_that_hang_stall_nobody() {
    let _alone = exclusive();
    let hole = BlackHole::tcp();
    let settings = format!(
        "modparam(\"sqlops\", \"db_url\", \"1 {}\")\nmodparam(\"sqlops\", \"db_url\", \"2 mysql://u:p@{}/db\")\nasync_timeout = 3\n",
        MariaDb::shared().url(),
        hole.addr
    );
    let good = r#"sql_query("SELECT SLEEP(0.1)", "$avp(r)", 1)"#;
    let bad = r#"sql_query("SELECT SLEEP(0.1)", "$avp(r)", 2)"#;
    let (server, port) = server(good, bad, &settings);
    compare("mysql, full backlog", &server, port);
    eventually("all waits end", SECOND * 10, || held(&server, "parked") == 0);
    server.wait_log(r"sql_query: timeout in phase (connect|queue)", SECOND);
}

#[test]
fn addresses_that_swallow_packets_stall_nobody() {
    let _alone = exclusive();
    let net = NetNs::swallowing();
    let settings = format!(
        "{HTTP}modparam(\"sqlops\", \"db_url\", \"1 {}\")\nmodparam(\"sqlops\", \"db_url\", \"2 mysql://u:p@{}/db\")\nasync_timeout = 3\n",
        MariaDb::shared().url(),
        net.peer
    );
    let good = format!(r#"rest_get("{}", $var(body))"#, Nginx::shared().url("/slow"));
    let bad = format!(r#"rest_get("http://{}/", $var(body))"#, net.peer);
    {
        let (server, port) = server(&good, &bad, &settings);
        compare("http, swallowed", &server, port);
        eventually("all waits end", SECOND * 10, || held(&server, "parked") == 0);
        server.wait_log(r"rest_get: timeout in phase connect", SECOND);
    }
    let good = r#"sql_query("SELECT SLEEP(0.1)", "$avp(r)", 1)"#;
    let bad = r#"sql_query("SELECT SLEEP(0.1)", "$avp(r)", 2)"#;
    let (server, port) = server(good, bad, &settings);
    compare("mysql, swallowed", &server, port);
    eventually("all waits end", SECOND * 10, || held(&server, "parked") == 0);
    server.wait_log(r"sql_query: timeout in phase (connect|queue)", SECOND);
}

#[test]
fn commands_that_never_end_stall_nobody() {
    let _alone = exclusive();
    let settings = "modparam(\"exec\", \"time_to_kill\", 3)\n";
    let (server, port) = server(r#"exec("true")"#, r#"exec("sleep 100")"#, settings);
    compare("exec", &server, port);
    eventually("all waits end", SECOND * 10, || held(&server, "parked") == 0);
    server.wait_log(r"exec: timeout in phase wait", SECOND);
}
