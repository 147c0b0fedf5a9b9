//! Writing a request (RFC 9112 sections 2 and 3).

use super::url::Url;
use crate::ops::{HttpMethod, HttpRequest};
use std::fmt;

/// Why a request cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// No colon, or no token in front of it.
    Name,
    /// A line end or another control character.
    Control,
    /// `Transfer-Encoding`: the length is this client's business.
    Framing,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadHeader::Name => "a header line is not `Name: value`",
            BadHeader::Control => "a header line contains a line end or another control character",
            BadHeader::Framing => "Transfer-Encoding cannot be set",
        })
    }
}

/// The word in the request line.
pub fn method_name(method: HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Head => "HEAD",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Options => "OPTIONS",
    }
}

/// Whether sending it twice does no more than sending it once (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: HttpMethod) -> bool {
    !matches!(method, HttpMethod::Post | HttpMethod::Patch)
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// The bytes of a request, body included. A field that the caller sets replaces ours.
pub fn encode(request: &HttpRequest, url: &Url) -> Result<Vec<u8>, BadHeader> {
    let mut fields: Vec<(&[u8], &[u8])> = Vec::with_capacity(request.headers.len());
    for line in &request.headers {
        // RFC 9110 section 5.5: these could end the field, or mean something else to somebody else.
        if line.iter().any(|b| (b.is_ascii_control() && *b != b'\t') || *b == 0x7f) {
            return Err(BadHeader::Control);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(BadHeader::Name)?;
        let (name, value) = line.split_at(colon);
        if !is_token(name) {
            return Err(BadHeader::Name);
        }
        if name.eq_ignore_ascii_case(b"Transfer-Encoding") {
            return Err(BadHeader::Framing);
        }
        fields.push((name, value.get(1..).unwrap_or_default().trim_ascii()));
    }
    let given = |name: &str| fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));

    let body: &[u8] = request.body.as_ref().map(|(b, _)| b.as_bytes()).unwrap_or_default();
    let mut out = Vec::with_capacity(256 + url.target.len() + body.len());
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let own_host = url.host_field();
    // RFC 9110 section 7.2: Host comes first.
    let host = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(b"Host")).map_or(own_host.as_bytes(), |(_, v)| v);
    field("Host", host);
    if !given("Accept") {
        field("Accept", b"*/*");
    }
    if let Some(value) = &url.authorization
        && !given("Authorization")
    {
        field("Authorization", value.as_bytes());
    }
    if let Some((_, Some(kind))) = &request.body
        && !given("Content-Type")
    {
        if kind.iter().any(u8::is_ascii_control) {
            return Err(BadHeader::Control);
        }
        field("Content-Type", kind.trim_ascii());
    }
    // RFC 9110 section 8.6: methods that define a body say so when it is empty, too.
    let defines_body = matches!(request.method, HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch);
    if request.body.is_some() || defines_body {
        field("Content-Length", body.len().to_string().as_bytes());
    }
    for (name, value) in &fields {
        if !name.eq_ignore_ascii_case(b"Host") && !name.eq_ignore_ascii_case(b"Content-Length") {
            field(&String::from_utf8_lossy(name), value);
        }
    }
    let mut all = format!("{} {} HTTP/1.1\r\n", method_name(request.method), url.target).into_bytes();
    all.reserve(out.len() + body.len() + 2);
    all.extend_from_slice(&out);
    all.extend_from_slice(b"\r\n");
    all.extend_from_slice(body);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(method: HttpMethod, headers: &[&str], body: Option<(&str, Option<&str>)>) -> HttpRequest {
        HttpRequest {
            method,
            url: "".into(),
            headers: headers.iter().map(|h| (*h).into()).collect(),
            body: body.map(|(b, t)| (b.into(), t.map(Into::into))),
            connect_timeout: Duration::ZERO,
            max_body: 0,
            verify_peer: true,
            verify_host: true,
            ca_file: None,
        }
    }

    fn text(request: &HttpRequest, url: &str) -> Result<String, BadHeader> {
        encode(request, &Url::parse(url.as_bytes()).unwrap()).map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn what_is_sent() {
        assert_eq!(
            text(&request(HttpMethod::Get, &["X-A:  b ", "x-c:"], None), "http://h:8080/p?q").unwrap(),
            "GET /p?q HTTP/1.1\r\nHost: h:8080\r\nAccept: */*\r\nX-A: b\r\nx-c: \r\n\r\n"
        );
        assert_eq!(
            text(&request(HttpMethod::Post, &[], Some(("{}", Some("application/json")))), "https://u:p@h").unwrap(),
            "POST / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nAuthorization: Basic dTpw\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{}"
        );
        let put = request(HttpMethod::Put, &["accept: a/b", "Host: other", "Content-Length: 77"], None);
        assert_eq!(
            text(&put, "http://h").unwrap(),
            "PUT / HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\naccept: a/b\r\n\r\n"
        );
    }

    #[test]
    fn what_is_refused() {
        for (line, why) in [
            ("A: b\r\nC: d", BadHeader::Control),
            ("A: b\n", BadHeader::Control),
            ("A\0: b", BadHeader::Control),
            ("no colon", BadHeader::Name),
            (": b", BadHeader::Name),
            ("a b: c", BadHeader::Name),
            ("Transfer-Encoding: chunked", BadHeader::Framing),
        ] {
            assert_eq!(text(&request(HttpMethod::Get, &[line], None), "http://h"), Err(why), "{line:?}");
        }
        let post = request(HttpMethod::Post, &[], Some(("", Some("a\r\nb: c"))));
        assert_eq!(text(&post, "http://h"), Err(BadHeader::Control));
    }
}
