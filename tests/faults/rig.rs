//! What stands behind each kind of backend, and how each fault is brought about there.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bed::{self, Site, WAITS};
use crate::datagrams::{Datagrams, Full, UdpProxy};
use crate::matrix::{self, Cell, Fault, Kind, Phase};
use crate::proxy::{self, TcpProxy, Trigger};
use crate::support::dnsmasq::Dnsmasq;
use crate::support::freeradius::FreeRadius;
use crate::support::mariadb::MariaDb;
use crate::support::netns::NetNs;
use crate::support::nginx::Nginx;
use crate::support::{ca, eventually, lock};
use crate::victim::{Victim, victim_db, victim_web};

/// Whether a fault happens to the backend's process; the others happen on the way to it.
pub fn is_process(fault: Fault) -> bool {
    matches!(fault, Fault::Killed | Fault::Stopped | Fault::Restarted)
}

/// The parts of one test: a kind in a phase.
pub struct Rig {
    pub kind: Kind,
    pub phase: Phase,
    pub cells: Vec<Cell>,
    ns: NetNs,
    /// What the address of the namespace does at present.
    swallows: AtomicBool,
    unreachable: AtomicBool,
    /// The relay in front of each cell's backend.
    proxies: Vec<TcpProxy>,
    datagrams: Option<UdpProxy>,
    pub names: Dnsmasq,
    full: Mutex<Option<Full>>,
    pub victim: Victim,
    /// The helper or the children that a signal was sent to.
    pub pids: Mutex<Vec<i32>>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Plays the cells of a kind in a phase: those that happen to the process, or the others.
pub fn run(kind: Kind, phase: Phase, process: bool) {
    let cells: Vec<Cell> = matrix::cells(kind, phase).into_iter().filter(|c| is_process(c.fault) == process).collect();
    let rig = Rig::new(kind, phase, cells);
    let (core, settings, good) = rig.configuration();
    bed::run(&core, &settings, &good, &rig.cells, &rig);
}

impl Rig {
    fn new(kind: Kind, phase: Phase, cells: Vec<Cell>) -> Rig {
        let process = cells.iter().any(|c| is_process(c.fault));
        let ns = NetNs::swallowing();
        ns.answer();
        // Little is on the way, so that a request of 64 KiB is more than it holds.
        ns.mtu(576);
        let place = if matches!(kind, Kind::Radius | Kind::Dns) { Ipv4Addr::LOCALHOST } else { ns.peer };
        let names = Dnsmasq::start(&[("fault.test", place), ("server.test", ns.peer)]);
        let victim = match (process, kind) {
            (true, Kind::Mysql) => Victim::Db(victim_db()),
            (true, Kind::Http | Kind::Https) => Victim::Web(victim_web()),
            (_, Kind::Radius) => Victim::Radius(FreeRadius::start()),
            (true, Kind::Dns) => Victim::Names,
            (_, Kind::Sqlite) => Victim::Helper,
            (_, Kind::Exec) => Victim::Children,
            _ => Victim::Nobody,
        };
        let mut rig = Rig {
            kind,
            phase,
            cells,
            ns,
            swallows: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            proxies: Vec::new(),
            datagrams: None,
            names,
            full: Mutex::new(None),
            victim,
            pids: Mutex::default(),
        };
        let upstream = rig.upstream();
        if matches!(kind, Kind::Mysql | Kind::Http | Kind::Https) {
            rig.proxies = rig.cells.iter().map(|_| TcpProxy::start(&rig.ns, 0, upstream)).collect();
        }
        if phase == Phase::Resolve || kind == Kind::Dns {
            rig.datagrams = Some(UdpProxy::start(&rig.ns, 0, rig.names.addr));
        } else if let Victim::Radius(radius) = &rig.victim {
            rig.datagrams = Some(UdpProxy::start(&rig.ns, 0, local(radius.auth_port)));
        }
        if kind == Kind::Dns && phase == Phase::MidAnswer {
            let port = rig.datagrams.as_ref().map_or(0, |d| d.addr.port());
            rig.proxies = vec![TcpProxy::start(&rig.ns, port, rig.names.addr)];
        }
        rig
    }

    /// The real server.
    fn upstream(&self) -> SocketAddr {
        match (self.kind, &self.victim) {
            (_, Victim::Db(db)) => local(db.port),
            (Kind::Http, Victim::Web(web)) => local(web.port),
            (Kind::Https, Victim::Web(web)) => local(web.tls_port),
            (Kind::Mysql, _) => local(MariaDb::shared().port),
            (Kind::Http, _) => local(Nginx::shared().port),
            (Kind::Https, _) => local(Nginx::shared().tls_port),
            _ => self.names.addr,
        }
    }

    /// Whether a cell's process is asked without a relay in between.
    fn direct(&self) -> bool {
        let process = self.cells.iter().any(|c| is_process(c.fault));
        process && matches!(self.phase, Phase::Connect | Phase::Idle)
    }

    /// Where a cell's backend is asked.
    fn address(&self, cell: usize) -> SocketAddr {
        match self.cells.get(cell).map(|c| (c.phase, c.fault)) {
            _ if self.direct() => self.upstream(),
            // Nobody listens there.
            Some((Phase::Connect, Fault::Refused)) => SocketAddr::from((self.ns.peer, 9)),
            _ => self.proxies.get(cell).map_or_else(|| self.upstream(), |p| p.addr),
        }
    }

    /// `host:port` in a cell's URL. `letter`: healthy look-ups have names of their own.
    pub fn authority(&self, letter: char, cell: usize) -> String {
        let address = self.address(cell);
        match (self.kind, self.phase) {
            (_, Phase::Resolve) => format!("{letter}{cell}.fault.test:{}", address.port()),
            (Kind::Https, _) if !address.ip().is_loopback() => format!("server.test:{}", address.port()),
            _ => address.to_string(),
        }
    }

    /// Core parameters, module parameters, and a function that works.
    pub fn configuration(&self) -> (String, String, String) {
        let name_server = match (self.kind, self.phase, &self.datagrams, &self.victim) {
            (_, _, _, Victim::Names) if self.phase != Phase::MidAnswer => self.names.addr,
            (Kind::Dns, ..) | (_, Phase::Resolve, ..) => self.datagrams.as_ref().map_or(self.names.addr, |d| d.addr),
            _ => self.names.addr,
        };
        let core = format!("dns_servers = \"{name_server}\"\ndns_retr_time = 3\ndns_retr_no = 1\n");
        let ca = ca::get().ca.display().to_string();
        let mut settings = format!(
            "modparam(\"rest_client\", \"connection_timeout\", 1)\nmodparam(\"rest_client\", \"max_transfer_size\", 2048)\n\
             modparam(\"rest_client\", \"ssl_capath\", \"{ca}\")\nmodparam(\"db_mysql\", \"timeout_interval\", 1)\n"
        );
        let get = |url: &str| format!("rest_get(\"{url}\", $avp(body))");
        let good = match self.kind {
            Kind::Mysql => {
                settings += &format!("modparam(\"sqlops\", \"db_url\", \"100 {}\")\n", MariaDb::shared().url());
                for cell in 0..self.cells.len() {
                    let tls = if self.phase == Phase::Tls { "?ssl_mode=required" } else { "" };
                    let place = self.authority('c', cell);
                    settings += &format!(
                        "modparam(\"sqlops\", \"db_url\", \"{} mysql://reprise:secret@{place}/reprise{tls}\")\n",
                        cell + 1
                    );
                }
                "sql_query(\"SELECT SLEEP(0.1)\", \"$avp(r)\", 100)".to_owned()
            }
            Kind::Sqlite => {
                settings += "modparam(\"sqlops\", \"db_url\", \"sqlite://lite.db?demo=yes\")\n";
                "sql_query(\"SELECT 1\", \"$avp(r)\")".to_owned()
            }
            Kind::Http => get(&Nginx::shared().url("/slow")),
            // No connection is kept: it would be to a host of a new name each time.
            Kind::Dns => get(&Nginx::shared().url("/close")),
            Kind::Https => {
                if self.phase == Phase::Resolve {
                    settings += "modparam(\"rest_client\", \"ssl_verifyhost\", 0)\n";
                }
                get(&Nginx::shared().tls_url("/slow"))
            }
            Kind::Exec => "exec(\"true\")".to_owned(),
            Kind::Radius => {
                let Victim::Radius(radius) = &self.victim else { unreachable!("a RADIUS server") };
                let place = match (self.phase, &self.datagrams) {
                    (Phase::Resolve, _) => format!("r.fault.test:{}", radius.auth_port),
                    (_, Some(d)) if !self.cells.iter().any(|c| is_process(c.fault)) => d.addr.to_string(),
                    _ => local(radius.auth_port).to_string(),
                };
                let config = radius.client_config(&[place], &[], "radius_timeout 3\nradius_retries 10\n");
                settings += &format!(
                    "modparam(\"aaa_radius\", \"radius_config\", \"{}\")\n\
                     modparam(\"aaa_radius\", \"sets\", \"login = (User-Name=$rU, User-Password=$avp(password))\")\n\
                     modparam(\"aaa_radius\", \"sets\", \"rights = (Reply-Message=$avp(text))\")\n",
                    config.display()
                );
                RADIUS.to_owned()
            }
        };
        (core, settings, good)
    }

    fn proxy(&self, cell: usize) -> Option<&TcpProxy> {
        if self.direct() {
            return None;
        }
        if self.kind == Kind::Dns { self.proxies.first() } else { self.proxies.get(cell) }
    }

    fn trigger(&self) -> Trigger {
        match (self.kind, self.phase) {
            // Behind the greeting and the request for TLS.
            (Kind::Mysql, Phase::Tls) => Trigger::Client(37),
            (_, Phase::Tls | Phase::Login) => Trigger::Client(1),
            // Logins and handshakes are shorter, requests are padded to be longer.
            (_, Phase::Write) => Trigger::Writing(1200),
            (_, Phase::FirstByte) => Trigger::Asked(1200),
            (Kind::Dns, _) => Trigger::Server(10),
            (_, Phase::MidAnswer) => Trigger::Server(40_000),
            _ => Trigger::Told,
        }
    }

    /// What the relay does.
    fn relay(fault: Fault) -> proxy::Harm {
        match fault {
            Fault::Reset => proxy::Harm::Reset,
            Fault::HalfClose => proxy::Harm::HalfClose,
            Fault::Garbage => proxy::Harm::Garbage,
            Fault::Drip => proxy::Harm::Drip,
            Fault::Endless => proxy::Harm::Endless,
            _ => proxy::Harm::Hold,
        }
    }

    /// Does what happens on the way, or to the process.
    fn act(&self, site: &Site, fault: Fault) {
        match fault {
            Fault::Dropped => {
                self.ns.swallow();
                self.swallows.store(true, Ordering::SeqCst);
            }
            Fault::Unreachable => {
                self.ns.unreachable(true);
                self.unreachable.store(true, Ordering::SeqCst);
            }
            Fault::Killed => self.kill(site),
            Fault::Stopped => self.stop(site),
            Fault::Restarted => {
                self.kill(site);
                self.launch(site);
            }
            _ => {}
        }
    }

    /// Waits until as many connections as there will be have got to the point; a short while at most.
    fn wait_reached(&self, proxy: &TcpProxy, count: usize) {
        let end = Instant::now() + Duration::from_millis(900);
        while proxy.reached() < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub const RADIUS: &str = "radius_send_auth(\"login\", \"rights\")";

impl bed::Harm for Rig {
    fn call(&self, cell: usize) -> String {
        self.waiting_call(cell)
    }

    fn healthy(&self, cell: usize) -> String {
        self.healthy_call(cell)
    }

    fn before(&self, site: &Site, cell: usize) {
        let Some(what) = self.cells.get(cell).copied() else { return };
        if let Some(datagrams) = &self.datagrams
            && !is_process(what.fault)
        {
            datagrams.set(match (self.kind, self.phase, what.fault) {
                (Kind::Dns, Phase::Connect | Phase::MidAnswer, _) => Datagrams::Truncate,
                (_, _, Fault::Refused) => Datagrams::Closed,
                (_, _, Fault::Garbage) => Datagrams::Garbage,
                (_, _, Fault::Endless) => Datagrams::Endless,
                _ => Datagrams::Pass,
            });
        } else if let (Some(datagrams), Kind::Dns, Phase::MidAnswer) = (&self.datagrams, self.kind, self.phase) {
            datagrams.set(Datagrams::Truncate);
        }
        match (self.kind, self.phase) {
            (Kind::Dns, Phase::Connect) => {
                if what.fault == Fault::Dropped {
                    let port = self.datagrams.as_ref().map_or(0, |d| d.addr.port());
                    *lock(&self.full) = Some(Full::take(&self.ns, port));
                }
            }
            (Kind::Sqlite, _) => self.before_helper(site, what),
            (Kind::Exec, _) => {}
            (_, Phase::Idle) => {
                if let Some(proxy) = self.proxy(cell) {
                    proxy.plan(Trigger::Told, Rig::relay(what.fault));
                    assert!(site.warm(cell), "{what}: does not work beforehand");
                    proxy.tell();
                    self.wait_reached(proxy, WAITS);
                    if matches!(what.fault, Fault::Reset | Fault::HalfClose | Fault::Garbage | Fault::Endless) {
                        // They are watched.
                        eventually("the kept connections are closed", Duration::from_secs(2), || proxy.open() == 0);
                    }
                } else {
                    assert!(site.warm(cell), "{what}: does not work beforehand");
                }
                self.act(site, what.fault);
            }
            (_, Phase::Resolve | Phase::Connect) | (Kind::Radius, _) | (Kind::Dns, Phase::FirstByte) => {
                // Datagrams that are sent while the server is away are to be lost.
                if (self.kind, what.fault) != (Kind::Radius, Fault::Restarted) {
                    self.act(site, what.fault);
                }
            }
            _ => {
                if let Some(proxy) = self.proxy(cell) {
                    proxy.plan(self.trigger(), Rig::relay(what.fault));
                }
            }
        }
        if (self.kind, what.fault) == (Kind::Radius, Fault::Restarted) {
            self.stop(site);
        }
    }

    fn during(&self, site: &Site, cell: usize) {
        let Some(what) = self.cells.get(cell).copied() else { return };
        let remote = is_process(what.fault) || matches!(what.fault, Fault::Dropped | Fault::Unreachable);
        match (self.kind, self.phase) {
            (Kind::Sqlite, Phase::Write | Phase::FirstByte) => self.during_helper(site, what),
            (Kind::Exec, Phase::FirstByte | Phase::MidAnswer) if is_process(what.fault) => {
                self.act(site, what.fault);
            }
            (Kind::Radius, _) if what.fault == Fault::Restarted => {
                eventually("all are asked", Duration::from_secs(2), || {
                    crate::common::held(&site.server, "operations") == WAITS as u64
                });
                self.act(site, what.fault);
            }
            (Kind::Sqlite | Kind::Exec | Kind::Radius, _) | (_, Phase::Resolve | Phase::Connect | Phase::Idle) => {}
            (Kind::Dns, Phase::FirstByte) => {}
            _ if remote => {
                if let Some(proxy) = self.proxy(cell) {
                    // A look-up asks for two types of records, whoever waits for it.
                    self.wait_reached(proxy, if self.kind == Kind::Dns { 2 } else { WAITS });
                    self.act(site, what.fault);
                }
            }
            _ => {}
        }
    }

    fn repair(&self, site: &Site, cell: usize) {
        let Some(what) = self.cells.get(cell).copied() else { return };
        if self.swallows.swap(false, Ordering::SeqCst) {
            self.ns.answer();
        }
        if self.unreachable.swap(false, Ordering::SeqCst) {
            self.ns.unreachable(false);
        }
        if is_process(what.fault) {
            self.launch(site);
        }
        *lock(&self.full) = None;
        if let Some(datagrams) = &self.datagrams {
            datagrams.set(Datagrams::Pass);
        }
        if let Some(proxy) = self.proxy(cell) {
            proxy.leave();
            proxy.cut();
        }
    }

    fn part(&self, _site: &Site, cell: usize) {
        if let Some(proxy) = self.proxy(cell) {
            proxy.cut();
        }
        match &self.victim {
            Victim::Db(db) => db.kill_connections(),
            Victim::Web(web) => web.restart(),
            _ => {}
        }
    }
}

impl Rig {
    /// Before the requests of a cell about the helper.
    fn before_helper(&self, site: &Site, what: Cell) {
        assert!(site.works(0), "{what}: does not work beforehand");
        match self.phase {
            // A fresh helper, to which nobody is connected yet.
            Phase::Connect => {
                self.kill(site);
                if what.fault != Fault::Killed {
                    self.launch(site);
                }
                if what.fault == Fault::Stopped {
                    self.stop(site);
                }
            }
            // So that it does not read.
            Phase::Write => self.stop(site),
            Phase::Idle => self.act(site, what.fault),
            _ => {}
        }
    }

    fn during_helper(&self, site: &Site, what: Cell) {
        eventually("all are in flight", Duration::from_secs(1), || {
            crate::common::held(&site.server, "operations") == WAITS as u64
        });
        // It stands still already when something is being written to it.
        if (self.phase, what.fault) != (Phase::Write, Fault::Stopped) {
            self.act(site, what.fault);
        }
    }
}
