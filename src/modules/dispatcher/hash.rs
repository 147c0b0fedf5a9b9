//! Hashes by which calls find the same destination every time, and what is hashed.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::sip::uri::{Scheme, Uri};

/// The peers' hash of a text, or of two one after the other: four bytes at a time as a number, each with itself shifted by
/// three, summed; then folded. 32 bits.
pub fn hash(parts: &[&[u8]]) -> u32 {
    let mut sum = 0u32;
    for text in parts {
        for chunk in text.chunks(4) {
            let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
            sum = sum.wrapping_add(word ^ (word >> 3));
        }
    }
    let folded = sum.wrapping_add(sum >> 11).wrapping_add((sum >> 13).wrapping_add(sum >> 23));
    if folded == 0 { 1 } else { folded }
}

/// User, and host with its port unless that is the usual one; with `user_only` the user alone. A URI without a user is its
/// host.
pub fn of_uri(text: &[u8], user_only: bool) -> Option<u32> {
    let uri = Uri::parse(text).ok()?;
    let usual = if uri.scheme == Scheme::Sips { 5061 } else { 5060 };
    let place = match uri.port {
        Some(port) if port != usual => uri.host_port(),
        _ => uri.host,
    };
    Some(match uri.user {
        Some(user) if user_only || place.is_empty() => hash(&[user]),
        Some(user) => hash(&[user, place]),
        None => hash(&[place]),
    })
}

/// The hash of what the digest credentials call their user.
pub fn of_user(h: &mut SipHost) -> Option<u32> {
    use crate::modules::pv::Pv;
    use crate::script::host::Index;
    let user = crate::modules::pv_get::get(h, Pv::AuthUsername, None, Index::None, crate::base::Time::ZERO);
    let user: Str = user.to_text().filter(|u| !u.is_empty())?;
    Some(hash(&[&user]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_uri() {
        assert_eq!(of_uri(b"sip:bob@a.com", false), Some(hash(&[b"bob", b"a.com"])));
        assert_eq!(of_uri(b"sip:bob@a.com:5060", false), Some(hash(&[b"bob", b"a.com"])));
        assert_eq!(of_uri(b"sip:bob@a.com:5070;x=1", false), Some(hash(&[b"bob", b"a.com:5070"])));
        assert_eq!(of_uri(b"sip:bob@a.com:5070", true), Some(hash(&[b"bob"])));
        assert_eq!(of_uri(b"sip:a.com", true), Some(hash(&[b"a.com"])));
        assert_eq!(of_uri(b"nonsense", true), None);
        assert_eq!(hash(&[b""]), 1);
        assert_ne!(hash(&[b"abcd"]), hash(&[b"abce"]));
    }
}
