//! The script functions' descriptions: every example compiles where it says it may stand, and
//! `docs/functions/` is what they generate. `REPRISE_BLESS=1` writes the pages anew.

use reprise::base::{Str, Time};
use reprise::cli::functions;
use reprise::modules::env::Env;
use reprise::modules::host::SipHost;
use reprise::script::ast::{Dialect, RouteKind};
use reprise::script::diagnostics::Diagnostics;
use reprise::script::lower::compile;
use reprise::script::parse::{parse_text, parse_text_as};
use reprise::script::registry::{FnSpec, ModuleSpec, RouteSet};
use reprise::script::render::render;
use reprise::script::source::SourceMap;
use reprise::script::vm::{Paused, Run};
use reprise::sip::Message;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

type Function = FnSpec<SipHost>;

/// Every function with its module and its example.
fn all() -> Vec<(&'static str, &'static Function, String)> {
    let of = |m: &'static ModuleSpec<SipHost>| m.functions.iter().map(|f| (m.name, f, functions::example(m, f)));
    functions::modules().into_iter().flat_map(of).collect()
}

/// The same in Kamailio's language.
fn kamailio_config(module: &str, example: &str, routes: RouteSet) -> String {
    let mut text = String::from("#!KAMAILIO\nlisten=udp:127.0.0.1:5060\n");
    let mut modules =
        BTreeSet::from(["tm", "tmx", "sl", "rr", "pv", "textops", "siputils", "xlog", "auth", "auth_db", module]);
    modules.remove("core");
    if module == "registrar" {
        modules.insert("usrloc");
    }
    for m in &modules {
        text.push_str(&format!("loadmodule \"{m}.so\"\n"));
    }
    if module == "sqlops" {
        text.push_str("modparam(\"sqlops\", \"sqlcon\", \"ca=>mysql://ser@127.0.0.1/ser\")\n");
    }
    let heads = [
        (RouteKind::Request, "request_route"),
        (RouteKind::OnReply, "reply_route"),
        (RouteKind::Failure, "failure_route[example]"),
        (RouteKind::Branch, "branch_route[example]"),
    ];
    let (kind, head) = heads.into_iter().find(|(k, _)| routes.contains(*k)).expect("a route that allows it");
    text.push_str(&format!("{head} {{\n    {example}\n}}\n"));
    if kind != RouteKind::Request {
        text.push_str("request_route { exit; }\n");
    }
    for route in ["relay", "voicemail", "later"] {
        text.push_str(&format!("route[{route}] {{ exit; }}\n"));
    }
    text.push_str("failure_route[missed] { exit; }\n");
    text
}

/// A configuration with the example in a block of the first kind that allows it.
fn config(module: &str, example: &str, routes: RouteSet) -> String {
    let mut text = String::from("socket=udp:127.0.0.1:5060\n");
    // Examples use functions of other modules too.
    let mut modules = BTreeSet::from(["tm", "sl", "rr", "signaling", "sipmsgops", "auth", "auth_db", module]);
    modules.remove("core");
    if module == "registrar" {
        modules.insert("usrloc");
    }
    for m in &modules {
        text.push_str(&format!("loadmodule \"{m}.so\"\n"));
    }
    if module == "aaa_radius" {
        for set in ["login = (User-Name=$au)", "rights = (Reply-Message=$avp(text))", "ticket = (User-Name=$fU)"] {
            text.push_str(&format!("modparam(\"aaa_radius\", \"sets\", \"{set}\")\n"));
        }
    }
    if module == "rest_client" {
        text.push_str("loadmodule \"tls_mgm.so\"\nmodparam(\"tls_mgm\", \"client_domain\", \"billing\")\n");
    }
    let head = [
        (RouteKind::Request, "route"),
        (RouteKind::OnReply, "onreply_route"),
        (RouteKind::Failure, "failure_route[example]"),
        (RouteKind::Branch, "branch_route[example]"),
        (RouteKind::Local, "local_route"),
        (RouteKind::Error, "error_route"),
        (RouteKind::Timer, "timer_route[example, 60]"),
        (RouteKind::Startup, "startup_route"),
        (RouteKind::Event, "event_route[E_EXAMPLE]"),
    ];
    let (kind, head) = head.into_iter().find(|(k, _)| routes.contains(*k)).expect("a route that allows it");
    text.push_str(&format!("{head} {{\n    {example}\n}}\n"));
    if kind != RouteKind::Request {
        text.push_str("route { exit; }\n");
    }
    for route in
        ["relay", "sequential", "pstn", "voicemail", "got_credit", "got_it", "logged", "after_sleep", "pick_gw"]
    {
        text.push_str(&format!("route[{route}] {{ exit; }}\n"));
    }
    text.push_str(
        "branch_route[per_branch] { exit; }\nfailure_route[missed] { exit; }\nonreply_route[nat] { exit; }\n",
    );
    text
}

#[test]
fn examples_compile() {
    let mut bad = Vec::new();
    for (module, f, example) in all() {
        let name = functions::name(f);
        let ours = f.opensips.is_some();
        let text = if ours { config(module, &example, f.routes) } else { kamailio_config(module, &example, f.routes) };
        let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
        let options = Some(if ours { Dialect::OpenSips } else { Dialect::Kamailio }).into();
        let (dialect, tree) = parse_text_as("example.cfg", &text, &options, &mut map, &mut diags);
        let program = compile::<SipHost>(dialect, &tree, &map, &mut diags);
        if program.is_none() || !diags.list().is_empty() {
            bad.push(format!("{module}: {name}: {example}\n{}", render(&map, &diags, false)));
        }
    }
    assert!(bad.is_empty(), "{} examples with findings:\n{}", bad.len(), bad.join("\n"));
}

const MESSAGE: &str = "INVITE sip:+4930123@b.com SIP/2.0\r\n\
Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
From: <sip:alice@a.com>;tag=1\r\n\
To: <sip:bob@b.com>\r\n\
Call-ID: x\r\n\
CSeq: 1 INVITE\r\n\
User-Agent: old\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 50\r\n\r\n\
v=0\r\nm=audio 4000 RTP/AVP 8 0\r\na=sendrecv\r\na=x:1\r\n";

/// Patterns, substitutions and unexpanded texts on their way through the compiler.
#[test]
fn the_machine_hands_over_what_was_written() {
    let text = r#"
        loadmodule "textops.so"
        loadmodule "avpops.so"
        loadmodule "sipmsgops.so"
        route {
            if (!search("^user-agent: (old|older)\r$")) exit;
            replace("^User-Agent: [^\r]*", "User-Agent: $fU");
            replace_body_all("^a=.*$", "a=$rm\r");
            codec_move_up("PCMU");
            subst_user("/^\+49(.*)$/0\1-$fd/");
            subst('/^To: (.*)@b/To: \1@$fd/');
            $avp(x) = "one";
            $avp(x) = "two";
            if (!avp_check("$avp(x)", "eq/$avp(x)")) exit;
            if (!is_avp_set("$(avp(x)[1])/s")) exit;
            avp_subst("$avp(x)/$avp(y)/g", "/(.*)/<\1>/");
            avp_delete("$avp(x)/g");
            avp_insert("$avp(y)", "$rm", "-1");
            $var(p) = "nothing|like|this";
            if (search("$var(p)")) exit;
            append_hf("X-Done: $(avp(y)[*])\r\n");
        }"#;
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let tree = parse_text("run.cfg", text, &mut map, &mut diags);
    let program = compile::<SipHost>(Dialect::OpenSips, &tree, &map, &mut diags);
    let program = Rc::new(program.unwrap_or_else(|| panic!("{}", render(&map, &diags, false))));
    let route = program.find_route(RouteKind::Request, None).expect("the main route");
    let msg = Message::parse(Str::from(MESSAGE)).expect("a message");
    let host = SipHost::new(Rc::new(Env::unattached()), msg, ([127, 0, 0, 1], 5060).into(), 0);
    let Paused::Finished(done) = Run::new(program, route, host).go(&mut 10_000, Time::ZERO) else {
        panic!("nothing here waits")
    };
    let sent = String::from_utf8(done.host.edits.apply(&done.host.msg)).expect("text");
    assert_eq!(done.host.current_ruri(), b"sip:030123-a.com@b.com");
    let want = MESSAGE
        .replace("User-Agent: old", "User-Agent: alice")
        .replace("bob@b", "bob@a.com")
        .replace("8 0", "0 8")
        .replace("a=sendrecv", "a=INVITE")
        .replace("a=x:1", "a=INVITE")
        .replace("Length: 50", "Length: 51")
        .replace("Content-Length: 51\r\n", "Content-Length: 51\r\nX-Done: <two>\r\n");
    // The joined AVP has all three values; what joins them is the machine's business.
    let (head, rest) = sent.split_once("X-Done: ").expect("the script ran to its end");
    let (values, rest) = rest.split_once("\r\n").expect("a line");
    assert_eq!(format!("{head}X-Done: <two>\r\n{rest}"), want);
    assert!(values.contains("<two>") && values.contains("<one>") && values.contains("INVITE"), "{values}");
}

#[test]
fn descriptions_are_complete() {
    let mut bad = Vec::new();
    for (module, f, example) in all() {
        let name = functions::name(f);
        let mut complain = |what: &str| bad.push(format!("{module}: {name}: {what}"));
        if !example.contains(&format!("{name}(")) {
            complain("the example does not use it");
        }
        if f.doc.is_empty() || !f.doc.ends_with('.') {
            complain("the description is no sentence");
        }
        if f.returns.is_empty() {
            complain("no return codes");
        }
        if f.waits && f.finish.is_none() {
            complain("waits and cannot go on");
        }
        if f.routes == RouteSet::NONE {
            complain("allowed nowhere");
        }
        if f.params.windows(2).any(|p| !p[0].required && p[1].required) && f.opensips.is_none() {
            complain("a parameter that must be given stands behind one that need not");
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn names_are_unique_within_a_module() {
    for module in functions::modules() {
        let mut seen = BTreeSet::new();
        let names =
            module.functions.iter().flat_map(|f| [(Dialect::OpenSips, f.opensips), (Dialect::Kamailio, f.kamailio)]);
        for (dialect, name) in names.filter_map(|(d, n)| Some((format!("{d:?}"), n?))) {
            assert!(seen.insert((dialect, name)), "{}: {name} twice", module.name);
        }
    }
}

#[test]
fn pages_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions");
    let pages = functions::markdown();
    if std::env::var_os("REPRISE_BLESS").is_some() {
        std::fs::create_dir_all(&dir).expect("docs/functions");
        for (file, text) in &pages {
            std::fs::write(dir.join(file), text).expect("writable page");
        }
    }
    let mut bad: Vec<String> = Vec::new();
    for (file, text) in &pages {
        if std::fs::read_to_string(dir.join(file)).ok().as_ref() != Some(text) {
            bad.push(format!("{file} differs"));
        }
    }
    for entry in std::fs::read_dir(&dir).expect("docs/functions").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !pages.iter().any(|(file, _)| *file == name) {
            bad.push(format!("{name} belongs to no module"));
        }
    }
    assert!(bad.is_empty(), "REPRISE_BLESS=1 writes the pages anew:\n{}", bad.join("\n"));
}

#[test]
fn transaction_functions_of_kamailio_stand_in_a_scenario() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/kamailio");
    let files = std::fs::read_dir(&dir).expect("scenarios").flatten();
    let text: String = files.filter_map(|e| std::fs::read_to_string(e.path()).ok()).collect();
    let only = all().into_iter().filter(|(m, f, _)| ["tm", "tmx"].contains(m) && f.opensips.is_none());
    let missing: Vec<&str> =
        only.filter_map(|(_, f, _)| f.kamailio).filter(|name| !text.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "no scenario calls {missing:?}");
}
