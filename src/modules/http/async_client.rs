//! `http_async_client`: a route goes on with the answer. With a transaction the run itself does, as behind
//! `async_route`; without one, or with `$http_req(suspend) = 0`, the script goes on and the route runs beside it, without
//! a message.

use super::client::login_again;
use super::login::Login;
use super::settings::Manner;
use super::{Answered, Web, curl, method_of, param, unused};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_get::random;
use crate::modules::request::{Outcome, Request};
use crate::ops::{self, HttpMethod, HttpOptions, HttpRequest, HttpResponse};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::host::SetError;
use crate::script::registry::{Arg, Call, FnSpec, Kind, ModParamKind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;

/// Header lines that one query may add.
const MAX_HEADERS: usize = 64;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "http_async_client",
    dialects: &[Dialect::Kamailio],
    functions: &[HTTP_ASYNC_QUERY],
    params: &[
        param("connection_timeout", ModParamKind::Int, "limit of a whole exchange, milliseconds; default 500"),
        param("curl_follow_redirect", ModParamKind::Int, "1: redirections are followed, up to 30; default 0"),
        param("tls_verify_host", ModParamKind::Int, "0: the certificate need not name the host; default 1"),
        param("tls_verify_peer", ModParamKind::Int, "0: the server's certificate need not be valid; default 1"),
        param(
            "tls_client_cert",
            ModParamKind::Str,
            "file with the certificate that is shown to servers that ask for one",
        ),
        param("tls_client_key", ModParamKind::Str, "file with its key"),
        param("tls_ca_path", ModParamKind::Str, "file or directory with CA certificates, instead of the system's"),
        param(
            "authmethod",
            ModParamKind::Int,
            "sum of 1 (Basic) and 2 (Digest); with both the server chooses; default 3",
        ),
        unused("workers", "the workers do it; none of them waits"),
        unused("hash_size", "not needed"),
        unused("tls_version", "TLS 1.2 and 1.3 are spoken"),
        unused("curl_verbose", "`reprise ctl waits` and the log show what takes long or fails"),
        unused("memory_manager", "not needed"),
        unused("tcp_keepalive", "idle connections are watched, and closed after 30 s"),
        unused("tcp_ka_idle", "idle connections are watched, and closed after 30 s"),
        unused("tcp_ka_interval", "idle connections are watched, and closed after 30 s"),
    ],
    any_param: false,
    needs: &["tm"],
};

const HTTP_ASYNC_QUERY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("http_async_query"),
    params: &[Param::req("url", Kind::Str), Param::req("route", Kind::Route(RouteKind::Request))],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Sends an HTTP request as `$http_req(...)` says, and runs a route when the answer is there or none will come. With \
          a transaction (`t_newtran`) the statements behind the call are not run and the route goes on with the message; \
          `$var` begins anew in it. Without one, or with `$http_req(suspend) = 0`, the script goes on at once and the route \
          runs beside it on its own, without a message. In the route `$http_ok`, `$http_rs`, `$http_rb`, `$http_hdr(Name)` \
          and `$http_err` say what came of it.",
    returns: &[
        (1, "sent, and nobody waits for it"),
        (-1, "no such route, or `$http_req` asks for what cannot be done"),
    ],
    example: r#"t_newtran(); http_async_query("http://127.0.0.1/credit/$fU", "later");"#,
    run,
    finish: Some(finish),
};

/// What `$http_req(...)` says of the next query; what is not set is as the module's parameters say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// `suspend` was set to 0.
    beside: bool,
    method: Option<HttpMethod>,
    body: Option<Str>,
    headers: Vec<Str>,
    /// Milliseconds.
    timeout: Option<u32>,
    user: Option<Str>,
    password: Option<Str>,
    methods: Option<u8>,
    verify_host: Option<bool>,
    verify_peer: Option<bool>,
    certificate: Option<Str>,
    key: Option<Str>,
    trust: Option<Str>,
    redirects: Option<bool>,
    http10: Option<bool>,
}

/// What `$http_req(...)` takes.
pub const KEYS: &[&str] = &[
    "all",
    "authmethod",
    "body",
    "follow_redirect",
    "hdr",
    "http_version",
    "method",
    "password",
    "suspend",
    "tcp_ka_idle",
    "tcp_ka_interval",
    "tcp_keepalive",
    "timeout",
    "tls_ca_path",
    "tls_client_cert",
    "tls_client_key",
    "tls_verify_host",
    "tls_verify_peer",
    "tls_version",
    "username",
];

impl Wanted {
    fn set(&mut self, key: &[u8], value: &Value) -> Result<(), SetError> {
        let text = value.to_text();
        let int = || match value {
            Value::Null => Ok(None),
            v => v.to_int().map(Some).ok_or(SetError::BadValue("this takes a number")),
        };
        let yes = || int().map(|n| n.map(|n| n != 0));
        match key {
            b"all" if value.is_null() => *self = Wanted::default(),
            b"all" => return Err(SetError::BadValue("$http_req(all) takes $null only")),
            b"suspend" => self.beside = int()? == Some(0),
            b"method" => {
                self.method = match text {
                    None => None,
                    Some(name) => Some(
                        method_of(&name)
                            .ok_or(SetError::BadValue("a method is GET, POST, PUT, DELETE, HEAD, PATCH or OPTIONS"))?,
                    ),
                }
            }
            b"body" => self.body = text,
            b"hdr" => match text {
                None => self.headers.clear(),
                Some(line) => {
                    let line = line.trim_ascii();
                    if !line.contains(&b':') || line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
                        return Err(SetError::BadValue("a header line is `Name: value`"));
                    }
                    if self.headers.len() >= MAX_HEADERS {
                        return Err(SetError::BadValue("64 header lines are the most"));
                    }
                    self.headers.push(Str::from(line));
                }
            },
            b"timeout" => {
                self.timeout =
                    int()?.map(|ms| u32::try_from(ms).map_err(|_| SetError::BadValue("milliseconds"))).transpose()?;
            }
            b"username" => self.user = text,
            b"password" => self.password = text,
            b"authmethod" => self.methods = int()?.map(|n| (n & 3) as u8),
            b"tls_verify_host" => self.verify_host = yes()?,
            b"tls_verify_peer" => self.verify_peer = yes()?,
            b"tls_client_cert" => self.certificate = text,
            b"tls_client_key" => self.key = text,
            b"tls_ca_path" => self.trust = text,
            b"follow_redirect" => self.redirects = yes()?,
            // 1 is HTTP/1.0; what is more is HTTP/1.1 here.
            b"http_version" => self.http10 = int()?.map(|n| n == 1),
            b"tcp_keepalive" | b"tcp_ka_idle" | b"tcp_ka_interval" | b"tls_version" => {}
            _ => return Err(SetError::BadValue("$http_req knows no such key")),
        }
        Ok(())
    }

    /// How the query is carried out.
    fn options(&self, host: &SipHost) -> Result<Rc<HttpOptions>, String> {
        let settings = &host.env().settings.http_async;
        let usual = &settings.manner.options;
        // Files are read before there is traffic.
        let known = |what: &str, name: &Option<Str>, configured: &Str| match name {
            Some(name) if name != configured => Err(format!(
                "$http_req({what}): `{}` is not what the module parameter {what} names; files are read at the start only",
                name.to_lossy()
            )),
            _ => Ok(()),
        };
        known("tls_client_cert", &self.certificate, &settings.certificate.0)?;
        known("tls_client_key", &self.key, &settings.certificate.1)?;
        known("tls_ca_path", &self.trust, &usual.ca_file.clone().unwrap_or_default())?;
        let mut own = HttpOptions::clone(usual);
        own.verify_host = self.verify_host.unwrap_or(own.verify_host);
        own.verify_peer = self.verify_peer.unwrap_or(own.verify_peer);
        own.http10 = self.http10.unwrap_or(own.http10);
        own.redirects = match self.redirects {
            Some(true) => super::vars::MAX_REDIRECTS,
            Some(false) => 0,
            None => own.redirects,
        };
        Ok(if own == **usual { Rc::clone(usual) } else { Rc::new(own) })
    }

    fn login(&self, manner: &Manner) -> Option<Login> {
        let user = self.user.clone()?;
        let password = self.password.clone().unwrap_or_default();
        Some(Login { user, password, methods: self.methods.unwrap_or(manner.methods) })
    }
}

/// Assigns `$http_req(key)`.
pub fn set(h: &mut SipHost, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let key = sub.and_then(Value::to_text).unwrap_or_default();
    h.rare.web.get_or_insert_default().wanted.set(&key, value)
}

/// The request that is wanted, how long it may take, and who logs in.
fn request(call: &Call<'_, SipHost>) -> Result<(HttpRequest, Duration, Option<Login>), String> {
    let url = call.text(0).filter(|u| !u.is_empty()).ok_or("the URL is empty")?;
    let none = Wanted::default();
    let wanted = call.host.rare.web.as_ref().map_or(&none, |w| &w.wanted);
    let manner = &call.host.env().settings.http_async.manner;
    let options = wanted.options(call.host)?;
    let body = wanted.body.clone().map(|b| (b, Some(Str::from("application/x-www-form-urlencoded"))));
    let method = wanted.method.unwrap_or(if body.is_some() { HttpMethod::Post } else { HttpMethod::Get });
    let login = wanted.login(manner);
    let mut headers = wanted.headers.clone();
    headers.extend(login.as_ref().and_then(Login::first));
    let usual = manner.timeout.unwrap_or(Duration::from_millis(500));
    let limit = wanted.timeout.filter(|ms| *ms > 0).map_or(usual, |ms| Duration::from_millis(ms.into()));
    Ok((HttpRequest { method, url, headers, body, options }, limit, login))
}

fn run(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let route = match call.args.get(1) {
        Some(Arg::Route(n)) => *n,
        _ => {
            let name = call.text(1).unwrap_or_default();
            match call.vm().find_route(RouteKind::Request, &name) {
                Some(n) => n,
                None => return Step::Fail(format!("there is no route[{}]", name.to_lossy())),
            }
        }
    };
    let (request, limit, _) = match request(call) {
        Ok(all) => all,
        Err(why) => return Step::Fail(why),
    };
    let id = format!("{:x}-{:x}-{:08x}", call.host.env().pid, call.now.as_micros(), random(call.now));
    let web = call.host.rare.web.get_or_insert_default();
    web.id = Str::from(id);
    let op = Request::Op { op: ops::Request::Http(request), limit: Some(limit.as_secs_f64()) };
    let transaction = call.host.tm.key.is_some() && !call.host.tm.embryonic;
    let beside = call.host.rare.web.as_ref().is_some_and(|w| w.wanted.beside);
    call.state.data = vec![Value::Int(i64::from(route))];
    if (transaction && !beside) || !call.vm().is_plain() {
        return Step::Wait(op);
    }
    let mut host = SipHost::without_message(call.host.env.clone());
    host.rare.web.clone_from(&call.host.rare.web);
    Step::Beside { host: Box::new(host), request: Box::new(op), route }
}

fn finish(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let answer = match outcome {
        Outcome::Op(ops::Outcome::Http(response)) => {
            if call.state.step == 0
                && let Ok((mut next, limit, login)) = request(call)
                && let Some((line, url)) = login_again(&response, &next, login, call.now)
            {
                call.state.step = 1;
                next.url = url.unwrap_or(next.url);
                next.headers.push(line);
                let left = limit.saturating_sub(Duration::from_micros(response.course.total));
                return Step::Wait(Request::Op { op: ops::Request::Http(next), limit: Some(left.as_secs_f64()) });
            }
            Answered { error: None, response }
        }
        Outcome::Op(ops::Outcome::Failed(failure)) => {
            let code = curl::code_of(&failure);
            let text = if code > 0 { curl::text(code.into()).to_string() } else { failure.to_string() };
            Answered { error: Some(Str::from(text)), response: HttpResponse::default() }
        }
        _ => Answered { error: Some(Str::from("it could not wait")), response: HttpResponse::default() },
    };
    call.host.rare.web.get_or_insert_with(Box::<Web>::default).answer = Some(answer);
    match call.state.data.first().and_then(Value::as_int).and_then(|n| u32::try_from(n).ok()) {
        Some(route) => Step::Continue(route),
        None => Step::Done(-1),
    }
}
