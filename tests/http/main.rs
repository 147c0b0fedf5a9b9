//! The HTTP engine on a real loop: against real web servers and proxies, and against peers that misbehave.

#![allow(clippy::unwrap_used)]

#[path = "../oploop/mod.rs"]
mod oploop;
#[path = "../support/mod.rs"]
mod support;

mod basics;
mod bodies;
mod chaos;
mod connects;
mod proxies;
mod redirects;

use oploop::{Loop, alone, open_fds, threads};
use reprise::net::resolver::ResolverConfig;
use reprise::ops::backend::Policy;
use reprise::ops::driver::{Driver, OpKind};
use reprise::ops::http::Limits;
use reprise::ops::{
    CancelReason, Failure, HttpMethod, HttpOptions, HttpRequest, HttpResponse, OpId, Outcome, Phase, Request, Why,
};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::mocks::{BlackHole, Step, TcpMock};
use support::nginx::{LARGE, Nginx};
use support::{ca, free_port};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
/// Enough for what comes before a phase that never ends, also on a busy machine.
const MEDIUM: Duration = Duration::from_secs(1);

fn request(method: HttpMethod, url: &str) -> HttpRequest {
    HttpRequest {
        method,
        url: url.into(),
        headers: Vec::new(),
        body: None,
        options: Rc::new(HttpOptions { connect_timeout: Duration::from_secs(5), ..HttpOptions::default() }),
    }
}

/// The same with other options.
fn set(mut request: HttpRequest, change: impl FnOnce(&mut HttpOptions)) -> HttpRequest {
    change(Rc::make_mut(&mut request.options));
    request
}

fn get(url: &str) -> HttpRequest {
    request(HttpMethod::Get, url)
}

fn post(url: &str, body: &[u8]) -> HttpRequest {
    HttpRequest { body: Some((body.into(), Some("text/plain".into()))), ..request(HttpMethod::Post, url) }
}

fn trusting(url: &str, file: &Path) -> HttpRequest {
    set(get(url), |o| o.ca_file = Some(file.to_str().unwrap().into()))
}

fn answered(outcome: Outcome) -> HttpResponse {
    match outcome {
        Outcome::Http(r) => r,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(f) => f,
        other => panic!("{other:?}"),
    }
}

fn ok(l: &mut Loop, request: HttpRequest) -> HttpResponse {
    answered(l.run(Request::Http(request), LONG))
}

fn fails(l: &mut Loop, request: HttpRequest, limit: Duration) -> (Why, Phase) {
    let f = failed(l.run(Request::Http(request), limit));
    (f.why, f.phase)
}

fn start(l: &mut Loop, request: HttpRequest) -> OpId {
    l.start(Request::Http(request), LONG)
}

fn until(text: &str) -> Step {
    Step::ReadUntil(text.into())
}

fn write(text: &str) -> Step {
    Step::Write(text.into())
}

fn url(mock: &TcpMock) -> String {
    format!("http://{}/x", mock.addr)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Nothing stays open but idle connections; with those closed, nothing at all.
struct Clean {
    fds: usize,
    timers: usize,
}

impl Clean {
    fn before(l: &Loop) -> Clean {
        Clean { fds: open_fds(), timers: l.reactor.timers() }
    }

    fn after(self, l: &mut Loop) {
        assert!(l.driver.is_empty() && l.done.is_empty());
        let (all, idle) = l.driver.http().connections();
        assert_eq!(all, idle, "connections in use");
        assert_eq!(open_fds(), self.fds + idle);
        assert_eq!(l.reactor.timers(), self.timers + idle);
    }
}
