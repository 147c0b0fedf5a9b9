//! Configurations that several topics share, and figures of a running server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::reprise::Reprise;
use crate::support::{eventually, free_port};

pub const SECOND: Duration = Duration::from_secs(1);

/// The modules that the configurations below use.
pub const MODULES: &str = r#"
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "signaling.so"
loadmodule "sipmsgops.so"
loadmodule "textops.so"
loadmodule "cfgutils.so"
loadmodule "sqlops.so"
loadmodule "exec.so"
loadmodule "rest_client.so"
loadmodule "db_mysql.so"
loadmodule "db_sqlite.so"
"#;

/// A server's UDP address.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A configuration that listens on a port of its own: core parameters, the modules, then `rest`. A crowded
/// machine is no reason to refuse calls here.
pub fn listening(port: u16, globals: &str, rest: &str) -> String {
    let overload = if globals.contains("overload_age") { "" } else { "overload_age=0 " };
    format!("{overload}log_level=3\nsocket=udp:127.0.0.1:{port}\n{globals}\n{MODULES}\n{rest}\n")
}

/// A proxy: what belongs to a dialog follows its Route set; OPTIONS to the server itself are
/// answered; for everything else `relay` (statements) decides, Record-Route being added before.
pub fn proxy(port: u16, globals: &str, relay: &str, routes: &str) -> String {
    let main = format!(
        r#"
route {{
    if (!mf_process_maxfwd_header(10)) {{
        sl_send_reply(483, "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        if (is_method("ACK") && t_check_trans()) {{
            t_relay();
            exit;
        }}
        if (!loose_route()) {{
            if (!is_method("ACK"))
                sl_send_reply(404, "Not here");
            exit;
        }}
        route(out);
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans())
            t_relay();
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS")) {{
        sl_send_reply(200, "OK");
        exit;
    }}
    record_route();
{relay}
}}
route[out] {{
    if (!t_relay())
        sl_reply_error();
    exit;
}}
"#
    );
    listening(port, globals, &format!("{main}{routes}"))
}

/// A proxy that sends every call to one address.
pub fn proxy_to(port: u16, to: SocketAddr) -> String {
    proxy(port, "", &format!("    $du = \"sip:{to}\";\n    route(out);"), "")
}

/// A server on a port of its own.
pub fn serve(config: impl Fn(u16) -> String, args: &[&str]) -> (Reprise, u16) {
    let port = free_port();
    (Reprise::start(&config(port), args), port)
}

/// One statistic, by `group:name`.
pub fn stat(server: &Reprise, name: &str) -> u64 {
    server.ctl("stats", json!([name]))[name].as_u64().unwrap_or_else(|| panic!("no statistic {name}"))
}

/// What the workers hold: the sum of one figure of `transactions` over all of them.
pub fn held(server: &Reprise, what: &str) -> u64 {
    let all = server.ctl("transactions", Value::Null);
    let workers = all.as_object().expect("one entry per worker");
    workers.values().map(|w| w[what].as_u64().unwrap_or_else(|| panic!("no figure {what}: {w}"))).sum()
}

/// Everything a server may hold on to, taken when nothing is in flight.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Footprint {
    /// Open file descriptors of each worker, in the order of their process ids.
    pub fds: Vec<usize>,
    /// All processes of the server.
    pub processes: usize,
    /// Runs that wait.
    pub parked: u64,
    /// Operations in flight.
    pub operations: u64,
    /// Relays in preparation and names being resolved.
    pub jobs: u64,
    /// Transactions.
    pub transactions: u64,
}

impl Footprint {
    /// As it is now.
    pub fn of(server: &Reprise) -> Footprint {
        Footprint {
            fds: server.worker_pids().into_iter().map(|p| server.fd_count(p)).collect(),
            processes: server.tree().len(),
            parked: held(server, "parked"),
            operations: held(server, "operations"),
            jobs: held(server, "jobs") + held(server, "lookups"),
            transactions: held(server, "count"),
        }
    }

    /// Waits until the server is back at this footprint.
    pub fn wait_back(&self, server: &Reprise, timeout: Duration) {
        let mut last = Footprint::of(server);
        let end = std::time::Instant::now() + timeout;
        while last != *self {
            assert!(std::time::Instant::now() < end, "not back within {timeout:?}\n before {self:?}\n now    {last:?}");
            std::thread::sleep(Duration::from_millis(50));
            last = Footprint::of(server);
        }
    }
}

/// Waits until no transaction is left.
pub fn wait_quiet(server: &Reprise, timeout: Duration) {
    eventually("no transaction is left", timeout, || held(server, "count") == 0);
}
