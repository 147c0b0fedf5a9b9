//! One pure function that drives the whole layer with arbitrary bytes, for the fuzz tests.

use super::bytes::{unescape_uri, unfold};
use super::edits::Edits;
use super::header::HeaderId;
use super::message::{Message, salvage};
use super::nameaddr::NameAddr;
use super::range::Range;
use super::reply::{ReplySpec, build};
use super::request::{ack_for, cancel_for};
use super::uri::Uri;
use super::validate::validate;
use super::via::Via;
use super::{CSeq, Params, sdp};
use crate::base::Str;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), 5099);

/// Feeds `data` to every parser and builder. Panics where a promise of the layer is broken.
pub fn fuzz(data: &[u8]) {
    pieces(data);
    match Message::parse_slice(data) {
        Ok(message) => {
            let valid = validate(&message).is_ok();
            walk(&message);
            edit(&message, true);
            answer(&message, valid);
            if data.len().is_multiple_of(4) {
                let again = Message::parse(message.bytes_str().clone());
                assert!(again.as_ref() == Ok(&message), "parsing is not idempotent");
            }
        }
        Err(e) => {
            if let Some((message, fault)) = e.answer() {
                assert!(fault.status == 400 || fault.status == 505);
                walk(message);
                edit(message, false);
                answer(message, false);
            }
            if data.len().is_multiple_of(4) {
                assert_eq!(salvage(data).as_ref(), e.partial());
            }
        }
    }
}

/// Feeds `data` to what reads digest credentials, alone and in a header.
pub fn fuzz_credentials(data: &[u8]) {
    super::digest::exercise(data);
    let value: Vec<u8> = data.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let head = b"REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\n\
        To: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nAuthorization: ";
    let bytes = [&head[..], &value, b"\r\nContent-Length: 0\r\n\r\n"].concat();
    if let Ok(message) = Message::parse(Str::from(bytes)) {
        message.headers_of(HeaderId::Authorization).for_each(|h| super::digest::exercise(h.value));
    }
}

/// The parsers of single values, on the raw input.
fn pieces(data: &[u8]) {
    if let Ok(uri) = Uri::parse(data) {
        walk_uri(&uri);
    }
    for address in NameAddr::list(data).flatten() {
        let _ = (address.name_unescaped(), address.tag(), address.without_params());
    }
    if let Ok(via) = Via::parse(data) {
        walk_via(&via);
    }
    let _ = CSeq::parse(data);
    let params = Params::new(data);
    let _ = (params.is_well_formed(), params.iter().count(), params.value(b"tag"));
    let _ = (unfold(data), unescape_uri(data));
    let _ = sdp::lines(data).count() + sdp::streams(data).map(<[u8]>::len).sum::<usize>() + sdp::session(data).len();
}

fn walk_uri(uri: &Uri<'_>) {
    let _ = (uri.host_ip(), uri.port_or_default(), uri.host_port(), uri.transport(), uri.lr());
    assert!(uri.same_as(uri), "a URI differs from itself");
    for changed in [uri.with_param(b"x", Some(b"1")), uri.without_param(b"lr"), uri.without_headers()] {
        if uri.is_sip() {
            assert!(Uri::parse(&changed).is_ok(), "a rewritten URI does not parse");
        }
    }
}

fn walk_via(via: &Via<'_>) {
    let _ = (via.reply_target(), via.magic_branch(), via.rport(), via.maddr());
    let mut marked = Vec::new();
    via.write_marked(SOURCE, true, &mut marked);
    let back = Via::parse(&marked).ok();
    assert_eq!(back.and_then(|v| v.rport()), Some(SOURCE.port()), "a marked Via lost its rport");
}

/// Reads everything that can be read, and checks that positions and contents agree.
fn walk(m: &Message) {
    let mut at = m.headers_start();
    for h in m.headers() {
        assert!(h.start >= at && h.line().contains(h.value_range), "header positions");
        at = h.line().end;
        assert_eq!(m.slice(h.value_range), h.value);
        if h.line().len().is_multiple_of(8) {
            assert_eq!(m.headers_named(h.name).next().map(|x| x.id), Some(h.id));
        }
        let _ = (h.unfolded(), h.values().count());
    }
    assert!(at <= m.headers_end() && m.headers_end() <= m.body_range().start);
    assert_eq!(m.body_range().end as usize, m.bytes().len());
    for via in m.vias().flatten() {
        walk_via(&via);
    }
    for address in m.contacts().chain(m.routes()).chain(m.record_routes()).chain([m.from(), m.to()]) {
        if let Ok(uri) = address.parse_uri() {
            walk_uri(&uri);
        }
    }
    if let Ok(uri) = m.parse_request_uri() {
        walk_uri(&uri);
    }
    let _ = (m.cseq(), m.max_forwards(), m.expires(), m.media_type(), m.lists(HeaderId::Supported, b"100rel"));
    let _ = (m.call_id(), m.method_bytes(), m.reason(), m.body(), m.status());
}

/// Makes edits of every kind and parses the result.
fn edit(m: &Message, well_formed: bool) {
    assert_eq!(Edits::new().apply(m), m.bytes());
    let mut e = Edits::new();
    e.mark_received(m, SOURCE);
    e.set_request_uri(m, Str::from("sip:x@y"));
    e.set_max_forwards(m, 7);
    e.prepend_via(m, b"SIP/2.0/UDP me;branch=z9hG4bKx");
    e.append_header(m, Str::from("X-Fuzz: 1"));
    e.insert_header_first(m, Str::from("X-Top: 1\r\n"));
    for h in m.headers_of(HeaderId::Route) {
        e.remove_value(m, &h, 1);
        e.remove_value(m, &h, 0);
    }
    e.remove_headers(m, HeaderId::Subject);
    let out = e.apply(m);
    if well_formed {
        let after = Message::parse_slice(&out).expect("an edited message parses");
        assert_eq!(after.body(), m.body());
        assert_eq!(after.call_id(), m.call_id());
        assert_eq!(after.headers_named(b"X-Fuzz").count(), m.headers_named(b"x-fuzz").count() + 1);
        let top = after.top_via().and_then(|v| v.branch());
        assert_eq!(top, Some(&b"z9hG4bKx"[..]));
    }
    let len = m.bytes().len() as u32;
    if len.is_multiple_of(4) {
        edit_anywhere(m, len);
    }
    let mut e = Edits::new();
    e.set_body(m, Str::from("new body"));
    if m.body_range().start < len || m.header(HeaderId::ContentLength).is_some() {
        assert!(e.apply(m).ends_with(b"new body"));
    }
}

/// Edits at arbitrary places must be harmless, whatever they make of the message.
fn edit_anywhere(m: &Message, len: u32) {
    let mut seed = len.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed % (len + 3)
    };
    let mut e = Edits::new();
    for i in 0..12 {
        let (a, b) = (next(), next());
        let range = Range::new(a.min(b), a.max(b));
        match i % 4 {
            0 => e.insert_before(a, Str::from("b")),
            1 => e.delete(Range::new(a, a.saturating_add(b % 20))),
            2 => e.replace(range, Str::from("r")),
            _ => e.insert_top(b, Str::from("t")),
        }
    }
    assert!(e.apply(m).len() <= m.bytes().len() + 64);
}

/// Builds what would be sent in answer to it.
fn answer(m: &Message, valid: bool) {
    let mut out = Vec::new();
    if !m.is_request() {
        let _ = ack_for(m, m);
        return;
    }
    let spec = ReplySpec { to_tag: Some(b"fuzz"), received: Some(SOURCE), body: b"b", ..ReplySpec::new(488) };
    build(m, &spec, &mut out);
    let (ack, cancel) = (ack_for(m, m), cancel_for(m));
    if valid {
        let reply = Message::parse_slice(&out).expect("a reply parses");
        assert_eq!((reply.status(), reply.call_id(), reply.from_tag()), (488, m.call_id(), m.from_tag()));
        assert!(reply.to_tag().is_some());
        assert_eq!(reply.vias().count(), m.vias().count());
        assert!(validate(&reply).is_ok(), "a reply to a valid request is valid");
        for request in [ack, cancel] {
            let request = Message::parse_slice(&request).expect("a derived request parses");
            assert!(validate(&request).is_ok(), "a derived request is valid");
            assert_eq!(request.vias().count(), 1);
        }
    }
}
