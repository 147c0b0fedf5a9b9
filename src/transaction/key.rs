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
        let mut h = Pair::new(&self.secret);
        // §7.3.1: tokens and host names compare without case.
        if let Some(branch) = via.magic_branch() {
            h.part(b"3261");
            h.folded(branch);
            h.folded(via.host);
            h.part(&via.port_or_default().to_be_bytes());
            h.part(method);
            return Some(Matcher { key: ServerKey(h.finish()), rfc2543: false });
        }
        h.part(b"2543");
        if self.ruri_matching {
            h.part(m.request_uri());
        }
        if self.via1_matching {
            h.part(via.raw);
        }
        if m.call_id().is_empty() {
            return None;
        }
        h.part(m.call_id());
        h.part(&m.cseq().number.to_be_bytes());
        h.part(m.from_tag().unwrap_or_default());
        h.part(method);
        // The To tag of an ACK is that of the reply, not that of the INVITE.
        if !invite && m.method() != Method::Cancel {
            h.part(m.to_tag().unwrap_or_default());
        }
        Some(Matcher { key: ServerKey(h.finish()), rfc2543: true })
    }

    /// Names the INVITE of a call leg for its end-to-end ACK, which has another branch:
    /// Call-ID, From tag, CSeq number.
    pub fn leg(&self, m: &Message) -> u64 {
        let mut h = self.one(b"leg");
        part(&mut h, m.call_id());
        part(&mut h, m.from_tag().unwrap_or_default());
        part(&mut h, &m.cseq().number.to_be_bytes());
        h.finish()
    }

    /// A To tag as a number.
    pub fn tag(&self, to_tag: &[u8]) -> u64 {
        let mut h = self.one(b"tag");
        part(&mut h, to_tag);
        h.finish()
    }

    /// What decides where a received request goes, as a number that our branch parameter
    /// carries: when the request comes back with the same one it loops, with another one it
    /// spirals (§16.3 item 4, §16.6 step 8 with the correction of RFC 5393 §4.2.1: the Via does
    /// not take part). `routing`: further header values the routing depends on (Route,
    /// Proxy-Require, Proxy-Authorization).
    pub fn routing<'a>(&self, received: &Message, routing: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut h = self.one(b"loop");
        part(&mut h, received.request_uri());
        part(&mut h, received.call_id());
        part(&mut h, received.from_tag().unwrap_or_default());
        part(&mut h, received.to_tag().unwrap_or_default());
        part(&mut h, &received.cseq().number.to_be_bytes());
        for value in routing {
            part(&mut h, value);
        }
        h.finish()
    }

    /// The same for any parts: used to authenticate branch parameters.
    pub(super) fn seal(&self, parts: &[&[u8]]) -> u64 {
        let mut h = self.one(b"seal");
        for p in parts {
            part(&mut h, p);
        }
        h.finish()
    }

    fn one(&self, purpose: &[u8]) -> DefaultHasher {
        let mut h = DefaultHasher::new();
        h.write(&self.secret);
        part(&mut h, purpose);
        h
    }
}

impl ServerKey {
    /// The key as bytes.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

fn part(h: &mut DefaultHasher, bytes: &[u8]) {
    h.write_usize(bytes.len());
    h.write(bytes);
}

/// Two hashers side by side: 128 bits.
struct Pair(DefaultHasher, DefaultHasher);

impl Pair {
    fn new(secret: &[u8]) -> Pair {
        let (mut a, mut b) = (DefaultHasher::new(), DefaultHasher::new());
        a.write(secret);
        a.write_u8(1);
        b.write(secret);
        b.write_u8(2);
        Pair(a, b)
    }

    fn part(&mut self, bytes: &[u8]) {
        part(&mut self.0, bytes);
        part(&mut self.1, bytes);
    }

    fn folded(&mut self, bytes: &[u8]) {
        let mut low: smallvec::SmallVec<[u8; 128]> = smallvec::SmallVec::from_slice(bytes);
        low.make_ascii_lowercase();
        self.part(&low);
    }

    fn finish(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
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
