//! Contacts that hide what they stand for: `encode_contact`, `contact_param_encode` and their like of `siputils`
//! (kamailio.md section 5.1). They see what earlier functions have made of the Contacts.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::nathelper::contact::{change, write};
use crate::modules::pv_set::set_ruri;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Longest URI that is made, in bytes.
const MAX_URI: usize = 4 * 1024;

/// Written without padding, which no parameter may hold as it is; read with and without.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

pub(super) const ENCODE_CONTACT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("encode_contact"),
    params: &[Param::req("prefix", Kind::Str), Param::req("host", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RO"),
    waits: false,
    doc: "Makes `sip:PREFIX*user*password*host*port*transport@HOST` of the Contacts' URIs; other parameters of theirs are lost. \
          `contact_flds_separator` of the module takes the place of `*`.",
    returns: &[(1, "done"), (-1, "no Contact, or one that is no SIP URI or holds the separator; none is changed then")],
    example: r#"if (src_ip == 10.0.0.0/8) encode_contact("inside", "203.0.113.1");"#,
    run: |call| {
        let (prefix, host) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let separator = call.host.env().settings.siputils.separator;
        verdict(change_all(call.host, |n| encoded(n.uri, &prefix, &host, separator)))
    },
    finish: None,
};

/// The URI with its parts in the user part of another one.
fn encoded(uri: &[u8], prefix: &[u8], public: &[u8], separator: u8) -> Option<Vec<u8>> {
    let uri = Uri::parse(uri).ok().filter(Uri::is_sip)?;
    let host = rewritten(uri.host, |(sign, escape)| (*sign, *escape));
    let port = uri.port.map(|p| p.to_string()).unwrap_or_default();
    let parts: [&[u8]; 6] = [
        prefix,
        uri.user.unwrap_or_default(),
        uri.password.unwrap_or_default(),
        &host,
        port.as_bytes(),
        uri.param(b"transport").unwrap_or_default(),
    ];
    if parts.iter().any(|p| p.contains(&separator)) {
        return None;
    }
    let new = [uri.scheme_bytes, b":", &parts.join(&[separator][..])[..], b"@", public].concat();
    fit(new)
}

/// What of an IPv6 address cannot stand in a user part, and its escapes.
const SIGNS: [(&str, &str); 3] = [("[", "%5B"), (":", "%3A"), ("]", "%5D")];

/// A host with one side of the signs in the place of the other.
fn rewritten(host: &[u8], direction: fn(&(&'static str, &'static str)) -> (&'static str, &'static str)) -> Vec<u8> {
    let text =
        SIGNS.iter().map(direction).fold(String::from_utf8_lossy(host).into_owned(), |t, (a, b)| t.replace(a, b));
    text.into_bytes()
}

/// The URI that is hidden in the user part of this one; parameters and headers of it stay.
fn decoded(uri: &[u8], separator: u8) -> Option<Vec<u8>> {
    let parsed = Uri::parse(uri).ok().filter(Uri::is_sip)?;
    let user = parsed.user.filter(|_| parsed.password.is_none())?;
    let parts: Vec<&[u8]> = user.split(|b| *b == separator).collect();
    let [_, user, password, host, port, transport] = parts[..] else { return None };
    if host.is_empty() || (user.is_empty() && !password.is_empty()) {
        return None;
    }
    let mut out = [parsed.scheme_bytes, b":", user].concat();
    let mut put = |sign: &[u8], part: &[u8]| {
        if !part.is_empty() {
            out.extend_from_slice(sign);
            out.extend_from_slice(part);
        }
    };
    put(b":", password);
    let at: &[u8] = if user.is_empty() { b"" } else { b"@" };
    put(at, &rewritten(host, |(sign, escape)| (*escape, *sign)));
    put(b":", port);
    put(b";transport=", transport);
    let tail = uri.iter().position(|b| *b == b'@').and_then(|at| {
        let rest = uri.get(at..)?;
        rest.get(rest.iter().position(|b| matches!(b, b';' | b'?'))?..)
    });
    out.extend_from_slice(tail.unwrap_or_default());
    fit(out)
}

/// A URI that is one, and not too long.
fn fit(uri: Vec<u8>) -> Option<Vec<u8>> {
    (uri.len() <= MAX_URI && Uri::parse(&uri).is_ok()).then_some(uri)
}

/// Gives every Contact another URI; false if there is none, or one cannot be changed: then none is.
fn change_all(h: &mut SipHost, new: impl Fn(&NameAddr<'_>) -> Option<Vec<u8>>) -> bool {
    let before = h.edits.clone();
    let failed = std::cell::Cell::new(false);
    let done = change(h, usize::MAX, |n| {
        let uri = new(n);
        failed.set(failed.get() || uri.is_none());
        if uri.as_deref() == Some(n.uri) {
            return Some(n.raw.to_vec());
        }
        let mut out = Vec::with_capacity(n.raw.len() + 64);
        write(n, &uri?, &mut out);
        Some(out)
    });
    let done = done > 0 && !failed.get();
    if !done {
        h.edits = before;
    }
    done
}

pub(super) const DECODE_CONTACT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("decode_contact"),
    params: &[],
    routes: RouteSet::letters("R"),
    doc: "Makes the URI that `encode_contact` has hidden the R-URI.",
    returns: &[(1, "done"), (-1, "the R-URI hides none")],
    example: r#"if ($rU =~ "^inside\*") decode_contact();"#,
    run: |call| {
        let separator = call.host.env().settings.siputils.separator;
        let new = decoded(call.host.current_ruri(), separator);
        verdict(new.is_some_and(|uri| set_ruri(call.host, Str::from(uri)).is_ok()))
    },
    ..ENCODE_CONTACT
};

pub(super) const DECODE_CONTACT_HEADER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("decode_contact_header"),
    params: &[],
    doc: "Brings back the Contacts that `encode_contact` has hidden.",
    returns: &[(1, "done"), (-1, "no Contact, or one that hides none; none is changed then")],
    example: "decode_contact_header();",
    run: |call| {
        let separator = call.host.env().settings.siputils.separator;
        verdict(change_all(call.host, |n| decoded(n.uri, separator)))
    },
    ..ENCODE_CONTACT
};

pub(super) const CONTACT_PARAM_ENCODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("contact_param_encode"),
    params: &[Param::req("parameter", Kind::Str), Param::req("uri", Kind::Str)],
    doc: "Puts another URI in the place of the Contacts' URIs, with what they were in a parameter of it (base64 for URLs, RFC 4648 \
          section 5).",
    returns: &[(1, "done"), (-1, "no Contact, or this is no SIP URI or no name of a parameter")],
    example: r#"contact_param_encode("ksu", "sip:203.0.113.1:5060;transport=tcp");"#,
    run: |call| {
        let (name, address) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let Some(base) = Uri::parse(&address).ok().filter(|u| u.is_sip() && is_token(&name)) else {
            return Step::Done(-1);
        };
        verdict(change_all(call.host, |n| fit(base.with_param(&name, Some(BASE64.encode(n.uri).as_bytes())))))
    },
    ..ENCODE_CONTACT
};

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'".contains(b))
}

/// The URI in a parameter of this one, which is itself without it. `None`: what the parameter holds is none.
fn hidden(uri: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    match Uri::parse(uri).ok()?.param(name).filter(|v| !v.is_empty()) {
        Some(text) => fit(BASE64.decode(text).ok()?),
        None => Some(uri.to_vec()),
    }
}

const NAME: &[Param] = &[Param::req("parameter", Kind::Str)];

pub(super) const CONTACT_PARAM_DECODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("contact_param_decode"),
    params: NAME,
    doc: "Brings back the Contacts' URIs that `contact_param_encode` has put into this parameter; those without it stay.",
    returns: &[(1, "done"), (-1, "no Contact, or what the parameter holds is no URI; none is changed then")],
    example: r#"contact_param_decode("ksu");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        verdict(change_all(call.host, |n| hidden(n.uri, &name)))
    },
    ..ENCODE_CONTACT
};

pub(super) const CONTACT_PARAM_DECODE_RURI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("contact_param_decode_ruri"),
    params: NAME,
    routes: RouteSet::letters("R"),
    doc: "Makes the URI that `contact_param_encode` has put into this parameter the R-URI; one without it stays.",
    returns: &[(1, "done"), (-1, "what the parameter holds is no URI")],
    example: r#"contact_param_decode_ruri("ksu");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        match hidden(call.host.current_ruri(), &name) {
            Some(uri) if uri == call.host.current_ruri() => Step::Done(1),
            Some(uri) => verdict(set_ruri(call.host, Str::from(uri)).is_ok()),
            None => Step::Done(-1),
        }
    },
    ..ENCODE_CONTACT
};

pub(super) const CONTACT_PARAM_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("contact_param_rm"),
    params: NAME,
    doc: "Removes a parameter from the Contacts' URIs.",
    returns: &[(1, "done, or there was none"), (-1, "no Contact, or one that is no SIP URI; none is changed then")],
    example: r#"contact_param_rm("ksu");"#,
    run: |call: &mut Call<'_, SipHost>| {
        let name = call.text(0).unwrap_or_default();
        let without = |uri: &[u8]| match Uri::parse(uri).ok().filter(Uri::is_sip)? {
            parsed if parsed.params.has(&name) => Some(parsed.without_param(&name)),
            _ => Some(uri.to_vec()),
        };
        verdict(change_all(call.host, |n| without(n.uri)))
    },
    ..ENCODE_CONTACT
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Bench;

    fn bench(contacts: &str) -> Bench {
        Bench::new(&format!(
            "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n\
             {contacts}\r\n"
        ))
    }

    /// The Contacts as sent.
    fn sent(b: &Bench) -> String {
        let sent = b.sent();
        sent.lines().filter_map(|l| l.strip_prefix("Contact: ")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn contacts_are_hidden_in_user_parts_and_found_again() {
        const ONE: &str = "Contact: \"A\" <sip:u:p@10.0.0.1:5070;transport=tcp;x=1>;expires=5, <sip:10.0.0.2>\r\n";
        let mut b = bench(ONE);
        assert_eq!(b.call(&ENCODE_CONTACT, &["in", "203.0.113.1"]), 1);
        assert_eq!(
            sent(&b),
            "\"A\" <sip:in*u*p*10.0.0.1*5070*tcp@203.0.113.1>;expires=5, <sip:in***10.0.0.2**@203.0.113.1>"
        );
        assert_eq!(b.call(&DECODE_CONTACT_HEADER, &[]), 1);
        assert_eq!(sent(&b), "\"A\" <sip:u:p@10.0.0.1:5070;transport=tcp>;expires=5, <sip:10.0.0.2>");
        b.host.ruri = Some(Str::from(encoded(b"sip:u@[2001:db8::1]:5070", b"in", b"h", b'*').unwrap()));
        assert_eq!(b.call(&DECODE_CONTACT, &[]), 1);
        assert_eq!(b.host.current_ruri(), b"sip:u@[2001:db8::1]:5070");
        b.host.ruri = Some(Str::from("sip:in*u**10.0.0.1*5070*tcp@h:1;y=2"));
        assert_eq!(b.call(&DECODE_CONTACT, &[]), 1);
        assert_eq!(b.host.current_ruri(), b"sip:u@10.0.0.1:5070;transport=tcp;y=2");
        for bad in
            ["sip:bob@h", "sip:a*b*c*d@h", "sip:in*u*p**5*t@h", "sip:in**p*h*5*t@h", "tel:1", "sip:a*b*c*d*e*f*g@h"]
        {
            b.host.ruri = Some(Str::from(bad));
            assert_eq!(b.call(&DECODE_CONTACT, &[]), -1, "{bad}");
        }
    }

    #[test]
    fn a_contact_that_cannot_be_hidden_leaves_the_others_alone() {
        for (contacts, f) in [
            ("", &ENCODE_CONTACT),
            ("Contact: *\r\n", &ENCODE_CONTACT),
            ("Contact: <sip:a@h>, <tel:1>\r\n", &ENCODE_CONTACT),
            ("Contact: <sip:a*b@h>\r\n", &ENCODE_CONTACT),
        ] {
            let mut b = bench(contacts);
            let before = b.sent();
            assert_eq!(b.call(f, &["in", "h"]), -1, "{contacts}");
            assert_eq!(b.sent(), before);
        }
        let mut b = bench("Contact: <sip:in*u***10.0.0.1**@h>, <sip:a@h>\r\n");
        let before = b.sent();
        assert_eq!(b.call(&DECODE_CONTACT_HEADER, &[]), -1);
        assert_eq!(b.sent(), before);
        let mut b = bench("Contact: <sip:a@h>\r\n");
        assert_eq!(b.call(&ENCODE_CONTACT, &["in", "no host"]), -1);
    }

    #[test]
    fn contacts_are_hidden_in_parameters_and_found_again() {
        let mut b = bench("Contact: sip:a@10.0.0.1;q=0.5\r\n");
        assert_eq!(b.call(&CONTACT_PARAM_ENCODE, &["ksu", "sip:203.0.113.1;transport=tcp"]), 1);
        assert_eq!(sent(&b), "<sip:203.0.113.1;transport=tcp;ksu=c2lwOmFAMTAuMC4wLjE>;q=0.5");
        b.host.ruri = Some(Str::from("sip:203.0.113.1;transport=tcp;ksu=c2lwOmFAMTAuMC4wLjE"));
        assert_eq!(b.call(&CONTACT_PARAM_DECODE_RURI, &["ksu"]), 1);
        assert_eq!(b.host.current_ruri(), b"sip:a@10.0.0.1");
        assert_eq!(b.call(&CONTACT_PARAM_DECODE_RURI, &["ksu"]), 1);
        assert_eq!(b.call(&CONTACT_PARAM_DECODE, &["other"]), 1);
        assert_eq!(b.host.current_ruri(), b"sip:a@10.0.0.1");
        assert_eq!(b.call(&CONTACT_PARAM_DECODE, &["ksu"]), 1);
        assert_eq!(sent(&b), "<sip:a@10.0.0.1>;q=0.5");
        // Padding, as others may write it; what is no URI; what is no base64.
        for (value, code) in [("c2lwOmFAMTAuMC4wLjE%3D", -1), ("c2lwOmFAMTAuMC4wLjE", 1), ("AAAA", -1), ("!", -1)] {
            b.host.ruri = Some(Str::from(format!("sip:h;ksu={value}")));
            assert_eq!(b.call(&CONTACT_PARAM_DECODE_RURI, &["ksu"]), code, "{value}");
        }
        let mut b = bench("Contact: <sip:a@h;x=1;y>;z, <sip:b@h>\r\n");
        assert_eq!(b.call(&CONTACT_PARAM_RM, &["x"]), 1);
        assert_eq!(sent(&b), "<sip:a@h;y>;z, <sip:b@h>");
        for (name, uri) in [("", "sip:h"), ("a b", "sip:h"), ("x", "tel:1"), ("x", "")] {
            assert_eq!(b.call(&CONTACT_PARAM_ENCODE, &[name, uri]), -1, "{name} {uri}");
        }
    }
}
