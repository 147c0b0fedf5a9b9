//! What a URI, an address or a Via says about the next hop, before any name is resolved.

use crate::sip::Transport;
use crate::sip::uri::{Scheme, Uri, host_ip};
use crate::sip::via::Via;
use std::net::{IpAddr, SocketAddr};

/// The next hop as it is written (RFC 3263 section 4: TARGET, port and transport).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// A sips URI: only transports that encrypt will do.
    pub secure: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The transport, if one is written.
    pub transport: Option<Transport>,
}

impl Hop {
    /// The next hop that a sip or sips URI names; `maddr` comes before the host.
    pub fn of_uri(uri: &[u8]) -> Option<Hop> {
        let uri = Uri::parse(uri).ok()?;
        if !uri.is_sip() {
            return None;
        }
        Some(Hop {
            secure: uri.scheme == Scheme::Sips,
            host: bare(uri.maddr().unwrap_or(uri.host))?,
            port: uri.port.filter(|p| *p != 0),
            transport: uri.transport(),
        })
    }

    /// The next hop of `[proto:]host[:port]`, or of a URI.
    pub fn of_address(text: &[u8]) -> Option<Hop> {
        let starts = |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
        if starts(b"sip:") || starts(b"sips:") {
            return Hop::of_uri(text);
        }
        let mut rest = text;
        let mut transport = None;
        if let Some(at) = memchr::memchr(b':', text) {
            let (proto, behind) = text.split_at(at);
            match Transport::from_bytes(proto) {
                Transport::Other => {}
                known => (transport, rest) = (Some(known), behind.get(1..)?),
            }
        }
        let (host, port) = if rest.first() == Some(&b'[') {
            let end = memchr::memchr(b']', rest)? + 1;
            let (host, behind) = rest.split_at(end);
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(b":")?) })
        } else {
            match memchr::memchr(b':', rest) {
                // More than one colon: an IPv6 address without brackets.
                Some(at) if memchr::memrchr(b':', rest) == Some(at) => {
                    let (host, port) = rest.split_at(at);
                    (host, Some(port.get(1..)?))
                }
                _ => (rest, None),
            }
        };
        let port = match port {
            Some(digits) => Some(std::str::from_utf8(digits).ok()?.parse::<u16>().ok().filter(|p| *p != 0)?),
            None => None,
        };
        Some(Hop { secure: false, host: bare(host)?, port, transport })
    }

    /// Where a reply with this Via on top goes when no connection leads there (RFC 3261 section 18.2.2,
    /// RFC 3263 section 5): `maddr`, else `received`, else sent-by, over the transport of the Via.
    pub fn of_via(via: &Via<'_>) -> Option<Hop> {
        let received = via.received().filter(|_| via.maddr().is_none());
        let port = match received {
            Some(_) => via.rport().or(via.port).or(Some(via.port_or_default())),
            None => via.port,
        };
        Some(Hop {
            secure: via.transport.is_secure(),
            host: bare(via.maddr().or(received).unwrap_or(via.host))?,
            port: port.filter(|p| *p != 0),
            transport: Some(via.transport),
        })
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host.as_bytes())
    }

    /// Host and port, if the host is an address and nothing has to be looked up.
    pub fn literal(&self) -> Option<SocketAddr> {
        let default = self.transport.map_or(if self.secure { 5061 } else { 5060 }, Transport::default_port);
        self.ip().map(|ip| SocketAddr::new(ip, self.port.unwrap_or(default)))
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then(|| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(secure: bool, host: &str, port: Option<u16>, transport: Option<Transport>) -> Hop {
        Hop { secure, host: host.into(), port, transport }
    }

    #[test]
    fn uris() {
        let of = |u: &str| Hop::of_uri(u.as_bytes());
        assert_eq!(of("sip:bob@[::1]:5070;transport=tcp"), Some(hop(false, "::1", Some(5070), Some(Transport::Tcp))));
        assert_eq!(of("sips:a.example"), Some(hop(true, "a.example", None, None)));
        assert_eq!(of("sip:a.example;maddr=10.0.0.1").and_then(|h| h.literal()), "10.0.0.1:5060".parse().ok());
        assert_eq!(of("sip:a.example;maddr=b.example:1"), Some(hop(false, "b.example:1", None, None)));
        assert_eq!(of("sip:10.0.0.1;transport=tls").and_then(|h| h.literal()), "10.0.0.1:5061".parse().ok());
        assert_eq!(of("sip:a.example").and_then(|h| h.literal()), None);
        assert_eq!(of("tel:+1"), None);
        assert_eq!(of("sip:"), None);
    }

    #[test]
    fn addresses() {
        let of = |u: &str| Hop::of_address(u.as_bytes());
        assert_eq!(of("udp:10.0.0.1"), Some(hop(false, "10.0.0.1", None, Some(Transport::Udp))));
        assert_eq!(of("TLS:b.example:5071"), Some(hop(false, "b.example", Some(5071), Some(Transport::Tls))));
        assert_eq!(of("10.0.0.1:99"), Some(hop(false, "10.0.0.1", Some(99), None)));
        assert_eq!(of("[::1]:99").and_then(|h| h.literal()), "[::1]:99".parse().ok());
        assert_eq!(of("::1").and_then(|h| h.literal()), "[::1]:5060".parse().ok());
        assert_eq!(of("sips:x@y.example:7"), Some(hop(true, "y.example", Some(7), None)));
        for bad in ["", "udp:", "a:b", "a:70000", "a:0", "[::1", "[::1]x", "tel:"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn vias() {
        let of = |v: &str| Hop::of_via(&Via::parse(v.as_bytes()).unwrap());
        assert_eq!(of("SIP/2.0/UDP h.example"), Some(hop(false, "h.example", None, Some(Transport::Udp))));
        assert_eq!(of("SIP/2.0/TLS h.example:7"), Some(hop(true, "h.example", Some(7), Some(Transport::Tls))));
        let literal = |v: &str| of(v).and_then(|h| h.literal());
        assert_eq!(literal("SIP/2.0/UDP h:70;received=1.2.3.4;rport=90"), "1.2.3.4:90".parse().ok());
        assert_eq!(literal("SIP/2.0/UDP h;received=1.2.3.4"), "1.2.3.4:5060".parse().ok());
        assert_eq!(literal("SIP/2.0/UDP h:70;received=2001:db8::1"), "[2001:db8::1]:70".parse().ok());
        assert_eq!(literal("SIP/2.0/UDP h:70;maddr=224.0.1.75;received=1.2.3.4"), "224.0.1.75:70".parse().ok());
    }
}
