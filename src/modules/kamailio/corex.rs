//! `corex`: sending what is no message of the run, the socket a message counts as received on, internal flags, replies that are
//! passed on at once (kamailio.md section 3.8).

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::Request;
use crate::modules::sl;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// Most bytes that are sent at a time.
const MOST: usize = 65_535;

/// `send_data`
pub const SEND_DATA: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("send_data"),
    params: &[Param::req("uri", Kind::Str), Param::req("data", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Sends a text to where a SIP URI leads, as it is.",
    returns: &[(1, "sent"), (-1, "not sent: no URI, no such place, or more than 65,535 bytes")],
    example: r#"send_data("sip:10.0.0.2:5070", "call from $fU");"#,
    run: |call| send(call, None, 1),
    finish: Some(sl::finish),
};

/// `sendx`
pub const SENDX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sendx"),
    params: &[Param::req("uri", Kind::Str), Param::req("socket", Kind::Str), Param::req("data", Kind::Str)],
    doc: "The same from this listening socket: `proto:ip:port` or its name.",
    returns: &[(1, "sent"), (-1, "not sent: no URI, no such place or socket, or more than 65,535 bytes")],
    example: r#"sendx("sip:10.0.0.2:5070", "udp:10.0.0.1:5060", "call from $fU");"#,
    run: |call| {
        let name = call.text(1).unwrap_or_default();
        match call.host.env().find_listener(&name).and_then(|n| u16::try_from(n).ok()) {
            Some(socket) => send(call, Some(socket), 2),
            None => Step::Fail(format!("no listening socket is `{}`", name.to_lossy())),
        }
    },
    ..SEND_DATA
};

fn send(call: &mut Call<'_, SipHost>, socket: Option<u16>, data: usize) -> Step<SipHost> {
    let (Some(uri), Some(data)) = (call.text(0), call.text(data)) else { return Step::Done(-1) };
    if Uri::parse(&uri).is_err() {
        return Step::Fail(format!("`{}` is no SIP URI", uri.to_lossy()));
    }
    if data.is_empty() || data.len() > MOST {
        return Step::Done(-1);
    }
    Step::Wait(Request::SendData { uri, socket, data })
}

/// `forward_reply`
pub const FORWARD_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("forward_reply"),
    params: &[],
    routes: RouteSet::letters("O"),
    waits: false,
    doc: "In reply_route: passes the reply on to its next Via at once, with the changes so far, as if no transaction waited for it. It \
          is for the transaction all the same unless the route drops it.",
    returns: &[(1, "passed on"), (-1, "this is no reply")],
    example: "forward_reply(); drop;",
    run: |_call| Step::Wait(Request::PassReply),
    ..SEND_DATA
};

/// `is_incoming`
pub const IS_INCOMING: FnSpec<SipHost> =
    FnSpec { kamailio: Some("is_incoming"), example: "if (is_incoming()) exit;", ..super::nio::NIO_IS_INCOMING };

/// Their names.
const INTERNAL: [&str; 3] = ["USE_UAC_FROM", "USE_UAC_TO", "UAC_AUTH"];

/// The message flag that an internal flag is.
fn internal_flag(name: &str) -> Str {
    Str::from(format!("(internal){name}"))
}

/// `msg_iflag_set`
pub const MSG_IFLAG_SET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("msg_iflag_set"),
    params: &[Param::req("flag", Kind::Str)],
    routes: RouteSet::ALL,
    waits: false,
    doc: "Sets an internal flag of the message: `USE_UAC_FROM`, `USE_UAC_TO` or `UAC_AUTH`. Nothing here goes by them: a CANCEL and an \
          ACK have the From and To of the request as it was sent.",
    returns: &[(1, "set"), (-1, "no such flag")],
    example: r#"msg_iflag_set("USE_UAC_FROM");"#,
    run: |call| {
        let Some(flag) = named(call) else { return unknown(call) };
        if !call.host.flags.contains(&flag) {
            call.host.flags.push(flag);
        }
        Step::Done(1)
    },
    finish: None,
    ..SEND_DATA
};

/// `msg_iflag_reset`
pub const MSG_IFLAG_RESET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("msg_iflag_reset"),
    doc: "Clears an internal flag of the message.",
    returns: &[(1, "cleared"), (-1, "no such flag")],
    example: r#"msg_iflag_reset("USE_UAC_FROM");"#,
    run: |call| {
        let Some(flag) = named(call) else { return unknown(call) };
        call.host.flags.retain(|f| *f != flag);
        Step::Done(1)
    },
    ..MSG_IFLAG_SET
};

/// `msg_iflag_is_set`
pub const MSG_IFLAG_IS_SET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("msg_iflag_is_set"),
    doc: "Whether an internal flag of the message is set.",
    returns: &[(1, "it is"), (-1, "it is not, or there is no such flag")],
    example: r#"if (msg_iflag_is_set("UAC_AUTH")) xlog("answered a challenge\n");"#,
    run: |call| {
        let Some(flag) = named(call) else { return unknown(call) };
        Step::Done(if call.host.has_flag(&flag) { 1 } else { -1 })
    },
    ..MSG_IFLAG_SET
};

fn named(call: &Call<'_, SipHost>) -> Option<Str> {
    let name = call.text(0)?;
    INTERNAL.iter().find(|n| name.eq_ignore_ascii_case(n.as_bytes())).map(|n| internal_flag(n))
}

fn unknown(call: &Call<'_, SipHost>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    Step::Fail(format!("`{}` is none of {}", name.to_lossy(), INTERNAL.join(", ")))
}

/// `set_recv_socket`
pub const SET_RECV_SOCKET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_recv_socket"),
    params: &[Param::req("socket", Kind::Str)],
    doc: "From now on the message counts as one that came in on this listening socket, `proto:ip:port`: its replies leave from there, if \
          it did not come over a connection.",
    returns: &[(1, "set"), (-1, "no such socket")],
    example: r#"set_recv_socket("udp:127.0.0.1:5060");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let found = call.host.env().find_listener(&name);
        receive_on(call, found)
    },
    ..MSG_IFLAG_SET
};

/// `set_recv_socket_name`
pub const SET_RECV_SOCKET_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_recv_socket_name"),
    doc: "The same for the listening socket of this name.",
    example: r#"set_recv_socket_name("outside");"#,
    run: |call| {
        let found = super::small::named(call);
        receive_on(call, found)
    },
    ..SET_RECV_SOCKET
};

fn receive_on(call: &mut Call<'_, SipHost>, found: Option<usize>) -> Step<SipHost> {
    match found.and_then(|n| u16::try_from(n).ok()) {
        Some(listener) => {
            call.host.listener = listener;
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}
