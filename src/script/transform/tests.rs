use super::super::program::Limits;
use super::super::value::Value;
use super::*;

/// Applies a transformation with literal parameters.
fn run(input: &str, body: &str) -> Outcome {
    run_value(&Value::from(input), body)
}

fn run_value(input: &Value, body: &str) -> Outcome {
    let w = parse(body.as_bytes()).unwrap_or_else(|e| panic!("{body}: {e:?}"));
    let args: Vec<Value> = w
        .args
        .iter()
        .map(|(text, kind)| match kind {
            ArgKind::Int => number(text).map_or(Value::Null, Value::Int),
            _ => Value::text(text.as_slice()),
        })
        .collect();
    apply(w.op, input, &args, Limits::default().max_value)
}

/// `None` = NULL; `Some("!")` = an error.
fn check(cases: &[(&str, &str, Option<&str>)]) {
    for (input, body, want) in cases {
        let got = match run(input, body) {
            Ok(v) => v.to_text().map(|t| t.to_string()),
            Err(Failed) => Some("!".into()),
        };
        assert_eq!(got.as_deref(), *want, "{input} {{{body}}}");
    }
}

#[test]
fn texts() {
    check(&[
        ("abc", "s.len", Some("3")),
        ("", "s.len", Some("0")),
        ("12ab", "s.int", Some("12ab")),
        ("abc", "s.reverse", Some("cba")),
        ("AbC", "s.tolower", Some("abc")),
        ("AbC", "S.TOUPPER", Some("ABC")),
        ("abcdef", "s.substr,1,2", Some("bc")),
        ("abcdef", "s.substr,-2,0", Some("ef")),
        ("abcdef", "s.substr,2,0", Some("cdef")),
        ("abcdef", "s.substr,1,-2", Some("bcd")),
        ("abcdef", "s.substr,1,99", Some("bcdef")),
        ("abcdef", "s.substr,9,1", None),
        ("abcdef", "s.substr,-7,1", None),
        ("a,b,,d", "s.select,1,,", Some("b")),
        ("a,b,,d", "s.select,2,,", Some("")),
        ("a,b,,d", "s.select,-1,,", Some("d")),
        ("a,b,,d", "s.select,4,,", None),
        ("a/b", "s.select,1,/", Some("b")),
        ("hello world", "s.index,o", Some("4")),
        ("hello world", "s.index,o,5", Some("7")),
        ("hello world", "s.index,o,-5", Some("7")),
        ("hello world", "s.index,z", None),
        ("hello world", "s.rindex,o", Some("7")),
        ("hello world", "s.rindex,o,6", Some("4")),
        ("hello world", "s.rindex,o,7", Some("7")),
        ("485", "s.fill.left,abc,8", Some("bcabc485")),
        ("485", "s.fill.right,abc,8", Some("485abcab")),
        ("485", "s.fill.left,0,6", Some("000485")),
        ("485", "s.fill.left,0,2", Some("485")),
        ("abc", "s.width,5", Some("abc  ")),
        ("abc", "s.width,2", Some("ab")),
        ("abc", "s.width,0", Some("!")),
        (" \t abc \r\n", "s.trim", Some("abc")),
        ("  abc  ", "s.trimr", Some("  abc")),
        ("  abc  ", "s.triml", Some("abc  ")),
    ]);
    assert_eq!(run("-12ab", "s.int"), Ok(Value::Both(-12, Str::from("-12ab"))));
    assert_eq!(run("x", "s.int").map(|v| v.as_int()), Ok(Some(0)));
    assert_eq!(run_value(&Value::Null, "s.len"), Ok(Value::Null));
    // `<null>` in a command line would be two redirections.
    assert_eq!(run_value(&Value::Null, "s.escape.shell"), Ok(Value::text("''")));
}

#[test]
fn codes_and_hashes() {
    check(&[
        ("abc", "s.md5", Some("900150983cd24fb0d6963f7d28e17f72")),
        ("abc", "s.sha1", Some("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("abc", "s.sha256", Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("abc", "s.sha224", Some("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")),
        // RFC 2202 test case 2.
        ("what do ya want for nothing?", "s.sha1_hmac,Jefe", Some("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")),
        ("123456789", "s.crc32", Some("3421780262")),
        ("ab\n", "s.encode.hexa", Some("61620a")),
        ("61620A", "s.decode.hexa", Some("ab\n")),
        ("6", "s.decode.hexa", None),
        ("zz", "s.decode.hexa", None),
        ("sip:a@b", "s.escape.shell", Some("'sip:a@b'")),
        ("", "s.escape.shell", Some("''")),
        ("a';rm x;'", "s.escape.shell", Some("'a'\\'';rm x;'\\'''")),
        ("$(id) `id` \\\n\0\"", "s.escape.shell", Some("'$(id) `id` \\\n\"'")),
        ("a'b\"c\\d", "s.escape.common", Some("a\\'b\\\"c\\\\d")),
        ("a\\'b\\\"c\\\\d", "s.unescape.common", Some("a'b\"c\\d")),
        ("a b@c", "s.escape.user", Some("a%20b%40c")),
        ("a=b;c d", "s.escape.param", Some("a%3db%3bc%20d")),
        ("a%20b%40c", "s.unescape.user", Some("a b@c")),
        ("a%2", "s.unescape.param", Some("!")),
        ("255", "s.dec2hex", Some("ff")),
        ("ff", "s.hex2dec", Some("255")),
        ("0xFF", "s.hex2dec", Some("255")),
        ("xyz", "s.hex2dec", Some("!")),
        ("abc", "s.b64encode", Some("YWJj")),
        ("YWJj", "s.b64decode", Some("abc")),
        ("Sat, 01 Jan 2000 00:00:00 GMT", "s.date2unix", Some("946684800")),
        ("Thu, 29 Feb 2024 12:34:56 GMT", "s.date2unix", Some("1709210096")),
        ("yesterday", "s.date2unix", Some("!")),
    ]);
    assert_eq!(run("ab", "s.xor,ab"), Ok(Value::text(vec![0, 0])));
    assert_eq!(run_value(&Value::Int(7), "s.b64encode"), Ok(Value::Int(7)));
}

#[test]
fn uris_and_vias() {
    let uri = "sip:bob:pw@example.com:5070;transport=TCP;lr;user=phone?Subject=x";
    check(&[
        (uri, "uri.user", Some("bob")),
        (uri, "uri.passwd", Some("pw")),
        (uri, "uri.host", Some("example.com")),
        (uri, "uri.domain", Some("example.com")),
        (uri, "uri.port", Some("5070")),
        (uri, "uri.params", Some("transport=TCP;lr;user=phone")),
        (uri, "uri.headers", Some("Subject=x")),
        (uri, "uri.transport", Some("TCP")),
        (uri, "uri.uparam", Some("phone")),
        (uri, "uri.lr", Some("")),
        (uri, "uri.ttl", None),
        (uri, "uri.schema", Some("sip")),
        (uri, "uri.param,TRANSPORT", Some("TCP")),
        (uri, "uri.param,x", None),
        ("sip:example.com", "uri.user", None),
        ("sip:example.com", "uri.port", None),
        ("not a uri", "uri.user", Some("!")),
    ]);
    let via = "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKx;rport;received=192.0.2.9";
    check(&[
        (via, "via.name", Some("SIP")),
        (via, "via.version", Some("2.0")),
        (via, "via.transport", Some("UDP")),
        (via, "via.host", Some("192.0.2.1")),
        (via, "via.port", Some("5062")),
        (via, "via.branch", Some("z9hG4bKx")),
        (via, "via.rport", Some("")),
        (via, "via.received", Some("192.0.2.9")),
        (via, "via.param,branch", Some("z9hG4bKx")),
        (via, "via.param,x", None),
        (via, "via.comment", None),
        ("", "via.host", Some("!")),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("a=1;b=2;c", "param.value,b", Some("2")),
        ("a=1;b=2;c", "param.value,c", Some("")),
        ("a=1;b=2;c", "param.value,d", None),
        ("a=1;b=2;c", "param.exist,c", Some("1")),
        ("a=1;b=2;c", "param.exist,d", Some("0")),
        ("a=1;b=2;c", "param.valueat,-2", Some("2")),
        ("a=1;b=2;c", "param.name,0", Some("a")),
        ("a=1;b=2;c", "param.count", Some("3")),
        ("a=1;b=;c", "param.value,a", None),
        ("\"Bob B\" <sip:bob@x>;tag=1;Q=2", "nameaddr.name", Some("\"Bob B\"")),
        ("\"Bob B\" <sip:bob@x>;tag=1", "nameaddr.uri", Some("sip:bob@x")),
        ("\"Bob B\" <sip:bob@x>;tag=1", "nameaddr.params", Some("tag=1")),
        ("\"Bob B\" <sip:bob@x>;tag=1", "nameaddr.param,tag", Some("1")),
        ("\"Bob B\" <sip:bob@x>;tag=1", "nameaddr.param,TAG", None),
        ("<sip:bob@x>", "nameaddr.name", None),
        ("<sip:bob@x>;a", "nameaddr.len", Some("13")),
        ("<sip:a@x>, <sip:b@x>", "nameaddr.1.uri", Some("sip:b@x")),
        ("<sip:a@x>, <sip:b@x>;t=5", "nameaddr.-1.param,t", Some("5")),
        ("<sip:a@x>, <sip:b@x>", "nameaddr.2.uri", None),
        ("a,\"b,\"\"c\",d", "csv.count", Some("3")),
        ("a,\"b,\"\"c\",d", "csv.value,1", Some("b,\"c")),
        ("a,b", "csv.value,-1", Some("b")),
        ("a,b", "csv.value,2", Some("!")),
    ]);
}

#[test]
fn addresses_and_sdp() {
    check(&[
        ("10.1.2.3", "ip.isip", Some("1")),
        ("10.1.2", "ip.isip", Some("0")),
        ("::1", "ip.isip6", Some("1")),
        ("::1", "ip.isip4", Some("0")),
        ("192.168.1.1", "ip.isprivate", Some("1")),
        ("8.8.8.8", "ip.isprivate", Some("0")),
        ("10.1.2.3", "ip.matches,10.0.0.0/8", Some("1")),
        ("11.1.2.3", "ip.matches,10.0.0.0/8", Some("0")),
        ("11.1.2.3", "ip.matches,2001:db8::/32", None),
        ("x", "ip.matches,10.0.0.0/8", None),
    ]);
    let raw = run("10.1.2.3", "ip.pton").unwrap();
    assert_eq!(raw, Value::text(vec![10, 1, 2, 3]));
    assert_eq!(run_value(&raw, "ip.ntop"), Ok("10.1.2.3".into()));
    assert_eq!(run_value(&raw, "ip.family"), Ok("INET".into()));
    let sdp = "v=0\r\no=x\r\nm=audio 1 RTP/AVP 0\r\na=one\r\na=two\r\nm=video 2 RTP/AVP 9\r\n";
    check(&[
        (sdp, "sdp.line,a", Some("a=one")),
        (sdp, "sdp.line,a,1", Some("a=two")),
        (sdp, "sdp.line,a,2", None),
        (sdp, "sdp.stream,1", Some("m=video 2 RTP/AVP 9\r\n")),
        (sdp, "sdp.stream,audio", Some("m=audio 1 RTP/AVP 0\r\na=one\r\na=two\r\n")),
        (sdp, "sdp.stream,text", None),
        (sdp, "sdp.stream-delete,audio", Some("v=0\r\no=x\r\nm=video 2 RTP/AVP 9\r\n")),
    ]);
}

#[test]
fn refuses_what_it_does_not_know() {
    assert!(matches!(
        parse(b"s.lenght"),
        Err(Refused::Unknown { suggestion: Some("s.len"), .. }) | Err(Refused::Unknown { .. })
    ));
    assert!(matches!(parse(b"ip.resolve"), Err(Refused::Waits(_))));
    assert!(matches!(parse(b"s.substr,1"), Err(Refused::Args { .. })));
    assert!(matches!(parse(b"s.len,1"), Err(Refused::Args { .. })));
    assert!(matches!(parse(b"s.substr,x,1"), Err(Refused::Args { .. })));
    assert!(parse(b"s.substr,$var(x),1").is_ok());
}

#[test]
fn survives_any_input() {
    let inputs: [&[u8]; 8] = [b"", b"\0", b"\xff\xfe", b"<", b"\"", b";;=;", b"sip:", b"SIP/2.0/UDP"];
    for spec in SPECS {
        for input in inputs {
            for n in [i64::MIN, -1, 0, 1, i64::MAX] {
                let args = [Value::Int(n), Value::Int(n)];
                let _ = apply(spec.op, &Value::text(input), &args, 65_535);
                let _ = apply(spec.op, &Value::text(input), &[Value::text(input), Value::Int(n)], 65_535);
                let _ = apply(spec.op, &Value::text(input), &[], 65_535);
            }
        }
    }
}
