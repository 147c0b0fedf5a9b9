//! Script locks, the same for all workers. A lock belongs to a run: contention is a wait with a
//! deadline, the run's end releases it, and so does its process's death.
//!
//! Each lock is decided about by the worker that owns its name ([`super::owners`],
//! [`super::lock_table`]). The others ask it over the bus, and nobody blocks. When an owner dies, who
//! takes over hears from all others what they hold before it grants anything.

use super::lock_table::{Grant, Table, Who};
use super::perform::Act;
use super::state::{Role, Waiting, Work, Worker};
use crate::base::{Key, Str, Time, TimerKey};
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::net::bus::{Bus, BusError, Peer};
use crate::net::reactor::Source;
use crate::store::Counter;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a run waits for another worker's word about a lock that it would only like to have.
const TRY: Duration = Duration::from_secs(2);

/// Words about locks on the bus.
pub(super) const BUS_LOCK: u8 = 17;

/// How long an owner that takes over waits for the others to say what they hold.
const RECOVERY: Duration = Duration::from_secs(2);

/// What workers tell each other about locks.
#[derive(Serialize, Deserialize)]
enum Word {
    /// To the owner: a run wants the lock.
    Ask(Vec<u8>, u64),
    /// To the owner: the run wants the lock if nobody has it.
    Try(Vec<u8>, u64),
    /// From the owner: somebody has it.
    Taken(u64),
    /// To the owner: the run gives it back, or no longer waits.
    Free(Vec<u8>, u64),
    /// From the owner: the run has it.
    Granted(Vec<u8>, u64),
    /// To a new owner: all that is held (true) and wanted (false) of what it decides about now.
    Claims(Vec<(Vec<u8>, u64, bool)>),
}

/// A lock that a run holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    name: Str,
    ticket: u64,
}

/// The locks as one worker sees them.
#[derive(Default)]
pub struct Locks {
    /// Those that this worker decides about.
    table: Table,
    tickets: u64,
    /// Held by runs of this worker.
    held: HashMap<u64, Str>,
    /// Wanted by runs of this worker.
    wanted: HashMap<u64, Wanted>,
    /// What the bus did not take yet, in order.
    outbox: VecDeque<(usize, Vec<u8>)>,
    recovery: Option<Time>,
}

struct Wanted {
    name: Str,
    parked: Option<Key>,
    until: Time,
    timer: TimerKey,
}

impl Locks {
    /// How many are held or wanted.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.wanted.len() + self.table.len()
    }
}

const NO_KEY: Key = Key { index: 0, generation: 0 };

impl Worker {
    fn who(&self, ticket: u64) -> Who {
        Who { worker: self.me, incarnation: self.bus.me().incarnation, ticket }
    }

    /// Whether a run that takes this lock has to wait for it, be it only for another worker's word.
    pub(super) fn must_wait(&self, role: &Role, name: &Str) -> bool {
        !role.locks.iter().any(|l| l.name == *name)
            && (self.owner_of(name) != self.me || !self.locks.table.is_free(name))
    }

    /// Takes a lock, or waits for it.
    pub(super) fn lock(&mut self, role: &mut Role, name: Str) -> Act {
        if role.locks.iter().any(|l| l.name == name) {
            return Act::Now(Outcome::Code(1));
        }
        self.locks.tickets += 1;
        let ticket = self.locks.tickets;
        let owner = self.owner_of(&name);
        let who = self.who(ticket);
        if owner == self.me && self.locks.table.ask(&name, who) {
            self.locks.held.insert(ticket, name.clone());
            role.locks.push(Held { name, ticket });
            return Act::Now(Outcome::Code(1));
        }
        if owner != self.me {
            self.tell_owner(owner, &Word::Ask(name.to_vec(), ticket));
        }
        let limit = self.env().settings.async_timeout;
        self.want(name, ticket, limit)
    }

    /// Takes a lock if nobody else has it.
    pub(super) fn try_lock(&mut self, role: &mut Role, name: Str) -> Act {
        if role.locks.iter().any(|l| l.name == name) {
            return Act::Now(Outcome::Code(1));
        }
        let owner = self.owner_of(&name);
        if owner == self.me {
            return if self.locks.table.is_free(&name) { self.lock(role, name) } else { Act::Now(Outcome::Code(-1)) };
        }
        self.locks.tickets += 1;
        let ticket = self.locks.tickets;
        self.tell_owner(owner, &Word::Try(name.to_vec(), ticket));
        self.want(name, ticket, TRY)
    }

    fn want(&mut self, name: Str, ticket: u64, limit: Duration) -> Act {
        let until = self.now + limit;
        let timer = self.reactor.io(self.now).arm(until, Source::Locks, NO_KEY);
        self.locks.wanted.insert(ticket, Wanted { name: name.clone(), parked: None, until, timer });
        // The parked key is known only after parking: see `queue_lock`.
        Act::Park(Waiting::Lock(name))
    }

    /// Somebody else has a lock that a run would have liked to have.
    fn taken(&mut self, ticket: u64) {
        let Some(wanted) = self.locks.wanted.remove(&ticket) else { return };
        self.reactor.io(self.now).disarm(wanted.timer);
        if let Some(key) = wanted.parked {
            self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
        }
    }

    /// Notes which parked run the latest waiter of a lock is.
    pub(super) fn queue_lock(&mut self, name: &Str, parked: Key) {
        if let Some(w) = self.locks.wanted.values_mut().find(|w| w.parked.is_none() && w.name == *name) {
            w.parked = Some(parked);
        }
    }

    /// Releases one lock of a run.
    pub(super) fn unlock(&mut self, role: &mut Role, name: &Str) -> i32 {
        let Some(at) = role.locks.iter().position(|l| l.name == *name) else { return -1 };
        let held = role.locks.remove(at);
        self.give_back(&held.name, held.ticket);
        1
    }

    /// Releases what a run still holds at its end.
    pub(super) fn release_locks(&mut self, role: &mut Role) {
        for held in std::mem::take(&mut role.locks) {
            self.give_back(&held.name, held.ticket);
        }
    }

    /// A parked run that waits for a lock is given up.
    pub(super) fn withdraw_lock(&mut self, parked: Key) {
        let found = self.locks.wanted.iter().find(|(_, w)| w.parked == Some(parked)).map(|(t, _)| *t);
        if let Some(ticket) = found {
            self.no_longer_wanted(ticket);
        }
    }

    fn no_longer_wanted(&mut self, ticket: u64) {
        if let Some(wanted) = self.locks.wanted.remove(&ticket) {
            self.reactor.io(self.now).disarm(wanted.timer);
            self.give_back(&wanted.name, ticket);
        }
    }

    fn give_back(&mut self, name: &Str, ticket: u64) {
        self.locks.held.remove(&ticket);
        let owner = self.owner_of(name);
        if owner != self.me {
            return self.tell_owner(owner, &Word::Free(name.to_vec(), ticket));
        }
        let who = self.who(ticket);
        if let Some(grant) = self.locks.table.free(name, who) {
            self.grant(grant);
        }
    }

    /// Tells who has a lock now.
    fn grant(&mut self, (name, who): Grant) {
        if who.worker == self.me {
            self.granted(&name, who.ticket);
        } else {
            self.tell_owner(who.worker, &Word::Granted(name.to_vec(), who.ticket));
        }
    }

    fn grant_all(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            self.grant(grant);
        }
    }

    /// A run of this worker has a lock now.
    fn granted(&mut self, name: &Str, ticket: u64) {
        if self.locks.held.contains_key(&ticket) {
            return;
        }
        let wanted = self.locks.wanted.remove(&ticket);
        if let Some(wanted) = &wanted {
            self.reactor.io(self.now).disarm(wanted.timer);
        }
        let parked = wanted.and_then(|w| w.parked);
        match parked.and_then(|key| self.parked.get_mut(key)) {
            Some(p) => {
                p.role.locks.push(Held { name: name.clone(), ticket });
                self.locks.held.insert(ticket, name.clone());
                if let Some(key) = parked {
                    self.work.push_back(Work::Resume(key, Outcome::Code(1)));
                }
            }
            // Whoever wanted it is gone.
            None => self.give_back(name, ticket),
        }
    }

    /// Gives up waits for locks whose deadline has passed.
    pub(super) fn expire_locks(&mut self) {
        let now = self.now;
        let late: Vec<u64> = self.locks.wanted.iter().filter(|(_, w)| w.until <= now).map(|(t, _)| *t).collect();
        for ticket in late {
            let parked = self.locks.wanted.get(&ticket).and_then(|w| w.parked);
            self.no_longer_wanted(ticket);
            if let Some(key) = parked {
                self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
            }
        }
        if self.locks.recovery.is_some_and(|t| t <= now) {
            self.locks.recovery = None;
            if self.locks.table.recovers() {
                emit(1, "locks", "not every worker said which locks it holds: those that are not known count as free");
                let grants = self.locks.table.give_up();
                self.grant_all(grants);
            }
        }
    }

    // ---- the other workers

    /// A word from another worker.
    pub(super) fn lock_word(&mut self, from: Peer, payload: &[u8]) {
        let Ok(word) = postcard::from_bytes::<Word>(payload) else { return };
        let worker = usize::from(from.index);
        let who = |ticket| Who { worker, incarnation: from.incarnation, ticket };
        match word {
            Word::Granted(name, ticket) => self.granted(&Str::from(name), ticket),
            Word::Ask(name, ticket) => {
                let name = Str::from(name);
                // If another owns it by now, the asker has heard of that too, and claims it there.
                if self.owner_of(&name) == self.me && self.locks.table.ask(&name, who(ticket)) {
                    self.tell_owner(worker, &Word::Granted(name.to_vec(), ticket));
                }
            }
            Word::Try(name, ticket) => {
                let name = Str::from(name);
                let free = self.owner_of(&name) == self.me && self.locks.table.is_free(&name);
                if free && self.locks.table.ask(&name, who(ticket)) {
                    self.tell_owner(worker, &Word::Granted(name.to_vec(), ticket));
                } else {
                    self.tell_owner(worker, &Word::Taken(ticket));
                }
            }
            Word::Taken(ticket) => self.taken(ticket),
            Word::Free(name, ticket) => {
                if let Some(grant) = self.locks.table.free(&Str::from(name), who(ticket)) {
                    self.grant(grant);
                }
            }
            Word::Claims(list) => {
                for (name, ticket, held) in list {
                    self.claim(&Str::from(name), who(ticket), held);
                }
                let grants = self.locks.table.reported(worker);
                self.grant_all(grants);
            }
        }
    }

    fn claim(&mut self, name: &Str, who: Who, held: bool) {
        if !held {
            if self.locks.table.ask(name, who) {
                self.grant((name.clone(), who));
            }
        } else if !self.locks.table.claim(name, who) {
            emit(1, "locks", &format!("two runs hold the lock \"{}\" since a worker died", name.to_lossy()));
        }
    }

    /// This worker took the seat of a dead one: the others will say what they hold.
    pub(super) fn recover_locks(&mut self) {
        let others: Vec<usize> = (0..self.count).filter(|i| *i != self.me && !self.owners.is_vacant(*i)).collect();
        if others.is_empty() {
            return;
        }
        self.locks.table.recover(others.into_iter());
        let until = self.now + RECOVERY;
        self.locks.recovery = Some(until);
        self.reactor.io(self.now).arm(until, Source::Locks, NO_KEY);
    }

    /// A worker died: its runs hold nothing and want nothing.
    pub(super) fn locks_of_dead(&mut self, worker: usize, incarnation: u32) {
        self.locks.outbox.retain(|(to, _)| *to != worker);
        let grants = self.locks.table.died(worker, incarnation);
        self.grant_all(grants);
    }

    /// A seat has become empty, and what its worker decided about is others' now. `before`: who owned what.
    pub(super) fn locks_of_empty_seat(&mut self, seat: usize, before: &super::owners::Owners) {
        if !self.traffic {
            // Born just now: the others' claims, which it waits for, are about this as well.
            let grants = self.locks.table.reported(seat);
            return self.grant_all(grants);
        }
        self.recover_locks();
        let living: Vec<usize> = (0..self.count).filter(|w| !self.owners.is_vacant(*w)).collect();
        for worker in living {
            self.claim_at(worker, |w, name| before.owner_of(name) == seat && w.owner_of(name) == worker);
        }
    }

    /// A seat has a new tenant: it hears what it decides about.
    pub(super) fn locks_of_new_tenant(&mut self, seat: usize) {
        let owners = self.owners.clone();
        let me = self.me;
        self.locks.table.retain(|name| owners.owner_of(name) == me);
        self.claim_at(seat, |w, name| w.owner_of(name) == seat);
    }

    /// Tells `owner` what this worker's runs hold and want, of what `which` says.
    fn claim_at(&mut self, owner: usize, which: impl Fn(&Worker, &Str) -> bool) {
        let held = self.locks.held.iter().map(|(t, n)| (n, *t, true));
        let wanted = self.locks.wanted.iter().map(|(t, w)| (&w.name, *t, false));
        let mut list: Vec<(Str, u64, bool)> =
            held.chain(wanted).filter(|(n, ..)| which(self, n)).map(|(n, t, h)| (n.clone(), t, h)).collect();
        // Who came first keeps his place.
        list.sort_by_key(|(_, ticket, held)| (!held, *ticket));
        if owner == self.me {
            for (name, ticket, held) in list {
                let who = self.who(ticket);
                self.claim(&name, who, held);
            }
        } else {
            let list = list.into_iter().map(|(n, t, h)| (n.to_vec(), t, h)).collect();
            self.tell_owner(owner, &Word::Claims(list));
        }
    }

    /// Sends a word to another worker; what the bus does not take now is kept.
    fn tell_owner(&mut self, to: usize, word: &Word) {
        let Ok(bytes) = postcard::to_allocvec(word) else { return };
        self.locks.outbox.push_back((to, bytes));
        self.flush_locks();
    }

    /// Whether nothing waits for room on the bus.
    pub(super) fn locks_idle(&self) -> bool {
        self.locks.outbox.is_empty()
    }

    /// Sends what is left, in order. Once per turn.
    pub(super) fn flush_locks(&mut self) {
        let mut rest = VecDeque::new();
        while let Some((to, bytes)) = self.locks.outbox.pop_front() {
            // Nothing overtakes what waits for the same receiver.
            if rest.iter().any(|(other, _)| *other == to) {
                rest.push_back((to, bytes));
                continue;
            }
            match self.bus.send(to, BUS_LOCK, &bytes) {
                Ok(()) => self.counters.inc(Counter::BusSent),
                Err(BusError::Full) => {
                    self.bus.want_space(to);
                    rest.push_back((to, bytes));
                }
                // Not there yet: the server is starting.
                Err(BusError::NoSuchPeer) => rest.push_back((to, bytes)),
                // Whoever sits there next is told by claims.
                Err(BusError::Gone | BusError::TooLarge) => self.counters.inc(Counter::BusGone),
            }
        }
        self.locks.outbox = rest;
    }
}
