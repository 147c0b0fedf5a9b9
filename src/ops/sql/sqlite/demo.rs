//! The demonstration database that a first start finds ready.

use crate::ops::sql::schema::{self, Flavor};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes the demonstration database (all tables, a few accounts and routes) unless the file is there;
/// `true` if it was made. Blocks: called by the helper process or a command, never by a worker.
pub fn ensure_sqlite_demo(path: &Path) -> Result<bool, String> {
    if path.exists() {
        return Ok(false);
    }
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| failed(&e))?;
    }
    // Made under another name, so that nobody ever sees half of it.
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = Path::new(&name);
    let made = Connection::open(fresh)
        .and_then(|mut connection| {
            create(&mut connection)?;
            demo(&mut connection)?;
            connection.close().map_err(|(_, e)| e)
        })
        .map_err(|e| failed(&e))
        .and_then(|()| fs::set_permissions(fresh, fs::Permissions::from_mode(0o640)).map_err(|e| failed(&e)))
        .and_then(|()| fs::rename(fresh, path).map_err(|e| failed(&e)));
    if made.is_err() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(fresh);
    }
    made.map(|()| true)
}

/// Makes the tables that are not there.
pub fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for table in schema::TABLES {
        for statement in table.create(Flavor::Sqlite) {
            transaction.execute_batch(&statement)?;
        }
    }
    transaction.execute(&schema::put_version(Flavor::Sqlite), schema::VERSION)?;
    transaction.commit()
}

/// Writes the demonstration's accounts and routes.
pub fn demo(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (name, domain, password, credit) in schema::DEMO_USERS {
        let [ha1, ha1b, sha256, sha512t256] = schema::digests(name, domain, password);
        let row = (name, domain, "", ha1, ha1b, sha256, sha512t256);
        transaction.execute(&schema::put_user(Flavor::Sqlite), row)?;
        transaction.execute(&schema::put_credit(Flavor::Sqlite), (name, credit))?;
    }
    for route in schema::DEMO_ROUTES {
        transaction.execute(&schema::put_route(Flavor::Sqlite), *route)?;
    }
    transaction.commit()
}
