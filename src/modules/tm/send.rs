//! Making and answering transactions.

use crate::modules::host::SipHost;
use crate::modules::request::{CancelWhich, Outcome, ReplyRequest, Request};
use crate::modules::sl;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};

pub(super) fn code(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(outcome.code())
}

/// `t_newtran`
pub const T_NEWTRAN: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_newtran"),
    kamailio: Some("t_newtran"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Makes the transaction; an INVITE gets its 100. A retransmission ends the script.",
    returns: &[
        (1, "made"),
        (-1, "error"),
        (-10, "there is one already"),
        (0, "retransmission, or an ACK that was absorbed"),
    ],
    example: "if (!t_newtran()) sl_reply_error();",
    run: |_call| Step::Wait(Request::NewTransaction),
    finish: Some(code),
};

/// What `$T(id_index_n)` needs: the transaction is made if there is none.
pub static MAKE_TRANSACTION: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: None,
    doc: "",
    example: "",
    run: |call| match call.host.tm.key {
        Some(_) if !call.host.tm.embryonic => Step::Done(1),
        _ if call.host.phony || !call.host.msg.is_request() => Step::Done(-1),
        _ => Step::Wait(Request::NewTransaction),
    },
    finish: Some(|_call, outcome| Step::Done(if outcome.code() == 0 { 0 } else { 1 })),
    ..T_NEWTRAN
};

/// `t_check_trans`
pub const T_CHECK_TRANS: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_check_trans"),
    kamailio: None,
    params: &[],
    routes: RouteSet::letters("RB"),
    doc: "Whether the request belongs to a transaction. A retransmission ends the script.",
    returns: &[
        (1, "CANCEL of a known INVITE, ACK of a negative reply, or the transaction this script made"),
        (-1, "new"),
        (-2, "end-to-end ACK"),
        (0, "retransmission"),
    ],
    example: r#"if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }"#,
    run: |_call| Step::Wait(Request::CheckTransaction),
    finish: Some(|_call, outcome| {
        Step::Done(match outcome.code() {
            // An ACK that belongs to no INVITE here is an end-to-end one all the same.
            -3 => -2,
            n => n,
        })
    }),
    ..T_NEWTRAN
};

/// `t_reply`
pub const T_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_reply"),
    kamailio: Some("t_reply"),
    params: sl::REPLY_PARAMS,
    routes: RouteSet::letters("RF"),
    doc: "Replies through the transaction, which is made if need be.",
    returns: &[(1, "sent"), (-1, "not possible: a final reply went out already")],
    example: r#"t_reply(480, "Temporarily Unavailable");"#,
    run: |call| sl::reply(call, Request::Stateful),
    ..T_NEWTRAN
};

/// `t_send_reply`
pub const T_SEND_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_send_reply"),
    routes: RouteSet::letters("RFO"),
    example: r#"t_send_reply(480, "Temporarily Unavailable");"#,
    ..T_REPLY
};

/// `t_reply_with_body`
pub const T_REPLY_WITH_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_reply_with_body"),
    kamailio: None,
    params: &[Param::req("code", Kind::Int), Param::req("reason", Kind::Str), Param::req("body", Kind::Str)],
    routes: RouteSet::letters("RF"),
    doc: "Replies with a body; add its Content-Type with append_to_reply.",
    returns: &[(1, "sent"), (-1, "not possible")],
    example: r#"t_reply_with_body(200, "OK", "$var(body)");"#,
    run: |call| {
        let body = call.text(2);
        match sl::reply(call, Request::Stateful) {
            Step::Wait(Request::Stateful(r)) => Step::Wait(Request::Stateful(ReplyRequest { body, ..r })),
            other => other,
        }
    },
    ..T_NEWTRAN
};

/// `t_cancel_branch`
pub const T_CANCEL_BRANCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_cancel_branch"),
    kamailio: None,
    params: &[Param::opt("flags", Kind::Str)],
    routes: RouteSet::letters("O"),
    doc: "Cancels branches: the one whose reply is in work, `a` all, `o` the others.",
    returns: &[(1, "done"), (-1, "error")],
    example: r#"t_cancel_branch("o");"#,
    run: |call| {
        let which = match call.text(0).as_deref() {
            None | Some(b"" | b"this") => CancelWhich::This,
            Some(b"a" | b"all") => CancelWhich::All,
            Some(b"o" | b"others") => CancelWhich::Others,
            _ => return Step::Fail("\"a\" (all), \"o\" (others) or nothing is expected".to_string()),
        };
        Step::Wait(Request::CancelBranch { which })
    },
    ..T_NEWTRAN
};
