//! `db_mysql` and `db_virtual`: the parameters of the MySQL client, which is built in, and of sets of servers.

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

const fn param(name: &'static str, kind: ModParamKind, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored, doc }
}

const INT: ModParamKind = ModParamKind::Int;
const STR: ModParamKind = ModParamKind::Str;

/// The MySQL client, with the parameters of both peers.
pub static DB_MYSQL: ModuleSpec<SipHost> = ModuleSpec {
    name: "db_mysql",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[],
    params: &[
        param(
            "exec_query_threshold",
            INT,
            false,
            "microseconds; a query that takes longer is a warning in the log; default 0: backend_slow_threshold counts",
        ),
        param("timeout_interval", INT, false, "seconds that one attempt to connect may take; default 10"),
        param("connect_timeout", INT, false, "the same"),
        param(
            "max_db_queries",
            INT,
            false,
            "how often a query is tried when the server has closed the connection before it saw it; default 2",
        ),
        param("retries", INT, false, "how often it is tried again; default 1"),
        param("use_tls", INT, false, "1: URLs that say nothing about TLS demand it (ssl_mode=required)"),
        param(
            "opt_ssl_mode",
            INT,
            false,
            "ssl_mode of URLs that say nothing about TLS: 1 disabled, 2 preferred, 3 required, 4 verify_ca, 5 verify_identity",
        ),
        param("opt_ssl_ca", STR, false, "ssl_ca of URLs that say nothing about TLS"),
        param("max_db_retries", INT, true, "attempts to connect pause for a growing while, and go on"),
        param("auto_reconnect", INT, true, "connections are always replaced"),
        param("ping_interval", INT, true, "idle connections are watched, not pinged"),
        param("send_timeout", INT, true, "every operation has its deadline"),
        param("receive_timeout", INT, true, "every operation has its deadline"),
        param("server_timezone", INT, true, "the server is asked for its time zone"),
        param("insert_delayed", INT, true, "servers do not know it any more"),
        param("update_affected_found", INT, true, "a script does not see the number of rows changed"),
        param("unsigned_type", INT, true, "numbers have 64 bits"),
        param("ps_max_col_size", INT, true, "columns have no limit of their own"),
    ],
    any_param: false,
    needs: &[],
};

/// Sets of servers of which one after the other is asked.
pub static DB_VIRTUAL: ModuleSpec<SipHost> = ModuleSpec {
    name: "db_virtual",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[
        param(
            "db_urls",
            STR,
            false,
            "`define NAME FAILOVER`, then one MySQL URL in each further db_urls; `virtual://NAME` is the set's URL",
        ),
        param(
            "db_probe_time",
            INT,
            false,
            "seconds for which a server that could not be reached comes after the others; default 30",
        ),
        param("db_max_consec_retrys", INT, true, "attempts go on as long as the server is named"),
    ],
    any_param: false,
    needs: &[],
};
