//! The tree is written as text, so that a test reads like the script it is about.

use crate::script::ast::*;
use crate::script::diagnostics::Diagnostics;
use crate::script::parse::parse_text;
use crate::script::source::SourceMap;

fn parse(text: &str) -> (Config, String) {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let config = parse_text("t", &format!("#!OPENSIPS\n{text}"), &mut map, &mut diags);
    let brief = diags.brief(&map);
    (config, brief)
}

fn good(text: &str) -> Config {
    let (config, brief) = parse(text);
    assert_eq!(brief, "", "{text}");
    config
}

/// The statements of a route, which must be free of findings.
fn body(text: &str) -> String {
    let config = good(&format!("route {{\n{text}\n}}"));
    match config.items.as_slice() {
        [Item::Route(r)] => stmts(&r.body),
        other => panic!("{other:?}"),
    }
}

/// The condition of an `if`.
fn cond(text: &str) -> String {
    let all = body(&format!("if ({text}) exit;"));
    all.strip_prefix("if ").and_then(|t| t.strip_suffix(" {exit}")).unwrap_or(&all).to_owned()
}

/// The findings in a route's body, as `line:column code`; the body begins in line 1.
fn bad(text: &str) -> Vec<String> {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    parse_text("t", &format!("route {{ {text}\n}}\n"), &mut map, &mut diags);
    let place = |d: &crate::script::diagnostics::Diagnostic| {
        let (_, line, column) = map.position(d.span);
        format!("{line}:{} {}", if line == 1 { column.saturating_sub(8) } else { column }, d.code)
    };
    diags.list().iter().map(place).collect()
}

fn stmts(list: &[Stmt]) -> String {
    list.iter().map(stmt).collect::<Vec<_>>().join("; ")
}

fn stmt(s: &Stmt) -> String {
    let joined = |l: &[Expr]| l.iter().map(|e| format!(", {}", expr(e))).collect::<String>();
    match &s.kind {
        StmtKind::Call(c) => call(c),
        StmtKind::Assign(a) => assign(a),
        StmtKind::If { cond, then, otherwise } => {
            let otherwise = otherwise.as_ref().map(|o| format!(" else {{{}}}", stmts(o))).unwrap_or_default();
            format!("if {} {{{}}}{otherwise}", expr(cond), stmts(then))
        }
        StmtKind::While { cond, body } => format!("while {} {{{}}}", expr(cond), stmts(body)),
        StmtKind::ForEach { iterator, source, body } => {
            format!("for {} in {} {{{}}}", iterator.text, source.text, stmts(body))
        }
        StmtKind::Switch { subject, cases } => {
            let case = |c: &Case| {
                let label = match &c.label {
                    None => "default".into(),
                    Some(CaseLabel::Int(n)) => n.to_string(),
                    Some(CaseLabel::Str(s) | CaseLabel::Regex(s)) => text(s),
                };
                format!("{label}: {}", stmts(&c.body))
            };
            format!("switch {} {{{}}}", expr(subject), cases.iter().map(case).collect::<Vec<_>>().join(" | "))
        }
        StmtKind::Route(r) => route(r),
        StmtKind::Return { code, extra } => {
            format!("return {}{}", code.as_ref().map(expr).unwrap_or_default(), joined(extra))
        }
        StmtKind::Exit => "exit".into(),
        StmtKind::Drop => "drop".into(),
        StmtKind::Break => "break".into(),
        StmtKind::Continue => "continue".into(),
        StmtKind::Async { call: c, route, timeout } => {
            let timeout = timeout.as_ref().map(|t| format!(", {}", expr(t))).unwrap_or_default();
            format!("async {} -> {}{timeout}", call(c), route.text)
        }
        StmtKind::Launch { call: c, route, param } => {
            let route = route.as_ref().map(|r| format!(" -> {}", r.text)).unwrap_or_default();
            let param = param.as_ref().map(|p| format!(", {}", expr(p))).unwrap_or_default();
            format!("launch {}{route}{param}", call(c))
        }
        StmtKind::Several(s) => {
            let route = s.route.as_ref().map(|r| format!(" -> {}", r.text)).unwrap_or_default();
            let timeout = s.timeout.map(|t| format!(", {t}")).unwrap_or_default();
            let members: Vec<String> = s.members.iter().map(call).collect();
            format!("{:?} {}{route}{timeout}", s.until, members.join(" & "))
        }
        StmtKind::Await(c) => format!("await {}", call(c)),
        StmtKind::Block(b) => format!("{{{}}}", stmts(b)),
        StmtKind::Expr(e) => expr(e),
        StmtKind::Empty => ";".into(),
    }
}

fn call(c: &Call) -> String {
    let args: Vec<String> = c.args.iter().map(|a| a.as_ref().map(expr).unwrap_or_default()).collect();
    format!("{}({})", c.name.text, args.join(","))
}

fn route(r: &RouteCall) -> String {
    format!("route({}{})", expr(&r.name), r.args.iter().map(|a| format!(",{}", expr(a))).collect::<String>())
}

fn assign(a: &Assign) -> String {
    format!("{} {:?} {}", a.target.text, a.op, expr(&a.value))
}

fn text(s: &StrLit) -> String {
    format!("\"{}\"", String::from_utf8_lossy(&s.text))
}

fn expr(e: &Expr) -> String {
    let two = |a: &Expr, op: &str, b: &Expr| format!("({} {op} {})", expr(a), expr(b));
    match &e.kind {
        ExprKind::Int(n) => n.to_string(),
        ExprKind::Str(s) => text(s),
        ExprKind::Null => "NULL".into(),
        ExprKind::Var(v) => v.text.clone(),
        ExprKind::Net(n) => format!("net:{n}"),
        ExprKind::Ident(w) => format!("word:{w}"),
        ExprKind::Myself => "myself".into(),
        ExprKind::Legacy(w) => format!("legacy:{w}"),
        ExprKind::Compare { op, left, right } => two(left, &format!("{op:?}"), right),
        ExprKind::And(a, b) => two(a, "and", b),
        ExprKind::Or(a, b) => two(a, "or", b),
        ExprKind::Not(a) => format!("!{}", expr(a)),
        ExprKind::Binary { op, left, right } => two(left, &format!("{op:?}"), right),
        ExprKind::Unary { op, operand } => format!("{op:?} {}", expr(operand)),
        ExprKind::Group(a) => expr(a),
        ExprKind::Test(a) => format!("[{}]", expr(a)),
        ExprKind::Call(c) => call(c),
        ExprKind::Route(r) => route(r),
        ExprKind::Assign(a) => format!("({})", assign(a)),
        ExprKind::Await(c) => format!("await {}", call(c)),
        ExprKind::Block(b) => format!("{{{}}}", stmts(b)),
        ExprKind::Choice { .. } => unreachable!("Kamailio's"),
    }
}

#[test]
fn calls_and_arguments() {
    assert_eq!(body("f(); f( ); t_reply(404, \"Not Found\");"), "f(); f(); t_reply(404,\"Not Found\")");
    assert_eq!(body("f(a, , $x); f( , \"b\"); f(-3, +4, yes, NULL);"), "f(word:a,,$x); f(,\"b\"); f(-3,4,1,NULL)");
    assert_eq!(body("setflag(1); setflag(NAT_FLAG);"), "setflag(1); setflag(word:NAT_FLAG)");
    assert_eq!(body("force_send_socket(udp:10.0.0.1:5060);"), "force_send_socket(word:udp:10.0.0.1:5060)");
    assert_eq!(body("xlog(\"L_INFO\", \"a \" \"b\"\n 'c');"), "xlog(\"L_INFO\",\"a bc\")");
    assert_eq!(body("log(1, \"text\"); error(\"a\", \"b\");"), "log(1,\"text\"); error(\"a\",\"b\")");
    assert_eq!(body("assert($var(x) == 1 && f(), \"why\");"), "assert((($var(x) Eq 1) and f()),\"why\")");
}

#[test]
fn conditions() {
    assert_eq!(cond("a() && b() || c()"), "((a() and b()) or c())");
    assert_eq!(cond("a() || (b() && c())"), "(a() or (b() and c()))");
    assert_eq!(cond("!$x == 1 and not f()"), "(!($x Eq 1) and !f())");
    assert_eq!(cond("!!f()"), "!!f()");
    assert_eq!(cond("$rU==NULL"), "($rU Eq NULL)");
    assert_eq!(
        cond("$si == 10.0.0.0/8 || $si == [2001:db8::1]"),
        "(($si Eq net:10.0.0.0/8) or ($si Eq net:2001:db8::1))"
    );
    assert_eq!(cond("[ $var(a) & 4 ]"), "[($var(a) BitAnd 4)]");
    assert_eq!(cond("$var(rc) = f()"), "($var(rc) Set f())");
    assert_eq!(cond("{ f(); g(); } && 1"), "({f(); g()} and 1)");
    assert_eq!(cond("route(x) && route(y, 1)"), "(route(\"x\") and route(\"y\",1))");
    assert_eq!(cond("await f(1)"), "await f(1)");
    assert_eq!(cond("$rm =~ \"^INV\" && $rm !~ \"x\""), "(($rm Match \"^INV\") and ($rm NoMatch \"x\"))");
    assert_eq!(body("if $x == 1 f();"), "if ($x Eq 1) {f()}");
    assert_eq!(body("if ($x) && ($y) { f(); }"), "if ($x and $y) {f()}");
}

#[test]
fn and_behind_or_is_warned_about() {
    assert_eq!(bad("if (a() || b() && c()) exit;"), ["1:16 W0102"]);
    assert_eq!(parse("route { if (a() || b() && c()) exit; }").0.items.len(), 1);
}

#[test]
fn legacy_operands() {
    assert_eq!(cond("uri==myself"), "(legacy:uri Eq myself)");
    assert_eq!(cond("!from_uri==myself"), "!(legacy:from_uri Eq myself)");
    assert_eq!(cond("method==INVITE || $rm == INVITE"), "((legacy:method Eq word:INVITE) or ($rm Eq word:INVITE))");
    assert_eq!(cond("msg:len >= max_len"), "(legacy:msg:len Ge legacy:max_len)");
    assert_eq!(cond("src_ip==10.0.0.0/255.0.0.0"), "(legacy:src_ip Eq net:10.0.0.0/255.0.0.0)");
    assert_eq!(cond("uri=~\"^sip:1\""), "(legacy:uri Match \"^sip:1\")");
    assert_eq!(cond("proto==UDP && dst_port==5060"), "((legacy:proto Eq word:UDP) and (legacy:dst_port Eq 5060))");
}

#[test]
fn arithmetic() {
    assert_eq!(body("$var(x) = 1 + 2 * 3;"), "$var(x) Set ((1 Add 2) Mul 3)");
    assert_eq!(body("$var(x) = 1 + $y & 3 << 1;"), "$var(x) Set (((1 Add $y) BitAnd 3) Shl 1)");
    assert_eq!(body("$var(x) = 1 - -2;"), "$var(x) Set (1 Sub -2)");
    assert_eq!(body("$var(x) = ~($a | 2) % 4;"), "$var(x) Set (BitNot ($a BitOr 2) Mod 4)");
    assert_eq!(body("$avp(x) := \"a\" + $fU + \"b\";"), "$avp(x) Reset ((\"a\" Add $fU) Add \"b\")");
    assert_eq!(body("$var(x) = $a == \"b\";"), "$var(x) Set ($a Eq \"b\")");
    assert_eq!(body("$var(rc) = rest_get(\"u\", $avp(b));"), "$var(rc) Set rest_get(\"u\",$avp(b))");
    assert_eq!(body("$var(rc) = route(x); $var(r) = await f();"), "$var(rc) Set route(\"x\"); $var(r) Set await f()");
    assert_eq!(body("$var(x) += 2; $du = NULL; $(avp(x)[0]) = -2147483648;"), {
        "$var(x) Add 2; $du Set NULL; $(avp(x)[0]) Set -2147483648"
    });
}

#[test]
fn control_flow() {
    assert_eq!(body("if (a()) b(); else if (c()) { d(); } else { }"), "if a() {b()} else {if c() {d()} else {}}");
    assert_eq!(body("if (a()) {\n\n} else { b(); };"), "if a() {} else {b()}");
    assert_eq!(body("while ($x < 3) { $x += 1; break; }"), "while ($x Lt 3) {$x Add 1; break}");
    assert_eq!(body("for ($var(i) in $(avp(l)[*])) xlog(\"x\");"), "for $var(i) in $(avp(l)[*]) {xlog(\"x\")}");
    assert_eq!(
        body("switch ($rc) { case 1: f(); break; case \"a\": case -2: g(); default: h(); }"),
        "switch $rc {1: f(); break | \"a\":  | -2: g() | default: h()}"
    );
    assert_eq!(body("return;"), "return ");
    assert_eq!(body("return -1;"), "return -1");
    assert_eq!(body("return(1, \"a\", $x);"), "return 1, \"a\", $x");
    assert_eq!(body("return ($var(x));"), "return $var(x)");
    assert_eq!(body("exit(); drop(); exit;"), "exit; drop; exit");
}

#[test]
fn routes_called() {
    assert_eq!(body("route(relay); route(1); route(\"log\");"), "route(\"relay\"); route(\"1\"); route(\"log\")");
    assert_eq!(body("route(\"x $rU\", \"a\", 2, $x, NULL);"), "route(\"x $rU\",\"a\",2,$x,NULL)");
    assert_eq!(body("route($var(name));"), "route($var(name))");
}

#[test]
fn asynchronous_statements() {
    assert_eq!(body("async(rest_get(\"u\", $b, , $c), got_it, 3);"), "async rest_get(\"u\",$b,,$c) -> got_it, 3");
    assert_eq!(body("async(sleep(2), 7);"), "async sleep(2) -> 7");
    assert_eq!(body("async(resume) { sleep(2); }"), "async sleep(2) -> resume");
    assert_eq!(
        body("async_all(got, 3) { sleep(2); ; exec(\"ls\", , $x); }"),
        "All sleep(2) & exec(\"ls\",,$x) -> got, 3"
    );
    assert_eq!(body("await_any { sleep(2); } await_all(0) { f(); };"), "Any sleep(2); All f()");
    assert_eq!(body("async_any(\"log\") { f(); }"), "Any f() -> log");
    assert_eq!(body("async(\"log\", 5) { exec(\"ls\"); };"), "async exec(\"ls\") -> log, 5");
    assert_eq!(body("launch(f()); launch(f(1), done); launch(f(), done, \"$ci\");"), {
        "launch f(); launch f(1) -> done; launch f() -> done, \"$ci\""
    });
    assert_eq!(body("await sleep(1);"), "await sleep(1)");
}

#[test]
fn route_heads() {
    let config = good(
        "route{} route[0] {} route[a] {} route[1] {} route[\"a b\"] {} branch_route[b] {} failure_route[1] {}\n\
         onreply_route {} onreply_route[x] {} local_route {} error_route {} startup_route {}\n\
         timer_route[t, 30] {} event_route[E_X] {} event_route[E_Y, sync] {}",
    );
    let heads: Vec<String> = config
        .items
        .iter()
        .map(|i| match i {
            Item::Route(r) => {
                let name = r.name.as_ref().map_or("-", |n| n.text.as_str());
                format!("{} {name}{}", r.kind, r.interval.map(|s| format!(" {s}")).unwrap_or_default())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        heads,
        [
            "route -",
            "route -",
            "route a",
            "route 1",
            "route a b",
            "branch_route b",
            "failure_route 1",
            "onreply_route -",
            "onreply_route x",
            "local_route -",
            "error_route -",
            "startup_route -",
            "timer_route t 30",
            "event_route E_X",
            "event_route E_Y",
        ]
    );
}

fn globals(text: &str) -> Vec<String> {
    let value = |v: &GlobalValue| match v {
        GlobalValue::Int(n, _) => n.to_string(),
        GlobalValue::Str(s) => self::text(s),
        GlobalValue::Ident(i) => i.text.clone(),
        GlobalValue::Socket(s) => format!("{}:{}:{:?}", s.proto, s.host, s.ports),
        GlobalValue::List(l) => l.iter().map(|i| i.text.as_str()).collect::<Vec<_>>().join("|"),
        GlobalValue::Raw(r) => format!("<{}>", r.text),
    };
    good(text)
        .items
        .iter()
        .map(|i| match i {
            Item::Global(g) => format!("{}={}", g.name.text, value(&g.value)),
            Item::LoadModule { file, .. } => format!("load {}", self::text(file)),
            Item::ModParam { module, name, value: v, .. } => {
                format!("{}.{}={}", self::text(module), self::text(name), value(v))
            }
            Item::Route(r) => r.kind.to_string(),
            Item::Custom { .. } => unreachable!("Kamailio's"),
        })
        .collect()
}

#[test]
fn core_parameters() {
    assert_eq!(
        globals(
            "log_level=3 # CUSTOMIZE ME\nstderror_enabled=no;\nsyslog_facility=LOG_LOCAL0\n\nudp_workers = 4\n\
             advertised_address=1.2.3.4 server_header=\"Server: x\" tos=IPTOS_LOWDELAY tos = 16 script_io=await"
        ),
        [
            "log_level=3",
            "stderror_enabled=0",
            "syslog_facility=LOG_LOCAL0",
            "udp_workers=4",
            "advertised_address=\"1.2.3.4\"",
            "server_header=\"Server: x\"",
            "tos=IPTOS_LOWDELAY",
            "tos=16",
            "script_io=await",
        ]
    );
    assert_eq!(
        globals("debug=3\nchildren=4\nlog_stderror=no log_facility=LOG_LOCAL0 log_name=\"x\""),
        ["log_level=3", "udp_workers=4", "stderror_enabled=0", "syslog_facility=LOG_LOCAL0", "syslog_name=\"x\"",]
    );
}

#[test]
fn sockets_and_names() {
    assert_eq!(
        globals(
            "listen=udp:127.0.0.1:5060\nlisten = tcp:eth0 udp:*:5070\nsocket=udp:[::1]:5060 as h.example.org:5062 tag x\n\
             alias=example.org sip.example.org:5060 \"a-b.example\"\nalias=tcp:x.example accept_subdomain"
        ),
        [
            "socket=udp:127.0.0.1:[5060]",
            "socket=tcp:eth0:[]",
            "socket=udp:*:[5070]",
            "socket=udp:::1:[5060]",
            "alias=example.org|sip.example.org:5060|a-b.example",
            "alias=tcp:x.example accept_subdomain",
        ]
    );
    let config = good("socket=udp:10.0.0.1:5060-5061 AS 1.2.3.4:5070 use_workers 2 tos 8 anycast\nlog_level=2");
    let Item::Global(Global { value: GlobalValue::Socket(s), .. }) = &config.items[0] else { panic!("no socket") };
    assert_eq!(s.ports, [5060, 5061]);
    assert_eq!(s.advertised, Some(("1.2.3.4".into(), Some(5070))));
    assert_eq!((s.workers, s.tos, s.options.as_slice()), (Some(2), Some(8), &["anycast".to_owned()][..]));
    assert_eq!(config.items.len(), 2);
}

#[test]
fn blocks_kept_as_text() {
    assert_eq!(
        globals(
            "dst_blacklist = gw:{( tcp , 1.2.3.4/255.255.255.0 , 5060 , \"\" ), !( any, 5.5.5.5, 0, \"x\" )}\nlog_level=1"
        ),
        [
            "dst_blacklist=<gw:{( tcp , 1.2.3.4/255.255.255.0 , 5060 , \"\" ), !( any, 5.5.5.5, 0, \"x\" )}>",
            "log_level=1",
        ]
    );
    let (config, brief) = parse(
        "auto_scaling_profile = P scale up to 6 on 70% for 4 cycles within 5\n scale down to 2 on 20% for 9 cycles\nlog_level=1",
    );
    assert_eq!(brief, "t:2:1: note[W0501]: `auto_scaling_profile` has no effect here\n");
    assert_eq!(config.items.len(), 2);
}

#[test]
fn modules() {
    assert_eq!(
        globals(
            "mpath=\"/usr/lib/\"\nloadmodule \"tm.so\" loadmodule 'rr.so';\nmodparam(\"tm\", \"fr_timeout\", 5)\n\
             modparam(\"mi_fifo\", \"fifo_mode\", 0666); modparam(\"a|b\", \"db_url\", \"mysql://\" \"x\")\n\
             modparam(\"tm\", \"x\", -1)"
        ),
        [
            "mpath=\"/usr/lib/\"",
            "load \"tm.so\"",
            "load \"rr.so\"",
            "\"tm\".\"fr_timeout\"=5",
            "\"mi_fifo\".\"fifo_mode\"=438",
            "\"a|b\".\"db_url\"=\"mysql://x\"",
            "\"tm\".\"x\"=-1",
        ]
    );
}

#[test]
fn many_errors_in_one_run() {
    let found = bad("t_relay()\n  f(;\n  if ($x = = 1) { g(; }\n  h());\n  ok();\n}\nroute[x] { i(");
    assert_eq!(found, ["1:10 E0102", "2:5 E0105", "3:12 E0101", "3:21 E0105", "4:6 E0102", "7:14 E0105"]);
}

#[test]
fn a_missing_brace_does_not_swallow_the_next_route() {
    let (config, brief) = parse("route {\n if (f()) {\n  g();\n}\nroute[b] {\n h();\n}\n");
    assert_eq!(brief, "t:6:1: error[E0103]: `}` is missing before `route`\n");
    assert_eq!(config.items.len(), 2);
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |open: &str, close: &str| format!("route {{ {}f();{} }}", open.repeat(5000), close.repeat(5000));
    let codes = |text: &str| parse(text).1;
    assert!(codes(&deep("if (f()) {", "}")).contains("E0106"));
    assert!(codes(&deep("if (f()) ", "")).contains("E0106"));
    assert!(codes(&format!("route {{ if ({}f()) g(); }}", "(".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ if ({}f()) g(); }}", "!".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ $x = {}1; }}", "~".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ $x = {}1; }}", "1+".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ if (f(){}) g(); }}", " && f()".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ {} g(); }}", "if (f()) g(); else ".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ {} }}", "if ({ while (!($x = (f() ".repeat(5000))).contains("E0106"));
    assert!(codes(&format!("route {{ {} }}", "switch ($x) { case 1: async(r) { ".repeat(5000))).contains("E0106"));
    assert!(codes(&"{".repeat(100_000)).len() < 20_000);
    // What people write is far below.
    assert_eq!(codes(&format!("route {{ {} g(); }}", "if (f()) g(); else ".repeat(400))), "");
    assert_eq!(codes(&format!("route {{ {} }}", "if (f() && g() || h()) { i(); }".repeat(2000))), "");
}

#[test]
fn errors_are_bounded() {
    let (_, brief) = parse(&format!("route {{ {} }}", "f(;".repeat(5000)));
    assert_eq!(brief.matches("error[").count(), 101);
    assert!(brief.contains("E0199"));
}
