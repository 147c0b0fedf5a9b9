//! Nonces that need no memory: when it was made, a number of its own, and a code that only who has the key can make.
//!
//! ```text
//! 1 algorithm | 8 microseconds since 1970 | 8 number | 12 code over these | 8 code over what it is bound to
//! ```
//!
//! as base64url without padding. The last part stands only where a nonce is bound to parts of its request.

use super::Algorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const HEAD: usize = 17;
const CODE: usize = 12;
const BOUND: usize = 8;

/// A nonce, opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce {
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// Its number, which no other nonce of the same time has.
    pub number: u64,
    /// The algorithm that it was offered with.
    pub algorithm: Algorithm,
}

/// Why a text is not one of our nonces, or not for this request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It was not made with this key.
    Foreign,
    /// It was made for a request that differs in what it is bound to.
    Changed,
}

fn code(key: &[u8], purpose: u8, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    mac.update(&[purpose]);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A number for a nonce: nobody can foresee it, and the same parts give the same one.
pub fn number(key: &[u8], parts: &[&[u8]]) -> u64 {
    let code = code(key, b'n', parts);
    u64::from_be_bytes([code[0], code[1], code[2], code[3], code[4], code[5], code[6], code[7]])
}

/// Writes a nonce. `bound`: the parts of the request that it is good for only.
pub fn seal(key: &[u8], nonce: &Nonce, bound: Option<&[u8]>) -> String {
    let number = Algorithm::ALL.iter().position(|a| *a == nonce.algorithm).unwrap_or(0) as u8;
    let mut bytes = Vec::with_capacity(HEAD + CODE + BOUND);
    bytes.push(number);
    bytes.extend_from_slice(&nonce.made.to_be_bytes());
    bytes.extend_from_slice(&nonce.number.to_be_bytes());
    let own = code(key, b'h', &[&bytes]);
    if let Some(bound) = bound {
        let tied = code(key, b'b', &[&bytes, bound]);
        bytes.extend_from_slice(&own[..CODE]);
        bytes.extend_from_slice(&tied[..BOUND]);
    } else {
        bytes.extend_from_slice(&own[..CODE]);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a nonce that came back. `bound`: as for [`seal`].
///
/// # Errors
/// Why it does not count.
pub fn open(key: &[u8], text: &[u8], bound: Option<&[u8]>) -> Result<Nonce, Fault> {
    // What is longer is not ours; nothing is decoded for it.
    if text.len() > 64 {
        return Err(Fault::Foreign);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Foreign)?;
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or(Fault::Foreign)?;
    let (own, tied) = rest.split_at_checked(CODE).ok_or(Fault::Foreign)?;
    if !matches!(tied.len(), 0 | BOUND) || !same(own, &code(key, b'h', &[head])[..CODE]) {
        return Err(Fault::Foreign);
    }
    let (made, number) = (head.get(1..9), head.get(9..17));
    let number_of = |b: Option<&[u8]>| b.and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
    let (Some(made), Some(number)) = (number_of(made), number_of(number)) else { return Err(Fault::Foreign) };
    let algorithm = head.first().and_then(|n| Algorithm::ALL.get(usize::from(*n)).copied()).ok_or(Fault::Foreign)?;
    if let Some(bound) = bound
        && !same(tied, &code(key, b'b', &[head, bound])[..BOUND])
    {
        return Err(Fault::Changed);
    }
    Ok(Nonce { made, number, algorithm })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce { made: 1_700_000_000_000_000, number: 77, algorithm: Algorithm::Sha256 };

    #[test]
    fn what_was_sealed_is_opened() {
        for bound in [None, Some(&b"sip:bob@example.com"[..])] {
            let text = seal(b"key", &NONCE, bound);
            assert_eq!(open(b"key", text.as_bytes(), bound), Ok(NONCE));
            assert_eq!(open(b"kez", text.as_bytes(), bound), Err(Fault::Foreign));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
        }
        let bound = seal(b"key", &NONCE, Some(b"a"));
        assert_eq!(open(b"key", bound.as_bytes(), Some(b"b")), Err(Fault::Changed));
        // Checks that were switched off meanwhile do not matter; those that were switched on do.
        assert_eq!(open(b"key", bound.as_bytes(), None), Ok(NONCE));
        assert_eq!(open(b"key", seal(b"key", &NONCE, None).as_bytes(), Some(b"a")), Err(Fault::Changed));
    }

    #[test]
    fn no_changed_byte_goes_through() {
        let text = seal(b"key", &NONCE, Some(b"a")).into_bytes();
        for at in 0..text.len() {
            for byte in [b'A', b'z', b'_', b'=', b' ', 0] {
                let mut changed = text.clone();
                changed[at] = byte;
                if changed != text {
                    assert!(open(b"key", &changed, Some(b"a")).is_err());
                }
            }
            assert!(open(b"key", &text[..at], Some(b"a")).is_err());
        }
        assert_eq!(open(b"key", &[b'A'; 5000], None), Err(Fault::Foreign));
        assert_eq!(open(b"key", b"", None), Err(Fault::Foreign));
    }

    #[test]
    fn numbers_differ_with_their_parts() {
        assert_eq!(number(b"k", &[b"a", b"b"]), number(b"k", &[b"a", b"b"]));
        assert_ne!(number(b"k", &[b"a", b"b"]), number(b"k", &[b"ab", b""]));
        assert_ne!(number(b"k", &[b"a"]), number(b"l", &[b"a"]));
    }
}
