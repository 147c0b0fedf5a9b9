//! `ipops`: addresses, and names that are looked up (kamailio.md sections 5.8 and 6.2). The resolver of the worker does
//! the work; the script waits, the worker does not.

mod kinds;
pub mod machine;
pub mod names;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::compare::{in_net, parse_net};
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::net::IpAddr;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "ipops",
    dialects: &[Dialect::Kamailio],
    functions: &[
        IS_IP,
        IS_PURE_IP,
        IS_IPV4,
        IS_IPV6,
        IS_IPV6_REFERENCE,
        IP_TYPE,
        DETAILED_IP_TYPE,
        DETAILED_IPV4_TYPE,
        DETAILED_IPV6_TYPE,
        COMPARE_IPS,
        COMPARE_PURE_IPS,
        IS_IP_RFC1918,
        IS_IN_SUBNET,
        names::DNS_SYS_MATCH_IP,
        names::DNS_INT_MATCH_IP,
        names::DNS_QUERY,
        names::SRV_QUERY,
        names::NAPTR_QUERY,
        names::PTR_QUERY,
        names::DNS_SET_LOCAL_TTL,
    ],
    params: &[],
    any_param: false,
    needs: &[],
};

/// How an address is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    V4,
    V6,
    /// Version 6 in brackets.
    Reference,
}

/// An address and its form. IPv4 addresses have no leading zeros, zones are no part of an address.
fn address(text: &[u8]) -> Option<(IpAddr, Form)> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => Some((IpAddr::V6(inner.parse().ok()?), Form::Reference)),
        None => {
            let ip: IpAddr = text.parse().ok()?;
            Some((ip, if ip.is_ipv4() { Form::V4 } else { Form::V6 }))
        }
    }
}

/// The address that an argument is.
fn given(call: &Call<'_, SipHost>, i: usize) -> Option<(IpAddr, Form)> {
    address(&call.text(i)?)
}

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

/// Whether argument 0 is an address in one of some forms.
fn is(call: &Call<'_, SipHost>, forms: &[Form]) -> Step<SipHost> {
    let found = given(call, 0);
    verdict(found.is_some_and(|(_, form)| forms.contains(&form)))
}

const ADDRESS: &[Param] = &[Param::req("address", Kind::Str)];

const IS_IP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_ip"),
    params: ADDRESS,
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Whether this is an address: IPv4, IPv6, or IPv6 in brackets.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (is_ip("$rd")) xlog("no name\n");"#,
    run: |call| is(call, &[Form::V4, Form::V6, Form::Reference]),
    finish: None,
};

const IS_PURE_IP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_pure_ip"),
    doc: "Whether this is an address without brackets.",
    example: r#"if (is_pure_ip("$si")) xlog("$si\n");"#,
    run: |call| is(call, &[Form::V4, Form::V6]),
    ..IS_IP
};

const IS_IPV4: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_ipv4"),
    doc: "Whether this is an IPv4 address.",
    example: r#"if (is_ipv4("$rd")) xlog("$rd\n");"#,
    run: |call| is(call, &[Form::V4]),
    ..IS_IP
};

const IS_IPV6: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_ipv6"),
    doc: "Whether this is an IPv6 address without brackets.",
    example: r#"if (is_ipv6("$si")) xlog("$si\n");"#,
    run: |call| is(call, &[Form::V6]),
    ..IS_IP
};

const IS_IPV6_REFERENCE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_ipv6_reference"),
    doc: "Whether this is an IPv6 address in brackets.",
    example: r#"if (is_ipv6_reference("$rd")) xlog("$rd\n");"#,
    run: |call| is(call, &[Form::Reference]),
    ..IS_IP
};

const IP_TYPE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ip_type"),
    doc: "In which form an address is written.",
    returns: &[(1, "IPv4"), (2, "IPv6"), (3, "IPv6 in brackets"), (-1, "not an address")],
    example: r#"if (ip_type("$rd") == 3) xlog("$rd\n");"#,
    run: |call| {
        Step::Done(match given(call, 0) {
            Some((_, Form::V4)) => 1,
            Some((_, Form::V6)) => 2,
            Some((_, Form::Reference)) => 3,
            None => -1,
        })
    },
    ..IS_IP
};

const DETAILED_IP_TYPE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("detailed_ip_type"),
    params: &[Param::req("address", Kind::Str), Param::req("result", Kind::Out)],
    doc: "Stores what an address is for: PUBLIC, PRIVATE, SHARED, LOOPBACK, LINK-LOCAL, RESERVED, TEST-NET, 6TO4-RELAY, \
          MULTICAST, BROADCAST, and for IPv6 UNSPECIFIED, LOOPBACK, IPV4MAP, RESERVED, DISCARD, GLOBAL-UNICAST, TEREDO, BMWG, \
          DOCUMENTATION, ORCHID, 6TO4, UNIQUE-LOCAL-UNICAST, LINK-LOCAL-UNICAST, MULTICAST.",
    returns: &[(1, "stored"), (-1, "not an address")],
    example: r#"detailed_ip_type("$si", "$var(kind)");"#,
    run: |call| detailed(call, &[Form::V4, Form::V6, Form::Reference]),
    ..IS_IP
};

const DETAILED_IPV4_TYPE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("detailed_ipv4_type"),
    doc: "The same for IPv4 addresses only.",
    example: r#"detailed_ipv4_type("$si", "$var(kind)");"#,
    run: |call| detailed(call, &[Form::V4]),
    ..DETAILED_IP_TYPE
};

const DETAILED_IPV6_TYPE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("detailed_ipv6_type"),
    doc: "The same for IPv6 addresses only.",
    example: r#"detailed_ipv6_type("$si", "$var(kind)");"#,
    run: |call| detailed(call, &[Form::V6, Form::Reference]),
    ..DETAILED_IP_TYPE
};

fn detailed(call: &mut Call<'_, SipHost>, forms: &[Form]) -> Step<SipHost> {
    match given(call, 0).filter(|(_, form)| forms.contains(form)) {
        Some((ip, _)) => {
            call.assign(1, Value::from(kinds::of(ip)));
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

const TWO: &[Param] = &[Param::req("address1", Kind::Str), Param::req("address2", Kind::Str)];

const COMPARE_IPS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("compare_ips"),
    params: TWO,
    doc: "Whether two addresses are the same; brackets around an IPv6 address do not count.",
    returns: &[(1, "they are"), (-1, "they are not, or are no addresses")],
    example: r#"if (compare_ips("$rd", "$Ri")) xlog("to us\n");"#,
    run: |call| verdict(same(call, true)),
    ..IS_IP
};

const COMPARE_PURE_IPS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("compare_pure_ips"),
    doc: "The same; what stands in brackets is no address.",
    example: r#"if (compare_pure_ips("$si", "$Ri")) xlog("from us\n");"#,
    run: |call| verdict(same(call, false)),
    ..COMPARE_IPS
};

fn same(call: &Call<'_, SipHost>, references: bool) -> bool {
    let of = |i: usize| {
        let found = given(call, i);
        found.filter(|(_, form)| references || *form != Form::Reference).map(|(ip, _)| ip)
    };
    of(0).is_some_and(|ip| of(1) == Some(ip))
}

const IS_IP_RFC1918: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_ip_rfc1918"),
    doc: "Whether this is one of the private IPv4 addresses of RFC 1918.",
    example: r#"if (is_ip_rfc1918("$si")) force_rport();"#,
    run: |call| {
        let found = given(call, 0);
        verdict(matches!(found, Some((IpAddr::V4(ip), _)) if ip.is_private()))
    },
    ..IS_IP
};

const IS_IN_SUBNET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_in_subnet"),
    params: &[Param::req("address", Kind::Str), Param::req("networks", Kind::Str)],
    doc: "Whether an address is in one of several networks, separated by commas. One without a length is one address.",
    returns: &[(1, "it is"), (-1, "it is not, or this is no address or no network")],
    example: r#"if (is_in_subnet("$si", "10.0.0.0/8,192.168.0.0/16")) force_rport();"#,
    run: |call| {
        let Some((ip, _)) = given(call, 0) else { return Step::Done(-1) };
        let list = call.text(1).unwrap_or_default().to_lossy().into_owned();
        let fits = |text: &str| {
            parse_net(text.trim()).is_some_and(|net| ip.is_ipv4() == net.addr.is_ipv4() && in_net(ip, net))
        };
        verdict(list.split(',').any(fits))
    },
    ..IS_IP
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let form = |text: &str| address(text.as_bytes()).map(|(_, form)| form);
        assert_eq!(form("192.0.2.1"), Some(Form::V4));
        assert_eq!(form("::1"), Some(Form::V6));
        assert_eq!(form("[2001:db8::1]"), Some(Form::Reference));
        for none in
            ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "[1.2.3.4]", "[::1", "::1]", "example.com", " 1.2.3.4", "1.2.3.4:5"]
        {
            assert_eq!(form(none), None, "{none}");
        }
    }
}
