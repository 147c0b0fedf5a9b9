//! The only place that sends. What the transactions want done is done here, in their order; the
//! datagrams of a turn leave in batches at its end.

use super::state::{Chosen, Worker};
use crate::modules::emit;
use crate::net::reactor::{Interest, Source};
use crate::store::Counter;
use crate::transaction::{Output, SendKind};
use std::net::SocketAddr;

/// How often in a turn what the kernel refused may find another destination.
const REFUSED_ROUNDS: usize = 4;

impl Worker {
    /// Queues a datagram; it leaves at the end of the turn.
    pub(super) fn send(&mut self, listener: u16, addr: SocketAddr, bytes: &[u8]) -> bool {
        let Some(Some(socket)) = self.udp.get_mut(usize::from(listener)) else {
            return self.send_anyhow(listener, addr, bytes);
        };
        let queued = socket.queue(bytes, addr, None, 0);
        if !queued {
            self.counters.inc(Counter::UdpSendDropped);
        }
        queued
    }

    /// Hands the datagrams of this turn to the kernel.
    pub(super) fn flush_sockets(&mut self) {
        // What was refused may go elsewhere, at once.
        for _ in 0..REFUSED_ROUNDS {
            let refused = self.flush_once();
            if refused.is_empty() {
                return;
            }
            for head in refused {
                self.undelivered(&head, libc::EPERM);
            }
        }
        self.reactor.io(self.now).again(Source::Udp, crate::base::Key { index: 0, generation: 0 });
    }

    /// The first bytes of what the kernel refused.
    fn flush_once(&mut self) -> Vec<Vec<u8>> {
        let mut refused = Vec::new();
        for (i, socket) in self.udp.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            if !socket.wants_write() {
                continue;
            }
            let before = refused.len();
            let done = socket.flush(&mut |failure| {
                emit(3, "net", &format!("cannot send to {}: {}", failure.to, failure.error));
                refused.push(failure.head);
            });
            self.counters.add(Counter::UdpSent, done.sent as u64);
            self.counters.add(Counter::UdpSendErrors, (refused.len() - before) as u64);
            if done.blocked {
                let key = crate::base::Key { index: i as u32, generation: 0 };
                let mut io = self.reactor.io(self.now);
                let _ = io.reregister(socket, Source::Udp, key, Interest::READABLE | Interest::WRITABLE);
            }
        }
        refused
    }

    /// Does what the transactions want done, until they want nothing more.
    pub(super) fn flush_transactions(&mut self) {
        while let Some(output) = self.tm.poll_output() {
            match output {
                Output::Send { tx, branch, kind, bytes, dest } => {
                    self.counters.inc(Counter::FwdRequests);
                    let first = kind == SendKind::Request;
                    if !self.send_request(&dest, &bytes, !first) && first && dest.conn.is_some() {
                        let _ = self.tm.fail_branch(self.now, tx, branch, 503);
                    }
                }
                Output::Reply { tx, bytes, mut path } => {
                    self.counters.inc(Counter::FwdReplies);
                    path.no_new_conn =
                        self.tm.user(tx).is_some_and(|d| d.no_new_conn || self.replies_open_none(d.host.as_deref()));
                    self.follow_reply(&bytes);
                    self.send_reply(&path, &bytes);
                    self.reply_left(tx, &bytes);
                }
                Output::Local { tx, status } => self.answer_transaction(tx, status),
                Output::Deliver { .. } => self.delivered(output),
                Output::BranchFailed { tx, branch, status, timeout } => {
                    self.branch_failed(tx, branch, status, timeout);
                }
                Output::BranchEnded { tx, branch } => self.branch_ended(tx, branch),
                Output::FinalChosen { tx, branch, status, timeout } => {
                    self.all_failed(tx, Chosen { branch, status, timeout });
                }
                Output::FinalSent { tx, branch, status } => {
                    self.account_final(tx, branch, status);
                    self.counters.inc(match status / 100 {
                        2 => Counter::Tm2xx,
                        3 => Counter::Tm3xx,
                        4 => Counter::Tm4xx,
                        5 => Counter::Tm5xx,
                        _ => Counter::Tm6xx,
                    });
                    self.answered_suspended(tx);
                    self.control_final(&output);
                }
                Output::Lapsed { tx } => self.suspension_lapsed(tx),
                Output::Unacknowledged { .. } => {}
                Output::Ended { user, .. } => self.suspensions_gone(user.suspensions),
            }
        }
    }

    /// Arms the reactor for the transactions' next timer. Once per turn.
    pub(super) fn arm_transactions(&mut self) {
        self.tm.tidy(self.now);
        let next = self.tm.next_timer();
        if self.tm_timer.map(|(at, _)| at) == next {
            return;
        }
        let mut io = self.reactor.io(self.now);
        if let Some((_, timer)) = self.tm_timer.take() {
            io.disarm(timer);
        }
        if let Some(at) = next {
            let key = crate::base::Key { index: 0, generation: 0 };
            self.tm_timer = Some((at, io.arm(at, Source::Transaction, key)));
        }
    }
}
