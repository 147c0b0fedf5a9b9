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
    /// Attributes are wanted: the script has `lookup_domain`.
    pub wants_attributes: bool,
    table: Str,
    domain_column: Str,
    did_column: Str,
    attributes_table: Str,
    /// `name_col`, `type_col`, `value_col`
    attributes_columns: [Str; 3],
}

impl Default for Settings {
    fn default() -> Self {
        let [table, domain_column, did_column, attributes_table] =
            ["domain", "domain", "did", "domain_attrs"].map(Str::from);
        let attributes_columns = ["name", "type", "value"].map(Str::from);
        Settings {
            myself: false,
            wants_attributes: false,
            table,
            domain_column,
            did_column,
            attributes_table,
            attributes_columns,
        }
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
            "domain_attrs_table" => &mut self.attributes_table,
            "name_col" => &mut self.attributes_columns[0],
            "type_col" => &mut self.attributes_columns[1],
            "value_col" => &mut self.attributes_columns[2],
            _ => return,
        };
        *field = value.to_text().unwrap_or_default();
    }

    /// The statement that reads the domains.
    pub fn query(&self) -> String {
        let [domain, did, table] = [&self.domain_column, &self.did_column, &self.table].map(|n| n.to_lossy());
        format!("SELECT {domain}, {did} FROM {table}")
    }

    /// The statement that reads the attributes of domains; `None` if nobody wants them.
    pub fn attribute_query(&self) -> Option<String> {
        let [name, kind, value] = self.attributes_columns.each_ref().map(Str::to_lossy);
        let [did, table] = [&self.did_column, &self.attributes_table].map(|n| n.to_lossy());
        self.wants_attributes.then(|| format!("SELECT {did}, {name}, {kind}, {value} FROM {table}"))
    }
}

/// An attribute: of which id, its name, and its value.
pub type Attribute = (Str, Str, Value);

/// A row: id, name, type (0: a number, 2: a text), value.
pub fn attribute_of_row(row: &[SqlValue]) -> Option<Attribute> {
    let (did, name) = (lists::text(row.first())?, lists::text(row.get(1)).filter(|n| !n.is_empty())?);
    let value = match lists::int(row.get(2))? {
        0 => Value::Int(lists::int(row.get(3))?),
        2 => Value::Str(lists::text(row.get(3))?),
        _ => return None,
    };
    Some((did, name, value))
}

/// The attributes of domains by their ids, in the order of the table.
#[derive(Clone, Debug, Default)]
pub struct Attributes(HashMap<Str, Vec<(Str, Value)>>);

impl Attributes {
    /// Of these rows.
    pub fn new(rows: Vec<Attribute>) -> Attributes {
        let mut all: HashMap<Str, Vec<(Str, Value)>> = HashMap::new();
        for (did, name, value) in rows {
            all.entry(did).or_default().push((name, value));
        }
        Attributes(all)
    }

    /// Those of an id.
    pub fn of(&self, did: &[u8]) -> &[(Str, Value)] {
        self.0.get(did).map_or(&[], Vec::as_slice)
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

    /// The id of a domain.
    pub fn id(&self, host: &[u8]) -> Option<&Str> {
        self.0.get(host.to_ascii_lowercase().as_slice())
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
        text("domain_attrs_table", "the table with attributes of domains, for lookup_domain; default domain_attrs"),
        text("name_col", "its column of names; default name"),
        text("type_col", "its column of types, 0 for numbers and 2 for texts; default type"),
        text("value_col", "its column of values; default value"),
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
    doc: "Whether a text is a domain of the table. If so, its id goes to the AVP `did`, and its attributes to AVPs of their \
          names; a prefix stands in front of each name.",
    example: r#"if (lookup_domain("$fd", "from_")) xlog("id $avp(from_did)\n");"#,
    run: |call| {
        let (known, attributes) = (lists::domains(call.host.env()), lists::attributes(call.host.env()));
        let Some(did) = known.id(&call.text(0).unwrap_or_default()) else { return Step::Done(-1) };
        let prefix = call.text(1).unwrap_or_default();
        for (name, value) in attributes.of(did) {
            call.vm().push_avp(&[&prefix[..], &name[..]].concat(), value.clone());
        }
        call.vm().push_avp(&[&prefix[..], b"did".as_slice()].concat(), Value::Str(did.clone()));
        Step::Done(1)
    },
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
        assert_eq!(all.id(b"EXAMPLE.org"), Some(&Str::from("example.org")));
    }

    #[test]
    fn attributes_have_types() {
        let t = |t: &str| SqlValue::Text(Str::from(t));
        let row = |kind, value: &str| attribute_of_row(&[t("id"), t("name"), SqlValue::Int(kind), t(value)]);
        assert_eq!(row(0, "12").unwrap().2, Value::Int(12));
        assert_eq!(row(2, "12").unwrap().2, Value::from("12"));
        assert_eq!((row(0, "x"), row(1, "x")), (None, None));
        let all = Attributes::new(vec![row(0, "1").unwrap(), row(2, "b").unwrap()]);
        assert_eq!((all.of(b"id").len(), all.of(b"other").len()), (2, 0));
    }
}
