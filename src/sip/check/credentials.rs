//! Credentials of Authorization and Proxy-Authorization (RFC 3261 §22.4, RFC 8760, RFC 7616).

use crate::sip::bytes::{is_lws, is_token, trim, unquote};
use crate::sip::list::split_list;

/// Splits the scheme off.
fn scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let value = trim(value);
    let end = value.iter().position(|&b| is_lws(b)).unwrap_or(value.len());
    let (name, rest) = value.split_at(end);
    (name, trim(rest))
}

/// Whether the credentials are of the scheme `Digest`.
pub fn is_digest(value: &[u8]) -> bool {
    scheme(value).0.eq_ignore_ascii_case(b"Digest")
}

/// Whether digest credentials have all that they need, each once and with a value that can be one:
/// username, realm, nonce, uri and response, and with `qop` also cnonce and nc.
pub fn digest_is_complete(value: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [b"username", b"realm", b"nonce", b"uri", b"response", b"qop", b"cnonce", b"nc"];
    let mut found: [Option<&[u8]>; NAMES.len()] = [None; NAMES.len()];
    for part in split_list(scheme(value).1) {
        let Some(eq) = memchr::memchr(b'=', part) else { return false };
        let (name, text) = (trim(part.get(..eq).unwrap_or_default()), part.get(eq + 1..).unwrap_or_default());
        if !is_token(name) {
            return false;
        }
        let slot = NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)).and_then(|i| found.get_mut(i));
        match slot {
            Some(Some(_)) => return false,
            Some(slot) => *slot = Some(unquote(trim(text))),
            // RFC 7616 §3.4.4: the name may be hashed or encoded.
            None if name.eq_ignore_ascii_case(b"username*") => found[0] = Some(unquote(trim(text))),
            None => {}
        }
    }
    let [username, realm, nonce, uri, response, qop, cnonce, nc] = found;
    let hex = |b: &[u8]| !b.is_empty() && b.iter().all(u8::is_ascii_hexdigit);
    let with_qop = qop.is_none_or(|qop| {
        (qop.eq_ignore_ascii_case(b"auth") || qop.eq_ignore_ascii_case(b"auth-int"))
            && cnonce.is_some_and(|c| !c.is_empty())
            && nc.is_some_and(|n| n.len() == 8 && hex(n))
    });
    username.is_some_and(|u| !u.is_empty())
        && realm.is_some()
        && nonce.is_some_and(|n| !n.is_empty())
        && uri.is_some_and(|u| !u.is_empty())
        // 32 digits of MD5, 64 of the SHA-2 ones (RFC 8760).
        && response.is_some_and(|r| (32..=128).contains(&r.len()) && hex(r))
        && with_qop
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Digest username=\"bob\", realm=\"a, b\", nonce=\"n\", uri=\"sip:x\", \
                        response=\"0123456789abcdef0123456789ABCDEF\", qop=auth, nc=00000001, cnonce=\"c\"";

    #[test]
    fn complete_and_incomplete_ones() {
        assert!(is_digest(GOOD.as_bytes()) && digest_is_complete(GOOD.as_bytes()));
        for (old, new) in [("qop=auth, nc=00000001, cnonce=\"c\"", "opaque=\"\""), ("Digest ", "digest\r\n  ")] {
            let text = GOOD.replace(old, new);
            assert!(is_digest(text.as_bytes()) && digest_is_complete(text.as_bytes()), "{text}");
        }
        for (old, new) in [
            ("username=\"bob\", ", ""),
            ("\"bob\"", "\"\""),
            ("realm", "reaim"),
            ("nonce=\"n\"", "nonce=\"n\", nonce=\"m\""),
            ("nonce=\"n\"", "nonce"),
            ("0123456789abcdef0123456789ABCDEF", "0123"),
            ("0123456789abcdef0123456789ABCDEF", "g123456789abcdef0123456789ABCDEF"),
            ("nc=00000001", "nc=1"),
            ("cnonce=\"c\"", "x=1"),
            ("qop=auth", "qop=none"),
            ("username=\"bob\"", "user name=\"bob\""),
        ] {
            let text = GOOD.replacen(old, new, 1);
            assert!(!digest_is_complete(text.as_bytes()), "{text}");
        }
        assert!(!is_digest(b"Bearer abc") && !is_digest(b"") && !digest_is_complete(b"Digest"));
    }
}
