//! Comparisons and truth. A test yields true, false or *error*; an error counts as false for
//! `if` and `while`, ends an AND/OR chain, and its negation is an error too.

use super::ast::{CompareOp, Dialect};
use super::ir::Net;
use super::value::Value;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};

/// What a test yields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Flag {
    /// It holds.
    True,
    /// It does not.
    #[default]
    False,
    /// It cannot be decided (a text compared with a number, a bad address).
    Error,
}

impl Flag {
    /// The opposite; an error stays one.
    pub fn negate(self) -> Flag {
        match self {
            Flag::True => Flag::False,
            Flag::False => Flag::True,
            Flag::Error => Flag::Error,
        }
    }

    /// 1, 0 or -1, as `$rc` holds it.
    pub fn code(self) -> i32 {
        match self {
            Flag::True => 1,
            Flag::False => 0,
            Flag::Error => -1,
        }
    }
}

impl From<bool> for Flag {
    fn from(b: bool) -> Flag {
        if b { Flag::True } else { Flag::False }
    }
}

/// Truth of a value that stands alone as a condition.
pub fn truth(v: &Value, dialect: Dialect) -> Flag {
    match dialect {
        Dialect::OpenSips => match v {
            Value::Null => Flag::False,
            Value::Int(n) | Value::Both(n, _) => (*n != 0).into(),
            Value::Str(s) => (!s.is_empty()).into(),
        },
        // Numbers above 0; texts through their number.
        Dialect::Kamailio => (v.number() > 0).into(),
    }
}

/// `left op right` for everything but patterns. `literal`: the right side is written in the script; in the OpenSIPS
/// dialect, as a number, which has no text form.
pub fn compare(op: CompareOp, left: &Value, right: &Value, literal: bool, dialect: Dialect) -> Flag {
    match dialect {
        Dialect::OpenSips => opensips(op, left, right, literal),
        Dialect::Kamailio => kamailio(op, left, right, literal),
    }
}

fn opensips(op: CompareOp, left: &Value, right: &Value, literal: bool) -> Flag {
    if left.is_null() || right.is_null() {
        let both = left.is_null() && right.is_null();
        return match op {
            CompareOp::Eq => both.into(),
            CompareOp::Ne => (!both).into(),
            _ => Flag::False,
        };
    }
    match (left.as_int(), right.as_int()) {
        (Some(l), Some(r)) => decide(op, l.cmp(&r)),
        (None, Some(_)) if literal => Flag::Error,
        _ => decide(op, text_order(left, right)),
    }
}

/// The left side's type decides: beside a number a text counts as its number, 0 if it is none. Letter case matters;
/// undefined equals 0, "" and undefined.
fn kamailio(op: CompareOp, left: &Value, right: &Value, literal: bool) -> Flag {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::Int(n) | Value::Both(n, _) => *n == 0,
        Value::Str(s) => s.is_empty(),
    };
    if matches!(op, CompareOp::Lt | CompareOp::Gt | CompareOp::Le | CompareOp::Ge) {
        return decide(op, left.number().cmp(&right.number()));
    }
    let equal = match (left, right) {
        (Value::Null, other) | (other, Value::Null) => empty(other),
        // `== ""` asks for the text, which a number always has.
        (Value::Int(_) | Value::Both(..), Value::Str(r)) if literal && r.is_empty() && op == CompareOp::Eq => false,
        (Value::Int(l) | Value::Both(l, _), r) => r.number() == *l,
        (l, r) => l.to_text() == r.to_text(),
    };
    (equal == (op == CompareOp::Eq)).into()
}

fn decide(op: CompareOp, order: Ordering) -> Flag {
    match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::Ne => order.is_ne(),
        CompareOp::Lt => order.is_lt(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::Le => order.is_le(),
        CompareOp::Ge => order.is_ge(),
        CompareOp::Match | CompareOp::NoMatch => return Flag::Error,
    }
    .into()
}

/// Order by byte after folding letter case; the shorter one is smaller on a tie.
fn text_order(left: &Value, right: &Value) -> Ordering {
    let fold = |l: &[u8], r: &[u8]| l.iter().map(u8::to_ascii_lowercase).cmp(r.iter().map(u8::to_ascii_lowercase));
    match (left, right) {
        (Value::Str(l) | Value::Both(_, l), Value::Str(r) | Value::Both(_, r)) => fold(l, r),
        _ => fold(&left.to_text().unwrap_or_default(), &right.to_text().unwrap_or_default()),
    }
}

/// Equality of a switch's subject with a text label: full length, letter case ignored in the
/// OpenSIPS dialect.
pub fn label_matches(subject: &Value, label: &[u8], dialect: Dialect) -> bool {
    let Some(text) = subject.to_text() else { return false };
    match dialect {
        Dialect::OpenSips => text.eq_ignore_ascii_case(label),
        Dialect::Kamailio => text.as_bytes() == label,
    }
}

/// Whether a value is an address in a network; not an address: error. NULL is in no network.
pub fn value_in_net(v: &Value, net: Net) -> Flag {
    match v {
        Value::Null => Flag::False,
        other => match other.to_text().and_then(|t| parse_ip(&t)) {
            Some(ip) => in_net(ip, net).into(),
            None => Flag::Error,
        },
    }
}

/// An address as text, IPv6 with or without brackets.
pub fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    text.parse().ok()
}

/// `addr`, `addr/bits` or `addr/mask`.
pub fn parse_net(text: &str) -> Option<Net> {
    let (addr, bits) = match text.split_once('/') {
        Some((a, b)) => (a, Some(b)),
        None => (text, None),
    };
    let addr = parse_ip(addr.as_bytes())?;
    let max = if addr.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => max,
        Some(b) => match b.parse::<u8>() {
            Ok(n) => n,
            Err(_) => {
                let mask = u32::from(b.parse::<Ipv4Addr>().ok()?);
                let ones = mask.leading_ones();
                // The ones of a mask stand together.
                (mask.checked_shl(ones).unwrap_or(0) == 0 && addr.is_ipv4()).then_some(ones as u8)?
            }
        },
    };
    (bits <= max).then_some(Net { addr, bits })
}

/// Whether an address is in a network. An IPv4-mapped IPv6 address counts as the IPv4 one.
pub fn in_net(ip: IpAddr, net: Net) -> bool {
    match (ip.to_canonical(), net.addr) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.bits.min(32))).unwrap_or(0);
            u32::from(a) & mask == u32::from(n) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.bits.min(128))).unwrap_or(0);
            u128::from(a) & mask == u128::from(n) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Str;
    use CompareOp::*;

    fn t(s: &str) -> Value {
        Value::from(s)
    }
    fn i(n: i64) -> Value {
        Value::Int(n)
    }

    #[test]
    fn opensips_rules() {
        let both = Value::Both(5060, Str::from("5060"));
        for (op, l, r, literal, want) in [
            (Eq, t("AbC"), t("aBc"), false, Flag::True),
            (Lt, t("ab"), t("B"), false, Flag::True),
            (Lt, t("ab"), t("abc"), false, Flag::True),
            (Gt, t("b"), t("abc"), false, Flag::True),
            (Eq, i(5), i(5), true, Flag::True),
            (Eq, both.clone(), i(5060), true, Flag::True),
            (Eq, both, t("5060"), false, Flag::True),
            (Eq, i(7), t("7"), false, Flag::True),
            (Eq, t("7"), i(7), true, Flag::Error),
            (Eq, t("7"), i(7), false, Flag::True),
            (Eq, Value::Null, t("x"), false, Flag::False),
            (Ne, Value::Null, i(1), true, Flag::True),
            (Eq, Value::Null, Value::Null, false, Flag::True),
            (Ne, Value::Null, Value::Null, false, Flag::False),
            (Lt, Value::Null, i(1), true, Flag::False),
            (Ge, Value::Null, Value::Null, false, Flag::False),
        ] {
            assert_eq!(compare(op, &l, &r, literal, Dialect::OpenSips), want, "{l:?} {op:?} {r:?}");
        }
        assert_eq!(Flag::Error.negate(), Flag::Error);
    }

    #[test]
    fn kamailio_rules() {
        for (op, l, r, want) in [
            (Eq, i(5), t("5x"), Flag::False),
            (Eq, i(0), t("5x"), Flag::True),
            (Ne, i(0), t("text"), Flag::False),
            (Eq, i(16), t("0x10"), Flag::True),
            (Eq, i(-16), t("-0x10"), Flag::False),
            (Eq, i(5), t(" 5"), Flag::False),
            (Eq, i(0), t(""), Flag::True),
            (Gt, t("0x10"), i(15), Flag::True),
            (Eq, i(5), t("5"), Flag::True),
            (Eq, t("5x"), i(5), Flag::False),
            (Eq, t("10"), i(10), Flag::True),
            (Eq, Value::Null, i(0), Flag::True),
            (Eq, Value::Null, t(""), Flag::True),
            (Ne, Value::Null, t("one"), Flag::True),
            (Gt, t("5"), i(4), Flag::True),
        ] {
            assert_eq!(compare(op, &l, &r, false, Dialect::Kamailio), want, "{l:?} {op:?} {r:?}");
        }
        assert_eq!(compare(Eq, &i(0), &t(""), true, Dialect::Kamailio), Flag::False);
        assert_eq!(compare(Ne, &i(0), &t(""), true, Dialect::Kamailio), Flag::False);
    }

    #[test]
    fn networks() {
        let net = |s| parse_net(s).unwrap();
        assert_eq!(value_in_net(&t("10.1.2.3"), net("10.0.0.0/8")), Flag::True);
        assert_eq!(value_in_net(&t("10.1.2.3"), net("10.0.0.0/255.0.0.0")), Flag::True);
        assert_eq!(value_in_net(&t("11.1.2.3"), net("10.0.0.0/8")), Flag::False);
        assert_eq!(value_in_net(&t("[2001:db8::1]"), net("2001:db8::/32")), Flag::True);
        assert_eq!(value_in_net(&t("1.2.3.4"), net("0.0.0.0/0")), Flag::True);
        assert_eq!(value_in_net(&t("x"), net("1.2.3.4")), Flag::Error);
        assert_eq!(value_in_net(&Value::Null, net("1.2.3.4")), Flag::False);
        assert!(parse_net("1.2.3.4/33").is_none());
        assert!(parse_net("1.2.3.4/255.0.255.0").is_none());
    }
}
