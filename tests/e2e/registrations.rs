//! Registrations with Kamailio beside the server: the same requests, the same replies (tests/kamailio/registrations.txt).

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::common::SECOND;
use crate::kamailio::{Kamailio, head};
use crate::support::free_port;
use crate::support::reprise::Reprise;

/// One thing that a case does.
enum Step {
    Wait(Duration),
    Ask { method: String, uri: String, cseq: Option<u32>, call: Option<String>, headers: Vec<String> },
}

struct Case {
    name: String,
    differs: bool,
    steps: Vec<Step>,
}

/// Parameters, and the cases that are tried with them.
struct Section {
    params: String,
    cases: Vec<Case>,
}

fn sections() -> Vec<Section> {
    let text = fs::read_to_string("tests/kamailio/registrations.txt").expect("the list of cases");
    let mut sections: Vec<Section> = Vec::new();
    for block in text.split("\n\n").map(str::trim).filter(|b| !b.is_empty() && !b.starts_with('#')) {
        if let Some((_, params)) = block.strip_prefix('%').and_then(|b| b.split_once('\n')) {
            sections.push(Section { params: params.to_owned(), cases: Vec::new() });
            continue;
        }
        let mut lines = block.lines();
        let name = lines.next().expect("a name");
        let differs = name.starts_with("~ ");
        let mut steps = Vec::new();
        for line in lines {
            if let Some(seconds) = line.strip_prefix("wait ") {
                steps.push(Step::Wait(Duration::from_secs_f64(seconds.parse().expect("seconds"))));
            } else if let Some(request) = line.strip_prefix("> ") {
                let mut words = request.split(' ').map(str::to_owned);
                let (method, uri) = (words.next().expect("a method"), words.next().expect("a URI"));
                let (mut cseq, mut call) = (None, None);
                while let (Some(key), Some(value)) = (words.next(), words.next()) {
                    match key.as_str() {
                        "cseq" => cseq = Some(value.parse().expect("a number")),
                        _ => call = Some(value),
                    }
                }
                steps.push(Step::Ask { method, uri, cseq, call, headers: Vec::new() });
            } else if let Some(Step::Ask { headers, .. }) = steps.last_mut() {
                headers.push(line.trim().to_owned());
            } else {
                panic!("{name}: what is `{line}`?");
            }
        }
        let case = Case { name: name.trim_start_matches("~ ").to_owned(), differs, steps };
        sections.last_mut().expect("a section").cases.push(case);
    }
    sections
}

fn config(port: u16, params: &str) -> String {
    format!(
        r##"{}{params}
request_route {{
    if ($hdr(X-Received) != $null) $avp(RECEIVED) = $hdr(X-Received);
    if (is_method("REGISTER")) {{
        if ($rU == "quiet") {{
            save("location", "2");
            append_to_reply("X-Code: $rc\r\n");
            sl_send_reply("200", "OK");
        }} else if ($rU == "only") {{
            save("location", "4");
        }} else if ($rU == "prepared") {{
            save("location", "18");
            append_to_reply("X-Code: $rc\r\n");
            reg_send_reply();
        }} else {{
            save("location");
        }}
        exit;
    }}
    if ($rU == "away") {{
        unregister("location", "$tu");
        append_to_reply("X-Code: $rc\r\n");
    }} else if ($rU == "there") {{
        registered("location", "$tu");
        append_to_reply("X-Code: $rc\r\n");
    }} else if ($rU == "fetch") {{
        reg_fetch_contacts("location", "$tu", "p");
        append_to_reply("X-Code: $rc\r\n");
        append_to_reply("X-Out: $ulc(p=>aor) $ulc(p=>domain) $ulc(p=>count) $ulc(p=>addr) $ulc(p=>q)\r\n");
        append_to_reply("X-More: $ulc(p=>received) $ulc(p=>path) $ulc(p=>methods) $ulc(p=>user_agent)\r\n");
        append_to_reply("X-Last: $ulc(p=>flags) $ulc(p=>cflags) $ulc(p=>callid) $ulc(p=>cseq) $ulc(p=>regid)\r\n");
    }} else {{
        lookup("location");
        append_to_reply("X-Code: $rc\r\n");
        append_to_reply("X-Out: $ru $du\r\n");
    }}
    sl_send_reply("200", "OK");
}}
"##,
        head(port, &["usrloc", "registrar"])
    )
}

/// Headers that are compared; of some only that they are there.
const HEADERS: [(&str, bool); 9] = [
    ("Path", true),
    ("Unsupported", true),
    ("Min-Expires", true),
    ("Retry-After", true),
    ("X-Code", true),
    ("X-Out", true),
    ("X-More", true),
    ("X-Last", true),
    ("P-Registrar-Error", false),
];

/// What is compared of a reply: a text, and the times in it.
#[derive(Debug, Clone, Default)]
struct Seen {
    text: String,
    times: Vec<i64>,
}

impl Seen {
    fn of(reply: &str, port: u16) -> Seen {
        let mut lines = reply.lines();
        let status: String = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
        let mut seen = Seen { text: status.clone(), times: Vec::new() };
        // In which order headers stand is left to a server.
        let mut lines: Vec<&str> = lines.collect();
        lines.sort_unstable();
        for line in lines.into_iter().map(|l| l.replace(&port.to_string(), "PORT")) {
            let Some((name, value)) = line.split_once(": ") else { continue };
            // Only a success tells contacts.
            if name == "Contact" && status.starts_with('2') {
                seen.contacts(value);
            }
            if let Some((_, whole)) = HEADERS.iter().find(|(h, _)| *h == name) {
                let value = if *whole { value } else { "" };
                seen.text.push_str(&format!(" | {name}: {value}"));
            }
        }
        seen
    }

    fn contacts(&mut self, value: &str) {
        self.text.push_str(" | Contact:");
        for part in value.split(';') {
            let (time, rest) = match part.strip_prefix("expires=") {
                Some(rest) => {
                    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    (rest[..digits].parse::<i64>().ok(), format!("expires=N{}", &rest[digits..]))
                }
                // The name of a binding is the server's own.
                None if part.starts_with("temp-gruu=") => {
                    let host = part.split_once('@').map_or("", |(_, h)| h);
                    (None, format!("temp-gruu=\"sip:NAME@{host}"))
                }
                None => (None, part.to_owned()),
            };
            self.times.extend(time);
            self.text.push_str(&format!(";{rest}"));
        }
    }

    /// Whether both say the same: times may have gone on meanwhile.
    fn is_like(&self, other: &Seen) -> bool {
        let near = |(a, b): (&i64, &i64)| (a - b).abs() <= 5;
        self.text == other.text
            && self.times.len() == other.times.len()
            && self.times.iter().zip(&other.times).all(near)
    }
}

struct Client {
    socket: UdpSocket,
    port: u16,
    sent: u32,
}

impl Client {
    fn ask(&mut self, text: &str, branch: &str, wait: Duration) -> Option<String> {
        self.socket.send_to(text.as_bytes(), ("127.0.0.1", self.port)).expect("sent");
        let end = Instant::now() + wait;
        let mut buffer = vec![0; 65_535];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let reply = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if reply.contains(&format!("branch={branch}\r\n")) || reply.contains(&format!("branch={branch};")) {
                return Some(reply);
            }
        }
        None
    }

    fn step(&mut self, user: &str, step: &Step) -> Option<Seen> {
        let Step::Ask { method, uri, cseq, call, headers } = step else { return None };
        self.sent += 1;
        let (own, n) = (self.socket.local_addr().expect("an address").port(), self.sent);
        let branch = format!("z9hG4bKr{n}");
        let uri = uri.replace("{user}", user);
        let headers: String = headers.iter().map(|h| format!("{}\r\n", h.replace("{user}", user))).collect();
        let to = if headers.contains("To: ") { String::new() } else { format!("To: <sip:{user}@example.com>\r\n") };
        let call = call.as_deref().unwrap_or("call");
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag=f\r\n{to}Call-ID: {call}-{user}\r\nCSeq: {} {method}\r\n{headers}\
             Content-Length: 0\r\n\r\n",
            cseq.unwrap_or(n)
        );
        let reply = self.ask(&text, &branch, SECOND * 20);
        Some(reply.map_or_else(|| Seen { text: "no answer".into(), ..Seen::default() }, |r| Seen::of(&r, own)))
    }
}

/// The replies to all steps of all cases.
fn replies(port: u16, cases: &[Case], log: &dyn Fn() -> String) -> Vec<Vec<Seen>> {
    let mut client = Client { socket: UdpSocket::bind("127.0.0.1:0").expect("a socket"), port, sent: 0 };
    let end = Instant::now() + SECOND * 20;
    let ready = |client: &mut Client| {
        let own = client.socket.local_addr().expect("an address").port();
        let text = format!(
            "OPTIONS sip:there@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        client.ask(&text, "z9hG4bK", Duration::from_millis(200)).is_some()
    };
    while !ready(&mut client) {
        assert!(Instant::now() < end, "nobody answers on port {port}\n{}", log());
    }
    let mut all = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let mut seen = Vec::new();
        for step in &case.steps {
            match step {
                // What is tried is what the servers do when time has passed.
                Step::Wait(time) => std::thread::sleep(*time),
                step => seen.extend(client.step(&format!("u{n}"), step)),
            }
        }
        all.push(seen);
    }
    all
}

#[test]
fn registrations_are_answered_the_same_by_both() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for section in sections() {
        let theirs = {
            let port = free_port();
            let server = Kamailio::start(&config(port, &section.params));
            replies(port, &section.cases, &|| server.log())
        };
        let port = free_port();
        let server = Reprise::start(&config(port, &section.params), &["-n", "2"]);
        let ours = replies(port, &section.cases, &|| server.log());
        for ((case, theirs), ours) in section.cases.iter().zip(theirs).zip(ours) {
            count += 1;
            let same = theirs.iter().zip(&ours).all(|(a, b)| a.is_like(b));
            if same == case.differs {
                let lines = theirs.iter().zip(&ours).map(|(a, b)| {
                    let mark = if a.is_like(b) { ' ' } else { '!' };
                    format!("  {mark} Kamailio: {} {:?}\n    reprise:  {} {:?}", a.text, a.times, b.text, b.times)
                });
                wrong.push(format!("{}\n{}", case.name, lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    assert!(count >= 60, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}
