//! Kamailio's `tm` beside the server's: the same requests and replies, and what others see of them.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::Kamailio;
use crate::support::reprise::Reprise;
use crate::support::{free_port, process};

/// The caller, the callee and the program outside.
struct World {
    server: u16,
    caller: UdpSocket,
    callee: UdpSocket,
    program: UnixDatagram,
    seen: Vec<String>,
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a socket")
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("an address").port()
}

/// A message that comes within a time.
fn next(socket: &UdpSocket, time: Duration) -> Option<String> {
    socket.set_read_timeout(Some(time)).expect("a timeout");
    let mut buffer = vec![0; 65_535];
    let n = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|l| l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)));
    found.map_or("", |(_, v)| v.trim())
}

impl World {
    fn new(server: u16, program: &Path) -> World {
        let _ = std::fs::remove_file(program);
        let program = UnixDatagram::bind(program).expect("a socket of the program's");
        program.set_read_timeout(Some(SECOND * 10)).expect("a timeout");
        World { server, caller: socket(), callee: socket(), program, seen: Vec::new() }
    }

    /// Names in the place of numbers that are another run's.
    fn note(&mut self, what: &str, text: &str) {
        let text = text
            .replace(&self.server.to_string(), "SERVER")
            .replace(&port(&self.caller).to_string(), "CALLER")
            .replace(&port(&self.callee).to_string(), "CALLEE");
        self.seen.push(format!("{what}: {text}"));
    }

    fn request(&self, method: &str, id: &str, what: &str, lines: &str, body: &str) -> String {
        format!(
            "{method} sip:bob@127.0.0.1:{};x=1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bK{id}\r\n\
             From: \"A\" <sip:alice@example.com>;tag=f{id}\r\nTo: <sip:bob@example.org>\r\nCall-ID: call-{id}\r\n\
             CSeq: 7 {method}\r\nContact: <sip:alice@127.0.0.1:{}>\r\nX-Do: {what}\r\nMax-Forwards: 70\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            port(&self.callee),
            port(&self.caller),
            port(&self.caller),
            body.len()
        )
    }

    fn send(&self, from: &UdpSocket, text: &str) {
        from.send_to(text.as_bytes(), ("127.0.0.1", self.server)).expect("sent");
    }

    /// Sends a request of the caller's and waits for its final reply: that.
    fn ask(&self, text: &str) -> String {
        self.send(&self.caller, text);
        self.answer(header(text, "Call-ID"))
    }

    fn answer(&self, call_id: &str) -> String {
        let end = Instant::now() + SECOND * 20;
        while Instant::now() < end {
            let Some(reply) = next(&self.caller, SECOND) else { continue };
            if reply.starts_with("SIP/2.0") && !reply.starts_with("SIP/2.0 1") && header(&reply, "Call-ID") == call_id {
                return reply;
            }
        }
        panic!("no answer to {call_id} on port {}", self.server);
    }

    /// The callee's next request of this method.
    fn heard(&self, method: &str) -> String {
        let end = Instant::now() + SECOND * 20;
        while Instant::now() < end {
            match next(&self.callee, SECOND) {
                Some(text) if text.starts_with(method) => return text,
                _ => {}
            }
        }
        panic!("the callee hears no {method} from port {}", self.server);
    }

    /// The callee's reply to a request.
    fn reply(&self, request: &str, status: u16) {
        let same = ["Via", "From", "Call-ID", "CSeq"];
        let lines: String = request
            .lines()
            .filter(|l| l.split_once(':').is_some_and(|(n, _)| same.iter().any(|s| s.eq_ignore_ascii_case(n))))
            .map(|l| format!("{}\r\n", l.trim_end()))
            .collect();
        let to = header(request, "To");
        self.send(
            &self.callee,
            &format!("SIP/2.0 {status} X\r\n{lines}To: {to};tag=callee\r\nContent-Length: 0\r\n\r\n"),
        );
    }

    fn wait_up(&self) {
        let end = Instant::now() + SECOND * 30;
        for n in 0.. {
            assert!(Instant::now() < end, "nobody answers on port {}", self.server);
            self.send(&self.caller, &self.request("OPTIONS", &format!("up{n}"), "up", "", ""));
            if next(&self.caller, Duration::from_millis(300)).is_some() {
                break;
            }
        }
        while next(&self.caller, Duration::from_millis(300)).is_some() {}
    }

    fn play(mut self) -> Vec<String> {
        self.wait_up();
        self.codes();
        self.copies();
        self.contacts();
        self.outside();
        self.headers();
        self.strays();
        self.seen
    }

    /// What functions return.
    fn codes(&mut self) {
        let reply = self.ask(&self.request("OPTIONS", "codes", "codes", "", ""));
        self.note("codes", header(&reply, "X-Out"));
    }

    /// Copies: who hears of them, and what the caller is told.
    fn copies(&mut self) {
        for what in ["copy-uri", "copy-host", "copy-udp", "copy-to", "copy-du", "copy-ruri"] {
            let reply = self.ask(&self.request("MESSAGE", what, what, "", "hello"));
            let copy = self.heard("MESSAGE");
            self.reply(&copy, 404);
            self.note(what, &format!("{} | {}", header(&reply, "X-Out"), copy.lines().next().unwrap_or_default()));
        }
    }

    /// The classes of contacts, one after the other.
    fn contacts(&mut self) {
        let reply = self.ask(&self.request("OPTIONS", "contacts", "contacts", "", ""));
        self.note("contacts", header(&reply, "X-Out"));
    }

    /// What a program outside reads.
    fn outside(&mut self) {
        let routes = "Record-Route: <sip:strict.example.com>\r\nRecord-Route: <sip:second.example.com;lr>\r\n";
        let loose = "Record-Route: <sip:first.example.com;lr>\r\nRecord-Route: <sip:second.example.com;lr>\r\n";
        for (id, lines, body) in
            [("out1", "X-Plan: gold\r\n", "v=0\r\n"), ("out2", routes, "v=0\r\n"), ("out3", loose, "v=0\r\n")]
        {
            self.send(&self.caller, &self.request("INVITE", id, "outside", lines, body));
            let mut bytes = vec![0; 65_535];
            let n = self.program.recv(&mut bytes).expect("the program hears of it");
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            // What names the transaction is each server's own, and so are its flags.
            let name = |(i, line)| match i {
                15 => "ID",
                18 => "FLAGS",
                _ => line,
            };
            let lines: Vec<&str> = text.split('\n').enumerate().map(name).collect();
            // Kamailio has the first of loose routers twice.
            let first = "<sip:first.example.com;lr>,";
            self.note(id, &lines.join("|").replace(&first.repeat(2), first));
            let reply = self.answer(&format!("call-{id}"));
            self.note(id, reply.lines().next().unwrap_or_default().trim_end());
        }
    }

    /// Headers of the ACK to a negative reply.
    fn headers(&mut self) {
        let lines = "X-Own-Key: 7\r\nx-own-too: 8\r\nX-Other: 9\r\n";
        self.send(&self.caller, &self.request("INVITE", "headers", "relay", lines, ""));
        let invite = self.heard("INVITE");
        self.reply(&invite, 486);
        let ack = self.heard("ACK");
        let mut extra: Vec<&str> = ack.lines().filter(|l| l.to_ascii_lowercase().starts_with("x-")).collect();
        extra.sort_unstable();
        let text = extra.join(" ");
        self.note("ACK", &text);
        self.answer("call-headers");
    }

    /// Replies that belong to no transaction: which of them come through.
    fn strays(&mut self) {
        for status in [404, 405, 406, 407, 200] {
            let text = format!(
                "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bKq{status}\r\n\
                 Via: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bKr\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
                 Call-ID: stray-{status}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                self.server,
                port(&self.caller)
            );
            self.send(&self.callee, &text);
        }
        let mut through = Vec::new();
        let end = Instant::now() + SECOND * 20;
        // The last of them comes through on both.
        while Instant::now() < end && !through.iter().any(|t: &String| t.starts_with("200")) {
            let Some(reply) = next(&self.caller, SECOND) else { continue };
            if header(&reply, "Call-ID").starts_with("stray-") {
                through.push(format!("{} {}", &reply[8..11], header(&reply, "X-Seen")));
            }
        }
        through.sort_unstable();
        self.note("strays", &through.join(", "));
    }
}

fn config(port: u16, callee: u16, program: &Path) -> String {
    let modules: String = ["kex", "corex", "tm", "tmx", "sl", "pv", "xlog", "textops", "textopsx", "siputils"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    let program = program.display();
    format!(
        r#"#!KAMAILIO
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}
{modules}
modparam("tm", "fr_timer", 1500)
modparam("tm", "contacts_avp", "tm_contacts")
modparam("tm", "contact_flows_avp", "tm_flows")
modparam("tm", "ac_extra_hdrs", "x-own-")
modparam("tm", "on_sl_reply", "stray")
modparam("tm", "tw_append", "extra:mail=avp[s:mail];hdr[X-Plan];hdr[X-Nope];plan=hdr[X-Plan]")
request_route {{
    if (is_method("ACK")) exit;
    $var(rc) = 0;
    route(DO);
    append_to_reply("X-Out: $var(rc)\r\n");
    sl_send_reply("200", "OK");
}}
route[DO] {{
    switch ($hdr(X-Do)) {{
    case "codes":
        t_set_no_e2e_cancel_reason("1"); $var(rc) = $rc;
        t_use_uac_headers(); $var(rc) = $var(rc) + "," + $rc;
        t_next_contacts(); $var(rc) = $var(rc) + "," + $rc;
        t_load_contacts(); $var(rc) = $var(rc) + "," + $rc;
        break;
    case "copy-uri": t_replicate("sip:127.0.0.1:{callee};transport=udp"); $var(rc) = $rc; break;
    case "copy-host": t_replicate("127.0.0.1", "{callee}"); $var(rc) = $rc; break;
    case "copy-udp": t_replicate_udp("127.0.0.1", "{callee}"); $var(rc) = $rc; break;
    case "copy-to": t_replicate_to("udp", "127.0.0.1:{callee}"); $var(rc) = $rc; break;
    case "copy-du": $du = "sip:127.0.0.1:{callee}"; $ru = "sip:x@192.0.2.1"; t_replicate(); $var(rc) = $rc; break;
    case "copy-ruri": t_replicate(); $var(rc) = $rc; break;
    case "contacts":
        $ru = "sip:a@h1";
        append_branch("sip:b@h2", "0.9");
        append_branch("sip:c@h3", "0.1");
        append_branch("sip:d@h4", "0.5");
        t_load_contacts(); $var(rc) = $rc;
        $var(n) = 0;
        while (t_next_contacts() && $var(n) < 9) {{
            $var(n) = $var(n) + 1;
            $var(rc) = $var(rc) + " " + $ru;
        }}
        $var(rc) = $var(rc) + " " + $rc;
        break;
    case "outside":
        $avp(s:mail) = "bob@example.com";
        setflag(4);
        t_newtran();
        if (!t_write_unix("{program}", "serve/extra")) t_reply("500", "not written");
        exit;
    case "relay":
        t_relay();
        exit;
    }}
}}
onreply_route[stray] {{
    if ($rs == 404) drop;
    if ($rs == 405) return 0;
    if ($rs == 406) exit;
    append_hf("X-Seen: yes\r\n");
}}
"#
    )
}

#[test]
fn others_see_the_same_of_both() {
    let dir = process::directory("tm");
    let theirs = {
        let (port, at) = (free_port(), dir.path().join("theirs"));
        let world = World::new(port, &at);
        let server = Kamailio::start(&config(port, self::port(&world.callee), &at));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
        seen.unwrap_or_else(|_| panic!("Kamailio's log:\n{}", server.log()))
    };
    let (port, at) = (free_port(), dir.path().join("ours"));
    let world = World::new(port, &at);
    let server = Reprise::start(&config(port, self::port(&world.callee), &at), &["-n", "1"]);
    let ours = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
    let ours = ours.unwrap_or_else(|_| panic!("our log:\n{}", server.log()));
    let pairs: Vec<String> = (theirs.iter().zip(&ours))
        .filter(|(a, b)| a != b)
        .map(|(a, b)| format!("Kamailio: {a}\nreprise:  {b}"))
        .collect();
    assert!(pairs.is_empty() && theirs.len() == ours.len(), "they differ:\n{}", pairs.join("\n"));
}
