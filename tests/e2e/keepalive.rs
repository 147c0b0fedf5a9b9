//! Contacts of real clients over UDP and TCP: they are asked whether they are there, end when they do not answer, and end with
//! their connection, whichever worker has it.

use serde_json::{Value, json};

use crate::common::{SECOND, serve, wait_quiet};
use crate::support::eventually;
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, response, unique};
use crate::support::tcp::TcpSip;
use nix::sys::signal::Signal;

fn registrar(port: u16, params: &str) -> String {
    format!(
        r#"#!KAMAILIO
debug=2
overload_age=0
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "timer_interval", 1)
{params}
request_route {{
    if (is_method("REGISTER")) save("location");
    else sl_send_reply("200", "alive");
}}
event_route[usrloc:contact-expired] {{ xlog("L_ERR", "ended: $ulc(exp=>aor)\n"); }}
"#
    )
}

fn register(mut request: Request, user: &str) -> Request {
    request.to = format!("<sip:{user}@example.test>");
    request.from = format!("<sip:{user}@example.test>;tag={}", unique("r"));
    request
}

/// What the server knows of a user's contact.
fn contact(server: &Reprise, user: &str) -> Option<Value> {
    let all = server.try_ctl("ul.lookup", json!(["location", user])).ok()?;
    Some(all["Contacts"][0]["Contact"].clone())
}

#[test]
fn clients_are_asked_and_end_when_they_do_not_answer() {
    let params = "modparam(\"usrloc\", \"ka_mode\", 1)\nmodparam(\"usrloc\", \"ka_timeout\", 6)\n";
    let (server, port) = serve(|port| registrar(port, params), &["-n", "2"]);
    let (udp, deaf, tcp) = (SipClient::new(port), SipClient::new(port), TcpSip::new(port));
    assert_eq!(udp.ask(&register(udp.request("REGISTER", "sip:example.test"), "udp")).status(), 200);
    assert_eq!(deaf.ask(&register(deaf.request("REGISTER", "sip:example.test"), "deaf")).status(), 200);
    assert_eq!(tcp.ask(&register(tcp.request("REGISTER", "sip:example.test"), "tcp")).status(), 200);
    eventually("who does not answer ends", SECOND * 60, || {
        // The others answer all the while.
        while let Some(m) = udp.recv(SECOND / 20) {
            if m.method() == "OPTIONS" {
                assert!(m.header("To").unwrap().contains("sip:udp@kamailio.org"), "{}", m.raw);
                udp.respond(&m, 200, "OK", &[]);
            }
        }
        while let Some(m) = tcp.recv(SECOND / 20) {
            if m.method() == "OPTIONS" {
                assert!(m.header("Via").unwrap().starts_with("SIP/2.0/TCP"), "{}", m.raw);
                tcp.send(response(&m, 200, "OK", "t", &[], ""));
            }
        }
        contact(&server, "deaf").is_none()
    });
    for user in ["udp", "tcp"] {
        let known = contact(&server, user).unwrap_or_else(|| panic!("{user} answers: {}", server.log()));
        assert!(known["Last-Keepalive"].as_i64().unwrap() > 0, "{known}");
        let took = known["KA-Roundtrip"].as_u64().unwrap();
        assert!(took > 0 && took < 30_000_000, "{known}");
    }
    server.wait_log("ended: deaf", SECOND * 10);
    drop(tcp);
    wait_quiet(&server, SECOND * 20);
}

#[test]
fn contacts_end_with_their_connections() {
    let params = "modparam(\"usrloc\", \"handle_lost_tcp\", 1)\n";
    let (server, port) = serve(|port| registrar(port, params), &["-n", "3"]);
    // Registrations come to the owners of their Call-IDs, connections stay where they were accepted.
    let phones: Vec<TcpSip> = (0..12).map(|_| TcpSip::new(port)).collect();
    for (n, phone) in phones.iter().enumerate() {
        let user = format!("phone{n}");
        assert_eq!(phone.ask(&register(phone.request("REGISTER", "sip:example.test"), &user)).status(), 200);
        assert!(contact(&server, &user).is_some());
    }
    let mut phones: Vec<Option<TcpSip>> = phones.into_iter().map(Some).collect();
    for (n, phone) in phones.iter_mut().enumerate().take(4) {
        *phone = None;
        let user = format!("phone{n}");
        eventually("it ends with its connection", SECOND * 20, || contact(&server, &user).is_none());
    }
    let left = |server: &Reprise| (4..12).filter(|n| contact(server, &format!("phone{n}")).is_some()).count();
    assert_eq!(left(&server), 8, "the others stay");
    // A worker that dies takes its connections along, and those alone.
    let worker = server.worker_pids()[0];
    let of_worker = |server: &Reprise| {
        let all = (4..12).filter_map(|n| contact(server, &format!("phone{n}")));
        all.filter(|c| c["Tcpconn-Id"].as_str().is_some_and(|id| id.starts_with("0."))).count()
    };
    let gone = of_worker(&server);
    assert!(crate::support::process::signal(worker, Signal::SIGKILL));
    eventually("those of the dead end", SECOND * 30, || left(&server) == 8 - gone);
    assert_eq!(of_worker(&server), 0);
    drop(phones);
    eventually("all end", SECOND * 30, || left(&server) == 0);
}

#[test]
fn connections_end_with_their_contacts() {
    let params = "modparam(\"registrar\", \"min_expires\", 1)\nmodparam(\"usrloc\", \"close_expired_tcp\", 1)\n";
    let (server, port) = serve(|port| registrar(port, params), &["-n", "2"]);
    let phone = TcpSip::new(port);
    let request = register(phone.request("REGISTER", "sip:example.test"), "short").header("Expires: 2");
    assert_eq!(phone.ask(&request).status(), 200);
    phone.wait_closed(SECOND * 30);
    eventually("its contact has ended", SECOND * 20, || contact(&server, "short").is_none());
}
