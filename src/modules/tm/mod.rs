//! `tm`: transactions (opensips.md section 4.3). Whatever touches a transaction is a
//! [`Request`](super::request::Request) to its owner.

pub(super) mod arm;
pub(super) mod ask;
pub(super) mod branches;
mod contacts;
mod copies;
pub mod external;
mod forced;
pub mod ids;
mod relay;
pub(super) mod send;
pub mod settings;
mod tune;
pub mod vars;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn ignored(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: true, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "tm",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        send::T_NEWTRAN,
        send::T_CHECK_TRANS,
        tune::T_CHECK_TRANS_ACK,
        relay::T_RELAY,
        relay::T_RELAY_HOST,
        relay::T_RELAY_TO,
        relay::T_RELAY_TO_UDP,
        relay::T_RELAY_TO_TCP,
        relay::T_RELAY_TO_TLS,
        forced::T_RELAY_TO_SCTP,
        forced::T_RELAY_TO_AVP,
        forced::T_FORWARD_NONACK,
        forced::T_FORWARD_NONACK_URI,
        forced::T_FORWARD_NONACK_UDP,
        forced::T_FORWARD_NONACK_TCP,
        forced::T_FORWARD_NONACK_TLS,
        forced::T_FORWARD_NONACK_SCTP,
        forced::T_FORWARD_NONACK_TO,
        send::T_REPLY,
        send::T_SEND_REPLY,
        send::T_REPLY_WITH_BODY,
        copies::T_REPLICATE,
        copies::T_REPLICATE_HOST,
        copies::T_REPLICATE_UDP,
        copies::T_REPLICATE_TCP,
        copies::T_REPLICATE_TLS,
        copies::T_REPLICATE_SCTP,
        copies::T_REPLICATE_TO,
        external::T_WRITE_REQ,
        external::T_WRITE_UNIX,
        send::T_CANCEL_BRANCH,
        relay::T_NEW_REQUEST,
        relay::T_UAC_SEND,
        branches::T_WAIT_FOR_NEW_BRANCHES,
        branches::T_WAIT_NO_MORE_BRANCHES,
        branches::T_INJECT_BRANCHES,
        branches::T_ADD_HDRS,
        branches::T_ADD_CANCEL_REASON,
        branches::T_REPLY_BY_CALLID,
        branches::T_GET_BRANCH_IDX_BY_ATTR,
        arm::T_ON_FAILURE,
        arm::T_ON_REPLY,
        arm::T_ON_BRANCH,
        arm::T_ON_BRANCH_FAILURE,
        ask::T_WAS_CANCELLED,
        ask::T_CHECK_STATUS,
        ask::T_LOCAL_REPLIED,
        ask::T_FLUSH_FLAGS,
        ask::T_GREP_STATUS,
        ask::T_GET_STATUS_CODE,
        ask::T_BRANCH_TIMEOUT,
        ask::T_BRANCH_REPLIED,
        ask::T_ANY_TIMEOUT,
        ask::T_ANY_REPLIED,
        ask::T_IS_SET,
        ask::T_IS_EXPIRED,
        contacts::T_LOAD_CONTACTS,
        contacts::T_NEXT_CONTACTS,
        contacts::T_NEXT_CONTACT_FLOW,
        tune::T_SET_FR,
        tune::T_RESET_FR,
        tune::T_SET_RETR,
        tune::T_RESET_RETR,
        tune::T_SET_MAX_LIFETIME,
        tune::T_RESET_MAX_LIFETIME,
        tune::T_SET_AUTO_INV_100,
        tune::T_SET_DISABLE_6XX,
        tune::T_SET_DISABLE_FAILOVER,
        tune::T_SET_DISABLE_INTERNAL_REPLY,
        tune::T_DISABLE_E2E_CANCEL_REASON,
        tune::T_SET_NO_E2E_CANCEL_REASON,
        tune::T_USE_UAC_HEADERS,
        tune::T_CLEAN,
        tune::T_DROP_REPLIES,
        tune::T_SAVE_LUMPS,
        tune::T_RELEASE,
        tune::T_RETRANSMIT_REPLY,
        tune::T_LOOKUP_REQUEST,
        tune::T_LOOKUP_CANCEL,
        tune::T_RELAY_CANCEL,
    ],
    params: &[
        int("fr_timeout", "seconds without any reply (non-INVITE: without a final one) per branch; default 30"),
        int("fr_timer", "2.2's older name of fr_timeout"),
        int("fr_inv_timeout", "seconds an INVITE may ring after a provisional reply; default 120"),
        int("fr_inv_timer", "2.2's older name of fr_inv_timeout"),
        int("restart_fr_on_each_reply", "each provisional reply restarts fr_inv_timeout; default 1"),
        int(
            "wt_timer",
            "seconds a completed transaction lingers; its last reply answers repetitions for 64*T1 in any case; default 5",
        ),
        int("T1_timer", "first retransmission, milliseconds; default 500"),
        int("T2_timer", "longest retransmission interval, milliseconds; default 4000"),
        int("auto_100trying", "send 100 when an INVITE transaction is made; default 1"),
        int("onreply_avp_mode", "1: reply routes see the transaction's AVPs; default 0"),
        int("aggregate_challenges", "1: a 401 or 407 goes upstream with the challenges of all branches; default 1"),
        int("ruri_matching", "1: the R-URI takes part in matching requests of RFC 2543 clients; default 1"),
        int("via1_matching", "1: the top Via takes part in matching requests of RFC 2543 clients; default 1"),
        ModParamSpec {
            name: "minor_branch_flag",
            kind: ModParamKind::Any,
            ignored: false,
            doc: "branch flag: the final reply does not wait for this branch",
        },
        text("local_request_route", "named route for requests of the server's own, instead of local_route"),
        text("local_reply_route", "onreply_route (or named route) for replies to requests of the server's own"),
        int("disable_6xx_block", "1: a 6xx does not stop serial forking; default 0"),
        ignored("delete_timer", ModParamKind::Int, "memory is freed when nobody can ask for it"),
        ignored("pass_provisional_replies", ModParamKind::Int, "no callbacks to run"),
        ignored("syn_branch", ModParamKind::Int, "branches are always computed the same way"),
        ignored("enable_stats", ModParamKind::Int, "statistics are always counted"),
        ignored("timer_partitions", ModParamKind::Int, "one timer wheel per worker"),
        ignored("unix_tx_timeout", ModParamKind::Int, "t_write_* is not offered"),
        ignored("tw_append", ModParamKind::Str, "t_write_* is not offered"),
    ],
    any_param: false,
    needs: &[],
};
