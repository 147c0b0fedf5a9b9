//! A client behind a real NAT: another network, a router that masquerades. It registers, is called, and calls; what keeps
//! its way open reaches it.

use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::common::SECOND;
use crate::support::free_port;
use crate::support::netns::{Lan, NetNs};
use crate::support::reprise::Reprise;
use crate::support::sip::{SipClient, SipMessage, response};

fn config(address: &str) -> String {
    let modules: String =
        ["tm", "sl", "rr", "pv", "xlog", "textops", "siputils", "kex", "usrloc", "registrar", "nathelper"]
            .iter()
            .map(|m| format!("loadmodule \"{m}.so\"\n"))
            .collect();
    format!(
        r#"#!KAMAILIO
debug=3
overload_age=0
listen=udp:{address}
{modules}
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
modparam("usrloc", "nat_bflag", 6)
modparam("nathelper", "natping_interval", 1)
modparam("nathelper", "ping_nated_only", 1)
request_route {{
    if (is_method("REGISTER")) {{
        if (nat_uac_test("19")) {{
            fix_nated_register();
            setbflag(6);
        }}
        save("location");
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        if (!isdsturiset()) handle_ruri_alias();
        t_relay();
        exit;
    }}
    record_route();
    if (nat_uac_test("19")) set_contact_alias();
    t_on_reply("answer");
    if ($rU == "alice" && !lookup("location")) {{
        sl_send_reply("404", "Not here");
        exit;
    }}
    t_relay();
}}
onreply_route[answer] {{
    if (nat_uac_test("1")) set_contact_alias();
}}
"#
    )
}

/// A client behind the router that has registered as `alice`, one outside, and the address of record.
pub fn registered(lan: &Lan, address: SocketAddr) -> (SipClient, SipClient, String) {
    let alice = lan.enter(|| SipClient::to(address));
    let bob = SipClient::to(address);
    assert!(alice.local.ip().to_string().starts_with("10."), "it knows its private address only");
    let aor = format!("sip:alice@{address}");
    let mut register = alice.request("REGISTER", &format!("sip:{address}")).header("Expires: 600");
    (register.from, register.to) = (format!("<{aor}>;tag=r"), format!("<{aor}>"));
    assert_eq!(alice.ask(&register).status(), 200);
    (alice, bob, aor)
}

/// What accepts an INVITE: the routes it came by, and a Contact.
pub fn accepting(asked: &SipMessage, user: &str, client: &SipClient) -> Vec<String> {
    let mut headers: Vec<String> = asked.all("Record-Route").iter().map(|r| format!("Record-Route: {r}")).collect();
    headers.push(format!("Contact: <sip:{user}@{}>", client.local));
    headers
}

/// The one behind the router is called, and hung up on: through the router both times. The answer that the caller has got.
pub fn called(alice: &SipClient, bob: &SipClient, aor: &str) -> SipMessage {
    let invite = bob.invite(aor);
    bob.send_request(&invite);
    let asked = alice.expect_request("INVITE", SECOND * 20);
    alice.respond(&asked, 200, "OK", &accepting(&asked, "alice", alice));
    let answer = bob.expect_status(200, SECOND * 20);
    bob.send_request(&invite.ack(&answer));
    alice.expect_request("ACK", SECOND * 20);
    bob.send_request(&invite.in_dialog("BYE", &answer));
    let bye = alice.expect_request("BYE", SECOND * 20);
    alice.respond(&bye, 200, "OK", &[]);
    bob.expect_status(200, SECOND * 20);
    answer
}

#[test]
fn a_client_behind_a_router_that_masquerades_is_reached() {
    let router = NetNs::routing();
    let lan = router.masquerade();
    let port = free_port();
    let address = format!("{}:{port}", router.local);
    let server = Reprise::start(&config(&address), &["-n", "2"]);
    let (alice, bob, aor) = registered(&lan, address.parse().unwrap());
    let known = server.ctl("ul.dump", Value::Null).to_string();
    assert!(known.contains(&format!("sip:{}:", router.peer)), "the router's address is kept: {known}");

    let answer = called(&alice, &bob, &aor);
    assert!(answer.header("Contact").unwrap().contains(&format!(";alias={}~", router.peer)), "{answer:?}");

    // It calls: the callee's requests find it by the alias in its Contact.
    let invite = alice.invite(&format!("sip:bob@{}", bob.local));
    alice.send_request(&invite);
    let asked = bob.expect_request("INVITE", SECOND * 20);
    let target = asked.uri_of("Contact").unwrap().to_string();
    assert!(target.contains(&format!(";alias={}~", router.peer)), "{target}");
    let tag = "callee";
    bob.send_bytes(response(&asked, 200, "OK", tag, &accepting(&asked, "bob", &bob), "").as_bytes());
    let answer = alice.expect_status(200, SECOND * 20);
    alice.send_request(&invite.ack(&answer));
    bob.expect_request("ACK", SECOND * 20);
    let mut bye = bob.request("BYE", &target);
    bye.call_id = asked.call_id().to_string();
    bye.from = format!("{};tag={tag}", asked.header("To").unwrap());
    bye.to = asked.header("From").unwrap().to_string();
    bye.headers = asked.all("Record-Route").iter().map(|r| format!("Route: {r}")).collect();
    bob.send_request(&bye);
    let got = alice.expect_request("BYE", SECOND * 20);
    alice.respond(&got, 200, "OK", &[]);
    bob.expect_status(200, SECOND * 20);
}

#[test]
fn the_way_through_the_router_is_kept_open() {
    let router = NetNs::routing();
    let lan = router.masquerade();
    let address = format!("{}:{}", router.local, free_port());
    let server = Reprise::start(&config(&address), &["-n", "2"]);
    let socket = lan.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect(&address).unwrap();
    socket.set_read_timeout(Some(SECOND * 20)).unwrap();
    let own = socket.local_addr().unwrap();
    let register = format!(
        "REGISTER sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bK1\r\nFrom: <sip:carol@{address}>;tag=1\r\n\
         To: <sip:carol@{address}>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:carol@{own}>\r\nExpires: 600\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send(register.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..len].starts_with(b"SIP/2.0 200"));
    for _ in 0..2 {
        let len = socket.recv(&mut buffer).expect("what keeps the way open");
        assert_eq!(&buffer[..len], [0; 4]);
    }
    server.ctl("nathelper.enable_ping", json!(["0"]));
    assert_eq!(server.ctl("nathelper.enable_ping", Value::Null)["pings"], false);
}
