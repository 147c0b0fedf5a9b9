//! Parameters of stream connections.

use super::settings::ServerConfig;
use crate::base::Str;
use crate::net::connections::StreamConfig;
use crate::net::listen::{ListenSpec, Transport};
use std::time::Duration;

/// Takes a core parameter of the TCP group; says whether it is one.
pub(super) fn core_setting(out: &mut ServerConfig, name: &str, int: Option<i64>, text: Option<&str>) -> bool {
    let n = int.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let size = usize::try_from(n).unwrap_or(usize::MAX);
    // Zero stands for what the system does.
    let seconds = (n > 0).then(|| Duration::from_secs(n));
    let s = &mut out.streams;
    match name {
        "open_files_limit" => out.open_files = (n > 0).then_some(n),
        "tcp_accept_aliases" => s.aliases = n.min(2) as u8,
        "tcp_connect_timeout" => s.connect_timeout = Duration::from_millis(n),
        "tcp_connection_lifetime" => s.lifetime = Duration::from_secs(n),
        "tcp_max_msg_time" => s.max_msg_time = Duration::from_secs(n),
        "tcp_max_connections" => s.max_connections = size,
        "tcp_socket_backlog" => out.backlog = Some(i32::try_from(n).unwrap_or(i32::MAX)),
        "tcp_keepalive" => s.keepalive.on = n != 0,
        "tcp_keepidle" => s.keepalive.idle = seconds,
        "tcp_keepinterval" => s.keepalive.interval = seconds,
        "tcp_keepcount" => s.keepalive.count = u32::try_from(n).ok().filter(|n| *n > 0),
        "tcp_max_head_size" => s.limits.head = size,
        "tcp_max_body_size" => s.limits.body = size,
        "tcp_conn_wq_max" => s.queue = size,
        "tcp_wq_max" => s.all_queues = size,
        "tcp_no_new_conn_bflag" => out.settings.no_new_conn_bflag = text.map(Str::from),
        "tcp_no_new_conn_rplflag" => out.settings.no_new_conn_rplflag = text.map(Str::from),
        "udp_mtu" => out.settings.udp_mtu = size,
        _ => return false,
    }
    true
}

/// Takes a parameter of proto_tcp.
pub(super) fn module_setting(s: &mut StreamConfig, name: &str, int: Option<i64>) {
    let n = int.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    match name {
        "tcp_send_timeout" => s.send_timeout = Duration::from_millis(n),
        "tcp_crlf_pingpong" => s.pong = n != 0,
        "tcp_port" => s.port = u16::try_from(n).ok().filter(|p| *p > 0),
        _ => {}
    }
}

/// Sockets without a port get that of proto_tcp, if it was given; those that this version does not open are an
/// error.
///
/// # Errors
/// Names the socket.
pub(super) fn finish_specs(specs: &mut [ListenSpec], streams: &StreamConfig) -> Result<(), String> {
    for spec in specs {
        match spec.transport {
            Transport::Udp => {}
            Transport::Tcp => spec.port = spec.port.or(streams.port),
            other => {
                return Err(format!("cannot listen on {other}:{}: this version listens on udp and tcp", spec.host));
            }
        }
    }
    Ok(())
}
