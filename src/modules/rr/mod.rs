//! `rr`: record routing and loose routing (RFC 3261 16.4, 16.6 step 4, 16.12; opensips.md 4.4).

pub mod direction;
mod loose;
mod record;
mod settings;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

pub use record::record_route_lines;
pub use settings::{Double, Settings};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "rr",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        loose::LOOSE_ROUTE,
        loose::LOOSE_ROUTE_KAMAILIO,
        loose::LOOSE_ROUTE_PRELOADED,
        loose::LOOSE_ROUTE_MODE,
        loose::RR_NEXT_HOP_ROUTE,
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
            doc: "1 (default): two Record-Routes when the sockets differ; 2: always; 0: never",
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
            ignored: false,
            doc: "1: `lr=on` instead of `lr`; default 0",
        },
        ModParamSpec {
            name: "custom_user_avp",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "with add_username: the AVP whose value is the user of the Record-Route, `$avp(name)`; the R-URI's if it has none",
        },
        ModParamSpec {
            name: "force_send_socket",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the request leaves from the socket that our Route names, also if there is only one; default 0",
        },
        ModParamSpec {
            name: "ignore_sips",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the Record-Route of a request to a `sips:` URI is a `sip:` URI; default 0",
        },
        ModParamSpec {
            name: "sockname_mode",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the name of the socket stands in the Record-Route (`sn`), and tells it again in the Route; default 0",
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
