//! A steady trickle of OPTIONS requests, and how long each waited for its answer: what an
//! unrelated caller notices while something else keeps the server busy.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lock;
use super::sip::unique;

/// Each socket is a source port of its own, so that the kernel spreads the probes over workers.
const SOURCES: usize = 8;

/// How long after the last request an answer still counts.
const GRACE: Duration = Duration::from_secs(2);

/// What the probe saw.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Requests sent, each once.
    pub sent: usize,
    /// Requests that were never answered.
    pub lost: usize,
    /// Answers other than 200.
    pub refused: usize,
    /// Median time to the answer.
    pub p50: Duration,
    /// Time within which 99 % of the answers came.
    pub p99: Duration,
    /// The longest time to an answer.
    pub max: Duration,
    /// Answers that took longer than 100 ms, and lost ones.
    pub late_or_lost: usize,
}

/// Sends OPTIONS at `rate` per second for `duration` and waits for the answers.
pub fn measure_options(server: SocketAddr, rate: u32, duration: Duration) -> Stats {
    let probe = Probe::start(server, rate);
    std::thread::sleep(duration);
    probe.stop()
}

struct Shared {
    stop: AtomicBool,
    refused: AtomicU64,
    /// Time sent and time answered of each request.
    times: Mutex<Vec<(Instant, Option<Instant>)>>,
}

/// A probe that runs in the background.
pub struct Probe {
    shared: Arc<Shared>,
    sender: JoinHandle<()>,
    receivers: Vec<JoinHandle<()>>,
    listening: Arc<AtomicBool>,
}

impl Probe {
    /// Starts sending `rate` requests per second.
    pub fn start(server: SocketAddr, rate: u32) -> Probe {
        let shared =
            Arc::new(Shared { stop: AtomicBool::new(false), refused: AtomicU64::new(0), times: Mutex::default() });
        let listening = Arc::new(AtomicBool::new(true));
        let run = unique("probe");
        let sockets: Vec<UdpSocket> = (0..SOURCES)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("probe socket");
                socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout set");
                socket
            })
            .collect();
        let receivers = sockets
            .iter()
            .map(|socket| {
                let socket = socket.try_clone().expect("socket cloned");
                let (shared, listening, run) = (Arc::clone(&shared), Arc::clone(&listening), run.clone());
                std::thread::spawn(move || receive(&socket, &shared, &listening, &run))
            })
            .collect();
        let sender = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || send(&sockets, server, rate, &shared, &run))
        };
        Probe { shared, sender, receivers, listening }
    }

    /// How many requests wait for an answer at this moment.
    pub fn waiting(&self) -> usize {
        lock(&self.shared.times).iter().filter(|(_, answer)| answer.is_none()).count()
    }

    /// Stops sending, waits up to 2 s for what is outstanding, and sums up.
    pub fn stop(self) -> Stats {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.sender.join().expect("sender ends");
        let end = Instant::now() + GRACE;
        let outstanding = || lock(&self.shared.times).iter().any(|(_, answer)| answer.is_none());
        while outstanding() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.listening.store(false, Ordering::Relaxed);
        for receiver in self.receivers {
            receiver.join().expect("receiver ends");
        }
        let times = lock(&self.shared.times);
        let mut waits: Vec<Duration> =
            times.iter().filter_map(|(sent, answer)| Some(answer.as_ref()?.duration_since(*sent))).collect();
        waits.sort_unstable();
        let lost = times.len() - waits.len();
        Stats {
            sent: times.len(),
            lost,
            refused: usize::try_from(self.shared.refused.load(Ordering::Relaxed)).unwrap_or(usize::MAX),
            p50: percentile(&waits, 50),
            p99: percentile(&waits, 99),
            max: percentile(&waits, 100),
            late_or_lost: lost + waits.iter().filter(|w| **w > Duration::from_millis(100)).count(),
        }
    }
}

/// The value that `percent` of the sorted values do not exceed; zero when there are none.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

fn send(sockets: &[UdpSocket], server: SocketAddr, rate: u32, shared: &Shared, run: &str) {
    let locals: Vec<SocketAddr> = sockets.iter().map(|s| s.local_addr().expect("own address")).collect();
    let start = Instant::now();
    let mut index = 0u32;
    while !shared.stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs(1) * index / rate.max(1);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        let source = index as usize % sockets.len();
        let local = locals[source];
        let text = format!(
            "OPTIONS sip:probe@{server} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{run}-{index}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:probe@{local}>;tag={index}\r\n\
             To: <sip:probe@{server}>\r\n\
             Call-ID: {run}.{index}\r\n\
             CSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        lock(&shared.times).push((Instant::now(), None));
        // A refused datagram is a lost one.
        let _ = sockets[source].send_to(text.as_bytes(), server);
        index += 1;
    }
}

fn receive(socket: &UdpSocket, shared: &Shared, listening: &AtomicBool, run: &str) {
    let mut buffer = vec![0u8; 65_536];
    let mark = format!("Call-ID: {run}.");
    while listening.load(Ordering::Relaxed) {
        let Ok(n) = socket.recv(&mut buffer) else { continue };
        let now = Instant::now();
        let text = String::from_utf8_lossy(&buffer[..n]);
        let index = text.split_once(&mark).and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
        let status: u16 = text.get(8..11).and_then(|s| s.parse().ok()).unwrap_or(0);
        if status < 200 {
            continue;
        }
        let mut times = lock(&shared.times);
        if let Some((_, answer @ None)) = index.and_then(|i| times.get_mut(i)) {
            *answer = Some(now);
            if status != 200 {
                shared.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
