//! What a proxy must not relay (RFC 3261 16.3): what loops, and what no route leads to.

use super::state::Worker;
use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::modules::request::ReplyRequest;
use crate::sip::uri::Uri;
use crate::transaction::TxKey;
use crate::transaction::branch_id::{Return, came_back};

impl Worker {
    /// Why a request is not relayed to these targets: status and reason of the reply it should get.
    ///
    /// Loops are looked for where requests would multiply (RFC 5393 4.2: a proxy that forks must); Max-Forwards
    /// ends the others.
    pub(super) fn unroutable<'a>(
        &self,
        host: &SipHost,
        targets: impl ExactSizeIterator<Item = &'a Target>,
        proxy: Option<&Str>,
    ) -> Option<(u16, &'static str)> {
        if targets.len() > 1 && self.loops(host) {
            return Some((482, "Loop Detected"));
        }
        let strange = |t: &Target| t.du.is_none() && Uri::parse(&t.uri).is_ok_and(|u| !u.is_sip());
        if proxy.is_none() && targets.into_iter().all(strange) {
            return Some((416, "Unsupported URI Scheme"));
        }
        None
    }

    /// Whether a Via of ours shows that the request has been here with nothing changed that decides its route.
    fn loops(&self, host: &SipHost) -> bool {
        let routing = self.routing(&host.msg);
        host.msg.vias().filter_map(Result::ok).any(|via| {
            self.env().is_myself(via.host, Some(via.port_or_default()))
                && via.branch().and_then(|b| came_back(b, routing)) == Some(Return::Loop)
        })
    }

    /// Answers a request that is not relayed, or leaves that to the script (`sl_reply_error`). The code of
    /// `t_relay`.
    pub(super) fn not_relayed(
        &mut self,
        host: &mut SipHost,
        tx: TxKey,
        (status, reason): (u16, &str),
        answer: bool,
    ) -> i32 {
        let reply = ReplyRequest { code: status, reason: Str::from(reason), body: None };
        if answer && self.reply_through(host, tx, &reply) {
            return 1;
        }
        host.last_error = Some((status, Str::from(reason)));
        if status == 416 { -4 } else { -1 }
    }
}
