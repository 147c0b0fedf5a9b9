//! `reprise demo`: what the server is for, in two seconds. It starts a server with one worker and a slow web
//! server, sends requests that wait for a web server, a database, a command and a timer, keeps on sending
//! OPTIONS through the same worker meanwhile, and prints what happened when.

mod answerer;
mod parts;

use crate::sip::Message;
use parts::{Directory, Server, Web};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// Arguments of `reprise demo`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct DemoArgs {
    /// Be the slow web server.
    #[arg(long, hide = true)]
    pub answerer: bool,
}

/// The requests that wait: user of the R-URI, the statement that waits, the status expected.
const WAITING: [(&str, &str, u16); 5] = [
    ("web", "async(rest_get(\"http://...\", $avp(out)), answer);", 200),
    ("database", "sql_query_one(\"SELECT ...\", \"$avp(out)\");", 200),
    ("command", "await exec(\"...\", , $avp(out));", 200),
    ("timer", "while ($var(i) < 3) { usleep(100000); ... }", 200),
    ("dead", "async(rest_get(\"http://...\", $avp(out)), answer, 1);", 504),
];
/// The list of waits is asked for after so long.
const LOOK: Duration = Duration::from_millis(150);
/// Pause between two OPTIONS.
const PAUSE: Duration = Duration::from_millis(10);
/// When everything must be over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows it; the exit code is 1 if a request was not answered as it should.
pub fn main(args: &DemoArgs) -> ExitCode {
    if args.answerer {
        return answerer::main();
    }
    let outcome = play().and_then(|play| play.show(&mut io::stdout().lock()).map_err(|e| e.to_string()));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("reprise demo: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What happened.
struct Play {
    requests: Vec<Request>,
    /// The control socket's list, asked for in the middle.
    waits: Value,
    /// How long each OPTIONS took.
    options: Vec<Duration>,
    /// OPTIONS that got no answer.
    lost: usize,
    threads: Option<usize>,
    took: Duration,
    /// The server ended with status 0 when it was told to.
    ended: bool,
}

struct Request {
    call_id: String,
    sent: SystemTime,
    /// What the script said, and when.
    events: Vec<(SystemTime, String)>,
    answer: Option<(SystemTime, u16, String)>,
}

/// Plays it all.
fn play() -> Result<Play, String> {
    let dir = Directory::make()?;
    let web = Web::start()?;
    let server = Server::start(&dir.0, web.port)?;
    let text = |e: io::Error| e.to_string();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(text)?;
    socket.connect(("127.0.0.1", server.port)).map_err(text)?;
    let phone = Phone { socket, answers: BTreeMap::new() };
    play_with(server, phone).map_err(text)
}

fn play_with(server: Server, mut phone: Phone) -> io::Result<Play> {
    // One that waits for nothing, first: everything is in memory now, as it is in a server that runs.
    phone.options("warm-up")?;
    let begin = Instant::now();
    let mut requests = Vec::new();
    for (user, ..) in WAITING {
        let call_id = format!("{user}@demo");
        let sent = SystemTime::now();
        phone.send("MESSAGE", user, &call_id)?;
        requests.push(Request { call_id, sent, events: Vec::new(), answer: None });
    }
    let (mut options, mut lost, mut waits) = (Vec::new(), 0, Value::Null);
    while begin.elapsed() < PATIENCE && requests.iter().any(|r| !phone.answers.contains_key(&r.call_id)) {
        match phone.options(&format!("options-{}", options.len() + lost))? {
            Some(took) => options.push(took),
            None => lost += 1,
        }
        if waits.is_null() && begin.elapsed() > LOOK {
            waits = server.ask("waits").unwrap_or(Value::Array(Vec::new()));
        }
        phone.listen(PAUSE, None)?;
    }
    let took = begin.elapsed();
    let threads = server.threads();
    // The last lines of the log may still be on their way.
    while let Ok(line) = server.log.recv_timeout(Duration::from_millis(50)) {
        note(&line, &mut requests);
    }
    for r in &mut requests {
        r.answer = phone.answers.remove(&r.call_id);
        r.events.sort();
    }
    Ok(Play { requests, waits, options, lost, threads, took, ended: server.stop() })
}

/// Takes in a line of the log: `... DEMO seconds microseconds Call-ID what`.
fn note(line: &str, requests: &mut [Request]) -> Option<()> {
    let (_, rest) = line.split_once("DEMO ")?;
    let mut parts = rest.splitn(4, ' ');
    let (seconds, micros) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
    let call_id = parts.next()?;
    let request = requests.iter_mut().find(|r| r.call_id == call_id)?;
    request.events.push((at, parts.next()?.trim().to_string()));
    Some(())
}

/// The sender of the requests.
struct Phone {
    socket: UdpSocket,
    /// Final answers by Call-ID.
    answers: BTreeMap<String, (SystemTime, u16, String)>,
}

impl Phone {
    fn send(&self, method: &str, user: &str, call_id: &str) -> io::Result<()> {
        let port = self.socket.local_addr()?.port();
        let lines = [
            format!("{method} sip:{user}@127.0.0.1 SIP/2.0"),
            format!("Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK-{call_id}"),
            "Max-Forwards: 70".to_string(),
            "From: <sip:alice@127.0.0.1>;tag=demo".to_string(),
            format!("To: <sip:{user}@127.0.0.1>"),
            format!("Call-ID: {call_id}"),
            format!("CSeq: 1 {method}"),
            "Content-Length: 0\r\n\r\n".to_string(),
        ];
        self.socket.send(lines.join("\r\n").as_bytes()).map(drop)
    }

    /// Sends an OPTIONS: how long its answer took, or nothing if none came.
    fn options(&mut self, call_id: &str) -> io::Result<Option<Duration>> {
        let sent = Instant::now();
        self.send("OPTIONS", "ping", call_id)?;
        self.listen(Duration::from_millis(500), Some(call_id))?;
        Ok(self.answers.remove(call_id).map(|_| sent.elapsed()))
    }

    /// Takes in what comes, for a time or until this one has come.
    fn listen(&mut self, time: Duration, wanted: Option<&str>) -> io::Result<()> {
        let until = Instant::now() + time;
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || wanted.is_some_and(|w| self.answers.contains_key(w)) {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(n) => {
                    let Ok(msg) = Message::parse_slice(&buffer[..n]) else { continue };
                    if !msg.is_request() && msg.status() >= 200 {
                        let call_id = String::from_utf8_lossy(msg.call_id()).into_owned();
                        let reason = String::from_utf8_lossy(msg.reason()).into_owned();
                        self.answers.entry(call_id).or_insert((SystemTime::now(), msg.status(), reason));
                    }
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

impl Play {
    /// Prints it; says whether all is as it should be.
    fn show(&self, to: &mut dyn Write) -> io::Result<bool> {
        writeln!(
            to,
            "One server with one worker{}. Five requests reach it at once; each has to wait.\n",
            self.threads
                .map_or_else(String::new, |n| format!(", which has {n} thread{}", if n == 1 { "" } else { "s" }))
        )?;
        let mut good = self.lost == 0 && self.ended && self.threads == Some(1);
        for (request, (user, statement, status)) in self.requests.iter().zip(WAITING) {
            writeln!(to, "MESSAGE sip:{user:<10}{statement}")?;
            let mut before = request.sent;
            for (at, what) in &request.events {
                let since = |t: SystemTime| millis(at.duration_since(t).unwrap_or_default());
                let after = match what.strip_prefix("resumed ") {
                    Some(rest) => format!("resumed after {} ms {rest}", since(before)),
                    None => what.clone(),
                };
                writeln!(to, "{:>9} ms  {after}", since(request.sent))?;
                before = *at;
            }
            match &request.answer {
                Some((at, code, reason)) => {
                    let took = at.duration_since(request.sent).unwrap_or_default();
                    writeln!(to, "{:>9} ms  answered {code} {reason}\n", millis(took))?;
                    good &= *code == status;
                }
                None => {
                    writeln!(to, "           never answered\n")?;
                    good = false;
                }
            }
        }
        self.show_waits(to)?;
        let waited: Duration =
            self.requests.iter().filter_map(|r| r.answer.as_ref()?.0.duration_since(r.sent).ok()).sum();
        let mut sorted = self.options.clone();
        sorted.sort();
        let at = |n: usize| sorted.get(n).map_or_else(String::new, |d| millis(*d));
        writeln!(
            to,
            "{} OPTIONS went through the same worker meanwhile: answered after {} ms (median), {} ms (slowest){}.",
            sorted.len() + self.lost,
            at(sorted.len() / 2),
            at(sorted.len().saturating_sub(1)),
            if self.lost > 0 { format!(", {} lost", self.lost) } else { String::new() },
        )?;
        writeln!(
            to,
            "The five waits add up to {} ms and were over after {} ms. A worker that blocks would have kept every OPTIONS \
             waiting, too.",
            waited.as_millis(),
            self.took.as_millis()
        )?;
        Ok(good)
    }

    /// What `reprise ctl waits` showed in the middle.
    fn show_waits(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "`reprise ctl waits` after {} ms:", LOOK.as_millis())?;
        for wait in self.waits.as_array().into_iter().flatten() {
            let text = |name: &str| wait[name].as_str().unwrap_or_default().to_string();
            let backend: String = text("backend").chars().take(44).collect();
            writeln!(
                to,
                "    {:<14} {:<44} {:<8} line {:<3} {}",
                text("function"),
                backend,
                text("phase"),
                wait["line"],
                text("call_id")
            )?;
        }
        writeln!(to)
    }
}

/// Milliseconds with one decimal place.
fn millis(d: Duration) -> String {
    format!("{:.1}", d.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_find_their_request() {
        let request = |user: &str| Request {
            call_id: format!("{user}@demo"),
            sent: SystemTime::UNIX_EPOCH,
            events: Vec::new(),
            answer: None,
        };
        let mut requests = vec![request("web"), request("dead")];
        for line in ["2026 NOTICE [7] DEMO 5 250 dead@demo received", "DEMO x", "other", "DEMO 5 250 who@demo received"]
        {
            note(line, &mut requests);
        }
        assert!(requests[0].events.is_empty());
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(5_000_250);
        assert_eq!(requests[1].events, [(at, "received".to_string())]);
    }
}
