//! Writing a request (RFC 9112 sections 2 and 3).

use super::proxy::Proxy;
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

/// A request, fit to be sent.
#[derive(PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// How much of that is the head.
    pub head: usize,
    /// Whether the server is to say first that it wants the body (RFC 9110 section 10.1.1).
    pub expects: bool,
    /// Whether a content coding of the answer is to be undone: not if the caller has chosen the codings.
    pub decode: bool,
}

/// Writes a request. A field that the caller sets replaces ours. `proxy`: it goes to this one, which passes it on.
/// `expect`: the server may be asked first whether it wants the body.
pub fn encode(request: &HttpRequest, url: &Url, proxy: Option<&Proxy>, expect: bool) -> Result<Encoded, BadHeader> {
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

    let options = &request.options;
    let body: &[u8] = request.body.as_ref().map(|(b, _)| b.as_bytes()).unwrap_or_default();
    let mut out = Vec::with_capacity(256 + url.target.len() + body.len());
    let version = if options.http10 { "1.0" } else { "1.1" };
    out.extend_from_slice(method_name(request.method).as_bytes());
    out.push(b' ');
    if proxy.is_some() {
        // RFC 9112 section 3.2.2.
        out.extend_from_slice(b"http://");
        out.extend_from_slice(url.host_field().as_bytes());
    }
    out.extend_from_slice(url.target.as_bytes());
    out.extend_from_slice(format!(" HTTP/{version}\r\n").as_bytes());
    let mut field = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let own_host = url.host_field();
    // RFC 9110 section 7.2: Host comes first.
    let host = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(b"Host")).map_or(own_host.as_bytes(), |(_, v)| v);
    field(b"Host", host);
    if let Some(value) = proxy.and_then(|p| p.authorization.as_ref())
        && !given("Proxy-Authorization")
    {
        field(b"Proxy-Authorization", value.as_bytes());
    }
    if !given("Accept") {
        field(b"Accept", b"*/*");
    }
    let codings = given("Accept-Encoding");
    if options.compression && !codings {
        field(b"Accept-Encoding", b"gzip, deflate");
    }
    if let Some(value) = &url.authorization
        && !given("Authorization")
    {
        field(b"Authorization", value.as_bytes());
    }
    if let Some((_, Some(kind))) = &request.body
        && !given("Content-Type")
    {
        if kind.iter().any(u8::is_ascii_control) {
            return Err(BadHeader::Control);
        }
        field(b"Content-Type", kind.trim_ascii());
    }
    // RFC 9110 section 8.6: methods that define a body say so when it is empty, too.
    let defines_body = matches!(request.method, HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch);
    if request.body.is_some() || defines_body {
        field(b"Content-Length", body.len().to_string().as_bytes());
    }
    let expects = expect && !body.is_empty() && !options.http10 && !given("Expect");
    if expects {
        field(b"Expect", b"100-continue");
    }
    for (name, value) in &fields {
        if !name.eq_ignore_ascii_case(b"Host") && !name.eq_ignore_ascii_case(b"Content-Length") {
            field(name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    let head = out.len();
    out.extend_from_slice(body);
    Ok(Encoded { bytes: out, head, expects, decode: !codings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::HttpOptions;
    use std::rc::Rc;

    fn request(method: HttpMethod, headers: &[&str], body: Option<(&str, Option<&str>)>) -> HttpRequest {
        HttpRequest {
            method,
            url: "".into(),
            headers: headers.iter().map(|h| (*h).into()).collect(),
            body: body.map(|(b, t)| (b.into(), t.map(Into::into))),
            options: Rc::default(),
        }
    }

    fn text(request: &HttpRequest, url: &str) -> Result<String, BadHeader> {
        through(request, url, None)
    }

    fn through(request: &HttpRequest, url: &str, proxy: Option<&Proxy>) -> Result<String, BadHeader> {
        let url = Url::parse(url.as_bytes()).unwrap();
        let encoded = encode(request, &url, proxy, request.options.expect)?;
        assert_eq!(encoded.bytes.len() - encoded.head, request.body.as_ref().map_or(0, |(b, _)| b.len()));
        Ok(String::from_utf8(encoded.bytes).unwrap())
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

    #[test]
    fn what_options_add() {
        let with = |options: HttpOptions, headers: &[&str], body| {
            let r = HttpRequest { options: Rc::new(options), ..request(HttpMethod::Post, headers, body) };
            text(&r, "http://h/").unwrap()
        };
        let head = "POST / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n";
        let compressed = HttpOptions { compression: true, ..HttpOptions::default() };
        assert_eq!(
            with(compressed.clone(), &[], None),
            format!("{head}Accept-Encoding: gzip, deflate\r\nContent-Length: 0\r\n\r\n")
        );
        assert_eq!(
            with(compressed, &["Accept-Encoding: br"], None),
            format!("{head}Content-Length: 0\r\nAccept-Encoding: br\r\n\r\n")
        );
        let expecting = HttpOptions { expect: true, ..HttpOptions::default() };
        assert_eq!(
            with(expecting.clone(), &[], Some(("x", None))),
            format!("{head}Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx")
        );
        assert_eq!(with(expecting.clone(), &[], None), format!("{head}Content-Length: 0\r\n\r\n"));
        assert_eq!(
            with(HttpOptions { http10: true, ..expecting }, &[], Some(("x", None))),
            "POST / HTTP/1.0\r\nHost: h\r\nAccept: */*\r\nContent-Length: 1\r\n\r\nx"
        );
    }

    #[test]
    fn what_a_proxy_is_sent() {
        let proxy = Proxy::parse("u:p@proxy:3128").unwrap();
        let get = request(HttpMethod::Get, &[], None);
        assert_eq!(
            through(&get, "http://a:b@host:8080/x?y", Some(&proxy)).unwrap(),
            "GET http://host:8080/x?y HTTP/1.1\r\nHost: host:8080\r\nProxy-Authorization: Basic dTpw\r\n\
             Accept: */*\r\nAuthorization: Basic YTpi\r\n\r\n"
        );
    }
}
