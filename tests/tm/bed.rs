//! A proxy under test between a caller and some callees, on the simulated worker. Callers are
//! `a1`, `a2`, callees `b1` to `b9`: addresses 192.0.2.1 and 192.0.2.11 and so on, port 5060.

use reprise::base::Str;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::sip::{HeaderId, Message};
use reprise::worker::sim::{Sim, SimOptions};
use std::net::SocketAddr;
use std::time::Duration;

/// Where the proxy listens.
pub const PROXY: &str = "127.0.0.1:5060";

const MODULES: &str = "loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"rr.so\"\nloadmodule \"signaling.so\"\n\
    loadmodule \"sipmsgops.so\"\nloadmodule \"cfgutils.so\"\nloadmodule \"uac_redirect.so\"\n";

/// What requests go through before the script of a test decides.
pub const FRONT: &str = r#"
    if (is_method("CANCEL")) {
        if (t_check_trans())
            t_relay();
        exit;
    }
    if (is_method("ACK") && has_totag()) {
        if (loose_route())
            t_relay();
        exit;
    }
"#;

/// A message that the proxy has sent.
#[derive(Clone, Debug)]
pub struct Got {
    /// To whom: `a1`, `b2`.
    pub to: String,
    /// The message.
    pub m: Message,
}

impl Got {
    /// `b1 INVITE`, `a1 200`.
    pub fn word(&self) -> String {
        match self.m.is_request() {
            true => format!("{} {}", self.to, String::from_utf8_lossy(self.m.method_bytes())),
            false => format!("{} {}", self.to, self.m.status()),
        }
    }

    /// The message as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.m.bytes()).into_owned()
    }

    /// First value of a header, empty if there is none.
    pub fn header(&self, name: &str) -> String {
        self.m
            .headers_named(name.as_bytes())
            .next()
            .map_or_else(String::new, |h| String::from_utf8_lossy(h.value).into())
    }

    /// R-URI.
    pub fn uri(&self) -> String {
        String::from_utf8_lossy(self.m.request_uri()).into_owned()
    }
}

/// The simulation.
pub struct Bed {
    /// The worker.
    pub sim: Sim,
    /// What was sent and not looked at.
    inbox: Vec<Got>,
    /// All requests that were sent, for replies.
    pub requests: Vec<Got>,
    branch: u32,
}

/// The address of a name.
pub fn addr(name: &str) -> SocketAddr {
    let n: u8 = name[1..].parse().unwrap();
    let base = if name.starts_with('a') { 0 } else { 10 };
    SocketAddr::from(([192, 0, 2, base + n], 5060))
}

fn name(at: SocketAddr) -> String {
    match at {
        SocketAddr::V4(a) if a.ip().octets()[..3] == [192, 0, 2] && a.ip().octets()[3] > 10 => {
            format!("b{}", a.ip().octets()[3] - 10)
        }
        SocketAddr::V4(a) => format!("a{}", a.ip().octets()[3]),
        other => other.to_string(),
    }
}

impl Bed {
    /// A proxy with this configuration (after the usual modules).
    pub fn new(script: &str) -> Bed {
        Bed::with(script, |_| ())
    }

    /// The same, with a change to the simulation.
    pub fn with(script: &str, change: impl FnOnce(&mut SimOptions)) -> Bed {
        let mut options = SimOptions::default();
        change(&mut options);
        let text = format!("socket=udp:{PROXY}\n{MODULES}{script}\n");
        let sim = simulate(ConfigText::Text(&text, "tm.cfg"), None, options).unwrap_or_else(|e| panic!("{e}"));
        assert!(sim.is_up());
        Bed::of(sim)
    }

    /// Around a simulation that somebody else has made.
    pub fn of(sim: Sim) -> Bed {
        Bed { sim, inbox: Vec::new(), requests: Vec::new(), branch: 0 }
    }

    /// A proxy whose main route does this with everything but CANCEL and the ACK of a dialog.
    pub fn relaying(main: &str, routes: &str) -> Bed {
        Bed::new(&format!("route {{\n{FRONT}\n{main}\n}}\n{routes}\n"))
    }

    /// A request of a caller; `lines` are further headers, each with its line end.
    pub fn request(&mut self, method: &str, call: &str, lines: &str) -> Message {
        self.branch += 1;
        let contact = if method == "INVITE" { "Contact: <sip:a@192.0.2.1>\r\n" } else { "" };
        let text = format!(
            "{method} sip:bob@192.0.2.11 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=f{call}\r\nTo: <sip:bob@x>\r\nCall-ID: {call}\r\n\
             CSeq: 1 {method}\r\n{contact}{lines}Content-Length: 0\r\n\r\n",
            self.branch
        );
        Message::parse(Str::from(text.as_str())).unwrap()
    }

    /// Something arrives at the proxy.
    pub fn send(&mut self, from: &str, m: &Message) {
        assert!(self.sim.receive(addr(from), PROXY.parse().unwrap(), m.bytes()));
    }

    /// An INVITE of `a1` arrives.
    pub fn invite(&mut self, call: &str, lines: &str) -> Message {
        let m = self.request("INVITE", call, lines);
        self.send("a1", &m);
        m
    }

    /// The CANCEL or ACK of a request, hop by hop.
    pub fn follow(&mut self, request: &Message, method: &str, to_tag: &str) {
        let text = String::from_utf8_lossy(request.bytes());
        let was = String::from_utf8_lossy(request.method_bytes()).into_owned();
        let text = text.replace(&format!("{was} sip:"), &format!("{method} sip:"));
        let text = text.replace(&format!("CSeq: 1 {was}"), &format!("CSeq: 1 {method}"));
        let text = if to_tag.is_empty() {
            text
        } else {
            text.replace("To: <sip:bob@x>", &format!("To: <sip:bob@x>;tag={to_tag}"))
        };
        let m = Message::parse(Str::from(text.as_str())).unwrap();
        self.send("a1", &m);
    }

    /// The last request of this method that was sent to `callee`.
    pub fn last(&mut self, callee: &str, method: &str) -> Got {
        self.collect();
        let found = self.requests.iter().rev().find(|g| g.to == callee && g.m.method_bytes() == method.as_bytes());
        found.unwrap_or_else(|| panic!("{callee} got no {method}")).clone()
    }

    /// `callee` answers the last INVITE (or whatever else) it got.
    pub fn answer(&mut self, callee: &str, status: u16, lines: &str) {
        let got = {
            self.collect();
            let found = self.requests.iter().rev().find(|g| g.to == callee && g.m.method_bytes() != b"ACK");
            let of_invite = self.requests.iter().rev().find(|g| g.to == callee && g.m.method_bytes() == b"INVITE");
            of_invite.or(found).unwrap_or_else(|| panic!("{callee} got nothing")).clone()
        };
        self.reply(&got, status, lines);
    }

    /// A reply to a request that the proxy has sent.
    pub fn reply(&mut self, got: &Got, status: u16, lines: &str) {
        let value = |id| String::from_utf8_lossy(got.m.value(id)).into_owned();
        let mut text = format!("SIP/2.0 {status} Because\r\n");
        for via in got.m.headers_of(HeaderId::Via) {
            text += &format!("Via: {}\r\n", String::from_utf8_lossy(via.value));
        }
        for rr in got.m.headers_of(HeaderId::RecordRoute) {
            text += &format!("Record-Route: {}\r\n", String::from_utf8_lossy(rr.value));
        }
        let to = value(HeaderId::To);
        let to = if status == 100 || to.contains(";tag=") { to } else { format!("{to};tag=t{}", got.to) };
        let contact = if (101..300).contains(&status) && !lines.contains("Contact:") {
            format!("Contact: <sip:bob@{}>\r\n", addr(&got.to))
        } else {
            String::new()
        };
        text += &format!("From: {}\r\nTo: {to}\r\nCall-ID: {}\r\n", value(HeaderId::From), value(HeaderId::CallId));
        text += &format!("CSeq: {}\r\n{contact}{lines}Content-Length: 0\r\n\r\n", value(HeaderId::CSeq));
        let m = Message::parse(Str::from(text.as_str())).unwrap();
        let from = got.to.clone();
        self.send(&from, &m);
    }

    /// Time passes.
    pub fn wait(&mut self, ms: u64) {
        self.sim.advance(Duration::from_millis(ms));
    }

    fn collect(&mut self) {
        for sent in self.sim.take_sent() {
            let m = Message::parse_slice(&sent.bytes).unwrap();
            let got = Got { to: name(sent.to), m };
            if got.m.is_request() {
                self.requests.push(got.clone());
            }
            self.inbox.push(got);
        }
    }

    /// What was sent since the last call.
    pub fn got(&mut self) -> Vec<Got> {
        self.collect();
        std::mem::take(&mut self.inbox)
    }

    /// The same as words.
    pub fn did(&mut self) -> Vec<String> {
        self.got().iter().map(Got::word).collect()
    }

    /// The same without the 100 to the caller.
    pub fn then(&mut self) -> Vec<String> {
        self.did().into_iter().filter(|w| !w.ends_with(" 100")).collect()
    }

    /// The last message that was sent to this one, of all not looked at.
    pub fn last_to(&mut self, who: &str) -> Got {
        let all = self.got();
        all.iter().rev().find(|g| g.to == who).unwrap_or_else(|| panic!("nothing for {who} in {all:?}")).clone()
    }

    /// Everything comes to its end, and nothing is left.
    pub fn end(mut self) {
        self.wait(400_000);
        assert!(self.sim.live().is_empty(), "{}", self.sim.live());
    }
}
