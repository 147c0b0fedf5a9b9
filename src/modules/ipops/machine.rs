//! The names of this machine: `$HN(...)`. They are read once, at the start: nothing is looked up.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::value::Value;
use std::net::IpAddr;

/// What `$HN(...)` knows: the name, with its domain, its domain alone, its address.
pub const KEYS: &[&str] = &["n", "f", "d", "i"];

/// The names of a machine; without any where nobody has read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    name: Str,
    full: Str,
    address: Option<IpAddr>,
}

impl Machine {
    /// From its host name and the text of a hosts file (`hosts(5)`), whose first line with that name has its full name
    /// and its address.
    pub fn new(name: &str, hosts: &str) -> Machine {
        let name = name.trim();
        let short = name.split('.').next().unwrap_or(name);
        let mut full = name;
        let mut address = None;
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(ip) = words.next().and_then(|w| w.parse().ok()) else { continue };
            let names: Vec<&str> = words.collect();
            let is_ours =
                |n: &&str| !name.is_empty() && (n.eq_ignore_ascii_case(name) || n.eq_ignore_ascii_case(short));
            if names.iter().any(is_ours) {
                let prefix = format!("{short}.");
                let longer =
                    names.iter().find(|n| n.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(&prefix)));
                if let Some(longer) = longer.filter(|_| !name.contains('.')) {
                    full = longer;
                }
                address = Some(ip);
                break;
            }
        }
        Machine { name: Str::from(short), full: Str::from(full), address }
    }
}

/// Reads `$HN(key)`.
pub fn get(h: &SipHost, key: &[u8]) -> Value {
    let machine = &h.env().settings.machine;
    let named = |text: &[u8]| if text.is_empty() { Value::Null } else { Value::text(text) };
    match key {
        b"n" => named(&machine.name),
        b"f" => named(&machine.full),
        b"d" => match machine.full.iter().position(|b| *b == b'.') {
            Some(at) => named(machine.full.get(at + 1..).unwrap_or_default()),
            None => Value::Null,
        },
        b"i" => machine.address.map_or(Value::Null, |ip| Value::text(ip.to_string())),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hosts_file() {
        let hosts =
            "127.0.0.1 localhost\n# 10.0.0.9 box.example\n10.0.0.1\tbox.example.com  box # ours\n10.0.0.2 box\n";
        let m = Machine::new("box\n", hosts);
        assert_eq!((&m.name[..], &m.full[..]), (&b"box"[..], &b"box.example.com"[..]));
        assert_eq!(m.address, "10.0.0.1".parse().ok());
        let m = Machine::new("box.other.org", hosts);
        assert_eq!((&m.name[..], &m.full[..]), (&b"box"[..], &b"box.other.org"[..]));
        assert_eq!(Machine::new("", hosts), Machine::default());
        assert_eq!(Machine::new("alone", "nonsense\n").address, None);
    }
}
