//! Runs that wait for several operations at once (`async_all` and its like): started together,
//! ended one by one, resumed once.

use super::perform::refused;
use super::state::{Parked, Role, Waiting, Worker};
use crate::base::{Key, Time};
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::ops::{CancelReason, OpId};
use crate::script::ast::Until;
use crate::script::vm::{Progress, Run, Suspended};
use crate::store::Counter;
use std::collections::VecDeque;
use std::time::Duration;

/// The operations that one run waits for.
#[derive(Debug)]
pub struct Several {
    until: Until,
    /// When all that is left is given up.
    deadline: Time,
    /// Each with the place of its function in the statement.
    in_flight: Vec<(u32, OpId)>,
    /// What has come of others, as long as the functions have not heard of it.
    ended: Vec<(u32, Outcome)>,
}

impl Several {
    /// The operations in flight.
    pub(super) fn operations(&self) -> Vec<OpId> {
        self.in_flight.iter().map(|(_, id)| *id).collect()
    }

    /// The operations in flight, each with the place of its function in the statement.
    pub(super) fn in_flight(&self) -> &[(u32, OpId)] {
        &self.in_flight
    }

    /// The place of an operation's function in the statement.
    pub(super) fn member(&self, id: OpId) -> Option<u32> {
        self.in_flight.iter().find(|(_, other)| *other == id).map(|(member, _)| *member)
    }

    /// Forgets an operation: nobody waits for it any more.
    pub(super) fn forget(&mut self, id: OpId) {
        self.in_flight.retain(|(_, other)| *other != id);
    }

    /// An operation has ended. True if the functions must hear of what has come so far: all of it
    /// together, so that outputs are assigned in the order written; or, where one success is enough,
    /// each as it comes.
    fn note(&mut self, id: OpId, outcome: Outcome) -> bool {
        if let Some(member) = self.member(id) {
            self.forget(id);
            self.ended.push((member, outcome));
        }
        self.is_due()
    }

    fn is_due(&self) -> bool {
        !self.ended.is_empty() && (self.until == Until::Any || self.in_flight.is_empty())
    }

    /// Tells the functions; what they ask for then, or nothing if it is over.
    fn tell(&mut self, run: &mut Suspended<SipHost>, now: Time) -> Option<Vec<(u32, Request)>> {
        match run.members_ended(std::mem::take(&mut self.ended), now) {
            Progress::Over => None,
            // Nothing is left that could end.
            Progress::Waits(more) if more.is_empty() && self.in_flight.is_empty() => None,
            Progress::Waits(more) => Some(more),
        }
    }
}

impl Worker {
    /// Starts several operations of a run: the run to go on with, or nothing if it was parked.
    pub(super) fn start_several(
        &mut self,
        run: Suspended<SipHost>,
        role: Role,
        requests: Vec<(u32, Request)>,
    ) -> Option<(Run<SipHost>, Role)> {
        let (until, timeout) = run.several().map_or((Until::All, None), |s| (s.until, s.timeout_secs));
        let deadline = timeout.map_or(Time::NEVER, |secs| self.now + Duration::from_secs(secs.into()));
        let several = Several { until, deadline, in_flight: Vec::new(), ended: Vec::new() };
        self.go_on_with(run, role, several, requests.into())
    }

    fn go_on_with(
        &mut self,
        mut run: Suspended<SipHost>,
        mut role: Role,
        mut several: Several,
        mut requests: VecDeque<(u32, Request)>,
    ) -> Option<(Run<SipHost>, Role)> {
        let blocks = self.blocks(&run.describe());
        loop {
            while let Some((member, request)) = requests.pop_front() {
                match self.start_member(&mut run, &mut role, &several, request) {
                    Ok(id) => several.in_flight.push((member, id)),
                    Err(outcome) => several.ended.push((member, outcome)),
                }
                if several.until == Until::Any && several.is_due() {
                    break;
                }
            }
            if several.is_due() || several.in_flight.is_empty() {
                match several.tell(&mut run, self.now) {
                    Some(more) => requests.extend(more),
                    None => return Some(self.several_over(run, role, several)),
                }
            } else if blocks {
                let (id, outcome) = self.block_on(&several.operations());
                self.writing.remove(&id);
                several.note(id, outcome);
            } else {
                self.park(run, role, Waiting::Several(Box::new(several)));
                return None;
            }
        }
    }

    /// Starts one of several operations. `Err` is what its function hears instead.
    fn start_member(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        several: &Several,
        request: Request,
    ) -> Result<OpId, Outcome> {
        let info = run.describe();
        let Request::Op { op, limit } = request else {
            emit(-1, "script", &format!("{} starts a function that cannot run beside others", info.function));
            return Err(refused("it cannot run beside others"));
        };
        if let Some(outcome) = self.no_wait(run, role, &op, &info, several.in_flight.len()) {
            return Err(outcome);
        }
        self.counters.inc(Counter::WaitsStarted);
        Ok(self.start_operation(op, limit, info.timeout_secs, several.deadline))
    }

    /// One of several operations of a parked run has ended.
    pub(super) fn member_ended(&mut self, key: Key, id: OpId, outcome: Outcome) {
        let Some(Parked { run, waiting: Waiting::Several(several), .. }) = self.parked.get_mut(key) else { return };
        if !several.note(id, outcome) {
            return;
        }
        self.in_work.begin(run.host().msg.bytes());
        let told = several.tell(run, self.now);
        // The others are still waited for.
        if told.as_ref().is_some_and(|more| more.is_empty()) {
            return self.in_work.end();
        }
        let Some(Parked { run, role, waiting: Waiting::Several(several), .. }) = self.parked.remove(key) else {
            return;
        };
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        let next = match told {
            Some(more) => self.go_on_with(run, role, *several, more.into()),
            None => Some(self.several_over(run, role, *several)),
        };
        if let Some((run, role)) = next {
            self.drive(run, role);
        }
        self.in_work.end();
    }

    /// It is over: what is still in flight is given up, and the run goes on.
    fn several_over(&mut self, mut run: Suspended<SipHost>, role: Role, several: Several) -> (Run<SipHost>, Role) {
        for id in several.operations() {
            self.counters.inc(Counter::WaitsCancelled);
            self.give_up(id);
        }
        self.refresh(run.host_mut(), &role);
        (run.resume_several(), role)
    }

    /// Ends an operation that nobody waits for any more.
    pub(super) fn give_up(&mut self, id: OpId) {
        self.by_op.remove(&id);
        self.writing.remove(&id);
        let io = self.reactor.io(self.now);
        self.driver.cancel(id, CancelReason::Gone, io);
    }
}
