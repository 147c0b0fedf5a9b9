//! `{nameaddr.*}`: an address or a list of them (RFC 3261 §20, `name-addr`).

use super::{Failed, Op, Outcome, position};
use crate::script::value::Value;
use crate::sip::NameAddr;

/// A part of an entry. `args`: the entry's number if one was written (`{nameaddr.1.uri}`), then
/// the parameter's name for `{nameaddr.param,n}`.
pub(super) fn part(op: Op, text: &[u8], args: &[Value]) -> Outcome {
    let (index, name) = match (op, args) {
        (Op::AddrParam, [index, name]) => (index.to_int().ok_or(Failed)?, name.to_text()),
        (Op::AddrParam, [name]) => (0, name.to_text()),
        (_, [index]) => (index.to_int().ok_or(Failed)?, None),
        _ => (0, None),
    };
    let list: Vec<NameAddr<'_>> = NameAddr::list(text).collect::<Result<_, _>>().map_err(|_| Failed)?;
    let Some(entry) = position(index, list.len()).and_then(|n| list.get(n)) else { return Ok(Value::Null) };
    Ok(match op {
        // Quotes stay, as in the peers.
        Op::AddrName => Value::opt(Some(entry.display).filter(|d| !d.is_empty())),
        Op::AddrUri => Value::text(entry.uri),
        Op::AddrParams => Value::opt(Some(entry.params.text()).filter(|p| !p.is_empty())),
        Op::AddrLen => Value::Int(entry.raw.len() as i64),
        Op::AddrParam => {
            let name = name.ok_or(Failed)?;
            // Letter case of the name matters here, unlike elsewhere.
            Value::opt(entry.params.iter().find(|p| p.name == &*name).map(|p| p.text()))
        }
        _ => return Err(Failed),
    })
}
