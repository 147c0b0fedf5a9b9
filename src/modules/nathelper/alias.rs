//! The parameter `alias` of a Contact's URI, `;alias=address~port~protocol`: where its owner really is. Requests to it come
//! back with the parameter in the R-URI.

use super::contact::{change, first, write};
use super::{ROUTES, host_text, transport};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::Transport;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::{Uri, host_ip};
use std::net::IpAddr;

/// `add_contact_alias`
pub const ADD_CONTACT_ALIAS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("add_contact_alias"),
    params: &[Param::opt("address", Kind::Str), Param::opt("port", Kind::Int), Param::opt("protocol", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Adds `;alias=address~port~protocol` to the Contacts' URIs: where the message came from, unless that is what the \
          first URI says; or the place that is given.",
    returns: &[(1, "added"), (2, "the URI names that place itself"), (-1, "no Contact, or the arguments are no place")],
    example: "add_contact_alias();",
    run: add,
    finish: None,
};

/// `set_contact_alias`
pub const SET_CONTACT_ALIAS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_contact_alias"),
    params: &[Param::opt("trim", Kind::Int)],
    doc: "Adds `;alias=address~port~protocol` to the Contacts' URIs: where the message came from. With 1 an alias that stands there is \
          taken out before.",
    returns: &[(1, "added"), (-1, "there is no Contact")],
    example: "set_contact_alias();",
    run: |call| {
        let place = source(call.host);
        let trim = call.int(0).is_some_and(|n| n != 0);
        Step::Done(if append(call.host, &place, trim) { 1 } else { -1 })
    },
    ..ADD_CONTACT_ALIAS
};

/// `set_alias_to_pv`
pub const SET_ALIAS_TO_PV: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_alias_to_pv"),
    params: &[Param::req("variable", Kind::Out)],
    doc: "Puts the place that the `alias` parameter of the first Contact names into a variable, as a URI.",
    returns: &[(1, "done"), (-1, "there is no Contact, it has no alias, or its alias names no place")],
    example: r#"if (set_alias_to_pv("$avp(place)")) xlog("$avp(place)\n");"#,
    run: |call| {
        let Some(text) = first(call) else { return Step::Done(-1) };
        let name = call.host.env().settings.nathelper.alias.clone();
        let Ok(n) = NameAddr::parse(&text) else { return Step::Done(-1) };
        let Some(uri) = Uri::parse(n.uri).ok().filter(Uri::is_sip) else { return Step::Done(-1) };
        let Some(alias) = uri.params.value(&name) else { return Step::Done(-1) };
        match Place::parse(alias) {
            Some(place) => {
                call.assign(0, Value::text(place.full_uri()));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..ADD_CONTACT_ALIAS
};

/// `handle_ruri_alias`
pub const HANDLE_RURI_ALIAS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("handle_ruri_alias"),
    params: &[Param::opt("mode", Kind::Int)],
    routes: RouteSet::letters("RFB"),
    doc: "Takes the `alias` parameter out of the R-URI and makes the place it names the destination ($du). Of several the \
          first, with mode 1 the last.",
    returns: &[(1, "done"), (2, "the R-URI has no alias"), (-1, "it names no place, or the R-URI is no SIP URI")],
    example: "if (!isdsturiset()) handle_ruri_alias();",
    run: handle,
    ..ADD_CONTACT_ALIAS
};

/// A place as the parameter writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub ip: IpAddr,
    pub port: u16,
    pub transport: Transport,
}

const TRANSPORTS: [Transport; 6] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp, Transport::Ws, Transport::Wss];

impl Place {
    /// Reads `address~port~protocol`.
    pub(super) fn parse(text: &[u8]) -> Option<Place> {
        let mut parts = text.split(|b| *b == b'~');
        let (host, port, proto) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let number = |t: &[u8]| std::str::from_utf8(t).ok()?.parse::<u16>().ok();
        let transport = *TRANSPORTS.get(usize::from(number(proto)?).checked_sub(1)?)?;
        Some(Place { ip: host_ip(host)?, port: number(port).filter(|p| *p > 0)?, transport })
    }

    pub(super) fn write(&self) -> String {
        let proto = TRANSPORTS.iter().position(|t| *t == self.transport).map_or(1, |n| n + 1);
        format!("{}~{}~{proto}", host_text(self.ip), self.port)
    }

    /// The place as a destination.
    fn full_uri(&self) -> String {
        let uri = format!("sip:{}:{}", host_text(self.ip), self.port);
        match self.transport {
            // RFC 7118: whether it is encrypted is not said there.
            Transport::Wss => format!("{uri};transport=ws"),
            other => format!("{uri};transport={}", other.as_param()),
        }
    }

    /// The same; what goes over UDP does not say so.
    fn uri(&self) -> String {
        match self.transport {
            Transport::Udp => format!("sip:{}:{}", host_text(self.ip), self.port),
            _ => self.full_uri(),
        }
    }

    fn is_of(&self, uri: &Uri<'_>) -> bool {
        let secure = uri.scheme == crate::sip::uri::Scheme::Sips;
        let written = uri.transport().unwrap_or(if secure { Transport::Tls } else { Transport::Udp });
        uri.host_ip().map(|ip| ip.to_canonical()) == Some(self.ip.to_canonical())
            && uri.port_or_default() == self.port
            && written == self.transport
    }
}

fn add(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let given = call.given(0) || call.given(1) || call.given(2);
    let place = if given {
        let ip = call.text(0).and_then(|t| host_ip(&t));
        let port = call.int(1).and_then(|n| u16::try_from(n).ok()).filter(|p| *p > 0);
        let transport = call.text(2).map(|t| Transport::from_bytes(&t)).filter(|t| TRANSPORTS.contains(t));
        let (Some(ip), Some(port), Some(transport)) = (ip, port, transport) else {
            return Step::Fail("add_contact_alias takes nothing, or an address, a port and a protocol".to_string());
        };
        Place { ip, port, transport }
    } else {
        source(call.host)
    };
    let Some(text) = first(call) else { return Step::Done(-1) };
    let Some(uri) = NameAddr::parse(&text).ok().filter(|n| !n.is_star()) else { return Step::Done(-1) };
    match Uri::parse(uri.uri) {
        Ok(uri) if !uri.is_sip() => return Step::Done(-1),
        Ok(uri) if !given && place.is_of(&uri) => return Step::Done(2),
        Ok(_) => {}
        Err(_) => return Step::Done(-1),
    }
    Step::Done(if append(call.host, &place, false) { 1 } else { -1 })
}

/// Where the message came from.
fn source(h: &SipHost) -> Place {
    Place { ip: h.source.ip(), port: h.source.port(), transport: transport(h) }
}

/// Adds the parameter to the Contacts, behind those that others have added or, with `trim`, in their place.
fn append(h: &mut SipHost, place: &Place, trim: bool) -> bool {
    let name = h.env().settings.nathelper.alias.clone();
    let value = [b";", &name[..], b"=", place.write().as_bytes()].concat();
    let done = change(h, usize::MAX, |n| {
        let uri = Uri::parse(n.uri).ok().filter(Uri::is_sip)?;
        let bare = if trim && uri.params.has(&name) { uri.without_param(&name) } else { n.uri.to_vec() };
        let uri = Uri::parse(&bare).ok()?;
        let at = uri.headers.map_or(bare.len(), |headers| bare.len() - headers.len() - 1);
        let (front, back) = bare.split_at_checked(at)?;
        let mut out = Vec::with_capacity(n.raw.len() + 48);
        write(n, &[front, &value, back].concat(), &mut out);
        Some(out)
    });
    done > 0
}

fn handle(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let last = call.int(0).is_some_and(|mode| mode != 0);
    let h = &mut *call.host;
    let Some(uri) = Uri::parse(h.current_ruri()).ok().filter(Uri::is_sip) else { return Step::Done(-1) };
    let name = h.env.settings.nathelper.alias.clone();
    let mut found = uri.params.iter().filter(|p| p.name.eq_ignore_ascii_case(&name));
    let found = if last { found.last() } else { found.next() };
    let Some(found) = found.filter(|f| f.text().contains(&b'~')) else { return Step::Done(2) };
    let Some(place) = Place::parse(found.text()) else {
        crate::modules::log_line(h, -1, "handle_ruri_alias: the alias in the R-URI names no place");
        return Step::Done(-1);
    };
    // Only this one goes: others are for those who follow.
    let at = found.whole.as_ptr() as usize - uri.raw.as_ptr() as usize;
    let mut new = uri.raw.get(..at).unwrap_or_default().to_vec();
    new.extend_from_slice(uri.raw.get(at + found.whole.len()..).unwrap_or_default());
    h.ruri = Some(Str::from(new));
    h.du = Some(Str::from(place.uri()));
    Step::Done(1)
}
