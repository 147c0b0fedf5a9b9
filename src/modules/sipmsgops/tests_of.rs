//! Questions about the message.

use super::MOST;
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

/// `is_method`
pub const IS_METHOD: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_method"),
    kamailio: Some("is_method"),
    params: &[Param::req("names", Kind::Str)],
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Whether the method (of a reply: its CSeq's) is one of those, joined by `|`.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (is_method("INVITE|SUBSCRIBE")) record_route();"#,
    run: |call| {
        let names = call.text(0).unwrap_or_default();
        let method = call.host.msg.method_bytes();
        verdict(names.split(|b| *b == b'|').any(|n| n.trim_ascii().eq_ignore_ascii_case(method)))
    },
    finish: None,
};

/// `has_totag`
pub const HAS_TOTAG: FnSpec<SipHost> = FnSpec {
    opensips: Some("has_totag"),
    kamailio: Some("has_totag"),
    params: &[],
    doc: "Whether To has a tag: the request belongs to a dialog.",
    example: "if (has_totag()) route(sequential);",
    run: |call| verdict(call.host.msg.to_tag().is_some_and(|t| !t.is_empty())),
    ..IS_METHOD
};

/// `is_present_hf`
pub const IS_PRESENT_HF: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_present_hf"),
    kamailio: Some("is_present_hf"),
    params: &[Param::req("name", Kind::Str)],
    doc: "Whether the message came with such a header.",
    example: r#"if (is_present_hf("Diversion")) xlog("diverted\n");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        verdict(call.host.msg.headers_named(name.trim_ascii()).next().is_some())
    },
    ..IS_METHOD
};

/// `has_body`
pub const HAS_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("has_body"),
    kamailio: Some("has_body"),
    params: &[Param::opt("type", Kind::Str)],
    doc: "Whether there is a body (of this media type).",
    example: r#"if (has_body("application/sdp")) xlog("SDP\n");"#,
    run: |call| {
        let wanted = call.text(0);
        let msg = &call.host.msg;
        verdict(
            !msg.body().is_empty() && wanted.is_none_or(|t| t.is_empty() || msg.media_type().eq_ignore_ascii_case(&t)),
        )
    },
    ..IS_METHOD
};

/// `has_body_part`
pub const HAS_BODY_PART: FnSpec<SipHost> = FnSpec {
    opensips: Some("has_body_part"),
    kamailio: None,
    params: &[Param::opt("type", Kind::Str)],
    doc: "Whether the body, or a part of a multipart body, has this media type.",
    example: r#"if (has_body_part("application/sdp")) xlog("SDP somewhere\n");"#,
    run: |call| {
        let wanted = call.text(0).unwrap_or_default();
        let msg = &call.host.msg;
        if msg.body().is_empty() {
            return verdict(false);
        }
        if wanted.is_empty() || msg.media_type().eq_ignore_ascii_case(&wanted) {
            return verdict(true);
        }
        let multipart = msg.media_type().len() > 10 && msg.media_type()[..10].eq_ignore_ascii_case(b"multipart/");
        verdict(multipart && part_types(msg.body()).any(|t| t.eq_ignore_ascii_case(&wanted)))
    },
    ..IS_METHOD
};

/// Media types of the parts of a multipart body (RFC 2046 5.1).
fn part_types(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = line[..colon].trim_ascii();
        if !name.eq_ignore_ascii_case(b"Content-Type") && !name.eq_ignore_ascii_case(b"c") {
            return None;
        }
        line[colon + 1..].split(|b| *b == b';').next().map(<[u8]>::trim_ascii)
    })
}

/// `is_uri_user_e164`
pub const IS_URI_USER_E164: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_uri_user_e164"),
    kamailio: None,
    params: &[Param::req("uri", Kind::Str)],
    routes: RouteSet::letters("RFBOL"),
    doc: "Whether the URI's user part is an E.164 number: `+` and 2 to 15 digits.",
    example: r#"if (is_uri_user_e164("$ru")) route(pstn);"#,
    run: |call| {
        let uri = call.text(0).unwrap_or_default();
        let user = Uri::parse(&uri).ok().and_then(|u| u.user).unwrap_or_default();
        let digits = user.strip_prefix(b"+").unwrap_or_default();
        verdict((2..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit))
    },
    ..IS_METHOD
};

/// `is_privacy`
pub const IS_PRIVACY: FnSpec<SipHost> =
    FnSpec {
        opensips: Some("is_privacy"),
        kamailio: Some("is_privacy"),
        params: &[Param::req("value", Kind::Str)],
        doc: "Whether the Privacy header (RFC 3323) holds this value.",
        example: r#"if (is_privacy("id")) remove_hf("P-Asserted-Identity");"#,
        run: |call| {
            let wanted = call.text(0).unwrap_or_default();
            verdict(call.host.msg.headers_of(HeaderId::Privacy).any(|h| {
                h.value.split(|b| *b == b';' || *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(&wanted))
            }))
        },
        ..IS_METHOD
    };
