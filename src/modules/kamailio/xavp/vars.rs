//! `pv_var_to_xavp`, `pv_xavp_to_var`, and what writes all structured variables to the log.

use super::FULL;
use crate::base::Str;
use crate::modules::core::logging::write_line;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{Family, Node};

pub const PV_VAR_TO_XAVP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("pv_var_to_xavp"),
    params: &[Param::req("variable", Kind::Str), Param::req("name", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Copies `$var(variable)` to `$xavp(name=>variable)`; `*` copies every `$var` of the script.",
    returns: &[(1, "copied"), (-1, "no such variable, or no room")],
    example: r#"pv_var_to_xavp("*", "saved");"#,
    run: to_xavp,
    finish: None,
};

pub const PV_XAVP_TO_VAR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_xavp_to_var"),
    params: &[Param::req("name", Kind::Str)],
    doc: "Copies the fields of the first `$xavp(name)` to the `$var`s of their names.",
    returns: &[(1, "copied"), (-1, "there is no such `$xavp`, or it has no fields")],
    example: r#"pv_xavp_to_var("saved");"#,
    run: to_var,
    ..PV_VAR_TO_XAVP
};

pub const PV_XAVP_PRINT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_xavp_print"),
    params: &[],
    doc: "Writes all `$xavp`s to the log, at info level.",
    returns: &[(1, "written")],
    example: "pv_xavp_print();",
    run: |call| print(call, Family::Xavp),
    ..PV_VAR_TO_XAVP
};

pub const PV_XAVU_PRINT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_xavu_print"),
    doc: "Writes all `$xavu`s to the log, at info level.",
    example: "pv_xavu_print();",
    run: |call| print(call, Family::Xavu),
    ..PV_XAVP_PRINT
};

pub const PV_XAVI_PRINT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_xavi_print"),
    doc: "Writes all `$xavi`s to the log, at info level.",
    example: "pv_xavi_print();",
    run: |call| print(call, Family::Xavi),
    ..PV_XAVP_PRINT
};

fn to_xavp(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let (Some(wanted), Some(name)) = (call.text(0), call.text(1)) else { return Step::Done(-1) };
    let all = wanted == b"*"[..];
    let found: Vec<(Str, Value)> = call
        .vm()
        .vars()
        .into_iter()
        .filter(|(n, v)| (all || wanted == *n.as_bytes()) && !v.is_null())
        .map(|(n, v)| (Str::from(n), v))
        .collect();
    if found.is_empty() {
        return Step::Done(-1);
    }
    let (xavps, limits) = call.vm().xavps_mut();
    for (field, value) in found {
        if xavps.set(Family::Xavp, &name, &field, value, &limits).is_err() {
            return Step::Fail(FULL.into());
        }
    }
    Step::Done(1)
}

fn to_var(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(name) = call.text(0) else { return Step::Done(-1) };
    let Some(Node::Fields(fields)) = call.vm().xavps().and_then(|x| x.get(Family::Xavp, &name, 0)) else {
        return Step::Done(-1);
    };
    // Of several of a name the first counts.
    let all: Vec<(Str, Value)> = fields.iter().rev().map(|(n, v)| (n.clone(), v.clone())).collect();
    for (name, value) in all {
        call.vm().set_var(&name, value);
    }
    Step::Done(1)
}

/// Most lines of one call.
const MAX_LINES: usize = 1000;

fn print(call: &mut Call<'_, SipHost>, family: Family) -> Step<SipHost> {
    let word = family.word();
    let mut lines = vec![format!("all {word}s:")];
    let shown = |v: &Value| {
        let mut text = Vec::new();
        v.write_to(&mut text);
        text.escape_ascii().to_string()
    };
    for (name, node) in call.vm().xavps().into_iter().flat_map(|x| x.all(family)) {
        let name = name.escape_ascii();
        match node {
            Node::Leaf(v) => lines.push(format!("  {name} = {}", shown(v))),
            Node::Fields(fields) => {
                lines.push(format!("  {name}:"));
                lines.extend(fields.iter().map(|(n, v)| format!("    {} = {}", n.escape_ascii(), shown(v))));
            }
        }
        if lines.len() > MAX_LINES {
            lines.truncate(MAX_LINES);
            lines.push("  ...".into());
            break;
        }
    }
    for line in lines {
        write_line(call, 3, line.as_bytes());
    }
    Step::Done(1)
}
