//! The locks that one worker decides about: who holds each, who waits for it, in order. No clock, no bus.
//!
//! The table of a worker that takes over from a dead one begins empty, while others may hold what was
//! in the old one. So it *recovers* first: it grants nothing that is not known to be free until all
//! others have said what they hold ([`Table::claim`], [`Table::reported`]).

use crate::base::Str;
use std::collections::{HashMap, HashSet, VecDeque};

/// Who holds a lock or waits for it: a run of some worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Who {
    /// Its seat.
    pub worker: usize,
    /// Which tenant of the seat.
    pub incarnation: u32,
    /// Which of that worker's requests.
    pub ticket: u64,
}

/// A lock that somebody has now.
pub type Grant = (Str, Who);

#[derive(Default)]
struct Lock {
    holder: Option<Who>,
    queue: VecDeque<Who>,
}

/// The locks of one owner.
#[derive(Default)]
pub struct Table {
    locks: HashMap<Str, Lock>,
    /// Seats that have not said yet what they hold.
    missing: HashSet<usize>,
}

impl Table {
    /// How many locks are held or wanted.
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// Whether it still waits for others to say what they hold.
    pub fn recovers(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether whoever asks now has the lock at once.
    pub fn is_free(&self, name: &Str) -> bool {
        self.missing.is_empty() && !self.locks.contains_key(name)
    }

    /// Somebody wants a lock: true if he has it now. Asking again changes nothing.
    pub fn ask(&mut self, name: &Str, who: Who) -> bool {
        let free = self.missing.is_empty();
        let lock = self.locks.entry(name.clone()).or_default();
        match lock.holder {
            Some(holder) if holder == who => true,
            None if free && lock.queue.is_empty() => {
                lock.holder = Some(who);
                true
            }
            _ => {
                if !lock.queue.contains(&who) {
                    lock.queue.push_back(who);
                }
                false
            }
        }
    }

    /// Somebody says that he has held a lock since before this table began. False if somebody else has
    /// it by now (who claims too late).
    pub fn claim(&mut self, name: &Str, who: Who) -> bool {
        let lock = self.locks.entry(name.clone()).or_default();
        if lock.holder.is_some_and(|h| h != who) {
            return false;
        }
        lock.holder = Some(who);
        lock.queue.retain(|w| *w != who);
        true
    }

    /// Somebody gives a lock back, or no longer waits for it: who has it now.
    pub fn free(&mut self, name: &Str, who: Who) -> Option<Grant> {
        let lock = self.locks.get_mut(name)?;
        lock.queue.retain(|w| *w != who);
        if lock.holder == Some(who) {
            lock.holder = None;
        }
        self.next(name)
    }

    /// Gives a lock that nobody holds to the first who waits.
    fn next(&mut self, name: &Str) -> Option<Grant> {
        let lock = self.locks.get_mut(name)?;
        if lock.holder.is_none() && lock.queue.is_empty() {
            self.locks.remove(name);
            return None;
        }
        if lock.holder.is_some() || !self.missing.is_empty() {
            return None;
        }
        let who = lock.queue.pop_front()?;
        lock.holder = Some(who);
        Some((name.clone(), who))
    }

    fn next_of_all(&mut self) -> Vec<Grant> {
        let names: Vec<Str> = self.locks.keys().cloned().collect();
        names.iter().filter_map(|name| self.next(name)).collect()
    }

    /// A worker died: what it held and wanted is given up.
    pub fn died(&mut self, worker: usize, incarnation: u32) -> Vec<Grant> {
        let gone = |w: &Who| w.worker == worker && w.incarnation <= incarnation;
        for lock in self.locks.values_mut() {
            lock.queue.retain(|w| !gone(w));
            if lock.holder.as_ref().is_some_and(gone) {
                lock.holder = None;
            }
        }
        self.missing.remove(&worker);
        self.next_of_all()
    }

    /// Begins to recover: these seats will say what they hold.
    pub fn recover(&mut self, from: impl Iterator<Item = usize>) {
        self.missing.extend(from);
    }

    /// A seat has said all that it holds and wants.
    pub fn reported(&mut self, worker: usize) -> Vec<Grant> {
        if self.missing.remove(&worker) && self.missing.is_empty() { self.next_of_all() } else { Vec::new() }
    }

    /// Waits no longer for those who have not said what they hold.
    pub fn give_up(&mut self) -> Vec<Grant> {
        self.missing.clear();
        self.next_of_all()
    }

    /// Forgets the locks that another decides about now.
    pub fn retain(&mut self, mine: impl Fn(&Str) -> bool) {
        self.locks.retain(|name, _| mine(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(worker: usize, ticket: u64) -> Who {
        Who { worker, incarnation: 1, ticket }
    }

    fn name(s: &str) -> Str {
        Str::from(s)
    }

    #[test]
    fn one_holds_and_the_others_wait_in_order() {
        let mut t = Table::default();
        let l = name("l");
        assert!(t.ask(&l, who(0, 1)) && t.ask(&l, who(0, 1)));
        assert!(!t.ask(&l, who(1, 1)) && !t.ask(&l, who(0, 2)) && !t.ask(&l, who(1, 1)));
        assert!(t.ask(&name("other"), who(1, 9)));
        assert_eq!(t.free(&l, who(1, 7)), None, "a stranger frees nothing");
        assert_eq!(t.free(&l, who(0, 1)), Some((l.clone(), who(1, 1))));
        assert_eq!(t.free(&l, who(0, 2)), None, "who waits may give up");
        assert_eq!(t.free(&l, who(1, 1)), None);
        assert_eq!(t.free(&name("other"), who(1, 9)), None);
        assert_eq!(t.len(), 0);
    }

    #[test]
    fn the_dead_hold_nothing() {
        let mut t = Table::default();
        let (a, b) = (name("a"), name("b"));
        assert!(t.ask(&a, who(1, 1)) && t.ask(&b, who(0, 1)));
        assert!(!t.ask(&a, who(0, 2)) && !t.ask(&b, who(1, 2)));
        assert!(!t.ask(&a, Who { incarnation: 2, ..who(1, 3) }));
        assert_eq!(t.died(1, 1), [(a.clone(), who(0, 2))]);
        // The next tenant of the seat is somebody else.
        assert_eq!(t.free(&a, who(0, 2)), Some((a.clone(), Who { incarnation: 2, ..who(1, 3) })));
        assert_eq!(t.free(&b, who(0, 1)), None);
    }

    #[test]
    fn who_takes_over_hears_the_holders_first() {
        let mut t = Table::default();
        let (a, b) = (name("a"), name("b"));
        t.recover([1, 2].into_iter());
        assert!(!t.ask(&a, who(0, 1)) && !t.ask(&b, who(0, 2)));
        assert!(t.claim(&a, who(1, 5)));
        assert!(t.reported(1).is_empty());
        assert!(t.recovers());
        assert_eq!(t.reported(2), [(b.clone(), who(0, 2))]);
        assert!(!t.recovers() && t.reported(2).is_empty());
        assert_eq!(t.free(&a, who(1, 5)), Some((a.clone(), who(0, 1))));
        // Too late.
        assert!(!t.claim(&a, who(2, 5)));
        // Somebody dies instead of saying anything, or says nothing.
        t.recover([1, 2].into_iter());
        assert!(!t.ask(&name("c"), who(0, 3)));
        assert!(t.died(1, 1).is_empty());
        assert_eq!(t.give_up(), [(name("c"), who(0, 3))]);
        t.retain(|n| *n == name("c"));
        assert_eq!(t.len(), 1);
    }
}
