//! JSON arguments: written as text with variables in them, or taken whole from a variable.
//!
//! A text is read as JSON first and its strings are expanded afterwards, so that what a variable
//! holds can never end a string or add a member. A variable outside of quotes (`{"id": $var(n)}`)
//! is a number if it looks like one, null if it is NULL, else a text.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::ops::SqlValue;
use crate::script::registry::{Arg, Call};
use serde_json::Value as Json;

/// Stands at the start of a string that was a variable without quotes.
const BARE: char = '\u{1}';

/// A JSON value with its variables filled in.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// A scalar as the database takes it.
    One(SqlValue),
    /// An array.
    List(Vec<Data>),
    /// An object.
    Map(Vec<(Str, Data)>),
}

/// The JSON of argument `i`; `None` if it is left out or empty.
pub fn argument(call: &mut Call<'_, SipHost>, i: usize) -> Result<Option<Data>, String> {
    let (text, template) = match call.args.get(i) {
        None | Some(Arg::None) => return Ok(None),
        Some(Arg::Out(out)) => (call.scope.read(call.host, out).to_text(), false),
        _ => (call.text(i), true),
    };
    let Some(text) = text else { return Ok(None) };
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    // All of it comes from a variable.
    if template && text.first() == Some(&b'$') {
        let expanded = call.expand(text);
        return parse(&expanded).map(|json| Some(fixed(json)));
    }
    if !template {
        return parse(text).map(|json| Some(fixed(json)));
    }
    let json = parse(mark(&String::from_utf8_lossy(text)).as_bytes())?;
    Ok(Some(fill(call, json)))
}

fn parse(text: &[u8]) -> Result<Json, String> {
    serde_json::from_slice(text).map_err(|e| format!("bad JSON: {e}"))
}

/// Puts variables outside of quotes into quotes, behind [`BARE`].
fn mark(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quoted => {
                out.push(c);
                out.extend(chars.next().map(|(_, c)| c));
            }
            '"' => {
                quoted = !quoted;
                out.push(c);
            }
            '$' if !quoted => {
                let mut depth = 0usize;
                let mut end = text.len();
                while let Some((at, c)) = chars.peek().copied() {
                    match c {
                        '(' => depth += 1,
                        ')' => depth = depth.saturating_sub(1),
                        ',' | ']' | '}' | ' ' | '\t' | '\r' | '\n' if depth == 0 => {
                            end = at;
                            break;
                        }
                        _ => {}
                    }
                    chars.next();
                }
                let token = format!("{BARE}{}", &text[at..end]);
                out.push_str(&Json::String(token).to_string());
            }
            c => out.push(c),
        }
    }
    out
}

fn scalar(json: &Json) -> SqlValue {
    match json {
        Json::Bool(b) => SqlValue::Int(i64::from(*b)),
        Json::Number(n) => n.as_i64().map_or_else(|| SqlValue::Text(Str::from(n.to_string())), SqlValue::Int),
        Json::String(s) => SqlValue::Text(Str::from(s.as_str())),
        _ => SqlValue::Null,
    }
}

/// A value as it is.
fn fixed(json: Json) -> Data {
    match json {
        Json::Array(list) => Data::List(list.into_iter().map(fixed).collect()),
        Json::Object(map) => Data::Map(map.into_iter().map(|(k, v)| (Str::from(k), fixed(v))).collect()),
        one => Data::One(scalar(&one)),
    }
}

/// A value whose strings are format strings.
fn fill(call: &mut Call<'_, SipHost>, json: Json) -> Data {
    match json {
        Json::Array(list) => Data::List(list.into_iter().map(|v| fill(call, v)).collect()),
        Json::Object(map) => {
            let mut out = Vec::with_capacity(map.len());
            for (k, v) in map {
                let key = if k.contains('$') { call.expand(k.as_bytes()) } else { Str::from(k) };
                out.push((key, fill(call, v)));
            }
            Data::Map(out)
        }
        Json::String(s) => match s.strip_prefix(BARE) {
            Some(variable) => {
                let text = call.expand(variable.as_bytes());
                let number = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
                Data::One(match number {
                    Some(n) => SqlValue::Int(n),
                    None if text == "<null>" => SqlValue::Null,
                    None => SqlValue::Text(text),
                })
            }
            None if s.contains('$') => Data::One(SqlValue::Text(call.expand(s.as_bytes()))),
            None => Data::One(SqlValue::Text(Str::from(s))),
        },
        one => Data::One(scalar(&one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_outside_of_quotes_are_marked() {
        assert_eq!(
            mark(r#"{"a": $var(n), "b$x": "$fU", "c": [$(avp(x)[0]),$T_reply_code]}"#),
            r#"{"a": "\u0001$var(n)", "b$x": "$fU", "c": ["\u0001$(avp(x)[0])","\u0001$T_reply_code"]}"#
        );
        assert_eq!(mark(r#"["\"$a", $b"#), r#"["\"$a", "\u0001$b""#);
        assert_eq!(mark("$"), "\"\\u0001$\"");
    }
}
