//! The request as it is sent: edits, R-URI, Record-Route, Via (RFC 3261 16.6).

use super::state::Worker;
use crate::base::Str;
use crate::modules::env::Listen;
use crate::modules::host::{SipHost, Target};
use crate::modules::kamailio::via as extras;
use crate::modules::rr::record_route_lines;
use crate::net::resolver::locate::Destination;
use crate::script::avp::Avps;
use crate::sip::bytes::push_number;
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;
use crate::sip::{Message, Transport};
use std::net::SocketAddr;

impl Worker {
    /// The listener a request leaves from: the forced one, the one it came in on, or the first that fits.
    pub(super) fn outgoing(&self, host: &SipHost, forced: Option<u16>, to: &Destination) -> Option<u16> {
        let fits = |i: u16| {
            self.env()
                .listeners
                .get(usize::from(i))
                .is_some_and(|l| l.transport == to.transport && l.addr.is_ipv4() == to.addr.is_ipv4())
        };
        forced
            .or(host.socket_out)
            .filter(|i| fits(*i))
            .or_else(|| self.by_routing(to).filter(|i| fits(*i)))
            .or_else(|| Some(host.listener).filter(|i| fits(*i)))
            .or_else(|| (0..self.env().listeners.len() as u16).find(|i| fits(*i)))
    }

    /// `mhomed`: the listener with the address that the system's routing would use to get there.
    fn by_routing(&self, to: &Destination) -> Option<u16> {
        if !self.env().settings.mhomed {
            return None;
        }
        let source = crate::net::listen::source_for(to.addr)?;
        let fits = |l: &Listen| l.transport == to.transport && l.addr.ip() == source;
        self.env().listeners.iter().position(fits).and_then(|i| u16::try_from(i).ok())
    }

    /// Whether a message cannot leave from this listener in one datagram.
    pub(super) fn too_large(&self, listener: u16, to: SocketAddr, bytes: &[u8]) -> bool {
        let udp = self.env().listeners.get(usize::from(listener)).is_some_and(|l| l.transport == Transport::Udp);
        // 65,535 less the headers of IP and UDP; the length of IPv6 does not count its own.
        udp && bytes.len() > if to.is_ipv4() { 65_507 } else { 65_527 }
    }

    /// The request of one branch, with our Via carrying `branch`.
    pub(super) fn branch_request(
        &self,
        host: &SipHost,
        target: &Target,
        listener: u16,
        branch: &[u8],
        avps: Option<&Avps>,
    ) -> Option<Message> {
        let env = self.env();
        let sent = env.listeners.get(usize::from(listener))?;
        let received = env.listeners.get(usize::from(host.listener)).unwrap_or(sent);
        let mut edits = host.edits.clone();
        if !host.tm.headers.is_empty() {
            edits.append_header(&host.msg, host.tm.headers.clone());
        }
        if target.uri != *host.msg.request_uri() {
            let allowed = Uri::parse(&target.uri).ok().and_then(|uri| uri.for_request_line());
            edits.set_request_uri(&host.msg, allowed.map_or_else(|| target.uri.clone(), Str::from));
        }
        let records = record_route_lines(host, received, sent);
        if !records.is_empty() {
            edits.insert_header_top(&host.msg, HeaderId::RecordRoute, Str::from(records));
        }
        if let Some(path) = &target.path {
            let line = [b"Route: ", &path[..], b"\r\n"].concat();
            edits.insert_header_top(&host.msg, HeaderId::Route, Str::from(line));
        }
        // Over a connection the port names it: a reply that finds no transaction gets back that way.
        edits.mark_received_with(&host.msg, host.source, host.rport || host.conn.is_some());
        edits.prepend_via(&host.msg, &via_value(host, sent, branch, avps));
        if sent.transport.is_reliable() {
            edits.frame(&host.msg);
        }
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
        edits.prepend_via(&host.msg, &via_value(host, sent, branch, None));
        edits.applied(&host.msg).ok()
    }
}

/// The value of our Via.
fn via_value(host: &SipHost, sent: &Listen, branch: &[u8], avps: Option<&Avps>) -> Vec<u8> {
    let mut via = Vec::with_capacity(128);
    via.extend_from_slice(b"SIP/2.0/");
    via.extend_from_slice(sent.transport.as_str().as_bytes());
    via.push(b' ');
    let wanted = extras::of(host, avps);
    match wanted.host.as_ref().or(host.advertised.0.as_ref()) {
        Some(name) => via.extend_from_slice(name),
        None => sent.push_via_host(&mut via),
    }
    via.push(b':');
    let port = wanted.port.or(host.advertised.1);
    push_number(&mut via, u64::from(port.unwrap_or_else(|| sent.via_port())));
    via.extend_from_slice(b";branch=");
    via.extend_from_slice(branch);
    via.extend_from_slice(&wanted.params);
    via
}
