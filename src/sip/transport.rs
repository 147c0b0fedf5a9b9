//! Transport protocols as Via headers and URIs name them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 3261 §18.
    Udp,
    /// RFC 3261 §18.
    Tcp,
    /// RFC 3261 §26.2.
    Tls,
    /// RFC 4168.
    Sctp,
    /// TLS over SCTP (RFC 4168).
    TlsSctp,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
    /// A name that is not known here.
    Other,
}

impl Transport {
    /// The transport with this name, whatever its letter case (Via's third part, or the
    /// `transport` parameter of a URI).
    pub fn from_bytes(name: &[u8]) -> Transport {
        let is = |n: &str| name.eq_ignore_ascii_case(n.as_bytes());
        match name.len() {
            2 if is("WS") => Transport::Ws,
            3 if is("UDP") => Transport::Udp,
            3 if is("TCP") => Transport::Tcp,
            3 if is("TLS") => Transport::Tls,
            3 if is("WSS") => Transport::Wss,
            4 if is("SCTP") => Transport::Sctp,
            8 if is("TLS-SCTP") => Transport::TlsSctp,
            _ => Transport::Other,
        }
    }

    /// The name as a Via header has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Sctp => "SCTP",
            Transport::TlsSctp => "TLS-SCTP",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
            Transport::Other => "OTHER",
        }
    }

    /// The name as a URI's `transport` parameter has it.
    pub fn as_param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Sctp => "sctp",
            Transport::TlsSctp => "tls-sctp",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Other => "other",
        }
    }

    /// Whether no retransmissions are needed over it (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp | Transport::Other)
    }

    /// Whether it encrypts.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::TlsSctp | Transport::Wss)
    }

    /// The port where none is written (RFC 3261 §19.1.2, RFC 7118 §8).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Tls | Transport::TlsSctp => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
            _ => 5060,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ignore_case() {
        assert_eq!(Transport::from_bytes(b"udp"), Transport::Udp);
        assert_eq!(Transport::from_bytes(b"Tls-Sctp"), Transport::TlsSctp);
        assert_eq!(Transport::from_bytes(b"UNKNOWN"), Transport::Other);
        assert_eq!(Transport::Wss.default_port(), 443);
    }
}
