use super::*;

const REQUEST: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Via: SIP/2.0/UDP one;branch=z9hG4bK1\r\n\
Max-Forwards: 69\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:alice@pc>\r\n\
Expires: 60\r\n\
Proxy-Require: foo, Bar\r\n\
Proxy-Require: baz\r\n\
Authorization: Digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"sip:x\",response=\"00112233445566778899aabbccddeeff\"\r\n\
Content-Length: 0\r\n\
\r\n";

fn run(text: &str, checks: u32, uris: u32, extensions: &[Str]) -> u16 {
    let m = Message::parse_slice(text.as_bytes()).unwrap();
    let policy = Policy { checks: Checks(checks), uris: UriChecks(uris), extensions };
    check(&m, &policy).map_or_else(|f| f.status, |()| 0)
}

#[test]
fn each_check_finds_its_own_fault_only() {
    let all: Vec<Str> = ["BAZ", "bar", "foo"].map(Str::from).to_vec();
    assert_eq!(run(REQUEST, u32::MAX, 15, &all), 0);
    for (old, new, bit, status) in [
        ("sip:bob@biloxi.com SIP", "urn:service:sos SIP", 2, 416),
        ("314159 INVITE", "1 BYE", 32, 400),
        ("314159", "2147483648", 64, 400),
        ("Content-Length: 0", "Content-Length: 0\r\nl: 5", 32768, 400),
        ("Expires: 60", "Expires: soon", 256, 400),
        ("Expires: 60", "Expires: 4294967296", 256, 400),
        ("foo, Bar", "foo, zap", 512, 420),
        ("sip:bob@biloxi.com SIP", "sip:a:b:c SIP", 1024, 400),
        ("<sip:alice@atlanta.com>", "<alice>", 1024, 400),
        ("<sip:bob@biloxi.com>", "<bob>", 1024, 400),
        ("<sip:alice@pc>", "<alice>", 1024, 400),
        ("Digest u", "Basic u", 2048, 400),
        (";tag=1", ";tag=1;Tag=2", 4096, 400),
        ("Max-Forwards: 69", "Max-Forwards: x", 32768, 400),
        ("Max-Forwards: 69", "Route: <sip:x", 32768, 400),
        ("Via: S", "Via: x\r\nVia: S", 16384 | 1 << 24, 400),
        ("Max-Forwards: 69", "Via: x", 1 << 24, 400),
        ("biloxi.com SIP", "biloxi.com?a=b SIP", 1 << 25, 400),
    ] {
        let text = REQUEST.replacen(old, new, 1);
        assert_eq!(run(&text, bit, 15, &all), status, "{new}");
        // A URI that cannot be read has no scheme and no headers either.
        let related = if bit == 1024 { 1024 | 2 | 1 << 25 } else { bit };
        assert_eq!(run(&text, !related, 15, &all), 0, "{new}: others");
    }
    // Both look at digest credentials.
    let text = REQUEST.replacen("nonce=\"n\",", "", 1);
    assert_eq!(
        (run(&text, 2048, 7, &all), run(&text, 8192, 7, &all), run(&text, !(2048 | 8192), 7, &all)),
        (400, 400, 0)
    );
}

#[test]
fn uris_are_read_as_asked() {
    let text = REQUEST.replacen("<sip:alice@atlanta.com>", "<alice>", 1).replacen("<sip:alice@pc>", "<pc>", 1);
    assert_eq!([1, 2, 4, 8, 5].map(|uris| run(&text, 1024, uris, &[])), [0, 400, 0, 400, 0]);
}

#[test]
fn extensions() {
    assert_eq!(run(REQUEST, 512, 0, &[]), 420);
    let m = Message::parse_slice(REQUEST.as_bytes()).unwrap();
    let known = [Str::from("bar")];
    let list: Vec<_> = parts::unsupported(&m, &known).collect();
    assert_eq!(list, [&b"foo"[..], b"baz"]);
    for method in ["ACK", "CANCEL"] {
        assert_eq!(run(&REQUEST.replace("INVITE", method), 512, 0, &[]), 0, "{method}");
    }
}

#[test]
fn vias_without_end() {
    let with =
        |n: usize| REQUEST.replacen("branch=z9hG4bK1", &format!("branch=z9hG4bK1{}", ",SIP/2.0/UDP h".repeat(n)), 1);
    assert_eq!((run(&with(255), 1 << 24, 0, &[]), run(&with(256), 1 << 24, 0, &[])), (0, 400));
}

#[test]
fn sizes() {
    let long = |n: usize| "a".repeat(n);
    let text = REQUEST.replacen("sip:bob", &format!("sip:{}", long(MAX_URI)), 1);
    assert_eq!((run(&text, 65536, 0, &[]), run(&text, !(65536 | 512), 15, &[])), (414, 0));
    let text = REQUEST.replacen("Expires: 60", &format!("X: {}", long(MAX_VALUE + 1)), 1);
    assert_eq!((run(&text, 65536, 0, &[]), run(&text, !(65536 | 512), 15, &[])), (400, 0));
}

#[test]
fn replies_are_checked_as_far_as_it_makes_sense() {
    let reply = REQUEST.replacen("INVITE sip:bob@biloxi.com SIP/2.0", "SIP/2.0 200 OK", 1);
    assert_eq!(run(&reply, u32::MAX, 15, &[]), 0);
    assert_eq!(run(&reply.replacen("<sip:bob", "<bob", 1), 17604, 6, &[]), 400);
}
