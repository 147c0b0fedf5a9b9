//! Workers that hang or keep dying: main notices, names the message, and the others take over.

use std::collections::HashMap;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{SECOND, listening, stat};
use crate::support::reprise::{BINARY, Reprise};
use crate::support::sip::{Request, SipClient};
use crate::support::tcp::TcpSip;
use crate::support::{eventually, free_port, process};

const FAULTS: [(&str, &str); 1] = [("REPRISE_TEST_FAULTS", "1")];

/// A server of which a datagram may ask misbehaviour.
fn faulty(globals: &str, rest: &str, args: &[&str]) -> (Reprise, u16) {
    let port = free_port();
    let config = listening(port, globals, rest);
    (Reprise::launch(Path::new(BINARY), &config, args, &FAULTS).unwrap(), port)
}

const ANSWERING: &str = "route { sl_send_reply(200, \"OK\"); }\n";

/// Process id (0 for none) and incarnation of a worker.
fn worker(server: &Reprise, index: usize) -> (i32, u64) {
    let ps = server.ctl("ps", Value::Null);
    let row = ps.as_array().unwrap().iter().find(|p| p["index"] == index).unwrap();
    (row["pid"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0), row["incarnation"].as_u64().unwrap())
}

/// Kills a worker as often as it takes until its seat stays empty for at least this many seconds.
fn kill_until_vacant(server: &Reprise, index: usize, seconds: u32) {
    let mut life = worker(server, index).1;
    loop {
        eventually("a worker is there", SECOND * 40, || {
            let (pid, now) = worker(server, index);
            pid != 0 && now >= life
        });
        let (pid, now) = worker(server, index);
        life = now + 1;
        let mark = server.log_mark();
        assert!(process::signal(pid, Signal::SIGKILL));
        server.wait_log_after(mark, &format!("worker {index} .* was killed by SIGKILL"), SECOND * 10);
        // Main writes both lines at once.
        eventually("main has decided", SECOND * 10, || {
            worker(server, index).1 == life || server.log_count(&format!("worker {index} keeps dying")) > 0
        });
        if server.log_count(&format!("worker {index} keeps dying: next try in {seconds} s")) > 0 {
            return;
        }
    }
}

#[test]
fn a_worker_that_hangs_is_ended_and_replaced() {
    let (server, port) = faulty("worker_hang_timeout = 2", ANSWERING, &["-n", "1"]);
    let before = worker(&server, 0);
    let client = SipClient::new(port);
    assert_eq!(client.options("sip:before@example.test").status(), 200);
    // Idle is not hanging: the loop turns once a second.
    let request = client.request("OPTIONS", "sip:hang@example.test").header("X-Fault: hang");
    client.send_request(&request);
    server.wait_log(r"worker 0 \(pid \d+\) does not respond since 2 s", SECOND * 30);
    server.wait_log(r"worker 0 hangs over a message of \d+ bytes, hash [0-9a-f]{16}: OPTIONS sip:hang@", SECOND);
    server.wait_log(&format!(r"worker 0 \(pid {}\) was killed by SIGABRT", before.0), SECOND * 10);
    eventually("a new worker is there", SECOND * 10, || worker(&server, 0).1 == 2 && worker(&server, 0).0 != 0);
    let other = SipClient::new(port);
    assert_eq!(other.options("sip:after@example.test").status(), 200);
    assert_eq!(stat(&server, "core:process_restarts"), 1);
}

#[test]
fn a_worker_that_is_stopped_or_idle_is_left_alone() {
    let (server, port) = faulty("worker_hang_timeout = 1", ANSWERING, &["-n", "1"]);
    let before = worker(&server, 0);
    assert!(process::signal(before.0, Signal::SIGSTOP));
    eventually("it is stopped", SECOND * 10, || process::state(before.0) == Some('T'));
    // Longer than the limit; main has looked several times.
    std::thread::sleep(SECOND * 4);
    assert!(process::signal(before.0, Signal::SIGCONT));
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
    std::thread::sleep(SECOND * 4);
    assert_eq!(worker(&server, 0), before);
}

#[test]
fn the_message_that_kills_is_named() {
    let (server, port) = faulty("", ANSWERING, &["-n", "1"]);
    let client = SipClient::new(port);
    for round in 1..=5 {
        eventually("a worker is there", SECOND * 10, || worker(&server, 0).0 != 0 && worker(&server, 0).1 == round);
        client.send_request(&client.request("OPTIONS", "sip:killer@example.test").header("X-Fault: crash"));
        eventually("it has died", SECOND * 10, || worker(&server, 0).1 > round || worker(&server, 0).0 == 0);
    }
    server.wait_log("worker 0 keeps dying: next try in 1 s", SECOND * 10);
    server.wait_log(r"worker 0 died over a message of \d+ bytes, hash [0-9a-f]{16}: OPTIONS sip:killer@", SECOND);
    assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
}

#[test]
fn an_empty_seats_traffic_is_served_by_the_others() {
    let (server, port) = faulty("", ANSWERING, &["-n", "2"]);
    kill_until_vacant(&server, 1, 8);
    server.wait_log("worker 0 reads the sockets of worker 1 meanwhile", SECOND * 10);
    eventually("the other knows", SECOND * 10, || server.ctl("transactions", Value::Null)["0"]["empty_seats"] == 1);
    let mut answered = 0;
    while worker(&server, 1).0 == 0 && answered < 60 {
        // Each has a port and a Call-ID of its own: half of them are the empty seat's either way.
        assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
        answered += 1;
    }
    assert!(answered > 20, "answered while the seat was empty: {answered}");
    // Who takes the seat again gets the traffic back.
    eventually("the seat is taken again", SECOND * 40, || worker(&server, 1).0 != 0);
    eventually("the sockets are given back", SECOND * 10, || {
        server.ctl("transactions", Value::Null)["0"]["empty_seats"] == 0
    });
    let each = |server: &Reprise| {
        let all = server.ctl("stats", serde_json::json!(["core:rcv_requests", "each"]));
        all["core:rcv_requests"]["each"][1].as_u64().unwrap()
    };
    let before = each(&server);
    for _ in 0..40 {
        assert_eq!(SipClient::new(port).options("sip:example.test").status(), 200);
    }
    assert!(each(&server) > before + 5);
    let fds = server.fd_count(worker(&server, 0).0);
    assert!(fds < 40, "{fds}");
}

#[test]
fn connections_to_an_empty_seat_are_accepted_by_the_others() {
    let port = free_port();
    let config = listening(port, &format!("socket=tcp:127.0.0.1:{port}"), ANSWERING);
    let server = Reprise::launch(Path::new(BINARY), &config, &["-n", "2"], &FAULTS).unwrap();
    kill_until_vacant(&server, 1, 8);
    server.wait_log("worker 0 reads the sockets of worker 1 meanwhile", SECOND * 10);
    eventually("the other knows", SECOND * 10, || server.ctl("transactions", Value::Null)["0"]["empty_seats"] == 1);
    let mut clients = Vec::new();
    while worker(&server, 1).0 == 0 && clients.len() < 60 {
        // The kernel gives half of them to the listening socket of the empty seat.
        let client = TcpSip::new(port);
        assert_eq!(client.options().status(), 200);
        clients.push(client);
    }
    assert!(clients.len() > 20, "connected while the seat was empty: {}", clients.len());
    eventually("the seat is taken again", SECOND * 40, || worker(&server, 1).0 != 0);
    eventually("the sockets are given back", SECOND * 10, || {
        server.ctl("transactions", Value::Null)["0"]["empty_seats"] == 0
    });
    // Who accepted them keeps them; new ones are shared again.
    for client in &clients {
        assert_eq!(client.options().status(), 200);
    }
    let accepted = |server: &Reprise| {
        let all = server.ctl("stats", serde_json::json!(["net:tcp_accepts", "each"]));
        all["net:tcp_accepts"]["each"][1].as_u64().unwrap()
    };
    let before = accepted(&server);
    for _ in 0..40 {
        assert_eq!(TcpSip::new(port).options().status(), 200);
    }
    assert!(accepted(&server) > before + 5);
}

#[test]
fn timer_jobs_move_when_their_worker_is_gone() {
    let names: Vec<String> = (0..8).map(|i| format!("job{i}")).collect();
    let routes: String = names
        .iter()
        .map(|n| {
            format!(
                "timer_route[{n}, 1] {{ get_accurate_time($var(s), $var(us)); xlog(\"tick {n} $var(s) $var(us)\\n\"); }}\n"
            )
        })
        .collect();
    let (server, _) = faulty("", &format!("{ANSWERING}{routes}"), &["-n", "2"]);
    let ticks = |name: &str, from: usize| -> Vec<u64> {
        let log = server.log();
        let mine = log.lines().skip(from).filter_map(|l| l.split_once(&format!("tick {name} ")));
        mine.filter_map(|(_, t)| {
            let (s, us) = t.trim().split_once(' ')?;
            Some(s.parse::<u64>().ok()? * 1_000_000 + us.parse::<u64>().ok()?)
        })
        .collect()
    };
    eventually("all have ticked twice", SECOND * 20, || names.iter().all(|n| ticks(n, 0).len() >= 2));
    kill_until_vacant(&server, 0, 4);
    let mark = server.log_mark();
    eventually("all tick with one worker", SECOND * 20, || names.iter().all(|n| ticks(n, mark).len() >= 2));
    assert_eq!(worker(&server, 0).0, 0, "the seat is still empty");
    eventually("the seat is taken again", SECOND * 40, || worker(&server, 0).0 != 0);
    let mark = server.log_mark();
    eventually("all tick with two workers", SECOND * 20, || names.iter().all(|n| ticks(n, mark).len() >= 3));
    // Nobody ticked twice in one of the server's ticks: each is a second away from the next one, give or
    // take what a crowded machine makes late.
    let mut twice = HashMap::new();
    for name in &names {
        let all = ticks(name, 0);
        let first = all[0];
        let mut numbers: Vec<u64> = all.iter().map(|t| (t + 100_000 - first) / 1_000_000).collect();
        let count = numbers.len();
        numbers.dedup();
        // One that came late may share its number with the next.
        if count > numbers.len() + 1 {
            twice.insert(name, all);
        }
    }
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn a_full_bus_drops_and_counts() {
    let (server, port) = faulty("bus_size = 4096", ANSWERING, &["-n", "2"]);
    let stopped = worker(&server, 1).0;
    assert!(process::signal(stopped, Signal::SIGSTOP));
    eventually("the bus is full", SECOND * 30, || {
        // Ports of their own: some of them arrive at the worker that runs.
        let client = SipClient::new(port);
        for _ in 0..50 {
            // The kernel gives them to their owner if it finds the Call-ID: it does not know the short name.
            let text = client.request("OPTIONS", "sip:example.test").text();
            client.send_bytes(text.replace("\r\nCall-ID:", "\r\ni:").as_bytes());
        }
        stat(&server, "bus:full") > 0
    });
    assert!(process::signal(stopped, Signal::SIGCONT));
    // Nothing is stuck: everybody is served again.
    eventually("all is well again", SECOND * 60, || {
        // What the bus cannot take is lost; a real client would repeat it.
        (0..20).all(|_| {
            let client = SipClient::new(port);
            client.send_request(&client.request("OPTIONS", "sip:example.test"));
            client.recv(SECOND).is_some_and(|m| m.status() == 200)
        })
    });
    assert_eq!(worker(&server, 1).0, stopped);
}

#[test]
fn who_does_not_keep_up_refuses_new_requests_for_a_moment() {
    let (server, port) = faulty("overload_age = 250", ANSWERING, &["-n", "1"]);
    let pid = worker(&server, 0).0;
    let client = SipClient::new(port);
    assert!(process::signal(pid, Signal::SIGSTOP));
    eventually("it is stopped", SECOND * 10, || process::state(pid) == Some('T'));
    for _ in 0..60 {
        client.send_request(&client.request("OPTIONS", "sip:example.test"));
    }
    // In a dialog: served in any case.
    let inside = client.request("OPTIONS", "sip:example.test");
    let inside = Request { to: format!("{};tag=x", inside.to), ..inside };
    client.send_request(&inside);
    std::thread::sleep(SECOND);
    assert!(process::signal(pid, Signal::SIGCONT));
    let mut refused = 0;
    for _ in 0..61 {
        let answer = client.expect("an answer", SECOND * 20, |m| m.status() >= 200);
        if answer.status() == 503 {
            assert!(answer.header("Retry-After").is_some() && answer.call_id() != inside.call_id, "{}", answer.raw);
            refused += 1;
        } else {
            assert_eq!(answer.status(), 200);
        }
    }
    assert!(refused > 20, "{refused}");
    assert_eq!(stat(&server, "net:overload_rejected"), refused);
    // It has caught up; the next few tell it so.
    let mut late = 0;
    while SipClient::new(port).options("sip:example.test").status() == 503 {
        late += 1;
        assert!(late < 30, "the moment is over");
    }
}
