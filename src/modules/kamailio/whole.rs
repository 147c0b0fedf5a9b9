//! `textopsx`: the message as a whole.

use super::{header_walk, hf_values, line_walk};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::sipmsgops::headers;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::edits::Edits;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;

/// The functions.
pub const TEXTOPSX: &[FnSpec<SipHost>] = &[
    MSG_APPLY_CHANGES,
    MSG_SET_BUFFER,
    headers::CHANGE_REPLY_STATUS_CODE,
    REMOVE_BODY,
    KEEP_HF,
    FNMATCH,
    header_walk::HF_ITERATOR_START,
    header_walk::HF_ITERATOR_NEXT,
    header_walk::HF_ITERATOR_PREV,
    header_walk::HF_ITERATOR_END,
    header_walk::HF_ITERATOR_RM,
    header_walk::HF_ITERATOR_APPEND,
    header_walk::HF_ITERATOR_INSERT,
    hf_values::APPEND_HF_VALUE,
    hf_values::INSERT_HF_VALUE,
    hf_values::REMOVE_HF_VALUE,
    hf_values::REMOVE_HF_VALUE2,
    hf_values::ASSIGN_HF_VALUE,
    hf_values::ASSIGN_HF_VALUE2,
    hf_values::INCLUDE_HF_VALUE,
    hf_values::EXCLUDE_HF_VALUE,
    hf_values::HF_VALUE_EXISTS,
    line_walk::BL_ITERATOR_START,
    line_walk::BL_ITERATOR_NEXT,
    line_walk::BL_ITERATOR_END,
    line_walk::BL_ITERATOR_RM,
    line_walk::BL_ITERATOR_APPEND,
    line_walk::BL_ITERATOR_INSERT,
];

const MSG_APPLY_CHANGES: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("msg_apply_changes"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("RO"),
    waits: false,
    doc: "Makes the pending changes part of the message: variables and further changes see them. Not behind the making of \
          the transaction.",
    returns: &[(1, "done"), (-1, "there is a transaction already, or the result would be no message")],
    example: r#"append_hf("X-A: 1\r\n"); msg_apply_changes();"#,
    run: |call| {
        let host = &mut *call.host;
        if host.phony || (host.msg.is_request() && host.tm.key.is_some() && !host.tm.embryonic) {
            return Step::Done(-1);
        }
        match host.edits.applied(&host.msg) {
            Ok(message) => {
                host.msg = message;
                host.edits = Edits::default();
                Step::Done(1)
            }
            Err(_) => Step::Done(-1),
        }
    },
    finish: None,
};

const MSG_SET_BUFFER: FnSpec<SipHost> = FnSpec {
    kamailio: Some("msg_set_buffer"),
    params: &[Param::req("message", Kind::Str)],
    doc: "Puts another message, of the same kind, in the place of the one in work; pending changes and a changed R-URI are \
          forgotten. Not in a transaction, nor behind a wait.",
    returns: &[(1, "done"), (-1, "there is a transaction, or this is no message of the same kind")],
    example: r#"msg_set_buffer("$(mb{re.subst,/^OPTIONS/INFO/})");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let host = &mut *call.host;
        if host.phony || host.tm.key.is_some() {
            return Step::Done(-1);
        }
        match Message::parse(text) {
            Ok(message) if message.is_request() == host.msg.is_request() => {
                host.msg = message;
                host.edits = Edits::default();
                host.ruri = None;
                Step::Done(1)
            }
            _ => Step::Done(-1),
        }
    },
    ..MSG_APPLY_CHANGES
};

const REMOVE_BODY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_body"),
    routes: RouteSet::ALL,
    doc: "Removes the body of the message, and the headers that describe it.",
    returns: &[(1, "removed, or there was none")],
    example: "remove_body();",
    run: |call| {
        let h = &mut *call.host;
        if !h.msg.body().is_empty() {
            h.edits.remove_body(&h.msg);
        }
        Step::Done(1)
    },
    ..MSG_APPLY_CHANGES
};

/// Without these there is no message (RFC 3261 section 8.1.1), or none that gets anywhere.
const NEEDED: [HeaderId; 11] = [
    HeaderId::Via,
    HeaderId::From,
    HeaderId::To,
    HeaderId::CallId,
    HeaderId::CSeq,
    HeaderId::MaxForwards,
    HeaderId::Contact,
    HeaderId::ContentLength,
    HeaderId::ContentType,
    HeaderId::Route,
    HeaderId::RecordRoute,
];

const KEEP_HF: FnSpec<SipHost> = FnSpec {
    kamailio: Some("keep_hf"),
    params: &[Param::opt("name", Kind::Regex)],
    routes: RouteSet::ALL,
    doc: "Removes every header whose name does not match, but those that a message needs.",
    returns: &[(1, "done"), (-1, "the pattern is not valid")],
    example: r#"keep_hf("User-Agent");"#,
    run: |call| {
        let all: Vec<(HeaderId, Str)> = call.host.msg.headers().map(|h| (h.id, Str::from(h.name))).collect();
        let given = call.given(0);
        let mut kept = Vec::new();
        for (id, name) in all {
            let fits = if given { call.is_match(0, &name) } else { Ok(false) };
            match fits {
                Ok(fits) => kept.push(fits || NEEDED.contains(&id)),
                Err(why) => return Step::Fail(why),
            }
        }
        let h = &mut *call.host;
        for (header, _) in h.msg.headers().zip(kept).filter(|(_, kept)| !kept) {
            h.edits.remove_header(&header);
        }
        Step::Done(1)
    },
    ..MSG_APPLY_CHANGES
};

const FNMATCH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("fnmatch"),
    params: &[Param::req("text", Kind::Str), Param::req("pattern", Kind::Str), Param::opt("flags", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Whether a text matches a pattern as the shell has them: `*`, `?`, `[a-z]`. Flag `i`: letter case does not matter.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (fnmatch("$rU", "123*")) xlog("$rU\n");"#,
    run: |call| {
        let (text, pattern) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let any_case = call.text(2).is_some_and(|f| f.contains(&b'i'));
        let fits = if any_case {
            matches(&text.to_ascii_lowercase(), &pattern.to_ascii_lowercase())
        } else {
            matches(&text, &pattern)
        };
        Step::Done(if fits { 1 } else { -1 })
    },
    ..MSG_APPLY_CHANGES
};

/// Shell patterns, in time that grows with the product of both lengths at most.
fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut t, mut p) = (0, 0);
    // Where the last star stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let byte = text.get(t).copied().unwrap_or_default();
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => class(pattern, p, byte),
            Some(b'\\') if p + 1 < pattern.len() => (pattern.get(p + 1) == Some(&byte)).then_some(p + 2),
            Some(b) => (*b == byte).then_some(p + 1),
            None => None,
        };
        match (step, star) {
            (Some(next), _) => (t, p) = (t + 1, next),
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (t, p) = (taken + 1, at + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

/// `[abc]`, `[a-z]`, `[!a]` at a place of a pattern: what follows it, if the byte fits.
fn class(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    let inner = pattern.get(at + 1..)?;
    let not = matches!(inner.first(), Some(b'!' | b'^'));
    let from = usize::from(not);
    // A bracket in the first place is one of the set.
    let end = inner.iter().skip(from + 1).position(|b| *b == b']').map(|n| n + from + 1);
    let Some(end) = end else { return (byte == b'[').then_some(at + 1) };
    let set = inner.get(from..end)?;
    let mut fits = false;
    let mut i = 0;
    while let Some(low) = set.get(i) {
        match (set.get(i + 1), set.get(i + 2)) {
            (Some(b'-'), Some(high)) => {
                fits |= (*low..=*high).contains(&byte);
                i += 3;
            }
            _ => {
                fits |= *low == byte;
                i += 1;
            }
        }
    }
    (fits != not).then_some(at + 1 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn shell_patterns() {
        for (text, pattern, fits) in [
            ("12345", "123*", true),
            ("12345", "*5", true),
            ("12345", "1?3?5", true),
            ("12345", "1?3?", false),
            ("12345", "[0-9]2[!a]45", true),
            ("a]c", "a[]]c", true),
            ("a*c", "a\\*c", true),
            ("abc", "a\\*c", false),
            ("", "*", true),
            ("", "?", false),
            ("a[", "a[", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*c", false),
        ] {
            assert_eq!(matches(text.as_bytes(), pattern.as_bytes()), fits, "{text} {pattern}");
        }
    }
}
