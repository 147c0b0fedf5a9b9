//! The harness around the server, tried on a stand-in: a program of this file that reports READY,
//! writes log lines, answers control requests and has a child.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::reprise::{Finished, Reprise, run};
use crate::support::{Busy, eventually, exclusive, process};

const SECOND: Duration = Duration::from_secs(1);

/// What the stand-in does; started by the tests below through a shell script.
#[test]
#[ignore = "the stand-in server itself"]
fn stand_in() {
    match std::env::var("STAND_IN_ROLE").as_deref() {
        Ok("worker") => std::thread::sleep(SECOND * 600),
        Ok("main") => stand_in_main(),
        _ => {}
    }
}

fn stand_in_main() {
    let arguments = std::env::var("STAND_IN_ARGUMENTS").unwrap();
    let config = arguments.split(' ').skip_while(|a| *a != "-f").nth(1).unwrap().to_owned();
    let text = fs::read_to_string(config).unwrap();
    eprintln!("arguments: {arguments}");
    if text.contains("broken") {
        eprintln!("reprise.cfg:1:1: broken");
        std::process::exit(1);
    }
    let exe = std::env::current_exe().unwrap();
    let args = ["--exact", "harness::stand_in", "--ignored", "--nocapture"];
    let mut worker = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(exe)
        .args(args)
        .env("STAND_IN_ROLE", "worker")
        .spawn()
        .unwrap();
    let control = text.split('"').nth(1).unwrap();
    let listener = UnixListener::bind(control).unwrap();
    let notify = UnixDatagram::unbound().unwrap();
    notify.send_to(b"STATUS=nearly", std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
    notify.send_to(b"READY=1\nSTATUS=2 workers", std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        let request: Value = serde_json::from_str(&line).unwrap();
        eprintln!("method {}", request["method"]);
        let answer = match request["method"].as_str().unwrap() {
            "exit" => {
                let _ = worker.kill();
                let _ = worker.wait();
                std::process::exit(3)
            }
            "fail" => json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "no" } }),
            _ => json!({ "jsonrpc": "2.0", "id": 1, "result": { "params": request["params"] } }),
        };
        stream.write_all(answer.to_string().as_bytes()).unwrap();
    }
}

fn start(config: &str) -> Result<Reprise, Finished> {
    let dir = process::directory("stand-in");
    let script: PathBuf = dir.path().join("server");
    let exe = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nSTAND_IN_ARGUMENTS=\"$*\" exec {} --exact harness::stand_in --ignored --nocapture\n",
        exe.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    Reprise::launch(&script, config, &["-n", "2"], &[("STAND_IN_ROLE", "main")])
}

#[test]
fn server_is_started_watched_and_ended() {
    let mut server = start("route { exit; }").unwrap();
    let line = server.wait_log("arguments: .* -n 2$", SECOND * 5);
    assert!(line.contains("-f ") && line.contains(" -E "), "{line}");
    let config = fs::read_to_string(&server.config).unwrap();
    assert!(config.starts_with("route { exit; }\ncontrol_socket = \""), "{config}");

    assert_eq!(server.ctl("ps", json!(["a", 1])), json!({ "params": ["a", 1] }));
    assert_eq!(server.ctl("ps", Value::Null), json!({ "params": null }));
    assert_eq!(server.try_ctl("fail", Value::Null).unwrap_err()["code"], -32601);
    let mark = server.log_mark();
    server.ctl("again", Value::Null);
    server.wait_log_after(mark, "method .again", SECOND);
    assert_eq!(server.log_count("^method"), 4);

    eventually("the worker runs", SECOND * 5, || server.worker_pids().len() == 1);
    let worker = server.worker_pids()[0];
    assert_eq!(server.children(), [worker]);
    assert!(server.threads(worker) >= 1 && server.fd_count(worker) >= 3 && server.rss() > 0);
    assert!(server.is_running());
    assert_eq!(server.term(), 128 + 15);
    assert!(!server.is_running());
    drop(server);
    eventually("the worker ended too", SECOND * 5, || !process::alive(worker));
}

#[test]
fn exit_status_and_late_log_are_kept() {
    let mut server = start("route { exit; }").unwrap();
    server.try_ctl("exit", Value::Null).unwrap_err();
    assert_eq!(server.wait_exit(SECOND * 5), 3);
    assert!(server.log().contains("method \"exit\""));
}

#[test]
fn a_server_that_does_not_start_is_an_error_with_its_log() {
    let failed = start("broken").map(drop).unwrap_err();
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("reprise.cfg:1:1: broken"), "{}", failed.stderr);
}

#[test]
fn a_run_to_the_end_is_bounded_and_collected() {
    let help = run(&["-h"], SECOND * 20);
    assert!(Path::new(env!("CARGO_BIN_EXE_reprise")).exists(), "{help:?}");
}

#[test]
fn exclusive_waits_for_running_servers_and_keeps_others_out() {
    let busy = Busy::enter();
    let start = Instant::now();
    let waiter = std::thread::spawn(|| {
        let alone = exclusive();
        let _own = Busy::enter();
        let at = Instant::now();
        std::thread::sleep(SECOND / 5);
        drop(alone);
        at
    });
    std::thread::sleep(SECOND / 5);
    // Another server of the same test does not wait for who waits for the test.
    drop(Busy::enter());
    drop(busy);
    // A moment for the waiter to get its turn before this thread asks again.
    std::thread::sleep(SECOND / 20);
    let after = std::thread::spawn(|| {
        let _busy = Busy::enter();
        Instant::now()
    })
    .join()
    .unwrap();
    let at = waiter.join().unwrap();
    assert!(at.duration_since(start) >= SECOND / 5);
    assert!(after > at, "nobody starts a server meanwhile");
}
