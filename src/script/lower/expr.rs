//! Expressions: [`Lowerer::value`] leaves one operand on the stack, [`Lowerer::condition`] sets
//! the flag.

use super::Lowerer;
use super::args::number;
use super::legacy::is_address;
use super::vars::Literal;
use crate::script::ast::{Assign, CompareOp, Dialect, Expr, ExprKind, RouteCall, RouteKind};
use crate::script::compare::parse_net;
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::{Instr, Net, RouteSite};
use crate::script::value::Value;

impl<H: Host> Lowerer<'_, H> {
    /// Pushes the expression's value. Text literals are not expanded.
    pub(super) fn value(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Int(n) => self.push_const(Value::Int(*n)),
            ExprKind::Str(s) => self.push_const(Value::text(s.text.as_slice())),
            ExprKind::Null => self.push_const(Value::Null),
            ExprKind::Net(s) | ExprKind::Ident(s) => self.push_const(Value::from(s.as_str())),
            ExprKind::Var(token) => {
                if let Some(n) = self.var(token) {
                    self.emit(Instr::Load(n));
                }
            }
            ExprKind::Legacy(word) => self.legacy(word, expr.span),
            ExprKind::Group(inner) => self.value(inner),
            ExprKind::Binary { op, left, right } => {
                self.value(left);
                self.value(right);
                self.emit(Instr::Binary { op: *op, literal: number(right).is_some() });
            }
            ExprKind::Unary { op, operand } => match number(expr) {
                Some(n) => self.push_const(Value::Int(n)),
                None => {
                    self.value(operand);
                    self.emit(Instr::Unary(*op));
                }
            },
            ExprKind::Call(call) | ExprKind::Await(call) => {
                self.call(call);
                self.emit(Instr::PushRc);
            }
            ExprKind::Route(call) => {
                self.route_call(call);
                self.emit(Instr::PushRc);
            }
            ExprKind::Choice { cond, yes, no } => {
                self.condition(cond);
                let other = self.emit(Instr::Unless(0));
                self.value(yes);
                let end = self.emit(Instr::Jump(0));
                self.land(other);
                self.value(no);
                self.land(end);
            }
            ExprKind::Assign(assign) => {
                self.assign(assign);
                match self.dialect {
                    Dialect::OpenSips => self.emit(Instr::PushRc),
                    // Whether it worked, 1 or 0.
                    Dialect::Kamailio => {
                        self.emit(Instr::LastTruth);
                        self.emit(Instr::PushFlag)
                    }
                };
            }
            ExprKind::Block(body) => {
                self.emit(Instr::Result(1));
                self.statements(body);
                self.emit(Instr::RcLast);
                self.emit(Instr::PushRc);
            }
            ExprKind::Compare { .. } | ExprKind::And(..) | ExprKind::Or(..) | ExprKind::Not(_) | ExprKind::Test(_) => {
                self.condition(expr);
                self.emit(Instr::PushFlag);
            }
            ExprKind::Myself => {
                let d = Diagnostic::error("E0302", expr.span, "`myself` has no value of its own");
                self.diags.push(d.help("compare with it: `uri == myself`"));
            }
        }
    }

    fn push_const(&mut self, v: Value) {
        let n = self.konst(v);
        self.emit(Instr::Const(n));
    }

    /// Sets the flag to the expression's truth.
    pub(super) fn condition(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Group(inner) => self.condition(inner),
            ExprKind::Not(inner) => {
                self.logical(inner);
                self.emit(Instr::Not);
            }
            ExprKind::And(left, right) => {
                self.logical(left);
                let end = self.emit(Instr::AndElse(0));
                self.logical(right);
                self.land(end);
            }
            ExprKind::Or(left, right) => {
                self.logical(left);
                let end = self.emit(Instr::OrElse(0));
                self.logical(right);
                self.land(end);
            }
            ExprKind::Compare { op, left, right } => self.compare(*op, left, right, expr),
            ExprKind::Call(call) | ExprKind::Await(call) => {
                self.call(call);
                self.emit(Instr::RcTruth);
            }
            ExprKind::Route(call) => {
                self.route_call(call);
                self.emit(Instr::RcTruth);
            }
            ExprKind::Assign(assign) if self.dialect == Dialect::OpenSips => {
                self.assign(assign);
                self.emit(Instr::RcTruth);
            }
            ExprKind::Block(body) => {
                self.emit(Instr::Result(1));
                self.statements(body);
                self.emit(Instr::LastTruth);
            }
            ExprKind::Test(inner) => {
                self.value(inner);
                self.emit(Instr::Truth);
            }
            _ => {
                self.value(expr);
                self.emit(Instr::Truth);
            }
        }
    }

    /// An operand of `&&`, `||` or `!`: in the Kamailio dialect any number but 0 counts there.
    fn logical(&mut self, expr: &Expr) {
        let number = match &ungroup(expr).kind {
            ExprKind::Compare { .. } | ExprKind::And(..) | ExprKind::Or(..) | ExprKind::Not(_) => false,
            ExprKind::Test(_) | ExprKind::Call(_) | ExprKind::Await(_) | ExprKind::Route(_) => false,
            _ => self.dialect == Dialect::Kamailio,
        };
        if number {
            self.value(expr);
            self.emit(Instr::NonZero);
        } else {
            self.condition(expr);
        }
    }

    fn compare(&mut self, op: CompareOp, left: &Expr, right: &Expr, whole: &Expr) {
        let negate = matches!(op, CompareOp::Ne | CompareOp::NoMatch);
        let (left, right) = (ungroup(left), ungroup(right));
        // `myself` may stand on either side.
        let other = match (&left.kind, &right.kind) {
            (_, ExprKind::Myself) => Some(left),
            (ExprKind::Myself, _) => Some(right),
            _ => None,
        };
        if let Some(other) = other {
            if !matches!(op, CompareOp::Eq | CompareOp::Ne) {
                let d = Diagnostic::error("E0302", whole.span, "`myself` is compared with `==` and `!=` only");
                return self.diags.push(d);
            }
            self.value(other);
            self.emit(Instr::Myself { negate });
            return;
        }
        if let Some(net) = network(left, right) {
            let Some(net) = net.filter(|_| matches!(op, CompareOp::Eq | CompareOp::Ne)) else {
                let d =
                    Diagnostic::error("E0302", right.span, "an address or network is compared with `==` and `!=` only")
                        .label("or it is not a valid one");
                return self.diags.push(d);
            };
            self.value(left);
            self.p.nets.push(net);
            let net = (self.p.nets.len() - 1) as u32;
            self.emit(Instr::InNet { net, negate });
            return;
        }
        if let (CompareOp::Match | CompareOp::NoMatch, ExprKind::Str(pattern)) = (op, &right.kind) {
            let regex = self.regex(&pattern.text, true, pattern.span);
            self.value(left);
            if let Some(regex) = regex {
                self.emit(Instr::Match { regex, negate });
            }
            return;
        }
        if let (ExprKind::Legacy(word), Some(text)) = (&left.kind, self.fixed_text(right))
            && self.dialect == Dialect::Kamailio
            && word == "method"
            && matches!(op, CompareOp::Eq | CompareOp::Ne)
        {
            // Unlike texts elsewhere, without regard to letter case.
            let regex = self.regex(format!("^{text}$").as_bytes(), true, right.span);
            self.value(left);
            if let Some(regex) = regex {
                self.emit(Instr::Match { regex, negate });
            }
            return;
        }
        // What Kamailio asks of `== ""` is another question than of a text that turns out to be empty.
        let empty = self.dialect == Dialect::Kamailio && matches!(&right.kind, ExprKind::Str(s) if s.text.is_empty());
        let literal = empty || number(right).is_some();
        if let (ExprKind::Var(token), Some(konst)) = (&left.kind, constant(right)) {
            let konst = self.konst(konst);
            if let Some(var) = self.var(token) {
                self.emit(Instr::Test { var, konst, op, literal });
            }
            return;
        }
        self.value(left);
        self.value(right);
        self.emit(Instr::Compare { op, literal });
    }

    /// A method's name, written as a text or as a bare word.
    fn fixed_text(&self, expr: &Expr) -> Option<String> {
        let text = match &expr.kind {
            ExprKind::Str(s) => String::from_utf8_lossy(&s.text).into_owned(),
            ExprKind::Ident(s) => s.clone(),
            _ => return None,
        };
        text.bytes().all(|b| b.is_ascii_alphanumeric()).then_some(text)
    }

    /// `lhs op rhs`; the variable, if it is known.
    pub(super) fn assign(&mut self, a: &Assign) -> Option<u32> {
        self.value(&a.value);
        let var = self.writable(&a.target)?;
        self.emit(Instr::Assign { var, op: a.op });
        Some(var)
    }

    /// `route(NAME, args)`
    pub(super) fn route_call(&mut self, call: &RouteCall) {
        for arg in &call.args {
            self.value(arg);
        }
        let args = call.args.len() as u32;
        let name = ungroup(&call.name);
        let fixed = match &name.kind {
            ExprKind::Str(lit) => match self.literal(lit) {
                Literal::Fixed(t) => Some(String::from_utf8_lossy(&t).into_owned()),
                Literal::Format(n) => {
                    self.emit(Instr::Format(n));
                    None
                }
                Literal::Bad => return,
            },
            ExprKind::Ident(word) => Some(word.clone()),
            _ => match number(name) {
                Some(n) => Some(n.to_string()),
                None => {
                    self.value(name);
                    None
                }
            },
        };
        let route = match fixed {
            None => None,
            Some(name) => match self.find_route(RouteKind::Request, &name, call.name.span) {
                Some(n) => {
                    self.edges.push((self.route, n, call.span));
                    Some(n)
                }
                None => return,
            },
        };
        self.p.calls.push(RouteSite { route, args });
        let n = (self.p.calls.len() - 1) as u32;
        self.emit(Instr::Route(n));
    }
}

/// An expression without the parentheses around it.
fn ungroup(mut expr: &Expr) -> &Expr {
    while let ExprKind::Group(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// A right side that is a constant.
fn constant(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Str(s) => Some(Value::text(s.text.as_slice())),
        ExprKind::Ident(s) => Some(Value::from(s.as_str())),
        ExprKind::Null => Some(Value::Null),
        _ => number(expr).map(Value::Int),
    }
}

/// Whether the right side is a network: written bare, or in quotes behind an address operand.
/// `Some(None)`: it should be one and is not.
fn network(left: &Expr, right: &Expr) -> Option<Option<Net>> {
    match (&left.kind, &right.kind) {
        (_, ExprKind::Net(text)) => Some(parse_net(text)),
        (ExprKind::Legacy(word), ExprKind::Str(s)) if is_address(word) => {
            parse_net(&String::from_utf8_lossy(&s.text)).map(Some)
        }
        _ => None,
    }
}
