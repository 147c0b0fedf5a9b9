//! The connections of one database URL, who waits for them, which of its servers is asked, and when to try
//! again after a failure.

use super::conn::{Conn, Stage, Use};
use super::core::{Core, Login};
use crate::base::{Key, Str, Time};
use crate::net::stream::Target;
use crate::net::tls::{Tls, TlsOptions};
use crate::ops::backend::Backoff;
use crate::ops::sql::limits::{Kill, Limits};
use crate::ops::sql::url::{Endpoint, MysqlUrl, SslMode};
use crate::ops::{Failure, OpId, Phase, Why};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// MySQL's port.
pub(super) const PORT: u16 = 3306;
/// Where servers of the same machine listen, in the order the distributions use them.
const LOCAL_SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
/// Cancelled queries that the server may still be busy with, at most.
const MAX_KILLS: usize = 64;
/// A cancelled query is not worth killing after this time.
pub(super) const KILL_TIME: Duration = Duration::from_secs(5);

/// One of the servers of a URL.
struct Server {
    url: MysqlUrl,
    tls: Option<Arc<ClientConfig>>,
    /// Until then it comes after the others.
    held_until: Time,
}

/// What a server still does for a connection that was closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Leftover {
    since: Time,
    /// Which of the pool's servers.
    pub server: usize,
    /// The connection's number there.
    pub connection: u64,
    /// Who that server said it is.
    pub identity: Option<Str>,
}

pub(super) struct Pool {
    servers: Vec<Server>,
    /// The URL without the password.
    pub display: String,
    /// Connections that serve nobody; the last one used is used first.
    pub idle: Vec<Key>,
    /// Connections on the way to their login, the oldest first.
    pub opening: Vec<Key>,
    /// Connections that tidy up and will serve again at once.
    pub closing: usize,
    /// All connections but the side connection.
    pub live: usize,
    /// Queries that wait for a connection.
    pub queue: VecDeque<OpId>,
    /// When to connect again after a failure.
    pub pause: Backoff,
    /// The connection over which leftovers are ended.
    pub side: Option<Key>,
    /// A connection that finds out whether a server that comes before the present one is back.
    pub probe: Option<Key>,
    /// The server that the last login was at.
    current: usize,
    leftovers: VecDeque<Leftover>,
    last: Option<Failure>,
}

impl Pool {
    pub fn new(mut url: MysqlUrl, seed: u64) -> Pool {
        let display = url.to_string();
        let others = std::mem::take(&mut url.others);
        let server = |url| Server { url, tls: None, held_until: Time::ZERO };
        Pool {
            servers: [url].into_iter().chain(others).map(server).collect(),
            display,
            idle: Vec::new(),
            opening: Vec::new(),
            closing: 0,
            live: 0,
            queue: VecDeque::new(),
            pause: Backoff::new(seed),
            side: None,
            probe: None,
            current: 0,
            leftovers: VecDeque::new(),
            last: None,
        }
    }

    /// Makes the TLS configurations, as far as the URL wants them and they are not there yet.
    pub fn prepare_tls(&mut self, tls: &mut Option<Tls>) -> Result<(), String> {
        for server in &mut self.servers {
            if server.url.ssl_mode != SslMode::Disabled && server.tls.is_none() {
                let tls = tls.get_or_insert_with(Tls::new);
                server.tls = Some(tls.config(&options(&server.url)?)?);
            }
        }
        Ok(())
    }

    /// The servers in the order in which they are to be tried: those held back come last.
    pub fn order(&self, now: Time) -> VecDeque<usize> {
        let all = || self.servers.iter().enumerate();
        let fit = all().filter(|(_, s)| s.held_until <= now).map(|(i, _)| i);
        fit.chain(all().filter(|(_, s)| s.held_until > now).map(|(i, _)| i)).collect()
    }

    /// Those that come before this server and are worth a try.
    pub fn better(&self, server: usize, now: Time) -> VecDeque<usize> {
        let better = self.servers.iter().enumerate().take(server);
        better.filter(|(_, s)| s.held_until <= now).map(|(i, _)| i).collect()
    }

    /// Whether a server that comes before this one has taken the work back.
    pub fn superseded(&self, server: usize) -> bool {
        self.current < server
    }

    /// A server could not be reached: for a while it comes after the others. The time is said once.
    pub fn hold(&mut self, server: usize, now: Time, limits: &Limits) {
        if let Some(s) = self.servers.get_mut(server) {
            s.held_until = now + limits.hold;
        }
    }

    /// The URL of one server.
    pub fn url(&self, server: usize) -> Option<&MysqlUrl> {
        self.servers.get(server).map(|s| &s.url)
    }

    /// A connection that has done nothing yet, on its way to the first of these servers.
    pub fn connection(&self, index: usize, mut servers: VecDeque<usize>, limits: &Limits, now: Time) -> Option<Conn> {
        let server = servers.pop_front()?;
        let s = self.servers.get(server)?;
        let mode = s.url.ssl_mode;
        let login = Login {
            user: s.url.user.clone(),
            password: s.url.password.clone(),
            database: s.url.database.clone(),
            tls: mode != SslMode::Disabled,
            tls_required: !matches!(mode, SslMode::Disabled | SslMode::Preferred),
            local: matches!(s.url.endpoint, Endpoint::Unix(_)),
            multi_statements: s.url.multi_statements,
        };
        let name = s.url.host().unwrap_or("localhost").to_string();
        Some(Conn {
            pool: index,
            server,
            servers,
            stage: Stage::Resolve,
            core: Core::new(login, limits.clone()),
            used_by: Use::Opening,
            targets: VecDeque::new(),
            reused: false,
            doomed: false,
            since: now,
            deadline: Time::NEVER,
            address_deadline: Time::NEVER,
            timer: None,
            tls: s.tls.clone().map(|c| (c, name)),
            last_error: None,
        })
    }

    /// The addresses of a server to try, or the name to resolve first.
    pub fn targets(&self, server: usize) -> (VecDeque<Target>, Option<String>) {
        let Some(url) = self.url(server) else { return (VecDeque::new(), None) };
        match &url.endpoint {
            Endpoint::Unix(path) => (VecDeque::from([Target::Unix(path.clone())]), None),
            Endpoint::Tcp { host, port } if host.eq_ignore_ascii_case("localhost") => {
                let tcp = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let tcp = tcp.into_iter().map(|ip| Target::Tcp((ip, port.unwrap_or(PORT)).into()));
                // As the MySQL clients do: without a port, the machine's own server is asked on its socket.
                // With TLS demanded, only TCP will do.
                let local = port.is_none() && url.ssl_mode == SslMode::Disabled;
                let sockets = LOCAL_SOCKETS.iter().filter(|_| local).map(|p| Target::Unix(p.into()));
                (sockets.chain(tcp).collect(), None)
            }
            Endpoint::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => (VecDeque::from([Target::Tcp((ip, port.unwrap_or(PORT)).into())]), None),
                Err(_) => (VecDeque::new(), Some(host.clone())),
            },
        }
    }

    pub fn port(&self, server: usize) -> u16 {
        match self.url(server).map(|u| &u.endpoint) {
            Some(Endpoint::Tcp { port: Some(port), .. }) => *port,
            _ => PORT,
        }
    }

    /// A connection has logged in: its server is well.
    pub fn opened(&mut self, key: Key, server: usize) {
        self.opening.retain(|k| *k != key);
        if self.probe == Some(key) {
            self.probe = None;
        }
        self.current = server;
        self.pause.reset();
        self.last = None;
        if let Some(s) = self.servers.get_mut(server) {
            s.held_until = Time::ZERO;
        }
    }

    /// No server could be reached: the next attempt waits.
    pub fn attempt_failed(&mut self, failure: Failure, now: Time, limits: &Limits) {
        self.last = Some(failure);
        self.leftovers.clear();
        self.pause.failed(now, limits.backoff_min, limits.backoff_max);
    }

    /// What queries are told when there is no connection and none is being opened.
    pub fn refusal(&self, now: Time) -> Failure {
        let mut failure =
            self.last.clone().unwrap_or_else(|| Failure::new(Why::Refused, Phase::Connect, "no connection"));
        let wait = self.pause.left(now);
        if !wait.is_zero() {
            failure.detail = format!("{} (next attempt in {} ms)", failure.detail, wait.as_millis());
        }
        failure
    }

    /// Remembers that the server still works for a connection that is being closed, if that can be ended.
    pub fn leave_running(&mut self, now: Time, conn: &Conn, kill: Kill) {
        let session = conn.core.session();
        let sure = session.killable(conn.core.thread());
        let (connection, identity) = match (kill, sure) {
            (Kill::Never, _) | (Kill::Auto, None) => return,
            (_, Some((connection, identity))) => (connection, Some(identity)),
            (Kill::Always, None) => {
                (session.connection.unwrap_or_else(|| conn.core.thread().into()), session.identity.clone())
            }
        };
        if self.leftovers.len() < MAX_KILLS {
            self.leftovers.push_back(Leftover { since: now, server: conn.server, connection, identity });
        }
    }

    /// A server has gone: what it did, it does no more, and its connection numbers may begin anew.
    pub fn forget_leftovers(&mut self, server: usize) {
        self.leftovers.retain(|l| l.server != server);
    }

    /// The server where something is to be ended.
    pub fn leftover_server(&mut self, now: Time) -> Option<usize> {
        self.leftovers.retain(|l| now.since(l.since) < KILL_TIME);
        self.leftovers.front().map(|l| l.server)
    }

    /// The next thing to be ended at this server, which says it is `identity`.
    pub fn next_leftover(&mut self, server: usize, identity: Option<&Str>) -> Option<u64> {
        // Behind one address there may be another server now, where the number is somebody else's.
        self.leftovers.retain(|l| l.server != server || l.identity.as_ref() == identity);
        let at = self.leftovers.iter().position(|l| l.server == server)?;
        self.leftovers.remove(at).map(|l| l.connection)
    }
}

/// What `ssl_mode` means for certificates.
fn options(url: &MysqlUrl) -> Result<TlsOptions, String> {
    let ca_file = match &url.ssl_ca {
        Some(path) => Some(path.to_str().ok_or("the path in ssl_ca is not UTF-8")?.to_string()),
        None => None,
    };
    let verify_peer = matches!(url.ssl_mode, SslMode::VerifyCa | SslMode::VerifyIdentity);
    let ca_file = ca_file.filter(|_| verify_peer);
    Ok(TlsOptions {
        verify_peer,
        verify_host: url.ssl_mode == SslMode::VerifyIdentity,
        ca_file,
        identity: None,
        alpn: None,
    })
}
