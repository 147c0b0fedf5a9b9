//! The client's configuration: the files that the radiusclient libraries read, so that what an operator has
//! goes on working. Read once, by main, before the workers are born.

use super::dictionary::{Dictionary, ReadFile};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Port of authentication.
pub const AUTH_PORT: u16 = 1812;
/// Port of accounting.
pub const ACCT_PORT: u16 = 1813;
/// Servers of one kind.
const MAX_SERVERS: usize = 8;

/// One server.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The secret shared with it.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret.
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// All that the engine needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Servers for authentication, in the order of preference.
    pub auth: Vec<Server>,
    /// Servers for accounting.
    pub acct: Vec<Server>,
    /// How long one try waits for its answer.
    pub timeout: Duration,
    /// How often a request is sent again to one server.
    pub retries: u32,
    /// How long a server that did not answer is asked last.
    pub deadtime: Duration,
    /// Address that requests come from; `None`: the system's choice.
    pub bind: Option<IpAddr>,
    /// An answer to an Access-Request must carry a Message-Authenticator.
    pub signed: bool,
    /// Names of attributes and values.
    pub dictionary: Dictionary,
}

impl Config {
    /// Reads the configuration file and those that it names. The error names file and line.
    pub fn load(path: &Path, read: &mut ReadFile<'_>) -> Result<Config, String> {
        let text = read(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let mut config = Config {
            auth: Vec::new(),
            acct: Vec::new(),
            timeout: Duration::from_secs(10),
            retries: 3,
            deadtime: Duration::ZERO,
            bind: None,
            signed: false,
            dictionary: Dictionary::standard(),
        };
        let (mut auth, mut acct) = (Vec::new(), Vec::new());
        let mut secrets: Option<&str> = None;
        for (i, line) in text.lines().enumerate() {
            let place = |why: String| format!("{}:{}: {why}", path.display(), i + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            let seconds = || {
                let n =
                    value.parse::<u64>().map_err(|_| place(format!("{key} is a number of seconds, not `{value}`")))?;
                Ok::<_, String>(Duration::from_secs(n.min(3600)))
            };
            match key {
                "authserver" => auth.extend(value.split([',', ' ', '\t']).filter(|w| !w.is_empty()).map(|w| (w, i))),
                "acctserver" => acct.extend(value.split([',', ' ', '\t']).filter(|w| !w.is_empty()).map(|w| (w, i))),
                "servers" => secrets = Some(value),
                "dictionary" => config.dictionary.add_file(Path::new(value), read)?,
                "radius_timeout" => config.timeout = seconds()?.max(Duration::from_millis(100)),
                "radius_deadtime" => config.deadtime = seconds()?,
                "radius_retries" => {
                    let n = value.parse::<u32>().map_err(|_| place(format!("{key} is a number, not `{value}`")))?;
                    config.retries = n.min(20);
                }
                "bindaddr" if value == "*" => {}
                "bindaddr" => {
                    let addr =
                        value.parse().map_err(|_| place(format!("{key} is an address or `*`, not `{value}`")))?;
                    config.bind = Some(addr);
                }
                "require-message-authenticator" => config.signed = matches!(value, "yes" | "true" | "1"),
                // What is for logins at terminals means nothing here.
                _ => {}
            }
        }
        let secrets = match secrets {
            Some(name) => parse_secrets(&read(Path::new(name)).map_err(|why| format!("{name}: {why}"))?),
            None => Vec::new(),
        };
        let server = |(word, line): (&str, usize), port: u16| {
            parse_server(word, port, &secrets).map_err(|why| format!("{}:{}: {why}", path.display(), line + 1))
        };
        config.auth = auth.into_iter().map(|w| server(w, AUTH_PORT)).collect::<Result<_, _>>()?;
        config.acct = acct.into_iter().map(|w| server(w, ACCT_PORT)).collect::<Result<_, _>>()?;
        for list in [&config.auth, &config.acct] {
            if list.len() > MAX_SERVERS {
                return Err(format!("{}: more than {MAX_SERVERS} servers", path.display()));
            }
        }
        if config.auth.is_empty() && config.acct.is_empty() {
            return Err(format!("{}: neither authserver nor acctserver is given", path.display()));
        }
        Ok(config)
    }
}

/// `host`, `host:port`, `host:port:secret`; IPv6 addresses in brackets.
fn parse_server(word: &str, port: u16, secrets: &[(String, Vec<u8>)]) -> Result<Server, String> {
    let (host, rest) = match word.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(|| format!("`{word}`: a bracket is missing"))?,
        None => word.split_once(':').map_or((word, ""), |(h, _)| (h, &word[h.len()..])),
    };
    let mut parts = rest.strip_prefix(':').unwrap_or(rest).splitn(2, ':');
    let port = match parts.next().filter(|p| !p.is_empty()) {
        Some(p) => p.parse().map_err(|_| format!("`{word}`: `{p}` is no port"))?,
        None => port,
    };
    let secret = match parts.next() {
        Some(s) => s.as_bytes().to_vec(),
        None => match secrets.iter().find(|(h, _)| h.eq_ignore_ascii_case(host)) {
            Some((_, s)) => s.clone(),
            None => return Err(format!("no secret for server `{host}`: add a line to the file that `servers` names")),
        },
    };
    if host.is_empty() || secret.is_empty() {
        return Err(format!("`{word}` is not a server: host[:port[:secret]]"));
    }
    Ok(Server { host: host.to_string(), port, secret })
}

/// Lines `host secret`; a host may have its alias behind a slash.
fn parse_secrets(text: &str) -> Vec<(String, Vec<u8>)> {
    text.lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .filter_map(|l| {
            let mut words = l.split_whitespace();
            let (host, secret) = (words.next()?, words.next()?);
            Some(
                host.split('/').map(|h| (h.trim_matches(['[', ']']).to_string(), secret.as_bytes().to_vec())).collect(),
            )
        })
        .flat_map(|hosts: Vec<_>| hosts)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(main: &'static str, servers: &'static str) -> Result<Config, String> {
        let mut read = |path: &Path| match path.to_str() {
            Some("/c") => Ok(main.to_string()),
            Some("/servers") => Ok(servers.to_string()),
            Some("/dict") => Ok("ATTRIBUTE Mine 250 string\n".to_string()),
            _ => Err("no such file".to_string()),
        };
        Config::load(Path::new("/c"), &mut read)
    }

    #[test]
    fn servers_and_secrets() {
        let c = load(
            "# comment\nauthserver 10.0.0.1\nauthserver\tradius.example:1645:direct\nacctserver [::1]:1813, localhost\n\
             servers /servers\ndictionary /dict\nradius_timeout 2\nradius_retries 1\nradius_deadtime 30\n\
             login_tries 4\nbindaddr 127.0.0.1\n",
            "10.0.0.1\tone\n# 10.0.0.1 not\n::1 two\nlocalhost/localhost three\n",
        )
        .unwrap();
        let shown = |list: &[Server]| {
            list.iter().map(|s| format!("{s:?} {}", String::from_utf8_lossy(&s.secret))).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shown(&c.auth), "10.0.0.1:1812 one, radius.example:1645 direct");
        assert_eq!(shown(&c.acct), "::1:1813 two, localhost:1813 three");
        assert_eq!((c.timeout, c.retries, c.deadtime), (Duration::from_secs(2), 1, Duration::from_secs(30)));
        assert!(c.dictionary.find("Mine").is_some() && c.dictionary.find("User-Name").is_some());
        assert!(!format!("{c:?}").contains("direct"), "secrets are not printed");
    }

    #[test]
    fn errors_name_the_place() {
        let error = |text| load(text, "").unwrap_err();
        assert_eq!(error(""), "/c: neither authserver nor acctserver is given");
        assert!(error("authserver 10.0.0.1\n").starts_with("/c:1: no secret for server `10.0.0.1`"));
        assert!(error("\nauthserver a:x:s\n").starts_with("/c:2: `a:x:s`: `x` is no port"));
        assert!(error("radius_timeout soon\n").starts_with("/c:1: radius_timeout is a number"));
        assert_eq!(error("dictionary /none\n"), "/none: no such file");
    }
}
