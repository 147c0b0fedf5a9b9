//! Matching requests to server transactions (RFC 3261 §17.2.3), loop hashes (§16.6 step 8).
//!
//! Keys are keyed 128-bit hashes: small, of one size, and nobody outside can make two requests
//! collide.

use crate::sip::Message;
use crate::sip::Method;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

/// Finds the server transaction of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServerKey(u128);

/// A [`ServerKey`] with the rules that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matcher {
    /// The key.
    pub key: ServerKey,
    /// The client speaks RFC 2543: no magic cookie, so the To tag of an ACK must be checked.
    pub rfc2543: bool,
}

/// The hash functions of one server.
#[derive(Clone, Debug)]
pub struct Keys {
    secret: [u8; 16],
    ruri_matching: bool,
    via1_matching: bool,
}

/// RFC 3261 §8.1.1.7.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl Keys {
    /// Hash functions with this key.
    pub fn new(secret: [u8; 16], ruri_matching: bool, via1_matching: bool) -> Self {
        Keys { secret, ruri_matching, via1_matching }
    }

    /// The key of the transaction that `request` belongs to or starts. An ACK belongs to its
    /// INVITE. `None` without a Via, or for an RFC 2543 client without a Call-ID.
    pub fn request(&self, request: &Message) -> Option<Matcher> {
        let invite = matches!(request.method(), Method::Invite | Method::Ack);
        self.matcher(request, invite)
    }

    /// The key of the INVITE that a CANCEL is for (§9.2: as if its method were INVITE).
    pub fn cancelled(&self, cancel: &Message) -> Option<Matcher> {
        self.matcher(cancel, true)
    }

    fn matcher(&self, m: &Message, invite: bool) -> Option<Matcher> {
        let via = m.top_via()?;
        let method: &[u8] = if invite { b"INVITE" } else { m.method_bytes() };
        // §7.3.1: tokens and host names compare without case.
        if let Some(branch) = via.magic_branch() {
            let mut text = self.text(b"3261");
            text.folded(branch);
            text.folded(via.host);
            text.part(&via.port_or_default().to_be_bytes());
            text.part(method);
            return Some(Matcher { key: ServerKey(text.wide()), rfc2543: false });
        }
        let mut text = self.text(b"2543");
        if self.ruri_matching {
            text.part(m.request_uri());
        }
        if self.via1_matching {
            text.part(via.raw);
        }
        if m.call_id().is_empty() {
            return None;
        }
        text.part(m.call_id());
        text.part(&m.cseq().number.to_be_bytes());
        text.part(m.from_tag().unwrap_or_default());
        text.part(method);
        // The To tag of an ACK is that of the reply, not that of the INVITE.
        if !invite && m.method() != Method::Cancel {
            text.part(m.to_tag().unwrap_or_default());
        }
        Some(Matcher { key: ServerKey(text.wide()), rfc2543: true })
    }

    /// Names the INVITE of a call leg for its end-to-end ACK, which has another branch:
    /// Call-ID, From tag, CSeq number.
    pub fn leg(&self, m: &Message) -> u64 {
        let mut text = self.text(b"leg");
        text.part(m.call_id());
        text.part(m.from_tag().unwrap_or_default());
        text.part(&m.cseq().number.to_be_bytes());
        text.hash()
    }

    /// A To tag as a number.
    pub fn tag(&self, to_tag: &[u8]) -> u64 {
        let mut text = self.text(b"tag");
        text.part(to_tag);
        text.hash()
    }

    /// What decides where a received request goes, as a number that our branch parameter
    /// carries: when the request comes back with the same one it loops, with another one it
    /// spirals (§16.3 item 4, §16.6 step 8 with the correction of RFC 5393 §4.2.1: the Via does
    /// not take part; nor does the To tag, which the ACK to a refusal has and its INVITE has not). `routing`: further header values the routing depends on (Route,
    /// Proxy-Require, Proxy-Authorization).
    pub fn routing<'a>(&self, received: &Message, routing: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut text = self.text(b"loop");
        text.part(received.request_uri());
        text.part(received.call_id());
        text.part(received.from_tag().unwrap_or_default());
        text.part(&received.cseq().number.to_be_bytes());
        for value in routing {
            text.part(value);
        }
        text.hash()
    }

    /// The same for any parts: used to authenticate branch parameters.
    pub(super) fn seal(&self, parts: &[&[u8]]) -> u64 {
        let mut text = self.text(b"seal");
        for p in parts {
            text.part(p);
        }
        text.hash()
    }

    fn text(&self, purpose: &[u8]) -> Text {
        let mut text = Text { hasher: DefaultHasher::new(), buffer: [0; BUFFER], used: 0 };
        text.push(&self.secret);
        text.part(purpose);
        text
    }
}

impl ServerKey {
    /// The key as bytes.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Bytes put together before they are hashed: enough for nearly every key.
const BUFFER: usize = 256;

/// What is hashed, put together first: the hash function is quick on one text and slow on many
/// small ones. The secret stands in front, each part behind its length.
struct Text {
    hasher: DefaultHasher,
    buffer: [u8; BUFFER],
    used: usize,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(self.used..self.used + bytes.len()) {
            room.copy_from_slice(bytes);
            self.used += bytes.len();
            return;
        }
        self.drain();
        self.hasher.write(bytes);
    }

    /// Hashes what was put together.
    fn drain(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.hasher.write(self.buffer.get(..used).unwrap_or_default());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.push(&(bytes.len() as u32).to_ne_bytes());
        self.push(bytes);
    }

    fn folded(&mut self, bytes: &[u8]) {
        self.push(&(bytes.len() as u32).to_ne_bytes());
        for chunk in bytes.chunks(64) {
            let mut low = [0; 64];
            let low = low.get_mut(..chunk.len()).unwrap_or_default();
            low.copy_from_slice(chunk);
            low.make_ascii_lowercase();
            self.push(low);
        }
    }

    fn hash(mut self) -> u64 {
        self.drain();
        self.hasher.finish()
    }

    /// 128 bits: two ends of one beginning.
    fn wide(mut self) -> u128 {
        self.drain();
        let mut other = self.hasher.clone();
        self.hasher.write_u64(1);
        other.write_u64(2);
        u128::from(self.hasher.finish()) << 64 | u128::from(other.finish())
    }
}

/// A hasher for keys that are keyed hashes already.
#[derive(Default)]
pub(super) struct Prehashed(u64);

/// For hash maps whose keys are keyed hashes already.
pub(super) type PrehashedState = BuildHasherDefault<Prehashed>;

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}
