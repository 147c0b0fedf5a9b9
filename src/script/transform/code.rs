//! `{s.*}`: encodings and escapes.

use super::{Failed, Outcome};
use crate::script::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn hex(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(HEX[usize::from(b >> 4)]);
        out.push(HEX[usize::from(b & 15)]);
    }
    out
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).map(|d| d as u8)
}

pub(super) fn hex_encode(text: &[u8], max: usize) -> Outcome {
    if text.len() > max / 2 { Err(Failed) } else { Ok(Value::text(hex(text))) }
}

/// NULL if it is not hexadecimal.
pub(super) fn hex_decode(text: &[u8]) -> Value {
    if !text.len().is_multiple_of(2) {
        return Value::Null;
    }
    let bytes: Option<Vec<u8>> = text.chunks(2).map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect();
    Value::opt(bytes)
}

/// A backslash before quotes and backslashes, NUL as `\0`.
pub(super) fn escape_common(text: &[u8]) -> Value {
    let mut out = Vec::with_capacity(text.len() + 8);
    for &c in text {
        match c {
            b'\'' | b'"' | b'\\' => out.extend_from_slice(&[b'\\', c]),
            0 => out.extend_from_slice(b"\\0"),
            c => out.push(c),
        }
    }
    Value::text(out)
}

pub(super) fn unescape_common(text: &[u8]) -> Value {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(c) = bytes.next() {
        match (c, bytes.peek()) {
            (b'\\', Some(n @ (b'\'' | b'"' | b'\\'))) => {
                out.push(*n);
                bytes.next();
            }
            (b'\\', Some(b'0')) => {
                out.push(0);
                bytes.next();
            }
            _ => out.push(c),
        }
    }
    Value::text(out)
}

/// One word of a shell's command line (POSIX.1-2024, Shell 2.2.2), whatever the text holds: in single quotes, each
/// single quote of the text being `'\''`. NUL bytes, which no command line can hold, are left out.
pub fn shell_word(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    out.push(b'\'');
    for &c in text {
        match c {
            b'\'' => out.extend_from_slice(b"'\\''"),
            0 => {}
            c => out.push(c),
        }
    }
    out.push(b'\'');
    out
}

fn percent(text: &[u8], plain: impl Fn(u8) -> bool) -> Value {
    let mut out = Vec::with_capacity(text.len() + 8);
    for &c in text {
        if c.is_ascii_alphanumeric() || plain(c) {
            out.push(c);
        } else {
            out.push(b'%');
            out.push(HEX[usize::from(c >> 4)]);
            out.push(HEX[usize::from(c & 15)]);
        }
    }
    Value::text(out)
}

/// RFC 3261 §25.1: `mark` and `user-unreserved` stand for themselves in a user part.
pub(super) fn escape_user(text: &[u8]) -> Value {
    percent(text, |c| b"-_.!~*'()&=+$,;?/".contains(&c))
}

/// RFC 3261 §25.1: `mark` and `param-unreserved` stand for themselves in a URI parameter.
pub(super) fn escape_param(text: &[u8]) -> Value {
    percent(text, |c| b"-_.!~*'()[]/:&+$".contains(&c))
}

pub(super) fn unescape_uri(text: &[u8]) -> Outcome {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&c) = bytes.next() {
        if c == b'%' {
            let high = bytes.next().copied().and_then(digit).ok_or(Failed)?;
            let low = bytes.next().copied().and_then(digit).ok_or(Failed)?;
            out.push(high << 4 | low);
        } else {
            out.push(c);
        }
    }
    Ok(Value::text(out))
}

pub(super) fn dec2hex(input: &Value) -> Outcome {
    let n = input.to_int().ok_or(Failed)?;
    Ok(Value::text(format!("{:x}", n as u32)))
}

pub(super) fn hex2dec(text: &[u8]) -> Outcome {
    let text = std::str::from_utf8(text).map_err(|_| Failed)?.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    i64::from_str_radix(digits, 16).map(Value::Int).map_err(|_| Failed)
}

/// Numbers pass through unchanged.
pub(super) fn base64_encode(input: &Value) -> Value {
    match input {
        Value::Str(s) => Value::text(STANDARD.encode(s)),
        other => other.clone(),
    }
}

/// Numbers pass through unchanged.
pub(super) fn base64_decode(input: &Value) -> Outcome {
    match input {
        Value::Str(s) => STANDARD.decode(s.trim_ascii()).map(Value::text).map_err(|_| Failed),
        other => Ok(other.clone()),
    }
}

pub(super) fn xor(text: &[u8], key: &[u8]) -> Outcome {
    if key.is_empty() {
        return Err(Failed);
    }
    Ok(Value::text(text.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect::<Vec<u8>>()))
}
