//! Relaying: `t_relay` with the forms of both dialects, copies, requests of the server's own.

use super::send::{T_NEWTRAN, code};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{RelayFlags, Request};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// `t_relay`
pub const T_RELAY: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_relay"),
    kamailio: None,
    params: &[Param::opt("flags", Kind::Str), Param::opt("proxy", Kind::Str)],
    routes: RouteSet::letters("RF"),
    waits: true,
    doc: "Forwards the request to the R-URI (or $du, or the proxy) and to all further branches, statefully. It \
          returns when every branch was handed to a transport or has failed. Flags, comma-separated: no-auto-477 \
          (no reply of ours if nothing could be sent), no-dns-failover, pass-reason-hdr (the Reason of the caller's \
          CANCEL goes into those to the branches), allow-no-cancel (branches that lose are not cancelled if the \
          caller says `Request-Disposition: no-cancel`); or their bits, as in 2.2: 0x02, 0x04, 0x08, 0x10.",
    returns: &[
        (1, "sent, or answered 477 itself"),
        (-1, "internal error"),
        (-2, "bad message"),
        (-3, "no destination, or the call was cancelled"),
        (-4, "no destination could be resolved"),
        (-5, "every destination is on the blacklist"),
        (-6, "no destination could be sent to"),
    ],
    example: "if (!t_relay()) sl_reply_error();",
    run: |call| {
        let (first, second) = (call.text(0), call.text(1));
        // 2.2: t_relay("flags"), t_relay("proxy", "flags"); 4.1: t_relay(["flags"], ["proxy"]).
        let is_flags = |t: &Str| t.is_empty() || flag_bits(t).is_some();
        let (flags, proxy) = match (first, second) {
            (Some(a), b) if is_flags(&a) => (Some(a), b),
            (Some(a), b) => (b, Some(a)),
            (None, b) => (None, b),
        };
        match flags.as_ref().map_or(Some(RelayFlags::default()), named_flags) {
            Some(flags) => Step::Wait(Request::Relay { flags, proxy: proxy.filter(|p| !p.is_empty()) }),
            None => Step::Fail("unknown flag of t_relay".to_string()),
        }
    },
    ..T_NEWTRAN
};

/// Flags of `t_relay` by name or number.
fn flag_bits(text: &Str) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    text.split(',').map(str::trim).filter(|w| !w.is_empty()).try_fold(0, |bits, word| {
        Some(
            bits | match word {
                "no-auto-477" => 0x02,
                "no-dns-failover" => 0x04,
                "pass-reason-hdr" => 0x08,
                "allow-no-cancel" => 0x10,
                _ => return None,
            },
        )
    })
}

pub(super) fn named_flags(text: &Str) -> Option<RelayFlags> {
    let bits = flag_bits(text)?;
    Some(RelayFlags {
        no_auto_477: bits & 0x02 != 0,
        no_dns_failover: bits & 0x04 != 0,
        pass_reason: bits & 0x08 != 0,
        allow_no_cancel: bits & 0x10 != 0,
        no_100: false,
    })
}

/// `t_relay` of the other dialect: destination as host and port.
pub const T_RELAY_HOST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_relay"),
    params: HOST_PORT,
    doc: "Forwards the request to the R-URI (or $du, or host and port) and to all further branches, statefully. It \
          returns when every branch was handed to a transport or has failed.",
    example: "if (!t_relay()) sl_reply_error();",
    run: |call| to_host(call, "", RelayFlags::default()),
    ..T_RELAY
};

pub(super) const HOST_PORT: &[Param] = &[Param::opt("host", Kind::Str), Param::opt("port", Kind::IntOrStr)];

/// `t_relay_to`
pub const T_RELAY_TO: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_relay_to"),
    params: &[Param::opt("proxy", Kind::Str), Param::opt("flags", Kind::IntOrStr)],
    doc: "As t_relay, to `[proto:]host[:port]`, with flags: 0x01 no 100, 0x02 no error reply of ours, 0x04 no DNS \
          fail-over. One argument may be either.",
    example: r#"t_relay_to("udp:10.0.0.9:5060", "0x02");"#,
    run: |call| {
        let (first, second) = (call.text(0), call.text(1));
        let (proxy, flags) = match (first, second) {
            (Some(f), None) if flag_bits(&f).is_some() => (None, Some(f)),
            other => other,
        };
        let Some(bits) = flags.as_ref().map_or(Some(0), flag_bits) else {
            return Step::Fail("the flags of t_relay_to are a number".to_string());
        };
        let flags = RelayFlags {
            no_100: bits & 1 != 0,
            no_auto_477: bits & 2 != 0,
            no_dns_failover: bits & 4 != 0,
            ..RelayFlags::default()
        };
        Step::Wait(Request::Relay { flags, proxy: proxy.filter(|p| !p.is_empty()) })
    },
    ..T_RELAY_HOST
};

/// `t_relay_to_udp`
pub const T_RELAY_TO_UDP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_to_udp"),
    doc: "As t_relay, over UDP.",
    example: r#"t_relay_to_udp("10.0.0.9", "5060");"#,
    run: |call| to_host(call, "udp:", RelayFlags::default()),
    ..T_RELAY_HOST
};

/// `t_relay_to_tcp`
pub const T_RELAY_TO_TCP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_to_tcp"),
    doc: "As t_relay, over TCP.",
    example: r#"t_relay_to_tcp("10.0.0.9", "5060");"#,
    run: |call| to_host(call, "tcp:", RelayFlags::default()),
    ..T_RELAY_HOST
};

/// `t_relay_to_tls`
pub const T_RELAY_TO_TLS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_to_tls"),
    doc: "As t_relay, over TLS.",
    example: r#"t_relay_to_tls("10.0.0.9", "5061");"#,
    run: |call| to_host(call, "tls:", RelayFlags::default()),
    ..T_RELAY_HOST
};

/// To host and port, or to where the request goes anyway, over the given protocol.
pub(super) fn to_host(call: &mut Call<'_, SipHost>, proto: &str, flags: RelayFlags) -> Step<SipHost> {
    let host = call.text(0).filter(|h| !h.is_empty());
    let port = call.text(1).filter(|p| !p.is_empty() && &p[..] != b"0");
    if port.as_ref().is_some_and(|p| std::str::from_utf8(p).ok().and_then(|p| p.parse::<u16>().ok()).is_none()) {
        return Step::Fail("the port is no number from 1 to 65535".to_string());
    }
    let (host, port) = match (host, proto) {
        (Some(host), _) => (Some(host), port),
        (None, "") => (None, None),
        (None, _) => {
            let target = call.host.du.clone().unwrap_or_else(|| Str::from(call.host.current_ruri()));
            match Uri::parse(&target) {
                Ok(uri) => (Some(Str::from(uri.host)), uri.port.map(|p| Str::from(p.to_string().as_str()))),
                Err(_) => return Step::Done(-2),
            }
        }
    };
    let proxy = host.map(|host| {
        let mut text = proto.as_bytes().to_vec();
        text.extend_from_slice(&host);
        if let Some(port) = port {
            text.push(b':');
            text.extend_from_slice(&port);
        }
        Str::from(text)
    });
    Step::Wait(Request::Relay { flags, proxy })
}

/// `t_new_request`
pub const T_NEW_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_new_request"),
    kamailio: None,
    params: &[
        Param::req("method", Kind::Str),
        Param::req("ruri", Kind::Str),
        Param::req("from", Kind::Str),
        Param::req("to", Kind::Str),
        Param::opt("body", Kind::Str),
        Param::opt("context", Kind::Str),
    ],
    routes: RouteSet::ALL,
    doc: "Sends an independent request; the body is `content/type body`. It passes local_route; the context is \
          $avp(uac_ctx) there and in the route of its replies (local_reply_route). A 2xx to an INVITE is \
          acknowledged.",
    returns: &[(1, "on its way (a next hop whose name has to be looked up may still fail)"), (-1, "not sent")],
    example: r#"t_new_request("MESSAGE", "$fu", "sip:server@$rd", "$fu", "text/plain hello");"#,
    run: |call| {
        let (Some(method), Some(ruri), Some(from), Some(to)) = (call.text(0), call.text(1), call.text(2), call.text(3))
        else {
            return Step::Done(-1);
        };
        Step::Wait(Request::NewRequest {
            method,
            ruri,
            from,
            to,
            body: call.text(4).filter(|b| !b.is_empty()),
            context: call.text(5),
            headers: Str::default(),
            next_hop: None,
            socket: None,
        })
    },
    finish: Some(code),
    ..T_NEWTRAN
};

/// `t_uac_send`
pub const T_UAC_SEND: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_uac_send"),
    params: &[
        Param::req("method", Kind::Str),
        Param::req("ruri", Kind::Str),
        Param::req("next_hop", Kind::Str),
        Param::req("socket", Kind::Str),
        Param::req("headers", Kind::Str),
        Param::req("body", Kind::Str),
    ],
    doc: "Sends an independent request; From and To stand in the headers, next hop and socket may be empty. A 2xx to \
          an INVITE is acknowledged.",
    example: r#"t_uac_send("OPTIONS", "sip:bob@10.0.0.1", "", "", "From: <sip:a@b>\r\nTo: <sip:bob@b>\r\n", "");"#,
    run: |call| {
        let text = |call: &Call<'_, SipHost>, i| call.text(i).filter(|t| !t.is_empty());
        let (Some(method), Some(ruri), Some(headers)) = (text(call, 0), text(call, 1), text(call, 4)) else {
            return Step::Done(-1);
        };
        let (mut from, mut to, mut rest) = (Str::default(), Str::default(), Vec::new());
        for line in headers.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()) {
            let Some(at) = line.iter().position(|b| *b == b':') else {
                return Step::Fail("a line of the headers has no colon".to_string());
            };
            let (name, value) = (line[..at].trim_ascii().to_ascii_lowercase(), Str::from(line[at + 1..].trim_ascii()));
            match &name[..] {
                b"from" | b"f" => from = value,
                b"to" | b"t" => to = value,
                _ => {
                    rest.extend_from_slice(line);
                    rest.extend_from_slice(b"\r\n");
                }
            }
        }
        // The type of the body stands in the headers.
        let body = text(call, 5).map(|b| Str::from([b"application/octet-stream ", &b[..]].concat()));
        let next_hop = text(call, 2);
        Step::Wait(Request::NewRequest {
            method,
            ruri,
            from,
            to,
            body,
            context: None,
            headers: Str::from(rest),
            next_hop,
            socket: text(call, 3),
        })
    },
    ..T_NEW_REQUEST
};
