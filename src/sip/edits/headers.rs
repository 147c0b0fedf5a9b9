//! The edits a proxy makes, in terms of headers.

use super::{Edit, Edits};
use crate::base::Str;
use crate::sip::bytes::push_number;
use crate::sip::header::{Header, HeaderId};
use crate::sip::list::split_list;
use crate::sip::message::Message;
use crate::sip::range::Range;
use std::net::SocketAddr;

impl Edits {
    /// Replaces the Request-URI. The last call wins.
    pub fn set_request_uri(&mut self, message: &Message, uri: Str) {
        let range = message.request_uri_range();
        if message.is_request() && !range.is_empty() {
            self.list.retain(|e| !matches!(e, Edit::Replace(r, _) if *r == range));
            self.replace(range, uri);
        }
    }

    /// The Request-URI as the edits leave it.
    pub fn request_uri<'a>(&'a self, message: &'a Message) -> &'a [u8] {
        let range = message.request_uri_range();
        self.list
            .iter()
            .rev()
            .find_map(|e| match e {
                Edit::Replace(r, text) if *r == range && !range.is_empty() => Some(text.as_bytes()),
                _ => None,
            })
            .unwrap_or_else(|| message.request_uri())
    }

    /// Replaces the status code and the reason phrase of a reply. Line ends in the reason are
    /// dropped.
    pub fn set_status(&mut self, message: &Message, status: u16, reason: &[u8]) {
        let range = message.status_range();
        if range.is_empty() {
            return;
        }
        let mut text = Vec::with_capacity(4 + reason.len());
        push_number(&mut text, u64::from(status));
        text.push(b' ');
        text.extend(reason.iter().filter(|b| !matches!(b, b'\r' | b'\n')));
        self.replace(range, text.into());
    }

    /// Adds a header line (or several) behind the last header: first call first. A line end is
    /// added where it is missing.
    pub fn append_header(&mut self, message: &Message, line: Str) {
        self.insert_before(message.headers_end(), terminated(line));
    }

    /// Adds a header line before the first header: last call first.
    pub fn insert_header_first(&mut self, message: &Message, line: Str) {
        self.insert_top(message.headers_start(), terminated(line));
    }

    /// Adds a header line before this one: first call first.
    pub fn insert_header_before(&mut self, header: &Header<'_>, line: Str) {
        self.insert_before(header.start, terminated(line));
    }

    /// Adds a header line after this one: first call first.
    pub fn insert_header_after(&mut self, header: &Header<'_>, line: Str) {
        self.insert_after(header.line().end, terminated(line));
    }

    /// Adds a header line before the first one of this kind, or behind the last header if there
    /// is none: last call first (Route, Record-Route, Path).
    pub fn insert_header_top(&mut self, message: &Message, id: HeaderId, line: Str) {
        match message.header(id) {
            Some(h) => self.insert_top(h.start, terminated(line)),
            None => self.insert_top(message.headers_end(), terminated(line)),
        }
    }

    /// Removes a header line.
    pub fn remove_header(&mut self, header: &Header<'_>) {
        self.delete(header.line());
    }

    /// Removes every header of this kind that is still there; says how many.
    pub fn remove_headers(&mut self, message: &Message, id: HeaderId) -> usize {
        let before = self.len();
        for h in message.headers_of(id) {
            if !self.is_deleted(h.line()) {
                self.delete(h.line());
            }
        }
        self.len() - before
    }

    /// Replaces a header's value. The last call wins.
    pub fn set_header_value(&mut self, header: &Header<'_>, value: Str) {
        if header.value_range.is_empty() {
            let mut text = b" ".to_vec();
            text.extend_from_slice(&value);
            self.insert_before(header.value_range.start, text.into());
        } else {
            self.replace(header.value_range, value);
        }
    }

    /// Removes value number `at` (from 0) of a comma separated header, with its comma; the whole
    /// line once no value is left. Says whether there was such a value.
    pub fn remove_value(&mut self, message: &Message, header: &Header<'_>, at: usize) -> bool {
        let ranges = || split_list(header.value).filter_map(|part| message.range_of(part));
        let Some(own) = ranges().nth(at) else { return false };
        let before = at.checked_sub(1).and_then(|i| ranges().nth(i));
        match (before, ranges().nth(at + 1)) {
            (_, Some(next)) => self.delete(Range::new(own.start, next.start)),
            (Some(prev), None) => self.delete(Range::new(prev.end, own.end)),
            (None, None) => self.delete(header.line()),
        }
        if ranges().all(|r| self.is_deleted(r)) && !self.is_deleted(header.line()) {
            self.delete(header.line());
        }
        true
    }

    /// Adds our own Via (`value` without the name) on top of all others (RFC 3261 §16.6 step 8).
    pub fn prepend_via(&mut self, message: &Message, value: &[u8]) {
        let mut line = Vec::with_capacity(value.len() + 7);
        line.extend_from_slice(b"Via: ");
        line.extend_from_slice(value);
        line.extend_from_slice(b"\r\n");
        let at = message.header(HeaderId::Via).map_or(message.headers_start(), |h| h.start);
        self.insert_top(at, line.into());
    }

    /// Removes the topmost Via value, and only that (§16.7 step 3).
    pub fn remove_top_via(&mut self, message: &Message) {
        let Some(h) = message.header(HeaderId::Via) else { return };
        // Nothing was removed before, mostly: then only the first two values have to be found.
        let mut values = split_list(h.value).map(|value| message.range_of(value));
        match (values.next(), values.next()) {
            (_, None) => self.remove_header(&h),
            (Some(Some(first)), Some(Some(second))) if self.is_empty() => {
                self.delete(Range::new(first.start, second.start));
            }
            _ => {
                self.remove_value(message, &h, 0);
            }
        }
    }

    /// Writes where the request came from into its top Via: `received` if its address is not
    /// what sent-by says (§18.2.1), `rport` if it was asked for (RFC 3581 §4).
    pub fn mark_received(&mut self, message: &Message, source: SocketAddr) {
        self.mark_received_with(message, source, false);
    }

    /// As [`Edits::mark_received`], with `rport` also where it was not asked for if
    /// `force_rport` is set.
    pub fn mark_received_with(&mut self, message: &Message, source: SocketAddr, force_rport: bool) {
        let Some(via) = message.top_via() else { return };
        let Some(range) = message.range_of(via.raw) else { return };
        let mut text = Vec::with_capacity(via.raw.len() + 64);
        via.write_marked(source, force_rport, &mut text);
        if text != via.raw {
            self.replace(range, text.into());
        }
    }

    /// Sets Max-Forwards, or adds it.
    pub fn set_max_forwards(&mut self, message: &Message, hops: u32) {
        let mut text = Vec::with_capacity(24);
        match message.header(HeaderId::MaxForwards) {
            Some(h) => {
                push_number(&mut text, u64::from(hops));
                self.set_header_value(&h, text.into());
            }
            None => {
                text.extend_from_slice(b"Max-Forwards: ");
                push_number(&mut text, u64::from(hops));
                self.append_header(message, text.into());
            }
        }
    }

    /// Adds the Content-Length that a message needs on a stream (RFC 3261 16.6 step 9, 18.3), if it has none. After
    /// all other edits.
    pub fn frame(&mut self, message: &Message) {
        // Where the body was changed it comes by itself.
        if message.header(HeaderId::ContentLength).is_none() && !self.touches_body(message) {
            let mut line = b"Content-Length: ".to_vec();
            push_number(&mut line, message.body_range().len() as u64);
            self.append_header(message, line.into());
        }
    }

    /// Replaces the body; earlier changes to it are void. Content-Length follows by itself,
    /// Content-Type is the caller's business.
    pub fn set_body(&mut self, message: &Message, body: Str) {
        let range = message.body_range();
        self.list.retain(|e| match e {
            Edit::Insert { at, .. } => *at < range.start,
            Edit::Delete(r) | Edit::Replace(r, _) => r.start < range.start,
        });
        self.list.push(Edit::Replace(range, body));
    }

    /// Takes back a header line that was added, with its line end.
    pub fn forget_header(&mut self, line: &[u8]) {
        self.list.retain(|e| !matches!(e, Edit::Insert { text, .. } if text[..] == *line));
    }

    /// Sets Content-Type, or adds it; one that was added before goes.
    pub fn set_content_type(&mut self, message: &Message, value: &[u8]) {
        const NAME: &[u8] = b"Content-Type: ";
        let added = |text: &[u8]| {
            let own = text.get(..NAME.len() - 1).is_some_and(|t| t.eq_ignore_ascii_case(&NAME[..NAME.len() - 1]));
            own && memchr::memchr_iter(b'\n', text).count() <= 1
        };
        self.list.retain(|e| !matches!(e, Edit::Insert { text, .. } if added(text)));
        match message.header(HeaderId::ContentType).filter(|h| !self.is_deleted(h.line())) {
            Some(old) => self.set_header_value(&old, Str::from(value)),
            None => self.append_header(message, Str::from([NAME, value, b"\r\n"].concat())),
        }
    }

    /// Removes the body and the headers that describe it.
    pub fn remove_body(&mut self, message: &Message) {
        self.set_body(message, Str::default());
        for id in [HeaderId::ContentType, HeaderId::ContentDisposition, HeaderId::ContentEncoding] {
            self.remove_headers(message, id);
        }
    }
}

/// The line with a line end.
fn terminated(line: Str) -> Str {
    if line.ends_with(b"\n") || line.is_empty() {
        return line;
    }
    let mut text = line.to_vec();
    text.extend_from_slice(b"\r\n");
    text.into()
}
