//! Ports, protocols and destination sets as this dialect shows them: what a URI does not say is 5060 (5061 if it
//! says TLS) and UDP, whatever its scheme.

use super::Var;
use super::branches::shown;
use crate::base::{Str, Time};
use crate::modules::host::SipHost;
use crate::modules::pv::Pv;
use crate::modules::{pv_get, pv_set};
use crate::script::host::{Index, SetError};
use crate::script::value::Value;
use crate::sip::Transport;
use crate::sip::uri::Uri;

pub(super) fn get(h: &mut SipHost, var: Var, sub: Option<&Value>, now: Time) -> Value {
    match var {
        Var::DestinationSet => return destinations(h),
        Var::AddressFamily => {
            let six = h.source.is_ipv6();
            return match sub.and_then(Value::to_text).as_deref() {
                Some(b"id") => Value::Int(if six { 10 } else { 2 }),
                Some(b"name") => Value::from(if six { "IPv6" } else { "IPv4" }),
                _ => pv_get::get(h, Pv::Af, None, Index::None, now),
            };
        }
        _ => {}
    }
    let whole = match var {
        Var::RuriPort | Var::RuriProto => Pv::Ru,
        Var::OuriPort | Var::OuriProto => Pv::OUri,
        _ => Pv::Du,
    };
    let Some(text) = pv_get::get(h, whole, None, Index::None, now).to_text() else { return Value::Null };
    let Ok(uri) = Uri::parse(&text) else { return Value::Null };
    match var {
        Var::RuriPort | Var::OuriPort | Var::DuriPort => {
            let usual = if uri.transport() == Some(Transport::Tls) { 5061 } else { 5060 };
            pv_get::number(uri.port.unwrap_or(usual))
        }
        // As it is written.
        _ => Value::text(uri.param(b"transport").filter(|t| !t.is_empty()).unwrap_or(b"UDP")),
    }
}

/// The R-URI, if the script has changed it, and the further branches.
fn destinations(h: &SipHost) -> Value {
    let mut all: Vec<Vec<u8>> = Vec::new();
    if let Some(uri) = &h.ruri {
        all.push(shown(uri, h.q, true));
    }
    all.extend(h.branches.iter().map(|b| shown(&b.uri, b.q, true)));
    if all.is_empty() {
        return Value::Null;
    }
    Value::Str(Str::from([b"Contact: ", &all.join(&b", "[..])[..]].concat()))
}

pub(super) fn set(h: &mut SipHost, var: Var, value: &Value) -> Result<(), SetError> {
    let pv = if var == Var::RuriPort { Pv::RPort } else { Pv::DPort };
    pv_set::set(h, pv, None, Index::None, false, value.clone())
}
