//! `{s.*}`: cutting, searching and filling text.

use super::{Failed, Outcome, position};
use crate::script::value::Value;

/// Leading decimal digits, with a sign; 0 if there are none.
pub(super) fn leading_int(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let n = digits
        .iter()
        .take_while(|c| c.is_ascii_digit())
        .fold(0i64, |n, c| n.saturating_mul(10).saturating_add(i64::from(c - b'0')));
    if negative { -n } else { n }
}

pub(super) fn reverse(text: &[u8]) -> Value {
    Value::text(text.iter().rev().copied().collect::<Vec<u8>>())
}

/// `off` below 0 counts from the end; `len` 0 = to the end, below 0 = stop that many before it.
pub(super) fn substr(text: &[u8], off: i64, len: i64) -> Value {
    let total = text.len() as i64;
    let start = if off < 0 { total.saturating_add(off) } else { off };
    if start < 0 || start > total || (start == total && off != 0) {
        return Value::Null;
    }
    let end = match len {
        0 => total,
        l if l < 0 => total.saturating_add(l),
        l => start.saturating_add(l).min(total),
    };
    if end < start {
        return Value::Null;
    }
    Value::text(text.get(start as usize..end as usize).unwrap_or_default())
}

/// Field `index` of `text` cut at the first character of `sep`.
pub(super) fn select(text: &[u8], index: i64, sep: &[u8]) -> Value {
    let Some(&sep) = sep.first() else { return Value::Null };
    let count = text.iter().filter(|c| **c == sep).count() + 1;
    match position(index, count) {
        Some(n) => Value::opt(text.split(|c| *c == sep).nth(n)),
        None => Value::Null,
    }
}

/// Offset of `what` at or after `start`; a negative start counts from the end, around.
pub(super) fn index(text: &[u8], what: &[u8], start: Option<Option<i64>>) -> Outcome {
    let from = match start {
        None => 0,
        Some(n) => wrap(n.ok_or(Failed)?, text.len()),
    };
    let Some(tail) = text.get(from..) else { return Ok(Value::Null) };
    Ok(memchr::memmem::find(tail, what).map_or(Value::Null, |n| Value::Int((from + n) as i64)))
}

/// Offset of the last `what` that begins at or before `start`.
pub(super) fn rindex(text: &[u8], what: &[u8], start: Option<Option<i64>>) -> Outcome {
    let end = match start {
        None => text.len(),
        Some(n) => wrap(n.ok_or(Failed)?, text.len()).saturating_add(what.len()).min(text.len()),
    };
    let head = text.get(..end).unwrap_or(text);
    Ok(memchr::memmem::rfind(head, what).map_or(Value::Null, |n| Value::Int(n as i64)))
}

fn wrap(n: i64, len: usize) -> usize {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let at = if n < 0 && len > 0 { n.rem_euclid(len) } else { n.max(0) };
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Pads with repetitions of `token` up to `len`; longer input stays.
pub(super) fn fill(text: &[u8], token: &[u8], len: i64, left: bool, max: usize) -> Outcome {
    let len = usize::try_from(len).map_err(|_| Failed)?;
    if len > max || token.is_empty() {
        return Err(Failed);
    }
    let pad = len.saturating_sub(text.len());
    let mut out = Vec::with_capacity(len.max(text.len()));
    if left {
        // The repetitions end at the text: `485` left `abc` 8 = `bcabc485`.
        let skip = (token.len() - pad % token.len()) % token.len();
        out.extend(token.iter().cycle().skip(skip).take(pad));
        out.extend_from_slice(text);
    } else {
        out.extend_from_slice(text);
        out.extend(token.iter().cycle().take(pad));
    }
    Ok(Value::text(out))
}

/// Cut or padded with spaces to exactly `n` bytes.
pub(super) fn width(text: &[u8], n: i64, max: usize) -> Outcome {
    let n = usize::try_from(n).ok().filter(|n| (1..=max).contains(n)).ok_or(Failed)?;
    let mut out = text.to_vec();
    out.resize(n, b' ');
    Ok(Value::text(out))
}

pub(super) fn trim(mut text: &[u8], left: bool, right: bool) -> &[u8] {
    let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    while left && text.first().is_some_and(blank) {
        text = &text[1..];
    }
    while right && text.last().is_some_and(blank) {
        text = &text[..text.len() - 1];
    }
    text
}
