//! Transformations that only Kamailio has (kamailio.md section 6.3): `{s.strip}`, `{tobody.*}`, `{line.*}`,
//! `{val.*}` and their like.

use super::ArgKind::{Fixed, Int, Text};
use super::{Failed, Op, Outcome, Spec, none, position, with};
use crate::script::value::Value;
use crate::sip::{NameAddr, Uri};

/// A transformation of Kamailio's. Names follow the script's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The table below gives each its name in the script.
pub enum Kop {
    Strip,
    StripTail,
    StripTo,
    Rm,
    Replace,
    Before,
    After,
    RBefore,
    RAfter,
    Count,
    Prefixes,
    Numeric,
    Unquote,
    Unbracket,
    RmWs,
    SelectSw,
    UriSaor,
    UriDuri,
    UriSuri,
    UriRmParam,
    BodyUri,
    BodyUser,
    BodyHost,
    BodyTag,
    BodyParams,
    BodyDisplay,
    LineCount,
    LineAt,
    LineSw,
    ValN0,
    ValNe,
    FirstDigit,
    LastDigit,
}

const fn op(op: Kop) -> Op {
    Op::Kamailio(op)
}

/// Kamailio's names.
pub(super) static SPECS: &[Spec] = &[
    with("s.strip", op(Kop::Strip), &[Int], 1),
    with("s.striptail", op(Kop::StripTail), &[Int], 1),
    with("s.stripto", op(Kop::StripTo), &[Text], 1),
    with("s.rm", op(Kop::Rm), &[Text], 1),
    with("s.replace", op(Kop::Replace), &[Text, Text], 2),
    with("s.before", op(Kop::Before), &[Text], 1),
    with("s.after", op(Kop::After), &[Text], 1),
    with("s.rbefore", op(Kop::RBefore), &[Text], 1),
    with("s.rafter", op(Kop::RAfter), &[Text], 1),
    with("s.count", op(Kop::Count), &[Text], 1),
    with("s.prefixes", op(Kop::Prefixes), &[Int], 0),
    with("s.selectsw", op(Kop::SelectSw), &[Int, Fixed], 2),
    none("s.numeric", op(Kop::Numeric)),
    none("s.unquote", op(Kop::Unquote)),
    none("s.unbracket", op(Kop::Unbracket)),
    none("s.rmws", op(Kop::RmWs)),
    none("s.rtrim", Op::TrimRight),
    none("s.ltrim", Op::TrimLeft),
    none("s.encode.base64", Op::Base64Encode),
    none("s.decode.base64", Op::Base64Decode),
    none("s.urlencode.param", Op::EscapeParam),
    none("s.urldecode.param", Op::UnescapeParam),
    none("uri.saor", op(Kop::UriSaor)),
    none("uri.duri", op(Kop::UriDuri)),
    none("uri.suri", op(Kop::UriSuri)),
    with("uri.rmparam", op(Kop::UriRmParam), &[Text], 1),
    none("tobody.uri", op(Kop::BodyUri)),
    none("tobody.user", op(Kop::BodyUser)),
    none("tobody.host", op(Kop::BodyHost)),
    none("tobody.tag", op(Kop::BodyTag)),
    none("tobody.params", op(Kop::BodyParams)),
    none("tobody.display", op(Kop::BodyDisplay)),
    none("line.count", op(Kop::LineCount)),
    with("line.at", op(Kop::LineAt), &[Int], 1),
    with("line.sw", op(Kop::LineSw), &[Text], 1),
    none("val.n0", op(Kop::ValN0)),
    none("val.ne", op(Kop::ValNe)),
    none("num.fdigit", op(Kop::FirstDigit)),
    none("num.ldigit", op(Kop::LastDigit)),
];

/// Whether a transformation gives NULL a meaning.
pub fn takes_null(op: Op) -> bool {
    matches!(op, Op::Kamailio(Kop::ValN0 | Kop::ValNe))
}

/// Carries one out. An absent part is the empty text.
pub(super) fn apply(op: Kop, input: &Value, text: &[u8], args: &[Value], max: usize) -> Outcome {
    let arg = |i: usize| args.get(i).and_then(Value::to_text).ok_or(Failed);
    let int = |i: usize| args.get(i).and_then(Value::to_int).ok_or(Failed);
    let find = |what: &[u8]| memchr::memmem::find(text, what);
    let rfind = |what: &[u8]| memchr::memmem::rfind(text, what);
    let part = |from: usize, to: usize| Value::text(text.get(from..to).unwrap_or_default());
    let length = |i: usize| int(i).map(|n| usize::try_from(n).unwrap_or(0).min(text.len()));
    Ok(match op {
        Kop::Strip => part(length(0)?, text.len()),
        Kop::StripTail => part(0, text.len() - length(0)?),
        Kop::StripTo => {
            let what = arg(0)?;
            let at = what.first().and_then(|c| memchr::memchr(*c, text));
            part(at.unwrap_or(text.len()), text.len())
        }
        Kop::Rm => replaced(text, &arg(0)?, b"", max)?,
        Kop::Replace => replaced(text, &arg(0)?, &arg(1)?, max)?,
        Kop::Before => part(0, find(arg(0)?.get(..1).unwrap_or_default()).unwrap_or(text.len())),
        Kop::After => find(arg(0)?.get(..1).unwrap_or_default()).map_or(Value::from(""), |n| part(n + 1, text.len())),
        Kop::RBefore => part(0, rfind(arg(0)?.get(..1).unwrap_or_default()).unwrap_or(text.len())),
        Kop::RAfter => rfind(arg(0)?.get(..1).unwrap_or_default()).map_or(Value::from(""), |n| part(n + 1, text.len())),
        Kop::Count => {
            let what = arg(0)?;
            Value::Int(text.iter().filter(|c| Some(*c) == what.first()).count() as i64)
        }
        Kop::Prefixes => {
            let most = match args.first() {
                Some(_) => length(0)?,
                None => text.len(),
            };
            prefixes(text, most, max)?
        }
        Kop::Numeric => Value::text(text.iter().copied().filter(u8::is_ascii_digit).collect::<Vec<u8>>()),
        Kop::RmWs => {
            let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
            Value::text(text.iter().copied().filter(|c| !blank(c)).collect::<Vec<u8>>())
        }
        Kop::Unquote => Value::text(within(text, &[(b'"', b'"'), (b'\'', b'\'')])),
        Kop::Unbracket => Value::text(within(text, &[(b'(', b')'), (b'[', b']'), (b'{', b'}'), (b'<', b'>')])),
        Kop::SelectSw => select_any(text, int(0)?, &arg(1)?),
        Kop::UriSaor | Kop::UriDuri | Kop::UriSuri => short_uri(op, text)?,
        Kop::UriRmParam => without_param(text, &arg(0)?)?,
        Kop::BodyUri | Kop::BodyUser | Kop::BodyHost | Kop::BodyTag | Kop::BodyParams | Kop::BodyDisplay => {
            let body = NameAddr::parse(text).map_err(|_| Failed)?;
            match op {
                Kop::BodyUri => Value::text(body.uri),
                Kop::BodyTag => Value::text(body.tag().unwrap_or_default()),
                Kop::BodyParams => Value::text(body.params.text()),
                Kop::BodyDisplay => Value::text(body.display),
                op => {
                    let uri = Uri::parse(body.uri).map_err(|_| Failed)?;
                    match op {
                        Kop::BodyUser => Value::text(uri.user.unwrap_or_default()),
                        _ => Value::text(uri.host),
                    }
                }
            }
        }
        Kop::LineCount => Value::Int(lines(text).count() as i64),
        Kop::LineAt => {
            let count = lines(text).count();
            let found = position(int(0)?, count).and_then(|n| lines(text).nth(n));
            Value::text(found.unwrap_or_default())
        }
        Kop::LineSw => {
            let start = arg(0)?;
            Value::text(lines(text).find(|l| l.starts_with(&start)).unwrap_or_default())
        }
        Kop::ValN0 => {
            if input.is_null() {
                Value::Int(0)
            } else {
                input.clone()
            }
        }
        Kop::ValNe => {
            if input.is_null() {
                Value::from("")
            } else {
                input.clone()
            }
        }
        Kop::FirstDigit => digit(text.iter().find(|c| c.is_ascii_digit())),
        Kop::LastDigit => digit(text.iter().rev().find(|c| c.is_ascii_digit())),
    })
}

fn digit(c: Option<&u8>) -> Value {
    c.map_or(Value::from(""), |c| Value::Int(i64::from(c - b'0')))
}

fn replaced(text: &[u8], what: &[u8], with: &[u8], max: usize) -> Outcome {
    if what.is_empty() {
        return Ok(Value::text(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut last = 0;
    for at in memchr::memmem::find_iter(text, what) {
        out.extend_from_slice(text.get(last..at).unwrap_or_default());
        out.extend_from_slice(with);
        last = at + what.len();
        if out.len() > max {
            return Err(Failed);
        }
    }
    out.extend_from_slice(text.get(last..).unwrap_or_default());
    if out.len() > max { Err(Failed) } else { Ok(Value::text(out)) }
}

/// `H,He,Hel`
fn prefixes(text: &[u8], most: usize, max: usize) -> Outcome {
    let mut out = Vec::new();
    for n in 1..=most {
        if n > 1 {
            out.push(b',');
        }
        out.extend_from_slice(text.get(..n).unwrap_or_default());
        if out.len() > max {
            return Err(Failed);
        }
    }
    Ok(Value::text(out))
}

/// The text without one pair of marks around it.
fn within<'t>(text: &'t [u8], pairs: &[(u8, u8)]) -> &'t [u8] {
    match text {
        [first, inner @ .., last] if pairs.contains(&(*first, *last)) => inner,
        _ => text,
    }
}

/// Field `index` of a text cut at any of the characters.
fn select_any(text: &[u8], index: i64, separators: &[u8]) -> Value {
    let fields: Vec<&[u8]> = text.split(|c| separators.contains(c)).collect();
    Value::text(position(index, fields.len()).and_then(|n| fields.get(n)).copied().unwrap_or_default())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|c| *c == b'\n')
}

/// The address of record; where to send; both.
fn short_uri(op: Kop, text: &[u8]) -> Outcome {
    let uri = Uri::parse(text.trim_ascii()).map_err(|_| Failed)?;
    let mut out = uri.scheme_bytes.to_vec();
    out.push(b':');
    if op != Kop::UriDuri
        && let Some(user) = uri.user.filter(|u| !u.is_empty())
    {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(uri.host);
    if op != Kop::UriSaor {
        if let Some(port) = uri.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        if let Some(transport) = uri.param(b"transport") {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(transport);
        }
    }
    Ok(Value::text(out))
}

/// The URI without a parameter of its own.
fn without_param(text: &[u8], name: &[u8]) -> Outcome {
    let uri = Uri::parse(text).map_err(|_| Failed)?;
    if uri.param(name).is_none() {
        return Ok(Value::text(text));
    }
    let params = uri.params.text();
    let Some(at) = memchr::memmem::find(text, params).filter(|_| !params.is_empty()) else {
        return Ok(Value::text(text));
    };
    let kept: Vec<&[u8]> = params
        .split(|c| *c == b';')
        .filter(|p| !p.is_empty() && !p.split(|c| *c == b'=').next().unwrap_or_default().eq_ignore_ascii_case(name))
        .collect();
    let head = text.get(..at).unwrap_or_default();
    let head = head.strip_suffix(b";").unwrap_or(head);
    let mut out = head.to_vec();
    for param in kept {
        out.push(b';');
        out.extend_from_slice(param);
    }
    out.extend_from_slice(text.get(at + params.len()..).unwrap_or_default());
    Ok(Value::text(out))
}

#[cfg(test)]
mod tests {
    use crate::script::transform::{apply, parse};
    use crate::script::value::Value;

    fn run(input: impl Into<Value>, body: &str) -> String {
        let written = parse(body.as_bytes()).unwrap();
        let args: Vec<Value> = written.args.iter().map(|(t, _)| Value::text(t.as_slice())).collect();
        let out = apply(written.op, &input.into(), &args, 1000);
        out.map_or("failed".into(), |v| v.to_text().map_or("null".into(), |t| t.to_lossy().into_owned()))
    }

    #[test]
    fn texts() {
        for (input, body, wanted) in [
            ("hello", "s.strip,2", "llo"),
            ("hello", "s.strip,9", ""),
            ("hello", "s.striptail,2", "hel"),
            ("hello", "s.stripto,l", "llo"),
            ("hello", "s.rm,l", "heo"),
            ("hello", "s.replace,l,LL", "heLLLLo"),
            ("a.b.c", "s.before,.", "a"),
            ("a.b.c", "s.after,.", "b.c"),
            ("a.b.c", "s.rbefore,.", "a.b"),
            ("a.b.c", "s.rafter,.", "c"),
            ("abc", "s.before,.", "abc"),
            ("abc", "s.after,.", ""),
            ("a.b.c", "s.count,.", "2"),
            ("abc", "s.prefixes", "a,ab,abc"),
            ("abc", "s.prefixes,2", "a,ab"),
            ("a1 b2", "s.numeric", "12"),
            ("\"x\"", "s.unquote", "x"),
            ("<x>", "s.unbracket", "x"),
            ("a b\tc", "s.rmws", "abc"),
            ("a,b;c", "s.selectsw,2,,;", "c"),
            ("a\nb\nc", "line.count", "3"),
            ("a\nb\nc", "line.at,-1", "c"),
            ("ab\ncd", "line.sw,c", "cd"),
            ("x7y8", "num.ldigit", "8"),
        ] {
            assert_eq!(run(input, body), wanted, "{input} {body}");
        }
    }

    #[test]
    fn addresses() {
        let uri = "sip:u:p@h.example:5061;transport=tls;a=b?x=y";
        assert_eq!(run(uri, "uri.saor"), "sip:u@h.example");
        assert_eq!(run(uri, "uri.duri"), "sip:h.example:5061;transport=tls");
        assert_eq!(run(uri, "uri.suri"), "sip:u@h.example:5061;transport=tls");
        assert_eq!(run(uri, "uri.rmparam,a"), "sip:u:p@h.example:5061;transport=tls?x=y");
        assert_eq!(run(uri, "uri.rmparam,none"), uri);
        let body = "\"A\" <sip:u@h>;tag=1";
        assert_eq!(run(body, "tobody.user"), "u");
        assert_eq!(run(body, "tobody.host"), "h");
        assert_eq!(run(body, "tobody.tag"), "1");
        assert_eq!(run("x", "tobody.user"), "failed");
    }

    #[test]
    fn null() {
        assert_eq!(run(Value::Null, "val.n0"), "0");
        assert_eq!(run(Value::Null, "val.ne"), "");
        assert_eq!(run(Value::Null, "s.strip,1"), "null");
    }
}
