//! The examples of the manual's page about the `async` module, as they stand there: only what it elides is put around
//! them.

use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::groups::tasks;
use crate::support::free_port;
use crate::support::nginx::Nginx;
use crate::support::reprise::{Reprise, run};
use crate::support::sip::SipClient;
use crate::support::uas::Uas;

/// A server with the example's lines: core parameters, module parameters, the rest.
fn server(core: &str, params: &str, rest: &str) -> (Reprise, u16) {
    let port = free_port();
    let config = format!(
        r#"#!KAMAILIO
debug=2
log_stderror=yes
listen=udp:127.0.0.1:{port}
{core}
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "async.so"
{params}
{rest}
"#
    );
    (Reprise::start(&config, &["-n", "1"]), port)
}

/// Asks, and says after which time the final answer came and which it is.
fn ask(port: u16) -> (u16, String, Duration) {
    let client = SipClient::new(port);
    let begin = Instant::now();
    client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
    let answer = client.expect("a final answer", SECOND * 20, |m| m.status() >= 200);
    (answer.status(), answer.reason().to_owned(), begin.elapsed())
}

/// 1.5
const ROUTE: &str = r#"
request_route {
    async_route("RESUME", "4");
}
route[RESUME] {
   send_reply("404", "Not found");
   exit;
}
"#;

/// 1.6
const MS_ROUTE: &str = r#"
request_route {
    async_ms_route("RESUME", "250");
}
route[RESUME] {
   send_reply("404", "Not found");
   exit;
}
"#;

/// 1.7
const SLEEP: &str = r#"
request_route {
async_sleep("4");
send_reply("404", "Not found");
exit;
}
"#;

fn not_found(port: u16, after: Duration) {
    let (status, reason, took) = ask(port);
    assert_eq!((status, &reason[..]), (404, "Not found"));
    assert!(took >= after && took < after + SECOND * 10, "{took:?} for {after:?}");
}

#[test]
fn examples_1_and_5_to_7_seconds_and_milliseconds() {
    let (_server, port) = server("", "modparam(\"async\", \"workers\", 2)", ROUTE);
    not_found(port, SECOND * 4);
    let (_server, port) = server("", "", SLEEP);
    not_found(port, SECOND * 4);
    // 1.2
    let (_server, port) = server("", "modparam(\"async\", \"ms_timer\", 10)", MS_ROUTE);
    not_found(port, Duration::from_millis(250));
}

#[test]
fn example_4_the_parameter_mode() {
    let (server, port) = server(
        "async_workers_group=\"name=tkv;workers=1;nonblock=0;usleep=0\"",
        "modparam(\"async\", \"mode\", 1)",
        TKV,
    );
    SipClient::new(port).send_request(&SipClient::new(port).request("MESSAGE", "sip:bob@example.test"));
    server.wait_log("8000 / call / caller='alice';callee='bob'$", SECOND * 10);
}

/// 1.9 and 1.10
const TASK: &str = r#"
request_route {
    $du = "sip:CALLEE";
    async_task_route("RESUME");
}
route[RESUME] {
   t_relay();
   exit;
}
"#;

/// 1.11
const TASK_GROUP: &str = r#"
request_route {
    $du = "sip:CALLEE";
    async_task_route("RESUME", "abc");
}
route[RESUME] {
   t_relay();
   exit;
}
"#;

const ABC: &str = r#"async_workers_group="name=abc;workers=4;nonblock=0;usleep=0""#;

#[test]
fn examples_9_to_11_a_route_in_a_task_group() {
    let callee = Uas::answering();
    let eight = "# Enable 8 worker processes used by async and other modules\nasync_workers=8";
    for (core, script, groups) in
        [(eight, TASK, [("default", 8), ("abc", 0)]), (ABC, TASK_GROUP, [("default", 1), ("abc", 4)])]
    {
        let script = script.replace("CALLEE", &callee.addr.to_string());
        let (server, port) = server(core, "", &script);
        for (group, count) in groups {
            assert_eq!(tasks(&server, group).len(), count, "{group}");
        }
        let before = callee.count("MESSAGE");
        assert_eq!(ask(port).0, 200);
        assert_eq!(callee.count("MESSAGE"), before + 1);
    }
}

/// 1.12
const DATA: &str = r#"
request_route {
    async_task_data("RESUME", "caller: $fU - callee: $tU");
}
route[RESUME] {
   xinfo("$async(data)\n");
   exit;
}
"#;

/// 1.13
const GROUP_DATA: &str = r#"
request_route {
    async_task_data("RESUME", "abc", "caller: $fU - callee: $tU");
}
route[RESUME] {
   xinfo("$async(data)\n");
   exit;
}
"#;

/// 1.14
const TKV: &str = r#"
request_route {
    async_tkv_emit("8000", "call", "caller='$fU';callee='$tU'");
}
event_route[core:tkv] {
    xinfo("$atkv(type) / $atkv(key) / $atkv(val)\n");
    exit;
}
"#;

#[test]
fn examples_12_to_14_tasks_with_data() {
    let tkv = r#"async_workers_group="name=tkv;workers=1;nonblock=0;usleep=0""#;
    for (core, script, line) in [
        (ABC, DATA, "caller: alice - callee: bob$"),
        (ABC, GROUP_DATA, "caller: alice - callee: bob$"),
        (tkv, TKV, "8000 / call / caller='alice';callee='bob'$"),
    ] {
        let (server, port) = server(core, "", script);
        let client = SipClient::new(port);
        client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
        server.wait_log(line, SECOND * 10);
    }
}

#[test]
fn the_parameters_alone_are_understood() {
    for line in [
        r#"modparam("async", "workers", 2)"#,
        r#"modparam("async", "ms_timer", 10)"#,
        r#"modparam("async", "return", 1)"#,
        r#"modparam("async", "mode", 1)"#,
    ] {
        let dir = crate::support::process::directory("async");
        let file = dir.path().join("async.cfg");
        let text = format!(
            "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nloadmodule \"tm.so\"\nloadmodule \"tmx.so\"\nloadmodule \"async.so\"\n{line}\nrequest_route {{ exit; }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let out = run(&["-c", "-f", &file.display().to_string()], SECOND * 30);
        assert_eq!((out.code, out.stderr.contains("error")), (0, false), "{line}: {}", out.stderr);
    }
}

/// 1.8
const SHAPER: &str = r#"
request_route {
    $du = "sip:CALLEE";
    route(REQUESTSHAPER);
}
route[REQUESTSHAPER] {
	$var(res) = http_connect("leakybucket",
			"/add?key=$fd", $null, $null,"$avp(delay)");
	$var(d) = $(avp(delay){s.int});
	if ($var(d) > 0) {
		# Delay the request by $avp(delay) ms
		async_ms_sleep("$var(d)");
		if (!t_relay()) {
			sl_reply_error();
		}
		exit;
	}
	# No delay
	if (!t_relay()) {
		sl_reply_error();
	}
	exit;
}
"#;

#[test]
fn example_8_a_request_is_delayed_as_a_web_server_says() {
    let (callee, nginx) = (Uas::answering(), Nginx::shared());
    let script = SHAPER.replace("CALLEE", &callee.addr.to_string());
    for (bucket, delay) in [("/full", 400), ("/empty", 0)] {
        let params = format!(
            "loadmodule \"http_client.so\"\nmodparam(\"http_client\", \"httpcon\", \"leakybucket=>{}\")\n\
             modparam(\"async\", \"ms_timer\", 10)",
            nginx.url(&format!("/bucket{bucket}"))
        );
        let (_server, port) = server("", &params, &script);
        let (status, _, took) = ask(port);
        assert_eq!(status, 200);
        assert!(took >= Duration::from_millis(delay), "{took:?} for {delay} ms");
        // It was asked with the caller's domain.
        assert!(nginx.count(&format!("/bucket{bucket}/add?key=127.0.0.1")) > 0, "{:?}", nginx.requests());
    }
}
