//! `xavp_params_explode`, `xavp_params_implode`, `xavp_slist_explode` and the same for `$xavu`: texts with parameters
//! or lists into fields, and back.

use super::FULL;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{Family, Fields, Node};

pub const XAVP_PARAMS_EXPLODE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xavp_params_explode"),
    params: &[Param::req("text", Kind::Str), Param::req("name", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Takes `a=1;b=2` apart into the fields of a new `$xavp(name)`: `$xavp(name=>a)`. A value may be in quotes.",
    returns: &[(1, "done"), (-1, "the text is no list of parameters, or no room")],
    example: r#"xavp_params_explode("weight=5;zone=eu", "gw");"#,
    run: |call| explode(call, Family::Xavp),
    finish: None,
};

pub const XAVU_PARAMS_EXPLODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavu_params_explode"),
    doc: "Takes `a=1;b=2` apart into fields of `$xavu(name)`; others that it has stay.",
    example: r#"xavu_params_explode("weight=5;zone=eu", "gw");"#,
    run: |call| explode(call, Family::Xavu),
    ..XAVP_PARAMS_EXPLODE
};

pub const XAVP_PARAMS_IMPLODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_params_implode"),
    params: &[Param::req("name", Kind::Str), Param::req("result", Kind::Out)],
    doc: "Writes the fields of the first `$xavp(name)` as `a=1;b=2;` into a variable.",
    returns: &[(1, "done"), (-1, "there is no such `$xavp`, or it has no fields")],
    example: r#"xavp_params_implode("gw", "$var(text)");"#,
    run: |call| implode(call, Family::Xavp),
    ..XAVP_PARAMS_EXPLODE
};

pub const XAVU_PARAMS_IMPLODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavu_params_implode"),
    doc: "Writes the fields of `$xavu(name)` as `a=1;b=2;` into a variable.",
    returns: &[(1, "done"), (-1, "there is no such `$xavu`, or it has no fields")],
    example: r#"xavu_params_implode("gw", "$var(text)");"#,
    run: |call| implode(call, Family::Xavu),
    ..XAVP_PARAMS_IMPLODE
};

pub const XAVP_SLIST_EXPLODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xavp_slist_explode"),
    params: &[
        Param::req("list", Kind::Str),
        Param::req("separator", Kind::Str),
        Param::req("mode", Kind::Str),
        Param::req("name", Kind::Str),
    ],
    doc: "Takes a list apart into a new `$xavp(name)`: `$xavp(name=>v[0])` is its first item. The separator is one \
          character; with `t` in `mode`, white space around the items is left out. Empty items do not count.",
    returns: &[(1, "done"), (-1, "bad separator, or no room")],
    example: r#"xavp_slist_explode("one, two", ",", "t", "items");"#,
    run: list,
    ..XAVP_PARAMS_EXPLODE
};

/// `a=1;b="2; 3";c`, in the order written, up to a comma; `None` if it is malformed.
fn params(text: &[u8]) -> Option<Vec<(Str, Value)>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.iter().position(|c| matches!(c, b'=' | b';' | b',')).unwrap_or(rest.len());
        let name = rest.get(..end)?.trim_ascii_end();
        if name.first().is_none_or(u8::is_ascii_whitespace) {
            return None;
        }
        let mut value = &b""[..];
        rest = rest.get(end..)?;
        if let Some(behind) = rest.strip_prefix(b"=") {
            let behind = behind.trim_ascii_start();
            (value, rest) = match behind.first()? {
                q @ (b'"' | b'\'') => {
                    let inner = behind.get(1..)?;
                    let close = memchr::memchr(*q, inner)?;
                    (inner.get(..close)?, inner.get(close + 1..)?.trim_ascii_start())
                }
                b';' | b',' => return None,
                _ => {
                    let end = memchr::memchr2(b';', b',', behind).unwrap_or(behind.len());
                    (behind.get(..end)?.trim_ascii_end(), behind.get(end..)?)
                }
            };
        }
        out.push((Str::from(name), Value::text(value)));
        rest = match rest.strip_prefix(b";") {
            Some(more) => more.trim_ascii_start(),
            None if rest.is_empty() || rest.starts_with(b",") => return Some(out),
            None => return None,
        };
        if rest.is_empty() {
            return Some(out);
        }
    }
}

fn explode(call: &mut Call<'_, SipHost>, family: Family) -> Step<SipHost> {
    let (Some(text), Some(name)) = (call.text(0), call.text(1)) else { return Step::Done(-1) };
    let Some(list) = params(&text) else { return Step::Done(-1) };
    let (xavps, limits) = call.vm().xavps_mut();
    let done = match family {
        // Those that are there stay, but for what has a new value.
        Family::Xavu => list.into_iter().try_for_each(|(field, v)| xavps.set(family, &name, &field, v, &limits)),
        _ => xavps.push(family, &name, Node::Fields(Fields::in_order(list.into_iter())), &limits),
    };
    match done {
        Ok(()) => Step::Done(1),
        Err(_) => Step::Fail(FULL.into()),
    }
}

fn implode(call: &mut Call<'_, SipHost>, family: Family) -> Step<SipHost> {
    let Some(name) = call.text(0) else { return Step::Done(-1) };
    let Some(Node::Fields(fields)) = call.vm().xavps().and_then(|x| x.get(family, &name, 0)) else {
        return Step::Done(-1);
    };
    let mut text = Vec::new();
    for (name, value) in fields.iter() {
        text.extend_from_slice(name);
        text.push(b'=');
        value.write_to(&mut text);
        text.push(b';');
    }
    call.assign(1, Value::text(text));
    Step::Done(1)
}

fn list(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let (Some(text), Some(separator), Some(name)) = (call.text(0), call.text(1), call.text(3)) else {
        return Step::Done(-1);
    };
    let Some(separator) = separator.first().copied() else { return Step::Done(-1) };
    let trim = call.text(2).is_some_and(|m| m.iter().any(|c| matches!(c, b't' | b'T')));
    let items = text.split(|c| *c == separator).map(|item| if trim { item.trim_ascii() } else { item });
    let fields: Vec<(&str, Value)> = items.filter(|i| !i.is_empty()).map(|i| ("v", Value::text(i))).collect();
    if fields.is_empty() {
        return Step::Done(-1);
    }
    let (xavps, limits) = call.vm().xavps_mut();
    if xavps.push(Family::Xavp, &name, Node::Fields(Fields::in_order(fields.into_iter())), &limits).is_err() {
        return Step::Fail(FULL.into());
    }
    Step::Done(1)
}
