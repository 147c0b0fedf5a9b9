//! WITH_ANTIFLOOD: who floods is banned, others are served.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::SECOND;
use crate::on_both;
use crate::server::{Kind, Start};
use crate::support::sip::{SipClient, SipMessage, unique};

on_both! {
    who_floods_is_banned
}

/// OPTIONS from another address than the server's; whether it is answered.
fn answered(socket: &UdpSocket, port: u16, wait: Duration) -> bool {
    let own = socket.local_addr().unwrap();
    let call_id = unique("flood-");
    let request = format!(
        "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch={}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@{own}>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        unique("z9hG4bK")
    );
    socket.send_to(request.as_bytes(), ("127.0.0.1", port)).unwrap();
    let end = Instant::now() + wait;
    let mut buffer = [0; 4096];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        socket.set_read_timeout(Some(left)).unwrap();
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        if SipMessage::parse(&buffer[..n], from).is_some_and(|m| m.call_id() == call_id) {
            return true;
        }
    }
    false
}

fn who_floods_is_banned(kind: Kind) {
    let server = Start::with(&["WITH_ANTIFLOOD"]).on(kind);
    let flooder = UdpSocket::bind("127.0.0.2:0").unwrap();
    let other = UdpSocket::bind("127.0.0.3:0").unwrap();
    assert!(answered(&flooder, server.port, SECOND * 5));
    // The file lets 16 requests of an address pass in 2 s.
    let mut passed = 0;
    for _ in 0..60 {
        if !answered(&flooder, server.port, Duration::from_millis(300)) {
            break;
        }
        passed += 1;
    }
    assert!((10..=40).contains(&passed), "{passed} requests passed");
    assert!(server.log().contains("pike block"), "{}", server.log());
    // It is banned, whatever it sends; others and the server's own address are not.
    for _ in 0..3 {
        assert!(!answered(&flooder, server.port, Duration::from_millis(300)));
    }
    assert!(answered(&other, server.port, SECOND * 5));
    let near = SipClient::new(server.port);
    assert_eq!(near.options(&format!("sip:127.0.0.1:{}", server.port)).status(), 200);
    let items = server.rpc("htable.dump", serde_json::json!(["ipban"])).expect("the table").to_string();
    assert!(items.contains("127.0.0.2") && !items.contains("127.0.0.3"), "{items}");
}
