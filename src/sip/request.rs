//! The two requests that belong to another one hop by hop: ACK for a final reply that is no
//! 2xx (RFC 3261 §17.1.1.3), and CANCEL (§9.1). Both are made from the request as we sent it.

use super::bytes::push_number;
use super::header::HeaderId;
use super::list::split_list;
use super::message::Message;
use super::reply::copy_line;

/// The ACK for a final reply of 300 to 699 to an INVITE. `sent` is the INVITE as it was sent.
pub fn ack_for(sent: &Message, final_reply: &Message) -> Vec<u8> {
    derived(sent, "ACK", final_reply)
}

/// Header lines of a request as it was sent whose names begin so, in any case, for what is derived from it: none of those that
/// are in a CANCEL or ACK anyway, or must not be.
pub fn further_lines(sent: &Message, prefix: &[u8]) -> Vec<u8> {
    use HeaderId::{
        CSeq, CallId, Contact, ContentDisposition, ContentEncoding, ContentLength, ContentType, From, MaxForwards,
        MimeVersion, ProxyRequire, RecordRoute, Require, Route, To, Via,
    };
    const NEVER: &[HeaderId] = &[
        CSeq,
        CallId,
        Contact,
        ContentDisposition,
        ContentEncoding,
        ContentLength,
        ContentType,
        From,
        MaxForwards,
        MimeVersion,
        ProxyRequire,
        RecordRoute,
        Require,
        Route,
        To,
        Via,
    ];
    let mut out = Vec::new();
    let fits = |name: &[u8]| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    for h in sent.headers().filter(|h| fits(h.name) && !NEVER.contains(&h.id)) {
        copy_line(sent, &h, &mut out);
    }
    out
}

/// The CANCEL for a request. `sent` is the request as it was sent.
pub fn cancel_for(sent: &Message) -> Vec<u8> {
    derived(sent, "CANCEL", sent)
}

/// §17.1.1.3, §9.1: same Request-URI, Call-ID, From, CSeq number, the top Via and only that, the
/// Route headers; To from `to_of`.
fn derived(sent: &Message, method: &str, to_of: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(sent.bytes().len().min(1024));
    let line = |out: &mut Vec<u8>, name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    line(&mut out, "", &[sent.request_uri(), b" SIP/2.0"].concat());
    line(&mut out, "Via: ", split_list(sent.value(HeaderId::Via)).next().unwrap_or_default());
    for h in sent.headers_of(HeaderId::Route) {
        copy_line(sent, &h, &mut out);
    }
    for (message, id) in [(sent, HeaderId::From), (to_of, HeaderId::To), (sent, HeaderId::CallId)] {
        if let Some(h) = message.header(id) {
            copy_line(message, &h, &mut out);
        }
    }
    out.extend_from_slice(b"CSeq: ");
    push_number(&mut out, u64::from(sent.cseq().number));
    out.push(b' ');
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\r\nMax-Forwards: ");
    // §8.1.1.6: requests that an element makes start with 70 hops.
    push_number(&mut out, 70);
    out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "INVITE sip:bob@10.0.0.1 SIP/2.0\r\n\
Via: SIP/2.0/UDP me;branch=z9hG4bK0, SIP/2.0/UDP one;branch=z9hG4bK1\r\n\
Via: SIP/2.0/UDP two\r\n\
Route: <sip:a;lr>\r\n\
Max-Forwards: 68\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Content-Length: 0\r\n\
\r\n";

    #[test]
    fn ack_and_cancel() {
        let sent = Message::parse_slice(SENT.as_bytes()).unwrap();
        let busy = SENT
            .replace("INVITE sip:bob@10.0.0.1 SIP/2.0", "SIP/2.0 486 Busy")
            .replace("<sip:bob@biloxi.com>", "<sip:bob@biloxi.com>;tag=9");
        let reply = Message::parse_slice(busy.as_bytes()).unwrap();
        let want = "ACK sip:bob@10.0.0.1 SIP/2.0\r\n\
Via: SIP/2.0/UDP me;branch=z9hG4bK0\r\n\
Route: <sip:a;lr>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
To: Bob <sip:bob@biloxi.com>;tag=9\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 ACK\r\n\
Max-Forwards: 70\r\n\
Content-Length: 0\r\n\
\r\n";
        assert_eq!(String::from_utf8(ack_for(&sent, &reply)).unwrap(), want);
        let more = SENT.replace("Content-Length", "X-Plan: gold\r\nX-Other: 1\r\nsubject: x\r\nContent-Length");
        let more = Message::parse_slice(more.as_bytes()).unwrap();
        assert_eq!(further_lines(&more, b"x-"), b"X-Plan: gold\r\nX-Other: 1\r\n");
        assert_eq!(further_lines(&more, b"Subject"), b"subject: x\r\n");
        assert_eq!(further_lines(&more, b"Content"), b"");
        let want = want.replace("ACK", "CANCEL").replace(";tag=9", "");
        assert_eq!(String::from_utf8(cancel_for(&sent)).unwrap(), want);
    }
}
