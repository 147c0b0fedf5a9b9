//! Regular expressions of scripts: POSIX extended syntax as the peers read it, compiled to an
//! engine whose time is linear in the text, and the `/pattern/replacement/flags` form.

use super::registry::Subst;
use crate::base::Str;
use regex::bytes::{Regex, RegexBuilder};

/// Bytes a compiled pattern may take.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles a pattern as the peers would read it: POSIX extended, case-insensitive. Back-references
/// in patterns are refused with a message, since matching must stay linear in the text.
pub fn compile_regex(pattern: &str) -> Result<Regex, String> {
    compile_with(pattern, true, false)
}

/// Compiles a pattern; `newline` lets `^` and `$` match at line ends and keeps `.` off them.
pub fn compile_with(pattern: &str, ignore_case: bool, newline: bool) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .case_insensitive(ignore_case)
        .multi_line(newline)
        .dot_matches_new_line(!newline)
        .unicode(false)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|e| {
            e.to_string().lines().last().unwrap_or("bad pattern").trim().trim_start_matches("error: ").to_string()
        })
}

/// Rewrites what POSIX extended syntax reads differently from the engine: brackets in brackets,
/// braces and repetition signs that stand where they can only be meant literally.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    // Whether something stands before that a repetition sign could repeat.
    let mut atom = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push('\\');
                match chars.next() {
                    // GNU: word start and end.
                    Some('<') => out.push_str("b{start}"),
                    Some('>') => out.push_str("b{end}"),
                    Some(n) => out.push(n),
                    None => out.push('\\'),
                }
                atom = true;
            }
            '[' => {
                bracket(&mut chars, &mut out);
                atom = true;
            }
            '(' | '|' => {
                out.push(c);
                if c == '(' && chars.peek() == Some(&'?') {
                    out.push('?');
                    chars.next();
                }
                atom = false;
            }
            '*' | '+' | '?' if !atom => {
                out.push('\\');
                out.push(c);
                atom = true;
            }
            '{' => {
                let bound: String = chars.clone().take_while(|c| *c != '}').collect();
                let is_bound = bound.starts_with(|c: char| c.is_ascii_digit())
                    && bound.chars().all(|c| c.is_ascii_digit() || c == ',')
                    && chars.clone().any(|c| c == '}');
                if !(is_bound && atom) {
                    out.push('\\');
                }
                out.push('{');
                atom = true;
            }
            '}' => {
                // The end of a bound, or a literal; the engine takes both.
                out.push('}');
                atom = true;
            }
            '^' => {
                out.push(c);
                atom = false;
            }
            c => {
                out.push(c);
                atom = true;
            }
        }
    }
    out
}

/// Copies a bracket expression whose `[` was read.
fn bracket(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('[');
    if chars.peek() == Some(&'^') {
        out.push('^');
        chars.next();
    }
    // A `]` that comes first is a member.
    if chars.peek() == Some(&']') {
        out.push_str("\\]");
        chars.next();
    }
    while let Some(c) = chars.next() {
        match c {
            ']' => {
                out.push(']');
                return;
            }
            '[' => {
                // `[:digit:]` is a class; any other `[` a member.
                let mut ahead = chars.clone();
                if ahead.next() == Some(':') && ahead.clone().any(|c| c == ':') {
                    out.push('[');
                    for c in chars.by_ref() {
                        out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                } else {
                    out.push_str("\\[");
                }
            }
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => {
                out.push('\\');
                match chars.next() {
                    Some(n) => out.push(n),
                    None => out.push('\\'),
                }
            }
            c => out.push(c),
        }
    }
}

/// Compiles `/pattern/replacement/flags` (any character may stand for `/`; flags `i`, `g`, `s`).
pub fn compile_subst(text: &[u8]) -> Result<Subst, String> {
    let (&sep, rest) = text.split_first().ok_or("empty expression; write /pattern/replacement/flags")?;
    if sep.is_ascii_alphanumeric() || sep == b'\\' {
        return Err("the expression must begin with its separator, as in /pattern/replacement/".into());
    }
    let (pattern, rest) = until(rest, sep).ok_or("no separator behind the pattern")?;
    let (replacement, flags) = until(rest, sep).ok_or("no separator behind the replacement")?;
    let (mut ignore_case, mut global, mut newline) = (false, false, true);
    for f in flags.iter().filter(|f| !f.is_ascii_whitespace()) {
        match f {
            b'i' => ignore_case = true,
            b'g' => global = true,
            b's' => newline = false,
            other => return Err(format!("unknown flag `{}`; known are i, g and s", char::from(*other))),
        }
    }
    let regex = compile_with(&String::from_utf8_lossy(&pattern), ignore_case, newline)?;
    Ok(Subst { regex, replacement: Str::from(replacement), global })
}

/// Text up to the next `sep` that no backslash protects; `\sep` becomes `sep`.
fn until(text: &[u8], sep: u8) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while let Some(&c) = text.get(i) {
        if c == sep {
            return Some((out, text.get(i + 1..).unwrap_or_default()));
        }
        if c == b'\\' {
            match text.get(i + 1) {
                Some(n) if *n == sep => out.push(sep),
                Some(n) => out.extend_from_slice(&[c, *n]),
                None => out.push(c),
            }
            i += 2;
            continue;
        }
        out.push(c);
        i += 1;
    }
    None
}

impl Subst {
    /// `text` with the matches replaced; `replacement` is [`Subst::replacement`] with its
    /// variables expanded. `None` if nothing matched. The result is at most `max` bytes.
    pub fn apply(&self, text: &[u8], replacement: &[u8], max: usize) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len());
        let mut last = 0;
        let mut any = false;
        for groups in self.regex.captures_iter(text) {
            let Some(all) = groups.get(0) else { break };
            any = true;
            out.extend_from_slice(text.get(last..all.start()).unwrap_or_default());
            let mut i = 0;
            while let Some(&c) = replacement.get(i) {
                match (c, replacement.get(i + 1)) {
                    (b'\\', Some(d)) if d.is_ascii_digit() => {
                        if let Some(g) = groups.get(usize::from(d - b'0')) {
                            out.extend_from_slice(g.as_bytes());
                        }
                        i += 2;
                    }
                    (b'\\', Some(b'\\')) => {
                        out.push(b'\\');
                        i += 2;
                    }
                    _ => {
                        out.push(c);
                        i += 1;
                    }
                }
            }
            last = all.end();
            if !self.global || out.len() > max {
                break;
            }
        }
        if !any {
            return None;
        }
        out.extend_from_slice(text.get(last..).unwrap_or_default());
        out.truncate(max);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_posix_syntax() {
        for (pattern, text, want) in [
            ("^sip:.*@EXAMPLE\\.com$", "sip:a@example.com", true),
            ("[[:digit:]]+", "a1", true),
            ("[]x]", "]", true),
            ("[a[]", "[", true),
            ("a{2}", "aa", true),
            ("a{x", "a{x", true),
            ("{", "{", true),
            ("*a", "*a", true),
            ("(+49|0049)", "+49", true),
            ("[a&&b]", "&", true),
            ("\\<foo\\>", "a foo b", true),
            ("^(1|2)$", "3", false),
        ] {
            assert_eq!(compile_regex(pattern).unwrap().is_match(text.as_bytes()), want, "{pattern}");
        }
        assert!(compile_regex("(").is_err());
        assert!(compile_regex("(a)\\1").unwrap_err().contains("backreference"));
    }

    #[test]
    fn substitutes() {
        let s = compile_subst(b"/([0-9]+)/<\\1>/g").unwrap();
        assert_eq!(s.apply(b"a1b22", b"<\\1>", 100).unwrap(), b"a<1>b<22>");
        assert_eq!(s.apply(b"ab", b"x", 100), None);
        let s = compile_subst(b"#a\\#b#c#i").unwrap();
        assert_eq!(s.apply(b"xA#By", &s.replacement, 100).unwrap(), b"xcy");
        assert!(compile_subst(b"/a/b").is_err());
        assert!(compile_subst(b"/a/b/z").is_err());
    }
}
