//! Transformations: what may follow a variable in braces, `$(ru{uri.user}{s.len})`. This file
//! has their names and parameters; each class has a file that carries them out, as pure
//! functions of the value and the parameters.
//!
//! NULL stays NULL in every transformation but `{s.escape.shell}`, which makes a word of anything. An absent part is NULL; input that the
//! transformation cannot work on is an error, which makes the whole variable fail.

mod address;
mod code;
mod csv;
mod date;
mod hash;
mod ip;
mod kamailio;
mod params;
mod sdp;
mod text;
mod uri;

#[cfg(test)]
mod tests;

pub use code::shell_word;
pub use hash::core_hash;

pub use kamailio::{Kop, takes_null};

use super::value::Value;
use crate::base::Str;
use crate::base::names::suggest;

/// The input (or a parameter) is not what the transformation needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// What carrying out a transformation gives.
pub type Outcome = Result<Value, Failed>;

/// Digest algorithms of `{s.md5}` & co.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Their names say it.
pub enum Digest {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// A transformation. Names follow the script's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The table below gives each its name in the script.
pub enum Op {
    Len,
    Int,
    Hash(Digest),
    Hmac(Digest),
    Crc32,
    Reverse,
    Lower,
    Upper,
    Substr,
    Select,
    HexEncode,
    HexDecode,
    EscapeCommon,
    EscapeShell,
    UnescapeCommon,
    EscapeUser,
    UnescapeUser,
    EscapeParam,
    UnescapeParam,
    Index,
    Rindex,
    FillLeft,
    FillRight,
    Width,
    Trim,
    TrimRight,
    TrimLeft,
    Dec2Hex,
    Hex2Dec,
    Base64Encode,
    Base64Decode,
    Xor,
    /// Expands the value as a format string; the machine does it.
    Eval,
    DateToUnix,
    UriUser,
    UriHost,
    UriPassword,
    UriPort,
    UriParams,
    UriHeaders,
    UriSchema,
    UriParam,
    /// A fixed URI parameter: `{uri.transport}`.
    UriNamed(&'static str),
    ViaName,
    ViaVersion,
    ViaTransport,
    ViaHost,
    ViaPort,
    ViaComment,
    ViaParams,
    ViaParam,
    /// A fixed Via parameter: `{via.branch}`.
    ViaNamed(&'static str),
    ParamValue,
    ParamExist,
    ParamValueAt,
    ParamName,
    ParamCount,
    AddrName,
    AddrUri,
    AddrParams,
    AddrParam,
    AddrLen,
    IpPton,
    IpNtop,
    IpIsIp,
    IpIs4,
    IpIs6,
    IpPrivate,
    IpFamily,
    IpMatches,
    /// Number (2 or 10) and name of an address' family: 2.2's operand `af`.
    IpAf,
    CsvCount,
    CsvValue,
    SdpLine,
    SdpStream,
    SdpStreamDelete,
    /// One that only Kamailio has.
    Kamailio(Kop),
    /// `{re.subst}`; the machine hands over the compiled expression.
    Subst,
}

/// How a parameter is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgKind {
    /// A number, or a variable.
    Int,
    /// A text, or a variable.
    Text,
    /// A text that is never a variable.
    Fixed,
    /// `/pattern/replacement/flags`, or a variable that holds it.
    Subst,
}

struct Spec {
    name: &'static str,
    op: Op,
    args: &'static [ArgKind],
    /// How many of them must be given.
    required: usize,
}

const fn none(name: &'static str, op: Op) -> Spec {
    Spec { name, op, args: &[], required: 0 }
}

const fn with(name: &'static str, op: Op, args: &'static [ArgKind], required: usize) -> Spec {
    Spec { name, op, args, required }
}

use ArgKind::{Fixed, Int, Text};

/// Every transformation. Names are matched without regard to letter case.
static SPECS: &[Spec] = &[
    none("s.len", Op::Len),
    none("s.int", Op::Int),
    none("s.md5", Op::Hash(Digest::Md5)),
    none("s.sha1", Op::Hash(Digest::Sha1)),
    none("s.sha224", Op::Hash(Digest::Sha224)),
    none("s.sha256", Op::Hash(Digest::Sha256)),
    none("s.sha384", Op::Hash(Digest::Sha384)),
    none("s.sha512", Op::Hash(Digest::Sha512)),
    with("s.sha1_hmac", Op::Hmac(Digest::Sha1), &[Text], 1),
    with("s.sha224_hmac", Op::Hmac(Digest::Sha224), &[Text], 1),
    with("s.sha256_hmac", Op::Hmac(Digest::Sha256), &[Text], 1),
    with("s.sha384_hmac", Op::Hmac(Digest::Sha384), &[Text], 1),
    with("s.sha512_hmac", Op::Hmac(Digest::Sha512), &[Text], 1),
    none("s.crc32", Op::Crc32),
    none("s.reverse", Op::Reverse),
    none("s.tolower", Op::Lower),
    none("s.toupper", Op::Upper),
    with("s.substr", Op::Substr, &[Int, Int], 2),
    with("s.select", Op::Select, &[Int, Fixed], 2),
    none("s.encode.hexa", Op::HexEncode),
    none("s.decode.hexa", Op::HexDecode),
    none("s.escape.common", Op::EscapeCommon),
    none("s.unescape.common", Op::UnescapeCommon),
    none("s.escape.shell", Op::EscapeShell),
    none("s.escape.user", Op::EscapeUser),
    none("s.unescape.user", Op::UnescapeUser),
    none("s.escape.param", Op::EscapeParam),
    none("s.unescape.param", Op::UnescapeParam),
    with("s.index", Op::Index, &[Text, Int], 1),
    with("s.rindex", Op::Rindex, &[Text, Int], 1),
    with("s.fill.left", Op::FillLeft, &[Fixed, Int], 2),
    with("s.fill.right", Op::FillRight, &[Fixed, Int], 2),
    with("s.width", Op::Width, &[Int], 1),
    none("s.trim", Op::Trim),
    none("s.trimr", Op::TrimRight),
    none("s.triml", Op::TrimLeft),
    none("s.dec2hex", Op::Dec2Hex),
    none("s.hex2dec", Op::Hex2Dec),
    none("s.b64encode", Op::Base64Encode),
    none("s.b64decode", Op::Base64Decode),
    with("s.xor", Op::Xor, &[Text], 1),
    none("s.eval", Op::Eval),
    none("s.date2unix", Op::DateToUnix),
    none("uri.user", Op::UriUser),
    none("uri.host", Op::UriHost),
    none("uri.domain", Op::UriHost),
    none("uri.passwd", Op::UriPassword),
    none("uri.port", Op::UriPort),
    none("uri.params", Op::UriParams),
    none("uri.headers", Op::UriHeaders),
    none("uri.schema", Op::UriSchema),
    none("uri.scheme", Op::UriSchema),
    none("uri.transport", Op::UriNamed("transport")),
    none("uri.ttl", Op::UriNamed("ttl")),
    none("uri.uparam", Op::UriNamed("user")),
    none("uri.maddr", Op::UriNamed("maddr")),
    none("uri.method", Op::UriNamed("method")),
    none("uri.lr", Op::UriNamed("lr")),
    none("uri.r2", Op::UriNamed("r2")),
    with("uri.param", Op::UriParam, &[Text], 1),
    none("via.name", Op::ViaName),
    none("via.version", Op::ViaVersion),
    none("via.transport", Op::ViaTransport),
    none("via.host", Op::ViaHost),
    none("via.domain", Op::ViaHost),
    none("via.port", Op::ViaPort),
    none("via.comment", Op::ViaComment),
    none("via.params", Op::ViaParams),
    none("via.branch", Op::ViaNamed("branch")),
    none("via.received", Op::ViaNamed("received")),
    none("via.rport", Op::ViaNamed("rport")),
    with("via.param", Op::ViaParam, &[Text], 1),
    with("param.value", Op::ParamValue, &[Text], 1),
    with("param.exist", Op::ParamExist, &[Text], 1),
    with("param.valueat", Op::ParamValueAt, &[Int], 1),
    with("param.name", Op::ParamName, &[Int], 1),
    none("param.count", Op::ParamCount),
    none("nameaddr.name", Op::AddrName),
    none("nameaddr.uri", Op::AddrUri),
    none("nameaddr.params", Op::AddrParams),
    none("nameaddr.len", Op::AddrLen),
    with("nameaddr.param", Op::AddrParam, &[Text], 1),
    none("ip.pton", Op::IpPton),
    none("ip.ntop", Op::IpNtop),
    none("ip.isip", Op::IpIsIp),
    none("ip.isip4", Op::IpIs4),
    none("ip.isip6", Op::IpIs6),
    none("ip.isprivate", Op::IpPrivate),
    none("ip.family", Op::IpFamily),
    with("ip.matches", Op::IpMatches, &[Text], 1),
    none("csv.count", Op::CsvCount),
    with("csv.value", Op::CsvValue, &[Int], 1),
    with("sdp.line", Op::SdpLine, &[Fixed, Int], 1),
    with("sdp.stream", Op::SdpStream, &[Text], 1),
    with("sdp.stream-delete", Op::SdpStreamDelete, &[Text], 1),
    with("re.subst", Op::Subst, &[ArgKind::Subst], 1),
    none("rest.escape", Op::EscapeParam),
    none("rest.unescape", Op::UnescapeParam),
];

/// Transformations that need the network; pseudo-variables never wait.
const WAITING: [&str; 3] = ["ip.resolve", "ip.resolve4", "ip.resolve6"];

/// A transformation as written, with its name known.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Which.
    pub op: Op,
    /// Its parameters as written, each with how to read it.
    pub args: Vec<(Vec<u8>, ArgKind)>,
}

/// Why a transformation's text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such transformation; perhaps the suggestion was meant.
    Unknown {
        /// As written.
        name: String,
        /// The nearest known one.
        suggestion: Option<&'static str>,
    },
    /// It would have to wait for a DNS answer.
    Waits(String),
    /// Wrong parameters.
    Args {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads the text between a transformation's braces.
pub fn parse(body: &[u8]) -> Result<Written, Refused> {
    let (head, rest) = match body.iter().position(|c| *c == b',') {
        Some(n) => (&body[..n], Some(&body[n + 1..])),
        None => (body, None),
    };
    let mut name = String::from_utf8_lossy(head.trim_ascii()).to_ascii_lowercase();
    let mut first = None;
    // `nameaddr.IDX.what` selects an entry of a list.
    if let Some((index, what)) = name.strip_prefix("nameaddr.").and_then(|r| r.rsplit_once('.'))
        && (index.starts_with('$') || index.parse::<i64>().is_ok())
    {
        let head = head.trim_ascii();
        let end = head.len() - what.len() - 1;
        first = Some((head.get("nameaddr.".len()..end).unwrap_or_default().to_vec(), Int));
        name = format!("nameaddr.{what}");
    }
    if WAITING.contains(&name.as_str()) {
        return Err(Refused::Waits(name));
    }
    let Some(spec) = SPECS.iter().chain(kamailio::SPECS).find(|s| s.name == name) else {
        let suggestion = suggest(&name, SPECS.iter().chain(kamailio::SPECS).map(|s| s.name));
        return Err(Refused::Unknown { name, suggestion });
    };
    let given = split(rest, spec.args.len());
    let refuse = |reason: String| Err(Refused::Args { name: name.clone(), reason });
    if given.len() < spec.required {
        return refuse(format!("takes {} parameter(s), {} given", spec.required, given.len()));
    }
    if given.len() > spec.args.len() {
        return refuse("takes no parameters".into());
    }
    let mut args: Vec<(Vec<u8>, ArgKind)> = Vec::with_capacity(given.len() + 1);
    // The entry's number stands in front of the other parameters; without one it is missing.
    args.extend(first);
    for (text, kind) in given.into_iter().zip(spec.args) {
        if *kind == Int && !text.trim_ascii().starts_with(b"$") && number(text).is_none() {
            return refuse(format!("`{}` is not a number", String::from_utf8_lossy(text)));
        }
        if text.is_empty() {
            return refuse("has an empty parameter".into());
        }
        args.push((text.to_vec(), *kind));
    }
    Ok(Written { op: spec.op, args })
}

/// Splits parameters at commas outside of nested variables; the last takes the rest.
fn split(rest: Option<&[u8]>, max: usize) -> Vec<&[u8]> {
    let Some(mut rest) = rest else { return Vec::new() };
    let mut out = Vec::new();
    while out.len() + 1 < max {
        let mut depth = 0i32;
        let comma = rest.iter().position(|c| {
            match c {
                b'(' | b'{' => depth += 1,
                b')' | b'}' => depth -= 1,
                _ => {}
            }
            *c == b',' && depth <= 0
        });
        let Some(n) = comma else { break };
        out.push(rest.get(..n).unwrap_or_default());
        rest = rest.get(n + 1..).unwrap_or_default();
    }
    out.push(rest);
    out
}

/// A parameter that is a decimal number.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Carries out a transformation. `args` are the evaluated parameters; results are at most `max`
/// bytes. `Op::Eval` and `Op::Subst` are the machine's business.
pub fn apply(op: Op, input: &Value, args: &[Value], max: usize) -> Outcome {
    if input.is_null() && op != Op::EscapeShell && !takes_null(op) {
        return Ok(Value::Null);
    }
    let text = input.to_text().unwrap_or_default();
    let text: &[u8] = &text;
    let arg = |i: usize| args.get(i).and_then(Value::to_text).ok_or(Failed);
    let int = |i: usize| args.get(i).and_then(Value::to_int).ok_or(Failed);
    match op {
        Op::Len => Ok(Value::Int(text.len() as i64)),
        Op::Int => Ok(Value::Both(text::leading_int(text), Str::from(text))),
        Op::Hash(d) => Ok(hash::digest(d, text)),
        Op::Hmac(d) => hash::hmac(d, &arg(0)?, text),
        Op::Crc32 => Ok(hash::crc32(text)),
        Op::Reverse => Ok(text::reverse(text)),
        Op::Lower => Ok(Value::text(text.to_ascii_lowercase())),
        Op::Upper => Ok(Value::text(text.to_ascii_uppercase())),
        Op::Substr => Ok(text::substr(text, int(0)?, int(1)?)),
        Op::Select => Ok(text::select(text, int(0)?, &arg(1)?)),
        Op::Index => text::index(text, &arg(0)?, args.get(1).map(Value::to_int)),
        Op::Rindex => text::rindex(text, &arg(0)?, args.get(1).map(Value::to_int)),
        Op::FillLeft => text::fill(text, &arg(0)?, int(1)?, true, max),
        Op::FillRight => text::fill(text, &arg(0)?, int(1)?, false, max),
        Op::Width => text::width(text, int(0)?, max),
        Op::Trim => Ok(Value::text(text::trim(text, true, true))),
        Op::TrimRight => Ok(Value::text(text::trim(text, false, true))),
        Op::TrimLeft => Ok(Value::text(text::trim(text, true, false))),
        Op::HexEncode => code::hex_encode(text, max),
        Op::HexDecode => Ok(code::hex_decode(text)),
        Op::EscapeCommon => Ok(code::escape_common(text)),
        Op::UnescapeCommon => Ok(code::unescape_common(text)),
        Op::EscapeShell => Ok(Value::text(shell_word(text))),
        Op::EscapeUser => Ok(code::escape_user(text)),
        Op::EscapeParam => Ok(code::escape_param(text)),
        Op::UnescapeUser | Op::UnescapeParam => code::unescape_uri(text),
        Op::Dec2Hex => code::dec2hex(input),
        Op::Hex2Dec => code::hex2dec(text),
        Op::Base64Encode => Ok(code::base64_encode(input)),
        Op::Base64Decode => code::base64_decode(input),
        Op::Xor => code::xor(text, &arg(0)?),
        Op::DateToUnix => date::to_unix(text),
        Op::UriUser | Op::UriHost | Op::UriPassword | Op::UriPort | Op::UriParams | Op::UriHeaders | Op::UriSchema => {
            uri::part(op, text)
        }
        Op::UriParam => uri::param(text, &arg(0)?),
        Op::UriNamed(name) => uri::param(text, name.as_bytes()),
        Op::ViaParam => uri::via_param(text, &arg(0)?),
        Op::ViaNamed(name) => uri::via_param(text, name.as_bytes()),
        Op::ViaName
        | Op::ViaVersion
        | Op::ViaTransport
        | Op::ViaHost
        | Op::ViaPort
        | Op::ViaComment
        | Op::ViaParams => uri::via_part(op, text),
        Op::ParamValue => Ok(params::value(text, &arg(0)?)),
        Op::ParamExist => Ok(params::exist(text, &arg(0)?)),
        Op::ParamValueAt => Ok(params::value_at(text, int(0)?)),
        Op::ParamName => Ok(params::name_at(text, int(0)?)),
        Op::ParamCount => Ok(params::count(text)),
        Op::AddrName | Op::AddrUri | Op::AddrParams | Op::AddrLen | Op::AddrParam => address::part(op, text, args),
        Op::IpPton => ip::pton(text),
        Op::IpNtop => ip::ntop(text),
        Op::IpIsIp | Op::IpIs4 | Op::IpIs6 | Op::IpPrivate => ip::is(op, text),
        Op::IpFamily => ip::family(text),
        Op::IpMatches => Ok(ip::matches(text, &arg(0)?)),
        Op::IpAf => ip::af(text),
        Op::CsvCount => Ok(csv::count(text)),
        Op::CsvValue => csv::value(text, int(0)?),
        Op::SdpLine => sdp::line(text, &arg(0)?, args.get(1).map(Value::to_int)),
        Op::SdpStream => Ok(sdp::stream(text, &arg(0)?)),
        Op::SdpStreamDelete => Ok(sdp::stream_delete(text, &arg(0)?)),
        Op::Kamailio(op) => kamailio::apply(op, input, text, args, max),
        Op::Eval | Op::Subst => Err(Failed),
    }
}

/// Turns an index that may be negative (from the end) into a position below `len`.
fn position(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { i64::try_from(len).ok()?.checked_add(index)? } else { index };
    usize::try_from(at).ok().filter(|n| *n < len)
}
