//! What addresses are for (RFC 6890, RFC 5735, RFC 6598; the registries of IANA).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The word for an address.
pub(super) fn of(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(ip) => of_v4(ip),
        IpAddr::V6(ip) => of_v6(ip),
    }
}

/// Networks that have a word of their own; the first that fits counts.
const V4: [([u8; 4], u32, &str); 16] = [
    ([255, 255, 255, 255], 32, "BROADCAST"),
    ([10, 0, 0, 0], 8, "PRIVATE"),
    ([172, 16, 0, 0], 12, "PRIVATE"),
    ([192, 168, 0, 0], 16, "PRIVATE"),
    ([100, 64, 0, 0], 10, "SHARED"),
    ([127, 0, 0, 0], 8, "LOOPBACK"),
    ([169, 254, 0, 0], 16, "LINK-LOCAL"),
    ([192, 0, 0, 0], 24, "RESERVED"),
    ([192, 0, 2, 0], 24, "TEST-NET"),
    ([198, 51, 100, 0], 24, "TEST-NET"),
    ([203, 0, 113, 0], 24, "TEST-NET"),
    ([192, 88, 99, 0], 24, "6TO4-RELAY"),
    ([198, 18, 0, 0], 15, "RESERVED"),
    ([224, 0, 0, 0], 4, "MULTICAST"),
    ([240, 0, 0, 0], 4, "RESERVED"),
    ([0, 0, 0, 0], 8, "PRIVATE"),
];

fn of_v4(ip: Ipv4Addr) -> &'static str {
    let bits = u32::from(ip);
    let within = |(net, length, _): &&([u8; 4], u32, &str)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        bits & mask == u32::from_be_bytes(*net) & mask
    };
    V4.iter().find(within).map_or("PUBLIC", |(.., word)| word)
}

fn of_v6(ip: Ipv6Addr) -> &'static str {
    if ip.is_unspecified() {
        return "UNSPECIFIED";
    }
    if ip.is_loopback() {
        return "LOOPBACK";
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => "IPV4MAP",
        [0x100, 0, 0, 0, ..] => "DISCARD",
        [0x2001, 0, ..] => "TEREDO",
        [0x2001, 2, 0, ..] => "BMWG",
        [0x2001, 0xdb8, ..] => "DOCUMENTATION",
        [0x2001, second, ..] if second & 0xfff0 == 0x10 => "ORCHID",
        [0x2002, ..] => "6TO4",
        [first, ..] if first & 0xe000 == 0x2000 => "GLOBAL-UNICAST",
        [first, ..] if first & 0xfe00 == 0xfc00 => "UNIQUE-LOCAL-UNICAST",
        [first, ..] if first & 0xffc0 == 0xfe80 => "LINK-LOCAL-UNICAST",
        [first, ..] if first & 0xff00 == 0xff00 => "MULTICAST",
        _ => "RESERVED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (ip, word) in [
            ("8.8.8.8", "PUBLIC"),
            ("10.1.2.3", "PRIVATE"),
            ("172.31.0.1", "PRIVATE"),
            ("172.32.0.1", "PUBLIC"),
            ("100.64.0.1", "SHARED"),
            ("127.0.0.1", "LOOPBACK"),
            ("169.254.1.1", "LINK-LOCAL"),
            ("203.0.113.9", "TEST-NET"),
            ("192.88.99.1", "6TO4-RELAY"),
            ("239.1.1.1", "MULTICAST"),
            ("255.255.255.255", "BROADCAST"),
            ("::", "UNSPECIFIED"),
            ("::1", "LOOPBACK"),
            ("::ffff:1.2.3.4", "IPV4MAP"),
            ("100::1", "DISCARD"),
            ("2001::1", "TEREDO"),
            ("2001:10::1", "ORCHID"),
            ("2001:2::1", "BMWG"),
            ("2001:db8::1", "DOCUMENTATION"),
            ("2002::1", "6TO4"),
            ("2a00::1", "GLOBAL-UNICAST"),
            ("fd00::1", "UNIQUE-LOCAL-UNICAST"),
            ("fe80::1", "LINK-LOCAL-UNICAST"),
            ("ff02::1", "MULTICAST"),
            ("4000::1", "RESERVED"),
        ] {
            assert_eq!(of(ip.parse().unwrap()), word, "{ip}");
        }
    }
}
