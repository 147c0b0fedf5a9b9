//! Logging in at a web server: Basic (RFC 7617) and Digest (RFC 7616). Sans-IO: the answer to a challenge.

use crate::base::Str;
use base64::Engine as _;
use md5::Digest as _;
use serde::{Deserialize, Serialize};

/// Basic is allowed.
pub const BASIC: u8 = 1;
/// Digest is allowed.
pub const DIGEST: u8 = 2;

/// Challenges that are looked at in one answer.
const MAX_CHALLENGES: usize = 16;

/// Who logs in, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user's name.
    pub user: Str,
    /// The password.
    pub password: Str,
    /// [`BASIC`], [`DIGEST`], or both: then the server says first which it wants.
    pub methods: u8,
}

/// What a server wants to know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    params: Vec<(String, Vec<u8>)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }
}

impl Login {
    /// The header line for the first request: only Basic needs no challenge.
    pub fn first(&self) -> Option<Str> {
        (self.methods & (BASIC | DIGEST) == BASIC).then(|| self.basic())
    }

    /// The header line that answers a 401 with these `WWW-Authenticate` fields; `None`: there is none.
    /// `target` is the request's path and query, `cnonce` a text that nobody can foresee.
    pub fn answer<'a>(
        &self,
        fields: impl Iterator<Item = &'a [u8]>,
        method: &str,
        target: &str,
        cnonce: &str,
    ) -> Option<Str> {
        let challenges: Vec<Challenge> = fields.flat_map(challenges).take(MAX_CHALLENGES).collect();
        let named = |name: &'static str| challenges.iter().filter(move |c| c.scheme.eq_ignore_ascii_case(name));
        if self.methods & DIGEST != 0
            && let Some(line) = named("Digest").find_map(|c| self.digest(c, method, target, cnonce))
        {
            return Some(line);
        }
        (self.methods & BASIC != 0 && named("Basic").next().is_some()).then(|| self.basic())
    }

    fn basic(&self) -> Str {
        let both = [&self.user[..], b":", &self.password[..]].concat();
        Str::from(format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(both)))
    }

    fn digest(&self, c: &Challenge, method: &str, target: &str, cnonce: &str) -> Option<Str> {
        let algorithm = c.get("algorithm").unwrap_or(b"MD5");
        let name = std::str::from_utf8(algorithm).ok()?;
        let (hash, session): (fn(&[u8]) -> String, bool) = match name.to_ascii_uppercase().as_str() {
            "MD5" => (md5, false),
            "MD5-SESS" => (md5, true),
            "SHA-256" => (sha256, false),
            "SHA-256-SESS" => (sha256, true),
            _ => return None,
        };
        let (realm, nonce) = (c.get("realm").unwrap_or_default(), c.get("nonce")?);
        let offered = c.get("qop").map(|list| {
            list.split(|b| *b == b',').map(<[u8]>::trim_ascii).any(|word| word.eq_ignore_ascii_case(b"auth"))
        });
        if offered == Some(false) {
            // Only auth-int.
            return None;
        }
        let mut ha1 = hash(&[&self.user[..], b":", realm, b":", &self.password[..]].concat());
        if session {
            ha1 = hash(&[ha1.as_bytes(), b":", nonce, b":", cnonce.as_bytes()].concat());
        }
        let ha2 = hash(format!("{method}:{target}").as_bytes());
        let middle = match offered {
            Some(_) => [nonce, b":00000001:", cnonce.as_bytes(), b":auth"].concat(),
            None => nonce.to_vec(),
        };
        let response = hash(&[ha1.as_bytes(), b":", &middle, b":", ha2.as_bytes()].concat());
        let mut out = b"Authorization: Digest username=\"".to_vec();
        push_quoted(&mut out, &self.user);
        for (name, value) in [("realm", realm), ("nonce", nonce), ("uri", target.as_bytes())] {
            out.extend_from_slice(format!("\", {name}=\"").as_bytes());
            push_quoted(&mut out, value);
        }
        out.extend_from_slice(format!("\", response=\"{response}\"").as_bytes());
        if c.get("algorithm").is_some() {
            out.extend_from_slice(format!(", algorithm={name}").as_bytes());
        }
        if offered.is_some() {
            out.extend_from_slice(format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"").as_bytes());
        } else if session {
            out.extend_from_slice(format!(", cnonce=\"{cnonce}\"").as_bytes());
        }
        if let Some(opaque) = c.get("opaque") {
            out.extend_from_slice(b", opaque=\"");
            push_quoted(&mut out, opaque);
            out.push(b'"');
        }
        Some(Str::from(out))
    }
}

fn md5(text: &[u8]) -> String {
    hex(&md5::Md5::digest(text))
}

fn sha256(text: &[u8]) -> String {
    hex(&sha2::Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    for b in text {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*b);
    }
}

/// The challenges of one field (RFC 9110 section 11.6.1): schemes and parameters, all separated by commas.
fn challenges(field: &[u8]) -> Vec<Challenge> {
    let mut out: Vec<Challenge> = Vec::new();
    for piece in pieces(field) {
        let word = piece.iter().position(|b| b.is_ascii_whitespace() || *b == b'=').unwrap_or(piece.len());
        let (head, rest) = piece.split_at(word);
        let rest = rest.trim_ascii_start();
        // `Scheme name=value` or `Scheme` begins a challenge; `name=value` belongs to the last.
        let param = if rest.first() == Some(&b'=') {
            piece
        } else {
            out.push(Challenge { scheme: String::from_utf8_lossy(head).into_owned(), params: Vec::new() });
            rest
        };
        let Some(at) = param.iter().position(|b| *b == b'=') else { continue };
        let (name, value) = param.split_at(at);
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        if let Some(challenge) = out.last_mut() {
            challenge.params.push((name, unquoted(value.get(1..).unwrap_or_default().trim_ascii())));
        }
    }
    out
}

/// What stands between commas outside of quotes.
fn pieces(field: &[u8]) -> Vec<&[u8]> {
    let (mut out, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, b) in field.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                out.push(field.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(field.get(from..).unwrap_or_default());
    out.into_iter().map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()).collect()
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let Some(inner) = text.strip_prefix(b"\"") else { return text.to_vec() };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(b) = bytes.next() {
        out.push(if *b == b'\\' { *bytes.next().unwrap_or(b) } else { *b });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(methods: u8) -> Login {
        Login { user: Str::from("Mufasa"), password: Str::from("Circle of Life"), methods }
    }

    fn line(login: &Login, field: &str, target: &str, cnonce: &str) -> Option<String> {
        let line = login.answer([field.as_bytes()].into_iter(), "GET", target, cnonce)?;
        Some(line.to_lossy().into_owned())
    }

    #[test]
    fn the_examples_of_rfc_7616() {
        // Section 3.9.1.
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let opaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS";
        let field = |algorithm: &str| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, nonce=\"{nonce}\", \
                 opaque=\"{opaque}\""
            )
        };
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let got = line(&login(BASIC | DIGEST), &field(algorithm), "/dir/index.html", cnonce).unwrap();
            let want = format!(
                "Authorization: Digest username=\"Mufasa\", realm=\"http-auth@example.org\", nonce=\"{nonce}\", \
                 uri=\"/dir/index.html\", response=\"{response}\", algorithm={algorithm}, qop=auth, nc=00000001, \
                 cnonce=\"{cnonce}\", opaque=\"{opaque}\""
            );
            assert_eq!(got, want);
        }
    }

    #[test]
    fn the_example_of_rfc_2617_without_qop() {
        // RFC 2069's form, with the figures of its errata.
        let field =
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc\"";
        let own = Login { password: Str::from("CircleOfLife"), ..login(DIGEST) };
        let got = line(&own, field, "/dir/index.html", "x").unwrap();
        assert!(got.contains("response=\"1949323746fe6a43ef61f9606e7febea\", opaque"), "{got}");
    }

    #[test]
    fn what_is_chosen() {
        let both = "Basic realm=\"a, b\", Digest realm=\"r\\\"s\", nonce=\"n\"";
        assert!(line(&login(BASIC), both, "/", "c").unwrap().ends_with("Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl"));
        let digest = line(&login(BASIC | DIGEST), both, "/", "c").unwrap();
        assert!(digest.contains("realm=\"r\\\"s\", nonce=\"n\""), "{digest}");
        assert_eq!(line(&login(DIGEST), "Basic realm=\"x\"", "/", "c"), None);
        assert_eq!(line(&login(DIGEST), "Digest realm=\"x\", nonce=\"n\", qop=\"auth-int\"", "/", "c"), None);
        assert_eq!(line(&login(DIGEST), "Digest realm=\"x\", nonce=\"n\", algorithm=TOKEN", "/", "c"), None);
        assert!(line(&login(BASIC | DIGEST), "Negotiate, Basic", "/", "c").is_some());
        for garbage in ["", ",,,", "=", "\"", "Digest", "Digest nonce", "Digest nonce=\"", "a=b, c"] {
            assert_eq!(line(&login(DIGEST), garbage, "/", "c").is_some(), garbage == "Digest nonce=\"", "{garbage}");
        }
        assert!(login(BASIC).first().is_some() && login(BASIC | DIGEST).first().is_none());
    }
}
