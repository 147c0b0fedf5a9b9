//! What a newcomer meets first: `reprise demo`, the default configuration and its demonstration database, the
//! examples, and every piece of script in the documentation.

use crate::support::reprise::{BINARY, Reprise, run};
use crate::support::{Busy, process};
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn demo_shows_the_point_and_ends() {
    let _busy = Busy::enter();
    let begin = Instant::now();
    let demo = run(&["demo"], SECOND * 30);
    assert_eq!(demo.code, 0, "{}\n{}", demo.stdout, demo.stderr);
    assert!(begin.elapsed() < SECOND * 10);
    for part in [
        "has 1 thread.",
        "MESSAGE sip:web",
        "resumed after 7",
        "with rc 1: done by a shell",
        "with rc -3: timeout in phase wait",
        "answered 504 Server Time-out",
        "OPTIONS went through the same worker meanwhile",
    ] {
        assert!(demo.stdout.contains(part), "{part} is missing in\n{}", demo.stdout);
    }
    let waits = demo.stdout.lines().filter(|l| l.contains(" line ") && l.contains("@demo")).count();
    assert_eq!(waits, 5, "{}", demo.stdout);
    assert!(!demo.stdout.contains("lost"), "{}", demo.stdout);
}

/// A configuration of ours on another port, in a directory of the test's own.
fn server_of(file: &str) -> (Reprise, u16) {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(root().join(file)).unwrap();
    assert!(text.contains("socket = udp:127.0.0.1:5060"));
    // The harness sets a control socket of its own.
    let text: Vec<&str> = text.lines().filter(|l| !l.contains("control_socket")).collect();
    let text = text.join("\n").replace("udp:127.0.0.1:5060", &format!("udp:127.0.0.1:{port}"));
    (Reprise::start(&text, &["-n", "2"]), port)
}

fn default_server() -> (Reprise, u16) {
    server_of("conf/reprise.cfg")
}

/// The status lines of the replies to a request, up to the first final one.
fn ask(port: u16, method: &str, from: &str, to: &str) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SECOND * 5)).unwrap();
    let own = socket.local_addr().unwrap();
    let request = format!(
        "{method} sip:{to}@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bK{from}{to}{method}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}@localhost>;tag=1\r\nTo: <sip:{to}@127.0.0.1>\r\n\
         Call-ID: {from}-{to}-{method}\r\nCSeq: 1 {method}\r\nContact: <sip:{from}@{own}>\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), ("127.0.0.1", port)).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{method} {from} {to}: {e}, seen {seen:?}"));
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let line = text.lines().next().unwrap_or_default().to_string();
        let provisional = line.starts_with("SIP/2.0 1");
        seen.push(line);
        if !provisional {
            return seen;
        }
    }
}

#[test]
fn default_configuration_serves() {
    let (mut server, port) = default_server();
    server.wait_log("made .*reprise.sqlite with demonstration data", SECOND);
    let last = |method, from, to| ask(port, method, from, to).pop().unwrap();
    assert_eq!(ask(port, "OPTIONS", "alice", "x"), ["SIP/2.0 200 OK"]);
    assert_eq!(last("REGISTER", "alice", "alice"), "SIP/2.0 405 Method Not Allowed");
    assert_eq!(last("INVITE", "carol", "0301"), "SIP/2.0 402 Payment Required");
    assert_eq!(last("INVITE", "dave", "0301"), "SIP/2.0 403 No Such Account");
    assert_eq!(last("INVITE", "d'ave", "0301"), "SIP/2.0 403 Who Are You");
    assert_eq!(last("INVITE", "alice", "anna"), "SIP/2.0 404 Not a Number");
    assert_eq!(ask(port, "INVITE", "alice", "99"), ["SIP/2.0 100 Giving it a try", "SIP/2.0 404 No Route"]);
    assert_eq!(server.term(), 0);
    // The second start finds the file of the first.
    assert!(server.dir().join("reprise.sqlite").exists());
}

#[test]
fn default_configuration_carries_a_call() {
    let (server, port) = default_server();
    // The route of prefix 00 leads to 127.0.0.1:5081; here it is led to a socket of our own.
    let callee = UdpSocket::bind("127.0.0.1:0").unwrap();
    callee.set_read_timeout(Some(SECOND * 5)).unwrap();
    let own = callee.local_addr().unwrap();
    let db = rusqlite::Connection::open(server.dir().join("reprise.sqlite")).unwrap();
    db.execute("UPDATE routes SET destination = ? WHERE prefix = '00'", [format!("sip:{own}")]).unwrap();
    let answers = std::thread::spawn(move || ask(port, "INVITE", "alice", "00441"));
    let mut buffer = [0; 4096];
    let (n, from) = callee.recv_from(&mut buffer).unwrap();
    let invite = String::from_utf8_lossy(&buffer[..n]).into_owned();
    assert!(invite.starts_with("INVITE sip:00441@127.0.0.1") && invite.contains("\r\nRecord-Route: "), "{invite}");
    let mut reply = String::from("SIP/2.0 486 Busy Here\r\n");
    for line in
        invite.lines().filter(|l| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|h| l.starts_with(h)))
    {
        let tag = if line.starts_with("To:") { ";tag=2" } else { "" };
        reply.push_str(&format!("{line}{tag}\r\n"));
    }
    reply.push_str("Content-Length: 0\r\n\r\n");
    callee.send_to(reply.as_bytes(), from).unwrap();
    assert_eq!(answers.join().unwrap().pop().unwrap(), "SIP/2.0 486 Busy Here");
    assert!(server.log_count("call of alice to 00441 goes to sip:") == 1);
}

#[test]
fn every_way_to_wait_works_in_its_example() {
    let (server, port) = server_of("conf/examples/waits.cfg");
    let last = |to| ask(port, "MESSAGE", "alice", to).pop().unwrap();
    assert_eq!(last("sleep"), "SIP/2.0 200 Slept");
    assert_eq!(last("credit"), "SIP/2.0 200 rc 1 credit 100");
    assert!(last("command").starts_with("SIP/2.0 200 "));
    // Whether or not somebody serves the web here.
    assert!(["SIP/2.0 200 ", "SIP/2.0 504 "].contains(&&last("web")[..12]));
    assert_eq!(last("both"), "SIP/2.0 200 0 failed, credit 100");
    assert_eq!(last("later"), "SIP/2.0 202 Accepted");
    server.wait_log("logger ended with -?1 for Call-ID alice-later-MESSAGE", SECOND * 5);
    assert_eq!(last("loop"), "SIP/2.0 200 3 times");
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect::<Vec<_>>()).unwrap_or_default();
    let mut found: Vec<PathBuf> =
        entries.into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

#[test]
fn shipped_configurations_are_good() {
    let mut all = files(&root().join("conf"), "cfg");
    all.extend(files(&root().join("conf/examples"), "cfg"));
    assert!(all.len() > 3, "{all:?}");
    for file in all {
        let checked = run(&["-c", "-f", &file.to_string_lossy()], SECOND * 20);
        assert_eq!((checked.code, checked.stderr.as_str()), (0, "the configuration is good\n"), "{}", file.display());
    }
}

/// What pieces of script in the documentation may take for granted.
const PREAMBLE: &str = "\
loadmodule \"sl.so\"\nloadmodule \"tm.so\"\nloadmodule \"rr.so\"\nloadmodule \"maxfwd.so\"\nloadmodule \"signaling.so\"\n\
loadmodule \"sipmsgops.so\"\nloadmodule \"textops.so\"\nloadmodule \"cfgutils.so\"\nloadmodule \"avpops.so\"\n\
loadmodule \"sqlops.so\"\nloadmodule \"exec.so\"\nloadmodule \"rest_client.so\"\n\
modparam(\"sqlops|avpops\", \"db_url\", \"sqlite:///var/lib/x\")\n";

/// The pieces of script in a page: fenced by ```opensips.
fn scripts(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in page.lines() {
        match &mut inside {
            None if line.trim() == "```opensips" => inside = Some(String::new()),
            Some(_) if line.trim() == "```" => found.extend(inside.take()),
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    found
}

#[test]
fn scripts_in_the_documentation_are_good() {
    let dir = process::directory("docs");
    let mut pages = files(root(), "md");
    pages.extend(files(&root().join("docs"), "md"));
    let mut count = 0;
    for page in pages {
        for script in scripts(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            let file = dir.path().join(format!("{count}.cfg"));
            let whole = if script.contains("loadmodule") { script } else { format!("{PREAMBLE}{script}") };
            fs::write(&file, &whole).unwrap();
            let checked = run(&["-c", "-f", &file.to_string_lossy()], SECOND * 20);
            assert_eq!(checked.code, 0, "{}:\n{whole}\n{}", page.display(), checked.stderr);
        }
    }
    assert!(count >= 7, "{count} scripts found");
    assert!(Path::new(BINARY).exists());
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn documentation_names_what_there_is() {
    let configuration = page("docs/configuration.md");
    let params = page("src/script/parse/opensips/params.rs");
    let named = params.lines().filter_map(|l| {
        let l = l.trim_start();
        ["on(\"", "old(\"", "ignored(\""].iter().find_map(|p| l.strip_prefix(p))?.split('"').next()
    });
    assert!(named.clone().count() > 100);
    for name in named {
        assert!(configuration.contains(&format!("`{name}`")), "core parameter {name}");
    }
    let operating = page("docs/operating.md");
    for c in reprise::store::counters::ALL {
        let group = format!("| `{}:` |", c.group());
        let line = operating.lines().find(|l| l.starts_with(&group)).unwrap_or_default();
        assert!(line.contains(&format!("`{}`", c.name())), "counter {c}");
    }
    let architecture = page("docs/architecture.md");
    let cargo = page("Cargo.toml");
    let dependencies = cargo.split("[dependencies]\n").nth(1).unwrap().split("\n[lints").next().unwrap();
    for name in dependencies.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name) {
        assert!(architecture.contains(&format!("`{name}`")), "crate {name}");
    }
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    let mut pages = files(root(), "md");
    pages.extend(files(&root().join("docs"), "md"));
    for file in pages {
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.starts_with("http") {
                continue;
            }
            let to = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(to.exists(), "{}: {target}", file.display());
            if !anchor.is_empty() {
                let wanted = |line: &str| {
                    let title = line.trim_start_matches('#').trim().to_lowercase();
                    let kept: String =
                        title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect();
                    line.starts_with('#') && kept.replace(' ', "-") == anchor
                };
                assert!(fs::read_to_string(&to).unwrap().lines().any(wanted), "{}: {target}", file.display());
            }
        }
    }
}
