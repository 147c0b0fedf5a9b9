//! What an SQL engine may use: connections, queue, memory, time.

use std::time::Duration;

/// Limits of one engine; every table and buffer it has is bounded by one of these.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections per worker and database URL.
    pub max_connections: usize,
    /// Different database URLs per worker.
    pub max_pools: usize,
    /// Rows of one answer.
    pub max_rows: usize,
    /// Bytes of one answer, each value counted with its bookkeeping (24 bytes).
    pub max_bytes: usize,
    /// Limit of one attempt to connect: resolve + connect + TLS + login.
    pub connect_timeout: Duration,
    /// Limit of one address, when there are more addresses to try.
    pub address_timeout: Duration,
    /// A connection that has served nobody for this long is closed.
    pub idle_timeout: Duration,
    /// First pause after a failed attempt to connect; doubled with each further one.
    pub backoff_min: Duration,
    /// Longest pause after failed attempts to connect.
    pub backoff_max: Duration,
    /// How long a server that could not be reached comes after the others of its URL.
    pub hold: Duration,
    /// How often a query may be asked again on a fresh connection, after one that had served before was
    /// found closed by the server.
    pub repeats: u32,
    /// Whether a server is told to end what it still does for a query that nobody waits for any more.
    pub kill: Kill,
}

/// `db_kill_on_timeout`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kill {
    /// If it is certain that the right query is hit: no proxy in between, the server says who it is.
    #[default]
    Auto,
    /// Also through proxies that pass `KILL` and connection numbers on.
    Always,
    /// Never; the server finishes the query in vain.
    Never,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 10,
            max_pools: 64,
            max_rows: 65_536,
            max_bytes: 4 << 20,
            connect_timeout: Duration::from_secs(10),
            address_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(300),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            hold: Duration::from_secs(30),
            repeats: 1,
            kill: Kill::default(),
        }
    }
}

/// What one value costs besides its bytes.
pub(crate) const VALUE_COST: usize = 24;
