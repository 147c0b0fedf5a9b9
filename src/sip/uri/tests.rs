//! Tests of URI parsing, comparison and rewriting.

use super::*;

fn uri(s: &str) -> Uri<'_> {
    Uri::parse(s.as_bytes()).unwrap_or_else(|e| panic!("{s}: {e}"))
}

#[test]
fn parts_of_a_full_uri() {
    let u = uri("sip:alice:pw@atlanta.com:5070;transport=TCP;lr;maddr=239.1.1.1?subject=a%20b&to=c");
    assert_eq!(u.scheme, Scheme::Sip);
    assert_eq!(u.user, Some(&b"alice"[..]));
    assert_eq!(u.password, Some(&b"pw"[..]));
    assert_eq!((u.host, u.port), (&b"atlanta.com"[..], Some(5070)));
    assert_eq!(u.transport(), Some(Transport::Tcp));
    assert_eq!(u.maddr(), Some(&b"239.1.1.1"[..]));
    assert!(u.lr());
    assert_eq!(u.host_port(), b"atlanta.com:5070");
    assert_eq!(u.params.text(), b"transport=TCP;lr;maddr=239.1.1.1");
    assert_eq!(u.header_pairs().count(), 2);
    assert_eq!(uri("sips:h").port_or_default(), 5061);
    assert_eq!(uri("sip:h;transport=tls").port_or_default(), 5061);
    assert_eq!(uri("sip:h").host_port(), b"h");
}

#[test]
fn weird_but_valid_users() {
    let u = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(u.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
    assert_eq!(u.host, b"example.com");
    let u = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!(u.user, Some(&b"user;par=u%40example.net"[..]));
    assert!(u.params.is_empty());
    assert_eq!(uri("sip:sips%3Auser%40example.com@example.net").host, b"example.net");
    assert_eq!(uri("sip:null-%00-null@example.com").user, Some(&b"null-%00-null"[..]));
}

#[test]
fn ipv6_hosts() {
    let u = uri("sip:[2001:db8::10]:5070");
    assert_eq!((u.host, u.port), (&b"[2001:db8::10]"[..], Some(5070)));
    assert!(u.host_ip().unwrap().is_ipv6());
    assert_eq!(uri("sip:[2001:db8::10:5070]").port, None);
    assert!(uri("sip:[::ffff:192.0.2.10]").host_ip().is_some());
    assert!(uri("sip:user@[2001:db8:::192.0.2.1]").host_ip().is_some());
    for bad in ["sip:2001:db8::10", "sip:[2001:db8::10", "sip:[]", "sip:[1.2.3.4]", "sip:[zz::1]"] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn bad_uris_are_refused() {
    for bad in [
        "",
        "sip",
        "sip:",
        "sip:@host",
        "sip:a@",
        "sip:host:",
        "sip:host:66000",
        "sip:host:5o60",
        "sip:user@host name",
        "<sip:a@b>",
        "sip:a b@c",
        "sip:a@b@c",
        ":x",
        "1sip:a",
        "tel:",
        "sip:host/path",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn other_schemes() {
    let u = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!((u.scheme, u.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
    assert_eq!(u.param(b"Phone-Context"), Some(&b"example.com"[..]));
    let u = uri("nobodyKnowsThisScheme:totallyopaquecontent");
    assert_eq!((u.scheme, u.rest), (Scheme::Other, &b"totallyopaquecontent"[..]));
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other);
    assert_eq!(uri("SIPS:a@b").scheme, Scheme::Sips);
}

#[test]
fn what_a_request_line_must_not_carry() {
    for (from, to) in [
        ("sip:bob@h;method=INVITE;user=phone", Some("sip:bob@h;user=phone")),
        ("sip:bob@h:5070;lr?Subject=x&Replaces=y", Some("sip:bob@h:5070;lr")),
        ("sips:h;METHOD=BYE?a=b", Some("sips:h")),
        ("sip:bob@h;maddr=1.2.3.4;transport=tcp;x=method", None),
        ("tel:+1;method=x", None),
    ] {
        assert_eq!(uri(from).for_request_line().as_deref(), to.map(str::as_bytes), "{from}");
    }
}

#[test]
fn equal_by_rfc_3261_19_1_4() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        ("sip:alice@atlanta.com?subject=x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=x"),
        ("tel:+1-201-555", "tel:+1201555"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("urn:service:sos", "URN:service:sos"),
    ] {
        assert!(uri(a).same_as(&uri(b)), "{a} = {b}");
        assert!(uri(b).same_as(&uri(a)), "{b} = {a}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a%3bb@c", "sip:a;b@c"),
        ("sip:a@c", "sips:a@c"),
        ("sip:a@c", "sip:c"),
    ] {
        assert!(!uri(a).same_as(&uri(b)), "{a} != {b}");
        assert!(!uri(b).same_as(&uri(a)), "{b} != {a}");
    }
}

#[test]
fn rewriting_keeps_the_rest() {
    let u = uri("sip:alice:pw@atlanta.com:5070;lr;x=1?a=b");
    assert_eq!(u.with_user(Some(b"bob")), b"sip:bob:pw@atlanta.com:5070;lr;x=1?a=b");
    assert_eq!(u.with_user(None), b"sip:atlanta.com:5070;lr;x=1?a=b");
    assert_eq!(u.with_host(b"h"), b"sip:alice:pw@h:5070;lr;x=1?a=b");
    assert_eq!(u.with_host(b"[::1]:5"), b"sip:alice:pw@[::1]:5;lr;x=1?a=b");
    assert_eq!(u.with_port(None), b"sip:alice:pw@atlanta.com;lr;x=1?a=b");
    assert_eq!(u.with_param(b"LR", Some(b"on")), b"sip:alice:pw@atlanta.com:5070;x=1;LR=on?a=b");
    assert_eq!(u.without_param(b"x"), b"sip:alice:pw@atlanta.com:5070;lr?a=b");
    assert_eq!(u.without_headers(), b"sip:alice:pw@atlanta.com:5070;lr;x=1");
    assert_eq!(uri("sip:h").with_user(Some(b"u")), b"sip:u@h");
    assert_eq!(uri("tel:12;a").with_param(b"b", None), b"tel:12;a;b");
}
