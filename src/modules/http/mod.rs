//! HTTP as Kamailio's scripts know it: `http_client` (a call waits for its answer) and `http_async_client` (a route
//! goes on with it), both on the same engine as `rest_client` (kamailio.md sections 4.1 and 4.2).

pub mod async_client;
pub mod client;
pub mod curl;
pub mod login;
pub mod settings;
pub mod vars;

use crate::base::Str;
use crate::ops::{HttpMethod, HttpResponse};
use crate::script::registry::{ModParamKind, ModParamSpec};
use serde::{Deserialize, Serialize};

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn unused(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

/// What a run keeps of its HTTP exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    /// What `$http_req(...)` was set to, for the next `http_async_query`.
    pub wanted: async_client::Wanted,
    /// `$http_req_id`
    pub id: Str,
    /// What came of the query whose route this is.
    pub answer: Option<Answered>,
    /// `http_client_response_headers_set(1)`
    pub keep_headers: bool,
    /// Headers of the last answer to http_client, if they are kept.
    pub headers: Vec<(Str, Str)>,
    /// The URLs that have answered for named connections, by name.
    pub redirects: Vec<(Str, Str)>,
}

/// What came of an asynchronous query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Why there is no answer.
    pub error: Option<Str>,
    /// The answer; empty if there is none.
    pub response: HttpResponse,
}

/// A method by its name.
pub(super) fn method_of(name: &[u8]) -> Option<HttpMethod> {
    const ALL: [(&[u8], HttpMethod); 7] = [
        (b"GET", HttpMethod::Get),
        (b"POST", HttpMethod::Post),
        (b"PUT", HttpMethod::Put),
        (b"DELETE", HttpMethod::Delete),
        (b"HEAD", HttpMethod::Head),
        (b"PATCH", HttpMethod::Patch),
        (b"OPTIONS", HttpMethod::Options),
    ];
    ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, m)| *m)
}

/// Header lines of a text; empty ones do not count.
fn header_lines(text: &[u8]) -> impl Iterator<Item = Str> {
    text.split(|b| matches!(b, b'\r' | b'\n')).map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).map(Str::from)
}
