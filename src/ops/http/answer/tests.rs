use super::*;

/// Feeds a text whole, byte by byte, and in threes: all must agree.
fn read(text: &str, to_head: bool, max_body: usize) -> Result<(HttpResponse, bool), Broken> {
    let run = |step: usize| {
        let mut a = Answer::new(Expected { to_head, max_body, max_head: MAX_HEAD, decode: true });
        for (i, piece) in text.as_bytes().chunks(step).enumerate() {
            if a.feed(piece)? {
                // What is behind the end counts only if it came with it.
                let rest = text.len() > (i + 1) * step;
                return Ok((a.take(), a.keep_alive() && !rest));
            }
        }
        a.end()?;
        Ok((a.take(), a.keep_alive()))
    };
    let whole = run(text.len().max(1));
    assert_eq!(whole, run(1), "{text:?}");
    assert_eq!(whole, run(3), "{text:?}");
    whole
}

fn ok(text: &str) -> (HttpResponse, bool) {
    read(text, false, 1000).unwrap_or_else(|e| panic!("{text:?}: {e:?}"))
}

fn broken(text: &str) -> Broken {
    match read(text, false, 1000) {
        Err(e) => e,
        Ok(r) => panic!("{text:?}: {r:?}"),
    }
}

#[test]
fn a_length() {
    let (r, keep) = ok("HTTP/1.1 200 OK\r\nContent-Type:  text/plain; a=b \r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((r.status, &r.body[..], keep), (200, &b"hello"[..], true));
    assert!(r.content_type.is_some_and(|t| t == "text/plain; a=b"));
    assert_eq!(r.headers.len(), 2);
    let (r, keep) = ok("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: foo, Close\r\n\r\n");
    assert_eq!((r.status, r.body.len(), keep), (404, 0, false));
    assert!(ok("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx").1);
    assert!(!ok("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx").1);
    assert_eq!(ok("HTTP/1.1 200\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab").0.body, b"ab");
}

#[test]
fn bytes_behind_the_answer_forbid_reuse() {
    let (r, keep) = ok("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n");
    assert_eq!((&r.body[..], keep), (&b"ab"[..], false));
    assert!(!ok("HTTP/1.1 204 No Content\r\n\r\nx").1);
}

#[test]
fn chunks() {
    let (r, keep) = ok("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
         4\r\nWiki\r\n5;ext=\"a;b\"\r\npedia\r\n00e \r\n in\r\n\r\nchunks.\r\n0\r\nX-T: v\r\nY: z\r\n\r\n");
    assert_eq!((&r.body[..], keep), (&b"Wikipedia in\r\n\r\nchunks."[..], true));
    assert_eq!(ok("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n").0.body, b"a");
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n";
    assert!(!ok(both).1);
    assert!(!ok("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").1);
    for (bad, why) in [
        ("x\r\n", "bad size of a chunk"),
        ("\r\n", "bad size of a chunk"),
        ("-1\r\n", "bad size of a chunk"),
        ("1x\r\n", "bad size of a chunk"),
        ("00000000000000001\r\n", "bad size of a chunk"),
        ("2\r\nabc\r\n", "a chunk is longer than it says"),
        ("1\r\na\r\r\n", "a chunk is longer than it says"),
    ] {
        assert_eq!(
            broken(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bad}")),
            Broken::Garbage(why)
        );
    }
    for large in ["3e9\r\n", "ffffffffffffffff\r\n", "3e7\r\n"] {
        let data = "x".repeat(999);
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{large}{data}\r\n2\r\n");
        assert!(matches!(broken(&text), Broken::TooLarge(_)), "{large}");
    }
    assert_eq!(broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), Broken::Closed);
    assert_eq!(broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"), Broken::Closed);
}

#[test]
fn until_the_end_of_the_connection() {
    let (r, keep) = ok("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\nall of it");
    assert_eq!((&r.body[..], keep), (&b"all of it"[..], false));
    assert!(r.headers[0].1 == "b   c");
    assert!(matches!(broken(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001))), Broken::TooLarge(_)));
}

#[test]
fn no_body() {
    let (r, keep) = read("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", true, 10).unwrap();
    assert_eq!((r.body.len(), keep), (0, true));
    assert!(ok("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").1);
    assert!(ok("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n").1);
}

#[test]
fn interim_answers_are_skipped() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\na";
    let (r, keep) = ok(text);
    assert_eq!((r.status, r.headers.len(), keep), (201, 1, true));
    assert!(matches!(broken(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(17)), Broken::TooLarge(_)));
    assert!(matches!(broken("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Broken::Garbage(_)));
    assert_eq!(broken("HTTP/1.1 100 Continue\r\n\r\n"), Broken::Closed);
}

#[test]
fn garbage() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\na\0b: c\r\n\r\n",
    ] {
        assert!(matches!(broken(text), Broken::Garbage(_)), "{text:?}: {:?}", broken(text));
    }
    assert_eq!(broken(""), Broken::Closed);
    assert_eq!(broken("HTTP/1.1 200 OK\r\nA: b\r\n"), Broken::Closed);
    assert_eq!(broken("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), Broken::Closed);
}

#[test]
fn limits_of_head_and_body() {
    assert!(matches!(broken("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), Broken::TooLarge(_)));
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(70_000));
    assert!(matches!(broken(&endless), Broken::TooLarge(_)));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(129));
    assert!(matches!(broken(&many), Broken::TooLarge(_)));
    let fits = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}\r\n\r\n", "x".repeat(60_000));
    assert_eq!(ok(&fits).0.headers.len(), 2);
    let trailers =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    assert!(matches!(broken(&trailers), Broken::TooLarge(_)));
}

#[test]
fn coded_bodies() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    let coded = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let read = |head: &str, body: &[u8], decode: bool| {
        let run = |step: usize| {
            let mut a = Answer::new(Expected { to_head: false, max_body: 1000, max_head: MAX_HEAD, decode });
            for piece in [head.as_bytes(), body].concat().chunks(step) {
                if a.feed(piece)? {
                    return Ok(a.take().body);
                }
            }
            a.end().map(|()| a.take().body)
        };
        assert_eq!(run(10_000), run(1));
        run(10_000)
    };
    let text = b"coded and coded and coded".to_vec();
    let body = coded(&text);
    let length = format!("HTTP/1.1 200 OK\r\nContent-Encoding: GZip\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(read(&length, &body, true), Ok(text.clone()));
    assert_eq!(read(&length, &body, false), Ok(body.clone()), "not asked to");
    let until_close = "HTTP/1.1 200 OK\r\nContent-Encoding: x-gzip\r\n\r\n";
    assert_eq!(read(until_close, &body, true), Ok(text.clone()));
    assert!(matches!(read(until_close, &body[..body.len() - 1], true), Err(Broken::Garbage(_))), "cut off");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n";
    let (one, two) = body.split_at(7);
    let chunks =
        [b"7\r\n", one, format!("\r\n{:x}\r\n", two.len()).as_bytes(), two, b"\r\n0\r\nX-Sum: 1\r\n\r\n"].concat();
    assert_eq!(read(chunked, &chunks, true), Ok(text));
    // The limit is about what comes out, too.
    let bomb = coded(&[b'x'; 1001]);
    assert!(bomb.len() < 100);
    assert!(matches!(read(until_close, &bomb, true), Err(Broken::TooLarge(_))));
    assert_eq!(read(until_close, &coded(&[b'x'; 1000]), true).map(|b| b.len()), Ok(1000));
    // What nobody here can undo is handed over as it is.
    for coding in ["br", "gzip, gzip", "gzip\r\nContent-Encoding: gzip"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n");
        assert_eq!(read(&head, &body, true), Ok(body.clone()), "{coding}");
    }
    assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n", b"x", true), Ok(b"x".to_vec()));
    assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", b"", true), Ok(vec![]));
}

#[test]
fn a_limit_of_the_head_and_the_wish_for_the_body() {
    let mut a = Answer::new(Expected { to_head: false, max_body: 10, max_head: 50, decode: false });
    assert_eq!(a.feed(b"HTTP/1.1 100 Continue\r\n\r\n"), Ok(false));
    assert!(a.continued() && !a.is_final() && a.has_begun());
    assert!(matches!(a.feed(b"HTTP/1.1 200 OK\r\nA: bcdefghijk\r\n"), Err(Broken::TooLarge(_))), "both heads count");
}
