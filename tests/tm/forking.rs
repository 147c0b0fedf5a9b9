//! Serial and parallel forking, several levels of failure routes, redirections.

use crate::bed::Bed;

#[test]
fn groups_of_equal_q_are_tried_one_after_the_other() {
    let main = r#"
        $ru = "sip:one@192.0.2.11";
        $ru_q = 500;
        append_branch("sip:two@192.0.2.12", "0.9");
        append_branch("sip:three@192.0.2.13", "0.1");
        append_branch("sip:four@192.0.2.14", "0.9");
        serialize_branches(1);
        $avp(codes) = next_branches();
        t_on_failure("next");
        t_relay();
    "#;
    let routes = r#"
failure_route[next] {
    $var(rc) = next_branches();
    append_to_reply("X-Codes: $(avp(codes)[*]) $var(rc)\r\n");
    if ($var(rc) > 0) {
        $avp(codes) = $var(rc);
        t_on_failure("next");
        t_relay();
        exit;
    }
    t_reply(480, "tried all");
}
"#;
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "");
    assert_eq!(b.then(), ["b2 INVITE", "b4 INVITE"]);
    b.answer("b2", 486, "");
    assert_eq!(b.then(), ["b2 ACK"]);
    b.answer("b4", 404, "");
    assert_eq!(b.then(), ["b4 ACK", "b1 INVITE"]);
    b.answer("b1", 480, "");
    assert_eq!(b.then(), ["b1 ACK", "b3 INVITE"]);
    b.answer("b3", 487, "");
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.m.reason()), (480, &b"tried all"[..]));
    assert!(end.text().contains("X-Codes: 2, 1, 1 -1"), "{}", end.text());
    b.end();
}

#[test]
fn without_an_answer_the_best_of_all_levels_goes_up() {
    let routes = r#"
failure_route[a] { $ru = "sip:x@192.0.2.12"; t_on_failure("b"); t_relay(); }
failure_route[b] { $ru = "sip:x@192.0.2.13"; t_on_failure("c"); t_relay(); }
failure_route[c] { xlog("c: $T_reply_code\n"); append_to_reply("X-Last: $T_reply_code $ru\r\n"); }
"#;
    let mut b = Bed::relaying("t_on_failure(\"a\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 486, "");
    b.answer("b2", 404, "");
    b.answer("b3", 503, "");
    assert_eq!(
        b.then(),
        ["b1 INVITE", "b1 ACK", "b2 INVITE", "b2 ACK", "b3 INVITE", "b3 ACK", "a1 404"],
        "the lowest class, the lowest code"
    );
    b.end();
}

#[test]
fn a_failure_route_sees_the_winner() {
    let routes = r#"
failure_route[f] {
    t_reply(480, "$T_reply_code $ru $T_branch_idx $T_branch_last_reply_code $(<reply>hdr(X-Who))");
}
"#;
    let mut b = Bed::relaying("t_on_failure(\"f\"); append_branch(\"sip:two@192.0.2.12\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 503, "X-Who: one\r\n");
    b.answer("b2", 486, "X-Who: two\r\n");
    assert_eq!(b.last_to("a1").m.reason(), b"486 sip:two@192.0.2.12 1 486 two");
    b.end();
}

#[test]
fn redirections_are_followed_through_levels() {
    let routes = r#"
failure_route[moved] {
    if (t_check_status("3[0-9][0-9]") && get_redirects("2:2", "moved")) {
        t_on_failure("moved");
        t_relay();
        exit;
    }
}
"#;
    let mut b = Bed::relaying("$du = \"sip:192.0.2.11\"; t_on_failure(\"moved\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 302, "Contact: <sip:low@192.0.2.13>;q=0.1, <sip:high@192.0.2.12>;q=0.9\r\n");
    assert_eq!(b.then(), ["b1 INVITE", "b1 ACK", "b2 INVITE", "b3 INVITE"]);
    assert_eq!(b.last("b2", "INVITE").uri(), "sip:high@192.0.2.12");
    // One of them moves on; where the call has been is not tried again.
    b.answer("b3", 404, "");
    b.answer("b2", 301, "Contact: <sip:bob@192.0.2.11>, <sip:end@192.0.2.14>\r\n");
    assert_eq!(b.then(), ["b3 ACK", "b2 ACK", "b4 INVITE"]);
    b.answer("b4", 302, "Contact: <sip:high@192.0.2.12>\r\n");
    // A 3xx is better than the 404, the last redirection leads in a circle: it goes up.
    assert_eq!(b.then(), ["b4 ACK", "a1 302"]);
    b.end();
}

#[test]
fn a_6xx_ends_parallel_and_serial_forking() {
    let routes = "failure_route[f] { $ru = \"sip:x@192.0.2.13\"; $var(rc) = t_relay(); xlog(\"rc\"); append_to_reply(\"X-Rc: $var(rc)\\r\\n\"); t_reply(603, \"rc $var(rc)\"); }";
    for (parameter, again) in [("0", false), ("1", true)] {
        let script = format!(
            "modparam(\"tm\", \"disable_6xx_block\", {parameter})\nroute {{ t_on_failure(\"f\"); \
             append_branch(\"sip:two@192.0.2.12\"); t_relay(); }}\n{routes}"
        );
        let mut b = Bed::new(&script);
        b.invite("c1", "");
        b.answer("b1", 180, "");
        b.answer("b2", 603, "");
        let cancelled = b.then().contains(&"b1 CANCEL".to_string());
        assert_eq!(cancelled, !again);
        b.answer("b1", 487, "");
        let did = b.then();
        assert_eq!(did.contains(&"b3 INVITE".to_string()), again, "{did:?}");
        b.end();
    }
}

#[test]
fn challenges_of_two_branches_reach_the_caller() {
    let mut b = Bed::relaying("append_branch(\"sip:two@192.0.2.12\"); t_relay();", "");
    b.invite("c1", "");
    b.answer("b1", 401, "WWW-Authenticate: Digest realm=\"one\"\r\n");
    b.answer("b2", 407, "Proxy-Authenticate: Digest realm=\"two\"\r\n");
    let end = b.last_to("a1");
    assert_eq!(end.m.status(), 401);
    assert_eq!(end.header("WWW-Authenticate"), "Digest realm=\"one\"");
    assert_eq!(end.header("Proxy-Authenticate"), "Digest realm=\"two\"");
    b.end();
}

#[test]
fn each_branch_has_its_own_socket_flags_and_reply_route() {
    let script = r#"
        socket=udp:127.0.0.2:5070 tag other
        route {
            t_on_branch("b");
            t_on_reply("all");
            append_branch("sip:two@192.0.2.12");
            append_branch("sip:three@192.0.2.13");
            $(msg.branch.socket[1]) = "other";
            $(msg.branch.flag(F)[1]) = 1;
            t_relay();
        }
        branch_route[b] {
            if ($rU == "two") {
                $socket_out = "other";
                t_on_reply("own");
                $branch.flag(SEEN) = 1;
                $bavp(note) = "kept " + $rU;
            }
            append_hf("X-Branch: $T_branch_idx $bf\r\n");
        }
        onreply_route[all] { append_hf("X-Route: all $T_branch_idx [$bf] $bavp(note)\r\n"); }
        onreply_route[own] { append_hf("X-Route: own $T_branch_idx [$bf] $bavp(note)\r\n"); }
    "#;
    let mut b = Bed::new(script);
    b.invite("c1", "");
    let via = |b: &mut Bed, who: &str| b.last(who, "INVITE").header("Via");
    assert!(via(&mut b, "b1").starts_with("SIP/2.0/UDP 127.0.0.1:5060"));
    assert!(via(&mut b, "b2").starts_with("SIP/2.0/UDP 127.0.0.2:5070"));
    assert!(via(&mut b, "b3").starts_with("SIP/2.0/UDP 127.0.0.2:5070"));
    assert_eq!(b.last("b1", "INVITE").header("X-Branch"), "0");
    assert_eq!(b.last("b2", "INVITE").header("X-Branch"), "1 SEEN");
    assert_eq!(b.last("b3", "INVITE").header("X-Branch"), "2 F");
    b.did();
    for (who, expected) in [("b1", "all 0 [] <null>"), ("b2", "own 1 [SEEN] kept two"), ("b3", "all 2 [F] <null>")] {
        b.answer(who, 180, "");
        assert_eq!(b.last_to("a1").header("X-Route"), expected);
    }
    b.end();
}
