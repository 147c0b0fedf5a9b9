//! Kamailio beside the server: what its variables say of the same request, what it makes of addresses of its own in what it forwards.

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::{Case, Kamailio, cases, compare, route};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, free_port, process};

const MODULES: [&str; 13] =
    ["kex", "corex", "tm", "tmx", "sl", "pv", "rr", "xlog", "textops", "textopsx", "siputils", "nathelper", "path"];

/// The two sockets of a server.
#[derive(Clone, Copy)]
struct Ports {
    one: u16,
    two: u16,
}

impl Ports {
    fn free() -> Ports {
        Ports { one: free_port(), two: free_port() }
    }

    /// A text of a server that does not depend on its ports.
    fn bare(self, text: &str) -> String {
        text.replace(&self.one.to_string(), "PORT").replace(&self.two.to_string(), "OTHER")
    }
}

fn head(ports: Ports, params: &str) -> String {
    let Ports { one, two } = ports;
    let load: String = MODULES.iter().map(|m| format!("loadmodule \"{m}.so\"\n")).collect();
    format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nserver_id=7\n\
         listen=udp:127.0.0.1:{one} name \"one\"\nlisten=udp:127.0.0.1:{two} advertise 127.0.0.1:5099 name \"two\"\n\
         {load}grp.num = 7 desc \"a number\"\ngrp.txt = \"tt\" desc \"a text\"\ngrp.other = 1 desc \"changed\"\n\
         modparam(\"pv\", \"avp_aliases\", \"email=s:email_addr;tmp=i:100\")\n{params}"
    )
}

fn config(ports: Ports, cases: &[Case], dir: &Path) -> String {
    let mut text = head(ports, "");
    text.push_str(
        "request_route {\n    $avp(l) = 1; $avp(l) = 2; $avp(l) = 3; $var(r) = 0;\n    $var(case) = $hdr(X-Case);\n    \
         route($var(case));\n    sl_send_reply(\"200\", \"OK\");\n    exit;\n}\nroute[C] { $var(q) = 0; }\n",
    );
    for (n, case) in cases.iter().enumerate() {
        let case = case.text.replace("PORT", &ports.one.to_string()).replace("DIR", &dir.display().to_string());
        text.push_str(&route(n, &case));
    }
    text
}

/// Sends the request and gives the header X-Out of the reply; `None` without a reply.
fn ask(socket: &UdpSocket, port: u16, n: &str, wait: Duration) -> Option<String> {
    let own = socket.local_addr().expect("an address").port();
    let request = format!(
        "OPTIONS sip:bob@example.org;x=1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{n};rport;i=abc\r\n\
         Via: SIP/2.0/TCP 10.0.0.7:5070;branch=z9hG4bKtwo;received=10.9.9.9, SIP/2.0/UDP [2001:db8::9];branch=z9hG4bKthree\r\n\
         Route: <sip:127.0.0.1:{port};lr;ftag=1>, <sip:10.5.5.6;lr>\r\n\
         Record-Route: <sip:10.6.6.6;r2=on;lr>, <sip:10.6.6.6;transport=tcp;r2=on;lr>\r\nRecord-Route: <sip:10.6.6.7;lr>\r\n\
         From: \"A\" <sip:alice@example.com>;tag=2\r\nTo: <sip:bob@example.org>;tag=1\r\nCall-ID: xyz\r\nCSeq: 1 OPTIONS\r\n\
         Contact: \"X\" <sip:alice@10.1.1.1:5070;alias=10.2.2.2~5071~1>;expires=60\r\n\
         Contact: <sip:two@10.1.1.2>, <sip:three@10.1.1.3>\r\n\
         Diversion: <sip:div@example.net>;reason=user-busy;counter=3;privacy=off\r\n\
         Authorization: Digest username=\"ann\", realm=\"example.com\", nonce=\"n\", uri=\"sip:x\", \
         response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5\r\n\
         X-A: one\r\nX-A: two\r\nX-Case: C{n}\r\nUser-Agent: abc\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), ("127.0.0.1", port)).expect("a request that is sent");
    let end = Instant::now() + wait;
    let mut buffer = vec![0; 65_535];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        socket.set_read_timeout(Some(left)).expect("a timeout");
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if text.starts_with("SIP/") && text.contains(&format!("branch=z9hG4bK{n};")) {
            let out = text.lines().find_map(|l| l.strip_prefix("X-Out:")).unwrap_or_default();
            return Some(out.trim().replace(&own.to_string(), "OWN"));
        }
    }
    None
}

fn answers(ports: Ports, count: usize, log: &dyn Fn() -> String) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let give_up = Instant::now() + SECOND * 20;
    while ask(&socket, ports.one, "", Duration::from_millis(200)).is_none() {
        assert!(Instant::now() < give_up, "nobody answers on port {}\n{}", ports.one, log());
    }
    let one = |n: usize| ask(&socket, ports.one, &n.to_string(), SECOND * 5).unwrap_or_else(|| "no answer".into());
    (0..count).map(|n| ports.bare(&one(n))).collect()
}

#[test]
fn variables_say_the_same_on_both() {
    let cases = cases("variables.txt");
    let theirs = {
        let (ports, dir) = (Ports::free(), process::directory("files"));
        let server = Kamailio::start(&config(ports, &cases, dir.path()));
        answers(ports, cases.len(), &|| server.log())
    };
    let (ports, dir) = (Ports::free(), process::directory("files"));
    let server = Reprise::start(&config(ports, &cases, dir.path()), &["-n", "1"]);
    let ours = answers(ports, cases.len(), &|| server.log());
    compare(&cases, &theirs, &ours);
}

/// What comes from the server at a socket; texts that are no message too.
fn received(socket: &UdpSocket, wait: Duration) -> Option<String> {
    let mut buffer = vec![0; 65_535];
    socket.set_read_timeout(Some(wait)).expect("a timeout");
    let len = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// What a server makes of the same texts: the headers of these names of all that comes back for each, or what is no message.
fn forwarded(ports: Ports, texts: &[String], names: &[&str], log: &dyn Fn() -> String) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let own = socket.local_addr().expect("an address").port();
    let mut out = Vec::new();
    for text in texts {
        let text = text.replace("OTHER", &ports.two.to_string()).replace("PORT", &ports.one.to_string());
        let text = text.replace("OWN", &own.to_string());
        let give_up = Instant::now() + SECOND * 20;
        let got = loop {
            socket.send_to(text.as_bytes(), ("127.0.0.1", ports.one)).expect("sent");
            if let Some(got) = received(&socket, Duration::from_millis(500)) {
                break got;
            }
            assert!(Instant::now() < give_up, "nothing comes back\n{text}\n{}", log());
        };
        let shown: Vec<String> = match got.contains("SIP/2.0") {
            true => got
                .lines()
                .filter(|l| names.iter().any(|n| l.starts_with(&format!("{n}:"))))
                .map(|l| match l.split_once(";branch=") {
                    // Whose branch it is cannot be the same.
                    Some((front, rest)) => {
                        format!("{front};branch=*{}", rest.find(';').map_or("", |at| &rest[at..]))
                    }
                    None => l.to_string(),
                })
                .collect(),
            false => vec![got],
        };
        out.push(ports.bare(&shown.join("\n")).replace(&own.to_string(), "OWN"));
    }
    out
}

/// Forwards the same messages by both servers, for each set of parameters.
fn forward_both(params: &[&str], script: &str, texts: &[String], names: &[&str]) {
    for params in params {
        let config = |ports: Ports| format!("{}{script}", head(ports, params));
        let theirs = {
            let ports = Ports::free();
            let server = Kamailio::start(&config(ports));
            forwarded(ports, texts, names, &|| server.log())
        };
        let ports = Ports::free();
        let server = Reprise::start(&config(ports), &["-n", "1"]);
        let ours = forwarded(ports, texts, names, &|| server.log());
        let both = texts.iter().zip(&theirs).zip(&ours).filter(|((_, theirs), ours)| theirs != ours);
        let wrong: Vec<String> = both
            .map(|((text, theirs), ours)| format!("{text}    Kamailio: {theirs}\n    reprise:  {ours}\n"))
            .collect();
        assert!(wrong.is_empty(), "{} of {} with {params}\n{}", wrong.len(), texts.len(), wrong.join("\n"));
    }
}

fn message(line: &str, headers: &str) -> String {
    format!(
        "MESSAGE {line} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:OWN;branch=z9hG4bKa\r\nFrom: <sip:alice@example.com>;tag=2\r\n\
         To: <sip:bob@example.org>\r\nCall-ID: xyz\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn record_routes_are_the_same_on_both() {
    let script = r#"
request_route {
    $avp(user) = $hdr(X-User);
    if ($hdr(X-Socket) != $null) $fs = "udp:127.0.0.1:" + $hdr(X-Socket);
    record_route();
    $du = "sip:127.0.0.1:" + $sp;
    forward();
}
"#;
    let texts = [
        message("sip:bob@example.org", ""),
        message("sips:bob@example.org", ""),
        message("sip:example.org", ""),
        message("sip:bob@example.org", "X-User: custom\r\n"),
        message("sip:bob@example.org", "X-Socket: OTHER\r\n"),
    ];
    let params = [
        "",
        "modparam(\"rr\", \"add_username\", 1)\nmodparam(\"rr\", \"custom_user_avp\", \"$avp(user)\")\nmodparam(\"rr\", \"enable_full_lr\", 1)\n",
        "modparam(\"rr\", \"ignore_sips\", 1)\nmodparam(\"rr\", \"sockname_mode\", 1)\n",
        "modparam(\"rr\", \"enable_double_rr\", 2)\nmodparam(\"rr\", \"append_fromtag\", 0)\n",
    ];
    forward_both(&params, script, &texts, &["Record-Route"]);
}

#[test]
fn vias_are_the_same_on_both() {
    let script = r#"
request_route {
    if ($hdr(X-Id) == "1") via_add_srvid("1");
    if ($hdr(X-Params) != $null) {
        $xavp(xvia=>site) = $hdr(X-Params);
        $xavp(xvia[0]=>n) = 5;
        via_add_xavp_params("1");
    }
    $du = "sip:127.0.0.1:" + $sp;
    forward();
}
"#;
    let texts = [
        message("sip:bob@example.org", ""),
        message("sip:bob@example.org", "X-Id: 1\r\n"),
        message("sip:bob@example.org", "X-Params: b\r\n"),
        message("sip:bob@example.org", "X-Id: 1\r\nX-Params: b\r\n"),
    ];
    forward_both(&["xavp_via_params=\"xvia\"\n"], script, &texts, &["Via"]);
}

#[test]
fn replies_and_data_are_the_same_on_both() {
    let script = r#"
request_route {
    if ($rU == "x") sendx("sip:127.0.0.1:$sp", "udp:127.0.0.1:$hdr(X-Socket)", "one $rU");
    else send_data("sip:127.0.0.1:$sp", "one $rU");
}
reply_route {
    send_data("sip:127.0.0.1:$sp", "$rpl(duri) $rpl(dhost) $rpl(dport) $rpl(dproto) $rpl(dprotoid) $rpl(cntvia)");
    drop;
}
"#;
    let reply = |via: &str| {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:PORT;branch=z9hG4bKa\r\n{via}From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\n\
             Call-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let texts = [
        message("sip:bob@example.org", ""),
        message("sip:x@example.org", "X-Socket: OTHER\r\n"),
        reply("Via: SIP/2.0/UDP 10.1.1.1:5070;branch=z9hG4bKb\r\n"),
        reply("Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKb\r\n"),
        reply("Via: SIP/2.0/UDP 10.1.1.1:5070;received=10.2.2.2;rport=5099;branch=z9hG4bKb\r\n"),
        reply("Via: SIP/2.0/TCP 10.1.1.1;branch=z9hG4bKb, SIP/2.0/UDP 10.1.1.2;branch=z9hG4bKc\r\n"),
        reply(""),
    ];
    forward_both(&[""], script, &texts, &[]);
}

#[test]
fn replies_are_passed_on_alike() {
    let script = r#"
request_route { exit; }
reply_route {
    append_hf("X-Seen: $rs\r\n");
    forward_reply();
    drop;
}
"#;
    let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:PORT;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP 127.0.0.1:OWN;branch=z9hG4bKb\r\n\
                From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    forward_both(&[""], script, &[text.to_string()], &["Via", "X-Seen", "SIP/2.0 200 OK"]);
}

/// Whoever waits for a file that gives nothing holds nobody up.
#[test]
fn a_file_that_gives_nothing_holds_nobody_up() {
    let dir = process::directory("files");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'x'; 70_000]).expect("a file");
    let script = format!(
        r#"async_timeout=2
request_route {{
    if ($rU == "fifo") $var(r) = file_read("{}", "$var(f)");
    else if ($rU == "large") $var(r) = file_read("{}", "$var(f)");
    else if ($rU == "odd") {{
        file_write("{}/it's an $$odd one", "with $rU");
        $var(r) = file_read("{}/it's an $$odd one", "$var(f)");
    }}
    append_to_reply("X-Out: $var(r) $var(f)\r\n");
    sl_send_reply("200", "OK");
}}
"#,
        fifo.display(),
        large.display(),
        dir.path().display(),
        dir.path().display()
    );
    let ports = Ports::free();
    let server = Reprise::start(&format!("{}{script}", head(ports, "")), &["-n", "1"]);
    let (slow, quick) = (SipClient::new(ports.one), SipClient::new(ports.one));
    let waiting = slow.request("OPTIONS", &format!("sip:fifo@127.0.0.1:{}", ports.one));
    slow.send_request(&waiting);
    let waits = || server.ctl("waits", serde_json::Value::Null).as_array().map_or(0, Vec::len);
    eventually("the script waits", SECOND * 10, || waits() == 1);
    let ask = |user: &str| {
        let reply = quick.options(&format!("sip:{user}@127.0.0.1:{}", ports.one));
        reply.header("X-Out").unwrap_or_default().to_string()
    };
    assert_eq!(ask("other"), "0 0", "answered while another waits");
    assert_eq!(ask("odd"), "1 with odd");
    assert_eq!(ask("large"), "-1 0", "it is too large for a value");
    let reply = slow.finish(&waiting, SECOND * 20).pop().expect("an answer");
    assert_eq!(reply.header("X-Out"), Some("-1 0"), "the time is over\n{}", server.log());
}

#[test]
fn route_sets_are_followed_alike() {
    let script = r#"
request_route {
    $var(r) = 0;
    if ($hdr(X-How) == "loose") { loose_route(); $var(r) = $rc; }
    if ($hdr(X-How) == "preloaded") { loose_route_preloaded(); $var(r) = $rc; }
    if ($hdr(X-How) == "mode") { loose_route_mode("1"); $var(r) = $rc; }
    $var(n) = "no";
    if (rr_next_hop_route()) $var(n) = "yes";
    send_data("sip:127.0.0.1:$sp", "$hdr(X-How) $var(r) $var(n) $du $ru $fs $rdir(id) $fti $tti $route_uri");
}
"#;
    let own = "<sip:127.0.0.1:PORT;lr;ftag=f>";
    let named = "<sip:127.0.0.1:PORT;sn=two;lr>";
    let double = "<sip:127.0.0.1:5099;r2=on;lr;ftag=f>, <sip:127.0.0.1:PORT;r2=on;lr;ftag=f>";
    let sets = [
        String::new(),
        own.to_string(),
        named.to_string(),
        double.to_string(),
        format!("{double}, <sip:10.1.1.1;lr>"),
        format!("{own}, <sip:10.1.1.1;lr>"),
        format!("{own}, <sip:10.1.1.2>, <sip:10.1.1.1;lr>"),
        "<sip:10.1.1.1;lr>".to_string(),
    ];
    let mut texts = Vec::new();
    for how in ["none", "loose", "preloaded", "mode"] {
        for set in &sets {
            for to in ["", ";tag=f", ";tag=t"] {
                let route = if set.is_empty() { String::new() } else { format!("Route: {set}\r\n") };
                let text = message("sip:bob@example.org", &format!("{route}X-How: {how}\r\n"));
                let from = if to == ";tag=f" { "tag=g" } else { "tag=f" };
                let text = text
                    .replace("tag=2", from)
                    .replace("<sip:bob@example.org>\r\n", &format!("<sip:bob@example.org>{to}\r\n"));
                texts.push(text);
            }
        }
    }
    let params = ["", "modparam(\"rr\", \"force_send_socket\", 1)\nmodparam(\"rr\", \"sockname_mode\", 1)\n"];
    forward_both(&params, script, &texts, &[]);
}

#[test]
fn what_comes_and_goes_is_described_alike() {
    let script = r#"
request_route {
    $du = "sip:127.0.0.1:" + $sp;
    forward();
}
onsend_route {
    xlog("L_ERR", "SEEN to $sndto(ip) $sndto(port) $sndto(proto) $sndto(sproto) $sndto(af) from $sndfrom(ip) $sndfrom(port) $sndfrom(proto) $sndfrom(af) and $snd(ip) $snd(port) $snd(sproto) END\n");
}
event_route[core:msg-received] {
    xlog("L_ERR", "SEEN rcv $rcv(srcip) $rcv(rcvip) $rcv(rcvport) $rcv(proto) $rcv(sproto) $rcv(af) $rcv(len) END\n");
}
"#;
    let text = message("sip:bob@example.org", "");
    let seen = |ports: Ports, log: &dyn Fn() -> String| -> Vec<String> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let own = socket.local_addr().expect("an address").port().to_string();
        let text = text.replace("OWN", &own);
        eventually("it is forwarded", SECOND * 20, || {
            socket.send_to(text.as_bytes(), ("127.0.0.1", ports.one)).expect("sent");
            received(&socket, Duration::from_millis(500)).is_some()
        });
        let lines = || -> Vec<String> {
            let log = log();
            let found = log.lines().filter_map(|l| l.split("SEEN ").nth(1)?.split(" END").next());
            let mut found: Vec<String> = found.map(|l| ports.bare(l).replace(&own, "OWN")).collect();
            found.sort();
            found.dedup();
            found
        };
        eventually("the log has it", SECOND * 20, || lines().len() == 2);
        lines()
    };
    let params = "received_route_mode=1\n";
    let theirs = {
        let ports = Ports::free();
        let server = Kamailio::start(&format!("{}{script}", head(ports, params)));
        seen(ports, &|| server.log())
    };
    let ports = Ports::free();
    let server = Reprise::start(&format!("{}{script}", head(ports, params)), &["-n", "1"]);
    assert_eq!(seen(ports, &|| server.log()), theirs);
}

#[test]
fn paths_are_the_same_on_both() {
    let script = r#"
request_route {
    if ($hdr(X-Path) == "user") add_path("user");
    else add_path();
    $du = "sip:127.0.0.1:" + $sp;
    forward();
}
"#;
    let register = |headers: &str| message("sip:example.org", headers).replace("MESSAGE", "REGISTER");
    let texts = [register(""), register("X-Path: user\r\n")];
    forward_both(&["", "modparam(\"path\", \"sockname_mode\", 1)\n"], script, &texts, &["Path"]);
}
