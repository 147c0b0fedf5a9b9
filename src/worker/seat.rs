//! What a child process gets from main when it is forked, and how the two talk.
//!
//! A *seat* is a place in the server (worker 2, the SQLite helper); the process that sits on it may
//! be replaced, the seat with its sockets stays. [`Seat::incarnation`] tells the tenants apart.
//!
//! What a child owes main, in this order: its own preparations; on the seat with
//! [`Seat::run_startup`] the startup route and [`ToMain::StartupDone`]; [`ToMain::Ready`]; then it
//! waits for [`ToChild::StartTraffic`] before it reads its sockets. After [`ToChild::Drain`] it says
//! [`ToMain::Idle`] when nothing is in flight any more, and returns after [`ToChild::Quit`] or when
//! the channel is closed (main is dead).

use crate::base::Time;
use crate::net::bus::BusEnd;
use crate::net::channel::Channel;
use crate::net::listen::Listener;
use crate::net::logpipe::LogHandle;
use crate::store::{Counters, InWork};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// What sits there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SeatKind {
    /// A SIP worker.
    Worker,
    /// A process of a task group: the same loop without SIP sockets.
    Task,
    /// A process that does something for the workers (embedded SQLite).
    Helper,
}

impl fmt::Display for SeatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SeatKind::Worker => "worker",
            SeatKind::Task => "task worker",
            SeatKind::Helper => "helper",
        })
    }
}

/// Everything a child is born with.
#[derive(Debug)]
pub struct Seat {
    /// What to be.
    pub kind: SeatKind,
    /// `worker`, or the task group's or the helper's name.
    pub name: String,
    /// Number on the bus; workers are 0 to `count - 1`, then come task workers, group by group, then helpers.
    pub index: usize,
    /// Number of SIP workers.
    pub count: usize,
    /// The number of its task group, if it is a task worker.
    pub group: Option<usize>,
    /// Which tenant of the seat this is, counted from 1.
    pub incarnation: u32,
    /// Key of the hash that decides which worker owns a Call-ID; the same in all processes.
    pub hash_key: [u64; 2],
    /// This worker's own socket for each of the server's listeners, in the listeners' order.
    pub sockets: Vec<(Rc<Listener>, OwnedFd)>,
    /// A helper's listening unix socket.
    pub helper_listener: Option<OwnedFd>,
    /// The bus to the other workers.
    pub bus: BusEnd,
    /// The channel to main.
    pub main: MainChannel,
    /// This process's row of the statistics.
    pub counters: Counters,
    /// Where to note the message in hand.
    pub in_work: InWork,
    /// The log: to be flushed once per turn.
    pub log: LogHandle,
    /// Whether this process runs the startup route.
    pub run_startup: bool,
    /// The values that the startup route left, for whoever is born after its end.
    pub start_vars: Option<Vec<u8>>,
    /// When the server was started: timer jobs are due in whole intervals from then on.
    pub started: Time,
}

/// The child's end of the channel.
pub type MainChannel = Channel<ToMain, ToChild>;

/// What main tells a child.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// The values of `$var` that every run begins with, from [`ToMain::StartVars`]; before
    /// [`ToChild::StartTraffic`], also to who comes later.
    StartVars(Vec<u8>),
    /// The server is up: read the sockets.
    StartTraffic,
    /// Finish what is in flight, refuse new calls; after that many milliseconds end what still waits.
    Drain {
        /// How long waits may go on.
        timeout_ms: u64,
    },
    /// Return now.
    Quit,
    /// Return now, as the last of the workers, and write before that what is kept in databases.
    SaveAndQuit,
    /// A control method to be answered with [`ToMain::Answer`].
    Call {
        /// To be repeated in the answer.
        id: u64,
        /// Its name.
        method: String,
        /// Its parameters, JSON text (an array or an object).
        params: String,
    },
    /// The answer to [`ToMain::Ask`].
    Told {
        /// The question's number.
        ticket: u64,
        /// A JSON-RPC response.
        text: String,
    },
    /// A process died; what it owed will not come.
    PeerDied {
        /// Its seat.
        index: usize,
        /// Which tenant it was.
        incarnation: u32,
    },
    /// A seat has a new tenant.
    PeerRespawned {
        /// The seat.
        index: usize,
        /// The new tenant.
        incarnation: u32,
    },
    /// A worker's or task worker's seat stays empty for a while, since its processes keep dying: what it would
    /// own belongs to the others, until [`ToChild::PeerRespawned`].
    SeatVacant {
        /// The seat.
        index: usize,
    },
    /// Read the sockets of an empty seat as well, one for each listener; they come along with this
    /// message. Until [`ToChild::PeerRespawned`].
    AdoptSockets {
        /// The seat.
        index: usize,
    },
    /// Some process died: clear its stale reader entries of the shared store.
    ClearStale,
    /// The log level changed (OpenSIPS scale).
    LogLevel(i8),
    /// The files that names are looked up in have changed: their texts.
    Names {
        /// `/etc/resolv.conf`
        resolv: String,
        /// `/etc/hosts`
        hosts: String,
    },
}

/// What a child tells main.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToMain {
    /// Before [`ToMain::StartupDone`]: the values of `$var` that the startup route left, for
    /// [`ToChild::StartVars`]. Main does not look inside.
    StartVars(Vec<u8>),
    /// The startup route ended; an error ends the server.
    StartupDone(Result<(), String>),
    /// Prepared; waits for [`ToChild::StartTraffic`].
    Ready,
    /// Drained: nothing is in flight.
    Idle,
    /// The answer to [`ToChild::Call`]: JSON text, or an error.
    Answer {
        /// The call's number.
        id: u64,
        /// What came of it.
        result: Result<String, CallError>,
    },
    /// A script asks for a control method; to be answered with [`ToChild::Told`].
    Ask {
        /// To be repeated in the answer.
        ticket: u64,
        /// A JSON-RPC request.
        text: String,
    },
}

/// Why a control method failed, as JSON-RPC tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallError {
    /// JSON-RPC error code.
    pub code: i32,
    /// For people.
    pub message: String,
}

impl CallError {
    /// The method does not exist in this child.
    pub fn no_such_method() -> CallError {
        CallError { code: -32601, message: "no such method".into() }
    }

    /// The parameters do not fit.
    pub fn bad_params(message: impl Into<String>) -> CallError {
        CallError { code: -32602, message: message.into() }
    }

    /// What the call names is not here; when all workers say so, the caller hears it.
    pub fn not_found(message: impl Into<String>) -> CallError {
        CallError { code: -32001, message: message.into() }
    }
}
