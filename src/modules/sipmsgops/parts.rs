//! Bodies of several parts (RFC 2046 §5.1), and where the session description lies.

use crate::sip::Range;
use crate::sip::message::Message;

/// A part of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// `type/subtype`; empty if the part does not say.
    pub media_type: &'a [u8],
    /// Its content.
    pub body: &'a [u8],
    /// All of it, from behind the line of its mark up to the next one: header lines, content, the line end that belongs
    /// to the next mark.
    pub text: &'a [u8],
}

/// A body of several parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Multipart<'a> {
    /// What the lines between the parts begin with, behind the two hyphens.
    pub boundary: &'a [u8],
    /// The parts in order.
    pub parts: Vec<Part<'a>>,
}

impl<'a> Multipart<'a> {
    /// The body of a message whose Content-Type says that it has several parts.
    pub fn of(msg: &'a Message) -> Option<Multipart<'a>> {
        let boundary = boundary(msg.content_type()).filter(|_| is_multipart(msg))?;
        Some(Multipart { boundary, parts: split(msg.body(), &[b"--", boundary].concat()) })
    }

    /// The first part of a media type; letter case does not matter, parameters do not count.
    pub fn find(&self, media_type: &[u8]) -> Option<usize> {
        let wanted = media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        self.parts.iter().position(|p| !wanted.is_empty() && p.media_type.eq_ignore_ascii_case(wanted))
    }
}

fn is_multipart(msg: &Message) -> bool {
    msg.media_type().get(..10).is_some_and(|t| t.eq_ignore_ascii_case(b"multipart/"))
}

/// The parts of the body: the body itself if it is not multipart, none if it is empty.
pub fn parts(msg: &Message) -> Vec<Part<'_>> {
    let body = msg.body();
    let media_type = msg.media_type();
    if body.is_empty() {
        return Vec::new();
    }
    if !is_multipart(msg) {
        return vec![Part { media_type, body, text: body }];
    }
    Multipart::of(msg).map(|m| m.parts).unwrap_or_default()
}

/// Where the session description lies: the body, or a part of it.
pub fn sdp(msg: &Message) -> Option<Range> {
    let part = parts(msg).into_iter().find(|p| p.media_type.eq_ignore_ascii_case(b"application/sdp"))?;
    msg.range_of(part.body)
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    content_type.split(|b| *b == b';').skip(1).find_map(|param| {
        let at = param.iter().position(|b| *b == b'=')?;
        let (name, value) = (param[..at].trim_ascii(), param[at + 1..].trim_ascii());
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        (name.eq_ignore_ascii_case(b"boundary") && !value.is_empty()).then_some(value)
    })
}

/// Cuts a body at the lines that are `mark`; what precedes the first and follows the last is no part.
fn split<'a>(body: &'a [u8], mark: &[u8]) -> Vec<Part<'a>> {
    let mut out = Vec::new();
    // Start of the part that is being read.
    let mut start: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |n| at + n + 1);
        if let Some(rest) = body[at..end].strip_prefix(mark) {
            let closing = rest.starts_with(b"--");
            if closing || rest.trim_ascii().is_empty() {
                if let Some(start) = start {
                    out.push(part(&body[start..at]));
                }
                start = Some(end);
                if closing {
                    return out;
                }
            }
        }
        at = end;
    }
    // A body that was cut off: its last part still counts.
    if let Some(start) = start.filter(|s| *s < body.len()) {
        out.push(part(&body[start..]));
    }
    out
}

/// A part from its text: header lines, an empty line, the content; the line end before the next
/// mark belongs to the mark.
fn part(text: &[u8]) -> Part<'_> {
    let mut media_type = &b""[..];
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        if let Some(at) = line.iter().position(|b| *b == b':')
            && [&b"Content-Type"[..], b"c"].iter().any(|n| n.eq_ignore_ascii_case(line[..at].trim_ascii()))
        {
            media_type = line[at + 1..].split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        }
    }
    let body = rest.strip_suffix(b"\n").unwrap_or(rest);
    Part { media_type, body: body.strip_suffix(b"\r").unwrap_or(body), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_multipart_bodies() {
        let body = b"preamble\r\n--b1\r\nContent-Type: application/sdp; x=y\r\n\r\nv=0\r\nm=x\r\n\r\n--b1\r\nc:text/plain\r\n\r\n--b1x\r\n--b1--\r\nend";
        let parts = split(body, b"--b1");
        assert_eq!(
            parts,
            [
                Part {
                    media_type: b"application/sdp",
                    body: b"v=0\r\nm=x\r\n",
                    text: b"Content-Type: application/sdp; x=y\r\n\r\nv=0\r\nm=x\r\n\r\n"
                },
                Part { media_type: b"text/plain", body: b"--b1x", text: b"c:text/plain\r\n\r\n--b1x\r\n" }
            ]
        );
        assert_eq!(
            split(b"--b1\n\nopen end", b"--b1"),
            [Part { media_type: b"", body: b"open end", text: b"\nopen end" }]
        );
        assert!(split(b"nothing", b"--b1").is_empty());
        assert_eq!(boundary(b"multipart/mixed; a=b ;Boundary=\"x y\""), Some(&b"x y"[..]));
        assert_eq!(boundary(b"multipart/mixed"), None);
    }
}
