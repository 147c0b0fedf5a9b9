//! Database URLs, in every form the two dialects' configurations hold.
//!
//! - `mysql://user:password@host:port/database?ssl_mode=required`
//! - `mysql://user@/database?socket=/run/mysqld/mysqld.sock`, `mysql://user@unix(/path)/database`
//! - `sqlite:///absolute/path`, `sqlite://relative/path`, with `?demo=yes` behind it for a file that is made
//!   with demonstration data if it is not there
//!
//! - `mysql://user:password@db1,db2:3307/database`: several servers that hold the same data; and several whole URLs with
//!   blanks between them: the ones further back are asked when those before cannot be reached
//!
//! Every part may be percent-encoded; a `%` that is not followed by two hexadecimal digits stands for
//! itself. Displaying a URL never shows the password.

use crate::base::names::suggest;
use std::fmt;
use std::path::{Path, PathBuf};

/// Parameters a MySQL URL may carry.
const MYSQL_PARAMETERS: [&str; 8] =
    ["socket", "unix_socket", "ssl", "ssl_mode", "ssl_ca", "tls_domain", "multi_statements", "charset"];
/// Servers that one URL may name.
const MAX_SERVERS: usize = 16;

/// A database, as its URL names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DbUrl {
    /// MySQL or MariaDB.
    Mysql(MysqlUrl),
    /// SQLite.
    Sqlite(SqliteUrl),
}

/// A MySQL or MariaDB database.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlUrl {
    /// User name; empty = anonymous.
    pub user: String,
    /// Password; empty = none.
    pub password: Vec<u8>,
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// Database to use; `None` = none.
    pub database: Option<String>,
    /// Whether and how TLS is used.
    pub ssl_mode: SslMode,
    /// File with the CA certificates; `None` = the system's.
    pub ssl_ca: Option<PathBuf>,
    /// Whether one query may hold several statements separated by `;`.
    pub multi_statements: bool,
    /// Further servers, in the order in which they are asked when the ones before cannot be reached.
    pub others: Vec<MysqlUrl>,
}

/// Where a MySQL server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// Name or address (IPv6 without brackets).
        host: String,
        /// Port; `None` = 3306, and for `localhost` also the usual Unix sockets.
        port: Option<u16>,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// `ssl_mode` of a MySQL URL, with the meanings of the MySQL clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SslMode {
    /// No TLS (default).
    #[default]
    Disabled,
    /// TLS if the server offers it; certificate not verified.
    Preferred,
    /// TLS or nothing; certificate not verified.
    Required,
    /// The certificate must come from a trusted CA.
    VerifyCa,
    /// It must also name the host.
    VerifyIdentity,
}

/// An SQLite database file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqliteUrl {
    /// The file.
    pub path: PathBuf,
    /// `?demo=yes`: the server makes it, with data to try things with, if it is not there.
    pub demo: bool,
}

/// Why a text is not a usable database URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UrlError {
    /// No `scheme://`.
    NoScheme,
    /// A scheme nobody here speaks.
    UnknownScheme(String),
    /// A backend of the peers that reprise does not have.
    Unsupported {
        /// The scheme.
        scheme: &'static str,
        /// What to use instead.
        instead: &'static str,
    },
    /// Not UTF-8 after percent-decoding.
    NotText(&'static str),
    /// The port is not a number from 1 to 65535.
    BadPort(String),
    /// An unknown parameter, and the known one that was perhaps meant.
    UnknownParameter(String, Option<&'static str>),
    /// A parameter's value makes no sense.
    BadValue {
        /// The parameter.
        parameter: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// An `@` after the first `/`: a password with an unescaped `/`.
    SlashInPassword,
    /// TLS verification was asked for on a Unix socket.
    TlsOverUnix,
    /// No file name.
    NoPath,
    /// `:memory:` cannot be shared.
    Memory,
    /// A zero byte somewhere.
    Nul,
    /// Several URLs of which one is not a MySQL URL.
    MixedList,
    /// More servers than are looked at.
    TooMany,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::NoScheme => f.write_str("not a database URL: it must begin with mysql:// or sqlite://"),
            UrlError::UnknownScheme(s) => write!(f, "unknown database type \"{s}\": mysql and sqlite are known"),
            UrlError::Unsupported { scheme, instead } => {
                write!(f, "database type \"{scheme}\" is not supported: {instead}")
            }
            UrlError::NotText(part) => write!(f, "the {part} of the database URL is not UTF-8"),
            UrlError::BadPort(p) => write!(f, "\"{p}\" is not a port (1 to 65535)"),
            UrlError::UnknownParameter(p, Some(s)) => {
                write!(f, "unknown parameter \"{p}\" in the database URL; did you mean \"{s}\"?")
            }
            UrlError::UnknownParameter(p, None) => {
                write!(f, "unknown parameter \"{p}\" in the database URL; known are {}", MYSQL_PARAMETERS.join(", "))
            }
            UrlError::BadValue { parameter, allowed } => write!(f, "{parameter} must be {allowed}"),
            UrlError::SlashInPassword => f.write_str("a \"/\" in the user name or password must be written %2F"),
            UrlError::TlsOverUnix => f.write_str("ssl_mode cannot be demanded over a Unix socket"),
            UrlError::NoPath => f.write_str("the URL names no database file: write sqlite:///path/of/file"),
            UrlError::Memory => f.write_str("sqlite :memory: cannot be shared between processes: name a file"),
            UrlError::MixedList => f.write_str("several URLs with blanks between them must all be mysql URLs"),
            UrlError::TooMany => write!(f, "the database URL names more than {MAX_SERVERS} servers"),
            UrlError::Nul => f.write_str("the database URL holds a zero byte"),
        }
    }
}

impl std::error::Error for UrlError {}

impl DbUrl {
    /// Reads a URL.
    pub fn parse(url: &[u8]) -> Result<DbUrl, UrlError> {
        if url.contains(&0) {
            return Err(UrlError::Nul);
        }
        let parts: Vec<&[u8]> = url.split(u8::is_ascii_whitespace).filter(|p| !p.is_empty()).collect();
        // A blank may also stand in a password or a file name.
        if let [first, others @ ..] = parts.as_slice()
            && !others.is_empty()
            && others.iter().all(|p| find(p, b"://").is_some())
        {
            let DbUrl::Mysql(mut first) = DbUrl::parse(first)? else { return Err(UrlError::MixedList) };
            for part in others {
                let DbUrl::Mysql(mut next) = DbUrl::parse(part)? else { return Err(UrlError::MixedList) };
                let others = std::mem::take(&mut next.others);
                first.others.push(next);
                first.others.extend(others);
            }
            if first.others.len() >= MAX_SERVERS {
                return Err(UrlError::TooMany);
            }
            return Ok(DbUrl::Mysql(first));
        }
        let url = url.trim_ascii();
        let colon = url.iter().position(|b| *b == b':').ok_or(UrlError::NoScheme)?;
        let (scheme, rest) = url.split_at(colon);
        let scheme = String::from_utf8_lossy(scheme).to_ascii_lowercase();
        let rest = rest.strip_prefix(b"://").or_else(|| {
            // `sqlite:/path` is written, too.
            (scheme.starts_with("sqlite")).then(|| rest.get(1..).unwrap_or_default())
        });
        match scheme.as_str() {
            "mysql" | "mariadb" => MysqlUrl::parse(rest.ok_or(UrlError::NoScheme)?).map(DbUrl::Mysql),
            "sqlite" | "sqlite3" => SqliteUrl::parse(rest.ok_or(UrlError::NoScheme)?).map(DbUrl::Sqlite),
            "text" | "dbtext" => Err(UrlError::Unsupported { scheme: "text", instead: "use an sqlite:// file" }),
            "berkeley" => Err(UrlError::Unsupported { scheme: "berkeley", instead: "use an sqlite:// file" }),
            "postgres" | "postgresql" => {
                Err(UrlError::Unsupported { scheme: "postgres", instead: "use mysql:// or sqlite://" })
            }
            "unixodbc" | "oracle" | "cassandra" | "mongodb" | "flatstore" | "virtual" | "cluster" | "http"
            | "https" => {
                Err(UrlError::Unsupported { scheme: "of another server", instead: "mysql:// and sqlite:// are there" })
            }
            _ if rest.is_none() => Err(UrlError::NoScheme),
            _ => Err(UrlError::UnknownScheme(scheme)),
        }
    }
}

impl fmt::Display for DbUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DbUrl::Mysql(u) => u.fmt(f),
            DbUrl::Sqlite(u) => u.fmt(f),
        }
    }
}

impl MysqlUrl {
    fn parse(rest: &[u8]) -> Result<MysqlUrl, UrlError> {
        let (main, query) = split_once(rest, b'?').unwrap_or((rest, b""));
        let (authority, path) = split_authority(main);
        if path.contains(&b'@') {
            return Err(UrlError::SlashInPassword);
        }
        let (userinfo, host) = match authority.iter().rposition(|b| *b == b'@') {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (&b""[..], authority),
        };
        let (user, password) = split_once(userinfo, b':').unwrap_or((userinfo, b""));
        let mut hosts = hosts(host).into_iter();
        let mut url = MysqlUrl {
            user: text(user, "user name")?,
            password: percent_decode(password),
            endpoint: endpoint(hosts.next().unwrap_or_default())?,
            database: Some(text(path, "database name")?).filter(|d| !d.is_empty()),
            ssl_mode: SslMode::default(),
            ssl_ca: None,
            multi_statements: false,
            others: Vec::new(),
        };
        for pair in query.split(|b| *b == b'&' || *b == b';').filter(|p| !p.is_empty()) {
            let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            url.parameter(&text(name, "parameter")?, &text(value, "parameter")?)?;
        }
        if url.ssl_ca.is_some() && url.ssl_mode == SslMode::Disabled {
            url.ssl_mode = SslMode::VerifyCa;
        }
        if matches!(url.endpoint, Endpoint::Unix(_)) {
            match url.ssl_mode {
                SslMode::Disabled | SslMode::Preferred => url.ssl_mode = SslMode::Disabled,
                _ => return Err(UrlError::TlsOverUnix),
            }
        }
        for host in hosts {
            let other = MysqlUrl { endpoint: endpoint(host)?, ..url.clone() };
            url.others.push(MysqlUrl { others: Vec::new(), ..other });
        }
        if url.others.len() >= MAX_SERVERS {
            return Err(UrlError::TooMany);
        }
        Ok(url)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        match name.to_ascii_lowercase().replace('-', "_").as_str() {
            "socket" | "unix_socket" => self.endpoint = Endpoint::Unix(PathBuf::from(value)),
            "ssl" => {
                let on = flag(value)
                    .ok_or(UrlError::BadValue { parameter: "ssl", allowed: "yes or no (ssl_mode says more)" })?;
                self.ssl_mode = if on { SslMode::Required } else { SslMode::Disabled };
            }
            "ssl_mode" | "sslmode" => {
                self.ssl_mode = match value.to_ascii_lowercase().replace('-', "_").as_str() {
                    "disabled" => SslMode::Disabled,
                    "preferred" => SslMode::Preferred,
                    "required" => SslMode::Required,
                    "verify_ca" => SslMode::VerifyCa,
                    "verify_identity" => SslMode::VerifyIdentity,
                    _ => {
                        return Err(UrlError::BadValue {
                            parameter: "ssl_mode",
                            allowed: "disabled, preferred, required, verify_ca or verify_identity",
                        });
                    }
                }
            }
            // OpenSIPS: a domain of its TLS manager, which says whom to trust; here ssl_mode and ssl_ca do.
            "tls_domain" => {
                if self.ssl_mode == SslMode::Disabled {
                    self.ssl_mode = SslMode::Required;
                }
            }
            "ssl_ca" => self.ssl_ca = Some(PathBuf::from(value)),
            "multi_statements" => {
                self.multi_statements =
                    flag(value).ok_or(UrlError::BadValue { parameter: "multi_statements", allowed: "yes or no" })?;
            }
            // The connection always speaks utf8mb4, of which the others are parts.
            "charset" => {}
            other => return Err(UrlError::UnknownParameter(name.to_string(), suggest(other, MYSQL_PARAMETERS))),
        }
        Ok(())
    }

    /// The name a certificate must carry: the host as written.
    pub fn host(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } => Some(host),
            Endpoint::Unix(_) => None,
        }
    }
}

impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mysql://")?;
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        match &self.endpoint {
            Endpoint::Tcp { host, port } => {
                if host.contains(':') {
                    write!(f, "[{host}]")?;
                } else {
                    f.write_str(host)?;
                }
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
            }
            Endpoint::Unix(path) => write!(f, "unix({})", path.display())?,
        }
        write!(f, "/{}", self.database.as_deref().unwrap_or_default())?;
        self.others.iter().try_for_each(|other| write!(f, " {other}"))
    }
}

impl fmt::Debug for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.ssl_mode)
    }
}

impl SqliteUrl {
    fn parse(rest: &[u8]) -> Result<SqliteUrl, UrlError> {
        let (path, options) = split_once(rest, b'?').unwrap_or((rest, b""));
        let path = text(path, "path")?;
        let demo = options.split(|b| *b == b'&').any(|o| matches!(o, b"demo=yes" | b"demo=1"));
        match path.as_str() {
            "" | "/" => Err(UrlError::NoPath),
            ":memory:" | "/:memory:" => Err(UrlError::Memory),
            _ => Ok(SqliteUrl { path: PathBuf::from(path), demo }),
        }
    }

    /// The URL of a file.
    pub fn of(path: &Path) -> SqliteUrl {
        SqliteUrl { path: path.to_path_buf(), demo: false }
    }
}

impl fmt::Display for SqliteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite://{}", self.path.display())
    }
}

/// Splits `user:password@host` from the database. A `unix(...)` host may hold slashes.
fn split_authority(main: &[u8]) -> (&[u8], &[u8]) {
    let unix = find(main, b"unix(").and_then(|at| Some(at + main.get(at..)?.iter().position(|b| *b == b')')?));
    let from = unix.unwrap_or(0);
    match main.iter().skip(from).position(|b| *b == b'/') {
        Some(at) => (&main[..from + at], &main[from + at + 1..]),
        None => (main, b""),
    }
}

/// The hosts of an authority: `db1,db2:3307`.
fn hosts(list: &[u8]) -> Vec<&[u8]> {
    if list.starts_with(b"unix(") { vec![list] } else { list.split(|b| *b == b',').collect() }
}

fn endpoint(host: &[u8]) -> Result<Endpoint, UrlError> {
    if let Some(path) = host.strip_prefix(b"unix(").and_then(|p| p.strip_suffix(b")")) {
        return Ok(Endpoint::Unix(PathBuf::from(text(path, "socket path")?)));
    }
    let (name, port) = if let Some(v6) = host.strip_prefix(b"[") {
        let (name, rest) = split_once(v6, b']').unwrap_or((v6, b""));
        (name, rest.strip_prefix(b":"))
    } else {
        match split_once(host, b':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let name = text(name, "host name")?;
    if name.starts_with('/') {
        return Ok(Endpoint::Unix(PathBuf::from(name)));
    }
    let port = match port.filter(|p| !p.is_empty()) {
        None => None,
        Some(p) => {
            let p = text(p, "port")?;
            Some(p.parse::<u16>().ok().filter(|n| *n != 0).ok_or(UrlError::BadPort(p))?)
        }
    };
    let host = if name.is_empty() { "localhost".to_string() } else { name };
    Ok(Endpoint::Tcp { host, port })
}

fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "" | "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == at)?;
    Some((&text[..at], &text[at + 1..]))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

fn text(encoded: &[u8], part: &'static str) -> Result<String, UrlError> {
    String::from_utf8(percent_decode(encoded)).map_err(|_| UrlError::NotText(part))
}

fn percent_decode(encoded: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16)).map(|d| d as u8);
    let mut out = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(b) = encoded.get(at) {
        match (b, digit(encoded.get(at + 1)), digit(encoded.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*b);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(url: &str) -> MysqlUrl {
        match DbUrl::parse(url.as_bytes()) {
            Ok(DbUrl::Mysql(u)) => u,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn tcp(host: &str, port: Option<u16>) -> Endpoint {
        Endpoint::Tcp { host: host.to_string(), port }
    }

    #[test]
    fn mysql_forms() {
        let u = mysql("mysql://opensips:opensipsrw@db.example.com:3307/opensips");
        assert_eq!((u.user.as_str(), &u.password[..]), ("opensips", &b"opensipsrw"[..]));
        assert_eq!(u.endpoint, tcp("db.example.com", Some(3307)));
        assert_eq!(u.database.as_deref(), Some("opensips"));
        assert_eq!(u.to_string(), "mysql://opensips@db.example.com:3307/opensips");
        assert!(!format!("{u:?}").contains("opensipsrw"));

        assert_eq!(mysql("mysql://root@localhost/x").endpoint, tcp("localhost", None));
        assert_eq!(mysql("mysql://localhost").database, None);
        assert_eq!(mysql("mysql://u:p%40s%2Fs%@[::1]:1/x").password, b"p@s/s%");
        assert_eq!(mysql("mysql://u:p@ss@h/x").password, b"p@ss");
        assert_eq!(mysql("mysql://u:p@[::1]:3306/x").to_string(), "mysql://u@[::1]:3306/x");
        let socket = Endpoint::Unix(PathBuf::from("/run/m.sock"));
        assert_eq!(mysql("mysql://u@/db?socket=/run/m.sock").endpoint, socket);
        assert_eq!(mysql("mysql://u:p@unix(/run/m.sock)/db").endpoint, socket);
        assert_eq!(mysql("mysql://u:p@unix(/run/m.sock)/db").database.as_deref(), Some("db"));
        assert_eq!(mysql("mysql://u:p@%2Frun%2Fm.sock/db").endpoint, socket);
    }

    #[test]
    fn several_servers() {
        let u = mysql("mysql://u:p@a,b:3307,[::1]/d?ssl_mode=required");
        let all: Vec<_> = [&u].into_iter().chain(&u.others).collect();
        let ends: Vec<_> = all.iter().map(|u| u.endpoint.clone()).collect();
        assert_eq!(ends, [tcp("a", None), tcp("b", Some(3307)), tcp("::1", None)]);
        assert!(all.iter().all(|u| u.password == b"p" && u.ssl_mode == SslMode::Required));
        assert_eq!(u.to_string(), "mysql://u@a/d mysql://u@b:3307/d mysql://u@[::1]/d");
        let u = mysql(" mysql://u:p@a,b/d  mysql://v:q@c:1/e ");
        assert_eq!(u.to_string(), "mysql://u@a/d mysql://u@b/d mysql://v@c:1/e");
        assert_eq!(u.others[1].password, b"q");
        for (url, error) in [
            ("mysql://a/d sqlite:///x", UrlError::MixedList),
            ("sqlite:///x mysql://a/d", UrlError::MixedList),
            ("mysql://a,b:0/d", UrlError::BadPort("0".to_string())),
        ] {
            assert_eq!(DbUrl::parse(url.as_bytes()), Err(error), "{url}");
        }
        assert_eq!(mysql("mysql://u:my word@h/d").password, b"my word");
        assert!(matches!(DbUrl::parse(b"sqlite:///my file"), Ok(DbUrl::Sqlite(u)) if u.path == Path::new("/my file")));
        let many = format!("mysql://{}/d", vec!["h"; 17].join(","));
        assert_eq!(DbUrl::parse(many.as_bytes()), Err(UrlError::TooMany));
        assert_eq!(mysql("mysql://h/d?tls_domain=dom1").ssl_mode, SslMode::Required);
        assert_eq!(mysql("mysql://h/d?ssl_mode=verify_ca&tls_domain=dom1").ssl_mode, SslMode::VerifyCa);
    }

    #[test]
    fn tls_parameters() {
        assert_eq!(mysql("mysql://h/d").ssl_mode, SslMode::Disabled);
        assert_eq!(mysql("mysql://h/d?ssl=1").ssl_mode, SslMode::Required);
        assert_eq!(mysql("mysql://h/d?ssl-mode=VERIFY_IDENTITY").ssl_mode, SslMode::VerifyIdentity);
        assert_eq!(mysql("mysql://h/d?ssl_ca=/ca.pem").ssl_mode, SslMode::VerifyCa);
        let u = mysql("mysql://h/d?ssl_mode=required&ssl_ca=/ca.pem");
        assert_eq!((u.ssl_mode, u.ssl_ca), (SslMode::Required, Some(PathBuf::from("/ca.pem"))));
        assert_eq!(mysql("mysql://u@/d?socket=/s&ssl_mode=preferred").ssl_mode, SslMode::Disabled);
        assert_eq!(DbUrl::parse(b"mysql://u@/d?socket=/s&ssl_mode=required"), Err(UrlError::TlsOverUnix));
    }

    #[test]
    fn sqlite_forms() {
        for (url, path) in [
            ("sqlite:///var/lib/r.db", "/var/lib/r.db"),
            ("sqlite:////var/lib/r.db", "//var/lib/r.db"),
            ("sqlite://r.db", "r.db"),
            ("sqlite:/var/r.db", "/var/r.db"),
            ("sqlite:///a%20b.db?mode=x", "/a b.db"),
            ("sqlite://r.db?mode=x&demo=yes", "r.db"),
        ] {
            assert_eq!(
                DbUrl::parse(url.as_bytes()),
                Ok(DbUrl::Sqlite(SqliteUrl { path: PathBuf::from(path), demo: url.ends_with("demo=yes") })),
                "{url}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, words) in [
            ("", "must begin with"),
            ("mysql:/x", "must begin with"),
            ("localhost/x", "must begin with"),
            ("text:///etc/dbtext", "use an sqlite"),
            ("postgres://u@h/d", "not supported"),
            ("mongo://h", "unknown database type"),
            ("mysql://h:0/x", "not a port"),
            ("mysql://h:99999/x", "not a port"),
            ("mysql://h/x?ssl_mod=1", "did you mean \"ssl_mode\""),
            ("mysql://h/x?ssl_mode=maybe", "verify_identity"),
            ("mysql://u:a/b@h/x", "%2F"),
            ("sqlite://", "names no database file"),
            ("sqlite://:memory:", "cannot be shared"),
            ("mysql://%ff@h/x", "not UTF-8"),
            ("mysql://h\0/x", "zero byte"),
        ] {
            let error = DbUrl::parse(url.as_bytes()).expect_err(url).to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }
}
