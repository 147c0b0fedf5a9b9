//! Which name servers to ask, and what is known without asking: `/etc/resolv.conf`, `/etc/hosts`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Largest file read.
const MAX_FILE: u64 = 4 << 20;
const MAX_SERVERS: usize = 8;
const MAX_SEARCH: usize = 6;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Name servers, in order of preference.
    pub servers: Vec<SocketAddr>,
    /// Domains appended to short names.
    pub search: Vec<String>,
    /// A name with at least this many dots is tried as it is first.
    pub ndots: usize,
    /// How long one try at one server may take.
    pub timeout: Duration,
    /// How often every server is tried.
    pub attempts: usize,
    /// Whether each query starts at the next server.
    pub rotate: bool,
    /// How long a look-up may take, all servers and search domains together.
    pub total: Duration,
    /// How long the second address family is waited for when the first has answered.
    pub family_grace: Duration,
    /// Look-ups at once; more wait.
    pub in_flight: usize,
    /// Look-ups that wait; one more fails at once.
    pub queue: usize,
    /// Answers kept.
    pub cache: usize,
    /// Names of `/etc/hosts`, in lower case.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        ResolverConfig {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_millis(1500),
            attempts: 2,
            rotate: false,
            total: Duration::from_secs(10),
            family_grace: Duration::from_millis(300),
            in_flight: 128,
            queue: 4096,
            cache: 10_000,
            hosts: HashMap::new(),
        }
    }
}

impl ResolverConfig {
    /// What this machine's files say. Reads them, so: before traffic.
    pub fn from_system() -> ResolverConfig {
        Self::parse(&read("/etc/resolv.conf"), &read("/etc/hosts"))
    }

    /// What files with these texts say (resolv.conf(5), hosts(5)).
    pub fn parse(resolv: &str, hosts: &str) -> ResolverConfig {
        let mut config = ResolverConfig::default();
        for line in resolv.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|w| w.parse::<IpAddr>().ok());
                    config.servers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                // The last of these lines wins.
                Some("search" | "domain") => {
                    let domains = words.map(|w| w.trim_matches('.').to_ascii_lowercase());
                    config.search = domains.filter(|w| !w.is_empty()).take(MAX_SEARCH).collect();
                }
                Some("options") => words.for_each(|w| config.option(w)),
                _ => {}
            }
        }
        config.servers.truncate(MAX_SERVERS);
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let known = config.hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        config
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u64>();
        match (name, number) {
            ("ndots", Ok(n)) => self.ndots = usize::try_from(n.min(15)).unwrap_or(1),
            ("timeout", Ok(n)) => self.timeout = Duration::from_secs(n.clamp(1, 30)),
            ("attempts", Ok(n)) => self.attempts = usize::try_from(n.clamp(1, 5)).unwrap_or(2),
            ("rotate", _) => self.rotate = true,
            _ => {}
        }
    }

    /// The full names that a name may stand for, in the order to try them.
    pub fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_string()];
        }
        let searched = self.search.iter().map(|domain| format!("{host}.{domain}"));
        let as_is = std::iter::once(host.to_string());
        if host.bytes().filter(|b| *b == b'.').count() >= self.ndots {
            as_is.chain(searched).collect()
        } else {
            searched.chain(as_is).collect()
        }
    }
}

fn read(path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // What cannot be read is as good as empty.
        let _ = file.take(MAX_FILE).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_system() {
        let resolv = "# comment\ndomain old.example\nnameserver 192.0.2.1 ; x\nnameserver 2001:db8::1\nnameserver no\n\
                      search Corp.Example. b.example\noptions ndots:2 timeout:3 attempts:9 rotate edns0\n";
        let hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 DB.example db # c\nbad line\n";
        let c = ResolverConfig::parse(resolv, hosts);
        assert_eq!(c.servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse::<SocketAddr>().unwrap()]);
        assert_eq!((c.ndots, c.timeout, c.attempts, c.rotate), (2, Duration::from_secs(3), 5, true));
        assert_eq!(c.hosts["localhost"].len(), 2);
        assert_eq!(c.hosts["db.example"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(c.candidates("a.b"), ["a.b.corp.example", "a.b.b.example", "a.b"]);
        assert_eq!(c.candidates("a.b.c"), ["a.b.c", "a.b.c.corp.example", "a.b.c.b.example"]);
        assert_eq!(c.candidates("a."), ["a"]);
    }

    #[test]
    fn nothing_configured() {
        let c = ResolverConfig::parse("", "");
        assert_eq!(c.servers, ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
        assert_eq!(c.candidates("a"), ["a"]);
    }
}
