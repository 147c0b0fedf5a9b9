//! What scripts call: one folder per script module, a file per function or family of functions,
//! each with its [`FnSpec`](crate::script::registry::FnSpec).
//!
//! A function never touches an fd or a transaction. It reads and edits the [`host::SipHost`] that
//! travels with its run; whatever must happen outside (a reply, a relay, a query) it returns as a
//! [`request::Request`], plain data, and the worker carries it out.

pub mod env;
pub mod host;
pub mod pv;
pub mod request;
pub mod time_text;
pub mod tolerated;

pub mod avpops;
pub mod cfgutils;
pub mod core;
pub mod exec;
pub mod maxfwd;
pub mod rest_client;
pub mod rr;
pub mod signaling;
pub mod sipmsgops;
pub mod sl;
pub mod sqlops;
pub mod textops;
pub mod tm;

pub mod catalog;
pub mod pv_get;
pub mod pv_set;

#[cfg(test)]
pub mod testing;

use crate::net::logpipe;

/// Writes a line for a run: levels on the OpenSIPS scale (-3 alert .. 4 debug), filtered by the
/// server's `log_level` or the script's `$log_level`.
pub fn log_line(host: &host::SipHost, level: i32, text: &str) {
    let limit = host.levels.0.unwrap_or(host.env().settings.log_level);
    if level <= limit {
        emit(level, "script", text);
    }
}

/// Writes a line at a level of the OpenSIPS scale, unfiltered.
pub fn emit(level: i32, target: &str, text: &str) {
    let text = text.trim_end_matches(['\n', '\r']);
    let target = match level {
        i32::MIN..=-3 => logpipe::ALERT,
        -2 => logpipe::CRIT,
        2 => logpipe::NOTICE,
        _ => target,
    };
    let at = match level {
        i32::MIN..=-1 => log::Level::Error,
        0..=1 => log::Level::Warn,
        2..=3 => log::Level::Info,
        _ => log::Level::Debug,
    };
    log::log!(target: target, at, "{text}");
}
