//! `xavp_child_seti`, `xavp_child_sets`, `xavp_child_rm` and the same for `$xavi`: fields of the first of a name.

use super::FULL;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{At, Family};

const NAME: Param = Param::req("name", Kind::Str);
const FIELD: Param = Param::req("field", Kind::Str);

pub const XAVP_CHILD_SETI: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xavp_child_seti"),
    params: &[NAME, FIELD, Param::req("number", Kind::Int)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Sets `$xavp(name[0]=>field)` to a number; a `$xavp(name)` that is not there is made.",
    returns: &[(1, "set"), (-1, "no number, or no room")],
    example: r#"xavp_child_seti("gw", "weight", "5");"#,
    run: |call| {
        let value = call.int(2).map(Value::Int);
        set(call, Family::Xavp, value)
    },
    finish: None,
};

pub const XAVP_CHILD_SETS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_child_sets"),
    params: &[NAME, FIELD, Param::req("text", Kind::Str)],
    doc: "Sets `$xavp(name[0]=>field)` to a text; a `$xavp(name)` that is not there is made.",
    returns: &[(1, "set"), (-1, "no room")],
    example: r#"xavp_child_sets("gw", "uri", "sip:10.0.0.1");"#,
    run: |call| {
        let value = call.text(2).map(Value::Str);
        set(call, Family::Xavp, value)
    },
    ..XAVP_CHILD_SETI
};

pub const XAVP_CHILD_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_child_rm"),
    params: &[NAME, FIELD],
    doc: "Removes the fields of this name from the first `$xavp(name)`.",
    returns: &[(1, "done, also if there was none")],
    example: r#"xavp_child_rm("gw", "weight");"#,
    run: |call| remove(call, Family::Xavp),
    ..XAVP_CHILD_SETI
};

pub const XAVI_CHILD_SETI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavi_child_seti"),
    doc: "Sets `$xavi(name[0]=>field)` to a number; a `$xavi(name)` that is not there is made.",
    example: r#"xavi_child_seti("GW", "Weight", "5");"#,
    run: |call| {
        let value = call.int(2).map(Value::Int);
        set(call, Family::Xavi, value)
    },
    ..XAVP_CHILD_SETI
};

pub const XAVI_CHILD_SETS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavi_child_sets"),
    doc: "Sets `$xavi(name[0]=>field)` to a text; a `$xavi(name)` that is not there is made.",
    example: r#"xavi_child_sets("GW", "Uri", "sip:10.0.0.1");"#,
    run: |call| {
        let value = call.text(2).map(Value::Str);
        set(call, Family::Xavi, value)
    },
    ..XAVP_CHILD_SETS
};

pub const XAVI_CHILD_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavi_child_rm"),
    doc: "Removes the fields of this name from the first `$xavi(name)`.",
    example: r#"xavi_child_rm("GW", "Weight");"#,
    run: |call| remove(call, Family::Xavi),
    ..XAVP_CHILD_RM
};

fn set(call: &mut Call<'_, SipHost>, family: Family, value: Option<Value>) -> Step<SipHost> {
    let (Some(name), Some(field), Some(value)) = (call.text(0), call.text(1), value) else { return Step::Done(-1) };
    let (xavps, limits) = call.vm().xavps_mut();
    match xavps.set(family, &name, &field, value, &limits) {
        Ok(()) => Step::Done(1),
        Err(_) => Step::Fail(FULL.into()),
    }
}

fn remove(call: &mut Call<'_, SipHost>, family: Family) -> Step<SipHost> {
    let (Some(name), Some(field)) = (call.text(0), call.text(1)) else { return Step::Done(-1) };
    let (xavps, _) = call.vm().xavps_mut();
    xavps.remove_field(family, &name, 0, &field, At::All);
    Step::Done(1)
}
