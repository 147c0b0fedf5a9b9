//! Plays every scenario below tests/scenarios and conf/examples: one test per file, by its name.
//! `cargo test --test scenarios PART-OF-A-NAME` plays some of them.

use reprise::cli::scenario::{run_file, scenarios_in};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Check = fn() -> Result<(), String>;

/// What the command does around the scenarios.
const COMMAND: [(&str, Check); 4] = [
    ("command: a scenario that passes", passing),
    ("command: a scenario that fails", failing),
    ("command: what cannot be read", unreadable),
    ("command: help", help),
];

/// Runs `reprise test` with these arguments: exit status, standard output and error.
fn command(args: &[&str]) -> Result<(i32, String, String), String> {
    let out = Command::new(env!("CARGO_BIN_EXE_reprise")).arg("test").args(args).output().map_err(|e| e.to_string())?;
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    Ok((out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr)))
}

fn expect(good: bool, got: &impl std::fmt::Debug) -> Result<(), String> {
    if good { Ok(()) } else { Err(format!("{got:#?}")) }
}

fn passing() -> Result<(), String> {
    let got = command(&["conf/examples"])?;
    expect(got.0 == 0 && got.1.starts_with("ok   conf/examples/"), &got)?;
    expect(got.1.contains(" passed, 0 failed in ") && !got.1.contains(" -> "), &got)?;
    let got = command(&["-v", "conf/examples/credit.scn"])?;
    expect(got.0 == 0 && got.1.contains("alice -> server   INVITE sip:bob@192.0.2.2 SIP/2.0"), &got)
}

fn failing() -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = dir.path().join("wrong.scn");
    let text = "config\nloadmodule \"sl.so\"\nroute {\n    sl_send_reply(200, \"OK\");\n}\nend config\n\
                peer alice 192.0.2.1\nalice sends OPTIONS sip:x@y\nalice expects 404\n";
    std::fs::write(&file, text).map_err(|e| e.to_string())?;
    let name = file.display().to_string();
    let got = command(&[&name])?;
    let wanted = [&format!("FAIL {name}"), &format!("{name}:9: alice expects 404"), "- 404 *", "+ 200 OK"];
    expect(got.0 == 1 && wanted.iter().all(|w| got.1.contains(w)), &got)?;
    expect(got.1.contains("0 scenarios passed, 1 failed"), &got)
}

fn unreadable() -> Result<(), String> {
    let got = command(&["/nonexistent/a.scn"])?;
    expect(got.0 == 1 && got.1.contains("/nonexistent/a.scn: No such file"), &got)?;
    let got = command(&[])?;
    expect(got.0 == 2 && got.2.contains("FILE"), &got)
}

fn help() -> Result<(), String> {
    let got = command(&["--help"])?;
    expect(got.0 == 0 && got.1.contains("alice sends INVITE") && got.1.contains("Exit status"), &got)
}

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
    for (name, check) in COMMAND {
        if !filters.is_empty() && !filters.iter().any(|a| name.contains(a.as_str())) {
            continue;
        }
        match check() {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(why) => {
                failed += 1;
                println!("test {name} ... FAILED\n{why}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
