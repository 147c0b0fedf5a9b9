//! `reprise test FILE.scn...`: plays scenarios and says what did not come true. docs/scenarios.md has the
//! format.

mod answer;
mod compare;
mod line;
mod message;
mod operations;
mod parse;
mod party;
mod play;
mod streams;
mod syntax;
mod text;

#[cfg(test)]
mod tests;

use crate::script::ast::Dialect;
use crate::worker::sim::lines;
use clap::Args;
use play::Stage;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Lines of what happened that a failure shows.
const SHOWN: usize = 60;
/// Largest scenario file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What `reprise test --help` ends with.
pub const HELP: &str = "\
A scenario is a text of statements:

    config my.cfg
    peer alice 192.0.2.1
    peer bob 192.0.2.2
    always operation mysql \"SELECT*\" answers row \"192.0.2.2\"
    alice sends INVITE sip:bob@example.com
    bob expects INVITE sip:bob@192.0.2.2
        Max-Forwards: 69
    bob replies 200
    alice expects 200 OK

Exit status: 0 if every scenario came true, else 1.";

/// What `reprise test` is told.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Scenario files, or directories with some (*.scn).
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show what happens in each scenario, not only in those that fail.
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// What came of one scenario.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything came true.
    pub passed: bool,
    /// Why not, for people; with the line in the scenario.
    pub text: String,
    /// What happened, message by message.
    pub trace: Vec<String>,
}

/// Plays the scenarios; the exit code is 1 if one fails, or there is none.
pub fn main(args: &TestArgs, dialect: Option<Dialect>) -> ExitCode {
    let mut files = Vec::new();
    for path in &args.files {
        if path.is_dir() {
            if let Err(why) = scenarios_in(path, &mut files) {
                eprintln!("reprise test: {}: {why}", path.display());
                return ExitCode::FAILURE;
            }
        } else {
            files.push(path.clone());
        }
    }
    let begin = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let report = run_file(file, dialect);
        println!("{} {}", if report.passed { "ok  " } else { "FAIL" }, file.display());
        if args.verbose || !report.passed {
            print!("{}", report.text);
            for line in &report.trace {
                println!("    {line}");
            }
        }
        if report.passed { passed += 1 } else { failed += 1 }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{passed} scenarios passed, {failed} failed in {seconds:.2} s");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scenario files below a directory, sorted.
pub fn scenarios_in(directory: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            scenarios_in(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "scn") {
            out.push(path);
        }
    }
    Ok(())
}

/// Plays the scenario of a file.
pub fn run_file(path: &Path, dialect: Option<Dialect>) -> Report {
    let refuse =
        |why: String| Report { passed: false, text: format!("{}: {why}\n", path.display()), trace: Vec::new() };
    match std::fs::metadata(path) {
        Ok(m) if m.len() > MAX_FILE => return refuse(format!("larger than {MAX_FILE} bytes")),
        Ok(_) => {}
        Err(e) => return refuse(e.to_string()),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => run_text(&text, &path.to_string_lossy(), dialect),
        Err(e) => refuse(e.to_string()),
    }
}

/// Plays the scenario of a text that calls itself `name`; files it names are looked up beside it.
pub fn run_text(text: &str, name: &str, dialect: Option<Dialect>) -> Report {
    lines::keep();
    let directory = Path::new(name).parent().unwrap_or(Path::new(""));
    let scenario = match parse::parse(text, directory) {
        Ok(scenario) => scenario,
        Err(m) => {
            let line = text.lines().nth(m.line.saturating_sub(1)).unwrap_or_default();
            let text = format!(
                "{name}:{}:{}: {}\n    {line}\n    {}^\n",
                m.line,
                m.column,
                m.message,
                " ".repeat(m.column.saturating_sub(1))
            );
            return Report { passed: false, text, trace: Vec::new() };
        }
    };
    let mut stage = Stage::new(&scenario, name, dialect);
    let result = stage.play();
    let trace = std::mem::take(&mut stage.trace);
    let Err(failure) = result else { return Report { passed: true, text: String::new(), trace } };
    let statement = text.lines().nth(failure.line.saturating_sub(1)).unwrap_or_default().trim();
    let mut out = format!("{name}:{}: {statement}\n    {}\n", failure.line, failure.text.trim_end());
    let log: Vec<&str> = stage.log_tail().collect();
    if !log.is_empty() {
        out.push_str("    the log:\n");
        for line in log {
            let _ = writeln!(out, "        {line}");
        }
    }
    out.push_str("    what happened:\n");
    let from = trace.len().saturating_sub(SHOWN);
    Report { passed: false, text: out, trace: trace.into_iter().skip(from).collect() }
}
