//! Each machine over its figure in RFC 3261 §17 and RFC 6026 §7.

use super::super::client_invite::{Action as Client, Actions as ClientActions, ClientInvite, Input as ClientInput};
use super::super::client_noninvite::ClientNonInvite;
use super::super::server_invite::{
    Action as Server, Actions as ServerActions, Answer, Input as ServerInput, ServerInvite,
};
use super::super::server_noninvite::ServerNonInvite;
use super::{invite, ms, reply, request, timing};
use crate::base::{Str, Time};

fn answer(status: u16) -> ServerInput {
    ServerInput::Reply(Answer { status, bytes: Str::from(status.to_string()), own: false, to_tag: 7 })
}

fn own(status: u16) -> ServerInput {
    ServerInput::Reply(Answer { status, bytes: Str::from(status.to_string()), own: true, to_tag: 7 })
}

/// A server machine with its clock: `feed` returns what was sent, as text.
struct S<M> {
    m: Option<M>,
    reliable: bool,
    step: fn(M, Time, &super::Timing, ServerInput, &mut ServerActions) -> M,
    deadline: fn(&M) -> Option<Time>,
    state: fn(&M) -> &'static str,
}

impl<M> S<M> {
    fn feed(&mut self, at: Time, input: ServerInput) -> String {
        let mut out = ServerActions::new();
        self.m = self.m.take().map(|m| (self.step)(m, at, &timing(self.reliable), input, &mut out));
        let text = |a: &Server| match a {
            Server::Send(b) => b.to_string(),
            Server::TryingDue => "trying".to_string(),
            Server::Unacknowledged => "no ack".to_string(),
            Server::Remember(last, _) => format!("remember {}", last.clone().unwrap_or_default()),
        };
        out.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    fn state(&self) -> &'static str {
        self.m.as_ref().map_or("", self.state)
    }

    /// Runs the timers until the machine is at rest or `until` has come: (ms, sent) pairs.
    fn run(&mut self, until: Time) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(at) = self.m.as_ref().and_then(self.deadline).filter(|at| *at <= until) {
            let sent = self.feed(at, ServerInput::Timer);
            if !sent.is_empty() {
                all.push((at.as_millis(), sent));
            }
        }
        all
    }
}

fn ist(reliable: bool) -> S<ServerInvite> {
    S {
        m: Some(ServerInvite::new(Some(ms(200)))),
        reliable,
        step: ServerInvite::handle,
        deadline: ServerInvite::deadline,
        state: ServerInvite::state,
    }
}

fn nist(reliable: bool) -> S<ServerNonInvite> {
    S {
        m: Some(ServerNonInvite::new(Some(ms(3500)))),
        reliable,
        step: ServerNonInvite::handle,
        deadline: ServerNonInvite::deadline,
        state: ServerNonInvite::state,
    }
}

const ACK: ServerInput = ServerInput::Ack { to_tag: 7 };

#[test]
fn server_invite_asks_for_100_after_200_ms_unless_it_has_a_reply() {
    let mut s = ist(false);
    assert_eq!(s.feed(ms(10), ServerInput::Retransmit), "");
    assert_eq!(s.run(ms(60_000)), [(200, "trying".into())]);
    assert_eq!(s.feed(ms(201), answer(100)), "100");
    assert_eq!(s.feed(ms(500), ServerInput::Retransmit), "100");
    assert_eq!(s.feed(ms(501), answer(180)), "180");
    assert_eq!(s.feed(ms(502), ServerInput::Retransmit), "180");
    let mut s = ist(false);
    s.feed(ms(10), answer(180));
    assert_eq!(s.run(ms(60_000)), []);
}

#[test]
fn server_invite_repeats_a_negative_reply_until_its_ack() {
    let mut s = ist(false);
    assert_eq!(s.feed(ms(0), answer(486)), "486");
    let sent: Vec<u64> = s.run(ms(8_000)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(sent, [500, 1500, 3500, 7500]); // timer G doubles, at most T2
    assert_eq!(s.feed(ms(8_000), ServerInput::Retransmit), "486");
    assert_eq!(s.feed(ms(8_100), ACK), "");
    assert_eq!(s.state(), "confirmed");
    assert_eq!(s.feed(ms(8_200), ACK), "");
    assert_eq!(s.feed(ms(8_200), ServerInput::Retransmit), "");
    assert_eq!(s.run(ms(13_100)), []); // timer I
    assert_eq!(s.state(), "terminated");
}

#[test]
fn server_invite_gives_up_at_timer_h() {
    let mut s = ist(false);
    s.feed(ms(0), answer(404));
    let sent = s.run(ms(100_000));
    assert_eq!(sent.last(), Some(&(32_000, "no ack".to_string())));
    assert_eq!(sent.len(), 11);
    assert_eq!(s.state(), "terminated");
}

#[test]
fn server_invite_on_a_reliable_transport() {
    let mut s = ist(true);
    s.feed(ms(0), answer(486));
    assert_eq!(s.run(ms(31_999)), []);
    s.feed(ms(31_999), ACK);
    assert_eq!(s.state(), "terminated");
    let mut s = ist(true);
    s.feed(ms(0), answer(486));
    assert_eq!(s.run(ms(32_000)), [(32_000, "no ack".to_string())]);
}

#[test]
fn server_invite_accepted_lets_2xx_pass_and_absorbs_the_rest() {
    let mut s = ist(false);
    assert_eq!(s.feed(ms(0), answer(200)), "200");
    assert_eq!(s.state(), "accepted");
    assert_eq!(s.feed(ms(1), ServerInput::Retransmit), "");
    assert_eq!(s.feed(ms(2), answer(202)), "202");
    assert_eq!(s.feed(ms(3), answer(486)), "");
    assert_eq!(s.run(ms(31_999)), []);
    assert_eq!(s.state(), "accepted");
    s.run(ms(32_000));
    assert_eq!(s.state(), "terminated");
    assert_eq!(s.feed(ms(33_000), answer(200)), "200");
}

#[test]
fn server_invite_repeats_its_own_2xx_until_the_ack() {
    let mut s = ist(true);
    assert_eq!(s.feed(ms(0), own(200)), "200");
    assert_eq!(s.run(ms(4_000)).len(), 3);
    s.feed(ms(4_000), ServerInput::Ack { to_tag: 8 });
    assert_eq!(s.run(ms(8_000)).len(), 1);
    s.feed(ms(8_000), ACK);
    assert_eq!(s.run(ms(40_000)), []);
    assert_eq!(s.state(), "terminated");
}

#[test]
fn server_invite_sends_a_2xx_after_another_final() {
    let mut s = ist(false);
    s.feed(ms(0), answer(408));
    assert_eq!(s.feed(ms(100), answer(486)), "");
    assert_eq!(s.feed(ms(100), answer(200)), "200");
    assert_eq!(s.state(), "accepted");
    assert_eq!(s.run(ms(20_000)), []); // the 408 is not repeated any more
    assert_eq!(s.feed(ms(20_000), answer(200)), "200");
    let mut s = ist(false);
    s.feed(ms(0), answer(408));
    s.feed(ms(200), ACK);
    assert_eq!(s.feed(ms(300), answer(200)), "200");
    assert_eq!(s.state(), "confirmed");
}

#[test]
fn server_noninvite_over_its_figure() {
    let mut s = nist(false);
    assert_eq!(s.feed(ms(500), ServerInput::Retransmit), "");
    assert_eq!(s.run(ms(60_000)), [(3500, "trying".into())]); // RFC 4320 §4.1
    assert_eq!(s.feed(ms(3501), answer(100)), "100");
    assert_eq!(s.feed(ms(3600), ServerInput::Retransmit), "100");
    assert_eq!(s.feed(ms(4000), answer(200)), "200");
    assert_eq!(s.feed(ms(4100), ServerInput::Retransmit), "200");
    assert_eq!(s.feed(ms(4200), answer(500)), "");
    s.run(ms(35_999));
    assert_eq!(s.state(), "completed");
    s.run(ms(36_000)); // timer J
    assert_eq!(s.state(), "terminated");
    let mut s = nist(true);
    assert_eq!(s.feed(ms(0), answer(200)), "200");
    assert_eq!(s.state(), "terminated");
}

/// A client machine with its clock.
struct C<M> {
    m: Option<M>,
    reliable: bool,
    step: fn(M, Time, &super::Timing, ClientInput<'_>, &mut ClientActions) -> M,
    deadline: fn(&M) -> Option<Time>,
    state: fn(&M) -> &'static str,
}

impl<M> C<M> {
    fn feed(&mut self, at: Time, input: ClientInput<'_>) -> String {
        let mut out = ClientActions::new();
        self.m = self.m.take().map(|m| (self.step)(m, at, &timing(self.reliable), input, &mut out));
        names(&out)
    }

    fn state(&self) -> &'static str {
        self.m.as_ref().map_or("", self.state)
    }

    fn run(&mut self, until: Time) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(at) = self.m.as_ref().and_then(self.deadline).filter(|at| *at <= until) {
            let sent = self.feed(at, ClientInput::Timer);
            if !sent.is_empty() {
                all.push((at.as_millis(), sent));
            }
        }
        all
    }

    fn times(&mut self, until: Time) -> Vec<u64> {
        self.run(until).into_iter().map(|(at, _)| at).collect()
    }
}

fn names(out: &ClientActions) -> String {
    let text = |a: &Client| match a {
        Client::Send(_) => "send",
        Client::Resend(_) => "resend",
        Client::Ack(b) => {
            assert!(b.starts_with(b"ACK "));
            "ack"
        }
        Client::Cancel(b) => {
            assert!(b.starts_with(b"CANCEL "));
            "cancel"
        }
        Client::Deliver => "deliver",
        Client::Timeout => "timeout",
    };
    out.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn ict(reliable: bool) -> C<ClientInvite> {
    let mut out = ClientActions::new();
    let m = ClientInvite::start(ms(0), &timing(reliable), invite("z9hG4bKx"), &mut out);
    assert_eq!(names(&out), "send");
    C { m: Some(m), reliable, step: ClientInvite::handle, deadline: ClientInvite::deadline, state: ClientInvite::state }
}

fn nict(reliable: bool) -> C<ClientNonInvite> {
    let mut out = ClientActions::new();
    let bytes = options().bytes_str().clone();
    let m = ClientNonInvite::start(ms(0), &timing(reliable), bytes, &mut out);
    assert_eq!(names(&out), "send");
    C {
        m: Some(m),
        reliable,
        step: ClientNonInvite::handle,
        deadline: ClientNonInvite::deadline,
        state: ClientNonInvite::state,
    }
}

fn options() -> crate::sip::Message {
    request("OPTIONS", "z9hG4bKo", "c", 1)
}

macro_rules! got {
    ($c:expr, $at:expr, $status:expr) => {
        $c.feed(ms($at), ClientInput::Reply(&reply(&invite("z9hG4bKx"), $status, "b")))
    };
}

#[test]
fn client_invite_timers_a_and_b() {
    let mut c = ict(false);
    assert_eq!(c.times(ms(31_999)), [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!(c.run(ms(40_000)), [(32_000, "timeout".into())]);
    assert_eq!(c.state(), "terminated");
    assert_eq!(ict(true).times(ms(40_000)), [32_000]);
}

#[test]
fn client_invite_negative_reply_is_acknowledged_each_time() {
    let mut c = ict(false);
    assert_eq!(got!(c, 100, 100), "deliver");
    assert_eq!(c.run(ms(60_000)), []); // no retransmission any more
    assert_eq!(got!(c, 60_000, 486), "ack deliver");
    assert_eq!(got!(c, 60_500, 486), "ack");
    assert_eq!(got!(c, 60_600, 180), "");
    c.run(ms(91_999));
    assert_eq!(c.state(), "completed");
    c.run(ms(92_000)); // timer D
    assert_eq!(c.state(), "terminated");
    let mut c = ict(true);
    assert_eq!(got!(c, 60, 603), "ack deliver");
    assert_eq!(c.state(), "terminated");
}

#[test]
fn client_invite_accepted_passes_every_2xx() {
    let mut c = ict(true);
    assert_eq!(got!(c, 100, 200), "deliver");
    assert_eq!(got!(c, 600, 200), "deliver");
    assert_eq!(got!(c, 700, 486), "");
    c.run(ms(32_099));
    assert_eq!(c.state(), "accepted");
    c.run(ms(32_100)); // timer M
    assert_eq!(c.state(), "terminated");
}

#[test]
fn client_invite_2xx_after_a_negative_reply() {
    let mut c = ict(false);
    assert_eq!(got!(c, 100, 408), "ack deliver");
    assert_eq!(got!(c, 200, 200), "deliver");
    assert_eq!(c.state(), "accepted");
}

#[test]
fn client_invite_timer_c_restarts_and_cancels() {
    let mut c = ict(false);
    got!(c, 100, 100);
    got!(c, 1_000, 100); // 100 does not restart it
    got!(c, 100_000, 180);
    assert_eq!(c.run(ms(280_999)), []);
    assert_eq!(c.run(ms(281_000)), [(281_000, "timeout cancel".into())]);
    assert_eq!(c.state(), "cancelling");
    assert_eq!(got!(c, 281_100, 487), "ack deliver");
    assert_eq!(c.state(), "completed");
}

#[test]
fn client_invite_cancel_waits_for_a_provisional_reply() {
    let mut c = ict(false);
    assert_eq!(c.feed(ms(100), ClientInput::Cancel), "");
    assert_eq!(c.times(ms(3_500)), [500, 1500, 3500]); // still retransmitted
    assert_eq!(got!(c, 3_600, 180), "deliver cancel");
    assert_eq!(c.feed(ms(3_700), ClientInput::Cancel), "");
    assert_eq!(got!(c, 3_800, 183), "deliver");
    assert_eq!(c.run(ms(35_600)), [(35_600, "timeout".into())]); // §9.1: 64*T1
    let mut c = ict(false);
    got!(c, 100, 180);
    assert_eq!(c.feed(ms(200), ClientInput::Cancel), "cancel");
    assert_eq!(got!(c, 300, 200), "deliver"); // too late
    assert_eq!(c.state(), "accepted");
    let mut c = ict(false);
    c.feed(ms(100), ClientInput::Cancel);
    assert_eq!(got!(c, 300, 404), "ack deliver");
}

#[test]
fn client_noninvite_over_its_figure() {
    let ok = reply(&options(), 200, "b");
    let trying = reply(&options(), 100, "b");
    let mut c = nict(false);
    let times = c.times(ms(32_000));
    assert_eq!(times, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000]);
    assert_eq!(c.state(), "terminated");
    let mut c = nict(false);
    assert_eq!(c.feed(ms(600), ClientInput::Reply(&trying)), "deliver");
    // Timer E that runs already fires, then every T2.
    assert_eq!(c.times(ms(9_000)), [500, 4500, 8500]);
    assert_eq!(c.feed(ms(9_000), ClientInput::Reply(&ok)), "deliver");
    assert_eq!(c.feed(ms(9_100), ClientInput::Reply(&ok)), "");
    c.run(ms(13_999));
    assert_eq!(c.state(), "completed");
    c.run(ms(14_000)); // timer K
    assert_eq!(c.state(), "terminated");
    let mut c = nict(true);
    assert_eq!(c.times(ms(31_000)), Vec::<u64>::new());
    assert_eq!(c.feed(ms(31_000), ClientInput::Reply(&ok)), "deliver");
    assert_eq!(c.state(), "terminated");
    assert_eq!(nict(true).run(ms(32_000)), [(32_000, "timeout".into())]);
}
