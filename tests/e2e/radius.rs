//! RADIUS from scripts, against FreeRADIUS: passwords, digests, accounting, servers that are gone, silent or
//! not who they say.

use std::net::UdpSocket;
use std::sync::OnceLock;

use md5::{Digest, Md5};
use nix::sys::signal::Signal;

use crate::support::free_port;
use crate::support::freeradius::{FreeRadius, PASSWORD, SECRET};
use crate::support::reprise::run;
use crate::waits_common::{SECOND, Site, site};

/// The server that the tests share which do not stop it.
fn shared() -> &'static FreeRadius {
    static SHARED: OnceLock<FreeRadius> = OnceLock::new();
    SHARED.get_or_init(FreeRadius::start)
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

const SETS: &str = r#"
modparam("aaa_radius", "sets", "login = (User-Name=$rU, User-Password=$avp(password))")
modparam("aaa_radius", "sets", "rights = (Reply-Message=$avp(text), Session-Timeout=$avp(limit), Framed-IP-Address=$var(ip), Cisco-AVPair=$avp(pair))")
modparam("aaa_radius", "sets", "ticket = (Acct-Status-Type=$avp(status), Acct-Session-Id=$ci, User-Name=$fU, Called-Station-Id=$ru, Event-Timestamp=$Ts)")
"#;

/// A server with one worker whose users name the case.
fn radius(config: &std::path::Path, more: &str, script: &str) -> Site {
    let head = format!("modparam(\"aaa_radius\", \"radius_config\", \"{}\")\n{SETS}{more}", config.display());
    site(&["aaa_radius"], &format!("{head}{script}"))
}

fn servers(r: &FreeRadius) -> (Vec<String>, Vec<String>) {
    (vec![local(r.auth_port)], vec![local(r.acct_port)])
}

const LOGIN: &str = r#"
route {
    $avp(password) = "wonderland";
    if ($rU == "wrong") $avp(password) = "guess";
    if ($fU == "alice" && $rU == "async") async(radius_send_auth("login", "rights"), after);
    $var(rc) = radius_send_auth("login", "rights");
    sl_send_reply(200, "$var(rc) $avp(text) $avp(limit) $var(ip) $avp(pair) $(avp(pair)[1])");
}
route[after] {
    sl_send_reply(200, "async $rc $avp(text)");
}
"#;

#[test]
fn accepted_and_rejected_with_their_attributes() {
    let r = shared();
    let (auth, acct) = servers(r);
    let config = r.client_config(&auth, &acct, "radius_timeout 5\n");
    let site = radius(&config, "modparam(\"aaa_radius\", \"fetch_all_values\", 1)\n", LOGIN);
    assert_eq!(site.show("bob"), "1 hello bob 3600 10.1.2.3 sip:one sip:two");
    assert_eq!(site.show("wrong"), "-2 no <null> <null> <null> <null>");
    assert_eq!(site.show("mallory"), "-2 no <null> <null> <null> <null>");
    assert_eq!(site.show("async"), "async 1 hello async");
    site.assert_idle();
    let single = radius(&config, "", LOGIN);
    assert_eq!(single.show("bob"), "1 hello bob 3600 10.1.2.3 sip:one <null>");
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn digests_are_checked_by_the_server() {
    let r = shared();
    let (auth, acct) = servers(r);
    // FreeRADIUS's own form, by its dictionary; and that of RFC 5090, which needs none.
    let forms = [("", "Digest-User-Name"), ("# no dictionary\n", "Digest-Username")];
    for (more, user) in forms {
        let sets = format!(
            "modparam(\"aaa_radius\", \"sets\", \"digest = (User-Name=$au, {user}=$au, Digest-Realm=$ar, \
             Digest-Nonce=$an, Digest-Method=$rm, Digest-URI=$adu, Digest-Response=$auth.resp, \
             Digest-Algorithm=$auth.alg)\")\n\
             modparam(\"aaa_radius\", \"sets\", \"text = (Reply-Message=$avp(text))\")\n"
        );
        let config = r.client_config(&auth, &acct, more);
        let script = format!(
            "modparam(\"aaa_radius\", \"radius_config\", \"{}\")\n{sets}\
             route {{ $var(rc) = radius_send_auth(\"digest\", \"text\"); sl_send_reply(200, \"$var(rc) $avp(text)\"); }}",
            config.display()
        );
        let site = site(&["aaa_radius"], &script);
        let client = site.client();
        let answer = |password: &str| {
            let uri = site.uri();
            let ha1 = hex(Md5::digest(format!("carol:sip.example:{password}")));
            let ha2 = hex(Md5::digest(format!("OPTIONS:{uri}")));
            let response = hex(Md5::digest(format!("{ha1}:n0nce:{ha2}")));
            let header = format!(
                "Authorization: Digest username=\"carol\", realm=\"sip.example\", nonce=\"n0nce\", uri=\"{uri}\", \
                 response=\"{response}\", algorithm=MD5"
            );
            client.ask(&client.request("OPTIONS", &uri).header(&header)).reason().to_owned()
        };
        assert_eq!(answer(PASSWORD), "1 hello carol", "{user}");
        assert_eq!(answer("wrong"), "-2 no", "{user}");
        site.assert_idle();
    }
}

#[test]
fn tickets_are_written_by_the_server() {
    let r = FreeRadius::start();
    let (auth, acct) = servers(&r);
    let script = r#"
        route {
            $avp(status) = $rU;
            $var(rc) = radius_send_acct("ticket");
            if ($rU == "Sideways") sl_send_reply(200, "$var(rc)");
            launch(radius_send_acct("ticket"), logged, "$ci");
            sl_send_reply(200, "$var(rc)");
        }
        route[logged] { xlog("ticket of $param(1): $rc\n"); }
    "#;
    let site = radius(&r.client_config(&auth, &acct, ""), "", script);
    let client = site.client();
    let start = client.request("OPTIONS", &format!("sip:Start@127.0.0.1:{}", site.port));
    assert_eq!(client.ask(&start).reason(), "1");
    site.server.wait_log(&format!("ticket of {}: 1", start.call_id), SECOND * 5);
    let detail = r.detail();
    for line in
        ["Acct-Status-Type = Start", &format!("Acct-Session-Id = \"{}\"", start.call_id), "NAS-IP-Address = 127.0.0.1"]
    {
        assert_eq!(detail.matches(line).count(), 2, "{line}\n{detail}");
    }
    // A value that the dictionary does not know is refused before anything is sent.
    assert_eq!(site.show("Sideways"), "-1");
    site.server.wait_log("Acct-Status-Type: `Sideways` is not a number or the name of a value", SECOND * 5);
    site.assert_idle();
}

#[test]
fn the_next_server_is_asked_when_one_is_gone() {
    let r = FreeRadius::start();
    let auth = [local(free_port()), local(r.auth_port)];
    let config = r.client_config(&auth, &[], "radius_timeout 1\nradius_retries 0\nradius_deadtime 60\n");
    let site = radius(&config, "", LOGIN);
    assert!(site.show("bob").starts_with("1 hello bob"), "refused: the second at once");
    r.stop();
    assert!(site.show("bob").starts_with("-1 <null>"), "both are gone");
    r.launch();
    assert!(site.show("bob").starts_with("1 hello bob"), "it is back");
    // Accounting has no server at all.
    site.assert_idle();
}

#[test]
fn hundreds_wait_for_a_server_that_stands_still_and_nobody_else_does() {
    let r = FreeRadius::start();
    let config = r.client_config(&[local(r.auth_port)], &[], "radius_timeout 3\nradius_retries 15\n");
    let script = format!(
        "route {{ if ($rU == \"plain\") {{ sl_send_reply(200, \"plain\"); exit; }} route(ask); }}\n{}",
        LOGIN.replacen("route {", "route[ask] {", 1)
    );
    let site = radius(&config, "", &script);
    let client = site.client();
    assert!(site.show("bob").starts_with("1 "));
    r.signal(Signal::SIGSTOP);
    let requests: Vec<_> =
        (0..600).map(|i| client.request("OPTIONS", &format!("sip:u{i}@127.0.0.1:{}", site.port))).collect();
    // A few at a time: a burst is not what this is about.
    for (i, some) in requests.chunks(100).enumerate() {
        for request in some {
            client.send_request(request);
        }
        let so_far = 100 * (i + 1);
        crate::support::eventually("all wait", SECOND * 20, || site.waits() == so_far);
    }
    assert_eq!(site.show("plain"), "plain");
    r.signal(Signal::SIGCONT);
    let mut answers = std::collections::HashMap::new();
    while answers.len() < requests.len() {
        let m = client.recv(SECOND * 30).unwrap_or_else(|| panic!("{} answers", answers.len()));
        if m.status() >= 200 {
            answers.insert(m.call_id().to_owned(), m.reason().to_owned());
        }
    }
    for (i, request) in requests.iter().enumerate() {
        assert!(answers[&request.call_id].starts_with(&format!("1 hello u{i} ")), "{}", answers[&request.call_id]);
    }
    site.assert_idle();
}

#[test]
fn requests_are_repeated_as_they_were_and_forged_answers_are_passed_over() {
    let r = shared();
    let liar = UdpSocket::bind("127.0.0.1:0").unwrap();
    liar.set_read_timeout(Some(SECOND * 20)).unwrap();
    let port = liar.local_addr().unwrap().port();
    let config = r.client_config(&[local(port)], &[], "radius_timeout 1\nradius_retries 2\n");
    let site = radius(&config, "", LOGIN);
    let client = site.client();
    let request = client.request("OPTIONS", &site.uri());
    client.send_request(&request);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut buffer = [0; 5000];
    for _ in 0..3 {
        let (n, from) = liar.recv_from(&mut buffer).expect("a request");
        seen.push(buffer[..n].to_vec());
        let forged = |secret: &[u8], code: u8| {
            let mut answer = vec![code, buffer[1], 0, 20];
            let sum = Md5::digest([&answer[..], &buffer[4..20], secret].concat());
            answer.extend_from_slice(&sum);
            answer
        };
        liar.send_to(&forged(b"another secret", 2), from).unwrap();
        liar.send_to(b"\x02", from).unwrap();
        liar.send_to(&[0xff; 4000], from).unwrap();
        // Signed, but no answer to this question.
        liar.send_to(&forged(SECRET.as_bytes(), 5), from).unwrap();
    }
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "the same identifier, the same authenticator");
    let answer = client.expect("the final answer", SECOND * 20, |m| m.status() >= 200);
    assert!(answer.reason().starts_with("-1 <null>"), "{}", answer.reason());
    site.server.wait_log("timeout in phase wait", SECOND * 5);
    site.assert_idle();
}

#[test]
fn findings_at_load_time() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = dir.path().join("reprise.cfg");
        std::fs::write(&path, text).unwrap();
        let done = run(&["-c", "-f", path.to_str().unwrap()], SECOND * 20);
        assert_eq!(done.code, 1, "{}", done.stderr);
        done.stderr
    };
    let client = dir.path().join("client.conf");
    std::fs::write(&client, "authserver 127.0.0.1::s3cret\n").unwrap();
    let head = "socket=udp:127.0.0.1:5060\nloadmodule \"tm.so\"\nloadmodule \"aaa_radius.so\"\n";
    let config = format!("{head}modparam(\"aaa_radius\", \"radius_config\", \"{}\")\n", client.display());
    let found =
        check(&format!("{config}modparam(\"aaa_radius\", \"sets\", \"a = (User-Nam=$rU)\")\nroute {{ exit; }}\n"));
    assert!(
        found.contains("attribute `User-Nam` is in no dictionary") && found.contains("did you mean `User-Name`?"),
        "{found}"
    );
    let found = check(&format!("{config}modparam(\"aaa_radius\", \"sets\", \"a = User-Name\")\nroute {{ exit; }}\n"));
    assert!(found.contains("not of the form"), "{found}");
    let found = check(&format!(
        "{config}modparam(\"aaa_radius\", \"sets\", \"login = (User-Name=$rU)\")\nroute {{ radius_send_acct(\"logn\"); }}\n"
    ));
    assert!(found.contains("no list is named `logn`") && found.contains("did you mean `login`?"), "{found}");
    let found = check(&format!("{head}modparam(\"aaa_radius\", \"radius_config\", \"/none\")\nroute {{ exit; }}\n"));
    assert!(found.contains("/none: No such file"), "{found}");
}
