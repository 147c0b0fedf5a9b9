//! The torture messages through the real server: as a careful proxy, and with the configuration
//! that reprise starts with.

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};

use reprise::sip::reply::{ReplySpec, build};
use reprise::sip::{HeaderId, Message};

use crate::common::{SECOND, address, listening, serve, stat};
use crate::corpus::{Case, Fate, cases};
use crate::support::reprise::Reprise;

/// Lets nothing pass that RFC 3261 16.3 would not. Requests to `probe` are answered at once.
const CAREFUL: &str = r#"
route {
    if ($rU == "probe") {
        sl_send_reply(200, "OK");
        exit;
    }
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if ($ru !~ "^(sips?|tels?):") {
        sl_send_reply(416, "Unsupported URI Scheme");
        exit;
    }
    if (is_present_hf("Proxy-Require")) {
        append_to_reply("Unsupported: $(hdr(Proxy-Require)[*])\r\n");
        sl_send_reply(420, "Bad Extension");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans())
            t_relay();
        exit;
    }
    $du = "sip:[next]";
    if (!t_relay())
        sl_reply_error();
}
"#;

/// A server and the two ends of what it forwards.
struct Site {
    server: Reprise,
    port: u16,
    /// Sends the messages.
    near: UdpSocket,
    /// Where the proxy sends them.
    far: UdpSocket,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SECOND * 2)).unwrap();
    socket
}

fn receive(socket: &UdpSocket, what: &str) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let n = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{what}: nothing came: {e}"));
    buffer.truncate(n);
    buffer
}

fn nothing_waits(socket: &UdpSocket, what: &str) {
    socket.set_nonblocking(true).unwrap();
    let got = socket.recv(&mut [0; 16]);
    socket.set_nonblocking(false).unwrap();
    assert!(got.is_err(), "{what}: something came");
}

fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|w| w == from.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

impl Site {
    fn new(config: impl Fn(u16, u16) -> String) -> Site {
        let (near, far) = (socket(), socket());
        let next = far.local_addr().unwrap().port();
        let (server, port) = serve(|port| config(port, next), &["-n", "1"]);
        Site { server, port, near, far }
    }

    /// The message as it is sent here: in replies with the addresses of this site.
    fn bytes(&self, case: &Case) -> Vec<u8> {
        if !case.bytes.starts_with(b"SIP/") {
            return case.bytes.clone();
        }
        let own = replaced(&case.bytes, "127.0.0.1:5060", &address(self.port).to_string());
        replaced(&own, "127.0.0.1:5099", &self.near.local_addr().unwrap().to_string())
    }

    fn send(&self, bytes: &[u8]) {
        self.near.send_to(bytes, address(self.port)).unwrap();
    }

    /// A request that is answered with 200: what came before it has been worked on.
    fn probe(&self, name: &str) {
        let text = format!(
            "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bKp.{name}\r\n\
             Max-Forwards: 9\r\nFrom: <sip:probe@x>;tag=p\r\nTo: <sip:probe@x>\r\nCall-ID: probe.{name}\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.send(text.as_bytes());
        let reply = Message::parse_slice(&receive(&self.near, name)).unwrap();
        assert!(reply.call_id().starts_with(b"probe.") && reply.status() == 200, "{name}: answered: {reply:?}");
    }

    /// What was lost or refused so far: requests, replies, replies that are not ours.
    fn refused(&self) -> u64 {
        ["core:err_requests", "core:err_replies", "core:drop_replies"].iter().map(|n| stat(&self.server, n)).sum()
    }

    /// Sends a message and checks its fate.
    fn check(&self, case: &Case, fate: Fate) {
        let (name, bytes) = (case.name.as_str(), self.bytes(case));
        let before = self.refused();
        self.send(&bytes);
        match fate {
            Fate::Fine | Fate::Forward if bytes.starts_with(b"SIP/") => {
                let got = receive(&self.near, name);
                assert_eq!(
                    got.escape_ascii().to_string(),
                    without_top_via(&bytes).escape_ascii().to_string(),
                    "{name}"
                );
            }
            Fate::Fine | Fate::Forward => self.forwarded(name, &bytes),
            Fate::Answer(status) => {
                let bytes = receive(&self.near, name);
                let line = format!("SIP/2.0 {status} ");
                assert!(bytes.starts_with(line.as_bytes()), "{name}: {}", bytes.escape_ascii());
                // What the request lacks, the answer lacks too.
                if case.parse == Fate::Fine {
                    let reply = Message::parse_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
                    let list: Vec<_> = reply.values_of(HeaderId::Unsupported).collect();
                    let wanted: &[&[u8]] = if status == 420 { &[b"seeing", b"altitude", b"azimuth"] } else { &[] };
                    assert_eq!(list, wanted, "{name}");
                }
                if case.parse != Fate::Fine {
                    assert_eq!(self.refused(), before + 1, "{name}: not counted");
                }
            }
            Fate::Drop => {
                self.probe(name);
                // Keep-alives and requests that the script lets fall are no errors.
                let counted = case.parse == Fate::Drop && bytes.len() >= 16 || bytes.starts_with(b"SIP/");
                assert_eq!(self.refused(), before + u64::from(counted), "{name}: counted");
            }
        }
        nothing_waits(&self.far, name);
        nothing_waits(&self.near, name);
    }

    /// Checks all messages, and shows every one that fails.
    fn check_all(&self, fate: impl Fn(&Case) -> Fate) {
        let all = cases();
        let fails = |case: &&Case| catch_unwind(AssertUnwindSafe(|| self.check(case, fate(case)))).is_err();
        let failed: Vec<&str> = all
            .iter()
            .filter(fails)
            .map(|c| {
                // What is left of it must not meet the next one.
                std::thread::sleep(SECOND / 5);
                for socket in [&self.near, &self.far] {
                    socket.set_nonblocking(true).unwrap();
                    while socket.recv(&mut [0; 16]).is_ok() {}
                    socket.set_nonblocking(false).unwrap();
                }
                c.name.as_str()
            })
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(stat(&self.server, "core:process_restarts"), 0);
        assert_eq!(self.server.log_count("(?i)panic"), 0);
    }

    /// A request has come through: nothing is changed but what must be; so does its answer.
    fn forwarded(&self, name: &str, sent: &[u8]) {
        let original = Message::parse_slice(sent).unwrap();
        let bytes = receive(&self.far, name);
        let got = Message::parse_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let first = |m: &Message| m.bytes().split(|c| *c == b'\n').next().map(<[u8]>::to_vec);
        assert_eq!(first(&got), first(&original), "{name}");
        assert_eq!(got.body(), original.body(), "{name}");
        // Every header line byte for byte, but the top Via, which says where it came from, and
        // Max-Forwards, which is one less.
        let added = got.value(HeaderId::Via).as_ptr();
        let mut ours = got.headers().filter(|h| h.value.as_ptr() != added);
        for h in original.headers() {
            let Some(same) = ours.next() else { panic!("{name}: {:?} is missing", h.name.escape_ascii().to_string()) };
            let text = |m: &Message, h: &reprise::sip::Header<'_>| m.slice(h.line()).escape_ascii().to_string();
            let top_via = h.id == HeaderId::Via && h.value.as_ptr() == original.value(HeaderId::Via).as_ptr();
            if top_via {
                let marked = got.vias().nth(1).unwrap().unwrap();
                assert_eq!(marked.rport(), Some(self.near.local_addr().unwrap().port()), "{name}");
                assert_eq!(marked.received(), Some(&b"127.0.0.1"[..]), "{name}");
                assert_eq!(marked.branch(), original.top_via().unwrap().branch(), "{name}");
            } else if h.id == HeaderId::MaxForwards {
                let want = original.max_forwards().unwrap().saturating_sub(1).min(256);
                assert_eq!(got.max_forwards(), Some(want), "{name}");
            } else {
                assert_eq!(text(&got, &same), text(&original, &h), "{name}");
            }
        }
        let added: Vec<_> = ours.map(|h| h.id).collect();
        let expected = if original.max_forwards().is_none() { vec![HeaderId::MaxForwards] } else { vec![] };
        assert_eq!(added, expected, "{name}: headers at the end");
        let mut answer = Vec::new();
        build(&got, &ReplySpec { to_tag: Some(b"far"), ..ReplySpec::new(200) }, &mut answer);
        self.far.send_to(&answer, address(self.port)).unwrap();
        let mut reply = Message::parse_slice(&receive(&self.near, name)).unwrap();
        while reply.status() == 100 {
            reply = Message::parse_slice(&receive(&self.near, name)).unwrap();
        }
        assert_eq!(reply.bytes(), without_top_via(&answer), "{name}");
        assert_eq!(reply.vias().count(), original.vias().count(), "{name}");
    }
}

/// A reply without the line of its top Via.
fn without_top_via(reply: &[u8]) -> Vec<u8> {
    let m = Message::parse_slice(reply).unwrap();
    let line = m.header(HeaderId::Via).unwrap().line();
    [&reply[..line.start as usize], &reply[line.end as usize..]].concat()
}

#[test]
fn through_a_careful_proxy() {
    let site = Site::new(|port, next| listening(port, "", &CAREFUL.replace("[next]", &format!("127.0.0.1:{next}"))));
    site.check_all(|case| case.proxy);
}

#[test]
fn with_the_default_configuration() {
    let text = include_str!("../../conf/reprise.cfg");
    let site = Site::new(|port, _| {
        let text = text.replace("udp:127.0.0.1:5060", &format!("udp:127.0.0.1:{port}"));
        let text = text.lines().filter(|l| !l.starts_with("control_socket")).collect::<Vec<_>>().join("\n");
        let base = crate::support::process::directory("default").keep();
        text.replace("sqlite://reprise.sqlite", &format!("sqlite://{}/reprise.sqlite", base.display()))
    });
    site.check_all(|case| case.default);
}
