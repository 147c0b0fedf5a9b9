//! `tmx`: what the other dialect keeps apart from `tm`.

use super::host::SipHost;
use super::request::Request;
use super::tm::{arm, ask, branches, send};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Arg, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "tmx",
    dialects: &[Dialect::Kamailio],
    functions: &[
        T_CANCEL_BRANCHES,
        branches::T_CANCEL_CALLID,
        branches::T_REPLY_CALLID,
        T_FLUSH_FLAGS,
        T_FLUSH_XFLAGS,
        T_IS_REQUEST_ROUTE,
        T_IS_BRANCH_ROUTE,
        T_IS_FAILURE_ROUTE,
        T_IS_REPLY_ROUTE,
        T_DROP,
        T_PRECHECK_TRANS,
        T_IS_RETR_ASYNC_REPLY,
        arm::T_REUSE_BRANCH,
        T_SUSPEND,
        T_CONTINUE,
    ],
    params: &[ModParamSpec {
        name: "precheck_trans",
        kind: ModParamKind::Int,
        ignored: true,
        doc: "a retransmission never reaches the script while its request is in work",
    }],
    any_param: false,
    needs: &["tm"],
};

const T_CANCEL_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_cancel_branches"),
    params: &[Param::req("which", Kind::Str)],
    doc: "Cancels branches: `this` (the one whose reply is in work), `others`, `all`.",
    example: r#"t_cancel_branches("others");"#,
    ..send::T_CANCEL_BRANCH
};

const T_FLUSH_FLAGS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_flush_flags"),
    routes: RouteSet::ALL,
    returns: &[(1, "done"), (-1, "there is no transaction")],
    run: |call| match call.host.tm.key {
        Some(_) if !call.host.tm.embryonic => Step::Done(1),
        _ => Step::Done(-1),
    },
    ..ask::T_FLUSH_FLAGS
};

const T_FLUSH_XFLAGS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_flush_xflags"),
    doc: "The extended flags of a run are those of its transaction: nothing to do.",
    example: "t_flush_xflags();",
    ..T_FLUSH_FLAGS
};

const T_IS_REQUEST_ROUTE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_is_request_route"),
    params: &[],
    routes: RouteSet::ALL,
    doc: "Whether the script began in the request route.",
    returns: &[(1, "it did"), (-1, "it did not")],
    example: "if (t_is_request_route()) t_release();",
    run: |call| is(call.vm().route_kind(), RouteKind::Request),
    ..ask::T_WAS_CANCELLED
};

const T_IS_BRANCH_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_is_branch_route"),
    doc: "Whether the script began in a branch_route.",
    example: "if (t_is_branch_route()) exit;",
    run: |call| is(call.vm().route_kind(), RouteKind::Branch),
    ..T_IS_REQUEST_ROUTE
};

const T_IS_FAILURE_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_is_failure_route"),
    doc: "Whether the script began in a failure_route.",
    example: "if (t_is_failure_route()) exit;",
    run: |call| is(call.vm().route_kind(), RouteKind::Failure),
    ..T_IS_REQUEST_ROUTE
};

const T_IS_REPLY_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_is_reply_route"),
    doc: "Whether the script began in an onreply_route.",
    example: "if (t_is_reply_route()) exit;",
    run: |call| is(call.vm().route_kind(), RouteKind::OnReply),
    ..T_IS_REQUEST_ROUTE
};

fn is(kind: RouteKind, wanted: RouteKind) -> Step<SipHost> {
    Step::Done(if kind == wanted { 1 } else { -1 })
}

const T_PRECHECK_TRANS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_precheck_trans"),
    routes: RouteSet::letters("R"),
    doc: "Whether the same request is in work already. Never: retransmissions end before the script.",
    returns: &[(-1, "always")],
    example: "if (t_precheck_trans()) exit;",
    run: |_call| Step::Done(-1),
    ..T_IS_REQUEST_ROUTE
};

const T_SUSPEND: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_suspend"),
    params: &[],
    routes: RouteSet::ALL,
    doc: "Puts aside what the script is about, behind the end of this script and until t_continue: a request, whose \
          transaction is made if need be; in branch_route the branch, before it is sent; in onreply_route the reply. The script \
          goes on. `$T(id_index)` and `$T(id_label)` name the transaction. After fr_timer a request's failure_route runs \
          (without one: 408), a branch has failed, a reply goes on as it is.",
    returns: &[(1, "done, or the request was cancelled"), (-1, "nothing to put aside, or it is answered")],
    example: "if (!t_suspend()) sl_reply_error();",
    run: |_call| Step::Wait(Request::Suspend),
    ..send::T_NEWTRAN
};

const T_IS_RETR_ASYNC_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_is_retr_async_reply"),
    params: &[],
    routes: RouteSet::letters("O"),
    doc: "In reply_route: whether the reply is the retransmission of one that is suspended or whose route waits. It goes no \
          further in any case: an onreply_route of a transaction never sees one.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: "if (t_is_retr_async_reply()) drop;",
    run: |_call| Step::Wait(Request::RepeatsWaiting),
    ..send::T_NEWTRAN
};

const T_CONTINUE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_continue"),
    params: &[
        Param::req("index", Kind::Int),
        Param::req("label", Kind::Int),
        Param::req("route", Kind::Route(RouteKind::Request)),
    ],
    routes: RouteSet::ALL,
    doc: "Goes on with what t_suspend has put aside, whichever worker has it: a route runs there, as a block of the kind that \
          was suspended, with the message, its changes and AVPs as the script that suspended it left them, once that has \
          ended. Of several replies of one transaction the oldest goes on. The script waits for the other worker's word.",
    returns: &[
        (1, "it goes on, or it was cancelled meanwhile or nobody continued it in time"),
        (
            -1,
            "there is no such transaction, nothing is suspended there, its worker has died, or there is no such route",
        ),
    ],
    example: r#"t_continue("$var(index)", "$var(label)", "later");"#,
    run: |call| {
        let route = match call.args.get(2) {
            Some(Arg::Route(n)) => Some(*n),
            _ => {
                let name = call.text(2).unwrap_or_default();
                call.vm().find_route(RouteKind::Request, &name)
            }
        };
        match (call.int(0), call.int(1), route) {
            (Some(index), Some(label), Some(route)) => Step::Wait(Request::Continue { index, label, route }),
            (_, _, None) => Step::Fail("there is no such route".into()),
            _ => Step::Done(-1),
        }
    },
    ..send::T_NEWTRAN
};

const T_DROP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_drop"),
    params: &[Param::opt("code", Kind::IntOrStr)],
    routes: RouteSet::ALL,
    doc: "Ends the script, and the transaction without any reply.",
    returns: &[(-1, "there is no transaction"), (0, "done")],
    example: "t_drop();",
    run: |_call| Step::Wait(Request::Drop),
    finish: Some(|_call, outcome| Step::Done(if outcome.code() == 1 { 0 } else { -1 })),
    ..send::T_NEWTRAN
};
