//! Hashes that nobody outside can foresee.

use std::hash::Hasher;

/// SipHash-2-4 of a text.
#[allow(deprecated)]
pub fn keyed(key: [u64; 2], text: &[u8]) -> u64 {
    let mut h = std::hash::SipHasher::new_with_keys(key[0], key[1]);
    h.write(text);
    h.finish()
}
