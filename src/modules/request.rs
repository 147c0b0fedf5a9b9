//! What a script function asks the worker to do, and what came of it.

use crate::base::{Str, Time};
use crate::ops;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

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
    /// `t_check_trans`
    CheckTransaction,
    /// `t_relay`
    Relay {
        /// Do not answer 477 ourselves when every branch fails at once.
        no_auto_477: bool,
        /// Try one destination per branch only, whatever DNS names besides.
        no_dns_failover: bool,
        /// Destination instead of the R-URI: `[proto:]host[:port]`.
        proxy: Option<Str>,
    },
    /// `forward`: stateless.
    Forward {
        /// `[proto:]host[:port]`; `None` = R-URI or `$du`.
        dest: Option<Str>,
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
    /// `t_cancel_branch`
    CancelBranch {
        /// Which ones.
        which: CancelWhich,
    },
    /// `t_replicate`: one more copy whose replies nobody sees.
    Replicate {
        /// Destination URI.
        uri: Str,
    },
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
    },
    /// `get_static_lock`, `get_dynamic_lock`: waits while another run holds it.
    Lock {
        /// Its key.
        key: Str,
    },
    /// Releases a lock this run holds.
    Unlock {
        /// Its key.
        key: Str,
    },
    /// `raise_event`
    RaiseEvent {
        /// Event name.
        name: Str,
        /// Attributes and values.
        params: Vec<(Str, Str)>,
    },
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
