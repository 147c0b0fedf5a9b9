//! What main is to run: everything the command line and the configuration decided.

use crate::control::merge::{Forwarded, Merge};
use crate::net::bus::BusConfig;
use crate::net::listen::{Listener, SocketSizes};
use crate::net::logpipe::LogHandle;
use crate::worker::seat::ToChild;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// The control socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlPlan {
    /// Where it is.
    pub path: PathBuf,
    /// Its access rights, as for chmod.
    pub mode: u32,
}

/// Processes that run what the workers' scripts hand over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPlan {
    /// The group's name.
    pub name: String,
    /// How many processes it has.
    pub workers: usize,
}

/// A process that works for the workers.
#[derive(Debug)]
pub struct HelperPlan {
    /// What it is called in `ps` and in the log.
    pub name: String,
    /// Its listening unix socket: main keeps it, each tenant of the seat gets it.
    pub listener: OwnedFd,
}

/// The server to run.
pub struct Plan {
    /// SIP workers.
    pub workers: usize,
    /// Task groups, in the order of their numbers.
    pub groups: Vec<GroupPlan>,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Kernel buffer sizes of the listening sockets.
    pub sizes: SocketSizes,
    /// Bytes per bus ring.
    pub bus_ring_bytes: usize,
    /// Largest value on the bus.
    pub bus_max_value: usize,
    /// Counters that the configuration defines (`group:name`).
    pub extra_counters: Vec<String>,
    /// User to become (`-u`), by name or number.
    pub user: Option<String>,
    /// Group to become (`-g`), by name or number.
    pub group: Option<String>,
    /// File for main's process id (`-P`).
    pub pidfile: Option<PathBuf>,
    /// Working directory (`-w`).
    pub workdir: Option<PathBuf>,
    /// How long waits may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How long children may take to return when they are told to.
    pub quit_grace: Duration,
    /// The last worker writes what is kept in databases, which may take as long as this; `None`: there is nothing to be
    /// written.
    pub saving: Option<Duration>,
    /// Whether processes that crash leave a core file; `None`: as the system has it.
    pub core_dumps: Option<bool>,
    /// The root directory from then on, when the sockets are open and before privileges are given up.
    pub chroot: Option<PathBuf>,
    /// How long a worker's loop may stand still before the worker is ended and replaced; `None`: for ever.
    pub hang_timeout: Option<Duration>,
    /// The control socket, if there is to be one.
    pub control: Option<ControlPlan>,
    /// The log.
    pub log: LogHandle,
    /// Files and directories that belong to the user the server becomes.
    pub owned: Vec<PathBuf>,
    /// Helper processes.
    pub helpers: Vec<HelperPlan>,
    /// What main tells operators about the start.
    pub facts: super::facts::Facts,
    /// Control methods that the workers answer.
    pub forwarded: Vec<Forwarded>,
    /// What the control method `version` says.
    pub version: String,
    /// What SIGHUP does, if anything.
    pub on_reload: Option<Box<dyn FnMut()>>,
    /// Asked once a second: news for all workers.
    pub news: Option<Box<dyn FnMut() -> Option<ToChild>>>,
}

impl Plan {
    /// `workers` workers that listen at `listeners`, everything else as by default.
    pub fn new(workers: usize, listeners: Vec<Listener>, log: LogHandle) -> Plan {
        Plan {
            workers: workers.max(1),
            groups: Vec::new(),
            listeners,
            sizes: SocketSizes::default(),
            bus_ring_bytes: BusConfig::default().ring_bytes,
            bus_max_value: BusConfig::default().max_value,
            extra_counters: Vec::new(),
            user: None,
            group: None,
            pidfile: None,
            workdir: None,
            drain_timeout: Duration::from_secs(10),
            quit_grace: Duration::from_secs(2),
            saving: None,
            hang_timeout: None,
            core_dumps: None,
            chroot: None,
            control: None,
            log,
            owned: Vec::new(),
            helpers: Vec::new(),
            facts: super::facts::Facts::default(),
            forwarded: vec![
                Forwarded::new("waits", Merge::Concat),
                Forwarded::new("kill-wait", Merge::First),
                Forwarded::new("transactions", Merge::PerWorker),
                Forwarded::new("t_hash", Merge::Concat),
                Forwarded::new("tm:hash", Merge::Concat),
                Forwarded::new("tm.list", Merge::Concat),
                Forwarded::new("t_reply", Merge::First),
                Forwarded::new("tm:reply", Merge::First),
                Forwarded::new("tm.reply", Merge::First),
                Forwarded::new("t_uac_cancel", Merge::First),
                Forwarded::new("tm:uac_cancel", Merge::First),
                Forwarded::new("tm.cancel", Merge::First),
                Forwarded::new("t_uac_dlg", Merge::One),
                Forwarded::new("tm:uac_dlg", Merge::One),
                Forwarded::new("tcp-list", Merge::Concat),
                Forwarded::new("core.tcp_list", Merge::Concat),
                Forwarded::new("cfg.diff", Merge::One),
                Forwarded::new("cfg.get", Merge::One),
                Forwarded::new("cfg.help", Merge::One),
                Forwarded::new("cfg.list", Merge::One),
                Forwarded::new("cfg.reset", Merge::One),
                Forwarded::new("cfg.set", Merge::One),
                Forwarded::new("cfg.set_now_int", Merge::One),
                Forwarded::new("cfg.set_now_string", Merge::One),
                Forwarded::new("cfg.seti", Merge::One),
                Forwarded::new("cfg.sets", Merge::One),
                Forwarded::new("dlgs.briefing", Merge::One),
                Forwarded::new("dlgs.count", Merge::One),
                Forwarded::new("dlgs.get", Merge::One),
                Forwarded::new("dlgs.getall", Merge::One),
                Forwarded::new("dlgs.list", Merge::One),
                Forwarded::new("dlgs.stats", Merge::One),
                Forwarded::new("domain.dump", Merge::One),
                Forwarded::new("domain.reload", Merge::One),
                Forwarded::new("permissions.addressDump", Merge::One),
                Forwarded::new("permissions.addressReload", Merge::One),
                Forwarded::new("permissions.domainDump", Merge::One),
                Forwarded::new("permissions.subnetDump", Merge::One),
                Forwarded::new("permissions.trustedDump", Merge::One),
                Forwarded::new("permissions.trustedReload", Merge::One),
                Forwarded::new("permissions.rulesReload", Merge::One),
                Forwarded::new("permissions.testUri", Merge::One),
                Forwarded::new("permissions.allowUri", Merge::One),
                Forwarded::new("permissions:address_dump", Merge::One),
                Forwarded::new("permissions:address_reload", Merge::One),
                Forwarded::new("permissions:allow_uri", Merge::One),
                Forwarded::new("permissions:rules_reload", Merge::One),
                Forwarded::new("permissions:subnet_dump", Merge::One),
                Forwarded::new("address_dump", Merge::One),
                Forwarded::new("address_reload", Merge::One),
                Forwarded::new("allow_uri", Merge::One),
                Forwarded::new("subnet_dump", Merge::One),
                Forwarded::new("reg_disable", Merge::One),
                Forwarded::new("reg_enable", Merge::One),
                Forwarded::new("reg_force_register", Merge::One),
                Forwarded::new("reg_list", Merge::One),
                Forwarded::new("reg_reload", Merge::One),
                Forwarded::new("uac_registrant:disable", Merge::One),
                Forwarded::new("uac_registrant:enable", Merge::One),
                Forwarded::new("uac_registrant:force_register", Merge::One),
                Forwarded::new("uac_registrant:list", Merge::One),
                Forwarded::new("uac_registrant:reload", Merge::One),
                Forwarded::new("uac.reg_active", Merge::One),
                Forwarded::new("uac.reg_add", Merge::One),
                Forwarded::new("uac.reg_disable", Merge::One),
                Forwarded::new("uac.reg_dump", Merge::One),
                Forwarded::new("uac.reg_enable", Merge::One),
                Forwarded::new("uac.reg_info", Merge::One),
                Forwarded::new("uac.reg_refresh", Merge::One),
                Forwarded::new("uac.reg_reload", Merge::One),
                Forwarded::new("uac.reg_remove", Merge::One),
                Forwarded::new("uac.reg_unregister", Merge::One),
                Forwarded::new("tcp-close", Merge::First),
                Forwarded::new("httpclient.listcon", Merge::One),
                Forwarded::new("pv.shvGet", Merge::One),
                Forwarded::new("pv.shvSet", Merge::One),
                Forwarded::new("shv_get", Merge::One),
                Forwarded::new("shv_set", Merge::One),
                Forwarded::new("cfgutils:shv_get", Merge::One),
                Forwarded::new("cfgutils:shv_set", Merge::One),
                Forwarded::new("mqueue.get_size", Merge::One),
                Forwarded::new("mqueue.get_sizes", Merge::One),
                Forwarded::new("mqueue.fetch", Merge::One),
                Forwarded::new("htable.get", Merge::One),
                Forwarded::new("htable.delete", Merge::One),
                Forwarded::new("htable.sets", Merge::One),
                Forwarded::new("htable.seti", Merge::One),
                Forwarded::new("htable.setex", Merge::One),
                Forwarded::new("htable.setxs", Merge::One),
                Forwarded::new("htable.setxi", Merge::One),
                Forwarded::new("htable.dump", Merge::One),
                Forwarded::new("htable.flush", Merge::One),
                Forwarded::new("htable.listTables", Merge::One),
                Forwarded::new("htable.stats", Merge::One),
                Forwarded::new("dispatcher.list", Merge::One),
                Forwarded::new("dispatcher.set_state", Merge::One),
                Forwarded::new("dispatcher.reload", Merge::One),
                Forwarded::new("dispatcher.ping_active", Merge::One),
                Forwarded::new("dispatcher.add", Merge::One),
                Forwarded::new("dispatcher.hash", Merge::One),
                Forwarded::new("dispatcher.remove", Merge::One),
                Forwarded::new("dispatcher:list", Merge::One),
                Forwarded::new("dispatcher:set_state", Merge::One),
                Forwarded::new("dispatcher:reload", Merge::One),
                Forwarded::new("ds_list", Merge::One),
                Forwarded::new("ds_set_state", Merge::One),
                Forwarded::new("ds_reload", Merge::One),
                Forwarded::new("nathelper.enable_ping", Merge::One),
                Forwarded::new("nathelper:enable_ping", Merge::One),
                Forwarded::new("nh_enable_ping", Merge::One),
                Forwarded::new("pike.list", Merge::One),
                Forwarded::new("pike.top", Merge::One),
                Forwarded::new("pike.rm", Merge::One),
                Forwarded::new("pike:list", Merge::One),
                Forwarded::new("pike:rm", Merge::One),
                Forwarded::new("pike_list", Merge::One),
                Forwarded::new("pike_rm", Merge::One),
                Forwarded::new("htable.reload", Merge::One),
                Forwarded::new("htable.store", Merge::One),
                Forwarded::new("ul.dump", Merge::One),
                Forwarded::new("ul.lookup", Merge::One),
                Forwarded::new("ul.rm", Merge::One),
                Forwarded::new("ul.rm_contact", Merge::One),
                Forwarded::new("ul.flush", Merge::One),
                Forwarded::new("ul.add", Merge::One),
                Forwarded::new("usrloc:dump", Merge::One),
                Forwarded::new("usrloc:show_contact", Merge::One),
                Forwarded::new("usrloc:rm", Merge::One),
                Forwarded::new("usrloc:rm_contact", Merge::One),
                Forwarded::new("usrloc:flush", Merge::One),
                Forwarded::new("usrloc:sync", Merge::One),
                Forwarded::new("usrloc:add", Merge::One),
                Forwarded::new("ul_dump", Merge::One),
                Forwarded::new("ul_show_contact", Merge::One),
                Forwarded::new("ul_rm", Merge::One),
                Forwarded::new("ul_rm_contact", Merge::One),
                Forwarded::new("ul_flush", Merge::One),
                Forwarded::new("ul_sync", Merge::One),
                Forwarded::new("ul_add", Merge::One),
            ],
            version: concat!("reprise ", env!("CARGO_PKG_VERSION")).to_owned(),
            on_reload: None,
            news: None,
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("workers", &self.workers)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
