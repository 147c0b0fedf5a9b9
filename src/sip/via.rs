//! One Via value (RFC 3261 §20.42, rport: RFC 3581).

use super::bytes::{
    is_lws, is_token, is_token_byte, parse_u32, push_ip, push_number, trim, trim_end, trim_start, unquote,
};
use super::error::ParseError;
use super::params::Params;
use super::transport::Transport;
use super::uri::{host_ip, host_len};
use std::net::SocketAddr;

/// One Via value: slices of the text it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The whole value without white space around it.
    pub raw: &'a [u8],
    /// The value up to its parameters: protocol and sent-by.
    pub head: &'a [u8],
    /// Protocol name, `SIP`.
    pub name: &'a [u8],
    /// Protocol version, `2.0`.
    pub version: &'a [u8],
    /// Transport.
    pub transport: Transport,
    /// Transport as written.
    pub transport_bytes: &'a [u8],
    /// Host of the sent-by part, IPv6 addresses with their brackets.
    pub host: &'a [u8],
    /// Port of the sent-by part, if one is written.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params<'a>,
    /// A comment in parentheses behind the parameters (RFC 2543), without the parentheses.
    pub comment: Option<&'a [u8]>,
    /// The parameters that are asked for most.
    pub(super) picked: Picked<'a>,
}

/// Values of the first parameters with these names; empty if one is there without a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Picked<'a> {
    pub(super) branch: Option<&'a [u8]>,
    pub(super) received: Option<&'a [u8]>,
    pub(super) maddr: Option<&'a [u8]>,
    pub(super) rport: Option<&'a [u8]>,
}

impl<'a> Picked<'a> {
    fn note(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        let slot = match name.len() {
            5 if name.eq_ignore_ascii_case(b"rport") => &mut self.rport,
            5 if name.eq_ignore_ascii_case(b"maddr") => &mut self.maddr,
            6 if name.eq_ignore_ascii_case(b"branch") => &mut self.branch,
            8 if name.eq_ignore_ascii_case(b"received") => &mut self.received,
            _ => return,
        };
        slot.get_or_insert(unquote(value.unwrap_or_default()));
    }

    /// `None` if the parameters are malformed.
    fn from(params: Params<'a>) -> Option<Picked<'a>> {
        let mut picked = Picked::default();
        if !params.plain(|name, value| picked.note(name, value)) {
            if !params.is_well_formed() {
                return None;
            }
            picked = Picked::default();
            params.iter().for_each(|p| picked.note(p.name, p.value));
        }
        Some(picked)
    }
}

impl<'a> Via<'a> {
    /// Parses one value (not a comma separated list).
    pub fn parse(raw: &'a [u8]) -> Result<Via<'a>, ParseError> {
        Self::try_parse(trim(raw)).ok_or(ParseError::malformed("Bad Via"))
    }

    fn try_parse(raw: &'a [u8]) -> Option<Via<'a>> {
        let (name, version, rest) = match raw.strip_prefix(b"SIP/2.0/") {
            // As nearly everybody writes it.
            Some(rest) => (raw.get(..3)?, raw.get(4..7)?, rest),
            None => {
                let (name, rest) = token(raw)?;
                let (version, rest) = token(trim_start(rest.strip_prefix(b"/")?))?;
                (name, version, trim_start(rest.strip_prefix(b"/")?))
            }
        };
        let (transport_bytes, rest) = token(trim_start(rest))?;
        // `token` skipped the white space that must stand between transport and host.
        if !raw.get(..raw.len() - rest.len())?.last().is_some_and(|&b| is_lws(b)) {
            return None;
        }
        let n = host_len(rest)?;
        let (host, rest) = rest.split_at(n);
        let mut rest = trim_start(rest);
        let mut port = None;
        if let Some(r) = rest.strip_prefix(b":") {
            let r = trim_start(r);
            let digits = r.iter().position(|b| !b.is_ascii_digit()).unwrap_or(r.len());
            let (p, r) = r.split_at(digits);
            port = Some(u16::try_from(parse_u32(p)?).ok()?);
            rest = trim_start(r);
        }
        let head = trim_end(raw.get(..raw.len() - rest.len())?);
        let (tail, comment) = match rest {
            [.., b')'] => match memchr::memchr(b'(', rest) {
                Some(open) => (trim(rest.get(..open)?), rest.get(open + 1..rest.len() - 1)),
                None => (rest, None),
            },
            _ => (rest, None),
        };
        if !tail.is_empty() && tail.first() != Some(&b';') {
            return None;
        }
        let params = Params::new(tail);
        let transport = Transport::from_bytes(transport_bytes);
        Some(Via {
            raw,
            head,
            name,
            version,
            transport,
            transport_bytes,
            host,
            port,
            params,
            comment,
            picked: Picked::from(params)?,
        })
    }

    /// The sent-by port, or the transport's default.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| self.transport.default_port())
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.picked.branch.filter(|b| !b.is_empty())
    }

    /// The part of the branch behind RFC 3261's magic cookie; `None` if the cookie is missing
    /// or stands alone (RFC 4475 §3.2.1), so that the RFC 2543 matching rules apply.
    pub fn magic_branch(&self) -> Option<&'a [u8]> {
        let (cookie, rest) = self.branch()?.split_at_checked(MAGIC_COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && !rest.is_empty()).then_some(rest)
    }

    /// The `received` parameter.
    pub fn received(&self) -> Option<&'a [u8]> {
        self.picked.received.filter(|b| !b.is_empty())
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.picked.maddr.filter(|b| !b.is_empty())
    }

    /// Whether the `rport` parameter is there, with or without a value.
    pub fn has_rport(&self) -> bool {
        self.picked.rport.is_some()
    }

    /// The value of the `rport` parameter.
    pub fn rport(&self) -> Option<u16> {
        self.picked.rport.and_then(parse_u32).and_then(|p| u16::try_from(p).ok())
    }

    /// Where a reply goes by RFC 3261 §18.2.2 and RFC 3581 §4, for transports without a
    /// connection: host (as written, brackets and all) and port.
    pub fn reply_target(&self) -> (&'a [u8], u16) {
        if let Some(maddr) = self.maddr() {
            return (maddr, self.port_or_default());
        }
        match self.received() {
            Some(received) => (received, self.rport().unwrap_or_else(|| self.port_or_default())),
            None => (self.host, self.port_or_default()),
        }
    }

    /// Writes the value as a server keeps it: with `received` if the request's source address
    /// is not what sent-by says (§18.2.1) and with `rport` and `received` if it asked for them
    /// (RFC 3581 §4) or `force_rport` is given. A `received` that the sender wrote is dropped.
    pub fn write_marked(&self, source: SocketAddr, force_rport: bool, out: &mut Vec<u8>) {
        let rport = force_rport || self.has_rport();
        let ip = source.ip().to_canonical();
        let same = || host_ip(self.host).is_some_and(|h| h.to_canonical() == ip);
        let own =
            |name: &[u8]| name.eq_ignore_ascii_case(b"received") || (rport && name.eq_ignore_ascii_case(b"rport"));
        out.extend_from_slice(self.head);
        if self.picked.received.is_none() && (!rport || self.picked.rport.is_none()) {
            // A semicolon that nothing follows must not stand before another one.
            let raw = trim_end(self.params.raw());
            out.extend_from_slice(trim_end(raw.strip_suffix(b";").unwrap_or(raw)));
        } else {
            let before = out.len();
            let plain = self.params.plain(|name, value| {
                if !own(name) {
                    out.push(b';');
                    out.extend_from_slice(name);
                    if let Some(value) = value {
                        out.push(b'=');
                        out.extend_from_slice(value);
                    }
                }
            });
            if !plain {
                out.truncate(before);
                for p in self.params.iter().filter(|p| !own(p.name)) {
                    out.extend_from_slice(p.whole);
                }
            }
        }
        if rport || !same() {
            out.extend_from_slice(b";received=");
            push_ip(out, ip);
        }
        if rport {
            out.extend_from_slice(b";rport=");
            push_number(out, u64::from(source.port()));
        }
        if let Some(c) = self.comment {
            out.extend_from_slice(b" (");
            out.extend_from_slice(c);
            out.push(b')');
        }
    }
}

/// RFC 3261 §8.1.1.7.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// A token, and what follows it and the white space behind it.
fn token(b: &[u8]) -> Option<(&[u8], &[u8])> {
    let n = b.iter().position(|&c| !is_token_byte(c)).unwrap_or(b.len());
    let (t, rest) = b.split_at(n);
    is_token(t).then(|| (t, trim_start(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(s: &str) -> Via<'_> {
        Via::parse(s.as_bytes()).unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    fn marked(s: &str, source: &str, force: bool) -> String {
        let mut out = Vec::new();
        via(s).write_marked(source.parse().unwrap(), force, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forms() {
        let v = via("SIP/2.0/UDP pc33.atlanta.com:5066;branch=z9hG4bK776asdhds;rport;received=192.0.2.1");
        assert_eq!((v.host, v.port, v.transport), (&b"pc33.atlanta.com"[..], Some(5066), Transport::Udp));
        assert_eq!(v.branch(), Some(&b"z9hG4bK776asdhds"[..]));
        assert_eq!(v.magic_branch(), Some(&b"776asdhds"[..]));
        assert!(v.has_rport() && v.rport().is_none());
        let v = via("SIP  / 2.0
 /UDP
    192.0.2.2 : 5061 ;branch=390skdjuw");
        assert_eq!((v.host, v.port, v.magic_branch()), (&b"192.0.2.2"[..], Some(5061), None));
        let v = via("SIP/2.0/TLS-SCTP [2001:db8::9:1];branch=z9hG4bK (a comment)");
        assert_eq!((v.host, v.transport), (&b"[2001:db8::9:1]"[..], Transport::TlsSctp));
        assert_eq!(v.comment, Some(&b"a comment"[..]));
        assert_eq!((v.branch(), v.magic_branch()), (Some(&b"z9hG4bK"[..]), None));
        assert_eq!(via("SIP/2.0/UNKNOWN t5.example.com").transport, Transport::Other);
    }

    #[test]
    fn a_last_semicolon_is_not_doubled() {
        let v = marked("SIP/2.0/UDP 192.0.2.38 ; ", "192.0.2.1:5099", true);
        assert_eq!(v, "SIP/2.0/UDP 192.0.2.38;received=192.0.2.1;rport=5099");
        assert_eq!(via(&v).rport(), Some(5099));
    }

    #[test]
    fn malformed_ones() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 host",
            "SIP/2.0/UDP192.0.2.1",
            "SIP/2.0/UDP[::1]",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h:70000",
            "SIP/2.0/UDP 2001:db8::9",
            "SIP/2.0/UDP h branch=1",
            "SIP/2.0/UDP h;branch=\"x",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn received_and_rport_are_filled_in() {
        let s = "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkj";
        let want = "SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkj;received=192.0.2.1;rport=9988";
        assert_eq!(marked(s, "192.0.2.1:9988", false), want);
        assert_eq!(marked("SIP/2.0/UDP 192.0.2.1 ;branch=a", "192.0.2.1:9", false), "SIP/2.0/UDP 192.0.2.1;branch=a");
        assert_eq!(
            marked("SIP/2.0/UDP h;branch=a", "[2001:db8::1]:9", false),
            "SIP/2.0/UDP h;branch=a;received=2001:db8::1"
        );
        assert_eq!(
            marked("SIP/2.0/UDP 192.0.2.1 (x)", "192.0.2.1:9", true),
            "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;rport=9 (x)"
        );
        // What the sender claims does not decide where replies go.
        assert_eq!(
            marked("SIP/2.0/UDP 192.0.2.1;received=198.51.100.1;branch=a", "192.0.2.1:9", false),
            "SIP/2.0/UDP 192.0.2.1;branch=a"
        );
    }

    #[test]
    fn reply_targets() {
        assert_eq!(via("SIP/2.0/UDP h").reply_target(), (&b"h"[..], 5060));
        assert_eq!(via("SIP/2.0/TLS h").reply_target(), (&b"h"[..], 5061));
        assert_eq!(via("SIP/2.0/UDP h:70;received=1.2.3.4;rport=90").reply_target(), (&b"1.2.3.4"[..], 90));
        assert_eq!(via("SIP/2.0/UDP h:70;received=1.2.3.4;rport").reply_target(), (&b"1.2.3.4"[..], 70));
        assert_eq!(via("SIP/2.0/UDP h:70;maddr=224.0.1.75;received=1.2.3.4").reply_target(), (&b"224.0.1.75"[..], 70));
    }
}
