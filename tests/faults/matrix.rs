//! Every kind of backend, phase and fault; which of them there are, by rule; and how each must end.

use std::fmt;

/// A kind of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mysql,
    Sqlite,
    Http,
    Https,
    Exec,
    Radius,
    Dns,
}

/// Where an operation stands when the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Resolve,
    Connect,
    Tls,
    Login,
    Write,
    FirstByte,
    MidAnswer,
    Idle,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Refused,
    Unreachable,
    Dropped,
    Reset,
    HalfClose,
    Garbage,
    Drip,
    Endless,
    Killed,
    Stopped,
    Restarted,
}

pub const KINDS: [Kind; 7] = [Kind::Mysql, Kind::Sqlite, Kind::Http, Kind::Https, Kind::Exec, Kind::Radius, Kind::Dns];
pub const PHASES: [Phase; 8] = [
    Phase::Resolve,
    Phase::Connect,
    Phase::Tls,
    Phase::Login,
    Phase::Write,
    Phase::FirstByte,
    Phase::MidAnswer,
    Phase::Idle,
];
pub const FAULTS: [Fault; 11] = [
    Fault::Refused,
    Fault::Unreachable,
    Fault::Dropped,
    Fault::Reset,
    Fault::HalfClose,
    Fault::Garbage,
    Fault::Drip,
    Fault::Endless,
    Fault::Killed,
    Fault::Stopped,
    Fault::Restarted,
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Mysql => "mysql",
            Kind::Sqlite => "sqlite",
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Exec => "exec",
            Kind::Radius => "radius",
            Kind::Dns => "dns",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "TLS",
            Phase::Login => "login",
            Phase::Write => "write",
            Phase::FirstByte => "first byte",
            Phase::MidAnswer => "mid-answer",
            Phase::Idle => "idle",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Refused => "refused",
            Fault::Unreachable => "unreachable",
            Fault::Dropped => "silently dropped",
            Fault::Reset => "reset",
            Fault::HalfClose => "half-close",
            Fault::Garbage => "garbage",
            Fault::Drip => "slow drip",
            Fault::Endless => "endless answer",
            Fault::Killed => "killed",
            Fault::Stopped => "stopped",
            Fault::Restarted => "restarted",
        })
    }
}

/// What carries an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// TCP, perhaps with TLS.
    Stream,
    /// UDP; the name server asked over TCP is a stream.
    Datagrams,
    /// A Unix socket to a process of the server's own.
    Helper,
    /// The pipes of a child.
    Child,
}

fn medium(kind: Kind, phase: Phase) -> Medium {
    match kind {
        // A name server is asked over UDP, and over TCP where an answer was cut.
        Kind::Dns if matches!(phase, Phase::Connect | Phase::MidAnswer) => Medium::Stream,
        _ if phase == Phase::Resolve => Medium::Datagrams,
        Kind::Mysql | Kind::Http | Kind::Https => Medium::Stream,
        Kind::Radius | Kind::Dns => Medium::Datagrams,
        Kind::Sqlite => Medium::Helper,
        Kind::Exec => Medium::Child,
    }
}

/// Whether operations of a kind go through a phase.
fn has(kind: Kind, phase: Phase) -> bool {
    match phase {
        // Looking up names is what `dns` is about in its other phases.
        Phase::Resolve => matches!(kind, Kind::Mysql | Kind::Http | Kind::Https | Kind::Radius),
        // A program is started; a datagram needs no connection.
        Phase::Connect => kind != Kind::Radius,
        Phase::Tls => matches!(kind, Kind::Mysql | Kind::Https),
        Phase::Login => kind == Kind::Mysql,
        // A datagram leaves whole, and a program's pipe holds the longest value of a script.
        Phase::Write => !matches!(kind, Kind::Radius | Kind::Dns | Kind::Exec),
        Phase::FirstByte => true,
        // A datagram, and the helper's answer, come whole.
        Phase::MidAnswer => !matches!(kind, Kind::Radius | Kind::Sqlite),
        // Kept connections.
        Phase::Idle => matches!(kind, Kind::Mysql | Kind::Sqlite | Kind::Http | Kind::Https),
    }
}

/// Whether a fault can happen there.
fn can(kind: Kind, phase: Phase, fault: Fault) -> bool {
    let process = matches!(fault, Fault::Killed | Fault::Stopped | Fault::Restarted);
    match medium(kind, phase) {
        // The name server's process is killed and stopped under `dns`.
        Medium::Datagrams => match fault {
            Fault::Refused | Fault::Unreachable | Fault::Dropped | Fault::Garbage | Fault::Endless => true,
            _ => process && phase != Phase::Resolve,
        },
        // It answers over UDP, and not over TCP.
        Medium::Stream if kind == Kind::Dns && phase == Phase::Connect => {
            matches!(fault, Fault::Refused | Fault::Dropped)
        }
        Medium::Stream if phase == Phase::Connect => {
            process || matches!(fault, Fault::Refused | Fault::Unreachable | Fault::Dropped)
        }
        // There is a connection: it cannot be refused any more.
        Medium::Stream => fault != Fault::Refused,
        Medium::Helper => process,
        Medium::Child => match fault {
            Fault::Refused => phase == Phase::Connect,
            Fault::HalfClose | Fault::Killed | Fault::Stopped => phase != Phase::Connect,
            Fault::Drip | Fault::Garbage | Fault::Endless => phase == Phase::MidAnswer,
            _ => false,
        },
    }
}

/// One test of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub kind: Kind,
    pub phase: Phase,
    pub fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.kind, self.phase, self.fault)
    }
}

/// The faults that a kind can meet in a phase.
pub fn cells(kind: Kind, phase: Phase) -> Vec<Cell> {
    if !has(kind, phase) {
        return Vec::new();
    }
    FAULTS.into_iter().filter(|f| can(kind, phase, *f)).map(|fault| Cell { kind, phase, fault }).collect()
}

/// All of them, in the order of the page.
pub fn all() -> Vec<Cell> {
    KINDS.into_iter().flat_map(|k| PHASES.into_iter().flat_map(move |p| cells(k, p))).collect()
}

impl Cell {
    /// How long a wait may take, in seconds.
    pub fn limit(self) -> u32 {
        // Datagrams that were lost are sent again after a second.
        if self.kind == Kind::Radius && self.fault == Fault::Restarted { 6 } else { 1 }
    }

    /// `$rc`, `$async_err` (its first words) and `$async_phase` as the resume route sees them: a regular expression.
    pub fn ends(self) -> String {
        let silent = matches!(self.fault, Fault::Dropped | Fault::Stopped | Fault::Drip | Fault::Unreachable);
        let well = "1 none, none".to_owned();
        let (timeout, other) = match (self.kind, self.phase) {
            (Kind::Http | Kind::Https, Phase::Resolve | Phase::Connect | Phase::Tls) | (Kind::Dns, _) => (-2, -10),
            (Kind::Http | Kind::Https, _) => (-3, -10),
            _ => (-1, -1),
        };
        let word = match self.phase {
            Phase::Resolve => "resolve",
            _ if self.kind == Kind::Dns => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Login => "login",
            Phase::Write => "send",
            Phase::FirstByte => "wait",
            Phase::MidAnswer => "receive",
            // A query or request on a connection that is dead meanwhile.
            Phase::Idle => "wait",
        };
        let timed_out = format!("{timeout} timeout, {word}");
        match (self.kind, self.phase, self.fault) {
            (Kind::Sqlite, ..) => self.sqlite_ends(),
            (Kind::Exec, ..) => self.exec_ends(),
            // What the name server says makes no sense: that is passed over, the right answer may still come.
            (_, Phase::Resolve, Fault::Garbage | Fault::Endless)
            | (Kind::Dns, Phase::FirstByte, Fault::Garbage | Fault::Endless) => timed_out,
            (_, Phase::Resolve, Fault::Refused | Fault::Unreachable)
            | (Kind::Dns, Phase::FirstByte, Fault::Refused | Fault::Unreachable | Fault::Killed) => {
                "-1 refused, resolve".into()
            }
            // It is there again before anybody asks.
            (Kind::Dns, Phase::FirstByte, Fault::Restarted) => well,
            (Kind::Radius, Phase::FirstByte, Fault::Unreachable) => "-1 refused, send".into(),
            (Kind::Radius, Phase::FirstByte, Fault::Refused | Fault::Killed) => {
                // Who sends next on the same socket may be told before those that wait.
                "-1 refused, (send|wait)".into()
            }
            // Sent again.
            (Kind::Radius, Phase::FirstByte, Fault::Restarted) => well,
            (Kind::Radius, Phase::FirstByte, Fault::Garbage | Fault::Endless) => timed_out,
            (Kind::Dns, Phase::Connect, Fault::Refused) => "-1 refused, resolve".into(),
            (Kind::Dns, Phase::MidAnswer, f) if !silent => match f {
                Fault::Restarted
                | Fault::Killed
                | Fault::Reset
                | Fault::HalfClose
                | Fault::Garbage
                | Fault::Endless => "-1 refused, resolve".into(),
                _ => timed_out,
            },
            (_, Phase::Connect, Fault::Refused | Fault::Unreachable | Fault::Killed) => "-1 refused, connect".into(),
            (_, Phase::Connect, Fault::Restarted) => well,
            // The kernel takes the connection for the process that does not run.
            (Kind::Mysql, Phase::Connect, Fault::Stopped) => "-1 timeout, login".into(),
            (Kind::Http, Phase::Connect, Fault::Stopped) => "-3 timeout, wait".into(),
            (Kind::Https, Phase::Connect, Fault::Stopped) => "-2 timeout, tls".into(),
            // Kept connections are watched: what was dead or spoke unasked is replaced.
            (_, Phase::Idle, Fault::Killed) => "-1 refused, connect".into(),
            (_, Phase::Idle, f) if !silent => match f {
                Fault::Reset | Fault::HalfClose | Fault::Garbage | Fault::Endless | Fault::Restarted => well,
                _ => timed_out,
            },
            // Bytes of its answer have come, though not a whole TLS record.
            (_, Phase::Idle | Phase::FirstByte, Fault::Drip) if self.kind != Kind::Https => {
                format!("{timeout} timeout, receive")
            }
            _ if silent => timed_out,
            (Kind::Mysql, Phase::Write | Phase::FirstByte, Fault::Garbage) => "-1 answer too large, receive".into(),
            // It could be the body, the row, the middle of a TLS record.
            (_, Phase::MidAnswer, Fault::Garbage) => timed_out,
            (Kind::Http, Phase::FirstByte, Fault::Garbage | Fault::Endless) => "-10 protocol error, receive".into(),
            (.., Fault::Garbage | Fault::Endless) => format!("{other} (protocol error|answer too large), {word}"),
            _ => format!("{other} connection closed, {word}"),
        }
    }

    fn sqlite_ends(self) -> String {
        match (self.phase, self.fault) {
            (Phase::FirstByte, Fault::Killed | Fault::Restarted) => "-1 connection closed, wait".into(),
            (Phase::Write, Fault::Stopped) => "-1 timeout, send".into(),
            (_, Fault::Stopped) => "-1 timeout, wait".into(),
            // What had not left goes to its successor.
            _ => "1 none, none".into(),
        }
    }

    fn exec_ends(self) -> String {
        match (self.phase, self.fault) {
            (Phase::Connect, _) => "-1 none, none".into(),
            // How a program ends is its exit status, not the return code.
            (_, Fault::Killed) | (_, Fault::Garbage) => "1 none, none".into(),
            (Phase::FirstByte, _) => "-1 timeout, wait".into(),
            _ => "-1 timeout, receive".into(),
        }
    }
}
