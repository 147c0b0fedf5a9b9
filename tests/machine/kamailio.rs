//! The Kamailio dialect: the values that release 5.6.3 gives (kamailio.md section 1.15), return codes
//! and what changes `$rc`.

use crate::host::{kamailio, kamailio_findings};

/// What an expression yields, as text.
fn value(setup: &str, expr: &str) -> String {
    let out = kamailio(&format!("{setup} $var(r) = {expr}; xlog(\"$var(r)\");"));
    out.trace.last().cloned().unwrap_or_default()
}

fn holds(setup: &str, cond: &str) -> bool {
    let out = kamailio(&format!("{setup} if ({cond}) {{ xlog(\"yes\"); }} else {{ xlog(\"no\"); }}"));
    out.trace.last().is_some_and(|t| t == "yes")
}

#[test]
fn expressions() {
    for (setup, expr, wanted) in [
        ("", "\"10\" + 5", "105"),
        ("$var(i) = 10;", "$var(i) + \"5\"", "15"),
        ("$var(s) = \"10\";", "$var(s) + 5", "105"),
        ("$var(s) = \"10\";", "$var(s) * 2", "20"),
        ("", "(str)12 + 5", "125"),
        ("", "7/2", "3"),
        ("", "-7/2", "-3"),
        ("", "-7 mod 3", "-1"),
        ("", "1 << 4 | 3", "19"),
        ("", "3 > 2", "1"),
        ("", "5 && 7", "1"),
        ("", "!0", "1"),
        ("", "!5", "0"),
        ("", "~1", "-2"),
        ("", "strlen(\"abcd\")", "4"),
        ("", "strempty(\"\")", "1"),
        ("", "strempty($hdr(Nope))", "1"),
        ("", "defined $avp(zzz)", "0"),
        ("", "\"abc\" =~ \"^AB\"", "1"),
        ("", "\"a\" == \"A\"", "0"),
        ("", "\"a\" + 1 + 2", "a12"),
        ("$var(i) = 2;", "\"a$var(i)b\"", "a$var(i)b"),
        ("", "(int)\"12abc\"", "0"),
        ("", "(int)\"0x1f\"", "31"),
        ("$var(i) = 2;", "!$var(i)==2", "0"),
        ("$var(i) = 2;", "not $var(i)==2", "0"),
        ("", "1 | 2 == 2", "1"),
        ("", "selval(0, 1, \"b\")", "b"),
        ("", "$avp(none) + \"x\"", "x"),
        ("", "$avp(none) + 1", "1"),
        ("", "$avp(none)", "0"),
        ("", "$var(never)", "0"),
        ("", "($var(z) = 5) + 1", "2"),
        ("", "ret(-7)", "-7"),
        ("", "ret(-7) + 1", "1"),
        ("", "ret(2) + 1", "2"),
        ("", "0x1f + 010 + 101b", "44"),
        ("", "3000000000", "3000000000"),
        ("$avp(l) = 1; $avp(l) = 2; $avp(l) = 3;", "$avp(l)", "3"),
        ("$avp(l) = 1; $avp(l) = 2; $avp(l) = 3;", "$(avp(l)[1])", "2"),
        ("$avp(l) = 1; $avp(l) = 2; $avp(l) = 3;", "$(avp(l)[*])", "3, 2, 1"),
        ("$avp(l) = 1; $avp(l) = 2; $(avp(l)[*]) = 9;", "$(avp(l)[*])", "9"),
        ("$avp(l) = 1; $avp(l) = 2; $avp(l) = $null;", "$avp(l)", "1"),
        ("$var(r) = 3;", "7/0", "3"),
    ] {
        assert_eq!(value(setup, expr), wanted, "{setup} {expr}");
    }
}

#[test]
fn conditions() {
    let setup = "$var(n) = -3; $var(i) = 2; $var(s) = \"10\";";
    for (cond, wanted) in [
        ("$var(n)", false),
        ("!$var(n)", false),
        ("-3", false),
        ("!(-3)", false),
        ("$var(n) && $var(i)", true),
        ("!($var(n) && $var(i))", false),
        ("\"1\"", true),
        ("\"abc\"", false),
        ("$avp(zzz)", false),
        ("!$avp(zzz)", true),
        ("$avp(zzz) == 0", true),
        ("$avp(zzz) == \"\"", true),
        ("$avp(zzz) == $null", true),
        ("$var(i) == $null", false),
        ("\"\" == $null", false),
        ("$hdr(X-Nope) != \"one\"", true),
        ("$var(s) == 10", true),
        ("10 == $var(s)", true),
        ("\"10\"==10", true),
        ("\"10\"==\"010\"", false),
        ("$var(s) > 9", true),
        ("$var(i) eq \"2\"", true),
        ("$var(s) ieq 10", true),
        ("$rm == \"INVITE\"", true),
        ("$rm == \"invite\"", false),
        ("method == \"invite\"", true),
        ("method == INVITE", true),
        ("uri =~ \"BOB\"", true),
        ("src_ip == 10.1.2.3", true),
        ("src_ip == 10.0.0.0/8", true),
        ("from_uri == myself", true),
        ("uri == myself", false),
        ("ret(-1) == -1", false),
        ("ret(2) == 1", true),
        ("!ret(-1)", true),
        ("1 || 0 && 0", true),
    ] {
        assert_eq!(holds(setup, cond), wanted, "{cond}");
    }
}

/// Only calls, routes and `return` change `$rc`; the route's value is that of its last action.
#[test]
fn return_codes() {
    for (body, wanted) in [
        ("route(MINUS);", "-7"),
        ("route(MINUS); $var(q) = 1;", "-7"),
        ("route(MINUS); if ($var(i) == 3) { $var(q) = 1; }", "-7"),
        ("route(MINUS); switch ($var(i)) { case 0: $var(q) = 1; break; }", "-7"),
        ("route(MINUS); route(PLAIN);", "1"),
        ("route(MINUS); route(ASSIGN);", "1"),
        ("route(MINUS); route(\"NO\" + \"WHERE\");", "-7"),
        ("if (!route(MINUS)) { $var(q) = $rc; } $var(z) = $var(q);", "-7"),
        ("$var(q) = route(MINUS);", "-7"),
        ("while (1) { $var(c) = $var(c) + 1; ret(1); }", "1"),
    ] {
        let out = kamailio(&format!("{body} xlog(\"$rc\");"));
        assert_eq!(out.trace.last().map(String::as_str), Some(wanted), "{body}");
    }
    let out = kamailio("while (1) { $var(c) = $var(c) + 1; } xlog(\"$var(c)\");");
    assert_eq!(out.trace.last().map(String::as_str), Some("100"));
    // 0 ends the script, wherever it comes from.
    assert_eq!(kamailio("if (ret(0)) { } xlog(\"x\");").trace, Vec::<String>::new());
    assert_eq!(kamailio("route(ZERO); xlog(\"x\");").trace, Vec::<String>::new());
}

#[test]
fn switches() {
    let chosen = |subject: &str, cases: &str| {
        let out =
            kamailio(&format!("$var(i) = 2; $var(s) = \"abc\"; switch ({subject}) {{ {cases} }} xlog(\"$var(q)\");"));
        out.trace.last().cloned().unwrap_or_default()
    };
    let a = "$var(q) = \"a\";";
    let b = "$var(q) = $var(q) + \"b\";";
    assert_eq!(chosen("$var(i)", &format!("case 2: {a} case 3: {b} break; case 4: {b}")), "ab");
    assert_eq!(chosen("$var(i)", &format!("default: {b} break; case 2: {a}")), "a");
    assert_eq!(chosen("$var(s)", &format!("case /\"^A\": {a} break; default: {a} {b}")), "ab");
    assert_eq!(chosen("$var(s)", &format!("case /\"^a\": {a} break; default: {b}")), "a");
    assert_eq!(chosen("$var(s)", &format!("case \"ABC\": {b} break; case \"abc\": {a}")), "a");
}

#[test]
fn break_leaves_a_route() {
    let out = kamailio("route(BREAK); xlog(\"behind\");");
    assert_eq!(out.trace, ["before", "behind"]);
}

#[test]
fn findings_name_this_language() {
    let found =
        kamailio_findings("g.name = 1\nrequest_route { xlog(\"$sel(cfg_get.g.nam)\"); $var(x) = @cfg_get.h.x; }");
    assert_eq!(found.matches("unknown parameter `cfg_get").count(), 2, "{found}");
    let text = "request_route { t_realy(); route(NOWHERE); $nothing = 1; }";
    let found = kamailio_findings(text);
    for wanted in ["E0201", "E0205", "E0204"] {
        assert!(found.contains(wanted), "{found}");
    }
}
