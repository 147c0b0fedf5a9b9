//! Which items are meant: an operator and what their names or values are compared with.

use crate::script::pattern::compile_regex;
use crate::script::value::Value;
use crate::store::shared::Stored;
use regex::bytes::Regex;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// The item's name.
    Name,
    /// Its value.
    Value,
}

enum Test {
    Any,
    Regex(Regex),
    Starts(Vec<u8>),
    Ends(Vec<u8>),
    Contains(Vec<u8>),
    Equal(Vec<u8>),
    Different(Vec<u8>),
    Number(i64),
}

/// A choice among items.
pub struct Choice {
    of: Of,
    test: Test,
}

impl Choice {
    /// By an operator's name, as the functions take it: `eq`, `ne`, `re`, `sw`, `ew`, `in`.
    pub fn named(of: Of, operator: &[u8], operand: &[u8]) -> Result<Choice, String> {
        let text = operand.to_vec();
        let test = match operator {
            b"eq" => Test::Equal(text),
            b"ne" => Test::Different(text),
            b"re" => Test::Regex(regex(operand)?),
            b"sw" => Test::Starts(text),
            b"ew" => Test::Ends(text),
            b"in" => Test::Contains(text),
            other => return Err(format!("there is no operator `{}`", String::from_utf8_lossy(other))),
        };
        Ok(Choice { of, test })
    }

    /// By an operator that is glued to its operand, as the variables take it: `~~`, `~%`, `%~`, `==`, `eq`, `**`; a
    /// regular expression without one.
    pub fn glued(of: Of, text: &[u8]) -> Result<Choice, String> {
        let test = match text.split_at_checked(2) {
            Some((b"**", _)) => Test::Any,
            Some((b"~~", rest)) => Test::Regex(regex(rest)?),
            Some((b"~%", rest)) => Test::Ends(rest.to_vec()),
            Some((b"%~", rest)) => Test::Starts(rest.to_vec()),
            Some((b"==", rest)) => Test::Equal(rest.to_vec()),
            Some((b"eq", rest)) if of == Of::Value => {
                Test::Number(Value::text(rest).to_int().ok_or("`eq` compares with a number")?)
            }
            _ => Test::Regex(regex(text)?),
        };
        Ok(Choice { of, test })
    }

    /// By a regular expression.
    pub fn pattern(of: Of, text: &[u8]) -> Result<Choice, String> {
        Ok(Choice { of, test: Test::Regex(regex(text)?) })
    }

    /// Whether an item is meant. Numbers are no texts: only `eq` and `**` know them.
    pub fn takes(&self, item: &Stored) -> bool {
        let text = match (self.of, &item.value) {
            (Of::Name, _) => Some(&item.name[..]),
            (Of::Value, Value::Str(text)) => Some(&text[..]),
            (Of::Value, _) => None,
        };
        match (&self.test, text) {
            (Test::Any, _) => true,
            (Test::Number(n), _) => self.of == Of::Value && item.value.as_int() == Some(*n),
            (_, None) => false,
            (Test::Regex(r), Some(text)) => r.is_match(text),
            (Test::Starts(t), Some(text)) => text.starts_with(t),
            (Test::Ends(t), Some(text)) => text.ends_with(t),
            (Test::Contains(t), Some(text)) => memchr::memmem::find(text, t).is_some(),
            (Test::Equal(t), Some(text)) => text == t,
            (Test::Different(t), Some(text)) => text != t,
        }
    }
}

fn regex(text: &[u8]) -> Result<Regex, String> {
    compile_regex(&String::from_utf8_lossy(text)).map_err(|why| format!("no regular expression: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(choice: Result<Choice, String>, name: &str, value: Value) -> bool {
        choice.unwrap_or_else(|why| panic!("{why}")).takes(&Stored::new(name.as_bytes(), &value))
    }

    #[test]
    fn operators_choose() {
        for (text, name, yes) in [
            ("~~^a.c$", "abc", true),
            ("b", "abc", true),
            ("~%bc", "abc", true),
            ("~%ab", "abc", false),
            ("%~ab", "abc", true),
            ("==abc", "abc", true),
            ("==ab", "abc", false),
            ("**", "", true),
        ] {
            assert_eq!(takes(Choice::glued(Of::Name, text.as_bytes()), name, Value::Int(1)), yes, "{text}");
        }
        assert!(takes(Choice::glued(Of::Value, b"eq5"), "x", Value::Int(5)));
        assert!(!takes(Choice::glued(Of::Value, b"==5"), "x", Value::Int(5)));
        assert!(takes(Choice::glued(Of::Value, b"**"), "x", Value::Int(5)));
        for (op, yes) in [("eq", false), ("ne", true), ("re", true), ("sw", true), ("ew", false), ("in", true)] {
            let choice = Choice::named(Of::Value, op.as_bytes(), b"ab");
            assert_eq!(takes(choice, "x", Value::from("abc")), yes, "{op}");
        }
        assert!(Choice::named(Of::Name, b"xx", b"").is_err());
        assert!(Choice::glued(Of::Name, b"~~(").is_err());
    }
}
