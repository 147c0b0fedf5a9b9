//! SIP over TCP for tests: a client connection that sends bytes as the test says and takes apart
//! what comes, and a callee that answers on its connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lock;
use super::sip::{Request, SipMessage, response, unique};

/// One connection.
pub struct TcpSip {
    /// The client's own address.
    pub local: SocketAddr,
    /// The server's.
    pub server: SocketAddr,
    stream: TcpStream,
    buffer: Mutex<Vec<u8>>,
}

impl TcpSip {
    /// Connects to 127.0.0.1:`port`.
    pub fn new(port: u16) -> TcpSip {
        TcpSip::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Connects to any address.
    pub fn to(server: SocketAddr) -> TcpSip {
        TcpSip::over(TcpStream::connect_timeout(&server, Duration::from_secs(5)).expect("connected"))
    }

    /// Speaks over a connection that stands.
    pub fn over(stream: TcpStream) -> TcpSip {
        stream.set_nodelay(true).expect("option set");
        let (local, server) = (stream.local_addr().expect("address"), stream.peer_addr().expect("address"));
        TcpSip { local, server, stream, buffer: Mutex::new(Vec::new()) }
    }

    /// A request with fresh identifiers and this client's Via and Contact.
    pub fn request(&self, method: &str, uri: &str) -> Request {
        Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
            via: format!("SIP/2.0/TCP {};branch={}", self.local, unique("z9hG4bK-t-")),
            from: format!("<sip:alice@{}>;tag={}", self.local, unique("f")),
            to: format!("<{uri}>"),
            call_id: unique("call-"),
            cseq: 1,
            contact: format!("<sip:alice@{};transport=tcp>", self.local),
            max_forwards: 70,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        (&self.stream).write_all(bytes.as_ref()).expect("written");
    }

    /// Sends bytes that the server may refuse to take.
    pub fn try_send(&self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        (&self.stream).write_all(bytes.as_ref())
    }

    /// The stream itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next message, `None` after `timeout` or at the end of the stream.
    pub fn recv(&self, timeout: Duration) -> Option<SipMessage> {
        let end = Instant::now() + timeout;
        let mut buffer = lock(&self.buffer);
        loop {
            if let Some(message) = cut(&mut buffer, self.server) {
                return Some(message);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("timeout set");
            let mut piece = [0u8; 65_536];
            match (&self.stream).read(&mut piece) {
                Ok(0) => return None,
                Ok(n) => buffer.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// The next message, which must come.
    pub fn expect(&self, timeout: Duration) -> SipMessage {
        self.recv(timeout).unwrap_or_else(|| panic!("nothing came over {} within {timeout:?}", self.local))
    }

    /// Sends a request and returns its final response.
    pub fn ask(&self, request: &Request) -> SipMessage {
        self.send(request.text());
        self.finish(request)
    }

    /// The final response to a request that was sent.
    pub fn finish(&self, request: &Request) -> SipMessage {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let message = self.expect(end.saturating_duration_since(Instant::now()));
            if message.call_id() == request.call_id
                && message.cseq() == (request.cseq, request.method.as_str())
                && message.status() >= 200
            {
                return message;
            }
        }
    }

    /// OPTIONS, and its final response.
    pub fn options(&self) -> SipMessage {
        self.ask(&self.request("OPTIONS", "sip:example.test"))
    }

    /// Waits until the server has closed the connection; what comes before is returned.
    pub fn wait_closed(&self, timeout: Duration) -> Vec<u8> {
        let end = Instant::now() + timeout;
        let mut all = std::mem::take(&mut *lock(&self.buffer));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the connection is open after {timeout:?}");
            self.stream.set_read_timeout(Some(left)).expect("timeout set");
            let mut piece = [0u8; 65_536];
            match (&self.stream).read(&mut piece) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&piece[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return all,
            }
        }
    }

    /// Bytes that are no message: waits for exactly these.
    pub fn expect_bytes(&self, wanted: &[u8], timeout: Duration) {
        let mut got = vec![0; wanted.len()];
        self.stream.set_read_timeout(Some(timeout)).expect("timeout set");
        (&self.stream).read_exact(&mut got).expect("bytes came");
        assert_eq!(got, wanted);
    }
}

/// Takes a message from the front of what was received.
fn cut(buffer: &mut Vec<u8>, from: SocketAddr) -> Option<SipMessage> {
    let skip = buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    buffer.drain(..skip);
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let length = text
        .lines()
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").and_then(|v| v.trim().parse().ok()))
        .unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    let message: Vec<u8> = buffer.drain(..head + length).collect();
    SipMessage::parse(&message, from)
}

/// A callee on TCP: answers every request as the test says, on the connection it came on.
pub struct TcpUas {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<SipMessage>>>,
    accepted: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Statuses with which a request is answered, in this order.
pub type Answers = fn(&SipMessage) -> Vec<u16>;

impl TcpUas {
    /// Answers calls: 180, 200, and 200 to everything else.
    pub fn answering() -> TcpUas {
        TcpUas::start(|m| if m.method() == "INVITE" { vec![180, 200] } else { vec![200] })
    }

    /// Starts one.
    pub fn start(answers: Answers) -> TcpUas {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        TcpUas::on(listener, answers)
    }

    /// Starts one on a socket of the test's.
    pub fn on(listener: TcpListener, answers: Answers) -> TcpUas {
        let addr = listener.local_addr().expect("address");
        listener.set_nonblocking(true).expect("option set");
        let (seen, accepted, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut uas = TcpUas {
            addr,
            seen: Arc::clone(&seen),
            accepted: Arc::clone(&accepted),
            stop: Arc::clone(&stop),
            thread: None,
        };
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).expect("option set");
                        lock(&accepted).push(stream.try_clone().expect("cloned"));
                        let seen: Arc<Mutex<Vec<SipMessage>>> = Arc::clone(&seen);
                        std::thread::spawn(move || serve(stream, addr, &seen, answers));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        uas.thread = Some(thread);
        uas
    }

    /// Requests seen so far with this method.
    pub fn count(&self, method: &str) -> usize {
        lock(&self.seen).iter().filter(|m| m.method() == method).count()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.accepted).len()
    }

    /// Ends all connections; `reset` without a farewell.
    pub fn hang_up(&self, reset: bool) {
        for s in lock(&self.accepted).drain(..) {
            if reset {
                let on = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                nix::sys::socket::setsockopt(&s, nix::sys::socket::sockopt::Linger, &on).expect("option set");
            }
            let _ = s.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The first request with this method; waits for it.
    pub fn wait_request(&self, method: &str, timeout: Duration) -> SipMessage {
        let end = Instant::now() + timeout;
        loop {
            if let Some(m) = lock(&self.seen).iter().find(|m| m.method() == method) {
                return m.clone();
            }
            assert!(Instant::now() < end, "no {method} within {timeout:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for TcpUas {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.hang_up(false);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, addr: SocketAddr, seen: &Mutex<Vec<SipMessage>>, answers: Answers) {
    let peer = TcpSip::over(stream);
    while let Some(message) = peer.recv(Duration::from_secs(60)) {
        if message.status() != 0 {
            continue;
        }
        lock(seen).push(message.clone());
        if message.method() == "ACK" {
            continue;
        }
        for status in answers(&message) {
            let contact = [format!("Contact: <sip:bob@{addr};transport=tcp>")];
            let text = response(&message, status, "Answer", &format!("t{}", addr.port()), &contact, "");
            if peer.try_send(text).is_err() {
                return;
            }
        }
    }
}
