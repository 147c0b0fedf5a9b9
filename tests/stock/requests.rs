//! What `uac` does with the requests of others, on Kamailio and here: other addresses in From and To, answers to challenges.

use crate::phone::{Over, Phone};
use crate::registrant::head;
use crate::server::{Kind, Start};
use crate::support::sip::SipMessage;
use crate::support::uas::{Answer, Uas};

/// What both sides of a call see of addresses that were replaced: the INVITE, its 200, a BYE of the caller or of the callee
/// and its 200.
fn addresses(kind: Kind, mode: &str, restores: bool, caller_ends: bool) -> Vec<String> {
    let text = r#"
modparam("uac", "restore_mode", "MODE")
modparam("uac", "restore_passwd", "secret")
request_route {
    if (is_method("OPTIONS") && uri == myself) {
        sl_send_reply("200", "OK");
        exit;
    }
    if (has_totag()) {
        loose_route();
        RESTORE
        t_relay();
        exit;
    }
    record_route();
    uac_replace_from("sip:other-caller@other.test");
    uac_replace_to("sip:other-callee@other.test");
    $ru = $hdr(X-To);
    t_relay();
}
"#;
    let restore = if restores { "uac_restore_from(); uac_restore_to();" } else { "" };
    let text = text.replace("MODE", mode).replace("RESTORE", restore);
    let text = head(&["uac"]).replace("loadmodule \"usrloc.so\"\n", "") + &text;
    let server = Start { config: Some(text), ..Start::default() }.on(kind);
    let (alice, bob) = (Phone::new(&server, "alice", Over::Udp), Phone::new(&server, "bob", Over::Udp));
    let seen = |m: &SipMessage| {
        let of = |name: &str| m.header(name).unwrap_or("-").split(";tag=").next().unwrap_or("").to_owned();
        format!("{} to {}", of("From"), of("To")).replace(&server.port.to_string(), "PORT")
    };
    let mut all = Vec::new();
    let invite = alice.invite(&bob.uri()).header(&format!("X-To: {}", bob.contact()));
    alice.send(&invite);
    let got = bob.expect_request("INVITE");
    all.push(format!("INVITE {}", seen(&got)));
    bob.answer(&got, 200, "OK");
    let ok = alice.expect_reply(&invite, 200);
    all.push(format!("200 {}", seen(&ok)));
    alice.send(&invite.ack(&ok));
    all.push(format!("ACK {}", seen(&bob.expect_request("ACK"))));
    if caller_ends {
        let bye = invite.in_dialog("BYE", &ok);
        alice.send(&bye);
        let got = bob.expect_request("BYE");
        all.push(format!("BYE {}", seen(&got)));
        bob.answer(&got, 200, "OK");
        all.push(format!("200 {}", seen(&alice.expect_reply(&bye, 200))));
    } else {
        let mut bye = bob.request("BYE", &alice.contact());
        bye.from = format!("{};tag=t-bob", got.header("To").unwrap());
        bye.to = got.header("From").unwrap().to_owned();
        bye.call_id = got.call_id().to_owned();
        let bye = bye.header(&format!("Route: {}", got.header("Record-Route").unwrap()));
        bob.send(&bye);
        let got = alice.expect_request("BYE");
        all.push(format!("BYE {}", seen(&got)));
        alice.answer(&got, 200, "OK");
        all.push(format!("200 {}", seen(&bob.expect_reply(&bye, 200))));
    }
    all
}

#[test]
fn addresses_come_back_alike() {
    let mut differ = Vec::new();
    for (mode, restores) in [("auto", false), ("manual", true), ("manual", false), ("none", false)] {
        for caller_ends in [true, false] {
            let [ours, theirs] = [Kind::Reprise, Kind::Kamailio].map(|k| addresses(k, mode, restores, caller_ends));
            // A request whose addresses the script has restored has a reply with those that it came with; not so there.
            let alike = if restores { ours.len() - 1 } else { ours.len() };
            for (ours, theirs) in ours.iter().zip(&theirs).take(alike).filter(|(ours, theirs)| ours != theirs) {
                differ.push(format!("{mode} {restores} {caller_ends}\n    Kamailio: {theirs}\n    reprise:  {ours}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// How uac_auth answers challenges: what the second request says, or that there is none.
fn proofs(kind: Kind, uas: &Uas) -> Vec<String> {
    let text = r#"
modparam("tm", "fr_timer", 1500)
modparam("uac", "credential", "known:realm.test:secret")
modparam("uac", "credential", "other:other.test:secret")
modparam("uac", "auth_realm_avp", "$avp(arealm)")
modparam("uac", "auth_username_avp", "$avp(auser)")
modparam("uac", "auth_password_avp", "$avp(apass)")
request_route {
    if (is_method("OPTIONS") && uri == myself) {
        sl_send_reply("200", "OK");
        exit;
    }
    if ($hdr(X-User) != $null) {
        $avp(arealm) = $hdr(X-Realm);
        $avp(auser) = $hdr(X-User);
        $avp(apass) = $hdr(X-Pass);
    }
    t_on_failure("F");
    $ru = $hdr(X-To);
    t_relay();
}
failure_route[F] {
    if (!t_check_status("401|407")) exit;
    if ($hdr(X-Mode) == "1") $var(code) = uac_auth_mode("1");
    else $var(code) = uac_auth();
    if ($var(code) == -1) {
        t_reply("488", "Minus one");
        exit;
    }
    if ($var(code) < 0) {
        t_reply("488", "Less");
        exit;
    }
    append_hf("X-Code: $var(code)\r\n");
    t_relay();
}
"#;
    let text = head(&["uac"]).replace("loadmodule \"usrloc.so\"\n", "") + text;
    let server = Start { config: Some(text), ..Start::default() }.on(kind);
    let phone = Phone::new(&server, "asker", Over::Udp);
    let mut all = Vec::new();
    let www = "WWW-Authenticate: Digest realm=\"realm.test\", nonce=\"n\"";
    for (challenge, headers) in [
        (www.to_owned(), vec![]),
        (www.replace("WWW", "Proxy"), vec![]),
        (www.replace("realm.test", "other.test"), vec![]),
        (www.replace("realm.test", "nowhere.test"), vec![]),
        (format!("{www}, algorithm=MD5"), vec![]),
        (format!("{www}, opaque=\"o\""), vec![]),
        (format!("{www}, qop=\"auth\""), vec![]),
        (format!("{www}, qop=\"auth,auth-int\""), vec![]),
        (www.to_owned(), vec!["X-User: me", "X-Realm: realm.test", "X-Pass: word"]),
        (www.to_owned(), vec!["X-User: me", "X-Realm: elsewhere.test", "X-Pass: word"]),
        (www.replace("realm.test", "nowhere.test"), vec!["X-User: me", "X-Realm: nowhere.test", "X-Pass: word"]),
        (
            www.to_owned(),
            vec!["X-User: me", "X-Realm: realm.test", "X-Pass: 00112233445566778899aabbccddeeff", "X-Mode: 1"],
        ),
        ("WWW-Authenticate: Basic realm=\"realm.test\"".to_owned(), vec![]),
        ("X-None: at all".to_owned(), vec![]),
    ] {
        let request = phone.request("MESSAGE", &format!("sip:x@127.0.0.1:{}", server.port));
        let request = request.header(&format!("X-To: {}", uas.uri())).header(&format!("X-Challenge: {challenge}"));
        let request = headers.iter().fold(request, |r, h| r.header(h));
        let answer = phone.ask(&request);
        let seen = uas.received().into_iter().rfind(|m| m.call_id() == request.call_id).unwrap();
        let line = ["Authorization", "Proxy-Authorization"].into_iter().find_map(|n| Some((n, seen.header(n)?)));
        let shown = line.map(|(name, value)| {
            // What is drawn by lot is left out, and what stands in which order is not said.
            let mut parts: Vec<&str> = value.trim_start_matches("Digest ").split(',').map(str::trim).collect();
            parts.retain(|p| !p.is_empty() && !p.starts_with("cnonce=") && *p != "algorithm=MD5");
            if value.contains("cnonce") {
                parts.retain(|p| !p.starts_with("response="));
            }
            parts.sort_unstable();
            format!("{name} {}", parts.join(" ").replace(&uas.addr.to_string(), "UAS"))
        });
        let code = seen.header("X-Code").unwrap_or(answer.reason());
        all.push(format!("{challenge} {headers:?}: {code} {}", shown.unwrap_or_default()));
    }
    all
}

#[test]
fn challenges_are_answered_alike() {
    let uas = Uas::start(|m| match (m.header("X-Code"), m.header("X-Challenge")) {
        (None, Some(challenge)) => {
            let proxy = challenge.starts_with("Proxy");
            vec![Answer::new(if proxy { 407 } else { 401 }, "Prove it").header(challenge)]
        }
        _ => vec![Answer::new(200, "OK")],
    });
    let [ours, theirs] = [Kind::Reprise, Kind::Kamailio].map(|kind| proofs(kind, &uas));
    let differ: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter(|(ours, theirs)| ours != theirs)
        .map(|(ours, theirs)| format!("    Kamailio: {theirs}\n    reprise:  {ours}"))
        .collect();
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}
