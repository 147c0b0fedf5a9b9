//! What the routes of a transaction hand on to each other.

use crate::bed::Bed;

#[test]
fn a_reply_route_arms_and_sets_for_its_transaction() {
    let routes = r#"
onreply_route[r] {
    if ($rs == 180) {
        t_on_failure("late");
        setflag("SEEN");
        $T_fr_inv_timeout = 7;
    }
    append_hf("X-Times: $T_fr_inv_timeout $T_fr_timeout\r\n");
}
failure_route[late] {
    if (isflagset("SEEN"))
        t_reply(480, "$T_reply_code $T_fr_inv_timeout");
}
"#;
    let mut b = Bed::relaying("$T_fr_timeout = 9; t_on_reply(\"r\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 180, "");
    assert_eq!(b.last_to("a1").header("X-Times"), "7 9");
    b.answer("b1", 183, "");
    assert_eq!(b.last_to("a1").header("X-Times"), "7 9");
    b.wait(6_999);
    assert!(b.did().is_empty());
    b.wait(1);
    let all = b.got();
    let words: Vec<String> = all.iter().map(|g| g.word()).collect();
    assert_eq!(words, ["b1 CANCEL", "a1 480"]);
    assert_eq!(all[1].m.reason(), b"408 7");
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn times_of_one_transaction() {
    // No reply at all.
    let mut b = Bed::relaying("$T_fr_timeout = 3; t_relay();", "");
    b.invite("c1", "");
    b.did();
    b.wait(2_999);
    assert!(!b.did().iter().any(|w| w == "a1 408"));
    b.wait(1);
    assert!(b.did().contains(&"a1 408".to_string()));
    // As configured.
    let mut b = Bed::new(
        "modparam(\"tm\", \"fr_timeout\", 4)\nmodparam(\"tm\", \"fr_inv_timeout\", 11)\n\
         route { append_to_reply(\"X-T: $T_fr_timeout $T_fr_inv_timeout\\r\\n\"); t_relay(); }",
    );
    b.invite("c1", "");
    b.answer("b1", 180, "");
    b.did();
    b.wait(10_999);
    assert!(b.did().is_empty());
    b.wait(1);
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.header("X-T").as_str()), (408, "4 11"));
    b.answer("b1", 487, "");
    b.end();
}

#[test]
fn the_global_reply_route_comes_first() {
    let routes = r#"
onreply_route {
    if ($rs == 183)
        drop;
    append_hf("X-Global: $rs\r\n");
}
onreply_route[r] { append_hf("X-Own: $hdr(X-Global)\r\n"); }
"#;
    let mut b = Bed::relaying("t_on_reply(\"r\"); t_relay();", routes);
    b.invite("c1", "");
    b.did();
    b.answer("b1", 183, "");
    assert!(b.did().is_empty());
    b.answer("b1", 180, "");
    let got = b.last_to("a1");
    assert_eq!((got.header("X-Global").as_str(), got.header("X-Own").as_str()), ("180", "180"));
    b.answer("b1", 200, "");
    b.end();
}

#[test]
fn local_and_received_replies_are_told_apart() {
    let routes = r#"
failure_route[f] {
    $var(all) = t_local_replied("all");
    $var(last) = t_local_replied("last");
    $var(bad) = t_local_replied("none");
    t_reply(480, "$var(all) $var(last) $var(bad)");
}
"#;
    // Nobody has answered.
    let mut b = Bed::relaying("t_on_failure(\"f\"); t_relay();", routes);
    b.invite("c1", "");
    b.wait(31_000);
    assert_eq!(b.last_to("a1").m.reason(), b"1 1 -1");
    b.end();
    // One has.
    let mut b = Bed::relaying("t_on_failure(\"f\"); append_branch(\"sip:x@192.0.2.12\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 486, "");
    b.wait(31_000);
    assert_eq!(b.last_to("a1").m.reason(), b"-1 -1 -1");
    b.end();
}

#[test]
fn a_cancelled_call_is_seen_in_every_route() {
    let routes = r#"
onreply_route[r] {
    if (t_was_cancelled())
        append_hf("X-Cancelled: yes\r\n");
}
failure_route[f] {
    if (t_was_cancelled())
        append_to_reply("X-Seen: yes\r\n");
    t_reply(487, "By the route");
}
"#;
    let mut b = Bed::relaying("t_on_reply(\"r\"); t_on_failure(\"f\"); t_relay();", routes);
    let invite = b.invite("c1", "");
    b.answer("b1", 180, "");
    b.follow(&invite, "CANCEL", "");
    b.did();
    b.answer("b1", 183, "");
    assert_eq!(b.last_to("a1").header("X-Cancelled"), "yes");
    b.answer("b1", 487, "");
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.header("X-Seen").as_str()), (487, "yes"));
    b.end();
}

#[test]
fn branches_are_cancelled_by_a_reply_route() {
    for (flags, cancelled) in [("", &["b1 CANCEL"][..]), ("o", &["b2 CANCEL"]), ("a", &["b1 CANCEL", "b2 CANCEL"])] {
        let routes = format!(
            "onreply_route[r] {{ if ($rs == 183) {{ $var(rc) = t_cancel_branch(\"{flags}\"); append_hf(\"X-Rc: $var(rc)\\r\\n\"); }} }}"
        );
        let mut b = Bed::relaying("t_on_reply(\"r\"); append_branch(\"sip:x@192.0.2.12\"); t_relay();", &routes);
        b.invite("c1", "");
        b.answer("b2", 180, "");
        b.did();
        b.answer("b1", 183, "");
        let all = b.got();
        let words: Vec<String> = all.iter().map(|g| g.word()).filter(|w| w.contains("CANCEL")).collect();
        assert_eq!(words, cancelled, "{flags}");
        assert_eq!(all.last().unwrap().header("X-Rc"), "1");
        b.answer("b1", 487, "");
        b.answer("b2", 486, "");
        b.end();
    }
}

#[test]
fn a_branch_route_disarms_the_reply_route_for_its_branch() {
    let routes = r#"
branch_route[b] { if ($rU == "quiet") t_on_reply("0"); }
onreply_route[r] { append_hf("X-Seen: yes\r\n"); }
"#;
    let main = "t_on_reply(\"r\"); t_on_branch(\"b\"); append_branch(\"sip:quiet@192.0.2.12\"); t_relay();";
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "");
    b.answer("b1", 180, "");
    assert_eq!(b.last_to("a1").header("X-Seen"), "yes");
    b.answer("b2", 180, "");
    assert_eq!(b.last_to("a1").header("X-Seen"), "");
    b.answer("b1", 486, "");
    b.answer("b2", 486, "");
    b.end();
}

#[test]
fn a_failure_route_that_waits_and_forks_again() {
    let routes = r#"
failure_route[f] {
    $avp(n) = $avp(n) + 1;
    async(sleep(2), again);
}
route[again] {
    if ($avp(n) < 3) {
        $ru = "sip:x@192.0.2.1" + $avp(n);
        t_on_failure("f");
        t_relay();
        exit;
    }
    t_reply(480, "after $avp(n)");
}
"#;
    let mut b = Bed::relaying("$avp(n) = 0; t_on_failure(\"f\"); t_relay();", routes);
    b.invite("c1", "");
    b.answer("b1", 486, "");
    b.wait(2_000);
    b.answer("b1", 404, "");
    b.wait(2_000);
    b.answer("b2", 404, "");
    b.wait(2_000);
    assert_eq!(b.last_to("a1").m.reason(), b"after 3");
    b.end();
}
