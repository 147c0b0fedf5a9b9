//! Tests of message parsing.

use super::*;

pub(crate) const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Via: SIP/2.0/UDP bigbox3.site3.atlanta.com;branch=z9hG4bK77ef4c2312983.1, SIP/2.0/TCP h2;branch=b2\r\n\
v: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=192.0.2.1\r\n\
Max-Forwards: 69\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
f: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Subject: one\r\n  two\r\n\
X-Foo : bar\r\n\
m: <sip:alice@pc33.atlanta.com>, \"x\" <sip:c2>;q=0.5\r\n\
Content-Type: application/sdp; charset=x\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\n";

fn parse(s: &str) -> Message {
    Message::parse(Str::from(s)).unwrap_or_else(|e| panic!("{e}: {s}"))
}

fn refused(s: &str) -> ParseError {
    Message::parse(Str::from(s)).expect_err(s)
}

fn with(line: &str) -> String {
    INVITE.replace("Subject: one\r\n  two\r\n", line)
}

#[test]
fn everything_is_found() {
    let m = parse(INVITE);
    assert!(m.is_request() && !m.is_reply());
    assert_eq!((m.method(), m.method_bytes()), (Method::Invite, &b"INVITE"[..]));
    assert_eq!(m.request_uri(), b"sip:bob@biloxi.com");
    let vias: Vec<_> = m.vias().map(|v| v.unwrap().host).collect();
    assert_eq!(vias, [&b"bigbox3.site3.atlanta.com"[..], b"h2", b"pc33.atlanta.com"]);
    assert_eq!(m.top_via().unwrap().magic_branch(), Some(&b"77ef4c2312983.1"[..]));
    assert_eq!(m.max_forwards(), Some(69));
    assert_eq!((m.from_tag(), m.to_tag()), (Some(&b"1928301774"[..]), None));
    assert_eq!(m.to().uri, b"sip:bob@biloxi.com");
    assert_eq!(m.call_id(), b"a84b4c76e66710");
    assert_eq!((m.cseq().number, m.cseq().method), (314159, Method::Invite));
    assert_eq!(m.contacts().map(|c| c.uri).collect::<Vec<_>>(), [&b"sip:alice@pc33.atlanta.com"[..], b"sip:c2"]);
    assert_eq!((m.content_type(), m.media_type()), (&b"application/sdp; charset=x"[..], &b"application/sdp"[..]));
    assert_eq!(m.body(), b"v=0\n");
    assert_eq!(m.headers().count(), 12);
    let subject = m.header(HeaderId::Subject).unwrap();
    assert_eq!((subject.value, &*subject.unfolded()), (&b"one\r\n  two"[..], &b"one two"[..]));
    assert_eq!(m.slice(subject.line()), b"Subject: one\r\n  two\r\n");
    assert_eq!(m.headers_named(b"x-foo").map(|h| h.value).collect::<Vec<_>>(), [b"bar"]);
    assert_eq!(m.headers_named(b"VIA").count(), 2);
    assert_eq!(m.headers_named(b"V").next_back().unwrap().name, b"v");
    assert_eq!(&m.bytes()[m.headers_start() as usize..][..4], b"Via:");
    assert_eq!(&m.bytes()[m.headers_end() as usize..][..2], b"\r\n");
    assert_eq!(m.range_of(m.call_id()), m.header(HeaderId::CallId).map(|h| h.value_range));
}

#[test]
fn header_lines_cover_the_header_block() {
    let m = parse(INVITE);
    let mut at = m.headers_start();
    for h in m.headers() {
        assert_eq!(h.start, at);
        at = h.line().end;
    }
    assert_eq!(at, m.headers_end());
}

#[test]
fn replies() {
    let head = "Via: SIP/2.0/UDP h\r\nFrom: a:b;tag=1\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n";
    let m = parse(&format!("SIP/2.0 200 All right\r\n{head}"));
    assert_eq!((m.status(), m.reason(), m.method()), (200, &b"All right"[..], Method::Bye));
    assert_eq!(m.slice(m.status_range()), b"200 All right");
    assert!(m.request_uri().is_empty() && m.is_reply());
    assert_eq!(parse(&format!("SIP/2.0 100 \r\n{head}")).reason(), b"");
    assert_eq!(parse(&format!("sip/2.0 183\r\n{head}")).status(), 183);
    for bad in ["SIP/2.0 4294967301 x", "SIP/2.0 99 x", "SIP/2.0 0200 x", "SIP/2.0 700 x", "SIP/2.0", "SIP/7.0 200 OK"]
    {
        let e = refused(&format!("{bad}\r\n{head}"));
        assert!(e.answer().is_none() && e.partial().is_none(), "{bad}: {e}");
    }
}

#[test]
fn content_length_and_surroundings() {
    let m = parse(&format!("\r\n\r\n{INVITE}garbage"));
    assert_eq!(m.bytes(), INVITE.as_bytes());
    assert_eq!(m.body(), b"v=0\n");
    let m = parse(&INVITE.replace("Content-Length: 4\r\n", ""));
    assert_eq!(m.body(), b"v=0\n");
    for (length, reason) in [
        ("5", "Body Shorter Than Content-Length"),
        ("-1", "Bad Content-Length"),
        ("x", "Bad Content-Length"),
        ("99999999999", "Bad Content-Length"),
        ("", "Bad Content-Length"),
    ] {
        let e = refused(&INVITE.replace("Length: 4", &format!("Length: {length}")));
        assert_eq!(e.reason(), reason);
        assert_eq!(e.answer().map(|(_, f)| f.status), Some(400));
    }
}

#[test]
fn line_ends_may_be_bare_newlines() {
    let m = parse(&INVITE.replace("\r\n", "\n"));
    assert_eq!(m.headers().count(), 12);
    assert_eq!(m.body(), b"v=0\n");
    assert_eq!(&*m.header(HeaderId::Subject).unwrap().unfolded(), b"one two");
}

#[test]
fn broken_requests_can_be_answered() {
    for (line, reason) in [
        ("no colon here\r\n", "Bad Header"),
        (": x\r\n", "Bad Header"),
        ("Na me: x\r\n", "Bad Header"),
        ("\u{e4}: x\r\n", "Bad Header"),
    ] {
        let e = refused(&with(line));
        let (m, fault) = e.answer().unwrap();
        assert_eq!((fault.status, fault.reason), (400, reason));
        assert_eq!((m.call_id(), m.body()), (&b"a84b4c76e66710"[..], &b"v=0\n"[..]));
    }
    for (old, new, reason) in [
        ("Call-ID: a84b4c76e66710\r\n", "", "Missing Call-ID"),
        ("Call-ID: a84b4c76e66710\r\n", "Call-ID: \r\n", "Empty Call-ID"),
        ("To: Bob", "X-To: Bob", "Missing To"),
        ("f: ", "g: ", "Missing From"),
        ("CSeq", "CSec", "Missing CSeq"),
        ("314159", "36893488147419103232", "Bad CSeq number"),
        ("314159 INVITE", "314159", "Bad CSeq"),
        ("INVITE sip:bob@biloxi.com", "INVITE  sip:bob@biloxi.com", "Bad Request-Line"),
        ("biloxi.com SIP/2.0", "biloxi.com; lr SIP/2.0", "Bad Request-Line"),
        ("biloxi.com SIP/2.0", "biloxi.com SIP/2.0  ", "Bad Request-Line"),
        ("INVITE sip:bob@biloxi.com", "INVITE", "Bad Request-Line"),
        ("INVITE sip", "INV{ITE sip", "Bad Method"),
        ("\r\n\r\nv=0\n", "\r\n", "Incomplete Message"),
    ] {
        let e = refused(&INVITE.replacen(old, new, 1));
        assert_eq!(e.answer().map(|(_, f)| (f.status, f.reason)), Some((400, reason)), "{new}");
    }
    let e = refused(&INVITE.replacen("SIP/2.0", "SIP/7.0", 1));
    assert_eq!(e.answer().unwrap().1.status, 505);
    let e = refused(&INVITE.replace("Via:", "Vio:").replace("v:", "x-v:"));
    assert_eq!((e.reason(), e.answer().is_none()), ("Missing Via", true));
    let e = refused(&INVITE.replace("INVITE", "ACK").replace("Length: 4", "Length: 9"));
    assert!(e.answer().is_none());
}

#[test]
fn what_is_not_sip_is_dropped() {
    for text in
        ["", "\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "hello", "\0\0\0\0", "INVITE sip:a@b SIP/2.0", "\n\n"]
    {
        assert_eq!(refused(text), ParseError::NotSip, "{text}");
    }
}

#[test]
fn too_many_headers() {
    let many = "X: y\r\n".repeat(MAX_HEADERS);
    assert_eq!(refused(&with(&many)).reason(), "Too Many Headers");
}

#[test]
fn travels_as_bytes() {
    let m = parse(INVITE);
    let bytes = postcard::to_stdvec(&m).unwrap();
    let back: Message = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(m, back);
    assert_eq!(back.call_id(), m.call_id());
    let broken = salvage(with("no colon\r\n").as_bytes()).unwrap();
    let back: Message = postcard::from_bytes(&postcard::to_stdvec(&broken).unwrap()).unwrap();
    assert_eq!(back, broken);
    assert!(postcard::from_bytes::<Message>(&postcard::to_stdvec(&Str::from("junk")).unwrap()).is_err());
}

#[test]
fn a_header_of_many_empty_lines_is_read_in_one_pass() {
    let text = |lines: usize| {
        let (folds, full, far) = (" \r\n".repeat(lines), " d\r\n".repeat(lines), " ".repeat(lines.min(70_000)));
        format!(
            "OPTIONS sip:b@c SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@c>\r\n\
             Call-ID: x\r\nCSeq: 1 OPTIONS\r\nSubject: a\r\n{folds} b\r\n{folds}Server:\r\n{folds}\td \r\nExpires:\r\n{folds}\
             Date:{far}\r\n{full}\r\n"
        )
    };
    // Megabytes; with a look at the whole value for each line this would take hours.
    for lines in [0, 1, 2, 800_000] {
        let m = Message::parse(Str::from(text(lines))).unwrap();
        let value = m.value(HeaderId::Subject);
        assert!(value.starts_with(b"a\r\n") && value.ends_with(b" b"), "{lines}");
        assert_eq!((m.value(HeaderId::Server), m.value(HeaderId::Expires)), (&b"d"[..], &b""[..]));
        assert_eq!(m.headers().count(), 9);
    }
}

#[test]
fn values_too_long_for_a_memo_are_read_all_the_same() {
    let display = "x".repeat(70_000);
    let text = format!(
        "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h;p={display};branch=z9hG4bK1\r\nFrom: \"{display}\" <sip:a@b>;tag=1\r\n\
         To: <sip:{display}@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    let m = Message::parse_slice(text.as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(m.top_via().unwrap().picked.branch, Some(&b"z9hG4bK1"[..]));
        assert_eq!(m.from_tag(), Some(&b"1"[..]));
        assert_eq!(m.from().uri, b"sip:a@b");
        assert_eq!(m.to_tag(), Some(&b"2"[..]));
        assert_eq!(m.to().uri.len(), 70_006);
    }
}

#[test]
fn a_value_far_from_its_name_is_found() {
    let far = " ".repeat(70_000);
    for header in [format!("Subject:{far}x"), format!("Subject:\r\n{far}x"), format!("Subject{far}:\r\n x\r\n ")] {
        let text = format!(
            "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n{header}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b>\r\n\
             Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        let m = Message::parse_slice(text.as_bytes()).unwrap();
        assert_eq!(m.value(HeaderId::Subject), b"x");
        assert_eq!(m.slice(m.header(HeaderId::Subject).unwrap().line()), format!("{header}\r\n").as_bytes());
    }
}

#[test]
fn a_header_line_ends_behind_its_empty_continuations() {
    let text = b"OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nSubject: \r\n \r\n\t\r\nFrom: <sip:a@b>;tag=1 \r\n \r\nTo: <sip:b>\r\n\
        Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let m = Message::parse_slice(text).unwrap();
    let line = |id| m.slice(m.header(id).unwrap().line());
    assert_eq!(line(HeaderId::Subject), b"Subject: \r\n \r\n\t\r\n");
    assert_eq!(line(HeaderId::From), b"From: <sip:a@b>;tag=1 \r\n \r\n");
    assert_eq!(m.value(HeaderId::From), b"<sip:a@b>;tag=1");
    assert_eq!(line(HeaderId::CSeq), b"CSeq: 1 OPTIONS\r\n");
}
