//! What scripts do with transactions under way: further branches, and orders that name a
//! transaction by its Call-ID.

use super::perform::{Act, code};
use super::relay::{RelayOrder, What};
use super::state::{Role, RoleKind, Worker};
use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::modules::request::{RelayFlags, ReplyRequest};
use crate::sip::{Message, Method};
use crate::transaction::{CancelScope, TxKey, TxView};

impl Worker {
    /// `t_inject_branches`
    pub(super) fn inject(&mut self, role: &Role, targets: Vec<Target>, cancel: bool, last: bool) -> Act {
        let Some(tx) = role.tx else { return code(-1) };
        let Some(view) = self.tm.view(tx) else { return code(-1) };
        if view.cancelled || view.final_sent.is_some() || view.server.is_none() || view.user.host.is_none() {
            return code(-1);
        }
        self.tm.hold_final(tx);
        if cancel {
            self.tm.cancel(self.now, tx, CancelScope::All);
        }
        let flags = RelayFlags::default();
        Act::Relay(RelayOrder { tx, targets: targets.into(), proxy: None, flags, what: What::Inject { last } })
    }

    /// `t_wait_for_new_branches`
    pub(super) fn await_branches(&mut self, host: &mut SipHost, role: &mut Role, count: Option<u16>) -> Act {
        if host.phony || !host.msg.is_request() || host.msg.method() != Method::Invite {
            return code(-1);
        }
        let Ok(tx) = self.full_transaction(host, role) else { return code(-1) };
        self.apply_settings(tx, host);
        if self.tm.await_branches(self.now, tx, count).is_err() {
            return code(-1);
        }
        if let Some(data) = self.tm.user_mut(tx) {
            data.host = Some(Box::new(host.base()));
        }
        code(1)
    }

    /// `t_wait_no_more_branches`
    pub(super) fn no_more_branches(&mut self, role: &Role) -> Act {
        let Some(tx) = role.tx else { return code(-1) };
        // The request route answers, or relays, itself.
        let settle = !matches!(role.kind, RoleKind::Request(_));
        let expected = self.tm.no_more_branches(self.now, tx, settle);
        self.flush_transactions();
        code(if expected { 1 } else { -1 })
    }

    /// The request of a transaction: as received, or (a request of our own) as sent.
    pub(super) fn request_of<'a>(view: &TxView<'a, super::state::TxData>) -> Option<&'a Message> {
        let sent = view.user.branches.first().and_then(|b| b.sent.as_ref());
        let base = view.user.host.as_ref().map(|h| &h.msg);
        view.request.or(base).or(sent)
    }

    /// The transaction of a Call-ID (and CSeq number) that `fits`. Looks at all of this worker's.
    pub(super) fn transaction_of(
        &self,
        call_id: &[u8],
        cseq: Option<u32>,
        fits: impl Fn(&TxView<'_, super::state::TxData>) -> bool,
    ) -> Option<TxKey> {
        self.tm
            .iter()
            .filter(|v| !v.embryonic && v.final_sent.is_none() && fits(v))
            .find(|v| {
                Self::request_of(v).is_some_and(|m| m.call_id() == call_id && cseq.is_none_or(|n| m.cseq().number == n))
            })
            .map(|v| v.key)
    }

    /// `t_reply_by_callid`
    pub(super) fn reply_by_call_id(&mut self, reply: &ReplyRequest, call_id: &Str, cseq: Option<u32>) -> i32 {
        let Some(tx) = self.transaction_of(call_id, cseq, |v| v.server.is_some()) else { return -1 };
        let done = self.answer_with(tx, reply, b"", None);
        self.flush_transactions();
        if done { 1 } else { -1 }
    }

    /// `t_cancel_callid`
    pub(super) fn cancel_by_call_id(&mut self, call_id: &Str, cseq: Option<u32>) -> i32 {
        let Some(tx) = self.transaction_of(call_id, cseq, |v| v.method == Method::Invite) else { return -1 };
        let scope = match self.tm.view(tx) {
            Some(v) if v.server.is_none() => CancelScope::All,
            _ => CancelScope::Request,
        };
        let done = self.tm.cancel(self.now, tx, scope);
        self.flush_transactions();
        if done { 1 } else { -1 }
    }

    /// `t_drop_replies`: what has come so far does not count when the next choice is made.
    pub(super) fn drop_replies(&mut self, role: &Role, last: bool) -> i32 {
        let Some(tx) = role.tx else { return -1 };
        let Some(view) = self.tm.view(tx) else { return -1 };
        let from = if last { view.branches.saturating_sub(1) } else { 0 };
        self.tm.forget_replies(tx, from);
        1
    }
}
