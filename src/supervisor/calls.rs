//! Control methods that the workers answer: who was asked, who still owes an answer.

use super::asked::To;
use crate::base::Time;
use crate::control::jsonrpc::RpcError;
use crate::control::merge::{Answer, Merge, merge};
use crate::worker::seat::CallError;
use serde_json::Value;
use std::time::Duration;

/// How long workers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same where a SIP request has to be answered first: longer than tm's timers.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

struct Asked {
    seat: usize,
    life: u32,
    said: Option<Result<Value, CallError>>,
    /// It answered, or never will.
    done: bool,
}

struct Pending {
    id: u64,
    to: To,
    how: Merge,
    asked: Vec<Asked>,
    deadline: Time,
}

/// An answer that is complete.
pub(super) type Finished = (To, Result<Value, RpcError>);

/// All calls under way.
#[derive(Default)]
pub(super) struct Calls {
    last: u64,
    pending: Vec<Pending>,
}

impl Calls {
    /// Begins a call of `asked` (seat and incarnation); its number.
    pub(super) fn begin(&mut self, to: To, how: Merge, asked: Vec<(usize, u32)>, now: Time) -> u64 {
        self.last += 1;
        let asked = asked.into_iter().map(|(seat, life)| Asked { seat, life, said: None, done: false }).collect();
        let patience = if how == Merge::One { LONG_PATIENCE } else { PATIENCE };
        self.pending.push(Pending { id: self.last, to, how, asked, deadline: now + patience });
        self.last
    }

    /// Takes one worker's answer.
    pub(super) fn answer(&mut self, seat: usize, life: u32, id: u64, result: Result<String, CallError>) {
        let Some(call) = self.pending.iter_mut().find(|c| c.id == id) else { return };
        if let Some(asked) = call.asked.iter_mut().find(|a| a.seat == seat && a.life == life) {
            let parsed = result.and_then(|text| {
                serde_json::from_str(&text)
                    .map_err(|e| CallError { code: -32000, message: format!("the worker's answer is not JSON: {e}") })
            });
            asked.said = Some(parsed);
            asked.done = true;
        }
    }

    /// A process died: it answers nothing any more.
    pub(super) fn died(&mut self, seat: usize, life: u32) {
        for asked in self.pending.iter_mut().flat_map(|c| c.asked.iter_mut()) {
            if asked.seat == seat && asked.life == life {
                asked.done = true;
            }
        }
    }

    /// Takes out the calls that are complete or whose time is over.
    pub(super) fn finished(&mut self, now: Time) -> Vec<Finished> {
        let mut out = Vec::new();
        let mut i = 0;
        while let Some(call) = self.pending.get(i) {
            if now < call.deadline && call.asked.iter().any(|a| !a.done) {
                i += 1;
                continue;
            }
            let call = self.pending.swap_remove(i);
            let answers: Vec<Answer> = call.asked.into_iter().map(|a| (a.seat, a.said)).collect();
            out.push((call.to, merge(call.how, answers)));
        }
        out
    }

    /// When the next one's time is over.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.pending.iter().map(|c| c.deadline).min()
    }
}
