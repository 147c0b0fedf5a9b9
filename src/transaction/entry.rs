//! One transaction: its server machine, its branches, what the worker attached.

use super::alarms::{Accuracy, AlarmKey};
use super::branch_id::BranchNo;
use super::client_invite::{self, ClientInvite};
use super::client_noninvite::ClientNonInvite;
use super::key::{Keys, ServerKey};
use super::output::Ask;
use super::server_invite::{self, ServerInvite};
use super::server_noninvite::ServerNonInvite;
use super::timing::Timing;
use crate::base::{Str, Time};
use crate::sip::{HeaderId, Message, Method};
use std::collections::VecDeque;
use std::time::Duration;

/// One transaction.
pub(super) struct Tx<U, D, P> {
    pub created: Time,
    pub method: Method,
    /// Kept until a final reply was sent.
    pub request: Option<Message>,
    pub server: Option<Server<P>>,
    pub branches: Vec<Branch<D>>,
    /// Made by a wait, not by the script (invisible to it until promoted).
    pub embryonic: bool,
    /// The caller gave up.
    pub cancelled: bool,
    /// The 487 of a cancelled request has been asked for.
    pub asked_487: bool,
    /// A 6xx came: no further branches.
    pub blocked: bool,
    /// The best reply of all branches so far has been chosen.
    pub chosen: bool,
    /// Ends without an answer.
    pub discarded: bool,
    /// Its end is queued.
    pub ending: bool,
    /// Status of the last reply sent upstream; 0: none yet.
    pub last_sent: u16,
    /// First final status sent upstream (own requests: reached).
    pub final_sent: Option<u16>,
    /// While above zero, no final reply is chosen.
    pub holds: u16,
    /// While above zero, the transaction does not end.
    pub kept: u16,
    pub fr: Option<Duration>,
    pub fr_inv: Option<Duration>,
    /// Header line for CANCELs.
    pub cancel_reason: Option<Str>,
    /// Header lines for ACKs and CANCELs, each with its line end.
    pub extra: Option<Str>,
    /// Branches that are out stay when another one wins (RFC 3841 `no-cancel`).
    pub no_cancel: bool,
    /// Further branches may come: no final reply is chosen.
    pub awaiting: Option<Box<Awaiting>>,
    /// This transaction's own upper bound for a branch without a final reply.
    pub lifetime: Option<Duration>,
    /// Its own T1 and T2.
    pub retransmit: (Option<Duration>, Option<Duration>),
    /// Its own `disable_6xx_block`.
    pub no_6xx_block: bool,
    pub user: U,
}

/// Further branches are expected.
pub(super) struct Awaiting {
    /// As long as this at most.
    pub until: Time,
    pub timer: Timer,
    /// How many; `None`: until told otherwise.
    pub left: Option<u16>,
    /// Not for branches: somebody will say how the request goes on.
    pub aside: bool,
}

/// The server side.
pub(super) struct Server<P> {
    pub key: ServerKey,
    pub rfc2543: bool,
    pub machine: ServerMachine,
    pub path: P,
    pub reliable: bool,
    pub timer: Timer,
    /// Hash of the To tag of the last final reply.
    pub to_tag: u64,
    /// Entry in the index for end-to-end ACKs.
    pub leg: Option<u64>,
}

/// A server machine of either kind.
#[derive(Debug)]
pub(super) enum ServerMachine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

/// One branch.
pub(super) struct Branch<D> {
    pub opened: Time,
    pub machine: ClientMachine,
    pub timer: Timer,
    pub dest: Option<D>,
    pub reliable: bool,
    pub minor: bool,
    pub ask: Ask,
    pub outcome: Outcome,
    pub last_status: u16,
    /// A reply has come.
    pub replied: bool,
    pub cancel: Option<Box<CancelTx>>,
    /// Header lines of its request that its CANCEL and ACK have, too.
    pub carried: Option<Box<[u8]>>,
    /// The reply whose onreply route runs or waits.
    pub busy: Option<Busy>,
    /// Replies behind it.
    pub queue: VecDeque<Message>,
    /// 2xx to an INVITE that were dealt with, by To tag, and what went upstream: what answers
    /// their retransmissions.
    pub forwarded: Vec<(u64, Option<Str>)>,
}

/// The CANCEL of a branch (§9.1: a transaction of its own on the same branch parameter).
pub(super) struct CancelTx {
    pub machine: ClientNonInvite,
    pub timer: Timer,
}

/// A reply in processing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy {
    pub status: u16,
    pub to_tag: u64,
    /// Its RSeq; 0: it is not a reliable provisional reply (RFC 3262).
    pub rseq: u32,
}

impl Busy {
    pub(super) fn of(keys: &Keys, reply: &Message) -> Busy {
        let rseq = match reply.status() {
            101..=199 => crate::sip::bytes::parse_u32(reply.value(HeaderId::RSeq)).unwrap_or(0),
            _ => 0,
        };
        Busy { status: reply.status(), to_tag: keys.tag(reply.to_tag().unwrap_or_default()), rseq }
    }

    /// Whether `other` says the same once more: the retransmission of a final reply, or of a
    /// provisional one that is sent until its PRACK comes.
    pub(super) fn repeats(self, other: Busy) -> bool {
        self == other && (self.status >= 200 || self.rseq != 0)
    }
}

/// The armed timer of a machine.
pub(super) type Timer = Option<(Time, AlarmKey)>;

/// A client machine of either kind.
#[derive(Debug)]
pub(super) enum ClientMachine {
    /// Opened, not sent: its branch route or name resolution may wait.
    Preparing {
        until: Time,
    },
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
    Ended,
}

/// What a branch contributes to the choice of the final reply.
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// It has failed, the worker is deciding whether that counts.
    Undecided(Failure),
    /// It has failed.
    Failed(Failure),
    /// It succeeded, was dropped, or was replaced.
    Settled,
}

/// How a branch failed.
#[derive(Clone)]
pub(super) struct Failure {
    pub status: u16,
    /// As received.
    pub reply: Option<Message>,
    /// As it goes upstream.
    pub bytes: Option<Str>,
    pub timeout: bool,
}

impl Failure {
    /// One that no reply stands for.
    pub(super) fn local(status: u16) -> Failure {
        Failure { status, reply: None, bytes: None, timeout: false }
    }
}

impl<U, D, P> Tx<U, D, P> {
    pub(super) fn new(now: Time, method: Method, request: Option<Message>, user: U) -> Self {
        Tx {
            created: now,
            method,
            request,
            server: None,
            branches: Vec::new(),
            embryonic: false,
            cancelled: false,
            asked_487: false,
            blocked: false,
            chosen: false,
            discarded: false,
            ending: false,
            last_sent: 0,
            final_sent: None,
            holds: 0,
            kept: 0,
            fr: None,
            fr_inv: None,
            cancel_reason: None,
            extra: None,
            no_cancel: false,
            awaiting: None,
            lifetime: None,
            retransmit: (None, None),
            no_6xx_block: false,
            user,
        }
    }

    pub(super) fn is_invite(&self) -> bool {
        self.method == Method::Invite
    }

    /// Whether nothing is expected from it any more.
    pub(super) fn is_answered(&self) -> bool {
        self.final_sent.is_some() || self.discarded
    }

    pub(super) fn branch_mut(&mut self, no: BranchNo) -> Option<&mut Branch<D>> {
        self.branches.get_mut(usize::from(no))
    }

    /// Whether a branch is out that the final reply has to wait for.
    pub(super) fn is_waiting(&self) -> bool {
        self.awaiting.is_some() || self.is_out()
    }

    /// Whether a branch is out, whatever else is expected.
    pub(super) fn is_out(&self) -> bool {
        self.branches.iter().any(|b| !b.minor && matches!(b.outcome, Outcome::Pending | Outcome::Undecided(_)))
    }

    /// Branches that failed, with their status.
    pub(super) fn failures(&self) -> impl Iterator<Item = (BranchNo, &Failure)> {
        self.branches.iter().enumerate().filter_map(|(i, b)| match &b.outcome {
            Outcome::Failed(f) => Some((i as BranchNo, f)),
            _ => None,
        })
    }

    /// Whether a machine or a script still needs it.
    pub(super) fn is_alive(&self) -> bool {
        self.kept > 0
            || self.holds > 0
            || self.server.as_ref().is_some_and(|s| !s.machine.is_terminated())
            || self.branches.iter().any(Branch::is_alive)
            || !(self.server.is_some() || self.is_answered())
    }
}

impl ServerMachine {
    pub(super) fn handle(
        self,
        now: Time,
        t: &Timing,
        input: server_invite::Input,
        out: &mut server_invite::Actions,
    ) -> Self {
        match self {
            ServerMachine::Invite(m) => ServerMachine::Invite(m.handle(now, t, input, out)),
            ServerMachine::NonInvite(m) => ServerMachine::NonInvite(m.handle(now, t, input, out)),
        }
    }

    /// No final reply will come: what is repeated is absorbed up to a point in time.
    pub(super) fn silenced(self, now: Time, until: Time) -> Self {
        match self {
            ServerMachine::NonInvite(m) if until > now => ServerMachine::NonInvite(m.silenced(until)),
            _ => Self::terminated(),
        }
    }

    pub(super) fn terminated() -> Self {
        ServerMachine::NonInvite(ServerNonInvite::Terminated)
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(
            self,
            ServerMachine::Invite(ServerInvite::Terminated) | ServerMachine::NonInvite(ServerNonInvite::Terminated)
        )
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            ServerMachine::Invite(m) => m.deadline(),
            ServerMachine::NonInvite(m) => m.deadline(),
        }
    }

    pub(super) fn accuracy(&self) -> Accuracy {
        Accuracy::of(match self {
            ServerMachine::Invite(m) => m.lingers(),
            ServerMachine::NonInvite(m) => m.lingers(),
        })
    }

    pub(super) fn state(&self) -> &'static str {
        match self {
            ServerMachine::Invite(m) => m.state(),
            ServerMachine::NonInvite(m) => m.state(),
        }
    }
}

impl<D> Branch<D> {
    pub(super) fn preparing(now: Time, until: Time) -> Self {
        Branch {
            opened: now,
            machine: ClientMachine::Preparing { until },
            timer: None,
            dest: None,
            reliable: false,
            minor: false,
            ask: Ask::Never,
            outcome: Outcome::Pending,
            last_status: 0,
            replied: false,
            cancel: None,
            carried: None,
            busy: None,
            queue: VecDeque::new(),
            forwarded: Vec::new(),
        }
    }

    /// One that nothing was sent on and that has failed.
    pub(super) fn failed(now: Time, failure: Failure) -> Self {
        let last_status = failure.status;
        Branch {
            machine: ClientMachine::Ended,
            outcome: Outcome::Failed(failure),
            last_status,
            ..Branch::preparing(now, now)
        }
    }

    fn is_alive(&self) -> bool {
        self.busy.is_some()
            || self.cancel.is_some()
            || matches!(self.outcome, Outcome::Undecided(_))
            || !self.machine.is_terminated()
    }
}

impl ClientMachine {
    /// `Preparing` and `Ended` take no input here.
    pub(super) fn handle(
        self,
        now: Time,
        t: &Timing,
        input: client_invite::Input<'_>,
        out: &mut client_invite::Actions,
    ) -> Self {
        match self {
            ClientMachine::Invite(m) => ClientMachine::Invite(m.handle(now, t, input, out)),
            ClientMachine::NonInvite(m) => ClientMachine::NonInvite(m.handle(now, t, input, out)),
            ClientMachine::Preparing { .. } | ClientMachine::Ended => self,
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(
            self,
            ClientMachine::Ended
                | ClientMachine::Invite(ClientInvite::Terminated)
                | ClientMachine::NonInvite(ClientNonInvite::Terminated)
        )
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            ClientMachine::Preparing { until } => Some(*until),
            ClientMachine::Invite(m) => m.deadline(),
            ClientMachine::NonInvite(m) => m.deadline(),
            ClientMachine::Ended => None,
        }
    }

    pub(super) fn accuracy(&self) -> Accuracy {
        Accuracy::of(match self {
            ClientMachine::Preparing { .. } | ClientMachine::Ended => false,
            ClientMachine::Invite(m) => m.lingers(),
            ClientMachine::NonInvite(m) => m.lingers(),
        })
    }

    pub(super) fn state(&self) -> &'static str {
        match self {
            ClientMachine::Preparing { .. } => "preparing",
            ClientMachine::Invite(m) => m.state(),
            ClientMachine::NonInvite(m) => m.state(),
            ClientMachine::Ended => "ended",
        }
    }
}
