//! The limit: a loop that receives a datagram and sends it back, and nothing else. No SIP server
//! that uses one UDP socket can be cheaper per message in and out.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::figures::{median, range};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// About the size of an INVITE with its body.
const SIZE: usize = 700;
/// Datagrams under way at once: enough that the loop never sleeps.
const WINDOW: usize = 64;

/// Datagrams per second of the loop that is not saturated.
const PACE: u32 = 5000;

/// Runs the loop `repeats` times, saturated and not, and makes the table.
pub fn table(repeats: usize, time: Duration) -> String {
    let mut text = format!(
        "{SIZE}-byte datagrams, median of {repeats}:\n\n\
         | | CPU us per datagram in and out | range | datagrams/s |\n|---|---|---|---|\n"
    );
    let kinds =
        [(format!("saturated, {WINDOW} under way, one thread per CPU"), None), ("paced".to_owned(), Some(PACE))];
    for (name, pace) in kinds {
        let runs: Vec<(f64, f64)> = (1..=repeats)
            .map(|run| {
                eprintln!("echo, {name}, round {run} of {repeats}");
                measure(time, pace)
            })
            .collect();
        text.push_str(&format!(
            "| {name} | {:.2} | {} | {:.0} |\n",
            median(&runs, |r| r.0),
            range(&runs, |r| r.0),
            median(&runs, |r| r.1),
        ));
    }
    text
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        // Without the right to choose a CPU the figure is only noisier.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// CPU time of the calling thread in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", gettid())).unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// CPU time per datagram in us, and datagrams per second: as many as go through, or `pace` of them.
fn measure(time: Duration, pace: Option<u32>) -> (f64, f64) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("socket");
    server.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout set");
    let addr = server.local_addr().expect("own address");
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let echo = {
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        std::thread::spawn(move || {
            if pace.is_none() {
                pin(0);
            }
            let mut buffer = [0u8; 2048];
            let mut done = 0u64;
            let before = thread_cpu_ns();
            while !stop.load(Ordering::Relaxed) {
                let Ok((n, from)) = server.recv_from(&mut buffer) else { continue };
                let _ = server.send_to(&buffer[..n], from);
                done += 1;
            }
            count.store(done, Ordering::Relaxed);
            thread_cpu_ns() - before
        })
    };
    let start = Instant::now();
    let generator = std::thread::spawn(move || {
        if pace.is_none() {
            pin(1);
        }
        let client = UdpSocket::bind("127.0.0.1:0").expect("socket");
        client.connect(addr).expect("connected");
        client.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout set");
        let datagram = [b'x'; SIZE];
        let mut buffer = [0u8; 2048];
        let end = start + time;
        if let Some(pace) = pace {
            // As SIPp does: what is due each millisecond leaves together.
            let mut sent = 0;
            while Instant::now() < end {
                let due = (start.elapsed().as_secs_f64() * f64::from(pace)) as u64;
                // What a stall of the machine has piled up is left out.
                let burst = (due - sent).min(WINDOW as u64);
                for _ in 0..burst {
                    let _ = client.send(&datagram);
                }
                for _ in 0..burst {
                    if client.recv(&mut buffer).is_err() {
                        break;
                    }
                }
                sent = due;
                std::thread::sleep(Duration::from_millis(1));
            }
            return;
        }
        while Instant::now() < end {
            for _ in 0..WINDOW {
                let _ = client.send(&datagram);
            }
            // Each echo is followed by the next datagram; the clock is read now and then.
            for _ in 0..10_000 {
                if client.recv(&mut buffer).is_err() {
                    break;
                }
                let _ = client.send(&datagram);
            }
            for _ in 0..WINDOW {
                if client.recv(&mut buffer).is_err() {
                    break;
                }
            }
        }
    });
    generator.join().expect("generator ends");
    let elapsed = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let cpu = echo.join().expect("echo ends");
    let done = count.load(Ordering::Relaxed).max(1) as f64;
    (cpu as f64 / 1000.0 / done, done / elapsed.as_secs_f64())
}
