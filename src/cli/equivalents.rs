//! What stands in the place of what the server does not have: findings about unknown names say what to use instead. The
//! table is `equivalents.txt`.

use crate::script::ast::Dialect;
use crate::script::diagnostics::Diagnostics;

const TABLE: &str = include_str!("equivalents.txt");

/// What a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Module,
    Function,
    Variable,
    Parameter,
}

/// One line of the table.
#[derive(Debug)]
struct Entry<'t> {
    dialect: Option<Dialect>,
    kind: Kind,
    names: Vec<&'t str>,
    text: &'t str,
}

impl Entry<'_> {
    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|known| match (known.strip_prefix('*'), known.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (None, Some(beginning)) => name.starts_with(beginning),
            (None, None) => *known == name,
        })
    }
}

/// Reads a line; `None` for one that says nothing, `Some(Err)`: what is wrong with it.
fn entry(line: &str) -> Option<Result<Entry<'_>, &'static str>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let Some((head, text)) = line.split_once(": ") else { return Some(Err("a line is `KIND NAMES: TEXT`")) };
    let (dialect, head) = match head.split_once(' ') {
        Some(("kamailio", rest)) => (Some(Dialect::Kamailio), rest),
        Some(("opensips", rest)) => (Some(Dialect::OpenSips), rest),
        _ => (None, head),
    };
    let Some((kind, names)) = head.split_once(' ') else { return Some(Err("names are missing")) };
    let kind = match kind {
        "module" => Kind::Module,
        "function" => Kind::Function,
        "variable" => Kind::Variable,
        "parameter" => Kind::Parameter,
        _ => return Some(Err("the kind is module, function, variable or parameter")),
    };
    let names = names.split(',').map(str::trim).collect();
    Some(Ok(Entry { dialect, kind, names, text: text.trim() }))
}

/// What to use in the place of a name.
fn find(dialect: Dialect, kind: Kind, name: &str) -> Option<&'static str> {
    let fits = |e: &Entry<'_>| e.kind == kind && e.dialect.is_none_or(|d| d == dialect);
    let mut entries = TABLE.lines().filter_map(entry).filter_map(Result::ok).filter(fits);
    entries.find(|e| e.names(name)).map(|e| e.text)
}

/// Gives findings about unknown names the help that the table has for them.
pub(super) fn add(dialect: Dialect, diags: &mut Diagnostics) {
    for d in diags.list_mut() {
        let kind = match d.code {
            "E0201" => Kind::Function,
            "E0203" => Kind::Module,
            "E0204" => Kind::Variable,
            "E0208" => Kind::Parameter,
            _ => continue,
        };
        let mut quoted = d.message.split('`').skip(1).step_by(2);
        let name = match (kind, quoted.next(), quoted.next()) {
            // `unknown parameter P of module M`
            (Kind::Parameter, Some(parameter), Some(module)) => format!("{module}.{parameter}"),
            (_, Some(name), _) => name.trim_start_matches('$').to_string(),
            _ => continue,
        };
        if let Some(text) = find(dialect, kind, &name) {
            d.help = Some(text.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_sound() {
        let mut seen = BTreeSet::new();
        for (n, line) in TABLE.lines().enumerate() {
            let e = match entry(line) {
                None => continue,
                Some(Ok(e)) => e,
                Some(Err(why)) => panic!("line {}: {why}: {line}", n + 1),
            };
            assert!(!e.text.is_empty() && !e.text.ends_with('.'), "line {}: {line}", n + 1);
            for name in &e.names {
                assert!(!name.is_empty() && !name.contains(' '), "line {}: {name:?}", n + 1);
                let dialects = match e.dialect {
                    Some(d) => vec![d],
                    None => vec![Dialect::OpenSips, Dialect::Kamailio],
                };
                for d in dialects {
                    let once = seen.insert((format!("{d:?} {:?}", e.kind), (*name).to_string()));
                    assert!(once, "line {}: {name} stands there twice", n + 1);
                }
            }
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[test]
    fn what_is_named_in_the_texts_is_there() {
        use crate::modules::catalog;
        let of = |d: Dialect| catalog::of(d).modules.iter().flat_map(move |m| catalog::of(d).functions(m));
        let all: BTreeSet<&str> = of(Dialect::OpenSips)
            .filter_map(|f| f.opensips)
            .chain(of(Dialect::Kamailio).filter_map(|f| f.kamailio))
            .chain(
                [Dialect::OpenSips, Dialect::Kamailio]
                    .into_iter()
                    .flat_map(|d| catalog::of(d).modules.iter().map(|m| m.name)),
            )
            .collect();
        let words = [
            "control_socket",
            "overload_age",
            "udp_mtu",
            "event_route",
            "siputils-like",
            "sipmsgops-like",
            "launch",
            "async",
        ];
        for e in TABLE.lines().filter_map(entry).filter_map(Result::ok) {
            for quoted in e.text.split('`').skip(1).step_by(2) {
                let name = quoted
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                    .next()
                    .unwrap_or_default();
                if name.is_empty() || name == "reprise" || name == "sip" || words.contains(&name) {
                    continue;
                }
                assert!(all.contains(name), "`{quoted}` is named and not there: {}", e.text);
            }
        }
    }

    #[test]
    fn names_are_found() {
        assert!(find(Dialect::Kamailio, Kind::Function, "rtpengine_manage").is_some_and(|t| t.contains("media")));
        assert!(find(Dialect::Kamailio, Kind::Function, "http_query").is_some_and(|t| t.contains("http_client_query")));
        assert!(find(Dialect::OpenSips, Kind::Function, "http_query").is_none());
        assert!(find(Dialect::OpenSips, Kind::Function, "checkosproute").is_some());
        assert!(find(Dialect::OpenSips, Kind::Variable, "DLG_status").is_some());
        assert!(find(Dialect::Kamailio, Kind::Module, "nonsense").is_none());
    }
}
