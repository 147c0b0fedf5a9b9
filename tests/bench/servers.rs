//! The servers that are compared, each with a configuration of the same meaning.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::account::Account;
use super::support::reprise::control;
use super::support::sip::SipClient;
use super::support::{free_port, process};

/// Which server, on which dialect's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// reprise on the OpenSIPS configuration.
    Reprise,
    /// reprise on the Kamailio configuration.
    RepriseKamailio,
    /// Kamailio.
    Kamailio,
    /// OpenSIPS, where it is installed.
    OpenSips,
}

impl Kind {
    /// From the command line.
    pub fn parse(name: &str) -> Result<Kind, String> {
        match name {
            "reprise" => Ok(Kind::Reprise),
            "reprise-k" => Ok(Kind::RepriseKamailio),
            "kamailio" => Ok(Kind::Kamailio),
            "opensips" => Ok(Kind::OpenSips),
            _ => Err(format!("no server {name}: reprise, reprise-k, kamailio, opensips")),
        }
    }

    /// Name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Reprise => "reprise",
            Kind::RepriseKamailio => "reprise-k",
            Kind::Kamailio => "kamailio",
            Kind::OpenSips => "opensips",
        }
    }

    /// Whether its program is there.
    pub fn is_installed(self) -> bool {
        self.command(1).split(' ').next().is_some_and(|program| process::find(program).is_some())
    }

    fn dialect(self) -> &'static str {
        match self {
            Kind::Reprise | Kind::OpenSips => "opensips",
            Kind::RepriseKamailio | Kind::Kamailio => "kamailio",
        }
    }

    /// The command line; `@CFG@` and `@DIR@` are filled in. Kamailio and OpenSIPS get the faster of
    /// their allocators and enough shared memory for the transactions that wait for their end.
    fn command(self, workers: u32) -> String {
        let reprise = std::env::var("REPRISE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_reprise").to_owned());
        match self {
            Kind::Reprise | Kind::RepriseKamailio => format!("{reprise} -f @CFG@ -E -n {workers}"),
            Kind::Kamailio => {
                "kamailio -f @CFG@ -DD -E -m 2048 -M 32 -x fm -X fm -w @DIR@ -P @DIR@/pid -Y @DIR@".to_owned()
            }
            Kind::OpenSips => "opensips -f @CFG@ -F -E -m 2048 -M 32 -w @DIR@ -P @DIR@/pid".to_owned(),
        }
    }
}

/// A running server.
pub struct Server {
    /// Where it answers.
    pub addr: SocketAddr,
    /// Its first process.
    pub pid: i32,
    child: Child,
    dir: TempDir,
}

impl Server {
    /// Starts one and waits until it answers OPTIONS. `values` are put where their names stand in
    /// the configuration, `@NAME@`.
    pub fn start(
        kind: Kind,
        config: &str,
        workers: u32,
        values: &[(&str, String)],
        account: &Account,
    ) -> Result<Server, String> {
        let dir = process::directory("bench");
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/configs");
        let mut file = configs.join(format!("{config}.{}.cfg", kind.dialect()));
        // What only Kamailio's language has reprise runs in that language.
        if kind == Kind::Reprise && !file.exists() {
            file = configs.join(format!("{config}.kamailio.cfg"));
        }
        let port = free_port();
        let mut text = fs::read_to_string(&file)
            .map_err(|e| format!("{}: {e}", file.display()))?
            .replace("@PORT@", &port.to_string())
            .replace("@WORKERS@", &workers.to_string());
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        if matches!(kind, Kind::Reprise | Kind::RepriseKamailio) {
            // As many workers as asked for, also on a machine with fewer CPUs.
            let control = dir.path().join("ctl.sock");
            let own = format!("workers_exact = yes\ncontrol_socket = \"{}\"\n", control.display());
            text = match text.split_once('\n') {
                Some((first, rest)) => format!("{first}\n{own}{rest}"),
                None => own,
            };
        }
        if kind == Kind::OpenSips {
            let path = std::env::var("OPENSIPS_MODULES")
                .unwrap_or_else(|_| "/usr/lib/x86_64-linux-gnu/opensips/modules".to_owned());
            text = format!("mpath=\"{path}/\"\n{text}");
        }
        let path = dir.path().join("server.cfg");
        fs::write(&path, text).map_err(|e| e.to_string())?;
        let log = fs::File::create(dir.path().join("log")).map_err(|e| e.to_string())?;
        let line = kind
            .command(workers)
            .replace("@CFG@", &path.to_string_lossy())
            .replace("@DIR@", &dir.path().to_string_lossy());
        let program = line.split(' ').next().unwrap_or("");
        if process::find(program).is_none() {
            return Err(format!("{program} is not installed"));
        }
        let mut command = process::command("sh");
        command
            .args(["-c", &format!("{}exec {line}", account.join_command())])
            .env("PATH", format!("{}:/usr/local/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log);
        let child = process::spawn(command).map_err(|e| e.to_string())?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Server { addr, pid: process::pid_of(&child), child, dir };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let client = SipClient::to(self.addr);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            client.send_request(&client.request("OPTIONS", &format!("sip:probe@{}", self.addr)));
            if client.recv(Duration::from_millis(200)).is_some_and(|m| m.status() == 200) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended: {status}\n{}", self.log()));
            }
            if Instant::now() > end {
                return Err(format!("does not answer OPTIONS\n{}", self.log()));
            }
            // A refused datagram makes the wait above return at once.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The beginning of the log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default().chars().take(4000).collect()
    }

    /// The counters of reprise that begin with `prefix`, by name; empty for another server.
    pub fn counters(&self, prefix: &str) -> BTreeMap<String, u64> {
        let socket = self.dir.path().join("ctl.sock");
        let answer = control(&socket, "stats", serde_json::json!([prefix]), Duration::from_secs(5));
        let Ok(serde_json::Value::Object(all)) = answer else { return BTreeMap::new() };
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
    }

    /// Proportional memory of all its processes.
    pub fn pss_mib(&self) -> f64 {
        process::tree(self.pid).into_iter().map(process::pss_kib).sum::<u64>() as f64 / 1024.0
    }

    /// Context switches so far.
    pub fn switches(&self) -> u64 {
        process::tree_switches(self.pid)
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        process::tree(self.pid).len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let all = process::tree(self.pid);
        process::signal(self.pid, Signal::SIGTERM);
        if process::wait_exit(&mut self.child, Duration::from_secs(3)).is_none() {
            process::end(&mut self.child);
        }
        for pid in all {
            process::signal(pid, Signal::SIGKILL);
        }
    }
}
