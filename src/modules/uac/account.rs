//! An account at another server's registrar: what it is, how it stands, and what follows from what the registrar says. No
//! input, no output, no clock.

use super::auth::{Login, Manner, answer};
use crate::base::Str;
use crate::sip::Message;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use serde::{Deserialize, Serialize};

/// Longest field of a profile, bytes.
pub const LONGEST: usize = 1024;
/// Longest registration, seconds: ten years.
const LONGEST_LIFE: u32 = 10 * 365 * 86_400;
/// Challenges that one attempt answers.
const CHALLENGES: u8 = 4;

/// `flags` of the table and of the control methods: the account is disabled.
pub const DISABLED: u32 = 1;
/// A request is under way.
pub const ONGOING: u32 = 2;
/// The registrar has it.
pub const ONLINE: u32 = 4;
/// The request under way answers a challenge.
pub const AUTH_SENT: u32 = 8;
/// The account was looked at.
pub const INIT: u32 = 16;

/// What the table says of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name; the user of the Contact.
    pub uuid: Str,
    /// The user here that it stands for.
    pub user: Str,
    /// That user's domain.
    pub domain: Str,
    /// The user at the registrar.
    pub remote_user: Str,
    /// The registrar's domain.
    pub remote_domain: Str,
    /// The realm that may ask for a password; empty: any.
    pub realm: Str,
    /// The user of the login.
    pub login: Str,
    /// Its password.
    pub password: Str,
    /// The hash of user, realm and password instead.
    pub ha1: Str,
    /// URI of the next hop; empty: the registrar's domain.
    pub proxy: Str,
    /// Seconds to be asked for; 0: it is not registered.
    pub expires: u32,
    /// It begins disabled.
    pub disabled: bool,
    /// Seconds before it is registered for the first time.
    pub delay: u32,
    /// Host and port of the Contact; empty: those of `reg_contact_addr`.
    pub contact: Str,
    /// The listening socket; empty: `default_socket`, or any that fits.
    pub socket: Str,
    /// Addresses of its own instead of those that follow from users and domains.
    pub whole: Option<Box<Whole>>,
}

/// The addresses of an account that is written with whole URIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// The registrar.
    pub registrar: Str,
    /// The address of record.
    pub aor: Str,
    /// Who registers it; empty: the address of record.
    pub from: Str,
    /// The Contact's URI.
    pub contact: Str,
    /// Parameters of the Contact, with their semicolons.
    pub params: Str,
}

impl Profile {
    /// The R-URI.
    pub fn registrar(&self) -> Str {
        match &self.whole {
            Some(whole) => whole.registrar.clone(),
            None => Str::from([b"sip:", &self.remote_domain[..]].concat()),
        }
    }

    /// The address of record.
    pub fn aor(&self) -> Str {
        match &self.whole {
            Some(whole) => whole.aor.clone(),
            None => remote(&self.remote_user, &self.remote_domain),
        }
    }

    /// Who registers it.
    pub fn from(&self) -> Str {
        match &self.whole {
            Some(whole) if !whole.from.is_empty() => whole.from.clone(),
            _ => self.aor(),
        }
    }

    /// URI of the Contact.
    pub fn contact_uri(&self, default: &[u8]) -> Str {
        match &self.whole {
            Some(whole) => whole.contact.clone(),
            None => {
                let at = if self.contact.is_empty() { default } else { &self.contact };
                Str::from([b"sip:", &self.uuid[..], b"@", at].concat())
            }
        }
    }

    /// The URI of the user here that it stands for.
    pub fn local(&self) -> Str {
        remote(&self.user, &self.domain)
    }

    /// The user of the login.
    pub fn login_user(&self) -> &Str {
        if self.login.is_empty() { &self.remote_user } else { &self.login }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, contact: &[u8]) -> Result<(), String> {
        let whole = self.whole.clone().unwrap_or_default();
        let fields: [(&str, &Str); 17] = [
            ("l_uuid", &self.uuid),
            ("l_username", &self.user),
            ("l_domain", &self.domain),
            ("r_username", &self.remote_user),
            ("r_domain", &self.remote_domain),
            ("realm", &self.realm),
            ("auth_username", &self.login),
            ("auth_password", &self.password),
            ("auth_ha1", &self.ha1),
            ("auth_proxy", &self.proxy),
            ("contact_addr", &self.contact),
            ("socket", &self.socket),
            ("registrar", &whole.registrar),
            ("aor", &whole.aor),
            ("third_party_registrant", &whole.from),
            ("binding_URI", &whole.contact),
            ("binding_params", &whole.params),
        ];
        for (name, text) in fields {
            if text.len() > LONGEST {
                return Err(format!("{name} is longer than {LONGEST} bytes"));
            }
            if text.iter().any(|b| b.is_ascii_control()) {
                return Err(format!("{name} holds control characters"));
            }
        }
        if self.uuid.is_empty() {
            return Err("l_uuid is empty".to_string());
        }
        let uris = [
            ("registrar", self.registrar()),
            ("user", self.aor()),
            ("caller", self.from()),
            ("proxy", self.proxy.clone()),
        ];
        for (name, uri) in uris.iter().filter(|(name, uri)| *name != "proxy" || !uri.is_empty()) {
            if Uri::parse(uri).is_err() {
                return Err(format!("`{}` is no URI of a {name}", uri.to_lossy()));
            }
        }
        let contact = self.contact_uri(contact);
        if Uri::parse(&contact).is_err() {
            return Err(format!("the Contact `{}` is no URI", contact.to_lossy()));
        }
        Ok(())
    }
}

fn remote(user: &[u8], domain: &[u8]) -> Str {
    match user.is_empty() {
        true => Str::from([b"sip:", domain].concat()),
        false => Str::from([b"sip:", user, b"@", domain].concat()),
    }
}

/// How accounts are looked after.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `reg_timer_interval`: so long before its end a registration is refreshed, or after half of its time.
    pub margin: i64,
    /// At the latest it is refreshed after so many percent of its time.
    pub percent: i64,
    /// `reg_retry_interval`, seconds; 0: an account that fails is disabled.
    pub retry: i64,
    /// `reg_keep_callid`: refreshes have the Call-ID of what they refresh.
    pub keep_callid: bool,
    /// Seconds after which an attempt without any end is over.
    pub patience: i64,
}

/// An account. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it is.
    pub profile: Profile,
    /// Nothing is registered; what is registered is taken back.
    pub disabled: bool,
    /// It goes when nothing of it is registered any more.
    pub leaving: bool,
    /// When its first attempt began; 0: none has.
    pub begun: i64,
    /// The number of the attempt under way; 0: none is.
    pub attempt: u64,
    /// That attempt answers a challenge.
    pub auth_sent: bool,
    /// The number of the last attempt.
    pub attempts: u64,
    /// When the registration ends; 0: there is none.
    pub ends: i64,
    /// When there is something to be done; 0: never.
    pub due: i64,
    /// The dialog of the last REGISTER: Call-ID, tag, CSeq. Empty: the next one begins anew.
    pub call_id: Str,
    /// Tag of From.
    pub tag: Str,
    /// Number of the last request.
    pub cseq: u32,
    /// Seconds that the registrar wants to be asked for at least.
    pub least: u32,
    /// What the last attempt came to.
    pub last: Str,
}

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The account.
    pub uuid: Str,
    /// Its number.
    pub number: u64,
    /// The Contact is taken back.
    pub removes: bool,
    /// Seconds that are asked for.
    pub expires: u32,
    /// Call-ID; empty: to be made.
    pub call_id: Str,
    /// Tag of From; empty: to be made.
    pub tag: Str,
    /// CSeq.
    pub cseq: u32,
    /// The answers to challenges: Authorization and Proxy-Authorization.
    pub answers: [Option<Str>; 2],
    /// Challenges that were answered.
    pub challenges: u8,
}

/// What follows from a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another request.
    Again(Box<Attempt>),
    /// It is registered for so many seconds.
    Registered(u32),
    /// It is not registered any more.
    Gone,
    /// It has failed: why, and how many seconds the registrar wants to be left alone.
    Failed(String, i64),
}

impl Account {
    /// A new account.
    pub fn new(profile: Profile, now: i64, delay: u32) -> Account {
        let mut account = Account { disabled: profile.disabled, profile, ..Account::default() };
        account.due = if account.wants_registration() { now.saturating_add(delay.into()) } else { 0 };
        account
    }

    fn wants_registration(&self) -> bool {
        !self.disabled && !self.leaving && self.profile.expires > 0
    }

    /// Whether the registrar has it.
    pub fn is_online(&self, now: i64) -> bool {
        self.ends > now
    }

    /// Its flags.
    pub fn flags(&self, now: i64) -> u32 {
        let bits = [
            (self.disabled, DISABLED),
            (self.attempt != 0, ONGOING),
            (self.is_online(now), ONLINE),
            (self.attempt != 0 && self.auth_sent, AUTH_SENT),
            (self.begun != 0, INIT),
        ];
        bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
    }

    /// The same account with what the table says now. What is the same stands as it did; an account that the table has
    /// enabled is enabled. `again`: it is registered anew in any case.
    pub fn renewed(&self, profile: Profile, now: i64, delay: u32, again: bool) -> Account {
        if again || self.profile != profile || self.leaving {
            return Account { attempts: self.attempts, ..Account::new(profile, now, if again { 0 } else { delay }) };
        }
        let mut same = self.clone();
        if same.disabled != profile.disabled {
            same.set_disabled(profile.disabled, now);
        }
        same
    }

    /// Enables or disables it.
    pub fn set_disabled(&mut self, disabled: bool, now: i64) {
        self.disabled = disabled;
        // What is under way comes to its end first.
        if self.attempt == 0 {
            self.due = if self.wants_registration() || self.is_online(now) { now } else { 0 };
        }
    }

    /// It is registered anew as soon as can be; false: it is disabled.
    pub fn register_now(&mut self, now: i64) -> bool {
        let wants = self.wants_registration();
        if wants && self.attempt == 0 {
            self.due = now;
        }
        wants
    }

    /// It is to go: true if it can at once.
    pub fn leave(&mut self, now: i64) -> bool {
        self.leaving = true;
        if self.attempt == 0 && !self.is_online(now) {
            return true;
        }
        if self.attempt == 0 {
            self.due = now;
        }
        false
    }

    /// It was to go, and nothing of it is registered any more.
    pub fn is_over(&self, now: i64) -> bool {
        self.leaving && self.attempt == 0 && !self.is_online(now)
    }

    /// Its time has come: the request to be sent, if any.
    pub fn begin(&mut self, now: i64, policy: &Policy) -> Option<Attempt> {
        if self.attempt != 0 {
            // Its process has died with it.
            self.attempt = 0;
            self.call_id = Str::default();
        }
        if self.begun == 0 {
            self.begun = now.max(1);
        }
        let removes = !self.wants_registration();
        if removes && !self.is_online(now) {
            self.due = 0;
            return None;
        }
        self.attempts += 1;
        self.attempt = self.attempts;
        self.auth_sent = false;
        self.due = now.saturating_add(policy.patience);
        let keeps = (policy.keep_callid || removes) && !self.call_id.is_empty();
        if !keeps {
            (self.call_id, self.tag, self.cseq) = (Str::default(), Str::default(), 0);
        }
        self.cseq = self.cseq.wrapping_add(1) & 0x7fff_ffff;
        Some(Attempt {
            uuid: self.profile.uuid.clone(),
            number: self.attempt,
            removes,
            expires: if removes { 0 } else { self.profile.expires.max(self.least) },
            call_id: self.call_id.clone(),
            tag: self.tag.clone(),
            cseq: self.cseq.max(1),
            answers: [None, None],
            challenges: 0,
        })
    }

    /// Another request of the attempt under way is about to be sent; false: it is not that attempt any more.
    pub fn goes_on(&mut self, with: &Attempt, now: i64, policy: &Policy) -> bool {
        if self.attempt != with.number {
            return false;
        }
        self.auth_sent = with.challenges > 0;
        self.due = now.saturating_add(policy.patience);
        if !with.removes && with.expires > self.profile.expires {
            self.least = with.expires;
        }
        self.note(with);
        true
    }

    fn note(&mut self, with: &Attempt) {
        self.call_id.clone_from(&with.call_id);
        self.tag.clone_from(&with.tag);
        self.cseq = with.cseq;
    }

    /// An attempt has ended; false: it is not that attempt any more.
    pub fn ended(&mut self, of: &Attempt, verdict: &Verdict, now: i64, policy: &Policy) -> bool {
        if self.attempt != of.number {
            return false;
        }
        let wanted = self.wants_registration();
        self.attempt = 0;
        self.auth_sent = false;
        self.note(of);
        match verdict {
            Verdict::Again(_) => {}
            Verdict::Registered(seconds) => {
                let granted = i64::from(*seconds);
                self.ends = now.saturating_add(granted);
                let margin = policy.margin.min(granted / 2);
                let wait = (granted - margin).min(granted * policy.percent.clamp(1, 100) / 100);
                self.due = now.saturating_add(wait.max(1));
                self.last = Str::from("registered");
            }
            Verdict::Gone => {
                (self.ends, self.due) = (0, 0);
                self.call_id = Str::default();
                self.last = Str::from("unregistered");
            }
            Verdict::Failed(why, wait) => {
                self.last = Str::from(why.as_str());
                // The next one begins anew.
                self.call_id = Str::default();
                if of.removes {
                    // What the registrar still has ends by itself.
                    (self.ends, self.due) = (0, 0);
                } else if policy.retry == 0 {
                    (self.disabled, self.due) = (true, 0);
                } else {
                    self.due = now.saturating_add(policy.retry.max(*wait));
                }
            }
        }
        // Somebody has changed his mind meanwhile.
        if of.removes == wanted {
            self.due = if wanted || self.is_online(now) { now } else { 0 };
        }
        true
    }
}

/// What a final reply says; `None`: there is none.
pub fn judge(profile: &Profile, contact: &[u8], of: &Attempt, reply: Option<&Message>, salt: u64) -> Verdict {
    let Some(reply) = reply else { return Verdict::Failed("no answer".to_string(), 0) };
    let failed = |why: &str| {
        let wait = retry_after(reply);
        Verdict::Failed(format!("{} {}{why}", reply.status(), String::from_utf8_lossy(reply.reason())), wait)
    };
    match reply.status() {
        200..=299 if of.removes => Verdict::Gone,
        200..=299 => match granted(reply, contact, of.expires) {
            0 => failed(": the registrar does not list our Contact"),
            seconds => Verdict::Registered(seconds),
        },
        401 | 407 => match challenged(profile, of, reply, salt) {
            Ok(again) => Verdict::Again(Box::new(again)),
            Err(why) => failed(why),
        },
        423 if !of.removes => {
            let least = reply.headers_named(b"Min-Expires").next().and_then(|h| seconds_of(h.value)).unwrap_or(0);
            if least <= of.expires {
                return failed(": without a longer Min-Expires");
            }
            let mut again = next(of);
            again.expires = least.min(LONGEST_LIFE);
            // What was proved was another request.
            again.answers = [None, None];
            Verdict::Again(Box::new(again))
        }
        _ => failed(""),
    }
}

fn next(of: &Attempt) -> Attempt {
    Attempt { cseq: of.cseq.wrapping_add(1) & 0x7fff_ffff, ..of.clone() }
}

fn seconds_of(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |at| text.get(..at).unwrap_or_default());
    match digits {
        "" => None,
        digits => Some(digits.parse().unwrap_or(u32::MAX)),
    }
}

fn retry_after(reply: &Message) -> i64 {
    let found = reply.headers_named(b"Retry-After").next().and_then(|h| seconds_of(h.value));
    i64::from(found.unwrap_or(0).min(86_400))
}

/// The request once more, with the answer to its challenge.
fn challenged(profile: &Profile, of: &Attempt, reply: &Message, salt: u64) -> Result<Attempt, &'static str> {
    let place = usize::from(reply.status() == 407);
    let before = of.answers.get(place).is_some_and(Option::is_some);
    if (before && !is_stale(reply)) || of.challenges >= CHALLENGES {
        return Err(": the registrar does not take auth_username and auth_password");
    }
    let hashed = !profile.ha1.is_empty();
    let secret = if hashed { &profile.ha1 } else { &profile.password };
    let user = profile.login_user();
    if user.is_empty() || secret.is_empty() {
        return Err(": the account has no auth_username, or neither auth_password nor auth_ha1");
    }
    let login = |realm: &[u8]| {
        let meant = profile.realm.is_empty() || *profile.realm == *realm;
        meant.then(|| Login { realm: None, user: user.clone(), password: secret.clone() })
    };
    let line = answer(reply, &login, b"REGISTER", &profile.registrar(), Manner { hashed, salt, ..Manner::default() })
        .ok_or(": none of its challenges is of the account's realm and can be answered")?;
    let mut again = next(of);
    again.challenges += 1;
    if let Some(slot) = again.answers.get_mut(place) {
        *slot = Some(Str::from(line));
    }
    Ok(again)
}

/// Whether the nonce was too old, and nothing else is wrong.
fn is_stale(reply: &Message) -> bool {
    use crate::sip::HeaderId::{ProxyAuthenticate, WwwAuthenticate};
    let id = if reply.status() == 407 { ProxyAuthenticate } else { WwwAuthenticate };
    reply.headers_of(id).any(|h| {
        crate::sip::list::split_list(h.value).any(|part| {
            let part: Vec<u8> = part.iter().filter(|b| !b" \t\"".contains(b)).map(u8::to_ascii_lowercase).collect();
            part == b"stale=true" || part == b"digeststale=true"
        })
    })
}

/// Seconds that the registrar keeps our Contact for; 0: it does not.
fn granted(reply: &Message, contact: &[u8], asked: u32) -> u32 {
    let default = reply.expires().unwrap_or(asked);
    let of = |c: &NameAddr<'_>| c.param(b"expires").and_then(seconds_of).unwrap_or(default).min(LONGEST_LIFE);
    let ours = Uri::parse(contact).ok();
    let same = |c: &&NameAddr<'_>| matches!((&ours, c.parse_uri()), (Some(a), Ok(b)) if a.same_as(&b));
    let named = |c: &&NameAddr<'_>| {
        let user = ours.as_ref().and_then(|u| u.user);
        user.is_some() && c.parse_uri().is_ok_and(|u| u.user == user)
    };
    let all: Vec<NameAddr<'_>> = reply.contacts().collect();
    // Some registrars write the address that the request came from, or nothing at all.
    match all.iter().find(same).or_else(|| all.iter().find(named)) {
        Some(c) => of(c),
        None => match all.as_slice() {
            [] => default.min(LONGEST_LIFE),
            [one] => of(one),
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { margin: 93, percent: 100, retry: 30, keep_callid: true, patience: 40 };

    fn profile() -> Profile {
        let [uuid, user, domain] = ["trunk", "alice", "example.org"].map(Str::from);
        let [remote_user, remote_domain] = ["4711", "provider.example"].map(Str::from);
        let [login, password] = ["auth4711", "secret"].map(Str::from);
        Profile { uuid, user, domain, remote_user, remote_domain, login, password, expires: 600, ..Profile::default() }
    }

    fn reply(status: u16, lines: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status} Word\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:4711@provider.example>;tag=1\r\n\
             To: <sip:4711@provider.example>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Str::from(text)).unwrap()
    }

    const OURS: &[u8] = b"sip:trunk@192.0.2.1:5060";

    fn judged(of: &Attempt, status: u16, lines: &str) -> Verdict {
        judge(&profile(), OURS, of, Some(&reply(status, lines)), 7)
    }

    fn started(a: &mut Account, now: i64) -> Attempt {
        let mut attempt = a.begin(now, &POLICY).unwrap();
        if attempt.call_id.is_empty() {
            (attempt.call_id, attempt.tag) = (Str::from("c"), Str::from("t"));
        }
        assert!(a.goes_on(&attempt, now, &POLICY));
        attempt
    }

    #[test]
    fn addresses_of_an_account() {
        let p = profile();
        assert!(p.check(b"192.0.2.1:5060").is_ok());
        assert_eq!(*p.registrar(), *b"sip:provider.example");
        assert_eq!(*p.aor(), *b"sip:4711@provider.example");
        assert_eq!(*p.contact_uri(b"192.0.2.1:5060"), *OURS);
        assert_eq!(*p.local(), *b"sip:alice@example.org");
        let own = Profile { contact: Str::from("198.51.100.1;transport=tcp"), ..profile() };
        assert_eq!(*own.contact_uri(b"x"), *b"sip:trunk@198.51.100.1;transport=tcp");
        assert_eq!(Profile { login: Str::default(), ..profile() }.login_user()[..], *b"4711");
        let bad = [
            Profile { uuid: Str::default(), ..profile() },
            Profile { remote_domain: Str::default(), ..profile() },
            Profile { password: Str::from("a\r\nb"), ..profile() },
            Profile { proxy: Str::from("nonsense"), ..profile() },
            Profile { realm: Str::from("x".repeat(LONGEST + 1).as_str()), ..profile() },
        ];
        for p in bad {
            assert!(p.check(b"192.0.2.1").is_err(), "{p:?}");
        }
        assert!(profile().check(b"").is_err());
    }

    #[test]
    fn an_account_is_registered_and_refreshed() {
        let mut a = Account::new(profile(), 1000, 5);
        assert_eq!((a.due, a.flags(1000)), (1005, 0));
        let first = started(&mut a, 1005);
        assert_eq!((first.expires, first.cseq, first.removes), (600, 1, false));
        assert_eq!((a.flags(1005), a.due), (ONGOING | INIT, 1045));
        let ok = judged(&first, 200, "Contact: <sip:trunk@192.0.2.1:5060>;expires=300\r\n");
        assert_eq!(ok, Verdict::Registered(300));
        assert!(a.ended(&first, &ok, 1006, &POLICY));
        assert_eq!((a.ends, a.due, a.flags(1006)), (1306, 1213, ONLINE | INIT));
        let second = started(&mut a, 1213);
        assert_eq!((&second.call_id[..], second.cseq), (&b"c"[..], 2));
        // An answer to what is over changes nothing.
        assert!(!a.ended(&first, &Verdict::Gone, 1214, &POLICY));
        let short = Verdict::Registered(60);
        assert!(a.ended(&second, &short, 1214, &POLICY));
        assert_eq!((a.ends, a.due), (1274, 1244), "half of a short time");
        assert_eq!(a.flags(1274), INIT);
    }

    #[test]
    fn failures_are_tried_again_or_end_it() {
        let mut a = Account::new(profile(), 0, 0);
        let of = started(&mut a, 10);
        let busy = judged(&of, 503, "Retry-After: 120 (soon);duration=5\r\n");
        assert_eq!(busy, Verdict::Failed("503 Word".to_string(), 120));
        assert!(a.ended(&of, &busy, 11, &POLICY));
        assert_eq!((a.due, a.disabled, &a.last[..]), (131, false, &b"503 Word"[..]));
        let of = started(&mut a, 131);
        assert_eq!(of.cseq, 1, "what failed is not gone on with");
        let none = judge(&profile(), OURS, &of, None, 0);
        assert!(a.ended(&of, &none, 165, &POLICY));
        assert_eq!((a.due, a.flags(165)), (195, INIT));
        let of = started(&mut a, 195);
        assert!(a.ended(&of, &none, 200, &Policy { retry: 0, ..POLICY }));
        assert_eq!((a.due, a.flags(200)), (0, INIT | DISABLED));
    }

    #[test]
    fn challenges_are_answered_once() {
        let mut a = Account::new(profile(), 0, 0);
        let of = started(&mut a, 0);
        let challenge = "WWW-Authenticate: Digest realm=\"provider.example\", nonce=\"n\", qop=\"auth\"\r\n";
        let Verdict::Again(again) = judged(&of, 401, challenge) else { panic!() };
        assert_eq!((again.cseq, again.challenges), (2, 1));
        let line = again.answers[0].clone().unwrap().to_lossy().into_owned();
        assert!(line.starts_with("Authorization: Digest username=\"auth4711\""), "{line}");
        assert!(line.contains("uri=\"sip:provider.example\""), "{line}");
        assert!(a.goes_on(&again, 1, &POLICY));
        assert_eq!(a.flags(1), ONGOING | AUTH_SENT | INIT);
        assert!(matches!(judged(&again, 401, challenge), Verdict::Failed(..)));
        let stale = challenge.replace("nonce=\"n\"", "nonce=\"m\", stale=TRUE");
        let Verdict::Again(third) = judged(&again, 401, &stale) else { panic!() };
        assert_eq!((third.cseq, third.challenges), (3, 2));
        // A proxy on the way has a login of its own.
        let proxy = challenge.replace("WWW", "Proxy");
        let Verdict::Again(both) = judged(&again, 407, &proxy) else { panic!() };
        assert!(both.answers.iter().all(Option::is_some));
        let other = Profile { realm: Str::from("elsewhere"), ..profile() };
        let asked = reply(401, challenge);
        assert!(matches!(judge(&other, OURS, &of, Some(&asked), 0), Verdict::Failed(..)));
        let empty = Profile { password: Str::default(), ..profile() };
        assert!(matches!(judge(&empty, OURS, &of, Some(&asked), 0), Verdict::Failed(..)));
    }

    #[test]
    fn a_registrar_may_want_more_time() {
        let mut a = Account::new(profile(), 0, 0);
        let of = started(&mut a, 0);
        let Verdict::Again(again) = judged(&of, 423, "Min-Expires: 3600\r\n") else { panic!() };
        assert_eq!((again.expires, again.cseq), (3600, 2));
        assert!(a.goes_on(&again, 1, &POLICY));
        assert!(matches!(judged(&again, 423, "Min-Expires: 3600\r\n"), Verdict::Failed(..)));
        assert!(a.ended(&again, &Verdict::Registered(3600), 2, &POLICY));
        assert_eq!(started(&mut a, 3600).expires, 3600, "it is not asked for less again");
        assert!(matches!(judged(&of, 423, ""), Verdict::Failed(..)));
    }

    #[test]
    fn what_the_registrar_lists() {
        let of = Attempt { expires: 600, ..Attempt::default() };
        let cases = [
            ("Contact: <sip:trunk@192.0.2.1>;expires=70\r\n", 70),
            ("Contact: <sip:other@203.0.113.1>;expires=10, <sip:trunk@192.0.2.1:5060>;expires=80\r\n", 80),
            ("Contact: <sip:other@203.0.113.1>;expires=10, <sip:trunk@198.51.100.7:1>;expires=90\r\n", 90),
            ("Contact: <sip:rewritten@203.0.113.1>;expires=100\r\n", 100),
            ("Expires: 110\r\n", 110),
            ("Contact: <sip:trunk@192.0.2.1:5060>\r\nExpires: 120\r\n", 120),
            ("", 600),
        ];
        for (lines, seconds) in cases {
            assert_eq!(judged(&of, 200, lines), Verdict::Registered(seconds), "{lines}");
        }
        for none in ["Contact: <sip:a@b>, <sip:c@d>\r\n", "Contact: <sip:trunk@192.0.2.1:5060>;expires=0\r\n"] {
            assert!(matches!(judged(&of, 200, none), Verdict::Failed(..)), "{none}");
        }
    }

    #[test]
    fn what_is_disabled_is_taken_back() {
        let mut a = Account::new(profile(), 0, 0);
        let of = started(&mut a, 0);
        a.set_disabled(true, 1);
        // What is under way comes to its end, and is taken back then.
        assert!(a.ended(&of, &Verdict::Registered(600), 2, &POLICY));
        assert_eq!(a.due, 2);
        let back = started(&mut a, 2);
        assert_eq!((back.removes, back.expires, back.cseq), (true, 0, 2));
        a.set_disabled(false, 3);
        assert_eq!(judged(&back, 200, ""), Verdict::Gone);
        assert!(a.ended(&back, &Verdict::Gone, 4, &POLICY));
        assert_eq!((a.due, a.flags(4)), (4, INIT), "enabled again meanwhile");
        let of = started(&mut a, 4);
        assert!(a.ended(&of, &Verdict::Registered(600), 5, &POLICY));
        assert!(!a.leave(6));
        let back = started(&mut a, 6);
        assert!(!a.is_over(6));
        assert!(a.ended(&back, &Verdict::Failed("no answer".to_string(), 0), 7, &POLICY));
        assert!(a.is_over(7));
        assert!(Account::new(profile(), 0, 9).leave(1));
    }

    #[test]
    fn what_the_table_says_anew() {
        let mut a = Account::new(profile(), 0, 0);
        let of = started(&mut a, 0);
        assert!(a.ended(&of, &Verdict::Registered(600), 1, &POLICY));
        assert_eq!(a.renewed(profile(), 5, 0, false), a);
        let other = Profile { password: Str::from("new"), ..profile() };
        let changed = a.renewed(other, 5, 3, false);
        assert_eq!((changed.due, changed.ends, changed.attempts), (8, 0, 1));
        assert_eq!(a.renewed(profile(), 5, 3, true).due, 5);
        a.set_disabled(true, 6);
        assert_eq!(a.renewed(profile(), 7, 0, false).due, 7, "the table enables it");
        let off = Account::new(Profile { disabled: true, ..profile() }, 0, 0);
        assert_eq!((off.due, off.flags(0)), (0, DISABLED));
        assert_eq!(Account::new(Profile { expires: 0, ..profile() }, 0, 0).due, 0);
        // An attempt whose process has died is begun again.
        let mut lost = Account::new(profile(), 0, 0);
        let first = started(&mut lost, 0);
        let second = started(&mut lost, 40);
        assert!(second.number > first.number && !lost.ended(&first, &Verdict::Gone, 41, &POLICY));
    }
}
