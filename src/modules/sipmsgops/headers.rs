//! Adding, removing and changing headers.

use super::MOST;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::time_text;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};

/// Longest text a script may add as headers to one message, in bytes.
const MAX_ADDED: usize = 16 * 1024;

/// `append_hf`
pub const APPEND_HF: FnSpec<SipHost> = FnSpec {
    opensips: Some("append_hf"),
    kamailio: Some("append_hf"),
    params: &[Param::req("text", Kind::Str), Param::opt("after", Kind::Str)],
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Adds header lines, each ending in CRLF, after the last header (or after the first one of that name).",
    returns: &[(1, "queued"), (-1, "not a header line")],
    example: r#"append_hf("P-hint: outbound\r\n");"#,
    run: |call| {
        let Some(text) = lines(call, 0) else { return Step::Done(-1) };
        let after = call.text(1);
        let h = &mut *call.host;
        let found = after.and_then(|name| h.msg.headers_named(name.trim_ascii()).next().map(|x| x.line()));
        match found {
            Some(line) => h.edits.insert_after(line.end, text),
            None => h.edits.append_header(&h.msg, text),
        }
        Step::Done(1)
    },
    finish: None,
};

/// `insert_hf`
pub const INSERT_HF: FnSpec<SipHost> = FnSpec {
    opensips: Some("insert_hf"),
    kamailio: Some("insert_hf"),
    params: &[Param::req("text", Kind::Str), Param::opt("before", Kind::Str)],
    doc: "Adds header lines, each ending in CRLF, before the first header (or before the first one of that name).",
    example: r#"insert_hf("Subject: hello\r\n", "To");"#,
    run: |call| {
        let Some(text) = lines(call, 0) else { return Step::Done(-1) };
        let before = call.text(1);
        let h = &mut *call.host;
        let found = before.and_then(|name| h.msg.headers_named(name.trim_ascii()).next().map(|x| x.line()));
        match found {
            Some(line) => h.edits.insert_before(line.start, text),
            None => h.edits.insert_header_first(&h.msg, text),
        }
        Step::Done(1)
    },
    ..APPEND_HF
};

/// `append_to_reply`
pub const APPEND_TO_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: Some("append_to_reply"),
    kamailio: Some("append_to_reply"),
    params: &[Param::req("text", Kind::Str)],
    routes: RouteSet::letters("RFBE"),
    doc: "Adds header lines, each ending in CRLF, to the replies made here for this request.",
    example: r#"append_to_reply("Retry-After: 30\r\n");"#,
    run: |call| {
        let Some(text) = lines(call, 0) else { return Step::Done(-1) };
        if call.host.reply_headers.len() + text.len() > MAX_ADDED {
            return Step::Fail("too many headers for one reply".to_string());
        }
        call.host.reply_headers.extend_from_slice(&text);
        Step::Done(1)
    },
    ..APPEND_HF
};

/// `append_urihf`
pub const APPEND_URIHF: FnSpec<SipHost> = FnSpec {
    opensips: Some("append_urihf"),
    kamailio: Some("append_urihf"),
    params: &[Param::req("prefix", Kind::Str), Param::req("suffix", Kind::Str)],
    doc: "Adds a header made of prefix, the current R-URI and suffix.",
    example: r#"append_urihf("X-Target: ", "\r\n");"#,
    run: |call| {
        let mut text = call.text(0).unwrap_or_default().to_vec();
        text.extend_from_slice(call.host.current_ruri());
        text.extend_from_slice(&call.text(1).unwrap_or_default());
        let Some(text) = checked(Str::from(text)) else { return Step::Done(-1) };
        call.host.edits.append_header(&call.host.msg, text);
        Step::Done(1)
    },
    ..APPEND_HF
};

/// `remove_hf`
pub const REMOVE_HF: FnSpec<SipHost> = FnSpec {
    opensips: Some("remove_hf"),
    kamailio: Some("remove_hf"),
    params: &[Param::req("name", Kind::Str)],
    doc: "Removes every header of this name.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"remove_hf("P-hint");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let name = name.trim_ascii();
        remove_where(call, |h, _| crate::sip::header::same_name(h, name))
    },
    ..APPEND_HF
};

/// `remove_hf_re`
pub const REMOVE_HF_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("remove_hf_re"),
    kamailio: Some("remove_hf_re"),
    params: &[Param::req("name", Kind::Regex)],
    doc: "Removes every header whose name matches.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"remove_hf_re("^X-");"#,
    run: |call| {
        let names: Vec<Str> = call.host.msg.headers().map(|h| Str::from(h.name)).collect();
        let mut matching = Vec::new();
        for name in names {
            match call.is_match(0, &name) {
                Ok(true) => matching.push(name),
                Ok(false) => {}
                Err(why) => return Step::Fail(why),
            }
        }
        remove_where(call, |h, _| matching.iter().any(|m| *m == *h))
    },
    ..APPEND_HF
};

/// `remove_hf_glob`
pub const REMOVE_HF_GLOB: FnSpec<SipHost> = FnSpec {
    opensips: Some("remove_hf_glob"),
    kamailio: None,
    params: &[Param::req("name", Kind::Str)],
    doc: "Removes every header whose name matches the shell pattern (`*`, `?`).",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"remove_hf_glob("X-*");"#,
    run: |call| {
        let pattern = call.text(0).unwrap_or_default();
        remove_where(call, |h, _| glob(&pattern, h))
    },
    ..APPEND_HF
};

/// `append_time`
pub const APPEND_TIME: FnSpec<SipHost> = FnSpec {
    opensips: Some("append_time"),
    kamailio: Some("append_time"),
    params: &[],
    routes: RouteSet::letters("RFBL"),
    doc: "Adds a Date header to the replies made here for this request.",
    example: "append_time();",
    run: |call| {
        let line = date_line(call.host);
        call.host.reply_headers.extend_from_slice(line.as_bytes());
        Step::Done(1)
    },
    ..APPEND_HF
};

/// `append_time_to_request`
pub const APPEND_TIME_TO_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("append_time_to_request"),
    params: &[],
    doc: "Adds a Date header to the message in work.",
    returns: &[(1, "queued")],
    example: r#"if (!is_present_hf("Date")) append_time_to_request();"#,
    run: |call| {
        let line = Str::from(date_line(call.host));
        call.host.edits.append_header(&call.host.msg, line);
        Step::Done(1)
    },
    ..APPEND_HF
};

/// A Date header with its line end (RFC 3261 section 20.17).
fn date_line(host: &SipHost) -> String {
    time_text::format("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", host.env().clock.micros() / 1_000_000)
}

/// `change_reply_status`
pub const CHANGE_REPLY_STATUS: FnSpec<SipHost> = FnSpec {
    opensips: Some("change_reply_status"),
    kamailio: Some("change_reply_status"),
    params: &[Param::req("code", Kind::Int), Param::req("reason", Kind::Str)],
    routes: RouteSet::letters("O"),
    doc: "Changes code and reason of the reply in work, within its class; 2xx cannot be changed.",
    returns: &[(1, "changed"), (-1, "not possible")],
    example: r#"if ($rs == 503) change_reply_status(500, "Server Failure");"#,
    run: |call| match (call.int(0), call.text(1)) {
        (Some(code), Some(reason)) => change_status(call.host, code, &reason),
        _ => Step::Done(-1),
    },
    ..APPEND_HF
};

/// `change_reply_status_code`
pub const CHANGE_REPLY_STATUS_CODE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("change_reply_status_code"),
    params: &[Param::req("code", Kind::Int)],
    doc: "Changes the code of the reply in work, as `change_reply_status` does; its phrase stays.",
    example: r#"if ($rs == 503) change_reply_status_code("500");"#,
    run: |call| {
        let reason = Str::from(call.host.msg.reason());
        match call.int(0) {
            Some(code) => change_status(call.host, code, &reason),
            None => Step::Done(-1),
        }
    },
    ..CHANGE_REPLY_STATUS
};

fn change_status(h: &mut SipHost, code: i64, reason: &[u8]) -> Step<SipHost> {
    let old = i64::from(h.msg.status());
    let clean = !reason.iter().any(|b| matches!(b, b'\r' | b'\n'));
    let (class, other) = (old / 100, code / 100);
    if !(100..=699).contains(&code) || (class != other && (old < 300 || code < 300)) || class == 2 || !clean {
        return Step::Done(-1);
    }
    h.edits.set_status(&h.msg, code as u16, reason);
    Step::Done(1)
}

/// The header lines of argument `i`; `None` if they are none (or would break the message).
fn lines(call: &Call<'_, SipHost>, i: usize) -> Option<Str> {
    match call.args.get(i) {
        Some(Arg::Value(_)) => checked(call.text(i)?),
        _ => None,
    }
}

/// Header text as it may be put into a message: `Name: value` lines, each ended by CRLF (added if
/// the last one lacks it), no empty line.
pub fn checked(text: Str) -> Option<Str> {
    if text.is_empty() || text.len() > MAX_ADDED {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() + 2);
    let body = text.strip_suffix(b"\n").map_or(&text[..], |t| t.strip_suffix(b"\r").unwrap_or(t));
    for (i, line) in body.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let folded = i > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        let named = line
            .iter()
            .position(|b| *b == b':')
            .is_some_and(|at| at > 0 && line[..at].iter().all(|b| b.is_ascii_graphic() || *b == b' '));
        if !(folded || named) {
            return None;
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    Some(Str::from(out))
}

/// Removes every header whose name and value are wanted.
pub fn remove_where(call: &mut Call<'_, SipHost>, mut wanted: impl FnMut(&[u8], &[u8]) -> bool) -> Step<SipHost> {
    let h = &mut *call.host;
    let mut any = false;
    for header in h.msg.headers() {
        if wanted(header.name, header.value) && !h.edits.is_deleted(header.line()) {
            h.edits.remove_header(&header);
            any = true;
        }
    }
    Step::Done(if any { 1 } else { -1 })
}

/// Shell pattern match, case-insensitive, linear but for one step back per `*`.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || c.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((sp, st)) => {
                    p = sp + 1;
                    t = st + 1;
                    star = Some((sp, st + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_text_cannot_break_the_message() {
        assert_eq!(checked(Str::from("A: b")).unwrap(), "A: b\r\n");
        assert_eq!(checked(Str::from("A: b\r\nC: d\r\n")).unwrap(), "A: b\r\nC: d\r\n");
        assert_eq!(checked(Str::from("A: b\n\tmore\n")).unwrap(), "A: b\r\n\tmore\r\n");
        assert!(checked(Str::from("A: b\r\n\r\nbody")).is_none());
        assert!(checked(Str::from("no header")).is_none());
    }

    #[test]
    fn globs() {
        assert!(glob(b"X-*", b"x-foo"));
        assert!(glob(b"*a*b", b"xxaxxbxb"));
        assert!(!glob(b"X-?", b"X-ab"));
        assert!(glob(b"*", b""));
    }
}
