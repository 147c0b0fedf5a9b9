//! What goes into and comes out of [`super::Transactions`], as data.

use super::branch_id::BranchNo;
use crate::base::{Key, Str};
use crate::sip::Message;
use std::fmt;

/// Names one transaction of one worker.
pub type TxKey = Key;

/// What the loop has to do. Drained with [`super::Transactions::poll_output`] until empty after
/// every call.
#[derive(Debug)]
pub enum Output<U, D, P> {
    /// Send a request downstream.
    Send {
        /// The transaction.
        tx: TxKey,
        /// Its branch.
        branch: BranchNo,
        /// Which request.
        kind: SendKind,
        /// The message.
        bytes: Str,
        /// Where to.
        dest: D,
    },
    /// Send a reply upstream.
    Reply {
        /// The transaction.
        tx: TxKey,
        /// The message.
        bytes: Str,
        /// Where to.
        path: P,
    },
    /// Build this reply to the request and give it to [`super::Transactions::reply`] at once:
    /// a 100 that is due, or the 487 of a cancelled request that nobody downstream will answer.
    Local {
        /// The transaction.
        tx: TxKey,
        /// Which reply.
        status: u16,
    },
    /// A reply that had waited behind another one is now in processing: as
    /// [`ReplyMatch::Deliver`].
    Deliver {
        /// The transaction.
        tx: TxKey,
        /// Its branch.
        branch: BranchNo,
        /// The reply.
        reply: Message,
    },
    /// A branch that asked for it ([`BranchSpec::ask`]) has failed: replace it or not, then call
    /// [`super::Transactions::branch_verdict`].
    BranchFailed {
        /// The transaction.
        tx: TxKey,
        /// Its branch.
        branch: BranchNo,
        /// Status of its failure.
        status: u16,
        /// Whether a timer, not a reply, gave the status.
        timeout: bool,
    },
    /// A branch ended before its request was sent (timer or CANCEL): drop the run that prepares it.
    BranchEnded {
        /// The transaction.
        tx: TxKey,
        /// Its branch.
        branch: BranchNo,
    },
    /// Every branch has failed and the best reply is chosen. The final reply is held: run the
    /// failure route if there is one, then call [`super::Transactions::release_final`].
    FinalChosen {
        /// The transaction.
        tx: TxKey,
        /// Where the chosen reply came from.
        branch: BranchNo,
        /// Its status.
        status: u16,
        /// Whether a timer, not a reply, gave the status.
        timeout: bool,
    },
    /// A final reply went upstream (more than once only for several 2xx to an INVITE), or, for a
    /// transaction of the server's own, was reached.
    FinalSent {
        /// The transaction.
        tx: TxKey,
        /// Where it came from; `None`: made here.
        branch: Option<BranchNo>,
        /// Its status.
        status: u16,
    },
    /// A request that was [put aside](super::Transactions::put_aside) was not taken up in time: answer it, or call
    /// [`super::Transactions::fail_by_timer`].
    Lapsed {
        /// The transaction.
        tx: TxKey,
    },
    /// Timer H: the caller never acknowledged a negative reply (§17.2.1).
    Unacknowledged {
        /// The transaction.
        tx: TxKey,
    },
    /// The transaction is gone; its key names nothing any more.
    Ended {
        /// The transaction.
        tx: TxKey,
        /// What the worker had attached: a run that still waits in it must be cancelled.
        user: U,
    },
}

/// Which request an [`Output::Send`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendKind {
    /// The branch's request, first time.
    Request,
    /// The same again.
    Retransmission,
    /// The ACK to a negative reply.
    Ack,
    /// The CANCEL, first time or again.
    Cancel,
}

/// What a received request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matched {
    /// Belongs to no transaction.
    New,
    /// A retransmission: answered or absorbed already.
    Retransmission(TxKey),
    /// A retransmission of a request whose transaction has ended: answered or absorbed already.
    Echo(TxKey),
    /// An ACK for a negative reply: absorbed.
    AckNon2xx(TxKey),
    /// An end-to-end ACK: to be routed. The INVITE's transaction, if it is still here.
    Ack2xx(Option<TxKey>),
    /// A CANCEL that came for the first time.
    Cancel {
        /// The INVITE's transaction, if there is one.
        invite: Option<TxKey>,
    },
}

/// What a received reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMatch {
    /// Belongs to no transaction of this worker.
    NotOurs,
    /// A retransmission, too late, or the reply to a CANCEL: dealt with.
    Absorbed(TxKey, BranchNo),
    /// Waits behind a reply of the same branch; comes as [`Output::Deliver`].
    Queued(TxKey, BranchNo),
    /// Run the onreply route, then call [`super::Transactions::reply_processed`].
    Deliver(TxKey, BranchNo),
}

/// What became of a delivered reply.
#[derive(Debug, Clone)]
pub enum Disposition {
    /// Goes upstream.
    Forward {
        /// The reply as received.
        reply: Message,
        /// As it shall go upstream: own Via removed, edits applied.
        bytes: Str,
        /// Its status, if the script changed it, else that of `reply`.
        status: u16,
    },
    /// The script dropped it. A negative final reply still counts with its status, but the
    /// message is not relayed; a 2xx counts as a 500.
    Drop,
}

/// A reply to be sent upstream.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// Its status.
    pub status: u16,
    /// The message.
    pub bytes: Str,
    /// Its To tag.
    pub to_tag: &'a [u8],
}

impl<'a> From<&'a Message> for Outgoing<'a> {
    fn from(m: &'a Message) -> Self {
        Outgoing { status: m.status(), bytes: m.bytes_str().clone(), to_tag: m.to_tag().unwrap_or_default() }
    }
}

/// A branch as it is sent.
#[derive(Debug, Clone)]
pub struct BranchSpec<D> {
    /// The request, with our own Via (branch: [`super::Transactions::branch_text`]).
    pub request: Message,
    /// Where it goes.
    pub dest: D,
    /// Whether the transport is reliable.
    pub reliable: bool,
    /// Whether its failure is a question.
    pub ask: Ask,
    /// Whether the final reply need not wait for this branch.
    pub minor: bool,
}

/// Which failures of a branch are reported before they count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ask {
    /// None.
    #[default]
    Never,
    /// 408 (no reply at all), 503 and failures to send: there is another address to try
    /// (RFC 3263 §4.3).
    Transport,
    /// Every status from 300 on.
    Always,
}

/// The worker's answer to [`Output::BranchFailed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The failure counts.
    Record,
    /// Another branch was opened in its place.
    Replaced,
}

/// Which branches to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelScope {
    /// The caller gave up: all branches, and no new ones.
    Request,
    /// All branches, without taking back the request itself.
    All,
    /// One branch.
    Branch(BranchNo),
    /// All but one.
    Others(BranchNo),
}

/// The reply to send when all branches have failed.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Branch whose reply was chosen.
    pub branch: BranchNo,
    /// Its status.
    pub status: u16,
    /// Status to send upstream: 503 becomes 500 (§16.7 step 6), and 408 to a non-INVITE
    /// nothing (RFC 4320 §4.2; then call [`super::Transactions::discard`]).
    pub upstream: Option<u16>,
    /// The reply as received; `None`: nobody sent one.
    pub reply: Option<Message>,
    /// What [`Disposition::Forward`] gave to go upstream, if `upstream` is its status; `None`:
    /// build a reply with that status.
    pub bytes: Option<Str>,
    /// Whether a timer gave the status.
    pub timeout: bool,
}

/// What [`super::Transactions::release_final`] found.
#[derive(Debug, Clone)]
pub enum Released {
    /// Somebody else still holds it.
    Held,
    /// Branches are still out; or a new choice was made and a new [`Output::FinalChosen`] waits.
    Waiting,
    /// Send this upstream.
    Decide(Decision),
    /// There is no branch with a result: whoever releases has to answer.
    Nothing,
    /// A final reply was sent already, or the transaction is gone.
    Done,
}

/// Why no transaction was created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// As many as allowed exist.
    Full,
    /// The request has one already.
    Exists(TxKey),
    /// An ACK, a reply, or a request without what matching needs.
    Unusable,
}

/// Why a reply was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyError {
    /// No such transaction (any more).
    Gone,
    /// It has no server side.
    Local,
    /// A final reply was sent already.
    FinalSent,
    /// RFC 4320 §4.1: no provisional reply but 100 to a non-INVITE.
    Provisional,
}

/// Why something could not be done with a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BranchError {
    /// No such transaction or branch (any more).
    Gone,
    /// The request was cancelled.
    Cancelled,
    /// A final reply was sent already.
    FinalSent,
    /// A 6xx forbids further branches (§16.7 step 5).
    Blocked,
    /// As many as allowed exist.
    TooMany,
    /// The branch is in another state than this needs.
    State,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CreateError::Full => "too many transactions",
            CreateError::Exists(_) => "the request has a transaction already",
            CreateError::Unusable => "the message cannot start a transaction",
        })
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyError::Gone => "the transaction is gone",
            ReplyError::Local => "a request of our own has nobody to reply to",
            ReplyError::FinalSent => "a final reply was sent already",
            ReplyError::Provisional => "only 100 may precede the final reply to this method",
        })
    }
}

impl fmt::Display for BranchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BranchError::Gone => "no such transaction or branch",
            BranchError::Cancelled => "the request was cancelled",
            BranchError::FinalSent => "a final reply was sent already",
            BranchError::Blocked => "a 6xx reply forbids further branches",
            BranchError::TooMany => "too many branches",
            BranchError::State => "the branch is not in the right state",
        })
    }
}

impl std::error::Error for CreateError {}
impl std::error::Error for ReplyError {}
impl std::error::Error for BranchError {}
