use crate::script::ast::{Dialect, Expr, ExprKind, GlobalValue, Item, RouteKind, Stmt, StmtKind};
use crate::script::diagnostics::Diagnostics;
use crate::script::parse::parse_text_as;
use crate::script::source::SourceMap;

fn parse(text: &str) -> (Vec<Item>, String) {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let options = Some(Dialect::Kamailio).into();
    let (_, config) = parse_text_as("a", text, &options, &mut map, &mut diags);
    (config.items, diags.brief(&map))
}

fn items(text: &str) -> Vec<Item> {
    let (items, findings) = parse(text);
    assert_eq!(findings, "", "{text}");
    items
}

fn body(text: &str) -> Vec<Stmt> {
    let text = format!("request_route {{ {text} }}");
    match items(&text).pop() {
        Some(Item::Route(route)) => route.body,
        other => panic!("{other:?}"),
    }
}

/// An expression with parentheses around everything that has an operator.
fn show(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Int(n) => n.to_string(),
        ExprKind::Str(s) => format!("{:?}", String::from_utf8_lossy(&s.text)),
        ExprKind::Var(v) => v.text.clone(),
        ExprKind::Legacy(w) | ExprKind::Ident(w) | ExprKind::Net(w) => w.clone(),
        ExprKind::Myself => "myself".into(),
        ExprKind::Group(inner) => show(inner),
        ExprKind::Compare { op, left, right } => format!("({} {op:?} {})", show(left), show(right)),
        ExprKind::Binary { op, left, right } => format!("({} {op:?} {})", show(left), show(right)),
        ExprKind::Unary { op, operand } => format!("({op:?} {})", show(operand)),
        ExprKind::And(l, r) => format!("({} && {})", show(l), show(r)),
        ExprKind::Or(l, r) => format!("({} || {})", show(l), show(r)),
        ExprKind::Not(inner) => format!("(!{})", show(inner)),
        ExprKind::Test(inner) => format!("bool {}", show(inner)),
        ExprKind::Call(call) => format!("{}()", call.name.text),
        ExprKind::Route(call) => format!("route({})", show(&call.name)),
        ExprKind::Assign(a) => format!("({} = {})", a.target.text, show(&a.value)),
        ExprKind::Choice { cond, yes, no } => format!("({} ? {} : {})", show(cond), show(yes), show(no)),
        other => format!("{other:?}"),
    }
}

fn expr(text: &str) -> String {
    match body(&format!("$var(x) = {text};")).pop().map(|s| s.kind) {
        Some(StmtKind::Assign(a)) => show(&a.value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_bind_as_in_the_peer() {
    for (text, shown) in [
        ("1 + 2 * 3", "(1 Add (2 Mul 3))"),
        ("1 << 4 | 3", "((1 Shl 4) BitOr 3)"),
        ("-7 mod 3", "(-7 Mod 3)"),
        ("$a == 1 && $b || $c", "((($a Eq 1) && $b) || $c)"),
        ("$a | 1 == 1", "($a BitOr (1 Eq 1))"),
        ("1 < 2 == 1", "((1 Lt 2) Eq 1)"),
        ("!$a == 2", "((!$a) Eq 2)"),
        ("not defined $a and 1", "((!(Defined $a)) && 1)"),
        ("(str)12 + 5", "((ToStr 12) Add 5)"),
        ("(int)$a + 5", "((ToInt $a) Add 5)"),
        ("$a eq \"x\"", "((ToStr $a) Eq (ToStr \"x\"))"),
        ("$a ine 5", "((ToInt $a) Ne (ToInt 5))"),
        ("$a == $null", "(!(Defined $a))"),
        ("$a != $null", "(Defined $a)"),
        ("~$a & 3", "((BitNot $a) BitAnd 3)"),
        ("strlen($a) + strempty($b)", "((StrLen $a) Add (StrEmpty $b))"),
        ("selval($a > 1, \"x\", $b)", "(($a Gt 1) ? \"x\" : $b)"),
        ("f() + 1", "(bool f() Add 1)"),
        ("f()", "f()"),
        ("route(R) == 1", "(bool route(\"R\") Eq 1)"),
        ("($a = $b) > 3", "(($a = $b) Gt 3)"),
        ("@ruri.user", "$sel(ruri.user)"),
        ("@hf[\"X-A\"]", "$sel(hf[\"X-A\"])"),
        ("\"a\" \"b\"\n \"c\"", "\"abc\""),
        ("$avp(l)[1]", "$avp(l)[1]"),
        ("$?", "$?"),
        ("3000000000", "3000000000"),
        ("101b", "5"),
        ("yes", "1"),
    ] {
        assert_eq!(expr(text), shown, "{text}");
    }
}

#[test]
fn core_operands() {
    let cond = |text: &str| match body(&format!("if ({text}) exit;")).pop().map(|s| s.kind) {
        Some(StmtKind::If { cond, .. }) => show(&cond),
        other => panic!("{other:?}"),
    };
    assert_eq!(cond("method == INVITE"), "(method Eq INVITE)");
    assert_eq!(cond("uri == myself && src_ip != 10.0.0.0/8"), "((uri Eq myself) && (src_ip Ne 10.0.0.0/8))");
    assert_eq!(cond("proto == UDP || af == INET6"), "((proto Eq udp) || (af Eq 10))");
    assert_eq!(cond("msg:len > 1400"), "(msg:len Gt 1400)");
    assert_eq!(cond("status =~ \"[12]..\""), "(status Match \"[12]..\")");
}

#[test]
fn statements() {
    let kinds = body(
        "force_rport; drop; exit(); return -1; break; { xlog(\"x\"); } ; route(A); route($var(x));
         if $var(x) { } else if (f()) exit; else { }
         while ($var(x) < 3) $var(x) = $var(x) + 1;
         switch ($rc) { case -1: case 2: f(); break; default: g(); case 3: ; }
         switch ($rm) { case \"INVITE\": f(); case /\"^A\": g(); }",
    );
    assert_eq!(kinds.len(), 12);
    let routes = items(
        "route{;} route[1]{;} route[\"a-b\"]{;} reply_route{;} onreply_route[R]{;} failure_route[F]{;} branch_route[B]{;}
         onsend_route{;} event_route[tm:local-request]{;} event_route[xhttp:request]{;} event_route[tm:branch-failure:f-1]{;}
         event_route[core:worker-one-init]{;}",
    );
    let named: Vec<(RouteKind, String)> = routes
        .iter()
        .filter_map(|i| if let Item::Route(r) = i { Some(r) } else { None })
        .map(|r| (r.kind, r.name.as_ref().map_or(String::new(), |n| n.text.clone())))
        .collect();
    use RouteKind::{Branch, Event, Failure, Local, OnReply, OnSend, Request, Startup};
    let wanted = [
        (Request, ""),
        (Request, "1"),
        (Request, "a-b"),
        (OnReply, ""),
        (OnReply, "R"),
        (Failure, "F"),
        (Branch, "B"),
        (OnSend, ""),
        (Local, ""),
        (Event, "xhttp:request"),
        (Event, "tm:branch-failure:f-1"),
        (Startup, ""),
    ];
    assert_eq!(named, wanted.map(|(k, n)| (k, n.to_owned())));
}

/// Core parameters under the names that the server reads.
#[test]
fn globals() {
    let list = items(
        "debug=3 log_stderror = yes\nchildren=4; listen=udp:127.0.0.1:5060 advertise 1.2.3.4:5080 name \"s1\"
         listen=127.0.0.1:5070\nalias=\"example.org\" alias=udp:x.org:5060\ntcp_connect_timeout=10
         socket = { bind = tcp:127.0.0.1:5061; name = \"t\"; workers = 2; advertise = 5.6.7.8 }
         pstn.gw_ip = \"1.2.3.4\" desc \"PSTN\"\npstn.port = 5060\npstn[two].gw_ip = \"x\"
         loadpath \"/a:/b\"\nmpath=\"/c\"\nloadmodule(\"tm.so\")\nloadmodulex \"sl.so\"
         modparam(\"a|b\", \"c\", \"d\" \"e\")\nmodparamx(\"a\", \"c\", $def(X))\nflags NAT:5, FOO
         route { setflag(NAT); if (isflagset(FOO)) exit; }",
    );
    let shown = |i: &Item| match i {
        Item::Global(g) => match &g.value {
            GlobalValue::Int(n, _) => format!("{}={n}", g.name.text),
            GlobalValue::Socket(s) => {
                format!("{}={}:{}:{:?} {:?} {:?}", g.name.text, s.proto, s.host, s.ports, s.advertised, s.tag)
            }
            GlobalValue::List(l) => {
                format!("{}={}", g.name.text, l.iter().map(|i| i.text.clone()).collect::<Vec<_>>().join(","))
            }
            GlobalValue::Str(s) => format!("{}={}", g.name.text, String::from_utf8_lossy(&s.text)),
            other => format!("{other:?}"),
        },
        Item::Custom { name, .. } => format!("custom {}", name.text),
        Item::LoadModule { file, .. } => format!("load {}", String::from_utf8_lossy(&file.text)),
        Item::ModParam { name, value: GlobalValue::Str(s), .. } => {
            format!("param {} {}", String::from_utf8_lossy(&name.text), String::from_utf8_lossy(&s.text))
        }
        Item::Route(_) => "route".into(),
        other => format!("{other:?}"),
    };
    let shown: Vec<String> = list.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "log_level=4",
            "stderror_enabled=1",
            "udp_workers=4",
            "socket=udp:127.0.0.1:[5060] Some((\"1.2.3.4\", Some(5080))) Some(\"s1\")",
            "socket=udp:127.0.0.1:[5070] None None",
            "socket=tcp:127.0.0.1:[5070] None None",
            "alias=example.org",
            "alias=udp:x.org:5060",
            "tcp_connect_timeout=10000",
            "socket=tcp:127.0.0.1:[5061] Some((\"5.6.7.8\", None)) Some(\"t\")",
            "custom pstn.gw_ip",
            "custom pstn.port",
            "custom pstn[two].gw_ip",
            "mpath=/a:/b",
            "mpath=/c",
            "load tm.so",
            "load sl.so",
            "param c de",
            "param c $def(X)",
            "route",
        ]
    );
}

#[test]
fn the_port_is_for_sockets_without_one() {
    let list = items("listen=udp:127.0.0.1\nport=5070\nlisten=udp:127.0.0.2:5080\n");
    let ports: Vec<_> = list
        .iter()
        .filter_map(|i| match i {
            Item::Global(g) => match &g.value {
                GlobalValue::Socket(s) => Some(s.ports.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(ports, [vec![5070], vec![5080]]);
}

/// A define may hold several words, also of a socket.
#[test]
fn defines_in_the_grammar() {
    let list = items(
        "#!define ADDR udp:127.0.0.1:5060\n#!define N -5\n#!define BODY { exit; }\nlisten=ADDR\nroute { $var(x) = N; }\nroute[A] BODY",
    );
    assert!(matches!(&list[0], Item::Global(g) if matches!(&g.value, GlobalValue::Socket(s) if s.ports == [5060])));
    assert!(matches!(&list[2], Item::Route(r) if r.body.len() == 1));
}

#[test]
fn mistakes_are_named_where_the_define_is_used() {
    let (_, findings) = parse("#!define BAD )\nrequest_route {\n    $var(x) = 1 + BAD;\n    t_relay(;\n}\n");
    assert_eq!(
        findings,
        "a:3:19: error[E0101]: expected a value, found `)`\na:4:13: error[E0101]: expected a value, found `;`\n"
            .replace(
                "a:4:13: error[E0101]: expected a value, found `;`",
                "a:4:13: error[E0105]: `)` is missing before `;`"
            )
    );
    let brief = |text: &str| parse(&format!("route {{ {text} }}")).1;
    for (text, wanted) in [
        ("if ($x !~ \"a\") exit;", "`!~` is no operator of this language"),
        ("$x = $y . \"a\";", "`.` is no operator of this language"),
        ("$x = 5 % 2;", "`%` is no operator of this language"),
        ("$x += 1;", "`+=` is no operator of this language"),
        ("$x = 10 + \"5\";", "a text where a number must stand"),
        ("$x = \"abc\" - 1;", "a text where a number must stand"),
        ("if (\"abc\" < 5) exit;", "a number is compared with a text"),
        ("if (10 == \"10a\") exit;", "a number is compared with a text"),
        ("switch ($x) { case 1: ; case \"a\": ; }", "numbers and texts as labels of one switch"),
        ("f(g());", "a call as an argument"),
        ("f(1,2,3,4,5,6,7);", "`f` has 7 arguments"),
        ("if (mehtod == INVITE) exit;", "the text `mehtod` is not in quotes"),
        ("setflag(NAT);", "the text `NAT` is not in quotes"),
        ("t_relay;", "`t_relay` without parentheses"),
        ("debug = 3;", "core parameter `debug` set in a route"),
    ] {
        assert!(brief(text).contains(wanted), "{text}: {}", brief(text));
    }
}
