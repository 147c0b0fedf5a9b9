//! Bodies: compressed ones, trailers, limits, and whether the server wants ours.

use super::*;

fn compressed(url: &str) -> HttpRequest {
    set(get(url), |o| o.compression = true)
}

#[test]
fn a_real_server_compresses() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let plain = ok(&mut l, get(&nginx.url("/gzip")));
    assert_eq!(plain.body.len(), LARGE, "not asked for");
    let r = ok(&mut l, compressed(&nginx.url("/gzip")));
    assert!(r.headers.iter().any(|(n, v)| *n == "Content-Encoding" && *v == "gzip"), "{:?}", r.headers);
    assert!(r.body == plain.body);
    // Who chooses the codings gets what comes.
    let own = HttpRequest { headers: vec!["Accept-Encoding: gzip".into()], ..get(&nginx.url("/gzip")) };
    let r = ok(&mut l, own);
    assert!(r.body.starts_with(&[0x1f, 0x8b]) && r.body.len() < LARGE / 2);
    // Sixteen megabytes of zeros come in sixteen kilobytes.
    let zeros = nginx.url("/zeros");
    let bomb = set(compressed(&zeros), |o| o.max_body = 1 << 20);
    assert_eq!(fails(&mut l, bomb, LONG), (Why::TooLarge, Phase::Receive));
    let all = set(compressed(&zeros), |o| o.max_body = 16 << 20);
    let r = ok(&mut l, all);
    assert!(r.body.len() == 16 << 20 && r.body.iter().all(|b| *b == 0));
    clean.after(&mut l);
}

#[test]
fn decompression_shares_the_loop() {
    let _alone = alone();
    let nginx = Nginx::shared();
    let mut l = Loop::new();
    ok(&mut l, get(&nginx.url("/now")));
    let turns = l.turns;
    let id = start(&mut l, set(compressed(&nginx.url("/zeros")), |o| o.max_body = 16 << 20));
    assert_eq!(answered(l.wait(id)).body.len(), 16 << 20);
    // What is decoded counts as what is read: no more than a few megabytes in one turn.
    assert!(l.turns - turns >= 8, "{} turns", l.turns - turns);
}

#[test]
fn compressed_bodies_that_are_none() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    for (head, body) in [
        ("Content-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Encoding: gzip\r\n", "\x1f"),
        ("Content-Encoding: deflate\r\nContent-Length: 4\r\n", "\x7f\x7f\x7f\x7f"),
    ] {
        let mock =
            TcpMock::each(vec![until("\r\n\r\n"), write(&format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}")), Step::Close]);
        assert_eq!(fails(&mut l, get(&url(&mock)), LONG), (Why::Garbage, Phase::Receive), "{head}");
    }
    // A coding that nobody here knows is left alone.
    let mock = TcpMock::each(vec![
        until("\r\n\r\n"),
        write("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello"),
        Step::Close,
    ]);
    assert_eq!(ok(&mut l, get(&url(&mock))).body, b"hello");
    drop(mock);
    l.until(LONG, "the end of the connection", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

#[test]
fn chunks_with_trailers() {
    let _alone = alone();
    let nginx = Nginx::start();
    let mut l = Loop::new();
    for _ in 0..3 {
        let r = ok(&mut l, get(&nginx.url("/trailer")));
        assert_eq!((r.status, &r.body[..]), (200, &b"one two"[..]));
    }
    support::eventually("the log", LONG, || nginx.count("/trailer") == 3);
    assert_eq!(nginx.connections("/trailer"), 1, "what follows the last chunk was read to its end");
    // That the server did send one:
    let (_, raw) = raw_get(&nginx, "/trailer");
    assert!(raw.contains("0\r\nX-Sum: 42\r\n\r\n"), "{raw}");
}

/// A GET by HTTP/1.1 with a connection of its own: head, and body as it comes.
fn raw_get(nginx: &Nginx, path: &str) -> (String, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", nginx.port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_head_has_a_limit() {
    let _alone = alone();
    let mut l = Loop::new();
    let answer = |size: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}\r\n\r\n", "x".repeat(size));
        TcpMock::each(vec![until("\r\n\r\n"), write(&head), Step::Hang])
    };
    let small = |mock: &TcpMock| set(get(&url(mock)), |o| o.max_head = 4096);
    assert_eq!(ok(&mut l, small(&answer(3000))).status, 200);
    assert_eq!(fails(&mut l, small(&answer(5000)), LONG), (Why::TooLarge, Phase::Receive));
    let many = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "A: b\r\n".repeat(200));
    let mock = TcpMock::each(vec![until("\r\n\r\n"), write(&many), Step::Hang]);
    assert_eq!(fails(&mut l, get(&url(&mock)), LONG), (Why::TooLarge, Phase::Receive));
}

fn expecting(url: &str, body: &[u8]) -> HttpRequest {
    set(post(url, body), |o| o.expect = true)
}

#[test]
fn a_real_server_is_asked_whether_it_wants_the_body() {
    let _alone = alone();
    let nginx = Nginx::start();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let begin = Instant::now();
    assert_eq!(ok(&mut l, expecting(&nginx.url("/echo"), b"wanted")).body, b"wanted");
    let large = vec![b'z'; 3_000_000];
    for _ in 0..10 {
        assert!(ok(&mut l, expecting(&nginx.url("/echo"), &large)).body == large);
    }
    // nginx says at once that it does; nobody waits for the second after which a body goes out unasked.
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    // It does not: the body stays here.
    assert_eq!(ok(&mut l, expecting(&nginx.url("/small"), &large)).status, 413);
    assert_eq!(ok(&mut l, expecting(&nginx.url("/small"), b"little")).body, b"little");
    // Without a body there is nothing to ask.
    let head = String::from_utf8(ok(&mut l, expecting(&nginx.url("/headers"), b"")).body).unwrap();
    assert!(!head.contains("Expect"), "{head}");
    clean.after(&mut l);
}

#[test]
fn servers_that_know_nothing_of_expectations() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    // One says nothing: the body goes out after a second.
    let silent = TcpMock::each(vec![until("\r\n\r\nbody"), write(OK), Step::Hang]);
    let begin = Instant::now();
    assert_eq!(ok(&mut l, expecting(&url(&silent), b"body")).body, b"ok");
    assert!(begin.elapsed() >= Duration::from_millis(950), "{:?}", begin.elapsed());
    assert!(String::from_utf8_lossy(&silent.received(0)).contains("Expect: 100-continue\r\n"));
    // One refuses what is expected of it: the same again without.
    let refusing = TcpMock::start(vec![
        vec![until("\r\n\r\n"), write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"), Step::Hang],
        vec![until("\r\n\r\nbody"), write(OK), Step::Hang],
    ]);
    assert_eq!(ok(&mut l, expecting(&url(&refusing), b"body")).body, b"ok");
    assert_eq!(refusing.accepted(), 2);
    let (first, second) = (refusing.received(0), refusing.received(1));
    assert!(first.ends_with(b"\r\n\r\n") && !String::from_utf8_lossy(&second).contains("Expect"));
    // One answers before it has the body, and gets none.
    let early =
        TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno"), Step::Hang]);
    assert_eq!(ok(&mut l, expecting(&url(&early), b"body")).status, 401);
    assert!(early.received(0).ends_with(b"\r\n\r\n"));
    // One never answers; the phase is that of sending as long as the body waits, then that of waiting.
    let hanging = TcpMock::each(vec![Step::Hang]);
    assert_eq!(fails(&mut l, expecting(&url(&hanging), b"body"), SHORT), (Why::Timeout, Phase::Send));
    assert_eq!(fails(&mut l, expecting(&url(&hanging), b"body"), 5 * SHORT), (Why::Timeout, Phase::Wait));
    drop((silent, refusing, early, hanging));
    l.until(LONG, "the end of the connections", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}
