//! What the server knows of itself and of the connection a message came over.

use super::Var;
use crate::base::{Str, Time};
use crate::modules::env::{Listen, bracketed};
use crate::modules::host::SipHost;
use crate::modules::kamailio::custom;
use crate::modules::pv::Pv;
use crate::modules::pv_get;
use crate::script::host::{Index, SetError};
use crate::script::preprocess::VERSION;
use crate::script::value::Value;
use crate::sip::message::Message;

/// What `$tcp(...)` knows.
pub(super) const TCP_KEYS: &[&str] = &["c_si", "c_sp", "conid"];
/// What `$ksr(...)` knows.
pub(super) const VERSION_KEYS: &[&str] = &["ver", "verval"];

pub(super) fn get(h: &mut SipHost, var: Var, sub: Option<&Value>, now: Time) -> Value {
    let key = sub.and_then(Value::to_text).unwrap_or_default();
    // Credentials count when they have been accepted.
    let accepted = h.auth.as_ref().is_some_and(|kept| kept.accepted.is_some());
    let mut other = |pv: Pv| pv_get::get(h, pv, None, Index::None, now);
    match var {
        Var::AccountUser if accepted => return other(Pv::AuthUser),
        Var::AccountUser => return other(Pv::FUser),
        Var::AccountUri if accepted => {
            let (user, realm) = (other(Pv::AuthUser).to_text(), other(Pv::AuthRealm).to_text());
            return Value::text([&user.unwrap_or_default()[..], b"@", &realm.unwrap_or_default()[..]].concat());
        }
        Var::AccountUri => {
            return match (other(Pv::FUser).to_text(), other(Pv::FDomain).to_text()) {
                (Some(user), Some(domain)) => Value::text([&user[..], b"@", &domain[..]].concat()),
                _ => other(Pv::FUri),
            };
        }
        _ => {}
    }
    let h = &*h;
    match var {
        Var::ConnectionId => h.conn.map_or(Value::Null, |c| Value::Int(c.number())),
        Var::Connection => match (h.conn, &key[..]) {
            (None, _) => Value::Null,
            (Some(_), b"c_si") => Value::text(h.source.ip().to_string()),
            (Some(_), b"c_sp") => Value::Int(h.source.port().into()),
            (Some(c), _) => Value::Int(c.number()),
        },
        Var::ServerId => Value::Int(h.env().settings.server_id),
        Var::BootTime => Value::Int(h.env().started / 1_000_000),
        Var::OwnVersion => {
            let (x, y, z) = VERSION;
            match &key[..] {
                b"ver" => Value::text(format!("{x}.{y}.{z}")),
                _ => Value::Int(i64::from(x) * 1_000_000 + i64::from(y) * 1000 + i64::from(z)),
            }
        }
        Var::CustomParameter => custom::get(h.env(), &key).unwrap_or_default(),
        Var::SocketName => forced(h).map_or(Value::Null, |l| Value::opt(l.tag.clone())),
        Var::SocketPort => Value::Int(forced(h).map_or(0, |l| l.addr.port().into())),
        Var::AdvertisedUri | Var::AdvertisedUriFull => match h.env().listeners.get(usize::from(h.listener)) {
            Some(l) => Value::text(advertised(l, var == Var::AdvertisedUriFull)),
            None => Value::Null,
        },
        Var::ListenSocket => listen_socket(h, &key),
        Var::UpdatedText => Value::text(updated(h)),
        Var::TextByte => match index_of(&key).and_then(|i| h.msg.bytes().get(i)) {
            Some(byte) => Value::text(&[*byte][..]),
            None => Value::Null,
        },
        _ => Value::Null,
    }
}

fn forced(h: &SipHost) -> Option<&Listen> {
    h.socket_out.and_then(|i| h.env().listeners.get(usize::from(i)))
}

/// A socket as others are to see it, as a URI.
fn advertised(l: &Listen, full: bool) -> String {
    let uri = format!("sip:{}:{}", l.via_host(), l.via_port());
    if full { format!("{uri};transport={}", l.transport.as_param()) } else { uri }
}

/// The message with the changes of this run, as it would be sent but for the Via.
fn updated(h: &SipHost) -> Vec<u8> {
    match &h.ruri {
        Some(uri) if h.msg.is_request() && *uri != *h.msg.request_uri() => {
            let mut edits = h.edits.clone();
            edits.set_request_uri(&h.msg, uri.clone());
            edits.apply(&h.msg)
        }
        _ => h.edits.apply(&h.msg),
    }
}

fn index_of(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// `$lsock(n/NAME/field)`, `$lsock(l/proto:ip:port/field)`.
fn listen_socket(h: &SipHost, text: &[u8]) -> Value {
    let mut parts = text.splitn(2, |b| *b == b'/');
    let (Some(what), Some(rest)) = (parts.next(), parts.next()) else { return Value::Null };
    let Some(slash) = rest.iter().rposition(|b| *b == b'/') else { return Value::Null };
    let (wanted, field) = (&rest[..slash], &rest[slash + 1..]);
    let fits = |l: &Listen| match what.first() {
        Some(b'n') => l.tag.as_ref().is_some_and(|t| **t == *wanted),
        Some(b'l') => socket_text(l).as_bytes() == wanted,
        _ => false,
    };
    let Some((i, l)) = h.env().listeners.iter().enumerate().find(|(_, l)| fits(l)) else { return Value::Null };
    match field.first() {
        Some(b'n') => Value::opt(l.tag.clone()),
        Some(b'l') => Value::text(socket_text(l)),
        Some(b'a') => match &l.advertised {
            Some(_) => Value::text(format!("{}:{}:{}", l.transport.as_param(), l.via_host(), l.via_port())),
            None => Value::from(""),
        },
        Some(b'i') => Value::Int(i as i64),
        _ => Value::Null,
    }
}

fn socket_text(l: &Listen) -> String {
    format!("{}:{}:{}", l.transport.as_param(), bracketed(l.addr.ip()), l.addr.port())
}

pub(super) fn set(h: &mut SipHost, var: Var, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let key = sub.and_then(Value::to_text).unwrap_or_default();
    match var {
        Var::CustomParameter => custom::set(h.env(), &key, value).map_err(|why| {
            crate::modules::log_line(h, -1, &format!("$ccp({}): {why}", key.to_lossy()));
            SetError::BadValue("the parameter was not changed")
        }),
        Var::SocketName => {
            let Some(name) = value.to_text() else {
                h.socket_out = None;
                return Ok(());
            };
            let found = h.env().listeners.iter().position(|l| l.tag.as_ref() == Some(&name));
            let found = found.and_then(|i| u16::try_from(i).ok());
            h.socket_out = Some(found.ok_or(SetError::BadValue("no listening socket has this name"))?);
            Ok(())
        }
        Var::TextByte => set_byte(h, &key, value),
        _ => Err(SetError::ReadOnly),
    }
}

/// Puts another character into the message. The result must be a message.
fn set_byte(h: &mut SipHost, key: &Str, value: &Value) -> Result<(), SetError> {
    let at = index_of(key).filter(|i| *i < h.msg.bytes().len());
    let at = at.ok_or(SetError::BadValue("the message has no character there"))?;
    let new = value.to_text().and_then(|t| t.first().copied()).ok_or(SetError::BadValue("a character is expected"))?;
    let mut bytes = h.msg.bytes().to_vec();
    bytes[at] = new;
    let changed = Message::parse(Str::from(bytes)).map_err(|_| SetError::BadValue("the result would be no message"))?;
    if changed.is_request() != h.msg.is_request() {
        return Err(SetError::BadValue("the result would be another kind of message"));
    }
    // Changes that were noted keep their places: nothing has moved.
    h.msg = changed;
    Ok(())
}
