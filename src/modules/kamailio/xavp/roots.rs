//! `xavp_rm`, `xavi_rm`, `xavp_copy`, `xavp_lshift`: whole `$xavp`s.

use super::FULL;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::xavp::Family;

const NAME: Param = Param::req("name", Kind::Str);

pub const XAVP_RM: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xavp_rm"),
    params: &[NAME],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Removes the first `$xavp(name)`.",
    returns: &[(1, "done, also if there was none")],
    example: r#"xavp_rm("gw");"#,
    run: |call| remove(call, Family::Xavp),
    finish: None,
};

pub const XAVI_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavi_rm"),
    doc: "Removes the first `$xavi(name)`.",
    example: r#"xavi_rm("GW");"#,
    run: |call| remove(call, Family::Xavi),
    ..XAVP_RM
};

pub const XAVP_COPY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_copy"),
    params: &[
        Param::req("source", Kind::Str),
        Param::req("source index", Kind::Int),
        Param::req("destination", Kind::Str),
        Param::opt("destination index", Kind::Int),
    ],
    doc: "Copies `$xavp(source[index])` with its fields: behind what the name `destination` has already, or in the place of \
          that at the destination index.",
    returns: &[(1, "copied"), (-1, "no such source, nothing at the destination index, or no room")],
    example: r#"xavp_copy("gw", 0, "backup");"#,
    run: copy,
    ..XAVP_RM
};

pub const XAVP_LSHIFT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_lshift"),
    params: &[NAME, Param::req("count", Kind::Int)],
    doc: "Removes the first `count` of `$xavp(name)`: what was at index `count` is at index 0.",
    returns: &[(1, "done"), (-1, "there is none, or a bad count")],
    example: r#"xavp_lshift("gw", "1");"#,
    run: shift,
    ..XAVP_RM
};

fn remove(call: &mut Call<'_, SipHost>, family: Family) -> Step<SipHost> {
    let Some(name) = call.text(0) else { return Step::Done(-1) };
    let (xavps, _) = call.vm().xavps_mut();
    xavps.remove(family, &name, 0);
    Step::Done(1)
}

fn copy(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let (Some(source), Some(from), Some(name)) = (call.text(0), call.int(1), call.text(2)) else {
        return Step::Done(-1);
    };
    let to = if call.given(3) { call.int(3) } else { None };
    if from < 0 || call.given(3) && to.is_none_or(|i| i < 0) {
        return Step::Done(-1);
    }
    let (xavps, limits) = call.vm().xavps_mut();
    let Some(node) = xavps.get(Family::Xavp, &source, from).cloned() else { return Step::Done(-1) };
    let done = match to {
        None => xavps.append(Family::Xavp, &name, node, &limits).map(|()| true),
        Some(i) => xavps.put(Family::Xavp, &name, i, node, &limits),
    };
    match done {
        Ok(true) => Step::Done(1),
        Ok(false) => Step::Done(-1),
        Err(_) => Step::Fail(FULL.into()),
    }
}

fn shift(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let (Some(name), Some(count)) = (call.text(0), call.int(1)) else { return Step::Done(-1) };
    let (xavps, _) = call.vm().xavps_mut();
    if count < 0 || xavps.get(Family::Xavp, &name, 0).is_none() {
        return Step::Done(-1);
    }
    let mut left = count;
    while left > 0 && xavps.remove(Family::Xavp, &name, 0) {
        left -= 1;
    }
    Step::Done(1)
}
