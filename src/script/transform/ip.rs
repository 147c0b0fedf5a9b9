//! `{ip.*}`: addresses.

use super::{Failed, Op, Outcome};
use crate::base::Str;
use crate::script::compare::{in_net, parse_ip, parse_net};
use crate::script::value::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 4 or 16 raw bytes.
pub(super) fn pton(text: &[u8]) -> Outcome {
    Ok(match parse_ip(text).ok_or(Failed)? {
        IpAddr::V4(a) => Value::text(&a.octets()[..]),
        IpAddr::V6(a) => Value::text(&a.octets()[..]),
    })
}

fn from_bytes(raw: &[u8]) -> Option<IpAddr> {
    if let Ok(b) = <[u8; 4]>::try_from(raw) {
        return Some(Ipv4Addr::from(b).into());
    }
    <[u8; 16]>::try_from(raw).ok().map(|b| Ipv6Addr::from(b).into())
}

pub(super) fn ntop(raw: &[u8]) -> Outcome {
    from_bytes(raw).map(|ip| Value::text(ip.to_string())).ok_or(Failed)
}

/// The family of a binary address.
pub(super) fn family(raw: &[u8]) -> Outcome {
    from_bytes(raw).map(|ip| Value::text(if ip.is_ipv4() { "INET" } else { "INET6" })).ok_or(Failed)
}

/// Linux' number for the family of a textual address, and its name.
pub(super) fn af(text: &[u8]) -> Outcome {
    Ok(match parse_ip(text).ok_or(Failed)? {
        IpAddr::V4(_) => Value::Both(2, Str::from("INET")),
        IpAddr::V6(_) => Value::Both(10, Str::from("INET6")),
    })
}

pub(super) fn is(op: Op, text: &[u8]) -> Outcome {
    let ip = parse_ip(text);
    Ok(Value::Int(i64::from(match (op, ip) {
        (Op::IpIsIp, ip) => ip.is_some(),
        (Op::IpIs4, ip) => ip.is_some_and(|a| a.is_ipv4()),
        (Op::IpIs6, ip) => ip.is_some_and(|a| a.is_ipv6()),
        (_, ip) => is_private(ip.ok_or(Failed)?),
    })))
}

/// RFC 1918, RFC 6598, loopback and link-local addresses; unique local IPv6 addresses (RFC 4193).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => {
            let o = a.octets();
            a.is_private() || a.is_loopback() || a.is_link_local() || (o[0] == 100 && o[1] & 0xc0 == 64)
        }
        IpAddr::V6(a) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
    }
}

/// NULL for bad input and for different families.
pub(super) fn matches(text: &[u8], net: &[u8]) -> Value {
    let net = std::str::from_utf8(net).ok().and_then(parse_net);
    match (parse_ip(text), net) {
        (Some(ip), Some(net)) if ip.is_ipv4() == net.addr.is_ipv4() => Value::Int(in_net(ip, net).into()),
        _ => Value::Null,
    }
}
