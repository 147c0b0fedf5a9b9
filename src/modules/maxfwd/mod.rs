//! `maxfwd`: Max-Forwards (RFC 3261 16.6 step 3; opensips.md section 4.5).

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::sip::header::HeaderId;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "maxfwd",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[PROCESS, IS_LOWER, MAXFWD_PROCESS, PROCESS_MAXFWD, MAXFWD_AT_LEAST, MF_LOWLIMIT],
    params: &[ModParamSpec {
        name: "max_limit",
        kind: ModParamKind::Int,
        ignored: false,
        doc: "a larger received value is lowered to this; 1 to 256, default 256",
    }],
    any_param: false,
    needs: &[],
};

const PROCESS: FnSpec<SipHost> = FnSpec {
    opensips: Some("mf_process_maxfwd_header"),
    kamailio: Some("mf_process_maxfwd_header"),
    params: &[Param::req("max", Kind::Int)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Decrements Max-Forwards, or adds it with the given value.",
    returns: &[(2, "header added"), (1, "decremented"), (-1, "it was 0"), (-2, "error")],
    example: r#"if (!mf_process_maxfwd_header(10)) { send_reply(483, "Too Many Hops"); exit; }"#,
    run: |call| {
        let limit = i64::from(call.host.env().settings.maxfwd_limit);
        let max = call.int(0).unwrap_or(70).clamp(1, limit);
        let Some(header) = call.host.msg.header(HeaderId::MaxForwards) else {
            let line = Str::from(format!("Max-Forwards: {max}\r\n"));
            call.host.edits.append_header(&call.host.msg, line);
            return Step::Done(2);
        };
        let Some(value) = call.host.msg.max_forwards() else { return Step::Done(-2) };
        if value == 0 {
            return Step::Done(-1);
        }
        let new = i64::from(value - 1).min(limit);
        call.host.edits.replace(header.value_range, Str::from(new.to_string()));
        Step::Done(1)
    },
    finish: None,
};

const MAXFWD_PROCESS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("maxfwd_process"),
    example: r#"if (!maxfwd_process("10")) { sl_send_reply("483", "Too Many Hops"); exit; }"#,
    ..PROCESS
};

const PROCESS_MAXFWD: FnSpec<SipHost> = FnSpec {
    kamailio: Some("process_maxfwd"),
    example: r#"if (!process_maxfwd("10")) { sl_send_reply("483", "Too Many Hops"); exit; }"#,
    ..MAXFWD_PROCESS
};

const MAXFWD_AT_LEAST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("maxfwd_at_least"),
    example: r#"if (maxfwd_at_least("10")) xlog("close to the end\n");"#,
    ..IS_LOWER
};

const MF_LOWLIMIT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("mf_lowlimit"),
    example: r#"if (mf_lowlimit("10")) xlog("close to the end\n");"#,
    ..MAXFWD_AT_LEAST
};

const IS_LOWER: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_maxfwd_lt"),
    kamailio: Some("is_maxfwd_lt"),
    params: &[Param::req("limit", Kind::Int)],
    variadic: false,
    routes: RouteSet::letters("RFB"),
    waits: false,
    doc: "Whether the received Max-Forwards is below the limit.",
    returns: &[(1, "it is"), (-1, "it is not"), (-2, "no such header"), (-3, "error")],
    example: r#"if (is_maxfwd_lt(10)) xlog("close to the end\n");"#,
    run: |call| {
        let Some(limit) = call.int(0) else { return Step::Done(-3) };
        if call.host.msg.header(HeaderId::MaxForwards).is_none() {
            return Step::Done(-2);
        }
        match call.host.msg.max_forwards() {
            Some(v) if i64::from(v) < limit => Step::Done(1),
            Some(_) => Step::Done(-1),
            None => Step::Done(-3),
        }
    },
    finish: None,
};
