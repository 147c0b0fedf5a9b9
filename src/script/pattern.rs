//! Regular expressions of scripts: POSIX extended syntax as the peers read it, compiled to an
//! engine whose time is linear in the text, and the `/pattern/replacement/flags` form.

use super::registry::Subst;
use crate::base::Str;
use regex::bytes::{Captures, Regex, RegexBuilder};

/// Bytes a compiled pattern may take.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles a pattern as the peers would read it: POSIX extended, case-insensitive. Back-references
/// in patterns are refused with a message, since matching must stay linear in the text.
pub fn compile_regex(pattern: &str) -> Result<Regex, String> {
    compile_with(pattern, true, false)
}

/// Compiles a pattern; `newline` lets `^` and `$` match at line ends and keeps `.` off them.
pub fn compile_with(pattern: &str, ignore_case: bool, newline: bool) -> Result<Regex, String> {
    let pattern = translate(pattern);
    let pattern = if newline { by_line(&pattern) } else { pattern };
    RegexBuilder::new(&pattern)
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

/// The pattern with every negated bracket expression (`[^,]`) kept off line ends, as POSIX has it
/// for patterns that see lines.
pub fn by_line(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                out.push_str(if negated { "^" } else { "" });
                // A `]` that comes first is a member.
                out.extend(chars.next_if_eq(&']'));
                out.push_str(if negated { "\n" } else { "" });
                let mut class = false;
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '[' => class = chars.peek() == Some(&':'),
                        ']' if class => class = false,
                        ']' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
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

/// Appends a replacement text: `\0`..`\9` are what the groups matched, `\n`, `\r`, `\t` and `\\`
/// the characters; any other backslash stays.
pub fn fill(groups: &Captures<'_>, replacement: &[u8], out: &mut Vec<u8>) {
    let mut bytes = replacement.iter().copied();
    while let Some(c) = bytes.next() {
        let escaped = if c == b'\\' { bytes.next() } else { None };
        match escaped {
            None => out.push(c),
            Some(d @ b'0'..=b'9') => {
                out.extend_from_slice(groups.get(usize::from(d - b'0')).map_or(b"", |g| g.as_bytes()));
            }
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'\\') => out.push(b'\\'),
            Some(other) => out.extend_from_slice(&[c, other]),
        }
    }
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
            fill(&groups, replacement, &mut out);
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
    fn lines_end_negated_brackets() {
        for (pattern, want) in [
            ("a[^ ]*b", "a[^\n ]*b"),
            ("[^]x]", "[^]\nx]"),
            ("[^[:digit:]a][^b]", "[^\n[:digit:]a][^\nb]"),
            ("\\[^a]", "\\[^a]"),
            ("[a^]", "[a^]"),
            ("[^\\]]", "[^\n\\]]"),
            ("[^", "[^\n"),
        ] {
            assert_eq!(by_line(pattern), want, "{pattern}");
        }
        let r = compile_with("c=[^x]*", true, true).unwrap();
        assert_eq!(r.find(b"c=IN IP4\r\nt=0").unwrap().as_bytes(), b"c=IN IP4\r");
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
