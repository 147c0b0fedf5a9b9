//! What the server itself asks of a message before a script sees it.

use super::check::{Checks, Policy, UriChecks, check};
use super::error::Fault;
use super::message::Message;

/// Without these a message cannot be matched, forwarded or answered as RFC 3261 says. What is the
/// script's to decide is not among them: Max-Forwards at 0 (483), the scheme (416), Proxy-Require
/// (420), Expires, credentials.
const AUTOMATIC: Policy<'static> = Policy {
    checks: Checks(
        Checks::REQUIRED.0
            | Checks::CSEQ_METHOD.0
            | Checks::CSEQ_VALUE.0
            | Checks::CONTENT_LENGTH.0
            | Checks::URIS.0
            | Checks::HEADERS.0
            | Checks::VIAS.0
            | Checks::NO_URI_HEADERS.0,
    ),
    uris: UriChecks(UriChecks::REQUEST.0 | UriChecks::FROM.0 | UriChecks::TO.0),
    extensions: &[],
};

/// Checks a message. A request that fails is answered with the fault (an ACK is dropped), a
/// reply that fails is dropped.
pub fn validate(m: &Message) -> Result<(), Fault> {
    check(m, &AUTOMATIC)
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
