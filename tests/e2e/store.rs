//! What all processes share: seen by every worker, kept when one dies, gone with the server.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{SECOND, listening, serve};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, process};

fn counting(port: u16) -> String {
    let rest = r#"
modparam("cfgutils", "shvset", "n=i:1000")
modparam("cfgutils", "shvset", "word=s:first")
route {
    if ($rU == "up") {
        get_dynamic_lock("n");
        $shv(n) = $shv(n) + 1;
        release_dynamic_lock("n");
    } else if ($rU == "word") {
        $shv(word) = $hdr(X-Word);
    }
    sl_send_reply(200, "$shv(n) $shv(word) $shv(never)");
}
"#;
    listening(port, "", rest)
}

/// The store's directory, by the name of main.
fn home(server: &Reprise) -> Vec<std::path::PathBuf> {
    let ours = format!("reprise-store-{}-", server.pid);
    let all = fs::read_dir("/dev/shm").unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&ours)).collect()
}

#[test]
fn what_one_worker_sets_the_others_see_and_its_death_loses_nothing() {
    let (mut server, port) = serve(counting, &["-n", "3"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@example.test")).reason().to_owned();
    assert_eq!(ask("look"), "1000 first 0");
    for n in 1..=60 {
        assert_eq!(ask("up"), format!("{} first 0", 1000 + n), "whichever worker is asked");
    }
    let set = client.request("OPTIONS", "sip:word@example.test").header("X-Word: second");
    assert_eq!(client.ask(&set).reason(), "1060 second 0");
    let workers = server.worker_pids();
    assert_eq!(workers.len(), 3);
    for (n, worker) in workers.iter().enumerate() {
        assert!(process::signal(*worker, Signal::SIGKILL));
        eventually("it is replaced", SECOND * 10, || {
            let ps = server.ctl("ps", Value::Null);
            let running = |p: &&Value| p["kind"] == "worker" && p["state"] == "running" && p["pid"] != *worker;
            ps.as_array().unwrap().iter().filter(running).count() == 3
        });
        for _ in 0..10 {
            assert_eq!(ask("look"), format!("{} second 0", 1060 + n));
        }
        assert_eq!(ask("up"), format!("{} second 0", 1061 + n));
    }
    let dir = home(&server);
    assert_eq!(dir.len(), 1);
    assert_eq!(server.term(), 0);
    assert!(!dir[0].exists());
}
