//! `sl`: stateless replies (opensips.md section 4.2).

use super::host::SipHost;
use super::request::{Outcome, ReplyRequest, Request};
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::sip::reply::default_reason;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "sl",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[SL_SEND_REPLY, SL_REPLY_ERROR],
    params: &[ModParamSpec {
        name: "enable_stats",
        kind: ModParamKind::Int,
        ignored: true,
        doc: "statistics are always counted",
    }],
    any_param: false,
    needs: &[],
};

/// Parameters of every reply function.
pub const REPLY_PARAMS: &[Param] = &[Param::req("code", Kind::Int), Param::req("reason", Kind::Str)];

const SL_SEND_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: Some("sl_send_reply"),
    kamailio: Some("sl_send_reply"),
    params: REPLY_PARAMS,
    variadic: false,
    routes: RouteSet::letters("RE"),
    waits: false,
    doc: "Replies without keeping state. For an ACK nothing is sent. While the script has waited, the reply \
          leaves through the transaction that absorbs the retransmissions.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"sl_send_reply(404, "Not Found");"#,
    run: |call| reply(call, Request::Stateless),
    finish: Some(finish),
};

const SL_REPLY_ERROR: FnSpec<SipHost> = FnSpec {
    opensips: Some("sl_reply_error"),
    kamailio: Some("sl_reply_error"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Replies with the code that fits the last internal error (476 for an unresolvable destination, \
          477 for a failed send, else 500).",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: "if (!t_relay()) sl_reply_error();",
    run: |call| {
        let (code, text) = call.host.last_error.clone().unwrap_or((500, Str::from("Server error occurred")));
        let mut reason = text.to_vec();
        reason.extend_from_slice(b" (1/SL)");
        Step::Wait(Request::Stateless(ReplyRequest { code, reason: Str::from(reason), body: None }))
    },
    finish: Some(finish),
};

/// Checks code and reason of a reply function and hands the reply to the worker.
pub fn reply(call: &mut Call<'_, SipHost>, wrap: fn(ReplyRequest) -> Request) -> Step<SipHost> {
    match checked(call.int(0), call.text(1)) {
        Ok(reply) => Step::Wait(wrap(reply)),
        Err(why) => Step::Fail(why),
    }
}

/// A reply of this code and phrase (the usual one if none is given).
///
/// # Errors
/// Why there is no such reply.
pub fn checked(code: Option<i64>, reason: Option<Str>) -> Result<ReplyRequest, String> {
    let code = match code {
        Some(c) if (100..=699).contains(&c) => c as u16,
        other => {
            let shown = other.map_or_else(|| "no number".to_string(), |c| c.to_string());
            return Err(format!("{shown} is no status code (100 to 699)"));
        }
    };
    let reason = match reason {
        Some(r) if r.iter().any(|b| *b == b'\r' || *b == b'\n') => {
            return Err("a reason phrase cannot hold line breaks".to_string());
        }
        Some(r) => r,
        None => Str::from(default_reason(code)),
    };
    Ok(ReplyRequest { code, reason, body: None })
}

/// The return code of a request that the worker answers with one.
pub fn finish(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(outcome.code())
}
