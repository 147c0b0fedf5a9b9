//! Kamailio beside the server: the same configuration, the same messages, the same answers. And its
//! stock configuration, as its package installs it.

use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::support::reprise::{Reprise, run};
use crate::support::{free_port, process};
use tempfile::TempDir;

/// What a line of a list asks.
pub struct Case {
    /// The line.
    pub text: String,
    /// They are known to differ.
    pub differs: bool,
}

/// The cases of a list in tests/kamailio.
pub fn cases(file: &str) -> Vec<Case> {
    let list = fs::read_to_string(format!("tests/kamailio/{file}")).expect("the list of cases");
    list.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| match l.strip_prefix("~ ") {
            Some(text) => Case { text: text.into(), differs: true },
            None => Case { text: l.into(), differs: false },
        })
        .collect()
}

/// The route that shows what becomes of a case in the reply's header X-Out.
pub fn route(n: usize, case: &str) -> String {
    let body = if let Some(cond) = case.strip_prefix("IF ") {
        format!(r#"if ({cond}) {{ append_to_reply("X-Out: T\r\n"); }} else {{ append_to_reply("X-Out: F\r\n"); }}"#)
    } else if let Some(run) = case.strip_prefix("RUN ") {
        let (statements, show) = run.split_once(" ;; ").expect("statements ;; what to show");
        format!("{statements} append_to_reply(\"X-Out: {show}\\r\\n\");")
    } else {
        format!("$var(r) = \"unset\"; $var(r) = {case}; append_to_reply(\"X-Out: $var(r)\\r\\n\");")
    };
    format!("route[C{n}] {{\n    {body}\n}}\n")
}

fn config(port: u16, cases: &[Case]) -> String {
    let mut text = format!(
        r##"#!KAMAILIO
#!define NUM 5
#!define TXT "x"
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "textopsx.so"
loadmodule "ipops.so"
loadmodule "cfgutils.so"
loadmodule "maxfwd.so"
loadmodule "counters.so"
modparam("cfgutils", "lock_set_size", 4)
modparam("counters", "script_counter", "mine")
grp.num = 7 desc "a number"
grp.txt = "tt" desc "a text"
request_route {{
    $var(i) = 2; $var(s) = "10"; $var(e) = "5"; $var(n) = -3; $avp(l) = 1; $avp(l) = 2; $avp(l) = 3;
    $var(case) = $hdr(X-Case);
    route($var(case));
    sl_send_reply("200", "OK");
    exit;
}}
route[PLUS] {{ return 5; }}
route[MINUS] {{ return -7; }}
route[TWO] {{ return 2; }}
route[PLAIN] {{ xlog("L_DBG", "plain\n"); }}
route[ASSIGN] {{ $var(q) = 1; }}
route[IFF] {{ if ($var(i) == 3) {{ $var(q) = 1; }} }}
route[BRK] {{ break; }}
route[C] {{ $var(q) = 0; }}
"##
    );
    for (n, case) in cases.iter().enumerate() {
        text.push_str(&route(n, &case.text));
    }
    text
}

/// The header X-Out of the reply to the request that asks for case `n`; `None` without a reply.
fn ask(socket: &UdpSocket, port: u16, n: &str, wait: Duration) -> Option<String> {
    let own = socket.local_addr().expect("an address").port();
    let request = format!(
        "OPTIONS sip:bob@127.0.0.1:{port};x=1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{n}\r\n\
         From: \"A\" <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.org>\r\nCall-ID: xyz\r\nCSeq: 1 OPTIONS\r\n\
         X-A: one\r\nX-A: two\r\nX-Case: C{n}\r\nUser-Agent: abc\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), ("127.0.0.1", port)).expect("a request that is sent");
    let end = Instant::now() + wait;
    let mut buffer = vec![0; 65_535];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        socket.set_read_timeout(Some(left)).expect("a timeout");
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if text.contains(&format!("branch=z9hG4bK{n}\r\n")) || text.contains(&format!("branch=z9hG4bK{n};")) {
            let out = text.lines().find_map(|l| l.strip_prefix("X-Out:")).unwrap_or_default();
            return Some(out.trim().replace(&port.to_string(), "PORT"));
        }
    }
    None
}

/// The answers to all cases.
pub fn answers(port: u16, count: usize, log: &dyn Fn() -> String) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let give_up = Instant::now() + SECOND * 20;
    while ask(&socket, port, "", Duration::from_millis(200)).is_none() {
        assert!(Instant::now() < give_up, "nobody answers on port {port}\n{}", log());
    }
    let one = |n: usize| ask(&socket, port, &n.to_string(), SECOND * 20).unwrap_or_else(|| "no answer".into());
    (0..count).map(one).collect()
}

/// How a configuration for both servers begins: the common modules, and these.
pub fn head(port: u16, modules: &[&str]) -> String {
    let all = ["kex", "corex", "tm", "tmx", "sl", "pv", "xlog", "textops", "textopsx", "siputils"];
    let load = |m: &&str| format!("loadmodule \"{m}.so\"\n");
    let modules: String = all.iter().chain(modules).map(load).collect();
    format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:127.0.0.1:{port}\n{modules}"
    )
}

/// A running Kamailio; it is ended in an orderly way.
pub struct Kamailio {
    child: Child,
    dir: TempDir,
}

impl Kamailio {
    /// Starts one.
    pub fn start(config: &str) -> Kamailio {
        let dir = process::directory("kamailio");
        let file = dir.path().join("kamailio.cfg");
        fs::write(&file, config).expect("a configuration");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let args = ["-DD", "-E", "-m", "32", "-M", "32", "-w", &path(""), "-Y", &path(""), "-P", &path("pid")];
        let mut command = process::command("kamailio");
        command.arg("-f").arg(&file).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Kamailio { child: process::spawn(command).expect("Kamailio starts"), dir }
    }
}

impl Kamailio {
    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        if process::wait_exit(&mut self.child, SECOND * 20).is_none() {
            process::end(&mut self.child);
        }
    }
}

/// The list of cases, on both.
#[test]
fn expressions_and_statements_do_the_same_on_both() {
    let cases = cases("cases.txt");
    let theirs = {
        let port = free_port();
        let server = Kamailio::start(&config(port, &cases));
        answers(port, cases.len(), &|| server.log())
    };
    let port = free_port();
    let server = Reprise::start(&config(port, &cases), &["-n", "1"]);
    let ours = answers(port, cases.len(), &|| server.log());
    compare(&cases, &theirs, &ours);
}

/// The answers are the same where they are not known to differ.
pub fn compare(cases: &[Case], theirs: &[String], ours: &[String]) {
    let mut wrong = Vec::new();
    for ((case, theirs), ours) in cases.iter().zip(theirs).zip(ours) {
        if (theirs == ours) == case.differs {
            wrong.push(format!("{}\n    Kamailio: {theirs:?}\n    reprise:  {ours:?}", case.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The stock configuration of the package: nothing is unknown in it as it comes, and nothing but modules if everything
/// is switched on.
#[test]
fn the_stock_configuration_is_understood() {
    const STOCK: &str = "/etc/kamailio/kamailio.cfg";
    let switches = [
        "WITH_MYSQL",
        "WITH_AUTH",
        "WITH_IPAUTH",
        "WITH_USRLOCDB",
        "WITH_PRESENCE",
        "WITH_NAT",
        "WITH_PSTN",
        "WITH_ALIASDB",
        "WITH_SPEEDDIAL",
        "WITH_MULTIDOMAIN",
        "WITH_TLS",
        "WITH_JSONRPC",
        "WITH_ANTIFLOOD",
        "WITH_VOICEMAIL",
        "WITH_ACCDB",
        "WITH_BLOCK3XX",
        "WITH_BLOCK401407",
        "WITH_DEBUG",
    ];
    let mut all = vec!["-c", "-f", STOCK];
    for switch in &switches {
        all.extend(["-A", switch]);
    }
    for (args, known) in [(&all[..3], true), (&all[..], false)] {
        let out = run(args, SECOND * 60);
        let findings: Vec<&str> = out.stderr.lines().filter(|l| l.starts_with("error")).collect();
        let names = |l: &&&str| ["error[E0201]", "error[E0203]", "error[E0204]"].iter().any(|c| l.starts_with(c));
        let other: Vec<_> = findings.iter().filter(|l| !names(l)).collect();
        assert!(other.is_empty(), "{other:#?}");
        assert_eq!(findings.is_empty(), known, "{findings:#?}");
        // Each is told once.
        let once: std::collections::BTreeSet<_> = findings.iter().collect();
        assert_eq!(once.len(), findings.len(), "{findings:#?}");
    }
}
