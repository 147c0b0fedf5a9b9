//! Tests of edits.

use super::*;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;

const REQUEST: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
Via: SIP/2.0/UDP one;branch=z9hG4bK1;rport, SIP/2.0/TCP two;branch=b2\r\n\
Max-Forwards: 69\r\n\
Route: <sip:a;lr>, <sip:b;lr> ,<sip:c;lr>\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\n";

fn request() -> Message {
    Message::parse(Str::from(REQUEST)).unwrap()
}

fn changed(m: &Message, e: &Edits) -> String {
    String::from_utf8(e.apply(m)).unwrap()
}

/// Applies edits to the text `0123456789` in the body and returns the new body.
fn on_digits(make: impl Fn(&mut Edits, u32)) -> String {
    let text = REQUEST.replace("Content-Length: 4", "Content-Length: 10").replace("v=0\n", "0123456789");
    let m = Message::parse(Str::from(text.as_str())).unwrap();
    let mut e = Edits::new();
    make(&mut e, m.body_range().start);
    let out = Message::parse(Str::from(e.apply(&m))).unwrap();
    String::from_utf8(out.body().to_vec()).unwrap()
}

fn r(base: u32, start: u32, end: u32) -> Range {
    Range::new(base + start, base + end)
}

#[test]
fn nothing_changed_is_the_same_bytes() {
    let m = request();
    assert_eq!(changed(&m, &Edits::new()), REQUEST);
    assert!(Edits::new().is_empty());
}

#[test]
fn what_a_proxy_does() {
    let m = request();
    let mut e = Edits::new();
    e.mark_received(&m, "192.0.2.9:5080".parse().unwrap());
    e.set_request_uri(&m, Str::from("sip:first@x"));
    e.set_request_uri(&m, Str::from("sip:bob@10.0.0.1"));
    assert_eq!(e.request_uri(&m), b"sip:bob@10.0.0.1");
    e.prepend_via(&m, b"SIP/2.0/UDP me;branch=z9hG4bK0");
    e.insert_header_top(&m, HeaderId::RecordRoute, Str::from("Record-Route: <sip:r1;lr>\r\n"));
    e.insert_header_top(&m, HeaderId::RecordRoute, Str::from("Record-Route: <sip:r2;lr>"));
    e.set_max_forwards(&m, 68);
    let route = m.header(HeaderId::Route).unwrap();
    assert!(e.remove_value(&m, &route, 0));
    e.append_header(&m, Str::from("X-A: 1\r\n"));
    e.append_header(&m, Str::from("X-B: 2\r\n"));
    let want = "INVITE sip:bob@10.0.0.1 SIP/2.0\r\n\
Via: SIP/2.0/UDP me;branch=z9hG4bK0\r\n\
Via: SIP/2.0/UDP one;branch=z9hG4bK1;received=192.0.2.9;rport=5080, SIP/2.0/TCP two;branch=b2\r\n\
Max-Forwards: 68\r\n\
Route: <sip:b;lr> ,<sip:c;lr>\r\n\
To: Bob <sip:bob@biloxi.com>\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Content-Length: 4\r\n\
Record-Route: <sip:r2;lr>\r\n\
Record-Route: <sip:r1;lr>\r\n\
X-A: 1\r\n\
X-B: 2\r\n\
\r\n\
v=0\n";
    assert_eq!(changed(&m, &e), want);
    let back: Edits = postcard::from_bytes(&postcard::to_stdvec(&e).unwrap()).unwrap();
    assert_eq!(back, e);
    assert_eq!(e.applied(&m).unwrap().max_forwards(), Some(68));
}

#[test]
fn removing_vias_and_values() {
    let m = request();
    let mut e = Edits::new();
    e.remove_top_via(&m);
    assert!(changed(&m, &e).contains("\r\nVia: SIP/2.0/TCP two;branch=b2\r\nMax"));
    let route = m.header(HeaderId::Route).unwrap();
    for (gone, left) in [
        (&[0][..], "Route: <sip:b;lr> ,<sip:c;lr>\r\n"),
        (&[1], "Route: <sip:a;lr>, <sip:c;lr>\r\n"),
        (&[2], "Route: <sip:a;lr>, <sip:b;lr>\r\n"),
        (&[0, 1], "Route: <sip:c;lr>\r\n"),
        (&[2, 1, 0], ""),
        (&[0, 1, 2], ""),
    ] {
        let mut e = Edits::new();
        for &at in gone {
            assert!(e.remove_value(&m, &route, at));
        }
        assert_eq!(changed(&m, &e), REQUEST.replace("Route: <sip:a;lr>, <sip:b;lr> ,<sip:c;lr>\r\n", left), "{gone:?}");
        assert!(!e.remove_value(&m, &route, 3));
    }
}

#[test]
fn the_body_carries_its_length() {
    let m = request();
    let mut e = Edits::new();
    e.set_body(&m, Str::from("a much longer body"));
    e.set_body(&m, Str::from("hello world"));
    let out = changed(&m, &e);
    assert!(out.contains("Content-Length: 11\r\n\r\nhello world") && out.ends_with("world"));
    // A message without a body and without Content-Length.
    let bare = REQUEST.replace("Content-Length: 4\r\n", "").replace("v=0\n", "");
    let m = Message::parse(Str::from(bare.as_str())).unwrap();
    let mut e = Edits::new();
    e.set_body(&m, Str::from("one"));
    e.set_body(&m, Str::from("four"));
    e.append_header(&m, Str::from("Content-Type: text/plain\r\n"));
    assert!(changed(&m, &e).ends_with("Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nfour"));
    // Edits inside the body, and a header that was removed.
    let m = request();
    let mut e = Edits::new();
    e.remove_headers(&m, HeaderId::ContentLength);
    assert!(!changed(&m, &e).contains("Content-Length"));
    e.insert_after(m.body_range().end, Str::from("s=x\n"));
    assert!(changed(&m, &e).ends_with("\r\nContent-Length: 8\r\n\r\nv=0\ns=x\n"));
    let mut e = Edits::new();
    e.remove_body(&m);
    assert!(changed(&m, &e).ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn order_at_one_place() {
    let out = on_digits(|e, b| {
        e.insert_before(b + 5, Str::from("c"));
        e.insert_before(b + 5, Str::from("d"));
        e.insert_top(b + 5, Str::from("t1"));
        e.insert_top(b + 5, Str::from("t2"));
        e.insert_after(b + 5, Str::from("a"));
        e.insert_after(b + 5, Str::from("b"));
        e.replace(r(b, 5, 6), Str::from("R"));
    });
    assert_eq!(out, "01234abt2t1cdR6789");
}

#[test]
fn deletions_merge_and_void_what_is_inside() {
    assert_eq!(on_digits(|e, b| e.delete(r(b, 2, 4))), "01456789");
    let out = on_digits(|e, b| {
        e.delete(r(b, 2, 5));
        e.delete(r(b, 4, 8));
        e.insert_before(b + 2, Str::from("<"));
        e.insert_before(b + 3, Str::from("void"));
        e.insert_after(b + 8, Str::from(">"));
        e.replace(r(b, 5, 6), Str::from("void"));
    });
    assert_eq!(out, "01<>89");
    // Replaced first, then deleted with its surroundings: gone. The later call wins on a tie.
    assert_eq!(
        on_digits(|e, b| {
            e.replace(r(b, 3, 4), Str::from("X"));
            e.delete(r(b, 3, 5));
        }),
        "01256789"
    );
    assert_eq!(
        on_digits(|e, b| {
            e.delete(r(b, 3, 4));
            e.replace(r(b, 3, 4), Str::from("X"));
            e.replace(r(b, 3, 4), Str::from("Y"));
        }),
        "012Y456789"
    );
    // Overlapping replacements both speak.
    assert_eq!(
        on_digits(|e, b| {
            e.replace(r(b, 2, 5), Str::from("X"));
            e.replace(r(b, 4, 7), Str::from("Y"));
        }),
        "01XY789"
    );
    assert_eq!(on_digits(|e, b| e.replace(r(b, 4, 4), Str::from("i"))), "0123i456789");
}

#[test]
fn is_deleted_sees_the_union() {
    let m = request();
    let mut e = Edits::new();
    let to = m.header(HeaderId::To).unwrap();
    assert!(!e.is_deleted(to.line()));
    e.delete(Range::new(to.start, to.start + 5));
    assert!(!e.is_deleted(to.line()));
    e.delete(Range::new(to.start + 4, to.line().end));
    assert!(e.is_deleted(to.line()) && e.is_deleted(to.value_range));
    e.clear();
    e.replace(to.line(), Str::from("x"));
    assert!(!e.is_deleted(to.line()));
    assert_eq!(e.remove_headers(&m, HeaderId::Route), 1);
    assert_eq!(e.remove_headers(&m, HeaderId::Route), 0);
}

#[test]
fn positions_outside_are_harmless() {
    let m = request();
    let mut e = Edits::new();
    e.delete(Range::new(u32::MAX - 3, u32::MAX));
    e.replace(Range::new(u32::MAX - 3, u32::MAX), Str::default());
    e.insert_before(u32::MAX, Str::default());
    let out = Message::parse(Str::from(e.apply(&m))).unwrap();
    assert_eq!(out.body(), m.body());
}

#[test]
fn replies() {
    let m = Message::parse(Str::from(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP me;branch=z\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b;tag=1\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n",
    ))
    .unwrap();
    let mut e = Edits::new();
    e.remove_top_via(&m);
    e.set_status(&m, 183, b"In\r\nProgress");
    assert!(changed(&m, &e).starts_with("SIP/2.0 183 InProgress\r\nVia: SIP/2.0/UDP h\r\nFrom"));
}
