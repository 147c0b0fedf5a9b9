//! The core parameters about names and next hops, of both dialects.

use super::settings::ServerConfig;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::source::Span;
use crate::sip::Transport;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Takes in one core parameter, if it is about names.
pub(super) fn setting(
    name: &str,
    int: Option<i64>,
    text: Option<&str>,
    span: Span,
    out: &mut ServerConfig,
    diags: &mut Diagnostics,
) {
    let yes = int.is_some_and(|n| n != 0);
    // Below zero: as the system says.
    let count = int.and_then(|n| usize::try_from(n).ok());
    let seconds = int.and_then(|n| u32::try_from(n).ok());
    let (dns, resolver) = (&mut out.settings.dns, &mut out.resolver);
    match name {
        "dns_try_ipv6" => dns.ipv6 = Some(yes),
        "dns_try_naptr" => dns.naptr = yes,
        "disable_dns_failover" => dns.failover = !yes,
        "use_dns_failover" | "dns_use_failover" => dns.failover = yes,
        "disable_dns_blacklist" => dns.blacklist = !yes,
        "use_dst_blocklist" => dns.blacklist = yes,
        "dst_blocklist_expire" => {
            let list = out.settings.tm.blocklist.get_or_insert_default();
            list.expire = Duration::from_secs(u64::from(seconds.unwrap_or(60).clamp(1, 86_400)));
        }
        "exec_dns_threshold" => {
            dns.threshold = int.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_micros);
        }
        "dns_udp_pref" | "dns_udp_preference" => prefer(dns, Transport::Udp, int),
        "dns_tcp_pref" | "dns_tcp_preference" => prefer(dns, Transport::Tcp, int),
        "dns_tls_pref" | "dns_tls_preference" => prefer(dns, Transport::Tls, int),
        "dns_retr_time" => {
            resolver.timeout = seconds.filter(|n| *n > 0).map(|n| Duration::from_secs(u64::from(n.min(30))));
        }
        "dns_retr_no" => resolver.attempts = count.map(|n| n.clamp(1, 10)),
        "dns_servers_no" => resolver.servers_no = count.filter(|n| *n > 0),
        "dns_use_search_list" => resolver.search = yes,
        "use_dns_cache" | "dns_use_cache" => resolver.cache = yes,
        "dns_cache_min_ttl" => resolver.min_ttl = seconds.unwrap_or(0).min(86_400),
        "dns_cache_max_ttl" => resolver.max_ttl = seconds.unwrap_or(86_400).min(86_400),
        "dns_cache_negative_ttl" => resolver.max_negative_ttl = seconds.unwrap_or(300).min(10_800),
        "dns_hosts_file" => resolver.hosts = PathBuf::from(text.unwrap_or_default()),
        "dns_servers" => match servers(text.unwrap_or_default()) {
            Some(list) => resolver.servers = list,
            None => diags.push(
                Diagnostic::error("E0505", span, "this is not a list of name servers")
                    .help("addresses with or without a port, comma-separated: \"192.0.2.1, [2001:db8::1]:53\""),
            ),
        },
        _ => {}
    }
}

/// A transport's preference: the highest is tried first; 0 or less: as if it stood last.
fn prefer(dns: &mut crate::modules::env::DnsSettings, transport: Transport, value: Option<i64>) {
    let value = value.unwrap_or(0);
    for slot in &mut dns.preferences {
        if slot.0 == transport {
            slot.1 = value;
        }
    }
    let mut sorted = dns.preferences;
    sorted.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    dns.order = sorted.map(|(t, _)| t);
}

/// `address[:port], ...`
fn servers(text: &str) -> Option<Vec<SocketAddr>> {
    let one = |word: &str| {
        let bare = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(word);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, 53)),
            Err(_) => word.parse().ok(),
        }
    };
    let words = text.split([',', ' ']).filter(|w| !w.is_empty());
    words.map(one).collect::<Option<Vec<_>>>().filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_servers() {
        let list = |t: &str| servers(t).map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(list("192.0.2.1"), Some("192.0.2.1:53".into()));
        assert_eq!(list("192.0.2.1:5353, ::1,[::1]:54"), Some("192.0.2.1:5353 [::1]:53 [::1]:54".into()));
        for bad in ["", ",", "ns.example", "192.0.2.1:x"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }

    fn set(settings: &[(&str, i64)]) -> ServerConfig {
        let mut out = ServerConfig::default();
        for (name, n) in settings {
            setting(name, Some(*n), None, Span::default(), &mut out, &mut Diagnostics::default());
        }
        out
    }

    #[test]
    fn numbers_and_switches() {
        let c = set(&[
            ("dns_try_naptr", 0),
            ("dns_try_ipv6", 1),
            ("disable_dns_failover", 1),
            ("disable_dns_blacklist", 0),
        ]);
        let dns = &c.settings.dns;
        assert_eq!((dns.naptr, dns.ipv6, dns.failover, dns.blacklist), (false, Some(true), false, true));
        let c = set(&[("dns_retr_time", 2), ("dns_retr_no", 0), ("dns_servers_no", 1), ("dns_use_search_list", 0)]);
        let r = &c.resolver;
        assert_eq!(
            (r.timeout, r.attempts, r.servers_no, r.search),
            (Some(Duration::from_secs(2)), Some(1), Some(1), false)
        );
        let c = set(&[("dns_retr_time", -1), ("dns_retr_no", -1), ("dns_cache_max_ttl", 60), ("use_dns_cache", 0)]);
        let r = &c.resolver;
        assert_eq!((r.timeout, r.attempts, r.max_ttl, r.cache), (None, None, 60, false));
        let c = set(&[("dns_udp_preference", 30), ("dns_tcp_preference", 40), ("dns_tls_preference", 50)]);
        assert_eq!(c.settings.dns.order, [Transport::Tls, Transport::Tcp, Transport::Udp]);
        assert_eq!(set(&[("exec_dns_threshold", 5)]).settings.dns.threshold, Some(Duration::from_micros(5)));
    }
}
