//! Core functions about sockets, Via and sending.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};

fn done(ok: bool) -> Step<SipHost> {
    Step::Done(if ok { 1 } else { -1 })
}

fn code(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(outcome.code())
}

/// `is_myself`
pub const IS_MYSELF: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_myself"),
    kamailio: Some("is_myself"),
    params: &[Param::req("host", Kind::Str), Param::opt("port", Kind::Int)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Whether host (and port) name this server: a listener, an advertised address or an alias. Also takes a URI, \
          `host:port` and `proto:host:port` (then one of our sockets must have that protocol).",
    returns: &[(1, "they do"), (-1, "they do not")],
    example: r#"if (!is_myself("$rd")) route(relay);"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let port = call.int(1).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        done(call.host.env().names_us(&text, port))
    },
    finish: None,
};

/// `force_rport`
pub const FORCE_RPORT: FnSpec<SipHost> = FnSpec {
    opensips: Some("force_rport"),
    kamailio: Some("force_rport"),
    params: &[],
    doc: "Replies go back to the source address and port even if the client did not ask for it (RFC 3581).",
    returns: &[(1, "always")],
    example: "force_rport();",
    run: |call| {
        call.host.rport = true;
        Step::Done(1)
    },
    ..IS_MYSELF
};

/// `add_local_rport`
pub const ADD_LOCAL_RPORT: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_local_rport"),
    kamailio: Some("add_local_rport"),
    doc: "Our own Via always asks for rport.",
    example: "add_local_rport();",
    run: |_call| Step::Done(1),
    ..FORCE_RPORT
};

/// `set_via_handling`
pub const SET_VIA_HANDLING: FnSpec<SipHost> = FnSpec {
    opensips: Some("set_via_handling"),
    kamailio: None,
    params: &[Param::req("flags", Kind::Str)],
    doc: "force-rport, add-local-rport, reply-to-via, force-tcp-alias (as the function does), comma-separated.",
    returns: &[(1, "set"), (-1, "unknown flag")],
    example: r#"set_via_handling("force-rport");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let mut alias = false;
        for word in text.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            match word {
                b"force-rport" => call.host.rport = true,
                b"force-tcp-alias" => alias = true,
                b"add-local-rport" | b"reply-to-via" | b"" => {}
                _ => return done(false),
            }
        }
        // A datagram has no connection to speak of.
        if alias && call.host.conn.is_some() {
            return Step::Wait(Request::ConnAlias { port: None });
        }
        done(true)
    },
    finish: Some(code),
    ..IS_MYSELF
};

/// `force_tcp_alias`
pub const FORCE_TCP_ALIAS: FnSpec<SipHost> = FnSpec {
    opensips: Some("force_tcp_alias"),
    kamailio: Some("force_tcp_alias"),
    params: &[Param::opt("port", Kind::Int)],
    routes: RouteSet::letters("RO"),
    doc: "Requests to this port of the peer, or to the one in its Via, use the connection the message came over (RFC 5923).",
    returns: &[(1, "set"), (-1, "it did not come over a connection, or that has ended")],
    example: "force_tcp_alias();",
    run: |call| match call.int(0).map(u16::try_from) {
        Some(Err(_)) => done(false),
        port => Step::Wait(Request::ConnAlias { port: port.and_then(Result::ok).filter(|p| *p != 0) }),
    },
    finish: Some(code),
    ..IS_MYSELF
};

/// `tcp_close_conn`
pub const TCP_CLOSE_CONN: FnSpec<SipHost> = FnSpec {
    opensips: Some("tcp_close_conn"),
    kamailio: None,
    params: &[Param::req("peer", Kind::Str)],
    doc: "Closes the connection to this `ip:port`, whichever worker has it, when what was sent before is written.",
    returns: &[(1, "it will be closed"), (-1, "there is none, or this is not an address with a port")],
    example: r#"tcp_close_conn("$si:$sp");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        match std::str::from_utf8(&text).ok().and_then(|t| t.trim().parse().ok()) {
            Some(peer) => Step::Wait(Request::ConnClose { peer }),
            None => done(false),
        }
    },
    finish: Some(code),
    ..IS_MYSELF
};

/// `force_send_socket`
pub const FORCE_SEND_SOCKET: FnSpec<SipHost> = FnSpec {
    opensips: Some("force_send_socket"),
    kamailio: Some("force_send_socket"),
    params: &[Param::req("socket", Kind::Str)],
    doc: "Sends from this listening socket: `proto:ip:port` or its tag.",
    returns: &[(1, "set"), (-1, "no such socket")],
    example: r#"force_send_socket("udp:127.0.0.1:5060");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let found = call.host.env().find_listener(&name);
        if let Some(i) = found {
            call.host.socket_out = u16::try_from(i).ok();
        }
        done(found.is_some())
    },
    ..IS_MYSELF
};

/// `set_advertised_address`
pub const SET_ADVERTISED_ADDRESS: FnSpec<SipHost> = FnSpec {
    opensips: Some("set_advertised_address"),
    kamailio: Some("set_advertised_address"),
    params: &[Param::req("address", Kind::Str)],
    doc: "Writes this host into the Via and Record-Route of this request.",
    returns: &[(1, "set"), (-1, "not a host")],
    example: r#"set_advertised_address("sip.example.com");"#,
    run: |call| {
        let host = call
            .text(0)
            .filter(|h| !h.is_empty() && h.iter().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(b)));
        let ok = host.is_some();
        call.host.advertised.0 = host;
        done(ok)
    },
    ..IS_MYSELF
};

/// `set_advertised_port`
pub const SET_ADVERTISED_PORT: FnSpec<SipHost> = FnSpec {
    opensips: Some("set_advertised_port"),
    kamailio: Some("set_advertised_port"),
    params: &[Param::req("port", Kind::Int)],
    doc: "Writes this port into the Via and Record-Route of this request.",
    returns: &[(1, "set"), (-1, "not a port")],
    example: "set_advertised_port(5080);",
    run: |call| {
        let port = call.int(0).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        call.host.advertised.1 = port;
        done(port.is_some())
    },
    ..IS_MYSELF
};

/// `forward`
pub const FORWARD: FnSpec<SipHost> = FnSpec {
    opensips: Some("forward"),
    kamailio: Some("forward"),
    params: &[Param::opt("destination", Kind::Str)],
    routes: RouteSet::letters("R"),
    waits: true,
    doc: "Forwards without keeping state, to the destination `[proto:]host[:port]`, else to $du or the R-URI.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"forward("10.0.0.2:5060");"#,
    run: |call| Step::Wait(Request::Forward { dest: call.text(0).filter(|d| !d.is_empty()) }),
    finish: Some(code),
    ..IS_MYSELF
};

/// `send`
pub const SEND: FnSpec<SipHost> = FnSpec {
    opensips: Some("send"),
    kamailio: Some("send"),
    params: &[Param::req("destination", Kind::Str), Param::opt("headers", Kind::Str)],
    waits: true,
    doc: "Sends a copy of the message as it came to `[proto:]host[:port]`.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"send("10.0.0.2:5060");"#,
    run: |call| match call.text(0) {
        Some(dest) => Step::Wait(Request::SendCopy { dest, headers: call.text(1) }),
        None => Step::Done(-1),
    },
    finish: Some(code),
    ..IS_MYSELF
};

/// `raise_event`
pub const RAISE_EVENT: FnSpec<SipHost> = FnSpec {
    opensips: Some("raise_event"),
    kamailio: None,
    params: &[Param::req("name", Kind::Str), Param::opt("attributes", Kind::Out), Param::opt("values", Kind::Out)],
    doc: "Runs the event_route of this name, with attributes named by one AVP and their values in the other.",
    returns: &[(1, "raised"), (-1, "the AVPs do not fit")],
    example: r#"raise_event("E_MINE", $avp(names), $avp(values));"#,
    run: |call| {
        let Some(name) = call.text(0) else { return Step::Done(-1) };
        let list = |call: &mut Call<'_, SipHost>, i: usize| match call.args.get(i) {
            Some(Arg::Out(o)) => call.vm().avp_values(o),
            _ => Some(Vec::new()),
        };
        let (Some(names), Some(values)) = (list(call, 1), list(call, 2)) else { return Step::Done(-1) };
        let params: Vec<(Str, Str)> = match values.len() {
            n if n == names.len() => {
                names.iter().zip(&values).filter_map(|(n, v)| Some((n.to_text()?, v.to_text()?))).collect()
            }
            // One AVP only: values by position.
            0 => names
                .iter()
                .enumerate()
                .filter_map(|(i, v)| Some((Str::from((i + 1).to_string()), v.to_text()?)))
                .collect(),
            _ => return Step::Done(-1),
        };
        Step::Wait(Request::RaiseEvent { name, params })
    },
    finish: Some(code),
    ..IS_MYSELF
};

/// `assert`
pub const ASSERT: FnSpec<SipHost> = FnSpec {
    opensips: Some("assert"),
    kamailio: None,
    params: &[Param::req("condition", Kind::Condition), Param::opt("text", Kind::Raw)],
    doc: "Writes an error line if the condition does not hold.",
    returns: &[(1, "it holds"), (-1, "it does not")],
    example: r#"assert($var(x) != NULL, "x must be set");"#,
    run: |call| {
        if call.int(0).is_some_and(|v| v > 0) {
            return Step::Done(1);
        }
        let (file, line) = call.vm().position();
        let text = call.text(1).unwrap_or_default();
        crate::modules::emit(-1, "script", &format!("assertion failed at {file}:{line}: {text}"));
        Step::Done(-1)
    },
    ..IS_MYSELF
};
