//! Non-INVITE client transaction (RFC 3261 §17.1.2 figure 6). CANCEL is one of them.

use super::client_invite::{Action, Actions, Input};
use super::timing::{Resend, Timing};
use crate::base::{Str, Time};

/// The machine. It needs nothing of the request but its bytes.
#[derive(Debug)]
pub enum ClientNonInvite {
    /// Sent, no reply yet: timers E and F.
    Trying(Waiting),
    /// A provisional reply came: timers E (at T2) and F.
    Proceeding(Waiting),
    /// The final reply came; its retransmissions are absorbed: timer K.
    Completed(Completed),
    /// Gone.
    Terminated,
}

impl ClientNonInvite {
    /// Sends the request.
    pub fn start(now: Time, t: &Timing, request: Str, out: &mut Actions) -> Self {
        out.push(Action::Send(request.clone()));
        ClientNonInvite::Trying(Waiting {
            request,
            resend: Resend::start(now, t.t1, t.reliable),
            until: t.reply_deadline(now),
        })
    }

    /// Consumes the old state and returns the next one; effects go to `out`.
    pub fn handle(self, now: Time, t: &Timing, input: Input<'_>, out: &mut Actions) -> Self {
        match self {
            ClientNonInvite::Trying(s) => s.handle(now, t, false, input, out),
            ClientNonInvite::Proceeding(s) => s.handle(now, t, true, input, out),
            ClientNonInvite::Completed(s) => match input {
                Input::Timer if s.until <= now => ClientNonInvite::Terminated, // timer K
                _ => ClientNonInvite::Completed(s),
            },
            ClientNonInvite::Terminated => self,
        }
    }

    /// When [`Input::Timer`] is due next.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            ClientNonInvite::Trying(s) | ClientNonInvite::Proceeding(s) => {
                Some(s.resend.map_or(s.until, |r| r.at.min(s.until)))
            }
            ClientNonInvite::Completed(s) => Some(s.until),
            ClientNonInvite::Terminated => None,
        }
    }

    /// Whether nothing happens at the deadline but the end.
    pub fn lingers(&self) -> bool {
        matches!(self, ClientNonInvite::Completed(_))
    }

    /// The state's name.
    pub fn state(&self) -> &'static str {
        match self {
            ClientNonInvite::Trying(_) => "trying",
            ClientNonInvite::Proceeding(_) => "proceeding",
            ClientNonInvite::Completed(_) => "completed",
            ClientNonInvite::Terminated => "terminated",
        }
    }
}

/// No final reply yet.
#[derive(Debug)]
pub struct Waiting {
    request: Str,
    resend: Option<Resend>,
    until: Time,
}

impl Waiting {
    fn handle(
        mut self,
        now: Time,
        t: &Timing,
        proceeding: bool,
        input: Input<'_>,
        out: &mut Actions,
    ) -> ClientNonInvite {
        match input {
            Input::Reply(reply) => {
                out.push(Action::Deliver);
                if reply.status() < 200 {
                    return ClientNonInvite::Proceeding(self);
                }
                if t.reliable {
                    return ClientNonInvite::Terminated; // timer K is zero
                }
                return ClientNonInvite::Completed(Completed { until: now + t.linger() });
            }
            Input::TransportError => return ClientNonInvite::Terminated,
            Input::Timer if self.until <= now => {
                out.push(Action::Timeout); // timer F
                return ClientNonInvite::Terminated;
            }
            Input::Timer => {
                if let Some(r) = self.resend.filter(|r| r.at <= now) {
                    out.push(Action::Resend(self.request.clone()));
                    // §17.1.2.2: doubling up to T2; at T2 once a provisional reply came.
                    self.resend = if proceeding { Resend::start(now, t.t2, false) } else { Some(r.next(now, t.t2)) };
                }
            }
            // §9.1: a request other than INVITE is not cancelled.
            Input::Cancel => {}
        }
        if proceeding { ClientNonInvite::Proceeding(self) } else { ClientNonInvite::Trying(self) }
    }
}

/// The final reply came.
#[derive(Debug)]
pub struct Completed {
    until: Time,
}
