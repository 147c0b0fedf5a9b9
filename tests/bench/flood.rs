//! A load of single requests from one port, each sent once at its time and clocked to the
//! microsecond: what a client sees of requests that wait in the server.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::support::probe::percentile;
use super::support::sip::unique;

/// Requests leave in steps of this length, as from many independent clients.
const STEP: Duration = Duration::from_millis(1);
/// Receive buffer asked for: room for the answers of a second.
const BUFFER: usize = 8 << 20;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Where to.
    pub server: SocketAddr,
    /// Method: OPTIONS, or INVITE, of which the first 180 counts as the answer.
    pub method: &'static str,
    /// User part of the Request-URI.
    pub user: &'static str,
    /// Requests.
    pub count: usize,
    /// Requests per second.
    pub rate: u64,
    /// How long after the last request an answer still counts.
    pub grace: Duration,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Requests answered 200, or 180.
    pub answered: usize,
    /// Requests answered otherwise.
    pub refused: usize,
    /// Requests never answered.
    pub lost: usize,
    /// Time from sending to the answer, in ascending order.
    pub times: Vec<Duration>,
}

impl Answers {
    /// The time that `percent` of the answers did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.times, percent)
    }
}

/// A flood that runs.
pub struct Running {
    sender: std::thread::JoinHandle<()>,
    receiver: std::thread::JoinHandle<Answers>,
    sent: Arc<AtomicBool>,
}

impl Running {
    /// Whether all requests have left.
    pub fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for the answers.
    pub fn wait(self) -> Answers {
        self.sender.join().expect("sender ends");
        self.receiver.join().expect("receiver ends")
    }
}

impl Flood {
    /// Begins to send.
    pub fn start(self) -> Running {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
        // Without the right to exceed the limit the answers of a shorter time fit.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
        socket.connect(self.server).expect("connected");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout set");
        let sent_at: Arc<Vec<AtomicU64>> = Arc::new((0..self.count).map(|_| AtomicU64::new(0)).collect());
        let sent = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let run = unique("flood");
        let sender = {
            let (socket, times, sent, run) =
                (socket.try_clone().expect("socket cloned"), Arc::clone(&sent_at), Arc::clone(&sent), run.clone());
            std::thread::spawn(move || {
                self.send(&socket, &times, start, &run);
                sent.store(true, Ordering::Relaxed);
            })
        };
        let receiver = {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || self.receive(&socket, &sent_at, start, &sent, &run))
        };
        Running { sender, receiver, sent }
    }

    fn send(&self, socket: &UdpSocket, times: &[AtomicU64], start: Instant, run: &str) {
        let local = socket.local_addr().expect("own address");
        let (server, user, method) = (self.server, self.user, self.method);
        let mut next = 0usize;
        while next < self.count {
            let due = (start.elapsed().as_micros() as u64).saturating_mul(self.rate) / 1_000_000;
            let due = usize::try_from(due).unwrap_or(usize::MAX).min(self.count);
            while next < due {
                let text = format!(
                    "{method} sip:{user}@{server} SIP/2.0\r\n\
                     Via: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{run}-{next}\r\n\
                     Max-Forwards: 70\r\n\
                     From: <sip:alice@{local}>;tag={next}\r\n\
                     To: <sip:{user}@{server}>\r\n\
                     Call-ID: {run}.{next}\r\n\
                     CSeq: 1 {method}\r\n\
                     Contact: <sip:alice@{local}>\r\n\
                     Content-Length: 0\r\n\r\n"
                );
                let now = start.elapsed().as_nanos() as u64;
                if let Some(slot) = times.get(next) {
                    slot.store(now.max(1), Ordering::Relaxed);
                }
                // A refused datagram is a lost one.
                let _ = socket.send(text.as_bytes());
                next += 1;
            }
            std::thread::sleep(STEP);
        }
    }

    fn receive(
        &self,
        socket: &UdpSocket,
        sent_at: &[AtomicU64],
        start: Instant,
        sent: &AtomicBool,
        run: &str,
    ) -> Answers {
        let mark = format!("\r\nCall-ID: {run}.");
        let mut answers = Answers::default();
        let mut buffer = [0u8; 4096];
        let mut last_sent = None;
        let mut open: Vec<bool> = vec![true; self.count];
        while answers.answered + answers.refused < self.count {
            if last_sent.is_none() && sent.load(Ordering::Relaxed) {
                last_sent = Some(Instant::now());
            }
            if last_sent.is_some_and(|at: Instant| at.elapsed() > self.grace) {
                break;
            }
            let Ok(n) = socket.recv(&mut buffer) else { continue };
            let now = start.elapsed().as_nanos() as u64;
            let text = String::from_utf8_lossy(&buffer[..n]);
            let status: u16 = text.get(8..11).and_then(|s| s.parse().ok()).unwrap_or(0);
            let index = text.split_once(&mark).and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
            let Some(index) = index.filter(|i| status > 100 && open.get(*i) == Some(&true)) else { continue };
            open[index] = false;
            let at = sent_at.get(index).map_or(now, |t| t.load(Ordering::Relaxed));
            answers.times.push(Duration::from_nanos(now.saturating_sub(at)));
            if matches!(status, 180 | 200) {
                answers.answered += 1;
            } else {
                answers.refused += 1;
            }
        }
        answers.times.sort_unstable();
        answers.lost = self.count - answers.answered - answers.refused;
        answers
    }
}
