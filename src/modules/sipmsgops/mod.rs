//! `sipmsgops`: tests and changes of the message (opensips.md section 4.6). Changes are queued:
//! `$hdr()` and `is_present_hf` still show the message as it came.

mod headers;
mod lists;
mod ruri;
mod tests_of;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModuleSpec, RouteSet};

/// Routes of most functions here.
pub const MOST: RouteSet = RouteSet::letters("RFOBL");

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "sipmsgops",
    dialects: &[Dialect::OpenSips],
    functions: &[
        tests_of::IS_METHOD,
        tests_of::HAS_TOTAG,
        tests_of::IS_PRESENT_HF,
        tests_of::HAS_BODY,
        tests_of::HAS_BODY_PART,
        tests_of::IS_URI_USER_E164,
        tests_of::IS_PRIVACY,
        headers::APPEND_HF,
        headers::INSERT_HF,
        headers::APPEND_TO_REPLY,
        headers::APPEND_URIHF,
        headers::REMOVE_HF,
        headers::REMOVE_HF_RE,
        headers::REMOVE_HF_GLOB,
        headers::APPEND_TIME,
        headers::CHANGE_REPLY_STATUS,
        lists::LIST_HDR_HAS_OPTION,
        lists::LIST_HDR_ADD_OPTION,
        lists::LIST_HDR_REMOVE_OPTION,
        ruri::RURI_HAS_PARAM,
        ruri::RURI_ADD_PARAM,
        ruri::RURI_DEL_PARAM,
        ruri::RURI_TEL2SIP,
    ],
    params: &[],
    any_param: false,
    needs: &[],
};
