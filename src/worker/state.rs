//! What a worker owns. Everything is here and is passed as `&mut`; there are no globals.

use super::drain::Drain;
use super::locks::Locks;
use super::neighbours::Adopted;
use super::owners::Owners;
use super::seat::MainChannel;
use super::timers::TimerJob;
use crate::base::{Key, Seldom, Slab, Str, Time};
use crate::modules::env::Env;
use crate::modules::host::{SipHost, Target};
use crate::modules::request::Outcome;
use crate::net::batch::RecvBatch;
use crate::net::bus::{BusEnd, Envelope, Peer};
use crate::net::connections::{Connections, StreamConfig};
use crate::net::logpipe::LogHandle;
use crate::net::reactor::Reactor;
use crate::net::udp::UdpSocket;
use crate::ops::OpId;
use crate::ops::driver::Driver;
use crate::script::avp::Avps;
use crate::script::program::Program;
use crate::script::vm::{Run, Suspended};
use crate::sip::Message;
use crate::store::{ConnId, ConnTable, Counters, InWork};
use crate::transaction::{BranchNo, Matched, Transactions, TxKey};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What main prepared before the fork and every worker inherits.
#[derive(Clone)]
pub struct Blueprint {
    /// The compiled script.
    pub program: Rc<Program<SipHost>>,
    /// Who we are and how we were configured.
    pub env: Rc<Env>,
    /// Transaction timers and limits; worker and incarnation are filled in.
    pub tm: crate::transaction::Config,
    /// Limits of stream connections.
    pub streams: StreamConfig,
    /// Which worker has which connection.
    pub conns: ConnTable,
    /// How names are looked up.
    pub resolver: crate::net::resolver::ResolverOptions,
    /// Where the SQLite helper listens, if there is one.
    pub sqlite: Option<std::path::PathBuf>,
    /// Where the shared store is, and to how many bytes it may grow.
    pub store: Option<(std::path::PathBuf, usize)>,
    /// Most runs that may wait at a time, per worker.
    pub max_suspended: usize,
    /// Instructions a run may execute before others have their turn.
    pub budget: u32,
}

/// Where a message came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Address of its sender.
    pub from: SocketAddr,
    /// Number of the listener it came in on.
    pub listener: u16,
    /// The connection it came in on; `None` for a datagram.
    pub conn: Option<ConnId>,
}

/// Where the message of a run came from.
pub fn origin_of(host: &SipHost) -> Origin {
    Origin { from: host.source, listener: host.listener, conn: host.conn }
}

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dest {
    /// Number of the listener it leaves from.
    pub listener: u16,
    /// Address.
    pub addr: SocketAddr,
    /// The connection it leaves on; `None` for a datagram.
    pub conn: Option<ConnId>,
}

/// Where the replies to a request go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyPath {
    /// Number of the listener the request came in on.
    pub listener: u16,
    /// Address the replies go to.
    pub addr: SocketAddr,
    /// Address the request came from.
    pub source: SocketAddr,
    /// `force_rport` was called.
    pub rport: bool,
    /// The connection the request came in on: the replies go back there (RFC 3261 18.2.2), and to
    /// `addr` only if it is gone.
    pub conn: Option<ConnId>,
    /// No new connection is to be made for the replies.
    pub no_new_conn: bool,
}

/// What the worker attaches to a transaction.
#[derive(Default)]
pub struct TxData {
    /// The request as the script left it when it was relayed, for later routes.
    pub host: Option<Box<SipHost>>,
    /// The AVPs between two routes.
    pub avps: Avps,
    /// What was sent, by branch.
    pub branches: Vec<BranchData>,
    /// A request or failure route runs or waits in it: failure routes have to wait.
    pub busy: bool,
    /// A failure route to be run when it is free.
    pub failure: Option<Chosen>,
    /// First branch of the last `t_relay`.
    pub first_branch: BranchNo,
    /// A copy whose replies nobody sees (`t_replicate`).
    pub replica: bool,
    /// It is meant to stay without an answer of ours (`t_release`).
    pub released: bool,
    /// The Reason of the caller's CANCEL goes into those to the branches.
    pub pass_reason: bool,
    /// Who is told of its final reply.
    pub asker: super::local::Asker,
    /// The last final reply to a request of our own that somebody waits for.
    pub last_final: Option<Message>,
    /// No connection is opened for its replies (`tcp_no_new_conn_rplflag`).
    pub no_new_conn: bool,
    /// What of it waits for `t_continue`, the oldest first.
    pub suspensions: Vec<super::suspend::Suspension>,
    /// The copy of the run that goes on when it is continued (`return=1` of `async`).
    pub beside: Option<Box<super::beside::Beside>>,
    /// Nobody has continued it in time.
    pub lapsed: bool,
    /// The branch that stands for that, until a failure route has heard of it.
    pub blind: Option<BranchNo>,
    /// The request and its AVPs when a script answered it without relaying it, for accounting.
    pub account: Option<Box<super::accounting::Account>>,
    /// The provisional reply that was accounted last.
    pub early: Option<Str>,
    /// `async()` made it: a resume route that ends without an answer is answered 500.
    pub by_async: bool,
}

/// The reply that won when all branches failed.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// Its branch.
    pub branch: BranchNo,
    /// Its status.
    pub status: u16,
    /// Made by a timer.
    pub timeout: bool,
}

/// What the worker keeps of a branch.
#[derive(Default)]
pub struct BranchData {
    /// The request as sent.
    pub sent: Option<Message>,
    /// Its own onreply_route, or that it has none; `None`: the transaction's.
    pub reply_route: Option<Option<u32>>,
    /// The same of the route that hears of its failure.
    pub branch_failure: Option<Option<u32>>,
    /// Where it goes.
    pub target: Target,
    /// Its AVPs.
    pub bavps: Seldom<Avps>,
    /// A name is being looked up for it.
    pub locating: Option<Key>,
    /// The way to further destinations, should its own fail.
    pub spare: Option<Box<super::locate::Way>>,
}

/// Why a run runs: decides what its end means.
#[derive(Debug)]
pub struct Role {
    /// The occasion.
    pub kind: RoleKind,
    /// The transaction it runs in.
    pub tx: Option<TxKey>,
    /// The transaction was told to stay while this run waits.
    pub kept: bool,
    /// Script locks it holds.
    pub locks: Vec<super::locks::Held>,
    /// The run itself is in a process of a task group.
    pub away: Option<Box<super::away::Away>>,
}

impl Role {
    /// A run outside of any transaction (yet).
    pub fn new(kind: RoleKind) -> Role {
        Role { kind, tx: None, kept: false, locks: Vec::new(), away: None }
    }

    /// A run in a transaction.
    pub fn within(kind: RoleKind, tx: TxKey) -> Role {
        Role { tx: Some(tx), ..Role::new(kind) }
    }
}

/// Occasions.
#[derive(Debug)]
pub enum RoleKind {
    /// A request came.
    Request(Matched),
    /// A reply came; before it is matched.
    AnyReply,
    /// A reply that belongs to no transaction.
    StrayReply,
    /// A reply of a branch.
    Reply(BranchNo),
    /// All branches have failed.
    Failure,
    /// A branch has failed.
    BranchFailure(BranchNo),
    /// A branch is about to be sent by this relay job.
    Branch(Key, BranchNo),
    /// A request of the server's own is about to be sent; who asked for it.
    Local(super::local::Asker),
    /// A message could not be parsed.
    Error,
    /// An event was raised.
    Event,
    /// An event route of a queue; its number in the worker's list.
    Queue(usize),
    /// A timer route; its number in the worker's list.
    Timer(usize),
    /// `startup_route`, and what else runs before there is traffic; its place in the order.
    Startup(usize),
    /// `launch`; a task
    Launched,
    /// In a task group: a run that belongs to another worker, or needs it.
    Guest(super::courier::Home),
}

/// A run that waits.
pub struct Parked {
    /// The run.
    pub run: Suspended<SipHost>,
    /// Why it runs.
    pub role: Role,
    /// What it waits for.
    pub waiting: Waiting,
    /// Since when.
    pub since: Time,
}

/// What a run waits for.
#[derive(Debug)]
pub enum Waiting {
    /// An operation.
    Op(OpId),
    /// Several at once.
    Several(Box<super::several::Several>),
    /// Its branches to be sent.
    Relay,
    /// A name, before a stateless forward.
    Lookup,
    /// A script lock.
    Lock(Str),
    /// Another worker's word.
    Verdict(u64),
    /// Its run to come back from a task group, or to want something.
    Away,
    /// In a task group: its owner.
    Home(Peer),
    /// Its run is being dropped.
    Nothing,
}

impl Waiting {
    /// Whether it is a word of this worker.
    pub(super) fn is_home(&self, from: Peer) -> bool {
        matches!(self, Waiting::Home(peer) if *peer == from)
    }

    /// The word shown to operators.
    pub fn as_str(&self) -> &'static str {
        match self {
            Waiting::Op(_) => "operation",
            Waiting::Several(_) => "operations",
            Waiting::Relay => "relay",
            Waiting::Lookup => "lookup",
            Waiting::Lock(_) => "lock",
            Waiting::Verdict(_) => "verdict",
            Waiting::Away => "task",
            Waiting::Home(_) => "owner",
            Waiting::Nothing => "nothing",
        }
    }
}

/// What is to be done in this turn, after what is being done.
pub enum Work {
    /// Go on with a run whose budget was used up, or that is new.
    Go(Box<Run<SipHost>>, Role),
    /// Give a parked run its outcome.
    Resume(Key, Outcome),
    /// Go on with a relay job.
    Job(Key),
}

/// Numbers of the script's main blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct MainRoutes {
    /// `route`
    pub request: Option<u32>,
    /// `onreply_route` without a name
    pub reply: Option<u32>,
    /// `local_route`
    pub local: Option<u32>,
    /// `error_route`
    pub error: Option<u32>,
    /// `startup_route`
    pub startup: Option<u32>,
    /// `event_route[tm:local-response]`
    pub local_response: Option<u32>,
    /// `event_route[tm:local-ack-sent]`
    pub local_ack: Option<u32>,
    /// The onreply_route of replies that belong to no transaction (`on_sl_reply`).
    pub stray_reply: Option<u32>,
}

/// One worker.
pub struct Worker {
    pub(super) now: Time,
    pub(super) blueprint: Blueprint,
    pub(super) routes: MainRoutes,
    pub(super) me: usize,
    pub(super) count: usize,
    /// The number of its task group, if it is a task worker.
    pub(super) group: Option<usize>,
    pub(super) owners: Owners,
    /// The task groups, and the runs of this worker that are there.
    pub(super) groups: super::groups::Groups,
    /// What others' runs do here, if it is a task worker.
    pub(super) guests: super::guests::Guests,
    /// What waits for room on the bus between workers and task groups.
    pub(super) courier: super::courier::Courier,
    pub(super) reactor: Reactor,
    pub(super) driver: Driver,
    pub(super) tm: Transactions<TxData, Dest, ReplyPath>,
    pub(super) tm_timer: Option<(Time, crate::base::TimerKey)>,
    /// By listener number; `None` where the listener is no UDP one.
    pub(super) udp: Vec<Option<UdpSocket>>,
    /// Sockets of empty seats that this worker reads meanwhile.
    pub(super) adopted: Vec<Adopted>,
    /// What others handed over before this worker was told to begin.
    pub(super) early: VecDeque<(Envelope, Vec<u8>)>,
    /// When the server was started.
    pub(super) started: Time,
    /// Receive buffers; out on loan while a batch is worked on.
    pub(super) batch: Option<RecvBatch>,
    /// Connections of this worker.
    pub(super) streams: Connections,
    pub(super) backlog: super::streams::Backlog,
    /// Connections that requests were sent on and that have ended in this turn, and whether in an orderly way.
    pub(super) lost_conns: HashMap<ConnId, bool>,
    pub(super) bus: BusEnd,
    pub(super) main: MainChannel,
    pub(super) counters: Counters,
    pub(super) in_work: InWork,
    pub(super) log: LogHandle,
    pub(super) parked: Slab<Parked>,
    pub(super) by_op: HashMap<OpId, Key>,
    /// What bounds suspended replies.
    pub(super) suspended: HashMap<OpId, (TxKey, BranchNo)>,
    /// How much is suspended by `t_suspend`.
    pub(super) aside: usize,
    pub(super) asks: super::asks::Asks,
    pub(super) jobs: Slab<super::relay::RelayJob>,
    pub(super) lookups: Slab<super::forward::Lookup>,
    /// Branches whose next hop is being looked up.
    pub(super) ways: Slab<super::locate::Way>,
    pub(super) blacklist: super::blacklist::Blacklist,
    /// Counts what was drawn by lot.
    pub(super) drawn: u64,
    pub(super) work: VecDeque<Work>,
    /// The transactions whose copied runs wait for these sleeps.
    pub(super) copies: HashMap<OpId, TxKey>,
    /// Runs that have used up their budget: they go on in the next turn.
    pub(super) yielded: VecDeque<Work>,
    /// Operations that may change something: not cut off when their run is dropped.
    pub(super) writing: HashSet<OpId>,
    pub(super) locks: Locks,
    pub(super) timers: Vec<TimerJob>,
    /// How far the keep-alives of contacts are.
    pub(super) natping: super::natping::Walk,
    /// How far the keep-alive requests of usrloc are.
    pub(super) asking: super::natping::Walk,
    /// Pings and reloads of dispatcher's destinations.
    pub(super) dispatching: super::dispatcher::Dispatching,
    /// The queues that have event routes.
    pub(super) consumers: Vec<super::queues::Consumer>,
    /// What is under way for tables that have a database.
    pub(super) table_work: super::tables::TableWork,
    /// Routes that run in the middle of something else.
    pub(super) hooks: super::hooks::Hooks,
    /// What is under way for the contacts of users.
    pub(super) location: super::location::Location,
    /// Registrations of our own that are under way.
    pub(super) registrant: super::registrant::Registrant,
    /// Tables that are being read anew.
    pub(super) reloads: super::load_lists::Reloads,
    pub(super) drain: Option<Drain>,
    pub(super) stalled: super::block::Stalled,
    pub(super) traffic: bool,
    pub(super) faults: super::faults::Faults,
    pub(super) quit: bool,
    /// What is kept in databases is written at the end.
    pub(super) save: bool,
    pub(super) messages: u32,
    /// Requests of our own, for their Call-IDs.
    pub(super) made: u64,
    pub(super) age: Age,
    pub(super) told: super::statistics::Told,
    pub(super) tide: super::memory::Tide,
    pub(super) scratch: Vec<u8>,
    pub(super) accounting: super::accounting::Accounting,
}

/// How old datagrams are when they are read: moving average with hysteresis.
#[derive(Debug, Default)]
pub struct Age {
    /// Average, microseconds.
    pub average: u64,
    /// New calls are refused.
    pub overload: bool,
    /// The oldest datagram of this turn, microseconds.
    oldest: Option<u64>,
    /// Average at which overload begins, microseconds; it ends at a fifth of that.
    high: u64,
}

impl Age {
    /// New calls are refused when datagrams are older than `high` on average; never if that is zero.
    pub fn new(high: Duration) -> Age {
        let us = u64::try_from(high.as_micros()).unwrap_or(u64::MAX);
        Age { high: if us == 0 { u64::MAX } else { us }, ..Age::default() }
    }

    /// Takes in the age of one datagram.
    pub fn note(&mut self, age: Duration) {
        let us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX).min(10_000_000);
        self.average = (self.average * 15 + us) / 16;
        self.oldest = self.oldest.max(Some(us));
        self.judge();
    }

    /// A turn has ended. One that met only young datagrams shows that the worker has caught up: what
    /// remains of a moment's standstill in the average must not turn away the next calls of a quiet hour.
    pub fn turn_ends(&mut self) {
        if self.oldest.take().is_some_and(|us| us < self.high / 5) {
            self.average /= 2;
            self.judge();
        }
    }

    fn judge(&mut self) {
        if self.average > self.high {
            self.overload = true;
        } else if self.average < self.high / 5 {
            self.overload = false;
        }
    }
}

impl Worker {
    /// The server.
    pub(super) fn env(&self) -> &Rc<Env> {
        &self.blueprint.env
    }

    /// The script.
    pub(super) fn program(&self) -> Rc<Program<SipHost>> {
        self.blueprint.program.clone()
    }

    /// A number for a text that all workers agree on and nobody outside can foresee.
    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        self.owners.hash(text)
    }

    /// Which worker owns a Call-ID, or whatever else has a name.
    pub(super) fn owner_of(&self, name: &[u8]) -> usize {
        self.owners.owner_of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_comes_and_goes_with_hysteresis() {
        let mut age = Age::new(Duration::from_millis(250));
        for _ in 0..100 {
            age.note(Duration::from_millis(400));
        }
        assert!(age.overload);
        for _ in 0..10 {
            age.note(Duration::from_millis(1));
        }
        assert!(age.overload, "between the marks nothing changes");
        for _ in 0..100 {
            age.note(Duration::from_millis(1));
        }
        assert!(!age.overload);
    }

    #[test]
    fn it_can_be_off() {
        let mut age = Age::new(Duration::ZERO);
        (0..100).for_each(|_| age.note(Duration::from_secs(9)));
        assert!(!age.overload);
    }

    #[test]
    fn a_standstill_that_is_over_does_not_turn_calls_away_for_long() {
        let mut age = Age::new(Duration::from_millis(250));
        for _ in 0..50 {
            age.note(Duration::from_secs(1));
        }
        age.turn_ends();
        assert!(age.overload);
        let refused = (0..100).take_while(|_| {
            age.note(Duration::from_millis(1));
            age.turn_ends();
            age.overload
        });
        assert!(refused.count() < 5);
        // In overload each turn begins with old ones, whatever comes then.
        for _ in 0..100 {
            age.note(Duration::from_millis(600));
            age.note(Duration::from_millis(1));
            age.turn_ends();
        }
        assert!(age.overload);
    }
}
