//! Kamailio beside the server: the same destinations for the same calls, the same judgement about clients behind NAT.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::{Kamailio, head};
use crate::support::mariadb::{MariaDb, NATIVE};
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

#[test]
fn several_sets_at_once_are_chosen_from_alike() {
    let dir = process::directory("list");
    let file = dir.path().join("dispatcher.list");
    fs::write(
        &file,
        "1 sip:10.0.0.1 0 3\n1 sip:10.0.0.2 0 2\n1 sip:10.0.0.3:5080;transport=tcp 0 1\n2 sip:10.0.1.1 0 5\n\
         2 sip:10.0.1.2 0 4\n3 sip:10.0.2.1 1\n",
    )
    .unwrap();
    let asks = [
        ("1=8;2=8", "0", "0"),
        ("2=8;1=8", "ruri", "0"),
        ("1=8;2=8", "X", "0"),
        ("1=8;2=8", "2", "0"),
        ("1=8;2=8", "d", "5"),
        ("9=8;1=8", "d", "0"),
        ("3=8;2=8", "d", "0"),
        ("1=8;3=8;2=8", "d", "0"),
        ("3=8", "d", "0"),
        ("9=8", "d", "0"),
        ("1=8", "d", "1"),
        ("1=0;2=1", "d", "0"),
        ("2=2;1=3", "d", "0"),
    ];
    for flags in [0, 2] {
        // Without failover Kamailio keeps nothing.
        let kept = if flags == 2 { r#" + $xavp(_dsdst_=>uri) + " " + $xavp(_dsctx_=>cnt)"# } else { "" };
        let config = |port| {
            let select: String = asks
                .iter()
                .enumerate()
                .map(|(n, (rules, mode, limit))| {
                    format!("    if ($rU == \"r{n}\") ds_select_routes(\"{rules}\", \"{mode}\", \"{limit}\");\n")
                })
                .collect();
            format!(
                r#"{}
modparam("dispatcher", "list_file", "{}")
modparam("dispatcher", "flags", {flags})
request_route {{
    if ($rU == "set") {{ ds_select("1", "8"); ds_set_dst(); }}
    if ($rU == "domain") {{ ds_select("1", "8"); ds_set_domain(); }}
    if ($rU == "unset") ds_set_dst();
    if ($rU == "unset2") ds_set_domain();
    if ($rU == "again") {{ ds_select_dst("1", "8"); $du = "sip:192.0.2.9"; ds_set_dst(); }}
{select}
    $var(out) = "" + $rc + " " + $du + " " + $ru + " "{kept};
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
        let asked = asks.iter().enumerate().filter(|(_, (_, mode, _))| flags == 2 || !["X", "2"].contains(mode));
        let mut users: Vec<String> = asked.map(|(n, _)| format!("r{n}")).collect();
        users.extend(["unset", "unset2"].map(str::to_string));
        if flags == 2 {
            users.extend(["set", "domain", "again"].map(str::to_string));
        }
        let questions: Vec<Question> = users.iter().enumerate().map(|(n, user)| Question::new(user, n)).collect();
        compare(config, &questions);
    }
}

#[test]
fn the_same_rules_in_files_allow_the_same() {
    let dir = process::directory("rules");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "d.allow",
        "# who may\n\n\"^sip:boss@\" : ALL   # all of them\nALL : \"^sip:free[0-9]*@\" EXCEPT \"^sip:free9@\"\n\
         \"^sip:a@\", \"^sip:b@\" EXCEPT \"^sip:b@bad\" : \"^sip:x@\", \"^sip:y@\"\n",
    );
    write(
        "d.deny",
        "ALL : \"^sip:(free|x@|00)\"\n\"^sip:evil@\" : ALL\nALL EXCEPT \"^sip:c@\" : \"^sip:z@\"\n\
         ALL : \"5070\"\nALL : \"v=1\"\nALL : \"^sips:\"\n\"^sip:ann@[a-z.]*$\" : \"^sip:q@EXAMPLE\"\n",
    );
    write("reg.allow", "\"^sip:gw@\" : ALL\n");
    write(
        "reg.deny",
        "ALL : \"@10\\.\"\nALL : \"@host.bad\"\nALL : \"@strict\\.test$\"\n\"^sip:end@example.com$\" : \"^sip:odd@\"\n",
    );
    write("only.allow", "ALL : \"^sip:1\"\n");
    let config = |port| {
        format!(
            r#"{}
modparam("permissions", "default_allow_file", "{dir}/d.allow")
modparam("permissions", "default_deny_file", "{dir}/d.deny")
request_route {{
    $var(ask) = $hdr(X-Ask);
    if ($hdr(X-Branch) != $null) append_branch("$hdr(X-Branch)");
    if ($var(ask) == "register") {{ allow_register("{dir}/reg"); $var(r) = $rc; }}
    else if ($var(ask) == "register2") {{ allow_register("{dir}/reg.allow", "{dir}/reg.deny"); $var(r) = $rc; }}
    else if ($var(ask) == "uri") {{ allow_uri("{dir}/d", "$hdr(X-Uri)"); $var(r) = $rc; }}
    else if ($var(ask) == "default") {{ allow_routing(); $var(r) = $rc; }}
    else if ($var(ask) == "none") {{ allow_routing("{dir}/none"); $var(r) = $rc; }}
    else if ($var(ask) == "only") {{ allow_routing("{dir}/only"); $var(r) = $rc; }}
    else if ($var(ask) == "two") {{ allow_routing("{dir}/d.allow", "{dir}/d.deny"); $var(r) = $rc; }}
    else {{ allow_routing("{dir}/d"); $var(r) = $rc; }}
    append_to_reply("X-Out: $var(r)\r\n");
    sl_send_reply("200", "OK");
    exit;
}}
"#,
            head(port, &["permissions"]),
            dir = dir.path().display()
        )
    };
    let mut questions = Vec::new();
    let froms = [
        "sip:alice@example.com",
        "sip:boss@example.com",
        "sip:a@example.com",
        "sip:b@bad.com",
        "sip:evil@example.com",
        "sip:c@example.com",
        "sip:ann@example.com:5080;x=1",
        "sips:boss@example.com",
        "sip:example.com",
    ];
    let ruris = [
        "sip:bob@example.com",
        "sip:free1@example.com",
        "sip:free9@example.com",
        "sip:FREE2@example.com",
        "sip:x@example.com",
        "sip:y@example.com",
        "sip:0049@example.com",
        "sip:z@example.com",
        "sip:q@example.com",
        "sip:bob@example.com:5070",
        "sip:bob@example.com;v=1",
        "sips:bob@example.com",
        "sip:1@example.com",
    ];
    let mut add = |from: &str, ruri: &str, contact: &str, headers: String| {
        let mut q = Question::new("x", questions.len());
        (q.from, q.to, q.ruri) = (from.to_string(), from.to_string(), ruri.to_string());
        q.contact = contact.to_string();
        q.headers = headers;
        questions.push(q);
    };
    for from in froms {
        for ruri in ruris {
            add(from, ruri, "<sip:c@192.0.2.1>", "X-Ask: base\r\n".to_string());
        }
    }
    for ask in ["default", "two", "none", "only"] {
        for ruri in ["sip:bob@example.com", "sip:x@example.com", "sip:1@example.com"] {
            add("sip:alice@example.com", ruri, "<sip:c@192.0.2.1>", format!("X-Ask: {ask}\r\n"));
        }
    }
    for (ruri, branch) in [
        ("sip:bob@example.com", "sip:0049@example.com"),
        ("sip:0049@example.com", "sip:bob@example.com"),
        ("sip:free1@example.com", "sip:bob@example.com"),
        ("sip:free1@example.com", "sip:free2@example.com"),
        ("sip:free1@example.com", "sip:free9@example.com"),
        ("sip:bob@example.com", "sip:free1@example.com"),
    ] {
        add("sip:alice@example.com", ruri, "<sip:c@192.0.2.1>", format!("X-Ask: base\r\nX-Branch: {branch}\r\n"));
    }
    for uri in ["sip:0049@a", "sip:bob@a;v=1", "sip:bob@a:5070", "tel:1", "free", "sip:free1@a", "sips:a@b"] {
        add("sip:alice@example.com", "sip:bob@a", "<sip:c@192.0.2.1>", format!("X-Ask: uri\r\nX-Uri: {uri}\r\n"));
    }
    for ask in ["register", "register2"] {
        for from in ["sip:alice@example.com", "sip:gw@example.com", "sip:end@example.com", "sip:end@example.com;x=1"] {
            for contact in [
                "<sip:c@192.0.2.1>",
                "<sip:c@10.0.0.1>",
                "sip:c@10.0.0.1;q=1",
                "<sip:c@192.0.2.1>, <sip:c@10.0.0.1>",
                "<sip:c@host.bad:5070>",
                "<sip:c@strict.test:5070;x=1>",
                "<sips:odd@192.0.2.1>",
                "*",
            ] {
                add(from, "sip:example.com", contact, format!("X-Ask: {ask}\r\n"));
            }
        }
    }
    compare(config, &questions);
}

#[test]
fn control_methods_in_scripts_answer_alike() {
    let config = |port| {
        let asks = [
            ("echo", r#"{"jsonrpc":"2.0","method":"core.echo","params":["a","b"],"id":1}"#),
            ("prints", r#"{"jsonrpc":"2.0","method":"core.prints","params":["text"],"id":1}"#),
            ("unknown", r#"{"jsonrpc":"2.0","method":"no.such","id":3}"#),
            ("table", r#"{"jsonrpc":"2.0","method":"htable.seti","params":["t","x",7],"id":"q"}"#),
        ];
        let asks: String =
            asks.map(|(user, ask)| format!("    if ($rU == \"{user}\") jsonrpc_exec('{ask}');\n")).concat();
        format!(
            r#"{}
modparam("htable", "htable", "t=>size=4;")
request_route {{
{asks}
    $var(out) = "" + $rc + " " + $jsonrpl(code);
    if ($jsonrpl(body) =~ "\"result\"") $var(out) = $var(out) + " result";
    if ($jsonrpl(body) =~ "\"error\"") $var(out) = $var(out) + " error";
    if ($jsonrpl(body) =~ "\"b\"") $var(out) = $var(out) + " b";
    $var(out) = $var(out) + " " + $sht(t=>x);
    append_to_reply("X-Out: $var(out)\r\n");
    sl_send_reply("200", "OK");
    exit;
}}
"#,
            head(port, &["htable", "jsonrpcs"])
        )
    };
    let users = ["echo", "prints", "unknown", "table"];
    let questions: Vec<Question> = users.iter().enumerate().map(|(n, user)| Question::new(user, n)).collect();
    compare(config, &questions);
}

#[test]
fn rows_become_structured_variables_alike() {
    let db = MariaDb::start();
    let name = db.fresh_database();
    db.sql(&format!(
        "USE {name}; CREATE TABLE gw (id INT PRIMARY KEY, host VARCHAR(32), weight INT, note VARCHAR(8)); \
         INSERT INTO gw VALUES (1, '192.0.2.1', 5, 'a'), (2, '192.0.2.2', 7, NULL), (3, '192.0.2.3', -9, '')"
    ));
    let url = db.url_for(NATIVE, &name);
    let config = |port| {
        let rest = format!(
            r#"
modparam("sqlops", "sqlcon", "ca=>{url}")
request_route {{
    $var(id) = $(rU{{s.int}});
    sql_xquery("ca", "SELECT id, host, weight, note FROM gw WHERE id >= $var(id) ORDER BY id", "ra");
    $var(rc) = $rc;
    $var(one) = "$xavp(ra[0]=>id) $xavp(ra[0]=>host) $xavp(ra[0]=>weight) $xavp(ra[0]=>note)";
    $var(two) = $xavp(ra[1]=>host) + " " + $xavp(ra[1]=>note);
    $var(sum) = $xavp(ra[0]=>weight) + 1;
    # What the name held before stands behind the new rows.
    if ($rU == "1") sql_xquery("ca", "SELECT host FROM gw WHERE id = 3", "ra");
    append_to_reply("X-Out: $var(rc) $xavp(ra[0]=>host) $xavp(ra[1]=>host) $xavp(ra[3]=>host) $var(two) $var(sum)\r\n");
    sl_send_reply("200", "OK");
}}
"#
        );
        head(port, &["db_mysql", "sqlops"]) + &rest
    };
    let questions: Vec<Question> = ["1", "2", "3", "4"].iter().enumerate().map(|(n, u)| Question::new(u, n)).collect();
    compare(config, &questions);
}
