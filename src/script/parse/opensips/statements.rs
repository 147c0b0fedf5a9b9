//! Simple statements.

use super::Parser;
use crate::script::ast::{Assign, StmtKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::parse::several;

impl Parser<'_> {
    /// Only picks the function: frames of what nests must stay small.
    pub(super) fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind> {
        match start.kind {
            Kind::Semi => {
                self.c.bump();
                return Ok(StmtKind::Empty);
            }
            Kind::LBrace => return self.block().map(StmtKind::Block),
            Kind::Var => return self.assignment_statement(),
            Kind::Ident => {}
            _ => return self.no_statement(),
        }
        let next = self.c.peek_at(1).kind;
        match self.c.word() {
            "if" => self.if_statement(),
            "while" => self.while_statement(),
            "for" => self.for_statement(),
            "switch" => self.switch_statement(),
            "exit" => self.end_statement(StmtKind::Exit),
            "drop" => self.end_statement(StmtKind::Drop),
            "return" => self.return_statement(),
            "break" | "esac" => self.break_statement(),
            "async" if next == Kind::LParen => self.async_statement(),
            "launch" if next == Kind::LParen => self.launch_statement(),
            "await" if next == Kind::Ident => self.await_statement(),
            word if several::begins(word, next) => several::statement(self),
            "route" if next == Kind::LParen => self.route_statement(),
            "case" | "default" if next != Kind::LParen => self.stray_case(),
            "else" => self.stray_else(),
            _ => self.call_statement(start),
        }
    }

    fn end_statement(&mut self, kind: StmtKind) -> Parsed<StmtKind> {
        self.c.bump();
        if let Some(open) = self.c.eat(Kind::LParen) {
            self.c.close(open);
        }
        self.semicolon();
        Ok(kind)
    }

    fn break_statement(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        if self.nesting.breakable == 0 {
            let d = Diagnostic::error("E0113", word.span, "`break` outside of a loop or switch")
                .help("`return` leaves the route, `exit` the script");
            let _: Parsed<()> = self.c.error(d);
        }
        self.semicolon();
        Ok(StmtKind::Break)
    }

    fn assignment_statement(&mut self) -> Parsed<StmtKind> {
        let token = self.c.bump();
        match self.c.kind() {
            Kind::Assign(_) => {
                let assign = self.assignment(token)?;
                self.semicolon();
                Ok(StmtKind::Assign(assign))
            }
            Kind::Compare(_) => {
                let op = self.c.bump();
                let d = Diagnostic::error("E0123", self.c.since(token.span), "a comparison is no statement")
                    .help("`=` assigns; a comparison belongs into `if (...)`");
                let d = if self.c.text(op.span) == "==" { d } else { Diagnostic { help: None, ..d } };
                self.c.error(d)
            }
            Kind::LBracket | Kind::LBrace if self.c.touches() => self.index_without_parens(token),
            _ => self.c.unexpected("an assignment operator behind the variable"),
        }
    }

    /// `$name(x)[0]`: an index or transformation needs the long form.
    pub(super) fn index_without_parens<T>(&mut self, var: Token) -> Parsed<T> {
        let text = self.c.text(var.span).trim_start_matches('$');
        let start = self.c.peek();
        let (end, what) = if start.kind == Kind::LBracket {
            (Kind::RBracket, "an index")
        } else {
            (Kind::RBrace, "a transformation")
        };
        let mut ahead = 1;
        while !matches!(self.c.peek_at(ahead).kind, Kind::Semi | Kind::Eof) && self.c.peek_at(ahead).kind != end {
            ahead += 1;
        }
        let span = start.span.to(self.c.peek_at(ahead).span);
        let mut d = Diagnostic::error("E0008", span, format!("{what} behind a variable without parentheses"));
        if self.c.peek_at(ahead).kind == end {
            d = d.help(format!("write `$({text}{})`", self.c.text(span)));
        } else {
            ahead = 0;
        }
        let result = self.c.error(d);
        for _ in 0..=ahead {
            self.c.bump();
        }
        result
    }

    /// `$x op value`; the variable is taken, the operator is next.
    pub(super) fn assignment(&mut self, target: Token) -> Parsed<Assign> {
        let Kind::Assign(op) = self.c.kind() else { return self.c.unexpected("an assignment operator") };
        self.c.bump();
        let value = self.value()?;
        Ok(Assign { target: self.c.var(target), op, value: Box::new(value), span: self.c.since(target.span) })
    }
}
