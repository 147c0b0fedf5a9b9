//! Driving runs: execute, carry out what they ask for, park them or go on.

use super::perform::Act;
use super::state::{Parked, Role, RoleKind, Waiting, Work, Worker};
use crate::base::Key;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::Request;
use crate::script::vm::{Launched, Paused, Run, Suspended};
use crate::store::Counter;

/// Pieces of work done before the sockets have their turn again.
const WORK_PER_TURN: usize = 1000;

impl Worker {
    /// Executes a run until it ends, waits, or has used up its budget.
    pub(super) fn drive(&mut self, run: Run<SipHost>, mut role: Role) {
        let mut run = run;
        let mut budget = self.blueprint.budget;
        if self.is_dropped(&role) {
            return;
        }
        loop {
            match run.go(&mut budget, self.now) {
                Paused::Finished(finished) => return self.finished(finished, role),
                Paused::Budget(rest) => {
                    self.counters.inc(Counter::ScriptYields);
                    self.yielded.push_back(Work::Go(Box::new(rest), role));
                    return;
                }
                Paused::Launch { run: rest, child } => {
                    self.launch(child);
                    run = rest;
                }
                Paused::Wait(suspended, request) => match self.answer(suspended, role, request) {
                    Some((next, its_role)) => (run, role) = (next, its_role),
                    None => return,
                },
                Paused::Several(suspended, requests) => match self.start_several(suspended, role, requests) {
                    Some((next, its_role)) => (run, role) = (next, its_role),
                    None => return,
                },
            }
        }
    }

    /// Carries out a request: the run to go on with, or nothing if it was parked.
    pub(super) fn answer(
        &mut self,
        mut suspended: Suspended<SipHost>,
        mut role: Role,
        request: Request,
    ) -> Option<(Run<SipHost>, Role)> {
        match self.perform(&mut suspended, &mut role, request) {
            Act::Now(outcome) => {
                self.refresh(suspended.host_mut(), &role);
                Some((suspended.resume(outcome), role))
            }
            Act::Park(waiting) => {
                self.park(suspended, role, waiting);
                None
            }
            Act::Relay(order) => {
                let key = self.park(suspended, role, Waiting::Relay);
                self.begin_relay(Some(key), order);
                None
            }
            Act::Forward(order) => {
                let key = self.park(suspended, role, Waiting::Lookup);
                self.begin_forward(key, order);
                None
            }
            Act::Travel(group) => {
                let key = self.park(suspended, role, Waiting::Away);
                self.send_away(key, group);
                None
            }
            Act::Home(request) => {
                let key = self.park(suspended, role, Waiting::Nothing);
                self.ask_home(key, *request);
                None
            }
        }
    }

    pub(super) fn launch(&mut self, child: Launched<SipHost>) {
        let role = Role::new(RoleKind::Launched);
        match child {
            Launched::Run(run) => self.work.push_back(Work::Go(Box::new(run), role)),
            Launched::Wait(suspended, request) => {
                if let Some((run, role)) = self.answer(suspended, role, request) {
                    self.work.push_back(Work::Go(Box::new(run), role));
                }
            }
        }
    }

    /// Puts a run aside until what it waits for is done.
    pub(super) fn park(&mut self, run: Suspended<SipHost>, mut role: Role, waiting: Waiting) -> Key {
        if let Some(tx) = role.tx.filter(|_| !role.kept) {
            self.tm.keep(tx);
            role.kept = true;
        }
        let since = self.now;
        let lock = match &waiting {
            Waiting::Lock(name) => Some(name.clone()),
            _ => None,
        };
        let ask = match &waiting {
            Waiting::Verdict(ticket) => Some(*ticket),
            _ => None,
        };
        let key = self.parked.insert(Parked { run, role, waiting, since });
        if let Some(name) = lock {
            self.queue_lock(&name, key);
        }
        if let Some(ticket) = ask {
            self.note_asker(ticket, key);
        }
        self.counters.set(Counter::WaitsNow, self.parked.len() as u64);
        match self.parked.get(key).map(|p| &p.waiting) {
            Some(Waiting::Op(id)) => drop(self.by_op.insert(*id, key)),
            Some(Waiting::Several(several)) => {
                self.by_op.extend(several.in_flight().iter().map(|(_, id)| (*id, key)));
            }
            _ => {}
        }
        key
    }

    /// Does what has piled up in this turn. True if something is left for the next.
    pub(super) fn work(&mut self) -> bool {
        // One budget per turn and run: what yields again waits for the next turn.
        self.work.append(&mut self.yielded);
        for _ in 0..WORK_PER_TURN {
            let Some(work) = self.work.pop_front() else { break };
            match work {
                Work::Go(run, role) => {
                    self.in_work.begin(run.host().msg.bytes());
                    self.drive(*run, role);
                    self.in_work.end();
                }
                Work::Resume(key, outcome) => self.resume(key, outcome),
                Work::Job(key) => self.job(key),
            }
            self.flush_transactions();
        }
        if self.work.len() > 100_000 {
            emit(-1, "worker", "more work than one turn can do is piling up");
        }
        !self.work.is_empty() || !self.yielded.is_empty()
    }
}
