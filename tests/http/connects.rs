//! Getting a connection: several addresses side by side, IPv6, a limit for each phase, certificates of our own.

use super::*;
use reprise::net::tls::Identity;
use std::net::SocketAddr;
use support::dns::Dns;

fn answer() -> Vec<Step> {
    vec![until("\r\n\r\n"), write(OK), Step::Hang]
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn with_hosts(hosts: &str) -> Loop {
    Loop::with(Driver::with_resolver(ResolverConfig::parse("nameserver 127.0.0.1", hosts)))
}

#[test]
fn ipv6() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = with_hosts("::1 six.test\n");
    let clean = Clean::before(&l);
    let text = ok(&mut l, get(&format!("http://[::1]:{}/headers", nginx.port))).body;
    let host = format!("\r\nHost: [::1]:{}\r\n", nginx.port);
    assert!(String::from_utf8_lossy(&text).contains(&host));
    assert_eq!(ok(&mut l, get(&format!("http://six.test:{}/now", nginx.port))).body, b"now");
    let secure = format!("https://[::1]:{}/now", nginx.tls_port);
    assert_eq!(ok(&mut l, trusting(&secure, &ca::get().ca)).body, b"now", "the certificate names the address");
    let wrong = format!("https://[::1]:{}/now", nginx.wrong_name_port);
    assert_eq!(fails(&mut l, trusting(&wrong, &ca::get().ca), LONG), (Why::Denied, Phase::Tls));
    clean.after(&mut l);
}

#[test]
fn the_next_address_does_not_wait_for_the_first() {
    let _alone = alone();
    let mut l = with_hosts("127.0.0.1 name.test\n127.0.0.5 name.test\n::1 both.test\n127.0.0.1 both.test\n");
    let clean = Clean::before(&l);
    // The first address swallows, the second answers: asked a quarter of a second later.
    let hole = BlackHole::tcp();
    let mock = TcpMock::at(at("127.0.0.5", hole.addr.port()), vec![answer()]);
    let begin = Instant::now();
    assert_eq!(ok(&mut l, get(&format!("http://name.test:{}/", hole.addr.port()))).body, b"ok");
    assert!(begin.elapsed() >= Duration::from_millis(240) && begin.elapsed() < Duration::from_secs(3));
    drop((hole, mock));
    // IPv6 swallows, IPv4 answers.
    let mock = TcpMock::each(answer());
    let hole = BlackHole::at(at("::1", mock.addr.port()));
    let begin = Instant::now();
    assert_eq!(ok(&mut l, get(&format!("http://both.test:{}/", mock.addr.port()))).body, b"ok");
    assert!(begin.elapsed() >= Duration::from_millis(240) && begin.elapsed() < Duration::from_secs(3));
    drop((hole, mock));
    // Both answer: IPv6 is asked, and IPv4 is not even tried.
    let four = TcpMock::each(answer());
    let six = TcpMock::at(at("::1", four.addr.port()), vec![answer()]);
    assert_eq!(ok(&mut l, get(&format!("http://both.test:{}/", four.addr.port()))).body, b"ok");
    assert_eq!((six.accepted(), four.accepted()), (1, 0));
    drop(six);
    drop(four);
    l.until(LONG, "the end of the connections", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

#[test]
fn addresses_that_all_fail() {
    let _alone = alone();
    let mut l = with_hosts("127.0.0.1 name.test\n127.0.0.5 name.test\n127.0.0.6 name.test\n");
    let clean = Clean::before(&l);
    // One swallows for ever, the others refuse: that the first may still answer is waited for.
    let hole = BlackHole::tcp();
    let request = set(get(&format!("http://name.test:{}/", hole.addr.port())), |o| o.connect_timeout = 3 * SHORT);
    let begin = Instant::now();
    assert_eq!(fails(&mut l, request, LONG), (Why::Timeout, Phase::Connect));
    assert!(begin.elapsed() >= 3 * SHORT && begin.elapsed() < LONG);
    // Two swallow: both attempts are given up together.
    let second = BlackHole::at(at("127.0.0.5", hole.addr.port()));
    let request = get(&format!("http://name.test:{}/", hole.addr.port()));
    assert_eq!(fails(&mut l, request.clone(), 2 * SHORT), (Why::Timeout, Phase::Connect));
    let fds = open_fds();
    let id = start(&mut l, request);
    l.until(LONG, "two attempts", |_| open_fds() == fds + 2);
    l.cancel(id, CancelReason::Gone);
    let f = failed(l.done.remove(&id).unwrap().0);
    assert_eq!((f.why, f.phase), (Why::Cancelled, Phase::Connect));
    drop((hole, second));
    clean.after(&mut l);
}

#[test]
fn an_address_that_refuses_costs_no_time() {
    let _alone = alone();
    let hosts: String = (100..115).map(|i| format!("127.0.0.{i} name.test\n")).collect();
    let mut l = with_hosts(&format!("{hosts}127.0.0.1 name.test\n"));
    let clean = Clean::before(&l);
    let mock = TcpMock::each(answer());
    let begin = Instant::now();
    assert_eq!(ok(&mut l, get(&format!("http://name.test:{}/", mock.addr.port()))).body, b"ok");
    assert_eq!(fails(&mut l, get(&format!("http://name.test:{}/", free_port())), LONG), (Why::Refused, Phase::Connect));
    // Were the fifteen that refuse given a quarter of a second each, it would be seven.
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    drop(mock);
    l.until(LONG, "the end of the connection", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

#[test]
fn a_limit_for_each_phase() {
    let _alone = alone();
    let limits = |change: fn(&mut HttpOptions)| move |url: String| set(get(&url), change);
    {
        let dns = Dns::silent();
        let mut config = ResolverConfig::parse("nameserver 127.0.0.1", "");
        config.servers = vec![dns.addr];
        let mut l = Loop::with(Driver::with_resolver(config));
        let begin = Instant::now();
        let request = limits(|o| o.resolve_limit = SHORT)("http://slow.test/".into());
        assert_eq!(fails(&mut l, request, LONG), (Why::Timeout, Phase::Resolve));
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let hole = BlackHole::tcp();
    let silent = TcpMock::each(vec![Step::Hang]);
    let cases = [
        (limits(|o| o.tcp_limit = SHORT)(format!("http://{}/", hole.addr)), Phase::Connect),
        (limits(|o| o.tls_limit = SHORT)(format!("https://{}/", silent.addr)), Phase::Tls),
        (limits(|o| o.first_byte_limit = SHORT)(format!("http://{}/", silent.addr)), Phase::Wait),
    ];
    for (request, phase) in cases {
        let begin = Instant::now();
        assert_eq!(fails(&mut l, request, LONG), (Why::Timeout, phase));
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < Duration::from_secs(4), "{phase}: {:?}", begin.elapsed());
    }
    // A limit is about its own phase: an answer that has begun may take its time.
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let slow = TcpMock::each(vec![until("\r\n\r\n"), write(body), Step::Sleep(2 * SHORT), write("ok"), Step::Hang]);
    let all = |o: &mut HttpOptions| {
        (o.resolve_limit, o.tcp_limit, o.tls_limit, o.first_byte_limit) = (SHORT, SHORT, SHORT, SHORT);
    };
    assert_eq!(ok(&mut l, set(get(&url(&slow)), all)).body, b"ok");
    // ... also over a connection that has served before.
    let twice = TcpMock::each(vec![until("\r\n\r\n"), write(OK), until("\r\n\r\n"), Step::Hang]);
    assert_eq!(ok(&mut l, set(get(&url(&twice)), all)).body, b"ok");
    assert_eq!(fails(&mut l, set(get(&url(&twice)), all), LONG), (Why::Timeout, Phase::Wait));
    assert_eq!(twice.accepted(), 1);
    drop((hole, silent, slow, twice));
    l.until(LONG, "the end of the connections", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

#[test]
fn connections_grow_old() {
    let _alone = alone();
    let nginx = Nginx::start();
    let mut l = Loop::new();
    l.driver.http().set_limits(Limits { lifetime: SHORT, ..Limits::default() });
    let clean = Clean::before(&l);
    let begin = Instant::now();
    while nginx.connections("/now?age") < 2 {
        assert!(begin.elapsed() < LONG, "one connection serves for ever");
        ok(&mut l, get(&nginx.url("/now?age")));
    }
    assert!(begin.elapsed() >= SHORT, "it is used as long as it may live");
    l.until(LONG, "the end of the last one", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

#[test]
fn a_certificate_of_our_own() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let ca = ca::get();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    l.driver.http().tls().set_identity("mine", Identity::load(&ca.client.cert, &ca.client.key).unwrap());
    l.driver.http().tls().set_identity("strange", Identity::load(&ca.untrusted.cert, &ca.untrusted.key).unwrap());
    let who = format!("https://localhost:{}/who", nginx.client_port);
    let named = |url: &str, name: &str| set(trusting(url, &ca.ca), |o| o.identity = Some(name.into()));
    let r = ok(&mut l, named(&who, "mine"));
    assert_eq!((r.status, &r.body[..]), (200, &b"CN=client"[..]));
    assert_eq!(ok(&mut l, trusting(&who, &ca.ca)).status, 400, "nginx's answer to who shows none");
    assert_eq!(ok(&mut l, named(&who, "strange")).status, 400);
    assert_eq!(ok(&mut l, named(&who, "mine")).status, 200);
    assert_eq!(fails(&mut l, named(&who, "nobody"), LONG), (Why::System, Phase::Tls));
    // It is shown to the host that was asked, and not where that leads to.
    let led = nginx.tls_url(&format!("/to/302?{who}"));
    assert_eq!(ok(&mut l, set(named(&led, "mine"), |o| o.redirects = 1)).status, 400);
    let led = who.replace("/who", "/to/302?/who");
    assert_eq!(ok(&mut l, set(named(&led, "mine"), |o| o.redirects = 1)).body, b"CN=client");
    clean.after(&mut l);

    let load = |cert: &Path, key: &Path| Identity::load(cert, key).map(|_| ()).unwrap_err();
    assert!(load(&ca.client.cert, &ca.server.key).contains("client.pem"), "they do not belong together");
    assert!(load(&ca.client.key, &ca.client.key).contains("no certificate"));
    assert!(load(&ca.client.cert, &ca.client.cert).contains("no private key"));
    assert!(load(Path::new("/nonexistent"), &ca.client.key).contains("/nonexistent"));
}
