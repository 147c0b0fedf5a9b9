//! Requests that no route leads anywhere (RFC 3261 16.3 item 2).

use super::state::Worker;
use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::modules::request::ReplyRequest;
use crate::sip::uri::Uri;
use crate::transaction::TxKey;

/// Whether the scheme of every target is one that leads nowhere from here.
pub(super) fn unroutable<'a>(mut targets: impl Iterator<Item = &'a Target>, proxy: Option<&Str>) -> bool {
    proxy.is_none() && targets.all(|t| t.du.is_none() && Uri::parse(&t.uri).is_ok_and(|u| !u.is_sip()))
}

impl Worker {
    /// Answers it 416, or leaves that to the script (`sl_reply_error`). The code of `t_relay`.
    pub(super) fn not_routed(&mut self, host: &mut SipHost, tx: TxKey, answer: bool) -> i32 {
        let (code, reason) = (416, Str::from("Unsupported URI Scheme"));
        if answer && self.reply_through(host, tx, &ReplyRequest { code, reason: reason.clone(), body: None }) {
            return 1;
        }
        host.last_error = Some((code, reason));
        -4
    }
}
