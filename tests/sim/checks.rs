//! What must hold for everything the proxy sends and asks, seen from outside.

use crate::text;
use reprise::base::Time;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// A client transaction of the proxy: one branch of a request.
struct Branch {
    to: SocketAddr,
    ruri: String,
    first: Time,
    last: Time,
    copies: u32,
    /// Replies that reached the proxy, by class.
    provisional: bool,
    negative: bool,
    success: bool,
    acked: bool,
    /// When it was heard of last.
    heard: Time,
}

/// The replies to one request.
#[derive(Default)]
struct Replies {
    finals: Vec<(u16, String, String)>,
}

/// Everything seen so far.
#[derive(Default)]
pub struct Checks {
    branches: HashMap<(String, String), Branch>,
    replies: HashMap<(SocketAddr, String, String), Replies>,
    asked: HashSet<String>,
}

/// A violation.
pub type Broken = Result<(), String>;

fn fail(what: impl Into<String>) -> Broken {
    Err(what.into())
}

impl Checks {
    /// The proxy sent a message. `noisy`: something damaged of its call has arrived, so that only what holds
    /// for all messages is checked.
    pub fn sent(&mut self, now: Time, to: SocketAddr, message: &str, noisy: bool) -> Broken {
        if let Some(what) = text::values(message, "X-Broken").next() {
            return fail(format!("a wait changed {what}:\n{message}"));
        }
        if noisy {
            return Ok(());
        }
        if text::method(message).is_empty() {
            self.reply_sent(to, message)
        } else {
            self.request_sent(now, to, message)
        }
    }

    fn reply_sent(&mut self, to: SocketAddr, message: &str) -> Broken {
        let status = text::status(message);
        let via = text::value(message, "Via").split(';').filter(|p| !p.starts_with("r")).collect::<Vec<_>>().join(";");
        let method = text::cseq_method(message).to_string();
        let replies = self.replies.entry((to, via, method.clone())).or_default();
        if status < 200 {
            if !replies.finals.is_empty() {
                return fail(format!("a provisional reply after a final one:\n{message}"));
            }
            return Ok(());
        }
        let tag = text::to_tag(message).to_string();
        for (other, other_tag, bytes) in &replies.finals {
            let both_good = *other < 300 && status < 300;
            if both_good && method == "INVITE" && *other_tag != tag {
                continue;
            }
            if both_good && *other_tag == tag && *other == status {
                // The callee's own repetition, or ours.
                continue;
            }
            if *other >= 300 && status < 300 && method == "INVITE" {
                // A 2xx goes upstream whatever was said before (section 16.7 step 5).
                continue;
            }
            if bytes != message {
                return fail(format!("two final replies to one request, {other} and {status}:\n{bytes}\n{message}"));
            }
        }
        if !replies.finals.iter().any(|(s, t, _)| *s == status && *t == tag) {
            replies.finals.push((status, tag, message.to_string()));
        }
        Ok(())
    }

    fn request_sent(&mut self, now: Time, to: SocketAddr, message: &str) -> Broken {
        let method = text::method(message);
        let branch = text::branch(message).to_string();
        if text::values(message, "X-Pass").count() != usize::from(!matches!(method, "CANCEL" | "ACK"))
            && method != "ACK"
        {
            return fail(format!("X-Pass does not stand there once:\n{message}"));
        }
        let ruri = message.split(' ').nth(1).unwrap_or_default().to_string();
        match method {
            "ACK" => {
                // Of a negative reply; that of a 2xx is a request of its own.
                if let Some(b) = self.branches.get_mut(&(branch, "INVITE".to_string())) {
                    if !b.negative {
                        return fail(format!("an ACK, but there was no negative reply:\n{message}"));
                    }
                    if b.to != to || b.ruri != ruri {
                        return fail(format!("an ACK that goes elsewhere than its INVITE:\n{message}"));
                    }
                    b.acked = true;
                }
                Ok(())
            }
            "CANCEL" => match self.branches.get(&(branch, "INVITE".to_string())) {
                None => fail(format!("a CANCEL for nothing:\n{message}")),
                Some(b) if !b.provisional => fail(format!("a CANCEL before a provisional reply:\n{message}")),
                Some(b) if b.to != to || b.ruri != ruri => {
                    fail(format!("a CANCEL that goes elsewhere than its INVITE:\n{message}"))
                }
                Some(_) => Ok(()),
            },
            _ => {
                let untouched: Vec<&str> = text::head(message).filter(|l| l.starts_with("X-Untouched")).collect();
                if method != "BYE" && untouched != ["X-Untouched:  as ;it \"was\"  "] {
                    return fail(format!("a header that nobody touched has changed:\n{message}"));
                }
                let b = self.branches.entry((branch, method.to_string())).or_insert(Branch {
                    to,
                    ruri,
                    first: now,
                    last: now,
                    copies: 0,
                    provisional: false,
                    negative: false,
                    success: false,
                    acked: false,
                    heard: now,
                });
                b.copies += 1;
                if b.negative || b.success || (b.provisional && method == "INVITE") {
                    return fail(format!("a request is repeated although it was answered:\n{message}"));
                }
                let most = if method == "INVITE" { 7 } else { 11 };
                if b.copies > most || now.since(b.first).as_millis() > 32_000 {
                    return fail(format!(
                        "copy {} of a request, {:?} after the first:\n{message}",
                        b.copies,
                        now.since(b.first)
                    ));
                }
                if b.copies > 1 && now.since(b.last).as_millis() < 499 {
                    return fail(format!("a request is repeated after {:?}:\n{message}", now.since(b.last)));
                }
                b.last = now;
                Ok(())
            }
        }
    }

    /// An undamaged message reached the proxy.
    pub fn received(&mut self, now: Time, message: &str) {
        let (status, method) = (text::status(message), text::cseq_method(message));
        if status == 0 {
            return;
        }
        if let Some(b) = self.branches.get_mut(&(text::branch(message).to_string(), method.to_string())) {
            match status {
                100..200 => b.provisional = true,
                200..300 => b.success = true,
                _ => {
                    b.negative = true;
                    // The transaction had ended by a timer: nobody acknowledges.
                    let patience = if b.provisional { 12_000 } else { 5_000 };
                    b.acked |= now.since(b.heard).as_millis() >= patience;
                }
            }
            b.heard = now;
        }
    }

    /// The script asked somebody. What names a call and a request is asked once.
    pub fn asked(&mut self, what: &str, noisy: bool) -> Broken {
        let each_time = what.starts_with("reply ") || what.starts_with("SELECT blacklisted");
        if !noisy && !each_time && !self.asked.insert(what.to_string()) {
            return fail(format!("asked twice: {what}"));
        }
        Ok(())
    }

    /// Whether a request got a final reply.
    pub fn answered(&self, to: SocketAddr, method: &str) -> bool {
        self.replies.iter().any(|((t, _, m), r)| *t == to && m == method && !r.finals.is_empty())
    }

    /// All is over: each negative reply to an INVITE was acknowledged.
    pub fn end(&self, noisy: impl Fn(&str) -> bool) -> Broken {
        for ((branch, method), b) in &self.branches {
            if method == "INVITE" && b.negative && !b.acked && !b.success && !noisy(branch) {
                return fail(format!("a negative reply of branch {branch} was never acknowledged"));
            }
        }
        Ok(())
    }
}
