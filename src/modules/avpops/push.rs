//! `avp_pushto`: from an AVP into the message.

use super::ROUTES;
use super::memory::{Verdict, step};
use super::name;
use crate::modules::host::SipHost;
use crate::modules::pv;
use crate::script::ast::Dialect;
use crate::script::host::{Host, Index};
use crate::script::registry::{Call, FnSpec, Kind, Param};
use crate::script::value::Value;

/// `avp_pushto`
pub const AVP_PUSHTO: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_pushto"),
    kamailio: Some("avp_pushto"),
    params: &[Param::req("destination", Kind::Raw), Param::req("name[/flags]", Kind::RawOrOut)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Writes the newest value of an AVP (or the indexed one) into the message: `$ru`, `$ru/username`, \
          `$ru/domain`, `$du`, `$du/domain`, any other writable variable of the message, or `$br` for a new branch \
          with this R-URI. With flag `g` every value is used: with `$br` each becomes a branch, with `$ru` all but \
          the first do.",
    returns: &[(1, "written"), (-1, "the AVP is not set, or its value does not fit there")],
    example: r#"avp_pushto("$ru", "$avp(dest)");"#,
    run: |call| step(push(call)),
    finish: None,
};

fn push(call: &mut Call<'_, SipHost>) -> Verdict {
    let dest = call.text(0).unwrap_or_default();
    let parts = name::parts(&dest);
    let variable = match (parts.first().copied().unwrap_or_default(), parts.get(1).copied()) {
        (b"$ru", Some(b"username")) => "rU",
        (b"$ru", Some(b"domain")) => "rd",
        (b"$du", Some(b"domain")) => "dd",
        (b"$br", None) => "msg.branch",
        (var, None) => std::str::from_utf8(var).ok().and_then(|v| v.strip_prefix('$')).unwrap_or_default(),
        _ => "",
    };
    let Some(spec) = pv::find(Dialect::OpenSips, variable, None).filter(|s| s.writable) else {
        return Err(format!("`{}` cannot be written", dest.to_lossy()));
    };
    let (values, all) = match call.out(1) {
        Some(out) => {
            let avp = name::avp_of(out)?;
            (name::values(call, &avp), false)
        }
        None => {
            let text = call.text(1).unwrap_or_default();
            let parts = name::parts(&text);
            let flags = name::flags(parts.get(1).copied(), b"g")?;
            let avp = name::one(call, parts.first().copied().unwrap_or_default())?;
            (name::values(call, &avp), flags.contains(&b'g'))
        }
    };
    let branch = pv::find(Dialect::OpenSips, "msg.branch", None).filter(|_| all && variable == "ru");
    let mut any = false;
    for (n, value) in values.into_iter().enumerate() {
        let (pv, more) = match branch {
            Some(b) if n > 0 => (b.pv, true),
            _ => (spec.pv, all && variable == "msg.branch"),
        };
        let text = value.to_text().map_or(Value::Null, Value::Str);
        any |= call.host.set(pv, None, Index::None, false, text).is_ok();
        if !(more || branch.is_some()) {
            break;
        }
    }
    Ok(any)
}
