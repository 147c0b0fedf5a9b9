//! One pass over a message's bytes that finds its start line, headers and body (RFC 3261 §7).

use super::bytes::{is_lws, is_token, is_token_byte, parse_u32, trim_end, trim_start};
use super::cseq::CSeq;
use super::header::HeaderId;
use super::method::Method;
use super::range::Range;
use smallvec::SmallVec;

/// Longest message, so that positions fit into 32 bits with room to spare.
pub const MAX_MESSAGE: usize = 1 << 24;
/// Most header lines of a message; one with more is malformed.
pub const MAX_HEADERS: usize = 1000;
/// Longest header name.
const MAX_NAME: usize = 255;

/// No such header.
pub const NONE: u16 = u16::MAX;

/// The way from the start of a header line to its value is too long to be kept.
const FAR: u16 = u16::MAX;
/// The value is empty.
const EMPTY: u16 = u16::MAX - 1;

/// Where one header line lies. A message that waits keeps all of them: twelve bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub start: u32,
    value_end: u32,
    /// From the start to the value.
    lead: u16,
    pub id: HeaderId,
    name_len: u8,
}

impl Entry {
    /// The header's name.
    pub fn name(&self) -> Range {
        Range::new(self.start, self.start + u32::from(self.name_len))
    }

    /// The header's value in the message `b`, without white space around it.
    pub fn value(&self, b: &[u8]) -> Range {
        let start = match self.lead {
            FAR => {
                let rest = Range::new(self.name().end, self.value_end).of(b);
                let value = trim_start(trim_start(rest).get(1..).unwrap_or_default());
                self.value_end - value.len() as u32
            }
            EMPTY => self.value_end,
            lead => self.start + u32::from(lead),
        };
        Range::new(start, self.value_end)
    }
}

/// The start line (§7.1, §7.2).
#[derive(Clone, Copy, Debug)]
pub enum StartLine {
    Request { method: Method, name: Range, uri: Range },
    Reply { status: u16, code: Range, reason: Range },
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    Malformed(&'static str),
    Version,
}

/// The positions of everything in a message.
#[derive(Clone, Debug)]
pub struct Index {
    pub start_line: StartLine,
    pub headers: SmallVec<[Entry; 20]>,
    /// First byte behind the start line.
    pub headers_start: u32,
    /// First byte of the empty line.
    pub headers_end: u32,
    /// First byte of the body.
    pub body: u32,
    /// One past the last byte of the body.
    pub end: u32,
    pub via: u16,
    pub from: u16,
    pub to: u16,
    pub call_id: u16,
    pub cseq: u16,
    pub max_forwards: u16,
    pub content_length: u16,
    pub cseq_number: u32,
    pub cseq_method: Range,
    pub cseq_id: Method,
    /// A header that may stand only once stands more than once.
    pub repeats: bool,
}

/// Scans `b`. `None`: this is not SIP. Otherwise the index, and the first thing that is wrong.
pub fn scan(b: &[u8]) -> Option<(Index, Option<Problem>)> {
    if b.len() > MAX_MESSAGE {
        return None;
    }
    let mut newlines = memchr::memchr_iter(b'\n', b);
    let first = newlines.next()?;
    let (start_line, mut problem) = start_line(line_of(b, 0, first))?;
    let mut index = Index::new(start_line, first + 1, b.len());
    let mut at = first + 1;
    let mut skipping = true;
    loop {
        let Some(newline) = newlines.next() else {
            // The empty line never came.
            problem = problem.or(Some(Problem::Malformed("Incomplete Message")));
            if at < b.len() {
                index.add(b, at, b.len());
            }
            index.headers_end = b.len() as u32;
            index.body = b.len() as u32;
            break;
        };
        let next = newline + 1;
        let text_end = at + line_of(b, at, newline).len();
        if text_end == at {
            index.headers_end = at as u32;
            index.body = next as u32;
            break;
        }
        let wrong = if matches!(b.get(at), Some(b' ' | b'\t')) {
            if skipping { Some("Bad Header") } else { index.fold(b, at, text_end) }
        } else {
            let wrong = index.add(b, at, text_end);
            skipping = wrong.is_some();
            wrong
        };
        problem = problem.or(wrong.map(Problem::Malformed));
        at = next;
    }
    problem = problem.or_else(|| index.finish(b).map(Problem::Malformed));
    Some((index, problem))
}

fn lead(start: usize, value_start: usize) -> u16 {
    u16::try_from(value_start.saturating_sub(start)).ok().filter(|lead| *lead < EMPTY).unwrap_or(FAR)
}

/// The line `start..newline` without a CR at its end.
fn line_of(b: &[u8], start: usize, newline: usize) -> &[u8] {
    let line = b.get(start..newline).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `None`: no SIP start line at all.
fn start_line(line: &[u8]) -> Option<(StartLine, Option<Problem>)> {
    if line.get(..4)?.eq_ignore_ascii_case(b"SIP/") {
        return Some(status_line(line));
    }
    // §7.1: exactly one space between the three elements and none behind the last.
    let version_at = find_version(line)?;
    let version = trim_end(line.get(version_at..)?);
    let exact = version_at + version.len() == line.len();
    let gap = memchr::memchr2(b' ', b'\t', line)?;
    let name = line.get(..gap)?;
    let uri = Range::at(gap + 1, version_at.saturating_sub(1).max(gap + 1));
    let text = uri.of(line);
    let problem = if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        Some(Problem::Version)
    } else if !is_token(name) {
        Some(Problem::Malformed("Bad Method"))
    } else if !exact || text.is_empty() || text.iter().any(|&b| is_lws(b)) {
        Some(Problem::Malformed("Bad Request-Line"))
    } else {
        None
    };
    let method = Method::from_bytes(name);
    Some((StartLine::Request { method, name: Range::at(0, gap), uri }, problem))
}

/// Where the version starts: the last word, which must begin with `SIP/`.
fn find_version(line: &[u8]) -> Option<usize> {
    let line = trim_end(line);
    let at = memchr::memrchr2(b' ', b'\t', line)? + 1;
    line.get(at..at + 4)?.eq_ignore_ascii_case(b"SIP/").then_some(at)
}

fn status_line(line: &[u8]) -> (StartLine, Option<Problem>) {
    let version = memchr::memchr(b' ', line).unwrap_or(line.len());
    let code_at = (version + 1).min(line.len());
    let rest = line.get(code_at..).unwrap_or_default();
    let code_len = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let code = Range::at(code_at, code_at + code_len);
    let status = if code_len == 3 { parse_u32(code.of(line)).unwrap_or(0) as u16 } else { 0 };
    let reason = Range::at((code_at + code_len + 1).min(line.len()), line.len());
    let problem = if !line.get(..version).unwrap_or_default().eq_ignore_ascii_case(b"SIP/2.0") {
        Some(Problem::Version)
    } else if !(100..700).contains(&status) {
        Some(Problem::Malformed("Bad Status-Line"))
    } else {
        None
    };
    (StartLine::Reply { status, code, reason }, problem)
}

impl Index {
    fn new(start_line: StartLine, headers_start: usize, end: usize) -> Index {
        Index {
            start_line,
            headers: SmallVec::new(),
            headers_start: headers_start as u32,
            headers_end: headers_start as u32,
            body: end as u32,
            end: end as u32,
            via: NONE,
            from: NONE,
            to: NONE,
            call_id: NONE,
            cseq: NONE,
            max_forwards: NONE,
            content_length: NONE,
            cseq_number: 0,
            cseq_method: Range::default(),
            cseq_id: Method::Other,
            repeats: false,
        }
    }

    /// Adds the header line that begins at `start` and whose text ends at `text_end`.
    fn add(&mut self, b: &[u8], start: usize, text_end: usize) -> Option<&'static str> {
        if self.headers.len() >= MAX_HEADERS {
            return Some("Too Many Headers");
        }
        let line = b.get(start..text_end)?;
        let name_len = line.iter().position(|&c| !is_token_byte(c)).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_len);
        let after = trim_start(rest);
        if name.is_empty() || name_len > MAX_NAME || after.first() != Some(&b':') {
            return Some("Bad Header");
        }
        let value = trim_start(after.get(1..)?);
        let value_start = text_end - value.len();
        let value_end = value_start + trim_end(value).len();
        let id = HeaderId::from_name(name);
        let at = self.headers.len() as u16;
        let slot = match id {
            HeaderId::Via => Some(&mut self.via),
            HeaderId::From => Some(&mut self.from),
            HeaderId::To => Some(&mut self.to),
            HeaderId::CallId => Some(&mut self.call_id),
            HeaderId::CSeq => Some(&mut self.cseq),
            HeaderId::MaxForwards => Some(&mut self.max_forwards),
            HeaderId::ContentLength => Some(&mut self.content_length),
            _ => None,
        };
        if let Some(slot) = slot {
            if *slot == NONE {
                *slot = at;
            } else if id != HeaderId::Via {
                self.repeats = true;
            }
        }
        self.headers.push(Entry {
            start: start as u32,
            value_end: value_end as u32,
            lead: if value.is_empty() { EMPTY } else { lead(start, value_start) },
            id,
            name_len: name_len as u8,
        });
        None
    }

    /// Adds the continuation line `start..text_end` to the last header (§7.3.1). Only the line itself is
    /// looked at: a header may have thousands.
    fn fold(&mut self, b: &[u8], start: usize, text_end: usize) -> Option<&'static str> {
        let last = self.headers.last_mut()?;
        let rest = trim_start(b.get(start..text_end)?);
        let text = trim_end(rest);
        if !text.is_empty() {
            let text_start = text_end - rest.len();
            if last.lead == EMPTY {
                last.lead = lead(last.start as usize, text_start);
            }
            last.value_end = (text_start + text.len()) as u32;
        }
        None
    }

    /// The value of header number `at`.
    pub fn value<'a>(&self, b: &'a [u8], at: u16) -> &'a [u8] {
        self.headers.get(at as usize).map_or(b"", |e| e.value(b).of(b))
    }

    /// Checks what every message must have (§8.1.1) and finds the end of the body (§18.3).
    fn finish(&mut self, b: &[u8]) -> Option<&'static str> {
        let mut wrong = None;
        for (at, reason) in [
            (self.via, "Missing Via"),
            (self.from, "Missing From"),
            (self.to, "Missing To"),
            (self.call_id, "Missing Call-ID"),
            (self.cseq, "Missing CSeq"),
        ] {
            if at == NONE {
                wrong = wrong.or(Some(reason));
            }
        }
        if self.cseq != NONE {
            match CSeq::parse(self.value(b, self.cseq)) {
                Ok(c) => {
                    self.cseq_number = c.number;
                    self.cseq_id = c.method;
                    self.cseq_method = Range::locate(b, c.method_bytes).unwrap_or_default();
                }
                Err(e) => wrong = wrong.or(Some(e.reason())),
            }
        }
        if self.call_id != NONE && self.value(b, self.call_id).is_empty() {
            wrong = wrong.or(Some("Empty Call-ID"));
        }
        if self.content_length != NONE {
            let have = self.end.saturating_sub(self.body);
            match parse_u32(self.value(b, self.content_length)) {
                None => wrong = wrong.or(Some("Bad Content-Length")),
                // §18.3: a datagram that ends before its body does is an error.
                Some(n) if n > have => wrong = wrong.or(Some("Body Shorter Than Content-Length")),
                Some(n) => self.end = self.body + n,
            }
        }
        wrong
    }
}
