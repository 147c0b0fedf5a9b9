//! Character classes and small parsers shared by the header parsers (RFC 3261 §25.1).

use std::io::Write;

const TOKEN: u8 = 1;
const HOST: u8 = 2;
const URI: u8 = 4;
const MARK: u8 = 8;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut t = [0u8; 256];
    let mut i = 0usize;
    while i < 256 {
        let b = i as u8;
        if b.is_ascii_alphanumeric() {
            t[i] |= TOKEN | HOST;
        }
        if matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            t[i] |= TOKEN;
        }
        // Underscores are no host name characters, but are common in private names.
        if matches!(b, b'-' | b'.' | b'_') {
            t[i] |= HOST;
        }
        if b > b' ' && b != 0x7f && !matches!(b, b'<' | b'>' | b'"') {
            t[i] |= URI;
        }
        if matches!(b, b';' | b'=' | b'"' | b' ' | b'\t' | b'\r' | b'\n' | b'(') {
            t[i] |= MARK;
        }
        i += 1;
    }
    t
}

/// A `token` character.
pub fn is_token_byte(b: u8) -> bool {
    CLASSES[b as usize] & TOKEN != 0
}

/// A host name or IPv4 character (underscore included, brackets not).
pub fn is_host_byte(b: u8) -> bool {
    CLASSES[b as usize] & HOST != 0
}

/// What may stand somewhere in a URI: no space, control character, quote or angle bracket.
pub fn is_uri_byte(b: u8) -> bool {
    CLASSES[b as usize] & URI != 0
}

/// What means something among parameters: separators, quotes, white space, the start of a comment.
pub(super) fn is_mark(b: u8) -> bool {
    CLASSES[b as usize] & MARK != 0
}

/// Whether `b` is a non-empty `token`.
pub fn is_token(b: &[u8]) -> bool {
    !b.is_empty() && b.iter().all(|&c| is_token_byte(c))
}

/// White space inside a header value; folds make CR and LF part of it (§7.3.1).
pub fn is_lws(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// `b` without white space at its front.
pub fn trim_start(mut b: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = b {
        if !is_lws(*first) {
            break;
        }
        b = rest;
    }
    b
}

/// `b` without white space at its back.
pub fn trim_end(mut b: &[u8]) -> &[u8] {
    while let [rest @ .., last] = b {
        if !is_lws(*last) {
            break;
        }
        b = rest;
    }
    b
}

/// `b` without white space at either end.
pub fn trim(b: &[u8]) -> &[u8] {
    trim_end(trim_start(b))
}

/// A decimal number: digits only, leading zeros allowed, `None` on anything else or overflow.
pub fn parse_u32(b: &[u8]) -> Option<u32> {
    parse_u64(b).and_then(|n| u32::try_from(n).ok())
}

/// As [`parse_u32`], for 64 bits.
pub fn parse_u64(b: &[u8]) -> Option<u64> {
    if b.is_empty() {
        return None;
    }
    let mut n = 0u64;
    for &c in b {
        let d = c.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(d))?;
    }
    Some(n)
}

/// Writes `n` in decimal without an allocation.
pub fn push_number(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut n = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes an address without brackets (IPv4-mapped IPv6 addresses as they are).
pub fn push_ip(out: &mut Vec<u8>, ip: std::net::IpAddr) {
    match ip {
        std::net::IpAddr::V4(v4) => {
            for (i, part) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(part));
            }
        }
        // Writing to a Vec cannot fail.
        std::net::IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Length of the quoted string at the front of `b`, both quotes included; `None` if `b` does
/// not start with a quote or the quote is never closed.
pub fn quoted_len(b: &[u8]) -> Option<usize> {
    if b.first() != Some(&b'"') {
        return None;
    }
    let mut i = 1;
    while let Some(&c) = b.get(i) {
        match c {
            b'\\' => i += 2,
            b'"' => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

/// `b` without the quotes around it, if it has them; escapes inside stay as they are.
pub fn unquote(b: &[u8]) -> &[u8] {
    match b {
        [b'"', inner @ .., b'"'] => inner,
        _ => b,
    }
}

/// The content of a quoted string with its `\x` pairs resolved; other text unchanged.
pub fn unescape_quoted(b: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let inner = unquote(b);
    if inner.len() == b.len() || !inner.contains(&b'\\') {
        return inner.into();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&c) = rest.next() {
        match c {
            b'\\' => out.extend(rest.next()),
            _ => out.push(c),
        }
    }
    out.into()
}

/// Folds (CRLF followed by white space) replaced by one space each (§7.3.1).
pub fn unfold(b: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if memchr::memchr(b'\n', b).is_none() {
        return b.into();
    }
    let mut out: Vec<u8> = Vec::with_capacity(b.len());
    let mut i = 0;
    while let Some(&c) = b.get(i) {
        if c == b'\n' {
            while out.last().is_some_and(|&l| is_lws(l)) {
                out.pop();
            }
            while b.get(i).is_some_and(|&l| is_lws(l)) {
                i += 1;
            }
            out.push(b' ');
        } else {
            out.push(c);
            i += 1;
        }
    }
    out.into()
}

/// The value of a hex digit.
pub fn hex_value(b: u8) -> Option<u8> {
    (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// `%xx` escapes resolved; a `%` that starts no escape stays.
pub fn unescape_uri(b: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if memchr::memchr(b'%', b).is_none() {
        return b.into();
    }
    let mut out = Vec::with_capacity(b.len());
    let mut rest = b;
    while let [c, tail @ ..] = rest {
        if let (b'%', [h, l, after @ ..]) = (*c, tail)
            && let (Some(h), Some(l)) = (hex_value(*h), hex_value(*l))
        {
            out.push(h << 4 | l);
            rest = after;
            continue;
        }
        out.push(*c);
        rest = tail;
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only_and_checked() {
        assert_eq!(parse_u32(b"0068"), Some(68));
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(parse_u32(b"4294967296"), None);
        assert_eq!(parse_u32(b"-1"), None);
        assert_eq!(parse_u32(b"+1"), None);
        assert_eq!(parse_u32(b""), None);
        assert_eq!(parse_u64(b"36893488147419103232"), None);
        let mut out = Vec::new();
        push_number(&mut out, 0);
        push_number(&mut out, u64::MAX);
        assert_eq!(out, b"018446744073709551615");
        out.clear();
        push_ip(&mut out, "192.0.2.10".parse().unwrap());
        push_ip(&mut out, "2001:db8::1".parse().unwrap());
        assert_eq!(out, b"192.0.2.102001:db8::1");
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(quoted_len(br#""a\"b" x"#), Some(6));
        assert_eq!(quoted_len(br#""a\"#), None);
        assert_eq!(quoted_len(b"a"), None);
        assert_eq!(&*unescape_quoted(br#""a\"b\\""#), br#"a"b\"#);
        assert_eq!(&*unescape_uri(b"%41b%4%zz%"), b"Ab%4%zz%");
        assert_eq!(&*unfold(b"a \r\n \tb\n c"), b"a b c");
        assert_eq!(trim(b" \t\r\n a b \r\n"), b"a b");
    }
}
