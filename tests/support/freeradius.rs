//! A private FreeRADIUS: accounts with passwords and digests, an accounting log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{free_port, lock, process};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The secret it shares with 127.0.0.1.
pub const SECRET: &str = "testing123";
/// Every account's password, as PAP and for digests.
pub const PASSWORD: &str = "wonderland";

/// Names for RFC 5090's attributes that do not hide those of its own form.
const NAMES: &str = "
ATTRIBUTE Standard-Digest-Response 103 string
ATTRIBUTE Standard-Digest-Realm 104 string
ATTRIBUTE Standard-Digest-Nonce 105 string
ATTRIBUTE Standard-Digest-Method 108 string
ATTRIBUTE Standard-Digest-URI 109 string
ATTRIBUTE Standard-Digest-Algorithm 111 string
ATTRIBUTE Standard-Digest-Username 115 string
";

/// A running (or stopped) server. Accepts every name but `mallory`; answers an Access-Request with
/// Reply-Message `hello NAME`, Session-Timeout 3600, Framed-IP-Address 10.1.2.3 and two Cisco-AVPair.
pub struct FreeRadius {
    /// Port of authentication on 127.0.0.1.
    pub auth_port: u16,
    /// Port of accounting on 127.0.0.1.
    pub acct_port: u16,
    dir: TempDir,
    child: Mutex<Option<Child>>,
}

impl FreeRadius {
    /// A fresh instance, ready for questions.
    pub fn start() -> FreeRadius {
        let server = FreeRadius {
            auth_port: free_port(),
            acct_port: free_port(),
            dir: process::directory("radius"),
            child: Mutex::new(None),
        };
        fs::write(server.dir.path().join("radiusd.conf"), server.configuration()).expect("configuration written");
        fs::write(server.dir.path().join("dictionary"), NAMES).expect("dictionary written");
        server.launch();
        server
    }

    fn configuration(&self) -> String {
        let dir = self.dir.path().display();
        let (auth, acct) = (self.auth_port, self.acct_port);
        format!(
            r#"
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {dir}
run_dir = {dir}
pidfile = {dir}/pid
max_request_time = 30
max_requests = 65536
hostname_lookups = no
log {{
    destination = stdout
}}
security {{
    allow_core_dumps = no
    max_attributes = 200
    reject_delay = 0
    status_server = no
}}
client local {{
    ipaddr = 127.0.0.1
    secret = {SECRET}
    require_message_authenticator = yes
}}
thread pool {{
    start_servers = 2
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 3
}}
modules {{
    pap {{
    }}
    digest {{
    }}
    detail {{
        filename = {dir}/detail
        permissions = 0600
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {auth}
    }}
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {acct}
    }}
    authorize {{
        update control {{
            Cleartext-Password := "{PASSWORD}"
        }}
        if (&User-Name == "mallory") {{
            update control {{
                Auth-Type := Reject
            }}
        }}
        # RFC 5090's attributes, which its module for digests does not look at.
        if (&Standard-Digest-Response) {{
            update request {{
                Digest-Attributes := 0x00
                Digest-Response := &Standard-Digest-Response
                Digest-Realm := &Standard-Digest-Realm
                Digest-Nonce := &Standard-Digest-Nonce
                Digest-Method := &Standard-Digest-Method
                Digest-URI := &Standard-Digest-URI
                Digest-Algorithm := &Standard-Digest-Algorithm
                Digest-User-Name := &Standard-Digest-Username
            }}
            update control {{
                Auth-Type := digest
            }}
        }}
        else {{
            digest
        }}
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
        digest
    }}
    post-auth {{
        update reply {{
            Reply-Message := "hello %{{User-Name}}"
            Session-Timeout := 3600
            Framed-IP-Address := 10.1.2.3
            Cisco-AVPair += "sip:one"
            Cisco-AVPair += "sip:two"
        }}
        Post-Auth-Type REJECT {{
            update reply {{
                Reply-Message := "no"
            }}
        }}
    }}
    preacct {{
    }}
    accounting {{
        detail
    }}
}}
"#
        )
    }

    /// Starts it again after [`FreeRadius::stop`].
    pub fn launch(&self) {
        let mut command = process::command("freeradius");
        command.args(["-f", "-l", "stdout", "-x", "-d"]).arg(self.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command).expect("freeradius starts");
        let out = child.stdout.take().expect("a pipe");
        let (tell, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut last = String::new();
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.contains("Ready to process requests") {
                    let _ = tell.send(Ok(()));
                }
                last = line;
            }
            let _ = tell.send(Err(last));
        });
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(Ok(())) => {}
            Ok(Err(line)) => panic!("freeradius ended: {line}"),
            Err(_) => panic!("freeradius is not ready after {START_TIMEOUT:?}"),
        }
        *lock(&self.child) = Some(child);
    }

    /// Ends it; its ports refuse from now on.
    pub fn stop(&self) {
        if let Some(mut child) = lock(&self.child).take() {
            process::end(&mut child);
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        lock(&self.child).is_some()
    }

    /// Sends a signal to it: SIGSTOP makes it silent, SIGCONT goes on.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &*lock(&self.child) {
            process::signal(process::pid_of(child), signal);
        }
    }

    /// What was accounted so far.
    pub fn detail(&self) -> String {
        fs::read_to_string(self.dir.path().join("detail")).unwrap_or_default()
    }

    /// A client configuration that names servers (`host:port`) of each kind, and its path.
    pub fn client_config(&self, auth: &[String], acct: &[String], more: &str) -> PathBuf {
        let mut text = String::new();
        for s in auth {
            text.push_str(&format!("authserver {s}:{SECRET}\n"));
        }
        for s in acct {
            text.push_str(&format!("acctserver {s}:{SECRET}\n"));
        }
        if !more.contains("dictionary") {
            text.push_str("dictionary /usr/share/freeradius/dictionary\n");
        }
        text.push_str(more);
        let path = self.dir.path().join(format!("client-{}.conf", free_port()));
        fs::write(&path, text).expect("file written");
        path
    }
}

impl Drop for FreeRadius {
    fn drop(&mut self) {
        self.stop();
    }
}
