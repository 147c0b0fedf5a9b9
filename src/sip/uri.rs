//! URIs (RFC 3261 §19.1, tel: RFC 3966); schemes that are not known are kept as they are.

mod compare;
mod rewrite;

use super::bytes::{is_host_byte, is_uri_byte, parse_u32};
use super::error::ParseError;
use super::params::Params;
use super::transport::Transport;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URI's scheme.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel` (RFC 3966)
    Tel,
    /// Any other; [`Uri::scheme_bytes`] has the name.
    Other,
}

/// A parsed URI: slices of the text it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The whole text.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme,
    /// The scheme as written.
    pub scheme_bytes: &'a [u8],
    /// User part as written, `%` escapes included; the number of a tel URI.
    pub user: Option<&'a [u8]>,
    /// Password, the part of the user information behind its first colon.
    pub password: Option<&'a [u8]>,
    /// Host as written, IPv6 addresses with their brackets; empty in tel URIs and others.
    pub host: &'a [u8],
    /// Port, if one is written.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params<'a>,
    /// What follows the `?`, without it.
    pub headers: Option<&'a [u8]>,
    /// What follows the colon behind the scheme.
    pub rest: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Parses a URI that fills `raw`. White space, control characters, quotes and angle
    /// brackets are refused everywhere.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        Self::try_parse(raw).ok_or(ParseError::malformed("Bad URI"))
    }

    fn try_parse(raw: &'a [u8]) -> Option<Uri<'a>> {
        let (scheme, scheme_bytes, rest) = match raw.strip_prefix(b"sip:") {
            Some(rest) => (Scheme::Sip, raw.get(..3)?, rest),
            None => {
                let colon = memchr::memchr(b':', raw)?;
                let scheme_bytes = raw.get(..colon)?;
                (scheme_of(scheme_bytes)?, scheme_bytes, raw.get(colon + 1..)?)
            }
        };
        if rest.is_empty() || !rest.iter().all(|&b| is_uri_byte(b)) {
            return None;
        }
        let mut uri = Uri {
            raw,
            scheme,
            scheme_bytes,
            user: None,
            password: None,
            host: b"",
            port: None,
            params: Params::default(),
            headers: None,
            rest,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.parse_sip(rest)?,
            Scheme::Tel => {
                let end = memchr::memchr2(b';', b'?', rest).unwrap_or(rest.len());
                let number = rest.get(..end)?;
                if number.is_empty() {
                    return None;
                }
                uri.user = Some(number);
                uri.parse_tail(rest.get(end..)?)?;
            }
            Scheme::Other => {}
        }
        Some(uri)
    }

    fn parse_sip(&mut self, rest: &'a [u8]) -> Option<()> {
        // The user part may hold `;`, `?` and `/`, but an `@` must be escaped everywhere (§25.1).
        // Users are short: no use in calling for a search.
        let host_part = match rest.iter().position(|b| *b == b'@') {
            Some(at) => {
                let info = rest.get(..at)?;
                let (user, password) = match info.iter().position(|b| *b == b':') {
                    Some(c) => (info.get(..c)?, Some(info.get(c + 1..)?)),
                    None => (info, None),
                };
                if user.is_empty() {
                    return None;
                }
                self.user = Some(user);
                self.password = password;
                rest.get(at + 1..)?
            }
            None => rest,
        };
        let n = host_len(host_part)?;
        let (host, mut tail) = host_part.split_at(n);
        self.host = host;
        if let Some(t) = tail.strip_prefix(b":") {
            let digits = t.iter().position(|b| !b.is_ascii_digit()).unwrap_or(t.len());
            let (port, t) = t.split_at(digits);
            self.port = Some(u16::try_from(parse_u32(port)?).ok()?);
            tail = t;
        }
        self.parse_tail(tail)
    }

    /// Parameters and headers.
    fn parse_tail(&mut self, tail: &'a [u8]) -> Option<()> {
        match tail.first() {
            None => return Some(()),
            Some(b';' | b'?') => {}
            Some(_) => return None,
        }
        let params = match memchr::memchr(b'?', tail) {
            Some(q) => {
                self.headers = Some(tail.get(q + 1..)?);
                tail.get(..q)?
            }
            None => tail,
        };
        self.params = Params::new(params);
        Some(())
    }

    /// Whether it is a sip or sips URI.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The value of a parameter (letter case of the name does not matter); empty if it is there
    /// without a value.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name).map(|p| p.text())
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<Transport> {
        self.param(b"transport").map(Transport::from_bytes)
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.param(b"maddr").filter(|m| !m.is_empty())
    }

    /// Whether it has the `lr` parameter: a loose router (§19.1.1).
    pub fn lr(&self) -> bool {
        self.params.has(b"lr")
    }

    /// The host as an address, if it is one.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The port, or the default one of the transport and scheme (§19.1.2).
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| match (self.scheme, self.transport()) {
            (Scheme::Sips, Some(Transport::Ws | Transport::Wss)) => 443,
            (Scheme::Sips, _) => 5061,
            (_, Some(t)) => t.default_port(),
            _ => 5060,
        })
    }

    /// The host and what follows it up to the parameters: `host[:port]`.
    pub fn host_port(&self) -> &'a [u8] {
        let skip = match self.user {
            Some(_) if self.is_sip() => memchr::memchr(b'@', self.rest).map_or(0, |at| at + 1),
            _ => 0,
        };
        let tail = self.params.raw().len() + self.headers.map_or(0, |h| h.len() + 1);
        let end = self.rest.len().saturating_sub(tail);
        if self.is_sip() { self.rest.get(skip..end).unwrap_or_default() } else { b"" }
    }

    /// The headers part: names and values as written.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.headers.unwrap_or_default().split(|b| *b == b'&').filter(|p| !p.is_empty()).map(|p| {
            let eq = memchr::memchr(b'=', p).unwrap_or(p.len());
            (p.get(..eq).unwrap_or_default(), p.get(eq + 1..).unwrap_or_default())
        })
    }
}

fn scheme_of(name: &[u8]) -> Option<Scheme> {
    let is = |s: &[u8]| name.eq_ignore_ascii_case(s);
    match name.len() {
        3 if is(b"sip") => return Some(Scheme::Sip),
        4 if is(b"sips") => return Some(Scheme::Sips),
        3 if is(b"tel") => return Some(Scheme::Tel),
        _ => {}
    }
    let [first, rest @ ..] = name else { return None };
    let ok = first.is_ascii_alphabetic()
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    ok.then_some(Scheme::Other)
}

/// Length of the host (name, IPv4 address or bracketed IPv6 address) at the front of `b`.
pub(super) fn host_len(b: &[u8]) -> Option<usize> {
    if b.first() == Some(&b'[') {
        let end = memchr::memchr(b']', b)? + 1;
        host_ip(b.get(..end)?)?;
        return Some(end);
    }
    let n = b.iter().position(|&c| !is_host_byte(c)).unwrap_or(b.len());
    (n > 0).then_some(n)
}

/// The address that a host text is: IPv4, or IPv6 with or without brackets. Three colons in a
/// row count as two, because RFC 3261's grammar makes some write that (RFC 5118 §4.10).
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let bare = match host {
        [b'[', inner @ .., b']'] => inner,
        _ => host,
    };
    let text = std::str::from_utf8(bare).ok()?;
    if !bare.contains(&b':') {
        return if bare.len() == host.len() { text.parse::<Ipv4Addr>().ok().map(IpAddr::V4) } else { None };
    }
    text.parse::<Ipv6Addr>().or_else(|_| text.replacen(":::", "::", 1).parse()).ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests;
