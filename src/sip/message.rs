//! [`Message`]: a SIP message as its original bytes and an index of positions (RFC 3261 §7).

use super::bytes::{is_lws, parse_u64, trim};
use super::cseq::CSeq;
use super::error::ParseError;
use super::header::{Header, HeaderId, same_name};
use super::list::{List, split_list};
use super::memo::{AddressAt, Memo, Seen, ViaAt};
use super::method::Method;
use super::nameaddr::NameAddr;
use super::range::Range;
use super::scan::{Entry, Index, NONE, Problem, StartLine, scan};
use super::uri::Uri;
use super::via::Via;
use crate::base::Str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::rc::Rc;

pub use super::scan::{MAX_HEADERS, MAX_MESSAGE};

/// A parsed message. Cloning shares it. What [`Message::parse`] returns has a readable start
/// line, Via, From, To, Call-ID and CSeq header lines, a readable CSeq and Content-Length; a
/// partial one from [`ParseError::partial`] may lack any of them, and then the getters return
/// empty values.
#[derive(Clone)]
pub struct Message(Rc<Inner>);

struct Inner {
    bytes: Str,
    index: Index,
    memo: Memo,
}

/// Reads as much as possible of a broken message, for the answer to it.
pub fn salvage(bytes: &[u8]) -> Option<Message> {
    match Message::parse_slice(bytes) {
        Ok(message) => Some(message),
        Err(e) => e.partial().cloned(),
    }
}

impl Message {
    /// Parses a whole datagram (or one message cut out of a stream). CRLFs in front are skipped
    /// (§7.5); bytes behind the body that Content-Length announces are cut off (§18.3).
    pub fn parse(bytes: Str) -> Result<Message, ParseError> {
        let skip = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let text = bytes.get(skip..).unwrap_or_default();
        let (index, problem) = scan(text).ok_or(ParseError::NotSip)?;
        let bytes = match text.get(..index.end as usize) {
            Some(exact) if exact.len() < bytes.len() => Str::from(exact),
            _ => bytes,
        };
        let message = Message(Rc::new(Inner { bytes, index, memo: Memo::default() }));
        let partial = |m: Message| m.is_request().then_some(m);
        match problem {
            None => Ok(message),
            Some(Problem::Malformed(reason)) => Err(ParseError::Malformed { reason, partial: partial(message) }),
            Some(Problem::Version) => Err(ParseError::Version { partial: partial(message) }),
        }
    }

    /// As [`Message::parse`], for bytes that somebody else owns: copies them once.
    pub fn parse_slice(bytes: &[u8]) -> Result<Message, ParseError> {
        Message::parse(Str::from(bytes))
    }

    /// The message as it was received.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The message as it was received, shared.
    pub fn bytes_str(&self) -> &Str {
        &self.0.bytes
    }

    /// The bytes that a range names.
    pub fn slice(&self, range: Range) -> &[u8] {
        range.of(self.bytes())
    }

    /// Whether a header that may stand once only stands more than once (From, To, Call-ID, CSeq,
    /// Max-Forwards, Content-Length).
    pub fn repeats_single(&self) -> bool {
        self.index().repeats
    }

    /// Where a slice that a getter returned lies in the message.
    pub fn range_of(&self, part: &[u8]) -> Option<Range> {
        Range::locate(self.bytes(), part)
    }

    fn index(&self) -> &Index {
        &self.0.index
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index().start_line, StartLine::Request { .. })
    }

    /// Whether it is a reply.
    pub fn is_reply(&self) -> bool {
        !self.is_request()
    }

    /// The method; for a reply that of its CSeq.
    pub fn method(&self) -> Method {
        match self.index().start_line {
            StartLine::Request { method, .. } => method,
            StartLine::Reply { .. } => self.index().cseq_id,
        }
    }

    /// The method as written; for a reply that of its CSeq.
    pub fn method_bytes(&self) -> &[u8] {
        match self.index().start_line {
            StartLine::Request { name, .. } => self.slice(name),
            StartLine::Reply { .. } => self.slice(self.index().cseq_method),
        }
    }

    /// The Request-URI; empty for a reply.
    pub fn request_uri(&self) -> &[u8] {
        self.slice(self.request_uri_range())
    }

    /// Where the Request-URI lies; empty for a reply.
    pub fn request_uri_range(&self) -> Range {
        match self.index().start_line {
            StartLine::Request { uri, .. } => uri,
            StartLine::Reply { .. } => Range::default(),
        }
    }

    /// The Request-URI, parsed.
    pub fn parse_request_uri(&self) -> Result<Uri<'_>, ParseError> {
        Uri::parse(self.request_uri())
    }

    /// The status code; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.index().start_line {
            StartLine::Request { .. } => 0,
            StartLine::Reply { status, .. } => status,
        }
    }

    /// The reason phrase; empty for a request.
    pub fn reason(&self) -> &[u8] {
        match self.index().start_line {
            StartLine::Request { .. } => b"",
            StartLine::Reply { reason, .. } => self.slice(reason),
        }
    }

    /// From the first digit of the status code to the end of the reason phrase; empty for a
    /// request.
    pub fn status_range(&self) -> Range {
        match self.index().start_line {
            StartLine::Request { .. } => Range::default(),
            StartLine::Reply { code, reason, .. } => Range::new(code.start, reason.end),
        }
    }

    fn make<'a>(&'a self, e: &Entry) -> Header<'a> {
        let value_range = e.value(self.bytes());
        Header {
            id: e.id,
            name: self.slice(e.name()),
            value: self.slice(value_range),
            start: e.start,
            value_range,
            message: self.bytes(),
        }
    }

    /// Every header line in order.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = Header<'_>> + Clone {
        self.index().headers.iter().map(|e| self.make(e))
    }

    /// Where the header of this kind that was seen first stands in the index.
    fn first(&self, id: HeaderId) -> Option<&Entry> {
        let index = self.index();
        let at = match id {
            HeaderId::Via => index.via,
            HeaderId::From => index.from,
            HeaderId::To => index.to,
            HeaderId::CallId => index.call_id,
            HeaderId::CSeq => index.cseq,
            HeaderId::MaxForwards => index.max_forwards,
            HeaderId::ContentLength => index.content_length,
            _ => return index.headers.iter().find(|e| e.id == id),
        };
        if at == NONE { None } else { index.headers.get(at as usize) }
    }

    /// The first header of this kind.
    pub fn header(&self, id: HeaderId) -> Option<Header<'_>> {
        self.first(id).map(|e| self.make(e))
    }

    /// The value of the first header of this kind; empty if there is none.
    pub fn value(&self, id: HeaderId) -> &[u8] {
        self.first(id).map_or(b"", |e| self.slice(e.value(self.bytes())))
    }

    /// Every header of this kind, in order.
    pub fn headers_of(&self, id: HeaderId) -> impl DoubleEndedIterator<Item = Header<'_>> + Clone {
        self.index().headers.iter().filter(move |e| e.id == id).map(|e| self.make(e))
    }

    /// Every header with this name, in order; letter case does not matter, compact forms are
    /// understood both ways.
    pub fn headers_named<'a>(&'a self, name: &[u8]) -> impl DoubleEndedIterator<Item = Header<'a>> + Clone {
        let id = HeaderId::from_name(name);
        self.headers().filter(move |h| h.id == id && (id != HeaderId::Other || same_name(h.name, name)))
    }

    /// First byte behind the start line.
    pub fn headers_start(&self) -> u32 {
        self.index().headers_start
    }

    /// First byte behind the last header line: that of the empty line.
    pub fn headers_end(&self) -> u32 {
        self.index().headers_end
    }

    /// The comma separated parts of every header of this kind, in order.
    pub fn values_of(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.headers_of(id).flat_map(|h| -> List<'_> { split_list(h.value) })
    }

    /// Every Via value from the top; comma separated ones are split.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, ParseError>> {
        self.values_of(HeaderId::Via).map(Via::parse)
    }

    /// The topmost Via value; `None` if it is missing or malformed.
    pub fn top_via(&self) -> Option<Via<'_>> {
        let parse = || Via::parse(split_list(self.value(HeaderId::Via)).next()?).ok();
        let seen = self.0.memo.via.get_or_init(|| Seen::of(parse().map(|via| ViaAt::of(self.bytes(), &via))));
        seen.read(|at| at.read(self.bytes()), parse)
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &[u8] {
        self.value(HeaderId::CallId)
    }

    /// The CSeq.
    pub fn cseq(&self) -> CSeq<'_> {
        let index = self.index();
        CSeq { number: index.cseq_number, method: index.cseq_id, method_bytes: self.slice(index.cseq_method) }
    }

    fn parse_address(&self, id: HeaderId) -> Option<NameAddr<'_>> {
        NameAddr::parse(self.value(id)).ok()
    }

    fn address_at(&self, id: HeaderId) -> &Seen<AddressAt> {
        let memo = if id == HeaderId::From { &self.0.memo.from } else { &self.0.memo.to };
        memo.get_or_init(|| Seen::of(self.parse_address(id).map(|a| AddressAt::of(self.bytes(), &a))))
    }

    fn address(&self, id: HeaderId) -> Option<NameAddr<'_>> {
        self.address_at(id).read(|at| at.read(self.bytes()), || self.parse_address(id))
    }

    fn tag(&self, id: HeaderId) -> Option<&[u8]> {
        self.address_at(id).read(|at| at.tag(self.bytes()), || self.parse_address(id).map(|a| a.tag())).flatten()
    }

    /// The From header; `None` if it is missing or malformed.
    pub fn parse_from(&self) -> Option<NameAddr<'_>> {
        self.address(HeaderId::From)
    }

    /// The To header; `None` if it is missing or malformed.
    pub fn parse_to(&self) -> Option<NameAddr<'_>> {
        self.address(HeaderId::To)
    }

    /// The From header. A malformed one has an empty URI (requests like that are refused by
    /// [`super::validate()`]).
    pub fn from(&self) -> NameAddr<'_> {
        self.parse_from().unwrap_or(NameAddr { raw: self.value(HeaderId::From), ..NameAddr::default() })
    }

    /// The To header, malformed ones as in [`Message::from`].
    pub fn to(&self) -> NameAddr<'_> {
        self.parse_to().unwrap_or(NameAddr { raw: self.value(HeaderId::To), ..NameAddr::default() })
    }

    /// The tag of the From header; empty ones do not count.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.tag(HeaderId::From)
    }

    /// The tag of the To header; empty ones do not count.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.tag(HeaderId::To)
    }

    /// The value of Max-Forwards; numbers that are too large count as the largest one. `None` if
    /// it is absent or no number.
    pub fn max_forwards(&self) -> Option<u32> {
        self.number(HeaderId::MaxForwards)
    }

    /// The value of Expires, as [`Message::max_forwards`].
    pub fn expires(&self) -> Option<u32> {
        self.number(HeaderId::Expires)
    }

    fn number(&self, id: HeaderId) -> Option<u32> {
        let value = self.value(id);
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(parse_u64(value).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
    }

    /// The value of Content-Length, if there is one.
    pub fn content_length(&self) -> Option<u32> {
        self.number(HeaderId::ContentLength)
    }

    fn addresses(&self, id: HeaderId) -> impl Iterator<Item = NameAddr<'_>> {
        self.values_of(id).filter_map(|v| NameAddr::parse(v).ok())
    }

    /// The well-formed Contact entries in order.
    pub fn contacts(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(HeaderId::Contact)
    }

    /// The well-formed Route entries from the top.
    pub fn routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(HeaderId::Route)
    }

    /// The well-formed Record-Route entries from the top.
    pub fn record_routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.addresses(HeaderId::RecordRoute)
    }

    /// The Content-Type with its parameters; empty if there is none.
    pub fn content_type(&self) -> &[u8] {
        self.value(HeaderId::ContentType)
    }

    /// The `type/subtype` of the Content-Type; empty if there is none.
    pub fn media_type(&self) -> &[u8] {
        let value = self.content_type();
        let end = value.iter().position(|&b| b == b';' || is_lws(b)).unwrap_or(value.len());
        trim(value.get(..end).unwrap_or_default())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.slice(self.body_range())
    }

    /// Where the body lies; an empty one at the message's end.
    pub fn body_range(&self) -> Range {
        Range::new(self.index().body, self.index().end)
    }

    /// Whether a comma separated header of options (Supported, Require, Allow ...) lists
    /// `option`, letter case ignored.
    pub fn lists(&self, id: HeaderId, option: &[u8]) -> bool {
        self.values_of(id).any(|v| v.eq_ignore_ascii_case(option))
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.index().start_line {
            StartLine::Request { .. } => format!("{} ", self.method_bytes().escape_ascii()),
            StartLine::Reply { status, .. } => format!("{status} to {} ", self.method_bytes().escape_ascii()),
        };
        write!(f, "Message({line}{}, {} bytes)", self.call_id().escape_ascii(), self.bytes().len())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.bytes.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Message, D::Error> {
        let bytes = Str::deserialize(d)?;
        match Message::parse(bytes) {
            Ok(message) => Ok(message),
            Err(e) => e.partial().cloned().ok_or_else(|| serde::de::Error::custom(e)),
        }
    }
}

#[cfg(test)]
mod tests;
