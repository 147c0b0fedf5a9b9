//! How operations end: the part of a statement behind `operation KIND "PATTERN"`.

use super::line::Line;
use super::syntax::{Answer, Fate, Parsed, Value};
use crate::ops::{Phase, Why};

const PHASES: [Phase; 8] =
    [Phase::Queue, Phase::Resolve, Phase::Connect, Phase::Tls, Phase::Login, Phase::Send, Phase::Wait, Phase::Receive];

const REASONS: [(&str, Why); 10] = [
    ("timeout", Why::Timeout),
    ("cancelled", Why::Cancelled),
    ("refused", Why::Refused),
    ("closed", Why::Closed),
    ("garbage", Why::Garbage),
    ("toolarge", Why::TooLarge),
    ("overload", Why::Overload),
    ("badrequest", Why::BadRequest),
    ("denied", Why::Denied),
    ("system", Why::System),
];

const FATES: &str =
    "`answers ...`, `exits N`, `fails REASON in PHASE`, `hangs`, `is waiting`, `was cancelled` or `timed out`";

/// `answers ...`, `exits N`, `fails ...`
pub fn answer(line: &mut Line) -> Parsed<Answer> {
    match line.peek() {
        Some("answers") => {
            line.skip();
            answers(line)
        }
        Some("exits") => {
            line.skip();
            let text = line.word("an exit status")?;
            let status = text.parse().map_err(|_| line.wrong_before("an exit status"))?;
            let stdout = line.quoted().unwrap_or_default();
            let stderr = match line.take("stderr") {
                true => line.quoted().ok_or_else(|| line.wrong("a text in quotes"))?,
                false => String::new(),
            };
            Ok(Answer::Exit { status, stdout, stderr })
        }
        Some("fails") => {
            line.skip();
            let names: Vec<&str> = REASONS.iter().map(|r| r.0).collect();
            let what = format!("a reason ({})", names.join(", "));
            let word = line.word(&what)?;
            let why = REASONS.iter().find(|r| r.0 == word).map(|r| r.1).ok_or_else(|| line.wrong_before(&what))?;
            let phase = if line.take("in") { phase(line)? } else { Phase::Wait };
            Ok(Answer::Fails { why, phase, detail: line.quoted().unwrap_or_default() })
        }
        _ => Err(line.wrong(FATES)),
    }
}

/// The same, and what a single operation may do besides.
pub fn fate(line: &mut Line) -> Parsed<Fate> {
    match line.peek() {
        Some("hangs") => {
            line.skip();
            let phase = if line.take("in") { phase(line)? } else { Phase::Wait };
            Ok(Fate::Hangs(phase))
        }
        Some("is") => {
            line.skip();
            line.keyword("waiting")?;
            Ok(Fate::Waiting)
        }
        Some("was") => {
            line.skip();
            line.keyword("cancelled")?;
            Ok(Fate::Cancelled)
        }
        Some("timed") => {
            line.skip();
            line.keyword("out")?;
            Ok(Fate::TimedOut)
        }
        _ => Ok(Fate::Now(answer(line)?)),
    }
}

fn phase(line: &mut Line) -> Parsed<Phase> {
    let names: Vec<&str> = PHASES.iter().map(|p| p.as_str()).collect();
    let what = format!("a phase ({})", names.join(", "));
    let word = line.word(&what)?;
    PHASES.into_iter().find(|p| p.as_str() == word).ok_or_else(|| line.wrong_before(&what))
}

fn answers(line: &mut Line) -> Parsed<Answer> {
    const WHAT: &str =
        "`no rows`, `row VALUE, ...`, `rows (VALUE, ...), ...`, `columns (...) rows ...`, `changed N` or a status code";
    match line.peek() {
        Some("no") => {
            line.skip();
            line.keyword("rows")?;
            Ok(Answer::Rows { columns: Vec::new(), rows: Vec::new() })
        }
        Some("row") => {
            line.skip();
            let mut row = vec![value(line)?];
            while line.take(",") {
                row.push(value(line)?);
            }
            Ok(Answer::Rows { columns: Vec::new(), rows: vec![row] })
        }
        Some("rows") => {
            line.skip();
            Ok(Answer::Rows { columns: Vec::new(), rows: rows(line)? })
        }
        Some("columns") => {
            line.skip();
            line.keyword("(")?;
            let mut columns = vec![line.word("a column's name")?];
            while line.take(",") {
                columns.push(line.word("a column's name")?);
            }
            line.keyword(")")?;
            line.keyword("rows")?;
            Ok(Answer::Rows { columns, rows: rows(line)? })
        }
        Some("changed") => {
            line.skip();
            Ok(Answer::Changed(line.number("how many rows were changed")?))
        }
        Some(word) if word.parse::<u16>().is_ok_and(|c| (100..600).contains(&c)) => {
            let status = line.small("a status code")?;
            let body = line.quoted().unwrap_or_default();
            let kind = match line.take("type") {
                true => Some(line.word("a content type")?),
                false => None,
            };
            Ok(Answer::Http { status, body, kind })
        }
        _ => Err(line.wrong(WHAT)),
    }
}

fn rows(line: &mut Line) -> Parsed<Vec<Vec<Value>>> {
    let mut rows = Vec::new();
    loop {
        line.keyword("(")?;
        let mut row = vec![value(line)?];
        while line.take(",") {
            row.push(value(line)?);
        }
        line.keyword(")")?;
        rows.push(row);
        if !line.take(",") {
            return Ok(rows);
        }
    }
}

fn value(line: &mut Line) -> Parsed<Value> {
    const WHAT: &str = "a value: a number, a text in quotes or NULL";
    if let Some(text) = line.quoted() {
        return Ok(Value::Text(text));
    }
    match line.word(WHAT)?.as_str() {
        "NULL" => Ok(Value::Null),
        n => n.parse().map(Value::Int).map_err(|_| line.wrong_before(WHAT)),
    }
}
