//! Arithmetic, bit operations and concatenation. OpenSIPS numbers are 32-bit and wrap; Kamailio's
//! are as wide as a `long`.

use super::ast::{AssignOp, BinaryOp, Dialect, UnaryOp};
use super::value::Value;
use crate::base::Str;
use serde::{Deserialize, Serialize};

/// What stands on the operand stack: a value, or the mark that it could not be computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operand {
    /// A value.
    Value(Value),
    /// The expression has no result: what uses it fails.
    Error,
}

impl Operand {
    /// The value, if there is one.
    pub fn ok(self) -> Option<Value> {
        match self {
            Operand::Value(v) => Some(v),
            Operand::Error => None,
        }
    }
}

impl From<Option<Value>> for Operand {
    fn from(v: Option<Value>) -> Operand {
        v.map_or(Operand::Error, Operand::Value)
    }
}

/// `left op right`; `None` if it has no result. `literal`: the right side is a number written in
/// the script, which has no text form. Texts are at most `max` bytes.
pub fn binary(op: BinaryOp, left: &Value, right: &Value, literal: bool, dialect: Dialect, max: usize) -> Option<Value> {
    match dialect {
        Dialect::OpenSips => opensips(op, left, right, literal, max),
        Dialect::Kamailio => kamailio(op, left, right, max),
    }
}

fn opensips(op: BinaryOp, left: &Value, right: &Value, literal: bool, max: usize) -> Option<Value> {
    match left {
        // The expression has no value.
        Value::Null => Some(Value::Null),
        Value::Int(l) | Value::Both(l, _) => {
            let r = if right.is_null() { 0 } else { right.as_int()? };
            Some(Value::Int(narrow(op, *l as i32, r as i32).into()))
        }
        Value::Str(l) => match op {
            BinaryOp::Add if literal => None,
            BinaryOp::Add => concat(l, &right.to_text().unwrap_or_default(), max),
            BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => match right {
                Value::Str(r) if r.len() == l.len() => Some(bytewise(op, l, r)),
                _ => None,
            },
            _ => None,
        },
    }
}

fn concat(left: &[u8], right: &[u8], max: usize) -> Option<Value> {
    if left.len() + right.len() > max {
        return None;
    }
    Some(Value::Str(Str::from([left, right].concat())))
}

fn bytewise(op: BinaryOp, left: &[u8], right: &[u8]) -> Value {
    let bytes = left.iter().zip(right).map(|(a, b)| match op {
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        _ => a ^ b,
    });
    Value::text(bytes.collect::<Vec<u8>>())
}

/// 32 bits, wrapping; a division by zero gives 0.
fn narrow(op: BinaryOp, l: i32, r: i32) -> i32 {
    match op {
        BinaryOp::Add => l.wrapping_add(r),
        BinaryOp::Sub => l.wrapping_sub(r),
        BinaryOp::Mul => l.wrapping_mul(r),
        BinaryOp::Div => {
            if r == 0 {
                0
            } else {
                l.wrapping_div(r)
            }
        }
        BinaryOp::Mod => {
            if r == 0 {
                0
            } else {
                l.wrapping_rem(r)
            }
        }
        BinaryOp::BitAnd => l & r,
        BinaryOp::BitOr => l | r,
        BinaryOp::BitXor => l ^ r,
        BinaryOp::Shl => l.wrapping_shl(r as u32),
        BinaryOp::Shr => l.wrapping_shr(r as u32),
    }
}

/// The left side decides; the right one is converted. A division by zero has no result.
fn kamailio(op: BinaryOp, left: &Value, right: &Value, max: usize) -> Option<Value> {
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(l), _) => return concat(l, &right.to_text().unwrap_or_default(), max),
        (BinaryOp::Add, Value::Null, Value::Str(r)) => return concat(b"", r, max),
        _ => {}
    }
    let (l, r) = (left.number(), right.number());
    Some(Value::Int(match op {
        BinaryOp::Add => l.wrapping_add(r),
        BinaryOp::Sub => l.wrapping_sub(r),
        BinaryOp::Mul => l.wrapping_mul(r),
        BinaryOp::Div if r == 0 => return None,
        BinaryOp::Div => l.wrapping_div(r),
        BinaryOp::Mod if r == 0 => return None,
        BinaryOp::Mod => l.wrapping_rem(r),
        BinaryOp::BitAnd => l & r,
        BinaryOp::BitOr => l | r,
        BinaryOp::BitXor => l ^ r,
        BinaryOp::Shl => l.wrapping_shl(r as u32),
        BinaryOp::Shr => l.wrapping_shr(r as u32),
    }))
}

/// `op operand`; `None` if it has no result.
pub fn unary(op: UnaryOp, v: &Value, dialect: Dialect) -> Option<Value> {
    let narrow = |n: i64| if dialect == Dialect::OpenSips { i64::from(n as i32) } else { n };
    let lenient = dialect == Dialect::Kamailio;
    Some(match op {
        UnaryOp::Neg => Value::Int(narrow(number(v, lenient)?.wrapping_neg())),
        UnaryOp::BitNot => Value::Int(narrow(!number(v, lenient)?)),
        UnaryOp::ToInt => Value::Int(v.number()),
        UnaryOp::ToStr => Value::Str(v.to_text().unwrap_or_default()),
        UnaryOp::Defined => Value::Int((!v.is_null()).into()),
        UnaryOp::StrLen => Value::Int(v.to_text().map_or(0, |t| t.len() as i64)),
        UnaryOp::StrEmpty => Value::Int(v.to_text().is_none_or(|t| t.is_empty()).into()),
    })
}

fn number(v: &Value, lenient: bool) -> Option<i64> {
    if lenient { Some(v.number()) } else { v.as_int() }
}

/// `lhs op= rhs`: the new value of the left side, or `None` if the assignment fails.
/// `Set` and `Reset` give the right side itself.
pub fn compound(op: AssignOp, old: &Value, new: Value, dialect: Dialect, max: usize) -> Option<Value> {
    let op = match op {
        AssignOp::Set | AssignOp::Reset => return Some(new),
        AssignOp::Add => BinaryOp::Add,
        AssignOp::Sub => BinaryOp::Sub,
        AssignOp::Mul => BinaryOp::Mul,
        AssignOp::Div => BinaryOp::Div,
        AssignOp::Mod => BinaryOp::Mod,
        AssignOp::BitAnd => BinaryOp::BitAnd,
        AssignOp::BitOr => BinaryOp::BitOr,
        AssignOp::BitXor => BinaryOp::BitXor,
    };
    if dialect == Dialect::Kamailio {
        return binary(op, old, &new, false, dialect, max);
    }
    match (old, &new) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Str(_), Value::Str(_)) if op == BinaryOp::Add => binary(op, old, &new, false, dialect, max),
        _ => match (old.as_int()?, new.as_int()?) {
            (_, 0) if matches!(op, BinaryOp::Div | BinaryOp::Mod) => None,
            _ => binary(op, old, &new, false, dialect, max),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: BinaryOp, l: Value, r: Value) -> Option<Value> {
        binary(op, &l, &r, false, Dialect::OpenSips, 100)
    }

    #[test]
    fn numbers_wrap_at_32_bits() {
        let i = Value::Int;
        assert_eq!(run(BinaryOp::Add, i(i32::MAX.into()), i(1)), Some(i(i32::MIN.into())));
        assert_eq!(run(BinaryOp::Mul, i(65536), i(65536)), Some(i(0)));
        assert_eq!(run(BinaryOp::Div, i(7), i(0)), Some(i(0)));
        assert_eq!(run(BinaryOp::Mod, i(7), i(0)), Some(i(0)));
        assert_eq!(run(BinaryOp::Div, i(i32::MIN.into()), i(-1)), Some(i(i32::MIN.into())));
        assert_eq!(run(BinaryOp::Shl, i(1), i(4)), Some(i(16)));
        assert_eq!(run(BinaryOp::Shl, i(1), i(64)), Some(i(1)));
        assert_eq!(unary(UnaryOp::BitNot, &i(0), Dialect::OpenSips), Some(i(-1)));
        assert_eq!(unary(UnaryOp::BitNot, &"x".into(), Dialect::OpenSips), None);
    }

    #[test]
    fn texts() {
        assert_eq!(run(BinaryOp::Add, "a".into(), Value::Int(1)), Some("a1".into()));
        assert_eq!(binary(BinaryOp::Add, &"a".into(), &Value::Int(1), true, Dialect::OpenSips, 9), None);
        assert_eq!(run(BinaryOp::Add, "a".into(), Value::Null), Some("a".into()));
        assert_eq!(run(BinaryOp::Add, Value::Null, "a".into()), Some(Value::Null));
        assert_eq!(run(BinaryOp::Add, Value::Int(1), Value::Null), Some(Value::Int(1)));
        assert_eq!(run(BinaryOp::Add, Value::Int(1), "a".into()), None);
        assert_eq!(run(BinaryOp::BitXor, "ab".into(), "ab".into()), Some(Value::text(vec![0, 0])));
        assert_eq!(run(BinaryOp::BitXor, "ab".into(), "a".into()), None);
        assert_eq!(run(BinaryOp::Sub, "5".into(), Value::Int(1)), None);
        assert_eq!(run(BinaryOp::Add, Value::text(vec![b'x'; 60]), Value::text(vec![b'x'; 60])), None);
        let k = |l: Value, r: Value| binary(BinaryOp::Add, &l, &r, true, Dialect::Kamailio, 100);
        assert_eq!(k("10".into(), Value::Int(5)), Some("105".into()));
        assert_eq!(k(Value::Int(10), "5".into()), Some(Value::Int(15)));
    }

    #[test]
    fn compounds_need_the_same_kind() {
        let c = |op, l: Value, r: Value| compound(op, &l, r, Dialect::OpenSips, 100);
        assert_eq!(c(AssignOp::Add, "a".into(), "b".into()), Some("ab".into()));
        assert_eq!(c(AssignOp::Add, "a".into(), Value::Int(1)), None);
        assert_eq!(c(AssignOp::Add, Value::Null, Value::Int(1)), None);
        assert_eq!(c(AssignOp::Div, Value::Int(6), Value::Int(0)), None);
        assert_eq!(c(AssignOp::Mod, Value::Int(7), Value::Int(4)), Some(Value::Int(3)));
    }
}
