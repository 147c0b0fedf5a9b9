//! Expressions of `#!ifexp` and `#!defexp`: numbers, texts and defines with the usual operators.

use super::Macros;
use crate::script::ast::{BinaryOp, CompareOp};
use crate::script::diagnostics::Diagnostics;
use crate::script::lex::{Kind, Token, decode, lex_part};
use crate::script::source::{SourceMap, Span};
use std::fmt;

/// Deepest nesting.
const MAX_DEPTH: u32 = 100;

/// What an expression yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Worth {
    /// Whether it counts as true: a number that is not 0, or a text that is not empty.
    pub(super) fn holds(&self) -> bool {
        match self {
            Worth::Number(n) => *n != 0,
            Worth::Text(t) => !t.is_empty(),
        }
    }

    fn number(&self) -> i64 {
        match self {
            Worth::Number(n) => *n,
            Worth::Text(t) => t.trim().parse().unwrap_or(0),
        }
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Worth::Number(n) => write!(f, "{n}"),
            Worth::Text(t) => f.write_str(t),
        }
    }
}

/// The value of the expression at `span`; `Err` says what is wrong with it.
pub(super) fn evaluate(span: Span, macros: &Macros, map: &SourceMap) -> Result<Worth, String> {
    let text = map.text(span);
    let (mut diags, mut tokens) = (Diagnostics::default(), Vec::new());
    let whole = lex_part(0, text, 0, &mut diags, &mut tokens).is_none();
    if let Some(d) = diags.list().first() {
        return Err(d.message.clone());
    }
    let mut e = Evaluator { text, tokens: &tokens, at: 0, depth: 0, macros, map };
    let value = e.level(0)?;
    match e.peek() {
        None if whole => Ok(value),
        _ => Err("something follows that does not belong to it".into()),
    }
}

struct Evaluator<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: u32,
    macros: &'a Macros,
    map: &'a SourceMap,
}

impl Evaluator<'_> {
    fn peek(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|t| t.kind)
    }

    /// Operators from this level on, the weakest first.
    fn level(&mut self, least: u8) -> Result<Worth, String> {
        let mut left = self.operand()?;
        while let Some((level, kind)) = self.peek().and_then(|k| Some((binding(k)?, k))) {
            if level < least {
                break;
            }
            self.at += 1;
            self.enter()?;
            let right = self.level(level + 1)?;
            self.depth -= 1;
            left = apply(kind, &left, &right)?;
        }
        Ok(left)
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err("it is nested too deeply".into()) } else { Ok(()) }
    }

    fn operand(&mut self) -> Result<Worth, String> {
        let Some(token) = self.tokens.get(self.at).copied() else { return Err("a value is missing".into()) };
        self.at += 1;
        let text = self.text.get(token.text.start as usize..token.text.end as usize).unwrap_or_default();
        match token.kind {
            Kind::Int(n) => Ok(Worth::Number(n)),
            Kind::Str | Kind::RawStr => Ok(Worth::Text(String::from_utf8_lossy(&decode(text)).into_owned())),
            Kind::Ident => Ok(match text {
                "true" | "yes" | "on" => Worth::Number(1),
                "false" | "no" | "off" => Worth::Number(0),
                name => self.macros.worth(name, self.map),
            }),
            Kind::Not | Kind::Op(BinaryOp::Sub) => {
                self.enter()?;
                let inner = self.operand()?;
                self.depth -= 1;
                Ok(Worth::Number(match token.kind {
                    Kind::Not => i64::from(!inner.holds()),
                    _ => inner.number().wrapping_neg(),
                }))
            }
            Kind::LParen => {
                self.enter()?;
                let inner = self.level(0)?;
                self.depth -= 1;
                if self.peek() != Some(Kind::RParen) {
                    return Err("a `)` is missing".into());
                }
                self.at += 1;
                Ok(inner)
            }
            _ => Err(format!("`{text}` is no value")),
        }
    }
}

/// How strongly an operator binds.
fn binding(kind: Kind) -> Option<u8> {
    Some(match kind {
        Kind::Or => 0,
        Kind::And => 1,
        Kind::Compare(CompareOp::Eq | CompareOp::Ne) => 2,
        Kind::Compare(CompareOp::Lt | CompareOp::Gt | CompareOp::Le | CompareOp::Ge) => 3,
        Kind::Op(BinaryOp::Add | BinaryOp::Sub) => 4,
        Kind::Op(BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod) => 5,
        _ => return None,
    })
}

fn apply(kind: Kind, left: &Worth, right: &Worth) -> Result<Worth, String> {
    let (l, r) = (left.number(), right.number());
    let order = match (left, right) {
        (Worth::Text(l), Worth::Text(r)) => l.cmp(r),
        (Worth::Text(l), Worth::Number(r)) => l.cmp(&r.to_string()),
        _ => l.cmp(&r),
    };
    Ok(Worth::Number(match kind {
        Kind::Or => i64::from(left.holds() || right.holds()),
        Kind::And => i64::from(left.holds() && right.holds()),
        Kind::Compare(op) => i64::from(match op {
            CompareOp::Eq => order.is_eq(),
            CompareOp::Ne => order.is_ne(),
            CompareOp::Lt => order.is_lt(),
            CompareOp::Gt => order.is_gt(),
            CompareOp::Le => order.is_le(),
            _ => order.is_ge(),
        }),
        Kind::Op(BinaryOp::Add) => match left {
            Worth::Text(l) => return Ok(Worth::Text(format!("{l}{right}"))),
            Worth::Number(_) => l.wrapping_add(r),
        },
        Kind::Op(BinaryOp::Sub) => l.wrapping_sub(r),
        Kind::Op(BinaryOp::Mul) => l.wrapping_mul(r),
        Kind::Op(BinaryOp::Div | BinaryOp::Mod) if r == 0 => return Err("division by zero".into()),
        Kind::Op(BinaryOp::Div) => l.wrapping_div(r),
        _ => l.wrapping_rem(r),
    }))
}
