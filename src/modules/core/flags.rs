//! Message flags and branch flags.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};

/// Most different flags of one message.
const MAX_FLAGS: usize = 64;

/// `setflag`
pub const SETFLAG: FnSpec<SipHost> = FnSpec {
    opensips: Some("setflag"),
    kamailio: Some("setflag"),
    params: &[Param::req("flag", Kind::Flag)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Sets a message flag.",
    returns: &[(1, "set"), (-1, "too many flags")],
    example: r#"setflag("NAT");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        set(&mut call.host.flags, name)
    },
    finish: None,
};

/// `resetflag`
pub const RESETFLAG: FnSpec<SipHost> = FnSpec {
    opensips: Some("resetflag"),
    kamailio: Some("resetflag"),
    doc: "Clears a message flag.",
    returns: &[(1, "cleared")],
    example: r#"resetflag("NAT");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        call.host.flags.retain(|f| *f != name);
        Step::Done(1)
    },
    ..SETFLAG
};

/// `isflagset`
pub const ISFLAGSET: FnSpec<SipHost> = FnSpec {
    opensips: Some("isflagset"),
    kamailio: Some("isflagset"),
    doc: "Whether a message flag is set.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (isflagset("NAT")) force_rport();"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        Step::Done(if call.host.has_flag(&name) { 1 } else { -1 })
    },
    ..SETFLAG
};

const BRANCH_PARAMS: &[Param] = &[Param::req("flag", Kind::Flag), Param::opt("branch", Kind::IntOrStr)];

/// `setbflag`
pub const SETBFLAG: FnSpec<SipHost> = FnSpec {
    opensips: Some("setbflag"),
    kamailio: Some("setbflag"),
    params: BRANCH_PARAMS,
    doc: "Sets a flag of a branch; branch 0 is the R-URI.",
    example: r#"setbflag("NAT");"#,
    run: |call| {
        let (branch, name) = branch_and_name(call);
        match list(call.host, branch) {
            Some(flags) => set(flags, name),
            None => Step::Done(-1),
        }
    },
    ..SETFLAG
};

/// `resetbflag`
pub const RESETBFLAG: FnSpec<SipHost> = FnSpec {
    opensips: Some("resetbflag"),
    kamailio: Some("resetbflag"),
    params: BRANCH_PARAMS,
    doc: "Clears a flag of a branch.",
    example: r#"resetbflag("NAT");"#,
    run: |call| {
        let (branch, name) = branch_and_name(call);
        if let Some(flags) = list(call.host, branch) {
            flags.retain(|f| *f != name);
        }
        Step::Done(1)
    },
    ..SETFLAG
};

/// `isbflagset`
pub const ISBFLAGSET: FnSpec<SipHost> = FnSpec {
    opensips: Some("isbflagset"),
    kamailio: Some("isbflagset"),
    params: BRANCH_PARAMS,
    doc: "Whether a flag of a branch is set.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (isbflagset("NAT")) xlog("behind NAT\n");"#,
    run: |call| {
        let (branch, name) = branch_and_name(call);
        Step::Done(if list(call.host, branch).is_some_and(|l| l.contains(&name)) { 1 } else { -1 })
    },
    ..SETFLAG
};

/// 4.1 writes (flag, branch), 2.2 (branch, flag): a number comes first only in the latter.
fn branch_and_name(call: &Call<'_, SipHost>) -> (usize, Str) {
    let (first, second) = (call.text(0).unwrap_or_default(), call.text(1));
    let number = |t: &Str| std::str::from_utf8(t).ok().and_then(|t| t.parse::<usize>().ok());
    match second {
        None => (0, first),
        Some(second) => match (number(&first), number(&second)) {
            (Some(branch), None) => (branch, second),
            (_, Some(branch)) => (branch, first),
            (None, None) => (0, first),
        },
    }
}

fn list(h: &mut SipHost, branch: usize) -> Option<&mut Vec<Str>> {
    match branch {
        0 => Some(&mut h.bflags),
        n => h.branches.get_mut(n - 1).map(|b| &mut b.flags),
    }
}

fn set(flags: &mut Vec<Str>, name: Str) -> Step<SipHost> {
    if flags.contains(&name) {
        return Step::Done(1);
    }
    if flags.len() >= MAX_FLAGS {
        return Step::Done(-1);
    }
    flags.push(name);
    Step::Done(1)
}
