//! Variables about transactions and branches.

use crate::bed::Bed;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::worker::sim::SimOptions;

#[test]
fn fields_of_the_transaction_in_each_route() {
    let routes = r#"
branch_route[b] { append_hf("X-B: $T_branch_idx $T_ruri $T(branch_index) $T(ruri) $(T_req($fU)) $T_rpl($rs)\r\n"); }
onreply_route[r] {
    append_hf("X-R: $T_branch_idx $T_reply_code $T_branch_last_reply_code $T_req($rU) $(T_req($hdr(X-In)){s.len}) $T_rpl($rs) $(<request>hdr(X-In))\r\n");
}
failure_route[f] {
    t_reply(480, "$T_reply_code $T_reply_reason $T(reply_type) $T_reply_last $T_req($rm) $T_rpl($rs) $(T_rpl($hdr(X-Out)){s.len}) $T_inv($fU)");
}
"#;
    let main = "t_on_branch(\"b\"); t_on_reply(\"r\"); t_on_failure(\"f\"); t_relay();";
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "X-In: four\r\n");
    assert_eq!(b.last("b1", "INVITE").header("X-B"), "0 sip:bob@192.0.2.11 0 sip:bob@192.0.2.11 a <null>");
    b.answer("b1", 180, "");
    assert_eq!(b.last_to("a1").header("X-R"), "0 180 180 bob 4 180 four");
    b.answer("b1", 486, "X-Out: abcdef\r\n");
    assert_eq!(b.last_to("a1").m.reason(), b"486 Because 0 486 INVITE 486 6 a");
    b.end();
}

#[test]
fn outside_of_a_transaction_they_are_null() {
    let mut b = Bed::new(
        "route { sl_send_reply(480, \"$T_branch_idx $T_ruri $T_id $T(id_index) $T(branch_index) $T_branch(uri) $(tm.branch.uri[0]) $T_reply_last\"); }",
    );
    b.invite("c1", "");
    assert_eq!(b.last_to("a1").m.reason(), b"<null> <null> <null> <null> <null> <null> <null> <null>");
    b.end();
}

#[test]
fn ids_name_a_transaction() {
    let mut b = Bed::relaying("t_newtran(); t_reply(480, \"$T_id $T(id_index) $T(id_label)\");", "");
    b.invite("c1", "");
    let text = String::from_utf8_lossy(b.last_to("a1").m.reason()).into_owned();
    let parts: Vec<&str> = text.split([' ', '.']).collect();
    assert_eq!(parts.len(), 5, "{text}");
    // The upper halves of index and label say whose it is: the first tenant of seat 0.
    let (index, label): (u64, u64) = (parts[3].parse().unwrap(), parts[4].parse().unwrap());
    assert_eq!((index >> 32, label >> 32), (1, 0), "{text}");
    assert_eq!((parts[0], parts[1], parts[2]), ("0", &*(index as u32).to_string(), &*(label as u32).to_string()));
    b.end();
}

#[test]
fn branches_of_the_message_are_changed_by_part() {
    let main = r#"
        $branch = "sip:one@192.0.2.12";
        append_branch("sip:two@192.0.2.13", "0.5", "A B");
        $(branch(uri)[0]) = "sip:changed@192.0.2.14";
        $(branch(duri)[0]) = "sip:192.0.2.15";
        $(branch(q)[0]) = "0.25";
        $(branch(path)[0]) = "<sip:edge.example;lr>";
        $(msg.branch.flags[0]) = "X Y";
        $(msg.branch.flag(Y)[0]) = 0;
        $(msg.branch.attr(site)[0]) = "north";
        $(msg.branch.attr(site)[1]) = 5;
        $var(out) = $(branch(uri)[0]) + " " + $(branch(duri)[0]) + " " + $(branch(q)[0]) + " " + $(branch(path)[0])
            + " " + $(msg.branch.flags[0]) + " " + $(msg.branch.flag(X)[0]) + $(msg.branch.flag(Y)[0])
            + " " + $(msg.branch.attr(site)[0]) + $(msg.branch.attr(none)[0]) + " " + $(branch(flags)[1]) + " " + $(msg.branch.q[1]);
        append_to_reply("X-Out: $var(out)\r\n");
        t_on_branch("b");
        t_on_failure("f");
        t_relay();
    "#;
    let routes = r#"
branch_route[b] { append_hf("X-All: $(tm.branch.uri[-1]) $T_branch(uri) $T_branch(flags)\r\n"); }
failure_route[f] {
    $var(a) = t_get_branch_idx_by_attr("site", "north", , $var(i));
    $var(b) = t_get_branch_idx_by_attr("site", , 5, $var(j));
    $var(c) = t_get_branch_idx_by_attr("site", "north", , $var(k), 2);
    append_to_reply("X-Idx: $var(a) $var(i) $var(b) $var(j) $var(c)\r\n");
    append_to_reply("X-Tm: $(tm.branch.uri[1]) $(tm.branch.duri[1]) $(tm.branch.q[2]) $(tm.branch.flags[2]) $(tm.branch.flag(X)[1]) $(tm.branch.attr(site)[1]) $(tm.branch.last_received[0]) $(tm.branch.type[0])\r\n");
    t_reply(480, "x");
}
"#;
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "");
    assert_eq!(b.then(), ["b1 INVITE", "b5 INVITE", "b3 INVITE"]);
    let got = b.last("b5", "INVITE");
    assert_eq!((got.uri().as_str(), got.header("Route").as_str()), ("sip:changed@192.0.2.14", "<sip:edge.example;lr>"));
    assert_eq!(got.header("X-All"), "sip:changed@192.0.2.14 sip:changed@192.0.2.14 X");
    for who in ["b1", "b5", "b3"] {
        b.answer(who, 404, "");
    }
    let end = b.last_to("a1");
    assert_eq!(
        end.header("X-Out"),
        "sip:changed@192.0.2.14 sip:192.0.2.15 250 <sip:edge.example;lr> X 10 north A B 500"
    );
    assert_eq!(end.header("X-Idx"), "1 1 1 2 -1");
    assert_eq!(end.header("X-Tm"), "sip:changed@192.0.2.14 sip:192.0.2.15 500 A B 1 north 404 sip");
    b.end();
}

#[test]
fn avps_of_a_branch() {
    let routes = r#"
branch_route[b] {
    $bavp(x) = "first of $rU";
    $bavp(x) = "second";
    $(bavp(x)[append]) = "bottom";
}
onreply_route[r] {
    append_hf("X-R: $bavp(x) $(bavp(x)[1]) $(bavp(x)[*])\r\n");
    $bavp(x) := "by the reply " + $rs;
}
failure_route[f] { t_reply(480, "$bavp(x) $bavp(none)"); }
"#;
    let main =
        "t_on_branch(\"b\"); t_on_reply(\"r\"); t_on_failure(\"f\"); append_branch(\"sip:two@192.0.2.12\"); t_relay();";
    let mut b = Bed::relaying(main, routes);
    b.invite("c1", "");
    b.answer("b2", 180, "");
    assert_eq!(b.last_to("a1").header("X-R"), "second first of $rU second, first of $rU, bottom");
    b.answer("b1", 503, "");
    b.answer("b2", 486, "");
    assert_eq!(b.last_to("a1").m.reason(), b"by the reply 486 <null>");
    b.end();
}

#[test]
fn wrong_names_are_found_at_load_time() {
    for (text, what) in [
        ("$T(foo)", "T"),
        ("$(branch(foo)[0])", "branch"),
        ("$T_branch(x)", "T_branch"),
        ("$T_req(fU)", "one variable"),
        ("$T_req($avp(x))", "avp"),
    ] {
        let config = format!("loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nroute {{ xlog(\"{text}\\n\"); }}\n");
        let why = simulate(ConfigText::Text(&config, "x.cfg"), None, SimOptions::default()).map(drop).unwrap_err();
        assert!(why.contains("error") && why.contains(what), "{text}: {why}");
    }
}
