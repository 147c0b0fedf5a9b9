//! The management commands that operators' tools use most, and parameters of the configuration's own that are changed while
//! the server runs: the same on both servers.

use std::time::Instant;

use serde_json::{Value, json};

use crate::SECOND;
use crate::on_both;
use crate::phone::{Over, Phone};
use crate::server::{Kind, Start, Stock};

on_both! {
    commands_of_the_core
    parameters_change_in_all_workers
    the_log_level_changes_in_all_workers
    what_is_wrong_is_refused
}

const CONFIG: &str = r##"#!KAMAILIO
#!define WITH_SOMETHING 5
debug=1
log_stderror=yes
children=2
auto_aliases=no
own.text = "first" desc "a text"
own.number = 7 desc "a number"
alias="sip.example.test"
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "ctl.so"
loadmodule "cfg_rpc.so"
modparam("jsonrpcs", "pretty_format", 1)

request_route {
    xlog("L_INFO", "an information\n");
    xlog("L_NOTICE", "a notice\n");
    append_to_reply("X-Values: $sel(cfg_get.own.text) $sel(cfg_get.own.number)\r\n");
    sl_send_reply("200", "OK");
    exit;
}
"##;

fn start(kind: Kind) -> Stock {
    Start { config: Some(CONFIG.to_owned()), ..Start::default() }.on(kind)
}

fn ask(server: &Stock, method: &str, params: Value) -> Value {
    server.rpc(method, params.clone()).unwrap_or_else(|| panic!("{method}({params}) is refused\n{}", server.log()))
}

fn commands_of_the_core(kind: Kind) {
    let server = start(kind);
    let ask = |method: &str, params: Value| ask(&server, method, params);
    let version = ask("core.version", Value::Null).to_string();
    assert!(version.contains(if kind == Kind::Kamailio { "kamailio" } else { "reprise" }), "{version}");
    assert!(ask("core.uptime", Value::Null)["uptime"].is_u64());
    assert_eq!(ask("core.echo", json!(["a", "s:5", "b"])), json!(["a", "s:5", "b"]));
    assert_eq!(ask("core.prints", json!(["text"])), json!(["text"]));
    assert!(ask("core.psx", Value::Null).as_array().is_some_and(|l| l.len() > 1 && l[0]["PID"].is_u64()));
    assert!(ask("core.ps", Value::Null).as_array().is_some_and(|l| l.len() > 2 && l[0].is_u64() && l[1].is_string()));
    let modules = ask("core.modules", Value::Null);
    let loaded = |m: &str| modules.as_array().is_some_and(|all| all.contains(&json!(m)));
    assert!(loaded("kex") && loaded("cfg_rpc") && !loaded("dispatcher"), "{modules}");
    let defines = ask("core.ppdefines", Value::Null).to_string();
    assert!(defines.contains("WITH_SOMETHING"), "{defines}");
    let sockets = ask("core.sockets_list", Value::Null).to_string();
    assert!(sockets.contains("\"udp\"") && sockets.contains("\"tcp\""), "{sockets}");
    assert!(sockets.contains(&format!("\"{}\"", server.port)), "{sockets}");
    let aliases = ask("core.aliases_list", Value::Null).to_string();
    assert!(aliases.contains("sip.example.test"), "{aliases}");
    assert!(ask("core.tcp_info", Value::Null)["max_connections"].is_u64());
    let memory = ask("core.shmmem", Value::Null);
    for figure in ["total", "free", "used", "real_used", "max_used", "fragments"] {
        assert!(memory[figure].is_u64(), "{figure}: {memory}");
    }
    let tm = ask("tm.stats", Value::Null);
    for figure in
        ["current", "waiting", "total", "total_local", "rpl_received", "rpl_generated", "rpl_sent", "2xx", "6xx"]
    {
        assert!(tm[figure].is_u64(), "{figure}: {tm}");
    }
    let methods = ask("system.listMethods", Value::Null);
    assert!(methods.as_array().is_some_and(|m| m.contains(&json!("core.ps"))), "{methods}");
    let directory = ask("core.pwd", Value::Null).to_string();
    assert!(directory.contains('/'), "{directory}");
    assert!(ask("core.arg", Value::Null).to_string().contains("kamailio.cfg"));
    let old = ask("cfg.get", json!(["core", "debug"]));
    assert_eq!(old, json!(1));
    ask("cfg.seti", json!(["core", "debug", 2]));
    assert_eq!(ask("cfg.get", json!(["core", "debug"])), json!(2));
}

/// What many requests are told, each worker being asked some of them.
fn values(server: &Stock) -> Vec<String> {
    let mut all: Vec<String> = (0..20)
        .map(|_| {
            let phone = Phone::new(server, "alice", Over::Udp);
            let answer = phone.ask(&phone.request("OPTIONS", &server.uri("x")));
            answer.header("X-Values").unwrap_or_default().to_owned()
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

fn parameters_change_in_all_workers(kind: Kind) {
    let server = start(kind);
    assert_eq!(values(&server), ["first 7"]);
    assert_eq!(ask(&server, "cfg.get", json!(["own", "text"])), json!("first"));
    ask(&server, "cfg.sets", json!(["own", "text", "second"]));
    ask(&server, "cfg.seti", json!(["own", "number", 8]));
    assert_eq!(values(&server), ["second 8"]);
    ask(&server, "cfg.set_now_string", json!(["own", "text", "third"]));
    ask(&server, "cfg.set_now_int", json!(["own", "number", -9]));
    assert_eq!(values(&server), ["third -9"]);
    assert_eq!(ask(&server, "cfg.get", json!(["own", "number"])), json!(-9));
    let list = ask(&server, "cfg.list", Value::Null).to_string();
    assert!(list.contains("own: text") && list.contains("own: number"), "{list}");
}

/// How many informations and notices twenty requests more leave in the log; it is waited for the notices.
fn told(server: &Stock) -> (usize, usize) {
    let count = |what: &str| server.log().matches(what).count();
    let before = (count("an information"), count("a notice"));
    values(server);
    let give_up = Instant::now() + SECOND * 20;
    while count("a notice") < before.1 + 20 && Instant::now() < give_up {
        std::thread::sleep(SECOND / 50);
    }
    (count("an information") - before.0, count("a notice") - before.1)
}

fn the_log_level_changes_in_all_workers(kind: Kind) {
    let server = start(kind);
    // `debug` is 1: notices are written, informations are not.
    assert_eq!(told(&server), (0, 20));
    ask(&server, "cfg.seti", json!(["core", "debug", 2]));
    assert_eq!(told(&server), (20, 20));
    let workers = server.workers();
    if let Some(worker) = workers.first() {
        // Who takes the place of a worker has the level of the others.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*worker), nix::sys::signal::Signal::SIGKILL).unwrap();
        let give_up = Instant::now() + SECOND * 20;
        let replaced = |now: Vec<i32>| now.len() == workers.len() && !now.contains(worker);
        while !replaced(server.workers()) {
            assert!(Instant::now() < give_up, "nobody takes its place\n{}", server.log());
            std::thread::sleep(SECOND / 50);
        }
        assert_eq!(told(&server), (20, 20));
    }
    ask(&server, "cfg.seti", json!(["core", "debug", 1]));
    assert_eq!(told(&server), (0, 20));
}

fn what_is_wrong_is_refused(kind: Kind) {
    let server = start(kind);
    for (method, params) in [
        ("core.nothing", Value::Null),
        ("cfg.get", json!(["own", "none"])),
        ("cfg.sets", json!(["own", "none", "x"])),
        ("cfg.seti", json!(["none", "number", 1])),
    ] {
        assert_eq!(server.rpc(method, params.clone()), None, "{method} {params}");
    }
    if kind == Kind::Reprise {
        // Kamailio takes what is missing, or no number, for nothing.
        assert_eq!(server.rpc("cfg.seti", json!(["own", "number", "x"])), None);
        assert_eq!(server.rpc("cfg.sets", json!(["own"])), None);
    }
    assert_eq!(values(&server), ["first 7"]);
}
