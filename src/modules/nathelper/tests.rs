//! The functions on messages of clients behind NAT.

use super::*;
use crate::modules::env::{Env, Listen};
use crate::modules::nathelper::{alias, contact, judge, sdp};
use crate::modules::testing::{Bench, OMIT};

const REGISTER: &str = concat!(
    "INVITE sip:bob@example.com SIP/2.0\r\n",
    "Via: SIP/2.0/UDP 10.0.0.2:5062;branch=z9hG4bK1\r\n",
    "From: <sip:alice@example.com>;tag=1\r\n",
    "To: <sip:bob@example.com>\r\n",
    "Call-ID: 1\r\n",
    "CSeq: 1 INVITE\r\n",
    "Contact: CONTACT\r\n",
    "Content-Type: application/sdp\r\n",
    "Content-Length: LENGTH\r\n\r\n",
    "v=0\r\no=a 1 1 IN IP4 10.0.0.2\r\nc=IN IP4 10.0.0.2\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n",
);

/// A message with this Contact that came from 192.0.2.7:1024.
fn bench(contact: &str) -> Bench {
    let listener =
        Listen { transport: Transport::Udp, addr: ([192, 0, 2, 1], 5060).into(), advertised: None, tag: None };
    let mut env = Env { listeners: vec![listener], ..Env::unattached() };
    env.settings.nathelper.received_avp = Some(Str::from("rcv"));
    let length = REGISTER.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    let text = REGISTER.replace("CONTACT", contact).replace("LENGTH", &length.to_string());
    let mut b = Bench::with(&text, env);
    b.host.source = ([192, 0, 2, 7], 1024).into();
    b
}

fn contact_of(b: &Bench) -> String {
    b.sent().lines().find_map(|l| l.strip_prefix("Contact: ")).unwrap_or_default().to_string()
}

#[test]
fn tests_hold_by_their_bits() {
    let mut b = bench("<sip:alice@10.0.0.2:5062>");
    let held = |b: &mut Bench| -> Vec<u32> {
        (0..10).map(|n| 1 << n).filter(|bit| b.call(&judge::NAT_UAC_TEST, &[&bit.to_string()]) == 1).collect()
    };
    assert_eq!(held(&mut b), [1, 2, 4, 8, 16, 128, 256]);
    assert_eq!(b.call(&judge::NAT_UAC_TEST, &["96"]), -1);
    assert_eq!(b.call(&judge::NAT_UAC_TEST, &["0"]), -1000);
    b.host.source = ([10, 0, 0, 2], 5062).into();
    assert_eq!(held(&mut b), [1, 4, 8, 32, 256]);
    b.host.du = Some(Str::from("sip:10.0.0.9"));
    assert_eq!(held(&mut b), [1, 4, 8, 32, 256, 512]);
    b.host.du = Some(Str::from("sip:example.COM:5060;transport=udp"));
    assert_eq!(held(&mut b), [1, 4, 8, 32, 256]);
    let mut b = bench("<sip:alice@client.example.com>");
    b.host.source = ([100, 64, 0, 1], 5060).into();
    assert_eq!(held(&mut b), [2, 4, 8, 16, 32, 256]);
}

#[test]
fn tests_hold_by_their_words() {
    let mut b = bench("<sip:alice@100.64.0.2>");
    let test = |b: &mut Bench, words: &str| b.call(&judge::NAT_UAC_TEST_WORDS, &[words]);
    assert_eq!(test(&mut b, "private-contact"), -1);
    assert_eq!(test(&mut b, "private-contact,carrier-grade-nat"), 1);
    assert_eq!(test(&mut b, "129"), 1);
    assert_eq!([1, 2, 4, 8, 16, 32, 64].map(|n: i32| test(&mut b, &n.to_string())), [-1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(test(&mut b, "private-what"), -1000);
}

#[test]
fn private_addresses() {
    let mut b = bench("<sip:a@b>");
    for (text, yes) in [
        ("10.255.0.1", true),
        ("172.16.0.1", true),
        ("172.32.0.1", false),
        ("192.168.1.1", true),
        ("100.64.0.1", true),
        ("100.128.0.1", false),
        ("192.0.2.1", false),
        ("x", false),
    ] {
        assert_eq!(b.call(&judge::IS_RFC1918, &[text]), if yes { 1 } else { -1 }, "{text}");
    }
}

#[test]
fn contacts_get_the_source() {
    for (before, after) in [
        ("\"A\" <sip:alice@10.0.0.2;x=1>;q=0.5", "\"A\" <sip:alice@192.0.2.7:1024;x=1>;q=0.5"),
        ("sip:alice@10.0.0.2:5062;q=0.5", "sip:alice@192.0.2.7:1024;q=0.5"),
        ("<sip:a@10.0.0.2>, <sip:b@10.0.0.3>", "<sip:a@192.0.2.7:1024>, <sip:b@192.0.2.7:1024>"),
    ] {
        let mut b = bench(before);
        assert_eq!(b.call(&contact::FIX_NATED_CONTACT, &[]), 1);
        assert_eq!(contact_of(&b), after);
    }
    let mut b = bench("<sip:a@10.0.0.2>");
    b.host.source = "[2001:db8::7]:1024".parse().unwrap();
    b.call(&contact::FIX_NATED_CONTACT, &[]);
    assert_eq!(contact_of(&b), "<sip:a@[2001:db8::7]:1024>");
    let mut b = bench("<sip:a@10.0.0.2;x=1?h=v>");
    assert_eq!(b.call(&contact::FIX_NATED_CONTACT_WITH, &[";nat=yes"]), 1);
    assert_eq!(contact_of(&b), "<sip:a@192.0.2.7:1024;x=1;nat=yes?h=v>");
    assert_eq!(b.call(&contact::FIX_NATED_CONTACT_WITH, &["a b"]), -1000);
    assert_eq!(bench("*").call(&contact::FIX_NATED_CONTACT, &[]), -1);
}

#[test]
fn received_is_noted() {
    let mut b = bench("<sip:a@10.0.0.2>;q=1");
    assert_eq!(b.call(&contact::FIX_NATED_REGISTER, &[]), 1);
    assert_eq!(b.avp("rcv"), ["sip:192.0.2.7:1024"]);
    assert_eq!(b.call(&contact::ADD_RCV_PARAM, &[]), 1);
    assert_eq!(contact_of(&b), "<sip:a@10.0.0.2>;q=1;received=\"sip:192.0.2.7:1024\"");
    let mut b = bench("sip:a@10.0.0.2");
    b.call(&contact::ADD_RCV_PARAM, &["1"]);
    assert_eq!(contact_of(&b), "<sip:a@10.0.0.2;received=sip:192.0.2.7:1024>");
    // Two changes to one Contact add up.
    let mut b = bench("<sip:a@10.0.0.2>");
    b.call(&contact::FIX_NATED_CONTACT, &[]);
    b.call(&contact::ADD_RCV_PARAM, &[OMIT]);
    assert_eq!(contact_of(&b), "<sip:a@192.0.2.7:1024>;received=\"sip:192.0.2.7:1024\"");
}

#[test]
fn aliases_are_written_and_followed() {
    let mut b = bench("\"A\" <sip:a@10.0.0.2;x=1>;q=1");
    assert_eq!(b.call(&alias::SET_CONTACT_ALIAS, &[]), 1);
    assert_eq!(contact_of(&b), "\"A\" <sip:a@10.0.0.2;x=1;alias=192.0.2.7~1024~1>;q=1");
    let mut b = bench("sip:a@10.0.0.2");
    assert_eq!(b.call(&alias::ADD_CONTACT_ALIAS, &["192.0.2.9", "5071", "tcp"]), 1);
    assert_eq!(contact_of(&b), "<sip:a@10.0.0.2;alias=192.0.2.9~5071~2>");
    assert_eq!(b.call(&alias::ADD_CONTACT_ALIAS, &["x", "5071", "tcp"]), -1000);
    // It is where it says.
    let mut b = bench("<sip:a@192.0.2.7:1024>");
    assert_eq!(b.call(&alias::ADD_CONTACT_ALIAS, &[]), 2);
    assert_eq!(contact_of(&b), "<sip:a@192.0.2.7:1024>");

    let handle = |ruri: &str, mode: &[&str]| {
        let mut b = bench("<sip:a@b>");
        b.host.ruri = Some(Str::from(ruri));
        let code = b.call(&alias::HANDLE_RURI_ALIAS, mode);
        let text = |s: &Option<Str>| s.as_ref().map(|s| s.to_string()).unwrap_or_default();
        (code, text(&b.host.ruri), text(&b.host.du))
    };
    let got = handle("sip:a@10.0.0.2;alias=192.0.2.9~5071~2;x=1", &[]);
    assert_eq!(got, (1, "sip:a@10.0.0.2;x=1".to_string(), "sip:192.0.2.9:5071;transport=tcp".to_string()));
    let two = "sip:a@h;alias=192.0.2.1~1~1;alias=[2001:db8::1]~2~3";
    assert_eq!(handle(two, &[]).1, "sip:a@h;alias=[2001:db8::1]~2~3");
    let last = handle(two, &["1"]);
    assert_eq!(
        (last.1.as_str(), last.2.as_str()),
        ("sip:a@h;alias=192.0.2.1~1~1", "sip:[2001:db8::1]:2;transport=tls")
    );
    assert_eq!(handle("sip:a@h", &[]).0, 2);
    assert_eq!(handle("sip:a@h;alias=x", &[]).0, 2);
    assert_eq!(handle("sip:a@h;alias=192.0.2.1~7~1", &[]).2, "sip:192.0.2.1:7");
    for bad in ["192.0.2.1~1", "192.0.2.1~0~1", "192.0.2.1~1~9", "192.0.2.1~1~0", "h~1~1", "192.0.2.1~1~1~1"] {
        assert_eq!(handle(&format!("sip:a@h;alias={bad}"), &[]).0, -1, "{bad}");
    }
    assert_eq!(handle("tel:123;alias=192.0.2.1~1~1", &[]).0, -1);
}

#[test]
fn session_descriptions_get_addresses() {
    let body = |mask: &str, more: &[&str]| {
        let mut b = bench("<sip:a@b>");
        let args: Vec<&str> = std::iter::once(mask).chain(more.iter().copied()).collect();
        let rewritten = mask.parse::<u32>().is_ok_and(|m| m & 10 != 0);
        assert_eq!(b.call(&sdp::FIX_NATED_SDP, &args), if rewritten { 1 } else { 2 });
        let sent = b.sent();
        sent.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "|")
    };
    let head = "v=0|o=a 1 1 IN IP4 10.0.0.2|";
    let tail = "m=audio 4000 RTP/AVP 0|c=IN IP4 0.0.0.0|";
    assert_eq!(body("2", &[]), format!("{head}c=IN IP4 192.0.2.7|{tail}a=oldmediaip:10.0.0.2|"));
    assert_eq!(body("1", &[]), format!("{head}c=IN IP4 10.0.0.2|{tail}a=direction:active|"));
    assert_eq!(
        body("10", &["2001:db8::1"]),
        "v=0|o=a 1 1 IN IP6 2001:db8::1|c=IN IP6 2001:db8::1|m=audio 4000 RTP/AVP 0|c=IN IP4 0.0.0.0|\
         a=oldmediaip:10.0.0.2|a=oldmediaip:10.0.0.2|"
    );
    let mut b = bench("<sip:a@b>");
    assert_eq!(b.call(&sdp::FIX_NATED_SDP_WORDS, &["18"]), 1);
    assert!(b.sent().contains("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.7\r\n"));
    assert!(body("4", &[]).ends_with("a=nortpproxy:yes|"));
    assert!(body("0", &[OMIT, "a=x:1\r\na=y"]).ends_with("a=x:1|a=y|"));
    let mut b = bench("<sip:a@b>");
    assert_eq!(b.call(&sdp::FIX_NATED_SDP, &["2", "host"]), -1000);
    assert_eq!(b.call(&sdp::FIX_NATED_SDP_WORDS, &["rewrite-media-ip,add-dir-active"]), 1);
    assert_eq!(b.call(&sdp::FIX_NATED_SDP_WORDS, &["rewrite"]), -1000);
}

#[test]
fn names_of_avps() {
    assert_eq!(avp_name(b"$avp(RECEIVED)"), Some(Str::from("RECEIVED")));
    assert_eq!(avp_name(b" $avp(s:rcv) "), Some(Str::from("s:rcv")));
    for bad in ["", "rcv", "$var(x)", "$avp()", "$avp($var(x))"] {
        assert_eq!(avp_name(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn an_alias_may_take_the_place_of_another() {
    let before = "<sip:alice@10.0.0.2;alias=10.9.9.9~5060~1;x=1>";
    let mut b = bench(before);
    assert_eq!(b.call(&alias::SET_CONTACT_ALIAS, &[]), 1);
    assert_eq!(contact_of(&b), "<sip:alice@10.0.0.2;alias=10.9.9.9~5060~1;x=1;alias=192.0.2.7~1024~1>");
    let mut b = bench(before);
    assert_eq!(b.call(&alias::SET_CONTACT_ALIAS, &["1"]), 1);
    assert_eq!(contact_of(&b), "<sip:alice@10.0.0.2;x=1;alias=192.0.2.7~1024~1>");
}

#[test]
fn an_alias_may_have_another_name() {
    let mut b = bench("<sip:alice@10.0.0.2>");
    let mut env = (*b.host.env).clone();
    env.settings.nathelper.set("alias_name", &Value::from("place")).unwrap();
    assert!(env.settings.nathelper.set("alias_name", &Value::from("a b")).is_err());
    b.host.env = std::rc::Rc::new(env);
    assert_eq!(b.call(&alias::SET_CONTACT_ALIAS, &[]), 1);
    assert_eq!(contact_of(&b), "<sip:alice@10.0.0.2;place=192.0.2.7~1024~1>");
    b.host.ruri = Some(Str::from("sip:alice@10.0.0.2;place=192.0.2.7~1024~2"));
    assert_eq!(b.call(&alias::HANDLE_RURI_ALIAS, &[]), 1);
    assert_eq!(b.host.du.as_deref(), Some(&b"sip:192.0.2.7:1024;transport=tcp"[..]));
}

#[test]
fn an_alias_is_read_as_a_uri() {
    for (contact, code, place) in [
        ("<sip:a@10.0.0.2;alias=10.9.9.9~5070~1>", 1, "sip:10.9.9.9:5070;transport=udp"),
        ("<sip:a@10.0.0.2;alias=10.9.9.9~5070~3>", 1, "sip:10.9.9.9:5070;transport=tls"),
        ("<sip:a@10.0.0.2>", -1, ""),
        ("<sip:a@10.0.0.2;alias=nowhere>", -1, ""),
    ] {
        let mut b = bench(contact);
        assert_eq!(b.call(&alias::SET_ALIAS_TO_PV, &["$avp(place)"]), code, "{contact}");
        assert_eq!(b.fake.avps.get(b"place", 0).to_text().unwrap_or_default(), Str::from(place), "{contact}");
    }
}

#[test]
fn reserved_addresses_may_count_as_private() {
    let mut b = bench("<sip:a@b>");
    let judged = |b: &mut Bench| ["192.0.0.1", "192.0.0.9", "10.0.0.1"].map(|ip| b.call(&judge::IS_RFC1918, &[ip]));
    assert_eq!(judged(&mut b), [1, 1, 1]);
    let mut env = (*b.host.env).clone();
    env.settings.nathelper.set("nat_addr_mode", &Value::Int(0)).unwrap();
    b.host.env = std::rc::Rc::new(env);
    assert_eq!(judged(&mut b), [1, -1, 1]);
}

#[test]
fn what_stood_in_a_contact_comes_back() {
    let mut b = bench("<sip:alice@10.0.0.2:5062;x=1>");
    assert_eq!(b.call(&contact::FIX_NATED_CONTACT_WITH, &[OMIT, "preserve-uri"]), 1);
    let fixed = contact_of(&b);
    assert_eq!(fixed, "<sip:alice@192.0.2.7:1024;x=1;org=MTAuMC4wLjI6NTA2Mg>");
    let uri = fixed.trim_matches(['<', '>']).to_string();
    b.host.ruri = Some(Str::from(uri.as_str()));
    assert_eq!(b.call(&contact::RESTORE_NATED_RURI, &[]), 1);
    assert_eq!(b.host.ruri.as_deref(), Some(&b"sip:alice@10.0.0.2:5062;x=1"[..]));
    assert_eq!(b.call(&contact::RESTORE_NATED_RURI, &[]), -1, "it has no such parameter any more");
    for (value, code) in [("MTAuMC4wLjI6NTA2Mg==", 1), ("aG9zdA", 1), ("!", -1), ("YSBi", -1), ("YTpiOmM", -1)] {
        b.host.ruri = Some(Str::from(format!("sip:a@192.0.2.7:1024;org={value}")));
        assert_eq!(b.call(&contact::RESTORE_NATED_RURI, &[]), code, "{value}");
    }
    assert_eq!(b.call(&contact::FIX_NATED_CONTACT_WITH, &[OMIT, "what"]), -1000);
}
