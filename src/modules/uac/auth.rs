//! `uac_auth`: answering the challenge of a server that we call (RFC 3261 22.2, RFC 7616).

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_get::random;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::digest::{Algorithm, Credentials, Qop, digests};
use crate::sip::list::split_list;
use crate::sip::{HeaderId, Message};
use std::borrow::Cow;

/// A user that the configuration names (`credential`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `None`: any.
    pub realm: Option<Str>,
    /// Its name.
    pub user: Str,
    /// Its password, or the hash of user, realm and password.
    pub password: Str,
}

impl Login {
    /// Reads `USER:REALM:PASSWORD`.
    pub fn parse(text: &[u8]) -> Option<Login> {
        let mut parts = text.splitn(3, |b| *b == b':');
        let (user, realm, password) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = !user.is_empty() && !realm.is_empty();
        whole.then(|| Login { realm: Some(Str::from(realm)), user: Str::from(user), password: Str::from(password) })
    }
}

/// How challenges are answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner<'a> {
    /// The password is the hash of user, realm and password.
    pub hashed: bool,
    /// What the client's nonce is made of.
    pub salt: u64,
    /// The algorithms that may be used, with commas; empty: any.
    pub algorithms: &'a [u8],
}

/// `uac_auth`
pub const UAC_AUTH: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("uac_auth"),
    params: &[Param::opt("mode", Kind::Int)],
    variadic: false,
    routes: RouteSet::letters("F"),
    waits: false,
    doc: "Answers the 401 or 407 that the last branch has brought: the request gets an Authorization or \
          Proxy-Authorization with the user of auth_realm_avp, auth_username_avp and auth_password_avp, else with the \
          `credential` of the realm; t_relay sends it. MD5, SHA-256 and SHA-512-256, with and without qop=auth. With \
          mode 1 the password is the hash of user, realm and password.",
    returns: &[(1, "done"), (-1, "no challenge that can be answered, or no user for its realm")],
    example: r#"if (t_check_status("401|407") && uac_auth()) t_relay();"#,
    run: |call| {
        let hashed = call.int(0) == Some(1);
        authorize(call, hashed, &Str::default())
    },
    finish: None,
};

/// `uac_auth_mode`
pub const UAC_AUTH_MODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uac_auth_mode"),
    params: &[Param::req("mode", Kind::Int)],
    doc: "uac_auth with a mode: 0 the password is a password, 1 it is the hash of user, realm and password.",
    example: r#"if (t_check_status("401|407") && uac_auth_mode(1)) t_relay();"#,
    ..UAC_AUTH
};

/// `uac_auth` of OpenSIPS
pub const UAC_AUTH_OF_OPENSIPS: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_auth"),
    kamailio: None,
    params: &[Param::opt("algorithms", Kind::Str)],
    routes: RouteSet::letters("FRB"),
    doc: "Answers the 401 or 407 that the last branch has brought: the request gets an Authorization or \
          Proxy-Authorization with the user of auth_realm_avp, auth_username_avp and auth_password_avp of the module \
          uac_auth, else with the `credential` of the realm; t_relay sends it. MD5, SHA-256 and SHA-512-256, or those of them \
          that the argument names (with commas), with and without qop=auth. The CSeq is counted up as by uac_inc_cseq(1), if \
          that can be.",
    run: |call| {
        let algorithms = call.text(0).unwrap_or_default();
        let done = authorize(call, false, &algorithms);
        if matches!(done, Step::Done(1)) {
            super::cseq::count_up(call.host, 1);
        }
        done
    },
    ..UAC_AUTH
};

fn authorize(call: &mut Call<'_, SipHost>, hashed: bool, algorithms: &[u8]) -> Step<SipHost> {
    let Some(reply) = call.host.other.clone().filter(|m| matches!(m.status(), 401 | 407)) else {
        return Step::Done(-1);
    };
    let login = from_avps(call);
    let users = call.host.env().settings.uac.logins.clone();
    let find = |realm: &[u8]| {
        let avps = login.iter().filter(|l| l.realm.as_ref().is_none_or(|r| **r == *realm));
        avps.chain(users.iter().filter(|l| l.realm.as_ref().is_some_and(|r| **r == *realm))).next().cloned()
    };
    let salt = u64::from(random(call.now)) << 32 | u64::from(random(call.now));
    let h = &mut *call.host;
    let uri = h.current_ruri().to_vec();
    let method = h.msg.method_bytes().to_vec();
    let manner = Manner { hashed, salt, algorithms };
    let Some(line) = answer(&reply, &find, &method, &uri, manner) else { return Step::Done(-1) };
    let msg = h.msg.clone();
    h.edits.append_header(&msg, Str::from(line));
    Step::Done(1)
}

/// The user that the AVPs name.
fn from_avps(call: &mut Call<'_, SipHost>) -> Option<Login> {
    let names = call.host.env().settings.uac.login_avps.clone();
    let mut text = |name: Option<Str>| {
        let value: Option<Value> = name.and_then(|name| call.vm().avp(&name).into_iter().next());
        value.and_then(|v| v.to_text()).filter(|t| !t.is_empty())
    };
    let [realm, user, password] = names;
    let (realm, user, password) = (text(realm), text(user)?, text(password)?);
    Some(Login { realm, user, password })
}

/// The header line that answers a challenge of a 401 or 407: the first one that can be answered.
pub fn answer(
    reply: &Message,
    login: &dyn Fn(&[u8]) -> Option<Login>,
    method: &[u8],
    uri: &[u8],
    manner: Manner<'_>,
) -> Option<Vec<u8>> {
    let (challenges, name) = match reply.status() {
        407 => (HeaderId::ProxyAuthenticate, "Proxy-Authorization"),
        _ => (HeaderId::WwwAuthenticate, "Authorization"),
    };
    reply.headers_of(challenges).find_map(|header| {
        let challenge = Challenge::parse(header.value)?;
        let login = login(&challenge.realm)?;
        let text = challenge.answer(&login, method, uri, manner)?;
        Some([name.as_bytes(), b": ", &text, b"\r\n"].concat())
    })
}

/// What a server asks for.
struct Challenge<'a> {
    realm: Cow<'a, [u8]>,
    /// The realm as it is to be written.
    quoted: &'a [u8],
    nonce: &'a [u8],
    opaque: Option<&'a [u8]>,
    algorithm: Option<&'a [u8]>,
    qop: Option<Vec<u8>>,
}

impl<'a> Challenge<'a> {
    fn parse(value: &'a [u8]) -> Option<Challenge<'a>> {
        use crate::sip::bytes::{trim, unescape_quoted, unquote};
        let (mut realm, mut nonce, mut opaque, mut algorithm, mut qop) = (None, None, None, None, None);
        for part in split_list(digests(value)?) {
            let at = memchr::memchr(b'=', part)?;
            let (name, text) = (trim(part.get(..at)?), trim(part.get(at + 1..)?));
            let slot = match name.to_ascii_lowercase().as_slice() {
                b"realm" => &mut realm,
                b"nonce" => &mut nonce,
                b"opaque" => &mut opaque,
                b"algorithm" => &mut algorithm,
                b"qop" => &mut qop,
                _ => continue,
            };
            *slot = Some(text);
        }
        let quoted = unquote(realm?);
        let list = qop.map(|q| unquote(q).to_ascii_lowercase());
        Some(Challenge {
            realm: unescape_quoted(realm?),
            quoted,
            nonce: unquote(nonce?),
            opaque: opaque.map(unquote),
            algorithm: algorithm.map(unquote),
            qop: list,
        })
    }

    fn answer(&self, login: &Login, method: &[u8], uri: &[u8], manner: Manner<'_>) -> Option<Vec<u8>> {
        let Manner { hashed, salt, algorithms } = manner;
        let algorithm = self.algorithm.map_or(Some(Algorithm::Md5), Algorithm::parse)?;
        if !algorithms.is_empty() && !split_list(algorithms).any(|name| Algorithm::parse(name) == Some(algorithm)) {
            return None;
        }
        // Only `auth` can be offered without the body as it will be sent.
        let auth = |list: &[u8]| list.split(|b| *b == b',').any(|q| q.trim_ascii() == b"auth");
        let with_qop = match &self.qop {
            Some(list) if auth(list) => true,
            Some(list) if Qop::parse(list).is_some() => return None,
            _ => false,
        };
        let clean = |t: &[u8]| !t.iter().any(|b| matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if !clean(&login.user) || !clean(uri) {
            return None;
        }
        let cnonce = format!("{salt:016x}");
        let given = Credentials {
            username: Cow::Borrowed(&login.user),
            realm: &self.realm,
            nonce: self.nonce,
            uri,
            response: b"",
            algorithm: self.algorithm,
            cnonce: Some(cnonce.as_bytes()),
            opaque: self.opaque,
            qop: with_qop.then_some(&b"auth"[..]),
            nc: with_qop.then_some(&b"00000001"[..]),
        };
        let ha1 = match hashed {
            // A hash is of one algorithm.
            true if login.password.len() != algorithm.digits() => return None,
            true => login.password.to_lossy().to_ascii_lowercase(),
            false => algorithm.ha1(&login.user, &self.realm, &login.password),
        };
        let response = given.expected(algorithm, ha1.as_bytes(), method, b"");
        let mut out = b"Digest username=\"".to_vec();
        for part in [&login.user[..], b"\", realm=\"", self.quoted, b"\", nonce=\"", self.nonce, b"\", uri=\"", uri] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(format!("\", response=\"{response}\"").as_bytes());
        if let Some(name) = self.algorithm {
            out.extend_from_slice(&[b", algorithm=", name].concat());
        }
        if let Some(opaque) = self.opaque {
            out.extend_from_slice(&[b", opaque=\"", opaque, b"\""].concat());
        }
        if with_qop {
            out.extend_from_slice(format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"").as_bytes());
        } else if algorithm.is_session() {
            out.extend_from_slice(format!(", cnonce=\"{cnonce}\"").as_bytes());
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(header: &str) -> Message {
        let text = format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:b@c>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nWWW-Authenticate: {header}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Str::from(text)).unwrap()
    }

    fn login(realm: &[u8]) -> Option<Login> {
        (realm == b"testrealm@host.com").then(|| Login {
            realm: None,
            user: "Mufasa".into(),
            password: "Circle Of Life".into(),
        })
    }

    /// What a server would make of the answer.
    fn proves(header: &str) -> Option<String> {
        let line =
            answer(&reply(header), &login, b"INVITE", b"sip:bob@example.com", Manner { salt: 7, ..Manner::default() })?;
        let value = line.strip_prefix(b"Authorization: ")?.strip_suffix(b"\r\n")?.to_vec();
        let c = Credentials::parse(&value).ok()?;
        let algorithm = c.algorithm()?;
        let ha1 = algorithm.ha1(b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
        assert!(c.prove(algorithm, ha1.as_bytes(), b"INVITE", b""), "{header}");
        Some(String::from_utf8(value).unwrap())
    }

    #[test]
    fn challenges_are_answered() {
        let base = "Digest realm=\"testrealm@host.com\", nonce=\"abc\"";
        let plain = proves(base).unwrap();
        assert!(!plain.contains("qop") && !plain.contains("algorithm"), "{plain}");
        let full = proves(&format!("{base}, qop=\"auth-int,auth\", opaque=\"xyz\", algorithm=SHA-256")).unwrap();
        assert!(full.contains("qop=auth, nc=00000001") && full.contains("opaque=\"xyz\"") && full.contains("SHA-256"));
        assert!(proves(&format!("{base}, algorithm=MD5-sess, qop=\"auth\"")).is_some());
        assert!(proves(&format!("{base}, algorithm=SHA-512-256")).is_some());
        for not in [
            "Basic realm=\"testrealm@host.com\"",
            "Digest realm=\"other\", nonce=\"abc\"",
            "Digest realm=\"testrealm@host.com\"",
            "Digest realm=\"testrealm@host.com\", nonce=\"abc\", algorithm=X",
            "Digest realm=\"testrealm@host.com\", nonce=\"abc\", qop=\"auth-int\"",
        ] {
            assert_eq!(proves(not), None, "{not}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_answered() {
        let two = reply(
            "Digest realm=\"testrealm@host.com\", nonce=\"a\", algorithm=SHA-256\r\n\
             WWW-Authenticate: Digest realm=\"testrealm@host.com\", nonce=\"b\", algorithm=MD5",
        );
        let nonce = |manner: Manner<'_>| {
            let line = answer(&two, &login, b"INVITE", b"sip:b@c", manner)?;
            Some(String::from_utf8(line).unwrap().contains("nonce=\"a\""))
        };
        assert_eq!(nonce(Manner::default()), Some(true));
        assert_eq!(nonce(Manner { algorithms: b"MD5", ..Manner::default() }), Some(false));
        assert_eq!(nonce(Manner { algorithms: b"md5, sha-256", ..Manner::default() }), Some(true));
        assert_eq!(nonce(Manner { algorithms: b"SHA-512-256", ..Manner::default() }), None);
        // A hash is of one algorithm; "Circle Of Life" is none.
        assert_eq!(nonce(Manner { hashed: true, ..Manner::default() }), None);
    }

    #[test]
    fn logins_are_read() {
        let l = Login::parse(b"user:realm:pass:word").unwrap();
        assert_eq!((&l.user[..], &l.password[..]), (&b"user"[..], &b"pass:word"[..]));
        for bad in ["", "user", "user:realm", ":realm:x", "user::x"] {
            assert_eq!(Login::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
