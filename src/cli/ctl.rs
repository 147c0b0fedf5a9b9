//! `reprise ctl`: asks a running server through its control socket and prints the answer.

use crate::control::DEFAULT_SOCKET;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `reprise ctl`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct CtlArgs {
    /// Path of the server's control socket.
    #[arg(short = 's', long = "socket", value_name = "SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print the answer as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// What to ask: ps, uptime, stats, waits, kill-wait, t_hash, version, log_level, which (lists all).
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// Parameters. `name=value` for all of them makes named parameters.
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Asks and prints; the exit code is 1 if that failed or the server answered with an error.
pub fn main(args: &CtlArgs) -> ExitCode {
    match ask(args) {
        Ok(answer) => {
            let text = if args.json { format!("{answer}\n") } else { render(&args.method, &answer) };
            // Whoever closed our output (`| head`) has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("reprise ctl: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The answer of a running server.
pub fn ask(args: &CtlArgs) -> Result<Value, String> {
    let path = args.socket.display();
    let mut stream =
        UnixStream::connect(&args.socket).map_err(|e| format!("cannot reach the server at {path}: {e}"))?;
    let failed = |e: std::io::Error| format!("{path}: {e}");
    // A SIP request of the server's own may ring for long.
    let patience = if args.method.ends_with("uac_dlg") { 600 } else { 30 };
    stream.set_read_timeout(Some(Duration::from_secs(patience))).map_err(failed)?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": args.method, "params": params(&args.args) });
    stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    if line.is_empty() {
        return Err(format!("{path}: the server closed the connection"));
    }
    let mut answer: Value = serde_json::from_str(&line).map_err(|e| format!("{path}: the answer is not JSON: {e}"))?;
    if let Some(error) = answer.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("error");
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
        return Err(format!("{message} ({code})"));
    }
    Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
}

fn params(args: &[String]) -> Value {
    let named: Option<serde_json::Map<String, Value>> = args
        .iter()
        .map(|a| {
            let (name, value) = a.split_once('=')?;
            let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            word.then(|| (name.to_owned(), Value::String(value.to_owned())))
        })
        .collect();
    match named {
        Some(named) if !named.is_empty() => Value::Object(named),
        _ => json!(args),
    }
}

/// The answer for people: a table for a list of objects, lines for an object of plain values, else
/// indented JSON.
fn render(method: &str, answer: &Value) -> String {
    match answer {
        Value::String(s) => format!("{s}\n"),
        Value::Array(rows) if rows.is_empty() => format!("no {method}\n"),
        Value::Array(rows) if rows.iter().all(Value::is_object) => table(rows),
        Value::Object(o) if o.values().all(|v| !v.is_object() && !v.is_array()) => {
            let width = o.keys().map(|k| k.chars().count()).max().unwrap_or(0).min(CELL);
            o.iter().fold(String::new(), |mut out, (k, v)| {
                let _ = writeln!(out, "{k:width$}  {}", cell(v));
                out
            })
        }
        other => format!("{other:#}\n"),
    }
}

fn table(rows: &[Value]) -> String {
    const FIRST: [&str; 5] = ["index", "pid", "kind", "id", "worker"];
    let mut columns: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        for key in row.keys() {
            if !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
    }
    columns.sort_by_key(|c| FIRST.iter().position(|f| f == c).unwrap_or(FIRST.len()));
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| shown("", &json!(c.to_uppercase()))).collect()];
    for row in rows {
        lines.push(columns.iter().map(|c| row.get(*c).map_or_else(|| "-".into(), |v| shown(c, v))).collect());
    }
    let width = |i: usize| lines.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Longest text in a table; the whole is in the JSON output.
const CELL: usize = 100;

fn shown(column: &str, value: &Value) -> String {
    let mut text = shown_in_full(column, value);
    if let Some((end, _)) = text.char_indices().nth(CELL) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn shown_in_full(column: &str, value: &Value) -> String {
    match (column, value.as_u64()) {
        ("rss", Some(bytes)) => format!("{:.1} MB", bytes as f64 / 1e6),
        ("uptime", Some(s)) => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
        _ => cell(value),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_lines_and_texts() {
        let ps = json!([
            {"rss": 12_345_678, "pid": 7, "index": null, "kind": "main", "uptime": 3661},
            {"pid": 12345, "index": 0, "kind": "worker", "uptime": 5, "rss": 1_000_000},
        ]);
        let expected = "\
INDEX  PID    KIND    RSS      UPTIME
-      7      main    12.3 MB  1:01:01
0      12345  worker  1.0 MB   0:00:05
";
        assert_eq!(render("ps", &ps), expected);
        assert_eq!(render("waits", &json!([])), "no waits\n");
        let wide = "é".repeat(70_000);
        let text = render("waits", &json!([{ "id": wide, &*wide: 1 }]));
        assert!(text.chars().count() < 1000);
        assert!(render("x", &json!({ &*wide: 1 })).starts_with('é'));
        assert_eq!(render("uptime", &json!({"now": 5, "up_since": 1})), "now       5\nup_since  1\n");
        assert_eq!(render("x", &json!("text")), "text\n");
        assert_eq!(render("which", &json!(["a"])), "[\n  \"a\"\n]\n");
    }

    #[test]
    fn parameters_by_place_or_by_name() {
        let of = |a: &[&str]| params(&a.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), json!([]));
        assert_eq!(of(&["core:", "each"]), json!(["core:", "each"]));
        assert_eq!(of(&["level=3"]), json!({"level": "3"}));
        assert_eq!(of(&["sip:a=b", "x"]), json!(["sip:a=b", "x"]));
    }
}
