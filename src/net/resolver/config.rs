//! Which name servers to ask, and what is known without asking: `/etc/resolv.conf`, `/etc/hosts`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file read.
const MAX_FILE: u64 = 4 << 20;
const MAX_SERVERS: usize = 8;
/// No look-up takes longer.
const MAX_TOTAL: Duration = Duration::from_secs(30);
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
    /// Answers are kept at least so many seconds, and at most so many; those with a TTL of 0 are not kept
    /// unless the least is above that.
    pub min_ttl: u32,
    /// See `min_ttl`.
    pub max_ttl: u32,
    /// How long at most it is remembered that a name has nothing, in seconds.
    pub max_negative_ttl: u32,
    /// Names of `/etc/hosts`, in lower case.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

/// What the server's configuration says about look-ups; the rest is in the system's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolverOptions {
    /// `dns_servers`: instead of those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// `dns_servers_no`: so many of the servers are used.
    pub servers_no: Option<usize>,
    /// `dns_retr_time`: how long one try at one server may take.
    pub timeout: Option<Duration>,
    /// `dns_retr_no`: how often every server is tried.
    pub attempts: Option<usize>,
    /// `dns_use_search_list`
    pub search: bool,
    /// Whether answers are kept.
    pub cache: bool,
    /// Bounds of the time for which answers are kept, seconds.
    pub min_ttl: u32,
    /// See `min_ttl`.
    pub max_ttl: u32,
    /// How long it is remembered that a name has nothing, seconds.
    pub max_negative_ttl: u32,
    /// `/etc/resolv.conf`
    pub resolv_conf: PathBuf,
    /// `/etc/hosts`
    pub hosts: PathBuf,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        let defaults = ResolverConfig::default();
        ResolverOptions {
            servers: Vec::new(),
            servers_no: None,
            timeout: None,
            attempts: None,
            search: true,
            cache: true,
            min_ttl: defaults.min_ttl,
            max_ttl: defaults.max_ttl,
            max_negative_ttl: defaults.max_negative_ttl,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
        }
    }
}

impl ResolverOptions {
    /// What this machine's files say, and these options. Reads them, so: before traffic.
    pub fn load(&self) -> ResolverConfig {
        self.apply(&read(&self.resolv_conf), &read(&self.hosts))
    }

    /// What files with these texts say, and these options.
    pub fn apply(&self, resolv: &str, hosts: &str) -> ResolverConfig {
        let mut config = ResolverConfig::parse(resolv, hosts);
        if !self.servers.is_empty() {
            config.servers.clone_from(&self.servers);
            config.servers.truncate(MAX_SERVERS);
        }
        if let Some(n) = self.servers_no {
            config.servers.truncate(n.max(1));
        }
        if !self.search {
            config.search.clear();
        }
        if !self.cache {
            config.cache = 0;
        }
        config.timeout = self.timeout.unwrap_or(config.timeout);
        config.attempts = self.attempts.unwrap_or(config.attempts);
        // A look-up may take as long as its tries do, were they all in vain, but not for ever.
        let tries = config.attempts.saturating_mul(config.servers.len()).max(1);
        let all = config.timeout.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX));
        config.total = config.total.max(all).min(MAX_TOTAL);
        (config.min_ttl, config.max_ttl) = (self.min_ttl, self.max_ttl);
        config.max_negative_ttl = self.max_negative_ttl;
        config
    }
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
            min_ttl: 0,
            max_ttl: 86_400,
            max_negative_ttl: 300,
            hosts: HashMap::new(),
        }
    }
}

impl ResolverConfig {
    /// What this machine's files say. Reads them, so: before traffic.
    pub fn from_system() -> ResolverConfig {
        ResolverOptions::default().load()
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

    /// For how many seconds an answer with this TTL is kept.
    pub fn hold(&self, ttl: u32) -> u32 {
        ttl.max(self.min_ttl).min(self.max_ttl)
    }

    /// The full names that a name may stand for, in the order to try them.
    pub fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_string()];
        }
        // Of the name of a service, the domain behind it decides; a full one is not searched for.
        let mut domain = host;
        while domain.starts_with('_') {
            domain = domain.split_once('.').map_or("", |(_, rest)| rest);
        }
        if domain.len() < host.len() {
            let dots = domain.bytes().filter(|b| *b == b'.').count();
            if dots >= self.ndots {
                return vec![host.to_string()];
            }
            let searched = self.search.iter().map(|d| format!("{host}.{d}"));
            return searched.chain(std::iter::once(host.to_string())).collect();
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

/// The text of a file, at most 4 MiB of it; what cannot be read is as good as empty.
pub fn read(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
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
        assert_eq!(c.candidates("_sip._udp.a.b.c"), ["_sip._udp.a.b.c"]);
        assert_eq!(c.candidates("_sip._udp.a")[0], "_sip._udp.a.corp.example");
    }

    #[test]
    fn times_have_bounds() {
        let c = ResolverConfig { min_ttl: 5, max_ttl: 100, ..ResolverConfig::default() };
        assert_eq!([0, 4, 50, 1000].map(|t| c.hold(t)), [5, 5, 50, 100]);
        assert_eq!(ResolverConfig::default().hold(0), 0);
    }

    #[test]
    fn options_come_before_the_files() {
        let resolv = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.test\noptions timeout:3 attempts:4\n";
        let with = |options: ResolverOptions| options.apply(resolv, "");
        let plain = with(ResolverOptions::default());
        assert_eq!((plain.servers.len(), plain.search.len(), plain.attempts), (2, 1, 4));
        assert_eq!(plain.total, Duration::from_secs(24));
        let c = with(ResolverOptions {
            servers_no: Some(1),
            timeout: Some(Duration::from_secs(1)),
            attempts: Some(2),
            search: false,
            cache: false,
            max_ttl: 60,
            ..ResolverOptions::default()
        });
        assert_eq!((c.servers.len(), c.search.len(), c.attempts, c.cache, c.max_ttl), (1, 0, 2, 0, 60));
        assert_eq!((c.timeout, c.total), (Duration::from_secs(1), Duration::from_secs(10)));
        let own = "127.0.0.1:5353".parse().unwrap();
        let c = with(ResolverOptions { servers: vec![own], ..ResolverOptions::default() });
        assert_eq!(c.servers, [own]);
        let long = ResolverOptions { timeout: Some(Duration::from_secs(1000)), ..ResolverOptions::default() };
        assert_eq!(with(long).total, MAX_TOTAL);
    }

    #[test]
    fn nothing_configured() {
        let c = ResolverConfig::parse("", "");
        assert_eq!(c.servers, ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
        assert_eq!(c.candidates("a"), ["a"]);
    }
}
