//! What a script function asks the worker to do, and what came of it.

use super::host::Target;
use crate::base::{Str, Time};
use crate::ops;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Plain data; travels to the owner of the transaction if the run is elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// An operation: the run is parked until it ends, at most until its deadline.
    Op {
        /// What.
        op: ops::Request,
        /// Seconds; `None` = `async_timeout`.
        limit: Option<f64>,
    },
    /// A stateless reply (`sl_send_reply`); goes through the embryonic transaction if there is one.
    Stateless(ReplyRequest),
    /// A reply through the transaction, which is made if need be (`t_reply`).
    Stateful(ReplyRequest),
    /// `send_reply`: stateful if there is a transaction, else stateless.
    AnyReply(ReplyRequest),
    /// `t_newtran`
    NewTransaction,
    /// `t_suspend`: the transaction stays open behind the run's end.
    Suspend,
    /// `t_continue`: a suspended transaction goes on.
    Continue {
        /// `$T(id_index)`
        index: i64,
        /// `$T(id_label)`
        label: i64,
        /// The route.
        route: u32,
    },
    /// `t_is_retr_async_reply`: whether the reply repeats one that is suspended.
    RepeatsWaiting,
    /// `async_task_route`: the run goes on in a process of a task group, with [`Outcome::Code`] 1; else it stays
    /// and hears -1.
    Travel {
        /// The group's number.
        group: u16,
    },
    /// A function of `async` with `return=1`: the transaction is suspended, the run goes on with [`Outcome::Code`]
    /// [`BESIDE`], and a copy of it, which waits at the same call, with what the run has left: after some time, or in
    /// a task group. [`NOT_BESIDE`]: nothing was suspended.
    Beside {
        /// The time.
        after: Duration,
        /// The number of a group.
        group: Option<u16>,
    },
    /// `async_task_data`, `async_tkv_emit`: a route runs in a process of a task group, without this run's message.
    Task {
        /// The group's number.
        group: u16,
        /// The route.
        route: u32,
        /// What it may know: names and values.
        event: Vec<(Str, Str)>,
    },
    /// `t_check_trans`
    CheckTransaction,
    /// `t_relay`
    Relay {
        /// How.
        flags: RelayFlags,
        /// Destination instead of the R-URI: `[proto:]host[:port]`.
        proxy: Option<Str>,
    },
    /// `forward`: stateless.
    Forward {
        /// `[proto:]host[:port]`; `None` = R-URI or `$du`.
        dest: Option<Str>,
    },
    /// `sl_forward_reply`: the reply in work goes to the next Via without state.
    ForwardReply {
        /// Another status and phrase.
        status: Option<(u16, Str)>,
    },
    /// `send`: a raw stateless copy.
    SendCopy {
        /// `[proto:]host[:port]`
        dest: Str,
        /// Further header lines.
        headers: Option<Str>,
    },
    /// `force_tcp_alias`: requests to this port of the peer use the connection the message came over; `None` = the port
    /// in its Via.
    ConnAlias {
        /// The port.
        port: Option<u16>,
    },
    /// `tcp_close_conn`
    ConnClose {
        /// The peer's address.
        peer: SocketAddr,
    },
    /// The connection the message came over lives that long, also if nothing goes over it.
    ConnKeep {
        /// For so many seconds.
        seconds: u32,
    },
    /// A function of tcpops: something is wanted of a connection.
    Connection {
        /// Its number (`$conid`).
        number: i64,
        /// What.
        wish: ConnWish,
    },
    /// `tcp_get_conid`: answered with [`Outcome::Number`].
    FindConnection {
        /// The peer's address.
        peer: SocketAddr,
    },
    /// `send_data`, `sendx`: bytes that are no message of this run.
    SendData {
        /// Where to: a SIP URI.
        uri: Str,
        /// Number of the listener they leave from.
        socket: Option<u16>,
        /// The bytes.
        data: Str,
    },
    /// `forward_reply`: the reply goes to its next Via, as if no transaction waited for it.
    PassReply,
    /// `t_cancel_branch`
    CancelBranch {
        /// Which ones.
        which: CancelWhich,
    },
    /// `t_replicate`: one more copy whose replies nobody sees.
    Replicate {
        /// Destination URI.
        uri: Str,
        /// How.
        flags: RelayFlags,
    },
    /// `t_inject_branches`: further branches for a transaction that is under way.
    Inject {
        /// The branches.
        targets: Vec<Target>,
        /// Cancel those that are out.
        cancel: bool,
        /// No others will come.
        last: bool,
    },
    /// `t_wait_for_new_branches`: that many (`None`: any number) are expected.
    AwaitBranches {
        /// How many.
        count: Option<u16>,
    },
    /// `t_wait_no_more_branches`
    NoMoreBranches,
    /// `t_reply_by_callid`: to a request that is not the one in work.
    ReplyByCallId {
        /// The reply.
        reply: ReplyRequest,
        /// Its Call-ID.
        call_id: Str,
        /// Its CSeq number; `None`: any.
        cseq: Option<u32>,
    },
    /// `t_cancel_callid`: cancels a request that is not the one in work.
    CancelByCallId {
        /// Its Call-ID.
        call_id: Str,
        /// Its CSeq number; `None`: any.
        cseq: Option<u32>,
    },
    /// `t_drop_replies`: replies that do not count any more.
    DropReplies {
        /// Only the last one.
        last: bool,
    },
    /// `t_retransmit_reply`: sends the last reply again.
    RepeatReply,
    /// `t_write_req`, `t_write_unix`: a program outside gets these bytes and will answer; until then the transaction is
    /// suspended.
    HandOut {
        /// Where it reads.
        place: Place,
        /// What.
        bytes: Str,
    },
    /// `t_release`: the script ends without an answer, and that is meant.
    Release,
    /// `t_drop`: the transaction ends without any answer.
    Drop,
    /// What the host's [`TmView`](super::host::TmView) says was changed.
    Settings,
    /// `t_new_request`
    NewRequest {
        /// Method.
        method: Str,
        /// R-URI.
        ruri: Str,
        /// From URI or name-addr.
        from: Str,
        /// To URI or name-addr.
        to: Str,
        /// `content/type body`
        body: Option<Str>,
        /// `$avp(uac_ctx)` of local_route and of its replies' route.
        context: Option<Str>,
        /// Further header lines, each with its line end.
        headers: Str,
        /// Next hop instead of the R-URI.
        next_hop: Option<Str>,
        /// Name of the listening socket it leaves from.
        socket: Option<Str>,
    },
    /// `get_static_lock`, `get_dynamic_lock`: waits while another run holds it.
    Lock {
        /// Its key.
        key: Str,
    },
    /// `trylock`: takes a lock that nobody else holds.
    TryLock {
        /// Its key.
        key: Str,
    },
    /// Releases a lock this run holds.
    Unlock {
        /// Its key.
        key: Str,
    },
    /// `mq_add`: something was added to a queue.
    Queued {
        /// The queue.
        queue: Str,
    },
    /// `uac_req_send`
    UacSend {
        /// What the script has put together.
        draft: Box<super::uac::request::Draft>,
    },
    /// `algo_route` of dispatcher: a route runs once for each of these lists of parameters, to its end.
    Score {
        /// The route.
        route: u32,
        /// Names and values.
        params: Vec<Vec<(Str, Str)>>,
    },
    /// `jsonrpc_exec`: main is asked as over the control socket.
    Control {
        /// The request as JSON text.
        text: Str,
    },
    /// `raise_event`
    RaiseEvent {
        /// Event name.
        name: Str,
        /// Attributes and values.
        params: Vec<(Str, Str)>,
    },
}

/// Where a program outside reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A FIFO.
    Fifo(Str),
    /// A Unix socket that takes datagrams.
    Socket(Str),
}

/// What a run hears whose copy goes on later.
pub const BESIDE: i32 = 3;
/// What a run hears whose copy does not.
pub const NOT_BESIDE: i32 = -3;

/// What a script wants of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConnWish {
    /// How it stands: 1 it stands, 3 it is being made, -1 there is none, -2 it is about to end.
    State,
    /// It is to be closed.
    Close,
    /// It may be idle for so many seconds.
    Lifetime(u32),
    /// An event route runs when it ends.
    Event,
    /// The system keeps it alive; seconds and a number of probes.
    KeepAlive {
        /// After so many without traffic.
        idle: u32,
        /// Given up after so many without an answer.
        count: u32,
        /// Between two.
        interval: u32,
    },
    /// The system does not.
    NoKeepAlive,
}

/// A reply to the request in work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRequest {
    /// Status code, 100 to 699.
    pub code: u16,
    /// Reason phrase.
    pub reason: Str,
    /// Body and its `Content-Type`, if any.
    pub body: Option<Str>,
}

/// How `t_relay` works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayFlags {
    /// Do not answer 477 ourselves when every branch fails at once.
    pub no_auto_477: bool,
    /// Do not try further addresses of a next hop that does not answer.
    pub no_dns_failover: bool,
    /// The Reason of the caller's CANCEL goes into those to the branches.
    pub pass_reason: bool,
    /// The caller may ask for losing branches not to be cancelled (RFC 3841).
    pub allow_no_cancel: bool,
    /// No 100 for this INVITE.
    pub no_100: bool,
}

/// Which branches `t_cancel_branch` means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CancelWhich {
    /// The one whose reply is in work.
    This,
    /// All.
    All,
    /// All but the one whose reply is in work.
    Others,
}

/// What came of a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Of an operation.
    Op(ops::Outcome),
    /// A return code of the peers' (0 ends the script).
    Code(i32),
    /// The values of the routes of [`Request::Score`].
    Scores(Vec<i32>),
    /// What main says to a [`Request::Control`]: a response as JSON text.
    Told(Str),
    /// What was asked for.
    Number(i64),
    /// The engine refused or cut off the wait itself.
    Refused {
        /// Why.
        reason: Str,
        /// In which phase.
        phase: Str,
        /// When.
        at: Time,
    },
}

impl Outcome {
    /// The return code of a request that is answered with one; -1 for anything else.
    pub fn code(&self) -> i32 {
        match self {
            Outcome::Code(c) => *c,
            _ => -1,
        }
    }

    /// The return code of a function whose operation failed: -1, or [`ops::Why::OPEN_CODE`] if the backend was
    /// not even asked.
    pub fn failure_code(&self) -> i32 {
        match self {
            Outcome::Op(ops::Outcome::Failed(f)) if f.why == ops::Why::Open => ops::Why::OPEN_CODE,
            _ => -1,
        }
    }
}
