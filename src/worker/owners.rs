//! Which worker owns what: decided by a hash that every process computes alike.
//!
//! A seat whose workers keep dying stands empty for a while. Meanwhile what it would own belongs to
//! the others, in equal shares; when somebody sits there again, it is his again.

use crate::net::steer;
use std::fmt;

/// The seats of the workers, and which of them stand empty.
#[derive(Clone)]
pub struct Owners {
    key: [u64; 2],
    vacant: Vec<bool>,
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays secret.
        f.debug_struct("Owners").field("vacant", &self.vacant).finish_non_exhaustive()
    }
}

impl Owners {
    /// `count` seats, none of them empty. `key` is the same in all processes of the server.
    pub fn new(key: [u64; 2], count: usize) -> Owners {
        Owners { key, vacant: vec![false; count.max(1)] }
    }

    /// Notes that a seat stands empty, or no longer does; true if that is news.
    pub fn set_vacant(&mut self, seat: usize, vacant: bool) -> bool {
        match self.vacant.get_mut(seat) {
            Some(v) => std::mem::replace(v, vacant) != vacant,
            None => false,
        }
    }

    /// Whether the seat stands empty.
    pub fn is_vacant(&self, seat: usize) -> bool {
        self.vacant.get(seat).copied().unwrap_or(true)
    }

    /// How many seats stand empty.
    pub fn vacancies(&self) -> usize {
        self.vacant.iter().filter(|v| **v).count()
    }

    /// A number for a text that all workers agree on and nobody outside can foresee.
    pub fn hash(&self, text: &[u8]) -> u64 {
        crate::base::hash::keyed(self.key, text)
    }

    /// The seat that owns this name: a Call-ID, a timer route, a lock.
    pub fn owner_of(&self, name: &[u8]) -> usize {
        let own = steer::owner(self.key[0] as u32, name, self.vacant.len());
        if !self.is_vacant(own) {
            return own;
        }
        let (hash, count) = (self.hash(name), self.vacant.len() as u64);
        // Each name has an order of substitutes of its own: a seat that becomes empty or is taken again
        // moves what is its own, and nothing else.
        let drawn = (1..8).map(|k| ((hash >> (7 * k)) % count) as usize);
        let next = (1..self.vacant.len()).map(|n| (own + n) % self.vacant.len());
        drawn.chain(next).find(|seat| !self.is_vacant(*seat)).unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(owners: &Owners, count: usize) -> Vec<usize> {
        let mut shares = vec![0; count];
        for i in 0..3000 {
            shares[owners.owner_of(format!("call-{i}").as_bytes())] += 1;
        }
        shares
    }

    #[test]
    fn each_owns_its_share_and_an_empty_seat_owns_nothing() {
        let mut owners = Owners::new([1, 2], 3);
        assert!(shares(&owners, 3).iter().all(|n| (800..1200).contains(n)));
        let before: Vec<usize> = (0..100).map(|i| owners.owner_of(&[i])).collect();
        assert!(owners.set_vacant(1, true) && !owners.set_vacant(1, true) && !owners.set_vacant(9, true));
        let now = shares(&owners, 3);
        assert!(now[1] == 0 && now[0] > 1300 && now[2] > 1300, "{now:?}");
        for (i, owner) in before.iter().enumerate() {
            assert!(*owner == 1 || owners.owner_of(&[i as u8]) == *owner, "the others keep theirs");
        }
        assert!(owners.set_vacant(1, false));
        assert_eq!((0..100).map(|i| owners.owner_of(&[i])).collect::<Vec<_>>(), before);
        let mut four = Owners::new([1, 2], 4);
        four.set_vacant(1, true);
        let with_one: Vec<usize> = (0..200).map(|i| four.owner_of(&[i])).collect();
        four.set_vacant(2, true);
        for (i, owner) in with_one.iter().enumerate() {
            assert!(*owner == 2 || four.owner_of(&[i as u8]) == *owner, "a second empty seat moves only its own");
        }
        // With nobody left the question has no good answer, but it has one.
        (0..3).for_each(|s| assert!(owners.set_vacant(s, true)));
        assert!(owners.owner_of(b"x") < 3);
    }
}
