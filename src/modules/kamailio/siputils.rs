//! Parameters of `siputils`, and who is behind a message: Remote-Party-ID, P-Charging-Vector, Date (kamailio.md section
//! 5.1; RFC 7315 section 5.6).

use super::uris::is_e164;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::nathelper::avp_name;
use crate::modules::pv_get::random;
use crate::modules::sipmsgops::headers::{checked, remove_where};
use crate::modules::time_text::parse_date;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

/// What the module was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `contact_flds_separator`
    pub separator: u8,
    /// `rpid_prefix`
    prefix: Str,
    /// `rpid_suffix`
    suffix: Str,
    /// Name of the AVP that `rpid_avp` means.
    avp: Option<Str>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            separator: b'*',
            prefix: Str::default(),
            suffix: Str::from(";party=calling;id-type=subscriber;screen=yes"),
            avp: Some(Str::from("s:rpid")),
        }
    }
}

impl Settings {
    /// Takes a parameter; others than these are for somebody else.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        match param {
            "contact_flds_separator" => {
                let sign = text.first().copied().filter(|b| b.is_ascii_graphic() && !b"@:;?<>\"".contains(b));
                self.separator =
                    sign.ok_or("contact_flds_separator is a character that may stand in a user part, such as *")?;
            }
            "rpid_prefix" => self.prefix = text,
            "rpid_suffix" => self.suffix = text,
            "rpid_avp" if text.is_empty() => self.avp = None,
            "rpid_avp" => self.avp = Some(avp_name(&text).ok_or("rpid_avp is an AVP such as `$avp(rpid)`")?),
            _ => {}
        }
        Ok(())
    }
}

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

pub(super) const IS_URI: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_uri"),
    params: &[Param::req("text", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Whether a text is a SIP or tel URI.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (is_uri("$var(target)")) $ru = $var(target);"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let tel = |u: &Uri<'_>| u.scheme == crate::sip::uri::Scheme::Tel && u.user.is_some_and(|n| !n.is_empty());
        verdict(Uri::parse(&text).is_ok_and(|u| (u.is_sip() && !u.host.is_empty()) || tel(&u)))
    },
    finish: None,
};

/// The address in the AVP that `rpid_avp` names.
fn party(call: &mut Call<'_, SipHost>) -> Result<Option<Str>, String> {
    let Some(name) = call.host.env().settings.siputils.avp.clone() else {
        return Err("rpid_avp of siputils is empty: there is no address to be read".into());
    };
    // Scripts may write `$avp(s:rpid)` and `$avp(rpid)`.
    let bare = name.strip_prefix(b"s:").map(Str::from);
    let long = Str::from([b"s:", bare.as_ref().unwrap_or(&name).as_bytes()].concat());
    let names = [bare.unwrap_or(name), long];
    let found = names.iter().find_map(|n| call.vm().avp(n).into_iter().next());
    Ok(found.filter(|v| v.as_int().is_none()).and_then(|v| v.to_text()).filter(|t| !t.is_empty()))
}

pub(super) const IS_RPID_USER_E164: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_rpid_user_e164"),
    params: &[],
    doc: "Whether the user part of the address in the AVP that `rpid_avp` names is a number of E.164.",
    example: "if (is_rpid_user_e164()) append_rpid_hf();",
    run: |call| match party(call) {
        Ok(Some(text)) => {
            let uri = NameAddr::parse(&text).map_or(&text[..], |n| n.uri);
            verdict(Uri::parse(uri).ok().and_then(|u| u.user).is_some_and(is_e164))
        }
        Ok(None) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    },
    ..IS_URI
};

pub(super) const APPEND_RPID_HF: FnSpec<SipHost> = FnSpec {
    kamailio: Some("append_rpid_hf"),
    params: &[Param::opt("prefix", Kind::Str), Param::opt("suffix", Kind::Str)],
    routes: RouteSet::letters("RFB"),
    doc: "Adds a Remote-Party-ID: the address in the AVP that `rpid_avp` names between `rpid_prefix` and `rpid_suffix`, or \
          between a prefix and a suffix that are given.",
    returns: &[(1, "added"), (-1, "there is no address, or no header came of it")],
    example: r#"append_rpid_hf("<", ">;party=calling;screen=yes");"#,
    run: |call| {
        let text = match party(call) {
            Ok(Some(text)) => text,
            Ok(None) => return Step::Done(-1),
            Err(why) => return Step::Fail(why),
        };
        let own = &call.host.env().settings.siputils;
        let (prefix, suffix) = match (call.text(0), call.text(1)) {
            (None, None) => (own.prefix.clone(), own.suffix.clone()),
            (prefix, suffix) => (prefix.unwrap_or_default(), suffix.unwrap_or_default()),
        };
        let line = [b"Remote-Party-ID: ", &prefix[..], &text[..], &suffix[..]].concat();
        let one = !line.iter().any(|b| matches!(b, b'\r' | b'\n'));
        let Some(line) = checked(Str::from(line)).filter(|_| one) else { return Step::Done(-1) };
        call.host.edits.append_header(&call.host.msg, line);
        Step::Done(1)
    },
    ..IS_URI
};

const VECTOR: &[u8] = b"P-Charging-Vector";

pub(super) const SIP_P_CHARGING_VECTOR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sip_p_charging_vector"),
    params: &[Param::req("flags", Kind::Str)],
    doc: "P-Charging-Vector (RFC 7315): `r` removes it, `g` makes one if there is none, `f` makes a new one in any case. What \
          was made is read with `$pcv(...)`.",
    returns: &[(1, "done")],
    example: r#"sip_p_charging_vector("g");"#,
    run: |call| {
        let flags = call.text(0).unwrap_or_default().to_ascii_lowercase();
        let has = |flag| flags.contains(&flag);
        let there = received(call.host).is_some();
        if there && (has(b'r') || has(b'f')) {
            remove_where(call, |name, _| name.eq_ignore_ascii_case(VECTOR));
        }
        let made = call.host.rare.charging.is_some();
        if has(b'f') || (has(b'g') && !there && !made) {
            let value = vector(call);
            let line = [VECTOR, b": ", &value[..], b"\r\n"].concat();
            let h = &mut *call.host;
            if let Some(old) = h.rare.charging.take() {
                h.edits.forget_header(&[VECTOR, b": ", &old[..], b"\r\n"].concat());
            }
            h.edits.append_header(&h.msg, Str::from(line));
            h.rare.charging = Some(Box::new(value));
        }
        Step::Done(1)
    },
    ..IS_URI
};

/// A new vector: who made it, when, and a number that nobody can foresee.
fn vector(call: &Call<'_, SipHost>) -> Str {
    let env = call.host.env();
    let listener = env.listeners.get(usize::from(call.host.listener));
    let address = listener.map_or_else(|| "127.0.0.1".to_string(), |l| l.addr.ip().to_string());
    let (micros, chance) = (env.clock.micros(), random(call.now));
    Str::from(format!("icid-value={:08X}{micros:016X}{chance:08X}; icid-generated-at={address}", env.pid))
}

/// The vector that the message came with.
fn received(h: &SipHost) -> Option<&[u8]> {
    h.msg.headers_named(VECTOR).map(|x| x.value).find(|v| field(v, b"icid-value").is_some())
}

/// A parameter of a vector (they stand behind semicolons), as it is written.
fn field<'a>(vector: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    vector.split(|b| *b == b';').find_map(|part| {
        let at = part.iter().position(|b| *b == b'=')?;
        let (own, value) = (part.get(..at)?.trim_ascii(), part.get(at + 1..)?.trim_ascii());
        (own.eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
    })
}

/// What `$pcv(...)` knows.
pub const PCV: &[&str] = &["all", "value", "genaddr", "orig", "term"];

/// Reads `$pcv(field)`: of the vector that was made, else of the one that the message came with.
pub fn charging(h: &SipHost, key: &[u8]) -> Value {
    let made = h.rare.charging.as_ref().map(|v| v.as_bytes());
    let Some(vector) = made.or_else(|| received(h)) else { return Value::Null };
    let name: &[u8] = match key {
        b"all" => return Value::text(vector),
        b"value" => b"icid-value",
        b"genaddr" => b"icid-generated-at",
        b"orig" => b"orig-ioi",
        b"term" => b"term-ioi",
        _ => return Value::Null,
    };
    field(vector, name).map_or(Value::Null, Value::text)
}

pub(super) const HDR_DATE_CHECK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hdr_date_check"),
    params: &[Param::req("seconds", Kind::Int)],
    doc: "Whether the message has a Date that lies not more than so many seconds back.",
    returns: &[(1, "it has"), (-1, "there is none that can be read"), (-4, "it is older")],
    example: r#"if (!hdr_date_check("10")) sl_send_reply("403", "Outdated Date");"#,
    run: |call| {
        let Some(seconds) = call.int(0) else { return Step::Done(-1) };
        let now = call.host.env().clock.micros() / 1_000_000;
        let date = call.host.msg.header(HeaderId::Date).and_then(|h| parse_date(h.value));
        Step::Done(match date {
            Some(date) if now <= date.saturating_add(seconds) => 1,
            Some(_) => -4,
            None => -1,
        })
    },
    ..IS_URI
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{Bench, OMIT};
    use crate::modules::time_text::WallClock;
    use std::rc::Rc;

    fn bench(headers: &str) -> Bench {
        let mut b = Bench::new(&format!(
            "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{headers}\r\n"
        ));
        Rc::make_mut(&mut b.host.env).clock = WallClock::simulated(1_709_164_800_000_000);
        b
    }

    #[test]
    fn uris() {
        let mut b = bench("");
        for (text, code) in [
            ("sip:a@b", 1),
            ("sips:b:5061;x", 1),
            ("tel:+123", 1),
            ("sip:", -1),
            ("a@b", -1),
            ("", -1),
            ("http://a", -1),
        ] {
            assert_eq!(b.call(&IS_URI, &[text]), code, "{text}");
        }
    }

    #[test]
    fn remote_party_ids() {
        let mut b = bench("");
        assert_eq!(b.call(&APPEND_RPID_HF, &[OMIT, OMIT]), -1);
        assert_eq!(b.call(&IS_RPID_USER_E164, &[]), -1);
        b.push("rpid", &[Value::from("<sip:+4930123@h>")]);
        assert_eq!(b.call(&IS_RPID_USER_E164, &[]), 1);
        assert_eq!(b.call(&APPEND_RPID_HF, &[OMIT, OMIT]), 1);
        assert_eq!(b.call(&APPEND_RPID_HF, &["\"A\" ", ";x"]), 1);
        assert!(b.sent().contains(
            "\r\nRemote-Party-ID: <sip:+4930123@h>;party=calling;id-type=subscriber;screen=yes\r\n\
             Remote-Party-ID: \"A\" <sip:+4930123@h>;x\r\n"
        ));
        assert_eq!(b.call(&APPEND_RPID_HF, &["a\r\nb: ", "c"]), -1);
        Rc::make_mut(&mut b.host.env).settings.siputils.avp = None;
        assert_eq!(b.call(&APPEND_RPID_HF, &[OMIT, OMIT]), -1000);
    }

    #[test]
    fn charging_vectors() {
        let read =
            |b: &Bench, key: &str| charging(&b.host, key.as_bytes()).to_text().map(|t| t.to_lossy().into_owned());
        let mut b = bench("P-Charging-Vector: icid-value=abc;icid-generated-at=h; orig-ioi=o\r\n");
        assert_eq!(read(&b, "value").as_deref(), Some("abc"));
        assert_eq!(read(&b, "genaddr").as_deref(), Some("h"));
        assert_eq!(read(&b, "orig").as_deref(), Some("o"));
        assert_eq!(read(&b, "term"), None);
        assert_eq!(b.call(&SIP_P_CHARGING_VECTOR, &["g"]), 1);
        assert!(b.host.edits.is_empty());
        for _ in 0..2 {
            assert_eq!(b.call(&SIP_P_CHARGING_VECTOR, &["f"]), 1);
            assert_eq!(b.sent().matches("P-Charging-Vector").count(), 1);
        }
        let value = read(&b, "value").unwrap();
        assert!(value.len() == 32 && b.sent().contains(&value));
        assert_eq!(b.call(&SIP_P_CHARGING_VECTOR, &["r"]), 1);
        let mut b = bench("");
        assert_eq!(read(&b, "all"), None);
        for _ in 0..2 {
            assert_eq!(b.call(&SIP_P_CHARGING_VECTOR, &["g"]), 1);
            assert_eq!(b.sent().matches("P-Charging-Vector").count(), 1);
        }
    }

    #[test]
    fn dates() {
        // It is 2024-02-29 00:00:00.
        for (date, seconds, code) in [
            ("Date: Thu, 29 Feb 2024 00:00:00 GMT\r\n", "0", 1),
            ("Date: Wed, 28 Feb 2024 23:59:50 GMT\r\n", "10", 1),
            ("Date: Wed, 28 Feb 2024 23:59:49 GMT\r\n", "10", -4),
            ("Date: Thu, 29 Feb 2024 01:00:00 GMT\r\n", "10", 1),
            ("Date: yesterday\r\n", "10", -1),
            ("", "10", -1),
        ] {
            assert_eq!(bench(date).call(&HDR_DATE_CHECK, &[seconds]), code, "{date}");
        }
    }
}
