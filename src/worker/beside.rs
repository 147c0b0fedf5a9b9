//! `return=1` of the module `async`: a script goes on beside its own continuation. The transaction is suspended as by
//! `t_suspend`; a copy of the run, waiting at the same call, is kept with it. When its time has come and the script has
//! ended, the copy goes on with the message as the script has left it, here or in a task group.

use super::perform::{Act, code};
use super::state::{Role, Waiting, Work, Worker};
use crate::base::Time;
use crate::modules::host::SipHost;
use crate::modules::request::{BESIDE, NOT_BESIDE, Outcome};
use crate::ops::{self, OpId};
use crate::script::avp::Avps;
use crate::script::vm::Suspended;
use crate::transaction::TxKey;
use std::time::Duration;

/// Stands for a route where the copy of a run is meant.
pub(super) const COPY: u32 = u32::MAX;

/// A copy of a run.
pub struct Beside {
    run: Suspended<SipHost>,
    group: Option<u16>,
    /// What it waits for.
    sleep: Option<OpId>,
}

impl Worker {
    /// Suspends the transaction and keeps a copy of the run.
    pub(super) fn go_beside(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        after: Duration,
        group: Option<u16>,
    ) -> Act {
        let before = self.suspended_parts(role);
        let Act::Now(Outcome::Code(1)) = self.suspend(run, role) else { return code(NOT_BESIDE) };
        let Some(tx) = role.tx else { return code(NOT_BESIDE) };
        if self.suspended_parts(role) == before {
            // It was cancelled: success, and nothing follows. Or it waits for somebody else already.
            return code(if before == 0 { BESIDE } else { NOT_BESIDE });
        }
        // The message will be that of the script's end.
        let copy = run.beside(SipHost::without_message(self.env().clone()));
        let sleep = (group.is_none() && !after.is_zero()).then(|| {
            let io = self.reactor.io(self.now);
            self.driver.start(ops::Request::Sleep(after), Time::NEVER, io)
        });
        if let Some(data) = self.tm.user_mut(tx) {
            data.beside = Some(Box::new(Beside { run: copy, group, sleep }));
        }
        match sleep {
            Some(sleep) => drop(self.copies.insert(sleep, tx)),
            None => drop(self.continue_suspended(tx, COPY)),
        }
        code(BESIDE)
    }

    /// How much of a run's transaction is suspended.
    fn suspended_parts(&self, role: &Role) -> usize {
        role.tx.and_then(|tx| self.tm.user(tx)).map_or(0, |data| data.suspensions.len())
    }

    /// A sleep has ended: whether a copy has waited for it. It goes on, if there is still something to go on with.
    pub(super) fn copy_due(&mut self, sleep: OpId) -> bool {
        let Some(tx) = self.copies.remove(&sleep) else { return false };
        let waits = |b: &Beside| b.sleep == Some(sleep);
        if self.tm.user(tx).is_some_and(|d| d.beside.as_deref().is_some_and(waits)) {
            self.continue_suspended(tx, COPY);
        }
        true
    }

    /// The script has ended, and the time has come.
    pub(super) fn go_on_beside(&mut self, tx: TxKey, host: SipHost, avps: Avps, role: Role) {
        let Some(copy) = self.tm.user_mut(tx).and_then(|d| d.beside.take()) else { return };
        let Beside { mut run, group, .. } = *copy;
        *run.host_mut() = host;
        run.set_avps(avps);
        match group.filter(|_| self.groups.exist()) {
            Some(group) => {
                let key = self.park(run, role, Waiting::Away);
                self.send_away(key, group);
            }
            None => {
                let run = run.resume(Outcome::Op(ops::Outcome::Slept));
                self.work.push_back(Work::Go(Box::new(run), role));
            }
        }
    }
}
