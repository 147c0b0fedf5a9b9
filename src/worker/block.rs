//! `script_io=block`: a plain call stalls the worker until its operation ends, as in the peers.
//! For measurement only: it shows what waiting instead of blocking is worth. Nothing but the
//! operations is served meanwhile; what else happens is kept for later.

use super::state::Worker;
use crate::modules::request::Outcome;
use crate::net::reactor::Event;
use crate::ops::driver::Ended;
use crate::ops::{self, OpId};
use std::time::Duration;

impl Worker {
    /// Serves nothing but operations until this one has ended.
    pub(super) fn block_on(&mut self, wanted: OpId) -> Outcome {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let mut found = None;
            let mut io = self.reactor.io(self.now);
            while let Some(ended) = self.driver.poll_ended(&mut io) {
                if ended.id == wanted {
                    found = Some(ended.outcome);
                } else {
                    self.stalled.finished.push(ended);
                }
            }
            if let Some(outcome) = found {
                return Outcome::Op(outcome);
            }
            events.clear();
            match self.reactor.turn(self.now, Duration::from_secs(1), &mut events) {
                Ok(now) => self.now = now,
                Err(e) => {
                    let failure = ops::Failure::new(ops::Why::System, ops::Phase::Wait, e.to_string());
                    return Outcome::Op(ops::Outcome::Failed(failure));
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
