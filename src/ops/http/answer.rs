//! Reading an answer (RFC 9112): bytes in, [`HttpResponse`] out. Knows no socket.

use super::chunked::{Chunked, Chunks};
use super::coding::{Coding, Decoder};
use crate::base::Str;
use crate::ops::HttpResponse;
use std::fmt;

/// Bytes of all heads (and trailers) of one answer, if nothing else is said.
pub const MAX_HEAD: usize = 64 * 1024;
/// Fields of one head.
const MAX_FIELDS: usize = 128;
/// Interim answers in front of the final one.
const MAX_INTERIM: u32 = 16;

/// Why an answer is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Not HTTP, or not this HTTP.
    Garbage(&'static str),
    /// Larger than a limit.
    TooLarge(&'static str),
    /// The connection ended before the answer did.
    Closed,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Garbage(what) | Broken::TooLarge(what) => f.write_str(what),
            Broken::Closed => f.write_str("the server closed the connection"),
        }
    }
}

/// How the body ends (RFC 9112 section 6.3).
#[derive(Debug)]
enum State {
    Head,
    Length(usize),
    Chunked(Chunked),
    UntilClose,
    Done,
}

/// What is known of an answer before it comes.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Whether it has no body, since it answers HEAD (or CONNECT).
    pub to_head: bool,
    /// Largest body, as it comes and decoded, in bytes.
    pub max_body: usize,
    /// Bytes of all heads and trailers.
    pub max_head: usize,
    /// Whether a content coding is undone (RFC 9110 section 8.4).
    pub decode: bool,
}

/// A body while it arrives.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    decoder: Option<Box<Decoder>>,
    received: usize,
    limit: usize,
}

impl Body {
    /// How many more bytes may come.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.received)
    }

    /// Takes what came.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.len() > self.room() {
            return Err(Broken::TooLarge("the body is larger than the limit"));
        }
        self.received += bytes.len();
        match &mut self.decoder {
            Some(decoder) => decoder.feed(bytes, self.limit, &mut self.bytes),
            None => {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn finish(&self) -> Result<(), Broken> {
        self.decoder.as_ref().map_or(Ok(()), |d| d.finish())
    }
}

/// One answer while it arrives.
#[derive(Debug)]
pub struct Answer {
    expected: Expected,
    state: State,
    /// The head, until it is complete.
    head: Vec<u8>,
    /// How much of `head` was searched for its end.
    searched: usize,
    head_bytes: usize,
    interim: u32,
    continued: bool,
    begun: bool,
    awaited: bool,
    keep_alive: bool,
    surplus: bool,
    body: Body,
    response: HttpResponse,
}

impl Answer {
    /// An answer of which nothing arrived yet.
    pub fn new(expected: Expected) -> Answer {
        Answer {
            expected,
            state: State::Head,
            head: Vec::new(),
            searched: 0,
            head_bytes: 0,
            interim: 0,
            continued: false,
            begun: false,
            awaited: true,
            keep_alive: false,
            surplus: false,
            body: Body { limit: expected.max_body, ..Body::default() },
            response: HttpResponse::default(),
        }
    }

    /// Whether a byte has arrived.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the server has asked for the request's body (100, RFC 9110 section 15.2.1).
    pub fn continued(&self) -> bool {
        self.continued
    }

    /// Whether nothing has come yet of the final answer.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Whether bytes have come behind the end of the answer.
    pub fn has_surplus(&self) -> bool {
        self.surplus
    }

    /// Whether the head of the final answer has come.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Whether a few bytes more may become many: the head may be the end of what is known of the body, or the
    /// body is coded.
    pub fn may_swell(&self) -> bool {
        self.expected.decode && (!self.is_final() || self.body.decoder.is_some())
    }

    /// Bytes of the body so far, decoded.
    pub fn body_len(&self) -> usize {
        self.body.bytes.len()
    }

    /// Whether the connection may carry another exchange. Meaningful once the answer is complete.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive && !self.surplus
    }

    /// The answer, as far as it has arrived.
    pub fn take(&mut self) -> HttpResponse {
        let body = std::mem::take(&mut self.body.bytes);
        HttpResponse { body, ..std::mem::take(&mut self.response) }
    }

    /// Takes what arrived. `true`: the answer is complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<bool, Broken> {
        self.begun |= !bytes.is_empty();
        loop {
            match &mut self.state {
                State::Head => {
                    if bytes.is_empty() {
                        return Ok(false);
                    }
                    match self.feed_head(bytes)? {
                        Some(rest) => bytes = rest,
                        None => return Ok(false),
                    }
                }
                State::Length(left) => {
                    let n = bytes.len().min(*left);
                    let (now, rest) = bytes.split_at(n);
                    self.body.take(now)?;
                    *left -= n;
                    bytes = rest;
                    if *left > 0 {
                        return Ok(false);
                    }
                    self.body.finish()?;
                    self.state = State::Done;
                }
                State::Chunked(chunks) => {
                    match chunks.feed(bytes, &mut self.body)? {
                        Chunks::More => return Ok(false),
                        Chunks::End(rest) => bytes = rest,
                    }
                    self.body.finish()?;
                    self.state = State::Done;
                }
                State::UntilClose => {
                    self.body.take(bytes)?;
                    return Ok(false);
                }
                State::Done => {
                    // Nobody asked for more: the next answer on this connection could not be trusted.
                    self.surplus |= !bytes.is_empty();
                    return Ok(true);
                }
            }
        }
    }

    /// The server has ended its side. `Ok`: the answer is complete.
    pub fn end(&mut self) -> Result<(), Broken> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                self.body.finish()
            }
            _ => Err(Broken::Closed),
        }
    }

    /// Takes bytes of the head; gives back what follows it once it is complete.
    fn feed_head<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, Broken> {
        const START: &[u8] = b"HTTP/1.";
        self.awaited = false;
        let had = self.head.len();
        let take = bytes.len().min(self.expected.max_head.saturating_sub(self.head_bytes));
        self.head.extend_from_slice(bytes.get(..take).unwrap_or_default());
        if !START.iter().zip(&self.head).all(|(a, b)| a == b) {
            return Err(Broken::Garbage("the answer is not HTTP/1"));
        }
        let Some(end) = end_of_head(&self.head, self.searched) else {
            self.searched = self.head.len();
            self.head_bytes += take;
            if take < bytes.len() {
                return Err(Broken::TooLarge("the head is larger than the limit"));
            }
            return Ok(None);
        };
        let used = end.saturating_sub(had);
        self.head_bytes += used;
        self.head.truncate(end);
        let head = std::mem::take(&mut self.head);
        self.searched = 0;
        self.state = self.parse_head(&head)?;
        Ok(bytes.get(used..))
    }

    fn parse_head(&mut self, head: &[u8]) -> Result<State, Broken> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let mut config = httparse::ParserConfig::default();
        // RFC 9112 section 5.2: a client takes folded lines for spaces.
        config.allow_obsolete_multiline_headers_in_responses(true).allow_spaces_after_header_name_in_responses(true);
        match config.parse_response(&mut parsed, head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Broken::Garbage("the head does not end where it should")),
            Err(httparse::Error::TooManyHeaders) => return Err(Broken::TooLarge("the head has more than 128 fields")),
            Err(httparse::Error::Status) => return Err(Broken::Garbage("bad status line")),
            Err(_) => return Err(Broken::Garbage("bad head")),
        }
        let status = parsed.code.unwrap_or(0);
        let version = parsed.version.unwrap_or(0);
        if !(100..=999).contains(&status) || status == 101 {
            // RFC 9110 section 15.2.2: 101 answers an Upgrade, which is never sent.
            return Err(Broken::Garbage("bad status"));
        }
        if status < 200 {
            // RFC 9110 section 15.2: any number of interim answers may come, and a client can ignore them.
            self.interim += 1;
            self.continued |= status == 100;
            self.awaited = true;
            return if self.interim > MAX_INTERIM {
                Err(Broken::TooLarge("too many interim answers"))
            } else {
                Ok(State::Head)
            };
        }
        let mut framing = Framing { keep_alive: version == 1, ..Framing::default() };
        // Several codings, or one that nobody here knows, are left as they are.
        let (mut coding, mut codings) = (None, 0);
        self.response.status = status;
        self.response.reason = Str::from(parsed.reason.unwrap_or_default().trim());
        for field in parsed.headers.iter() {
            let value = unfold(field.value);
            framing.field(field.name, &value)?;
            if field.name.eq_ignore_ascii_case("Content-Type") && self.response.content_type.is_none() {
                self.response.content_type = Some(Str::from(&*value));
            }
            if field.name.eq_ignore_ascii_case("Content-Encoding") && !value.eq_ignore_ascii_case(b"identity") {
                coding = Coding::named(&value);
                codings += 1;
            }
            self.response.headers.push((Str::from(field.name), Str::from(value)));
        }
        self.keep_alive = framing.keep_alive;
        // RFC 9112 section 6.3, rule 1.
        if self.expected.to_head || status == 204 || status == 304 {
            return Ok(State::Done);
        }
        if self.expected.decode && codings == 1 {
            self.body.decoder = coding.map(|c| Box::new(Decoder::new(c)));
        }
        if framing.chunked {
            // RFC 9112 section 6.1: with HTTP/1.0, or together with a length, the framing is not to be trusted further.
            self.keep_alive &= version == 1 && framing.length.is_none();
            return Ok(State::Chunked(Chunked::new(self.expected.max_head.saturating_sub(self.head_bytes))));
        }
        match framing.length {
            Some(n) => match usize::try_from(n) {
                Ok(n) if n <= self.expected.max_body => {
                    self.body.bytes.reserve(n.min(64 * 1024));
                    Ok(State::Length(n))
                }
                _ => Err(Broken::TooLarge("the body is larger than the limit")),
            },
            None => {
                self.keep_alive = false;
                Ok(State::UntilClose)
            }
        }
    }
}

/// What the fields say of the body's length and of the connection.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
}

impl Framing {
    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Broken> {
        let items = || value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|i| !i.is_empty());
        if name.eq_ignore_ascii_case("Content-Length") {
            let mut any = false;
            for item in items() {
                any = true;
                let n = std::str::from_utf8(item).ok().filter(|i| i.bytes().all(|b| b.is_ascii_digit()));
                let n: u64 = n.and_then(|n| n.parse().ok()).ok_or(Broken::Garbage("bad Content-Length"))?;
                // RFC 9112 section 6.3, rule 5: the same value again is harmless.
                if self.length.is_some_and(|before| before != n) {
                    return Err(Broken::Garbage("two different lengths"));
                }
                self.length = Some(n);
            }
            if !any {
                return Err(Broken::Garbage("bad Content-Length"));
            }
        } else if name.eq_ignore_ascii_case("Transfer-Encoding") {
            for item in items() {
                if item.eq_ignore_ascii_case(b"chunked") && !self.chunked {
                    self.chunked = true;
                } else if !item.eq_ignore_ascii_case(b"identity") {
                    return Err(Broken::Garbage("unknown transfer coding"));
                }
            }
        } else if name.eq_ignore_ascii_case("Connection") {
            // RFC 9112 section 9.3.
            if items().any(|i| i.eq_ignore_ascii_case(b"close")) {
                self.keep_alive = false;
            } else if items().any(|i| i.eq_ignore_ascii_case(b"keep-alive")) {
                self.keep_alive = true;
            }
        }
        Ok(())
    }
}

/// A field's value, trimmed, with folded lines joined by spaces.
fn unfold(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    value.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect()
}

/// Where the head ends: behind its first empty line. `searched` bytes were searched before.
fn end_of_head(head: &[u8], searched: usize) -> Option<usize> {
    let mut from = searched.saturating_sub(3);
    while let Some(at) = memchr::memchr(b'\n', head.get(from..)?) {
        let next = from + at + 1;
        match head.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

#[cfg(test)]
mod tests;
