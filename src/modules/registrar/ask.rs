//! Asking for contacts without changing the request: `registered`, `reg_fetch_contacts`, OpenSIPS' `is_registered`.

use super::attributes;
use super::find::{self, Wanted};
use super::lookup::LOOKUP;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::usrloc::{Binding, MOST_PROFILES, Profile};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::Method;
use crate::sip::uri::Uri;
use std::net::IpAddr;

const CODES: &[(i32, &str)] = &[(1, "there is one"), (-1, "there is none"), (-3, "the database did not answer")];

/// `registered`
pub const REGISTERED: FnSpec<SipHost> = FnSpec {
    kamailio: Some("registered"),
    params: &[
        Param::req("table", Kind::Str),
        Param::opt("uri", Kind::Str),
        Param::opt("match", Kind::Int),
        Param::opt("action", Kind::Int),
    ],
    routes: RouteSet::ALL,
    doc: "Whether the user of the R-URI, or of `uri`, has a contact. `match`, a sum, asks for one that fits what \
          `xavp_cfg` says: 1 its Call-ID (match_callid), 2 where it was seen (match_received), 4 its URI \
          (match_contact). Its data is in `xavp_rcd`, unless `action` is 1.",
    returns: CODES,
    example: r#"if (registered("location")) xlog("$rU is there\n");"#,
    run: |call| {
        let uri = call.text(1).filter(|u| !u.is_empty()).unwrap_or_else(|| Str::from(call.host.current_ruri()));
        one(call, &uri, is_there)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, is_there)),
    ..LOOKUP
};

/// `reg_fetch_contacts`
pub const REG_FETCH_CONTACTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("reg_fetch_contacts"),
    params: &[Param::req("table", Kind::Str), Param::req("uri", Kind::Str), Param::req("profile", Kind::Str)],
    routes: RouteSet::letters("RF"),
    doc: "Fetches the contacts of a user: `$(ulc(profile=>addr)[0])` is the URI of the first; there are aor, domain, \
          count, addr, path, received, expires, callid, q, cseq, flags, cflags, user_agent, socket, modified, methods, \
          ruid, instance, regid.",
    returns: &[(1, "fetched"), (-1, "there is none"), (-3, "the database did not answer")],
    example: r#"if (reg_fetch_contacts("location", "$fu", "caller")) xlog("$ulc(caller=>count)\n");"#,
    run: |call| {
        let uri = call.text(1).unwrap_or_default();
        one(call, &uri, fetched)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, fetched)),
    ..LOOKUP
};

/// `reg_free_contacts`
pub const REG_FREE_CONTACTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("reg_free_contacts"),
    params: &[Param::req("profile", Kind::Str)],
    routes: RouteSet::letters("RF"),
    waits: false,
    doc: "Forgets what reg_fetch_contacts has fetched.",
    returns: &[(1, "done")],
    example: r#"reg_free_contacts("caller");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        if let Some(kept) = &mut call.host.location {
            kept.profiles.retain(|p| p.name != name);
        }
        Step::Done(1)
    },
    finish: None,
    ..LOOKUP
};

const OPENSIPS_ROUTES: RouteSet = RouteSet::letters("RFOBL");

/// `is_registered`
pub const IS_REGISTERED: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_registered"),
    kamailio: None,
    params: &[Param::req("table", Kind::Str), Param::opt("address", Kind::Str)],
    routes: OPENSIPS_ROUTES,
    doc: "Whether a user has a contact: `address`, else that of To in a REGISTER, that of From in others.",
    returns: CODES,
    example: r#"if (is_registered("location")) xlog("$fU is there\n");"#,
    run: |call| {
        let uri = whose(call);
        one(call, &uri, any)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, any)),
    ..LOOKUP
};

/// `is_contact_registered`
pub const IS_CONTACT_REGISTERED: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_contact_registered"),
    params: &[
        Param::req("table", Kind::Str),
        Param::opt("address", Kind::Str),
        Param::opt("contact", Kind::Str),
        Param::opt("call-id", Kind::Str),
    ],
    doc: "Whether a user (as for is_registered) has this contact, with this Call-ID if one is given; without both, the \
          request's first Contact.",
    example: r#"if (is_contact_registered("location")) xlog("known\n");"#,
    run: |call| {
        let uri = whose(call);
        one(call, &uri, contact)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, contact)),
    ..IS_REGISTERED
};

/// `is_ip_registered`
pub const IS_IP_REGISTERED: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_ip_registered"),
    params: &[Param::req("table", Kind::Str), Param::opt("address", Kind::Str), Param::opt("ip", Kind::Str)],
    doc: "Whether a user (as for is_registered) has a contact at this address: that of `received` or of the URI; the \
          request's source if none is given.",
    example: r#"if (!is_ip_registered("location", $fu)) send_reply(403, "Forbidden");"#,
    run: |call| {
        let uri = whose(call);
        one(call, &uri, ip)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, ip)),
    ..IS_REGISTERED
};

fn whose(call: &Call<'_, SipHost>) -> Str {
    call.text(1).filter(|a| !a.is_empty()).unwrap_or_else(|| {
        let msg = &call.host.msg;
        Str::from(if msg.method() == Method::Register { msg.to().uri } else { msg.from().uri })
    })
}

fn one(call: &mut Call<'_, SipHost>, uri: &[u8], then: find::Then) -> Step<SipHost> {
    let wanted = Wanted::by(call.host, uri);
    let table = call.text(0).unwrap_or_default();
    find::start(call, table, vec![wanted], then)
}

fn yes(is: bool) -> Step<SipHost> {
    Step::Done(if is { 1 } else { -1 })
}

fn any(_call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    yes(found.iter().any(|list| !list.is_empty()))
}

fn same_uri(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.same_as(&b),
        _ => a == b,
    }
}

fn is_there(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let how = call.int(2).unwrap_or(0);
    let mut wanted = |bit: i64, name: &str| {
        let value = if how & bit == 0 { None } else { attributes::configured(call, name.as_bytes()) };
        value.and_then(|v| v.to_text())
    };
    let (call_id, seen, uri) = (wanted(1, "match_callid"), wanted(2, "match_received"), wanted(4, "match_contact"));
    let fits = |b: &&Binding| {
        call_id.as_ref().is_none_or(|c| *c == b.call_id)
            && seen.as_ref().is_none_or(|s| b.received.as_ref() == Some(s))
            && uri.as_ref().is_none_or(|u| same_uri(&b.contact, u))
    };
    let fitting = found.iter().flatten().find(fits).cloned();
    if let Some(b) = fitting.as_ref().filter(|_| call.int(3) != Some(1)) {
        attributes::tell(call, b);
    }
    yes(fitting.is_some())
}

fn contact(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let (wanted, call_id) = (call.text(2).filter(|c| !c.is_empty()), call.text(3).filter(|c| !c.is_empty()));
    let wanted = match (wanted, &call_id) {
        (None, None) => match call.host.msg.contacts().next() {
            Some(contact) => Some(Str::from(contact.uri)),
            None => return Step::Done(-1),
        },
        (wanted, _) => wanted,
    };
    let fits = |b: &Binding| {
        wanted.as_ref().is_none_or(|w| same_uri(w, &b.contact)) && call_id.as_ref().is_none_or(|c| *c == b.call_id)
    };
    yes(found.iter().flatten().any(fits))
}

/// The address that requests for a contact go to, if it is written as one.
fn address_of(b: &Binding) -> Option<IpAddr> {
    let next = b.received.as_deref().unwrap_or(&b.contact);
    Uri::parse(next).ok()?.host_ip()
}

fn ip(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let wanted = match call.text(2).filter(|t| !t.is_empty()) {
        Some(text) => crate::sip::uri::host_ip(&text),
        None => Some(call.host.source.ip()),
    };
    yes(wanted.is_some() && found.iter().flatten().any(|b| address_of(b) == wanted))
}

fn fetched(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let (table, name) = (call.text(0).unwrap_or_default(), call.text(2).unwrap_or_default());
    let uri = call.text(1).unwrap_or_default();
    let bindings = found.into_iter().next().unwrap_or_default();
    let aor = super::request::address(call.host, &uri).unwrap_or_default();
    let profiles = &mut call.host.location.get_or_insert_default().profiles;
    profiles.retain(|p| p.name != name);
    if bindings.is_empty() {
        return Step::Done(-1);
    }
    if profiles.len() >= MOST_PROFILES {
        log_line(call.host, -1, "reg_fetch_contacts: too many profiles: reg_free_contacts ends one");
        return Step::Done(-1);
    }
    profiles.push(Profile { name, table, aor, bindings });
    Step::Done(1)
}
