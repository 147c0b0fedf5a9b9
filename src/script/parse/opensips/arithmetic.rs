//! Values: what stands on the right of an assignment and in `[ ... ]`.
//!
//! `* / % + -` share one level and associate to the left (`1 + 2 * 3` is 9); the bit operators
//! bind weaker; a comparison weakest.

use super::Parser;
use crate::script::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::boolean;

impl Parser<'_> {
    /// A whole value.
    pub(super) fn value(&mut self) -> Parsed<Expr> {
        self.expression(Self::compared)
    }

    fn compared(&mut self) -> Parsed<Expr> {
        let left = self.bits()?;
        let Kind::Compare(op) = self.c.kind() else { return Ok(left) };
        if !matches!(left.kind, ExprKind::Var(_)) {
            let d = Diagnostic::error("E0307", left.span, "the left side of a comparison must be a variable");
            return self.c.error(d);
        }
        self.c.bump();
        let right = self.right_side()?;
        let span = left.span.to(right.span);
        Ok(Expr { kind: ExprKind::Compare { op, left: Box::new(left), right: Box::new(right) }, span })
    }

    fn bits(&mut self) -> Parsed<Expr> {
        let mut left = self.terms()?;
        while let Kind::Op(
            op @ (BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::Shl | BinaryOp::Shr),
        ) = self.c.kind()
        {
            self.c.bump();
            self.c.link("operators")?;
            let right = self.terms()?;
            left = binary(op, left, right);
        }
        Ok(left)
    }

    fn terms(&mut self) -> Parsed<Expr> {
        let mut left = self.term()?;
        while let Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod)) =
            self.c.kind()
        {
            self.c.bump();
            self.c.link("operators")?;
            let right = self.term()?;
            left = binary(op, left, right);
        }
        Ok(left)
    }

    /// Only picks the function: frames of what nests must stay small.
    fn term(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
        match start.kind {
            Kind::LParen => self.group_term(start),
            Kind::Tilde => self.signed_term(start, UnaryOp::BitNot),
            Kind::Op(BinaryOp::Sub) if !matches!(self.c.peek_at(1).kind, Kind::Int(_)) => {
                self.signed_term(start, UnaryOp::Neg)
            }
            Kind::Ident => self.word_term(start),
            _ => self.plain_term(start),
        }
    }

    fn group_term(&mut self, open: Token) -> Parsed<Expr> {
        self.c.bump();
        let inner = self.value()?;
        self.c.close(open);
        Ok(Expr { kind: ExprKind::Group(Box::new(inner)), span: self.c.since(open.span) })
    }

    fn signed_term(&mut self, sign: Token, op: UnaryOp) -> Parsed<Expr> {
        self.c.bump();
        self.c.enter()?;
        let operand = self.term();
        self.c.leave();
        let operand = Box::new(operand?);
        Ok(Expr { kind: ExprKind::Unary { op, operand }, span: self.c.since(sign.span) })
    }

    /// A variable, string or number.
    fn plain_term(&mut self, start: Token) -> Parsed<Expr> {
        let kind = match start.kind {
            Kind::Var => {
                self.c.bump();
                if matches!(self.c.kind(), Kind::LBracket | Kind::LBrace) && self.c.touches() {
                    return self.index_without_parens(start);
                }
                ExprKind::Var(self.c.var(start))
            }
            Kind::Str | Kind::RawStr => {
                self.c.bump();
                self.no_second_string()?;
                ExprKind::Str(self.c.str_lit(start))
            }
            Kind::Net => {
                let text = self.c.text(start.span);
                let d = Diagnostic::error("E0110", start.span, format!("the address `{text}` is not in quotes"))
                    .help(format!("write \"{text}\""));
                return self.c.error(d);
            }
            _ => match self.number()? {
                Some(n) => ExprKind::Int(n),
                None => return self.c.unexpected("a value"),
            },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    fn word_term(&mut self, start: Token) -> Parsed<Expr> {
        let kind = self.word_value_kind(start)?;
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    fn word_value_kind(&mut self, start: Token) -> Parsed<ExprKind> {
        let word = self.c.word();
        match (word, self.c.peek_at(1).kind) {
            ("route", Kind::LParen) => return self.route_call().map(ExprKind::Route),
            ("await", Kind::Ident) => {
                self.c.bump();
                return self.call().map(ExprKind::Await);
            }
            (_, Kind::LParen) => return self.call().map(ExprKind::Call),
            _ => {}
        }
        if matches!(word, "null" | "NULL") {
            self.c.bump();
            return Ok(ExprKind::Null);
        }
        if let Some(n) = boolean(word) {
            self.c.bump();
            return Ok(ExprKind::Int(n));
        }
        let d = Diagnostic::error("E0110", start.span, format!("the text `{word}` is not in quotes"))
            .help(format!("write \"{word}\", or `$var({word})` if a variable is meant"));
        self.c.error(d)
    }

    /// Reports a string that directly follows another one.
    pub(super) fn no_second_string(&mut self) -> Parsed<()> {
        if !self.c.peek().is_str() {
            return Ok(());
        }
        let first = self.c.last_span();
        let d = Diagnostic::error("E0111", self.c.peek().span, "a string directly behind a string")
            .related(first, "the first one")
            .help("join them with `+`; only modparam and xlog join strings by themselves");
        self.c.error(d)
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, span }
}
