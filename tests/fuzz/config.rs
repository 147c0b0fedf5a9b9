//! Random configurations: whatever the bytes, parsing neither panics nor hangs nor overflows the stack.

#[path = "mutator.rs"]
mod mutator;

use reprise::script::parse::fuzz;
use std::time::{Duration, Instant};

/// Small pieces, so that many inputs can be tried: the grammar in a nutshell.
const SEEDS: [&[u8]; 19] = [
    b"#!OPENSIPS\nlog_level=3\nsocket=udp:127.0.0.1:5060 as 1.2.3.4:5060 use_workers 4 tag x\nalias=a.b c:5060\nroute{t_relay();}",
    b"listen=udp:[::1]:5060-5062,5070\nmpath=\"/x\" loadmodule \"tm.so\"\nmodparam(\"a|b\", \"c\", 'd' \"e\")\nroute[r]{;}",
    b"route { if (!f() || $rU==NULL && uri==myself) { g(\"a\", , $x); } else if (1) exit; else { drop(); } }",
    b"route { while ($var(i) < 3) { $var(i) += 1; break; } for ($var(i) in $(avp(l)[*])) xlog(\"$var(i)\" \"\\n\"); }",
    b"route { switch ($rc) { case 1: f(); break; case \"a\": case -0x2: default: h(); } return(1, \"a\", $x); }",
    b"route[a] { async(f($(hdr(X)[1]{s.len})), b, 3); async(b) { g(); } launch(h(), b, \"$ci\"); await k(); }",
    b"route[a] { async_all(b, 3) { f($x); g(\"y\", , 2); } await_any(0) { h(); ; } await_all { k(); } async_any(c) { if (1) { l(); } } }",
    b"timer_route[t, 30] {} event_route[E_X, sync] {} failure_route[1] { $var(x) = (1 + 2) * ~3 & $y << 4; }",
    b"route { if ([ $var(a) & 4 ] and not ($si == 10.0.0.0/8) or $du =~ \"^sip:\\x41\\101\\.\") { route(x, 1, NULL); } }",
    b"dst_blacklist = g:{( tcp , 1.2.3.4/255.0.0.0 , 5060 , \"\" )}\nauto_scaling_profile = P scale up to 6 on 70% for 4\nfork=no",
    b"/* a /* b */ c */ # d\nroute { $avp(x) := \"a\" + $fU + 'b'; $rc = await f(); if ({ f(); } && await g()) assert($x == 1, \"y\"); }",
    b"route { if (f() { xlog(\"a; } \n record_route\n t_relay(;\n}\nroute[b] { \"INVITE\" == $rm; }",
    b"#!KAMAILIO\n#!define A B 1\n#!trydef C \\\n2\n#!ifdef A\nx\n#!else\n\"\n#!endif\nlisten=udp:A:5060 advertise C name \"x\"\nA",
    b"#!ifexp (A + 1) * 2 == \"x\" || !B\n#!subst \"/a(b)/\\1c/g\"\n#!substdef \"!D!$def(A)!\"\n#!defexp E 1 / 0\n#!defenv F=G\n#!endif\n\"ab\"",
    b"request_route { if !f() && $rU =~ \"^[0-9]\" or not defined $avp(x)[*] { $(avp(y)[*]) = (int)\"5\" mod 3 << 1 | ~2; } else drop; }",
    b"g.p[x] = 1 desc \"d\" g[i].p = \"s\" flags A:1, B\nsocket = { bind = tcp:[::1]:5061; name = \"n\" } cfgengine \"lua\"",
    b"route[A] { switch ($x) { case -1: case /\"^a\": break; default: ; } while (1) { route(\"B\" + $rm); } return @ruri.user == myself; }",
    b"event_route[tm:branch-failure:x-1] { force_rport; forward(10.0.0.1, 5060); selval($a eq \"b\", strlen($c), msg:len); method == INVITE; }",
    b"include_file \"x\" import_file 'y' route { setflag(NAT); force_send_socket(udp:10.0.0.1:5060); }",
];

const WORDS: [&[u8]; 54] = [
    b"route",
    b"{",
    b"}",
    b"(",
    b")",
    b"[",
    b"]",
    b";",
    b"\"",
    b"'",
    b"if (",
    b"else ",
    b"while (",
    b"switch (",
    b"case ",
    b"default:",
    b"async(",
    b"launch(",
    b"await ",
    b"async_all(",
    b"await_any {",
    b"$var(x)",
    b"$(",
    b"/*",
    b"*/",
    b"#",
    b"\n",
    b"\\",
    b"==",
    b"=~",
    b"&&",
    b"||",
    b"!",
    b"+",
    b"0x",
    b"089",
    b"1.2.3.4",
    b"fe80::1",
    b"socket=",
    b"alias=",
    b"modparam(\"",
    b"return",
    b"\n#!define A ",
    b"\n#!ifdef A\n",
    b"\n#!else\n",
    b"\n#!endif\n",
    b" A ",
    b"#!",
    b"@",
    b"request_route",
    b"\0",
    b"\xff",
    b"\xe2\x80\x9c",
    b",",
];

#[test]
fn configurations() {
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    mutator::run(&SEEDS, &WORDS, 200_000, 0x0c0f, |data| {
        let one = Instant::now();
        fuzz(data);
        slowest = one.elapsed().max(slowest);
    });
    println!("{:?} in all, {slowest:?} for the slowest", started.elapsed());
}

/// Long inputs of one kind: time must grow with the length, not with its square.
#[test]
fn repetition() {
    for word in WORDS.iter().chain(&SEEDS) {
        let data = word.repeat((1 << 17) / word.len());
        let started = Instant::now();
        fuzz(&data);
        let inside = [b"route { ", data.as_slice()].concat();
        fuzz(&inside);
        assert!(started.elapsed() < Duration::from_secs(60), "{} takes {:?}", word.escape_ascii(), started.elapsed());
    }
}
