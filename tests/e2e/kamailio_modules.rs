//! Kamailio beside the server: the same destinations for the same calls, the same judgement about clients behind NAT.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::Kamailio;
use crate::support::reprise::Reprise;
use crate::support::{free_port, process};

/// One question: a request, of which everything but the Via is given.
struct Question {
    ruri: String,
    from: String,
    to: String,
    call_id: String,
    contact: String,
    /// sent-by of the Via; `None`: where it comes from.
    via: Option<String>,
    headers: String,
    body: String,
}

impl Question {
    fn new(user: &str, n: usize) -> Question {
        Question {
            ruri: format!("sip:{user}@example.com"),
            from: "sip:alice@example.com".into(),
            to: "sip:bob@example.org".into(),
            call_id: format!("call-{n}"),
            contact: "<sip:alice@198.51.100.7:5060>".into(),
            via: None,
            headers: String::new(),
            body: String::new(),
        }
    }
}

fn ask(socket: &UdpSocket, port: u16, n: usize, q: &Question) -> Option<String> {
    let own = socket.local_addr().unwrap();
    let via = q.via.clone().unwrap_or_else(|| own.to_string());
    let kind = if q.body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "OPTIONS {} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport;branch=z9hG4bK{n}\r\nFrom: <{}>;tag=1\r\nTo: <{}>\r\n\
         Call-ID: {}\r\nCSeq: 1 OPTIONS\r\nContact: {}\r\nMax-Forwards: 70\r\n{}{kind}Content-Length: {}\r\n\r\n{}",
        q.ruri,
        q.from,
        q.to,
        q.call_id,
        q.contact,
        q.headers,
        q.body.len(),
        q.body
    );
    socket.send_to(text.as_bytes(), ("127.0.0.1", port)).unwrap();
    let end = Instant::now() + SECOND * 20;
    let mut buffer = vec![0; 65_535];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        socket.set_read_timeout(Some(left.min(Duration::from_millis(500)))).unwrap();
        let Ok(len) = socket.recv(&mut buffer) else {
            // It was not up yet: ask again.
            socket.send_to(text.as_bytes(), ("127.0.0.1", port)).unwrap();
            continue;
        };
        let reply = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if reply.contains(&format!("branch=z9hG4bK{n}\r\n")) || reply.contains(&format!("branch=z9hG4bK{n};")) {
            let out = reply.lines().find_map(|l| l.strip_prefix("X-Out:")).unwrap_or_default();
            return Some(out.trim().replace(&own.port().to_string(), "OWN").replace(&port.to_string(), "PORT"));
        }
    }
    None
}

/// Puts all questions to both servers and compares the answers.
fn compare(config: impl Fn(u16) -> String, questions: &[Question]) {
    let all = |port: u16, log: &dyn Fn() -> String| -> Vec<String> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let one = |(n, q): (usize, &Question)| {
            ask(&socket, port, n, q).unwrap_or_else(|| panic!("no answer on port {port}\n{}", log()))
        };
        questions.iter().enumerate().map(one).collect()
    };
    let theirs = {
        let port = free_port();
        let server = Kamailio::start(&config(port));
        all(port, &|| server.log())
    };
    let port = free_port();
    let server = Reprise::start(&config(port), &["-n", "1"]);
    let ours = all(port, &|| server.log());
    let mut wrong = Vec::new();
    for ((q, theirs), ours) in questions.iter().zip(&theirs).zip(&ours) {
        if theirs != ours {
            let asked = format!("{} {} {} {} {}", q.ruri, q.call_id, q.contact, q.headers.trim(), q.body.len());
            wrong.push(format!("{asked}\n    Kamailio: {theirs}\n    reprise:  {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), questions.len(), wrong.join("\n"));
}

fn head(port: u16, modules: &[&str]) -> String {
    let all = ["kex", "corex", "tm", "tmx", "sl", "pv", "xlog", "textops", "textopsx", "siputils"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:127.0.0.1:{port}\n{modules}"
    )
}

#[test]
fn the_same_call_finds_the_same_destination() {
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    fs::write(
        &file,
        "1 sip:10.0.0.1\n1 sip:10.0.0.2\n1 sip:10.0.0.3:5080\n1 sip:10.0.0.4;transport=tcp\n1 sip:10.0.0.5\n\
         2 sip:10.0.1.1 0 5\n2 sip:10.0.1.2 1 20\n2 sip:10.0.1.3 0 10 x=1;y=2\n2 sip:10.0.1.4 0 5\n3 sip:10.0.2.1 1\n",
    )
    .unwrap();
    let config = |port| {
        let select: String = [
            ("1", "0"),
            ("1", "1"),
            ("1", "2"),
            ("1", "3"),
            ("1", "7"),
            ("1", "8"),
            ("2", "8"),
            ("2", "0"),
            ("3", "0"),
            ("9", "0"),
        ]
        .iter()
        .map(|(set, alg)| format!("    if ($hdr(X-Ask) == \"{set}/{alg}\") ds_select_dst(\"{set}\", \"{alg}\");\n"))
        .collect();
        format!(
            r#"{}
modparam("dispatcher", "list_file", "{}")
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "hash_pvar", "$hdr(X-Key)")
request_route {{
{select}
    $var(out) = "" + $rc + " " + $du;
    while (ds_next_dst()) $var(out) = $var(out) + " " + $du;
    append_to_reply("X-Out: $var(out)\r\n");
    sl_send_reply("200", "OK");
    exit;
}}
"#,
            head(port, &["dispatcher"]),
            file.display()
        )
    };
    let mut questions = Vec::new();
    for n in 0..40usize {
        for alg in ["1/0", "1/1", "1/2", "1/3", "1/7"] {
            let odd = ["", ":5060", ":5070"][n % 3];
            let mut q = Question::new(&format!("user{}", n * 31), n);
            q.call_id = format!("{}-{n}@host{}.example.com", n * 7919, n % 7);
            q.from = format!("sip:caller{n}@from{}.example.com{odd}", n % 5);
            q.to = if n % 4 == 0 {
                format!("sip:to{n}.example.com")
            } else {
                format!("sip:{n}@to.example.com{odd};x={n}")
            };
            q.ruri = format!("sip:called{}@example{n}.com{odd}", n * 3);
            q.headers = format!("X-Ask: {alg}\r\nX-Key: key number {}\r\n", n * n);
            questions.push(q);
        }
    }
    for (n, ask) in ["1/8", "2/8", "2/0", "3/0", "9/0"].iter().enumerate() {
        let mut q = Question::new("x", n);
        q.headers = format!("X-Ask: {ask}\r\n");
        questions.push(q);
    }
    compare(config, &questions);
}

#[test]
fn clients_behind_nat_are_judged_alike() {
    let config = |port| {
        let tests: String = [1, 2, 4, 8, 16, 32, 64, 128, 256]
            .iter()
            .map(|bit| format!("        if (nat_uac_test(\"{bit}\")) $var(out) = $var(out) + \" {bit}\";\n"))
            .collect();
        format!(
            r#"{}
modparam("nathelper", "received_avp", "$avp(rcv)")
request_route {{
    $var(out) = "";
    if ($rU == "test") {{
{tests}
    }} else if ($rU == "alias") {{
        $ru = $hdr(X-Uri);
        handle_ruri_alias();
        $var(out) = "" + $rc;
        if ($rc != -1) $var(out) = $var(out) + " " + $ru + " " + $du;
    }} else if ($rU == "set") {{
        set_contact_alias();
        $var(out) = "" + $rc;
        msg_apply_changes();
        $var(out) = $var(out) + " " + $ct;
    }} else if ($rU == "fix") {{
        fix_nated_contact();
        $var(out) = "" + $rc;
        msg_apply_changes();
        $var(out) = $var(out) + " " + $ct;
    }} else if ($rU == "register") {{
        fix_nated_register();
        $var(out) = "" + $rc + " " + $avp(rcv);
    }} else if ($rU == "private") {{
        is_rfc1918("$hdr(X-Ip)");
        $var(out) = "" + $rc;
    }} else if ($rU == "sdp1") {{
        fix_nated_sdp("1"); $var(out) = "" + $rc; msg_apply_changes(); $var(out) = $var(out) + $(rb{{s.encode.hexa}});
    }} else if ($rU == "sdp2") {{
        fix_nated_sdp("2", "192.0.2.9"); $var(out) = "" + $rc; msg_apply_changes(); $var(out) = $var(out) + $(rb{{s.encode.hexa}});
    }} else if ($rU == "sdp4") {{
        fix_nated_sdp("4"); $var(out) = "" + $rc; msg_apply_changes(); $var(out) = $var(out) + $(rb{{s.encode.hexa}});
    }} else if ($rU == "sdp8") {{
        fix_nated_sdp("8", "192.0.2.9"); $var(out) = "" + $rc; msg_apply_changes(); $var(out) = $var(out) + $(rb{{s.encode.hexa}});
    }}
    append_to_reply("X-Out: $var(out)\r\n");
    sl_send_reply("200", "OK");
    exit;
}}
"#,
            head(port, &["nathelper"])
        )
    };
    let mut questions = Vec::new();
    let contacts = [
        "<sip:a@10.0.0.1>",
        "<sip:a@172.16.0.1:5070>",
        "<sip:a@172.32.0.1>",
        "<sip:a@192.168.1.1>",
        "<sip:a@100.64.0.1>",
        "<sip:a@100.128.0.1>",
        "<sip:a@192.0.0.8>",
        "<sip:a@host.example.com>",
        "<sip:a@[2001:db8::1]>",
        "sip:a@127.0.0.1;q=1",
        "*",
    ];
    let vias = [None, Some("10.0.0.1:5060"), Some("192.0.2.1"), Some("host.example.com:5070"), Some("127.0.0.1")];
    let sdp = |c: &str| {
        format!("v=0\r\no=a 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 {c}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=x\r\n")
    };
    let bodies = [String::new(), sdp("10.0.0.2"), sdp("127.0.0.1"), sdp("198.51.100.1"), sdp("0.0.0.0")];
    for (i, contact) in contacts.iter().enumerate() {
        for (j, via) in vias.iter().enumerate() {
            let mut q = Question::new("test", i * 10 + j);
            q.contact = (*contact).to_string();
            q.via = via.map(str::to_string);
            q.body = bodies[(i + j) % bodies.len()].clone();
            questions.push(q);
        }
    }
    for uri in [
        "sip:a@10.0.0.2;alias=192.0.2.9~5071~2;x=1",
        "sip:a@h;alias=192.0.2.9~5071~1",
        "sip:a@h;x=1;alias=192.0.2.9~5071~3;y",
        "sip:a@h;alias=192.0.2.1~1~1;alias=192.0.2.2~2~1",
        "sip:a@h;alias=[2001:db8::1]~5071~1",
        "sip:a@h;alias=192.0.2.9~5071~5",
        "sip:a@h;alias=192.0.2.9~5071~6",
        "sip:a@h;alias=192.0.2.9~5071~9",
        "sip:a@h;alias=192.0.2.9~5071",
        "sip:a@h;alias=x",
        "sip:a@h",
        "sip:a@h;alias=192.0.2.9~5~3?q=1",
    ] {
        let mut q = Question::new("alias", 0);
        q.headers = format!("X-Uri: {uri}\r\n");
        questions.push(q);
    }
    for contact in [
        "<sip:a@10.0.0.2;x=1>;q=1",
        "sip:a@10.0.0.2;q=1",
        "\"A\" <sip:a@10.0.0.2>",
        "<sip:a@h;alias=192.0.2.1~2~3>",
        "*",
    ] {
        for user in ["set", "fix", "register"] {
            let mut q = Question::new(user, 0);
            q.contact = contact.to_string();
            questions.push(q);
        }
    }
    for ip in [
        "10.1.2.3",
        "172.31.0.1",
        "172.32.0.1",
        "192.168.0.1",
        "192.0.0.1",
        "192.0.1.1",
        "100.127.0.1",
        "fd00::1",
        "x",
        "127.0.0.1",
    ] {
        let mut q = Question::new("private", 0);
        q.headers = format!("X-Ip: {ip}\r\n");
        questions.push(q);
    }
    for user in ["sdp1", "sdp2", "sdp4", "sdp8"] {
        for body in &bodies {
            let mut q = Question::new(user, 0);
            q.body = body.clone();
            questions.push(q);
        }
    }
    compare(config, &questions);
}
