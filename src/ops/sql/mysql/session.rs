//! What is known of a server and of the session with it: its version, whether a proxy stands between,
//! what a query leaves behind.

use crate::base::Str;
use crate::ops::SqlValue;

/// Words in the version by which proxies, and servers that hand connections around, tell themselves.
const PROXIES: [&str; 7] = ["proxysql", "maxscale", "router", "vitess", "tidb", "proxy", "spider-"];

/// A session with a server.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Session {
    /// Seconds east of UTC of the session's time zone.
    pub offset: i64,
    /// Whether the server can reset a session (COM_RESET_CONNECTION: MySQL 5.7.3, MariaDB 10.2.4).
    pub resets: bool,
    /// Whether the greeting names a proxy.
    pub proxy: bool,
    /// The connection's number as the server itself knows it.
    pub connection: Option<u64>,
    /// Which server it is; `None` if it did not say.
    pub identity: Option<Str>,
}

impl Session {
    /// What a version in a greeting tells.
    pub fn of(version: &str) -> Session {
        let lower = version.to_ascii_lowercase();
        let maria = lower.contains("mariadb");
        // MariaDB puts this in front, for clients that expect MySQL's numbers.
        let number = version.strip_prefix("5.5.5-").filter(|_| maria).unwrap_or(version);
        let mut parts = number.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        let version: (u32, u32, u32) = (part(), part(), part());
        Session {
            resets: if maria { version >= (10, 2, 4) } else { version >= (5, 7, 3) },
            proxy: PROXIES.iter().any(|p| lower.contains(p)),
            ..Session::default()
        }
    }

    /// Takes in the answer to the first query: connection number, server, offset of the time zone.
    pub fn introduced(&mut self, row: &[SqlValue]) {
        let [connection, identity, offset] = row else { return };
        if let SqlValue::Int(n) = connection {
            self.connection = u64::try_from(*n).ok();
        }
        if let SqlValue::Text(text) = identity {
            self.identity = Some(text.clone());
        }
        if let SqlValue::Int(n) = offset
            && n.unsigned_abs() <= 50_400
        {
            self.offset = *n;
        }
    }

    /// The number by which a query of this connection may be ended over another connection, if that is sure to
    /// hit this one: no proxy stands between (by its word, or by numbering connections in its own way), and the
    /// server says who it is. `greeted`: the number in the greeting.
    pub fn killable(&self, greeted: u32) -> Option<(u64, Str)> {
        let connection = self.connection.filter(|c| *c & 0xffff_ffff == u64::from(greeted))?;
        self.identity.clone().filter(|_| !self.proxy).map(|identity| (connection, identity))
    }
}

/// What a query may leave in the session for the next one, an open transaction aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leaves {
    /// Nothing.
    #[default]
    Nothing,
    /// Something that a reset of the session takes away.
    State,
    /// Another database in use, which a reset does not change back.
    Database,
}

/// What a query may leave behind. Only statements known to be harmless leave nothing; a needless reset costs two
/// short exchanges.
pub fn leaves(query: &[u8]) -> Leaves {
    const HARMLESS: [&[u8]; 14] = [
        b"SELECT",
        b"SHOW",
        b"INSERT",
        b"UPDATE",
        b"DELETE",
        b"REPLACE",
        b"WITH",
        b"DESCRIBE",
        b"DESC",
        b"EXPLAIN",
        b"BEGIN",
        b"COMMIT",
        b"ROLLBACK",
        b"KILL",
    ];
    const STATE: [&[u8]; 6] = [b";", b":=", b"INTO @", b"GET_LOCK", b"LAST_INSERT_ID(", b"SQL_CALC_FOUND_ROWS"];
    let text = query.trim_ascii().to_ascii_uppercase();
    let text = text.strip_suffix(b";").unwrap_or(&text);
    let word = |t: &[u8]| t.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default().to_vec();
    if text.split(|b| *b == b';').any(|t| word(t.trim_ascii_start()) == b"USE") {
        return Leaves::Database;
    }
    let harmless = HARMLESS.contains(&&word(text)[..]);
    if harmless && !STATE.iter().any(|w| memchr::memmem::find(text, w).is_some()) {
        Leaves::Nothing
    } else {
        Leaves::State
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, resets, proxy) in [
            ("5.5.5-10.11.6-MariaDB-0+deb12u1", true, false),
            ("11.4.2-MariaDB", true, false),
            ("5.5.5-10.1.48-MariaDB", false, false),
            ("5.7.2-log", false, false),
            ("5.7.44", true, false),
            ("8.0.36-0ubuntu0.22.04.1", true, false),
            ("5.5.30", false, false),
            ("8.0.11 (ProxySQL)", true, true),
            ("5.5.5-10.6.12 2.5.1-maxscale", false, true),
            ("8.0.34-router", true, true),
            ("8.0.30-Vitess", true, true),
            ("", false, false),
            ("nonsense", false, false),
            ("99999999999999999999.1", false, false),
        ] {
            let s = Session::of(version);
            assert_eq!((s.resets, s.proxy), (resets, proxy), "{version}");
        }
    }

    #[test]
    fn who_may_be_killed() {
        let row = |id, who: &str| [SqlValue::Int(id), SqlValue::Text(Str::from(who)), SqlValue::Int(3600)];
        let of = |version: &str, id| {
            let mut s = Session::of(version);
            s.introduced(&row(id, "db1:3306 1"));
            assert_eq!(s.offset, 3600);
            s.killable(77).map(|(n, who)| (n, who.to_string()))
        };
        assert_eq!(of("8.0.36", 77), Some((77, "db1:3306 1".to_string())));
        assert_eq!(
            of("8.0.36", 0x1_0000_004d),
            Some((0x1_0000_004d, "db1:3306 1".to_string())),
            "the greeting has 32 bits"
        );
        assert_eq!(of("8.0.36", 78), None, "somebody numbers connections in his own way");
        assert_eq!(of("8.0.11 (ProxySQL)", 77), None);
        assert_eq!(Session::of("8.0.36").killable(77), None, "it did not say");
        let mut s = Session::of("8.0.36");
        s.introduced(&[SqlValue::Null, SqlValue::Null, SqlValue::Int(i64::MIN)]);
        assert_eq!((s.killable(0), s.offset), (None, 0));
    }

    #[test]
    fn what_leaves_something_behind() {
        for query in [
            "SELECT 1",
            " select credit from users where uid='a';",
            "INSERT INTO t VALUES(1)",
            "BEGIN",
            "update t set a=1",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "SHOW TABLES",
        ] {
            assert_eq!(leaves(query.as_bytes()), Leaves::Nothing, "{query}");
        }
        for query in [
            "SET @x = 1",
            "SET NAMES latin1",
            "CREATE TEMPORARY TABLE t (a INT)",
            "SELECT 1 INTO @x",
            "SELECT @x := 5",
            "SELECT GET_LOCK('a', 1)",
            "LOCK TABLES t READ",
            "CALL p()",
            "SELECT 1; SET @x = 1",
            "/* c */ SET @x=1",
            "",
            "PREPARE s FROM 'SELECT 1'",
            "UPDATE t SET n=LAST_INSERT_ID(n+1)",
        ] {
            assert_eq!(leaves(query.as_bytes()), Leaves::State, "{query}");
        }
        for query in ["USE other", " use other;", "SELECT 1; USE x; SELECT 2"] {
            assert_eq!(leaves(query.as_bytes()), Leaves::Database, "{query}");
        }
    }
}
