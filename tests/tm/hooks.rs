//! Routes that run in the middle of something else, in Kamailio's language: `onsend_route`, and the event routes about
//! a message that comes or goes.

use crate::bed::{Bed, PROXY, addr};
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::worker::sim::{SimOptions, lines};

const MODULES: &str = r#"#!KAMAILIO
debug=2
listen=udp:127.0.0.1:5060
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "corex.so"
loadmodule "mqueue.so"
modparam("mqueue", "mqueue", "name=q")
"#;

fn bed(script: &str) -> Bed {
    lines::keep();
    let text = format!("{MODULES}{script}\n");
    let sim =
        simulate(ConfigText::Text(&text, "hooks.cfg"), None, SimOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert!(sim.is_up());
    Bed::of(sim)
}

/// The log's lines since the last look.
fn logged() -> String {
    lines::take().into_iter().map(|l| l.text + "\n").collect()
}

const RELAY: &str = r#"
request_route {
    if (is_method("ACK")) exit;
    $xavp(x=>y) = "kept";
    t_on_failure("F");
    if (!t_relay()) sl_reply_error();
}
failure_route[F] { t_reply("480", "$T_reply_code"); }
"#;

#[test]
fn onsend_route_sees_what_leaves() {
    let mut b = bed(&format!(
        r#"{RELAY}
onsend_route {{
    xlog("L_ERR", "out $rm $sndto(ip):$sndto(port) $sndfrom(ip):$sndfrom(port) $snd(sproto) $xavp(x=>y)\n");
    if (to_ip == 192.0.2.11 && to_port == 5060 && snd_ip == 127.0.0.1 && snd_proto == UDP && snd_af == inet)
        xlog("L_ERR", "operands\n");
    if (msg:len > $ml && $snd(buf) =~ "^INVITE sip:bob@192.0.2.11 SIP/2.0.*z9hG4bK") xlog("L_ERR", "longer\n");
}}"#
    ));
    b.invite("c1", "");
    assert_eq!(b.then(), ["b1 INVITE"]);
    let log = logged();
    assert!(log.contains("out INVITE 192.0.2.11:5060 127.0.0.1:5060 udp kept"), "{log}");
    assert!(log.contains("operands") && log.contains("longer"), "{log}");
    // What is sent again is not asked about again.
    b.wait(600);
    assert_eq!(b.did(), ["b1 INVITE"]);
    assert!(!logged().contains("out INVITE"));
    b.answer("b1", 200, "");
    b.end();
}

#[test]
fn onsend_route_drops_a_branch() {
    let mut b = bed(r#"
request_route {
    if (is_method("ACK")) exit;
    t_on_failure("F");
    if ($hdr(X-Fork) == "yes") append_branch("sip:x@192.0.2.12");
    t_relay();
    $var(rc) = $rc;
    if ($rc < 0) sl_send_reply("480", "$var(rc)");
}
failure_route[F] { xlog("L_ERR", "failure $T_reply_code\n"); }
onsend_route { if ($rm == "INVITE" && to_ip == 192.0.2.11) drop; }
"#);
    b.invite("c1", "");
    let all = b.got();
    assert!(!all.iter().any(|g| g.to == "b1"), "{all:?}");
    assert_eq!(all.last().unwrap().m.reason(), b"-1", "{all:?}");
    b.wait(40_000);
    b.got();
    // The other branch goes on, and the one that was dropped counts for nothing.
    b.invite("c2", "X-Fork: yes\r\n");
    assert_eq!(b.then(), ["b2 INVITE"]);
    b.answer("b2", 486, "");
    assert!(b.then().contains(&"a1 486".to_string()));
    assert!(logged().contains("failure 486"));
    b.wait(200_000);
    b.end();
}

#[test]
fn onsend_route_is_for_replies_when_asked_for() {
    let onsend = "onsend_route { if (status == 180) drop; xlog(\"L_ERR\", \"leaves $rs\\n\"); }";
    for (param, passes) in [("", true), ("onsend_route_reply=yes\n", false)] {
        let mut b = bed(&format!("{param}{RELAY}\n{onsend}"));
        b.invite("c1", "");
        b.did();
        b.answer("b1", 180, "");
        assert_eq!(b.did().contains(&"a1 180".to_string()), passes);
        b.answer("b1", 200, "");
        assert_eq!(b.then(), ["a1 200"]);
        b.end();
    }
}

#[test]
fn nothing_waits_in_a_hook() {
    let text = format!(
        "{MODULES}loadmodule \"async.so\"\nmodparam(\"async\", \"workers\", 1)\nrequest_route {{ exit; }}\nonsend_route {{ async_sleep(\"5\"); }}\n"
    );
    let why = simulate(ConfigText::Text(&text, "hooks.cfg"), None, SimOptions::default()).err().unwrap();
    assert!(why.contains("E0402"), "{why}");
    let text = format!(
        "{MODULES}loadmodule \"async.so\"\nmodparam(\"async\", \"workers\", 1)\nrequest_route {{ exit; }}\nevent_route[network:msg] {{ async_sleep(\"5\"); }}\n"
    );
    let why = simulate(ConfigText::Text(&text, "hooks.cfg"), None, SimOptions::default()).err().unwrap();
    assert!(why.contains("E0402") && why.contains("event_route[network:msg]"), "{why}");
}

#[test]
fn a_route_before_the_main_one() {
    let mut b = bed(r#"
request_route { sl_send_reply("200", "$hdr(X-A) $mf $xavp(x=>y)"); }
reply_route { xlog("L_ERR", "reply $rs\n"); }
event_route[core:pre-routing] {
    if ($hdr(X-A) == "no" || $rs == 404) drop;
    setflag(3);
    $xavp(x=>y) = "before";
}
event_route[core:receive-parse-error] { xlog("L_ERR", "bad $si $rcv(len)\n"); }
event_route[sl:local-response] {
    if ($hdr(Call-ID) == "c3") drop;
    xlog("L_ERR", "response $rs to $sndto(ip)\n");
}
event_route[sl:filtered-ack] { xlog("L_ERR", "filtered $rm\n"); }
"#);
    let m = b.request("OPTIONS", "c1", "X-A: yes\r\n");
    b.send("a1", &m);
    let reply = b.last_to("a1");
    assert_eq!(String::from_utf8_lossy(reply.m.reason()), "yes 8 before");
    let m = b.request("OPTIONS", "c2", "X-A: no\r\n");
    b.send("a1", &m);
    let m = b.request("OPTIONS", "c3", "");
    b.send("a1", &m);
    assert!(b.did().is_empty());
    assert!(logged().contains("response 200 to 192.0.2.1"), "{}", logged());
    let reply = |status: u16| {
        format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKq\r\nFrom: <sip:a@x>;tag=1\r\n\
                 To: <sip:b@x>;tag=2\r\nCall-ID: r\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for status in [404, 405] {
        b.sim.receive(addr("b1"), PROXY.parse().unwrap(), reply(status).as_bytes());
    }
    let log = logged();
    assert!(!log.contains("reply 404") && log.contains("reply 405"), "{log}");
    b.sim.receive(addr("b1"), PROXY.parse().unwrap(), b"this is no message at all\r\n\r\n");
    assert!(logged().contains("bad 192.0.2.11 29"), "{}", logged());
    let invite = b.request("INVITE", "c4", "");
    b.send("a1", &invite);
    let tag = b.last_to("a1").m.to_tag().map(|t| String::from_utf8_lossy(t).into_owned()).unwrap();
    b.follow(&invite, "ACK", &tag);
    assert!(logged().contains("filtered ACK"), "{}", logged());
    b.end();
}

#[test]
fn bytes_before_they_are_read() {
    let mut b = bed(r#"
received_route_mode = 1
request_route { sl_send_reply("200", "OK"); }
event_route[core:msg-received] {
    mq_add("q", "k", "v");
    if ($rcv(buf) =~ "Call-ID: c2") drop;
    xlog("L_ERR", "in $rcv(ip):$rcv(port) $rcv(sproto)\n");
}
event_route[mqueue:q] { while (mq_fetch("q")) xlog("L_ERR", "fetched $mqv(q)\n"); }
"#);
    for call in ["c1", "c2"] {
        let m = b.request("OPTIONS", call, "");
        b.send("a1", &m);
    }
    assert_eq!(b.did(), ["a1 200"]);
    let log = logged();
    assert!(log.contains("in 192.0.2.1:5060 udp") && log.contains("fetched v"), "{log}");
    b.end();
}

#[test]
fn everything_that_comes_and_goes() {
    let mut b = bed(&format!(
        r#"
modparam("corex", "nio_intercept", 1)
modparam("corex", "evname_reply_out", "corex:reply-out")
{RELAY}
event_route[network:msg] {{
    if (nio_is_incoming()) {{
        if ($rcv(buf) =~ "Call-ID: bad") drop;
        xlog("L_ERR", "in $ml\n");
    }} else
        xlog("L_ERR", "out $sndto(ip)\n");
}}
event_route[corex:reply-out] {{ if ($rs == 183) drop; xlog("L_ERR", "reply-out $rs\n"); }}
"#
    ));
    b.invite("bad", "");
    assert!(b.did().is_empty());
    b.invite("c1", "");
    assert_eq!(b.then(), ["b1 INVITE"]);
    b.answer("b1", 183, "");
    assert!(b.did().is_empty());
    b.answer("b1", 200, "");
    assert_eq!(b.did(), ["a1 200"]);
    let log = logged();
    assert!(log.contains("in 2") && log.contains("out 192.0.2.11") && log.contains("out 192.0.2.1\n"), "{log}");
    assert!(log.contains("reply-out 200") && !log.contains("reply-out 183"), "{log}");
    b.end();
}

#[test]
fn a_hook_that_never_ends_is_ended() {
    let mut b =
        bed(&format!("max_while_loops=1000000\n{RELAY}\nonsend_route {{ while (1) {{ $var(n) = $var(n) + 1; }} }}"));
    b.invite("c1", "");
    assert_eq!(b.then(), ["b1 INVITE"]);
    assert!(logged().contains("onsend_route is ended"), "{}", logged());
    b.answer("b1", 200, "");
    b.end();
}

#[test]
fn what_comes_in_may_be_replaced_before_it_is_read() {
    let mut b = bed(r#"
received_route_mode=1
event_route[core:msg-received] {
    xlog("L_ERR", "from $rcv(srcip):$rcv(srcport) at $rcv(rcvip):$rcv(rcvport)\n");
    $rcv(buf) = $(rcv(buf){s.replace,X-Old,X-New});
}
request_route { sl_send_reply("480", "got $hdr(X-New) $hdr(X-Old)"); }
"#);
    b.invite("c1", "X-Old: 1\r\n");
    assert_eq!(b.last_to("a1").m.reason(), b"got 1 <null>");
    let log = logged();
    assert!(log.contains("from 192.0.2.1:5060 at 127.0.0.1:5060"), "{log}");
    b.end();
}

#[test]
fn the_network_route_may_replace_what_comes_and_goes() {
    let mut b = bed(r#"
modparam("corex", "nio_intercept", 1)
modparam("corex", "nio_msg_avp", "$avp(msg)")
event_route[network:msg] {
    if (is_incoming()) $avp(msg) = $(mb{s.replace,X-Secret,X-Plain});
    else $avp(msg) = $(mb{s.replace,X-Plain,X-Secret});
}
request_route {
    if ($rU == "away") { t_relay(); exit; }
    append_to_reply("X-Plain: seen $hdr(X-Plain)\r\n");
    sl_send_reply("480", "x");
}
"#);
    b.invite("c1", "X-Secret: 1\r\n");
    assert_eq!(b.last_to("a1").header("X-Secret"), "seen 1");
    b.end();
}
