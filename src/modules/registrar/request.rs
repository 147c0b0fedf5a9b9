//! Reading a REGISTER (RFC 3261 10.3, steps 1 to 5, as far as they are not the script's).

use super::options::Options;
use super::refusal::Refusal;
use super::register::{Ask, Contacts, Wanted};
use super::settings::{PathMode, Settings, avp_value};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_get::random;
use crate::modules::pv_kamailio::method_number;
use crate::modules::usrloc::binding::MEMORY_ONLY;
use crate::script::registry::Call;
use crate::sip::bytes::{parse_u32, unescape_uri};
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::{Scheme, Uri};

/// Longest Call-ID, instance, User-Agent: what the usual table has room for.
const LONGEST: usize = 255;
/// Longest Path.
const LONGEST_PATH: usize = 512;

/// An address of record as bindings are kept under it: user and domain, or the user alone; the domain alone where the
/// URI has no user. `None` if the URI names nobody.
pub fn address(h: &SipHost, uri: &[u8]) -> Option<Str> {
    let settings = &h.env().settings;
    let (r, use_domain) = (&settings.registrar, settings.usrloc.use_domain);
    let uri = Uri::parse(uri).ok()?;
    let mut user = unescape_uri(uri.user.unwrap_or_default()).into_owned();
    if !r.case_sensitive {
        user.make_ascii_lowercase();
    }
    if !use_domain && !user.is_empty() {
        return Some(Str::from(user));
    }
    if uri.scheme == Scheme::Tel {
        return (!user.is_empty()).then(|| Str::from(user));
    }
    let mut domain = uri.host.to_ascii_lowercase();
    if !r.realm_prefix.is_empty()
        && let Some(rest) = domain.strip_prefix(&r.realm_prefix.to_ascii_lowercase()[..])
        && !rest.is_empty()
    {
        domain = rest.to_vec();
    }
    if domain.is_empty() {
        return None;
    }
    if user.is_empty() {
        return Some(Str::from(domain));
    }
    user.push(b'@');
    user.extend_from_slice(&domain);
    Some(Str::from(user))
}

/// Reads the request in work.
///
/// # Errors
/// Why it is refused.
pub fn read(call: &mut Call<'_, SipHost>, table: Str, options: &Options, uri: Option<Str>) -> Result<Ask, Refusal> {
    let settings = call.host.env().settings.registrar.clone();
    let s = &settings;
    let avp = |name: &Option<Str>, call: &mut Call<'_, SipHost>| {
        let name = name.clone()?;
        let vm = call.vm();
        avp_value(&|name| vm.avp(name).first().and_then(|v| v.to_text()).filter(|t| !t.is_empty()), &name)
    };
    let received = avp(&s.received_avp, call);
    let attr = avp(&s.attr_avp, call);
    let contact = avp(&s.contact_avp, call);
    let range = if options.exact_expires { 0 } else { s.range };
    let luck = if range > 0 || s.default_range > 0 { u64::from(random(call.now)) } else { 0 };
    let h = &*call.host;
    let msg = &h.msg;
    if !msg.is_request() {
        return Err(Refusal::Malformed("This is no request"));
    }
    let to = msg.parse_to().ok_or(Refusal::Malformed("To is missing or cannot be read"))?;
    let aor = uri.as_deref().unwrap_or(to.uri);
    let aor = address(h, aor).ok_or(Refusal::Malformed("The address has no user or cannot be read"))?;
    let call_id = msg.call_id();
    if call_id.is_empty() || call_id.len() > LONGEST {
        return Err(Refusal::Malformed("Call-ID is missing or too long"));
    }
    let listed = |option: &[u8]| msg.lists(HeaderId::Supported, option);
    let outbound = s.outbound > 0 && listed(b"outbound");
    if s.outbound == 2 && !outbound {
        return Err(Refusal::NeedsOutbound);
    }
    let mut ask = Ask {
        table,
        aor,
        gruu: gruu_base(to.uri),
        call_id: Str::from(call_id),
        cseq: msg.cseq().number,
        flow: h.conn.and_then(|_| {
            let listener = h.env().listeners.get(usize::from(h.listener))?;
            Some((Str::from(listener.transport.as_param()), h.source))
        }),
        // Behind another proxy it is that one's.
        conn: h.conn.filter(|_| {
            h.env().settings.usrloc.follows_connections()
                && msg.headers_of(HeaderId::Via).flat_map(|h| h.values()).count() < 2
        }),
        outbound,
        socket: socket(h, s, options),
        bflags: h.bflags.clone(),
        flags: if options.memory_only { MEMORY_ONLY } else { 0 },
        user_agent: match msg.value(HeaderId::UserAgent) {
            b"" => Str::from("n/a"),
            agent => Str::from(cut(agent)),
        },
        attr,
        own_contacts_only: options.own_contacts_only,
        ..Ask::default()
    };
    let mut received = received;
    if let Some(mode) = path_mode(s, options) {
        read_path(h, mode, &mut ask)?;
        if (s.path_received || options.path_received)
            && let Some(seen) = ask.path.as_deref().and_then(path_received)
        {
            received = Some(seen);
        }
    }
    let times = Times { settings: s, options, range, luck, q: h.location.as_ref().and_then(|k| k.q) };
    ask.contacts = contacts(h, &times, contact.as_deref(), received.as_ref())?;
    if outbound {
        // RFC 5626 section 6: a proxy between must have kept the flow.
        let named = matches!(&ask.contacts, Contacts::These(all) if all.iter().any(|c| c.reg_id > 0));
        let between = msg.headers_of(HeaderId::Via).flat_map(|h| h.values()).count() > 1;
        let kept = ask.path.as_deref().is_some_and(first_hop_keeps_flow);
        if named && between && !kept {
            return Err(Refusal::NoOutbound);
        }
    }
    Ok(ask)
}

fn cut(text: &[u8]) -> &[u8] {
    text.get(..text.len().min(LONGEST)).unwrap_or_default()
}

/// `sip:user@host` of a URI.
fn gruu_base(uri: &[u8]) -> Str {
    let Ok(uri) = Uri::parse(uri) else { return Str::default() };
    let mut out = [uri.scheme_bytes, b":"].concat();
    if let Some(user) = uri.user {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(uri.host_port());
    Str::from(out)
}

/// Name of the socket that requests for the contact leave from.
fn socket(h: &SipHost, s: &Settings, options: &Options) -> Option<Str> {
    let env = h.env();
    let by_header = options.socket_header || s.sock_flag.as_ref().is_some_and(|f| h.has_flag(f));
    if by_header
        && let Some(name) = &s.sock_header
        && let Some(header) = h.msg.headers_named(name).next()
        && let Some(at) = env.find_listener(header.value)
    {
        return env.listeners.get(at).map(|l| Str::from(l.name()));
    }
    env.listeners.get(usize::from(h.listener)).map(|l| Str::from(l.name()))
}

fn path_mode(s: &Settings, options: &Options) -> Option<PathMode> {
    match options.path {
        Some(mode) => mode,
        None if s.use_path => Some(s.path_mode),
        None => None,
    }
}

fn read_path(h: &SipHost, mode: PathMode, ask: &mut Ask) -> Result<(), Refusal> {
    let values: Vec<&[u8]> = h.msg.values_of(HeaderId::Path).collect();
    if values.is_empty() {
        return Ok(());
    }
    let supported = h.msg.lists(HeaderId::Supported, b"path");
    if mode == PathMode::Strict && !supported {
        return Err(Refusal::NoPathSupport);
    }
    let path = values.join(&b","[..]);
    let sane = NameAddr::list(&path).all(|a| a.is_ok_and(|a| a.bracketed && a.parse_uri().is_ok_and(|u| u.is_sip())));
    if !sane || path.len() > LONGEST_PATH || path.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Err(Refusal::Malformed("Path cannot be read or is too long"));
    }
    ask.path = Some(Str::from(path));
    ask.show_path = mode != PathMode::Off && supported;
    Ok(())
}

/// The `received` of the first Path value.
fn path_received(path: &[u8]) -> Option<Str> {
    let first = NameAddr::list(path).next()?.ok()?;
    let text = first.parse_uri().ok()?.param(b"received").filter(|t| !t.is_empty())?;
    let text = unescape_uri(text).into_owned();
    Uri::parse(&text).is_ok().then(|| Str::from(text))
}

/// RFC 5626 section 5.1: the edge proxy, which stands first in the request's path, marks its URI with `ob`.
fn first_hop_keeps_flow(path: &[u8]) -> bool {
    let edge = NameAddr::list(path).filter_map(Result::ok).last();
    edge.and_then(|a| a.parse_uri().ok()).is_some_and(|u| u.params.has(b"ob"))
}

struct Times<'a> {
    settings: &'a Settings,
    options: &'a Options,
    /// Percent by which a time to live varies.
    range: u32,
    luck: u64,
    /// The q that `set_q_override` gave.
    q: Option<u16>,
}

impl Times<'_> {
    /// Shortest life.
    fn least(&self) -> u32 {
        self.options.min_expires.unwrap_or(self.settings.min_expires)
    }

    /// What a contact gets that wants to live this many seconds.
    fn allowed(&self, wanted: Option<u32>) -> u32 {
        let s = self.settings;
        let (wanted, range) = match wanted {
            Some(0) => return 0,
            Some(n) => (n, self.range),
            None => (s.default_expires, self.range.max(s.default_range)),
        };
        let wanted = u64::from(wanted);
        let span = wanted.saturating_mul(u64::from(range)) / 100;
        let varied = wanted - span + if span == 0 { 0 } else { self.luck % (2 * span + 1) };
        let mut seconds = u32::try_from(varied).unwrap_or(u32::MAX);
        let least = self.least();
        let most = self.options.max_expires.unwrap_or(s.max_expires);
        seconds = seconds.max(least);
        if most > 0 { seconds.min(most) } else { seconds.min(LONGEST_LIFE) }
    }
}

/// Longest life where nothing is configured, seconds: ten years. A date in a database ends in 2038 at the earliest.
const LONGEST_LIFE: u32 = 315_360_000;

fn contacts(
    h: &SipHost,
    times: &Times<'_>,
    instead: Option<&[u8]>,
    received: Option<&Str>,
) -> Result<Contacts, Refusal> {
    let msg = &h.msg;
    let header = match msg.value(HeaderId::Expires) {
        b"" => None,
        // 20.19, 10.2.1.1: what cannot be read is an hour.
        text => Some(parse_u32(text).or_else(|| saturating(text)).unwrap_or(3600)),
    };
    let methods = msg.headers_of(HeaderId::Allow).flat_map(|h| h.values()).map(method_bit).fold(0, |a, b| a | b);
    let default_methods = Some(methods).filter(|m| *m != 0);
    let from_header = msg.headers_of(HeaderId::Contact).flat_map(|h| NameAddr::list(h.value));
    let all: Vec<_> = match instead {
        Some(text) => NameAddr::list(text).collect(),
        None => from_header.collect(),
    };
    if all.is_empty() {
        return Ok(Contacts::Query);
    }
    if all.iter().any(|c| c.as_ref().is_ok_and(|c| c.is_star())) {
        return if all.len() == 1 && header == Some(0) { Ok(Contacts::All) } else { Err(Refusal::Star) };
    }
    let s = times.settings;
    let mut wanted = Vec::with_capacity(all.len());
    for contact in all {
        let contact = contact.map_err(|_| Refusal::Malformed("Contact cannot be read"))?;
        if Uri::parse(contact.uri).is_err() {
            return Err(Refusal::Malformed("The URI of a contact cannot be read"));
        }
        if contact.uri.len() > s.contact_size {
            return Err(Refusal::Malformed("The URI of a contact is too long"));
        }
        let expires = match contact.param(b"expires") {
            Some(text) => Some(parse_u32(text).or_else(|| saturating(text)).unwrap_or(3600)),
            None => header,
        };
        let q = match contact.param(b"q") {
            Some(text) => Some(q_value(text).ok_or(Refusal::Malformed("The q of a contact is not from 0 to 1"))?),
            None => s.default_q,
        };
        let instance = contact.param(b"+sip.instance").filter(|i| !i.is_empty());
        if instance.is_some_and(|i| i.len() > LONGEST || i.contains(&b'"') || i.contains(&b'\\')) {
            return Err(Refusal::Malformed("The instance of a contact is too long or cannot be read"));
        }
        let reg_id = contact.param(b"reg-id").filter(|_| instance.is_some()).and_then(parse_u32);
        let own_methods = contact
            .param(b"methods")
            .map(|list| list.split(|b| *b == b',').map(|m| method_bit(m.trim_ascii())).fold(0, |a, b| a | b));
        if s.refuse_brief && expires.is_some_and(|n| n > 0 && n < times.least()) {
            return Err(Refusal::TooBrief);
        }
        wanted.push(Wanted {
            uri: Str::from(contact.uri),
            expires: times.allowed(expires),
            q: times.q.or(q),
            methods: own_methods.filter(|m| *m != 0).or(default_methods),
            instance: instance.map(Str::from),
            reg_id: reg_id.unwrap_or(0),
            received: received.cloned(),
        });
    }
    Ok(Contacts::These(wanted))
}

/// A number that is larger than any.
fn saturating(text: &[u8]) -> Option<u32> {
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(u32::MAX)
}

/// The bit of a method.
pub fn method_bit(name: &[u8]) -> u32 {
    if name.is_empty() { 0 } else { u32::try_from(method_number(name)).unwrap_or(0) }
}

/// `0.5`, `1`, `1.000` in thousandths.
pub fn q_value(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    let sane = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let q: f64 = text.parse().ok().filter(|_| sane)?;
    (0.0..=1.0).contains(&q).then_some((q * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences() {
        for (text, q) in [("0", 0), ("1", 1000), ("0.5", 500), ("1.000", 1000), (".7", 700), ("0.123", 123)] {
            assert_eq!(q_value(text.as_bytes()), Some(q), "{text}");
        }
        for bad in ["", "2", "-1", "a", "1.001", "nan", "inf", "1e-1"] {
            assert_eq!(q_value(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn times_to_live() {
        use crate::script::ast::Dialect;
        let mut s = Settings::of(Dialect::Kamailio);
        s.max_expires = 1000;
        let o = Options::default();
        let allowed = |s: &Settings, range, luck, wanted| {
            Times { settings: s, options: &o, range, luck, q: None }.allowed(wanted)
        };
        assert_eq!(allowed(&s, 0, 0, None), 1000);
        assert_eq!(allowed(&s, 0, 0, Some(0)), 0);
        assert_eq!(allowed(&s, 0, 0, Some(1)), 60);
        assert_eq!(allowed(&s, 0, 0, Some(500)), 500);
        assert_eq!(allowed(&s, 0, 0, Some(u32::MAX)), 1000);
        assert_eq!([0, 50, 100].map(|luck| allowed(&s, 10, luck, Some(500))), [450, 500, 550]);
        let all: Vec<u32> = (0..1000).map(|luck| allowed(&s, 10, luck, Some(500))).collect();
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&450), Some(&550)));
        s.max_expires = 0;
        assert_eq!(allowed(&s, 0, 0, Some(u32::MAX)), LONGEST_LIFE);
    }

    #[test]
    fn the_edge_proxy_and_what_it_saw() {
        assert!(first_hop_keeps_flow(b"<sip:core;lr>, <sip:edge;lr;ob>"));
        assert!(!first_hop_keeps_flow(b"<sip:core;lr;ob>, <sip:edge;lr>"));
        let path = b"<sip:edge;lr;received=nothing>";
        assert_eq!(path_received(path), None);
        let path = b"<sip:edge;lr;received=sip:192.0.2.9:5555%3btransport=tcp>";
        assert_eq!(path_received(path), Some(Str::from("sip:192.0.2.9:5555;transport=tcp")));
    }
}
