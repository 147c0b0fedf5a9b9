//! What a well-formed message must also satisfy before a script sees it (RFC 3261 §8.1.1, §8.2,
//! §16.3; expectations of RFC 4475).

use super::bytes::{is_lws, parse_u32};
use super::error::Fault;
use super::header::HeaderId;
use super::message::Message;
use super::nameaddr::NameAddr;
use super::uri::Uri;

/// Headers of which a message has one (RFC 4475 §3.3.8, §3.3.9).
const SINGLE: [HeaderId; 6] =
    [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq, HeaderId::MaxForwards, HeaderId::ContentLength];

/// Checks a message. A request that fails is answered with the fault (an ACK is dropped), a
/// reply that fails is dropped.
pub fn validate(m: &Message) -> Result<(), Fault> {
    let bad = |reason| Err(Fault { status: 400, reason });
    if m.is_request() {
        let uri = m.request_uri();
        match Uri::parse(uri) {
            // §19.1.1: a Request-URI has no headers (RFC 4475 §3.1.2.11).
            Ok(uri) if uri.is_sip() && uri.headers.is_some() => return bad("Headers in Request-URI"),
            Ok(_) => {}
            Err(_) => return bad("Bad Request-URI"),
        }
        // §8.1.1.5
        if m.cseq().method_bytes != m.method_bytes() {
            return bad("CSeq Does Not Match Method");
        }
    }
    if m.value(HeaderId::Via).is_empty() {
        return bad("Missing Via");
    }
    if m.vias().any(|via| via.is_err()) {
        return bad("Bad Via");
    }
    for (id, missing, malformed) in
        [(HeaderId::From, "Missing From", "Bad From"), (HeaderId::To, "Missing To", "Bad To")]
    {
        let Some(h) = m.header(id) else { return bad(missing) };
        let ok = NameAddr::parse(h.value).is_ok_and(|a| !a.is_star() && a.parse_uri().is_ok());
        if !ok {
            return bad(malformed);
        }
    }
    let call_id = m.call_id();
    if call_id.is_empty() {
        return bad("Missing Call-ID");
    }
    if call_id.iter().any(|&b| is_lws(b)) {
        return bad("Bad Call-ID");
    }
    // §8.1.1.5: less than 2^31.
    if m.header(HeaderId::CSeq).is_none() || m.cseq().number >= 1 << 31 {
        return bad("Bad CSeq number");
    }
    if m.header(HeaderId::ContentLength).is_some_and(|h| parse_u32(h.value).is_none()) {
        return bad("Bad Content-Length");
    }
    // Too large a number counts as the largest (RFC 4475 §3.1.2.4); what is no number is an error.
    if m.header(HeaderId::MaxForwards).is_some() && m.max_forwards().is_none() {
        return bad("Bad Max-Forwards");
    }
    if let Some(reason) = repeated(m) {
        return bad(reason);
    }
    for h in m.headers_of(HeaderId::Contact) {
        for contact in NameAddr::list(h.value) {
            match contact {
                // §20.10: a URI with a question mark needs brackets (RFC 4475 §3.1.2.13).
                Ok(c) if c.bracketed || !c.uri.contains(&b'?') => {}
                _ => return bad("Bad Contact"),
            }
        }
    }
    for id in [HeaderId::Route, HeaderId::RecordRoute] {
        if m.values_of(id).any(|v| NameAddr::parse(v).is_err()) {
            return bad(if id == HeaderId::Route { "Bad Route" } else { "Bad Record-Route" });
        }
    }
    Ok(())
}

/// Looks for two different values of a header that can only have one.
fn repeated(m: &Message) -> Option<&'static str> {
    let mut first: [Option<&[u8]>; SINGLE.len()] = [None; SINGLE.len()];
    for h in m.headers() {
        let Some(slot) = SINGLE.iter().position(|id| *id == h.id).and_then(|at| first.get_mut(at)) else { continue };
        match slot {
            None => *slot = Some(h.value),
            Some(v) if *v == h.value => {}
            Some(_) => {
                return Some(match h.id {
                    HeaderId::From => "Multiple From",
                    HeaderId::To => "Multiple To",
                    HeaderId::CallId => "Multiple Call-ID",
                    HeaderId::CSeq => "Multiple CSeq",
                    HeaderId::MaxForwards => "Multiple Max-Forwards",
                    _ => "Multiple Content-Length",
                });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Via: SIP/2.0/UDP one;branch=z9hG4bK1\r\n\
Max-Forwards: 69\r\n\
Route: <sip:a;lr>\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:alice@pc>\r\n\
Content-Length: 0\r\n\
\r\n";

    fn check(text: &str) -> Result<(), Fault> {
        validate(&Message::parse_slice(text.as_bytes()).unwrap())
    }

    #[test]
    fn faults() {
        assert_eq!(check(REQUEST), Ok(()));
        for (old, new, reason) in [
            ("314159 INVITE", "314159 OPTIONS", "CSeq Does Not Match Method"),
            ("314159 INVITE", "2147483648 INVITE", "Bad CSeq number"),
            ("sip:bob@biloxi.com SIP", "<sip:bob@biloxi.com> SIP", "Bad Request-URI"),
            ("sip:bob@biloxi.com SIP", "sip:2001:db8::10 SIP", "Bad Request-URI"),
            ("sip:bob@biloxi.com SIP", "sip:bob@biloxi.com?Route=%3Cx%3E SIP", "Headers in Request-URI"),
            ("branch=z9hG4bK1", ";,;,,", "Bad Via"),
            ("Via: SIP/2.0/UDP one;branch=z9hG4bK1", "Via:", "Missing Via"),
            ("To: Bob", "To: \"Bob", "Bad To"),
            ("From: Alice <sip:alice@atlanta.com>", "From: Alice <alice>", "Bad From"),
            ("a84b4c76e66710", "a84b 4c76", "Bad Call-ID"),
            ("Max-Forwards: 69", "Max-Forwards: -1", "Bad Max-Forwards"),
            ("Max-Forwards: 69", "Max-Forwards: 69\r\nMax-Forwards: 70", "Multiple Max-Forwards"),
            ("Content-Length: 0", "Content-Length: 0\r\nl: 00", "Multiple Content-Length"),
            ("CSeq: 314159 INVITE", "CSeq: 314159 INVITE\r\nCSeq: 8 INVITE", "Multiple CSeq"),
            ("From: A", "f: <sip:x@y>\r\nFrom: A", "Multiple From"),
            ("<sip:alice@pc>", "<sip:alice@pc>;;;;", "Bad Contact"),
            ("<sip:alice@pc>", "sip:alice@pc?Route=%3Csip:x%3E", "Bad Contact"),
            ("Route: <sip:a;lr>", "Route: <sip:a;lr", "Bad Route"),
        ] {
            let text = REQUEST.replacen(old, new, 1);
            assert_eq!(check(&text), Err(Fault { status: 400, reason }), "{new}");
        }
    }

    #[test]
    fn harmless_oddities() {
        for (old, new) in [
            ("Max-Forwards: 69", "Max-Forwards: 0"),
            ("Max-Forwards: 69", "Max-Forwards: 300000000000"),
            ("Max-Forwards: 69\r\n", ""),
            (";tag=1", ""),
            ("Content-Length: 0", "Content-Length: 0\r\nl: 0"),
            ("<sip:alice@pc>", "*"),
            ("<sip:alice@pc>", "<name:John_Smith>"),
            ("<sip:alice@pc>", "<sip:a@b?Route=%3Csip:x%3E>"),
            ("sip:bob@biloxi.com SIP", "nobodyKnowsThisScheme:totallyopaquecontent SIP"),
            ("sip:bob@biloxi.com SIP", "tel:+1 SIP"),
            ("Bob <sip:bob@biloxi.com>", "isbn:2983792873"),
        ] {
            let text = REQUEST.replacen(old, new, 1);
            assert_eq!(check(&text), Ok(()), "{new}");
        }
    }
}
