//! Changing the R-URI and the destination URI.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_set::{UriPart, edit_ruri, set_ruri};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

fn done(ok: bool) -> Step<SipHost> {
    Step::Done(if ok { 1 } else { -1 })
}

fn user_of(h: &SipHost) -> Vec<u8> {
    Uri::parse(h.current_ruri()).ok().and_then(|u| u.user).unwrap_or_default().to_vec()
}

fn set_user(h: &mut SipHost, user: &[u8]) -> Step<SipHost> {
    let value = if user.is_empty() { Value::Null } else { Value::text(user) };
    done(edit_ruri(h, UriPart::User, &value).is_ok())
}

/// `seturi`
pub const SETURI: FnSpec<SipHost> = FnSpec {
    opensips: Some("seturi"),
    kamailio: Some("seturi"),
    params: &[Param::req("uri", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFBOELTVS"),
    waits: false,
    doc: "Sets the R-URI.",
    returns: &[(1, "set"), (-1, "not a valid URI")],
    example: r#"seturi("sip:voicemail@10.0.0.5");"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_default();
        done(Uri::parse(&uri).is_ok() && set_ruri(call.host, uri).is_ok())
    },
    finish: None,
};

/// `rewriteuri`
pub const REWRITEURI: FnSpec<SipHost> = FnSpec { opensips: Some("rewriteuri"), kamailio: Some("rewriteuri"), ..SETURI };

/// `setuser`
pub const SETUSER: FnSpec<SipHost> = FnSpec {
    opensips: Some("setuser"),
    kamailio: Some("setuser"),
    params: &[Param::req("user", Kind::Str)],
    doc: "Sets the user part of the R-URI.",
    example: r#"setuser("echo");"#,
    run: |call| {
        let user = call.text(0).unwrap_or_default();
        set_user(call.host, &user)
    },
    ..SETURI
};

/// `setu`
pub const SETU: FnSpec<SipHost> = FnSpec { opensips: Some("setu"), kamailio: Some("setu"), ..SETUSER };

/// `rewriteuser`
pub const REWRITEUSER: FnSpec<SipHost> =
    FnSpec { opensips: Some("rewriteuser"), kamailio: Some("rewriteuser"), ..SETUSER };

/// `setuserpass`
pub const SETUSERPASS: FnSpec<SipHost> = FnSpec {
    opensips: Some("setuserpass"),
    kamailio: Some("setuserpass"),
    params: &[Param::req("password", Kind::Str)],
    doc: "Sets the password of the R-URI.",
    example: r#"setuserpass("secret");"#,
    run: |call| {
        let password = call.text(0).unwrap_or_default();
        let mut user = user_of(call.host);
        if user.is_empty() {
            return done(false);
        }
        user.push(b':');
        user.extend_from_slice(&password);
        let Ok(uri) = Uri::parse(call.host.current_ruri()) else { return done(false) };
        let bare = uri.with_user(None);
        let Ok(bare) = Uri::parse(&bare) else { return done(false) };
        let new = bare.with_user(Some(&user));
        done(Uri::parse(&new).is_ok() && set_ruri(call.host, Str::from(new)).is_ok())
    },
    ..SETURI
};

/// `sethost`
pub const SETHOST: FnSpec<SipHost> = FnSpec {
    opensips: Some("sethost"),
    kamailio: Some("sethost"),
    params: &[Param::req("host", Kind::Str)],
    doc: "Sets the host of the R-URI.",
    example: r#"sethost("10.0.0.7");"#,
    run: |call| {
        let host = call.text(0).unwrap_or_default();
        done(edit_ruri(call.host, UriPart::Host, &Value::Str(host)).is_ok())
    },
    ..SETURI
};

/// `seth`
pub const SETH: FnSpec<SipHost> = FnSpec { opensips: Some("seth"), kamailio: Some("seth"), ..SETHOST };

/// `rewritehost`
pub const REWRITEHOST: FnSpec<SipHost> =
    FnSpec { opensips: Some("rewritehost"), kamailio: Some("rewritehost"), ..SETHOST };

/// `sethostport`
pub const SETHOSTPORT: FnSpec<SipHost> = FnSpec {
    opensips: Some("sethostport"),
    kamailio: Some("sethostport"),
    params: &[Param::req("host[:port]", Kind::Str)],
    doc: "Sets host and port of the R-URI.",
    example: r#"sethostport("10.0.0.7:5080");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let (host, port) = crate::modules::host::split_host_port(&text);
        let host = if host.contains(&b':') { [b"[", host, b"]"].concat() } else { host.to_vec() };
        let port = port.map_or(Value::Null, |p| Value::Int(i64::from(p)));
        done(
            edit_ruri(call.host, UriPart::Host, &Value::text(host)).is_ok()
                && edit_ruri(call.host, UriPart::Port, &port).is_ok(),
        )
    },
    ..SETURI
};

/// `sethp`
pub const SETHP: FnSpec<SipHost> = FnSpec { opensips: Some("sethp"), kamailio: Some("sethp"), ..SETHOSTPORT };

/// `rewritehostport`
pub const REWRITEHOSTPORT: FnSpec<SipHost> =
    FnSpec { opensips: Some("rewritehostport"), kamailio: Some("rewritehostport"), ..SETHOSTPORT };

/// `setport`
pub const SETPORT: FnSpec<SipHost> = FnSpec {
    opensips: Some("setport"),
    kamailio: Some("setport"),
    params: &[Param::req("port", Kind::Int)],
    doc: "Sets the port of the R-URI.",
    example: "setport(5070);",
    run: |call| {
        let port = call.int(0).map_or(Value::Null, Value::Int);
        done(edit_ruri(call.host, UriPart::Port, &port).is_ok())
    },
    ..SETURI
};

/// `setp`
pub const SETP: FnSpec<SipHost> = FnSpec { opensips: Some("setp"), kamailio: Some("setp"), ..SETPORT };

/// `rewriteport`
pub const REWRITEPORT: FnSpec<SipHost> =
    FnSpec { opensips: Some("rewriteport"), kamailio: Some("rewriteport"), ..SETPORT };

/// `prefix`
pub const PREFIX: FnSpec<SipHost> = FnSpec {
    opensips: Some("prefix"),
    kamailio: Some("prefix"),
    params: &[Param::req("text", Kind::Str)],
    doc: "Puts a text before the user part of the R-URI.",
    example: r#"prefix("00");"#,
    run: |call| {
        let mut user = call.text(0).unwrap_or_default().to_vec();
        user.extend_from_slice(&user_of(call.host));
        set_user(call.host, &user)
    },
    ..SETURI
};

/// `strip`
pub const STRIP: FnSpec<SipHost> = FnSpec {
    opensips: Some("strip"),
    kamailio: Some("strip"),
    params: &[Param::req("count", Kind::Int)],
    doc: "Removes characters from the start of the user part.",
    example: "strip(2);",
    run: |call| {
        let n = count(call);
        let user = user_of(call.host);
        set_user(call.host, &user[n.min(user.len())..])
    },
    ..SETURI
};

/// `strip_tail`
pub const STRIP_TAIL: FnSpec<SipHost> = FnSpec {
    opensips: Some("strip_tail"),
    kamailio: Some("strip_tail"),
    params: &[Param::req("count", Kind::Int)],
    doc: "Removes characters from the end of the user part.",
    example: "strip_tail(1);",
    run: |call| {
        let n = count(call);
        let user = user_of(call.host);
        set_user(call.host, &user[..user.len().saturating_sub(n)])
    },
    ..SETURI
};

fn count(call: &Call<'_, SipHost>) -> usize {
    usize::try_from(call.int(0).unwrap_or(0)).unwrap_or(0)
}

/// `revert_uri`
pub const REVERT_URI: FnSpec<SipHost> = FnSpec {
    opensips: Some("revert_uri"),
    kamailio: Some("revert_uri"),
    params: &[],
    doc: "Back to the R-URI as received.",
    returns: &[(1, "done")],
    example: "revert_uri();",
    run: |call| {
        call.host.ruri = None;
        Step::Done(1)
    },
    ..SETURI
};

/// `setdsturi`
pub const SETDSTURI: FnSpec<SipHost> = FnSpec {
    opensips: Some("setdsturi"),
    kamailio: Some("setdsturi"),
    doc: "Sets the next hop (`$du`).",
    example: r#"setdsturi("sip:10.0.0.9:5060");"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_default();
        if Uri::parse(&uri).is_err() {
            return done(false);
        }
        call.host.du = Some(uri);
        done(true)
    },
    ..SETURI
};

/// `setduri`
pub const SETDURI: FnSpec<SipHost> = FnSpec { opensips: Some("setduri"), kamailio: Some("setduri"), ..SETDSTURI };

/// `resetdsturi`
pub const RESETDSTURI: FnSpec<SipHost> = FnSpec {
    opensips: Some("resetdsturi"),
    kamailio: Some("resetdsturi"),
    params: &[],
    doc: "Removes the next hop.",
    returns: &[(1, "done")],
    example: "resetdsturi();",
    run: |call| {
        call.host.du = None;
        Step::Done(1)
    },
    ..SETURI
};

/// `isdsturiset`
pub const ISDSTURISET: FnSpec<SipHost> = FnSpec {
    opensips: Some("isdsturiset"),
    kamailio: Some("isdsturiset"),
    params: &[],
    doc: "Whether a next hop is set.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (isdsturiset()) xlog("to $du\n");"#,
    run: |call| done(call.host.du.is_some()),
    ..SETURI
};
