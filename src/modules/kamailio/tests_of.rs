//! Questions about the message and about texts: `siputils` and `textops`.

use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

pub(super) const IS_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_request"),
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Whether the message in work is a request.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: "if (is_request()) xlog(\"$rm\\n\");",
    run: |call| verdict(call.host.msg.is_request()),
    finish: None,
};

pub(super) const IS_REPLY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_reply"),
    doc: "Whether the message in work is a reply.",
    example: "if (is_reply()) xlog(\"$rs\\n\");",
    run: |call| verdict(call.host.msg.is_reply()),
    ..IS_REQUEST
};

pub(super) const IS_FIRST_HOP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_first_hop"),
    params: &[Param::opt("mode", Kind::Int)],
    doc: "Whether the message came from its sender directly: a request with one Via, a reply whose first Record-Route is \
          ours and that came from somebody else; with mode 1 it may have come from ourselves.",
    example: "if (is_first_hop()) force_rport();",
    run: |call| {
        let host = &*call.host;
        if host.msg.is_request() {
            return verdict(host.msg.headers_of(HeaderId::Via).flat_map(|h| h.values()).count() == 1);
        }
        let first = host.msg.headers_of(HeaderId::RecordRoute).flat_map(|h| h.values()).next();
        let ours = first.and_then(|v| NameAddr::parse(v).ok()).is_some_and(|n| host.env().names_us(n.uri, None));
        let loops = call.int(0) == Some(1);
        verdict(
            ours && (loops || !host.env().names_us(host.source.ip().to_string().as_bytes(), Some(host.source.port()))),
        )
    },
    ..IS_REQUEST
};

pub(super) const STARTS_WITH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("starts_with"),
    params: &[Param::req("text", Kind::Str), Param::req("beginning", Kind::Str)],
    doc: "Whether a text begins with another one; letter case matters.",
    example: r#"if (starts_with("$rU", "00")) strip(2);"#,
    run: |call| {
        let (text, part) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(text.starts_with(&part))
    },
    ..IS_REQUEST
};

pub(super) const ENDS_WITH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ends_with"),
    params: &[Param::req("text", Kind::Str), Param::req("end", Kind::Str)],
    doc: "Whether a text ends with another one; letter case matters.",
    example: r##"if (ends_with("$rU", "#")) strip_tail(1);"##,
    run: |call| {
        let (text, part) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(text.ends_with(&part))
    },
    ..IS_REQUEST
};

pub(super) const CMP_STR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cmp_str"),
    params: &[Param::req("left", Kind::Str), Param::req("right", Kind::Str)],
    doc: "Whether two texts are equal.",
    example: r#"if (cmp_str("$rU", "$fU")) xlog("calls itself\n");"#,
    run: |call| verdict(call.text(0).unwrap_or_default() == call.text(1).unwrap_or_default()),
    ..IS_REQUEST
};

pub(super) const CMP_ISTR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cmp_istr"),
    params: &[Param::req("left", Kind::Str), Param::req("right", Kind::Str)],
    doc: "Whether two texts are equal without regard to letter case.",
    example: r#"if (cmp_istr("$rd", "Example.com")) xlog("ours\n");"#,
    run: |call| {
        let (left, right) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(left.eq_ignore_ascii_case(&right))
    },
    ..IS_REQUEST
};
