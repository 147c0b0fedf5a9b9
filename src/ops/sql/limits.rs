//! What an SQL engine may use: connections, queue, memory, time.

use std::time::Duration;

/// Limits of one engine; every table and buffer it has is bounded by one of these.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections per worker and database URL.
    pub max_connections: usize,
    /// Operations per database URL that may wait for a connection.
    pub max_queue: usize,
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
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 10,
            max_queue: 1000,
            max_pools: 64,
            max_rows: 65_536,
            max_bytes: 4 << 20,
            connect_timeout: Duration::from_secs(10),
            address_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(300),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// What one value costs besides its bytes.
pub(crate) const VALUE_COST: usize = 24;
