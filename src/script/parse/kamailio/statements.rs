//! Simple statements.

use super::Parser;
use crate::script::ast::{AssignOp, Expr, ExprKind, RouteKind, StmtKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::parse::several;

/// Core functions that may be called without parentheses.
const BARE: [&str; 7] =
    ["force_rport", "add_rport", "add_local_rport", "force_tcp_alias", "add_tcp_alias", "revert_uri", "userphone"];

impl Parser<'_> {
    /// Only picks the function: frames of what nests must stay small.
    pub(super) fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind> {
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
            word if BARE.contains(&word) && !matches!(next, Kind::LParen | Kind::Assign(_)) => {
                let call = self.bare_call()?;
                self.semicolon();
                Ok(StmtKind::Call(call))
            }
            _ => self.call_statement(start),
        }
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
}
