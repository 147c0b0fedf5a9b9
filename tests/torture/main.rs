//! The torture messages and the protocol core: what each is read as, and what must become of it.

#![allow(clippy::unwrap_used)]

mod corpus;

use std::collections::BTreeSet;
use std::fs;

use corpus::{Fate, cases, directory};
use reprise::base::Str;
use reprise::sip::edits::Edits;
use reprise::sip::reply::{ReplySpec, build};
use reprise::sip::{HeaderId, Message, Method, ParseError, Transport, sdp, validate};

fn fate(bytes: &[u8]) -> Fate {
    match Message::parse(Str::from(bytes)) {
        Ok(m) => match validate(&m) {
            Ok(()) => Fate::Fine,
            Err(_) if m.is_reply() || m.method() == Method::Ack => Fate::Drop,
            Err(fault) => Fate::Answer(fault.status),
        },
        Err(ParseError::NotSip) => Fate::Drop,
        Err(e) => e.answer().map_or(Fate::Drop, |(_, fault)| Fate::Answer(fault.status)),
    }
}

#[test]
fn each_message_gets_what_it_deserves() {
    let wrong: Vec<_> = cases()
        .iter()
        .map(|c| (&c.name, c.parse, fate(&c.bytes)))
        .filter(|(_, expect, got)| expect != got)
        .map(|(name, expect, got)| format!("{name}: expected {expect:?}, got {got:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_complete() {
    let all = cases();
    let sections: BTreeSet<&str> = all.iter().map(|c| c.section.as_str()).collect();
    let named = |prefix: &str, last: u32| (1..=last).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let wanted = [
        ("4475-3.1.1.", 13),
        ("4475-3.1.2.", 19),
        ("4475-3.2.", 1),
        ("4475-3.3.", 15),
        ("4475-3.4.", 1),
        ("5118-4.", 10),
    ];
    for section in wanted.iter().flat_map(|(prefix, last)| named(prefix, *last)) {
        assert!(sections.contains(section.as_str()), "no message for {section}");
    }
    let listed: BTreeSet<String> = all.iter().map(|c| format!("{}.sip", c.name)).collect();
    assert_eq!(listed.len(), all.len(), "a message stands twice");
    let files = fs::read_dir(directory()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|f| f.ends_with(".sip")).collect();
    assert_eq!(files, listed);
    let contents: BTreeSet<&[u8]> = all.iter().map(|c| c.bytes.as_slice()).collect();
    assert_eq!(contents.len(), all.len(), "two messages are the same");
}

#[test]
fn valid_messages_survive_a_proxy_and_can_be_answered() {
    for c in cases().iter().filter(|c| c.parse == Fate::Fine) {
        let m = Message::parse_slice(&c.bytes).unwrap();
        assert_eq!(Edits::new().apply(&m), m.bytes(), "{}", c.name);
        assert!(c.bytes.starts_with(m.bytes()), "{}: nothing but the end may be cut off", c.name);
        if m.is_reply() {
            continue;
        }
        let mut out = Vec::new();
        build(&m, &ReplySpec { to_tag: Some(b"new"), ..ReplySpec::new(404) }, &mut out);
        let reply = Message::parse_slice(&out).unwrap();
        assert!(validate(&reply).is_ok(), "{}", c.name);
        let vias = |m: &Message| m.vias().map(|v| v.unwrap().raw.to_vec()).collect::<Vec<_>>();
        assert_eq!(vias(&reply), vias(&m), "{}", c.name);
        assert_eq!((reply.call_id(), reply.from_tag(), reply.cseq()), (m.call_id(), m.from_tag(), m.cseq()));
    }
}

fn message(name: &str) -> Message {
    let case = cases().into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no message {name}"));
    Message::parse_slice(&case.bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn tortuous() {
    let m = message("tortuous");
    assert_eq!(m.from().tag(), Some(&b"galaxy-31"[..]));
    assert_eq!(&*m.from().name_unescaped(), b"Edwin \"E\\P\" Powell");
    assert_eq!((m.to().uri, m.to().param(b"lens")), (&b"sip:hubble@telescope.example"[..], Some(&b"seven"[..])));
    assert_eq!((m.max_forwards(), m.cseq().number, m.cseq().method), (Some(42), 17, Method::Invite));
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).collect();
    let read: Vec<_> = vias.iter().map(|v| (v.transport, v.host, v.branch().unwrap())).collect();
    assert_eq!(
        read,
        [
            (Transport::Udp, &b"192.0.2.31"[..], &b"z9hG4bKcrooked1"[..]),
            (Transport::Tls, b"slit.example", b"z9hG4bKslit"),
            (Transport::Sctp, b"198.51.100.7", b"z9hG4bKmirror")
        ]
    );
    assert!(vias[0].has_rport());
    assert_eq!(m.header(HeaderId::Subject).map(|h| h.value), Some(&b""[..]));
    let folded = m.headers_named(b"x-folded").next().unwrap();
    assert_eq!(&*folded.unfolded(), b"first line second line after a tab third line");
    let route = m.routes().next().unwrap().parse_uri().unwrap();
    assert!(route.lr() && route.param(b"flap").is_some() && route.param(b"shutter") == Some(b"open"));
    let contact = m.contacts().next().unwrap();
    assert_eq!(contact.param(b"q"), Some(&b"0.7"[..]));
    assert_eq!((contact.param(b"focus"), contact.param(b"tracking")), (Some(&b"prime"[..]), Some(&b""[..])));
    assert_eq!(&*contact.name_unescaped(), b"Dome \"\\\"");
    assert_eq!(m.body().len(), 20);
}

#[test]
fn characters_and_escapes() {
    let m = message("wide-characters");
    assert_eq!((m.method(), m.method_bytes()), (Method::Other, &b"Obs-!%*_+`'~.9"[..]));
    let uri = m.parse_request_uri().unwrap();
    assert_eq!(uri.user, Some(&b"(~*-_.!'star)&dust=1+$;?/,%41"[..]));
    assert_eq!((uri.password, uri.host), (Some(&b"pass&=+$,-_.!~*'()"[..]), &b"wide.example"[..]));
    assert_eq!(m.from_tag(), Some(&b"t-!.%*_+`'~"[..]));
    assert_eq!(m.cseq().number, 2_147_483_647);
    let m = message("escapes");
    assert_eq!(m.parse_request_uri().unwrap().user, Some(&b"sip%3Avega%40lyra.example"[..]));
    assert!(m.to().parse_uri().unwrap().same_as(&reprise::sip::Uri::parse(b"sip:vega@lyra.example").unwrap()));
    // %6C%72 is lr, but nobody has to look through that (RFC 4475 3.1.1.3 asks for it in names).
    assert!(m.contacts().next().unwrap().parse_uri().is_ok());
    let m = message("escaped-nul");
    assert_eq!(m.contacts().map(|c| c.parse_uri().unwrap().user.unwrap().len()).collect::<Vec<_>>(), [3, 9]);
    // An escape in a method or header name is no escape.
    let m = message("percent-in-names");
    assert_eq!((m.method(), m.method_bytes()), (Method::Other, &b"OB%53ERVE%44"[..]));
    assert_eq!(m.contacts().count(), 2);
    assert_eq!(m.to().name(), b"100%Q%41");
    let m = message("semicolon-in-user");
    assert_eq!(m.parse_request_uri().unwrap().user, Some(&b"altair;wing=left%40aquila.example"[..]));
    assert_eq!(m.values_of(HeaderId::Accept).count(), 4);
    assert_eq!(message("no-space-before-bracket").to().name(), b"rigel");
}

#[test]
fn lengths_and_bodies() {
    let m = message("long-values");
    assert_eq!(m.vias().count(), 21);
    assert_eq!((m.from_tag().unwrap().len(), m.to().name().len()), (210, 300));
    let m = message("octets-behind-the-body");
    assert_eq!((m.method(), m.body(), m.call_id()), (Method::Register, &b""[..], &b"behind.1@gemini.example"[..]));
    let m = message("multipart");
    assert_eq!(m.media_type(), b"multipart/mixed");
    assert_eq!(m.content_length(), Some(m.body().len() as u32));
    assert!(m.body().windows(4).any(|w| w == [0, 1, 2, 13]) && m.body().ends_with(b"--lens-9f--\r\n"));
    assert_eq!(message("nul-in-body").body(), b"\0\0a\0b\0");
    assert_eq!(message("of-rfc-2543").body().iter().filter(|b| **b == b'\n').count(), 6);
    assert_eq!(message("max-forwards-overlarge").max_forwards(), Some(u32::MAX));
    assert_eq!(message("overlarge-expires").expires(), Some(u32::MAX));
}

#[test]
fn transports_and_branches() {
    let m = message("unknown-transports");
    let kinds: Vec<_> = m.vias().map(|v| v.unwrap().transport).collect();
    assert_eq!(kinds, [Transport::Udp, Transport::Sctp, Transport::Tls, Transport::Other, Transport::Tcp]);
    let via = message("bare-magic-cookie");
    let via = via.top_via().unwrap();
    assert_eq!((via.branch(), via.magic_branch()), (Some(&b"z9hG4bK"[..]), None));
}

#[test]
fn replies() {
    let m = message("unusual-reason");
    assert_eq!(m.status(), 200);
    assert!(m.reason().ends_with(b"; %zz") && std::str::from_utf8(m.reason()).is_ok());
    let m = message("empty-reason");
    assert_eq!((m.status(), m.reason()), (180, &b""[..]));
    assert_eq!(
        message("broadcast-via").vias().nth(1).unwrap().unwrap().reply_target(),
        (&b"255.255.255.255"[..], 5060)
    );
}

#[test]
fn addresses_of_version_6() {
    let uri = |name: &str| {
        let m = message(name);
        let u = m.parse_request_uri().unwrap();
        (u.host_ip().unwrap().to_string(), u.port)
    };
    assert_eq!(uri("v6-reference"), ("2001:db8:5::10".to_owned(), None));
    assert_eq!(uri("v6-ambiguous-port"), ("2001:db8:5::10:5070".to_owned(), None));
    assert_eq!(uri("v6-clear-port"), ("2001:db8:5::10".to_owned(), Some(5070)));
    assert_eq!(uri("v6-three-colons").0, "2001:db8::c000:248");
    for name in ["v6-received-with-brackets", "v6-received-without-brackets"] {
        let m = message(name);
        let received = m.top_via().unwrap().received().unwrap().to_vec();
        assert_eq!(reprise::sip::uri::host_ip(&received), Some("2001:db8:5::ff".parse().unwrap()), "{name}");
    }
    let m = message("v6-and-v4-in-headers");
    let hosts: Vec<_> = m.contacts().map(|c| c.parse_uri().unwrap().host_ip().unwrap().is_ipv6()).collect();
    assert_eq!(hosts, [false, true]);
    assert_eq!(m.vias().count(), 3);
    assert_eq!(sdp::streams(message("v6-and-v4-in-sdp").body()).count(), 2);
    let m = message("v4-mapped");
    assert_eq!(m.top_via().unwrap().port, Some(19000));
    assert_eq!(reprise::sip::uri::host_ip(m.top_via().unwrap().host).unwrap().to_canonical().to_string(), "192.0.2.71");
}

#[test]
fn addresses_and_headers() {
    assert_eq!(message("display-name-without-quotes").to().name(), b"Sirius, the A");
    assert_eq!(message("spaces-in-addr-spec").to().uri, b"sip:sirius@canis.example");
    let m = message("parameter-of-contact");
    let contact = m.contacts().next().unwrap();
    assert_eq!((contact.uri, contact.param(b"magnitude")), (&b"sip:sirius@canis.example"[..], Some(&b"-1.46"[..])));
    let m = message("parameter-of-contact-uri");
    let contact = m.contacts().next().unwrap();
    assert_eq!(contact.param(b"magnitude"), None);
    assert_eq!(contact.parse_uri().unwrap().param(b"magnitude"), Some(&b"-1.46"[..]));
    let m = message("headers-in-contact");
    let contact = m.contacts().next().unwrap().parse_uri().unwrap();
    assert_eq!(contact.header_pairs().next(), Some((&b"Subject"[..], &b"night%20sky"[..])));
    let m = message("commas-in-bare-contact");
    let uris: Vec<_> = m.contacts().map(|c| c.uri).collect();
    assert_eq!(uris, [&b"sip:a,b@canis.example"[..], b"sip:c@canis.example"]);
    assert!(message("star-contact").contacts().next().unwrap().is_star());
    let m = message("extensions-required");
    assert_eq!(m.values_of(HeaderId::ProxyRequire).collect::<Vec<_>>(), [&b"seeing"[..], b"altitude", b"azimuth"]);
    assert_eq!(message("nul-in-header").value(HeaderId::Subject), b"before\0after");
    assert_eq!(message("unknown-schemes-in-headers").to().parse_uri().unwrap().scheme_bytes, b"urn");
}
