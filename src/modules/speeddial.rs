//! `speeddial`: short numbers of each user, from a table (kamailio.md section 5.5).

use super::host::SipHost;
use super::pv_set::set_ruri;
use super::request::Outcome;
use super::sqlops::statement_on;
use crate::base::Str;
use crate::ops::{self, SqlValue};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// Number of the module's database.
pub const DATABASE: i64 = i64::MIN + (1 << 40) + 3;

/// How the module is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    user: Str,
    domain: Str,
    short_user: Str,
    short_domain: Str,
    uri: Str,
    prefix: Str,
    use_domain: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let [user, domain, short_user, short_domain, uri, prefix] =
            ["username", "domain", "sd_username", "sd_domain", "new_uri", ""].map(Str::from);
        Settings { user, domain, short_user, short_domain, uri, prefix, use_domain: false }
    }
}

impl Settings {
    /// Takes over a parameter.
    pub fn set(&mut self, param: &str, value: &Value) {
        let field = match param {
            "use_domain" => {
                self.use_domain = value.to_int().is_some_and(|n| n != 0);
                return;
            }
            "user_column" => &mut self.user,
            "domain_column" => &mut self.domain,
            "sd_user_column" => &mut self.short_user,
            "sd_domain_column" => &mut self.short_domain,
            "new_uri_column" => &mut self.uri,
            "domain_prefix" => &mut self.prefix,
            _ => return,
        };
        *field = value.to_text().unwrap_or_default();
    }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "speeddial",
    dialects: &[Dialect::Kamailio],
    functions: &[LOOKUP],
    params: &[
        text("db_url", "the database"),
        text("user_column", "default username"),
        text("domain_column", "default domain"),
        text("sd_user_column", "default sd_username"),
        text("sd_domain_column", "default sd_domain"),
        text("new_uri_column", "default new_uri"),
        text("domain_prefix", "what is taken off the front of a domain before it is compared; default nothing"),
        ModParamSpec {
            name: "use_domain",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the domains of user and short number count, too; default 0",
        },
    ],
    any_param: false,
    needs: &[],
};

const LOOKUP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sd_lookup"),
    params: &[Param::req("table", Kind::Str), Param::opt("owner", Kind::Str)],
    variadic: false,
    routes: RouteSet::of(&[RouteKind::Request]),
    waits: true,
    doc: "If the user of the R-URI is a short number of the caller (From, or the owner that is given as a URI), the R-URI \
          becomes what it stands for.",
    returns: &[(1, "the R-URI was changed"), (-1, "no such short number, or the database cannot be asked")],
    example: r#"if (sd_lookup("speed_dial")) route(relay);"#,
    run: |call| {
        let table = call.text(0).unwrap_or_default();
        if table.is_empty() || !table.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$')) {
            return Step::Fail(format!("`{}` is no name of a table", table.to_lossy()));
        }
        let s = &call.host.env().settings.speeddial;
        let owner = match call.text(1).filter(|t| !t.is_empty()) {
            Some(owner) => owner,
            None => Str::from(call.host.msg.from().uri),
        };
        let (Ok(owner), Ok(ruri)) = (Uri::parse(&owner), Uri::parse(call.host.current_ruri())) else {
            return Step::Done(-1);
        };
        let (Some(user), Some(short)) = (owner.user, ruri.user) else { return Step::Done(-1) };
        let columns = [&s.uri, &s.user, &s.short_user, &s.domain, &s.short_domain].map(|c| c.to_lossy());
        let [uri, user_in, short_in, domain_in, short_domain_in] = columns;
        let table = table.to_lossy();
        let mut query = format!("SELECT {uri} FROM {table} WHERE {user_in} = ? AND {short_in} = ?");
        let mut values = vec![SqlValue::Text(Str::from(user)), SqlValue::Text(Str::from(short))];
        if s.use_domain {
            query += &format!(" AND {domain_in} = ? AND {short_domain_in} = ?");
            let bare = |host: &[u8]| Str::from(host.strip_prefix(s.prefix.as_bytes()).unwrap_or(host));
            values.extend([owner.host, ruri.host].map(|host| SqlValue::Text(bare(host))));
        }
        query += " LIMIT 1";
        statement_on(call, DATABASE, Str::from(query), values)
    },
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(outcome.failure_code()) };
        let uri = result.rows.first().and_then(|row| super::lists::text(row.first()));
        let changed = uri.is_some_and(|uri| Uri::parse(&uri).is_ok() && set_ruri(call.host, uri).is_ok());
        Step::Done(if changed { 1 } else { -1 })
    }),
};
