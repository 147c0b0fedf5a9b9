//! `reprise db`: makes and checks the tables of a database, and adds accounts.
//!
//! A short-lived process of its own, so here one may simply wait: MySQL through `mysql_async`, SQLite
//! through `rusqlite`.

use crate::ops::sql::schema::{self, Flavor, Table};
use crate::ops::sql::url::{DbUrl, Endpoint, MysqlUrl, SqliteUrl, SslMode};
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};
use std::fmt::Display;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `reprise db`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What `reprise db` can do.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum DbCommand {
    /// Make the tables that are not there (and a MySQL database, if the account may).
    Init {
        /// `mysql://user:password@host/database` or `sqlite:///path/of/file`
        #[arg(value_name = "URL")]
        url: String,
        /// Also write a few accounts and routes to try things with.
        #[arg(long)]
        demo: bool,
    },
    /// Test the connection and say what is missing.
    Check {
        /// The database.
        #[arg(value_name = "URL")]
        url: String,
    },
    /// Add an account, or give it a new password.
    UserAdd {
        /// The database.
        #[arg(value_name = "URL")]
        url: String,
        /// The account.
        #[arg(value_name = "NAME@DOMAIN")]
        user: String,
        /// Its password; `-` reads it from standard input.
        #[arg(value_name = "PASSWORD")]
        password: String,
        /// Also store the password itself, for clients or scripts that need it (`calculate_ha1`).
        #[arg(long)]
        store_password: bool,
    },
}

/// Limit of everything that talks to a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does it; the exit code is 1 if it failed or something is missing.
pub fn run(args: DbArgs) -> ExitCode {
    let outcome = match &args.command {
        DbCommand::Init { url, demo } => init(url, *demo),
        DbCommand::Check { url } => check(url),
        DbCommand::UserAdd { url, user, password, store_password } => user_add(url, user, password, *store_password),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("reprise db: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn init(url: &str, demo: bool) -> Result<(), String> {
    let url = parse(url)?;
    let mut database = Database::open(&url, true)?;
    let flavor = database.flavor();
    for table in schema::TABLES {
        let there = database.columns(table.name)?.is_some();
        for statement in table.create(flavor) {
            database.execute(&statement, &[])?;
        }
        let missing = missing_columns(table, &database.columns(table.name)?.unwrap_or_default());
        let note = match (there, missing.is_empty()) {
            (false, _) => "made".to_string(),
            (true, true) => "there already".to_string(),
            (true, false) => format!("there already, without {}", missing.join(", ")),
        };
        println!("table {:<13} {note}", table.name);
    }
    let (name, version) = schema::VERSION;
    database.execute(&schema::put_version(flavor), &[name, &version.to_string()])?;
    if demo {
        for (name, domain, password, credit) in schema::DEMO_USERS {
            put_user(&mut database, name, domain, password, false)?;
            database.execute(&schema::put_credit(flavor), &[name, &credit.to_string()])?;
            println!("account {name}@{domain}, password \"{password}\", credit {credit}");
        }
        for (prefix, destination, description) in schema::DEMO_ROUTES {
            database.execute(&schema::put_route(flavor), &[prefix, destination, description])?;
            println!("route {prefix} to {destination} ({description})");
        }
    }
    println!("{url} is ready");
    Ok(())
}

fn check(url: &str) -> Result<(), String> {
    let url = parse(url)?;
    let mut database = Database::open(&url, false)?;
    println!("connected to {url}: {}", database.version()?);
    let mut problems = 0;
    for table in schema::TABLES {
        let note = match database.columns(table.name)? {
            None => Some("missing".to_string()),
            Some(columns) => {
                let missing = missing_columns(table, &columns);
                (!missing.is_empty()).then(|| format!("lacks {}", missing.join(", ")))
            }
        };
        problems += usize::from(note.is_some());
        println!("table {:<13} {}", table.name, note.as_deref().unwrap_or("ok"));
    }
    match problems {
        0 => Ok(()),
        1 => Err(format!("1 table is missing or incomplete: `reprise db init {url}` makes what is missing")),
        n => Err(format!("{n} tables are missing or incomplete: `reprise db init {url}` makes what is missing")),
    }
}

fn user_add(url: &str, user: &str, password: &str, store: bool) -> Result<(), String> {
    let url = parse(url)?;
    let named = user.strip_prefix("sip:").unwrap_or(user);
    let (name, domain) = named
        .split_once('@')
        .filter(|(n, d)| !n.is_empty() && !d.is_empty())
        .ok_or_else(|| format!("\"{user}\" is not NAME@DOMAIN"))?;
    if name.chars().count() > 64 || domain.chars().count() > 64 || name.contains(':') {
        return Err("name and domain have at most 64 characters, the name no \":\"".to_string());
    }
    let password = if password == "-" { read_password()? } else { password.to_string() };
    if password.is_empty() {
        return Err("an empty password protects nothing".to_string());
    }
    let mut database = Database::open(&url, false)?;
    put_user(&mut database, name, domain, &password, store)?;
    println!("account {name}@{domain} is in {url}");
    Ok(())
}

fn read_password() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| format!("standard input: {e}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

fn put_user(database: &mut Database, name: &str, domain: &str, password: &str, store: bool) -> Result<(), String> {
    let [ha1, ha1b, sha256, sha512t256] = schema::digests(name, domain, password);
    let clear = if store { password } else { "" };
    let statement = schema::put_user(database.flavor());
    database.execute(&statement, &[name, domain, clear, &ha1, &ha1b, &sha256, &sha512t256])
}

fn missing_columns(table: &Table, present: &[String]) -> Vec<&'static str> {
    let has = |name: &str| present.iter().any(|p| p.eq_ignore_ascii_case(name));
    table.columns.iter().map(|(name, _)| *name).filter(|name| !has(name)).collect()
}

fn parse(url: &str) -> Result<DbUrl, String> {
    DbUrl::parse(url.as_bytes()).map_err(|e| e.to_string())
}

/// An open database.
enum Database {
    Sqlite(rusqlite::Connection),
    Mysql(tokio::runtime::Runtime, Box<mysql_async::Conn>),
}

impl Database {
    fn open(url: &DbUrl, create: bool) -> Result<Database, String> {
        let failed = |e: &dyn Display| format!("{url}: {e}");
        match url {
            DbUrl::Sqlite(file) => open_sqlite(file, create),
            DbUrl::Mysql(server) => {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
                let connection = runtime.block_on(patiently(connect(server, create))).map_err(|e| failed(&e))?;
                Ok(Database::Mysql(runtime, Box::new(connection)))
            }
        }
    }

    fn flavor(&self) -> Flavor {
        match self {
            Database::Sqlite(_) => Flavor::Sqlite,
            Database::Mysql(..) => Flavor::Mysql,
        }
    }

    fn execute(&mut self, statement: &str, values: &[&str]) -> Result<(), String> {
        match self {
            Database::Sqlite(connection) => {
                connection.execute(statement, rusqlite::params_from_iter(values)).map(|_| ()).map_err(|e| e.to_string())
            }
            Database::Mysql(runtime, connection) if values.is_empty() => {
                runtime.block_on(patiently(connection.query_drop(statement)))
            }
            Database::Mysql(runtime, connection) => {
                runtime.block_on(patiently(connection.exec_drop(statement, values.to_vec())))
            }
        }
    }

    /// The columns of a table; `None` if there is no such table.
    fn columns(&mut self, table: &str) -> Result<Option<Vec<String>>, String> {
        let names = match self {
            Database::Sqlite(connection) => connection
                .prepare("SELECT name FROM pragma_table_info(?)")
                .and_then(|mut s| s.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>())
                .map_err(|e| e.to_string())?,
            Database::Mysql(runtime, connection) => runtime.block_on(patiently(connection.exec(
                "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
                (table,),
            )))?,
        };
        Ok(Some(names).filter(|n| !n.is_empty()))
    }

    fn version(&mut self) -> Result<String, String> {
        match self {
            Database::Sqlite(_) => Ok(format!("SQLite {}", rusqlite::version())),
            Database::Mysql(runtime, connection) => {
                let version: Option<String> =
                    runtime.block_on(patiently(connection.query_first("SELECT VERSION()")))?;
                Ok(version.unwrap_or_default())
            }
        }
    }
}

fn open_sqlite(file: &SqliteUrl, create: bool) -> Result<Database, String> {
    let failed = |e: &dyn Display| format!("{file}: {e}");
    if create {
        if let Some(parent) = file.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| failed(&e))?;
        }
    } else if !file.path.exists() {
        return Err(failed(&format!("no such file: `reprise db init {file}` makes it")));
    }
    let connection = rusqlite::Connection::open(&file.path).map_err(|e| failed(&e))?;
    connection.busy_timeout(PATIENCE).map_err(|e| failed(&e))?;
    Ok(Database::Sqlite(connection))
}

/// Waits, but not for ever.
async fn patiently<T>(work: impl Future<Output = mysql_async::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// MySQL's "Unknown database".
const UNKNOWN_DATABASE: u16 = 1049;

async fn connect(url: &MysqlUrl, create: bool) -> mysql_async::Result<mysql_async::Conn> {
    match (mysql_async::Conn::new(options(url, url.database.clone())).await, &url.database) {
        (Err(mysql_async::Error::Server(e)), Some(name)) if create && e.code == UNKNOWN_DATABASE => {
            let mut connection = mysql_async::Conn::new(options(url, None)).await?;
            let name = name.replace('`', "``");
            connection.query_drop(format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")).await?;
            connection.query_drop(format!("USE `{name}`")).await?;
            println!("database {name} made");
            Ok(connection)
        }
        (outcome, _) => outcome,
    }
}

fn options(url: &MysqlUrl, database: Option<String>) -> OptsBuilder {
    // The server's own socket is not looked for: what the URL says is what is used.
    let mut options = OptsBuilder::default()
        .user(Some(url.user.clone()))
        .pass(Some(String::from_utf8_lossy(&url.password).into_owned()))
        .prefer_socket(false)
        .db_name(database);
    options = match &url.endpoint {
        Endpoint::Unix(path) => options.socket(Some(path.to_string_lossy())),
        Endpoint::Tcp { host, port } => match (port, local_socket(host)) {
            (None, Some(path)) => options.socket(Some(path)),
            _ => options.ip_or_hostname(host.clone()).tcp_port(port.unwrap_or(3306)),
        },
    };
    let verify = match url.ssl_mode {
        SslMode::Disabled => return options,
        SslMode::Preferred | SslMode::Required => (true, true),
        SslMode::VerifyCa => (false, true),
        SslMode::VerifyIdentity => (false, false),
    };
    let roots = url.ssl_ca.iter().map(|path| path.clone().into()).collect();
    let tls = SslOpts::default()
        .with_client_identity(None::<ClientIdentity>)
        .with_danger_accept_invalid_certs(verify.0)
        .with_danger_skip_domain_validation(verify.1)
        .with_root_certs(roots);
    options.ssl_opts(Some(tls))
}

/// The socket of this machine's server, for `localhost` without a port.
fn local_socket(host: &str) -> Option<&'static str> {
    let sockets = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
    sockets.into_iter().filter(|_| host.eq_ignore_ascii_case("localhost")).find(|p| Path::new(p).exists())
}
