//! The lexer: one file's text into tokens. It reports what is wrong with characters, strings,
//! comments and numbers, goes on behind it, and never fails as a whole.

mod kamailio;
mod strings;
mod token;

pub use kamailio::{DIRECTIVES, directive_at, lex_part};
pub use strings::decode;
pub use token::{Kind, Token};

use super::ast::{AssignOp, BinaryOp, CompareOp};
use super::diagnostics::{Diagnostic, Diagnostics};
use super::source::Span;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Findings of one file after which the rest of it is not worth reading.
const MAX_FINDINGS: u32 = 100;

/// Longest text looked at as an address: the longest IPv6 address has 45 characters.
const MAX_ADDRESS: usize = 48;
/// The same for IPv4.
const MAX_IPV4: usize = 16;

/// Cuts `text`, the file number `file`, into tokens, which are added to `out` (without an end token).
pub fn lex(file: u16, text: &str, diags: &mut Diagnostics, out: &mut Vec<Token>) {
    Lexer::new(file, text, diags, out).run();
}

struct Lexer<'a> {
    file: u16,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    diags: &'a mut Diagnostics,
    out: &'a mut Vec<Token>,
    findings: u32,
    /// The first string that goes over a line's end: the one to suspect when quotes do not pair.
    tall: Option<Span>,
    /// By Kamailio's rules, up to the next directive of its preprocessor.
    kamailio: bool,
}

impl<'a> Lexer<'a> {
    fn new(file: u16, text: &'a str, diags: &'a mut Diagnostics, out: &'a mut Vec<Token>) -> Lexer<'a> {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let bytes = text.as_bytes();
        Lexer { file, text, bytes, at, diags, out, findings: 0, tall: None, kamailio: false }
    }

    fn run(&mut self) {
        while self.findings < MAX_FINDINGS {
            let Some(byte) = self.byte(0) else { return };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => self.at += 1,
                _ if self.kamailio && self.directive() => return,
                b'/' if self.kamailio && self.byte(1) == Some(b'/') => self.line_comment(),
                b'@' if self.kamailio => self.select(),
                b'#' => self.line_comment(),
                b'/' if self.byte(1) == Some(b'*') => self.block_comment(),
                b'"' | b'\'' => self.string(byte),
                b'$' => self.variable(),
                b'0'..=b'9' => self.number(),
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
                b':' if self.byte(1) == Some(b':') && self.ipv6() => {}
                b'\\' if self.continuation() => {}
                0 => self.nul(),
                _ => self.punctuation(byte),
            }
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    /// Adds a token of `len` bytes and steps behind it.
    fn push(&mut self, kind: Kind, len: usize) {
        let span = self.span(self.at, self.at + len);
        self.out.push(Token::new(kind, span));
        self.at += len;
    }

    /// Reports what is wrong, and leaves a token in its place.
    fn report(&mut self, d: Diagnostic) {
        self.findings += 1;
        self.out.push(Token::new(Kind::Bad, d.span));
        self.diags.push(d);
    }

    /// Length of the run of bytes from here that satisfy `f`.
    fn run_of(&self, f: impl Fn(u8) -> bool) -> usize {
        self.bytes[self.at..].iter().take_while(|b| f(**b)).count()
    }

    /// The same for what may be an address: no longer than `most`.
    fn address_run(&self, most: usize, f: impl Fn(u8) -> bool) -> usize {
        self.bytes[self.at..].iter().take(most).take_while(|b| f(**b)).count()
    }

    fn line_comment(&mut self) {
        self.at = memchr::memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |n| self.at + n);
    }

    /// `/* ... */`; an inner `/*` is counted.
    fn block_comment(&mut self) {
        let start = self.at;
        let mut depth = 0u32;
        while let Some(byte) = self.byte(0) {
            match (byte, self.byte(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        let span = self.span(start, start + 2);
        let mut d = Diagnostic::error("E0005", span, "comment is never closed").label("it starts here");
        if depth > 1 {
            d = d.help(format!("comments nest: {depth} `*/` are missing"));
        }
        self.report(d);
    }

    fn string(&mut self, quote: u8) {
        let start = self.at;
        let mut end = start + 1;
        let mut tall = false;
        while let Some(&b) = self.bytes.get(end) {
            match b {
                b if b == quote => {
                    let kind = if quote == b'"' { Kind::Str } else { Kind::RawStr };
                    self.push(kind, end + 1 - start);
                    if tall && self.tall.is_none() {
                        self.tall = self.out.last().map(|t| t.span);
                    }
                    return;
                }
                b'\\' if quote == b'"' => end += 1,
                b'\n' => tall = true,
                0 => break,
                _ => {}
            }
            end += 1;
        }
        if self.bytes.get(end) == Some(&0) {
            self.at = end;
            return self.nul();
        }
        self.at = self.bytes.len();
        let q = char::from(quote);
        let mut d = Diagnostic::error("E0004", self.span(start, start + 1), "string is never closed")
            .label(format!("no closing {q} follows"));
        if let Some(tall) = self.tall {
            d = d.related(tall, "this string goes over a line's end: is its closing quote missing?");
        }
        self.report(d);
    }

    /// `$name`, `$name(sub)` or `$(...)`.
    fn variable(&mut self) {
        let start = self.at;
        if self.byte(1) == Some(b'{') {
            let len = self.run_of(|b| b != b'}' && b != b'\n');
            let len = len + usize::from(self.byte(len) == Some(b'}'));
            let d = Diagnostic::error("E0012", self.span(start, start + len), "placeholder of a template")
                .label("`${...}` is not part of the language")
                .help("run the file through its template tool first; a variable is written `$name` or `$(name)`");
            self.report(d);
            self.at += len;
            return;
        }
        let mut name = self.bytes[start + 1..].iter().take_while(|b| is_name(**b)).count();
        if self.kamailio && name == 0 && self.byte(1) == Some(b'?') {
            name = 1;
        }
        let mut end = start + 1 + name;
        if self.bytes.get(end) == Some(&b'(') {
            match closing(&self.bytes[end..]) {
                Some(len) => end += len,
                None => {
                    let d = Diagnostic::error("E0008", self.span(start, end + 1), "variable is not closed")
                        .label("no `)` for this `(` on the line");
                    self.report(d);
                    let stop = |b: &u8| b.is_ascii_whitespace() || *b == b';' || *b == 0;
                    end += self.bytes[end..].iter().take_while(|b| !stop(b)).count();
                    self.at = end;
                    return;
                }
            }
        } else if name == 0 {
            let d = Diagnostic::error("E0008", self.span(start, start + 1), "variable without a name")
                .label("a name or `(` must follow");
            self.report(d);
            self.at += 1;
            return;
        }
        if self.kamailio {
            end += self.index(end);
        }
        self.push(Kind::Var, end - start);
    }

    fn number(&mut self) {
        if self.ipv4() || self.ipv6() {
            return;
        }
        let len = self.run_of(is_word);
        let text = &self.text[self.at..self.at + len];
        if self.kamailio {
            return self.push(kamailio::number(text).map_or(Kind::Word, Kind::Int), len);
        }
        let value = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => i64::from_str_radix(&text[2..], 16).ok().filter(|n| *n <= 0xffff_ffff),
            [b'0', _, ..] => i64::from_str_radix(&text[1..], 8).ok().filter(|n| *n <= 0xffff_ffff),
            _ => text.parse().ok().filter(|n: &i64| *n <= 1 << 31),
        };
        match value {
            // Numbers have 32 bits: 0xffffffff is -1. 2147483648 stays, for a minus in front of it.
            Some(n) if n > 1 << 31 => self.push(Kind::Int(n - (1 << 32)), len),
            Some(n) => self.push(Kind::Int(n), len),
            None => self.push(Kind::Word, len),
        }
    }

    fn word(&mut self) {
        if self.bytes[self.at].is_ascii_hexdigit() && self.ipv6() {
            return;
        }
        let len = self.run_of(is_word);
        let kind = match &self.bytes[self.at..self.at + len] {
            b"and" => Kind::And,
            b"or" => Kind::Or,
            b"not" => Kind::Not,
            _ => Kind::Ident,
        };
        self.push(kind, len);
    }

    /// `1.2.3.4`, `1.2.3.0/24`, `1.2.3.0/255.255.255.0`.
    fn ipv4(&mut self) -> bool {
        let len = self.address_run(MAX_IPV4, |b| b.is_ascii_digit() || b == b'.');
        let is_v4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
        if len < 7 || !is_v4(&self.text[self.at..self.at + len]) || self.byte(len).is_some_and(is_word) {
            return false;
        }
        self.push(Kind::Net, len + self.mask(len, is_v4));
        true
    }

    /// An IPv6 address without brackets.
    fn ipv6(&mut self) -> bool {
        // The first part of an address has at most four digits.
        if !self.bytes[self.at..].iter().take(5).any(|b| *b == b':') {
            return false;
        }
        let len = self.address_run(MAX_ADDRESS, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
        let text = &self.text[self.at..self.at + len];
        if len < 2 || text.bytes().filter(|b| *b == b':').count() < 2 || self.byte(len).is_some_and(is_word) {
            return false;
        }
        let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
        if !is_v6(text) {
            return false;
        }
        self.push(Kind::Net, len + self.mask(len, is_v6));
        true
    }

    /// Length of a `/len` or `/mask` that stands `ahead` bytes from here.
    fn mask(&self, ahead: usize, is_address: impl Fn(&str) -> bool) -> usize {
        if self.byte(ahead) != Some(b'/') {
            return 0;
        }
        let start = self.at + ahead + 1;
        let is_part = |b: &&u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':');
        let len = self.bytes[start..].iter().take(MAX_ADDRESS).take_while(is_part).count();
        let text = &self.text[start..start + len];
        let length = text.parse::<u8>().is_ok_and(|n| n <= 128);
        if length || is_address(text) { len + 1 } else { 0 }
    }

    /// `\` before a newline.
    fn continuation(&mut self) -> bool {
        let len = match (self.byte(1), self.byte(2)) {
            (Some(b'\n'), _) => 2,
            (Some(b'\r'), Some(b'\n')) => 3,
            _ => return false,
        };
        self.at += len;
        true
    }

    fn nul(&mut self) {
        let span = self.span(self.at, self.at + 1);
        self.report(Diagnostic::error("E0003", span, "zero byte in the file").label("this is no text file"));
        self.at = self.bytes.len();
    }

    fn punctuation(&mut self, byte: u8) {
        let next = self.byte(1);
        let two = |kind| (kind, 2);
        let one = |kind| (kind, 1);
        let (kind, len) = match (byte, next) {
            (b'(', _) => one(Kind::LParen),
            (b')', _) => one(Kind::RParen),
            (b'{', _) => one(Kind::LBrace),
            (b'}', _) => one(Kind::RBrace),
            (b'[', _) => one(Kind::LBracket),
            (b']', _) => one(Kind::RBracket),
            (b';', _) => one(Kind::Semi),
            (b',', _) => one(Kind::Comma),
            (b'.', _) => one(Kind::Dot),
            (b':', Some(b'=')) => two(Kind::Assign(AssignOp::Reset)),
            (b':', _) => one(Kind::Colon),
            (b'=', Some(b'=')) => two(Kind::Compare(CompareOp::Eq)),
            (b'=', Some(b'~')) => two(Kind::Compare(CompareOp::Match)),
            (b'=', _) => one(Kind::Assign(AssignOp::Set)),
            (b'!', Some(b'=')) => two(Kind::Compare(CompareOp::Ne)),
            (b'!', Some(b'~')) => two(Kind::Compare(CompareOp::NoMatch)),
            (b'!', _) => one(Kind::Not),
            (b'<', Some(b'=')) => two(Kind::Compare(CompareOp::Le)),
            (b'<', Some(b'<')) => two(Kind::Op(BinaryOp::Shl)),
            (b'<', _) => one(Kind::Compare(CompareOp::Lt)),
            (b'>', Some(b'=')) => two(Kind::Compare(CompareOp::Ge)),
            (b'>', Some(b'>')) => two(Kind::Op(BinaryOp::Shr)),
            (b'>', _) => one(Kind::Compare(CompareOp::Gt)),
            (b'&', Some(b'&')) => two(Kind::And),
            (b'|', Some(b'|')) => two(Kind::Or),
            (b'+', Some(b'=')) => two(Kind::Assign(AssignOp::Add)),
            (b'-', Some(b'=')) => two(Kind::Assign(AssignOp::Sub)),
            (b'*', Some(b'=')) => two(Kind::Assign(AssignOp::Mul)),
            (b'/', Some(b'=')) => two(Kind::Assign(AssignOp::Div)),
            (b'%', Some(b'=')) => two(Kind::Assign(AssignOp::Mod)),
            (b'&', Some(b'=')) => two(Kind::Assign(AssignOp::BitAnd)),
            (b'|', Some(b'=')) => two(Kind::Assign(AssignOp::BitOr)),
            (b'^', Some(b'=')) => two(Kind::Assign(AssignOp::BitXor)),
            (b'+', _) => one(Kind::Op(BinaryOp::Add)),
            (b'-', _) => one(Kind::Op(BinaryOp::Sub)),
            (b'*', _) => one(Kind::Op(BinaryOp::Mul)),
            (b'/', _) => one(Kind::Op(BinaryOp::Div)),
            (b'%', _) => one(Kind::Op(BinaryOp::Mod)),
            (b'&', _) => one(Kind::Op(BinaryOp::BitAnd)),
            (b'|', _) => one(Kind::Op(BinaryOp::BitOr)),
            (b'^', _) => one(Kind::Op(BinaryOp::BitXor)),
            (b'~', _) => one(Kind::Tilde),
            _ => return self.stray(),
        };
        self.push(kind, len);
    }

    /// A character that starts no token.
    fn stray(&mut self) {
        let Some(c) = self.text.get(self.at..).and_then(|t| t.chars().next()) else {
            self.at += 1;
            return;
        };
        let span = self.span(self.at, self.at + c.len_utf8());
        let mut d = Diagnostic::error("E0006", span, format!("unexpected character `{}`", c.escape_debug()));
        d = match c {
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' => d.help("a string stands in plain quotes: \""),
            '\u{2018}' | '\u{2019}' => d.help("a raw string stands in plain quotes: '"),
            '\u{a0}' => d.help("this is a no-break space; use a plain one"),
            '\\' => d.help("outside of a string, `\\` may only end a line"),
            _ => d,
        };
        self.report(d);
        self.at += c.len_utf8();
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// What a variable's name is made of: `$msg.branch`, `$T_reply_code`.
fn is_name(b: u8) -> bool {
    is_word(b) || b == b'.'
}

/// Length up to and with the `)` that closes the `(` at the start; it must stand on the same line.
fn closing(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0u32;
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(i + 1),
            b')' => depth -= 1,
            b'\n' | 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
