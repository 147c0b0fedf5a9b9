//! From the text of a scenario file to its statements.

use super::line::Line;
use super::syntax::*;
use super::text::{Mistake, duration, words};
use crate::net::pipe::simulated::Door;
use crate::net::resolver::Record;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Words that begin a statement; no peer may be called so.
const STATEMENTS: [&str; 18] = [
    "config",
    "listen",
    "peer",
    "let",
    "call",
    "dns",
    "wait",
    "always",
    "operation",
    "no",
    "nobody",
    "log",
    "statistic",
    "clock",
    "worker",
    "drain",
    "ignore",
    "then",
];

/// What a peer can do.
const VERBS: &str = "`sends`, `repeats`, `replies`, `expects`, `accepts`, `refuses`, `ignores` or `hangs up`";

/// Parses a scenario. Files it names are relative to `directory`.
pub fn parse(text: &str, directory: &Path) -> Parsed<Scenario> {
    let lines = text.lines().collect();
    let mut parser = Parser { lines, at: 0, directory, scenario: Scenario::default() };
    while parser.at < parser.lines.len() {
        parser.statement()?;
    }
    if parser.scenario.config.is_none() {
        let message = "the scenario has no configuration: expected `config FILE`, or `config` with the text and `end config` below it";
        return Err(Mistake { line: parser.lines.len().max(1), column: 1, message: message.into() });
    }
    Ok(parser.scenario)
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    at: usize,
    directory: &'a Path,
    scenario: Scenario,
}

impl Parser<'_> {
    fn statement(&mut self) -> Parsed<()> {
        let (number, text) = (self.at + 1, self.lines.get(self.at).copied().unwrap_or_default());
        self.at += 1;
        let mut line = Line::new(words(text, number)?, number, text);
        if line.is_over() {
            return Ok(());
        }
        if text.starts_with([' ', '\t']) {
            return Err(
                line.wrong("a statement at the beginning of the line; indented lines belong to the message above them")
            );
        }
        let action = match line.peek().unwrap_or_default() {
            "config" => return self.config(&mut line),
            "listen" => {
                line.skip();
                let spec = line.word("a socket such as udp:192.0.2.10:5060")?;
                if crate::net::listen::ListenSpec::parse(&spec).is_err() {
                    return Err(line.wrong_before("a socket such as udp:192.0.2.10:5060"));
                }
                self.scenario.listen.push(spec);
                return line.end();
            }
            "peer" => return self.peer(&mut line),
            "let" => {
                line.skip();
                let name = line.word("a name")?;
                line.keyword("=")?;
                let value = match line.quoted() {
                    Some(text) => text,
                    None => line.rest("a text")?,
                };
                Action::Let(name, value)
            }
            "call" => {
                line.skip();
                Action::Call(line.word("a name for the call")?)
            }
            "dns" => dns(&mut line)?,
            "wait" => {
                line.skip();
                Action::Wait(time(&mut line)?)
            }
            "clock" => {
                line.skip();
                const WHAT: &str = "a date and a time of UTC such as 2026-12-24 18:00:00";
                let text = format!("{} {}", line.word(WHAT)?, line.word(WHAT)?);
                Action::Clock(utc(&text).ok_or_else(|| line.wrong_before(WHAT))?)
            }
            "always" => {
                line.skip();
                let (kind, pattern) = operation(&mut line)?;
                let answer = super::answer::answer(&mut line)?;
                let after = if line.take("after") { time(&mut line)? } else { Duration::ZERO };
                Action::Operation { kind, pattern, what: Fate::Always(answer, after) }
            }
            "operation" => {
                let (kind, pattern) = operation(&mut line)?;
                Action::Operation { kind, pattern, what: super::answer::fate(&mut line)? }
            }
            "no" => {
                line.skip();
                line.keyword("operation")?;
                Action::NoOperation
            }
            "nobody" => {
                line.skip();
                line.keyword("expects")?;
                line.keyword("anything")?;
                Action::Nothing { peer: None, silence: false }
            }
            "log" => log(&mut line)?,
            "statistic" => {
                line.skip();
                let name = line.word("the name of a statistic such as tm:2xx_transactions")?;
                line.keyword("is")?;
                Action::Statistic(name, line.number("a number")?)
            }
            "worker" => worker(&mut line)?,
            "drain" => {
                line.skip();
                Action::Drain(time(&mut line)?)
            }
            "ignore" => {
                line.skip();
                line.keyword("the")?;
                line.keyword("rest")?;
                Action::IgnoreRest
            }
            _ => self.by_peer(&mut line)?,
        };
        line.end()?;
        self.scenario.steps.push(Step { line: number, action });
        Ok(())
    }

    fn config(&mut self, line: &mut Line) -> Parsed<()> {
        if self.scenario.config.is_some() {
            return Err(line.wrong("no second configuration"));
        }
        line.skip();
        if !line.is_over() {
            let name = line.rest("a file name")?;
            self.scenario.config = Some(Config::File(self.directory.join(name)));
            return line.end();
        }
        let mut text = "\n".repeat(self.at);
        while let Some(next) = self.lines.get(self.at) {
            self.at += 1;
            if next.trim_end() == "end config" {
                self.scenario.config = Some(Config::Text(text));
                return Ok(());
            }
            text.push_str(next);
            text.push('\n');
        }
        Err(line.wrong_at(1, "`end config` somewhere below"))
    }

    fn peer(&mut self, line: &mut Line) -> Parsed<()> {
        line.skip();
        let name = line.word("a name")?;
        let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !valid || STATEMENTS.contains(&name.as_str()) {
            return Err(line.wrong_before("a name of letters and digits that is no statement"));
        }
        if self.scenario.peers.iter().any(|p| p.name == name) {
            return Err(line.wrong_before("a name that no other peer has"));
        }
        let text = line.word("an address such as 192.0.2.1, 192.0.2.1:5070 or tcp:192.0.2.1")?;
        let (tcp, host) = match text.split_once(':') {
            Some(("tcp", rest)) => (true, rest),
            Some(("udp", rest)) => (false, rest),
            _ => (false, text.as_str()),
        };
        let addr = address(host)
            .ok_or_else(|| line.wrong_before("an address such as 192.0.2.1, 192.0.2.1:5070 or [2001:db8::1]:5060"))?;
        if self.scenario.peers.iter().any(|p| p.addr == addr) {
            return Err(line.wrong_before("an address that no other peer has"));
        }
        let uri = if line.is_over() {
            format!("sip:{name}@{}", crate::modules::env::bracketed(addr.ip()))
        } else {
            line.word("a SIP URI")?
        };
        line.end()?;
        self.scenario.peers.push(Peer { name, addr, uri, tcp });
        Ok(())
    }

    fn peer_number(&self, line: &mut Line) -> Parsed<usize> {
        let name = line.word("the name of a peer")?;
        if let Some(n) = self.scenario.peers.iter().position(|p| p.name == name) {
            return Ok(n);
        }
        let known = self.scenario.peers.iter().map(|p| p.name.as_str()).chain(STATEMENTS);
        let hint = crate::base::names::suggest(&name, known).map(|n| format!("; did you mean \"{n}\"?"));
        let what = format!("a statement or the name of a peer{}", hint.unwrap_or_default());
        Err(line.wrong_before(&what))
    }

    fn by_peer(&mut self, line: &mut Line) -> Parsed<Action> {
        let then = line.take("then");
        let peer = self.peer_number(line)?;
        let verb = line.word(VERBS)?;
        match verb.as_str() {
            "accepts" | "refuses" | "ignores" if !then => {
                line.keyword("tcp")?;
                let door = match verb.as_str() {
                    "accepts" => Door::Accepts,
                    "refuses" => Door::Refuses,
                    _ => Door::Ignores,
                };
                Ok(Action::Door(peer, door))
            }
            "hangs" if !then => {
                line.keyword("up")?;
                Ok(Action::HangUp(peer))
            }
            "sends" if !then => self.sends(line, peer),
            "repeats" if !then => {
                let what = if line.is_over() { None } else { Some(line.word("a method or a status code")?) };
                Ok(Action::Repeat { peer, what })
            }
            "replies" if !then => {
                let code = self.code(line)?;
                let to = line.take_last_pair("to");
                let reason = if line.is_over() { None } else { Some(line.rest("a reason phrase")?) };
                Ok(Action::Reply { peer, code, reason, to, block: self.block()? })
            }
            "expects" => self.expects(line, peer, then),
            _ if then => Err(line.wrong_before("`expects`")),
            _ => Err(line.wrong_before(VERBS)),
        }
    }

    fn sends(&mut self, line: &mut Line, peer: usize) -> Parsed<Action> {
        // In either order.
        let mut over = Over { at: socket(line)?, tcp: transport(line)? };
        if over.at.is_none() {
            over.at = socket(line)?;
        }
        if line.take("raw") {
            let Block { headers: _, body } = self.raw_block()?;
            return match body {
                Some(text) => Ok(Action::SendRaw { peer, over, text }),
                None => Err(line.wrong("the message in indented lines below")),
            };
        }
        let method = line.word("a method such as INVITE, or `raw`")?;
        if !is_method(&method) {
            return Err(line.wrong_before("a method in capital letters such as INVITE, or `raw`"));
        }
        let uri = if line.is_over() { None } else { Some(line.word("a Request-URI")?) };
        Ok(Action::Send { peer, method, uri, over, block: self.block()? })
    }

    fn expects(&mut self, line: &mut Line, peer: usize, then: bool) -> Parsed<Action> {
        if line.take("nothing") {
            return Ok(Action::Nothing { peer: Some(peer), silence: false });
        }
        if line.take("silence") {
            return Ok(Action::Nothing { peer: Some(peer), silence: true });
        }
        if line.take("closed") {
            return Ok(Action::Closed(peer));
        }
        let tcp = transport(line)?;
        let first = line.word("a method, a status code, `nothing`, `silence` or `closed`")?;
        if line.peek() == Some("again") {
            line.skip();
            let times = match line.is_over() {
                true => None,
                false => {
                    let n = line.number("how many times")?;
                    if !line.take("times") {
                        line.keyword("time")?;
                    }
                    Some(usize::try_from(n).unwrap_or(usize::MAX))
                }
            };
            return Ok(Action::Again { peer, what: first, times });
        }
        let what = if is_method(&first) {
            let uri = if line.is_over() { None } else { Some(line.word("a Request-URI")?) };
            Start::Request { method: first, uri }
        } else if let Some(code) = status(&first) {
            let reason = if line.is_over() { None } else { Some(line.rest("a reason phrase")?) };
            Start::Reply { code, reason }
        } else {
            return Err(line.wrong_before("a method in capital letters, a status code, `nothing` or `silence`"));
        };
        Ok(Action::Expect { peer, then, what, tcp, block: self.block()? })
    }

    fn code(&self, line: &mut Line) -> Parsed<u16> {
        let text = line.word("a status code")?;
        status(&text).ok_or_else(|| line.wrong_before("a status code from 100 to 699"))
    }

    /// The indented lines from here on (with empty ones between them).
    fn indented(&mut self) -> Vec<(usize, String)> {
        let mut out: Vec<(usize, String)> = Vec::new();
        while let Some(line) = self.lines.get(self.at) {
            if !line.trim().is_empty() && !line.starts_with([' ', '\t']) {
                break;
            }
            self.at += 1;
            out.push((self.at, (*line).to_string()));
        }
        while out.last().is_some_and(|(_, l)| l.trim().is_empty()) {
            out.pop();
        }
        let indent =
            out.iter().filter(|(_, l)| !l.trim().is_empty()).map(|(_, l)| l.len() - l.trim_start().len()).min();
        for (_, line) in &mut out {
            *line = line.get(indent.unwrap_or(0)..).unwrap_or_default().to_string();
        }
        out
    }

    fn raw_block(&mut self) -> Parsed<Block> {
        let lines = self.indented();
        Ok(Block { headers: Vec::new(), body: (!lines.is_empty()).then_some(lines) })
    }

    fn block(&mut self) -> Parsed<Block> {
        let mut block = Block::default();
        let mut lines = self.indented().into_iter();
        for (number, line) in lines.by_ref() {
            let text = line.trim_end();
            if text.is_empty() {
                // Behind the empty line stands the body; comments above it do not count.
                let body: Vec<(usize, String)> = lines.collect();
                if !body.is_empty() {
                    block.body = Some(body);
                }
                break;
            }
            if !text.starts_with('#') {
                block.headers.push((number, header_line(text, number)?));
            }
        }
        Ok(block)
    }
}

/// `at ADDRESS` at the end of the line.
fn socket(line: &mut Line) -> Parsed<Option<SocketAddr>> {
    let Some(text) = line.take_last_pair("at") else { return Ok(None) };
    let addr = address(&text).ok_or_else(|| line.wrong("the address of a socket of the server behind `at`"))?;
    Ok(Some(addr))
}

/// `over tcp` or `over udp` at the end of the line: whether it is TCP.
fn transport(line: &mut Line) -> Parsed<Option<bool>> {
    match line.take_last_pair("over").as_deref() {
        None => Ok(None),
        Some("tcp") => Ok(Some(true)),
        Some("udp") => Ok(Some(false)),
        Some(_) => Err(line.wrong("`tcp` or `udp` behind `over`")),
    }
}

fn header_line(text: &str, number: usize) -> Parsed<HeaderLine> {
    let name = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if let Some(rest) = text.strip_prefix("no ") {
        let rest = rest.trim();
        if rest == "body" {
            return Ok(HeaderLine::NoBody);
        }
        if let Some(header) = rest.strip_prefix("more ").map(str::trim).filter(|h| name(h)) {
            return Ok(HeaderLine::NoMore(header.to_string()));
        }
        if name(rest) {
            return Ok(HeaderLine::None(rest.to_string()));
        }
    }
    if let Some(rest) = text.strip_prefix("body contains ") {
        let found = words(rest, number)?;
        return Ok(HeaderLine::BodyContains(match &found[..] {
            [word] if word.quoted => word.text.clone(),
            _ => rest.trim().to_string(),
        }));
    }
    match text.split_once(':') {
        Some((n, value)) if name(n.trim()) => Ok(HeaderLine::Is(n.trim().to_string(), value.trim().to_string())),
        _ => {
            let message = format!(
                "expected `Header: value`, `no HEADER`, `no more HEADER`, `no body` or `body contains TEXT`, found \"{text}\""
            );
            Err(Mistake { line: number, column: 1, message })
        }
    }
}

fn time(line: &mut Line) -> Parsed<Duration> {
    let text = line.word("a time such as 32s, 500ms or 3min")?;
    duration(&text).ok_or_else(|| line.wrong_before("a time such as 32s, 500ms or 3min"))
}

/// `2026-12-24 18:00:00` as microseconds since 1970.
fn utc(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let numbers = |text: &str, by: char| text.split(by).map(|n| n.parse().ok()).collect::<Option<Vec<i64>>>();
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let (&[year, month, day], &[hour, minute, second]) = (&date[..], &time[..]) else { return None };
    let possible = (1970..3000).contains(&year) && (1..13).contains(&month) && (1..32).contains(&day);
    if !possible || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    // The day whose date this is, looked for around where it must be.
    let about = (year - 1970) * 365 + (year - 1969) / 4 + (month - 1) * 30 + day;
    let found = (about - 40..about + 10).find(|n| {
        let civil = crate::modules::time_text::civil(n * 86_400);
        (civil.year, i64::from(civil.month), i64::from(civil.day)) == (year, month, day)
    })?;
    Some((found * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000)
}

fn is_method(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn status(text: &str) -> Option<u16> {
    text.parse().ok().filter(|c| (100..700).contains(c) && text.len() == 3)
}

/// `192.0.2.1`, `192.0.2.1:5070`, `[::1]`, `[::1]:5070`
pub fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(addr);
    }
    let ip: IpAddr = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(SocketAddr::new(ip, 5060))
}

/// `operation KIND "PATTERN"`
fn operation(line: &mut Line) -> Parsed<(String, String)> {
    line.keyword("operation")?;
    let kinds = "the kind of operation (mysql, sqlite, sql, http, exec, any)";
    let kind = line.word(kinds)?;
    if !kind.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(line.wrong_before(kinds));
    }
    let pattern = line.quoted().ok_or_else(|| line.wrong("what it asks, in quotes (`*` is anything)"))?;
    Ok((kind, pattern))
}

fn log(line: &mut Line) -> Parsed<Action> {
    line.skip();
    let contains = match line.word("`contains` or `does not contain`")?.as_str() {
        "contains" => true,
        "does" => {
            line.keyword("not")?;
            line.keyword("contain")?;
            false
        }
        _ => return Err(line.wrong_before("`contains` or `does not contain`")),
    };
    let pattern = match line.quoted() {
        Some(text) => text,
        None => line.rest("a text")?,
    };
    Ok(Action::Log { contains, pattern })
}

fn worker(line: &mut Line) -> Parsed<Action> {
    line.skip();
    if line.take("is") {
        let not = line.take("not");
        line.keyword("drained")?;
        return Ok(Action::Drained(!not));
    }
    if !line.take("holds") {
        return Err(line.wrong("`holds` or `is drained`"));
    }
    if line.take("nothing") {
        return Ok(Action::Holds(Vec::new()));
    }
    let mut list = Vec::new();
    loop {
        let n = line.number("a number, or `nothing`")?;
        let what = "`runs`, `transactions`, `operations`, `relays`, `lookups`, `locks`, `connections` or `timers`";
        let word = line.word(what)?;
        let noun = word.trim_end_matches('s').to_string();
        if !["run", "transaction", "operation", "relay", "lookup", "lock", "connection", "timer"]
            .contains(&noun.as_str())
        {
            return Err(line.wrong_before(what));
        }
        list.push((usize::try_from(n).unwrap_or(usize::MAX), noun));
        if !line.take(",") {
            return Ok(Action::Holds(list));
        }
    }
}

fn dns(line: &mut Line) -> Parsed<Action> {
    line.skip();
    let name = line.word("a host name")?;
    let what = "`->` and addresses, SRV, NAPTR, `does not exist`, `fails` or `never answers`";
    let dns = match line.word(what)?.as_str() {
        "->" => {
            let mut list = Vec::new();
            loop {
                let ip = line.word("an IP address")?;
                list.push(ip.parse().map_err(|_| line.wrong_before("an IP address"))?);
                if !line.take(",") {
                    break Dns::Addresses(list);
                }
            }
        }
        "SRV" => Dns::Record(Record::Srv {
            priority: line.small("a priority")?,
            weight: line.small("a weight")?,
            port: line.small("a port")?,
            target: line.word("a host name")?,
        }),
        "NAPTR" => Dns::Record(Record::Naptr {
            order: line.small("an order")?,
            preference: line.small("a preference")?,
            flags: line.quoted().ok_or_else(|| line.wrong("flags in quotes"))?,
            service: line.quoted().ok_or_else(|| line.wrong("a service in quotes such as \"SIP+D2U\""))?,
            regexp: String::new(),
            replacement: line.word("a host name")?,
        }),
        "does" => {
            line.keyword("not")?;
            line.keyword("exist")?;
            Dns::None
        }
        "fails" => Dns::Fails,
        "never" => {
            line.keyword("answers")?;
            Dns::Silent
        }
        _ => return Err(line.wrong_before(what)),
    };
    Ok(Action::Dns(name, dns))
}
