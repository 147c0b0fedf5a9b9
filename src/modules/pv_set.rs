//! Assigning pseudo-variables (opensips.md section 5.2). NULL removes or resets.

use super::host::{SipHost, Target};
use super::pv::Pv;
use crate::base::Str;
use crate::script::host::{Index, SetError};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// Assigns `pv`. `replace` is `:=`, which means the same as `=`
/// for all but `$bavp`.
pub fn set(
    h: &mut SipHost,
    pv: Pv,
    sub: Option<&Value>,
    index: Index,
    replace: bool,
    value: Value,
) -> Result<(), SetError> {
    match pv {
        Pv::Ru => {
            let text = text(&value)?;
            valid_uri(&text)?;
            set_ruri(h, text)
        }
        Pv::RUser => edit_ruri(h, UriPart::User, &value),
        Pv::RDomain => edit_ruri(h, UriPart::Host, &value),
        Pv::RPort => edit_ruri(h, UriPart::Port, &value),
        Pv::RuQ => {
            h.q = match value.as_int() {
                Some(q) => Some(q.clamp(0, 1000) as u16),
                None if value.is_null() => None,
                None => return Err(SetError::BadValue("q is a number from 0 to 1000")),
            };
            Ok(())
        }
        Pv::Du => {
            h.du = match value {
                Value::Null => None,
                v => {
                    let t = text(&v)?;
                    valid_uri(&t)?;
                    Some(t)
                }
            };
            Ok(())
        }
        Pv::AccExtra => super::acc::set_extra(h, &sub.and_then(Value::to_text).unwrap_or_default(), value),
        Pv::DDomain => edit_du(h, UriPart::Host, &value),
        Pv::DPort => edit_du(h, UriPart::Port, &value),
        Pv::MsgFlag => set_flag(&mut h.flags, sub, &value),
        Pv::BranchFlag => set_flag(&mut h.bflags, sub, &value),
        Pv::Branch => match sub.and_then(Value::to_text).as_deref() {
            None | Some(b"") => set_branch(h, index, value),
            Some(part) => {
                let pv = match part {
                    b"uri" => Pv::BranchUri,
                    b"duri" => Pv::BranchDuri,
                    b"path" => Pv::BranchPath,
                    b"q" => Pv::BranchQ,
                    b"flags" => Pv::BranchFlagList,
                    b"socket" => Pv::BranchSocket,
                    _ => return Err(SetError::BadValue("a branch has uri, duri, path, q, flags and socket")),
                };
                set(h, pv, None, index, replace, value)
            }
        },
        Pv::BranchPath => optional(&value).and_then(|v| branch_part(h, index, |b| b.path = v)),
        Pv::BranchQ => {
            let q = match &value {
                Value::Null => None,
                v => match v.to_text().and_then(|t| super::core::branches::q_of(&t)) {
                    None => return Err(SetError::BadValue("q is a number from 0 to 1, or from 0 to 1000")),
                    q => q,
                },
            };
            branch_part(h, index, |b| b.q = q)
        }
        Pv::BranchFlagList => {
            let text = value.to_text().unwrap_or_default();
            let words = text.split(|b| matches!(b, b' ' | b',')).filter(|w| !w.is_empty());
            let flags: Vec<Str> = words.take(64).map(Str::from).collect();
            branch_part(h, index, |b| b.flags = flags)
        }
        Pv::BranchSocket => {
            let socket = listener(h, &value)?;
            branch_part(h, index, |b| b.socket = socket)
        }
        Pv::BranchFlagOf => match branch(h, index)? {
            Some(b) => set_flag(&mut b.flags, sub, &value),
            None => Ok(()),
        },
        Pv::BranchAttr => {
            let name = sub.and_then(Value::to_text).ok_or(SetError::BadValue("an attribute needs a name"))?;
            let value = optional(&value)?;
            let Some(b) = branch(h, index)? else { return Ok(()) };
            b.attrs.retain(|(n, _)| *n != name);
            match value {
                Some(_) if b.attrs.len() >= 64 => Err(SetError::BadValue("too many attributes")),
                Some(v) => {
                    b.attrs.push((name, v));
                    Ok(())
                }
                None => Ok(()),
            }
        }
        Pv::Bavp => {
            let name = sub.and_then(Value::to_text).ok_or(SetError::BadValue("an AVP needs a name"))?;
            let limits = crate::script::program::Limits::default();
            h.bavps
                .assign(&name, index, replace, value, &limits)
                .map_err(|_| SetError::BadValue("too many AVPs, or one is too long"))
        }
        Pv::BranchUri => {
            let uri = text(&value)?;
            valid_uri(&uri)?;
            branch_part(h, index, |b| b.uri = uri)
        }
        Pv::BranchDuri => match branch(h, index)? {
            Some(b) if value.is_null() => {
                b.du = None;
                Ok(())
            }
            Some(b) => text(&value).map(|t| b.du = Some(t)),
            None => Ok(()),
        },
        Pv::SocketOut => {
            h.socket_out = listener(h, &value)?;
            Ok(())
        }
        Pv::Shv => super::shared::set_variable(h, sub, &value),
        Pv::Kamailio(super::pv_kamailio::Kpv::UacReq) => super::uac::request::set(h, sub, value),
        Pv::Kamailio(super::pv_kamailio::Kpv::HttpWanted) => super::http::async_client::set(h, sub, &value),
        Pv::Kamailio(super::pv_kamailio::Kpv::Rcv) => super::packet::set(h, sub, &value),
        Pv::Kamailio(super::pv_kamailio::Kpv::Family(var)) => super::kamailio::vars::set(h, var, sub, index, &value),
        Pv::FUri | Pv::FUser | Pv::FDomain | Pv::FName | Pv::TUri | Pv::TUser | Pv::TDomain | Pv::TName => {
            super::kamailio::vars::names::set(h, pv, &value)
        }
        Pv::Kamailio(pv) => super::htable::items::set(h, pv, sub, &value),
        Pv::LogLevel => level(&value).map(|l| h.levels.0 = l),
        Pv::XlogLevel => level(&value).map(|l| h.levels.1 = l),
        Pv::TFrTimeout => seconds(&value).map(|s| h.tm.fr_timeout = Some(s * 1000)),
        Pv::TFrInvTimeout => seconds(&value).map(|s| h.tm.fr_inv_timeout = Some(s * 1000)),
        _ => Err(SetError::ReadOnly),
    }
}

/// The parts of a URI that scripts change on their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UriPart {
    /// The user part.
    User,
    /// The host.
    Host,
    /// The port.
    Port,
}

fn text(value: &Value) -> Result<Str, SetError> {
    value.to_text().ok_or(SetError::BadValue("NULL is not possible here"))
}

fn valid_uri(text: &[u8]) -> Result<(), SetError> {
    Uri::parse(text).map(|_| ()).map_err(|_| SetError::BadValue("not a valid URI"))
}

/// Changes the R-URI; only a request has one.
pub fn set_ruri(h: &mut SipHost, uri: Str) -> Result<(), SetError> {
    if h.msg.is_reply() {
        return Err(SetError::ReadOnly);
    }
    h.ruri = Some(uri);
    Ok(())
}

/// Changes a part of the R-URI; NULL removes user or port.
pub fn edit_ruri(h: &mut SipHost, part: UriPart, value: &Value) -> Result<(), SetError> {
    let new = with_part(h.current_ruri(), part, value)?;
    set_ruri(h, new)
}

fn edit_du(h: &mut SipHost, part: UriPart, value: &Value) -> Result<(), SetError> {
    let base = match &h.du {
        Some(du) => du.clone(),
        None => {
            let Some(host) = value.to_text() else { return Ok(()) };
            if part != UriPart::Host {
                return Err(SetError::BadValue("there is no destination URI yet"));
            }
            let mut uri = b"sip:".to_vec();
            uri.extend_from_slice(&host);
            h.du = Some(Str::from(uri));
            return Ok(());
        }
    };
    h.du = Some(with_part(&base, part, value)?);
    Ok(())
}

/// `uri` with one part replaced, removed (NULL) or added.
pub fn with_part(uri: &[u8], part: UriPart, value: &Value) -> Result<Str, SetError> {
    let parsed = Uri::parse(uri).map_err(|_| SetError::BadValue("the URI is not valid"))?;
    if part == UriPart::Host && value.is_null() {
        return Err(SetError::BadValue("a URI needs a host"));
    }
    if part == UriPart::Port && !value.is_null() && value.to_int().is_none_or(|p| !(1..=65535).contains(&p)) {
        return Err(SetError::BadValue("a port is a number from 1 to 65535"));
    }
    let new = value.to_text();
    let out = match part {
        UriPart::User => parsed.with_user(new.as_deref()),
        UriPart::Host => parsed.with_host(new.as_deref().unwrap_or_default()),
        UriPart::Port => parsed.with_port(value.to_int().and_then(|p| u16::try_from(p).ok())),
    };
    valid_uri(&out)?;
    Ok(Str::from(out))
}

fn set_flag(list: &mut Vec<Str>, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let name = sub.and_then(Value::to_text).ok_or(SetError::BadValue("a flag needs a name"))?;
    list.retain(|f| *f != name);
    if value.to_int().is_some_and(|v| v != 0) {
        if list.len() >= 64 {
            return Err(SetError::BadValue("too many flags"));
        }
        list.push(name);
    }
    Ok(())
}

/// A text, or `None` for NULL.
fn optional(value: &Value) -> Result<Option<Str>, SetError> {
    match value {
        Value::Null => Ok(None),
        v => text(v).map(Some),
    }
}

/// The listener that a value names; NULL: none.
fn listener(h: &SipHost, value: &Value) -> Result<Option<u16>, SetError> {
    let Some(name) = optional(value)? else { return Ok(None) };
    let found = h.env().find_listener(&name).and_then(|i| u16::try_from(i).ok());
    found.map(Some).ok_or(SetError::BadValue("no such listening socket"))
}

fn branch_part(h: &mut SipHost, index: Index, change: impl FnOnce(&mut Target)) -> Result<(), SetError> {
    if let Some(b) = branch(h, index)? {
        change(b);
    }
    Ok(())
}

/// Most branches a request may have.
pub const MAX_BRANCHES: usize = 64;

fn set_branch(h: &mut SipHost, index: Index, value: Value) -> Result<(), SetError> {
    match (index, value) {
        (Index::At(_), Value::Null) => {
            if let Some(i) = position(h, index) {
                h.branches.remove(i);
            }
            Ok(())
        }
        (Index::At(_), v) => {
            let t = text(&v)?;
            valid_uri(&t)?;
            match position(h, index) {
                Some(i) => {
                    h.branches[i].uri = t;
                    Ok(())
                }
                None => Err(SetError::BadValue("no such branch")),
            }
        }
        (_, v) => {
            let uri = text(&v)?;
            valid_uri(&uri)?;
            if h.branches.len() >= MAX_BRANCHES {
                return Err(SetError::BadValue("too many branches"));
            }
            h.branches.push(Target { uri, ..Target::default() });
            Ok(())
        }
    }
}

fn position(h: &SipHost, index: Index) -> Option<usize> {
    let Index::At(i) = index else { return None };
    let n = h.branches.len() as i64;
    let i = if i < 0 { n.checked_add(i)? } else { i };
    usize::try_from(i).ok().filter(|i| *i < h.branches.len())
}

fn branch(h: &mut SipHost, index: Index) -> Result<Option<&mut Target>, SetError> {
    let at = match index {
        Index::At(_) => position(h, index),
        _ => Some(0).filter(|_| !h.branches.is_empty()),
    };
    match at {
        Some(i) => Ok(h.branches.get_mut(i)),
        None => Err(SetError::BadValue("no such branch")),
    }
}

fn level(value: &Value) -> Result<Option<i32>, SetError> {
    match value {
        Value::Null => Ok(None),
        v => match v.to_int() {
            Some(l) if (-3..=4).contains(&l) => Ok(Some(l as i32)),
            _ => Err(SetError::BadValue("a log level is a number from -3 to 4")),
        },
    }
}

fn seconds(value: &Value) -> Result<u32, SetError> {
    match value.to_int() {
        Some(s) if (1..=86_400).contains(&s) => Ok(s as u32),
        _ => Err(SetError::BadValue("a timeout is a number of seconds from 1 to 86400")),
    }
}
