//! Blocks, simple statements, and how to go on after a bad one.

use super::{Parser, RESERVED};
use crate::script::ast::{AssignOp, Expr, ExprKind, RouteKind, Several, Stmt, StmtKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::several;

/// Core functions that may be called without parentheses.
const BARE: [&str; 7] =
    ["force_rport", "add_rport", "add_local_rport", "force_tcp_alias", "add_tcp_alias", "revert_uri", "userphone"];

impl Parser<'_> {
    /// `{ ... }`; the next token is the `{`. Errors in statements are reported and skipped.
    pub(super) fn block(&mut self) -> Parsed<Vec<Stmt>> {
        let open = self.c.expect(Kind::LBrace, "`{`")?;
        self.c.enter()?;
        let body = self.sequence(|_| false);
        self.c.leave();
        self.close_block(open);
        Ok(body)
    }

    pub(super) fn close_block(&mut self, open: Token) {
        if let Some(close) = self.c.eat(Kind::RBrace) {
            let crooked = self.c.begins_line(close.span) && self.c.indent(close.span) != self.c.indent(open.span);
            if crooked && self.crooked.is_none() {
                self.crooked = Some((open.span, close.span));
            }
            return;
        }
        let next = self.c.peek();
        let d = if next.kind == Kind::Eof {
            Diagnostic::error("E0103", open.span, "this block is never closed").label("no `}` for this `{`")
        } else {
            let found = self.c.found();
            Diagnostic::error("E0103", next.span, format!("`}}` is missing before {found}"))
                .label("this can only stand outside of a route")
                .related(open.span, "this block is still open")
        };
        let d = match self.crooked {
            Some((from, to)) => {
                d.related(from, "this block ends").related(to, "here, going by the braces but not by the indentation")
            }
            None => d,
        };
        let _: Parsed<()> = self.c.error(d);
    }

    /// Statements up to a `}`, the file's end, something of the top level, or what `stop` recognises.
    pub(super) fn sequence(&mut self, stop: impl Fn(&Self) -> bool) -> Vec<Stmt> {
        let mut list: Vec<Stmt> = Vec::new();
        let mut warned = false;
        while !matches!(self.c.kind(), Kind::RBrace | Kind::Eof) && !self.at_item() && !stop(self) {
            match self.statement() {
                Ok(Stmt { kind: StmtKind::Empty, .. }) => {}
                Ok(stmt) => {
                    if !warned && let Some(last) = list.last() {
                        warned = self.check_reached(last, &stmt);
                    }
                    list.push(stmt);
                }
                Err(_) => self.skip_statement(),
            }
        }
        list
    }

    /// Warns about a statement behind one that ends the block.
    fn check_reached(&mut self, last: &Stmt, stmt: &Stmt) -> bool {
        let why = match last.kind {
            StmtKind::Exit | StmtKind::Drop => "the script ends here",
            StmtKind::Return { .. } => "the route ends here",
            StmtKind::Several(Several { route: Some(_), .. }) => "the script ends here and goes on in the resume route",
            _ => return false,
        };
        if matches!(stmt.kind, StmtKind::Exit | StmtKind::Drop | StmtKind::Return { .. } | StmtKind::Break) {
            return false;
        }
        let d = Diagnostic::warning("W0103", stmt.span, "this statement is never reached").related(last.span, why);
        self.c.warn(d);
        true
    }

    /// After an error: goes on behind the next `;`, or at a brace.
    pub(super) fn skip_statement(&mut self) {
        loop {
            match self.c.kind() {
                Kind::Eof | Kind::LBrace | Kind::RBrace => return,
                Kind::Semi => {
                    self.c.bump();
                    return;
                }
                _ if self.at_item() || self.at_case() => return,
                _ => {}
            }
            self.c.bump();
        }
    }

    /// One statement. On `Err` something was taken, unless the next token ends the block.
    fn statement(&mut self) -> Parsed<Stmt> {
        let start = self.c.peek();
        let kind = self.statement_kind(start)?;
        Ok(Stmt { kind, span: self.c.since(start.span) })
    }

    /// Only picks the function: frames of what nests must stay small.
    fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind> {
        match start.kind {
            Kind::Semi => {
                self.c.bump();
                return Ok(StmtKind::Empty);
            }
            Kind::LBrace => return self.block().map(StmtKind::Block),
            Kind::Var => return self.assignment_statement(start),
            Kind::Ident => {}
            _ => return self.no_statement(),
        }
        let next = self.c.peek_at(1).kind;
        match self.c.word() {
            "if" => self.if_statement(),
            "while" => self.while_statement(),
            "switch" => self.switch_statement(),
            "exit" => self.end_statement(StmtKind::Exit),
            "drop" => self.end_statement(StmtKind::Drop),
            "return" => self.return_statement(),
            "break" => self.break_statement(),
            "await" if next == Kind::Ident => self.await_statement(),
            word if several::begins(word, next) => several::statement(self),
            "route" if next == Kind::LParen => self.route_statement(),
            word if several::begins(word, next) => several::statement(self),
            "case" | "default" if next != Kind::LParen => self.stray_case(),
            "else" => self.stray_else(),
            _ => self.call_statement(start),
        }
    }

    fn no_statement(&mut self) -> Parsed<StmtKind> {
        let result = self.c.unexpected("a statement");
        self.c.bump();
        result
    }

    /// `exit`, `drop`, with or without a code.
    fn end_statement(&mut self, kind: StmtKind) -> Parsed<StmtKind> {
        self.c.bump();
        let code = self.code()?;
        self.semicolon();
        // In the core's reply route a code of 0 keeps the reply from going on, as `drop` does.
        let zero = matches!(code, Some(Expr { kind: ExprKind::Int(0), .. }));
        if zero && self.kind == (RouteKind::OnReply, false) {
            return Ok(StmtKind::Drop);
        }
        Ok(kind)
    }

    /// `return`, with or without a code.
    fn return_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let code = self.code()?;
        self.semicolon();
        let zero = matches!(code, Some(Expr { kind: ExprKind::Int(0), .. }));
        if zero && self.kind == (RouteKind::OnReply, false) {
            return Ok(StmtKind::Drop);
        }
        Ok(StmtKind::Return { code, extra: Vec::new() })
    }

    /// A code behind `return` and the like, also in parentheses.
    fn code(&mut self) -> Parsed<Option<Expr>> {
        if self.c.kind() == Kind::LParen && self.c.peek_at(1).kind == Kind::RParen {
            self.c.bump();
            self.c.bump();
            return Ok(None);
        }
        if matches!(self.c.kind(), Kind::Semi | Kind::RBrace | Kind::Eof) || !self.c.same_line() {
            return Ok(None);
        }
        let mut expr = self.expression()?;
        while let ExprKind::Group(inner) = expr.kind {
            expr = *inner;
        }
        Ok(Some(expr))
    }

    fn break_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        if self.c.kind() == Kind::LParen && self.c.peek_at(1).kind == Kind::RParen {
            self.c.bump();
            self.c.bump();
        }
        self.semicolon();
        Ok(StmtKind::Break)
    }

    fn await_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let call = self.call()?;
        self.semicolon();
        Ok(StmtKind::Await(call))
    }

    fn route_statement(&mut self) -> Parsed<StmtKind> {
        let call = self.route_call()?;
        self.semicolon();
        Ok(StmtKind::Route(call))
    }

    fn stray_case(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let text = self.c.token_text(word);
        self.c.error(Diagnostic::error("E0117", word.span, format!("`{text}` outside of a switch")))
    }

    fn stray_else(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let d = Diagnostic::error("E0125", word.span, "`else` without an `if`")
            .help("one statement, or several in braces, stands between `if (...)` and `else`");
        let _: Parsed<()> = self.c.error(d);
        self.body().map(StmtKind::Block)
    }

    fn call_statement(&mut self, start: Token) -> Parsed<StmtKind> {
        let word = self.c.word();
        match self.c.peek_at(1).kind {
            Kind::LParen => {
                let call = self.call()?;
                self.semicolon();
                Ok(StmtKind::Call(call))
            }
            Kind::Assign(_) => {
                self.c.bump();
                let d = if super::params::find(word).is_some() {
                    Diagnostic::error("E0121", start.span, format!("core parameter `{word}` set in a route"))
                        .label("core parameters stand outside of routes")
                } else {
                    Diagnostic::error("E0123", start.span, format!("`{word}` cannot be assigned"))
                        .label("not a variable")
                        .help(format!("a variable is written with a `$`: `$var({word})` or `$avp({word})`"))
                };
                self.c.error(d)
            }
            _ if BARE.contains(&word) => {
                let call = self.bare_call()?;
                self.semicolon();
                Ok(StmtKind::Call(call))
            }
            _ => {
                self.c.bump();
                self.bare_word(start)
            }
        }
    }

    /// A word that is taken already and stands where a call should.
    pub(super) fn bare_word<T>(&mut self, token: Token) -> Parsed<T> {
        let word = self.c.token_text(token);
        let mut d = Diagnostic::error("E0107", token.span, format!("`{word}` without parentheses"));
        d = if RESERVED.contains(&word) {
            d.label("this word cannot stand here")
        } else {
            d.label("a function is called with parentheses, also without arguments").help(format!("write `{word}()`"))
        };
        self.c.error(d)
    }

    fn assignment_statement(&mut self, var: Token) -> Parsed<StmtKind> {
        match self.c.peek_at(1).kind {
            Kind::Assign(AssignOp::Set) => {
                let expr = self.expression()?;
                self.semicolon();
                Ok(match expr.kind {
                    ExprKind::Assign(assign) => StmtKind::Assign(assign),
                    kind => StmtKind::Expr(Expr { kind, span: expr.span }),
                })
            }
            Kind::Assign(_) => {
                self.c.bump();
                let op = self.c.bump();
                let (sign, name) = (self.c.token_text(op), self.c.token_text(var));
                let plain = sign.trim_end_matches('=').trim_end_matches(':');
                let d = Diagnostic::error("E0123", op.span, format!("`{sign}` is no operator of this language"));
                let d = match plain {
                    "" => d.help(format!("`$(avp(x)[*]) = ...` replaces all values; else write `{name} = ...`")),
                    _ => d.help(format!("write `{name} = {name} {plain} ...`")),
                };
                self.c.error(d)
            }
            Kind::Compare(_) => {
                self.c.bump();
                let op = self.c.bump();
                let d = Diagnostic::error("E0123", self.c.since(var.span), "a comparison is no statement");
                let d = if self.c.token_text(op) == "==" {
                    d.help("`=` assigns; a comparison belongs into `if (...)`")
                } else {
                    d
                };
                self.c.error(d)
            }
            _ => {
                self.c.bump();
                self.c.unexpected("`=` behind the variable")
            }
        }
    }

    /// The `;` that ends a statement. If it is missing, that is reported, and parsing goes on as if it stood here.
    pub(super) fn semicolon(&mut self) {
        if self.c.eat(Kind::Semi).is_some() {
            return;
        }
        let found = self.c.found();
        let same_line = self.c.same_line();
        let next = self.c.peek();
        let begins = matches!(next.kind, Kind::RBrace | Kind::Ident | Kind::Eof | Kind::Var);
        let d = if same_line && !begins {
            Diagnostic::error("E0102", next.span, format!("expected `;`, found {found}"))
        } else {
            Diagnostic::error("E0102", self.c.gap(), format!("`;` is missing before {found}"))
                .label("`;` expected here")
        };
        let _: Parsed<()> = self.c.error(d);
        if !begins && next.kind != Kind::LBrace {
            self.skip_statement();
        }
    }

    /// One statement or a block, as the body of `if` and the like.
    pub(super) fn body(&mut self) -> Parsed<Vec<Stmt>> {
        if self.c.kind() == Kind::LBrace {
            return self.block();
        }
        if matches!(self.c.kind(), Kind::RBrace | Kind::Eof) || self.at_item() {
            return self.c.unexpected("a statement");
        }
        self.c.enter()?;
        let stmt = self.statement();
        self.c.leave();
        stmt.map(|stmt| if matches!(stmt.kind, StmtKind::Empty) { Vec::new() } else { vec![stmt] })
    }
}
