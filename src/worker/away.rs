//! Runs of this worker that are in a task group. The transaction never leaves: what it hears (retransmissions,
//! CANCEL, replies, timers) is answered here as ever. The run stays parked here as well, as a shell: its message and AVPs
//! as they were when it left. Whatever it wants of its transaction comes over the bus with the message as it is by then,
//! is carried out on the shell, and what came of it goes back. So every function does there what it does here.

use super::courier::{Asker, Luggage, ToGroup, ToOwner};
use super::perform::Act;
use super::state::{Parked, Role, RoleKind, Waiting, Worker};
use crate::base::{Key, Str, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::net::bus::Peer;
use crate::script::avp::Avps;
use crate::script::vm::{End, Finished, Suspended};
use crate::store::Counter;

/// Where a run is that is not here.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// Its number in [`super::groups::Groups`].
    pub(super) token: Key,
    /// The number of its group.
    pub(super) group: u16,
    /// Who has it; `None` while it waits for somebody to take it.
    pub(super) at: Option<Peer>,
    /// Since when.
    pub(super) since: Time,
    /// What it wants is being done here: its name there.
    pub(super) asked: Option<Key>,
}

impl Worker {
    /// A word from a task worker.
    pub(super) fn owner_word(&mut self, from: Peer, word: ToOwner) {
        match word {
            ToOwner::Ask { token, ask, request, what } => self.asked(from, token, ask, request, what),
            ToOwner::Ended { token, end, luggage } => {
                if let Some((run, role)) = self.take_shell(from, token) {
                    let (host, avps) = self.unpack(luggage);
                    self.in_work.begin(host.msg.bytes());
                    self.ended_away(run, role, Some((host, avps)), end);
                    self.in_work.end();
                }
            }
            ToOwner::Refused { token } => {
                if self.shell(from, token).is_some() {
                    self.counters.inc(Counter::WaitsRefused);
                    self.stays_here(token);
                }
            }
        }
        self.flush_transactions();
    }

    /// The parked shell of a run that this process has.
    fn shell(&self, from: Peer, token: Key) -> Option<Key> {
        let key = *self.groups.away.get(token)?;
        let away = self.parked.get(key)?.role.away.as_ref()?;
        (away.at == Some(from)).then_some(key)
    }

    /// Takes the shell out: the run is no longer away.
    fn take_shell(&mut self, from: Peer, token: Key) -> Option<(Suspended<SipHost>, Role)> {
        let key = self.shell(from, token)?;
        let Parked { run, mut role, .. } = self.unpark(key)?;
        self.forget_away(&mut role);
        Some((run, role))
    }

    fn unpark(&mut self, key: Key) -> Option<Parked> {
        let parked = self.parked.remove(key)?;
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        Some(parked)
    }

    fn forget_away(&mut self, role: &mut Role) -> Option<Away> {
        let away = *role.away.take()?;
        self.groups.away.remove(away.token);
        if let Some(at) = away.at {
            self.groups.done(at);
        }
        Some(away)
    }

    /// A run that is away wants something.
    fn asked(&mut self, from: Peer, token: Option<Key>, ask: Key, request: Request, what: Asker) {
        match (token, what) {
            (Some(token), Asker::Luggage(luggage)) => {
                let Some(key) = self.shell(from, token) else {
                    self.dispatch(from, &ToGroup::Drop { token });
                    return;
                };
                let Some(Parked { mut run, mut role, .. }) = self.unpark(key) else { return };
                let (host, avps) = self.unpack(luggage);
                *run.host_mut() = host;
                run.set_avps(avps);
                self.refresh(run.host_mut(), &role);
                self.in_work.begin(run.host().msg.bytes());
                let act = self.perform(&mut run, &mut role, request);
                self.act_away(run, role, act, ask);
                self.in_work.end();
            }
            // It comes home: to end here, or to go on to another group.
            (Some(token), Asker::Run(bytes)) => {
                let Some((shell, role)) = self.take_shell(from, token) else { return };
                let Some(mut run) = self.decoded(&bytes) else {
                    return self.ended_away(shell, role, None, End { exited: true, ..End::default() });
                };
                self.refresh(run.host_mut(), &role);
                self.in_work.begin(run.host().msg.bytes());
                if let Some((run, role)) = self.answer(run, role, request) {
                    self.drive(run, role);
                }
                self.in_work.end();
            }
            // It has no transaction, and wants something that only a worker has.
            (None, Asker::Run(bytes)) => {
                let Some(mut run) = self.decoded(&bytes) else { return };
                let mut role = Role::new(RoleKind::Launched);
                let token = self.groups.away.insert(Key { index: u32::MAX, generation: u32::MAX });
                role.away =
                    Some(Box::new(Away { token, group: u16::MAX, at: Some(from), since: self.now, asked: None }));
                let act = self.perform(&mut run, &mut role, request);
                self.act_away(run, role, act, ask);
            }
            (None, Asker::Luggage(_)) => {}
        }
    }

    fn decoded(&self, bytes: &Str) -> Option<Suspended<SipHost>> {
        let env = self.env().clone();
        Suspended::decode(bytes, self.program(), |host: &mut SipHost| host.env = env).ok()
    }

    /// What becomes of what a run that is away wants.
    fn act_away(&mut self, run: Suspended<SipHost>, mut role: Role, act: Act, ask: Key) {
        if let Some(away) = &mut role.away {
            away.asked = Some(ask);
        }
        match act {
            Act::Now(outcome) => self.send_back(run, role, outcome),
            Act::Park(waiting) => {
                self.park_away(run, role, waiting);
            }
            Act::Relay(order) => {
                let key = self.park_away(run, role, Waiting::Relay);
                self.begin_relay(Some(key), order);
            }
            Act::Forward(order) => {
                let key = self.park_away(run, role, Waiting::Lookup);
                self.begin_forward(key, order);
            }
            // Neither is anything a run asks for from there without coming along.
            Act::Travel(_) | Act::Home(_) => self.send_back(run, role, Outcome::Code(-1)),
        }
    }

    fn park_away(&mut self, run: Suspended<SipHost>, role: Role, waiting: Waiting) -> Key {
        let token = role.away.as_ref().map(|a| a.token);
        let key = self.park(run, role, waiting);
        if let Some(slot) = token.and_then(|t| self.groups.away.get_mut(t)) {
            *slot = key;
        }
        key
    }

    /// What a run that is away has waited for here has come: it hears of it where it is.
    pub(super) fn send_back(&mut self, mut run: Suspended<SipHost>, mut role: Role, outcome: Outcome) {
        self.refresh(run.host_mut(), &role);
        let Some(away) = &mut role.away else { return };
        let (Some(at), Some(ask), token) = (away.at, away.asked.take(), away.token) else { return };
        let luggage = Luggage { host: Box::new(run.host().clone()), avps: run.avps().clone() };
        self.park_away(run, role, Waiting::Away);
        // If it has died, main says so soon.
        self.dispatch(at, &ToGroup::Answer { ask, token, outcome, luggage });
    }

    /// A run has ended where it was: its end means here what it always means.
    fn ended_away(&mut self, mut run: Suspended<SipHost>, role: Role, left: Option<(SipHost, Avps)>, end: End) {
        if let Some((host, avps)) = left {
            *run.host_mut() = host;
            run.set_avps(avps);
        }
        self.refresh(run.host_mut(), &role);
        let mut finished: Finished<SipHost> = run.abandon();
        finished.end = end;
        self.finished(finished, role);
    }

    /// A run is given up here: if it is away, whoever has it hears of that.
    pub(super) fn recall(&mut self, role: &mut Role) {
        let Some(away) = self.forget_away(role) else { return };
        if let Some(at) = away.at {
            self.dispatch(at, &ToGroup::Drop { token: away.token });
        }
    }

    /// A process has died. If it was a task worker, the runs it had end here as if their scripts had ended there.
    pub(super) fn group_member_died(&mut self, seat: usize, incarnation: u32) {
        if !self.groups.died(seat, incarnation) {
            return;
        }
        let gone = |p: &Parked| {
            let at = p.role.away.as_ref().and_then(|a| a.at);
            at.is_some_and(|at| usize::from(at.index) == seat && at.incarnation <= incarnation)
        };
        let lost: Vec<Key> = self.parked.iter().filter(|(_, p)| gone(p)).map(|(key, _)| key).collect();
        if !lost.is_empty() {
            emit(-1, "async", &format!("task worker {seat} has died with {} of this worker's runs", lost.len()));
        }
        for key in lost {
            match self.parked.get(key).map(|p| &p.waiting) {
                Some(Waiting::Lock(_)) => self.withdraw_lock(key),
                Some(Waiting::Verdict(ticket)) => self.forget_ask(*ticket),
                _ => {}
            }
            let Some(Parked { run, mut role, .. }) = self.unpark(key) else { continue };
            self.forget_away(&mut role);
            self.counters.inc(Counter::WaitsFailed);
            let end = End { exited: true, ..End::default() };
            self.ended_away(run, role, None, end);
        }
        self.flush_transactions();
    }
}
