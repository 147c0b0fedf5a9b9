//! Core parameters that concern processes, the log, and where messages leave from.

use std::fs;

use serde_json::Value;

use crate::common::{SECOND, listening, proxy_to, serve, stat};
use crate::support::eventually;
use crate::support::process;
use crate::support::sip::SipClient;
use crate::support::uas::Uas;

/// The soft limit of a running process, as /proc names it.
fn limit(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().next().unwrap().to_owned()
}

#[test]
fn limits_of_processes_are_set() {
    let globals = "disable_core_dump = yes\n";
    let (server, _) = serve(|port| listening(port, globals, "route { exit; }\n"), &["-n", "2"]);
    for pid in server.tree() {
        assert_eq!(limit(pid, "Max core file size"), "0");
    }
}

#[test]
fn the_root_directory_is_changed() {
    let dir = process::directory("root");
    let globals = format!("chroot = \"{}\"\n", dir.path().display());
    let answer = "route { sl_send_reply(200, \"OK\"); }\n";
    let (mut server, port) = serve(|port| listening(port, &globals, answer), &["-n", "2", "-u", "nobody"]);
    for pid in server.tree() {
        assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), dir.path());
    }
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
    assert_eq!(server.term(), 0);
}

#[test]
fn the_log_looks_as_asked() {
    let globals =
        "log_prefix = \"edge1: \"\nstderror_log_format = json\nxlog_buf_size = 30\nstderror_level_filter = 2\n";
    let rest = r#"
route {
    xlog("L_INFO", "nobody reads this\n");
    xlog("\"quoted\" 789012345678901234567890 cut off here\n");
    sl_send_reply(200, "OK");
}
"#;
    let (server, port) = serve(|port| listening(port, globals, rest), &["-n", "1"]);
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
    let line = server.wait_log("quoted", SECOND * 10);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["message"], "edge1: \"quoted\" 789012345678901234567");
    assert_eq!(line["level"], "NOTICE");
    assert_eq!(line["pid"].as_i64(), server.worker_pids().first().map(|p| i64::from(*p)));
    assert_eq!(server.log_count("nobody reads this"), 0);
    for line in server.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

#[test]
fn replies_say_where_the_request_came_from() {
    let answer = "route { sl_send_reply(200, \"OK\"); }\n";
    let (_server, port) = serve(|port| listening(port, "sip_warning = yes\n", answer), &["-n", "1"]);
    let client = SipClient::new(port);
    let answer = client.options("sip:bob@example.test");
    let warning = answer.header("Warning").unwrap();
    assert!(warning.starts_with(&format!("392 127.0.0.1:{port} \"")), "{warning}");
    for part in
        [format!("req_src_port={}", client.local.port()), "in_uri=sip:bob@example.test".into(), "via_cnt=1".into()]
    {
        assert!(warning.contains(&part), "{warning}");
    }
    // The transaction's own replies too.
    let (_plain, port) = serve(|port| listening(port, "", "route { sl_send_reply(200, \"OK\"); }\n"), &["-n", "1"]);
    assert!(SipClient::new(port).options("sip:bob@example.test").header("Warning").is_none());
}

#[test]
fn replies_to_others_are_dropped_if_asked() {
    let rest = "route { exit; }\nonreply_route { xlog(\"a reply $rs\\n\"); }\n";
    for (globals, seen) in [("", 2), ("check_via = yes\n", 1)] {
        let (server, port) = serve(|port| listening(port, globals, rest), &["-n", "1"]);
        let client = SipClient::new(port);
        let reply = |via: String, status: u16| {
            client.send(&format!(
                "SIP/2.0 {status} OK\nVia: SIP/2.0/UDP {via};branch=z9hG4bKx\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>;tag=2\n\
                 Call-ID: [call_id]\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n"
            ));
        };
        reply("192.0.2.7:5060".into(), 202);
        reply(format!("127.0.0.1:{port}"), 200);
        server.wait_log("a reply 200", SECOND * 10);
        assert_eq!(server.log_count("a reply"), seen, "{globals}");
        eventually("it is counted", SECOND * 10, || stat(&server, "core:drop_replies") > 0);
    }
}

#[test]
fn the_socket_is_chosen_by_routing_if_asked() {
    for (globals, from) in [("", "127.0.0.2"), ("mhomed = yes\n", "127.0.0.1")] {
        let uas = Uas::answering();
        let (_server, port) = serve(
            |port| {
                let config = proxy_to(port, uas.addr);
                let first = format!("{globals}socket=udp:127.0.0.2:{port}\nsocket=");
                config.replacen("socket=", &first, 1)
            },
            &["-n", "1"],
        );
        let mut client = SipClient::new(port);
        client.server = ([127, 0, 0, 2], port).into();
        client.send_request(&client.request("MESSAGE", "sip:bob@example.test"));
        let message = uas.wait_request("MESSAGE", SECOND * 10);
        let via = message.header("Via").unwrap().to_owned();
        assert!(via.starts_with(&format!("SIP/2.0/UDP {from}:{port};")), "{globals}: {via}");
        assert_eq!(message.from.ip().to_string(), from);
    }
}
