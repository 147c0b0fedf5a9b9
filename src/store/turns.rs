//! Numbers that all processes count on together: whose turn it is. Memory made before the fork; each turn is one atomic
//! step, so no two processes get the same.

use super::shm::Region;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// How many numbers there are. Who asks for a higher one shares with another.
const COUNT: usize = 1 << 14;

/// The numbers.
#[derive(Clone, Debug)]
pub struct Turns(Rc<Region>);

impl Turns {
    /// Every number is zero.
    pub fn new() -> io::Result<Turns> {
        Ok(Turns(Region::anonymous(COUNT * 8)?))
    }

    /// The number of this name; the next one to ask gets the one behind it.
    pub fn next(&self, name: usize) -> u64 {
        self.0.word(name % COUNT * 8).map_or(0, |word| word.fetch_add(1, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_is_had_once() {
        let t = Turns::new().unwrap();
        let other = t.clone();
        assert_eq!((t.next(5), other.next(5), t.next(5), t.next(6)), (0, 1, 2, 0));
        assert_eq!(t.next(5 + COUNT), 3);
    }
}
