//! Small functions of `kex`, `corex` and `pv`: flags of the script, the log's level, questions about the message and about
//! variables, stateless sending (kamailio.md sections 3.8 and 5.8).

use crate::base::{Str, Time};
use crate::modules::core::logging::PV_PRINTF;
use crate::modules::env::bracketed;
use crate::modules::host::{SipHost, split_host_port};
use crate::modules::pv_get::random;
use crate::modules::request::Request;
use crate::modules::sl;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;
use std::net::SocketAddr;

/// Most flags of one kind.
const MAX_FLAGS: usize = 64;

/// Of `kex`.
pub const KEX: &[FnSpec<SipHost>] = &[SETSFLAG, RESETSFLAG, ISSFLAGSET, SETDEBUG, RESETDEBUG, AVP_PRINTF];
/// Of `corex`.
pub const COREX: &[FnSpec<SipHost>] = &[
    IS_FAKED_MSG,
    SETXFLAG,
    RESETXFLAG,
    ISXFLAGSET,
    SEND_UDP,
    SEND_TCP,
    SET_SEND_SOCKET,
    SET_SEND_SOCKET_NAME,
    IS_SOCKET_NAME,
    SET_SOURCE_ADDRESS,
    super::nio::NIO_IS_INCOMING,
    super::corex::IS_INCOMING,
    super::corex::SEND_DATA,
    super::corex::SENDX,
    super::corex::FORWARD_REPLY,
    super::corex::MSG_IFLAG_SET,
    super::corex::MSG_IFLAG_RESET,
    super::corex::MSG_IFLAG_IS_SET,
    super::corex::SET_RECV_SOCKET,
    super::corex::SET_RECV_SOCKET_NAME,
    super::file_functions::FILE_READ,
    super::file_functions::FILE_WRITE,
    super::via::VIA_ADD_SRVID,
    super::via::VIA_ADD_XAVP_PARAMS,
    super::via::VIA_USE_XAVP_FIELDS,
];

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

/// How flags of a kind are named among the message's.
fn flag(call: &Call<'_, SipHost>, kind: &str) -> Option<Str> {
    let n = call.int(0).filter(|n| (0..64).contains(n))?;
    Some(Str::from(format!("({kind}){n}")))
}

fn change(call: &mut Call<'_, SipHost>, kind: &str, on: bool) -> Step<SipHost> {
    let Some(name) = flag(call, kind) else { return Step::Fail("a flag is a number from 0 to 63".into()) };
    let flags = &mut call.host.flags;
    if !on {
        flags.retain(|f| *f != name);
    } else if !flags.contains(&name) {
        if flags.len() >= 3 * MAX_FLAGS {
            return Step::Done(-1);
        }
        flags.push(name);
    }
    Step::Done(1)
}

const SETSFLAG: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("setsflag"),
    params: &[Param::req("flag", Kind::Int)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Sets a flag of the script, 0 to 63.",
    returns: &[(1, "set"), (-1, "no such flag")],
    example: r#"setsflag("3");"#,
    run: |call| change(call, "script", true),
    finish: None,
};

const RESETSFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("resetsflag"),
    doc: "Clears a flag of the script.",
    returns: &[(1, "cleared"), (-1, "no such flag")],
    example: r#"resetsflag("3");"#,
    run: |call| change(call, "script", false),
    ..SETSFLAG
};

const ISSFLAGSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("issflagset"),
    doc: "Whether a flag of the script is set.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (issflagset("3")) xlog("$ci\n");"#,
    run: |call| verdict(flag(call, "script").is_some_and(|name| call.host.has_flag(&name))),
    ..SETSFLAG
};

const SETXFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("setxflag"),
    doc: "Sets an extended flag of the message, 0 to 63.",
    example: r#"setxflag("40");"#,
    run: |call| change(call, "x", true),
    ..SETSFLAG
};

const RESETXFLAG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("resetxflag"),
    doc: "Clears an extended flag of the message.",
    returns: &[(1, "cleared"), (-1, "no such flag")],
    example: r#"resetxflag("40");"#,
    run: |call| change(call, "x", false),
    ..SETSFLAG
};

const ISXFLAGSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("isxflagset"),
    doc: "Whether an extended flag of the message is set.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (isxflagset("40")) xlog("$ci\n");"#,
    run: |call| verdict(flag(call, "x").is_some_and(|name| call.host.has_flag(&name))),
    ..SETSFLAG
};

const SETDEBUG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("setdebug"),
    params: &[Param::req("level", Kind::Int)],
    doc: "Lines of this run are written up to this level: -1 errors, 0 warnings, 1 notices, 2 information, 3 everything.",
    returns: &[(1, "set"), (-1, "no level")],
    example: r#"if (is_myself("$fd")) setdebug("3");"#,
    run: |call| {
        let Some(level) = call.int(0).filter(|n| (-5..=9).contains(n)) else { return Step::Done(-1) };
        let level = Some(super::xlog::from_kamailio(level));
        call.host.levels = (level, level);
        Step::Done(1)
    },
    ..SETSFLAG
};

const RESETDEBUG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("resetdebug"),
    params: &[],
    doc: "Lines of this run are written as `debug` says again.",
    returns: &[(1, "done")],
    example: "resetdebug();",
    run: |call| {
        call.host.levels = (None, None);
        Step::Done(1)
    },
    ..SETSFLAG
};

const AVP_PRINTF: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("avp_printf"),
    example: r#"avp_printf("$avp(x)", "From: $fU, To: $tU");"#,
    ..PV_PRINTF
};

const IS_FAKED_MSG: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_faked_msg"),
    params: &[],
    doc: "Whether the route runs without a message that came: a timer's, an event's, one beside the script.",
    returns: &[(1, "it does"), (-1, "it has one")],
    example: "if (is_faked_msg()) exit;",
    run: |call| verdict(call.host.phony),
    ..SETSFLAG
};

const SEND_UDP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("send_udp"),
    params: &[Param::opt("destination", Kind::Str)],
    routes: RouteSet::letters("RF"),
    waits: true,
    doc: "Sends a copy of the message as it came over UDP to `host[:port]`, else to where `$du` or the R-URI leads.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"send_udp("10.0.0.2:5060");"#,
    run: |call| copy(call, "udp"),
    finish: Some(sl::finish),
    ..SETSFLAG
};

const SEND_TCP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("send_tcp"),
    doc: "The same over TCP.",
    example: r#"send_tcp("10.0.0.2:5060");"#,
    run: |call| copy(call, "tcp"),
    ..SEND_UDP
};

fn copy(call: &mut Call<'_, SipHost>, transport: &str) -> Step<SipHost> {
    let dest = match call.text(0).filter(|d| !d.is_empty()) {
        Some(dest) => dest.to_vec(),
        None => {
            let uri = call.host.du.clone().unwrap_or_else(|| Str::from(call.host.current_ruri()));
            match Uri::parse(&uri) {
                Ok(uri) => uri.host_port().to_vec(),
                Err(_) => return Step::Done(-1),
            }
        }
    };
    let dest = Str::from([transport.as_bytes(), b":", &dest[..]].concat());
    Step::Wait(Request::SendCopy { dest, headers: None })
}

const SET_SEND_SOCKET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_send_socket"),
    params: &[Param::req("socket", Kind::Str)],
    doc: "Sends from this listening socket, `proto:ip:port`.",
    returns: &[(1, "set"), (-1, "no such socket")],
    example: r#"set_send_socket("udp:127.0.0.1:5060");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let found = call.host.env().find_listener(&name).and_then(|n| u16::try_from(n).ok());
        if found.is_some() {
            call.host.socket_out = found;
        }
        verdict(found.is_some())
    },
    ..SETSFLAG
};

const SET_SEND_SOCKET_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_send_socket_name"),
    doc: "Sends from the listening socket of this name.",
    example: r#"set_send_socket_name("outside");"#,
    run: |call| {
        let found = named(call).and_then(|n| u16::try_from(n).ok());
        if found.is_some() {
            call.host.socket_out = found;
        }
        verdict(found.is_some())
    },
    ..SET_SEND_SOCKET
};

const IS_SOCKET_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_socket_name"),
    doc: "Whether a listening socket has this name.",
    returns: &[(1, "one has"), (-1, "none has")],
    example: r#"if (is_socket_name("outside")) set_send_socket_name("outside");"#,
    run: |call| verdict(named(call).is_some()),
    ..SET_SEND_SOCKET
};

pub(super) fn named(call: &Call<'_, SipHost>) -> Option<usize> {
    let name = call.text(0)?;
    call.host.env().listeners.iter().position(|l| l.tag.as_ref() == Some(&name))
}

const SET_SOURCE_ADDRESS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_source_address"),
    params: &[Param::req("address", Kind::Str)],
    doc: "From now on the message counts as one from `[proto:]ip:port`.",
    returns: &[(1, "set"), (-1, "not an address with a port")],
    example: r#"set_source_address("udp:192.0.2.7:5060");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default().to_lossy().into_owned();
        let rest = match text.split_once(':') {
            Some((proto, rest)) if proto.bytes().all(|b| b.is_ascii_alphabetic()) => rest,
            _ => &text,
        };
        match rest.parse::<SocketAddr>() {
            Ok(address) => {
                call.host.source = address;
                Step::Done(1)
            }
            Err(_) => Step::Done(-1),
        }
    },
    ..SETSFLAG
};

const VARIABLE: &[Param] = &[Param::req("variable", Kind::Var)];

/// The value of argument 0; NULL was left out.
fn value(call: &Call<'_, SipHost>) -> Value {
    match call.args.first() {
        Some(Arg::Value(v)) => v.clone(),
        _ => Value::Null,
    }
}

pub(super) const IS_INT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_int"),
    params: VARIABLE,
    doc: "Whether a variable holds a number, as a number.",
    returns: &[(1, "it does"), (-1, "it holds a text, or nothing")],
    example: r#"if (is_int("$avp(x)")) xlog("a number\n");"#,
    run: |call| verdict(value(call).as_int().is_some()),
    ..SETSFLAG
};

pub(super) const PV_ISSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_isset"),
    doc: "Whether a variable holds anything.",
    returns: &[(1, "it does"), (-1, "it is NULL")],
    example: r#"if (pv_isset("$avp(x)")) xlog("$avp(x)\n");"#,
    run: |call| verdict(!value(call).is_null()),
    ..IS_INT
};

pub(super) const PV_UNSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_unset"),
    params: &[Param::req("variable", Kind::Out)],
    doc: "Sets a variable to NULL.",
    returns: &[(1, "done")],
    example: r#"pv_unset("$avp(x)");"#,
    run: |call| {
        call.assign(0, Value::Null);
        Step::Done(1)
    },
    ..IS_INT
};

pub(super) const NOT_EMPTY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("not_empty"),
    doc: "Whether a variable holds a text that is not empty.",
    returns: &[(1, "it does"), (-1, "it is empty, NULL, or a number")],
    example: r#"if (not_empty("$avp(x)")) xlog("$avp(x)\n");"#,
    run: |call| verdict(matches!(value(call), Value::Str(s) | Value::Both(_, s) if !s.is_empty())),
    ..IS_INT
};

pub(super) const TYPEOF: FnSpec<SipHost> = FnSpec {
    kamailio: Some("typeof"),
    params: &[Param::req("variable", Kind::Var), Param::req("type", Kind::Str)],
    doc: "Whether a variable holds a value of this type: `int`, `str` or `null`.",
    returns: &[(1, "it does"), (-1, "another, or no such type")],
    example: r#"if (typeof("$avp(x)", "int")) xlog("a number\n");"#,
    run: |call| {
        let value = value(call);
        verdict(match call.text(1).unwrap_or_default().as_bytes() {
            b"int" => value.as_int().is_some(),
            b"str" => matches!(value, Value::Str(_)),
            b"null" => value.is_null(),
            _ => false,
        })
    },
    ..IS_INT
};

pub(super) const PV_EVALX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_evalx"),
    params: &[Param::req("variable", Kind::Out), Param::req("text", Kind::Str)],
    doc: "Puts a text into a variable whose variables are replaced twice: what they hold may name variables in turn.",
    returns: &[(1, "done"), (-1, "the text is NULL")],
    example: r#"pv_evalx("$var(z)", "$var(y) one");"#,
    run: |call| {
        let Some(text) = call.text(1) else { return Step::Done(-1) };
        let text = call.expand(&text);
        call.assign(0, Value::Str(text));
        Step::Done(1)
    },
    ..IS_INT
};

/// Reads `$nh(key)`: parts of the next hop, which is `$du` or else the R-URI.
pub fn next_hop(h: &SipHost, key: &[u8]) -> Value {
    let uri = h.du.clone().unwrap_or_else(|| Str::from(h.current_ruri()));
    let Ok(parsed) = Uri::parse(&uri) else { return Value::Null };
    match key {
        b"u" => Value::Str(uri.clone()),
        b"U" => Value::opt(parsed.user.map(Str::from)),
        b"d" => Value::text(parsed.host),
        b"p" => Value::Int(parsed.port_or_default().into()),
        // As it is written; in capitals if it is not.
        b"P" => Value::text(parsed.param(b"transport").unwrap_or(b"UDP")),
        b"i" => match parsed.host_ip() {
            Some(ip) => Value::text(bracketed(ip)),
            None => Value::Null,
        },
        _ => Value::Null,
    }
}

/// Reads `$sruid`: each time another text, unlike those of all other processes and servers.
pub fn unique_id(h: &SipHost, now: Time) -> Value {
    let env = h.env();
    let (micros, pid) = (env.clock.micros(), env.pid);
    Value::text(format!("srid-{micros:x}-{pid:x}-{:x}{:x}", random(now), random(now)))
}

/// `host[:port]` of two arguments.
pub(super) fn joined(host: &[u8], port: Option<i64>) -> Option<Str> {
    let port = port.map(u16::try_from).transpose().ok()?;
    let (bare, _) = split_host_port(host);
    match port {
        Some(port) if bare.contains(&b':') => Some(Str::from([b"[", bare, format!("]:{port}").as_bytes()].concat())),
        Some(port) => Some(Str::from([bare, format!(":{port}").as_bytes()].concat())),
        None => Some(Str::from(host)),
    }
}
