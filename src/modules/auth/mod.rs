//! `auth`: who sends a request proves a password (RFC 3261 §22, RFC 7616). The module of each language, and what
//! other modules that look a password up need: [`check::begin`] before they ask for it, [`check::prove`] when they
//! have it.

pub mod challenge;
pub mod check;
mod kamailio;
mod opensips;
pub mod settings;

pub use kamailio::MODULE as KAMAILIO;
pub use opensips::MODULE as OPENSIPS;
pub use settings::Settings;

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, ModParamKind, ModParamSpec};
use crate::sip::digest::Algorithm;
use crate::sip::{HeaderId, Message, Method};
use serde::{Deserialize, Serialize};

/// Who asks for the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A server that the request is for: 401, WWW-Authenticate, Authorization.
    Www,
    /// A proxy on its way: 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Side {
    /// A registrar is the one, for all else it is the other.
    pub fn of(msg: &Message) -> Side {
        if msg.method() == Method::Register { Side::Www } else { Side::Proxy }
    }

    /// The header with the credentials.
    pub fn credentials(self) -> HeaderId {
        match self {
            Side::Www => HeaderId::Authorization,
            Side::Proxy => HeaderId::ProxyAuthorization,
        }
    }

    /// Status and phrase of the reply with the challenge.
    pub fn reply(self) -> (u16, &'static str) {
        match self {
            Side::Www => (401, "Unauthorized"),
            Side::Proxy => (407, "Proxy Authentication Required"),
        }
    }
}

/// What a check of credentials came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They are right, or the request is one that is not asked for any (ACK, CANCEL, PRACK).
    Accepted,
    /// The check itself failed: bad arguments, credentials that cannot be read, a database that did not answer.
    Error,
    /// The password is wrong.
    WrongPassword,
    /// There is no such user.
    UnknownUser,
    /// The nonce is too old, or not for this request.
    Stale,
    /// The nonce is not one of ours.
    Foreign,
    /// There are no credentials for this realm.
    NoCredentials,
    /// The nonce was used before.
    Repeated,
    /// They are right, but somebody else's.
    OtherUser,
}

impl Verdict {
    /// The return code.
    pub fn code(self, dialect: Dialect) -> i32 {
        match (self, dialect) {
            (Verdict::Accepted, _) => 1,
            (Verdict::Error | Verdict::Foreign, Dialect::Kamailio) => -1,
            (Verdict::WrongPassword, _) => -2,
            (Verdict::UnknownUser, Dialect::Kamailio) => -3,
            (Verdict::Stale, Dialect::Kamailio) => -4,
            (Verdict::NoCredentials, Dialect::Kamailio) => -5,
            (Verdict::Repeated, Dialect::Kamailio) => -6,
            (Verdict::OtherUser, Dialect::Kamailio) => -8,
            (Verdict::UnknownUser | Verdict::OtherUser, Dialect::OpenSips) => -1,
            (Verdict::Stale | Verdict::Foreign | Verdict::Repeated, Dialect::OpenSips) => -3,
            (Verdict::NoCredentials, Dialect::OpenSips) => -4,
            (Verdict::Error, Dialect::OpenSips) => -5,
        }
    }
}

/// Return codes of the checks in Kamailio's language.
pub const KAMAILIO_CODES: &[(i32, &str)] = &[
    (1, "the credentials are right; also for ACK, CANCEL and PRACK, which are not challenged"),
    (
        -1,
        "a nonce that is not one of ours, credentials that cannot be read, a wrong argument, a database that did not answer (see $async_err)",
    ),
    (-2, "wrong password"),
    (-3, "unknown user"),
    (-4, "the nonce is too old: the next challenge says so (stale=true)"),
    (-5, "no credentials for this realm"),
    (-6, "the nonce was used before (one_time_nonce, nonce_count)"),
    (-8, "the credentials are another user's"),
];

/// Return codes of the checks in OpenSIPS' language.
pub const OPENSIPS_CODES: &[(i32, &str)] = &[
    (1, "the credentials are right; also for ACK, CANCEL and PRACK, which are not challenged"),
    (-1, "unknown user"),
    (-2, "wrong password"),
    (-3, "the nonce is too old, was used before, or is not one of ours: the next challenge says so (stale=true)"),
    (-4, "no credentials for this realm"),
    (-5, "error: credentials that cannot be read, a database that did not answer (see $async_err)"),
];

/// What a run remembers between a check and what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// A nonce was stale: the next challenge says so.
    pub stale: bool,
    /// Where the header starts whose credentials were looked at.
    pub found: Option<u32>,
    /// Where the header starts whose credentials were accepted.
    pub accepted: Option<u32>,
    /// The algorithm that `auth_algorithm` chose, by its name.
    pub algorithm: Option<Str>,
}

/// The algorithms that a run's challenges offer; empty: MD5, without naming it.
pub fn algorithms(h: &SipHost) -> Vec<Algorithm> {
    let own = h.auth.as_ref().and_then(|kept| kept.algorithm.as_ref());
    match own {
        Some(name) => Algorithm::parse(name).into_iter().collect(),
        None => h.env().settings.auth.algorithms.clone(),
    }
}

/// The realm of an argument; where it is empty (OpenSIPS), that of the request: the host of To for a registrar, else of
/// From.
pub fn realm(call: &Call<'_, SipHost>, argument: usize, side: Side) -> Str {
    let given = call.text(argument).unwrap_or_default();
    if !given.is_empty() {
        return given;
    }
    let msg = &call.host.msg;
    let address = if side == Side::Www { msg.to() } else { msg.from() };
    let host = address.parse_uri().map(|uri| uri.host).unwrap_or_default();
    Str::from(call.host.env().settings.auth.without_prefix(host))
}

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const INT: ModParamKind = ModParamKind::Int;
const STR: ModParamKind = ModParamKind::Str;
