//! Tests of the functions on bodies and whole messages.

use super::codecs::*;
use super::streams::*;
use super::validate::SIPMSG_VALIDATE;
use super::whole::*;
use crate::modules::testing::{Bench, INVITE, OMIT};
use crate::sip::message::Message;

fn bench() -> Bench {
    Bench::new(INVITE)
}

/// The body as sent; its length must be right.
fn body(b: &Bench) -> String {
    let sent = b.sent();
    let m = Message::parse_slice(sent.as_bytes()).unwrap();
    assert_eq!(m.bytes().len(), sent.len());
    String::from_utf8(m.body().to_vec()).unwrap()
}

fn replaced(from: &str, to: &str) -> Bench {
    let (head, body) = INVITE.split_once("\r\n\r\n").unwrap();
    let body = body.replace(from, to);
    let head = head.split("Content-Length").next().unwrap();
    Bench::new(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn codecs_are_found() {
    let mut b = bench();
    for (name, clock, code) in [
        ("pcma", OMIT, 1),
        ("PCMU", OMIT, 1),
        ("PCMU", "8000", 1),
        ("PCMU", "16000", -1),
        ("H264", "90000", 1),
        ("telephone-event", OMIT, 1),
        ("G729", OMIT, -1),
        ("PCM", OMIT, -1),
    ] {
        assert_eq!(b.call(&CODEC_EXISTS, &[name, clock]), code, "{name} {clock}");
    }
    assert_eq!(b.call(&CODEC_EXISTS_RE, &["^pcm"]), 1);
    assert_eq!(b.call(&CODEC_EXISTS_RE, &["^G7"]), -1);
    let mut none = Bench::new(
        "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
    );
    assert_eq!(none.call(&CODEC_DELETE, &["PCMA"]), -1);
}

#[test]
fn codecs_are_removed_and_moved() {
    let mut b = bench();
    assert_eq!(b.call(&CODEC_DELETE, &["PCMA"]), 1);
    assert_eq!(b.call(&CODEC_EXISTS, &["PCMA"]), -1, "changes are seen");
    assert_eq!(b.call(&CODEC_DELETE, &["PCMA"]), -1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 "));
    assert_eq!(b.call(&CODEC_MOVE_UP, &["telephone-event"]), 1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 101 0\r\na=rtpmap:101 "));
    assert_eq!(b.call(&CODEC_DELETE_RE, &["^tele"]), 1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\nm=video 4002 RTP/AVP 97\r\n"));
    // The last one cannot go: the stream is refused.
    assert_eq!(b.call(&CODEC_DELETE, &["PCMU"]), 1);
    assert!(body(&b).contains("m=audio 0 RTP/AVP 0\r\na=sendrecv\r\nm=video 4002"));

    let mut b = bench();
    assert_eq!(b.call(&CODEC_MOVE_DOWN, &["PCMA"]), 1);
    assert_eq!(b.call(&CODEC_MOVE_UP_RE, &["tele|pcmu"]), 1);
    assert_eq!(b.call(&CODEC_MOVE_DOWN_RE, &["tele"]), 1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:8 PCMA/8000\r\n"));

    let mut b = bench();
    assert_eq!(b.call(&CODEC_DELETE_EXCEPT_RE, &["pcma|tele"]), 1);
    assert!(body(&b).contains("m=audio 4000 RTP/AVP 8 101\r\n"));
    assert!(body(&b).contains("m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"));

    let mut b = replaced("m=video 4002 RTP/AVP 97", "m=image 4002 udptl t38");
    assert_eq!(b.call(&CODEC_DELETE_EXCEPT_RE, &["."]), -1, "t38 is no codec");
}

#[test]
fn streams_are_found_and_removed() {
    let mut b = bench();
    assert_eq!(b.call(&STREAM_EXISTS, &["video"]), 1);
    assert_eq!(b.call(&STREAM_EXISTS, &["video", "SAVP"]), -1);
    assert_eq!(b.call(&STREAM_EXISTS, &["image"]), -1);
    assert_eq!(b.call(&STREAM_DELETE, &["audio", "^RTP/AVP$"]), 1);
    assert_eq!(b.call(&STREAM_EXISTS, &["audio"]), -1, "changes are seen");
    assert_eq!(b.call(&STREAM_DELETE, &["audio"]), -1);
    assert!(body(&b).ends_with("t=0 0\r\nm=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"));
    assert_eq!(b.call(&CODEC_EXISTS, &["PCMA"]), -1);
    assert_eq!(b.call(&CODEC_EXISTS, &["H264"]), 1);
}

#[test]
fn a_part_may_hold_the_sdp() {
    let (_, sdp) = INVITE.split_once("\r\n\r\n").unwrap();
    let inner = format!(
        "--x\r\nContent-Type: text/plain\r\n\r\nm=audio\r\n--x\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--x--\r\n"
    );
    let text = format!(
        "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
         Content-Type: multipart/mixed;boundary=x\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let mut b = Bench::new(&text);
    assert_eq!(b.call(&STREAM_DELETE, &["video"]), 1);
    assert!(body(&b).ends_with("a=fmtp:101 0-16\r\na=sendrecv\r\n\r\n--x--\r\n"));
    assert_eq!(b.call(&GET_UPDATED_BODY_PART, &["application/SDP", "$var(s)"]), 1);
    assert!(b.fake.vars["s"].to_text().unwrap().ends_with(b"a=sendrecv\r\n"));
    assert_eq!(b.call(&GET_UPDATED_BODY_PART, &["text/html", "$var(s)"]), -1);
    assert_eq!(b.call(&GET_UPDATED_BODY_PART, &[OMIT, "$var(s)"]), 1);
    assert_eq!(b.fake.vars["s"].to_text().unwrap().to_string(), body(&b));
}

#[test]
fn hold() {
    assert_eq!(bench().call(&IS_AUDIO_ON_HOLD, &[]), -1);
    for (from, to) in [
        ("a=sendrecv", "a=sendonly"),
        ("a=sendrecv", "a=inactive"),
        ("a=sendrecv", "c=IN IP4 0.0.0.0"),
        ("c=IN IP4 10.0.0.1", "c=IN IP4 0.0.0.0"),
        ("t=0 0\r\nm=audio 4000 RTP/AVP 8 0 101", "t=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8"),
    ] {
        let code = replaced(from, to).call(&IS_AUDIO_ON_HOLD, &[]);
        // A direction of the stream's own wins over the session's.
        assert_eq!(code, if from.starts_with("t=") { -1 } else { 1 }, "{to}");
    }
    assert_eq!(replaced("m=audio", "m=other").call(&IS_AUDIO_ON_HOLD, &[]), -1);
}

#[test]
fn headers_by_pattern_and_json() {
    let mut b = bench();
    assert_eq!(b.call(&GET_GLOB_HEADERS_VALUES, &["x-*", "$avp(n)", "$avp(v)"]), 1);
    assert_eq!(b.avp("n"), ["X-One", "X-Two"]);
    assert_eq!(b.avp("v"), ["first value", "second value"]);
    assert_eq!(b.call(&GET_GLOB_HEADERS_VALUES, &["y-*", "$avp(n)", "$avp(v)"]), -1);
    assert_eq!(b.call(&SIP_TO_JSON, &["$var(j)"]), 1);
    let json: serde_json::Value = serde_json::from_slice(&b.fake.vars["j"].to_text().unwrap()).unwrap();
    assert_eq!(json["first_line"], "INVITE sip:bob@biloxi.com:5070;user=phone SIP/2.0");
    assert_eq!(json["headers"]["X-One"][0], "first value");
    assert!(json["body"].as_str().unwrap().starts_with("v=0\r\n"));
}

#[test]
fn validation() {
    let check = |text: &str, flags: &str| Bench::new(text).call(&SIPMSG_VALIDATE, &[flags, "$var(why)"]);
    assert_eq!(check(INVITE, "shrftc"), 1);
    let cut = |from: &str, to: &str| INVITE.replace(from, to);
    assert_eq!(check(&cut("Max-Forwards: 70\r\n", ""), ""), -13);
    assert_eq!(check(&cut("Max-Forwards: 70\r\n", ""), "m"), 1);
    assert_eq!(check(&cut("Contact: <sip:alice@10.0.0.1>\r\n", ""), ""), -14);
    assert_eq!(check(&cut("Contact: <sip:alice@10.0.0.1>\r\n", "Contact: *\r\n"), ""), -30);
    assert_eq!(check(&cut("Contact: <sip:alice@10.0.0.1>\r\n", "Contact: <\r\n"), "c"), -26);
    assert_eq!(check(&cut("X-One", "Path"), ""), -15);
    assert_eq!(check(&cut("Content-Type: application/sdp\r\n", ""), ""), -21);
    assert_eq!(check(&cut("INVITE sip:bob@", "INVITE sip:b^b@"), "r"), -27);
    assert_eq!(check(&cut("Alice <sip:alice@atlanta.com>", "Alice <nothing>"), "f"), -24);
    assert!(check(&cut("To: Bob <sip:bob@biloxi.com>", "To: Bob <sip:bob@bi~oxi.com>"), "t") < 0);
    assert_eq!(check(&cut("s=-", "s -"), "s"), -6);
    assert_eq!(check(&cut("s=-", "s -"), ""), 1);
    let reply = |line: &str| {
        format!("SIP/2.0 {line}\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n")
    };
    for (line, code) in [("200 OK", 1), ("401 x", -20), ("407 x", -18), ("420 x", -19), ("423 x", -17), ("405 x", -16)]
    {
        assert_eq!(check(&reply(line), ""), code, "{line}");
    }
    let mut b = Bench::new(&cut("Max-Forwards: 70\r\n", ""));
    b.call(&SIPMSG_VALIDATE, &["", "$var(why)"]);
    assert_eq!(b.fake.vars["why"].to_text().unwrap(), "No Max-Forwards");
    b.host.phony = true;
    assert_eq!(b.call(&SIPMSG_VALIDATE, &[]), -1);
}
