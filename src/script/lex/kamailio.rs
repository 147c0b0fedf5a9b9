//! What Kamailio's lexer does otherwise: `//` comments, selects, wider numbers, an index behind a
//! variable, and directives of its preprocessor, at which it stops.

use super::{Kind, Lexer, Token, is_word};
use crate::script::diagnostics::{Diagnostic, Diagnostics};

/// Words behind `#!` or `!!` that are directives; any other `#!` line is a comment.
pub const DIRECTIVES: [&str; 28] = [
    "define",
    "def",
    "trydefine",
    "trydef",
    "redefine",
    "redef",
    "undefine",
    "undef",
    "tryundefine",
    "tryundef",
    "defexp",
    "defexps",
    "trydefexp",
    "trydefexps",
    "defenv",
    "defenvs",
    "trydefenv",
    "trydefenvs",
    "ifdef",
    "ifndef",
    "ifexp",
    "else",
    "endif",
    "subst",
    "substdef",
    "substdefs",
    "include_file",
    "import_file",
];

/// The directive that begins at byte `at` of a text with `#!` or `!!`, and where its word ends.
pub fn directive_at(text: &str, at: usize) -> Option<(&'static str, usize)> {
    let rest = text.as_bytes().get(at..)?;
    if !rest.starts_with(b"#!") && !rest.starts_with(b"!!") {
        return None;
    }
    let len = rest[2..].iter().take_while(|b| is_word(**b)).count();
    let word = text.get(at + 2..at + 2 + len)?;
    DIRECTIVES.iter().find(|d| **d == word).map(|d| (*d, at + 2 + len))
}

/// Kamailio's tokens of `text` from byte `from` on, up to the next directive of the preprocessor,
/// whose place is returned.
pub fn lex_part(file: u16, text: &str, from: usize, diags: &mut Diagnostics, out: &mut Vec<Token>) -> Option<usize> {
    let mut lexer = Lexer::new(file, text, diags, out);
    lexer.kamailio = true;
    lexer.at = lexer.at.max(from);
    lexer.run();
    let at = lexer.at;
    directive_at(text, at).map(|_| at)
}

/// Decimal, `0x1f`, octal with a leading 0, binary as `101b`; 64 bits.
pub(super) fn number(text: &str) -> Option<i64> {
    match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => i64::from_str_radix(text.get(2..)?, 16).ok(),
        [digits @ .., b'b'] if !digits.is_empty() && digits.iter().all(|b| matches!(b, b'0' | b'1')) => {
            i64::from_str_radix(text.get(..digits.len())?, 2).ok()
        }
        [b'0', _, ..] => i64::from_str_radix(text.get(1..)?, 8).ok(),
        _ => text.parse().ok(),
    }
}

impl Lexer<'_> {
    /// Whether a directive begins here.
    pub(super) fn directive(&self) -> bool {
        directive_at(self.text, self.at).is_some()
    }

    /// `@ruri.user`, `@hf["X-A"].body`
    pub(super) fn select(&mut self) {
        let mut end = self.at + 1;
        loop {
            match self.bytes.get(end) {
                Some(b) if is_word(*b) => end += 1,
                Some(b'.') if self.bytes.get(end + 1).is_some_and(|b| is_word(*b)) => end += 1,
                Some(b'[') => match self.bracketed(end) {
                    0 => break,
                    len => end += len,
                },
                _ => break,
            }
        }
        if end == self.at + 1 {
            let d = Diagnostic::error("E0008", self.span(self.at, end), "select without a name")
                .help("a select is written @name.name, such as @ruri.user");
            self.report(d);
            self.at = end;
            return;
        }
        self.push(Kind::Select, end - self.at);
    }

    /// Length of an index `[...]` at byte `at`, 0 if there is none.
    pub(super) fn index(&self, at: usize) -> usize {
        if self.bytes.get(at) == Some(&b'[') { self.bracketed(at) } else { 0 }
    }

    /// Length of `[...]` on one line; 0 if it is not closed there.
    fn bracketed(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let len = rest.iter().take_while(|b| !matches!(b, b']' | b'\n' | b';' | 0)).count();
        if rest.get(len) == Some(&b']') { len + 1 } else { 0 }
    }
}
