//! Tests of the textops functions on whole messages.

use super::literal::*;
use super::replace::*;
use super::search::*;
use super::subst::*;
use crate::modules::testing::{Bench, INVITE};
use crate::script::value::Value;
use crate::sip::message::Message;

fn bench() -> Bench {
    Bench::new(INVITE)
}

/// The Content-Length and the body of the message as sent; they must agree.
fn body(b: &Bench) -> String {
    let m = Message::parse_slice(b.sent().as_bytes()).unwrap();
    let (_, body) = b.sent().split_once("\r\n\r\n").map(|(h, b)| (h.to_string(), b.to_string())).unwrap();
    assert_eq!(m.content_length().unwrap() as usize, body.len());
    body
}

#[test]
fn search_reads_lines_and_folds_case() {
    let mut b = bench();
    for (pattern, found) in [
        ("^INVITE", 1),
        ("^x-one: FIRST.*e", 1),
        ("first.*second", -1),
        ("First value\r\nx-two", 1),
        ("^m=audio", 1),
        ("X-One:[^@]*@", -1),
        ("\\<first\\>", 1),
        ("\\<irst\\>", -1),
        ("nothing", -1),
    ] {
        assert_eq!(b.call(&SEARCH, &[pattern]), found, "{pattern}");
    }
    assert_eq!(b.call(&SEARCH_BODY, &["^INVITE"]), -1);
    assert_eq!(b.call(&SEARCH_BODY, &["^a=sendrecv.?$"]), 1);
    b.fake.vars.insert("p".into(), Value::from("*"));
    assert_eq!(b.call(&SEARCH, &["$var(p)"]), -1);
    b.fake.vars.insert("p".into(), Value::from("("));
    assert_eq!(b.call(&SEARCH, &["$var(p)"]), -1000);
    b.fake.vars.insert("p".into(), Value::from("^x-two:[^z]*$"));
    assert_eq!(b.call(&SEARCH, &["$var(p)"]), 1);
}

#[test]
fn search_append_adds_behind_the_first_match() {
    let mut b = bench();
    assert_eq!(b.call(&SEARCH_APPEND, &["^X-One: [^\r]*", "; more of $rU"]), 1);
    assert_eq!(b.call(&SEARCH_APPEND, &["INVITE sip", "no"]), -1, "the first line is not searched");
    assert!(b.sent().contains("X-One: first value; more of bob\r\n"));
    assert_eq!(b.call(&SEARCH_APPEND_BODY, &["^m=audio .*\n", "a=ptime:20\r\n"]), 1);
    assert_eq!(b.call(&SEARCH_APPEND_BODY, &["X-One", "no"]), -1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 8 0 101\r\na=ptime:20\r\na=rtpmap:8"));
}

#[test]
fn replace_changes_the_first_or_every_match() {
    let mut b = bench();
    assert_eq!(b.call(&REPLACE, &["value", "VALUE"]), 1);
    assert_eq!(b.call(&REPLACE, &["no such text", "x"]), -1);
    assert!(b.sent().contains("first VALUE\r\nX-Two: second value\r\n"));
    assert_eq!(b.call(&REPLACE_ALL, &["10\\.0\\.0\\.1", "203.0.113.77"]), 1);
    assert!(!b.sent().contains("10.0.0.1"));
    assert_eq!(b.sent().matches("203.0.113.77").count(), 3);
    assert!(body(&b).contains("c=IN IP4 203.0.113.77\r\n"));
    assert!(b.sent().starts_with("INVITE sip:bob@biloxi.com:5070"));
}

#[test]
fn replace_body_keeps_the_length_right() {
    let mut b = bench();
    assert_eq!(b.call(&REPLACE_BODY, &["10.0.0.1", "192.0.2.1"]), 1);
    assert_eq!(b.call(&REPLACE_BODY, &["X-One", ""]), -1);
    assert_eq!(body(&b).matches("10.0.0.1").count(), 1);
    assert_eq!(b.call(&REPLACE_BODY_ALL, &["^a=.*\n", ""]), 1);
    assert!(!body(&b).contains("a=") && body(&b).ends_with("m=video 4002 RTP/AVP 97\r\n"));

    let mut b = bench();
    assert_eq!(b.call(&REPLACE_BODY_ATONCE, &["^v=0.+$", "v=1\r\n"]), 1);
    assert_eq!(body(&b), "v=1\r\n");
    let mut b = bench();
    assert_eq!(b.call(&REPLACE_BODY, &["^v=0.+$", "v=1\r"]), 1);
    assert!(body(&b).starts_with("v=1\r\no=alice"));
    let mut b = Bench::new(
        "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
    );
    assert_eq!(b.call(&REPLACE_BODY, &["x", "y"]), -1);
    assert_eq!(b.call(&REPLACE_BODY_ATONCE, &["^.+$", "y"]), -1);
}

#[test]
fn subst_fills_groups_and_variables() {
    let mut b = bench();
    assert_eq!(b.call(&SUBST, &["/^X-(One): (.*) value/X-$fU-\\1: \\2 [\\0]/"]), 1);
    assert!(b.sent().contains("\r\nX-alice-One: first [X-One: first value]\r\n"));
    assert_eq!(b.call(&SUBST, &["/^x-two/X-2/"]), -1, "letter case counts without i");
    assert_eq!(b.call(&SUBST, &["/^x-two/X-2/i"]), 1);
    assert!(b.sent().contains("\r\nX-2: second"));
    assert_eq!(b.call(&SUBST, &["#[^:]*biloxi.com>#<sip:\\\\x>#"]), 1);
    assert!(b.sent().contains("To: Bob <sip:<sip:\\x>\r\n"));
    // A replacement may bring line ends of its own.
    let mut b = bench();
    assert_eq!(b.call(&SUBST, &["/^(Max-Forwards: .*)\r\n/\\1\\r\\nX-New: 1\\r\\n/"]), 1);
    assert!(b.sent().contains("Max-Forwards: 70\r\nX-New: 1\r\nTo:"));
    // By lines, unless `s` makes one line of it.
    let mut b = bench();
    assert_eq!(b.call(&SUBST, &["/first.*second/x/"]), -1);
    assert_eq!(b.call(&SUBST, &["/first.*second/x/s"]), 1);
    assert!(b.sent().contains("X-One: x value\r\nContent-Type"));
    b.fake.vars.insert("e".into(), Value::from("/a/b"));
    assert_eq!(b.call(&SUBST, &["$var(e)"]), -1000);
}

#[test]
fn subst_body_follows_flags() {
    let mut b = bench();
    assert_eq!(b.call(&SUBST_BODY, &["/^a=rtpmap:([0-9]+) (.*)\r$/a=rtpmap:\\1 x-\\2\r/g"]), 1);
    assert_eq!(body(&b).matches(" x-").count(), 3);
    let mut b = bench();
    assert_eq!(b.call(&SUBST_BODY, &["/^a=rtpmap:([0-9]+) /&/"]), 1);
    assert_eq!(body(&b).matches("a=rtpmap").count(), 2);
    assert_eq!(b.call(&SUBST_BODY, &["/^X-One/x/"]), -1);
}

#[test]
fn uri_and_user_change_at_once() {
    let mut b = bench();
    assert_eq!(b.call(&SUBST_URI, &["/^sip:(.+)@(.*)$/sip:+$(fU).\\1@\\2/"]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:+alice.bob@biloxi.com:5070;user=phone");
    assert_eq!(b.call(&SUBST_URI, &["/^tel:/sip:/"]), -1);
    assert_eq!(b.call(&SUBST_URI, &["/^sip:/ /"]), -1, "the result is no URI");
    assert_eq!(b.call(&SUBST_USER, &["/^[+]alice\\.(.*)/\\1-1/"]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:bob-1@biloxi.com:5070;user=phone");
    assert_eq!(b.call(&SUBST_USER, &["/^bob-1//"]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:biloxi.com:5070;user=phone");
    assert_eq!(b.call(&SUBST_USER, &["/^$/carol/"]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:carol@biloxi.com:5070;user=phone");
    let mut reply =
        Bench::new("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n");
    assert_eq!(reply.call(&SUBST_URI, &["/a/b/"]), -1);
    assert_eq!(reply.call(&SUBST_USER, &["/^/b/"]), -1);
    assert_eq!(reply.call(&REPLACE, &["Call-ID: x", "Call-ID: y"]), 1);
    assert!(reply.sent().contains("Call-ID: y\r\n"));
}

#[test]
fn a_message_cannot_be_blown_up() {
    let mut b = bench();
    let long = "x".repeat(60_000);
    assert_eq!(b.call(&REPLACE_ALL, &["[a-z]", &long]), -1000);
    assert!(b.host.edits.is_empty());
    assert_eq!(b.call(&SUBST, &[&format!("/[a-z]/{long}/g")]), -1000);
    assert!(b.host.edits.is_empty());
    assert_eq!(b.call(&REPLACE_ALL, &["z*", "-"]), 1, "an empty match is an insertion");
    assert!(b.host.edits.len() <= 1000);
    for n in 0..6 {
        let code = b.call(&SEARCH_APPEND, &["value", &long]);
        assert_eq!(code, if n < 4 { 1 } else { -1000 });
    }
    assert_eq!(b.call(&SUBST_URI, &[&format!("/bob/{}/", &long[..2000])]), -1);
}

#[test]
fn fixed_texts_are_replaced() {
    let mut b = bench();
    assert_eq!(b.call(&REPLACE_STR, &["value", "VALUE", "f"]), 1);
    assert_eq!(b.call(&REPLACE_STR, &["Value", "x", "a"]), 1, "letter case matters");
    assert_eq!(b.call(&REPLACE_STR, &["", "x", "a"]), -1);
    assert_eq!(b.call(&REPLACE_STR, &["value", "x", "z"]), -1000);
    assert!(b.sent().contains("first VALUE\r\nX-Two: second value\r\n"));
    let mut b = bench();
    assert_eq!(b.call(&REPLACE_HDRS_STR, &["c=IN IP4", "x", "a"]), 1);
    assert_eq!(b.call(&REPLACE_HDRS_STR, &["value", "$rU", "a"]), 1);
    assert!(b.sent().contains("first bob\r\nX-Two: second bob\r\n"));
    assert_eq!(b.call(&REPLACE_BODY_STR, &["X-One", "x", "a"]), 1);
    assert_eq!(b.call(&REPLACE_BODY_STR, &["10.0.0.1", "203.0.113.77", "a"]), 1);
    assert_eq!(body(&b).matches("203.0.113.77").count(), 2);
    let mut b = bench();
    assert_eq!(b.call(&REPLACE_HDRS, &["^m=audio", "x"]), -1);
    assert_eq!(b.call(&REPLACE_HDRS, &["^x-one: [^\r]*", "X-Three: 3"]), 1);
    assert!(b.sent().contains("\r\nX-Three: 3\r\nX-Two"));
}

#[test]
fn texts_are_searched() {
    let mut b = bench();
    for (text, pattern, found) in
        [("$ru", "BILOXI", 1), ("a\nb", "^b$", 1), ("a\nb", "a.b", -1), ("", "x*", -1), ("abc", "d", -1)]
    {
        assert_eq!(b.call(&SEARCH_STR, &[text, pattern]), found, "{text} {pattern}");
    }
    let text = "___ abc123def ___ ghi456 ___";
    for (group, count, found) in [
        ("1", "3", Some("abc")),
        ("0", "1", Some("abc123def")),
        ("2", "3", Some("123")),
        ("3", "3", None),
        ("4", "9", None),
    ] {
        b.fake.vars.remove("x");
        let code = b.call(&REGEX_SUBSTRING, &[text, "([a-z]*)([0-9]+)([a-z]*)", group, count, "$var(x)"]);
        assert_eq!(code, if found.is_some() { 1 } else { -1 }, "{group} {count}");
        assert_eq!(b.fake.vars.get("x").map(|v| v.to_text().unwrap().to_string()).as_deref(), found);
    }
    assert_eq!(b.call(&REGEX_SUBSTRING, &["ABC", "b", "0", "1", "$var(x)"]), -2, "letter case matters");
    assert_eq!(b.call(&REGEX_SUBSTRING, &["ABC", "(", "0", "1", "$var(x)"]), -1000);
}
