//! The task groups as a worker sees them: which seats belong to each, who lives there, and what waits for one that
//! has room. A run goes to the process that has the fewest of this worker's; while none of the group has room on the
//! bus, it stays parked here, and counts as any run that waits.

use super::away::Away;
use super::courier::{BUS_TASK, ToGroup};
use super::perform::{Act, code};
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::{Key, Slab, Str, Time};
use crate::modules::async_module::groups::Group;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::net::bus::{Bus, BusError, Peer};
use crate::script::vm::Run;
use crate::store::Counter;
use std::collections::VecDeque;

/// Tasks without a run that may wait for one group, and their bytes.
const MOST_TASKS: usize = 10_000;
const MOST_TASK_BYTES: usize = 16 << 20;

/// All groups.
#[derive(Default)]
pub struct Groups {
    list: Vec<Members>,
    /// The parked runs that are away, by their tokens.
    pub(super) away: Slab<Key>,
}

/// One group.
struct Members {
    name: Str,
    nonblock: bool,
    /// Its first seat on the bus.
    first: usize,
    seats: Vec<Member>,
    /// Which one is asked first next time.
    next: usize,
    queue: VecDeque<Queued>,
    task_bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Member {
    /// The last tenant that is known to have died.
    dead: u32,
    /// Runs of this worker that it has.
    busy: u32,
}

/// What waits for a group.
enum Queued {
    /// A run, by its token, and since when.
    Run(Key, Time),
    /// A task, as it goes over the bus.
    Task(Vec<u8>),
}

impl Groups {
    /// The groups of a server with `workers` SIP workers. Where the bus has no seats for them (a simulation) there are none.
    pub(super) fn new(groups: &[Group], me: usize, workers: usize, peers: usize) -> Groups {
        let mut first = workers;
        let mut list = Vec::with_capacity(groups.len());
        for group in groups {
            list.push(Members {
                name: group.name.clone(),
                nonblock: group.nonblock,
                first,
                seats: vec![Member::default(); group.workers],
                next: me,
                queue: VecDeque::new(),
                task_bytes: 0,
            });
            first += group.workers;
        }
        if first > peers {
            list.clear();
        }
        Groups { list, away: Slab::new() }
    }

    /// Whether the groups have processes.
    pub(super) fn exist(&self) -> bool {
        !self.list.is_empty()
    }

    /// A group's name.
    pub(super) fn name(&self, group: u16) -> Str {
        self.list.get(usize::from(group)).map(|g| g.name.clone()).unwrap_or_default()
    }

    fn member(&mut self, seat: usize) -> Option<&mut Member> {
        let group = self.list.iter_mut().find(|g| (g.first..g.first + g.seats.len()).contains(&seat))?;
        let at = seat - group.first;
        group.seats.get_mut(at)
    }

    /// A process has one run less.
    pub(super) fn done(&mut self, at: Peer) {
        if let Some(member) = self.member(usize::from(at.index)) {
            member.busy = member.busy.saturating_sub(1);
        }
    }

    /// A process has died. False if the seat is no task worker's.
    pub(super) fn died(&mut self, seat: usize, incarnation: u32) -> bool {
        let Some(member) = self.member(seat) else { return false };
        member.dead = member.dead.max(incarnation);
        member.busy = 0;
        true
    }

    /// Nobody lives at a seat for now, if that is still this tenant's.
    pub(super) fn vacant(&mut self, seat: usize, incarnation: u32) {
        if let Some(member) = self.member(seat) {
            member.dead = member.dead.max(incarnation);
        }
    }

    /// A seat has a new tenant.
    pub(super) fn revived(&mut self, seat: usize, incarnation: u32) {
        if let Some(member) = self.member(seat) {
            member.dead = member.dead.min(incarnation.saturating_sub(1));
        }
    }
}

impl Members {
    /// The seats that may be asked, the one with the fewest runs first.
    fn candidates(&mut self) -> Vec<usize> {
        let count = self.seats.len().max(1);
        self.next = (self.next + 1) % count;
        let mut order: Vec<usize> = (0..self.seats.len()).map(|n| (self.next + n) % count).collect();
        order.sort_by_key(|n| self.seats.get(*n).map_or(u32::MAX, |m| m.busy));
        order
    }
}

impl Worker {
    /// `async_task_route`. Where the groups have no processes, what would be done there is done here.
    pub(super) fn travel_to(&mut self, group: u16) -> Act {
        if !self.groups.exist() {
            return code(1);
        }
        if self.parked.len().max(self.by_op.len()) >= self.blueprint.max_suspended {
            self.counters.inc(Counter::WaitsRefused);
            return code(-1);
        }
        Act::Travel(group)
    }

    /// `async_task_data`, `async_tkv_emit`: 1, or -1 if too much waits for the group already.
    pub(super) fn task(&mut self, group: u16, route: u32, event: Vec<(Str, Str)>) -> i32 {
        if self.groups.exist() {
            return if self.give_task(group, route, event) { 1 } else { -1 };
        }
        let mut host = SipHost::without_message(self.env().clone());
        host.event = event.into();
        let run = Run::new(self.program(), route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Launched)));
        1
    }

    /// A run that has just been parked wants to go to a group.
    pub(super) fn send_away(&mut self, parked: Key, group: u16) {
        let now = self.now;
        let token = self.groups.away.insert(parked);
        let Some(p) = self.parked.get_mut(parked) else { return };
        p.role.away = Some(Box::new(Away { token, group, at: None, since: now, asked: None }));
        let Some(members) = self.groups.list.get_mut(usize::from(group)) else { return };
        members.queue.push_back(Queued::Run(token, now));
        let nonblock = members.nonblock;
        self.flush_group(usize::from(group));
        let sent = self.parked.get(parked).and_then(|p| p.role.away.as_ref()).is_none_or(|a| a.at.is_some());
        if nonblock && !sent {
            self.counters.inc(Counter::WaitsRefused);
            self.stays_here(token);
        }
    }

    /// A task for a group: false if too many wait already.
    pub(super) fn give_task(&mut self, group: u16, route: u32, event: Vec<(Str, Str)>) -> bool {
        let word = ToGroup::Task { program: self.blueprint.program.fingerprint, route, event };
        let Ok(bytes) = postcard::to_allocvec(&word) else { return false };
        let Some(members) = self.groups.list.get_mut(usize::from(group)) else { return false };
        let queued = members.queue.len();
        if queued >= MOST_TASKS || members.task_bytes + bytes.len() > MOST_TASK_BYTES {
            self.counters.inc(Counter::WaitsRefused);
            return false;
        }
        members.task_bytes += bytes.len();
        members.queue.push_back(Queued::Task(bytes));
        let nonblock = members.nonblock;
        self.flush_group(usize::from(group));
        let Some(members) = self.groups.list.get_mut(usize::from(group)) else { return false };
        if nonblock && members.queue.len() > queued {
            if let Some(Queued::Task(bytes)) = members.queue.pop_back() {
                members.task_bytes -= bytes.len();
            }
            self.counters.inc(Counter::WaitsRefused);
            return false;
        }
        true
    }

    /// Sends what waits for the groups. Once per turn.
    pub(super) fn flush_groups(&mut self) {
        for group in 0..self.groups.list.len() {
            if self.groups.list.get(group).is_some_and(|g| !g.queue.is_empty()) {
                self.flush_group(group);
                self.expire_group(group);
            }
        }
    }

    /// Sends what waits for a group, as long as somebody there has room.
    fn flush_group(&mut self, group: usize) {
        loop {
            let Some(members) = self.groups.list.get_mut(group) else { return };
            let Some(first) = members.queue.front() else { return };
            let (token, bytes) = match first {
                Queued::Task(bytes) => (None, bytes.clone()),
                Queued::Run(token, _) => (Some(*token), Vec::new()),
            };
            let bytes = match token.map(|t| self.packed(t)) {
                None => bytes,
                Some(Ok(bytes)) => bytes,
                Some(Err(why)) => {
                    self.unqueue(group);
                    if let Some(why) = why {
                        emit(-1, "async", &format!("a run cannot travel: {why}"));
                        token.into_iter().for_each(|t| self.stays_here(t));
                    }
                    continue;
                }
            };
            match self.offer(group, &bytes) {
                Ok(peer) => {
                    self.counters.inc(Counter::BusSent);
                    self.unqueue(group);
                    let parked = token.and_then(|t| self.groups.away.get(t)).copied();
                    if let Some(p) = parked.and_then(|key| self.parked.get_mut(key))
                        && let Some(away) = &mut p.role.away
                    {
                        away.at = Some(peer);
                        if let Some(m) = self.groups.member(usize::from(peer.index)) {
                            m.busy += 1;
                        }
                    }
                }
                Err(BusError::TooLarge) => {
                    self.unqueue(group);
                    emit(-1, "async", "a run is too large for the bus: it stays");
                    token.into_iter().for_each(|t| self.stays_here(t));
                }
                Err(_) => return,
            }
        }
    }

    /// A run as it goes over the bus; an error without a reason if it is not there any more.
    fn packed(&self, token: Key) -> Result<Vec<u8>, Option<String>> {
        let parked = self.groups.away.get(token).and_then(|key| self.parked.get(*key)).ok_or(None)?;
        let run = parked.run.encode().map_err(|e| Some(e.to_string()))?;
        postcard::to_allocvec(&ToGroup::Run { token, run: Str::from(run) }).map_err(|e| Some(e.to_string()))
    }

    fn unqueue(&mut self, group: usize) {
        if let Some(members) = self.groups.list.get_mut(group)
            && let Some(Queued::Task(bytes)) = members.queue.pop_front()
        {
            members.task_bytes -= bytes.len();
        }
    }

    /// Offers bytes to the processes of a group; who took them.
    fn offer(&mut self, group: usize, bytes: &[u8]) -> Result<Peer, BusError> {
        let Some(members) = self.groups.list.get_mut(group) else { return Err(BusError::NoSuchPeer) };
        let first = members.first;
        let mut full = false;
        for n in members.candidates() {
            let dead = members.seats.get(n).map_or(u32::MAX, |m| m.dead);
            let Some(peer) = self.bus.peer(first + n).filter(|p| p.incarnation > dead) else { continue };
            match self.bus.send_to(peer, BUS_TASK, bytes) {
                Ok(()) => return Ok(peer),
                Err(BusError::TooLarge) => return Err(BusError::TooLarge),
                Err(BusError::Full) => {
                    self.bus.want_space(first + n);
                    full = true;
                }
                Err(_) => {}
            }
        }
        Err(if full { BusError::Full } else { BusError::Gone })
    }

    /// Runs that nobody of their group has taken in time stay here.
    fn expire_group(&mut self, group: usize) {
        let oldest = self.now - self.env().settings.async_timeout;
        while let Some(members) = self.groups.list.get_mut(group)
            && let Some(Queued::Run(token, since)) = members.queue.front()
            && *since <= oldest
        {
            let token = *token;
            members.queue.pop_front();
            if self.groups.away.get(token).is_some() {
                self.counters.inc(Counter::WaitsTimedOut);
                emit(1, "async", "no process of a task group has taken a run in time: it stays");
                self.stays_here(token);
            }
        }
    }

    /// A run that was to go away goes on here, and hears that it could not.
    pub(super) fn stays_here(&mut self, token: Key) {
        let Some(key) = self.groups.away.remove(token) else { return };
        if let Some(p) = self.parked.get_mut(key) {
            if let Some(at) = p.role.away.take().and_then(|a| a.at) {
                self.groups.done(at);
            }
            self.work.push_back(Work::Resume(key, Outcome::Code(-1)));
        }
    }
}
