//! Digest authentication: credentials, challenges and what proves a password (RFC 7616, RFC 8760, RFC 2617,
//! RFC 3261 §22). Bytes in, bytes out; passwords and the time come from the caller.

mod credentials;
pub mod nonce;

pub(super) use credentials::exercise;
pub use credentials::{Credentials, Wrong, digests, realm_of};

/// Hash functions of RFC 7616 and RFC 8760, each plain and per session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// `MD5`, also where no algorithm is named.
    Md5,
    /// `MD5-sess`
    Md5Sess,
    /// `SHA-256`
    Sha256,
    /// `SHA-256-sess`
    Sha256Sess,
    /// `SHA-512-256`
    Sha512t256,
    /// `SHA-512-256-sess`
    Sha512t256Sess,
}

impl Algorithm {
    /// All of them; their places are their numbers in a nonce.
    pub const ALL: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Md5Sess,
        Algorithm::Sha256,
        Algorithm::Sha256Sess,
        Algorithm::Sha512t256,
        Algorithm::Sha512t256Sess,
    ];

    /// The algorithm of this name, in any letter case.
    pub fn parse(name: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| a.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
            Algorithm::Sha512t256 => "SHA-512-256",
            Algorithm::Sha512t256Sess => "SHA-512-256-sess",
        }
    }

    /// The same hash function without a session.
    pub fn plain(self) -> Algorithm {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => Algorithm::Md5,
            Algorithm::Sha256 | Algorithm::Sha256Sess => Algorithm::Sha256,
            Algorithm::Sha512t256 | Algorithm::Sha512t256Sess => Algorithm::Sha512t256,
        }
    }

    /// Whether the hash of the password is bound to nonce and cnonce (RFC 7616 §3.4.2).
    pub fn is_session(self) -> bool {
        self.plain() != self
    }

    /// Hexadecimal digits of a hash.
    pub fn digits(self) -> usize {
        if self.plain() == Algorithm::Md5 { 32 } else { 64 }
    }

    /// The hash of these parts with colons between them, as lower-case hexadecimal digits.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        fn run<D: md5::Digest>(parts: &[&[u8]]) -> String {
            let mut digest = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    digest.update(b":");
                }
                digest.update(part);
            }
            digest
                .finalize()
                .iter()
                .flat_map(|b| [b >> 4, b & 15])
                .map(|d| char::from(b"0123456789abcdef"[d as usize]))
                .collect()
        }
        match self.plain() {
            Algorithm::Sha256 => run::<sha2::Sha256>(parts),
            Algorithm::Sha512t256 => run::<sha2::Sha512_256>(parts),
            _ => run::<md5::Md5>(parts),
        }
    }

    /// H(A1) without a session: what is kept instead of a password.
    pub fn ha1(self, username: &[u8], realm: &[u8], password: &[u8]) -> String {
        self.hash(&[username, realm, password])
    }
}

/// Quality of protection: what the proof covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Qop {
    /// As RFC 2069 had it: no cnonce, no count.
    #[default]
    None,
    /// `auth`: method and URI.
    Auth,
    /// `auth-int`: also the body.
    AuthInt,
    /// The client may choose.
    Both,
}

impl Qop {
    /// The list of a challenge; `None`: the parameter is left out.
    pub fn list(self) -> Option<&'static str> {
        match self {
            Qop::None => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
            Qop::Both => Some("auth,auth-int"),
        }
    }

    /// Reads a list of names with commas between them; empty or `none` is [`Qop::None`].
    pub fn parse(list: &[u8]) -> Option<Qop> {
        let mut qop = Qop::None;
        for name in list.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|n| !n.is_empty()) {
            qop = match name.to_ascii_lowercase().as_slice() {
                b"auth" if matches!(qop, Qop::None | Qop::Auth) => Qop::Auth,
                b"auth-int" if matches!(qop, Qop::None | Qop::AuthInt) => Qop::AuthInt,
                b"auth" | b"auth-int" => Qop::Both,
                _ => return None,
            };
        }
        Some(qop)
    }
}

/// The value of a WWW-Authenticate or Proxy-Authenticate header. What could end the quotes around the realm is left
/// out of it.
pub fn challenge(realm: &[u8], nonce: &str, algorithm: Option<Algorithm>, qop: Qop, stale: bool) -> Vec<u8> {
    let mut out = b"Digest realm=\"".to_vec();
    out.extend(realm.iter().filter(|b| !matches!(b, b'"' | b'\\') && !b.is_ascii_control()));
    out.extend_from_slice(b"\", nonce=\"");
    out.extend_from_slice(nonce.as_bytes());
    out.push(b'"');
    if let Some(list) = qop.list() {
        out.extend_from_slice(format!(", qop=\"{list}\"").as_bytes());
    }
    if stale {
        out.extend_from_slice(b", stale=true");
    }
    if let Some(algorithm) = algorithm {
        out.extend_from_slice(format!(", algorithm={}", algorithm.name()).as_bytes());
    }
    out
}

/// Whether two hashes are the same, in any letter case; how long that takes tells nothing about where they differ.
pub fn same_hash(a: &[u8], b: &[u8]) -> bool {
    let lower = |c: &u8| c.to_ascii_lowercase();
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (lower(x) ^ lower(y))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for a in Algorithm::ALL {
            assert_eq!(Algorithm::parse(a.name().to_ascii_lowercase().as_bytes()), Some(a));
            assert_eq!(a.hash(&[b"x"]).len(), a.digits());
        }
        assert_eq!(Algorithm::parse(b"SHA-1"), None);
        assert_eq!(Algorithm::Md5.hash(&[b""]), "d41d8cd98f00b204e9800998ecf8427e");
        // FIPS 180-4, SHA-512/256 of "abc".
        let abc = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert_eq!(Algorithm::Sha512t256.hash(&[b"abc"]), abc);
    }

    #[test]
    fn qops() {
        for (text, qop) in [
            ("", Qop::None),
            ("auth", Qop::Auth),
            (" AUTH-INT ", Qop::AuthInt),
            ("auth, auth-int", Qop::Both),
            ("auth-int,auth", Qop::Both),
        ] {
            assert_eq!(Qop::parse(text.as_bytes()), Some(qop), "{text}");
        }
        assert_eq!(Qop::parse(b"auth,none"), None);
    }

    #[test]
    fn challenges() {
        let text = |c: Vec<u8>| String::from_utf8(c).unwrap();
        assert_eq!(text(challenge(b"a\r\n\"b\\", "n", None, Qop::None, false)), r#"Digest realm="ab", nonce="n""#);
        let all = challenge(b"r", "n", Some(Algorithm::Sha256), Qop::Both, true);
        assert_eq!(text(all), r#"Digest realm="r", nonce="n", qop="auth,auth-int", stale=true, algorithm=SHA-256"#);
    }

    #[test]
    fn hashes_are_compared() {
        assert!(same_hash(b"0aF", b"0Af") && same_hash(b"", b""));
        assert!(!same_hash(b"0aF", b"0ae") && !same_hash(b"0aF", b"0a"));
    }
}
