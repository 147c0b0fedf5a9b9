//! The list of OpenSIPS' `sipmsg_validate`: numbered findings, some only on demand.

use super::parts::{UriFault, check_address, check_uri, cseq_method_matches, vias_can_be_read};
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::nameaddr::NameAddr;
use crate::sip::{sdp, validate};

/// Return code and a few words.
pub type Finding = (i32, &'static str);

/// The codes of an address: unreadable, bad host, bad user.
type Three = [Finding; 3];

const REQUEST_URI: Three = [(-11, "Bad R-URI"), (-12, "Bad Host in R-URI"), (-27, "Bad User in R-URI")];
const FROM: Three = [(-24, "Bad From"), (-25, "Bad Host in From"), (-28, "Bad User in From")];
const TO: Three = [(-22, "Bad To"), (-23, "Bad Host in To"), (-29, "Bad User in To")];

fn ensure(ok: bool, code: i32, reason: &'static str) -> Result<(), Finding> {
    if ok { Ok(()) } else { Err((code, reason)) }
}

fn of(result: Result<(), UriFault>, [whole, host, user]: Three) -> Result<(), Finding> {
    result.map_err(|fault| match fault {
        UriFault::Unreadable => whole,
        UriFault::Host => host,
        UriFault::User => user,
    })
}

/// Checks the message as it came. `flags`: any of the letters `s h m r f t c`; `stream`: it came
/// over a transport where only Content-Length ends a message; `body`: the SDP, if there is one.
pub fn check(m: &Message, flags: &[u8], stream: bool, session: Option<&[u8]>) -> Result<(), Finding> {
    let has = |f: u8| flags.contains(&f);
    let present = |id: HeaderId| m.header(id).is_some();
    let body = m.body();
    ensure(!m.call_id().is_empty(), -3, "No Call-ID")?;
    ensure(present(HeaderId::ContentLength) || body.is_empty() || !stream, -4, "No Content-Length")?;
    ensure(m.content_length().is_none_or(|n| n as usize == body.len()), -5, "Wrong Content-Length")?;
    ensure(present(HeaderId::CSeq) && cseq_method_matches(m), -7, "Bad CSeq")?;
    ensure(present(HeaderId::From), -8, "No From")?;
    ensure(present(HeaderId::To), -9, "No To")?;
    ensure(vias_can_be_read(m), -10, "Bad Via")?;
    if m.is_request() {
        ensure(has(b'm') || present(HeaderId::MaxForwards), -13, "No Max-Forwards")?;
        let register = m.method() == Method::Register;
        ensure(register || !present(HeaderId::Path), -15, "Path Not Allowed")?;
        ensure(register || !m.contacts().any(|c| c.is_star()), -30, "Contact * Not Allowed")?;
    }
    for (status, id, code, reason) in [
        (405, HeaderId::Allow, -16, "No Allow"),
        (423, HeaderId::MinExpires, -17, "No Min-Expires"),
        (407, HeaderId::ProxyAuthenticate, -18, "No Proxy-Authenticate"),
        (420, HeaderId::Unsupported, -19, "No Unsupported"),
        (401, HeaderId::WwwAuthenticate, -20, "No WWW-Authenticate"),
    ] {
        ensure(m.status() != status || present(id), code, reason)?;
    }
    let needs_contact = m.method() == Method::Invite && (m.is_request() || m.status() / 100 == 2);
    ensure(!needs_contact || present(HeaderId::Contact), -14, "No Contact")?;
    ensure(body.is_empty() || !m.content_type().is_empty(), -21, "No Content-Type")?;
    if has(b'r') && m.is_request() {
        of(check_uri(m.request_uri()), REQUEST_URI)?;
    }
    if has(b'f') {
        of(check_address(m.parse_from()), FROM)?;
    }
    if has(b't') {
        of(check_address(m.parse_to()), TO)?;
    }
    if has(b'c') {
        let fine = |v: &[u8]| NameAddr::parse(v).is_ok_and(|c| c.is_star() || c.parse_uri().is_ok());
        ensure(m.values_of(HeaderId::Contact).all(fine), -26, "Bad Contact")?;
    }
    if has(b'h') {
        validate(m).map_err(|fault| (-2, fault.reason))?;
    }
    if has(b's') {
        ensure(session.is_none_or(sdp_is_fine), -6, "Bad SDP")?;
    }
    Ok(())
}

/// RFC 8866 §5: `v=`, `o=`, `s=` in this order, lines of the form `x=`, `m=` with port and format.
fn sdp_is_fine(body: &[u8]) -> bool {
    let mut lines = sdp::lines(body);
    let head = [lines.next(), lines.next(), lines.next()];
    let kinds = [&b"v=0"[..], b"o=", b"s="];
    head.iter().zip(kinds).all(|(l, kind)| l.is_some_and(|l| l.starts_with(kind)))
        && sdp::lines(body).all(|l| matches!(l, [b'a'..=b'z', b'=', ..]))
        && sdp::streams(body).all(|s| {
            let mut words = sdp::lines(s).next().unwrap_or_default().split(|b| *b == b' ').skip(1);
            let port = words.next().is_some_and(|w| w.first().is_some_and(u8::is_ascii_digit));
            port && words.count() >= 2
        })
}
