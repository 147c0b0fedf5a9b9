//! Equality of URIs (RFC 3261 §19.1.4).

use super::{Scheme, Uri};
use crate::sip::bytes::hex_value;
use crate::sip::params::Params;

impl Uri<'_> {
    /// Whether both name the same resource by the rules of RFC 3261 §19.1.4. URIs of other
    /// schemes are compared byte for byte (scheme in any letter case).
    pub fn same_as(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        match (self.scheme, other.scheme) {
            (Scheme::Other, Scheme::Other) => {
                self.scheme_bytes.eq_ignore_ascii_case(other.scheme_bytes) && self.rest == other.rest
            }
            // RFC 3966 §5: visual separators do not count.
            (Scheme::Tel, Scheme::Tel) => {
                digits(self.user.unwrap_or_default()).eq(digits(other.user.unwrap_or_default()))
                    && params_match(self.params, other.params)
            }
            (a, b) if a == b => {
                same_part(self.user, other.user)
                    && same_part(self.password, other.password)
                    && self.same_host(other)
                    && self.port == other.port
                    && params_match(self.params, other.params)
                    && self.same_headers(other)
            }
            _ => false,
        }
    }

    fn same_host(&self, other: &Uri<'_>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            || self.host_ip().is_some_and(|ip| ip.is_ipv6() && other.host_ip() == Some(ip))
    }

    /// Header components are never ignored (§19.1.4); their order does not matter.
    fn same_headers(&self, other: &Uri<'_>) -> bool {
        if self.headers.is_none() && other.headers.is_none() {
            return true;
        }
        let all_in = |a: &Uri<'_>, b: &Uri<'_>| {
            a.header_pairs().all(|(name, value)| {
                b.header_pairs().any(|(n, v)| escaped_eq(name, n, true) && escaped_eq(value, v, false))
            })
        };
        self.header_pairs().take(MAX_HEADERS).count() == other.header_pairs().take(MAX_HEADERS).count()
            && self.header_pairs().count() <= MAX_HEADERS
            && all_in(self, other)
            && all_in(other, self)
    }
}

/// URIs with more headers than this are never the same as another.
const MAX_HEADERS: usize = 64;

/// Parameters that must not stand in one URI only (§19.1.4; `transport` by its examples).
const NEVER_ALONE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];

fn params_match(a: Params<'_>, b: Params<'_>) -> bool {
    let agree = a.iter().all(|p| match b.get(p.name) {
        Some(q) => escaped_eq(p.value.unwrap_or_default(), q.value.unwrap_or_default(), true),
        None => true,
    });
    agree && NEVER_ALONE.iter().all(|name| a.has(name) == b.has(name))
}

fn digits(b: &[u8]) -> impl Iterator<Item = u8> {
    b.iter().filter(|c| !matches!(c, b'-' | b'.' | b'(' | b')')).map(u8::to_ascii_lowercase)
}

fn same_part(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => escaped_eq(a, b, false),
        _ => false,
    }
}

/// Equality in which `%xx` equals the character it stands for, unless that is reserved.
pub(super) fn escaped_eq(a: &[u8], b: &[u8], any_case: bool) -> bool {
    Units { rest: a, any_case }.eq(Units { rest: b, any_case })
}

/// Characters, each with whether it is an escaped reserved one.
struct Units<'a> {
    rest: &'a [u8],
    any_case: bool,
}

impl Iterator for Units<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        let fold = |b: u8| if self.any_case { b.to_ascii_lowercase() } else { b };
        if let [b'%', h, l, rest @ ..] = self.rest
            && let (Some(h), Some(l)) = (hex_value(*h), hex_value(*l))
        {
            self.rest = rest;
            let byte = h << 4 | l;
            let reserved = matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',');
            return Some((fold(byte), reserved));
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some((fold(*first), false))
    }
}
