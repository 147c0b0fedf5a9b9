//! What is left of a server transaction that ended before its client is sure to have given up: its key and its last
//! reply, for the rest of 64*T1 (RFC 3261 17.2.2 timer J, RFC 6026 7.1 timer L). `wt` lets go of everything else
//! earlier: a repeated request begins nothing anew and still has its answer.

use super::key::{PrehashedState, ServerKey};
use super::output::TxKey;
use crate::base::{Str, Time};
use std::collections::{HashMap, VecDeque};

/// What one of them needs besides its reply, about.
const OVERHEAD: usize = 128;

/// What a repeated request gets.
#[derive(Debug)]
pub(super) struct Echo<P> {
    /// The transaction that was.
    pub tx: TxKey,
    until: Time,
    /// The last reply and where it goes; `None`: nothing is said again (a 2xx to an INVITE, RFC 6026 7.1).
    pub last: Option<Box<(Str, P)>>,
}

/// All of one worker, bounded in bytes: the oldest make room.
pub(super) struct Echoes<P> {
    by_key: HashMap<ServerKey, Echo<P>, PrehashedState>,
    order: VecDeque<(Time, ServerKey)>,
    bytes: usize,
    most: usize,
}

impl<P> Echoes<P> {
    /// None yet, and never more than `most` bytes of them.
    pub fn new(most: usize) -> Self {
        Echoes { by_key: HashMap::default(), order: VecDeque::new(), bytes: 0, most }
    }

    /// Keeps one until then.
    pub fn keep(&mut self, now: Time, until: Time, key: ServerKey, tx: TxKey, last: Option<(Str, P)>) {
        let echo = Echo { tx, until, last: last.map(Box::new) };
        let size = size(&echo);
        self.forget(now);
        while self.bytes.saturating_add(size) > self.most {
            let Some((until, key)) = self.order.pop_front() else { return };
            self.remove(until, key);
        }
        self.bytes += size;
        if let Some(old) = self.by_key.insert(key, echo) {
            self.bytes = self.bytes.saturating_sub(self::size(&old));
        }
        self.order.push_back((until, key));
    }

    /// What is left of the transaction with this key.
    pub fn find(&self, now: Time, key: &ServerKey) -> Option<&Echo<P>> {
        self.by_key.get(key).filter(|e| e.until > now)
    }

    /// Lets go of those whose time is over.
    pub fn forget(&mut self, now: Time) {
        while let Some((until, key)) = self.order.front().copied().filter(|(until, _)| *until <= now) {
            self.order.pop_front();
            self.remove(until, key);
        }
        // What a busy hour needed is given back when it is over.
        if self.order.is_empty() && self.order.capacity() > 1024 {
            self.order = VecDeque::new();
            self.by_key = HashMap::default();
            self.bytes = 0;
        }
    }

    /// A later one with this key stays.
    fn remove(&mut self, until: Time, key: ServerKey) {
        if self.by_key.get(&key).is_some_and(|e| e.until == until)
            && let Some(old) = self.by_key.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}

fn size<P>(echo: &Echo<P>) -> usize {
    OVERHEAD + echo.last.as_ref().map_or(0, |l| l.0.len() + size_of::<(Str, P)>())
}
