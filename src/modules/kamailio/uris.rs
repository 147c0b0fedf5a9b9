//! URIs and numbers: what of `siputils` no other module has (kamailio.md section 5.1).

use super::{contacts, siputils, tests_of};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv::Pv;
use crate::modules::pv_set::set_ruri;
use crate::modules::request::{ReplyRequest, Request};
use crate::modules::{pv_get, sl};
use crate::script::host::Index;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::Method;
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    tests_of::IS_REQUEST,
    tests_of::IS_REPLY,
    tests_of::IS_FIRST_HOP,
    IS_USER,
    URI_PARAM,
    URI_PARAM_ANY,
    URI_PARAM_RM,
    ADD_URI_PARAM,
    GET_URI_PARAM,
    TEL2SIP,
    TEL2SIP2,
    IS_E164,
    IS_URI_USER_E164,
    IS_TEL_NUMBER,
    IS_NUMERIC,
    IS_ALPHANUM,
    IS_ALPHANUMEX,
    CMP_URI,
    CMP_AOR,
    CMP_HDR_NAME,
    IS_GRUU,
    IS_SUPPORTED,
    SET_URI_USER,
    SET_URI_HOST,
    OPTIONS_REPLY,
    contacts::ENCODE_CONTACT,
    contacts::DECODE_CONTACT,
    contacts::DECODE_CONTACT_HEADER,
    contacts::CONTACT_PARAM_ENCODE,
    contacts::CONTACT_PARAM_DECODE,
    contacts::CONTACT_PARAM_DECODE_RURI,
    contacts::CONTACT_PARAM_RM,
    siputils::IS_URI,
    siputils::IS_RPID_USER_E164,
    siputils::APPEND_RPID_HF,
    siputils::SIP_P_CHARGING_VECTOR,
    siputils::HDR_DATE_CHECK,
];

/// What `options_reply` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `options_accept`
    pub accept: Str,
    /// `options_accept_encoding`
    pub encoding: Str,
    /// `options_accept_language`
    pub language: Str,
    /// `options_support`
    pub supported: Str,
}

impl Default for Capabilities {
    fn default() -> Self {
        let none = Str::default();
        Capabilities { accept: Str::from("*/*"), encoding: none.clone(), language: Str::from("en"), supported: none }
    }
}

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

fn uri_of(call: &Call<'_, SipHost>) -> Str {
    Str::from(call.host.current_ruri())
}

const IS_USER: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_user"),
    params: &[Param::req("username", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Whether the request's credentials name this user.",
    returns: &[(1, "they do"), (-1, "they do not, or there are none")],
    example: r#"if (is_user("john")) xlog("it is john\n");"#,
    run: |call| {
        let name = pv_get::get(call.host, Pv::AuthUser, None, Index::None, call.now).to_text();
        verdict(name.is_some() && name == call.text(0))
    },
    finish: None,
};

const URI_PARAM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uri_param"),
    params: &[Param::req("name", Kind::Str), Param::opt("value", Kind::Str)],
    doc: "Whether the R-URI has a parameter without a value, or with this value.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (uri_param("lr")) xlog("loose\n");"#,
    run: |call| {
        let (uri, name, value) = (uri_of(call), call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(Uri::parse(&uri).ok().and_then(|u| u.param(&name)).is_some_and(|v| *v == *value))
    },
    ..IS_USER
};

const URI_PARAM_ANY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uri_param_any"),
    params: &[Param::req("name", Kind::Str)],
    doc: "Whether the R-URI has a parameter of this name, with or without a value.",
    example: r#"if (uri_param_any("transport")) xlog("$ru\n");"#,
    run: |call| {
        let (uri, name) = (uri_of(call), call.text(0).unwrap_or_default());
        verdict(Uri::parse(&uri).is_ok_and(|u| u.param(&name).is_some()))
    },
    ..URI_PARAM
};

const URI_PARAM_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("uri_param_rm"),
    doc: "Removes a parameter of the R-URI.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"uri_param_rm("nat");"#,
    run: |call| {
        let (uri, name) = (uri_of(call), call.text(0).unwrap_or_default());
        let Ok(parsed) = Uri::parse(&uri) else { return Step::Done(-1) };
        if name.is_empty() || parsed.param(&name).is_none() {
            return Step::Done(-1);
        }
        let (head, tail) = uri.split_at(uri.iter().position(|b| *b == b'?').unwrap_or(uri.len()));
        let mut parts = head.split(|b| *b == b';');
        let mut out = parts.next().unwrap_or_default().to_vec();
        for part in parts {
            let own = part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
            // A user part may hold parameters of its own.
            if !own.eq_ignore_ascii_case(&name) || part.contains(&b'@') {
                out.push(b';');
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(tail);
        verdict(set_ruri(call.host, Str::from(out)).is_ok())
    },
    ..URI_PARAM_ANY
};

const ADD_URI_PARAM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("add_uri_param"),
    params: &[Param::req("parameter", Kind::Str)],
    doc: "Adds a parameter to the R-URI.",
    returns: &[(1, "added"), (-1, "not a parameter, or the R-URI is none of SIP")],
    example: r#"add_uri_param("nat=yes");"#,
    run: |call| {
        let (uri, text) = (uri_of(call), call.text(0).unwrap_or_default());
        if text.is_empty() {
            return Step::Done(1);
        }
        if text
            .iter()
            .any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || matches!(b, b'@' | b'<' | b'>' | b'?'))
        {
            return Step::Done(-1);
        }
        let (head, tail) = uri.split_at(uri.iter().position(|b| *b == b'?').unwrap_or(uri.len()));
        let new = [head, b";", &text[..], tail].concat();
        verdict(Uri::parse(&new).is_ok() && set_ruri(call.host, Str::from(new)).is_ok())
    },
    ..URI_PARAM
};

const GET_URI_PARAM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("get_uri_param"),
    params: &[Param::req("name", Kind::Str), Param::req("value", Kind::Out)],
    doc: "Stores the value of a parameter of the R-URI.",
    returns: &[(1, "stored"), (-1, "there is no such parameter")],
    example: r#"get_uri_param("nat", "$var(nat)");"#,
    run: |call| {
        let (uri, name) = (uri_of(call), call.text(0).unwrap_or_default());
        match Uri::parse(&uri).ok().and_then(|u| u.param(&name)) {
            Some(value) => {
                call.assign(1, Value::text(value));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..URI_PARAM
};

const TEL2SIP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tel2sip"),
    params: &[Param::req("uri", Kind::Str), Param::req("host", Kind::Str), Param::req("result", Kind::Out)],
    routes: RouteSet::letters("RFBO"),
    doc: "Makes a SIP URI of a tel URI (RFC 3261 section 19.1.6): without visual separators in the number, its parameters in \
          small letters in the user part.",
    returns: &[(1, "stored"), (2, "not a tel URI: nothing stored"), (-1, "no URI came of it")],
    example: r#"tel2sip("$ru", "$fd", "$ru");"#,
    run: |call| to_sip(call, false),
    ..IS_USER
};

const TEL2SIP2: FnSpec<SipHost> = FnSpec {
    kamailio: Some("tel2sip2"),
    doc: "The same with the parameters in order: ext or isub first, then phone-context, then the others by their names; \
          visual separators are removed from the values of the first three.",
    example: r#"tel2sip2("$ru", "$fd", "$ru");"#,
    run: |call| to_sip(call, true),
    ..TEL2SIP
};

fn separator(b: u8) -> bool {
    matches!(b, b'-' | b'.' | b'(' | b')')
}

fn to_sip(call: &mut Call<'_, SipHost>, ordered: bool) -> Step<SipHost> {
    let (uri, host) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let Some(rest) = uri.get(..4).filter(|s| s.eq_ignore_ascii_case(b"tel:")).and_then(|_| uri.get(4..)) else {
        return Step::Done(2);
    };
    let mut parts = rest.split(|b| *b == b';');
    let mut user: Vec<u8> = parts.next().unwrap_or_default().iter().copied().filter(|b| !separator(*b)).collect();
    let mut params: Vec<Vec<u8>> = parts.map(<[u8]>::to_ascii_lowercase).filter(|p| !p.is_empty()).collect();
    if ordered {
        let name = |p: &[u8]| p.split(|b| *b == b'=').next().unwrap_or_default().to_vec();
        let rank = |p: &Vec<u8>| match &name(p)[..] {
            b"ext" | b"isub" => 0,
            b"phone-context" => 1,
            _ => 2,
        };
        for p in &mut params {
            let at = p.iter().position(|b| *b == b'=').unwrap_or(p.len());
            if rank(p) < 2
                && p.get(at + 1..).is_some_and(|v| v.iter().all(|b| b.is_ascii_digit() || *b == b'+' || separator(*b)))
            {
                let value: Vec<u8> = p[at..].iter().copied().filter(|b| !separator(*b)).collect();
                p.truncate(at);
                p.extend(value);
            }
        }
        params.sort_by_key(|p| (rank(p), name(p)));
    }
    for p in params {
        user.push(b';');
        user.extend(p);
    }
    let new = [b"sip:", &user[..], b"@", &host[..], b";user=phone"].concat();
    if user.is_empty() || Uri::parse(&new).is_err() {
        return Step::Done(-1);
    }
    call.assign(2, Value::text(new));
    Step::Done(1)
}

/// A plus and 2 to 15 digits.
pub(super) fn is_e164(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"+").unwrap_or_default();
    (2..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

const TEXT: &[Param] = &[Param::req("text", Kind::Str)];

const IS_E164: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_e164"),
    params: TEXT,
    routes: RouteSet::ALL,
    doc: "Whether a text is a number of E.164: a plus and 2 to 15 digits.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (is_e164("$fU")) xlog("$fU\n");"#,
    run: |call| verdict(is_e164(&call.text(0).unwrap_or_default())),
    ..IS_USER
};

const IS_URI_USER_E164: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_uri_user_e164"),
    doc: "Whether the user part of a URI is a number of E.164.",
    example: r#"if (is_uri_user_e164("$fu")) xlog("$fu\n");"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_default();
        verdict(Uri::parse(&uri).ok().and_then(|u| u.user).is_some_and(is_e164))
    },
    ..IS_E164
};

const IS_TEL_NUMBER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_tel_number"),
    doc: "Whether a text is a telephone number: digits, with a plus in front or without.",
    example: r#"if (is_tel_number("$rU")) xlog("$rU\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let digits = text.strip_prefix(b"+").unwrap_or(&text);
        verdict(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
    },
    ..IS_E164
};

const IS_NUMERIC: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_numeric"),
    doc: "Whether a text is made of digits.",
    example: r#"if (is_numeric("$rU")) xlog("$rU\n");"#,
    run: |call| verdict(made_of(call, |b| b.is_ascii_digit())),
    ..IS_E164
};

const IS_ALPHANUM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_alphanum"),
    doc: "Whether a text is made of letters and digits.",
    example: r#"if (is_alphanum("$rU")) xlog("$rU\n");"#,
    run: |call| verdict(made_of(call, |b| b.is_ascii_alphanumeric())),
    ..IS_E164
};

const IS_ALPHANUMEX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_alphanumex"),
    params: &[Param::req("text", Kind::Str), Param::req("also", Kind::Str)],
    doc: "Whether a text is made of letters, digits and the characters of a second one.",
    example: r#"if (is_alphanumex("$rd", ".-_")) xlog("$rd\n");"#,
    run: |call| {
        let also = call.text(1).unwrap_or_default();
        verdict(made_of(call, |b| b.is_ascii_alphanumeric() || also.contains(&b)))
    },
    ..IS_E164
};

fn made_of(call: &Call<'_, SipHost>, fits: impl Fn(u8) -> bool) -> bool {
    let text = call.text(0).unwrap_or_default();
    !text.is_empty() && text.iter().all(|b| fits(*b))
}

const CMP_URI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cmp_uri"),
    params: &[Param::req("uri1", Kind::Str), Param::req("uri2", Kind::Str)],
    doc: "Whether two URIs are equal (RFC 3261 section 19.1.4).",
    example: r#"if (cmp_uri("$ru", "$tu")) xlog("not changed\n");"#,
    run: |call| {
        let (a, b) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(matches!((Uri::parse(&a), Uri::parse(&b)), (Ok(a), Ok(b)) if a.same_as(&b)))
    },
    ..IS_E164
};

const CMP_AOR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cmp_aor"),
    doc: "Whether two URIs have the same user and host, and no different ports.",
    example: r#"if (cmp_aor("$fu", "$tu")) xlog("calls itself\n");"#,
    run: |call| {
        let (a, b) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let (Ok(a), Ok(b)) = (Uri::parse(&a), Uri::parse(&b)) else { return Step::Done(-1) };
        let port = |u: &Uri<'_>| u.port_or_default();
        verdict(a.user == b.user && a.host.eq_ignore_ascii_case(b.host) && port(&a) == port(&b))
    },
    ..CMP_URI
};

const CMP_HDR_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cmp_hdr_name"),
    params: &[Param::req("name1", Kind::Str), Param::req("name2", Kind::Str)],
    doc: "Whether two texts name the same header, be it by its short form.",
    example: r#"if (cmp_hdr_name("$var(name)", "From")) xlog("who calls\n");"#,
    run: |call| {
        let (a, b) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(crate::sip::header::same_name(&a, &b))
    },
    ..CMP_URI
};

const IS_GRUU: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_gruu"),
    params: &[Param::opt("uri", Kind::Str)],
    doc: "Whether a URI, or else the R-URI, is a GRUU (RFC 5627).",
    returns: &[(1, "a public one"), (2, "a temporary one"), (-1, "none")],
    example: r#"if (is_gruu() > 0) xlog("$ru\n");"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_else(|| uri_of(call));
        let Ok(uri) = Uri::parse(&uri) else { return Step::Done(-1) };
        Step::Done(match uri.param(b"gr") {
            Some(b"") => 2,
            Some(_) => 1,
            None => -1,
        })
    },
    ..IS_E164
};

const IS_SUPPORTED: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_supported"),
    params: &[Param::req("option", Kind::Str)],
    doc: "Whether the message's Supported header names an option such as 100rel, path or timer.",
    example: r#"if (is_supported("path")) xlog("$ua\n");"#,
    run: |call| {
        let option = call.text(0).unwrap_or_default();
        verdict(call.host.msg.lists(HeaderId::Supported, &option))
    },
    ..IS_E164
};

const SET_URI_USER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_uri_user"),
    params: &[Param::req("uri", Kind::Out), Param::req("user", Kind::Str)],
    doc: "Sets the user part of the URI in a variable.",
    returns: &[(1, "set"), (-1, "the variable holds no SIP URI")],
    example: r#"$var(uri) = "sip:a@b"; set_uri_user("$var(uri)", "c");"#,
    run: |call| set_part(call, true),
    ..IS_E164
};

const SET_URI_HOST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_uri_host"),
    params: &[Param::req("uri", Kind::Out), Param::req("host", Kind::Str)],
    doc: "Sets the host of the URI in a variable.",
    example: r#"$var(uri) = "sip:a@b"; set_uri_host("$var(uri)", "example.com");"#,
    run: |call| set_part(call, false),
    ..SET_URI_USER
};

fn set_part(call: &mut Call<'_, SipHost>, user: bool) -> Step<SipHost> {
    let Some(out) = call.out(0).cloned() else { return Step::Done(-1) };
    let text = call.scope.read(call.host, &out).to_text().unwrap_or_default();
    let new = call.text(1).unwrap_or_default();
    let Ok(uri) = Uri::parse(&text) else { return Step::Done(-1) };
    if !uri.is_sip() {
        return Step::Done(-1);
    }
    let password = uri.password.map_or(0, |p| p.len() + 1);
    let host = uri.scheme_bytes.len() + 1 + uri.user.map_or(0, |u| u.len() + password + 1);
    let changed = if user {
        let head = text.get(..=uri.scheme_bytes.len()).unwrap_or_default();
        let at: &[u8] = if new.is_empty() { b"" } else { b"@" };
        [head, &new[..], at, text.get(host..).unwrap_or_default()].concat()
    } else {
        [text.get(..host).unwrap_or_default(), &new[..], text.get(host + uri.host.len()..).unwrap_or_default()].concat()
    };
    if Uri::parse(&changed).is_err() {
        return Step::Done(-1);
    }
    call.assign_to(&out, Value::text(changed));
    Step::Done(1)
}

const OPTIONS_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("options_reply"),
    params: &[],
    routes: RouteSet::letters("R"),
    doc: "Answers an OPTIONS whose R-URI has no user with 200 and what the module's parameters say, without keeping state.",
    returns: &[(1, "answered"), (-1, "it is none")],
    example: "if (is_method(\"OPTIONS\") && is_myself(\"$ru\")) options_reply();",
    run: |call| {
        let to_us = Uri::parse(call.host.current_ruri()).is_ok_and(|u| u.user.unwrap_or_default().is_empty());
        if call.host.phony || call.host.msg.method() != Method::Options || !to_us {
            return Step::Done(-1);
        }
        let c = call.host.env().settings.capabilities.clone();
        for (name, value) in [
            ("Accept", c.accept),
            ("Accept-Encoding", c.encoding),
            ("Accept-Language", c.language),
            ("Supported", c.supported),
        ] {
            let line = [name.as_bytes(), b": ", &value[..], b"\r\n"].concat();
            call.host.reply_headers.extend_from_slice(&line);
        }
        Step::Wait(Request::Stateless(ReplyRequest { code: 200, reason: Str::from("OK"), body: None }))
    },
    finish: Some(sl::finish),
    ..IS_E164
};
