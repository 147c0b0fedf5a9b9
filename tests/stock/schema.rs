//! A database with the tables of Kamailio's package.

use std::fs;

use crate::server::FILE;
use crate::support::mariadb::{MariaDb, NATIVE};

/// A database with the package's tables, and two users.
pub struct Tables {
    pub db: &'static MariaDb,
    pub name: String,
}

impl Tables {
    pub fn new() -> Tables {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let db = MariaDb::shared();
        let name = format!("stock{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut sql = format!("CREATE DATABASE {name} CHARACTER SET latin1; USE {name};\n");
        let files = ["standard", "auth_db", "usrloc", "acc", "permissions", "alias_db", "speeddial", "domain", "uac"];
        for file in files {
            let path = format!("/usr/share/kamailio/mysql/{file}-create.sql");
            sql += &fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
        sql += &accounting_columns();
        let mut user = |name: &str, password: &str| {
            sql += &format!(
                "INSERT INTO subscriber (username, domain, password) VALUES ('{name}', '127.0.0.1', '{password}');\n"
            );
        };
        user("alice", "wonderland");
        user("bob", "builder");
        db.sql(&sql);
        Tables { db, name }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.db.url_for(NATIVE, &self.name)
    }

    /// A statement that yields one number.
    pub fn number(&self, what: &str) -> usize {
        self.db.number(&format!("USE {}; {what}", self.name))
    }

    /// A statement.
    pub fn rows(&self, what: &str) -> String {
        self.db.sql(&format!("USE {}; {what}", self.name))
    }
}

/// The columns that the file's head says WITH_ACCDB needs.
fn accounting_columns() -> String {
    let file = fs::read_to_string(FILE).unwrap();
    let block = file.split_once("#!ifdef ACCDB_COMMENT").expect("the block of statements").1;
    block.split_once("#!endif").expect("its end").0.to_owned()
}
