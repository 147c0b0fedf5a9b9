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
        let source = source.to_string();
        let values = [HeaderId::Route, HeaderId::ProxyRequire, HeaderId::ProxyAuthorization]
            .into_iter()
            .flat_map(|id| msg.headers_of(id).map(|h| h.value))
            .chain([source.as_bytes()]);
        self.tm.keys().routing(msg, values)
    }

    /// Whether the request in work has come back to us as it left.
    pub(super) fn loops(&self, host: &SipHost) -> bool {
        let ours = |v: &crate::sip::Via<'_>| self.env().is_myself(v.host, Some(v.port_or_default()));
        let mut routing = None;
        host.msg.vias().skip(1).flatten().filter(ours).filter_map(|v| v.branch()).any(|branch| {
            let now = *routing.get_or_insert_with(|| self.routing(&host.msg, host.source));
            came_back(branch, now) == Some(Return::Loop)
        })
    }
}
