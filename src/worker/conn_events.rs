//! Connections as scripts see them: `event_route[tcp:closed]`, `[tcp:timeout]` and `[tcp:reset]`, which run in the worker that had
//! the connection, and what tcpops wants of one.

use super::hooks::Hooks;
use super::state::{Role, RoleKind, Work, Worker};
use super::streams::ConnOrder;
use crate::base::Key;
use crate::modules::host::SipHost;
use crate::modules::request::{ConnWish, Outcome};
use crate::modules::tcpops::Events;
use crate::net::connections::conn::State;
use crate::net::connections::{Closed, Why};
use crate::net::listen::Transport;
use crate::net::pipe::Keepalive;
use crate::script::vm::Run;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

/// The event route for the end of a connection.
fn route(hooks: &Hooks, why: Why) -> Option<u32> {
    match why {
        Why::Peer => hooks.tcp_closed,
        Why::Idle | Why::Silent | Why::Broken(ErrorKind::TimedOut) => hooks.tcp_timeout,
        Why::Broken(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => hooks.tcp_reset,
        _ => None,
    }
}

impl Worker {
    /// A connection of this worker has ended: the script may want to hear of it.
    pub(super) fn connection_ended(&mut self, closed: &Closed) {
        let Some(route) = route(&self.hooks, closed.why) else { return };
        let wanted = match self.env().settings.tcp_events {
            Events::Never => false,
            Events::Always => true,
            Events::Asked => closed.told,
        };
        if !wanted || !self.traffic {
            return;
        }
        let mut host = SipHost::without_message(self.env().clone());
        (host.source, host.listener, host.conn) = (closed.remote, closed.listener, Some(closed.id));
        let run = Run::new(self.program(), route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }

    /// What a script wants of a connection, wherever it is.
    pub(super) fn connection_wish(&mut self, number: i64, wish: ConnWish) -> i32 {
        let Some((id, _)) = self.streams.numbered(number, &|w| self.incarnation_of(w)) else { return -1 };
        if wish == ConnWish::State {
            // Another worker's stands as long as it is in the table.
            let own = (usize::from(id.worker) == self.me).then(|| self.streams.get(id.key)).flatten();
            return match own.map(|c| c.state) {
                Some(State::Connecting) => 3,
                Some(State::Closing) => -2,
                Some(State::Open) | None => 1,
            };
        }
        if self.order_conn(id, ConnOrder::Wish(wish)) { 1 } else { -1 }
    }

    /// Does it with a connection of this worker.
    pub(super) fn fulfil(&mut self, key: Key, wish: ConnWish) {
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        match wish {
            ConnWish::State => {}
            ConnWish::Close => self.streams.end(key, Why::Ordered),
            ConnWish::Lifetime(n) => self.streams.set_lifetime(key, seconds(n), self.reactor.io(self.now)),
            ConnWish::Event => self.streams.tell(key),
            ConnWish::KeepAlive { idle, count, interval } => {
                let keepalive = Keepalive {
                    on: true,
                    idle: Some(seconds(idle)),
                    interval: Some(seconds(interval)),
                    count: Some(count),
                };
                self.streams.keep_alive(key, keepalive);
            }
            ConnWish::NoKeepAlive => self.streams.keep_alive(key, Keepalive { on: false, ..Keepalive::default() }),
        }
    }

    /// `tcp_get_conid`
    pub(super) fn find_connection(&mut self, peer: SocketAddr) -> Outcome {
        match self.find_conn(Transport::Tcp, peer, 0, false) {
            Some((id, _)) => Outcome::Number(id.number()),
            None => Outcome::Code(-1),
        }
    }
}
