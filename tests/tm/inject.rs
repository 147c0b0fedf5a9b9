//! Branches that come later: `t_wait_for_new_branches`, `t_inject_branches`, `t_wait_no_more_branches`.

use crate::bed::Bed;

const ROUTES: &str = r#"
route[later] {
    if ($rU == "bob") {
        append_branch("sip:bob@192.0.2.12");
        $var(rc) = t_inject_branches("msg");
        xlog("injected: $var(rc)\n");
    }
}
"#;

#[test]
fn a_branch_is_injected_while_the_first_has_failed_already() {
    let main = r#"
        t_wait_for_new_branches();
        t_relay();
        async(sleep(10), later);
    "#;
    let mut b = Bed::relaying(main, ROUTES);
    b.invite("c1", "");
    assert_eq!(b.then(), ["b1 INVITE"]);
    b.answer("b1", 486, "");
    assert_eq!(b.then(), ["b1 ACK"], "the caller waits for what may come");
    b.wait(10_000);
    assert_eq!(b.then(), ["b2 INVITE"]);
    b.answer("b2", 180, "");
    b.answer("b2", 200, "");
    assert_eq!(b.then(), ["a1 180", "a1 200"]);
    b.end();
}

#[test]
fn the_count_of_branches_ends_the_waiting() {
    let main = r#"
        t_wait_for_new_branches(1);
        t_relay();
        async(sleep(10), later);
    "#;
    let mut b = Bed::relaying(main, ROUTES);
    let invite = b.invite("c1", "");
    b.answer("b1", 486, "");
    b.wait(10_000);
    b.answer("b2", 404, "");
    assert_eq!(b.then(), ["b1 INVITE", "b1 ACK", "b2 INVITE", "b2 ACK", "a1 404"]);
    b.follow(&invite, "ACK", "tb2");
    b.end();
}

#[test]
fn without_any_branch_it_fails_with_408_after_fr_inv_timeout() {
    let routes = r#"
failure_route[f] {
    t_reply(480, "$T_reply_code $T_reply_reason");
}
"#;
    let mut b = Bed::relaying("t_on_failure(\"f\"); $T_fr_inv_timeout = 20; t_wait_for_new_branches(); exit;", routes);
    let invite = b.invite("c1", "");
    assert_eq!(b.did(), ["a1 100"]);
    b.wait(19_999);
    assert!(b.did().is_empty());
    b.wait(1);
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.m.reason()), (480, &b"408 Request Timeout"[..]));
    b.follow(&invite, "ACK", &String::from_utf8_lossy(end.m.to_tag().unwrap()));
    b.end();
}

#[test]
fn no_more_branches_settles_at_once() {
    let main = r#"
        t_wait_for_new_branches();
        async(sleep(5), later);
    "#;
    let mut b =
        Bed::relaying(main, "route[later] { $var(rc) = t_wait_no_more_branches(); t_reply(480, \"$var(rc)\"); }");
    b.invite("c1", "");
    b.wait(5_000);
    let end = b.last_to("a1");
    assert_eq!((end.m.status(), end.m.reason()), (480, &b"1"[..]));
    b.end();

    // From a reply route: what has come is what there is.
    let main = "t_on_reply(\"r\"); t_wait_for_new_branches(); t_relay();";
    let mut b = Bed::relaying(main, "onreply_route[r] { if ($rs == 486) t_wait_no_more_branches(); }");
    b.invite("c1", "");
    b.answer("b1", 486, "");
    assert_eq!(b.then(), ["b1 INVITE", "b1 ACK", "a1 486"]);
    b.end();
}

#[test]
fn a_reply_route_injects_and_cancels() {
    let main = "t_on_reply(\"r\"); t_wait_for_new_branches(1); t_relay();";
    let routes = r#"
onreply_route[r] {
    if ($rs == 183) {
        append_branch("sip:carol@192.0.2.13");
        if (!t_inject_branches("msg", "cancel,last"))
            xlog("not injected\n");
    }
}
"#;
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "");
    b.answer("b1", 180, "");
    b.answer("b1", 183, "");
    assert_eq!(b.then(), ["b1 INVITE", "a1 180", "b1 CANCEL", "b3 INVITE", "a1 183"]);
    b.answer("b1", 487, "");
    b.answer("b3", 200, "");
    assert_eq!(b.then(), ["b1 ACK", "a1 200"]);
    assert_eq!(b.last("b3", "INVITE").uri(), "sip:carol@192.0.2.13");
    b.end();
}

#[test]
fn an_event_describes_a_branch() {
    let main = r#"
        t_wait_for_new_branches();
        $avp(uri) = "sip:phone@192.0.2.14";
        $avp(received) = "sip:192.0.2.15";
        $avp(path) = "<sip:edge.example;lr>";
        async(sleep(1), later);
    "#;
    let mut b = Bed::relaying(main, "route[later] { t_inject_branches(\"event\", \"last\"); }");
    b.invite("c1", "");
    b.wait(1000);
    assert_eq!(b.then(), ["b5 INVITE"]);
    let got = b.last("b5", "INVITE");
    assert_eq!((got.uri().as_str(), got.header("Route").as_str()), ("sip:phone@192.0.2.14", "<sip:edge.example;lr>"));
    b.answer("b5", 486, "");
    assert_eq!(b.then(), ["b5 ACK", "a1 486"]);
    b.end();
}

#[test]
fn what_cannot_be_injected() {
    // Nothing to inject; then after the final reply; then into no transaction.
    let main = r#"
        if ($rU == "bob") {
            $var(a) = t_inject_branches("msg", "last");
            t_newtran();
            append_branch("sip:bob@192.0.2.12");
            $var(b) = t_inject_branches("msg");
            t_reply(404, "$var(a) $var(b)");
        }
    "#;
    let mut b = Bed::relaying(main, "");
    b.invite("c1", "");
    assert_eq!(b.last_to("a1").m.reason(), b"-1 -1");
    b.end();
}

#[test]
fn a_cancel_meets_a_transaction_that_waits_for_branches() {
    let mut b = Bed::relaying("t_wait_for_new_branches(); exit;", "");
    let invite = b.invite("c1", "");
    b.did();
    b.follow(&invite, "CANCEL", "");
    assert_eq!(b.did(), ["a1 200", "a1 487"]);
    b.end();
}
