//! Copies of a request that others get besides: `t_replicate` with the forms of both dialects.

use super::forced::{PROTO_HOSTPORT, T_RELAY_TO_SCTP, transport};
use super::relay::{HOST_PORT, named_flags};
use super::send::{T_NEWTRAN, code};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{RelayFlags, Request};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// `t_replicate`
pub const T_REPLICATE: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_replicate"),
    kamailio: None,
    params: &[Param::req("uri", Kind::Str), Param::opt("flags", Kind::Str)],
    routes: RouteSet::letters("R"),
    doc: "Sends a copy of the request there, R-URI as it is, in a transaction of its own: it is retransmitted as \
          need be, and nobody sees its replies. Flags as for t_relay.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"t_replicate("sip:10.0.0.2:5060");"#,
    run: |call| {
        let Some(flags) = call.text(1).as_ref().map_or(Some(RelayFlags::default()), named_flags) else {
            return Step::Fail("unknown flag of t_replicate".to_string());
        };
        match call.text(0) {
            Some(uri) if Uri::parse(&uri).is_ok() => Step::Wait(Request::Replicate { uri, flags }),
            _ => Step::Done(-1),
        }
    },
    finish: Some(code),
    ..T_NEWTRAN
};

/// `t_replicate` of the other dialect.
pub const T_REPLICATE_HOST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_replicate"),
    params: &[Param::opt("host", Kind::Str), Param::opt("port", Kind::IntOrStr)],
    doc: "Sends a copy of the request to a URI, or to host and port, R-URI as it is; without an argument to where the \
          request goes itself ($du, else the R-URI). It has a transaction of its own: it is retransmitted as need be, and \
          nobody sees its replies.",
    example: r#"t_replicate("sip:10.0.0.2:5060;transport=tcp");"#,
    run: |call| {
        let uri = match call.text(0).filter(|h| !h.is_empty()) {
            None if call.given(0) => return Step::Done(-1),
            None => call.host.du.clone().unwrap_or_else(|| Str::from(call.host.current_ruri())),
            Some(uri) if is_uri(&uri) => uri,
            Some(host) => match address(call, &host) {
                Ok(address) => Str::from([b"sip:", &address[..]].concat()),
                Err(why) => return Step::Fail(why),
            },
        };
        copy_to(uri)
    },
    ..T_REPLICATE
};

/// `t_replicate_udp`
pub const T_REPLICATE_UDP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_replicate_udp"),
    params: HOST_PORT,
    doc: "As t_replicate, over UDP.",
    example: r#"t_replicate_udp("10.0.0.2", "5060");"#,
    run: |call| copy_over(call, "udp"),
    ..T_REPLICATE_HOST
};

/// `t_replicate_tcp`
pub const T_REPLICATE_TCP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_replicate_tcp"),
    doc: "As t_replicate, over TCP.",
    example: r#"t_replicate_tcp("10.0.0.2", "5060");"#,
    run: |call| copy_over(call, "tcp"),
    ..T_REPLICATE_UDP
};

/// `t_replicate_tls`
pub const T_REPLICATE_TLS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_replicate_tls"),
    doc: "As t_replicate, over TLS.",
    example: r#"t_replicate_tls("10.0.0.2", "5061");"#,
    run: |call| copy_over(call, "tls"),
    ..T_REPLICATE_UDP
};

/// `t_replicate_sctp`
pub const T_REPLICATE_SCTP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_replicate_sctp"),
    routes: RouteSet::letters("R"),
    doc: "As t_replicate, over SCTP, which this server does not speak: nothing is sent.",
    example: r#"if (!t_replicate_sctp("10.0.0.2", "5060")) t_replicate_tcp("10.0.0.2", "5060");"#,
    ..T_RELAY_TO_SCTP
};

/// `t_replicate_to`
pub const T_REPLICATE_TO: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_replicate_to"),
    params: PROTO_HOSTPORT,
    doc: "As t_replicate, over this transport (udp, tcp, tls) to `host[:port]`.",
    example: r#"t_replicate_to("udp", "10.0.0.2:5060");"#,
    run: |call| {
        let (word, address) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        match transport(&word) {
            Ok(word) => copy_to(over(&address, word)),
            Err(why) => Step::Fail(why),
        }
    },
    ..T_REPLICATE_HOST
};

/// Host, and the port of the second argument, as they stand in a URI.
fn address(call: &Call<'_, SipHost>, host: &Str) -> Result<Str, String> {
    let Some(port) = call.text(1).filter(|p| !p.is_empty() && p[..] != *b"0") else { return Ok(host.clone()) };
    if std::str::from_utf8(&port).ok().and_then(|p| p.parse::<u16>().ok()).is_none() {
        return Err("the port is no number from 1 to 65535".to_string());
    }
    Ok(Str::from([&host[..], b":", &port[..]].concat()))
}

fn is_uri(text: &[u8]) -> bool {
    let starts = |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
    starts(b"sip:") || starts(b"sips:")
}

fn over(address: &[u8], transport: &str) -> Str {
    Str::from([b"sip:", address, b";transport=", transport.as_bytes()].concat())
}

/// Over this transport, to host and port, or to where the request goes itself.
fn copy_over(call: &mut Call<'_, SipHost>, transport: &str) -> Step<SipHost> {
    match call.text(0).filter(|h| !h.is_empty()) {
        Some(host) => match address(call, &host) {
            Ok(address) => copy_to(over(&address, transport)),
            Err(why) => Step::Fail(why),
        },
        None => {
            let target = call.host.du.clone().unwrap_or_else(|| Str::from(call.host.current_ruri()));
            let Ok(uri) = Uri::parse(&target) else { return Step::Done(-1) };
            let port = uri.port.map(|p| format!(":{p}")).unwrap_or_default();
            copy_to(over(&[uri.host, port.as_bytes()].concat(), transport))
        }
    }
}

fn copy_to(uri: Str) -> Step<SipHost> {
    match Uri::parse(&uri) {
        Ok(_) => Step::Wait(Request::Replicate { uri, flags: RelayFlags::default() }),
        Err(_) => Step::Done(-1),
    }
}
