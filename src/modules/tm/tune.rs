//! What is set for one transaction only, and the small functions around its replies.

use super::send::{T_NEWTRAN, code};
use crate::modules::host::{SipHost, Switches};
use crate::modules::request::{RelayFlags, Request};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::Method;

/// Longest time that may be set, in milliseconds: a day.
const LONGEST: i64 = 86_400_000;

/// Milliseconds of an argument: `None` if it is left out; zero unsets.
fn millis(call: &Call<'_, SipHost>, i: usize) -> Result<Option<Option<u32>>, String> {
    match call.int(i) {
        None if call.given(i) => Err("milliseconds are a number".to_string()),
        None => Ok(None),
        Some(0) => Ok(Some(None)),
        Some(n) if (1..=LONGEST).contains(&n) => Ok(Some(u32::try_from(n).ok())),
        Some(n) => Err(format!("{n} is no time in milliseconds (0 to {LONGEST})")),
    }
}

/// `t_set_fr`
pub const T_SET_FR: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_set_fr"),
    params: &[Param::req("fr_inv_timeout", Kind::IntOrStr), Param::opt("fr_timeout", Kind::IntOrStr)],
    routes: RouteSet::letters("RFOB"),
    doc: "Sets fr_inv_timeout and fr_timeout of this transaction in milliseconds, for timers that start from now on. 0: \
          as configured.",
    returns: &[(1, "set"), (-1, "not a time")],
    example: r#"t_set_fr("60000", "5000");"#,
    run: |call| match (millis(call, 0), millis(call, 1)) {
        (Ok(fr_inv), Ok(fr)) => {
            if let Some(fr_inv) = fr_inv {
                call.host.tm.fr_inv_timeout = fr_inv;
            }
            if let Some(fr) = fr {
                call.host.tm.fr_timeout = fr;
            }
            Step::Wait(Request::Settings)
        }
        (Err(why), _) | (_, Err(why)) => Step::Fail(why),
    },
    finish: Some(code),
    ..T_NEWTRAN
};

/// `t_reset_fr`
pub const T_RESET_FR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_reset_fr"),
    params: &[],
    doc: "fr_inv_timeout and fr_timeout are as configured again.",
    returns: &[(1, "done")],
    example: "t_reset_fr();",
    run: |call| {
        (call.host.tm.fr_inv_timeout, call.host.tm.fr_timeout) = (None, None);
        Step::Wait(Request::Settings)
    },
    ..T_SET_FR
};

/// `t_set_retr`
pub const T_SET_RETR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_retr"),
    params: &[Param::req("t1", Kind::IntOrStr), Param::req("t2", Kind::IntOrStr)],
    doc: "Sets T1 and T2 of this transaction in milliseconds: first and longest interval of retransmissions. 0: as \
          configured.",
    example: r#"t_set_retr("200", "2000");"#,
    run: |call| match (millis(call, 0), millis(call, 1)) {
        (Ok(t1), Ok(t2)) => {
            call.host.tm.retransmission = (t1.flatten(), t2.flatten());
            Step::Wait(Request::Settings)
        }
        (Err(why), _) | (_, Err(why)) => Step::Fail(why),
    },
    ..T_SET_FR
};

/// `t_reset_retr`
pub const T_RESET_RETR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_reset_retr"),
    params: &[],
    doc: "T1 and T2 are as configured again.",
    returns: &[(1, "done")],
    example: "t_reset_retr();",
    run: |call| {
        call.host.tm.retransmission = (None, None);
        Step::Wait(Request::Settings)
    },
    ..T_SET_FR
};

/// `t_set_max_lifetime`
pub const T_SET_MAX_LIFETIME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_max_lifetime"),
    params: &[Param::req("inv", Kind::IntOrStr), Param::req("noninv", Kind::IntOrStr)],
    doc: "How long this transaction may last without a final reply, in milliseconds, for an INVITE and for other \
          methods. 0: as configured.",
    example: r#"t_set_max_lifetime("180000", "10000");"#,
    run: |call| {
        let which = if call.host.msg.method() == Method::Invite { 0 } else { 1 };
        match (millis(call, 0), millis(call, 1)) {
            (Ok(inv), Ok(other)) => {
                call.host.tm.lifetime = if which == 0 { inv.flatten() } else { other.flatten() };
                Step::Wait(Request::Settings)
            }
            (Err(why), _) | (_, Err(why)) => Step::Fail(why),
        }
    },
    ..T_SET_FR
};

/// `t_reset_max_lifetime`
pub const T_RESET_MAX_LIFETIME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_reset_max_lifetime"),
    params: &[],
    doc: "The longest life of this transaction is as configured again.",
    returns: &[(1, "done")],
    example: "t_reset_max_lifetime();",
    run: |call| {
        call.host.tm.lifetime = None;
        Step::Wait(Request::Settings)
    },
    ..T_SET_FR
};

const SWITCH: &[Param] = &[Param::req("on", Kind::IntOrStr)];

fn switch(call: &mut Call<'_, SipHost>, set: fn(&mut Switches, bool)) -> Step<SipHost> {
    match call.int(0) {
        Some(n @ (0 | 1)) => {
            set(&mut call.host.tm.switches, n == 1);
            Step::Wait(Request::Settings)
        }
        _ => Step::Fail("0 or 1 is expected".to_string()),
    }
}

/// `t_set_auto_inv_100`
pub const T_SET_AUTO_INV_100: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_auto_inv_100"),
    params: SWITCH,
    routes: RouteSet::letters("R"),
    doc: "1: this INVITE gets a 100 when its transaction is made; 0: it gets none then.",
    returns: &[(1, "set"), (-1, "neither 0 nor 1")],
    example: r#"t_set_auto_inv_100("0");"#,
    run: |call| switch(call, |s, on| s.auto_100 = Some(on)),
    ..T_SET_FR
};

/// `t_set_disable_6xx`
pub const T_SET_DISABLE_6XX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_disable_6xx"),
    routes: RouteSet::letters("RFOB"),
    doc: "1: a 6xx reply counts like any other negative one in this transaction; 0: it ends all branches.",
    example: r#"t_set_disable_6xx("1");"#,
    run: |call| switch(call, |s, on| s.block_6xx = Some(!on)),
    ..T_SET_AUTO_INV_100
};

/// `t_set_disable_failover`
pub const T_SET_DISABLE_FAILOVER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_disable_failover"),
    routes: RouteSet::letters("RFOB"),
    doc: "1: no further address of a next hop is tried in this transaction.",
    example: r#"t_set_disable_failover("1");"#,
    run: |call| switch(call, |s, on| s.failover = Some(!on)),
    ..T_SET_AUTO_INV_100
};

/// `t_set_disable_internal_reply`
pub const T_SET_DISABLE_INTERNAL_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_disable_internal_reply"),
    routes: RouteSet::letters("RFOB"),
    doc: "1: t_relay sends no error reply by itself when nothing could be sent.",
    example: r#"t_set_disable_internal_reply("1");"#,
    run: |call| switch(call, |s, on| s.internal_reply = Some(!on)),
    ..T_SET_AUTO_INV_100
};

/// `t_disable_e2e_cancel_reason`
pub const T_DISABLE_E2E_CANCEL_REASON: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_disable_e2e_cancel_reason"),
    params: &[Param::opt("on", Kind::IntOrStr)],
    routes: RouteSet::letters("RFOB"),
    doc: "1: the Reason of the caller's CANCEL does not go into the CANCELs to the branches.",
    example: r#"t_disable_e2e_cancel_reason("1");"#,
    run: |call| {
        if !call.given(0) {
            call.host.tm.switches.cancel_reason = Some(false);
            return Step::Wait(Request::Settings);
        }
        switch(call, |s, on| s.cancel_reason = Some(!on))
    },
    ..T_SET_AUTO_INV_100
};

/// `t_set_no_e2e_cancel_reason`
pub const T_SET_NO_E2E_CANCEL_REASON: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_set_no_e2e_cancel_reason"),
    params: SWITCH,
    doc: "The same as t_disable_e2e_cancel_reason: 1: the Reason of the caller's CANCEL does not go into the CANCELs to the \
          branches; 0: it does. For the INVITE, not for its CANCEL.",
    example: r#"t_set_no_e2e_cancel_reason("1");"#,
    run: |call| switch(call, |s, on| s.cancel_reason = Some(!on)),
    ..T_SET_AUTO_INV_100
};

/// `t_use_uac_headers`
pub const T_USE_UAC_HEADERS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_use_uac_headers"),
    params: &[],
    routes: RouteSet::ALL,
    doc: "CANCELs and ACKs to a branch are made from the request as it was sent anyway: nothing to do.",
    returns: &[(1, "done")],
    example: "t_use_uac_headers();",
    run: |_call| Step::Done(1),
    ..T_SET_FR
};

/// `t_clean`
pub const T_CLEAN: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_clean"),
    doc: "A transaction that has ended is removed when its time is over, always: nothing to do.",
    example: "t_clean();",
    ..T_USE_UAC_HEADERS
};

/// `t_drop_replies`
pub const T_DROP_REPLIES: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_drop_replies"),
    params: &[Param::opt("mode", Kind::Str)],
    routes: RouteSet::letters("F"),
    doc: "Forgets the replies that have come so far, so that one of the branches to be added is chosen: `a` all (also \
          without an argument), `l` the last one, `n` none.",
    returns: &[(1, "done"), (-1, "error")],
    example: "t_drop_replies();",
    run: |call| match call.text(0).as_deref().and_then(|t| t.first()) {
        None | Some(b'a') => Step::Wait(Request::DropReplies { last: false }),
        Some(b'l') => Step::Wait(Request::DropReplies { last: true }),
        Some(b'n') => Step::Done(1),
        _ => Step::Fail("\"a\", \"l\" or \"n\" is expected".to_string()),
    },
    ..T_SET_FR
};

/// `t_save_lumps`
pub const T_SAVE_LUMPS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_save_lumps"),
    params: &[],
    routes: RouteSet::letters("R"),
    doc: "Changes of the message are those of all its branches anyway: nothing to do.",
    returns: &[(1, "done")],
    example: "t_save_lumps();",
    run: |_call| Step::Done(1),
    ..T_SET_FR
};

/// `t_release`
pub const T_RELEASE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_release"),
    params: &[],
    routes: RouteSet::letters("R"),
    doc: "The script ends without relaying: a transaction that it has made and not answered ends without a word.",
    returns: &[(1, "done"), (-1, "there is no transaction")],
    example: "t_release();",
    run: |_call| Step::Wait(Request::Release),
    ..T_SET_FR
};

/// `t_retransmit_reply`
pub const T_RETRANSMIT_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_retransmit_reply"),
    doc: "Sends the last reply of the transaction again.",
    returns: &[(1, "sent"), (-1, "there is none")],
    example: "t_retransmit_reply();",
    run: |_call| Step::Wait(Request::RepeatReply),
    ..T_RELEASE
};

/// `t_lookup_request`
pub const T_LOOKUP_REQUEST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_lookup_request"),
    doc: "Whether the request has a transaction already. Its retransmissions never come to the script.",
    returns: &[(1, "it has"), (-1, "it has none")],
    example: "if (!t_lookup_request()) t_newtran();",
    run: |_call| Step::Wait(Request::CheckTransaction),
    finish: Some(|_call, outcome| Step::Done(if outcome.code() == 1 { 1 } else { -1 })),
    ..T_RELEASE
};

/// `t_lookup_cancel`
pub const T_LOOKUP_CANCEL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_lookup_cancel"),
    params: &[Param::opt("hash", Kind::IntOrStr)],
    doc: "Whether the INVITE that this CANCEL is for has a transaction here.",
    example: r#"if (is_method("CANCEL") && !t_lookup_cancel()) sl_send_reply(481, "No such call");"#,
    run: |call| match call.host.msg.method() {
        Method::Cancel => Step::Wait(Request::CheckTransaction),
        _ => Step::Done(-1),
    },
    ..T_LOOKUP_REQUEST
};

/// `t_check_trans` of the other dialect: an end-to-end ACK of ours is found.
pub const T_CHECK_TRANS_ACK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_check_trans"),
    routes: RouteSet::letters("ROB"),
    doc: "Whether the request belongs to a transaction. A retransmission ends the script.",
    returns: &[
        (
            1,
            "CANCEL of a known INVITE, end-to-end ACK of one, the transaction this script made; always in reply and branch routes",
        ),
        (-1, "it does not"),
        (0, "retransmission"),
    ],
    example: r#"if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }"#,
    run: |call| match call.vm().route_kind() {
        crate::script::ast::RouteKind::Request => Step::Wait(Request::CheckTransaction),
        _ => Step::Done(1),
    },
    finish: Some(|_call, outcome| {
        Step::Done(match outcome.code() {
            -2 => 1,
            -3 => -1,
            n => n,
        })
    }),
    ..T_RELEASE
};

/// `t_relay_cancel`
pub const T_RELAY_CANCEL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_cancel"),
    waits: true,
    doc: "Answers a CANCEL and cancels the branches of its INVITE; then the script ends.",
    returns: &[(1, "there is no such INVITE"), (-1, "error, or no CANCEL"), (0, "done")],
    example: r#"if (is_method("CANCEL")) t_relay_cancel();"#,
    run: |call| match call.host.msg.method() {
        Method::Cancel => Step::Wait(Request::CheckTransaction),
        _ => Step::Done(-1),
    },
    finish: Some(|call, outcome| {
        if call.state.step == 0 {
            if outcome.code() != 1 {
                return Step::Done(1);
            }
            call.state.step = 1;
            return Step::Wait(Request::Relay { flags: RelayFlags::default(), proxy: None });
        }
        Step::Done(if outcome.code() == 1 { 0 } else { -1 })
    }),
    ..T_RELEASE
};
