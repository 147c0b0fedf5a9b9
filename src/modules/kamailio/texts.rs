//! Bodies, lists and header values: what of `textops` no other module has (kamailio.md section 5.1).

use super::tests_of;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::textops::subst::with_subst;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::{HeaderId, same_name};

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    tests_of::STARTS_WITH,
    tests_of::ENDS_WITH,
    tests_of::CMP_STR,
    tests_of::CMP_ISTR,
    SET_BODY,
    FILTER_BODY,
    SUBST_HF,
    IN_LIST,
    IN_LIST_PREFIX,
    STR_FIND,
    STR_IFIND,
    SEARCH_HF,
    REMOVE_HF_EXP,
];

/// Longest body that a script may set, in bytes.
const MAX_BODY: usize = 60 * 1024;

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

const SET_BODY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("set_body"),
    params: &[Param::req("body", Kind::Str), Param::req("content_type", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Replaces the body of the message and its Content-Type; Content-Length follows.",
    returns: &[(1, "set"), (-1, "the body is empty or larger than 60 KiB, or this is no content type")],
    example: r#"set_body("hello", "text/plain");"#,
    run: |call| {
        let (body, kind) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let kind = kind.trim_ascii();
        let bad = kind.is_empty() || kind.iter().any(|b| b.is_ascii_control());
        if bad || body.is_empty() || body.len() > MAX_BODY {
            return Step::Done(-1);
        }
        let h = &mut *call.host;
        match h.msg.header(HeaderId::ContentType) {
            Some(old) => h.edits.replace(old.value_range, Str::from(kind)),
            None => {
                let line = [b"Content-Type: ", kind, b"\r\n"].concat();
                h.edits.append_header(&h.msg, Str::from(line));
            }
        }
        h.edits.set_body(&h.msg, body);
        Step::Done(1)
    },
    finish: None,
};

const FILTER_BODY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("filter_body"),
    params: &[Param::req("content_type", Kind::Str)],
    doc: "Leaves only the part of this type of a body of several parts.",
    returns: &[(1, "done"), (-1, "the body has no parts, or none of this type")],
    example: r#"filter_body("application/sdp");"#,
    run: |call| {
        let wanted = call.text(0).unwrap_or_default();
        let Some(part) = part_of(call.host, &wanted) else { return Step::Done(-1) };
        let h = &mut *call.host;
        if let Some(old) = h.msg.header(HeaderId::ContentType) {
            h.edits.replace(old.value_range, wanted);
        }
        h.edits.set_body(&h.msg, part);
        Step::Done(1)
    },
    ..SET_BODY
};

/// The part of a multipart body that has this type (RFC 2046 section 5.1).
fn part_of(host: &SipHost, wanted: &[u8]) -> Option<Str> {
    let kind = host.msg.content_type();
    let at = memchr::memmem::find(&kind.to_ascii_lowercase(), b"boundary=")?;
    let value = kind.get(at + b"boundary=".len()..)?;
    let boundary = match value.strip_prefix(b"\"") {
        Some(rest) => rest.split(|b| *b == b'"').next()?,
        None => value.split(|b| *b == b';' || b.is_ascii_whitespace()).next()?,
    };
    if boundary.is_empty() {
        return None;
    }
    let mark = [b"--", boundary].concat();
    let body = host.msg.body();
    let starts: Vec<usize> = memchr::memmem::find_iter(body, &mark).collect();
    for pair in starts.windows(2) {
        let [from, to] = pair else { continue };
        let part = body.get(from + mark.len()..*to)?;
        let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n"))?;
        let (end, skip) = match memchr::memmem::find(part, b"\r\n\r\n") {
            Some(n) => (n, 4),
            None => (memchr::memmem::find(part, b"\n\n")?, 2),
        };
        let fits = part.get(..end)?.split(|b| *b == b'\n').any(|line| {
            let mut halves = line.splitn(2, |b| *b == b':');
            let name = halves.next().unwrap_or_default().trim_ascii();
            let value = halves.next().unwrap_or_default().trim_ascii();
            let value = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            same_name(name, b"Content-Type") && value.eq_ignore_ascii_case(wanted)
        });
        if fits {
            let content = part.get(end + skip..)?;
            // The line end in front of the next mark is the mark's.
            let content = content.strip_suffix(b"\n").unwrap_or(content);
            return Some(Str::from(content.strip_suffix(b"\r").unwrap_or(content)));
        }
    }
    None
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

const REMOVE_HF_EXP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_hf_exp"),
    params: &[Param::req("remove", Kind::Regex), Param::req("keep", Kind::Regex)],
    doc: "Removes every header whose name matches the first pattern and not the second one.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"remove_hf_exp("^X-", "^X-Keep");"#,
    run: |call| {
        let names: Vec<Str> = call.host.msg.headers().map(|h| Str::from(h.name)).collect();
        let mut gone = Vec::new();
        for name in names {
            match (call.is_match(0, &name), call.is_match(1, &name)) {
                (Ok(true), Ok(false)) => gone.push(name),
                (Ok(_), Ok(_)) => {}
                (Err(why), _) | (_, Err(why)) => return Step::Fail(why),
            }
        }
        let h = &mut *call.host;
        for header in h.msg.headers().filter(|x| gone.iter().any(|g| **g == *x.name)) {
            h.edits.remove_header(&header);
        }
        verdict(!gone.is_empty())
    },
    ..SET_BODY
};
