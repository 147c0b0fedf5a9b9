//! The reply to a REGISTER (RFC 3261 10.3 step 8): its status and the headers that it gets.

use super::refusal::Refusal;
use super::register::{Ask, Contacts, Plan};
use super::settings::Settings;
use crate::base::Str;
use crate::modules::usrloc::binding::{Binding, push_q};
use crate::sip::bytes::push_number;
use serde::{Deserialize, Serialize};

/// A reply that is ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Its status.
    pub code: u16,
    /// Its phrase.
    pub reason: Str,
    /// Its headers, each with its line end.
    pub headers: Str,
}

/// The reply to a request that was carried out. `gruu`: names of RFC 5627 are told.
pub fn accepted(ask: &Ask, plan: &Plan, s: &Settings, now: i64, gruu: bool) -> Prepared {
    let mut out = Vec::new();
    let told = plan.bindings.iter().filter(|b| !ask.own_contacts_only || plan.set.contains(&b.ruid));
    let mut first = true;
    for b in told.filter(|b| !b.is_over(now)) {
        out.extend_from_slice(if first { b"Contact: " } else { b", " });
        first = false;
        contact(&mut out, ask, b, s, now, gruu);
    }
    if !first {
        out.extend_from_slice(b"\r\n");
    }
    if ask.show_path
        && let Some(path) = &ask.path
    {
        line(&mut out, b"Path: ", path);
    }
    if ask.outbound {
        let named = matches!(&ask.contacts, Contacts::These(all) if all.iter().any(|c| c.reg_id > 0));
        // RFC 5626 section 6.
        line(&mut out, if named { b"Require: " } else { b"Supported: " }, b"outbound");
        if s.flow_timer > 0 {
            line(&mut out, b"Flow-Timer: ", s.flow_timer.to_string().as_bytes());
        }
    }
    Prepared { code: 200, reason: Str::from("OK"), headers: Str::from(out) }
}

/// The reply to a request that was refused. `path`: what it said of its Path.
pub fn refused(why: Refusal, s: &Settings, path: Option<&[u8]>) -> Prepared {
    let (code, reason) = why.status();
    let mut out = Vec::new();
    match why {
        Refusal::NoPathSupport => {
            line(&mut out, b"Unsupported: ", b"path");
            path.iter().for_each(|p| line(&mut out, b"Path: ", p));
        }
        Refusal::TooBrief => line(&mut out, b"Min-Expires: ", s.min_expires.to_string().as_bytes()),
        Refusal::NeedsOutbound => line(&mut out, b"Require: ", b"outbound"),
        _ => {}
    }
    line(&mut out, b"P-Registrar-Error: ", why.text().as_bytes());
    if code >= 500 && s.retry_after > 0 {
        line(&mut out, b"Retry-After: ", s.retry_after.to_string().as_bytes());
    }
    Prepared { code, reason: Str::from(reason), headers: Str::from(out) }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn contact(out: &mut Vec<u8>, ask: &Ask, b: &Binding, s: &Settings, now: i64, gruu: bool) {
    out.push(b'<');
    out.extend_from_slice(&b.contact);
    out.push(b'>');
    if let Some(q) = b.q {
        out.extend_from_slice(b";q=");
        push_q(out, q);
    }
    out.extend_from_slice(b";expires=");
    push_number(out, b.left(now).unsigned_abs());
    if let Some(received) = &b.received
        && !s.received_param.is_empty()
    {
        out.push(b';');
        out.extend_from_slice(&s.received_param);
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(received);
        out.push(b'"');
    }
    let Some(instance) = &b.instance else { return };
    if gruu {
        let user_host = ask.gruu.strip_prefix(b"sips:").or_else(|| ask.gruu.strip_prefix(b"sip:"));
        let host = user_host.map(|t| t.rsplit(|b| *b == b'@').next().unwrap_or_default()).unwrap_or_default();
        out.extend_from_slice(b";pub-gruu=\"");
        out.extend_from_slice(&ask.gruu);
        out.extend_from_slice(b";gr=");
        out.extend_from_slice(bare(instance));
        out.extend_from_slice(b"\";temp-gruu=\"sip:");
        out.extend_from_slice(&b.ruid);
        out.push(b'@');
        out.extend_from_slice(host);
        out.extend_from_slice(b";gr\"");
    }
    out.extend_from_slice(b";+sip.instance=\"");
    out.extend_from_slice(instance);
    out.push(b'"');
    if b.reg_id > 0 {
        out.extend_from_slice(b";reg-id=");
        push_number(out, u64::from(b.reg_id));
    }
}

/// An instance without its angle brackets.
pub fn bare(instance: &[u8]) -> &[u8] {
    instance.strip_prefix(b"<").and_then(|i| i.strip_suffix(b">")).unwrap_or(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::ast::Dialect;

    #[test]
    fn contacts_are_told_with_what_they_have() {
        let s = Settings::of(Dialect::Kamailio);
        let b = |uri: &str| Binding { contact: Str::from(uri), expires: 160, ..Binding::default() };
        let full = Binding {
            ruid: Str::from("uloc-1"),
            q: Some(500),
            received: Some(Str::from("sip:192.0.2.9:5555")),
            instance: Some(Str::from("<urn:uuid:1>")),
            reg_id: 2,
            ..b("sip:a@192.0.2.1")
        };
        let ask = Ask { gruu: Str::from("sip:a@example.com"), ..Ask::default() };
        let plan = |bindings| Plan { bindings, ..Plan::default() };
        let text = |p: Prepared| p.headers.to_lossy().into_owned();
        assert_eq!(text(accepted(&ask, &plan(Vec::new()), &s, 100, true)), "");
        let two = plan(vec![full.clone(), b("sip:b@192.0.2.1")]);
        let tail = ";+sip.instance=\"<urn:uuid:1>\";reg-id=2, <sip:b@192.0.2.1>;expires=60\r\n";
        let head = "Contact: <sip:a@192.0.2.1>;q=0.5;expires=60;received=\"sip:192.0.2.9:5555\"";
        assert_eq!(text(accepted(&ask, &two, &s, 100, false)), format!("{head}{tail}"));
        let names = ";pub-gruu=\"sip:a@example.com;gr=urn:uuid:1\";temp-gruu=\"sip:uloc-1@example.com;gr\"";
        assert_eq!(text(accepted(&ask, &two, &s, 100, true)), format!("{head}{names}{tail}"));
        assert_eq!(text(accepted(&ask, &plan(vec![full]), &s, 160, true)), "", "it has ended");
    }

    #[test]
    fn refusals() {
        let mut s = Settings::of(Dialect::Kamailio);
        s.retry_after = 30;
        let p = refused(Refusal::TooManyContacts, &s, None);
        assert_eq!((p.code, p.headers.to_lossy().ends_with("Retry-After: 30\r\n")), (503, true));
        let p = refused(Refusal::NoPathSupport, &s, Some(b"<sip:x;lr>"));
        assert!(p.headers.to_lossy().starts_with("Unsupported: path\r\nPath: <sip:x;lr>\r\n"));
        assert_eq!(refused(Refusal::OldCseq, &s, None).code, 400);
    }
}
