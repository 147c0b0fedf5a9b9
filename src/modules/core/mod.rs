//! Core functions: always there, no `loadmodule` (opensips.md sections 1.8, 4.18).

pub(super) mod branches;
mod flags;
pub(super) mod logging;
pub(super) mod misc;
mod ruri;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::ModuleSpec;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "core",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        logging::XLOG,
        logging::XDBG,
        logging::LOG,
        logging::AVP_PRINT,
        logging::PV_PRINTF,
        logging::ERROR,
        logging::SCRIPT_TRACE,
        flags::SETFLAG,
        flags::RESETFLAG,
        flags::ISFLAGSET,
        flags::SETBFLAG,
        flags::RESETBFLAG,
        flags::ISBFLAGSET,
        ruri::SETURI,
        ruri::REWRITEURI,
        ruri::SETUSER,
        ruri::SETU,
        ruri::REWRITEUSER,
        ruri::SETUSERPASS,
        ruri::SETHOST,
        ruri::SETH,
        ruri::REWRITEHOST,
        ruri::SETHOSTPORT,
        ruri::SETHP,
        ruri::REWRITEHOSTPORT,
        ruri::SETPORT,
        ruri::SETP,
        ruri::REWRITEPORT,
        ruri::PREFIX,
        ruri::STRIP,
        ruri::STRIP_TAIL,
        ruri::REVERT_URI,
        ruri::SETDSTURI,
        ruri::SETDURI,
        ruri::RESETDSTURI,
        ruri::ISDSTURISET,
        branches::APPEND_BRANCH,
        branches::APPEND_MSG_BRANCH,
        branches::REMOVE_BRANCH,
        branches::REMOVE_MSG_BRANCH,
        branches::SERIALIZE_BRANCHES,
        branches::NEXT_BRANCHES,
        misc::IS_MYSELF,
        misc::FORCE_RPORT,
        misc::ADD_LOCAL_RPORT,
        misc::SET_VIA_HANDLING,
        misc::FORCE_TCP_ALIAS,
        misc::TCP_CLOSE_CONN,
        misc::FORCE_SEND_SOCKET,
        misc::SET_ADVERTISED_ADDRESS,
        misc::SET_ADVERTISED_PORT,
        misc::FORWARD,
        misc::SEND,
        misc::RAISE_EVENT,
        misc::ASSERT,
    ],
    params: &[],
    any_param: false,
    needs: &[],
};
