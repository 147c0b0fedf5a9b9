//! `;name=value` parameters of header values and URIs.

use super::bytes::{is_mark, quoted_len, trim, unescape_quoted, unquote};
use std::borrow::Cow;

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name as written.
    pub name: &'a [u8],
    /// Its value as written, quotes included; `None` without a `=`.
    pub value: Option<&'a [u8]>,
    /// Everything from its semicolon to the end of its value.
    pub whole: &'a [u8],
}

impl<'a> Param<'a> {
    /// The value without its quotes; empty if there is none.
    pub fn text(&self) -> &'a [u8] {
        unquote(self.value.unwrap_or_default())
    }

    /// The value without its quotes and with `\x` pairs resolved.
    pub fn unescaped(&self) -> Cow<'a, [u8]> {
        unescape_quoted(self.value.unwrap_or_default())
    }
}

/// A run of parameters, with or without a semicolon in front. Cheap to copy; parsed on the go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameters in `raw`.
    pub fn new(raw: &'a [u8]) -> Params<'a> {
        Params { raw }
    }

    /// The text they were made of.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The text without the semicolon in front.
    pub fn text(&self) -> &'a [u8] {
        let t = trim(self.raw);
        t.strip_prefix(b";").map_or(t, trim)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them in order; empty ones (`;;`) are skipped.
    pub fn iter(&self) -> ParamIter<'a> {
        ParamIter { rest: self.raw }
    }

    /// The first one with this name, in any letter case.
    pub fn get(&self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first one with this name, without quotes. `None` if it is absent or has
    /// no value.
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).and_then(|p| p.value).map(unquote)
    }

    /// Whether one with this name is there.
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Hands out name and value of each parameter if they are as nearly all are: a semicolon in front,
    /// no quote, no white space, no comment, none without a name. False where something else was met;
    /// then nothing that was handed out counts.
    pub(super) fn plain(&self, mut each: impl FnMut(&'a [u8], Option<&'a [u8]>)) -> bool {
        let raw = self.raw;
        match raw.first() {
            None => return true,
            Some(b';') => {}
            Some(_) => return false,
        }
        let mut start = 1;
        let mut equals = None;
        let mut at = 1;
        loop {
            let byte = raw.get(at).copied();
            match byte {
                Some(b) if !is_mark(b) => {}
                Some(b'=') => equals = equals.or(Some(at)),
                Some(b';') | None => {
                    let name = raw.get(start..equals.unwrap_or(at)).unwrap_or_default();
                    if name.is_empty() {
                        return false;
                    }
                    each(name, equals.map(|e| raw.get(e + 1..at).unwrap_or_default()));
                    if byte.is_none() {
                        return true;
                    }
                    start = at + 1;
                    equals = None;
                }
                Some(_) => return false,
            }
            at += 1;
        }
    }

    /// Whether they are well-formed: balanced quotes, no nameless parameter but for a lone
    /// semicolon at the end, which some user agents send.
    pub fn is_well_formed(&self) -> bool {
        let mut rest = trim(self.raw);
        if rest.is_empty() {
            return true;
        }
        if let Some(r) = rest.strip_prefix(b";") {
            rest = r;
        }
        loop {
            let Some(end) = part_end(rest) else { return false };
            let (part, after) = rest.split_at(end.min(rest.len()));
            let part = trim(part);
            if part.is_empty() {
                return after.is_empty();
            }
            if part.first() == Some(&b'=') {
                return false;
            }
            match after.get(1..) {
                Some(r) => rest = r,
                None => return true,
            }
        }
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Param<'a>;
    type IntoIter = ParamIter<'a>;
    fn into_iter(self) -> ParamIter<'a> {
        self.iter()
    }
}

/// End of the parameter at the front of `b`: its next semicolon outside quotes, or the end.
/// `None` if a quote is never closed.
fn part_end(b: &[u8]) -> Option<usize> {
    let mut i = 0;
    loop {
        match memchr::memchr2(b';', b'"', b.get(i..)?) {
            None => return Some(b.len()),
            Some(n) => {
                i += n;
                if b.get(i) == Some(&b';') {
                    return Some(i);
                }
                i += quoted_len(b.get(i..)?)?;
            }
        }
    }
}

/// Iterator over [`Params`].
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let all = self.rest;
            let skip = usize::from(all.first() == Some(&b';'));
            let body = all.get(skip..)?;
            let end = part_end(body).unwrap_or(body.len());
            let (part, after) = body.split_at(end.min(body.len()));
            self.rest = after;
            let part = trim(part);
            if part.is_empty() {
                continue;
            }
            let whole = all.get(..skip + end)?;
            let (name, value) = match memchr::memchr(b'=', part) {
                Some(eq) => (trim(part.get(..eq)?), Some(trim(part.get(eq + 1..)?))),
                None => (part, None),
            };
            return Some(Param { name, value, whole });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_quotes_and_flags() {
        let p = Params::new(br#" ;  tag    = 1918 ; lr;q="a;b\"=c" ;x="#);
        let all: Vec<_> = p.iter().map(|p| (p.name, p.value)).collect();
        assert_eq!(
            all,
            [(&b"tag"[..], Some(&b"1918"[..])), (b"lr", None), (b"q", Some(&br#""a;b\"=c""#[..])), (b"x", Some(b""))]
        );
        assert_eq!(p.value(b"TAG"), Some(&b"1918"[..]));
        assert_eq!(p.value(b"q"), Some(&br#"a;b\"=c"#[..]));
        assert_eq!(p.value(b"lr"), None);
        assert!(p.has(b"LR"));
        assert!(p.is_well_formed());
        assert_eq!(Params::new(b"a=1;b=2").iter().count(), 2);
    }

    #[test]
    fn nameless_ones_and_open_quotes_are_malformed() {
        for odd in [&b";;"[..], b";a;", b"a=1", b";a= 1", b";a=\"b\"", b";=1", b";a=1;", b";a(b"] {
            assert!(!Params::new(odd).plain(|_, _| ()), "{:?}", odd.escape_ascii().to_string());
        }
        for plain in [&b""[..], b";a", b";a=1;b;c==d=", b";lr;transport=tcp;x="] {
            let mut seen = Vec::new();
            assert!(Params::new(plain).plain(|name, value| seen.push((name, value))));
            assert_eq!(seen, Params::new(plain).iter().map(|p| (p.name, p.value)).collect::<Vec<_>>());
        }
        for bad in [&b";;"[..], b";a;;b", b";=1", b";a=\"x", b";;,;,,"] {
            assert!(!Params::new(bad).is_well_formed(), "{:?}", bad.escape_ascii().to_string());
        }
        for good in [&b""[..], b";a", b"a", b";a=1;", b" ; a = 1 ; b"] {
            assert!(Params::new(good).is_well_formed(), "{:?}", good.escape_ascii().to_string());
        }
    }
}
