//! A task worker: others' runs go on here. What they wait for (a query, an exchange, a command, a sleep) is started and
//! awaited here; whatever else they want is asked of their owner ([`super::away`]). Tasks are runs without an owner, until
//! they want something that only a worker has: then one of the workers keeps a shell for them as well.

use super::courier::{Asker, Home, Luggage, ToGroup, ToOwner};
use super::state::{Role, RoleKind, Waiting, Work, Worker};
use crate::base::{Key, Str, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::net::bus::{Bus, Peer};
use crate::net::reactor::Source;
use crate::script::vm::{Finished, Run, Suspended};
use crate::store::Counter;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Number of the timer that ends the pause between two arrivals.
pub(super) const PAUSE: u32 = u32::MAX - 1;

/// What is here of others.
#[derive(Default)]
pub struct Guests {
    /// Runs that are known to their owners, and whether they are tasks, which outlive them.
    known: HashMap<Home, bool>,
    /// What has come and was not begun, while the group pauses.
    arrived: VecDeque<(Box<Run<SipHost>>, Role)>,
    /// When the next one may begin.
    next: Time,
    armed: bool,
}

impl Worker {
    /// A word from a worker.
    pub(super) fn group_word(&mut self, from: Peer, word: ToGroup) {
        match word {
            ToGroup::Run { token, run } => self.run_arrives(Home { owner: from, token }, &run),
            ToGroup::Task { program, route, event } => self.task_arrives(program, route, event),
            ToGroup::Answer { ask, token, outcome, luggage } => {
                let home = Home { owner: from, token };
                let waits = |p: &super::state::Parked| p.waiting.is_home(from);
                let Some(parked) = self.parked.get_mut(ask).filter(|p| waits(p)) else { return };
                let known = match parked.role.kind {
                    RoleKind::Guest(own) => own == home,
                    _ => {
                        parked.role.kind = RoleKind::Guest(home);
                        self.guests.known.insert(home, true);
                        true
                    }
                };
                if !known {
                    return;
                }
                let (host, avps) = self.unpack(luggage);
                if let Some(parked) = self.parked.get_mut(ask) {
                    *parked.run.host_mut() = host;
                    parked.run.set_avps(avps);
                }
                self.resume(ask, outcome);
            }
            ToGroup::Drop { token } => self.drop_guest(Home { owner: from, token }),
        }
    }

    fn run_arrives(&mut self, home: Home, bytes: &Str) {
        let env = self.env().clone();
        let run = Suspended::decode(bytes, self.program(), |host: &mut SipHost| host.env = env);
        let crowded = self.parked.len() + self.guests.arrived.len() >= self.blueprint.max_suspended;
        let run = match run {
            Ok(run) if !crowded => run,
            Ok(_) => {
                self.dispatch(home.owner, &ToOwner::Refused { token: home.token });
                return;
            }
            Err(why) => {
                emit(-1, "async", &format!("a run from worker {} is sent back: {why}", home.owner.index));
                self.dispatch(home.owner, &ToOwner::Refused { token: home.token });
                return;
            }
        };
        self.guests.known.insert(home, false);
        let run = run.resume(Outcome::Code(1));
        self.arrives(Box::new(run), Role::new(RoleKind::Guest(home)));
    }

    fn task_arrives(&mut self, program: u64, route: u32, event: Vec<(Str, Str)>) {
        if program != self.blueprint.program.fingerprint || self.blueprint.program.route(route).is_none() {
            return;
        }
        let mut host = SipHost::without_message(self.env().clone());
        host.event = event.into();
        let run = Run::new(self.program(), route, host);
        self.arrives(Box::new(run), Role::new(RoleKind::Launched));
    }

    fn arrives(&mut self, run: Box<Run<SipHost>>, role: Role) {
        self.guests.arrived.push_back((run, role));
        self.start_arrived();
    }

    /// The pause between what one of the group's processes takes on (`usleep`).
    fn pause(&self) -> Duration {
        let group = self.group.and_then(|n| self.env().settings.groups.get(n));
        group.map_or(Duration::ZERO, |g| g.pause)
    }

    /// Begins what has come, no faster than the group is meant to.
    pub(super) fn start_arrived(&mut self) {
        let pause = self.pause();
        self.guests.armed &= self.guests.next > self.now;
        while !self.guests.arrived.is_empty() && (pause.is_zero() || self.guests.next <= self.now) {
            let Some((run, role)) = self.guests.arrived.pop_front() else { return };
            // What a turn of the loop came too late for is made up for, but no more than that.
            self.guests.next = self.guests.next.max(self.now - Duration::from_millis(2)) + pause;
            self.work.push_back(Work::Go(run, role));
        }
        if !self.guests.arrived.is_empty() && !self.guests.armed {
            self.guests.armed = true;
            let key = Key { index: PAUSE, generation: 1 };
            self.reactor.io(self.now).arm(self.guests.next, Source::Worker, key);
        }
    }

    /// Whether nobody wants to know any more what becomes of a run.
    pub(super) fn is_dropped(&self, role: &Role) -> bool {
        matches!(role.kind, RoleKind::Guest(home) if !self.guests.known.contains_key(&home))
    }

    /// A run that is parked wants something of its owner.
    pub(super) fn ask_home(&mut self, key: Key, request: Request) {
        let living = |home: Home| self.bus.peer(usize::from(home.owner.index)) == Some(home.owner);
        let Some(parked) = self.parked.get_mut(key) else { return };
        let home = match parked.role.kind {
            RoleKind::Guest(home) if living(home) => Some(home),
            RoleKind::Guest(home) if self.guests.known.get(&home) == Some(&true) => {
                self.guests.known.remove(&home);
                parked.role.kind = RoleKind::Launched;
                None
            }
            // Main says soon that its owner has died.
            RoleKind::Guest(home) => {
                parked.waiting = Waiting::Home(home.owner);
                return;
            }
            _ => None,
        };
        let parked = &*parked;
        let travels = matches!(request, Request::Travel { .. } | Request::Beside { .. });
        // Nothing is left for it to do here: it ends where its transaction is.
        let leaves = travels || (home.is_some() && parked.run.is_last());
        let what = if home.is_none() || leaves {
            match parked.run.encode() {
                Ok(bytes) => Asker::Run(Str::from(bytes)),
                Err(_) => return self.work.push_back(Work::Resume(key, Outcome::Code(-1))),
            }
        } else {
            let run = &parked.run;
            Asker::Luggage(Luggage { host: Box::new(run.host().clone()), avps: run.avps().clone() })
        };
        let worker = home.map_or_else(|| self.owner_of(&key.index.to_be_bytes()), |h| usize::from(h.owner.index));
        let Some(peer) = home.map(|h| h.owner).or_else(|| self.bus.peer(worker)) else {
            return self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
        };
        let word = ToOwner::Ask { token: home.map(|h| h.token), ask: key, request, what };
        if !self.dispatch(peer, &word) {
            return self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
        }
        if let Some(home) = home.filter(|_| leaves) {
            // It goes on from there.
            self.guests.known.remove(&home);
            self.parked.remove(key);
            self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        } else if let Some(parked) = self.parked.get_mut(key) {
            parked.waiting = Waiting::Home(peer);
        }
    }

    /// A run has ended: its owner knows what that means.
    pub(super) fn guest_done(&mut self, home: Home, finished: Finished<SipHost>) {
        if self.guests.known.remove(&home).is_none() {
            return;
        }
        let Finished { host, avps, end, .. } = finished;
        let luggage = Luggage { host: Box::new(host), avps };
        self.dispatch(home.owner, &ToOwner::Ended { token: home.token, end, luggage });
    }

    /// Nobody wants to know any more what becomes of a run: what it waits for is given up.
    fn drop_guest(&mut self, home: Home) {
        if self.guests.known.remove(&home).is_none() {
            return;
        }
        let waits = |p: &super::state::Parked| matches!(p.role.kind, RoleKind::Guest(own) if own == home);
        let keys: Vec<Key> = self.parked.iter().filter(|(_, p)| waits(p)).map(|(key, _)| key).collect();
        for key in keys {
            self.keep_writes(key);
            self.abandon(key);
            self.counters.inc(Counter::WaitsCancelled);
        }
    }

    /// A worker has died, and its transactions with it: the runs that belong to them end. Tasks go on.
    pub(super) fn owner_died(&mut self, seat: usize, incarnation: u32) {
        let dead = |peer: Peer| usize::from(peer.index) == seat && peer.incarnation <= incarnation;
        let runs: Vec<Home> =
            self.guests.known.iter().filter(|(h, task)| dead(h.owner) && !**task).map(|(h, _)| *h).collect();
        for home in runs {
            self.drop_guest(home);
        }
        let asks = |p: &super::state::Parked| matches!(p.waiting, Waiting::Home(peer) if dead(peer));
        let keys: Vec<Key> = self.parked.iter().filter(|(_, p)| asks(p)).map(|(key, _)| key).collect();
        for key in keys {
            self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
        }
    }
}
