//! Plays every scenario below tests/scenarios and conf/examples: one test per file, by its name.
//! `cargo test --test scenarios PART-OF-A-NAME` plays some of them.

use reprise::cli::scenario::{run_file, scenarios_in};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Err(e) = std::env::set_current_dir(root) {
        eprintln!("{}: {e}", root.display());
        return ExitCode::FAILURE;
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in ["tests/scenarios", "conf/examples"] {
        if let Err(e) = scenarios_in(Path::new(directory), &mut files) {
            eprintln!("{directory}: {e}");
            return ExitCode::FAILURE;
        }
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let name = |f: &PathBuf| f.display().to_string();
    files.retain(|f| filters.is_empty() || filters.iter().any(|a| name(f).contains(a.as_str())));
    if args.iter().any(|a| a == "--list") {
        files.iter().for_each(|f| println!("{}: test", name(f)));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", files.len());
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let report = run_file(file, None);
        println!("test {} ... {}", name(file), if report.passed { "ok" } else { "FAILED" });
        if report.passed {
            passed += 1;
        } else {
            failed += 1;
            print!("{}", report.text);
            report.trace.iter().for_each(|l| println!("    {l}"));
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
