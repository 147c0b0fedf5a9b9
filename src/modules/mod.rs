//! What scripts call: one folder per script module, a file per function or family of functions,
//! each with its [`FnSpec`](crate::script::registry::FnSpec).
//!
//! A function never touches an fd or a transaction. It reads and edits the [`host::SipHost`] that
//! travels with its run; whatever must happen outside (a reply, a relay, a query) it returns as a
//! [`request::Request`], plain data, and the worker carries it out.

pub mod env;
pub mod events;
pub mod host;
pub mod kamailio;
pub mod lists;
pub mod local_tag;
pub mod packet;
mod proto_tcp;
pub mod pv;
pub mod pv_kamailio;
pub mod request;
mod select;
pub mod shared;
pub mod time_text;
pub mod tolerated;
pub mod uac_redirect;

pub mod aaa_radius;
pub mod acc;
pub mod alias_db;
pub mod async_module;
pub mod auth;
pub mod auth_db;
pub mod avpops;
pub mod cfgutils;
pub mod core;
pub mod counters;
pub mod db_mysql;
pub mod dispatcher;
pub mod dlgs;
pub mod domain;
pub mod exec;
pub mod files;
pub mod htable;
pub mod http;
pub mod ipops;
pub mod jansson;
pub mod jsonrpcs;
pub mod maxfwd;
pub mod mqueue;
pub mod nathelper;
pub mod path;
pub mod permissions;
pub mod pike;
pub mod rare;
pub mod registrar;
pub mod rest_client;
pub mod rr;
pub mod rtimer;
pub mod sanity;
pub mod signaling;
pub mod sipmsgops;
pub mod sl;
pub mod speeddial;
pub mod sqlops;
pub mod tcpops;
pub mod textops;
pub mod tls_mgm;
pub mod tm;
pub mod tmx;
pub mod uac;
pub mod usrloc;

pub mod catalog;
pub mod pv_get;
pub mod pv_set;

#[cfg(test)]
pub mod testing;

use crate::net::logpipe;

/// Writes a line for a run: levels on the OpenSIPS scale (-3 alert .. 4 debug), filtered by the
/// server's `log_level` or the script's `$log_level`.
pub fn log_line(host: &host::SipHost, level: i32, text: &str) {
    let limit = host.levels.0.unwrap_or_else(|| host.env().log_level());
    if level <= limit {
        emit_judged(level, text);
    }
}

/// Writes a line at a level of the OpenSIPS scale, whatever `log_level` is: the caller has judged it.
pub fn emit_judged(level: i32, text: &str) {
    emit_to(None, level, text);
}

/// The same with a facility of syslog; `None`: that of the log.
pub fn emit_to(facility: Option<u8>, level: i32, text: &str) {
    let text = text.trim_end_matches(['\n', '\r']);
    if !logpipe::write_unfiltered(level.clamp(-3, 4) as i8, facility, text) {
        emit(level, "script", text);
    }
}

/// Writes a line at a level of the OpenSIPS scale, if `log_level` lets it pass.
pub fn emit(level: i32, target: &str, text: &str) {
    let text = text.trim_end_matches(['\n', '\r']);
    // The `log` crate lacks three levels; the log knows them by their target.
    let (target, at) = match level {
        i32::MIN..=-3 => (logpipe::ALERT, log::Level::Error),
        -2 => (logpipe::CRIT, log::Level::Error),
        -1..=0 => (target, log::Level::Error),
        1 => (target, log::Level::Warn),
        2 => (logpipe::NOTICE, log::Level::Info),
        3 => (target, log::Level::Info),
        _ => (target, log::Level::Debug),
    };
    log::log!(target: target, at, "{text}");
}
