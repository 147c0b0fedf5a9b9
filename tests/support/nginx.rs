//! A private nginx with answers of every sort, over HTTP and HTTPS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{ca, free_port, lock, process};

/// Size of `/large` in bytes (a text of lines with their numbers).
pub const LARGE: usize = 1 << 20;
/// Size of `/huge` in bytes (zeros).
pub const HUGE: u64 = 256 << 20;

const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_echo_module.so";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Both servers answer the same.
///
/// | path | answer |
/// |---|---|
/// | `/now` | `now` at once |
/// | `/slow` | `slow` after 0.1 s |
/// | `/sleep?t=0.3` | `slept` after that many seconds |
/// | `/drip` | `abc` in three chunks, 0.1 s apart |
/// | `/chunked` | `one two three` in three chunks at once |
/// | `/status/CODE` | that status (204 301 400 401 403 404 409 429 500 502 503), body `status CODE` |
/// | `/redirect` | 302 to `/now` |
/// | `/to/CODE?URL` | a redirection with that status (301 302 303 307 308) to the URL |
/// | `/loop` | 302 to itself |
/// | `/gzip` | as `/large`, compressed if that is asked for |
/// | `/zeros` | 16 MiB of zeros, compressed to 16 KiB if that is asked for |
/// | `/trailer` | `one two` in chunks, with the trailer `X-Sum: 42` |
/// | `/small` | the request's body, up to 1 KiB; 413 for more |
/// | `/who` | the subject of the client's certificate (HTTPS) |
/// | `/echo` | the request's body |
/// | `/headers` | the request line and headers as received |
/// | `/method` | the method |
/// | `/json` | `{"credit":42,"name":"alice"}` as application/json |
/// | `/auth` | `welcome`, with basic authentication alice / wonderland |
/// | `/empty` | 200 with an empty body |
/// | `/bucket/full/add`, `/bucket/empty/add` | `400`, `0` |
/// | `/close` | `bye`, then the connection is closed |
/// | `/abort` | the connection is closed without an answer |
/// | `/large` | 1 MiB with Content-Length |
/// | `/huge` | 256 MiB with Content-Length |
const LOCATIONS: &str = r#"
    default_type text/plain;
    absolute_redirect off;
    keepalive_requests 1000000;
    keepalive_timeout 60;
    client_max_body_size 64m;
    root html;
    location = /now { return 200 "now"; }
    location = /slow { echo_sleep 0.1; echo -n slow; }
    location = /sleep { echo_sleep $arg_t; echo -n slept; }
    location = /drip { echo -n a; echo_flush; echo_sleep 0.1; echo -n b; echo_flush; echo_sleep 0.1; echo -n c; }
    location = /chunked { echo -n "one "; echo_flush; echo -n "two "; echo_flush; echo -n three; }
    location = /redirect { return 302 /now; }
    location = /to/301 { return 301 $args; }
    location = /to/302 { return 302 $args; }
    location = /to/303 { return 303 $args; }
    location = /to/307 { return 307 $args; }
    location = /to/308 { return 308 $args; }
    location = /loop { return 302 /loop; }
    location = /gzip { gzip on; gzip_min_length 1; gzip_types text/plain; gzip_proxied any; try_files /large =500; }
    location = /zeros { gzip on; gzip_comp_level 9; gzip_types text/plain; try_files /zeros =500; }
    location = /trailer { add_trailer X-Sum 42; echo -n "one "; echo_flush; echo -n two; }
    location = /small { client_max_body_size 1k; echo_read_request_body; echo_request_body; }
    location = /who { return 200 $ssl_client_s_dn; }
    location = /echo { echo_read_request_body; echo_request_body; }
    location = /headers { echo -n $echo_client_request_headers; }
    location = /method { echo -n $request_method; }
    location = /json { default_type application/json; return 200 '{"credit":42,"name":"alice"}'; }
    location = /auth { auth_basic test; auth_basic_user_file users; try_files /welcome =500; }
    location = /empty { return 200; }
    location = /bucket/full/add { return 200 "400"; }
    location = /bucket/empty/add { return 200 "0"; }
    location = /close { keepalive_timeout 0; return 200 "bye"; }
    location = /abort { return 444; }
"#;

const STATUSES: [u16; 11] = [204, 301, 400, 401, 403, 404, 409, 429, 500, 502, 503];

/// A running (or stopped) private web server.
pub struct Nginx {
    /// HTTP port on 127.0.0.1.
    pub port: u16,
    /// HTTPS port on 127.0.0.1, certificate of the test authority for `localhost` and `127.0.0.1`.
    pub tls_port: u16,
    /// HTTPS port whose certificate is for another name.
    pub wrong_name_port: u16,
    /// HTTPS port whose certificate is from an authority nobody trusts.
    pub untrusted_port: u16,
    /// HTTPS port that demands a certificate of the test authority from its clients.
    pub client_port: u16,
    dir: TempDir,
    child: Mutex<Option<Child>>,
}

impl Nginx {
    /// The instance that the tests of one program share. Do not stop, kill or pause this one, and
    /// do not count its requests.
    pub fn shared() -> &'static Nginx {
        static SHARED: OnceLock<Nginx> = OnceLock::new();
        SHARED.get_or_init(Nginx::start)
    }

    /// A fresh instance, ready for connections.
    pub fn start() -> Nginx {
        let dir = process::directory("web");
        let html = dir.path().join("html");
        fs::create_dir(&html).expect("directory");
        fs::write(html.join("welcome"), "welcome").expect("file written");
        let mut large = String::with_capacity(LARGE + 16);
        for line in 0.. {
            large.push_str(&format!("line {line}\n"));
            if large.len() >= LARGE {
                break;
            }
        }
        large.truncate(LARGE);
        fs::write(html.join("large"), large).expect("file written");
        fs::File::create(html.join("huge")).and_then(|f| f.set_len(HUGE)).expect("file written");
        fs::File::create(html.join("zeros")).and_then(|f| f.set_len(16 << 20)).expect("file written");
        fs::write(dir.path().join("users"), "alice:{PLAIN}wonderland\n").expect("file written");
        let server = Nginx {
            port: free_port(),
            tls_port: free_port(),
            wrong_name_port: free_port(),
            untrusted_port: free_port(),
            client_port: free_port(),
            dir,
            child: Mutex::new(None),
        };
        fs::write(server.dir.path().join("nginx.conf"), server.configuration()).expect("configuration written");
        server.launch();
        server
    }

    fn configuration(&self) -> String {
        assert!(process::find(MODULE).is_some(), "part not installed: libnginx-mod-http-echo");
        let ca = ca::get();
        let statuses: String = STATUSES
            .iter()
            .map(|code| format!("    location = /status/{code} {{ return {code} \"status {code}\"; }}\n"))
            .collect();
        let tls = |port: u16, certificate: &ca::Certificate, more: &str| {
            format!(
                "  server {{\n    listen 127.0.0.1:{port} ssl;\n    listen [::1]:{port} ssl;\n    ssl_certificate {};\n    ssl_certificate_key {};\n{more}{LOCATIONS}{statuses}  }}\n",
                certificate.cert.display(),
                certificate.key.display()
            )
        };
        let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
        format!(
            "load_module {MODULE};\n{user}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log warn;\n\
             worker_rlimit_nofile 8192;\nevents {{ worker_connections 4096; }}\nhttp {{\n\
             \x20 client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
             \x20 log_format counted '$request_method $request_uri $status $connection $connection_requests';\n\
             \x20 access_log access.log counted;\n\
             \x20 server {{\n    listen 127.0.0.1:{0} backlog=1024;\n    listen [::1]:{0};\n{LOCATIONS}{statuses}  }}\n{1}{2}{3}{4}}}\n",
            self.port,
            tls(self.tls_port, &ca.server, ""),
            tls(self.wrong_name_port, &ca.wrong_name, ""),
            tls(self.untrusted_port, &ca.untrusted, ""),
            tls(
                self.client_port,
                &ca.server,
                &format!("    ssl_client_certificate {};\n    ssl_verify_client on;\n", ca.ca.display())
            ),
        )
    }

    fn launch(&self) {
        let mut command = process::command("nginx");
        command
            .arg("-p")
            .arg(self.dir.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("stderr")).expect("file"));
        let mut child = process::spawn(command).expect("nginx starts");
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("nginx ended: {status}\n{}", self.log());
            }
            assert!(Instant::now() < end, "nginx is not ready after {START_TIMEOUT:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        *lock(&self.child) = Some(child);
    }

    /// The error log.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("stderr") + &read("error.log")
    }

    /// `http://127.0.0.1:port` + path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `https://localhost:port` + path.
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.tls_port)
    }

    /// Finished requests so far: method, URI, status, connection number, number of the request
    /// within its connection.
    pub fn requests(&self) -> Vec<(String, String, u16, u64, u64)> {
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut f = line.split(' ');
                Some((
                    f.next()?.to_owned(),
                    f.next()?.to_owned(),
                    f.next()?.parse().ok()?,
                    f.next()?.parse().ok()?,
                    f.next()?.parse().ok()?,
                ))
            })
            .collect()
    }

    /// How many finished requests had a URI that begins like this.
    pub fn count(&self, uri: &str) -> usize {
        self.requests().iter().filter(|r| r.1.starts_with(uri)).count()
    }

    /// On how many connections the finished requests with such a URI came (keep-alive makes it few).
    pub fn connections(&self, uri: &str) -> usize {
        let mut all: Vec<u64> = self.requests().into_iter().filter(|r| r.1.starts_with(uri)).map(|r| r.3).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    /// Process id; 0 when it is stopped.
    pub fn pid(&self) -> i32 {
        lock(&self.child).as_ref().map_or(0, process::pid_of)
    }

    /// Stops answering; the kernel still completes connections.
    pub fn pause(&self) {
        assert!(process::signal(self.pid(), Signal::SIGSTOP), "nginx is not running");
    }

    /// Goes on after [`Nginx::pause`].
    pub fn resume(&self) {
        assert!(process::signal(self.pid(), Signal::SIGCONT), "nginx is not running");
    }

    /// SIGKILL: open connections are reset or closed, new ones refused.
    pub fn kill(&self) {
        process::end(&mut lock(&self.child).take().expect("nginx is running"));
    }

    /// Starts it again on the same ports; kills it before if it runs.
    pub fn restart(&self) {
        if self.pid() != 0 {
            self.kill();
        }
        self.launch();
    }

    /// Where the configuration and logs lie.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A plain GET with a connection of its own: status and body as sent (chunks undecoded).
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connection");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("request written");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or("", |(_, b)| b).to_owned())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(mut child) = lock(&self.child).take() {
            process::end(&mut child);
        }
    }
}
