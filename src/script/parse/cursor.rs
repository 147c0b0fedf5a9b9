//! What the parsers of both dialects share: a place in the token stream, reports that do not
//! repeat themselves, and a bound on nesting.

use crate::script::ast::{Ident, StrLit, VarTok};
use crate::script::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::script::lex::{Kind, Token, decode};
use crate::script::source::{SourceMap, Span};

/// Deepest nesting of blocks and parentheses.
pub const MAX_DEPTH: u32 = 200;
/// Most links of chains that are open at the same time: operators of an expression, `else if`s of an `if`.
/// What is a chain in the text is nested in the tree.
pub const MAX_CHAIN: usize = 500;
/// Errors after which parsing stops.
const MAX_ERRORS: u32 = 100;

/// The thing cannot be parsed; why has been reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reported;

/// A parsed thing, or the fact that an error about it was reported.
pub type Parsed<T> = Result<T, Reported>;

/// A place in the token stream.
pub struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
    map: &'a SourceMap,
    diags: &'a mut Diagnostics,
    depth: u32,
    links: usize,
    errors: u32,
    /// Token the last error was about: nobody needs two errors about one place.
    complained: Option<usize>,
    /// No error is reported any more.
    stopped: bool,
}

impl<'a> Cursor<'a> {
    /// Stands before the first of `tokens`, whose last must be [`Kind::Eof`].
    pub fn new(tokens: &'a [Token], map: &'a SourceMap, diags: &'a mut Diagnostics) -> Self {
        Cursor { tokens, at: 0, map, diags, depth: 0, links: 0, errors: 0, complained: None, stopped: false }
    }

    /// The token `ahead` tokens from here; the end token from there on.
    pub fn peek_at(&self, ahead: usize) -> Token {
        const NOWHERE: Span = Span { file: 0, start: 0, end: 0 };
        const END: Token = Token { kind: Kind::Eof, span: NOWHERE, text: NOWHERE };
        self.tokens.get(self.at.saturating_add(ahead)).or(self.tokens.last()).copied().unwrap_or(END)
    }

    /// The next token.
    pub fn peek(&self) -> Token {
        self.peek_at(0)
    }

    /// The next token's kind.
    pub fn kind(&self) -> Kind {
        self.peek().kind
    }

    /// Takes the next token.
    pub fn bump(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::Eof {
            self.at += 1;
        }
        token
    }

    /// Takes the next token if it is of this kind.
    pub fn eat(&mut self, kind: Kind) -> Option<Token> {
        (self.kind() == kind).then(|| self.bump())
    }

    /// How many tokens were taken.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Where the token taken last stands.
    pub fn last_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map(|t| t.span).unwrap_or_default()
    }

    /// From `start` to the token taken last.
    pub fn since(&self, start: Span) -> Span {
        start.to(self.last_span())
    }

    /// The text a span covers.
    pub fn text(&self, span: Span) -> &'a str {
        self.map.text(span)
    }

    /// A token's text: for what a preprocessor put there, the text it stands for.
    pub fn token_text(&self, token: Token) -> &'a str {
        self.map.text(token.text)
    }

    /// The next token's word, or "" if it is none.
    pub fn word(&self) -> &'a str {
        self.word_at(0)
    }

    /// The word `ahead` tokens from here, or "".
    pub fn word_at(&self, ahead: usize) -> &'a str {
        let token = self.peek_at(ahead);
        if token.kind == Kind::Ident { self.map.text(token.text) } else { "" }
    }

    /// Takes the next token if it is this word.
    pub fn eat_word(&mut self, word: &str) -> Option<Token> {
        (self.word() == word).then(|| self.bump())
    }

    /// A token as a name.
    pub fn ident(&self, token: Token) -> Ident {
        Ident { text: self.map.text(token.text).to_owned(), span: token.span }
    }

    /// A token as a variable.
    pub fn var(&self, token: Token) -> VarTok {
        VarTok { text: self.map.text(token.text).to_owned(), span: token.span }
    }

    /// A token as a string.
    pub fn str_lit(&self, token: Token) -> StrLit {
        let text = decode(self.map.text(token.text));
        StrLit { text, span: token.span, raw: token.kind == Kind::RawStr }
    }

    /// Takes all string literals from here on as one; `None` if there is none.
    pub fn joined_strings(&mut self) -> Option<StrLit> {
        if !self.peek().is_str() {
            return None;
        }
        let first = self.bump();
        let mut all = self.str_lit(first);
        while self.peek().is_str() {
            let next = self.bump();
            let next = self.str_lit(next);
            all.text.extend_from_slice(&next.text);
            all.span = all.span.to(next.span);
            all.raw &= next.raw;
        }
        Some(all)
    }

    /// Whether the next token follows the one taken last without white space.
    pub fn touches(&self) -> bool {
        let (Some(last), next) = (self.at.checked_sub(1).and_then(|i| self.tokens.get(i)), self.peek()) else {
            return false;
        };
        let adjoin = |last: Span, next: Span| last.file == next.file && last.end == next.start && next.start < next.end;
        adjoin(last.text, next.text) || adjoin(last.span, next.span)
    }

    /// Whether the next token stands on the line on which the one taken last ends.
    pub fn same_line(&self) -> bool {
        let (last, next) = (self.last_span(), self.peek().span);
        let between = Span { start: last.end, end: next.start, ..last };
        last.file == next.file && !self.text(between).contains('\n')
    }

    /// Columns of white space in front of the line a span starts in.
    pub fn indent(&self, span: Span) -> usize {
        self.map.line(span).map_or(0, |(line, ..)| line.len() - line.trim_start().len())
    }

    /// Whether a span is the first thing on its line.
    pub fn begins_line(&self, span: Span) -> bool {
        self.map.line(span).is_some_and(|(line, _, range)| line.get(..range.start).is_some_and(|t| t.trim().is_empty()))
    }

    /// How messages name the next token.
    pub fn found(&self) -> String {
        self.peek().describe(self.map)
    }

    /// Just behind the token taken last: where something is missing.
    pub fn gap(&self) -> Span {
        let last = self.last_span();
        Span { start: last.end, ..last }
    }

    /// Reports an error, unless one about the same token was reported before. `Err` for the caller to return.
    pub fn error<T>(&mut self, d: Diagnostic) -> Parsed<T> {
        if self.stopped || self.complained == Some(self.at) || self.excused(d.span) {
            return Err(Reported);
        }
        self.complained = Some(self.at);
        let d = self.suspect_quotes(d);
        self.diags.push(d);
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            let span = self.peek().span;
            self.diags.push(Diagnostic::error("E0199", span, format!("stopped after {MAX_ERRORS} errors")));
            self.stop();
        }
        Err(Reported)
    }

    /// Whether the lexer has reported something here or between `span` and here: that explains the error.
    fn excused(&self, span: Span) -> bool {
        const FAR: usize = 16;
        let before = self.tokens.get(..self.at).unwrap_or_default().iter().rev().enumerate();
        self.kind() == Kind::Bad
            || before
                .take_while(|(i, t)| *i == 0 || (*i < FAR && t.span.file == span.file && t.span.start >= span.start))
                .any(|(_, t)| t.kind == Kind::Bad)
    }

    /// If the text before the error is a string over several lines, its quotes are the first suspect.
    fn suspect_quotes(&self, d: Diagnostic) -> Diagnostic {
        let before = self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).copied();
        for token in before.into_iter().chain([self.peek()]) {
            if token.is_str() && self.text(token.span).contains('\n') {
                return d.related(token.span, "this string goes over a line's end: is its closing quote missing?");
            }
        }
        d
    }

    /// Reports a warning or a note.
    pub fn warn(&mut self, d: Diagnostic) {
        debug_assert!(d.severity != Severity::Error);
        if !self.stopped {
            self.diags.push(d);
        }
    }

    /// "expected this, found that".
    pub fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let token = self.peek();
        if token.kind == Kind::Word {
            let text = self.text(token.text);
            let mut d = Diagnostic::error("E0007", token.span, format!("`{text}` is not a number"));
            d = match text.as_bytes() {
                [b'0', b'x' | b'X', ..] => d.label("not a hexadecimal number of at most 32 bits"),
                [b'0', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
                    d.label("a leading 0 means octal digits, 0 to 7")
                }
                t if t.iter().all(u8::is_ascii_digit) => d.label("numbers have 32 bits: at most 2147483647"),
                _ => d.label("a word starts with a letter; a string needs quotes"),
            };
            return self.error(d);
        }
        let found = self.found();
        let mut d = Diagnostic::error("E0101", token.span, format!("expected {expected}, found {found}"));
        let here = self.text(Span { end: token.span.end.saturating_add(1), ..token.span });
        if here == "//" {
            d = d.help("a comment starts with `#`");
        }
        self.error(d)
    }

    /// Takes a token of this kind, or reports what was expected.
    pub fn expect(&mut self, kind: Kind, expected: &str) -> Parsed<Token> {
        match self.eat(kind) {
            Some(token) => Ok(token),
            None => self.unexpected(expected),
        }
    }

    /// Takes the closing `)` or `]` of `open`. If it is missing, that is reported, and parsing goes on as if it stood here.
    pub fn close(&mut self, open: Token) {
        let (kind, text) = if open.kind == Kind::LBracket { (Kind::RBracket, "]") } else { (Kind::RParen, ")") };
        if self.eat(kind).is_some() {
            return;
        }
        let found = self.found();
        let d = Diagnostic::error("E0105", self.gap(), format!("`{text}` is missing before {found}"))
            .label(format!("`{text}` expected here"))
            .related(open.span, "to close this");
        let _: Parsed<()> = self.error(d);
    }

    /// Goes one level deeper, to be undone with [`Cursor::leave`]; too deep is an error that ends parsing.
    pub fn enter(&mut self) -> Parsed<()> {
        if self.depth >= MAX_DEPTH {
            return self.too_deep(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        self.depth += 1;
        Ok(())
    }

    /// Undoes one [`Cursor::enter`].
    pub fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Adds one link to the chains that are open; too many are an error that ends parsing.
    pub fn link(&mut self, what: &str) -> Parsed<()> {
        self.links += 1;
        if self.links <= MAX_CHAIN {
            return Ok(());
        }
        self.too_deep(format!("more than {MAX_CHAIN} {what} in one chain"))
    }

    /// How many links the open chains have: to be given back with [`Cursor::unlink`].
    pub fn links(&self) -> usize {
        self.links
    }

    /// Ends the chains opened since [`Cursor::links`] said `links`.
    pub fn unlink(&mut self, links: usize) {
        self.links = links;
    }

    fn too_deep<T>(&mut self, message: String) -> Parsed<T> {
        let d = Diagnostic::error("E0106", self.peek().span, message).help("move parts of it into routes of their own");
        let result = self.error(d);
        self.stop();
        result
    }

    /// Goes to the end and reports nothing more.
    fn stop(&mut self) {
        self.stopped = true;
        self.at = self.tokens.len().saturating_sub(1);
    }
}
