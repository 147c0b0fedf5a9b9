//! Settings that the Kamailio dialect has otherwise: what they are without a parameter, times in
//! milliseconds, parameters of the configuration's own.

use super::settings::ServerConfig;
use crate::base::Str;
use crate::modules::kamailio::{FORWARD_NO_CONNECT, REPLY_NO_CONNECT};
use crate::modules::tm::settings::Blocklist;
use crate::script::ast::{Config, GlobalValue, Item};
use crate::script::program::ModParam;
use crate::script::value::Value;
use std::time::Duration;

/// What holds before any parameter is read.
pub(super) fn prepare(out: &mut ServerConfig, config: &Config) {
    out.everywhere.1 = true;
    // `debug` 0 shows warnings; a line without a level is an error.
    out.log.level = 1;
    out.settings.log_level = 1;
    out.settings.xlog_print_level = -1;
    out.settings.maxfwd_limit = 70;
    // Who has hung up does not hear what becomes of the request.
    out.settings.resume_on_cancel = false;
    // exec hands over the message's variables unless told otherwise.
    out.settings.exec_setvars = true;
    out.settings.cancel_reason = true;
    out.settings.tm.blocklist = Some(Blocklist::default());
    out.settings.rr.sips = true;
    out.settings.auth = crate::modules::auth::Settings::of_kamailio();
    out.settings.auth_db = crate::modules::auth_db::Settings::of_kamailio();
    // A transaction's variables are there in all of its routes.
    out.settings.onreply_avps = true;
    out.tm.losers_hear_why = true;
    out.tm.max_inv_lifetime = Some(Duration::from_secs(180));
    out.tm.max_noninv_lifetime = Some(Duration::from_secs(32));
    out.settings.no_new_conn_rplflag = Some(Str::from(REPLY_NO_CONNECT));
    out.settings.no_new_conn_bflag = Some(Str::from(FORWARD_NO_CONNECT));
    let define = |(name, value): &(String, Option<String>)| (Str::from(name.as_str()), value.as_deref().map(Str::from));
    out.settings.defines = config.defines.iter().map(define).collect();
    for item in &config.items {
        let Item::Custom { name, value, .. } = item else { continue };
        let value = match value {
            GlobalValue::Int(n, _) => Value::Int(*n),
            GlobalValue::Str(s) => Value::text(s.text.as_slice()),
            _ => continue,
        };
        let name = Str::from(name.text.as_str());
        let custom = &mut out.settings.custom;
        custom.retain(|(n, _)| *n != name);
        custom.push((name, value));
    }
}

/// Takes a module parameter whose meaning differs.
pub(super) fn module_setting(out: &mut ServerConfig, p: &ModParam) {
    let int = p.value.to_int();
    let yes = int.is_some_and(|n| n != 0);
    let millis = int.and_then(|n| u64::try_from(n).ok()).map(Duration::from_millis);
    match (p.module.as_str(), p.param.as_str()) {
        ("tm", "fr_timer") => out.tm.fr_timeout = millis.unwrap_or(out.tm.fr_timeout),
        ("tm", "fr_inv_timer") => out.tm.fr_inv_timeout = millis.unwrap_or(out.tm.fr_inv_timeout),
        ("tm", "restart_fr_on_each_reply") => out.tm.restart_fr_on_each_reply = yes,
        ("tm", "wt_timer") => out.tm.wt = millis,
        ("tm", "retr_timer1") => out.tm.t1 = millis.unwrap_or(out.tm.t1),
        ("tm", "retr_timer2") => out.tm.t2 = millis.unwrap_or(out.tm.t2),
        ("tm", "max_inv_lifetime") => out.tm.max_inv_lifetime = millis.filter(|d| !d.is_zero()),
        ("tm", "max_noninv_lifetime") => out.tm.max_noninv_lifetime = millis.filter(|d| !d.is_zero()),
        ("tm", "local_cancel_reason") => out.tm.losers_hear_why = yes,
        ("tm", "e2e_cancel_reason") => out.settings.cancel_reason = yes,
        ("tm", "auto_inv_100") => out.settings.auto_100 = yes,
        ("tm", "disable_6xx_block") => out.tm.disable_6xx_block = yes,
        ("tm", "aggregate_challenges") => out.tm.aggregate_challenges = yes,
        ("tm", "ruri_matching") => out.tm.ruri_matching = yes,
        ("tm", "via1_matching") => out.tm.via1_matching = yes,
        ("tm", "ac_extra_hdrs") => out.tm.ac_extra_headers = p.value.to_text().filter(|t| !t.is_empty()),
        ("tm", "remap_503_500") => {
            out.tm.translate_503 = yes;
            out.settings.keep_503 = !yes;
        }
        ("siputils", name) => {
            let text = p.value.to_text().unwrap_or_default();
            let c = &mut out.settings.capabilities;
            match name {
                "options_accept" => c.accept = text,
                "options_accept_encoding" => c.encoding = text,
                "options_accept_language" => c.language = text,
                "options_support" => c.supported = text,
                _ => {}
            }
        }
        ("async", "workers") => out.settings.async_module.seconds = int.is_none_or(|n| n > 0),
        ("async", "return") => {
            out.settings.async_module.returns = int.and_then(|n| i32::try_from(n).ok()).unwrap_or_default();
        }
        ("async", "ms_timer") => out.settings.async_module.millis = yes,
        ("pv", "varset") => out.varset.extend(p.value.to_text().as_deref().and_then(super::settings::varset)),
        _ => {}
    }
}
