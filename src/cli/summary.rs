//! `reprise check --summary`: what of a configuration is supported, what has no effect, what is missing.
//! For those who move a configuration here.

use super::load::{Loaded, load};
use crate::script::ast::{Call, Dialect, Expr, ExprKind, Item, Stmt, StmtKind};
use crate::script::diagnostics::{Diagnostic, Severity};
use crate::script::parse::Options;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Deepest folder that is looked into.
const MAX_DEPTH: usize = 20;

/// Sums up each file, and each `*.cfg` below each folder. The exit code is 0 if nothing is missing anywhere.
pub fn main(paths: &[PathBuf], options: &Options) -> ExitCode {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, 0, &mut files);
        } else {
            files.push(path.clone());
        }
    }
    let mut all_good = !files.is_empty();
    for file in &files {
        let (text, good) = summary(file, options);
        print!("{text}");
        all_good &= good;
    }
    if files.is_empty() {
        eprintln!("reprise: no *.cfg file there");
    }
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The `*.cfg` files below a folder, by name.
fn collect(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() && depth < MAX_DEPTH {
            collect(&path, depth + 1, out);
        } else if path.extension().is_some_and(|e| e == "cfg") {
            out.push(path);
        }
    }
}

/// The summary of one file, and whether it can be used as it is.
pub fn summary(file: &Path, options: &Options) -> (String, bool) {
    let loaded = load(file, options.clone());
    let language = match loaded.dialect {
        Dialect::OpenSips => "OpenSIPS",
        Dialect::Kamailio => "Kamailio",
    };
    let mut out = format!("{} ({language})\n", file.display());
    let used = Used::of(&loaded);
    let missing: Vec<&Diagnostic> = loaded.diags.list().iter().filter(|d| d.code.starts_with("E02")).collect();
    let unknown = |name: &str| missing.iter().any(|d| d.message.contains(&format!("`{name}`")));
    let mut line = |what: &str, names: &BTreeSet<String>| {
        let known: Vec<&str> = names.iter().map(String::as_str).filter(|n| !unknown(n)).collect();
        if !known.is_empty() {
            let _ = writeln!(out, "  {what} ({} of {}): {}", known.len(), names.len(), known.join(", "));
        }
    };
    line("modules supported", &used.modules);
    line("functions supported", &used.functions);
    let rest: Vec<&Diagnostic> = loaded.diags.list().iter().filter(|d| !d.code.starts_with("E02")).collect();
    section(&mut out, &loaded, "missing", &missing);
    let errors: Vec<&Diagnostic> = rest.iter().copied().filter(|d| d.severity == Severity::Error).collect();
    section(&mut out, &loaded, "wrong", &errors);
    let others: Vec<&Diagnostic> = rest.iter().copied().filter(|d| d.severity != Severity::Error).collect();
    section(&mut out, &loaded, "different", &others);
    let good = loaded.server.is_some();
    let verdict = if good { "can be used as it is" } else { "cannot be used yet" };
    let _ =
        writeln!(out, "  {verdict}: {} missing, {} wrong, {} different\n", missing.len(), errors.len(), others.len());
    (out, good)
}

/// Findings, each in a line: what, how often, where first, what comes nearest.
fn section(out: &mut String, loaded: &Loaded, title: &str, list: &[&Diagnostic]) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "  {title}");
    let mut list = list.to_vec();
    list.sort_by_key(|d| (d.code, d.span.file, d.span.start));
    for d in list {
        let (file, line, _) = loaded.map.position(d.span);
        let times = if d.times > 1 { format!("{} times, first in ", d.times) } else { String::new() };
        let _ = write!(out, "    {} ({times}{file}:{line})", d.message);
        if let Some(help) = &d.help {
            let _ = write!(out, "; {help}");
        }
        out.push('\n');
    }
}

/// Names that a configuration uses.
#[derive(Default)]
struct Used {
    modules: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Used {
    fn of(loaded: &Loaded) -> Used {
        let mut used = Used::default();
        for item in &loaded.config.items {
            match item {
                Item::LoadModule { file, .. } => {
                    let path = String::from_utf8_lossy(&file.text).into_owned();
                    let name = path.rsplit('/').next().unwrap_or_default();
                    used.modules.insert(name.strip_suffix(".so").unwrap_or(name).to_owned());
                }
                Item::Route(route) => used.statements(&route.body),
                _ => {}
            }
        }
        used
    }

    fn statements(&mut self, list: &[Stmt]) {
        for s in list {
            match &s.kind {
                StmtKind::Call(c) | StmtKind::Await(c) => self.call(c),
                StmtKind::Async { call, .. } | StmtKind::Launch { call, .. } => self.call(call),
                StmtKind::Several(several) => several.members.iter().for_each(|c| self.call(c)),
                StmtKind::Assign(a) => self.expression(&a.value),
                StmtKind::If { cond, then, otherwise } => {
                    self.expression(cond);
                    self.statements(then);
                    self.statements(otherwise.as_deref().unwrap_or_default());
                }
                StmtKind::While { cond, body } => {
                    self.expression(cond);
                    self.statements(body);
                }
                StmtKind::ForEach { body, .. } | StmtKind::Block(body) => self.statements(body),
                StmtKind::Switch { subject, cases } => {
                    self.expression(subject);
                    for case in cases {
                        self.statements(&case.body);
                    }
                }
                StmtKind::Return { code, .. } => code.iter().for_each(|e| self.expression(e)),
                StmtKind::Expr(e) => self.expression(e),
                _ => {}
            }
        }
    }

    fn expression(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Call(c) | ExprKind::Await(c) => self.call(c),
            ExprKind::Compare { left, right, .. } | ExprKind::Binary { left, right, .. } => {
                self.expression(left);
                self.expression(right);
            }
            ExprKind::And(l, r) | ExprKind::Or(l, r) => {
                self.expression(l);
                self.expression(r);
            }
            ExprKind::Not(inner) | ExprKind::Group(inner) | ExprKind::Test(inner) => self.expression(inner),
            ExprKind::Unary { operand, .. } => self.expression(operand),
            ExprKind::Assign(a) => self.expression(&a.value),
            ExprKind::Choice { cond, yes, no } => [cond, yes, no].into_iter().for_each(|e| self.expression(e)),
            ExprKind::Block(body) => self.statements(body),
            _ => {}
        }
    }

    fn call(&mut self, call: &Call) {
        self.functions.insert(call.name.text.clone());
        call.args.iter().flatten().for_each(|e| self.expression(e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cfg");
        let text = "#!KAMAILIO\nmemlog=5\nlisten=udp:127.0.0.1:5060\nloadmodule \"sl.so\"\nloadmodule \"imc.so\"\n\
                    modparam(\"imc\", \"db_mode\", 1)\nrequest_route {\n  if (!imc_manager()) imc_manager();\n  \
                    sl_send_reply(\"200\", \"$unheardof(a) $unheardof(a)\");\n}\n";
        std::fs::write(&file, text).unwrap();
        let (text, good) = summary(&file, &Options::default());
        assert!(!good);
        let name = file.display();
        let wanted = format!(
            "{name} (Kamailio)\n  modules supported (1 of 2): sl\n  functions supported (1 of 2): sl_send_reply\n  missing\n    \
             unknown function `imc_manager` (2 times, first in {name}:8); no equivalent in this version\n    unknown module `imc` ({name}:5); no equivalent in this version\n    unknown \
             variable `$unheardof` ({name}:9)\n  different\n    `memlog` has no effect here ({name}:2)\n  cannot be used yet: 3 \
             missing, 0 wrong, 1 different\n\n"
        );
        assert_eq!(text, wanted);
        std::fs::write(&file, "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nrequest_route { exit; }\n").unwrap();
        assert!(summary(&file, &Options::default()).1);
        let mut found = Vec::new();
        collect(dir.path(), 0, &mut found);
        assert_eq!(found, [file]);
    }
}
