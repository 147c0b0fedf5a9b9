//! Our own branch parameters.
//!
//! ```text
//! z9hG4bK rp <32 characters> . <8 characters>
//!            |                 what decided the route: tells loops from spirals
//!            worker, incarnation, transaction, branch, seal: base32 of 20 bytes
//! ```
//! The text is lower case only, since tokens compare without case. A reply's branch comes from
//! the network: [`BranchId::parse`] yields claims. The worker number is good for asking who the
//! owner might be (out of range: nobody); the owner checks generation and seal.

use super::key::{Keys, MAGIC_COOKIE};
use crate::base::{Key, Time};
use crate::sip::Message;
use crate::sip::Method;

/// Number of a branch within its transaction, from 0.
pub type BranchNo = u16;

/// What a branch parameter of ours claims. Never trust it as an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BranchId {
    /// Worker that owns the transaction.
    pub worker: u16,
    /// Which process of that number.
    pub incarnation: u32,
    /// The transaction.
    pub tx: Key,
    /// The branch.
    pub branch: BranchNo,
    seal: [u8; 5],
}

/// A branch parameter's value, ready to be put into a Via.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BranchText {
    bytes: [u8; FULL],
    len: u8,
}

const STATEFUL: &[u8] = b"rp";
const STATELESS: &[u8] = b"rs";
const HEAD: usize = MAGIC_COOKIE.len() + 2;
const ID: usize = 32;
const LOOP: usize = 8;
const FULL: usize = HEAD + ID + 1 + LOOP;

impl BranchId {
    /// The id of a branch of a transaction that was made at `created`.
    pub fn new(keys: &Keys, worker: u16, incarnation: u32, tx: Key, branch: BranchNo, created: Time) -> BranchId {
        let mut id = BranchId { worker, incarnation, tx, branch, seal: [0; 5] };
        let raw = id.to_bytes();
        let seal = keys.seal(&[&raw[..15], &created.as_micros().to_be_bytes()]).to_be_bytes();
        id.seal.copy_from_slice(&seal[..5]);
        id
    }

    /// Reads the branch parameter of a reply's top Via. `None`: not ours (or stateless).
    pub fn parse(branch: &[u8]) -> Option<BranchId> {
        let rest = ours(branch, STATEFUL)?;
        let (id, rest) = rest.split_at_checked(ID)?;
        if !(rest.is_empty() || rest[0] == b'.') {
            return None;
        }
        let mut raw = [0u8; 20];
        for (chunk, out) in id.chunks_exact(8).zip(raw.chunks_exact_mut(5)) {
            out.copy_from_slice(&decode(chunk)?);
        }
        let [w0, w1, i0, i1, i2, i3, x0, x1, x2, x3, g0, g1, g2, b0, b1, seal @ ..] = raw;
        Some(BranchId {
            worker: u16::from_be_bytes([w0, w1]),
            incarnation: u32::from_be_bytes([i0, i1, i2, i3]),
            tx: Key { index: u32::from_be_bytes([x0, x1, x2, x3]), generation: u32::from_be_bytes([0, g0, g1, g2]) },
            branch: u16::from_be_bytes([b0, b1]),
            seal,
        })
    }

    /// The parameter's value; `routing` is [`Keys::routing`] of the received request.
    pub fn text(&self, routing: u64) -> BranchText {
        let mut t = BranchText { bytes: [0; FULL], len: 0 };
        t.push(MAGIC_COOKIE);
        t.push(STATEFUL);
        for chunk in self.to_bytes().chunks_exact(5) {
            t.push(&encode(chunk));
        }
        t.push(b".");
        t.push(&encode(&routing.to_be_bytes()[..5]));
        t
    }

    fn to_bytes(self) -> [u8; 20] {
        let mut raw = [0u8; 20];
        raw[..2].copy_from_slice(&self.worker.to_be_bytes());
        raw[2..6].copy_from_slice(&self.incarnation.to_be_bytes());
        raw[6..10].copy_from_slice(&self.tx.index.to_be_bytes());
        raw[10..13].copy_from_slice(&self.tx.generation.to_be_bytes()[1..]);
        raw[13..15].copy_from_slice(&self.branch.to_be_bytes());
        raw[15..].copy_from_slice(&self.seal);
        raw
    }
}

/// Branch parameter for a request that is forwarded statelessly (§16.11): the same for every
/// retransmission of the request, for its CANCEL and for the ACK to its negative reply. `None`
/// for a request without a usable Via.
pub fn stateless(keys: &Keys, request: &Message, routing: u64) -> Option<BranchText> {
    let matcher = match request.method() {
        Method::Cancel => keys.cancelled(request),
        _ => keys.request(request),
    }?;
    let mut t = BranchText { bytes: [0; FULL], len: 0 };
    t.push(MAGIC_COOKIE);
    t.push(STATELESS);
    let key = matcher.key.to_bytes();
    for chunk in key.chunks_exact(5) {
        t.push(&encode(chunk));
    }
    t.push(&encode(&stateless_seal(keys, &key[..15])));
    t.push(b".");
    t.push(&encode(&routing.to_be_bytes()[..5]));
    Some(t)
}

fn stateless_seal(keys: &Keys, key: &[u8]) -> [u8; 5] {
    let [a, b, c, d, e, ..] = keys.seal(&[STATELESS, key]).to_be_bytes();
    [a, b, c, d, e]
}

/// Whether [`stateless`] has made this branch parameter since the server was started.
pub fn is_genuine_stateless(keys: &Keys, branch: &[u8]) -> bool {
    let Some((id, _)) = ours(branch, STATELESS).and_then(|rest| rest.split_at_checked(ID)) else { return false };
    let mut raw = [0u8; 20];
    for (chunk, out) in id.chunks_exact(8).zip(raw.chunks_exact_mut(5)) {
        let Some(five) = decode(chunk) else { return false };
        out.copy_from_slice(&five);
    }
    raw[15..] == stateless_seal(keys, &raw[..15])
}

/// How a request that carries one of our Vias came back to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// Nothing that decides its route has changed: it loops (answer 482).
    Loop,
    /// Something has changed: it spirals, which is legitimate.
    Spiral,
}

/// Judges the branch parameter of a Via whose sent-by is ours; `routing` is [`Keys::routing`] of the request as
/// received now (§16.3 item 4): as a branch carries it, and as [`stateless`] was given it. `None`: not our format.
pub fn came_back(branch: &[u8], (stateful, stateless): (u64, u64)) -> Option<Return> {
    let (rest, routing) = match ours(branch, STATEFUL) {
        Some(rest) => (rest, stateful),
        None => (ours(branch, STATELESS)?, stateless),
    };
    let at = rest.iter().position(|b| *b == b'.')?;
    let then = decode(rest.get(at + 1..)?)?;
    Some(if then == routing.to_be_bytes()[..5] { Return::Loop } else { Return::Spiral })
}

fn ours<'a>(branch: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = branch.split_at_checked(HEAD)?;
    let (cookie, marker) = head.split_at(MAGIC_COOKIE.len());
    (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && marker.eq_ignore_ascii_case(kind)).then_some(rest)
}

impl BranchText {
    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        if let Some(to) = self.bytes.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        }
    }
}

impl std::ops::Deref for BranchText {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for BranchText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self))
    }
}

impl std::fmt::Display for BranchText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self))
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Five bytes as eight characters.
fn encode(five: &[u8]) -> [u8; 8] {
    let n = five.iter().take(5).fold(0u64, |n, b| n << 8 | u64::from(*b));
    std::array::from_fn(|i| ALPHABET[(n >> (35 - 5 * i)) as usize & 31])
}

/// Eight characters as five bytes.
fn decode(eight: &[u8]) -> Option<[u8; 5]> {
    if eight.len() != 8 {
        return None;
    }
    let mut n = 0u64;
    for b in eight {
        let v = match b.to_ascii_lowercase() {
            c @ b'a'..=b'z' => c - b'a',
            c @ b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        n = n << 5 | u64::from(v);
    }
    let [_, _, _, five @ ..] = n.to_be_bytes();
    Some(five)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new([7; 16], true, true)
    }

    #[test]
    fn ids_survive_the_wire() {
        let tx = Key { index: 0xdead_beef, generation: 0x00ab_cdef };
        let id = BranchId::new(&keys(), 513, 0x0102_0304, tx, 77, Time::from_millis(9));
        let text = id.text(42);
        assert_eq!(text.len(), FULL);
        assert_eq!(BranchId::parse(&text), Some(id));
        assert_eq!(BranchId::parse(&text.to_ascii_uppercase()), Some(id));
        let later = BranchId::new(&keys(), 513, 0x0102_0304, tx, 77, Time::from_millis(10));
        assert_ne!(id, later);
    }

    #[test]
    fn garbage_is_not_ours() {
        let text = BranchId::new(&keys(), 1, 2, Key { index: 3, generation: 4 }, 5, Time::ZERO).text(6);
        for cut in 0..FULL - LOOP - 1 {
            assert_eq!(BranchId::parse(&text[..cut]), None, "{cut}");
        }
        assert_eq!(BranchId::parse(b"z9hG4bKrp00000000000000000000000000000000"), None);
        assert_eq!(BranchId::parse(b"z9hG4bK776asdhds"), None);
    }

    #[test]
    fn stateless_ones_cannot_be_made_up() {
        let request = b"OPTIONS sip:b@c SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                        To: <sip:b@c>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let text = stateless(&keys(), &Message::parse_slice(request).unwrap(), 5).unwrap();
        assert_eq!(text.len(), FULL);
        assert!(is_genuine_stateless(&keys(), &text) && is_genuine_stateless(&keys(), &text.to_ascii_uppercase()));
        assert_eq!(came_back(&text, (5, 9)), Some(Return::Loop));
        assert!(!is_genuine_stateless(&Keys::new([8; 16], true, true), &text));
        for at in HEAD..HEAD + ID {
            let mut changed = text.to_vec();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_genuine_stateless(&keys(), &changed), "{at}");
        }
        assert!(!is_genuine_stateless(&keys(), &text[..20]) && !is_genuine_stateless(&keys(), b""));
    }

    #[test]
    fn loops_and_spirals() {
        let text = BranchId::new(&keys(), 1, 2, Key { index: 3, generation: 4 }, 5, Time::ZERO).text(u64::MAX - 9);
        assert_eq!(came_back(&text, (u64::MAX - 9, 0)), Some(Return::Loop));
        assert_eq!(came_back(&text, (8, u64::MAX - 9)), Some(Return::Spiral));
        assert_eq!(came_back(b"z9hG4bKabc.abc", (8, 8)), None);
    }
}
