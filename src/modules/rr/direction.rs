//! Which way a request goes in its dialog: known from the From tag that `record_route` has left in our Route.

use crate::modules::host::SipHost;
use crate::modules::kamailio::vars::Var;
use crate::script::value::Value;
use crate::sip::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::params::Params;
use crate::sip::uri::Uri;

/// Whether the request comes from who was called. Without our Route, or without a From tag in it: no.
pub fn is_upstream(h: &SipHost) -> bool {
    let first = match &h.rr.own_params {
        Some(own) => Params::new(own).value(b"ftag").map(<[u8]>::to_vec),
        // Nobody has followed the Route set yet.
        None => {
            let top = h.msg.values_of(HeaderId::Route).next().and_then(|v| NameAddr::parse(v).ok());
            top.and_then(|n| Uri::parse(n.uri).ok()?.param(b"ftag").map(<[u8]>::to_vec))
        }
    };
    match (first, h.msg.from_tag()) {
        (Some(first), Some(now)) => first != now,
        _ => false,
    }
}

/// `$fti`, `$tti`, `$rdir(...)`.
pub fn get(h: &SipHost, var: Var, sub: Option<&Value>) -> Value {
    let upstream = is_upstream(h);
    let (from, to) = (h.msg.from_tag(), h.msg.to_tag());
    match var {
        Var::DialogFromTag => Value::opt(if upstream { to } else { from }),
        Var::DialogToTag => Value::opt(if upstream { from } else { to }),
        _ if sub.and_then(Value::to_text).as_deref() == Some(b"id") => Value::Int(if upstream { 2 } else { 1 }),
        _ => Value::from(if upstream { "upstream" } else { "downstream" }),
    }
}
