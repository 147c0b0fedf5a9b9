//! Core and module parameters as typed settings.

use super::databases;
use super::dns;
use super::http;
use super::radius;
use crate::base::Str;
use crate::modules::env::{Alias, Settings};
use crate::modules::host::split_host_port;
use crate::net::connections::StreamConfig;
use crate::net::listen::{ListenSpec, Transport};
use crate::net::logpipe::{self, LogSettings, Syslog};
use crate::net::resolver::ResolverOptions;
use crate::script::ast::{Config, Dialect, GlobalValue, Item, SocketSpec};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::pattern::compile_regex;
use crate::script::program::ModParam;
use crate::script::source::Span;
use crate::script::value::Value;
use crate::store::shared::queues::Doubles;
use crate::transaction;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a configuration says besides its routes.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What runs may know.
    pub settings: Settings,
    /// Transaction timers and limits.
    pub tm: transaction::Config,
    /// Limits of stream connections.
    pub streams: StreamConfig,
    /// How names are looked up.
    pub resolver: ResolverOptions,
    /// Where to listen.
    pub sockets: Vec<ListenSpec>,
    /// Where to listen if nothing says where: the port (`None`: the usual one), and whether on TCP as well.
    pub everywhere: (Option<u16>, bool),
    /// Further names of ours.
    pub aliases: Vec<Alias>,
    /// `udp_workers`; `None` = as many as CPUs.
    pub workers: Option<usize>,
    /// `workers_exact`
    pub workers_exact: bool,
    /// Where the log goes.
    pub log: LogSettings,
    /// `control_socket`
    pub control_socket: Option<PathBuf>,
    /// `drain_timeout`
    pub drain_timeout: Duration,
    /// `worker_hang_timeout`; `None` = workers are not watched
    pub hang_timeout: Option<Duration>,
    /// `maxbuffer`
    pub max_receive: Option<usize>,
    /// `open_files_limit`
    pub open_files: Option<u64>,
    /// `tcp_socket_backlog`
    pub backlog: Option<i32>,
    /// `bus_size`, bytes per ring
    pub bus_size: Option<usize>,
    /// `max_suspended`, per worker
    pub max_suspended: usize,
    /// `disable_core_dump`, turned around
    pub core_dumps: Option<bool>,
    /// `chroot`
    pub chroot: Option<PathBuf>,
    /// `wdir`
    pub workdir: Option<PathBuf>,
    /// `max_while_loops`
    pub max_while_loops: Option<u32>,
    /// cfgutils' `varset`
    pub varset: Vec<(String, Value)>,
    /// `store_dir`: where the shared store is made
    pub store_dir: Option<PathBuf>,
    /// `store_size`, in bytes
    pub store_size: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            settings: Settings::default(),
            tm: transaction::Config::default(),
            streams: StreamConfig::default(),
            resolver: ResolverOptions::default(),
            sockets: Vec::new(),
            everywhere: (None, false),
            aliases: Vec::new(),
            workers: None,
            workers_exact: false,
            log: LogSettings::default(),
            control_socket: None,
            drain_timeout: Duration::from_secs(10),
            hang_timeout: Some(Duration::from_secs(10)),
            max_receive: None,
            open_files: None,
            backlog: None,
            bus_size: None,
            max_suspended: 200_000,
            core_dumps: None,
            chroot: None,
            workdir: None,
            max_while_loops: None,
            varset: Vec::new(),
            store_dir: None,
            store_size: crate::store::shared::DEFAULT_SIZE,
        }
    }
}

/// Reads the core parameters of a tree and the checked module parameters.
pub fn read_settings(
    dialect: Dialect,
    config: &Config,
    modparams: &[ModParam],
    diags: &mut Diagnostics,
) -> ServerConfig {
    let mut out = ServerConfig::default();
    if dialect == Dialect::Kamailio {
        super::kamailio::prepare(&mut out, config);
        super::groups::read(config, &mut out, diags);
    }
    let mut advertised: (Option<String>, Option<u16>) = (None, None);
    let mut default_db: Option<(Str, Span)> = None;
    let mut xlog_level = None;
    let mut tos = None;
    let (mut syslog, mut facility, mut ident) = (false, "LOG_DAEMON".to_string(), "reprise".to_string());
    for item in &config.items {
        let Item::Global(g) = item else { continue };
        let int = match &g.value {
            GlobalValue::Int(n, _) => Some(*n),
            _ => None,
        };
        let text = match &g.value {
            GlobalValue::Str(s) => Some(String::from_utf8_lossy(&s.text).into_owned()),
            GlobalValue::Ident(i) => Some(i.text.clone()),
            _ => None,
        };
        let yes = int.is_some_and(|n| n != 0);
        let secs = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs);
        match g.name.text.as_str() {
            "socket" => {
                if let GlobalValue::Socket(spec) = &g.value {
                    out.sockets.extend(listen_specs(spec, diags));
                }
            }
            "alias" => {
                if let GlobalValue::List(list) = &g.value {
                    out.aliases.extend(list.iter().map(|i| alias(&i.text)));
                }
            }
            "port" if dialect == Dialect::Kamailio => out.everywhere.0 = int.and_then(|n| u16::try_from(n).ok()),
            "disable_tcp" if dialect == Dialect::Kamailio => out.everywhere.1 = !yes,
            "advertised_address" => advertised.0 = text,
            "advertised_port" => advertised.1 = int.and_then(|n| u16::try_from(n).ok()),
            "udp_workers" => out.workers = int.and_then(|n| usize::try_from(n).ok()),
            "workers_exact" => out.workers_exact = yes,
            "log_level" => {
                let level = int.unwrap_or(2).clamp(-3, 4) as i8;
                out.log.level = level;
                out.settings.log_level = i32::from(level);
            }
            "xlog_level" => xlog_level = int,
            "xlog_print_level" => out.settings.xlog_print_level = int.unwrap_or(2).clamp(-3, 4) as i32,
            "log_prefix" => out.log.prefix = text.unwrap_or_default(),
            "log_format" => {
                let format = log_format(text.as_deref());
                (out.log.stderr_lines.format, out.log.syslog_lines.format) = (format, format);
            }
            "stderror_log_format" => out.log.stderr_lines.format = log_format(text.as_deref()),
            "syslog_log_format" => out.log.syslog_lines.format = log_format(text.as_deref()),
            "stderror_level_filter" => out.log.stderr_lines.level = level_filter(int),
            "syslog_level_filter" => out.log.syslog_lines.level = level_filter(int),
            "disable_core_dump" => out.core_dumps = Some(!yes),
            "chroot" => out.chroot = text.map(PathBuf::from),
            "tos" => tos = int.or_else(|| text.as_deref().and_then(tos_value)).and_then(|n| u8::try_from(n).ok()),
            "check_via" => out.settings.check_via = yes,
            "onsend_route_reply" => out.settings.onsend_replies = yes,
            "received_route_mode" => out.settings.received_route = yes,
            "sip_warning" => out.settings.sip_warning = yes,
            "server_id" => out.settings.server_id = int.unwrap_or_default(),
            "xavp_via_params" => out.settings.via_params = text.filter(|t| !t.is_empty()).map(Str::from),
            "xavp_via_fields" => out.settings.via_fields = text.filter(|t| !t.is_empty()).map(Str::from),
            "mhomed" => out.settings.mhomed = yes,
            "xlog_buf_size" => {
                out.settings.xlog_size = int.and_then(|n| usize::try_from(n).ok()).unwrap_or(out.settings.xlog_size);
            }
            "stderror_enabled" => out.log.stderr = yes,
            "syslog_enabled" => syslog = yes,
            "syslog_facility" => facility = text.unwrap_or(facility),
            "syslog_name" => ident = text.unwrap_or(ident),
            "debug_mode" if yes => {
                out.log.level = 4;
                out.settings.log_level = 4;
                out.log.stderr = true;
            }
            "server_signature" if !yes && int.is_some() => {
                out.settings.server_header = None;
                out.settings.user_agent_header = None;
            }
            "server_header" => out.settings.server_header = text.map(|t| header_value(&t)),
            "user_agent_header" => out.settings.user_agent_header = text.map(|t| header_value(&t)),
            "disable_503_translation" => {
                out.settings.keep_503 = yes;
                out.tm.translate_503 = !yes;
            }
            "max_while_loops" => out.max_while_loops = int.and_then(|n| u32::try_from(n).ok()),
            "maxbuffer" => out.max_receive = int.and_then(|n| usize::try_from(n).ok()),
            "control_socket" => out.control_socket = text.map(PathBuf::from),
            "drain_timeout" => out.drain_timeout = secs(int).unwrap_or(out.drain_timeout),
            "worker_hang_timeout" => out.hang_timeout = secs(int).filter(|d| !d.is_zero()),
            "overload_age" => {
                out.settings.overload_age =
                    int.and_then(|n| u64::try_from(n).ok()).map_or(out.settings.overload_age, Duration::from_millis);
            }
            "async_timeout" => out.settings.async_timeout = secs(int).unwrap_or(out.settings.async_timeout),
            "backend_max_failures" => {
                let n = int.and_then(|n| u32::try_from(n).ok());
                out.settings.backends.max_failures = n.unwrap_or(out.settings.backends.max_failures);
            }
            "backend_open_time" => {
                let time = int.and_then(|n| u64::try_from(n).ok()).map(Duration::from_millis);
                out.settings.backends.open_time = time.unwrap_or(out.settings.backends.open_time);
            }
            "backend_queue_size" => {
                let n = int.and_then(|n| usize::try_from(n).ok());
                out.settings.backends.queue = n.unwrap_or(out.settings.backends.queue);
            }
            "backend_slow_threshold" => {
                let time = int.and_then(|n| u64::try_from(n).ok()).map(Duration::from_micros);
                out.settings.backends.slow = time.unwrap_or(out.settings.backends.slow);
            }
            "db_max_async_connections" => {
                let n = int.and_then(|n| usize::try_from(n).ok()).map(|n| n.clamp(1, 10_000));
                let n = n.unwrap_or(out.settings.backends.db_connections);
                out.settings.backends.db_connections = n;
                out.settings.backends.mysql.max_connections = n;
            }
            "db_kill_on_timeout" => out.settings.backends.mysql.kill = databases::kill(text.as_deref()),
            "async_resume_on_cancel" => out.settings.resume_on_cancel = yes,
            "script_io" => out.settings.script_io_block = text.as_deref() == Some("block"),
            "bus_size" => out.bus_size = int.and_then(|n| usize::try_from(n).ok()),
            "store_dir" => out.store_dir = text.filter(|t| !t.is_empty()).map(PathBuf::from),
            "store_size" => {
                let bytes = int.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_mul(1 << 20));
                out.store_size = bytes.unwrap_or(out.store_size);
            }
            "max_suspended" => {
                out.max_suspended = int.and_then(|n| usize::try_from(n).ok()).unwrap_or(out.max_suspended);
            }
            name if super::streams::core_setting(&mut out, name, int, text.as_deref()) => {}
            "wdir" => out.workdir = text.map(PathBuf::from),
            "db_default_url" => default_db = text.map(|t| (Str::from(t), g.span)),
            name => dns::setting(name, int, text.as_deref(), g.span, &mut out, diags),
        }
    }
    if out.settings.script_io_block {
        // There a worker stands still on purpose.
        out.hang_timeout = None;
    }
    // 2.2 had no xlog_level: log_level spoke for both; so it does in Kamailio.
    let least = if dialect == Dialect::Kamailio { -3 } else { 2 };
    let both = out.settings.log_level.max(least);
    out.settings.xlog_least = xlog_level.is_none().then_some(least);
    out.settings.xlog_level = xlog_level.map_or(both, |n| n.clamp(-3, 4) as i32);
    if syslog {
        out.log.syslog = logpipe::facility(&facility).map(|facility| Syslog { facility, ident });
    }
    if dialect == Dialect::Kamailio && !out.everywhere.1 {
        out.sockets.retain(|s| s.transport != Transport::Tcp);
    }
    for socket in &mut out.sockets {
        socket.tos = socket.tos.or(tos);
        if socket.advertised.is_none()
            && let Some(host) = &advertised.0
        {
            socket.advertised = Some((host.clone(), advertised.1));
        }
    }
    module_settings(&mut out, dialect, modparams, diags);
    databases::read(&mut out.settings, modparams, default_db, diags);
    radius::read(&mut out.settings, modparams, diags);
    http::read(&mut out.settings, modparams, diags);
    out
}

fn log_format(word: Option<&str>) -> logpipe::Format {
    match word {
        Some("json") => logpipe::Format::Json,
        Some("json_cee") => logpipe::Format::JsonCee,
        _ => logpipe::Format::Plain,
    }
}

/// 0 means no filter.
fn level_filter(level: Option<i64>) -> i8 {
    match level {
        None | Some(0) => i8::MAX,
        Some(n) => n.clamp(-3, 4) as i8,
    }
}

/// The names of RFC 1349.
fn tos_value(word: &str) -> Option<i64> {
    Some(match word {
        "IPTOS_LOWDELAY" => 0x10,
        "IPTOS_THROUGHPUT" => 0x08,
        "IPTOS_RELIABILITY" => 0x04,
        "IPTOS_MINCOST" | "IPTOS_LOWCOST" => 0x02,
        _ => return None,
    })
}

/// The value of a header given as a whole line (`Server: name`).
fn header_value(text: &str) -> Str {
    let value = match text.split_once(':') {
        Some((name, value)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => value,
        _ => text,
    };
    Str::from(value.trim().replace(['\r', '\n'], " "))
}

fn listen_specs(spec: &SocketSpec, diags: &mut Diagnostics) -> Vec<ListenSpec> {
    let Ok(transport) = spec.proto.parse::<Transport>() else {
        diags.push(
            Diagnostic::warning("W0501", spec.span, format!("sockets of protocol \"{}\" are not opened", spec.proto))
                .help("this version listens on udp and tcp"),
        );
        return Vec::new();
    };
    if !matches!(transport, Transport::Udp | Transport::Tcp) {
        diags.push(
            Diagnostic::warning("W0501", spec.span, format!("sockets of protocol \"{}\" are not opened", spec.proto))
                .help("this version listens on udp and tcp"),
        );
        return Vec::new();
    }
    let ports: Vec<Option<u16>> =
        if spec.ports.is_empty() { vec![None] } else { spec.ports.iter().copied().map(Some).collect() };
    ports
        .into_iter()
        .map(|port| {
            let mut s = ListenSpec::new(transport, spec.host.clone(), port);
            s.advertised.clone_from(&spec.advertised);
            s.tag.clone_from(&spec.tag);
            s.tos = spec.tos.and_then(|t| u8::try_from(t).ok());
            s.frag = spec.options.iter().any(|o| o == "frag");
            s.anycast = spec.options.iter().any(|o| o == "anycast");
            s.accept_subdomain = spec.options.iter().any(|o| o == "accept_subdomain");
            s
        })
        .collect()
}

fn alias(text: &str) -> Alias {
    let rest = text.split_once(':').map_or(text, |(proto, rest)| {
        if matches!(proto, "udp" | "tcp" | "tls" | "ws" | "wss" | "sctp") { rest } else { text }
    });
    let (host, port) = split_host_port(rest.as_bytes());
    Alias { host: String::from_utf8_lossy(host).trim_matches(['[', ']']).to_ascii_lowercase(), port }
}

fn module_settings(out: &mut ServerConfig, dialect: Dialect, params: &[ModParam], diags: &mut Diagnostics) {
    if dialect == Dialect::Kamailio {
        params.iter().for_each(|p| super::kamailio::module_setting(out, p));
    }
    let s = &mut out.settings;
    s.dispatcher.prepare(dialect);
    s.permissions.prepare(dialect);
    super::location::read(s, dialect, params, diags);
    let out_streams = &mut out.streams;
    // What `mqueue_name` and timers without an interval go by: parameters that stand before them.
    let mut bare_queue = (0, Doubles::Keep);
    let mut default_interval = Duration::from_secs(120);
    for p in params {
        // Those of Kamailio are in milliseconds, and were read.
        if dialect == Dialect::Kamailio && p.module == "tm" {
            if let Err(why) = s.tm.set(&p.param, &p.value) {
                diags.push(Diagnostic::error("E0505", p.span, why));
            }
            continue;
        }
        let int = p.value.to_int();
        let text = p.value.to_text();
        let yes = int.is_some_and(|n| n != 0);
        let secs = int.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs);
        let millis = int.and_then(|n| u64::try_from(n).ok()).map(Duration::from_millis);
        match (p.module.as_str(), p.param.as_str()) {
            ("tm", "fr_timeout" | "fr_timer") => out.tm.fr_timeout = secs.unwrap_or(out.tm.fr_timeout),
            ("tm", "fr_inv_timeout" | "fr_inv_timer") => out.tm.fr_inv_timeout = secs.unwrap_or(out.tm.fr_inv_timeout),
            ("tm", "restart_fr_on_each_reply") => out.tm.restart_fr_on_each_reply = yes,
            ("tm", "wt_timer") => out.tm.wt = secs,
            ("tm", "T1_timer") => out.tm.t1 = millis.unwrap_or(out.tm.t1),
            ("tm", "T2_timer") => out.tm.t2 = millis.unwrap_or(out.tm.t2),
            ("tm", "auto_100trying") => s.auto_100 = yes,
            ("tm", "onreply_avp_mode") => s.onreply_avps = yes,
            ("tm", "disable_6xx_block") => out.tm.disable_6xx_block = yes,
            ("tm", "aggregate_challenges") => out.tm.aggregate_challenges = yes,
            ("tm", "ruri_matching") => out.tm.ruri_matching = yes,
            ("tm", "via1_matching") => out.tm.via1_matching = yes,
            ("tm", "minor_branch_flag") => s.minor_branch_flag = text.filter(|t| !t.is_empty()),
            ("tm", "local_request_route") => s.local_request_route = text.filter(|t| !t.is_empty()),
            ("tm", "local_reply_route") => s.local_reply_route = text.filter(|t| !t.is_empty()),
            ("uac_redirect", "accept_filter" | "deny_filter") => {
                let filter = text.filter(|t| !t.is_empty());
                if let Some(Err(why)) = filter.as_ref().map(|f| compile_regex(&f.to_lossy())) {
                    diags.push(Diagnostic::error("E0505", p.span, format!("this is no regular expression: {why}")));
                }
                match p.param.as_str() {
                    "accept_filter" => s.redirect.accept = filter,
                    _ => s.redirect.deny = filter,
                }
            }
            ("uac_redirect", "default_filter") => match text.as_deref() {
                Some(b"accept") => s.redirect.deny_others = false,
                Some(b"deny") => s.redirect.deny_others = true,
                _ => diags.push(Diagnostic::error("E0505", p.span, "default_filter is \"accept\" or \"deny\"")),
            },
            ("uac_redirect", "bflags") => {
                let words = text.unwrap_or_default();
                let words = words.split(|b| matches!(b, b' ' | b',' | b';')).filter(|w| !w.is_empty());
                s.redirect.flags = words.map(Str::from).collect();
            }
            ("proto_tcp", name) => super::streams::module_setting(out_streams, name, int),
            ("rr" | "path", param) => {
                if let Err(why) = s.rr.set(&p.module, param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("siputils", param) => {
                if let Err(why) = s.siputils.set(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("xlog", param) if dialect == Dialect::Kamailio => match (param, int) {
                ("buf_size", Some(n)) => s.xlog_size = usize::try_from(n).unwrap_or(s.xlog_size).clamp(64, 16 << 10),
                _ => {
                    if let Err(why) = s.xlog.set(param, &p.value) {
                        diags.push(Diagnostic::error("E0505", p.span, why));
                    }
                }
            },
            ("maxfwd", "max_limit") => s.maxfwd_limit = int.unwrap_or(256).clamp(1, 256) as u32,
            ("exec", "time_to_kill") => s.exec_limit = secs.unwrap_or_default(),
            ("exec", "setvars") => s.exec_setvars = yes,
            ("exec", "max_children") => {
                s.backends.exec_children = within(int, 1, 10_000).unwrap_or(s.backends.exec_children)
            }
            ("exec", "max_output") => s.exec_output = within(int, 1, 16 << 20).unwrap_or(s.exec_output),
            ("cfgutils", "initial_gflags") => s.gflags = int.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            ("cfgutils", "initial_probability") => s.rand_probability = int.unwrap_or(10).clamp(0, 100) as u8,
            ("mqueue", param) => super::shared::queue(s, &mut bare_queue, param, p, diags),
            ("rtimer", param) => super::shared::timer(s, &mut default_interval, param, p, diags),
            ("permissions", param) => {
                if let Err(why) = s.permissions.set(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("domain", param) => s.domain.set(param, &p.value),
            ("alias_db", param) => s.aliases.set(param, &p.value),
            ("speeddial", param) => s.speeddial.set(param, &p.value),
            ("dlgs", param) => s.dialogs.set(param, &p.value),
            ("htable", param) => super::shared::table(s, param, p, diags),
            ("cfgutils" | "pv", "shvset") => match text.as_deref().and_then(varset) {
                Some((name, value)) => s.shared_vars.push((Str::from(name.as_str()), value)),
                None => diags.push(Diagnostic::error(
                    "E0505",
                    p.span,
                    "shvset is not of the form `name=s:text` or `name=i:5`",
                )),
            },
            ("cfgutils", "varset") => match text.as_deref().and_then(varset) {
                Some(set) => out.varset.push(set),
                None => diags.push(Diagnostic::error(
                    "E0505",
                    p.span,
                    "varset is not of the form `name=s:text` or `name=i:5`",
                )),
            },
            ("dispatcher", param) => {
                if let Err(why) = s.dispatcher.set(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("uac" | "uac_auth", param) => {
                if let Err(why) = s.uac.set(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("uac_registrant", param) => {
                if let Err(why) = s.uac.registrations.set_registrant(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("pike", param) => {
                if let Err(why) = s.pike.set(dialect, param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("nathelper", param) => {
                if let Err(why) = s.nathelper.set(param, &p.value) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("jsonrpcs", "pretty_format") => s.pretty_answers = yes,
            ("corex", "nio_intercept") => s.network_intercept = yes,
            ("corex", "nio_msg_avp") => match text.as_deref().and_then(crate::modules::nathelper::avp_name) {
                Some(name) => s.network_avp = Some(name),
                None => diags.push(Diagnostic::error("E0505", p.span, "nio_msg_avp is an AVP: $avp(name)")),
            },
            ("tcpops", "closed_event") => match crate::modules::tcpops::Events::read(&p.value) {
                Ok(events) => s.tcp_events = events,
                Err(why) => diags.push(Diagnostic::error("E0505", p.span, why)),
            },
            ("corex", "evname_reply_out") => s.reply_out_event = text.filter(|t| !t.is_empty()),
            ("sanity", param) => {
                s.sanity.set(param, &p.value);
            }
            ("acc", param) => {
                if let Err(why) = s.acc.set(param, &p.value, dialect == Dialect::Kamailio) {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("auth" | "auth_db", param) => {
                let set = if p.module == "auth" { s.auth.set(param, &p.value) } else { s.auth_db.set(param, &p.value) };
                if let Err(why) = set {
                    diags.push(Diagnostic::error("E0505", p.span, why));
                }
            }
            ("avpops" | "sqlops", param) => {
                s.usr.set(param, &p.value);
            }
            _ => {}
        }
    }
    // What `$T_fr_timeout` and `$T_fr_inv_timeout` show; zero stands for the RFC's own value.
    let or = |d: Duration, rfc: Duration| if d.is_zero() { rfc } else { d }.as_secs();
    s.fr_timeout = or(out.tm.fr_timeout, out.tm.t1_64());
    s.fr_inv_timeout = or(out.tm.fr_inv_timeout, out.tm.timer_c);
}

/// A number, or the nearest one that is allowed.
fn within(n: Option<i64>, least: usize, most: usize) -> Option<usize> {
    n.map(|n| usize::try_from(n).unwrap_or(0).clamp(least, most))
}

/// `name=s:text`, `name=i:5`
pub(super) fn varset(text: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(text).ok()?;
    let (name, value) = text.split_once('=')?;
    let value = match value.split_once(':')? {
        ("s", v) => Value::text(v),
        ("i", v) => Value::Int(v.parse().ok()?),
        _ => return None,
    };
    Some((name.trim().to_string(), value))
}
