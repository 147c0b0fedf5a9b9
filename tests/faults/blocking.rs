//! What a worker asks of the kernel while operations of every kind are in flight: traced, and each call
//! checked to be one that cannot wait.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{SECOND, listening, serve};
use crate::support::dnsmasq::Dnsmasq;
use crate::support::freeradius::FreeRadius;
use crate::support::mariadb::MariaDb;
use crate::support::nginx::Nginx;
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::tcp::{TcpSip, TcpUas};
use crate::support::{ca, eventually, process};

/// Calls that end at once, whatever their arguments.
const HARMLESS: [&str; 46] = [
    "bind",
    "brk",
    "clock_gettime",
    "close",
    "dup",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "exit_group",
    "fcntl",
    "getegid",
    "geteuid",
    "getpeername",
    "getpid",
    "getppid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "ioctl",
    "kill",
    "listen",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "pidfd_open",
    "pidfd_send_signal",
    "pipe2",
    "prctl",
    "prlimit64",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "socket",
    "socketpair",
    "tgkill",
    "timerfd_settime",
];

/// Calls on an fd that wait unless it is set not to, or the call says so.
const TRANSFERS: [&str; 12] = [
    "read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg", "sendmmsg", "accept4",
    "connect",
];

/// What was found in a trace.
#[derive(Default)]
struct Findings {
    /// Calls that may wait, with how often.
    wrong: BTreeMap<String, usize>,
    /// How often each call was made.
    calls: BTreeMap<String, usize>,
    /// Children started that got their program, and the longest time that took.
    started: usize,
    longest_start: f64,
}

/// Reads a trace line by line; `nonblocking`: what was known of the fds when it began.
fn judge(trace: &str, mut nonblocking: HashMap<i32, bool>) -> Findings {
    let mut found = Findings::default();
    // The child that the call before has started.
    let mut latest = None;
    for line in trace.lines() {
        let Some((name, rest)) = line.split_once('(') else { continue };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        *found.calls.entry(name.to_owned()).or_default() += 1;
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, ""));
        let fd = arguments.split([',', ')']).next().and_then(|a| a.trim().parse::<i32>().ok());
        let made = result.split_whitespace().next().and_then(|r| r.parse::<i32>().ok()).filter(|r| *r >= 0);
        let took = result.rsplit_once('<').and_then(|(_, t)| t.trim_end_matches('>').parse::<f64>().ok());
        let (last, mut started) = (latest.take(), None);
        let mut wrong = |text: String| *found.wrong.entry(text).or_default() += 1;
        match name {
            "socket" | "accept4" | "eventfd2" | "socketpair" | "timerfd_create" => {
                let quiet = ["SOCK_NONBLOCK", "EFD_NONBLOCK", "TFD_NONBLOCK"].iter().any(|f| arguments.contains(f));
                if name == "accept4" && fd.is_none_or(|fd| nonblocking.get(&fd) != Some(&true)) {
                    wrong(line.to_owned());
                }
                if let Some(made) = made {
                    nonblocking.insert(made, quiet);
                }
            }
            "pipe2" => {
                let quiet = arguments.contains("O_NONBLOCK");
                for end in arguments.trim_start_matches('[').split(']').next().unwrap_or_default().split(',') {
                    if let Ok(end) = end.trim().parse() {
                        nonblocking.insert(end, quiet);
                    }
                }
            }
            "fcntl" => {
                if let Some(fd) = fd {
                    if arguments.contains("F_SETFL") {
                        nonblocking.insert(fd, arguments.contains("O_NONBLOCK"));
                    } else if arguments.contains("F_DUPFD")
                        && let Some(made) = made
                    {
                        let same = nonblocking.get(&fd).copied().unwrap_or(false);
                        nonblocking.insert(made, same);
                    }
                }
            }
            "ioctl" if arguments.contains("FIONBIO") => {
                if let Some(fd) = fd {
                    nonblocking.insert(fd, arguments.contains("[1]"));
                }
            }
            "close" => {
                nonblocking.remove(&fd.unwrap_or(-1));
            }
            // Its time-out is the next timer; this is the loop.
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => {}
            // The loop's wait that the tracer interrupted when it came.
            "restart_syscall" => {}
            // A child that is to be reaped: only a look.
            "wait4" | "waitid" if arguments.contains("WNOHANG") => {}
            // posix_spawn's own, of a child that could not have its program: it is past its end already.
            "wait4" if last.is_some() && fd == last => found.started -= 1,
            // posix_spawn: the parent stands still until the child has its program.
            "clone" | "clone3" | "vfork" if name == "vfork" || arguments.contains("CLONE_VFORK") => {
                found.started += 1;
                started = made;
                found.longest_start = found.longest_start.max(took.unwrap_or(0.0));
            }
            _ if TRANSFERS.contains(&name) => {
                let quiet = arguments.contains("MSG_DONTWAIT")
                    || fd.is_some_and(|fd| nonblocking.get(&fd).copied().unwrap_or(false));
                if !quiet {
                    wrong(line.split(" = ").next().unwrap_or(line).to_owned());
                }
            }
            _ if HARMLESS.contains(&name) => {}
            _ => wrong(line.to_owned()),
        }
        latest = started;
    }
    found
}

/// The fds of a process, and whether each is set not to wait (O_NONBLOCK in /proc/PID/fdinfo).
fn flags(pid: i32) -> HashMap<i32, bool> {
    let dir = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process's fds");
    dir.flatten()
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path()).ok()?;
            let octal = text.lines().find_map(|l| l.strip_prefix("flags:"))?.trim();
            Some((fd, i32::from_str_radix(octal, 8).ok()? & libc::O_NONBLOCK != 0))
        })
        .collect()
}

/// The fds of a process that are files in memory.
fn in_memory(pid: i32) -> Vec<i32> {
    let dir = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process's fds");
    dir.flatten()
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with("/dev/shm")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A program's system calls, written to a file until dropped.
struct Tracer {
    child: std::process::Child,
    file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Tracer {
    fn attach(pid: i32) -> Tracer {
        let dir = process::directory("trace");
        let file = dir.path().join("trace");
        let mut command = process::command("strace");
        command.args(["-T", "-s", "0", "-o"]).arg(&file).args(["-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("strace starts");
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        let attached = said.lines().map_while(Result::ok).find(|l| l.contains("attached"));
        assert!(attached.is_some_and(|l| !l.contains("denied")), "strace cannot attach");
        Tracer { child, file, _dir: dir }
    }

    /// Lets go and gives what was written.
    fn end(mut self) -> String {
        process::signal(process::pid_of(&self.child), Signal::SIGINT);
        process::wait_exit(&mut self.child, SECOND * 10).expect("strace ends");
        fs::read_to_string(&self.file).expect("a trace")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// Kinds of operations in flight, and whether names are being looked up.
fn in_flight(server: &Reprise) -> Vec<String> {
    let waits = server.ctl("waits", Value::Null);
    let list = waits.as_array().cloned().unwrap_or_default();
    let mut kinds: Vec<String> = list.iter().filter_map(|w| w["kind"].as_str().map(str::to_owned)).collect();
    if list.iter().any(|w| w["phase"] == "resolve") {
        kinds.push("dns".into());
    }
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The judge knows what it is about.
pub fn judge_finds_what_waits() {
    let known = HashMap::from([(3, true), (4, false)]);
    let clean = "epoll_wait(3, [], 256, 100) = 0 <0.1>\nread(3, \"\"..., 10) = 10 <0.0>\n\
                 recvmmsg(4, {}, 64, MSG_DONTWAIT, NULL) = 1 <0.0>\n\
                 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = 9 <0.0>\n\
                 connect(9, {}, 16) = -1 EINPROGRESS (Operation now in progress) <0.0>\n\
                 pipe2([5, 6], O_CLOEXEC) = 0 <0.0>\nfcntl(5, F_SETFL, O_RDONLY|O_NONBLOCK) = 0 <0.0>\n\
                 read(5, \"\", 100) = 0 <0.0>\nwait4(7, NULL, WNOHANG, NULL) = 0 <0.0>\n\
                 clone3({flags=CLONE_VM|CLONE_VFORK|CLONE_CLEAR_SIGHAND, exit_signal=SIGCHLD}, 88) = 77 <0.0021>\nwait4(77, NULL, 0, NULL) = 77 <0.0>\n";
    let found = judge(clean, known.clone());
    assert!(found.wrong.is_empty(), "{:?}", found.wrong);
    assert_eq!((found.started, found.longest_start), (0, 0.0021));
    for bad in [
        "read(4, \"\", 10) = 10 <0.0>",
        "nanosleep({tv_sec=1}, NULL) = 0 <1.0>",
        "clock_nanosleep(CLOCK_REALTIME, 0, {}, NULL) = 0 <1.0>",
        "wait4(7, NULL, 0, NULL) = 7 <0.0>",
        "poll([{fd=4}], 1, -1) = 1 <0.0>",
        "futex(0x1, FUTEX_WAIT_PRIVATE, 1, NULL) = 0 <0.0>",
        "fsync(4) = 0 <0.0>",
        "openat(AT_FDCWD, \"\"..., O_RDONLY) = 5 <0.0>",
        "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 9 <0.0>",
        "socket(AF_INET, SOCK_STREAM, 0) = 3 <0.0>\nconnect(3, {}, 16) = 0 <0.0>",
        "close(3) = 0 <0.0>\nwrite(3, \"\", 1) = 1 <0.0>",
    ] {
        assert_eq!(judge(bad, known.clone()).wrong.len(), 1, "{bad}");
    }
}

/// With every kind in flight, a worker makes no call that may wait but the one of its loop.
pub fn no_call_waits() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let names = Dnsmasq::start(&[("fault.test", Ipv4Addr::LOCALHOST)]);
    let radius = FreeRadius::start();
    let callee = TcpUas::answering();
    let client = radius.client_config(&[format!("127.0.0.1:{}", radius.auth_port)], &[], "radius_timeout 1\n");
    let calls = [
        ("mysql", "sql_query(\"SELECT SLEEP(1)\", \"$avp(r)\", 1)".to_owned()),
        (
            "sqlite",
            "sql_query(\"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 3000000) SELECT count(*) FROM c\", \
             \"$avp(r)\", 2)"
                .to_owned(),
        ),
        ("http", format!("rest_get(\"{}\", $avp(b))", web.url("/sleep?t=1"))),
        ("https", format!("rest_get(\"{}\", $avp(b))", web.tls_url("/sleep?t=1"))),
        ("large", format!("rest_get(\"{}\", $avp(b))", web.tls_url("/large"))),
        ("post", format!("rest_post(\"{}\", \"$avp(password)\", \"text/plain\", $avp(b))", web.url("/echo"))),
        ("exec", "exec(\"cat; echo error >&2; sleep 1\", \"input\", $avp(o), $avp(e))".to_owned()),
        ("radius", "radius_send_auth(\"login\", \"rights\")".to_owned()),
        ("dns", format!("rest_get(\"http://$(rU).fault.test:{}/now\", $avp(b))", web.port)),
        ("sleep", "sleep(1)".to_owned()),
    ];
    let nobody = crate::support::free_port();
    let bad = [
        ("nohttp", format!("rest_get(\"http://127.0.0.1:{nobody}/\", $avp(b))")),
        ("notls", format!("rest_get(\"https://127.0.0.1:{}/\", $avp(b))", web.port)),
        ("nohost", "rest_get(\"http://no-such-host.invalid/\", $avp(b))".to_owned()),
        ("nosql", "sql_query(\"SELECT 1\", \"$avp(r)\", 3)".to_owned()),
        ("noexec", "exec(\"/no/such/program\")".to_owned()),
        ("noend", "exec(\"yes\", , $avp(o))".to_owned()),
    ];
    let starts: String = calls
        .iter()
        .map(|(name, call)| format!("    if ($rU =~ \"^{name}[0-9]\")\n        async({call}, done, 10);\n"))
        .chain(bad.iter().map(|(name, call)| format!("    if ($rU == \"{name}\")\n        async({call}, done, 1);\n")))
        .collect();
    let rest = format!(
        r#"
loadmodule "proto_tcp.so"
loadmodule "aaa_radius.so"
modparam("rest_client", "ssl_capath", "{ca}")
modparam("sqlops", "db_url", "1 {db}")
modparam("sqlops", "db_url", "2 sqlite://lite.db?demo=yes")
modparam("sqlops", "db_url", "3 mysql://u:p@127.0.0.1:{nobody}/d")
modparam("aaa_radius", "radius_config", "{client}")
modparam("aaa_radius", "sets", "login = (User-Name=$rU, User-Password=$avp(password))")
modparam("aaa_radius", "sets", "rights = (Reply-Message=$avp(text))")
timer_route[tick, 1] {{
    xlog("tick\n");
}}
route {{
    $avp(password) = "wonderland";
{starts}    if ($rU == "relay") {{
        $du = "sip:{callee};transport=tcp";
        t_relay();
        exit;
    }}
    if ($rU == "named") {{
        $du = "sip:callee.fault.test:{callee_port};transport=tcp";
        t_relay();
        exit;
    }}
    sl_send_reply(200, "OK");
}}
route[done] {{
    $var(rc) = $rc;
    xlog("$rU: $var(rc) $async_err\n");
    if ($var(rc) < 0)
        t_reply(500, "Failed");
    else
        t_reply(200, "OK");
}}
"#,
        ca = ca::get().ca.display(),
        db = db.url(),
        client = client.display(),
        callee = callee.addr,
        callee_port = callee.addr.port(),
    );
    let core = |port: u16| {
        format!("dns_servers = \"{}\"\ndns_retr_time = 1\ndns_retr_no = 8\nsocket=tcp:127.0.0.1:{port}\n", names.addr)
    };
    let (server, port) = serve(|port| listening(port, &core(port), &rest), &["-n", "1"]);
    let ps = server.ctl("ps", Value::Null);
    let worker = ps.as_array().unwrap().iter().find(|p| p["kind"] == "worker").unwrap()["pid"].as_i64().unwrap();
    let worker = i32::try_from(worker).unwrap();
    let tracer = Tracer::attach(worker);
    // Nothing has been asked of it yet: what is open now is open ever since its birth.
    let known = flags(worker);
    let udp = SipClient::new(port);
    let tcp = TcpSip::new(port);
    let mut seen = Vec::new();
    for round in 0..2 {
        radius.signal(Signal::SIGSTOP);
        names.signal(Signal::SIGSTOP);
        for (name, _) in &calls {
            for n in 0..3 {
                let user = format!("{name}{round}{n}");
                udp.send_request(&udp.request("MESSAGE", &format!("sip:{user}@example.test")));
                let request = tcp.request("MESSAGE", &format!("sip:{user}t@example.test"));
                tcp.send(request.text());
            }
        }
        eventually("operations of every kind are in flight", SECOND * 3, || {
            seen = in_flight(&server);
            ["dns", "exec", "http", "mysql", "radius", "sleep", "sqlite"].iter().all(|k| seen.iter().any(|s| s == k))
        });
        assert_eq!(process::threads(worker), 1);
        radius.signal(Signal::SIGCONT);
        names.signal(Signal::SIGCONT);
        for from in ["udp", "tcp"] {
            let mut answers = 0;
            while answers < calls.len() * 3 {
                let message = if from == "udp" { udp.recv(SECOND * 15) } else { tcp.recv(SECOND * 15) };
                let message = message.unwrap_or_else(|| panic!("{answers} answers over {from}"));
                if message.status() >= 200 {
                    assert_eq!(message.status(), 200, "{}", server.log());
                    answers += 1;
                }
            }
        }
        for (name, _) in &bad {
            let request = udp.request("MESSAGE", &format!("sip:{name}@example.test"));
            assert_eq!(udp.ask(&request).status(), 500, "{name}");
        }
        for user in ["relay", "named"] {
            let call = udp.invite(&format!("sip:{user}@example.test"));
            udp.send_request(&call);
            let answer = udp.expect("an answer", SECOND * 5, |m| m.status() >= 200 && m.method() == "INVITE");
            assert_eq!(answer.status(), 200, "{user}");
            udp.send_request(&call.ack(&answer));
        }
        assert_eq!(tcp.options().status(), 200);
    }
    // Idle connections, timers and the control socket go on a little.
    std::thread::sleep(Duration::from_millis(1500));
    server.ctl("stats", Value::Null);
    let trace = tracer.end();
    let found = judge(&trace, known);
    if !found.wrong.is_empty()
        && let Some(path) = std::env::var_os("TRACE_TO")
    {
        fs::write(path, &trace).expect("the trace kept");
    }
    println!("{:?}", found.calls);
    println!("{} children started, the longest start {:.1} ms (traced)", found.started, found.longest_start * 1000.0);
    let wrong: Vec<String> = found.wrong.iter().map(|(call, n)| format!("{n} x {call}")).collect();
    assert!(wrong.is_empty(), "calls that may wait:\n{}", wrong.join("\n"));
    assert_eq!(found.started, 12 + 4, "a child for each exec");
    let waits: usize = ["epoll_wait", "epoll_pwait"].iter().filter_map(|n| found.calls.get(*n)).sum();
    assert!(waits > 50, "the loop was traced: {waits}");
}

/// Lists in files are read again, as operators and scripts order it, and a worker opens none of them.
pub fn no_list_is_read() {
    let dir = process::directory("lists");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a list");
    write("dispatcher.list", "1 sip:127.0.0.1:9\n");
    write("addresses", "1 127.0.0.1\n");
    write("calls.deny", "ALL : \"^sip:00\"\n");
    let port = crate::support::free_port();
    let config = format!(
        r#"#!KAMAILIO
debug=3
overload_age=0
listen=udp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "dispatcher.so"
loadmodule "permissions.so"
modparam("dispatcher", "list_file", "{dir}/dispatcher.list")
modparam("permissions", "address_file", "{dir}/addresses")
request_route {{
    if ($rU == "reload") ds_reload();
    else if (allow_source_address() && allow_routing("{dir}/calls")) ds_select_dst("1", "4");
    sl_send_reply("200", "$rc");
}}
"#,
        dir = dir.path().display()
    );
    let server = Reprise::start(&config, &["-n", "1"]);
    let ps = server.ctl("ps", Value::Null);
    let worker = ps.as_array().unwrap().iter().find(|p| p["kind"] == "worker").unwrap()["pid"].as_i64().unwrap();
    let worker = i32::try_from(worker).unwrap();
    let client = SipClient::new(port);
    assert_eq!(client.options("sip:bob@example.test").reason(), "1");
    let tracer = Tracer::attach(worker);
    let known = flags(worker);
    write("dispatcher.list", "1 sip:127.0.0.1:9\n1 sip:127.0.0.1:10\n");
    server.ctl("dispatcher.reload", Value::Null);
    server.ctl("permissions.addressReload", Value::Null);
    server.ctl("permissions.rulesReload", Value::Null);
    assert_eq!(client.options("sip:reload@example.test").reason(), "1");
    assert_eq!(client.options("sip:bob@example.test").reason(), "1");
    let found = judge(&tracer.end(), known);
    // The shared store lies in memory.
    let store = in_memory(worker);
    let of_store = |call: &str| {
        let fd = call.split_once('(').and_then(|(_, rest)| rest.split([',', ')']).next()?.trim().parse().ok());
        fd.is_some_and(|fd: i32| store.contains(&fd))
    };
    let wrong = found.wrong.iter().filter(|(call, _)| !of_store(call));
    let wrong: Vec<String> = wrong.map(|(call, n)| format!("{n} x {call}")).collect();
    assert!(wrong.is_empty(), "calls that may wait:\n{}", wrong.join("\n"));
    assert!(!found.calls.keys().any(|name| name.starts_with("open")), "{:?}", found.calls);
    // The list twice, the addresses, and both files of rules.
    assert_eq!(found.started, 5, "a child for each file");
    let shown = server.ctl("dispatcher.list", Value::Null).to_string();
    assert!(shown.contains("sip:127.0.0.1:10"), "{shown}");
}
