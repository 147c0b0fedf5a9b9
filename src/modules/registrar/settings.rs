//! The parameters of `registrar`.

use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec};
use crate::script::value::Value;

/// What becomes of the Path of a REGISTER (RFC 3327).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMode {
    /// It is kept, and not told in the reply.
    Off,
    /// It is kept, and told to who supports it.
    Lazy,
    /// It is kept and told to who supports it; others are refused.
    #[default]
    Strict,
}

/// The module's parameters.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The language of the script: `save` and `lookup` have its return codes.
    pub dialect: Dialect,
    /// `default_expires`, seconds.
    pub default_expires: u32,
    /// `default_expires_range`, percent.
    pub default_range: u32,
    /// `min_expires`, seconds; 0: none.
    pub min_expires: u32,
    /// `min_expires_mode`: what is shorter is refused.
    pub refuse_brief: bool,
    /// `max_expires`, seconds; 0: none.
    pub max_expires: u32,
    /// `expires_range`, percent.
    pub range: u32,
    /// `default_q`, thousandths.
    pub default_q: Option<u16>,
    /// `append_branches`
    pub append_branches: bool,
    /// `case_sensitive`
    pub case_sensitive: bool,
    /// `received_param`
    pub received_param: Str,
    /// `received_avp`
    pub received_avp: Option<Str>,
    /// `max_contacts`; 0: no limit of the configuration's.
    pub max_contacts: usize,
    /// `retry_after`, seconds; 0: none.
    pub retry_after: u32,
    /// `sock_flag`
    pub sock_flag: Option<Str>,
    /// `sock_hdr_name`
    pub sock_header: Option<Str>,
    /// `tcp_persistent_flag`
    pub tcp_flag: Option<Str>,
    /// `method_filtering`
    pub method_filtering: bool,
    /// `use_path`
    pub use_path: bool,
    /// `path_mode`
    pub path_mode: PathMode,
    /// `path_use_received`
    pub path_received: bool,
    /// `gruu_enabled`
    pub gruu: bool,
    /// `outbound_mode`: 0 RFC 5626 is not spoken, 1 it is if the client speaks it, 2 the client must.
    pub outbound: u8,
    /// `regid_mode`: 1: contacts with a `reg-id` are flows of RFC 5626 whatever `outbound_mode` says.
    pub bare_reg_id: bool,
    /// `flow_timer`, seconds; 0: none.
    pub flow_timer: u32,
    /// `contact_max_size`, bytes.
    pub contact_size: usize,
    /// `realm_prefix`
    pub realm_prefix: Str,
    /// `attr_avp`
    pub attr_avp: Option<Str>,
    /// `mcontact_avp`
    pub contact_avp: Option<Str>,
    /// `xavp_cfg`
    pub xavp_cfg: Option<Str>,
    /// `xavp_rcd`
    pub xavp_rcd: Option<Str>,
}

impl Settings {
    /// What holds where nothing is configured.
    pub fn of(dialect: Dialect) -> Settings {
        let kamailio = dialect == Dialect::Kamailio;
        Settings {
            dialect,
            default_expires: 3600,
            default_range: 0,
            min_expires: 60,
            refuse_brief: false,
            max_expires: 0,
            range: 0,
            default_q: if kamailio { None } else { Some(0) },
            append_branches: true,
            case_sensitive: !kamailio,
            received_param: Str::from("received"),
            received_avp: None,
            max_contacts: 0,
            retry_after: 0,
            sock_flag: None,
            sock_header: None,
            tcp_flag: None,
            method_filtering: false,
            use_path: false,
            path_mode: PathMode::default(),
            path_received: false,
            gruu: kamailio,
            outbound: 0,
            bare_reg_id: false,
            flow_timer: 0,
            contact_size: if kamailio { 512 } else { 255 },
            realm_prefix: Str::default(),
            attr_avp: None,
            contact_avp: None,
            xavp_cfg: None,
            xavp_rcd: None,
        }
    }

    /// Takes over a parameter.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let number = value.to_int();
        let text = value.to_text().unwrap_or_default();
        let yes = number.is_some_and(|n| n != 0);
        let range = |most: u32| {
            let fits = number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= most);
            fits.ok_or_else(|| format!("{param} is a number from 0 to {most}"))
        };
        let name = || Some(text.clone()).filter(|t| !t.is_empty());
        // Seconds: somewhat more than 60 years.
        const LONG: u32 = 2_000_000_000;
        match param {
            "default_expires" => self.default_expires = range(LONG)?.max(1),
            "default_expires_range" => self.default_range = range(100)?,
            "min_expires" => self.min_expires = range(LONG)?,
            "min_expires_mode" => self.refuse_brief = range(1)? == 1,
            "max_expires" => self.max_expires = range(LONG)?,
            "expires_range" | "expires_max_deviation" => self.range = range(100)?,
            "default_q" => {
                self.default_q = match number {
                    Some(-1) => None,
                    _ => Some(u16::try_from(range(1000)?).unwrap_or(1000)),
                }
            }
            "append_branches" => self.append_branches = yes,
            "case_sensitive" => self.case_sensitive = yes,
            "received_param" => self.received_param = text,
            "received_avp" => self.received_avp = avp(param, &text)?,
            "attr_avp" => self.attr_avp = avp(param, &text)?,
            "mcontact_avp" => self.contact_avp = avp(param, &text)?,
            "max_contacts" => self.max_contacts = range(LONG)? as usize,
            "retry_after" => self.retry_after = range(LONG)?,
            // -1 says that there is none.
            "sock_flag" => self.sock_flag = name().filter(|_| number.is_none_or(|n| n >= 0)),
            "tcp_persistent_flag" => self.tcp_flag = name().filter(|_| number.is_none_or(|n| n >= 0)),
            "sock_hdr_name" => self.sock_header = name(),
            "method_filtering" => self.method_filtering = yes,
            "use_path" => self.use_path = yes,
            "path_mode" => {
                self.path_mode = match range(2)? {
                    0 => PathMode::Off,
                    1 => PathMode::Lazy,
                    _ => PathMode::Strict,
                }
            }
            "path_use_received" => self.path_received = yes,
            "gruu_enabled" => self.gruu = yes,
            "disable_gruu" => self.gruu = !yes,
            "outbound_mode" => self.outbound = range(2)? as u8,
            "regid_mode" => self.bare_reg_id = range(1)? == 1,
            "flow_timer" => self.flow_timer = range(LONG)?,
            "contact_max_size" | "max_contact_len" => self.contact_size = range(4096)?.max(16) as usize,
            "realm_prefix" => self.realm_prefix = text,
            "xavp_cfg" => self.xavp_cfg = name(),
            "xavp_rcd" => self.xavp_rcd = name(),
            _ => {}
        }
        Ok(())
    }
}

impl Settings {
    /// Whether contacts with a `reg-id` are flows of RFC 5626.
    pub fn uses_flows(&self) -> bool {
        self.outbound > 0 || self.bare_reg_id
    }
}

/// The value of the AVP that a parameter names; the script may have written its name in either way.
pub fn avp_value(avps: &dyn Fn(&[u8]) -> Option<Str>, name: &[u8]) -> Option<Str> {
    avps(name).or_else(|| avps(&[b"s:", name].concat())).or_else(|| avps(&[b"i:", name].concat()))
}

/// The name in `$avp(name)`, also written `$avp(s:name)` or `$avp(i:5)`; `None` for no text.
fn avp(param: &str, text: &[u8]) -> Result<Option<Str>, String> {
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let inner = text.trim_ascii().strip_prefix(b"$avp(").and_then(|t| t.strip_suffix(b")"));
    let inner = inner.map(|name| name.strip_prefix(b"s:").or_else(|| name.strip_prefix(b"i:")).unwrap_or(name));
    match inner {
        Some(name) if !name.is_empty() && !name.contains(&b'$') => Ok(Some(Str::from(name))),
        _ => Err(format!("{param} is an AVP such as `$avp(name)`, not `{}`", String::from_utf8_lossy(text))),
    }
}

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn number(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Int, doc)
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Str, doc)
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

/// The parameters.
pub const PARAMS: &[ModParamSpec] = &[
    number("default_expires", "seconds that a contact lives if its REGISTER does not say; default 3600"),
    number("default_expires_range", "percent by which default_expires varies at random; default 0"),
    number("min_expires", "shortest life of a contact in seconds; 0: any; default 60"),
    number("min_expires_mode", "what is shorter than min_expires is 0: prolonged, 1: refused with 423; default 0"),
    number("max_expires", "longest life of a contact in seconds: longer ones are cut; 0: any; default 0"),
    number("expires_range", "percent by which the life of a contact varies at random; default 0"),
    number("expires_max_deviation", "the same by OpenSIPS' name"),
    number("default_q", "q in thousandths of contacts that have none; -1: none; default -1 (OpenSIPS: 0)"),
    number("append_branches", "1: lookup makes further contacts branches; default 1"),
    number("case_sensitive", "1: letter case of users counts; default 0 (OpenSIPS: 1)"),
    text("received_param", "parameter of a Contact in replies that tells where it came from; default received"),
    text("received_avp", "AVP with the URI where a REGISTER came from, seen through a NAT"),
    number("max_contacts", "most contacts of an address; 0: no limit but the server's own of 150; default 0"),
    number("retry_after", "seconds in the Retry-After of 5xx replies; 0: none; default 0"),
    param(
        "sock_flag",
        ModParamKind::Any,
        "message flag: the socket of the contact is named in the header sock_hdr_name",
    ),
    text("sock_hdr_name", "header that names the socket of the contact"),
    number("method_filtering", "1: lookup finds only contacts that take the request's method; default 0"),
    number("use_path", "1: the Path of a REGISTER is kept, and lookup makes it the route (RFC 3327); default 0"),
    number(
        "path_mode",
        "0: Path is not told in the reply; 1: it is to clients that support it; 2: others are refused with 420; default 2",
    ),
    number(
        "path_use_received",
        "1: the parameter received of the first Path says where the contact came from; default 0",
    ),
    number("gruu_enabled", "1: contacts with an instance get public and temporary names (RFC 5627); default 1"),
    number("disable_gruu", "the same in OpenSIPS, turned around; default 1"),
    number("outbound_mode", "RFC 5626: 0 off, 1 for clients that support it, 2 clients must; default 0"),
    number("regid_mode", "1: the flow of a contact with reg-id is used also with outbound_mode 0; default 0"),
    number("flow_timer", "seconds in Flow-Timer of replies to clients that support outbound; 0: none; default 0"),
    number("contact_max_size", "longest URI of a contact in bytes; default 512"),
    number("max_contact_len", "the same in OpenSIPS; default 255"),
    text("realm_prefix", "text that is taken away in front of domains"),
    text("attr_avp", "AVP with an attribute of the contact: read by save, set by lookup"),
    text("mcontact_avp", "AVP with the Contact that save takes instead of the request's"),
    text(
        "xavp_cfg",
        "`$xavp` with settings of one call: max_contacts of save; match_callid, match_received, match_contact",
    ),
    text("xavp_rcd", "`$xavp` that is filled with a contact's ruid, contact, expires, received and path"),
    ignored("sock_mode", "the socket's address is used, not its name"),
    param(
        "tcp_persistent_flag",
        ModParamKind::Any,
        "message flag: the connection of the REGISTER lives as long as its contacts",
    ),
    ignored("path_check_local", "a Path of our own is a route like another"),
    ignored("lookup_filter_mode", "all contacts are tried"),
    ignored("event_callback", "events are routes"),
    ignored("desc_time_order", "usrloc's desc_time_order decides"),
    ignored("use_expired_contacts", "a contact that has ended is not found"),
    ignored("xavp_rcd_mask", "what xavp_rcd holds is always the same"),
    ignored("max_username_len", "a user may be of any length"),
    ignored("max_domain_len", "a domain may be of any length"),
    ignored("max_aor_len", "an address may be of any length"),
    ignored("allow_dup_cseq", "usrloc's cseq_delay decides"),
    ignored("gruu_secret", "temporary names are not derived from anything"),
    ignored("pn_enable", "push notifications (RFC 8599) are not sent"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let mut s = Settings::of(Dialect::Kamailio);
        s.set("received_avp", &Value::from("$avp(s:RECEIVED)")).unwrap();
        assert_eq!(s.received_avp, Some(Str::from("RECEIVED")));
        s.set("received_avp", &Value::from("$avp(i:42)")).unwrap();
        assert_eq!(s.received_avp, Some(Str::from("42")));
        s.set("default_q", &Value::Int(500)).unwrap();
        assert_eq!(s.default_q, Some(500));
        s.set("default_q", &Value::Int(-1)).unwrap();
        assert_eq!(s.default_q, None);
        s.set("sock_flag", &Value::Int(-1)).unwrap();
        assert_eq!(s.sock_flag, None);
        s.set("path_mode", &Value::Int(0)).unwrap();
        assert_eq!(s.path_mode, PathMode::Off);
        let bad = [
            ("received_avp", Value::from("RECEIVED")),
            ("default_q", Value::Int(1001)),
            ("path_mode", Value::Int(3)),
            ("min_expires", Value::Int(-1)),
            ("expires_range", Value::Int(101)),
        ];
        for (param, value) in bad {
            assert!(s.set(param, &value).is_err(), "{param}");
        }
    }
}
