//! `{sdp.*}`: lines and media sections of a session description (RFC 8866).

use super::{Failed, Outcome, number, position};
use crate::script::value::Value;

/// The nth line (from 0) that begins with the letter `kind`, without its line end.
pub(super) fn line(text: &[u8], kind: &[u8], n: Option<Option<i64>>) -> Outcome {
    let letter = *kind.trim_ascii().first().ok_or(Failed)?;
    let n = match n {
        None => 0,
        Some(n) => usize::try_from(n.ok_or(Failed)?).map_err(|_| Failed)?,
    };
    let found = text
        .split(|c| *c == b'\n')
        .map(|l| l.strip_suffix(b"\r").unwrap_or(l))
        .filter(|l| matches!(l, [first, b'=', ..] if *first == letter))
        .nth(n);
    Ok(Value::opt(found))
}

/// Byte ranges of the media sections, each from its `m=` to the next.
fn streams(text: &[u8]) -> Vec<(usize, usize)> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive(|c| *c == b'\n') {
        if line.starts_with(b"m=") {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).collect()
}

/// Section by number (negative from the end) or by media type (`audio`).
fn find(text: &[u8], which: &[u8]) -> Option<(usize, usize)> {
    let all = streams(text);
    match number(which) {
        Some(n) => position(n, all.len()).and_then(|n| all.get(n).copied()),
        None => all.into_iter().find(|(from, to)| {
            let head = text.get(from + 2..*to).unwrap_or_default();
            let kind = head.split(|c| *c == b' ').next().unwrap_or_default();
            kind.eq_ignore_ascii_case(which.trim_ascii())
        }),
    }
}

pub(super) fn stream(text: &[u8], which: &[u8]) -> Value {
    Value::opt(find(text, which).and_then(|(from, to)| text.get(from..to)))
}

/// The body without that section; unchanged if there is none.
pub(super) fn stream_delete(text: &[u8], which: &[u8]) -> Value {
    let Some((from, to)) = find(text, which) else { return Value::text(text) };
    let mut out = text.get(..from).unwrap_or_default().to_vec();
    out.extend_from_slice(text.get(to..).unwrap_or_default());
    Value::text(out)
}
