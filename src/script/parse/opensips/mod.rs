//! The OpenSIPS dialect, 2.2 to 4.1 in one grammar, with reprise's additions (`await`, the block
//! form of `async`, its own core parameters).
//!
//! `file` holds the top level, `globals` the core parameters, `routes` the route heads, `statements` and
//! `control` their bodies, `conditions` and `arithmetic` the two expression grammars, `calls` functions, sub-routes,
//! `async` and `launch`.

mod arithmetic;
mod calls;
mod conditions;
mod control;
mod file;
mod globals;
pub mod params;
mod routes;
mod statements;
#[cfg(test)]
mod tests;

use super::cursor::{Cursor, Parsed};
use crate::script::ast::{Config, Ident};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::lex::{Kind, Token};
use crate::script::source::{SourceMap, Span};

/// Parses the tokens of a whole configuration.
pub(super) fn parse(tokens: &[Token], map: &SourceMap, diags: &mut Diagnostics) -> Config {
    let mut parser = Parser {
        c: Cursor::new(tokens, map, diags),
        breakable: 0,
        expressions: 0,
        route: None,
        crooked: None,
        adrift: false,
    };
    parser.config()
}

struct Parser<'a> {
    c: Cursor<'a>,
    /// How many loops and switches are open: where `break` may stand.
    breakable: u32,
    /// How many expressions are open.
    expressions: u32,
    /// Opening brace of the route being parsed, or the closing one of the last.
    route: Option<Token>,
    /// The first block of the route whose `}` is not indented like its head: perhaps a brace is missing in it.
    crooked: Option<(Span, Span)>,
    /// A route was closed too early, so that its rest stands at the top level.
    adrift: bool,
}

/// Words of the language that cannot be names unless quoted.
const RESERVED: [&str; 24] = [
    "log", "error", "tag", "dns", "alias", "socket", "in", "for", "any", "frag", "sync", "async", "launch", "drop",
    "exit", "return", "if", "else", "switch", "case", "default", "while", "break", "route",
];

/// Words that open a route block. The last four are Kamailio's.
const ROUTE_WORDS: [&str; 12] = [
    "route",
    "branch_route",
    "failure_route",
    "onreply_route",
    "local_route",
    "error_route",
    "startup_route",
    "timer_route",
    "event_route",
    "request_route",
    "reply_route",
    "onsend_route",
];

/// The value of a boolean word.
fn boolean(word: &str) -> Option<i64> {
    match word {
        "yes" | "true" | "on" | "enable" => Some(1),
        "no" | "false" | "off" | "disable" => Some(0),
        _ => None,
    }
}

impl Parser<'_> {
    /// A literal name of a route: an identifier, a number or a string.
    fn route_name(&mut self, what: &str) -> Parsed<Ident> {
        let token = self.c.peek();
        let word = self.c.word();
        if RESERVED.contains(&word) {
            let d = Diagnostic::error("E0110", token.span, format!("`{word}` is a word of the language"))
                .label(format!("cannot be {what} like this"))
                .help(format!("write it in quotes: \"{word}\""));
            return self.c.error(d);
        }
        match token.kind {
            Kind::Ident | Kind::Int(0..) => {
                self.c.bump();
                Ok(self.c.ident(token))
            }
            Kind::Str | Kind::RawStr => {
                self.c.bump();
                let text = String::from_utf8_lossy(&self.c.str_lit(token).text).into_owned();
                Ok(Ident { text, span: token.span })
            }
            _ => self.c.unexpected(what),
        }
    }
}
