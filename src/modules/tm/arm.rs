//! Arming routes for the transaction.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::ast::RouteKind;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};

/// `t_on_failure`
pub const T_ON_FAILURE: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_on_failure"),
    kamailio: Some("t_on_failure"),
    params: &[Param::req("route", Kind::Route(RouteKind::Failure))],
    variadic: false,
    routes: RouteSet::letters("RFOBL"),
    waits: false,
    doc: "Runs this failure_route when all branches have failed, before the reply goes upstream. The last call \
          counts; \"0\" disarms.",
    returns: &[(1, "armed"), (-1, "there is no such route")],
    example: r#"t_on_failure("missed");"#,
    run: |call| match number(call, RouteKind::Failure) {
        Ok(n) => {
            call.host.armed.failure = n;
            Step::Done(1)
        }
        Err(()) => Step::Done(-1),
    },
    finish: None,
};

/// `t_on_reply`
pub const T_ON_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_on_reply"),
    kamailio: Some("t_on_reply"),
    params: &[Param::req("route", Kind::Route(RouteKind::OnReply))],
    doc: "Runs this onreply_route for every reply of the transaction (in branch_route: of that branch).",
    example: r#"t_on_reply("nat");"#,
    run: |call| match number(call, RouteKind::OnReply) {
        Ok(n) => {
            call.host.armed.reply = n;
            Step::Done(1)
        }
        Err(()) => Step::Done(-1),
    },
    ..T_ON_FAILURE
};

/// `t_on_branch`
pub const T_ON_BRANCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_on_branch"),
    kamailio: Some("t_on_branch"),
    params: &[Param::req("route", Kind::Route(RouteKind::Branch))],
    doc: "Runs this branch_route for every branch before it is sent.",
    example: r#"t_on_branch("per_branch");"#,
    run: |call| match number(call, RouteKind::Branch) {
        Ok(n) => {
            call.host.armed.branch = n;
            Step::Done(1)
        }
        Err(()) => Step::Done(-1),
    },
    ..T_ON_FAILURE
};

/// `t_on_branch_failure`
pub const T_ON_BRANCH_FAILURE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_on_branch_failure"),
    params: &[Param::req("name", Kind::Event(BRANCH_FAILURE))],
    doc: "Runs `event_route[tm:branch-failure:NAME]` for each branch that fails, with the request, while others may go on (in \
          branch_route and onreply_route: for that branch). The empty name disarms.",
    example: r#"t_on_branch_failure("$avp(on_failure)");"#,
    run: |call| match event_number(call, BRANCH_FAILURE) {
        Ok(n) => {
            call.host.armed.branch_failure = n;
            Step::Done(1)
        }
        Err(()) => Step::Done(-1),
    },
    ..T_ON_FAILURE
};

/// `t_reuse_branch`
pub const T_REUSE_BRANCH: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_reuse_branch"),
    params: &[],
    routes: RouteSet::letters("RV"),
    doc: "In `event_route[tm:branch-failure:NAME]`: what t_relay sends next goes where the failed branch went: R-URI, next hop, \
          path, socket and branch flags are its.",
    returns: &[(1, "done"), (-1, "no branch has failed here")],
    example: "if (t_reuse_branch()) t_relay();",
    run: |call| {
        let host = &mut call.host;
        let failed = host.tm.branch.and_then(|b| host.tm.branches.get(usize::from(b))).map(|b| b.target.clone());
        match failed {
            Some(target) if host.msg.is_request() => {
                host.set_main_target(&target);
                Step::Done(1)
            }
            _ => Step::Done(-1),
        }
    },
    ..T_ON_FAILURE
};

/// What the names of the routes for failed branches begin with.
const BRANCH_FAILURE: &str = "tm:branch-failure:";

fn event_number(call: &mut Call<'_, SipHost>, prefix: &str) -> Result<Option<u32>, ()> {
    match call.args.first() {
        Some(Arg::Route(n)) => Ok(Some(*n)),
        _ => match call.text(0) {
            None => Ok(None),
            Some(name) if name.is_empty() || name == "0" => Ok(None),
            Some(name) => {
                let name = [prefix.as_bytes(), &name].concat();
                call.vm().find_route(RouteKind::Event, &Str::from(name)).map(Some).ok_or(())
            }
        },
    }
}

fn number(call: &mut Call<'_, SipHost>, kind: RouteKind) -> Result<Option<u32>, ()> {
    match call.args.first() {
        Some(Arg::Route(n)) => Ok(Some(*n)),
        _ => match call.text(0) {
            None => Ok(None),
            Some(name) if name.is_empty() || name == "0" => Ok(None),
            Some(name) => call.vm().find_route(kind, &name).map(Some).ok_or(()),
        },
    }
}
