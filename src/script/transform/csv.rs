//! `{csv.*}`: comma separated values with RFC 4180 quoting.

use super::{Failed, Outcome, position};
use crate::script::value::Value;

/// The fields, quotes resolved.
fn fields(text: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut field = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    let mut quoted = false;
    let mut fresh = true;
    while let Some(c) = bytes.next() {
        match c {
            b'"' if quoted => {
                if bytes.peek() == Some(&b'"') {
                    field.push(b'"');
                    bytes.next();
                } else {
                    quoted = false;
                }
            }
            b'"' if fresh => quoted = true,
            b',' if !quoted => {
                out.push(std::mem::take(&mut field));
                fresh = true;
                continue;
            }
            c => field.push(c),
        }
        fresh = false;
    }
    out.push(field);
    out
}

pub(super) fn count(text: &[u8]) -> Value {
    Value::Int(fields(text).len() as i64)
}

/// An index out of range is an error.
pub(super) fn value(text: &[u8], index: i64) -> Outcome {
    let mut all = fields(text);
    let n = position(index, all.len()).ok_or(Failed)?;
    Ok(Value::text(all.swap_remove(n)))
}
