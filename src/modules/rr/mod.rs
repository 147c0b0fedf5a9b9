//! `rr`: record routing and loose routing (RFC 3261 16.4, 16.6 step 4, 16.12; opensips.md 4.4).

mod loose;
mod record;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

pub use record::record_route_lines;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "rr",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        loose::LOOSE_ROUTE,
        loose::CHECK_ROUTE_PARAM,
        loose::IS_DIRECTION,
        record::RECORD_ROUTE,
        record::RECORD_ROUTE_PRESET,
        record::RECORD_ROUTE_ADVERTISED,
        record::REMOVE_RECORD_ROUTE,
        record::ADD_RR_PARAM,
    ],
    params: &[
        ModParamSpec {
            name: "append_fromtag",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "put the From tag into Record-Route (`ftag`), which is_direction needs; default 1",
        },
        ModParamSpec {
            name: "enable_double_rr",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "two Record-Routes when the sockets differ; default 1",
        },
        ModParamSpec {
            name: "add_username",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "put the R-URI's user into Record-Route; default 0",
        },
        ModParamSpec {
            name: "enable_full_lr",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "`lr` is written without a value",
        },
        ModParamSpec {
            name: "enable_socket_mismatch_warning",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "not needed",
        },
    ],
    any_param: false,
    needs: &[],
};
