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
use super::front::{Front, Nesting, ungroup};
use crate::script::ast::{Call, Case, CaseLabel, Config, Expr, Ident, RouteCall, RouteKind, StmtKind};
use crate::script::diagnostics::Diagnostics;
use crate::script::lex::Token;
use crate::script::source::{SourceMap, Span};

/// Parses the tokens of a whole configuration.
pub(super) fn parse(tokens: &[Token], map: &SourceMap, diags: &mut Diagnostics) -> Config {
    let mut parser = Parser {
        c: Cursor::new(tokens, map, diags),
        nesting: Nesting::default(),
        kind: (RouteKind::Request, true),
        flags: Vec::new(),
        port: None,
    };
    parser.config()
}

struct Parser<'a> {
    c: Cursor<'a>,
    /// What is open there.
    nesting: Nesting,
    /// Kind of the block being parsed, and whether it has a name.
    kind: (RouteKind, bool),
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

impl<'a> Front<'a> for Parser<'a> {
    fn cursor(&mut self) -> &mut Cursor<'a> {
        &mut self.c
    }

    fn place(&self) -> &Cursor<'a> {
        &self.c
    }

    fn nesting(&mut self) -> &mut Nesting {
        &mut self.nesting
    }

    fn at_item(&self) -> bool {
        Parser::at_item(self)
    }

    fn item(&mut self, config: &mut Config) -> Parsed<()> {
        Parser::item(self, config)
    }

    fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind> {
        Parser::statement_kind(self, start)
    }

    fn condition(&mut self) -> Parsed<Expr> {
        self.expression()
    }

    fn subject(&mut self) -> Parsed<Expr> {
        self.expression().map(ungroup)
    }

    fn label_value(&mut self) -> Parsed<CaseLabel> {
        Parser::label_value(self)
    }

    fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span) {
        Parser::check_label(self, before, label, span);
    }

    fn member(&mut self) -> Parsed<Call> {
        self.call()
    }

    fn route_call(&mut self) -> Parsed<RouteCall> {
        Parser::route_call(self)
    }

    fn is_core_parameter(word: &str) -> bool {
        params::find(word).is_some()
    }

    fn is_reserved(word: &str) -> bool {
        RESERVED.contains(&word)
    }

    fn resume_route(&mut self) -> Parsed<Ident> {
        self.literal_name("the name of the resume route")
    }
}
