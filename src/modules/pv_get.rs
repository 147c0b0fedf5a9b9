//! Reading pseudo-variables (OpenSIPS manual, Script-CoreVar; opensips.md section 5.3). Message
//! based ones are NULL when their header is absent.

use super::env::bracketed;
use super::host::SipHost;
use super::pv::Pv;
use super::time_text;
use crate::base::{Str, Time};
use crate::script::host::Index;
use crate::script::value::Value;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::{Scheme, Uri};

/// Reads `pv`. Never waits.
pub fn get(h: &mut SipHost, pv: Pv, sub: Option<&Value>, index: Index, now: Time) -> Value {
    match pv {
        Pv::Ru => ruri(h).map_or(Value::Null, Value::text),
        Pv::RUser | Pv::RDomain | Pv::RPort | Pv::RProto => ruri(h).map_or(Value::Null, |u| uri_part(u, part_of(pv))),
        Pv::OUri => request(h).map_or(Value::Null, |m| Value::text(m.request_uri())),
        Pv::OUser | Pv::ODomain | Pv::OPort | Pv::OProto => {
            request(h).map_or(Value::Null, |m| uri_part(m.request_uri(), part_of(pv)))
        }
        Pv::RuQ => h.q.map_or(Value::Null, |q| Value::Int(i64::from(q))),
        Pv::Du => Value::opt(h.du.clone()),
        Pv::DDomain | Pv::DPort | Pv::DProto => match &h.du {
            Some(u) => uri_part(u, part_of(pv)),
            None => Value::Null,
        },
        Pv::DestSet => destination_set(h),
        Pv::FUri | Pv::FUser | Pv::FDomain | Pv::FName | Pv::FTag => {
            name_addr(h.msg.header(HeaderId::From).map(|x| x.value), pv)
        }
        Pv::TUri | Pv::TUser | Pv::TDomain | Pv::TName | Pv::TTag => {
            name_addr(h.msg.header(HeaderId::To).map(|x| x.value), pv)
        }
        Pv::CallId => Value::text(h.msg.call_id()),
        Pv::CSeqNumber => Value::Int(i64::from(h.msg.cseq().number)),
        Pv::ContentLength => match h.msg.header(HeaderId::ContentLength) {
            Some(x) => {
                std::str::from_utf8(x.value).ok().and_then(|t| t.trim().parse().ok()).map_or(Value::Null, Value::Int)
            }
            None => Value::Null,
        },
        Pv::ContentType => header_value(h, HeaderId::ContentType),
        Pv::Contact => contact(h, index),
        Pv::ContactField => contact_field(h, sub, index),
        Pv::Method => Value::text(h.msg.method_bytes()),
        Pv::Status if h.msg.is_reply() => Value::Both(i64::from(h.msg.status()), Str::from(h.msg.status().to_string())),
        Pv::Reason if h.msg.is_reply() => Value::text(h.msg.reason()),
        Pv::Status | Pv::Reason => Value::Null,
        Pv::Body => {
            let body = h.msg.body();
            if body.is_empty() { Value::Null } else { Value::text(body) }
        }
        // Bytes that have not been read stand for the message that there is none of.
        Pv::MessageText => Value::text(bytes_in_hand(h)),
        Pv::MessageLength => Value::Int(bytes_in_hand(h).len() as i64),
        Pv::MessageId => Value::Int(i64::from(h.message_id)),
        Pv::MessageFlags => joined(&h.flags, b" "),
        Pv::BranchFlags => joined(&h.bflags, b" "),
        Pv::MsgFlag => flag(&h.flags, sub),
        Pv::BranchFlag => flag(&h.bflags, sub),
        Pv::MsgIsRequest => Value::Int(i64::from(h.msg.is_request())),
        Pv::MsgType => Value::from(if h.msg.is_request() { "request" } else { "reply" }),
        Pv::Branch => branch(h, index).map_or(Value::Null, |b| super::tm::vars::part_of_target(h, b, sub)),
        Pv::BranchUri => branch(h, index).map_or(Value::Null, |b| Value::Str(b.uri.clone())),
        Pv::BranchDuri => branch(h, index).map_or(Value::Null, |b| Value::opt(b.du.clone())),
        Pv::BranchQ => branch(h, index).and_then(|b| b.q).map_or(Value::Null, |q| Value::Int(i64::from(q))),
        Pv::BranchLast => match h.branches.len() {
            0 => Value::Null,
            n => Value::Int(n as i64 - 1),
        },
        Pv::Hdr => hdr(h, sub, index),
        Pv::HdrCount => match sub.and_then(Value::to_text) {
            Some(name) => Value::Int(h.msg.headers_named(&name).count() as i64),
            None => Value::Null,
        },
        Pv::HdrName => {
            let names: Vec<&[u8]> = h.msg.headers().map(|x| x.name).collect();
            pick(&names, index).map_or(Value::Null, Value::text)
        }
        Pv::Ua => header_value(h, HeaderId::UserAgent),
        Pv::Path => header_value(h, HeaderId::Path),
        Pv::Pai => named_uri(h, b"P-Asserted-Identity", Part::Whole),
        Pv::PpiUri => named_uri(h, b"P-Preferred-Identity", Part::Whole),
        Pv::PpiUser => named_uri(h, b"P-Preferred-Identity", Part::User),
        Pv::PpiDomain => named_uri(h, b"P-Preferred-Identity", Part::Host),
        Pv::PpiName => match first_named(h, b"P-Preferred-Identity").and_then(|v| NameAddr::parse(v).ok()) {
            Some(n) => name(n.display),
            None => Value::Null,
        },
        Pv::RpidUri => named_uri(h, b"Remote-Party-ID", Part::Whole),
        Pv::ReferTo => named_uri(h, b"Refer-To", Part::Whole),
        Pv::Diversion => named_uri(h, b"Diversion", Part::Whole),
        Pv::DiversionReason => named_param(h, b"Diversion", b"reason"),
        Pv::DiversionPrivacy => named_param(h, b"Diversion", b"privacy"),
        Pv::AuthUri
        | Pv::AuthRealm
        | Pv::AuthUser
        | Pv::AuthUsername
        | Pv::AuthDomain
        | Pv::AuthNonce
        | Pv::AuthResponse
        | Pv::AuthCnonce
        | Pv::AuthOpaque
        | Pv::AuthAlgorithm
        | Pv::AuthQop
        | Pv::AuthNc => auth(h, pv),
        Pv::AccExtra => super::acc::extra(h, &sub.and_then(Value::to_text).unwrap_or_default()),
        Pv::AccUser => match auth(h, Pv::AuthUser) {
            Value::Null => name_addr(h.msg.header(HeaderId::From).map(|x| x.value), Pv::FUser),
            v => v,
        },
        Pv::Shv => super::shared::get_variable(h, sub),
        Pv::Stat => super::counters::stat(h, sub),
        Pv::SourceIp => Value::from(h.source.ip().to_string().as_str()),
        Pv::SourcePort => number(h.source.port()),
        Pv::RecvIp | Pv::RecvPort | Pv::Proto | Pv::Af | Pv::SocketIn => socket(h, Some(h.listener), pv, sub),
        Pv::SocketOut => socket(h, h.socket_out, pv, sub),
        Pv::ErrClass | Pv::ErrLevel => h.last_error.as_ref().map_or(Value::Null, |_| Value::Int(1)),
        Pv::ErrInfo | Pv::ErrReason => Value::opt(h.last_error.as_ref().map(|e| e.1.clone())),
        Pv::ErrCode => h.last_error.as_ref().map_or(Value::Null, |e| number(e.0)),
        Pv::ParamName => {
            let name = sub.and_then(Value::to_text).unwrap_or_default();
            Value::opt(h.event.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()))
        }
        Pv::TimeSeconds => Value::Int(h.env().clock.micros() / 1_000_000),
        Pv::TimeMicros => Value::Int(h.env().clock.micros() % 1_000_000),
        Pv::TimeStart => Value::Int(h.received_at / 1_000_000),
        Pv::TimeText => Value::text(time_text::ctime(h.env().clock.micros() / 1_000_000)),
        Pv::TimeFormat => match sub.and_then(Value::to_text) {
            Some(f) => Value::text(time_text::format(&f.to_lossy(), h.env().clock.micros() / 1_000_000)),
            None => Value::Null,
        },
        Pv::TimePart => match sub.and_then(Value::to_text) {
            Some(f) => {
                time_text::part(&f.to_lossy(), h.env().clock.micros() / 1_000_000).map_or(Value::Null, Value::Int)
            }
            None => Value::Null,
        },
        Pv::Env => match sub.and_then(Value::to_text) {
            Some(name) => Value::opt(std::env::var(&*name.to_lossy()).ok()),
            None => Value::Null,
        },
        Pv::Random => Value::Int(i64::from(random(now) >> 1)),
        Pv::Pid => number(h.env().pid),
        Pv::Colour => Value::from(""),
        Pv::LogLevel => Value::Int(i64::from(h.levels.0.unwrap_or_else(|| h.env().log_level()))),
        Pv::XlogLevel => Value::Int(i64::from(h.levels.1.unwrap_or_else(|| h.env().xlog_level()))),
        Pv::RrParams => Value::opt(h.rr.own_params.clone()),
        Pv::Bavp => {
            let name = sub.and_then(Value::to_text).unwrap_or_default();
            match index {
                Index::All => match h.bavps.values(&name).filter_map(Value::to_text).collect::<Vec<_>>() {
                    list if list.is_empty() => Value::Null,
                    list => joined(&list, b", "),
                },
                Index::At(i) => h.bavps.get(&name, i),
                Index::None | Index::Append => h.bavps.get(&name, 0),
            }
        }
        Pv::BranchPath | Pv::BranchFlagList | Pv::BranchSocket | Pv::BranchFlagOf | Pv::BranchAttr => {
            branch(h, index).map_or(Value::Null, |b| super::tm::vars::of_target(h, b, pv, sub))
        }
        Pv::Kamailio(pv) => super::pv_kamailio::get(h, pv, sub, index, now),
        pv => super::tm::vars::get(h, pv, sub, index),
    }
}

/// Variables that are neither the message's nor the transaction's.
pub(super) fn get_other(h: &SipHost, pv: Pv, sub: Option<&Value>, index: Index) -> Value {
    match pv {
        Pv::ExecStatus => h.exec_status.map_or(Value::Null, |s| Value::Int(i64::from(s))),
        Pv::SdpLine => sdp_line(h, sub, index),
        _ => Value::Null,
    }
}

/// A display name as written, or NULL.
fn name(text: &[u8]) -> Value {
    if text.is_empty() { Value::Null } else { Value::text(text) }
}

/// A number with its text form, as most numeric variables have.
pub(super) fn number(n: impl Into<i64>) -> Value {
    let n = n.into();
    Value::Both(n, Str::from(n.to_string()))
}

/// The request a run is about: in reply routes the one that was sent.
fn request(h: &SipHost) -> Option<&Message> {
    if h.msg.is_request() { Some(&h.msg) } else { h.other.as_ref().filter(|m| m.is_request()) }
}

pub(super) fn ruri(h: &SipHost) -> Option<&[u8]> {
    match &h.ruri {
        Some(u) => Some(u),
        None => request(h).map(Message::request_uri),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    User,
    Host,
    Port,
    Proto,
}

fn part_of(pv: Pv) -> Part {
    match pv {
        Pv::RUser | Pv::OUser => Part::User,
        Pv::RDomain | Pv::ODomain | Pv::DDomain => Part::Host,
        Pv::RPort | Pv::OPort | Pv::DPort => Part::Port,
        Pv::RProto | Pv::OProto | Pv::DProto => Part::Proto,
        _ => Part::Whole,
    }
}

fn uri_part(text: &[u8], part: Part) -> Value {
    if part == Part::Whole {
        return Value::text(text);
    }
    let Ok(uri) = Uri::parse(text) else { return Value::Null };
    match part {
        Part::Whole => Value::text(text),
        Part::User => Value::opt(uri.user.map(Str::from)),
        Part::Host => Value::text(uri.host),
        // The default port is shown where none is written (observed on the peer).
        Part::Port => number(uri.port_or_default()),
        Part::Proto => Value::text(uri.transport().map_or_else(
            || Str::from(if uri.scheme == Scheme::Sips { "tls" } else { "udp" }),
            |t| Str::from(t.as_param()),
        )),
    }
}

fn name_addr(value: Option<&[u8]>, pv: Pv) -> Value {
    let Some(value) = value else { return Value::Null };
    let Ok(n) = NameAddr::parse(value) else { return Value::Null };
    match pv {
        Pv::FUri | Pv::TUri => Value::text(n.uri),
        Pv::FUser | Pv::TUser => uri_part(n.uri, Part::User),
        Pv::FDomain | Pv::TDomain => uri_part(n.uri, Part::Host),
        Pv::FName | Pv::TName => name(n.display),
        _ => Value::opt(n.tag().map(Str::from)),
    }
}

fn header_value(h: &SipHost, id: HeaderId) -> Value {
    Value::opt(h.msg.header(id).map(|x| Str::from(x.value)))
}

fn first_named<'a>(h: &'a SipHost, name: &[u8]) -> Option<&'a [u8]> {
    h.msg.headers_named(name).next().map(|x| x.value)
}

fn named_uri(h: &SipHost, name: &[u8], part: Part) -> Value {
    match first_named(h, name).and_then(|v| NameAddr::parse(v).ok()) {
        Some(n) => uri_part(n.uri, part),
        None => Value::Null,
    }
}

fn named_param(h: &SipHost, name: &[u8], param: &[u8]) -> Value {
    match first_named(h, name).and_then(|v| NameAddr::parse(v).ok()) {
        Some(n) => Value::opt(n.param(param).map(Str::from)),
        None => Value::Null,
    }
}

pub(super) fn joined(list: &[Str], sep: &[u8]) -> Value {
    Value::text(list.iter().map(Str::as_bytes).collect::<Vec<_>>().join(sep))
}

fn flag(list: &[Str], sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    Value::Int(i64::from(list.contains(&name)))
}

/// One of several by index; the first without one, all joined with `[*]`.
fn pick(list: &[&[u8]], index: Index) -> Option<Str> {
    match index {
        Index::None => list.first().map(|v| Str::from(*v)),
        Index::At(i) => at(list, i).map(|v| Str::from(*v)),
        Index::All if list.is_empty() => None,
        Index::All | Index::Append => Some(Str::from(list.join(&b", "[..]))),
    }
}

pub(super) fn at<T>(list: &[T], i: i64) -> Option<&T> {
    let n = list.len() as i64;
    let i = if i < 0 { n.checked_add(i)? } else { i };
    usize::try_from(i).ok().and_then(|i| list.get(i))
}

fn hdr(h: &SipHost, sub: Option<&Value>, index: Index) -> Value {
    let Some(name) = sub.and_then(Value::to_text) else { return Value::Null };
    let list: Vec<&[u8]> = h.msg.headers_named(&name).map(|x| x.value).collect();
    Value::opt(pick(&list, index))
}

fn contact(h: &SipHost, index: Index) -> Value {
    match index {
        Index::None => header_value(h, HeaderId::Contact),
        _ => {
            let list: Vec<&[u8]> = h.msg.headers_of(HeaderId::Contact).flat_map(|x| x.values()).collect();
            Value::opt(pick(&list, index))
        }
    }
}

fn contact_field(h: &SipHost, sub: Option<&Value>, index: Index) -> Value {
    let list: Vec<&[u8]> = h.msg.headers_of(HeaderId::Contact).flat_map(|x| x.values()).collect();
    let i = if let Index::At(i) = index { i } else { 0 };
    let Some(n) = at(&list, i).and_then(|v| NameAddr::parse(v).ok()) else { return Value::Null };
    let field = sub.and_then(Value::to_text).unwrap_or_default();
    match &field[..] {
        b"name" => name(n.display),
        b"uri" => Value::text(n.uri),
        b"params" => Value::text(n.params.text()),
        name => Value::opt(n.param(name).map(Str::from)),
    }
}

fn branch(h: &SipHost, index: Index) -> Option<&super::host::Target> {
    match index {
        Index::At(i) => at(&h.branches, i),
        _ => h.branches.first(),
    }
}

fn destination_set(h: &SipHost) -> Value {
    let mut out = b"Contact: <".to_vec();
    out.extend_from_slice(h.current_ruri());
    out.push(b'>');
    for b in &h.branches {
        out.extend_from_slice(b", <");
        out.extend_from_slice(&b.uri);
        out.push(b'>');
    }
    Value::text(out)
}

/// The value of a parameter of the digest credentials (RFC 3261 20.7, RFC 8760).
fn credential(h: &SipHost, name: &[u8]) -> Option<Str> {
    let value = h
        .msg
        .header(HeaderId::Authorization)
        .or_else(|| h.msg.header(HeaderId::ProxyAuthorization))
        .map(|x| x.value)?;
    let rest = value.get(..7).filter(|p| p.eq_ignore_ascii_case(b"digest ")).and(value.get(7..))?;
    crate::sip::list::split_list(rest).find_map(|part| {
        let eq = part.iter().position(|b| *b == b'=')?;
        let (n, v) = (part[..eq].trim_ascii(), part[eq + 1..].trim_ascii());
        n.eq_ignore_ascii_case(name)
            .then(|| Str::from(v.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(v)))
    })
}

fn auth(h: &SipHost, pv: Pv) -> Value {
    let name: &[u8] = match pv {
        Pv::AuthUri => b"uri",
        Pv::AuthRealm => b"realm",
        Pv::AuthNonce => b"nonce",
        Pv::AuthResponse => b"response",
        Pv::AuthCnonce => b"cnonce",
        Pv::AuthOpaque => b"opaque",
        Pv::AuthAlgorithm => b"algorithm",
        Pv::AuthQop => b"qop",
        Pv::AuthNc => b"nc",
        _ => b"username",
    };
    let Some(value) = credential(h, name) else { return Value::Null };
    let at = value.iter().position(|b| *b == b'@');
    match (pv, at) {
        (Pv::AuthUser, Some(at)) => Value::text(&value[..at]),
        (Pv::AuthDomain, Some(at)) => Value::text(&value[at + 1..]),
        (Pv::AuthDomain, None) => Value::Null,
        _ => Value::Str(value),
    }
}

pub(super) fn socket(h: &SipHost, listener: Option<u16>, pv: Pv, sub: Option<&Value>) -> Value {
    let Some(l) = listener.and_then(|i| h.env().listeners.get(usize::from(i))) else { return Value::Null };
    let field = sub.and_then(Value::to_text);
    let field: &[u8] = match (pv, &field) {
        (Pv::RecvIp, _) => b"ip",
        (Pv::RecvPort, _) => b"port",
        (Pv::Proto, _) => b"proto",
        (Pv::Af, _) => b"af",
        (_, Some(f)) => f,
        (_, None) => b"",
    };
    match field {
        b"ip" => Value::text(l.addr.ip().to_string()),
        b"port" => number(l.addr.port()),
        b"proto" => Value::from(l.transport.as_param()),
        b"af" => Value::from(if l.addr.is_ipv4() { "INET" } else { "INET6" }),
        b"advertised_ip" => Value::opt(l.advertised.as_ref().map(|a| a.0.clone())),
        b"advertised_port" => match &l.advertised {
            Some((_, Some(p))) => number(*p),
            _ => Value::Null,
        },
        b"tag" => Value::opt(l.tag.clone()),
        b"anycast" => Value::Int(0),
        b"forced" => Value::Int(i64::from(h.socket_out.is_some())),
        b"" => Value::text(format!("{}:{}:{}", l.transport.as_param(), bracketed(l.addr.ip()), l.addr.port())),
        _ => Value::Null,
    }
}

fn sdp_line(h: &SipHost, sub: Option<&Value>, index: Index) -> Value {
    let Some(prefix) = sub.and_then(Value::to_text) else { return Value::Null };
    let lines: Vec<&[u8]> = h
        .msg
        .body()
        .split(|b| *b == b'\n')
        .map(|l| l.strip_suffix(b"\r").unwrap_or(l))
        .filter(|l| l.starts_with(&prefix))
        .collect();
    Value::opt(pick(&lines, index))
}

/// A number that is spread well enough for load sharing; not for secrets.
pub fn random(now: Time) -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(now.as_micros());
    hasher.finish() as u32
}

/// The message's bytes, or those that are no message (yet).
fn bytes_in_hand(h: &SipHost) -> &[u8] {
    match &h.packet {
        Some(packet) if h.phony => &packet.bytes,
        _ => h.msg.bytes(),
    }
}
