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
    kamailio: None,
    params: &[],
    routes: RouteSet::letters("RB"),
    doc: "The flags of a run are those of its transaction: nothing to do.",
    returns: &[(1, "done")],
    example: "t_flush_flags();",
    run: |_call| Step::Done(1),
    ..T_WAS_CANCELLED
};

/// `t_grep_status`
pub const T_GREP_STATUS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_grep_status"),
    params: &[Param::req("code", Kind::IntOrStr)],
    routes: RouteSet::letters("RFOB"),
    doc: "Whether the last reply of any branch has this code.",
    returns: &[(1, "one has"), (-1, "none has")],
    example: r#"if (t_grep_status("486")) xlog("somebody is busy\n");"#,
    run: |call| match call.int(0).and_then(|c| u16::try_from(c).ok()) {
        Some(code) => verdict(call.host.tm.branches.iter().any(|b| b.last == code && code > 0)),
        None => Step::Fail("a status code is expected".to_string()),
    },
    ..T_WAS_CANCELLED
};

/// `t_get_status_code`
pub const T_GET_STATUS_CODE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_get_status_code"),
    params: &[],
    doc: "The status of the reply in work (onreply), the winning one (failure), the last one sent (request).",
    returns: &[(-1, "there is none yet")],
    example: "if (t_get_status_code() == 486) route(voicemail);",
    run: |call| {
        let status = if call.host.msg.is_reply() { call.host.msg.status() } else { call.host.tm.reply_code };
        Step::Done(if status == 0 { -1 } else { i32::from(status) })
    },
    ..T_GREP_STATUS
};

fn branch(call: &crate::script::registry::Call<'_, SipHost>) -> Option<crate::modules::host::BranchInfo> {
    let no = call.host.tm.branch?;
    call.host.tm.branches.get(usize::from(no)).cloned()
}

/// `t_branch_timeout`
pub const T_BRANCH_TIMEOUT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_branch_timeout"),
    params: &[],
    routes: RouteSet::letters("FV"),
    doc: "Whether the branch that this route is about ended by a timer.",
    returns: &[(1, "it did"), (-1, "it did not")],
    example: r#"if (t_branch_timeout()) xlog("no answer\n");"#,
    run: |call| verdict(branch(call).is_some_and(|b| b.timeout)),
    ..T_WAS_CANCELLED
};

/// `t_branch_replied`
pub const T_BRANCH_REPLIED: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_branch_replied"),
    doc: "Whether the branch that this route is about has had a reply.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (t_branch_replied()) xlog("it said something\n");"#,
    run: |call| verdict(branch(call).is_some_and(|b| b.replied)),
    ..T_BRANCH_TIMEOUT
};

/// `t_any_timeout`
pub const T_ANY_TIMEOUT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_any_timeout"),
    routes: RouteSet::letters("RFOB"),
    doc: "Whether any branch ended by a timer.",
    returns: &[(1, "one did"), (-1, "none did")],
    example: r#"if (t_any_timeout()) xlog("somebody did not answer\n");"#,
    run: |call| verdict(call.host.tm.branches.iter().any(|b| b.timeout)),
    ..T_BRANCH_TIMEOUT
};

/// `t_any_replied`
pub const T_ANY_REPLIED: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_any_replied"),
    routes: RouteSet::letters("RFOB"),
    doc: "Whether any branch has had a reply.",
    returns: &[(1, "one has"), (-1, "none has")],
    example: r#"if (!t_any_replied()) xlog("nobody said anything\n");"#,
    run: |call| verdict(call.host.tm.branches.iter().any(|b| b.replied)),
    ..T_BRANCH_TIMEOUT
};

/// `t_is_set`
pub const T_IS_SET: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_is_set"),
    params: &[Param::req("what", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Whether a failure_route, branch_route, onreply_route or branch_failure_route (t_on_branch_failure) is armed.",
    returns: &[(1, "one is"), (-1, "none is")],
    example: r#"if (!t_is_set("failure_route")) t_on_failure("missed");"#,
    run: |call| {
        let armed = call.host.armed;
        match call.text(0).as_deref() {
            Some(b"failure_route") => verdict(armed.failure.is_some()),
            Some(b"branch_route") => verdict(armed.branch.is_some()),
            Some(b"onreply_route") => verdict(armed.reply.is_some()),
            Some(b"branch_failure_route") => verdict(armed.branch_failure.is_some()),
            _ => {
                let names = "failure_route, branch_route, onreply_route or branch_failure_route";
                Step::Fail(format!("{names} is expected"))
            }
        }
    },
    ..T_WAS_CANCELLED
};

/// `t_is_expired`
pub const T_IS_EXPIRED: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_is_expired"),
    params: &[],
    routes: RouteSet::letters("RFOB"),
    doc: "Whether the transaction has lasted as long as max_inv_lifetime or max_noninv_lifetime (t_set_max_lifetime) lets it: \
          a further branch would end at once.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: "if (t_is_expired()) exit;",
    run: |call| verdict(call.host.tm.expired),
    ..T_WAS_CANCELLED
};
