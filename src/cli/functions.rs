//! `reprise functions`: the list of script functions, or what one of them does; and the same as
//! pages for `docs/functions/`. All of it comes from the functions' own descriptions.

use crate::base::names::suggest;
use crate::modules::host::SipHost;
use crate::script::ast::{Dialect, RouteKind};
use crate::script::host::Host;
use crate::script::registry::{FnSpec, Kind, ModuleSpec, Param, RouteSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Arguments of `reprise functions`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct FunctionsArgs {
    /// A function or a module; all functions if left out.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

type Module = ModuleSpec<SipHost>;
type Function = FnSpec<SipHost>;

/// Prints the list or a page; the exit code is 1 if nothing has that name.
pub fn main(args: &FunctionsArgs) -> ExitCode {
    let text = match &args.name {
        None => list(),
        Some(name) => match page(name) {
            Ok(text) => text,
            Err(why) => {
                eprintln!("reprise functions: {why}");
                return ExitCode::FAILURE;
            }
        },
    };
    // Whoever closed our output (`| head`) has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Every module of every dialect, once, in the order of the catalogs.
pub fn modules() -> Vec<&'static Module> {
    let mut all: Vec<&'static Module> = Vec::new();
    for dialect in [Dialect::OpenSips, Dialect::Kamailio] {
        for module in SipHost::catalog(dialect).modules {
            if !all.iter().any(|m| std::ptr::eq(*m, *module)) {
                all.push(module);
            }
        }
    }
    all
}

/// A module's name as a heading and as the name of its page: what Kamailio divides otherwise says so.
fn names(module: &Module) -> (String, String) {
    let twin = modules().iter().any(|m| m.name == module.name && m.dialects.contains(&Dialect::OpenSips));
    if twin && !module.dialects.contains(&Dialect::OpenSips) {
        (format!("{} (Kamailio)", module.name), format!("{}-kamailio", module.name))
    } else {
        (module.name.to_string(), module.name.to_string())
    }
}

/// The name of a function: that of the OpenSIPS dialect, if it has one.
pub fn name(f: &Function) -> &'static str {
    f.opensips.or(f.kamailio).unwrap_or_default()
}

/// The example of a function. One that is another name for a function of its module shows that
/// one's example under its own name.
pub fn example(module: &Module, f: &Function) -> String {
    let own = name(f);
    if position(f.example, own).is_some() {
        return f.example.to_string();
    }
    let other = module.functions.iter().find(|o| o.doc == f.doc && position(f.example, name(o)).is_some());
    match other.and_then(|o| Some((position(f.example, name(o))?, name(o).len()))) {
        Some((at, len)) => format!("{}{own}{}", &f.example[..at], &f.example[at + len..]),
        None => f.example.to_string(),
    }
}

/// Where a text calls a function.
fn position(text: &str, name: &str) -> Option<usize> {
    let call = format!("{name}(");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(&call).map(|(at, _)| at).find(|at| !text[..*at].ends_with(word))
}

/// All functions with a line about each.
pub fn list() -> String {
    let mut out = String::new();
    for module in modules().into_iter().filter(|m| !m.functions.is_empty()) {
        section(&mut out, module);
    }
    out.push_str("`reprise functions NAME` tells more about one of them.\n");
    out
}

fn section(out: &mut String, module: &Module) {
    let _ = writeln!(out, "{}", names(module).0);
    for f in module.functions {
        let _ = writeln!(out, "  {}", signature(name(f), f));
        let _ = writeln!(out, "      {}", first_sentence(f.doc));
    }
    out.push('\n');
}

/// What a function does, or what a module has. `Err` says that there is no such name, and which one
/// may have been meant.
pub fn page(wanted: &str) -> Result<String, String> {
    let mut out = String::new();
    for module in modules() {
        for f in module.functions.iter().filter(|f| f.opensips == Some(wanted) || f.kamailio == Some(wanted)) {
            if !out.is_empty() {
                out.push('\n');
            }
            describe(&mut out, module, f, wanted);
        }
    }
    if out.is_empty() {
        for module in modules().into_iter().filter(|m| m.name == wanted) {
            section(&mut out, module);
            parameters(&mut out, module);
        }
    }
    if !out.is_empty() {
        return Ok(out);
    }
    let functions = modules().into_iter().flat_map(|m| m.functions).flat_map(|f| [f.opensips, f.kamailio]);
    let known: Vec<&str> = functions.flatten().chain(modules().iter().map(|m| m.name)).collect();
    Err(match suggest(wanted, known) {
        Some(near) => format!("no function is called `{wanted}`; did you mean `{near}`?"),
        None => format!("no function is called `{wanted}`; `reprise functions` lists them"),
    })
}

fn describe(out: &mut String, module: &Module, f: &Function, wanted: &str) {
    let _ = writeln!(out, "{} (module {})\n", signature(wanted, f), module.name);
    for line in wrapped(f.doc, 76) {
        let _ = writeln!(out, "  {line}");
    }
    if !f.params.is_empty() {
        out.push_str("\nParameters\n");
        let width = f.params.iter().map(|p| p.name.len()).max().unwrap_or(0);
        for p in f.params {
            let optional = if p.required { "" } else { ", may be left out" };
            let _ = writeln!(out, "  {:width$}  {}{optional}", p.name, kind_text(p.kind));
        }
    }
    let _ = writeln!(out, "\nRoutes\n  {}", routes(f.routes));
    let _ = writeln!(out, "\nWaits\n  {}", waits(f));
    out.push_str("\nReturns\n");
    for (code, meaning) in f.returns {
        let _ = writeln!(out, "  {code:>3}  {meaning}");
    }
    if let Some(other) = f.kamailio.filter(|k| Some(*k) != f.opensips) {
        let _ = writeln!(out, "\nIn Kamailio's language\n  {other}");
    }
    let _ = writeln!(out, "\nExample\n  {}", example(module, f));
}

fn parameters(out: &mut String, module: &Module) {
    if module.params.is_empty() {
        if module.any_param {
            out.push_str("Its parameters are accepted and have no effect.\n");
        }
        return;
    }
    out.push_str("Parameters of the module\n");
    for p in module.params {
        let ignored = if p.ignored { " (no effect)" } else { "" };
        let _ = writeln!(out, "  {}: {}{ignored}", p.name, p.doc);
    }
}

/// `name(url, [code])`
fn signature(name: &str, f: &Function) -> String {
    let shown = |p: &Param| if p.required { p.name.to_string() } else { format!("[{}]", p.name) };
    let mut params: Vec<String> = f.params.iter().map(shown).collect();
    if f.variadic {
        params.push("...".to_string());
    }
    format!("{name}({})", params.join(", "))
}

fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Str => "text with variables",
        Kind::Raw => "text, read by the function itself",
        Kind::RawOrOut => "text, read by the function itself, or a variable",
        Kind::Int => "number",
        Kind::IntOrStr => "number, or text with variables",
        Kind::Out => "variable that can be assigned",
        Kind::Var => "variable",
        Kind::StrOrOut => "text with variables, or a variable",
        Kind::StrThenOut => "text with variables; as the last argument a variable that is assigned",
        Kind::Condition => "condition",
        Kind::OutList => "variables that can be assigned, `\"$avp(a);$avp(b)\"`",
        Kind::Regex => "regular expression",
        Kind::Route(kind) => return format!("name of a {kind}"),
        Kind::Event(prefix) => return format!("name of an event_route, behind `{prefix}`"),
        Kind::Flag => "name of a flag",
        Kind::Subst => "`/regular expression/replacement/flags`",
        Kind::Map(..) => "name of a list that a module parameter defines",
        Kind::Defined(module, param, _) => {
            return format!("text with variables: a name that `{param}` of {module} defines");
        }
    }
    .to_string()
}

/// Every kind of route block.
const KINDS: [RouteKind; 10] = [
    RouteKind::Request,
    RouteKind::Failure,
    RouteKind::OnReply,
    RouteKind::Branch,
    RouteKind::Local,
    RouteKind::Startup,
    RouteKind::Timer,
    RouteKind::Event,
    RouteKind::Error,
    RouteKind::OnSend,
];

fn routes(set: RouteSet) -> String {
    let (yes, no): (Vec<RouteKind>, Vec<RouteKind>) = KINDS.into_iter().partition(|k| set.contains(*k));
    let join = |list: Vec<RouteKind>| list.iter().map(RouteKind::to_string).collect::<Vec<_>>().join(", ");
    match (yes.len(), no.len()) {
        (_, 0) => "all".to_string(),
        (y, n) if y > n => format!("all but {}", join(no)),
        _ => join(yes),
    }
}

fn waits(f: &Function) -> &'static str {
    if f.waits { "yes; also with async() and launch()" } else { "no" }
}

/// The first sentence, for lists.
fn first_sentence(doc: &str) -> &str {
    let end = doc.match_indices(". ").map(|(at, _)| at + 1).find(|at| !doc[..*at].ends_with("..."));
    end.map_or(doc, |end| &doc[..end])
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// The pages of `docs/functions/`: file name and text. One page per module, and an index.
pub fn markdown() -> Vec<(String, String)> {
    let (with, without): (Vec<&Module>, Vec<&Module>) =
        modules().into_iter().partition(|m| !m.functions.is_empty() || !m.params.is_empty());
    let mut index = String::from(
        "# Script functions\n\nGenerated from the functions' own descriptions; `reprise functions NAME` prints the \
         same.\n\n| function | module | what it does |\n|---|---|---|\n",
    );
    let mut rows: Vec<(&str, String)> = Vec::new();
    for module in &with {
        for f in module.functions {
            let name = name(f);
            let (also, anchor) = if is_second(module, f) { (" (Kamailio)", "-kamailio") } else { ("", "") };
            let doc = cell(first_sentence(f.doc));
            let (m, page) = names(module);
            let row = format!("| [`{name}`]({page}.md#{name}{anchor}){also} | {m} | {doc} |\n");
            rows.push((name, row));
        }
    }
    rows.sort();
    index.extend(rows.into_iter().map(|(_, row)| row));
    if !without.is_empty() {
        let mut names: Vec<String> = without.iter().map(|m| format!("`{}`", m.name)).collect();
        names.sort();
        names.dedup();
        let _ = write!(
            index,
            "\n## Modules without functions\n\nWhat these bring is built in; `loadmodule` and their parameters are \
             accepted and have no effect:\n{}.\n",
            names.join(", ")
        );
    }
    let mut files = vec![("README.md".to_string(), index)];
    files.extend(with.iter().map(|m| (format!("{}.md", names(m).1), module_page(m))));
    files
}

/// Whether a function is the form of another one that only Kamailio's language has.
fn is_second(module: &Module, f: &Function) -> bool {
    f.opensips.is_none() && module.functions.iter().any(|g| g.opensips.is_some() && g.opensips == f.kamailio)
}

fn module_page(module: &Module) -> String {
    let mut out = format!("# {}\n", names(module).0);
    if !module.needs.is_empty() {
        let _ = writeln!(out, "\nNeeds: {}.", module.needs.join(", "));
    }
    if !module.params.is_empty() {
        out.push_str("\n## Parameters\n\n| parameter | meaning |\n|---|---|\n");
        for p in module.params {
            let ignored = if p.ignored { " (accepted, no effect)" } else { "" };
            let _ = writeln!(out, "| `{}` | {}{ignored} |", p.name, cell(p.doc));
        }
    }
    if !module.functions.is_empty() {
        out.push_str("\n## Functions\n");
    }
    for f in module.functions {
        let name = name(f);
        let also = if is_second(module, f) { " (Kamailio)" } else { "" };
        let _ = writeln!(out, "\n### {name}{also}\n\n`{}`\n", signature(name, f));
        for line in wrapped(f.doc, 100) {
            let _ = writeln!(out, "{line}");
        }
        out.push('\n');
        for p in f.params {
            let optional = if p.required { "" } else { "; may be left out" };
            let _ = writeln!(out, "- *{}*: {}{optional}", p.name, kind_text(p.kind));
        }
        let _ = writeln!(out, "- Routes: {}", routes(f.routes));
        let _ = writeln!(out, "- Waits: {}", waits(f));
        if let Some(other) = f.kamailio.filter(|k| Some(*k) != f.opensips) {
            let _ = writeln!(out, "- In Kamailio's language: `{other}`");
        }
        out.push_str("\n| returns | when |\n|---:|---|\n");
        for (code, meaning) in f.returns {
            let _ = writeln!(out, "| {code} | {} |", cell(meaning));
        }
        let _ = writeln!(out, "\n```\n{}\n```", example(module, f));
    }
    out
}

/// Text as it may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_suggestions() {
        let text = page("t_relay").unwrap();
        assert!(text.starts_with("t_relay(") && text.contains("(module tm)"), "{text}");
        for part in ["\nRoutes\n", "\nWaits\n", "\nReturns\n", "\nExample\n"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(page("textops").unwrap().contains("  subst_user("));
        assert_eq!(page("t_realy").unwrap_err(), "no function is called `t_realy`; did you mean `t_relay`?");
        assert!(page("frobnicate_all").unwrap_err().contains("lists them"));
        assert!(list().contains("\n  replace_body_atonce(pattern, text)\n      As `replace_body`"));
    }

    #[test]
    fn routes_are_short() {
        assert_eq!(routes(RouteSet::ALL), "all");
        assert_eq!(routes(RouteSet::letters("RF")), "route, failure_route");
        assert_eq!(routes(RouteSet::letters("RFOBLSTVE")), "all but onsend_route");
    }

    #[test]
    fn sentences() {
        assert_eq!(first_sentence("One. Two."), "One.");
        assert_eq!(first_sentence("Up to $avp(2) ... and more. End"), "Up to $avp(2) ... and more.");
        assert_eq!(first_sentence("None"), "None");
    }
}
