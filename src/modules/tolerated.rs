//! Modules a configuration may load though reprise has what they bring built in, or has another
//! way for it (the control socket instead of `mi_*`). They have no functions; their parameters
//! are accepted and have no effect.

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::ModuleSpec;

const fn tolerated(name: &'static str) -> ModuleSpec<SipHost> {
    ModuleSpec { name, dialects: &[Dialect::OpenSips], functions: &[], params: &[], any_param: true, needs: &[] }
}

/// SIP over UDP is built in.
pub static PROTO_UDP: ModuleSpec<SipHost> = tolerated("proto_udp");
/// The SQLite helper process is built in.
pub static DB_SQLITE: ModuleSpec<SipHost> = tolerated("db_sqlite");
/// `reprise ctl` takes its place.
pub static MI_FIFO: ModuleSpec<SipHost> = tolerated("mi_fifo");
/// `reprise ctl` takes its place.
pub static MI_DATAGRAM: ModuleSpec<SipHost> = tolerated("mi_datagram");
/// `reprise ctl` takes its place.
pub static HTTPD: ModuleSpec<SipHost> = tolerated("httpd");
/// `reprise ctl` takes its place.
pub static MI_HTTP: ModuleSpec<SipHost> = tolerated("mi_http");
/// Event routes are built in.
pub static EVENT_ROUTE: ModuleSpec<SipHost> = tolerated("event_route");
/// `xlog` is built in.
pub static XLOG: ModuleSpec<SipHost> = tolerated("xlog");
