//! `"Name" <uri>;params`: From, To, Contact, Route and their kind (RFC 3261 §20.10).

use super::bytes::{is_lws, is_uri_byte, quoted_len, trim, unescape_quoted, unquote};
use super::error::ParseError;
use super::list::{List, split_list};
use super::params::Params;
use super::uri::Uri;
use std::borrow::Cow;

/// One address of a header value: slices of the text it was parsed from.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameAddr<'a> {
    /// The whole entry, parameters included, without white space around it.
    pub raw: &'a [u8],
    /// Display name as written, quotes included; empty if there is none.
    pub display: &'a [u8],
    /// The URI without its angle brackets; `*` in `Contact: *`.
    pub uri: &'a [u8],
    /// Whether the URI stood in angle brackets.
    pub bracketed: bool,
    /// Parameters of the header (not of the URI).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Parses one entry. White space inside the brackets at either end of the URI is forgiven
    /// (RFC 4475 §3.1.2.15), as are characters a display name would have to quote (§3.1.2.16).
    pub fn parse(raw: &'a [u8]) -> Result<NameAddr<'a>, ParseError> {
        Self::try_parse(trim(raw)).ok_or(ParseError::malformed("Bad Address"))
    }

    fn try_parse(raw: &'a [u8]) -> Option<NameAddr<'a>> {
        let mut i = 0;
        let open = loop {
            match raw.get(i) {
                Some(b'"') => i += quoted_len(raw.get(i..)?)?,
                Some(b'<') => break Some(i),
                Some(b';') | None => break None,
                Some(_) => i += 1,
            }
        };
        let (display, uri, tail) = match open {
            Some(open) => {
                let inner = raw.get(open + 1..)?;
                let close = memchr::memchr(b'>', inner)?;
                (trim(raw.get(..open)?), trim(inner.get(..close)?), inner.get(close + 1..)?)
            }
            None => {
                // §20.10: without brackets, what follows the semicolon belongs to the header.
                let (uri, tail) = raw.split_at(i.min(raw.len()));
                (&b""[..], trim(uri), tail)
            }
        };
        let tail = trim(tail);
        let params = Params::new(tail);
        let ok = !uri.is_empty()
            && uri.iter().all(|&b| is_uri_byte(b))
            && (tail.is_empty()
                || (tail.first() == Some(&b';') && (params.plain(|_, _| ()) || params.is_well_formed())));
        ok.then_some(NameAddr { raw, display, uri, bracketed: open.is_some(), params })
    }

    /// The entries of a comma separated value.
    pub fn list(value: &'a [u8]) -> NameAddrs<'a> {
        NameAddrs { parts: split_list(value) }
    }

    /// The whole entry without its parameters.
    pub fn address(&self) -> &'a [u8] {
        let tail = self.params.raw().len();
        self.raw.get(..self.raw.len().saturating_sub(tail)).map_or(self.raw, trim)
    }

    /// The display name without its quotes, escapes as written.
    pub fn name(&self) -> &'a [u8] {
        unquote(self.display)
    }

    /// The display name without its quotes and with `\x` pairs resolved.
    pub fn name_unescaped(&self) -> Cow<'a, [u8]> {
        unescape_quoted(self.display)
    }

    /// The URI, parsed.
    pub fn parse_uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri)
    }

    /// The `tag` parameter; empty ones do not count.
    pub fn tag(&self) -> Option<&'a [u8]> {
        let mut tag = None;
        let plain = self.params.plain(|name, value| {
            if tag.is_none() && name.eq_ignore_ascii_case(b"tag") {
                tag = value.filter(|v| !v.is_empty());
            }
        });
        if plain {
            return tag;
        }
        let mut tags = self.params.iter().filter(|p| p.name.eq_ignore_ascii_case(b"tag"));
        tags.find_map(|p| Some(p.text()).filter(|t| !t.is_empty()))
    }

    /// The value of a header parameter, unquoted; empty if it is there without a value.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name).map(|p| p.text())
    }

    /// Whether it is the `*` of `Contact: *` (§10.2.2).
    pub fn is_star(&self) -> bool {
        self.uri == b"*" && !self.bracketed
    }

    /// The entry without its parameters, as written.
    pub fn without_params(&self) -> &'a [u8] {
        let n = self.raw.len().saturating_sub(self.params.raw().len());
        let b = self.raw.get(..n).unwrap_or_default();
        let end = b.iter().rposition(|&c| !is_lws(c)).map_or(0, |p| p + 1);
        b.get(..end).unwrap_or_default()
    }
}

/// Iterator over the entries of a comma separated value.
#[derive(Clone, Debug)]
pub struct NameAddrs<'a> {
    parts: List<'a>,
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = Result<NameAddr<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.parts.next().map(NameAddr::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(s: &str) -> NameAddr<'_> {
        NameAddr::parse(s.as_bytes()).unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn forms() {
        let a = addr(r#" "A. \"G.\" Bell, <x>" <sip:agb@bell.example.com;x=1> ;tag=a48s ; q"#);
        assert_eq!(a.name(), br#"A. \"G.\" Bell, <x>"#);
        assert_eq!(&*a.name_unescaped(), br#"A. "G." Bell, <x>"#);
        assert_eq!(a.address(), br#""A. \"G.\" Bell, <x>" <sip:agb@bell.example.com;x=1>"#);
        assert_eq!(addr("sip:a@b;tag=1").address(), b"sip:a@b");
        assert_eq!(addr("<sip:a@b>").address(), b"<sip:a@b>");
        assert_eq!(a.uri, b"sip:agb@bell.example.com;x=1");
        assert_eq!(a.tag(), Some(&b"a48s"[..]));
        assert_eq!(a.param(b"Q"), Some(&b""[..]));
        assert!(a.without_params().ends_with(b"x=1>"));
        let a = addr("sip:+12125551212@server.phone2net.com;tag=887s");
        assert_eq!((a.uri, a.tag()), (&b"sip:+12125551212@server.phone2net.com"[..], Some(&b"887s"[..])));
        assert_eq!(a.without_params(), b"sip:+12125551212@server.phone2net.com");
        assert_eq!(addr("caller<sip:caller@example.com>;tag=323").name(), b"caller");
        assert_eq!(addr("Bell, Alexander <sip:a@example.com>;tag=43").name(), b"Bell, Alexander");
        assert_eq!(addr("\"Watson\" < sip:t.watson@example.org >").uri, b"sip:t.watson@example.org");
        assert!(addr("*").is_star());
        let a = addr("TO\r\n <sip:a@b>\r\n ;\r\n tag\r\n =\r\n 1");
        assert_eq!(a.tag(), Some(&b"1"[..]));
    }

    #[test]
    fn malformed_ones() {
        for bad in [
            "",
            r#""Mr. J. User <sip:j.user@example.com>"#,
            "<sip:a@b",
            "<>",
            "<sip:a b@c>",
            "<sip:a@b> x",
            "\"Joe\" <sip:joe@example.org>;;;;",
            "sip:a b",
            ";tag=1",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists() {
        let all: Vec<_> = NameAddr::list(b"<sip:a;lr>, \"x, y\" <sip:b>;q=1").map(|a| a.unwrap().uri).collect();
        assert_eq!(all, [&b"sip:a;lr"[..], b"sip:b"]);
    }
}
