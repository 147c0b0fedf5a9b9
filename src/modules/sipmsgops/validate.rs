//! `sipmsg_validate`: whether a message is as RFC 3261 wants it.

use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::method::Method;
use crate::sip::{HeaderId, Message, NameAddr, Uri, sdp, validate};

/// `sipmsg_validate`
pub const SIPMSG_VALIDATE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sipmsg_validate"),
    kamailio: None,
    params: &[Param::opt("flags", Kind::Str), Param::opt("reason", Kind::Out)],
    variadic: false,
    routes: RouteSet::letters("RFOB"),
    waits: false,
    doc: "Checks the message as it came. Flags: `s` the SDP, `h` the values of all headers known here, `m` Max-Forwards \
          may be absent, `r` R-URI, `f` From, `t` To, `c` Contact. What cannot be read at all never gets as far as the \
          script. The reason is a text.",
    returns: &[
        (1, "nothing was found"),
        (-1, "there is no message"),
        (-2, "a header (h)"),
        (-3, "no Call-ID"),
        (-4, "a body without Content-Length over a stream transport"),
        (-5, "Content-Length is wrong"),
        (-6, "the SDP (s)"),
        (-7, "CSeq"),
        (-8, "no From"),
        (-9, "no To"),
        (-10, "Via"),
        (-11, "R-URI cannot be read (r)"),
        (-12, "host of the R-URI (r)"),
        (-13, "no Max-Forwards"),
        (-14, "no Contact in an INVITE or its 2xx"),
        (-15, "Path in a request that is no REGISTER"),
        (-16, "405 without Allow"),
        (-17, "423 without Min-Expires"),
        (-18, "407 without Proxy-Authenticate"),
        (-19, "420 without Unsupported"),
        (-20, "401 without WWW-Authenticate"),
        (-21, "a body without Content-Type"),
        (-22, "To cannot be read (t)"),
        (-23, "host of To (t)"),
        (-24, "From cannot be read (f)"),
        (-25, "host of From (f)"),
        (-26, "Contact cannot be read (c)"),
        (-27, "user of the R-URI (r)"),
        (-28, "user of From (f)"),
        (-29, "user of To (t)"),
        (-30, "Contact `*` in a request that is no REGISTER"),
    ],
    example: r#"if (!sipmsg_validate("sh", $var(why))) { send_reply(400, "$var(why)"); exit; }"#,
    run: |call| {
        let flags = call.text(0).unwrap_or_default();
        let stream =
            call.host.env().listeners.get(call.host.listener as usize).is_some_and(|l| l.transport.is_reliable());
        let result = if call.host.phony { Err((-1, "No Message")) } else { check(&call.host.msg, &flags, stream) };
        match result {
            Ok(()) => Step::Done(1),
            Err((code, reason)) => {
                call.assign(1, Value::from(reason));
                Step::Done(code)
            }
        }
    },
    finish: None,
};

type Finding = (i32, &'static str);

fn check(m: &Message, flags: &[u8], stream: bool) -> Result<(), Finding> {
    let has = |f: u8| flags.contains(&f);
    let ensure = |ok: bool, code: i32, reason: &'static str| if ok { Ok(()) } else { Err((code, reason)) };
    let present = |id: HeaderId| m.header(id).is_some();
    let body = m.body();
    ensure(!m.call_id().is_empty(), -3, "No Call-ID")?;
    ensure(present(HeaderId::ContentLength) || body.is_empty() || !stream, -4, "No Content-Length")?;
    ensure(m.content_length().is_none_or(|n| n as usize == body.len()), -5, "Wrong Content-Length")?;
    ensure(present(HeaderId::CSeq) && (m.is_reply() || m.cseq().method_bytes == m.method_bytes()), -7, "Bad CSeq")?;
    ensure(present(HeaderId::From), -8, "No From")?;
    ensure(present(HeaderId::To), -9, "No To")?;
    ensure(m.vias().next().is_some() && m.vias().all(|v| v.is_ok()), -10, "Bad Via")?;
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
        uri(m.request_uri(), [(-11, "Bad R-URI"), (-12, "Bad Host in R-URI"), (-27, "Bad User in R-URI")])?;
    }
    if has(b'f') {
        let codes = [(-24, "Bad From"), (-25, "Bad Host in From"), (-28, "Bad User in From")];
        address(m.value(HeaderId::From), codes)?;
    }
    if has(b't') {
        let codes = [(-22, "Bad To"), (-23, "Bad Host in To"), (-29, "Bad User in To")];
        address(m.value(HeaderId::To), codes)?;
    }
    if has(b'c') {
        let fine = |v: &[u8]| NameAddr::parse(v).is_ok_and(|c| c.is_star() || c.parse_uri().is_ok());
        ensure(m.values_of(HeaderId::Contact).all(fine), -26, "Bad Contact")?;
    }
    if has(b'h') {
        validate(m).map_err(|fault| (-2, fault.reason))?;
    }
    if has(b's')
        && let Some(range) = super::parts::sdp(m)
    {
        ensure(sdp_is_fine(m.slice(range)), -6, "Bad SDP")?;
    }
    Ok(())
}

fn address(value: &[u8], codes: [Finding; 3]) -> Result<(), Finding> {
    match NameAddr::parse(value) {
        Ok(a) => uri(a.uri, codes),
        Err(_) => Err(codes[0]),
    }
}

/// Checks a URI; the findings are: unreadable, host, user.
fn uri(text: &[u8], [whole, host, user]: [Finding; 3]) -> Result<(), Finding> {
    let Ok(u) = Uri::parse(text) else { return Err(whole) };
    if !u.is_sip() {
        return Ok(());
    }
    let in_host = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(b);
    if u.host.is_empty() || !u.host.iter().all(in_host) {
        return Err(host);
    }
    // RFC 3261 §25.1: unreserved, user-unreserved, escaped.
    let in_user = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(b);
    if u.user.is_some_and(|u| !u.iter().all(in_user)) {
        return Err(user);
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
            let words: Vec<&[u8]> = sdp::lines(s).next().unwrap_or_default().split(|b| *b == b' ').collect();
            words.len() >= 4 && words[1].first().is_some_and(u8::is_ascii_digit)
        })
}
