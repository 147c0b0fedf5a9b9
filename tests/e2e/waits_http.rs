//! HTTP from scripts: every method, every code, what arrives and what is sent.

use crate::support::mocks::{BlackHole, Step, TcpMock};
use crate::support::nginx::Nginx;
use crate::support::{ca, free_port};
use crate::waits_common::{SECOND, Site, ms, site, timed};

/// A script whose cases are chosen by the user of the R-URI, each plain and (`NAME-async`) by
/// `async`. Values with line ends are shown by their length or a part.
fn cases(more: &str, cases: &[(&str, &str, &str, &str)]) -> Site {
    let mut text = format!("{more}\nroute {{\n");
    let mut resumed = String::new();
    for (i, (name, before, call, shown)) in cases.iter().enumerate() {
        text.push_str(&format!(
            "if ($rU == \"{name}\") {{ {before} {call}; sl_send_reply(200, \"{shown}\"); exit; }}\n"
        ));
        text.push_str(&format!("if ($rU == \"{name}-async\") {{ {before} async({call}, after{i}); }}\n"));
        resumed.push_str(&format!("route[after{i}] {{ sl_send_reply(200, \"{shown}\"); }}\n"));
    }
    text.push_str("sl_send_reply(404, \"no case\");\n}\n");
    text.push_str(&resumed);
    site(&["rest_client", "cfgutils"], &text)
}

fn check(site: &Site, name: &str, expected: &str) {
    assert_eq!(site.show(name), expected, "{name}");
    assert_eq!(site.show(&format!("{name}-async")), expected, "{name} by async");
}

#[test]
fn every_method_and_its_outputs() {
    let web = Nginx::shared();
    let url = |path: &str| web.url(path);
    let list: Vec<(&str, String, &str, &str)> = vec![
        (
            "get",
            format!(r#"rest_get("{}", $var(b), $var(t), $var(c))"#, url("/now")),
            "$rc $var(b) $var(t) $var(c)",
            "1 now text/plain 200",
        ),
        ("body-only", format!(r#"rest_get("{}", $avp(b))"#, url("/now")), "$rc $avp(b)", "1 now"),
        (
            "json",
            format!(r#"rest_get("{}", $var(b), $var(t))"#, url("/json")),
            "$var(b) $var(t)",
            r#"{"credit":42,"name":"alice"} application/json"#,
        ),
        ("code-only", format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/status/404")), "$rc $var(c)", "1 404"),
        (
            "status-503",
            format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/status/503")),
            "$rc $var(b) $var(c)",
            "1 status 503 503",
        ),
        (
            "no-content",
            format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/status/204")),
            "$rc <$var(b)> $var(c)",
            "1 <> 204",
        ),
        ("empty", format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/empty")), "$rc <$var(b)> $var(c)", "1 <> 200"),
        ("redirect", format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/redirect")), "$rc $var(c)", "1 302"),
        ("chunked", format!(r#"rest_get("{}", $var(b))"#, url("/chunked")), "$rc $var(b)", "1 one two three"),
        ("drip", format!(r#"rest_get("{}", $var(b))"#, url("/drip")), "$rc $var(b)", "1 abc"),
        ("close", format!(r#"rest_get("{}", $var(b))"#, url("/close")), "$rc $var(b)", "1 bye"),
        (
            "post",
            format!(r#"rest_post("{}", "from $fU", "text/plain", $var(b), , $var(c))"#, url("/echo")),
            "$rc $var(b) $var(c)",
            "1 from alice 200",
        ),
        (
            "post-method",
            format!(r#"rest_post("{}", "x", "text/plain", $var(b), $var(t), $var(c))"#, url("/method")),
            "$rc $var(b) $var(t) $var(c)",
            "1 POST text/plain 200",
        ),
        (
            "post-empty",
            format!(r#"rest_post("{}", "", , $var(b), , $var(c))"#, url("/method")),
            "$rc $var(b) $var(c)",
            "1 POST 200",
        ),
        (
            "put",
            format!(r#"rest_put("{}", "x", "text/plain", $var(b), , $var(c))"#, url("/method")),
            "$rc $var(b) $var(c)",
            "1 PUT 200",
        ),
        (
            "put-body",
            format!(r#"rest_put("{}", "put $fU", "text/plain", $var(b))"#, url("/echo")),
            "$rc $var(b)",
            "1 put alice",
        ),
        ("patch", format!(r#"rest_patch("{}", "x", "text/plain", $var(b))"#, url("/method")), "$rc $var(b)", "1 PATCH"),
        (
            "delete",
            format!(r#"rest_delete("{}", $var(b), , $var(c))"#, url("/method")),
            "$rc $var(b) $var(c)",
            "1 DELETE 200",
        ),
        (
            "head",
            format!(r#"rest_head("{}", $var(b), $var(t), $var(c))"#, url("/now")),
            "$rc <$var(b)> $var(t) $var(c)",
            "1 <> text/plain 200",
        ),
        (
            "options",
            format!(r#"rest_options("{}", $var(b), , $var(c))"#, url("/method")),
            "$rc $var(b) $var(c)",
            "1 OPTIONS 200",
        ),
        (
            "auth",
            format!(r#"rest_get("http://alice:wonderland@127.0.0.1:{}/auth", $var(b), , $var(c))"#, web.port),
            "$rc $var(b) $var(c)",
            "1 welcome 200",
        ),
        ("no-auth", format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/auth")), "$rc $var(c)", "1 401"),
        (
            "large",
            format!(r#"rest_get("{}", $var(b), , $var(c))"#, url("/large")),
            "$rc $(var(b){s.len}) $var(c)",
            "1 65536 200",
        ),
        ("name", format!(r#"rest_get("http://localhost:{}/now", $var(b))"#, web.port), "$rc $var(b)", "1 now"),
        ("query", format!(r#"rest_get("{}?t=0.05&x=$rU", $var(b))"#, url("/sleep")), "$rc $var(b)", "1 slept"),
    ];
    let four: Vec<_> = list.iter().map(|(n, call, shown, _)| (*n, "", call.as_str(), *shown)).collect();
    let site = cases("", &four);
    for (name, _, _, expected) in &list {
        if *name == "large" {
            // A value of the script holds 65535 bytes at most; the log says that it was cut.
            check(&site, name, "1 65535 200");
            site.server.wait_log("output .var\\(b\\) was cut to 65535 bytes", SECOND);
            continue;
        }
        check(&site, name, expected);
    }
    site.assert_idle();
}

#[test]
fn what_is_sent() {
    let web = Nginx::shared();
    let headers = web.url("/headers");
    let list: Vec<(&str, &str, String)> = vec![
        ("get", "", format!(r#"rest_get("{headers}", $var(b))"#)),
        (
            "append",
            r#"rest_append_hf("X-One: $fU"); rest_append_hf("X-Two: 2\r\n");"#,
            format!(r#"rest_get("{headers}", $var(b))"#),
        ),
        ("bad-header", r#"rest_append_hf("X-Bad: a\r\nX-Injected: b");"#, format!(r#"rest_get("{headers}", $var(b))"#)),
        ("post", "", format!(r#"rest_post("{headers}", "a=1", , $var(b))"#)),
        ("post-type", "", format!(r#"rest_post("{headers}", "{{}}", "application/json", $var(b))"#)),
        (
            "post-own",
            r#"rest_append_hf("Content-Type: text/x-own");"#,
            format!(r#"rest_post("{headers}", "a", , $var(b))"#),
        ),
    ];
    let shown = "$(var(b){s.encode.hexa})";
    let four: Vec<_> = list.iter().map(|(n, before, call)| (*n, *before, call.as_str(), shown)).collect();
    let site = cases("", &four);
    let seen = |user: &str| {
        let hex = site.show(user);
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let plain = seen("get");
    assert!(plain.starts_with("GET /headers HTTP/1.1\r\nHost: 127.0.0.1"), "{plain}");
    assert!(!plain.contains("User-Agent") && !plain.contains("Content-"), "{plain}");
    for form in ["append", "append-async"] {
        let text = seen(form);
        assert!(text.contains("\r\nX-One: alice\r\n") && text.contains("\r\nX-Two: 2"), "{text}");
    }
    // They belong to one request of one run.
    assert!(!seen("get").contains("X-One"));
    assert!(!seen("bad-header").contains("X-Injected"));
    let post = seen("post");
    assert!(post.starts_with("POST /headers HTTP/1.1\r\n"), "{post}");
    assert!(
        post.contains("Content-Type: application/x-www-form-urlencoded") && post.contains("Content-Length: 3"),
        "{post}"
    );
    let typed = seen("post-type");
    assert!(typed.contains("Content-Type: application/json") && !typed.contains("urlencoded"), "{typed}");
    let own = seen("post-own");
    assert!(own.contains("Content-Type: text/x-own") && !own.contains("urlencoded"), "{own}");
}

#[test]
fn appended_headers_do_not_reach_the_request_of_another_run() {
    let web = Nginx::shared();
    let site = site(
        &["rest_client", "cfgutils"],
        &format!(
            r#"
        route {{
            if ($rU == "first") {{ rest_append_hf("X-Mine: first"); usleep(300000); }}
            rest_get("{}", $var(b));
            if ($(var(b){{s.index,X-Mine}}) >= 0) sl_send_reply(200, "with"); else sl_send_reply(200, "without");
        }}
        "#,
            web.url("/headers")
        ),
    );
    let client = site.client();
    let first = client.request("OPTIONS", &format!("sip:first@127.0.0.1:{}", site.port));
    client.send_request(&first);
    std::thread::sleep(ms(100));
    assert_eq!(site.show("second"), "without");
    assert_eq!(client.finish(&first, SECOND * 2).pop().unwrap().reason(), "with");
}

#[test]
fn a_plain_call_trims_the_body_as_the_peers_do() {
    let mock = TcpMock::each(vec![
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n  ok \r\n ".to_vec()),
        Step::Close,
    ]);
    let site =
        cases("", &[("trim", "", &format!(r#"rest_get("http://{}/", $var(b))"#, mock.addr), "$rc $(var(b){s.len})")]);
    assert_eq!(site.show("trim"), "1 2");
    assert_eq!(site.show("trim-async"), "1 8");
}

#[test]
fn every_code() {
    let web = Nginx::shared();
    let hole = BlackHole::tcp();
    let garbage = TcpMock::each(vec![
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(b"\x16\x03\x01 no HTTP at all\r\n\r\n".to_vec()),
        Step::Close,
    ]);
    let reset = TcpMock::each(vec![Step::ReadUntil(b"\r\n\r\n".to_vec()), Step::Reset]);
    let half = TcpMock::each(vec![
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()),
        Step::Close,
    ]);
    let flood = TcpMock::each(vec![
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        Step::Flood,
    ]);
    let shown = "$rc <$var(b)> $var(c) $async_phase";
    let get = |url: String| format!(r#"rest_get("{url}", $var(b), , $var(c))"#);
    let list: Vec<(&str, String, &str)> = vec![
        ("refused", get(format!("http://127.0.0.1:{}/", free_port())), "-1 <<null>> 0 connect"),
        ("unknown", get("http://no-such-host.invalid/".into()), "-1 <<null>> 0 resolve"),
        ("hole", get(format!("http://{}/", hole.addr)), "-2 <<null>> 0 connect"),
        ("slow", get(web.url("/sleep?t=20")), "-3 <<null>> 0 wait"),
        ("too-large", get(web.url("/large")), "-10 <<null>> 0 receive"),
        ("flood", get(format!("http://{}/", flood.addr)), "-10 <<null>> 0 receive"),
        ("garbage", get(format!("http://{}/", garbage.addr)), "-10 <<null>> 0 receive"),
        ("reset", get(format!("http://{}/", reset.addr)), "-10 <<null>> 0 wait"),
        ("half", get(format!("http://{}/", half.addr)), "-10 <<null>> 0 receive"),
        ("abort", get(web.url("/abort")), "-10 <<null>> 0 wait"),
        ("no-scheme", get("nonsense".into()), "-1 <<null>> 0 resolve"),
        ("scheme", get("ftp://127.0.0.1/".into()), "-10 <<null>> 0 queue"),
    ];
    let four: Vec<_> = list.iter().map(|(n, call, _)| (*n, "", call.as_str(), shown)).collect();
    let site = cases(
        "modparam(\"rest_client\", \"connection_timeout\", 1)\nmodparam(\"rest_client\", \"curl_timeout\", 2)\n\
         modparam(\"rest_client\", \"max_transfer_size\", 100)",
        &four,
    );
    let mut wrong = Vec::new();
    for (name, _, expected) in &list {
        for form in ["", "-async"] {
            let client = site.client();
            let request = client.request("OPTIONS", &format!("sip:{name}{form}@127.0.0.1:{}", site.port));
            let (answer, time) = timed(&client, &request);
            if answer.reason() != *expected {
                wrong.push(format!("{name}{form}: {} instead of {expected}", answer.reason()));
            }
            let bounds = match *name {
                "hole" => ms(950)..ms(1900),
                "slow" => ms(1950)..ms(2900),
                _ => ms(0)..ms(1500),
            };
            if !bounds.contains(&time) {
                wrong.push(format!("{name}{form}: took {time:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), site.server.log());
    site.assert_idle();
}

#[test]
fn the_argument_of_async_and_the_module_s_time_whichever_is_less() {
    let web = Nginx::shared();
    let script = format!(
        r#"
        modparam("rest_client", "curl_timeout", 2)
        route {{
            if ($rU == "argument") async(rest_get("{0}", $var(b), , $var(c)), after, 1);
            if ($rU == "module") async(rest_get("{0}", $var(b), , $var(c)), after, 9);
        }}
        route[after] {{ sl_send_reply(200, "$rc $var(c) $async_err"); }}
        "#,
        web.url("/sleep?t=20")
    );
    let site = site(&["rest_client"], &script);
    for (user, seconds) in [("argument", 1), ("module", 2)] {
        let client = site.client();
        let (answer, time) = timed(&client, &client.request("OPTIONS", &format!("sip:{user}@127.0.0.1:{}", site.port)));
        assert_eq!(answer.reason(), "-3 0 timeout");
        assert!(time >= ms(1000 * seconds - 20) && time < ms(1000 * seconds + 900), "{user}: {time:?}");
    }
}

#[test]
fn https_with_good_and_bad_certificates() {
    let web = Nginx::shared();
    let trust = ca::get().ca.display().to_string();
    let run = |more: &str, url: String| {
        let call = format!(r#"rest_get("{url}", $var(b), , $var(c))"#);
        let site = cases(
            &format!("modparam(\"rest_client\", \"ssl_capath\", \"{trust}\")\n{more}"),
            &[("get", "", &call, "$rc $var(c) $async_phase")],
        );
        let shown = site.show("get");
        assert_eq!(site.show("get-async"), shown);
        shown
    };
    let by_name = |port: u16| format!("https://localhost:{port}/now");
    assert_eq!(run("", by_name(web.tls_port)), "1 200 <null>");
    assert_eq!(run("", web.tls_url("/now")), "1 200 <null>");
    assert_eq!(run("", by_name(web.wrong_name_port)), "-10 0 tls");
    assert_eq!(run("", by_name(web.untrusted_port)), "-10 0 tls");
    // A server that speaks no TLS.
    assert_eq!(run("", format!("https://127.0.0.1:{}/now", web.port)), "-10 0 tls");
    let host_off = "modparam(\"rest_client\", \"ssl_verifyhost\", 0)";
    assert_eq!(run(host_off, by_name(web.wrong_name_port)), "1 200 <null>");
    assert_eq!(run(host_off, by_name(web.untrusted_port)), "-10 0 tls");
    let both_off = format!("{host_off}\nmodparam(\"rest_client\", \"ssl_verifypeer\", 0)");
    assert_eq!(run(&both_off, by_name(web.untrusted_port)), "1 200 <null>");
}

#[test]
fn connections_are_kept_and_many_run_at_once() {
    let web = Nginx::start();
    let site = site(
        &["rest_client"],
        &format!(
            r#"
        route {{ async(rest_get("{}", $var(b)), after); }}
        route[after] {{ sl_send_reply(200, "$rc $var(b)"); }}
        "#,
            web.url("/slow")
        ),
    );
    let client = site.client();
    for _ in 0..5 {
        assert_eq!(client.options(&site.uri()).reason(), "1 slow");
    }
    assert_eq!(web.connections("/slow"), 1, "one after the other over one connection");
    let requests: Vec<_> = (0..40).map(|_| client.request("OPTIONS", &site.uri())).collect();
    let start = std::time::Instant::now();
    for request in &requests {
        client.send_request(request);
    }
    for _ in &requests {
        assert_eq!(client.recv(SECOND * 5).expect("an answer").reason(), "1 slow");
    }
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
    // The server restarts: what was kept is dead, and nobody notices.
    web.kill();
    web.restart();
    assert_eq!(client.options(&site.uri()).reason(), "1 slow");
    site.assert_idle();
}
