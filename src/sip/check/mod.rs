//! Whether a well-formed message is also a right one (RFC 3261 §8.1.1, §8.2, §16.3; expectations
//! of RFC 4475): one implementation for the server's own checks ([`super::validate()`]) and for
//! those that scripts ask for (`sanity_check`, `sipmsg_validate`).

pub mod parts;
pub mod strict;

use super::bytes::{is_lws, parse_u32};
use super::digest::{Credentials, digests};
use super::error::Fault;
use super::header::{Header, HeaderId};
use super::list::split_list;
use super::message::Message;
use super::method::Method;
use super::nameaddr::NameAddr;
use super::uri::Uri;
use super::via::Via;
use crate::base::Str;
use parts::{cseq_method_matches, cseq_number_fits, scheme_is_known};
use std::ops::BitOr;

/// A set of checks. The numbers up to 2^16 are those of Kamailio's `sanity` module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks(pub u32);

impl Checks {
    /// The version is 2.0. The parser has seen to that: others are answered 505.
    pub const VERSION: Checks = Checks(1);
    /// The scheme of the Request-URI is sip, sips, tel or tels; else 416.
    pub const SCHEME: Checks = Checks(1 << 1);
    /// Via, From, To, Call-ID and CSeq are there.
    pub const REQUIRED: Checks = Checks(1 << 2);
    /// The CSeq has the request's method.
    pub const CSEQ_METHOD: Checks = Checks(1 << 5);
    /// The CSeq number is below 2^31.
    pub const CSEQ_VALUE: Checks = Checks(1 << 6);
    /// Content-Length is a number; the body is as long (the parser has cut off what follows it).
    pub const CONTENT_LENGTH: Checks = Checks(1 << 7);
    /// Expires is a number of 32 bits.
    pub const EXPIRES: Checks = Checks(1 << 8);
    /// Proxy-Require names only extensions that are supported; else 420.
    pub const PROXY_REQUIRE: Checks = Checks(1 << 9);
    /// The URIs that [`Policy::uris`] names are there and can be read.
    pub const URIS: Checks = Checks(1 << 10);
    /// All credentials are complete digest ones.
    pub const DIGEST: Checks = Checks(1 << 11);
    /// From and To have at most one tag each.
    pub const TAGS: Checks = Checks(1 << 12);
    /// Digest credentials are complete; those of other schemes are not looked at.
    pub const AUTHORIZATION: Checks = Checks(1 << 13);
    /// The top Via can be read and has a host.
    pub const TOP_VIA: Checks = Checks(1 << 14);
    /// What RFC 3261 says about single headers: those that stand once do so (RFC 4475 §3.3.8,
    /// §3.3.9), Max-Forwards is a number, Contact, Route and Record-Route can be read.
    pub const HEADERS: Checks = Checks(1 << 15);
    /// The Request-URI has at most [`MAX_URI`] bytes (else 414), each header value at most
    /// [`MAX_VALUE`].
    pub const SIZES: Checks = Checks(1 << 16);
    /// Every Via can be read, and there are at most [`MAX_VIAS`].
    pub const VIAS: Checks = Checks(1 << 24);
    /// A sip Request-URI has no headers (RFC 3261 §19.1.1, RFC 4475 §3.1.2.11).
    pub const NO_URI_HEADERS: Checks = Checks(1 << 25);

    /// Whether one of `other` is in the set.
    pub const fn has(self, other: Checks) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Checks {
    type Output = Checks;
    fn bitor(self, other: Checks) -> Checks {
        Checks(self.0 | other.0)
    }
}

/// Most Via values. Max-Forwards begins at 70; nobody is farther away than 255 hops.
pub const MAX_VIAS: usize = 256;
/// Longest Request-URI that [`Checks::SIZES`] lets pass, in bytes.
pub const MAX_URI: usize = 2048;
/// Longest header value that [`Checks::SIZES`] lets pass, in bytes.
pub const MAX_VALUE: usize = 8192;

/// URIs that [`Checks::URIS`] reads, with the numbers of Kamailio's `sanity` module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UriChecks(pub u32);

impl UriChecks {
    /// The Request-URI.
    pub const REQUEST: UriChecks = UriChecks(1);
    /// That of From.
    pub const FROM: UriChecks = UriChecks(2);
    /// That of To.
    pub const TO: UriChecks = UriChecks(4);
    /// Those of Contact.
    pub const CONTACT: UriChecks = UriChecks(8);

    const fn has(self, other: UriChecks) -> bool {
        self.0 & other.0 != 0
    }
}

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Which checks.
    pub checks: Checks,
    /// The URIs to read, with [`Checks::URIS`].
    pub uris: UriChecks,
    /// Extensions that [`Checks::PROXY_REQUIRE`] lets pass.
    pub extensions: &'a [Str],
}

/// Headers of which a message has one.
const SINGLE: [(HeaderId, &str); 6] = [
    (HeaderId::From, "Multiple From"),
    (HeaderId::To, "Multiple To"),
    (HeaderId::CallId, "Multiple Call-ID"),
    (HeaderId::CSeq, "Multiple CSeq"),
    (HeaderId::MaxForwards, "Multiple Max-Forwards"),
    (HeaderId::ContentLength, "Multiple Content-Length"),
];

fn fault(status: u16, reason: &'static str) -> Result<(), Fault> {
    Err(Fault { status, reason })
}

fn ensure(ok: bool, reason: &'static str) -> Result<(), Fault> {
    if ok { Ok(()) } else { fault(400, reason) }
}

/// Makes the checks of `policy`; the first one that fails is the answer to the request.
pub fn check(m: &Message, policy: &Policy<'_>) -> Result<(), Fault> {
    let checks = policy.checks;
    if m.is_request() {
        start_line(m, policy)?;
        if checks.has(Checks::CSEQ_METHOD) {
            ensure(cseq_method_matches(m), "CSeq Does Not Match Method")?;
        }
    }
    if checks.has(Checks::REQUIRED) {
        required(m)?;
    }
    if checks.has(Checks::CSEQ_VALUE) {
        ensure(cseq_number_fits(m), "Bad CSeq number")?;
    }
    if checks.has(Checks::URIS) {
        let fine = |a: Option<NameAddr<'_>>| a.is_some_and(|a| !a.is_star() && a.parse_uri().is_ok());
        ensure(!policy.uris.has(UriChecks::FROM) || fine(m.parse_from()), "Bad From")?;
        ensure(!policy.uris.has(UriChecks::TO) || fine(m.parse_to()), "Bad To")?;
    }
    if checks.has(Checks::TAGS) {
        ensure(!parts::has_two_tags(&m.from()), "Multiple Tags in From")?;
        ensure(!parts::has_two_tags(&m.to()), "Multiple Tags in To")?;
    }
    if checks.has(Checks::TOP_VIA) {
        ensure(m.top_via().is_some_and(|v| !v.host.is_empty()), "Bad Via")?;
    }
    let mut vias = 0;
    for h in m.headers() {
        header(m, &h, policy)?;
        if h.id == HeaderId::Via && checks.has(Checks::VIAS) {
            vias += split_list(h.value).count();
        }
    }
    ensure(vias <= MAX_VIAS, "Too Many Vias")
}

fn start_line(m: &Message, policy: &Policy<'_>) -> Result<(), Fault> {
    let checks = policy.checks;
    let text = m.request_uri();
    if checks.has(Checks::SIZES) && text.len() > MAX_URI {
        return fault(414, "Request-URI Too Long");
    }
    let read = checks.has(Checks::URIS) && policy.uris.has(UriChecks::REQUEST);
    if !read && !checks.has(Checks::SCHEME | Checks::NO_URI_HEADERS) {
        return Ok(());
    }
    let Ok(uri) = Uri::parse(text) else { return fault(400, "Bad Request-URI") };
    if checks.has(Checks::SCHEME) && !scheme_is_known(&uri) {
        return fault(416, "Unsupported URI Scheme");
    }
    let headers = checks.has(Checks::NO_URI_HEADERS) && uri.is_sip() && uri.headers.is_some();
    ensure(!headers, "Headers in Request-URI")
}

fn required(m: &Message) -> Result<(), Fault> {
    for (id, reason) in [
        (HeaderId::Via, "Missing Via"),
        (HeaderId::From, "Missing From"),
        (HeaderId::To, "Missing To"),
        (HeaderId::CallId, "Missing Call-ID"),
        (HeaderId::CSeq, "Missing CSeq"),
    ] {
        ensure(!m.value(id).is_empty(), reason)?;
    }
    ensure(!m.call_id().iter().any(|&b| is_lws(b)), "Bad Call-ID")
}

/// The checks of one header line.
fn header(m: &Message, h: &Header<'_>, policy: &Policy<'_>) -> Result<(), Fault> {
    let checks = policy.checks;
    if checks.has(Checks::SIZES) && h.value.len() > MAX_VALUE {
        return fault(400, "Header Too Long");
    }
    match h.id {
        HeaderId::Via if checks.has(Checks::VIAS) => {
            let first = h.value.as_ptr() == m.value(HeaderId::Via).as_ptr();
            if first {
                ensure(m.top_via().is_some(), "Bad Via")?;
            }
            let rest_is_fine = split_list(h.value).skip(usize::from(first)).all(|v| Via::parse(v).is_ok());
            ensure(rest_is_fine && (first || !h.value.is_empty()), "Bad Via")?;
        }
        HeaderId::Contact => {
            if checks.has(Checks::HEADERS) {
                // §20.10: a URI with a question mark needs brackets (RFC 4475 §3.1.2.13).
                let fine = |c: NameAddr<'_>| c.bracketed || !c.uri.contains(&b'?');
                ensure(NameAddr::list(h.value).all(|c| c.is_ok_and(fine)), "Bad Contact")?;
            }
            if checks.has(Checks::URIS) && policy.uris.has(UriChecks::CONTACT) {
                let fine = |c: NameAddr<'_>| c.is_star() || c.parse_uri().is_ok();
                ensure(NameAddr::list(h.value).all(|c| c.is_ok_and(fine)), "Bad Contact")?;
            }
        }
        HeaderId::Route if checks.has(Checks::HEADERS) => ensure(addresses(h), "Bad Route")?,
        HeaderId::RecordRoute if checks.has(Checks::HEADERS) => ensure(addresses(h), "Bad Record-Route")?,
        HeaderId::Expires if checks.has(Checks::EXPIRES) => ensure(parse_u32(h.value).is_some(), "Bad Expires")?,
        HeaderId::ProxyRequire if checks.has(Checks::PROXY_REQUIRE) => {
            // §8.2.2.3: neither a CANCEL nor the ACK to a negative reply may be refused for it.
            let may_refuse = m.is_request() && !matches!(m.method(), Method::Ack | Method::Cancel);
            if may_refuse && parts::unsupported(m, policy.extensions).next().is_some() {
                return fault(420, "Bad Extension");
            }
        }
        HeaderId::Authorization | HeaderId::ProxyAuthorization => {
            let digest = digests(h.value).is_some();
            let wanted = checks.has(Checks::DIGEST) || (digest && checks.has(Checks::AUTHORIZATION));
            ensure(!wanted || (digest && Credentials::parse(h.value).is_ok()), "Bad Credentials")?;
        }
        _ => {}
    }
    if h.id == HeaderId::ContentLength && checks.has(Checks::CONTENT_LENGTH) {
        let fine = parse_u32(h.value).is_some_and(|n| n as usize == m.body().len());
        ensure(fine || other_value(m, h), "Bad Content-Length")?;
    }
    if !checks.has(Checks::HEADERS) {
        return Ok(());
    }
    // Too large a number counts as the largest (RFC 4475 §3.1.2.4); what is no number is an error.
    if h.id == HeaderId::MaxForwards && m.max_forwards().is_none() {
        return fault(400, "Bad Max-Forwards");
    }
    if !m.repeats_single() {
        return Ok(());
    }
    match SINGLE.iter().find(|(id, _)| *id == h.id) {
        Some((_, reason)) if other_value(m, h) => fault(400, reason),
        _ => Ok(()),
    }
}

fn addresses(h: &Header<'_>) -> bool {
    NameAddr::list(h.value).all(|v| v.is_ok())
}

/// Whether the first header of this kind says something else.
fn other_value(m: &Message, h: &Header<'_>) -> bool {
    let first = m.value(h.id);
    first.as_ptr() != h.value.as_ptr() && first != h.value
}

#[cfg(test)]
mod tests;
