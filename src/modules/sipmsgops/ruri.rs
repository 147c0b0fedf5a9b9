//! Parameters of the R-URI.

use super::MOST;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_set::set_ruri;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

fn done(ok: bool) -> Step<SipHost> {
    Step::Done(if ok { 1 } else { -1 })
}

/// `ruri_has_param`
pub const RURI_HAS_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("ruri_has_param"),
    kamailio: None,
    params: &[Param::req("name", Kind::Str), Param::opt("value", Kind::Str)],
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Whether the R-URI has the parameter (with this value).",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (ruri_has_param("user", "phone")) route(pstn);"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let value = call.text(1);
        let Ok(uri) = Uri::parse(call.host.current_ruri()) else { return done(false) };
        done(match (uri.params.get(&name), value) {
            (Some(p), Some(v)) => p.text().eq_ignore_ascii_case(&v),
            (found, _) => found.is_some(),
        })
    },
    finish: None,
};

/// `ruri_add_param`
pub const RURI_ADD_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("ruri_add_param"),
    params: &[Param::req("param", Kind::Str)],
    doc: "Adds a parameter (`name` or `name=value`) to the R-URI.",
    returns: &[(1, "added"), (-1, "the R-URI takes none")],
    example: r#"ruri_add_param("user=phone");"#,
    run: |call| {
        let param = call.text(0).unwrap_or_default();
        let param = param.strip_prefix(b";").unwrap_or(&param);
        let (name, value) = match param.iter().position(|b| *b == b'=') {
            Some(at) => (&param[..at], Some(&param[at + 1..])),
            None => (param, None),
        };
        let Ok(uri) = Uri::parse(call.host.current_ruri()) else { return done(false) };
        if name.is_empty() || !uri.is_sip() {
            return done(false);
        }
        let new = uri.with_param(name, value);
        done(Uri::parse(&new).is_ok() && set_ruri(call.host, Str::from(new)).is_ok())
    },
    ..RURI_HAS_PARAM
};

/// `ruri_del_param`
pub const RURI_DEL_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("ruri_del_param"),
    params: &[Param::req("name", Kind::Str)],
    doc: "Removes a parameter from the R-URI.",
    returns: &[(1, "removed"), (-1, "it was not there")],
    example: r#"ruri_del_param("transport");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let Ok(uri) = Uri::parse(call.host.current_ruri()) else { return done(false) };
        if !uri.params.has(&name) {
            return done(false);
        }
        let new = uri.without_param(&name);
        done(set_ruri(call.host, Str::from(new)).is_ok())
    },
    ..RURI_HAS_PARAM
};

/// `ruri_tel2sip`
pub const RURI_TEL2SIP: FnSpec<SipHost> = FnSpec {
    opensips: Some("ruri_tel2sip"),
    kamailio: None,
    params: &[],
    routes: RouteSet::letters("RFBL"),
    doc: "Turns a tel R-URI into a SIP URI at the From host, with `user=phone` (RFC 3261 19.1.6).",
    returns: &[(1, "done, or it was no tel URI"), (-1, "not possible")],
    example: "ruri_tel2sip();",
    run: |call| {
        let ruri = call.host.current_ruri();
        let Some(number) = ruri.get(..4).filter(|p| p.eq_ignore_ascii_case(b"tel:")).and(ruri.get(4..)) else {
            return done(true);
        };
        let from = call.host.msg.from();
        let Ok(uri) = from.parse_uri() else { return done(false) };
        let new = [b"sip:", number, b"@", uri.host, b";user=phone"].concat();
        done(Uri::parse(&new).is_ok() && set_ruri(call.host, Str::from(new)).is_ok())
    },
    ..RURI_HAS_PARAM
};
