//! Redirections (RFC 9110 section 15.4): where an answer leads to, and with what.

use super::url::{BadUrl, Url};
use crate::ops::{HttpMethod, HttpResponse};
use std::fmt;

/// The next request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Its URL.
    pub url: Url,
    /// Its method.
    pub method: HttpMethod,
    /// Whether the body goes along; without it the fields that describe it do not either.
    pub keeps_body: bool,
    /// Whether it goes to the same scheme, host and port; credentials go nowhere else.
    pub same_origin: bool,
}

/// Why a redirection is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It leads to no `http` or `https` URL.
    Url(BadUrl),
    /// It leads from `https` to `http`: what was confidential would not be any more.
    Downgrade,
    /// `Location` comes several times, with different values.
    Ambiguous,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Url(why) => write!(f, "redirected to nowhere: {why}"),
            Refused::Downgrade => f.write_str("redirected from https to http"),
            Refused::Ambiguous => f.write_str("redirected to several places"),
        }
    }
}

/// What follows the answer to `method` at `from`; `None` if it is no redirection, or names no place.
pub fn follow(from: &Url, method: HttpMethod, answer: &HttpResponse) -> Result<Option<Hop>, Refused> {
    let (method, keeps_body) = match (answer.status, method) {
        // RFC 9110 sections 15.4.2 and 15.4.3: what everybody makes of POST there.
        (301 | 302, HttpMethod::Post) => (HttpMethod::Get, false),
        (301 | 302 | 307 | 308, method) => (method, true),
        (303, HttpMethod::Head) => (HttpMethod::Head, false),
        (303, _) => (HttpMethod::Get, false),
        _ => return Ok(None),
    };
    let mut places = answer.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(b"Location")).map(|(_, v)| v);
    let Some(place) = places.next() else { return Ok(None) };
    if places.any(|other| other != place) {
        return Err(Refused::Ambiguous);
    }
    let mut url = join(from, place).map_err(Refused::Url)?;
    if from.tls && !url.tls {
        return Err(Refused::Downgrade);
    }
    let same_origin = (from.tls, &from.host, from.port) == (url.tls, &url.host, url.port);
    if same_origin && url.authorization.is_none() {
        url.authorization.clone_from(&from.authorization);
    }
    Ok(Some(Hop { url, method, keeps_body, same_origin }))
}

/// A reference, seen from `base` (RFC 3986 section 5.2).
pub fn join(base: &Url, reference: &[u8]) -> Result<Url, BadUrl> {
    let reference = reference.trim_ascii();
    let reference = reference.split(|b| *b == b'#').next().unwrap_or_default();
    if let Some(scheme) = scheme(reference) {
        let behind = reference.get(scheme..).unwrap_or_default();
        return if behind.starts_with(b"://") { Url::parse(reference) } else { Err(BadUrl::Scheme) };
    }
    if reference.starts_with(b"//") {
        let scheme: &[u8] = if base.tls { b"https:" } else { b"http:" };
        return Url::parse(&[scheme, reference].concat());
    }
    let target = base.target.as_bytes();
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let whole = match reference.first() {
        None => target.to_vec(),
        Some(b'?') => [path, reference].concat(),
        Some(b'/') => without_dots(reference),
        Some(_) => {
            let folder = path.iter().rposition(|b| *b == b'/').and_then(|at| path.get(..=at)).unwrap_or(b"/");
            without_dots(&[folder, reference].concat())
        }
    };
    base.with_target(&whole)
}

/// Length of the scheme, if there is one: a letter, then letters, digits, `+`, `-`, `.`, up to a colon (RFC 3986
/// section 3.1).
fn scheme(reference: &[u8]) -> Option<usize> {
    let end = reference.iter().position(|b| !b.is_ascii_alphanumeric() && !b"+-.".contains(b))?;
    (reference.get(end) == Some(&b':') && reference.first().is_some_and(u8::is_ascii_alphabetic)).then_some(end)
}

/// The same without `.` and `..` in its path (RFC 3986 section 5.2.4).
fn without_dots(target: &[u8]) -> Vec<u8> {
    let end = target.iter().position(|b| *b == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(target.len() + 1);
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out.extend_from_slice(query);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text.as_bytes()).unwrap()
    }

    fn answer(status: u16, locations: &[&str]) -> HttpResponse {
        let headers = locations.iter().map(|l| ("Location".into(), (*l).into())).collect();
        HttpResponse { status, headers, ..HttpResponse::default() }
    }

    fn joined(base: &str, reference: &str) -> Result<String, BadUrl> {
        let u = join(&url(base), reference.as_bytes())?;
        Ok(format!("{}://{}{}", if u.tls { "https" } else { "http" }, u.host_field(), u.target))
    }

    #[test]
    fn references() {
        // RFC 3986 section 5.4, with a base as HTTP has them.
        let base = "http://a/b/c/d;p?q";
        for (reference, whole) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://other:8443/x", "https://other:8443/x"),
            ("  /with space ", "http://a/with%20space"),
        ] {
            assert_eq!(joined(base, reference).as_deref(), Ok(whole), "{reference}");
        }
        assert_eq!(joined("http://a", "g").as_deref(), Ok("http://a/g"));
        for bad in ["ftp://a/", "mailto:x@y", "http:g", "javascript:x", "localhost:80/x", "http://", "/a\r\nb", "/\0"] {
            assert!(joined(base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn methods() {
        let from = url("http://a/");
        let hop =
            |status, method| follow(&from, method, &answer(status, &["/x"])).unwrap().map(|h| (h.method, h.keeps_body));
        use HttpMethod::{Delete, Get, Head, Post, Put};
        for status in [301, 302] {
            assert_eq!(hop(status, Get), Some((Get, true)));
            assert_eq!(hop(status, Head), Some((Head, true)));
            assert_eq!(hop(status, Post), Some((Get, false)));
            assert_eq!(hop(status, Put), Some((Put, true)));
        }
        for status in [307, 308] {
            assert_eq!(hop(status, Post), Some((Post, true)));
            assert_eq!(hop(status, Delete), Some((Delete, true)));
        }
        assert_eq!(hop(303, Put), Some((Get, false)));
        assert_eq!(hop(303, Head), Some((Head, false)));
        for status in [200, 201, 300, 304, 305, 306, 399, 400] {
            assert_eq!(hop(status, Get), None, "{status}");
        }
        assert_eq!(follow(&from, Get, &answer(302, &[])), Ok(None));
        assert_eq!(follow(&from, Get, &answer(302, &["/a", "/b"])), Err(Refused::Ambiguous));
        assert!(follow(&from, Get, &answer(302, &["/a", "/a"])).unwrap().is_some());
    }

    #[test]
    fn credentials_stay_where_they_belong() {
        let get = |from: &str, to: &str| follow(&url(from), HttpMethod::Get, &answer(302, &[to]));
        let hop = get("http://u:p@a/", "/x").unwrap().unwrap();
        assert!(hop.same_origin && hop.url.authorization.is_some());
        for to in ["http://b/", "http://a:81/", "https://a/", "//a.b/"] {
            let hop = get("http://u:p@a/", to).unwrap().unwrap();
            assert!(!hop.same_origin && hop.url.authorization.is_none(), "{to}");
        }
        assert!(get("http://a/", "http://x:y@b/").unwrap().unwrap().url.authorization.is_some());
        assert_eq!(get("https://a/", "http://a/"), Err(Refused::Downgrade));
        assert!(get("https://a/", "//a/").unwrap().unwrap().url.tls);
    }
}
