//! The single questions that the lists of checks are made of.

use crate::base::Str;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::{Scheme, Uri};

/// Whether the CSeq names the request's method (RFC 3261 §8.1.1.5); replies have none of their own.
pub fn cseq_method_matches(m: &Message) -> bool {
    m.is_reply() || m.cseq().method_bytes == m.method_bytes()
}

/// Whether there is a CSeq number, below 2^31 (RFC 3261 §8.1.1.5).
pub fn cseq_number_fits(m: &Message) -> bool {
    m.header(HeaderId::CSeq).is_some() && m.cseq().number < 1 << 31
}

/// Whether there is a Via and all can be read.
pub fn vias_can_be_read(m: &Message) -> bool {
    m.top_via().is_some() && m.vias().all(|v| v.is_ok())
}

/// Whether a proxy knows what to do with the URI: sip, sips, tel, tels (RFC 3261 §16.3 item 2).
pub fn scheme_is_known(uri: &Uri<'_>) -> bool {
    uri.scheme != Scheme::Other || uri.scheme_bytes.eq_ignore_ascii_case(b"tels")
}

/// Whether an address has more than one tag (RFC 3261 §7.3.1 allows each parameter once).
pub fn has_two_tags(address: &NameAddr<'_>) -> bool {
    address.params.iter().filter(|p| p.name.eq_ignore_ascii_case(b"tag")).nth(1).is_some()
}

/// What Proxy-Require names beyond `supported` (RFC 3261 §16.3 item 5): the values of the
/// Unsupported header of the 420.
pub fn unsupported<'a>(m: &'a Message, supported: &'a [Str]) -> impl Iterator<Item = &'a [u8]> {
    let known = move |v: &[u8]| supported.iter().any(|s| s.eq_ignore_ascii_case(v));
    m.values_of(HeaderId::ProxyRequire).filter(move |v| !v.is_empty() && !known(v))
}

/// What is wrong with a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UriFault {
    /// It cannot be read.
    Unreadable,
    /// Its host is none.
    Host,
    /// Its user part has characters that should be escaped.
    User,
}

/// Looks at the parts of a URI; only sip and sips have any.
pub fn check_uri(text: &[u8]) -> Result<(), UriFault> {
    let Ok(u) = Uri::parse(text) else { return Err(UriFault::Unreadable) };
    if !u.is_sip() {
        return Ok(());
    }
    let in_host = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(b);
    if u.host.is_empty() || !u.host.iter().all(in_host) {
        return Err(UriFault::Host);
    }
    // RFC 3261 §25.1: unreserved, user-unreserved, escaped.
    let in_user = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(b);
    if u.user.is_some_and(|u| !u.iter().all(in_user)) {
        return Err(UriFault::User);
    }
    Ok(())
}

/// As [`check_uri`], for the URI of an address.
pub fn check_address(address: Option<NameAddr<'_>>) -> Result<(), UriFault> {
    address.map_or(Err(UriFault::Unreadable), |a| check_uri(a.uri))
}
