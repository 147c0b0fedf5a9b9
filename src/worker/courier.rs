//! What workers and task groups say to each other about the runs that are away from their transactions, and how it
//! gets there: over the bus, and what finds no room there waits, in order.
//!
//! A run that is away is named by its [`Home`]: who owns its transaction, and the run's token there. Whoever has died
//! since, and whatever was forgotten since, is recognized by that: words about it come to nothing.

use super::state::Worker;
use crate::base::{Key, Str};
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::net::bus::{Bus, BusError, Peer};
use crate::script::avp::Avps;
use crate::script::vm::End;
use crate::store::Counter;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Words between workers and task groups.
pub(super) const BUS_TASK: u8 = 33;

/// Names a run that is away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Home {
    /// Who owns its transaction.
    pub owner: Peer,
    /// Its number there.
    pub token: Key,
}

/// What a run takes along and brings back.
#[derive(Serialize, Deserialize)]
pub(super) struct Luggage {
    pub host: Box<SipHost>,
    pub avps: Avps,
}

/// From an owner to a task worker.
#[derive(Serialize, Deserialize)]
pub(super) enum ToGroup {
    /// Go on with a run: encoded where it waits.
    Run { token: Key, run: Str },
    /// Run a route on a message that stands in.
    Task { program: u64, route: u32, event: Vec<(Str, Str)> },
    /// What came of what a run wanted; `ask` names the run there.
    Answer { ask: Key, token: Key, outcome: Outcome, luggage: Luggage },
    /// Forget a run.
    Drop { token: Key },
}

/// From a task worker to an owner.
#[derive(Serialize, Deserialize)]
pub(super) enum ToOwner {
    /// A run wants something; `ask` names it there. Without a token it is not known here yet.
    Ask { token: Option<Key>, ask: Key, request: Request, what: Asker },
    /// A run has ended.
    Ended { token: Key, end: End, luggage: Luggage },
    /// A run was not taken on: it belongs to another program, or too many wait there.
    Refused { token: Key },
}

/// Who wants something.
#[derive(Serialize, Deserialize)]
pub(super) enum Asker {
    /// A run that stays where it is.
    Luggage(Luggage),
    /// The whole run, encoded: it comes along, or has never been here.
    Run(Str),
}

/// What waits for room on the bus.
#[derive(Default)]
pub struct Courier {
    waiting: VecDeque<(Peer, Vec<u8>)>,
}

impl Worker {
    /// Sends a word, or keeps it until there is room. False if its receiver is gone, or it is too large for the bus.
    pub(super) fn dispatch(&mut self, to: Peer, word: &impl Serialize) -> bool {
        let Ok(bytes) = postcard::to_allocvec(word) else { return false };
        let queued = self.courier.waiting.iter().any(|(peer, _)| peer.index == to.index);
        let sent = if queued { Err(BusError::Full) } else { self.bus.send_to(to, BUS_TASK, &bytes) };
        match sent {
            Ok(()) => self.counters.inc(Counter::BusSent),
            Err(BusError::Full) => {
                self.bus.want_space(usize::from(to.index));
                self.courier.waiting.push_back((to, bytes));
            }
            Err(_) => {
                self.counters.inc(Counter::BusGone);
                return false;
            }
        }
        true
    }

    /// Sends what is left, in order. Once per turn.
    pub(super) fn flush_courier(&mut self) {
        if self.courier.waiting.is_empty() {
            return;
        }
        let mut rest: VecDeque<(Peer, Vec<u8>)> = VecDeque::new();
        for (to, bytes) in std::mem::take(&mut self.courier.waiting) {
            let full = rest.iter().any(|(peer, _)| peer.index == to.index);
            match if full { Err(BusError::Full) } else { self.bus.send_to(to, BUS_TASK, &bytes) } {
                Ok(()) => self.counters.inc(Counter::BusSent),
                Err(BusError::Full) => {
                    self.bus.want_space(usize::from(to.index));
                    rest.push_back((to, bytes));
                }
                // Both sides hear of a death from main, and give up what they shared.
                Err(_) => self.counters.inc(Counter::BusGone),
            }
        }
        self.courier.waiting = rest;
    }

    /// Whether words wait for room on the bus.
    pub(super) fn courier_waits(&self) -> bool {
        !self.courier.waiting.is_empty()
    }

    /// A word about runs that are away.
    pub(super) fn task_word(&mut self, from: Peer, payload: &[u8]) {
        if self.group.is_some() {
            if let Ok(word) = postcard::from_bytes::<ToGroup>(payload) {
                self.group_word(from, word);
            }
        } else if let Ok(word) = postcard::from_bytes::<ToOwner>(payload) {
            self.owner_word(from, word);
        }
    }

    /// What has travelled belongs to this process now.
    pub(super) fn unpack(&self, luggage: Luggage) -> (SipHost, Avps) {
        let Luggage { mut host, avps } = luggage;
        host.env = self.env().clone();
        (*host, avps)
    }
}
