//! INVITE server transaction (RFC 3261 §17.2.1 figure 7, as changed by RFC 6026 §7.1).

use super::timing::{Resend, Timing};
use crate::base::{Str, Time};
use smallvec::SmallVec;

/// The machine. `Trying` does not exist here: whoever creates the transaction decides about
/// the 100, see [`Action::TryingDue`].
#[derive(Debug)]
pub enum ServerInvite {
    /// No final reply sent yet.
    Proceeding(Proceeding),
    /// A 3xx-6xx was sent and waits for its ACK.
    Completed(Completed),
    /// The ACK came; its retransmissions are absorbed.
    Confirmed(Confirmed),
    /// A 2xx was sent; retransmissions of the INVITE are absorbed, further 2xx pass.
    Accepted(Accepted),
    /// Gone.
    Terminated,
}

/// What happens to a server transaction (both kinds).
#[derive(Debug)]
pub enum Input {
    /// The request came again.
    Retransmit,
    /// An ACK came.
    Ack {
        /// [`super::key::Keys::tag`] of the To tag.
        to_tag: u64,
    },
    /// The transaction user sends a reply.
    Reply(Answer),
    /// A deadline may have passed.
    Timer,
}

/// A reply on its way upstream.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The message.
    pub bytes: Str,
    /// Whether this server made it up (then a 2xx must be repeated until the ACK comes,
    /// RFC 3261 §13.3.1.4; a relayed one is repeated by whoever made it).
    pub own: bool,
    /// Hash of its To tag.
    pub to_tag: u64,
}

/// What a server transaction wants done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send these bytes to where the request came from.
    Send(Str),
    /// Nobody replied so far: send a 100.
    TryingDue,
    /// Timer H: the ACK never came.
    Unacknowledged,
    /// The machine has ended earlier than its client stops to repeat the request: until then the last reply, if there
    /// is one to be repeated, is still wanted.
    Remember(Option<Str>, Time),
}

/// Actions of one step.
pub type Actions = SmallVec<[Action; 2]>;

impl ServerInvite {
    /// A new transaction that asks for a 100 at `trying_at` if it has no reply by then.
    pub fn new(trying_at: Option<Time>) -> Self {
        ServerInvite::Proceeding(Proceeding { last: None, trying_at })
    }

    /// Consumes the old state and returns the next one; effects go to `out`.
    pub fn handle(self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> Self {
        match self {
            ServerInvite::Proceeding(s) => s.handle(now, t, input, out),
            ServerInvite::Completed(s) => s.handle(now, t, input, out),
            ServerInvite::Confirmed(s) => s.handle(now, input, out),
            ServerInvite::Accepted(s) => s.handle(now, t, input, out),
            ServerInvite::Terminated => {
                late_2xx(input, out);
                ServerInvite::Terminated
            }
        }
    }

    /// When [`Input::Timer`] is due next.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            ServerInvite::Proceeding(s) => s.trying_at,
            ServerInvite::Completed(s) => Some(s.resend.map_or(s.until, |r| r.at.min(s.until))),
            ServerInvite::Confirmed(s) => Some(s.until),
            ServerInvite::Accepted(s) => Some(s.resend.as_ref().map_or(s.until, |r| r.when.at.min(s.until))),
            ServerInvite::Terminated => None,
        }
    }

    /// Whether nothing happens at the deadline but the end.
    pub fn lingers(&self) -> bool {
        match self {
            ServerInvite::Confirmed(_) => true,
            ServerInvite::Accepted(s) => s.resend.is_none(),
            ServerInvite::Proceeding(_) | ServerInvite::Completed(_) | ServerInvite::Terminated => false,
        }
    }

    /// The state's name.
    pub fn state(&self) -> &'static str {
        match self {
            ServerInvite::Proceeding(_) => "proceeding",
            ServerInvite::Completed(_) => "completed",
            ServerInvite::Confirmed(_) => "confirmed",
            ServerInvite::Accepted(_) => "accepted",
            ServerInvite::Terminated => "terminated",
        }
    }
}

/// No final reply sent yet.
#[derive(Debug)]
pub struct Proceeding {
    last: Option<Str>,
    trying_at: Option<Time>,
}

impl Proceeding {
    fn handle(mut self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> ServerInvite {
        match input {
            // §17.2.1: the most recent provisional reply answers a retransmission.
            Input::Retransmit => out.extend(self.last.clone().map(Action::Send)),
            // No final reply was sent that this ACK could be for.
            Input::Ack { .. } => {}
            Input::Timer => {
                if self.trying_at.is_some_and(|at| at <= now) {
                    self.trying_at = None;
                    if self.last.is_none() {
                        out.push(Action::TryingDue);
                    }
                }
            }
            Input::Reply(a) => {
                out.push(Action::Send(a.bytes.clone()));
                if a.status < 200 {
                    self.last = Some(a.bytes);
                    self.trying_at = None;
                } else if a.status < 300 {
                    // RFC 6026 §7.1: Accepted, timer L.
                    let mut until = now + t.accepted();
                    let mut resend = None;
                    if a.own {
                        // §13.3.1.4: for 64*T1, whatever the transport.
                        until = until.max(now + t.t1_64());
                        resend = Resend::start(now, t.t1, false).map(|when| {
                            Box::new(Repeat { bytes: a.bytes, to_tag: a.to_tag, when, stop: now + t.t1_64() })
                        });
                    }
                    return ServerInvite::Accepted(Accepted { until, repeats: now + t.t1_64(), resend });
                } else {
                    // Timers G (unreliable only) and H.
                    return ServerInvite::Completed(Completed {
                        last: a.bytes,
                        resend: Resend::start(now, t.t1, t.reliable),
                        until: now + t.t1_64(),
                    });
                }
            }
        }
        ServerInvite::Proceeding(self)
    }
}

/// A 3xx-6xx was sent.
#[derive(Debug)]
pub struct Completed {
    last: Str,
    resend: Option<Resend>,
    until: Time,
}

impl Completed {
    fn handle(mut self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> ServerInvite {
        match input {
            Input::Retransmit => out.push(Action::Send(self.last.clone())),
            Input::Ack { .. } if t.reliable => return ServerInvite::Terminated, // timer I is zero
            Input::Ack { .. } => return ServerInvite::Confirmed(Confirmed { until: now + t.linger() }),
            // A 2xx that crossed: it passes, and the caller is not told both ever after.
            Input::Reply(a) if (200..300).contains(&a.status) => {
                out.push(Action::Send(a.bytes));
                let (until, repeats) = (now + t.accepted(), now + t.t1_64());
                return ServerInvite::Accepted(Accepted { until, repeats, resend: None });
            }
            Input::Reply(_) => {}
            Input::Timer if self.until <= now => {
                out.push(Action::Unacknowledged); // timer H
                return ServerInvite::Terminated;
            }
            Input::Timer => {
                if let Some(r) = self.resend.filter(|r| r.at <= now) {
                    out.push(Action::Send(self.last.clone()));
                    self.resend = Some(r.next(now, t.t2));
                }
            }
        }
        ServerInvite::Completed(self)
    }
}

/// The ACK came (timer I runs).
#[derive(Debug)]
pub struct Confirmed {
    until: Time,
}

impl Confirmed {
    fn handle(self, now: Time, input: Input, out: &mut Actions) -> ServerInvite {
        match input {
            Input::Timer if self.until <= now => return ServerInvite::Terminated,
            Input::Reply(a) => late_2xx(Input::Reply(a), out),
            Input::Retransmit | Input::Ack { .. } | Input::Timer => {}
        }
        ServerInvite::Confirmed(self)
    }
}

/// A 2xx was sent (timer L runs).
#[derive(Debug)]
pub struct Accepted {
    until: Time,
    /// The client may repeat the request until then.
    repeats: Time,
    resend: Option<Box<Repeat>>,
}

/// A 2xx of this server's own, repeated until its ACK comes.
#[derive(Debug)]
struct Repeat {
    bytes: Str,
    to_tag: u64,
    when: Resend,
    stop: Time,
}

impl Accepted {
    fn handle(mut self, now: Time, t: &Timing, input: Input, out: &mut Actions) -> ServerInvite {
        match input {
            // RFC 6026 §7.1: absorbed without an answer.
            Input::Retransmit => {}
            Input::Ack { to_tag } => {
                if self.resend.as_ref().is_some_and(|r| r.to_tag == to_tag) {
                    self.resend = None;
                }
            }
            Input::Reply(a) => late_2xx(Input::Reply(a), out),
            Input::Timer if self.until <= now => {
                if !t.reliable && self.repeats > now {
                    out.push(Action::Remember(None, self.repeats));
                }
                return ServerInvite::Terminated;
            }
            Input::Timer => {
                if let Some(mut r) = self.resend.take().filter(|r| now < r.stop) {
                    if r.when.at <= now {
                        out.push(Action::Send(r.bytes.clone()));
                        r.when = r.when.next(now, t.t2);
                    }
                    self.resend = Some(r);
                }
            }
        }
        ServerInvite::Accepted(self)
    }
}

/// A 2xx passes in every state (RFC 6026 §7.1, RFC 3261 §16.7 step 5: every 2xx to an INVITE is
/// forwarded, also after another final reply); anything else is too late.
fn late_2xx(input: Input, out: &mut Actions) {
    if let Input::Reply(a) = input
        && (200..300).contains(&a.status)
    {
        out.push(Action::Send(a.bytes));
    }
}
