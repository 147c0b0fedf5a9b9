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
use super::front::{Front, Nesting};
use crate::script::ast::{Call, Case, CaseLabel, Config, Expr, Ident, RouteCall, StmtKind};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::lex::Token;
use crate::script::source::{SourceMap, Span};

/// Parses the tokens of a whole configuration.
pub(super) fn parse(tokens: &[Token], map: &SourceMap, diags: &mut Diagnostics) -> Config {
    let mut parser = Parser { c: Cursor::new(tokens, map, diags), nesting: Nesting::default() };
    parser.items()
}

struct Parser<'a> {
    c: Cursor<'a>,
    /// What is open there.
    nesting: Nesting,
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
        Parser::condition(self)
    }

    fn subject(&mut self) -> Parsed<Expr> {
        self.switch_subject()
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
        self.literal_route()
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
        self.literal_name(what)
    }
}
