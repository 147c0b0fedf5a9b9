//! Whether a client is behind address translation.

use super::ROUTES;
use crate::modules::host::SipHost;
use crate::modules::sipmsgops::session_of;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::nameaddr::NameAddr;
use crate::sip::sdp;
use crate::sip::uri::{Uri, host_ip};
use crate::sip::{HeaderId, Transport};
use std::net::{IpAddr, Ipv4Addr};

/// `nat_uac_test`
pub const NAT_UAC_TEST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("nat_uac_test"),
    params: &[Param::req("tests", Kind::Int)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Whether one of these tests (a sum) holds: 1 Contact has a private address, 2 Via names another address than \
          that the message came from, 4 Via has a private address, 8 the SDP has one, 16 Via names another port than \
          that the message came from, 32 it came from a private address, 64 it came over a WebSocket, 128 Contact \
          names another port, 256 the SDP's address is another one, 512 the R-URI and the destination URI differ (in \
          a reply: the second Via and where its request came from). Private: RFC 1918, RFC 6598, 192.0.0.0/24 (see `nat_addr_mode`).",
    returns: &[(1, "one holds"), (-1, "none does")],
    example: r#"if (nat_uac_test("19")) force_rport();"#,
    run: |call| {
        let mask = call.int(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        if mask == 0 {
            return Step::Fail("the tests are a number from 1 on".to_string());
        }
        Step::Done(if any(call.host, mask) { 1 } else { -1 })
    },
    finish: None,
};

/// `nat_uac_test` of OpenSIPS, which names its tests and numbers them otherwise.
pub const NAT_UAC_TEST_WORDS: FnSpec<SipHost> = FnSpec {
    opensips: Some("nat_uac_test"),
    kamailio: None,
    params: &[Param::req("tests", Kind::IntOrStr)],
    doc: "Whether one of these tests holds: `private-contact` (1), `diff-ip-src-via` (2), `private-via` (4), \
          `private-sdp` (8), `diff-port-src-via` (16), `diff-ip-src-contact` (32), `diff-port-src-contact` (64); with \
          `carrier-grade-nat` (128) the addresses of RFC 6598 and RFC 6333 count as private too. Words with commas, or \
          the sum of their numbers.",
    example: r#"if (nat_uac_test("private-contact,diff-ip-src-via")) force_rport();"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        let Some(mask) = words(&text, &TESTS) else {
            return Step::Fail(format!("`{}` names no tests", text.to_lossy()));
        };
        Step::Done(if any_of_words(call.host, mask) { 1 } else { -1 })
    },
    ..NAT_UAC_TEST
};

/// `is_rfc1918`
pub const IS_RFC1918: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_rfc1918"),
    params: &[Param::req("address", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Whether an address is a private one (RFC 1918, RFC 6598, 192.0.0.0/24).",
    returns: &[(1, "it is"), (-1, "it is not, or no address")],
    example: r#"if (is_rfc1918("$si")) xlog("from within\n");"#,
    run: is_rfc1918,
    ..NAT_UAC_TEST
};

fn is_rfc1918(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let text = call.text(0).unwrap_or_default();
    let reserved = call.host.env().settings.nathelper.reserved;
    Step::Done(if private_host(&text, reserved) { 1 } else { -1 })
}

const TESTS: [&str; 8] = [
    "private-contact",
    "diff-ip-src-via",
    "private-via",
    "private-sdp",
    "diff-port-src-via",
    "diff-ip-src-contact",
    "diff-port-src-contact",
    "carrier-grade-nat",
];

/// A number, or words with commas; the n-th word stands for bit n.
pub(super) fn words(text: &[u8], known: &[&str]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(n) = text.parse::<u32>() {
        return Some(n);
    }
    text.split(',').map(str::trim).filter(|w| !w.is_empty()).try_fold(0, |mask, word| {
        let bit = known.iter().position(|k| *k == word)?;
        Some(mask | 1 << bit)
    })
}

/// Whether an address is of RFC 1918 or RFC 6598, or one that is for protocols only: 192.0.0.0/29 (RFC 7335), with `reserved` all of
/// 192.0.0.0/24 (RFC 6890).
pub fn is_private(ip: IpAddr, reserved: bool) -> bool {
    let protocols = matches!(ip.to_canonical(), IpAddr::V4(a) if a.octets()[..3] == [192, 0, 0]);
    private(ip) || carrier_grade(ip) || if reserved { protocols } else { dual_stack_lite(ip) }
}

fn private(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(a) if a.is_private())
}

/// RFC 6598: 100.64.0.0/10.
fn carrier_grade(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(a) if a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64)
}

/// RFC 6333: 192.0.0.0/29.
fn dual_stack_lite(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(a) if u32::from(a) & !7 == u32::from(Ipv4Addr::new(192, 0, 0, 0)))
}

fn private_host(host: &[u8], reserved: bool) -> bool {
    host_ip(host).is_some_and(|ip| is_private(ip, reserved))
}

/// Host and port of the first Contact.
fn contact(h: &SipHost) -> Option<(&[u8], u16)> {
    let n = h
        .msg
        .header(HeaderId::Contact)
        .and_then(|c| crate::sip::list::split_list(c.value).next().and_then(|v| NameAddr::parse(v).ok()))?;
    let uri = Uri::parse(n.uri).ok().filter(Uri::is_sip)?;
    Some((uri.host, uri.port_or_default()))
}

/// The addresses of the SDP's `c=` lines.
fn media_hosts(h: &SipHost) -> Vec<&[u8]> {
    let body = session_of(&h.msg).map_or(&b""[..], |range| h.msg.slice(range));
    let hosts = sdp::lines(body).filter(|l| l.starts_with(b"c=")).filter_map(|l| l.split(|b| *b == b' ').nth(2));
    // `192.0.2.1/127`: a multicast address with its reach.
    hosts.filter_map(|h| h.split(|b| *b == b'/').next()).map(<[u8]>::trim_ascii).collect()
}

fn differs(host: &[u8], ip: IpAddr) -> bool {
    host_ip(host).is_none_or(|h| h.to_canonical() != ip.to_canonical())
}

fn any(h: &SipHost, mask: u32) -> bool {
    let has = |bit: u32| mask & bit != 0;
    let (ip, port) = (h.source.ip(), h.source.port());
    let via = h.msg.top_via();
    let reserved = h.env().settings.nathelper.reserved;
    let private_host = |host: &[u8]| private_host(host, reserved);
    has(1) && contact(h).is_some_and(|(host, _)| private_host(host))
        || has(2) && via.as_ref().is_some_and(|v| differs(v.host, ip))
        || has(4) && via.as_ref().is_some_and(|v| private_host(v.host))
        || has(8) && media_hosts(h).into_iter().any(private_host)
        || has(16) && via.as_ref().is_some_and(|v| v.port.unwrap_or(5060) != port)
        || has(32) && is_private(ip, reserved)
        || has(64) && matches!(super::transport(h), Transport::Ws | Transport::Wss)
        || has(128) && contact(h).is_some_and(|(_, p)| p != port)
        || has(256) && media_hosts(h).into_iter().any(|host| differs(host, ip))
        || has(512) && targets_differ(h)
}

/// Whether the R-URI and the destination URI name different places; in a reply: the second Via and where its request
/// came from.
fn targets_differ(h: &SipHost) -> bool {
    if h.msg.is_reply() {
        let Some(Ok(via)) = h.msg.vias().nth(1) else { return false };
        let host = via.received().is_some_and(|r| host_ip(r) != host_ip(via.host));
        return host || via.rport().is_some_and(|p| p != via.port_or_default());
    }
    let Some(du) = &h.du else { return false };
    match (Uri::parse(du), Uri::parse(h.current_ruri())) {
        (Ok(a), Ok(b)) => {
            let place = |u: &Uri<'_>| {
                (u.host.to_ascii_lowercase(), u.port_or_default(), u.transport().unwrap_or(Transport::Udp))
            };
            place(&a) != place(&b)
        }
        _ => true,
    }
}

fn any_of_words(h: &SipHost, mask: u32) -> bool {
    let has = |bit: u32| mask & bit != 0;
    let (ip, port) = (h.source.ip(), h.source.port());
    let via = h.msg.top_via();
    let wide = has(128);
    let inside = |host: &[u8]| {
        host_ip(host).is_some_and(|ip| private(ip) || (wide && (carrier_grade(ip) || dual_stack_lite(ip))))
    };
    has(1) && contact(h).is_some_and(|(host, _)| inside(host))
        || has(2) && via.as_ref().is_some_and(|v| differs(v.host, ip))
        || has(4) && via.as_ref().is_some_and(|v| inside(v.host))
        || has(8) && media_hosts(h).into_iter().any(inside)
        || has(16) && via.as_ref().is_some_and(|v| v.port.unwrap_or(5060) != port)
        || has(32) && contact(h).is_some_and(|(host, _)| differs(host, ip))
        || has(64) && contact(h).is_some_and(|(_, p)| p != port)
}
