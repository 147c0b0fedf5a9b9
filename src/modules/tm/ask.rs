//! Questions about the transaction, answered from what the worker last told the run.

use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

/// `t_was_cancelled`
pub const T_WAS_CANCELLED: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_was_cancelled"),
    kamailio: Some("t_is_canceled"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("RFOB"),
    waits: false,
    doc: "Whether the caller has cancelled the transaction.",
    returns: &[(1, "it was cancelled"), (-1, "it was not")],
    example: "if (t_was_cancelled()) exit;",
    run: |call| verdict(call.host.tm.cancelled),
    finish: None,
};

/// `t_check_status`
pub const T_CHECK_STATUS: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_check_status"),
    kamailio: Some("t_check_status"),
    params: &[Param::req("expression", Kind::Regex)],
    doc: "Whether the status matches: of the reply in work (onreply), the winning one (failure), the last one sent \
          (request).",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (t_check_status("486|408")) route(voicemail);"#,
    run: |call| {
        let status = if call.host.msg.is_reply() { call.host.msg.status() } else { call.host.tm.reply_code };
        match call.is_match(0, status.to_string().as_bytes()) {
            Ok(yes) => verdict(yes),
            Err(why) => Step::Fail(why),
        }
    },
    ..T_WAS_CANCELLED
};

/// `t_local_replied`
pub const T_LOCAL_REPLIED: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_local_replied"),
    kamailio: None,
    params: &[Param::req("which", Kind::Str)],
    doc: "Whether the replies were made here (time-out, send error): `all` of them, or the `last` one.",
    returns: &[(1, "they were"), (-1, "they were not")],
    example: r#"if (t_local_replied("all")) xlog("nobody answered\n");"#,
    run: |call| match call.text(0).as_deref() {
        Some(b"all") => verdict(call.host.tm.all_local),
        Some(b"last") => verdict(call.host.tm.last_local),
        _ => Step::Fail("\"all\" or \"last\" is expected".to_string()),
    },
    ..T_WAS_CANCELLED
};

/// `t_flush_flags`
pub const T_FLUSH_FLAGS: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_flush_flags"),
    kamailio: Some("t_flush_flags"),
    params: &[],
    routes: RouteSet::letters("RB"),
    doc: "The flags of a run are those of its transaction: nothing to do.",
    returns: &[(1, "done")],
    example: "t_flush_flags();",
    run: |_call| Step::Done(1),
    ..T_WAS_CANCELLED
};
