//! Replies by the names of Kamailio's `sl`.

use super::core_functions::{REPLY_CLOSE, REPLY_NO_CONNECT, set};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::local_tag::local_tag;
use crate::modules::request::{ReplyRequest, Request};
use crate::modules::sl;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[SL_REPLY, SEND_REPLY_ERROR, SEND_REPLY_MODE, SL_FORWARD_REPLY];

const SL_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sl_reply"),
    params: sl::REPLY_PARAMS,
    variadic: false,
    routes: RouteSet::letters("RE"),
    waits: false,
    doc: "Replies without keeping state.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"sl_reply("404", "Not Found");"#,
    run: |call| sl::reply(call, Request::Stateless),
    finish: Some(sl::finish),
};

const SEND_REPLY_ERROR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("send_reply_error"),
    params: &[],
    routes: RouteSet::letters("ROF"),
    doc: "Replies with the code that fits the last internal error, through the transaction if there is one.",
    example: "if (!t_relay()) send_reply_error();",
    run: |call| {
        let (code, text) =
            call.host.last_error.clone().unwrap_or((500, Str::from("I'm terribly sorry, server error occurred")));
        let reason = [&text[..], b" (1/SL)"].concat();
        Step::Wait(Request::AnyReply(ReplyRequest { code, reason: Str::from(reason), body: None }))
    },
    ..SL_REPLY
};

const SEND_REPLY_MODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("send_reply_mode"),
    params: &[Param::req("code", Kind::Int), Param::req("reason", Kind::Str), Param::req("mode", Kind::Int)],
    routes: RouteSet::letters("ROF"),
    doc: "Replies through the transaction if there is one, else without keeping state. Of the mode, 1 is what \
          `set_reply_no_connect` does and 2 what `set_reply_close` does; 3 is both.",
    example: r#"send_reply_mode("403", "Forbidden", "3");"#,
    run: |call| {
        let Some(mode) = call.int(2) else { return Step::Fail("the mode is a number from 0 to 3".into()) };
        let step = sl::reply(call, Request::AnyReply);
        if matches!(step, Step::Wait(_)) {
            for (bit, flag) in [(1, REPLY_NO_CONNECT), (2, REPLY_CLOSE)] {
                if mode & bit != 0 {
                    set(call, flag);
                }
            }
        }
        step
    },
    ..SL_REPLY
};

const SL_FORWARD_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sl_forward_reply"),
    params: &[Param::opt("code", Kind::Int), Param::opt("reason", Kind::Str)],
    routes: RouteSet::letters("O"),
    doc: "Sends the reply in work on to the next Via now, without state, with the changes made so far; with another code of \
          its class and another phrase, if they are given. At the end of the script it goes its usual way all the same, \
          unless it is dropped.",
    returns: &[(1, "sent on"), (-1, "the code is of another class, or there is nowhere to send it")],
    example: r#"if (status == "408") { sl_forward_reply("404", "Not Found"); drop; }"#,
    run: |call| {
        let msg = &call.host.msg;
        if call.host.phony || !msg.is_reply() {
            return Step::Done(-1);
        }
        let old = i64::from(msg.status());
        let (code, reason) = (call.int(0), call.text(1).filter(|r| !r.is_empty()));
        if call.given(0) && code.is_none_or(|c| c / 100 != old / 100) {
            return Step::Done(-1);
        }
        if reason.as_ref().is_some_and(|r| r.iter().any(|b| matches!(b, b'\r' | b'\n'))) {
            return Step::Fail("a reason phrase cannot hold line breaks".into());
        }
        let phrase = reason.clone().unwrap_or_else(|| Str::from(msg.reason()));
        let changed = code.is_some() || reason.is_some();
        let code = code.unwrap_or(old) as u16;
        Step::Wait(Request::ForwardReply { status: changed.then_some((code, phrase)) })
    },
    ..SL_REPLY
};

/// Reads `$ltt(...)`: the To-tag that the request has, else the one of replies that are made here. Those with and without state
/// have the same.
pub fn local_tag_of(h: &SipHost) -> Value {
    match h.msg.to_tag() {
        Some(tag) => Value::text(tag),
        None if h.msg.is_request() && !h.phony => Value::text(local_tag(h.env(), &h.msg).as_slice()),
        None => Value::Null,
    }
}
