//! String literals: from what is written between the quotes to the bytes that are meant.

/// The bytes of a string literal, given with its quotes. `'...'` is taken as it is; in `"..."`
/// the escapes `\n \r \a \t \" \\`, `\xHH` and octal `\oo`/`\ooo` are resolved, `\` before a newline
/// swallows both, and every other `\c` stays as written (so `"\d"` and `"\1"` reach a regular expression).
pub fn decode(literal: &str) -> Vec<u8> {
    let bytes = literal.as_bytes();
    let inner = match bytes {
        [_, inner @ .., _] => inner,
        _ => return Vec::new(),
    };
    if bytes.first() == Some(&b'\'') || !inner.contains(&b'\\') {
        return inner.to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != b'\\' {
            out.push(c);
            continue;
        }
        rest = escape(after, &mut out);
    }
    out
}

/// Resolves one escape; `rest` starts behind the backslash. Returns what follows the escape.
fn escape<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let simple = |b: u8, rest: &'a [u8], out: &mut Vec<u8>| {
        out.push(b);
        rest
    };
    match rest {
        [b'n', rest @ ..] => simple(b'\n', rest, out),
        [b'r', rest @ ..] => simple(b'\r', rest, out),
        [b'a', rest @ ..] => simple(7, rest, out),
        [b't', rest @ ..] => simple(b'\t', rest, out),
        [b'"', rest @ ..] => simple(b'"', rest, out),
        [b'\\', rest @ ..] => simple(b'\\', rest, out),
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => rest,
        [b'x', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
            let len = 1 + usize::from(rest.get(1).is_some_and(u8::is_ascii_hexdigit));
            let (digits, rest) = rest.split_at(len);
            out.push(digits.iter().fold(0, |n, d| n << 4 | hex(*d)));
            rest
        }
        [b'0'..=b'7', b'0'..=b'7', ..] => {
            // A value above 0377 would not fit a byte: then only two digits belong to the escape.
            let three = rest[0] <= b'3' && rest.get(2).is_some_and(|d| (b'0'..=b'7').contains(d));
            let (digits, rest) = rest.split_at(if three { 3 } else { 2 });
            out.push(digits.iter().fold(0, |n, d| n << 3 | (d - b'0')));
            rest
        }
        rest => simple(b'\\', rest, out),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(literal: &str) -> String {
        String::from_utf8_lossy(&decode(literal)).into_owned()
    }

    #[test]
    fn escapes_of_double_quotes() {
        assert_eq!(text(r#""a\r\nb\t\"c\"\\""#), "a\r\nb\t\"c\"\\");
        assert_eq!(text(r#""\x41\x4a\x7z""#), "AJ\u{7}z");
        assert_eq!(text(r#""\101\12.""#), "A\n.");
        assert_eq!(decode(r#""\377\477""#), b"\xff\x277");
        assert_eq!(text("\"a\\\nb\""), "ab");
        assert_eq!(text("\"a\\\r\nb\""), "ab");
    }

    #[test]
    fn what_a_regular_expression_needs_stays() {
        assert_eq!(text(r#""^\+?[0-9]\d\.\1$""#), r"^\+?[0-9]\d\.\1$");
        assert_eq!(text(r#""\xg\8""#), r"\xg\8");
    }

    #[test]
    fn single_quotes_are_raw() {
        assert_eq!(text(r"'a\n\'"), r"a\n\");
        assert_eq!(text("''"), "");
    }
}
