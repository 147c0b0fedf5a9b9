//! Getting a connection: of the pool, or a fresh one to the first address that answers (RFC 8305).

use super::connection::{Connection, State, Tunnel};
use super::exchange::Stage;
use super::{Cx, Http, connection_token, limit_token};
use crate::base::{Key, Time};
use crate::net::listen::source_for;
use crate::net::reactor::{Interest, Source};
use crate::net::stream::Stream;
use crate::ops::{Failure, OpId, Phase, Why};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// How long an address has before the next one is tried besides it (RFC 8305 section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;

impl Http {
    /// Gives an exchange a connection of the pool, or begins one.
    pub(super) fn begin(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (host, fresh) = (Rc::clone(&exchange.host), exchange.needs_fresh());
        let pooled = if fresh { None } else { self.take_idle(&host, cx) };
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let Some(key) = pooled
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.state = State::Busy;
            connection.reused = true;
            connection.exchange = Some(id);
            exchange.stage = Stage::Linked(key);
            exchange.times.ready = exchange.age(cx.now());
            self.advance(key, false, cx);
            return;
        }
        let options = Rc::clone(&exchange.request.options);
        exchange.connect_deadline =
            if options.connect_timeout.is_zero() { Time::NEVER } else { cx.now() + options.connect_timeout };
        match exchange.peer.ip {
            Some(ip) => {
                exchange.addresses.push_back(SocketAddr::new(ip, exchange.peer.port));
                self.begin_connect(id, cx);
            }
            None => {
                exchange.stage = Stage::Resolving;
                exchange.limit_phase(id, options.resolve_limit, cx);
                cx.resolve(Source::Http, limit_token(id), &exchange.peer.host);
            }
        }
    }

    /// The name is known.
    pub(super) fn has_addresses(&mut self, id: OpId, ips: &[IpAddr], cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.times.resolved = exchange.age(cx.now());
        let port = exchange.peer.port;
        let ips = ordered(ips, |ip| source_for(SocketAddr::new(ip, port)));
        exchange.addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        self.begin_connect(id, cx);
    }

    fn begin_connect(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.stage = Stage::Connecting;
        let limit = exchange.request.options.tcp_limit;
        exchange.limit_phase(id, limit, cx);
        self.try_next(id, cx);
    }

    /// Begins to connect to the next address that lets itself be tried, besides those that are being tried.
    pub(super) fn try_next(&mut self, id: OpId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.stop_pace(cx);
        let mut why = Why::Refused;
        while let Some(address) = exchange.addresses.pop_front() {
            let stream = match Stream::connect(address) {
                Ok(stream) => stream,
                Err(e) => {
                    exchange.last_error = format!("{address}: {e}");
                    if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        // It is us: another address would not help.
                        why = Why::System;
                        exchange.addresses.clear();
                    }
                    continue;
                }
            };
            let key = self.connections.insert(Connection {
                stream,
                host: Rc::clone(&exchange.host),
                state: State::Connecting,
                exchange: Some(id),
                reused: false,
                born: cx.now(),
                timer: None,
                tunnel: None,
            });
            let Some(connection) = self.connections.get_mut(key) else { return };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(e) = cx.register(&connection.stream, Source::Http, connection_token(key), interest) {
                exchange.last_error = e.to_string();
                self.connections.remove(key);
                continue;
            }
            exchange.attempts.push(key);
            if !exchange.addresses.is_empty() {
                exchange.set_pace(id, ATTEMPT_DELAY, cx);
            }
            return;
        }
        if exchange.attempts.is_empty() {
            let detail = std::mem::take(&mut exchange.last_error);
            self.fail(id, Failure::new(why, Phase::Connect, detail), cx);
        }
    }

    /// An address did not work out: on to the next, at once.
    pub(super) fn attempt_failed(&mut self, key: Key, error: &str, cx: &mut Cx<'_>) {
        let connection = self.connections.get(key);
        let id = connection.and_then(|c| c.exchange);
        self.close(key, cx);
        let Some(id) = id else { return };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.attempts.retain(|k| *k != key);
            exchange.last_error = format!("{}:{}: {error}", exchange.peer.host, exchange.peer.port);
        }
        self.try_next(id, cx);
    }

    /// The first connection that stands is taken, the others are closed.
    pub(super) fn attempt_stands(&mut self, id: OpId, key: Key, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.stop_pace(cx);
        exchange.times.connected = exchange.age(cx.now());
        exchange.addresses.clear();
        exchange.stage = Stage::Linked(key);
        let attempts = std::mem::take(&mut exchange.attempts);
        let question = exchange.connect_head.clone();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.tunnel = question.map(|head| Box::new(Tunnel::new(head)));
            connection.state = State::Tunnel;
        }
        for other in attempts.into_iter().filter(|k| *k != key) {
            self.close(other, cx);
        }
    }
}

/// The addresses of a name in the order they are tried: IPv6 first if it leads there, then both kinds in turn
/// (RFC 8305 section 4). `source`: the address that this machine would send from.
fn ordered(ips: &[IpAddr], source: impl Fn(IpAddr) -> Option<IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = ips.iter().partition(|ip| ip.is_ipv6());
    if six.is_empty() || four.is_empty() {
        return ips.iter().copied().take(MAX_ADDRESSES).collect();
    }
    // RFC 6724 section 6, rules 1 and 5: a way there, and from an address of the same kind.
    let good = |ip: &IpAddr| source(*ip).is_some_and(|from| label(from) == label(*ip));
    let (mut good_six, bad_six): (Vec<IpAddr>, Vec<IpAddr>) =
        six.into_iter().take(MAX_ADDRESSES).partition(|ip| good(ip));
    let six_first = !good_six.is_empty();
    good_six.extend(bad_six);
    let (first, second) = if six_first { (good_six, four) } else { (four, good_six) };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] || out.len() >= MAX_ADDRESSES {
            out.truncate(MAX_ADDRESSES);
            return out;
        }
        out.extend(pair.into_iter().flatten());
    }
}

/// The label of RFC 6724 section 2.1.
fn label(ip: IpAddr) -> u8 {
    let IpAddr::V6(ip) = ip else { return 4 };
    match ip.segments() {
        _ if ip == Ipv6Addr::LOCALHOST => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [first, ..] if first & 0xfe00 == 0xfc00 => 13,
        [first, ..] if first & 0xffc0 == 0xfec0 => 11,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_ascii_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    /// `own`: the addresses of this machine.
    fn order(names: &str, own: &str) -> Vec<IpAddr> {
        let own = ips(own);
        ordered(&ips(names), |to| own.iter().copied().find(|from| from.is_ipv4() == to.is_ipv4()))
    }

    #[test]
    fn addresses_in_turn() {
        let both = "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 2001:db8::2";
        let six_first = ips("2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 192.0.2.3");
        assert_eq!(order(both, "198.51.100.1 2001:db8:1::1"), six_first);
        let four_first = ips("192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2 192.0.2.3");
        assert_eq!(order(both, "198.51.100.1"), four_first, "no way to IPv6");
        assert_eq!(order(both, "198.51.100.1 fd00::1"), four_first, "a local address leads nowhere");
        assert_eq!(order("127.0.0.1 ::1", "127.0.0.1 ::1"), ips("::1 127.0.0.1"));
        assert_eq!(order("192.0.2.2 192.0.2.1", ""), ips("192.0.2.2 192.0.2.1"), "one kind stays as it is");
        assert_eq!(order("", ""), ips(""));
        let many: Vec<IpAddr> = (0..100).map(|i| IpAddr::from([192, 0, 2, i])).collect();
        assert_eq!(ordered(&many, |_| None).len(), MAX_ADDRESSES);
        let many = [many, (0..100).map(|i| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, i])).collect()].concat();
        assert_eq!(ordered(&many, Some).len(), MAX_ADDRESSES);
    }
}
