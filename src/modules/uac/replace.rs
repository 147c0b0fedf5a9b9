//! Replacing From and To.

use super::Restore;
use super::dialog::{Side, follow, set, uri_of, write};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// `uac_replace_from`
pub const UAC_REPLACE_FROM: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_replace_from"),
    kamailio: Some("uac_replace_from"),
    params: &[Param::req("display", Kind::Str), Param::opt("uri", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFB"),
    waits: false,
    doc: "Replaces display name and URI of From; one argument is the URI. An empty display name removes it, an empty URI \
          leaves it. The display name gets quotes; in Kamailio's language only if it needs them. Unless restore_mode is `none`, the Record-Route (record_route is the script's to call) carries what \
          brings the caller's address back.",
    returns: &[(1, "done"), (-1, "the URI is not valid, or it was replaced before")],
    example: r#"uac_replace_from("Anonymous", "sip:anonymous@anonymous.invalid");"#,
    run: |call| replace(call, Side::From),
    finish: None,
};

/// `uac_replace_to`
pub const UAC_REPLACE_TO: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_replace_to"),
    kamailio: Some("uac_replace_to"),
    doc: "The same for To.",
    example: r#"uac_replace_to("", "sip:bob@example.com");"#,
    run: |call| replace(call, Side::To),
    ..UAC_REPLACE_FROM
};

/// `uac_restore_from`
pub const UAC_RESTORE_FROM: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_restore_from"),
    kamailio: Some("uac_restore_from"),
    params: &[],
    doc: "A request of a dialog whose From was replaced gets the address that its receiver knows; behind loose_route, \
          with restore_mode `manual`.",
    returns: &[(1, "done"), (-1, "there is nothing to be done")],
    example: "uac_restore_from();",
    run: |call| restore(call, Side::From),
    ..UAC_REPLACE_FROM
};

/// `uac_restore_to`
pub const UAC_RESTORE_TO: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_restore_to"),
    kamailio: Some("uac_restore_to"),
    doc: "The same for To.",
    example: "uac_restore_to();",
    run: |call| restore(call, Side::To),
    ..UAC_RESTORE_FROM
};

fn replace(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    if !call.host.msg.is_request() {
        return Step::Done(-1);
    }
    let (display, uri) = match call.given(1) {
        true => (call.text(0), call.text(1)),
        false => (None, call.text(0)),
    };
    let uri = uri.filter(|u| !u.is_empty());
    if uri.as_ref().is_some_and(|u| Uri::parse(u).is_err()) {
        return Step::Fail(format!("`{}` is no URI", uri.unwrap_or_default().to_lossy()));
    }
    if display.as_ref().is_some_and(|d| d.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))) {
        return Step::Fail("a display name cannot hold line breaks".to_string());
    }
    let h = &mut *call.host;
    let Some(original) = uri_of(h, side) else { return Step::Done(-1) };
    let (restore, name, password) = {
        let s = &h.env().settings.uac;
        (s.restore, s.param(side).clone(), s.password.clone())
    };
    if let Some(new) = uri.as_ref().filter(|_| restore != Restore::None && h.msg.to_tag().is_none()) {
        let there = [b";", &name[..], b"="].concat();
        if memchr::memmem::find(&h.rr.params, &there).is_some() {
            return Step::Fail("the address was replaced before".to_string());
        }
        let Some(secret) = write(&original, new, &password) else {
            return Step::Fail("the URIs are too long".to_string());
        };
        h.rr.params = Str::from([&h.rr.params[..], &there, secret.as_bytes()].concat());
    }
    let uri = uri.map_or(original, |u| u.to_vec());
    Step::Done(if set(h, side, &uri, display.as_deref()) { 1 } else { -1 })
}

fn restore(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    // A reply's addresses are brought back when it leaves.
    if !call.host.msg.is_request() {
        return Step::Done(1);
    }
    Step::Done(if follow(call.host, side) { 1 } else { -1 })
}
