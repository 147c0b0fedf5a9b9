//! Replies by the names of Kamailio's `sl`.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{ReplyRequest, Request};
use crate::modules::sl;
use crate::script::registry::{FnSpec, RouteSet, Step};

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[SL_REPLY, SEND_REPLY_ERROR];

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
