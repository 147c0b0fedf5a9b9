//! Parameters of `auth`.

use crate::base::Str;
use crate::script::value::Value;
use crate::sip::digest::{Algorithm, Qop};

/// Which parts of a request a nonce is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bound(pub u8);

impl Bound {
    /// The R-URI.
    pub const RURI: u8 = 1;
    /// The Call-ID.
    pub const CALL_ID: u8 = 2;
    /// The tag of From.
    pub const FROM_TAG: u8 = 4;
    /// The address it comes from.
    pub const SOURCE: u8 = 8;
}

/// How requests are challenged and credentials judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `secret`; `None`: one that main draws at the start.
    pub secret: Option<Str>,
    /// `nonce_expire`, microseconds.
    pub expire: u64,
    /// `nonce_auth_max_drift`, microseconds.
    pub drift: u64,
    /// `one_time_nonce`; OpenSIPS: `disable_nonce_check`, turned around.
    pub once: bool,
    /// `nonce_count`
    pub count: bool,
    /// Nonces that are remembered: `nc_array_size`, `otn_in_flight_no`.
    pub places: u64,
    /// `qop`
    pub qop: Qop,
    /// `auth_checks_register`, `auth_checks_no_dlg`, `auth_checks_in_dlg`
    pub checks: [Bound; 3],
    /// `algorithm`
    pub algorithms: Vec<Algorithm>,
    /// `realm_prefix`
    pub realm_prefix: Str,
    /// `use_domain`
    pub use_domain: bool,
    /// `force_stateless_reply`
    pub stateless: bool,
    /// `www_challenge_header`
    pub www_header: Str,
    /// `proxy_challenge_header`
    pub proxy_header: Str,
    /// `challenge_attr`: the AVP for challenges that a check has made.
    pub challenge_avp: Str,
    /// `calculate_ha1`: `password_spec` holds passwords.
    pub clear_text: bool,
    /// `username_spec`: a variable as written.
    pub username: Option<Str>,
    /// `password_spec`: a variable as written.
    pub password: Option<Str>,
}

impl Default for Settings {
    /// What OpenSIPS has.
    fn default() -> Settings {
        Settings {
            secret: None,
            expire: 30 * 1_000_000,
            drift: 3 * 1_000_000,
            once: true,
            count: false,
            places: 1 << 20,
            qop: Qop::None,
            checks: [Bound(0); 3],
            algorithms: Vec::new(),
            realm_prefix: Str::default(),
            use_domain: false,
            stateless: false,
            www_header: Str::from("WWW-Authenticate"),
            proxy_header: Str::from("Proxy-Authenticate"),
            challenge_avp: Str::from("digest_challenge"),
            clear_text: false,
            username: None,
            password: None,
        }
    }
}

impl Settings {
    /// What Kamailio has.
    pub fn of_kamailio() -> Settings {
        Settings { expire: 300 * 1_000_000, once: false, ..Settings::default() }
    }

    /// Takes over a parameter.
    ///
    /// # Errors
    /// What its value should be.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        let int = value.to_int();
        let yes = int.is_some_and(|n| n != 0);
        let positive = || int.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| format!("{name} is not negative"));
        let bits = || match int {
            Some(n @ 0..=15) => Ok(Bound(n as u8)),
            _ => Err(format!("{name} is a sum of 1 (R-URI), 2 (Call-ID), 4 (tag of From) and 8 (source address)")),
        };
        match name {
            "secret" if text.is_empty() => return Err("an empty secret would be everybody's".to_string()),
            "secret" => self.secret = Some(text),
            "nonce_expire" => {
                let seconds = positive()?;
                if seconds == 0 {
                    return Err("nonce_expire is a number of seconds from 1 on".to_string());
                }
                self.expire = seconds.saturating_mul(1_000_000);
            }
            "nonce_auth_max_drift" => self.drift = positive()?.saturating_mul(1_000_000),
            "one_time_nonce" => self.once = yes,
            "disable_nonce_check" => self.once = !yes,
            "nonce_count" => self.count = yes,
            "nc_array_size" | "otn_in_flight_no" => self.places = positive()?.clamp(1 << 10, 1 << 24),
            "nc_array_order" | "otn_in_flight_order" => self.places = 1 << positive()?.clamp(10, 24),
            "qop" => {
                let known = "qop is \"auth\", \"auth-int\", both with a comma between them, or empty";
                self.qop = Qop::parse(&text).ok_or(known)?;
            }
            "auth_checks_register" => self.checks[0] = bits()?,
            "auth_checks_no_dlg" => self.checks[1] = bits()?,
            "auth_checks_in_dlg" => self.checks[2] = bits()?,
            "algorithm" => self.algorithms = algorithms(&text)?,
            "realm_prefix" => self.realm_prefix = text,
            "use_domain" => self.use_domain = yes,
            "force_stateless_reply" => self.stateless = yes,
            "www_challenge_header" | "proxy_challenge_header" => {
                if !crate::sip::bytes::is_token(&text) {
                    return Err(format!("{name} is the name of a header"));
                }
                let place = if name == "www_challenge_header" { &mut self.www_header } else { &mut self.proxy_header };
                *place = text;
            }
            "challenge_attr" => {
                let bare = text.strip_prefix(b"$").filter(|t| crate::sip::bytes::is_token(t)).map(Str::from);
                let avp = crate::modules::nathelper::avp_name(&text).or(bare);
                self.challenge_avp = avp.ok_or("challenge_attr is $avp(name) or $name")?;
            }
            "calculate_ha1" => self.clear_text = yes,
            "username_spec" | "password_spec" => {
                if text.first() != Some(&b'$') {
                    return Err(format!("{name} is a variable, such as $avp({name})"));
                }
                let place = if name == "username_spec" { &mut self.username } else { &mut self.password };
                *place = Some(text);
            }
            "add_authinfo_hdr" if yes => return Err("Authentication-Info is not added by this version".to_string()),
            _ => {}
        }
        Ok(())
    }

    /// A host without the prefix that is not part of the realm.
    pub fn without_prefix<'a>(&self, host: &'a [u8]) -> &'a [u8] {
        match host.get(..self.realm_prefix.len()) {
            Some(head) if head.eq_ignore_ascii_case(&self.realm_prefix) => {
                host.get(self.realm_prefix.len()..).unwrap_or_default()
            }
            _ => host,
        }
    }
}

/// A list of algorithms with commas between them; empty: none is named.
///
/// # Errors
/// Which name means nothing.
pub fn algorithms(list: &[u8]) -> Result<Vec<Algorithm>, String> {
    let names = list.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|n| !n.is_empty());
    let mut all = Vec::new();
    for name in names {
        let Some(one) = Algorithm::parse(name) else {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            return Err(format!("there is no algorithm `{}`: {known} are", String::from_utf8_lossy(name)));
        };
        if !all.contains(&one) {
            all.push(one);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused() {
        let mut s = Settings::of_kamailio();
        for (name, value) in [
            ("secret", "s3"),
            ("nonce_expire", "600"),
            ("nc_array_order", "12"),
            ("qop", "auth"),
            ("auth_checks_in_dlg", "15"),
            ("algorithm", "sha-256,MD5"),
            ("realm_prefix", "sip."),
            ("password_spec", "$avp(p)"),
            ("www_challenge_header", "X-Authenticate"),
            ("challenge_attr", "$avp(s:asked)"),
        ] {
            assert_eq!(s.set(name, &Value::from(value)), Ok(()), "{name}");
        }
        assert_eq!((s.expire, s.places, s.qop, s.checks[2]), (600_000_000, 4096, Qop::Auth, Bound(15)));
        assert_eq!(s.challenge_avp, Str::from("s:asked"));
        s.set("challenge_attr", &Value::from("$digest_challenge")).unwrap();
        assert_eq!(s.challenge_avp, Str::from("digest_challenge"));
        assert_eq!(s.algorithms, [Algorithm::Sha256, Algorithm::Md5]);
        assert_eq!(s.without_prefix(b"SIP.example.com"), b"example.com");
        assert_eq!(s.without_prefix(b"example.com"), b"example.com");
        for (name, value) in [
            ("secret", ""),
            ("nonce_expire", "0"),
            ("nonce_expire", "-1"),
            ("nonce_expire", "soon"),
            ("qop", "token"),
            ("auth_checks_in_dlg", "16"),
            ("algorithm", "SHA-1"),
            ("username_spec", "name"),
            ("challenge_attr", "digest_challenge"),
            ("challenge_attr", "$hdr(x) y"),
            ("proxy_challenge_header", "X: y"),
            ("add_authinfo_hdr", "1"),
        ] {
            assert!(s.set(name, &Value::from(value)).is_err(), "{name}");
        }
    }
}
