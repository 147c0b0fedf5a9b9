//! A small SIP client over UDP (RFC 3261): it sends what the test says, reads what comes, and
//! does nothing by itself (no retransmission, no automatic ACK).

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

/// How long [`SipClient::options`] and friends wait for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A name nobody used before: tags, branches, Call-IDs.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A received message, split at its colons and nothing more.
#[derive(Debug, Clone)]
pub struct SipMessage {
    /// Request line or status line.
    pub start_line: String,
    /// Headers in order, compact names written out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// Who sent it.
    pub from: SocketAddr,
    /// The datagram as it came.
    pub raw: String,
}

impl SipMessage {
    /// Splits a datagram; `None` when it is no SIP message.
    pub fn parse(datagram: &[u8], from: SocketAddr) -> Option<SipMessage> {
        let raw = String::from_utf8_lossy(datagram).into_owned();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((&raw, ""));
        let mut lines = head.split("\r\n");
        let start_line = lines.next()?.to_owned();
        if !start_line.contains("SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                // Folded line: RFC 3261 7.3.1.
                let (_, value) = headers.last_mut()?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((long_name(name.trim()).to_owned(), value.trim().to_owned()));
        }
        Some(SipMessage { body: body.to_owned(), start_line, headers, from, raw })
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        self.start_line.strip_prefix("SIP/2.0 ").and_then(|r| r.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &str {
        self.start_line.strip_prefix("SIP/2.0 ").and_then(|r| r.get(4..)).unwrap_or("")
    }

    /// The method: of the request line, or of a response's CSeq.
    pub fn method(&self) -> &str {
        if self.status() == 0 { self.start_line.split(' ').next().unwrap_or("") } else { self.cseq().1 }
    }

    /// The request URI; empty for a response.
    pub fn uri(&self) -> &str {
        if self.status() == 0 { self.start_line.split(' ').nth(1).unwrap_or("") } else { "" }
    }

    /// The first header of this name (long form, any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All headers of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Call-ID.
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or("")
    }

    /// CSeq number and method.
    pub fn cseq(&self) -> (u32, &str) {
        let mut parts = self.header("CSeq").unwrap_or("").split_whitespace();
        (parts.next().and_then(|n| n.parse().ok()).unwrap_or(0), parts.next().unwrap_or(""))
    }

    /// The branch parameter of the topmost Via.
    pub fn branch(&self) -> &str {
        parameter(self.header("Via").unwrap_or(""), "branch").unwrap_or("")
    }

    /// The tag of From or To.
    pub fn tag(&self, header: &str) -> Option<&str> {
        parameter(self.header(header)?, "tag")
    }

    /// The URI inside a Contact, From, To or Record-Route value.
    pub fn uri_of(&self, header: &str) -> Option<&str> {
        Some(uri_in(self.header(header)?))
    }
}

/// The URI in a `name <uri>;params` or `uri;params` value.
pub fn uri_in(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(""),
        None => value.split(';').next().unwrap_or("").trim(),
    }
}

/// The value of the header parameter `;name=value`, of the first value in a list. Parameters
/// inside `<>` belong to the URI (RFC 3261 20).
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.split_once('>').map_or(value, |(_, rest)| rest);
    let first = outside.split(',').next().unwrap_or(outside);
    first.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

/// RFC 3261 7.3.3 and 20: the compact forms.
fn long_name(name: &str) -> &str {
    match name {
        "i" => "Call-ID",
        "m" => "Contact",
        "e" => "Content-Encoding",
        "l" => "Content-Length",
        "c" => "Content-Type",
        "f" => "From",
        "s" => "Subject",
        "k" => "Supported",
        "t" => "To",
        "v" => "Via",
        other => other,
    }
}

/// A request under construction.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Request URI.
    pub uri: String,
    /// Value of Via.
    pub via: String,
    /// Value of From, tag included.
    pub from: String,
    /// Value of To, with a tag inside a dialog.
    pub to: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// Value of Contact; empty for none.
    pub contact: String,
    /// Value of Max-Forwards.
    pub max_forwards: u32,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl Request {
    /// Adds a header line, e.g. `X-Test: 1`.
    pub fn header(mut self, line: &str) -> Request {
        self.headers.push(line.to_owned());
        self
    }

    /// Sets body and Content-Type.
    pub fn body(mut self, content_type: &str, body: &str) -> Request {
        self.body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        self.header(&format!("Content-Type: {content_type}"))
    }

    /// Sets the user part of the From URI.
    pub fn caller(mut self, user: &str) -> Request {
        let host = self.from.split_once('@').map_or("localhost>", |(_, h)| h);
        self.from = format!("<sip:{user}@{host}");
        self
    }

    /// The branch of its Via.
    pub fn branch(&self) -> &str {
        parameter(&self.via, "branch").unwrap_or("")
    }

    /// The message as it goes over the wire.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
            self.method,
            self.uri,
            self.via,
            self.max_forwards,
            self.from,
            self.to,
            self.call_id,
            self.cseq,
            self.method
        );
        if !self.contact.is_empty() {
            let _ = write!(text, "Contact: {}\r\n", self.contact);
        }
        for line in &self.headers {
            let _ = write!(text, "{line}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text
    }

    /// A CANCEL of this request (RFC 3261 9.1: same URI, Via, Call-ID, From, To, CSeq number).
    pub fn cancel(&self) -> Request {
        let mut cancel = self.clone();
        cancel.method = "CANCEL".to_owned();
        cancel.headers.retain(|h| h.to_ascii_lowercase().starts_with("route:"));
        cancel.body.clear();
        cancel.contact.clear();
        cancel
    }

    /// The ACK of a final response to this INVITE: RFC 3261 17.1.1.3 for 300 to 699 (same branch),
    /// 13.2.2.4 for 2xx (a new transaction to the Contact along the route set).
    pub fn ack(&self, response: &SipMessage) -> Request {
        let mut ack = if response.status() < 300 { self.in_dialog("ACK", response) } else { self.cancel() };
        ack.method = "ACK".to_owned();
        ack.cseq = self.cseq;
        ack.to = response.header("To").unwrap_or(&self.to).to_owned();
        ack.contact.clear();
        ack
    }

    /// The next request inside the dialog that the response to this INVITE opened.
    pub fn in_dialog(&self, method: &str, response: &SipMessage) -> Request {
        let mut next = self.clone();
        method.clone_into(&mut next.method);
        if let Some(contact) = response.uri_of("Contact") {
            contact.clone_into(&mut next.uri);
        }
        next.to = response.header("To").unwrap_or(&self.to).to_owned();
        next.cseq += 1;
        next.body.clear();
        // RFC 3261 12.1.2: the route set is the Record-Route values in reverse order.
        let mut routes: Vec<String> = response
            .all("Record-Route")
            .iter()
            .flat_map(|v| v.split(','))
            .map(|v| format!("Route: {}", v.trim()))
            .collect();
        routes.reverse();
        next.headers = routes;
        let sent_by = self.via.split(';').next().unwrap_or("").to_owned();
        next.via = format!("{sent_by};rport;branch={}", unique("z9hG4bK-t-"));
        next
    }

    /// The same request once more with credentials for a 401 or 407 (RFC 2617 and RFC 8760: MD5 or
    /// SHA-256, with qop=auth when offered).
    pub fn authorized(&self, challenge: &SipMessage, user: &str, password: &str) -> Request {
        let (name, value) = if challenge.status() == 407 {
            ("Proxy-Authorization", challenge.header("Proxy-Authenticate"))
        } else {
            ("Authorization", challenge.header("WWW-Authenticate"))
        };
        let value = value.expect("a challenge").trim_start();
        let value = value.strip_prefix("Digest").expect("a digest challenge");
        let field = |field: &str| {
            value.split(',').find_map(|p| {
                let (n, v) = p.trim().split_once('=')?;
                n.eq_ignore_ascii_case(field).then(|| v.trim_matches('"').to_owned())
            })
        };
        let realm = field("realm").expect("realm");
        let nonce = field("nonce").expect("nonce");
        let algorithm = field("algorithm").unwrap_or_else(|| "MD5".to_owned());
        let hash = |text: String| {
            let bytes: Vec<u8> = if algorithm.eq_ignore_ascii_case("SHA-256") {
                sha2::Sha256::digest(text.as_bytes()).to_vec()
            } else {
                Md5::digest(text.as_bytes()).to_vec()
            };
            bytes.iter().fold(String::new(), |mut s, b| {
                let _ = write!(s, "{b:02x}");
                s
            })
        };
        let ha1 = hash(format!("{user}:{realm}:{password}"));
        let ha2 = hash(format!("{}:{}", self.method, self.uri));
        let mut credentials = format!(
            "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", algorithm={algorithm}",
            self.uri
        );
        let answer = if value.contains("qop=") {
            let cnonce = unique("c");
            let _ = write!(credentials, ", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
            hash(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"))
        } else {
            hash(format!("{ha1}:{nonce}:{ha2}"))
        };
        let _ = write!(credentials, ", response=\"{answer}\"");
        if let Some(opaque) = field("opaque") {
            let _ = write!(credentials, ", opaque=\"{opaque}\"");
        }
        let mut next = self.clone();
        next.cseq += 1;
        let sent_by = self.via.split(';').next().unwrap_or("").to_owned();
        next.via = format!("{sent_by};rport;branch={}", unique("z9hG4bK-t-"));
        next.headers.retain(|h| !h.starts_with(&format!("{name}:")));
        next.header(&credentials)
    }
}

/// A response to a received request: Via, Record-Route, From, To, Call-ID and CSeq are copied
/// (RFC 3261 8.2.6.2), a To tag is added above 100.
pub fn response(request: &SipMessage, status: u16, reason: &str, tag: &str, headers: &[String], body: &str) -> String {
    let mut text = format!("SIP/2.0 {status} {reason}\r\n");
    for (name, value) in &request.headers {
        let copied =
            ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"].iter().any(|n| n.eq_ignore_ascii_case(name));
        if !copied || (name.eq_ignore_ascii_case("Record-Route") && status == 100) {
            continue;
        }
        let _ = write!(text, "{name}: {value}");
        if name.eq_ignore_ascii_case("To") && status > 100 && parameter(value, "tag").is_none() {
            let _ = write!(text, ";tag={tag}");
        }
        text.push_str("\r\n");
    }
    for line in headers {
        let _ = write!(text, "{line}\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    text
}

/// A UDP socket that speaks SIP to one server.
pub struct SipClient {
    /// Where messages go.
    pub server: SocketAddr,
    /// The client's own address.
    pub local: SocketAddr,
    socket: UdpSocket,
}

impl SipClient {
    /// A client on a port of its own for the server at 127.0.0.1:`port`.
    pub fn new(port: u16) -> SipClient {
        SipClient::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// A client for a server at any address.
    pub fn to(server: SocketAddr) -> SipClient {
        let own = if server.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let bind = if server.ip().is_loopback() { own } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(bind).expect("client socket");
        let mut local = socket.local_addr().expect("own address");
        if local.ip().is_unspecified() {
            // The address that the route to the server starts from.
            let probe = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect(server).map(|()| s)).expect("route");
            local.set_ip(probe.local_addr().expect("own address").ip());
        }
        SipClient { server, local, socket }
    }

    /// The client's address as the host of a URI: IPv6 in brackets.
    fn host(&self) -> String {
        match self.local {
            SocketAddr::V4(a) => a.ip().to_string(),
            SocketAddr::V6(a) => format!("[{}]", a.ip()),
        }
    }

    /// A request with fresh identifiers and this client's Via and Contact.
    pub fn request(&self, method: &str, uri: &str) -> Request {
        let call_id = unique("call-");
        Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
            via: format!("SIP/2.0/UDP {};rport;branch={}", self.local, unique("z9hG4bK-t-")),
            from: format!("<sip:alice@{}>;tag={}", self.host(), unique("f")),
            to: format!("<{uri}>"),
            call_id,
            cseq: 1,
            contact: format!("<sip:alice@{}>", self.local),
            max_forwards: 70,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// An INVITE with a small SDP offer.
    pub fn invite(&self, uri: &str) -> Request {
        let ip = self.local.ip();
        let kind = if self.local.is_ipv6() { "IP6" } else { "IP4" };
        let sdp = format!("v=0\no=- 1 1 IN {kind} {ip}\ns=-\nc=IN {kind} {ip}\nt=0 0\nm=audio 40000 RTP/AVP 0\n");
        self.request("INVITE", uri).body("application/sdp", &sdp)
    }

    /// Sends a text after filling in `[local]`, `[local_ip]`, `[local_port]`, `[server]`, `[branch]`,
    /// `[tag]`, `[call_id]` and `[len]` (length of the body); line ends become CRLF. Returns the text as sent.
    pub fn send(&self, text: &str) -> String {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let body = body.replace('\n', "\r\n");
        let filled = format!("{}\r\n\r\n{body}", head.trim_start().replace('\n', "\r\n"))
            .replace("[local]", &self.local.to_string())
            .replace("[local_ip]", &self.local.ip().to_string())
            .replace("[local_port]", &self.local.port().to_string())
            .replace("[server]", &self.server.to_string())
            .replace("[branch]", &unique("z9hG4bK-t-"))
            .replace("[tag]", &unique("f"))
            .replace("[call_id]", &unique("call-"))
            .replace("[len]", &body.len().to_string());
        self.send_bytes(filled.as_bytes());
        filled
    }

    /// Has the kernel keep this many bytes of answers that were not received yet.
    pub fn hoard(&self, bytes: usize) {
        use nix::sys::socket::{setsockopt, sockopt};
        // Beyond the system's limit only for who administers the network.
        if setsockopt(&self.socket, sockopt::RcvBufForce, &bytes).is_err() {
            setsockopt(&self.socket, sockopt::RcvBuf, &bytes).expect("receive buffer");
        }
    }

    /// Sends a request.
    pub fn send_request(&self, request: &Request) {
        self.send_bytes(request.text().as_bytes());
    }

    /// Answers a request that this client received.
    pub fn respond(&self, request: &SipMessage, status: u16, reason: &str, headers: &[String]) {
        let text = response(request, status, reason, &format!("t{}", self.local.port()), headers, "");
        let _ = self.socket.send_to(text.as_bytes(), request.from);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("datagram sent");
    }

    /// The next datagram that is a SIP message, `None` after `timeout`.
    pub fn recv(&self, timeout: Duration) -> Option<SipMessage> {
        let end = Instant::now() + timeout;
        let mut buffer = vec![0u8; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).expect("timeout set");
            match self.socket.recv_from(&mut buffer) {
                Ok((n, from)) => {
                    if let Some(message) = buffer.get(..n).and_then(|b| SipMessage::parse(b, from)) {
                        return Some(message);
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                // An ICMP error of an earlier datagram; a system call that was interrupted.
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::ConnectionRefused
                            | ErrorKind::HostUnreachable
                            | ErrorKind::NetworkUnreachable
                            | ErrorKind::Interrupted
                    ) => {}
                Err(e) => panic!("receive: {e}"),
            }
        }
    }

    /// The next message that `accept` takes; others that arrive are dropped. Panics after `timeout`.
    pub fn expect(&self, what: &str, timeout: Duration, accept: impl Fn(&SipMessage) -> bool) -> SipMessage {
        let end = Instant::now() + timeout;
        let mut others = Vec::new();
        while let Some(message) = self.recv(end.saturating_duration_since(Instant::now())) {
            if accept(&message) {
                return message;
            }
            others.push(message.start_line);
        }
        panic!("no {what} within {timeout:?}; received: {others:?}");
    }

    /// The next response with this status (to any request). Panics after `timeout`.
    pub fn expect_status(&self, status: u16, timeout: Duration) -> SipMessage {
        self.expect(&status.to_string(), timeout, |m| m.status() == status)
    }

    /// The next request with this method. Panics after `timeout`.
    pub fn expect_request(&self, method: &str, timeout: Duration) -> SipMessage {
        self.expect(method, timeout, |m| m.status() == 0 && m.method() == method)
    }

    /// Asserts that nothing arrives for this long.
    pub fn expect_silence(&self, time: Duration) {
        if let Some(message) = self.recv(time) {
            panic!("unexpected message:\n{}", message.raw);
        }
    }

    /// Sends a request and collects its responses up to the final one. Panics after `timeout`.
    pub fn exchange(&self, request: &Request, timeout: Duration) -> Vec<SipMessage> {
        self.send_request(request);
        self.finish(request, timeout)
    }

    /// Collects the responses of a request that was sent already, up to the final one.
    pub fn finish(&self, request: &Request, timeout: Duration) -> Vec<SipMessage> {
        let end = Instant::now() + timeout;
        let mut responses = Vec::new();
        loop {
            let Some(message) = self.recv(end.saturating_duration_since(Instant::now())) else {
                let seen: Vec<_> = responses.iter().map(|m: &SipMessage| m.start_line.clone()).collect();
                panic!("no final response to {} within {timeout:?}; got {seen:?}", request.method);
            };
            if message.call_id() != request.call_id || message.cseq() != (request.cseq, request.method.as_str()) {
                continue;
            }
            let status = message.status();
            responses.push(message);
            if status >= 200 {
                return responses;
            }
        }
    }

    /// Sends a request and returns its final response. Panics after 5 s.
    pub fn ask(&self, request: &Request) -> SipMessage {
        self.exchange(request, ANSWER_TIMEOUT).pop().expect("a final response")
    }

    /// Sends OPTIONS to this URI and returns the final response. Panics after 5 s.
    pub fn options(&self, uri: &str) -> SipMessage {
        self.ask(&self.request("OPTIONS", uri))
    }

    /// A whole call: INVITE, ACK, BYE. Returns the final response to the INVITE and, when that was
    /// a 2xx, the one to the BYE.
    pub fn call(&self, uri: &str) -> (SipMessage, Option<SipMessage>) {
        let invite = self.invite(uri);
        let answer = self.ask(&invite);
        self.send_request(&invite.ack(&answer));
        if answer.status() >= 300 {
            return (answer, None);
        }
        let bye = self.ask(&invite.in_dialog("BYE", &answer));
        (answer, Some(bye))
    }
}
