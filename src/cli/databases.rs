//! Databases as the configuration names them: URLs by number, sets of servers (`db_virtual`), and the parameters
//! of the MySQL client.

use crate::base::Str;
use crate::modules::dispatcher;
use crate::modules::env::{Scheme, Settings};
use crate::modules::htable::definition::Table;
use crate::modules::kamailio::sqlops;
use crate::modules::mqueue::Database;
use crate::modules::uac::registrations;
use crate::modules::{acc, alias_db, auth_db, domain, permissions, speeddial, usrloc};
use crate::ops::sql::{DbUrl, Kill};
use crate::script::ast::Dialect;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::ModParam;
use crate::script::source::Span;
use std::collections::HashMap;
use std::time::Duration;

/// Names of `opt_ssl_mode`'s numbers.
const SSL_MODES: [&str; 6] = ["", "disabled", "preferred", "required", "verify_ca", "verify_identity"];

/// What every database URL is read with.
#[derive(Default)]
struct Context {
    /// Sets of servers: their URLs with blanks between them.
    sets: HashMap<String, String>,
    ssl_mode: Option<&'static str>,
    ssl_ca: Option<String>,
}

/// Reads all module parameters about databases. `default`: `db_default_url`.
pub(super) fn read(
    settings: &mut Settings,
    params: &[ModParam],
    default: Option<(Str, Span)>,
    diags: &mut Diagnostics,
) {
    let context = client(settings, params, diags);
    // OpenSIPS' has no file, unless one is named.
    let own = |name: &str| params.iter().any(|p| p.module == "dispatcher" && p.param == name);
    if let Some((url, span)) = &default
        && !own("db_url")
        && !own("list_file")
        && params.iter().any(|p| p.module == "dispatcher")
    {
        add(settings, &context, dispatcher::DATABASE, &url.to_lossy(), *span, diags);
        settings.dispatcher.database = true;
    }
    if let Some((url, span)) = &default
        && params.iter().any(|p| p.module == "uac_registrant")
        && !params.iter().any(|p| p.module == "uac_registrant" && p.param == "db_url")
    {
        add(settings, &context, registrations::DATABASE, &url.to_lossy(), *span, diags);
    }
    for (module, number) in [
        ("htable", Table::DATABASE),
        ("mqueue", Database::URL),
        ("dispatcher", dispatcher::DATABASE),
        ("auth_db", auth_db::DATABASE),
        ("acc", acc::DATABASE),
        ("usrloc", usrloc::DATABASE),
        ("permissions", permissions::DATABASE),
        ("domain", domain::DATABASE),
        ("alias_db", alias_db::DATABASE),
        ("speeddial", speeddial::DATABASE),
        ("uac_registrant", registrations::DATABASE),
    ] {
        for p in params.iter().filter(|p| p.module == module && p.param == "db_url") {
            let url = p.value.to_text().unwrap_or_default();
            add(settings, &context, number, &url.to_lossy(), p.span, diags);
        }
    }
    if let Some((url, span)) = &default
        && settings.permissions.dialect == Dialect::OpenSips
        && !settings.db_urls.iter().any(|(n, _)| *n == permissions::DATABASE)
    {
        // Kept if the script asks for addresses.
        add(settings, &context, permissions::DATABASE, &url.to_lossy(), *span, diags);
        settings.permissions.by_default = true;
    }
    for p in params.iter().filter(|p| p.module == "uac" && p.param == "reg_db_url") {
        let url = p.value.to_text().unwrap_or_default();
        if url.is_empty() {
            continue;
        }
        add(settings, &context, registrations::DATABASE, &url.to_lossy(), p.span, diags);
        if !settings.uac.registrations.is_on() {
            let text = "reg_db_url names accounts, but not what their Contact is";
            let help = "set reg_contact_addr to `HOST:PORT` of this server, as the registrars are to call it";
            diags.push(Diagnostic::error("E0505", p.span, text).help(help));
        }
    }
    super::shared::check_queues(settings, params, diags);
    for p in params.iter().filter(|p| p.module == "sqlops") {
        match p.param.as_str() {
            "sqlcon" => named(settings, &context, p, diags),
            "results_maxsize" => match p.value.to_int().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) {
                Some(most) => settings.sql_results = most,
                None => diags.push(Diagnostic::error("E0505", p.span, "results_maxsize is a number from 1 on")),
            },
            _ => {}
        }
    }
    for p in params.iter().filter(|p| matches!(p.module.as_str(), "avpops" | "sqlops")) {
        if p.param == "db_url" {
            let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
            let (number, url) = match text.trim().split_once(' ') {
                Some((n, url)) if n.parse::<i64>().is_ok() => (n.parse().unwrap_or(0), url),
                _ => (0, text.as_str()),
            };
            add(settings, &context, number, url, p.span, diags);
        }
        if p.param == "db_scheme" {
            match Scheme::parse(&p.value.to_text().unwrap_or_default().to_lossy()) {
                Ok(scheme) => settings.usr.schemes.push(scheme),
                Err(why) => diags.push(
                    Diagnostic::error("E0505", p.span, format!("this is no scheme: {why}"))
                        .help("`NAME:table=TABLE;value_col=COLUMN;value_type=string`"),
                ),
            }
        }
    }
    let has = |settings: &Settings, number| settings.db_urls.iter().any(|(n, _)| *n == number);
    if settings.usrloc.mode != usrloc::Mode::Memory && !has(settings, usrloc::DATABASE) {
        match &default {
            Some((url, span)) => add(settings, &context, usrloc::DATABASE, &url.to_lossy(), *span, diags),
            None => {
                if let Some(p) = params.iter().find(|p| p.module == "usrloc") {
                    add(settings, &context, usrloc::DATABASE, usrloc::DEFAULT_URL, p.span, diags);
                }
            }
        }
    }
    if let Some((url, span)) = default
        && !settings.db_urls.iter().any(|(n, _)| *n == 0)
    {
        add(settings, &context, 0, &url.to_lossy(), span, diags);
    }
    if let Some(p) = params.iter().rfind(|p| p.module == "acc") {
        let has_database = settings.db_urls.iter().any(|(n, _)| *n == acc::DATABASE || *n == 0);
        if let Err(why) = settings.acc.complete(has_database) {
            diags.push(Diagnostic::error("E0505", p.span, why));
        }
    }
}

/// Parameters of `db_mysql` and `db_virtual`.
fn client(settings: &mut Settings, params: &[ModParam], diags: &mut Diagnostics) -> Context {
    let mut context = Context::default();
    let mut set = None;
    let s = &mut settings.backends;
    for p in params {
        let int = p.value.to_int();
        let secs = int.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_secs);
        let count = int.and_then(|n| u32::try_from(n).ok());
        match (p.module.as_str(), p.param.as_str()) {
            ("db_mysql", "exec_query_threshold") => {
                s.slow_query = int.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_micros);
            }
            ("db_mysql", "timeout_interval" | "connect_timeout") => {
                if let Some(limit) = secs {
                    s.mysql.connect_timeout = limit;
                    s.mysql.address_timeout = s.mysql.address_timeout.min(limit);
                }
            }
            ("db_mysql", "max_db_queries") => s.mysql.repeats = count.unwrap_or(1).clamp(1, 10) - 1,
            ("db_mysql", "retries") => s.mysql.repeats = count.unwrap_or(1).min(10),
            ("db_mysql", "use_tls") if int.is_some_and(|n| n != 0) => {
                context.ssl_mode.get_or_insert("required");
            }
            ("db_mysql", "opt_ssl_mode") => {
                match int.and_then(|n| usize::try_from(n).ok()).and_then(|n| SSL_MODES.get(n)) {
                    Some(mode) => context.ssl_mode = Some(mode).copied().filter(|m| !m.is_empty()),
                    None => diags.push(Diagnostic::error("E0505", p.span, "opt_ssl_mode is a number from 0 to 5")),
                }
            }
            ("db_mysql", "opt_ssl_ca") => {
                context.ssl_ca = p.value.to_text().map(|t| t.to_lossy().into_owned()).filter(|t| !t.is_empty());
            }
            ("db_virtual", "db_urls") => {
                let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                match (words.as_slice(), &set) {
                    (["define", name, mode], _) if mode.eq_ignore_ascii_case("FAILOVER") => {
                        context.sets.insert((*name).to_string(), String::new());
                        set = Some((*name).to_string());
                    }
                    (["define", _, mode], _) => diags.push(
                        Diagnostic::error("E0505", p.span, format!("sets of mode {mode} are not supported"))
                            .help("FAILOVER is: `define NAME FAILOVER`"),
                    ),
                    ([url], Some(name)) => {
                        let urls = context.sets.entry(name.clone()).or_default();
                        if !urls.is_empty() {
                            urls.push(' ');
                        }
                        urls.push_str(url);
                    }
                    ([_], None) => {
                        let text = "a set must be defined before its first URL";
                        diags.push(Diagnostic::error("E0505", p.span, text).help("`define NAME FAILOVER`"));
                    }
                    _ => diags.push(
                        Diagnostic::error("E0505", p.span, "db_urls is neither a definition nor a URL")
                            .help("`define NAME FAILOVER`, then one URL in each further db_urls"),
                    ),
                }
            }
            ("db_virtual", "db_probe_time") => s.mysql.hold = secs.unwrap_or(s.mysql.hold),
            _ => {}
        }
    }
    context
}

/// A database with a name (sqlops of Kamailio).
fn named(settings: &mut Settings, context: &Context, p: &ModParam, diags: &mut Diagnostics) {
    let text = p.value.to_text().unwrap_or_default();
    let text = text.to_lossy();
    let Some((name, url)) = sqlops::connection(&text) else {
        let d = Diagnostic::error("E0505", p.span, "sqlcon names no database")
            .help("`NAME=>mysql://user:password@host/database`");
        diags.push(d);
        return;
    };
    let known = settings.sql_connections.iter().position(|n| **n == *name.as_bytes());
    let at = known.unwrap_or_else(|| {
        settings.sql_connections.push(Str::from(name));
        settings.sql_connections.len() - 1
    });
    add(settings, context, sqlops::number(at), url, p.span, diags);
}

/// Checks a URL and puts it in its place.
fn add(settings: &mut Settings, context: &Context, number: i64, url: &str, span: Span, diags: &mut Diagnostics) {
    let mut url = url.trim().to_string();
    if let Some(name) = url.strip_prefix("virtual://") {
        let name = name.trim_end_matches('/');
        match context.sets.get(name) {
            Some(urls) if !urls.is_empty() => url.clone_from(urls),
            _ => {
                let text = format!("there is no set of databases \"{name}\"");
                diags.push(
                    Diagnostic::error("E0505", span, text)
                        .help("db_virtual's db_urls makes one: `define NAME FAILOVER`, then its URLs"),
                );
                return;
            }
        }
    }
    let url = with_tls(&url, context);
    if let Err(why) = DbUrl::parse(url.as_bytes()) {
        diags.push(Diagnostic::error("E0505", span, format!("this is not a database URL: {why}")));
        return;
    }
    settings.db_urls.retain(|(n, _)| *n != number);
    settings.db_urls.push((number, Str::from(url)));
}

/// Adds what the client's parameters say about TLS to MySQL URLs that say nothing about it themselves.
fn with_tls(list: &str, context: &Context) -> String {
    if context.ssl_mode.is_none() && context.ssl_ca.is_none() {
        return list.to_string();
    }
    let mut out = Vec::new();
    for url in list.split_ascii_whitespace() {
        let query = url.split_once('?').map(|(_, q)| q.to_ascii_lowercase());
        let says = query.as_ref().is_some_and(|q| ["ssl", "tls_", "socket"].iter().any(|w| q.contains(w)));
        if says || !(url.starts_with("mysql:") || url.starts_with("mariadb:")) || url.contains("unix(") {
            out.push(url.to_string());
            continue;
        }
        let mut url = url.to_string();
        let mut separator = if query.is_some() { '&' } else { '?' };
        let ca = context.ssl_ca.as_ref().map(|f| format!("ssl_ca={}", f.replace('%', "%25").replace('&', "%26")));
        let mode = context.ssl_mode.map(|m| format!("ssl_mode={m}"));
        for part in [mode, ca].into_iter().flatten() {
            url.push(separator);
            url.push_str(&part);
            separator = '&';
        }
        out.push(url);
    }
    out.join(" ")
}

/// The value of `db_kill_on_timeout`.
pub(super) fn kill(word: Option<&str>) -> Kill {
    match word {
        Some("yes") => Kill::Always,
        Some("no") => Kill::Never,
        _ => Kill::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_for_urls_that_say_nothing_about_it() {
        let c = Context { ssl_mode: Some("verify_ca"), ssl_ca: Some("/a%b&c.pem".to_string()), ..Context::default() };
        let both = "ssl_mode=verify_ca&ssl_ca=/a%25b%26c.pem";
        assert_eq!(with_tls("mysql://u@h/d", &c), format!("mysql://u@h/d?{both}"));
        assert_eq!(with_tls("mysql://h/d?charset=utf8", &c), format!("mysql://h/d?charset=utf8&{both}"));
        for same in ["mysql://h/d?ssl_mode=disabled", "sqlite:///x", "mysql://u@unix(/s)/d", "mysql://h/d?socket=/s"] {
            assert_eq!(with_tls(same, &c), same);
        }
        assert_eq!(with_tls("mysql://a/d mysql://b/d?ssl=0", &c), format!("mysql://a/d?{both} mysql://b/d?ssl=0"));
        assert_eq!(with_tls(" mysql://a/d", &Context::default()), " mysql://a/d");
    }
}
