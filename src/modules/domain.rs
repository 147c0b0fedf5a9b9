//! `domain`: the domains of the server, from a table that every worker keeps (kamailio.md section 5.5).

use super::env::Env;
use super::host::SipHost;
use super::lists;
use crate::base::Str;
use crate::ops::SqlValue;
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;
use std::collections::HashMap;

/// Number of the module's database.
pub const DATABASE: i64 = i64::MIN + (1 << 40) + 1;

/// How the module is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `register_myself`: the domains are names of the server.
    pub myself: bool,
    table: Str,
    domain_column: Str,
    did_column: Str,
}

impl Default for Settings {
    fn default() -> Self {
        let [table, domain_column, did_column] = ["domain", "domain", "did"].map(Str::from);
        Settings { myself: false, table, domain_column, did_column }
    }
}

impl Settings {
    /// Takes over a parameter.
    pub fn set(&mut self, param: &str, value: &Value) {
        let field = match param {
            "register_myself" => {
                self.myself = value.to_int().is_some_and(|n| n != 0);
                return;
            }
            "domain_table" => &mut self.table,
            "domain_col" => &mut self.domain_column,
            "did_col" => &mut self.did_column,
            _ => return,
        };
        *field = value.to_text().unwrap_or_default();
    }

    /// The statement that reads the domains.
    pub fn query(&self) -> String {
        let [domain, did, table] = [&self.domain_column, &self.did_column, &self.table].map(|n| n.to_lossy());
        format!("SELECT {domain}, {did} FROM {table}")
    }
}

/// A row: the domain in small letters, and its id.
pub fn of_row(row: &[SqlValue]) -> Option<(Str, Str)> {
    let domain = lists::text(row.first())?;
    let domain = Str::from(domain.trim_ascii().to_ascii_lowercase());
    let did = lists::text(row.get(1)).filter(|d| !d.is_empty()).unwrap_or_else(|| domain.clone());
    (!domain.is_empty()).then_some((domain, did))
}

/// The domains, with their ids.
#[derive(Clone, Debug, Default)]
pub struct Domains(HashMap<Str, Str>);

impl Domains {
    /// Of these rows.
    pub fn new(rows: Vec<(Str, Str)>) -> Domains {
        Domains(rows.into_iter().collect())
    }

    /// Whether a host is one of them.
    pub fn has(&self, host: &[u8]) -> bool {
        self.0.contains_key(host.to_ascii_lowercase().as_slice())
    }

    /// All of them with their ids, in order.
    pub fn all(&self) -> Vec<(Str, Str)> {
        let mut all: Vec<_> = self.0.iter().map(|(d, id)| (d.clone(), id.clone())).collect();
        all.sort();
        all
    }
}

/// Whether a host is a name of the server by `register_myself`.
pub fn is_ours(env: &Env, host: &[u8]) -> bool {
    env.settings.domain.myself && lists::domains(env).has(host)
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "domain",
    dialects: &[Dialect::Kamailio],
    functions: &[FROM_LOCAL, HOST_LOCAL, DOMAIN_LOCAL, LOOKUP],
    params: &[
        text("db_url", "the database of the table"),
        ModParamSpec {
            name: "register_myself",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the domains are names of the server (`myself`); default 0",
        },
        text("domain_table", "default domain"),
        text("domain_col", "default domain"),
        text("did_col", "default did"),
        ignored("domain_attrs_table", "attributes of domains are not read"),
        ignored("domain_attrs_did_col", "attributes of domains are not read"),
        ignored("domain_attrs_name_col", "attributes of domains are not read"),
        ignored("domain_attrs_type_col", "attributes of domains are not read"),
        ignored("domain_attrs_value_col", "attributes of domains are not read"),
        ignored("db_mode", "domains are kept"),
    ],
    any_param: false,
    needs: &[],
};

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

const FROM_LOCAL: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_from_local"),
    params: &[],
    variadic: false,
    routes: RouteSet::of(&[RouteKind::Request]),
    waits: false,
    doc: "Whether the host of the From URI is a domain of the table.",
    returns: &[(1, "yes"), (-1, "no")],
    example: "if (!is_from_local()) exit;",
    run: |call| {
        let known = lists::domains(call.host.env());
        verdict(Uri::parse(call.host.msg.from().uri).is_ok_and(|u| known.has(u.host)))
    },
    finish: None,
};

const HOST_LOCAL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_uri_host_local"),
    routes: RouteSet::of(&[RouteKind::Request, RouteKind::Branch, RouteKind::Failure]),
    doc: "Whether the host of the R-URI is a domain of the table.",
    example: "if (!is_uri_host_local()) exit;",
    run: |call| {
        let known = lists::domains(call.host.env());
        verdict(Uri::parse(call.host.current_ruri()).is_ok_and(|u| known.has(u.host)))
    },
    ..FROM_LOCAL
};

const DOMAIN_LOCAL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_domain_local"),
    params: &[Param::req("domain", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Whether a text is a domain of the table.",
    example: r#"if (!is_domain_local("$td")) exit;"#,
    run: |call| {
        let known = lists::domains(call.host.env());
        verdict(known.has(&call.text(0).unwrap_or_default()))
    },
    ..FROM_LOCAL
};

const LOOKUP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("lookup_domain"),
    params: &[Param::req("domain", Kind::Str), Param::opt("prefix", Kind::Str)],
    doc: "Whether a text is a domain of the table. Attributes of domains are not read.",
    example: r#"if (!lookup_domain("$rd")) exit;"#,
    ..DOMAIN_LOCAL
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_compared_in_any_case() {
        let row = |domain: &str, did: SqlValue| of_row(&[SqlValue::Text(Str::from(domain)), did]);
        let rows: Vec<_> = [row("Example.ORG ", SqlValue::Null), row("b.test", SqlValue::Text(Str::from("two")))]
            .into_iter()
            .flatten()
            .collect();
        assert!(row("", SqlValue::Null).is_none());
        let all = Domains::new(rows);
        assert!(all.has(b"example.org") && all.has(b"B.TEST") && !all.has(b"org"));
        assert_eq!(all.all().first().unwrap().1, "two");
    }
}
