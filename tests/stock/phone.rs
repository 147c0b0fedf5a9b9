//! A telephone for these tests: registers, calls and is called, over UDP or TCP.

use std::time::{Duration, Instant};

use crate::SECOND;
use crate::server::Stock;
use crate::support::sip::{Request, SipClient, SipMessage, response, unique};
use crate::support::tcp::TcpSip;

/// How it is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Datagrams.
    Udp,
    /// One connection, which calls come in on too.
    Tcp,
}

enum Line {
    Udp(SipClient),
    Tcp(TcpSip),
}

/// A telephone.
pub struct Phone {
    /// User part of its address.
    pub user: String,
    domain: String,
    line: Line,
}

impl Phone {
    /// Of a user, connected to a server; its domain is the server's address.
    pub fn new(server: &Stock, user: &str, over: Over) -> Phone {
        let line = match over {
            Over::Udp => Line::Udp(SipClient::new(server.port)),
            Over::Tcp => Line::Tcp(TcpSip::new(server.port)),
        };
        Phone { user: user.to_owned(), domain: format!("127.0.0.1:{}", server.port), line }
    }

    /// One that is registered.
    pub fn registered(server: &Stock, user: &str, over: Over) -> Phone {
        let phone = Phone::new(server, user, over);
        let answer = phone.ask(&phone.register(3600));
        assert_eq!(answer.status(), 200, "{}", answer.raw);
        phone
    }

    /// Its public address.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// Where it is reached.
    pub fn contact(&self) -> String {
        match &self.line {
            Line::Udp(c) => format!("sip:{}@{}", self.user, c.local),
            Line::Tcp(c) => format!("sip:{}@{};transport=tcp", self.user, c.local),
        }
    }

    /// A request with fresh identifiers.
    pub fn request(&self, method: &str, uri: &str) -> Request {
        let mut request = match &self.line {
            Line::Udp(c) => c.request(method, uri),
            Line::Tcp(c) => c.request(method, uri),
        };
        request.from = format!("<{}>;tag={}", self.uri(), unique("f"));
        request.contact = format!("<{}>", self.contact());
        request
    }

    /// A registration for so many seconds.
    pub fn register(&self, expires: u32) -> Request {
        let mut request = self.request("REGISTER", &format!("sip:{}", self.domain));
        request.to = format!("<{}>", self.uri());
        request.header(&format!("Expires: {expires}"))
    }

    /// An INVITE with a small SDP offer.
    pub fn invite(&self, uri: &str) -> Request {
        let sdp = "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 40000 RTP/AVP 0\n";
        self.request("INVITE", uri).body("application/sdp", sdp)
    }

    /// Sends a request.
    pub fn send(&self, request: &Request) {
        self.send_text(&request.text());
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, text: &str) {
        self.send_text(text);
    }

    fn send_text(&self, text: &str) {
        match &self.line {
            Line::Udp(c) => c.send_bytes(text.as_bytes()),
            Line::Tcp(c) => c.send(text),
        }
    }

    /// Answers a request that came.
    pub fn answer(&self, request: &SipMessage, status: u16, reason: &str) {
        let mut headers = Vec::new();
        if request.method() == "INVITE" {
            headers.push(format!("Contact: <{}>", self.contact()));
        }
        self.send_text(&response(request, status, reason, &format!("t-{}", self.user), &headers, ""));
    }

    /// The next message; `None` after `timeout`.
    pub fn recv(&self, timeout: Duration) -> Option<SipMessage> {
        match &self.line {
            Line::Udp(c) => c.recv(timeout),
            Line::Tcp(c) => c.recv(timeout),
        }
    }

    /// The next message that `accept` takes.
    pub fn expect(&self, what: &str, accept: impl Fn(&SipMessage) -> bool) -> SipMessage {
        let end = Instant::now() + SECOND * 10;
        let mut others = Vec::new();
        while let Some(m) = self.recv(end.saturating_duration_since(Instant::now())) {
            if accept(&m) {
                return m;
            }
            others.push(m.start_line);
        }
        panic!("{}: no {what}; received: {others:?}", self.user);
    }

    /// The next request of this method.
    pub fn expect_request(&self, method: &str) -> SipMessage {
        self.expect(method, |m| m.status() == 0 && m.method() == method)
    }

    /// The next reply to a request with this status.
    pub fn expect_reply(&self, request: &Request, status: u16) -> SipMessage {
        let of = |m: &SipMessage| m.call_id() == request.call_id && m.cseq() == (request.cseq, &*request.method);
        self.expect(&format!("{status} to {}", request.method), |m| m.status() == status && of(m))
    }

    /// The final reply to a request that was sent.
    pub fn final_reply(&self, request: &Request) -> SipMessage {
        let of = |m: &SipMessage| m.call_id() == request.call_id && m.cseq() == (request.cseq, &*request.method);
        self.expect(&format!("final reply to {}", request.method), |m| m.status() >= 200 && of(m))
    }

    /// Sends a request and waits for its final reply.
    pub fn ask(&self, request: &Request) -> SipMessage {
        self.send(request);
        self.final_reply(request)
    }

    /// Nothing comes for this long.
    pub fn expect_silence(&self, time: Duration) {
        if let Some(m) = self.recv(time) {
            panic!("{}: unexpected\n{}", self.user, m.raw);
        }
    }
}

/// A call from one to the other that is answered and acknowledged: the INVITE, its 200, and the INVITE as the other
/// got it.
pub fn call(from: &Phone, to: &Phone) -> (Request, SipMessage, SipMessage) {
    let invite = from.invite(&to.uri());
    from.send(&invite);
    let seen = to.expect_request("INVITE");
    to.answer(&seen, 180, "Ringing");
    from.expect_reply(&invite, 180);
    to.answer(&seen, 200, "OK");
    let ok = from.expect_reply(&invite, 200);
    from.send(&invite.ack(&ok));
    to.expect_request("ACK");
    (invite, ok, seen)
}

/// Contacts of a reply to REGISTER, without the port of the test: `user expires`.
pub fn bindings(answer: &SipMessage) -> Vec<String> {
    let all: Vec<&str> = answer.all("Contact").into_iter().flat_map(|v| v.split(", ")).collect();
    let mut list: Vec<String> = all
        .into_iter()
        .map(|c| {
            let user = c.split_once("sip:").and_then(|(_, r)| r.split_once('@')).map_or("", |(u, _)| u);
            let expires = c.split(";expires=").nth(1).and_then(|e| e.split(';').next()).unwrap_or("-");
            format!("{user} {expires}")
        })
        .collect();
    list.sort();
    list
}
