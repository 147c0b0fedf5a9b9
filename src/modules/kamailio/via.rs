//! `corex`: what scripts add to our Via: the server's number, fields of a `$xavp`, another host and port.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::avp::Avps;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{Family, Node};
use crate::sip::bytes::is_token;
use crate::sip::uri::Uri;

/// Message flags by which what was asked for is remembered.
const SERVER: &str = "(via srvid)";
const PARAMS: &str = "(via params)";
const FIELDS: &str = "(via fields)";

/// Bytes of parameters that a Via may get.
const MOST: usize = 1024;

/// `via_add_srvid`
pub const VIA_ADD_SRVID: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("via_add_srvid"),
    params: &[Param::req("on", Kind::Int)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "1: the Via of what is sent has the parameter `srvid` with `server_id`, if that is not 0; 0: it has not.",
    returns: &[(1, "always")],
    example: r#"via_add_srvid("1");"#,
    run: |call| switch(call, SERVER),
    finish: None,
};

/// `via_add_xavp_params`
pub const VIA_ADD_XAVP_PARAMS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("via_add_xavp_params"),
    doc: "1: the Via of what is sent has the fields of the `$xavp` that the core parameter `xavp_via_params` names as parameters; 0: \
          it has not.",
    example: r#"$xavp(xvia=>site) = "b"; via_add_xavp_params("1");"#,
    run: |call| switch(call, PARAMS),
    ..VIA_ADD_SRVID
};

/// `via_use_xavp_fields`
pub const VIA_USE_XAVP_FIELDS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("via_use_xavp_fields"),
    doc: "1: the Via of what is sent has the fields `address` and `port` of the `$xavp` that the core parameter `xavp_via_fields` names \
          as its host and port; 0: it has not. Replies come there.",
    example: r#"$xavp(mvia=>address) = "198.51.100.1"; via_use_xavp_fields("1");"#,
    run: |call| switch(call, FIELDS),
    ..VIA_ADD_SRVID
};

fn switch(call: &mut Call<'_, SipHost>, flag: &str) -> Step<SipHost> {
    let on = call.int(0).is_some_and(|n| n != 0);
    let flag = Str::from(flag);
    let flags = &mut call.host.flags;
    match (on, flags.contains(&flag)) {
        (true, false) => flags.push(flag),
        (false, true) => flags.retain(|f| *f != flag),
        _ => {}
    }
    Step::Done(1)
}

/// What a Via is to have beside the usual.
#[derive(Debug, Default)]
pub struct Extras {
    /// Its host.
    pub host: Option<Str>,
    /// Its port.
    pub port: Option<u16>,
    /// Parameters, each with its `;`.
    pub params: Vec<u8>,
}

/// Whether anything is wanted.
pub fn are_asked(h: &SipHost) -> bool {
    [SERVER, PARAMS, FIELDS].iter().any(|f| h.has_flag(f.as_bytes()))
}

/// What the script wants of the Via. What cannot stand there is left out.
pub fn of(h: &SipHost, avps: Option<&Avps>) -> Extras {
    let mut out = Extras::default();
    if !are_asked(h) {
        return out;
    }
    let settings = &h.env().settings;
    if h.has_flag(SERVER.as_bytes()) && settings.server_id != 0 {
        out.params.extend_from_slice(format!(";srvid={}", settings.server_id).as_bytes());
    }
    let xavps = avps.and_then(Avps::xavps);
    let named = |name: &Option<Str>, flag: &str| match xavps?.get(Family::Xavp, name.as_deref()?, 0)? {
        Node::Fields(fields) if h.has_flag(flag.as_bytes()) => Some(fields),
        _ => None,
    };
    if let Some(fields) = named(&settings.via_params, PARAMS) {
        for (name, value) in fields.iter() {
            let value = value.to_text().unwrap_or_default();
            if is_token(name) && is_value(&value) && out.params.len() + name.len() + value.len() < MOST {
                out.params.extend_from_slice(&[b";", &name[..], b"=", &value[..]].concat());
            }
        }
    }
    if let Some(fields) = named(&settings.via_fields, FIELDS) {
        let host = fields.get(b"address").and_then(Value::to_text);
        out.host = host.filter(|host| Uri::parse(&[b"sip:", &host[..]].concat()).is_ok_and(|u| u.host == &host[..]));
        out.port = fields.get(b"port").and_then(Value::to_int).and_then(|n| u16::try_from(n).ok()).filter(|p| *p > 0);
    }
    out
}

/// Whether a text may be the value of a Via parameter: a token, a host, or in quotes (RFC 3261 25.1).
fn is_value(text: &[u8]) -> bool {
    let quoted = || text.len() >= 2 && text.starts_with(b"\"") && text.ends_with(b"\"");
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~[]:".contains(b);
    let inside = |b: &u8| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0);
    !text.is_empty() && (text.iter().all(plain) || quoted() && text[1..text.len() - 1].iter().all(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_parameters() {
        for good in ["a", "10.0.0.1", "[::1]", "\"a b\"", "x-1"] {
            assert!(is_value(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a;b", "a,b", "\"a\r\nX: 1\"", "\"", "\"a\"b\""] {
            assert!(!is_value(bad.as_bytes()), "{bad}");
        }
    }
}
