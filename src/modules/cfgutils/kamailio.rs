//! What `cfgutils` has in Kamailio's language only: locks by their short names, flags of the whole server, routes by name
//! (kamailio.md section 3.8).

use super::{GET_DYNAMIC_LOCK, RAND_EVENT, RELEASE_DYNAMIC_LOCK};
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::Request;
use crate::script::ast::RouteKind;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::transform::core_hash;

pub(super) const LOCK: FnSpec<SipHost> =
    FnSpec { opensips: None, kamailio: Some("lock"), example: r#"lock("$rU");"#, ..GET_DYNAMIC_LOCK };

pub(super) const UNLOCK: FnSpec<SipHost> =
    FnSpec { opensips: None, kamailio: Some("unlock"), example: r#"unlock("$rU");"#, ..RELEASE_DYNAMIC_LOCK };

pub(super) const TRYLOCK: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("trylock"),
    doc: "Takes the lock of this name if no other run has it. It belongs to the run, as one of `lock`.",
    returns: &[(1, "taken"), (-1, "another run has it")],
    example: r#"if (trylock("$rU")) xlog("I am the only one\n");"#,
    run: |call| match call.text(0) {
        Some(key) => Step::Wait(Request::TryLock { key }),
        None => Step::Fail("the lock's name is NULL".to_string()),
    },
    ..GET_DYNAMIC_LOCK
};

pub(super) const CHECK_ROUTE_EXISTS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("check_route_exists"),
    params: &[Param::req("route", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Whether there is a route block of this name.",
    returns: &[(1, "there is"), (-1, "there is none")],
    example: r#"if (check_route_exists("later")) route(later);"#,
    run: |call| Step::Done(if named(call).is_some() { 1 } else { -1 }),
    ..RAND_EVENT
};

pub(super) const ROUTE_IF_EXISTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("route_if_exists"),
    doc: "Runs the route block of this name as `route()` does, if there is one.",
    returns: &[(1, "the route's own value"), (-1, "there is no such route")],
    example: r#"route_if_exists("from_$si");"#,
    run: |call| match named(call) {
        Some(route) => Step::Route(route),
        None => Step::Done(-1),
    },
    ..CHECK_ROUTE_EXISTS
};

fn named(call: &mut Call<'_, SipHost>) -> Option<u32> {
    let name = call.text(0).filter(|n| !n.is_empty())?;
    call.vm().find_route(RouteKind::Request, &name)
}

pub(super) const SET_GFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_gflag"),
    params: &[Param::req("flag", Kind::Int)],
    doc: "Sets one of the 32 flags (0 to 31) that all workers share.",
    returns: &[(1, "set"), (-1, "no such flag, or the shared store cannot be written")],
    example: r#"set_gflag("4");"#,
    run: |call| change(call, |bit| (bit, 0)),
    ..CHECK_ROUTE_EXISTS
};

pub(super) const RESET_GFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("reset_gflag"),
    doc: "Clears one of the flags that all workers share.",
    returns: &[(1, "cleared"), (-1, "no such flag, or the shared store cannot be written")],
    example: r#"reset_gflag("4");"#,
    run: |call| change(call, |bit| (0, bit)),
    ..SET_GFLAG
};

pub(super) const IS_GFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_gflag"),
    doc: "Whether one of the flags is set that all workers share.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (is_gflag("4")) sl_send_reply("503", "Later");"#,
    run: |call| {
        let Some(bit) = bit(call) else { return Step::Fail("a flag is a number from 0 to 31".into()) };
        let env = call.host.env();
        let flags = match &env.store {
            Some(store) => store.flags(env.settings.gflags),
            None => Ok(env.settings.gflags),
        };
        match flags {
            Ok(flags) => Step::Done(if flags & bit != 0 { 1 } else { -1 }),
            Err(why) => Step::Fail(why.to_string()),
        }
    },
    ..SET_GFLAG
};

fn bit(call: &Call<'_, SipHost>) -> Option<u32> {
    call.int(0).and_then(|n| u32::try_from(n).ok()).and_then(|n| 1u32.checked_shl(n))
}

/// `bits`: of a flag, what to set and what to clear.
fn change(call: &mut Call<'_, SipHost>, bits: fn(u32) -> (u32, u32)) -> Step<SipHost> {
    let Some(bit) = bit(call) else { return Step::Fail("a flag is a number from 0 to 31".into()) };
    let env = call.host.env();
    let Some(store) = &env.store else { return Step::Fail("there is no shared store".into()) };
    let (set, clear) = bits(bit);
    match store.change_flags(env.settings.gflags, set, clear) {
        Ok(_) => Step::Done(1),
        Err(why) => Step::Fail(why.to_string()),
    }
}

pub(super) const CORE_HASH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("core_hash"),
    params: &[Param::req("text1", Kind::Str), Param::req("text2", Kind::Str), Param::req("size", Kind::Int)],
    doc: "A number that the two texts always have in common: from 1 to two to the power of `size`.",
    returns: &[(1, "the number itself")],
    example: r#"$var(place) = core_hash("$ci", "$ft", 8);"#,
    run: |call| {
        let (a, b) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let size = call.int(2).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        // As there, sizes begin anew at 32. Nothing is returned that would end the script.
        let mask = 1u32.wrapping_shl(size) - 1;
        Step::Done(i32::try_from((core_hash(&a, &b) & mask) + 1).unwrap_or(i32::MAX))
    },
    ..CHECK_ROUTE_EXISTS
};

pub(super) const ABORT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("abort"),
    params: &[],
    doc: "Ends the script, as `exit` does, with a line at alert level that says where. The server goes on, and so does \
          every other call.",
    returns: &[(0, "always: the script ends")],
    example: "if ($rU == \"must-not-be\") abort();",
    run: |call| {
        let (file, line) = call.vm().position();
        log_line(call.host, -3, &format!("{file}:{line}: abort() has ended the script"));
        Step::Done(0)
    },
    ..CHECK_ROUTE_EXISTS
};

pub(super) const PKG_STATUS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pkg_status"),
    params: &[],
    doc: "Writes a line about the worker's memory: there are no pools of it.",
    returns: &[(1, "always")],
    example: "pkg_status();",
    run: |call| {
        log_line(call.host, 2, "memory: there are no pools; `reprise ctl ps` shows what each process uses");
        Step::Done(1)
    },
    ..CHECK_ROUTE_EXISTS
};

pub(super) const PKG_SUMMARY: FnSpec<SipHost> =
    FnSpec { kamailio: Some("pkg_summary"), example: "pkg_summary();", ..PKG_STATUS };
pub(super) const SHM_STATUS: FnSpec<SipHost> =
    FnSpec { kamailio: Some("shm_status"), example: "shm_status();", ..PKG_STATUS };
pub(super) const SHM_SUMMARY: FnSpec<SipHost> =
    FnSpec { kamailio: Some("shm_summary"), example: "shm_summary();", ..PKG_STATUS };
