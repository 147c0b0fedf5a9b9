//! The script functions' descriptions: every example compiles where it says it may stand, and
//! `docs/functions/` is what they generate. `REPRISE_BLESS=1` writes the pages anew.

use reprise::cli::functions;
use reprise::modules::host::SipHost;
use reprise::script::ast::RouteKind;
use reprise::script::diagnostics::Diagnostics;
use reprise::script::lower::compile;
use reprise::script::parse::parse_text;
use reprise::script::registry::{FnSpec, ModuleSpec, RouteSet};
use reprise::script::render::render;
use reprise::script::source::SourceMap;
use std::collections::BTreeSet;
use std::path::Path;

type Function = FnSpec<SipHost>;

/// Every function with its module and its example.
fn all() -> Vec<(&'static str, &'static Function, String)> {
    let of = |m: &'static ModuleSpec<SipHost>| m.functions.iter().map(|f| (m.name, f, functions::example(m, f)));
    functions::modules().into_iter().flat_map(of).collect()
}

/// A configuration with the example in a block of the first kind that allows it.
fn config(module: &str, example: &str, routes: RouteSet) -> String {
    let mut text = String::from("socket=udp:127.0.0.1:5060\n");
    // Examples use functions of other modules too.
    let mut modules = BTreeSet::from(["tm", "sl", "rr", "signaling", "sipmsgops", module]);
    modules.remove("core");
    for m in &modules {
        text.push_str(&format!("loadmodule \"{m}.so\"\n"));
    }
    let head = [
        (RouteKind::Request, "route"),
        (RouteKind::OnReply, "onreply_route"),
        (RouteKind::Failure, "failure_route[example]"),
        (RouteKind::Branch, "branch_route[example]"),
        (RouteKind::Local, "local_route"),
        (RouteKind::Error, "error_route"),
        (RouteKind::Timer, "timer_route[example, 60]"),
        (RouteKind::Startup, "startup_route"),
        (RouteKind::Event, "event_route[E_EXAMPLE]"),
    ];
    let (kind, head) = head.into_iter().find(|(k, _)| routes.contains(*k)).expect("a route that allows it");
    text.push_str(&format!("{head} {{\n    {example}\n}}\n"));
    if kind != RouteKind::Request {
        text.push_str("route { exit; }\n");
    }
    for route in
        ["relay", "sequential", "pstn", "voicemail", "got_credit", "got_it", "logged", "after_sleep", "pick_gw"]
    {
        text.push_str(&format!("route[{route}] {{ exit; }}\n"));
    }
    text.push_str(
        "branch_route[per_branch] { exit; }\nfailure_route[missed] { exit; }\nonreply_route[nat] { exit; }\n",
    );
    text
}

#[test]
fn examples_compile() {
    let mut bad = Vec::new();
    for (module, f, example) in all() {
        let name = functions::name(f);
        let text = config(module, &example, f.routes);
        let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
        let tree = parse_text("example.cfg", &text, &mut map, &mut diags);
        let program = compile::<SipHost>(reprise::script::ast::Dialect::OpenSips, &tree, &map, &mut diags);
        if program.is_none() || !diags.list().is_empty() {
            bad.push(format!("{module}: {name}: {example}\n{}", render(&map, &diags, false)));
        }
    }
    assert!(bad.is_empty(), "{} examples with findings:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn descriptions_are_complete() {
    let mut bad = Vec::new();
    for (module, f, example) in all() {
        let name = functions::name(f);
        let mut complain = |what: &str| bad.push(format!("{module}: {name}: {what}"));
        if !example.contains(&format!("{name}(")) {
            complain("the example does not use it");
        }
        if f.doc.is_empty() || !f.doc.ends_with('.') {
            complain("the description is no sentence");
        }
        if f.returns.is_empty() {
            complain("no return codes");
        }
        if f.waits && f.finish.is_none() {
            complain("waits and cannot go on");
        }
        if f.routes == RouteSet::NONE {
            complain("allowed nowhere");
        }
        if f.params.windows(2).any(|p| !p[0].required && p[1].required) && f.opensips.is_none() {
            complain("a parameter that must be given stands behind one that need not");
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn names_are_unique_within_a_module() {
    for module in functions::modules() {
        let mut seen = BTreeSet::new();
        for f in module.functions {
            assert!(seen.insert(functions::name(f)), "{}: {} twice", module.name, functions::name(f));
        }
    }
}

#[test]
fn pages_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions");
    let pages = functions::markdown();
    if std::env::var_os("REPRISE_BLESS").is_some() {
        std::fs::create_dir_all(&dir).expect("docs/functions");
        for (file, text) in &pages {
            std::fs::write(dir.join(file), text).expect("writable page");
        }
    }
    let mut bad: Vec<String> = Vec::new();
    for (file, text) in &pages {
        if std::fs::read_to_string(dir.join(file)).ok().as_ref() != Some(text) {
            bad.push(format!("{file} differs"));
        }
    }
    for entry in std::fs::read_dir(&dir).expect("docs/functions").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !pages.iter().any(|(file, _)| *file == name) {
            bad.push(format!("{name} belongs to no module"));
        }
    }
    assert!(bad.is_empty(), "REPRISE_BLESS=1 writes the pages anew:\n{}", bad.join("\n"));
}
