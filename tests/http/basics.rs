//! What an exchange is: answers, requests, kept connections, certificates, failures, deadlines.

use super::*;

#[test]
fn answers_of_a_real_server() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let r = ok(&mut l, get(&nginx.url("/now")));
    assert_eq!((r.status, &r.body[..]), (200, &b"now"[..]));
    assert!(r.content_type.unwrap() == "text/plain");
    assert!(r.headers.iter().any(|(n, v)| *n == "Server" && v.starts_with(b"nginx")));
    let r = ok(&mut l, get(&nginx.url("/json")));
    assert!(r.content_type.unwrap() == "application/json" && r.body == br#"{"credit":42,"name":"alice"}"#);
    assert_eq!(ok(&mut l, get(&nginx.url("/chunked"))).body, b"one two three");
    assert_eq!(ok(&mut l, get(&nginx.url("/drip"))).body, b"abc");
    assert_eq!(ok(&mut l, get(&nginx.url("/empty"))).body, b"");
    assert_eq!(ok(&mut l, get(&nginx.url("/close"))).body, b"bye");
    for status in [204, 400, 401, 404, 500, 503] {
        assert_eq!(ok(&mut l, get(&nginx.url(&format!("/status/{status}")))).status, status);
    }
    let r = ok(&mut l, get(&nginx.url("/redirect")));
    assert!(r.status == 302 && r.headers.iter().any(|(n, v)| *n == "Location" && v.ends_with(b"/now")));
    let large = ok(&mut l, get(&nginx.url("/large"))).body;
    assert!(large.len() == LARGE && large.starts_with(b"line 0\nline 1\n"));
    let auth = nginx.url("/auth").replace("://", "://alice:wonderland@");
    assert_eq!(ok(&mut l, get(&auth)).body, b"welcome");
    assert_eq!(ok(&mut l, get(&nginx.url("/auth"))).status, 401);
    clean.after(&mut l);
    let (all, idle) = l.driver.http().connections();
    assert_eq!((all, idle), (1, 1), "one connection carried all that did not close it");
}

#[test]
fn requests_as_a_real_server_sees_them() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    for (method, name) in [
        (HttpMethod::Get, "GET"),
        (HttpMethod::Post, "POST"),
        (HttpMethod::Put, "PUT"),
        (HttpMethod::Delete, "DELETE"),
        (HttpMethod::Patch, "PATCH"),
        (HttpMethod::Options, "OPTIONS"),
    ] {
        assert_eq!(ok(&mut l, request(method, &nginx.url("/method"))).body, name.as_bytes());
    }
    let r = ok(&mut l, request(HttpMethod::Head, &nginx.url("/large")));
    assert_eq!((r.status, r.body.len()), (200, 0));
    for size in [0, 1, 5000, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|i: u32| b'a' + (i % 26) as u8).collect();
        assert!(ok(&mut l, post(&nginx.url("/echo"), &body)).body == body, "{size}");
    }
    let mut r = post(&nginx.url("/headers?a b=%20#no"), b"x");
    r.headers = vec!["X-One: 1".into(), "X-Two:2".into()];
    let text = String::from_utf8(ok(&mut l, r).body).unwrap();
    let host = format!("Host: 127.0.0.1:{}", nginx.port);
    let expected = [
        "POST /headers?a%20b=%20 HTTP/1.1",
        &host,
        "Accept: */*",
        "Content-Type: text/plain",
        "Content-Length: 1",
        "X-One: 1",
        "X-Two: 2",
    ];
    assert_eq!(text.trim_end().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn connections_are_used_again() {
    let _alone = alone();
    let nginx = Nginx::start();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    for _ in 0..50 {
        ok(&mut l, get(&nginx.url("/now?seq")));
    }
    let ids: Vec<_> = (0..20).map(|_| start(&mut l, get(&nginx.url("/slow?par")))).collect();
    for id in ids {
        assert_eq!(answered(l.wait(id)).body, b"slow");
    }
    for i in 0..50 {
        let ids: Vec<_> = (0..10).map(|_| start(&mut l, post(&nginx.url("/echo?post"), b"y"))).collect();
        for id in ids {
            assert_eq!(answered(l.wait(id)).body, b"y", "{i}");
        }
    }
    clean.after(&mut l);
    support::eventually("the log", LONG, || nginx.count("/echo?post") == 500);
    assert_eq!((nginx.connections("/now?seq"), nginx.connections("/slow?par")), (1, 20));
    assert!(nginx.connections("/echo?post") <= 20);

    // A server that goes away takes its idle connections along, and is found again when it is back.
    assert_eq!(l.driver.http().connections(), (20, 20));
    nginx.kill();
    l.until(LONG, "the end of the idle connections", |l| open_fds() < 20 || l.reactor.timers() == 0);
    assert_eq!(l.driver.http().connections(), (0, 0));
    assert_eq!(fails(&mut l, get(&nginx.url("/now")), LONG), (Why::Refused, Phase::Connect));
    nginx.restart();
    ok(&mut l, get(&nginx.url("/now")));
}

#[test]
fn idle_connections_are_closed_in_time_and_bounded() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    l.driver.http().set_limits(Limits { idle_timeout: SHORT, idle: 3, ..Limits::default() });
    let clean = Clean::before(&l);
    let ids: Vec<_> = (0..10).map(|_| start(&mut l, get(&nginx.url("/slow")))).collect();
    for id in ids {
        answered(l.wait(id));
    }
    assert_eq!(l.driver.http().connections(), (3, 3));
    l.until(LONG, "idle connections closed", |l| l.reactor.timers() == 0);
    assert_eq!(l.driver.http().connections(), (0, 0));
    clean.after(&mut l);
}

#[test]
fn a_thousand_wait_their_turn_and_more_are_refused() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let policy = Policy { in_flight: 100, queue: 900, ..Policy::of(OpKind::Http) };
    l.driver.backends().set_policy(OpKind::Http, policy);
    let clean = Clean::before(&l);
    let ids: Vec<_> = (0..1000).map(|_| start(&mut l, get(&nginx.url("/slow")))).collect();
    assert_eq!(fails(&mut l, get(&nginx.url("/now")), LONG), (Why::Overload, Phase::Queue));
    assert_eq!(l.driver.http().connections().0, 100);
    assert_eq!(l.driver.info(ids[999]).unwrap().phase, Phase::Queue);
    assert_eq!(l.driver.info(ids[999]).unwrap().backend, format!("http://127.0.0.1:{}", nginx.port));
    for id in ids {
        assert_eq!(answered(l.wait(id)).body, b"slow");
    }
    clean.after(&mut l);
}

#[test]
fn https() {
    let _alone = alone();
    let nginx = Nginx::start();
    let authority = &ca::get().ca;
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let now = nginx.tls_url("/now");
    assert_eq!(ok(&mut l, trusting(&now, authority)).body, b"now");
    let r = ok(&mut l, trusting(&nginx.tls_url("/large"), authority));
    assert_eq!(r.body.len(), LARGE);
    let body = vec![b'z'; 3_000_000];
    let echo = HttpRequest { body: Some((body.clone().into(), None)), ..trusting(&nginx.tls_url("/echo"), authority) };
    assert!(ok(&mut l, HttpRequest { method: HttpMethod::Post, ..echo }).body == body);
    assert_eq!(ok(&mut l, trusting(&nginx.tls_url("/drip"), authority)).body, b"abc");
    assert_eq!(ok(&mut l, trusting(&now.replace("localhost", "127.0.0.1"), authority)).body, b"now");
    assert_eq!(l.driver.http().connections(), (2, 2));

    let port = |port: u16| format!("https://localhost:{port}/now");
    let denied = (Why::Denied, Phase::Tls);
    assert_eq!(fails(&mut l, get(&now), LONG), denied, "not among the system's authorities");
    assert_eq!(fails(&mut l, trusting(&port(nginx.untrusted_port), authority), LONG), denied);
    assert_eq!(fails(&mut l, trusting(&port(nginx.wrong_name_port), authority), LONG), denied);
    let no_host = set(trusting(&port(nginx.wrong_name_port), authority), |o| o.verify_host = false);
    assert_eq!(ok(&mut l, no_host).body, b"now");
    let no_host = set(trusting(&port(nginx.untrusted_port), authority), |o| o.verify_host = false);
    assert_eq!(fails(&mut l, no_host, LONG), denied);
    let no_peer = set(get(&port(nginx.untrusted_port)), |o| o.verify_peer = false);
    assert_eq!(ok(&mut l, no_peer).body, b"now");
    let no_peer = set(get(&port(nginx.wrong_name_port)), |o| o.verify_peer = false);
    assert_eq!(fails(&mut l, no_peer, LONG), denied, "the name is still checked");
    let nothing = set(get(&port(nginx.wrong_name_port)), |o| (o.verify_peer, o.verify_host) = (false, false));
    assert_eq!(ok(&mut l, nothing).body, b"now");
    assert_eq!(fails(&mut l, get(&now), LONG), denied, "a connection with lesser demands is not shared");

    // A certificate of the operator's file is good by itself.
    assert_eq!(ok(&mut l, trusting(&now, &ca::get().server.cert)).body, b"now");
    let none = set(get(&now), |o| o.ca_file = Some("/nonexistent".into()));
    assert_eq!(fails(&mut l, none, LONG), (Why::System, Phase::Tls));
    // HTTPS to a port that speaks HTTP, and the other way round.
    assert_eq!(fails(&mut l, get(&nginx.url("/now").replace("http:", "https:")), LONG).1, Phase::Tls);
    assert_eq!(ok(&mut l, get(&now.replace("https:", "http:"))).status, 400);
    clean.after(&mut l);
}

#[test]
fn servers_that_misbehave() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let end = "\r\n\r\n";
    let cases: Vec<(&str, Vec<Step>, Why, Phase)> = vec![
        ("reset", vec![until(end), Step::Reset], Why::Closed, Phase::Wait),
        ("closed", vec![until(end), Step::Close], Why::Closed, Phase::Wait),
        ("silent", vec![until(end), Step::Hang], Why::Timeout, Phase::Wait),
        ("garbage", vec![write("SSH-2.0-x\r\n"), Step::Hang], Why::Garbage, Phase::Receive),
        ("zeros", vec![until(end), Step::Flood], Why::Garbage, Phase::Receive),
        ("cut head", vec![until(end), write("HTTP/1.1 200 OK\r\nA: b\r\n"), Step::Close], Why::Closed, Phase::Receive),
        (
            "cut body",
            vec![until(end), write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), Step::Close],
            Why::Closed,
            Phase::Receive,
        ),
        (
            "endless head",
            vec![until(end), write("HTTP/1.1 200 OK\r\nA: "), write(&"x".repeat(100_000)), Step::Hang],
            Why::TooLarge,
            Phase::Receive,
        ),
        (
            "endless body",
            vec![until(end), write("HTTP/1.1 200 OK\r\n\r\n"), Step::Flood],
            Why::TooLarge,
            Phase::Receive,
        ),
        (
            "4 GB",
            vec![until(end), write("HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n"), Step::Hang],
            Why::TooLarge,
            Phase::Receive,
        ),
        (
            "drops",
            vec![
                until(end),
                Step::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789".into(), Duration::from_millis(50)),
                Step::Hang,
            ],
            Why::Timeout,
            Phase::Receive,
        ),
    ];
    for (name, script, why, phase) in cases {
        let mock = TcpMock::each(script);
        let begin = Instant::now();
        assert_eq!(fails(&mut l, get(&url(&mock)), SHORT), (why, phase), "{name}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{name}");
    }
    assert_eq!(fails(&mut l, get(&format!("http://127.0.0.1:{}", free_port())), LONG), (Why::Refused, Phase::Connect));
    clean.after(&mut l);
}

#[test]
fn slow_phases_end_at_their_deadline() {
    let _alone = alone();
    let mut l = Loop::new();
    {
        let hole = BlackHole::tcp();
        let clean = Clean::before(&l);
        let to_hole = format!("http://{}/", hole.addr);
        let begin = Instant::now();
        let own = set(get(&to_hole), |o| o.connect_timeout = SHORT);
        assert_eq!(fails(&mut l, own, LONG), (Why::Timeout, Phase::Connect));
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < LONG);
        assert_eq!(fails(&mut l, get(&to_hole), SHORT), (Why::Timeout, Phase::Connect));
        let none = set(get(&to_hole), |o| o.connect_timeout = Duration::ZERO);
        assert_eq!(fails(&mut l, none, SHORT), (Why::Timeout, Phase::Connect));
        hole.assert_swallows();
        clean.after(&mut l);
    }
    let mock = TcpMock::each(vec![Step::Hang]);
    let secure = url(&mock).replace("http:", "https:");
    let own = set(get(&secure), |o| o.connect_timeout = SHORT);
    assert_eq!(fails(&mut l, own, LONG), (Why::Timeout, Phase::Tls));
    assert_eq!(fails(&mut l, get(&secure), SHORT), (Why::Timeout, Phase::Tls));
    let big = vec![0; 20_000_000];
    assert_eq!(fails(&mut l, post(&url(&mock), &big), SHORT), (Why::Timeout, Phase::Send));
    // The limit of the connect phase does not touch an exchange that is past it.
    let slow = TcpMock::each(vec![until("\r\n\r\n"), Step::Sleep(2 * SHORT), write(OK), Step::Hang]);
    assert_eq!(ok(&mut l, set(get(&url(&slow)), |o| o.connect_timeout = SHORT)).body, b"ok");
}

#[test]
fn cancelled_in_every_phase() {
    let _alone = alone();
    let mut l = Loop::new();
    l.driver.backends().set_policy(OpKind::Http, Policy { in_flight: 1, ..Policy::of(OpKind::Http) });
    let clean = Clean::before(&l);
    let hole = BlackHole::tcp();
    let silent = TcpMock::each(vec![Step::Hang]);
    let dripping = TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 200 OK\r\n"), Step::Hang]);
    for (url, phase) in [
        (format!("http://{}/", hole.addr), Phase::Connect),
        (url(&silent).replace("http:", "https:"), Phase::Tls),
        (url(&silent), Phase::Wait),
        (url(&dripping), Phase::Receive),
    ] {
        let id = start(&mut l, get(&url));
        l.until(LONG, "the phase", |l| l.driver.info(id).unwrap().phase == phase);
        let queued = start(&mut l, get(&url));
        l.cancel(queued, CancelReason::Operator);
        let f = failed(l.wait(queued));
        assert_eq!((f.why, f.phase), (Why::Cancelled, Phase::Queue));
        l.cancel(id, CancelReason::Gone);
        let f = failed(l.done.remove(&id).unwrap().0);
        assert_eq!((f.why, f.phase), (Why::Cancelled, phase));
    }
    drop((hole, silent, dripping));
    clean.after(&mut l);
}

#[test]
fn a_dead_pooled_connection_is_replaced_once() {
    let _alone = alone();
    let dying = || vec![until("\r\n\r\n"), write(OK), Step::Read(1), Step::Close];
    let living = || vec![until("\r\n\r\n"), write(OK), Step::Hang];
    let mut l = Loop::new();
    // It dies when the next request comes: GET is sent again, POST is not.
    let mock = TcpMock::start(vec![dying(), living()]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(mock.accepted(), 2);
    let mock = TcpMock::start(vec![dying(), living()]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(fails(&mut l, post(&url(&mock), b"once"), LONG), (Why::Closed, Phase::Wait));
    assert_eq!(mock.accepted(), 1);
    // Twice dead is dead.
    let mock = TcpMock::start(vec![dying(), vec![until("\r\n\r\n"), Step::Close]]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(fails(&mut l, get(&url(&mock)), LONG), (Why::Closed, Phase::Wait));
    assert_eq!(mock.accepted(), 2);
    // It died long before: nobody notices, POST neither.
    let mock = TcpMock::start(vec![vec![until("\r\n\r\n"), write(OK), Step::Close], living()]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    l.run_for(SHORT);
    assert_eq!(l.driver.http().connections(), (1, 1), "the first living mock's");
    assert_eq!(ok(&mut l, post(&url(&mock), b"x")).body, b"ok");
    // What nobody asked for spoils a connection.
    let mock =
        TcpMock::start(vec![vec![until("\r\n\r\n"), write(&format!("{OK}HTTP/1.1 200 OK\r\n")), Step::Hang], living()]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"ok");
    assert_eq!(mock.accepted(), 2);
}

#[test]
fn early_answers_and_interim_ones() {
    let _alone = alone();
    let mut l = Loop::new();
    let early = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
    let mock = TcpMock::each(vec![until("\r\n\r\n"), write(early), Step::Hang]);
    assert_eq!(ok(&mut l, post(&url(&mock), &vec![0; 20_000_000])).status, 413);
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let mock = TcpMock::each(vec![until("\r\n\r\n"), write(interim), Step::Sleep(SHORT), write(OK), Step::Hang]);
    assert_eq!(ok(&mut l, post(&url(&mock), b"x")).body, b"ok");
    let mock = TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 200 OK\r\nA: b\r\n\r\nto the end"), Step::Close]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"to the end");
}

#[test]
fn requests_that_make_no_sense() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    for url in ["", "ftp://h/", "http://", "http://h:99999/", "http://h/\r\nX: y", "not a url"] {
        assert_eq!(fails(&mut l, get(url), LONG), (Why::BadRequest, Phase::Queue), "{url:?}");
    }
    let split = HttpRequest { headers: vec!["A: b\r\nC: d".into()], ..get("http://127.0.0.1/") };
    assert_eq!(fails(&mut l, split, LONG), (Why::BadRequest, Phase::Queue));
    clean.after(&mut l);
}

#[test]
fn the_body_limit_is_the_requests() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let exact = set(get(&nginx.url("/large")), |o| o.max_body = LARGE);
    assert_eq!(ok(&mut l, exact).body.len(), LARGE);
    let less = set(get(&nginx.url("/large")), |o| o.max_body = LARGE - 1);
    assert_eq!(fails(&mut l, less, LONG), (Why::TooLarge, Phase::Receive));
    let less = set(get(&nginx.url("/chunked")), |o| o.max_body = 12);
    assert_eq!(fails(&mut l, less, LONG), (Why::TooLarge, Phase::Receive));
    assert_eq!(fails(&mut l, get(&nginx.url("/huge")), LONG), (Why::TooLarge, Phase::Receive));
}

#[test]
fn names_and_several_addresses() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let hosts = "127.0.0.2 two.test\n127.0.0.1 two.test\n::1 six.test\n127.0.0.1 six.test\n";
    let config = ResolverConfig::parse("nameserver 127.0.0.1", hosts);
    let mut l = Loop::with(Driver::with_resolver(config));
    let at = |host: &str, port: u16| format!("http://{host}:{port}/now");
    assert_eq!(ok(&mut l, get(&at("localhost", nginx.port))).body, b"now");
    assert_eq!(ok(&mut l, get(&at("two.test", nginx.port))).body, b"now");
    assert_eq!(ok(&mut l, get(&at("SIX.test.", nginx.port))).body, b"now");
    assert_eq!(fails(&mut l, get(&at("two.test", free_port())), LONG), (Why::Refused, Phase::Connect));
}

#[test]
fn no_thread_is_started() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let me = std::env::current_exe().unwrap();
    let args = ["--exact", "basics::alone_in_a_process", "--ignored", "--test-threads=1", "--nocapture"];
    let out = std::process::Command::new(me)
        .args(args)
        .env("TEST_URL", nginx.url("/slow"))
        .env("TEST_TLS_URL", nginx.tls_url("/slow"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by no_thread_is_started"]
fn alone_in_a_process() {
    let before = threads();
    let mut l = Loop::new();
    let (url, tls_url) = (std::env::var("TEST_URL").unwrap(), std::env::var("TEST_TLS_URL").unwrap());
    let named = url.replace("127.0.0.1", "localhost");
    let secure = set(get(&tls_url), |o| o.verify_peer = false);
    let unknown = get("http://nowhere.invalid/");
    let unknown = l.start(Request::Http(unknown), SHORT);
    let ids: Vec<_> = [get(&url), get(&named), secure].into_iter().map(|r| start(&mut l, r)).collect();
    for id in ids {
        l.until(LONG, "the answer", |l| {
            assert_eq!(threads(), before);
            l.done.contains_key(&id)
        });
        assert_eq!(answered(l.wait(id)).body, b"slow");
    }
    assert_eq!(failed(l.wait(unknown)).phase, Phase::Resolve);
    assert_eq!(threads(), before);
}
