//! Other addresses in From and To than the caller wrote, and how the dialog's later requests get them too.
//!
//! The other address is one thing with the caller's: each is the other mixed with a text that stands in our Record-Route. So
//! whoever sends a request of the dialog, the address that its receiver knows follows from the one its sender knows.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::sip::nameaddr::NameAddr;
use crate::sip::params::Params;
use crate::sip::uri::Uri;
use crate::sip::{HeaderId, Message};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest URI that is mixed.
const LONGEST: usize = 512;

/// From or To.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// From.
    From,
    /// To.
    To,
}

impl Side {
    fn header(self) -> HeaderId {
        if self == Side::From { HeaderId::From } else { HeaderId::To }
    }

    fn other(self) -> Side {
        if self == Side::From { Side::To } else { Side::From }
    }
}

/// Each byte of one text with that of the other and of the password; the shorter one is filled up with zeros.
fn mixed(a: &[u8], b: &[u8], password: &[u8]) -> Vec<u8> {
    let at = |text: &[u8], i: usize| text.get(i).copied().unwrap_or(0);
    let salt = |i: usize| if password.is_empty() { 0 } else { at(password, i % password.len()) };
    (0..a.len().max(b.len())).map(|i| at(a, i) ^ at(b, i) ^ salt(i)).collect()
}

/// The value of the Record-Route parameter for two addresses.
pub fn write(original: &[u8], new: &[u8], password: &[u8]) -> Option<String> {
    if original.len().max(new.len()) > LONGEST {
        return None;
    }
    Some(URL_SAFE_NO_PAD.encode(mixed(original, new, password)))
}

/// One address from the other and the parameter's value.
pub fn read(value: &[u8], known: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let secret = URL_SAFE_NO_PAD.decode(value).ok().filter(|s| s.len() <= LONGEST)?;
    let mut other = mixed(&secret, known, password);
    // What is behind the end of the shorter one is zeros.
    let end = other.iter().position(|b| *b == 0).unwrap_or(other.len());
    if other.get(end..).is_some_and(|rest| rest.iter().any(|b| *b != 0)) {
        return None;
    }
    other.truncate(end);
    Uri::parse(&other).is_ok().then_some(other)
}

/// Whether a display name needs no quotes (RFC 3261 25.1: tokens with blanks between them).
fn is_bare(name: &[u8]) -> bool {
    name.split(|b| *b == b' ').all(|word| word.is_empty() || crate::sip::bytes::is_token(word))
}

/// The header's value with another URI and, if one is given, another display name: in quotes, unless it is to be `bare` and
/// can be.
pub fn value(n: &NameAddr<'_>, uri: &[u8], display: Option<&[u8]>, bare: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(n.raw.len() + uri.len());
    match display {
        Some(b"") => {}
        Some(name) if name.starts_with(b"\"") => {
            out.extend_from_slice(name);
            out.push(b' ');
        }
        Some(name) if bare && is_bare(name) => {
            out.extend_from_slice(name);
            out.push(b' ');
        }
        Some(name) => {
            out.push(b'"');
            for byte in name {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.extend_from_slice(b"\" ");
        }
        None if n.display.is_empty() => {}
        None => {
            out.extend_from_slice(n.display.trim_ascii());
            out.push(b' ');
        }
    }
    out.push(b'<');
    out.extend_from_slice(uri);
    out.push(b'>');
    out.extend_from_slice(n.params.raw());
    out
}

/// Puts another URI into a header.
pub fn set(h: &mut SipHost, side: Side, uri: &[u8], display: Option<&[u8]>) -> bool {
    let msg = h.msg.clone();
    let Some(header) = msg.header(side.header()) else { return false };
    let Ok(n) = NameAddr::parse(header.value) else { return false };
    let new = value(&n, uri, display, h.env().settings.uac.bare_names);
    h.edits.set_header_value(&header, Str::from(new));
    true
}

/// The URI of a header as it came.
pub fn uri_of(h: &SipHost, side: Side) -> Option<Vec<u8>> {
    let value = h.msg.value(side.header());
    NameAddr::parse(value).ok().map(|n| n.uri.to_vec())
}

/// Whether a request of a dialog comes from who was called, by the parameters of our Route.
pub fn is_upstream(params: &Params<'_>, msg: &Message) -> bool {
    match (params.value(b"ftag"), msg.from_tag()) {
        (Some(first), Some(now)) => first != now,
        _ => false,
    }
}

/// A request of a dialog whose first one had another address in this header: it gets what its receiver knows. True if
/// something was changed.
pub fn follow(h: &mut SipHost, side: Side) -> bool {
    let s = &h.env().settings.uac;
    let (name, password) = (s.param(side).clone(), s.password.clone());
    let Some(params) = h.rr.own_params.clone() else { return false };
    let params = Params::new(&params);
    let Some(value) = params.value(&name) else { return false };
    // Whoever was called has the two the other way round.
    let place = if is_upstream(&params, &h.msg) { side.other() } else { side };
    let Some(known) = uri_of(h, place) else { return false };
    let Some(uri) = read(value, &known, &password) else {
        crate::modules::log_line(h, 1, "uac: the address of the dialog cannot be told: From or To is not what it was");
        return false;
    };
    set(h, place, &uri, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_follows_from_the_other() {
        for (a, b) in
            [("sip:alice@example.com", "sip:anonymous@anonymous.invalid"), ("sip:a@b", "sip:a@b"), ("sip:x", "tel:1")]
        {
            for password in ["", "secret"] {
                let text = write(a.as_bytes(), b.as_bytes(), password.as_bytes()).unwrap();
                assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
                let other = |known: &str| read(text.as_bytes(), known.as_bytes(), password.as_bytes());
                assert_eq!(other(a).as_deref(), Some(b.as_bytes()), "{a} {b}");
                assert_eq!(other(b).as_deref(), Some(a.as_bytes()), "{a} {b}");
            }
        }
        assert_eq!(read(b"!", b"sip:a", b""), None);
        assert_eq!(read(b"AAAA", b"\x01\x02", b""), None);
        assert!(write(&[b'x'; 600], b"", b"").is_none());
    }

    #[test]
    fn values_keep_their_parameters() {
        let n = NameAddr::parse(b"\"A\" <sip:a@b>;tag=1").unwrap();
        let text = |display| String::from_utf8(value(&n, b"sip:x", display, false)).unwrap();
        assert_eq!(text(None), "\"A\" <sip:x>;tag=1");
        assert_eq!(text(Some(b"")), "<sip:x>;tag=1");
        assert_eq!(text(Some(b"B \"q\"")), "\"B \\\"q\\\"\" <sip:x>;tag=1");
        let bare = |name: &[u8]| String::from_utf8(value(&n, b"sip:x", Some(name), true)).unwrap();
        assert_eq!(bare(b"J. Doe"), "J. Doe <sip:x>;tag=1");
        assert_eq!(bare(b"\"J. Doe\""), "\"J. Doe\" <sip:x>;tag=1");
        assert_eq!(bare(b"Doe, J."), "\"Doe, J.\" <sip:x>;tag=1");
        let n = NameAddr::parse(b"sip:a@b;tag=1").unwrap();
        assert_eq!(String::from_utf8(value(&n, b"sip:x", None, false)).unwrap(), "<sip:x>;tag=1");
    }
}
