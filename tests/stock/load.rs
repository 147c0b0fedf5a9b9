//! SIPp registers users and calls them, with the file as it is.

use std::fs;

use crate::SECOND;
use crate::on_both;
use crate::server::{Kind, Stock, plain};
use crate::support::process;
use crate::support::sipp::Sipp;

on_both! {
    sipp_registers_and_calls
    sipp_calls_over_tcp
    sipp_cancels
    sipp_is_refused
}

/// SIPp's path of a scenario of this folder.
fn scenario(name: &str) -> String {
    format!("{}/tests/stock/sipp/{name}.xml", env!("CARGO_MANIFEST_DIR"))
}

/// Registers `users` users whose calls go to `contact`.
fn register(server: &Stock, users: usize, contact: &str, transport: &[&str]) {
    let dir = process::directory("users");
    let file = dir.path().join("users.csv");
    let lines: String = (0..users).map(|n| format!("user{n};\n")).collect();
    fs::write(&file, format!("SEQUENTIAL\n{lines}")).unwrap();
    let file = file.display().to_string();
    let mut args = vec!["-inf", file.as_str(), "-key", "contact", contact];
    args.extend_from_slice(transport);
    let done = Sipp::uac(&scenario("register"), server.addr(), users as u64, 200, &args).wait(SECOND * 60);
    done.assert_all(users as u64);
}

fn calls(server: &Stock, users: usize, calls: u64, transport: &[&str]) {
    let dir = process::directory("users");
    let file = dir.path().join("users.csv");
    let lines: String = (0..users).map(|n| format!("user{n};\n")).collect();
    fs::write(&file, format!("SEQUENTIAL\n{lines}")).unwrap();
    let file = file.display().to_string();
    let mut args = vec!["-inf", file.as_str()];
    args.extend_from_slice(transport);
    let done = Sipp::uac(&scenario("call"), server.addr(), calls, 50, &args).wait(SECOND * 90);
    done.assert_all(calls);
}

fn sipp_registers_and_calls(kind: Kind) {
    let server = plain(kind);
    let callee = Sipp::uas("uas-invite", &[]);
    register(&server, 100, &callee.addr.to_string(), &[]);
    calls(&server, 100, 300, &[]);
    let answered = callee.stop();
    assert_eq!((answered.succeeded, answered.failed), (300, 0), "{answered:?}");
}

fn sipp_calls_over_tcp(kind: Kind) {
    let server = plain(kind);
    let callee = Sipp::uas("uas-invite", &["-t", "t1"]);
    let contact = format!("{};transport=tcp", callee.addr);
    register(&server, 20, &contact, &["-t", "t1"]);
    calls(&server, 20, 100, &["-t", "t1"]);
    let answered = callee.stop();
    assert_eq!((answered.succeeded, answered.failed), (100, 0), "{answered:?}");
}

fn sipp_cancels(kind: Kind) {
    let server = plain(kind);
    let callee = Sipp::uas("uas-cancel", &[]);
    register(&server, 1, &callee.addr.to_string(), &[]);
    let args = ["-s", "user0"];
    Sipp::uac("uac-cancel", server.addr(), 50, 25, &args).wait(SECOND * 60).assert_all(50);
    let answered = callee.stop();
    assert_eq!((answered.succeeded, answered.failed), (50, 0), "{answered:?}");
}

fn sipp_is_refused(kind: Kind) {
    let server = plain(kind);
    let callee = Sipp::uas("uas-refuse code=486", &[]);
    register(&server, 1, &callee.addr.to_string(), &[]);
    Sipp::uac("uac-refused code=486", server.addr(), 50, 25, &["-s", "user0"]).wait(SECOND * 60).assert_all(50);
    assert_eq!(callee.stop().failed, 0);
}
