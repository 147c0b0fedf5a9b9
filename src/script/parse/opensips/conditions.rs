//! Conditions: what stands in `if (...)` and `while (...)`.
//!
//! `&&` and `||` have the same precedence and associate to the left; `!` binds tighter, and a
//! comparison tighter still: `!$a == 1 || f() && g()` is `((!($a == 1)) || f()) && g()`.

use super::Parser;
use crate::script::ast::{AssignOp, Call, CompareOp, Expr, ExprKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::{Front, boolean};
use crate::script::source::Span;

/// 2.2's operands without `$`.
const LEGACY: [&str; 12] = [
    "uri", "from_uri", "to_uri", "method", "status", "src_ip", "dst_ip", "src_port", "dst_port", "proto", "af",
    "retcode",
];

impl Parser<'_> {
    /// A whole condition.
    pub(super) fn condition(&mut self) -> Parsed<Expr> {
        self.expression(Self::chain)
    }

    /// Parses an expression one level deeper. Its chains count until the outermost expression ends.
    pub(super) fn expression(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        self.c.enter()?;
        let links = self.c.links();
        self.nesting.expressions += 1;
        let result = parse(self);
        self.nesting.expressions = self.nesting.expressions.saturating_sub(1);
        if self.nesting.expressions == 0 {
            self.c.unlink(links);
        }
        self.c.leave();
        result
    }

    fn chain(&mut self) -> Parsed<Expr> {
        let mut left = self.negation()?;
        let mut or: Option<Span> = None;
        while matches!(self.c.kind(), Kind::And | Kind::Or) {
            let op = self.c.bump();
            if op.kind == Kind::Or {
                or = Some(op.span);
            } else if let Some(or) = or.take() {
                self.surprising_and(op.span, or);
            }
            self.c.link("operators")?;
            let right = self.negation()?;
            left = joined(op.kind, left, right);
        }
        Ok(left)
    }

    fn surprising_and(&mut self, and: Span, or: Span) {
        let d = Diagnostic::warning("W0102", and, "`&&` behind `||` without parentheses")
            .label("this takes everything to the left of it as its left side")
            .related(or, "both have the same precedence, unlike in most languages")
            .help("say with parentheses what is meant");
        self.c.warn(d);
    }

    fn negation(&mut self) -> Parsed<Expr> {
        let mut nots = Vec::new();
        while let Some(not) = self.c.eat(Kind::Not) {
            self.c.link("operators")?;
            nots.push(not.span);
        }
        self.operand().map(|expr| negated(nots, expr))
    }

    /// Only picks the function: frames of what nests must stay small.
    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
        match start.kind {
            Kind::LParen => self.group(start),
            Kind::LBracket => self.test(start),
            Kind::LBrace => self.block_operand(start),
            Kind::Var => {
                self.c.bump();
                self.after_variable(start)
            }
            Kind::Ident => self.word_operand(start),
            _ => self.literal(start),
        }
    }

    fn group(&mut self, open: Token) -> Parsed<Expr> {
        self.c.bump();
        let inner = self.condition()?;
        self.close_group(open, &inner)?;
        let span = self.c.since(open.span);
        self.not_compared(span)?;
        Ok(Expr { kind: ExprKind::Group(Box::new(inner)), span })
    }

    fn test(&mut self, open: Token) -> Parsed<Expr> {
        self.c.bump();
        let inner = self.value()?;
        self.c.close(open);
        let span = self.c.since(open.span);
        self.not_compared(span)?;
        Ok(Expr { kind: ExprKind::Test(Box::new(inner)), span })
    }

    fn block_operand(&mut self, open: Token) -> Parsed<Expr> {
        let block = self.block()?;
        Ok(Expr { kind: ExprKind::Block(block), span: self.c.since(open.span) })
    }

    /// A literal alone: a number decides by being zero or not, a text cannot.
    fn literal(&mut self, start: Token) -> Parsed<Expr> {
        if matches!(start.kind, Kind::Str | Kind::RawStr | Kind::Net) {
            self.c.bump();
            self.literal_left(start.span)?;
            let d = Diagnostic::error("E0109", start.span, "a text is no condition")
                .help("compare a variable with it: `$var(x) == \"...\"`");
            return self.c.error(d);
        }
        let Some(n) = self.number()? else { return self.c.unexpected("a condition") };
        let span = self.c.since(start.span);
        self.literal_left(span)?;
        self.no_arithmetic(span)?;
        Ok(Expr { kind: ExprKind::Int(n), span })
    }

    /// Reports a comparison or arithmetic with a group at `left`.
    fn not_compared(&mut self, left: Span) -> Parsed<()> {
        if !matches!(self.c.kind(), Kind::Compare(_)) {
            return self.no_arithmetic(left);
        }
        let d = Diagnostic::error("E0307", self.c.peek().span, "an expression on the left of a comparison")
            .related(left, "only a variable can stand here")
            .help("assign the value to a variable first");
        self.c.error(d)
    }

    /// The `)` behind a group. Something else may be there because the condition inside is not one.
    fn close_group(&mut self, open: Token, inner: &Expr) -> Parsed<()> {
        if matches!(self.c.kind(), Kind::Assign(_)) {
            let span = inner.span;
            let d = Diagnostic::error("E0123", span, "this cannot be assigned").label("not a variable");
            return self.c.error(d);
        }
        self.c.close(open);
        Ok(())
    }

    /// A variable that is taken: alone, assigned or compared.
    fn after_variable(&mut self, token: Token) -> Parsed<Expr> {
        match self.c.kind() {
            Kind::Assign(op) => {
                let assign = self.assignment(token)?;
                let span = assign.span;
                if op == AssignOp::Set && matches!(assign.value.kind, ExprKind::Int(_) | ExprKind::Str(_)) {
                    let d = Diagnostic::warning("W0101", span, "assignment of a constant as a condition")
                        .label("`=` assigns")
                        .help("did you mean `==`?");
                    self.c.warn(d);
                }
                return Ok(Expr { kind: ExprKind::Assign(assign), span });
            }
            Kind::LBracket | Kind::LBrace if self.c.touches() => return self.index_without_parens(token),
            _ => {}
        }
        let left = Expr { kind: ExprKind::Var(self.c.var(token)), span: token.span };
        self.no_arithmetic(token.span)?;
        self.comparison(left)
    }

    /// `left op right`, or `left` alone.
    fn comparison(&mut self, left: Expr) -> Parsed<Expr> {
        let Kind::Compare(op) = self.c.kind() else { return Ok(left) };
        self.c.bump();
        let right = self.right_side()?;
        self.no_arithmetic(right.span)?;
        let span = left.span.to(right.span);
        Ok(Expr { kind: ExprKind::Compare { op, left: Box::new(left), right: Box::new(right) }, span })
    }

    /// The right side of a comparison.
    pub(super) fn right_side(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
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
                self.c.bump();
                ExprKind::Net(self.c.text(start.span).to_owned())
            }
            Kind::LBracket if self.c.peek_at(1).kind == Kind::Net => {
                self.c.bump();
                let address = self.c.bump();
                self.c.close(start);
                ExprKind::Net(self.c.text(address.span).to_owned())
            }
            Kind::Ident if self.c.peek_at(1).kind == Kind::LParen => {
                let d = Diagnostic::error("E0112", start.span, "a call on the right of a comparison")
                    .help("assign its result to a variable first: `$var(rc) = f();`");
                return self.c.error(d);
            }
            Kind::Ident => self.right_word(start),
            _ => match self.number()? {
                Some(n) => ExprKind::Int(n),
                None => return self.c.unexpected("a value to compare with"),
            },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    fn right_word(&mut self, start: Token) -> ExprKind {
        self.c.bump();
        match self.c.text(start.span) {
            "null" | "NULL" => ExprKind::Null,
            "myself" => ExprKind::Myself,
            "max_len" => ExprKind::Legacy("max_len".into()),
            word => match boolean(word) {
                Some(n) => ExprKind::Int(n),
                None => ExprKind::Ident(word.to_owned()),
            },
        }
    }

    /// An operand that begins with a word.
    fn word_operand(&mut self, start: Token) -> Parsed<Expr> {
        let next = self.c.peek_at(1).kind;
        match (self.c.word(), next) {
            ("route", Kind::LParen) => self.route_operand(start),
            ("await", Kind::Ident) => {
                self.c.bump();
                self.call_operand(start, ExprKind::Await)
            }
            (_, Kind::LParen) => self.call_operand(start, ExprKind::Call),
            _ => self.bare_operand(start),
        }
    }

    fn route_operand(&mut self, start: Token) -> Parsed<Expr> {
        let call = self.route_call()?;
        Ok(Expr { kind: ExprKind::Route(call), span: self.c.since(start.span) })
    }

    /// A word that is neither called nor a keyword: a boolean, or one of 2.2's operands.
    fn bare_operand(&mut self, start: Token) -> Parsed<Expr> {
        let word = self.c.word();
        let next = self.c.peek_at(1).kind;
        self.c.bump();
        if let Some(n) = boolean(word) {
            self.literal_left(start.span)?;
            return Ok(Expr { kind: ExprKind::Int(n), span: start.span });
        }
        if LEGACY.contains(&word) {
            let kind = ExprKind::Legacy(word.to_owned());
            return self.comparison(Expr { kind, span: start.span });
        }
        if word == "msg" && self.c.kind() == Kind::Colon && self.c.word_at(1) == "len" {
            self.c.bump();
            self.c.bump();
            return self.comparison(Expr { kind: ExprKind::Legacy("msg:len".into()), span: self.c.since(start.span) });
        }
        if matches!(word, "null" | "NULL" | "myself" | "max_len") {
            self.literal_left(start.span)?;
        }
        if matches!(next, Kind::Compare(_)) {
            let d = Diagnostic::error("E0307", start.span, format!("`{word}` on the left of a comparison"))
                .label("only a variable can stand here");
            let d = match crate::base::names::suggest(word, LEGACY) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => self.swapped(d, start.span),
            };
            return self.c.error(d);
        }
        self.bare_word(start)
    }

    /// A call whose result decides; it cannot be compared.
    fn call_operand(&mut self, start: Token, kind: fn(Call) -> ExprKind) -> Parsed<Expr> {
        let call = self.call()?;
        let span = self.c.since(start.span);
        if matches!(self.c.kind(), Kind::Compare(_) | Kind::Op(_)) {
            let d = Diagnostic::error("E0307", self.c.peek().span, "the result of a call cannot be compared directly")
                .related(span, "this call")
                .help("assign it to a variable first: `$var(rc) = f(); if ($var(rc) == 1) ...`");
            return self.c.error(d);
        }
        Ok(Expr { kind: kind(call), span })
    }

    /// Reports a comparison whose left side, at `left`, is a literal.
    fn literal_left(&mut self, left: Span) -> Parsed<()> {
        if !matches!(self.c.kind(), Kind::Compare(_)) {
            return Ok(());
        }
        let d = Diagnostic::error("E0307", left, "a literal on the left of a comparison")
            .label("the variable must stand here");
        let d = self.swapped(d, left);
        self.c.error(d)
    }

    /// Suggests to swap the sides, if the right one is a variable.
    fn swapped(&self, d: Diagnostic, left: Span) -> Diagnostic {
        let (op, right) = (self.c.peek(), self.c.peek_at(1));
        let Kind::Compare(kind) = op.kind else { return d };
        let mirrored = match kind {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => ">",
            CompareOp::Gt => "<",
            CompareOp::Le => ">=",
            CompareOp::Ge => "<=",
            CompareOp::Match | CompareOp::NoMatch => return d,
        };
        if right.kind != Kind::Var {
            return d;
        }
        d.help(format!("swap the sides: `{} {mirrored} {}`", self.c.text(right.span), self.c.text(left)))
    }

    /// Reports an arithmetic operator where a condition stands, behind what is at `left`.
    fn no_arithmetic(&mut self, left: Span) -> Parsed<()> {
        let op = self.c.peek();
        if !matches!(op.kind, Kind::Op(_) | Kind::Tilde) {
            return Ok(());
        }
        let sign = self.c.text(op.span);
        let d = Diagnostic::error("E0108", op.span, format!("`{sign}` in a condition"))
            .related(left, "arithmetic with this")
            .help("`[ ... ]` around the arithmetic tests whether it is not zero; or assign the result to a variable first");
        self.c.error(d)
    }
}

/// `left && right` or `left || right`.
fn joined(op: Kind, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    let (l, r) = (Box::new(left), Box::new(right));
    Expr { kind: if op == Kind::And { ExprKind::And(l, r) } else { ExprKind::Or(l, r) }, span }
}

/// An operand behind its `!`s, which stand at `nots`.
fn negated(mut nots: Vec<Span>, mut expr: Expr) -> Expr {
    while let Some(span) = nots.pop() {
        let span = span.to(expr.span);
        expr = Expr { kind: ExprKind::Not(Box::new(expr)), span };
    }
    expr
}
