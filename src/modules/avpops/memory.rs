//! Removing, copying, inserting AVPs; whether one is set.

use super::ROUTES;
use super::name::{self, Which};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::script::value::Value;

/// A verdict, or what is wrong with the arguments.
pub type Verdict = Result<bool, String>;

/// The step of a verdict: 1, -1 or a script error.
pub fn step(verdict: Verdict) -> Step<SipHost> {
    match verdict {
        Ok(yes) => Step::Done(if yes { 1 } else { -1 }),
        Err(why) => Step::Fail(why),
    }
}

/// `avp_delete`
pub const AVP_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_delete"),
    kamailio: Some("avp_delete"),
    params: &[Param::req("name[/flags]", Kind::RawOrOut)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Removes the newest value of an AVP (or the indexed one); with flag `g` all of them. The name `a` removes \
          every AVP.",
    returns: &[(1, "removed"), (-1, "it was not set")],
    example: r#"avp_delete("$avp(dest)/g");"#,
    run: |call| step(delete(call)),
    finish: None,
};

/// `avp_copy`
pub const AVP_COPY: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_copy"),
    kamailio: Some("avp_copy"),
    params: &[Param::req("from", Kind::RawOrOut), Param::req("to[/flags]", Kind::RawOrOut)],
    doc: "Copies the newest value of an AVP (or the indexed one) to another AVP, on top of its values. Flags: `g` all \
          values, `d` the copied ones are removed, `n` texts become numbers (others are left out), `s` numbers \
          become texts.",
    returns: &[(1, "copied"), (-1, "there was nothing to copy")],
    example: r#"avp_copy("$avp(old)", "$avp(new)/gd");"#,
    run: |call| step(copy(call)),
    ..AVP_DELETE
};

/// `avp_insert`
pub const AVP_INSERT: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_insert"),
    kamailio: None,
    params: &[Param::req("name", Kind::RawOrOut), Param::req("value", Kind::Str), Param::req("index", Kind::Int)],
    doc: "Inserts a value into an AVP's list so that it gets this index; negative ones count from the end, and past \
          the end it becomes the last. A text that is a number is kept as text.",
    returns: &[(1, "inserted")],
    example: r#"avp_insert("$avp(dest)", "$ru", 1);"#,
    run: |call| step(insert(call)),
    ..AVP_DELETE
};

/// `is_avp_set`
pub const IS_AVP_SET: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_avp_set"),
    kamailio: Some("is_avp_set"),
    params: &[Param::req("name[/flags]", Kind::RawOrOut)],
    doc: "Whether an AVP has a value. Flags ask about the newest value (or the indexed one): `e` whether it is empty \
          or 0, `s` whether it is a text, `n` whether it is a number.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (is_avp_set("$avp(dest)")) avp_delete("$avp(dest)");"#,
    run: |call| step(is_set(call)),
    ..AVP_DELETE
};

/// The AVPs and the flags of argument `i`.
fn argument(call: &mut Call<'_, SipHost>, i: usize, known: &[u8]) -> Result<(Which, Vec<u8>), String> {
    if let Some(out) = call.out(i) {
        return Ok((Which::One(name::avp_of(out)?), Vec::new()));
    }
    let text = call.text(i).unwrap_or_default();
    let parts = name::parts(&text);
    let flags = name::flags(parts.get(1).copied(), known)?;
    Ok((name::which(call, parts.first().copied().unwrap_or_default())?, flags))
}

/// As [`argument`], for one AVP.
fn single(call: &mut Call<'_, SipHost>, i: usize, known: &[u8]) -> Result<(name::Avp, Vec<u8>), String> {
    match argument(call, i, known)? {
        (Which::One(avp), flags) => Ok((avp, flags)),
        (Which::All, _) => Err("a single AVP is wanted".to_string()),
    }
}

fn delete(call: &mut Call<'_, SipHost>) -> Verdict {
    let (which, flags) = argument(call, 0, b"g")?;
    match which {
        Which::All => {
            let all = call.vm().avps();
            for (name, _) in &all {
                call.vm().clear_avp(name);
            }
            Ok(!all.is_empty())
        }
        Which::One(avp) if flags.contains(&b'g') => Ok(call.vm().clear_avp(&avp.name) > 0),
        Which::One(avp) => Ok(take(call, &avp).is_some()),
    }
}

/// Removes the indexed (or newest) value; gives it back.
fn take(call: &mut Call<'_, SipHost>, avp: &name::Avp) -> Option<Value> {
    let mut values = call.vm().avp(&avp.name);
    let at = name::position(values.len(), avp.index.unwrap_or(0))?;
    let taken = values.remove(at);
    name::set_all(call, &avp.name, values);
    Some(taken)
}

fn copy(call: &mut Call<'_, SipHost>) -> Verdict {
    let (from, _) = single(call, 0, b"")?;
    let (to, flags) = single(call, 1, b"gdns")?;
    let has = |f: u8| flags.contains(&f);
    let mut values = if has(b'g') { call.vm().avp(&from.name) } else { name::values(call, &from) };
    values.truncate(if has(b'g') { usize::MAX } else { 1 });
    if values.is_empty() {
        return Ok(false);
    }
    if has(b'd') {
        if has(b'g') {
            call.vm().clear_avp(&from.name);
        } else {
            take(call, &from);
        }
    }
    let values: Vec<Value> = values
        .into_iter()
        .filter_map(|v| match v {
            v if has(b'n') => v.to_int().map(Value::Int),
            v if has(b's') => v.to_text().map(Value::Str),
            v => Some(v),
        })
        .collect();
    let any = !values.is_empty();
    name::push_all(call, &to.name, values);
    Ok(any)
}

fn insert(call: &mut Call<'_, SipHost>) -> Verdict {
    let (avp, _) = single(call, 0, b"")?;
    let value = call.text(1).unwrap_or_default();
    let index = call.int(2).unwrap_or(0);
    let mut values = call.vm().avp(&avp.name);
    let at = if index < 0 {
        name::position(values.len(), index).unwrap_or(0)
    } else {
        usize::try_from(index).unwrap_or(usize::MAX).min(values.len())
    };
    values.insert(at, Value::Str(value));
    name::set_all(call, &avp.name, values);
    Ok(true)
}

fn is_set(call: &mut Call<'_, SipHost>) -> Verdict {
    let (which, flags) = argument(call, 0, b"esn")?;
    let avp = match which {
        Which::All => return Ok(!call.vm().avps().is_empty()),
        Which::One(avp) => avp,
    };
    let Some(value) = name::values(call, &avp).into_iter().next() else { return Ok(false) };
    let number = value.as_int();
    Ok(flags.iter().all(|f| match f {
        b'e' => number.map_or_else(|| value.to_text().is_none_or(|t| t.is_empty()), |n| n == 0),
        b's' => number.is_none(),
        _ => number.is_some(),
    }))
}
