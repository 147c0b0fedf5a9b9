//! Timer values (RFC 3261 §17 table 4, RFC 6026 §7, RFC 4320) and the limits of one worker's
//! transactions.

use crate::base::{Str, Time};
use std::time::Duration;

/// What [`super::Transactions`] is told at its start. A zero `fr_timeout` or
/// `fr_inv_timeout` means the RFC's own value.
#[derive(Clone, Debug)]
pub struct Config {
    /// T1: round-trip estimate, first retransmission interval. Default 500 ms.
    pub t1: Duration,
    /// T2: longest retransmission interval. Default 4 s.
    pub t2: Duration,
    /// T4: longest life of a message in the network. Default 5 s.
    pub t4: Duration,
    /// How long a branch may stay without any reply, and a non-INVITE branch without its final
    /// one: timers B and F. Default 30 s; zero = 64*T1.
    pub fr_timeout: Duration,
    /// How long an INVITE branch may stay without a final reply after a provisional one: this
    /// is timer C (§16.6 step 11). Default 120 s; zero = `timer_c`.
    pub fr_inv_timeout: Duration,
    /// Timer C where `fr_inv_timeout` is zero. Default 181 s ("larger than 3 minutes").
    pub timer_c: Duration,
    /// Whether every provisional reply from 101 on restarts `fr_inv_timeout` (§16.7 step 2).
    pub restart_fr_on_each_reply: bool,
    /// Upper bound of an INVITE branch's whole life without a final reply, which nothing
    /// restarts. Default: none.
    pub max_inv_lifetime: Option<Duration>,
    /// The same for other methods.
    pub max_noninv_lifetime: Option<Duration>,
    /// How long a finished transaction stays to absorb retransmissions: replaces timers D, J, L
    /// and M where those are longer; its key and last reply stay as long as the RFC says.
    /// `None`: the RFC's 64*T1. Default 5 s.
    pub wt: Option<Duration>,
    /// After this long without a reply of its own, an INVITE server transaction asks for a 100
    /// (§17.2.1). Default 200 ms.
    pub trying_after: Duration,
    /// Whether a non-INVITE server transaction asks for a 100 once its client's timer E has
    /// reached T2 (RFC 4320 §4.1). Default true.
    pub noninvite_100: bool,
    /// What to do with a 408 for a non-INVITE (RFC 4320 §4.2).
    pub noninvite_408: Noninvite408,
    /// Whether a downstream 503 is answered upstream as 500 (§16.7 step 6). Default true.
    pub translate_503: bool,
    /// Treats a 6xx like any other negative reply: other branches go on, new ones may be added.
    pub disable_6xx_block: bool,
    /// Whether the CANCELs to branches that a 2xx or 6xx of another one ends say so (RFC 3326). Default false.
    pub losers_hear_why: bool,
    /// Whether a 401 or 407 goes upstream with the challenges of the other branches too
    /// (§16.7 step 7). Default true.
    pub aggregate_challenges: bool,
    /// Headers of a request as it was sent whose names begin so are also in its CANCEL and in the ACK to a negative reply.
    pub ac_extra_headers: Option<Str>,
    /// Whether the Request-URI takes part in matching requests of RFC 2543 clients.
    pub ruri_matching: bool,
    /// Whether the top Via takes part in matching requests of RFC 2543 clients.
    pub via1_matching: bool,
    /// Most transactions at a time.
    pub max_transactions: usize,
    /// Most bytes of keys and last replies that are kept of transactions which `wt` has ended, until 64*T1 have passed
    /// since their final reply. Default 64 MiB.
    pub max_echo_bytes: usize,
    /// Most branches of one transaction, over its whole life.
    pub max_branches: u16,
    /// Most replies that wait behind one whose processing waits, per branch.
    pub max_queued_replies: usize,
    /// This worker's number, put into branch parameters.
    pub worker: u16,
    /// Which process of that number, counted by the supervisor.
    pub incarnation: u32,
    /// Key of all hashes, one per server, drawn at start.
    pub secret: [u8; 16],
}

/// When a 408 is sent upstream for a request other than INVITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Noninvite408 {
    /// Never (RFC 4320 §4.2: it comes too late to be of use and only causes harm).
    #[default]
    Never,
    /// While the client's timer F surely still runs: up to 64*T1 - T2 after the request came.
    InTime,
    /// Always, as servers before RFC 4320 do.
    Always,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            fr_timeout: Duration::from_secs(30),
            fr_inv_timeout: Duration::from_secs(120),
            timer_c: Duration::from_secs(181),
            restart_fr_on_each_reply: true,
            max_inv_lifetime: None,
            max_noninv_lifetime: None,
            wt: Some(Duration::from_secs(5)),
            trying_after: Duration::from_millis(200),
            noninvite_100: true,
            noninvite_408: Noninvite408::Never,
            translate_503: true,
            disable_6xx_block: false,
            losers_hear_why: false,
            aggregate_challenges: true,
            ac_extra_headers: None,
            ruri_matching: true,
            via1_matching: true,
            max_transactions: 1_000_000,
            max_echo_bytes: 64 << 20,
            max_branches: 64,
            max_queued_replies: 16,
            worker: 0,
            incarnation: 0,
            secret: [0; 16],
        }
    }
}

impl Config {
    /// 64*T1.
    pub fn t1_64(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// How long after a request a non-INVITE server transaction sends its 100: until timer E
    /// of the client has been set to T2 (RFC 4320 §4.1), 3.5 s with the default values.
    pub fn noninvite_trying_after(&self) -> Duration {
        let mut interval = self.t1;
        let mut sum = Duration::ZERO;
        while interval < self.t2 && !interval.is_zero() {
            sum = sum.saturating_add(interval);
            interval = interval.saturating_mul(2);
        }
        sum
    }
}

/// The values one machine works with at one step.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// T1.
    pub t1: Duration,
    /// T2.
    pub t2: Duration,
    /// T4.
    pub t4: Duration,
    /// Timers B and F.
    pub fr: Duration,
    /// Timer C.
    pub fr_inv: Duration,
    /// Whether provisional replies restart timer C.
    pub restart_fr: bool,
    /// No client machine waits longer for a final reply than to this point.
    pub give_up: Time,
    /// See [`Config::wt`].
    pub wt: Option<Duration>,
    /// Whether the transport is reliable: nothing is retransmitted (except a 2xx of our own),
    /// and timers D, I, J and K are zero.
    pub reliable: bool,
}

impl Timing {
    /// 64*T1: timer H, and how long a cancelled INVITE waits for its final reply (§9.1).
    pub fn t1_64(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timers D and J: 64*T1 or `wt`; zero on reliable transports.
    pub fn absorb(&self) -> Duration {
        if self.reliable { Duration::ZERO } else { self.accepted() }
    }

    /// Timers L and M (RFC 6026 §7): 64*T1 or `wt`, on any transport.
    pub fn accepted(&self) -> Duration {
        let rfc = self.t1_64();
        self.wt.map_or(rfc, |wt| wt.min(rfc))
    }

    /// Timers I and K: T4; zero on reliable transports.
    pub fn linger(&self) -> Duration {
        if self.reliable { Duration::ZERO } else { self.t4 }
    }

    /// Timers B and F as a point in time.
    pub fn reply_deadline(&self, now: Time) -> Time {
        (now + self.fr).min(self.give_up)
    }

    /// Timer C as a point in time.
    pub fn final_deadline(&self, now: Time) -> Time {
        (now + self.fr_inv).min(self.give_up)
    }
}

/// A retransmission timer (A, E, G): when it fires next, and the interval that led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// When to send again.
    pub at: Time,
    interval: Duration,
}

impl Resend {
    /// First retransmission after `interval`; none on a reliable transport.
    pub fn start(now: Time, interval: Duration, reliable: bool) -> Option<Resend> {
        (!reliable && !interval.is_zero()).then_some(Resend { at: now + interval, interval })
    }

    /// The next one: the interval doubles up to `cap`. Counted from `now`, so that a stalled
    /// process does not catch up with a burst.
    pub fn next(self, now: Time, cap: Duration) -> Resend {
        let interval = self.interval.saturating_mul(2).min(cap);
        Resend { at: now + interval, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4320_trying_time() {
        assert_eq!(Config::default().noninvite_trying_after(), Duration::from_millis(3500));
    }
}
