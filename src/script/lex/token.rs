//! Tokens: what the lexer cuts the text into. A token holds no text of its own, only where it
//! stands; the parser reads names and strings from the [`SourceMap`].

use crate::script::ast::{AssignOp, BinaryOp, CompareOp};
use crate::script::source::{SourceMap, Span};

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// End of the main file.
    Eof,
    /// A word: letter or `_`, then letters, digits, `_`. Keywords too.
    Ident,
    /// A number.
    Int(i64),
    /// `"..."`, escapes still in it.
    Str,
    /// `'...'`.
    RawStr,
    /// `$name`, `$name(sub)`, `$(...)`.
    Var,
    /// An IP address, or a network with `/length` or `/mask`.
    Net,
    /// Something that starts like a number and is none, such as `3com` or `089`; part of a host name, or an error.
    Word,
    /// Something the lexer has reported already: nobody complains about it again.
    Bad,
    /// `(`
    LParen,
    /// `)`
    RParen,
    /// `{`
    LBrace,
    /// `}`
    RBrace,
    /// `[`
    LBracket,
    /// `]`
    RBracket,
    /// `;`
    Semi,
    /// `,`
    Comma,
    /// `:`
    Colon,
    /// `.`
    Dot,
    /// `=`, `+=` ...
    Assign(AssignOp),
    /// `==`, `=~` ...
    Compare(CompareOp),
    /// `&&`, `and`
    And,
    /// `||`, `or`
    Or,
    /// `!`, `not`
    Not,
    /// `+`, `<<` ...
    Op(BinaryOp),
    /// `~`
    Tilde,
    /// `@name.name[index]` (Kamailio)
    Select,
}

/// A token and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
    /// Where its text stands: elsewhere for what a preprocessor put in its place.
    pub text: Span,
}

impl Token {
    /// A token that stands where its text does.
    pub fn new(kind: Kind, span: Span) -> Token {
        Token { kind, span, text: span }
    }

    /// How a message names the token: "`;`", "the string `"abc"`", "the end of the file".
    pub fn describe(&self, map: &SourceMap) -> String {
        let text = map.text(self.text);
        match self.kind {
            Kind::Eof => "the end of the file".into(),
            Kind::Str | Kind::RawStr => format!("the string {}", shortened(text)),
            Kind::Int(_) | Kind::Word => format!("`{}`", shortened(text)),
            Kind::Var => format!("the variable `{}`", shortened(text)),
            Kind::Net => format!("the address `{text}`"),
            _ => format!("`{}`", shortened(text)),
        }
    }

    /// Whether the token is a string literal of either quoting.
    pub fn is_str(&self) -> bool {
        matches!(self.kind, Kind::Str | Kind::RawStr)
    }
}

/// The first line of a text, cut to a length that fits into a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None if line.len() < text.len() => format!("{line}..."),
        None => line.to_owned(),
    }
}
