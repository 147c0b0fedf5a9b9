//! `http_client`: the script waits for an answer and goes on with its status.

use super::login::Login;
use super::settings::{Connection, Manner};
use super::{Web, curl, header_lines, method_of, param, unused};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_get::random;
use crate::modules::request::{Outcome, Request};
use crate::ops::http::method_name;
use crate::ops::http::url::Url;
use crate::ops::{self, HttpMethod, HttpRequest, HttpResponse};
use crate::script::ast::Dialect;
use crate::script::registry::{Arg, Call, FnSpec, Kind, ModParamKind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::rc::Rc;

/// Connections that are asked one after the other, the first included.
const MAX_FAILOVER: i64 = 2;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "http_client",
    dialects: &[Dialect::Kamailio],
    functions: &[
        HTTP_CLIENT_QUERY,
        HTTP_CLIENT_GET,
        HTTP_CLIENT_REQUEST,
        HTTP_CONNECT,
        HTTP_CONNECT_RAW,
        HTTP_GET_REDIRECT,
        RESPONSE_HEADERS_SET,
        RESPONSE_HEADERS_CLEAR,
    ],
    params: &[
        param(
            "httpcon",
            ModParamKind::Str,
            "a connection for http_connect: `NAME=>SCHEME://[USER:PASSWORD@]HOST[:PORT][/PATH][;ATTRIBUTE=VALUE...]`; \
             attributes are timeout, failover, useragent, username, password, authmethod, maxdatasize, httpredirect, \
             verify_peer, verify_host, client_cert, client_key, cacert, httpproxy, httpproxyport; what is not given is as the \
             module's parameters above it say",
        ),
        param(
            "config_file",
            ModParamKind::Str,
            "a file with connections: `[NAME]`, and a line `attribute = value` for each attribute of httpcon, with the \
             address as `url`; relative to the configuration's folder, or with `./` to the server's",
        ),
        param(
            "connection_timeout",
            ModParamKind::Int,
            "limit of a whole exchange, in the unit of timeout_mode; default 4 s",
        ),
        param(
            "timeout_mode",
            ModParamKind::Int,
            "1 (default): connection_timeout and timeout are seconds; 2: milliseconds; 0: async_timeout is the limit",
        ),
        param(
            "query_result",
            ModParamKind::Int,
            "1 (default): http_client_query gives a body's first line; 0: all of it",
        ),
        param("maxdatasize", ModParamKind::Int, "bytes of a body that are kept; 0 (default): up to 10 MiB"),
        param("query_maxdatasize", ModParamKind::Int, "the same for http_client_query"),
        param("httpredirect", ModParamKind::Int, "1: redirections are followed, up to 30; default 0"),
        param("useragent", ModParamKind::Str, "the User-Agent of requests; default: the server's"),
        param("httpproxy", ModParamKind::Str, "a proxy, `http://HOST[:PORT]`"),
        param("httpproxyport", ModParamKind::Int, "the proxy's port"),
        param(
            "authmethod",
            ModParamKind::Int,
            "sum of 1 (Basic) and 2 (Digest); with both the server chooses; default 3",
        ),
        param("cacert", ModParamKind::Str, "file with CA certificates, instead of the system's"),
        param("client_cert", ModParamKind::Str, "file with the certificate that is shown to servers that ask for one"),
        param("client_key", ModParamKind::Str, "file with its key"),
        param("verify_peer", ModParamKind::Int, "0: the server's certificate need not be valid; default 1"),
        param("verify_host", ModParamKind::Int, "0: it need not name the host; default 2"),
        unused("tlsversion", "TLS 1.2 and 1.3 are spoken"),
        unused("cipher_suites", "those of TLS 1.2 and 1.3 that are safe"),
        unused("keep_connections", "connections are kept and used again where the server allows it"),
        unused("netinterface", "the system's routes decide"),
    ],
    any_param: false,
    needs: &[],
};

const ROUTES: RouteSet = RouteSet::letters("RFOB");

const RETURNS: &[(i32, &str)] = &[
    (200, "any number from 100: the status of the answer"),
    (
        7,
        "any number below 100: libcurl's for what went wrong, as `$curlerror(7)` explains: 6 no such host, 7 no connection, 28 no answer in time",
    ),
    (-1, "not a URL, no such connection, or too many requests wait already"),
    (-11, "not tried: the server has failed too often in a row"),
];

const HTTP_CLIENT_QUERY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("http_client_query"),
    params: &[
        Param::req("url", Kind::Str),
        Param::req("post", Kind::StrThenOut),
        Param::opt("headers", Kind::StrThenOut),
        Param::opt("result", Kind::StrThenOut),
    ],
    variadic: false,
    routes: ROUTES,
    waits: true,
    doc: "Fetches a URL, or posts to it if there is something to post. The last argument is the variable that gets the \
          body's first line (`query_result`); in front of it may stand what is posted, and header lines. The code is true \
          also where it went wrong: compare it.",
    returns: RETURNS,
    example: r#"if (http_client_query("http://127.0.0.1/credit/$fU", "$var(credit)") == 200) xlog("$var(credit)\n");"#,
    run: |call| {
        let n = given(call);
        let text = |call: &Call<'_, SipHost>, i: usize| if i + 1 < n { call.text(i) } else { None };
        let (body, headers) = (text(call, 1), text(call, 2));
        start(call, Ask { body, headers, ..Ask::default() })
    },
    finish: Some(|call, outcome| {
        let n = given(call);
        let text = |call: &Call<'_, SipHost>, i: usize| if i + 1 < n { call.text(i) } else { None };
        let (body, headers) = (text(call, 1), text(call, 2));
        finish(call, outcome, Ask { body, headers, ..Ask::default() }, n.saturating_sub(1))
    }),
};

const HTTP_CLIENT_GET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_client_get"),
    params: &[
        Param::req("url", Kind::Str),
        Param::req("body", Kind::Str),
        Param::req("headers", Kind::Str),
        Param::req("result", Kind::Out),
    ],
    doc: "Sends GET, with a body and header lines if they are not empty.",
    example: r#"http_client_get("http://127.0.0.1/user/$fU", "", "Accept: text/plain", "$var(user)");"#,
    run: |call| {
        let ask = Ask { method: Some(HttpMethod::Get), body: call.text(1), headers: call.text(2), ..Ask::default() };
        start(call, ask)
    },
    finish: Some(|call, outcome| {
        let ask = Ask { method: Some(HttpMethod::Get), body: call.text(1), headers: call.text(2), ..Ask::default() };
        finish(call, outcome, ask, 3)
    }),
    ..HTTP_CLIENT_QUERY
};

const HTTP_CLIENT_REQUEST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_client_request"),
    params: &[
        Param::req("method", Kind::Str),
        Param::req("url", Kind::Str),
        Param::req("body", Kind::Str),
        Param::req("headers", Kind::Str),
        Param::req("result", Kind::Out),
    ],
    doc: "Sends a request of any method: GET, POST, PUT, DELETE, HEAD, PATCH or OPTIONS.",
    example: r#"http_client_request("PUT", "http://127.0.0.1/user/$fU", "on", "Content-Type: text/plain", "$var(body)");"#,
    run: |call| match asked(call) {
        Ok(ask) => start(call, ask),
        Err(why) => Step::Fail(why),
    },
    finish: Some(|call, outcome| match asked(call) {
        Ok(ask) => finish(call, outcome, ask, 4),
        Err(why) => Step::Fail(why),
    }),
    ..HTTP_CLIENT_QUERY
};

fn asked(call: &Call<'_, SipHost>) -> Result<Ask, String> {
    let name = call.text(0).unwrap_or_default();
    let Some(method) = method_of(&name) else {
        return Err(format!("`{}` is no method: GET, POST, PUT, DELETE, HEAD, PATCH and OPTIONS are", name.to_lossy()));
    };
    Ok(Ask { method: Some(method), url: 1, body: call.text(2), headers: call.text(3), ..Ask::default() })
}

const HTTP_CONNECT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_connect"),
    params: &[
        Param::req("connection", Kind::Str),
        Param::req("path", Kind::Str),
        Param::req("content_type", Kind::StrThenOut),
        Param::opt("data", Kind::StrThenOut),
        Param::opt("result", Kind::StrThenOut),
    ],
    doc: "Asks a connection that `httpcon` defines: `path` is added to its address. With a type and data they are posted. \
          The last argument is the variable that gets the body. If the connection cannot be made or the status is 500 or \
          more, its `failover` is asked the same.",
    example: r#"http_connect("api", "/route?to=$rU", "$var(gateway)");"#,
    run: connect,
    finish: Some(connected),
    ..HTTP_CLIENT_QUERY
};

const HTTP_CONNECT_RAW: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_connect_raw"),
    params: &[
        Param::req("connection", Kind::Str),
        Param::req("path", Kind::Str),
        Param::req("content_type", Kind::Str),
        Param::req("data", Kind::RawOrOut),
        Param::req("result", Kind::Out),
    ],
    doc: "The same with data that are posted as they are written, without variables in them; a variable by itself is \
          posted as it is.",
    example: r#"http_connect_raw("api", "/log", "application/json", '{"price": "$5"}', "$var(body)");"#,
    ..HTTP_CONNECT
};

const HTTP_GET_REDIRECT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_get_redirect"),
    params: &[Param::req("connection", Kind::Str), Param::req("result", Kind::Out)],
    routes: RouteSet::ALL,
    waits: false,
    doc: "Stores the URL that answered the last http_connect of this run with this connection, behind all redirections.",
    returns: &[(1, "stored"), (-1, "no such connection, or it was not asked yet")],
    example: r#"http_get_redirect("api", "$var(url)");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let found = call.host.rare.web.as_ref().and_then(|w| w.redirects.iter().find(|(n, _)| *n == name));
        match found.map(|(_, url)| url.clone()) {
            Some(url) => {
                call.assign(1, Value::Str(url));
                Step::Done(1)
            }
            None => {
                call.assign(1, Value::text(""));
                Step::Done(-1)
            }
        }
    },
    finish: None,
    ..HTTP_CLIENT_QUERY
};

const RESPONSE_HEADERS_SET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_client_response_headers_set"),
    params: &[Param::req("mode", Kind::Int)],
    doc: "1: keep the header fields of answers from now on, for `$httprhdr(Name)`; 0: forget them and keep none.",
    returns: &[(1, "done")],
    example: r#"http_client_response_headers_set("1");"#,
    run: |call| {
        let keep = call.int(0).is_some_and(|n| n != 0);
        let web = call.host.rare.web.get_or_insert_default();
        web.keep_headers = keep;
        if !web.keep_headers {
            web.headers.clear();
        }
        Step::Done(1)
    },
    ..HTTP_GET_REDIRECT
};

const RESPONSE_HEADERS_CLEAR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("http_client_response_headers_clear"),
    params: &[],
    doc: "Forgets the header fields of the last answer.",
    returns: &[(1, "done")],
    example: "http_client_response_headers_clear();",
    run: |call| {
        if let Some(web) = &mut call.host.rare.web {
            web.headers.clear();
        }
        Step::Done(1)
    },
    ..HTTP_GET_REDIRECT
};

/// How many arguments were written.
fn given(call: &Call<'_, SipHost>) -> usize {
    call.args.iter().rposition(|a| !matches!(a, Arg::None)).map_or(0, |n| n + 1)
}

/// What is asked, besides what parameters say.
#[derive(Default)]
struct Ask {
    /// `None`: POST with a body, else GET.
    method: Option<HttpMethod>,
    /// Number of the argument that holds the URL, or what is added to the connection's.
    url: usize,
    body: Option<Str>,
    headers: Option<Str>,
    content_type: Option<Str>,
    /// Name of the connection.
    connection: Option<Str>,
}

impl Ask {
    fn connection<'c>(&self, call: &'c Call<'_, SipHost>) -> Result<Option<&'c Connection>, String> {
        let Some(name) = &self.connection else { return Ok(None) };
        let found = call.host.env().settings.http_client.connection(name);
        found.map(Some).ok_or_else(|| format!("there is no httpcon `{}`", name.to_lossy()))
    }
}

fn manner<'c>(call: &'c Call<'_, SipHost>, connection: Option<&'c Connection>) -> &'c Manner {
    connection.map_or(&call.host.env().settings.http_client.manner, |c| &c.manner)
}

fn login_of(manner: &Manner) -> Option<Login> {
    let Manner { user, password, methods, .. } = manner.clone();
    (!user.is_empty()).then_some(Login { user, password, methods })
}

/// The request, and how long it may take; `authorization`: the answer to a challenge.
fn request(
    call: &Call<'_, SipHost>,
    ask: &Ask,
    authorization: Option<Str>,
) -> Result<(HttpRequest, Option<f64>), String> {
    let connection = ask.connection(call)?;
    let manner = manner(call, connection);
    let given = call.text(ask.url);
    let url = match connection {
        None => given.filter(|u| !u.is_empty()).ok_or("the URL is empty")?,
        Some(c) => {
            let path = given.unwrap_or_default();
            let slash: &[u8] = if path.is_empty() || path.starts_with(b"/") { b"" } else { b"/" };
            Str::from([&c.base[..], slash, &path[..]].concat())
        }
    };
    let body = ask.body.clone().filter(|b| !b.is_empty());
    let mut headers: Vec<Str> = ask.headers.iter().flat_map(|text| header_lines(text)).collect();
    let named = |name: &[u8]| headers.iter().any(|l| l.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)));
    let agent = manner.agent.as_ref().or(call.host.env().settings.user_agent_header.as_ref());
    let agent = agent.filter(|_| !named(b"user-agent:")).map(|a| Str::from([b"User-Agent: ", &a[..]].concat()));
    headers.extend(agent);
    headers.extend(authorization.or_else(|| login_of(manner)?.first()));
    let method = ask.method.unwrap_or(if body.is_some() { HttpMethod::Post } else { HttpMethod::Get });
    let form = || Str::from("application/x-www-form-urlencoded");
    let body = body.map(|b| (b, Some(ask.content_type.clone().filter(|t| !t.is_empty()).unwrap_or_else(form))));
    let options = Rc::clone(&manner.options);
    Ok((HttpRequest { method, url, headers, body, options }, manner.timeout.map(|t| t.as_secs_f64())))
}

fn start(call: &mut Call<'_, SipHost>, ask: Ask) -> Step<SipHost> {
    match request(call, &ask, None) {
        Ok((request, limit)) => Step::Wait(Request::Op { op: ops::Request::Http(request), limit }),
        Err(why) => Step::Fail(why),
    }
}

/// The answer to a challenge, if there is one and it was not given before.
pub(super) fn login_again(
    response: &HttpResponse,
    request: &HttpRequest,
    login: Option<Login>,
    now: crate::base::Time,
) -> Option<(Str, Option<Str>)> {
    let login = login.filter(|l| response.status == 401 && l.first().is_none())?;
    // Where a redirection has led to another server, the name and the password are none of its business.
    let (from, to) = (Url::parse(&request.url).ok()?, response.course.url.as_ref());
    let url = to.map_or(Ok(from.clone()), |u| Url::parse(u)).ok()?;
    if (&url.host, url.port, url.tls) != (&from.host, from.port, from.tls) {
        return None;
    }
    let fields = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(b"WWW-Authenticate"));
    let cnonce = format!("{:08x}{:08x}", random(now), random(now));
    let method = method_name(request.method);
    let line = login.answer(fields.map(|(_, v)| &v[..]), method, &url.target, &cnonce)?;
    Some((line, to.cloned()))
}

/// Goes on with an answer: `out` is the number of the variable's argument.
fn finish(call: &mut Call<'_, SipHost>, outcome: Outcome, ask: Ask, out: usize) -> Step<SipHost> {
    let response = match outcome {
        Outcome::Op(ops::Outcome::Http(response)) => response,
        Outcome::Op(ops::Outcome::Failed(failure)) => {
            call.assign(out, Value::text(""));
            return Step::Done(curl::code_of(&failure));
        }
        _ => return Step::Done(-1),
    };
    if call.state.step == 0
        && let Ok((request, limit)) = self::request(call, &ask, None)
        && let Ok(connection) = ask.connection(call)
        && let Some((line, url)) = login_again(&response, &request, login_of(manner(call, connection)), call.now)
    {
        call.state.step = 1;
        let mut next = request;
        next.url = url.unwrap_or(next.url);
        next.headers.push(line);
        return Step::Wait(Request::Op { op: ops::Request::Http(next), limit });
    }
    let connection = ask.connection(call).ok().flatten();
    let settings = &call.host.env().settings.http_client;
    let (first_line, kept) = match connection {
        None => (settings.first_line, settings.query_kept),
        Some(c) => (false, c.manner.kept),
    };
    let mut body = &response.body[..];
    if connection.is_none() && response.status >= 500 {
        body = b"";
    }
    if kept > 0 {
        body = body.get(..kept).unwrap_or(body);
    }
    if first_line {
        body = body.split(|b| *b == b'\n').next().unwrap_or_default();
    }
    let body = Value::text(body);
    let asked = self::request(call, &ask, None).map(|(r, _)| r.url).unwrap_or_default();
    keep(call.host, &ask, &response, asked);
    call.assign(out, body);
    Step::Done(i32::from(response.status))
}

/// Keeps what functions and variables may ask for later.
fn keep(host: &mut SipHost, ask: &Ask, response: &HttpResponse, asked: Str) {
    let keeps = host.rare.web.as_ref().is_some_and(|w| w.keep_headers);
    if keeps {
        host.rare.web.get_or_insert_default().headers.clone_from(&response.headers);
    }
    let Some(name) = &ask.connection else { return };
    let redirects = &mut host.rare.web.get_or_insert_with(Box::<Web>::default).redirects;
    redirects.retain(|(n, _)| n != name);
    redirects.push((name.clone(), response.course.url.clone().unwrap_or(asked)));
}

/// What `http_connect` asks of a connection, and the number of the variable's argument.
fn wanted(call: &mut Call<'_, SipHost>, connection: Str) -> Result<(Ask, usize), String> {
    let (content_type, body, out) = match given(call) {
        3 => (None, None, 2),
        5 => {
            let data = match call.args.get(3).cloned() {
                Some(Arg::Out(variable)) => call.scope.read(call.host, &variable).to_text(),
                _ => call.text(3),
            };
            (call.text(2), data, 4)
        }
        n => return Err(format!("takes 3 or 5 arguments, {n} given: a type goes with data")),
    };
    let connection = Some(connection);
    Ok((Ask { url: 1, body, content_type, connection, ..Ask::default() }, out))
}

fn connect(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    call.state.data = vec![Value::Str(name.clone()), Value::Int(1)];
    match wanted(call, name) {
        Ok((ask, out)) => {
            let step = start(call, ask);
            if matches!(step, Step::Fail(_)) {
                call.assign(out, Value::text(""));
            }
            step
        }
        Err(why) => Step::Fail(why),
    }
}

fn connected(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let name = call.state.data.first().and_then(Value::to_text).unwrap_or_default();
    let asked = call.state.data.get(1).and_then(Value::as_int).unwrap_or(1);
    let (ask, out) = match wanted(call, name.clone()) {
        Ok(wanted) => wanted,
        Err(why) => return Step::Fail(why),
    };
    let step = finish(call, outcome, ask, out);
    let Step::Done(code) = step else { return step };
    let failed = !(100..500).contains(&code);
    let next = call.host.env().settings.http_client.connection(&name).and_then(|c| c.failover.clone());
    match next.filter(|_| failed && asked < MAX_FAILOVER) {
        Some(next) => {
            call.state.step = 0;
            call.state.data = vec![Value::Str(next.clone()), Value::Int(asked + 1)];
            match wanted(call, next) {
                Ok((ask, _)) => start(call, ask),
                Err(why) => Step::Fail(why),
            }
        }
        None => Step::Done(code),
    }
}
