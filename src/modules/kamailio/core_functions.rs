//! Small functions of the core: switches of one message.

use crate::base::Str;
use crate::modules::core::misc as core;
use crate::modules::host::SipHost;
use crate::modules::pv_set::set_ruri;
use crate::modules::request::Request;
use crate::modules::{exec, log_line};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::uri::Uri;

/// A message flag that keeps replies from opening a connection.
pub const REPLY_NO_CONNECT: &str = "(reply_no_connect)";
/// A message flag: the connection the request came over is closed when it was answered.
pub const REPLY_CLOSE: &str = "(reply_close)";
/// A branch flag that keeps requests from opening a connection.
pub const FORWARD_NO_CONNECT: &str = "(forward_no_connect)";

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    SET_REPLY_NO_CONNECT,
    SET_FORWARD_NO_CONNECT,
    SET_REPLY_CLOSE,
    SET_FORWARD_CLOSE,
    CLEAR_BRANCHES,
    ADD_TCP_ALIAS,
    FORWARD,
    FORWARD_UDP,
    FORWARD_TCP,
    USERPHONE,
    ERROR,
    EXEC,
    super::xlog::XLOG,
    super::xlog::XDBG,
];

const SET_REPLY_NO_CONNECT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("set_reply_no_connect"),
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "No connection is opened for the replies to this request: they use the one it came over, or are dropped.",
    returns: &[(1, "always")],
    example: "set_reply_no_connect();",
    run: |call| {
        set(call, REPLY_NO_CONNECT);
        Step::Done(1)
    },
    finish: None,
};

const SET_FORWARD_NO_CONNECT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_forward_no_connect"),
    doc: "No connection is opened for this request: it uses one that exists, or its branch fails.",
    example: "set_forward_no_connect();",
    run: |call| {
        let flag = Str::from(FORWARD_NO_CONNECT);
        if !call.host.bflags.contains(&flag) {
            call.host.bflags.push(flag);
        }
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

const SET_REPLY_CLOSE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_reply_close"),
    doc: "The connection this request came over is closed when a final reply of our own has been written to it.",
    example: "set_reply_close();",
    run: |call| {
        set(call, REPLY_CLOSE);
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

const SET_FORWARD_CLOSE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_forward_close"),
    doc: "Has no effect: a connection that was opened for a request stays for its replies, and is closed when it has been idle.",
    example: "set_forward_close();",
    run: |_| Step::Done(1),
    ..SET_REPLY_NO_CONNECT
};

const ADD_TCP_ALIAS: FnSpec<SipHost> =
    FnSpec { opensips: None, kamailio: Some("add_tcp_alias"), example: "add_tcp_alias();", ..core::FORCE_TCP_ALIAS };

const FORWARD: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("forward"),
    params: &[Param::req("host", Kind::Str), Param::req("port", Kind::Int)],
    doc: "Forwards without keeping state, to this host and port.",
    example: r#"forward("10.0.0.2", 5060);"#,
    run: |call| forward(call, ""),
    ..core::FORWARD
};

const FORWARD_UDP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("forward_udp"),
    params: &[Param::opt("host", Kind::Str), Param::opt("port", Kind::Int)],
    doc: "Forwards over UDP without keeping state, to a host and port, else to the R-URI's.",
    example: r#"forward_udp("10.0.0.2", 5060);"#,
    run: |call| forward(call, "udp:"),
    ..FORWARD
};

const FORWARD_TCP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("forward_tcp"),
    doc: "Forwards over TCP without keeping state, to a host and port, else to the R-URI's.",
    example: r#"forward_tcp("10.0.0.2", 5060);"#,
    run: |call| forward(call, "tcp:"),
    ..FORWARD_UDP
};

fn forward(call: &mut Call<'_, SipHost>, transport: &str) -> Step<SipHost> {
    let host = match call.text(0).filter(|h| !h.is_empty()) {
        Some(host) => host,
        None => match Uri::parse(call.host.current_ruri()) {
            Ok(uri) => Str::from(uri.host_port()),
            Err(_) => return Step::Done(-1),
        },
    };
    match super::small::joined(&host, call.int(1)) {
        Some(dest) => {
            let dest = Str::from([transport.as_bytes(), &dest[..]].concat());
            Step::Wait(Request::Forward { dest: Some(dest) })
        }
        None => Step::Fail("this is no port".into()),
    }
}

const USERPHONE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("userphone"),
    doc: "Adds `;user=phone` to the R-URI if it is one of SIP and has no `user` yet.",
    returns: &[(1, "always")],
    example: "userphone();",
    run: |call| {
        let text = Str::from(call.host.current_ruri());
        let wanted = Uri::parse(&text).is_ok_and(|uri| uri.is_sip() && uri.param(b"user").is_none());
        if wanted {
            let (head, tail) = text.split_at(text.iter().position(|b| *b == b'?').unwrap_or(text.len()));
            if set_ruri(call.host, Str::from([head, b";user=phone", tail].concat())).is_err() {
                return Step::Done(-1);
            }
        }
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

const ERROR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("error"),
    params: &[Param::req("what", Kind::Str), Param::req("why", Kind::Str)],
    doc: "Writes a line at error level.",
    returns: &[(1, "always")],
    example: r#"error("no route", "$rU");"#,
    run: |call| {
        let (what, why) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        log_line(call.host, -1, &format!("{}: {}", what.to_lossy(), why.to_lossy()));
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

const EXEC: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("exec"),
    routes: RouteSet::ALL,
    example: r#"exec("logger a call for $(rU{s.escape.shell})");"#,
    ..exec::EXEC_CMD
};

const CLEAR_BRANCHES: FnSpec<SipHost> = FnSpec {
    kamailio: Some("clear_branches"),
    doc: "Removes all further branches.",
    example: "clear_branches();",
    run: |call| {
        call.host.branches.clear();
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

pub(super) fn set(call: &mut Call<'_, SipHost>, flag: &str) {
    let flag = Str::from(flag);
    if !call.host.flags.contains(&flag) {
        call.host.flags.push(flag);
    }
}
