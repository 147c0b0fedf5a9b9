//! What a row holds: a number or a text, until when, and the name in full.

use super::{Result, StoreError};
use crate::base::Str;
use crate::script::value::Value;

/// A stored value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its name in full.
    pub name: Str,
    /// The value: a number or a text, never NULL.
    pub value: Value,
    /// When it ends, in microseconds since 1970; 0: never.
    pub expires: i64,
}

impl Stored {
    /// A value without an end. NULL becomes the empty text.
    pub fn new(name: &[u8], value: &Value) -> Stored {
        let value = match value {
            Value::Null => Value::Str(Str::default()),
            Value::Both(n, _) => Value::Int(*n),
            other => other.clone(),
        };
        Stored { name: Str::from(name), value, expires: 0 }
    }

    /// Whether it has ended.
    pub fn is_over(&self, now: i64) -> bool {
        self.expires != 0 && self.expires <= now
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.name.len() + 64);
        out.extend_from_slice(&self.expires.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.name.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.name);
        match &self.value {
            Value::Int(n) | Value::Both(n, _) => {
                out.push(b'i');
                out.extend_from_slice(&n.to_le_bytes());
            }
            other => {
                out.push(b's');
                out.extend_from_slice(&other.to_text().unwrap_or_default());
            }
        }
        out
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Stored> {
        fn cut<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
            let (head, rest) = bytes.split_at_checked(N)?;
            Some((head.try_into().ok()?, rest))
        }
        let parse = || {
            let (expires, rest) = cut::<8>(bytes)?;
            let (len, rest) = cut::<4>(rest)?;
            let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(len)).ok()?)?;
            let (kind, rest) = rest.split_first()?;
            let value = match kind {
                b'i' => Value::Int(i64::from_le_bytes(rest.try_into().ok()?)),
                b's' => Value::text(rest),
                _ => return None,
            };
            Some(Stored { name: Str::from(name), value, expires: i64::from_le_bytes(expires) })
        };
        parse().ok_or(StoreError::Garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        for value in [Value::Int(i64::MIN), Value::Int(5), Value::from(""), Value::text(&[0u8, 255, b'x'][..])] {
            let row = Stored { expires: 77, ..Stored::new(b"name", &value) };
            assert_eq!(Stored::decode(&row.encode()).unwrap(), row);
        }
        assert_eq!(Stored::new(b"", &Value::Null).value, Value::from(""));
        let whole = Stored::new(b"name", &Value::Int(5)).encode();
        for n in 0..whole.len() {
            assert!(Stored::decode(&whole[..n]).is_err(), "{n}");
        }
    }
}
