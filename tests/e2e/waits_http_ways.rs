//! HTTP from scripts: where redirections lead, proxies, certificates, compression, a limit for each phase.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::nginx::Nginx;
use crate::support::reprise::{BINARY, Reprise, run};
use crate::support::tinyproxy::TinyProxy;
use crate::support::{ca, eventually, free_port, process};
use crate::waits_common::{SECOND, Site, head, ms, site, timed};

/// A script that fetches what the user of the R-URI stands for, plain and (`NAME-async`) by `async`.
fn script(more: &str, cases: &[(&str, String)], shown: &str) -> String {
    let mut text = format!("{more}\nroute {{\n");
    for (name, call) in cases {
        text.push_str(&format!(
            "if ($rU == \"{name}\") {{ {call}; sl_send_reply(200, \"{shown}\"); exit; }}\n\
             if ($rU == \"{name}-async\") {{ async({call}, after); }}\n"
        ));
    }
    text.push_str(&format!("}}\nroute[after] {{ sl_send_reply(200, \"{shown}\"); }}\n"));
    text
}

fn get(url: &str) -> String {
    format!(r#"rest_get("{url}", $var(b), , $var(c))"#)
}

fn check(site: &Site, name: &str, expected: &str) {
    assert_eq!(site.show(name), expected, "{name}\n{}", site.server.log());
    assert_eq!(site.show(&format!("{name}-async")), expected, "{name} by async\n{}", site.server.log());
}

/// What `$(var(b){s.encode.hexa})` stands for.
fn text_of(hex: &str) -> String {
    let bytes: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn redirections() {
    let web = Nginx::shared();
    let hole = BlackHole::tcp();
    let cases = [
        ("follow", get(&web.url("/redirect"))),
        ("loop", get(&web.url("/loop"))),
        ("nowhere", get(&web.url("/to/302?ftp://127.0.0.1/"))),
        ("refused", get(&web.url(&format!("/to/302?http://127.0.0.1:{}/", free_port())))),
        ("slow", get(&web.url("/to/302?/sleep?t=20"))),
        ("hole", get(&web.url(&format!("/to/302?http://{}/", hole.addr)))),
        ("post", format!(r#"rest_post("{}", "x", "text/plain", $var(b), , $var(c))"#, web.url("/to/302?/method"))),
        ("again", format!(r#"rest_post("{}", "x", "text/plain", $var(b), , $var(c))"#, web.url("/to/307?/method"))),
    ];
    let params = "modparam(\"rest_client\", \"max_redirects\", 3)\nmodparam(\"rest_client\", \"curl_timeout\", 2)\n\
                  modparam(\"rest_client\", \"connection_timeout\", 1)";
    let site = site(&["rest_client"], &script(params, &cases, "$rc <$var(b)> $var(c) $async_phase"));
    check(&site, "follow", "1 <now> 200 <null>");
    check(&site, "loop", "-10 <<null>> 0 receive");
    check(&site, "nowhere", "-10 <<null>> 0 receive");
    check(&site, "refused", "-1 <<null>> 0 connect");
    check(&site, "hole", "-2 <<null>> 0 connect");
    check(&site, "slow", "-3 <<null>> 0 wait");
    check(&site, "post", "1 <GET> 200 <null>");
    check(&site, "again", "1 <POST> 200 <null>");
    site.assert_idle();
}

#[test]
fn what_parameters_have_sent() {
    let web = Nginx::shared();
    let shown = "$(var(b){s.encode.hexa})";
    let cases = [
        ("headers", get(&web.url("/headers"))),
        ("post", format!(r#"rest_post("{}", "x", "text/plain", $var(b))"#, web.url("/headers"))),
        ("large", get(&web.url("/gzip"))),
    ];
    let site_of = |params: &str| site(&["rest_client"], &script(params, &cases, shown));
    let plain = site_of("");
    let text = text_of(&plain.show("post"));
    for word in ["Accept-Encoding", "Expect", "HTTP/1.0", "Via"] {
        assert!(!text.contains(word), "{text}");
    }
    let site =
        site_of("modparam(\"rest_client\", \"compression\", 1)\nmodparam(\"rest_client\", \"enable_expect_100\", 1)");
    for form in ["", "-async"] {
        let text = text_of(&site.show(&format!("headers{form}")));
        assert!(text.contains("\r\nAccept-Encoding: gzip, deflate") && !text.contains("Expect"), "{text}");
        let text = text_of(&site.show(&format!("post{form}")));
        assert!(text.contains("\r\nExpect: 100-continue"), "{text}");
    }
    let old = site_of("modparam(\"rest_client\", \"curl_http_version\", 1)");
    assert!(text_of(&old.show("headers")).starts_with("GET /headers HTTP/1.0\r\n"));
}

#[test]
fn compressed_responses() {
    let web = Nginx::shared();
    let cases = [("gzip", get(&web.url("/gzip"))), ("zeros", get(&web.url("/zeros")))];
    let params =
        "modparam(\"rest_client\", \"compression\", 1)\nmodparam(\"rest_client\", \"max_transfer_size\", 2048)";
    let site = site(&["rest_client"], &script(params, &cases, "$rc $(var(b){s.substr,0,6}) $var(c)"));
    check(&site, "gzip", "1 line 0 200");
    // Sixteen kilobytes that would become sixteen megabytes.
    check(&site, "zeros", "-10 <null> 0");
    site.assert_idle();
}

#[test]
fn a_proxy() {
    let web = Nginx::shared();
    let proxy = TinyProxy::with_password("alice", "wonderland");
    let trust = ca::get().ca.display().to_string();
    let cases = [
        ("http", get(&web.url("/headers"))),
        ("https", get(&web.tls_url("/now"))),
        ("gone", get(&format!("https://127.0.0.1:{}/", free_port()))),
        ("direct", get(&web.url("/now").replace("127.0.0.1", "localhost"))),
    ];
    let params = |direct: &str| {
        format!(
            "modparam(\"rest_client\", \"proxy\", \"http://alice:wonderland@127.0.0.1:{}\")\n\
             modparam(\"rest_client\", \"no_proxy\", \"{direct}\")\n\
             modparam(\"rest_client\", \"ssl_capath\", \"{trust}\")",
            proxy.port
        )
    };
    let hex = site(&["rest_client"], &script(&params(""), &cases, "$(var(b){s.encode.hexa})"));
    for form in ["http", "http-async"] {
        let text = text_of(&hex.show(form));
        assert!(text.contains("between") && !text.contains("Authorization"), "{text}");
    }
    let site = site(&["rest_client"], &script(&params("localhost"), &cases, "$rc $var(b) $var(c) $async_phase"));
    check(&site, "direct", "1 now 200 <null>");
    assert!(!proxy.log().contains("localhost"), "{}", proxy.log());
    check(&hex, "https", "6e6f77");
    assert!(proxy.log().contains(&format!("CONNECT localhost:{}", web.tls_port)), "{}", proxy.log());
    check(&site, "gone", "-1 <null> 0 connect");
    site.assert_idle();
}

#[test]
fn certificates_of_tls_domains() {
    let web = Nginx::shared();
    let ca = ca::get();
    let text = format!(
        r#"
        modparam("rest_client", "ssl_capath", "{trust}")
        modparam("tls_mgm", "client_domain", "mine")
        modparam("tls_mgm", "certificate", "[mine]{cert}")
        modparam("tls_mgm", "private_key", "[mine]{key}")
        modparam("tls_mgm", "client_domain", "careless")
        modparam("tls_mgm", "verify_cert", "[careless]0")
        modparam("tls_mgm", "client_domain", "strict")
        modparam("tls_mgm", "ca_list", "[strict]{stranger}")
        modparam("tls_mgm", "require_cert", "[strict]1")
        route {{
            if ($rU == "none") {{ rest_get("{who}", $var(b), , $var(c)); sl_send_reply(200, "$rc $var(c)"); exit; }}
            if ($rU == "unknown") {{ $var(rc) = rest_init_client_tls("$rU"); sl_send_reply(200, "$var(rc)"); exit; }}
            if ($rU == "mine") {{
                $var(first) = rest_init_client_tls("mine");
                rest_get("{who}", $var(b), , $var(c));
                rest_get("{who}", $var(d), , $var(e));
                sl_send_reply(200, "$var(first) $var(b) $var(c) $var(e)");
                exit;
            }}
            if ($rU == "mine-async") {{
                rest_init_client_tls("mine");
                async(rest_get("{who}", $var(b), , $var(c)), after);
            }}
            if ($rU == "careless") {{
                rest_init_client_tls("careless");
                rest_get("{untrusted}", $var(b), , $var(c));
                sl_send_reply(200, "$rc $var(c)");
                exit;
            }}
            if ($rU == "strict") {{
                rest_init_client_tls("strict");
                rest_get("{who}", $var(b), , $var(c));
                $var(first) = $rc;
                rest_init_client_tls("strict");
                rest_get("{untrusted}", $var(b), , $var(c));
                sl_send_reply(200, "$var(first) $rc $var(c)");
                exit;
            }}
        }}
        route[after] {{ sl_send_reply(200, "$rc $var(b) $var(c)"); }}
        "#,
        trust = ca.ca.display(),
        cert = ca.client.cert.display(),
        key = ca.client.key.display(),
        stranger = ca.untrusted.cert.display(),
        who = format_args!("https://localhost:{}/who", web.client_port),
        untrusted = format_args!("https://localhost:{}/now", web.untrusted_port),
    );
    let site = site(&["rest_client", "tls_mgm"], &text);
    assert_eq!(site.show("none"), "1 400", "nginx's answer to who shows no certificate");
    // It is for one request only.
    assert_eq!(site.show("mine"), "1 CN=client 200 400");
    assert_eq!(site.show("mine-async"), "1 CN=client 200");
    assert_eq!(site.show("none"), "1 400");
    assert_eq!(site.show("unknown"), "-1");
    assert_eq!(site.show("careless"), "1 200");
    // A domain's own authorities stand in for the others.
    assert_eq!(site.show("strict"), "-10 1 200");
}

/// The same server in a mount namespace of its own, where the system trusts the authority of the tests.
#[test]
fn the_system_s_authorities() {
    let web = Nginx::shared();
    let system = "/etc/ssl/certs/ca-certificates.crt";
    assert!(Path::new(system).exists(), "part not installed: ca-certificates");
    let dir = process::directory("roots");
    let wrapper = dir.path().join("reprise");
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {} {system} && exec {BINARY} \"$@\"' sh \"$@\"\n",
        ca::get().ca.display()
    );
    std::fs::write(&wrapper, text).expect("wrapper written");
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).expect("permissions");
    let cases = [
        ("good", get(&web.tls_url("/now"))),
        ("stranger", get(&format!("https://localhost:{}/now", web.untrusted_port))),
    ];
    let port = free_port();
    let config =
        format!("{}{}", head(port, &["tm", "sl", "rest_client"]), script("", &cases, "$rc $var(c) $async_phase"));
    let server = Reprise::launch(&wrapper, &config, &["-n", "1"], &[]).unwrap_or_else(|f| panic!("{}", f.stderr));
    let site = Site { server, port };
    check(&site, "good", "1 200 <null>");
    check(&site, "stranger", "-10 0 tls");
}

#[test]
fn a_limit_for_each_phase_and_nothing_left_behind() {
    let web = Nginx::shared();
    let hole = BlackHole::tcp();
    let silent = TcpMock::each(vec![Step::Hang]);
    let cases = [
        ("tcp", get(&format!("http://{}/", hole.addr))),
        ("tls", get(&format!("https://{}/", silent.addr))),
        ("first", get(&web.url("/sleep?t=20"))),
        ("drip", get(&web.url("/drip"))),
        ("head", get(&web.url("/now"))),
    ];
    let params = "modparam(\"rest_client\", \"tcp_timeout\", 400)\nmodparam(\"rest_client\", \"tls_timeout\", 400)\n\
                  modparam(\"rest_client\", \"first_byte_timeout\", 400)\nmodparam(\"rest_client\", \"resolve_timeout\", 400)\n\
                  modparam(\"rest_client\", \"curl_conn_lifetime\", 1)\nbackend_max_failures = 0";
    let site = site(&["rest_client"], &script(params, &cases, "$rc $var(b) $var(c) $async_phase"));
    let worker = site.server.worker_pids()[0];
    let fds = site.server.fd_count(worker);
    for (name, expected) in [
        ("tcp", "-2 <null> 0 connect"),
        ("tls", "-2 <null> 0 tls"),
        ("first", "-3 <null> 0 wait"),
        ("drip", "1 abc 200 <null>"),
    ] {
        for form in ["", "-async"] {
            let client = site.client();
            let request = client.request("OPTIONS", &format!("sip:{name}{form}@127.0.0.1:{}", site.port));
            let (answer, time) = timed(&client, &request);
            assert_eq!(answer.reason(), expected, "{name}{form}");
            assert!(name == "drip" || (time >= ms(380) && time < ms(6000)), "{name}{form}: {time:?}");
        }
    }
    check(&site, "head", "1 now 200 <null>");
    site.assert_idle();
    eventually("the descriptors of the start", SECOND * 10, || site.server.fd_count(worker) == fds);
}

#[test]
fn what_a_check_finds() {
    let good = &ca::get().client;
    let config = format!(
        r#"{head}
        modparam("rest_client", "proxy", "socks5://127.0.0.1:1080")
        modparam("tls_mgm", "client_domain", "billing")
        modparam("tls_mgm", "client_domain", "other")
        modparam("tls_mgm", "certificate", "[biling]{cert}")
        modparam("tls_mgm", "private_key", "[billing]{key}")
        modparam("tls_mgm", "certificate", "[other]{cert}")
        modparam("tls_mgm", "private_key", "[other]{strange}")
        modparam("tls_mgm", "certificate", "/nonexistent.pem")
        modparam("tls_mgm", "private_key", "{key}")
        route {{ exit; }}
        "#,
        head = head(free_port(), &["tm", "sl", "rest_client", "tls_mgm"]),
        cert = good.cert.display(),
        key = good.key.display(),
        strange = ca::get().server.key.display(),
    );
    let dir = process::directory("check");
    let file = dir.path().join("bad.cfg");
    let checked = |config: &str| {
        std::fs::write(&file, config).expect("configuration written");
        let done = run(&["-c", "-f", &file.to_string_lossy()], SECOND * 20);
        assert_eq!(done.code, 1);
        done.stderr
    };
    let stderr = checked(&config);
    for text in [
        "error[E0505]: this is no proxy",
        "error[E0505]: no TLS domain is named `biling`",
        "did you mean `billing`?",
        "error[E0505]: domain `billing` has a private_key but no certificate",
        "client.pem: keys may not be consistent: KeyMismatch",
        "error[E0505]: /nonexistent.pem: No such file",
    ] {
        assert!(stderr.contains(text), "{text}\n{stderr}");
    }
    let script = r#"modparam("tls_mgm", "client_domain", "other") route { rest_init_client_tls("othr"); exit; }"#;
    let stderr = checked(&format!("{}{script}\n", head(free_port(), &["tm", "sl", "rest_client", "tls_mgm"])));
    assert!(stderr.contains("error[E0302]: no client_domain is named `othr`"), "{stderr}");
    assert!(stderr.contains("did you mean `other`?"), "{stderr}");
}
