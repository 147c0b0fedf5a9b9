//! Where a pattern matches in a message.

use crate::modules::host::SipHost;
use crate::script::pattern::by_line;
use crate::script::registry::{Arg, Call};
use crate::sip::Range;
use crate::sip::message::Message;
use regex::bytes::Regex;
use std::rc::Rc;

/// Most matches that one call may change.
pub const MAX_MATCHES: usize = 1000;

/// Most bytes of new text that the changes of one message may hold.
const MAX_TEXT: usize = 256 * 1024;

/// Which part of the message a function looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Message,
    /// All but the first line.
    BehindFirstLine,
    /// The header lines.
    Headers,
    /// The body.
    Body,
}

impl Part {
    /// Where it lies.
    pub fn of(self, msg: &Message) -> Range {
        let body = msg.body_range();
        match self {
            Part::Message => Range::new(0, body.end),
            Part::BehindFirstLine => Range::new(msg.headers_start(), body.end),
            Part::Headers => Range::new(msg.headers_start(), msg.headers_end()),
            Part::Body => body,
        }
    }
}

/// What `^`, `$` and `.` make of line ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `^` and `$` match at each line's ends; `.` and `[^...]` stay within a line.
    Lines,
    /// The text is one line.
    Whole,
}

/// At most `limit` matches, in order, of the pattern in argument `i`; positions in the message.
pub fn find(
    call: &mut Call<'_, SipHost>,
    i: usize,
    part: Part,
    mode: Mode,
    limit: usize,
) -> Result<Vec<Range>, String> {
    let regex = pattern(call, i, mode)?;
    let range = part.of(&call.host.msg);
    let text = call.host.msg.slice(range);
    let base = range.start as usize;
    let found = regex.find_iter(text).take(limit);
    Ok(found.filter_map(|m| position(base, m.start(), m.end())).collect())
}

/// A match in a part that begins at `base`, as a position in the message.
pub fn position(base: usize, start: usize, end: usize) -> Option<Range> {
    Some(Range::new(u32::try_from(base + start).ok()?, u32::try_from(base + end).ok()?))
}

/// The pattern in argument `i`, compiled for this mode; the program remembers it.
pub fn pattern(call: &mut Call<'_, SipHost>, i: usize, mode: Mode) -> Result<Rc<Regex>, String> {
    let source = match call.args.get(i) {
        Some(Arg::Regex(n)) => written(call.scope.plain().regex(*n).as_str()),
        Some(Arg::Value(v)) => v.to_text().unwrap_or_default().to_lossy().into_owned(),
        _ => return Err("the pattern is missing".to_string()),
    };
    // Behind the prefix a repetition sign would no longer stand where it is meant literally.
    let literal = if source.starts_with(['*', '+', '?']) { "\\" } else { "" };
    let text = match mode {
        Mode::Lines => format!("(?m-s){literal}{}", by_line(&source)),
        Mode::Whole => format!("(?s-m){literal}{source}"),
    };
    call.scope.plain().pattern(text.as_bytes())
}

/// A pattern for which letter case matters and the text is one line; the program remembers it.
pub fn exact(call: &mut Call<'_, SipHost>, source: &[u8]) -> Result<Rc<Regex>, String> {
    let literal =
        if source.starts_with(b"*") || source.starts_with(b"+") || source.starts_with(b"?") { "\\" } else { "" };
    call.scope.plain().pattern(&[&b"(?s-mi)"[..], literal.as_bytes(), source].concat())
}

/// The pattern as a script would write it: word ends were rewritten when it was compiled.
fn written(compiled: &str) -> String {
    let mut out = String::with_capacity(compiled.len());
    let mut rest = compiled;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (sign, len) = match escape {
            e if e.starts_with("\\b{start}") => ("\\<", "\\b{start}".len()),
            e if e.starts_with("\\b{end}") => ("\\>", "\\b{end}".len()),
            e => {
                let len = 1 + e.chars().nth(1).map_or(0, char::len_utf8);
                (&e[..len], len)
            }
        };
        out.push_str(sign);
        rest = &escape[len..];
    }
    out.push_str(rest);
    out
}

/// Whether the changes to this message may hold `added` more bytes.
pub fn room(host: &SipHost, added: usize) -> Result<(), String> {
    if host.edits.text_len().saturating_add(added) > MAX_TEXT {
        return Err(format!("the changes to this message would hold more than {MAX_TEXT} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_ends_are_written_back() {
        assert_eq!(written("\\b{start}a\\b{end}\\d"), "\\<a\\>\\d");
        assert_eq!(written("\\\\b{start}"), "\\\\b{start}");
        assert_eq!(written("a\\"), "a\\");
        assert_eq!(written("\\ü"), "\\ü");
    }
}
