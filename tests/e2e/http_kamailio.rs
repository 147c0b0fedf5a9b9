//! Kamailio's HTTP modules on a real web server, and beside a running Kamailio; counters and locks of all workers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::SECOND;
use crate::kamailio::{Kamailio, answers};
use crate::support::mocks::{Step, TcpMock};
use crate::support::nginx::Nginx;
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, free_port};

const MODULES: &str = "loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\nloadmodule \"xlog.so\"\n\
                       loadmodule \"textops.so\"\n";

/// What comes of calls of http_client, each as `$var(c) [$var(r)]`. `{W}` is the web server.
const CASES: &[&str] = &[
    r#"$var(c) = http_client_query("{W}/now", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/status/204", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/status/404", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/status/503", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/empty", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/chunked", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/echo", "posted=1", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/method", "posted=1", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/method", "", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/large", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/abort", "$var(r)");"#,
    r#"$var(c) = http_client_query("http://127.0.0.1:1/x", "$var(r)");"#,
    r#"$var(c) = http_client_query("nonsense://x", "$var(r)");"#,
    r#"$var(c) = http_client_query("", "$var(r)");"#,
    r#"$var(c) = http_client_query("{W}/sleep?t=3", "$var(r)");"#,
    r#"if (http_client_query("{W}/status/404", "$var(r)")) $var(c) = "true"; else $var(c) = "false";"#,
    r#"$var(c) = http_client_get("{W}/method", "", "X-A: b", "$var(r)");"#,
    r#"$var(c) = http_client_get("{W}/echo", "body", "X-A: b", "$var(r)");"#,
    r#"$var(c) = http_connect("web", "/now", "$var(r)");"#,
    r#"$var(c) = http_connect("web", "now", "$var(r)");"#,
    r#"$var(c) = http_connect("web", "/echo", "text/plain", "data", "$var(r)");"#,
    r#"$var(c) = http_connect_raw("web", "/echo", "text/plain", "a $5 b", "$var(r)");"#,
    r#"$var(c) = http_connect("two", "", "$var(r)");"#,
    r#"$var(c) = http_connect("down", "/now", "$var(r)");"#,
    r#"$var(c) = http_connect("downup", "/now", "$var(r)");"#,
    r#"$var(c) = http_connect("downdownup", "/now", "$var(r)");"#,
    r#"$var(c) = http_connect("errors", "/now", "$var(r)");"#,
    r#"$var(c) = http_connect("follows", "/redirect", "$var(r)");"#,
    r#"http_connect("follows", "/redirect", "$var(r)"); $var(c) = http_get_redirect("follows", "$var(r)");"#,
    r#"http_connect("web", "/now", "$var(r)"); $var(c) = http_get_redirect("web", "$var(r)");"#,
    r#"$var(c) = http_connect("alice", "/auth", "$var(r)");"#,
    r#"$var(c) = http_connect("mallory", "/auth", "$var(r)");"#,
    r#"$var(c) = http_connect("basic", "/auth", "$var(r)");"#,
    r#"$var(r) = $curlerror(6); $var(c) = $curlerror(28);"#,
    r#"$var(r) = $curlerror(7); $var(c) = $curlerror(52);"#,
];

fn client_config(port: u16, web: &Nginx) -> String {
    let mut text = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:127.0.0.1:{port}\n\
         {MODULES}loadmodule \"http_client.so\"\n"
    );
    text.push_str("modparam(\"http_client\", \"connection_timeout\", 1)\n");
    let host = web.url("");
    let host = host.trim_end_matches('/').trim_start_matches("http://");
    for con in [
        format!("web=>http://{host}"),
        format!("two=>http://{host}/chunked;maxdatasize=5"),
        "down=>http://127.0.0.1:1".to_string(),
        "downup=>http://127.0.0.1:1;failover=web".to_string(),
        "downdownup=>http://127.0.0.1:1;failover=downup".to_string(),
        format!("errors=>http://{host}/status/503?;failover=web"),
        format!("follows=>http://{host};httpredirect=1"),
        format!("alice=>http://alice:wonderland@{host}"),
        format!("mallory=>http://alice:wrong@{host}"),
    ] {
        text.push_str(&format!("modparam(\"http_client\", \"httpcon\", \"{con}\")\n"));
    }
    text.push_str("modparam(\"http_client\", \"authmethod\", 1)\n");
    text.push_str(&format!("modparam(\"http_client\", \"httpcon\", \"basic=>http://alice:wonderland@{host}\")\n"));
    text.push_str(
        "request_route {\n    $var(case) = $hdr(X-Case);\n    route($var(case));\n    append_to_reply(\"X-Out: $var(c) \
         [$(var(r){s.substr,0,5})]\\r\\n\");\n    sl_send_reply(\"200\", \"OK\");\n    exit;\n}\n",
    );
    for (n, case) in CASES.iter().enumerate() {
        let case = case.replace("{W}", &format!("http://{host}"));
        text.push_str(&format!("route[C{n}] {{ $var(r) = \"old\"; $var(c) = \"none\"; {case} }}\n"));
    }
    text
}

#[test]
fn http_client_does_the_same_as_kamailios() {
    let web = Nginx::shared();
    let theirs = {
        let port = free_port();
        let server = Kamailio::start(&client_config(port, web));
        answers(port, CASES.len(), &|| server.log())
    };
    let port = free_port();
    let server = Reprise::start(&format!("{}backend_max_failures=0\n", client_config(port, web)), &["-n", "1"]);
    let ours = answers(port, CASES.len(), &|| server.log());
    let connections = server.ctl("httpclient.listcon", Value::Null);
    assert_eq!(
        (&connections[0]["connection"], connections.as_array().map(Vec::len)),
        (&json!("web"), Some(10)),
        "{connections}"
    );
    let differ = CASES.iter().zip(theirs.iter().zip(&ours)).filter(|(_, (theirs, ours))| theirs != ours);
    let shown: Vec<String> =
        differ.map(|(case, (t, o))| format!("{case}\n    Kamailio: {t}\n    reprise:  {o}")).collect();
    assert!(shown.is_empty(), "{} of {}:\n{}", shown.len(), CASES.len(), shown.join("\n"));
}

/// A script whose request route makes a transaction, prepares `$http_req` and asks; the route ANSWER tells.
fn asking(port: u16, more: &str, body: &str) -> String {
    format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nbackend_max_failures=0\nlisten=udp:127.0.0.1:{port}\n{MODULES}loadmodule \
         \"http_async_client.so\"\n{more}\nrequest_route {{\n    if (is_method(\"ACK|CANCEL\")) exit;\n{body}\n    \
         t_reply(\"500\", \"no case\");\n}}\nroute[ANSWER] {{\n    if ($http_ok) t_reply(\"200\", \"$http_rs $http_rr \
         $(http_rb{{s.select,0,>}})\");\n    else t_reply(\"503\", \"$http_err\");\n}}\nroute[TIMES] {{\n    xlog(\"L_INFO\", \"times \
         $http_time(connect) $http_time(starttransfer) $http_time(total) $http_ml\\n\");\n    t_reply(\"200\", \"timed\");\n}}\n\
         route[BESIDE] {{ xlog(\"L_INFO\", \"beside $http_req_id $http_rs $http_rb\\n\"); }}\n"
    )
}

#[test]
fn http_async_client_on_a_web_server() {
    let web = Nginx::shared();
    let (now, echo, headers, method) = (web.url("/now"), web.url("/echo"), web.url("/headers"), web.url("/method"));
    let (slow, redirect, auth, status) =
        (web.url("/sleep?t=2"), web.url("/redirect"), web.url("/auth"), web.url("/status/500"));
    let body = format!(
        r#"
    t_newtran();
    if ($rU == "get") http_async_query("{now}", "ANSWER");
    if ($rU == "post") {{ $http_req(body) = "from " + $fU; http_async_query("{echo}", "ANSWER"); }}
    if ($rU == "put") {{ $http_req(method) = "PUT"; $http_req(body) = "x"; http_async_query("{method}", "ANSWER"); }}
    if ($rU == "delete") {{ $http_req(method) = "DELETE"; http_async_query("{method}", "ANSWER"); }}
    if ($rU == "reset") {{
        $http_req(method) = "DELETE"; $http_req(body) = "x"; $http_req(all) = $null;
        http_async_query("{method}", "ANSWER");
    }}
    if ($rU == "headers") {{
        $http_req(hdr) = "X-Sip-Call-Id: " + $ci;
        $http_req(hdr) = "X-Foo: bar";
        http_async_query("{headers}", "HEADERS");
    }}
    if ($rU == "status") http_async_query("{status}", "ANSWER");
    if ($rU == "late") http_async_query("{slow}", "ANSWER");
    if ($rU == "later") {{ $http_req(timeout) = 10000; http_async_query("{slow}", "ANSWER"); }}
    if ($rU == "redirect") http_async_query("{redirect}", "ANSWER");
    if ($rU == "follow") {{ $http_req(follow_redirect) = 1; http_async_query("{redirect}", "ANSWER"); }}
    if ($rU == "login") {{
        $http_req(username) = "alice"; $http_req(password) = "wonderland";
        http_async_query("{auth}", "ANSWER");
    }}
    if ($rU == "nologin") http_async_query("{auth}", "ANSWER");
    if ($rU == "refused") http_async_query("http://127.0.0.1:1/", "ANSWER");
    if ($rU == "url") http_async_query("nonsense://x", "ANSWER");
    if ($rU == "times") http_async_query("{now}", "TIMES");
    if ($rU == "beside") {{
        $http_req(suspend) = 0;
        http_async_query("{now}", "BESIDE");
        t_reply("200", "rc $rc");
        exit;
    }}
"#
    );
    let more = "route[HEADERS] { if ($http_rb =~ \"X-Foo: bar\" && $http_rb =~ \"X-Sip-Call-Id: call\") t_reply(\"200\", \
                \"$http_hdr(content-type)\"); else t_reply(\"500\", \"not sent\"); }";
    let port = free_port();
    let server = Reprise::start(&asking(port, more, &body), &["-n", "2"]);
    let client = SipClient::new(port);
    let show = |user: &str| {
        let request = client.request("MESSAGE", &format!("sip:{user}@example.test"));
        client.send_request(&request);
        let answer =
            client.expect("a final answer", SECOND * 20, |m| m.status() >= 200 && m.call_id() == request.call_id);
        format!("{} {}", answer.status(), answer.reason())
    };
    for (user, expected) in [
        ("get", "200 200 OK now"),
        ("post", "200 200 OK from alice"),
        ("put", "200 200 OK PUT"),
        ("delete", "200 200 OK DELETE"),
        ("reset", "200 200 OK GET"),
        ("headers", "200 text/plain"),
        ("status", "200 500 Internal Server Error status 500"),
        ("late", "503 Timeout was reached"),
        ("later", "200 200 OK slept"),
        ("follow", "200 200 OK now"),
        ("login", "200 200 OK welcome"),
        ("refused", "503 Couldn't connect to server"),
        ("url", "503 Unsupported protocol"),
        ("times", "200 timed"),
        ("beside", "200 rc 1"),
    ] {
        assert_eq!(show(user), expected, "{user}");
    }
    assert!(show("redirect").starts_with("200 302 "), "{}", show("redirect"));
    assert!(show("nologin").starts_with("200 401 "));
    eventually("the route beside the script", SECOND * 10, || {
        server.log().lines().any(|l| l.contains("beside ") && l.ends_with(" 200 now"))
    });
    let times = server.log().lines().find_map(|l| l.split_once("times ").map(|(_, t)| t.to_string())).expect("times");
    let numbers: Vec<f64> = times.split(' ').map(|t| t.parse().expect("a number")).collect();
    assert!(numbers[0] <= numbers[1] && numbers[1] <= numbers[2] && numbers[2] < 2.0 && numbers[3] > 50.0, "{times}");
}

#[test]
fn a_digest_challenge_is_answered() {
    // The example of RFC 2617, as far as the server's side of it goes.
    let challenge = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"no\"\r\nWWW-Authenticate: Digest \
                      realm=\"r\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\nContent-Length: 0\r\n\r\n";
    let mock = TcpMock::start(vec![vec![
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(challenge.to_vec()),
        Step::ReadUntil(b"\r\n\r\n".to_vec()),
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin".to_vec()),
    ]]);
    let body = format!(
        "    t_newtran();\n    $http_req(username) = \"alice\"; $http_req(password) = \"p\"; $http_req(timeout) = 9000;\n    \
         http_async_query(\"http://{}/a?b\", \"ANSWER\");\n",
        mock.addr
    );
    let port = free_port();
    let _server = Reprise::start(&asking(port, "", &body), &["-n", "1"]);
    let client = SipClient::new(port);
    let answer = client.ask(&client.request("MESSAGE", "sip:x@example.test"));
    assert_eq!((answer.status(), answer.reason()), (200, "200 OK in"));
    let asked = String::from_utf8_lossy(&mock.received(0)).into_owned();
    let (first, second) = asked.split_once("\r\n\r\n").expect("two requests");
    assert!(!first.contains("Authorization"), "{first}");
    for part in ["Authorization: Digest username=\"alice\"", "uri=\"/a?b\"", "algorithm=SHA-256", "qop=auth"] {
        assert!(second.contains(part), "{part}: {second}");
    }
}

#[test]
fn counters_are_the_servers() {
    let port = free_port();
    let config = format!(
        "#!KAMAILIO\nlisten=udp:127.0.0.1:{port}\n{MODULES}loadmodule \"counters.so\"\nloadmodule \"statistics.so\"\n\
         modparam(\"counters\", \"script_counter\", \"calls all of them\")\nmodparam(\"statistics\", \"variable\", \"other\")\n\
         request_route {{\n    cnt_inc(\"calls\");\n    update_stat(\"other\", \"+2\");\n    if ($rU == \"reset\") \
         cnt_reset(\"calls\");\n    sl_send_reply(\"200\", \"$stat(calls)\");\n}}\n"
    );
    let server = Reprise::start(&config, &["-n", "3"]);
    let client = SipClient::new(port);
    for _ in 0..60 {
        assert_eq!(client.options("sip:x@example.test").status(), 200);
    }
    let read = || server.ctl("stats", json!(["script:", "each"]));
    let each = read()["script:calls"]["each"].as_array().unwrap().clone();
    assert!(each.iter().filter(|n| n.as_u64().unwrap() > 0).count() > 1, "{each:?}");
    assert_eq!(read()["script:calls"]["total"], 60);
    assert_eq!(read()["script:other"]["total"], 120);
    assert_eq!(server.ctl("cnt.get", json!(["script", "calls"])), 60);
    assert_eq!(server.ctl("cnt.grp_get_all", json!(["script"])), json!({ "calls": 60, "other": 120 }));
    assert_eq!(server.ctl("cnt.var_list", json!(["script"])), json!(["calls", "other"]));
    assert_eq!(
        server.ctl("stats.get_statistics", json!(["script:"])),
        json!(["script:calls = 60", "script:other = 120"])
    );
    assert_eq!(server.ctl("stats.fetch", json!(["script.calls"])), json!({ "script.calls": "60" }));
    assert_eq!(server.ctl("cnt.reset", json!(["script", "calls"])), "OK");
    assert_eq!(server.ctl("cnt.get", json!(["script", "calls"])), 0);
    assert_eq!(client.options("sip:x@example.test").reason(), "1");
    assert_eq!(client.options("sip:reset@example.test").reason(), "0");
    assert_eq!(server.ctl("stats.fetchn", json!(["calls"])), json!({ "script.calls": 0 }));
    let groups = server.ctl("cnt.grps_list", Value::Null);
    assert!(groups.as_array().unwrap().contains(&json!("script")), "{groups}");
}

#[test]
fn a_lock_that_is_only_tried_for_is_the_servers() {
    let port = free_port();
    let config = format!(
        "#!KAMAILIO\nlisten=udp:127.0.0.1:{port}\n{MODULES}loadmodule \"cfgutils.so\"\nrequest_route {{\n    if ($rU == \
         \"hold\") {{ lock(\"$rd\"); sleep(\"3\"); unlock(\"$rd\"); sl_send_reply(\"200\", \"held\"); exit; }}\n    if \
         (trylock(\"$rd\")) sl_send_reply(\"200\", \"got it\");\n    else sl_send_reply(\"200\", \"taken\");\n}}\n"
    );
    let server = Reprise::start(&config, &["-n", "2"]);
    let client = SipClient::new(port);
    let holders: Vec<_> = (0..8).map(|i| client.request("OPTIONS", &format!("sip:hold@lock{i}.test"))).collect();
    holders.iter().for_each(|r| client.send_request(r));
    eventually("all are held", SECOND * 2, || crate::common::held(&server, "operations") == 8);
    let tries = SipClient::new(port);
    for i in 0..8 {
        assert_eq!(tries.options(&format!("sip:try@lock{i}.test")).reason(), "taken");
        assert_eq!(tries.options(&format!("sip:try@free{i}.test")).reason(), "got it");
    }
    for _ in &holders {
        client.expect("a holder's answer", SECOND * 20, |m| m.reason() == "held");
    }
    for i in 0..8 {
        assert_eq!(tries.options(&format!("sip:try@lock{i}.test")).reason(), "got it");
    }
    eventually("no lock is left", Duration::from_secs(5), || crate::common::held(&server, "locks") == 0);
}

/// A name server's answer with one PTR record, in the form of the test's own zone.
fn ptr(name: &str) -> Vec<u8> {
    crate::support::dns::wire(name)
}

#[test]
fn names_are_looked_up_by_the_loop() {
    use crate::support::dns::{NAPTR, Zone, naptr};
    const PTR: u16 = 12;
    let dns = Zone::default()
        .host("one.test", "192.0.2.7")
        .srv("_sip._udp.test", 20, 5070, "late.test")
        .srv("_sip._udp.test", 10, 5060, "early.test")
        .record("test", NAPTR, naptr(10, 20, "s", "SIP+D2U", "_sip._udp.test"))
        .record("7.2.0.192.in-addr.arpa", PTR, ptr("one.test"))
        .serve();
    let port = free_port();
    let config = format!(
        "#!KAMAILIO\ndns_servers = \"{}\"\ndns_retr_time = 1\ndns_retr_no = 1\nlisten=udp:127.0.0.1:{port}\n{MODULES}loadmodule \
         \"ipops.so\"\nrequest_route {{\n    if ($rU == \"host\") {{ dns_query(\"one.test\", \"x\"); sl_send_reply(\"200\", \"$rc \
         $dns(x=>addr[0]) $dns(x=>count)\"); }}\n    if ($rU == \"srv\") {{ srv_query(\"_sip._udp.test\", \"x\"); \
         sl_send_reply(\"200\", \"$rc $srvquery(x=>target[0]) $srvquery(x=>port[1])\"); }}\n    if ($rU == \"naptr\") {{ \
         naptr_query(\"test\", \"x\"); sl_send_reply(\"200\", \"$rc $naptrquery(x=>services[0]) $naptrquery(x=>pref[0])\"); }}\n    \
         if ($rU == \"ptr\") {{ ptr_query(\"192.0.2.7\", \"x\"); sl_send_reply(\"200\", \"$rc $ptrquery(x=>hostname)\"); }}\n    if \
         ($rU == \"noptr\") {{ ptr_query(\"192.0.2.8\", \"x\"); sl_send_reply(\"200\", \"$rc $ptrquery(x=>hostname)\"); }}\n    if ($rU \
         == \"match\" && dns_sys_match_ip(\"one.test\", \"192.0.2.7\") && !dns_int_match_ip(\"one.test\", \"192.0.2.8\")) \
         sl_send_reply(\"200\", \"right\");\n    sl_send_reply(\"500\", \"no case\");\n}}\n",
        dns.addr
    );
    let _server = Reprise::start(&config, &["-n", "1"]);
    let client = SipClient::new(port);
    for (user, expected) in [
        ("host", "1 192.0.2.7 1"),
        ("srv", "1 early.test 5070"),
        ("naptr", "1 SIP+D2U 20"),
        ("ptr", "1 one.test"),
        ("noptr", "-1 <null>"),
        ("match", "right"),
    ] {
        assert_eq!(client.options(&format!("sip:{user}@example.test")).reason(), expected, "{user}");
    }
}
