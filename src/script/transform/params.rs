//! `{param.*}`: lists such as `a=1;b=2`.

use super::position;
use crate::script::value::Value;
use crate::sip::params::Params;

/// Name and value.
type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

/// The entries, or `None` for a list in which a value is missing behind its `=`: then every
/// look-up on the list is NULL, as in the peers.
fn entries(text: &[u8]) -> Option<Vec<Entry<'_>>> {
    let all: Vec<_> = Params::new(text).iter().map(|p| (p.name, p.value.map(|_| p.text()))).collect();
    let broken = Params::new(text).iter().any(|p| p.value.is_some_and(<[u8]>::is_empty));
    (!broken && !all.is_empty()).then_some(all)
}

/// The value of `name`: empty without one, NULL if it is absent.
pub(super) fn value(text: &[u8], name: &[u8]) -> Value {
    let Some(list) = entries(text) else { return Value::Null };
    list.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(Value::Null, |(_, v)| Value::text(v.unwrap_or(b"")))
}

pub(super) fn exist(text: &[u8], name: &[u8]) -> Value {
    match entries(text) {
        Some(list) => Value::Int(list.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)).into()),
        None => Value::Null,
    }
}

pub(super) fn value_at(text: &[u8], index: i64) -> Value {
    let Some(list) = entries(text) else { return Value::Null };
    position(index, list.len()).and_then(|n| list.get(n)).map_or(Value::Null, |(_, v)| Value::text(v.unwrap_or(b"")))
}

pub(super) fn name_at(text: &[u8], index: i64) -> Value {
    let Some(list) = entries(text) else { return Value::Null };
    position(index, list.len()).and_then(|n| list.get(n)).map_or(Value::Null, |(n, _)| Value::text(*n))
}

pub(super) fn count(text: &[u8]) -> Value {
    entries(text).map_or(Value::Null, |l| Value::Int(l.len() as i64))
}
