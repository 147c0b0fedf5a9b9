//! `http` and `https` URLs (RFC 3986, RFC 9110 section 4.2), as far as a client needs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL accepted, in bytes.
const MAX_LENGTH: usize = 64 * 1024;
/// Longest host name (RFC 1035 section 2.3.4, as text).
const MAX_HOST: usize = 253;

/// A URL taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Name or address, in lower case, IPv6 without brackets.
    pub host: String,
    /// The address, if the host is one.
    pub ip: Option<IpAddr>,
    /// Port, 80 or 443 if the URL has none.
    pub port: u16,
    /// Path and query, fit for a request line.
    pub target: String,
    /// Value of `Authorization`, if the URL has user and password (RFC 7617).
    pub authorization: Option<String>,
}

/// Why a URL is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadUrl {
    /// Longer than 64 KiB.
    TooLong,
    /// A control character.
    Control,
    /// Neither `http` nor `https`.
    Scheme,
    /// The host is missing or is no host.
    Host,
    /// The port is no port.
    Port,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadUrl::TooLong => "the URL is too long",
            BadUrl::Control => "the URL contains a control character",
            BadUrl::Scheme => "the URL's scheme is neither http nor https",
            BadUrl::Host => "the URL names no valid host",
            BadUrl::Port => "the URL's port is not valid",
        })
    }
}

impl Url {
    /// Takes a URL apart. One without a scheme is `http`. Spaces and bytes beyond ASCII are
    /// percent-encoded; control characters are refused (they could end the request line).
    pub fn parse(text: &[u8]) -> Result<Url, BadUrl> {
        if text.len() > MAX_LENGTH {
            return Err(BadUrl::TooLong);
        }
        if text.iter().any(u8::is_ascii_control) {
            return Err(BadUrl::Control);
        }
        let text = text.trim_ascii();
        let (tls, rest) = scheme(text)?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (userinfo, host_port) = match authority.iter().rposition(|b| *b == b'@') {
            Some(at) => (authority.get(..at), authority.get(at + 1..).unwrap_or_default()),
            None => (None, authority),
        };
        let (host, ip, port) = host_and_port(host_port)?;
        Ok(Url {
            tls,
            host,
            ip,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            target: target(rest),
            authorization: userinfo.map(basic),
        })
    }

    /// The same place with another path and query.
    pub fn with_target(&self, path_and_query: &[u8]) -> Result<Url, BadUrl> {
        if path_and_query.len() > MAX_LENGTH {
            return Err(BadUrl::TooLong);
        }
        if path_and_query.iter().any(u8::is_ascii_control) {
            return Err(BadUrl::Control);
        }
        Ok(Url { target: target(path_and_query), authorization: None, ..self.clone() })
    }

    /// `host:port`, the port in any case (RFC 9112 section 3.2.3).
    pub fn authority(&self) -> String {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        if matches!(self.ip, Some(IpAddr::V6(_))) {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Value of the `Host` field (RFC 9110 section 7.2): the port only if it is not the scheme's own.
    pub fn host_field(&self) -> String {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        let host = if matches!(self.ip, Some(IpAddr::V6(_))) { format!("[{host}]") } else { host.to_string() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

fn scheme(text: &[u8]) -> Result<(bool, &[u8]), BadUrl> {
    let Some(at) = memchr::memmem::find(text, b"://") else { return Ok((false, text)) };
    let (name, rest) = text.split_at(at);
    // A "://" further behind, as in "host/?u=http://x", is not a scheme's.
    if name.iter().any(|b| matches!(b, b'/' | b'?' | b'#')) {
        return Ok((false, text));
    }
    let rest = rest.get(3..).unwrap_or_default();
    if name.eq_ignore_ascii_case(b"http") {
        Ok((false, rest))
    } else if name.eq_ignore_ascii_case(b"https") {
        Ok((true, rest))
    } else {
        Err(BadUrl::Scheme)
    }
}

type HostPort = (String, Option<IpAddr>, Option<u16>);

fn host_and_port(text: &[u8]) -> Result<HostPort, BadUrl> {
    let text = std::str::from_utf8(text).map_err(|_| BadUrl::Host)?;
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BadUrl::Host)?;
        let ip: Ipv6Addr = host.parse().map_err(|_| BadUrl::Host)?;
        let port = match rest.strip_prefix(':') {
            Some(p) => port(p)?,
            None if rest.is_empty() => None,
            None => return Err(BadUrl::Host),
        };
        return Ok((ip.to_string(), Some(IpAddr::V6(ip)), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((h, p)) => (h, port(p)?),
        None => (text, None),
    };
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > MAX_HOST || host.starts_with('.') || !host.bytes().all(valid) {
        return Err(BadUrl::Host);
    }
    let ip = host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    Ok((host.to_ascii_lowercase(), ip, port))
}

/// An empty port is the scheme's own (RFC 3986 section 3.2.3).
fn port(text: &str) -> Result<Option<u16>, BadUrl> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadUrl::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(BadUrl::Port),
        Ok(n) => Ok(Some(n)),
    }
}

/// Path and query without the fragment; what may not stand in a request line is percent-encoded.
fn target(rest: &[u8]) -> String {
    let rest = rest.split(|b| *b == b'#').next().unwrap_or_default();
    let mut out = String::with_capacity(rest.len() + 1);
    if rest.first() != Some(&b'/') {
        out.push('/');
    }
    for b in rest {
        match *b {
            b' ' | b'"' | b'<' | b'>' | 0x80.. => {
                out.push('%');
                for digit in [b >> 4, b & 15] {
                    out.extend(char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()));
                }
            }
            b => out.push(char::from(b)),
        }
    }
    out
}

/// RFC 7617 section 2.
fn basic(userinfo: &[u8]) -> String {
    let mut plain = percent_decode(userinfo);
    if !userinfo.contains(&b':') {
        plain.push(b':');
    }
    format!("Basic {}", STANDARD.encode(plain))
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%'
            && let (Some(high), Some(low)) = (hex(tail.first()), hex(tail.get(1)))
        {
            out.push(high << 4 | low);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn parts() {
        let u = url("http://Example.COM/a/b?c=d#frag");
        assert_eq!((u.tls, u.host.as_str(), u.port, u.target.as_str()), (false, "example.com", 80, "/a/b?c=d"));
        assert_eq!((u.host_field().as_str(), u.ip, u.authorization), ("example.com", None, None));
        let u = url("HTTPS://[2001:DB8::1]:8443?x");
        assert_eq!((u.tls, u.port, u.target.as_str()), (true, 8443, "/?x"));
        assert_eq!(u.host_field(), "[2001:db8::1]:8443");
        assert!(matches!(u.ip, Some(IpAddr::V6(_))));
        assert_eq!(url("https://h:443").host_field(), "h");
        assert_eq!(url("http://h:443").host_field(), "h:443");
        assert_eq!(url("http://h.:80/").host_field(), "h");
        assert_eq!(url("http://127.0.0.1:").port, 80);
        assert_eq!(url("127.0.0.1:8080/x").port, 8080);
        assert_eq!(url("h/?u=http://x").target, "/?u=http://x");
    }

    #[test]
    fn user_and_password() {
        assert_eq!(
            url("http://Aladdin:open%20sesame@h/").authorization.as_deref(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert_eq!(url("http://a@b@h/").authorization, Some(format!("Basic {}", STANDARD.encode("a@b:"))));
        assert_eq!(url("http://%4@h/").authorization, Some(format!("Basic {}", STANDARD.encode("%4:"))));
    }

    #[test]
    fn what_cannot_stand_in_a_request_line_is_encoded_or_refused() {
        assert_eq!(url("http://h/a b?\u{e9}=\"x\"&c=%20").target, "/a%20b?%C3%A9=%22x%22&c=%20");
        for (text, why) in [
            ("http://h/\r\nX: y", BadUrl::Control),
            ("http://h/\0", BadUrl::Control),
            ("ftp://h/", BadUrl::Scheme),
            ("://h/", BadUrl::Scheme),
            ("http://", BadUrl::Host),
            ("", BadUrl::Host),
            ("not a url", BadUrl::Host),
            ("http:///path", BadUrl::Host),
            ("http://ex ample/", BadUrl::Host),
            ("http://h%41/", BadUrl::Host),
            ("http://[::1", BadUrl::Host),
            ("http://[::1]x/", BadUrl::Host),
            ("http://[fe80::1%25eth0]/", BadUrl::Host),
            ("http://::1/", BadUrl::Port),
            ("http://h:0/", BadUrl::Port),
            ("http://h:65536/", BadUrl::Port),
            ("http://h:+80/", BadUrl::Port),
            ("http://h:80:80/", BadUrl::Port),
        ] {
            assert_eq!(Url::parse(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(Url::parse(&vec![b'a'; MAX_LENGTH + 1]), Err(BadUrl::TooLong));
    }
}
