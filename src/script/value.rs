//! Script values: NULL, a number, a text, or a number with its own text form.

use crate::base::Str;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What a variable, an argument or an expression holds. NULL differs from the empty text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// A number.
    Int(i64),
    /// A text (bytes, not necessarily UTF-8).
    Str(Str),
    /// Both forms; primarily a number (ports, lengths, status codes).
    Both(i64, Str),
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A text value.
    pub fn text(s: impl Into<Str>) -> Value {
        Value::Str(s.into())
    }

    /// A text value, or NULL for `None`.
    pub fn opt(s: Option<impl Into<Str>>) -> Value {
        s.map_or(Value::Null, |s| Value::Str(s.into()))
    }

    /// A number that also has its decimal text, as most numeric pseudo-variables do.
    pub fn num(n: i64) -> Value {
        Value::Int(n)
    }

    /// The number form: of `Int` and `Both` only.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) | Value::Both(n, _) => Some(*n),
            _ => None,
        }
    }

    /// The number form, also of a text that is a decimal number (quoted integer arguments).
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Value::Str(s) => std::str::from_utf8(s).ok()?.trim().parse().ok(),
            other => other.as_int(),
        }
    }

    /// What Kamailio takes for the number of a value: of a text that is a decimal number with or without a sign, or a
    /// hexadecimal one (`0x1f`); 0 of any other, and of NULL.
    pub fn number(&self) -> i64 {
        let Value::Str(s) = self else { return self.as_int().unwrap_or(0) };
        let text = std::str::from_utf8(s).unwrap_or_default();
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) if digits.starts_with(['+', '-']) => 0,
            Some(digits) => i64::from_str_radix(digits, 16).unwrap_or(0),
            None => text.parse().unwrap_or(0),
        }
    }

    /// The text form; numbers in decimal. `None` for NULL.
    pub fn to_text(&self) -> Option<Str> {
        match self {
            Value::Null => None,
            Value::Int(n) => Some(Str::from(n.to_string())),
            Value::Str(s) | Value::Both(_, s) => Some(s.clone()),
        }
    }

    /// Appends the text form; NULL as `<null>` (how format strings print it).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"<null>"),
            Value::Int(n) => {
                // Writing to a Vec cannot fail.
                let _ = write!(out, "{n}");
            }
            Value::Str(s) | Value::Both(_, s) => out.extend_from_slice(s),
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}

impl From<Str> for Value {
    fn from(s: Str) -> Self {
        Value::Str(s)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.into())
    }
}
