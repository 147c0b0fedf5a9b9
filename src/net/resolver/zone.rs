//! What the name servers of a simulation know. The resolver asks it in the place of the network; all
//! else (cache, retries, time-outs) is as ever.

use super::message::{Record, RecordType, Reply};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// For how many seconds its answers hold.
const TTL: u32 = 60;

/// Names and their records. A name that is not in it does not exist.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: HashMap<String, Vec<Record>>,
    failing: HashSet<String>,
    silent: HashSet<String>,
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Zone {
    /// Gives a name further records.
    pub fn add(&mut self, name: &str, records: impl IntoIterator<Item = Record>) {
        self.names.entry(plain(name)).or_default().extend(records);
    }

    /// Gives a name further addresses.
    pub fn add_addresses(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        self.add(name, addresses.into_iter().map(Record::Address));
    }

    /// Forgets all about a name: it does not exist (any more).
    pub fn remove(&mut self, name: &str) {
        let name = plain(name);
        self.names.remove(&name);
        self.failing.remove(&name);
        self.silent.remove(&name);
    }

    /// Whoever asks for this name is told that the server failed.
    pub fn fail(&mut self, name: &str) {
        self.failing.insert(plain(name));
    }

    /// Whoever asks for this name gets no answer.
    pub fn keep_silent(&mut self, name: &str) {
        self.silent.insert(plain(name));
    }

    /// The answer to a question; `None` = none will come.
    pub(super) fn ask(&self, name: &str, kind: RecordType) -> Option<Reply> {
        let name = plain(name);
        if self.silent.contains(&name) {
            return None;
        }
        if self.failing.contains(&name) {
            return Some(Reply::ServerError("SERVFAIL".into()));
        }
        let Some(all) = self.names.get(&name) else { return Some(Reply::NoName(0)) };
        let fits = |r: &&Record| match r {
            Record::Address(ip) => kind == if ip.is_ipv4() { RecordType::A } else { RecordType::Aaaa },
            Record::Srv { .. } => kind == RecordType::Srv,
            Record::Naptr { .. } => kind == RecordType::Naptr,
            Record::Ptr(_) => kind == RecordType::Ptr,
        };
        let records: Vec<Record> = all.iter().filter(fits).cloned().collect();
        Some(if records.is_empty() { Reply::NoData(0) } else { Reply::Records(records, TTL) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_was_told() {
        let mut zone = Zone::default();
        zone.add_addresses("A.example.", ["192.0.2.1".parse().unwrap()]);
        zone.keep_silent("b.example");
        zone.fail("c.example");
        let ip = Record::Address("192.0.2.1".parse().unwrap());
        assert_eq!(zone.ask("a.example", RecordType::A), Some(Reply::Records(vec![ip], TTL)));
        assert_eq!(zone.ask("a.example", RecordType::Aaaa), Some(Reply::NoData(0)));
        assert_eq!(zone.ask("b.example", RecordType::A), None);
        assert_eq!(zone.ask("c.example", RecordType::A), Some(Reply::ServerError("SERVFAIL".into())));
        zone.remove("a.example");
        assert_eq!(zone.ask("a.example", RecordType::A), Some(Reply::NoName(0)));
    }
}
