//! The expression grammar: one for values and conditions. From the weakest to the strongest:
//! `=`, `||`, `&&`, `|`, `&`, `^`, `<< >>`, `== != =~ eq ne ieq ine`, `> < >= <=`, `+ -`, `* / mod`, `! ~ -`,
//! `defined`, casts. `!$x == 2` is `(!$x) == 2`.

use super::Parser;
use crate::script::ast::{Assign, AssignOp, BinaryOp, CompareOp, Expr, ExprKind, StrLit, UnaryOp, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::boolean;
use crate::script::source::Span;

/// Operands of the core, without `$`.
const OPERANDS: [&str; 18] = [
    "uri",
    "status",
    "from_uri",
    "to_uri",
    "method",
    "src_ip",
    "dst_ip",
    "src_port",
    "dst_port",
    "proto",
    "af",
    "snd_ip",
    "snd_port",
    "to_ip",
    "to_port",
    "snd_proto",
    "to_proto",
    "snd_af",
];

/// An operator between two operands.
#[derive(Clone, Copy)]
enum Operator {
    Or,
    And,
    Binary(BinaryOp),
    Compare(CompareOp),
    /// `eq`, `ne`: as texts.
    Texts(CompareOp),
    /// `ieq`, `ine`: as numbers.
    Numbers(CompareOp),
}

impl Parser<'_> {
    /// A whole expression. Its chains count until the outermost expression ends.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.c.enter()?;
        let links = self.c.links();
        self.nesting.expressions += 1;
        let result = self.level(1);
        self.nesting.expressions = self.nesting.expressions.saturating_sub(1);
        if self.nesting.expressions == 0 {
            self.c.unlink(links);
        }
        self.c.leave();
        result
    }

    /// Operators from this level on.
    fn level(&mut self, least: u8) -> Parsed<Expr> {
        let mut left = self.operand()?;
        while let Some((level, op)) = self.operator()? {
            if level < least {
                break;
            }
            let token = self.c.bump();
            self.c.link("operators")?;
            let right = if matches!(op, Operator::Compare(_)) && self.bare_right(&left) {
                self.bare_word_right(&left)
            } else {
                self.c.enter()?;
                let right = self.level(level + 1);
                self.c.leave();
                right?
            };
            left = self.joined(op, token.span, left, right)?;
        }
        Ok(left)
    }

    /// The operator that stands here, and how strongly it binds.
    fn operator(&mut self) -> Parsed<Option<(u8, Operator)>> {
        use Operator::{And, Binary, Compare, Numbers, Or, Texts};
        let token = self.c.peek();
        Ok(Some(match token.kind {
            Kind::Or => (1, Or),
            Kind::And => (2, And),
            Kind::Op(BinaryOp::BitOr) => (3, Binary(BinaryOp::BitOr)),
            Kind::Op(BinaryOp::BitAnd) => (4, Binary(BinaryOp::BitAnd)),
            Kind::Op(BinaryOp::BitXor) => (5, Binary(BinaryOp::BitXor)),
            Kind::Op(op @ (BinaryOp::Shl | BinaryOp::Shr)) => (6, Binary(op)),
            Kind::Compare(op @ (CompareOp::Eq | CompareOp::Ne | CompareOp::Match)) => (7, Compare(op)),
            Kind::Compare(CompareOp::NoMatch) => {
                let d = Diagnostic::error("E0123", token.span, "`!~` is no operator of this language")
                    .help("write `!($x =~ \"...\")`");
                return self.c.error(d);
            }
            Kind::Compare(op) => (8, Compare(op)),
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => (9, Binary(op)),
            Kind::Op(op @ (BinaryOp::Mul | BinaryOp::Div)) => (10, Binary(op)),
            Kind::Op(BinaryOp::Mod) => {
                let d = Diagnostic::error("E0123", token.span, "`%` is no operator of this language")
                    .help("the remainder is written `mod`");
                return self.c.error(d);
            }
            Kind::Dot => {
                let d = Diagnostic::error("E0123", token.span, "`.` is no operator of this language")
                    .help("texts are joined with `+`");
                return self.c.error(d);
            }
            Kind::Ident => match self.c.word() {
                "eq" => (7, Texts(CompareOp::Eq)),
                "ne" => (7, Texts(CompareOp::Ne)),
                "ieq" => (7, Numbers(CompareOp::Eq)),
                "ine" => (7, Numbers(CompareOp::Ne)),
                "mod" => (10, Binary(BinaryOp::Mod)),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// Whether a bare word stands on the right of a core operand: `method == INVITE`.
    fn bare_right(&self, left: &Expr) -> bool {
        matches!(left.kind, ExprKind::Legacy(_))
            && self.c.kind() == Kind::Ident
            && self.c.peek_at(1).kind != Kind::LParen
            && !matches!(self.c.word(), "myself")
            && boolean(self.c.word()).is_none()
    }

    fn bare_word_right(&mut self, left: &Expr) -> Expr {
        let token = self.c.bump();
        let mut text = self.c.token_text(token).to_owned();
        while self.c.kind() == Kind::Dot && self.c.touches() {
            self.c.bump();
            text.push('.');
            if let Some(next) = self.c.eat(Kind::Ident) {
                text.push_str(self.c.token_text(next));
            }
        }
        let word = if let ExprKind::Legacy(word) = &left.kind { word.as_str() } else { "" };
        let family = match text.as_str() {
            "inet" | "INET" | "ipv4" | "IPv4" | "IPV4" => Some(2),
            "inet6" | "INET6" | "ipv6" | "IPv6" | "IPV6" => Some(10),
            _ => None,
        };
        match (word, family) {
            ("proto" | "snd_proto", _) => text.make_ascii_lowercase(),
            ("af" | "snd_af", Some(n)) => return Expr { kind: ExprKind::Int(n), span: self.c.since(token.span) },
            _ => {}
        }
        Expr { kind: ExprKind::Ident(text), span: self.c.since(token.span) }
    }

    /// `left op right`, with what can be known of their types.
    fn joined(&mut self, op: Operator, at: Span, left: Expr, right: Expr) -> Parsed<Expr> {
        let span = left.span.to(right.span);
        let (l, r) = (Box::new(operand(left)), Box::new(operand(right)));
        let kind = match op {
            Operator::Or => ExprKind::Or(l, r),
            Operator::And => ExprKind::And(l, r),
            Operator::Binary(op) => {
                self.check_types(op, at, &l, &r)?;
                ExprKind::Binary { op, left: l, right: r }
            }
            Operator::Compare(op @ (CompareOp::Eq | CompareOp::Ne)) if is_null(&r) => {
                // Whether it is defined, not what it holds.
                let defined = Expr { kind: ExprKind::Unary { op: UnaryOp::Defined, operand: l }, span };
                match op {
                    CompareOp::Eq => ExprKind::Not(Box::new(defined)),
                    _ => defined.kind,
                }
            }
            Operator::Compare(op) => {
                self.check_order(op, &l, &r)?;
                ExprKind::Compare { op, left: l, right: r }
            }
            Operator::Texts(op) => {
                ExprKind::Compare { op, left: cast(UnaryOp::ToStr, l), right: cast(UnaryOp::ToStr, r) }
            }
            Operator::Numbers(op) => {
                ExprKind::Compare { op, left: cast(UnaryOp::ToInt, l), right: cast(UnaryOp::ToInt, r) }
            }
        };
        Ok(Expr { kind, span })
    }

    /// Arithmetic with a text where a number must be.
    fn check_types(&mut self, op: BinaryOp, at: Span, left: &Expr, right: &Expr) -> Parsed<()> {
        let number = matches!(left.kind, ExprKind::Int(_));
        let (bad, help) = match (&left.kind, &right.kind) {
            (ExprKind::Str(_), _) if op != BinaryOp::Add => (left.span, "a text can only be joined with `+`"),
            (_, ExprKind::Str(_)) if number || op != BinaryOp::Add => {
                (right.span, "the left side decides: `(str)` in front of it makes it a text")
            }
            _ => return Ok(()),
        };
        let d =
            Diagnostic::error("E0302", bad, "a text where a number must stand").related(at, "the operator").help(help);
        self.c.error(d)
    }

    /// Ordering is for numbers; a number is not compared with a text that is none.
    fn check_order(&mut self, op: CompareOp, left: &Expr, right: &Expr) -> Parsed<()> {
        let text = |e: &Expr| matches!(e.kind, ExprKind::Str(_)).then_some(e.span);
        let ordering = matches!(op, CompareOp::Lt | CompareOp::Gt | CompareOp::Le | CompareOp::Ge);
        let bad = match (&left.kind, &right.kind) {
            _ if ordering => text(left).or(text(right)),
            (ExprKind::Int(_), ExprKind::Str(s)) if op != CompareOp::Match => {
                let numeric = std::str::from_utf8(&s.text).is_ok_and(|t| t.trim().parse::<i64>().is_ok());
                if numeric { None } else { Some(right.span) }
            }
            _ => None,
        };
        match bad {
            None => Ok(()),
            Some(span) => self.c.error(Diagnostic::error("E0302", span, "a number is compared with a text")),
        }
    }

    /// Only picks the function: frames of what nests must stay small.
    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
        match start.kind {
            Kind::Not => self.prefixed(start, None),
            Kind::Tilde => self.prefixed(start, Some(UnaryOp::BitNot)),
            Kind::Op(BinaryOp::Sub) if matches!(self.c.peek_at(1).kind, Kind::Int(_)) => self.negative(start),
            Kind::Op(BinaryOp::Sub) => self.prefixed(start, Some(UnaryOp::Neg)),
            Kind::LParen => self.parenthesis(start),
            Kind::Ident => self.word_operand(start),
            _ => self.plain_operand(start),
        }
    }

    fn prefixed(&mut self, start: Token, op: Option<UnaryOp>) -> Parsed<Expr> {
        self.c.bump();
        self.c.enter()?;
        let inner = self.operand();
        self.c.leave();
        let inner = Box::new(operand(inner?));
        let kind = match op {
            None => ExprKind::Not(inner),
            Some(op) => ExprKind::Unary { op, operand: inner },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    fn negative(&mut self, start: Token) -> Parsed<Expr> {
        match self.number()? {
            Some(n) => Ok(Expr { kind: ExprKind::Int(n), span: self.c.since(start.span) }),
            None => self.c.unexpected("a number"),
        }
    }

    /// `( ... )`, `(int)x`, `(str)x`.
    fn parenthesis(&mut self, open: Token) -> Parsed<Expr> {
        let cast = match (self.c.word_at(1), self.c.peek_at(2).kind) {
            ("int", Kind::RParen) => Some(UnaryOp::ToInt),
            ("str", Kind::RParen) => Some(UnaryOp::ToStr),
            _ => None,
        };
        self.c.bump();
        if let Some(op) = cast {
            self.c.bump();
            return self.prefixed(open, Some(op));
        }
        let inner = self.expression()?;
        if matches!(self.c.kind(), Kind::Assign(_)) {
            let d = Diagnostic::error("E0123", inner.span, "this cannot be assigned").label("not a variable");
            return self.c.error(d.help("did you mean `==`?"));
        }
        self.c.close(open);
        Ok(Expr { kind: ExprKind::Group(Box::new(inner)), span: self.c.since(open.span) })
    }

    fn plain_operand(&mut self, start: Token) -> Parsed<Expr> {
        let kind = match start.kind {
            Kind::Str => match self.joined_text() {
                Some(text) => ExprKind::Str(text),
                None => return self.c.unexpected("a string"),
            },
            Kind::RawStr => {
                self.c.bump();
                ExprKind::Str(self.c.str_lit(start))
            }
            Kind::Var => {
                self.c.bump();
                return self.variable(start);
            }
            Kind::Select => {
                self.c.bump();
                let name = self.c.token_text(start).trim_start_matches('@');
                ExprKind::Var(VarTok { text: format!("$sel({name})"), span: start.span })
            }
            Kind::Net => {
                self.c.bump();
                ExprKind::Net(self.c.token_text(start).to_owned())
            }
            Kind::LBracket if self.c.peek_at(1).kind == Kind::Net => {
                self.c.bump();
                let address = self.c.bump();
                self.c.close(start);
                ExprKind::Net(self.c.token_text(address).to_owned())
            }
            _ => match self.number()? {
                Some(n) => ExprKind::Int(n),
                None => return self.c.unexpected("a value"),
            },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    /// Strings in double quotes that stand side by side are one.
    fn joined_text(&mut self) -> Option<StrLit> {
        let first = self.c.eat(Kind::Str)?;
        let mut all = self.c.str_lit(first);
        while let Some(next) = self.c.eat(Kind::Str) {
            let next = self.c.str_lit(next);
            all.text.extend_from_slice(&next.text);
            all.span = all.span.to(next.span);
        }
        Some(all)
    }

    /// A variable that is taken: alone or assigned.
    fn variable(&mut self, token: Token) -> Parsed<Expr> {
        if self.c.kind() != Kind::Assign(AssignOp::Set) {
            return Ok(Expr { kind: ExprKind::Var(self.c.var(token)), span: token.span });
        }
        let op = self.c.bump();
        let value = self.expression()?;
        let span = self.c.since(token.span);
        if self.c.kind() == Kind::RParen && matches!(value.kind, ExprKind::Int(_) | ExprKind::Str(_)) {
            let d = Diagnostic::warning("W0101", span, "assignment of a constant in an expression")
                .related(op.span, "`=` assigns")
                .help("did you mean `==`?");
            self.c.warn(d);
        }
        let assign = Assign { target: self.c.var(token), op: AssignOp::Set, value: Box::new(value), span };
        Ok(Expr { kind: ExprKind::Assign(assign), span })
    }

    fn word_operand(&mut self, start: Token) -> Parsed<Expr> {
        let next = self.c.peek_at(1).kind;
        match self.c.word() {
            "defined" => self.prefixed(start, Some(UnaryOp::Defined)),
            "strlen" if next == Kind::LParen => self.measured(start, UnaryOp::StrLen),
            "strempty" if next == Kind::LParen => self.measured(start, UnaryOp::StrEmpty),
            "selval" if next == Kind::LParen => self.choice(start),
            "route" if next == Kind::LParen => {
                let call = self.route_call()?;
                Ok(Expr { kind: ExprKind::Route(call), span: self.c.since(start.span) })
            }
            "await" if next == Kind::Ident => {
                self.c.bump();
                let call = self.call()?;
                Ok(Expr { kind: ExprKind::Await(call), span: self.c.since(start.span) })
            }
            _ if next == Kind::LParen => {
                let call = self.call()?;
                Ok(Expr { kind: ExprKind::Call(call), span: self.c.since(start.span) })
            }
            _ => self.bare_operand(start),
        }
    }

    /// `strlen(x)`, `strempty(x)`
    fn measured(&mut self, start: Token, op: UnaryOp) -> Parsed<Expr> {
        self.c.bump();
        let open = self.c.bump();
        let inner = Box::new(operand(self.expression()?));
        self.c.close(open);
        Ok(Expr { kind: ExprKind::Unary { op, operand: inner }, span: self.c.since(start.span) })
    }

    /// `selval(condition, a, b)`
    fn choice(&mut self, start: Token) -> Parsed<Expr> {
        self.c.bump();
        let open = self.c.bump();
        let cond = Box::new(operand(self.expression()?));
        self.c.expect(Kind::Comma, "`,`")?;
        let yes = Box::new(operand(self.expression()?));
        self.c.expect(Kind::Comma, "`,`")?;
        let no = Box::new(operand(self.expression()?));
        self.c.close(open);
        Ok(Expr { kind: ExprKind::Choice { cond, yes, no }, span: self.c.since(start.span) })
    }

    /// A word that is not called: a boolean, `myself`, an operand of the core.
    fn bare_operand(&mut self, start: Token) -> Parsed<Expr> {
        self.c.bump();
        let word = self.c.token_text(start);
        let kind = match word {
            "myself" => ExprKind::Myself,
            "msg" if self.c.kind() == Kind::Colon && self.c.word_at(1) == "len" => {
                self.c.bump();
                self.c.bump();
                ExprKind::Legacy("msg:len".into())
            }
            "max_len" => ExprKind::Legacy(word.into()),
            "snd_proto" | "to_proto" => ExprKind::Legacy("snd_proto".into()),
            w if OPERANDS.contains(&w) => ExprKind::Legacy(w.into()),
            w => match boolean(w) {
                Some(n) => ExprKind::Int(n),
                None => {
                    let d = Diagnostic::error("E0110", start.span, format!("the text `{word}` is not in quotes"));
                    let d = match crate::base::names::suggest(w, OPERANDS) {
                        Some(near) => d.help(format!("did you mean `{near}`?")),
                        None if w.bytes().all(|b| !b.is_ascii_lowercase()) => {
                            d.help(format!("is a `#!define {word}` missing? A text is written \"{word}\""))
                        }
                        None => d.help(format!("write \"{word}\", or `$var({word})` if a variable is meant")),
                    };
                    return self.c.error(d);
                }
            },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }
}

/// The result of a call as an operand is its truth, 1 or 0; only an assignment gets the code itself.
fn operand(expr: Expr) -> Expr {
    match expr.kind {
        ExprKind::Call(_) | ExprKind::Route(_) | ExprKind::Await(_) => {
            let span = expr.span;
            Expr { kind: ExprKind::Test(Box::new(expr)), span }
        }
        _ => expr,
    }
}

fn cast(op: UnaryOp, operand: Box<Expr>) -> Box<Expr> {
    let span = operand.span;
    Box::new(Expr { kind: ExprKind::Unary { op, operand }, span })
}

fn is_null(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Group(inner) => is_null(inner),
        ExprKind::Var(v) => v.text == "$null",
        _ => false,
    }
}
