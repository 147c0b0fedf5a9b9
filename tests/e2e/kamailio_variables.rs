//! Kamailio beside the server: what its variables say of the same request, what it makes of addresses of its own in what it forwards.

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::{Case, Kamailio, cases, compare, route};
use crate::support::reprise::Reprise;
use crate::support::{free_port, process};

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
        for ((text, theirs), ours) in texts.iter().zip(&theirs).zip(&ours) {
            assert_eq!(ours, theirs, "with {params}\n{text}");
        }
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
