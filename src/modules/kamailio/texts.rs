//! Texts, lists and header values: what of `textops` no other module has (kamailio.md section 5.1).

use super::bodies::{MAX_BODY, SET_BODY};
use super::{bodies, header_match, tests_of};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::sipmsgops::headers;
use crate::modules::textops::subst::with_subst;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    tests_of::STARTS_WITH,
    tests_of::ENDS_WITH,
    tests_of::CMP_STR,
    tests_of::CMP_ISTR,
    SUBST_HF,
    IN_LIST,
    IN_LIST_PREFIX,
    STR_FIND,
    STR_IFIND,
    SEARCH_HF,
    headers::APPEND_TIME_TO_REQUEST,
    bodies::SET_BODY,
    bodies::SET_REPLY_BODY,
    bodies::FILTER_BODY,
    bodies::SET_BODY_MULTIPART,
    bodies::APPEND_BODY_PART,
    bodies::APPEND_BODY_PART_HEX,
    bodies::REMOVE_BODY_PART,
    bodies::GET_BODY_PART,
    bodies::GET_BODY_PART_RAW,
    header_match::REMOVE_HF_EXP,
    header_match::REMOVE_HF_EXP_PV,
    header_match::REMOVE_HF_PV,
    header_match::REMOVE_HF_RE_PV,
    header_match::IS_PRESENT_HF_PV,
    header_match::IS_PRESENT_HF_RE,
    header_match::IS_PRESENT_HF_RE_PV,
    header_match::REMOVE_HF_IDX,
    header_match::REMOVE_HF_MATCH,
];

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

const SUBST_HF: FnSpec<SipHost> = FnSpec {
    kamailio: Some("subst_hf"),
    params: &[
        Param::req("header", Kind::Str),
        Param::req("/pattern/replacement/flags", Kind::Subst),
        Param::req("which", Kind::Str),
    ],
    doc: "Replaces what a pattern matches in the values of headers of a name: `f` in the first, `l` in the last, `a` in all \
          of them.",
    returns: &[(1, "replaced"), (-1, "no match")],
    example: r#"subst_hf("From", "/:test@/:best@/", "a");"#,
    run: |call| {
        let (name, which) = (call.text(0).unwrap_or_default(), call.text(2).unwrap_or_default());
        let done = with_subst(call, 1, |host, subst, replacement| {
            let headers: Vec<_> = host.msg.headers_named(&name).map(|h| (h.value_range, Str::from(h.value))).collect();
            let chosen = match which.first().map(u8::to_ascii_lowercase) {
                Some(b'f') => headers.get(..1),
                Some(b'l') => headers.get(headers.len().saturating_sub(1)..),
                _ => Some(&headers[..]),
            };
            let mut changed = false;
            for (range, value) in chosen.unwrap_or_default() {
                let new = subst.apply(value, replacement, MAX_BODY);
                if let Some(new) = new.filter(|n| !n.iter().any(|b| matches!(b, b'\r' | b'\n'))) {
                    host.edits.replace(*range, Str::from(new));
                    changed = true;
                }
            }
            changed
        });
        match done {
            Ok(changed) => verdict(changed),
            Err(why) => Step::Fail(why),
        }
    },
    ..SET_BODY
};

const LIST: &[Param] =
    &[Param::req("text", Kind::Str), Param::req("list", Kind::Str), Param::req("separator", Kind::Str)];

const IN_LIST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("in_list"),
    params: LIST,
    doc: "Whether a text is one of a list's items; letter case matters, white space around items does not.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (in_list("$rU", "100,101,102", ",")) xlog("$rU\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        verdict(!text.is_empty() && items(call).iter().any(|item| **item == *text))
    },
    ..SET_BODY
};

const IN_LIST_PREFIX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("in_list_prefix"),
    doc: "Whether a text begins with one of a list's items.",
    example: r#"if (in_list_prefix("$rU", "+49,0049", ",")) xlog("$rU\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        verdict(items(call).iter().any(|item| !item.is_empty() && text.starts_with(item)))
    },
    ..IN_LIST
};

fn items(call: &Call<'_, SipHost>) -> Vec<Str> {
    let (list, separator) = (call.text(1).unwrap_or_default(), call.text(2).unwrap_or_default());
    let separator = separator.first().copied().unwrap_or(b',');
    list.split(|b| *b == separator).map(|item| Str::from(item.trim_ascii())).collect()
}

const STR_FIND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("str_find"),
    params: &[Param::req("text", Kind::Str), Param::req("part", Kind::Str)],
    doc: "Whether a text holds another one.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (str_find("$ua", "scanner")) exit;"#,
    run: |call| {
        let (text, part) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        verdict(memchr::memmem::find(&text, &part).is_some())
    },
    ..SET_BODY
};

const STR_IFIND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("str_ifind"),
    doc: "Whether a text holds another one, without regard to letter case.",
    example: r#"if (str_ifind("$ua", "Scanner")) exit;"#,
    run: |call| {
        let (text, part) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let (text, part) = (text.to_ascii_lowercase(), part.to_ascii_lowercase());
        verdict(memchr::memmem::find(&text, &part).is_some())
    },
    ..STR_FIND
};

const SEARCH_HF: FnSpec<SipHost> = FnSpec {
    kamailio: Some("search_hf"),
    params: &[Param::req("header", Kind::Str), Param::req("pattern", Kind::Regex), Param::req("which", Kind::Str)],
    doc: "Whether a pattern matches the value of a header: `f` of the first of this name, `l` of the last, `a` of any.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (search_hf("From", ":test@", "a")) exit;"#,
    run: |call| {
        let (name, which) = (call.text(0).unwrap_or_default(), call.text(2).unwrap_or_default());
        let values: Vec<Str> = call.host.msg.headers_named(&name).map(|h| Str::from(h.value)).collect();
        let chosen = match which.first().map(u8::to_ascii_lowercase) {
            Some(b'f') => values.get(..1),
            Some(b'l') => values.get(values.len().saturating_sub(1)..),
            _ => Some(&values[..]),
        };
        for value in chosen.unwrap_or_default() {
            match call.is_match(1, value) {
                Ok(true) => return Step::Done(1),
                Ok(false) => {}
                Err(why) => return Step::Fail(why),
            }
        }
        Step::Done(-1)
    },
    ..SET_BODY
};
