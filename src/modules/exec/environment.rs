//! The variables about a message that `setvars` adds to a command's environment (the exec modules' documentation,
//! "setvars"; opensips.md section 3.2, kamailio.md section 4.4).

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::sip::header::HeaderId;
use crate::sip::uri::Uri;

/// Header lines that are passed on.
const MAX_HEADERS: usize = 100;

/// Method, R-URIs, source, identifiers, and one variable per header name: its values in their order with commas
/// between them.
pub(super) fn of(host: &SipHost) -> Vec<(Str, Str)> {
    let ruri = host.current_ruri();
    let original = if host.msg.is_request() { host.msg.request_uri() } else { b"" };
    let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut set = |name: &[u8], value: &[u8]| out.push((name.to_vec(), clean(value)));
    set(b"SIP_METHOD", host.msg.method_bytes());
    set(b"SIP_RURI", ruri);
    set(b"SIP_USER", user(ruri));
    set(b"SIP_ORURI", original);
    // How the manuals spell it.
    set(b"SIP_ORUI", original);
    set(b"SIP_OUSER", user(original));
    set(b"SIP_SRCIP", host.source.ip().to_string().as_bytes());
    set(b"SIP_SRCPORT", host.source.port().to_string().as_bytes());
    set(b"SIP_TID", host.msg.top_via().and_then(|v| v.branch()).unwrap_or_default());
    set(b"SIP_DID", host.msg.to_tag().unwrap_or_default());
    for header in host.msg.headers().take(MAX_HEADERS) {
        // The usual name also for a compact form.
        let name = match header.id {
            HeaderId::Other => header.name,
            known => known.name().as_bytes(),
        };
        let value = clean(&header.unfolded());
        for name in names(name) {
            match out.iter_mut().find(|(n, _)| *n == name) {
                Some((_, values)) => {
                    values.push(b',');
                    values.extend_from_slice(&value);
                }
                None => out.push((name, value.clone())),
            }
        }
    }
    out.into_iter().map(|(name, value)| (Str::from(name), Str::from(value))).collect()
}

fn user(uri: &[u8]) -> &[u8] {
    Uri::parse(uri).ok().and_then(|u| u.user).unwrap_or_default()
}

/// No variable can hold a NUL byte.
fn clean(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|b| *b != 0).collect()
}

/// `SIP_HF_USERAGENT`, and for a name with hyphens `SIP_HF_USER_AGENT` too; nothing for a name without letters.
fn names(header: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let named = |hyphen: bool| -> Vec<u8> {
        let kept = header.iter().filter(|b| b.is_ascii_alphanumeric() || (hyphen && **b == b'-'));
        let letter = |b: &u8| if *b == b'-' { b'_' } else { b.to_ascii_uppercase() };
        b"SIP_HF_".iter().copied().chain(kept.map(letter)).collect()
    };
    let (plain, with_hyphens) = (named(false), named(true));
    let usable = plain.len() > b"SIP_HF_".len();
    let second = (usable && with_hyphens != plain).then_some(with_hyphens);
    usable.then_some(plain).into_iter().chain(second)
}

#[cfg(test)]
mod tests {
    use super::{clean, names};

    #[test]
    fn names_of_headers() {
        let all = |name: &[u8]| names(name).map(|n| String::from_utf8(n).unwrap()).collect::<Vec<_>>();
        assert_eq!(all(b"Via"), ["SIP_HF_VIA"]);
        assert_eq!(all(b"Call-ID"), ["SIP_HF_CALLID", "SIP_HF_CALL_ID"]);
        assert_eq!(all(b"x.=()b"), ["SIP_HF_XB"]);
        assert!(all(b"!-%").is_empty());
        assert_eq!(clean(b"a\0b"), b"ab");
    }
}
