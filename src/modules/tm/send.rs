//! Making, answering and relaying transactions.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{CancelWhich, Outcome, ReplyRequest, Request};
use crate::modules::sl;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};

fn code(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
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

/// `t_check_trans`
pub const T_CHECK_TRANS: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_check_trans"),
    kamailio: Some("t_check_trans"),
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
    ..T_NEWTRAN
};

/// `t_relay`
pub const T_RELAY: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_relay"),
    kamailio: Some("t_relay"),
    params: &[Param::opt("flags", Kind::Str), Param::opt("proxy", Kind::Str)],
    routes: RouteSet::letters("RF"),
    waits: true,
    doc: "Forwards the request to the R-URI (or $du, or the proxy) and to all further branches, statefully. It \
          returns when every branch was handed to a transport or has failed. Flags, comma-separated: no-auto-477, \
          no-dns-failover (try one destination per branch only), pass-reason-hdr, allow-no-cancel (or their bits, as \
          in 2.2).",
    returns: &[
        (1, "sent, or answered 477 itself"),
        (-1, "internal error"),
        (-2, "bad message"),
        (-3, "no destination, or the call was cancelled"),
        (-4, "no destination could be resolved"),
        (-5, "every destination is on the blacklist"),
        (-6, "no destination could be sent to"),
    ],
    example: "if (!t_relay()) sl_reply_error();",
    run: |call| {
        let (first, second) = (call.text(0), call.text(1));
        // 2.2: t_relay("flags"), t_relay("proxy", "flags"); 4.1: t_relay(["flags"], ["proxy"]).
        let is_flags = |t: &Str| t.is_empty() || flag_bits(t).is_some();
        let (flags, proxy) = match (first, second) {
            (Some(a), b) if is_flags(&a) => (Some(a), b),
            (Some(a), b) => (b, Some(a)),
            (None, b) => (None, b),
        };
        let bits = flags.as_ref().map_or(Some(0), flag_bits);
        let Some(bits) = bits else { return Step::Fail("unknown flag of t_relay".to_string()) };
        Step::Wait(Request::Relay {
            no_auto_477: bits & 0x02 != 0,
            no_dns_failover: bits & 0x04 != 0,
            proxy: proxy.filter(|p| !p.is_empty()),
        })
    },
    ..T_NEWTRAN
};

/// Flags of `t_relay` by name or number.
fn flag_bits(text: &Str) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    text.split(',').map(str::trim).filter(|w| !w.is_empty()).try_fold(0, |bits, word| {
        Some(
            bits | match word {
                "no-auto-477" => 0x02,
                "no-dns-failover" => 0x04,
                "pass-reason-hdr" => 0x08,
                "allow-no-cancel" => 0x10,
                _ => return None,
            },
        )
    })
}

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

/// `t_replicate`
pub const T_REPLICATE: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_replicate"),
    kamailio: None,
    params: &[Param::req("uri", Kind::Str), Param::opt("flags", Kind::Str)],
    routes: RouteSet::letters("R"),
    doc: "Sends a copy of the request there; nobody sees its replies.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"t_replicate("sip:10.0.0.2:5060");"#,
    run: |call| match call.text(0) {
        Some(uri) => Step::Wait(Request::Replicate { uri }),
        None => Step::Done(-1),
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
            None | Some(b"") => CancelWhich::This,
            Some(b"a") => CancelWhich::All,
            Some(b"o") => CancelWhich::Others,
            _ => return Step::Fail("\"a\", \"o\" or nothing is expected".to_string()),
        };
        Step::Wait(Request::CancelBranch { which })
    },
    ..T_NEWTRAN
};

/// `t_new_request`
pub const T_NEW_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_new_request"),
    kamailio: None,
    params: &[
        Param::req("method", Kind::Str),
        Param::req("ruri", Kind::Str),
        Param::req("from", Kind::Str),
        Param::req("to", Kind::Str),
        Param::opt("body", Kind::Str),
        Param::opt("context", Kind::Str),
    ],
    routes: RouteSet::ALL,
    doc: "Sends an independent request; the body is `content/type body`.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"t_new_request("MESSAGE", "$fu", "sip:server@$rd", "$fu", "text/plain hello");"#,
    run: |call| {
        let (Some(method), Some(ruri), Some(from), Some(to)) = (call.text(0), call.text(1), call.text(2), call.text(3))
        else {
            return Step::Done(-1);
        };
        Step::Wait(Request::NewRequest { method, ruri, from, to, body: call.text(4) })
    },
    ..T_NEWTRAN
};
