//! Callees: answer soon, late or never; repeat final replies to an INVITE until they are acknowledged.

use crate::caller::{GIVE_UP, T1};
use crate::text;
use crate::world::{Event, World};
use std::net::SocketAddr;

/// One request at one callee.
pub struct Leg {
    addr: SocketAddr,
    request: String,
    tag: String,
    last: Option<String>,
    /// Final status sent.
    pub answered: u16,
    acknowledged: bool,
    answered_at: u64,
}

impl World {
    /// A request reached a callee.
    pub fn request_at_callee(&mut self, addr: SocketAddr, request: &str) {
        let (method, branch) = (text::method(request), text::branch(request).to_string());
        let invite = self
            .legs
            .iter()
            .position(|l| l.addr == addr && text::method(&l.request) == "INVITE" && text::branch(&l.request) == branch);
        match method {
            "ACK" => {
                let tag = text::to_tag(request);
                let call = text::value(request, "Call-ID");
                let of_2xx = self.legs.iter().position(|l| l.tag == tag && text::value(&l.request, "Call-ID") == call);
                if let Some(n) = invite.or(of_2xx) {
                    self.legs[n].acknowledged = true;
                }
                return;
            }
            "CANCEL" => {
                let ok = answer(request, 200, invite.map_or("gone", |n| self.legs[n].tag.as_str()), addr);
                self.callee_sends(addr, request, ok);
                if let Some(n) = invite.filter(|n| self.legs[*n].answered == 0) {
                    self.callee_says(n, 487);
                }
                return;
            }
            _ => {}
        }
        let known = self
            .legs
            .iter()
            .position(|l| l.addr == addr && text::method(&l.request) == method && text::branch(&l.request) == branch);
        if let Some(n) = known {
            if let Some(last) = self.legs[n].last.clone() {
                self.callee_sends(addr, request, last);
            }
            return;
        }
        let n = self.legs.len();
        self.legs.push(Leg {
            addr,
            request: request.to_string(),
            tag: format!("t{n}"),
            last: None,
            answered: 0,
            acknowledged: false,
            answered_at: 0,
        });
        if method == "INVITE" { self.plan_invite(n) } else { self.plan_other(n) }
    }

    fn plan_invite(&mut self, n: usize) {
        if self.rng.percent(8) {
            return;
        }
        if self.rng.percent(30) {
            let at = self.rng.below(50);
            self.at(at, Event::CalleeSays(n, 100));
        }
        for (status, chance) in [(180, 60), (183, 20)] {
            if self.rng.percent(chance) {
                let at = 10 + self.rng.below(500);
                self.at(at, Event::CalleeSays(n, status));
            }
        }
        if self.rng.percent(85) {
            let status = self.rng.pick(&[200, 200, 200, 200, 200, 200, 486, 404, 302, 503, 603, 480, 401]);
            let at = if self.rng.percent(50) { self.rng.below(30) } else { self.rng.below(5000) };
            self.at(at, Event::CalleeSays(n, status));
        }
    }

    fn plan_other(&mut self, n: usize) {
        if self.rng.percent(10) {
            return;
        }
        let status = self.rng.pick(&[200, 200, 200, 200, 404, 480, 503]);
        let at = self.rng.below(700);
        self.at(at, Event::CalleeSays(n, status));
    }

    pub fn callee_says(&mut self, n: usize, status: u16) {
        let leg = &mut self.legs[n];
        if leg.answered != 0 {
            return;
        }
        let reply = answer(&leg.request, status, &leg.tag, leg.addr);
        leg.last = Some(reply.clone());
        let (addr, request) = (leg.addr, leg.request.clone());
        if status >= 200 {
            leg.answered = status;
            leg.answered_at = self.now.as_millis();
            if text::method(&request) == "INVITE" {
                self.at(T1, Event::CalleeRepeats(n, T1));
            }
        }
        self.callee_sends(addr, &request, reply);
    }

    /// Timer G, and section 13.3.1.4.
    pub fn callee_repeats(&mut self, n: usize, last: u64) {
        let leg = &self.legs[n];
        if leg.acknowledged || self.now.as_millis() - leg.answered_at > GIVE_UP {
            return;
        }
        let (addr, request) = (leg.addr, leg.request.clone());
        if let Some(reply) = leg.last.clone() {
            self.callee_sends(addr, &request, reply);
        }
        let next = (last * 2).min(4000);
        self.at(next, Event::CalleeRepeats(n, next));
    }
}

/// The reply to a request (section 8.2.6.2).
fn answer(request: &str, status: u16, tag: &str, addr: SocketAddr) -> String {
    let mut out = format!("SIP/2.0 {status} Whatever {status}\r\n");
    for name in ["Via", "Record-Route"] {
        for v in text::values(request, name) {
            out.push_str(&format!("{name}: {v}\r\n"));
        }
    }
    let to = text::value(request, "To");
    let tag = if status == 100 || to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    out.push_str(&format!(
        "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:callee@{addr}>\r\n\
         X-Untouched:  as ;it \"was\"  \r\nContent-Length: 0\r\n\r\n",
        text::value(request, "From"),
        text::value(request, "Call-ID"),
        text::value(request, "CSeq"),
    ));
    out
}
