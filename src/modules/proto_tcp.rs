//! `proto_tcp`: SIP over TCP is built in; this module has its parameters.

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

const fn param(name: &'static str, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "proto_tcp",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[
        param("tcp_port", false, "port of `tcp:` sockets that name none; default 5060"),
        param(
            "tcp_send_timeout",
            false,
            "milliseconds that a peer may take nothing of what waits for it before its connection is closed; default 10000",
        ),
        param("tcp_crlf_pingpong", false, "answer a double CRLF by a CRLF (RFC 5626); default 1"),
        param("tcp_crlf_drop", true, "a single CRLF is always dropped"),
        param("tcp_max_msg_chunks", true, "a message may come in any number of pieces within tcp_max_msg_time"),
        param("tcp_async", true, "connecting and writing never block"),
        param("tcp_async_max_postponed_chunks", true, "what may wait is counted in bytes: tcp_conn_wq_max"),
        param("tcp_async_local_connect_timeout", true, "connecting never blocks: tcp_connect_timeout"),
        param("tcp_async_local_write_timeout", true, "writing never blocks: tcp_send_timeout"),
        param(
            "tcp_parallel_handling",
            true,
            "messages of one connection are worked on in parallel where their calls differ",
        ),
    ],
    any_param: true,
    needs: &[],
};
