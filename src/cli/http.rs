//! Parameters of rest_client, and the client domains of tls_mgm: their files are read here, by main, before it gives up
//! its privileges and any worker is born.

use crate::base::Str;
use crate::base::names::suggest;
use crate::modules::env::Settings;
use crate::modules::rest_client::settings::HttpSettings;
use crate::net::tls::Identity;
use crate::ops::HttpOptions;
use crate::ops::http::proxy::{Proxy, direct_list};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::ModParam;
use crate::script::source::Span;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// What `max_transfer_size` 0 stands for.
const UNLIMITED: usize = 64 << 20;
/// Most redirections that one request may follow.
const MAX_REDIRECTS: i64 = 50;
/// Largest heads of an answer.
const MAX_HEAD_KIB: i64 = 1024;

/// Takes over the parameters of both modules.
pub(super) fn read(settings: &mut Settings, params: &[ModParam], diags: &mut Diagnostics) {
    let mut http = HttpSettings::default();
    let mut options = HttpOptions::default();
    for p in params.iter().filter(|p| p.module == "rest_client") {
        let int = p.value.to_int();
        let yes = int.is_some_and(|n| n != 0);
        let number = int.and_then(|n| u64::try_from(n).ok());
        let secs = number.map(Duration::from_secs);
        let millis = number.map(Duration::from_millis).unwrap_or_default();
        let text = p.value.to_text().unwrap_or_default();
        match p.param.as_str() {
            "curl_timeout" => http.timeout = secs.unwrap_or(http.timeout),
            "connection_timeout" => options.connect_timeout = secs.unwrap_or(options.connect_timeout),
            "resolve_timeout" => options.resolve_limit = millis,
            "tcp_timeout" => options.tcp_limit = millis,
            "tls_timeout" => options.tls_limit = millis,
            "first_byte_timeout" => options.first_byte_limit = millis,
            "max_transfer_size" => {
                options.max_body = match int.and_then(|n| usize::try_from(n).ok()) {
                    Some(0) | None => UNLIMITED,
                    Some(n) => n.saturating_mul(1024),
                };
            }
            "max_header_size" => {
                let kib = int.unwrap_or(64).clamp(1, MAX_HEAD_KIB);
                options.max_head = usize::try_from(kib).unwrap_or(64).saturating_mul(1024);
            }
            "max_async_transfers" => {
                settings.backends.http_transfers = int.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            }
            "ssl_verifypeer" => options.verify_peer = yes,
            "ssl_verifyhost" => options.verify_host = yes,
            "ssl_capath" => options.ca_file = Some(text).filter(|t| !t.is_empty()),
            "curl_http_version" => options.http10 = int == Some(1),
            "enable_expect_100" => options.expect = yes,
            "curl_conn_lifetime" => http.lifetime = secs.unwrap_or_default(),
            "max_redirects" => {
                options.redirects = u8::try_from(int.unwrap_or(0).clamp(0, MAX_REDIRECTS)).unwrap_or(0);
            }
            "compression" => options.compression = yes,
            "proxy" if text.is_empty() => options.proxy = None,
            "proxy" => match Proxy::parse(&text.to_lossy()) {
                Ok(proxy) => options.proxy = Some(proxy),
                Err(why) => diags.push(
                    Diagnostic::error("E0505", p.span, format!("this is no proxy: {why}"))
                        .help("`http://[USER:PASSWORD@]HOST:PORT`"),
                ),
            },
            "no_proxy" => options.direct = direct_list(&text.to_lossy()),
            _ => {}
        }
    }
    domains(&mut http, &options, params, diags);
    http.options = Rc::new(options);
    settings.http = http;
}

/// A client domain as its parameters say.
#[derive(Default)]
struct Domain {
    certificate: Option<(String, Span)>,
    key: Option<(String, Span)>,
    trust: Option<Str>,
    verify: Option<bool>,
}

fn domains(http: &mut HttpSettings, options: &HttpOptions, params: &[ModParam], diags: &mut Diagnostics) {
    let ours = || params.iter().filter(|p| p.module == "tls_mgm");
    let mut names = vec!["default".to_string()];
    let mut domains: BTreeMap<String, Domain> = BTreeMap::new();
    for p in ours().filter(|p| matches!(p.param.as_str(), "client_domain" | "server_domain")) {
        let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
        // 2.2: `NAME=IP:PORT`.
        let name = text.split('=').next().unwrap_or_default().trim().to_string();
        if name.is_empty() {
            diags.push(Diagnostic::error("E0505", p.span, "a domain needs a name"));
            continue;
        }
        if p.param == "client_domain" {
            domains.entry(name.clone()).or_default();
        }
        names.push(name);
    }
    for p in ours() {
        if !matches!(p.param.as_str(), "certificate" | "private_key" | "ca_list" | "ca_dir" | "verify_cert") {
            continue;
        }
        let text = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
        let (name, value) = named(&text);
        if !names.iter().any(|n| n == name) {
            let mut d = Diagnostic::error("E0505", p.span, format!("no TLS domain is named `{name}`"));
            if let Some(s) = suggest(name, names.iter().map(String::as_str)) {
                d = d.help(format!("did you mean `{s}`?"));
            }
            diags.push(d);
            continue;
        }
        let domain = match name {
            "default" => domains.entry(name.to_string()).or_default(),
            _ => match domains.get_mut(name) {
                Some(domain) => domain,
                // A server domain.
                None => continue,
            },
        };
        match p.param.as_str() {
            "certificate" => domain.certificate = Some((value.to_string(), p.span)),
            "private_key" => domain.key = Some((value.to_string(), p.span)),
            "verify_cert" => domain.verify = Some(value.trim() != "0"),
            _ => domain.trust = Some(Str::from(value)),
        }
    }
    let mut all = BTreeMap::new();
    for (name, domain) in domains {
        let mut own = options.clone();
        own.verify_peer = domain.verify.unwrap_or(own.verify_peer);
        own.ca_file = domain.trust.or(own.ca_file);
        match (domain.certificate, domain.key) {
            (Some((certificate, at)), Some((key, _))) => {
                match Identity::load(Path::new(&certificate), Path::new(&key)) {
                    Ok(identity) => {
                        http.identities.push((name.clone(), identity));
                        own.identity = Some(Str::from(name.as_str()));
                    }
                    Err(why) => diags.push(Diagnostic::error("E0505", at, why)),
                }
            }
            (None, None) => {}
            (Some((_, at)), None) => {
                diags.push(Diagnostic::error(
                    "E0505",
                    at,
                    format!("domain `{name}` has a certificate but no private_key"),
                ));
            }
            (None, Some((_, at))) => {
                diags.push(Diagnostic::error(
                    "E0505",
                    at,
                    format!("domain `{name}` has a private_key but no certificate"),
                ));
            }
        }
        all.insert(Str::from(name), Rc::new(own));
    }
    http.domains = Rc::new(all);
}

/// `[NAME]VALUE`, or a value of the domain `default`.
fn named(text: &str) -> (&str, &str) {
    let text = text.trim();
    let pair = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    pair.map_or(("default", text), |(name, value)| (name.trim(), value.trim()))
}
