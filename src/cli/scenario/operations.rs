//! Operations of a scenario: finding the one that is meant, and ending it.

use super::play::Stage;
use super::syntax::{Answer, Fate, Value};
use super::text::fits;
use crate::base::Str;
use crate::ops::driver::OpKind;
use crate::ops::fake::Asked;
use crate::ops::request::{ExecOutcome, HttpResponse, SqlResult, SqlValue};
use crate::ops::{CancelReason, Failure, Outcome};
use std::time::Duration;

/// A standing answer (`always operation ...`).
#[derive(Clone, Debug)]
pub struct Rule {
    /// Kind of operation.
    pub kind: String,
    /// Pattern of its text.
    pub pattern: String,
    /// How it ends.
    pub answer: Answer,
    /// How much later.
    pub after: Duration,
}

fn is_kind(wanted: &str, kind: OpKind) -> bool {
    match wanted {
        "any" => true,
        "sql" => !matches!(kind, OpKind::Exec | OpKind::Http | OpKind::Sleep),
        _ => wanted == kind.as_str(),
    }
}

fn squeeze(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a statement about an operation asks for; the error says why that cannot be.
pub fn operation(stage: &mut Stage<'_>, kind: &str, pattern: &str, what: &Fate) -> Result<(), String> {
    let pattern = squeeze(pattern);
    if let Fate::Cancelled | Fate::TimedOut = what {
        let deadline = matches!(what, Fate::TimedOut);
        let Stage { ended, vars, .. } = stage;
        let found = ended.iter().position(|e| {
            (e.reason == CancelReason::Deadline) == deadline
                && is_kind(kind, e.asked.kind)
                && fits(&pattern, &squeeze(&e.asked.text), vars)
        });
        let Some(at) = found else {
            let pending = stage.pending();
            let how = if deadline { "timed out" } else { "was cancelled" };
            return Err(format!("no such operation {how}; in flight:\n{}", none_if_empty(&pending)));
        };
        stage.ended.remove(at);
        return Ok(());
    }
    let Some(sim) = &stage.sim else { return Ok(()) };
    let free = |a: &&Asked| !stage.decided.iter().any(|(id, _)| *id == a.id);
    let all = sim.operations();
    let found = all
        .iter()
        .filter(free)
        .find(|a| is_kind(kind, a.kind) && fits(&pattern, &squeeze(&a.text), &mut stage.vars.clone()));
    let Some(asked) = found.cloned() else {
        return Err(format!("no such operation is in flight, but\n{}", none_if_empty(&stage.pending())));
    };
    fits(&pattern, &squeeze(&asked.text), &mut stage.vars);
    match what {
        Fate::Now(answer) => end(stage, &asked, answer),
        Fate::Hangs(phase) => {
            stage.decided.push((asked.id, None));
            if let Some(sim) = &mut stage.sim {
                sim.hang(asked.id, *phase);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn none_if_empty(text: &str) -> &str {
    if text.is_empty() { "        none" } else { text }
}

fn end(stage: &mut Stage<'_>, asked: &Asked, answer: &Answer) -> Result<(), String> {
    let outcome = outcome(answer, asked.kind)?;
    stage.note(format!("operation {} ends: {}", asked.kind.as_str(), asked.text));
    if let Some(sim) = &mut stage.sim {
        sim.answer(asked.id, outcome);
    }
    Ok(())
}

/// Answers what the rules answer at this time. True if something was answered.
pub fn by_rules(stage: &mut Stage<'_>) -> bool {
    let Some(sim) = &stage.sim else { return false };
    let now = sim.now();
    let all = sim.operations();
    for asked in &all {
        if stage.started.insert(asked.id) {
            stage.note(format!("operation {} begins: {}", asked.kind.as_str(), asked.text));
        }
    }
    if let Some(at) = stage.decided.iter().position(|(_, d)| d.as_ref().is_some_and(|(at, _)| *at <= now)) {
        let (id, decision) = stage.decided.remove(at);
        if let (Some((_, answer)), Some(asked)) = (decision, all.iter().find(|a| a.id == id)) {
            // Its kind was looked at when it was decided.
            let _ = end(stage, asked, &answer);
        }
        return true;
    }
    for asked in all {
        if stage.decided.iter().any(|(id, _)| *id == asked.id) {
            continue;
        }
        let text = squeeze(&asked.text);
        let fit = |r: &&Rule| {
            is_kind(&r.kind, asked.kind)
                && outcome(&r.answer, asked.kind).is_ok()
                && fits(&squeeze(&r.pattern), &text, &mut stage.vars.clone())
        };
        if let Some(rule) = stage.rules.iter().find(fit) {
            stage.decided.push((asked.id, Some((now + rule.after, rule.answer.clone()))));
            return true;
        }
    }
    false
}

/// The answer as the operation's outcome; the error says that such an operation has no such answer.
fn outcome(answer: &Answer, kind: OpKind) -> Result<Outcome, String> {
    let other = |what: &str| Err(format!("an operation of kind {} cannot end so: {what}", kind.as_str()));
    Ok(match (answer, kind) {
        (Answer::Fails { why, phase, detail }, _) => Outcome::Failed(Failure::new(*why, *phase, detail.clone())),
        (Answer::Http { status, body, kind: content }, OpKind::Http) => {
            let content = content.clone().unwrap_or_else(|| "text/plain".into());
            Outcome::Http(HttpResponse {
                status: *status,
                content_type: Some(Str::from(content.as_str())),
                body: body.clone().into_bytes(),
                headers: vec![(Str::from("Content-Type"), Str::from(content.as_str()))],
                reason: Str::from(crate::sip::reply::default_reason(*status)),
                ..HttpResponse::default()
            })
        }
        (_, OpKind::Http) => return other("expected `answers STATUS \"body\"` or `fails`"),
        (Answer::Exit { status, stdout, stderr }, OpKind::Exec) => Outcome::Exec(ExecOutcome {
            status: *status,
            stdout: stdout.clone().into_bytes(),
            stderr: stderr.clone().into_bytes(),
            truncated: false,
        }),
        (_, OpKind::Exec) => return other("expected `exits STATUS \"output\"` or `fails`"),
        (Answer::Rows { columns, rows }, _) => {
            let width = rows.iter().map(Vec::len).max().unwrap_or(columns.len());
            let name = |i: usize| columns.get(i).cloned().unwrap_or_else(|| format!("c{}", i + 1));
            let value = |v: &Value| match v {
                Value::Null => SqlValue::Null,
                Value::Int(n) => SqlValue::Int(*n),
                Value::Text(t) => SqlValue::Text(Str::from(t.as_str())),
            };
            Outcome::Sql(SqlResult {
                columns: (0..width.max(1)).map(|i| Str::from(name(i))).collect(),
                rows: rows.iter().map(|r| r.iter().map(value).collect()).collect(),
                ..SqlResult::default()
            })
        }
        (Answer::Changed(n), _) => Outcome::Sql(SqlResult { affected: *n, ..SqlResult::default() }),
        _ => return other("expected `answers` with rows, `answers changed N` or `fails`"),
    })
}
