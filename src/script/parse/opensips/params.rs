//! The core parameters: every name with the type of its value. Old names map to their current
//! one, under which the tree carries the value.

use crate::base::names;

/// What a core parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamType {
    /// `yes`/`no`, 0 or 1.
    Bool,
    /// A number within these bounds.
    Int(i64, i64),
    /// A string in quotes.
    Str,
    /// One of these words, bare or in quotes.
    Word(&'static [&'static str]),
    /// A number or one of these words.
    IntOrWord(&'static [&'static str]),
    /// A host name or address, bare or in quotes.
    Host,
    /// A listening socket; several on one line are several parameters.
    Socket,
    /// A list of `[proto:]host[:port]`.
    Names,
    /// `dst_blacklist`: kept as text.
    Blacklist,
    /// `auto_scaling_profile`: kept as text.
    Scaling,
}

/// What becomes of a core parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It has an effect.
    Active,
    /// The same as the parameter of this name.
    OldName(&'static str),
    /// It has none, for this reason.
    Ignored(&'static str),
}

/// A core parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreParam {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it takes.
    pub ty: ParamType,
    /// What becomes of it.
    pub status: Status,
}

impl CoreParam {
    /// The name under which the tree carries it.
    pub fn canonical(&self) -> &'static str {
        match self.status {
            Status::OldName(name) => name,
            _ => self.name,
        }
    }
}

/// The parameter of this name, old names included.
pub fn find(name: &str) -> Option<&'static CoreParam> {
    PARAMS.iter().find(|p| p.name == name)
}

/// The known name nearest to an unknown one.
pub fn suggest(name: &str) -> Option<&'static str> {
    names::suggest(name, PARAMS.iter().map(|p| p.name))
}

const fn on(name: &'static str, ty: ParamType) -> CoreParam {
    CoreParam { name, ty, status: Status::Active }
}

const fn old(name: &'static str, ty: ParamType, current: &'static str) -> CoreParam {
    CoreParam { name, ty, status: Status::OldName(current) }
}

const fn ignored(name: &'static str, ty: ParamType, why: &'static str) -> CoreParam {
    CoreParam { name, ty, status: Status::Ignored(why) }
}

use ParamType::{Blacklist, Bool, Host, Int, IntOrWord, Names, Scaling, Socket, Str, Word};

const ANY: ParamType = Int(i32::MIN as i64, i32::MAX as i64);
const COUNT: ParamType = Int(0, i32::MAX as i64);
const POSITIVE: ParamType = Int(1, i32::MAX as i64);
const WORKERS: ParamType = Int(1, 1024);
const LEVEL: ParamType = Int(-10, 100);
const PORT: ParamType = Int(1, 65535);

const FACILITIES: &[&str] = &[
    "LOG_AUTH",
    "LOG_AUTHPRIV",
    "LOG_CRON",
    "LOG_DAEMON",
    "LOG_FTP",
    "LOG_KERN",
    "LOG_LPR",
    "LOG_MAIL",
    "LOG_NEWS",
    "LOG_SYSLOG",
    "LOG_USER",
    "LOG_UUCP",
    "LOG_LOCAL0",
    "LOG_LOCAL1",
    "LOG_LOCAL2",
    "LOG_LOCAL3",
    "LOG_LOCAL4",
    "LOG_LOCAL5",
    "LOG_LOCAL6",
    "LOG_LOCAL7",
];
const TOS: &[&str] = &["IPTOS_LOWDELAY", "IPTOS_THROUGHPUT", "IPTOS_RELIABILITY", "IPTOS_MINCOST", "IPTOS_LOWCOST"];
const POLL: &[&str] = &["poll", "epoll", "epoll_lt", "epoll_et", "kqueue", "select", "devpoll", "sigio_rt"];
const LOG_FORMATS: &[&str] = &["plain_text", "json", "json_cee"];

const ONE_LOOP: &str = "a worker waits for everything in one loop";
const NO_TIMER_WORKERS: &str = "timers run in the workers";
const NO_SHM: &str = "memory is not divided into pools";
const BY_CMDLINE: &str = "the command line decides this";
const BY_MODULE: &str = "the proto_tls and tls_mgm modules hold the TLS settings";
const BY_PROTO: &str = "the proto_* modules that are loaded decide which protocols there are";

/// Every core parameter: first those of the language, by topic; then reprise's own; then those without effect.
#[rustfmt::skip]
pub static PARAMS: &[CoreParam] = &[
    // Sockets and names.
    on("socket", Socket),
    old("listen", Socket, "socket"),
    on("alias", Names),
    on("auto_aliases", Bool),
    on("advertised_address", Host),
    on("advertised_port", PORT),
    on("mhomed", Bool),
    on("tos", IntOrWord(TOS)),
    on("mcast_loopback", Bool),
    on("mcast_ttl", Int(-1, 255)),
    on("maxbuffer", COUNT),
    // Processes.
    on("udp_workers", WORKERS),
    old("children", WORKERS, "udp_workers"),
    on("tcp_workers", WORKERS),
    old("tcp_children", WORKERS, "tcp_workers"),
    on("debug_mode", Bool),
    on("wdir", Str),
    on("chroot", Str),
    on("open_files_limit", Int(-1, i32::MAX as i64)),
    on("disable_core_dump", Bool),
    // Logging.
    on("log_level", LEVEL),
    old("debug", LEVEL, "log_level"),
    on("xlog_level", LEVEL),
    on("xlog_print_level", LEVEL),
    old("xlog_default_level", LEVEL, "xlog_print_level"),
    on("stderror_enabled", Bool),
    old("log_stderror", Bool, "stderror_enabled"),
    on("syslog_enabled", Bool),
    on("syslog_facility", Word(FACILITIES)),
    old("log_facility", Word(FACILITIES), "syslog_facility"),
    on("syslog_name", Str),
    old("log_name", Str, "syslog_name"),
    on("xlog_buf_size", POSITIVE),
    on("xlog_force_color", Bool),
    on("log_prefix", Str),
    on("log_event_enabled", Bool),
    on("stderror_log_format", Word(LOG_FORMATS)),
    on("syslog_log_format", Word(LOG_FORMATS)),
    on("stderror_level_filter", LEVEL),
    on("syslog_level_filter", LEVEL),
    on("log_event_level_filter", LEVEL),
    on("pv_print_buf_size", POSITIVE),
    // Modules.
    on("mpath", Str),
    on("db_default_url", Str),
    on("db_version_table", Str),
    on("db_max_async_connections", POSITIVE),
    on("query_buffer_size", COUNT),
    on("query_flush_time", COUNT),
    // Messages.
    on("server_signature", Bool),
    on("server_header", Str),
    on("user_agent_header", Str),
    on("sip_warning", Bool),
    on("check_via", Bool),
    on("dns", Bool),
    on("rev_dns", Bool),
    on("disable_stateless_fwd", Bool),
    on("disable_503_translation", Bool),
    on("max_while_loops", POSITIVE),
    on("enable_asserts", Bool),
    on("abort_on_assert", Bool),
    // DNS and destinations.
    on("dns_try_ipv6", Bool),
    on("dns_try_naptr", Bool),
    on("dns_retr_time", COUNT),
    on("dns_retr_no", COUNT),
    on("dns_servers_no", COUNT),
    on("dns_use_search_list", Bool),
    on("disable_dns_failover", Bool),
    on("disable_dns_blacklist", Bool),
    on("dst_blacklist", Blacklist),
    // TCP.
    on("tcp_accept_aliases", Int(0, 2)),
    on("tcp_connect_timeout", COUNT),
    on("tcp_connection_lifetime", COUNT),
    on("tcp_socket_backlog", POSITIVE),
    old("tcp_listen_backlog", POSITIVE, "tcp_socket_backlog"),
    on("tcp_max_connections", COUNT),
    on("tcp_max_msg_time", COUNT),
    on("tcp_keepalive", Bool),
    on("tcp_keepcount", COUNT),
    on("tcp_keepidle", COUNT),
    on("tcp_keepinterval", COUNT),
    on("tcp_no_new_conn_bflag", Word(&[])),
    on("tcp_no_new_conn_rplflag", Word(&[])),
    on("tcp_max_head_size", Int(256, 1 << 20)),
    on("tcp_max_body_size", Int(0, 4 << 20)),
    on("tcp_conn_wq_max", POSITIVE),
    on("tcp_wq_max", POSITIVE),
    on("udp_mtu", Int(0, 65_535)),
    // Watching.
    on("exec_msg_threshold", COUNT),
    on("exec_dns_threshold", COUNT),
    on("tcp_threshold", COUNT),
    // reprise's own.
    on("control_socket", Str),
    on("drain_timeout", COUNT),
    on("async_timeout", POSITIVE),
    on("backend_max_failures", COUNT),
    on("backend_open_time", POSITIVE),
    on("backend_queue_size", COUNT),
    on("backend_slow_threshold", COUNT),
    on("db_kill_on_timeout", Word(&["auto", "yes", "no"])),
    on("async_resume_on_cancel", Bool),
    on("script_io", Word(&["await", "block"])),
    on("workers_exact", Bool),
    on("overload_age", Int(0, 10_000)),
    on("worker_hang_timeout", COUNT),
    on("log_format", Word(&["text", "plain_text", "json", "json_cee"])),
    on("bus_size", POSITIVE),
    on("store_dir", Str),
    on("store_size", POSITIVE),
    on("max_suspended", POSITIVE),
    on("dns_servers", Str),
    on("dns_hosts_file", Str),
    on("dns_cache_min_ttl", COUNT),
    on("dns_cache_max_ttl", COUNT),
    on("dns_cache_negative_ttl", COUNT),
    // Without effect.
    ignored("fork", Bool, BY_CMDLINE),
    ignored("timer_workers", Int(0, 1024), NO_TIMER_WORKERS),
    ignored("tcp_threads", COUNT, ONE_LOOP),
    ignored("poll_method", Word(POLL), ONE_LOOP),
    ignored("worker_reactor_timeout", COUNT, ONE_LOOP),
    ignored("auto_scaling_profile", Scaling, "the number of workers does not change while the server runs"),
    ignored("auto_scaling_cycle", COUNT, "the number of workers does not change while the server runs"),
    ignored("event_shm_threshold", COUNT, NO_SHM),
    ignored("event_pkg_threshold", COUNT, NO_SHM),
    ignored("memlog", ANY, NO_SHM),
    ignored("memdump", ANY, NO_SHM),
    ignored("shm_memlog_size", COUNT, NO_SHM),
    ignored("restart_persistency_cache_file", Str, "what survives a restart is in the store"),
    ignored("restart_persistency_size", COUNT, "what survives a restart is in the store"),
    ignored("log_stdout", Bool, "the log goes to stderr or syslog"),
    ignored("port", PORT, "the port is part of each `socket`"),
    ignored("disable_tcp", Bool, BY_PROTO),
    ignored("disable_tls", Bool, BY_PROTO),
    ignored("tls_port_no", PORT, BY_MODULE),
    ignored("tls_method", Word(&[]), BY_MODULE),
    ignored("tls_verify_server", Bool, BY_MODULE),
    ignored("tls_verify_client", Bool, BY_MODULE),
    ignored("tls_require_client_certificate", Bool, BY_MODULE),
    ignored("tls_certificate", Str, BY_MODULE),
    ignored("tls_private_key", Str, BY_MODULE),
    ignored("tls_ca_list", Str, BY_MODULE),
    ignored("tls_ca_dir", Str, BY_MODULE),
    ignored("tls_ciphers_list", Str, BY_MODULE),
    ignored("tls_handshake_timeout", COUNT, BY_MODULE),
    ignored("tls_send_timeout", COUNT, BY_MODULE),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_stands_once_and_old_ones_lead_to_current_ones() {
        let names: BTreeSet<_> = PARAMS.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), PARAMS.len());
        for p in PARAMS {
            if let Status::OldName(current) = p.status {
                let current = find(current).unwrap();
                assert_eq!((current.status, current.ty), (Status::Active, p.ty), "{}", p.name);
            }
        }
        assert_eq!(find("children").map(CoreParam::canonical), Some("udp_workers"));
        assert_eq!(suggest("udp_worker"), Some("udp_workers"));
    }
}
