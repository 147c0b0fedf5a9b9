//! Building replies to a request (RFC 3261 §8.2.6).

use super::bytes::push_number;
use super::header::{Header, HeaderId};
use super::message::Message;
use super::method::Method;
use super::range::Range;
use std::net::SocketAddr;

/// What a reply shall say beyond what it copies from the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplySpec<'a> {
    /// Status code, 100 to 699.
    pub status: u16,
    /// Reason phrase; if empty, the usual one.
    pub reason: &'a [u8],
    /// Tag for a To header that has none. Not used for 100.
    pub to_tag: Option<&'a [u8]>,
    /// More header lines, each with its CRLF.
    pub extra: &'a [u8],
    /// Value of the Server header.
    pub server: Option<&'a [u8]>,
    /// Content-Type of the body; written only with a body.
    pub content_type: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// Where the request came from, so that the top Via says so (§18.2.1, RFC 3581 §4). `None`:
    /// the Via is copied as it is.
    pub received: Option<SocketAddr>,
    /// Whether the top Via gets an `rport` that it did not ask for.
    pub force_rport: bool,
}

impl ReplySpec<'_> {
    /// A reply with the usual reason phrase and nothing else.
    pub fn new(status: u16) -> Self {
        ReplySpec { status, ..ReplySpec::default() }
    }
}

/// Appends the reply to `out`. Allocates nothing but what `out` needs. What a broken request
/// lacks is missing in the reply too.
pub fn build(request: &Message, spec: &ReplySpec<'_>, out: &mut Vec<u8>) {
    out.reserve(request.bytes().len().min(4096) + spec.extra.len() + spec.body.len() + 128);
    out.extend_from_slice(b"SIP/2.0 ");
    push_number(out, u64::from(spec.status));
    out.push(b' ');
    let reason = if spec.reason.is_empty() { default_reason(spec.status).as_bytes() } else { spec.reason };
    match memchr::memchr2(b'\r', b'\n', reason) {
        None => out.extend_from_slice(reason),
        Some(_) => out.extend(reason.iter().filter(|b| !matches!(b, b'\r' | b'\n'))),
    }
    out.extend_from_slice(b"\r\n");
    // §8.2.6.2: the same Via values in the same order.
    for (i, h) in request.headers_of(HeaderId::Via).enumerate() {
        match spec.received {
            Some(source) if i == 0 => marked_via(request, &h, source, spec.force_rport, out),
            _ => copy_line(request, &h, out),
        }
    }
    // §12.1.1: a reply that makes a dialog carries the route set back.
    if (101..300).contains(&spec.status) && request.method().creates_dialog() {
        for h in request.headers_of(HeaderId::RecordRoute) {
            copy_line(request, &h, out);
        }
    }
    for id in [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq] {
        let Some(h) = request.header(id) else { continue };
        match spec.to_tag {
            // §8.2.6.2: every reply but 100 has a To tag.
            Some(tag) if id == HeaderId::To && spec.status > 100 && request.to_tag().is_none() => {
                copy_value(&h, out);
                // Some write a lone semicolon at the end; two in a row would be malformed.
                if out.last() != Some(&b';') {
                    out.push(b';');
                }
                out.extend_from_slice(b"tag=");
                out.extend_from_slice(tag);
                out.extend_from_slice(b"\r\n");
            }
            _ => copy_line(request, &h, out),
        }
    }
    // §8.2.6.1
    if spec.status == 100
        && let Some(h) = request.header(HeaderId::Timestamp)
    {
        copy_line(request, &h, out);
    }
    out.extend_from_slice(spec.extra);
    if !spec.extra.is_empty() && !spec.extra.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    if let Some(server) = spec.server {
        line(b"Server: ", server, out);
    }
    if !spec.body.is_empty() && !spec.content_type.is_empty() {
        line(b"Content-Type: ", spec.content_type, out);
    }
    out.extend_from_slice(b"Content-Length: ");
    push_number(out, spec.body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(spec.body);
}

fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The header's name and value, without a line end.
fn copy_value(h: &Header<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(h.name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(&h.unfolded());
}

/// Copies a header line as it is, or with a proper line end.
pub(super) fn copy_line(message: &Message, h: &Header<'_>, out: &mut Vec<u8>) {
    let text = message.slice(h.line());
    if text.ends_with(b"\r\n") {
        out.extend_from_slice(text);
    } else {
        copy_value(h, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Copies the first Via line with its first value marked.
fn marked_via(message: &Message, h: &Header<'_>, source: SocketAddr, force_rport: bool, out: &mut Vec<u8>) {
    let Some((via, at)) = message.top_via().and_then(|via| Some((via, message.range_of(via.raw)?))) else {
        copy_line(message, h, out);
        return;
    };
    out.extend_from_slice(message.slice(Range::new(h.start, at.start)));
    via.write_marked(source, force_rport, out);
    out.extend_from_slice(message.slice(Range::new(at.end, h.value_range.end)));
    out.extend_from_slice(b"\r\n");
}

/// Whether a reply to this request may be sent at all: an ACK gets none (§17.2.1).
pub fn may_answer(request: &Message) -> bool {
    request.is_request() && request.method() != Method::Ack
}

/// The usual reason phrase of a status code (RFC 3261 §21 and later RFCs).
pub fn default_reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Certificate",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        // §8.1.3.2: a code that is not known counts as the x00 of its class.
        _ => match status / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Decline",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Record-Route: <sip:rr2;lr>\r\n\
v : SIP/2.0/UDP one;branch=z9hG4bK1;rport , SIP/2.0/TCP two;branch=b2\r\n\
Via: SIP/2.0/UDP three\r\n  ;branch=b3\r\n\
Record-Route: <sip:rr1;lr>\r\n\
To: Bob\r\n <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
Timestamp: 54\r\n\
CSeq: 314159 INVITE\r\n\
\r\n";

    fn reply(request: &str, spec: &ReplySpec<'_>) -> String {
        let m = Message::parse_slice(request.as_bytes()).unwrap();
        let mut out = Vec::new();
        build(&m, spec, &mut out);
        let text = String::from_utf8(out).unwrap();
        let back = Message::parse_slice(text.as_bytes()).unwrap();
        assert_eq!((back.status(), back.bytes().len()), (spec.status, text.len()));
        text
    }

    #[test]
    fn a_to_that_ends_in_a_semicolon_gets_a_tag_that_can_be_read() {
        let request = REQUEST.replacen("<sip:bob@biloxi.com>\r\n", "<sip:bob@biloxi.com> ;\r\n", 1);
        let text = reply(&request, &ReplySpec { to_tag: Some(b"t0"), ..ReplySpec::new(404) });
        assert_eq!(Message::parse_slice(text.as_bytes()).unwrap().to_tag(), Some(&b"t0"[..]), "{text}");
    }

    #[test]
    fn a_full_reply() {
        let spec = ReplySpec {
            to_tag: Some(b"t0"),
            extra: b"Contact: <sip:me>\r\n",
            server: Some(b"reprise"),
            content_type: b"text/plain",
            body: b"hi",
            received: Some("192.0.2.1:5066".parse().unwrap()),
            ..ReplySpec::new(180)
        };
        let want = "SIP/2.0 180 Ringing\r\n\
v : SIP/2.0/UDP one;branch=z9hG4bK1;received=192.0.2.1;rport=5066 , SIP/2.0/TCP two;branch=b2\r\n\
Via: SIP/2.0/UDP three\r\n  ;branch=b3\r\n\
Record-Route: <sip:rr2;lr>\r\n\
Record-Route: <sip:rr1;lr>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
To: Bob <sip:bob@biloxi.com>;tag=t0\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:me>\r\n\
Server: reprise\r\n\
Content-Type: text/plain\r\n\
Content-Length: 2\r\n\
\r\n\
hi";
        assert_eq!(reply(REQUEST, &spec), want);
    }

    #[test]
    fn details_by_status_and_method() {
        let spec = ReplySpec { to_tag: Some(b"t0"), reason: b"Wait\r\nX: y", ..ReplySpec::new(100) };
        let text = reply(REQUEST, &spec);
        assert!(text.starts_with("SIP/2.0 100 WaitX: y\r\n") && text.contains("Timestamp: 54\r\n"));
        assert!(!text.contains("tag=t0") && !text.contains("Record-Route"));
        let spec = ReplySpec { to_tag: Some(b"t0"), extra: b"X: 1", ..ReplySpec::new(404) };
        let text = reply(REQUEST, &spec);
        assert!(text.starts_with("SIP/2.0 404 Not Found\r\n") && text.contains("tag=t0\r\n"));
        assert!(!text.contains("Record-Route") && text.contains("X: 1\r\nContent-Length: 0\r\n\r\n"));
        let text = reply(&REQUEST.replace("INVITE", "OPTIONS"), &ReplySpec::new(200));
        assert!(!text.contains("Record-Route"));
        // A To tag that is there stays.
        let request = REQUEST.replace("<sip:bob@biloxi.com>", "<sip:bob@biloxi.com>;tag=old");
        let text = reply(&request, &ReplySpec { to_tag: Some(b"new"), ..ReplySpec::new(200) });
        assert!(text.contains("tag=old\r\n") && !text.contains("new"));
        let text = reply(&REQUEST.replace("\r\n", "\n"), &ReplySpec::new(200));
        assert!(text.contains("Call-ID: a84b4c76e66710\r\n"));
    }

    #[test]
    fn broken_requests_get_what_can_be_copied() {
        let e = Message::parse_slice(
            b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\n\r\n",
        )
        .unwrap_err();
        let (m, fault) = e.answer().unwrap();
        let mut out = Vec::new();
        let spec = ReplySpec { reason: fault.reason.as_bytes(), to_tag: Some(b"x"), ..ReplySpec::new(fault.status) };
        build(m, &spec, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "SIP/2.0 400 Missing From\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
    }
}
