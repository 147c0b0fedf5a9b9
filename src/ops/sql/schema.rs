//! The tables reprise works with, as data: made by `reprise db init`, looked at by `reprise db check`.
//!
//! `subscriber`, `location`, `uacreg`, `acc`, `missed_calls` and `version` have the columns that OpenSIPS and
//! Kamailio scripts and tools expect; `users` and `routes` are what the examples ask for.

/// A database engine's way to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// MySQL, MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

/// One table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Names and types of its columns. The type `ID` is a number that counts by itself.
    pub columns: &'static [(&'static str, &'static str)],
    /// Columns that are unique together.
    pub unique: &'static [&'static str],
    /// Columns that are searched together.
    pub index: &'static [&'static str],
}

const TEXT: &str = "VARCHAR(255) NOT NULL DEFAULT ''";
const SHORT: &str = "CHAR(64) NOT NULL DEFAULT ''";
const VARCHAR64: &str = "VARCHAR(64) NOT NULL DEFAULT ''";
const OPTIONAL: &str = "VARCHAR(255) DEFAULT NULL";
const EPOCH: &str = "DATETIME NOT NULL DEFAULT '1970-01-01 00:00:01'";

const CALL: &[(&str, &str)] = &[
    ("id", "ID"),
    ("method", "CHAR(16) NOT NULL DEFAULT ''"),
    ("from_tag", SHORT),
    ("to_tag", SHORT),
    ("callid", TEXT),
    ("sip_code", "CHAR(3) NOT NULL DEFAULT ''"),
    ("sip_reason", "VARCHAR(128) NOT NULL DEFAULT ''"),
    ("time", EPOCH),
    ("duration", "INT NOT NULL DEFAULT 0"),
    ("ms_duration", "INT NOT NULL DEFAULT 0"),
    ("setuptime", "INT NOT NULL DEFAULT 0"),
    ("created", "DATETIME DEFAULT NULL"),
];

/// Every table, in the order they are made.
pub const TABLES: &[Table] = &[
    Table {
        name: "version",
        columns: &[("table_name", "VARCHAR(32) NOT NULL"), ("table_version", "INT NOT NULL DEFAULT 0")],
        unique: &["table_name"],
        index: &[],
    },
    Table {
        name: "subscriber",
        columns: &[
            ("id", "ID"),
            ("username", SHORT),
            ("domain", SHORT),
            ("password", SHORT),
            ("email_address", "VARCHAR(128) NOT NULL DEFAULT ''"),
            ("ha1", SHORT),
            ("ha1b", SHORT),
            ("ha1_sha256", SHORT),
            ("ha1_sha512t256", SHORT),
            ("rpid", "VARCHAR(128) DEFAULT NULL"),
        ],
        unique: &["username", "domain"],
        index: &[],
    },
    Table {
        name: "users",
        columns: &[("uid", "VARCHAR(64) NOT NULL"), ("credit", "INT NOT NULL DEFAULT 0")],
        unique: &["uid"],
        index: &[],
    },
    Table {
        name: "location",
        columns: &[
            ("contact_id", "ID"),
            ("ruid", SHORT),
            ("username", SHORT),
            ("domain", "CHAR(64) DEFAULT NULL"),
            ("contact", "VARCHAR(512) NOT NULL DEFAULT ''"),
            ("received", OPTIONAL),
            ("path", "VARCHAR(512) DEFAULT NULL"),
            ("expires", "BIGINT NOT NULL DEFAULT 0"),
            ("q", "FLOAT NOT NULL DEFAULT 1.0"),
            ("callid", TEXT),
            ("cseq", "INT NOT NULL DEFAULT 1"),
            ("last_modified", EPOCH),
            ("flags", "INT NOT NULL DEFAULT 0"),
            ("cflags", OPTIONAL),
            ("user_agent", TEXT),
            ("socket", "CHAR(64) DEFAULT NULL"),
            ("methods", "INT DEFAULT NULL"),
            ("sip_instance", OPTIONAL),
            ("reg_id", "INT NOT NULL DEFAULT 0"),
            ("kv_store", "TEXT"),
            ("attr", OPTIONAL),
        ],
        unique: &[],
        index: &["username", "domain"],
    },
    Table {
        name: "uacreg",
        columns: &[
            ("id", "ID"),
            ("l_uuid", VARCHAR64),
            ("l_username", VARCHAR64),
            ("l_domain", VARCHAR64),
            ("r_username", VARCHAR64),
            ("r_domain", VARCHAR64),
            ("realm", VARCHAR64),
            ("auth_username", VARCHAR64),
            ("auth_password", VARCHAR64),
            ("auth_ha1", "VARCHAR(128) NOT NULL DEFAULT ''"),
            ("auth_proxy", TEXT),
            ("expires", "INT NOT NULL DEFAULT 0"),
            ("flags", "INT NOT NULL DEFAULT 0"),
            ("reg_delay", "INT NOT NULL DEFAULT 0"),
            ("contact_addr", TEXT),
            ("socket", "VARCHAR(128) NOT NULL DEFAULT ''"),
        ],
        unique: &["l_uuid"],
        index: &[],
    },
    Table { name: "acc", columns: CALL, unique: &[], index: &["callid"] },
    Table { name: "missed_calls", columns: CALL, unique: &[], index: &["callid"] },
    Table {
        name: "routes",
        columns: &[("prefix", "VARCHAR(32) NOT NULL"), ("destination", "VARCHAR(255) NOT NULL"), ("description", TEXT)],
        unique: &["prefix"],
        index: &[],
    },
];

/// Version of these tables, kept in `version` under this name.
pub const VERSION: (&str, i64) = ("reprise", 1);

/// Accounts of the demonstration: name, domain, password, credit.
pub const DEMO_USERS: &[(&str, &str, &str, i64)] = &[
    ("alice", "localhost", "wonderland", 100),
    ("bob", "localhost", "builder", 20),
    ("carol", "localhost", "singers", 0),
];

/// Routes of the demonstration: prefix, destination, description.
pub const DEMO_ROUTES: &[(&str, &str, &str)] = &[
    ("0", "sip:127.0.0.1:5080", "national"),
    ("00", "sip:127.0.0.1:5081", "international"),
    ("0049", "sip:127.0.0.1:5082", "Germany"),
    ("112", "sip:127.0.0.1:5083", "emergency"),
];

impl Table {
    /// The statements that make the table, if it is not there.
    pub fn create(&self, flavor: Flavor) -> Vec<String> {
        let mut parts: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| match (*kind, flavor) {
                ("ID", Flavor::Mysql) => format!("{name} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"),
                ("ID", Flavor::Sqlite) => format!("{name} INTEGER PRIMARY KEY AUTOINCREMENT"),
                (kind, _) => format!("{name} {kind}"),
            })
            .collect();
        if !self.unique.is_empty() {
            parts.push(format!("UNIQUE ({})", self.unique.join(", ")));
        }
        let index = (!self.index.is_empty()).then(|| self.index.join(", "));
        if let (Some(columns), Flavor::Mysql) = (&index, flavor) {
            parts.push(format!("INDEX {}_idx ({columns})", self.name));
        }
        let suffix = if flavor == Flavor::Mysql { " DEFAULT CHARACTER SET utf8mb4" } else { "" };
        let mut statements = vec![format!("CREATE TABLE IF NOT EXISTS {} ({}){suffix}", self.name, parts.join(", "))];
        if let (Some(columns), Flavor::Sqlite) = (&index, flavor) {
            statements.push(format!("CREATE INDEX IF NOT EXISTS {0}_idx ON {0} ({columns})", self.name));
        }
        statements
    }
}

/// The statement that writes an account, or overwrites it: username, domain, password, ha1, ha1b,
/// ha1_sha256, ha1_sha512t256.
pub fn put_user(flavor: Flavor) -> String {
    upsert(
        flavor,
        "subscriber",
        &["username", "domain", "password", "ha1", "ha1b", "ha1_sha256", "ha1_sha512t256"],
        "username, domain",
    )
}

/// The statement that writes a row of `users`: uid, credit.
pub fn put_credit(flavor: Flavor) -> String {
    upsert(flavor, "users", &["uid", "credit"], "uid")
}

/// The statement that writes a row of `routes`: prefix, destination, description.
pub fn put_route(flavor: Flavor) -> String {
    upsert(flavor, "routes", &["prefix", "destination", "description"], "prefix")
}

/// The statement that writes a row of `version`: table_name, table_version.
pub fn put_version(flavor: Flavor) -> String {
    upsert(flavor, "version", &["table_name", "table_version"], "table_name")
}

fn upsert(flavor: Flavor, table: &str, columns: &[&str], key: &str) -> String {
    let marks = vec!["?"; columns.len()].join(", ");
    let set = |value: &dyn Fn(&str) -> String| {
        columns.iter().map(|c| format!("{c} = {}", value(c))).collect::<Vec<_>>().join(", ")
    };
    let tail = match flavor {
        Flavor::Mysql => format!("ON DUPLICATE KEY UPDATE {}", set(&|c| format!("VALUES({c})"))),
        Flavor::Sqlite => format!("ON CONFLICT ({key}) DO UPDATE SET {}", set(&|c| format!("excluded.{c}"))),
    };
    format!("INSERT INTO {table} ({}) VALUES ({marks}) {tail}", columns.join(", "))
}

/// The digests of an account (RFC 7616 section 3.4.2 with each algorithm): `ha1` (MD5), `ha1b` (MD5, name with
/// domain), `ha1_sha256`, `ha1_sha512t256`, in hexadecimal.
pub fn digests(username: &str, domain: &str, password: &str) -> [String; 4] {
    use sha2::Digest;
    let plain = format!("{username}:{domain}:{password}");
    let full = format!("{username}@{domain}:{domain}:{password}");
    [
        hex(&md5::Md5::digest(&plain)),
        hex(&md5::Md5::digest(&full)),
        hex(&sha2::Sha256::digest(&plain)),
        hex(&sha2::Sha512_256::digest(&plain)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_known_ones() {
        // RFC 2617 section 3.5's account; the sums of the other algorithms are those of the usual tools.
        let [ha1, ha1b, sha256, sha512t256] = digests("Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
        assert_eq!(ha1b, "a8515a070d59f4360775b24b870b3e49");
        assert_eq!(sha256, "3ba6cd94661c5ef34598040c868f13b8775df29109986be50ad35ae537dd3aa4");
        assert_eq!(sha512t256, "4f89a1c293dd533bc27546c1da0608df9efcaa6bd1c350edca70a01c8a823360");
    }
}
