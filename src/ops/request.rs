//! Requests and outcomes of operations: plain data.

use super::http::options::HttpOptions;
use super::radius::{self, RadiusRequest};
use crate::base::Str;
use crate::net::resolver::{Found, Want};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// What a script may wait for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Wait this long.
    Sleep(Duration),
    /// Run a command.
    Exec(ExecRequest),
    /// An HTTP exchange.
    Http(HttpRequest),
    /// A query.
    Sql(SqlRequest),
    /// A question to a RADIUS server.
    Radius(RadiusRequest),
    /// A question to the name servers.
    Dns(DnsRequest),
}

impl Request {
    /// Whether it changes nothing anywhere, so that it can be given up without loss.
    pub fn only_reads(&self) -> bool {
        match self {
            Request::Sleep(_) | Request::Dns(_) => true,
            Request::Exec(_) => false,
            Request::Radius(r) => r.kind == radius::Kind::Auth,
            Request::Http(r) => matches!(r.method, HttpMethod::Get | HttpMethod::Head | HttpMethod::Options),
            Request::Sql(q) if !q.then.is_empty() => false,
            Request::Sql(q) => {
                let word = q.query.trim_ascii_start().split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
                word.eq_ignore_ascii_case(b"SELECT") || word.eq_ignore_ascii_case(b"SHOW")
            }
        }
    }
}

/// `/bin/sh -c COMMAND`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The command line.
    pub command: Str,
    /// Written to its standard input, which is then closed.
    pub stdin: Option<Str>,
    /// Added to the environment.
    pub env: Vec<(Str, Str)>,
    /// Whether its standard output is wanted (else it is `/dev/null`).
    pub stdout: bool,
    /// Whether its standard error is wanted (else it is `/dev/null`).
    pub stderr: bool,
    /// Bytes kept of each output; 0: as many as are kept of any command's.
    pub most: usize,
}

/// How a child ended and what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutcome {
    /// Exit status; 128 + N if signal N ended it.
    pub status: i32,
    /// Standard output, at most the engine's limit.
    pub stdout: Vec<u8>,
    /// Standard error, at most the engine's limit.
    pub stderr: Vec<u8>,
    /// Whether either was cut at the limit.
    pub truncated: bool,
}

/// HTTP methods of the rest_client functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HttpMethod {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// HEAD
    Head,
    /// PATCH
    Patch,
    /// OPTIONS
    Options,
}

/// One HTTP exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Method.
    pub method: HttpMethod,
    /// Absolute URL, `http` or `https`.
    pub url: Str,
    /// Further header lines, `Name: value` without line end.
    pub headers: Vec<Str>,
    /// Body and its type (no `Content-Type` line if `None`).
    pub body: Option<(Str, Option<Str>)>,
    /// How it is carried out.
    pub options: Rc<HttpOptions>,
}

/// A question to the name servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRequest {
    /// The name.
    pub name: Str,
    /// What is wanted of it.
    pub want: Want,
}

/// An HTTP answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Value of `Content-Type`, trimmed.
    pub content_type: Option<Str>,
    /// Body, without chunks, and decoded as [`super::http::answer::Expected::decode`] says.
    pub body: Vec<u8>,
    /// All header fields in order.
    pub headers: Vec<(Str, Str)>,
    /// Reason phrase.
    pub reason: Str,
    /// When it got how far, and where to.
    pub course: Box<HttpCourse>,
}

/// How long an exchange took to get where, in microseconds from its start; zero: it never was there (a connection that
/// was open has no name to look up).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCourse {
    /// Where a redirection that was followed has led; `None` if none was.
    pub url: Option<Str>,
    /// The name was known.
    pub resolved: u64,
    /// The connection was there.
    pub connected: u64,
    /// TLS was there.
    pub secured: u64,
    /// The request could be sent.
    pub ready: u64,
    /// The answer began.
    pub begun: u64,
    /// The last redirection was followed.
    pub redirected: u64,
    /// The end.
    pub total: u64,
}

/// One query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SqlRequest {
    /// Database URL: `mysql://user:password@host:port/db`, `sqlite:///path`, `unix:` forms of both dialects.
    pub url: Str,
    /// The query text.
    pub query: Str,
    /// Values for `?` placeholders; empty = text protocol.
    pub params: Vec<SqlValue>,
    /// Further statements with their values: they and the first are one transaction, carried out as a whole or not at
    /// all. The answer is the last one's, with the rows that all of them have changed.
    pub then: Vec<(Str, Vec<SqlValue>)>,
}

/// Rows of an answer; a statement without rows has no columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlResult {
    /// Column names.
    pub columns: Vec<Str>,
    /// Rows in order.
    pub rows: Vec<Vec<SqlValue>>,
    /// Rows changed.
    pub affected: u64,
    /// Key of the last row inserted.
    pub last_insert_id: u64,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SqlValue {
    /// SQL NULL.
    Null,
    /// INT, BIGINT, BIT.
    Int(i64),
    /// DATE, DATETIME, TIMESTAMP: seconds since 1970.
    Time(i64),
    /// Everything else, as text.
    Text(Str),
}

/// What came of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The sleep is over.
    Slept,
    /// The child ended.
    Exec(ExecOutcome),
    /// The server answered.
    Http(HttpResponse),
    /// The database answered.
    Sql(SqlResult),
    /// The RADIUS server answered.
    Radius(radius::Answer),
    /// What the name servers know; `None`: they know that there is nothing.
    Dns(Option<Found>),
    /// It did not work.
    Failed(Failure),
}

/// Why an operation failed, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened.
    pub why: Why,
    /// In which phase.
    pub phase: Phase,
    /// What the backend or the system said.
    pub detail: String,
}

impl Failure {
    /// A failure in a phase, with what was said about it.
    pub fn new(why: Why, phase: Phase, detail: impl Into<String>) -> Failure {
        Failure { why, phase, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in phase {}", self.why, self.phase)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Why {
    /// The deadline passed.
    Timeout,
    /// Cancelled from outside.
    Cancelled,
    /// The backend refused, or could not be reached.
    Refused,
    /// The connection ended in the middle.
    Closed,
    /// The backend sent what its protocol does not allow.
    Garbage,
    /// The answer is larger than the limit.
    TooLarge,
    /// Too many are in flight and in the queue.
    Overload,
    /// The request makes no sense (bad URL, unknown scheme).
    BadRequest,
    /// The backend understood and said no (SQL error, login refused).
    Denied,
    /// The system said no (no fd, no process).
    System,
    /// The backend has failed too often in a row and is not asked for a while.
    Open,
}

impl Why {
    /// Return code of the functions whose operation was not even tried, since the circuit is open.
    pub const OPEN_CODE: i32 = -11;
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Timeout => "timeout",
            Why::Cancelled => "cancelled",
            Why::Refused => "refused",
            Why::Closed => "connection closed",
            Why::Garbage => "protocol error",
            Why::TooLarge => "answer too large",
            Why::Overload => "overload",
            Why::BadRequest => "bad request",
            Why::Denied => "denied",
            Why::System => "system error",
            Why::Open => "circuit open",
        })
    }
}

/// Phases of an operation (`$async_phase`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for a connection of the pool.
    Queue,
    /// Resolving the backend's name.
    Resolve,
    /// TCP connect.
    Connect,
    /// TLS handshake.
    Tls,
    /// Login.
    Login,
    /// Writing the request.
    Send,
    /// Waiting for the first byte of the answer (or for the child, or for time to pass).
    Wait,
    /// Reading the answer.
    Receive,
}

impl Phase {
    /// The word shown to scripts and operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Queue => "queue",
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Login => "login",
            Phase::Send => "send",
            Phase::Wait => "wait",
            Phase::Receive => "receive",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
