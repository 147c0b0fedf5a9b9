//! `event_route[tcp:closed]` and its like, `$conid`, and the functions of tcpops, over real connections; where Kamailio's own order of
//! things shows, beside it.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::common::SECOND;
use crate::kamailio::Kamailio;
use crate::support::reprise::Reprise;
use crate::support::sip::{SipMessage, response};
use crate::support::tcp::TcpSip;
use crate::support::{eventually, free_port};

const EVENTS: &str = r#"
event_route[tcp:closed] { xlog("L_ERR", "event closed $conid $proto $si:$sp $Rp\n"); }
event_route[tcp:timeout] { xlog("L_ERR", "event timeout $conid $proto $si:$sp $Rp\n"); }
event_route[tcp:reset] { xlog("L_ERR", "event reset $conid $proto $si:$sp $Rp\n"); }
"#;

fn config(port: u16, params: &str, main: &str) -> String {
    let modules = ["kex", "corex", "tm", "tmx", "sl", "pv", "xlog", "textops", "siputils", "tcpops"];
    let load: String = modules.iter().map(|m| format!("loadmodule \"{m}.so\"\n")).collect();
    format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\nlisten=tcp:127.0.0.1:{port}\n{load}{params}\n\
         request_route {{\n{main}\n    append_to_reply(\"X-Conid: $conid $tcp(conid) $tcp(c_si):$tcp(c_sp)\\r\\n\");\n    \
         sl_send_reply(\"200\", \"OK\");\n    exit;\n}}\n{EVENTS}"
    )
}

/// The line about an event: what, the connection's number, the rest.
fn event(log: &str, what: &str, client: SocketAddr) -> Option<(String, String)> {
    let place = format!(" {client} ");
    let line = log.lines().find(|l| l.contains(&format!("event {what} ")) && l.contains(&place))?;
    let rest = line.split(&format!("event {what} ")).nth(1)?;
    let (id, rest) = rest.split_once(' ')?;
    Some((id.to_string(), rest.trim().to_string()))
}

fn options(client: &TcpSip) -> SipMessage {
    client.ask(&client.request("OPTIONS", "sip:x@example.test"))
}

fn number(reply: &SipMessage) -> String {
    reply.header("X-Conid").expect("the number").split(' ').next().unwrap_or_default().to_string()
}

/// Closed in order, and reset: what a script hears. `numbered`: also whose end it is; Kamailio has forgotten it by then.
fn ends(port: u16, log: &dyn Fn() -> String, numbered: bool) {
    let told = |what: &str, client: SocketAddr, id: &str| {
        let (number, rest) = wait_event(log, what, client);
        assert_eq!((number.as_str(), rest), (if numbered { id } else { "<null>" }, format!("tcp {client} {port}")));
    };
    let closed = TcpSip::new(port);
    let reply = options(&closed);
    let id = number(&reply);
    assert!(reply.header("X-Conid").expect("there").starts_with(&format!("{id} {id} ")), "{}", reply.raw);
    assert_eq!(number(&options(&closed)), id, "the same connection");
    closed.stream().shutdown(Shutdown::Both).expect("closed");
    told("closed", closed.local, &id);
    let reset = TcpSip::new(port);
    let other = number(&options(&reset));
    assert_ne!(other, id);
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&reset.stream().as_fd(), sockopt::Linger, &linger).expect("an option");
    let local = reset.local;
    drop(reset);
    told("reset", local, &other);
}

/// Waits until a script has heard of it.
fn wait_event(log: &dyn Fn() -> String, what: &str, client: SocketAddr) -> (String, String) {
    let mut found = None;
    eventually(&format!("tcp:{what} of {client}"), SECOND * 20, || {
        found = event(&log(), what, client);
        found.is_some()
    });
    found.expect("found")
}

fn wait_up(port: u16) {
    let up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    eventually(&format!("somebody listens on {port}"), SECOND * 20, up);
}

#[test]
fn scripts_hear_of_the_end_of_connections() {
    {
        let port = free_port();
        let server = Kamailio::start(&config(port, "", ""));
        wait_up(port);
        ends(port, &|| server.log(), false);
    }
    let port = free_port();
    let server = Reprise::start(&config(port, "", ""), &["-n", "2"]);
    ends(port, &|| server.log(), true);
}

#[test]
fn idle_connections_time_out() {
    let port = free_port();
    let params = "tcp_connection_lifetime=1";
    let server = Reprise::start(&config(port, "", "").replace("debug=0", &format!("debug=0\n{params}")), &["-n", "1"]);
    let client = TcpSip::new(port);
    let id = number(&options(&client));
    assert_eq!(wait_event(&|| server.log(), "timeout", client.local).0, id);
}

#[test]
fn events_may_be_asked_for() {
    let port = free_port();
    let main = r#"    if ($hdr(X-Ask) == "1") tcp_enable_closed_event();"#;
    let params = "modparam(\"tcpops\", \"closed_event\", 2)";
    let server = Reprise::start(&config(port, params, main), &["-n", "2"]);
    let (quiet, asked) = (TcpSip::new(port), TcpSip::new(port));
    options(&quiet);
    let mut request = asked.request("OPTIONS", "sip:x@example.test");
    request.headers.push("X-Ask: 1".into());
    asked.ask(&request);
    for client in [&quiet, &asked] {
        client.stream().shutdown(Shutdown::Both).expect("closed");
    }
    wait_event(&|| server.log(), "closed", asked.local);
    assert_eq!(event(&server.log(), "closed", quiet.local), None);
}

/// Any worker may ask and act, whoever has the connection.
#[test]
fn connections_are_found_by_their_number() {
    let port = free_port();
    let main = r#"
    if ($rU == "get") {
        if (!tcp_get_conid("$hdr(X-Peer)", "$var(id)")) $var(id) = "none";
        append_to_reply("X-Found: $var(id)\r\n");
    }
    if ($rU == "state") {
        $var(alive) = tcp_conid_alive("$(hdr(X-Id){s.int})");
        $var(state) = tcp_conid_state("$(hdr(X-Id){s.int})");
        append_to_reply("X-Found: $var(alive) $var(state)\r\n");
    }
    if ($rU == "life") {
        $var(r) = tcp_set_connection_lifetime("$(hdr(X-Id){s.int})", "$(hdr(X-Life){s.int})");
        append_to_reply("X-Found: $var(r)\r\n");
    }
    if ($rU == "keep") {
        $var(r) = tcp_keepalive_enable("$(hdr(X-Id){s.int})", "60", "5", "5");
        $var(s) = tcp_keepalive_disable("$(hdr(X-Id){s.int})");
        append_to_reply("X-Found: $var(r) $var(s)\r\n");
    }
    if ($rU == "close") {
        $var(r) = tcp_close_connection("$(hdr(X-Id){s.int})");
        append_to_reply("X-Found: $var(r)\r\n");
    }"#;
    let server = Reprise::start(&config(port, "", main), &["-n", "2"]);
    let (target, client) = (TcpSip::new(port), TcpSip::new(port));
    let reply = options(&target);
    let id = number(&reply);
    assert_eq!(reply.header("X-Conid"), Some(&*format!("{id} {id} {}", target.local)));
    // Many Call-IDs, so that both workers are asked.
    let ask = |what: &str, headers: &[(&str, &str)]| -> Vec<String> {
        let one = || {
            let mut request = client.request("OPTIONS", &format!("sip:{what}@example.test"));
            request.headers.extend(headers.iter().map(|(n, v)| format!("{n}: {v}")));
            client.ask(&request).header("X-Found").expect("an answer").to_string()
        };
        (0..8).map(|_| one()).collect()
    };
    let all = |what: &str, headers: &[(&str, &str)], expected: &str| {
        let got = ask(what, headers);
        assert!(got.iter().all(|g| g == expected), "{what} {headers:?}: {got:?}, not {expected}\n{}", server.log());
    };
    let peer = target.local.to_string();
    all("get", &[("X-Peer", &peer)], &id);
    all("get", &[("X-Peer", "127.0.0.1:9")], "none");
    all("get", &[("X-Peer", "nonsense")], "none");
    all("state", &[("X-Id", &id)], "1 1");
    all("state", &[("X-Id", "12345")], "-1 -1");
    all("keep", &[("X-Id", &id)], "1 1");
    all("keep", &[("X-Id", "12345")], "-1 -1");
    all("life", &[("X-Id", "12345"), ("X-Life", "5")], "-1");
    all("life", &[("X-Id", &id), ("X-Life", "3600")], "1");
    assert_eq!(number(&options(&target)), id, "it stands");
    assert!(ask("close", &[("X-Id", &id)]).iter().any(|r| r == "1"));
    eventually("it is gone", SECOND * 20, || ask("state", &[("X-Id", &id)]).iter().all(|s| s == "-1 -1"));
    assert!(target.recv(Duration::from_secs(5)).is_none(), "it is closed");
}

/// A request leaves over the connection that the script names, wherever it would go otherwise.
#[test]
fn a_request_may_be_sent_over_a_connection_by_its_number() {
    let port = free_port();
    let main = r#"
    if (is_method("MESSAGE")) {
        $du = "sip:127.0.0.1:9;transport=tcp";
        tcp_set_otcpid("$(hdr(X-Id){s.int})");
        tcp_set_otcpid_flag("1");
        t_relay();
        exit;
    }"#;
    let server = Reprise::start(&config(port, "", main), &["-n", "2"]);
    let (callee, caller) = (TcpSip::new(port), TcpSip::new(port));
    let id = number(&options(&callee));
    for _ in 0..8 {
        let request = caller.request("MESSAGE", "sip:x@example.test").header(&format!("X-Id: {id}"));
        caller.send(request.text());
        let got = callee.expect(SECOND * 10);
        assert!(got.raw.starts_with("MESSAGE "), "{}\n{}", got.raw, server.log());
        callee.send(response(&got, 200, "OK", "t", &[], ""));
        assert_eq!(caller.finish(&request).status(), 200);
    }
}
