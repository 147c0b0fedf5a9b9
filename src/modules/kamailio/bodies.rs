//! Bodies of messages and of replies, and bodies of several parts: what of `textops` no other module has (kamailio.md
//! section 5.1; RFC 2046 section 5.1). Functions about parts see what earlier ones have made of the body.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::rare::ReplyBody;
use crate::modules::sipmsgops::headers::checked;
use crate::modules::sipmsgops::parts::Multipart;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::message::Message;

/// Longest body that a script may set, in bytes.
pub(super) const MAX_BODY: usize = 60 * 1024;

/// What stands between the parts unless the script says otherwise.
const BOUNDARY: &str = "unique-boundary-1";

/// `set_body`
pub(super) const SET_BODY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("set_body"),
    params: &[Param::req("body", Kind::Str), Param::req("content_type", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Replaces the body of the message and its Content-Type; Content-Length follows.",
    returns: &[(1, "set"), (-1, "the body is empty or larger than 60 KiB, or this is no content type")],
    example: r#"set_body("hello", "text/plain");"#,
    run: |call| match wanted(call) {
        Some((body, kind)) => {
            let h = &mut *call.host;
            h.edits.set_content_type(&h.msg, &kind);
            h.edits.set_body(&h.msg, body);
            Step::Done(1)
        }
        None => Step::Done(-1),
    },
    finish: None,
};

pub(super) const SET_REPLY_BODY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_reply_body"),
    routes: RouteSet::letters("RFBE"),
    doc: "Sets the body and the Content-Type of the replies made here for this request; a 100 has none. The last call counts.",
    example: r#"set_reply_body("busy until 9", "text/plain"); sl_send_reply("486", "Busy");"#,
    run: |call| match wanted(call) {
        Some((body, kind)) => {
            call.host.rare.reply_body = Some(Box::new(ReplyBody { kind, body }));
            Step::Done(1)
        }
        None => Step::Done(-1),
    },
    ..SET_BODY
};

/// Body and content type in the first two arguments, if they are fit for a message.
fn wanted(call: &Call<'_, SipHost>) -> Option<(Str, Str)> {
    let body = call.text(0).filter(|b| !b.is_empty() && b.len() <= MAX_BODY)?;
    let kind = call.text(1)?;
    let kind = kind.trim_ascii();
    let fit = !kind.is_empty() && !kind.iter().any(u8::is_ascii_control);
    fit.then(|| (body, Str::from(kind)))
}

const TYPE: &[Param] = &[Param::req("content_type", Kind::Str)];

pub(super) const FILTER_BODY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("filter_body"),
    params: TYPE,
    doc: "Leaves only the first part of this type of a body of several parts, and its type in Content-Type.",
    returns: &[(1, "done"), (-1, "the body has no parts, or none of this type")],
    example: r#"filter_body("application/sdp");"#,
    run: |call| {
        let kind = call.text(0).unwrap_or_default();
        let Some(part) = part_of(call.host, &kind).map(|(_, body)| body) else { return Step::Done(-1) };
        let h = &mut *call.host;
        h.edits.set_content_type(&h.msg, kind.trim_ascii());
        h.edits.set_body(&h.msg, part);
        Step::Done(1)
    },
    ..SET_BODY
};

/// The message as the changes so far leave it.
fn changed(h: &SipHost) -> Option<Message> {
    h.edits.applied(&h.msg).ok()
}

/// The first part of a type: with its headers and the line behind it, and its content alone.
fn part_of(h: &SipHost, kind: &[u8]) -> Option<(Str, Str)> {
    let msg = changed(h)?;
    let all = Multipart::of(&msg)?;
    let at = all.find(kind)?;
    let part = all.parts.get(at)?;
    let end: &[u8] = if at + 1 == all.parts.len() { b"--\r\n" } else { b"\r\n" };
    let whole = [part.text, b"--", all.boundary, end].concat();
    Some((Str::from(whole), Str::from(part.body)))
}

pub(super) const SET_BODY_MULTIPART: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_body_multipart"),
    params: &[
        Param::opt("body or boundary", Kind::Str),
        Param::opt("content_type", Kind::Str),
        Param::opt("boundary", Kind::Str),
    ],
    routes: RouteSet::letters("RFBO"),
    doc: "Makes the body one of several parts (`multipart/mixed`) whose only part it is; with a body and its content type, \
          that one. The boundary is `unique-boundary-1` unless it is given.",
    returns: &[
        (1, "made"),
        (-1, "there is no body, or it would be larger than 60 KiB; this is no content type or no boundary"),
    ],
    example: r#"set_body_multipart("hello", "text/plain", "next-part");"#,
    run: |call| {
        let given = call.given(1);
        let boundary = if given { call.text(2) } else { call.text(0) };
        let boundary = boundary.filter(|b| !b.is_empty()).unwrap_or_else(|| Str::from(BOUNDARY));
        let content = if given { wanted(call) } else { present(call.host) };
        let (Some((body, kind)), true) = (content, is_boundary(&boundary)) else { return Step::Done(-1) };
        // What is behind a mark must not look like one.
        if memchr::memmem::find(&body, &[b"--", &boundary[..]].concat()).is_some() {
            return Step::Fail("the boundary occurs in the body: choose another one".into());
        }
        let text = [b"Content-Type: ", &kind[..], b"\r\n\r\n", &body[..], b"\r\n"].concat();
        let h = &mut *call.host;
        if !put(h, &boundary, &[&text]) {
            return Step::Done(-1);
        }
        let kind = [b"multipart/mixed;boundary=\"", &boundary[..], b"\""].concat();
        h.edits.set_content_type(&h.msg, &kind);
        let has_version = |m: &Message| m.headers_named(b"Mime-Version").next().is_some();
        if changed(h).is_some_and(|m| !has_version(&m)) {
            h.edits.append_header(&h.msg, Str::from("Mime-Version: 1.0\r\n"));
        }
        Step::Done(1)
    },
    ..SET_BODY
};

/// The body and its type as they are.
fn present(h: &SipHost) -> Option<(Str, Str)> {
    let msg = changed(h)?;
    let (body, kind) = (msg.body(), msg.content_type());
    (!body.is_empty() && !kind.is_empty()).then(|| (Str::from(body), Str::from(kind)))
}

/// RFC 2046 section 5.1.1, without the quote signs that would end the parameter.
fn is_boundary(text: &[u8]) -> bool {
    let fit = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    (1..=70).contains(&text.len()) && text.iter().all(fit) && !text.ends_with(b" ")
}

/// Makes these the parts of the body; false if it would be too large.
fn put(h: &mut SipHost, boundary: &[u8], parts: &[&[u8]]) -> bool {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(b"--");
        body.extend_from_slice(boundary);
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(part);
        if !part.ends_with(b"\n") {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(b"--");
    body.extend_from_slice(boundary);
    body.extend_from_slice(b"--\r\n");
    let fits = body.len() <= MAX_BODY;
    if fits {
        h.edits.set_body(&h.msg, Str::from(body));
    }
    fits
}

const PART: &[Param] = &[
    Param::req("content", Kind::Str),
    Param::req("content_type", Kind::Str),
    Param::opt("content_disposition", Kind::Str),
];

pub(super) const APPEND_BODY_PART: FnSpec<SipHost> = FnSpec {
    kamailio: Some("append_body_part"),
    params: PART,
    routes: RouteSet::letters("RFBO"),
    doc: "Adds a part to a body of several parts, as its last one. Further header lines of the part may follow its type, \
          each behind a CRLF.",
    returns: &[
        (1, "added"),
        (
            -1,
            "the body has no parts, the content is empty, or this is no content type; the body would be larger than 60 KiB",
        ),
    ],
    example: r#"append_body_part("hello", "text/plain", "signal;handling=optional");"#,
    run: |call| {
        let content = call.text(0).unwrap_or_default();
        append(call, &content)
    },
    ..SET_BODY
};

pub(super) const APPEND_BODY_PART_HEX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("append_body_part_hex"),
    doc: "The same with the content as hexadecimal digits; white space between them does not count.",
    example: r#"append_body_part_hex("6b 61", "application/vnd.cirpack.isdn-ext");"#,
    run: |call| match bytes_of(&call.text(0).unwrap_or_default()) {
        Some(content) => append(call, &content),
        None => Step::Fail("the content is no even number of hexadecimal digits".into()),
    },
    ..APPEND_BODY_PART
};

fn append(call: &mut Call<'_, SipHost>, content: &[u8]) -> Step<SipHost> {
    let kind = call.text(1).unwrap_or_default();
    if content.is_empty() || content.len() > MAX_BODY || kind.trim_ascii().is_empty() {
        return Step::Done(-1);
    }
    let mut head = [b"Content-Type: ", kind.trim_ascii(), b"\r\n"].concat();
    if let Some(disposition) = call.text(2).filter(|d| !d.is_empty()) {
        head.extend_from_slice(&[b"Content-Disposition: ", &disposition[..], b"\r\n"].concat());
    }
    let Some(head) = checked(Str::from(head)) else { return Step::Done(-1) };
    let text = [&head[..], b"\r\n", content, b"\r\n"].concat();
    let Some(msg) = changed(call.host) else { return Step::Done(-1) };
    let Some(all) = Multipart::of(&msg) else { return Step::Done(-1) };
    if memchr::memmem::find(content, &[b"--", all.boundary].concat()).is_some() {
        return Step::Fail("the boundary of the body occurs in the new part".into());
    }
    let mut parts: Vec<&[u8]> = all.parts.iter().map(|p| p.text).collect();
    parts.push(&text);
    Step::Done(if put(call.host, all.boundary, &parts) { 1 } else { -1 })
}

fn bytes_of(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let digits: Option<Vec<u8>> = hex.iter().filter(|b| !b.is_ascii_whitespace()).map(digit).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect())
}

pub(super) const REMOVE_BODY_PART: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_body_part"),
    params: TYPE,
    routes: RouteSet::letters("RFBO"),
    doc: "Removes the first part of this type of a body of several parts.",
    returns: &[(1, "removed"), (-1, "the body has no parts, or none of this type")],
    example: r#"remove_body_part("application/vnd.cirpack.isdn-ext");"#,
    run: |call| {
        let kind = call.text(0).unwrap_or_default();
        let Some(msg) = changed(call.host) else { return Step::Done(-1) };
        let Some((all, gone)) = Multipart::of(&msg).and_then(|m| m.find(&kind).map(|n| (m, n))) else {
            return Step::Done(-1);
        };
        let left = all.parts.iter().enumerate().filter(|(n, _)| *n != gone);
        let left: Vec<&[u8]> = left.map(|(_, p)| p.text).collect();
        Step::Done(if put(call.host, all.boundary, &left) { 1 } else { -1 })
    },
    ..SET_BODY
};

const GET: &[Param] = &[Param::req("content_type", Kind::Str), Param::req("variable", Kind::Out)];

pub(super) const GET_BODY_PART: FnSpec<SipHost> = FnSpec {
    kamailio: Some("get_body_part"),
    params: GET,
    routes: RouteSet::letters("RFBO"),
    doc: "Stores the content of the first part of this type of a body of several parts.",
    returns: &[(1, "stored"), (-1, "the body has no parts, or none of this type")],
    example: r#"get_body_part("application/sdp", "$var(sdp)");"#,
    run: |call| store(call, |(_, content)| content),
    ..SET_BODY
};

pub(super) const GET_BODY_PART_RAW: FnSpec<SipHost> = FnSpec {
    kamailio: Some("get_body_part_raw"),
    doc: "Stores the first part of this type of a body of several parts as it stands, with its headers and the boundary \
          behind it.",
    example: r#"get_body_part_raw("application/sdp", "$var(part)");"#,
    run: |call| store(call, |(whole, _)| whole),
    ..GET_BODY_PART
};

fn store(call: &mut Call<'_, SipHost>, which: fn((Str, Str)) -> Str) -> Step<SipHost> {
    let kind = call.text(0).unwrap_or_default();
    match part_of(call.host, &kind) {
        Some(found) => {
            call.assign(1, Value::Str(which(found)));
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{Bench, INVITE, OMIT};

    /// The body as sent; Content-Length must say how long it is.
    fn sent(b: &Bench) -> (String, String) {
        let m = Message::parse_slice(b.sent().as_bytes()).unwrap();
        assert_eq!(m.content_length().unwrap() as usize, m.body().len());
        let text = |t: &[u8]| String::from_utf8(t.to_vec()).unwrap();
        (text(m.content_type()), text(m.body()))
    }

    fn stored(b: &Bench) -> String {
        b.fake.vars["x"].to_text().unwrap().to_lossy().into_owned()
    }

    #[test]
    fn a_body_of_parts_is_made_read_and_changed() {
        let mut b = Bench::new(INVITE);
        assert_eq!(b.call(&GET_BODY_PART, &["application/sdp", "$var(x)"]), -1, "it has no parts yet");
        assert_eq!(b.call(&APPEND_BODY_PART, &["x", "text/plain", OMIT]), -1);
        assert_eq!(b.call(&SET_BODY_MULTIPART, &["hello", "text/plain", "next"]), 1);
        let first = "--next\r\nContent-Type: text/plain\r\n\r\nhello\r\n--next--\r\n";
        assert_eq!(sent(&b), ("multipart/mixed;boundary=\"next\"".into(), first.into()));
        assert_eq!(b.call(&APPEND_BODY_PART_HEX, &["6b 61\t4D", "application/x\r\nX-A: b", "signal"]), 1);
        assert_eq!(b.call(&GET_BODY_PART, &["Application/X", "$var(x)"]), 1);
        assert_eq!(stored(&b), "kaM");
        assert_eq!(b.call(&GET_BODY_PART_RAW, &["application/x", "$var(x)"]), 1);
        assert_eq!(
            stored(&b),
            "Content-Type: application/x\r\nX-A: b\r\nContent-Disposition: signal\r\n\r\nkaM\r\n--next--\r\n"
        );
        assert_eq!(b.call(&REMOVE_BODY_PART, &["text/plain"]), 1);
        assert_eq!(b.call(&REMOVE_BODY_PART, &["text/plain"]), -1);
        assert_eq!(b.sent().matches("Mime-Version: 1.0\r\n").count(), 1);
        assert_eq!(b.call(&FILTER_BODY, &["application/x"]), 1);
        assert_eq!(sent(&b), ("application/x".into(), "kaM".into()));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let mut b = Bench::new(INVITE);
        assert_eq!(b.call(&SET_BODY_MULTIPART, &["hello", "text/plain", "a\"b"]), -1);
        assert_eq!(b.call(&SET_BODY_MULTIPART, &["hello", "text/plain\r\nX: y", "a"]), -1);
        assert_eq!(b.call(&SET_BODY_MULTIPART, &["a --next b", "text/plain", "next"]), -1000);
        assert!(b.host.edits.is_empty());
        // The body that is there becomes the only part.
        assert_eq!(b.call(&SET_BODY_MULTIPART, &[OMIT, OMIT, OMIT]), 1);
        assert!(sent(&b).1.starts_with("--unique-boundary-1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"));
        assert_eq!(b.call(&APPEND_BODY_PART_HEX, &["6b6", "text/plain", OMIT]), -1000);
        assert_eq!(b.call(&APPEND_BODY_PART, &["x", "text/plain\r\n\r\nevil", OMIT]), -1);
        assert_eq!(b.call(&APPEND_BODY_PART, &["--unique-boundary-1", "text/plain", OMIT]), -1000);
        assert_eq!(b.call(&APPEND_BODY_PART, &[&"x".repeat(MAX_BODY), "text/plain", OMIT]), -1);
    }

    #[test]
    fn a_body_may_be_set_again() {
        let mut b = Bench::new(
            "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
        );
        assert_eq!(b.call(&SET_BODY, &["one", "text/plain"]), 1);
        assert_eq!(b.call(&SET_BODY, &["two", "text/html"]), 1);
        assert_eq!(sent(&b), ("text/html".into(), "two".into()));
        assert_eq!(b.sent().matches("Content-Type").count(), 1);
    }
}
