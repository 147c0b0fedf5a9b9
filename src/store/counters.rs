//! Statistics: relaxed atomics in shared memory, one row per process, summed when read.
//!
//! A process only ever writes its own row, so counting costs no contention; a process that is
//! replaced goes on in the row of the one before it.

use crate::store::latency::{BOUNDS, ENDINGS, Latencies, LatencyTable};
use crate::store::shm::Region;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

macro_rules! counters {
    ($($(#[doc = $doc:expr])* $id:ident = $group:literal $name:literal $kind:ident,)*) => {
        /// The counters every server has, named after the OpenSIPS statistics where one means the same.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(usize)]
        pub enum Counter { $($(#[doc = $doc])* $id,)* }

        /// Every counter, in the order of the rows.
        pub const ALL: &[Counter] = &[$(Counter::$id,)*];

        impl Counter {
            /// Group, the part before the colon in `group:name`.
            pub const fn group(self) -> &'static str {
                match self { $(Counter::$id => $group,)* }
            }
            /// Name within its group.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$id => $name,)* }
            }
            /// Whether it counts events or shows a present amount.
            pub const fn kind(self) -> Kind {
                match self { $(Counter::$id => Kind::$kind,)* }
            }
        }
    };
}

/// How the numbers of a counter are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Grows only.
    Count,
    /// Goes up and down; starts from zero again when its process is replaced.
    Gauge,
}

counters! {
    /// Requests received.
    RcvRequests = "core" "rcv_requests" Count,
    /// Replies received.
    RcvReplies = "core" "rcv_replies" Count,
    /// Requests sent on.
    FwdRequests = "core" "fwd_requests" Count,
    /// Replies sent on.
    FwdReplies = "core" "fwd_replies" Count,
    /// Requests dropped on purpose.
    DropRequests = "core" "drop_requests" Count,
    /// Replies dropped on purpose.
    DropReplies = "core" "drop_replies" Count,
    /// Requests that could not be understood.
    ErrRequests = "core" "err_requests" Count,
    /// Replies that could not be understood.
    ErrReplies = "core" "err_replies" Count,
    /// URIs that could not be parsed.
    BadUris = "core" "bad_URIs_rcvd" Count,
    /// Requests of a method nobody knows.
    UnsupportedMethods = "core" "unsupported_methods" Count,
    /// Headers that could not be parsed.
    BadHeaders = "core" "bad_msg_hdr" Count,
    /// Script runs stopped by the instruction budget and continued in the next turn.
    ScriptYields = "core" "script_yields" Count,
    /// Children that were replaced.
    ProcessRestarts = "core" "process_restarts" Count,
    /// Lines the log could not take.
    LogLinesLost = "core" "log_lines_lost" Count,

    /// Datagrams received.
    UdpReceived = "net" "udp_rcv_datagrams" Count,
    /// Datagrams sent.
    UdpSent = "net" "udp_sent_datagrams" Count,
    /// Datagrams the kernel refused to send.
    UdpSendErrors = "net" "udp_send_errors" Count,
    /// Datagrams that an ICMP error came back for.
    UdpUnreachable = "net" "udp_unreachable" Count,
    /// Datagrams dropped because the send queue was full.
    UdpSendDropped = "net" "udp_send_dropped" Count,
    /// Stream connections opened to others.
    TcpConnects = "net" "tcp_connects" Count,
    /// Stream connections accepted.
    TcpAccepts = "net" "tcp_accepts" Count,
    /// Stream connections open now.
    TcpOpen = "net" "tcp_open" Gauge,
    /// Connections that could not be made.
    TcpConnectFailed = "net" "tcp_connect_failed" Count,
    /// Connections refused or not made because there were too many.
    TcpRejected = "net" "tcp_rejected" Count,
    /// Connections closed by the peer, by an error, or on purpose.
    TcpClosed = "net" "tcp_closed" Count,
    /// Connections closed because nothing, or no whole message, came over them in time.
    TcpTimedOut = "net" "tcp_timed_out" Count,
    /// Connections closed because their peers did not take what they were sent.
    TcpSlowReaders = "net" "tcp_slow_readers" Count,
    /// Connections closed because what came over them cannot be cut into messages.
    TcpBadStreams = "net" "tcp_bad_streams" Count,
    /// Messages received over connections.
    TcpReceived = "net" "tcp_rcv_messages" Count,
    /// Messages sent over connections.
    TcpSent = "net" "tcp_sent_messages" Count,
    /// Messages dropped because too much waited for their connection.
    TcpSendDropped = "net" "tcp_send_dropped" Count,
    /// New requests answered 503 because of overload.
    Overload503 = "net" "overload_rejected" Count,

    /// Values sent to other processes.
    BusSent = "bus" "sent" Count,
    /// Values received from other processes.
    BusReceived = "bus" "received" Count,
    /// Values dropped because a ring was full.
    BusFull = "bus" "full" Count,
    /// Values dropped because their receiver had died.
    BusGone = "bus" "gone" Count,

    /// Requests relayed statefully that a new transaction was made for.
    TmUasTransactions = "tm" "UAS_transactions" Count,
    /// Local requests that a new transaction was made for.
    TmUacTransactions = "tm" "UAC_transactions" Count,
    /// Transactions that live now.
    TmInUse = "tm" "inuse_transactions" Gauge,
    /// Replies received by transactions.
    TmReceivedReplies = "tm" "received_replies" Count,
    /// Replies relayed by transactions.
    TmRelayedReplies = "tm" "relayed_replies" Count,
    /// Replies made here by transactions.
    TmLocalReplies = "tm" "local_replies" Count,
    /// Transactions that ended with a 2xx.
    Tm2xx = "tm" "2xx_transactions" Count,
    /// Transactions that ended with a 3xx.
    Tm3xx = "tm" "3xx_transactions" Count,
    /// Transactions that ended with a 4xx.
    Tm4xx = "tm" "4xx_transactions" Count,
    /// Transactions that ended with a 5xx.
    Tm5xx = "tm" "5xx_transactions" Count,
    /// Transactions that ended with a 6xx.
    Tm6xx = "tm" "6xx_transactions" Count,
    /// Retransmissions absorbed by a transaction.
    TmAbsorbed = "tm" "retransmissions_absorbed" Count,

    /// Replies sent without a transaction, 1xx.
    Sl1xx = "sl" "1xx_replies" Count,
    /// Replies sent without a transaction, 2xx.
    Sl2xx = "sl" "2xx_replies" Count,
    /// Replies sent without a transaction, 3xx.
    Sl3xx = "sl" "3xx_replies" Count,
    /// Replies sent without a transaction, 4xx.
    Sl4xx = "sl" "4xx_replies" Count,
    /// Replies sent without a transaction, 5xx.
    Sl5xx = "sl" "5xx_replies" Count,
    /// Replies sent without a transaction, 6xx.
    Sl6xx = "sl" "6xx_replies" Count,
    /// ACKs that ended a reply sent without a transaction.
    SlReceivedAcks = "sl" "received_ACKs" Count,

    /// Script runs that wait now.
    WaitsNow = "async" "waits" Gauge,
    /// Waits begun.
    WaitsStarted = "async" "started" Count,
    /// Waits that ended with a result.
    WaitsDone = "async" "done" Count,
    /// Waits that ended at their deadline.
    WaitsTimedOut = "async" "timeout" Count,
    /// Waits that ended in an error of the backend or the system.
    WaitsFailed = "async" "failed" Count,
    /// Waits that were cancelled.
    WaitsCancelled = "async" "cancelled" Count,
    /// Waits refused because a cap was reached.
    WaitsRefused = "async" "refused" Count,

    /// Requests accounted as lines of the log.
    AccLines = "acc" "lines" Count,
    /// Requests accounted as rows of a database.
    AccRows = "acc" "rows" Count,
    /// Rows that were to be written and are lost.
    AccLost = "acc" "rows_lost" Count,
    /// Rows that wait for the database.
    AccWaiting = "acc" "rows_waiting" Gauge,

    /// Writes to the shared store given up because another process held it for too long.
    StoreBusy = "store" "busy" Count,
    /// Writes to the shared store refused because it is full.
    StoreFull = "store" "full" Count,
    /// Accesses to the shared store that failed otherwise.
    StoreErrors = "store" "errors" Count,
    /// Sleeps whose run had gone on, and what it sent had left, at most 1 ms after the deadline.
    Late1ms = "async" "late_1ms" Count,
    /// The same, more than 1 and at most 2 ms.
    Late2ms = "async" "late_2ms" Count,
    /// The same, at most 5 ms.
    Late5ms = "async" "late_5ms" Count,
    /// The same, at most 10 ms.
    Late10ms = "async" "late_10ms" Count,
    /// The same, at most 20 ms.
    Late20ms = "async" "late_20ms" Count,
    /// The same, at most 50 ms.
    Late50ms = "async" "late_50ms" Count,
    /// The same, at most 100 ms.
    Late100ms = "async" "late_100ms" Count,
    /// The same, more than 100 ms.
    LateMore = "async" "late_more" Count,
}

impl Counter {
    /// The counter of sleeps that went on this late.
    pub fn late(by: Duration) -> Counter {
        const BOUNDS: [(u128, Counter); 7] = [
            (1, Counter::Late1ms),
            (2, Counter::Late2ms),
            (5, Counter::Late5ms),
            (10, Counter::Late10ms),
            (20, Counter::Late20ms),
            (50, Counter::Late50ms),
            (100, Counter::Late100ms),
        ];
        let within = BOUNDS.iter().find(|(ms, _)| by.as_micros() <= ms * 1000);
        within.map_or(Counter::LateMore, |(_, counter)| *counter)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.group(), self.name())
    }
}

/// One entry of the table as shown to operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// `group:name`.
    pub name: String,
    /// Whether it counts events or shows an amount.
    pub kind: Kind,
    /// Sum over all processes.
    pub total: u64,
    /// The figure of each process, by its index.
    pub per_process: Vec<u64>,
}

/// The whole table; made by main before it forks.
#[derive(Clone, Debug)]
pub struct CounterTable {
    region: Rc<Region>,
    rows: usize,
    stride: usize,
    extra: Rc<[String]>,
    latencies: LatencyTable,
}

impl CounterTable {
    /// A table of `rows` processes. `extra` names counters that the configuration defines
    /// (`group:name`), addressed by their position.
    pub fn new(rows: usize, extra: Vec<String>) -> io::Result<CounterTable> {
        let columns = ALL.len().checked_add(extra.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let stride = columns.next_multiple_of(8) * 8;
        let rows = rows.max(1);
        // One row more: what the configuration's counters were when they were reset.
        let size = rows.checked_add(1).and_then(|n| stride.checked_mul(n)).ok_or(io::ErrorKind::InvalidInput)?;
        let region = Region::anonymous(size)?;
        Ok(CounterTable { region, rows, stride, extra: extra.into(), latencies: LatencyTable::new(rows)? })
    }

    /// How long operations take, by backend.
    pub fn latencies(&self) -> &LatencyTable {
        &self.latencies
    }

    /// The row of process `index`, for that process to write.
    pub fn row(&self, index: usize) -> Counters {
        let index = index.min(self.rows - 1);
        Counters { table: self.clone(), base: index * self.stride, index }
    }

    /// What the counter at `column` was when it was reset last.
    fn baseline(&self, column: usize) -> Option<&AtomicU64> {
        self.region.word(self.rows * self.stride + column * 8)
    }

    /// Sum of a column over all processes, since it was reset.
    fn since_reset(&self, column: usize) -> u64 {
        let sum = self.column(column).iter().fold(0u64, |a, b| a.wrapping_add(*b));
        sum.wrapping_sub(self.baseline(column).map_or(0, |w| w.load(Relaxed)))
    }

    /// Sets the counter that the configuration defined at position `extra` to 0, in all processes; false if there is none.
    pub fn reset_extra(&self, extra: usize) -> bool {
        let column = ALL.len() + extra;
        let there = extra < self.extra.len();
        if there && let Some(word) = self.baseline(column) {
            // Whoever counts meanwhile writes a row of its own.
            word.store(self.column(column).iter().fold(0u64, |a, b| a.wrapping_add(*b)), Relaxed);
        }
        there
    }

    /// Position of the counter that the configuration defined by this name (`group:name`).
    pub fn extra(&self, name: &str) -> Option<usize> {
        self.extra.iter().position(|n| n == name)
    }

    /// The figure of one counter by its name, with its group or without.
    pub fn total(&self, name: &str) -> Option<u64> {
        let fits = |group: &str, own: &str| match name.split_once(':') {
            Some((g, n)) => g == group && n == own,
            None => name == own,
        };
        let known = ALL.iter().position(|c| fits(c.group(), c.name()));
        let column = known.or_else(|| {
            let mut extra = self.extra.iter().map(|n| n.split_once(':').unwrap_or(("", n)));
            Some(ALL.len() + extra.position(|(group, own)| fits(group, own))?)
        })?;
        Some(self.since_reset(column))
    }

    /// Sum of `counter` over all processes.
    pub fn sum(&self, counter: Counter) -> u64 {
        self.column(counter as usize).iter().fold(0, |a, b| a.wrapping_add(*b))
    }

    /// Clears the gauges of process `index`: what they showed died with it.
    pub fn clear_gauges(&self, index: usize) {
        let row = self.row(index);
        for counter in ALL.iter().filter(|c| c.kind() == Kind::Gauge) {
            row.set(*counter, 0);
        }
        self.latencies.clear_gauges(index);
    }

    /// Entries that `filter` selects: all with `None`, a group with `group:`, one with its name with
    /// or without its group. The group `backend:` has the durations of operations, `backend:KIND:NAME:...`;
    /// it is shown only to who asks for it, or for a part of it.
    pub fn read(&self, filter: Option<&str>) -> Vec<Reading> {
        if let Some(wanted) = filter.filter(|f| f.starts_with("backend:")) {
            return self.backends().into_iter().filter(|r| r.name.starts_with(wanted)).collect();
        }
        let known = ALL.iter().map(|c| (c.to_string(), c.kind()));
        let extra = self.extra.iter().map(|n| (n.clone(), Kind::Count));
        known
            .chain(extra)
            .enumerate()
            .filter(|(_, (name, _))| match filter {
                None => true,
                Some(group) if group.ends_with(':') => name.starts_with(group),
                Some(wanted) => name == wanted || name.split_once(':').is_some_and(|(_, n)| n == wanted),
            })
            .map(|(column, (name, kind))| {
                let per_process = self.column(column);
                let total = self.since_reset(column);
                Reading { name, kind, total, per_process }
            })
            .collect()
    }

    /// The durations of operations as entries of their own: how many ended how, those of them that took at
    /// most so many milliseconds, and how the backend stands.
    fn backends(&self) -> Vec<Reading> {
        let mut out = Vec::new();
        for r in self.latencies.read() {
            let mut put = |what: String, kind, total| {
                let name = format!("backend:{}:{}:{what}", r.kind, r.name);
                out.push(Reading { name, kind, total, per_process: Vec::new() });
            };
            for (ending, word) in ENDINGS {
                let buckets = r.buckets.get(ending as usize).copied().unwrap_or_default();
                let total = r.total(ending);
                put(word.to_string(), Kind::Count, total);
                let mut sum = 0;
                for (bound, n) in BOUNDS.iter().zip(buckets) {
                    sum += n;
                    if n > 0 {
                        put(format!("{word}_le_{bound}ms"), Kind::Count, sum);
                    }
                }
            }
            put("running".to_string(), Kind::Gauge, r.running);
            put("waiting".to_string(), Kind::Gauge, r.waiting);
            put("open".to_string(), Kind::Gauge, r.open);
            put("opened".to_string(), Kind::Count, r.opened);
        }
        out
    }

    fn column(&self, column: usize) -> Vec<u64> {
        (0..self.rows)
            .map(|row| self.region.word(row * self.stride + column * 8).map_or(0, |w| w.load(Relaxed)))
            .collect()
    }
}

/// One process's row of the table.
#[derive(Clone, Debug)]
pub struct Counters {
    table: CounterTable,
    base: usize,
    index: usize,
}

impl Counters {
    #[inline]
    fn word(&self, column: usize) -> Option<&AtomicU64> {
        self.table.region.word(self.base + column * 8)
    }

    #[inline]
    fn change(&self, column: usize, by: u64) {
        // Only this process writes the row: a load and a store are enough.
        if let Some(word) = self.word(column) {
            word.store(word.load(Relaxed).wrapping_add(by), Relaxed);
        }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.change(counter as usize, 1);
    }

    /// Takes one off a gauge.
    #[inline]
    pub fn dec(&self, counter: Counter) {
        self.change(counter as usize, u64::MAX);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        self.change(counter as usize, n);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, counter: Counter, value: u64) {
        if let Some(word) = self.word(counter as usize) {
            word.store(value, Relaxed);
        }
    }

    /// This process's own figure.
    pub fn get(&self, counter: Counter) -> u64 {
        self.word(counter as usize).map_or(0, |w| w.load(Relaxed))
    }

    /// Adds `n` (modulo 2^64, so that it can also take off) to the counter the configuration defined
    /// at position `extra`; false if there is none.
    pub fn add_extra(&self, extra: usize, n: u64) -> bool {
        let there = extra < self.table.extra.len();
        if there {
            self.change(ALL.len() + extra, n);
        }
        there
    }

    /// This process's row of the durations of operations.
    pub fn latencies(&self) -> Latencies {
        self.table.latencies.row(self.index)
    }

    /// The table, to read sums over all processes.
    pub fn table(&self) -> &CounterTable {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_by_bounds() {
        for (us, counter) in [
            (0, Counter::Late1ms),
            (1000, Counter::Late1ms),
            (1001, Counter::Late2ms),
            (20_000, Counter::Late20ms),
            (100_001, Counter::LateMore),
        ] {
            assert_eq!(Counter::late(Duration::from_micros(us)), counter, "{us}");
        }
    }

    #[test]
    fn rows_sum_up() {
        let t = CounterTable::new(3, vec!["my:calls".into()]).unwrap();
        t.row(0).inc(Counter::RcvRequests);
        t.row(2).add(Counter::RcvRequests, 4);
        assert_eq!(t.sum(Counter::RcvRequests), 5);
        assert!(t.row(1).add_extra(0, 2));
        assert!(!t.row(1).add_extra(1, 2));
        let one = t.read(Some("rcv_requests"));
        assert_eq!(one.len(), 1);
        assert_eq!(
            (one[0].name.as_str(), one[0].total, &one[0].per_process[..]),
            ("core:rcv_requests", 5, &[1, 0, 4][..])
        );
        assert_eq!(t.read(Some("my:"))[0].per_process, [0, 2, 0]);
        assert_eq!(t.read(None).len(), ALL.len() + 1);
        assert!(t.read(Some("nonsense")).is_empty());
    }

    #[test]
    fn gauges_go_down_and_clear() {
        let t = CounterTable::new(2, vec![]).unwrap();
        let row = t.row(1);
        row.inc(Counter::WaitsNow);
        row.inc(Counter::WaitsNow);
        row.dec(Counter::WaitsNow);
        row.inc(Counter::WaitsStarted);
        assert_eq!((row.get(Counter::WaitsNow), t.sum(Counter::WaitsNow)), (1, 1));
        t.clear_gauges(1);
        assert_eq!((row.get(Counter::WaitsNow), row.get(Counter::WaitsStarted)), (0, 1));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(Counter::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
