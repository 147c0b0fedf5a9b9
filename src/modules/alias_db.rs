//! `alias_db`: other names of users, from a table (kamailio.md section 5.5).

use super::host::{SipHost, Target};
use super::pv_set::set_ruri;
use super::request::Outcome;
use super::sqlops::statement_on;
use crate::base::Str;
use crate::ops::{self, SqlValue};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// Number of the module's database.
pub const DATABASE: i64 = i64::MIN + (1 << 40) + 2;
/// Most names that one alias stands for.
const MOST: usize = 32;

/// How the module is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    user: Str,
    domain: Str,
    alias_user: Str,
    alias_domain: Str,
    prefix: Str,
    append: bool,
    use_domain: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let [user, domain, alias_user, alias_domain] =
            ["username", "domain", "alias_username", "alias_domain"].map(Str::from);
        Settings { user, domain, alias_user, alias_domain, prefix: Str::default(), append: false, use_domain: false }
    }
}

impl Settings {
    /// Takes over a parameter.
    pub fn set(&mut self, param: &str, value: &Value) {
        let yes = value.to_int().is_some_and(|n| n != 0);
        let field = match param {
            "append_branches" => {
                self.append = yes;
                return;
            }
            "use_domain" => {
                self.use_domain = yes;
                return;
            }
            "user_column" => &mut self.user,
            "domain_column" => &mut self.domain,
            "alias_user_column" => &mut self.alias_user,
            "alias_domain_column" => &mut self.alias_domain,
            "domain_prefix" => &mut self.prefix,
            _ => return,
        };
        *field = value.to_text().unwrap_or_default();
    }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "alias_db",
    dialects: &[Dialect::Kamailio],
    functions: &[LOOKUP, FIND],
    params: &[
        text("db_url", "the database"),
        text("user_column", "default username"),
        text("domain_column", "default domain"),
        text("alias_user_column", "default alias_username"),
        text("alias_domain_column", "default alias_domain"),
        text("domain_prefix", "what is taken off the front of a domain before it is compared; default nothing"),
        int("append_branches", "1: what an alias stands for besides its first user becomes branches; default 0"),
        int("use_domain", "1: the domain counts, too; default 0"),
    ],
    any_param: false,
    needs: &[],
};

/// The statement about a URI; `None`: it has no user.
fn ask(call: &Call<'_, SipHost>, table: &[u8], uri: &[u8], flags: &[u8]) -> Option<(Str, Vec<SqlValue>)> {
    let s = &call.host.env().settings.aliases;
    let uri = Uri::parse(uri).ok()?;
    let user = uri.user.filter(|u| !u.is_empty())?;
    // `r`: what is given is the user, what is wanted the alias.
    let reverse = flags.contains(&b'r');
    let (wanted, given) = ([&s.user, &s.domain], [&s.alias_user, &s.alias_domain]);
    let (wanted, given) = if reverse { (given, wanted) } else { (wanted, given) };
    let [user_out, domain_out] = wanted.map(|c| c.to_lossy());
    let [user_in, domain_in] = given.map(|c| c.to_lossy());
    let table = String::from_utf8_lossy(table);
    let mut query = format!("SELECT {user_out}, {domain_out} FROM {table} WHERE {user_in} = ?");
    let mut values = vec![SqlValue::Text(Str::from(user))];
    if s.use_domain && !flags.contains(&b'd') {
        query += &format!(" AND {domain_in} = ?");
        let host = uri.host.strip_prefix(s.prefix.as_bytes()).unwrap_or(uri.host);
        values.push(SqlValue::Text(Str::from(host)));
    }
    query += &format!(" LIMIT {MOST}");
    Some((Str::from(query), values))
}

/// The URIs of an answer.
fn uris(result: &ops::SqlResult) -> Vec<Str> {
    let field = |row: &[SqlValue], n: usize| super::lists::text(row.get(n)).unwrap_or_default();
    let uri = |row: &Vec<SqlValue>| [b"sip:", &field(row, 0)[..], b"@", &field(row, 1)[..]].concat();
    result.rows.iter().map(uri).filter(|u| Uri::parse(u).is_ok()).map(Str::from).collect()
}

fn plain_table(table: &[u8]) -> bool {
    !table.is_empty() && table.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$'))
}

const LOOKUP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("alias_db_lookup"),
    params: &[Param::req("table", Kind::Str), Param::opt("flags", Kind::Str)],
    variadic: false,
    routes: RouteSet::of(&[RouteKind::Request, RouteKind::Failure]),
    waits: true,
    doc: "If the user of the R-URI is an alias, the R-URI becomes that of the user it stands for. Flags: `d` the domain \
          does not count, `r` from users to aliases.",
    returns: &[(1, "the R-URI was changed"), (-1, "no alias, or the database cannot be asked")],
    example: r#"if (alias_db_lookup("dbaliases")) route(relay);"#,
    run: |call| {
        let (table, flags) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        if !plain_table(&table) {
            return Step::Fail(format!("`{}` is no name of a table", table.to_lossy()));
        }
        match ask(call, &table, call.host.current_ruri(), &flags) {
            Some((query, values)) => statement_on(call, DATABASE, query, values),
            None => Step::Done(-1),
        }
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        let mut found = uris(&result).into_iter();
        let Some(first) = found.next() else { return Step::Done(-1) };
        if set_ruri(call.host, first).is_err() {
            return Step::Done(-1);
        }
        if call.host.env().settings.aliases.append {
            call.host.branches.extend(found.map(|uri| Target { uri, ..Target::default() }));
        }
        Step::Done(1)
    }),
};

const FIND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("alias_db_find"),
    params: &[
        Param::req("table", Kind::Str),
        Param::req("URI", Kind::Str),
        Param::req("result", Kind::Out),
        Param::opt("flags", Kind::Str),
    ],
    routes: RouteSet::ALL,
    doc: "If the user of a URI is an alias, stores the URI of the user it stands for; several become several values of an \
          AVP with append_branches. Flags as for alias_db_lookup.",
    returns: &[(1, "found"), (-1, "no alias, or the database cannot be asked")],
    example: r#"alias_db_find("dbaliases", "$fu", "$avp(user)", "r");"#,
    run: |call| {
        let [table, uri, flags] = [0, 1, 3].map(|i| call.text(i).unwrap_or_default());
        if !plain_table(&table) {
            return Step::Fail(format!("`{}` is no name of a table", table.to_lossy()));
        }
        match ask(call, &table, &uri, &flags) {
            Some((query, values)) => statement_on(call, DATABASE, query, values),
            None => Step::Done(-1),
        }
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        let mut found = uris(&result);
        if !call.host.env().settings.aliases.append {
            found.truncate(1);
        }
        if found.is_empty() {
            return Step::Done(-1);
        }
        // The first is to be index 0.
        found.into_iter().rev().for_each(|uri| call.assign(2, Value::Str(uri)));
        Step::Done(1)
    }),
    ..LOOKUP
};
