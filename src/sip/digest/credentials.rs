//! The credentials of Authorization and Proxy-Authorization, and whether they prove a password.

use super::{Algorithm, same_hash};
use crate::sip::bytes::{hex_value, is_lws, is_token, trim, unescape_uri, unquote};
use crate::sip::list::split_list;
use std::borrow::Cow;

/// Why a value holds no digest credentials that can be judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// They are of another scheme.
    Scheme,
    /// The form is wrong: a part without name or value, a name that stands twice.
    Form,
    /// This parameter is missing, or its value cannot be one.
    Value(&'static str),
}

/// Digest credentials. Texts are as written, without their quotes: that is what was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// `username`, or `username*` decoded (RFC 7616 §3.4.4).
    pub username: Cow<'a, [u8]>,
    /// `realm`
    pub realm: &'a [u8],
    /// `nonce`
    pub nonce: &'a [u8],
    /// `uri`
    pub uri: &'a [u8],
    /// `response`: hexadecimal digits.
    pub response: &'a [u8],
    /// `algorithm`
    pub algorithm: Option<&'a [u8]>,
    /// `cnonce`
    pub cnonce: Option<&'a [u8]>,
    /// `opaque`
    pub opaque: Option<&'a [u8]>,
    /// `qop`: `auth` or `auth-int`, in small letters as in the hash.
    pub qop: Option<&'a [u8]>,
    /// `nc`: eight hexadecimal digits.
    pub nc: Option<&'a [u8]>,
}

/// The parameters behind the scheme, if that is `Digest`.
pub fn digests(value: &[u8]) -> Option<&[u8]> {
    let value = trim(value);
    let end = value.iter().position(|&b| is_lws(b)).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"Digest").then(|| trim(rest))
}

/// The realm of digest credentials, whatever else they lack.
pub fn realm_of(value: &[u8]) -> Option<&[u8]> {
    split_list(digests(value)?).find_map(|part| {
        let (name, text) = part.split_at_checked(memchr::memchr(b'=', part)?)?;
        trim(name).eq_ignore_ascii_case(b"realm").then(|| unquote(trim(text.get(1..).unwrap_or_default())))
    })
}

const NAMES: [&[u8]; 11] = [
    b"username",
    b"realm",
    b"nonce",
    b"uri",
    b"response",
    b"algorithm",
    b"cnonce",
    b"opaque",
    b"qop",
    b"nc",
    b"username*",
];

impl<'a> Credentials<'a> {
    /// Reads a header's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, Wrong> {
        let mut found: [Option<&'a [u8]>; NAMES.len()] = [None; NAMES.len()];
        for part in split_list(digests(value).ok_or(Wrong::Scheme)?) {
            let eq = memchr::memchr(b'=', part).ok_or(Wrong::Form)?;
            let (name, text) = (trim(part.get(..eq).unwrap_or_default()), part.get(eq + 1..).unwrap_or_default());
            if !(is_token(name) || name.eq_ignore_ascii_case(b"username*")) {
                return Err(Wrong::Form);
            }
            let slot = NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)).and_then(|i| found.get_mut(i));
            match slot {
                Some(Some(_)) => return Err(Wrong::Form),
                Some(slot) => *slot = Some(unquote(trim(text))),
                None => {}
            }
        }
        let [username, realm, nonce, uri, response, algorithm, cnonce, opaque, qop, nc, extended] = found;
        let full = |text: Option<&'a [u8]>, name| text.filter(|t| !t.is_empty()).ok_or(Wrong::Value(name));
        let hex = |b: &[u8]| b.iter().all(u8::is_ascii_hexdigit);
        let username = match (username, extended) {
            (Some(name), None) => Cow::Borrowed(name),
            (None, Some(name)) => decoded(name).ok_or(Wrong::Value("username"))?,
            (Some(_), Some(_)) => return Err(Wrong::Form),
            (None, None) => return Err(Wrong::Value("username")),
        };
        if username.is_empty() {
            return Err(Wrong::Value("username"));
        }
        let response = full(response, "response")?;
        // 32 digits of MD5, 64 of the SHA-2 ones (RFC 8760), 128 of what may come.
        if !(32..=128).contains(&response.len()) || !hex(response) {
            return Err(Wrong::Value("response"));
        }
        if let Some(qop) = qop {
            if !(qop.eq_ignore_ascii_case(b"auth") || qop.eq_ignore_ascii_case(b"auth-int")) {
                return Err(Wrong::Value("qop"));
            }
            full(cnonce, "cnonce")?;
            if !nc.is_some_and(|n| n.len() == 8 && hex(n)) {
                return Err(Wrong::Value("nc"));
            }
        }
        Ok(Credentials {
            username,
            realm: realm.ok_or(Wrong::Value("realm"))?,
            nonce: full(nonce, "nonce")?,
            uri: full(uri, "uri")?,
            response,
            algorithm: algorithm.filter(|a| !a.is_empty()),
            cnonce,
            opaque,
            qop,
            nc,
        })
    }

    /// The name in front of the `@`, and what stands behind it.
    pub fn user_and_domain(&self) -> (&[u8], Option<&[u8]>) {
        match memchr::memchr(b'@', &self.username) {
            Some(at) => {
                (self.username.get(..at).unwrap_or_default(), Some(self.username.get(at + 1..).unwrap_or_default()))
            }
            None => (&self.username, None),
        }
    }

    /// How the response was computed; `None`: in a way that is not known here.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.map_or(Some(Algorithm::Md5), Algorithm::parse)
    }

    /// How often the nonce was used, this time included, as the client counts; `None` without `qop`.
    pub fn count(&self) -> Option<u32> {
        self.qop?;
        self.nc?.iter().try_fold(0u32, |n, b| Some(n << 4 | u32::from(hex_value(*b)?)))
    }

    /// The response that proves the password behind `ha1` (without a session) for this request.
    pub fn expected(&self, algorithm: Algorithm, ha1: &[u8], method: &[u8], body: &[u8]) -> String {
        let cnonce = self.cnonce.unwrap_or_default();
        let session;
        let ha1 = if algorithm.is_session() {
            session = algorithm.hash(&[ha1, self.nonce, cnonce]);
            session.as_bytes()
        } else {
            ha1
        };
        let ha2 = if self.qop.is_some_and(|q| q.eq_ignore_ascii_case(b"auth-int")) {
            let body = algorithm.hash(&[body]);
            algorithm.hash(&[method, self.uri, body.as_bytes()])
        } else {
            algorithm.hash(&[method, self.uri])
        };
        match self.qop {
            Some(qop) => {
                let nc = self.nc.unwrap_or_default();
                algorithm.hash(&[ha1, self.nonce, nc, cnonce, qop, ha2.as_bytes()])
            }
            None => algorithm.hash(&[ha1, self.nonce, ha2.as_bytes()]),
        }
    }

    /// Whether they prove the password behind `ha1`, in any letter case, for this request.
    pub fn prove(&self, algorithm: Algorithm, ha1: &[u8], method: &[u8], body: &[u8]) -> bool {
        let ha1 = ha1.to_ascii_lowercase();
        same_hash(self.expected(algorithm, &ha1, method, body).as_bytes(), self.response)
    }
}

/// `UTF-8''text%20with%20escapes` (RFC 8187 §3.2.1).
fn decoded(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let rest = text.get(..5).filter(|c| c.eq_ignore_ascii_case(b"utf-8")).and(text.get(5..))?;
    let rest = rest.strip_prefix(b"'")?;
    let language = memchr::memchr(b'\'', rest)?;
    Some(unescape_uri(rest.get(language + 1..)?))
}

/// For fuzz tests: reads the value and computes with whatever it holds.
pub(in crate::sip) fn exercise(value: &[u8]) {
    let realm = realm_of(value);
    let Ok(c) = Credentials::parse(value) else { return };
    assert_eq!(realm, Some(c.realm));
    assert!(c.response.len() >= 32 && !c.nonce.is_empty() && !c.uri.is_empty() && !c.username.is_empty());
    let algorithm = c.algorithm().unwrap_or(Algorithm::Md5);
    let (user, domain) = c.user_and_domain();
    assert!(user.len() + domain.map_or(0, <[u8]>::len) <= c.username.len());
    assert_eq!(c.count().is_some(), c.qop.is_some());
    let ha1 = algorithm.ha1(&c.username, c.realm, b"secret");
    let wanted = c.expected(algorithm, ha1.as_bytes(), b"INVITE", b"body");
    assert_eq!(wanted.len(), algorithm.digits());
    assert_eq!(
        c.prove(algorithm, ha1.as_bytes(), b"INVITE", b"body"),
        wanted.as_bytes().eq_ignore_ascii_case(c.response)
    );
    let _ = super::nonce::open(b"key", c.nonce, Some(b"bound"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proves(value: &str, password: &str, method: &str) -> bool {
        let c = Credentials::parse(value.as_bytes()).unwrap_or_else(|e| panic!("{e:?}: {value}"));
        let algorithm = c.algorithm().unwrap();
        let ha1 = algorithm.ha1(&c.username, c.realm, password.as_bytes());
        c.prove(algorithm, ha1.as_bytes(), method.as_bytes(), b"")
            && c.prove(algorithm, ha1.to_ascii_uppercase().as_bytes(), method.as_bytes(), b"")
    }

    /// RFC 2617 §3.5 (with its errata), RFC 7616 §3.9.1 and §3.9.2.
    #[test]
    fn vectors_of_the_rfcs() {
        let rfc2617 = r#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
             uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b",
             response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        assert!(proves(rfc2617, "Circle Of Life", "GET"));
        assert!(!proves(rfc2617, "Circle of Life", "GET"));
        assert!(!proves(rfc2617, "Circle Of Life", "POST"));
        let rfc7616 = |algorithm: &str, response: &str| {
            format!(
                r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm},
                 nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
                 cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}",
                 opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
            )
        };
        let md5 = rfc7616("MD5", "8ca523f5e9506fed4657c9700eebdbec");
        let sha = rfc7616("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
        assert!(proves(&md5, "Circle of Life", "GET") && proves(&sha, "Circle of Life", "GET"));
        assert!(!proves(&md5, "circle of life", "GET") && !proves(&sha, "Circle of Life", "PUT"));
    }

    /// The names of RFC 7616 §3.9.2: SHA-512-256 with a user name that is no token; there it is hashed, here the
    /// client tells it.
    #[test]
    fn extended_names() {
        let value = r#"Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm="api@example.org", uri="/doe.json",
             algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", nc=00000001,
             cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", qop=auth,
             response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5""#;
        let c = Credentials::parse(value.as_bytes()).unwrap();
        assert_eq!(&*c.username, "Jäsøn Doe".as_bytes());
        assert!(proves(value, "Secret, or not?", "GET"), "RFC 7616 erratum 4897");
        for bad in ["utf-8'x", "latin1''x", "UTF-8", "UTF-8''"] {
            let text = value.replace("UTF-8''J%C3%A4s%C3%B8n%20Doe", bad);
            assert!(Credentials::parse(text.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_algorithm_and_qop_agrees_with_its_definition() {
        let plain = "username=\"u@d\", realm=\"r\", nonce=\"n\", uri=\"sip:x\"";
        for algorithm in Algorithm::ALL {
            for qop in [None, Some("auth"), Some("auth-int")] {
                let h = |parts: &[&str]| algorithm.hash(&parts.iter().map(|p| p.as_bytes()).collect::<Vec<_>>());
                let mut ha1 = h(&["u@d", "r", "p"]);
                let stored = ha1.clone();
                if algorithm.is_session() {
                    ha1 = h(&[&ha1, "n", "c"]);
                }
                let ha2 = match qop {
                    Some("auth-int") => h(&["INVITE", "sip:x", &h(&["the body"])]),
                    _ => h(&["INVITE", "sip:x"]),
                };
                let response = match qop {
                    Some(q) => h(&[&ha1, "n", "0000000a", "c", q, &ha2]),
                    None => h(&[&ha1, "n", &ha2]),
                };
                let more = qop.map_or(String::new(), |q| format!(", qop={q}, nc=0000000a"));
                let text = format!(
                    "Digest {plain}, cnonce=\"c\", algorithm={}, response=\"{response}\"{more}",
                    algorithm.name()
                );
                let c = Credentials::parse(text.as_bytes()).unwrap();
                assert!(c.prove(algorithm, stored.as_bytes(), b"INVITE", b"the body"), "{text}");
                let other = c.prove(algorithm, stored.as_bytes(), b"INVITE", b"another body");
                assert_eq!(other, qop != Some("auth-int"), "{text}");
                assert_eq!(c.count(), qop.map(|_| 10));
                assert_eq!(c.user_and_domain(), (&b"u"[..], Some(&b"d"[..])));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        const GOOD: &str = "Digest username=\"bob\", realm=\"a, b\", nonce=\"n\", uri=\"sip:x\", \
                            response=\"0123456789abcdef0123456789ABCDEF\", qop=auth, nc=00000001, cnonce=\"c\", more=1";
        assert_eq!(Credentials::parse(GOOD.as_bytes()).unwrap().realm, b"a, b");
        for (old, new, wrong) in [
            ("Digest", "Basic", Wrong::Scheme),
            ("nonce=\"n\"", "nonce", Wrong::Form),
            ("nonce=\"n\"", "nonce=\"n\", nonce=\"m\"", Wrong::Form),
            ("username", "user name", Wrong::Form),
            ("username=\"bob\"", "username=\"\"", Wrong::Value("username")),
            ("username=\"bob\"", "x=1", Wrong::Value("username")),
            ("realm", "reaim", Wrong::Value("realm")),
            ("nonce=\"n\"", "nonce=\"\"", Wrong::Value("nonce")),
            ("uri=\"sip:x\"", "y=1", Wrong::Value("uri")),
            ("0123456789abcdef0", "g123456789abcdef0", Wrong::Value("response")),
            ("0123456789abcdef0", "", Wrong::Value("response")),
            ("qop=auth", "qop=token", Wrong::Value("qop")),
            ("nc=00000001", "nc=1", Wrong::Value("nc")),
            ("cnonce=\"c\"", "cnonce=\"\"", Wrong::Value("cnonce")),
        ] {
            assert_eq!(Credentials::parse(GOOD.replacen(old, new, 1).as_bytes()), Err(wrong), "{old} -> {new}");
        }
        assert_eq!(Credentials::parse(b""), Err(Wrong::Scheme));
        assert_eq!(Credentials::parse(b"Digest"), Err(Wrong::Value("username")));
    }
}
