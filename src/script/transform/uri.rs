//! `{uri.*}` (RFC 3261 §19.1) and `{via.*}` (§20.42). A URI or Via that does not parse is an error.

use super::{Failed, Op, Outcome};
use crate::sip::{Uri, Via};

use crate::script::value::Value;

/// A part of a URI; NULL if it is absent.
pub(super) fn part(op: Op, text: &[u8]) -> Outcome {
    let uri = Uri::parse(text.trim_ascii()).map_err(|_| Failed)?;
    Ok(match op {
        Op::UriUser => Value::opt(uri.user),
        Op::UriPassword => Value::opt(uri.password),
        Op::UriHost => Value::opt(Some(uri.host).filter(|h| !h.is_empty())),
        Op::UriPort => uri.port.map_or(Value::Null, |p| Value::Int(p.into())),
        Op::UriParams => Value::opt(Some(uri.params.text()).filter(|p| !p.is_empty())),
        Op::UriHeaders => Value::opt(uri.headers),
        Op::UriSchema => Value::text(uri.scheme_bytes),
        _ => return Err(Failed),
    })
}

/// A URI parameter's value: empty without one, NULL if the parameter is absent.
pub(super) fn param(text: &[u8], name: &[u8]) -> Outcome {
    let uri = Uri::parse(text.trim_ascii()).map_err(|_| Failed)?;
    Ok(Value::opt(uri.param(name)))
}

/// A part of a Via value; NULL if it is absent.
pub(super) fn via_part(op: Op, text: &[u8]) -> Outcome {
    let via = Via::parse(text).map_err(|_| Failed)?;
    Ok(match op {
        Op::ViaName => Value::text(via.name),
        Op::ViaVersion => Value::text(via.version),
        Op::ViaTransport => Value::text(via.transport_bytes),
        Op::ViaHost => Value::text(via.host),
        Op::ViaPort => via.port.map_or(Value::Null, |p| Value::Int(p.into())),
        Op::ViaComment => Value::opt(via.comment),
        Op::ViaParams => Value::opt(Some(via.params.text()).filter(|p| !p.is_empty())),
        _ => return Err(Failed),
    })
}

/// A Via parameter's value: empty without one, NULL if the parameter is absent.
pub(super) fn via_param(text: &[u8], name: &[u8]) -> Outcome {
    let via = Via::parse(text).map_err(|_| Failed)?;
    Ok(Value::opt(via.params.get(name).map(|p| p.text())))
}
