//! `sipmsgops`: tests and changes of the message (opensips.md section 4.6). Changes are queued:
//! `$hdr()` and `is_present_hf` still show the message as it came.

mod codecs;
pub mod headers;
mod lists;
pub mod parts;
mod ruri;
mod streams;
pub mod tests_of;
mod validate;
mod whole;

pub use parts::sdp as session_of;

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
        streams::STREAM_EXISTS,
        streams::STREAM_DELETE,
        streams::IS_AUDIO_ON_HOLD,
        codecs::CODEC_EXISTS,
        codecs::CODEC_EXISTS_RE,
        codecs::CODEC_DELETE,
        codecs::CODEC_DELETE_RE,
        codecs::CODEC_DELETE_EXCEPT_RE,
        codecs::CODEC_MOVE_UP,
        codecs::CODEC_MOVE_UP_RE,
        codecs::CODEC_MOVE_DOWN,
        codecs::CODEC_MOVE_DOWN_RE,
        whole::GET_GLOB_HEADERS_VALUES,
        whole::GET_UPDATED_BODY_PART,
        whole::SIP_TO_JSON,
        validate::SIPMSG_VALIDATE,
    ],
    params: &[],
    any_param: false,
    needs: &[],
};

#[cfg(test)]
mod tests;
