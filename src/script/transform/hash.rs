//! `{s.md5}`, `{s.sha*}`, `{s.sha*_hmac}`, `{s.crc32}`.

use super::code::hex;
use super::{Digest, Failed, Outcome};
use crate::script::value::Value;
use hmac::{Hmac, KeyInit, Mac};
use md5::Digest as _;

/// Lower-case hexadecimal digest.
pub(super) fn digest(kind: Digest, text: &[u8]) -> Value {
    Value::text(match kind {
        Digest::Md5 => hex(&md5::Md5::digest(text)),
        Digest::Sha1 => hex(&sha1::Sha1::digest(text)),
        Digest::Sha224 => hex(&sha2::Sha224::digest(text)),
        Digest::Sha256 => hex(&sha2::Sha256::digest(text)),
        Digest::Sha384 => hex(&sha2::Sha384::digest(text)),
        Digest::Sha512 => hex(&sha2::Sha512::digest(text)),
    })
}

/// Lower-case hexadecimal HMAC (RFC 2104).
pub(super) fn hmac(kind: Digest, key: &[u8], text: &[u8]) -> Outcome {
    fn run<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Outcome {
        let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| Failed)?;
        mac.update(text);
        Ok(Value::text(hex(&mac.finalize().into_bytes())))
    }
    match kind {
        Digest::Md5 => run::<Hmac<md5::Md5>>(key, text),
        Digest::Sha1 => run::<Hmac<sha1::Sha1>>(key, text),
        Digest::Sha224 => run::<Hmac<sha2::Sha224>>(key, text),
        Digest::Sha256 => run::<Hmac<sha2::Sha256>>(key, text),
        Digest::Sha384 => run::<Hmac<sha2::Sha384>>(key, text),
        Digest::Sha512 => run::<Hmac<sha2::Sha512>>(key, text),
    }
}

/// CRC-32 (IEEE 802.3), in decimal.
pub(super) fn crc32(text: &[u8]) -> Value {
    let mut crc = u32::MAX;
    for b in text {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    Value::text((!crc).to_string())
}

/// The 32 bits that Kamailio's core makes of one or two texts to spread them (`core_hash`): words of four bytes, each mixed
/// with itself and summed up.
pub fn core_hash(first: &[u8], second: &[u8]) -> u32 {
    let mut sum = 0u32;
    for text in [Some(first), Some(second).filter(|t| !t.is_empty())].into_iter().flatten() {
        let words = text.chunks_exact(4);
        let rest = words.remainder();
        for word in words.chain([rest]) {
            // Bytes count as signed there.
            let value = word.iter().fold(0u32, |v, b| (v << 8).wrapping_add(i32::from(*b as i8) as u32));
            sum = sum.wrapping_add(value ^ (value >> 3));
        }
    }
    sum.wrapping_add(sum >> 11).wrapping_add(sum >> 13).wrapping_add(sum >> 23)
}
