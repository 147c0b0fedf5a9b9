//! A private MariaDB: own data directory, own port on 127.0.0.1, own socket, gone with its handle.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{ca, free_port, lock, process};

/// User with `mysql_native_password`.
pub const NATIVE: (&str, &str) = ("reprise", "secret");
/// User with the `ed25519` plugin.
pub const ED25519: (&str, &str) = ("reprise_ed", "edsecret");
/// User with a native password that must come over TLS.
pub const TLS_ONLY: (&str, &str) = ("reprise_tls", "tlssecret");
/// The database with the sample tables.
pub const DATABASE: &str = "reprise";

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The sample tables. `users.credit` is what the examples ask for; `kinds` has a column of every
/// sort; `numbers` has 1000 rows; `big` has one row of 1 MiB.
const TABLES: &str = "
CREATE TABLE users (uid VARCHAR(64) PRIMARY KEY, credit INT NOT NULL, note VARCHAR(255) NULL);
INSERT INTO users VALUES ('alice', 100, 'prepaid'), ('bob', 0, NULL), ('carol', -5, 'it''s \\\"late\\\"');
CREATE TABLE subscriber (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, username CHAR(64) NOT NULL DEFAULT '', domain CHAR(64) NOT NULL DEFAULT '',
  password CHAR(64) NOT NULL DEFAULT '', email_address CHAR(64) NOT NULL DEFAULT '', ha1 CHAR(64) NOT NULL DEFAULT '',
  ha1_sha256 CHAR(64) NOT NULL DEFAULT '', ha1_sha512t256 CHAR(64) NOT NULL DEFAULT '', rpid CHAR(64) DEFAULT NULL,
  UNIQUE KEY account (username, domain));
INSERT INTO subscriber (username, domain, password, ha1) VALUES
  ('alice', '127.0.0.1', 'wonderland', MD5('alice:127.0.0.1:wonderland')), ('bob', '127.0.0.1', 'builder', MD5('bob:127.0.0.1:builder'));
CREATE TABLE kinds (
  id INT PRIMARY KEY, tiny TINYINT, small SMALLINT UNSIGNED, big BIGINT, ubig BIGINT UNSIGNED, price DECIMAL(10,2), ratio DOUBLE,
  name VARCHAR(100) CHARACTER SET utf8mb4, words TEXT, raw VARBINARY(64), day DATE, at DATETIME, stamp TIMESTAMP NULL, flag BIT(1));
INSERT INTO kinds VALUES
  (1, -128, 65535, -9223372036854775808, 18446744073709551615, 12.34, 0.5, 'Zoë ☎', 'some words', x'00ff0a27',
   '2024-02-29', '2024-02-29 12:34:56', '2024-02-29 12:34:56', b'1'),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, 0, 0, 0, 0, 0, 0, '', '', '', '1970-01-01', '1970-01-01 00:00:00', NULL, b'0');
CREATE TABLE numbers (n INT PRIMARY KEY, text VARCHAR(32) NOT NULL);
INSERT INTO numbers SELECT seq, CONCAT('number ', seq) FROM seq_1_to_1000;
CREATE TABLE big (id INT PRIMARY KEY, text LONGTEXT);
INSERT INTO big VALUES (1, REPEAT('0123456789abcdef', 65536));
CREATE TABLE seen (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(255) NOT NULL);
";

/// A running (or stopped) private server.
pub struct MariaDb {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Unix socket.
    pub socket: PathBuf,
    dir: TempDir,
    child: Mutex<Option<Child>>,
}

impl MariaDb {
    /// The instance that the tests of one program share. Do not stop, kill or pause this one.
    pub fn shared() -> &'static MariaDb {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(MariaDb::start)
    }

    /// A fresh instance with the users and sample tables, ready for connections.
    pub fn start() -> MariaDb {
        let dir = process::directory("db");
        let data = dir.path().join("data");
        let mut install = process::command("mariadb-install-db");
        install
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args([
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=8M",
            ])
            .args(as_root());
        // One at a time: several at once have been seen to disturb each other.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let alone = lock(&INSTALLING);
        let output = install.output().expect("mariadb-install-db runs");
        drop(alone);
        assert!(
            output.status.success(),
            "mariadb-install-db: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let server = MariaDb { port: free_port(), socket: dir.path().join("sql.sock"), dir, child: Mutex::new(None) };
        server.launch();
        let account = |(user, _): (&str, &str)| format!("'{user}'@'%'");
        server.sql(&format!(
            "INSTALL SONAME 'auth_ed25519';
             CREATE USER {native} IDENTIFIED VIA mysql_native_password USING PASSWORD('{}');
             CREATE USER {ed} IDENTIFIED VIA ed25519 USING PASSWORD('{}');
             CREATE USER {tls} IDENTIFIED VIA mysql_native_password USING PASSWORD('{}') REQUIRE SSL;
             GRANT ALL ON *.* TO {native}; GRANT ALL ON *.* TO {ed}; GRANT ALL ON *.* TO {tls};",
            NATIVE.1,
            ED25519.1,
            TLS_ONLY.1,
            native = account(NATIVE),
            ed = account(ED25519),
            tls = account(TLS_ONLY),
        ));
        server.create_database(DATABASE);
        server
    }

    fn create_database(&self, name: &str) {
        self.sql(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}; {TABLES}"));
    }

    /// A database of the caller's own with the sample tables; returns its name. For tests that
    /// write, on the shared instance.
    pub fn fresh_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.create_database(&name);
        name
    }

    fn launch(&self) {
        let ca = ca::get();
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("log file");
        let mut command = process::command("mariadbd");
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.dir.path().join("data").display()))
            .arg(format!("--tmpdir={}", self.dir.path().display()))
            .arg(format!("--socket={}", self.socket.display()))
            .arg(format!("--pid-file={}", self.dir.path().join("pid").display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--ssl-ca={}", ca.ca.display()))
            .arg(format!("--ssl-cert={}", ca.server.cert.display()))
            .arg(format!("--ssl-key={}", ca.server.key.display()))
            .args([
                "--bind-address=127.0.0.1",
                "--skip-networking=0",
                "--skip-name-resolve",
                "--max-connections=300",
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=8M",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-fast-shutdown=2",
                "--key-buffer-size=1M",
                "--max-allowed-packet=64M",
                "--performance-schema=0",
                "--character-set-server=utf8mb4",
            ])
            .args(as_root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log);
        let mut child = process::spawn(command).expect("mariadbd starts");
        let end = Instant::now() + START_TIMEOUT;
        while self.try_sql("SELECT 1").is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("mariadbd ended: {status}\n{}", self.log());
            }
            assert!(Instant::now() < end, "mariadbd is not ready after {START_TIMEOUT:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        *lock(&self.child) = Some(child);
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The server's error log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs statements as the administrator and returns the rows: columns apart by tabs, no
    /// headings, NULL as `NULL`. Panics on an error.
    pub fn sql(&self, text: &str) -> String {
        self.try_sql(text).unwrap_or_else(|e| panic!("SQL: {e}\n{text}"))
    }

    /// As [`MariaDb::sql`]; the error is the client's message.
    pub fn try_sql(&self, text: &str) -> Result<String, String> {
        let mut command = process::command("mariadb");
        command
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", self.socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).map_err(|e| e.to_string())?;
        let mut input = child.stdin.take().ok_or("no standard input")?;
        let text = text.to_owned();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let _ = writer.join();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// An URL as `db_url` takes it, over TCP: `mysql://user:password@127.0.0.1:port/reprise`.
    pub fn url(&self) -> String {
        self.url_for(NATIVE, DATABASE)
    }

    /// An URL for one of the users and a database.
    pub fn url_for(&self, (user, password): (&str, &str), database: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Connections of the test users that are open now.
    pub fn connections(&self) -> usize {
        self.number("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER LIKE 'reprise%'")
    }

    /// Ends all connections of the test users, as an administrator's KILL does.
    pub fn kill_connections(&self) {
        let kills =
            self.sql("SELECT CONCAT('KILL ', ID, ';') FROM information_schema.PROCESSLIST WHERE USER LIKE 'reprise%'");
        for kill in kills.lines() {
            // A connection that ended by itself is not an error.
            let _ = self.try_sql(kill);
        }
    }

    /// The result of a statement that yields one number.
    pub fn number(&self, text: &str) -> usize {
        let answer = self.sql(text);
        answer.trim().parse().unwrap_or_else(|_| panic!("not a number: {answer:?} ({text})"))
    }

    /// Process id of the server; 0 when it is stopped.
    pub fn pid(&self) -> i32 {
        lock(&self.child).as_ref().map_or(0, process::pid_of)
    }

    /// Stops answering, connections stay: what a hung server looks like.
    pub fn pause(&self) {
        assert!(process::signal(self.pid(), Signal::SIGSTOP), "mariadbd is not running");
    }

    /// Goes on after [`MariaDb::pause`].
    pub fn resume(&self) {
        assert!(process::signal(self.pid(), Signal::SIGCONT), "mariadbd is not running");
    }

    /// An orderly shutdown: clients see their connections close, new ones are refused.
    pub fn stop(&self) {
        let mut child = lock(&self.child).take().expect("mariadbd is running");
        process::signal(process::pid_of(&child), Signal::SIGTERM);
        if process::wait_exit(&mut child, Duration::from_secs(20)).is_none() {
            process::end(&mut child);
        }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        process::end(&mut lock(&self.child).take().expect("mariadbd is running"));
    }

    /// Starts it again, on the same port and data; stops it before if it runs.
    pub fn restart(&self) {
        if self.pid() != 0 {
            self.stop();
        }
        self.launch();
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Some(mut child) = lock(&self.child).take() {
            process::end(&mut child);
        }
    }
}

/// mariadbd refuses to run as root unless told to.
fn as_root() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=root")
}
