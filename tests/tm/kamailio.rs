//! What Kamailio's `tm` has beyond the other language's: copies and relays to where the script says, requests that a program
//! outside answers, headers of CANCEL and ACK, the blocklist, stray replies, events, contacts by flow.

use crate::bed::{Bed, PROXY, addr};
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::sip::Message;
use reprise::worker::sim::{SimOptions, lines};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;

const MODULES: &str = r#"#!KAMAILIO
debug=2
listen=udp:127.0.0.1:5060
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "uac.so"
"#;

fn load(script: &str) -> Result<Bed, String> {
    lines::keep();
    let text = format!("{MODULES}{script}\n");
    let sim = simulate(ConfigText::Text(&text, "tm.cfg"), None, SimOptions::default())?;
    assert!(sim.is_up());
    Ok(Bed::of(sim))
}

fn bed(script: &str) -> Bed {
    load(script).unwrap_or_else(|e| panic!("{e}"))
}

/// The log's lines since the last look.
fn logged() -> String {
    lines::take().into_iter().map(|l| l.text + "\n").collect()
}

fn control(b: &mut Bed, method: &str, params: Value) -> Value {
    let text = b.sim.call(method, &params.to_string()).unwrap_or_else(|e| panic!("{method}: {e:?}"));
    serde_json::from_str(&text).unwrap()
}

/// What an OPTIONS with this header X-Do leads to: who got what, and the reason of the reply.
fn options(b: &mut Bed, call: &str, what: &str) -> (Vec<String>, String) {
    let m = b.request("OPTIONS", call, &format!("X-Do: {what}\r\n"));
    b.send("a1", &m);
    let all = b.got();
    let reply = all.iter().find(|g| g.to == "a1");
    let reason = reply.map(|g| String::from_utf8_lossy(g.m.reason()).into_owned()).unwrap_or_default();
    (all.iter().filter(|g| g.to != "a1").map(|g| g.word()).collect(), reason)
}

#[test]
fn copies_go_where_the_script_says() {
    let mut b = bed(r#"
request_route {
    $var(rc) = 0;
    switch ($hdr(X-Do)) {
        case "uri": $var(rc) = t_replicate("sip:192.0.2.12;transport=udp"); break;
        case "host": $var(rc) = t_replicate("192.0.2.13", "5060"); break;
        case "du": $du = "sip:192.0.2.14"; $var(rc) = t_replicate(); break;
        case "ruri": $var(rc) = t_replicate(); break;
        case "udp": $var(rc) = t_replicate_udp("192.0.2.15", "5060"); break;
        case "to": $var(a) = "192.0.2.16:5060"; $var(rc) = t_replicate_to("udp", "$var(a)"); break;
        case "sctp": $var(rc) = t_replicate_sctp("192.0.2.15", "5060"); break;
        case "proto": $var(rc) = t_replicate_to("ipx", "192.0.2.15"); break;
        case "none": $var(rc) = t_replicate("$hdr(Nothing)"); break;
    }
    sl_send_reply("200", "$var(rc)");
}
"#);
    for (n, (what, to)) in
        [("uri", "b2"), ("host", "b3"), ("du", "b4"), ("ruri", "b1"), ("udp", "b5"), ("to", "b6")].iter().enumerate()
    {
        let (sent, reason) = options(&mut b, &format!("c{n}"), what);
        assert_eq!((sent, reason.as_str()), (vec![format!("{to} OPTIONS")], "1"), "{what}");
        let copy = b.last(to, "OPTIONS");
        assert_eq!(copy.uri(), "sip:bob@192.0.2.11", "the R-URI stays");
        // Nobody sees the copy's reply.
        b.reply(&copy, 404, "");
        assert!(b.did().is_empty());
    }
    logged();
    for what in ["sctp", "proto", "none"] {
        assert_eq!(options(&mut b, what, what), (Vec::new(), "-1".to_string()), "{what}");
    }
    let log = logged();
    assert!(log.contains("does not speak SCTP") && log.contains("\"ipx\" is no transport"), "{log}");
    b.end();
}

#[test]
fn relays_over_the_transport_that_the_script_says() {
    let mut b = bed(r#"
request_route {
    $avp(gw) = "192.0.2.14:5060";
    $var(rc) = 0;
    switch ($hdr(X-Do)) {
        case "avp": $var(rc) = t_relay_to_avp("udp", "$avp(gw)"); break;
        case "uri": t_newtran(); $var(rc) = t_forward_nonack_uri(); break;
        case "udp": t_newtran(); $var(rc) = t_forward_nonack_udp("192.0.2.12", "5060"); break;
        case "to": t_newtran(); $var(rc) = t_forward_nonack_to("udp", "192.0.2.13:5060"); break;
        case "tcp": t_newtran(); $var(rc) = t_forward_nonack_tcp("192.0.2.13", "5060"); break;
        case "sctp": $var(rc) = t_relay_to_sctp(); break;
        case "sctp2": t_newtran(); $var(rc) = t_forward_nonack_sctp("192.0.2.13", "5060"); break;
    }
    if ($var(rc) < 0) { t_reply("500", "$var(rc)"); exit; }
    t_on_failure("F");
}
failure_route[F] { }
"#);
    for (what, to) in [("avp", "b4"), ("uri", "b1"), ("udp", "b2"), ("to", "b3")] {
        assert_eq!(options(&mut b, what, what).0, [format!("{to} OPTIONS")], "{what}");
        b.answer(to, 200, "");
        assert_eq!(b.did(), ["a1 200"]);
    }
    // Nothing listens on TCP.
    assert_eq!(options(&mut b, "tcp", "tcp"), (Vec::new(), "-4".to_string()));
    for what in ["sctp", "sctp2"] {
        assert_eq!(options(&mut b, what, what), (Vec::new(), "-1".to_string()), "{what}");
    }
    b.end();
}

const OUTSIDE: &str = r#"
modparam("tm", "fr_timer", 3000)
modparam("tm", "tw_append", "extra: mail=avp[s:mail];hdr[X-Plan]")
request_route {
    if (is_method("CANCEL")) { t_relay_cancel(); exit; }
    if (is_method("ACK")) exit;
    $avp(mail) = "bob@example.com";
    setflag(4);
    if ($hdr(X-Do) != "stateless") t_newtran();
    if ($hdr(X-Do) == "arm") t_on_failure("F");
    if ($hdr(X-Do) == "unix") $var(rc) = t_write_unix("DIR/socket", "serve");
    else $var(rc) = t_write_req("DIR/fifo", "serve/extra");
    if ($var(rc) < 0) send_reply("503", "$var(rc)");
}
failure_route[F] { t_reply("480", "nobody: $T_reply_code"); }
"#;

#[test]
fn a_program_outside_answers() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut b = bed(&OUTSIDE.replace("DIR", dir.path().to_str().unwrap()));
    let call = |b: &mut Bed, id: &str, what: &str| {
        let m = b.request("INVITE", id, &format!("X-Do: {what}\r\nX-Plan: gold\r\n"));
        b.send("a1", &m);
    };
    // There is no FIFO, nobody reads it.
    call(&mut b, "c1", "fifo");
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.m.reason()), (503, &b"-1"[..]));
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    call(&mut b, "c2", "fifo");
    assert_eq!(b.last_to("a1").m.status(), 503);
    assert!(logged().contains("nobody reads it"));
    // Without a transaction there is nobody to answer.
    call(&mut b, "c3", "stateless");
    assert_eq!(b.last_to("a1").m.status(), 503);
    assert!(logged().contains("call t_newtran() before"));

    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(at("fifo")).unwrap();
    let mut read = || {
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        text
    };
    call(&mut b, "c4", "fifo");
    assert_eq!(b.did(), ["a1 100"]);
    let text = read();
    let all: Vec<&str> = text.split('\n').collect();
    assert_eq!(
        all[..8],
        ["0.3", "sip_request.serve", "INVITE", "bob", "192.0.2.11", "127.0.0.1", ".", "sip:bob@192.0.2.11"]
    );
    assert_eq!(all[8..15], ["sip:a@192.0.2.1", "<sip:a@x>", "<sip:bob@x>", "c4", "fc4", "", "1"]);
    assert_eq!(all[16..], [".", ".", "P-MsgFlags: 01", "mail: bob@example.com", "X-Plan: gold", ".", "", ""]);
    let waits = control(&mut b, "waits", json!([]));
    assert_eq!((&waits[0]["kind"], &waits[0]["call_id"]), (&json!("suspend"), &json!("c4")));
    let done = control(&mut b, "tm.reply", json!([200, "Served", all[15], "tag9", "Contact: <sip:app@10.0.0.1>"]));
    assert_eq!(done, json!({ "replied": all[15] }));
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.m.reason(), got.m.to_tag()), (200, &b"Served"[..], Some(&b"tag9"[..])));
    assert!(b.sim.call("tm.reply", &json!([200, "Served", all[15], "tag9"]).to_string()).is_err(), "once");
    assert!(b.sim.call("tm.reply", &json!([200, "Served", "77:1", "tag9"]).to_string()).is_err(), "no such");

    // Nobody answers in time.
    call(&mut b, "c5", "arm");
    call(&mut b, "c6", "fifo");
    b.did();
    assert_eq!(read().matches("0.3\n").count(), 2);
    b.wait(3_000);
    let all = b.got();
    let mut ends: Vec<String> = all
        .iter()
        .filter(|g| g.m.status() > 200 && ["c5", "c6"].contains(&g.header("Call-ID").as_str()))
        .map(|g| format!("{} {}", g.header("Call-ID"), String::from_utf8_lossy(g.m.reason())))
        .collect();
    ends.sort();
    assert_eq!(ends, ["c5 nobody: 408", "c6 Request Timeout"]);

    // A socket.
    let socket = UnixDatagram::bind(at("socket")).unwrap();
    call(&mut b, "c7", "unix");
    let mut bytes = [0; 4096];
    let n = socket.recv(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
    let all: Vec<&str> = text.split('\n').collect();
    assert_eq!((all[0], all[11], all[18], all[19]), ("0.3", "c7", "P-MsgFlags: 01", "."));
    // The caller hangs up: the program's answer comes too late.
    let m = b.request("INVITE", "c7", "X-Do: unix\r\nX-Plan: gold\r\n");
    let text7 = String::from_utf8_lossy(m.bytes()).replace("INVITE", "CANCEL");
    let branch = format!("z9hG4bK{}", 7);
    let cancel = Message::parse(reprise::base::Str::from(replace_branch(&text7, &branch).as_str())).unwrap();
    b.send("a1", &cancel);
    assert_eq!(b.then(), ["a1 200", "a1 487"]);
    assert!(b.sim.call("tm.reply", &json!([200, "OK", all[15], "t"]).to_string()).is_err());
    b.wait(40_000);
    b.end();
}

/// The text with this branch in its Via.
fn replace_branch(text: &str, branch: &str) -> String {
    let at = text.find("branch=").unwrap() + "branch=".len();
    let end = at + text[at..].find('\r').unwrap();
    format!("{}{branch}{}", &text[..at], &text[end..])
}

#[test]
fn names_that_do_not_exist_are_found_when_the_script_is_loaded() {
    let with = |param: &str, call: &str| {
        load(&format!("{param}\nrequest_route {{ {call} }}\nonreply_route[known] {{ exit; }}\n")).err()
    };
    let append = r#"modparam("tm", "tw_append", "x:hdr[A]")"#;
    assert_eq!(with(append, r#"t_write_req("/run/f", "a/x");"#), None);
    let why = with(append, r#"t_write_req("/run/f", "a/y");"#).unwrap();
    assert!(why.contains("there is no tw_append `y`"), "{why}");
    assert!(with("", r#"t_write_unix("/run/f", "/x");"#).unwrap().contains("E0302"));
    assert!(with(r#"modparam("tm", "tw_append", "x")"#, "exit;").unwrap().contains("tw_append is"));
    assert_eq!(with(r#"modparam("tm", "on_sl_reply", "known")"#, "exit;"), None);
    let why = with(r#"modparam("tm", "on_sl_reply", "unknown")"#, "exit;").unwrap();
    assert!(why.contains("E0205") && why.contains("onreply_route[unknown]"), "{why}");
}

#[test]
fn cancel_and_ack_carry_headers_of_the_request() {
    let mut b = bed(r#"
modparam("tm", "ac_extra_hdrs", "x-own-")
request_route {
    if (is_method("CANCEL")) { t_relay_cancel(); exit; }
    if (is_method("ACK")) exit;
    append_hf("X-Own-Added: here\r\n");
    t_relay();
}
"#);
    let lines = "X-Own-Key: 7\r\nX-Other: 1\r\n";
    b.invite("c1", lines);
    b.answer("b1", 486, "");
    let ack = b.last("b1", "ACK");
    assert_eq!((ack.header("X-Own-Key").as_str(), ack.header("X-Own-Added").as_str()), ("7", "here"));
    assert_eq!(ack.header("X-Other"), "");
    let m = b.invite("c2", lines);
    b.answer("b1", 180, "");
    b.follow(&m, "CANCEL", "");
    let cancel = b.last("b1", "CANCEL");
    assert_eq!((cancel.header("X-Own-Key").as_str(), cancel.header("X-Own-Added").as_str()), ("7", "here"));
    assert!(!cancel.text().contains("X-Other"));
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn who_says_503_is_left_alone_for_a_while() {
    let list = |params: &str| {
        bed(&format!(
            r#"
use_dst_blocklist = yes
{params}
request_route {{
    if (is_method("ACK")) exit;
    if (!t_relay()) sl_reply_error();
}}
"#
        ))
    };
    let call = |b: &mut Bed, id: &str, retry: &str| {
        let m = b.invite(id, "");
        let sent = b.then();
        if sent == ["b1 INVITE"] {
            b.answer("b1", 503, retry);
        }
        b.follow(&m, "ACK", "");
        b.did();
        sent
    };
    // Retry-After says how long.
    let mut b = list(
        r#"modparam("tm", "blst_503", 1) modparam("tm", "blst_503_min_timeout", 10)"#.replace(") m", ")\nm").as_str(),
    );
    assert_eq!(call(&mut b, "c1", "Retry-After: 3\r\n"), ["b1 INVITE"]);
    b.wait(9_000);
    assert_eq!(call(&mut b, "c2", ""), ["a1 473"]);
    let bye = b.request("BYE", "c3", "");
    b.send("a1", &bye);
    assert_eq!(b.then(), ["b1 BYE"], "a BYE does not heed the list");
    let bye = b.last("b1", "BYE");
    b.reply(&bye, 200, "");
    b.did();
    b.wait(1_500);
    assert_eq!(call(&mut b, "c4", ""), ["b1 INVITE"]);
    assert_eq!(call(&mut b, "c5", ""), ["b1 INVITE"], "without Retry-After and a default it does not count");
    b.wait(200_000);
    b.end();
    // It is not asked for.
    let mut b = list("");
    assert_eq!(call(&mut b, "c1", "Retry-After: 30\r\n"), ["b1 INVITE"]);
    assert_eq!(call(&mut b, "c2", ""), ["b1 INVITE"]);
    b.wait(200_000);
    b.end();
    // No answer at all: INVITEs count.
    let mut b = list("dst_blocklist_expire = 5\nmodparam(\"tm\", \"fr_timer\", 1000)");
    let m = b.invite("c1", "");
    b.wait(1_100);
    b.follow(&m, "ACK", "");
    b.did();
    assert_eq!(call(&mut b, "c2", ""), ["a1 473"]);
    b.wait(5_000);
    assert_eq!(call(&mut b, "c3", ""), ["b1 INVITE"]);
    b.wait(200_000);
    b.end();
}

#[test]
fn a_reply_without_a_transaction_has_a_route() {
    let mut b = bed(r#"
modparam("tm", "on_sl_reply", "stray")
request_route { if (is_method("ACK")) exit; t_relay(); }
reply_route { xlog("L_ERR", "any $rs\n"); }
onreply_route[stray] {
    xlog("L_ERR", "stray $rs $si\n");
    if ($rs == 404) drop;
    if ($rs == 405) return 0;
    if ($rs == 406) exit;
    append_hf("X-Seen: yes\r\n");
}
"#);
    let reply = |status: u16| {
        format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKq\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKr\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
             Call-ID: r\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let all = [(404, "", vec![]), (405, "", vec![]), (406, "", vec!["a1 406"]), (200, "yes", vec!["a1 200"])];
    for (status, seen, sent) in all {
        b.sim.receive(addr("b1"), PROXY.parse().unwrap(), reply(status).as_bytes());
        let all = b.got();
        assert_eq!(all.iter().map(|g| g.word()).collect::<Vec<_>>(), sent, "{status}");
        assert!(all.iter().all(|g| g.header("X-Seen") == seen), "{status}");
        assert!(logged().contains(&format!("any {status}\nstray {status} 192.0.2.11")), "{status}");
    }
    // Those of transactions do not come there.
    b.invite("c1", "");
    b.answer("b1", 200, "");
    assert!(!logged().contains("stray"));
    b.end();
}

#[test]
fn events_about_what_the_server_does_by_itself() {
    let mut b = bed(r#"
request_route {
    if (is_method("OPTIONS")) {
        t_uac_send("INVITE", "sip:bob@192.0.2.12", "", "", "From: <sip:a@b>\r\nTo: <sip:bob@b>\r\n", "");
        t_reply("200", "OK");
        exit;
    }
}
event_route[tm:local-request] { xlog("L_ERR", "request $rm $ru\n"); }
event_route[tm:local-response] { xlog("L_ERR", "response $rs $rr\n"); }
event_route[tm:local-ack-sent] { xlog("L_ERR", "acknowledged $rm $ru $cs\n"); }
"#);
    let m = b.request("OPTIONS", "c1", "");
    b.send("a1", &m);
    let log = logged();
    assert!(log.contains("request INVITE sip:bob@192.0.2.12") && log.contains("response 200 OK"), "{log}");
    b.answer("b2", 180, "");
    assert!(!logged().contains("acknowledged"));
    b.answer("b2", 200, "");
    assert!(b.did().contains(&"b2 ACK".to_string()));
    assert!(logged().contains("acknowledged ACK sip:bob@192.0.2.12:5060 1"));
    // Each 2xx has its ACK, and each ACK its event.
    b.answer("b2", 200, "");
    assert!(logged().contains("acknowledged ACK"));
    b.wait(200_000);
    b.end();
}

#[test]
fn what_runs_before_there_is_traffic() {
    let b = bed(r#"
request_route { sl_send_reply("200", "$shv(order)"); }
event_route[core:modinit-before] { $shv(order) = "first"; xlog("L_ERR", "before\n"); }
event_route[core:worker-one-init] { $shv(order) = $shv(order) + ", then"; xlog("L_ERR", "worker one\n"); }
"#);
    assert!(logged().contains("before\nworker one\n"), "{}", logged());
    let mut b = b;
    assert_eq!(options(&mut b, "c1", "").1, "first, then");
    b.end();
}

#[test]
fn switches_of_one_transaction() {
    let mut b = bed(r#"
modparam("tm", "max_inv_lifetime", 4000)
request_route {
    if (is_method("CANCEL")) { t_relay_cancel(); exit; }
    if (is_method("ACK")) exit;
    t_use_uac_headers(); t_clean(); t_flush_xflags();
    if ($hdr(X-Do) == "quiet") t_set_no_e2e_cancel_reason("1");
    if (t_is_expired()) xlog("L_ERR", "expired too early\n");
    t_on_failure("F");
    t_on_reply("R");
    t_relay();
}
onreply_route[R] { if (!t_is_expired()) xlog("L_ERR", "not expired at $rs\n"); }
failure_route[F] { if (t_is_expired()) xlog("L_ERR", "expired at $T_reply_code\n"); }
"#);
    for (call, what, reason) in [("c1", "", "SIP;cause=200"), ("c2", "quiet", "")] {
        let m = b.invite(call, &format!("X-Do: {what}\r\n"));
        b.answer("b1", 180, "");
        b.did();
        let text = String::from_utf8_lossy(m.bytes())
            .replace("INVITE", "CANCEL")
            .replace("Content-Length", "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContent-Length");
        let cancel = Message::parse(reprise::base::Str::from(text.as_str())).unwrap();
        b.send("a1", &cancel);
        let sent = b.last("b1", "CANCEL");
        assert!(
            sent.header("Reason").starts_with(reason) && sent.text().contains("Reason:") != reason.is_empty(),
            "{call}"
        );
        b.answer("b1", 487, "");
        b.wait(40_000);
        b.did();
    }
    logged();
    b.invite("c3", "");
    b.answer("b1", 180, "");
    b.wait(4_100);
    let log = logged();
    assert!(log.contains("not expired at 180") && log.contains("expired at 408"), "{log}");
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn another_flow_of_an_instance_when_one_fails() {
    let mut b = bed(r#"
modparam("tm", "contacts_avp", "tm_contacts")
modparam("tm", "contact_flows_avp", "tm_flows")
modparam("registrar", "outbound_mode", 1)
modparam("registrar", "regid_mode", 1)
request_route {
    if (is_method("REGISTER")) { save("location"); exit; }
    if (is_method("ACK")) exit;
    if (!lookup("location")) { sl_send_reply("404", "none"); exit; }
    t_load_contacts();
    t_next_contacts();
    $var(more) = $(xavp(tm_flows){s.len});
    if ($xavp(tm_contacts) != $null) xlog("L_ERR", "contacts are left\n");
    xlog("L_ERR", "flow $xavp(tm_flows=>uri) $xavp(tm_flows=>instance)\n");
    t_on_branch_failure("flow");
    t_relay();
}
event_route[tm:branch-failure:flow] {
    xlog("L_ERR", "failed $T_reply_code $T_reply_ruid\n");
    if (t_next_contact_flow()) t_relay();
    else xlog("L_ERR", "no other flow\n");
}
"#);
    for (n, instance) in [(1, "x"), (2, "x"), (3, "y")] {
        let text = format!(
            "REGISTER sip:192.0.2.11 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1{n};branch=z9hG4bKr{n}\r\n\
             From: <sip:bob@192.0.2.11>;tag=r{n}\r\nTo: <sip:bob@192.0.2.11>\r\nCall-ID: r{n}\r\nCSeq: 1 REGISTER\r\n\
             Supported: path, outbound\r\n\
             Contact: <sip:bob@192.0.2.1{n}>;+sip.instance=\"<urn:{instance}>\";reg-id={n};expires=3600\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let m = Message::parse(reprise::base::Str::from(text.as_str())).unwrap();
        b.send(&format!("b{n}"), &m);
        let reply = b.got();
        assert_eq!(reply[0].m.status(), 200, "{}", reply[0].text());
    }
    logged();
    b.invite("c1", "");
    let mut sent = b.then();
    sent.sort_unstable();
    assert_eq!(sent.len(), 2, "one flow of each instance: {sent:?}");
    assert!(sent.contains(&"b3 INVITE".to_string()));
    let log = logged();
    assert!(!log.contains("contacts are left") && log.contains("<urn:x>"), "{log}");
    let first = if sent[0] == "b1 INVITE" { "b1" } else { "b2" };
    let second = if first == "b1" { "b2" } else { "b1" };
    b.answer(first, 430, "");
    assert_eq!(b.then(), [format!("{first} ACK"), format!("{second} INVITE")]);
    let log = logged();
    assert!(log.contains("failed 430 uloc-"), "{log}");
    b.answer(second, 430, "");
    assert_eq!(b.then(), [format!("{second} ACK")]);
    assert!(logged().contains("no other flow"));
    b.answer("b3", 200, "");
    assert!(b.then().contains(&"a1 200".to_string()));
    b.end();
}

/// A request, a reply and a branch that `t_suspend` has put aside, and an operator who gives them up.
#[test]
fn what_is_suspended_can_be_killed() {
    let mut b = bed(r#"
request_route {
    if (is_method("ACK")) exit;
    t_newtran();
    if ($hdr(X-Do) == "arm") t_on_failure("F");
    if ($hdr(X-Do) == "reply") { t_on_reply("R"); t_relay(); exit; }
    if ($hdr(X-Do) == "branch") { append_branch("sip:x@192.0.2.12"); t_on_branch("B"); t_relay(); exit; }
    t_suspend();
}
onreply_route[R] { if ($rs == 180) t_suspend(); append_hf("X-Seen: yes\r\n"); }
branch_route[B] { if ($rd == "192.0.2.12") t_suspend(); }
failure_route[F] { t_reply("480", "killed: $T_reply_code"); }
"#);
    let id = |b: &mut Bed| {
        let waits = control(b, "waits", json!([]));
        let found =
            waits.as_array().unwrap().iter().find(|w| w["kind"] == "suspend").unwrap_or_else(|| panic!("{waits}"));
        found["id"].as_str().unwrap().to_owned()
    };
    let kill = |b: &mut Bed| {
        let id = id(b);
        assert_eq!(control(b, "kill-wait", json!([id])), json!({ "killed": id }));
        assert!(b.sim.call("kill-wait", &json!([id]).to_string()).is_err(), "it is gone");
    };
    // A request: as if nobody had continued it in time.
    b.invite("c1", "");
    b.did();
    kill(&mut b);
    assert_eq!(b.did(), ["a1 408"]);
    b.invite("c2", "X-Do: arm\r\n");
    b.did();
    kill(&mut b);
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.m.reason()), (480, &b"killed: 408"[..]));
    // A reply goes on as the script left it.
    b.invite("c3", "X-Do: reply\r\n");
    b.answer("b1", 180, "");
    assert!(!b.did().contains(&"a1 180".to_string()));
    kill(&mut b);
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.header("X-Seen").as_str()), (180, "yes"));
    b.answer("b1", 486, "");
    b.did();
    // A branch is not sent; the others go on.
    b.invite("c4", "X-Do: branch\r\n");
    assert_eq!(b.then(), ["b1 INVITE"]);
    kill(&mut b);
    assert!(b.then().is_empty());
    b.answer("b1", 486, "");
    assert!(b.then().contains(&"a1 486".to_string()));
    b.wait(10_000);
    b.end();
}
