//! Addresses in groups: hosts, networks, names.

use crate::base::Str;
use crate::modules::lists::{int, text};
use crate::ops::SqlValue;
use crate::script::pattern::compile_regex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;

/// What an entry means.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    /// A network, or a host: all bits count.
    Net(IpAddr, u8),
    /// A name, which is compared as it is.
    Name(Str),
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Address {
    /// Its group, from 1 on.
    pub group: i64,
    /// Who is meant.
    pub what: What,
    /// From which port; 0: any.
    pub port: u16,
    /// What a match is marked with; OpenSIPS: its context.
    pub tag: Option<Str>,
    /// OpenSIPS: over which transport, in small letters; `any` is any, `none` is none.
    pub proto: Str,
    /// OpenSIPS: what a text that is asked about must fit; none: it is not asked.
    pub pattern: Option<Str>,
}

/// What OpenSIPS asks about.
pub struct Asked<'a> {
    /// The group; 0: any.
    pub group: i64,
    /// The address.
    pub ip: IpAddr,
    /// The port; 0: any.
    pub port: u16,
    /// The transport in small letters; `any`: any.
    pub proto: &'a [u8],
}

impl Address {
    /// From group, address, mask, port and tag; a mask of 0 counts all bits.
    pub fn new(group: i64, address: &str, mask: i64, port: i64, tag: Option<Str>) -> Option<Address> {
        let address = address.trim();
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let what = match bare.parse::<IpAddr>() {
            Ok(ip) => {
                let most = if ip.is_ipv4() { 32 } else { 128 };
                let mask = if mask == 0 { most } else { u8::try_from(mask).ok().filter(|m| *m <= most)? };
                What::Net(masked(ip, mask), mask)
            }
            Err(_) if bare.is_empty() => return None,
            Err(_) => What::Name(Str::from(bare.to_ascii_lowercase())),
        };
        let tag = tag.filter(|t| !t.is_empty());
        let port = u16::try_from(port).ok()?;
        (group > 0).then_some(Address { group, what, port, tag, proto: Str::from("any"), pattern: None })
    }

    /// From a row: group, address, mask, port, tag.
    pub fn of_row(row: &[SqlValue]) -> Option<Address> {
        if row.len() > 5 {
            return Address::of_opensips(row);
        }
        let address = text(row.get(1))?;
        let (mask, port) = (int(row.get(2)).unwrap_or(0), int(row.get(3)).unwrap_or(0));
        Address::new(int(row.first())?, &address.to_lossy(), mask, port, text(row.get(4)))
    }

    /// From a row of OpenSIPS' table: group, address, mask, port, context, transport, pattern. Group 0 is in every group; a
    /// mask of 0 is every address.
    fn of_opensips(row: &[SqlValue]) -> Option<Address> {
        let address = text(row.get(1))?;
        let ip: IpAddr = address.to_lossy().trim().parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let mask = int(row.get(2)).map_or(Some(most), |m| u8::try_from(m).ok().filter(|m| *m <= most))?;
        let given = |n: usize| text(row.get(n)).filter(|t| !t.is_empty());
        let pattern = given(6);
        if pattern.as_ref().is_some_and(|p| compile_regex(&p.to_lossy()).is_err()) {
            return None;
        }
        Some(Address {
            group: int(row.first()).filter(|g| *g >= 0)?,
            what: What::Net(masked(ip, mask), mask),
            port: u16::try_from(int(row.get(3)).unwrap_or(0)).ok()?,
            tag: given(4),
            proto: given(5).map_or_else(|| Str::from("any"), |p| Str::from(p.to_ascii_lowercase())),
            pattern,
        })
    }

    /// From a line of a file: group, address, and if they are there mask, port, tag; `None` for a line without an
    /// entry.
    pub fn of_line(line: &str) -> Result<Option<Address>, String> {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split([' ', '\t', ',', '\r']).filter(|w| !w.is_empty());
        let (Some(group), address) = (words.next(), words.next()) else { return Ok(None) };
        let number = |word: &str| word.parse::<i64>().map_err(|_| format!("`{word}` is no number"));
        let address = address.ok_or("an entry is: group address [mask [port [tag]]]")?;
        let mut optional = || words.next().map_or(Ok(0), number);
        let (mask, port) = (optional()?, optional()?);
        let tag = words.next().map(Str::from);
        let entry = Address::new(number(group)?, address, mask, port, tag);
        entry.map(Some).ok_or_else(|| "the group is not from 1 on, or mask or port are too large".to_string())
    }

    fn lets(&self, group: Option<i64>, port: u16) -> bool {
        group.is_none_or(|g| g == self.group) && (self.port == 0 || self.port == port)
    }
}

/// The bits of an address that count.
fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(a) & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(a) & mask).into())
        }
    }
}

/// All entries, as they are looked up.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// In their order.
    pub entries: Vec<Address>,
    hosts: HashMap<IpAddr, Vec<usize>>,
    nets: Vec<usize>,
    names: HashMap<Str, Vec<usize>>,
}

impl Addresses {
    /// Sorts them.
    pub fn new(entries: Vec<Address>) -> Addresses {
        let mut all = Addresses::default();
        for (n, entry) in entries.iter().enumerate() {
            match &entry.what {
                What::Net(ip, bits) if *bits == if ip.is_ipv4() { 32 } else { 128 } => {
                    all.hosts.entry(*ip).or_default().push(n);
                }
                What::Net(..) => all.nets.push(n),
                What::Name(name) => all.names.entry(name.clone()).or_default().push(n),
            }
        }
        all.entries = entries;
        all
    }

    /// The first entry of a group (`None`: of any) that an address and port belong to: hosts before networks.
    pub fn find(&self, group: Option<i64>, address: &str, port: u16) -> Option<&Address> {
        let address = address.trim();
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let Ok(ip) = bare.parse::<IpAddr>() else {
            return self.first(self.names.get(bare.to_ascii_lowercase().as_bytes()), group, port);
        };
        let in_net = |n: &&usize| match self.entries.get(**n).map(|e| &e.what) {
            Some(What::Net(net, bits)) => net.is_ipv4() == ip.is_ipv4() && masked(ip, *bits) == *net,
            _ => false,
        };
        let nets = || {
            let fits = |n: &usize| self.entries.get(*n).filter(|e| e.lets(group, port));
            self.nets.iter().filter(in_net).find_map(fits)
        };
        self.first(self.hosts.get(&ip), group, port).or_else(nets)
    }

    /// The entries that OpenSIPS takes for an answer, but for their patterns: hosts before networks.
    pub fn fitting<'a>(&'a self, asked: &'a Asked<'a>) -> impl Iterator<Item = &'a Address> {
        let hosts = self.hosts.get(&asked.ip).into_iter().flatten();
        let in_net = move |e: &&Address| match &e.what {
            What::Net(net, bits) => net.is_ipv4() == asked.ip.is_ipv4() && masked(asked.ip, *bits) == *net,
            What::Name(_) => false,
        };
        let lets = move |e: &&Address| {
            (e.group == 0 || asked.group == 0 || e.group == asked.group)
                && (e.port == 0 || asked.port == 0 || e.port == asked.port)
                && *e.proto != *b"none"
                && (*e.proto == *b"any" || *asked.proto == *b"any" || *e.proto == *asked.proto)
        };
        hosts.chain(&self.nets).filter_map(|n| self.entries.get(*n)).filter(in_net).filter(lets)
    }

    fn first(&self, of: Option<&Vec<usize>>, group: Option<i64>, port: u16) -> Option<&Address> {
        of?.iter().filter_map(|n| self.entries.get(*n)).find(|e| e.lets(group, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_by_host_network_name_and_port() {
        let file = "# ours\n1 127.0.0.1 32 0 tag1\n1 10.0.0.10\n\n2 192.168.1.0 24 0 tag2 # a net\n2 192.168.1.77 32 5080\n\
                    3 [1:5ee::900d:c0de]\n3 2001:db8:: 32\n4 Sip.Example.org 0 5070\n2 192.168.1.99, 24, 0, other\n";
        let entries: Vec<Address> = file.lines().filter_map(|l| Address::of_line(l).unwrap()).collect();
        assert_eq!(entries.len(), 8);
        let all = Addresses::new(entries);
        let group = |group, ip, port| all.find(group, ip, port).map(|e| e.group);
        assert_eq!(group(Some(1), "127.0.0.1", 9), Some(1));
        assert_eq!(group(Some(2), "127.0.0.1", 9), None);
        assert_eq!(group(None, "10.0.0.10", 0), Some(1));
        assert_eq!(group(None, "10.0.0.11", 0), None);
        assert_eq!(group(None, "192.168.1.200", 1), Some(2));
        assert_eq!(all.find(None, "192.168.1.200", 1).unwrap().tag, Some(Str::from("tag2")));
        assert_eq!(all.find(None, "192.168.1.77", 5080).unwrap().port, 5080);
        assert_eq!(all.find(None, "192.168.1.77", 5081).unwrap().port, 0);
        assert_eq!(group(None, "192.168.2.1", 1), None);
        assert_eq!(group(Some(3), "1:5ee::900d:c0de", 1), Some(3));
        assert_eq!(group(Some(3), "[2001:db8:ffff::1]", 1), Some(3));
        assert_eq!(group(Some(3), "2001:db9::1", 1), None);
        assert_eq!((group(None, "sip.example.ORG", 5070), group(None, "sip.example.org", 1)), (Some(4), None));
        for bad in ["x 1.2.3.4", "1", "0 1.2.3.4", "1 1.2.3.4 33", "1 1.2.3.4 8 70000", "1 1.2.3.4 x"] {
            assert!(Address::of_line(bad).is_err(), "{bad}");
        }
        assert_eq!(Address::of_line("  # nothing"), Ok(None));
        assert_eq!(masked("1.2.3.4".parse().unwrap(), 0), "0.0.0.0".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn rows_are_read() {
        let row = |mask| {
            vec![
                SqlValue::Int(1),
                SqlValue::Text(Str::from("10.0.0.0")),
                mask,
                SqlValue::Text(Str::from("5060")),
                SqlValue::Null,
            ]
        };
        let read = Address::of_row(&row(SqlValue::Int(8))).unwrap();
        assert_eq!((read.what, read.port), (What::Net("10.0.0.0".parse().unwrap(), 8), 5060));
        assert_eq!(Address::of_row(&row(SqlValue::Int(40))), None);
        assert_eq!(Address::of_row(&[SqlValue::Null]), None);
    }

    #[test]
    fn rows_of_opensips() {
        let t = |t: &str| SqlValue::Text(Str::from(t));
        let row = |group, ip, mask, port, proto, pattern: &str| {
            Address::of_row(&[
                SqlValue::Int(group),
                t(ip),
                SqlValue::Int(mask),
                SqlValue::Int(port),
                t("ctx"),
                t(proto),
                t(pattern),
            ])
        };
        let all = Addresses::new(
            [
                row(1, "10.0.0.1", 32, 5060, "UDP", ""),
                row(1, "10.0.0.0", 24, 0, "any", "^gw"),
                row(0, "192.0.2.1", 32, 0, "tcp", ""),
                row(3, "192.0.2.0", 24, 0, "none", ""),
                row(4, "0.0.0.0", 0, 0, "tls", ""),
            ]
            .into_iter()
            .map(Option::unwrap)
            .collect(),
        );
        let groups = |group, ip: &str, port, proto: &str| -> Vec<i64> {
            let asked = Asked { group, ip: ip.parse().unwrap(), port, proto: proto.as_bytes() };
            all.fitting(&asked).map(|e| e.group).collect()
        };
        assert_eq!(groups(1, "10.0.0.1", 5060, "udp"), [1, 1]);
        assert_eq!(groups(1, "10.0.0.1", 5061, "udp"), [1], "the network alone");
        assert_eq!(groups(1, "10.0.0.1", 0, "any"), [1, 1]);
        assert_eq!(groups(2, "10.0.0.1", 5060, "udp"), [0; 0]);
        assert_eq!(groups(2, "192.0.2.1", 1, "tcp"), [0], "group 0 is in every group");
        assert_eq!(groups(3, "192.0.2.9", 1, "udp"), [0; 0], "none is no transport");
        assert_eq!(groups(0, "203.0.113.1", 1, "tls"), [4]);
        assert_eq!(row(1, "10.0.0.1", 33, 0, "any", ""), None);
        assert_eq!(row(-1, "10.0.0.1", 32, 0, "any", ""), None);
        assert_eq!(row(1, "10.0.0.1", 32, 0, "any", "("), None);
        assert_eq!(row(1, "gw.example.org", 32, 0, "any", ""), None);
    }
}
