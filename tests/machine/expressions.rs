//! Conditions, arithmetic, variables, formats (reference 1.9, 1.10, 1.12, 5).

use crate::host::{holds, run, trace, value_of};

#[test]
fn truth_of_values() {
    for (setup, cond, want) in [
        ("", "$var(x)", false),
        ("$var(x) = 0;", "$var(x)", false),
        ("$var(x) = -1;", "$var(x)", true),
        ("$var(x) = \"\";", "$var(x)", false),
        ("$var(x) = \"0\";", "$var(x)", true),
        ("", "1", true),
        ("", "0", false),
        ("", "$hdr(X-None)", false),
        ("", "$hdr(X-One)", true),
        ("", "!$hdr(X-None)", true),
        ("$var(x) = 6;", "[ $var(x) & 4 ]", true),
        ("$var(x) = 3;", "[ $var(x) & 4 ]", false),
    ] {
        assert_eq!(holds(setup, cond), want, "{setup} if ({cond})");
    }
}

#[test]
fn comparisons() {
    for (setup, cond, want) in [
        ("", "$rm == \"invite\"", true),
        ("", "$rm == INVITE", true),
        ("", "$rm != \"BYE\"", true),
        ("", "$rm =~ \"^inv\"", true),
        ("", "$rm !~ \"^inv\"", false),
        ("$var(p) = \"^INV.*E$\";", "$rm =~ $var(p)", true),
        ("", "$sp == 5060", true),
        ("", "$sp == \"5060\"", true),
        ("", "$sp >= 5061", false),
        ("$var(x) = \"abc\";", "$var(x) < \"ABD\"", true),
        ("$var(x) = \"ab\";", "$var(x) < \"abc\"", true),
        // A text against a number literal is an error, which is neither true nor false.
        ("$var(x) = \"5\";", "$var(x) == 5", false),
        ("$var(x) = \"5\";", "!($var(x) == 5)", false),
        ("$var(x) = \"5\";", "$var(x) == 5 || 1", false),
        ("$var(x) = \"5\";", "0 || $var(x) == 5 || 1", false),
        ("$var(x) = \"5\";", "1 || $var(x) == 5", true),
        ("$var(x) = 7; $var(y) = \"7\";", "$var(y) == $var(x)", true),
        // NULL.
        ("", "$var(n) == null", true),
        ("", "$var(n) != null", false),
        ("", "$rm == null", false),
        ("", "$rm != NULL", true),
        ("", "$var(n) == \"x\"", false),
        ("", "$var(n) != \"x\"", true),
        ("", "$var(n) != 5", true),
        ("", "$var(n) == $avp(none)", true),
        ("", "$var(n) < 5", false),
        ("", "$var(n) =~ \".*\"", false),
        ("", "$var(n) !~ \"x\"", true),
        // Addresses.
        ("", "$si == 10.0.0.0/8", true),
        ("", "$si != 10.1.2.3", false),
        ("", "$si == 10.0.0.0/255.0.0.0", true),
        ("", "$rm == 10.0.0.0/8", false),
        ("", "!($rm == 10.0.0.0/8)", false),
        ("", "$rm != 10.0.0.0/8", false),
    ] {
        assert_eq!(holds(setup, cond), want, "{setup} if ({cond})");
    }
}

#[test]
fn and_or_have_one_precedence_and_short_circuit() {
    assert!(!holds("", "1 || 1 && 0"));
    assert!(holds("", "1 || (1 && 0)"));
    assert!(holds("", "0 && 0 || 1"));
    assert!(holds("", "not 0 and 1"));
    assert_eq!(trace("if (xlog(\"a\") || xlog(\"b\")) xlog(\"c\");"), ["a", "c"]);
    assert_eq!(trace("if (ret(-1) && xlog(\"b\")) xlog(\"c\"); else xlog(\"d\");"), ["d"]);
}

#[test]
fn legacy_operands() {
    for (cond, want) in [
        ("uri==myself", false),
        ("from_uri==myself", true),
        ("from_uri!=myself", false),
        ("!uri==myself", true),
        ("method==\"INVITE\"", true),
        ("method==INVITE", true),
        ("method=~\"^(BYE|INVITE)$\"", true),
        ("src_ip==10.1.2.3", true),
        ("src_ip==\"10.0.0.0/8\"", true),
        ("src_ip==myself", false),
        ("dst_ip==192.0.2.1", true),
        ("src_port==5060", true),
        ("proto==UDP", true),
        ("proto==TCP", false),
        ("af==INET", true),
        ("af==INET6", false),
        ("msg:len>=2048", false),
        ("msg:len < max_len", true),
        ("status=~\"^4\"", false),
    ] {
        assert_eq!(holds("", cond), want, "{cond}");
    }
}

#[test]
fn arithmetic_is_32_bit_and_left_associative() {
    for (expr, want) in [
        ("1 + 2 * 3", "9"),
        ("1 + (2 * 3)", "7"),
        ("7 / 2", "3"),
        ("7 % 4", "3"),
        ("2147483647 + 1", "-2147483648"),
        ("1 << 4 | 3", "19"),
        ("~0", "-1"),
        ("\"a\" + \"b\"", "ab"),
        ("\"a\" + $avp(none)", "a"),
        ("\"a\" + $var(seven)", "a7"),
        ("$var(seven) + $avp(none)", "7"),
        ("7 / 0", "0"),
        ("7 % 0", "0"),
        ("$rm == \"INVITE\"", "1"),
        ("ret(-3)", "-3"),
    ] {
        assert_eq!(value_of(&format!("$var(seven) = 7; $var(x) = {expr};"), "$var(x)"), want, "{expr}");
    }
    // Errors: nothing is assigned, $rc is -1, the script goes on.
    for assign in [
        "$var(x) = \"a\" + 1",
        "$var(x) = 1 + \"a\"",
        "$var(x) += \"s\"",
        "$var(x) /= 0",
        "$var(n) += 1",
        "$var(x) = \"ab\" & \"a\"",
    ] {
        assert_eq!(trace(&format!("$var(x) = 5; {assign}; xlog(\"$rc $var(x)\");")), ["-1 5"], "{assign}");
    }
    assert_eq!(trace("$var(x) = 7 / 0; xlog(\"$rc\");"), ["1"]);
    assert_eq!(trace("$var(x) = \"a\"; $var(x) += \"b\"; $var(x) += \"c\"; xlog(\"$rc $var(x)\");"), ["1 abc"]);
    assert_eq!(trace("$var(x) = 1; $var(x) = null; xlog(\"$var(x)\");"), ["<null>"]);
    assert_eq!(trace("$var(x) = 1; $var(x) = $avp(none); xlog(\"$var(x)\");"), ["<null>"]);
}

#[test]
fn literals_in_assignments_are_not_expanded() {
    assert_eq!(value_of("$var(x) = \"a $fU\";", "$var(x)"), "a $fU");
    assert_eq!(value_of("$var(x) = \"a $fU\";", "$(var(x){s.len})"), "5");
    assert_eq!(value_of("$var(x) = \"<$rm>\";", "$(var(x){s.eval})"), "<INVITE>");
    // A value that evaluates itself ends.
    assert_eq!(value_of("$var(x) = \"$(var(x){s.eval})\";", "$(var(x){s.len})"), "17");
    let t = trace("$var(x) = \"$(var(x){s.eval})\"; xlog(\"$(var(x){s.eval})\");");
    assert_eq!(t, ["<null>"]);
    let many = "$(var(x){s.eval})".repeat(50);
    let t = trace(&format!("$var(x) = \"{many}\"; xlog(\"$(var(x){{s.eval}}{{s.len}})\");"));
    assert!(t[0].parse::<u32>().is_ok(), "{t:?}");
}

#[test]
fn formats() {
    for (format, want) in [
        ("$rm $fu", "INVITE sip:alice@me.example"),
        ("$$5 $$rm", "$5 $rm"),
        ("$(rm).", "INVITE."),
        ("$var(none)|", "<null>|"),
        ("$(hdr(X-One)[1]) $(hdr(X-One)[-1]) $(hdr(X-One)[7])", "second second <null>"),
        ("$(ru{uri.user}{s.toupper})", "BOB"),
        ("$(hdr($var(name)))", "first"),
        ("$(<reply>rs)", "486"),
        ("$(rm{s.select,0,/}{s.len})", "6"),
        ("$(var(neg){csv.value,9})", "<null>"),
    ] {
        assert_eq!(value_of("$var(name) = \"X-One\"; $var(neg) = \"a,b\";", format), want, "{format}");
    }
}

#[test]
fn avps_are_stacks() {
    let story = run("route { $avp(a) = \"1\"; $avp(a) = \"2\"; $avp(a) = \"3\"; $var(i) = 1;
         xlog(\"$avp(a) $(avp(a)[1]) $(avp(a)[-1]) $(avp(a)[*]) $(avp(a)[$var(i)]) $(avp(a)[5])\");
         $(avp(a)[1]) = \"two\"; $(avp(a)[append]) = \"0\"; xlog(\"$(avp(a)[*])\");
         $avp(a) = NULL; xlog(\"$(avp(a)[*])\");
         $(avp(a)[1]) = NULL; xlog(\"$(avp(a)[*])\");
         $avp(a) := \"only\"; xlog(\"$(avp(a)[*])\");
         $avp(b) = 1; $avp(b) := NULL; xlog(\"$avp(b)\");
         $var(n) = \"a\"; $avp($var(n)) = \"by name\"; xlog(\"$avp(a)\");
         $avp(s:x) = \"old\"; xlog(\"$avp(s:x) $avp(x)\");
         $avp(c) = 5; $avp(c) += 1; xlog(\"$avp(c)\"); }");
    assert_eq!(
        story.trace,
        [
            "3 2 1 3, 2, 1 2 <null>",
            "3, two, 1, 0",
            "two, 1, 0",
            "two, 0",
            "only",
            "<null>",
            "by name",
            "old <null>",
            "6"
        ]
    );
    assert!(story.avps.contains(&"a=by name,only".to_string()));
}

#[test]
fn host_variables_can_be_assigned() {
    let story = run("route { $ru = \"sip:x@y\"; xlog(\"$rc\"); $ru = \"nonsense\"; xlog(\"$rc $ru\"); }");
    assert_eq!(story.trace, ["1", "-1 sip:x@y"]);
    assert!(story.log[0].contains("not a URI"), "{:?}", story.log);
}

#[test]
fn values_and_loops_are_bounded() {
    let story = run("route { $var(x) = \"0123456789\"; while (1) { $var(x) += $var(x); if ($rc < 0) { break; } }
         xlog(\"$(var(x){s.len}) $rc\"); }");
    assert_eq!(story.trace, ["40960 -1"]);
    let story = run("route { while (1) { $var(n) = $var(n); } xlog(\"after\"); }");
    assert_eq!(story.trace, ["after"]);
    assert!(story.log[0].contains("max_while_loops"), "{:?}", story.log);
    let story = run("route { route(again); xlog(\"$rc\"); } route[again] { route(again); return(1); }");
    assert_eq!(story.trace, ["1"]);
    assert!(story.log[0].contains("nested deeper"), "{:?}", story.log);
}
