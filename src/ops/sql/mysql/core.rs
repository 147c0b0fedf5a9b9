//! One MySQL connection without its socket: bytes in, events and bytes out.
//!
//! 1. [`Core::feed`] what was received and act on the [`Event`]s it appends.
//! 2. Write what [`Core::output`] holds, [`Core::wrote`] so many bytes.
//! 3. After [`Event::StartTls`] shake hands on the socket, then call [`Core::tls_established`].
//! 4. After [`Event::Ready`] one query may be sent ([`Core::query`]); its [`Event::Answer`] comes
//!    before the next `Ready`.
//! 5. After [`Event::Fatal`] the connection is good for nothing and is closed.
//!
//! The core knows no clock and trusts nothing: every length, count and sequence number is checked, every
//! answer is bounded by [`Limits`], and `LOAD DATA LOCAL INFILE` is refused.

use super::auth::{Auth, AuthError, NONCE, Secure};
use super::packet::{Frame, Framer, MAX_PAYLOAD, Reader, put_packet};
use super::rows::{Answer, RowError};
use super::session::{Leaves, Session, leaves};
use super::statement::{self, Statements};
use crate::base::Str;
use crate::ops::sql::limits::Limits;
use crate::ops::{Failure, Phase, SqlResult, SqlValue, Why};
use batch::Batch;
use mysql_common::constants::CapabilityFlags;

/// Largest packet of a login.
const MAX_LOGIN_PACKET: usize = 64 * 1024;
/// Largest query, in bytes: one packet with its command byte.
pub const MAX_QUERY: usize = MAX_PAYLOAD - 2;
/// Most result sets of one query.
const MAX_RESULT_SETS: usize = 1000;
/// utf8mb4_general_ci
const COLLATION: u8 = 45;
/// Status flag: a transaction is open.
const IN_TRANSACTION: u16 = 0x0001;
/// Status flag: another result set follows.
const MORE_RESULTS: u16 = 0x0008;
/// Asks, once per connection, who the server is and for the offset of the session's time zone.
const SETUP: &[u8] =
    b"SELECT CONNECTION_ID(),CONCAT(@@hostname,':',@@port,' ',@@server_id),TIMESTAMPDIFF(SECOND,UTC_TIMESTAMP(),NOW())";
/// Brings the character set back after a reset, which makes it the server's own.
const NAMES: &[u8] = b"SET NAMES utf8mb4";
/// Error of a server that does not know a prepared statement.
const UNKNOWN_STATEMENT: u16 = 1243;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_RESET_CONNECTION: u8 = 0x1f;

/// Who logs in, and how.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password; empty = none.
    pub password: Vec<u8>,
    /// Database to use.
    pub database: Option<String>,
    /// Whether TLS is used if the server offers it.
    pub tls: bool,
    /// Whether the login is given up if the server does not offer it.
    pub tls_required: bool,
    /// Whether the transport is a Unix socket.
    pub local: bool,
    /// Whether one query may hold several statements.
    pub multi_statements: bool,
}

/// What the core tells its transport.
#[derive(Debug)]
pub enum Event {
    /// Write what is to be written, then shake hands.
    StartTls,
    /// The answer to the query; the server's refusal has [`Why::Denied`].
    Answer(Result<SqlResult, Failure>),
    /// A query may be sent.
    Ready,
    /// The session cannot be made fit for somebody else's query: close the connection.
    Spent,
    /// Close the connection.
    Fatal(Failure),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Greeting,
    TlsWait,
    Auth,
    Idle,
    Header,
    Columns,
    ColumnsEnd,
    Rows,
    Prepare,
    PrepareSkip { definitions: u32, ends: u8 },
    Dead,
}

/// Whose query is running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Setup,
    Client,
    Rollback,
    Reset,
    Names,
}

/// The prepared statement in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Running {
    id: u32,
    /// It stays with the connection.
    kept: bool,
    /// It was prepared for this very query.
    fresh: bool,
}

/// The state machine of one connection.
pub struct Core {
    login: Login,
    limits: Limits,
    state: State,
    purpose: Purpose,
    framer: Framer,
    out: Vec<u8>,
    written: usize,
    sequence: u8,
    auth: Option<Auth>,
    nonce: Vec<u8>,
    greeting_plugin: Vec<u8>,
    capabilities: CapabilityFlags,
    thread: u32,
    session: Session,
    /// What the running query may leave in the session.
    leaves: Leaves,
    answer: Answer,
    kept: Option<SqlResult>,
    result_sets: usize,
    statements: Statements,
    statement: Option<Running>,
    /// Query text and values of a statement, until it has answered.
    text: Str,
    parameters: Vec<SqlValue>,
    mismatch: Option<Failure>,
    /// The transaction whose statements are carried out one after the other.
    batch: Option<Box<Batch>>,
}

impl Core {
    /// A connection that waits for the server's greeting.
    pub fn new(login: Login, limits: Limits) -> Core {
        Core {
            login,
            limits,
            state: State::Greeting,
            purpose: Purpose::Setup,
            framer: Framer::default(),
            out: Vec::new(),
            written: 0,
            sequence: 0,
            auth: None,
            nonce: Vec::new(),
            greeting_plugin: Vec::new(),
            capabilities: CapabilityFlags::empty(),
            thread: 0,
            session: Session::default(),
            leaves: Leaves::Nothing,
            answer: Answer::default(),
            kept: None,
            result_sets: 0,
            statements: Statements::default(),
            statement: None,
            text: Str::default(),
            parameters: Vec::new(),
            mismatch: None,
            batch: None,
        }
    }

    /// Takes received bytes and appends what follows from them.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.state == State::Dead {
            return;
        }
        let mut framer = std::mem::take(&mut self.framer);
        framer.push(bytes);
        if let Err(failure) = self.packets(&mut framer, events) {
            self.state = State::Dead;
            events.push(Event::Fatal(failure));
        } else if self.state == State::Idle {
            framer.shrink();
        }
        self.framer = framer;
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// So many bytes of [`Core::output`] were written.
    pub fn wrote(&mut self, n: usize) {
        self.written = self.written.saturating_add(n);
        if self.written >= self.out.len() {
            self.out.clear();
            self.out.shrink_to(16 * 1024);
            self.written = 0;
        }
    }

    /// The TLS handshake has succeeded: the login goes on under its protection.
    pub fn tls_established(&mut self, events: &mut Vec<Event>) {
        if self.state != State::TlsWait {
            return;
        }
        if let Err(failure) = self.respond(Secure::Tls) {
            self.state = State::Dead;
            events.push(Event::Fatal(failure));
        }
    }

    /// Sends a query. Only after [`Event::Ready`]; a query that cannot be sent changes nothing.
    pub fn query(&mut self, query: &[u8], parameters: &[SqlValue]) -> Result<(), Failure> {
        let bad = |text: &str| Failure::new(Why::BadRequest, Phase::Send, text);
        if self.state != State::Idle {
            return Err(bad("the connection is not ready"));
        }
        let size = statement::size(parameters).saturating_add(query.len());
        if size > MAX_QUERY {
            return Err(bad("the query is longer than 16 MB"));
        }
        self.purpose = Purpose::Client;
        self.leaves = leaves(query);
        self.send_statement(query, parameters)
    }

    /// Sends a statement of the client's.
    fn send_statement(&mut self, query: &[u8], parameters: &[SqlValue]) -> Result<(), Failure> {
        if !parameters.is_empty() {
            return self.query_with(query, parameters);
        }
        self.command(COM_QUERY, query);
        self.state = State::Header;
        Ok(())
    }

    /// Says good-bye; best effort before an idle connection is closed.
    pub fn quit(&mut self) {
        if self.state == State::Idle {
            self.command(COM_QUIT, b"");
        }
        self.state = State::Dead;
    }

    /// Where the connection stands.
    pub fn phase(&self) -> Phase {
        let receiving = !self.framer.is_empty();
        match self.state {
            State::TlsWait => Phase::Tls,
            State::Greeting | State::Auth => Phase::Login,
            _ if self.purpose == Purpose::Setup => Phase::Login,
            State::Header | State::Prepare | State::PrepareSkip { .. } if !self.output().is_empty() => Phase::Send,
            State::Header if receiving || self.result_sets > 0 => Phase::Receive,
            State::Columns | State::ColumnsEnd | State::Rows => Phase::Receive,
            _ => Phase::Wait,
        }
    }

    /// Whether a byte of the answer to the running query has been seen.
    pub fn answer_begun(&self) -> bool {
        !matches!(self.state, State::Header | State::Prepare) || self.result_sets > 0 || !self.framer.is_empty()
    }

    /// The server's number of this connection, for `KILL`.
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Who is at the other end.
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn command(&mut self, command: u8, body: &[u8]) {
        let mut payload = Vec::with_capacity(body.len() + 1);
        payload.push(command);
        payload.extend_from_slice(body);
        put_packet(&mut self.out, 0, &payload);
        self.sequence = 1;
    }

    /// Sends one packet of a running exchange.
    fn send(&mut self, payload: &[u8]) {
        put_packet(&mut self.out, self.sequence, payload);
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn packets(&mut self, framer: &mut Framer, events: &mut Vec<Event>) -> Result<(), Failure> {
        loop {
            if self.state == State::TlsWait {
                // What came before the handshake is under nobody's protection.
                return if framer.is_empty() { Ok(()) } else { Err(self.garbage("data ahead of the TLS handshake")) };
            }
            let login = matches!(self.state, State::Greeting | State::Auth) || self.purpose == Purpose::Setup;
            let limit = if login { MAX_LOGIN_PACKET } else { self.limits.max_bytes };
            let (sequence, payload) = match framer.next(limit) {
                Frame::Partial => return Ok(()),
                Frame::TooLarge(_) if login => return Err(self.garbage("oversized packet in the login")),
                Frame::TooLarge(n) => return Err(self.too_large(format!("a packet of {n} bytes"))),
                Frame::Packet(sequence, payload) => (sequence, payload),
            };
            if self.state != State::Greeting && self.state != State::Idle {
                if sequence != self.sequence {
                    return Err(self.garbage("packet out of order"));
                }
                self.sequence = sequence.wrapping_add(1);
            }
            self.packet(sequence, payload, events)?;
        }
    }

    fn packet(&mut self, sequence: u8, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        match self.state {
            State::Greeting => self.greeting(sequence, payload, events),
            State::Auth => self.auth(payload),
            State::Idle => Err(match payload.first() {
                Some(0xff) => Failure::new(Why::Closed, Phase::Queue, server_error(payload)),
                _ => self.garbage("data nobody asked for"),
            }),
            State::Header => self.header(payload, events),
            State::Columns => {
                let last = self.answer.column(payload, &self.limits).map_err(|e| self.row_error(e))?;
                if last {
                    self.state = State::ColumnsEnd;
                }
                Ok(())
            }
            State::ColumnsEnd => {
                end_of_data(payload).ok_or_else(|| self.garbage("no end of the column definitions"))?;
                self.state = State::Rows;
                Ok(())
            }
            State::Rows => self.row(payload, events),
            State::Prepare => self.prepared(payload, events),
            State::PrepareSkip { definitions, ends } => self.skip_definition(payload, definitions, ends, events),
            State::TlsWait | State::Dead => Ok(()),
        }
    }

    /// The first packet of an answer, or of one more result set.
    fn header(&mut self, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        self.result_sets += 1;
        if self.result_sets > MAX_RESULT_SETS {
            return Err(self.too_large(format!("more than {MAX_RESULT_SETS} result sets")));
        }
        match payload.first() {
            Some(0x00) => {
                let mut r = Reader(payload.get(1..).unwrap_or_default());
                let mut fields = || Some((r.lenenc()?, r.lenenc()?, r.u16()?));
                let (affected, last_insert_id, status) = fields().ok_or_else(|| self.garbage("OK packet"))?;
                let result = SqlResult { affected, last_insert_id, ..SqlResult::default() };
                self.end_of_set(result, status, events);
                Ok(())
            }
            Some(0xff) => {
                if self.prepare_again(payload) {
                    return Ok(());
                }
                let failure = Failure::new(Why::Denied, Phase::Wait, server_error(payload));
                self.end_of_answer(Err(failure), 0, events);
                Ok(())
            }
            Some(0xfb) => Err(self.garbage("the server asks for a local file: refused")),
            _ => {
                let mut r = Reader(payload);
                let columns = r.lenenc().filter(|_| r.is_empty()).ok_or_else(|| self.garbage("result header"))?;
                self.answer.begin(columns).map_err(|e| self.row_error(e))?;
                self.state = State::Columns;
                Ok(())
            }
        }
    }

    fn row(&mut self, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        if payload.first() == Some(&0xff) {
            let failure = Failure::new(Why::Denied, Phase::Receive, server_error(payload));
            self.end_of_answer(Err(failure), 0, events);
            return Ok(());
        }
        if let Some(status) = end_of_data(payload) {
            let result = std::mem::take(&mut self.answer.result);
            self.end_of_set(result, status, events);
            return Ok(());
        }
        let wanted = self.kept.as_ref().is_none_or(|k| k.columns.is_empty());
        let taken = if !wanted {
            self.answer.discard_row(payload, &self.limits)
        } else if self.statement.is_some() {
            self.answer.binary_row(payload, self.session.offset, &self.limits)
        } else {
            self.answer.text_row(payload, self.session.offset, &self.limits)
        };
        taken.map_err(|e| self.row_error(e))
    }

    /// One result set is complete. The first one with columns is kept, else the first one.
    fn end_of_set(&mut self, result: SqlResult, status: u16, events: &mut Vec<Event>) {
        match &self.kept {
            None => self.kept = Some(result),
            Some(k) if k.columns.is_empty() && !result.columns.is_empty() => self.kept = Some(result),
            Some(_) => {}
        }
        if status & MORE_RESULTS != 0 {
            self.state = State::Header;
            return;
        }
        let result = self.kept.take().unwrap_or_default();
        self.end_of_answer(Ok(result), status, events);
    }

    fn end_of_answer(&mut self, result: Result<SqlResult, Failure>, status: u16, events: &mut Vec<Event>) {
        self.answer = Answer::default();
        self.kept = None;
        self.result_sets = 0;
        self.state = State::Idle;
        self.release_statement();
        match self.purpose {
            Purpose::Setup => {
                // A server that cannot answer this is taken to live in UTC.
                if let Some(row) = result.ok().as_ref().and_then(|r| r.rows.first()) {
                    self.session.introduced(row);
                }
            }
            Purpose::Client => {
                let (result, status) = match self.batch.take() {
                    Some(batch) => match self.go_on_with(batch, result) {
                        Some(end) => end,
                        None => return,
                    },
                    None => (result, status),
                };
                events.push(Event::Answer(result));
                return self.tidy(status, events);
            }
            Purpose::Reset if result.is_ok() => {
                self.statements = Statements::default();
                return self.errand(Purpose::Names, COM_QUERY, NAMES);
            }
            Purpose::Reset | Purpose::Names if result.is_err() => return self.spent(events),
            Purpose::Rollback | Purpose::Reset | Purpose::Names => {}
        }
        self.purpose = Purpose::Client;
        events.push(Event::Ready);
    }

    /// Makes the session fit for the next query, which is somebody else's.
    fn tidy(&mut self, status: u16, events: &mut Vec<Event>) {
        match self.leaves {
            Leaves::Nothing => {}
            Leaves::State if self.session.resets => return self.errand(Purpose::Reset, COM_RESET_CONNECTION, b""),
            Leaves::State | Leaves::Database => return self.spent(events),
        }
        if status & IN_TRANSACTION != 0 {
            return self.errand(Purpose::Rollback, COM_QUERY, b"ROLLBACK");
        }
        events.push(Event::Ready);
    }

    /// Sends a command of our own.
    fn errand(&mut self, purpose: Purpose, command: u8, body: &[u8]) {
        self.purpose = purpose;
        self.command(command, body);
        self.state = State::Header;
    }

    fn spent(&mut self, events: &mut Vec<Event>) {
        events.push(Event::Spent);
        self.quit();
    }

    fn garbage(&self, what: &str) -> Failure {
        Failure::new(Why::Garbage, self.phase(), what)
    }

    fn too_large(&self, what: String) -> Failure {
        Failure::new(Why::TooLarge, Phase::Receive, what)
    }

    fn row_error(&self, error: RowError) -> Failure {
        match error {
            RowError::Malformed(what) => self.garbage(what),
            RowError::Rows => self.too_large(format!("more than {} rows", self.limits.max_rows)),
            RowError::Bytes => self.too_large(format!("more than {} bytes", self.limits.max_bytes)),
        }
    }

    fn auth_error(&self, error: &AuthError) -> Failure {
        let why = match error {
            AuthError::Challenge | AuthError::Key => Why::Garbage,
            AuthError::Plugin(_) | AuthError::ClearText | AuthError::PasswordTooLong => Why::Denied,
        };
        Failure::new(why, Phase::Login, error.to_string())
    }
}

/// The status of an EOF packet, if this is one.
fn end_of_data(payload: &[u8]) -> Option<u16> {
    match payload {
        [0xfe, rest @ ..] if rest.len() < 8 => {
            let mut r = Reader(rest);
            let _warnings = r.u16()?;
            r.u16()
        }
        _ => None,
    }
}

/// What an ERR packet says: `1064 (42000): You have an error ...`.
fn server_error(payload: &[u8]) -> String {
    let mut r = Reader(payload);
    let _header = r.u8();
    let code = r.u16().unwrap_or_default();
    let state = match r.0.first() {
        Some(b'#') => r.take(6).and_then(|s| s.get(1..)).unwrap_or_default(),
        _ => b"",
    };
    let text = r.0.get(..r.0.len().min(512)).unwrap_or_default();
    if state.is_empty() {
        format!("{code}: {}", String::from_utf8_lossy(text))
    } else {
        format!("{code} ({}): {}", String::from_utf8_lossy(state), String::from_utf8_lossy(text))
    }
}

mod batch;
mod login;
mod prepared;
#[cfg(test)]
mod tests;
