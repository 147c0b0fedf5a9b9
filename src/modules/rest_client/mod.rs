//! `rest_client`: HTTP (opensips.md section 3.3).

pub mod settings;

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::ops::{self, HttpMethod, Phase, Why};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::rc::Rc;

const fn int(name: &'static str, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored, doc }
}

const fn string(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "rest_client",
    dialects: &[Dialect::OpenSips],
    functions: &[
        REST_GET,
        REST_DELETE,
        REST_HEAD,
        REST_OPTIONS,
        REST_POST,
        REST_PUT,
        REST_PATCH,
        REST_APPEND_HF,
        REST_INIT_CLIENT_TLS,
    ],
    params: &[
        int("curl_timeout", false, "limit of the whole exchange, redirections included, seconds; default 20"),
        int("connection_timeout", false, "limit of resolve, connect and TLS together, seconds; default 20"),
        int("resolve_timeout", false, "limit of resolving the name, milliseconds; default 0: none of its own"),
        int("tcp_timeout", false, "limit of connecting, with a proxy's part, milliseconds; default 0: none of its own"),
        int("tls_timeout", false, "limit of the TLS handshake, milliseconds; default 0: none of its own"),
        int(
            "first_byte_timeout",
            false,
            "limit from the end of the request to the beginning of the response, milliseconds; default 0: none of its own",
        ),
        int("max_transfer_size", false, "largest body, as it comes and decompressed, KiB; 0 = 64 MiB; default 10240"),
        int("max_header_size", false, "largest header of a response, trailers included, KiB; at most 1024; default 64"),
        int(
            "max_redirects",
            false,
            "redirections that are followed; at most 50; default 0: a 302 is a response as any",
        ),
        int("compression", false, "1: ask for compressed responses (gzip, deflate); default 0"),
        string(
            "proxy",
            "the proxy of all requests, `http://[USER:PASSWORD@]HOST:PORT`; https goes through it by CONNECT",
        ),
        string("no_proxy", "hosts and domains that are reached without it, separated by commas; `*` = all"),
        int("ssl_verifypeer", false, "the server's certificate must be valid; default 1"),
        int("ssl_verifyhost", false, "it must name the host; default 1"),
        string("ssl_capath", "file or directory with CA certificates, instead of the system's"),
        int("max_async_transfers", false, "exchanges that one worker runs at once; more wait; default 1000"),
        int("curl_http_version", false, "1: HTTP/1.0; anything else: HTTP/1.1, which is all that is spoken; default 0"),
        int("enable_expect_100", false, "1: ask the server whether it wants a body before sending it; default 0"),
        int(
            "curl_conn_lifetime",
            false,
            "how old a connection may be that is used again, seconds; default 0: as old as it gets. An idle one is closed after 30 s in any case",
        ),
        int("connect_poll_interval", true, "connecting never blocks here"),
        int("no_concurrent_connects", true, "a host that does not answer blocks nobody; -4 is never returned"),
    ],
    any_param: false,
    needs: &[],
};

const ROUTES: RouteSet = RouteSet::ALL;

const RETURNS: &[(i32, &str)] = &[
    (1, "a response came, whatever its status"),
    (-1, "refused, or the name does not resolve"),
    (-2, "not connected in time"),
    (-3, "connected, but no whole response in time"),
    (-10, "anything else: bad URL, body too large, protocol error, a redirection that may not be followed"),
    (-11, "not tried: the server has failed too often in a row"),
];

const REST_GET: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_get"),
    kamailio: None,
    params: &[
        Param::req("url", Kind::Str),
        Param::req("body", Kind::Out),
        Param::opt("content_type", Kind::Out),
        Param::opt("code", Kind::Out),
    ],
    variadic: false,
    routes: ROUTES,
    waits: true,
    doc: "Fetches a URL and stores the response's body (called plainly: without white space around it), its type and \
          its status.",
    returns: RETURNS,
    example: r#"async(rest_get("http://127.0.0.1/credit/$fU", $avp(body), , $avp(code)), got_it, 3);"#,
    run: |call| without_body(call, HttpMethod::Get),
    finish: Some(|call, outcome| finish(call, outcome, 1)),
};

const REST_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_delete"),
    doc: "Sends DELETE.",
    example: r#"rest_delete("http://127.0.0.1/call/$ci", $var(body));"#,
    run: |call| without_body(call, HttpMethod::Delete),
    ..REST_GET
};

const REST_HEAD: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_head"),
    doc: "Sends HEAD; the body is empty.",
    example: r#"rest_head("http://127.0.0.1/file", $var(body), $var(type), $var(code));"#,
    run: |call| without_body(call, HttpMethod::Head),
    ..REST_GET
};

const REST_OPTIONS: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_options"),
    doc: "Sends OPTIONS.",
    example: r#"rest_options("http://127.0.0.1/", $var(body));"#,
    run: |call| without_body(call, HttpMethod::Options),
    ..REST_GET
};

const REST_POST: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_post"),
    params: &[
        Param::req("url", Kind::Str),
        Param::req("send_body", Kind::Str),
        Param::opt("send_content_type", Kind::Str),
        Param::req("body", Kind::Out),
        Param::opt("content_type", Kind::Out),
        Param::opt("code", Kind::Out),
    ],
    doc: "Posts a body (without a type as application/x-www-form-urlencoded) and stores the response.",
    example: r#"async(rest_post("http://127.0.0.1/log", "$ci", "text/plain", $var(body), , $var(code)), logged);"#,
    run: |call| with_body(call, HttpMethod::Post),
    finish: Some(|call, outcome| finish(call, outcome, 3)),
    ..REST_GET
};

const REST_PUT: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_put"),
    doc: "Puts a body and stores the response.",
    example: r#"rest_put("http://127.0.0.1/user/$fU", "on", "text/plain", $var(body));"#,
    run: |call| with_body(call, HttpMethod::Put),
    ..REST_POST
};

const REST_PATCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_patch"),
    doc: "Sends PATCH with a body and stores the response.",
    example: r#"rest_patch("http://127.0.0.1/user/$fU", "{}", "application/json", $var(body));"#,
    run: |call| with_body(call, HttpMethod::Patch),
    ..REST_POST
};

const REST_APPEND_HF: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_append_hf"),
    kamailio: None,
    params: &[Param::req("header", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Adds a header line to the next HTTP request of this run; several calls add several.",
    returns: &[(1, "noted"), (-1, "not a header line")],
    example: r#"rest_append_hf("X-Call-ID: $ci");"#,
    run: |call| {
        let line = call.text(0).unwrap_or_default();
        let line = line.trim_ascii();
        if !line.contains(&b':')
            || line.iter().any(|b| matches!(b, b'\r' | b'\n'))
            || call.host.http_headers.len() >= 64
        {
            return Step::Done(-1);
        }
        call.host.http_headers.push(Str::from(line));
        Step::Done(1)
    },
    finish: None,
};

const REST_INIT_CLIENT_TLS: FnSpec<SipHost> = FnSpec {
    opensips: Some("rest_init_client_tls"),
    params: &[Param::req("domain", Kind::Defined("tls_mgm", "client_domain", &["default"]))],
    doc: "Has the next HTTP request of this run use a client domain of tls_mgm: the certificate it shows, the CAs it \
          trusts.",
    returns: &[(1, "noted"), (-1, "there is no such domain")],
    example: r#"rest_init_client_tls("billing");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        if !call.host.env().settings.http.domains.contains_key(&name) {
            return Step::Done(-1);
        }
        call.host.http_domain = Some(name);
        Step::Done(1)
    },
    ..REST_APPEND_HF
};

fn without_body(call: &mut Call<'_, SipHost>, method: HttpMethod) -> Step<SipHost> {
    start(call, method, None)
}

fn with_body(call: &mut Call<'_, SipHost>, method: HttpMethod) -> Step<SipHost> {
    let body = call.text(1).unwrap_or_default();
    let kind = call.text(2).filter(|t| !t.is_empty()).unwrap_or_else(|| Str::from("application/x-www-form-urlencoded"));
    start(call, method, Some((body, Some(kind))))
}

fn start(call: &mut Call<'_, SipHost>, method: HttpMethod, body: Option<(Str, Option<Str>)>) -> Step<SipHost> {
    let Some(url) = call.text(0) else { return Step::Fail("the URL is NULL".to_string()) };
    let headers = call.host.http_headers.take();
    let domain = call.host.http_domain.take();
    let http = &call.host.env().settings.http;
    let options = Rc::clone(domain.and_then(|name| http.domains.get(&name)).unwrap_or(&http.options));
    let limit = http.timeout.as_secs_f64();
    let op = ops::Request::Http(ops::HttpRequest { method, url, headers, body, options });
    Step::Wait(Request::Op { op, limit: Some(limit) })
}

/// Stores body, type and code in the outputs that begin at argument `first`.
fn finish(call: &mut Call<'_, SipHost>, outcome: Outcome, first: usize) -> Step<SipHost> {
    match outcome {
        Outcome::Op(ops::Outcome::Http(r)) => {
            // The peers trim what a blocking call delivers, and only that.
            let plain = call.vm().is_plain();
            call.assign(first, Value::text(if plain { r.body.trim_ascii() } else { &r.body[..] }));
            if let Some(t) = r.content_type {
                call.assign(first + 1, Value::Str(t));
            }
            call.assign(first + 2, Value::Int(i64::from(r.status)));
            Step::Done(1)
        }
        Outcome::Op(ops::Outcome::Failed(f)) => {
            call.assign(first + 2, Value::Int(0));
            let connecting = matches!(f.phase, Phase::Queue | Phase::Resolve | Phase::Connect | Phase::Tls);
            Step::Done(match f.why {
                Why::Timeout if connecting => -2,
                Why::Timeout => -3,
                Why::Refused => -1,
                Why::Open => Why::OPEN_CODE,
                _ => -10,
            })
        }
        _ => Step::Done(-10),
    }
}
