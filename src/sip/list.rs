//! Comma separated header values (RFC 3261 §7.3.1).

use super::bytes::{quoted_len, trim};

/// The trimmed parts of a comma separated value, see [`split_list`].
#[derive(Clone, Debug)]
pub struct List<'a> {
    rest: Option<&'a [u8]>,
}

/// Splits at commas outside quoted strings and angle brackets. An empty value has no part; two
/// commas in a row make an empty one. A quote or bracket that is never closed takes the rest.
pub fn split_list(value: &[u8]) -> List<'_> {
    List { rest: if trim(value).is_empty() { None } else { Some(value) } }
}

impl<'a> List<'a> {
    /// What has not been handed out yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        match comma(rest) {
            Some(at) => {
                self.rest = rest.get(at + 1..);
                Some(trim(rest.get(..at).unwrap_or_default()))
            }
            None => Some(trim(rest)),
        }
    }
}

/// Position of the first comma outside quotes and angle brackets.
fn comma(b: &[u8]) -> Option<usize> {
    memchr::memchr(b',', b)?;
    let mut i = 0;
    while let Some(&c) = b.get(i) {
        match c {
            b',' => return Some(i),
            b'"' => i += quoted_len(b.get(i..)?)?,
            b'<' => i += memchr::memchr(b'>', b.get(i..)?)? + 1,
            _ => i += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let parts: Vec<_> = split_list(br#" "a, \" b" <sip:x,y@z> ;q=1 , <sip:b>, c"#).collect();
        assert_eq!(parts, [&br#""a, \" b" <sip:x,y@z> ;q=1"#[..], b"<sip:b>", b"c"]);
        assert_eq!(split_list(b"a,,b,").collect::<Vec<_>>(), [&b"a"[..], b"", b"b", b""]);
        assert_eq!(split_list(b"  ").count(), 0);
        assert_eq!(split_list(b"\"a,b").count(), 1);
        assert_eq!(split_list(b"<a,b").count(), 1);
    }
}
