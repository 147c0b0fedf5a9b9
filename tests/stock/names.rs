//! Whether a configuration for the installed Kamailio finds everything here that its modules offer: each function with each
//! number of arguments, each parameter, each variable.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::exports;
use crate::support::process;
use crate::support::reprise::BINARY;

/// The modules that are there as a whole.
const MODULES: [&str; 40] = [
    "acc",
    "alias_db",
    "async",
    "auth",
    "auth_db",
    "cfg_rpc",
    "cfgutils",
    "corex",
    "counters",
    "ctl",
    "dispatcher",
    "domain",
    "exec",
    "htable",
    "http_client",
    "ipops",
    "jsonrpcs",
    "kex",
    "maxfwd",
    "mqueue",
    "nathelper",
    "path",
    "permissions",
    "pike",
    "pv",
    "registrar",
    "rr",
    "rtimer",
    "sanity",
    "siputils",
    "sl",
    "speeddial",
    "sqlops",
    "tcpops",
    "textops",
    "textopsx",
    "tm",
    "tmx",
    "uac",
    "usrloc",
];

/// What is for other modules, not for scripts; and what `-c` says something else about.
const NOT_FOR_SCRIPTS: [&str; 4] = ["bind_", "load_", "pv_register_api", "ul_bind_usrloc"];
/// Only where requests come over HTTP.
const NEEDS_HTTP: &str = "jsonrpc_dispatch";

/// The parts of a Via.
const VIA: &[&str] = &["host", "port", "proto", "protoid", "branch", "rport", "received", "i", "params", "oc"];
/// What stands in the parentheses of variables of which not every name will do.
const INNER: [(&str, &[&str]); 28] = [
    ("async", &["data", "gname"]),
    ("atkv", &["type", "key", "val"]),
    ("branch", &["uri", "dst_uri", "path", "q", "send_socket", "count", "flags", "ruid", "location_ua"]),
    ("sbranch", &["uri", "dst_uri", "path", "q"]),
    ("ccp", &["group.name"]),
    ("cfg", &["line", "name", "route"]),
    ("dsv", &["code"]),
    ("HN", &["n", "f", "d", "i"]),
    ("jsonrpl", &["code", "text", "body"]),
    ("ksr", &["ver", "verval"]),
    ("ltt", &["s", "t", "x"]),
    ("msg", &["len", "buf", "body", "body_len", "hdrs", "hdrs_len", "hdrc", "fline", "fpart", "lpart"]),
    ("pcv", &["all", "value", "genaddr", "orig", "term"]),
    ("rcv", &["buf", "len", "proto", "srcip", "srcport", "rcvip", "rcvport"]),
    ("rdir", &["id", "name"]),
    ("rpl", &["duri"]),
    ("sel", &["ruri"]),
    ("snd", &["ip", "port", "proto", "buf", "len"]),
    ("sndfrom", &["ip", "port", "proto"]),
    ("sndto", &["ip", "port", "proto"]),
    ("T", &["id_index", "id_label", "reply_code", "reply_type", "branch_index", "ruri"]),
    ("T_branch", &["flags", "uri"]),
    ("TV", &["s", "u", "un", "sn", "Sn"]),
    ("tcp", &["c_si", "c_sp"]),
    ("via0", VIA),
    ("via1", VIA),
    ("viaZ", VIA),
    ("xavp", &["a"]),
];

/// Reports everything of a module that is not known here.
fn unknown(module: &str) -> Vec<String> {
    let exports = exports::read(&exports::folder().join(format!("{module}.so")));
    let mut text = String::from("#!KAMAILIO\nasync_workers=1\nloadmodule \"tm.so\"\nloadmodule \"sl.so\"\n");
    if !["tm", "sl"].contains(&module) {
        let _ = writeln!(text, "loadmodule \"{module}.so\"");
    }
    for name in &exports.parameters {
        let _ = writeln!(text, "modparam(\"{module}\", \"{name}\", \"x\")");
    }
    text.push_str("request_route {\n");
    for (name, arguments) in &exports.functions {
        if !NOT_FOR_SCRIPTS.iter().any(|n| name.starts_with(n)) && name != NEEDS_HTTP {
            let arguments = vec!["\"1\""; usize::try_from(*arguments).unwrap_or(0)].join(", ");
            let _ = writeln!(text, "    {name}({arguments});");
        }
    }
    for name in &exports.variables {
        let inner = INNER.iter().find(|(n, _)| n == name).map_or(&["1"][..], |(_, inner)| inner);
        for inner in inner {
            let _ = writeln!(text, "    $var(x) = ${name}({inner});");
        }
    }
    text.push_str("}\n");
    let dir = process::directory("names");
    let file = dir.path().join("kamailio.cfg");
    fs::write(&file, &text).unwrap();
    let out = Command::new(BINARY).arg("-c").arg("-f").arg(&file).output().expect("reprise -c");
    let findings = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(!findings.contains("[E0199]"), "too many findings about {module}:\n{findings}");
    let wrong =
        ["unknown function", "unknown variable", "unknown parameter", "unknown module", "argument, ", "arguments, "];
    let about = |line: &&str| line.starts_with("error") && wrong.iter().any(|w| line.contains(w));
    findings.lines().filter(about).map(|line| format!("{module}: {line}")).collect()
}

#[test]
fn everything_that_the_modules_offer_is_known() {
    let all: Vec<String> = MODULES.iter().flat_map(|module| unknown(module)).collect();
    assert!(all.is_empty(), "{} names:\n{}", all.len(), all.join("\n"));
}

#[test]
fn the_tables_are_read_rightly() {
    let exports = exports::read(&exports::folder().join("tmx.so"));
    let has = |name: &str, n: i32| exports.functions.iter().any(|f| (f.0.as_str(), f.1) == (name, n));
    assert!(has("t_suspend", 0) && has("t_continue", 3), "{exports:?}");
    assert!(exports.variables.iter().any(|v| v == "T_inv"), "{exports:?}");
    let exports = exports::read(&exports::folder().join("async.so"));
    assert_eq!(exports.parameters, ["workers", "ms_timer", "return"]);
    assert!(exports.functions.iter().any(|f| f.0 == "async_task_route"));
}
