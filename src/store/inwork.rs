//! The message a worker has in hand, kept where main can read it after the worker's death, and the
//! worker's heartbeat.
//!
//! Costs the worker one copy of a few cache lines per message. Main logs it when one worker dies
//! again and again, so that an operator learns which datagram kills it.

use crate::store::shm::Region;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// How much of the message is kept.
pub const HEAD_BYTES: usize = 240;

/// Length, head, heartbeat.
const SLOT_BYTES: usize = 256;
const BEAT: usize = 8 + HEAD_BYTES;

/// One process's place for the message it works on.
#[derive(Clone, Debug)]
pub struct InWork {
    region: Rc<Region>,
    base: usize,
}

/// What a process had in hand when it died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// FNV-1a over the length and the kept head: the same datagram gives the same number.
    pub hash: u64,
    /// Length of the whole message in bytes.
    pub len: u64,
    /// Its first bytes, at most [`HEAD_BYTES`].
    pub head: Vec<u8>,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a message of {} bytes, hash {:016x}: {}", self.len, self.hash, self.head.escape_ascii())
    }
}

impl InWork {
    /// Places for `count` processes, to be made before the fork.
    pub fn table(count: usize) -> std::io::Result<Vec<InWork>> {
        let size = count.max(1).checked_mul(SLOT_BYTES).ok_or(std::io::ErrorKind::InvalidInput)?;
        let region = Region::anonymous(size)?;
        Ok((0..count).map(|i| InWork { region: region.clone(), base: i * SLOT_BYTES }).collect())
    }

    /// Notes that `message` is now being worked on.
    #[inline]
    pub fn begin(&self, message: &[u8]) {
        let head = message.get(..HEAD_BYTES).unwrap_or(message);
        self.region.put(self.base + 8, head);
        self.set_len(message.len() as u64);
    }

    /// Notes that no message is in hand.
    #[inline]
    pub fn end(&self) {
        self.set_len(0);
    }

    /// Notes that the owner is alive. Once per turn of its loop, which never sleeps longer than a second.
    #[inline]
    pub fn beat(&self) {
        if let Some(word) = self.region.word(self.base + BEAT) {
            word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// How often [`InWork::beat`] was called, over all owners of this place.
    pub fn beats(&self) -> u64 {
        self.region.word(self.base + BEAT).map_or(0, |w| w.load(Relaxed))
    }

    fn set_len(&self, len: u64) {
        if let Some(word) = self.region.word(self.base) {
            word.store(len, Relaxed);
        }
    }

    /// What the owner of this place had in hand; `None` if nothing.
    pub fn found(&self) -> Option<Found> {
        let len = self.region.word(self.base)?.load(Relaxed);
        if len == 0 {
            return None;
        }
        let mut head = Vec::new();
        self.region.append_to(self.base + 8, len.min(HEAD_BYTES as u64) as usize, &mut head);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in len.to_le_bytes().iter().chain(&head) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Some(Found { hash, len, head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_head_of_what_is_in_hand() {
        let t = InWork::table(2).unwrap();
        assert_eq!(t[1].found(), None);
        t[1].begin(b"OPTIONS sip:a SIP/2.0\r\n");
        let found = t[1].clone().found().unwrap();
        assert_eq!(found.head, b"OPTIONS sip:a SIP/2.0\r\n");
        assert_eq!(t[0].found(), None);
        let long = [7u8; 1000];
        t[1].begin(&long);
        let other = t[1].found().unwrap();
        assert_eq!((other.len, other.head.len()), (1000, HEAD_BYTES));
        assert_ne!(other.hash, found.hash);
        t[1].beat();
        t[1].begin(&long);
        t[1].beat();
        assert_eq!((t[0].beats(), t[1].beats()), (0, 2));
        t[1].end();
        assert_eq!(t[1].found(), None);
    }
}
