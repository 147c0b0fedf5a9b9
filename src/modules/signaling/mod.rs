//! `signaling`: replies that are stateful if there is a transaction (opensips.md section 4.1).

use super::host::SipHost;
use super::request::Request;
use super::sl;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, ModuleSpec, RouteSet};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "signaling",
    dialects: &[Dialect::OpenSips],
    functions: &[FnSpec {
        opensips: Some("send_reply"),
        kamailio: Some("send_reply"),
        params: sl::REPLY_PARAMS,
        variadic: false,
        routes: RouteSet::letters("RFE"),
        waits: false,
        doc: "Replies through the transaction if the request has one, else statelessly.",
        returns: &[(1, "sent"), (-1, "not sent")],
        example: r#"send_reply(403, "Forbidden");"#,
        run: |call| sl::reply(call, Request::AnyReply),
        finish: Some(sl::finish),
    }],
    params: &[],
    any_param: false,
    needs: &[],
};
