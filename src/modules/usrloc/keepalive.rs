//! Keep-alive requests to the contacts of users (`ka_*`): what they are like, and how their answers are known.

use super::binding::Binding;
use crate::base::Str;
use crate::script::value::Value;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bits of `ka_mode`.
const NATED: i64 = 2;
const UDP: i64 = 4;

/// Level on Kamailio's scale that stands for no line.
const NO_LINE: i64 = 255;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `ka_mode` is not 0.
    pub on: bool,
    /// `ka_mode`: only contacts with the flag that nat_bflag names.
    pub nated_only: bool,
    /// `ka_mode`: only over UDP.
    pub udp_only: bool,
    /// `ka_method`
    pub method: Str,
    /// `ka_from`
    pub from: Str,
    /// `ka_domain`: host of To where addresses have none.
    pub domain: Str,
    /// `ka_timeout`: seconds without an answer behind which a contact ends; 0: it does not.
    pub timeout: i64,
    /// `ka_loglevel`, on OpenSIPS' scale.
    pub log_level: Option<i32>,
    /// `ka_logmsg`: a text with variables of the answer.
    pub log_text: Str,
}

impl Default for KeepAlive {
    fn default() -> Self {
        KeepAlive {
            on: false,
            nated_only: false,
            udp_only: false,
            method: Str::from("OPTIONS"),
            from: Str::from("sip:server@kamailio.org"),
            domain: Str::from("kamailio.org"),
            timeout: 0,
            log_level: None,
            log_text: Str::from(" to-uri: [$tu] remote-addr: [$sas]"),
        }
    }
}

impl KeepAlive {
    /// Takes over a parameter; `None`: it is none of these.
    pub(super) fn set(&mut self, param: &str, value: &Value) -> Option<Result<(), String>> {
        let text = value.to_text().unwrap_or_default();
        let number = |least: i64, most: i64| {
            let n = value.to_int().filter(|n| (least..=most).contains(n));
            n.ok_or_else(|| format!("{param} is a number from {least} to {most}"))
        };
        let done = match param {
            "ka_mode" => number(0, 7).map(|n| {
                (self.on, self.nated_only, self.udp_only) = (n != 0, n & NATED != 0, n & UDP != 0);
            }),
            "ka_method" if crate::sip::bytes::is_token(&text) => {
                self.method = text;
                Ok(())
            }
            "ka_method" => Err("ka_method is a method".to_string()),
            "ka_from" if crate::sip::uri::Uri::parse(&text).is_ok() => {
                self.from = text;
                Ok(())
            }
            "ka_from" => Err("ka_from is a SIP URI".to_string()),
            "ka_domain" if !text.is_empty() && !text.iter().any(|b| b.is_ascii_whitespace() || b"<>@;".contains(b)) => {
                self.domain = text;
                Ok(())
            }
            "ka_domain" => Err("ka_domain is the name of a host".to_string()),
            "ka_timeout" => number(0, 86_400).map(|n| self.timeout = n),
            "ka_loglevel" => match value.to_int() {
                Some(NO_LINE) => {
                    self.log_level = None;
                    Ok(())
                }
                // Warnings are 0 there and 1 here.
                _ => number(-5, 3).map(|n| {
                    let level = if n >= 0 { n + 1 } else { n.max(-3) };
                    self.log_level = i32::try_from(level).ok();
                }),
            },
            "ka_logmsg" => {
                self.log_text = text;
                Ok(())
            }
            _ => return None,
        };
        Some(done)
    }

    /// Whether requests are sent to a contact with this flag for NAT, over UDP or not.
    pub fn wants(&self, b: &Binding, nat_flag: Option<&Str>, udp: bool) -> bool {
        let nated = || nat_flag.is_some_and(|f| b.bflags.contains(f));
        self.on && (!self.nated_only || nated()) && (!self.udp_only || udp)
    }

    /// Whether a contact has not answered for too long. `now`: seconds since 1970.
    pub fn is_lost(&self, b: &Binding, now: i64) -> bool {
        self.timeout > 0 && b.modified.max(b.alive).saturating_add(self.timeout) < now
    }
}

/// Whom a request was sent to, and when: in its Call-ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The table.
    pub table: Str,
    /// The address of record.
    pub aor: Str,
    /// The binding.
    pub ruid: Str,
    /// On the monotonic clock, microseconds.
    pub at: u64,
}

impl Sent {
    /// What the seal is computed of.
    pub fn sealed_text(&self) -> Vec<u8> {
        let mut out = b"keepalive".to_vec();
        for part in [&self.table[..], &self.aor, &self.ruid] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&self.at.to_be_bytes());
        out
    }

    /// The word behind the mark of a Call-ID.
    pub fn word(&self, seal: u64) -> String {
        let names: Vec<String> =
            [&self.table, &self.aor, &self.ruid].iter().map(|part| URL_SAFE_NO_PAD.encode(&part[..])).collect();
        format!("{:x}.{seal:016x}.{}", self.at, names.join("."))
    }

    /// Reads such a word: what was sent, and the seal that it has.
    pub fn read(word: &[u8]) -> Option<(Sent, u64)> {
        let mut parts = std::str::from_utf8(word).ok()?.split('.');
        let at = u64::from_str_radix(parts.next()?, 16).ok()?;
        let seal = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut name = || URL_SAFE_NO_PAD.decode(parts.next()?).ok().map(Str::from);
        let (table, aor, ruid) = (name()?, name()?, name()?);
        parts.next().is_none().then_some((Sent { table, aor, ruid, at }, seal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused() {
        let mut ka = KeepAlive::default();
        for (param, value) in [
            ("ka_mode", Value::Int(6)),
            ("ka_method", Value::from("NOTIFY")),
            ("ka_from", Value::from("sip:me@here")),
            ("ka_domain", Value::from("here")),
            ("ka_timeout", Value::Int(120)),
            ("ka_loglevel", Value::Int(1)),
        ] {
            assert_eq!(ka.set(param, &value), Some(Ok(())), "{param}");
        }
        assert_eq!((ka.on, ka.nated_only, ka.udp_only, ka.log_level), (true, true, true, Some(2)));
        for (param, value) in [
            ("ka_mode", Value::Int(8)),
            ("ka_method", Value::from("NO TIFY")),
            ("ka_from", Value::from("me")),
            ("ka_domain", Value::from("a b")),
            ("ka_timeout", Value::Int(-1)),
            ("ka_loglevel", Value::Int(9)),
        ] {
            assert!(matches!(ka.set(param, &value), Some(Err(_))), "{param}");
        }
        assert_eq!(ka.set("db_mode", &Value::Int(1)), None);
        let b = Binding { bflags: vec![Str::from("6")], modified: 100, ..Binding::default() };
        let flag = Str::from("6");
        assert!(ka.wants(&b, Some(&flag), true) && !ka.wants(&b, Some(&flag), false) && !ka.wants(&b, None, true));
        assert!(!ka.is_lost(&b, 220) && ka.is_lost(&b, 221));
        assert!(!ka.is_lost(&Binding { alive: 150, ..b }, 221));
    }

    #[test]
    fn what_was_sent_is_known_again() {
        let sent = Sent {
            table: Str::from("location"),
            aor: Str::from("bob@example.com"),
            ruid: Str::from("uloc-1"),
            at: 0xdead_beef,
        };
        let word = sent.word(7);
        assert_eq!(Sent::read(word.as_bytes()), Some((sent.clone(), 7)));
        for bad in ["", "x", "1.2.3", "1.2.YQ.YQ", "1.2.YQ.YQ.YQ.YQ", "1.2.YQ.YQ.!"] {
            assert_eq!(Sent::read(bad.as_bytes()), None, "{bad}");
        }
        assert_ne!(sent.sealed_text(), Sent { at: 1, ..sent.clone() }.sealed_text());
    }
}
