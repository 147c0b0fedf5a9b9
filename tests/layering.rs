//! The house rules that a machine can check: imports go downward only, `unsafe` stays in its
//! few files, no file grows past 800 lines without its tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers in order (docs/architecture.md).
const LAYERS: [&str; 12] = [
    "base",
    "sip",
    "transaction",
    "script",
    "store",
    "net",
    "ops",
    "modules",
    "worker",
    "control",
    "supervisor",
    "cli",
];

/// Files that may hold `unsafe`, each block with its reason.
const UNSAFE_ALLOWED: [&str; 5] =
    ["src/net/batch.rs", "src/net/sys.rs", "src/store/shm.rs", "src/supervisor/fork.rs", "src/supervisor/sys.rs"];

/// Longest file, its tests not counted.
const MAX_LINES: usize = 800;

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable source directory") {
        let path = entry.expect("directory entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(root).expect("inside the package").to_string_lossy().into_owned();
            (name, fs::read_to_string(&p).expect("readable source"))
        })
        .collect()
}

/// The part of a file before its in-file unit tests.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

#[test]
fn imports_go_downward_only() {
    let mut bad = Vec::new();
    for (name, text) in all_sources() {
        let Some(layer) = name.strip_prefix("src/").and_then(|n| n.split(['/', '.']).next()) else { continue };
        let Some(own) = LAYERS.iter().position(|l| *l == layer) else { continue };
        if is_test_file(&name) {
            continue;
        }
        for (line, code) in code_lines(without_tests(&text)) {
            for (rank, other) in LAYERS.iter().enumerate().skip(own + 1) {
                if code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{other};")) {
                    bad.push(format!("{name}:{line}: layer {layer} ({own}) imports {other} ({rank})"));
                }
            }
            if code.contains("use crate::{") {
                bad.push(format!("{name}:{line}: import one layer per `use` line"));
            }
        }
    }
    assert!(bad.is_empty(), "upward imports:\n{}", bad.join("\n"));
}

#[test]
fn unsafe_stays_in_its_files() {
    let mut bad = Vec::new();
    for (name, text) in all_sources() {
        if UNSAFE_ALLOWED.contains(&name.as_str()) {
            continue;
        }
        for (line, code) in code_lines(&text) {
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.into_iter().any(|w| w == "unsafe") {
                bad.push(format!("{name}:{line}"));
            }
        }
    }
    assert!(bad.is_empty(), "stray unsafe:\n{}", bad.join("\n"));
}

#[test]
fn no_globals_below_the_binary() {
    let mut bad = Vec::new();
    for (name, text) in all_sources() {
        for (line, code) in code_lines(without_tests(&text)) {
            if code.contains("static mut ") || code.contains("thread_local!") {
                bad.push(format!("{name}:{line}"));
            }
        }
    }
    assert!(bad.is_empty(), "global state:\n{}", bad.join("\n"));
}

#[test]
fn files_stay_readable() {
    let bad: Vec<_> = all_sources()
        .into_iter()
        .filter(|(name, _)| !is_test_file(name))
        .map(|(name, text)| (without_tests(&text).lines().count(), name))
        .filter(|(n, _)| *n > MAX_LINES)
        .collect();
    assert!(bad.is_empty(), "files over {MAX_LINES} lines without their tests: {bad:?}");
}
