//! Commands in numbers and commands that misbehave: a thousand at once, stopped ones, those that leave their group,
//! hostile text in a command line, and what is left of it all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::common::{Footprint, address, stat, wait_quiet};
use crate::support::probe::Probe;
use crate::support::reprise::{BINARY, Reprise};
use crate::support::sip::{Request, SipClient};
use crate::support::{eventually, free_port, process};
use crate::waits_common::{SECOND, Site, head, ms, site, timed};

fn zombies(site: &Site) -> usize {
    site.server.tree().into_iter().map(|p| process::zombies(p).len()).sum()
}

/// Processes of the server whose command line contains this.
fn running(site: &Site, text: &str) -> Vec<i32> {
    let line = |p: &i32| std::fs::read(format!("/proc/{p}/cmdline")).unwrap_or_default();
    site.server
        .tree()
        .into_iter()
        .filter(|p| String::from_utf8_lossy(&line(p)).replace('\0', " ").contains(text))
        .collect()
}

/// Sends requests and gathers the reason phrases of their final answers; what is not answered in a while is sent
/// again, as anybody would.
fn gather(client: &SipClient, requests: &[Request], timeout: Duration) -> HashMap<String, String> {
    let end = Instant::now() + timeout;
    let mut answers: HashMap<String, String> = HashMap::new();
    while answers.len() < requests.len() {
        assert!(Instant::now() < end, "{} of {} answers", answers.len(), requests.len());
        for request in requests.iter().filter(|r| !answers.contains_key(&r.call_id)) {
            client.send_request(request);
        }
        let again = Instant::now() + SECOND * 4;
        while answers.len() < requests.len() {
            let Some(m) = client.recv(again.saturating_duration_since(Instant::now())) else { break };
            if m.status() >= 200 {
                let (id, reason) = (m.call_id().to_owned(), m.reason().to_owned());
                let before = answers.insert(id.clone(), reason.clone());
                assert!(before.is_none_or(|b| b == reason), "{id} was answered in two ways");
            }
        }
    }
    answers
}

/// Commands that read from it wait until it is opened.
struct Gate {
    dir: TempDir,
}

impl Gate {
    fn new() -> Gate {
        let dir = process::directory("gate");
        nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
        Gate { dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("fifo").display().to_string()
    }

    /// Lets through who waits, again and again until `over`: others may come later.
    fn open_until(&self, over: impl Fn() -> bool) {
        while !over() {
            // Without a reader this is refused.
            drop(nix::fcntl::open(self.path().as_str(), OFlag::O_WRONLY | OFlag::O_NONBLOCK, Mode::empty()));
            std::thread::sleep(ms(10));
        }
    }
}

#[test]
fn a_thousand_children_at_once() {
    let gate = Gate::new();
    let script = r#"
        async_timeout = 120
        backend_queue_size = 2000
        modparam("exec", "max_children", 1000)
        modparam("tm", "wt_timer", 1)
        route {
            if ($rU == "probe") { sl_send_reply(200, "OK"); exit; }
            $avp(in) = $rU;
            async(exec("read x; read y < GATE; echo $$x; exit 7", $avp(in), $avp(o), $avp(e)), after);
        }
        route[after] { sl_send_reply(200, "$rc $exec_status $avp(o)"); }
    "#;
    let site = site(&["exec"], &script.replace("GATE", &gate.path()));
    let client = site.client();
    let requests = |n: usize| -> Vec<_> {
        (0..n).map(|i| client.request("OPTIONS", &format!("sip:n{i}@127.0.0.1:{}", site.port))).collect()
    };
    // Once through, so that all is there that stays.
    let few = requests(10);
    std::thread::scope(|scope| {
        let answered = scope.spawn(|| gather(&client, &few, SECOND * 20));
        gate.open_until(|| answered.is_finished());
    });
    wait_quiet(&site.server, SECOND * 10);
    let before = Footprint::of(&site.server);
    let worker = site.server.worker_pids()[0];

    let probe = Probe::start(address(site.port), 50);
    // 200 more than may run at a time.
    let requests = requests(1200);
    let answers = std::thread::scope(|scope| {
        let answers = scope.spawn(|| gather(&client, &requests, SECOND * 90));
        eventually("a thousand children and a queue", SECOND * 60, || {
            stat(&site.server, "async:waits") == 1200 && process::children(worker).len() == 1000
        });
        let open = site.server.fd_count(worker);
        println!("1000 children: {open} open files, {} before", before.fds[0]);
        assert!(open >= before.fds[0] + 2000, "each has its pipes and its pidfd");
        assert_eq!(zombies(&site), 0);
        gate.open_until(|| answers.is_finished());
        answers.join().unwrap()
    });
    for (i, request) in requests.iter().enumerate() {
        assert_eq!(answers[&request.call_id], format!("1 7 n{i}"));
    }
    let stats = probe.stop();
    println!("1000 children: {stats:?}");
    assert_eq!((stats.lost, stats.refused), (0, 0), "{stats:?}");
    eventually("no zombie is left", SECOND * 5, || zombies(&site) == 0);
    before.wait_back(&site.server, SECOND * 20);
}

#[test]
fn one_command_too_many_fails_at_once() {
    let gate = Gate::new();
    let site = site(
        &["exec"],
        &r#"
        backend_queue_size = 2
        modparam("exec", "max_children", 1)
        route {
            exec("read y < GATE; echo $rU", , $avp(o));
            sl_send_reply(200, "$rc $avp(o) $async_err, $async_phase");
        }
        "#
        .replace("GATE", &gate.path()),
    );
    let client = site.client();
    let requests: Vec<_> =
        (0..4).map(|i| client.request("OPTIONS", &format!("sip:n{i}@127.0.0.1:{}", site.port))).collect();
    for (i, request) in requests.iter().enumerate() {
        client.send_request(request);
        if i < 3 {
            eventually("it waits", SECOND * 5, || site.waits() == i + 1);
        }
    }
    let refused = client.finish(&requests[3], SECOND * 2).pop().unwrap();
    assert_eq!(refused.reason(), "-1 <null> overload: too many commands are running and waiting, queue");
    let waits = site.server.ctl("waits", serde_json::Value::Null).to_string();
    assert_eq!(waits.matches("\"queue\"").count(), 2, "{waits}");
    let answers = std::thread::scope(|scope| {
        let answers = scope.spawn(|| gather(&client, &requests[..3], SECOND * 20));
        gate.open_until(|| answers.is_finished());
        answers.join().unwrap()
    });
    for (i, request) in requests[..3].iter().enumerate() {
        assert_eq!(answers[&request.call_id], format!("1 n{i} <null>, <null>"));
    }
    site.assert_idle();
}

#[test]
fn stopped_children_and_those_that_leave_their_group() {
    let site = site(
        &["exec"],
        r#"
        async_timeout = 1
        route {
            switch ($rU) {
                case "stopped": exec("kill -STOP $$$$; echo late", , $avp(o)); $var(rc) = $rc; break;
                case "leaves": exec("setsid sleep 730 & wait", , $avp(o)); $var(rc) = $rc; break;
                case "daemon": exec("setsid sleep 731 & echo started", , $avp(o)); $var(rc) = $rc; break;
                case "long": exec("sleep 732"); $var(rc) = $rc; break;
            }
            sl_send_reply(200, "$var(rc) $avp(o) $async_err");
        }
        "#,
    );
    let client = site.client();
    let uri = |user: &str| format!("sip:{user}@127.0.0.1:{}", site.port);
    let (answer, time) = timed(&client, &client.request("OPTIONS", &uri("stopped")));
    assert_eq!(answer.reason(), "-1 <null> timeout");
    assert!(time >= ms(980) && time < SECOND * 3, "{time:?}");
    assert_eq!(site.show("leaves"), "-1 <null> timeout");
    // A daemon holds the output open: it is not waited for.
    assert_eq!(site.show("daemon"), "1 started <null>");
    site.assert_idle();
    // What has left its group lives on as a child of main, who reaps it.
    for command in ["sleep 730", "sleep 731"] {
        let pid = match running(&site, command)[..] {
            [pid] => pid,
            ref others => panic!("{command}: {others:?}"),
        };
        eventually("it is main's", SECOND * 2, || process::children(site.server.pid).contains(&pid));
        process::signal(pid, Signal::SIGKILL);
        eventually("it is reaped", SECOND * 2, || process::state(pid).is_none());
    }
    // What a dead worker's commands have left is ended by main.
    client.send_request(&client.request("OPTIONS", &uri("long")));
    eventually("it runs", SECOND * 2, || !running(&site, "sleep 732").is_empty());
    process::signal(site.server.worker_pids()[0], Signal::SIGKILL);
    eventually("it was ended", SECOND * 3, || running(&site, "sleep 732").is_empty() && zombies(&site) == 0);
}

#[test]
fn hostile_text_stays_one_word() {
    let site = site(
        &["exec", "sipmsgops"],
        r#"
        route {
            if ($rU == "null") {
                exec("printf '%s,' a $(avp(nothing){s.escape.shell}) $(rU{s.width,0}{s.escape.shell}) b", , $avp(o));
            } else {
                exec("printf '%s,' a $(hdr(X-Text){s.escape.shell}) b", , $avp(o));
            }
            append_to_reply("X-Said: $avp(o)\r\n");
            sl_send_reply(200, "OK");
        }
        "#,
    );
    let client = site.client();
    let said = |user: &str, header: &str| {
        let uri = format!("sip:{user}@127.0.0.1:{}", site.port);
        let answer = client.ask(&client.request("OPTIONS", &uri).header(&format!("X-Text: {header}")));
        answer.header("X-Said").unwrap_or_default().to_owned()
    };
    let mark = site.server.dir().join("injected");
    let touch = format!("touch {}", mark.display());
    for text in [
        "plain".to_owned(),
        format!("'; {touch}; '"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("\" & {touch} & \""),
        format!("a' | {touch} #"),
        "a\\'b\\\\".to_owned(),
        "'".to_owned(),
        "-n --help".to_owned(),
        "*".to_owned(),
        "< /etc/passwd > x".to_owned(),
    ] {
        assert_eq!(said("text", &text), format!("a,{text},b,"));
    }
    assert_eq!(said("null", "x"), "a,,,b,");
    assert!(!mark.exists());
}

#[test]
fn output_is_kept_up_to_the_limit() {
    let site = site(
        &["exec"],
        r#"
        modparam("exec", "max_output", 10)
        route {
            exec("printf 0123456789abc; printf short >&2", , $avp(o), $avp(e));
            sl_send_reply(200, "$rc $avp(o) $avp(e)");
        }
        "#,
    );
    assert_eq!(site.show("any"), "1 0123456789 short");
    site.server.wait_log(r"exec \(.*reprise.cfg:\d+\): the command wrote more than 10 bytes", SECOND);
}

#[test]
fn setvars_gives_values_of_several_lines_and_canonical_names() {
    let site = site(
        &["exec"],
        r#"
        modparam("exec", "setvars", 1)
        route {
            $ru = "sip:changed@example.net";
            exec("echo $$SIP_USER $$SIP_OUSER $$SIP_RURI $$SIP_ORURI $$SIP_TID $$SIP_HF_XLIST $$SIP_HF_X_LIST $$SIP_HF_SUBJECT $$SIP_DID.", , $avp(o));
            sl_send_reply(200, "$avp(o)");
        }
        "#,
    );
    let client = site.client();
    let request = client.request("OPTIONS", &site.uri()).header("X-List: a").header("s: short").header("x-list: b");
    let answer = client.ask(&request);
    let expected = format!("changed bob sip:changed@example.net {} {} a,b a,b short .", site.uri(), request.branch());
    assert_eq!(answer.reason(), expected);
}

/// A program that starts the server within limits, and its directory.
fn limited(by: &str) -> (TempDir, PathBuf) {
    let dir = process::directory("limited");
    let wrapper = dir.path().join("server");
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec {by} {BINARY} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (dir, wrapper)
}

#[test]
fn the_limit_of_open_files_is_raised_to_what_commands_need() {
    let (_dir, wrapper) = limited("prlimit --nofile=200:5000");
    let port = free_port();
    for (children, files) in [(300, "1712"), (2000, "5000")] {
        let script =
            format!("modparam(\"exec\", \"max_children\", {children})\nroute {{ sl_send_reply(200, \"OK\"); }}\n");
        let config = format!("{}{script}", head(port, &["tm", "sl", "exec"]));
        let server = Reprise::launch(&wrapper, &config, &["-n", "1"], &[]).expect("it starts");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.worker_pids()[0])).unwrap();
        let open = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
        assert_eq!(open.split_whitespace().nth(3), Some(files), "{children} commands: {open}");
        assert_eq!(server.log_count("open files are allowed, 8512 may be needed"), usize::from(children == 2000));
    }
}

#[test]
fn processes_that_the_system_does_not_give_are_waited_for() {
    // Root is not held to a number of processes: the server becomes somebody whom nobody else is.
    let port = free_port();
    let script = r#"
        route {
            exec("echo $rU; exec sleep 0.1", , $avp(o));
            sl_send_reply(200, "$rc $avp(o) $async_err");
        }
    "#;
    let config = format!("{}{script}", head(port, &["tm", "sl", "exec"]));
    // Main, the worker, and ten more.
    let (_dir, wrapper) = limited("prlimit --nproc=12");
    let user = (54_000 + port % 1000).to_string();
    let server = Reprise::launch(&wrapper, &config, &["-n", "1", "-u", &user], &[]).expect("it starts");
    let site = Site { server, port };
    let client = site.client();
    let requests: Vec<_> = (0..40).map(|i| client.request("OPTIONS", &format!("sip:n{i}@127.0.0.1:{port}"))).collect();
    let answers = gather(&client, &requests, SECOND * 60);
    for (i, request) in requests.iter().enumerate() {
        assert_eq!(answers[&request.call_id], format!("1 n{i} <null>"));
    }
    site.server.wait_log(r"exec: .* with \d+ commands running: others wait for their end", SECOND);
    site.assert_idle();
}
