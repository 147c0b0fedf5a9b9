//! `$fu`, `$tU` and their like, which may be assigned: From and To of what is sent change; what is read is what came.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv::Pv;
use crate::modules::pv_set::{UriPart, with_part};
use crate::script::host::SetError;
use crate::script::value::Value;
use crate::sip::HeaderId;
use crate::sip::header::Header;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

const NAMES: &[(&str, Pv)] = &[
    ("fu", Pv::FUri),
    ("fU", Pv::FUser),
    ("fd", Pv::FDomain),
    ("fn", Pv::FName),
    ("tu", Pv::TUri),
    ("tU", Pv::TUser),
    ("td", Pv::TDomain),
    ("tn", Pv::TName),
];

/// The variable, if it is one of these.
pub(super) fn find(name: &str) -> Option<Pv> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, pv)| *pv)
}

/// Assigns one of them.
///
/// # Errors
/// Why that is not possible.
pub fn set(h: &mut SipHost, pv: Pv, value: &Value) -> Result<(), SetError> {
    let to = matches!(pv, Pv::TUri | Pv::TUser | Pv::TDomain | Pv::TName);
    let id = if to { HeaderId::To } else { HeaderId::From };
    let msg = h.msg.clone();
    let Some(header) = msg.header(id) else { return Err(SetError::BadValue("the message lacks this header")) };
    let now = current(h, &header);
    let Ok(n) = NameAddr::parse(&now) else { return Err(SetError::BadValue("the header cannot be read")) };
    let text = value.to_text();
    let broken = text.as_ref().is_some_and(|t| t.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    if broken {
        return Err(SetError::BadValue("a header cannot hold line breaks"));
    }
    let (uri, display) = match pv {
        Pv::FName | Pv::TName => (n.uri.to_vec(), Some(text.unwrap_or_default())),
        Pv::FUri | Pv::TUri => {
            let uri = text.ok_or(SetError::BadValue("NULL is not possible here"))?;
            Uri::parse(&uri).map_err(|_| SetError::BadValue("not a valid URI"))?;
            (uri.to_vec(), None)
        }
        Pv::FUser | Pv::TUser => (with_part(n.uri, UriPart::User, value)?.to_vec(), None),
        _ => (with_part(n.uri, UriPart::Host, value)?.to_vec(), None),
    };
    let new = written(&n, &uri, display.as_deref());
    h.edits.set_header_value(&header, Str::from(new));
    Ok(())
}

/// The header's value with the changes so far.
fn current(h: &SipHost, header: &Header<'_>) -> Vec<u8> {
    h.edits.replacement(header.value_range).unwrap_or(header.value).trim_ascii().to_vec()
}

/// The value with another URI and, if one is given, another display name, which is written as it is.
fn written(n: &NameAddr<'_>, uri: &[u8], display: Option<&[u8]>) -> Vec<u8> {
    let display = display.unwrap_or(n.display).trim_ascii();
    let mut out = Vec::with_capacity(n.raw.len() + uri.len());
    if !display.is_empty() {
        out.extend_from_slice(display);
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(uri);
    out.push(b'>');
    out.extend_from_slice(n.params.raw());
    out
}
