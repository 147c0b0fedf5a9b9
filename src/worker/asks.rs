//! What a run asks of another worker: to go on with a transaction that it has suspended (`t_continue`), to reply to, or to cancel, the
//! request of a Call-ID that it owns; and of main: a control method (`jsonrpc_exec`). The question goes over the bus, the run waits for the verdict, and nobody
//! blocks. No verdict will come from a worker that has died, nor behind the deadline: then it is -1. A question that is
//! older than its deadline when it is read is not carried out.

use super::perform::{Act, code};
use super::seat::ToMain;
use super::state::{Role, Waiting, Work, Worker};
use crate::base::{Key, Str, Time, TimerKey};
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, ReplyRequest};
use crate::modules::tm::ids::TxName;
use crate::net::bus::{Bus, BusError, Peer};
use crate::net::reactor::Source;
use crate::script::ast::RouteKind;
use crate::script::vm::Suspended;
use crate::store::Counter;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// Questions to main that a worker may have open.
const MOST_OF_MAIN: usize = 1000;

/// Questions and verdicts on the bus.
pub(super) const BUS_ASK: u8 = 18;

/// What the owner is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Errand {
    /// `t_continue`: with the route of this name.
    Continue {
        /// The transaction, at its owner.
        tx: Key,
        /// The route; its number is one program's only.
        route: Str,
    },
    /// `t_reply_callid`
    Reply {
        /// The reply.
        reply: ReplyRequest,
        /// Its Call-ID.
        call_id: Str,
        /// Its CSeq number; `None`: any.
        cseq: Option<u32>,
    },
    /// `t_cancel_callid`
    Cancel {
        /// Its Call-ID.
        call_id: Str,
        /// Its CSeq number; `None`: any.
        cseq: Option<u32>,
    },
}

/// What workers tell each other.
#[derive(Serialize, Deserialize)]
enum Word {
    /// To the owner: the asker's number for it, until when the answer is waited for, and what.
    Ask(u64, Time, Errand),
    /// From the owner: what came of it.
    Verdict(u64, i32),
}

/// A question that has no verdict yet.
struct Open {
    /// Who is asked; `None`: main.
    owner: Option<Peer>,
    parked: Option<Key>,
    timer: TimerKey,
}

/// The questions of one worker.
#[derive(Default)]
pub struct Asks {
    tickets: u64,
    open: HashMap<u64, Open>,
    /// What the bus did not take yet, in order; a question with its number.
    outbox: VecDeque<(Peer, Option<u64>, Vec<u8>)>,
    /// Who is known to have died, by seat.
    dead: HashMap<u16, u32>,
}

impl Asks {
    /// How many have no verdict.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing waits for room on the bus.
    pub(super) fn is_sent(&self) -> bool {
        self.outbox.is_empty()
    }
}

impl Worker {
    /// `t_continue`
    pub(super) fn ask_to_continue(
        &mut self,
        run: &mut Suspended<SipHost>,
        role: &mut Role,
        (index, label): (i64, i64),
        route: u32,
    ) -> Act {
        let Some(TxName { worker, incarnation, key }) = TxName::read(index, label) else { return code(-1) };
        let owner = Peer { index: worker, incarnation };
        if owner == self.bus.me() {
            return code(self.continue_suspended(key, route));
        }
        let name = run.program().route(route).and_then(|r| r.name.as_deref()).unwrap_or_default();
        let errand = Errand::Continue { tx: key, route: Str::from(name) };
        self.ask(run, role, owner, errand)
    }

    /// A question about the request of a Call-ID.
    pub(super) fn ask_owner(&mut self, run: &mut Suspended<SipHost>, role: &mut Role, errand: Errand) -> Act {
        let owner = match &errand {
            Errand::Continue { .. } => return code(-1),
            Errand::Reply { call_id, .. } | Errand::Cancel { call_id, .. } => self.owner_of(call_id),
        };
        if owner == self.me || self.count < 2 {
            return code(self.run_errand(errand));
        }
        match self.bus.peer(owner) {
            Some(owner) => self.ask(run, role, owner, errand),
            None => code(-1),
        }
    }

    /// The number of a run's question; `None`: it cannot wait for the answer. `room`: as many may be asked.
    fn ticket(&mut self, run: &mut Suspended<SipHost>, role: &mut Role, room: bool) -> Option<u64> {
        if !room || self.parked.len() >= self.blueprint.max_suspended {
            self.counters.inc(Counter::WaitsRefused);
            return None;
        }
        if !self.shelter(run, role) {
            return None;
        }
        self.asks.tickets += 1;
        Some(self.asks.tickets)
    }

    fn ask(&mut self, run: &mut Suspended<SipHost>, role: &mut Role, owner: Peer, errand: Errand) -> Act {
        let seat = usize::from(owner.index);
        let lives = self.bus.peer(seat) == Some(owner)
            && self.asks.dead.get(&owner.index).is_none_or(|dead| *dead < owner.incarnation)
            && !(seat < self.count && self.owners.is_vacant(seat));
        if !lives {
            return code(-1);
        }
        let Some(ticket) = self.ticket(run, role, true) else { return code(-1) };
        let until = self.now + self.env().settings.async_timeout;
        if !self.send_word(owner, Some(ticket), &Word::Ask(ticket, until, errand)) {
            return code(-1);
        }
        let timer = self.reactor.io(self.now).arm(until, Source::Asks, ticket_key(ticket));
        self.asks.open.insert(ticket, Open { owner: Some(owner), parked: None, timer });
        Act::Park(Waiting::Verdict(ticket))
    }

    /// `jsonrpc_exec`
    pub(super) fn ask_main(&mut self, run: &mut Suspended<SipHost>, role: &mut Role, text: &Str) -> Act {
        let asked = self.asks.open.values().filter(|o| o.owner.is_none()).count();
        let Some(ticket) = self.ticket(run, role, asked < MOST_OF_MAIN) else { return code(-1) };
        let text = text.to_lossy().into_owned();
        // Main has other things to do than to read this: that is no reason to end.
        if self.main.send(&ToMain::Ask { ticket, text }).is_err() {
            return code(-1);
        }
        let until = self.now + self.env().settings.async_timeout;
        let timer = self.reactor.io(self.now).arm(until, Source::Asks, ticket_key(ticket));
        self.asks.open.insert(ticket, Open { owner: None, parked: None, timer });
        Act::Park(Waiting::Verdict(ticket))
    }

    /// Main has answered.
    pub(super) fn told(&mut self, ticket: u64, text: String) {
        if self.asks.open.get(&ticket).is_some_and(|o| o.owner.is_none()) {
            self.decided(ticket, Outcome::Told(Str::from(text)));
        }
    }

    /// Which parked run waits for a verdict.
    pub(super) fn note_asker(&mut self, ticket: u64, parked: Key) {
        if let Some(open) = self.asks.open.get_mut(&ticket) {
            open.parked = Some(parked);
        }
    }

    /// Nobody waits for the verdict any more.
    pub(super) fn forget_ask(&mut self, ticket: u64) {
        if let Some(open) = self.asks.open.remove(&ticket) {
            self.reactor.io(self.now).disarm(open.timer);
        }
    }

    fn verdict(&mut self, ticket: u64, verdict: i32) {
        self.decided(ticket, Outcome::Code(verdict));
    }

    fn decided(&mut self, ticket: u64, outcome: Outcome) {
        let parked = self.asks.open.get(&ticket).and_then(|o| o.parked);
        self.forget_ask(ticket);
        if let Some(key) = parked {
            self.work.push_back(Work::Resume(key, outcome));
        }
    }

    /// A deadline has come.
    pub(super) fn ask_due(&mut self, key: Key) {
        let ticket = u64::from(key.generation) << 32 | u64::from(key.index);
        // What has not left is not to be done.
        self.asks.outbox.retain(|(_, waiting, _)| *waiting != Some(ticket));
        self.verdict(ticket, -1);
    }

    /// A word from another worker.
    pub(super) fn ask_word(&mut self, from: Peer, payload: &[u8]) {
        match postcard::from_bytes::<Word>(payload) {
            Ok(Word::Ask(ticket, until, errand)) => {
                if self.now < until {
                    let verdict = self.run_errand(errand);
                    self.send_word(from, None, &Word::Verdict(ticket, verdict));
                    self.flush_transactions();
                }
            }
            Ok(Word::Verdict(ticket, verdict)) => {
                if self.asks.open.get(&ticket).is_some_and(|o| o.owner == Some(from)) {
                    self.verdict(ticket, verdict);
                }
            }
            Err(_) => {}
        }
    }

    fn run_errand(&mut self, errand: Errand) -> i32 {
        match errand {
            Errand::Continue { tx, route } => {
                let name = String::from_utf8_lossy(&route);
                match self.blueprint.program.find_route(RouteKind::Request, Some(&name)) {
                    Some(route) => self.continue_suspended(tx, route),
                    None => -1,
                }
            }
            Errand::Reply { reply, call_id, cseq } => self.reply_by_call_id(&reply, &call_id, cseq),
            Errand::Cancel { call_id, cseq } => self.cancel_by_call_id(&call_id, cseq),
        }
    }

    /// A process has died: no verdict will come from it.
    pub(super) fn asks_of_dead(&mut self, seat: usize, incarnation: u32) {
        let Ok(seat) = u16::try_from(seat) else { return };
        let dead = Peer { index: seat, incarnation };
        self.asks.dead.insert(seat, incarnation);
        self.asks.outbox.retain(|(to, ..)| *to != dead);
        let open: Vec<u64> = self.asks.open.iter().filter(|(_, o)| o.owner == Some(dead)).map(|(t, _)| *t).collect();
        for ticket in open {
            self.verdict(ticket, -1);
        }
    }

    /// Sends a word; what the bus does not take now is kept. False if the receiver is gone.
    fn send_word(&mut self, to: Peer, ticket: Option<u64>, word: &Word) -> bool {
        let Ok(bytes) = postcard::to_allocvec(word) else { return false };
        // Nothing overtakes what waits for the same receiver.
        if self.asks.outbox.iter().any(|(other, ..)| *other == to) {
            self.asks.outbox.push_back((to, ticket, bytes));
            return true;
        }
        match self.bus.send_to(to, BUS_ASK, &bytes) {
            Ok(()) => {
                self.counters.inc(Counter::BusSent);
                true
            }
            Err(BusError::Full) => {
                self.bus.want_space(usize::from(to.index));
                self.asks.outbox.push_back((to, ticket, bytes));
                true
            }
            Err(BusError::Gone | BusError::TooLarge | BusError::NoSuchPeer) => {
                self.counters.inc(Counter::BusGone);
                false
            }
        }
    }

    /// Sends what is left, in order. Once per turn.
    pub(super) fn flush_asks(&mut self) {
        let mut rest: VecDeque<(Peer, Option<u64>, Vec<u8>)> = VecDeque::new();
        let mut gone = Vec::new();
        while let Some((to, ticket, bytes)) = self.asks.outbox.pop_front() {
            if rest.iter().any(|(other, ..)| *other == to) {
                rest.push_back((to, ticket, bytes));
                continue;
            }
            match self.bus.send_to(to, BUS_ASK, &bytes) {
                Ok(()) => self.counters.inc(Counter::BusSent),
                Err(BusError::Full) => {
                    self.bus.want_space(usize::from(to.index));
                    rest.push_back((to, ticket, bytes));
                }
                Err(BusError::Gone | BusError::TooLarge | BusError::NoSuchPeer) => {
                    self.counters.inc(Counter::BusGone);
                    gone.extend(ticket);
                }
            }
        }
        self.asks.outbox = rest;
        for ticket in gone {
            self.verdict(ticket, -1);
        }
    }
}

/// A question's number as the reactor's timers carry it.
fn ticket_key(ticket: u64) -> Key {
    Key { index: ticket as u32, generation: (ticket >> 32) as u32 }
}
