//! How exchanges are carried out: what the parameters of a module say of all of them.

use super::answer::MAX_HEAD;
use super::proxy::Proxy;
use crate::base::Str;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Options of an exchange. A limit of zero is none of its own: the exchange's deadline counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpOptions {
    /// Limit of resolve, connect (with a proxy's part) and TLS together, for each connection that is needed.
    pub connect_timeout: Duration,
    /// Limit of the name's resolution.
    pub resolve_limit: Duration,
    /// Limit of the TCP connect, with a proxy's part.
    pub tcp_limit: Duration,
    /// Limit of the TLS handshake.
    pub tls_limit: Duration,
    /// Limit from the request's last byte to the answer's first.
    pub first_byte_limit: Duration,
    /// Largest body accepted, as it comes and decoded, in bytes.
    pub max_body: usize,
    /// Largest heads (and trailers) of an answer together, in bytes.
    pub max_head: usize,
    /// Whether the server's certificate must be valid.
    pub verify_peer: bool,
    /// Whether it must name the host.
    pub verify_host: bool,
    /// File (or directory) with the CA certificates; `None` = the system's.
    pub ca_file: Option<Str>,
    /// Name of the certificate that is shown to servers that ask for one ([`crate::net::tls::Tls::set_identity`]).
    pub identity: Option<Str>,
    /// How many redirections are followed; 0 = a redirection is an answer like any other.
    pub redirects: u8,
    /// Whether a server is asked first whether it wants a body (RFC 9110 section 10.1.1).
    pub expect: bool,
    /// Whether compressed answers are asked for.
    pub compression: bool,
    /// Whether HTTP/1.0 is spoken.
    pub http10: bool,
    /// The proxy that is used.
    pub proxy: Option<Proxy>,
    /// Hosts and domains that are reached without it.
    pub direct: Vec<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            connect_timeout: Duration::from_secs(20),
            resolve_limit: Duration::ZERO,
            tcp_limit: Duration::ZERO,
            tls_limit: Duration::ZERO,
            first_byte_limit: Duration::ZERO,
            max_body: 10 << 20,
            max_head: MAX_HEAD,
            verify_peer: true,
            verify_host: true,
            ca_file: None,
            identity: None,
            redirects: 0,
            expect: false,
            compression: false,
            http10: false,
            proxy: None,
            direct: Vec::new(),
        }
    }
}
