//! What every run of one process shares and never changes: who we are, and how we were configured.

use super::host::split_host_port;
use super::rest_client::settings::HttpSettings;
use super::time_text::WallClock;
use crate::base::{Late, Str};
use crate::ops::backend::Policy;
use crate::ops::driver::OpKind;
use crate::ops::sql;
use crate::script::ast::Dialect;
use crate::script::value::Value;
use crate::sip::Transport;
use crate::sip::bytes::push_ip;
use crate::sip::uri::Uri;
use crate::store::{Counters, Floods, Shared, Turns};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// One of our listening sockets, as scripts and headers see it.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Transport.
    pub transport: Transport,
    /// Address it is bound to.
    pub addr: SocketAddr,
    /// Host (and port) to write into Via and Record-Route instead.
    pub advertised: Option<(Str, Option<u16>)>,
    /// `tag NAME`
    pub tag: Option<Str>,
}

impl Listen {
    /// `proto:ip:port`, as `$socket_in` prints it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.transport.as_param(), self.addr)
    }

    /// Host part for Via and Record-Route; IPv6 in brackets.
    pub fn via_host(&self) -> String {
        match &self.advertised {
            Some((host, _)) => host.to_lossy().into_owned(),
            None => bracketed(self.addr.ip()),
        }
    }

    /// Appends the host part for Via and Record-Route.
    pub fn push_via_host(&self, out: &mut Vec<u8>) {
        match (&self.advertised, self.addr.ip()) {
            (Some((host, _)), _) => out.extend_from_slice(host),
            (None, ip @ IpAddr::V4(_)) => push_ip(out, ip),
            (None, ip) => {
                out.push(b'[');
                push_ip(out, ip);
                out.push(b']');
            }
        }
    }

    /// Port for Via and Record-Route.
    pub fn via_port(&self) -> u16 {
        match &self.advertised {
            Some((_, Some(port))) => *port,
            _ => self.addr.port(),
        }
    }
}

/// An address as it stands in a URI.
pub fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => a.to_string(),
        IpAddr::V6(a) => format!("[{a}]"),
    }
}

/// Another name for us (`alias=`).
#[derive(Clone, Debug)]
pub struct Alias {
    /// Host, lower case, IPv6 without brackets.
    pub host: String,
    /// Port; any if `None`.
    pub port: Option<u16>,
}

/// Everything a run may need to know about the server.
#[derive(Clone, Debug)]
pub struct Env {
    /// Our sockets.
    pub listeners: Vec<Listen>,
    /// Further names that are ours.
    pub aliases: Vec<Alias>,
    /// How we were configured.
    pub settings: Late<Settings>,
    /// Process id shown by `$pp`.
    pub pid: u32,
    /// Fixed per start: the first part of the To-tags of stateless replies.
    pub tag_prefix: String,
    /// Where scripts read the time.
    pub clock: WallClock,
    /// When the server was started: microseconds since 1970.
    pub started: i64,
    /// What all processes share; `None` where none could be opened.
    pub store: Option<Shared>,
    /// How much each source sends, for all processes.
    pub floods: Option<Floods>,
    /// Whose turn it is, for all processes.
    pub turns: Option<Turns>,
    /// This process's copy of the destinations of `dispatcher`.
    pub dispatcher: super::dispatcher::shared::Copy,
    /// The server's statistics; `None` where nothing is counted.
    pub counters: Option<Counters>,
    /// What nonces are sealed with unless `secret` of auth says otherwise: drawn by main.
    pub nonce_key: [u8; 32],
    /// What this process keeps of tables.
    pub copies: super::lists::Copies,
    /// `log_level`, if it was changed while the server runs.
    pub level: Cell<Option<i32>>,
    /// What the To-tags of replies made here are hashed with; the same in all processes.
    pub tag_key: [u64; 2],
}

/// Typed core and module parameters.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Value of the Server header of replies made here; `None` = not added.
    pub server_header: Option<Str>,
    /// Value of the User-Agent header of requests made here; `None` = not added.
    pub user_agent_header: Option<Str>,
    /// `log_level` (OpenSIPS scale).
    pub log_level: i32,
    /// `xlog_level`
    pub xlog_level: i32,
    /// If `xlog_level` follows `log_level`: the least it may become; `None`: it has a value of its own.
    pub xlog_least: Option<i32>,
    /// `xlog_print_level`
    pub xlog_print_level: i32,
    /// `async_timeout`: how long a wait without a limit of its own may last.
    pub async_timeout: Duration,
    /// `check_via`: replies whose top Via is not ours are dropped before any route runs.
    pub check_via: bool,
    /// `sip_warning`: replies made here say where their request came from.
    pub sip_warning: bool,
    /// `mhomed`: the socket a request leaves from is the one whose address the system would use.
    pub mhomed: bool,
    /// `xlog_buf_size`: longest line of `xlog`, bytes.
    pub xlog_size: usize,
    /// `overload_age`: how old requests may be when they are read before new ones are refused; zero = any.
    pub overload_age: Duration,
    /// `async_resume_on_cancel`: a run that waits is resumed although its INVITE was cancelled.
    pub resume_on_cancel: bool,
    /// `script_io=block`: plain calls stall the worker as the peers do (for measurement).
    pub script_io_block: bool,
    /// tm: `auto_100trying`
    pub auto_100: bool,
    /// tm: `e2e_cancel_reason`: the Reason of the caller's CANCEL goes into those to the branches without being asked for.
    pub cancel_reason: bool,
    /// tm: `fr_timeout`, in seconds
    pub fr_timeout: u64,
    /// tm: `fr_inv_timeout`, in seconds
    pub fr_inv_timeout: u64,
    /// tm: `minor_branch_flag`
    pub minor_branch_flag: Option<Str>,
    /// tm: `local_request_route`
    pub local_request_route: Option<Str>,
    /// tm: `local_reply_route`
    pub local_reply_route: Option<Str>,
    /// Kamailio's tm: what is not a number of the transactions' core.
    pub tm: super::tm::settings::Settings,
    /// uac_redirect: its parameters
    pub redirect: super::uac_redirect::Parameters,
    /// tm: `onreply_avp_mode`
    pub onreply_avps: bool,
    /// core: `disable_503_translation`
    pub keep_503: bool,
    /// core: `tcp_no_new_conn_bflag`: a branch with this flag opens no connection.
    pub no_new_conn_bflag: Option<Str>,
    /// core: `tcp_no_new_conn_rplflag`: no connection is opened for the replies to a request with this flag.
    pub no_new_conn_rplflag: Option<Str>,
    /// core: `udp_mtu`: requests from this size on go over TCP if they can (RFC 3261 18.1.1); 0: never.
    pub udp_mtu: usize,
    /// How next hops are found.
    pub dns: DnsSettings,
    /// rr, path
    pub rr: super::rr::Settings,
    /// maxfwd: `max_limit`
    pub maxfwd_limit: u32,
    /// rest_client, tls_mgm
    pub http: HttpSettings,
    /// http_client
    pub http_client: super::http::settings::ClientSettings,
    /// http_async_client
    pub http_async: super::http::settings::AsyncSettings,
    /// avpops, sqlops: database URLs by number.
    pub db_urls: Vec<(i64, Str)>,
    /// What is allowed towards the backends of operations.
    pub backends: BackendSettings,
    /// avpops, sqlops: the table of AVPs kept per user.
    pub usr: UsrTable,
    /// exec: `time_to_kill`; zero = the wait's own deadline.
    pub exec_limit: Duration,
    /// exec: `setvars`
    pub exec_setvars: bool,
    /// exec: `max_output`, bytes kept of each output.
    pub exec_output: usize,
    /// aaa_radius: `radius_config`, read.
    pub radius: Option<Rc<crate::ops::radius::config::Config>>,
    /// aaa_radius: `fetch_all_values`
    pub radius_fetch_all: bool,
    /// siputils: what options_reply says.
    pub capabilities: super::kamailio::uris::Capabilities,
    /// What else siputils was told.
    pub siputils: super::kamailio::siputils::Settings,
    /// What xlog of Kamailio's language was told.
    pub xlog: super::kamailio::xlog::Settings,
    /// The names of this machine.
    pub machine: super::ipops::machine::Machine,
    /// cfgutils: `initial_gflags`
    pub gflags: u32,
    /// cfgutils: `initial_probability`, percent.
    pub rand_probability: u8,
    /// sqlops of Kamailio: names of the databases, in the order of their numbers.
    pub sql_connections: Vec<Str>,
    /// sqlops of Kamailio: `results_maxsize`
    pub sql_results: usize,
    /// counters, statistics: the script's own counters.
    pub counters: Vec<super::counters::Defined>,
    /// counters: `script_cnt_grp_name`
    pub counter_group: String,
    /// mqueue: the queues.
    pub queues: Vec<super::mqueue::Queue>,
    /// rtimer: the timers.
    pub rtimers: Vec<super::rtimer::Timer>,
    /// htable: the tables.
    pub tables: Vec<super::htable::definition::Table>,
    /// htable: the columns that tables are loaded from.
    pub table_columns: super::htable::definition::Columns,
    /// htable: `timer_interval`
    pub table_interval: Duration,
    /// cfgutils, pv: `shvset`: shared variables that are set from the start.
    pub shared_vars: Vec<(Str, Value)>,
    /// dispatcher
    pub dispatcher: super::dispatcher::Settings,
    /// uac
    pub uac: super::uac::Settings,
    /// pike
    pub pike: super::pike::Settings,
    /// `pretty_format` of jsonrpcs
    pub pretty_answers: bool,
    /// nathelper
    pub nathelper: super::nathelper::Settings,
    /// core: `onsend_route_reply`: onsend_route runs for replies too.
    pub onsend_replies: bool,
    /// core: `received_route_mode`: `event_route[core:msg-received]` runs.
    pub received_route: bool,
    /// corex: `nio_intercept`: `event_route[network:msg]` runs.
    pub network_intercept: bool,
    /// corex: `nio_msg_avp`: the AVP with the bytes that take the place of those that have come in or leave.
    pub network_avp: Option<Str>,
    /// tcpops: `closed_event`
    pub tcp_events: super::tcpops::Events,
    /// core of Kamailio: `server_id`
    pub server_id: i64,
    /// core of Kamailio: `xavp_via_params`: the `$xavp` whose fields become parameters of our Via, where the script says so.
    pub via_params: Option<Str>,
    /// core of Kamailio: `xavp_via_fields`: the `$xavp` with host and port of our Via, where the script says so.
    pub via_fields: Option<Str>,
    /// corex: `evname_reply_out`: the event route for replies that leave.
    pub reply_out_event: Option<Str>,
    /// usrloc
    pub usrloc: super::usrloc::Settings,
    /// registrar
    pub registrar: super::registrar::Settings,
    /// sanity
    pub sanity: super::sanity::Settings,
    /// permissions
    pub permissions: super::permissions::Settings,
    /// domain
    pub domain: super::domain::Settings,
    /// alias_db
    pub aliases: super::alias_db::Settings,
    /// speeddial
    pub speeddial: super::speeddial::Settings,
    /// Kamailio's dlgs.
    pub dialogs: super::dlgs::Settings,
    /// acc
    pub acc: super::acc::Settings,
    /// auth
    pub auth: super::auth::Settings,
    /// auth_db
    pub auth_db: super::auth_db::Settings,
    /// Kamailio's async module.
    pub async_module: super::async_module::Settings,
    /// The task groups, in the order of their numbers.
    pub groups: Vec<super::async_module::groups::Group>,
    /// core: `async_tkv_gname`: the group that key/value tasks go to.
    pub tkv_group: Option<u16>,
    /// core: `async_tkv_evcb`: the event route that they run.
    pub tkv_event: Str,
    /// Kamailio: parameters of the configuration's own, `group.name` and value.
    pub custom: Vec<(Str, crate::script::value::Value)>,
    /// Kamailio: the preprocessor's defines, name and text.
    pub defines: Vec<(Str, Option<Str>)>,
}

/// Core and module parameters about databases, web servers and programs.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// core: `backend_max_failures`: failures in a row that open the circuit; 0 = never.
    pub max_failures: u32,
    /// core: `backend_open_time`: how long it is open at first.
    pub open_time: Duration,
    /// core: `backend_queue_size`: operations that wait for their turn, per backend.
    pub queue: usize,
    /// core: `backend_slow_threshold`: an operation that takes longer is logged; zero = none is.
    pub slow: Duration,
    /// db_mysql: `exec_query_threshold`, the same for queries.
    pub slow_query: Option<Duration>,
    /// core: `db_max_async_connections`: connections per worker and database URL.
    pub db_connections: usize,
    /// rest_client: `max_async_transfers`: exchanges per worker; `None` = the default.
    pub http_transfers: Option<usize>,
    /// exec: `max_children`: commands per worker.
    pub exec_children: usize,
    /// What the MySQL engine may use.
    pub mysql: sql::Limits,
}

impl Default for BackendSettings {
    fn default() -> Self {
        let policy = Policy::default();
        BackendSettings {
            max_failures: policy.failures,
            open_time: policy.open_min,
            queue: policy.queue,
            slow: policy.slow,
            slow_query: None,
            db_connections: sql::Limits::default().max_connections,
            http_transfers: None,
            exec_children: 200,
            mysql: sql::Limits::default(),
        }
    }
}

impl BackendSettings {
    /// What is allowed towards each backend of a kind.
    pub fn policy(&self, kind: OpKind) -> Policy {
        let standard = Policy::of(kind);
        let sql = matches!(kind, OpKind::Mysql | OpKind::Sqlite);
        Policy {
            in_flight: match kind {
                OpKind::Mysql => self.db_connections,
                OpKind::Http => self.http_transfers.unwrap_or(usize::MAX).min(standard.in_flight),
                _ => standard.in_flight,
            },
            in_flight_total: match kind {
                OpKind::Http => self.http_transfers.unwrap_or(standard.in_flight_total),
                _ => standard.in_flight_total,
            },
            queue: self.queue,
            failures: self.max_failures,
            open_min: self.open_time,
            open_max: standard.open_max.max(self.open_time),
            slow: self.slow_query.filter(|_| sql).unwrap_or(self.slow),
        }
    }
}

/// How next hops are found (RFC 3263).
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// `dns_try_naptr`
    pub naptr: bool,
    /// `dns_try_ipv6`; `None` = if there is an IPv6 socket.
    pub ipv6: Option<bool>,
    /// Transports in the order in which they are tried where the domain says nothing.
    pub order: [Transport; 3],
    /// What `order` comes from: the higher, the earlier.
    pub preferences: [(Transport, i64); 3],
    /// `disable_dns_failover`, the other way round.
    pub failover: bool,
    /// `disable_dns_blacklist`, the other way round.
    pub blacklist: bool,
    /// `exec_dns_threshold`: a look-up that takes longer is logged.
    pub threshold: Option<Duration>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        DnsSettings {
            naptr: true,
            ipv6: None,
            order: crate::net::resolver::locate::DEFAULT_ORDER,
            preferences: [(Transport::Udp, 30), (Transport::Tcp, 20), (Transport::Tls, 10)],
            failover: true,
            blacklist: false,
            threshold: None,
        }
    }
}

/// Table and columns of the AVPs that `avp_db_load`, `sql_avp_load` and the like keep per user.
#[derive(Clone, Debug)]
pub struct UsrTable {
    /// sqlops: `usr_table`, avpops: `avp_table`
    pub table: Str,
    /// `uuid_column`
    pub uuid: Str,
    /// `username_column`
    pub username: Str,
    /// `domain_column`
    pub domain: Str,
    /// `attribute_column`
    pub attribute: Str,
    /// `value_column`
    pub value: Str,
    /// `type_column`
    pub kind: Str,
    /// `use_domain`; `None` = not configured: sqlops looks at the domain, avpops does not.
    pub use_domain: Option<bool>,
    /// `db_scheme`: tables of another shape, by name.
    pub schemes: Vec<(Str, Scheme)>,
}

/// A table with one column for each attribute (`db_scheme`); what is not given is as for [`UsrTable`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheme {
    /// `table`
    pub table: Option<Str>,
    /// `uuid_col`
    pub uuid: Option<Str>,
    /// `username_col`
    pub username: Option<Str>,
    /// `domain_col`
    pub domain: Option<Str>,
    /// `value_col`
    pub value: Option<Str>,
    /// `value_type=integer`
    pub number: bool,
}

impl Scheme {
    /// Reads `NAME:table=...;value_col=...`; gives the name and the scheme.
    pub fn parse(text: &str) -> Result<(Str, Scheme), String> {
        let (name, elements) = text.split_once(':').ok_or("a scheme is `NAME:element=value;...`")?;
        let mut scheme = Scheme::default();
        for element in elements.split(';').map(str::trim).filter(|e| !e.is_empty()) {
            let (key, value) = element.split_once('=').ok_or_else(|| format!("`{element}` has no value"))?;
            let value = value.trim();
            let field = match key.trim() {
                "table" => &mut scheme.table,
                "uuid_col" => &mut scheme.uuid,
                "username_col" => &mut scheme.username,
                "domain_col" => &mut scheme.domain,
                "value_col" => &mut scheme.value,
                "value_type" => {
                    scheme.number = match value {
                        "integer" => true,
                        "string" => false,
                        other => return Err(format!("`{other}` is no value_type: integer and string are")),
                    };
                    continue;
                }
                other => {
                    let known = "table, uuid_col, username_col, domain_col, value_col and value_type are known";
                    return Err(format!("unknown element `{other}`: {known}"));
                }
            };
            *field = Some(Str::from(value));
        }
        Ok((Str::from(name.trim()), scheme))
    }
}

impl Default for UsrTable {
    fn default() -> Self {
        UsrTable {
            table: Str::from("usr_preferences"),
            uuid: Str::from("uuid"),
            username: Str::from("username"),
            domain: Str::from("domain"),
            attribute: Str::from("attribute"),
            value: Str::from("value"),
            kind: Str::from("type"),
            use_domain: None,
            schemes: Vec::new(),
        }
    }
}

impl UsrTable {
    /// Takes over a parameter of avpops or sqlops, by its name; says whether it is one of these.
    pub fn set(&mut self, param: &str, value: &Value) -> bool {
        let field = match param {
            "usr_table" | "avp_table" => &mut self.table,
            "uuid_column" => &mut self.uuid,
            "username_column" => &mut self.username,
            "domain_column" => &mut self.domain,
            "attribute_column" => &mut self.attribute,
            "value_column" => &mut self.value,
            "type_column" => &mut self.kind,
            "use_domain" => {
                self.use_domain = value.to_int().map(|n| n != 0);
                return true;
            }
            _ => return false,
        };
        *field = value.to_text().unwrap_or_default();
        true
    }
}

impl Default for Settings {
    fn default() -> Self {
        let product = format!("reprise/{}", env!("CARGO_PKG_VERSION"));
        Settings {
            server_header: Some(Str::from(product.as_str())),
            user_agent_header: Some(Str::from(product.as_str())),
            log_level: 2,
            xlog_level: 2,
            xlog_least: None,
            xlog_print_level: 2,
            async_timeout: Duration::from_secs(30),
            check_via: false,
            sip_warning: false,
            mhomed: false,
            xlog_size: 4096,
            overload_age: Duration::from_millis(250),
            resume_on_cancel: true,
            script_io_block: false,
            auto_100: true,
            cancel_reason: false,
            fr_timeout: 30,
            fr_inv_timeout: 120,
            minor_branch_flag: None,
            local_request_route: None,
            local_reply_route: None,
            tm: Default::default(),
            redirect: super::uac_redirect::Parameters::default(),
            onreply_avps: false,
            keep_503: false,
            no_new_conn_bflag: None,
            no_new_conn_rplflag: None,
            udp_mtu: 1300,
            dns: DnsSettings::default(),
            rr: super::rr::Settings::default(),
            maxfwd_limit: 256,
            http: HttpSettings::default(),
            http_client: Default::default(),
            http_async: Default::default(),
            db_urls: Vec::new(),
            backends: BackendSettings::default(),
            usr: UsrTable::default(),
            exec_limit: Duration::ZERO,
            exec_setvars: false,
            exec_output: 64 * 1024,
            radius: None,
            radius_fetch_all: false,
            capabilities: Default::default(),
            siputils: Default::default(),
            xlog: Default::default(),
            machine: Default::default(),
            gflags: 0,
            rand_probability: 10,
            sql_connections: Vec::new(),
            sql_results: super::kamailio::sqlops::RESULTS,
            counters: Vec::new(),
            counter_group: super::counters::GROUP.to_string(),
            queues: Vec::new(),
            rtimers: Vec::new(),
            tables: Vec::new(),
            table_columns: Default::default(),
            table_interval: Duration::from_secs(20),
            shared_vars: Vec::new(),
            dispatcher: super::dispatcher::Settings::default(),
            uac: super::uac::Settings::default(),
            pike: super::pike::Settings::default(),
            pretty_answers: true,
            nathelper: super::nathelper::Settings::default(),
            onsend_replies: false,
            received_route: false,
            network_intercept: false,
            network_avp: None,
            tcp_events: Default::default(),
            server_id: 0,
            via_params: None,
            via_fields: None,
            reply_out_event: None,
            usrloc: super::usrloc::Settings::of(Dialect::OpenSips),
            registrar: super::registrar::Settings::of(Dialect::OpenSips),
            sanity: super::sanity::Settings::default(),
            permissions: super::permissions::Settings::default(),
            domain: super::domain::Settings::default(),
            aliases: super::alias_db::Settings::default(),
            speeddial: super::speeddial::Settings::default(),
            dialogs: super::dlgs::Settings::default(),
            acc: super::acc::Settings::default(),
            auth: super::auth::Settings::default(),
            auth_db: super::auth_db::Settings::default(),
            async_module: super::async_module::Settings::default(),
            groups: Vec::new(),
            tkv_group: None,
            tkv_event: Str::default(),
            custom: Vec::new(),
            defines: Vec::new(),
        }
    }
}

impl Env {
    /// A server without sockets: what a decoded run has until it is attached to the real one.
    pub fn unattached() -> Env {
        Env {
            listeners: Vec::new(),
            aliases: Vec::new(),
            settings: Late::default(),
            pid: 0,
            tag_prefix: String::new(),
            clock: WallClock::default(),
            started: 0,
            store: None,
            floods: None,
            turns: None,
            dispatcher: Default::default(),
            counters: None,
            nonce_key: [0; 32],
            copies: super::lists::Copies::default(),
            level: Cell::new(None),
            tag_key: [0; 2],
        }
    }

    /// Lines up to this level are written.
    pub fn log_level(&self) -> i32 {
        self.level.get().unwrap_or(self.settings.log_level)
    }

    /// Lines of `xlog` up to this level are written: what is said about the log's level is said about theirs, unless the
    /// configuration gives them one of their own.
    pub fn xlog_level(&self) -> i32 {
        match (self.level.get(), self.settings.xlog_least) {
            (Some(level), Some(least)) => level.max(least),
            _ => self.settings.xlog_level,
        }
    }

    /// Whether `host[:port]` names us: a listener, an advertised address or an alias. Without a
    /// port any of our ports will do.
    pub fn is_myself(&self, host: &[u8], port: Option<u16>) -> bool {
        let host = std::str::from_utf8(host).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip: Option<IpAddr> = bare.parse().ok();
        let port_fits = |p: u16| port.is_none_or(|wanted| wanted == p);
        self.listeners.iter().any(|l| {
            let same_host = match ip {
                Some(ip) => l.addr.ip() == ip || (l.addr.ip().is_unspecified() && ip.is_loopback()),
                None => false,
            };
            let advertised = l.advertised.as_ref().is_some_and(|(h, _)| h.eq_ignore_ascii_case(bare.as_bytes()));
            (same_host && port_fits(l.addr.port())) || (advertised && port_fits(l.via_port()))
        }) || self.aliases.iter().any(|a| a.host.eq_ignore_ascii_case(bare) && a.port.is_none_or(port_fits))
            || super::domain::is_ours(self, bare.as_bytes())
    }

    /// Whether a text names us: a URI, or `[proto:]host[:port]`; with a protocol, one of our sockets
    /// must have it.
    pub fn names_us(&self, text: &[u8], port: Option<u16>) -> bool {
        if text.starts_with(b"sip:") || text.starts_with(b"sips:") {
            return self.is_my_uri(text);
        }
        let at = text.iter().position(|b| *b == b':').unwrap_or(0);
        let transport = match text.get(..at).unwrap_or_default() {
            word if word.len() < 2 => None,
            word => Some(Transport::from_bytes(word)).filter(|t| *t != Transport::Other),
        };
        let rest = if transport.is_some() { text.get(at + 1..).unwrap_or_default() } else { text };
        let (host, own_port) = split_host_port(rest);
        let port = port.or(own_port);
        let has_one = |t: Transport| {
            let fits = |l: &Listen| port.is_none_or(|p| p == l.addr.port() || p == l.via_port());
            self.listeners.iter().any(|l| l.transport == t && fits(l))
        };
        transport.is_none_or(has_one) && self.is_myself(host, port)
    }

    /// Whether the host part of a SIP URI names us (port 5060 counts if none is written and one of
    /// our sockets has it; else any of our ports will do).
    pub fn is_my_uri(&self, uri: &[u8]) -> bool {
        Uri::parse(uri).is_ok_and(|u| self.is_myself(u.host, u.port))
    }

    /// The listener that a URI of ours names, transport included.
    pub fn listener_of(&self, uri: &Uri<'_>) -> Option<usize> {
        let transport = uri.transport().unwrap_or(Transport::Udp);
        let ip = crate::sip::uri::host_ip(uri.host);
        self.listeners.iter().position(|l| {
            let named = match &l.advertised {
                Some((host, _)) => host.eq_ignore_ascii_case(uri.host),
                None => ip == Some(l.addr.ip()),
            };
            l.transport == transport && named && l.via_port() == uri.port_or_default()
        })
    }

    /// The listener that a name means: its tag or `proto:ip:port` / `ip:port`.
    pub fn find_listener(&self, name: &[u8]) -> Option<usize> {
        let name = String::from_utf8_lossy(name);
        if let Some(i) = self.listeners.iter().position(|l| l.tag.as_ref().is_some_and(|t| *t == name.as_bytes()[..])) {
            return Some(i);
        }
        let (proto, rest) = match name.split_once(':') {
            Some((p, rest)) if p.chars().all(|c| c.is_ascii_alphabetic()) => (Some(p.to_ascii_lowercase()), rest),
            _ => (None, &*name),
        };
        let fits_proto = |l: &Listen| proto.as_ref().is_none_or(|p| p == l.transport.as_param());
        if let Ok(addr) = rest.parse::<SocketAddr>() {
            return self.listeners.iter().position(|l| fits_proto(l) && l.addr == addr);
        }
        let ip: IpAddr = rest.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        self.listeners.iter().position(|l| fits_proto(l) && l.addr.ip() == ip)
    }
}
