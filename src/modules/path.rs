//! `path`: the way back to a client, for its registrar (RFC 3327).

use super::host::SipHost;
use crate::base::Str;
use crate::modules::env::bracketed;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;
use crate::sip::{Method, Transport};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "path",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[ADD_PATH, ADD_PATH_RECEIVED],
    params: &[
        ModParamSpec {
            name: "use_received",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "registrar sends by the whole Path",
        },
        ModParamSpec {
            name: "received_name",
            kind: ModParamKind::Str,
            ignored: true,
            doc: "the parameter is `received`",
        },
        ModParamSpec {
            name: "received_format",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "the source stands there as a URI whose `;` and `=` are escaped",
        },
        ModParamSpec {
            name: "enable_r2",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "one Path stands for the socket the request came in on",
        },
        ModParamSpec {
            name: "enable_double_path",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "one Path stands for the socket the request came in on",
        },
        ModParamSpec {
            name: "sockname_mode",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the name of the socket stands in the Path (`sn`); default 0",
        },
    ],
    any_param: false,
    needs: &[],
};

const ADD_PATH: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_path"),
    kamailio: Some("add_path"),
    params: &[Param::opt("user", Kind::Str), Param::opt("parameters", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Adds a Path header with the address of the socket a REGISTER came in on, in front of those there are, so that \
          requests for the client come this way.",
    returns: &[(1, "added"), (-1, "not a REGISTER, or this is no user or no parameters")],
    example: r#"if (is_method("REGISTER")) add_path();"#,
    run: |call| add(call, false),
    finish: None,
};

const ADD_PATH_RECEIVED: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_path_received"),
    kamailio: Some("add_path_received"),
    doc: "The same with the source of the request in the parameter `received`.",
    example: r#"if (is_method("REGISTER")) add_path_received();"#,
    run: |call| add(call, true),
    ..ADD_PATH
};

fn add(call: &mut Call<'_, SipHost>, received: bool) -> Step<SipHost> {
    let (user, params) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let h = &mut *call.host;
    if h.phony || h.msg.method() != Method::Register {
        return Step::Done(-1);
    }
    let at = usize::from(h.socket_out.unwrap_or(h.listener));
    let Some(own) = h.env.listeners.get(at) else { return Step::Done(-1) };
    let mut uri = b"sip:".to_vec();
    if !user.is_empty() {
        uri.extend_from_slice(&user);
        uri.push(b'@');
    }
    own.push_via_host(&mut uri);
    uri.extend_from_slice(format!(":{};lr", own.via_port()).as_bytes());
    if let Some(name) = own.tag.as_ref().filter(|_| h.env.settings.rr.path_names) {
        uri.extend_from_slice(b";sn=");
        uri.extend_from_slice(name);
    }
    if own.transport != Transport::Udp {
        uri.extend_from_slice(format!(";transport={}", own.transport.as_param()).as_bytes());
    }
    if received {
        uri.extend_from_slice(format!(";received=sip:{}:{}", bracketed(h.source.ip()), h.source.port()).as_bytes());
        if own.transport != Transport::Udp {
            uri.extend_from_slice(format!("%3Btransport%3D{}", own.transport.as_param()).as_bytes());
        }
    }
    let params = params.strip_prefix(b";").unwrap_or(&params);
    if !params.is_empty() {
        uri.push(b';');
        uri.extend_from_slice(params);
    }
    let bad = |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || matches!(b, b'<' | b'>' | b'"');
    if uri.iter().any(bad) || Uri::parse(&uri).is_err() {
        return Step::Done(-1);
    }
    let line = [b"Path: <", &uri[..], b">\r\n"].concat();
    h.edits.insert_header_top(&h.msg, HeaderId::Path, Str::from(line));
    Step::Done(1)
}
