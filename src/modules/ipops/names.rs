//! Names that a script looks up itself: what was found is kept under a name of the script's choice.

use super::given;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::pv_kamailio::Kpv;
use crate::modules::request::{Outcome, Request};
use crate::net::resolver::{Found, Record, Want};
use crate::ops::{self, DnsRequest};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Results that a run may hold.
const MOST: usize = 64;

/// What a run has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept(Vec<Answer>);

/// What a look-up has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    kind: Asked,
    /// The name it is kept under.
    id: Str,
    /// The name that was asked for.
    asked: Str,
    addresses: Vec<IpAddr>,
    records: Vec<Record>,
}

/// Which function has asked: each has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Dns,
    Srv,
    Naptr,
    Ptr,
}

const MATCH: &[Param] = &[Param::req("name", Kind::Str), Param::req("address", Kind::Str)];
const QUERY: &[Param] = &[Param::req("name", Kind::Str), Param::req("id", Kind::Str)];

/// `dns_sys_match_ip`
pub const DNS_SYS_MATCH_IP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("dns_sys_match_ip"),
    params: MATCH,
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Whether an address is one of those that a host name has.",
    returns: &[(1, "it is"), (-1, "it is not, the name is not found, or this is no address")],
    example: r#"if (!dns_sys_match_ip("$fd", "$si")) xlog("$si is not $fd\n");"#,
    run: |call| {
        if given(call, 1).is_none() {
            return Step::Done(-1);
        }
        ask(call, Want::Addresses)
    },
    finish: Some(|call, outcome| {
        let wanted = given(call, 1).map(|(ip, _)| ip);
        match found(outcome) {
            Some(Found::Addresses(list)) if wanted.is_some_and(|ip| list.contains(&ip)) => Step::Done(1),
            _ => Step::Done(-1),
        }
    }),
};

/// `dns_int_match_ip`
pub const DNS_INT_MATCH_IP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dns_int_match_ip"),
    example: r#"if (dns_int_match_ip("$fd", "$si")) xlog("$si is $fd\n");"#,
    ..DNS_SYS_MATCH_IP
};

/// `dns_query`
pub const DNS_QUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dns_query"),
    params: QUERY,
    doc: "Looks up the addresses of a host name. `$dns(id=>count)` says how many there are, `$dns(id=>addr[i])` is one of \
          them, `$dns(id=>type[i])` its version (4 or 6), `$dns(id=>ipv4)` and `$dns(id=>ipv6)` say whether there are such, \
          `$dns(id=>hostname)` is the name.",
    returns: &[(1, "found"), (-1, "not found, or no name server has answered")],
    example: r#"if (dns_query("$rd", "host")) xlog("$dns(host=>addr[0])\n");"#,
    run: |call| ask(call, Want::Addresses),
    finish: Some(|call, outcome| keep(call, outcome, Asked::Dns)),
    ..DNS_SYS_MATCH_IP
};

/// `srv_query`
pub const SRV_QUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("srv_query"),
    doc: "Looks up the servers of a service (RFC 2782), sorted by priority and weight: `$srvquery(id=>count)`, and \
          `$srvquery(id=>target[i])`, `port[i]`, `priority[i]`, `weight[i]`.",
    example: r#"if (srv_query("_sip._udp.$rd", "udp") > 0) xlog("$srvquery(udp=>target[0])\n");"#,
    run: |call| ask(call, Want::Srv),
    finish: Some(|call, outcome| keep(call, outcome, Asked::Srv)),
    ..DNS_QUERY
};

/// `naptr_query`
pub const NAPTR_QUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("naptr_query"),
    doc: "Looks up the NAPTR records of a name (RFC 3403), sorted by order and preference: `$naptrquery(id=>count)`, and \
          `$naptrquery(id=>order[i])`, `pref[i]`, `flags[i]`, `services[i]`, `regex[i]`, `replace[i]`.",
    example: r#"if (naptr_query("$rd", "n") > 0) xlog("$naptrquery(n=>services[0])\n");"#,
    run: |call| ask(call, Want::Naptr),
    finish: Some(|call, outcome| keep(call, outcome, Asked::Naptr)),
    ..DNS_QUERY
};

/// `ptr_query`
pub const PTR_QUERY: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ptr_query"),
    params: &[Param::req("address", Kind::Str), Param::req("id", Kind::Str)],
    doc: "Looks up the name of an address: `$ptrquery(id=>hostname)`, `$ptrquery(id=>ip)`.",
    returns: &[(1, "found"), (-1, "it has no name, no name server has answered, or this is no address")],
    example: r#"if (ptr_query("$si", "peer") > 0) xlog("$ptrquery(peer=>hostname)\n");"#,
    run: |call| {
        let Some((ip, _)) = given(call, 0) else { return Step::Done(-1) };
        let name = Str::from(reverse(ip));
        Step::Wait(Request::Op { op: ops::Request::Dns(DnsRequest { name, want: Want::Ptr }), limit: None })
    },
    finish: Some(|call, outcome| keep(call, outcome, Asked::Ptr)),
    ..DNS_QUERY
};

/// `dns_set_local_ttl`
pub const DNS_SET_LOCAL_TTL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("dns_set_local_ttl"),
    params: &[Param::req("seconds", Kind::Int)],
    waits: false,
    doc: "Has no effect: what the hosts file says holds as long as it says so.",
    returns: &[(1, "always")],
    example: "dns_set_local_ttl(10);",
    run: |_| Step::Done(1),
    finish: None,
    ..DNS_SYS_MATCH_IP
};

fn ask(call: &mut Call<'_, SipHost>, want: Want) -> Step<SipHost> {
    match call.text(0).filter(|name| !name.is_empty()) {
        Some(name) => Step::Wait(Request::Op { op: ops::Request::Dns(DnsRequest { name, want }), limit: None }),
        None => Step::Fail("the name is empty".into()),
    }
}

fn found(outcome: Outcome) -> Option<Found> {
    match outcome {
        Outcome::Op(ops::Outcome::Dns(found)) => found,
        _ => None,
    }
}

/// The name under which an address's own is kept (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(ip: IpAddr) -> String {
    let mut out = String::new();
    match ip {
        IpAddr::V4(ip) => {
            ip.octets().iter().rev().for_each(|b| out.push_str(&format!("{b}.")));
            out.push_str("in-addr.arpa.");
        }
        IpAddr::V6(ip) => {
            ip.octets().iter().rev().for_each(|b| out.push_str(&format!("{:x}.{:x}.", b & 15, b >> 4)));
            out.push_str("ip6.arpa.");
        }
    }
    out
}

fn keep(call: &mut Call<'_, SipHost>, outcome: Outcome, kind: Asked) -> Step<SipHost> {
    let (asked, id) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let found = found(outcome);
    let kept = &mut call.host.rare.names.get_or_insert_default().0;
    kept.retain(|r| (r.kind, &r.id) != (kind, &id));
    let Some(found) = found else { return Step::Done(-1) };
    if kept.len() >= MOST {
        log_line(call.host, -1, &format!("ipops: more than {MOST} results; use the same id again"));
        return Step::Done(-1);
    }
    let (addresses, mut records) = match found {
        Found::Addresses(list) => (list, Vec::new()),
        Found::Records(list) => (Vec::new(), list.to_vec()),
    };
    records.sort_by_key(|r| match r {
        Record::Srv { priority, weight, .. } => (*priority, u16::MAX - weight),
        Record::Naptr { order, preference, .. } => (*order, *preference),
        _ => (0, 0),
    });
    kept.push(Answer { kind, id, asked, addresses, records });
    Step::Done(1)
}

/// Reads `$dns`, `$srvquery`, `$naptrquery` or `$ptrquery`.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let (Some(kept), Some(sub)) = (&h.rare.names, sub.and_then(Value::to_text)) else { return Value::Null };
    let text = sub.to_lossy();
    let Some((id, key)) = text.split_once("=>") else { return Value::Null };
    let kind = match pv {
        Kpv::DnsResult => Asked::Dns,
        Kpv::SrvResult => Asked::Srv,
        Kpv::NaptrResult => Asked::Naptr,
        _ => Asked::Ptr,
    };
    let result = kept.0.iter().find(|r| r.kind == kind && *r.id == *id.trim().as_bytes());
    result.and_then(|r| part(r, key.trim())).unwrap_or(Value::Null)
}

fn part(r: &Answer, key: &str) -> Option<Value> {
    let count = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let yes = |yes: bool| Value::Int(yes.into());
    match (r.kind, key) {
        (Asked::Dns, "count") => return Some(count(r.addresses.len())),
        (Asked::Dns, "hostname") => return Some(Value::Str(r.asked.clone())),
        (Asked::Dns, "ipv4") => return Some(yes(r.addresses.iter().any(IpAddr::is_ipv4))),
        (Asked::Dns, "ipv6") => return Some(yes(r.addresses.iter().any(IpAddr::is_ipv6))),
        (Asked::Dns, "done") => return Some(yes(true)),
        (Asked::Srv | Asked::Naptr, "count") => return Some(count(r.records.len())),
        (Asked::Ptr, "ip") => return Some(Value::Str(r.asked.clone())),
        (Asked::Ptr, "hostname") => {
            let name = r.records.iter().find_map(|r| if let Record::Ptr(name) = r { Some(name) } else { None });
            return name.map(|n| Value::from(n.as_str()));
        }
        _ => {}
    }
    let (word, index) = key.strip_suffix(']')?.split_once('[')?;
    // Negative ones count from the end.
    let index: i64 = index.trim().parse().ok()?;
    let length = if r.kind == Asked::Dns { r.addresses.len() } else { r.records.len() };
    let at = if index < 0 { i64::try_from(length).ok()?.checked_add(index)? } else { index };
    let at = usize::try_from(at).ok()?;
    if r.kind == Asked::Dns {
        let ip = r.addresses.get(at)?;
        return match word.trim() {
            "addr" => Some(Value::text(ip.to_string())),
            "type" => Some(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
            _ => None,
        };
    }
    let number = |n: u16| Value::Int(n.into());
    match (r.records.get(at)?, word.trim()) {
        (Record::Srv { port, .. }, "port") => Some(number(*port)),
        (Record::Srv { priority, .. }, "priority") => Some(number(*priority)),
        (Record::Srv { weight, .. }, "weight") => Some(number(*weight)),
        (Record::Srv { target, .. }, "target") => Some(Value::from(target.as_str())),
        (Record::Naptr { order, .. }, "order") => Some(number(*order)),
        (Record::Naptr { preference, .. }, "pref") => Some(number(*preference)),
        (Record::Naptr { flags, .. }, "flags") => Some(Value::from(flags.as_str())),
        (Record::Naptr { service, .. }, "services") => Some(Value::from(service.as_str())),
        (Record::Naptr { regexp, .. }, "regex") => Some(Value::from(regexp.as_str())),
        (Record::Naptr { replacement, .. }, "replace") => Some(Value::from(replacement.as_str())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses() {
        assert_eq!(reverse("192.0.2.7".parse().unwrap()), "7.2.0.192.in-addr.arpa.");
        let six = reverse("2001:db8::1".parse().unwrap());
        assert!(six.starts_with("1.0.0.0.0.0.") && six.ends_with("8.b.d.0.1.0.0.2.ip6.arpa."), "{six}");
    }

    #[test]
    fn parts() {
        let srv = |priority, weight, target: &str| Record::Srv { priority, weight, port: 5060, target: target.into() };
        let ips = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let mut r = Answer { kind: Asked::Dns, id: "x".into(), asked: "h".into(), addresses: ips, records: Vec::new() };
        assert_eq!(part(&r, "count"), Some(Value::Int(2)));
        assert_eq!(part(&r, "addr[1]"), Some(Value::from("2001:db8::1")));
        assert_eq!((part(&r, "type[0]"), part(&r, "type[-1]")), (Some(Value::Int(4)), Some(Value::Int(6))));
        assert_eq!((part(&r, "ipv4"), part(&r, "hostname")), (Some(Value::Int(1)), Some(Value::from("h"))));
        for bad in ["", "addr", "addr[", "addr[2]", "addr[-3]", "addr[x]", "[0]", "port[0]"] {
            assert_eq!(part(&r, bad), None, "{bad}");
        }
        r.kind = Asked::Srv;
        r.records = vec![srv(1, 5, "a"), srv(2, 0, "b")];
        assert_eq!((part(&r, "count"), part(&r, "target[1]")), (Some(Value::Int(2)), Some(Value::from("b"))));
        assert_eq!((part(&r, "weight[0]"), part(&r, "addr[0]")), (Some(Value::Int(5)), None));
    }
}
