//! The connections of one database URL, who waits for them, and when to try again after a failure.

use super::conn::{Conn, Stage, Use};
use super::core::{Core, Login};
use super::stream::Target;
use super::tls;
use crate::base::{Key, Time};
use crate::ops::sql::limits::Limits;
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
const KILL_TIME: Duration = Duration::from_secs(5);

pub(super) struct Pool {
    pub url: MysqlUrl,
    /// The URL without the password.
    pub display: String,
    /// Connections that serve nobody; the last one used is used first.
    pub idle: Vec<Key>,
    /// Connections on the way to their login, the oldest first.
    pub opening: Vec<Key>,
    /// All connections.
    pub live: usize,
    /// Queries that wait for a connection.
    pub queue: VecDeque<OpId>,
    /// Before this no further attempt to connect.
    pub not_before: Time,
    /// Connection numbers at the server that work for nobody, and since when.
    pub kills: VecDeque<(Time, u32)>,
    failures: u32,
    last: Option<Failure>,
    tls: Option<Arc<ClientConfig>>,
    random: u64,
}

impl Pool {
    pub fn new(url: MysqlUrl, seed: u64) -> Pool {
        Pool {
            display: url.to_string(),
            url,
            idle: Vec::new(),
            opening: Vec::new(),
            live: 0,
            queue: VecDeque::new(),
            not_before: Time::ZERO,
            kills: VecDeque::new(),
            failures: 0,
            last: None,
            tls: None,
            random: (u64::from(std::process::id()) << 8 | seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Makes the TLS configuration, if the URL wants one and there is none yet.
    pub fn prepare_tls(&mut self) -> Result<(), String> {
        if self.url.ssl_mode != SslMode::Disabled && self.tls.is_none() {
            self.tls = Some(tls::config(self.url.ssl_mode, self.url.ssl_ca.as_deref())?);
        }
        Ok(())
    }

    /// A connection that has done nothing yet.
    pub fn connection(&self, index: usize, limits: &Limits, now: Time) -> Conn {
        let mode = self.url.ssl_mode;
        let login = Login {
            user: self.url.user.clone(),
            password: self.url.password.clone(),
            database: self.url.database.clone(),
            tls: mode != SslMode::Disabled,
            tls_required: !matches!(mode, SslMode::Disabled | SslMode::Preferred),
            local: matches!(self.url.endpoint, Endpoint::Unix(_)),
            multi_statements: self.url.multi_statements,
        };
        let name = self.url.host().unwrap_or("localhost").to_string();
        Conn {
            pool: index,
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
            tls: self.tls.clone().map(|c| (c, name)),
            last_error: None,
        }
    }

    /// The addresses to try, or the name to resolve first.
    pub fn targets(&self) -> (VecDeque<Target>, Option<String>) {
        match &self.url.endpoint {
            Endpoint::Unix(path) => (VecDeque::from([Target::Unix(path.clone())]), None),
            Endpoint::Tcp { host, port } if host.eq_ignore_ascii_case("localhost") => {
                let tcp = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let tcp = tcp.into_iter().map(|ip| Target::Tcp((ip, port.unwrap_or(PORT)).into()));
                // As the MySQL clients do: without a port, the machine's own server is asked on its socket.
                // With TLS demanded, only TCP will do.
                let local = port.is_none() && self.url.ssl_mode == SslMode::Disabled;
                let sockets = LOCAL_SOCKETS.iter().filter(|_| local).map(|p| Target::Unix(p.into()));
                (sockets.chain(tcp).collect(), None)
            }
            Endpoint::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => (VecDeque::from([Target::Tcp((ip, port.unwrap_or(PORT)).into())]), None),
                Err(_) => (VecDeque::new(), Some(host.clone())),
            },
        }
    }

    pub fn port(&self) -> u16 {
        match &self.url.endpoint {
            Endpoint::Tcp { port: Some(port), .. } => *port,
            _ => PORT,
        }
    }

    /// A connection has logged in: the server is well.
    pub fn opened(&mut self, key: Key) {
        self.opening.retain(|k| *k != key);
        self.failures = 0;
        self.not_before = Time::ZERO;
        self.last = None;
    }

    /// An attempt to connect has failed: the next one waits, twice as long each time, with a jitter of a
    /// quarter so that workers do not march in step.
    pub fn attempt_failed(&mut self, failure: Failure, now: Time, limits: &Limits) {
        self.last = Some(failure);
        self.kills.clear();
        if now < self.not_before {
            // Several attempts that fail together count once.
            return;
        }
        let doubled = limits.backoff_min.saturating_mul(1 << self.failures.min(16)).min(limits.backoff_max);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let per_mille = 750 + (self.random % 501) as u32;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + doubled.saturating_mul(per_mille) / 1000;
    }

    /// What queries are told when there is no connection and none is being opened.
    pub fn refusal(&self, now: Time) -> Failure {
        let mut failure =
            self.last.clone().unwrap_or_else(|| Failure::new(Why::Refused, Phase::Connect, "no connection"));
        let wait = self.not_before.since(now);
        if !wait.is_zero() {
            failure.detail = format!("{} (next attempt in {} ms)", failure.detail, wait.as_millis());
        }
        failure
    }

    /// Remembers that the server still works for a connection that was closed.
    pub fn leave_running(&mut self, now: Time, thread: u32) {
        if self.kills.len() < MAX_KILLS {
            self.kills.push_back((now, thread));
        }
    }

    /// The next connection number to kill.
    pub fn next_kill(&mut self, now: Time) -> Option<u32> {
        while let Some((since, thread)) = self.kills.pop_front() {
            if now.since(since) < KILL_TIME {
                return Some(thread);
            }
        }
        None
    }
}
