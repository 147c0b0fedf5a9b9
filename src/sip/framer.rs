//! Cutting a stream into messages (RFC 3261 section 18.3, RFC 5626 section 4.4.1): bytes in,
//! messages and pings out. Knows no socket.
//!
//! Where a message ends is said by its Content-Length, which a stream cannot do without: a message
//! that has none, an unreadable one or two different ones leaves nobody knowing where the next
//! begins. It is an error, as is one that exceeds the limits; then the stream is of no more use.

use super::bytes::{is_token_byte, trim};
use std::fmt;

/// How large a message may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameLimits {
    /// Start line and headers with the empty line, bytes.
    pub head: usize,
    /// Body, bytes.
    pub body: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        FrameLimits { head: 64 << 10, body: 1 << 20 }
    }
}

/// What comes out of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// A keep-alive that wants to be answered by one CRLF.
    Ping,
    /// Nothing before more bytes have come.
    More,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// What comes is not SIP.
    NotSip,
    /// The headers do not end within the limit.
    HeadTooLarge,
    /// Content-Length exceeds the limit.
    BodyTooLarge,
    /// There is no Content-Length.
    NoLength,
    /// Content-Length is no number, or there are two different ones.
    BadLength,
}

impl FrameError {
    /// Status and reason of the answer to a request that does this; `None` if it cannot be
    /// answered.
    pub fn answer(self) -> Option<(u16, &'static str)> {
        match self {
            FrameError::NotSip | FrameError::HeadTooLarge => None,
            FrameError::BodyTooLarge => Some((413, "Request Entity Too Large")),
            FrameError::NoLength => Some((400, "Missing Content-Length")),
            FrameError::BadLength => Some((400, "Bad Content-Length")),
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::NotSip => "what it sends is not SIP",
            FrameError::HeadTooLarge => "the headers of a message exceed tcp_max_head_size",
            FrameError::BodyTooLarge => "the body of a message exceeds tcp_max_body_size",
            FrameError::NoLength => "a message has no Content-Length",
            FrameError::BadLength => "a message has an unreadable Content-Length",
        })
    }
}

impl std::error::Error for FrameError {}

/// A buffer that is emptied gives back what it has beyond this.
const KEPT: usize = 16 << 10;
/// A start line without an end may be this long.
const LONGEST_START: usize = 8 << 10;

/// What has been received of a stream and not been taken out yet.
#[derive(Debug, Default)]
pub struct Framer {
    limits: FrameLimits,
    buffer: Vec<u8>,
    /// Where the present message begins.
    start: usize,
    /// How far its head was searched for the end, from `start`.
    searched: usize,
    /// The first line was looked at.
    begun: bool,
    /// Length of the head and of the whole, once known.
    known: Option<(usize, usize)>,
}

impl Framer {
    /// An empty one.
    pub fn new(limits: FrameLimits) -> Framer {
        Framer { limits, ..Framer::default() }
    }

    /// Takes in what was received. Between two calls everything is to be taken out with
    /// [`Framer::cut`], so that what is held stays below the limits and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next thing in the stream.
    ///
    /// # Errors
    /// See [`FrameError`]. [`Framer::broken`] has what there is of the message; nothing more comes
    /// out.
    pub fn cut(&mut self) -> Result<Frame<'_>, FrameError> {
        if self.known.is_none() {
            if self.skip_line_ends() {
                return Ok(Frame::Ping);
            }
            self.known = self.look()?;
        }
        let available = self.buffer.len() - self.start;
        match self.known {
            Some((_, whole)) if available >= whole => {
                let from = self.start;
                self.start += whole;
                (self.searched, self.begun, self.known) = (0, false, None);
                Ok(Frame::Message(self.buffer.get(from..from + whole).unwrap_or_default()))
            }
            _ => {
                if available == 0 && !self.buffer.is_empty() {
                    self.buffer.clear();
                    self.buffer.shrink_to(KEPT);
                    self.start = 0;
                }
                Ok(Frame::More)
            }
        }
    }

    /// Whether a message has begun and is not complete.
    pub fn is_within(&self) -> bool {
        self.rest().iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.rest().len()
    }

    /// After an error: the head of the message that is to blame, or what there is of it.
    pub fn broken(&self) -> &[u8] {
        let rest = self.rest();
        match self.head_end(0) {
            Ok(head) => rest.get(..head).unwrap_or(rest),
            Err(_) => rest,
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Skips line ends between messages (section 7.5); true if they were a ping.
    fn skip_line_ends(&mut self) -> bool {
        loop {
            let skip = match self.rest() {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.start += 4;
                    return true;
                }
                // The other half of a ping may follow.
                [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return false,
                [b'\r', b'\n', ..] => 2,
                [b'\r' | b'\n', ..] => 1,
                _ => return false,
            };
            self.start += skip;
        }
    }

    /// Looks for the end of the head; the lengths of head and message once it is there.
    fn look(&mut self) -> Result<Option<(usize, usize)>, FrameError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        match rest.first() {
            None | Some(b'\r') => return Ok(None),
            Some(first) if !is_token_byte(*first) => return Err(FrameError::NotSip),
            Some(_) => {}
        }
        if !self.begun {
            match memchr::memchr(b'\n', rest) {
                Some(end) if is_start_line(&rest[..end]) => self.begun = true,
                None if rest.len() < LONGEST_START.min(self.limits.head) => return Ok(None),
                _ => return Err(FrameError::NotSip),
            }
        }
        let head = match self.head_end(self.searched) {
            Ok(head) if head <= self.limits.head => head,
            Err(searched) if rest.len() <= self.limits.head => {
                self.searched = searched;
                return Ok(None);
            }
            _ => return Err(FrameError::HeadTooLarge),
        };
        let body = content_length(rest.get(..head).unwrap_or_default())?;
        if body > self.limits.body as u64 {
            return Err(FrameError::BodyTooLarge);
        }
        Ok(Some((head, head + body as usize)))
    }

    /// Length of the head with its empty line, or how far it is known not to end.
    fn head_end(&self, from: usize) -> Result<usize, usize> {
        let rest = self.rest();
        let mut at = from;
        while let Some(found) = rest.get(at..).and_then(|r| memchr::memchr(b'\n', r)) {
            let line_end = at + found;
            match rest.get(line_end + 1..).unwrap_or_default() {
                [b'\n', ..] => return Ok(line_end + 2),
                [b'\r', b'\n', ..] => return Ok(line_end + 3),
                [] | [b'\r'] => return Err(line_end),
                _ => at = line_end + 1,
            }
        }
        Err(rest.len())
    }
}

/// Whether a line may be a request or status line: the rest is the parser's business.
fn is_start_line(line: &[u8]) -> bool {
    let has = |i: usize| line.get(i..i + 4).is_some_and(|w| w.eq_ignore_ascii_case(b"SIP/"));
    has(0) || memchr::memchr2_iter(b' ', b'\t', line).any(|i| has(i + 1))
}

/// The value of Content-Length in a head.
fn content_length(head: &[u8]) -> Result<u64, FrameError> {
    let mut lines = head.split(|b| *b == b'\n').skip(1).peekable();
    let mut found = None;
    while let Some(line) = lines.next() {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = trim(&line[..colon]);
        if matches!(line.first(), Some(b' ' | b'\t'))
            || !(name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l"))
        {
            continue;
        }
        let mut value = trim(&line[colon + 1..]);
        // A folded line (section 7.3.1) may have the number.
        while let Some(more) = lines.next_if(|l| matches!(l.first(), Some(b' ' | b'\t'))) {
            match (value.is_empty(), trim(more)) {
                (_, b"") => {}
                (true, more) => value = more,
                (false, _) => return Err(FrameError::BadLength),
            }
        }
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(FrameError::BadLength);
        }
        let n = value.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
        if found.replace(n).is_some_and(|other| other != n) {
            return Err(FrameError::BadLength);
        }
    }
    found.ok_or(FrameError::NoLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: FrameLimits = FrameLimits { head: 200, body: 50 };

    fn message(length: &str, body: &str) -> String {
        format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\n{length}\r\n{body}")
    }

    /// Everything that comes out when `text` comes in pieces of `step` bytes.
    fn all_of(text: &str, step: usize) -> Result<Vec<String>, FrameError> {
        let mut framer = Framer::new(SMALL);
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            framer.push(piece);
            loop {
                match framer.cut()? {
                    Frame::Message(m) => out.push(String::from_utf8_lossy(m).into_owned()),
                    Frame::Ping => out.push("ping".into()),
                    Frame::More => break,
                }
            }
        }
        assert!(!framer.is_within(), "{framer:?}");
        Ok(out)
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let one = message("Content-Length: 5\r\n", "hello");
        let two = message("l:0\r\nX: y\r\n", "");
        let three = message("CONTENT-LENGTH :\r\n 3\r\n", "\r\n\r");
        let reply = "SIP/2.0 200 OK\nContent-Length: 0\n\n".to_string();
        let text = format!("\r\n{one}{two}\r\n\r\n{three}{reply}\r\n\r\n\r\n{one}");
        let wanted = vec![one.clone(), two, "ping".into(), three, reply, "ping".into(), one];
        for step in 1..=text.len() {
            assert_eq!(all_of(&text, step), Ok(wanted.clone()), "{step}");
        }
    }

    #[test]
    fn a_lone_line_end_is_no_message_and_no_ping() {
        let mut f = Framer::new(SMALL);
        f.push(b"\r\n");
        assert_eq!(f.cut(), Ok(Frame::More));
        assert!(!f.is_within());
        f.push(b"\r\n");
        assert_eq!(f.cut(), Ok(Frame::Ping));
        assert_eq!(f.cut(), Ok(Frame::More));
        assert_eq!(f.held(), 0);
    }

    #[test]
    fn what_has_no_clear_end_is_refused() {
        for (text, wanted) in [
            (message("", "x"), FrameError::NoLength),
            (message("Content-Length: x\r\n", ""), FrameError::BadLength),
            (message("Content-Length: -1\r\n", ""), FrameError::BadLength),
            (message("Content-Length:\r\n", ""), FrameError::BadLength),
            (message("Content-Length: 1\r\nl: 2\r\n", ""), FrameError::BadLength),
            (message("Content-Length: 99999999999999999999\r\n", ""), FrameError::BadLength),
            (message("Content-Length: 1\r\n 2\r\n", ""), FrameError::BadLength),
            (message("Content-Length: 51\r\n", ""), FrameError::BodyTooLarge),
            (message(&format!("X: {}\r\nl:0\r\n", "y".repeat(200)), ""), FrameError::HeadTooLarge),
            (message(&"y".repeat(300), ""), FrameError::HeadTooLarge),
            ("GET / HTTP/1.1\r\n\r\n".into(), FrameError::NotSip),
            ("\u{16}\u{3}\u{1}".into(), FrameError::NotSip),
            ("x".repeat(300), FrameError::NotSip),
        ] {
            for step in [1, 7, 1000] {
                assert_eq!(all_of(&text, step), Err(wanted), "{text}");
            }
        }
        assert!(all_of(&message("l: 1\r\nContent-Length: 1\r\n", "x"), 1).is_ok(), "the same twice is clear");
    }

    #[test]
    fn the_head_of_a_broken_message_can_be_answered() {
        let mut f = Framer::new(SMALL);
        let text = message("Content-Length: 77\r\n", "");
        f.push(text.as_bytes());
        f.push(b"body");
        assert_eq!(f.cut(), Err(FrameError::BodyTooLarge));
        assert_eq!(f.broken(), text.as_bytes());
        assert_eq!(FrameError::BodyTooLarge.answer().map(|a| a.0), Some(413));
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut f = Framer::new(FrameLimits::default());
        f.push(message("l:400000\r\n", &"z".repeat(400_000)).as_bytes());
        assert!(matches!(f.cut(), Ok(Frame::Message(_))));
        assert_eq!(f.cut(), Ok(Frame::More));
        assert!(f.buffer.capacity() <= KEPT);
    }
}
