//! Contact: the address that a client cannot know itself.

use super::{ROUTES, host_text, source_uri};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use crate::sip::{HeaderId, Range};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// `fix_nated_contact`
pub const FIX_NATED_CONTACT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("fix_nated_contact"),
    params: &[],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Puts the address and port that the message came from into its Contacts.",
    returns: &[(1, "done"), (-1, "there is no Contact with a SIP URI")],
    example: "if (nat_uac_test(1)) fix_nated_contact();",
    run: |call| Step::Done(if fix(call.host, b"", false) { 1 } else { -1 }),
    finish: None,
};

/// `fix_nated_contact` of OpenSIPS.
pub const FIX_NATED_CONTACT_WITH: FnSpec<SipHost> = FnSpec {
    opensips: Some("fix_nated_contact"),
    kamailio: None,
    params: &[Param::opt("uri_params", Kind::Str), Param::opt("flags", Kind::Str)],
    doc: "Puts the address and port that the message came from into its Contacts, and these parameters (`;name=value`) \
          into their URIs. With the flag `preserve-uri` the parameter `org` holds the host and port that stood there, for \
          restore_nated_ruri.",
    example: "fix_nated_contact(\";nat=yes\");",
    run: |call| {
        let mut params = call.text(0).unwrap_or_default().to_vec();
        if !params.is_empty() && params.first() != Some(&b';') {
            params.insert(0, b';');
        }
        let probe = [b"sip:h", &params[..]].concat();
        if Uri::parse(&probe).is_err() {
            return Step::Fail("these are no parameters of a URI".to_string());
        }
        let flags = call.text(1).unwrap_or_default();
        let mut preserve = false;
        for word in flags.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|w| !w.is_empty()) {
            match word {
                b"preserve-uri" => preserve = true,
                _ => return Step::Fail("\"preserve-uri\" is the flag of fix_nated_contact".to_string()),
            }
        }
        Step::Done(if fix(call.host, &params, preserve) { 1 } else { -1 })
    },
    ..FIX_NATED_CONTACT
};

/// `restore_nated_ruri`
pub const RESTORE_NATED_RURI: FnSpec<SipHost> = FnSpec {
    opensips: Some("restore_nated_ruri"),
    kamailio: None,
    params: &[],
    routes: RouteSet::letters("RBL"),
    doc: "Puts the host and port that fix_nated_contact has kept in the parameter `org` back into the R-URI, without the parameter.",
    returns: &[(1, "done"), (-1, "the R-URI has no such parameter, or it holds no host and port")],
    example: "if (has_totag()) restore_nated_ruri();",
    run: |call| {
        let h = &mut *call.host;
        let Some(uri) = Uri::parse(h.current_ruri()).ok().filter(Uri::is_sip) else { return Step::Done(-1) };
        let Some(kept) = uri.param(ORIGINAL) else { return Step::Done(-1) };
        let kept = kept.iter().rposition(|b| *b != b'=').map_or(&b""[..], |end| &kept[..=end]);
        let Ok(place) = STANDARD_NO_PAD.decode(kept) else { return Step::Done(-1) };
        let whole = Uri::parse(&[b"sip:", &place[..]].concat()).is_ok_and(|u| u.host_port() == place);
        if !whole {
            return Step::Done(-1);
        }
        let bare = uri.without_param(ORIGINAL);
        let Ok(bare) = Uri::parse(&bare) else { return Step::Done(-1) };
        let new = Uri::parse(&bare.with_port(None)).ok().map(|u| u.with_host(&place));
        match new.filter(|u| Uri::parse(u).is_ok()) {
            Some(new) => {
                h.ruri = Some(Str::from(new));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..FIX_NATED_CONTACT
};

/// The parameter of a Contact's URI that holds what stood there, in base64.
const ORIGINAL: &[u8] = b"org";

/// `fix_nated_register`
pub const FIX_NATED_REGISTER: FnSpec<SipHost> = FnSpec {
    opensips: Some("fix_nated_register"),
    kamailio: Some("fix_nated_register"),
    params: &[],
    routes: RouteSet::letters("R"),
    doc: "Puts the address, port and transport that the request came from into the AVP that received_avp names, where \
          save finds them.",
    returns: &[(1, "done"), (-1, "received_avp is not set")],
    example: r#"if (is_method("REGISTER")) fix_nated_register();"#,
    run: |call| {
        let Some(name) = call.host.env().settings.nathelper.received_avp.clone() else {
            return Step::Fail("received_avp of nathelper is not set".to_string());
        };
        let uri = source_uri(call.host);
        call.vm().push_avp(&name, Value::text(uri));
        Step::Done(1)
    },
    ..FIX_NATED_CONTACT
};

/// `add_rcv_param`
pub const ADD_RCV_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_rcv_param"),
    kamailio: Some("add_rcv_param"),
    params: &[Param::opt("in_uri", Kind::Int)],
    routes: RouteSet::letters("R"),
    doc: "Adds `received` to the Contacts, with the address, port and transport that the request came from: a parameter \
          of the header, or with 1 of the URI. For a registrar behind this server.",
    returns: &[(1, "done"), (-1, "there is no Contact")],
    example: "add_rcv_param();",
    run: |call| {
        let in_uri = call.int(0).is_some_and(|n| n != 0);
        let source = source_uri(call.host);
        let done = change(call.host, usize::MAX, |n| {
            let mut out = Vec::with_capacity(n.raw.len() + 64);
            if in_uri {
                let uri = Uri::parse(n.uri).ok()?;
                let escaped = source.replace(';', "%3b").replace('=', "%3d");
                write(n, &uri.with_param(b"received", Some(escaped.as_bytes())), &mut out);
            } else {
                write(n, n.uri, &mut out);
                out.extend_from_slice(format!(";received=\"{source}\"").as_bytes());
            }
            Some(out)
        });
        Step::Done(if done > 0 { 1 } else { -1 })
    },
    ..FIX_NATED_CONTACT
};

/// A Contact entry with another URI.
pub fn write(n: &NameAddr<'_>, uri: &[u8], out: &mut Vec<u8>) {
    let display = n.display.trim_ascii();
    if !display.is_empty() {
        out.extend_from_slice(display);
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(uri);
    out.push(b'>');
    out.extend_from_slice(n.params.raw());
}

/// Changes the first Contacts, as they stand after earlier changes; how many were changed.
pub fn change(h: &mut SipHost, most: usize, f: impl Fn(&NameAddr<'_>) -> Option<Vec<u8>>) -> usize {
    let entries: Vec<Range> = (h.msg.values_of(HeaderId::Contact))
        .filter_map(|v| h.msg.range_of(v))
        .filter(|range| !h.edits.is_deleted(*range))
        .collect();
    let mut done = 0;
    for range in entries.into_iter().take(most) {
        let text = h.edits.replacement(range).unwrap_or_else(|| h.msg.slice(range)).to_vec();
        let Ok(n) = NameAddr::parse(&text) else { continue };
        if n.is_star() {
            continue;
        }
        if let Some(new) = f(&n) {
            h.edits.replace(range, Str::from(new));
            done += 1;
        }
    }
    done
}

fn fix(h: &mut SipHost, params: &[u8], preserve: bool) -> bool {
    let (host, port) = (host_text(h.source.ip()), h.source.port());
    let address = format!("{host}:{port}");
    let done = change(h, usize::MAX, |n| {
        let uri = Uri::parse(n.uri).ok().filter(Uri::is_sip)?;
        let mut new = uri.with_host(address.as_bytes());
        let mut params = params.to_vec();
        if preserve {
            params.extend_from_slice(
                &[b";", ORIGINAL, b"=", STANDARD_NO_PAD.encode(uri.host_port()).as_bytes()].concat(),
            );
        }
        if !params.is_empty() {
            let parsed = Uri::parse(&new).ok()?;
            let headers = parsed.headers.map(<[u8]>::to_vec);
            let mut bare = parsed.without_headers();
            bare.extend_from_slice(&params);
            if let Some(headers) = headers {
                bare.push(b'?');
                bare.extend_from_slice(&headers);
            }
            new = bare;
        }
        let mut out = Vec::with_capacity(n.raw.len() + 32);
        if n.bracketed {
            write(n, &new, &mut out);
        } else {
            out.extend_from_slice(&new);
            out.extend_from_slice(n.params.raw());
        }
        Some(out)
    });
    done > 0
}

/// Used by OpenSIPS' and Kamailio's functions alike.
pub(super) fn first(call: &Call<'_, SipHost>) -> Option<Vec<u8>> {
    let h = &*call.host;
    let value = h.msg.values_of(HeaderId::Contact).next()?;
    let range = h.msg.range_of(value)?;
    Some(h.edits.replacement(range).unwrap_or_else(|| h.msg.slice(range)).to_vec())
}
