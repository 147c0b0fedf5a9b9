//! The control socket: JSON-RPC 2.0 over a unix stream socket, one message per line.
//!
//! Here are the protocol, the connections and the merging of what several workers answer; which
//! methods there are is the supervisor's business (see docs/architecture.md).

pub mod jsonrpc;
pub mod merge;
pub mod server;

/// Where the control socket is unless the operator says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/reprise/ctl.sock";
