//! Callers: each makes one call (or sends one other request), repeats what is not answered, acknowledges,
//! gives up or hangs up.

use crate::text;
use crate::world::{Event, World};
use std::net::SocketAddr;

/// T1 in milliseconds.
pub const T1: u64 = 500;
/// When a client gives up repeating, in milliseconds (64*T1).
pub const GIVE_UP: u64 = 32_000;

/// A call's dialog: what further requests of it need.
pub struct Dialog {
    pub tag: String,
    contact: String,
    routes: Vec<String>,
    ended: bool,
    /// When its BYE was sent first, in milliseconds of the clock.
    leaving: Option<u64>,
}

/// What a caller does and knows.
pub struct Call {
    pub method: &'static str,
    pub scenario: &'static str,
    pub addr: SocketAddr,
    pub id: String,
    target: String,
    /// The caller cancels this long after its first provisional reply.
    cancel_after: Option<u64>,
    proceeding: bool,
    pub finals: Vec<u16>,
    cancelling: bool,
    cancelled: bool,
    dialogs: Vec<Dialog>,
    /// A copy of the request reached the proxy undamaged.
    pub arrived: bool,
    /// A damaged copy of anything of this call arrived at the proxy.
    pub noisy: bool,
}

const SCENARIOS: [&str; 16] = [
    "none", "plain", "async", "newtran", "http", "nested", "sleep", "lock", "launch", "fork", "fork", "serial", "drop",
    "busy", "refuse", "silent",
];

impl World {
    /// The calls of this seed begin within a few seconds.
    pub fn plan_calls(&mut self, n: usize) {
        for i in 0..n {
            let method = if self.rng.percent(75) { "INVITE" } else { self.rng.pick(&["OPTIONS", "MESSAGE"]) };
            let scenario = self.rng.pick(&SCENARIOS);
            let call = Call {
                method,
                scenario,
                addr: SocketAddr::from(([10, 1, (i >> 8) as u8, i as u8], 5060)),
                id: format!("{}-{i}@sim", self.seed),
                target: format!("sip:{scenario}@10.2.0.{}:5060", 1 + self.rng.below(3)),
                cancel_after: self.rng.percent(20).then(|| self.rng.below(3000)),
                proceeding: false,
                finals: Vec::new(),
                cancelling: false,
                cancelled: false,
                dialogs: Vec::new(),
                arrived: false,
                noisy: false,
            };
            self.calls.push(call);
            let at = self.rng.below(8000);
            self.at(at, Event::CallBegins(i));
        }
    }

    fn request(&self, i: usize, method: &str) -> String {
        let c = &self.calls[i];
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{i}-1;rport\r\nMax-Forwards: 20\r\n\
             From: \"Caller\" <sip:c{i}@sim.example>;tag=f{i}\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:c{i}@{}>\r\nX-Untouched:  as ;it \"was\"  \r\nContent-Length: 0\r\n\r\n",
            c.target, c.addr, c.target, c.id, c.addr
        )
    }

    pub fn call_begins(&mut self, i: usize) {
        let text = self.request(i, self.calls[i].method);
        self.caller_sends(i, text);
        self.at(T1, Event::CallerRepeats(i, T1));
    }

    /// Timers A and E.
    pub fn caller_repeats(&mut self, i: usize, last: u64) {
        let c = &self.calls[i];
        let invite = c.method == "INVITE";
        if !c.finals.is_empty() || (invite && c.proceeding) {
            return;
        }
        let text = self.request(i, c.method);
        self.caller_sends(i, text);
        let next = if invite { last * 2 } else { (last * 2).min(4000) };
        if self.since_start(i) + next < GIVE_UP {
            self.at(next, Event::CallerRepeats(i, next));
        }
    }

    /// Roughly how long ago the call began, in milliseconds.
    fn since_start(&self, i: usize) -> u64 {
        self.began.get(&i).map_or(0, |t| self.now.since(*t).as_millis() as u64)
    }

    pub fn cancel_wanted(&mut self, i: usize, last: u64) {
        let c = &mut self.calls[i];
        if (last == 0 && !c.finals.is_empty()) || c.cancelled {
            return;
        }
        c.cancelling = true;
        let text = self.request(i, "CANCEL");
        self.caller_sends(i, text);
        let next = if last == 0 { T1 } else { (last * 2).min(4000) };
        if self.since_start(i) < 2 * GIVE_UP {
            self.at(next, Event::CancelWanted(i, next));
        }
    }

    /// A reply reached its caller.
    pub fn reply_at_caller(&mut self, i: usize, reply: &str) {
        let status = text::status(reply);
        let invite = self.calls[i].method == "INVITE";
        match text::cseq_method(reply) {
            "CANCEL" if status >= 200 => self.calls[i].cancelled = true,
            "BYE" if status >= 200 => {
                let tag = text::to_tag(reply);
                if let Some(d) = self.calls[i].dialogs.iter_mut().find(|d| d.tag == tag) {
                    d.ended = true;
                }
            }
            m if m != self.calls[i].method => {}
            _ if status < 200 => {
                let c = &mut self.calls[i];
                let first = !std::mem::replace(&mut c.proceeding, true);
                if let (true, true, Some(ms)) = (first, invite, c.cancel_after) {
                    self.at(ms, Event::CancelWanted(i, 0));
                }
            }
            _ => {
                self.calls[i].finals.push(status);
                if invite {
                    self.acknowledge(i, reply, status);
                }
            }
        }
    }

    fn acknowledge(&mut self, i: usize, reply: &str, status: u16) {
        if status >= 300 {
            let text = self.request(i, "ACK");
            let to = format!("To: {}\r\n", text::value(reply, "To"));
            let old = format!("To: <{}>\r\n", self.calls[i].target);
            return self.caller_sends(i, text.replace(&old, &to));
        }
        let tag = text::to_tag(reply).to_string();
        let known = self.calls[i].dialogs.iter().position(|d| d.tag == tag);
        let n = known.unwrap_or_else(|| {
            let routes: Vec<String> = text::values(reply, "Record-Route").map(str::to_string).collect();
            let contact = text::uri(text::value(reply, "Contact")).to_string();
            let dialog = Dialog {
                tag: tag.clone(),
                contact,
                routes: routes.into_iter().rev().collect(),
                ended: false,
                leaving: None,
            };
            self.calls[i].dialogs.push(dialog);
            self.calls[i].dialogs.len() - 1
        });
        let text = self.in_dialog(i, n, "ACK", 1);
        self.caller_sends(i, text);
        if known.is_none() {
            let after = self.rng.below(3000);
            self.at(after, Event::Bye(i, n, 0));
        }
    }

    fn in_dialog(&self, i: usize, n: usize, method: &str, cseq: u32) -> String {
        let c = &self.calls[i];
        let d = &c.dialogs[n];
        let routes: String = d.routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{i}-{n}-{method};rport\r\n{routes}\
             Max-Forwards: 20\r\nFrom: \"Caller\" <sip:c{i}@sim.example>;tag=f{i}\r\nTo: <{}>;tag={}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
            d.contact, c.addr, c.target, d.tag, c.id
        )
    }

    pub fn bye(&mut self, i: usize, n: usize, last: u64) {
        if self.calls[i].dialogs[n].ended {
            return;
        }
        let text = self.in_dialog(i, n, "BYE", 2);
        self.caller_sends(i, text);
        let next = if last == 0 { T1 } else { (last * 2).min(4000) };
        let now = self.now.as_millis();
        let since = *self.calls[i].dialogs[n].leaving.get_or_insert(now);
        if now + next < since + GIVE_UP {
            self.at(next, Event::Bye(i, n, next));
        }
    }
}
