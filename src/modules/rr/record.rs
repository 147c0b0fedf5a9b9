//! `record_route` and friends. The header itself is written when the request is sent, since only
//! then both sockets are known.

use super::Double;
use crate::base::Str;
use crate::modules::env::Listen;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::Transport;
use crate::sip::bytes::push_number;
use crate::sip::uri::Uri;

/// `record_route`
pub const RECORD_ROUTE: FnSpec<SipHost> = FnSpec {
    opensips: Some("record_route"),
    kamailio: Some("record_route"),
    params: &[Param::opt("params", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFB"),
    waits: false,
    doc: "Stays on the path of the dialog: Record-Route is added when the request is sent, twice if it leaves \
          from another socket. Once per request.",
    returns: &[(1, "noted"), (-1, "it was called before, or the parameters are not `;name=value`")],
    example: r#"if (is_method("INVITE")) record_route();"#,
    run: |call| {
        let Ok(params) = params(call, 0) else { return Step::Done(-1) };
        if call.host.rr.record.is_some() || !call.host.rr.preset.is_empty() {
            return Step::Done(-1);
        }
        if let Some(name) = call.host.env().settings.rr.user_avp.clone()
            && let Some(user) = call.vm().avp(&name).first().and_then(Value::to_text)
        {
            call.host.rr.user = Some(user).filter(|u| is_user(u));
        }
        call.host.rr.record = Some(params.unwrap_or_default());
        Step::Done(1)
    },
    finish: None,
};

/// `record_route_preset`
pub const RECORD_ROUTE_PRESET: FnSpec<SipHost> = FnSpec {
    opensips: Some("record_route_preset"),
    kamailio: Some("record_route_preset"),
    params: &[Param::req("address", Kind::Str), Param::opt("second", Kind::Str)],
    doc: "Like record_route, with host and port (and parameters) as given.",
    returns: &[(1, "noted"), (-1, "called before, or not an address")],
    example: r#"record_route_preset("proxy.example.com:5060");"#,
    run: |call| {
        if call.host.rr.record.is_some() || !call.host.rr.preset.is_empty() {
            return Step::Done(-1);
        }
        let list: Vec<Str> = [call.text(0), call.text(1)].into_iter().flatten().collect();
        if list.iter().any(|a| Uri::parse(&[b"sip:", &a[..]].concat()).is_err()) {
            return Step::Done(-1);
        }
        call.host.rr.preset = list;
        Step::Done(1)
    },
    ..RECORD_ROUTE
};

/// `record_route_advertised_address`
pub const RECORD_ROUTE_ADVERTISED: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("record_route_advertised_address"),
    params: &[Param::req("address", Kind::Str)],
    doc: "Like record_route, with this host and port.",
    example: r#"record_route_advertised_address("proxy.example.com:5060");"#,
    ..RECORD_ROUTE_PRESET
};

/// `remove_record_route`
pub const REMOVE_RECORD_ROUTE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("remove_record_route"),
    params: &[],
    doc: "Takes back what record_route and its like have noted.",
    returns: &[(1, "done")],
    example: "remove_record_route();",
    run: |call| {
        call.host.rr.record = None;
        call.host.rr.preset.clear();
        Step::Done(1)
    },
    ..RECORD_ROUTE
};

/// `add_rr_param`
pub const ADD_RR_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_rr_param"),
    kamailio: Some("add_rr_param"),
    params: &[Param::req("params", Kind::Str)],
    doc: "Adds `;name=value` to the Record-Route, before or after record_route.",
    returns: &[(1, "noted"), (-1, "not `;name=value`")],
    example: r#"add_rr_param(";nat=yes");"#,
    run: |call| {
        let Ok(Some(text)) = params(call, 0) else { return Step::Done(-1) };
        let mut all = call.host.rr.params.to_vec();
        all.extend_from_slice(&text);
        if all.len() > 1024 {
            return Step::Done(-1);
        }
        call.host.rr.params = Str::from(all);
        Step::Done(1)
    },
    ..RECORD_ROUTE
};

/// Whether a text may be the user of a URI.
fn is_user(text: &[u8]) -> bool {
    !text.is_empty() && !text.contains(&b'@') && Uri::parse(&[b"sip:", text, b"@h"].concat()).is_ok()
}

/// Argument `i` as URI parameters with a leading `;`.
fn params(call: &Call<'_, SipHost>, i: usize) -> Result<Option<Str>, ()> {
    let Some(text) = call.text(i).filter(|t| !t.is_empty()) else { return Ok(None) };
    let mut out = Vec::with_capacity(text.len() + 1);
    if text.first() != Some(&b';') {
        out.push(b';');
    }
    out.extend_from_slice(&text);
    let probe = [b"sip:h", &out[..]].concat();
    if Uri::parse(&probe).is_err() || text.iter().any(|b| matches!(b, b'>' | b'<' | b'"' | b'\r' | b'\n')) {
        return Err(());
    }
    Ok(Some(Str::from(out)))
}

/// The Record-Route lines of a request that came in on `received` and leaves from `sent` (RFC 3261
/// 16.6 step 4); empty if record_route was not called. With two different sockets there are two,
/// the outgoing one on top, both with `r2=on`.
pub fn record_route_lines(host: &SipHost, received: &Listen, sent: &Listen) -> Vec<u8> {
    let settings = &host.env().settings.rr;
    if host.rr.preset.is_empty() && host.rr.record.is_none() {
        return Vec::new();
    }
    let mut tail = Vec::with_capacity(64);
    if settings.from_tag
        && let Some(tag) = host.msg.from_tag().filter(|t| !t.is_empty())
    {
        tail.extend_from_slice(b";ftag=");
        tail.extend_from_slice(tag);
    }
    let lr: &[u8] = if settings.full_lr { b";lr=on" } else { b";lr" };
    // RFC 3261 16.6 step 4.
    let secure = settings.sips && host.current_ruri().get(..5).is_some_and(|s| s.eq_ignore_ascii_case(b"sips:"));
    let scheme: &[u8] = if secure { b"sips:" } else { b"sip:" };
    let mut out = Vec::new();
    if !host.rr.preset.is_empty() {
        for address in &host.rr.preset {
            out.extend_from_slice(b"Record-Route: <");
            out.extend_from_slice(scheme);
            out.extend_from_slice(address);
            out.extend_from_slice(lr);
            out.extend_from_slice(&tail);
            out.extend_from_slice(&host.rr.params);
            out.extend_from_slice(b">\r\n");
        }
        return out;
    }
    let Some(extra) = &host.rr.record else { return out };
    tail.extend_from_slice(extra);
    tail.extend_from_slice(&host.rr.params);
    let double = match settings.double {
        Double::Never => false,
        Double::Different => (received.transport, received.addr) != (sent.transport, sent.addr),
        Double::Always => true,
    };
    let user = match &host.rr.user {
        _ if !settings.username => None,
        Some(user) => Some(user.to_vec()),
        None => Uri::parse(host.msg.request_uri()).ok().and_then(|u| u.user).map(<[u8]>::to_vec),
    };
    out.reserve(128 + tail.len());
    for socket in [sent, received].into_iter().take(if double { 2 } else { 1 }) {
        out.extend_from_slice(b"Record-Route: <");
        out.extend_from_slice(scheme);
        if let Some(user) = &user {
            out.extend_from_slice(user);
            out.push(b'@');
        }
        socket.push_via_host(&mut out);
        if socket.via_port() != 5060 {
            out.push(b':');
            push_number(&mut out, u64::from(socket.via_port()));
        }
        if let Some(name) = socket.tag.as_ref().filter(|_| settings.socket_names) {
            out.extend_from_slice(b";sn=");
            out.extend_from_slice(name);
        }
        if socket.transport != Transport::Udp {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(socket.transport.as_param().as_bytes());
        }
        if double {
            out.extend_from_slice(b";r2=on");
        }
        out.extend_from_slice(lr);
        out.extend_from_slice(&tail);
        out.extend_from_slice(b">\r\n");
    }
    out
}
