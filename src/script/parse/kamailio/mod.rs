//! The Kamailio dialect, 5.6 to 6.x in one grammar.
//!
//! `file` holds the top level, `globals` the core parameters, `routes` the route heads, `statements` and `control` their
//! bodies, `expressions` the one expression grammar, `calls` functions and sub-routes. Defines and conditions are the
//! preprocessor's.

mod calls;
mod control;
mod expressions;
mod file;
mod globals;
pub mod params;
mod routes;
mod statements;
#[cfg(test)]
mod tests;

use super::cursor::{Cursor, Parsed};
use crate::script::ast::{Config, Ident, RouteKind};
use crate::script::diagnostics::Diagnostics;
use crate::script::lex::{Kind, Token};
use crate::script::source::{SourceMap, Span};

/// Parses the tokens of a whole configuration.
pub(super) fn parse(tokens: &[Token], map: &SourceMap, diags: &mut Diagnostics) -> Config {
    let mut parser = Parser {
        c: Cursor::new(tokens, map, diags),
        breakable: 0,
        expressions: 0,
        kind: (RouteKind::Request, true),
        route: None,
        crooked: None,
        adrift: false,
        flags: Vec::new(),
        port: None,
    };
    parser.config()
}

struct Parser<'a> {
    c: Cursor<'a>,
    /// How many loops and switches are open.
    breakable: u32,
    /// How many expressions are open.
    expressions: u32,
    /// Kind of the block being parsed, and whether it has a name.
    kind: (RouteKind, bool),
    /// Opening brace of the route being parsed, or the closing one of the last.
    route: Option<Token>,
    /// The first block of the route whose `}` is not indented like its head: perhaps a brace is missing in it.
    crooked: Option<(Span, Span)>,
    /// A route was closed too early, so that its rest stands at the top level.
    adrift: bool,
    /// Names declared by `flags`.
    flags: Vec<(String, i64)>,
    /// The port of sockets that name none.
    port: Option<(u16, Span)>,
}

/// Words of the language that cannot be called.
const RESERVED: [&str; 12] =
    ["if", "else", "switch", "case", "default", "while", "break", "return", "exit", "drop", "route", "mod"];

/// Words that open a route block.
const ROUTE_WORDS: [&str; 8] = [
    "route",
    "request_route",
    "reply_route",
    "onreply_route",
    "failure_route",
    "branch_route",
    "onsend_route",
    "event_route",
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
    /// A literal name: an identifier, a number or a string.
    fn literal_name(&mut self, what: &str) -> Parsed<Ident> {
        let token = self.c.peek();
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
