//! Contacts of users: requests that keep them (`ka_mode`), and the connections that they came over.

use crate::bed::{Bed, PROXY, addr};
use reprise::base::Str;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::sip::Message;
use reprise::worker::sim::{SimOptions, lines};
use serde_json::{Value, json};

fn load(params: &str) -> Result<Bed, String> {
    lines::keep();
    let text = format!(
        r#"#!KAMAILIO
debug=2
listen=udp:127.0.0.1:5060
listen=tcp:127.0.0.1:5060
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "kex.so"
loadmodule "xlog.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "nat_bflag", 6)
{params}
request_route {{
    if (!is_method("REGISTER")) {{ sl_send_reply("404", "no"); exit; }}
    if ($hdr(X-Nat) != $null) setbflag(6);
    save("location");
}}
reply_route {{ xlog("L_ERR", "reply $rs\n"); }}
event_route[usrloc:contact-expired] {{ xlog("L_ERR", "ended: $ulc(exp=>aor) $ulc(exp=>addr)\n"); }}
"#
    );
    let sim = simulate(ConfigText::Text(&text, "contacts.cfg"), None, SimOptions::default())?;
    assert!(sim.is_up());
    Ok(Bed::of(sim))
}

fn bed(params: &str) -> Bed {
    load(params).unwrap_or_else(|e| panic!("{e}"))
}

fn logged() -> String {
    lines::take().into_iter().map(|l| l.text + "\n").collect()
}

fn register(user: &str, contact: &str, transport: &str, cseq: u32, lines: &str) -> Message {
    let text = format!(
        "REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.99;branch=z9hG4bKr{user}{cseq};rport\r\n\
         From: <sip:{user}@x>;tag=r\r\nTo: <sip:{user}@x>\r\nCall-ID: r-{user}\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: {contact};expires=3600\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Str::from(text.as_str())).unwrap()
}

/// A contact of `callee` over UDP.
fn registered(b: &mut Bed, user: &str, callee: &str, lines: &str) {
    let contact = format!("<sip:{user}@{}>", addr(callee));
    b.send(callee, &register(user, &contact, "UDP", 1, lines));
    let all = b.got();
    assert_eq!(all[0].m.status(), 200, "{}", all[0].text());
}

/// What is known of the contacts of a user.
fn contact(b: &mut Bed, user: &str) -> Option<Value> {
    let text = b.sim.call("ul.lookup", &json!(["location", user]).to_string()).ok()?;
    let all: Value = serde_json::from_str(&text).unwrap();
    Some(all["Contacts"][0]["Contact"].clone())
}

#[test]
fn contacts_are_asked_and_their_answers_noted() {
    let mut b = bed(r#"
modparam("usrloc", "timer_interval", 10)
modparam("usrloc", "ka_mode", 1)
modparam("usrloc", "ka_from", "sip:server@here")
modparam("usrloc", "ka_domain", "there")
modparam("usrloc", "ka_timeout", 35)
modparam("usrloc", "ka_loglevel", -1)
modparam("usrloc", "ka_logmsg", " to: [$tu] status: $rs")
"#);
    registered(&mut b, "bob", "b1", "");
    registered(&mut b, "eve", "b2", "");
    b.wait(10_000);
    let mut asked = b.got();
    asked.sort_by_key(|g| g.to.clone());
    assert_eq!(asked.iter().map(|g| g.word()).collect::<Vec<_>>(), ["b1 OPTIONS", "b2 OPTIONS"]);
    let one = asked[0].clone();
    assert_eq!(one.uri(), format!("sip:bob@{}", addr("b1")));
    assert!(one.header("From").starts_with("<sip:server@here>;tag="), "{}", one.text());
    assert_eq!(one.header("To"), "<sip:bob@there>");
    b.wait(50);
    b.reply(&one, 404, "");
    assert!(b.did().is_empty(), "it is nobody else's reply");
    let log = logged();
    assert!(log.contains("keepalive roundtrip: 0.050000 sec - ruid [uloc-"), "{log}");
    assert!(log.contains("] to: [sip:bob@there] status: 404"), "{log}");
    assert!(!log.contains("reply 404"), "{log}");
    let bob = contact(&mut b, "bob").unwrap();
    assert_eq!(bob["KA-Roundtrip"], 50_000);
    assert!(bob["Last-Keepalive"].as_i64().unwrap() > 0);
    assert_eq!(contact(&mut b, "eve").unwrap()["Last-Keepalive"], 0);
    // A reply that somebody has made up counts for nothing.
    let id = one.header("Call-ID");
    let (head, rest) = id.split_once('.').unwrap();
    let (at, rest) = rest.split_once('.').unwrap();
    let forged = format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=1\r\nCall-ID: {head}.{at}0.{rest}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        one.header("Via"),
        one.header("From"),
        one.header("To")
    );
    b.wait(100);
    b.sim.receive(addr("b1"), PROXY.parse().unwrap(), forged.as_bytes());
    assert_eq!(contact(&mut b, "bob").unwrap()["KA-Roundtrip"], 50_000);
    // Who does not answer for long enough ends; who does stays.
    for _ in 0..3 {
        b.wait(10_000);
        for ask in b.got() {
            if ask.to == "b1" {
                b.reply(&ask, 200, "");
            }
        }
    }
    assert!(contact(&mut b, "eve").is_none() && contact(&mut b, "bob").is_some());
    let log = logged();
    assert!(log.contains("ended: eve sip:eve@192.0.2.12:5060") && !log.contains("ended: bob"), "{log}");
    b.wait(10_000);
    assert_eq!(b.did(), ["b1 OPTIONS"]);
}

#[test]
fn only_those_are_asked_that_the_mode_says() {
    for (mode, asked) in
        [(2, vec!["b2 OPTIONS"]), (6, vec!["b2 OPTIONS"]), (4, vec!["b1 OPTIONS", "b2 OPTIONS"]), (0, vec![])]
    {
        let mut b =
            bed(&format!("modparam(\"usrloc\", \"timer_interval\", 10)\nmodparam(\"usrloc\", \"ka_mode\", {mode})\n"));
        registered(&mut b, "bob", "b1", "");
        registered(&mut b, "eve", "b2", "X-Nat: yes\r\n");
        b.wait(10_100);
        let mut did = b.did();
        did.sort_unstable();
        assert_eq!(did, asked, "mode {mode}");
    }
    let why = load("modparam(\"usrloc\", \"ka_mode\", 1)\nmodparam(\"usrloc\", \"ka_timeout\", 60)\n").err().unwrap();
    assert!(why.contains("ka_timeout (60 s) is not longer than timer_interval"), "{why}");
}

/// A phone behind a connection of its own: its number in the simulation.
fn phone(b: &mut Bed, user: &str) -> usize {
    let line = b.sim.connect("192.0.2.50".parse().unwrap(), PROXY.parse().unwrap()).unwrap();
    let m = register(user, &format!("<sip:{user}@10.9.9.9:5060;transport=tcp>"), "TCP", 1, "");
    b.sim.feed(line, m.bytes());
    let all = b.sim.take_streamed();
    assert!(String::from_utf8_lossy(&all[0].2).starts_with("SIP/2.0 200"), "{all:?}");
    line
}

#[test]
fn a_contact_is_asked_over_its_connection_and_ends_with_it() {
    let mut b = bed("modparam(\"usrloc\", \"timer_interval\", 10)\nmodparam(\"usrloc\", \"ka_mode\", 1)\n\
         modparam(\"usrloc\", \"handle_lost_tcp\", 1)\n");
    let line = phone(&mut b, "bob");
    let other = phone(&mut b, "eve");
    b.wait(10_000);
    let asked = b.sim.take_streamed();
    let mut lines: Vec<usize> = asked.iter().map(|(line, ..)| *line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [line, other]);
    let text = String::from_utf8_lossy(&asked[0].2).into_owned();
    assert!(text.starts_with("OPTIONS sip:") && text.contains("Via: SIP/2.0/TCP"), "{text}");
    let conn = contact(&mut b, "bob").unwrap()["Tcpconn-Id"].clone();
    assert_ne!(conn, -1);
    b.sim.hang_up(line);
    assert!(contact(&mut b, "bob").is_none() && contact(&mut b, "eve").is_some());
    assert!(logged().contains("ended: bob sip:bob@10.9.9.9:5060"));
    b.wait(60_000);
    assert!(contact(&mut b, "eve").is_some());
}

#[test]
fn a_connection_ends_with_its_contact() {
    let mut b = bed("modparam(\"usrloc\", \"timer_interval\", 10)\nmodparam(\"usrloc\", \"close_expired_tcp\", 1)\n");
    let line = phone(&mut b, "bob");
    let m = register("bob", "<sip:bob@10.9.9.9:5060;transport=tcp>", "TCP", 2, "");
    let text = String::from_utf8_lossy(m.bytes()).replace("expires=3600", "expires=70");
    b.sim.feed(line, text.as_bytes());
    b.sim.take_streamed();
    b.wait(60_000);
    assert!(b.sim.ends(line).is_some());
    b.wait(30_000);
    assert!(contact(&mut b, "bob").is_none());
    let taken = b.sim.take_streamed();
    assert!(taken.iter().any(|(l, _, bytes)| *l == line && bytes.is_empty()), "{taken:?}");
    // Without the parameter it stays.
    let mut b = bed("modparam(\"usrloc\", \"timer_interval\", 10)\n");
    let line = phone(&mut b, "bob");
    b.sim.hang_up(line);
    b.wait(20_000);
    assert!(contact(&mut b, "bob").is_some());
}
