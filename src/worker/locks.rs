//! Script locks: they belong to a run. Contention is a wait with a deadline; the run's end
//! releases them. A lock is held within one worker, which is where one call's messages meet.

use super::perform::Act;
use super::state::{Role, Waiting, Work, Worker};
use crate::base::{Key, Str, Time};
use crate::modules::request::Outcome;
use crate::net::reactor::Source;
use std::collections::{HashMap, VecDeque};

/// The locks of one worker.
#[derive(Default)]
pub struct Locks {
    held: HashMap<Str, VecDeque<Waiter>>,
}

impl Locks {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

struct Waiter {
    parked: Option<Key>,
    until: Time,
}

impl Worker {
    /// Whether a run that takes this lock has to wait for it.
    pub(super) fn must_wait(&self, role: &Role, key: &Str) -> bool {
        !role.locks.contains(key) && self.locks.held.contains_key(key)
    }

    /// Takes a lock, or waits for it.
    pub(super) fn lock(&mut self, role: &mut Role, key: Str) -> Act {
        if role.locks.contains(&key) {
            return Act::Now(Outcome::Code(1));
        }
        let until = self.now + self.env().settings.async_timeout;
        match self.locks.held.get_mut(&key) {
            None => {
                self.locks.held.insert(key.clone(), VecDeque::new());
                role.locks.push(key);
                Act::Now(Outcome::Code(1))
            }
            Some(queue) => {
                queue.push_back(Waiter { parked: None, until });
                let none = Key { index: 0, generation: 0 };
                self.reactor.io(self.now).arm(until, Source::Locks, none);
                // The parked key is known only after parking: see `queue_lock`.
                Act::Park(Waiting::Lock(key))
            }
        }
    }

    /// Notes which parked run the last waiter of a lock is.
    pub(super) fn queue_lock(&mut self, name: &Str, parked: Key) {
        if let Some(w) = self.locks.held.get_mut(name).and_then(|q| q.iter_mut().rev().find(|w| w.parked.is_none())) {
            w.parked = Some(parked);
        }
    }

    /// Releases one lock of a run.
    pub(super) fn unlock(&mut self, role: &mut Role, key: &Str) -> i32 {
        let Some(at) = role.locks.iter().position(|l| l == key) else { return -1 };
        role.locks.remove(at);
        self.pass_on(key);
        1
    }

    /// Releases what a run still holds at its end.
    pub(super) fn release_locks(&mut self, role: &mut Role) {
        for key in std::mem::take(&mut role.locks) {
            self.pass_on(&key);
        }
    }

    /// Gives a lock to the next who waits for it.
    fn pass_on(&mut self, key: &Str) {
        loop {
            let Some(queue) = self.locks.held.get_mut(key) else { return };
            let Some(next) = queue.pop_front() else {
                self.locks.held.remove(key);
                return;
            };
            if let Some(parked) = next.parked
                && let Some(p) = self.parked.get_mut(parked)
            {
                p.role.locks.push(key.clone());
                self.work.push_back(Work::Resume(parked, Outcome::Code(1)));
                return;
            }
        }
    }

    /// Gives up waits for locks whose deadline has passed.
    pub(super) fn expire_locks(&mut self) {
        let now = self.now;
        let mut late = Vec::new();
        for queue in self.locks.held.values_mut() {
            queue.retain(|w| {
                if w.until > now {
                    return true;
                }
                late.extend(w.parked);
                false
            });
        }
        for parked in late {
            self.work.push_back(Work::Resume(parked, Outcome::Code(-1)));
        }
    }
}
