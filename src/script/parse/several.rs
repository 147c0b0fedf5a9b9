//! `async_all(ROUTE[, SECONDS]) { f(...); g(...); }`, `await_all[(SECONDS)] { ... }`, and the same with `any`: one
//! grammar for both dialects.

use super::cursor::Parsed;
use super::front::Front;
use crate::script::ast::{Call, Ident, Several, StmtKind, Until};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::source::Span;

/// Most functions that one statement starts.
pub const MAX_MEMBERS: usize = 32;

const WORDS: [&str; 4] = ["async_all", "async_any", "await_all", "await_any"];

/// Words that begin something else than a call, although a parenthesis may follow.
const NO_CALLS: [&str; 13] = [
    "if", "while", "for", "switch", "route", "async", "launch", "await", "return", "exit", "drop", "break", "continue",
];

const HELP: &str = "the block holds calls of functions that wait, and nothing else; what comes before or after \
                    belongs in front of the statement, or behind it";

/// Whether a statement of this kind begins with this word, followed by this token.
pub(super) fn begins(word: &str, next: Kind) -> bool {
    matches!(next, Kind::LParen | Kind::LBrace) && WORDS.contains(&word)
}

/// The statement; the next token is its word.
pub(super) fn statement<'a>(f: &mut impl Front<'a>) -> Parsed<StmtKind> {
    let start = f.cursor().bump();
    let word = f.cursor().ident(start);
    let until = if word.text.ends_with("any") { Until::Any } else { Until::All };
    let (route, timeout) =
        if word.text.starts_with("async") { resumed(f, &word)? } else { (None, in_place(f, &word)?) };
    let head = f.cursor().since(start.span);
    if f.cursor().kind() != Kind::LBrace {
        let found = f.cursor().found();
        let d = Diagnostic::error("E0130", f.cursor().gap(), format!("`{}` without a block", word.text))
            .label(format!("`{{` expected here, found {found}"))
            .help(usage(&word.text));
        return f.cursor().error(d);
    }
    let members = block(f, &word, head)?;
    Ok(StmtKind::Several(Several { word, until, members, route, timeout }))
}

fn usage(word: &str) -> String {
    if word.starts_with("async") {
        format!("write `{word}(ROUTE) {{ f(...); g(...); }}` or `{word}(ROUTE, SECONDS) {{ ... }}`")
    } else {
        format!("write `{word} {{ f(...); g(...); }}` or `{word}(SECONDS) {{ ... }}`")
    }
}

/// `(ROUTE[, SECONDS])`
fn resumed<'a>(f: &mut impl Front<'a>, word: &Ident) -> Parsed<(Option<Ident>, Option<u32>)> {
    let Some(open) = f.cursor().eat(Kind::LParen) else {
        let in_place = word.text.replace("async", "await");
        let d = Diagnostic::error("E0130", word.span, format!("`{}` without a resume route", word.text))
            .label("where the script goes on is missing")
            .help(format!("{}; `{in_place} {{ ... }}` goes on behind the block", usage(&word.text)));
        return f.cursor().error(d);
    };
    let route = f.resume_route()?;
    let timeout = if f.cursor().eat(Kind::Comma).is_some() { Some(seconds(f, word)?) } else { None };
    f.cursor().close(open);
    Ok((Some(route), timeout.filter(|n| *n > 0)))
}

/// `[(SECONDS)]`
fn in_place<'a>(f: &mut impl Front<'a>, word: &Ident) -> Parsed<Option<u32>> {
    let Some(open) = f.cursor().eat(Kind::LParen) else { return Ok(None) };
    let token = f.cursor().peek();
    if matches!(token.kind, Kind::Ident | Kind::Str | Kind::RawStr) {
        let resumed = word.text.replace("await", "async");
        let d = Diagnostic::error("E0130", token.span, format!("`{}` has no resume route", word.text))
            .label("a number of seconds, or nothing, is expected")
            .help(format!("it goes on behind the block; `{resumed}(ROUTE) {{ ... }}` goes on in a route"));
        return f.cursor().error(d);
    }
    let n = seconds(f, word)?;
    f.cursor().close(open);
    Ok(Some(n).filter(|n| *n > 0))
}

fn seconds<'a>(f: &mut impl Front<'a>, word: &Ident) -> Parsed<u32> {
    let token = f.cursor().peek();
    if let Kind::Int(n) = token.kind
        && let Ok(n) = u32::try_from(n)
    {
        f.cursor().bump();
        return Ok(n);
    }
    let d =
        Diagnostic::error("E0130", token.span, format!("the timeout of `{}` is not a number of seconds", word.text))
            .label("a literal number is expected; 0 means the default");
    f.cursor().error(d)
}

/// `{ f(...); g(...); }`
fn block<'a>(f: &mut impl Front<'a>, word: &Ident, head: Span) -> Parsed<Vec<Call>> {
    let open = f.cursor().expect(Kind::LBrace, "`{`")?;
    let mut members: Vec<Call> = Vec::new();
    let mut good = true;
    while !f.at_block_end() {
        if f.cursor().eat(Kind::Semi).is_some() {
            continue;
        }
        let full = members.len() >= MAX_MEMBERS;
        match member(f, word, head, full) {
            Ok(call) => members.push(call),
            Err(_) => {
                good = false;
                skip(f);
            }
        }
    }
    if members.is_empty() && good && f.cursor().kind() == Kind::RBrace {
        let d = Diagnostic::error("E0130", f.cursor().peek().span, format!("the block of `{}` is empty", word.text));
        let _: Parsed<()> = f.cursor().error(d.related(head, "this starts the functions of the block").help(HELP));
    }
    f.close_block(open);
    Ok(members)
}

fn member<'a>(f: &mut impl Front<'a>, word: &Ident, head: Span, full: bool) -> Parsed<Call> {
    let token = f.cursor().peek();
    let first = f.cursor().word();
    let what = if WORDS.contains(&first) {
        format!("`{first}` in the block of `{}`", word.text)
    } else if token.kind != Kind::Ident || NO_CALLS.contains(&first) {
        let found = f.cursor().found();
        format!("{found} in the block of `{}`", word.text)
    } else if full {
        format!("more than {MAX_MEMBERS} calls in the block of `{}`", word.text)
    } else {
        let call = f.member()?;
        f.semicolon();
        return Ok(call);
    };
    let d = Diagnostic::error("E0130", token.span, what);
    f.cursor().error(d.related(head, "this starts the functions of the block").help(HELP))
}

/// Goes behind what cannot be a member: to its `;`, or behind its block.
fn skip<'a>(f: &mut impl Front<'a>) {
    let mut depth = 0u32;
    loop {
        match f.cursor().kind() {
            Kind::Eof => return,
            Kind::RBrace if depth == 0 => return,
            Kind::RBrace => depth -= 1,
            Kind::LBrace => depth += 1,
            Kind::Semi if depth > 0 => {}
            _ if depth == 0 && f.at_block_end() => return,
            _ => {}
        }
        let taken = f.cursor().bump().kind;
        if depth == 0 && matches!(taken, Kind::Semi | Kind::RBrace) {
            return;
        }
    }
}
