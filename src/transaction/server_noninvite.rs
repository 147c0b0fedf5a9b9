//! Non-INVITE server transaction (RFC 3261 §17.2.2 figure 8, RFC 4320).

use super::server_invite::{Action, Actions, Input};
use super::timing::Timing;
use crate::base::{Str, Time};

/// The machine.
#[derive(Debug)]
pub enum ServerNonInvite {
    /// No reply yet; retransmissions are absorbed.
    Trying(Trying),
    /// A provisional reply was sent.
    Proceeding(Proceeding),
    /// A final reply was sent; it answers retransmissions until timer J.
    Completed(Completed),
    /// No final reply will ever be sent (RFC 4320 §4.2); retransmissions begin nothing anew until
    /// timer J.
    Silent(Silent),
    /// Gone.
    Terminated,
}

impl ServerNonInvite {
    /// A new transaction that asks for a 100 at `trying_at` if it has no reply by then
    /// (RFC 4320 §4.1).
    pub fn new(trying_at: Option<Time>) -> Self {
        ServerNonInvite::Trying(Trying { trying_at })
    }

    /// Consumes the old state and returns the next one; effects go to `out`.
    pub fn handle(self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> Self {
        match self {
            ServerNonInvite::Trying(s) => s.handle(now, t, input, out),
            ServerNonInvite::Proceeding(s) => s.handle(now, t, input, out),
            ServerNonInvite::Completed(s) => s.handle(now, input, out),
            ServerNonInvite::Silent(s) => s.handle(now, input, out),
            ServerNonInvite::Terminated => self,
        }
    }

    /// There is no final reply to be sent (any more).
    pub(super) fn silenced(self, until: Time) -> Self {
        let last = match self {
            ServerNonInvite::Trying(_) => None,
            ServerNonInvite::Proceeding(s) => Some(s.last),
            other => return other,
        };
        ServerNonInvite::Silent(Silent { last, until })
    }

    /// When [`Input::Timer`] is due next.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            ServerNonInvite::Trying(s) => s.trying_at,
            ServerNonInvite::Completed(s) => Some(s.until),
            ServerNonInvite::Silent(s) => Some(s.until),
            ServerNonInvite::Proceeding(_) | ServerNonInvite::Terminated => None,
        }
    }

    /// Whether nothing happens at the deadline but the end.
    pub fn lingers(&self) -> bool {
        matches!(self, ServerNonInvite::Completed(_) | ServerNonInvite::Silent(_))
    }

    /// The state's name.
    pub fn state(&self) -> &'static str {
        match self {
            ServerNonInvite::Trying(_) => "trying",
            ServerNonInvite::Proceeding(_) => "proceeding",
            ServerNonInvite::Completed(_) => "completed",
            ServerNonInvite::Silent(_) => "silent",
            ServerNonInvite::Terminated => "terminated",
        }
    }
}

/// No reply yet.
#[derive(Debug)]
pub struct Trying {
    trying_at: Option<Time>,
}

impl Trying {
    fn handle(mut self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> ServerNonInvite {
        match input {
            Input::Reply(a) => return send(now, t, a.status, a.bytes, out),
            Input::Timer if self.trying_at.is_some_and(|at| at <= now) => {
                self.trying_at = None;
                out.push(Action::TryingDue);
            }
            // §17.2.2: retransmissions are discarded in this state.
            Input::Retransmit | Input::Ack { .. } | Input::Timer => {}
        }
        ServerNonInvite::Trying(self)
    }
}

/// A provisional reply was sent.
#[derive(Debug)]
pub struct Proceeding {
    last: Str,
}

impl Proceeding {
    fn handle(self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> ServerNonInvite {
        match input {
            Input::Reply(a) => return send(now, t, a.status, a.bytes, out),
            Input::Retransmit => out.push(Action::Send(self.last.clone())),
            Input::Ack { .. } | Input::Timer => {}
        }
        ServerNonInvite::Proceeding(self)
    }
}

/// A final reply was sent.
#[derive(Debug)]
pub struct Completed {
    last: Str,
    until: Time,
    /// The client may repeat the request until then.
    repeats: Time,
}

impl Completed {
    fn handle(self, now: Time, input: Input, out: &mut Actions) -> ServerNonInvite {
        match input {
            Input::Retransmit => out.push(Action::Send(self.last.clone())),
            // Timer J, or what there is of it here.
            Input::Timer if self.until <= now => {
                if self.repeats > now {
                    out.push(Action::Remember(Some(self.last), self.repeats));
                }
                return ServerNonInvite::Terminated;
            }
            // §17.2.2: further final replies are discarded.
            Input::Reply(_) | Input::Ack { .. } | Input::Timer => {}
        }
        ServerNonInvite::Completed(self)
    }
}

/// No final reply will be sent.
#[derive(Debug)]
pub struct Silent {
    last: Option<Str>,
    until: Time,
}

impl Silent {
    fn handle(self, now: Time, input: Input, out: &mut Actions) -> ServerNonInvite {
        match input {
            Input::Retransmit => out.extend(self.last.clone().map(Action::Send)),
            Input::Timer if self.until <= now => return ServerNonInvite::Terminated,
            Input::Reply(_) | Input::Ack { .. } | Input::Timer => {}
        }
        ServerNonInvite::Silent(self)
    }
}

fn send(now: Time, t: &Timing, status: u16, bytes: Str, out: &mut Actions) -> ServerNonInvite {
    out.push(Action::Send(bytes.clone()));
    if status < 200 {
        ServerNonInvite::Proceeding(Proceeding { last: bytes })
    } else if t.reliable {
        ServerNonInvite::Terminated // timer J is zero
    } else {
        ServerNonInvite::Completed(Completed { last: bytes, until: now + t.absorb(), repeats: now + t.t1_64() })
    }
}
