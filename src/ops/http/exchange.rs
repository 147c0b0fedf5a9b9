//! One request and what is known of its answer; the host it is for.

use super::answer::{Answer, Expected};
use super::encode::{encode, is_idempotent};
use super::proxy::{Proxy, is_direct};
use super::redirect::follow;
use super::url::Url;
use super::{Cx, limit_token, pace_token};
use crate::base::{Key, Str, Time, TimerKey};
use crate::net::reactor::Source;
use crate::net::tls::{Tls, TlsOptions};
use crate::ops::{Failure, HttpCourse, HttpMethod, HttpOptions, HttpRequest, HttpResponse, OpId, Phase, Why};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections to the same of these are interchangeable.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(super) struct HostKey {
    tls: Option<TlsOptions>,
    /// Empty for plain HTTP through a proxy, which takes requests for any host.
    host: String,
    port: u16,
    proxy: Option<Proxy>,
}

/// A host as operators see it: `scheme://host:port`.
pub(super) fn shown(tls: bool, host: &str, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
}

/// Where an exchange stands.
pub(super) enum Stage {
    New,
    Resolving,
    /// Its [`Exchange::attempts`] are under way.
    Connecting,
    /// It has this connection.
    Linked(Key),
}

/// Whom a connection goes to: the host, or the proxy.
pub(super) struct Peer {
    pub(super) host: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) port: u16,
}

/// One request until its outcome is told, or the next one takes its place after a redirection.
pub(super) struct Exchange {
    pub(super) request: HttpRequest,
    pub(super) url: Url,
    /// Redirections so far.
    hops: u8,
    /// When the first request of it was made.
    pub(super) started: Time,
    pub(super) times: HttpCourse,
    pub(super) host: Rc<HostKey>,
    pub(super) config: Option<Arc<ClientConfig>>,
    pub(super) peer: Peer,
    /// What the proxy is asked for a connection to the host with.
    pub(super) connect_head: Option<Vec<u8>>,
    pub(super) stage: Stage,
    bytes: Vec<u8>,
    head: usize,
    written: usize,
    /// Whether the server is asked first.
    expects: bool,
    /// Whether the body waits until the server wants it.
    pub(super) hold: bool,
    pub(super) answer: Answer,
    expected: Expected,
    /// Whether it was sent again on a fresh connection already.
    pub(super) retried: bool,
    /// When resolve, connect and TLS must be over.
    pub(super) connect_deadline: Time,
    /// The limit of the present phase.
    limit: Option<(TimerKey, Time)>,
    /// When the next address is tried, or the body is sent unasked.
    pace: Option<TimerKey>,
    /// Addresses not tried yet.
    pub(super) addresses: VecDeque<SocketAddr>,
    /// Connections that are being made; the first that stands is taken.
    pub(super) attempts: Vec<Key>,
    /// What the last address said.
    pub(super) last_error: String,
}

fn bad(e: impl fmt::Display) -> Failure {
    Failure::new(Why::BadRequest, Phase::Queue, e.to_string())
}

impl Exchange {
    /// Checks a request and makes its bytes. `max_body`: the largest body that any request may ask for.
    pub(super) fn new(request: HttpRequest, tls: &mut Tls, max_body: usize) -> Result<Exchange, Failure> {
        let url = Url::parse(&request.url).map_err(bad)?;
        let max_body = request.options.max_body.min(max_body);
        Self::prepared(request, url, 0, max_body, tls)
    }

    fn prepared(request: HttpRequest, url: Url, hops: u8, max_body: usize, tls: &mut Tls) -> Result<Exchange, Failure> {
        let options = Rc::clone(&request.options);
        let proxy = options.proxy.as_ref().filter(|_| !is_direct(&options.direct, &url.host));
        let encoded = encode(&request, &url, proxy.filter(|_| !url.tls), options.expect).map_err(bad)?;
        let tls_options = if url.tls { Some(tls_options(&options)?) } else { None };
        let config = match &tls_options {
            Some(o) => Some(tls.config(o).map_err(|e| Failure::new(Why::System, Phase::Tls, e))?),
            None => None,
        };
        let shared = proxy.is_some() && !url.tls;
        let host = HostKey {
            tls: tls_options,
            host: if shared { String::new() } else { url.host.clone() },
            port: if shared { 0 } else { url.port },
            proxy: proxy.cloned(),
        };
        let peer = match proxy {
            Some(p) => Peer { host: p.host.clone(), ip: p.ip, port: p.port },
            None => Peer { host: url.host.clone(), ip: url.ip, port: url.port },
        };
        let expected = Expected {
            to_head: request.method == HttpMethod::Head,
            max_body,
            max_head: options.max_head,
            decode: encoded.decode,
        };
        Ok(Exchange {
            host: Rc::new(host),
            config,
            peer,
            connect_head: proxy.filter(|_| url.tls).map(|p| p.connect_head(&url)),
            stage: Stage::New,
            bytes: encoded.bytes,
            head: encoded.head,
            written: 0,
            expects: encoded.expects,
            hold: encoded.expects,
            answer: Answer::new(expected),
            expected,
            retried: false,
            connect_deadline: Time::NEVER,
            limit: None,
            pace: None,
            addresses: VecDeque::new(),
            attempts: Vec::new(),
            last_error: String::new(),
            request,
            url,
            hops,
            started: Time::ZERO,
            times: HttpCourse::default(),
        })
    }

    /// What follows a complete answer: the next request, if it leads on and that is wanted.
    pub(super) fn redirected(&self, answer: &HttpResponse, tls: &mut Tls) -> Result<Option<Exchange>, Failure> {
        let most = self.request.options.redirects;
        if most == 0 {
            return Ok(None);
        }
        let refused = |why: String| Failure::new(Why::Denied, Phase::Receive, why);
        let Some(hop) = follow(&self.url, self.request.method, answer).map_err(|e| refused(e.to_string()))? else {
            return Ok(None);
        };
        if self.hops >= most {
            return Err(refused(format!("more than {most} redirections")));
        }
        let mut request = self.request.clone();
        request.method = hop.method;
        if !hop.keeps_body {
            request.body = None;
            request.headers.retain(|line| !name_of(line).is_some_and(|n| begins_with(n, b"Content-")));
        }
        if !hop.same_origin {
            const OWN: [&[u8]; 4] = [b"Authorization", b"Proxy-Authorization", b"Cookie", b"Host"];
            request
                .headers
                .retain(|line| !name_of(line).is_some_and(|n| OWN.iter().any(|o| n.eq_ignore_ascii_case(o))));
            if request.options.identity.is_some() {
                request.options = Rc::new(HttpOptions { identity: None, ..(*request.options).clone() });
            }
        }
        let mut next = Self::prepared(request, hop.url, self.hops + 1, self.expected.max_body, tls)?;
        next.started = self.started;
        Ok(Some(next))
    }

    /// Microseconds since it was started.
    pub(super) fn age(&self, now: Time) -> u64 {
        u64::try_from(now.since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    /// The whole URL, if it is not the one that was asked for.
    pub(super) fn led_to(&self) -> Option<Str> {
        (self.hops > 0).then(|| {
            let scheme = if self.url.tls { "https" } else { "http" };
            Str::from(format!("{scheme}://{}{}", self.url.host_field(), self.url.target))
        })
    }

    /// The server knows nothing of expectations (417, RFC 9110 section 10.1.1): the same again without one.
    pub(super) fn unexpecting(&self) -> Option<(Vec<u8>, usize)> {
        if !self.expects {
            return None;
        }
        let proxy = self.request.options.proxy.as_ref().filter(|_| self.host.host.is_empty());
        encode(&self.request, &self.url, proxy, false).ok().map(|e| (e.bytes, e.head))
    }

    /// Begins again with other bytes, which ask for nothing first.
    pub(super) fn restart(&mut self, (bytes, head): (Vec<u8>, usize)) {
        (self.bytes, self.head) = (bytes, head);
        (self.expects, self.hold) = (false, false);
        self.rewind();
    }

    /// Whether no connection will do that has served before. Some proxies close theirs after each answer without saying
    /// so; what must not be sent twice is not risked there.
    pub(super) fn needs_fresh(&self) -> bool {
        self.retried || (self.host.host.is_empty() && !is_idempotent(self.request.method))
    }

    /// Whether the same request may be sent once more, after a connection that had served before ended
    /// without a byte of the answer (RFC 9110 section 9.2.2).
    pub(super) fn may_retry(&self) -> bool {
        !self.retried && !self.answer.has_begun() && (is_idempotent(self.request.method) || self.written == 0)
    }

    /// Back to the beginning.
    pub(super) fn rewind(&mut self) {
        self.retried = true;
        self.written = 0;
        self.answer = Answer::new(self.expected);
    }

    /// What may be sent now and is not.
    pub(super) fn unsent(&self) -> &[u8] {
        let end = if self.hold { self.head } else { self.bytes.len() };
        self.bytes.get(self.written..end).unwrap_or_default()
    }

    pub(super) fn wrote(&mut self, n: usize) {
        self.written = self.written.saturating_add(n);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.written >= self.bytes.len()
    }

    /// The host as operators see it.
    pub(super) fn shown(&self) -> String {
        shown(self.url.tls, &self.url.host, self.url.port)
    }

    /// Enters a phase of making a connection, which has a limit of its own (zero = none).
    pub(super) fn limit_phase(&mut self, id: OpId, limit: Duration, cx: &mut Cx<'_>) {
        let own = if limit.is_zero() { Time::NEVER } else { cx.now() + limit };
        self.limit_until(id, own.min(self.connect_deadline), cx);
    }

    /// The present phase must be over then; [`Time::NEVER`]: it may take as long as it likes.
    pub(super) fn limit_until(&mut self, id: OpId, deadline: Time, cx: &mut Cx<'_>) {
        if self.limit.map_or(Time::NEVER, |(_, at)| at) == deadline {
            return;
        }
        if let Some((timer, _)) = self.limit.take() {
            cx.io.disarm(timer);
        }
        if deadline != Time::NEVER {
            self.limit = Some((cx.arm(deadline, Source::Http, limit_token(id)), deadline));
        }
    }

    /// The limit's timer has fired.
    pub(super) fn limit_passed(&mut self) {
        self.limit = None;
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Sets the pace: the next step comes after this time, if nothing happens before.
    pub(super) fn set_pace(&mut self, id: OpId, after: Duration, cx: &mut Cx<'_>) {
        self.stop_pace(cx);
        self.pace = Some(cx.arm(cx.now() + after, Source::Http, pace_token(id)));
    }

    pub(super) fn stop_pace(&mut self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.pace.take() {
            cx.io.disarm(timer);
        }
    }

    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// The pace's timer has fired.
    pub(super) fn pace_passed(&mut self) {
        self.pace = None;
    }

    /// No timer of this exchange is left.
    pub(super) fn disarm(&mut self, cx: &mut Cx<'_>) {
        self.stop_pace(cx);
        if let Some((timer, _)) = self.limit.take() {
            cx.io.disarm(timer);
        }
    }
}

fn tls_options(options: &HttpOptions) -> Result<TlsOptions, Failure> {
    let text = |s: &Option<Str>| s.as_ref().map(|s| String::from_utf8(s.to_vec()).map_err(bad)).transpose();
    Ok(TlsOptions {
        verify_peer: options.verify_peer,
        verify_host: options.verify_host,
        ca_file: text(&options.ca_file)?,
        identity: text(&options.identity)?,
        alpn: Some("http/1.1"),
    })
}

fn name_of(line: &[u8]) -> Option<&[u8]> {
    line.split(|b| *b == b':').next()
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix))
}
