//! Walks over the lines of a message's body: `bl_iterator_*` of `textopsx`.

use super::header_walk::HF_ITERATOR_START;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::script::value::Value;
use crate::sip::Range;
use serde::{Deserialize, Serialize};

/// Walks that a run may have begun.
const MOST: usize = 16;

/// Longest text that one call adds, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// The walks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walks(Vec<Walk>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    name: Str,
    /// Where the line it stands at begins and ends in the message; `None`: in front of the first.
    line: Option<(u32, u32)>,
}

pub(super) const BL_ITERATOR_START: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_start"),
    doc: "Begins a walk over the lines of the message's body; it stands in front of the first one.",
    example: r#"bl_iterator_start("b");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let walks = &mut call.host.rare.lines.get_or_insert_default().0;
        walks.retain(|w| w.name != name);
        if walks.len() >= MOST {
            return Step::Done(-1);
        }
        walks.push(Walk { name, line: None });
        Step::Done(1)
    },
    ..HF_ITERATOR_START
};

pub(super) const BL_ITERATOR_NEXT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_next"),
    doc: "Goes on to the next line: `$blitval(b)` is it, with its line end.",
    returns: &[(1, "there is one"), (-1, "there is none, or no such walk was begun")],
    example: r#"while (bl_iterator_next("b")) xlog("$blitval(b)");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let h = &mut *call.host;
        let body = h.msg.body_range();
        let Some(walk) = h.rare.lines.as_mut().and_then(|w| w.0.iter_mut().find(|w| w.name == name)) else {
            return Step::Done(-1);
        };
        let start = walk.line.map_or(body.start, |(_, end)| end);
        if !(body.start..body.end).contains(&start) {
            return Step::Done(-1);
        }
        let rest = h.msg.slice(Range::new(start, body.end));
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
        walk.line = Some((start, start + length as u32));
        Step::Done(1)
    },
    ..BL_ITERATOR_START
};

pub(super) const BL_ITERATOR_END: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_end"),
    doc: "Ends a walk. Those of a run end with it.",
    returns: &[(1, "ended"), (-1, "no such walk was begun")],
    example: r#"bl_iterator_end("b");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        // Looked at first: to change what is rare makes room for it.
        if call.host.rare.lines.is_none() {
            return Step::Done(-1);
        }
        let Some(walks) = &mut call.host.rare.lines else { return Step::Done(-1) };
        let before = walks.0.len();
        walks.0.retain(|w| w.name != name);
        Step::Done(if walks.0.len() < before { 1 } else { -1 })
    },
    ..BL_ITERATOR_START
};

pub(super) const BL_ITERATOR_RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_rm"),
    doc: "Removes the line that a walk stands at.",
    returns: &[(1, "removed"), (-1, "it stands at none")],
    example: r#"if ($blitval(b) =~ "^a=crypto") bl_iterator_rm("b");"#,
    run: |call| at(call, false, |h, line, _| h.edits.delete(line)),
    ..BL_ITERATOR_START
};

const WITH_TEXT: &[Param] = &[Param::req("iterator", Kind::Str), Param::req("text", Kind::Str)];

pub(super) const BL_ITERATOR_APPEND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_append"),
    params: WITH_TEXT,
    doc: "Adds a text behind the line that a walk stands at.",
    returns: &[(1, "added"), (-1, "it stands at none, or the text is empty or larger than 16 KiB")],
    example: r#"bl_iterator_append("b", "a=ptime:20\r\n");"#,
    run: |call| at(call, true, |h, line, text| h.edits.insert_after(line.end, text)),
    ..BL_ITERATOR_START
};

pub(super) const BL_ITERATOR_INSERT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("bl_iterator_insert"),
    doc: "Adds a text in front of the line that a walk stands at.",
    example: r#"bl_iterator_insert("b", "a=ptime:20\r\n");"#,
    run: |call| at(call, true, |h, line, text| h.edits.insert_before(line.start, text)),
    ..BL_ITERATOR_APPEND
};

/// Does something at the line that a walk stands at.
fn at(call: &mut Call<'_, SipHost>, with_text: bool, act: fn(&mut SipHost, Range, Str)) -> Step<SipHost> {
    let (name, text) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    if with_text && (text.is_empty() || text.len() > MAX_TEXT) {
        return Step::Done(-1);
    }
    match place(call.host, &name) {
        Some(line) => {
            act(call.host, line, text);
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

/// The line that a walk stands at, if the message has it still.
fn place(h: &SipHost, name: &[u8]) -> Option<Range> {
    let (start, end) = h.rare.lines.as_ref()?.0.iter().find(|w| *w.name == *name)?.line?;
    let body = h.msg.body_range();
    (body.start <= start && end <= body.end).then(|| Range::new(start, end))
}

/// Reads `$blitval`.
pub fn get(h: &SipHost, sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    place(h, &name).map_or(Value::Null, |line| Value::text(h.msg.slice(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{Bench, INVITE};

    #[test]
    fn lines_are_walked_over_and_changed() {
        let mut b = Bench::new(INVITE);
        let value = |b: &Bench| get(&b.host, Some(&Value::from("b"))).to_text().map(|t| t.to_lossy().into_owned());
        assert_eq!(b.call(&BL_ITERATOR_NEXT, &["b"]), -1);
        assert_eq!(b.call(&BL_ITERATOR_END, &["b"]), -1);
        assert_eq!(b.call(&BL_ITERATOR_START, &["b"]), 1);
        assert_eq!(b.call(&BL_ITERATOR_RM, &["b"]), -1, "it stands in front of the first line");
        let mut lines = String::new();
        let mut first = true;
        while b.call(&BL_ITERATOR_NEXT, &["b"]) == 1 {
            let line = value(&b).unwrap();
            if line.starts_with("a=rtpmap") {
                assert_eq!(b.call(&BL_ITERATOR_RM, &["b"]), 1);
            }
            if std::mem::take(&mut first) {
                assert_eq!(b.call(&BL_ITERATOR_INSERT, &["b", "x=0\r\n"]), 1);
                assert_eq!(b.call(&BL_ITERATOR_APPEND, &["b", "x=$rU\r\n"]), 1);
                assert_eq!(b.call(&BL_ITERATOR_APPEND, &["b", ""]), -1);
            }
            lines.push_str(&line);
        }
        assert_eq!(lines.as_bytes(), b.host.msg.body());
        assert!(b.sent().contains("\r\n\r\nx=0\r\nv=0\r\nx=bob\r\no="));
        assert!(!b.sent().contains("rtpmap"));
        assert_eq!(b.call(&BL_ITERATOR_END, &["b"]), 1);
        assert_eq!(value(&b), None);
    }
}
