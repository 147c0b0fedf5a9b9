//! Writing a URI anew with one part changed.

use super::Uri;
use crate::sip::bytes::push_number;

/// The parts of a sip or sips URI, some of them replaced.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    scheme: &'a [u8],
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
    headers: Option<&'a [u8]>,
}

impl Parts<'_> {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.params.len());
        out.extend_from_slice(self.scheme);
        out.push(b':');
        if let Some(user) = self.user {
            out.extend_from_slice(user);
            if let Some(password) = self.password {
                out.push(b':');
                out.extend_from_slice(password);
            }
            if !self.host.is_empty() {
                out.push(b'@');
            }
        }
        out.extend_from_slice(self.host);
        if let Some(port) = self.port {
            out.push(b':');
            push_number(&mut out, u64::from(port));
        }
        out.extend_from_slice(self.params);
        if let Some(headers) = self.headers {
            out.push(b'?');
            out.extend_from_slice(headers);
        }
        out
    }
}

impl Uri<'_> {
    fn parts(&self) -> Parts<'_> {
        Parts {
            scheme: self.scheme_bytes,
            user: self.user,
            password: self.password,
            host: self.host,
            port: self.port,
            params: self.params.raw(),
            headers: self.headers,
        }
    }

    /// The URI with another user part (as it is to be written, escapes included), or without
    /// user and password. The password is kept.
    pub fn with_user(&self, user: Option<&[u8]>) -> Vec<u8> {
        let p = self.parts();
        let password = user.and(p.password);
        Parts { user, password, ..p }.write()
    }

    /// The URI with another host, which may carry a port (`host:port`); without one the port of
    /// the URI is kept.
    pub fn with_host(&self, host: &[u8]) -> Vec<u8> {
        let has_port = super::host_len(host).is_some_and(|n| host.get(n) == Some(&b':'));
        let p = self.parts();
        Parts { host, port: if has_port { None } else { p.port }, ..p }.write()
    }

    /// The URI with another port, or without one.
    pub fn with_port(&self, port: Option<u16>) -> Vec<u8> {
        Parts { port, ..self.parts() }.write()
    }

    /// The URI with another scheme.
    pub fn with_scheme(&self, scheme: &[u8]) -> Vec<u8> {
        Parts { scheme, ..self.parts() }.write()
    }

    /// The URI with a parameter set: every earlier one of that name is gone, the new one is last.
    pub fn with_param(&self, name: &[u8], value: Option<&[u8]>) -> Vec<u8> {
        let mut params = self.params_without(name);
        params.push(b';');
        params.extend_from_slice(name);
        if let Some(value) = value {
            params.push(b'=');
            params.extend_from_slice(value);
        }
        Parts { params: &params, ..self.parts() }.write()
    }

    /// The URI without the parameters of that name.
    pub fn without_param(&self, name: &[u8]) -> Vec<u8> {
        let params = self.params_without(name);
        Parts { params: &params, ..self.parts() }.write()
    }

    /// The URI without its headers part (a Request-URI must not carry one, §19.1.1).
    pub fn without_headers(&self) -> Vec<u8> {
        Parts { headers: None, ..self.parts() }.write()
    }

    /// The URI without what must not stand in a Request-URI (RFC 3261 16.6 step 2, table 1 of 19.1.1): headers and
    /// `method`. `None` if there is none of it.
    pub fn for_request_line(&self) -> Option<Vec<u8>> {
        if !self.is_sip() || (self.headers.is_none() && !self.params.has(b"method")) {
            return None;
        }
        let params = self.params_without(b"method");
        Some(Parts { params: &params, headers: None, ..self.parts() }.write())
    }

    fn params_without(&self, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.params.raw().len() + 32);
        for p in self.params.iter().filter(|p| !p.name.eq_ignore_ascii_case(name)) {
            if p.whole.first() != Some(&b';') {
                out.push(b';');
            }
            out.extend_from_slice(p.whole);
        }
        out
    }
}
