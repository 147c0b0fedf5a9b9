//! `auth_db` of Kamailio.

use super::check::{Check, load};
use super::{INT, STR, identifier, ignored, param, query};
use crate::modules::auth::check::{self, Address};
use crate::modules::auth::{KAMAILIO_CODES, Side, Verdict};
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::ops::{self, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "auth_db",
    dialects: &[Dialect::Kamailio],
    functions: &[WWW_AUTHENTICATE, WWW_AUTHORIZE, PROXY_AUTHENTICATE, PROXY_AUTHORIZE, AUTH_CHECK, IS_SUBSCRIBER],
    params: &[
        param("db_url", STR, "the database; default: db_default_url of the core"),
        param("user_column", STR, "default username"),
        param("domain_column", STR, "default domain"),
        param("password_column", STR, "column with the hash (HA1), or with calculate_ha1 the password; default ha1"),
        param("password_column_2", STR, "column with the hash of a name that has a domain; default ha1b"),
        param("calculate_ha1", INT, "1: password_column holds passwords; default 0"),
        param("use_domain", INT, "1: a user is found by name and domain (that of the name, else the realm); default 0"),
        param(
            "load_credentials",
            STR,
            "columns that go into AVPs when the credentials are right: `$avp(name)=column;column`",
        ),
        param("force_generate_avps", INT, "1: they go there also when the password is wrong; default 0"),
        ignored("version_table", "the tables' versions are not looked at"),
    ],
    any_param: false,
    needs: &["auth"],
};

const REALM: Param = Param::req("realm", Kind::Str);
const TABLE: Param = Param::req("table", Kind::Str);

const WWW_AUTHENTICATE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("www_authenticate"),
    params: &[REALM, TABLE, Param::opt("method", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: true,
    doc: "Checks the Authorization header for this realm against a table of users. Method: another one than the request's.",
    returns: KAMAILIO_CODES,
    example: r#"if (!www_authenticate("$td", "subscriber")) { exit; }"#,
    run: |call| plain(call, Side::Www).start(call),
    finish: Some(|call, outcome| done(&plain(call, Side::Www), call, outcome)),
};

const WWW_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("www_authorize"),
    doc: "The same as www_authenticate.",
    example: r#"if (!www_authorize("$td", "subscriber")) { exit; }"#,
    ..WWW_AUTHENTICATE
};

const PROXY_AUTHENTICATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("proxy_authenticate"),
    params: &[REALM, TABLE],
    doc: "As www_authenticate, for the Proxy-Authorization header.",
    example: r#"if (!proxy_authenticate("$fd", "subscriber")) { exit; }"#,
    run: |call| plain(call, Side::Proxy).start(call),
    finish: Some(|call, outcome| done(&plain(call, Side::Proxy), call, outcome)),
    ..WWW_AUTHENTICATE
};

const PROXY_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("proxy_authorize"),
    doc: "The same as proxy_authenticate.",
    example: r#"if (!proxy_authorize("$fd", "subscriber")) { exit; }"#,
    ..PROXY_AUTHENTICATE
};

const AUTH_CHECK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("auth_check"),
    params: &[REALM, TABLE, Param::req("flags", Kind::Int)],
    doc: "www_authenticate for a REGISTER, proxy_authenticate for any other request. Flags 1: the user of the credentials must be that of \
          From, for a REGISTER also that of To, for a PUBLISH also those of To and the R-URI, and with use_domain the hosts there must be the realm; \
          3: not for INVITE, BYE, PRACK, UPDATE and MESSAGE, whose caller may be anonymous; 0: never.",
    example: r#"if (!auth_check("$fd", "subscriber", "1")) { exit; }"#,
    run: |call| combined(call).start(call),
    finish: Some(|call, outcome| {
        let check = combined(call);
        match check.end(call, outcome) {
            Ok(Verdict::Accepted) => Step::Done(identity(call, &check).code(Dialect::Kamailio)),
            Ok(verdict) => Step::Done(verdict.code(Dialect::Kamailio)),
            Err(code) => Step::Done(code),
        }
    }),
    ..WWW_AUTHENTICATE
};

fn plain(call: &Call<'_, SipHost>, side: Side) -> Check {
    Check {
        side,
        dialect: Dialect::Kamailio,
        realm: call.text(0).unwrap_or_default(),
        table: call.text(1).unwrap_or_default(),
        method: call.text(2).filter(|m| !m.is_empty()),
    }
}

fn combined(call: &Call<'_, SipHost>) -> Check {
    Check { method: None, ..plain(call, Side::of(&call.host.msg)) }
}

fn done(check: &Check, call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(check.end(call, outcome).map_or_else(|code| code, |verdict| verdict.code(Dialect::Kamailio)))
}

/// Whether the user whose credentials they are is who the request says.
fn identity(call: &Call<'_, SipHost>, checked: &Check) -> Verdict {
    let flags = call.int(2).unwrap_or(0);
    let msg = &call.host.msg;
    let method = msg.method_bytes();
    let anonymous: [&[u8]; 5] = [b"INVITE", b"BYE", b"PRACK", b"UPDATE", b"MESSAGE"];
    if flags & 1 == 0 || (flags & 2 != 0 && anonymous.contains(&method)) {
        return Verdict::Accepted;
    }
    let addresses: &[Address] = match method {
        b"REGISTER" => &[Address::From, Address::To],
        b"PUBLISH" => &[Address::From, Address::To, Address::Ruri],
        _ => &[Address::From],
    };
    let Some((user, _)) = check::user(call.host, checked.side, &checked.realm) else { return Verdict::Error };
    let settings = &call.host.env().settings;
    let realm = settings.auth.without_prefix(&checked.realm);
    let same_host = |a: &Address| settings.auth.without_prefix(&a.host(msg)).eq_ignore_ascii_case(realm);
    let own =
        check::is_user(msg, &user, addresses) && (!settings.auth_db.use_domain || addresses.iter().all(same_host));
    if own { Verdict::Accepted } else { Verdict::OtherUser }
}

const IS_SUBSCRIBER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_subscriber"),
    params: &[Param::req("uri", Kind::Str), TABLE, Param::req("flags", Kind::Int)],
    routes: RouteSet::ALL,
    doc: "Whether a URI is that of a user in a table; what `load_credentials` names goes into its AVPs. Flags, added up: 1 name and domain must fit, 2 \
          no AVPs.",
    returns: &[
        (1, "it is"),
        (-1, "it is not, or an error: no SIP URI, a database that did not answer (see $async_err)"),
        crate::modules::sqlops::OPEN,
    ],
    example: r#"if (!is_subscriber("$ru", "subscriber", "3")) { exit; }"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let Some((user, host)) = Uri::parse(&text).ok().and_then(|uri| Some((uri.user?.to_vec(), uri.host.to_vec())))
        else {
            return Step::Done(-1);
        };
        let flags = call.int(2).unwrap_or(0);
        let table = call.text(1).unwrap_or_default();
        let table = match identifier(&table) {
            Ok(table) => table.to_string(),
            Err(why) => return Step::Fail(why),
        };
        let s = &call.host.env().settings.auth_db;
        let columns: Vec<String> =
            s.load.iter().filter(|_| flags & 2 == 0).map(|(_, c)| c.to_lossy().into_owned()).collect();
        let wanted = if columns.is_empty() { s.user.to_lossy().into_owned() } else { columns.join(", ") };
        let mut statement = format!("SELECT {wanted} FROM {table} WHERE {} = ?", s.user.to_lossy());
        let mut params = vec![SqlValue::Text(user.into())];
        if flags & 1 != 0 {
            statement.push_str(&format!(" AND {} = ?", s.domain.to_lossy()));
            params.push(SqlValue::Text(host.into()));
        }
        query(call, statement, params)
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        if result.rows.is_empty() {
            return Step::Done(-1);
        }
        if call.int(2).unwrap_or(0) & 2 == 0 {
            load(call, &result, 0);
        }
        Step::Done(1)
    }),
    ..WWW_AUTHENTICATE
};
