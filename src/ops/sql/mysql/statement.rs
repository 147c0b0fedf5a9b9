//! Prepared statements: `COM_STMT_EXECUTE` with its values, and the statements a connection keeps.

use super::packet::put_lenenc_str;
use crate::base::Str;
use crate::ops::SqlValue;
use crate::ops::sql::datetime;

const COM_STMT_EXECUTE: u8 = 0x17;
const TYPE_NULL: u8 = 0x06;
const TYPE_LONGLONG: u8 = 0x08;
const TYPE_VAR_STRING: u8 = 0xfd;

/// Statements that one connection keeps.
const MAX_KEPT: usize = 32;
/// A longer query is prepared each time.
const MAX_TEXT: usize = 4096;

/// The prepared statements of one connection; those not used for the longest time give way.
#[derive(Default)]
pub struct Statements {
    /// Query text, number, placeholders; the one used last stands last.
    kept: Vec<(Str, u32, u16)>,
}

impl Statements {
    /// Number and placeholders of the statement with this text.
    pub fn find(&mut self, query: &[u8]) -> Option<(u32, u16)> {
        let at = self.kept.iter().rposition(|(text, ..)| **text == *query)?;
        let found = self.kept.remove(at);
        let (id, count) = (found.1, found.2);
        self.kept.push(found);
        Some((id, count))
    }

    /// Keeps a statement, if its text is not too long. Gives whether it did, and the number of one that
    /// is to be closed for it.
    pub fn keep(&mut self, query: &Str, id: u32, count: u16) -> (bool, Option<u32>) {
        if query.len() > MAX_TEXT {
            return (false, None);
        }
        let old = (self.kept.len() >= MAX_KEPT).then(|| self.kept.remove(0).1);
        self.kept.push((query.clone(), id, count));
        (true, old)
    }

    /// Forgets a statement.
    pub fn forget(&mut self, id: u32) {
        self.kept.retain(|(_, other, _)| *other != id);
    }
}

/// The payload that executes statement `id`. Times are written in the session's zone, `offset` seconds
/// east of UTC.
pub fn execute(id: u32, parameters: &[SqlValue], offset: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(size(parameters));
    out.push(COM_STMT_EXECUTE);
    out.extend_from_slice(&id.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&1u32.to_le_bytes());
    if parameters.is_empty() {
        return out;
    }
    let mut nulls = vec![0u8; parameters.len().div_ceil(8)];
    for (i, value) in parameters.iter().enumerate() {
        if let (SqlValue::Null, Some(byte)) = (value, nulls.get_mut(i / 8)) {
            *byte |= 1 << (i % 8);
        }
    }
    out.extend_from_slice(&nulls);
    out.push(1);
    for value in parameters {
        let kind = match value {
            SqlValue::Null => TYPE_NULL,
            SqlValue::Int(_) => TYPE_LONGLONG,
            SqlValue::Time(_) | SqlValue::Text(_) => TYPE_VAR_STRING,
        };
        out.extend_from_slice(&[kind, 0]);
    }
    for value in parameters {
        match value {
            SqlValue::Null => {}
            SqlValue::Int(n) => out.extend_from_slice(&n.to_le_bytes()),
            SqlValue::Time(t) => put_lenenc_str(&mut out, datetime::format(t.saturating_add(offset)).as_bytes()),
            SqlValue::Text(text) => put_lenenc_str(&mut out, text),
        }
    }
    out
}

/// An upper bound of the payload's length.
pub fn size(parameters: &[SqlValue]) -> usize {
    parameters.iter().fold(16usize, |n, value| {
        n.saturating_add(match value {
            SqlValue::Text(text) => text.len().saturating_add(12),
            _ => 32,
        })
    })
}
