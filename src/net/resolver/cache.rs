//! Answers that still hold.

use super::message::{Record, RecordType};
use crate::base::Time;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// It has these records.
    Records(Rc<[Record]>),
    /// It has none of this type.
    NoData,
    /// It does not exist.
    NoName,
    /// The name servers failed, for this reason.
    Failed(String),
}

struct Entry {
    known: Known,
    expires: Time,
}

/// A bounded cache.
pub struct Cache {
    entries: HashMap<(String, RecordType), Entry>,
    capacity: usize,
}

impl Cache {
    /// An empty cache for this many answers.
    pub fn new(capacity: usize) -> Cache {
        Cache { entries: HashMap::new(), capacity }
    }

    /// What is known, if it still holds.
    pub fn get(&self, name: &str, kind: RecordType, now: Time) -> Option<&Known> {
        // The map wants an owned key; one allocation for a look-up that saves a query.
        let entry = self.entries.get(&(name.to_string(), kind))?;
        (entry.expires > now).then_some(&entry.known)
    }

    /// Keeps an answer for `ttl` seconds.
    pub fn insert(&mut self, name: &str, kind: RecordType, known: Known, ttl: u32, now: Time) {
        if ttl == 0 || self.capacity == 0 {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.entries.retain(|_, e| e.expires > now);
        }
        if self.entries.len() >= self.capacity {
            // Everything holds still: a tenth goes, whichever it is, so that this does not happen at each insert.
            let victims: Vec<_> = self.entries.keys().take(self.capacity / 10 + 1).cloned().collect();
            victims.iter().for_each(|k| drop(self.entries.remove(k)));
        }
        let expires = now + Duration::from_secs(u64::from(ttl));
        self.entries.insert((name.to_string(), kind), Entry { known, expires });
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_expire_and_the_cache_is_bounded() {
        let mut c = Cache::new(100);
        let at = |s: u64| Time::from_millis(s * 1000);
        c.insert("a", RecordType::A, Known::NoName, 10, at(0));
        c.insert("z", RecordType::A, Known::NoName, 0, at(0));
        assert_eq!(c.get("a", RecordType::A, at(9)), Some(&Known::NoName));
        assert_eq!(c.get("a", RecordType::Aaaa, at(9)), None);
        assert_eq!(c.get("a", RecordType::A, at(10)), None);
        assert_eq!(c.get("z", RecordType::A, at(0)), None);
        for i in 0..1000 {
            c.insert(&i.to_string(), RecordType::A, Known::NoData, 60, at(20));
            assert!(c.len() <= 100);
        }
        assert!(c.get("999", RecordType::A, at(20)).is_some());
    }
}
