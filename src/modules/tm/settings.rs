//! Parameters of Kamailio's `tm` that are more than a number of the transactions' core.

use super::external::Append;
use crate::base::Str;
use crate::script::value::Value;
use crate::sip::Method;
use std::time::Duration;

/// The parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `contacts_avp`: the `$xavp` that t_load_contacts puts contacts into.
    pub contacts: Option<Str>,
    /// `contact_flows_avp`: the one for those that t_next_contacts has skipped.
    pub flows: Option<Str>,
    /// `tw_append`
    pub appends: Vec<Append>,
    /// `on_sl_reply`: the onreply_route of replies that belong to no transaction.
    pub stray_reply: Option<Str>,
    /// `blst_*`; `None`: as OpenSIPS has it.
    pub blocklist: Option<Blocklist>,
}

/// When a destination gets on the list of those that are not tried (`use_dst_blocklist`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocklist {
    /// `blst_503`: its 503 does it.
    pub by_503: bool,
    /// `blst_503_def_timeout`: for how long without Retry-After; zero: it does not then.
    pub default: Duration,
    /// `blst_503_min_timeout`
    pub least: Duration,
    /// `blst_503_max_timeout`
    pub most: Duration,
    /// `blst_methods_add`: methods whose time-outs do it, a bit each.
    pub add: u32,
    /// `blst_methods_lookup`: methods that heed the list.
    pub look: u32,
    /// `dst_blocklist_expire` of the core: for how long, but for a 503.
    pub expire: Duration,
}

impl Default for Blocklist {
    fn default() -> Self {
        Blocklist {
            by_503: false,
            default: Duration::ZERO,
            least: Duration::ZERO,
            most: Duration::from_secs(3600),
            add: 1,
            look: !8,
            expire: Duration::from_secs(60),
        }
    }
}

impl Blocklist {
    /// For how long a 503 with this Retry-After puts its sender on the list, if it does.
    pub fn after_503(&self, retry_after: Option<Duration>) -> Option<Duration> {
        let time = match retry_after {
            Some(time) => time.max(self.least).min(self.most),
            None => self.default,
        };
        (self.by_503 && !time.is_zero()).then_some(time)
    }

    /// Whether a request of this method that is not answered puts its next hop on the list.
    pub fn adds(&self, method: Method) -> bool {
        self.add & bit(method) != 0
    }

    /// Whether requests of this method are not sent to what is on the list.
    pub fn heeds(&self, method: Method) -> bool {
        self.look & bit(method) != 0
    }
}

/// Kamailio's bit of a method.
fn bit(method: Method) -> u32 {
    match method {
        Method::Invite => 1,
        Method::Cancel => 2,
        Method::Ack => 4,
        Method::Bye => 8,
        Method::Info => 16,
        Method::Register => 32,
        Method::Subscribe => 64,
        Method::Notify => 128,
        Method::Message => 256,
        Method::Options => 512,
        Method::Prack => 1024,
        Method::Update => 2048,
        Method::Refer => 4096,
        Method::Publish => 8192,
        Method::Other => 1 << 19,
    }
}

impl Settings {
    /// The `tw_append` of this name.
    pub fn append(&self, name: &[u8]) -> Option<&Append> {
        self.appends.iter().find(|a| a.name.eq_ignore_ascii_case(name))
    }

    /// Takes over a parameter.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().filter(|t| !t.is_empty());
        let name = || match &text {
            Some(t) if t.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) => {
                Ok(Some(t.clone()))
            }
            None => Ok(None),
            Some(t) => Err(format!("{param} is the bare name of an $xavp, not `{}`", t.to_lossy())),
        };
        let seconds = || {
            let n = value.to_int().and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= 31_536_000);
            n.map(Duration::from_secs).ok_or_else(|| format!("{param} is a number of seconds from 0 to 31536000"))
        };
        let bits = || {
            let n = value.to_int().filter(|n| (-1..=i64::from(u32::MAX)).contains(n));
            n.map(|n| n as u32).ok_or_else(|| format!("{param} is a sum of the bits of methods"))
        };
        let list = self.blocklist.get_or_insert_default();
        match param {
            "contacts_avp" => self.contacts = name()?,
            "contact_flows_avp" => self.flows = name()?,
            "tw_append" => {
                let append = Append::parse(&text.unwrap_or_default())?;
                if self.append(&append.name).is_some() {
                    return Err(format!("there are two tw_append `{}`", append.name.to_lossy()));
                }
                self.appends.push(append);
            }
            "on_sl_reply" => self.stray_reply = text,
            "blst_503" => list.by_503 = value.to_int().is_some_and(|n| n != 0),
            "blst_503_def_timeout" => list.default = seconds()?,
            "blst_503_min_timeout" => list.least = seconds()?,
            "blst_503_max_timeout" => list.most = seconds()?,
            "blst_methods_add" => list.add = bits()?,
            "blst_methods_lookup" => list.look = bits()?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_503_means() {
        let secs = Duration::from_secs;
        let mut s = Settings::default();
        for (param, value) in [
            ("blst_503", 1),
            ("blst_503_def_timeout", 20),
            ("blst_503_min_timeout", 10),
            ("blst_503_max_timeout", 100),
            ("blst_methods_add", 33),
        ] {
            s.set(param, &Value::Int(value)).unwrap();
        }
        let list = s.blocklist.unwrap();
        assert_eq!(list.after_503(None), Some(secs(20)));
        assert_eq!(list.after_503(Some(secs(5))), Some(secs(10)));
        assert_eq!(list.after_503(Some(secs(50))), Some(secs(50)));
        assert_eq!(list.after_503(Some(secs(500))), Some(secs(100)));
        assert!(list.adds(Method::Register) && !list.adds(Method::Options));
        assert!(list.heeds(Method::Invite) && !list.heeds(Method::Bye));
        assert_eq!(Blocklist::default().after_503(Some(secs(5))), None);
        let on = Blocklist { by_503: true, ..Blocklist::default() };
        assert_eq!((on.after_503(None), on.after_503(Some(secs(5)))), (None, Some(secs(5))));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let mut s = Settings::default();
        s.set("tw_append", &Value::from("x:hdr[A]")).unwrap();
        s.set("contacts_avp", &Value::from("tm_contacts")).unwrap();
        for (param, value) in [
            ("tw_append", Value::from("X:hdr[B]")),
            ("tw_append", Value::from("y")),
            ("contacts_avp", Value::from("$xavp(a)")),
            ("blst_503_def_timeout", Value::Int(-1)),
            ("blst_methods_add", Value::from("INVITE")),
        ] {
            assert!(s.set(param, &value).is_err(), "{param}");
        }
    }
}
