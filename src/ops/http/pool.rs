//! Idle connections: kept for a while, watched, used again.

use super::connection::State;
use super::exchange::HostKey;
use super::{Cx, Http, connection_token};
use crate::base::Key;
use crate::net::reactor::Source;
use std::rc::Rc;
use std::time::Duration;

/// What the HTTP operations of one process may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Idle connections kept to one host.
    pub idle: usize,
    /// Idle connections kept to all hosts.
    pub idle_total: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How old a connection may be that is used again; zero = as old as it gets.
    pub lifetime: Duration,
    /// Largest body of an answer, in bytes, whatever a request allows.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            idle: 100,
            idle_total: 300,
            idle_timeout: Duration::from_secs(30),
            lifetime: Duration::ZERO,
            body: 256 << 20,
        }
    }
}

impl Http {
    /// A connection of the pool that is still good.
    pub(super) fn take_idle(&mut self, host: &Rc<HostKey>, cx: &mut Cx<'_>) -> Option<Key> {
        loop {
            let idle = self.pool.get_mut(host)?;
            let key = idle.pop()?;
            if idle.is_empty() {
                self.pool.remove(host);
            }
            self.idle -= 1;
            let connection = self.connections.get_mut(key)?;
            if let Some(timer) = connection.timer.take() {
                cx.io.disarm(timer);
            }
            if connection.stream.is_quiet() {
                return Some(key);
            }
            self.close(key, cx);
        }
    }

    /// An exchange is done with a connection: it is kept if it may serve again and there is room.
    pub(super) fn release(&mut self, key: Key, reusable: bool, cx: &mut Cx<'_>) {
        let now = cx.now();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let age = now.since(connection.born);
        let left = match self.limits.lifetime {
            Duration::ZERO => self.limits.idle_timeout,
            lifetime => lifetime.saturating_sub(age).min(self.limits.idle_timeout),
        };
        let kept = self.pool.get(&connection.host).map_or(0, Vec::len);
        let room = kept < self.limits.idle && self.idle < self.limits.idle_total;
        if reusable && room && !left.is_zero() && connection.stream.is_quiet() {
            connection.state = State::Idle;
            connection.exchange = None;
            connection.timer = Some(cx.arm(now + left, Source::Http, connection_token(key)));
            self.pool.entry(Rc::clone(&connection.host)).or_default().push(key);
            self.idle += 1;
        } else {
            self.close(key, cx);
        }
    }

    pub(super) fn close(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(connection) = self.connections.remove(key) else { return };
        if let Some(timer) = connection.timer {
            cx.io.disarm(timer);
        }
        cx.io.deregister(&connection.stream);
    }

    /// Closes a connection of the pool.
    pub(super) fn drop_idle(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(connection) = self.connections.get(key)
            && let Some(idle) = self.pool.get_mut(&connection.host)
            && let Some(at) = idle.iter().position(|k| *k == key)
        {
            idle.remove(at);
            self.idle -= 1;
            if idle.is_empty() {
                self.pool.remove(&connection.host);
            }
        }
        self.close(key, cx);
    }
}
