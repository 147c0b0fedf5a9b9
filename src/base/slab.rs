//! A slab whose keys carry a generation, so that a stale key finds nothing instead of a stranger.

use serde::{Deserialize, Serialize};

/// Names one entry of a [`Slab`], for as long as that entry lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Slot number.
    pub index: u32,
    /// Which tenant of the slot.
    pub generation: u32,
}

enum Slot<T> {
    Free { next: u32, generation: u32 },
    Taken { generation: u32, value: T },
}

const NONE: u32 = u32::MAX;

/// A growing table with stable, generation-checked keys. Generations have 24 bits, so that a
/// key also fits into an event token.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

/// Largest generation before it wraps to zero.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    /// An empty slab.
    pub fn new() -> Self {
        Slab { slots: Vec::new(), free: NONE, len: 0 }
    }

    /// Stores `value` and returns its key.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Stores what `make` builds from the key it will have.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.len += 1;
        if self.free != NONE {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            if let Slot::Free { next, generation } = *slot {
                self.free = next;
                let key = Key { index, generation };
                *slot = Slot::Taken { generation, value: make(key) };
                return key;
            }
        }
        let key = Key { index: self.slots.len() as u32, generation: 0 };
        self.slots.push(Slot::Taken { generation: 0, value: make(key) });
        key
    }

    /// The entry named by `key`, if it still lives.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(Slot::Taken { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry named by `key`, if it still lives.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot::Taken { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the entry out; its key names nothing afterwards.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        match slot {
            Slot::Taken { generation, .. } if *generation == key.generation => {
                let next_generation = (*generation + 1) & GENERATION_MASK;
                let old = std::mem::replace(slot, Slot::Free { next: self.free, generation: next_generation });
                self.free = key.index;
                self.len -= 1;
                match old {
                    Slot::Taken { value, .. } => Some(value),
                    Slot::Free { .. } => None,
                }
            }
            _ => None,
        }
    }

    /// How many entries live.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry lives.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every living entry with its key.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| match s {
            Slot::Taken { generation, value } => Some((Key { index: i as u32, generation: *generation }, value)),
            Slot::Free { .. } => None,
        })
    }

    /// Every living entry with its key, changeable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(i, s)| match s {
            Slot::Taken { generation, value } => Some((Key { index: i as u32, generation: *generation }, value)),
            Slot::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut s = Slab::new();
        let a = s.insert("a");
        assert_eq!(s.remove(a), Some("a"));
        let b = s.insert("b");
        assert_eq!(a.index, b.index);
        assert_eq!(s.get(a), None);
        assert_eq!(s.get(b), Some(&"b"));
        assert_eq!(s.remove(a), None);
        assert_eq!(s.len(), 1);
    }

    #[test]
    fn iterates_over_the_living() {
        let mut s = Slab::new();
        let a = s.insert(1);
        s.insert(2);
        s.insert(3);
        s.remove(a);
        assert_eq!(s.iter().map(|(_, v)| *v).collect::<Vec<_>>(), vec![2, 3]);
    }
}
