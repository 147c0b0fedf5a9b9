//! Forward proxies (RFC 9110 sections 3.7 and 9.3.6): whether one is used, and how it is spoken to.

use super::url::Url;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A proxy for HTTP.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Proxy {
    /// Name or address, as in [`Url`].
    pub host: String,
    /// The address, if the host is one.
    pub ip: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// Value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl Proxy {
    /// Reads `[http://][USER:PASSWORD@]HOST:PORT`.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let url = Url::parse(text.as_bytes()).map_err(|e| e.to_string())?;
        if url.tls {
            return Err("a proxy is spoken to by http; it may carry https all the same".into());
        }
        if url.target != "/" {
            return Err("a proxy has no path".into());
        }
        Ok(Proxy { host: url.host, ip: url.ip, port: url.port, authorization: url.authorization })
    }

    /// Asks it for a connection to the host of a URL.
    pub fn connect_head(&self, url: &Url) -> Vec<u8> {
        let to = url.authority();
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(value) = &self.authorization {
            head.push_str("Proxy-Authorization: ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Whether a host is among those that are reached without a proxy: itself, a domain it is in (with or without
/// a dot in front), or `*` for all.
pub fn is_direct(direct: &[String], host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    direct.iter().any(|entry| {
        let name = entry.strip_prefix('.').unwrap_or(entry);
        if name == "*" {
            return true;
        }
        let Some(at) = host.len().checked_sub(name.len()) else { return false };
        let fits = host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(name));
        fits && !name.is_empty() && (at == 0 || host.as_bytes().get(at - 1) == Some(&b'.'))
    })
}

/// The entries of a list as operators write it, separated by commas or blanks.
pub fn direct_list(text: &str) -> Vec<String> {
    let entries = text.split([',', ' ', '\t']).map(|e| e.trim_matches(['[', ']']));
    entries.filter(|e| !e.is_empty()).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let p = Proxy::parse("http://Proxy.example:3128").unwrap();
        assert_eq!((p.host.as_str(), p.port, p.ip, p.authorization), ("proxy.example", 3128, None, None));
        let p = Proxy::parse("Aladdin:open%20sesame@[::1]:8080/").unwrap();
        assert_eq!((p.port, p.ip), (8080, "::1".parse().ok()));
        assert_eq!(p.authorization.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        for bad in ["https://p:1", "socks5://p:1", "", "http://p:0", "http://p/path", "a b"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_asked() {
        let url = |text: &str| Url::parse(text.as_bytes()).unwrap();
        let p = Proxy::parse("proxy:3128").unwrap();
        let head = String::from_utf8(p.connect_head(&url("https://Host.test/path?x"))).unwrap();
        assert_eq!(head, "CONNECT host.test:443 HTTP/1.1\r\nHost: host.test:443\r\n\r\n");
        let p = Proxy::parse("u:p@proxy:3128").unwrap();
        let head = String::from_utf8(p.connect_head(&url("https://[::1]:8443/"))).unwrap();
        assert_eq!(head, "CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
    }

    #[test]
    fn who_needs_none() {
        let list = direct_list("localhost, 127.0.0.1 .internal.test,example.com,[::1]");
        for host in
            ["localhost", "127.0.0.1", "internal.test", "a.internal.test", "EXAMPLE.com", "x.example.com.", "::1"]
        {
            assert!(is_direct(&list, host), "{host}");
        }
        for host in ["localhost2", "notexample.com", "example.com.evil.test", "127.0.0.2", "com", ""] {
            assert!(!is_direct(&list, host), "{host}");
        }
        assert!(is_direct(&direct_list("*"), "anything"));
        assert!(!is_direct(&direct_list(" , "), "anything"));
    }
}
