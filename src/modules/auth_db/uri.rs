//! Whose URI is it: OpenSIPS' questions to the table of users or of URIs.

use super::check::text;
use super::{identifier, query};
use crate::base::Str;
use crate::modules::auth::check::{self, Address};
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::modules::sqlops::OPEN;
use crate::ops::{self, SqlValue};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

const TABLE: Param = Param::req("table", Kind::Str);

/// `db_is_to_authorized`
pub const DB_IS_TO_AUTHORIZED: FnSpec<SipHost> = FnSpec {
    opensips: Some("db_is_to_authorized"),
    kamailio: None,
    params: &[TABLE],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: true,
    doc: "Whether the user whose credentials were accepted may use the URI of To: the table has a row with that user, the domain of the credentials \
          and the user part of To.",
    returns: &[
        (1, "the user may"),
        (-1, "the user may not, no credentials were accepted, or an error (see $async_err)"),
        OPEN,
    ],
    example: r#"if (!db_is_to_authorized("uri")) { sl_send_reply(403, "Forbidden"); exit; }"#,
    run: |call| may_use(call, Address::To),
    finish: Some(found),
};

/// `db_is_from_authorized`
pub const DB_IS_FROM_AUTHORIZED: FnSpec<SipHost> = FnSpec {
    opensips: Some("db_is_from_authorized"),
    doc: "As db_is_to_authorized, for the URI of From.",
    example: r#"if (!db_is_from_authorized("uri")) { sl_send_reply(403, "Forbidden"); exit; }"#,
    run: |call| may_use(call, Address::From),
    ..DB_IS_TO_AUTHORIZED
};

/// `db_does_uri_exist`
pub const DB_DOES_URI_EXIST: FnSpec<SipHost> = FnSpec {
    opensips: Some("db_does_uri_exist"),
    params: &[Param::req("uri", Kind::Str), TABLE],
    routes: RouteSet::letters("RFL"),
    doc: "Whether a table of users has the user of this URI; with use_domain also its domain.",
    returns: &[(1, "it has"), (-1, "it has not, this is no SIP URI with a user, or an error (see $async_err)"), OPEN],
    example: r#"if (!db_does_uri_exist("$ru", "subscriber")) { sl_send_reply(404, "Not Found"); exit; }"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_default();
        let Some((user, host)) = user_and_host(&uri) else { return Step::Done(-1) };
        let s = &call.host.env().settings.auth_db;
        let (user_column, domain_column, use_domain) = (s.user.clone(), s.domain.clone(), s.use_domain);
        let mut wanted = vec![(user_column.clone(), user)];
        if use_domain {
            wanted.push((domain_column, host));
        }
        ask(call, 1, &[&user_column], wanted)
    },
    ..DB_IS_TO_AUTHORIZED
};

/// `db_get_auth_id`
pub const DB_GET_AUTH_ID: FnSpec<SipHost> = FnSpec {
    opensips: Some("db_get_auth_id"),
    params: &[
        TABLE,
        Param::req("uri", Kind::Str),
        Param::req("auth_variable", Kind::Out),
        Param::req("realm_variable", Kind::Out),
    ],
    routes: RouteSet::letters("RFL"),
    doc: "Finds the user that a URI belongs to in a table of URIs, and puts name and domain into variables.",
    returns: &[(1, "found"), (-1, "not found, this is no SIP URI with a user, or an error (see $async_err)"), OPEN],
    example: r#"if (!db_get_auth_id("uri", "$fu", $var(id), $var(realm))) { exit; }"#,
    run: |call| {
        let uri = call.text(1).unwrap_or_default();
        let Some((user, host)) = user_and_host(&uri) else { return Step::Done(-1) };
        let s = &call.host.env().settings.auth_db;
        let (name, domain, uri_user) = (s.uri_user.clone(), s.uri_domain.clone(), s.uri_uriuser.clone());
        let mut wanted = vec![(uri_user, user)];
        if s.use_domain {
            wanted.push((domain.clone(), host));
        }
        ask(call, 0, &[&name, &domain], wanted)
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        let Some([name, domain, ..]) = result.rows.first().map(Vec::as_slice) else { return Step::Done(-1) };
        call.assign(2, Value::opt(text(name)));
        call.assign(3, Value::opt(text(domain)));
        Step::Done(1)
    }),
    ..DB_IS_TO_AUTHORIZED
};

fn user_and_host(uri: &[u8]) -> Option<(Str, Str)> {
    let uri = Uri::parse(uri).ok()?;
    Some((Str::from(uri.user?), Str::from(uri.host)))
}

fn may_use(call: &mut Call<'_, SipHost>, address: Address) -> Step<SipHost> {
    let Some((user, domain, _)) = check::accepted(call.host) else { return Step::Done(-1) };
    let uri_user = Str::from(address.user(&call.host.msg));
    let s = &call.host.env().settings.auth_db;
    let (name, domain_column, uriuser) = (s.uri_user.clone(), s.uri_domain.clone(), s.uri_uriuser.clone());
    ask(call, 0, &[&name.clone()], vec![(name, user), (domain_column, domain), (uriuser, uri_user)])
}

/// Asks for columns of the rows of the table in argument `table` that have these values.
fn ask(call: &Call<'_, SipHost>, table: usize, columns: &[&Str], wanted: Vec<(Str, Str)>) -> Step<SipHost> {
    let table = call.text(table).unwrap_or_default();
    let table = match identifier(&table) {
        Ok(table) => table,
        Err(why) => return Step::Fail(why),
    };
    let columns: Vec<_> = columns.iter().map(|c| c.to_lossy()).collect();
    let conditions: Vec<String> = wanted.iter().map(|(column, _)| format!("{} = ?", column.to_lossy())).collect();
    let statement = format!("SELECT {} FROM {table} WHERE {}", columns.join(", "), conditions.join(" AND "));
    query(call, statement, wanted.into_iter().map(|(_, value)| SqlValue::Text(value)).collect())
}

fn found(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    match outcome {
        Outcome::Op(ops::Outcome::Sql(result)) => Step::Done(if result.rows.is_empty() { -1 } else { 1 }),
        failed => Step::Done(failed.failure_code()),
    }
}
