//! `auth_db` of OpenSIPS.

use super::check::Check;
use super::uri::{DB_DOES_URI_EXIST, DB_GET_AUTH_ID, DB_IS_FROM_AUTHORIZED, DB_IS_TO_AUTHORIZED};
use super::{INT, STR, ignored, param};
use crate::modules::auth::{OPENSIPS_CODES, Side, realm};
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "auth_db",
    dialects: &[Dialect::OpenSips],
    functions: &[
        WWW_AUTHORIZE,
        PROXY_AUTHORIZE,
        DB_IS_TO_AUTHORIZED,
        DB_IS_FROM_AUTHORIZED,
        DB_DOES_URI_EXIST,
        DB_GET_AUTH_ID,
    ],
    params: &[
        param("db_url", STR, "the database; default: db_default_url of the core"),
        param("user_column", STR, "default username"),
        param("domain_column", STR, "default domain"),
        param("password_column", STR, "column with the hash (HA1), or with calculate_ha1 the password; default ha1"),
        param("hash_column_sha256", STR, "column with the hash of SHA-256; default ha1_sha256"),
        param("hash_column_sha512t256", STR, "column with the hash of SHA-512-256; default ha1_sha512t256"),
        param("calculate_ha1", INT, "1: password_column holds passwords; default 0"),
        param("use_domain", INT, "1: a user is found by name and domain (that of the name, else the realm); default 1"),
        param(
            "load_credentials",
            STR,
            "columns that go into AVPs when the credentials are right: `$avp(name)=column;column`",
        ),
        param("uri_user_column", STR, "column of a table of URIs with the user's name; default username"),
        param("uri_domain_column", STR, "column with the domain; default domain"),
        param("uri_uriuser_column", STR, "column with the user part of the URI; default uri_user"),
        ignored("password_column_2", "the hash of the name as the client writes it is in password_column"),
        ignored("skip_version_check", "the tables' versions are not looked at"),
    ],
    any_param: false,
    needs: &["auth"],
};

const WWW_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    opensips: Some("www_authorize"),
    kamailio: None,
    params: &[Param::req("realm", Kind::Str), Param::req("table", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: true,
    doc: "Checks the Authorization header for this realm (empty: the host of To) against a table of users.",
    returns: OPENSIPS_CODES,
    example: r#"if (!www_authorize("", "subscriber")) { exit; }"#,
    run: |call| check(call, Side::Www).start(call),
    finish: Some(|call, outcome| done(&check(call, Side::Www), call, outcome)),
};

const PROXY_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    opensips: Some("proxy_authorize"),
    doc: "As www_authorize, for the Proxy-Authorization header; an empty realm is the host of From.",
    example: r#"if (!proxy_authorize("", "subscriber")) { exit; }"#,
    run: |call| check(call, Side::Proxy).start(call),
    finish: Some(|call, outcome| done(&check(call, Side::Proxy), call, outcome)),
    ..WWW_AUTHORIZE
};

fn check(call: &Call<'_, SipHost>, side: Side) -> Check {
    Check {
        side,
        dialect: Dialect::OpenSips,
        realm: realm(call, 0, side),
        table: call.text(1).unwrap_or_default(),
        method: None,
    }
}

fn done(check: &Check, call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(check.end(call, outcome).map_or_else(|code| code, |verdict| verdict.code(Dialect::OpenSips)))
}
