//! `script_io=block`: a plain call stalls the worker until its operation ends, as in the peers.
//! For measurement only: it shows what waiting instead of blocking is worth. Nothing but the
//! operations is served meanwhile; what else happens is kept for later.

use super::state::Worker;
use crate::base::Key;
use crate::modules::request::Outcome;
use crate::net::reactor::Event;
use crate::ops::driver::Ended;
use crate::ops::{self, OpId};
use std::time::Duration;

impl Worker {
    /// Serves nothing but operations until one of these has ended.
    pub(super) fn block_on(&mut self, wanted: &[OpId]) -> (OpId, Outcome) {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let mut found = None;
            let mut io = self.reactor.io(self.now);
            while let Some(ended) = self.driver.poll_ended(&mut io) {
                if found.is_none() && wanted.contains(&ended.id) {
                    found = Some((ended.id, Outcome::Op(ended.outcome)));
                } else {
                    self.stalled.finished.push(ended);
                }
            }
            if let Some(found) = found {
                return found;
            }
            // Of several, another may have ended in the same turn as the one before.
            if let Some(at) = self.stalled.finished.iter().position(|e| wanted.contains(&e.id)) {
                let ended = self.stalled.finished.swap_remove(at);
                return (ended.id, Outcome::Op(ended.outcome));
            }
            events.clear();
            match self.reactor.turn(self.now, Duration::from_secs(1), &mut events) {
                Ok(now) => self.now = now,
                Err(e) => {
                    let failure = ops::Failure::new(ops::Why::System, ops::Phase::Wait, e.to_string());
                    let one = wanted.first().copied().unwrap_or(Key { index: u32::MAX, generation: 0 });
                    return (one, Outcome::Op(ops::Outcome::Failed(failure)));
                }
            }
            for event in &events {
                let io = self.reactor.io(self.now);
                if !self.driver.handle(*event, io) {
                    self.stalled.events.push(*event);
                }
            }
        }
    }
}

/// What happened while the worker was stalled.
#[derive(Default)]
pub struct Stalled {
    /// Events that are not the operations'.
    pub events: Vec<Event>,
    /// Operations that ended meanwhile.
    pub finished: Vec<Ended>,
}
