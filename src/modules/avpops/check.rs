//! `avp_check`: comparing an AVP or any variable.

use super::ROUTES;
use super::memory::{Verdict, step};
use super::name;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param};
use crate::script::value::Value;
use std::cmp::Ordering;

/// `avp_check`
pub const AVP_CHECK: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_check"),
    kamailio: Some("avp_check"),
    params: &[Param::req("name", Kind::Raw), Param::req("op/value/flags", Kind::Raw)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Compares the newest value of an AVP, or the value of any other variable. Operators: eq ne lt le gt ge, re \
          (regular expression), fm (shell pattern), and or xor (of bits, true if not 0). The value may be a variable. \
          Numbers are compared as numbers, also texts that are numbers if the other side is one. Flags: `g` any \
          value of the AVP will do, `i` letter case does not matter.",
    returns: &[(1, "it holds"), (-1, "it does not, or the AVP is not set")],
    example: r#"if (avp_check("$avp(limit)", "gt/$var(calls)")) route(relay);"#,
    run: |call| step(check(call)),
    finish: None,
};

#[derive(Clone, Copy)]
enum Op {
    Order(&'static [Ordering]),
    Regex,
    Glob,
    Bits(fn(i64, i64) -> i64),
}

fn operator(word: &[u8]) -> Option<Op> {
    use Ordering::{Equal, Greater, Less};
    Some(match word {
        b"eq" => Op::Order(&[Equal]),
        b"ne" => Op::Order(&[Less, Greater]),
        b"lt" => Op::Order(&[Less]),
        b"le" => Op::Order(&[Less, Equal]),
        b"gt" => Op::Order(&[Greater]),
        b"ge" => Op::Order(&[Greater, Equal]),
        b"re" => Op::Regex,
        b"fm" => Op::Glob,
        b"and" => Op::Bits(|a, b| a & b),
        b"or" => Op::Bits(|a, b| a | b),
        b"xor" => Op::Bits(|a, b| a ^ b),
        _ => return None,
    })
}

fn check(call: &mut Call<'_, SipHost>) -> Verdict {
    let subject = call.text(0).unwrap_or_default();
    let test = call.text(1).unwrap_or_default();
    let (word, rest) = match test.iter().position(|b| *b == b'/') {
        Some(at) => (&test[..at], &test[at + 1..]),
        None => (&test[..], &b""[..]),
    };
    let Some(op) = operator(&word.trim_ascii().to_ascii_lowercase()) else {
        return Err(format!("unknown operator `{}`", String::from_utf8_lossy(word)));
    };
    // The value may hold slashes; flags are what stands behind the last one, if it can be flags.
    let (value, flags) = match rest.iter().rposition(|b| *b == b'/') {
        Some(at) if rest[at + 1..].iter().all(|b| b"gGiI".contains(b)) => (&rest[..at], &rest[at + 1..]),
        _ => (rest, &b""[..]),
    };
    let flags = flags.to_ascii_lowercase();
    let ignore_case = flags.contains(&b'i');
    let mut left = name::operand(call, subject.trim_ascii())?;
    if !flags.contains(&b'g') {
        left.truncate(1);
    }
    let Some(right) = name::operand(call, value)?.into_iter().next() else { return Ok(false) };
    for value in &left {
        let holds = match op {
            Op::Order(wanted) => wanted.contains(&order(value, &right, ignore_case)),
            Op::Bits(f) => match (value.to_int(), right.to_int()) {
                (Some(a), Some(b)) => f(a, b) != 0,
                _ => return Err("a number is wanted on both sides".to_string()),
            },
            Op::Regex | Op::Glob => {
                let pattern = right.to_text().unwrap_or_default().to_lossy().into_owned();
                let pattern = if matches!(op, Op::Glob) { from_glob(&pattern) } else { pattern };
                let case = if ignore_case { "(?i)" } else { "(?-i)" };
                let regex = call.vm().pattern(format!("{case}{pattern}").as_bytes())?;
                regex.is_match(&value.to_text().unwrap_or_default())
            }
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(left: &Value, right: &Value, ignore_case: bool) -> Ordering {
    if (left.as_int().is_some() || right.as_int().is_some() || looks_numeric(left) && looks_numeric(right))
        && let (Some(l), Some(r)) = (left.to_int(), right.to_int())
    {
        return l.cmp(&r);
    }
    let (l, r) = (left.to_text().unwrap_or_default(), right.to_text().unwrap_or_default());
    if ignore_case { l.to_ascii_lowercase().cmp(&r.to_ascii_lowercase()) } else { l.as_bytes().cmp(r.as_bytes()) }
}

/// A text that is a number as it would be printed: `7`, not `007` or `+7`.
fn looks_numeric(v: &Value) -> bool {
    v.to_int().is_some_and(|n| v.to_text().is_some_and(|t| t == n.to_string().as_str()))
}

/// A shell pattern as a regular expression.
pub fn from_glob(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' if chars.clone().skip(1).any(|c| c == ']') => {
                out.push('[');
                if chars.next_if(|c| matches!(c, '!' | '^')).is_some() {
                    out.push('^');
                }
                out.extend(chars.next_if_eq(&']'));
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '\\' => out.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_patterns() {
        assert_eq!(from_glob("sip:*@10.0.?.[!1-3]"), r"^sip:.*@10\.0\..\.[^1-3]$");
        assert_eq!(from_glob("a[b\\*"), r"^a\[b\*$");
        assert_eq!(from_glob("[]x]"), "^[]x]$");
    }

    #[test]
    fn orders() {
        let t = |s: &str| Value::from(s);
        assert_eq!(order(&Value::Int(10), &t("9"), false), Ordering::Greater);
        assert_eq!(order(&t("10"), &t("9"), false), Ordering::Greater);
        assert_eq!(order(&t("007"), &t("7"), false), Ordering::Less);
        assert_eq!(order(&t("Ab"), &t("aB"), true), Ordering::Equal);
        assert_eq!(order(&t("Ab"), &t("aB"), false), Ordering::Less);
    }
}
