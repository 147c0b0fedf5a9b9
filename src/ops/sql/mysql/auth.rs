//! Logging in: the challenges of the authentication plugins and our answers.
//!
//! Plugins: `mysql_native_password`, `caching_sha2_password` (from the server's cache, with the server's
//! RSA key, or over TLS or a Unix socket), `sha256_password` (the same, without a cache), `client_ed25519` (MariaDB),
//! and `mysql_clear_password` on transports that nobody can listen to.

use super::packet::Reader;
use base64::Engine as _;
use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin, Context};
use mysql_common::packets::AuthPlugin;
use std::fmt;

/// Length of the server's nonce.
pub const NONCE: usize = 20;
/// What `caching_sha2_password` sends to ask for the server's RSA key.
const REQUEST_KEY: [u8; 1] = [2];
/// MySQL's plugin with RSA or TLS, the forerunner of `caching_sha2_password`.
const SHA256: &[u8] = b"sha256_password";
/// What `sha256_password` sends to ask for the server's RSA key.
const SHA256_REQUEST_KEY: [u8; 1] = [1];
/// Largest number of challenges in one login.
const MAX_ROUNDS: usize = 8;

/// Why a login cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthError {
    /// The server wants a plugin that is not there.
    Plugin(String),
    /// The server wants the password in clear where somebody could listen.
    ClearText,
    /// A challenge that makes no sense.
    Challenge,
    /// The server's RSA key is not usable.
    Key,
    /// The password is longer than the RSA key can hold.
    PasswordTooLong,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Plugin(name) => write!(f, "authentication plugin \"{name}\" is not supported"),
            AuthError::ClearText => f.write_str("the server wants the password in clear without TLS: refused"),
            AuthError::Challenge => f.write_str("malformed authentication challenge"),
            AuthError::Key => f.write_str("the server's RSA key is not usable"),
            AuthError::PasswordTooLong => f.write_str("the password is too long for the server's RSA key"),
        }
    }
}

enum Procedure {
    Common(AuthProc),
    Sha256,
}

impl Procedure {
    fn of(plugin: &AuthPlugin<'_>) -> Result<Procedure, AuthError> {
        if plugin.as_bytes() == SHA256 {
            return Ok(Procedure::Sha256);
        }
        AuthProc::init(plugin).map(Procedure::Common).map_err(|_| AuthError::Challenge)
    }
}

/// One login.
pub struct Auth {
    plugin: AuthPlugin<'static>,
    procedure: Procedure,
    password: Vec<u8>,
    nonce: Vec<u8>,
    secure: Secure,
    awaits_key: bool,
    /// `sha256_password` has had its say.
    asked: bool,
    rounds: usize,
}

/// Whether somebody could listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secure {
    /// Plain TCP.
    No,
    /// TLS.
    Tls,
    /// A Unix socket.
    Local,
}

struct Ctx<'a> {
    password: &'a [u8],
    nonce: &'a [u8],
    secure: Secure,
}

impl Context for Ctx<'_> {
    fn pass(&self) -> &[u8] {
        self.password
    }
    fn is_ipc_transport(&self) -> bool {
        self.secure == Secure::Local
    }
    fn is_tls_transport(&self) -> bool {
        self.secure == Secure::Tls
    }
    fn scramble(&self) -> &[u8] {
        self.nonce
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

impl Auth {
    /// Begins with the plugin the server's greeting names (`mysql_native_password` if that one is
    /// unknown: the server then asks to switch) and gives the first response.
    pub fn begin(plugin: &[u8], nonce: &[u8], password: &[u8], secure: Secure) -> Result<(Auth, Vec<u8>), AuthError> {
        let plugin = match AuthPlugin::from_bytes(plugin) {
            AuthPlugin::CachingSha2Password => AuthPlugin::CachingSha2Password,
            other if other.as_bytes() == SHA256 => other.into_owned(),
            _ => AuthPlugin::MysqlNativePassword,
        };
        let procedure = Procedure::of(&plugin)?;
        let mut auth = Auth {
            plugin,
            procedure,
            password: password.to_vec(),
            nonce: nonce.to_vec(),
            secure,
            awaits_key: false,
            asked: false,
            rounds: 0,
        };
        let first = auth.answer(nonce)?.unwrap_or_default();
        Ok((auth, first))
    }

    /// The plugin in use.
    pub fn plugin(&self) -> AuthPlugin<'_> {
        self.plugin.borrow()
    }

    /// An authentication switch request, its first byte taken off.
    pub fn switch(&mut self, request: &[u8]) -> Result<Option<Vec<u8>>, AuthError> {
        let mut r = Reader(request);
        let plugin = AuthPlugin::from_bytes(r.until_nul()).into_owned();
        let data = r.0;
        let challenge = match plugin {
            AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password => {
                data.strip_suffix(&[0]).unwrap_or(data)
            }
            ref other if other.as_bytes() == SHA256 => data.strip_suffix(&[0]).unwrap_or(data),
            AuthPlugin::Ed25519 => data,
            AuthPlugin::MysqlClearPassword if self.secure != Secure::No => data,
            AuthPlugin::MysqlClearPassword => return Err(AuthError::ClearText),
            ref other => return Err(AuthError::Plugin(String::from_utf8_lossy(other.as_bytes()).into_owned())),
        };
        self.procedure = Procedure::of(&plugin)?;
        self.plugin = plugin;
        self.awaits_key = false;
        self.asked = false;
        if challenge.len() == NONCE {
            self.nonce = challenge.to_vec();
        }
        let challenge = challenge.to_vec();
        self.answer(&challenge)
    }

    /// More data from the server, the leading 1 taken off.
    pub fn more(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, AuthError> {
        if self.awaits_key {
            self.awaits_key = false;
            let pem = usable_rsa_key(data, self.password.len())?;
            return match self.procedure {
                Procedure::Common(_) => self.answer(&pem),
                Procedure::Sha256 => self.sealed(&pem).map(Some),
            };
        }
        self.answer(data)
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, AuthError> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS || self.nonce.is_empty() {
            return Err(AuthError::Challenge);
        }
        let procedure = match &mut self.procedure {
            Procedure::Common(procedure) => procedure,
            Procedure::Sha256 if self.rounds > 1 && self.asked => return Err(AuthError::Challenge),
            Procedure::Sha256 => {
                self.asked = true;
                return Ok(Some(if self.secure != Secure::No || self.password.is_empty() {
                    [&self.password[..], &[0]].concat()
                } else {
                    self.awaits_key = true;
                    SHA256_REQUEST_KEY.to_vec()
                }));
            }
        };
        let ctx = Ctx { password: &self.password, nonce: &self.nonce, secure: self.secure };
        let response = procedure.run(ctx, challenge).map_err(|_| AuthError::Challenge)?;
        let data = response.data().map(<[u8]>::to_vec);
        self.awaits_key =
            matches!(self.plugin, AuthPlugin::CachingSha2Password) && data.as_deref() == Some(&REQUEST_KEY[..]);
        Ok(data)
    }
}

impl Auth {
    /// The password with its final zero byte, mixed with the nonce, for the eyes of the key's owner only.
    fn sealed(&self, pem: &[u8]) -> Result<Vec<u8>, AuthError> {
        let mixed = self.password.iter().chain(&[0]).zip(self.nonce.iter().cycle()).map(|(a, b)| a ^ b);
        mysql_common::crypto::encrypt(&mixed.collect::<Vec<u8>>(), pem).map_err(|_| AuthError::Key)
    }
}

/// Checks a public key before the big-number arithmetic sees it (which trusts its input): 1024 to 4096
/// bits, a small exponent, room for the password. Gives it back as a clean PEM text.
fn usable_rsa_key(pem: &[u8], password: usize) -> Result<Vec<u8>, AuthError> {
    let text = std::str::from_utf8(pem).map_err(|_| AuthError::Key)?;
    let (_, body) = text.split_once("-----BEGIN PUBLIC KEY-----").ok_or(AuthError::Key)?;
    let (body, _) = body.split_once("-----END PUBLIC KEY-----").ok_or(AuthError::Key)?;
    if body.len() > 8192 {
        return Err(AuthError::Key);
    }
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let engine = base64::engine::general_purpose::STANDARD;
    let der = engine.decode(&body).map_err(|_| AuthError::Key)?;
    let modulus = rsa_modulus(&der).ok_or(AuthError::Key)?;
    // RFC 8017 section 7.1.1: a message has at most k - 2 * 20 - 2 octets; ours has a final zero byte.
    if password + 1 > modulus.len().saturating_sub(42) {
        return Err(AuthError::PasswordTooLong);
    }
    Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", engine.encode(&der)).into_bytes())
}

/// The modulus of a SubjectPublicKeyInfo with an RSA key (RFC 5280 section 4.1, RFC 8017 appendix A.1.1).
fn rsa_modulus(der: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader(der);
    let mut info = Reader(element(&mut outer, 0x30)?);
    element(&mut info, 0x30)?;
    let bits = element(&mut info, 0x03)?.strip_prefix(&[0])?;
    let mut bits = Reader(bits);
    let mut key = Reader(element(&mut bits, 0x30)?);
    let modulus = element(&mut key, 0x02)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let exponent = element(&mut key, 0x02)?;
    let exponent = exponent.strip_prefix(&[0]).unwrap_or(exponent);
    let full_top = modulus.first().is_some_and(|b| b & 0x80 != 0);
    let odd = modulus.last().is_some_and(|b| b & 1 == 1) && exponent.last().is_some_and(|b| b & 1 == 1);
    let usable = (128..=512).contains(&modulus.len()) && (1..=4).contains(&exponent.len());
    (full_top && odd && usable && outer.is_empty() && info.is_empty() && bits.is_empty() && key.is_empty())
        .then_some(modulus)
}

/// The content of the next DER element, if it has this tag.
fn element<'a>(r: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    if r.u8()? != tag {
        return None;
    }
    let length = match r.u8()? {
        n @ 0..=0x7f => usize::from(n),
        0x81 => usize::from(r.u8()?),
        0x82 => usize::from(u16::from_be_bytes(r.array()?)),
        _ => return None,
    };
    r.take(length)
}

#[cfg(test)]
mod tests;
