//! What can be wrong with a message, as data, sorted by what can be done about it.

use super::message::Message;
use super::method::Method;
use std::fmt;

/// Why some bytes are no well-formed message (or a header value no well-formed header).
#[derive(Clone, Debug, PartialEq)]
pub enum ParseError {
    /// Not SIP, or not readable far enough to answer: drop and count.
    NotSip,
    /// SIP, but broken.
    Malformed {
        /// Reason phrase for a 400, a few words.
        reason: &'static str,
        /// What could be read of the message. Absent where a single header value was parsed,
        /// and for replies, which nobody answers.
        partial: Option<Message>,
    },
    /// A request of another protocol version: 505 (RFC 3261 §21.5.6).
    Version {
        /// What could be read of the message; absent for replies.
        partial: Option<Message>,
    },
}

impl ParseError {
    /// A broken header value.
    pub(super) const fn malformed(reason: &'static str) -> ParseError {
        ParseError::Malformed { reason, partial: None }
    }

    /// How to answer: the request as far as it could be read, with status and reason. `None`:
    /// drop it. An ACK is never answered (RFC 3261 §17.1.1.3), and a request without a readable
    /// top Via cannot be. Missing From, To, Call-ID or CSeq are simply missing in the answer
    /// (RFC 4475 §3.3.1).
    pub fn answer(&self) -> Option<(&Message, Fault)> {
        let (partial, fault) = match self {
            ParseError::NotSip => return None,
            ParseError::Malformed { reason, partial } => (partial, Fault { status: 400, reason }),
            ParseError::Version { partial } => (partial, Fault { status: 505, reason: "Version Not Supported" }),
        };
        let message = partial.as_ref()?;
        if !message.is_request() || message.method() == Method::Ack || message.top_via().is_none() {
            return None;
        }
        Some((message, fault))
    }

    /// What could be read of the message.
    pub fn partial(&self) -> Option<&Message> {
        match self {
            ParseError::NotSip => None,
            ParseError::Malformed { partial, .. } | ParseError::Version { partial } => partial.as_ref(),
        }
    }

    /// A few words for a log line or a reason phrase.
    pub fn reason(&self) -> &'static str {
        match self {
            ParseError::NotSip => "Not SIP",
            ParseError::Malformed { reason, .. } => reason,
            ParseError::Version { .. } => "Version Not Supported",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ParseError {}

/// A well-formed message that must be refused, and the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Status code of the answer.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

impl std::error::Error for Fault {}
