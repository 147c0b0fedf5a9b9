//! What scripts ask about accounts at other servers' registrars, and what they do with them.

use super::registrations::{ATTRIBUTES, accounts, now, one, put, read_row, switch};
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::pv_set::set_ruri;
use crate::modules::request::{Outcome, Request};
use crate::ops;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

fn failed(call: &Call<'_, SipHost>, why: &str) -> Step<SipHost> {
    refused(call, why, -1)
}

fn refused(call: &Call<'_, SipHost>, why: &str, code: i32) -> Step<SipHost> {
    log_line(call.host, -1, &format!("uac: {why}"));
    Step::Done(code)
}

/// `uac_reg_lookup`
pub const LOOKUP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("uac_reg_lookup"),
    params: &[Param::req("uuid", Kind::Str), Param::req("result", Kind::Out)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Stores the URI of the user here, `l_username@l_domain`, that the account of this name stands for: calls that come \
          from the registrar have it in the R-URI.",
    returns: &[(1, "found"), (-1, "there is no such account")],
    example: r#"if (uac_reg_lookup("$rU", "$ru")) xlog("a call for $ru\n");"#,
    run: |call| {
        let uuid = call.text(0).unwrap_or_default();
        let found = accounts(call.host.env()).and_then(|a| a.get(&uuid).map_err(|e| e.to_string()));
        match found {
            Ok(Some(account)) => {
                call.assign(1, Value::Str(account.profile.local()));
                Step::Done(1)
            }
            Ok(None) => Step::Done(-1),
            Err(why) => failed(call, &why),
        }
    },
    finish: None,
};

/// `uac_reg_lookup_uri`
pub const LOOKUP_URI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_lookup_uri"),
    params: &[Param::req("uri", Kind::Str), Param::req("result", Kind::Out)],
    doc: "Stores the name (`l_uuid`) of the account whose `l_username` is the user of this URI, with reg_use_domain its \
          `l_domain` the domain; of several the first by name.",
    returns: &[(1, "found"), (-1, "there is no such account"), (-2, "it is no URI")],
    example: r#"if (uac_reg_lookup_uri("$fu", "$var(account)")) xlog("$fu has the account $var(account)\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let Ok(uri) = Uri::parse(&text) else { return refused(call, &format!("`{}` is no URI", text.to_lossy()), -2) };
        let with_domain = call.host.env().settings.uac.registrations.use_domain;
        let (user, domain) = (uri.user.unwrap_or_default(), with_domain.then_some(uri.host));
        let found = accounts(call.host.env()).and_then(|a| a.of_user(user, domain).map_err(|e| e.to_string()));
        match found {
            Ok(Some(account)) => {
                call.assign(1, Value::Str(account.profile.uuid));
                Step::Done(1)
            }
            Ok(None) => Step::Done(-1),
            Err(why) => failed(call, &why),
        }
    },
    ..LOOKUP
};

/// `uac_reg_status`
pub const STATUS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_status"),
    params: &[Param::req("uuid", Kind::Str)],
    doc: "How the account of this name stands.",
    returns: &[
        (1, "the registrar has it"),
        (-1, "there is no such account"),
        (-2, "it is being registered"),
        (-3, "it is disabled"),
        (-99, "it is not registered, and will be tried again"),
    ],
    example: r#"if (uac_reg_status("trunk") < 0) xlog("L_WARN", "the trunk is away\n");"#,
    run: |call| {
        let uuid = call.text(0).unwrap_or_default();
        let now = now(call.host.env());
        let found = accounts(call.host.env()).and_then(|a| a.get(&uuid).map_err(|e| e.to_string()));
        match found {
            Ok(Some(a)) if a.disabled || a.leaving => Step::Done(-3),
            Ok(Some(a)) if a.is_online(now) => Step::Done(1),
            Ok(Some(a)) => Step::Done(if a.attempt == 0 { -99 } else { -2 }),
            Ok(None) => Step::Done(-1),
            Err(why) => failed(call, &why),
        }
    },
    ..LOOKUP
};

/// `uac_reg_request_to`
pub const REQUEST_TO: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_request_to"),
    params: &[Param::req("account", Kind::Str), Param::req("mode", Kind::Int)],
    routes: RouteSet::letters("RFB"),
    doc: "The request goes to the registrar of an account: the R-URI becomes `r_username@r_domain`, the destination \
          `auth_proxy`, and auth_realm_avp, auth_username_avp and auth_password_avp get what uac_auth needs. Mode 0: the \
          account of this name; 1: the one whose `l_username` it is; 2 more: the password is `auth_ha1`, for \
          uac_auth_mode(1).",
    returns: &[(1, "done"), (-1, "there is no such account, or the three AVPs are not set")],
    example: r#"if (uac_reg_request_to("$fU", 1)) t_on_failure("missed");"#,
    run: |call| {
        let (name, mode) = (call.text(0).unwrap_or_default(), call.int(1).unwrap_or(0));
        if !(0..=3).contains(&mode) {
            return Step::Fail(format!("uac_reg_request_to has the modes 0 to 3, not {mode}"));
        }
        let found = accounts(call.host.env()).and_then(|a| {
            let found = if mode & 1 == 0 { a.get(&name) } else { a.of_user(&name, None) };
            found.map_err(|e| e.to_string())
        });
        let profile = match found {
            Ok(Some(account)) => account.profile,
            Ok(None) => return Step::Done(-1),
            Err(why) => return failed(call, &why),
        };
        let [Some(realm), Some(user), Some(password)] = call.host.env().settings.uac.login_avps.clone() else {
            let why = "auth_realm_avp, auth_username_avp and auth_password_avp of the module uac must be set";
            return failed(call, &format!("uac_reg_request_to: {why}"));
        };
        if set_ruri(call.host, profile.aor()).is_err() {
            return Step::Done(-1);
        }
        call.host.du = Some(profile.proxy.clone()).filter(|uri| !uri.is_empty());
        let secret = if mode & 2 == 0 { &profile.password } else { &profile.ha1 };
        for (avp, value) in [(realm, &profile.realm), (user, profile.login_user()), (password, secret)] {
            call.vm().clear_avp(&avp);
            call.vm().push_avp(&avp, Value::Str(value.clone()));
        }
        Step::Done(1)
    },
    ..LOOKUP
};

/// `uac_reg_enable`
pub const ENABLE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_enable"),
    params: &[Param::req("attribute", Kind::Str), Param::req("value", Kind::Str)],
    doc: "Enables the accounts whose `l_uuid`, `l_username`, `r_username` or `auth_username` has this value: they are registered \
          within a second.",
    returns: &[
        (1, "done"),
        (-1, "the shared store cannot be used"),
        (-2, "there is no such account"),
        (-3, "there is no such attribute"),
    ],
    example: r#"uac_reg_enable("l_uuid", "trunk");"#,
    run: |call| switched(call, false),
    ..LOOKUP
};

/// `uac_reg_disable`
pub const DISABLE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_disable"),
    doc: "Disables these accounts: what is registered of them is taken back within a second.",
    example: r#"uac_reg_disable("l_uuid", "trunk");"#,
    run: |call| switched(call, true),
    ..ENABLE
};

fn switched(call: &Call<'_, SipHost>, disabled: bool) -> Step<SipHost> {
    let [attribute, value] = [0, 1].map(|i| call.text(i).unwrap_or_default());
    if !ATTRIBUTES.iter().any(|a| *attribute == *a.as_bytes()) {
        let names = ATTRIBUTES.join(", ");
        return refused(call, &format!("`{}` is none of the attributes {names}", attribute.to_lossy()), -3);
    }
    match switch(call.host.env(), &attribute, &value, disabled) {
        Ok(0) => Step::Done(-2),
        Ok(_) => Step::Done(1),
        Err(why) => failed(call, &why),
    }
}

/// `uac_reg_refresh`
pub const REFRESH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_reg_refresh"),
    params: &[Param::req("uuid", Kind::Str)],
    waits: true,
    doc: "Reads the account of this name from the table (reg_db_table), and registers it anew.",
    returns: &[(1, "done"), (-1, "the table has no such account, or cannot be read")],
    example: r#"uac_reg_refresh("trunk");"#,
    run: |call| {
        let uuid = call.text(0).unwrap_or_default();
        match one(call.host.env(), &uuid) {
            Ok(request) => Step::Wait(Request::Op { op: ops::Request::Sql(request), limit: None }),
            Err(why) => failed(call, &why),
        }
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        let Some(row) = result.rows.first() else { return Step::Done(-1) };
        let env = call.host.env();
        let done = read_row(env, &result.columns, row).and_then(|profile| put(env, vec![profile], true));
        match done {
            Ok(0) => Step::Done(1),
            Ok(_) => failed(call, "there are too many accounts"),
            Err(why) => failed(call, &why),
        }
    }),
    ..LOOKUP
};
