//! ICMP errors of a real router (RFC 3261 18.4): hosts and networks that cannot be reached. The way there may be
//! disturbed for a moment only (RFC 1122 3.2.2.1), so that they end a branch only if there is somewhere else to go.

use std::time::{Duration, Instant};

use crate::common::{SECOND, proxy, serve, stat, wait_quiet};
use crate::support::dns::Zone;
use crate::support::netns::NetNs;
use crate::support::sip::SipClient;
use crate::support::uas::Uas;

/// A server with a second socket on the wire to the router, which relays to the R-URI from the one that leads there.
fn config(port: u16, ns: &NetNs, globals: &str) -> String {
    let relay = "    t_on_failure(\"lost\");\n    route(out);";
    let routes = "failure_route[lost] {\n    xlog(\"failed with $T_reply_code\\n\");\n}\n";
    proxy(port, &format!("socket=udp:{}:{port}\nmhomed=1\n{globals}", ns.local), relay, routes)
}

#[test]
fn an_unreachable_host_is_passed_over_at_once() {
    let ns = NetNs::routing();
    let alive = Uas::answering();
    let host = ns.beyond("unreachable");
    let network = ns.beyond("nowhere");
    let filtered = ns.beyond("prohibit");
    for (name, dead) in [("host", host), ("net", network), ("filtered", filtered)] {
        let name = format!("{name}.test");
        let dns = Zone::default()
            .srv(&format!("_sip._udp.{name}"), 0, 5060, &format!("dead.{name}"))
            .srv(&format!("_sip._udp.{name}"), 1, alive.addr.port(), &format!("alive.{name}"))
            .host(&format!("dead.{name}"), &dead.to_string())
            .host(&format!("alive.{name}"), "127.0.0.1")
            .serve();
        let globals = format!("dns_servers = \"{}\"\n", dns.addr);
        let (server, port) = serve(|port| config(port, &ns, &globals), &["-n", "2"]);
        let client = SipClient::new(port);
        let before = alive.count("INVITE");
        for _ in 0..6 {
            let start = Instant::now();
            let (answer, bye) = client.call(&format!("sip:bob@{name}"));
            assert_eq!((answer.status(), bye.unwrap().status()), (200, 200), "{name}");
            // T1 is half a second, fr_timeout 30.
            assert!(start.elapsed() < SECOND * 5, "{name}: {:?}", start.elapsed());
        }
        assert_eq!(alive.count("INVITE"), before + 6);
        assert!(stat(&server, "net:udp_unreachable") >= 6, "{name}");
        wait_quiet(&server, SECOND * 60);
    }
}

#[test]
fn the_only_destination_is_tried_again_until_its_way_is_mended() {
    let ns = NetNs::routing();
    let dead = ns.beyond("unreachable");
    let (server, port) = serve(|port| config(port, &ns, ""), &["-n", "2"]);
    let client = SipClient::new(port);
    let invite = client.invite(&format!("sip:bob@{dead}:5060"));
    client.send_request(&invite);
    client.expect_status(100, SECOND * 2);
    crate::support::eventually("the router has said so", SECOND * 10, || stat(&server, "net:udp_unreachable") >= 2);
    client.expect_silence(Duration::from_millis(200));
    assert_eq!(server.log_count("failed with"), 0);
    // The address is the router's own now, where nobody listens on the port: that is final.
    ns.mend(dead);
    let answer = client.expect("a final reply", SECOND * 20, |m| m.status() >= 200);
    assert_eq!(answer.status(), 500, "{}", answer.raw);
    client.send_request(&invite.ack(&answer));
    server.wait_log("failed with 503", SECOND);
    wait_quiet(&server, SECOND * 60);
}
