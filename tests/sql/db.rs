//! `reprise db` on both kinds of database, and the demonstration database.

use crate::lp::alone;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::process;
use reprise::cli::db::{DbArgs, DbCommand, run};
use reprise::ops::sql::sqlite::ensure_sqlite_demo;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

fn init(url: &str, demo: bool) -> bool {
    done(DbCommand::Init { url: url.to_string(), demo })
}

fn check(url: &str) -> bool {
    done(DbCommand::Check { url: url.to_string() })
}

fn add(url: &str, user: &str, password: &str, store_password: bool) -> bool {
    let (url, user, password) = (url.to_string(), user.to_string(), password.to_string());
    done(DbCommand::UserAdd { url, user, password, store_password })
}

fn done(command: DbCommand) -> bool {
    run(DbArgs { command }) == ExitCode::SUCCESS
}

const HA1: &str = "939e7578ed9e3c518a452acee763bce9";

#[test]
fn sqlite_from_nothing() {
    let _alone = alone();
    let dir = process::directory("dbcli");
    let path = dir.path().join("sub/dir/r.db");
    let url = format!("sqlite://{}", path.display());
    assert!(!check(&url), "there is no file yet");
    assert!(!add(&url, "a@b", "c", false));
    assert!(init(&url, false) && check(&url) && init(&url, true) && init(&url, true) && check(&url));
    assert!(add(&url, "Mufasa@testrealm@host.com", "x", false), "a domain may look odd");
    assert!(add(&url, "Mufasa@testrealm@host.com", "Circle Of Life", true));
    for bad in ["nobody", "@x", "x@", "a:b@c"] {
        assert!(!add(&url, bad, "c", false), "{bad}");
    }
    assert!(!add(&url, "a@b", "", false));
    let c = rusqlite::Connection::open(&path).unwrap();
    let one = |q: &str| c.query_row(q, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(one("SELECT ha1 FROM subscriber WHERE username='Mufasa'"), HA1);
    assert_eq!(one("SELECT password FROM subscriber WHERE username='Mufasa'"), "Circle Of Life");
    assert_eq!(one("SELECT password FROM subscriber WHERE username='alice'"), "");
    assert_eq!(one("SELECT COUNT(*) || '/' || (SELECT credit FROM users WHERE uid='alice') FROM users"), "3/100");
    c.execute_batch("DROP TABLE acc; ALTER TABLE subscriber DROP COLUMN rpid").unwrap();
    assert!(!check(&url));
    assert!(init(&url, false));
    assert!(!check(&url), "an existing table is not altered");
    std::fs::write(dir.path().join("text"), "this is no database, however long it may be".repeat(99)).unwrap();
    assert!(!check(&format!("sqlite://{}", dir.path().join("text").display())));
}

#[test]
fn mysql_from_nothing() {
    let _alone = alone();
    let db = MariaDb::shared();
    let url = db.url_for(NATIVE, "made_by_reprise");
    assert!(!check(&url), "there is no database yet");
    assert!(init(&url, true) && init(&url, true) && check(&url));
    assert!(add(&url, "Mufasa@testrealm@host.com", "Circle Of Life", false));
    assert_eq!(db.sql("SELECT ha1 FROM made_by_reprise.subscriber WHERE username='Mufasa'"), HA1);
    assert_eq!(db.sql("SELECT COUNT(*) FROM made_by_reprise.users"), "3");
    assert_eq!(db.sql("SELECT destination FROM made_by_reprise.routes WHERE prefix='00'"), "sip:127.0.0.1:5081");
    assert!(check(&format!("{url}?socket={}", db.socket.display())));
    assert!(check(&format!("{url}?ssl_mode=required")));
    assert!(check(&format!("{url}?ssl_ca={}", crate::support::ca::get().ca.display())));
    assert!(!check(&db.url_for((NATIVE.0, "wrong"), "made_by_reprise")));
    assert!(!check("mysql://u@127.0.0.1:1/x"));
    assert!(!check("mysqll://u@127.0.0.1:1/x"));
}

#[test]
fn the_demonstration_database_is_made_once() {
    let _alone = alone();
    let dir = process::directory("demo");
    let path = dir.path().join("var/demo.db");
    assert_eq!(ensure_sqlite_demo(&path), Ok(true));
    assert_eq!(ensure_sqlite_demo(&path), Ok(false));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    assert!(check(&format!("sqlite://{}", path.display())));
    assert!(ensure_sqlite_demo(std::path::Path::new("/proc/no/demo.db")).unwrap_err().contains("/proc/no"));
}
