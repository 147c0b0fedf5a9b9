//! Kamailio's `tcpops`: connections by their number (`$conid`), and `event_route[tcp:closed]` and its like (kamailio.md
//! section 1.9). A connection may be another worker's: it is asked for by its number, and the worker that has it acts.

use super::host::SipHost;
use super::request::{ConnWish, Outcome, Request};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::net::SocketAddr;

/// Of which connections `event_route[tcp:closed]` and its like hear (`closed_event`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Events {
    /// None.
    Never,
    /// All.
    #[default]
    Always,
    /// Those that `tcp_enable_closed_event` has named.
    Asked,
}

impl Events {
    /// Reads `closed_event`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Events, String> {
        match value.to_int() {
            Some(0) => Ok(Events::Never),
            Some(1) => Ok(Events::Always),
            Some(2) => Ok(Events::Asked),
            _ => {
                Err("closed_event is 0 (never), 1 (for all connections) or 2 (where tcp_enable_closed_event asks)"
                    .into())
            }
        }
    }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "tcpops",
    dialects: &[Dialect::Kamailio],
    functions: &[
        TCP_CONID_ALIVE,
        TCP_CONID_STATE,
        TCP_KEEPALIVE_ENABLE,
        TCP_KEEPALIVE_DISABLE,
        TCP_SET_CONNECTION_LIFETIME,
        TCP_ENABLE_CLOSED_EVENT,
        TCP_GET_CONID,
        TCP_CLOSE_CONNECTION,
        TCP_SET_OTCPID,
        TCP_SET_OTCPID_FLAG,
    ],
    params: &[
        ModParamSpec {
            name: "closed_event",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "whether event_route[tcp:closed], [tcp:timeout] and [tcp:reset] run: 0 never, 1 (default) for every connection, 2 \
                  for those that tcp_enable_closed_event names",
        },
        ModParamSpec {
            name: "event_callback",
            kind: ModParamKind::Str,
            ignored: true,
            doc: "routes are written in the configuration's own language",
        },
    ],
    any_param: false,
    needs: &[],
};

const CONNECTION: Param = Param::opt("connection", Kind::Int);

const TCP_CONID_ALIVE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("tcp_conid_alive"),
    params: &[CONNECTION],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Whether the connection of this number (else the one that the message came over) stands.",
    returns: &[(1, "it does"), (-1, "there is none, or it is about to end")],
    example: r#"if (!tcp_conid_alive("$avp(conid)")) xlog("gone\n");"#,
    run: |call| wish(call, 0, ConnWish::State),
    finish: Some(|_call, outcome| Step::Done(if outcome.code() > 0 { 1 } else { -1 })),
};

const TCP_CONID_STATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_conid_state"),
    doc: "How the connection of this number (else the one that the message came over) stands.",
    returns: &[
        (1, "it stands"),
        (3, "it is being made, by this worker"),
        (-1, "there is none"),
        (-2, "it is about to end"),
    ],
    example: r#"if (tcp_conid_state("$avp(conid)") < 0) xlog("gone\n");"#,
    finish: Some(code),
    ..TCP_CONID_ALIVE
};

const TCP_ENABLE_CLOSED_EVENT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_enable_closed_event"),
    doc: "With `closed_event` 2: event_route[tcp:closed] and its like run when the connection of this number (else the one that the \
          message came over) ends.",
    returns: &[(1, "done"), (-1, "there is no such connection")],
    example: r#"if (is_method("REGISTER")) tcp_enable_closed_event();"#,
    run: |call| wish(call, 0, ConnWish::Event),
    ..TCP_CONID_STATE
};

const TCP_CLOSE_CONNECTION: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_close_connection"),
    doc: "Ends the connection of this number (else the one that the message came over), when what was sent before is written.",
    returns: &[(1, "it will be closed"), (-1, "there is no such connection")],
    example: r#"tcp_close_connection("$avp(conid)");"#,
    run: |call| wish(call, 0, ConnWish::Close),
    ..TCP_CONID_STATE
};

const TCP_SET_CONNECTION_LIFETIME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_set_connection_lifetime"),
    params: &[Param::req("connection", Kind::Int), Param::opt("seconds", Kind::Int)],
    doc: "How long the connection of this number may be idle, in seconds; with one argument, the connection that the message came \
          over.",
    returns: &[(1, "set"), (-1, "there is no such connection, or this is no time")],
    example: r#"tcp_set_connection_lifetime("3605");"#,
    run: |call| {
        let last = usize::from(call.given(1));
        let seconds = call.int(last).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        let Some(seconds) = seconds else { return Step::Fail("a lifetime is a number of seconds from 1 on".into()) };
        match connection(call, 0, last == 1) {
            Some(number) => Step::Wait(Request::Connection { number, wish: ConnWish::Lifetime(seconds) }),
            None => Step::Done(-1),
        }
    },
    ..TCP_CONID_STATE
};

const TCP_KEEPALIVE_ENABLE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_keepalive_enable"),
    params: &[
        Param::req("connection", Kind::Int),
        Param::req("idle", Kind::Int),
        Param::req("count", Kind::Int),
        Param::opt("interval", Kind::Int),
    ],
    doc: "Has the system keep the connection of this number alive (with three arguments: the one that the message came over): after \
          so many seconds without traffic, given up after so many probes without an answer, one in so many seconds.",
    returns: &[(1, "set"), (-1, "there is no such connection, or these are no times")],
    example: r#"tcp_keepalive_enable("60", "5", "5");"#,
    run: |call| {
        let first = usize::from(call.given(3));
        let time = |i: usize| call.int(first + i).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        let (Some(idle), Some(count), Some(interval)) = (time(0), time(1), time(2)) else {
            return Step::Fail("idle, count and interval are numbers from 1 on".into());
        };
        match connection(call, 0, first == 1) {
            Some(number) => {
                let wish = ConnWish::KeepAlive { idle, count, interval };
                Step::Wait(Request::Connection { number, wish })
            }
            None => Step::Done(-1),
        }
    },
    ..TCP_CONID_STATE
};

const TCP_KEEPALIVE_DISABLE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_keepalive_disable"),
    doc: "Ends what tcp_keepalive_enable or tcp_keepalive began for the connection of this number (else the one that the message came \
          over).",
    returns: &[(1, "done"), (-1, "there is no such connection")],
    example: "tcp_keepalive_disable();",
    run: |call| wish(call, 0, ConnWish::NoKeepAlive),
    ..TCP_CONID_STATE
};

const TCP_GET_CONID: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_get_conid"),
    params: &[Param::req("address", Kind::Str), Param::req("variable", Kind::Out)],
    doc: "Puts the number of a connection to `ip[:port]` (5060 if none is written) into a variable.",
    returns: &[(1, "done"), (-1, "there is none, or this is no address")],
    example: r#"if (tcp_get_conid("10.0.0.2:5060", "$var(conid)")) tcp_close_connection("$var(conid)");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default().to_lossy().trim().to_string();
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let peer = text.parse().ok().or_else(|| bare.parse().ok().map(|ip| SocketAddr::new(ip, 5060)));
        match peer {
            Some(peer) => Step::Wait(Request::FindConnection { peer }),
            None => Step::Done(-1),
        }
    },
    finish: Some(|call, outcome| match outcome {
        Outcome::Number(number) => {
            call.assign(1, Value::Int(number));
            Step::Done(1)
        }
        _ => Step::Done(-1),
    }),
    ..TCP_CONID_ALIVE
};

const TCP_SET_OTCPID: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_set_otcpid"),
    params: &[Param::req("connection", Kind::Int)],
    doc: "The number of the connection that the request is to leave over, if tcp_set_otcpid_flag says so.",
    returns: &[(1, "noted"), (-1, "this is no number")],
    example: r#"tcp_set_otcpid("$avp(conid)"); tcp_set_otcpid_flag("1");"#,
    run: |call| {
        let Some(number) = call.int(0) else { return Step::Done(-1) };
        let on = call.host.rare.outbound.is_some_and(|(_, on)| on);
        call.host.rare.outbound = Some((number, on));
        Step::Done(1)
    },
    finish: None,
    ..TCP_CONID_STATE
};

const TCP_SET_OTCPID_FLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tcp_set_otcpid_flag"),
    params: &[Param::req("on", Kind::Int)],
    doc: "1: a request that goes over TCP leaves over the connection that tcp_set_otcpid has named, whatever its R-URI and `$du` say, as \
          long as that connection stands; 0: it does not.",
    returns: &[(1, "always")],
    example: r#"tcp_set_otcpid_flag("1");"#,
    run: |call| {
        let on = call.int(0).is_some_and(|n| n != 0);
        if on || call.host.rare.outbound.is_some() {
            let number = call.host.rare.outbound.map_or(0, |(number, _)| number);
            call.host.rare.outbound = Some((number, on));
        }
        Step::Done(1)
    },
    ..TCP_SET_OTCPID
};

fn code(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(outcome.code())
}

/// The number of the connection that is meant: the argument's, else that of the message's.
fn connection(call: &Call<'_, SipHost>, at: usize, given: bool) -> Option<i64> {
    if given { call.int(at) } else { call.host.conn.map(|c| c.number()) }
}

fn wish(call: &mut Call<'_, SipHost>, at: usize, wish: ConnWish) -> Step<SipHost> {
    match connection(call, at, call.given(at)) {
        Some(number) => Step::Wait(Request::Connection { number, wish }),
        None => Step::Done(-1),
    }
}
