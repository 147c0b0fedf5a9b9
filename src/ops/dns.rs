//! Names as operations: what a script asks of the name servers by itself. The resolver does the work.

use super::{CancelReason, Cx, DnsRequest, Engine, Failure, OpId, Outcome, Phase, Why};
use crate::base::{Key, Time};
use crate::net::reactor::{Readiness, Source};
use crate::net::resolver::question::Fault;
use crate::net::resolver::{Answer, Question};
use std::collections::HashMap;
use std::net::IpAddr;

/// Look-ups that somebody waits for, with their names.
#[derive(Default)]
pub(super) struct Dns {
    asked: HashMap<OpId, String>,
}

impl Dns {
    /// The resolver's answer. That there is nothing is one.
    pub(super) fn answered(&mut self, id: OpId, answer: Answer, cx: &mut Cx<'_>) {
        if self.asked.remove(&id).is_none() {
            // It was given up meanwhile.
            return;
        }
        let failed = |why, text| Outcome::Failed(Failure::new(why, Phase::Resolve, text));
        cx.done(
            id,
            match answer {
                Ok(found) => Outcome::Dns(Some(found)),
                Err(failure) => match failure.fault {
                    Fault::Absent => Outcome::Dns(None),
                    Fault::Unanswered => failed(Why::Refused, failure.text),
                    Fault::Refused => failed(Why::BadRequest, failure.text),
                },
            },
        );
    }
}

impl Engine for Dns {
    type Request = DnsRequest;

    fn start(&mut self, id: OpId, request: DnsRequest, _deadline: Time, cx: &mut Cx<'_>) {
        let name = request.name.to_lossy().into_owned();
        self.asked.insert(id, name.clone());
        cx.ask(Source::Ops, id, Question { name, want: request.want });
    }

    fn ready(&mut self, _key: Key, _readiness: Readiness, _cx: &mut Cx<'_>) {}

    fn timer(&mut self, _key: Key, _cx: &mut Cx<'_>) {}

    fn resolved(&mut self, _key: Key, _result: Result<Vec<IpAddr>, String>, _cx: &mut Cx<'_>) {}

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        if let Some(name) = self.asked.remove(&id) {
            cx.done(id, Outcome::Failed(Failure::new(why, Phase::Resolve, name)));
        }
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        self.asked.get(&id).map(|name| (name.clone(), Phase::Resolve))
    }
}
