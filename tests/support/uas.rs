//! A scripted user agent server over UDP: it records what it receives and answers as told.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lock;
use super::sip::{SipMessage, response, unique};

/// One response to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Counted from the request's arrival.
    pub after: Duration,
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Header lines besides those that are copied from the request.
    pub headers: Vec<String>,
    /// Body.
    pub body: String,
}

impl Answer {
    /// An answer at once.
    pub fn new(status: u16, reason: &str) -> Answer {
        Answer { after: Duration::ZERO, status, reason: reason.to_owned(), headers: Vec::new(), body: String::new() }
    }

    /// The same, later.
    pub fn after(mut self, after: Duration) -> Answer {
        self.after = after;
        self
    }

    /// The same with one more header line.
    pub fn header(mut self, line: &str) -> Answer {
        self.headers.push(line.to_owned());
        self
    }
}

type Received = Arc<(Mutex<Vec<SipMessage>>, Condvar)>;

/// The user agent server; ends when dropped.
pub struct Uas {
    /// Where it listens.
    pub addr: SocketAddr,
    received: Received,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Uas {
    /// Answers every request but ACK and CANCEL as `script` says (no answer: empty list).
    ///
    /// What a transaction layer does is done here: a retransmission gets the answers so far again
    /// and does not reach the script; CANCEL gets 200 and its INVITE 487 when that has no final
    /// answer yet (RFC 3261 9.2); ACK is recorded only. A Contact is added to answers to INVITE.
    pub fn start(script: impl FnMut(&SipMessage) -> Vec<Answer> + Send + 'static) -> Uas {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("UAS socket");
        Uas::on(socket, script)
    }

    /// As [`Uas::start`] on a given port of 127.0.0.1.
    pub fn start_at(port: u16, script: impl FnMut(&SipMessage) -> Vec<Answer> + Send + 'static) -> Uas {
        Uas::on(UdpSocket::bind(("127.0.0.1", port)).expect("UAS socket"), script)
    }

    fn on(socket: UdpSocket, script: impl FnMut(&SipMessage) -> Vec<Answer> + Send + 'static) -> Uas {
        let addr = socket.local_addr().expect("own address");
        let received: Received = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
            std::thread::spawn(move || serve(&socket, addr, script, &received, &stop))
        };
        Uas { addr, received, stop, thread: Some(thread) }
    }

    /// Rings, answers calls with 200, and everything else too.
    pub fn answering() -> Uas {
        Uas::start(|request| match request.method() {
            "INVITE" => vec![Answer::new(180, "Ringing"), Answer::new(200, "OK").after(Duration::from_millis(20))],
            _ => vec![Answer::new(200, "OK")],
        })
    }

    /// Rings and never answers an INVITE; 200 to everything else.
    pub fn ringing() -> Uas {
        Uas::start(|request| match request.method() {
            "INVITE" => vec![Answer::new(180, "Ringing")],
            _ => vec![Answer::new(200, "OK")],
        })
    }

    /// Answers everything with this status.
    pub fn rejecting(status: u16, reason: &str) -> Uas {
        let reason = reason.to_owned();
        Uas::start(move |_| vec![Answer::new(status, &reason)])
    }

    /// Records and never answers.
    pub fn silent() -> Uas {
        Uas::start(|_| Vec::new())
    }

    /// A SIP URI that leads here.
    pub fn uri(&self) -> String {
        format!("sip:bob@{}", self.addr)
    }

    /// Everything received so far, retransmissions included.
    pub fn received(&self) -> Vec<SipMessage> {
        lock(&self.received.0).clone()
    }

    /// How many requests of this method were received, retransmissions included.
    pub fn count(&self, method: &str) -> usize {
        lock(&self.received.0).iter().filter(|m| m.method() == method).count()
    }

    /// Waits for the first received message that `accept` takes. Panics after `timeout`.
    pub fn wait_for(&self, what: &str, timeout: Duration, accept: impl Fn(&SipMessage) -> bool) -> SipMessage {
        let end = Instant::now() + timeout;
        let mut all = lock(&self.received.0);
        loop {
            if let Some(message) = all.iter().find(|m| accept(m)) {
                return message.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen: Vec<_> = all.iter().map(|m| m.start_line.clone()).collect();
                drop(all);
                panic!("UAS got no {what} within {timeout:?}; received: {seen:?}");
            }
            all = self.received.1.wait_timeout(all, left).unwrap().0;
        }
    }

    /// Waits for a request of this method. Panics after `timeout`.
    pub fn wait_request(&self, method: &str, timeout: Duration) -> SipMessage {
        self.wait_for(method, timeout, |m| m.method() == method && m.status() == 0)
    }
}

impl Drop for Uas {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A response that waits for its time.
struct Due {
    at: Instant,
    /// Branch and method of its transaction.
    key: (String, String),
    to: SocketAddr,
    status: u16,
    text: String,
}

/// What a transaction sent so far, and the request.
struct Transaction {
    request: SipMessage,
    tag: String,
    sent: Vec<String>,
    finished: bool,
}

fn serve(
    socket: &UdpSocket,
    own: SocketAddr,
    mut script: impl FnMut(&SipMessage) -> Vec<Answer>,
    received: &Received,
    stop: &AtomicBool,
) {
    let mut due: Vec<Due> = Vec::new();
    let mut transactions: HashMap<(String, String), Transaction> = HashMap::new();
    let mut buffer = vec![0u8; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while let Some(at) = due.iter().position(|d| d.at <= now) {
            let d = due.remove(at);
            if let Some(t) = transactions.get_mut(&d.key) {
                if t.finished {
                    continue;
                }
                t.finished = d.status >= 200;
                t.sent.push(d.text.clone());
            }
            let _ = socket.send_to(d.text.as_bytes(), d.to);
        }
        let next =
            due.iter().map(|d| d.at).min().map_or(Duration::from_millis(20), |at| at.saturating_duration_since(now));
        let wait = next.clamp(Duration::from_millis(1), Duration::from_millis(20));
        socket.set_read_timeout(Some(wait)).expect("timeout set");
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(message) = SipMessage::parse(&buffer[..n], from) else { continue };
        {
            lock(&received.0).push(message.clone());
            received.1.notify_all();
        }
        let arrived = Instant::now();
        if message.status() != 0 || message.method() == "ACK" {
            continue;
        }
        let key = (message.branch().to_owned(), message.method().to_owned());
        if let Some(t) = transactions.get(&key) {
            for text in &t.sent {
                let _ = socket.send_to(text.as_bytes(), from);
            }
            continue;
        }
        let tag = unique("uas");
        let mut answer_to = |request: &SipMessage, tag: &str, key: &(String, String), answer: Answer| {
            let mut headers = answer.headers;
            if request.method() == "INVITE" && !headers.iter().any(|h| h.starts_with("Contact:")) {
                headers.push(format!("Contact: <sip:bob@{own}>"));
            }
            due.push(Due {
                at: arrived + answer.after,
                key: key.clone(),
                to: request.from,
                status: answer.status,
                text: response(request, answer.status, &answer.reason, tag, &headers, &answer.body),
            });
        };
        if message.method() == "CANCEL" {
            answer_to(&message, &tag, &key, Answer::new(200, "OK"));
            let invite = (key.0.clone(), "INVITE".to_owned());
            if let Some(t) = transactions.get(&invite).filter(|t| !t.finished) {
                answer_to(&t.request, &t.tag, &invite, Answer::new(487, "Request Terminated"));
            }
        } else {
            for answer in script(&message) {
                answer_to(&message, &tag, &key, answer);
            }
        }
        transactions.insert(key, Transaction { request: message, tag, sent: Vec::new(), finished: false });
    }
}
