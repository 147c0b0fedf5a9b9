//! The request as it is sent: edits, R-URI, Record-Route, Via (RFC 3261 16.6).

use super::state::Worker;
use crate::base::Str;
use crate::modules::env::Listen;
use crate::modules::host::{SipHost, Target};
use crate::modules::rr::record_route_lines;
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;
use crate::sip::{Message, Transport};
use std::net::{IpAddr, SocketAddr};

/// Where a URI points to, before its name is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// Host, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Transport.
    pub transport: Transport,
}

impl Hop {
    /// The next hop that a URI names (RFC 3263 4.1, 4.2, without SRV).
    pub(super) fn of_uri(uri: &[u8]) -> Option<Hop> {
        let uri = Uri::parse(uri).ok()?;
        if !uri.is_sip() {
            return None;
        }
        let host = uri.maddr().unwrap_or(uri.host);
        let host = std::str::from_utf8(host).ok()?;
        Some(Hop {
            host: host.trim_start_matches('[').trim_end_matches(']').to_string(),
            port: uri.port_or_default(),
            transport: uri.transport().unwrap_or(Transport::Udp),
        })
    }

    /// The next hop of `[proto:]host[:port]`.
    pub(super) fn of_address(text: &[u8]) -> Option<Hop> {
        if text.starts_with(b"sip:") || text.starts_with(b"sips:") {
            return Hop::of_uri(text);
        }
        let mut rest = text;
        let mut transport = Transport::Udp;
        if let Some(at) = text.iter().position(|b| *b == b':') {
            match &text[..at] {
                b"udp" | b"UDP" => rest = &text[at + 1..],
                b"tcp" | b"TCP" => {
                    transport = Transport::Tcp;
                    rest = &text[at + 1..];
                }
                _ => {}
            }
        }
        let (host, port) = crate::modules::host::split_host_port(rest);
        let host = std::str::from_utf8(host).ok().filter(|h| !h.is_empty())?;
        Some(Hop { host: host.to_string(), port: port.unwrap_or(5060), transport })
    }

    /// The address, if the host is one.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl Worker {
    /// The listener a request to `addr` leaves from: the forced one, the one it came in on, or the
    /// first that fits.
    pub(super) fn outgoing(&self, host: &SipHost, forced: Option<u16>, addr: SocketAddr) -> Option<u16> {
        let fits = |i: u16| {
            self.env()
                .listeners
                .get(usize::from(i))
                .is_some_and(|l| l.transport == Transport::Udp && l.addr.is_ipv4() == addr.is_ipv4())
        };
        forced
            .or(host.socket_out)
            .filter(|i| fits(*i))
            .or_else(|| Some(host.listener).filter(|i| fits(*i)))
            .or_else(|| (0..self.env().listeners.len() as u16).find(|i| fits(*i)))
    }

    /// The request of one branch, with our Via carrying `branch`.
    pub(super) fn branch_request(
        &self,
        host: &SipHost,
        target: &Target,
        listener: u16,
        branch: &[u8],
    ) -> Option<Message> {
        let env = self.env();
        let sent = env.listeners.get(usize::from(listener))?;
        let received = env.listeners.get(usize::from(host.listener)).unwrap_or(sent);
        let mut edits = host.edits.clone();
        if !host.tm.headers.is_empty() {
            edits.append_header(&host.msg, host.tm.headers.clone());
        }
        if target.uri != *host.msg.request_uri() {
            edits.set_request_uri(&host.msg, target.uri.clone());
        }
        let records = record_route_lines(host, received, sent);
        if !records.is_empty() {
            edits.insert_header_top(&host.msg, HeaderId::RecordRoute, Str::from(records));
        }
        if let Some(path) = &target.path {
            let line = [b"Route: ", &path[..], b"\r\n"].concat();
            edits.insert_header_top(&host.msg, HeaderId::Route, Str::from(line));
        }
        edits.mark_received_with(&host.msg, host.source, host.rport);
        edits.prepend_via(&host.msg, &via_value(host, sent, branch));
        edits.applied(&host.msg).ok()
    }
}

impl Worker {
    /// A request of our own, with our Via instead of the stand-in.
    pub(super) fn own_request(&self, host: &SipHost, target: &Target, listener: u16, branch: &[u8]) -> Option<Message> {
        let sent = self.env().listeners.get(usize::from(listener))?;
        let mut edits = host.edits.clone();
        if target.uri != *host.msg.request_uri() {
            edits.set_request_uri(&host.msg, target.uri.clone());
        }
        edits.prepend_via(&host.msg, &via_value(host, sent, branch));
        edits.applied(&host.msg).ok()
    }
}

/// The value of our Via.
fn via_value(host: &SipHost, sent: &Listen, branch: &[u8]) -> Vec<u8> {
    let mut via = Vec::with_capacity(128);
    via.extend_from_slice(b"SIP/2.0/");
    via.extend_from_slice(sent.transport.as_str().as_bytes());
    via.push(b' ');
    match &host.advertised.0 {
        Some(name) => via.extend_from_slice(name),
        None => via.extend_from_slice(sent.via_host().as_bytes()),
    }
    via.push(b':');
    via.extend_from_slice(host.advertised.1.unwrap_or_else(|| sent.via_port()).to_string().as_bytes());
    via.extend_from_slice(b";branch=");
    via.extend_from_slice(branch);
    via
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops() {
        let h = Hop::of_uri(b"sip:bob@[::1]:5070;transport=tcp").unwrap();
        assert_eq!((h.host.as_str(), h.port, h.transport), ("::1", 5070, Transport::Tcp));
        assert_eq!(Hop::of_uri(b"sip:a.example").unwrap().literal(), None);
        assert_eq!(Hop::of_address(b"udp:10.0.0.1").unwrap().literal(), "10.0.0.1:5060".parse().ok());
        assert_eq!(Hop::of_address(b"10.0.0.1:99").unwrap().port, 99);
        assert_eq!(Hop::of_address(b"[::1]:99").unwrap().literal(), "[::1]:99".parse().ok());
        assert!(Hop::of_uri(b"tel:+1").is_none());
        assert!(Hop::of_address(b"").is_none());
    }
}
