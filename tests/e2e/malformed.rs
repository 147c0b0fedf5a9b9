//! Malformed datagrams: answered with 400 where they allow an answer, else dropped and counted; the
//! server lives on.

#[path = "../fuzz/mutator.rs"]
mod mutator;

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::{SECOND, address, held, listening, proxy, serve, stat};
use crate::corpus::cases;
use crate::support::eventually;
use crate::support::sip::SipClient;
use crate::support::uas::Uas;
use mutator::Random;

const ANSWERING: &str = "\nroute {\n    sl_send_reply(200, \"OK\");\n}\n";

/// A request that is right; each case below breaks one thing.
const GOOD: &str = "OPTIONS sip:[server] SIP/2.0
Via: SIP/2.0/UDP [local];rport;branch=[branch]
Max-Forwards: 70
From: <sip:alice@[local]>;tag=[tag]
To: <sip:bob@[server]>
Call-ID: [call_id]
CSeq: 1 OPTIONS
Contact: <sip:alice@[local]>
Content-Length: 0

";

fn alive(port: u16) {
    // Right after a flood new requests may be refused for a moment: the datagrams before them were old.
    crate::support::eventually("the server answers", SECOND * 10, || {
        SipClient::new(port).options("sip:example.test").status() == 200
    });
}

#[test]
fn what_can_be_answered_is_answered_400() {
    let (server, port) = serve(|port| listening(port, "", ANSWERING), &["-n", "2"]);
    let client = SipClient::new(port);
    client.send(GOOD);
    assert_eq!(client.recv(SECOND).unwrap().status(), 200);
    let broken = [
        ("Via: SIP/2.0/UDP", "Via: nonsense", "Via"),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE", "CSeq Does Not Match Method"),
        ("CSeq: 1 OPTIONS", "CSeq: one OPTIONS", "CSeq"),
        ("CSeq: 1 OPTIONS", "CSeq: 99999999999999999999 OPTIONS", "CSeq"),
        ("CSeq: 1 OPTIONS\n", "", "CSeq"),
        ("sip:[server] SIP", "sip:[server SIP", "Request-URI"),
        ("sip:[server] SIP", "<sip:[server]> SIP", ""),
        ("sip:[server] SIP", "sip:[server]?a=b SIP", "Headers in Request-URI"),
        ("From: <sip:alice@[local]>;tag=[tag]\n", "", "From"),
        ("From: <sip:alice", "From: \"open <sip:alice", "From"),
        ("To: <sip:bob@[server]>", "To: <sip:bob@[server]", "To"),
        ("Call-ID: [call_id]\n", "", "Call-ID"),
        ("Call-ID: [call_id]", "Call-ID: two words", "Call-ID"),
        ("Content-Length: 0", "Content-Length: 9999", "Content-Length"),
        ("Content-Length: 0", "Content-Length: -1", "Content-Length"),
        ("Content-Length: 0", "Content-Length: 0\nContent-Length: 5", "Content-Length"),
        ("Max-Forwards: 70", "Max-Forwards: many", "Max-Forwards"),
        ("Contact: <", "Contact: <<", ""),
        ("Contact:", "Route: <sip:broken\nContact:", "Route"),
        ("Max-Forwards: 70\n", "Max-Forwards: 70\nVia: nonsense\n", "Via"),
    ];
    let before = stat(&server, "core:err_requests");
    for (old, new, reason) in broken {
        assert!(GOOD.contains(old), "{old}");
        client.send(&GOOD.replacen(old, new, 1));
        let answer = client.recv(SECOND).unwrap_or_else(|| panic!("no answer to {new:?}"));
        assert_eq!(answer.status(), 400, "{new:?}: {}", answer.raw);
        assert!(answer.reason().contains(reason), "{new:?}: {}", answer.start_line);
    }
    client.send(&GOOD.replacen("SIP/2.0", "SIP/3.0", 1));
    assert_eq!(client.recv(SECOND).unwrap().status(), 505);
    assert_eq!(stat(&server, "core:err_requests") - before, broken.len() as u64 + 1);
    alive(port);
}

#[test]
fn what_cannot_be_answered_is_dropped_and_counted() {
    let (server, port) = serve(|port| listening(port, "", ANSWERING), &["-n", "2"]);
    let client = SipClient::new(port);
    let filled = |text: &str| {
        let text = text.replace("[local]", &client.local.to_string()).replace("[server]", &client.server.to_string());
        let text = text.replace("[branch]", "z9hG4bKx").replace("[tag]", "x").replace("[call_id]", "dropped");
        text.replace('\n', "\r\n").into_bytes()
    };
    let via = GOOD.lines().nth(1).unwrap().to_owned() + "\n";
    let requests = [
        filled(&GOOD.replacen(&via, "", 1)),
        filled(&GOOD.replace("OPTIONS", "ACK").replacen("CSeq: 1 ACK", "CSeq: 1 BYE", 1)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\0\x01\x02\x03".repeat(100),
        vec![0xff; 65_507],
        b"OPTIONS sip:x SIP/2.0".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello".to_vec(),
    ];
    let errors = stat(&server, "core:err_requests");
    for datagram in &requests {
        client.send_bytes(datagram);
    }
    client.expect_silence(Duration::from_millis(300));
    assert_eq!(stat(&server, "core:err_requests") - errors, requests.len() as u64);

    let status = GOOD.replacen("OPTIONS sip:[server] SIP/2.0", "SIP/2.0 200 OK", 1);
    let replies = [
        filled(&status.replacen(&via, "", 1)),
        filled(&status.replacen("200 OK", "4294967301 OK", 1)),
        filled(&status.replacen("CSeq: 1 OPTIONS", "CSeq: none", 1)),
        filled(&status.replacen("To: <", "To: \"<", 1)),
    ];
    let errors = stat(&server, "core:err_replies");
    for datagram in &replies {
        client.send_bytes(datagram);
    }
    client.expect_silence(Duration::from_millis(300));
    assert_eq!(stat(&server, "core:err_replies") - errors, replies.len() as u64);

    // Keep-alives and empty datagrams are no errors.
    for noise in [&b"\r\n\r\n"[..], b"", b"\0", b"jaK"] {
        client.send_bytes(noise);
    }
    client.expect_silence(Duration::from_millis(200));
    assert_eq!(stat(&server, "core:err_requests"), requests.len() as u64);
    alive(port);
}

/// Everything a message meets: variables of all headers, Record-Route, a wait, relay, replies.
fn everything(port: u16, to: &Uas) -> String {
    let relay = format!(
        r#"
    t_on_reply("seen");
    t_on_branch("each");
    t_on_failure("failed");
    $var(all) = "$ru $rU $rd $rp $fu $fU $fd $fn $ft $tu $tU $td $tn $tt $ci $cs $cl $cT $ct $ua $ai $hdr(Subject) $hdr(Via) $(ru{{uri.params}}) $(hdr(Contact){{nameaddr.uri}}) $(rb{{s.len}}) $ml $mb";
    $var(third) = $(var(all){{s.len}}) % 3;
    if ($var(third) == 0)
        async(usleep(2000), later);
    $du = "sip:{addr}";
    route(out);
}}
route[later] {{
    append_hf("X-Waited: $ci\r\n");
    remove_hf("Subject");
    $du = "sip:{addr}";
    route(out);
}}
branch_route[each] {{
    append_hf("X-Branch: $(ru{{s.len}})\r\n");
}}
onreply_route[seen] {{
    append_hf("X-Seen: $rs $(rr{{s.len}})\r\n");
}}
failure_route[failed] {{
    t_reply(480, "Nobody");
"#,
        addr = to.addr
    );
    let settings = "modparam(\"tm\", \"fr_timeout\", 1)\nmodparam(\"tm\", \"fr_inv_timeout\", 2)\nmodparam(\"tm\", \"wt_timer\", 1)\n";
    // Whatever a mutation names as its target: nothing leaves this machine.
    let here = format!("route[out] {{\n    $du = \"sip:{}\";", to.addr);
    proxy(port, "", &relay, "").replacen("route[out] {", &here, 1) + settings
}

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"?",
    b"@",
    b":",
    b"[",
    b"]",
    b"%00",
    b"=",
    b"\xff\xfe",
    b"sip:",
    b"sips:",
    b"tel:+1",
    b"SIP/2.0",
    b"v: ",
    b"l: 3\r\n",
    b"CANCEL",
    b"INVITE",
    b"ACK",
    b";tag=1",
    b";lr",
    b";branch=z9hG4bK",
    b"Content-Length: 99999999999\r\n",
    b"Route: <sip:127.0.0.1;lr>\r\n",
    b"Record-Route: <sip:x;lr>\r\n",
    b"2147483648",
    b"-1",
    b"18446744073709551616",
];

#[test]
fn ten_thousand_mutations_break_nothing() {
    const COUNT: u64 = 10_000;
    let uas = Uas::answering();
    let (server, port) = serve(|port| everything(port, &uas), &["-n", "2"]);
    // Sources of several ports, so that both workers read.
    let sockets: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let client = SipClient::new(port);
    // Some messages in which our own address and a dialog of ours are right.
    let mut seeds: Vec<Vec<u8>> = cases().into_iter().map(|c| c.bytes).collect();
    let foreign = seeds.len();
    for method in ["INVITE", "MESSAGE", "BYE", "CANCEL", "ACK", "OPTIONS", "SUBSCRIBE"] {
        let request = client.request(method, &format!("sip:bob@127.0.0.1:{port}"));
        seeds.push(request.text().into_bytes());
        let routed = request.header(&format!("Route: <sip:127.0.0.1:{port};lr>, <sip:{};lr>", uas.addr));
        seeds.push(routed.text().replace("To: <", "To: <sip:x@y>;tag=1\r\nX: <").into_bytes());
    }
    // Those that are right more often, so that more mutations get beyond the parser.
    let own = seeds.len() - foreign;
    let list: Vec<&[u8]> =
        seeds.iter().chain(seeds.iter().rev().take(own).cycle().take(own * 8)).map(Vec::as_slice).collect();
    let (mut n, mut pace) = (0u64, Random::new(1));
    mutator::run(&list, WORDS, COUNT, 20_240_229, |input| {
        let socket = &sockets[pace.below(sockets.len())];
        n += 1;
        // Else most would be retransmissions of each other.
        let mut fresh = input.to_vec();
        if let Some(at) = input.windows(7).position(|w| w == b"z9hG4bK") {
            fresh.splice(at + 7..at + 7, n.to_string().into_bytes());
        }
        let _ = socket.send_to(&fresh, address(port));
        if n % 50 == 0 {
            // Not faster than they are read: each is to be worked on, not to be lost on the way.
            eventually("they are read", SECOND * 20, || stat(&server, "net:udp_rcv_datagrams") >= n);
        }
    });
    eventually("all are read", SECOND * 20, || stat(&server, "net:udp_rcv_datagrams") >= n);
    assert_eq!(stat(&server, "core:process_restarts"), 0);
    let (requests, errors) = (stat(&server, "core:rcv_requests"), stat(&server, "core:err_requests"));
    println!(
        "{n} datagrams, {requests} requests, {errors} refused; {} transactions",
        stat(&server, "tm:UAS_transactions")
    );
    // The mutations are mild enough for many to get far.
    assert!(stat(&server, "tm:UAS_transactions") > COUNT / 20 && errors > COUNT / 20);
    assert_eq!(server.log_count("(?i)panic"), 0);
    alive(port);
    // Nothing of all this stays.
    eventually("no transaction is left", SECOND * 60, || held(&server, "count") == 0);
    assert_eq!((held(&server, "parked"), held(&server, "operations"), held(&server, "jobs")), (0, 0, 0));
    alive(port);
}
