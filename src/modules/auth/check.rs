//! Judging credentials, in two steps: what can be said without a password, and the proof.

use super::settings::Bound;
use super::{Side, Verdict};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::sip::digest::nonce::{self, Fault};
use crate::sip::digest::{Algorithm, Credentials, digests, realm_of};
use crate::sip::{Header, Message, Method};
use crate::store::shared::nonces::{NonceId, NonceUse};

/// What is known of a password.
#[derive(Clone, Copy, Debug)]
pub enum Secret<'a> {
    /// The password.
    Clear(&'a [u8]),
    /// Its hash with user and realm, in hexadecimal digits.
    Ha1(&'a [u8]),
}

/// When a nonce that may be used a limited number of times is spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spend {
    /// Before the password is looked at.
    First,
    /// Only if the password is right.
    OnSuccess,
}

/// The credentials for this realm; `Err`: there are some that cannot be read, in the header that
/// starts there if they are for this realm.
fn find<'a>(h: &'a SipHost, side: Side, realm: &[u8]) -> Result<Option<(Header<'a>, Credentials<'a>)>, Option<u32>> {
    let mut unreadable = None;
    for header in h.msg.headers_of(side.credentials()) {
        match Credentials::parse(header.value) {
            Ok(c) if c.realm == realm => return Ok(Some((header, c))),
            Ok(_) => {}
            // Those for somebody else are not looked at.
            Err(_) if digests(header.value).is_none() => {}
            Err(_) if realm_of(header.value).is_some_and(|other| other != realm) => {}
            Err(_) => unreadable = Some(realm_of(header.value).map(|_| header.start)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// Whether the request has credentials for this realm, of either kind.
pub fn has(h: &SipHost, realm: &[u8]) -> bool {
    let values = |side: Side| h.msg.headers_of(side.credentials()).map(|header| header.value);
    values(Side::Www).chain(values(Side::Proxy)).any(|value| realm_of(value) == Some(realm))
}

/// User and domain that the credentials for this realm name.
pub fn user(h: &SipHost, side: Side, realm: &[u8]) -> Option<(Str, Option<Str>)> {
    let (_, c) = find(h, side, realm).ok()??;
    let (user, domain) = c.user_and_domain();
    Some((Str::from(user), domain.map(Str::from)))
}

/// User, domain (or realm) and realm of the credentials that were accepted.
pub fn accepted(h: &SipHost) -> Option<(Str, Str, Str)> {
    let start = h.auth.as_ref()?.accepted?;
    let header = h.msg.headers().find(|header| header.start == start)?;
    let c = Credentials::parse(header.value).ok()?;
    let (user, domain) = c.user_and_domain();
    Some((Str::from(user), Str::from(domain.unwrap_or(c.realm)), Str::from(c.realm)))
}

/// What can be said before a password is known. `Ok`: it has to be looked up.
///
/// # Errors
/// The verdict, if there is one already.
pub fn begin(h: &mut SipHost, side: Side, realm: &[u8], spend: Spend) -> Result<(), Verdict> {
    if !h.msg.is_request() || h.phony {
        return Err(Verdict::Error);
    }
    // Nobody answers an ACK, and a CANCEL cannot be repeated with another CSeq (§22.1); a PRACK belongs to an INVITE that
    // was let in.
    if matches!(h.msg.method(), Method::Ack | Method::Cancel | Method::Prack) {
        return Err(Verdict::Accepted);
    }
    if realm.is_empty() {
        log_line(h, -1, "auth: the realm is empty");
        return Err(Verdict::Error);
    }
    let (verdict, found) = match find(h, side, realm) {
        Ok(Some((header, c))) => (judge_nonce(h, &c, spend == Spend::First), Some(header.start)),
        Ok(None) => (Err(Verdict::NoCredentials), None),
        Err(start) => {
            log_line(h, 3, "auth: the credentials cannot be read");
            (Err(Verdict::Error), start)
        }
    };
    if found.is_some() {
        let kept = h.auth.get_or_insert_default();
        kept.found = found;
        kept.stale |= matches!(verdict, Err(Verdict::Stale | Verdict::Foreign));
    }
    verdict
}

/// Whether the credentials prove the password. `method`: another one than the request's.
pub fn prove(
    h: &mut SipHost,
    side: Side,
    realm: &[u8],
    secret: Secret<'_>,
    method: Option<&[u8]>,
    spend: Spend,
) -> Verdict {
    let Ok(Some((header, c))) = find(h, side, realm) else { return Verdict::NoCredentials };
    let Some(algorithm) = c.algorithm() else { return Verdict::Error };
    // What was offered with a stronger algorithm is not answered with a weaker one.
    let offered = nonce::open(key(h), c.nonce, None).map(|n| n.algorithm.plain());
    if offered != Ok(algorithm.plain()) {
        return Verdict::WrongPassword;
    }
    let ha1 = match secret {
        Secret::Clear(password) => algorithm.ha1(&c.username, c.realm, password),
        Secret::Ha1(ha1) => String::from_utf8_lossy(ha1.trim_ascii()).into_owned(),
    };
    if !c.prove(algorithm, ha1.as_bytes(), method.unwrap_or(h.msg.method_bytes()), h.msg.body()) {
        return Verdict::WrongPassword;
    }
    if spend == Spend::OnSuccess
        && let Err(verdict) = judge_nonce(h, &c, true)
    {
        return verdict;
    }
    let start = header.start;
    h.auth.get_or_insert_default().accepted = Some(start);
    Verdict::Accepted
}

/// What nonces are sealed with.
pub fn key(h: &SipHost) -> &[u8] {
    h.env().settings.auth.secret.as_deref().unwrap_or(&h.env().nonce_key)
}

/// What a nonce for this request is bound to; `None`: to nothing.
pub fn bound(h: &SipHost) -> Option<Vec<u8>> {
    let [register, outside, inside] = h.env().settings.auth.checks;
    let Bound(bits) = match h.msg.method() {
        Method::Register => register,
        _ if h.msg.to_tag().is_none() => outside,
        _ => inside,
    };
    if bits == 0 {
        return None;
    }
    let source = h.source.ip().to_string();
    let parts: [(u8, &[u8]); 4] = [
        (Bound::RURI, h.msg.request_uri()),
        (Bound::CALL_ID, h.msg.call_id()),
        (Bound::FROM_TAG, h.msg.from_tag().unwrap_or_default()),
        (Bound::SOURCE, source.as_bytes()),
    ];
    let mut out = Vec::new();
    for (_, part) in parts.into_iter().filter(|(bit, _)| bits & bit != 0) {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    Some(out)
}

/// Age, origin and uses of a nonce. `spend`: this is a use.
fn judge_nonce(h: &SipHost, c: &Credentials<'_>, spend: bool) -> Result<(), Verdict> {
    let s = &h.env().settings.auth;
    let count = c.count().filter(|_| s.count);
    // With a count the nonce need not be bound as well.
    let bound = if count.is_some() { None } else { bound(h) };
    let nonce = nonce::open(key(h), c.nonce, bound.as_deref()).map_err(|fault| match fault {
        Fault::Foreign => Verdict::Foreign,
        Fault::Changed => Verdict::Stale,
    })?;
    let now = u64::try_from(h.env().clock.micros()).unwrap_or(0);
    if now > nonce.made.saturating_add(s.expire) || nonce.made > now.saturating_add(s.drift) {
        return Err(Verdict::Stale);
    }
    if !spend || !(s.once || count.is_some()) {
        return Ok(());
    }
    let Some(store) = &h.env().store else { return Err(Verdict::Error) };
    match store.use_nonce(s.places, NonceId { made: nonce.made, number: nonce.number }, count) {
        Ok(NonceUse::Good) => Ok(()),
        Ok(NonceUse::Repeated) => Err(Verdict::Repeated),
        Ok(NonceUse::Forgotten) => Err(Verdict::Stale),
        Err(why) => {
            log_line(h, -1, &format!("auth: a nonce cannot be noted: {why}"));
            Err(Verdict::Error)
        }
    }
}

/// The user part of the addresses that must be that of the credentials.
pub fn is_user(msg: &Message, user: &[u8], addresses: &[Address]) -> bool {
    addresses.iter().all(|a| a.user(msg) == user)
}

/// An address of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// From
    From,
    /// To
    To,
    /// The R-URI as received.
    Ruri,
}

impl Address {
    /// Its user part; empty without one.
    pub fn user(self, msg: &Message) -> Vec<u8> {
        self.part(msg, |uri| uri.user.unwrap_or_default().to_vec())
    }

    /// Its host.
    pub fn host(self, msg: &Message) -> Vec<u8> {
        self.part(msg, |uri| uri.host.to_vec())
    }

    fn part(self, msg: &Message, part: impl Fn(&crate::sip::Uri<'_>) -> Vec<u8>) -> Vec<u8> {
        match self {
            Address::From => msg.from().parse_uri().map(|u| part(&u)).unwrap_or_default(),
            Address::To => msg.to().parse_uri().map(|u| part(&u)).unwrap_or_default(),
            Address::Ruri => msg.parse_request_uri().map(|u| part(&u)).unwrap_or_default(),
        }
    }
}

/// The algorithm that the credentials for this realm were made with; MD5 if it is not known.
pub fn algorithm(h: &SipHost, side: Side, realm: &[u8]) -> Algorithm {
    let found = find(h, side, realm).ok().flatten().and_then(|(_, c)| c.algorithm());
    found.unwrap_or(Algorithm::Md5)
}
