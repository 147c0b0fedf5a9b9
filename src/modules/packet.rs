//! The bytes in hand where there is no message yet, or where one is about to leave: `$rcv(...)`, `$snd(...)`,
//! `$sndto(...)`, `$sndfrom(...)` (kamailio.md section 6.2).

use super::env::{Listen, bracketed};
use super::host::SipHost;
use super::pv_kamailio::Kpv;
use crate::base::Str;
use crate::script::host::SetError;
use crate::script::value::Value;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What was received, or is about to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Str,
    /// Where it goes, and the number of the listener it leaves from; `None`: it was received.
    pub to: Option<(SocketAddr, u16)>,
}

/// Fields of `$snd`, `$sndto` and `$sndfrom`.
pub const FIELDS: &[&str] = &["ip", "port", "proto", "sproto", "af", "buf", "len"];
/// Fields of `$rcv`.
pub const RECEIVED: &[&str] =
    &["ip", "port", "proto", "sproto", "af", "buf", "len", "srcip", "srcport", "scrport", "rcvip", "rcvport"];

/// Reads one of the four.
pub fn get(h: &SipHost, pv: Kpv, field: &[u8]) -> Value {
    let packet = h.packet.as_deref();
    if pv == Kpv::Rcv {
        let bytes = || packet.filter(|p| p.to.is_none()).map_or_else(|| Str::from(h.msg.bytes()), |p| p.bytes.clone());
        return match field {
            b"buf" => Value::Str(bytes()),
            b"len" => Value::Int(bytes().len() as i64),
            b"srcip" => address(h, h.source, h.listener, b"ip"),
            b"srcport" | b"scrport" => address(h, h.source, h.listener, b"port"),
            b"rcvip" | b"rcvport" => match h.env().listeners.get(usize::from(h.listener)) {
                Some(own) => address(h, own.addr, h.listener, &field[3..]),
                None => Value::Null,
            },
            _ => address(h, h.source, h.listener, field),
        };
    }
    let Some(Packet { bytes, to: Some((to, listener)) }) = packet else { return Value::Null };
    match (pv, field) {
        (_, b"buf") => Value::Str(bytes.clone()),
        (_, b"len") => Value::Int(bytes.len() as i64),
        (Kpv::SndFrom, _) => match h.env().listeners.get(usize::from(*listener)) {
            Some(own) => address(h, own.addr, *listener, field),
            None => Value::Null,
        },
        _ => address(h, *to, *listener, field),
    }
}

/// Assigns `$rcv(buf)`, where bytes have come in and are not read yet.
///
/// # Errors
/// Why that is not possible.
pub fn set(h: &mut SipHost, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    if sub.and_then(Value::to_text).as_deref() != Some(b"buf") {
        return Err(SetError::BadValue("only $rcv(buf) can be assigned"));
    }
    match (h.packet.as_deref_mut().filter(|p| p.to.is_none()), value.to_text()) {
        (Some(packet), Some(text)) => {
            packet.bytes = text;
            Ok(())
        }
        (None, _) => Err(SetError::BadValue("nothing has come in that is not read yet")),
        (_, None) => Err(SetError::BadValue("NULL is not possible here")),
    }
}

fn address(h: &SipHost, addr: SocketAddr, listener: u16, field: &[u8]) -> Value {
    let transport = || h.env().listeners.get(usize::from(listener)).map(|l: &Listen| l.transport);
    match field {
        b"ip" => Value::text(bracketed(addr.ip())),
        b"port" => Value::Int(addr.port().into()),
        b"af" => Value::Int(if addr.is_ipv4() { 2 } else { 10 }),
        b"proto" => transport().map_or(Value::Null, |t| Value::Int(super::pv_kamailio::proto_number(t.as_param()))),
        b"sproto" => transport().map_or(Value::Null, |t| Value::text(t.as_param())),
        _ => Value::Null,
    }
}
