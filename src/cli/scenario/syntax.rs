//! What a scenario consists of.

use super::text::Mistake;
use crate::net::pipe::simulated::Door;
use crate::net::resolver::Record;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A scenario file as it was understood.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// The configuration.
    pub config: Option<Config>,
    /// Sockets instead of the configuration's.
    pub listen: Vec<String>,
    /// Who takes part.
    pub peers: Vec<Peer>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Where the configuration is.
#[derive(Clone, Debug)]
pub enum Config {
    /// In a file.
    File(PathBuf),
    /// Here; empty lines stand before it so that line numbers are the scenario's.
    Text(String),
}

/// Somebody who speaks SIP with the server.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Name.
    pub name: String,
    /// Address.
    pub addr: SocketAddr,
    /// Address of record.
    pub uri: String,
    /// It speaks TCP if nothing else is said.
    pub tcp: bool,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// What it says.
    pub action: Action,
}

/// Statements.
#[derive(Clone, Debug)]
pub enum Action {
    /// `let NAME = TEXT`
    Let(String, String),
    /// `call NAME`
    Call(String),
    /// `dns ...`
    Dns(String, Dns),
    /// `wait TIME`
    Wait(Duration),
    /// `clock DATE TIME`: microseconds since 1970
    Clock(i64),
    /// `NAME sends METHOD ...`
    Send { peer: usize, method: String, uri: Option<String>, over: Over, block: Block },
    /// `NAME sends raw`
    SendRaw { peer: usize, over: Over, text: Vec<(usize, String)> },
    /// `NAME repeats ...`
    Repeat { peer: usize, what: Option<String> },
    /// `NAME replies CODE ...`
    Reply { peer: usize, code: u16, reason: Option<String>, to: Option<String>, block: Block },
    /// `NAME expects ...`
    Expect { peer: usize, then: bool, what: Start, tcp: Option<bool>, block: Block },
    /// `NAME accepts tcp`, `NAME refuses tcp`, `NAME ignores tcp`
    Door(usize, Door),
    /// `NAME hangs up`
    HangUp(usize),
    /// `NAME expects closed`
    Closed(usize),
    /// `NAME expects METHOD again [N times]`
    Again { peer: usize, what: String, times: Option<usize> },
    /// `NAME expects nothing`, `... silence`; `None` = nobody.
    Nothing { peer: Option<usize>, silence: bool },
    /// `operation KIND PATTERN ...`
    Operation { kind: String, pattern: String, what: Fate },
    /// `no operation`
    NoOperation,
    /// `log contains TEXT`, `log does not contain TEXT`
    Log { contains: bool, pattern: String },
    /// `statistic NAME is N`
    Statistic(String, u64),
    /// `worker holds ...`
    Holds(Vec<(usize, String)>),
    /// `drain TIME`
    Drain(Duration),
    /// `worker is drained`, `worker is not drained`
    Drained(bool),
    /// `ignore the rest`
    IgnoreRest,
}

/// Over what a peer sends, as far as it is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Over {
    /// Socket of the server.
    pub at: Option<SocketAddr>,
    /// TCP rather than UDP.
    pub tcp: Option<bool>,
}

/// The first line of an expected message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// A request.
    Request {
        /// Method.
        method: String,
        /// Pattern of the Request-URI.
        uri: Option<String>,
    },
    /// A reply.
    Reply {
        /// Status.
        code: u16,
        /// Pattern of the reason phrase.
        reason: Option<String>,
    },
}

/// The lines below `sends`, `replies` or `expects`.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// What it says of headers, with the lines' numbers.
    pub headers: Vec<(usize, HeaderLine)>,
    /// The body; each line with its number.
    pub body: Option<Vec<(usize, String)>>,
}

/// One line about headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderLine {
    /// `Name: value`
    Is(String, String),
    /// `no NAME`
    None(String),
    /// `no more NAME`
    NoMore(String),
    /// `no body`
    NoBody,
    /// `body contains PATTERN`
    BodyContains(String),
}

/// What the name servers know of a name.
#[derive(Clone, Debug)]
pub enum Dns {
    /// Addresses, instead of what they knew.
    Addresses(Vec<IpAddr>),
    /// One more record.
    Record(Record),
    /// There is no such name.
    None,
    /// The servers fail.
    Fails,
    /// The servers do not answer.
    Silent,
}

/// What becomes of an operation.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It ends so now.
    Now(Answer),
    /// Each such operation ends so, that much later.
    Always(Answer, Duration),
    /// It gets no further than this phase.
    Hangs(crate::ops::Phase),
    /// It is in flight.
    Waiting,
    /// It was ended by a CANCEL, a drain or an operator.
    Cancelled,
    /// It was ended by its deadline.
    TimedOut,
}

/// How an operation ends.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A database's rows.
    Rows {
        /// Names of the columns; `c1`, `c2` ... if there are none.
        columns: Vec<String>,
        /// The rows.
        rows: Vec<Vec<Value>>,
    },
    /// A statement that changed so many rows.
    Changed(u64),
    /// A web server's answer.
    Http {
        /// Status.
        status: u16,
        /// Body.
        body: String,
        /// Content-Type.
        kind: Option<String>,
    },
    /// A command's end.
    Exit {
        /// Exit status.
        status: i32,
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// It fails.
    Fails {
        /// How.
        why: crate::ops::Why,
        /// Where.
        phase: crate::ops::Phase,
        /// What was said.
        detail: String,
    },
}

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `NULL`
    Null,
    /// A number.
    Int(i64),
    /// A text in quotes.
    Text(String),
}

/// A result, or where the text is wrong.
pub type Parsed<T> = Result<T, Mistake>;
