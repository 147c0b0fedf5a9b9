//! INVITE client transaction (RFC 3261 §17.1.1 figure 5, as changed by RFC 6026 §7.2), with
//! timer C (§16.8) and CANCEL (§9.1).

use super::timing::{Resend, Timing};
use crate::base::{Str, Time};
use crate::sip::Message;
use crate::sip::request;
use smallvec::SmallVec;
use std::time::Duration;

/// The machine. The request is kept as long as an ACK or a CANCEL may have to be made of it.
#[derive(Debug)]
pub enum ClientInvite {
    /// Sent, no reply yet: timers A and B.
    Calling(Calling),
    /// A provisional reply came: timer C.
    Proceeding(Proceeding),
    /// A CANCEL was sent; waits for the final reply, at most 64*T1 (§9.1).
    Cancelling(Cancelling),
    /// A 3xx-6xx came and was acknowledged: timer D.
    Completed(Completed),
    /// A 2xx came; further ones pass: timer M.
    Accepted(Accepted),
    /// Gone.
    Terminated,
}

/// What happens to a client transaction (both kinds).
#[derive(Debug)]
pub enum Input<'a> {
    /// A reply came.
    Reply(&'a Message),
    /// The transaction user gives up.
    Cancel,
    /// The request cannot be sent.
    TransportError,
    /// A deadline may have passed.
    Timer,
}

/// What a client transaction wants done.
#[derive(Debug)]
pub enum Action {
    /// Send the request.
    Send(Str),
    /// Send the request again.
    Resend(Str),
    /// Send this ACK.
    Ack(Str),
    /// Start a CANCEL transaction with these bytes.
    Cancel(Str),
    /// The reply is for the transaction user.
    Deliver,
    /// No final reply in time (timers B, C, F).
    Timeout,
}

/// Actions of one step.
pub type Actions = SmallVec<[Action; 2]>;

impl ClientInvite {
    /// Sends the request.
    pub fn start(now: Time, t: &Timing, request: Message, out: &mut Actions) -> Self {
        out.push(Action::Send(request.bytes_str().clone()));
        ClientInvite::Calling(Calling {
            request,
            resend: Resend::start(now, t.t1, t.reliable),
            until: t.reply_deadline(now),
            cancel: false,
        })
    }

    /// Consumes the old state and returns the next one; effects go to `out`.
    pub fn handle(self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> Self {
        match self {
            ClientInvite::Calling(s) => s.handle(now, t, input, out),
            ClientInvite::Proceeding(s) => s.handle(now, t, input, out),
            ClientInvite::Cancelling(s) => s.handle(now, t, input, out),
            ClientInvite::Completed(s) => s.handle(now, t, input, out),
            ClientInvite::Accepted(s) => s.handle(now, input, out),
            ClientInvite::Terminated => self,
        }
    }

    /// When [`Input::Timer`] is due next.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            ClientInvite::Calling(s) => Some(s.resend.map_or(s.until, |r| r.at.min(s.until))),
            ClientInvite::Proceeding(s) => Some(s.until),
            ClientInvite::Cancelling(s) => Some(s.until),
            ClientInvite::Completed(s) => Some(s.until),
            ClientInvite::Accepted(s) => Some(s.until),
            ClientInvite::Terminated => None,
        }
    }

    /// Whether nothing happens at the deadline but the end.
    pub fn lingers(&self) -> bool {
        matches!(self, ClientInvite::Completed(_) | ClientInvite::Accepted(_))
    }

    /// The state's name.
    pub fn state(&self) -> &'static str {
        match self {
            ClientInvite::Calling(_) => "calling",
            ClientInvite::Proceeding(_) => "proceeding",
            ClientInvite::Cancelling(_) => "cancelling",
            ClientInvite::Completed(_) => "completed",
            ClientInvite::Accepted(_) => "accepted",
            ClientInvite::Terminated => "terminated",
        }
    }
}

/// No reply yet.
#[derive(Debug)]
pub struct Calling {
    request: Message,
    resend: Option<Resend>,
    until: Time,
    /// Cancelled before any reply: the CANCEL waits for a provisional one (§9.1).
    cancel: bool,
}

impl Calling {
    fn handle(mut self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> ClientInvite {
        match input {
            Input::Reply(reply) if reply.status() < 200 => {
                out.push(Action::Deliver);
                if self.cancel {
                    return cancel(now, t, self.request, out);
                }
                return ClientInvite::Proceeding(Proceeding { request: self.request, until: t.final_deadline(now) });
            }
            Input::Reply(reply) => return finish(now, t, &self.request, reply, out),
            Input::Cancel => self.cancel = true,
            Input::TransportError => return ClientInvite::Terminated,
            Input::Timer if self.until <= now => {
                out.push(Action::Timeout); // timer B
                return ClientInvite::Terminated;
            }
            Input::Timer => {
                if let Some(r) = self.resend.filter(|r| r.at <= now) {
                    out.push(Action::Resend(self.request.bytes_str().clone()));
                    self.resend = Some(r.next(now, Duration::MAX)); // timer A doubles without a cap
                }
            }
        }
        ClientInvite::Calling(self)
    }
}

/// A provisional reply came.
#[derive(Debug)]
pub struct Proceeding {
    request: Message,
    until: Time,
}

impl Proceeding {
    fn handle(mut self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> ClientInvite {
        match input {
            Input::Reply(reply) if reply.status() < 200 => {
                out.push(Action::Deliver);
                // §16.7 step 2: replies 101-199 restart timer C.
                if t.restart_fr && reply.status() > 100 {
                    self.until = t.final_deadline(now);
                }
            }
            Input::Reply(reply) => return finish(now, t, &self.request, reply, out),
            Input::Cancel => return cancel(now, t, self.request, out),
            Input::Timer if self.until <= now => {
                out.push(Action::Timeout); // timer C, §16.8: the branch is cancelled
                return cancel(now, t, self.request, out);
            }
            // The connection that the final reply should come over is lost.
            Input::TransportError => return ClientInvite::Terminated,
            Input::Timer => {}
        }
        ClientInvite::Proceeding(self)
    }
}

/// A CANCEL was sent.
#[derive(Debug)]
pub struct Cancelling {
    request: Message,
    until: Time,
}

impl Cancelling {
    fn handle(self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> ClientInvite {
        match input {
            Input::Reply(reply) if reply.status() < 200 => out.push(Action::Deliver),
            Input::Reply(reply) => return finish(now, t, &self.request, reply, out),
            Input::Timer if self.until <= now => {
                out.push(Action::Timeout); // §9.1: no final reply within 64*T1
                return ClientInvite::Terminated;
            }
            Input::TransportError => return ClientInvite::Terminated,
            Input::Cancel | Input::Timer => {}
        }
        ClientInvite::Cancelling(self)
    }
}

/// A 3xx-6xx came.
#[derive(Debug)]
pub struct Completed {
    ack: Str,
    until: Time,
}

impl Completed {
    fn handle(self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> ClientInvite {
        match input {
            // §17.1.1.2: the ACK answers retransmissions of the final reply.
            Input::Reply(reply) if reply.status() >= 300 => out.push(Action::Ack(self.ack.clone())),
            // A proxy downstream that had to send two finals: the 2xx counts (§16.7 step 5).
            Input::Reply(reply) if reply.status() >= 200 => {
                out.push(Action::Deliver);
                return ClientInvite::Accepted(Accepted { until: now + t.accepted() });
            }
            Input::Timer if self.until <= now => return ClientInvite::Terminated, // timer D
            Input::Reply(_) | Input::Cancel | Input::TransportError | Input::Timer => {}
        }
        ClientInvite::Completed(self)
    }
}

/// A 2xx came.
#[derive(Debug)]
pub struct Accepted {
    until: Time,
}

impl Accepted {
    fn handle(self, now: Time, input: Input<'_>, out: &mut Actions) -> ClientInvite {
        match input {
            // RFC 6026 §7.2: every 2xx goes to the transaction user, nothing else does.
            Input::Reply(reply) if (200..300).contains(&reply.status()) => out.push(Action::Deliver),
            Input::Timer if self.until <= now => return ClientInvite::Terminated, // timer M
            Input::Reply(_) | Input::Cancel | Input::TransportError | Input::Timer => {}
        }
        ClientInvite::Accepted(self)
    }
}

fn finish(now: Time, t: &Timing, request: &Message, reply: &Message, out: &mut Actions) -> ClientInvite {
    if reply.status() < 300 {
        out.push(Action::Deliver);
        return ClientInvite::Accepted(Accepted { until: now + t.accepted() });
    }
    let ack = Str::from(request::ack_for(request, reply)); // §17.1.1.3
    out.push(Action::Ack(ack.clone()));
    out.push(Action::Deliver);
    if t.reliable {
        return ClientInvite::Terminated; // timer D is zero
    }
    ClientInvite::Completed(Completed { ack, until: now + t.absorb() })
}

fn cancel(now: Time, t: &Timing, request: Message, out: &mut Actions) -> ClientInvite {
    out.push(Action::Cancel(Str::from(request::cancel_for(&request))));
    ClientInvite::Cancelling(Cancelling { request, until: now + t.t1_64() })
}
