//! Script locks: one for all workers, and nobody blocks.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{SECOND, held, listening, serve};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient};
use crate::support::{eventually, process};

/// `sip:NAME-SECONDS@...` holds the lock NAME so long.
fn locking(port: u16) -> String {
    let rest = r#"
route {
    $var(name) = $(rU{s.select,0,-});
    if (!get_dynamic_lock($var(name))) {
        sl_send_reply(500, "No lock");
        exit;
    }
    xlog("enter $var(name) $ci\n");
    sleep($(rU{s.select,1,-}));
    xlog("leave $var(name) $ci\n");
    if (!release_dynamic_lock($var(name)))
        xlog("was not held\n");
    sl_send_reply(200, "OK");
}
"#;
    listening(port, "async_timeout = 60", rest)
}

fn ask(client: &SipClient, user: &str) -> Request {
    let request = client.request("OPTIONS", &format!("sip:{user}@example.test"));
    client.send_request(&request);
    request
}

/// What the log says about a lock, by the time of the workers' own stamps: `enter` or `leave`, and who.
fn story(server: &Reprise, name: &str) -> Vec<(String, String)> {
    let log = server.log();
    let mut lines: Vec<&str> = log.lines().filter(|l| l.contains(&format!(" {name} call-"))).collect();
    lines.sort_unstable();
    let words = |l: &str| -> (String, String) {
        let all: Vec<&str> = l.split_whitespace().collect();
        (all[all.len() - 3].to_owned(), all[all.len() - 1].to_owned())
    };
    lines.into_iter().map(words).collect()
}

/// The Call-IDs of the runs that wait in a worker, by what they wait for.
fn waiting(server: &Reprise, worker: usize, kind: &str) -> Vec<String> {
    let waits = server.ctl("waits", Value::Null);
    let of = |w: &&Value| w["kind"] == kind && w["id"].as_str().unwrap().starts_with(&format!("{worker}."));
    waits.as_array().unwrap().iter().filter(of).map(|w| w["call_id"].as_str().unwrap().to_owned()).collect()
}

fn pid_of(server: &Reprise, worker: usize) -> i32 {
    let ps = server.ctl("ps", Value::Null);
    let row = ps.as_array().unwrap().iter().find(|p| p["index"] == worker).unwrap();
    row["pid"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap()
}

#[test]
fn one_run_of_all_workers_holds_a_lock() {
    let (server, port) = serve(locking, &["-n", "2"]);
    let client = SipClient::new(port);
    let requests: Vec<Request> = (0..12).map(|_| ask(&client, "shared-0")).collect();
    let slow: Vec<Request> = (0..4).map(|_| ask(&client, "slow-1")).collect();
    eventually("they wait for locks in both workers", SECOND * 20, || {
        (0..2).any(|w| !waiting(&server, w, "lock").is_empty()) || story(&server, "slow").len() > 4
    });
    for _ in requests.iter().chain(&slow) {
        assert_eq!(client.expect("an answer", SECOND * 30, |m| m.status() >= 200).status(), 200);
    }
    for (name, count) in [("shared", 12), ("slow", 4)] {
        eventually("all have left", SECOND * 10, || story(&server, name).len() == 2 * count);
        let story = story(&server, name);
        for pair in story.chunks(2) {
            assert_eq!((pair[0].0.as_str(), pair[1].0.as_str()), ("enter", "leave"), "{story:#?}");
            assert_eq!(pair[0].1, pair[1].1, "{story:#?}");
        }
    }
    assert_eq!(server.log_count("was not held"), 0);
    assert_eq!(held(&server, "locks"), 0);
}

#[test]
fn the_dead_hold_no_lock_and_the_living_keep_theirs() {
    let (server, port) = serve(locking, &["-n", "2"]);
    let client = SipClient::new(port);
    let names: Vec<String> = (0..12).map(|i| format!("lock{i}")).collect();
    let holders: Vec<Request> = names.iter().map(|n| ask(&client, &format!("{n}-8"))).collect();
    eventually("all hold their locks", SECOND * 4, || held(&server, "operations") == 12);
    let waiters: Vec<Request> = names.iter().map(|n| ask(&client, &format!("{n}-0"))).collect();
    eventually("all others wait", SECOND * 4, || {
        (0..2).map(|w| waiting(&server, w, "lock").len()).sum::<usize>() == 12
    });
    // Each worker has some of the holders and some of the waiters, and decides about some of the locks.
    let dead: Vec<String> = [waiting(&server, 0, "sleep"), waiting(&server, 0, "lock")].concat();
    assert!(process::signal(pid_of(&server, 0), Signal::SIGKILL));
    let alive = |r: &&Request| !dead.contains(&r.call_id);
    let expected = holders.iter().chain(&waiters).filter(alive).count();
    for _ in 0..expected {
        assert_eq!(client.expect("an answer", SECOND * 30, |m| m.status() >= 200).status(), 200);
    }
    for ((name, holder), waiter) in names.iter().zip(&holders).zip(&waiters) {
        if dead.contains(&waiter.call_id) {
            continue;
        }
        // An answer may come before the line that was written earlier.
        let entry = ("enter".to_string(), waiter.call_id.clone());
        eventually("the waiter's line is in the log", SECOND * 10, || story(&server, name).contains(&entry));
        let story = story(&server, name);
        let at = |word: &str, r: &Request| story.iter().position(|(w, c)| w == word && *c == r.call_id);
        let entered = at("enter", waiter).unwrap_or_else(|| panic!("{name}: {story:?}"));
        match at("leave", holder) {
            Some(left) => assert!(left < entered, "{name}: {story:?}"),
            None => assert!(dead.contains(&holder.call_id), "{name}: {story:?}"),
        }
    }
    // Locks of a worker that died before are free for whoever comes.
    let after: Vec<Request> = names.iter().map(|n| ask(&client, &format!("{n}-0"))).collect();
    for request in &after {
        let done = client.expect("an answer", SECOND * 30, |m| m.status() >= 200);
        assert_eq!(done.status(), 200, "{}", request.call_id);
    }
    eventually("nothing is held", SECOND * 10, || held(&server, "locks") == 0);
}

#[test]
fn who_waits_too_long_or_is_given_up_holds_nothing() {
    let short = |port| locking(port).replace("async_timeout = 60", "async_timeout = 1");
    let (server, port) = serve(short, &["-n", "2"]);
    let client = SipClient::new(port);
    let holder = ask(&client, "one-5");
    eventually("it is held", SECOND * 5, || held(&server, "operations") == 1);
    for _ in 0..6 {
        ask(&client, "one-0");
    }
    for _ in 0..6 {
        assert_eq!(client.expect("an answer", SECOND * 20, |m| m.status() >= 200).status(), 500);
    }
    let last = client.finish(&holder, SECOND * 20);
    assert_eq!(last.last().unwrap().status(), 200);
    assert_eq!(client.options("sip:one-0@example.test").status(), 200);
    assert_eq!(held(&server, "locks"), 0);
}
