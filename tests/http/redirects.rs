//! Redirections: followed as far as wanted, and not where they must not lead.

use super::*;

fn following(request: HttpRequest, redirects: u8) -> HttpRequest {
    set(request, |o| o.redirects = redirects)
}

fn to(nginx: &Nginx, code: u16, url: &str) -> String {
    nginx.url(&format!("/to/{code}?{url}"))
}

fn head_of(mock: &TcpMock, connection: usize) -> String {
    String::from_utf8_lossy(&mock.received(connection)).into_owned()
}

#[test]
fn a_real_server_leads_on() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let r = ok(&mut l, following(get(&nginx.url("/redirect")), 1));
    assert_eq!((r.status, &r.body[..]), (200, &b"now"[..]));
    assert_eq!(ok(&mut l, get(&nginx.url("/redirect"))).status, 302, "nobody asked to follow");
    for code in [301, 302, 303, 307, 308] {
        let r = ok(&mut l, following(get(&to(nginx, code, "/method")), 3));
        assert_eq!((r.status, &r.body[..]), (200, &b"GET"[..]), "{code}");
        let r = ok(&mut l, following(post(&to(nginx, code, "/method"), b"x"), 3));
        let method: &[u8] = if code < 307 { b"GET" } else { b"POST" };
        assert_eq!(r.body, method, "{code}");
        let put = HttpRequest { method: HttpMethod::Put, ..post(&to(nginx, code, "/method"), b"x") };
        let r = ok(&mut l, following(put, 3));
        assert_eq!(r.body, if code == 303 { &b"GET"[..] } else { b"PUT" }, "{code}");
    }
    // The body goes along where the method does, and what describes it does not where it does not.
    assert_eq!(ok(&mut l, following(post(&to(nginx, 307, "/echo"), b"again"), 1)).body, b"again");
    let seen = String::from_utf8(ok(&mut l, following(post(&to(nginx, 303, "/headers"), b"x"), 1)).body).unwrap();
    assert!(seen.starts_with("GET /headers HTTP/1.1\r\n") && !seen.contains("Content-"), "{seen}");
    // One connection served them all.
    clean.after(&mut l);
    assert_eq!(l.driver.http().connections(), (1, 1));
}

#[test]
fn no_further_than_wanted() {
    let _alone = alone();
    let nginx = Nginx::start();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let f = failed(l.run(Request::Http(following(get(&nginx.url("/loop")), 5)), LONG));
    assert_eq!((f.why, f.phase, f.detail.as_str()), (Why::Denied, Phase::Receive, "more than 5 redirections"));
    support::eventually("the log", LONG, || nginx.count("/loop") == 6);
    // What leads nowhere is no place to go.
    for location in ["ftp://127.0.0.1/", "http://", "mailto:a@b", "http://h:99999/"] {
        let f = failed(l.run(Request::Http(following(get(&to(&nginx, 302, location)), 5)), LONG));
        assert_eq!((f.why, f.phase), (Why::Denied, Phase::Receive), "{location}: {}", f.detail);
    }
    // What is no redirection, or names no place, is an answer.
    assert_eq!(ok(&mut l, following(get(&nginx.url("/status/404")), 5)).status, 404);
    let mock =
        TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), Step::Hang]);
    assert_eq!(ok(&mut l, following(get(&url(&mock)), 5)).status, 302);
    drop(mock);
    l.until(LONG, "the end of the mock's connection", |l| l.reactor.timers() == 1);
    clean.after(&mut l);
}

#[test]
fn nothing_secret_reaches_another_host() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let answer = || vec![until("\r\n\r\n"), write(OK), Step::Hang];
    let secret = |url: &str| HttpRequest {
        headers: vec![
            "Authorization: Bearer x".into(),
            "Cookie: a=b".into(),
            "Host: own.test".into(),
            "X-Own: 1".into(),
        ],
        ..following(get(url), 1)
    };
    // Another port is another host.
    let other = TcpMock::each(answer());
    let asked = to(nginx, 302, &format!("http://{}/there", other.addr)).replacen("://", "://alice:wonderland@", 1);
    assert_eq!(ok(&mut l, secret(&asked)).body, b"ok");
    let head = head_of(&other, 0);
    assert!(head.starts_with(&format!("GET /there HTTP/1.1\r\nHost: {}\r\n", other.addr)), "{head}");
    assert!(!head.contains("Authorization") && !head.contains("Cookie") && head.contains("X-Own: 1"), "{head}");
    // The same host gets them again.
    let own = ok(&mut l, secret(&to(nginx, 302, "/headers")));
    let head = String::from_utf8(own.body).unwrap();
    assert!(head.contains("Bearer x") && head.contains("Cookie") && head.contains("Host: own.test"), "{head}");
    let asked = to(nginx, 302, "/auth").replacen("://", "://alice:wonderland@", 1);
    assert_eq!(ok(&mut l, following(get(&asked), 1)).body, b"welcome", "so do user and password of the URL");
}

#[test]
fn from_https_only_to_https() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let authority = &ca::get().ca;
    let from = |place: &str| following(trusting(&nginx.tls_url(&format!("/to/302?{place}")), authority), 3);
    assert_eq!(ok(&mut l, from("/now")).body, b"now");
    let f = failed(l.run(Request::Http(from(&nginx.url("/now"))), LONG));
    assert_eq!((f.why, f.phase, f.detail.as_str()), (Why::Denied, Phase::Receive, "redirected from https to http"));
    // From http to https is a step up; there everything is checked.
    let up = following(trusting(&to(nginx, 301, &nginx.tls_url("/now")), authority), 1);
    assert_eq!(ok(&mut l, up).body, b"now");
    let wrong = format!("https://localhost:{}/now", nginx.wrong_name_port);
    let up = following(trusting(&to(nginx, 301, &wrong), authority), 1);
    assert_eq!(fails(&mut l, up, LONG), (Why::Denied, Phase::Tls));
    clean.after(&mut l);
}

#[test]
fn deadlines_and_phases_hold_behind_a_redirection() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let hole = BlackHole::tcp();
    let silent = TcpMock::each(vec![Step::Hang]);
    let half = TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 200 OK\r\n"), Step::Hang]);
    let places = [
        (format!("http://{}/", hole.addr), Phase::Connect),
        (format!("https://{}/", silent.addr), Phase::Tls),
        (format!("http://{}/", silent.addr), Phase::Wait),
        (format!("http://{}/", half.addr), Phase::Receive),
    ];
    for (place, phase) in &places {
        let request = following(get(&to(nginx, 302, place)), 1);
        assert_eq!(fails(&mut l, request.clone(), MEDIUM), (Why::Timeout, *phase), "{place}");
        let id = start(&mut l, request);
        l.until(LONG, "the phase", |l| {
            let info = l.driver.info(id).unwrap();
            info.phase == *phase && *place == format!("{}/", info.backend)
        });
        l.cancel(id, CancelReason::Gone);
        let f = failed(l.done.remove(&id).unwrap().0);
        assert_eq!((f.why, f.phase), (Why::Cancelled, *phase), "{place}");
    }
    assert_eq!(
        fails(&mut l, following(get(&to(nginx, 302, &format!("http://127.0.0.1:{}/", free_port()))), 1), LONG),
        (Why::Refused, Phase::Connect)
    );
    drop((hole, silent, half));
    clean.after(&mut l);
}
