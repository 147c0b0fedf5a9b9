//! Fuzz test of what web servers and proxies may send: 200,000 mutated answers, each fed in pieces, with what they
//! are compressed with, and where they redirect to.

mod mutator;

use reprise::ops::HttpMethod;
use reprise::ops::http::answer::{Answer, Broken, Expected, MAX_HEAD};
use reprise::ops::http::redirect::follow;
use reprise::ops::http::url::Url;

const MAX_BODY: usize = 4096;

const SEEDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;a=\"b\"\r\npedia\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nuntil the end of the connection",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 200 OK\nA: b\n c\n\nx",
    b"HTTP/1.1 200\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\nConnection: keep-alive, x\r\n\r\nab",
    b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: 9\r\n\r\nffff\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000001\r\na\r\n7fffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    // `hello` by gzip with every field of its head, by zlib, and by deflate alone.
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x1c\0\0\0\0\0\x03\x03\0abcname\0note\0\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 13\r\n\r\n\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\0\x06\x2c\x02\x15",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\xcb\x48\xcd\xc9\xc9\x07\0",
    // Ten thousand zeros.
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x78\xda\xed\xc1\x01\x0d\0\0\0\xc2\xa0\xf7\x4f\x6d\x0e\x37\xa0\0\0\0\0\0\0\0\0\0\xe0\xdf\0\x27\x10\0\x01",
    b"HTTP/1.1 302 Found\r\nLocation: ../x/./y?z#f\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://u:p@other.test:8443/a/../b\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: //[::1]:80/\r\nLocation: //[::1]:80/\r\n\r\n",
    b"HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"HTTP/1.1 ",
    b"HTTP/1.0 200\r\n\r\n",
    b"Content-Length: ",
    b"18446744073709551615",
    b"99999999999999999999",
    b"-1",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b", ",
    b";",
    b" \r\n ",
    b"\0",
    b"\xff",
    b"101",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"Location: ",
    b"../",
    b"//",
    b"https://",
    b"?",
    b"999",
];

type Read = (Result<bool, Broken>, reprise::ops::HttpResponse, bool);

fn read(data: &[u8], step: usize, to_head: bool) -> Read {
    let expected = Expected { to_head, max_body: MAX_BODY, max_head: MAX_HEAD, decode: true };
    let mut answer = Answer::new(expected);
    let mut result = Ok(false);
    for piece in data.chunks(step) {
        result = answer.feed(piece);
        if result != Ok(false) {
            break;
        }
    }
    if result == Ok(false) {
        result = answer.end().map(|()| true);
    }
    let keep = answer.keep_alive();
    (result, answer.take(), keep)
}

/// Whatever comes, reading it whole and in pieces agrees, and nothing grows past its limit.
pub fn fuzz(data: &[u8]) {
    let to_head = data.len().is_multiple_of(16);
    let step = if data.len().is_multiple_of(2) { 1 } else { 7 };
    let whole = read(data, data.len().max(1), to_head);
    let head: usize = whole.1.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    assert!(whole.1.body.len() <= MAX_BODY && head <= MAX_HEAD);
    redirect(&whole.1);
    let pieces = read(data, step, to_head);
    match (&whole.0, &pieces.0) {
        // Bytes behind the end are seen only when they come with it.
        (Ok(_), Ok(_)) => assert_eq!((&whole.1, whole.2 && pieces.2), (&pieces.1, whole.2)),
        // Which of two faults is met first may depend on the pieces.
        (Err(_), Err(_)) => {}
        _ => panic!("{:?} whole, {:?} in steps of {step}", whole.0, pieces.0),
    }
}

/// Wherever an answer leads, it is a place that can be asked for, and credentials stay at home.
fn redirect(answer: &reprise::ops::HttpResponse) {
    let from = Url::parse(b"https://user:secret@from.test/a/b?c").expect("a URL");
    for method in [HttpMethod::Post, HttpMethod::Get] {
        let Ok(Some(hop)) = follow(&from, method, answer) else { continue };
        assert!(hop.url.tls && hop.url.target.starts_with('/'));
        assert!(hop.url.target.bytes().all(|b| b.is_ascii_graphic()), "{:?}", hop.url.target);
        let home = hop.url.host == "from.test" && hop.url.port == 443;
        assert_eq!(hop.same_origin, home);
        assert!(home || hop.url.authorization != from.authorization);
    }
}

#[test]
fn mutated_answers() {
    mutator::run(SEEDS, WORDS, 200_000, 1, fuzz);
}
