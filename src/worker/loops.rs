//! Loop detection (RFC 3261 16.3 item 4, 16.6 step 8; RFC 5393 4.2): a request that has been here
//! before, and of which nothing that decides its route has changed, is answered 482.

use super::state::Worker;
use crate::modules::host::SipHost;
use crate::sip::Message;
use crate::sip::header::HeaderId;
use crate::transaction::branch_id::{Return, came_back};
use std::net::SocketAddr;

impl Worker {
    /// What decides the route, as a number that our branch carries. Who sent the request is part of
    /// it: scripts send what comes from an application server elsewhere than what went to it.
    pub(super) fn routing(&self, msg: &Message, source: SocketAddr) -> u64 {
        self.routing_by(msg, source, &[HeaderId::Route, HeaderId::ProxyRequire, HeaderId::ProxyAuthorization])
    }

    /// The same for what is forwarded without state: only what a request has in common with its CANCEL and with the
    /// ACK to its refusal, which get the same branch (16.11).
    pub(super) fn stateless_routing(&self, msg: &Message, source: SocketAddr) -> u64 {
        self.routing_by(msg, source, &[HeaderId::Route])
    }

    fn routing_by(&self, msg: &Message, source: SocketAddr, headers: &[HeaderId]) -> u64 {
        let source = source.to_string();
        let values = headers.iter().flat_map(|id| msg.headers_of(*id).map(|h| h.value)).chain([source.as_bytes()]);
        self.tm.keys().routing(msg, values)
    }

    /// Whether the request in work has come back to us as it left.
    pub(super) fn loops(&self, host: &SipHost) -> bool {
        let ours = |v: &crate::sip::Via<'_>| self.env().is_myself(v.host, Some(v.port_or_default()));
        let mut routing = None;
        host.msg.vias().flatten().filter(ours).filter_map(|v| v.branch()).any(|branch| {
            let (msg, source) = (&host.msg, host.source);
            let now = *routing.get_or_insert_with(|| (self.routing(msg, source), self.stateless_routing(msg, source)));
            came_back(branch, now) == Some(Return::Loop)
        })
    }
}
