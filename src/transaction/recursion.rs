//! Redirections that the proxy follows itself (RFC 3261 16.7 step 4).

use super::branch_id::BranchNo;
use super::entry::{Failure, Outcome};
use super::output::TxKey;
use super::table::Transactions;
use crate::base::Str;
use crate::sip::edits::Edits;
use crate::sip::list::split_list;
use crate::sip::nameaddr::NameAddr;
use crate::sip::{HeaderId, Message};

impl<U, D: Clone, P: Clone> Transactions<U, D, P> {
    /// Contacts of 3xx replies, by their branch and URI, are tried here: they do not go upstream, so that nobody tries
    /// them again. A reply without any others counts for nothing.
    pub fn contacts_followed(&mut self, tx: TxKey, followed: &[(BranchNo, Str)]) {
        let Some(tx) = self.slab.get_mut(tx) else { return };
        for (no, b) in tx.branches.iter_mut().enumerate() {
            let is = |uri: &[u8]| followed.iter().any(|(n, u)| usize::from(*n) == no && u[..] == *uri);
            let Outcome::Failed(failure) = &mut b.outcome else { continue };
            if !(300..400).contains(&failure.status) || !followed.iter().any(|(n, _)| usize::from(*n) == no) {
                continue;
            }
            if without(failure, is).is_none() {
                b.outcome = Outcome::Settled;
            }
        }
    }
}

/// Takes these contacts out of a reply; `None` if no others are left.
fn without(failure: &mut Failure, is: impl Fn(&[u8]) -> bool) -> Option<()> {
    let reply = failure.reply.as_ref()?;
    reply.contacts().find(|c| !is(c.uri))?;
    failure.bytes = failure.bytes.take().and_then(|bytes| {
        let message = Message::parse(bytes).ok()?;
        let mut edits = Edits::new();
        for header in message.headers_of(HeaderId::Contact) {
            let values = split_list(header.value).enumerate();
            let taken = values.filter(|(_, v)| NameAddr::parse(v).is_ok_and(|c| is(c.uri))).map(|(at, _)| at);
            for at in taken.collect::<Vec<_>>() {
                edits.remove_value(&message, &header, at);
            }
        }
        Some(edits.applied(&message).ok()?.bytes_str().clone())
    });
    failure.bytes.is_some().then_some(())
}
