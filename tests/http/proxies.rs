//! Forward proxies: a real one, and some that misbehave.

use super::*;
use reprise::ops::http::proxy::{Proxy, direct_list};
use support::tinyproxy::TinyProxy;

fn through(request: HttpRequest, proxy: &str) -> HttpRequest {
    set(request, |o| o.proxy = Some(Proxy::parse(proxy).unwrap()))
}

fn headers(l: &mut Loop, request: HttpRequest) -> String {
    String::from_utf8(ok(l, request).body).unwrap()
}

#[test]
fn a_real_proxy_carries_http_and_https() {
    let _alone = alone();
    let nginx = Nginx::start();
    let proxy = TinyProxy::start();
    let authority = &ca::get().ca;
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let head = headers(&mut l, through(get(&nginx.url("/headers?x=1")), &proxy.url()));
    assert!(head.contains("/headers?x=1 HTTP/1.") && head.contains("between"), "{head}");
    let body = vec![b'y'; 300_000];
    assert!(ok(&mut l, through(post(&nginx.url("/echo"), &body), &proxy.url())).body == body);
    assert_eq!(ok(&mut l, through(get(&nginx.url("/status/404")), &proxy.url())).status, 404);
    // By name: the proxy resolves it.
    let named = nginx.url("/now").replace("127.0.0.1", "localhost");
    assert_eq!(ok(&mut l, through(get(&named), &proxy.url())).body, b"now");

    let secure = |path: &str| through(trusting(&nginx.tls_url(path), authority), &proxy.url());
    let head = headers(&mut l, secure("/headers?tunnel"));
    assert!(head.starts_with("GET /headers?tunnel HTTP/1.1\r\n") && !head.contains("between"), "{head}");
    assert_eq!(ok(&mut l, secure("/large?tunnel")).body.len(), LARGE);
    let requests = || nginx.requests().into_iter().filter(|r| r.1.contains("tunnel")).collect::<Vec<_>>();
    support::eventually("the log", LONG, || requests().len() == 2);
    assert_eq!(requests()[0].3, requests()[1].3, "a tunnel is kept as any connection");
    assert!(proxy.log().contains(&format!("CONNECT localhost:{}", nginx.tls_port)), "{}", proxy.log());
    // The host's certificate is looked at through the tunnel.
    let wrong = format!("https://localhost:{}/now", nginx.wrong_name_port);
    assert_eq!(fails(&mut l, through(trusting(&wrong, authority), &proxy.url()), LONG), (Why::Denied, Phase::Tls));
    // A tunnel is not for requests that go directly, and the other way round.
    assert_eq!(ok(&mut l, trusting(&nginx.tls_url("/now?direct"), authority)).body, b"now");
    support::eventually("the log", LONG, || nginx.count("/now?direct") == 1);
    let direct = nginx.requests().into_iter().find(|r| r.1 == "/now?direct").unwrap();
    assert_ne!(direct.3, requests()[0].3);

    // Redirections go through it as well.
    let follow = set(through(get(&nginx.url("/to/302?/headers")), &proxy.url()), |o| o.redirects = 1);
    assert!(headers(&mut l, follow).contains("between"));
    let up = nginx.url(&format!("/to/302?{}", nginx.tls_url("/now")));
    let up = set(through(trusting(&up, authority), &proxy.url()), |o| o.redirects = 1);
    assert_eq!(ok(&mut l, up).body, b"now");
    drop(proxy);
    l.until(LONG, "the end of the tunnels", |l| l.reactor.timers() == 1);
    clean.after(&mut l);
}

#[test]
fn hosts_that_are_reached_without() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let request = |direct: &str| set(through(get(&nginx.url("/now")), &nowhere), |o| o.direct = direct_list(direct));
    assert_eq!(ok(&mut l, request("example.test, 127.0.0.1")).body, b"now");
    assert_eq!(ok(&mut l, request("*")).body, b"now");
    assert_eq!(fails(&mut l, request("example.test"), LONG), (Why::Refused, Phase::Connect));
}

#[test]
fn a_proxy_that_wants_a_password() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let proxy = TinyProxy::with_password("alice", "wonderland");
    let authority = &ca::get().ca;
    let mut l = Loop::new();
    let known = proxy.url().replace("://", "://alice:wonderland@");
    assert_eq!(ok(&mut l, through(get(&nginx.url("/now")), &known)).body, b"now");
    assert_eq!(ok(&mut l, through(trusting(&nginx.tls_url("/now"), authority), &known)).body, b"now");
    // Its refusal of http is an answer; that of https is no connection.
    assert_eq!(ok(&mut l, through(get(&nginx.url("/now")), &proxy.url())).status / 100, 4);
    let f = failed(l.run(Request::Http(through(trusting(&nginx.tls_url("/now"), authority), &proxy.url())), LONG));
    assert_eq!((f.why, f.phase), (Why::Refused, Phase::Connect));
    assert!(f.detail.starts_with("proxy: it answered CONNECT with 4"), "{}", f.detail);
    // The password is the proxy's; the host does not see it.
    let head = headers(&mut l, through(get(&nginx.url("/headers")), &known));
    assert!(!head.contains("Authorization"), "{head}");
    // A host that is not there.
    let gone = through(get(&format!("https://127.0.0.1:{}/", free_port())), &known);
    assert_eq!(fails(&mut l, gone, LONG), (Why::Refused, Phase::Connect));
}

#[test]
fn proxies_that_misbehave() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let end = "\r\n\r\n";
    let cases: Vec<(&str, Vec<Step>, Why, Phase)> = vec![
        ("silent", vec![until(end), Step::Hang], Why::Timeout, Phase::Connect),
        ("deaf", vec![Step::Hang], Why::Timeout, Phase::Connect),
        ("closed", vec![until(end), Step::Close], Why::Closed, Phase::Connect),
        ("reset", vec![until(end), Step::Reset], Why::Closed, Phase::Connect),
        ("garbage", vec![until(end), write("\x05\x00"), Step::Hang], Why::Garbage, Phase::Connect),
        ("half a head", vec![until(end), write("HTTP/1.1 200 OK\r\nA: b"), Step::Hang], Why::Timeout, Phase::Connect),
        (
            "drip",
            vec![until(end), Step::Drip(b"HTTP/1.1 200 OK\r\nA: bcdefghijklm".into(), SHORT / 3)],
            Why::Timeout,
            Phase::Connect,
        ),
        (
            "endless head",
            vec![until(end), write("HTTP/1.1 200 OK\r\nA: "), write(&"x".repeat(100_000)), Step::Hang],
            Why::Garbage,
            Phase::Connect,
        ),
        (
            "refusal",
            vec![until(end), write("HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\nno"), Step::Hang],
            Why::Refused,
            Phase::Connect,
        ),
        ("busy", vec![until(end), write("HTTP/1.0 503 Busy\r\n\r\n"), Step::Close], Why::Refused, Phase::Connect),
        (
            "more than a head",
            vec![until(end), write("HTTP/1.1 200 OK\r\n\r\nhello"), Step::Hang],
            Why::Garbage,
            Phase::Connect,
        ),
        (
            "a tunnel into nothing",
            vec![until(end), write("HTTP/1.1 200 OK\r\n\r\n"), Step::Hang],
            Why::Timeout,
            Phase::Tls,
        ),
        (
            "a tunnel that breaks",
            vec![until(end), write("HTTP/1.1 200 OK\r\n\r\n"), Step::Read(1), Step::Close],
            Why::Closed,
            Phase::Tls,
        ),
        (
            "a tunnel into garbage",
            vec![until(end), write("HTTP/1.1 200 OK\r\n\r\n"), Step::Read(1), write("hello hello"), Step::Hang],
            Why::Garbage,
            Phase::Tls,
        ),
    ];
    for (name, script, why, phase) in cases {
        let mock = TcpMock::each(script);
        let request = through(get("https://host.test/"), &format!("http://{}", mock.addr));
        let begin = Instant::now();
        assert_eq!(fails(&mut l, request.clone(), MEDIUM), (why, phase), "{name}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}");
        assert!(
            mock.received(0).starts_with(b"CONNECT host.test:443 HTTP/1.1\r\nHost: host.test:443\r\n")
                || name == "deaf",
            "{name}"
        );
        if why == Why::Timeout && name != "drip" {
            let own = set(request.clone(), |o| o.tcp_limit = SHORT);
            let own = set(own, |o| o.tls_limit = SHORT);
            assert_eq!(fails(&mut l, own, LONG), (why, phase), "{name}: by its own limit");
            let id = start(&mut l, request);
            l.until(LONG, "the phase", |l| l.driver.info(id).unwrap().phase == phase);
            l.cancel(id, CancelReason::Gone);
            let f = failed(l.done.remove(&id).unwrap().0);
            assert_eq!((f.why, f.phase), (Why::Cancelled, phase), "{name}");
        }
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(fails(&mut l, through(get("http://host.test/"), &nobody), LONG), (Why::Refused, Phase::Connect));
    let unknown = "http://nowhere.invalid:3128";
    let f = failed(l.run(Request::Http(through(get("http://host.test/"), unknown)), SHORT));
    assert_eq!(f.phase, Phase::Resolve, "the proxy's name is what is resolved here");
    clean.after(&mut l);
}

#[test]
fn one_connection_to_a_proxy_serves_several_hosts() {
    let _alone = alone();
    let mut l = Loop::new();
    let mock = TcpMock::each(vec![until("\r\n\r\n"), write(OK), until("\r\n\r\n"), write(OK), Step::Hang]);
    let proxy = format!("http://{}", mock.addr);
    assert_eq!(ok(&mut l, through(get("http://one.test/a"), &proxy)).body, b"ok");
    assert_eq!(ok(&mut l, through(get("http://two.test:81/b?c"), &proxy)).body, b"ok");
    assert_eq!(mock.accepted(), 1);
    let text = String::from_utf8(mock.received(0)).unwrap();
    assert!(text.starts_with("GET http://one.test/a HTTP/1.1\r\nHost: one.test\r\n"), "{text}");
    assert!(text.contains("\r\n\r\nGET http://two.test:81/b?c HTTP/1.1\r\nHost: two.test:81\r\n"), "{text}");
}

#[test]
fn a_proxy_that_closes_without_a_word_loses_no_post() {
    let _alone = alone();
    let mut l = Loop::new();
    // It would take what is sent over the old connection, and close it.
    let mock = TcpMock::start(vec![
        vec![until("\r\n\r\n"), write(OK), Step::Read(1), Step::Close],
        vec![until("once"), write(OK), Step::Hang],
    ]);
    let proxy = format!("http://{}", mock.addr);
    assert_eq!(ok(&mut l, through(get("http://one.test/"), &proxy)).body, b"ok");
    assert_eq!(ok(&mut l, through(post("http://one.test/", b"once"), &proxy)).body, b"ok");
    assert_eq!(mock.accepted(), 2);
    // What may be sent twice takes the risk.
    let mock = TcpMock::start(vec![
        vec![until("\r\n\r\n"), write(OK), Step::Read(1), Step::Close],
        vec![until("\r\n\r\n"), write(OK), Step::Hang],
    ]);
    let proxy = format!("http://{}", mock.addr);
    for _ in 0..2 {
        assert_eq!(ok(&mut l, through(get("http://one.test/"), &proxy)).body, b"ok");
    }
    assert_eq!(mock.accepted(), 2);
}
